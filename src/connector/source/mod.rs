//! Reading forms from the tools themselves: listing those of an account, and fetching the definition of one.
//!
//! Invariant: what is fetched is the definition as the tool gives it, in the shape that the tool's [`Connector`] reads; it
//! is never interpreted here. Every call has a deadline and a cap, and every refusal says what its owner can do.
//!
//! It deliberately knows nothing of OAuth: [`Tokens`] give the token of the moment. It is never used while somebody fills
//! a form in.
//!
//! [`Connector`]: super::Connector

mod google_forms;
mod hubspot;
mod surveymonkey;
mod typeform;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::api::{Tokens, Ungranted, at};
use crate::client::{self, AddressPolicy, Client, Method, Request, Response, header};

/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// The largest definition or list that is taken.
const MAX_RESPONSE_BYTES: usize = 8 * 1024 * 1024;
/// The wait when a tool is busy and names none: the windows of the tools are a second to a minute (form-tools, 6).
const PATIENCE: Duration = Duration::from_secs(60);
/// Characters of a tool's own words that are passed on.
const MAX_QUOTED: usize = 200;

/// A form in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The tool's id of it; what [`Source::fetch`] takes.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// When it was changed, as the tool says it.
    pub changed: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Its forms.
    pub forms: Vec<Listed>,
    /// What to ask for the next page with; `None` on the last one.
    pub next: Option<String>,
}

/// A definition as the tool has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// What the tool's connector reads.
    pub definition: Vec<u8>,
    /// What the tool calls this state of it: a time, a revision. Empty if it says none.
    pub revision: String,
}

/// Why a tool did not give what was asked for. Its words are for the owner of the account.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The token is not valid any more, or was never.
    #[error("{tool} does not accept the connection any more: connect it again ({reason})")]
    Reconnect {
        /// Which tool.
        tool: &'static str,
        /// The tool's own words.
        reason: String,
    },
    /// The token may not do this.
    #[error("{tool} does not allow it: the connection needs {needs} ({reason})")]
    Forbidden {
        /// Which tool.
        tool: &'static str,
        /// Which scope or plan.
        needs: &'static str,
        /// The tool's own words.
        reason: String,
    },
    /// There is no such form for this account.
    #[error("{tool} has no form “{id}” that this connection can see")]
    NotFound {
        /// Which tool.
        tool: &'static str,
        /// Which form.
        id: String,
    },
    /// Too many calls.
    #[error("{tool} asks to wait {} seconds", after.as_secs())]
    Busy {
        /// Which tool.
        tool: &'static str,
        /// For how long.
        after: Duration,
    },
    /// The tool failed, or refused for a reason that is not known here.
    #[error("{tool} answered {status}: {reason}")]
    Status {
        /// Which tool.
        tool: &'static str,
        /// Its HTTP status.
        status: u16,
        /// Its own words.
        reason: String,
    },
    /// No answer.
    #[error("{tool} cannot be reached")]
    Unreachable {
        /// Which tool.
        tool: &'static str,
        /// Why.
        #[source]
        source: client::Error,
    },
    /// An answer that is none.
    #[error("{tool} answered something else than its documentation says: {reason}")]
    Shape {
        /// Which tool.
        tool: &'static str,
        /// What was missing.
        reason: &'static str,
    },
    /// What was given names no form.
    #[error("{0}")]
    Reference(String),
}

/// The future of one call.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// The forms of one account.
pub trait Source: Send + Sync {
    /// A page of the account's forms, the newest first where the tool can; `search` keeps those whose title holds it.
    fn list<'a>(&'a self, search: Option<&'a str>, page: Option<&'a str>) -> Pending<'a, Listing>;
    /// The definition of one form.
    fn fetch<'a>(&'a self, form: &'a str) -> Pending<'a, Fetched>;
}

/// Where a tool is reached, and as whom.
#[derive(Clone)]
pub struct Account {
    /// The root of the tool's API, with a slash at the end if it has a path; tools with several hosts name them by it.
    pub api: Url,
    /// Gives the tokens.
    pub tokens: Arc<dyn Tokens>,
    /// The outbound client.
    pub client: Client,
    /// Where it may go.
    pub policy: AddressPolicy,
}

/// The forms of an account of this tool; `None` for a tool that has none, such as `form`.
#[must_use]
pub fn source(tool: &str, account: Account) -> Option<Box<dyn Source>> {
    Some(match tool {
        "hubspot" => Box::new(hubspot::Forms(account)),
        "google-forms" => Box::new(google_forms::Forms(account)),
        "typeform" => Box::new(typeform::Forms(account)),
        "surveymonkey" => Box::new(surveymonkey::Surveys(account)),
        _ => return None,
    })
}

/// What differs between the tools' refusals.
struct Manners {
    tool: &'static str,
    /// What a 403 is usually about.
    needs: &'static str,
    /// Which header names the wait, in seconds, besides `Retry-After`.
    wait_header: Option<&'static str>,
    /// Finds the tool's own words in the body of a refusal.
    words: fn(&Value) -> Option<&str>,
}

impl Account {
    /// The address of a call: the path's parts are escaped one by one.
    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Url {
        at(&self.api, path, query)
    }

    /// A GET whose answer is JSON. `form` is named when there is none.
    async fn get(&self, manners: &Manners, url: Url, form: &str) -> Result<(Value, Vec<u8>), Error> {
        let tool = manners.tool;
        let token = self.tokens.token().await.map_err(|ungranted| match ungranted {
            Ungranted::Reconnect(reason) => Error::Reconnect { tool, reason },
            Ungranted::Later => Error::Busy { tool, after: PATIENCE },
        })?;
        let mut request = Request::new(Method::GET, url, Vec::new(), Instant::now() + DEADLINE);
        request.max_response_bytes = MAX_RESPONSE_BYTES;
        request.policy = self.policy;
        let request = request
            .header("authorization", &format!("Bearer {}", token.expose_secret()))
            .and_then(|request| request.header("accept", "application/json"))
            .map_err(|source| Error::Unreachable { tool, source })?;
        let response =
            self.client.request(request).await.map_err(|source| Error::Unreachable { tool, source })?;
        if !response.status.is_success() {
            return Err(refusal(manners, &response, form));
        }
        if response.truncated {
            return Err(Error::Shape { tool, reason: "it is larger than 8 MiB" });
        }
        let json = serde_json::from_slice(&response.body)
            .map_err(|_invalid| Error::Shape { tool, reason: "it is not JSON" })?;
        Ok((json, response.body.to_vec()))
    }
}

fn refusal(manners: &Manners, response: &Response, form: &str) -> Error {
    let tool = manners.tool;
    let json: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let reason = (manners.words)(&json).unwrap_or("it gives no reason").chars().take(MAX_QUOTED).collect();
    match response.status.as_u16() {
        401 => Error::Reconnect { tool, reason },
        403 => Error::Forbidden { tool, needs: manners.needs, reason },
        404 | 410 => Error::NotFound { tool, id: form.to_owned() },
        429 | 503 => Error::Busy { tool, after: wait(manners, response) },
        status => Error::Status { tool, status, reason },
    }
}

fn wait(manners: &Manners, response: &Response) -> Duration {
    let names = [Some(header::RETRY_AFTER.as_str()), manners.wait_header];
    let seconds = names
        .into_iter()
        .flatten()
        .find_map(|name| response.headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok());
    // A tool that asks for more than a day is asked again after one.
    seconds.map_or(PATIENCE, |seconds| Duration::from_secs(seconds.min(86_400)))
}

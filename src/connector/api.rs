//! Calls to a tool's API with an access token, as all write-backs make them.
//!
//! Invariant: a call that does not come to an answer is an [`Outcome`] already; what an answer means is the tool's
//! business. Tokens are asked for at every call, never kept here, and never shown.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::client::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use crate::client::{AddressPolicy, Client, Error, Method, Request, Response};
use crate::outbox::Outcome;

/// Answers that are longer are not read to their end, unless the caller says otherwise.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Gives an access token that is valid now.
pub trait Tokens: Send + Sync {
    /// The token.
    fn token(&self) -> Granting<'_>;
}

/// The future of a token.
pub type Granting<'a> = Pin<Box<dyn Future<Output = Result<SecretString, Ungranted>> + Send + 'a>>;

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ungranted {
    /// Somebody has to connect the account again; the words say which.
    #[error("{0}")]
    Reconnect(String),
    /// The tool cannot be asked for a new one just now.
    #[error("no access token can be had just now")]
    Later,
}

/// A token that was pasted.
impl Tokens for SecretString {
    fn token(&self) -> Granting<'_> {
        Box::pin(ready(Ok(self.clone())))
    }
}

/// A tool's API, for one account.
#[derive(Clone)]
pub struct Api {
    /// Whose limits count: calls for one account share a rate. No secret in it.
    pub account: String,
    /// Where it is.
    pub base: Url,
    /// The account's tokens.
    pub tokens: Arc<dyn Tokens>,
    /// Whether it may be in a private network, as a sandbox is.
    pub policy: AddressPolicy,
    /// By which client.
    pub client: Client,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Api").field("host", &self.base.host_str()).finish_non_exhaustive()
    }
}

/// One call of an API.
pub(super) struct Asked<'a> {
    pub method: Method,
    pub path: &'a [&'a str],
    pub query: &'a [(&'a str, &'a str)],
    pub body: Option<&'a Value>,
    pub deadline: Instant,
    pub max_bytes: usize,
}

impl<'a> Asked<'a> {
    pub(super) fn get(path: &'a [&'a str], query: &'a [(&'a str, &'a str)], deadline: Instant) -> Self {
        Self { method: Method::GET, path, query, body: None, deadline, max_bytes: MAX_ANSWER_BYTES }
    }

    pub(super) fn send(method: Method, path: &'a [&'a str], body: &'a Value, deadline: Instant) -> Self {
        let body = (!body.is_null()).then_some(body);
        Self { method, path, query: &[], body, deadline, max_bytes: MAX_ANSWER_BYTES }
    }
}

impl Api {
    pub(super) async fn call(&self, asked: Asked<'_>) -> Result<Response, Outcome> {
        let url = at(&self.base, asked.path, asked.query);
        let is_look = asked.method == Method::GET;
        let body = asked.body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::new(asked.method, url, body, asked.deadline);
        request.policy = self.policy;
        request.max_response_bytes = asked.max_bytes;
        if asked.body.is_some() {
            request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        request.headers.insert(AUTHORIZATION, bearer(&*self.tokens).await?);
        self.client.request(request).await.map_err(|error| match failed(&error) {
            // Asking changes nothing, so nothing is unclear afterwards.
            outcome if is_look && error.is_retryable() => Outcome { class: "look", ..outcome },
            outcome => outcome,
        })
    }
}

/// An address below a root: the path's parts are escaped one by one.
pub(super) fn at(root: &Url, path: &[&str], query: &[(&str, &str)]) -> Url {
    let mut url = root.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url
}

/// What says who calls.
pub(super) async fn bearer(tokens: &dyn Tokens) -> Result<HeaderValue, Outcome> {
    let token = tokens.token().await.map_err(|ungranted| match ungranted {
        Ungranted::Reconnect(reason) => Outcome::reconnect("reconnect", None, reason),
        Ungranted::Later => Outcome::retry("look", None, None),
    })?;
    let bearer = format!("Bearer {}", token.expose_secret().trim());
    let mut bearer = HeaderValue::from_str(&bearer).map_err(|_invalid| failed(&Error::Header))?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

/// A call that got no answer, after another one has left something there: this one may not have begun, but the destination
/// has something of the submission.
pub(super) fn partly(outcome: Outcome) -> Outcome {
    if outcome.status.is_none() { Outcome { class: "partly", ..outcome } } else { outcome }
}

/// What a call without an answer means.
pub(super) fn failed(error: &Error) -> Outcome {
    if error.is_retryable() {
        Outcome::retry(error.class(), None, None)
    } else {
        Outcome::refused(error.class(), None, error.to_string())
    }
}

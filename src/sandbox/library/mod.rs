//! The forms of an account, as each tool's API lists and tells them: what a connection reads.
//!
//! Each tool stands below its own name: `/hubspot/marketing/v3/forms`, `/google-forms/v1/forms/{id}`, `/typeform/forms`,
//! `/surveymonkey/v3/surveys`. Written from the tools' documentation, and strict: a token without the scope, a page that is
//! too large or a parameter that is not documented is refused. A form can be changed while it is served, as its owner
//! would.

mod google;
mod hubspot;
mod surveymonkey;
mod typeform;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::access::bearer;
use crate::server::header;
use crate::server::{Error, Handler, Limits, Listener, Method, Request, Response, Server, StatusCode};

/// Says what a token of a tool may do; `None` if it is not valid.
pub type Authorise = Arc<dyn Fn(&str, &str) -> Option<BTreeSet<String>> + Send + Sync>;

/// The names of the tools, as the first part of each path.
pub const TOOLS: [&str; 4] = ["hubspot", "google-forms", "typeform", "surveymonkey"];

/// A form of an account.
#[derive(Debug, Clone)]
struct Kept {
    definition: Value,
    /// By language; of the tools that keep translations apart.
    translations: BTreeMap<String, Value>,
    /// How often it was changed.
    revision: u32,
}

impl Kept {
    fn text(&self, name: &str) -> &str {
        self.definition.get(name).and_then(Value::as_str).unwrap_or_default()
    }
}

#[derive(Default)]
struct State {
    forms: BTreeMap<(&'static str, String), Kept>,
    requests: Vec<String>,
    /// Statuses that the next requests get, of whatever tool.
    refusals: Vec<(u16, Option<u64>)>,
}

/// The forms of one account in each tool. Cheap to clone; clones are one account.
#[derive(Clone)]
pub struct Library {
    authorise: Authorise,
    state: Arc<Mutex<State>>,
}

/// What a request asks for, taken apart.
struct Asked<'r> {
    path: Vec<&'r str>,
    query: Vec<(String, String)>,
    scopes: BTreeSet<String>,
}

impl Asked<'_> {
    fn given(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A number that has to be one, within limits.
    fn number(&self, name: &str, default: usize, most: usize) -> Result<usize, String> {
        match self.given(name).map(str::parse::<usize>) {
            None => Ok(default),
            Some(Ok(number)) if (1..=most).contains(&number) => Ok(number),
            Some(_) => Err(format!("{name} must be a number from 1 to {most}")),
        }
    }

    /// The first parameter that the documentation does not name.
    fn unknown(&self, known: &[&str]) -> Option<&str> {
        self.query.iter().map(|(key, _)| key.as_str()).find(|key| !known.contains(key))
    }
}

impl Library {
    /// An empty account.
    pub fn new(authorise: Authorise) -> Self {
        Self { authorise, state: Arc::default() }
    }

    /// Puts a form into the account of a tool, or changes it there. Its id is the definition's.
    ///
    /// # Panics
    /// If there is no such tool, or the definition has no id.
    pub fn put(&self, tool: &str, definition: Value) {
        let tool = TOOLS.into_iter().find(|known| *known == tool).expect("one of the four tools");
        let member = if tool == "google-forms" { "formId" } else { "id" };
        let id = definition.get(member).and_then(Value::as_str).expect("a definition with its id").to_owned();
        let mut state = self.state();
        let entry = state.forms.entry((tool, id));
        let kept = entry.or_insert_with(|| Kept {
            definition: Value::Null,
            translations: BTreeMap::new(),
            revision: 0,
        });
        (kept.definition, kept.revision) = (definition, kept.revision + 1);
    }

    /// Adds a translation to a form that is there.
    pub fn translate(&self, tool: &str, id: &str, language: &str, translation: Value) {
        if let Some((_, kept)) =
            self.state().forms.iter_mut().find(|((of, form), _)| *of == tool && form == id)
        {
            kept.translations.insert(language.to_owned(), translation);
        }
    }

    /// A form as it is now, and how often it was changed.
    pub(super) fn definition(&self, tool: &str, id: &str) -> Option<(Value, u32)> {
        let state = self.state();
        let (_, kept) = state.forms.iter().find(|((of, form), _)| *of == tool && form == id)?;
        Some((kept.definition.clone(), kept.revision))
    }

    /// The forms of a tool: id and definition.
    pub(super) fn forms(&self, tool: &str) -> Vec<(String, Value)> {
        let state = self.state();
        let of_tool = state.forms.iter().filter(|((of, _), _)| *of == tool);
        of_tool.map(|((_, id), kept)| (id.clone(), kept.definition.clone())).collect()
    }

    /// Id and title of each form of a tool.
    pub fn titles(&self, tool: &str) -> Vec<(String, String)> {
        let titled = |(id, form): (String, Value)| {
            let names = ["/name", "/title", "/info/title"];
            let title = names.iter().find_map(|at| form.pointer(at)?.as_str()).unwrap_or_default().to_owned();
            (id, title)
        };
        self.forms(tool).into_iter().map(titled).collect()
    }

    /// Takes a form away.
    pub fn remove(&self, tool: &str, id: &str) {
        self.state().forms.retain(|(of, form), _| *of != tool || form != id);
    }

    /// Lets the next requests be refused so, in this order: status, and `Retry-After` in seconds.
    pub fn refuse(&self, refusals: impl IntoIterator<Item = (u16, Option<u64>)>) {
        self.state().refusals = refusals.into_iter().collect();
    }

    /// Method and path of every request that came, oldest first.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// Binds a free port of 127.0.0.1 and serves until `stop` becomes true.
    ///
    /// # Errors
    /// No port is free.
    pub async fn serve(&self, stop: watch::Receiver<bool>) -> Result<SocketAddr, Error> {
        let listener = Listener { addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), tls: None };
        let server = Server::bind(listener, Limits::default(), Arc::new(self.clone())).await?;
        let addr = server.local_addr();
        tokio::spawn(server.run(stop, Duration::from_secs(1)));
        Ok(addr)
    }

    /// Answers a request of one of the tools; `None` if its path is none of theirs.
    pub fn answer(&self, request: &Request) -> Option<Response> {
        let mut parts = request.path().split('/').skip(1);
        let tool = parts.next().and_then(|part| TOOLS.into_iter().find(|known| *known == part))?;
        let path: Vec<&str> = parts.collect();
        if !matches!(
            (tool, path.as_slice()),
            ("hubspot", ["marketing", "v3", "forms", ..])
                | ("google-forms", ["v1", "forms", ..] | ["drive", "v3", "files"])
                | ("typeform", ["forms", ..])
                | ("surveymonkey", ["v3", "surveys", ..])
        ) || request.method != Method::GET
        {
            return None;
        }
        let (refusal, forms) = {
            let mut state = self.state();
            state.requests.push(format!("{} {}", request.method, request.path()));
            let refusal = (!state.refusals.is_empty()).then(|| state.refusals.remove(0));
            let forms = state.forms.iter().filter(|((of, _), _)| *of == tool);
            (refusal, forms.map(|((_, id), kept)| (id.clone(), kept.clone())).collect::<BTreeMap<_, _>>())
        };
        let fail: fn(u16, &str) -> Response = match tool {
            "hubspot" => hubspot::refusal,
            "google-forms" => google::refusal,
            "typeform" => typeform::refusal,
            _ => surveymonkey::refusal,
        };
        if let Some((status, seconds)) = refusal {
            let response = fail(status, "refused on purpose");
            return Some(match seconds {
                Some(seconds) => response.with_header(header::RETRY_AFTER, seconds.into()),
                None => response,
            });
        }
        let Some(scopes) = bearer(request).and_then(|token| (self.authorise)(tool, token)) else {
            return Some(fail(401, "the token is missing, wrong or was revoked"));
        };
        let query = url::form_urlencoded::parse(request.query().unwrap_or_default().as_bytes());
        let asked = Asked { path, query: query.into_owned().collect(), scopes };
        Some(match tool {
            "hubspot" => hubspot::answer(&forms, &asked),
            "google-forms" => google::answer(&forms, &asked),
            "typeform" => typeform::answer(&forms, &asked),
            _ => surveymonkey::answer(&forms, &asked),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler for Library {
    async fn handle(&self, request: Request) -> Response {
        self.answer(&request).unwrap_or_else(|| Response::empty(StatusCode::NOT_FOUND))
    }
}

/// A status that was written by hand.
fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// When a form was changed: a moment that moves on with every change.
fn changed_at(kept: &Kept) -> String {
    format!("2026-11-22T10:{:02}:00.000Z", kept.revision % 60)
}

/// One page of a list, by number from 1.
fn page<T>(items: Vec<T>, number: usize, size: usize) -> Vec<T> {
    items.into_iter().skip((number - 1).saturating_mul(size)).take(size).collect()
}

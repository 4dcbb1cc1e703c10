//! Typeform's API as far as webhooks of a form go: `GET /forms/{id}/webhooks`, with the scope for it, at two requests a
//! second if that is asked for.

mod received;

pub(super) use self::received::Received;
pub use self::received::WEBHOOK_SECRET;

use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::access::{Door, bearer, only};
use crate::server::{Error, Handler, Limits, Listener, Method, Request, Response, Server, StatusCode};

struct State {
    /// In place of what the token may do.
    granted: Option<BTreeSet<String>>,
    webhooks: Vec<Value>,
    refusals: VecDeque<u16>,
    requests: usize,
}

/// An account with one form. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Webhooks {
    form: String,
    door: Door,
    state: Arc<Mutex<State>>,
}

impl Webhooks {
    /// A form without webhooks, and a token that may read them.
    pub fn new(form: &str, token: &str) -> Webhooks {
        Self::of(form, only(token, &["webhooks:read"]))
    }

    /// The same for other tokens.
    pub(super) fn of(form: &str, door: Door) -> Webhooks {
        let state = State { granted: None, webhooks: Vec::new(), refusals: VecDeque::new(), requests: 0 };
        Webhooks { form: form.to_owned(), door, state: Arc::new(Mutex::new(state)) }
    }

    /// Binds a free port of 127.0.0.1 and serves until `stop` becomes true.
    ///
    /// # Errors
    /// No port is free.
    pub async fn serve(&self, stop: watch::Receiver<bool>) -> Result<SocketAddr, Error> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server =
            Server::bind(Listener { addr, tls: None }, Limits::default(), Arc::new(self.clone())).await?;
        let addr = server.local_addr();
        tokio::spawn(server.run(stop, Duration::from_secs(1)));
        Ok(addr)
    }

    /// Adds a webhook to the form.
    pub fn add(&self, tag: &str, url: &str, enabled: bool) {
        let mut state = self.state();
        let at = "2026-11-22T10:00:00Z";
        let id = format!("01J{:023}", state.webhooks.len());
        state.webhooks.push(json!({
            "id": id, "form_id": self.form, "tag": tag, "url": url, "enabled": enabled, "verify_ssl": true,
            "event_types": {"form_response": true, "form_response_partial": false},
            "created_at": at, "updated_at": at,
        }));
    }

    /// Changes what the token may do.
    pub fn grant(&self, scopes: &[&str]) {
        self.state().granted = Some(scopes.iter().map(|scope| (*scope).to_owned()).collect());
    }

    /// Refuses the next requests with these statuses.
    pub fn refuse(&self, statuses: impl IntoIterator<Item = u16>) {
        self.state().refusals.extend(statuses);
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.state().requests
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refuse(status: u16, code: &str, description: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Response::json(status, &json!({"code": code, "description": description}))
}

impl Handler for Webhooks {
    async fn handle(&self, request: Request) -> Response {
        let mut state = self.state();
        state.requests += 1;
        if let Some(status) = state.refusals.pop_front() {
            return refuse(status, "FAILED", "failed on purpose");
        }
        let Some(scopes) = bearer(&request).and_then(|token| (self.door)(token)) else {
            return refuse(
                401,
                "AUTHENTICATION_FAILED",
                "Authentication credentials not found on the Request Headers",
            );
        };
        let scopes = state.granted.clone().unwrap_or(scopes);
        let path: Vec<&str> = request.path().split('/').skip(1).collect();
        match (&request.method, path.as_slice()) {
            (&Method::GET, ["forms", form, "webhooks"]) if *form == self.form => {
                if !scopes.contains("webhooks:read") {
                    return refuse(403, "FORBIDDEN", "Token lacks the scope webhooks:read");
                }
                Response::json(StatusCode::OK, &json!({"items": state.webhooks}))
            }
            _ => refuse(404, "FORM_NOT_FOUND", "Non existing form with uid"),
        }
    }
}

//! A webhook receiver as a careful customer would write it: checks the signature, remembers ids, shows what came.
//!
//! `POST /hook` takes a delivery, `GET /` shows the last ones to a person, `GET /deliveries` to a program.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use serde_json::Value;

use super::page;
use crate::server::{
    Error, Handler, HeaderMap, Limits, Listener, Method, Request, Response, Server, StatusCode, header,
};

/// How many deliveries are kept; older ones are forgotten, and their repeats count as new.
const KEPT: usize = 100;

/// What the Standard Webhooks scheme signs, and the signature.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// `webhook-id`
    pub id: &'a str,
    /// `webhook-timestamp`
    pub timestamp: &'a str,
    /// `webhook-signature`
    pub signature: &'a str,
    /// The raw body.
    pub body: &'a [u8],
}

/// One delivery, however often it was sent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Delivery {
    /// `webhook-id`: the delivery's idempotency key.
    pub id: String,
    /// How often it arrived and was taken.
    pub times: u64,
    /// Header lines of the first arrival, without credentials.
    pub headers: Vec<(String, String)>,
    /// The body of the first arrival.
    pub body: Value,
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Deliveries taken for the first time.
    pub taken: u64,
    /// Deliveries that were here already.
    pub repeated: u64,
    /// Requests refused because they were not signed, or not JSON.
    pub refused: u64,
    /// Requests failed on purpose.
    pub failed: u64,
}

#[derive(Default)]
struct State {
    deliveries: VecDeque<Delivery>,
    counts: Counts,
    fail: Option<(usize, StatusCode)>,
}

struct Shared {
    verify: Box<dyn Fn(&Signed<'_>) -> bool + Send + Sync>,
    state: Mutex<State>,
}

/// The receiver. Cheap to clone; clones are one inbox.
#[derive(Clone)]
pub struct Inbox(Arc<Shared>);

impl Inbox {
    /// Takes the check of a signature.
    pub fn new(verify: impl Fn(&Signed<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { verify: Box::new(verify), state: Mutex::default() }))
    }

    /// Binds a port of 127.0.0.1, 0 for a free one; the caller runs the server.
    pub async fn bind(&self, port: u16) -> Result<Server<Self>, Error> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Server::bind(Listener { addr, tls: None }, Limits::default(), Arc::new(self.clone())).await
    }

    /// Answers the next `count` deliveries with `status` instead of taking them; zero stops it.
    pub fn fail_next(&self, count: usize, status: StatusCode) {
        self.state().fail = (count > 0).then_some((count, status));
    }

    /// The last deliveries, oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.state().deliveries.iter().cloned().collect()
    }

    /// What happened since the start.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, request: &Request) -> Response {
        let mut state = self.state();
        if let Some((left, status)) = state.fail {
            state.fail = (left > 1).then_some((left - 1, status));
            state.counts.failed += 1;
            return Response::empty(status);
        }
        drop(state);

        let signed = signed(request).filter(|signed| (self.0.verify)(signed));
        let body = serde_json::from_slice::<Value>(&request.body);
        let mut state = self.state();
        let (signed, body) = match (signed, body) {
            (Some(signed), Ok(body)) => (signed, body),
            (signed, _) => {
                state.counts.refused += 1;
                let status =
                    if signed.is_none() { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
                return Response::empty(status);
            }
        };
        if let Some(known) = state.deliveries.iter_mut().find(|known| known.id == signed.id) {
            known.times += 1;
            state.counts.repeated += 1;
            return Response::empty(StatusCode::NO_CONTENT);
        }
        if state.deliveries.len() == KEPT {
            state.deliveries.pop_front();
        }
        let headers = shown(&request.headers);
        state.deliveries.push_back(Delivery { id: signed.id.to_owned(), times: 1, headers, body });
        state.counts.taken += 1;
        Response::empty(StatusCode::NO_CONTENT)
    }

    fn show(&self, request: &Request) -> Response {
        // Another site can make a browser call us under its own name (DNS rebinding), and the answers are personal.
        if !page::names_this_machine(request) {
            return Response::empty(StatusCode::FORBIDDEN);
        }
        let (deliveries, counts) = (self.deliveries(), self.counts());
        if request.path() == "/" {
            return page::guarded(page::render(&deliveries, counts));
        }
        #[derive(Serialize)]
        struct Listing {
            counts: Counts,
            deliveries: Vec<Delivery>,
        }
        Response::json(StatusCode::OK, &Listing { counts, deliveries })
    }
}

impl Handler for Inbox {
    async fn handle(&self, request: Request) -> Response {
        match (request.path(), &request.method) {
            ("/hook", &Method::POST) => self.take(&request),
            ("/hook", _) => Response::method_not_allowed("POST"),
            ("/" | "/deliveries", &Method::GET | &Method::HEAD) => self.show(&request),
            ("/" | "/deliveries", _) => Response::method_not_allowed("GET, HEAD"),
            _ => Response::empty(StatusCode::NOT_FOUND),
        }
    }
}

fn signed(request: &Request) -> Option<Signed<'_>> {
    Some(Signed {
        id: request.header("webhook-id").filter(|id| !id.is_empty())?,
        timestamp: request.header("webhook-timestamp")?,
        signature: request.header("webhook-signature")?,
        body: &request.body,
    })
}

fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let credential = |name: &&header::HeaderName| [&header::AUTHORIZATION, &header::COOKIE].contains(name);
    headers
        .iter()
        .filter(|(name, _)| !credential(name))
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

//! SurveyMonkey's API as far as responses go, written from its documentation: strict about what is sent, and able to fail.
//!
//! `POST /v3/collectors/{id}/responses` takes a response, `GET` of the same finds by `custom`, and with a response's id
//! tells it. `GET /v3/surveys/{id}/details` tells the definition; `/v3/surveys/{id}/collectors` lists collectors and makes
//! one.
//!
//! It is stricter than the documentation promises: what a survey's own form would not let through is refused.

mod check;

use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::access::{Door, bearer};
use crate::server::header::{self, HeaderName, HeaderValue};
use crate::server::{self, Handler, Limits, Listener, Method, Request, Response, Server, StatusCode};

/// What every answer is counted against.
const WINDOW: Duration = Duration::from_secs(60);
const PER_DAY: u32 = 500;

/// How the next request is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// With this status and the API's error for it, before anything is done.
    Status(StatusCode),
    /// 429, with so many seconds left of the minute.
    Minute(u32),
    /// 429, with so many seconds left of the day.
    Day(u32),
    /// No answer; nothing is done.
    Hang,
    /// All is done, and the connection is cut instead of an answer.
    AcceptThenCut,
}

/// An account with one survey and one collector.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its access token.
    pub token: String,
    /// What the token may do.
    pub scopes: BTreeSet<String>,
    /// Whether the plan includes writing responses.
    pub paid: bool,
    /// The definition, as `/surveys/{id}/details` tells it.
    pub survey: Value,
    /// The collector's id; empty: there is none.
    pub collector: String,
    /// Whether the collector is open.
    pub open: bool,
    /// Requests a minute.
    pub per_minute: u32,
}

impl Account {
    /// A paid account whose token may write and find responses.
    pub fn new(token: &str, collector: &str, survey: Value) -> Self {
        let scopes =
            ["surveys_read", "responses_read", "responses_write", "collectors_read", "collectors_write"];
        Self {
            token: token.to_owned(),
            scopes: scopes.map(str::to_owned).into(),
            paid: true,
            survey,
            collector: collector.to_owned(),
            open: true,
            per_minute: 120,
        }
    }
}

/// An error of the API.
#[derive(Debug, Clone, PartialEq)]
struct Refusal {
    status: u16,
    id: u32,
    message: String,
}

fn refuse(status: u16, id: u32, message: impl Into<String>) -> Refusal {
    Refusal { status, id, message: message.into() }
}

struct State {
    account: Account,
    /// Lets in in place of the account's own token.
    door: Option<Door>,
    responses: Vec<Value>,
    /// Collectors that were made by a call.
    made: Vec<Value>,
    faults: VecDeque<Fault>,
    /// Requests of this minute, and since when.
    minute: (u32, Instant),
    requests: u32,
}

struct Shared {
    state: Mutex<State>,
    /// Cuts every connection that is open.
    cut: Notify,
}

/// The API. Cheap to clone; clones are one account.
#[derive(Clone)]
pub struct Sandbox(Arc<Shared>);

/// Serves until told to stop.
pub struct Running {
    server: Server<Sandbox>,
    front: TcpListener,
    sandbox: Sandbox,
}

impl Sandbox {
    /// An account's API.
    pub fn new(account: Account) -> Self {
        Self::opened(account, None)
    }

    /// An account's API for other tokens than its own.
    pub(super) fn of(door: Door, account: Account) -> Self {
        Self::opened(account, Some(door))
    }

    fn opened(account: Account, door: Option<Door>) -> Self {
        let state = State {
            account,
            door,
            responses: Vec::new(),
            made: Vec::new(),
            faults: VecDeque::new(),
            minute: (0, Instant::now()),
            requests: 0,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), cut: Notify::new() }))
    }

    /// Binds a port of 127.0.0.1, 0 for a free one.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub async fn bind(&self, port: u16) -> Result<Running, server::Error> {
        let addr = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = Listener { addr: addr(0), tls: None };
        let server = Server::bind(listener, Limits::default(), Arc::new(self.clone())).await?;
        let front = TcpListener::bind(addr(port))
            .await
            .map_err(|source| server::Error::Bind { addr: addr(port), source })?;
        Ok(Running { server, front, sandbox: self.clone() })
    }

    /// Fails the next requests, one after the other, in these ways.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// Changes the account.
    pub fn change(&self, change: impl FnOnce(&mut Account)) {
        change(&mut self.state().account);
    }

    /// The responses that were stored, oldest first.
    pub fn responses(&self) -> Vec<Value> {
        self.state().responses.clone()
    }

    /// The collectors that were made, oldest first.
    pub fn made(&self) -> Vec<Value> {
        self.state().made.clone()
    }

    /// Whether this is one of its collectors.
    pub(super) fn has(&self, collector: &str) -> bool {
        self.state().has(collector)
    }

    /// How many requests came, the failed ones too.
    pub fn requests(&self) -> u32 {
        self.state().requests
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &Request) -> Response {
        let mut state = self.state();
        let answered = state.answer(request);
        let mut response = match answered {
            Ok((status, body)) => Response::json(status, &body),
            Err(refusal) => error(&refusal),
        };
        let spent = state.minute.0.min(state.account.per_minute);
        let left = state.account.per_minute - spent;
        let reset = WINDOW.saturating_sub(state.minute.1.elapsed()).as_secs();
        let day_left = PER_DAY.saturating_sub(state.requests);
        for (name, value) in [
            ("minute-limit", u64::from(state.account.per_minute)),
            ("minute-remaining", u64::from(left)),
            ("minute-reset", reset),
            ("day-limit", u64::from(PER_DAY)),
            ("day-remaining", u64::from(day_left)),
            ("day-reset", 43_200),
        ] {
            response = limit(response, name, value);
        }
        response
    }
}

impl Running {
    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.front.local_addr()
    }

    /// Serves until `shutdown` becomes true. A relay stands in front of the server, because only it can cut a connection
    /// in the middle of an answer. Not cancel safe: dropping the future cuts every connection.
    pub async fn run(self, shutdown: watch::Receiver<bool>) {
        let inner = self.server.local_addr();
        let mut stop = shutdown.clone();
        let mut tasks = JoinSet::new();
        let server = self.server;
        tasks.spawn(async move {
            server.run(shutdown, Duration::from_secs(1)).await;
        });
        loop {
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = self.front.accept() => accepted,
            };
            let Ok((mut near, _)) = accepted else { continue };
            let sandbox = self.sandbox.clone();
            tasks.spawn(async move {
                let cut = sandbox.0.cut.notified();
                let Ok(mut far) = TcpStream::connect(inner).await else { return };
                tokio::select! {
                    () = cut => {}
                    _ended = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                }
            });
        }
        tasks.shutdown().await;
    }
}

impl Handler for Sandbox {
    async fn handle(&self, request: Request) -> Response {
        let fault = {
            let mut state = self.state();
            state.requests += 1;
            state.faults.pop_front()
        };
        match fault {
            None => self.answer(&request),
            Some(Fault::Status(status)) => {
                let id = if status.is_server_error() { 1050 } else { 1000 };
                error(&refuse(status.as_u16(), id, "This was asked for."))
            }
            Some(Fault::Minute(reset)) => too_many(("minute", reset), ("day", 7)),
            Some(Fault::Day(reset)) => too_many(("day", reset), ("minute", 50)),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::AcceptThenCut) => {
                drop(self.answer(&request));
                self.0.cut.notify_waiters();
                std::future::pending().await
            }
        }
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Result<(StatusCode, Value), Refusal> {
        if self.minute.1.elapsed() >= WINDOW {
            self.minute = (0, Instant::now());
        }
        self.minute.0 += 1;
        if self.minute.0 > self.account.per_minute {
            return Err(refuse(429, 1040, "Too many requests were made, try again later."));
        }
        self.authorize(request)?;
        let path: Vec<&str> = request.path().trim_matches('/').split('/').collect();
        let survey = self.account.survey["id"].as_str().unwrap_or_default();
        match (&request.method, path.as_slice()) {
            (&Method::GET, ["v3", "surveys", id, "details"]) if *id == survey => {
                self.allow("surveys_read")?;
                Ok((StatusCode::OK, self.account.survey.clone()))
            }
            (&Method::GET, ["v3", "surveys", id, "collectors"]) if *id == survey => {
                self.allow("collectors_read")?;
                Ok((StatusCode::OK, self.collectors(request.query().unwrap_or_default())?))
            }
            (&Method::POST, ["v3", "surveys", id, "collectors"]) if *id == survey => {
                self.allow("collectors_write")?;
                self.make(request)
            }
            (&Method::GET, ["v3", "collectors", id, "responses"]) if self.has(id) => {
                self.allow("responses_read")?;
                Ok((StatusCode::OK, self.find(request.query().unwrap_or_default())?))
            }
            (&Method::GET, ["v3", "collectors", id, "responses", response]) if self.has(id) => {
                self.allow("responses_read")?;
                let found = self.responses.iter().find(|stored| stored["id"] == *response);
                let mut told = found.cloned().ok_or_else(not_found)?;
                // Answers are told by `/details` only, which takes another scope.
                told.as_object_mut().map(|response| response.shift_remove("pages"));
                Ok((StatusCode::OK, told))
            }
            (&Method::POST, ["v3", "collectors", id, "responses"]) if self.has(id) => {
                self.allow("responses_write")?;
                if !self.account.paid {
                    return Err(refuse(403, 1015, "Your account's plan does not permit this."));
                }
                self.create(request, id)
            }
            (_, ["v3", "collectors", id, "responses"]) if self.has(id) => {
                Err(refuse(405, 1000, "Not here: this would change responses."))
            }
            _ => Err(not_found()),
        }
    }

    fn has(&self, collector: &str) -> bool {
        !collector.is_empty()
            && (collector == self.account.collector || self.made.iter().any(|made| made["id"] == collector))
    }

    fn collectors(&self, query: &str) -> Result<Value, Refusal> {
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let known = ["type", "status", "url", "response_count", "date_modified", "date_created"];
            match name.as_ref() {
                "include" if value.split(',').all(|field| known.contains(&field)) => {}
                "page" | "per_page"
                    if value.parse::<u32>().is_ok_and(|number| (1..=1000).contains(&number)) => {}
                _ => return Err(refuse(400, 1003, format!("The parameter {name} is not known."))),
            }
        }
        let status = if self.account.open { "open" } else { "closed" };
        let own =
            json!({"id": self.account.collector, "name": "Web Link 1", "type": "weblink", "status": status});
        let own = (!self.account.collector.is_empty()).then_some(own);
        let data: Vec<Value> = own.into_iter().chain(self.made.clone()).collect();
        Ok(json!({"total": data.len(), "data": data, "per_page": 1000, "page": 1, "links": {}}))
    }

    fn make(&mut self, request: &Request) -> Result<(StatusCode, Value), Refusal> {
        let body: Value =
            serde_json::from_slice(&request.body).map_err(|_| refuse(400, 1001, "The body is not JSON."))?;
        if body["type"] != "weblink" || !body["name"].is_string() {
            return Err(refuse(400, 1002, "A collector needs a type and a name."));
        }
        let survey = self.account.survey["id"].as_str().unwrap_or_default();
        let id = format!("39521{survey}{:04}", self.made.len() + 1);
        let made = json!({"id": id, "name": body["name"], "type": "weblink", "status": "open"});
        self.made.push(made.clone());
        Ok((StatusCode::CREATED, made))
    }

    fn authorize(&mut self, request: &Request) -> Result<(), Refusal> {
        if request.header(header::AUTHORIZATION).is_none() {
            return Err(refuse(401, 1010, "The authorization token was not provided."));
        };
        let scopes = bearer(request).and_then(|token| match &self.door {
            Some(door) => door(token),
            None => (token == self.account.token).then(|| self.account.scopes.clone()),
        });
        match scopes {
            Some(scopes) => {
                self.account.scopes = scopes;
                Ok(())
            }
            None => Err(refuse(401, 1011, "The authorization token provided was invalid.")),
        }
    }

    fn allow(&self, scope: &str) -> Result<(), Refusal> {
        if self.account.scopes.contains(scope) {
            return Ok(());
        }
        Err(refuse(403, 1014, "Permission has not been granted by the user to make this request."))
    }

    fn find(&self, query: &str) -> Result<Value, Refusal> {
        let mut custom = None;
        let mut per_page = 50;
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "custom" => custom = Some(value.into_owned()),
                "per_page" => {
                    per_page = value.parse().map_err(|_| refuse(400, 1003, "per_page is no number."))?
                }
                _ => return Err(refuse(400, 1003, format!("The parameter {name} is not known."))),
            }
        }
        let is_wanted =
            |stored: &&Value| custom.as_ref().is_none_or(|custom| stored["custom_value"] == **custom);
        let found: Vec<&Value> = self.responses.iter().filter(is_wanted).collect();
        let data: Vec<Value> = found
            .iter()
            .take(per_page)
            .map(|stored| json!({"id": stored["id"], "href": stored["href"]}))
            .collect();
        Ok(json!({"data": data, "per_page": per_page, "page": 1, "total": found.len(), "links": {}}))
    }

    fn create(&mut self, request: &Request, collector: &str) -> Result<(StatusCode, Value), Refusal> {
        if request.header(header::CONTENT_TYPE) != Some("application/json") {
            return Err(refuse(400, 1004, "The content type is not application/json."));
        }
        let body: Value =
            serde_json::from_slice(&request.body).map_err(|_| refuse(400, 1001, "The body is not JSON."))?;
        check::response(&self.account.survey, &body).map_err(|message| refuse(400, 1002, message))?;
        if !self.account.open && collector == self.account.collector {
            return Err(refuse(409, 1025, "The collector is closed."));
        }
        let number = self.responses.len() + 1;
        let mut stored = body;
        for (name, value) in [
            ("id", json!(format!("50071544{number:02}"))),
            ("survey_id", self.account.survey["id"].clone()),
            ("collector_id", json!(collector)),
            ("collection_mode", json!("default")),
            ("total_time", json!(0)),
            ("href", json!(format!("https://api.surveymonkey.com/v3/responses/50071544{number:02}"))),
        ] {
            stored[name] = value;
        }
        self.responses.push(stored.clone());
        Ok((StatusCode::CREATED, stored))
    }
}

fn not_found() -> Refusal {
    refuse(404, 1020, "There was an error retrieving the requested resource.")
}

fn error(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({"error": {
        "docs": "https://developer.surveymonkey.com/api/v3/#error-codes",
        "message": refusal.message,
        // The documentation has a text, real answers have had a number.
        "id": refusal.id.to_string(),
        "name": status.canonical_reason().unwrap_or_default(),
        "http_status_code": refusal.status,
    }});
    Response::json(status, &body)
}

/// 429: nothing left of the first window, something left of the second.
fn too_many((spent, reset): (&str, u32), (other, left): (&str, u32)) -> Response {
    let response = error(&refuse(429, 1040, "Too many requests were made, try again later."));
    let response = limit(response, &format!("{spent}-remaining"), 0);
    let response = limit(response, &format!("{spent}-reset"), u64::from(reset));
    let response = limit(response, &format!("{other}-remaining"), u64::from(left));
    limit(response, &format!("{other}-reset"), 3)
}

fn limit(response: Response, name: &str, value: u64) -> Response {
    let name = HeaderName::try_from(format!("x-ratelimit-app-global-{name}"));
    match name {
        Ok(name) => response.with_header(name, HeaderValue::from(value)),
        Err(_) => response,
    }
}

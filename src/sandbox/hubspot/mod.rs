//! HubSpot as its documentation describes it, for one machine: the secure submission endpoint and the list of a form's
//! submissions. Stricter than the real one where the documents leave room, so that what passes here passes there.

mod check;
pub mod crm;
mod files;

use std::collections::VecDeque;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use self::check::Form;
pub use self::files::File;
use self::files::FileManager;
pub(super) use self::files::MAX_UPLOAD_BYTES;
use super::access::{Door, bearer, only};
use super::library::Library;
use crate::server::header::{self, HeaderValue};
use crate::server::{
    DEFAULT_BODY_LIMIT_BYTES, Error, Handler, Limits, Listener, Method, Request, Response, Server, StatusCode,
};

/// The window of the rate limit.
const WINDOW: Duration = Duration::from_secs(10);

/// A submission as HubSpot keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The form's guid.
    pub form: String,
    /// Milliseconds, as the submission said.
    pub submitted_at: Option<i64>,
    /// Object type, property and value, in the order sent.
    pub values: Vec<(String, String, String)>,
    /// `pageUri`
    pub page_url: String,
    /// `pageName`
    pub page_name: String,
    /// `legalConsentOptions`; null if there were none.
    pub consent: Value,
}

/// What goes wrong on purpose, once each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status, and nothing is kept.
    Status(u16),
    /// 429 with `Retry-After` in seconds.
    RateLimit(u64),
    /// 429 because the day's budget is used up.
    DailyLimit,
    /// No answer, and nothing is kept.
    Hang,
    /// The submission is kept and the connection cut before the answer.
    AcceptThenCut,
    /// The submission is kept and 500 answered.
    AcceptThenFail,
}

#[derive(Default)]
struct State {
    records: Vec<Record>,
    faults: VecDeque<Fault>,
    calls: Vec<Instant>,
    requests: Vec<String>,
}

/// The account's forms.
enum Forms {
    These(Vec<Arc<Form>>),
    /// As they are in the library when they are asked for.
    Of(Library),
}

impl Forms {
    fn find(&self, guid: &str) -> Option<Arc<Form>> {
        match self {
            Forms::These(forms) => forms.iter().find(|form| form.guid == guid).cloned(),
            Forms::Of(library) => {
                library.definition("hubspot", guid).map(|(definition, _)| Arc::new(Form::of(&definition)))
            }
        }
    }
}

struct Shared {
    portal: String,
    door: Door,
    may_list: bool,
    per_window: usize,
    forms: Forms,
    files: FileManager,
    state: Mutex<State>,
    cut: Notify,
}

/// The account. Cheap to clone; clones are one account.
#[derive(Clone)]
pub struct HubSpot(Arc<Shared>);

impl HubSpot {
    /// An account with these forms, as v3 definitions.
    pub fn new(portal: &str, token: &str, definitions: &[Value]) -> HubSpot {
        let forms = definitions.iter().map(|definition| Arc::new(Form::of(definition))).collect();
        Self::made(portal, only(token, &["forms", "files"]), Forms::These(forms))
    }

    /// An account with the forms of a library, for tokens that may use forms.
    pub(super) fn of(portal: &str, door: Door, library: Library) -> HubSpot {
        Self::made(portal, door, Forms::Of(library))
    }

    fn made(portal: &str, door: Door, forms: Forms) -> HubSpot {
        HubSpot(Arc::new(Shared {
            portal: portal.to_owned(),
            door,
            may_list: true,
            per_window: 100,
            forms,
            files: FileManager::default(),
            state: Mutex::default(),
            cut: Notify::new(),
        }))
    }

    /// The same with another rate limit, and a token that may list submissions or not. Before it is cloned.
    #[must_use]
    pub fn limited(self, per_window: usize, may_list: bool) -> HubSpot {
        match Arc::try_unwrap(self.0) {
            Ok(shared) => HubSpot(Arc::new(Shared { per_window, may_list, ..shared })),
            Err(shared) => HubSpot(shared),
        }
    }

    /// Binds a free port of 127.0.0.1 and serves until `stop` becomes true.
    ///
    /// # Errors
    /// No port is free.
    pub async fn serve(&self, stop: watch::Receiver<bool>) -> Result<SocketAddr, Error> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server =
            Server::bind(Listener { addr, tls: None }, Limits::default(), Arc::new(self.clone())).await?;
        let inner = server.local_addr();
        // In front of it, because no HTTP server cuts a connection on purpose.
        let front = TcpListener::bind(addr).await.map_err(|source| Error::Bind { addr, source })?;
        let address = front.local_addr().map_err(|source| Error::Bind { addr, source })?;
        tokio::spawn(server.run(stop.clone(), Duration::from_secs(1)));
        tokio::spawn(forward(front, inner, self.0.clone(), stop));
        Ok(address)
    }

    /// Lets the next submissions fail so, in this order.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults = faults.into_iter().collect();
    }

    /// The files that were uploaded, oldest first.
    pub fn files(&self) -> Vec<File> {
        self.0.files.all()
    }

    /// What was kept, oldest first.
    pub fn records(&self) -> Vec<Record> {
        self.state().records.clone()
    }

    /// Method and path of every request that came, oldest first.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The refusal that comes before any look at the content.
    fn gate(&self, request: &Request, scope: &str) -> Option<Response> {
        let Some(scopes) = bearer(request).and_then(|token| (self.0.door)(token)) else {
            return Some(failed(
                401,
                "Authentication credentials not found or not valid.",
                json!({
                    "category": "INVALID_AUTHENTICATION",
                }),
            ));
        };
        if !scopes.contains(scope) {
            let message = "This app hasn't been granted all required scopes to make this call.";
            return Some(failed(403, message, json!({"category": "MISSING_SCOPES"})));
        }
        let mut state = self.state();
        state.calls.retain(|at| at.elapsed() < WINDOW);
        if state.calls.len() >= self.0.per_window {
            return Some(limited("TEN_SECONDLY_ROLLING", None));
        }
        state.calls.push(Instant::now());
        None
    }

    async fn submit(&self, request: &Request, portal: &str, guid: &str) -> Response {
        if let Some(refusal) = self.gate(request, "forms") {
            return refusal;
        }
        let form = self.0.forms.find(guid).filter(|_| portal == self.0.portal);
        let Some(form) = form else {
            return failed(404, "Form not found or portal mismatch", json!({}));
        };
        let fault = self.state().faults.pop_front();
        match fault {
            Some(Fault::Status(status)) => return failed(status, "failed on purpose", json!({})),
            Some(Fault::RateLimit(seconds)) => return limited("TEN_SECONDLY_ROLLING", Some(seconds)),
            Some(Fault::DailyLimit) => return limited("DAILY", None),
            Some(Fault::Hang) => return pending().await,
            Some(Fault::AcceptThenCut | Fault::AcceptThenFail) | None => {}
        }
        let is_json = request.header(header::CONTENT_TYPE) == Some("application/json");
        let body = serde_json::from_slice::<Value>(&request.body).ok().filter(|_| is_json);
        let Some(body) = body else {
            return failed(400, "Invalid input JSON", json!({"errors": []}));
        };
        let errors = form.check(&body);
        if !errors.is_empty() {
            let errors: Vec<Value> = errors
                .into_iter()
                .map(|(kind, message)| json!({"message": message, "errorType": kind}))
                .collect();
            return failed(400, "The request is not valid", json!({"errors": errors}));
        }
        self.state().records.push(record(guid, &body));
        match fault {
            Some(Fault::AcceptThenCut) => {
                self.0.cut.notify_waiters();
                pending().await
            }
            Some(Fault::AcceptThenFail) => failed(500, "failed on purpose", json!({})),
            _ => Response::json(StatusCode::OK, &json!({"inlineMessage": "<p>Thanks</p>"})),
        }
    }

    fn listing(&self, request: &Request, guid: &str) -> Response {
        if let Some(refusal) = self.gate(request, "forms") {
            return refusal;
        }
        if !self.0.may_list {
            return failed(403, "This app has not the scopes", json!({"category": "MISSING_SCOPES"}));
        }
        let query: Vec<(String, String)> =
            url::form_urlencoded::parse(request.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let number = |name: &str| {
            let (_, value) = query.iter().find(|(key, _)| key == name)?;
            value.parse::<usize>().ok()
        };
        let (limit, after) = (number("limit").unwrap_or(20).min(50), number("after").unwrap_or(0));
        let records = self.records();
        let mut newest: Vec<&Record> = records.iter().rev().filter(|record| record.form == guid).collect();
        newest.sort_by_key(|record| std::cmp::Reverse(record.submitted_at));
        let results: Vec<Value> =
            newest.iter().skip(after).take(limit).map(|record| listed(record)).collect();
        let mut answer = json!({"results": results});
        if newest.len() > after + limit {
            answer["paging"] = json!({"next": {"after": (after + limit).to_string()}});
        }
        Response::json(StatusCode::OK, &answer)
    }
}

impl Handler for HubSpot {
    async fn handle(&self, request: Request) -> Response {
        self.state().requests.push(format!("{} {}", request.method, request.path()));
        let path: Vec<&str> = request.path().split('/').skip(1).collect();
        match (&request.method, path.as_slice()) {
            (&Method::POST, ["submissions", "v3", "integration", "secure", "submit", portal, guid]) => {
                self.submit(&request, portal, guid).await
            }
            (&Method::GET, ["form-integrations", "v1", "submissions", "forms", guid]) => {
                self.listing(&request, guid)
            }
            (&Method::POST, ["files", "v3", "files"]) => {
                self.gate(&request, "files").unwrap_or_else(|| self.0.files.take(&self.0.portal, &request))
            }
            (&Method::GET, ["files", "v3", "files", "search"]) => {
                let query = request.query().unwrap_or_default();
                self.gate(&request, "files").unwrap_or_else(|| self.0.files.search(query))
            }
            _ => failed(404, "no such resource", json!({})),
        }
    }

    fn body_limit(&self, _method: &Method, path: &str) -> usize {
        if path == "/files/v3/files" { MAX_UPLOAD_BYTES } else { DEFAULT_BODY_LIMIT_BYTES }
    }
}

/// Passes connections on until `cut` tells to drop those that are open.
async fn forward(
    front: TcpListener,
    inner: SocketAddr,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let mut open = JoinSet::new();
    loop {
        let mut outside = tokio::select! {
            accepted = front.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let shared = shared.clone();
        open.spawn(async move {
            let Ok(mut inside) = TcpStream::connect(inner).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut outside, &mut inside) => {}
                () = shared.cut.notified() => {}
            }
        });
    }
}

fn failed(status: u16, message: &str, more: Value) -> Response {
    let mut body = json!({
        "status": "error", "message": message, "correlationId": "2c6a5b7e-0000-4000-8000-9d1f3a7b5c11",
    });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    Response::json(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &body)
}

fn limited(policy: &str, seconds: Option<u64>) -> Response {
    let response = failed(
        429,
        "You have reached your limit.",
        json!({
            "errorType": "RATE_LIMIT", "policyName": policy, "requestId": "r",
        }),
    );
    match seconds {
        Some(seconds) => response.with_header(header::RETRY_AFTER, HeaderValue::from(seconds)),
        None => response,
    }
}

fn record(guid: &str, body: &Value) -> Record {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let value = |field: &Value| {
        let object = field["objectTypeId"].as_str().unwrap_or("0-1").to_owned();
        (object, text(&field["name"]), text(&field["value"]))
    };
    Record {
        form: guid.to_owned(),
        submitted_at: check::milliseconds(&body["submittedAt"]),
        values: body["fields"].as_array().into_iter().flatten().map(value).collect(),
        page_url: text(&body["context"]["pageUri"]),
        page_name: text(&body["context"]["pageName"]),
        consent: body["legalConsentOptions"].clone(),
    }
}

fn listed(record: &Record) -> Value {
    let values: Vec<Value> = record
        .values
        .iter()
        .map(|(object, name, value)| json!({"name": name, "value": value, "objectTypeId": object}))
        .collect();
    json!({"submittedAt": record.submitted_at, "values": values, "pageUrl": record.page_url})
}

//! HubSpot's CRM as its API describes it, for one machine: contacts that are found or made by e-mail address, objects of
//! the account's own, and associations between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::sandbox::access::{Door, bearer, only};
use crate::server::header;
use crate::server::{Error, Handler, Limits, Listener, Method, Request, Response, Server, StatusCode};

/// A type of record.
#[derive(Debug, Clone, Default)]
struct Kind {
    properties: BTreeSet<String>,
    /// Those with unique values.
    unique: BTreeSet<String>,
    records: Vec<BTreeMap<String, String>>,
}

#[derive(Default)]
struct State {
    kinds: BTreeMap<String, Kind>,
    /// Of the token that is asking.
    scopes: BTreeSet<String>,
    withdrawn: BTreeSet<String>,
    associations: BTreeSet<(String, String)>,
    faults: VecDeque<u16>,
    exchanges: Vec<(String, Value, u16, Value)>,
}

/// The account. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Crm {
    door: Door,
    state: Arc<Mutex<State>>,
}

type Refusal = (u16, Value);

impl Crm {
    /// An account whose contacts have these properties besides `email`.
    pub fn new(token: &str, properties: &[&str]) -> Crm {
        Self::of(only(token, &["crm.objects.contacts.write", "crm.objects.custom.write"]), properties)
    }

    /// The same for other tokens.
    pub(in crate::sandbox) fn of(door: Door, properties: &[&str]) -> Crm {
        let mut state = State::default();
        let contact = Kind {
            properties: properties.iter().chain(&["email"]).map(|name| (*name).to_owned()).collect(),
            unique: BTreeSet::from(["email".to_owned()]),
            records: Vec::new(),
        };
        state.kinds.insert("contacts".to_owned(), contact);
        Crm { door, state: Arc::new(Mutex::new(state)) }
    }

    /// Adds a type of the account's own, with these properties and one with unique values.
    pub fn define(&self, kind: &str, unique: &str, properties: &[&str]) {
        let kind_of = Kind {
            properties: properties.iter().chain(&[unique]).map(|name| (*name).to_owned()).collect(),
            unique: BTreeSet::from([unique.to_owned()]),
            records: Vec::new(),
        };
        self.state().kinds.insert(kind.to_owned(), kind_of);
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

    /// Answers the next requests so: a 5xx after the work is done, 200 as ever, anything else before.
    pub fn fail(&self, statuses: impl IntoIterator<Item = u16>) {
        self.state().faults.extend(statuses);
    }

    /// Takes a scope from the token.
    pub fn withdraw(&self, scope: &str) {
        self.state().withdrawn.insert(scope.to_owned());
    }

    /// The records of a type, oldest first.
    pub fn records(&self, kind: &str) -> Vec<BTreeMap<String, String>> {
        self.state().kinds.get(kind).map(|kind| kind.records.clone()).unwrap_or_default()
    }

    /// The associations, as type and id on both sides.
    pub fn associations(&self) -> Vec<(String, String)> {
        self.state().associations.iter().cloned().collect()
    }

    /// Everything that was asked and answered: path, body, status, answer.
    pub fn exchanges(&self) -> Vec<(String, Value, u16, Value)> {
        self.state().exchanges.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refuse(status: u16, category: &str, message: &str, errors: Value) -> Refusal {
    let mut body = json!({
        "message": message, "category": category,
        "correlationId": "2c6a5b7e-0000-4000-8000-9d1f3a7b5c11",
    });
    if !errors.is_null() {
        body["errors"] = errors;
    }
    (status, body)
}

impl State {
    fn allow(&self, kind: &str) -> Result<(), Refusal> {
        let scope =
            if kind == "contacts" { "crm.objects.contacts.write" } else { "crm.objects.custom.write" };
        if self.scopes.contains(scope) && !self.withdrawn.contains(scope) {
            return Ok(());
        }
        Err(refuse(403, "MISSING_SCOPES", "This app hasn't been granted all required scopes", Value::Null))
    }

    fn upsert(&mut self, kind_name: &str, body: &Value) -> Result<Value, Refusal> {
        self.allow(kind_name)?;
        let wrong = |message: &str, errors| refuse(400, "VALIDATION_ERROR", message, errors);
        let inputs = body.get("inputs").and_then(Value::as_array);
        let inputs = inputs.filter(|inputs| (1..=100).contains(&inputs.len()));
        let inputs = inputs.ok_or_else(|| wrong("inputs must have 1 to 100 items", Value::Null))?;
        let kind = self.kinds.get_mut(kind_name);
        let kind =
            kind.ok_or_else(|| refuse(404, "OBJECT_NOT_FOUND", "Unable to infer object type", Value::Null))?;
        let mut results = Vec::new();
        for input in inputs {
            let members = input.as_object().ok_or_else(|| wrong("an input is no object", Value::Null))?;
            let names = ["id", "idProperty", "properties", "objectWriteTraceId"];
            if members.keys().any(|name| !names.contains(&name.as_str())) {
                return Err(wrong("an input has an unknown member", Value::Null));
            }
            let text = |name: &str| input.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (by, id) = (text("idProperty"), text("id"));
            if !kind.unique.contains(&by) || id.is_empty() {
                return Err(wrong("idProperty is not a property with unique values", Value::Null));
            }
            let mut record = BTreeMap::from([(by.clone(), id.clone())]);
            for (name, value) in input.get("properties").and_then(Value::as_object).into_iter().flatten() {
                let told = |code: &str| json!([{"message": format!("{name} is {value}"), "code": code, "context": {"propertyName": [name]}}]);
                if !kind.properties.contains(name) {
                    return Err(wrong("Property values were not valid", told("PROPERTY_DOESNT_EXIST")));
                }
                let value = value
                    .as_str()
                    .ok_or_else(|| wrong("Property values were not valid", told("INVALID_TYPE")))?;
                if name == "email" && !value.contains('@') {
                    return Err(wrong("Property values were not valid", told("INVALID_EMAIL")));
                }
                record.insert(name.clone(), value.to_owned());
            }
            let known = kind.records.iter().position(|known| known.get(&by) == Some(&id));
            match known {
                Some(at) => kind.records[at].extend(record),
                None => kind.records.push(record),
            }
            let at = known.unwrap_or(kind.records.len() - 1);
            let stamp = "2026-11-22T10:05:00.000Z";
            results.push(json!({
                "id": format!("{}", 1001 + at), "new": known.is_none(), "archived": false,
                "createdAt": stamp, "updatedAt": stamp, "properties": kind.records[at],
            }));
        }
        let stamp = "2026-11-22T10:05:00.000Z";
        Ok(json!({"status": "COMPLETE", "results": results, "startedAt": stamp, "completedAt": stamp}))
    }

    fn associate(&mut self, from: [&str; 2], to: [&str; 2]) -> Result<Value, Refusal> {
        self.allow(to[0])?;
        for [kind, id] in [from, to] {
            let at = id.parse::<usize>().ok().and_then(|id| id.checked_sub(1001));
            let known = self.kinds.get(kind).and_then(|kind| kind.records.get(at?));
            if known.is_none() {
                return Err(refuse(
                    404,
                    "OBJECT_NOT_FOUND",
                    "One of the objects does not exist",
                    Value::Null,
                ));
            }
        }
        self.associations.insert((from.join("/"), to.join("/")));
        Ok(json!({"status": "COMPLETE", "results": []}))
    }

    fn answer(&mut self, request: &Request, path: &[&str], body: &Value) -> Result<Value, Refusal> {
        match (&request.method, path) {
            (&Method::POST, ["crm", "v3", "objects", kind, "batch", "upsert"]) => {
                if request.header(header::CONTENT_TYPE) != Some("application/json") {
                    return Err(refuse(415, "VALIDATION_ERROR", "the body is not JSON", Value::Null));
                }
                self.upsert(kind, body)
            }
            (&Method::PUT, ["crm", "v4", "objects", from, id, "associations", "default", to, other]) => {
                self.associate([from, id], [to, other])
            }
            _ => Err(refuse(404, "OBJECT_NOT_FOUND", "no such resource", Value::Null)),
        }
    }
}

impl Handler for Crm {
    async fn handle(&self, request: Request) -> Response {
        let mut state = self.state();
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let path: Vec<&str> = request.path().split('/').skip(1).collect();
        let fault = state.faults.pop_front().filter(|status| *status != 200);
        let scopes = bearer(&request).and_then(|token| (self.door)(token));
        let is_known = scopes.is_some();
        state.scopes = scopes.unwrap_or_default();
        let answered = if !is_known {
            Err(refuse(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.", Value::Null))
        } else if let Some(status) = fault.filter(|status| *status < 500) {
            Err(refuse(status, "FAILED", "failed on purpose", Value::Null))
        } else {
            let answered = state.answer(&request, &path, &body);
            match fault {
                Some(status) => Err(refuse(status, "FAILED", "failed on purpose", Value::Null)),
                None => answered,
            }
        };
        let (status, answer) = match answered {
            Ok(answer) => (200, answer),
            Err(refusal) => refusal,
        };
        state.exchanges.push((request.path().to_owned(), body, status, answer.clone()));
        Response::json(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &answer)
    }
}

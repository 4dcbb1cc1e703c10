//! A spreadsheet as Google's API shows it, for one machine: titles of tabs, ranges of values, and rows that are appended.
//! Strict where the API is: unknown parameters, ranges that are not in A1 notation, tabs that do not exist and cells that
//! are no values are refused; what is appended as a person would type it becomes a formula where it begins like one.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::access::{Door, bearer, only};
use crate::server::{Error, Handler, Limits, Listener, Method, Request, Response, Server, StatusCode};

/// A request and what it was answered.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The method.
    pub method: String,
    /// The path, decoded.
    pub path: String,
    /// The query's pairs, decoded.
    pub query: Vec<(String, String)>,
    /// The body; null if there was none.
    pub sent: Value,
    /// The status.
    pub status: u16,
    /// The answer.
    pub answered: Value,
}

/// What goes wrong on purpose, once each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status, before anything is done.
    Status(u16),
    /// 403 because it is too much just now.
    RateLimit,
    /// The row is written and 503 answered.
    AppendThenFail,
}

/// Any of these lets read and write.
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/spreadsheets", "https://www.googleapis.com/auth/drive.file"];

struct State {
    tabs: Vec<(String, Vec<Vec<Value>>)>,
    /// Whether the token may write.
    writes: bool,
    faults: VecDeque<Fault>,
    exchanges: Vec<Exchange>,
}

/// The spreadsheet. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct Spreadsheet {
    id: String,
    door: Door,
    state: Arc<Mutex<State>>,
}

type Refusal = (u16, &'static str, &'static str);

impl Spreadsheet {
    /// A spreadsheet with these tabs, each with the cells of its first row.
    pub fn new(id: &str, token: &str, tabs: &[(&str, &[&str])]) -> Spreadsheet {
        Self::of(id, only(token, &[SCOPES[0]]), tabs)
    }

    /// The same for other tokens.
    pub(super) fn of(id: &str, door: Door, tabs: &[(&str, &[&str])]) -> Spreadsheet {
        let tab = |(title, header): &(&str, &[&str])| {
            let header: Vec<Value> = header.iter().map(|cell| json!(cell)).collect();
            ((*title).to_owned(), vec![header])
        };
        let state = State {
            tabs: tabs.iter().map(tab).collect(),
            writes: true,
            faults: VecDeque::new(),
            exchanges: Vec::new(),
        };
        Spreadsheet { id: id.to_owned(), door, state: Arc::new(Mutex::new(state)) }
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

    /// Lets the next requests fail so, in this order.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// Whether the token may write, from now on.
    pub fn share(&self, writes: bool) {
        self.state().writes = writes;
    }

    /// Gives a tab another title.
    pub fn rename(&self, from: &str, to: &str) {
        for (title, _) in self.state().tabs.iter_mut().filter(|(title, _)| title == from) {
            to.clone_into(title);
        }
    }

    /// The rows of a tab below its header.
    pub fn rows(&self, tab: &str) -> Vec<Vec<Value>> {
        let state = self.state();
        let found = state.tabs.iter().find(|(title, _)| title == tab);
        found.map(|(_, rows)| rows.iter().skip(1).cloned().collect()).unwrap_or_default()
    }

    /// Everything that was asked and answered, oldest first.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.state().exchanges.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &Request, path: &str, query: &[(String, String)]) -> Result<Value, Refusal> {
        let Some(scopes) = bearer(request).and_then(|token| (self.door)(token)) else {
            return Err((401, "UNAUTHENTICATED", "Request had invalid authentication credentials."));
        };
        if !SCOPES.iter().any(|scope| scopes.contains(*scope)) {
            return Err((403, "PERMISSION_DENIED", "Request had insufficient authentication scopes."));
        }
        let mut state = self.state();
        // A fault of appending waits for the next row.
        let is_append = request.method == Method::POST;
        let is_due = state.faults.front().is_some_and(|fault| is_append || *fault != Fault::AppendThenFail);
        let fault = if is_due { state.faults.pop_front() } else { None };
        match fault {
            Some(Fault::Status(status)) => return Err((status, "UNAVAILABLE", "failed on purpose")),
            Some(Fault::RateLimit) => return Err((403, "RESOURCE_EXHAUSTED", "Quota exceeded.")),
            Some(Fault::AppendThenFail) | None => {}
        }
        let inside = path.strip_prefix(&format!("/v4/spreadsheets/{}", self.id));
        let inside = inside.ok_or((404, "NOT_FOUND", "Requested entity was not found."))?;
        let answer = match (&request.method, inside) {
            (&Method::GET, "") => {
                known(query, &["fields", "includeGridData", "ranges"])?;
                let sheets = state.tabs.iter().enumerate();
                let sheets =
                    sheets.map(|(id, (title, _))| json!({"properties": {"sheetId": id, "title": title}}));
                json!({"sheets": sheets.collect::<Vec<_>>()})
            }
            (&Method::GET, "/values:batchGet") => {
                known(query, &["ranges", "majorDimension", "valueRenderOption", "dateTimeRenderOption"])?;
                let ranges = query.iter().filter(|(name, _)| name == "ranges");
                let ranges =
                    ranges.map(|(_, range)| state.values(range, query)).collect::<Result<Vec<_>, _>>()?;
                json!({"spreadsheetId": self.id, "valueRanges": ranges})
            }
            (&Method::GET, inside) => {
                known(query, &["majorDimension", "valueRenderOption", "dateTimeRenderOption"])?;
                let range =
                    inside.strip_prefix("/values/").ok_or((404, "NOT_FOUND", "There is nothing there."))?;
                state.values(range, query)?
            }
            (&Method::POST, inside) => {
                let range = inside.strip_prefix("/values/").and_then(|range| range.strip_suffix(":append"));
                let range = range.ok_or((404, "NOT_FOUND", "There is nothing there."))?;
                let body = serde_json::from_slice(&request.body)
                    .map_err(|_| (400, "INVALID_ARGUMENT", "Invalid JSON payload received."))?;
                let mut answer = state.append(range, query, &body)?;
                answer["spreadsheetId"] = json!(self.id);
                answer
            }
            _ => return Err((404, "NOT_FOUND", "There is nothing there.")),
        };
        match fault {
            Some(_) => Err((503, "UNAVAILABLE", "The service is currently unavailable.")),
            None => Ok(answer),
        }
    }
}

impl Handler for Spreadsheet {
    async fn handle(&self, request: Request) -> Response {
        let path = decoded(request.path());
        let query: Vec<(String, String)> =
            url::form_urlencoded::parse(request.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let (status, answered) = match self.answer(&request, &path, &query) {
            Ok(answer) => (200, answer),
            Err((code, status, message)) => {
                let reason =
                    if code == 403 && status == "RESOURCE_EXHAUSTED" { "rateLimitExceeded" } else { "other" };
                let errors = json!([{"message": message, "domain": "global", "reason": reason}]);
                (
                    code,
                    json!({"error": {"code": code, "message": message, "status": status, "errors": errors}}),
                )
            }
        };
        self.state().exchanges.push(Exchange {
            method: request.method.to_string(),
            path,
            query,
            sent: serde_json::from_slice(&request.body).unwrap_or_default(),
            status,
            answered: answered.clone(),
        });
        Response::json(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &answered)
    }
}

fn known(query: &[(String, String)], names: &[&str]) -> Result<(), Refusal> {
    match query.iter().all(|(name, _)| names.contains(&name.as_str())) {
        true => Ok(()),
        false => Err((400, "INVALID_ARGUMENT", "Invalid JSON payload received. Unknown name.")),
    }
}

/// Cells from and to, both inclusive and counted from 0; an open end is `None`.
struct Range {
    tab: usize,
    columns: (usize, Option<usize>),
    rows: (usize, Option<usize>),
}

const BAD_RANGE: Refusal = (400, "INVALID_ARGUMENT", "Unable to parse range");

impl State {
    fn range(&self, text: &str) -> Result<Range, Refusal> {
        let (title, cells) = text.rsplit_once('!').ok_or(BAD_RANGE)?;
        let title = title.strip_prefix('\'').and_then(|title| title.strip_suffix('\'')).ok_or(BAD_RANGE)?;
        let title = title.replace("''", "'");
        let tab = self.tabs.iter().position(|(known, _)| *known == title).ok_or(BAD_RANGE)?;
        let (from, to) = cells.split_once(':').map_or((cells, None), |(from, to)| (from, Some(to)));
        let (from, to) = (cell(from).ok_or(BAD_RANGE)?, to.map(|to| cell(to).ok_or(BAD_RANGE)).transpose()?);
        let to = to.unwrap_or(from);
        Ok(Range { tab, columns: (from.0.unwrap_or(0), to.0), rows: (from.1.unwrap_or(0), to.1) })
    }

    fn values(&self, text: &str, query: &[(String, String)]) -> Result<Value, Refusal> {
        let range = self.range(text)?;
        let rows = &self.tabs[range.tab].1;
        let last = range.rows.1.map_or(rows.len(), |last| last + 1).min(rows.len());
        let mut cells: Vec<Vec<Value>> = Vec::new();
        for row in rows.get(range.rows.0..last).unwrap_or_default() {
            let last = range.columns.1.map_or(row.len(), |last| last + 1).min(row.len());
            cells.push(row.get(range.columns.0..last).unwrap_or_default().to_vec());
        }
        let by_columns = query.iter().any(|(name, value)| name == "majorDimension" && value == "COLUMNS");
        if by_columns {
            let width = cells.iter().map(Vec::len).max().unwrap_or(0);
            let column =
                |at: usize| cells.iter().map(|row| row.get(at).cloned().unwrap_or(json!(""))).collect();
            cells = (0..width).map(column).collect();
        }
        let is_empty = |cell: &Value| cell.is_null() || cell == "";
        for line in &mut cells {
            while line.last().is_some_and(is_empty) {
                line.pop();
            }
        }
        let mut answer =
            json!({"range": text, "majorDimension": if by_columns { "COLUMNS" } else { "ROWS" }});
        if !cells.is_empty() {
            answer["values"] = json!(cells);
        }
        Ok(answer)
    }

    fn append(&mut self, range: &str, query: &[(String, String)], body: &Value) -> Result<Value, Refusal> {
        if !self.writes {
            return Err((403, "PERMISSION_DENIED", "The caller does not have permission"));
        }
        known(query, &["valueInputOption", "insertDataOption", "includeValuesInResponse"])?;
        let option = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let typed = match option("valueInputOption") {
            Some("RAW") => false,
            Some("USER_ENTERED") => true,
            _ => return Err((400, "INVALID_ARGUMENT", "'valueInputOption' is required but not specified")),
        };
        let members = body.as_object().ok_or((400, "INVALID_ARGUMENT", "Invalid value"))?;
        if members.keys().any(|name| !["range", "majorDimension", "values"].contains(&name.as_str())) {
            return Err((400, "INVALID_ARGUMENT", "Invalid JSON payload received. Unknown name."));
        }
        let tab = self.range(range)?.tab;
        let mut written = 0;
        for row in body["values"].as_array().into_iter().flatten() {
            let row = row.as_array().ok_or((400, "INVALID_ARGUMENT", "Invalid values: a row is no list"))?;
            if row.iter().any(|cell| cell.is_object() || cell.is_array()) {
                return Err((400, "INVALID_ARGUMENT", "Invalid values: a cell is no value"));
            }
            let cell = |cell: &Value| match cell.as_str() {
                Some(text) if typed && text.starts_with(['=', '+']) => json!({"formula": text}),
                _ => cell.clone(),
            };
            self.tabs[tab].1.push(row.iter().map(cell).collect());
            written += 1;
        }
        let last = self.tabs[tab].1.len();
        Ok(json!({
            "tableRange": format!("'{}'!A1:Z{}", self.tabs[tab].0, last - written),
            "updates": {"updatedRange": format!("'{}'!A{last}", self.tabs[tab].0), "updatedRows": written},
        }))
    }
}

/// `B7`, `B` or `7`.
fn cell(text: &str) -> Option<(Option<usize>, Option<usize>)> {
    let end = text.find(|c: char| !c.is_ascii_uppercase()).unwrap_or(text.len());
    let (letters, digits) = text.split_at(end);
    let column =
        letters.bytes().fold(0_usize, |sum, letter| sum * 26 + usize::from(letter - b'A') + 1).checked_sub(1);
    let row = if digits.is_empty() { None } else { Some(digits.parse::<usize>().ok()?.checked_sub(1)?) };
    (column.is_some() || row.is_some()).then_some((column, row))
}

/// A path without percent-encoding.
fn decoded(path: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), path.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.filter(|_| *first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

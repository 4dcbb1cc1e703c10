//! The public page of a Google form, as strict as Google is: it shows the form, takes responses, and stores only what a
//! browser could have sent.
//!
//! It is written from what the page is known to send, and shares no type with the connector that speaks to it.

mod page_data;

pub(super) use self::page_data::page_data;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use url::form_urlencoded;

use crate::server::{
    Error, Handler, Limits, Listener, Method, Request, Response, Server, StatusCode,
    header::{self, HeaderValue},
};

/// How the form behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It takes responses.
    Open,
    /// Its owner closed it.
    Closed,
    /// Only people with an account may answer.
    SignIn,
    /// Too many requests.
    Throttled,
    /// It takes responses and answers with a page that says nothing.
    Mute,
    /// It answers responses with an error, after storing them.
    Failing,
}

/// A response that was stored: every parameter that holds an answer.
pub type Stored = Vec<(String, String)>;

struct State {
    mood: Mood,
    issued: Vec<String>,
    stored: Vec<Stored>,
}

/// The form. Cheap to clone; clones are one form.
#[derive(Clone)]
pub struct GoogleForm(Arc<(Value, Mutex<State>)>);

impl GoogleForm {
    /// A form with this `FB_PUBLIC_LOAD_DATA_`.
    pub fn new(data: Value) -> Self {
        Self(Arc::new((data, Mutex::new(State { mood: Mood::Open, issued: Vec::new(), stored: Vec::new() }))))
    }

    /// Binds a port of 127.0.0.1, 0 for a free one; the caller runs the server.
    pub async fn bind(&self, port: u16) -> Result<Server<Self>, Error> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Server::bind(Listener { addr, tls: None }, Limits::default(), Arc::new(self.clone())).await
    }

    /// Behaves so from now on.
    pub fn behave(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// What was stored, oldest first.
    pub fn stored(&self) -> Vec<Stored> {
        self.state().stored.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.1.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> String {
        format!("/forms/d/{}", self.0.0[14].as_str().unwrap_or("e/form"))
    }

    fn show(&self) -> Response {
        let mut state = self.state();
        let fbzx = format!("-{}", 7_000_000_000_000_u64 + u64::try_from(state.issued.len()).unwrap_or(0));
        state.issued.push(fbzx.clone());
        let inputs: String = questions(&self.0.0)
            .iter()
            .map(|question| format!("<input type=\"hidden\" name=\"entry.{}\">", question.entry))
            .collect();
        let data = self.0.0.to_string().replace('<', "\\u003c");
        page(&format!(
            "<form><input type=\"hidden\" name=\"fbzx\" value=\"{fbzx}\">{inputs}</form>\
             <script>var FB_PUBLIC_LOAD_DATA_ = {data};</script>"
        ))
    }

    fn confirm(&self) -> Response {
        let mut data = self.0.0.clone();
        data[1][1] = Value::Null;
        let said = data[1][2][0].as_str().unwrap_or("Your response has been recorded");
        let said = said.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&#39;");
        page(&format!("<div>{said}</div><script>var FB_PUBLIC_LOAD_DATA_ = {data};</script>"))
    }

    fn take(&self, request: &Request) -> Response {
        let form = "application/x-www-form-urlencoded";
        let pairs: Stored = form_urlencoded::parse(&request.body).into_owned().collect();
        let issued = self.state().issued.clone();
        if request.header(header::CONTENT_TYPE) != Some(form) {
            return Response::empty(StatusCode::BAD_REQUEST);
        }
        match judge(&self.0.0, &pairs, &issued) {
            Judged::Bad => Response::empty(StatusCode::BAD_REQUEST),
            Judged::Missing => self.show(),
            Judged::Good(answers) => {
                let mut state = self.state();
                state.stored.push(answers);
                let mood = state.mood;
                drop(state);
                match mood {
                    Mood::Mute => page("<p>Hello.</p>"),
                    Mood::Failing => Response::empty(StatusCode::SERVICE_UNAVAILABLE),
                    _ => self.confirm(),
                }
            }
        }
    }
}

impl Handler for GoogleForm {
    async fn handle(&self, request: Request) -> Response {
        let mood = self.state().mood;
        let redirect = |to: &'static str| {
            Response::empty(StatusCode::FOUND).with_header(header::LOCATION, HeaderValue::from_static(to))
        };
        let base = self.path();
        let place = request.path().strip_prefix(&base);
        match (mood, place, &request.method) {
            (_, None, _) => Response::empty(StatusCode::NOT_FOUND),
            (Mood::Closed, ..) => redirect("https://docs.google.com/forms/d/e/form/closedform"),
            (Mood::SignIn, ..) => redirect("https://accounts.google.com/ServiceLogin?continue=form"),
            (Mood::Throttled, ..) => Response::empty(StatusCode::TOO_MANY_REQUESTS),
            (_, Some("/viewform"), &Method::GET) => self.show(),
            (_, Some("/formResponse"), &Method::POST) => self.take(&request),
            _ => Response::empty(StatusCode::NOT_FOUND),
        }
    }
}

fn page(body: &str) -> Response {
    Response::html(StatusCode::OK, format!("<!DOCTYPE html><html><body>{body}</body></html>"))
}

/// One entry of the form.
struct Question<'d> {
    section: usize,
    entry: u64,
    kind: u64,
    config: &'d Value,
}

fn questions(data: &Value) -> Vec<Question<'_>> {
    let (mut found, mut section) = (Vec::new(), 0);
    for item in data[1][1].as_array().into_iter().flatten() {
        let kind = item[3].as_u64().unwrap_or(u64::MAX);
        section += usize::from(kind == 8);
        for config in item[4].as_array().into_iter().flatten() {
            found.push(Question { section, entry: config[0].as_u64().unwrap_or(0), kind, config });
        }
    }
    found
}

enum Judged {
    Good(Stored),
    /// Shown again.
    Missing,
    /// No browser sends this.
    Bad,
}

fn judge(data: &Value, pairs: &[(String, String)], issued: &[String]) -> Judged {
    let single = |name: &str| {
        let mut found = pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        found.next().filter(|_| found.next().is_none())
    };
    let Some(fbzx) = single("fbzx").filter(|fbzx| issued.iter().any(|known| known == fbzx)) else {
        return Judged::Bad;
    };
    let partial = format!("[null,null,\"{fbzx}\"]");
    if single("fvv") != Some("1") || single("partialResponse") != Some(partial.as_str()) {
        return Judged::Bad;
    }
    let questions = questions(data);
    let Some(visited) = visited(data, &questions, pairs) else { return Judged::Bad };
    let told: Vec<String> = visited.iter().map(usize::to_string).collect();
    if single("pageHistory") != Some(told.join(",").as_str()) {
        return Judged::Bad;
    }
    let asks_email = data[1][10][6] == 3;
    let mut answers: BTreeMap<u64, Vec<(&str, &str)>> = BTreeMap::new();
    let mut stored = Vec::new();
    for (name, value) in pairs {
        if matches!(name.as_str(), "fbzx" | "fvv" | "partialResponse" | "pageHistory") {
            continue;
        }
        let Some(rest) = name.strip_prefix("entry.") else {
            if name != "emailAddress" || !asks_email {
                return Judged::Bad;
            }
            stored.push((name.clone(), value.clone()));
            continue;
        };
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let known = questions.iter().find(|question| number.parse() == Ok(question.entry));
        let Some(question) = known.filter(|question| visited.contains(&question.section)) else {
            return Judged::Bad;
        };
        if suffix == "_sentinel" {
            if !matches!(question.kind, 2 | 4 | 5 | 7 | 18) || !value.is_empty() {
                return Judged::Bad;
            }
            continue;
        }
        answers.entry(question.entry).or_default().push((suffix, value));
        stored.push((name.clone(), value.clone()));
    }
    if asks_email && single("emailAddress").is_none_or(str::is_empty) {
        return Judged::Missing;
    }
    for question in questions.iter().filter(|question| visited.contains(&question.section)) {
        let given = answers.get(&question.entry).map_or(&[][..], Vec::as_slice);
        if given.is_empty() {
            if question.config[2] == 1 {
                return Judged::Missing;
            }
        } else if !fits(question, given) {
            return Judged::Bad;
        }
    }
    Judged::Good(stored)
}

/// The sections that a browser would have shown. A page break holds where the section before it leads.
fn visited(data: &Value, questions: &[Question<'_>], pairs: &[(String, String)]) -> Option<Vec<usize>> {
    let breaks: Vec<&Value> = data[1][1].as_array()?.iter().filter(|item| item[3] == 8).collect();
    let (mut visited, mut at) = (vec![0], 0);
    while at < breaks.len() {
        let mut target = breaks[at][5].as_i64();
        for question in questions.iter().filter(|q| q.section == at && matches!(q.kind, 2 | 3)) {
            let name = format!("entry.{}", question.entry);
            let Some((_, value)) = pairs.iter().find(|(key, _)| *key == name) else { continue };
            let chosen = question.config[1].as_array()?.iter().find(|option| match option[4].as_u64() {
                Some(1) => value == "__other_option__",
                _ => option[0] == value.as_str(),
            });
            target = chosen.and_then(|option| option[2].as_i64()).or(target);
        }
        at = match target {
            None | Some(-2) => at + 1,
            Some(-3) => break,
            Some(id) => breaks.iter().position(|item| item[0].as_i64() == Some(id))? + 1,
        };
        if visited.contains(&at) {
            return None;
        }
        visited.push(at);
    }
    Some(visited)
}

fn fits(question: &Question<'_>, given: &[(&str, &str)]) -> bool {
    let names: Vec<&str> = given.iter().map(|(suffix, _)| *suffix).collect();
    let number = |text: &str| text.parse::<u32>().is_ok();
    let options = question.config[1].as_array().map_or(&[][..], Vec::as_slice);
    let is_other = |option: &Value| option[4] == 1;
    let listed = |value: &str| options.iter().any(|option| !is_other(option) && option[0] == value);
    match question.kind {
        0 | 1 => names == [""],
        2..=5 | 7 | 18 => {
            let several = question.kind == 4 || question.config[11][0] == 1;
            let values: Vec<&str> = given.iter().filter(|(s, _)| s.is_empty()).map(|(_, v)| *v).collect();
            let other = given.iter().filter(|(s, _)| *s == ".other_option_response").count();
            let marked = values.iter().filter(|value| **value == "__other_option__").count();
            values.len() + other == given.len()
                && !values.is_empty()
                && (several || values.len() == 1)
                && other == marked
                && marked <= usize::from(options.iter().any(is_other))
                && values.iter().all(|value| *value == "__other_option__" || listed(value))
        }
        9 => {
            let mut expected = Vec::new();
            expected.extend((question.config[7][1] != 0).then_some("_year"));
            expected.extend(["_month", "_day"]);
            expected
                .extend((question.config[7][0] == 1).then_some(["_hour", "_minute"]).into_iter().flatten());
            names == expected && given.iter().all(|(_, value)| number(value))
        }
        10 => {
            let mut expected = vec!["_hour", "_minute"];
            expected.extend((question.config[6][0] == 1).then_some("_second"));
            names == expected && given.iter().all(|(_, value)| number(value))
        }
        _ => false,
    }
}

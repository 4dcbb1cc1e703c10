//! Judges every answer as the strictest known client would (WhatsApp Flows reference 1.2, 1.7, 1.9, 1.10).
//!
//! An answer is taken only if nothing is wrong with it; each fault is named. The judge knows the document and nothing of
//! the server, and it never repairs.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::document::{Document, ScreenDefinition};
use super::envelope::{Envelope, OpenError};
use super::render::{InputKind, Rendered, Screen};
use super::transport::{MAX_REPLY_BYTES, Response};

/// Answers above this size are reported; the sources disagree whether phones take them (reference 1.1).
const LARGE_REPLY_BYTES: usize = 1024 * 1024;

/// Something wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No HTTP answer in time.
    #[error("no answer within the client's deadline")]
    Timeout,
    /// The connection failed.
    #[error("the connection failed")]
    NoAnswer,
    /// A status that the client cannot use.
    #[error("status {0}")]
    Status(u16),
    /// Not `text/plain`.
    #[error("the content type is not text/plain")]
    ContentType,
    /// Over 10 MB.
    #[error("{0} bytes are over the limit")]
    TooLarge(usize),
    /// Over 1 MB: a warning.
    #[error("{0} bytes are more than some clients take")]
    Large(usize),
    /// Not bare base64.
    #[error("the body is not bare base64")]
    NotBase64,
    /// Does not decrypt.
    #[error("the body does not decrypt")]
    NotDecryptable,
    /// Not UTF-8 JSON.
    #[error("the plaintext is not JSON")]
    NotJson,
    /// A member is missing or of the wrong type.
    #[error("`{0}` is missing or has the wrong type")]
    Shape(&'static str),
    /// A screen that the document or its routing model does not have.
    #[error("screen {0} does not exist")]
    UnknownScreen(String),
    /// A transition that the routing model does not allow.
    #[error("the transition from {} to {to} is not allowed", from.as_deref().unwrap_or("the start"))]
    Transition {
        /// The current screen, none at the start.
        from: Option<String>,
        /// The screen that was answered.
        to: String,
    },
    /// A declared key is missing.
    #[error("{screen}: data key {key} is missing")]
    MissingKey {
        /// The screen.
        screen: String,
        /// The declared key.
        key: String,
    },
    /// A value has another type than declared.
    #[error("{screen}: {path} is not of its declared type")]
    WrongType {
        /// The screen.
        screen: String,
        /// The path of the value.
        path: String,
    },
    /// `null`, which is no declared type.
    #[error("{screen}: {path} is null")]
    Null {
        /// The screen.
        screen: String,
        /// The path of the value.
        path: String,
    },
    /// Data for a screen that declares none.
    #[error("{screen} expects no dynamic data")]
    UnexpectedData {
        /// The screen.
        screen: String,
    },
    /// `SUCCESS` without `params.flow_token`.
    #[error("SUCCESS without extension_message_response.params.flow_token")]
    SuccessWithoutToken,
    /// A list has too few or too many entries.
    #[error("{component} has {count} options")]
    OptionCount {
        /// The component's name.
        component: String,
        /// How many it got.
        count: usize,
    },
    /// An option's id is empty or not unique.
    #[error("{component} has an empty or repeated option id")]
    OptionId {
        /// The component's name.
        component: String,
    },
    /// A text is longer than the component shows: a warning.
    #[error("{component} has a text over its limit")]
    TextTooLong {
        /// The component's name.
        component: String,
    },
    /// A property of the screen could not be resolved.
    #[error("{0} cannot be resolved")]
    Unresolved(String),
    /// An error notice was not answered by `acknowledged`.
    #[error("the error notice was not acknowledged")]
    NotAcknowledged,
    /// A ping was not answered by `active`.
    #[error("the ping was not answered by active")]
    NotActive,
}

impl Fault {
    /// Whether the client can go on in spite of it.
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::Large(_) | Self::TextTooLong { .. })
    }

    /// The key of the notice that a client sends because of it (reference 1.8).
    pub fn notice_key(&self) -> Option<&'static str> {
        match self {
            Self::NotBase64 | Self::NotDecryptable | Self::NotJson => Some("response-decryption-error"),
            Self::UnknownScreen(_) | Self::Transition { .. } => Some("invalid-screen-transition"),
            Self::Shape(_)
            | Self::MissingKey { .. }
            | Self::WrongType { .. }
            | Self::Null { .. }
            | Self::UnexpectedData { .. }
            | Self::SuccessWithoutToken => Some("payload-schema-error"),
            Self::OptionCount { .. } | Self::OptionId { .. } | Self::Unresolved(_) => {
                Some("components-validation-error")
            }
            _ => None,
        }
    }
}

/// Where the question came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position<'a> {
    /// The current screen; none at the start.
    pub current: Option<&'a str>,
    /// The screen that INIT named, which the answer must name too (reference 1.5).
    pub asked: Option<&'a str>,
}

/// An answer that can be used.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Show this screen.
    Screen {
        /// Its id.
        id: String,
        /// Its data.
        data: Map<String, Value>,
    },
    /// The flow is over; these go into the response message.
    Success {
        /// `extension_message_response.params`.
        params: Map<String, Value>,
    },
}

/// Opens a 200 answer; warnings are pushed to `faults`.
pub fn open(envelope: &Envelope, response: &Response, faults: &mut Vec<Fault>) -> Result<Value, Fault> {
    let essence = response.content_type.as_deref().and_then(|value| value.split(';').next());
    if !essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("text/plain")) {
        return Err(Fault::ContentType);
    }
    match response.body.len() {
        bytes if bytes > MAX_REPLY_BYTES => return Err(Fault::TooLarge(bytes)),
        bytes if bytes > LARGE_REPLY_BYTES => faults.push(Fault::Large(bytes)),
        _ => {}
    }
    let plaintext = envelope.open(&response.body).map_err(|error| match error {
        OpenError::Base64 => Fault::NotBase64,
        OpenError::Tag => Fault::NotDecryptable,
    })?;
    serde_json::from_slice(&plaintext).map_err(|_| Fault::NotJson)
}

/// Judges an answer to INIT, BACK or `data_exchange`.
pub fn judge(document: &Document, position: Position<'_>, answer: &Value) -> Result<Next, Vec<Fault>> {
    let id = answer.get("screen").and_then(Value::as_str).ok_or_else(|| vec![Fault::Shape("screen")])?;
    let data = answer.get("data").and_then(Value::as_object).ok_or_else(|| vec![Fault::Shape("data")])?;
    if id == "SUCCESS" {
        let params = answer.pointer("/data/extension_message_response/params").and_then(Value::as_object);
        return match params {
            Some(params) if params.get("flow_token").is_some_and(Value::is_string) => {
                Ok(Next::Success { params: params.clone() })
            }
            _ => Err(vec![Fault::SuccessWithoutToken]),
        };
    }
    let Some(definition) = document.screen(id).filter(|_| document.routes(id)) else {
        return Err(vec![Fault::UnknownScreen(id.to_owned())]);
    };
    let mut faults = Vec::new();
    if !is_allowed(document, position, id) {
        faults.push(Fault::Transition { from: position.current.map(str::to_owned), to: id.to_owned() });
    }
    faults.extend(judge_data(definition, data));
    if faults.is_empty() { Ok(Next::Screen { id: id.to_owned(), data: data.clone() }) } else { Err(faults) }
}

/// The transition rules of reference 1.7.
pub fn is_allowed(document: &Document, position: Position<'_>, to: &str) -> bool {
    match (position.current, position.asked) {
        (None, Some(asked)) => asked == to,
        (None, None) => document.is_entry(to),
        (Some(from), _) if from == to => {
            !document.screen(from).is_some_and(ScreenDefinition::is_navigation_list)
        }
        (Some(from), _) => document.has_edge(from, to) || document.has_edge(to, from),
    }
}

/// Every declared key is present with its declared type and never null; a screen without a model takes nothing.
pub fn judge_data(definition: &ScreenDefinition, data: &Map<String, Value>) -> Vec<Fault> {
    let screen = &definition.id;
    let mut faults = Vec::new();
    if definition.declared().next().is_none() && !data.is_empty() {
        faults.push(Fault::UnexpectedData { screen: screen.clone() });
    }
    for (key, declaration) in definition.declared() {
        match data.get(key) {
            None => faults.push(Fault::MissingKey { screen: screen.clone(), key: key.clone() }),
            Some(value) => judge_value(screen, key, declaration, value, &mut faults),
        }
    }
    if data.get("error_message").is_some_and(|message| !message.is_string()) {
        faults.push(Fault::WrongType { screen: screen.clone(), path: "error_message".into() });
    }
    faults
}

fn judge_value(screen: &str, path: &str, declaration: &Value, value: &Value, faults: &mut Vec<Fault>) {
    if value.is_null() {
        return faults.push(Fault::Null { screen: screen.to_owned(), path: path.to_owned() });
    }
    let fits = match declaration.get("type").and_then(Value::as_str) {
        Some("string") => value.is_string(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    if !fits {
        return faults.push(Fault::WrongType { screen: screen.to_owned(), path: path.to_owned() });
    }
    if let (Some(items), Some(values)) = (declaration.get("items"), value.as_array()) {
        for (index, value) in values.iter().enumerate() {
            judge_value(screen, &format!("{path}[{index}]"), items, value, faults);
        }
    }
    let properties = declaration.get("properties").and_then(Value::as_object);
    for (name, value) in value.as_object().into_iter().flatten() {
        let declaration = properties.and_then(|properties| properties.get(name)).unwrap_or(&Value::Null);
        judge_value(screen, &format!("{path}.{name}"), declaration, value, faults);
    }
}

/// What a client refuses to show, and texts that it would cut (reference 4.8).
pub fn judge_screen(screen: &Screen) -> Vec<Fault> {
    let unresolved = screen.problems.iter().map(|problem| Fault::Unresolved(problem.place.clone()));
    let mut faults: Vec<Fault> = unresolved.collect();
    for component in &screen.components {
        let (name, too_long) = match component {
            Rendered::Text { style, text } => (String::from("text"), is_over(text, style.max_chars())),
            Rendered::Footer(footer) => (String::from("Footer"), is_over(&footer.label, 35)),
            Rendered::Link { text, .. } => (String::from("EmbeddedLink"), is_over(text, 25)),
            Rendered::NavigationList { name, items } => {
                if !(1..=20).contains(&items.len()) {
                    faults.push(Fault::OptionCount { component: name.clone(), count: items.len() });
                }
                judge_ids(name, items.iter().map(|item| item.id.as_str()), &mut faults);
                (name.clone(), items.iter().any(|item| is_over(&item.title, 30)))
            }
            Rendered::Input(input) => match &input.kind {
                InputKind::Choice { kind, options, .. } => {
                    if !kind.option_counts().contains(&options.len()) {
                        faults
                            .push(Fault::OptionCount { component: input.name.clone(), count: options.len() });
                    }
                    judge_ids(&input.name, options.iter().map(|option| option.id.as_str()), &mut faults);
                    let is_long =
                        |text: &Option<String>| text.as_ref().is_some_and(|text| is_over(text, 300));
                    let mut options = options.iter();
                    let long =
                        options.any(|option| is_over(&option.title, 30) || is_long(&option.description));
                    (input.name.clone(), long)
                }
                _ => (input.name.clone(), false),
            },
            Rendered::Image { .. } => continue,
        };
        if too_long {
            faults.push(Fault::TextTooLong { component: name });
        }
    }
    faults
}

fn judge_ids<'a>(component: &str, ids: impl Iterator<Item = &'a str>, faults: &mut Vec<Fault>) {
    let mut seen = HashSet::new();
    let mut ids = ids;
    if ids.any(|id| id.is_empty() || !seen.insert(id)) {
        faults.push(Fault::OptionId { component: component.to_owned() });
    }
}

fn is_over(text: &str, max_chars: usize) -> bool {
    text.chars().count() > max_chars
}

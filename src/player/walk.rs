//! The walk: which screen is shown, what was entered, where "back" leads, and the transcript of it all.
//!
//! The player keeps its own copy of every screen, as a phone does; the endpoint cannot take it back.

mod change;
mod exchange;

pub use exchange::{RawReply, RawSignature};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Map, Value, json};
use url::Url;

use super::checks::{Refusal, check_screen};
use super::document::{Action, ActionKind, Document, ScreenDefinition};
use super::envelope::{self, EndpointKey, Envelope};
use super::expression::{self, Scope, ScreenState, evaluate};
use super::judge::{Fault, Next, Position, is_allowed, judge_data, judge_screen};
use super::media;
use super::render::{InputKind, Screen, init_values};
use super::transport::{self, Transport};

/// Why an operation could not be done; what is wrong with an *answer* is a [`Fault`] instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request could not be sealed.
    #[error("the request could not be sealed")]
    Seal(#[from] envelope::Error),
    /// The request could not be sent, and no verdict about the endpoint follows from it.
    #[error("the request could not be sent")]
    Transport(#[from] transport::Error),
    /// No screen is shown: the flow was not opened or is over.
    #[error("no screen is shown")]
    Closed,
    /// There is nothing of that name on the screen.
    #[error("there is no visible {0} on the screen")]
    NoSuchComponent(String),
    /// The client refuses to go on with these values.
    #[error("the client refuses {} of the values", .0.len())]
    Refused(Vec<(String, Refusal)>),
    /// The component is shown but cannot be used.
    #[error("{0} is not enabled")]
    Disabled(String),
    /// A payload cannot be computed.
    #[error("a payload cannot be computed")]
    Payload(#[from] expression::Error),
    /// A file cannot be picked.
    #[error("a file cannot be picked: {0}")]
    Media(#[from] media::Error),
}

/// What an operation led to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A screen is shown: [`Player::screen`].
    Shown,
    /// The flow is over; this goes into the response message.
    Completed(Map<String, Value>),
    /// The flow token is no longer valid (427), with the endpoint's message.
    Expired(Option<String>),
    /// The client shows its generic error; the faults are in the transcript.
    Failed,
    /// A page outside of the flow was opened.
    OpenedUrl(String),
}

/// How the message opens the flow.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// `flow_action: data_exchange`: the endpoint gets INIT, optionally naming a screen.
    Init {
        /// The screen that the answer must name.
        screen: Option<String>,
    },
    /// `flow_action: navigate`: the message carries the first screen's data.
    Navigate {
        /// The screen, or the first entry screen.
        screen: Option<String>,
        /// Its data.
        data: Map<String, Value>,
    },
}

/// Fetches the endpoint's current public key, as the client does after a 421.
pub type KeySource = Arc<dyn Fn() -> String + Send + Sync>;

/// How this client behaves where clients differ.
#[derive(Clone)]
pub struct Options {
    /// How the flow is opened.
    pub entry: Entry,
    /// Sends `flow_token_signature` (data API 4.0).
    pub send_token_signature: bool,
    /// Sends number inputs as strings, as some clients do (reference 4.9).
    pub number_as_string: bool,
    /// Where a new public key comes from after a 421; the same key is used again without it.
    pub key_source: Option<KeySource>,
    /// The pause before the one resend after a 421.
    pub resend_delay: Duration,
    /// Where picked files are uploaded to; without it nothing stands behind their addresses.
    pub media_servers: Option<Url>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            entry: Entry::Init { screen: None },
            send_token_signature: false,
            number_as_string: false,
            key_source: None,
            resend_delay: Duration::from_millis(500),
            media_servers: None,
        }
    }
}

/// What happened, in order. It holds answers and tokens: for the person who plays, never for a log.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One step of a walk.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A screen was shown.
    Shown(Box<Screen>),
    /// A request was sent; its plaintext.
    Request(Value),
    /// An answer came; its plaintext if it opened.
    Reply {
        /// The HTTP status.
        status: u16,
        /// What it says.
        body: Option<Value>,
    },
    /// Something was wrong with an answer.
    Fault(Fault),
    /// The flow ended with this.
    Completed(Map<String, Value>),
}

impl Walk {
    /// Every fault so far.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.steps.iter().filter_map(|step| match step {
            Step::Fault(fault) => Some(fault),
            _ => None,
        })
    }

    /// Every request so far.
    pub fn requests(&self) -> impl Iterator<Item = &Value> {
        self.steps.iter().filter_map(|step| match step {
            Step::Request(request) => Some(request),
            _ => None,
        })
    }
}

/// A WhatsApp client with one flow open.
pub struct Player<T> {
    document: Document,
    endpoint_key: EndpointKey,
    app_secret: SecretString,
    flow_token: String,
    transport: T,
    options: Options,
    current: Option<String>,
    history: Vec<String>,
    screens: BTreeMap<String, ScreenState>,
    snackbar: Option<String>,
    last_envelope: Option<Envelope>,
    walk: Walk,
}

impl<T: Transport> Player<T> {
    /// A client that has received a flow message.
    pub fn new(
        document: Document,
        public_key_pem: &str,
        app_secret: SecretString,
        flow_token: impl Into<String>,
        transport: T,
        options: Options,
    ) -> Result<Self, Error> {
        Ok(Self {
            document,
            endpoint_key: EndpointKey::from_pem(public_key_pem)?,
            app_secret,
            flow_token: flow_token.into(),
            transport,
            options,
            current: None,
            history: Vec::new(),
            screens: BTreeMap::new(),
            snackbar: None,
            last_envelope: None,
            walk: Walk::default(),
        })
    }

    /// The document.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The transcript.
    pub fn walk(&self) -> &Walk {
        &self.walk
    }

    /// The screen that is shown.
    pub fn screen(&self) -> Option<Screen> {
        let definition = self.document.screen(self.current.as_deref()?)?;
        Some(Screen::render(definition, self.scope()?, self.snackbar.as_deref()))
    }

    /// Opens the flow as the message says.
    pub async fn open(&mut self) -> Result<Outcome, Error> {
        self.current = None;
        self.history.clear();
        self.screens.clear();
        match self.options.entry.clone() {
            Entry::Init { screen } => {
                let mut request = self.request("INIT", screen.as_deref(), None);
                if screen.is_none() {
                    request.shift_remove("screen");
                }
                self.ask_next(request, screen.as_deref()).await
            }
            Entry::Navigate { screen, data } => {
                let entry = self.document.first_entry().map(|screen| screen.id.clone());
                let id = screen.or(entry).ok_or(Error::Closed)?;
                Ok(self.go(&id, data))
            }
        }
    }

    /// Enters a value, and does what the input does when it changes. Null clears it. A picker takes files by path, or by
    /// name and content: see `media::Picked`; they are encrypted and uploaded.
    pub async fn fill(&mut self, name: &str, value: Value) -> Result<Outcome, Error> {
        let screen = self.screen().ok_or(Error::Closed)?;
        let input = screen.input(name).ok_or_else(|| Error::NoSuchComponent(name.to_owned()))?;
        if !input.enabled {
            return Err(Error::Disabled(name.to_owned()));
        }
        let value = self.uploaded(input, self.typed(input, value)).await?;
        let values = &mut self.state_mut().ok_or(Error::Closed)?.values;
        let before = if value.is_null() {
            values.shift_remove(name)
        } else {
            values.insert(name.to_owned(), value.clone())
        };
        let before = before.unwrap_or_default();
        if before == value {
            return Ok(Outcome::Shown);
        }
        for action in change::actions(input, &before, &value) {
            let outcome = self.act(&action).await?;
            if outcome != Outcome::Shown {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Shown)
    }

    /// Taps the footer: checks the inputs first, as the client does.
    pub async fn tap_footer(&mut self) -> Result<Outcome, Error> {
        let screen = self.screen().ok_or(Error::Closed)?;
        let footer = screen.footer().ok_or_else(|| Error::NoSuchComponent("Footer".into()))?;
        if !footer.enabled {
            return Err(Error::Disabled("Footer".into()));
        }
        let refusals = check_screen(&screen);
        if !refusals.is_empty() {
            return Err(Error::Refused(refusals));
        }
        let action = footer.action.clone().ok_or_else(|| Error::NoSuchComponent("Footer action".into()))?;
        self.act(&action).await
    }

    /// Taps a link by its text, an opt-in's link by its name, or an entry of a navigation list by its id.
    pub async fn tap(&mut self, target: &str) -> Result<Outcome, Error> {
        use super::render::Rendered;
        let screen = self.screen().ok_or(Error::Closed)?;
        let action = screen.components.iter().find_map(|component| match component {
            Rendered::Link { text, action } if text == target => action.clone(),
            Rendered::Input(input) if input.name == target => input.on_click.clone(),
            Rendered::NavigationList { items, .. } => {
                items.iter().find(|item| item.id == target).and_then(|item| item.action.clone())
            }
            _ => None,
        });
        self.act(&action.ok_or_else(|| Error::NoSuchComponent(target.to_owned()))?).await
    }

    /// Goes back: to the phone's own copy, unless the screen being left asks the endpoint (reference 1.4).
    pub async fn back(&mut self) -> Result<Outcome, Error> {
        let left = self.current.clone().ok_or(Error::Closed)?;
        let previous = self.history.last().cloned().ok_or(Error::Closed)?;
        self.snackbar = None;
        if self.document.screen(&left).is_some_and(|screen| screen.refresh_on_back) {
            let request = self.request("BACK", Some(&left), None);
            return self.ask_next(request, None).await;
        }
        self.history.pop();
        self.current = Some(previous);
        Ok(self.show())
    }

    /// The payload that a tap on the footer would send now.
    pub fn footer_payload(&self) -> Result<Value, Error> {
        let screen = self.screen().ok_or(Error::Closed)?;
        let action = screen.footer().and_then(|footer| footer.action.as_ref());
        self.payload(action.ok_or_else(|| Error::NoSuchComponent("Footer action".into()))?)
    }

    async fn act(&mut self, action: &Action) -> Result<Outcome, Error> {
        let payload = self.payload(action)?;
        let members = payload.as_object().cloned().unwrap_or_default();
        match &action.kind {
            ActionKind::Navigate { next } => Ok(self.go(next, members)),
            ActionKind::DataExchange => {
                let request = self.request("data_exchange", self.current.as_deref(), Some(payload));
                self.ask_next(request, None).await
            }
            ActionKind::Complete => {
                let mut params = members;
                params.insert("flow_token".into(), json!(self.flow_token));
                Ok(self.finish(params))
            }
            ActionKind::UpdateData => {
                self.state_mut().ok_or(Error::Closed)?.data.extend(members);
                Ok(Outcome::Shown)
            }
            ActionKind::OpenUrl { url } => Ok(Outcome::OpenedUrl(url.clone())),
        }
    }

    fn payload(&self, action: &Action) -> Result<Value, Error> {
        let scope = self.scope().ok_or(Error::Closed)?;
        Ok(evaluate(&action.payload, scope)?.unwrap_or_else(|| json!({})))
    }

    /// Goes to a screen without asking: the client holds a local step to the same rules.
    fn go(&mut self, id: &str, data: Map<String, Value>) -> Outcome {
        let Some(definition) = self.document.screen(id) else {
            return self.fail(vec![Fault::UnknownScreen(id.to_owned())]);
        };
        let mut faults = judge_data(definition, &data);
        if !is_allowed(&self.document, Position { current: self.current.as_deref(), asked: None }, id) {
            faults.push(Fault::Transition { from: self.current.clone(), to: id.to_owned() });
        }
        if faults.iter().any(|fault| !fault.is_warning()) {
            return self.fail(faults);
        }
        self.enter(id, data);
        self.show()
    }

    /// Takes an answer that the judge let pass.
    fn take(&mut self, next: Next) -> Outcome {
        match next {
            Next::Success { params } => self.finish(params),
            Next::Screen { id, data } => {
                self.snackbar = data.get("error_message").and_then(Value::as_str).map(str::to_owned);
                self.enter(&id, data);
                self.show()
            }
        }
    }

    fn finish(&mut self, params: Map<String, Value>) -> Outcome {
        self.current = None;
        self.walk.steps.push(Step::Completed(params.clone()));
        Outcome::Completed(params)
    }

    fn enter(&mut self, id: &str, data: Map<String, Value>) {
        let is_same = self.current.as_deref() == Some(id);
        let known = self.history.iter().position(|visited| visited == id);
        let kept = if is_same || known.is_some() { self.screens.remove(id) } else { None };
        if let Some(position) = known {
            self.history.truncate(position);
        } else if !is_same {
            self.history.extend(self.current.take());
        }
        let Some(definition) = self.document.screen(id) else { return };
        // A screen entered anew starts with its initial values; a refreshed one keeps what was entered, except where
        // the endpoint changed the initial value.
        let before = kept.as_ref().map(|state| self.initial(definition, state)).unwrap_or_default();
        let mut state = ScreenState { data, values: kept.map(|state| state.values).unwrap_or_default() };
        for (name, value) in self.initial(definition, &state) {
            let is_blank = value.as_str().is_some_and(str::is_empty);
            if before.get(&name) != Some(&value) && !(is_blank && state.values.contains_key(&name)) {
                state.values.insert(name, value);
            }
        }
        self.screens.insert(id.to_owned(), state);
        self.current = Some(id.to_owned());
        self.forget_vanished_options();
    }

    fn initial(&self, definition: &ScreenDefinition, state: &ScreenState) -> Map<String, Value> {
        init_values(definition, Scope { current: state, screens: &self.screens })
    }

    /// A selection whose option is no longer offered is gone.
    fn forget_vanished_options(&mut self) {
        let Some(screen) = self.screen() else { return };
        let Some(state) = self.state_mut() else { return };
        for input in screen.inputs() {
            let InputKind::Choice { kind, options, .. } = &input.kind else { continue };
            let offered = |id: &Value| options.iter().any(|option| id == option.id.as_str());
            match state.values.get_mut(&input.name) {
                Some(Value::Array(chosen)) if kind.is_multiple() => chosen.retain(offered),
                Some(chosen) if !kind.is_multiple() && !offered(chosen) => {
                    state.values.shift_remove(&input.name);
                }
                _ => {}
            }
        }
    }

    fn show(&mut self) -> Outcome {
        let Some(screen) = self.screen() else { return Outcome::Failed };
        let faults = judge_screen(&screen);
        self.walk.steps.push(Step::Shown(Box::new(screen)));
        self.walk.steps.extend(faults.into_iter().map(Step::Fault));
        Outcome::Shown
    }

    fn fail(&mut self, faults: Vec<Fault>) -> Outcome {
        self.walk.steps.extend(faults.into_iter().map(Step::Fault));
        Outcome::Failed
    }

    fn scope(&self) -> Option<Scope<'_>> {
        let current = self.screens.get(self.current.as_deref()?)?;
        Some(Scope { current, screens: &self.screens })
    }

    fn state_mut(&mut self) -> Option<&mut ScreenState> {
        self.screens.get_mut(self.current.as_deref()?)
    }
}

//! What the handlers need to know of a compiled flow: which screen asks which part of which question, and under which
//! names. Stored with the version and never compiled again, so people finish on what they opened.

use serde::{Deserialize, Serialize};

use crate::form::{Form, Position};

/// Data key that carries the sealed session, on every screen except [`Content::Cover`].
pub const STATE: &str = "state";
/// Data key that carries the localised progress text.
pub const PROGRESS: &str = "progress";
/// Data key that carries what the inputs of the screen hold: `{input name: string | array of strings}`.
pub const INIT_VALUES: &str = "init_values";
/// Data key that carries the errors of the inputs: `{input name: string}`, `{}` when there are none.
pub const FIELD_ERRORS: &str = "field_errors";
/// Payload member that tells which version of the flow the client shows.
pub const VERSION: &str = "v";
/// Id of the first screen of every flow.
pub const ENTRY: &str = "START";

/// Version of the data exchange protocol (WhatsApp Flows reference, 1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DataApi {
    /// `3.0`
    #[serde(rename = "3.0")]
    V3,
    /// `4.0`
    #[default]
    #[serde(rename = "4.0")]
    V4,
}

/// How a flow opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// By INIT.
    #[default]
    Exchange,
    /// By `navigate` too: the first screen has no data model.
    Static,
}

/// The handlers' side of a compiled flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The form in the flow's language.
    pub form: Form,
    /// The version of the flow that the payloads name in [`VERSION`].
    pub version: u32,
    /// Protocol version.
    pub data_api: DataApi,
    /// How the flow opens.
    pub entry: Entry,
    /// All screens; the first is [`ENTRY`]. Screens that ask a question stand in source order.
    pub screens: Vec<ScreenPlan>,
}

/// One screen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScreenPlan {
    /// Its id in the document.
    pub id: String,
    /// What it is for.
    pub content: Content,
    /// Declared data besides [`STATE`], [`PROGRESS`], [`INIT_VALUES`] and [`FIELD_ERRORS`].
    pub data: Vec<DataKey>,
    /// Screens (by index) the client may be sent to from here.
    pub routes: Vec<usize>,
    /// For a target that is not in `routes`: the relay in `routes` that leads on towards it.
    pub via: Vec<(usize, usize)>,
    /// Whether the flow may end here: SUCCESS is answered directly. Otherwise an ending has a screen of its own.
    pub terminal: bool,
}

/// What a screen is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// The text-only first screen of [`Entry::Static`]; it has no data at all, not even [`STATE`].
    Cover,
    /// A text-only first screen: the form's first question depends on something. Has [`STATE`] and [`DataKey`]s only.
    Intro,
    /// Leads on to one of many screens. Has [`STATE`] and [`DataKey`]s only.
    Relay,
    /// Asks questions. Has [`STATE`] and [`PROGRESS`], and with inputs also [`INIT_VALUES`] and [`FIELD_ERRORS`].
    Questions(Vec<Block>),
    /// Says goodbye: entry of [`Form::endings`]. Has [`STATE`] and [`DataKey`]s only; its footer exchanges data once
    /// more and is answered by SUCCESS. The submission is committed before this screen is sent.
    Ending(Option<usize>),
}

/// One question on a screen, or the part of it that this screen asks. A question that is spread over several screens has
/// a block on each, in consecutive screens, and alone there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Which question.
    pub position: Position,
    /// Its inputs; none for a statement.
    pub inputs: Vec<Input>,
    /// Whether the question is complete after this screen. If not, the next screen in [`Plan::screens`] goes on with it.
    pub last: bool,
}

/// One input component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its name in the document, the payload, [`INIT_VALUES`] and [`FIELD_ERRORS`]; unique within the flow.
    pub name: String,
    /// Which part of the answer it holds.
    pub role: Role,
    /// Several values (an array) instead of one string. A file picker's array holds objects; an OptIn is a boolean.
    pub many: bool,
    /// The options it offers; empty for free input.
    pub options: Vec<WireOption>,
}

/// Which part of an answer an input holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// All of it, or the date of a date-time. Several of them, on one screen or on consecutive ones, count together.
    Answer,
    /// The text of "other, please specify".
    Other,
    /// The time of a date-time.
    Time,
    /// One row of a matrix, by its id.
    Row(String),
    /// The n-th place of a ranking, from 0. Options already placed are not offered; the last place fills itself.
    Rank(u16),
    /// The text that options are searched by.
    Query,
    /// The choice among what [`Role::Query`] found.
    Pick,
}

/// An option as the phone knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireOption {
    /// Id in the document and the payload.
    pub id: String,
    /// What it stands for: the form's option, row or column id, `true`/`false` of a yes/no, the number of a rating, scale
    /// or NPS, `HH:MM` of a time. `None` is "other".
    pub source: Option<String>,
    /// Title and description as shown, for options that the server sends.
    pub title: String,
    /// Longer text under the title.
    pub description: Option<String>,
}

/// A declared data key and what fills it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataKey {
    /// Its name.
    pub name: String,
    /// What fills it.
    pub source: DataSource,
}

/// What fills a data key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DataSource {
    /// A text with recalls ([`crate::form::Template`]), cut to so many characters.
    Text {
        /// The template.
        template: String,
        /// Limit of the property it fills.
        max_chars: usize,
    },
    /// The options that the input of this name offers now, as `[{"id", "title", "description"?}]`: what a ranking has
    /// left, or what a search found (at most this many).
    Options {
        /// The input.
        input: String,
        /// At most so many.
        max: usize,
    },
}

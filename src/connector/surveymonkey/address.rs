//! Where in a response each answer goes: the way back from a question's key to SurveyMonkey's ids.

use std::collections::{BTreeMap, BTreeSet};

use super::{Reader, parse};
use crate::connector::ImportError;

/// What has to be known of a survey to write a response to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Survey {
    /// Its id.
    pub(super) id: String,
    /// Its custom variables; a response may hold no others.
    pub(super) variables: BTreeSet<String>,
    /// The questions by their key in the form.
    pub(super) addresses: BTreeMap<String, Address>,
}

/// The place of one question of the form.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Address {
    pub page: String,
    pub question: String,
    /// The question's own text, to be named to people.
    pub heading: String,
    /// Which of several headings was shown.
    pub variant: Option<String>,
    pub row: Option<String>,
    pub col: Option<String>,
    pub to: To,
}

/// How an answer is written (SurveyMonkey API, "Formatting question types").
#[derive(Debug, Clone, PartialEq)]
pub(super) enum To {
    /// `choice_id` of each option; `other_id` and `text` for what was written.
    Choices {
        /// The id of "other".
        other: Option<String>,
    },
    /// `row_id` and `choice_id`, from a map of rows.
    Rows,
    /// `row_id` and `choice_id`; the choices are the ranks, best first.
    Ranks(Vec<String>),
    /// `choice_id` of the value's step, the first of which is this number.
    Steps(Vec<String>, usize),
    /// `text`.
    Text,
    /// `text`, a date or time.
    Moment {
        /// Whether the day stands before the month.
        day_first: bool,
    },
    /// `other_id` and `text`.
    Comment(String),
    /// Not at all: the API takes no files.
    Nowhere,
}

impl Survey {
    /// What the definition of the survey says, the same that the connector read the form from.
    ///
    /// # Errors
    /// [`ImportError`], as from the connector.
    pub fn read(definition: &[u8]) -> Result<Survey, ImportError> {
        let json = parse(definition)?;
        let mut reader = Reader::default();
        reader.form(&json);
        Ok(reader.survey)
    }
}

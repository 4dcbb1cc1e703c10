//! Answers: checked values, as the state carries them and the submission tells them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

/// The answers so far, by question key.
pub type Answers = BTreeMap<String, Value>;

/// One checked answer. Only validation makes them; an unanswered question has no entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// Text, e-mail, phone (E.164), URL, date (`YYYY-MM-DD`), time (`HH:MM`), date-time (`YYYY-MM-DDTHH:MM`).
    Text(String),
    /// Number, rating, scale, NPS.
    Number(f64),
    /// Yes/no and consent.
    Bool(bool),
    /// The one option chosen.
    Choice(Selection),
    /// The options chosen, in the order of the form.
    Choices(Selection),
    /// All option ids, best first.
    Ranking(Vec<String>),
    /// Column ids by row id.
    Matrix(BTreeMap<String, Vec<String>>),
    /// Uploaded files.
    Files(Vec<FileRef>),
}

/// Options chosen, and what was written under "other".
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selection {
    /// The source's option references.
    pub ids: Vec<String>,
    /// Free text of "other, please specify".
    pub other: Option<String>,
}

/// A file on Meta's servers (WhatsApp Flows reference, 5.1): everything that is needed to fetch and verify it later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct FileRef {
    pub media_id: String,
    pub cdn_url: String,
    pub file_name: String,
    pub encrypted_hash: String,
    pub iv: String,
    pub encryption_key: String,
    pub hmac_key: String,
    pub plaintext_hash: String,
}

impl Selection {
    /// A selection of these ids.
    pub fn of(ids: impl IntoIterator<Item = impl Into<String>>) -> Selection {
        Selection { ids: ids.into_iter().map(Into::into).collect(), other: None }
    }
}

impl Value {
    /// The value as submissions tell it: option reference or array, number, boolean, date.
    ///
    /// What was written under "other" stands where the option reference would; [`Value::other`] tells them apart.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Text(text) => json!(text),
            Value::Number(number) => number_json(*number),
            Value::Bool(value) => json!(value),
            Value::Choice(selection) => match (&selection.other, selection.ids.first()) {
                (Some(other), _) => json!(other),
                (None, Some(id)) => json!(id),
                (None, None) => serde_json::Value::Null,
            },
            Value::Choices(selection) => {
                json!(selection.ids.iter().chain(&selection.other).collect::<Vec<_>>())
            }
            Value::Ranking(ids) => json!(ids),
            Value::Matrix(rows) => json!(rows),
            Value::Files(files) => {
                json!(
                    files
                        .iter()
                        .map(|f| json!({"media_id": f.media_id, "file_name": f.file_name}))
                        .collect::<Vec<_>>()
                )
            }
        }
    }

    /// What was written under "other, please specify".
    pub fn other(&self) -> Option<&str> {
        match self {
            Value::Choice(selection) | Value::Choices(selection) => selection.other.as_deref(),
            _ => None,
        }
    }
}

/// A whole number as a JSON integer, so that `3` does not become `3.0` on the way home.
pub(super) fn number_json(number: f64) -> serde_json::Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within the exact range of f64")]
        return json!(number as i64);
    }
    json!(number)
}

//! A submission, in the form that webhooks receive and `submissions export` prints.
//!
//! This is a published contract (`schemas/submission.schema.json`): extend it, never rename in it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ids::SubmissionId;

/// One filled-in form.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// Its id, also the key by which repeats are recognised.
    pub id: SubmissionId,
    /// The flow it was filled in with.
    pub flow_id: String,
    /// The version of that flow.
    pub flow_version: u32,
    /// The form the flow was made from.
    pub form: Form,
    /// The flow token as it came; tokens may be shared or "unused".
    pub flow_token: String,
    /// Who filled it in, as far as known.
    pub contact: Option<Contact>,
    /// When the flow was opened.
    #[serde(rename = "started_at", with = "rfc3339")]
    pub started_at_ms: i64,
    /// When it was completed.
    #[serde(rename = "completed_at", with = "rfc3339")]
    pub completed_at_ms: i64,
    /// The language it was filled in, as a BCP 47 tag.
    pub locale: String,
    /// Where the person came from: campaign and the like.
    #[serde(default)]
    pub source: BTreeMap<String, String>,
    /// The form's hidden fields.
    #[serde(default)]
    pub hidden: BTreeMap<String, String>,
    /// What the form computed: scores, prices.
    #[serde(default)]
    pub variables: BTreeMap<String, Value>,
    /// Whether this was a trial.
    pub test: bool,
    /// The earlier submission of the same walk that this one corrects.
    #[serde(default)]
    pub linked_to: Option<SubmissionId>,
    /// The earlier submission of the same person whose place this one takes.
    #[serde(default)]
    pub replaces: Option<SubmissionId>,
    /// The later submission that took the place of this one. Nobody who has this one is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<SubmissionId>,
    /// Which walk it closed: what a later submission of the same walk is linked by. Not told to anybody.
    #[serde(skip)]
    pub walk: Option<[u8; 16]>,
    /// The reference of the ending that was shown.
    #[serde(default)]
    pub ending: Option<String>,
    /// The answers, in the order asked.
    pub answers: Vec<Answer>,
}

impl Submission {
    /// What tells where it is from, by the names that places for it in the tools have: `wa_submission_id` and the like.
    #[must_use]
    pub fn facts(&self) -> Vec<(String, String)> {
        let at = |at_ms| Timestamp::from_millisecond(at_ms).map(|at| format!("{at:.3}")).unwrap_or_default();
        let fact = |name: &str, value: String| (format!("wa_{name}"), value);
        let mut facts = vec![
            fact("submission_id", self.id.to_string()),
            fact("flow_id", self.flow_id.clone()),
            fact("flow_version", self.flow_version.to_string()),
            fact("started_at", at(self.started_at_ms)),
            fact("completed_at", at(self.completed_at_ms)),
            fact("locale", self.locale.clone()),
        ];
        let phone = self.contact.as_ref().and_then(|contact| contact.phone.clone());
        facts.extend(phone.map(|phone| fact("phone", phone)));
        for (name, value) in &self.source {
            let told = fact(name, value.clone());
            if facts.iter().all(|(known, _)| *known != told.0) {
                facts.push(told);
            }
        }
        facts
    }
}

/// The form behind a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// The tool it lives in.
    pub tool: String,
    /// Its id there.
    pub id: String,
    /// Its title.
    pub title: String,
}

/// The person.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// The phone number, E.164.
    pub phone: Option<String>,
    /// WhatsApp's id of the person for this business.
    pub user_id: Option<String>,
}

/// One answer.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The source tool's stable reference of the question.
    pub key: String,
    /// The question as the person saw it.
    pub question: String,
    /// The kind of question.
    #[serde(rename = "type")]
    pub kind: String,
    /// The source tool's value: option reference or array of them, number, boolean, date, text.
    pub value: Value,
    /// What the person saw or typed.
    pub text: String,
    /// What was typed behind "other".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
}

// Answers, tokens and phone numbers stay out of every log, also by accident.
impl fmt::Debug for Submission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Submission")
            .field("id", &self.id)
            .field("flow_id", &self.flow_id)
            .field("flow_version", &self.flow_version)
            .field("answers", &self.answers.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Contact {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Contact").finish_non_exhaustive()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Answer")
            .field("key", &self.key)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Unix milliseconds in the program, RFC 3339 in JSON.
mod rfc3339 {
    use jiff::Timestamp;
    use serde::de::{Deserialize, Deserializer, Error as _};
    use serde::ser::{Error as _, Serializer};

    pub(super) fn serialize<S: Serializer>(at_ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        let timestamp = Timestamp::from_millisecond(*at_ms).map_err(S::Error::custom)?;
        serializer.collect_str(&format_args!("{timestamp:.3}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Timestamp::as_millisecond).map_err(D::Error::custom)
    }
}

//! The audit trail: who did what to which thing, when, and with what outcome.
//!
//! Invariant: an event is written in the batch of the change it tells of, so there is no change without its event and no
//! event without its change. Events are only ever added. They name things by id and hold no answer, phone number or token.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::{Put, Table};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in Unix milliseconds.
    pub at_ms: i64,
    /// Who: a user of the console, `cli`, or the part of the program that did it by itself.
    pub actor: String,
    /// What, as `thing.verb`, for example `submission.accepted`.
    pub action: String,
    /// The id of what it was done to.
    pub subject: String,
    /// With what outcome: `ok`, or a short constant reason.
    pub outcome: String,
}

impl Event {
    /// An event that went well.
    pub fn ok(at_ms: i64, actor: &str, action: &str, subject: impl ToString) -> Self {
        Self::with_outcome(at_ms, actor, action, subject, "ok")
    }

    /// An event with its outcome.
    pub fn with_outcome(
        at_ms: i64,
        actor: &str,
        action: &str,
        subject: impl ToString,
        outcome: &str,
    ) -> Self {
        Self {
            at_ms,
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: subject.to_string(),
            outcome: outcome.to_owned(),
        }
    }

    /// The record that adds this event to the trail. Its key sorts by time, and is random behind it: two nodes never
    /// overwrite each other's events.
    #[must_use]
    pub fn put(&self) -> Put {
        let mut key = self.at_ms.to_be_bytes().to_vec();
        key.extend_from_slice(Uuid::from_u128(rand::random()).as_bytes());
        let value = serde_json::to_vec(self).expect("strings and a number always serialise");
        Put::new(Table::Audit, key, value)
    }

    /// Reads an event back; `None` for bytes that are none.
    #[must_use]
    pub fn from_record(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }
}

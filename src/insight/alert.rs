//! What is known of one cause that stands: the same for all nodes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Cause, Kind, Notice};

/// A cause that stands, or whose end some sink has not been told yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Of what.
    pub cause: Cause,
    /// Since when the cause stands, in milliseconds since 1970.
    pub since_ms: i64,
    /// What the newest notice tells.
    pub kind: Kind,
    /// The newest notice's id: the same at every try, whichever node tries.
    pub notice: String,
    /// When it was made.
    pub told_ms: i64,
    /// What is the matter, in a sentence; no answer of anybody in it.
    pub text: String,
    /// The node that saw it, where several share a store.
    pub node: Option<String>,
    /// The nodes that see the cause, and when each has said so last.
    pub seen: BTreeMap<String, i64>,
    /// The sinks that the newest notice has not reached.
    pub owed: BTreeSet<String>,
    /// The node that tells them.
    pub teller: String,
    /// From then on another node may.
    pub until_ms: i64,
}

impl Alert {
    /// Whether the cause stands.
    pub fn stands(&self) -> bool {
        self.kind != Kind::Recovered
    }

    /// The newest notice.
    pub fn to_notice(&self) -> Notice {
        Notice {
            id: self.notice.clone(),
            cause: self.cause.clone(),
            kind: self.kind,
            since_ms: self.since_ms,
            text: self.text.clone(),
            remedy: if self.stands() { self.cause.remedy() } else { "Nothing to do." },
            node: self.node.clone(),
        }
    }
}

//! What is known of causes, in the store.

use std::time::Duration;

use tokio::time::timeout;

use crate::insight::{Alert, Cause, Step};
use crate::store::{Batch, Error, Expectation, Put, Scan, Store, Table, Version};

/// How long it is kept that a cause stands, while nobody says so again: what a node that is gone for good said of itself.
const KEPT_MS: i64 = 30 * 24 * 3_600_000;
/// More causes than this at a time are not told.
const MAX_ALERTS: u32 = 1_000;
/// How long the store may take; what begins is told without it then.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is written.
    Written,
    /// Another node was faster; what it wrote is read at the next look.
    Overtaken,
    /// The store cannot say.
    Unwritten,
}

/// The records of what all nodes have in common, and of what is this node's.
pub(super) struct Book {
    store: Store,
    own: String,
}

impl Book {
    pub(super) fn new(store: Store) -> Book {
        let own = format!("node/{}/", store.node().unwrap_or_default());
        Book { store, own }
    }

    /// Everything that is known; `None` if the store does not say.
    pub(super) async fn read(&self) -> Option<Vec<(Alert, Version)>> {
        let mut known = Vec::new();
        for prefix in [COMMON, &self.own] {
            let prefix = prefix.as_bytes().to_vec();
            let scan = Scan { prefix, after: None, descending: false, limit: MAX_ALERTS };
            let records = timeout(PATIENCE, self.store.scan(Table::Alert, scan)).await.ok()?.ok()?;
            // What a later release knows and this one does not is left to it.
            known.extend(records.into_iter().filter_map(|(_, record)| {
                Some((serde_json::from_slice(&record.value).ok()?, record.version))
            }));
        }
        Some(known)
    }

    pub(super) async fn write(&self, now_ms: i64, step: &Step) -> Outcome {
        let key = self.key(&step.cause);
        let expect = step.before.map_or(Expectation::Absent, Expectation::Version);
        let batch = Batch::at(now_ms).require(Table::Alert, key.clone(), expect);
        let batch = match step.after.as_ref().map(serde_json::to_vec) {
            Some(Ok(value)) => {
                batch.put(Put::new(Table::Alert, key, value).until(now_ms.saturating_add(KEPT_MS)))
            }
            Some(Err(_)) => return Outcome::Unwritten,
            None => batch.delete(Table::Alert, key),
        };
        match timeout(PATIENCE, self.store.commit(batch)).await {
            Ok(Ok(())) => Outcome::Written,
            Ok(Err(Error::Conflict { .. })) => Outcome::Overtaken,
            Ok(Err(_)) | Err(_) => Outcome::Unwritten,
        }
    }

    fn key(&self, cause: &Cause) -> String {
        let whose = if cause.is_of_one_node() { &self.own } else { COMMON };
        format!("{whose}{}", serde_json::json!(cause))
    }
}

/// What the keys of everybody's causes begin with.
const COMMON: &str = "all/";

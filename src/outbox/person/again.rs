//! Erasures that are done, and are done again when a node comes back with something of the person that no other node had.
//!
//! Invariant: only what was completed before the erasure was asked for is erased; a person who writes again is heard. For that
//! the keyed hash of the person is kept as long as nodes may come back, and nothing else. Without other nodes nothing is kept.

use serde::{Deserialize, Serialize};

use super::job::{Job, Scope};
use super::{By, PAGE, of_hash, submission_of};
use crate::outbox::{Error, Outbox, SubmissionId};
use crate::store::{self, AWAY_DAYS, Batch, Expectation, Put, Scan, Table};

/// The keys of these records among the jobs.
const DONE: &[u8] = b"erased\0";
/// As long as a node may come back.
const KEPT_MS: i64 = AWAY_DAYS * 24 * 3_600_000;
/// Who does it.
const ACTOR: &str = "formgate";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Done {
    by: By,
    hash: [u8; 32],
    /// When it was asked for.
    before_ms: i64,
}

impl Outbox {
    /// The record by which an erasure is done again, if there are other nodes; while the job still knows the hash.
    pub(super) fn erased_before(&self, key: &[u8], job: &Job) -> Option<Put> {
        self.store.node().filter(|_| !job.is_forgotten())?;
        let before_ms = job.before_ms.or(job.begun_ms)?;
        let done = Done { by: job.by, hash: job.hash, before_ms };
        let value = serde_json::to_vec(&done).expect("numbers and strings always serialise");
        let key = [DONE, key.last_chunk::<16>()?].concat();
        Some(Put::new(Table::Job, key, value).until(before_ms.saturating_add(KEPT_MS)))
    }

    /// Begins to erase what has come since of those who were erased before.
    pub(super) async fn erase_again(&self) -> Result<(), Error> {
        let mut after = None;
        loop {
            let scan = Scan { prefix: DONE.to_vec(), after, limit: PAGE, ..Scan::default() };
            let page = self.store.scan(Table::Job, scan).await?;
            let ended = page.len() < PAGE as usize;
            after = page.last().map(|(key, _)| key.clone());
            for (key, record) in page {
                let Ok(done) = serde_json::from_slice::<Done>(&record.value) else { continue };
                if self.has_before(&done).await? {
                    let job = Job::again(done.by, done.hash, ACTOR, self.clock.now_ms(), done.before_ms);
                    // An erasure like every other from now on, of which one such record is left again; by one node.
                    let batch = Batch::at(self.clock.now_ms())
                        .require(Table::Job, key.clone(), Expectation::Present)
                        .delete(Table::Job, key);
                    match self.begin_erasure(job, batch).await {
                        // Another node was faster.
                        Ok(_) | Err(Error::Store(store::Error::Conflict { .. })) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            if ended {
                return Ok(());
            }
        }
    }

    async fn has_before(&self, done: &Done) -> Result<bool, Error> {
        let scope = Scope { before_ms: Some(done.before_ms), unreadable: false };
        let mut after = None;
        loop {
            let page = self.store.scan_all(Table::Person, of_hash(done.hash, after)).await?;
            let ended = page.len() < PAGE as usize;
            after = page.last().map(|(key, _)| key.clone());
            for id in page.iter().filter_map(|(entry, _)| submission_of(entry)) {
                if self.is_in(scope, id).await? {
                    return Ok(true);
                }
            }
            if ended {
                return Ok(false);
            }
        }
    }

    /// Whether a submission is one of those that an erasure is for.
    pub(in crate::outbox) async fn is_in(&self, scope: Scope, id: SubmissionId) -> Result<bool, Error> {
        let Some(before_ms) = scope.before_ms else { return Ok(true) };
        match self.read_submission(id).await {
            Ok(submission) => Ok(submission.is_none_or(|submission| submission.completed_at_ms <= before_ms)),
            Err(Error::Unreadable { .. }) => Ok(scope.unreadable),
            Err(error) => Err(error),
        }
    }
}

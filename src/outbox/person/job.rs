//! How far an erasure is, and what it leaves with others.
//!
//! Invariant: it never names the person. What it does not do: erase at a destination; it counts what is left there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::By;
use crate::outbox::destination::SKIPPED;
use crate::outbox::history::Attempt;
use crate::outbox::query::DeliveryView;
use crate::store::{DeliveryState, Put, Rewrite, Table};

/// Bytes of the hash that audit events show.
const NAMED: usize = 8;

/// How far an erasure is, as kept in the store. It holds the hash and not the person. One of a later release that says more is
/// not read, and so not ended here before all of it is done.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    pub(super) by: By,
    pub(super) hash: [u8; 32],
    pub(super) actor: String,
    /// When it was asked for; an older release did not write it.
    #[serde(default)]
    pub(super) begun_ms: Option<i64>,
    /// Only what was completed by then; without it everything. The release before reads no job that has it, and is not to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) before_ms: Option<i64>,
    pub(super) erased: u64,
    gone_to: BTreeMap<String, u64>,
    /// An older release did not count them.
    #[serde(default)]
    maybe_gone_to: BTreeMap<String, u64>,
    /// The same.
    #[serde(default)]
    files_at: BTreeMap<String, u64>,
}

/// Which of a person's submissions an erasure is for.
#[derive(Debug, Clone, Copy)]
pub(in crate::outbox) struct Scope {
    /// Those that were completed by then; without it all.
    pub before_ms: Option<i64>,
    /// Those, too, of which nobody can read when they were.
    pub unreadable: bool,
}

impl Job {
    /// What is left to erase. What the person has sent since it was asked for is no part of an erasure that is gone on with
    /// later.
    pub(super) fn scope(&self, is_late: bool) -> Scope {
        let before_ms = self.before_ms.or(self.begun_ms.filter(|_| is_late));
        Scope { before_ms, unreadable: self.before_ms.is_none() }
    }

    pub(super) fn begin(by: By, hash: [u8; 32], actor: &str, now_ms: i64) -> Self {
        let none = BTreeMap::new;
        let (begun_ms, actor) = (Some(now_ms), actor.to_owned());
        Self {
            by,
            hash,
            actor,
            begun_ms,
            before_ms: None,
            erased: 0,
            gone_to: none(),
            maybe_gone_to: none(),
            files_at: none(),
        }
    }

    /// The same once more, for what has come since of what was completed before.
    pub(super) fn again(by: By, hash: [u8; 32], actor: &str, now_ms: i64, before_ms: i64) -> Self {
        Self { before_ms: Some(before_ms), ..Self::begin(by, hash, actor, now_ms) }
    }

    /// Counts a submission with so many files that is about to be erased, and who has or may have it.
    pub(super) fn count(&mut self, deliveries: &[DeliveryView], files: u64) {
        self.erased += 1;
        for delivery in deliveries {
            let counts = if is_kept_back(delivery) {
                continue;
            } else if delivery.state == DeliveryState::Delivered {
                &mut self.gone_to
            } else if may_have(delivery, files) {
                &mut self.maybe_gone_to
            } else {
                continue;
            };
            *counts.entry(delivery.destination.clone()).or_default() += 1;
            if files > 0 {
                *self.files_at.entry(delivery.destination.clone()).or_default() += files;
            }
        }
    }

    pub(super) fn done(self, scrubbed: bool, log: Rewrite) -> ErasedPerson {
        let Self { erased, gone_to, maybe_gone_to, files_at, .. } = self;
        ErasedPerson { erased, gone_to, maybe_gone_to, files_at, scrubbed, log }
    }

    /// How its audit event says what is out of reach.
    pub(super) fn outcome(&self, log: Rewrite) -> String {
        let mut left = Vec::new();
        if !self.files_at.is_empty() {
            let files: Vec<_> = self.files_at.iter().map(|(to, files)| format!("{to} {files}")).collect();
            left.push(format!("files that were sent to {}", files.join(", ")));
        }
        match log {
            Rewrite::Done => {}
            Rewrite::Refused => {
                left.push("the log of Redis, which it does not let be written anew".to_owned())
            }
            Rewrite::Begun | Rewrite::Later => {
                left.push("the log of Redis, which is being written anew".to_owned());
            }
        }
        if left.is_empty() { "ok".to_owned() } else { format!("ok, but for {}", left.join("; and for ")) }
    }

    /// Keeps no more of the hash than its name shows: nothing is looked for by it any more.
    pub(super) fn forget(&mut self) {
        self.hash.iter_mut().skip(NAMED).for_each(|byte| *byte = 0);
    }

    pub(super) fn is_forgotten(&self) -> bool {
        self.hash.iter().skip(NAMED).all(|byte| *byte == 0)
    }

    /// How audit events name it: enough to match a request, too little to find a person.
    pub(super) fn subject(&self) -> String {
        let hash: String = self.hash.iter().take(NAMED).map(|byte| format!("{byte:02x}")).collect();
        format!("{} {hash}", self.by.name())
    }

    pub(super) fn put(&self, key: &[u8]) -> Put {
        Put::new(Table::Job, key, serde_json::to_vec(self).expect("numbers and strings always serialise"))
    }
}

/// Whether the destination's condition has kept a delivery back: then it is done, and nothing was sent.
fn is_kept_back(delivery: &DeliveryView) -> bool {
    let last = delivery.attempts.last();
    delivery.state == DeliveryState::Delivered && last.is_some_and(|attempt| attempt.class == SKIPPED)
}

/// Whether a destination that has not confirmed a delivery, of a submission with so many files, may have something of it.
fn may_have(delivery: &DeliveryView, files: u64) -> bool {
    // Files can go ahead, so that they are there also where it is clear that the submission itself is not.
    let files_may = |attempt: &Attempt| files > 0 && attempt.status.is_none_or(|status| status >= 500);
    let unclear = |attempt: &Attempt| attempt.is_unclear() || files_may(attempt);
    delivery.state == DeliveryState::Leased || delivery.attempts.iter().any(unclear)
}

/// What an erasure did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasedPerson {
    /// Submissions that are gone.
    pub erased: u64,
    /// How many of them each destination had got: what is there has to be erased there.
    pub gone_to: BTreeMap<String, u64>,
    /// How many each destination may have got: an attempt is under way, or one ended without a clear answer.
    pub maybe_gone_to: BTreeMap<String, u64>,
    /// How many files went with them to each destination: links to them end, but what it has kept stays there.
    pub files_at: BTreeMap<String, u64>,
    /// Whether the files were scrubbed, too. While they were not, the erasure is not ended.
    pub scrubbed: bool,
    /// Whether the log of the shared copy was written anew, too. The same.
    pub log: Rewrite,
}

impl ErasedPerson {
    /// Whether nothing is left to do; the running server does it later.
    pub(super) fn is_ended(&self) -> bool {
        self.scrubbed && self.log != Rewrite::Later
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::ids::DeliveryKey;

    /// A delivery that is dead after this attempt.
    fn tried(class: &str, status: Option<u16>) -> DeliveryView {
        DeliveryView {
            key: DeliveryKey::from_bytes([1; 16]),
            destination: "crm".to_owned(),
            state: DeliveryState::Dead,
            at_ms: 0,
            attempt: 1,
            attempts: vec![Attempt { number: 1, at_ms: 0, took_ms: 1, class: class.into(), status }],
            dead_reason: None,
        }
    }

    #[test]
    fn what_a_condition_has_kept_back_has_gone_nowhere() {
        let delivered = |class| DeliveryView { state: DeliveryState::Delivered, ..tried(class, None) };
        let mut job = Job::begin(By::Phone, [7; 32], "cli", 5);
        job.count(&[delivered(SKIPPED), delivered("delivered")], 0);
        let erased = job.done(true, Rewrite::Done);
        assert_eq!((erased.gone_to.get("crm"), erased.maybe_gone_to.len()), (Some(&1), 0));
    }

    #[test]
    fn a_destination_may_have_what_an_attempt_may_have_left_there_and_nothing_else() {
        for (class, status) in [("connect", None), ("mapping", None), ("status", Some(429))] {
            assert!(!may_have(&tried(class, status), 0), "{class}");
        }
        for (class, status) in [("exchange", None), ("partly", None), ("status", Some(500))] {
            assert!(may_have(&tried(class, status), 0), "{class}");
        }
        assert!(may_have(&tried("connect", None), 1), "its files may have gone ahead");
    }

    #[test]
    fn an_erasure_that_says_more_than_this_release_knows_is_not_read() {
        let job = Job::begin(By::Phone, [7; 32], "cli", 5);
        let mut json = serde_json::to_value(&job).expect("numbers and strings");
        assert!(serde_json::from_value::<Job>(json.clone()).is_ok());
        json["also"] = "the friends".into();
        assert!(serde_json::from_value::<Job>(json).is_err());
    }
}

//! One attempt: under a lease that is kept, up to a deadline, and settled whatever happens.
//!
//! Invariant: an attempt is counted when its delivery is claimed and given back only where the destination had no part in
//! its end, so a delivery that kills the process is found out: after three panics, or eleven claims in a row that nobody
//! settled, it is quarantined. That is a dead delivery with its reason: it holds up nobody and can be replayed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::lane::{BUSY_PAUSE, DestinationLane, LEASE_MS};
use super::raised;
use crate::audit;
use crate::fault;
use crate::outbox::breaker::Sign;
use crate::outbox::destination::{Call, Outcome, Verdict};
use crate::outbox::history::{Attempt, History};
use crate::outbox::hold::{MAPPING, OUTBOX};
use crate::outbox::ids::{DeliveryKey, SubmissionId};
use crate::outbox::retry::Decision;
use crate::outbox::{Error, Unsealable};
use crate::store::{self, Delivery, Settlement};
use crate::telemetry::DeliveryOutcome;

const RENEW_MS: i64 = 20_000;
const ATTEMPT_DEADLINE_MS: i64 = 30_000;
/// How long an outcome is tried to be recorded; longer than any lease would be for nothing.
const SETTLE_PATIENCE: Duration = Duration::from_secs(30);
/// When a delivery is tried again whose submission could not be read just now.
const UNREAD_PAUSE_MS: i64 = 1_000;
/// An attempt that panics this often is poison.
const MAX_CRASHES: u32 = 3;
/// So is one during which the process died, but most of those were in flight by chance: it takes more of them.
const MAX_UNSETTLED: u32 = 10;

/// What an attempt has taught about its destination.
pub(super) struct Report {
    pub(super) sign: Sign,
    /// The destination asks us to slow down, for so long if it says.
    pub(super) slow_down: Option<Option<i64>>,
}

impl Report {
    const NOTHING: Self = Self { sign: Sign::Nothing, slow_down: None };

    fn of(ended: &Ended) -> Self {
        let Ended::Outcome(outcome) = ended else { return Self::NOTHING };
        if outcome.without_it {
            return Self::NOTHING;
        }
        match outcome.verdict {
            Verdict::Delivered => Self { sign: Sign::Well, slow_down: None },
            Verdict::Retry { after_ms } => {
                let too_many = outcome.status == Some(429);
                let asks = too_many || outcome.status == Some(503) && after_ms.is_some();
                Self {
                    sign: if asks { Sign::Busy } else { Sign::Failed },
                    slow_down: (too_many || after_ms.is_some()).then_some(after_ms),
                }
            }
            // A refusal that came without an answer is our own, and says nothing of the destination.
            Verdict::Refused { .. } | Verdict::Hold { .. } if outcome.status.is_some() => {
                Self { sign: Sign::Refused, slow_down: None }
            }
            Verdict::Refused { .. } | Verdict::Hold { .. } => Self::NOTHING,
        }
    }
}

impl DestinationLane {
    pub(super) async fn attempt(self, delivery: Delivery, abandoned: watch::Receiver<bool>) -> Report {
        let started_ms = self.outbox.clock.now_ms();
        let started = Instant::now();
        fault::point("worker.claimed");
        let Some(ended) = self.deliver(&delivery, abandoned).await else { return Report::NOTHING };
        if let Ended::Unready { .. } = ended {
            // Nothing was attempted, so nothing is told of it.
            let history = History::from_bytes(&delivery.history);
            let settlement = self.settlement(&delivery, ended, history);
            self.settle(&delivery, settlement).await;
            return Report::NOTHING;
        }
        fault::point("worker.answered");
        let report = Report::of(&ended);
        let took_ms = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        let (class, status) = ended.labels();
        let mut history = History::from_bytes(&delivery.history);
        history.push(Attempt {
            number: delivery.attempt,
            at_ms: started_ms,
            took_ms,
            class: class.into(),
            status,
        });
        let key = DeliveryKey::from_bytes(delivery.key);
        tracing::info!(
            delivery.key = %key,
            delivery.destination = delivery.destination,
            delivery.attempt = delivery.attempt,
            delivery.lease = delivery.lease,
            outcome = class,
            status,
            took_ms,
            "attempted a delivery"
        );
        let counted = match &ended {
            Ended::Outcome(Outcome { verdict: Verdict::Refused { .. }, .. }) => DeliveryOutcome::Refused,
            Ended::Crash | Ended::Poison | Ended::Deadly => DeliveryOutcome::Quarantined,
            _ => DeliveryOutcome::Dead,
        };
        if let Ended::Outcome(Outcome { verdict: Verdict::Hold { reason, reconnect }, class, .. }) = &ended
            && let actor = if *class == MAPPING { MAPPING } else { OUTBOX }
            && let Err(error) = self.outbox.park(self.destination.id(), actor, Some(reason), *reconnect).await
        {
            // The delivery is given back all the same; the next one asks again.
            tracing::warn!(error = &error as &dyn std::error::Error, "a destination could not be paused");
        }
        let settlement = self.settlement(&delivery, ended, history);
        let counted = match settlement.verdict {
            store::Verdict::Delivered { .. } => Some(DeliveryOutcome::Delivered),
            store::Verdict::Dead { .. } => Some(counted),
            store::Verdict::Retry { .. } => Some(DeliveryOutcome::Retry),
            store::Verdict::Release { .. } | store::Verdict::Superseded { .. } => None,
        };
        if let Some(outcome) = counted {
            self.metrics.delivery(&delivery.destination, outcome);
        }
        self.settle(&delivery, settlement).await;
        fault::point("worker.settled");
        report
    }

    /// Runs the attempt and keeps its lease. `None` if the lease or the store was lost: then there is nothing to settle.
    async fn deliver(&self, delivery: &Delivery, mut abandoned: watch::Receiver<bool>) -> Option<Ended> {
        if delivery.unsettled > MAX_UNSETTLED {
            return Some(Ended::Deadly);
        }
        let id = SubmissionId::new(uuid::Uuid::from_bytes(delivery.submission));
        let submission = match self.outbox.read_submission(id).await {
            Ok(Some(submission)) => submission,
            Ok(None) => {
                return Some(Ended::Outcome(Outcome::refused("gone", None, "the submission was deleted")));
            }
            Err(Error::Unreadable { .. }) if fault::is_on("worker.keeps_poison") => {
                return Some(Ended::Abandoned { wait_ms: 0 });
            }
            // A master key is changed on one node after the other.
            Err(Error::Unreadable { why: Unsealable::NoKey, .. }) if self.outbox.store.is_shared() => {
                return Some(Ended::NoKey);
            }
            Err(Error::Unreadable { .. }) => return Some(Ended::Poison),
            Err(Error::Store(_) | Error::Unended(_)) => {
                return Some(Ended::Abandoned { wait_ms: UNREAD_PAUSE_MS });
            }
        };
        if submission.replaced_by.is_some() {
            return Some(Ended::Superseded);
        }
        match self.outbox.wait_for_files_ms(&submission).await {
            Ok(None) => {}
            Ok(Some(wait_ms)) => return Some(Ended::Unready { wait_ms }),
            Err(_) => return Some(Ended::Abandoned { wait_ms: UNREAD_PAUSE_MS }),
        }
        let completed_at_ms = submission.completed_at_ms;
        let (destination, key, attempt) =
            (Arc::clone(&self.destination), DeliveryKey::from_bytes(delivery.key), delivery.attempt);
        // A replay has a new budget, but what was sent before it may be there all the same.
        let history = History::from_bytes(&delivery.history);
        // The claim of this attempt is one of those that are not settled.
        let sent_before = delivery.unsettled > 1 || history.is_unclear(attempt.saturating_sub(1));
        let within_ms = if fault::is_on("worker.no_deadline") { 24 * 3_600_000 } else { ATTEMPT_DEADLINE_MS };
        let deadline = Instant::now() + Duration::from_millis(within_ms.unsigned_abs());
        let mut overdue = self.outbox.clock.sleep_ms(within_ms);
        // A task of its own catches a panic; the set ends it when this future is dropped.
        let mut attempting = JoinSet::new();
        attempting.spawn(async move {
            let call = Call { submission: &submission, key, attempt, sent_before, deadline };
            destination.deliver(call).await
        });
        loop {
            tokio::select! {
                ended = attempting.join_next() => return Some(match ended {
                    Some(Ok(outcome)) => {
                        if matches!(outcome.verdict, Verdict::Delivered) {
                            let lag_ms = self.outbox.clock.now_ms().saturating_sub(completed_at_ms);
                            self.metrics.delivery_lag(Duration::from_millis(u64::try_from(lag_ms).unwrap_or(0)));
                        }
                        Ended::Outcome(outcome)
                    }
                    Some(Err(_)) | None => Ended::Crash,
                }),
                () = &mut overdue => return Some(Ended::Outcome(Outcome::retry("deadline", None, None))),
                () = raised(&mut abandoned) => return Some(Ended::Abandoned { wait_ms: 0 }),
                () = self.outbox.clock.sleep_ms(RENEW_MS) => {
                    let until_ms = self.outbox.clock.now_ms().saturating_add(LEASE_MS);
                    match self.outbox.store.renew(delivery.key, delivery.lease, until_ms).await {
                        Ok(()) | Err(store::Error::Busy) => {}
                        Err(error) => {
                            self.count_if_stale(&error);
                            let error = &error as &dyn std::error::Error;
                            tracing::warn!(delivery.key = %key, error, "an attempt was given up with its lease");
                            return None;
                        }
                    }
                }
            }
        }
    }

    fn settlement(&self, delivery: &Delivery, ended: Ended, mut history: History) -> Settlement {
        let now_ms = self.outbox.clock.now_ms();
        let (retry_after_ms, exhausted) = match ended {
            Ended::Outcome(Outcome { verdict: Verdict::Delivered, .. }) => {
                let verdict = store::Verdict::Delivered { at_ms: now_ms };
                return Settlement { verdict, history: history.to_bytes(), puts: vec![] };
            }
            Ended::Outcome(Outcome { verdict: Verdict::Hold { .. }, .. }) => {
                let verdict = store::Verdict::Release { due_at_ms: now_ms };
                return Settlement { verdict, history: history.to_bytes(), puts: vec![] };
            }
            Ended::Superseded => {
                let verdict = store::Verdict::Superseded { at_ms: now_ms };
                return Settlement { verdict, history: history.to_bytes(), puts: vec![] };
            }
            Ended::Abandoned { wait_ms } | Ended::Unready { wait_ms } => {
                let verdict = store::Verdict::Release { due_at_ms: now_ms.saturating_add(wait_ms) };
                return Settlement { verdict, history: history.to_bytes(), puts: vec![] };
            }
            Ended::Outcome(Outcome { verdict: Verdict::Refused { reason }, .. }) => {
                return dead(delivery, now_ms, history, reason, "refused");
            }
            Ended::Deadly => {
                // The claim of this attempt is one of those that are not settled.
                let reason = format!(
                    "quarantined: the process ended during its last {} attempts, or could not write down how they ended",
                    delivery.unsettled.saturating_sub(1)
                );
                return dead(delivery, now_ms, history, reason, "quarantined");
            }
            Ended::Poison => {
                return dead(
                    delivery,
                    now_ms,
                    history,
                    "quarantined: it cannot be read".into(),
                    "quarantined",
                );
            }
            Ended::Crash => {
                history.crashes = history.crashes.saturating_add(1);
                if history.crashes >= MAX_CRASHES {
                    // A replay, after the cause was mended, begins to count anew.
                    history.crashes = 0;
                    return dead(
                        delivery,
                        now_ms,
                        history,
                        "quarantined: its attempts crash".into(),
                        "quarantined",
                    );
                }
                (None, "its attempts are used up, the last one crashed")
            }
            Ended::NoKey => {
                (None, "its attempts are used up: it is sealed under a master key that is not here")
            }
            Ended::Outcome(Outcome { verdict: Verdict::Retry { after_ms }, .. }) => {
                (after_ms, "its attempts are used up")
            }
        };
        match self.pace.retry.next(delivery.attempt, retry_after_ms, rand::random()) {
            Decision::RetryIn { wait_ms } => Settlement {
                verdict: store::Verdict::Retry { due_at_ms: now_ms.saturating_add(wait_ms) },
                history: history.to_bytes(),
                puts: vec![],
            },
            Decision::Dead => dead(delivery, now_ms, history, exhausted.into(), "exhausted"),
        }
    }

    fn count_if_stale(&self, error: &store::Error) {
        if matches!(error, store::Error::StaleLease) {
            self.metrics.stale_lease();
        }
    }

    /// Records the outcome. A busy store is asked again for as long as the lease is sure to be ours.
    async fn settle(&self, delivery: &Delivery, settlement: Settlement) {
        let give_up = Instant::now() + SETTLE_PATIENCE;
        loop {
            match self.outbox.store.settle(delivery.key, delivery.lease, settlement.clone()).await {
                Ok(()) => return,
                Err(store::Error::Busy) if Instant::now() < give_up => tokio::time::sleep(BUSY_PAUSE).await,
                Err(error) => {
                    self.count_if_stale(&error);
                    let key = DeliveryKey::from_bytes(delivery.key);
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(delivery.key = %key, error, "the outcome of an attempt was not recorded");
                    return;
                }
            }
        }
    }
}

/// How an attempt ended, the ways included in which the destination had no say.
enum Ended {
    Outcome(Outcome),
    /// It panicked.
    Crash,
    /// It cannot be read.
    Poison,
    /// Another node has the master key that its submission is sealed under.
    NoKey,
    /// It must not be attempted: too many attempts in a row were not settled, perhaps because they end the process.
    Deadly,
    /// Its submission was replaced by a later one before it was sent.
    Superseded,
    /// The process ends, or the submission could not be read just now: that attempt does not count.
    Abandoned {
        wait_ms: i64,
    },
    /// Its files are still being fetched.
    Unready {
        wait_ms: i64,
    },
}

impl Ended {
    fn labels(&self) -> (&'static str, Option<u16>) {
        match self {
            Self::Outcome(outcome) => (outcome.class, outcome.status),
            Self::Crash => ("panic", None),
            Self::Poison | Self::Deadly => ("quarantined", None),
            Self::NoKey => ("no_key", None),
            Self::Superseded => ("superseded", None),
            Self::Abandoned { .. } => ("abandoned", None),
            Self::Unready { .. } => ("unready", None),
        }
    }
}

fn dead(delivery: &Delivery, now_ms: i64, mut history: History, reason: String, outcome: &str) -> Settlement {
    let key = DeliveryKey::from_bytes(delivery.key);
    tracing::warn!(delivery.key = %key, delivery.destination = delivery.destination, reason, "a delivery is dead");
    history.dead_reason = Some(reason);
    let event = audit::Event::with_outcome(now_ms, "outbox", "delivery.died", key, outcome);
    let verdict = store::Verdict::Dead { at_ms: now_ms };
    Settlement { verdict, history: history.to_bytes(), puts: vec![event.put()] }
}

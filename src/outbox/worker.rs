//! Brings submissions home: claims what is due, attempts it under a lease, settles it.
//!
//! Each destination has its own lane with its own slots, so one that hangs or fails does not delay another. The worker
//! decides nothing about an answer: the destination gives an [`Outcome`], [`RetryPolicy`] the next time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::destination::{Call, Destination, Outcome, Verdict};
use super::history::{Attempt, History};
use super::ids::{DeliveryKey, SubmissionId};
use super::retry::{Decision, RetryPolicy};
use super::{Error, Outbox};
use crate::audit;
use crate::store::{self, Delivery, Settlement};
use crate::telemetry::{DeliveryOutcome, Metrics};

/// Attempts of one destination at one time.
const MAX_IN_FLIGHT: usize = 8;
const LEASE_MS: i64 = 60_000;
const RENEW_MS: i64 = 20_000;
const ATTEMPT_DEADLINE_MS: i64 = 30_000;
/// The longest a lane sleeps without looking.
const MAX_SLEEP_MS: i64 = 60_000;
/// How often expired records are deleted, and how many at a time.
const PURGE_EVERY_MS: i64 = 60_000;
const PURGE_LIMIT: u32 = 1_000;
/// What is under way at a shutdown has so long to end.
const DRAIN_MS: i64 = 10_000;
/// How long an outcome is tried to be recorded; longer than any lease would be for nothing.
const SETTLE_PATIENCE: Duration = Duration::from_secs(30);
/// How long a busy store is given before it is asked again.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// An attempt that panics this often is poison.
const MAX_CRASHES: u32 = 3;
/// So is one during which the process died, but most of those were in flight by chance: it takes more of them.
const MAX_UNSETTLED: u32 = 10;

/// The worker of all destinations.
pub struct Worker {
    outbox: Outbox,
    destinations: Vec<Arc<dyn Destination>>,
    policy: RetryPolicy,
    metrics: Metrics,
}

impl Worker {
    /// A worker for these destinations.
    #[must_use]
    pub fn new(outbox: Outbox, destinations: Vec<Arc<dyn Destination>>, policy: RetryPolicy) -> Self {
        Self { outbox, destinations, policy, metrics: Metrics::new() }
    }

    /// Counts attempts in these metrics.
    #[must_use]
    pub fn counting(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Works until `shutdown` becomes true or the store stops. Then what is under way has 10 s to end; what has not ended
    /// by then is given back. Not cancel safe: dropping the future leaves leases that end by themselves.
    pub async fn run(self, shutdown: watch::Receiver<bool>) {
        let latest_ms = self.outbox.clock.now_ms().saturating_add(RetryPolicy::MAX_WAIT_MS);
        match self.outbox.store.clamp_due(latest_ms).await {
            Ok(0) => {}
            Ok(deliveries) => tracing::warn!(deliveries, "due times too far ahead were brought back"),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "due times could not be checked")
            }
        }
        let mut lanes = JoinSet::new();
        lanes.spawn(purge(self.outbox.clone(), shutdown.clone()));
        for destination in self.destinations {
            let lane = Lane {
                outbox: self.outbox.clone(),
                destination,
                policy: self.policy,
                metrics: self.metrics.clone(),
            };
            lanes.spawn(lane.run(shutdown.clone()));
        }
        while let Some(ended) = lanes.join_next().await {
            if let Err(error) = ended {
                tracing::error!(error = &error as &dyn std::error::Error, "a lane of the outbox crashed");
            }
        }
    }
}

/// Waits until the flag is raised, or whoever could raise it is gone.
async fn raised(flag: &mut watch::Receiver<bool>) {
    // The guard inside the result must not live across an await of the caller.
    drop(flag.wait_for(|raised| *raised).await);
}

/// Deletes kept replies whose day is over.
async fn purge(outbox: Outbox, mut shutdown: watch::Receiver<bool>) {
    loop {
        let now_ms = outbox.clock.now_ms();
        match outbox.store.purge_expired(now_ms, PURGE_LIMIT).await {
            Ok(deleted) if deleted == u64::from(PURGE_LIMIT) => continue,
            Ok(_) | Err(store::Error::Busy) => {}
            Err(_stopped) => return,
        }
        tokio::select! {
            () = raised(&mut shutdown) => return,
            () = outbox.clock.sleep_until_ms(now_ms.saturating_add(PURGE_EVERY_MS)) => {}
        }
    }
}

/// The work for one destination.
#[derive(Clone)]
struct Lane {
    outbox: Outbox,
    destination: Arc<dyn Destination>,
    policy: RetryPolicy,
    metrics: Metrics,
}

impl Lane {
    async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut wake = self.outbox.wake.subscribe();
        let (abandon, abandoned) = watch::channel(false);
        let mut in_flight = JoinSet::new();
        while !*shutdown.borrow() {
            // Before the claim, so that what is accepted during it wakes the lane again.
            wake.mark_unchanged();
            let wake_at_ms = match self.fill(&mut in_flight, &abandoned).await {
                Ok(wake_at_ms) => wake_at_ms,
                Err(store::Error::Busy) => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                    continue;
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "a lane of the outbox stops");
                    break;
                }
            };
            let room = in_flight.len() < MAX_IN_FLIGHT;
            tokio::select! {
                () = raised(&mut shutdown) => break,
                Some(_) = in_flight.join_next() => while in_flight.try_join_next().is_some() {},
                _ = wake.changed(), if room => {}
                () = self.outbox.clock.sleep_until_ms(wake_at_ms), if room => {}
            }
        }
        let give_up = self.outbox.clock.sleep_until_ms(self.outbox.clock.now_ms().saturating_add(DRAIN_MS));
        let drained = async { while in_flight.join_next().await.is_some() {} };
        tokio::select! {
            () = drained => return,
            () = give_up => { abandon.send_replace(true); }
        }
        while in_flight.join_next().await.is_some() {}
    }

    /// Claims what is due into the free slots; says when to look again.
    async fn fill(
        &self,
        in_flight: &mut JoinSet<()>,
        abandoned: &watch::Receiver<bool>,
    ) -> Result<i64, store::Error> {
        let destination = self.destination.id().as_str();
        let now_ms = self.outbox.clock.now_ms();
        let room = u32::try_from(MAX_IN_FLIGHT.saturating_sub(in_flight.len())).unwrap_or(0);
        let latest_ms = now_ms.saturating_add(MAX_SLEEP_MS);
        if room == 0 {
            return Ok(latest_ms);
        }
        let claimed = self.outbox.store.claim(destination, now_ms, LEASE_MS, room).await?;
        let filled = claimed.len() >= room as usize;
        for delivery in claimed {
            in_flight.spawn(self.clone().attempt(delivery, abandoned.clone()));
        }
        if filled {
            // The first slot that gets free is the next reason to look.
            return Ok(latest_ms);
        }
        let next_due_ms = self.outbox.store.next_due(destination).await?;
        Ok(next_due_ms.map_or(latest_ms, |due_ms| due_ms.min(latest_ms)))
    }

    async fn attempt(self, delivery: Delivery, abandoned: watch::Receiver<bool>) {
        let started_ms = self.outbox.clock.now_ms();
        let started = Instant::now();
        let Some(ended) = self.deliver(&delivery, abandoned).await else { return };
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
            outcome = class,
            status,
            took_ms,
            "attempted a delivery"
        );
        let refused = matches!(&ended, Ended::Outcome(Outcome { verdict: Verdict::Refused { .. }, .. }));
        let abandoned = matches!(ended, Ended::Abandoned);
        let settlement = self.settlement(&delivery, ended, history);
        let counted = match settlement.verdict {
            store::Verdict::Delivered { .. } => Some(DeliveryOutcome::Delivered),
            store::Verdict::Dead { .. } if refused => Some(DeliveryOutcome::Refused),
            store::Verdict::Dead { .. } => Some(DeliveryOutcome::Dead),
            store::Verdict::Retry { .. } if abandoned => None,
            store::Verdict::Retry { .. } => Some(DeliveryOutcome::Retry),
        };
        if let Some(outcome) = counted {
            self.metrics.delivery(&delivery.destination, outcome);
        }
        self.settle(&delivery, settlement).await;
    }

    /// Runs the attempt and keeps its lease. `None` if the lease or the store was lost: then there is nothing to settle.
    async fn deliver(&self, delivery: &Delivery, mut abandoned: watch::Receiver<bool>) -> Option<Ended> {
        if delivery.unsettled > MAX_UNSETTLED {
            return Some(Ended::Poison);
        }
        let id = SubmissionId::new(uuid::Uuid::from_bytes(delivery.submission));
        let submission = match self.outbox.read_submission(id).await {
            Ok(Some(submission)) => submission,
            Ok(None) => {
                return Some(Ended::Outcome(Outcome::refused("gone", None, "the submission was deleted")));
            }
            Err(Error::Unreadable { .. }) => return Some(Ended::Poison),
            Err(Error::Store(_)) => return Some(Ended::Abandoned),
        };
        let completed_at_ms = submission.completed_at_ms;
        let (destination, key, attempt) =
            (Arc::clone(&self.destination), DeliveryKey::from_bytes(delivery.key), delivery.attempt);
        // A replay has a new budget, but what was sent before it may be there all the same.
        let sent_before = attempt > 1 || !History::from_bytes(&delivery.history).attempts.is_empty();
        let deadline = Instant::now() + Duration::from_millis(ATTEMPT_DEADLINE_MS.unsigned_abs());
        let mut overdue =
            self.outbox.clock.sleep_until_ms(self.outbox.clock.now_ms().saturating_add(ATTEMPT_DEADLINE_MS));
        // A task of its own catches a panic; the set ends it when this future is dropped.
        let mut attempting = JoinSet::new();
        attempting.spawn(async move {
            let call = Call { submission: &submission, key, attempt, sent_before, deadline };
            destination.deliver(call).await
        });
        loop {
            let now_ms = self.outbox.clock.now_ms();
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
                () = raised(&mut abandoned) => return Some(Ended::Abandoned),
                () = self.outbox.clock.sleep_until_ms(now_ms.saturating_add(RENEW_MS)) => {
                    let until_ms = self.outbox.clock.now_ms().saturating_add(LEASE_MS);
                    match self.outbox.store.renew(delivery.key, delivery.lease, until_ms).await {
                        Ok(()) | Err(store::Error::Busy) => {}
                        Err(error) => {
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
            Ended::Abandoned => {
                let verdict = store::Verdict::Retry { due_at_ms: now_ms };
                return Settlement { verdict, history: history.to_bytes(), puts: vec![] };
            }
            Ended::Outcome(Outcome { verdict: Verdict::Refused { reason }, .. }) => {
                return dead(delivery, now_ms, history, reason, "refused");
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
            Ended::Outcome(Outcome { verdict: Verdict::Retry { after_ms }, .. }) => {
                (after_ms, "its attempts are used up")
            }
        };
        match self.policy.next(delivery.attempt, retry_after_ms, rand::random()) {
            Decision::RetryIn { wait_ms } => Settlement {
                verdict: store::Verdict::Retry { due_at_ms: now_ms.saturating_add(wait_ms) },
                history: history.to_bytes(),
                puts: vec![],
            },
            Decision::Dead => dead(delivery, now_ms, history, exhausted.into(), "exhausted"),
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
    /// It must not be attempted.
    Poison,
    /// The process ends, or the submission could not be read just now.
    Abandoned,
}

impl Ended {
    fn labels(&self) -> (&'static str, Option<u16>) {
        match self {
            Self::Outcome(outcome) => (outcome.class, outcome.status),
            Self::Crash => ("panic", None),
            Self::Poison => ("quarantined", None),
            Self::Abandoned => ("abandoned", None),
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

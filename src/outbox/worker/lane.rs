//! The deliveries of one destination: how many attempts begin, and when to look again.
//!
//! Invariant: an attempt begins only when its delivery could be claimed, a slot is free for its lane, the bucket has a token
//! and the breaker permits it; all four are asked before the claim, so a delivery that has to wait loses no attempt.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{Id, JoinError, JoinSet};

use super::attempt::Report;
use super::{Pace, raised};
use crate::outbox::Outbox;
use crate::outbox::breaker::{Breaker, Change, Epoch, Permit, Sign};
use crate::outbox::bucket::Bucket;
use crate::outbox::destination::Destination;
use crate::outbox::share::InUse;
use crate::store::{self, Claim, Lane};
use crate::telemetry::Metrics;

pub(super) const LEASE_MS: i64 = 60_000;
/// The longest a lane sleeps without looking.
const MAX_SLEEP_MS: i64 = 60_000;
/// What is under way at a shutdown has so long to end.
const DRAIN_MS: i64 = 10_000;
/// How long a busy store is given before it is asked again.
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// How soon a lane looks again that did not get what is due.
const LOOK_AGAIN_MS: i64 = 1_000;
/// Bulk replays leave so many of all slots to live deliveries of other destinations.
const KEPT_FROM_BULK: usize = 64;

#[derive(Clone)]
pub(super) struct DestinationLane {
    pub(super) outbox: Outbox,
    pub(super) destination: Arc<dyn Destination>,
    pub(super) pace: Pace,
    pub(super) metrics: Metrics,
    /// Shared by all destinations.
    pub(super) slots: Arc<Semaphore>,
}

/// What decides whether an attempt may begin, and what is under way.
struct Gate {
    breaker: Breaker,
    bucket: Bucket,
    in_use: InUse,
    under_way: JoinSet<Report>,
    begun: HashMap<Id, (Lane, Epoch)>,
    /// The breaker has changed since it was last kept, and what there is to tell of it.
    changed: Option<Option<&'static str>>,
}

/// When a lane looks again.
struct Look {
    at_ms: i64,
    /// It could begin more, but all slots of the process are in use.
    wants_slot: bool,
}

impl Look {
    fn at(at_ms: i64) -> Self {
        Self { at_ms, wants_slot: false }
    }
}

impl DestinationLane {
    pub(super) async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut wake = self.outbox.wake.subscribe();
        let (abandon, abandoned) = watch::channel(false);
        let left = self.outbox.kept_breaker(self.destination.id()).await.ok().flatten();
        let mut gate = Gate {
            breaker: Breaker::new(self.pace.breaker, left),
            bucket: Bucket::new(self.pace.rate),
            in_use: InUse::default(),
            under_way: JoinSet::new(),
            begun: HashMap::new(),
            changed: None,
        };
        while !*shutdown.borrow() {
            self.keep(&mut gate).await;
            // Before the claim, so that what is accepted during it wakes the lane again.
            wake.mark_unchanged();
            let look = match self.fill(&mut gate, &abandoned).await {
                Ok(look) => look,
                Err(store::Error::Busy) => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                    continue;
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "a lane of the outbox stops");
                    break;
                }
            };
            let room = gate.in_use.free() > 0;
            tokio::select! {
                () = raised(&mut shutdown) => break,
                Some(ended) = gate.under_way.join_next_with_id() => {
                    self.note(&mut gate, ended);
                    while let Some(ended) = gate.under_way.try_join_next_with_id() {
                        self.note(&mut gate, ended);
                    }
                }
                _ = wake.changed(), if room => {}
                _ = self.slots.acquire(), if look.wants_slot => {}
                () = self.outbox.clock.sleep_until_ms(look.at_ms), if room => {}
            }
        }
        let give_up = self.outbox.clock.sleep_until_ms(self.outbox.clock.now_ms().saturating_add(DRAIN_MS));
        tokio::select! {
            () = self.drain(&mut gate) => {}
            () = give_up => { abandon.send_replace(true); }
        }
        self.drain(&mut gate).await;
        self.keep(&mut gate).await;
    }

    async fn drain(&self, gate: &mut Gate) {
        while let Some(ended) = gate.under_way.join_next_with_id().await {
            self.note(gate, ended);
        }
    }

    /// Claims what is due into the free slots; says when to look again.
    async fn fill(&self, gate: &mut Gate, abandoned: &watch::Receiver<bool>) -> Result<Look, store::Error> {
        let now_ms = self.outbox.clock.now_ms();
        let latest_ms = now_ms.saturating_add(MAX_SLEEP_MS);
        let mut limits = gate.in_use.limits();
        if limits[0] == 0 {
            // The first slot that gets free is the next reason to look.
            return Ok(Look::at(latest_ms));
        }
        match gate.breaker.permit(now_ms) {
            Permit::All => {}
            Permit::Probe => limits[0] = 1,
            // Who resumes a destination takes the record of its breaker away.
            Permit::From(_)
                if gate.changed.is_none()
                    && self.outbox.kept_breaker(self.destination.id()).await?.is_none() =>
            {
                gate.breaker.probe_now(now_ms);
                limits[0] = 1;
            }
            Permit::From(at_ms) => return Ok(Look::at(at_ms.min(latest_ms))),
            Permit::AfterProbe => return Ok(Look::at(latest_ms)),
        }
        match gate.bucket.available(now_ms) {
            Ok(tokens) => limits[0] = limits[0].min(tokens),
            Err(at_ms) => return Ok(Look::at(at_ms.min(latest_ms))),
        }
        let free = self.slots.available_permits();
        limits[0] = limits[0].min(u32::try_from(free).unwrap_or(u32::MAX));
        if free <= KEPT_FROM_BULK {
            limits[2] = 0;
        }
        let slots = Arc::clone(&self.slots).try_acquire_many_owned(limits[0]);
        let Some(mut slots) = slots.ok().filter(|slots| slots.num_permits() > 0) else {
            return Ok(Look { at_ms: latest_ms, wants_slot: true });
        };
        let destination = self.destination.id();
        let claim = Claim {
            destination: destination.as_str().to_owned(),
            now_ms,
            lease_ms: LEASE_MS,
            shares: gate.in_use.shares(),
            limits,
        };
        let claimed = self.outbox.store.claim_lanes(claim.clone()).await?;
        gate.bucket.take(u32::try_from(claimed.len()).unwrap_or(u32::MAX), now_ms);
        let mut taken = [0; 3];
        for delivery in claimed {
            let lane = delivery.lane;
            if let Some(taken) = taken.get_mut(lane.number()) {
                *taken += 1;
            }
            gate.in_use.begin(lane);
            let epoch = gate.breaker.begin();
            let slot = slots.split(1);
            let attempting = self.clone().attempt(delivery, abandoned.clone());
            let task = gate.under_way.spawn(async move {
                let report = attempting.await;
                drop(slot);
                report
            });
            gate.begun.insert(task.id(), (lane, epoch));
        }
        if taken.iter().sum::<u32>() >= limits[0] {
            // More may be due. If a slot is free, the next look says what it has to wait for.
            return Ok(Look::at(if gate.in_use.free() > 0 { now_ms } else { latest_ms }));
        }
        let next = self.outbox.store.next_due(destination.as_str()).await?;
        let with_room = Lane::ALL.into_iter().zip(next).filter(|(lane, _)| claim.room(*lane, taken) > 0);
        let due_ms = with_room.filter_map(|(_, due_ms)| due_ms).min().unwrap_or(latest_ms);
        if due_ms > now_ms {
            return Ok(Look::at(due_ms.min(latest_ms)));
        }
        // It is due and was not claimed: it came only now, which the wake tells, or the destination is paused.
        let paused = self.outbox.is_paused(destination).await?;
        Ok(Look::at(if paused { latest_ms } else { now_ms.saturating_add(LOOK_AGAIN_MS) }))
    }

    /// Learns from an attempt that has ended.
    fn note(&self, gate: &mut Gate, ended: Result<(Id, Report), JoinError>) {
        let (id, report) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), Report { sign: Sign::Nothing, slow_down: None }),
        };
        let Some((lane, epoch)) = gate.begun.remove(&id) else { return };
        gate.in_use.end(lane);
        let now_ms = self.outbox.clock.now_ms();
        if let Some(after_ms) = report.slow_down {
            gate.bucket.slow_down(after_ms, now_ms);
        }
        let destination = self.destination.id();
        match gate.breaker.record(epoch, report.sign, now_ms, rand::random()) {
            None => {}
            Some(Change::Opened) => {
                tracing::warn!(destination.id = %destination, "the destination fails; what waits for it is parked");
                gate.changed = Some(Some("destination.opened"));
            }
            // Not worth a line each: it fails on. One that was not told yet stays to be told.
            Some(Change::StillOpen) => gate.changed = Some(gate.changed.flatten()),
            Some(Change::Closed) => {
                tracing::info!(destination.id = %destination, "the destination works again");
                gate.changed = Some(Some("destination.recovered"));
            }
        }
    }

    /// Writes down how the breaker stands; tried again at the next look if the store is busy.
    async fn keep(&self, gate: &mut Gate) {
        let Some(told) = gate.changed else { return };
        match self.outbox.keep_breaker(self.destination.id(), gate.breaker.open(), told).await {
            Ok(()) => gate.changed = None,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a breaker could not be kept");
            }
        }
    }
}

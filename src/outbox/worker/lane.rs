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
use super::trouble::Trouble;
use super::{Pace, raised};
use crate::fault;
use crate::outbox::Outbox;
use crate::outbox::breaker::{Breaker, Change, Epoch, Kept, Permit, Sign};
use crate::outbox::destination::Destination;
use crate::outbox::share::InUse;
use crate::store::{self, Claim, Lane, Version};
use crate::telemetry::Metrics;

pub(super) const LEASE_MS: i64 = 60_000;
/// The longest a lane sleeps without looking,
const MAX_SLEEP_MS: i64 = 60_000;
/// and where other nodes accept and settle without telling it.
const MAX_SHARED_SLEEP_MS: i64 = 1_000;
/// The wait after a 429 that names none (reliability notes 2.9).
const PATIENCE_MS: i64 = 10_000;
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
    /// By which name this lane takes the lease of a probe.
    node: u64,
    /// The breaker as it was kept at the last look, if it was open.
    kept: Option<(Kept, Version)>,
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
    /// Nothing that comes before is a reason to look.
    leaves_alone: bool,
}

impl Look {
    fn at(at_ms: i64) -> Self {
        Self { at_ms, wants_slot: false, leaves_alone: false }
    }
}

impl DestinationLane {
    pub(super) async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let mut wake = self.outbox.wake.subscribe();
        let (abandon, abandoned) = watch::channel(false);
        let mut trouble = Trouble::of("lane");
        let left = loop {
            match self.outbox.kept_breaker(self.destination.id()).await {
                Ok(left) => break left,
                Err(error) => {
                    if !trouble.wait(&self.outbox, &error, &mut shutdown).await {
                        return;
                    }
                }
            }
        };
        let mut policy = self.pace.breaker;
        if fault::is_on("worker.no_breaker") {
            (policy.failures_in_row, policy.min_attempts) = (u32::MAX, u32::MAX);
        }
        let mut gate = Gate {
            breaker: Breaker::new(policy, left.map(|(kept, _)| kept.open())),
            node: rand::random::<u64>().max(1),
            kept: None,
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
                Ok(look) => {
                    trouble.is_over();
                    look
                }
                Err(store::Error::Busy) => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                    continue;
                }
                Err(error) => match trouble.again_in_ms(&self.outbox, &error) {
                    Some(pause_ms) => {
                        let at_ms = self.outbox.clock.now_ms().saturating_add(pause_ms);
                        Look { leaves_alone: true, ..Look::at(at_ms) }
                    }
                    None => break,
                },
            };
            let room = gate.in_use.free() > 0;
            // What an attempt has taught, a 429 first of all, counts before the next look.
            tokio::select! {
                biased;
                () = raised(&mut shutdown) => break,
                Some(ended) = gate.under_way.join_next_with_id() => {
                    self.note(&mut gate, ended).await;
                    while let Some(ended) = gate.under_way.try_join_next_with_id() {
                        self.note(&mut gate, ended).await;
                    }
                }
                _ = wake.changed(), if room && !look.leaves_alone => {}
                _ = self.slots.acquire(), if look.wants_slot => {}
                () = self.outbox.clock.sleep_until_ms(look.at_ms), if room => {}
            }
        }
        let give_up = self.outbox.clock.sleep_ms(DRAIN_MS);
        tokio::select! {
            () = self.drain(&mut gate) => {}
            () = give_up => { abandon.send_replace(true); }
        }
        self.drain(&mut gate).await;
        self.keep(&mut gate).await;
    }

    async fn drain(&self, gate: &mut Gate) {
        while let Some(ended) = gate.under_way.join_next_with_id().await {
            self.note(gate, ended).await;
        }
    }

    /// Claims what is due into the free slots; says when to look again.
    async fn fill(&self, gate: &mut Gate, abandoned: &watch::Receiver<bool>) -> Result<Look, store::Error> {
        let now_ms = self.outbox.clock.now_ms();
        let is_shared = self.outbox.store.is_shared();
        let sleep_ms = if is_shared { MAX_SHARED_SLEEP_MS } else { MAX_SLEEP_MS };
        let latest_ms = now_ms.saturating_add(sleep_ms);
        let mut limits = gate.in_use.limits();
        if limits[0] == 0 {
            // The first slot that gets free is the next reason to look.
            return Ok(Look::at(latest_ms));
        }
        // Another node, or whoever resumes a destination, may have changed it.
        let looks =
            !fault::is_on("worker.breaker_of_its_own") && (is_shared || gate.breaker.open().is_some());
        if gate.changed.is_none() && looks {
            gate.kept = self.outbox.kept_breaker(self.destination.id()).await?;
            gate.breaker.adopt(gate.kept.map(|(kept, _)| kept.open()));
        }
        let permit = gate.breaker.permit(now_ms);
        match permit {
            Permit::All => {}
            Permit::Probe => limits[0] = 1,
            Permit::From(at_ms) => return Ok(Look::at(at_ms.min(latest_ms))),
            Permit::AfterProbe => return Ok(Look::at(latest_ms)),
        }
        if permit == Permit::Probe || self.pace.rate.is_some() {
            // What is taken for nothing, a token or the lease of a probe, is missing elsewhere.
            let next = self.outbox.store.next_due(self.destination.id().as_str()).await?;
            let due_ms = next.into_iter().flatten().min().unwrap_or(latest_ms);
            if due_ms > now_ms {
                return Ok(Look::at(due_ms.min(latest_ms)));
            }
        }
        let free = self.slots.available_permits();
        limits[0] = limits[0].min(u32::try_from(free).unwrap_or(u32::MAX));
        if free <= KEPT_FROM_BULK {
            limits[2] = 0;
        }
        let slots = Arc::clone(&self.slots).try_acquire_many_owned(limits[0]);
        let Some(mut slots) = slots.ok().filter(|slots| slots.num_permits() > 0) else {
            return Ok(Look { wants_slot: true, ..Look::at(latest_ms) });
        };
        let account = self.destination.account();
        // Read now, and not when the look began: an older time would let the bucket forget what was taken since.
        let taking_ms = self.outbox.clock.now_ms();
        let tokens = self.outbox.store.take_tokens(&account, self.pace.rate, limits[0], taking_ms).await?;
        if tokens.granted == 0 {
            return Ok(Look::at(tokens.next_at_ms.min(latest_ms)));
        }
        limits[0] = limits[0].min(tokens.granted);
        if permit == Permit::Probe && !self.may_probe(gate, now_ms).await? {
            self.outbox.store.give_tokens_back(&account, self.pace.rate, tokens.granted).await?;
            return Ok(Look::at(now_ms.saturating_add(LOOK_AGAIN_MS)));
        }
        let destination = self.destination.id();
        let claim = Claim {
            destination: destination.as_str().to_owned(),
            now_ms,
            // Without, it is claimed again while it is still worked on.
            lease_ms: if fault::is_on("worker.no_fencing") { 0 } else { LEASE_MS },
            shares: gate.in_use.shares(),
            limits,
        };
        let claimed = self.outbox.store.claim_lanes(claim.clone()).await?;
        let unused = tokens.granted.saturating_sub(u32::try_from(claimed.len()).unwrap_or(u32::MAX));
        if unused > 0 && self.pace.rate.is_some() {
            self.outbox.store.give_tokens_back(&account, self.pace.rate, unused).await?;
        }
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

    /// Whether the probe is this node's. It keeps the lease until the probe has ended.
    async fn may_probe(&self, gate: &Gate, now_ms: i64) -> Result<bool, store::Error> {
        // One that could not be kept is this node's alone.
        let Some((kept, version)) = gate.kept.filter(|_| gate.changed.is_none()) else { return Ok(true) };
        if kept.is_probed_by(gate.node, now_ms) {
            return Ok(true);
        }
        // A store of one process has nobody else: what is leased there was by one that is dead.
        if self.outbox.store.is_shared() && kept.probed_elsewhere(gate.node, now_ms).is_some() {
            return Ok(false);
        }
        self.outbox.lease_probe(self.destination.id(), gate.node, (kept, version)).await
    }

    /// Learns from an attempt that has ended.
    async fn note(&self, gate: &mut Gate, ended: Result<(Id, Report), JoinError>) {
        let (id, report) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), Report { sign: Sign::Nothing, slow_down: None }),
        };
        let Some((lane, epoch)) = gate.begun.remove(&id) else { return };
        gate.in_use.end(lane);
        let now_ms = self.outbox.clock.now_ms();
        if let Some(after_ms) = report.slow_down {
            let until_ms = now_ms.saturating_add(after_ms.unwrap_or(PATIENCE_MS).max(0));
            let account = self.destination.account();
            if let Err(error) = self.outbox.store.slow_down(&account, self.pace.rate, until_ms, now_ms).await
            {
                // The next attempt hears the same.
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "an account could not be given its pause"
                );
            }
        }
        let destination = self.destination.id();
        let was_probing = gate.breaker.permit(now_ms) == Permit::AfterProbe;
        match gate.breaker.record(epoch, report.sign, now_ms, rand::random()) {
            // A probe that taught nothing gives its lease back.
            None if was_probing && gate.breaker.permit(now_ms) != Permit::AfterProbe => {
                gate.changed = Some(gate.changed.flatten());
            }
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
        match self.outbox.keep_breaker(self.destination.id(), gate.node, gate.breaker.open(), told).await {
            Ok(()) => gate.changed = None,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a breaker could not be kept");
            }
        }
    }
}

//! Destinations as people see them, and the pause they can put them into.
//!
//! Invariant: a pause is one record in the store, and the store claims nothing of a destination that has one; so it holds
//! from the moment it was acknowledged, after every restart, until it is taken back. A paused destination goes on taking
//! submissions: they wait, and lose no attempt.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::breaker::{Kept, Open};
use super::ids::DestinationId;
use super::query::DeliveryView;
use super::{Error, Outbox};
use crate::audit;
use crate::store::{self, Batch, DeliveryState, Expectation, Put, QueueDepth, Scan, Table, Version};

/// The class of an outcome whose destination waits for a mapping that fits, and who has paused it then: a mapping that fits
/// resumes it.
pub const MAPPING: &str = "mapping";
/// Who has paused a destination that itself asked for it.
pub(super) const OUTBOX: &str = "outbox";

/// More destinations than this are not looked at for their holds.
const MAX_HELD: u32 = 10_000;

/// Why a destination is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Since when.
    pub at_ms: i64,
    /// Who did it: `cli`, or `outbox` when the destination itself asked for it, or [`MAPPING`].
    pub actor: String,
    /// Why, if there is a reason to tell.
    pub reason: Option<String>,
    /// Whether new credentials resume it.
    pub reconnect: bool,
}

impl Paused {
    /// Whether no person has done it.
    #[must_use]
    pub fn is_by_itself(&self) -> bool {
        [OUTBOX, MAPPING].contains(&self.actor.as_str())
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        // An older program wrote all but the last field.
        let older = || postcard::from_bytes(bytes);
        let older = || older().map(|(at_ms, actor, reason)| Self { at_ms, actor, reason, reconnect: false });
        // The store holds a destination back whatever the record says, so it must not be hidden.
        postcard::from_bytes(bytes).or_else(|_shorter| older()).unwrap_or_else(|_damaged| Self {
            at_ms: 0,
            actor: "unknown".to_owned(),
            reason: None,
            reconnect: false,
        })
    }
}

/// What keeps deliveries of a destination back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hold {
    /// Somebody paused it.
    pub paused: Option<Paused>,
    /// It fails.
    pub open: Option<Open>,
}

impl Hold {
    /// Whether nothing that is due can be attempted at this time.
    #[must_use]
    pub fn parks(&self, now_ms: i64) -> bool {
        self.paused.is_some() || self.open.is_some_and(|open| open.until_ms > now_ms)
    }
}

/// The holds of all destinations that have one.
#[derive(Debug, Default)]
pub(super) struct Holds {
    by_destination: BTreeMap<String, Hold>,
    now_ms: i64,
}

impl Holds {
    /// Says of a delivery that waits whether it is parked.
    pub(super) fn mark(&self, mut view: DeliveryView) -> DeliveryView {
        let parks = self.by_destination.get(&view.destination).is_some_and(|hold| hold.parks(self.now_ms));
        if view.state == DeliveryState::Due && parks {
            view.state = DeliveryState::Parked;
        }
        view
    }
}

/// A destination and its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationView {
    /// Its id.
    pub id: String,
    /// What keeps its deliveries back.
    pub hold: Hold,
    /// Its deliveries by state; those parked are not among the due.
    pub depth: QueueDepth,
    /// How many are parked.
    pub parked: u64,
}

impl Outbox {
    /// Stops sending to a destination until [`Outbox::resume`]. `false` if it was paused already.
    pub async fn pause(
        &self,
        destination: &DestinationId,
        actor: &str,
        reason: Option<&str>,
    ) -> Result<bool, Error> {
        self.park(destination, actor, reason, false).await
    }

    /// Stops sending to a destination that does not accept our credentials, until [`Outbox::reconnected`] or
    /// [`Outbox::resume`]. `false` if it was paused already.
    pub async fn park_until_reconnect(
        &self,
        destination: &DestinationId,
        actor: &str,
        reason: &str,
    ) -> Result<bool, Error> {
        self.park(destination, actor, Some(reason), true).await
    }

    pub(super) async fn park(
        &self,
        destination: &DestinationId,
        actor: &str,
        reason: Option<&str>,
        reconnect: bool,
    ) -> Result<bool, Error> {
        let now_ms = self.clock.now_ms();
        let reason = reason.map(str::to_owned);
        let paused = Paused { at_ms: now_ms, actor: actor.to_owned(), reason, reconnect };
        let value = postcard::to_stdvec(&paused).expect("strings and a number always serialise");
        let batch = Batch::at(now_ms)
            .require(Table::Pause, destination.as_str(), Expectation::Absent)
            .put(Put::new(Table::Pause, destination.as_str(), value))
            .put(audit::Event::ok(now_ms, actor, "destination.paused", destination).put());
        let changed = self.change(batch).await?;
        if changed {
            let reason = paused.reason;
            tracing::warn!(destination.id = %destination, actor, reason, "the destination was paused");
        }
        Ok(changed)
    }

    /// Goes on sending to a destination, and probes at once one whose breaker is open. `false` if it was not held.
    pub async fn resume(&self, destination: &DestinationId, actor: &str) -> Result<bool, Error> {
        let paused = self.is_paused(destination).await?;
        let held = if paused { Table::Pause } else { Table::Breaker };
        self.unpause(destination, actor, held, Expectation::Present).await
    }

    /// Goes on sending to a destination that was waiting for new credentials; one that is paused for another reason stays
    /// so. `false` if it was not waiting for them.
    pub async fn reconnected(&self, destination: &DestinationId, actor: &str) -> Result<bool, Error> {
        let record = self.store.get(Table::Pause, destination.as_str().as_bytes()).await?;
        match record {
            Some(record) if Paused::from_bytes(&record.value).reconnect => {
                let as_read = Expectation::Version(record.version);
                self.unpause(destination, actor, Table::Pause, as_read).await
            }
            _ => Ok(false),
        }
    }

    /// Goes on sending to a destination whose mapping did not fit and fits now; one that is paused for another reason stays
    /// so. `false` if it was not waiting for that.
    pub async fn fits_again(&self, destination: &DestinationId) -> Result<bool, Error> {
        let record = self.store.get(Table::Pause, destination.as_str().as_bytes()).await?;
        match record {
            Some(record) if Paused::from_bytes(&record.value).actor == MAPPING => {
                let as_read = Expectation::Version(record.version);
                self.unpause(destination, MAPPING, Table::Pause, as_read).await
            }
            _ => Ok(false),
        }
    }

    async fn unpause(
        &self,
        destination: &DestinationId,
        actor: &str,
        held: Table,
        expect: Expectation,
    ) -> Result<bool, Error> {
        let now_ms = self.clock.now_ms();
        let mut batch = Batch::at(now_ms)
            .require(held, destination.as_str(), expect)
            .delete(Table::Pause, destination.as_str())
            .put(audit::Event::ok(now_ms, actor, "destination.resumed", destination).put());
        if let Some((kept, version)) = self.kept_breaker(destination).await? {
            // It stays open until a probe, which is due now: of one node, however many there are.
            let open = Open { until_ms: kept.open().until_ms.min(now_ms), ..kept.open() };
            batch = batch
                .require(Table::Breaker, destination.as_str(), Expectation::Version(version))
                .put(breaker_put(destination, Kept::idle(open)));
        }
        let changed = self.change(batch).await?;
        if changed {
            tracing::info!(destination.id = %destination, actor, "the destination was resumed");
            self.wake.send_replace(());
        }
        Ok(changed)
    }

    async fn change(&self, batch: Batch) -> Result<bool, Error> {
        match self.store.commit(batch).await {
            Ok(()) => Ok(true),
            Err(store::Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Every destination that has deliveries or a hold, in the order of their ids.
    pub async fn destinations(&self) -> Result<Vec<DestinationView>, Error> {
        let holds = self.holds().await?;
        let mut depths: BTreeMap<String, QueueDepth> = holds
            .by_destination
            .keys()
            .map(|id| (id.clone(), QueueDepth { destination: id.clone(), ..QueueDepth::default() }))
            .collect();
        depths.extend(self.store.depths().await?.into_iter().map(|depth| (depth.destination.clone(), depth)));
        let view = |(id, mut depth): (String, QueueDepth)| {
            let hold = holds.by_destination.get(&id).cloned().unwrap_or_default();
            let parked = if hold.parks(holds.now_ms) { std::mem::take(&mut depth.due) } else { 0 };
            DestinationView { id, hold, depth, parked }
        };
        Ok(depths.into_iter().map(view).collect())
    }

    pub(super) async fn holds(&self) -> Result<Holds, Error> {
        let mut by_destination: BTreeMap<String, Hold> = BTreeMap::new();
        let scan = || Scan { limit: MAX_HELD, ..Scan::default() };
        for (key, record) in self.store.scan(Table::Pause, scan()).await? {
            let paused = Paused::from_bytes(&record.value);
            by_destination.entry(String::from_utf8_lossy(&key).into_owned()).or_default().paused =
                Some(paused);
        }
        for (key, record) in self.store.scan(Table::Breaker, scan()).await? {
            let open = Kept::from_bytes(&record.value).map(|kept| kept.open());
            by_destination.entry(String::from_utf8_lossy(&key).into_owned()).or_default().open = open;
        }
        Ok(Holds { by_destination, now_ms: self.clock.now_ms() })
    }

    pub(super) async fn is_paused(&self, destination: &DestinationId) -> Result<bool, store::Error> {
        let record = self.store.get(Table::Pause, destination.as_str().as_bytes()).await?;
        Ok(record.is_some())
    }

    /// The breaker as it is kept, by an earlier process or another node too; `None` if it is closed.
    pub(super) async fn kept_breaker(
        &self,
        destination: &DestinationId,
    ) -> Result<Option<(Kept, Version)>, store::Error> {
        let record = self.store.get(Table::Breaker, destination.as_str().as_bytes()).await?;
        Ok(record.and_then(|record| Some((Kept::from_bytes(&record.value)?, record.version))))
    }

    /// Keeps a breaker as this node has it now; `told` names what has happened, if that is news. What another node has
    /// found out meanwhile is left as it is, and adopted at the next look.
    pub(super) async fn keep_breaker(
        &self,
        destination: &DestinationId,
        node: u64,
        open: Option<Open>,
        told: Option<&str>,
    ) -> Result<(), store::Error> {
        let now_ms = self.clock.now_ms();
        let kept = self.kept_breaker(destination).await?;
        let elsewhere = kept.is_some_and(|(kept, _)| kept.probed_elsewhere(node, now_ms).is_some());
        let batch = match (open, kept) {
            // Closed or opened already, or probed by somebody who knows better.
            (None, None) => return Ok(()),
            (Some(_), Some(_)) if elsewhere || told.is_some() => return Ok(()),
            (None, Some((_, version))) => Batch::at(now_ms)
                .require(Table::Breaker, destination.as_str(), Expectation::Version(version))
                .delete(Table::Breaker, destination.as_str()),
            (Some(open), kept) => {
                let as_read = kept.map_or(Expectation::Absent, |(_, version)| Expectation::Version(version));
                Batch::at(now_ms)
                    .require(Table::Breaker, destination.as_str(), as_read)
                    .put(breaker_put(destination, Kept::idle(open)))
            }
        };
        let event = told.map(|action| audit::Event::ok(now_ms, "outbox", action, destination).put());
        match self.store.commit(event.into_iter().fold(batch, Batch::put)).await {
            Err(store::Error::Conflict { .. }) => Ok(()),
            result => result,
        }
    }

    /// Takes the lease of the probe. `false` if another node was quicker.
    pub(super) async fn lease_probe(
        &self,
        destination: &DestinationId,
        node: u64,
        (kept, version): (Kept, Version),
    ) -> Result<bool, store::Error> {
        let now_ms = self.clock.now_ms();
        let batch = Batch::at(now_ms)
            .require(Table::Breaker, destination.as_str(), Expectation::Version(version))
            .put(breaker_put(destination, kept.probe(node, now_ms)));
        match self.store.commit(batch).await {
            Ok(()) => Ok(true),
            Err(store::Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn breaker_put(destination: &DestinationId, kept: Kept) -> Put {
    Put::new(Table::Breaker, destination.as_str(), kept.to_bytes())
}

//! Replaying many dead deliveries: those that pass a filter, page by page.
//!
//! Invariant: each page moves its deliveries, writes their audit events and the place to go on from in one batch. So a
//! replay that is cut off, by a signal or a crash, is gone on with where it was, and moves nothing twice. What it moves
//! waits in a lane of its own ([`Lane::Bulk`]) and delays no live delivery. One that is cancelled moves nothing more; what it
//! has moved stays due, as a pause of the destination is what holds that back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::ids::{DeliveryKey, SubmissionId};
use super::{Error, Outbox};
use crate::audit;
use crate::fault;
use crate::store::{
    self, Batch, Delivery, DeliveryFilter, DeliveryState, Expectation, Lane, Put, Reopen, Reopened, Scan,
    Table, Version,
};

/// Deliveries looked at in one step.
const PAGE: u32 = 256;
/// How long a replay that has ended is remembered.
const REMEMBERED_MS: i64 = 30 * 24 * 3_600_000;
/// How long a busy store is given before it is asked again.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// Which dead deliveries are replayed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayFilter {
    /// Only of this destination.
    pub destination: Option<String>,
    /// Only of this flow.
    pub flow_id: Option<String>,
    /// Only those given up at this time or later.
    pub since_ms: Option<i64>,
}

/// A replay of many, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// Its id.
    pub id: Uuid,
    /// Which deliveries.
    pub filter: ReplayFilter,
    /// Whether they get new idempotency keys.
    pub as_new: bool,
    /// Who asked for it.
    pub actor: String,
    /// When it began. What is given up later is not its business.
    pub begun_at_ms: i64,
    /// How many dead deliveries there were to look at.
    pub dead: u64,
    /// How many were looked at.
    pub looked_at: u64,
    /// How many were made due.
    pub replayed: u64,
    /// How many were left because nobody can tell of which flow they are.
    pub unreadable: u64,
    /// Whether there is nothing more to do.
    pub ended: bool,
    after: Option<[u8; 16]>,
    /// Whether it has ended because somebody wanted so.
    pub cancelled: bool,
}

impl Replay {
    /// Reads a record, also one of the release before, which has nothing behind `after`. One of a later release may say more,
    /// perhaps of what is not wanted: it is left to that one.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes = [bytes, &[0]].concat();
        let (replay, rest) = postcard::take_from_bytes(&bytes).ok()?;
        (rest.len() <= 1).then_some(replay)
    }

    fn put(&self, now_ms: i64) -> Put {
        let value = postcard::to_stdvec(self).expect("strings and numbers always serialise");
        let put = Put::new(Table::Replay, *self.id.as_bytes(), value);
        if self.ended { put.until(now_ms.saturating_add(REMEMBERED_MS)) } else { put }
    }
}

impl Outbox {
    /// Makes a dead delivery due now: a new budget of attempts, the same key.
    pub async fn replay(&self, key: DeliveryKey, actor: &str) -> Result<Reopened, Error> {
        let now_ms = self.clock.now_ms();
        let event = audit::Event::ok(now_ms, actor, "delivery.replayed", key);
        let reopened = self.store.reopen(key.to_bytes(), now_ms, vec![event.put()]).await?;
        self.wake.send_replace(());
        Ok(reopened)
    }

    /// Makes a dead delivery due now under a new key: a destination that has it already will have it twice.
    pub async fn replay_as_new(&self, key: DeliveryKey, actor: &str) -> Result<Reopened, Error> {
        match self.store.delivery(key.to_bytes()).await? {
            None => return Ok(Reopened::Unknown),
            Some(delivery) if delivery.state != DeliveryState::Dead => {
                return Ok(Reopened::NotDead(delivery.state));
            }
            Some(_) => {}
        }
        let now_ms = self.clock.now_ms();
        let batch = reopen(Batch::at(now_ms), key, true, actor, Lane::First);
        self.store.commit(batch).await?;
        self.wake.send_replace(());
        Ok(Reopened::Due)
    }

    /// Notes down a replay of many; [`Outbox::run_replay`] does it.
    pub async fn begin_replay(
        &self,
        filter: ReplayFilter,
        as_new: bool,
        actor: &str,
    ) -> Result<Replay, Error> {
        let now_ms = self.clock.now_ms();
        let depths = self.store.depths().await?;
        let wanted = |id: &str| filter.destination.as_ref().is_none_or(|destination| destination == id);
        let replay = Replay {
            id: Uuid::new_v8(rand::random()),
            dead: depths.iter().filter(|depth| wanted(&depth.destination)).map(|depth| depth.dead).sum(),
            filter,
            as_new,
            actor: actor.to_owned(),
            begun_at_ms: now_ms,
            looked_at: 0,
            replayed: 0,
            unreadable: 0,
            ended: false,
            after: None,
            cancelled: false,
        };
        let event = audit::Event::ok(now_ms, actor, "replay.begun", replay.id);
        self.store.commit(Batch::at(now_ms).put(replay.put(now_ms)).put(event.put())).await?;
        Ok(replay)
    }

    /// Does a replay to its end, from where it was left; `told` hears after every step how far it is. It may be dropped at
    /// any time: whoever runs it next goes on. `None` if there is none of this id.
    ///
    /// # Errors
    /// [`store::Error::Incomplete`] while it cannot be seen what all nodes have: a part's end is not the end.
    pub async fn run_replay(&self, id: Uuid, mut told: impl FnMut(&Replay)) -> Result<Option<Replay>, Error> {
        loop {
            match self.step(id).await {
                Ok(Some(replay)) => {
                    told(&replay);
                    self.wake.send_replace(());
                    if replay.ended {
                        return Ok(Some(replay));
                    }
                }
                Ok(None) => return Ok(None),
                // Somebody else made this step; it is read anew.
                Err(Error::Store(store::Error::Conflict { .. })) => {}
                Err(Error::Store(store::Error::Busy)) => tokio::time::sleep(BUSY_PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends a replay where it is: it moves nothing more, here or after a restart. What it has moved stays due. One that has
    /// ended stays as it is; `None` if there is none of this id.
    pub async fn cancel_replay(&self, id: Uuid, actor: &str) -> Result<Option<Replay>, Error> {
        loop {
            let Some((mut replay, version)) = self.read_replay(id).await? else { return Ok(None) };
            if replay.ended {
                return Ok(Some(replay));
            }
            (replay.ended, replay.cancelled) = (true, true);
            let now_ms = self.clock.now_ms();
            let batch = Batch::at(now_ms)
                .require(Table::Replay, *id.as_bytes(), Expectation::Version(version))
                .put(replay.put(now_ms))
                .put(audit::Event::ok(now_ms, actor, "replay.cancelled", id).put());
            match self.store.commit(batch).await {
                Ok(()) => return Ok(Some(replay)),
                // It has come further meanwhile.
                Err(store::Error::Conflict { .. }) => {}
                Err(store::Error::Busy) => tokio::time::sleep(BUSY_PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The replays that were begun and have not ended.
    pub async fn unfinished_replays(&self) -> Result<Vec<Uuid>, Error> {
        let (mut unfinished, mut after) = (Vec::new(), None);
        loop {
            let scan = Scan { after: after.take(), limit: PAGE, ..Scan::default() };
            let records = self.store.scan(Table::Replay, scan).await?;
            let replays = records.iter().filter_map(|(_, record)| Replay::from_bytes(&record.value));
            unfinished.extend(replays.filter(|replay| !replay.ended).map(|replay| replay.id));
            if records.len() < PAGE as usize {
                return Ok(unfinished);
            }
            after = records.last().map(|(key, _)| key.clone());
        }
    }

    async fn step(&self, id: Uuid) -> Result<Option<Replay>, Error> {
        let Some((mut replay, version)) = self.read_replay(id).await? else { return Ok(None) };
        if replay.ended {
            return Ok(Some(replay));
        }
        let filter = DeliveryFilter {
            destination: replay.filter.destination.clone(),
            state: Some(DeliveryState::Dead),
            submission: None,
        };
        let page = self.store.deliveries_all(filter, replay.after, PAGE).await?;
        let now_ms = self.clock.now_ms();
        let mut batch =
            Batch::at(now_ms).require(Table::Replay, *id.as_bytes(), Expectation::Version(version));
        for delivery in &page {
            replay.looked_at += 1;
            match self.is_wanted(&replay, delivery, now_ms).await {
                Ok(false) => {}
                Ok(true) => {
                    replay.replayed += 1;
                    let key = DeliveryKey::from_bytes(delivery.key);
                    batch = reopen(batch, key, replay.as_new, &replay.actor, Lane::Bulk);
                }
                Err(Error::Unreadable { .. }) => replay.unreadable += 1,
                Err(error) => return Err(error),
            }
        }
        replay.after = page.last().map(|delivery| delivery.key);
        replay.ended = page.len() < PAGE as usize;
        batch = batch.put(replay.put(now_ms));
        if replay.ended {
            batch = batch.put(audit::Event::ok(now_ms, &replay.actor, "replay.ended", id).put());
        }
        fault::point("replay.stepping");
        self.store.commit(batch).await?;
        fault::point("replay.stepped");
        Ok(Some(replay))
    }

    async fn read_replay(&self, id: Uuid) -> Result<Option<(Replay, Version)>, Error> {
        let record = self.store.get(Table::Replay, id.as_bytes()).await?;
        Ok(record.and_then(|record| Some((Replay::from_bytes(&record.value)?, record.version))))
    }

    async fn is_wanted(&self, replay: &Replay, delivery: &Delivery, now_ms: i64) -> Result<bool, Error> {
        // The time of a dead delivery is when it was given up.
        let died_ms = delivery.due_at_ms;
        let in_time = replay.filter.since_ms.is_none_or(|since_ms| died_ms >= since_ms);
        // One that is still to come was given up by a clock that ran ahead, at a time that nobody knows.
        let is_later = replay.begun_at_ms < died_ms && died_ms <= now_ms;
        if !in_time || is_later {
            return Ok(false);
        }
        let Some(flow_id) = &replay.filter.flow_id else { return Ok(true) };
        let submission = SubmissionId::new(Uuid::from_bytes(delivery.submission));
        let submission = self.read_submission(submission).await?;
        Ok(submission.is_some_and(|submission| submission.flow_id == *flow_id))
    }
}

fn reopen(batch: Batch, key: DeliveryKey, as_new: bool, actor: &str, lane: Lane) -> Batch {
    let (new_key, action) =
        if as_new { (key.as_new(), "delivery.replayed_as_new") } else { (key, "delivery.replayed") };
    let due_at_ms = batch.now_ms;
    let event = audit::Event::ok(due_at_ms, actor, action, new_key);
    let reopen = Reopen { key: key.to_bytes(), new_key: new_key.to_bytes(), due_at_ms, lane };
    batch.reopen(reopen).put(event.put())
}

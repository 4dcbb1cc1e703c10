//! What a node does for each operation: asks the shared copy, and writes its journal.
//!
//! The order of a write is: the shared copy, which knows every condition and gives the version; then the journal; then the
//! answer. Where the shared copy cannot be asked, the journal alone, under a version of the node's own, to be offered later.
//! A time-out leaves open whether the shared copy has it: offering the same rows again is harmless.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Pace;
use super::held::{From, Held, Leased, has_ended, settled};
use super::link::Link;
use super::time::SharedTime;
use crate::fault;
use crate::store::embedded::{Embedded, Stamp};
use crate::store::redis::{Error as RedisError, Offered, Redis};
use crate::store::{
    AWAY_DAYS, Backend as _, Batch, Claim, Delivery, DeliveryState, Erased, Erasure, Error, Put, Record,
    Reopened, Settlement, Table, Version,
};

/// How long the journal may be busy with what the shared copy has taken already.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(2);
const JOURNAL_PAUSE: Duration = Duration::from_millis(5);
/// How long a deletion is remembered, in microseconds.
const TOMBSTONES_US: i64 = AWAY_DAYS * 24 * 3_600_000_000;

/// The nodes that have looked at a Redis.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// While it had everything.
    pub(super) known: BTreeSet<String>,
    /// Since it is the one that it is.
    pub(super) back: BTreeSet<String>,
    /// Of these, those that have told it everything.
    pub(super) told: BTreeSet<String>,
}

impl Peers {
    /// Whether everybody has noticed that it is another one.
    pub(super) fn all_back(&self) -> bool {
        self.known.is_subset(&self.back)
    }

    /// Whether it has everything that anybody had.
    pub(super) fn all_told(&self) -> bool {
        self.known.is_subset(&self.told)
    }

    /// It is another one.
    pub(super) fn forget(&mut self) {
        self.back.clear();
        self.told.clear();
    }
}

/// One node and all it stands on.
pub(super) struct Node {
    pub(super) id: String,
    pub(super) journal: Embedded,
    pub(super) redis: OnceLock<Redis>,
    pub(super) link: Link,
    pub(super) held: Held,
    pub(super) time: SharedTime,
    pub(super) pace: Pace,
    /// Whether nothing is acknowledged before Redis has synced it.
    pub(super) confirms: bool,
    /// Counts, for each table that all nodes have a copy of, what others have changed in it.
    pub(super) watched: HashMap<Table, watch::Sender<u64>>,
    /// Whether the journal may take no more submissions of its own.
    pub(super) full: AtomicBool,
    /// Submissions that are here alone.
    pub(super) single_copy: AtomicU64,
    /// The other nodes as they were last seen.
    pub(super) peers: Mutex<Peers>,
}

impl Node {
    /// Asks Redis to write; `None` if it is out of reach, or refuses.
    pub(super) async fn ask<'a, T, F>(
        &'a self,
        deadline: Duration,
        operation: impl FnOnce(&'a Redis) -> F,
    ) -> Result<Option<T>, Error>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let answer = self.read(deadline, operation).await?;
        if answer.is_some() {
            self.link.heard();
        }
        Ok(answer)
    }

    /// Asks Redis for what it has; `None` if it is out of reach, or refuses.
    pub(super) async fn read<'a, T, F>(
        &'a self,
        deadline: Duration,
        operation: impl FnOnce(&'a Redis) -> F,
    ) -> Result<Option<T>, Error>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let Some(redis) = self.redis.get().filter(|_| !self.link.is_down()) else { return Ok(None) };
        match tokio::time::timeout(deadline, operation(redis)).await {
            Ok(Ok(value)) => Ok(Some(value)),
            Ok(Err(RedisError::Conflict { index, existing })) => Err(Error::Conflict { index, existing }),
            Ok(Err(RedisError::StaleLease)) => Err(Error::StaleLease),
            // It answers, but has to be looked at before anything is done with its leases.
            Ok(Err(RedisError::Another)) => {
                self.link.trouble.notify_one();
                Ok(None)
            }
            Ok(Err(error)) => {
                self.link.missed(&error.to_string());
                Ok(None)
            }
            Err(_elapsed) => {
                self.link.missed("it did not answer in time");
                Ok(None)
            }
        }
    }

    /// A stamp for what is written here alone.
    fn alone(&self) -> Stamp {
        Stamp { version: self.link.next_version(self.time.now_us()), pending: true }
    }

    /// A stamp for what the shared copy has taken.
    fn confirmed(&self, version: Version) -> Stamp {
        self.link.saw(version.0);
        Stamp { version: version.0, pending: false }
    }

    /// Writes the journal behind the shared copy: a full queue is waited for.
    pub(super) async fn surely<T, F>(&self, mut write: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let give_up = Instant::now() + JOURNAL_PATIENCE;
        loop {
            match write().await {
                Err(Error::Busy) if Instant::now() < give_up => tokio::time::sleep(JOURNAL_PAUSE).await,
                result => return result,
            }
        }
    }

    pub(super) async fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.adopt_dead(batch.reopens.iter().map(|reopen| reopen.key)).await?;
        let asked = self.ask(self.pace.commit, |redis| {
            let (told, shared) = (self.tell_first(redis, &batch), shared(&batch));
            async move {
                told.await?;
                redis.commit(&shared).await
            }
        });
        if let Some(version) = asked.await? {
            if !batch.deliveries.is_empty() {
                fault::point("cluster.accepted");
            }
            let stamp = self.confirmed(version);
            return self.surely(|| self.journal.journal_commit(batch.clone(), stamp)).await;
        }
        let nothing_taken = self.full.load(Ordering::Acquire) || (self.confirms && self.link.is_down());
        let is_acceptance = submissions(&batch).next().is_some() || !batch.deliveries.is_empty();
        if is_acceptance && nothing_taken {
            return Err(Error::Busy);
        }
        for reopen in &batch.reopens {
            // What is not here cannot be made due here.
            let here = self.journal.delivery(reopen.key).await?;
            if here.is_none_or(|delivery| delivery.state != DeliveryState::Dead) {
                return Err(Error::Busy);
            }
        }
        self.journal.journal_commit(batch, self.alone()).await?;
        self.link.fall_behind();
        Ok(())
    }

    pub(super) async fn claim(&self, claim: Claim) -> Result<Vec<Delivery>, Error> {
        let generation = self.link.generation();
        let by_any_clock = fault::is_on("cluster.leases_by_any_clock");
        let grace_ms = if by_any_clock { 0 } else { self.time.grace_ms(claim.lease_ms) };
        // One that finds nothing writes nothing.
        let asked = self.read(self.pace.work, |redis: &Redis| {
            let redis = redis.expecting(self.link.known());
            let claim = &claim;
            async move { redis.claim_after(claim, grace_ms).await }
        });
        if let Some((claimed, version)) = asked.await? {
            self.held.take(&claimed, From::Shared(generation), version.0, claim.now_ms);
            return Ok(claimed);
        }
        // Otherwise perhaps it is only a moment, and others can claim what is due.
        let Some(_alone) = self.link.lease_alone().await else { return Ok(vec![]) };
        let (now_ms, stamp) = (claim.now_ms, self.alone());
        let claimed = self.journal.journal_claim(claim, stamp).await?;
        self.held.take(&claimed, From::Journal, stamp.version, now_ms);
        Ok(claimed)
    }

    pub(super) async fn renew(&self, key: [u8; 16], lease: u64, until_ms: i64) -> Result<(), Error> {
        let from = self.held.get(key, lease).map(|leased| leased.from);
        if from == Some(From::Journal) {
            let stamp = self.alone();
            match self.journal.journal_renew(key, lease, until_ms, stamp).await {
                // It was offered meanwhile: the lease is valid in the shared copy.
                Err(Error::StaleLease) => {}
                result => {
                    self.held.renew(key, lease, until_ms, Some(stamp.version));
                    self.link.fall_behind();
                    return result;
                }
            }
        }
        match self
            .ask(self.pace.work, |redis| {
                let redis = redis.expecting(self.link.known());
                async move { redis.renew(key, lease, until_ms).await }
            })
            .await?
        {
            Some(()) => {
                self.held.renew(key, lease, until_ms, None);
                Ok(())
            }
            // Nobody knows; whoever attempts it goes on.
            None => Err(Error::Busy),
        }
    }

    pub(super) async fn settle(
        &self,
        key: [u8; 16],
        lease: u64,
        settlement: Settlement,
    ) -> Result<(), Error> {
        let leased = self.held.get(key, lease);
        // In this order: a lease of a later one is not judged by what is known of this one.
        let known = self.link.known();
        if leased.as_ref().is_some_and(|leased| leased.from == From::Journal) {
            let stamp = self.alone();
            match self.journal.journal_settle(key, lease, settlement.clone(), stamp).await {
                // It was offered meanwhile: the lease is valid in the shared copy.
                Err(Error::StaleLease) => {}
                Ok(()) => {
                    self.held.forget(key, lease);
                    self.link.fall_behind();
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        let after = leased.as_ref().map(|leased| settled(leased.delivery.clone(), &settlement));
        let puts = &settlement.puts;
        let is_old = |leased: &Leased| matches!(leased.from, From::Shared(generation) if generation != self.link.generation());
        let (asked, puts_are_told) = match (&after, leased.as_ref().filter(|leased| is_old(leased))) {
            (Some(after), Some(leased)) => (self.merge(after, leased.version).await, false),
            _ => {
                let settlement = &settlement;
                let asked = self.ask(self.pace.work, |redis| {
                    let redis = redis.expecting(known);
                    async move { redis.settle(key, lease, settlement).await }
                });
                (asked.await, true)
            }
        };
        match asked {
            Ok(Some(version)) => {
                let stamp = self.confirmed(version);
                let puts_stamp = if puts_are_told { stamp } else { self.alone() };
                match &after {
                    Some(after) => self.keep(after, stamp, (puts, puts_stamp)).await?,
                    None => self.keep_unseen(key, stamp, puts).await?,
                }
                self.held.forget(key, lease);
                if puts_stamp.pending {
                    self.link.fall_behind();
                }
                Ok(())
            }
            Ok(None) => {
                let (Some(after), Some(leased)) = (&after, &leased) else { return Err(Error::Busy) };
                let stamp = Stamp { version: just_after(leased.version), pending: true };
                self.keep(after, stamp, (puts, self.alone())).await?;
                self.held.forget(key, lease);
                self.link.fall_behind();
                Ok(())
            }
            Err(error) => {
                if matches!(error, Error::StaleLease) {
                    self.held.forget(key, lease);
                }
                Err(error)
            }
        }
    }

    /// Offers the outcome of a lease that another Redis gave than the one that is there now. It may have been lost, and given a
    /// second time, so its number proves nothing any more: the merge decides.
    async fn merge(&self, after: &Delivery, leased: i64) -> Result<Option<Version>, Error> {
        let version = Version(just_after(leased));
        let asked = self.ask(self.pace.work, |redis| redis.offer_outcome(after, version));
        match asked.await?.flatten() {
            // Out of reach, or not told yet what was lost.
            None => Ok(None),
            Some(Offered::Taken) => Ok(Some(version)),
            // Somebody has gone on with it, or erased it.
            Some(Offered::Known | Offered::Buried) => Err(Error::StaleLease),
        }
    }

    /// Notes how a delivery stands. One that is open concerns only the node that has its submission.
    async fn keep(&self, after: &Delivery, stamp: Stamp, puts: (&[Put], Stamp)) -> Result<(), Error> {
        let only_known = !has_ended(after);
        let keep = || self.journal.journal_keep(after.clone(), stamp, only_known, (puts.0.to_vec(), puts.1));
        self.surely(keep).await
    }

    /// The same for a lease that this process did not give.
    async fn keep_unseen(&self, key: [u8; 16], stamp: Stamp, puts: &[Put]) -> Result<(), Error> {
        match self.read(self.pace.work, |redis| redis.delivery(key)).await? {
            Some(Some(delivery)) => self.keep(&delivery, stamp, (puts, stamp)).await,
            _ => {
                let batch = puts.iter().cloned().fold(Batch::at(0), Batch::put);
                self.surely(|| self.journal.journal_commit(batch.clone(), stamp)).await
            }
        }
    }

    pub(super) async fn reopen(
        &self,
        key: [u8; 16],
        due_at_ms: i64,
        puts: Vec<Put>,
    ) -> Result<Reopened, Error> {
        self.adopt_dead(std::iter::once(key)).await?;
        if let Some((reopened, version)) =
            self.ask(self.pace.work, |redis| redis.reopen(key, due_at_ms, &puts)).await?
        {
            if reopened == Reopened::Due {
                let stamp = self.confirmed(version);
                self.surely(|| self.journal.journal_reopen(key, due_at_ms, puts.clone(), stamp)).await?;
            }
            return Ok(reopened);
        }
        match self.journal.journal_reopen(key, due_at_ms, puts, self.alone()).await? {
            // Perhaps another node has it.
            Reopened::Unknown => Err(Error::Busy),
            reopened => {
                self.link.fall_behind();
                Ok(reopened)
            }
        }
    }

    /// Erases everywhere, or says that it cannot now: what other nodes wrote is out of reach, too.
    pub(super) async fn erase(&self, erasure: Erasure) -> Result<Erased, Error> {
        // What nobody has told yet cannot be erased, and would be told afterwards.
        self.until_all_told().await?;
        let generation = self.link.generation();
        let asked = self.ask(self.pace.work, |redis| redis.erase(&erasure)).await?;
        let Some((erased, version, gone)) = asked else { return Err(Error::Busy) };
        let on_request = erasure.settled.is_none();
        if matches!(erased, Erased::Done { .. }) {
            let stamp = self.confirmed(version);
            let mut here = Erasure { settled: None, ..erasure };
            if gone.was_there {
                // Also if another node had accepted it: a repeat must find that there was one when Redis has lost it.
                let left = Put::new(Table::Submission, here.submission, []).until(here.forget_at_ms);
                here.puts.push(left);
            }
            self.surely(|| self.journal.journal_erase(here.clone(), gone.rows.clone(), stamp)).await?;
        }
        // What is erased because it is settled was seen there; of what somebody wants erased it is only believed.
        if on_request {
            self.is_still(generation).await?;
        }
        Ok(erased)
    }

    pub(super) async fn clamp_due(&self, latest_ms: i64) -> Result<u64, Error> {
        let here = self.journal.clamp_due(latest_ms).await?;
        let shared = self.ask(self.pace.work, |redis| redis.clamp_due(latest_ms)).await?;
        Ok(shared.unwrap_or(here))
    }

    pub(super) async fn purge_expired(&self, now_ms: i64, limit: u32) -> Result<u64, Error> {
        let here = self.journal.purge_expired(now_ms, limit).await?;
        self.journal.journal_trim(self.time.now_us().saturating_sub(TOMBSTONES_US)).await?;
        let shared = self.ask(self.pace.work, |redis| redis.purge_expired(now_ms, limit)).await?;
        Ok(shared.unwrap_or(0).max(here))
    }

    pub(super) async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Record>, Error> {
        if !table.is_shared() {
            return self.journal.get(table, key).await;
        }
        // In this order: what is told meanwhile was perhaps not there before.
        let known = table.is_configuration().then(|| self.link.known());
        let told = self.link.is_told();
        let asked = self.read(self.pace.commit, |redis| redis.get(table, key)).await?;
        match (asked, known) {
            (Some(None), Some(known)) if told => self.get_unset(table, key, &known).await,
            (Some(record), _) if told && (record.is_some() || table != Table::Submission) => Ok(record),
            // What is newer here was not told yet, or was lost there.
            (Some(record), _) => match self.journal.get(table, key).await?.max_by_version(record) {
                None if table == Table::Submission => self.get_lost(key).await,
                newest => Ok(newest),
            },
            (None, _) => match self.journal.get(table, key).await? {
                // Another node may have it. Who is told that there is none gives its delivery up.
                None if table == Table::Submission => Err(Error::Busy),
                record => Ok(record),
            },
        }
    }

    pub(super) async fn delivery(&self, key: [u8; 16]) -> Result<Option<Delivery>, Error> {
        match self.read(self.pace.work, |redis| redis.delivery(key)).await? {
            Some(None) if !self.link.is_told() => self.journal.delivery(key).await,
            Some(delivery) => Ok(delivery),
            None => self.journal.delivery(key).await,
        }
    }

    /// Tells whoever watches a table that others have changed it.
    pub(super) fn announce(&self, tables: &[i64]) {
        for (table, sender) in &self.watched {
            if tables.contains(&table.number()) {
                sender.send_modify(|changes| *changes += 1);
            }
        }
    }
}

/// The version of what comes of a lease, written without the shared copy: only just newer than the lease. Whatever others do
/// to the delivery after it, they do to what they know better.
fn just_after(leased: i64) -> i64 {
    leased.saturating_add(1)
}

pub(super) trait Newer {
    fn max_by_version(self, other: Self) -> Self;
}

impl Newer for Option<Record> {
    fn max_by_version(self, other: Self) -> Self {
        match (self, other) {
            (Some(one), Some(other)) => Some(if one.version > other.version { one } else { other }),
            (one, other) => one.or(other),
        }
    }
}

/// The submissions that a batch writes.
pub(super) fn submissions(batch: &Batch) -> impl Iterator<Item = [u8; 16]> {
    let written = batch.puts.iter().filter(|put| put.table == Table::Submission);
    written.filter_map(|put| put.key.as_slice().try_into().ok())
}

/// The part of a batch that concerns other nodes.
fn shared(batch: &Batch) -> Batch {
    let mut shared = batch.clone();
    shared.puts.retain(|put| put.table.is_shared());
    shared.deletes.retain(|(table, _)| table.is_shared());
    shared
}

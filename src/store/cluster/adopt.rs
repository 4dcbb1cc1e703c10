//! Takes over from the shared copy what this node has to have itself: a submission before it says again that it is kept, and
//! deliveries that others have ended before it makes them due again.
//!
//! Invariant: what a node acknowledges is in its own journal, also if it only repeats what was acknowledged before. The node
//! that stored it may have died between the two writes, and then no journal has it. It asks nobody but the shared copy.

use std::collections::BTreeSet;

use super::node::{Node, submissions};
use super::tell;
use crate::fault;
use crate::store::embedded::Kept;
use crate::store::erasure::traced;
use crate::store::redis::{Error as RedisError, Redis};
use crate::store::{
    Backend as _, Batch, DeliveryFilter, DeliveryState, Error, Expectation, Precondition, Put, Record, Scan,
    Table,
};

/// Records and deliveries of one submission: more than any has.
const ALL: u32 = 10_000;

impl Node {
    /// Has a copy of a submission in the journal, and says whether it had none; [`Error::Busy`] if it is in neither place that
    /// can be asked now.
    pub(super) async fn adopt(&self, submission: [u8; 16]) -> Result<bool, Error> {
        if self.has_whole(submission).await? || fault::is_on("cluster.adopts_nothing") {
            return Ok(false);
        }
        let read = self.read(self.pace.work, |redis| whole(redis, submission)).await?;
        let whole = read.ok_or(Error::Busy)?;
        self.surely(|| self.journal.journal_adopt(whole.clone())).await.map(|()| true)
    }

    /// Has copies of records in the journal, as far as there are any.
    pub(super) async fn keep_copies(&self, records: Vec<(Table, Vec<u8>)>) -> Result<(), Error> {
        let mut copies = Vec::new();
        for (table, key) in records {
            let read = self.read(self.pace.work, |redis| redis.get(table, &key)).await?;
            copies.extend(read.ok_or(Error::Busy)?.map(|record| kept(table, key.clone(), record)));
        }
        self.surely(|| self.journal.journal_adopt(copies.clone())).await
    }

    /// Has a copy of deliveries that are about to be made due again, as the shared copy knows them, and of all that they
    /// carry. Otherwise nobody had one: whoever accepted them knows only that they have ended.
    pub(super) async fn adopt_dead(&self, keys: impl Iterator<Item = [u8; 16]>) -> Result<(), Error> {
        let mut others = Vec::new();
        for key in keys {
            let here = self.journal.delivery(key).await?;
            let here = here.filter(|delivery| delivery.state == DeliveryState::Dead);
            match here {
                Some(delivery) if self.has_whole(delivery.submission).await? => {}
                _ => others.push(key),
            }
        }
        if others.is_empty() || fault::is_on("cluster.adopts_nothing") {
            return Ok(());
        }
        let Some(states) = self.read(self.pace.work, |redis| redis.states(&others)).await? else {
            // Alone it replays what it has itself.
            return Ok(());
        };
        let dead = states.into_iter().flatten().filter(|(delivery, _)| delivery.state == DeliveryState::Dead);
        let submissions: BTreeSet<_> = dead.map(|(delivery, _)| delivery.submission).collect();
        for submission in submissions {
            let read = self.read(self.pace.work, |redis| whole(redis, submission)).await?;
            let whole = read.ok_or(Error::Busy)?;
            self.surely(|| self.journal.journal_adopt(whole.clone())).await?;
        }
        Ok(())
    }

    /// Tells, while the shared copy lacks something, what is here of the configuration that a batch is about, and of the
    /// submissions that it begins: whether there is one already is a question to the shared copy.
    pub(super) async fn tell_first(&self, redis: &Redis, batch: &Batch) -> Result<(), RedisError> {
        let told = async {
            let asked = batch.preconditions.iter();
            for asked in asked.clone().filter(|it| it.table.is_configuration() && !self.link.is_told()) {
                let here = self.journal.get(asked.table, &asked.key).await?;
                let here = here.map(|record| vec![kept(asked.table, asked.key.clone(), record)]);
                tell::offer(self, redis, here.into_iter().collect(), true).await?;
            }
            let begins =
                |it: &Precondition| it.table == Table::Submission && it.expect == Expectation::Absent;
            if !self.link.is_whole() && asked.clone().any(begins) {
                for submission in submissions(batch) {
                    tell::whole(self, redis, submission).await?;
                }
            }
            Ok::<_, tell::Broken>(())
        };
        told.await.map_err(|broken| match broken {
            tell::Broken::Redis(error) => error,
            broken => RedisError::OutOfReach(broken.to_string()),
        })
    }

    /// Whether all of a submission is here. A body alone may only have been written again here.
    async fn has_whole(&self, submission: [u8; 16]) -> Result<bool, Error> {
        if self.journal.get(Table::Submission, &submission).await?.is_none() {
            return Ok(false);
        }
        let one = Scan { prefix: submission.to_vec(), limit: 1, ..Scan::default() };
        Ok(!self.journal.scan(Table::Trace, one).await?.is_empty())
    }
}

/// Everything of one submission; nothing if there is none.
async fn whole(redis: &Redis, submission: [u8; 16]) -> Result<Vec<Kept>, RedisError> {
    let Some(body) = redis.get(Table::Submission, &submission).await? else { return Ok(vec![]) };
    let mut whole = vec![kept(Table::Submission, submission.to_vec(), body)];
    let scan = Scan { prefix: submission.to_vec(), after: None, descending: false, limit: ALL };
    for (trace, record) in redis.scan(Table::Trace, &scan).await? {
        let named = traced(&trace).and_then(|(table, key)| Some((Table::of(table, false)?, key.to_vec())));
        if let Some((table, key)) = named
            && let Some(record) = redis.get(table, &key).await?
        {
            whole.push(kept(table, key, record));
        }
        whole.push(kept(Table::Trace, trace, record));
    }
    let filter = DeliveryFilter { submission: Some(submission), ..DeliveryFilter::default() };
    let keys: Vec<_> =
        redis.deliveries(&filter, None, ALL).await?.iter().map(|delivery| delivery.key).collect();
    let states = redis.states(&keys).await?.into_iter().flatten();
    whole.extend(states.map(|(delivery, version)| Kept::Delivery { delivery, version: version.0 }));
    Ok(whole)
}

fn kept(table: Table, key: Vec<u8>, record: Record) -> Kept {
    let put = Put { table, key, value: record.value, expires_at_ms: record.expires_at_ms };
    Kept::Record { put, version: record.version.0 }
}

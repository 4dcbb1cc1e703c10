//! What has to be done to everything or not at all: finding a person, erasing, sealing everything again, replaying by filter.
//!
//! Invariant: the answer is of a shared copy that had everything of every node from before it was asked until after. A Redis
//! that was emptied and does not know it yet, or is being told, has nothing of a person, and that is no answer.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::node::Node;
use crate::store::redis::{Error as RedisError, Redis};
use crate::store::{Delivery, DeliveryFilter, Error, Record, Scan, Table};

/// Between two looks at whether it is so by now.
const PAUSE: Duration = Duration::from_millis(10);

impl Node {
    /// Reads records of everybody, or says [`Error::Incomplete`]: it cannot be said now that these are all.
    pub(super) async fn scan_all(&self, table: Table, scan: Scan) -> Result<Vec<(Vec<u8>, Record)>, Error> {
        self.read_all(|redis| redis.scan(table, &scan)).await
    }

    /// The same of deliveries.
    pub(super) async fn deliveries_all(
        &self,
        filter: &DeliveryFilter,
        cursor: Option<[u8; 16]>,
        limit: u32,
    ) -> Result<Vec<Delivery>, Error> {
        self.read_all(|redis| redis.deliveries(filter, cursor, limit)).await
    }

    async fn read_all<'a, T, F>(&'a self, operation: impl FnOnce(&'a Redis) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let reading = async {
            self.until_all_told().await?;
            let generation = self.link.generation();
            let found = self.read(self.pace.work, operation).await?.ok_or(Error::Busy)?;
            self.is_still(generation).await?;
            Ok(found)
        };
        reading.await.map_err(|error| if matches!(error, Error::Busy) { Error::Incomplete } else { error })
    }

    /// Looks whether Redis is the one that it was; [`Error::Busy`] if it is another, or nobody knows.
    pub(super) async fn is_still(&self, generation: u64) -> Result<(), Error> {
        // The look that is under way may have begun before.
        let seen = self.link.looks().saturating_add(2);
        self.until(|| {
            self.link.trouble.notify_one();
            self.link.looks() >= seen
        })
        .await?;
        if self.link.generation() == generation { Ok(()) } else { Err(Error::Busy) }
    }

    /// Waits a moment until Redis has everything that this node and those that were seen lately have.
    pub(super) async fn until_all_told(&self) -> Result<(), Error> {
        let all_told = || self.peers.lock().unwrap_or_else(PoisonError::into_inner).all_told();
        self.until(|| !self.link.is_down() && self.link.is_told() && all_told()).await
    }

    async fn until(&self, holds: impl Fn() -> bool) -> Result<(), Error> {
        let give_up = Instant::now() + self.pace.work;
        while !holds() {
            if Instant::now() >= give_up {
                return Err(Error::Busy);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

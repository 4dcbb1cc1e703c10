//! What a Redis that was emptied must not be believed: that there is no such submission, and that no more is configured.
//!
//! Invariant: such an answer counts only if Redis lacked nothing before it was asked, and is the same one afterwards. It may
//! have been emptied a moment ago, before anybody has looked.

use std::collections::BTreeMap;

use super::node::{Newer as _, Node};
use crate::store::redis::{Error as RedisError, Redis};
use crate::store::{Backend as _, Error, Record, Scan, Table};

impl Node {
    /// Reads records that every node has a copy of; with those that are here, unless Redis is sure to have them.
    pub(super) async fn scan_configuration(
        &self,
        table: Table,
        scan: Scan,
    ) -> Result<Vec<(Vec<u8>, Record)>, Error> {
        // In this order: what is told to a later one is not taken for told to this one.
        let known = self.link.known();
        if self.link.is_told() {
            let (known, scan) = (&known, &scan);
            let asked = self.read(self.pace.work, |redis| async move {
                let records = redis.scan(table, scan).await?;
                is_known(redis, known).await.map(|()| records)
            });
            if let Some(records) = asked.await? {
                return Ok(records);
            }
        }
        let gone = self.journal.journal_gone(table, scan.prefix.clone()).await?;
        // So many more than wanted, of which so many may be passed over.
        let passed_over = u32::try_from(gone.len()).unwrap_or(u32::MAX);
        let more = Scan { limit: scan.limit.saturating_add(passed_over), ..scan.clone() };
        let there = self.read(self.pace.work, |redis| redis.scan(table, &more)).await?.unwrap_or_default();
        let (descending, limit) = (scan.descending, scan.limit as usize);
        let mut all: BTreeMap<_, _> = self.journal.scan(table, scan).await?.into_iter().collect();
        for (key, record) in there {
            if gone.get(&key).is_none_or(|version| *version < record.version.0) {
                let newest = all.remove(&key).max_by_version(Some(record));
                all.extend(newest.map(|newest| (key, newest)));
            }
        }
        let mut all: Vec<_> = all.into_iter().collect();
        if descending {
            all.reverse();
        }
        all.truncate(limit);
        Ok(all)
    }

    /// Reads a record that every node has a copy of, and that the Redis of this name, which lacked nothing, has not.
    pub(super) async fn get_unset(
        &self,
        table: Table,
        key: &[u8],
        known: &str,
    ) -> Result<Option<Record>, Error> {
        let here = self.journal.get(table, key).await?;
        // Another node has deleted it a moment ago, or it is lost with all the rest.
        let is_deleted =
            here.is_some() && self.read(self.pace.work, |redis| is_known(redis, known)).await?.is_some();
        Ok(here.filter(|_| !is_deleted))
    }

    /// Reads a submission that is neither here nor, as it seemed, there; [`Error::Incomplete`] if it cannot be said now that
    /// nobody has it. Who is told that there is none gives its delivery up.
    pub(super) async fn get_lost(&self, submission: &[u8]) -> Result<Option<Record>, Error> {
        // In this order, as above.
        let known = self.link.known();
        self.until_all_told().await.map_err(|_not_now| Error::Incomplete)?;
        let asked = self.read(self.pace.work, |redis| async move {
            match redis.get(Table::Submission, submission).await? {
                None => is_known(redis, &known).await.map(|()| None),
                record => Ok(record),
            }
        });
        asked.await?.ok_or(Error::Incomplete)
    }
}

/// Looks whether Redis is the one of this name.
async fn is_known(redis: &Redis, known: &str) -> Result<(), RedisError> {
    if redis.identity().await?.to_string() == known { Ok(()) } else { Err(RedisError::Another) }
}

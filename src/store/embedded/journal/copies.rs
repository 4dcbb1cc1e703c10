//! Copies of what others have written, and what was deleted meanwhile.
//!
//! Invariant: nothing is taken over that is not newer than a tombstone here. It was read from the shared copy a moment ago, and
//! this journal may have heard since that it was erased; or the shared copy was put back to an old backup.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::statements::{DELIVERIES, Statements};
use super::super::{Embedded, prefix_end};
use super::{Journal, Kept, Stamp};
use crate::store::erasure::owner;
use crate::store::{Error, Put, Table};

impl Journal<'_> {
    /// The version of the tombstone of a row, or of the submission that it belongs to.
    fn buried(&self, table: i64, key: &[u8], submission: Option<&[u8; 16]>) -> rusqlite::Result<Option<i64>> {
        let mut statement =
            self.connection.prepare("SELECT shared FROM tombstone WHERE tbl = ?1 AND key = ?2")?;
        let mut tombstone =
            |table: i64, key: &[u8]| statement.query_row(params![table, key], |row| row.get(0)).optional();
        let own = tombstone(table, key)?;
        let whole = match submission {
            Some(submission) => tombstone(Table::Submission.number(), submission)?,
            None => None,
        };
        Ok(own.max(whole))
    }
}

impl Statements<'_> {
    /// Writes a record of the shared copy, unless a newer one, or its tombstone, is here; says whether it did.
    pub(super) fn take(&mut self, put: &Put, version: i64) -> rusqlite::Result<bool> {
        let table = put.table.number();
        let buried = self.with_journal(|journal| journal.buried(table, &put.key, owner(table, &put.key)))?;
        // What is left of a submission that was erased is as old as its tombstone, and stays beside it.
        let is_left = put.table == Table::Submission && put.value.is_empty();
        let is_buried = |tombstone: i64| tombstone > version || tombstone == version && !is_left;
        if buried.ok().flatten().is_some_and(is_buried) || self.known(put)?.is_some_and(|it| it >= version) {
            return Ok(false);
        }
        let stamp = Stamp { version, pending: false };
        self.under(stamp, |statements| statements.put_all(std::slice::from_ref(put)))?;
        Ok(true)
    }

    fn adopt(&mut self, whole: &[Kept]) -> rusqlite::Result<Result<(), Error>> {
        for kept in whole {
            match kept {
                Kept::Record { put, version } => drop(self.take(put, *version)?),
                Kept::Delivery { delivery, version } => {
                    let stamp = Stamp { version: *version, pending: false };
                    let kept = self.with_journal(|journal| {
                        let buried = journal.buried(DELIVERIES, &delivery.key, Some(&delivery.submission))?;
                        if buried.is_some_and(|tombstone| tombstone >= *version) {
                            return Ok(());
                        }
                        journal.keep(delivery, stamp, false)
                    });
                    if let Err(error) = kept? {
                        return Ok(Err(error));
                    }
                }
                // A submission that is there was not deleted.
                Kept::Gone { .. } => {}
            }
        }
        Ok(Ok(()))
    }
}

impl Embedded {
    /// A submission as the shared copy has it, with everything that belongs to it.
    pub(in crate::store) async fn journal_adopt(&self, whole: Vec<Kept>) -> Result<(), Error> {
        self.writer.write(move |statements| statements.adopt(&whole)).await
    }

    /// The keys of a table that begin so and were deleted, each with the version of that.
    pub(in crate::store) async fn journal_gone(
        &self,
        table: Table,
        prefix: Vec<u8>,
    ) -> Result<BTreeMap<Vec<u8>, i64>, Error> {
        let read = move |connection: &Connection| {
            let end = prefix_end(&prefix);
            let below = if end.is_some() { "AND key < ?3" } else { "AND ?3 IS NULL" };
            let mut statement = connection.prepare(&format!(
                "SELECT key, shared FROM tombstone WHERE tbl = ?1 AND key >= ?2 {below}"
            ))?;
            let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
            statement.query_map(params![table.number(), prefix, end], row)?.collect()
        };
        self.readers().read(read).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::Options;
    use crate::store::embedded::journal::Pulled;
    use crate::store::{Backend as _, Delivery, DeliveryState, Lane, trace};

    const ID: [u8; 16] = [0xa7; 16];

    /// A submission as the shared copy has it.
    fn whole(version: i64) -> Vec<Kept> {
        let listed = [[7; 8].as_slice(), &ID].concat();
        let trace = trace(ID, Table::Timeline, &listed);
        let puts = [
            Put::new(Table::Submission, ID, "body"),
            Put::new(Table::Timeline, listed, "entry"),
            trace,
            Put::new(Table::Reply, [9; 32], "reply"),
        ];
        let delivery = Delivery {
            key: [1; 16],
            submission: ID,
            destination: "crm".to_owned(),
            state: DeliveryState::Due,
            lane: Lane::First,
            due_at_ms: 0,
            attempt: 0,
            lease: 0,
            unsettled: 0,
            history: vec![],
        };
        let records = puts.into_iter().map(|put| Kept::Record { put, version });
        records.chain([Kept::Delivery { delivery, version }]).collect()
    }

    fn journal(folder: &tempfile::TempDir) -> Embedded {
        let options = Options { journal: true, ..Options::new(folder.path()) };
        Embedded::open(&options).expect("it opens")
    }

    async fn rows(journal: &Embedded) -> usize {
        let kept = journal.journal_whole(ID).await.expect("a read").len();
        kept + usize::from(journal.get(Table::Reply, &[9; 32]).await.expect("a read").is_some())
    }

    #[tokio::test]
    async fn what_was_erased_between_its_reading_and_its_writing_is_not_taken_over() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let journal = journal(&folder);
        let gone = |table: i64, key: &[u8]| Pulled::Gone(table, key.to_vec(), 5);
        let erased = vec![gone(Table::Submission.number(), &ID), gone(Table::Reply.number(), &[9; 32])];
        journal.journal_pull(erased, vec![]).await.expect("a write");
        for version in [4, 5] {
            journal.journal_adopt(whole(version)).await.expect("a write");
            assert_eq!(rows(&journal).await, 0, "as of version {version}");
        }
        // What is left of it is as old as its tombstone.
        let left = Kept::Record { put: Put::new(Table::Submission, ID, []), version: 5 };
        journal.journal_adopt(vec![left]).await.expect("a write");
        assert_eq!(rows(&journal).await, 1);
        // It came anew.
        journal.journal_adopt(whole(6)).await.expect("a write");
        assert_eq!(rows(&journal).await, 5);
    }

    #[tokio::test]
    async fn what_an_old_backup_of_the_shared_copy_has_does_not_come_back() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let journal = journal(&folder);
        let put = || Put::new(Table::Setting, "a", "1");
        let pull = async |pulled| journal.journal_pull(vec![pulled], vec![]).await.expect("a write");
        pull(Pulled::Put(put(), 4)).await;
        pull(Pulled::Gone(Table::Setting.number(), b"a".to_vec(), 5)).await;
        pull(Pulled::Put(put(), 4)).await;
        assert!(journal.get(Table::Setting, b"a").await.expect("a read").is_none());
        pull(Pulled::Put(put(), 6)).await;
        assert!(journal.get(Table::Setting, b"a").await.expect("a read").is_some());
    }
}

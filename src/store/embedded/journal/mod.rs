//! The store's file as the journal of a node that shares its records with others.
//!
//! Invariant: everything a node acknowledged is here, each row with the version that all nodes know and a mark as long as
//! the shared copy lacks it. What was deleted leaves a tombstone, so that nobody brings it back. A delivery that the shared
//! copy has is *entrusted*: no claim here sees it, because any node may have it in hand.
//!
//! It knows nothing of a server: when to write what is for the cluster to decide.

mod copies;
mod everywhere;
mod page;

use rusqlite::{Connection, OptionalExtension, params};

use super::statements::{DELIVERIES, Statements, signed};
use super::{Embedded, reader::Readers};
use crate::store::erasure::is_named_by;
use crate::store::{
    Batch, Claim, Delivery, DeliveryState, Erased, Erasure, Error, Put, Reopened, Settlement, Table,
};

pub(super) use self::everywhere::join;
pub(in crate::store) use self::page::{Kept, Kind, Part, What};

/// The state on disk of an open delivery that the shared copy has.
pub(super) const ENTRUSTED: i64 = 5;
/// A newer tombstone replaces an older one.
pub(super) const TOMBSTONE: &str = "INSERT INTO tombstone (tbl, key, shared, pending) VALUES (?1, ?2, ?3, ?4)
     ON CONFLICT (tbl, key) DO UPDATE SET shared = excluded.shared, pending = excluded.pending
     WHERE excluded.shared > tombstone.shared";

/// What a write leaves on its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Stamp {
    /// The version that all nodes know.
    pub version: i64,
    /// Whether the shared copy lacks it.
    pub pending: bool,
}

impl Stamp {
    /// The state of a delivery that waits.
    pub(super) fn open_state(self) -> i64 {
        if self.pending { 0 } else { ENTRUSTED }
    }
}

/// What became of a row that was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Answer {
    /// The shared copy has it, or something newer.
    Known,
    /// It was deleted there.
    Buried,
}

/// A change that another node made.
#[derive(Debug, Clone)]
pub(in crate::store) enum Pulled {
    /// A record was written.
    Put(Put, i64),
    /// A record of this table, or a delivery (table 0), was deleted.
    Gone(i64, Vec<u8>, i64),
}

/// What a pull has changed here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Changed {
    /// Tables that have a new or another record, or one less.
    pub tables: Vec<i64>,
    /// Whether rows were deleted, whose bytes are still in the file.
    pub deleted: bool,
}

/// The statements that only a journal needs.
pub(super) struct Journal<'c> {
    connection: &'c Connection,
}

impl<'c> Journal<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection }
    }

    fn run(&self, sql: &str, parameters: impl rusqlite::Params) -> rusqlite::Result<usize> {
        self.connection.prepare(sql)?.execute(parameters)
    }

    pub(super) fn bury(&mut self, table: i64, key: &[u8], stamp: Stamp) -> rusqlite::Result<()> {
        self.run(TOMBSTONE, params![table, key, stamp.version, stamp.pending]).map(drop)
    }

    fn keep(&self, delivery: &Delivery, stamp: Stamp, only_known: bool) -> rusqlite::Result<()> {
        let state = match delivery.state {
            DeliveryState::Delivered | DeliveryState::Dead | DeliveryState::Superseded => {
                delivery.state.number()
            }
            // Others may have it in hand.
            _ => ENTRUSTED,
        };
        let known = "UPDATE delivery SET state = ?4, due_at_ms = ?5, attempt = ?6, lease = ?7, unsettled = ?8, history = ?9,
             lane = ?10, shared = ?11, pending = ?12
             WHERE key = ?1 AND submission = ?2 AND destination = ?3 AND coalesce(shared, 1) <= ?11";
        let any = "INSERT INTO delivery (key, submission, destination, state, due_at_ms, attempt, lease, unsettled, history,
             lane, shared, pending) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (key) DO UPDATE SET state = excluded.state, due_at_ms = excluded.due_at_ms,
             attempt = excluded.attempt, lease = excluded.lease, unsettled = excluded.unsettled,
             history = excluded.history, lane = excluded.lane, shared = excluded.shared, pending = excluded.pending
             WHERE coalesce(delivery.shared, 1) <= excluded.shared";
        self.run(
            if only_known { known } else { any },
            params![
                delivery.key,
                delivery.submission,
                delivery.destination,
                state,
                delivery.due_at_ms,
                delivery.attempt,
                signed(delivery.lease),
                delivery.unsettled,
                delivery.history,
                delivery.lane.number() as i64,
                stamp.version,
                stamp.pending
            ],
        )
        .map(drop)
    }

    fn answered(&self, kept: &Kept, answer: &Answer) -> rusqlite::Result<()> {
        match (kept, answer) {
            (Kept::Gone { table, key, version }, _) => self.run(
                "UPDATE tombstone SET pending = 0 WHERE tbl = ?1 AND key = ?2 AND shared = ?3",
                params![table, key, version],
            ),
            (Kept::Record { put, version }, Answer::Known) => self.run(
                "UPDATE record SET pending = 0, shared = ?3
                 WHERE tbl = ?1 AND key = ?2 AND coalesce(shared, 1) = ?3",
                params![put.table.number(), put.key, version],
            ),
            (Kept::Delivery { delivery, version }, Answer::Known) => self.run(
                "UPDATE delivery SET pending = 0, shared = ?2,
                 state = CASE WHEN state < 2 THEN 5 ELSE state END WHERE key = ?1 AND coalesce(shared, 1) = ?2",
                params![delivery.key, version],
            ),
            (Kept::Record { put, version }, Answer::Buried) => {
                let (table, key) = (put.table.number(), &put.key);
                self.run("UPDATE record SET pending = 0 WHERE tbl = ?1 AND key = ?2", params![table, key])?;
                self.delete(table, key, *version)
            }
            (Kept::Delivery { delivery, version }, Answer::Buried) => {
                self.delete(DELIVERIES, &delivery.key, *version)
            }
        }
        .map(drop)
    }

    /// Deletes a row unless a newer writing of it is here.
    fn delete(&self, table: i64, key: &[u8], version: i64) -> rusqlite::Result<usize> {
        if table == DELIVERIES {
            let sql = "DELETE FROM delivery WHERE key = ?1 AND coalesce(shared, 1) <= ?2";
            return self.run(sql, params![key, version]);
        }
        // What is left of a submission that was erased here stays, so that a late repeat finds it.
        let sql = "DELETE FROM record WHERE tbl = ?1 AND key = ?2 AND coalesce(shared, 1) <= ?3
             AND NOT (tbl = 1 AND length(value) = 0)";
        self.run(sql, params![table, key, version])
    }

    fn set(&self, name: &str, value: &[u8]) -> rusqlite::Result<()> {
        self.run("INSERT OR REPLACE INTO node (name, value) VALUES (?1, ?2)", params![name, value]).map(drop)
    }
}

impl Statements<'_> {
    /// Runs writes under a stamp.
    fn under<T>(&mut self, stamp: Stamp, write: impl FnOnce(&mut Self) -> T) -> T {
        self.stamp = Some(stamp);
        let result = write(self);
        self.stamp = None;
        result
    }

    fn with_journal<T>(
        &self,
        write: impl FnOnce(&Journal<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Result<T, Error>> {
        // A store that was not opened as a journal is none.
        self.journal.as_ref().map_or(Ok(Err(Error::Unavailable)), |journal| write(journal).map(Ok))
    }

    /// The version of a record that is here.
    pub(super) fn known(&self, put: &Put) -> rusqlite::Result<Option<i64>> {
        let known = self.with_journal(|journal| {
            let sql = "SELECT coalesce(shared, 1) FROM record WHERE tbl = ?1 AND key = ?2";
            let key = params![put.table.number(), put.key];
            journal.connection.query_row(sql, key, |row| row.get(0)).optional()
        })?;
        Ok(known.ok().flatten())
    }

    fn pull(&mut self, pulled: &[Pulled], cursor: &[u8]) -> rusqlite::Result<Result<Changed, Error>> {
        let mut changed = Changed::default();
        for change in pulled {
            match change {
                // A copy of what is here was written again; of what is not, nobody needs one more.
                Pulled::Put(put, _) if !put.table.is_configuration() && self.known(put)?.is_none() => {}
                Pulled::Put(put, version) => {
                    if !self.take(put, *version)? {
                        continue;
                    }
                    changed.tables.push(put.table.number());
                }
                Pulled::Gone(table, key, version) => {
                    let stamp = Stamp { version: *version, pending: false };
                    self.under(stamp, |statements| statements.bury(*table, key))?;
                    if let (true, Ok(submission)) =
                        (*table == Table::Submission.number(), key.as_slice().try_into())
                    {
                        changed.tables.extend(self.forget_older(submission, *version)?);
                    }
                    let gone = self.with_journal(|journal| journal.delete(*table, key, *version))?;
                    if gone.is_ok_and(|gone| gone > 0) {
                        changed.tables.push(*table);
                        changed.deleted = true;
                    }
                    // A body may have been deleted before, by what an offer was answered: its bytes are there still.
                    changed.deleted |= *table == Table::Submission.number();
                }
            }
        }
        changed.tables.sort_unstable();
        changed.tables.dedup();
        let later = pulled.iter().filter_map(|change| match change {
            Pulled::Put(put, _) if put.table.is_later() => Some(put.table),
            _ => None,
        });
        let noted = self.with_journal(|journal| everywhere::note(journal.connection, later))?;
        if let Err(error) = noted {
            return Ok(Err(error));
        }
        Ok(self.with_journal(|journal| journal.set(CURSOR, cursor))?.map(|()| changed))
    }
}

/// The node's name for itself.
pub(in crate::store) const ID: &str = "id";
/// How far the changes of others were taken over.
pub(in crate::store) const CURSOR: &str = "cursor";
/// The nodes that were seen last, each name in a line.
pub(in crate::store) const PEERS: &str = "peers";
/// When the shared copy was seen, by its clock, to the hour.
pub(in crate::store) const SEEN: &str = "seen";
/// Which shared copy has everything that is here.
pub(in crate::store) const OFFERED: &str = "offered";

/// The store is used by one node again: what it had entrusted is its own, and a shared copy, if there ever is one, has to
/// be told everything.
pub(super) fn leave(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE delivery SET state = 0 WHERE state = 5", [])?;
    connection.execute("DELETE FROM node WHERE name = ?1", [OFFERED]).map(drop)
}

/// What a cluster writes into its journal. Everything is durable when it returns `Ok`.
impl Embedded {
    /// A batch. What the shared copy has taken needs no conditions any more.
    pub(in crate::store) async fn journal_commit(&self, mut batch: Batch, stamp: Stamp) -> Result<(), Error> {
        if !stamp.pending {
            batch.preconditions.clear();
        }
        self.writer.write(move |statements| statements.under(stamp, |it| it.apply(&batch))).await
    }

    /// A delivery as it stands now, with records. Only what is known here is changed, if that is said.
    pub(in crate::store) async fn journal_keep(
        &self,
        delivery: Delivery,
        stamp: Stamp,
        only_known: bool,
        (puts, puts_stamp): (Vec<Put>, Stamp),
    ) -> Result<(), Error> {
        let write = move |statements: &mut Statements<'_>| {
            let kept = statements.with_journal(|journal| journal.keep(&delivery, stamp, only_known))?;
            if kept.is_ok() {
                statements.under(puts_stamp, |it| it.put_all(&puts))?;
            }
            Ok(kept)
        };
        self.writer.write(write).await
    }

    /// Leases what waits here alone.
    pub(in crate::store) async fn journal_claim(
        &self,
        claim: Claim,
        stamp: Stamp,
    ) -> Result<Vec<Delivery>, Error> {
        self.writer.write(move |statements| statements.under(stamp, |it| it.claim(&claim)).map(Ok)).await
    }

    /// Prolongs a lease of what waits here alone.
    pub(in crate::store) async fn journal_renew(
        &self,
        key: [u8; 16],
        lease: u64,
        until_ms: i64,
        stamp: Stamp,
    ) -> Result<(), Error> {
        let write = move |statements: &mut Statements<'_>| {
            statements.under(stamp, |it| it.renew(key, lease, until_ms))
        };
        self.writer.write(write).await
    }

    /// Ends a lease of what waits here alone.
    pub(in crate::store) async fn journal_settle(
        &self,
        key: [u8; 16],
        lease: u64,
        settlement: Settlement,
        stamp: Stamp,
    ) -> Result<(), Error> {
        let write = move |statements: &mut Statements<'_>| {
            statements.under(stamp, |it| it.settle(key, lease, &settlement))
        };
        self.writer.write(write).await
    }

    /// Makes a dead delivery due that is here.
    pub(in crate::store) async fn journal_reopen(
        &self,
        key: [u8; 16],
        due_at_ms: i64,
        puts: Vec<Put>,
        stamp: Stamp,
    ) -> Result<Reopened, Error> {
        let write = move |statements: &mut Statements<'_>| {
            let reopened = statements.under(stamp, |it| it.reopen(key, due_at_ms, &puts))?;
            if !stamp.pending && reopened == Reopened::Unknown {
                // It is another node's; what was done is known here all the same.
                statements.under(stamp, |it| it.put_all(&puts))?;
            }
            Ok(Ok(reopened))
        };
        self.writer.write(write).await
    }

    /// Erases a submission here that was erased in the shared copy, with `gone`, what was deleted there.
    pub(in crate::store) async fn journal_erase(
        &self,
        erasure: Erasure,
        gone: Vec<(i64, Vec<u8>)>,
        stamp: Stamp,
    ) -> Result<Erased, Error> {
        let write = move |statements: &mut Statements<'_>| {
            statements.under(stamp, |it| {
                for (table, key) in &gone {
                    if !is_named_by(&erasure.submission, *table, key) {
                        it.bury(*table, key)?;
                    }
                    let deleted = it.with_journal(|journal| journal.delete(*table, key, stamp.version))?;
                    if let Err(error) = deleted {
                        return Ok(Err(error));
                    }
                }
                it.erase(&erasure).map(Ok)
            })
        };
        self.writer.write(write).await
    }

    /// Notes what the shared copy said to rows that were offered.
    pub(in crate::store) async fn journal_answered(&self, answers: Vec<(Kept, Answer)>) -> Result<(), Error> {
        let write = move |statements: &mut Statements<'_>| {
            statements.with_journal(|journal| {
                answers.iter().try_for_each(|(kept, answer)| journal.answered(kept, answer))
            })
        };
        self.writer.write(write).await
    }

    /// Takes over what others have changed, up to `cursor`.
    pub(in crate::store) async fn journal_pull(
        &self,
        pulled: Vec<Pulled>,
        cursor: Vec<u8>,
    ) -> Result<Changed, Error> {
        self.writer.write(move |statements| statements.pull(&pulled, &cursor)).await
    }

    /// Takes over how entrusted deliveries stand in the shared copy.
    pub(in crate::store) async fn journal_learn(&self, states: Vec<(Delivery, i64)>) -> Result<(), Error> {
        let write = move |statements: &mut Statements<'_>| {
            statements.with_journal(|journal| {
                states.iter().try_for_each(|(delivery, version)| {
                    journal.keep(delivery, Stamp { version: *version, pending: false }, true)
                })
            })
        };
        self.writer.write(write).await
    }

    /// Makes entrusted deliveries this node's own; says how many.
    pub(in crate::store) async fn journal_take_over(&self) -> Result<usize, Error> {
        let write = |statements: &mut Statements<'_>| {
            statements.with_journal(|journal| {
                journal.run("UPDATE delivery SET state = 0, pending = 1 WHERE state = 5", [])
            })
        };
        self.writer.write(write).await
    }

    /// Deletes tombstones that are this old.
    pub(in crate::store) async fn journal_trim(&self, before: i64) -> Result<usize, Error> {
        let write = move |statements: &mut Statements<'_>| {
            statements.with_journal(|journal| {
                journal.run("DELETE FROM tombstone WHERE shared < ?1 AND pending = 0", [before])
            })
        };
        self.writer.write(write).await
    }

    /// Keeps something about this node.
    pub(in crate::store) async fn journal_set(
        &self,
        name: &'static str,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        self.writer.write(move |statements| statements.with_journal(|it| it.set(name, &value))).await
    }

    /// Reads it back.
    pub(in crate::store) async fn journal_get(&self, name: &'static str) -> Result<Option<Vec<u8>>, Error> {
        let read = move |connection: &Connection| {
            let sql = "SELECT value FROM node WHERE name = ?1";
            connection.query_row(sql, [name], |row| row.get(0)).optional()
        };
        self.readers.read(read).await
    }

    /// Where the file lies.
    pub(in crate::store) fn path(&self) -> &std::path::Path {
        &self.path
    }

    pub(super) fn readers(&self) -> &Readers {
        &self.readers
    }
}

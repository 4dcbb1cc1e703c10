//! What the writer does inside its transaction: one prepared statement for each change.

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::chain::{Chain, SharedMac};
use super::erase::Eraser;
use crate::store::{
    Batch, Delivery, DeliveryState, Erased, Erasure, Error, Expectation, Put, Record, Reopened, Settlement,
    Table, Verdict, Version,
};

/// The columns that [`delivery`] reads, in its order.
pub(super) const DELIVERY: &str =
    "key, submission, destination, state, due_at_ms, attempt, lease, unsettled, history";

/// The statements of the writing connection, prepared once.
pub(super) struct Statements<'c> {
    begin: Statement<'c>,
    savepoint: Statement<'c>,
    undo: Statement<'c>,
    release: Statement<'c>,
    commit: Statement<'c>,
    get: Statement<'c>,
    put: Statement<'c>,
    delete: Statement<'c>,
    begin_delivery: Statement<'c>,
    claim: Statement<'c>,
    lease: Statement<'c>,
    renew: Statement<'c>,
    settle: Statement<'c>,
    state: Statement<'c>,
    reopen: Statement<'c>,
    clamp_due: Statement<'c>,
    purge_expired: Statement<'c>,
    eraser: Eraser<'c>,
    chain: Chain<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(connection: &'c Connection, mac: SharedMac) -> rusqlite::Result<Self> {
        Ok(Self {
            eraser: Eraser::prepare(connection)?,
            chain: Chain::prepare(connection, mac)?,
            begin: connection.prepare("BEGIN IMMEDIATE")?,
            savepoint: connection.prepare("SAVEPOINT operation")?,
            undo: connection.prepare("ROLLBACK TO operation")?,
            release: connection.prepare("RELEASE operation")?,
            commit: connection.prepare("COMMIT")?,
            get: connection.prepare("SELECT value, version, expires_at_ms FROM record WHERE tbl = ?1 AND key = ?2")?,
            put: connection.prepare(
                "INSERT OR REPLACE INTO record (tbl, key, value, expires_at_ms) VALUES (?1, ?2, ?3, ?4)",
            )?,
            delete: connection.prepare("DELETE FROM record WHERE tbl = ?1 AND key = ?2")?,
            begin_delivery: connection.prepare(
                "INSERT INTO delivery (key, submission, destination, due_at_ms, state, attempt, lease, unsettled, history)
                 VALUES (?1, ?2, ?3, ?4, 0, 0, 0, 0, x'') ON CONFLICT (key) DO NOTHING",
            )?,
            claim: connection.prepare(&format!(
                "SELECT {DELIVERY}, id FROM delivery WHERE destination = ?1 AND state < 2 AND due_at_ms <= ?2
                 ORDER BY due_at_ms, id LIMIT ?3"
            ))?,
            lease: connection.prepare(
                "UPDATE delivery SET state = 1, due_at_ms = ?2, attempt = attempt + 1, lease = lease + 1,
                 unsettled = unsettled + 1 WHERE id = ?1",
            )?,
            renew: connection
                .prepare("UPDATE delivery SET due_at_ms = ?3 WHERE key = ?1 AND state = 1 AND lease = ?2")?,
            settle: connection.prepare(
                "UPDATE delivery SET state = ?3, due_at_ms = ?4, history = ?5, unsettled = 0
                 WHERE key = ?1 AND state = 1 AND lease = ?2",
            )?,
            state: connection.prepare("SELECT state FROM delivery WHERE key = ?1")?,
            reopen: connection.prepare(
                "UPDATE delivery SET state = 0, due_at_ms = ?2, attempt = 0, unsettled = 0 WHERE key = ?1 AND state = 4",
            )?,
            clamp_due: connection.prepare("UPDATE delivery SET due_at_ms = ?1 WHERE state < 2 AND due_at_ms > ?1")?,
            purge_expired: connection.prepare(
                "DELETE FROM record WHERE version IN (SELECT version FROM record
                 WHERE expires_at_ms IS NOT NULL AND expires_at_ms <= ?1 ORDER BY expires_at_ms LIMIT ?2)",
            )?,
        })
    }

    pub(super) fn begin(&mut self) -> rusqlite::Result<()> {
        self.begin.execute([]).map(drop)
    }

    pub(super) fn savepoint(&mut self) -> rusqlite::Result<()> {
        self.chain.mark();
        self.savepoint.execute([]).map(drop)
    }

    pub(super) fn undo(&mut self) -> rusqlite::Result<()> {
        self.chain.undo();
        self.undo.execute([]).map(drop)
    }

    pub(super) fn release(&mut self) -> rusqlite::Result<()> {
        self.release.execute([]).map(drop)
    }

    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        self.chain.finish()?;
        self.commit.execute([]).map(drop)
    }

    pub(super) fn apply(&mut self, batch: &Batch) -> rusqlite::Result<Result<(), Error>> {
        for (index, precondition) in batch.preconditions.iter().enumerate() {
            let existing = self
                .get
                .query_row(params![precondition.table.number(), precondition.key], record)
                .optional()?
                .filter(|record| {
                    record.expires_at_ms.is_none_or(|expires_at_ms| expires_at_ms > batch.now_ms)
                });
            let holds = match precondition.expect {
                Expectation::Absent => existing.is_none(),
                Expectation::Present => existing.is_some(),
                Expectation::Version(version) => {
                    existing.as_ref().is_some_and(|record| record.version == version)
                }
            };
            if !holds {
                return Ok(Err(Error::Conflict { index, existing }));
            }
        }
        for (table, key) in &batch.deletes {
            self.delete.execute(params![table.number(), key])?;
        }
        self.put_all(&batch.puts)?;
        for delivery in &batch.deliveries {
            self.begin_delivery.execute(params![
                delivery.key,
                delivery.submission,
                delivery.destination,
                delivery.due_at_ms
            ])?;
        }
        Ok(Ok(()))
    }

    fn put_all(&mut self, puts: &[Put]) -> rusqlite::Result<()> {
        for put in puts {
            self.put.execute(params![put.table.number(), put.key, put.value, put.expires_at_ms])?;
            if put.table == Table::Audit {
                self.chain.link(&put.key, &put.value)?;
            }
        }
        Ok(())
    }

    pub(super) fn claim(
        &mut self,
        destination: &str,
        now_ms: i64,
        lease_ms: i64,
        limit: u32,
    ) -> rusqlite::Result<Vec<Delivery>> {
        let until_ms = now_ms.saturating_add(lease_ms);
        let due = self
            .claim
            .query_map(params![destination, now_ms, limit], |row| {
                Ok((delivery(row)?, row.get::<_, i64>(9)?))
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let mut claimed = Vec::with_capacity(due.len());
        for (mut delivery, id) in due {
            self.lease.execute(params![id, until_ms])?;
            delivery.state = DeliveryState::Leased;
            delivery.due_at_ms = until_ms;
            delivery.attempt = delivery.attempt.saturating_add(1);
            delivery.lease = delivery.lease.saturating_add(1);
            delivery.unsettled = delivery.unsettled.saturating_add(1);
            claimed.push(delivery);
        }
        Ok(claimed)
    }

    pub(super) fn renew(
        &mut self,
        key: [u8; 16],
        lease: u64,
        until_ms: i64,
    ) -> rusqlite::Result<Result<(), Error>> {
        let changed = self.renew.execute(params![key, signed(lease), until_ms])?;
        Ok(if changed == 1 { Ok(()) } else { Err(Error::StaleLease) })
    }

    pub(super) fn settle(
        &mut self,
        key: [u8; 16],
        lease: u64,
        settlement: &Settlement,
    ) -> rusqlite::Result<Result<(), Error>> {
        let (state, at_ms) = match settlement.verdict {
            Verdict::Delivered { at_ms } => (DeliveryState::Delivered, at_ms),
            Verdict::Retry { due_at_ms } => (DeliveryState::Due, due_at_ms),
            Verdict::Dead { at_ms } => (DeliveryState::Dead, at_ms),
        };
        let changed =
            self.settle.execute(params![key, signed(lease), state.number(), at_ms, settlement.history])?;
        if changed != 1 {
            return Ok(Err(Error::StaleLease));
        }
        self.put_all(&settlement.puts)?;
        Ok(Ok(()))
    }

    pub(super) fn reopen(
        &mut self,
        key: [u8; 16],
        due_at_ms: i64,
        puts: &[Put],
    ) -> rusqlite::Result<Reopened> {
        let state = self.state.query_row(params![key], |row| state(row, 0)).optional()?;
        Ok(match state {
            None => Reopened::Unknown,
            Some(DeliveryState::Dead) => {
                self.reopen.execute(params![key, due_at_ms])?;
                self.put_all(puts)?;
                Reopened::Due
            }
            Some(state) => Reopened::NotDead(state),
        })
    }

    pub(super) fn erase(&mut self, erasure: &Erasure) -> rusqlite::Result<Erased> {
        let erased = self.eraser.erase(erasure)?;
        if matches!(erased, Erased::Done { .. }) {
            self.put_all(&erasure.puts)?;
        }
        Ok(erased)
    }

    pub(super) fn clamp_due(&mut self, latest_ms: i64) -> rusqlite::Result<u64> {
        self.clamp_due.execute(params![latest_ms]).map(|changed| changed as u64)
    }

    pub(super) fn purge_expired(&mut self, now_ms: i64, limit: u32) -> rusqlite::Result<u64> {
        self.purge_expired.execute(params![now_ms, limit]).map(|changed| changed as u64)
    }
}

/// Reads `value, version, expires_at_ms`.
pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record { value: row.get(0)?, version: Version(row.get(1)?), expires_at_ms: row.get(2)? })
}

/// Reads [`DELIVERY`].
pub(super) fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        key: row.get(0)?,
        submission: row.get(1)?,
        destination: row.get(2)?,
        state: state(row, 3)?,
        due_at_ms: row.get(4)?,
        attempt: row.get(5)?,
        lease: row.get::<_, i64>(6)?.unsigned_abs(),
        unsettled: row.get(7)?,
        history: row.get(8)?,
    })
}

fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<DeliveryState> {
    let number = row.get(column)?;
    DeliveryState::from_number(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))
}

// A lease number would need 2^63 claims of one delivery to be too large for SQLite.
fn signed(lease: u64) -> i64 {
    i64::try_from(lease).unwrap_or(i64::MAX)
}

//! What the writer does inside its transaction: one prepared statement for each change.
//!
//! In the journal of a node the same statements run under a [`Stamp`]: what they write carries a version and whether the
//! shared copy has it, and what they delete leaves a tombstone. Without a stamp nothing of that is written.

use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

use super::chain::{Chain, SharedMac};
use super::erase::Eraser;
use super::journal::{ENTRUSTED, Journal, Stamp};
use crate::store::{
    Batch, Claim, Delivery, DeliveryState, Erased, Erasure, Error, Expectation, Lane, Put, Record, Reopen,
    Reopened, Settlement, Table, Verdict, Version,
};

/// The columns that [`delivery`] reads, in its order.
pub(super) const DELIVERY: &str =
    "key, submission, destination, state, due_at_ms, attempt, lease, unsettled, history, lane";

/// The state of a delivery that waits.
const DUE: i64 = 0;
/// The table number of deliveries among tombstones.
pub(super) const DELIVERIES: i64 = 0;

/// The statements of the writing connection, prepared once.
pub(super) struct Statements<'c> {
    #[cfg(feature = "faults")]
    connection: &'c Connection,
    begin: Statement<'c>,
    savepoint: Statement<'c>,
    undo: Statement<'c>,
    release: Statement<'c>,
    commit: Statement<'c>,
    get: Statement<'c>,
    put: Statement<'c>,
    delete: Statement<'c>,
    begin_delivery: Statement<'c>,
    due: Statement<'c>,
    quarantine: Statement<'c>,
    lease: Statement<'c>,
    renew: Statement<'c>,
    settle: Statement<'c>,
    state: Statement<'c>,
    reopen: Statement<'c>,
    clamp_due: Statement<'c>,
    purge_expired: Statement<'c>,
    eraser: Eraser<'c>,
    chain: Chain<'c>,
    /// The statements of a node's journal; a store of one node never has them.
    pub(super) journal: Option<Journal<'c>>,
    pub(super) stamp: Option<Stamp>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(
        connection: &'c Connection,
        mac: SharedMac,
        is_journal: bool,
    ) -> rusqlite::Result<Self> {
        let version = version_column(is_journal);
        Ok(Self {
            #[cfg(feature = "faults")]
            connection,
            journal: is_journal.then(|| Journal::new(connection)),
            stamp: None,
            eraser: Eraser::prepare(connection)?,
            chain: Chain::prepare(connection, mac)?,
            begin: connection.prepare("BEGIN IMMEDIATE")?,
            savepoint: connection.prepare("SAVEPOINT operation")?,
            undo: connection.prepare("ROLLBACK TO operation")?,
            release: connection.prepare("RELEASE operation")?,
            commit: connection.prepare("COMMIT")?,
            get: connection.prepare(&format!(
                "SELECT value, {version}, expires_at_ms FROM record WHERE tbl = ?1 AND key = ?2"
            ))?,
            put: connection.prepare(
                "INSERT OR REPLACE INTO record (tbl, key, value, expires_at_ms, shared, pending)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?,
            delete: connection.prepare("DELETE FROM record WHERE tbl = ?1 AND key = ?2")?,
            begin_delivery: connection.prepare(
                "INSERT INTO delivery (key, submission, destination, due_at_ms, state, attempt, lease, unsettled, history,
                 shared, pending) VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0, x'', ?6, ?7) ON CONFLICT (key) DO NOTHING",
            )?,
            due: connection.prepare(&format!(
                "SELECT {DELIVERY}, id FROM delivery
                 WHERE destination = ?1 AND lane = ?4 AND state < 2 AND due_at_ms <= ?2 ORDER BY due_at_ms, id LIMIT ?3"
            ))?,
            // Makes a row that cannot be decoded one that can: dead, with nothing kept about it.
            quarantine: connection.prepare(
                "UPDATE delivery SET state = 4, due_at_ms = ?2, lane = 0, attempt = 0, lease = 0, unsettled = 0, history = x'',
                 key = CASE length(key) WHEN 16 THEN key ELSE randomblob(16) END,
                 submission = CASE length(submission) WHEN 16 THEN submission ELSE zeroblob(16) END WHERE id = ?1",
            )?,
            lease: connection.prepare(
                "UPDATE delivery SET state = 1, due_at_ms = ?2, attempt = attempt + 1, lease = lease + 1,
                 unsettled = unsettled + 1, shared = coalesce(?3, shared), pending = coalesce(?4, pending) WHERE id = ?1",
            )?,
            renew: connection
                .prepare("UPDATE delivery SET due_at_ms = ?3, shared = coalesce(?4, shared), pending = coalesce(?5, pending)
                 WHERE key = ?1 AND state = 1 AND lease = ?2")?,
            settle: connection.prepare(
                "UPDATE delivery SET state = ?3, due_at_ms = ?4, history = ?5, unsettled = 0,
                 lane = max(lane, ?6), attempt = max(attempt - ?7, 0),
                 shared = coalesce(?8, shared), pending = coalesce(?9, pending)
                 WHERE key = ?1 AND state = 1 AND lease = ?2",
            )?,
            state: connection.prepare("SELECT state FROM delivery WHERE key = ?1")?,
            reopen: connection.prepare(
                // A new key that is taken, by whatever way, must not stop the store: then nothing is changed.
                // The lease is raised as by a claim: what was found out under an older one is stale.
                "UPDATE OR IGNORE delivery SET state = ?5, due_at_ms = ?2, attempt = 0, unsettled = 0, key = ?3, lane = ?4,
                 lease = lease + 1, shared = ?6, pending = ?7 WHERE key = ?1 AND state = 4",
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

    /// Forgets a transaction that could not be committed, and says that all is well.
    #[cfg(feature = "faults")]
    pub(super) fn abandon(&mut self) -> Result<(), (&'static str, rusqlite::Error)> {
        // SQLite may have rolled back by itself.
        let _rolled_back = self.connection.execute_batch("ROLLBACK");
        Ok(())
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
            self.bury(table.number(), key)?;
        }
        self.put_all(&batch.puts)?;
        let (version, pending) = self.stamped();
        for delivery in &batch.deliveries {
            self.begin_delivery.execute(params![
                delivery.key,
                delivery.submission,
                delivery.destination,
                delivery.due_at_ms,
                self.stamp.map_or(DUE, Stamp::open_state),
                version,
                pending
            ])?;
        }
        for reopen in &batch.reopens {
            self.reopen_one(reopen)?;
        }
        Ok(Ok(()))
    }

    fn reopen_one(&mut self, reopen: &Reopen) -> rusqlite::Result<()> {
        let Reopen { key, new_key, due_at_ms, lane } = reopen;
        let ((version, pending), state) = (self.stamped(), self.stamp.map_or(DUE, Stamp::open_state));
        let lane = lane.number() as i64;
        let changed = self.reopen.execute(params![key, due_at_ms, new_key, lane, state, version, pending])?;
        if changed == 1 && new_key != key {
            self.bury(DELIVERIES, key)?;
        }
        Ok(())
    }

    fn stamped(&self) -> (Option<i64>, Option<bool>) {
        (self.stamp.map(|stamp| stamp.version), self.stamp.map(|stamp| stamp.pending))
    }

    /// In a journal: keeps that this was deleted.
    pub(super) fn bury(&mut self, table: i64, key: &[u8]) -> rusqlite::Result<()> {
        match (&mut self.journal, self.stamp) {
            (Some(journal), Some(stamp)) => journal.bury(table, key, stamp),
            _ => Ok(()),
        }
    }

    pub(super) fn put_all(&mut self, puts: &[Put]) -> rusqlite::Result<()> {
        let (version, pending) = self.stamped();
        for put in puts {
            // An event happens once, and has one link, though what it is part of be written again.
            if put.table == Table::Audit && self.has(put)? {
                continue;
            }
            // What the node keeps to itself has no version.
            let (version, pending) = if put.table.is_shared() { (version, pending) } else { (None, None) };
            // Written again here alone, it is only just newer than what it replaces: others may have erased that meanwhile, and
            // then nothing of it comes back.
            let version = match pending {
                Some(true) if matches!(put.table, Table::Submission | Table::File) => {
                    self.known(put)?.map(|known| known.saturating_add(1)).or(version)
                }
                _ => version,
            };
            self.put.execute(params![
                put.table.number(),
                put.key,
                put.value,
                put.expires_at_ms,
                version,
                pending
            ])?;
            if put.table == Table::Audit {
                self.chain.link(&put.key, &put.value)?;
            }
        }
        Ok(())
    }

    /// Whether this very record is there.
    fn has(&mut self, put: &Put) -> rusqlite::Result<bool> {
        let value: Option<Vec<u8>> =
            self.get.query_row(params![put.table.number(), put.key], |row| row.get(0)).optional()?;
        Ok(value.is_some_and(|value| value == put.value))
    }

    pub(super) fn claim(&mut self, claim: &Claim) -> rusqlite::Result<Vec<Delivery>> {
        let paused = params![Table::Pause.number(), claim.destination.as_bytes()];
        let mut claimed = Vec::new();
        if self.get.exists(paused)? {
            return Ok(claimed);
        }
        let until_ms = claim.now_ms.saturating_add(claim.lease_ms);
        let (version, pending) = self.stamped();
        let mut taken = [0_u32; 3];
        // First what each lane has for itself, then what is left over.
        let shares = Lane::ALL.into_iter().zip(claim.shares);
        for (lane, at_most) in shares.chain(Lane::ALL.map(|lane| (lane, u32::MAX))) {
            let mut left = claim.room(lane, taken).min(at_most);
            while left > 0 {
                let due = self
                    .due
                    .query_map(params![claim.destination, claim.now_ms, left, lane.number() as i64], |row| {
                        Ok((row.get::<_, i64>(10)?, delivery(row)))
                    })?
                    .collect::<rusqlite::Result<Vec<_>>>()?;
                let mut damaged = false;
                for (id, delivery) in due {
                    let mut delivery = match delivery {
                        Ok(delivery) => delivery,
                        Err(error) if is_damage(&error) => {
                            tracing::error!(destination.id = claim.destination, %error, "a delivery was quarantined");
                            self.quarantine.execute(params![id, claim.now_ms])?;
                            damaged = true;
                            continue;
                        }
                        Err(error) => return Err(error),
                    };
                    self.lease.execute(params![id, until_ms, version, pending])?;
                    delivery.state = DeliveryState::Leased;
                    delivery.due_at_ms = until_ms;
                    delivery.attempt = delivery.attempt.saturating_add(1);
                    delivery.lease = delivery.lease.saturating_add(1);
                    delivery.unsettled = delivery.unsettled.saturating_add(1);
                    claimed.push(delivery);
                    left -= 1;
                    if let Some(taken) = taken.get_mut(lane.number()) {
                        *taken += 1;
                    }
                }
                // Those behind the damaged ones have their turn at once.
                if !damaged {
                    break;
                }
            }
        }
        Ok(claimed)
    }

    pub(super) fn renew(
        &mut self,
        key: [u8; 16],
        lease: u64,
        until_ms: i64,
    ) -> rusqlite::Result<Result<(), Error>> {
        let (version, pending) = self.stamped();
        let changed = self.renew.execute(params![key, signed(lease), until_ms, version, pending])?;
        Ok(if changed == 1 { Ok(()) } else { Err(Error::StaleLease) })
    }

    pub(super) fn settle(
        &mut self,
        key: [u8; 16],
        lease: u64,
        settlement: &Settlement,
    ) -> rusqlite::Result<Result<(), Error>> {
        let first = Lane::First;
        let (state, at_ms, lane, given_back) = match settlement.verdict {
            Verdict::Delivered { at_ms } => (DeliveryState::Delivered, at_ms, first, 0),
            Verdict::Retry { due_at_ms } => (DeliveryState::Due, due_at_ms, Lane::Retry, 0),
            Verdict::Release { due_at_ms } => (DeliveryState::Due, due_at_ms, first, 1),
            Verdict::Dead { at_ms } => (DeliveryState::Dead, at_ms, first, 0),
            Verdict::Superseded { at_ms } => (DeliveryState::Superseded, at_ms, first, 1),
        };
        let (version, pending) = self.stamped();
        let changed = self.settle.execute(params![
            key,
            signed(lease),
            state.number(),
            at_ms,
            settlement.history,
            lane.number() as i64,
            given_back,
            version,
            pending
        ])?;
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
        let state = self.state.query_row(params![key], |row| row.get(0)).optional()?;
        // One in a state that only a later release knows is not this one's to change.
        Ok(match state.and_then(known_state) {
            None => Reopened::Unknown,
            Some(DeliveryState::Dead) => {
                self.reopen_one(&Reopen { key, new_key: key, due_at_ms, lane: Lane::First })?;
                self.put_all(puts)?;
                Reopened::Due
            }
            Some(state) => Reopened::NotDead(state),
        })
    }

    pub(super) fn erase(&mut self, erasure: &Erasure) -> rusqlite::Result<Erased> {
        let erased = self.eraser.erase(erasure, self.stamp)?;
        if matches!(erased, Erased::Done { .. }) {
            self.put_all(&erasure.puts)?;
        }
        Ok(erased)
    }

    /// Deletes what belongs to a submission that was erased elsewhere in this version; says from which tables.
    pub(super) fn forget_older(&mut self, submission: [u8; 16], version: i64) -> rusqlite::Result<Vec<i64>> {
        self.eraser.forget_older(submission, version)
    }

    /// Takes the oldest links off the audit chain, with their events.
    pub(super) fn trim_audit(&mut self, before: &[u8], limit: u32) -> rusqlite::Result<u64> {
        self.chain.trim(before, limit)
    }

    pub(super) fn clamp_due(&mut self, latest_ms: i64) -> rusqlite::Result<u64> {
        self.clamp_due.execute(params![latest_ms]).map(|changed| changed as u64)
    }

    pub(super) fn purge_expired(&mut self, now_ms: i64, limit: u32) -> rusqlite::Result<u64> {
        self.purge_expired.execute(params![now_ms, limit]).map(|changed| changed as u64)
    }
}

/// The version that [`record`] reads: in a journal the one that all nodes know.
pub(super) fn version_column(is_journal: bool) -> &'static str {
    if is_journal { "coalesce(shared, 1)" } else { "version" }
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
        lane: lane(row, 9)?,
    })
}

/// Reads [`DELIVERY`]; `None`, and a word in the log, if the row is none of ours.
pub(super) fn readable(row: &Row<'_>) -> rusqlite::Result<Option<Delivery>> {
    match delivery(row) {
        Ok(delivery) => Ok(Some(delivery)),
        Err(error) if is_damage(&error) => {
            tracing::warn!(%error, "a delivery cannot be decoded");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether a row was read, but is none of ours: damage of that row and not of the file.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..))
}

fn lane(row: &Row<'_>, column: usize) -> rusqlite::Result<Lane> {
    let number: i64 = row.get(column)?;
    let lane = usize::try_from(number).ok().and_then(|number| Lane::ALL.get(number).copied());
    lane.ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<DeliveryState> {
    let number = row.get(column)?;
    known_state(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn known_state(number: i64) -> Option<DeliveryState> {
    // Whether a delivery waits here or with all nodes is nobody's business but the journal's.
    DeliveryState::from_number(if number == ENTRUSTED { DUE } else { number })
}

// A lease number would need 2^63 claims of one delivery to be too large for SQLite.
pub(super) fn signed(lease: u64) -> i64 {
    i64::try_from(lease).unwrap_or(i64::MAX)
}

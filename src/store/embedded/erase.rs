//! Erases a submission with all that its traces name, and overwrites what is left of it in the files.

use rusqlite::{Connection, Statement, params};

use super::journal::{Stamp, TOMBSTONE};
use super::prefix_end;
use super::statements::DELIVERIES;
use crate::fault;
use crate::store::erasure::{is_named_by, traced};
use crate::store::{DeliveryState, Erased, Erasure, Table};

/// Pages given back to the system at one time; their content was overwritten before.
const MAX_FREED_PAGES: u32 = 4096;
/// How long the writer may wait for readers when it folds in the log: nobody is acknowledged meanwhile.
const SCRUB_PATIENCE_MS: u32 = 250;

/// The statements of erasing.
pub(super) struct Eraser<'c> {
    deliveries: Statement<'c>,
    traces: Statement<'c>,
    delete: Statement<'c>,
    delete_deliveries: Statement<'c>,
    delete_traces: Statement<'c>,
    bury: Statement<'c>,
    // What a journal keeps of it.
    delete_older: Statement<'c>,
    delete_older_deliveries: Statement<'c>,
    tombstone: Statement<'c>,
}

impl<'c> Eraser<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            deliveries: connection
                .prepare("SELECT destination, state, due_at_ms FROM delivery WHERE submission = ?1")?,
            traces: connection.prepare("SELECT key FROM record WHERE tbl = ?1 AND key >= ?2 AND key < ?3")?,
            delete: connection.prepare("DELETE FROM record WHERE tbl = ?1 AND key = ?2")?,
            delete_deliveries: connection.prepare("DELETE FROM delivery WHERE submission = ?1")?,
            delete_traces: connection
                .prepare("DELETE FROM record WHERE tbl = ?1 AND key >= ?2 AND key < ?3")?,
            // An empty submission is one that was: accepting it again finds it. It is a new writing of the record, so that
            // nobody who read it before writes it back.
            bury: connection.prepare(
                "INSERT OR REPLACE INTO record (tbl, key, value, expires_at_ms, shared, pending)
                 SELECT tbl, key, x'', ?3, coalesce(?4, shared), coalesce(?5, pending) FROM record
                 WHERE tbl = ?1 AND key = ?2",
            )?,
            delete_older: connection
                .prepare("DELETE FROM record WHERE tbl = ?1 AND key = ?2 AND coalesce(shared, 1) <= ?3")?,
            delete_older_deliveries: connection
                .prepare("DELETE FROM delivery WHERE submission = ?1 AND coalesce(shared, 1) <= ?2")?,
            tombstone: connection.prepare(TOMBSTONE)?,
        })
    }

    pub(super) fn erase(&mut self, erasure: &Erasure, stamp: Option<Stamp>) -> rusqlite::Result<Erased> {
        let mut deliveries = Vec::new();
        let mut rows = self.deliveries.query(params![erasure.submission])?;
        while let Some(row) = rows.next()? {
            let (destination, state, at_ms): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            // A state this program does not know is not one that is settled.
            let state = DeliveryState::from_number(state);
            let in_time = erasure.settled.is_none_or(|settled| match state {
                Some(DeliveryState::Delivered | DeliveryState::Superseded) => {
                    at_ms <= settled.delivered_by_ms
                }
                Some(DeliveryState::Dead) => at_ms <= settled.dead_by_ms,
                _ => false,
            });
            if !in_time {
                return Ok(Erased::NotSettled);
            }
            deliveries.push((destination, state.unwrap_or(DeliveryState::Due)));
        }
        drop(rows);
        let (first, end) = range(erasure.submission);
        let traces = self
            .traces
            .query_map(params![Table::Trace.number(), first, end], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<Vec<u8>>>>()?;
        let also = erasure.deletes.iter().map(|(table, key)| (table.number(), key.as_slice()));
        let gone: Vec<(i64, &[u8])> = traces.iter().filter_map(|trace| traced(trace)).chain(also).collect();
        for (table, key) in &gone {
            self.delete.execute(params![table, key])?;
        }
        if let Some(Stamp { version, pending }) = stamp {
            let unnamed = |(table, key): &(i64, &[u8])| !is_named_by(&erasure.submission, *table, key);
            let whole = (Table::Submission.number(), erasure.submission.as_slice());
            for (table, key) in gone.into_iter().filter(unnamed).chain([whole]) {
                self.tombstone.execute(params![table, key, version, pending])?;
            }
        }
        self.delete_traces.execute(params![Table::Trace.number(), first, end])?;
        self.delete_deliveries.execute(params![erasure.submission])?;
        let submission = (Table::Submission.number(), erasure.submission);
        let (version, pending) = (stamp.map(|stamp| stamp.version), stamp.map(|stamp| stamp.pending));
        let until_ms = erasure.forget_at_ms;
        self.bury.execute(params![submission.0, submission.1, until_ms, version, pending])?;
        Ok(Erased::Done { deliveries })
    }

    /// Deletes what belongs to a submission that was erased elsewhere in this version; says from which tables.
    pub(super) fn forget_older(&mut self, submission: [u8; 16], version: i64) -> rusqlite::Result<Vec<i64>> {
        let (first, end) = range(submission);
        let trace = Table::Trace.number();
        let traces = self
            .traces
            .query_map(params![trace, first, end], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<Vec<u8>>>>()?;
        let mut tables = Vec::new();
        for (table, key) in traces
            .iter()
            .filter_map(|trace| traced(trace))
            .chain(traces.iter().map(|key| (trace, key.as_slice())))
        {
            if self.delete_older.execute(params![table, key, version])? > 0 {
                tables.push(table);
            }
        }
        if self.delete_older_deliveries.execute(params![submission, version])? > 0 {
            tables.push(DELIVERIES);
        }
        Ok(tables)
    }
}

/// The traces of a submission. No submission's id is all ones: it has a version.
fn range(submission: [u8; 16]) -> ([u8; 16], Vec<u8>) {
    (submission, prefix_end(&submission).unwrap_or_else(|| vec![u8::MAX; 64]))
}

/// Gives back free pages and folds the log into the file, so that nothing erased is left in either. `false` if a reader
/// was in the way; then it has to be asked for again.
pub(super) fn scrub(connection: &Connection) -> rusqlite::Result<bool> {
    let busy_ms: u32 = connection.pragma_query_value(None, "busy_timeout", |row| row.get(0))?;
    {
        // Each step frees one page, so it has to be stepped to its end.
        let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({MAX_FREED_PAGES})"))?;
        let mut freed = vacuum.query([])?;
        while freed.next()?.is_some() {}
    }
    fault::point("store.vacuumed");
    connection.busy_timeout(std::time::Duration::from_millis(SCRUB_PATIENCE_MS.into()))?;
    let blocked: rusqlite::Result<i64> =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
    connection.busy_timeout(std::time::Duration::from_millis(busy_ms.into()))?;
    Ok(blocked? == 0)
}

/// Keys of timeline records that no trace names: an older release has written them.
pub(super) fn untraced(connection: &Connection, limit: u32) -> rusqlite::Result<Vec<Vec<u8>>> {
    // A timeline key is 8 bytes of time and the submission.
    let mut statement = connection.prepare(
        "SELECT key FROM record AS listed WHERE tbl = ?1 AND NOT EXISTS
         (SELECT 1 FROM record WHERE tbl = ?2 AND key = CAST(substr(listed.key, 9) || ?3 || listed.key AS BLOB))
         ORDER BY key LIMIT ?4",
    )?;
    let timeline = Table::Timeline.number();
    let number = [u8::try_from(timeline).unwrap_or(u8::MAX)];
    statement.query_map(params![timeline, Table::Trace.number(), number, limit], |row| row.get(0))?.collect()
}

//! What a journal holds, page by page, in the order in which a shared copy has to be told.

use rusqlite::{Connection, Row, params};

use super::super::statements::{self, DELIVERY};
use super::super::{Embedded, prefix_end};
use super::{ENTRUSTED, everywhere};
use crate::store::erasure::traced;
use crate::store::{Delivery, DeliveryState, Error, Put, Table};

/// A row of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Kept {
    /// A row that was deleted; table 0 is the deliveries.
    Gone {
        /// Of this table.
        table: i64,
        /// Its key.
        key: Vec<u8>,
        /// The version of the deletion.
        version: i64,
    },
    /// A record.
    Record {
        /// As it was put.
        put: Put,
        /// Its version.
        version: i64,
    },
    /// A delivery.
    Delivery {
        /// As it stands.
        delivery: Delivery,
        /// Its version.
        version: i64,
    },
}

/// What a page is of, in the order in which a shared copy that lost its data is told: nothing may come back to life, nothing
/// that is paused or ended may be attempted, and nothing may be claimed whose submission is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Kind {
    /// Tombstones.
    Gone,
    /// What every node keeps a copy of.
    Configuration,
    /// Deliveries that have ended.
    Ended,
    /// Submissions with a delivery that is open: all their deliveries, and every record that a trace names.
    Open,
    /// All records.
    Record,
}

impl Kind {
    /// All of them, in their order.
    pub(in crate::store) const ALL: [Self; 5] =
        [Self::Gone, Self::Configuration, Self::Ended, Self::Open, Self::Record];
}

/// Rows that belong together, and where to go on.
#[derive(Debug, Default)]
pub(in crate::store) struct Page {
    /// What is to be told in one step each.
    pub items: Vec<Vec<Kept>>,
    /// Whether the shared copy was never told some of it. Otherwise there is nothing to note when it says that it has it.
    pub lacked: bool,
    /// `None` at the end.
    pub next: Option<Vec<u8>>,
}

impl Embedded {
    /// Reads a page: of all that is here, or of what the shared copy lacks.
    pub(in crate::store) async fn journal_page(
        &self,
        kind: Kind,
        all: bool,
        after: Option<Vec<u8>>,
        limit: u32,
    ) -> Result<Page, Error> {
        let read = move |connection: &Connection| page(connection, kind, all, after.as_deref(), limit);
        self.readers().read(read).await
    }

    /// Everything of one submission.
    pub(in crate::store) async fn journal_whole(&self, submission: [u8; 16]) -> Result<Vec<Kept>, Error> {
        self.readers().read(move |connection| whole(connection, &submission)).await
    }

    /// Keys of entrusted deliveries in their order, with the submission of each.
    pub(in crate::store) async fn journal_entrusted(
        &self,
        after: Option<[u8; 16]>,
        limit: u32,
    ) -> Result<Vec<([u8; 16], [u8; 16], i64)>, Error> {
        let read = move |connection: &Connection| {
            let after = after.map(|key| key.to_vec()).unwrap_or_default();
            let mut statement = connection.prepare(
                "SELECT key, submission, coalesce(shared, 1) FROM delivery
                 WHERE state = 5 AND key > ?1 ORDER BY key LIMIT ?2",
            )?;
            let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            statement.query_map(params![after, limit], row)?.collect()
        };
        self.readers().read(read).await
    }

    /// How many submissions the shared copy lacks, and how many deliveries wait here alone.
    pub(in crate::store) async fn journal_backlog(&self) -> Result<(u64, u64), Error> {
        let read = |connection: &Connection| {
            let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
            let submissions = count("SELECT count(*) FROM record WHERE pending = 1 AND tbl = 1")?;
            let open = count("SELECT count(*) FROM delivery WHERE state < 2")?;
            Ok((submissions.unsigned_abs(), open.unsigned_abs()))
        };
        self.readers().read(read).await
    }
}

fn page(
    connection: &Connection,
    kind: Kind,
    all: bool,
    after: Option<&[u8]>,
    limit: u32,
) -> rusqlite::Result<Page> {
    let pending = if all { "" } else { "AND pending = 1" };
    let after = after.unwrap_or_default();
    // A table's number and a key; before the first there is nothing.
    let (table, key) = after.split_first().map_or((-1, &[][..]), |(table, key)| (i64::from(*table), key));
    let mut items: Vec<Vec<Kept>> = Vec::new();
    let (mut lacked, mut next) = (false, None);
    let noted = everywhere::read(connection)?;
    match kind {
        Kind::Gone => {
            let mut statement = connection.prepare(&format!(
                "SELECT tbl, key, shared, {LACKED} FROM tombstone WHERE (tbl, key) > (?1, ?2) {pending}
                 ORDER BY tbl, key LIMIT ?3"
            ))?;
            let mut rows = statement.query(params![table, key, limit])?;
            while let Some(row) = rows.next()? {
                let (table, key, version): (i64, Vec<u8>, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                next = Some(cursor(table, &key));
                lacked |= row.get::<_, bool>(3)?;
                items.push(vec![Kept::Gone { table, key, version }]);
            }
        }
        Kind::Configuration | Kind::Record => {
            let is_wanted =
                |table: &Table| table.is_shared() && (kind == Kind::Record || table.is_configuration());
            let numbers = |tables: &[Table]| {
                let wanted = tables.iter().copied().filter(is_wanted);
                wanted.map(|table| table.number().to_string()).collect::<Vec<_>>().join(", ")
            };
            let (known, later) = (numbers(&Table::ALL), numbers(&everywhere::later(connection, &noted)?));
            // A node keeps a record of such a table to itself if it has no version.
            let (tables, is_shared) = match later.as_str() {
                "" => (known, String::new()),
                later => {
                    (format!("{known}, {later}"), format!("AND (tbl NOT IN ({later}) OR shared IS NOT NULL)"))
                }
            };
            let mut statement = connection.prepare(&format!(
                "SELECT {RECORD}, {LACKED} FROM record
                 WHERE (tbl, key) > (?1, ?2) AND tbl IN ({tables}) {is_shared} {pending} ORDER BY tbl, key LIMIT ?3"
            ))?;
            let mut rows = statement.query(params![table, key, limit])?;
            while let Some(row) = rows.next()? {
                let (table, key): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
                next = Some(cursor(table, &key));
                lacked |= row.get::<_, bool>(5)?;
                items.extend(record(row, &noted)?.map(|kept| vec![kept]));
            }
        }
        Kind::Ended => {
            let mut statement = connection.prepare(&format!(
                "SELECT {DELIVERY}, coalesce(shared, 1), {LACKED} FROM delivery WHERE key > ?1 AND state IN (3, 4, 6) {pending}
                 ORDER BY key LIMIT ?2"
            ))?;
            let mut rows = statement.query(params![after, limit])?;
            while let Some(row) = rows.next()? {
                next = Some(row.get(0)?);
                lacked |= row.get::<_, bool>(11)?;
                items.extend(delivery(row)?.map(|kept| vec![kept]));
            }
        }
        Kind::Open => {
            lacked = true;
            let mut statement = connection.prepare(&format!(
                "SELECT DISTINCT submission FROM delivery
                 WHERE submission > ?1 AND state IN (0, 1, 5) {pending} ORDER BY submission LIMIT ?2"
            ))?;
            let mut rows = statement.query(params![after, limit])?;
            while let Some(row) = rows.next()? {
                let submission: Vec<u8> = row.get(0)?;
                items.push(whole(connection, &submission)?);
                next = Some(submission);
            }
        }
    }
    Ok(Page { items, lacked, next })
}

const LACKED: &str = "shared IS NULL OR coalesce(pending, 0) = 1";
const RECORD: &str = "tbl, key, value, expires_at_ms, coalesce(shared, 1)";

fn cursor(table: i64, key: &[u8]) -> Vec<u8> {
    [&[u8::try_from(table).unwrap_or(u8::MAX)], key].concat()
}

fn record(row: &Row<'_>, noted: &[u8]) -> rusqlite::Result<Option<Kept>> {
    let Some(table) = everywhere::table(row.get(0)?, noted) else { return Ok(None) };
    let put = Put { table, key: row.get(1)?, value: row.get(2)?, expires_at_ms: row.get(3)? };
    Ok(Some(Kept::Record { put, version: row.get(4)? }))
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Option<Kept>> {
    match statements::delivery(row) {
        Ok(mut delivery) => {
            // Begun and not settled: whoever has it in hand can end it also in a shared copy that has lost its lease.
            if row.get::<_, i64>(3)? == ENTRUSTED && delivery.unsettled > 0 {
                delivery.state = DeliveryState::Leased;
            }
            Ok(Some(Kept::Delivery { delivery, version: row.get(10)? }))
        }
        // One that cannot be decoded stays here; a claim quarantines it.
        Err(error) if statements::is_damage(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn whole(connection: &Connection, submission: &[u8]) -> rusqlite::Result<Vec<Kept>> {
    let noted = everywhere::read(connection)?;
    let mut kept = Vec::new();
    let mut one = connection.prepare(&format!("SELECT {RECORD} FROM record WHERE tbl = ?1 AND key = ?2"))?;
    let mut read = |table: i64, key: &[u8], kept: &mut Vec<Kept>| {
        let mut rows = one.query(params![table, key])?;
        while let Some(row) = rows.next()? {
            kept.extend(record(row, &noted)?);
        }
        Ok::<_, rusqlite::Error>(())
    };
    read(Table::Submission.number(), submission, &mut kept)?;
    let end = prefix_end(submission).unwrap_or_else(|| vec![u8::MAX; 64]);
    let mut traces =
        connection.prepare("SELECT key FROM record WHERE tbl = ?1 AND key >= ?2 AND key < ?3")?;
    let traces = traces
        .query_map(params![Table::Trace.number(), submission, end], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<Vec<u8>>>>()?;
    for trace in traces {
        read(Table::Trace.number(), &trace, &mut kept)?;
        if let Some((table, key)) = traced(&trace) {
            read(table, key, &mut kept)?;
        }
    }
    let mut deliveries = connection
        .prepare(&format!("SELECT {DELIVERY}, coalesce(shared, 1) FROM delivery WHERE submission = ?1"))?;
    let mut rows = deliveries.query(params![submission])?;
    while let Some(row) = rows.next()? {
        kept.extend(delivery(row)?);
    }
    Ok(kept)
}

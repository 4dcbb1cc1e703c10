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

/// What a page is of, in the order in which a shared copy is told: nothing may come back to life, nothing that is paused or
/// ended may be attempted, and nothing may be claimed whose submission is not there.
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
    /// Those that a shared copy that lost its data has to know before anybody claims.
    pub(in crate::store) const BEFORE_CLAIMS: [Self; 3] = [Self::Gone, Self::Configuration, Self::Ended];
}

/// How much of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum What {
    /// All that is here. Of what was deleted or has ended the newest first, which others most likely still take for open.
    All,
    /// What the shared copy lacks.
    Lacked,
}

/// Which rows of a kind a page is to have.
#[derive(Debug, Clone)]
pub(in crate::store) struct Part {
    /// Of these.
    pub what: What,
    /// Those behind this one; `None` at the beginning.
    pub after: Option<Cursor>,
    /// As many at most.
    pub limit: u32,
}

/// The last row of a page. What its parts are is for the page to know: they are what its rows are ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Cursor {
    number: i64,
    table: i64,
    key: Vec<u8>,
}

impl Cursor {
    /// Before the first row.
    fn first() -> Self {
        Self { number: -1, table: -1, key: Vec::new() }
    }

    /// Before the newest, where the order falls.
    fn newest() -> Self {
        Self { number: i64::MAX, ..Self::first() }
    }
}

/// Rows that belong together, and where to go on.
#[derive(Debug, Default)]
pub(in crate::store) struct Page {
    /// What is to be told in one step each.
    pub items: Vec<Vec<Kept>>,
    /// Whether the shared copy was never told some of it. Otherwise there is nothing to note when it says that it has it.
    pub lacked: bool,
    /// `None` at the end.
    pub next: Option<Cursor>,
}

impl Embedded {
    /// Reads a page.
    pub(in crate::store) async fn journal_page(&self, kind: Kind, part: Part) -> Result<Page, Error> {
        self.readers().read(move |connection| page(connection, kind, part)).await
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
            // Asked twice a second: by the index that has no other deliveries.
            let open = count("SELECT count(*) FROM delivery INDEXED BY delivery_lane WHERE state < 2")?;
            Ok((submissions.unsigned_abs(), open.unsigned_abs()))
        };
        self.readers().read(read).await
    }
}

// Invariant: each statement begins where the page before has ended, by an index, so that all pages together read each row
// once, however many there are.
fn page(connection: &Connection, kind: Kind, part: Part) -> rusqlite::Result<Page> {
    match kind {
        Kind::Gone => gone(connection, part),
        Kind::Configuration => records(connection, Table::is_configuration, part),
        Kind::Ended => ended(connection, part),
        Kind::Open => open(connection, part),
        Kind::Record => records(connection, |_| true, part),
    }
}

fn gone(connection: &Connection, part: Part) -> rusqlite::Result<Page> {
    let (sql, before) = match part.what {
        What::All => (
            "INDEXED BY tombstone_age WHERE (shared, tbl, key) < (?1, ?2, ?3)
             ORDER BY shared DESC, tbl DESC, key DESC",
            Cursor::newest(),
        ),
        What::Lacked => (
            "INDEXED BY tombstone_pending WHERE (tbl, key) > (?2, ?3) AND pending = 1 ORDER BY tbl, key",
            Cursor::first(),
        ),
    };
    let after = part.after.unwrap_or(before);
    let mut page = Page::default();
    let mut statement =
        connection.prepare(&format!("SELECT tbl, key, shared, {LACKED} FROM tombstone {sql} LIMIT ?4"))?;
    let mut rows = statement.query(params![after.number, after.table, after.key, part.limit])?;
    while let Some(row) = rows.next()? {
        let (table, key, version): (i64, Vec<u8>, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        page.lacked |= row.get::<_, bool>(3)?;
        page.next = Some(Cursor { number: version, table, key: key.clone() });
        page.items.push(vec![Kept::Gone { table, key, version }]);
    }
    Ok(page)
}

fn records(connection: &Connection, wanted: fn(Table) -> bool, part: Part) -> rusqlite::Result<Page> {
    let noted = everywhere::read(connection)?;
    let mut tables = Table::ALL.to_vec();
    tables.extend(everywhere::later(connection, &noted)?);
    tables.retain(|table| table.is_shared() && wanted(*table));
    tables.sort_unstable_by_key(|table| table.number());
    let (index, pending) = match part.what {
        What::All => ("", ""),
        What::Lacked => ("INDEXED BY record_pending", "AND pending = 1"),
    };
    // A node keeps a record of a later release's table to itself if it has no version. Of one table at a time: SQLite finds no
    // place in many of them by an index.
    let mut statement = connection.prepare(&format!(
        "SELECT {RECORD}, {LACKED} FROM record {index}
         WHERE tbl = ?1 AND key >= ?2 AND (NOT ?3 OR shared IS NOT NULL) {pending} ORDER BY key LIMIT ?4"
    ))?;
    let after = part.after.unwrap_or_else(Cursor::first);
    let (mut page, mut left) = (Page::default(), part.limit);
    for table in tables.into_iter().filter(|table| table.number() >= after.table) {
        let from = if table.number() == after.table { [&after.key, &[0][..]].concat() } else { Vec::new() };
        let mut rows = statement.query(params![table.number(), from, table.is_later(), left])?;
        while let Some(row) = rows.next()? {
            left = left.saturating_sub(1);
            page.lacked |= row.get::<_, bool>(5)?;
            page.next = Some(Cursor { number: 0, table: row.get(0)?, key: row.get(1)? });
            page.items.extend(record(row, &noted)?.map(|kept| vec![kept]));
        }
        if left == 0 {
            break;
        }
    }
    Ok(page)
}

fn ended(connection: &Connection, part: Part) -> rusqlite::Result<Page> {
    let (sql, before) = match part.what {
        // Ids are given in the order in which deliveries came.
        What::All => ("WHERE id < ?1 AND state IN (3, 4, 6) ORDER BY id DESC", Cursor::newest()),
        What::Lacked => (
            "INDEXED BY delivery_pending WHERE (submission, id) > (?2, ?1) AND pending = 1 AND state IN (3, 4, 6)
             ORDER BY submission, id",
            Cursor::first(),
        ),
    };
    let after = part.after.unwrap_or(before);
    let mut page = Page::default();
    let mut statement = connection.prepare(&format!(
        "SELECT {DELIVERY}, coalesce(shared, 1), {LACKED}, id FROM delivery {sql} LIMIT ?3"
    ))?;
    let mut rows = statement.query(params![after.number, after.key, part.limit])?;
    while let Some(row) = rows.next()? {
        page.lacked |= row.get::<_, bool>(11)?;
        page.next = Some(Cursor { number: row.get(12)?, table: 0, key: row.get(1)? });
        page.items.extend(delivery(row)?.map(|kept| vec![kept]));
    }
    Ok(page)
}

fn open(connection: &Connection, part: Part) -> rusqlite::Result<Page> {
    let (index, pending) = match part.what {
        What::All => ("delivery_submission", ""),
        What::Lacked => ("delivery_pending", "AND pending = 1"),
    };
    let after = part.after.unwrap_or_else(Cursor::first);
    let mut page = Page { lacked: true, ..Page::default() };
    let mut statement = connection.prepare(&format!(
        "SELECT DISTINCT submission FROM delivery INDEXED BY {index}
         WHERE submission > ?1 AND state IN (0, 1, 5) {pending} ORDER BY submission LIMIT ?2"
    ))?;
    let mut rows = statement.query(params![after.key, part.limit])?;
    while let Some(row) = rows.next()? {
        let submission: Vec<u8> = row.get(0)?;
        page.items.push(whole(connection, &submission)?);
        page.next = Some(Cursor { number: 0, table: 0, key: submission });
    }
    Ok(page)
}

const LACKED: &str = "shared IS NULL OR coalesce(pending, 0) = 1";
const RECORD: &str = "tbl, key, value, expires_at_ms, coalesce(shared, 1)";

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

#[cfg(test)]
mod tests;

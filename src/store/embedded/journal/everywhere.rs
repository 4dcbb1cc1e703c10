//! Which tables every node keeps a copy of, as a journal remembers it for the release that does not know them.
//!
//! A release notes its own when it opens the file, for the one before, which may have the file back; and those that only a
//! later one knows when it takes over a record of them. Without that a Redis that was emptied would be told such a record, and
//! the other nodes would not hear of it.

use rusqlite::{Connection, OptionalExtension, params};

use crate::store::Table;

/// Where it stands, each number a byte. Nothing is ever taken away.
const NAME: &str = "everywhere";

/// Their numbers.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Vec<u8>> {
    let sql = "SELECT value FROM node WHERE name = ?1";
    let numbers = connection.query_row(sql, [NAME], |row| row.get(0)).optional()?;
    Ok(numbers.unwrap_or_default())
}

/// Adds tables.
pub(super) fn note(connection: &Connection, tables: impl Iterator<Item = Table>) -> rusqlite::Result<()> {
    let before = read(connection)?;
    let mut numbers = before.clone();
    for number in tables.filter_map(|table| u8::try_from(table.number()).ok()) {
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    if numbers == before {
        return Ok(());
    }
    let sql = "INSERT OR REPLACE INTO node (name, value) VALUES (?1, ?2)";
    connection.execute(sql, params![NAME, numbers]).map(drop)
}

/// The file is used by a node of this release.
pub(in crate::store::embedded) fn join(connection: &Connection) -> rusqlite::Result<()> {
    note(connection, Table::ALL.into_iter().filter(|table| table.is_configuration()))
}

/// The table of this number, which may be one that only a later release knows.
pub(super) fn table(number: i64, everywhere: &[u8]) -> Option<Table> {
    Table::of(number, u8::try_from(number).is_ok_and(|number| everywhere.contains(&number)))
}

/// The tables in this file that only a later release knows. Looks at one record of each table.
pub(super) fn later(connection: &Connection, everywhere: &[u8]) -> rusqlite::Result<Vec<Table>> {
    let mut statement = connection.prepare(
        "WITH RECURSIVE present (tbl) AS (
             SELECT min(tbl) FROM record
             UNION ALL
             SELECT (SELECT min(tbl) FROM record WHERE record.tbl > present.tbl) FROM present
             WHERE present.tbl IS NOT NULL)
         SELECT tbl FROM present WHERE tbl IS NOT NULL",
    )?;
    let tables = statement.query_map([], |row| Ok(table(row.get(0)?, everywhere)))?;
    let tables = tables.collect::<rusqlite::Result<Vec<_>>>()?.into_iter().flatten();
    Ok(tables.filter(|table| table.is_later()).collect())
}

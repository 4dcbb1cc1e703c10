//! Links audit records into their chain, inside the writer's transaction.

use std::sync::{Arc, OnceLock};

use rusqlite::{Connection, OptionalExtension, Statement, params};

use crate::store::chain::{Head, Link, Mac};
use crate::store::{Put, Table};

/// The key of the chain, once the program has it: it is sealed in the store, which has to be open first.
pub(super) type SharedMac = Arc<OnceLock<Arc<dyn Mac>>>;

/// The head's key: before every link's.
const HEAD: &[u8] = b"";
/// The key of what the chain stands on since its oldest links were taken off: behind the head's, before every link's.
const START: &[u8] = b"\0";

/// The record of a chain that has no link yet.
pub(super) fn beginning(mac: &dyn Mac) -> Put {
    Put::new(Table::AuditLink, HEAD, Head::NONE.to_bytes(mac))
}

/// The chain as the writer knows it.
pub(super) struct Chain<'c> {
    mac: SharedMac,
    connection: &'c Connection,
    get: Statement<'c>,
    last: Statement<'c>,
    put: Statement<'c>,
    delete: Statement<'c>,
    head: Option<Head>,
    /// The head at the last savepoint.
    marked: Option<Head>,
    /// Whether the head on disk is older.
    grown: bool,
}

impl<'c> Chain<'c> {
    pub(super) fn prepare(connection: &'c Connection, mac: SharedMac) -> rusqlite::Result<Self> {
        Ok(Self {
            mac,
            connection,
            delete: connection.prepare("DELETE FROM record WHERE tbl = ?1 AND key = ?2")?,
            get: connection.prepare("SELECT value FROM record WHERE tbl = ?1 AND key = ?2")?,
            last: connection.prepare("SELECT key FROM record WHERE tbl = ?1 ORDER BY key DESC LIMIT 1")?,
            put: connection.prepare("INSERT OR REPLACE INTO record (tbl, key, value) VALUES (?1, ?2, ?3)")?,
            head: None,
            marked: None,
            grown: false,
        })
    }

    /// Remembers where the chain is, for [`undo`](Self::undo).
    pub(super) fn mark(&mut self) {
        self.marked = self.head;
    }

    /// Forgets the links since the mark, which the database has forgotten too.
    pub(super) fn undo(&mut self) {
        self.head = self.marked;
    }

    /// Links an audit record that was just put.
    pub(super) fn link(&mut self, key: &[u8], value: &[u8]) -> rusqlite::Result<()> {
        let Some(mac) = self.mac.get().cloned() else { return Ok(()) };
        let before = match self.head {
            Some(head) => head,
            None => self.read(&*mac)?,
        };
        let head = before.next(&*mac, key, value);
        let link = [head.tag.as_slice(), key].concat();
        self.put.execute(params![Table::AuditLink.number(), head.number.to_be_bytes(), link])?;
        (self.head, self.grown) = (Some(head), true);
        Ok(())
    }

    /// Writes the head, once for all links of a transaction.
    pub(super) fn finish(&mut self) -> rusqlite::Result<()> {
        if let (true, Some(head), Some(mac)) = (self.grown, self.head, self.mac.get()) {
            self.put.execute(params![Table::AuditLink.number(), HEAD, head.to_bytes(&**mac)])?;
        }
        self.grown = false;
        Ok(())
    }

    /// Takes up to `limit` of the oldest links off whose events have keys before this one, with the events; says how many.
    /// It stops at what is not as it was written: that stays to be found.
    pub(super) fn trim(&mut self, before: &[u8], limit: u32) -> rusqlite::Result<u64> {
        let Some(mac) = self.mac.get().cloned() else { return Ok(0) };
        let first = start(self.connection, &*mac)?.unwrap_or(Head::NONE);
        let mut last = first;
        for link in trail(self.connection, first.number, limit)? {
            let Some(value) = link.value.filter(|_| link.key.as_slice() < before) else { break };
            let next = last.next(&*mac, &link.key, &value);
            if next.number != link.number || next.tag.as_slice() != link.tag {
                break;
            }
            self.delete.execute(params![Table::Audit.number(), link.key])?;
            self.delete.execute(params![Table::AuditLink.number(), link.number.to_be_bytes()])?;
            last = next;
        }
        if last != first {
            self.put.execute(params![Table::AuditLink.number(), START, last.to_start(&*mac)])?;
        }
        Ok(last.number.saturating_sub(first.number))
    }

    /// The head on disk. One that is gone or not ours is not mended: what follows stands on nothing, and shows it.
    fn read(&mut self, mac: &dyn Mac) -> rusqlite::Result<Head> {
        let table = Table::AuditLink.number();
        let head: Option<Vec<u8>> = self.get.query_row(params![table, HEAD], |row| row.get(0)).optional()?;
        if let Some(head) = head.and_then(|head| Head::from_bytes(&head, mac)) {
            return Ok(head);
        }
        let last: Option<Vec<u8>> = self.last.query_row(params![table], |row| row.get(0)).optional()?;
        Ok(Head::torn(last.as_deref().and_then(number).unwrap_or(0)))
    }
}

fn number(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// Reads links in their order, each with its record.
pub(super) fn trail(connection: &Connection, after: u64, limit: u32) -> rusqlite::Result<Vec<Link>> {
    let mut statement = connection.prepare(
        "SELECT link.key, link.value, event.value FROM record AS link
         LEFT JOIN record AS event ON event.tbl = ?2 AND event.key = substr(link.value, 33)
         WHERE link.tbl = ?1 AND link.key > ?3 ORDER BY link.key LIMIT ?4",
    )?;
    let tables = (Table::AuditLink.number(), Table::Audit.number());
    let links = statement.query_map(params![tables.0, tables.1, after.to_be_bytes(), limit], |row| {
        let (number, link): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let (tag, key) = link.split_first_chunk::<32>().map_or((&[][..], &[][..]), |(tag, key)| (tag, key));
        Ok(Link {
            number: self::number(&number).unwrap_or(u64::MAX),
            tag: tag.to_vec(),
            key: key.to_vec(),
            value: row.get(2)?,
        })
    })?;
    links.collect()
}

/// The head, if it was sealed with this key.
pub(super) fn head(connection: &Connection, mac: &dyn Mac) -> rusqlite::Result<Option<Head>> {
    Ok(value(connection, HEAD)?.and_then(|head| Head::from_bytes(&head, mac)))
}

/// What the chain stands on, if links were taken off and it was sealed with this key.
pub(super) fn start(connection: &Connection, mac: &dyn Mac) -> rusqlite::Result<Option<Head>> {
    Ok(value(connection, START)?.and_then(|start| Head::from_start(&start, mac)))
}

fn value(connection: &Connection, key: &[u8]) -> rusqlite::Result<Option<Vec<u8>>> {
    let sql = "SELECT value FROM record WHERE tbl = ?1 AND key = ?2";
    connection.query_row(sql, params![Table::AuditLink.number(), key], |row| row.get(0)).optional()
}

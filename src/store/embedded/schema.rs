//! The tables on disk, and how an older file is brought up to date.

use std::ffi::c_int;

use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode};

use super::OpenError;

/// Each entry brings the file from its index to the next `user_version`. Only ever append.
const MIGRATIONS: &[&str] = &["
    -- One physical table for all record tables, so that a new one needs no migration. The version is the row id:
    -- AUTOINCREMENT never uses one twice, also after a delete.
    CREATE TABLE record (
        version INTEGER PRIMARY KEY AUTOINCREMENT,
        tbl INTEGER NOT NULL,
        key BLOB NOT NULL,
        expires_at_ms INTEGER,
        value BLOB NOT NULL,
        UNIQUE (tbl, key)
    ) STRICT;
    CREATE INDEX record_expiry ON record (expires_at_ms) WHERE expires_at_ms IS NOT NULL;
    -- due_at_ms is also the end of the lease, so a process that died needs no search for orphans.
    CREATE TABLE delivery (
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        submission BLOB NOT NULL,
        destination TEXT NOT NULL,
        state INTEGER NOT NULL,
        due_at_ms INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        lease INTEGER NOT NULL,
        unsettled INTEGER NOT NULL,
        history BLOB NOT NULL
    ) STRICT;
    CREATE INDEX delivery_open ON delivery (destination, due_at_ms) WHERE state < 2;
    CREATE INDEX delivery_state ON delivery (destination, state);
    CREATE INDEX delivery_submission ON delivery (submission);
"];

/// What was added since without taking anything away: a program that knows the migrations above and not these goes on
/// working on the file, so they leave `user_version` alone and an upgrade can be taken back. Each is done once, by its name,
/// also when the older program has used the file in between. Only ever append. A new column has a default that is right for
/// what the older program writes, which knows nothing of it. No index goes either: statements name them.
const ADDITIONS: &[(&str, &str)] = &[
    (
        "lanes of deliveries",
        "
    ALTER TABLE delivery ADD COLUMN lane INTEGER NOT NULL DEFAULT 0;
    -- Has the columns of the one it replaces, so that the older program finds by it, too, what is open at a destination.
    CREATE INDEX delivery_lane ON delivery (destination, lane, due_at_ms) WHERE state < 2;
    DROP INDEX delivery_open;
    CREATE INDEX delivery_dead ON delivery (key) WHERE state = 4;
",
    ),
    (
        "journal of a node",
        "
    -- The version that all nodes know, and whether the shared copy still lacks it. A store of one node leaves both empty.
    ALTER TABLE record ADD COLUMN shared INTEGER;
    ALTER TABLE record ADD COLUMN pending INTEGER;
    ALTER TABLE delivery ADD COLUMN shared INTEGER;
    ALTER TABLE delivery ADD COLUMN pending INTEGER;
    CREATE INDEX record_pending ON record (tbl, key) WHERE pending = 1;
    CREATE INDEX delivery_pending ON delivery (submission) WHERE pending = 1;
    CREATE INDEX delivery_entrusted ON delivery (key) WHERE state = 5;
    -- What was deleted; table 0 is the deliveries.
    CREATE TABLE tombstone (
        tbl INTEGER NOT NULL,
        key BLOB NOT NULL,
        shared INTEGER NOT NULL,
        pending INTEGER NOT NULL,
        PRIMARY KEY (tbl, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX tombstone_pending ON tombstone (tbl, key) WHERE pending = 1;
    CREATE INDEX tombstone_age ON tombstone (shared);
    -- What concerns this node alone.
    CREATE TABLE node (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
",
    ),
];

/// The schema this program writes.
pub(super) const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

/// Marks the file as ours (`file(1)` shows it): "FMGT".
const APPLICATION_ID: i64 = 0x464d_4754;

/// Sets what must hold for the writing connection. Not one of these is configurable: `synchronous=NORMAL` alone loses
/// acknowledged submissions when the power fails.
pub(super) fn prepare_writer(connection: &Connection) -> Result<(), OpenError> {
    // Only has an effect before the first table exists.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let mode = journal_mode(connection, "WAL")?;
    if mode != "wal" {
        return Err(OpenError::NoLog { mode });
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    // macOS answers a plain fsync before the drive has the data.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    Ok(prepare_any(connection)?)
}

/// Changes the journal of the file; says which one it has then. It is asked to its end: it answers first and commits
/// afterwards, and who stops at the answer is not told that this failed.
pub(super) fn journal_mode(connection: &Connection, mode: &str) -> rusqlite::Result<String> {
    let mut statement = connection.prepare(&format!("PRAGMA journal_mode = {mode}"))?;
    let mut rows = statement.query([])?;
    let mut answer = String::new();
    while let Some(row) = rows.next()? {
        answer = row.get(0)?;
    }
    Ok(answer)
}

/// Pages of the log from which on a commit folds it in; SQLite's own number.
const LOG_PAGES: c_int = 1_000;

/// Has a commit fail if the log cannot be folded in after it. SQLite's own way says nothing of that and tries again. But what
/// it had copied before, and not synced because a reader was in the way, the system has dropped with the failed sync; the
/// next one says "fine", and the log that has the only copy is begun anew.
pub(super) fn watch_checkpoints(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.wal_hook(Some(|log: &mut Wal, pages: c_int| {
        if pages < LOG_PAGES {
            return Ok(());
        }
        match log.checkpoint() {
            // Somebody else is about it.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(()),
            folded => folded,
        }
    }))
}

/// Whether the log is folded in when the last connection is closed. Not by itself: after a failed sync that would lose what
/// only the log has, see [`watch_checkpoints`]. The next process reads it from its beginning.
pub(super) fn fold_in_when_closed(connection: &Connection, folds: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !folds).map(drop)
}

/// Sets what must hold for every connection.
pub(super) fn prepare_any(connection: &Connection) -> rusqlite::Result<()> {
    fold_in_when_closed(connection, false)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))
}

/// The schema version of the file; 0 for a new one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Applies what the file does not have yet, each step in its own transaction.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let from = usize::try_from(version(connection)?).unwrap_or(usize::MAX);
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(from) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", (index + 1) as i64)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.commit()?;
    }
    connection.execute_batch("CREATE TABLE IF NOT EXISTS addition (name TEXT PRIMARY KEY) STRICT")?;
    for (name, addition) in ADDITIONS {
        let transaction = connection.transaction()?;
        if transaction.execute("INSERT OR IGNORE INTO addition (name) VALUES (?1)", [name])? == 1 {
            transaction.execute_batch(addition)?;
        }
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_can_be_no_log_nothing_is_written() {
        let connection = Connection::open_in_memory().expect("a database");
        let refused = prepare_writer(&connection);
        assert!(matches!(refused, Err(OpenError::NoLog { ref mode }) if mode == "memory"), "{refused:?}");
    }

    #[test]
    fn a_log_is_folded_in_by_who_closes_the_file_last_only_if_that_is_wanted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.sqlite3");
        let log = || std::fs::metadata(path.with_extension("sqlite3-wal")).map_or(0, |log| log.len());
        let open = || {
            let connection = Connection::open(&path).expect("a file");
            prepare_writer(&connection).expect("settings");
            connection
        };
        let connection = open();
        connection.execute_batch("CREATE TABLE kept (it)").expect("a table");
        let reader = Connection::open(&path).expect("a file");
        prepare_any(&reader).expect("settings");
        reader.query_row("SELECT count(*) FROM kept", [], |_| Ok(())).expect("a read");
        drop(connection);
        drop(reader);
        assert!(log() > 0, "what only the log has may be all that there is");
        let connection = open();
        fold_in_when_closed(&connection, true).expect("settings");
        connection.execute_batch("INSERT INTO kept VALUES (1)").expect("a row");
        drop(connection);
        assert_eq!(log(), 0);
    }
}

//! A whole copy of the file while it is in use, checking it, and putting a copy in the place of nothing.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::{create_private_directory, medium, open_private_file, schema};
use crate::store::OpenError;

/// Pages copied at one time.
const PAGES: i32 = 2048;

/// Why a folder was not filled from a copy.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Something is there already.
    #[error("the data folder {} is not empty", directory.display())]
    NotEmpty {
        /// Which folder.
        directory: PathBuf,
    },
    /// The copy is not a store, or damaged.
    #[error("what was restored is not a sound store: {0}")]
    Unsound(String),
    /// A newer Formgate has written it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The folder or a file could not be written or read.
    #[error("cannot write to the data folder: {0}")]
    Io(#[from] io::Error),
}

pub(super) fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    schema::prepare_any(&connection)?;
    Ok(connection)
}

/// Copies the state of one moment. Nobody waits for it: it reads a snapshot.
pub(super) fn copy(from: &Path, to: &Path) -> rusqlite::Result<()> {
    let source = read_only(from)?;
    // Held to the end: without it the copy would begin again after every commit.
    source.execute_batch("BEGIN")?;
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    let mut copy = Connection::open(to)?;
    {
        let backup = Backup::new(&source, &mut copy)?;
        loop {
            match backup.step(PAGES)? {
                StepResult::Done => break,
                StepResult::More => {}
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
    source.execute_batch("COMMIT")?;
    // One file, without a log beside it.
    schema::journal_mode(&copy, "DELETE")?;
    copy.close().map_err(|(_, error)| error)
}

/// What a copy of the store in this folder takes: its file, and what its log may add to that.
pub(in crate::store) fn bytes(directory: &Path) -> io::Result<u64> {
    let log = std::fs::metadata(directory.join("store.sqlite3-wal")).map_or(0, |log| log.len());
    Ok(std::fs::metadata(directory.join("store.sqlite3"))?.len().saturating_add(log))
}

/// What SQLite finds wrong with a file; nothing if it is sound.
pub(in crate::store) fn faults(path: &Path) -> rusqlite::Result<Vec<String>> {
    let connection = read_only(path)?;
    let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
    let found = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}

/// Fills an empty data folder: `fill` writes the copy, which is checked before it gets its name.
pub(in crate::store) fn restore(
    directory: &Path,
    keep: &[PathBuf],
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), RestoreError> {
    create_private_directory(directory)?;
    medium::check(directory)?;
    let lock_path = directory.join("store.lock");
    let is_foreign = |entry: io::Result<std::fs::DirEntry>| match entry {
        Ok(entry) => !keep.iter().any(|kept| same_file(kept, &entry.path())),
        Err(_) => true,
    };
    if std::fs::read_dir(directory)?.any(is_foreign) {
        return Err(RestoreError::NotEmpty { directory: directory.to_owned() });
    }
    let lock = open_private_file(&lock_path)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::InUse { directory: directory.to_owned() },
        TryLockError::Error(error) => OpenError::Io(error),
    })?;
    let (half, whole) = (directory.join("store.restoring"), directory.join("store.sqlite3"));
    let filled = fill_and_check(&half, fill);
    let done = filled.and_then(|()| Ok(std::fs::rename(&half, &whole)?));
    if done.is_err() {
        // The folder is left as empty as it was found, so that the next attempt is not refused.
        let _left = (std::fs::remove_file(&half), std::fs::remove_file(&lock_path));
    }
    done?;
    Ok(File::open(directory)?.sync_all()?)
}

fn fill_and_check(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), RestoreError> {
    let mut file = open_private_file(path)?;
    fill(&mut file)?;
    file.sync_all()?;
    drop(file);
    let unsound = |error: rusqlite::Error| RestoreError::Unsound(error.to_string());
    let connection = read_only(path).map_err(unsound)?;
    let (found, known) = (schema::version(&connection).map_err(unsound)?, schema::SCHEMA_VERSION);
    drop(connection);
    if found > known {
        return Err(OpenError::Newer { found, known }.into());
    }
    match faults(path).map_err(unsound)?.first() {
        None if found > 0 => Ok(()),
        None => Err(RestoreError::Unsound("it holds no tables of Formgate".to_owned())),
        Some(fault) => Err(RestoreError::Unsound(fault.clone())),
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

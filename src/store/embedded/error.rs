//! What is said when the store cannot be opened.

use std::path::PathBuf;

/// Why the store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has this folder.
    #[error("another process is using the data folder {}", directory.display())]
    InUse {
        /// Which folder.
        directory: PathBuf,
    },
    /// A newer Formgate has written this file.
    #[error("the store has schema {found}, this program knows up to {known}: use the newer program")]
    Newer {
        /// The schema of the file.
        found: i64,
        /// The newest schema this program knows.
        known: i64,
    },
    /// The SQLite linked in is too old to be safe.
    #[error("SQLite {found} can corrupt its log; 3.51.3 or newer is needed")]
    OldSqlite {
        /// Its version.
        found: &'static str,
    },
    /// The folder is on another machine.
    #[error(
        "{} is on {kind}, which may lose or tear what was synced: use a disk of this machine, or a block volume. Nodes share by Redis, each with a folder of its own",
        directory.display()
    )]
    OtherMachine {
        /// Which folder.
        directory: PathBuf,
        /// What it is on.
        kind: &'static str,
    },
    /// SQLite did not begin a write-ahead log, and calls that no error.
    #[error(
        "the store cannot have a write-ahead log here (its journal mode is {mode}), so a power loss could take what was acknowledged: use a file system of a disk of this machine"
    )]
    NoLog {
        /// What it has instead.
        mode: String,
    },
    /// The file did not pass SQLite's own check.
    #[error("the store is damaged: restore it from a backup")]
    Damaged,
    /// The folder or a file in it could not be made or opened.
    #[error("cannot use the data folder: {0}")]
    Io(#[from] std::io::Error),
    /// SQLite refused.
    #[error("cannot open the store: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

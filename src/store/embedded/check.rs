//! The check of a file that is too large to be checked before it is used, after a stop that was not clean.
//!
//! It runs beside everything else, on a connection of its own that cannot write. A damage found ends nothing, because what is
//! readable should still get home; the store is not ready any more, so nobody is sent to it, until it was restored.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, InterruptHandle};

use super::backup;

/// What SQLite finds first, if it finds anything.
pub(super) fn first_fault(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((verdict != "ok").then_some(verdict))
}

type Running = Option<(InterruptHandle, JoinHandle<()>)>;

/// A check that runs, has run, or was not needed.
#[derive(Clone, Default)]
pub(super) struct Check {
    damaged: Arc<AtomicBool>,
    running: Arc<Mutex<Running>>,
}

impl Check {
    /// Begins to check this file.
    pub(super) fn begin(path: &Path) -> Result<Self, super::OpenError> {
        let connection = backup::read_only(path)?;
        let interrupt = connection.get_interrupt_handle();
        let check = Self::default();
        let damaged = Arc::clone(&check.damaged);
        let thread = std::thread::Builder::new().name("store-check".into()).spawn(move || {
            tracing::info!("the last stop was not clean; the store is checked while it is used");
            match first_fault(&connection) {
                Ok(None) => tracing::info!("the store is sound"),
                Ok(Some(fault)) => Self::found(&damaged, &fault),
                Err(error) => match error.sqlite_error_code() {
                    Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                        Self::found(&damaged, &error.to_string());
                    }
                    Some(ErrorCode::OperationInterrupted) => {}
                    _ => {
                        tracing::warn!(%error, "the store could not be checked; formgate store check does it")
                    }
                },
            }
        })?;
        *check.running.lock().unwrap_or_else(PoisonError::into_inner) = Some((interrupt, thread));
        Ok(check)
    }

    fn found(damaged: &AtomicBool, fault: &str) {
        damaged.store(true, Ordering::SeqCst);
        tracing::error!(fault, "the store is damaged: restore it from a backup");
    }

    /// Whether it has found a damage.
    pub(super) fn has_found_damage(&self) -> bool {
        self.damaged.load(Ordering::SeqCst)
    }

    /// Ends it wherever it is. Blocks for a moment.
    pub(super) fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((interrupt, thread)) = running else { return };
        // An interruption that comes before the check has begun is lost.
        while !thread.is_finished() {
            interrupt.interrupt();
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.join().is_err() {
            tracing::error!("the check of the store panicked");
        }
    }
}

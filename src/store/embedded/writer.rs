//! The one thread that writes, and its group commit.
//!
//! It takes everything that is queued (never waiting for more), does it in one transaction with a savepoint per
//! operation, syncs once, and only then answers. On any failure of the database it stops for good: after a failed sync
//! nobody knows what is on the disk, and trying the sync again would be told "fine" without the data being there.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::chain::SharedMac;
use super::erase;
use super::schema;
use super::statements::Statements;
use crate::store::{Error, Fatal};

/// Operations in one transaction.
const MAX_GROUP: usize = 256;
/// Operations that may wait; beyond that the caller is told to come back.
const MAX_QUEUED: usize = 1024;

/// Breaks a promise on purpose, so that the fault tests prove they can fail.
#[cfg(feature = "faults")]
#[derive(Debug, Clone, Copy, Default)]
pub struct FaultSwitches {
    /// Answers before the commit, and leaves time for the process to be killed in between.
    pub ack_early: bool,
    /// Syncs the log only when it is folded in, as many programs set SQLite up.
    pub sync_normal: bool,
    /// Acknowledges what could not be committed, and goes on.
    pub swallow_errors: bool,
}

/// What an operation leaves behind until the group is committed.
struct Effect {
    keep: bool,
    acknowledge: Box<dyn FnOnce() + Send>,
}

type Operation = Box<dyn FnOnce(&mut Statements<'_>) -> rusqlite::Result<Effect> + Send>;

enum Job {
    Write(Operation),
    /// Outside of any transaction; says whether it was complete.
    Scrub(oneshot::Sender<bool>),
    Close,
}

/// The sending side of the queue.
#[derive(Clone)]
pub(super) struct Writer {
    queue: SyncSender<Job>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(
        connection: Connection,
        fatal: watch::Sender<Option<Fatal>>,
        mac: SharedMac,
        is_journal: bool,
        #[cfg(feature = "faults")] faults: FaultSwitches,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, jobs) = sync_channel(MAX_QUEUED);
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || {
            let writing = Writing {
                jobs,
                mac,
                is_journal,
                #[cfg(feature = "faults")]
                faults,
            };
            // Whatever ends the thread, the process has to learn of it.
            let ended = std::panic::catch_unwind(AssertUnwindSafe(|| writing.run(&connection)));
            match ended {
                Ok(Ok(())) => {}
                Ok(Err((operation, error))) => {
                    let code = error.sqlite_error().map(|error| error.extended_code);
                    tracing::error!(operation, ?code, %error, "the store failed and has stopped");
                    fatal.send_replace(Some(Fatal { operation, code }));
                }
                Err(_panic) => {
                    tracing::error!("the store's writer panicked and has stopped");
                    fatal.send_replace(Some(Fatal { operation: "panic", code: None }));
                }
            }
        })?;
        Ok((Self { queue }, thread))
    }

    /// Queues an operation and waits for its commit. An `Err` inside the operation undoes that operation alone.
    pub(super) async fn write<T, F>(&self, operation: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Statements<'_>) -> rusqlite::Result<Result<T, Error>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.queue
            .try_send(Job::Write(Box::new(move |statements| {
                let result = operation(statements)?;
                let keep = result.is_ok();
                // A caller that went away has still had its work done.
                Ok(Effect { keep, acknowledge: Box::new(move || drop(answer.send(result))) })
            })))
            .map_err(|refused| match refused {
                TrySendError::Full(_) => Error::Busy,
                TrySendError::Disconnected(_) => Error::Unavailable,
            })?;
        answered.await.unwrap_or(Err(Error::Unavailable))
    }

    /// Has the files scrubbed between two groups.
    pub(super) async fn scrub(&self) -> Result<bool, Error> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Job::Scrub(answer)).map_err(|refused| match refused {
            TrySendError::Full(_) => Error::Busy,
            TrySendError::Disconnected(_) => Error::Unavailable,
        })?;
        answered.await.map_err(|_stopped| Error::Unavailable)
    }

    /// Asks the thread to end after what is queued. Blocks while the queue is full.
    pub(super) fn stop(&self) {
        // An error means that it has ended already.
        drop(self.queue.send(Job::Close));
    }
}

struct Writing {
    jobs: Receiver<Job>,
    mac: SharedMac,
    is_journal: bool,
    #[cfg(feature = "faults")]
    faults: FaultSwitches,
}

type Failure = (&'static str, rusqlite::Error);

impl Writing {
    fn run(&self, connection: &Connection) -> Result<(), Failure> {
        let mut statements = Statements::prepare(connection, self.mac.clone(), self.is_journal)
            .map_err(|error| ("prepare", error))?;
        let mut open = true;
        while open && let Ok(first) = self.jobs.recv() {
            let (mut group, mut scrubs) = (Vec::new(), Vec::new());
            let mut next = Ok(first);
            loop {
                match next {
                    Ok(Job::Write(operation)) => group.push(operation),
                    Ok(Job::Scrub(answer)) => scrubs.push(answer),
                    Ok(Job::Close) | Err(TryRecvError::Disconnected) => {
                        open = false;
                        break;
                    }
                    Err(TryRecvError::Empty) => break,
                }
                if group.len() == MAX_GROUP {
                    break;
                }
                next = self.jobs.try_recv();
            }
            if !group.is_empty() {
                self.commit(&mut statements, group)?;
            }
            if !scrubs.is_empty() {
                let complete = erase::scrub(connection).map_err(|error| ("scrub", error))?;
                for answer in scrubs {
                    let _gone = answer.send(complete);
                }
            }
        }
        drop(statements);
        let folded = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        // Only now is the log one that may go with the last connection.
        let removed = folded.and_then(|()| schema::fold_in_when_closed(connection, true));
        removed.map_err(|error| ("checkpoint", error))
    }

    fn commit(&self, statements: &mut Statements<'_>, group: Vec<Operation>) -> Result<(), Failure> {
        let mut acknowledgements = Vec::with_capacity(group.len());
        statements.begin().map_err(|error| ("begin", error))?;
        for operation in group {
            statements.savepoint().map_err(|error| ("savepoint", error))?;
            let effect = operation(statements).map_err(|error| ("write", error))?;
            if !effect.keep {
                statements.undo().map_err(|error| ("rollback", error))?;
            }
            statements.release().map_err(|error| ("savepoint", error))?;
            acknowledgements.push(effect.acknowledge);
        }
        #[cfg(feature = "faults")]
        if self.faults.ack_early {
            acknowledgements.drain(..).for_each(|acknowledge| acknowledge());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        // With synchronous=FULL this returns after the log was synced.
        let committed = statements.commit().map_err(|error| ("commit", error));
        #[cfg(feature = "faults")]
        let committed =
            if self.faults.swallow_errors { committed.or_else(|_| statements.abandon()) } else { committed };
        committed?;
        acknowledgements.into_iter().for_each(|acknowledge| acknowledge());
        Ok(())
    }
}

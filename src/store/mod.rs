//! What Formgate keeps: records in tables, deliveries under leases, and one way to change them.
//!
//! Invariant: [`Backend::commit`] returns `Ok` only after everything in its [`Batch`] is in one committed transaction that
//! was synced to disk. There is no weaker setting. What changes together is in one batch; nothing else is a transaction.
//!
//! [`Store`] is a cheap handle over a [`Backend`]: the embedded one (SQLite), or the one of a node that shares its records
//! with others by Redis and keeps the embedded one as its journal. Both pass the same tests: a batch is preconditions, puts and deletes with no code in between, lease
//! operations have names, and time is always an argument. The store gives values no meaning: it neither seals nor reads
//! them, and it knows no schedule and no retry policy.

mod bucket;
mod chain;
mod cluster;
mod embedded;
mod erasure;
mod record;
pub mod redis;
mod table;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

pub use bucket::{MAX_PATIENCE_MS, Rate, Tokens};
pub use chain::{Head, Link, Mac};
pub use cluster::{Pace, SharedOpenError, SharedOptions, SharedTime, Tasks};
#[cfg(feature = "faults")]
pub use embedded::FaultSwitches;
pub use embedded::{MIN_SQLITE_VERSION, OpenError, Options, RestoreError};
pub use erasure::{Erased, Erasure, Rewrite, Settled, trace};
pub use record::{
    Batch, Claim, Delivery, DeliveryFilter, DeliveryState, Expectation, Lane, NewDelivery, Precondition, Put,
    QueueDepth, Record, Reopen, Reopened, Scan, Settlement, Verdict, Version,
};
pub use table::{Later, Table};

/// Why an operation of the store was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue of writes is full, or no reader became free; nothing was queued, so the caller may try again.
    #[error("the store has more work queued than it may hold")]
    Busy,
    /// The store has stopped, or stopped while this operation was queued; whether it was done is not known.
    #[error("the store has stopped")]
    Unavailable,
    /// A precondition did not hold, so nothing of the batch was done.
    #[error("precondition {index} of the batch does not hold")]
    Conflict {
        /// Which precondition, counted in the order of the batch.
        index: usize,
        /// What stands there instead, if anything.
        existing: Option<Record>,
    },
    /// The lease named is no longer the valid one, so nothing was changed.
    #[error("the lease is no longer valid")]
    StaleLease,
    /// What all nodes have cannot be seen now.
    #[error(
        "what all nodes have cannot be seen now: Redis is out of reach, or a node has not told it everything yet"
    )]
    Incomplete,
    /// It is in the store, and not yet where it has to be before anybody is told so.
    #[error("the shared store has not confirmed it in time")]
    Unconfirmed,
    /// What can be read is, but the file is damaged and has to be restored.
    #[error("the store is damaged: restore it from a backup")]
    Damaged,
    /// A read failed.
    #[error("the store could not be read")]
    Read(#[source] rusqlite::Error),
}

/// Why the store stopped for good. The process must end: what a failed sync left on disk is only known after a restart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store failed at {operation} (SQLite code {code:?})")]
pub struct Fatal {
    /// What was being done.
    pub operation: &'static str,
    /// SQLite's extended result code, if the failure has one.
    pub code: Option<i32>,
}

/// How many days a node may be away: as long it is remembered what was deleted meanwhile, or it would bring that back.
pub const AWAY_DAYS: i64 = 35;

/// How a node stands to the store that it shares with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether the shared copy is within reach.
    pub reachable: bool,
    /// Whether it has everything that this node has.
    pub told: bool,
    /// Submissions that are on this node's disk alone.
    pub single_copy: u64,
    /// How long the shared copy has been out of reach.
    pub out_for: std::time::Duration,
}

/// The future of one operation; boxed, so that a backend can stand behind a trait object.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// What a store has to do. Every method that writes is atomic, durable when it returns `Ok`, and is carried out even if
/// its future is dropped after the first poll.
pub trait Backend: Send + Sync {
    /// Applies a whole batch or nothing of it.
    fn commit(&self, batch: Batch) -> Pending<'_, ()>;
    /// Leases deliveries of a destination that are due, or whose lease ended, the oldest of a lane first; none while there
    /// is a record of the destination in [`Table::Pause`]. A delivery that cannot be decoded is made dead and passed over.
    fn claim_lanes(&self, claim: Claim) -> Pending<'_, Vec<Delivery>>;
    /// Takes up to `wanted` tokens from the bucket of an account; the same rate has to be given each time. Without a rate it
    /// tells only whether the account has asked for patience.
    fn take_tokens<'a>(
        &'a self,
        account: &'a str,
        rate: Option<Rate>,
        wanted: u32,
        now_ms: i64,
    ) -> Pending<'a, Tokens>;
    /// Puts tokens back with which nothing was begun.
    fn give_tokens_back<'a>(&'a self, account: &'a str, rate: Option<Rate>, unused: u32) -> Pending<'a, ()>;
    /// Empties the bucket of an account until this time, [`MAX_PATIENCE_MS`] from now at most.
    fn slow_down<'a>(
        &'a self,
        account: &'a str,
        rate: Option<Rate>,
        until_ms: i64,
        now_ms: i64,
    ) -> Pending<'a, ()>;
    /// Whether other processes work on the same deliveries: then nobody tells this one that something is due.
    fn is_shared(&self) -> bool {
        false
    }
    /// Has all of a submission on the disk of this process, which may then say again that it is kept: whoever stored it may
    /// have died before its own disk had it. Whether it was not there: then [`Backend::keep_copies`] is to be given what belongs
    /// to it and no trace names.
    fn adopt(&self, _submission: [u8; 16]) -> Pending<'_, bool> {
        Box::pin(std::future::ready(Ok(false)))
    }
    /// Has these records on the disk of this process, as far as there are any.
    fn keep_copies(&self, _records: Vec<(Table, Vec<u8>)>) -> Pending<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// Has these records where they survive the loss of this process's disk, if the store is to wait for that: to be asked
    /// before anything is acknowledged, for the first time or again.
    fn confirm(&self, _records: Vec<(Table, Vec<u8>)>) -> Pending<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// Prolongs a lease that is still the valid one, also after it ended if nobody has claimed the delivery since.
    fn renew(&self, key: [u8; 16], lease: u64, until_ms: i64) -> Pending<'_, ()>;
    /// Ends a lease with its outcome.
    fn settle(&self, key: [u8; 16], lease: u64, settlement: Settlement) -> Pending<'_, ()>;
    /// Makes a dead delivery due again with a new budget of attempts.
    fn reopen(&self, key: [u8; 16], due_at_ms: i64, puts: Vec<Put>) -> Pending<'_, Reopened>;
    /// Brings due times back that lie further ahead than any schedule goes, as after a clock that ran wrong.
    fn clamp_due(&self, latest_ms: i64) -> Pending<'_, u64>;
    /// Deletes up to `limit` records whose time is over.
    fn purge_expired(&self, now_ms: i64, limit: u32) -> Pending<'_, u64>;
    /// Gives the audit chain its key; audit records put before have no link. Only the first key counts.
    fn chain_audit(&self, mac: Arc<dyn Mac>);
    /// The record with which a chain begins, to be put together with its sealed key.
    fn chain_beginning(&self, mac: &dyn Mac) -> Put;
    /// The last link of the audit chain; `None` if the head is gone or was not sealed with this key.
    fn chain_head(&self, mac: Arc<dyn Mac>) -> Pending<'_, Option<Head>>;
    /// What the chain stands on, if its oldest links were taken off; `None` also if that was not sealed with this key.
    fn chain_start(&self, mac: Arc<dyn Mac>) -> Pending<'_, Option<Head>>;
    /// Deletes up to `limit` of the oldest audit records whose keys are before this one, and takes their links off the chain;
    /// says how many it may have been. Nothing that was changed is deleted.
    fn trim_audit(&self, before: Vec<u8>, limit: u32) -> Pending<'_, u64>;
    /// Reads links of the audit chain in their order.
    fn trail(&self, after: u64, limit: u32) -> Pending<'_, Vec<Link>>;
    /// Deletes a submission with its deliveries and every record that a trace of it names.
    fn erase(&self, erasure: Erasure) -> Pending<'_, Erased>;
    /// Keys of timeline records that have no trace: an older release wrote them.
    fn untraced(&self, limit: u32) -> Pending<'_, Vec<Vec<u8>>>;
    /// Overwrites what deleted records left in the files. `false` if it has to be asked for again, later.
    fn scrub(&self) -> Pending<'_, bool>;
    /// Has the shared copy write its log anew without what was erased: within the hour, or at once.
    fn rewrite_log(&self, _at_once: bool) -> Pending<'_, Rewrite> {
        Box::pin(std::future::ready(Ok(Rewrite::Done)))
    }
    /// Writes a whole copy of one moment to a new file. Nobody waits for it.
    fn copy_to(&self, path: PathBuf) -> Pending<'_, ()>;
    /// What is wrong with the files; nothing if they are sound.
    fn faults(&self) -> Pending<'_, Vec<String>>;
    /// Reads one record, expired or not.
    fn get<'a>(&'a self, table: Table, key: &'a [u8]) -> Pending<'a, Option<Record>>;
    /// Reads records in the order of their keys.
    fn scan(&self, table: Table, scan: Scan) -> Pending<'_, Vec<(Vec<u8>, Record)>>;
    /// The same for whoever must see all that any node has, or be told that this cannot be done now: [`Error::Incomplete`].
    fn scan_all(&self, table: Table, scan: Scan) -> Pending<'_, Vec<(Vec<u8>, Record)>> {
        self.scan(table, scan)
    }
    /// Reads one delivery.
    fn delivery(&self, key: [u8; 16]) -> Pending<'_, Option<Delivery>>;
    /// Reads deliveries in the order of their keys, after `cursor`.
    fn deliveries(
        &self,
        filter: DeliveryFilter,
        cursor: Option<[u8; 16]>,
        limit: u32,
    ) -> Pending<'_, Vec<Delivery>>;
    /// The same for whoever must see all that any node has: [`Error::Incomplete`].
    fn deliveries_all(
        &self,
        filter: DeliveryFilter,
        cursor: Option<[u8; 16]>,
        limit: u32,
    ) -> Pending<'_, Vec<Delivery>> {
        self.deliveries(filter, cursor, limit)
    }
    /// When the next delivery in each lane of a destination is due or its lease ends, in the order of [`Lane::ALL`].
    fn next_due<'a>(&'a self, destination: &'a str) -> Pending<'a, [Option<i64>; 3]>;
    /// How many deliveries each destination has in each state.
    fn depths(&self) -> Pending<'_, Vec<QueueDepth>>;
    /// Whether what is acknowledged could be kept, and nothing of what was is damaged: the disk of this process decides it, and the shared store only where
    /// acknowledgements wait for it.
    fn ready(&self) -> Pending<'_, ()>;
    /// The audit records that this process's chain is over; another node's are not among them.
    fn own_audit(&self, scan: Scan) -> Pending<'_, Vec<(Vec<u8>, Record)>> {
        self.scan(Table::Audit, scan)
    }
    /// The name of this node, if the store is shared by several.
    fn node(&self) -> Option<&str> {
        None
    }
    /// How this node stands to the others, if the store is shared.
    fn standing(&self) -> Option<Standing> {
        None
    }
    /// Counts what other nodes change in a table that every node has a copy of. Without other nodes its sender is gone.
    fn changes(&self, _table: Table) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
    /// Becomes `Some` when the store has stopped for good.
    fn fatal(&self) -> watch::Receiver<Option<Fatal>>;
    /// Finishes what is queued, folds the log into the file and gives up the lock.
    fn close(&self) -> Pending<'_, ()>;
}

/// The handle everybody holds.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Store")
    }
}

impl Store {
    /// Opens the embedded store, made on first use. Blocks on the disk: call it at start, or from a blocking task.
    pub fn open_embedded(options: &Options) -> Result<Self, OpenError> {
        Ok(Self { backend: Arc::new(embedded::Embedded::open(options)?) })
    }

    /// Opens the store of a node that shares it with others by Redis. Somebody has to run the [`Tasks`].
    pub async fn open_shared(options: SharedOptions) -> Result<(Self, Tasks), SharedOpenError> {
        let (cluster, tasks) = cluster::Cluster::open(options).await?;
        Ok((Self { backend: Arc::new(cluster) }, tasks))
    }

    /// Leases up to `limit` deliveries of a destination, lane by lane.
    pub async fn claim(
        &self,
        destination: &str,
        now_ms: i64,
        lease_ms: i64,
        limit: u32,
    ) -> Result<Vec<Delivery>, Error> {
        let (destination, shares, limits) = (destination.to_owned(), [limit; 3], [limit; 3]);
        self.backend.claim_lanes(Claim { destination, now_ms, lease_ms, shares, limits }).await
    }

    /// Fills an empty data folder with a copy that [`Backend::copy_to`] made; `keep` may lie in it already. Blocks on the
    /// disk.
    pub fn restore_embedded(
        directory: &Path,
        keep: &[PathBuf],
        fill: impl FnOnce(&mut std::fs::File) -> std::io::Result<()>,
    ) -> Result<(), RestoreError> {
        embedded::restore(directory, keep, fill)
    }

    /// How many bytes a copy of the store in this data folder takes at most. Blocks on the disk.
    pub fn bytes_of_copy(directory: &Path) -> std::io::Result<u64> {
        embedded::bytes(directory)
    }

    /// What is wrong with a copy; nothing if it is sound. Blocks on the disk.
    pub fn faults_of_copy(path: &Path) -> Result<Vec<String>, Error> {
        embedded::faults(path).map_err(Error::Read)
    }

    /// Stands on a backend made elsewhere.
    #[must_use]
    pub fn from_backend(backend: Arc<dyn Backend>) -> Self {
        Self { backend }
    }
}

impl std::ops::Deref for Store {
    type Target = dyn Backend;

    fn deref(&self) -> &Self::Target {
        &*self.backend
    }
}

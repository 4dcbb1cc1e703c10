//! The embedded store: one SQLite file in the data folder, one writing thread, a few reading connections.
//!
//! Measured and argued in the reliability notes: write-ahead log with `synchronous=FULL` lost nothing in 200 kills and
//! 80 simulated power losses; `NORMAL` lost acknowledged records, so it cannot be chosen.

mod backup;
mod chain;
mod check;
mod erase;
mod error;
mod journal;
mod medium;
mod private;
mod range;
mod reader;
mod schema;
mod statements;
mod writer;

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use tokio::sync::watch;

use self::chain::SharedMac;
use self::check::Check;
use self::private::{create_private_directory, open_private_file};
use self::range::bounds;
use self::reader::Readers;
use self::writer::Writer;
use super::bucket::Buckets;
use super::{
    Backend, Batch, Claim, Delivery, DeliveryFilter, DeliveryState, Erased, Erasure, Error, Fatal, Head,
    Lane, Link, Mac, Pending, Put, QueueDepth, Rate, Record, Reopened, Scan, Settlement, Table, Tokens,
};
use crate::fault;

pub(in crate::store) use self::journal::{
    Answer, CURSOR, ID, Kept, Kind, OFFERED, PEERS, Part, Pulled, SEEN, Stamp, What,
};
pub(in crate::store) use self::range::prefix_end;

pub use self::backup::RestoreError;
pub(super) use self::backup::{bytes, faults, restore};
pub use self::error::OpenError;
#[cfg(feature = "faults")]
pub use self::writer::FaultSwitches;

/// Older ones can corrupt a write-ahead log that two connections checkpoint at once (3.7.0 to 3.51.2).
pub const MIN_SQLITE_VERSION: i32 = 3_051_003;

/// After a stop that was not clean a file of this size is checked while it is used, a smaller one before.
const CHECKED_IN_USE_BYTES: u64 = 1 << 30;

/// Where the embedded store lives.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data folder; made, for this user alone, if it is absent.
    pub directory: PathBuf,
    /// From which size on the file is checked while it is used, after a stop that was not clean; a smaller one is before.
    pub checked_in_use_bytes: u64,
    /// Whether it is the journal of a node, and what it holds is also in a shared store.
    pub(in crate::store) journal: bool,
    /// Promises to break.
    #[cfg(feature = "faults")]
    pub faults: FaultSwitches,
}

impl Options {
    /// The store in this folder.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            checked_in_use_bytes: CHECKED_IN_USE_BYTES,
            journal: false,
            #[cfg(feature = "faults")]
            faults: FaultSwitches::default(),
        }
    }
}

/// The embedded backend.
pub(super) struct Embedded {
    writer: Writer,
    readers: Readers,
    thread: Mutex<Option<JoinHandle<()>>>,
    fatal: watch::Sender<Option<Fatal>>,
    check: Check,
    mac: SharedMac,
    buckets: Buckets,
    path: PathBuf,
    /// The column of a record's version.
    version: &'static str,
    // Held as long as the store is open; the system gives it up when the process dies.
    lock: File,
}

impl Embedded {
    pub(super) fn open(options: &Options) -> Result<Self, OpenError> {
        if rusqlite::version_number() < MIN_SQLITE_VERSION {
            return Err(OpenError::OldSqlite { found: rusqlite::version() });
        }
        let directory = &options.directory;
        create_private_directory(directory)?;
        medium::check(directory)?;
        let lock = open_private_file(&directory.join("store.lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse { directory: directory.clone() },
            TryLockError::Error(error) => OpenError::Io(error),
        })?;

        let path = directory.join("store.sqlite3");
        // A log that was not folded in: the last process did not close the store.
        let unclean = std::fs::metadata(directory.join("store.sqlite3-wal")).is_ok_and(|wal| wal.len() > 0);
        // Made here, because SQLite would make it readable for others; its log and index inherit the mode.
        drop(open_private_file(&path)?);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags)?;
        let found = schema::version(&connection)?;
        if found > schema::SCHEMA_VERSION {
            return Err(OpenError::Newer { found, known: schema::SCHEMA_VERSION });
        }
        schema::prepare_writer(&connection)?;
        schema::watch_checkpoints(&mut connection)?;
        #[cfg(feature = "faults")]
        if options.faults.sync_normal {
            connection.pragma_update(None, "synchronous", "NORMAL")?;
        }
        let in_use = std::fs::metadata(&path)?.len() >= options.checked_in_use_bytes;
        if unclean && !in_use && check::first_fault(&connection)?.is_some() {
            return Err(OpenError::Damaged);
        }
        schema::migrate(&mut connection)?;
        // This process has the folder alone, so whoever held these leases is dead: no reason to wait for them to end.
        // Zero is before every other due time: what was under way goes on first. It is no age, see `depths`.
        connection.execute("UPDATE delivery SET state = 0, due_at_ms = 0 WHERE state = 1", [])?;
        if options.journal {
            journal::join(&connection)?;
        } else {
            journal::leave(&connection)?;
        }
        // Without this a power loss may forget that the files exist.
        File::open(directory)?.sync_all()?;

        let readers = Readers::open(&path)?;
        let check = if unclean && in_use { Check::begin(&path)? } else { Check::default() };
        let (fatal, _) = watch::channel(None);
        let mac = SharedMac::default();
        let (writer, thread) = Writer::start(
            connection,
            fatal.clone(),
            Arc::clone(&mac),
            options.journal,
            #[cfg(feature = "faults")]
            options.faults,
        )?;
        Ok(Self {
            writer,
            readers,
            thread: Mutex::new(Some(thread)),
            fatal,
            check,
            mac,
            buckets: Buckets::default(),
            path,
            version: statements::version_column(options.journal),
            lock,
        })
    }

    fn take_thread(&self) -> Option<JoinHandle<()>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.check.stop();
        end(&self.writer, self.take_thread());
    }
}

fn end(writer: &Writer, thread: Option<JoinHandle<()>>) {
    writer.stop();
    if thread.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("the store's writer panicked");
    }
}

impl Backend for Embedded {
    fn commit(&self, batch: Batch) -> Pending<'_, ()> {
        Box::pin(self.writer.write(move |statements| {
            let applied = statements.apply(&batch);
            if !batch.deliveries.is_empty() {
                fault::point("store.in_transaction");
            }
            applied
        }))
    }

    fn claim_lanes(&self, claim: Claim) -> Pending<'_, Vec<Delivery>> {
        Box::pin(self.writer.write(move |statements| statements.claim(&claim).map(Ok)))
    }

    fn take_tokens<'a>(
        &'a self,
        account: &'a str,
        rate: Option<Rate>,
        wanted: u32,
        now_ms: i64,
    ) -> Pending<'a, Tokens> {
        self.buckets.with(account, |bucket| bucket.take(rate, wanted, now_ms))
    }

    fn give_tokens_back<'a>(&'a self, account: &'a str, rate: Option<Rate>, unused: u32) -> Pending<'a, ()> {
        self.buckets.with(account, |bucket| bucket.give_back(rate, unused))
    }

    fn slow_down<'a>(
        &'a self,
        account: &'a str,
        rate: Option<Rate>,
        until_ms: i64,
        now_ms: i64,
    ) -> Pending<'a, ()> {
        self.buckets.with(account, |bucket| bucket.slow_down(rate, until_ms, now_ms))
    }

    fn renew(&self, key: [u8; 16], lease: u64, until_ms: i64) -> Pending<'_, ()> {
        Box::pin(self.writer.write(move |statements| statements.renew(key, lease, until_ms)))
    }

    fn settle(&self, key: [u8; 16], lease: u64, settlement: Settlement) -> Pending<'_, ()> {
        Box::pin(self.writer.write(move |statements| statements.settle(key, lease, &settlement)))
    }

    fn reopen(&self, key: [u8; 16], due_at_ms: i64, puts: Vec<Put>) -> Pending<'_, Reopened> {
        Box::pin(self.writer.write(move |statements| statements.reopen(key, due_at_ms, &puts).map(Ok)))
    }

    fn clamp_due(&self, latest_ms: i64) -> Pending<'_, u64> {
        Box::pin(self.writer.write(move |statements| statements.clamp_due(latest_ms).map(Ok)))
    }

    fn purge_expired(&self, now_ms: i64, limit: u32) -> Pending<'_, u64> {
        Box::pin(self.writer.write(move |statements| statements.purge_expired(now_ms, limit).map(Ok)))
    }

    fn chain_audit(&self, mac: Arc<dyn Mac>) {
        // A second key would break the chain that the first one began.
        let _first_counts = self.mac.set(mac);
    }

    fn chain_beginning(&self, mac: &dyn Mac) -> Put {
        chain::beginning(mac)
    }

    fn chain_head(&self, mac: Arc<dyn Mac>) -> Pending<'_, Option<Head>> {
        Box::pin(self.readers.read(move |connection| chain::head(connection, &*mac)))
    }

    fn chain_start(&self, mac: Arc<dyn Mac>) -> Pending<'_, Option<Head>> {
        Box::pin(self.readers.read(move |connection| chain::start(connection, &*mac)))
    }

    fn trim_audit(&self, before: Vec<u8>, limit: u32) -> Pending<'_, u64> {
        Box::pin(self.writer.write(move |statements| statements.trim_audit(&before, limit).map(Ok)))
    }

    fn trail(&self, after: u64, limit: u32) -> Pending<'_, Vec<Link>> {
        Box::pin(self.readers.read(move |connection| chain::trail(connection, after, limit)))
    }

    fn erase(&self, erasure: Erasure) -> Pending<'_, Erased> {
        Box::pin(self.writer.write(move |statements| statements.erase(&erasure).map(Ok)))
    }

    fn untraced(&self, limit: u32) -> Pending<'_, Vec<Vec<u8>>> {
        Box::pin(self.readers.read(move |connection| erase::untraced(connection, limit)))
    }

    fn scrub(&self) -> Pending<'_, bool> {
        Box::pin(self.writer.scrub())
    }

    fn copy_to(&self, path: PathBuf) -> Pending<'_, ()> {
        let from = self.path.clone();
        // On a connection of its own: it takes long, and readers are few.
        Box::pin(async move {
            let copying = tokio::task::spawn_blocking(move || {
                drop(open_private_file(&path));
                backup::copy(&from, &path)
            });
            copying.await.map_err(|_panic| Error::Unavailable)?.map_err(Error::Read)
        })
    }

    fn faults(&self) -> Pending<'_, Vec<String>> {
        let path = self.path.clone();
        Box::pin(async move {
            let checking = tokio::task::spawn_blocking(move || faults(&path));
            checking.await.map_err(|_panic| Error::Unavailable)?.map_err(Error::Read)
        })
    }

    fn get<'a>(&'a self, table: Table, key: &'a [u8]) -> Pending<'a, Option<Record>> {
        let key = key.to_owned();
        let sql =
            format!("SELECT value, {}, expires_at_ms FROM record WHERE tbl = ?1 AND key = ?2", self.version);
        Box::pin(self.readers.read(move |connection| {
            connection.query_row(&sql, params![table.number(), key], statements::record).optional()
        }))
    }

    fn scan(&self, table: Table, scan: Scan) -> Pending<'_, Vec<(Vec<u8>, Record)>> {
        let version = self.version;
        Box::pin(self.readers.read(move |connection| {
            let order = if scan.descending { "DESC" } else { "ASC" };
            let limit = scan.limit;
            let (first, end) = bounds(scan);
            let below = if end.is_some() { "AND key < ?3" } else { "AND ?3 IS NULL" };
            let mut statement = connection.prepare(&format!(
                "SELECT value, {version}, expires_at_ms, key FROM record WHERE tbl = ?1 AND key >= ?2 {below}
                 ORDER BY key {order} LIMIT ?4"
            ))?;
            statement
                .query_map(params![table.number(), first, end, limit], |row| {
                    Ok((row.get(3)?, statements::record(row)?))
                })?
                .collect()
        }))
    }

    fn delivery(&self, key: [u8; 16]) -> Pending<'_, Option<Delivery>> {
        Box::pin(self.readers.read(move |connection| {
            let sql = format!("SELECT {} FROM delivery WHERE key = ?1", statements::DELIVERY);
            let mut statement = connection.prepare(&sql)?;
            let mut rows = statement.query(params![key])?;
            rows.next()?.map_or(Ok(None), statements::readable)
        }))
    }

    fn deliveries(
        &self,
        filter: DeliveryFilter,
        cursor: Option<[u8; 16]>,
        limit: u32,
    ) -> Pending<'_, Vec<Delivery>> {
        Box::pin(self.readers.read(move |connection| {
            // Each condition is either there or a tautology that names its parameter, so that the indexes can be used.
            let given =
                |is: bool, condition: &'static str, absent: &'static str| if is { condition } else { absent };
            // The dead are few among many and read page by page: they have an index in the order of their keys.
            let only_dead = filter.state == Some(DeliveryState::Dead) && filter.submission.is_none();
            let state = filter.state.map(DeliveryState::number);
            let (mut deliveries, mut after) = (Vec::new(), cursor.map(Vec::from));
            loop {
                let left = limit.saturating_sub(u32::try_from(deliveries.len()).unwrap_or(u32::MAX));
                if left == 0 {
                    return Ok(deliveries);
                }
                let mut statement = connection.prepare(&format!(
                    "SELECT {} FROM delivery {} WHERE {} AND {} AND {} AND {} ORDER BY key LIMIT ?5",
                    statements::DELIVERY,
                    given(only_dead, "INDEXED BY delivery_dead", ""),
                    given(filter.submission.is_some(), "submission = ?1", "?1 IS NULL"),
                    given(filter.destination.is_some(), "destination = ?2", "?2 IS NULL"),
                    match filter.state {
                        Some(DeliveryState::Dead) => "state = 4 AND ?3 = 4",
                        Some(DeliveryState::Due) => "state IN (?3, 5)",
                        Some(_) => "state = ?3",
                        None => "?3 IS NULL",
                    },
                    given(after.is_some(), "key > ?4", "?4 IS NULL"),
                ))?;
                let mut rows =
                    statement.query(params![filter.submission, filter.destination, state, after, left])?;
                let mut looked = 0;
                while let Some(row) = rows.next()? {
                    (looked, after) = (looked + 1, Some(row.get(0)?));
                    // One that cannot be decoded must not hide the others, nor end a page early: that says it is the last.
                    deliveries.extend(statements::readable(row)?);
                }
                if looked < left {
                    return Ok(deliveries);
                }
            }
        }))
    }

    fn next_due<'a>(&'a self, destination: &'a str) -> Pending<'a, [Option<i64>; 3]> {
        let destination = destination.to_owned();
        Box::pin(self.readers.read(move |connection| {
            let mut statement = connection.prepare(
                "SELECT min(due_at_ms) FROM delivery WHERE destination = ?1 AND lane = ?2 AND state < 2",
            )?;
            let mut next = [None; 3];
            for (lane, next) in Lane::ALL.into_iter().zip(&mut next) {
                *next = statement.query_row(params![destination, lane.number() as i64], |row| row.get(0))?;
            }
            Ok(next)
        }))
    }

    fn depths(&self) -> Pending<'_, Vec<QueueDepth>> {
        Box::pin(self.readers.read(|connection| {
            let mut statement = connection.prepare(
                "SELECT destination,
                 count(*) FILTER (WHERE state IN (0, 5)), count(*) FILTER (WHERE state = 1),
                 count(*) FILTER (WHERE state = 3), count(*) FILTER (WHERE state = 4),
                 (SELECT min(due_at_ms) FROM delivery AS waiting
                  WHERE waiting.destination = delivery.destination AND waiting.state = 0 AND waiting.due_at_ms > 0)
                 FROM delivery GROUP BY destination ORDER BY destination",
            )?;
            statement
                .query_map([], |row| {
                    Ok(QueueDepth {
                        destination: row.get(0)?,
                        due: row.get::<_, i64>(1)?.unsigned_abs(),
                        in_flight: row.get::<_, i64>(2)?.unsigned_abs(),
                        delivered: row.get::<_, i64>(3)?.unsigned_abs(),
                        dead: row.get::<_, i64>(4)?.unsigned_abs(),
                        oldest_due_at_ms: row.get(5)?,
                    })
                })?
                .collect()
        }))
    }

    fn ready(&self) -> Pending<'_, ()> {
        let read = |connection: &Connection| {
            connection.query_row("SELECT 1 FROM record LIMIT 1", [], |_| Ok(())).optional()
        };
        Box::pin(async move {
            if self.fatal.borrow().is_some() {
                return Err(Error::Unavailable);
            }
            if self.check.has_found_damage() {
                return Err(Error::Damaged);
            }
            self.readers.read(read).await.map(drop)
        })
    }

    fn fatal(&self) -> watch::Receiver<Option<Fatal>> {
        self.fatal.subscribe()
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            // First the readers: the log can only be folded in completely when nobody reads from it.
            self.readers.close().await;
            let (thread, queue, check) = (self.take_thread(), self.writer.clone(), self.check.clone());
            let ending = tokio::task::spawn_blocking(move || {
                check.stop();
                end(&queue, thread);
            });
            let ended = ending.await;
            ended.map_err(|_panic| Error::Unavailable)?;
            self.lock.unlock().map_err(|_io| Error::Unavailable)?;
            if self.fatal.borrow().is_some() { Err(Error::Unavailable) } else { Ok(()) }
        })
    }
}

//! Seals everything in the store again under the newest master key, so that the older ones can be thrown away.
//!
//! Each record is replaced in a batch of its own that stands on the record it has read; what is sealed under the newest key
//! already is left alone. So it can be cut off anywhere and run again, and nothing else has to wait for it. How far it got is
//! kept with the page, under the key it was done for: the next run goes on there.
//!
//! Invariant: a page is done only when all that any node has of it is under the newest key, or opens under none. Of several
//! nodes one does it; the others take over what it writes, those that are away when they are back.

use serde::{Deserialize, Serialize};

use crate::audit;
use crate::crypto::{Purpose, Sealer, Vault};
use crate::outbox::{self, SubmissionId};
use crate::store::{self, Batch, Expectation, Put, Record, Scan, Store, Table};

/// Records read at one time.
const PAGE: u32 = 200;
/// How long a busy store is given before it is asked again.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);
/// How often a page is read again of which something could not be replaced.
const MAX_TRIES: u32 = 50;
const JOB: &[u8] = b"rewrap\0";
/// What is sealed, and for which purpose. Secrets first: there are few, and nothing opens without them.
const SEALED: [(Table, Purpose); 3] = [
    (Table::Secret, Purpose::Secret),
    (Table::Submission, Purpose::StoredBody),
    // The keys of files; the files themselves stay as they are.
    (Table::File, Purpose::StoredBody),
];

/// How far it got, kept in the store.
#[derive(Clone, Serialize, Deserialize)]
struct Job {
    /// Tells the key that it was done for, and is no help to find it.
    key: [u8; 32],
    table: usize,
    after: Option<Vec<u8>>,
    done: Rewrapped,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rewrapped {
    /// Records that were sealed again.
    pub resealed: u64,
    /// Records that no key opens.
    pub unreadable: u64,
}

/// What was done of one page.
#[derive(Default)]
struct Page {
    done: Rewrapped,
    /// Records that are not what they were when they were read, or that a shared store did not get in time.
    missed: u64,
}

/// Goes through everything, from where the last run with this key was cut off.
///
/// # Errors
/// [`store::Error::Incomplete`] if something could not be reached: then it is to be run again.
pub(super) async fn run(
    store: &Store,
    sealer: &Sealer,
    actor: &str,
    now_ms: impl Fn() -> i64,
    mut progress: impl FnMut(u64),
) -> Result<Rewrapped, store::Error> {
    let vaults = SEALED.map(|(_, purpose)| Vault::new(sealer.clone(), purpose));
    let [vault, ..] = &vaults;
    let key = vault.keyed_hash("rewrap", b"");
    let fresh = Job { key, table: 0, after: None, done: Rewrapped::default() };
    let kept = store.get(Table::Job, JOB).await?;
    let kept = kept.and_then(|record| serde_json::from_slice::<Job>(&record.value).ok());
    let mut job = kept.filter(|job| job.key == key).unwrap_or(fresh);
    let mut tries = 0;
    while let (Some((table, _)), Some(vault)) = (SEALED.get(job.table), vaults.get(job.table)) {
        let scan = Scan { after: job.after.clone(), limit: PAGE, ..Scan::default() };
        let records = store.scan_all(*table, scan).await?;
        let ended = records.len() < PAGE as usize;
        let last = records.last().map(|(key, _)| key.clone());
        let page = reseal_all(store, vault, *table, records, now_ms()).await?;
        job.done.resealed += page.done.resealed;
        if page.missed > 0 {
            // What was erased or written anew in the meantime is not met again.
            tries += 1;
            if tries == MAX_TRIES {
                return Err(store::Error::Incomplete);
            }
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        tries = 0;
        job.done.unreadable += page.done.unreadable;
        job.after = last;
        if ended {
            (job.table, job.after) = (job.table + 1, None);
        }
        let value = serde_json::to_vec(&job).expect("numbers and bytes always serialise");
        patiently(store, &Batch::at(now_ms()).put(Put::new(Table::Job, JOB, value))).await?;
        progress(job.done.resealed);
    }
    let outcome = if job.done.unreadable == 0 { "ok" } else { "unreadable records were left" };
    let event = audit::Event::with_outcome(now_ms(), actor, "store.rewrapped", job.done.resealed, outcome);
    patiently(store, &Batch::at(now_ms()).delete(Table::Job, JOB).put(event.put())).await?;
    Ok(job.done)
}

async fn reseal_all(
    store: &Store,
    vault: &Vault,
    table: Table,
    records: Vec<(Vec<u8>, Record)>,
    now_ms: i64,
) -> Result<Page, store::Error> {
    let mut page = Page::default();
    // All of a page at once: the store makes one sync of them.
    let mut commits = tokio::task::JoinSet::new();
    for (key, record) in records {
        match reseal(vault, table, &key, &record.value) {
            Ok(None) => {}
            Ok(Some(value)) => {
                let put = Put { table, key: key.clone(), value, expires_at_ms: record.expires_at_ms };
                let unchanged = Expectation::Version(record.version);
                let batch = Batch::at(now_ms).require(table, key, unchanged).put(put);
                let store = store.clone();
                commits.spawn(async move { patiently(&store, &batch).await });
            }
            Err(Unreadable) => page.done.unreadable += 1,
        }
    }
    while let Some(committed) = commits.join_next().await {
        match committed.unwrap_or(Err(store::Error::Unavailable)) {
            Ok(()) => page.done.resealed += 1,
            Err(store::Error::Conflict { .. }) => page.missed += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(page)
}

struct Unreadable;

/// `None` if it is sealed under the newest key already, or holds nothing.
fn reseal(vault: &Vault, table: Table, key: &[u8], sealed: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
    let context = match table {
        Table::Submission | Table::File => {
            let id = SubmissionId::new(uuid::Uuid::from_slice(key).map_err(|_| Unreadable)?);
            if table == Table::File { outbox::files_context(id) } else { outbox::body_context(id) }
        }
        _ => key.to_vec(),
    };
    // What is left of a submission that was erased.
    if sealed.is_empty() {
        return Ok(None);
    }
    vault.reseal(&context, sealed).map_err(|_| Unreadable)
}

/// Whether a sealed record opens: what a check of the store asks of a sample.
pub(super) fn opens(sealer: &Sealer, table: Table, key: &[u8], sealed: &[u8]) -> bool {
    SEALED
        .iter()
        .find(|(of, _)| *of == table)
        .is_some_and(|(_, purpose)| reseal(&Vault::new(sealer.clone(), *purpose), table, key, sealed).is_ok())
}

async fn patiently(store: &Store, batch: &Batch) -> Result<(), store::Error> {
    loop {
        match store.commit(batch.clone()).await {
            Err(store::Error::Busy) => tokio::time::sleep(PAUSE).await,
            result => return result,
        }
    }
}

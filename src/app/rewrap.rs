//! Seals everything in the store again under the newest master key, so that the older ones can be thrown away.
//!
//! Each record is replaced in a batch of its own that stands on the record it has read; what is sealed under the newest key
//! already is left alone. So it can be cut off anywhere and run again, and nothing else has to wait for it. How far it got is
//! kept with the page, under the key it was done for: the next run goes on there.

use serde::{Deserialize, Serialize};

use crate::audit;
use crate::crypto::{Purpose, Sealer, Vault};
use crate::outbox::{self, SubmissionId};
use crate::store::{self, Batch, Expectation, Put, Scan, Store, Table};

/// Records read at one time.
const PAGE: u32 = 200;
/// How long a busy store is given before it is asked again.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(200);
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

/// Goes through everything, from where the last run with this key was cut off.
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
    while let (Some((table, _)), Some(vault)) = (SEALED.get(job.table), vaults.get(job.table)) {
        let scan = Scan { after: job.after.clone(), limit: PAGE, ..Scan::default() };
        let page = store.scan(*table, scan).await?;
        let ended = page.len() < PAGE as usize;
        job.after = page.last().map(|(key, _)| key.clone());
        // All of a page at once: the store makes one sync of them.
        let mut commits = tokio::task::JoinSet::new();
        for (key, record) in page {
            match reseal(vault, *table, &key, &record.value) {
                Ok(None) => {}
                Ok(Some(value)) => {
                    let put =
                        Put { table: *table, key: key.clone(), value, expires_at_ms: record.expires_at_ms };
                    let unchanged = Expectation::Version(record.version);
                    let batch = Batch::at(now_ms()).require(*table, key, unchanged).put(put);
                    let store = store.clone();
                    commits.spawn(async move { patiently(&store, &batch).await });
                }
                Err(Unreadable) => job.done.unreadable += 1,
            }
        }
        while let Some(committed) = commits.join_next().await {
            match committed.unwrap_or(Err(store::Error::Unavailable)) {
                Ok(()) => job.done.resealed += 1,
                // Erased or written anew in the meantime, under the newest key.
                Err(store::Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
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

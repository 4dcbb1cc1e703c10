//! Very many deliveries that are open: how soon a store with them starts, what it takes of memory, how long a claim takes.
//!
//! The limits are those of the reliability notes, T15. `benches/outbox.rs` measures a million, and judges times, too.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use formgate::store::redis::{Acknowledge, Options as RedisOptions, Topology};
use formgate::store::{Batch, NewDelivery, Options, Pace, Put, SharedOptions, Store, Table};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::server::Server;

/// Submissions that one commit writes, and bytes of each.
const AT_ONCE: usize = 100;
const BODY: usize = 1024;
const CLAIMS: usize = 1_000;
const CLAIMED: u32 = 8;
/// How long the first claim is waited for: Redis has to be told what has ended before.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long it may take to tell Redis one of a thousand deliveries, with all that belongs to it.
const TELL_A_THOUSAND: Duration = Duration::from_secs(3);
const MAX_RSS_BYTES: u64 = 256 << 20;

/// A store and what it needs besides.
pub struct Home {
    pub store: Store,
    /// Ends the node's tasks.
    stop: watch::Sender<bool>,
    tasks: Option<JoinHandle<()>>,
}

impl Home {
    /// The store of one node, or of a node that shares this Redis.
    pub async fn open(folder: &Path, redis: Option<&Server>) -> Home {
        let (stop, stopped) = watch::channel(false);
        let options = Options::new(folder);
        let Some(redis) = redis else {
            let store = Store::open_embedded(&options).expect("the store opens");
            return Home { store, stop, tasks: None };
        };
        let redis = RedisOptions {
            urls: vec![redis.url().into()],
            topology: Topology::Single,
            prefix: "{bench}".to_owned(),
            ca_pem: None,
            acknowledge: Acknowledge::Journal,
        };
        let shared = SharedOptions { journal: options, redis, pace: Pace::default() };
        let (store, tasks) = Store::open_shared(shared).await.unwrap_or_else(|error| panic!("{error}"));
        Home { store, stop, tasks: Some(tokio::spawn(tasks.run(stopped))) }
    }

    pub async fn close(self) {
        self.stop.send_replace(true);
        if let Some(tasks) = self.tasks {
            tasks.await.expect("no panic");
        }
        self.store.close().await.expect("a clean close");
    }
}

/// What so many thousandths of these are below, in milliseconds; they are sorted.
pub fn percentile(took: &[Duration], thousandths: usize) -> f64 {
    took.get(took.len() * thousandths / 1_000).map_or(0.0, |took| took.as_secs_f64() * 1e3)
}

/// What was measured.
#[derive(Debug)]
pub struct Backlog {
    is_shared: bool,
    deliveries: usize,
    filled: Duration,
    pub started: Duration,
    first_claim: Duration,
    /// Until Redis, which was restarted, had been told everything; claims went on meanwhile.
    told: Option<Duration>,
    rss_bytes: u64,
    redis_started: Duration,
    redis_bytes: Option<u64>,
    /// Sorted.
    claims: Vec<Duration>,
    claimed: usize,
}

impl Backlog {
    /// What the columns of its line are.
    pub fn head() -> String {
        format!(
            "{:>8} {:>10} {:>8} {:>8} {:>10} {:>8} {:>8} {:>10} {:>8} {:>8} {:>9} {:>8}",
            "store",
            "open",
            "fill s",
            "start s",
            "1st claim",
            "told s",
            "RSS MB",
            "Redis",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "claimed"
        )
    }

    /// Fills a store with so many, starts it anew, and claims some of them.
    pub async fn measure(mut redis: Option<Server>, deliveries: usize) -> Backlog {
        let folder = tempfile::TempDir::new().expect("a folder");
        let home = Home::open(folder.path(), redis.as_ref()).await;
        let begun = Instant::now();
        fill(&home.store, deliveries).await;
        let filled = begun.elapsed();
        home.close().await;

        let begun = Instant::now();
        if let Some(redis) = &mut redis {
            redis.stop();
            redis.restart();
        }
        let redis_started = begun.elapsed();
        let (before, begun) = (resident_bytes(), Instant::now());
        let home = Home::open(folder.path(), redis.as_ref()).await;
        let started = begun.elapsed();
        let claim = async || {
            let claimed = home.store.claim("crm", 2, i64::from(u32::MAX), CLAIMED).await;
            claimed.expect("a claim").len()
        };
        // Until Redis was told everything, nobody is given anything.
        let (told, mut claimed, mut claims) = (Instant::now(), 0, Vec::new());
        while claimed == 0 {
            assert!(told.elapsed() < PATIENCE, "nothing can be claimed");
            claimed += claim().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let first_claim = told.elapsed();
        for _ in 0..CLAIMS {
            let asked = Instant::now();
            claimed += claim().await;
            claims.push(asked.elapsed());
        }
        claims.sort_unstable();
        let patience = PATIENCE + TELL_A_THOUSAND * u32::try_from(deliveries / 1_000).unwrap_or(u32::MAX);
        let lacks = || home.store.standing().is_some_and(|standing| !standing.told);
        while lacks() {
            assert!(told.elapsed() < patience, "Redis is not told everything");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let measured = Backlog {
            is_shared: redis.is_some(),
            deliveries,
            filled,
            started,
            first_claim,
            told: redis.as_ref().map(|_| told.elapsed()),
            rss_bytes: resident_bytes().saturating_sub(before),
            redis_started,
            redis_bytes: redis.as_ref().and_then(|redis| redis.info("used_memory").parse().ok()),
            claims,
            claimed,
        };
        home.close().await;
        measured
    }

    /// Of a hundred claims, one took longer.
    pub fn claim_p99_ms(&self) -> f64 {
        percentile(&self.claims, 990)
    }

    /// The limits that were passed: of memory and of what may be claimed.
    pub fn above(&self) -> Vec<String> {
        let mut above = Vec::new();
        if self.rss_bytes > MAX_RSS_BYTES {
            above.push(format!(
                "{} MB of memory, {} are the most",
                self.rss_bytes >> 20,
                MAX_RSS_BYTES >> 20
            ));
        }
        let most = (CLAIMS + 1) * CLAIMED as usize;
        if self.claimed != most.min(self.deliveries) {
            above.push(format!("{} were claimed of {most}", self.claimed));
        }
        above
    }
}

impl fmt::Display for Backlog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redis = self.redis_bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{} MB", bytes >> 20));
        let told = self.told.map_or_else(|| "-".to_owned(), |told| format!("{:.1}", told.as_secs_f64()));
        write!(
            formatter,
            "{:>8} {:>10} {:>8.1} {:>8.2} {:>10.2} {told:>8} {:>8} {redis:>10} {:>8.2} {:>8.2} {:>9.2} {:>8}",
            if self.is_shared { "redis" } else { "embedded" },
            self.deliveries,
            self.filled.as_secs_f64(),
            self.started.as_secs_f64(),
            self.first_claim.as_secs_f64(),
            self.rss_bytes >> 20,
            percentile(&self.claims, 500),
            self.claim_p99_ms(),
            percentile(&self.claims, 999),
            self.claimed,
        )?;
        if self.is_shared {
            let back = self.redis_started.as_secs_f64();
            write!(formatter, "\n{:>8} Redis itself was back after {back:.2} s", "")?;
        }
        Ok(())
    }
}

/// Memory of this process that is really in use.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

async fn fill(store: &Store, deliveries: usize) {
    let mut left = deliveries;
    while left > 0 {
        let count = left.min(AT_ONCE);
        let batch = (0..count).fold(Batch::at(0), |batch, _| {
            let submission: [u8; 16] = rand::random();
            let delivery =
                NewDelivery { key: rand::random(), submission, destination: "crm".into(), due_at_ms: 1 };
            batch.put(Put::new(Table::Submission, submission, vec![7; BODY])).deliver(delivery)
        });
        store.commit(batch).await.expect("a commit");
        left -= count;
    }
}

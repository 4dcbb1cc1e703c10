//! Looks after the shared copy: whether it is there, whether it is still the same, what others have changed in it, and what
//! time it is there.
//!
//! Redis back, failed over, restarted or emptied: this finds it, and nothing of the process has to be started again.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::node::Node;
use super::raised;
use super::tell::Telling;
use crate::fault;
use crate::store::embedded::{CURSOR, OFFERED, PEERS, Pulled, SEEN};
use crate::store::redis::{Change, Identity, OpenError, Redis};
use crate::store::{AWAY_DAYS, Backend as _, Scan, Table};

/// Between two tries while it is out of reach; longer every time, up to the usual pause.
const BACKOFF: Duration = Duration::from_millis(50);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Changes taken over in one step.
const PAGE: u32 = 500;

/// Between two notes of when Redis was seen.
const NOTED_EVERY_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;

/// At so many looks, the clock having been set back, what waits for no schedule is made due: somebody may have begun to write
/// it before they knew, and write it after the first.
const LOOKS_AFTER_SET_BACK: u32 = 3;

/// What the watcher remembers.
#[derive(Default)]
pub(super) struct Looking {
    identity: Option<Identity>,
    cursor: Option<i64>,
    taken_over: bool,
    /// Erased rows have left bytes in the file.
    scrub: bool,
    told_unsafe: bool,
    /// The size of the journal when Redis was last seen.
    bytes: Option<u64>,
    /// Looks at which what came before the clock was set back is made due.
    set_back: u32,
    /// When Redis was noted to be seen, by its clock; `None` after it was out of reach.
    seen_ms: Option<i64>,
    /// For so many days this node was away from a Redis that others have used meanwhile: for too long.
    pub(super) away_days: Option<i64>,
}

/// Looks until `stop` becomes true.
pub(super) async fn run(
    node: Arc<Node>,
    options: crate::store::redis::Options,
    mut looking: Looking,
    telling: watch::Sender<Telling>,
    mut stop: watch::Receiver<bool>,
) {
    let mut backoff = BACKOFF;
    while !*stop.borrow() {
        let looked = async {
            connect(&node, &options, &mut looking).await;
            look(&node, &mut looking, &telling).await
        };
        let is_up = tokio::select! {
            () = raised(&mut stop) => return,
            is_up = looked => is_up,
        };
        let pause = if is_up {
            backoff = BACKOFF;
            node.pace.look_every
        } else {
            // Nodes that lost it together do not come back together.
            let jitter = backoff.mul_f64(rand::random_range(0.8..1.2));
            backoff = (backoff * 2).min(node.pace.look_every.max(BACKOFF));
            jitter
        };
        tokio::select! {
            () = raised(&mut stop) => return,
            () = tokio::time::sleep(pause) => {}
            () = node.link.trouble.notified() => tokio::time::sleep(BACKOFF).await,
        }
    }
}

/// Opens Redis if it was not there at the start.
async fn connect(node: &Node, options: &crate::store::redis::Options, looking: &mut Looking) {
    if node.redis.get().is_some() {
        return;
    }
    match tokio::time::timeout(CONNECT, Redis::open(options)).await {
        Ok(Ok(redis)) => drop(node.redis.set(redis)),
        Ok(Err(OpenError::OutOfReach(reason))) => node.link.log(&reason),
        Err(_elapsed) => node.link.log("it did not answer in time"),
        Ok(Err(error)) => {
            if !std::mem::replace(&mut looking.told_unsafe, true) {
                tracing::error!(%error, "Redis is there and cannot be used; this node goes on alone");
            }
        }
    }
}

/// One look; `false` if it is out of reach.
pub(super) async fn look(node: &Node, looking: &mut Looking, telling: &watch::Sender<Telling>) -> bool {
    let looked = match node.redis.get() {
        Some(redis) => try_look(node, redis, looking, telling).await,
        None => Err(Missed("it was not reached yet".to_owned())),
    };
    if let Err(Missed(reason)) = &looked {
        node.link.missed(reason);
        looking.seen_ms = None;
        outage(node, looking).await;
    }
    if let Ok((single_copy, open)) = node.journal.journal_backlog().await {
        node.single_copy.store(single_copy, Ordering::Release);
        let bytes = std::fs::metadata(node.journal.path()).map_or(0, |file| file.len());
        // By how much it has grown since Redis was last seen: what has ended is kept in it for as long as a flow keeps it.
        let before = if looked.is_ok() { bytes } else { looking.bytes.unwrap_or(bytes) };
        looking.bytes = Some(before);
        let grown = bytes.saturating_sub(before);
        let full = looked.is_err() && (open >= node.pace.most_open || grown >= node.pace.most_bytes);
        if full && !node.full.load(Ordering::Acquire) {
            tracing::error!(
                open,
                grown,
                "Redis is out of reach and the journal is full; nothing more is taken"
            );
        }
        node.full.store(full, Ordering::Release);
    }
    looked.is_ok()
}

/// It was not seen; why.
struct Missed(String);

impl<E: std::fmt::Display> From<E> for Missed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

async fn in_time<T, E: std::fmt::Display>(
    node: &Node,
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, Missed> {
    tokio::time::timeout(node.pace.work, asked).await?.map_err(|error| Missed(error.to_string()))
}

async fn try_look(
    node: &Node,
    redis: &Redis,
    looking: &mut Looking,
    telling: &watch::Sender<Telling>,
) -> Result<(), Missed> {
    let asked = Instant::now();
    let server_ms = in_time(node, redis.now_ms()).await?;
    let seen_ms = match looking.seen_ms {
        Some(seen_ms) => seen_ms,
        None => last_seen(node, redis, looking, server_ms).await?,
    };
    if node.time.measured(server_ms, asked.elapsed()) {
        looking.set_back = LOOKS_AFTER_SET_BACK;
    }
    if looking.set_back > 0 && !fault::is_on("cluster.leases_by_any_clock") {
        looking.set_back -= 1;
        in_time(node, redis.clamp_untried(node.time.now_ms())).await?;
    }
    let identity = in_time(node, redis.identity()).await?;
    if looking.identity.as_ref() != Some(&identity) {
        another(node, redis, looking, &identity, telling).await?;
    }
    // Under the name of the server's process, so that the others see who has noticed that it is another one. It is the proof,
    // too, that the server can be written to.
    let name = |id: &str| format!("{id}@{}", identity.run_id);
    in_time(node, redis.heartbeat(&name(&node.id))).await?;
    if node.link.is_down() {
        // First what has ended and what was deleted: nothing that others would do again.
        super::tell::outcomes(node, redis, &identity.to_string())
            .await
            .map_err(|reason| Missed(reason.to_string()))?;
        if node.link.up().await {
            looking.taken_over = false;
            tracing::info!("Redis is within reach");
        }
        node.link.offer.notify_one();
    }
    if node.link.is_told() {
        in_time(node, redis.heartbeat(&name(&told(&node.id)))).await?;
    }
    let seen = in_time(node, redis.nodes()).await?;
    let known = {
        let mut peers = node.peers.lock().unwrap_or_else(PoisonError::into_inner);
        (peers.back, peers.told) = Default::default();
        for id in seen.iter().filter_map(|it| it.strip_suffix(&name(""))) {
            match id.strip_suffix(&told("")) {
                Some(id) => peers.told.insert(id.to_owned()),
                None => peers.back.insert(id.to_owned()),
            };
        }
        let changed = node.link.is_whole() && peers.known != peers.back;
        if changed {
            peers.known = peers.back.clone();
        }
        changed.then(|| peers.known.iter().cloned().collect::<Vec<_>>().join("\n"))
    };
    if let Some(known) = known {
        // The next process has to know whom to wait for, also if it starts while Redis is away.
        node.journal.journal_set(PEERS, known.into_bytes()).await?;
    }
    pull(node, redis, looking).await?;
    // Not at every look: that would be a sync each. It never goes back: a clock that ran wrong says nothing of a node.
    let is_old = server_ms.saturating_sub(seen_ms) >= NOTED_EVERY_MS;
    if is_old {
        node.journal.journal_set(SEEN, server_ms.to_be_bytes().to_vec()).await?;
    }
    looking.seen_ms = Some(if is_old { server_ms } else { seen_ms });
    node.try_to_confirm(redis).await;
    node.link.looked();
    Ok(())
}

/// When Redis was last seen, by this process or an earlier one; long ago if never. A node that was away for longer than it is
/// remembered what was deleted must not tell what it has: that would come back.
async fn last_seen(node: &Node, redis: &Redis, looking: &mut Looking, server_ms: i64) -> Result<i64, Missed> {
    let Some(seen_ms) = node.journal.journal_get(SEEN).await?.and_then(to_number) else { return Ok(0) };
    let days = server_ms.saturating_sub(seen_ms) / DAY_MS;
    // In one that has nobody's keys nothing was deleted by anybody.
    let one = Scan { limit: 1, ..Scan::default() };
    if days < AWAY_DAYS || in_time(node, redis.scan(Table::Secret, &one)).await?.is_empty() {
        looking.away_days = None;
        return Ok(seen_ms);
    }
    if looking.away_days.replace(days).is_none() {
        tracing::error!(
            days,
            "this node was away from Redis for too long to tell it anything; it goes on alone until it is started with an empty data folder"
        );
    }
    Err(Missed(format!("this node was away for {days} days")))
}

/// How a node is named that has told everything.
fn told(id: &str) -> String {
    format!("{id}+told")
}

/// The shared copy is another than at the last look: it was restarted, has failed over, or has lost everything.
async fn another(
    node: &Node,
    redis: &Redis,
    looking: &mut Looking,
    identity: &Identity,
    telling: &watch::Sender<Telling>,
) -> Result<(), Missed> {
    let text = identity.to_string();
    let offered = node.journal.journal_get(OFFERED).await?;
    let trusted = fault::is_on("cluster.trusts_any_redis");
    if offered.as_deref() == Some(text.as_bytes()) || trusted {
        node.link.set_whole(node.link.generation());
    } else {
        in_time(node, super::tell::hold(node, redis, &text)).await?;
        node.link.lost();
        node.peers.lock().unwrap_or_else(PoisonError::into_inner).forget();
        telling.send_replace(Telling { owed: Some(text.clone()) });
        node.link.fall_behind();
    }
    let same_epoch = offered.is_some_and(|offered| offered.starts_with(identity.epoch.as_bytes()));
    if !same_epoch {
        looking.cursor = Some(0);
    }
    looking.identity = Some(identity.clone());
    // From now on something may be claimed from it, if nobody holds that back.
    node.link.knows(text);
    Ok(())
}

/// Takes over what others have changed.
async fn pull(node: &Node, redis: &Redis, looking: &mut Looking) -> Result<(), Missed> {
    let mut cursor = match looking.cursor {
        Some(cursor) => cursor,
        None => node.journal.journal_get(CURSOR).await?.and_then(to_number).unwrap_or(0),
    };
    loop {
        let changes = in_time(node, redis.changes(cursor, PAGE)).await?;
        let ended = changes.len() < PAGE as usize;
        let mut pulled = Vec::with_capacity(changes.len());
        for change in changes {
            let (at, version, change) = match change {
                Change::Record { at, put, version } => (at, version, Pulled::Put(put, version)),
                Change::Deleted { at, table, key, version } => {
                    (at, version, Pulled::Gone(table, key, version))
                }
            };
            node.link.saw(version);
            cursor = cursor.max(at);
            pulled.push(change);
        }
        if !pulled.is_empty() {
            let changed = node.journal.journal_pull(pulled, cursor.to_be_bytes().to_vec()).await?;
            node.announce(&changed.tables);
            looking.scrub |= changed.deleted;
        }
        looking.cursor = Some(cursor);
        if ended {
            break;
        }
    }
    if looking.scrub {
        looking.scrub = !matches!(node.journal.scrub().await, Ok(true));
    }
    Ok(())
}

fn to_number(bytes: Vec<u8>) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_be_bytes)
}

/// Redis is out of reach. After a long while nobody else can be thought to have what was entrusted to it.
async fn outage(node: &Node, looking: &mut Looking) {
    let is_early =
        node.link.out_for() < node.pace.take_over_after && !fault::is_on("cluster.takes_over_at_once");
    if looking.taken_over || is_early {
        return;
    }
    match node.journal.journal_take_over().await {
        Ok(deliveries) => {
            looking.taken_over = true;
            tracing::warn!(
                deliveries,
                "Redis has been out of reach for long; this node takes over what it had entrusted"
            );
            node.link.fall_behind();
        }
        Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "a takeover failed"),
    }
}

//! Tells the shared copy what it lacks: what was written here alone, everything after it has lost its data, and deliveries
//! that it does not know any more.
//!
//! Invariant: offering is harmless however often it is done. The higher version wins, what was delivered stays delivered and
//! what was deleted stays deleted, so nothing here has to know what the shared copy still has.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::node::Node;
use super::raised;
use crate::fault;
use crate::store::Error;
use crate::store::embedded::{Answer, Kept, Kind, OFFERED, Part, What};
use crate::store::redis::{Error as RedisError, Offered, Redis, Row};

/// Rows told in one step.
const PAGE: u32 = 200;
/// Entrusted deliveries compared in one step.
const COMPARED: u32 = 500;
/// Deliveries whose place in the queues is looked at in one step: about two milliseconds of Redis's time.
const SWEPT: u32 = 500;
/// Between two such steps, whichever nodes make them: a million deliveries take half an hour.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long one step may take.
const STEP: Duration = Duration::from_secs(10);

/// What is owed to the shared copy.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Telling {
    /// It has to be told everything; then it is known under this name.
    pub(super) owed: Option<String>,
}

/// Why telling was broken off.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("it did not take what it was offered in time")]
    Late(#[from] tokio::time::error::Elapsed),
    #[error("the journal could not be read")]
    Journal(#[from] Error),
    #[error("it answered {answers} of {rows} rows")]
    Answers { rows: usize, answers: usize },
}

/// Tells until `stop` becomes true.
pub(super) async fn run(
    node: Arc<Node>,
    mut telling: watch::Receiver<Telling>,
    mut stop: watch::Receiver<bool>,
) {
    let (mut compared, mut after) = (Instant::now(), None);
    let mut sweep_at = Instant::now();
    while !*stop.borrow() {
        let work = async {
            if node.link.is_down() || fault::is_on("cluster.tells_nothing") {
                return Ok(());
            }
            let Some(redis) = node.redis.get() else { return Ok(()) };
            // In this order: what is owed to a later one is not taken for told.
            let generation = node.link.generation();
            let owed = telling.borrow_and_update().owed.clone();
            if let Some(owed) = owed {
                if node.link.is_whole() {
                    // Told already.
                } else {
                    refill(&node, redis, (generation, &owed), &telling).await?;
                }
            }
            if node.link.is_behind() {
                let written = node.link.written();
                pending(&node, redis).await?;
                node.link.caught_up(written);
            }
            if Instant::now() >= sweep_at {
                sweep_at = Instant::now() + sweep(&node, redis).await?;
            }
            let trusts = fault::is_on("cluster.trusts_any_redis");
            if compared.elapsed() >= node.pace.reconcile_every && !trusts {
                compared = Instant::now();
                after = reconcile(&node, redis, after).await?;
            }
            Ok::<_, Broken>(())
        };
        let worked = tokio::select! {
            () = raised(&mut stop) => return,
            worked = work => worked,
        };
        if let Err(broken) = worked {
            node.link.missed(&broken.to_string());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::select! {
            () = raised(&mut stop) => return,
            _ = telling.changed() => {}
            () = node.link.offer.notified() => {}
            () = tokio::time::sleep(node.pace.look_every) => {}
        }
    }
}

/// Tells what must be known before anybody claims anything: what was deleted, and what has ended. That may be a lot; claims
/// from a Redis that is owed more wait until the rest is told, too.
pub(super) async fn outcomes(node: &Node, redis: &Redis, known: &str) -> Result<(), Broken> {
    let mut held = Hold::begun(known);
    let held = (!node.link.is_whole()).then_some(&mut held);
    tell(node, redis, (&[Kind::Gone, Kind::Ended], What::Lacked), held, || false).await.map(drop)
}

/// Tells, at a start, what every node has a copy of: the program makes first what it does not find.
pub(super) async fn configuration(node: &Node, redis: &Redis) -> Result<(), Broken> {
    if fault::is_on("cluster.tells_nothing") {
        return Ok(());
    }
    let what = if node.link.is_whole() { What::Lacked } else { What::All };
    tell(node, redis, (&[Kind::Configuration], what), None, || false).await.map(drop)
}

/// Tells all that was written here alone.
async fn pending(node: &Node, redis: &Redis) -> Result<(), Broken> {
    for kind in Kind::ALL {
        tell(node, redis, (&[kind], What::Lacked), None, || false).await?;
    }
    Ok(())
}

/// Tells everything that is here to a shared copy that may have lost it.
async fn refill(
    node: &Node,
    redis: &Redis,
    (generation, owed): (u64, &str),
    telling: &watch::Receiver<Telling>,
) -> Result<(), Broken> {
    // A node that takes its time to start has held claims back long ago.
    hold(node, redis, owed).await?;
    let begun = Instant::now();
    tracing::info!("Redis is another one, or was restarted; it is told everything that is here");
    let mut held = Hold::begun(owed);
    // Once more another one, which is told from the beginning.
    let is_another = || telling.has_changed().unwrap_or(false);
    let first = (Kind::BEFORE_CLAIMS.as_slice(), What::All);
    let Some(mut rows) = tell(node, redis, first, Some(&mut held), is_another).await? else {
        return Ok(());
    };
    // The others may notice a little later, and they too know what has ended.
    while begun.elapsed() < node.pace.peers() && !all_back(node) {
        held.renew(node, redis).await?;
        tokio::time::sleep(node.pace.look_every / 2).await;
    }
    tokio::time::timeout(STEP, redis.end_refill(&node.id)).await??;
    for kind in [Kind::Open, Kind::Record] {
        let Some(more) = tell(node, redis, (&[kind], What::All), None, is_another).await? else {
            return Ok(());
        };
        rows += more;
    }
    node.journal.journal_set(OFFERED, owed.as_bytes().to_vec()).await?;
    if !node.link.set_whole(generation) {
        return Ok(());
    }
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(rows, took_ms, "Redis has everything that is here");
    Ok(())
}

/// Tells these kinds, a page of each in turn, so that none waits for what is old of another: claims are held back for half a
/// minute and no longer. Says how many rows that were, or `None` if it was to stop.
async fn tell(
    node: &Node,
    redis: &Redis,
    (kinds, what): (&[Kind], What),
    mut held: Option<&mut Hold<'_>>,
    stops: impl Fn() -> bool,
) -> Result<Option<usize>, Broken> {
    let (mut rows, mut turns) = (0, kinds.iter().map(|kind| (*kind, None)).collect::<VecDeque<_>>());
    while let Some((kind, after)) = turns.pop_front() {
        let page = node.journal.journal_page(kind, Part { what, after, limit: PAGE }).await?;
        rows += page.items.len();
        offer(node, redis, page.items, page.lacked).await?;
        if page.next.is_some() {
            turns.push_back((kind, page.next));
        }
        if let Some(held) = &mut held {
            held.renew(node, redis).await?;
        }
        if stops() {
            return Ok(None);
        }
    }
    Ok(Some(rows))
}

/// Claims that wait until this node has told what has ended.
struct Hold<'a> {
    /// From this Redis.
    known: &'a str,
    renewed: Instant,
}

impl<'a> Hold<'a> {
    /// They were held back just now.
    fn begun(known: &'a str) -> Self {
        Self { known, renewed: Instant::now() }
    }

    /// Holds them back for longer, if they have been for a while.
    async fn renew(&mut self, node: &Node, redis: &Redis) -> Result<(), Broken> {
        if self.renewed.elapsed() < node.pace.look_every {
            return Ok(());
        }
        self.renewed = Instant::now();
        hold(node, redis, self.known).await
    }
}

/// Holds claims from this Redis back for a while.
pub(super) async fn hold(node: &Node, redis: &Redis, known: &str) -> Result<(), Broken> {
    let patience_ms = i64::try_from(node.pace.peers().as_millis()).unwrap_or(i64::MAX);
    let until_ms = node.time.now_ms().saturating_add(patience_ms);
    Ok(tokio::time::timeout(STEP, redis.begin_refill(&node.id, until_ms, known)).await??)
}

fn all_back(node: &Node) -> bool {
    node.peers.lock().unwrap_or_else(PoisonError::into_inner).all_back()
}

/// Offers everything of one submission, as far as it is here.
pub(super) async fn whole(node: &Node, redis: &Redis, submission: [u8; 16]) -> Result<(), Broken> {
    let whole = node.journal.journal_whole(submission).await?;
    offer(node, redis, vec![whole], true).await.map(drop)
}

/// Offers rows and notes the answers, unless it is known already that they are there; says how many were taken.
pub(super) async fn offer(
    node: &Node,
    redis: &Redis,
    items: Vec<Vec<Kept>>,
    lacked: bool,
) -> Result<usize, Broken> {
    if items.is_empty() {
        return Ok(0);
    }
    let rows: Vec<Row> = items.iter().filter_map(|item| row(item)).collect();
    let told: Vec<Vec<Kept>> = items.into_iter().filter(|item| !item.is_empty()).collect();
    let answers = tokio::time::timeout(STEP, redis.offer(&rows)).await??;
    if answers.len() != rows.len() || answers.len() != told.len() {
        return Err(Broken::Answers { rows: rows.len(), answers: answers.len() });
    }
    if told.iter().flatten().any(|kept| matches!(kept, Kept::Delivery { .. })) {
        fault::point("cluster.offered");
    }
    let taken = answers.iter().filter(|answer| **answer == Offered::Taken).count();
    let mut noted = Vec::new();
    for (item, answer) in told.into_iter().zip(answers) {
        let answer = if answer == Offered::Buried { Answer::Buried } else { Answer::Known };
        if lacked || answer == Answer::Buried {
            noted.extend(item.into_iter().map(|kept| (kept, answer.clone())));
        }
    }
    if !noted.is_empty() {
        node.journal.journal_answered(noted).await?;
    }
    Ok(taken)
}

/// What is told in one step.
fn row(item: &[Kept]) -> Option<Row> {
    match item {
        [] => None,
        [Kept::Gone { table, key, version }] => {
            Some(Row::Deleted { table: *table, key: key.clone(), version: *version })
        }
        [Kept::Record { put, version }] => Some(Row::Record { put: put.clone(), version: *version }),
        item => {
            let (mut records, mut deliveries) = (Vec::new(), Vec::new());
            for kept in item.iter().cloned() {
                match kept {
                    Kept::Record { put, version } => records.push((put, version)),
                    Kept::Delivery { delivery, version } => deliveries.push((delivery, version)),
                    // A tombstone is never told with anything else.
                    Kept::Gone { .. } => {}
                }
            }
            Some(Row::Submission { records, deliveries })
        }
    }
}

/// Has queues that were lost filled again; how long to wait before the next look at them.
async fn sweep(node: &Node, redis: &Redis) -> Result<Duration, Broken> {
    match redis.sweep(SWEPT, SWEEP_EVERY).await? {
        None => Ok(node.pace.look_every / 2),
        // Whatever it is that does not add up, looking at everything again does not mend it.
        Some(0) => Ok(node.pace.reconcile_every * 6),
        Some(deliveries) => {
            tracing::warn!(deliveries, "Redis had lost queues; they are filled again from what is open");
            Ok(node.pace.look_every / 2)
        }
    }
}

/// Compares entrusted deliveries with the shared copy, all of them in the end; says where to go on.
async fn reconcile(node: &Node, redis: &Redis, after: Option<[u8; 16]>) -> Result<Option<[u8; 16]>, Broken> {
    let page = node.journal.journal_entrusted(after, COMPARED).await?;
    if page.is_empty() {
        return Ok(None);
    }
    let keys: Vec<[u8; 16]> = page.iter().map(|(key, _, _)| *key).collect();
    let states = tokio::time::timeout(STEP, redis.states(&keys)).await??;
    let (mut newer, mut unknown) = (Vec::new(), BTreeSet::new());
    for ((_, submission, version), state) in page.iter().zip(states) {
        match state {
            Some((delivery, known)) if known.0 > *version => newer.push((delivery, known.0)),
            Some(_) => {}
            None => drop(unknown.insert(*submission)),
        }
    }
    if !newer.is_empty() {
        node.journal.journal_learn(newer).await?;
    }
    let mut items = Vec::new();
    for submission in &unknown {
        items.push(node.journal.journal_whole(*submission).await?);
    }
    // One that cannot be read there is another release's, and not lost.
    if offer(node, redis, items, true).await? > 0 {
        tracing::warn!(submissions = unknown.len(), "Redis had lost deliveries; it was told them again");
    }
    Ok(keys.last().copied().filter(|_| keys.len() == COMPARED as usize))
}

//! Nodes that share a store: Redis up, down, restarted and empty, and nodes that die.

mod again;
pub mod apps;
mod confirms;
mod erased;
pub mod fixture;
mod full;
mod late;
mod later;
mod lost;
mod others;

use std::time::{Duration, Instant};

use formgate::store::{
    Batch, Delivery, DeliveryState, Erased, Erasure, Error, Expectation, NewDelivery, Options, Pace, Put,
    Reopened, Settlement, SharedOpenError, SharedOptions, Store, Table, Verdict, trace,
};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::pace::Log;
use fixture::{Node, Redis, emptied, options, pace};

fn key(number: u8) -> [u8; 16] {
    [number; 16]
}

/// A submission with a body, a trace and a delivery.
fn submission(number: u8) -> Batch {
    let body = format!("canary-body-{number}");
    Batch::at(0)
        .require(Table::Submission, key(number), Expectation::Absent)
        .put(Put::new(Table::Submission, key(number), body))
        .put(Put::new(Table::Timeline, [number; 24], "canary-entry"))
        .put(trace(key(number), Table::Timeline, &[number; 24]))
        .deliver(NewDelivery {
            key: key(number),
            submission: key(number),
            destination: "crm".into(),
            due_at_ms: 0,
        })
}

async fn accept(node: &Node, numbers: std::ops::Range<u8>) {
    for number in numbers {
        node.store.commit(submission(number)).await.expect("accepted");
    }
}

async fn claim(node: &Node, now_ms: i64) -> Vec<Delivery> {
    node.store.claim("crm", now_ms, 60_000, 100).await.expect("a claim")
}

async fn settle(node: &Node, delivery: &Delivery, verdict: Verdict) -> Result<(), Error> {
    let settlement = Settlement { verdict, history: b"kept".to_vec(), puts: vec![] };
    node.store.settle(delivery.key, delivery.lease, settlement).await
}

/// Claims until so many were claimed, as long as it takes.
async fn claimed(node: &Node, count: usize) -> Vec<Delivery> {
    claimed_at(node, count, 1).await
}

async fn claimed_at(node: &Node, count: usize, now_ms: i64) -> Vec<Delivery> {
    let all = tokio::sync::Mutex::new(vec![]);
    node.until("they are claimed", async || {
        let mut all = all.lock().await;
        all.extend(claim(node, now_ms).await);
        all.len() >= count
    })
    .await;
    all.into_inner()
}

async fn states(node: &Node) -> Vec<(u8, DeliveryState)> {
    let all = node.store.deliveries(Default::default(), None, 1_000).await.expect("a read");
    all.iter().map(|delivery| (delivery.key[0], delivery.state)).collect()
}

async fn value(node: &Node, table: Table, key: &[u8]) -> Option<Vec<u8>> {
    node.store.get(table, key).await.expect("a read").map(|record| record.value)
}

#[tokio::test]
async fn what_one_node_accepts_any_other_delivers_and_sees() {
    let redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    accept(&one, 0..3).await;
    let twice = two.store.commit(submission(1)).await;
    assert!(matches!(twice, Err(Error::Conflict { index: 0, existing: Some(_) })), "{twice:?}");
    assert_eq!(value(&two, Table::Submission, &key(2)).await.as_deref(), Some(&b"canary-body-2"[..]));
    let mine = claimed(&two, 3).await;
    assert!(claim(&one, 1).await.is_empty(), "each is one node's at a time");
    settle(&two, &mine[0], Verdict::Delivered { at_ms: 2 }).await.expect("the lease");
    settle(&two, &mine[1], Verdict::Dead { at_ms: 2 }).await.expect("the lease");
    let (a, b) = (mine[0].key[0], mine[1].key[0]);
    let seen = states(&one).await;
    assert!(seen.contains(&(a, DeliveryState::Delivered)) && seen.contains(&(b, DeliveryState::Dead)));
    // Whoever dies gives its lease back by letting it end.
    drop(two.crash());
    assert!(claim(&one, 60_000).await.is_empty());
    assert_eq!(claim(&one, 60_001).await.first().map(|delivery| delivery.lease), Some(2));
}

#[tokio::test]
async fn with_redis_down_submissions_are_taken_and_delivered_by_whoever_took_them() {
    let mut redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    accept(&one, 0..2).await;
    redis.kill();
    one.alone().await;
    accept(&one, 2..4).await;
    let standing = one.store.standing().expect("a node");
    assert!(!standing.reachable && !standing.told);
    one.store.ready().await.expect("it is ready: its own disk decides that");
    let mine: Vec<u8> = claim(&one, 1).await.iter().map(|delivery| delivery.key[0]).collect();
    assert_eq!(mine, [2, 3], "what was entrusted may be in another node's hands");
    two.alone().await;
    assert!(claim(&two, 1).await.is_empty());
    let delivery = one.store.delivery(key(2)).await.expect("a read").expect("a delivery");
    settle(&one, &delivery, Verdict::Delivered { at_ms: 5 }).await.expect("the lease");

    redis.restart().await;
    one.told().await;
    two.told().await;
    assert_eq!(value(&two, Table::Submission, &key(3)).await.as_deref(), Some(&b"canary-body-3"[..]));
    let mut rest: Vec<u8> = claimed(&two, 2).await.iter().map(|delivery| delivery.key[0]).collect();
    rest.sort_unstable();
    assert_eq!(rest, [0, 1], "the third is done, and the fourth still under its lease");
    let leased = one.store.delivery(key(3)).await.expect("a read").expect("a delivery");
    settle(&one, &leased, Verdict::Delivered { at_ms: 6 }).await.expect("the lease is valid in Redis now");
    assert!(states(&two).await.contains(&(3, DeliveryState::Delivered)));
    one.until("nothing is on its disk alone", async || {
        one.store.standing().is_some_and(|standing| standing.single_copy == 0)
    })
    .await;
}

#[tokio::test]
async fn an_emptied_redis_has_everything_again_and_what_has_ended_stays_ended() {
    let mut redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    accept(&one, 0..20).await;
    one.store.commit(Batch::at(0).put(Put::new(Table::Setting, "a", "1"))).await.expect("a commit");
    one.store.commit(Batch::at(0).put(Put::new(Table::Setting, "b", "1"))).await.expect("a commit");
    two.store.commit(Batch::at(0).delete(Table::Setting, "b")).await.expect("a commit");
    // The other node ends what this one has accepted.
    let mine = claimed(&two, 20).await;
    for (index, delivery) in mine.iter().enumerate() {
        let verdict = match index {
            0..5 => Verdict::Delivered { at_ms: 2 },
            5..10 => Verdict::Dead { at_ms: 2 },
            10..15 => Verdict::Retry { due_at_ms: 9 },
            _ => continue,
        };
        settle(&two, delivery, verdict).await.expect("the lease");
    }
    let before = states(&one).await;
    emptied(&mut redis, &[&one, &two]).await;
    sleep(pace().look_every * 4).await;
    let open = |state| matches!(state, DeliveryState::Due | DeliveryState::Leased);
    let after = states(&one).await;
    assert_eq!(after.len(), 20, "all of them");
    for ((number, before), (_, after)) in before.iter().zip(&after) {
        let same = before == after || open(*before) && open(*after);
        assert!(same, "{number} was {before:?} and is {after:?}");
    }
    assert_eq!(value(&two, Table::Setting, b"a").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(value(&one, Table::Setting, b"b").await, None, "what was deleted stays deleted");
    // What was delivered while Redis lost the lease stays delivered; what failed is attempted again.
    settle(&two, &mine[15], Verdict::Delivered { at_ms: 12 }).await.expect("the destination has it");
    settle(&two, &mine[16], Verdict::Retry { due_at_ms: 12 }).await.expect("nobody knows better");
    two.told().await;
    let again = claimed_at(&one, 9, 100_000).await;
    assert!(!again.iter().any(|delivery| delivery.key == mine[15].key));
    let reopened = two.store.reopen(mine[5].key, 20, vec![]).await.expect("a reopen");
    assert_eq!(reopened, Reopened::Due, "dead ones can still be replayed");
}

#[tokio::test]
async fn what_no_journal_has_is_adopted_before_another_node_says_again_that_it_is_kept() {
    let mut redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    accept(&one, 0..2).await;
    let claimed = claimed(&one, 2).await;
    let done = claimed.iter().find(|delivery| delivery.key == key(1)).expect("both were claimed");
    settle(&one, done, Verdict::Delivered { at_ms: 2 }).await.expect("the lease");
    for number in 0..2 {
        two.store.adopt(key(number)).await.expect("it is in Redis");
    }
    // The node that stored them is lost with its disk, as if it had died between Redis and its journal.
    drop(one);
    redis.wipe();
    two.alone().await;
    two.store.adopt(key(0)).await.expect("it is here");
    let unknown = two.store.adopt(key(9)).await;
    assert!(matches!(unknown, Err(Error::Busy)), "{unknown:?}");
    redis.restart().await;
    two.told().await;
    for number in 0..2 {
        let body = value(&two, Table::Submission, &key(number)).await;
        assert_eq!(body, Some(format!("canary-body-{number}").into_bytes()));
        assert_eq!(value(&two, Table::Timeline, &[number; 24]).await.as_deref(), Some(&b"canary-entry"[..]));
    }
    let again = claimed_at(&two, 1, 100_000).await;
    assert_eq!(again.iter().map(|delivery| delivery.key).collect::<Vec<_>>(), [key(0)]);
}

#[tokio::test]
async fn a_node_that_was_killed_alone_offers_what_it_took_when_it_is_back() {
    let mut redis = Redis::start().await;
    let node = Node::join(&redis).await;
    node.told().await;
    redis.kill();
    node.alone().await;
    accept(&node, 0..5).await;
    let folder = node.crash();
    // It starts without Redis, too: it has a copy of what all nodes have in common.
    let node = Node::at(folder, options(&redis, "{formgate}"), pace()).await;
    assert_eq!(claim(&node, 1).await.len(), 5);
    let folder = node.crash();
    redis.wipe();
    redis.restart().await;
    let node = Node::at(folder, options(&redis, "{formgate}"), pace()).await;
    node.told().await;
    let other = Node::join(&redis).await;
    assert_eq!(claimed(&other, 5).await.len(), 5);
}

#[tokio::test]
async fn after_a_long_outage_a_node_takes_over_what_it_had_entrusted() {
    let mut redis = Redis::start().await;
    let quick = Pace { take_over_after: Duration::from_millis(400), ..pace() };
    let node = Node::at(TempDir::new().expect("a folder"), options(&redis, "{formgate}"), quick).await;
    accept(&node, 0..2).await;
    redis.kill();
    node.alone().await;
    let mine = claimed(&node, 2).await;
    settle(&node, &mine[0], Verdict::Delivered { at_ms: 3 }).await.expect("the lease");
    redis.restart().await;
    node.told().await;
    let (done, open) = (mine[0].key[0], mine[1].key[0]);
    let seen = states(&node).await;
    assert!(
        seen.contains(&(done, DeliveryState::Delivered)) && seen.contains(&(open, DeliveryState::Leased))
    );
}

#[tokio::test]
async fn a_person_erased_on_one_node_is_in_no_file_of_another_and_does_not_come_back() {
    let mut redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    accept(&one, 0..3).await;
    assert!(one.has_on_disk(b"canary-body-1"));
    let erasure = Erasure {
        submission: key(1),
        settled: None,
        forget_at_ms: i64::from(u32::MAX),
        deletes: vec![],
        puts: vec![],
    };
    let erased = two.store.erase(erasure.clone()).await.expect("an erasure");
    assert!(matches!(erased, Erased::Done { deliveries } if deliveries.len() == 1));
    one.until("it is gone from the other's files", async || !one.has_on_disk(b"canary-body-1")).await;
    assert!(one.has_on_disk(b"canary-body-2"));
    emptied(&mut redis, &[&one, &two]).await;
    let kept: Vec<u8> = states(&one).await.iter().map(|(number, _)| *number).collect();
    assert_eq!(kept, [0, 2]);
    // What other nodes wrote is out of reach with Redis: an erasure that cannot be whole says so.
    redis.kill();
    two.alone().await;
    let refused = two.store.erase(Erasure { submission: key(2), ..erasure }).await;
    assert!(matches!(refused, Err(Error::Busy)), "{refused:?}");
}

#[tokio::test]
async fn what_all_nodes_have_in_common_reaches_each_of_them() {
    let mut redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    let mut changes = two.store.changes(Table::Secret);
    let mut pauses = two.store.changes(Table::Pause);
    let put = Put::new(Table::Secret, "key", "sealed");
    one.store.commit(Batch::at(0).put(put)).await.expect("a commit");
    one.store.commit(Batch::at(0).put(Put::new(Table::Pause, "crm", ""))).await.expect("a commit");
    changes.changed().await.expect("a change");
    accept(&two, 0..1).await;
    assert!(claim(&two, 1).await.is_empty(), "paused on one node is paused on all");
    pauses.changed().await.expect("the pause is in the other's journal");
    redis.kill();
    two.alone().await;
    assert_eq!(value(&two, Table::Secret, b"key").await.as_deref(), Some(&b"sealed"[..]));
    accept(&two, 1..2).await;
    assert!(claim(&two, 1).await.is_empty(), "alone, too");
}

#[tokio::test]
async fn a_full_journal_takes_nothing_more_while_redis_is_down() {
    let mut redis = Redis::start().await;
    let small = Pace { most_open: 3, ..pace() };
    let node = Node::at(TempDir::new().expect("a folder"), options(&redis, "{formgate}"), small).await;
    node.told().await;
    redis.kill();
    node.alone().await;
    accept(&node, 0..3).await;
    node.until("it is full", async || matches!(node.store.commit(submission(9)).await, Err(Error::Busy)))
        .await;
    // What is no submission is still written.
    node.store.commit(Batch::at(0).put(Put::new(Table::Setting, "a", "1"))).await.expect("a commit");
    redis.restart().await;
    node.told().await;
    node.until("it takes more", async || node.store.commit(submission(10)).await.is_ok()).await;
}

#[tokio::test]
async fn a_node_that_was_never_part_of_an_installation_does_not_start_without_redis() {
    let mut redis = Redis::start().await;
    redis.kill();
    let folder = TempDir::new().expect("a folder");
    let options = SharedOptions {
        journal: Options::new(folder.path()),
        redis: options(&redis, "{formgate}"),
        pace: pace(),
    };
    let refused = Store::open_shared(options).await.map(|_| ());
    assert!(matches!(refused, Err(SharedOpenError::NeverJoined(_))), "{refused:?}");
}

#[tokio::test]
async fn a_node_that_begins_alone_says_why_and_not_at_every_try() {
    let mut redis = Redis::start().await;
    let node = Node::join(&redis).await;
    node.told().await;
    let folder = node.leave().await;
    redis.kill();
    let (log, _logging) = Log::begin();
    let begun = Instant::now();
    let node = Node::at(folder, options(&redis, "{formgate}"), pace()).await;
    // It tries some twenty times a second.
    let said = "Redis did not do what was asked";
    node.until("it says so twice", async || log.lines_with(said) >= 2).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    redis.restart().await;
    node.told().await;
}

#[tokio::test]
async fn a_store_of_one_node_becomes_the_first_of_several_and_goes_back() {
    let redis = Redis::start().await;
    let folder = TempDir::new().expect("a folder");
    let alone = Store::open_embedded(&Options::new(folder.path())).expect("the store opens");
    for number in 0..3 {
        alone.commit(submission(number)).await.expect("accepted");
    }
    let done = alone.claim("crm", 1, 60, 1).await.expect("a claim").remove(0);
    let settlement = Settlement { verdict: Verdict::Delivered { at_ms: 1 }, history: vec![], puts: vec![] };
    alone.settle(done.key, done.lease, settlement).await.expect("the lease");
    alone.close().await.expect("a clean close");

    let node = Node::at(folder, options(&redis, "{formgate}"), pace()).await;
    node.told().await;
    let other = Node::join(&redis).await;
    assert_eq!(claimed(&other, 2).await.len(), 2);
    assert_eq!(value(&other, Table::Submission, &key(0)).await.as_deref(), Some(&b"canary-body-0"[..]));

    let folder = node.leave().await;
    let alone = Store::open_embedded(&Options::new(folder.path())).expect("the store opens");
    let due = alone.claim("crm", i64::MAX / 2, 60, 10).await.expect("a claim");
    assert_eq!(due.len(), 2, "what was entrusted is its own again");
}

//! Erased on one node, gone from every other with all that belongs to it, also from one that was away meanwhile. Audit events
//! whose time is over go, and do not come back.

use std::sync::Arc;

use formgate::audit::{self, Event};
use formgate::crypto::MacKey;
use formgate::store::{
    Batch, DeliveryFilter, Error, Expectation, Mac, NewDelivery, Options, Put, SharedOpenError,
    SharedOptions, Store, Table, trace,
};
use tempfile::TempDir;
use tokio::time::sleep;

use super::fixture::{Node, Redis, emptied, options, pace};

const ID: [u8; 16] = [0xa7; 16];

/// What a person is found by; nothing else has these bytes.
fn person() -> Vec<u8> {
    let hash: Vec<u8> = (0..32_u8).map(|at| at.wrapping_mul(37).wrapping_add(11)).collect();
    [hash.as_slice(), &ID].concat()
}

fn accepted() -> Batch {
    let listed = [[7; 8].as_slice(), &ID].concat();
    let records = [
        Put::new(Table::Timeline, listed, "canary-entry"),
        Put::new(Table::Person, person(), []),
        Put::new(Table::File, ID, "canary-files"),
        Put::new(Table::Reply, [9; 32], "canary-reply"),
    ];
    let batch = Batch::at(0).put(Put::new(Table::Submission, ID, "canary-body"));
    let batch =
        records.into_iter().fold(batch, |batch, put| batch.put(trace(ID, put.table, &put.key)).put(put));
    batch.deliver(NewDelivery { key: [0xd1; 16], submission: ID, destination: "crm".into(), due_at_ms: 0 })
}

fn canaries() -> Vec<Vec<u8>> {
    let texts = ["canary-entry", "canary-files", "canary-reply", "canary-body"];
    texts.iter().map(|text| text.as_bytes().to_vec()).chain([person(), [0xd1; 16].to_vec()]).collect()
}

fn on_disk(node: &Node) -> usize {
    canaries().iter().filter(|canary| node.has_on_disk(canary)).count()
}

async fn is_nowhere(node: &Node) -> bool {
    let filter = DeliveryFilter { submission: Some(ID), ..DeliveryFilter::default() };
    let deliveries = node.store.deliveries(filter, None, 9).await.expect("a read");
    let body = node.store.get(Table::Submission, &ID).await.expect("a read");
    let found_by = node.store.get(Table::Person, &person()).await.expect("a read");
    deliveries.is_empty() && found_by.is_none() && body.is_none_or(|record| record.value.is_empty())
}

#[tokio::test]
async fn all_of_an_erased_submission_is_gone_from_the_files_of_every_node_tombstones_included() {
    let redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    one.store.commit(accepted()).await.expect("a commit");
    two.store.adopt(ID).await.expect("it is in Redis");
    assert_eq!((on_disk(&one), on_disk(&two)), (6, 6), "the search finds what is there");
    two.erase(ID).await;
    one.until("it is gone from the other's files", async || on_disk(&one) == 0).await;
    two.until("it is gone from its own", async || {
        two.store.scrub().await.expect("a scrub");
        on_disk(&two) == 0
    })
    .await;
    assert!(is_nowhere(&one).await && is_nowhere(&two).await);
    assert_eq!(redis.run::<u64>(&["HLEN", "{formgate}:x"]), 2, "one for all, and one of the reply");
}

#[tokio::test]
async fn a_node_that_was_away_brings_nothing_back_to_a_redis_that_was_emptied_and_forgets_it_too() {
    let mut redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    one.store.commit(accepted()).await.expect("a commit");
    let away = one.crash();
    two.erase(ID).await;
    emptied(&mut redis, &[&two]).await;
    let one = Node::at(away, options(&redis, "{formgate}"), pace()).await;
    one.told().await;
    assert!(is_nowhere(&one).await && is_nowhere(&two).await);
    one.until("it is gone from its files", async || on_disk(&one) == 0).await;
    // And the other way round: first told by the one that was away.
    emptied(&mut redis, &[&one, &two]).await;
    assert!(is_nowhere(&one).await && is_nowhere(&two).await);
}

/// As if it had not been used for so many days.
fn rest(folder: &TempDir, days: i64) {
    let file = rusqlite::Connection::open(folder.path().join("store.sqlite3")).expect("the file");
    let noted: Vec<u8> = file
        .query_row("SELECT value FROM node WHERE name = 'seen'", [], |row| row.get(0))
        .expect("it was noted");
    let seen_ms = i64::from_be_bytes(noted.try_into().expect("a time")) - days * 24 * 3_600_000;
    let note = "UPDATE node SET value = ?1 WHERE name = 'seen'";
    assert_eq!(file.execute(note, [seen_ms.to_be_bytes().to_vec()]).expect("a write"), 1);
}

#[tokio::test]
async fn a_node_that_was_away_for_longer_than_anybody_remembers_tells_nothing() {
    let mut redis = Redis::start().await;
    let at =
        async |folder: TempDir, redis: &Redis| Node::at(folder, options(redis, "{formgate}"), pace()).await;
    let node = Node::join(&redis).await;
    node.store.commit(Batch::at(0).put(Put::new(Table::Secret, "key", "sealed"))).await.expect("a commit");
    node.told().await;
    let folder = node.leave().await;
    rest(&folder, 34);
    let folder = at(folder, &redis).await.leave().await;
    rest(&folder, 36);
    let refused = async |redis: &Redis| {
        let journal = Options::new(folder.path());
        let starting = SharedOptions { journal, redis: options(redis, "{formgate}"), pace: pace() };
        Store::open_shared(starting).await.map(|_| ())
    };
    let away = refused(&redis).await;
    assert!(matches!(away, Err(SharedOpenError::Away { days: 36 })), "{away:?}");
    assert!(away.is_err_and(|reason| reason.to_string().contains("empty data folder")));
    // It starts while Redis is away, and does not find out before it is back.
    redis.kill();
    let node = at(folder, &redis).await;
    redis.restart().await;
    sleep(pace().look_every * 20).await;
    assert!(node.store.standing().is_some_and(|standing| !standing.reachable), "it goes on alone");
    let folder = node.leave().await;
    // Of an empty one nobody has erased anything.
    redis.wipe();
    redis.restart().await;
    let node = at(folder, &redis).await;
    node.told().await;
    assert_eq!(redis.run::<u64>(&["HLEN", "{formgate}:v:7"]), 1);
}

/// It comes again, as long as it is known that there was one.
async fn is_refused(node: &Node) -> bool {
    let again = accepted().require(Table::Submission, ID, Expectation::Absent);
    match node.store.commit(again).await {
        Ok(()) => false,
        Err(Error::Conflict { existing, .. }) => existing.is_some_and(|record| record.value.is_empty()),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_late_repeat_of_what_another_node_erased_is_refused_also_when_redis_and_either_node_are_gone() {
    for eraser_is_gone in [false, true] {
        let mut redis = Redis::start().await;
        let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
        one.store.commit(accepted()).await.expect("a commit");
        // Who erases has never had a copy.
        two.erase(ID).await;
        one.until("it has heard", async || on_disk(&one) == 0).await;
        let left = if eraser_is_gone {
            drop(two.crash());
            one
        } else {
            drop(one.crash());
            two
        };
        emptied(&mut redis, &[&left]).await;
        assert!(is_refused(&left).await, "the eraser is gone: {eraser_is_gone}");
        let new = Node::join(&redis).await;
        assert!(is_refused(&new).await, "the eraser is gone: {eraser_is_gone}");
    }
}

#[tokio::test]
async fn audit_events_whose_time_is_over_are_gone_from_redis_and_a_refill_brings_none_back() {
    let mut redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    for (node, seed) in [(&one, 1), (&two, 2)] {
        let key: Arc<dyn Mac> = Arc::new(MacKey::from_bytes(&[seed; 32]).expect("32 bytes"));
        let beginning = node.store.chain_beginning(&*key);
        node.store.commit(Batch::at(0).put(beginning)).await.expect("a commit");
        node.store.chain_audit(key);
        for at_ms in 0..10 {
            let event = Event::ok(at_ms, "test", "thing.done", at_ms);
            node.store.commit(Batch::at(0).put(event.put())).await.expect("a commit");
        }
    }
    let count = async || audit::newest(&one.store, 100).await.expect("a read").len();
    assert_eq!(count().await, 20);
    audit::trim(&one.store, 6).await.expect("a write");
    assert_eq!(count().await, 8, "of both nodes");
    emptied(&mut redis, &[&one, &two]).await;
    assert_eq!(count().await, 14, "the other node has not deleted its own yet");
    audit::trim(&two.store, 6).await.expect("a write");
    assert_eq!(count().await, 8);
    emptied(&mut redis, &[&one, &two]).await;
    assert_eq!(count().await, 8);
    for (node, seed) in [(&one, 1), (&two, 2)] {
        let key: Arc<dyn Mac> = Arc::new(MacKey::from_bytes(&[seed; 32]).expect("32 bytes"));
        let found = audit::verify(&node.store, key).await.expect("a read");
        assert_eq!((found.trimmed, found.entries, found.broken), (6, 4, None));
    }
    assert_eq!(redis.run::<u64>(&["HLEN", "{formgate}:x"]), 0, "without a tombstone for each");
}

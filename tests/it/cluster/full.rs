//! What is full: Redis, which then refuses every write, and the journal.

use formgate::store::{DeliveryState, Error, Pace, Put, Table, Verdict};
use tempfile::TempDir;

use super::fixture::{Node, Redis, options, pace};
use super::{accept, claimed, settle, states, submission};

fn limit(redis: &Redis, bytes: &str) {
    let client = redis::Client::open(redis.url()).expect("an address");
    let mut connection = client.get_connection().expect("a connection");
    let set = redis::cmd("CONFIG").arg(&["SET", "maxmemory", bytes]).exec(&mut connection);
    set.expect("a limit");
}

#[tokio::test]
async fn a_redis_that_is_full_is_as_good_as_away_and_used_again_when_it_has_room() {
    let redis = Redis::start().await;
    let node = Node::join(&redis).await;
    node.told().await;
    limit(&redis, "1");
    accept(&node, 0..5).await;
    // It can still be read, and is, all the time, as by workers.
    node.until("it goes on alone", async || {
        node.store.next_due("crm").await.expect("a read");
        node.store.claim("nobody", 1, 60_000, 1).await.expect("a claim");
        node.store.standing().is_some_and(|standing| !standing.reachable)
    })
    .await;
    let mine = claimed(&node, 5).await;
    for delivery in &mine[..4] {
        settle(&node, delivery, Verdict::Delivered { at_ms: 2 }).await.expect("the lease");
    }
    // It stays so as long as nothing can be written there.
    tokio::time::sleep(pace().look_every * 6).await;
    assert!(node.store.standing().is_some_and(|standing| !standing.reachable));
    limit(&redis, "0");
    node.told().await;
    let other = Node::join(&redis).await;
    let delivered =
        states(&other).await.iter().filter(|(_, state)| *state == DeliveryState::Delivered).count();
    assert_eq!((states(&other).await.len(), delivered), (5, 4));
}

#[tokio::test]
async fn only_what_has_come_since_redis_was_seen_fills_a_journal() {
    let mut redis = Redis::start().await;
    let small = Pace { most_bytes: 1 << 20, ..pace() };
    let node = Node::at(TempDir::new().expect("a folder"), options(&redis, "{formgate}"), small).await;
    let large = |number: u8| {
        let mut batch = submission(number);
        batch.puts[0] = Put::new(Table::Submission, [number; 16], vec![number; 300_000]);
        batch
    };
    // More than the limit, and nothing of it waits.
    for number in 0..8 {
        node.store.commit(large(number)).await.expect("accepted");
    }
    node.until("the file has it", async || {
        node.store.scrub().await.expect("a scrub");
        node.folder.path().join("store.sqlite3").metadata().is_ok_and(|file| file.len() > 2 << 20)
    })
    .await;
    node.told().await;
    tokio::time::sleep(pace().look_every * 3).await;
    redis.kill();
    node.alone().await;
    tokio::time::sleep(pace().look_every * 3).await;
    node.store.commit(large(8)).await.expect("there is room");
    let next = std::sync::atomic::AtomicU8::new(9);
    node.until("it is full", async || {
        // The log is folded into the file.
        node.store.scrub().await.expect("a scrub");
        let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        matches!(node.store.commit(large(number)).await, Err(Error::Busy))
    })
    .await;
    assert!(next.into_inner() >= 11, "a mebibyte is more than three of them");
    // One that goes nowhere is a submission, too.
    let mut nowhere = large(200);
    nowhere.deliveries.clear();
    assert!(matches!(node.store.commit(nowhere).await, Err(Error::Busy)));
}

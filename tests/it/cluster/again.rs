//! What has ended is not given out again by a Redis that has forgotten it.

use std::time::Duration;

use formgate::store::{DeliveryState, Error, Options, Pace, SharedOptions, Store, Verdict};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::fixture::{Node, PATIENCE, Redis, options, pace};
use super::{accept, claim, claimed, key, settle, states};

const DELIVERED: Verdict = Verdict::Delivered { at_ms: 2 };

/// A node that hears of what others have ended from nobody but Redis, and asks Redis as long as it may only be a moment.
async fn join(redis: &Redis, look_every: Duration) -> Node {
    let pace = Pace { down_after: PATIENCE, reconcile_every: PATIENCE, look_every, ..pace() };
    Node::at(TempDir::new().expect("a folder"), options(redis, "{formgate}"), pace).await
}

fn numbers(claimed: &[formgate::store::Delivery]) -> Vec<u8> {
    let mut numbers: Vec<u8> = claimed.iter().map(|delivery| delivery.key[0]).collect();
    numbers.sort_unstable();
    numbers
}

/// Claims whatever there is, as soon as Redis answers, until so many were claimed.
async fn claimed_at_once(node: &Node, count: usize) -> Vec<u8> {
    let (mut all, give_up) = (vec![], Instant::now() + PATIENCE);
    while all.len() < count {
        assert!(Instant::now() < give_up, "only {all:?}");
        all.extend(claim(node, 100_000).await);
        sleep(Duration::from_millis(1)).await;
    }
    numbers(&all)
}

#[tokio::test]
async fn an_old_backup_gives_nothing_out_before_everybody_has_told_what_has_ended_since() {
    let mut redis = Redis::start().await;
    let often = Duration::from_millis(500);
    let (one, two) = (join(&redis, often).await, join(&redis, often).await);
    accept(&one, 0..6).await;
    // The half minute for which nodes may hold claims back was over when the backup was made.
    let (seconds, _): (i64, i64) = redis.run(&["TIME"]);
    let before_ms = (seconds - 40) * 1_000;
    redis.run::<()>(&["HSET", "{formgate}:held", "since", &before_ms.to_string()]);
    for node in [&one, &two] {
        node.knows(2).await;
    }
    let backup = redis.back_up();
    for delivery in claimed(&two, 6).await.iter().filter(|delivery| delivery.key[0] < 3) {
        settle(&two, delivery, DELIVERED).await.expect("the lease");
    }
    for _ in 0..2 {
        redis.put_back(&backup);
        redis.restart().await;
        let rest = claimed_at_once(&one, 3).await;
        assert_eq!(rest, [3, 4, 5], "the others had been delivered");
    }
}

#[tokio::test]
async fn what_a_node_has_ended_waits_for_it_also_if_it_takes_its_time_to_start() {
    let mut redis = Redis::start().await;
    let often = Duration::from_millis(50);
    let (one, two) = (join(&redis, often).await, join(&redis, often).await);
    accept(&one, 0..6).await;
    for delivery in claimed(&two, 6).await.iter().filter(|delivery| delivery.key[0] < 3) {
        settle(&two, delivery, DELIVERED).await.expect("the lease");
    }
    one.knows(2).await;
    let folder = two.crash();
    redis.wipe();
    redis.restart().await;
    let journal = Options::new(folder.path());
    let starting = SharedOptions { journal, redis: options(&redis, "{formgate}"), pace: pace() };
    let (_store, tasks) = Store::open_shared(starting).await.expect("it starts");
    // It has seen that Redis is empty, and has told nothing yet.
    let told_at = Instant::now() + Duration::from_secs(2);
    while Instant::now() < told_at {
        assert_eq!(numbers(&claim(&one, 100_000).await), [0_u8; 0], "nobody knows yet what has ended");
        sleep(Duration::from_millis(20)).await;
    }
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(tasks.run(stopped));
    assert_eq!(claimed_at_once(&one, 3).await, [3, 4, 5]);
}

#[tokio::test]
async fn an_outcome_is_kept_by_whoever_has_it_if_redis_has_forgotten_the_lease() {
    let redis = Redis::start().await;
    // It has not looked at Redis since.
    let one = join(&redis, PATIENCE).await;
    accept(&one, 0..2).await;
    let mine = claimed(&one, 2).await;
    redis.run::<()>(&["FLUSHALL"]);
    settle(&one, &mine[0], DELIVERED).await.expect("the destination has it");
    one.until("Redis has it", async || {
        let there: Option<String> = redis.run(&["HGET", "{formgate}:n", "crm\x003"]);
        there.is_some_and(|count| count == "1")
    })
    .await;
    one.told().await;
    redis.run::<()>(&["FLUSHALL"]);
    let renewed = one.store.renew(mine[1].key, mine[1].lease, 90_000).await;
    assert!(matches!(renewed, Err(Error::Busy)), "whoever attempts it goes on: {renewed:?}");
    let is_delivered = async || states(&one).await.contains(&(mine[0].key[0], DeliveryState::Delivered));
    one.until("Redis has it again", is_delivered).await;
    one.until("of the one that it knows, it says that there is no such lease", async || {
        matches!(one.store.renew(key(9), 1, 90_000).await, Err(Error::StaleLease))
    })
    .await;
}

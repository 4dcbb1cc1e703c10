//! What is made of the deliveries alone, queues, list of destinations and counts, and is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use formgate::store::redis::Redis;
use formgate::store::{
    Batch, Delivery, DeliveryFilter, DeliveryState, Erasure, Lane, NewDelivery, QueueDepth, Reopen, Verdict,
};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::server::Server;
use super::{claim, delivery, opened, settled};

/// More than there are.
const ALL: u32 = 1_000;
/// Longer than a test takes.
const SELDOM: Duration = Duration::from_secs(3_600);

fn lose(server: &Server, names: &[&str]) {
    let names: Vec<String> = names.iter().map(|name| format!("{{formgate}}:{name}")).collect();
    let command: Vec<&str> = std::iter::once("DEL").chain(names.iter().map(String::as_str)).collect();
    assert!(server.run::<u32>(&command) > 0, "{names:?} were there");
}

#[tokio::test]
async fn queues_that_were_lost_are_filled_again_from_what_is_open() {
    let (server, redis) = opened().await;
    for number in 1..=9 {
        redis.commit(&Batch::at(0).deliver(delivery(number, number.into()))).await.expect("a commit");
    }
    assert_eq!(redis.sweep(ALL, SELDOM).await.expect("an answer"), None, "nothing is missing");
    let claimed = redis.claim(&claim(3, 3)).await.expect("a claim");
    redis
        .settle(claimed[0].key, claimed[0].lease, &settled(Verdict::Delivered { at_ms: 3 }))
        .await
        .expect("ok");
    let retry = settled(Verdict::Retry { due_at_ms: 90 });
    redis.settle(claimed[1].key, claimed[1].lease, &retry).await.expect("the lease");
    // Whatever was looked at last, and however few at once.
    for keys in [ALL, 2] {
        for queues in [&["q:0:crm"][..], &["q:1:crm"], &["q:0:crm", "q:1:crm", "q:2:crm", "dests"]] {
            let before = redis.next_due("crm").await.expect("an answer");
            lose(&server, queues);
            let found = redis.sweep(keys, SELDOM).await.expect("an answer");
            assert!(found.is_some_and(|found| found > 0), "{queues:?}");
            assert_eq!(redis.next_due("crm").await.expect("an answer"), before, "{queues:?}");
        }
    }
    assert_eq!(redis.depths().await.expect("an answer").len(), 1);
    let leased = claimed[2].due_at_ms;
    assert_eq!(redis.claim(&claim(leased - 1, 99)).await.expect("a claim").len(), 6, "the lease still holds");
    let rest = redis.claim(&claim(leased.max(90), 99)).await.expect("a claim");
    assert!(rest.iter().any(|delivery| delivery.key == claimed[2].key), "and ends when it would have");
    assert!(!rest.iter().any(|delivery| delivery.key == claimed[0].key), "what has ended stays so");
}

#[tokio::test]
async fn queues_that_were_lost_together_with_their_counts_are_filled_again_a_few_at_a_time() {
    let (server, redis) = opened().await;
    for number in 1..=9 {
        redis.commit(&Batch::at(0).deliver(delivery(number, number.into()))).await.expect("a commit");
    }
    redis.claim(&claim(2, 2)).await.expect("a claim");
    let (due, depths) = (redis.next_due("crm").await, redis.depths().await.expect("an answer"));
    lose(&server, &["q:0:crm", "n"]);
    assert_eq!(redis.sweep(4, Duration::ZERO).await.expect("an answer"), Some(4));
    assert_eq!(redis.sweep(4, SELDOM).await.expect("an answer"), None, "not again so soon");
    let mut found = 4;
    for _ in 0..2 {
        found += redis.sweep(4, Duration::ZERO).await.expect("an answer").unwrap_or(0);
    }
    assert_eq!(found, 9);
    assert_eq!(redis.next_due("crm").await.expect("an answer"), due.expect("an answer"));
    assert_eq!(redis.depths().await.expect("an answer"), depths);
}

async fn all(redis: &Redis) -> Vec<Delivery> {
    redis.deliveries(&DeliveryFilter::default(), None, ALL).await.expect("a read")
}

async fn depths(redis: &Redis) -> Vec<QueueDepth> {
    let mut depths = redis.depths().await.expect("a read");
    depths.iter_mut().for_each(|depth| depth.oldest_due_at_ms = None);
    depths.retain(|depth| depth.due + depth.in_flight + depth.delivered + depth.dead > 0);
    depths
}

fn counted(all: &[Delivery]) -> Vec<QueueDepth> {
    let mut depths = BTreeMap::<&str, QueueDepth>::new();
    for delivery in all {
        let depth = depths.entry(&delivery.destination).or_default();
        depth.destination.clone_from(&delivery.destination);
        match delivery.state {
            DeliveryState::Due => depth.due += 1,
            DeliveryState::Leased => depth.in_flight += 1,
            DeliveryState::Delivered => depth.delivered += 1,
            DeliveryState::Dead => depth.dead += 1,
            DeliveryState::Superseded | DeliveryState::Parked => {}
        }
    }
    let mut depths: Vec<_> = depths.into_values().collect();
    depths.retain(|depth| depth.due + depth.in_flight + depth.delivered + depth.dead > 0);
    depths
}

/// Something that changes what is counted.
async fn change(redis: &Redis, at_ms: i64, dice: &mut SmallRng) {
    let all = all(redis).await;
    let any = (!all.is_empty()).then(|| all[dice.random_range(0..all.len())].clone());
    let destination = ["crm", "other"][dice.random_range(0..2)].to_owned();
    match (dice.random_range(0..8), any) {
        (0..=2, _) | (_, None) => {
            let (key, submission) = (dice.random(), dice.random());
            let new = NewDelivery { key, submission, destination, due_at_ms: at_ms };
            redis.commit(&Batch::at(0).deliver(new)).await.expect("a commit");
        }
        (3, _) => {
            drop(redis.claim(&formgate::store::Claim { destination, ..claim(at_ms, 4) }).await.expect("ok"))
        }
        (4 | 5, Some(any)) => {
            let verdicts = [
                Verdict::Delivered { at_ms },
                Verdict::Dead { at_ms },
                Verdict::Retry { due_at_ms: at_ms },
                Verdict::Superseded { at_ms },
            ];
            let settlement = settled(verdicts[dice.random_range(0..verdicts.len())]);
            // Of one that is not leased it is refused.
            let _stale = redis.settle(any.key, any.lease, &settlement).await;
        }
        (6, Some(any)) => {
            let new_key = if dice.random() { any.key } else { dice.random() };
            let reopen = Reopen { key: any.key, new_key, lane: Lane::Bulk, due_at_ms: at_ms };
            redis.commit(&Batch::at(0).reopen(reopen)).await.expect("a commit");
        }
        (_, Some(any)) => {
            let erasure = Erasure {
                submission: any.submission,
                settled: None,
                forget_at_ms: at_ms,
                deletes: vec![],
                puts: vec![],
            };
            redis.erase(&erasure).await.expect("an answer");
        }
    }
}

#[tokio::test]
async fn counts_that_were_lost_are_right_after_a_sweep_whatever_changed_meanwhile() {
    let (server, redis) = opened().await;
    let seed = rand::random();
    println!("seed {seed}");
    let mut dice = SmallRng::seed_from_u64(seed);
    for round in 0..20_i64 {
        for step in 0..20 {
            change(&redis, round * 100 + step, &mut dice).await;
        }
        // One that is finished, so that the next begins with what is damaged.
        while server.run::<bool>(&["HEXISTS", "{formgate}:sweep", "after"]) {
            redis.sweep(ALL, Duration::ZERO).await.expect("an answer");
        }
        server.run::<()>(&["HSET", "{formgate}:n", "crm\0\0", "7"]);
        server.run::<u32>(&["HINCRBY", "{formgate}:n", "other\x003", "5"]);
        loop {
            redis.sweep(3, Duration::ZERO).await.expect("an answer");
            if !server.run::<bool>(&["HEXISTS", "{formgate}:sweep", "after"]) {
                break;
            }
            change(&redis, round * 100 + 50, &mut dice).await;
        }
        assert_eq!(depths(&redis).await, counted(&all(&redis).await), "round {round}");
    }
}

//! What Redis keeps is deleted while it runs: the queues, which wake the workers, and then everything.

use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::SmallRng;

use super::nodes::{Ended, NODES, PATIENCE, Plan, Scene, open};
use super::server::{Server, until};
use crate::run;
use crate::sink::Manner;

/// Deletions of the queues, and of everything.
const QUEUES: (u32, u32) = (20, 20);
const ALL: (u32, u32) = (3, 3);
/// How long deliveries may stand still because of lost queues.
const STALL: Duration = Duration::from_secs(2);
/// What the destination and a busy machine need besides.
const SLACK: Duration = Duration::from_secs(1);

const DELETE_QUEUES: [&str; 5] =
    ["DEL", "{formgate}:q:0:crm", "{formgate}:q:1:crm", "{formgate}:q:2:crm", "{formgate}:dests"];

const FLUSH: [&str; 1] = ["FLUSHALL"];

/// Lets deliveries pile up, deletes, and waits until all that was acknowledged is delivered: how long that took, and how
/// many were waiting.
async fn delete(
    scene: &Scene,
    redis: &Server,
    command: &[&str],
    dice: &mut SmallRng,
) -> (Option<Duration>, i64) {
    scene.sink.behave(Manner::Slow(Duration::from_millis(700)));
    scene.people.resume();
    // More than all nodes may have in their hands, so that some are in a queue.
    until("deliveries pile up", || open(redis) > 30);
    tokio::time::sleep(Duration::from_millis(dice.random_range(0..100))).await;
    let waiting = super::nodes::counted(redis, "0");
    let began = Instant::now();
    redis.run::<()>(command);
    if command == FLUSH {
        scene.ledger.leases_lost("Redis was emptied", began, NODES);
    }
    scene.people.hold();
    scene.sink.behave(Manner::Well);
    (scene.until_delivered(&scene.ledger.acknowledged(), PATIENCE).await, waiting)
}

async fn deletions(queues: u32, all: u32, dice: &mut SmallRng) -> Ended {
    let redis = Server::start();
    let scene = Scene::start(&redis, Plan { people: 12, ..Plan::default() }, dice).await;
    let (mut slowest, mut lost) = ([Duration::ZERO; 2], 0);
    let commands = (0..queues).map(|_| &DELETE_QUEUES[..]).chain((0..all).map(|_| &FLUSH[..]));
    for command in commands {
        let (took, waiting) = delete(&scene, &redis, command, dice).await;
        println!("{command:?}: {waiting} waited, delivered after {took:?}");
        let what = usize::from(command == FLUSH);
        slowest[what] = slowest[what].max(took.unwrap_or(PATIENCE));
        lost += waiting;
    }
    let [queues, all] = slowest;
    println!(
        "{lost} waited in what was deleted; the longest stalls: {queues:?} (queues), {all:?} (everything)"
    );
    let begun = Instant::now();
    let ended = scene.finish(&redis, PATIENCE).await;
    println!("the rest took {:?}", begun.elapsed());
    assert!(lost > 0, "nothing was in what was deleted");
    let limit = run::limit(STALL) + SLACK;
    assert!(queues <= limit, "queues: a stall of {queues:?}");
    assert!(all <= limit, "everything: a stall of {all:?}");
    ended
}

#[test]
fn queues_that_are_deleted_and_a_redis_that_is_flushed_lose_nothing_and_stall_for_a_moment() {
    let (queues, all) = (run::numbers(QUEUES.0, QUEUES.1), run::numbers(ALL.0, ALL.1));
    let mut dice = run::dice();
    let ended = run::runtime().block_on(deletions(queues, all, &mut dice));
    ended.tell("queues are deleted, everything is flushed", queues + all);
    ended.assert_kept();
    ended.assert_repeats_explained();
}

/// The control: nodes that do not look whether queues are whole.
#[test]
fn nodes_that_do_not_mend_queues_are_caught_with_deliveries_that_stand_still() {
    let mut dice = run::dice();
    let ended = run::runtime().block_on(async {
        let redis = Server::start();
        let plan = Plan { points: "cluster.tells_nothing:on", people: 12, ..Plan::default() };
        let scene = Scene::start(&redis, plan, &mut dice).await;
        scene.sink.behave(Manner::Slow(Duration::from_millis(700)));
        scene.people.resume();
        until("deliveries pile up", || open(&redis) > 30);
        scene.people.hold();
        redis.run::<()>(&DELETE_QUEUES);
        scene.sink.behave(Manner::Well);
        scene.finish(&redis, Duration::from_secs(6)).await
    });
    ended.tell("queues are deleted and not mended: control", 1);
    assert!(!ended.lost.is_empty(), "the harness would not notice");
}

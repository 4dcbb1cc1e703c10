//! The power of Redis fails, and the disks of nodes are destroyed in the same moment.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::SmallRng;
use tempfile::TempDir;

use super::nodes::{Ended, NODES, PATIENCE, Plan, Scene};
use super::server::{Server, program, valkey};
use crate::disk::{Disk, Left};
use crate::run;
use crate::sink::Manner;

const ROUNDS: (u32, u32) = (4, 20);
const WAITING: [(&str, &str); 1] = [("FORMGATE_STORE__ACKNOWLEDGE", "redis")];
/// How long a destination takes, so that what is lost was not delivered before.
const SLOW: Duration = Duration::from_millis(400);
/// The log is never written anew: what a shim cannot follow is that.
const ONE_LOG: [&str; 2] = ["--auto-aof-rewrite-percentage", "0"];
/// How long people are watched who must not be told anything.
const SILENCE: Duration = Duration::from_millis(500);
const ON_ITS_WAY: Duration = Duration::from_millis(100);
/// How soon a node says that it is not ready, although nobody asks it for anything.
const NOTICED_WITHIN: Duration = Duration::from_secs(8);
/// How soon a person is told that nothing came of it: the promise, and what a busy machine adds.
const ANSWERS_WITHIN: Duration = Duration::from_millis(3_500);

/// A Redis on a disk that loses what was not synced.
struct Powered {
    server: Server,
    disk: Disk,
    _folder: TempDir,
}

impl Powered {
    fn start(program: PathBuf, appendfsync: &str) -> Powered {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, wrapped) = (folder.path().join("disk"), folder.path().join("program"));
        let disk = Disk::at(&root);
        disk.program(&program, &wrapped);
        let root = root.display().to_string();
        let arguments = [&["--appendfsync", appendfsync, "--dir", &root], &ONE_LOG[..]].concat();
        // It makes its files while everything that is written stays; from then on only what is synced does.
        drop(Server::start_program(program, &arguments));
        Powered { server: Server::start_program(wrapped, &arguments), disk, _folder: folder }
    }

    fn lose_power(&mut self, dice: &mut SmallRng) {
        self.server.kill();
        self.disk.lose(Left::Nothing, dice);
    }
}

async fn rounds(redis: &mut Powered, rounds: u32, plan: Plan<'_>, dice: &mut SmallRng) -> Ended {
    let confirms = plan.variables == WAITING && plan.points.is_empty();
    let mut scene = Scene::start(&redis.server, plan, dice).await;
    for round in 0..rounds {
        scene.sink.behave(Manner::Slow(SLOW));
        scene.people.resume();
        scene.ledger.until_acknowledged(dice.random_range(10..30)).await;
        let began = Instant::now();
        redis.lose_power(dice);
        if confirms && round == 0 {
            nobody_is_told_anything(&scene).await;
        } else {
            tokio::time::sleep(Duration::from_millis(dice.random_range(0..300))).await;
        }
        // Of one node, or of all of them.
        let lost = dice.random_range(1..=NODES);
        for node in 0..lost {
            scene.lose_disk(node);
        }
        let told = scene.ledger.acknowledged();
        redis.server.restart();
        for node in 0..lost {
            scene.spawn(node);
        }
        for node in 0..NODES {
            scene.ready(node).await;
        }
        scene.ledger.leases_lost("Redis lost its disk", began, NODES);
        println!("round {round}: {} acknowledged, the disks of {lost} nodes gone", told.len());
    }
    scene.sink.behave(Manner::Well);
    let patience = if confirms { PATIENCE } else { Duration::from_secs(6) };
    scene.finish(&redis.server, patience).await
}

/// Without Redis people are asked to try again, and no load balancer sends them to these nodes.
async fn nobody_is_told_anything(scene: &Scene) {
    // What was confirmed in the last moment may be on its way.
    tokio::time::sleep(ON_ITS_WAY).await;
    let (told, begun) = (scene.ledger.acknowledged(), Instant::now());
    for gate in &scene.gates {
        while gate.is_ready().await {
            assert!(begun.elapsed() < NOTICED_WITHIN, "it would be sent people: {}", gate.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    tokio::time::sleep(SILENCE).await;
    assert_eq!(scene.ledger.acknowledged(), told, "told without Redis");
}

fn assert_nothing_is_lost(program: PathBuf, fault: &str) {
    let (number, mut dice) = (run::numbers(ROUNDS.0, ROUNDS.1), run::dice());
    let ended = run::runtime().block_on(async {
        let mut redis = Powered::start(program, "always");
        let plan = Plan { variables: &WAITING, ..Plan::default() };
        rounds(&mut redis, number, plan, &mut dice).await
    });
    ended.tell(fault, number);
    ended.assert_kept();
    ended.assert_repeats_explained();
    assert!(ended.acknowledged.len() >= number as usize * 10, "only {}", ended.acknowledged.len());
    let waited = ended.ledger.longest_wait();
    assert!(waited <= ANSWERS_WITHIN, "somebody waited {waited:?}");
}

#[test]
fn what_redis_has_synced_before_it_was_acknowledged_needs_no_disk_of_any_node() {
    let fault = "Redis and the disks of nodes lose power, acknowledged when synced";
    assert_nothing_is_lost(program(), fault);
}

#[test]
fn valkey_keeps_its_word_as_well() {
    let Some(program) = valkey() else {
        eprintln!("Valkey is not there; tests/run puts it into target/tools");
        return;
    };
    assert_nothing_is_lost(program, "Valkey and the disks of nodes lose power, acknowledged when synced");
}

/// The control: nodes that take what a server that syncs once a second has for safe, as it is with their disks.
#[test]
fn nodes_that_trust_their_own_disk_are_caught_when_it_goes_with_the_last_second_of_redis() {
    let mut dice = run::dice();
    let ended = run::runtime().block_on(async {
        let mut redis = Powered::start(program(), "everysec");
        rounds(&mut redis, 2, Plan::default(), &mut dice).await
    });
    ended.tell("Redis and the disks of nodes lose power, acknowledged before: control", 2);
    assert!(!ended.lost.is_empty(), "the harness would not notice a loss");
}

/// The control: nodes that are to wait for Redis, and do so only as long as it is there.
#[test]
fn nodes_that_do_not_wait_for_a_redis_that_is_away_are_caught_losing_submissions() {
    let mut dice = run::dice();
    let ended = run::runtime().block_on(async {
        let mut redis = Powered::start(program(), "always");
        let plan = Plan { variables: &WAITING, points: "cluster.confirms_nothing:on", ..Plan::default() };
        rounds(&mut redis, 3, plan, &mut dice).await
    });
    ended.tell("Redis and the disks of nodes lose power, not waited for: control", 3);
    assert!(!ended.lost.is_empty(), "the harness would not notice a loss");
}

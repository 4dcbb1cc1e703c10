//! Redis is killed, stopped, emptied and put back to an old backup, and nodes are killed, all of it under load.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::SmallRng;
use tempfile::TempDir;

use super::nodes::{Ended, NODES, PATIENCE, Plan, Scene};
use super::server::Server;
use crate::run;
use crate::sink::Manner;

/// Restarts of Redis per change, and before a release; each with three kills of a node.
const ROUNDS: (u32, u32) = (4, 20);
const KILLS: u32 = 3;
/// Submissions by the last restart, at least.
const SUBMISSIONS: (u32, u32) = (200, 10_000);
/// How much longer a round lasts that is behind.
const LONGER: Duration = Duration::from_secs(60);
/// How soon everything that was acknowledged before Redis answered again has to be delivered.
const RECOVERY: Duration = Duration::from_secs(5);

/// How Redis ends, and what it finds when it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restart {
    Killed,
    Stopped,
    Emptied,
    OldBackup,
}

use Restart::{Emptied, Killed, OldBackup, Stopped};

/// One of each in the first four, and of twenty: ten, five, three, two.
const RESTARTS: [Restart; 20] = [
    Killed, Stopped, Emptied, OldBackup, Killed, Killed, Stopped, Killed, Emptied, Killed, Stopped, Killed,
    OldBackup, Killed, Killed, Stopped, Emptied, Killed, Killed, Stopped,
];

fn copy(from: &Path, to: &Path) {
    for entry in from.read_dir().expect("a folder") {
        let entry = entry.expect("an entry");
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            std::fs::create_dir(&copied).expect("a folder");
            copy(&path, &copied);
        } else {
            std::fs::copy(&path, &copied).expect("a copy");
        }
    }
}

fn back_up(redis: &Server) -> TempDir {
    let backup = TempDir::new().expect("a folder");
    copy(redis.folder.path(), backup.path());
    backup
}

fn end(redis: &mut Server, restart: Restart, backup: &TempDir) {
    match restart {
        Killed => redis.kill(),
        Stopped => redis.stop(),
        Emptied | OldBackup => {
            redis.kill();
            redis.wipe();
            if restart == OldBackup {
                copy(backup.path(), redis.folder.path());
            }
        }
    }
}

async fn restarts(rounds: u32, submissions: u32, dice: &mut SmallRng) -> Ended {
    let mut redis = Server::start();
    let mut scene = Scene::start(&redis, Plan::default(), dice).await;
    scene.people.resume();
    scene.ledger.until_acknowledged(10).await;
    let mut backup = back_up(&redis);
    let mut slowest = Duration::ZERO;
    for (round, restart) in (1..=rounds).zip(RESTARTS.into_iter().cycle()) {
        for _ in 1..KILLS {
            scene.lose_a_node(dice).await;
        }
        let load = Duration::from_millis(dice.random_range(100..400));
        tokio::time::sleep(load).await;
        let by_now = u64::from(submissions) * u64::from(round) / u64::from(rounds);
        let _ = tokio::time::timeout(LONGER, scene.ledger.until_told(by_now)).await;
        let began = Instant::now();
        end(&mut redis, restart, &backup);
        // With Redis away, too: what the node finds is in its journal.
        scene.lose_a_node(dice).await;
        scene.ledger.until_acknowledged(5).await;
        redis.restart();
        scene.ledger.leases_lost("Redis restarted", began, NODES);
        let told = scene.ledger.acknowledged();
        let took = scene.until_delivered(&told, PATIENCE).await;
        println!(
            "{restart:?} at {}: {} were acknowledged before, delivered after {took:?}",
            jiff::Timestamp::now(),
            told.len()
        );
        slowest = slowest.max(took.unwrap_or(PATIENCE));
        if restart == OldBackup {
            backup = back_up(&redis);
        }
    }
    println!("the slowest recovery took {slowest:?}");
    let begun = Instant::now();
    let ended = scene.finish(&redis, PATIENCE).await;
    println!("the rest took {:?}", begun.elapsed());
    assert!(slowest <= run::limit(RECOVERY), "the slowest recovery took {slowest:?}");
    ended
}

#[test]
fn redis_restarted_in_every_way_while_nodes_are_killed_loses_nothing_that_was_acknowledged() {
    let (rounds, mut dice) = (run::numbers(ROUNDS.0, ROUNDS.1), run::dice());
    let submissions = run::target(SUBMISSIONS.0, SUBMISSIONS.1);
    let ended = run::runtime().block_on(restarts(rounds, submissions, &mut dice));
    ended.tell("Redis is restarted, emptied or old, nodes are killed", rounds * (1 + KILLS));
    ended.assert_kept();
    ended.assert_repeats_explained();
    assert!(ended.acknowledged.len() >= submissions as usize, "only {}", ended.acknowledged.len());
}

/// The control: nodes that do not offer again what Redis has lost.
#[test]
fn nodes_that_tell_redis_nothing_again_are_caught_losing_submissions() {
    let mut dice = run::dice();
    let ended = run::runtime().block_on(async {
        let mut redis = Server::start();
        let plan = Plan { points: "cluster.tells_nothing:on", ..Plan::default() };
        let scene = Scene::start(&redis, plan, &mut dice).await;
        scene.sink.behave(Manner::Slow(Duration::from_millis(400)));
        scene.people.resume();
        scene.ledger.until_acknowledged(40).await;
        let nothing = TempDir::new().expect("a folder");
        end(&mut redis, Emptied, &nothing);
        scene.ledger.until_acknowledged(5).await;
        redis.restart();
        scene.sink.behave(Manner::Well);
        scene.finish(&redis, Duration::from_secs(6)).await
    });
    ended.tell("Redis is emptied and not told again: control", 1);
    assert!(!ended.lost.is_empty(), "the harness would not notice a loss");
}

//! The primary dies and a replica, which may be behind, takes its place.

use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::SmallRng;

use super::nodes::{Ended, NODES, PATIENCE, Plan, Scene};
use super::proxy::Proxy;
use super::server::{Server, until};
use crate::run;
use crate::sink::Manner;

/// Promotions for each lag, per change and before a release.
const ROUNDS: (u32, u32) = (2, 12);
/// How soon everything that was acknowledged before a promotion has to be delivered.
const RECOVERY: Duration = Duration::from_secs(5);
const LAG: Duration = Duration::from_millis(200);

/// A primary, a replica that hears everything so late, and one address that leads to the primary.
struct Pair {
    primary: Server,
    replica: Server,
    front: Proxy,
    lag: Duration,
    /// The network between the two.
    between: Proxy,
}

impl Pair {
    async fn start(lag: Duration) -> Pair {
        let (primary, replica) = (Server::start(), Server::start());
        let front = Proxy::start(primary.port, Duration::ZERO).await;
        let between = follow(&replica, &primary, lag).await;
        Pair { primary, replica, front, lag, between }
    }

    /// The primary dies, and the replica is the primary from now on, with what it has heard.
    fn promote(&mut self) {
        self.primary.kill();
        self.replica.run::<()>(&["REPLICAOF", "NO", "ONE"]);
        std::mem::swap(&mut self.primary, &mut self.replica);
        self.front.lead_to(self.primary.port);
    }

    /// The dead one comes back and takes over what the new primary has.
    async fn rejoin(&mut self) {
        self.replica.restart();
        self.between = follow(&self.replica, &self.primary, self.lag).await;
    }
}

async fn follow(replica: &Server, primary: &Server, lag: Duration) -> Proxy {
    let between = Proxy::start(primary.port, lag).await;
    replica.run::<()>(&["REPLICAOF", "127.0.0.1", &between.port.to_string()]);
    until("the replica is in step", || replica.info("master_link_status") == "up");
    between
}

async fn failovers(lag: Duration, rounds: u32, points: &str, dice: &mut SmallRng) -> Ended {
    let mut pair = Pair::start(lag).await;
    let is_control = !points.is_empty();
    let plan = Plan { points, urls: vec![pair.front.url(); NODES], ..Plan::default() };
    let scene = Scene::start(&pair.primary, plan, dice).await;
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        // What is lost must not have been delivered already.
        scene.sink.behave(Manner::Slow(Duration::from_millis(400)));
        scene.people.resume();
        scene.ledger.until_acknowledged(dice.random_range(20..40)).await;
        let began = Instant::now();
        pair.promote();
        scene.ledger.leases_lost("Redis failed over", began, NODES);
        let told = scene.ledger.acknowledged();
        if is_control {
            continue;
        }
        scene.sink.behave(Manner::Well);
        let took = scene.until_delivered(&told, PATIENCE).await;
        println!(
            "promotion {round} with a lag of {lag:?}: {} acknowledged, delivered after {took:?}",
            told.len()
        );
        slowest = slowest.max(took.unwrap_or(PATIENCE));
        pair.rejoin().await;
    }
    scene.sink.behave(Manner::Well);
    println!("the slowest recovery took {slowest:?}");
    assert!(slowest <= run::limit(RECOVERY), "the slowest recovery took {slowest:?}");
    scene.finish(&pair.primary, if is_control { Duration::from_secs(6) } else { PATIENCE }).await
}

fn assert_nothing_is_lost(lag: Duration, fault: &str) {
    let (rounds, mut dice) = (run::numbers(ROUNDS.0, ROUNDS.1), run::dice());
    let ended = run::runtime().block_on(failovers(lag, rounds, "", &mut dice));
    ended.tell(fault, rounds);
    ended.assert_kept();
    ended.assert_repeats_explained();
}

#[test]
fn a_replica_that_becomes_the_primary_loses_nothing_that_was_acknowledged() {
    assert_nothing_is_lost(Duration::ZERO, "Redis fails over");
}

#[test]
fn a_replica_that_was_behind_when_it_became_the_primary_loses_nothing_either() {
    assert_nothing_is_lost(LAG, "Redis fails over to a replica 200 ms behind");
}

/// The control: nodes that take the new primary for the old one.
#[test]
fn nodes_that_do_not_tell_a_new_primary_what_it_lacks_are_caught_losing_submissions() {
    let mut dice = run::dice();
    let ended = run::runtime().block_on(failovers(LAG, 1, "cluster.trusts_any_redis:on", &mut dice));
    ended.tell("Redis fails over, 200 ms behind, and is trusted: control", 1);
    assert!(!ended.lost.is_empty(), "the harness would not notice a loss");
}

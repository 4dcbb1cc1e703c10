//! A destination that takes so many in ten seconds and blocks whoever does not listen, and one that is broken: three nodes
//! have one bucket and one breaker.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;

use super::nodes::{Ended, PATIENCE, Plan, SCALE, Scene};
use super::server::Server;
use crate::run;
use crate::sink::Manner;

/// Submissions, per change and before a release.
const BACKLOG: (u32, u32) = (240, 5_000);
/// How much faster the outbox's clock goes.
const QUICKER: u32 = 4;
/// HubSpot's forms, without a token: 50 in any ten seconds; ten refusals in one second block the sender for a minute.
const MOST: usize = 50;
const WINDOW: Duration = Duration::from_millis(10_000 / QUICKER as u64);
const REFUSALS: usize = 10;
const SECOND: Duration = Duration::from_millis(1_000 / QUICKER as u64);
/// What stays below: 47 and three at once in ten seconds.
const RATE: &str = "rate_per_minute = 280\nrate_burst = 3";

/// What the destination saw.
#[derive(Default)]
struct Limiter {
    taken: VecDeque<Instant>,
    refused: VecDeque<Instant>,
    blocked_until: Option<Instant>,
    first: Option<Instant>,
    last: Option<Instant>,
    all: usize,
    refusals: usize,
    blocks: usize,
}

impl Limiter {
    /// Whether this one is taken.
    fn takes(&mut self, now: Instant) -> bool {
        let forget = |events: &mut VecDeque<Instant>, window| {
            while events.front().is_some_and(|at| now.duration_since(*at) >= window) {
                events.pop_front();
            }
        };
        forget(&mut self.taken, WINDOW);
        forget(&mut self.refused, SECOND);
        let is_blocked = self.blocked_until.is_some_and(|until| now < until);
        if self.taken.len() < MOST && !is_blocked {
            self.taken.push_back(now);
            self.first.get_or_insert(now);
            self.last = Some(now);
            self.all += 1;
            return true;
        }
        self.refused.push_back(now);
        self.refusals += 1;
        if self.refused.len() >= REFUSALS && !is_blocked {
            self.blocks += 1;
            self.blocked_until = Some(now + SECOND * 60);
        }
        false
    }

    /// Which part of what is allowed was used, from the first to the last.
    fn used(&self) -> f64 {
        let took = self.last.zip(self.first).map_or(Duration::ZERO, |(last, first)| last - first);
        let allowed = took.as_secs_f64() / WINDOW.as_secs_f64() * MOST as f64;
        self.all.saturating_sub(1) as f64 / allowed
    }
}

async fn limited(backlog: u32, points: &str, dice: &mut SmallRng) -> (Ended, Arc<Mutex<Limiter>>) {
    let redis = Server::start();
    let plan = Plan { points, lines: RATE, scale: QUICKER.into(), ..Plan::default() };
    let scene = Scene::start(&redis, plan, dice).await;
    let limiter = Arc::new(Mutex::new(Limiter::default()));
    let asked = Arc::clone(&limiter);
    scene.sink.ask(move || asked.lock().expect("no panic while held").takes(Instant::now()));
    scene.people.resume();
    scene.ledger.until_told(backlog.into()).await;
    // As long as the allowed rate takes, twice; a control never ends in time.
    let is_control = !points.is_empty();
    let patience = WINDOW * backlog / u32::try_from(MOST).expect("few") * 2;
    (scene.finish(&redis, if is_control { WINDOW } else { patience + WINDOW * 2 }).await, limiter)
}

#[test]
fn three_nodes_stay_below_the_limit_of_an_account_together_and_use_most_of_it() {
    let (backlog, mut dice) = (run::numbers(BACKLOG.0, BACKLOG.1), run::dice());
    let (ended, limiter) = run::runtime().block_on(limited(backlog, "", &mut dice));
    let limiter = limiter.lock().expect("no panic while held");
    let used = limiter.used();
    println!(
        "{} taken, {} refused, {} blocks; {:.0} % of the limit used",
        limiter.all,
        limiter.refusals,
        limiter.blocks,
        used * 100.0
    );
    ended.tell("a destination takes 50 in ten seconds", 1);
    ended.assert_kept();
    assert_eq!(limiter.blocks, 0, "the account was blocked");
    assert!(used >= 0.9, "only {used:.2} of the limit was used");
}

/// A control: the same with these switches on. What counts is told under the name of the fault.
fn control(points: &str, fault: &str, count: impl FnOnce(&Limiter) -> usize) {
    let mut dice = run::dice();
    let (ended, limiter) = run::runtime().block_on(limited(BACKLOG.0, points, &mut dice));
    let caught = count(&limiter.lock().expect("no panic while held"));
    run::tell(fault, 1, ended.acknowledged.len(), caught, &ended.ledger.repeats().to_string());
    assert!(caught > 0, "the harness would not notice");
}

/// A bucket for each node alone sends more than is allowed; what one of them is told then holds back all.
#[test]
fn nodes_with_a_bucket_each_are_caught_sending_more_than_the_account_allows() {
    let fault = "a bucket for each node, refused: control";
    control("cluster.bucket_per_node:on", fault, |limiter| limiter.refusals);
}

/// So it takes nodes as well that do not heed what they are told.
#[test]
fn nodes_that_have_no_patience_either_are_caught_with_an_account_that_is_blocked() {
    let points = "cluster.bucket_per_node:on,cluster.patience_of_nobody:on";
    let fault = "a bucket for each node, and no patience, blocked: control";
    control(points, fault, |limiter| limiter.blocks);
}

/// How far apart attempts are, once a destination has been found broken: the shortest, and how many there were.
async fn probes(points: &str, dice: &mut SmallRng) -> (Ended, Option<Duration>, usize) {
    let redis = Server::start();
    let scene = Scene::start(&redis, Plan { points, ..Plan::default() }, dice).await;
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let noting = Arc::clone(&attempts);
    scene.sink.ask(move || {
        noting.lock().expect("no panic while held").push(Instant::now());
        true
    });
    scene.sink.behave(Manner::Broken);
    scene.people.resume();
    scene.ledger.until_acknowledged(60).await;
    scene.people.hold();
    // The first failures open it; what was under way then ends.
    tokio::time::sleep(Duration::from_secs(1)).await;
    attempts.lock().expect("no panic while held").clear();
    tokio::time::sleep(Duration::from_secs(8)).await;
    let seen = attempts.lock().expect("no panic while held").clone();
    scene.sink.behave(Manner::Well);
    let shortest = seen.windows(2).map(|pair| pair[1] - pair[0]).min();
    (scene.finish(&redis, PATIENCE).await, shortest, seen.len())
}

/// The shortest time between two probes: 30 s less a fifth, and what machine and clock take away.
const APART: Duration = Duration::from_millis(30_000 * 7 / 10 / SCALE as u64);

#[test]
fn a_broken_destination_is_probed_by_one_node_for_all() {
    let mut dice = run::dice();
    let (ended, shortest, probes) = run::runtime().block_on(probes("", &mut dice));
    println!("{probes} probes of three nodes, {shortest:?} apart at least");
    ended.tell("a destination is broken, three nodes probe it", 1);
    ended.assert_kept();
    assert!(probes > 0, "nobody probed");
    assert!(shortest.is_none_or(|shortest| shortest >= APART), "two probes {shortest:?} apart");
}

/// The control: nodes that do not look at what the others have found out.
#[test]
fn nodes_with_a_breaker_each_are_caught_probing_at_the_same_time() {
    let mut dice = run::dice();
    let (ended, shortest, probes) =
        run::runtime().block_on(probes("worker.breaker_of_its_own:on", &mut dice));
    println!("{probes} probes of three nodes, {shortest:?} apart at least");
    let told = ended.acknowledged.len();
    let fault = "a breaker for each node, probes of a broken destination: control";
    run::tell(fault, 1, told, probes, &ended.ledger.repeats().to_string());
    assert!(shortest.is_some_and(|shortest| shortest < APART), "the harness would not notice");
}

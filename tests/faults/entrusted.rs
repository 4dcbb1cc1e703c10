//! The lines of the failure matrix between a node and the Redis that it shares: killed after Redis has taken what the node has
//! not noted yet.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use formgate::crypto::MasterKey;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use secrecy::ExposeSecret as _;

use super::cluster::server::Server;
use super::ledger::Ledger;
use super::people::People;
use super::process::{Gate, Process};
use super::run;
use super::sink::Sink;

/// Kills at each point.
const ROUNDS: (u32, u32) = (3, 25);
const WALKS: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(30);
/// How long Redis may take to have everything again, and the destination, too.
const TOLD_AGAIN_WITHIN: Duration = Duration::from_secs(15);
/// How long a destination is watched that must not get any more.
const SILENCE: Duration = Duration::from_millis(500);
/// How much faster the outbox's clock goes: what is leased by a process that died is due again after 3 s.
const SCALE: i64 = 20;

struct Scene {
    redis: Server,
    ledger: Arc<Ledger>,
    sink: Sink,
    gate: Gate,
    people: People,
}

#[derive(Debug)]
struct Found {
    acknowledged: usize,
    stored: usize,
    lost: usize,
    undelivered: usize,
    repeats: u64,
}

impl Scene {
    async fn new(dice: &mut SmallRng) -> Scene {
        let mut dice = SmallRng::seed_from_u64(dice.random());
        let (redis, ledger) = (Server::start(), Arc::new(Ledger::default()));
        let sink = Sink::start("crm", &ledger, SmallRng::seed_from_u64(dice.random())).await;
        let url = redis.url();
        let time = format!("{}:{SCALE}:0", jiff::Timestamp::now().as_millisecond());
        let shared = [
            ("FORMGATE_STORE__KIND", "redis"),
            ("FORMGATE_STORE__URL", url.as_str()),
            ("FORMGATE_FAULTS__TIME", time.as_str()),
        ];
        let gate = Gate::new(&ledger, &[&sink], &shared);
        let key = MasterKey::generate();
        std::fs::write(gate.kept().join("master.key"), key.to_text().expose_secret()).expect("a file");
        let people = People::start(1, &[&gate], &ledger, &mut dice);
        Scene { redis, ledger, sink, gate, people }
    }

    async fn start(&self, points: &str) -> Process {
        let mut process = self.gate.spawn_with(&[("FORMGATE_FAULTS__POINTS", points)]);
        self.gate.ready(&mut process).await;
        process
    }

    /// Waits until every walk has come to its end; somebody may be told twice.
    async fn until_all_told(&self) {
        let give_up = Instant::now() + PATIENCE;
        while (self.ledger.acknowledged().len() as u64) < WALKS {
            assert!(Instant::now() < give_up, "not everybody was told: {}", self.gate.said());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn until_ended(&self, process: &mut Process, name: &str) {
        let ended = process.until_ended(PATIENCE).await;
        assert!(ended.is_some(), "{name}: it did not die: {}", self.gate.said());
        self.people.hold();
    }

    /// The next process serves, whoever was cut off repeats, Redis loses everything, and everything goes home.
    async fn recover(mut self, points: &str) -> Found {
        let process = self.start(points).await;
        self.people.walk_until(WALKS);
        self.until_all_told().await;
        self.redis.kill();
        self.redis.wipe();
        self.redis.restart();
        self.people.finish().await;
        let give_up = Instant::now() + TOLD_AGAIN_WITHIN;
        let (mut stored, told) = (BTreeSet::new(), self.ledger.acknowledged());
        // Before it is told so, Redis does not know either that the destination is paused.
        let is_paused = || self.redis.run::<bool>(&["HEXISTS", "{formgate}:v:16", "crm"]);
        while Instant::now() < give_up && !(told.is_subset(&stored) && is_paused()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            stored = self.gate.stored();
        }
        self.gate.run(&["destinations", "resume", "crm"]);
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up && !self.ledger.missing("crm", &stored).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(SILENCE).await;
        process.stop();
        assert_eq!(self.ledger.complaints(), Vec::<String>::new());
        let repeats = self.ledger.repeats();
        Found {
            acknowledged: told.len(),
            stored: stored.len(),
            lost: told.difference(&stored).count(),
            undelivered: self.ledger.missing(&self.sink.id, &stored).len(),
            repeats: repeats.killed + repeats.unanswered + repeats.unexplained,
        }
    }
}

fn judge(name: &str, rounds: u32, all: &[Found]) {
    let walks = usize::try_from(WALKS).expect("a few");
    for found in all {
        assert_eq!((found.acknowledged, found.stored), (walks, walks), "{name}: {found:?}");
        assert_eq!((found.lost, found.undelivered, found.repeats), (0, 0, 0), "{name}: {found:?}");
    }
    let sum = |of: fn(&Found) -> usize| all.iter().map(of).sum();
    run::tell(&format!("killed at {name}"), rounds, sum(|f| f.acknowledged), sum(|f| f.lost), "0");
}

/// The person saw an error, and Redis has her submission: her repeat is the same one, and in a journal from then on.
async fn taken_by_redis(name: &str, rounds: u32, points: &str, dice: &mut SmallRng) -> Vec<Found> {
    let mut all = Vec::new();
    for _ in 0..rounds {
        let scene = Scene::new(dice).await;
        let nth = dice.random_range(1..=WALKS);
        let mut process = scene.start(&format!("cluster.accepted:kill:{nth}")).await;
        scene.gate.run(&["destinations", "pause", "crm"]);
        scene.people.walk_until(WALKS);
        scene.until_ended(&mut process, name).await;
        assert_eq!(scene.ledger.acknowledged().len() as u64, nth - 1, "{name}");
        all.push(scene.recover(points).await);
    }
    all
}

#[test]
fn a_node_that_dies_after_redis_took_a_submission_and_before_it_noted_that_offers_it_again_for_nothing() {
    let (rounds, mut dice) = (run::numbers(ROUNDS.0, ROUNDS.1), run::dice());
    run::runtime().block_on(async {
        let name = "C5, taken by Redis";
        judge(name, rounds, &taken_by_redis(name, rounds, "", &mut dice).await);

        // She was told so while Redis was out of reach; it has taken what it was offered, and that is not noted.
        let name = "C5, offered to Redis";
        let mut all = Vec::new();
        for _ in 0..rounds {
            let mut scene = Scene::new(&mut dice).await;
            let process = scene.start("").await;
            scene.gate.run(&["destinations", "pause", "crm"]);
            process.stop();
            let mut process = scene.start("cluster.offered:kill:1").await;
            scene.redis.kill();
            scene.people.walk_until(WALKS);
            scene.until_all_told().await;
            scene.redis.restart();
            scene.until_ended(&mut process, name).await;
            all.push(scene.recover("").await);
        }
        judge(name, rounds, &all);
    });
}

/// The control: a node that confirms what is in Redis alone.
#[test]
fn a_node_that_confirms_what_it_has_not_kept_is_caught_when_redis_loses_it() {
    let mut dice = run::dice();
    run::runtime().block_on(async {
        let points = "cluster.adopts_nothing:on";
        let all = taken_by_redis("C5, taken by Redis", 1, points, &mut dice).await;
        let sum = |of: fn(&Found) -> usize| all.iter().map(of).sum::<usize>();
        let lost = sum(|found| found.lost);
        run::tell("killed at C5, repeats not kept: control", 1, sum(|found| found.acknowledged), lost, "0");
        assert!(lost > 0, "the harness would not notice");
    });
}

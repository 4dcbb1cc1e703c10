//! The lines of the failure matrix between a node and the Redis that it shares: killed after Redis has taken what the node has
//! not noted yet.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use formgate::crypto::MasterKey;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::ledger::Ledger;
use super::people::People;
use super::process::{Gate, Process, free_address};
use super::run;
use super::sink::Sink;

/// Kills at each point.
const ROUNDS: (u32, u32) = (3, 25);
const WALKS: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a destination is watched that must not get any more.
const SILENCE: Duration = Duration::from_millis(500);
/// How much faster the outbox's clock goes: what is leased by a process that died is due again after 3 s.
const SCALE: i64 = 20;

/// A Redis of its own, running or not.
struct Redis {
    folder: TempDir,
    address: SocketAddr,
    process: Option<Child>,
}

impl Redis {
    fn start() -> Redis {
        let folder = tempfile::tempdir().expect("a folder");
        let mut redis = Redis { folder, address: free_address(), process: None };
        redis.restart();
        redis
    }

    fn restart(&mut self) {
        self.kill();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.address.port().to_string(), "--save", ""]);
        command.args(["--appendonly", "yes", "--maxmemory-policy", "noeviction", "--dir"]);
        let process = command.arg(self.folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.process = Some(process.expect("redis-server is installed"));
        let give_up = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < give_up, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().and_then(|()| process.wait()).expect("it is dead");
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Scene {
    redis: Redis,
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
        let (redis, ledger) = (Redis::start(), Arc::new(Ledger::default()));
        let sink = Sink::start("crm", &ledger, SmallRng::seed_from_u64(dice.random())).await;
        let url = format!("redis://{}", redis.address);
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

    /// The next process serves, whoever was cut off repeats, and everything goes home.
    async fn recover(self) -> Found {
        let process = self.start("").await;
        self.gate.run(&["destinations", "resume", "crm"]);
        self.people.walk_until(WALKS);
        self.until_all_told().await;
        self.people.finish().await;
        let give_up = Instant::now() + PATIENCE;
        let (mut stored, told) = (self.gate.stored(), self.ledger.acknowledged());
        while Instant::now() < give_up && !self.ledger.missing("crm", &stored).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            stored = self.gate.stored();
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

#[test]
fn a_node_that_dies_after_redis_took_a_submission_and_before_it_noted_that_offers_it_again_for_nothing() {
    let (rounds, mut dice) = (run::numbers(ROUNDS.0, ROUNDS.1), run::dice());
    run::runtime().block_on(async {
        // The person saw an error, and Redis has her submission: her repeat is the same one.
        let name = "C5, taken by Redis";
        let mut all = Vec::new();
        for _ in 0..rounds {
            let scene = Scene::new(&mut dice).await;
            let nth = dice.random_range(1..=WALKS);
            let mut process = scene.start(&format!("cluster.accepted:kill:{nth}")).await;
            scene.gate.run(&["destinations", "pause", "crm"]);
            scene.people.walk_until(WALKS);
            scene.until_ended(&mut process, name).await;
            assert_eq!(scene.ledger.acknowledged().len() as u64, nth - 1, "{name}");
            all.push(scene.recover().await);
        }
        judge(name, rounds, &all);

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
            all.push(scene.recover().await);
        }
        judge(name, rounds, &all);
    });
}

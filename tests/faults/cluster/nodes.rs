//! The scene: Redis, three nodes, people who send each request to any of them, and a destination.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use formgate::crypto::MasterKey;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use secrecy::ExposeSecret as _;

use super::server::Server;
use crate::ledger::Ledger;
use crate::people::People;
use crate::process::{Gate, Process};
use crate::sink::Sink;

pub const NODES: usize = 3;
/// How much faster the outbox's clock goes: a lease that a dead node leaves behind ends after 3 s.
pub const SCALE: i64 = 20;
/// How long deliveries may take after the last fault.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Of so many repeats that nothing explains everything is told.
const RIDDLES: usize = 20;

/// How a scene differs from the usual one.
pub struct Plan<'a> {
    /// Armed in every node.
    pub points: &'a str,
    /// Further variables of every node.
    pub variables: &'a [(&'a str, &'a str)],
    /// Further lines of the destination.
    pub lines: &'a str,
    pub people: u64,
    /// How often the network sends each request, at most.
    pub copies: usize,
    /// How much faster the outbox's clock goes.
    pub scale: i64,
    /// Where each node finds Redis; the server itself if nothing is said.
    pub urls: Vec<String>,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Plan { points: "", variables: &[], lines: "", people: 6, copies: 1, scale: SCALE, urls: Vec::new() }
    }
}

/// Everybody. Nobody walks yet.
pub struct Scene {
    pub ledger: Arc<Ledger>,
    pub gates: Vec<Gate>,
    processes: Vec<Option<Process>>,
    urls: Vec<String>,
    pub people: People,
    pub sink: Sink,
}

impl Scene {
    /// Three nodes over this Redis.
    pub async fn start(redis: &Server, plan: Plan<'_>, dice: &mut SmallRng) -> Scene {
        let ledger = Arc::new(Ledger::of_nodes());
        let mut sink = Sink::start("crm", &ledger, SmallRng::seed_from_u64(dice.random())).await;
        sink.lines = plan.lines.to_owned();
        let time = format!("{}:{}:0", jiff::Timestamp::now().as_millisecond(), plan.scale);
        let redis_url = redis.url();
        let mut variables = plan.variables.to_vec();
        variables.extend([
            ("FORMGATE_STORE__KIND", "redis"),
            ("FORMGATE_STORE__URL", &redis_url),
            ("FORMGATE_FAULTS__TIME", &time),
            ("FORMGATE_FAULTS__POINTS", plan.points),
            // What each node did to a delivery is told of those that came again for no reason.
            ("FORMGATE_LOG__LEVEL", "info"),
        ]);
        let first = Gate::new(&ledger, &[&sink], &variables);
        let key = MasterKey::generate();
        std::fs::write(first.kept().join("master.key"), key.to_text().expose_secret()).expect("a file");
        let others: Vec<Gate> = (1..NODES).map(|_| first.another()).collect();
        let gates: Vec<Gate> = std::iter::once(first).chain(others).collect();
        let urls = if plan.urls.is_empty() { vec![redis.url(); NODES] } else { plan.urls };
        let people =
            People::with_copies(plan.people, &gates.iter().collect::<Vec<_>>(), &ledger, dice, plan.copies);
        let processes = gates.iter().map(|_| None).collect();
        let mut scene = Scene { ledger, gates, processes, urls, people, sink };
        for node in 0..NODES {
            scene.spawn(node);
        }
        for node in 0..NODES {
            scene.ready(node).await;
        }
        scene
    }

    pub fn spawn(&mut self, node: usize) {
        let process = self.gates[node].spawn_with(&[("FORMGATE_STORE__URL", &self.urls[node])]);
        self.processes[node] = Some(process);
    }

    pub async fn ready(&mut self, node: usize) {
        let process = self.processes[node].as_mut().expect("it was started");
        self.gates[node].ready(process).await;
    }

    pub fn kill(&mut self, node: usize) {
        self.processes[node].take().expect("it runs").kill();
    }

    /// Kills a node, and everything that it has kept but the key is gone.
    pub fn lose_disk(&mut self, node: usize) {
        self.kill(node);
        std::fs::remove_dir_all(self.gates[node].kept().join("data")).expect("its folder goes");
    }

    /// Kills any node after this time of load, and has it started again.
    pub async fn lose_a_node(&mut self, dice: &mut SmallRng) {
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..400))).await;
        let node = dice.random_range(0..NODES);
        self.kill(node);
        self.spawn(node);
        self.ready(node).await;
    }

    /// Waits until the destination has all of these; how long that took, or `None`.
    pub async fn until_delivered(&self, told: &BTreeSet<String>, patience: Duration) -> Option<Duration> {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if self.missing(told).is_empty() {
                return Some(begun.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        None
    }

    /// Which of these the destination has not got.
    pub fn missing(&self, told: &BTreeSet<String>) -> Vec<String> {
        self.ledger.missing(&self.sink.id, told)
    }

    /// Everybody ends what was begun, and the destination gets the rest. Acknowledged, and what of it is missing there.
    pub async fn finish(self, redis: &Server, patience: Duration) -> Ended {
        let Scene { ledger, gates, processes, people, sink, .. } = self;
        people.finish().await;
        let acknowledged = ledger.acknowledged();
        let give_up = Instant::now() + patience;
        let missing = || ledger.missing(&sink.id, &acknowledged);
        while Instant::now() < give_up && !missing().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Redis may still be told what it has lost, and then not everything can be said at once.
        let mut stored = gates[0].stored_if_told();
        while Instant::now() < give_up && !acknowledged.is_subset(&stored) {
            tokio::time::sleep(Duration::from_millis(200)).await;
            stored = gates[0].stored_if_told();
        }
        // What came twice has to be noted once more.
        while Instant::now() < give_up && open(redis) > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drop(processes);
        Ended {
            open: open(redis),
            lost: missing(),
            acknowledged,
            stored,
            ledger,
            said: gates.iter().map(Gate::said).collect(),
        }
    }
}

/// What a run showed.
pub struct Ended {
    pub acknowledged: BTreeSet<String>,
    /// Acknowledged, and not at the destination.
    pub lost: Vec<String>,
    /// Deliveries that are not done, by Redis.
    pub open: i64,
    /// What a node says that there is.
    pub stored: BTreeSet<String>,
    pub ledger: Arc<Ledger>,
    /// What each node has logged.
    pub said: Vec<String>,
}

impl Ended {
    /// What is promised whatever happens to Redis.
    pub fn assert_kept(&self) {
        if !self.lost.is_empty() {
            println!("{}", self.said.join("\n"));
        }
        assert_eq!(self.lost, Vec::<String>::new(), "acknowledged, and not delivered");
        let absent: Vec<_> = self.acknowledged.difference(&self.stored).collect();
        assert_eq!(absent, Vec::<&String>::new(), "acknowledged, and not stored");
        assert_eq!(self.open, 0, "delivered, and not noted");
        assert_eq!(self.ledger.complaints(), Vec::<String>::new());
    }

    /// Each delivery that came again had a reason to.
    pub fn assert_repeats_explained(&self) {
        self.ledger.riddles().iter().take(RIDDLES).for_each(|riddle| riddle.tell(&self.said));
        self.ledger.assert_repeats_explained();
    }

    /// Adds the line of this run to the table.
    pub fn tell(&self, fault: &str, rounds: u32) {
        let repeats = self.ledger.repeats().to_string();
        crate::run::tell(fault, rounds, self.acknowledged.len(), self.lost.len(), &repeats);
    }
}

/// How many deliveries of the destination are due, or under a lease, as Redis counts them.
pub fn open(redis: &Server) -> i64 {
    ["0", "1"].into_iter().map(|state| counted(redis, state)).sum()
}

/// How many are in this state.
pub fn counted(redis: &Server, state: &str) -> i64 {
    let counts: Option<i64> = redis.run(&["HGET", "{formgate}:n", &format!("crm\0{state}")]);
    counts.unwrap_or(0)
}

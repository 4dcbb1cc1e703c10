//! The life of deliveries against a small model in memory: whatever is done in whatever order, with crashes, clocks that
//! jump, stale leases, replays and pauses, the store and the model agree.

mod model;

use std::time::Duration;

use formgate::store::{
    Batch, Claim, Delivery, DeliveryFilter, DeliveryState, Error, Lane, NewDelivery, Options, Pace, Put,
    Reopen, Settlement, Store, Table, Verdict,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::cluster::fixture::{self, Node, Redis};
use model::Model;

const LEASE_MS: i64 = 60;

#[derive(Debug, Clone)]
enum Step {
    Begin {
        key: u8,
        destination: u8,
        due_in_ms: i64,
    },
    Claim {
        destination: u8,
        shares: [u32; 3],
        limits: [u32; 3],
    },
    Renew {
        nth: u8,
        lease_back: u64,
    },
    Settle {
        nth: u8,
        lease_back: u64,
        verdict: u8,
        due_in_ms: i64,
    },
    Reopen {
        nth: u8,
    },
    ReplayMany {
        nths: Vec<u8>,
        as_new: bool,
    },
    Pause {
        destination: u8,
        paused: bool,
    },
    Jump {
        by_ms: i64,
    },
    Clamp {
        ahead_ms: i64,
    },
    CloseAndOpen,
    Crash,
    /// Of Redis, where there is one: the process dies and another starts on its data, or on none.
    RedisDies {
        empty: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    // Few keys and destinations, so that steps meet; mostly the newest lease, sometimes an older one.
    let nth = || 0u8..8;
    let lease_back = || prop_oneof![4 => Just(0u64), 1 => 1u64..3];
    let limits = (1u32..6, 0u32..6, 0u32..6).prop_map(|(all, retry, bulk)| [all, retry, bulk]);
    prop_oneof![
        5 => (0u8..8, 0u8..2, 0i64..50).prop_map(|(key, destination, due_in_ms)| Step::Begin { key, destination, due_in_ms }),
        7 => (0u8..2, [0u32..3, 0u32..3, 0u32..3], limits)
            .prop_map(|(destination, shares, limits)| Step::Claim { destination, shares, limits }),
        2 => (nth(), lease_back()).prop_map(|(nth, lease_back)| Step::Renew { nth, lease_back }),
        7 => (nth(), lease_back(), 0u8..5, 0i64..50)
            .prop_map(|(nth, lease_back, verdict, due_in_ms)| Step::Settle { nth, lease_back, verdict, due_in_ms }),
        1 => nth().prop_map(|nth| Step::Reopen { nth }),
        2 => (prop::collection::vec(nth(), 1..4), any::<bool>())
            .prop_map(|(nths, as_new)| Step::ReplayMany { nths, as_new }),
        2 => (0u8..2, any::<bool>()).prop_map(|(destination, paused)| Step::Pause { destination, paused }),
        // Mostly time goes on; sometimes the clock is set, by much more than any lease.
        5 => prop_oneof![6 => 1i64..100, 1 => -100_000i64..100_000].prop_map(|by_ms| Step::Jump { by_ms }),
        1 => (0i64..60).prop_map(|ahead_ms| Step::Clamp { ahead_ms }),
        1 => Just(Step::CloseAndOpen),
        1 => Just(Step::Crash),
        1 => any::<bool>().prop_map(|empty| Step::RedisDies { empty }),
    ]
}

fn name(destination: u8) -> String {
    format!("destination-{destination}")
}

fn was_valid(result: &Result<(), Error>) -> bool {
    match result {
        Ok(()) => true,
        Err(Error::StaleLease) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// The other kind of store: a node with its journal, and Redis.
struct Shared {
    redis: Redis,
    node: Option<Node>,
}

impl Shared {
    async fn start() -> Self {
        let mut shared = Self { redis: Redis::start().await, node: None };
        shared.begin(TempDir::new().expect("a folder")).await;
        shared
    }

    async fn begin(&mut self, folder: TempDir) {
        // What a comparison finds out, and when, no model can tell.
        let pace = Pace { reconcile_every: Duration::from_secs(3_600), ..fixture::pace() };
        self.node = Some(Node::at(folder, fixture::options(&self.redis, "{model}"), pace).await);
        self.told().await;
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("a node")
    }

    async fn told(&self) {
        self.node().told().await;
        // For so long nodes may hold claims back that have to tell what has ended.
        tokio::time::sleep(fixture::pace().look_every * 3).await;
    }

    async fn again(&mut self, crash: bool) {
        let node = self.node.take().expect("a node");
        let folder = if crash { node.crash() } else { node.leave().await };
        self.begin(folder).await;
    }

    async fn redis_dies(&mut self, empty: bool) {
        if empty {
            self.redis.wipe();
        } else {
            self.redis.kill();
        }
        self.node().alone().await;
        self.redis.restart().await;
        self.told().await;
    }
}

/// A store and its folder.
struct Subject {
    folder: TempDir,
    store: Store,
}

impl Subject {
    fn at(folder: TempDir) -> Self {
        let store = Store::open_embedded(&Options::new(folder.path())).expect("the store opens");
        Self { folder, store }
    }

    async fn close_and_open(self) -> Self {
        self.store.close().await.expect("a clean close");
        Self::at(self.folder)
    }

    /// What the next process finds after this one died on the spot: the files as they are, and no goodbye.
    fn crash(self) -> Self {
        let folder = TempDir::new().expect("a folder");
        for file in ["store.sqlite3", "store.sqlite3-wal"] {
            std::fs::copy(self.folder.path().join(file), folder.path().join(file)).expect("a copy");
        }
        Self::at(folder)
    }
}

async fn walk(steps: Vec<Step>) {
    let mut subject = Subject::at(TempDir::new().expect("a folder"));
    let mut model = Model::default();
    let mut now_ms = 0_i64;
    for step in steps {
        match step {
            Step::CloseAndOpen => {
                subject = subject.close_and_open().await;
                model.begin_anew();
            }
            Step::Crash => {
                subject = subject.crash();
                model.begin_anew();
            }
            Step::RedisDies { .. } => {}
            step => do_one(&subject.store, &mut model, &mut now_ms, step).await,
        }
        compare(&subject.store, &model).await;
    }
}

async fn walk_of_a_node(steps: Vec<Step>) {
    let mut shared = Shared::start().await;
    let mut model = Model::of_nodes();
    let mut now_ms = 0_i64;
    for step in steps {
        match step {
            // A lease outlives the process that has it: others see it end.
            Step::CloseAndOpen => shared.again(false).await,
            Step::Crash => shared.again(true).await,
            Step::RedisDies { empty } => {
                shared.redis_dies(empty).await;
                if empty {
                    model.lose_what_is_shared();
                }
            }
            step => do_one(&shared.node().store, &mut model, &mut now_ms, step).await,
        }
        // The end of a lease of the Redis before is offered, and seen when it was taken.
        shared.node().told().await;
        compare(&shared.node().store, &model).await;
    }
}

async fn do_one(store: &Store, model: &mut Model, now_ms: &mut i64, step: Step) {
    let at_ms = now_ms;
    let now_ms = *at_ms;
    match step {
        Step::Begin { key, destination, due_in_ms } => {
            let due_at_ms = now_ms + due_in_ms;
            let (key, destination) = ([key; 16], name(destination));
            let new = NewDelivery { key, submission: key, destination, due_at_ms };
            model.begin(&new);
            store.commit(Batch::at(now_ms).deliver(new)).await.expect("a commit");
        }
        Step::Claim { destination, shares, limits } => {
            let claim = Claim { destination: name(destination), now_ms, lease_ms: LEASE_MS, shares, limits };
            let claimed = store.claim_lanes(claim.clone()).await.expect("a claim");
            assert_eq!(claimed, model.claim(&claim));
        }
        Step::Renew { nth, lease_back } => {
            let (key, lease) = model.nth(nth);
            let (lease, until_ms) = (lease.saturating_sub(lease_back), now_ms + LEASE_MS);
            let valid = was_valid(&store.renew(key, lease, until_ms).await);
            assert_eq!(valid, model.renew(key, lease, until_ms));
        }
        Step::Settle { nth, lease_back, verdict, due_in_ms } => {
            let (key, lease) = model.nth(nth);
            let (lease, at_ms) = (lease.saturating_sub(lease_back), now_ms + due_in_ms);
            let verdict = match verdict {
                0 => Verdict::Delivered { at_ms },
                1 => Verdict::Retry { due_at_ms: at_ms },
                2 => Verdict::Release { due_at_ms: at_ms },
                3 => Verdict::Superseded { at_ms },
                _ => Verdict::Dead { at_ms },
            };
            let settlement = Settlement { verdict, history: at_ms.to_be_bytes().to_vec(), puts: vec![] };
            let valid = was_valid(&store.settle(key, lease, settlement.clone()).await);
            assert_eq!(valid, model.settle(key, lease, &settlement));
        }
        Step::Reopen { nth } => {
            let (key, _) = model.nth(nth);
            let reopened = store.reopen(key, now_ms, vec![]).await.expect("a reopen");
            let reopen = Reopen { key, new_key: key, due_at_ms: now_ms, lane: Lane::First };
            assert_eq!(reopened, model.reopen(&reopen));
        }
        Step::ReplayMany { nths, as_new } => {
            let reopens = nths.into_iter().map(|nth| {
                let (key, _) = model.nth(nth);
                // Often the key of another delivery.
                let new_key = if as_new { key.map(|byte| byte.wrapping_add(1)) } else { key };
                Reopen { key, new_key, due_at_ms: now_ms, lane: Lane::Bulk }
            });
            let reopens: Vec<Reopen> = reopens.collect();
            let batch = reopens.iter().fold(Batch::at(now_ms), |batch, reopen| batch.reopen(*reopen));
            store.commit(batch).await.expect("a commit");
            for reopen in &reopens {
                model.reopen(reopen);
            }
        }
        Step::Pause { destination, paused } => {
            let key = name(destination);
            let batch = Batch::at(now_ms);
            let batch = if paused {
                batch.put(Put::new(Table::Pause, key.as_str(), ""))
            } else {
                batch.delete(Table::Pause, key.as_str())
            };
            store.commit(batch).await.expect("a commit");
            model.pause(&key, paused);
        }
        Step::Jump { by_ms } => *at_ms += by_ms,
        Step::Clamp { ahead_ms } => {
            store.clamp_due(now_ms + ahead_ms).await.expect("a clamp");
            model.clamp(now_ms + ahead_ms);
        }
        Step::CloseAndOpen | Step::Crash | Step::RedisDies { .. } => {}
    }
}

/// Everything that can be seen of the deliveries.
async fn compare(store: &Store, model: &Model) {
    let expected = model.all();
    let stored = store.deliveries(DeliveryFilter::default(), None, 100).await.expect("a read");
    assert_eq!(stored, expected);
    for destination in [0, 1].map(name) {
        let next = store.next_due(&destination).await.expect("a read");
        assert_eq!(next, model.next_due(&destination));
        let dead = |delivery: &Delivery| {
            delivery.state == DeliveryState::Dead && delivery.destination == destination
        };
        let filter = DeliveryFilter {
            state: Some(DeliveryState::Dead),
            destination: Some(destination.clone()),
            submission: None,
        };
        let listed = store.deliveries(filter, None, 100).await.expect("a read");
        assert_eq!(listed, expected.iter().filter(|delivery| dead(delivery)).cloned().collect::<Vec<_>>());
    }
}

proptest! {
    // Each case is a walk over a real file: 256 of them, or as many as PROPTEST_CASES says (2000 before a release).
    #![proptest_config(ProptestConfig::default())]

    #[test]
    fn the_store_and_a_model_of_deliveries_agree(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(walk(steps));
    }
}

/// Cases of the walk of a node: each starts servers and loses them, so there are few, unless PROPTEST_CASES says more.
const CASES_OF_NODES: u32 = 12;

#[test]
fn a_node_of_several_and_the_model_agree_also_when_redis_dies_or_loses_everything() {
    let usual = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { usual.cases / 16 } else { CASES_OF_NODES };
    println!("{cases} cases");
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases,
        // A case takes seconds.
        max_shrink_iters: 64,
        failure_persistence: None,
        ..usual
    });
    let walked = runner.run(&prop::collection::vec(step(), 1..40), |steps| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(walk_of_a_node(steps));
        Ok(())
    });
    walked.unwrap_or_else(|error| panic!("{error}"));
}

//! The life of submissions and their deliveries against a small model in memory: whatever is done in whatever order, with
//! crashes, clocks that jump, stale leases, replays, erasures and pauses, the store and the model agree. Both kinds of store
//! do the same steps.

pub mod backend;
mod model;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use formgate::store::{
    Batch, Claim, Delivery, DeliveryFilter, DeliveryState, Erased, Erasure, Error, Expectation, Lane,
    NewDelivery, Put, Reopen, Settled, Settlement, Store, Table, Verdict, trace,
};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

use backend::{Backend, Kind};
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
        /// What this node has in hand, whatever has become of it; otherwise any, under any lease.
        in_hand: bool,
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
    Erase {
        nth: u8,
        /// Only if it was settled so long ago.
        settled_ms_ago: Option<i64>,
        forget_in_ms: i64,
    },
    Pause {
        destination: u8,
        paused: bool,
    },
    /// The body is sealed again, under a newer key.
    Rewrap {
        nth: u8,
    },
    /// By every node.
    Purge,
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
    /// Redis is away, and a node takes something on meanwhile, attempts it if it is due, and seals something again.
    Alone {
        key: u8,
        destination: u8,
        due_in_ms: i64,
        verdict: Option<u8>,
        rewrap: u8,
        empty: bool,
    },
    /// All processes die at once, and Redis with them.
    AllDie {
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
        7 => (nth(), any::<bool>(), lease_back(), 0u8..5, 0i64..50)
            .prop_map(|(nth, in_hand, lease_back, verdict, due_in_ms)| {
                Step::Settle { nth, in_hand, lease_back, verdict, due_in_ms }
            }),
        1 => nth().prop_map(|nth| Step::Reopen { nth }),
        2 => (prop::collection::vec(nth(), 1..4), any::<bool>())
            .prop_map(|(nths, as_new)| Step::ReplayMany { nths, as_new }),
        2 => (nth(), prop::option::of(0i64..50), 0i64..200).prop_map(|(nth, settled_ms_ago, forget_in_ms)| {
            Step::Erase { nth, settled_ms_ago, forget_in_ms }
        }),
        2 => (0u8..2, any::<bool>()).prop_map(|(destination, paused)| Step::Pause { destination, paused }),
        // Mostly time goes on; sometimes the clock is set, by much more than any lease.
        5 => prop_oneof![6 => 1i64..100, 1 => -100_000i64..100_000].prop_map(|by_ms| Step::Jump { by_ms }),
        1 => (0i64..60).prop_map(|ahead_ms| Step::Clamp { ahead_ms }),
        1 => Just(Step::CloseAndOpen),
        1 => Just(Step::Crash),
        1 => any::<bool>().prop_map(|empty| Step::RedisDies { empty }),
        2 => nth().prop_map(|nth| Step::Rewrap { nth }),
        1 => Just(Step::Purge),
        1 => (0u8..8, 0u8..2, -10i64..10, prop::option::of(0u8..5), nth(), any::<bool>()).prop_map(
            |(key, destination, due_in_ms, verdict, rewrap, empty)| {
                Step::Alone { key, destination, due_in_ms, verdict, rewrap, empty }
            }
        ),
        1 => any::<bool>().prop_map(|empty| Step::AllDie { empty }),
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

/// Each step is done by this node, where there are two.
async fn walk(kind: Kind, steps: Vec<(Step, bool)>) {
    let mut backend = Backend::start(kind).await;
    let mut model = Model::of(kind);
    let mut now_ms = 0_i64;
    for (step, by_second) in steps {
        let by = usize::from(by_second && kind == Kind::Two);
        model.by = by;
        match step {
            Step::CloseAndOpen => {
                backend.close_and_open(by).await;
                model.begin_anew();
            }
            Step::Crash => {
                backend.crash(by).await;
                model.begin_anew();
            }
            Step::RedisDies { empty } => {
                backend.redis_dies(empty).await;
                model.another(empty);
            }
            Step::AllDie { empty } => {
                backend.all_die(empty).await;
                model.another(empty);
                for node in 0..2 {
                    model.by = node;
                    model.begin_anew();
                }
            }
            Step::Alone { .. } if kind == Kind::Embedded => {}
            Step::Alone { key, destination, due_in_ms, verdict, rewrap, empty } => {
                // What others were told of before it is away, they know.
                backend.heard().await;
                backend.redis_goes().await;
                let begin = Step::Begin { key, destination, due_in_ms };
                let store = backend.store_of(by);
                if model.is_new([key; 16], now_ms) {
                    do_one(store, &mut model, &mut now_ms, begin).await;
                    attempt_alone(store, &mut model, now_ms, [key; 16], verdict).await;
                }
                do_one(store, &mut model, &mut now_ms, Step::Rewrap { nth: rewrap }).await;
                backend.redis_comes(empty).await;
                model.another(empty);
            }
            Step::Purge => {
                for number in 0..2 {
                    backend.store_of(number).purge_expired(now_ms, 100).await.expect("a purge");
                }
                model.purge(now_ms);
            }
            step => do_one(backend.store_of(by), &mut model, &mut now_ms, step).await,
        }
        // The end of a lease of the Redis before is offered, and seen when it was taken.
        backend.told().await;
        compare(backend.store_of(1 - by), &model, now_ms).await;
    }
}

/// A record about a submission that is not the submission.
fn reply_of(submission: [u8; 16]) -> [u8; 32] {
    [submission; 2].concat().try_into().expect("32 bytes")
}

async fn do_one(store: &Store, model: &mut Model, now_ms: &mut i64, step: Step) {
    let at_ms = now_ms;
    let now_ms = *at_ms;
    match step {
        Step::Begin { key, destination, due_in_ms } => {
            let due_at_ms = now_ms + due_in_ms;
            let (key, destination) = ([key; 16], name(destination));
            let new = NewDelivery { key, submission: key, destination, due_at_ms };
            let (reply, body) = (reply_of(key), model.seal());
            let batch = Batch::at(now_ms)
                .require(Table::Submission, key, Expectation::Absent)
                .put(Put::new(Table::Submission, key, body.as_str()))
                .put(Put::new(Table::Reply, reply, "kept"))
                .put(trace(key, Table::Reply, &reply))
                .deliver(new.clone());
            let accepted = match store.commit(batch).await {
                Ok(()) => true,
                Err(Error::Conflict { index: 0, .. }) => false,
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(accepted, model.begin(&new, body, now_ms));
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
        Step::Settle { nth, in_hand, lease_back, verdict, due_in_ms } => {
            let (key, lease) = model.nth(nth);
            let any = (key, lease.saturating_sub(lease_back));
            let (key, lease) = model.in_hand(nth).filter(|_| in_hand).unwrap_or(any);
            let settlement = settlement(verdict, now_ms + due_in_ms);
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
        Step::Erase { nth, settled_ms_ago, forget_in_ms } => {
            let submission = model.submission_of(nth);
            let settled = settled_ms_ago
                .map(|ms| Settled { delivered_by_ms: now_ms - ms, dead_by_ms: now_ms - ms / 2 });
            let forget_at_ms = now_ms + forget_in_ms;
            let erasure = Erasure { submission, settled, forget_at_ms, deletes: vec![], puts: vec![] };
            let mut erased = store.erase(erasure.clone()).await.expect("an erasure");
            if let Erased::Done { deliveries } = &mut erased {
                deliveries.sort_by(|one, other| one.0.cmp(&other.0));
            }
            assert_eq!(erased, model.erase(&erasure));
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
        Step::Rewrap { nth } => {
            let submission = model.submission_of(nth);
            let record = match store.get(Table::Submission, &submission).await {
                Ok(Some(record)) if !record.value.is_empty() => record,
                Ok(_) => return,
                // Redis is away, and another node has it.
                Err(Error::Busy | Error::Incomplete) => return,
                Err(other) => panic!("{other:?}"),
            };
            let body = model.seal();
            let batch = Batch::at(now_ms)
                .require(Table::Submission, submission, Expectation::Version(record.version))
                .put(Put::new(Table::Submission, submission, body.as_str()));
            store.commit(batch).await.expect("nobody else has written it");
            model.rewrap(submission, body);
        }
        Step::Jump { by_ms } => *at_ms += by_ms,
        Step::Clamp { ahead_ms } => {
            store.clamp_due(now_ms + ahead_ms).await.expect("a clamp");
            model.clamp(now_ms + ahead_ms);
        }
        // What is done to more than a store.
        Step::CloseAndOpen
        | Step::Crash
        | Step::RedisDies { .. }
        | Step::Alone { .. }
        | Step::AllDie { .. }
        | Step::Purge => unreachable!("walk does it"),
    }
}

fn settlement(verdict: u8, at_ms: i64) -> Settlement {
    let verdict = match verdict {
        0 => Verdict::Delivered { at_ms },
        1 => Verdict::Retry { due_at_ms: at_ms },
        2 => Verdict::Release { due_at_ms: at_ms },
        3 => Verdict::Superseded { at_ms },
        _ => Verdict::Dead { at_ms },
    };
    Settlement { verdict, history: at_ms.to_be_bytes().to_vec(), puts: vec![] }
}

/// A node without the others attempts what it has just taken on, if it is due.
async fn attempt_alone(store: &Store, model: &mut Model, now_ms: i64, key: [u8; 16], verdict: Option<u8>) {
    let delivery = store.delivery(key).await.expect("a read").expect("it has just begun");
    let claimed = store.claim(&delivery.destination, now_ms, LEASE_MS, 9).await.expect("a claim");
    assert_eq!(claimed, model.claim_alone(key, now_ms, LEASE_MS));
    if let (Some(verdict), [claimed]) = (verdict, claimed.as_slice()) {
        let settlement = settlement(verdict, now_ms);
        store.settle(key, claimed.lease, settlement.clone()).await.expect("the lease");
        assert!(model.settle(key, claimed.lease, &settlement));
    }
}

/// Everything that can be seen of the submissions and their deliveries.
async fn compare(store: &Store, model: &Model, now_ms: i64) {
    for submission in (0..8).map(|byte| [byte; 16]) {
        let kept = store.get(Table::Submission, &submission).await.expect("a read");
        let kept = kept.filter(|record| record.expires_at_ms.is_none_or(|until_ms| until_ms > now_ms));
        let kept = kept.map(|record| String::from_utf8(record.value).expect("a text"));
        assert_eq!(kept, model.body(submission, now_ms), "what there is, or that there was one");
        let reply = store.get(Table::Reply, &reply_of(submission)).await.expect("a read");
        let is_there = kept.is_some_and(|body| !body.is_empty());
        assert_eq!(reply.is_some(), is_there, "what belongs to it goes with it");
    }
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

/// How many walks, and of how many steps at most.
struct Extent {
    cases: u32,
    most_steps: usize,
    /// No walk begins later than this,
    time: Duration,
    /// and so many have come to their end by then.
    least: u32,
}

/// Walks of this extent. `PROPTEST_CASES` asks for as many as it says, however long they take, and so does a full run of the
/// faults. What has failed once is in a file of its own from then on, shrunk, and is walked first.
fn agree(kind: Kind, usual: Extent, full_cases: u32) {
    let config = ProptestConfig::default();
    let asked = std::env::var_os("PROPTEST_CASES").map(|_| config.cases);
    let asked = asked.or_else(|| std::env::var_os("FORMGATE_FAULT_FULL").map(|_| full_cases));
    let cases = asked.unwrap_or(usual.cases);
    let (began, walked) = (Instant::now(), AtomicU32::new(0));
    let failed = match kind {
        Kind::Embedded => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/store_model/failed-embedded.txt"),
        Kind::Shared => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/store_model/failed-shared.txt"),
        Kind::Two => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/store_model/failed-two.txt"),
    };
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        max_shrink_iters: if kind == Kind::Embedded { 4_096 } else { 64 },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(failed))),
        ..config
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let agreed = runner.run(&prop::collection::vec((step(), any::<bool>()), 1..usual.most_steps), |steps| {
        if asked.is_some() || began.elapsed() < usual.time {
            runtime.block_on(walk(kind, steps));
            walked.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    });
    agreed.unwrap_or_else(|error| panic!("{error}"));
    let (walked, least) = (walked.into_inner(), asked.unwrap_or(usual.least));
    println!("{walked} of {cases} walks in {:?}", began.elapsed());
    assert!(walked >= least, "only {walked} of {cases} walks, and {least} are the least");
}

#[test]
fn the_store_and_a_model_of_deliveries_agree() {
    let usual = Extent { cases: 500, most_steps: 60, time: Duration::from_secs(600), least: 500 };
    agree(Kind::Embedded, usual, 2_000);
}

#[test]
fn a_node_of_several_and_the_model_agree_also_when_redis_dies_or_loses_everything() {
    // Each walk starts servers and loses them.
    let usual = Extent { cases: 500, most_steps: 40, time: Duration::from_secs(20), least: 5 };
    agree(Kind::Shared, usual, 300);
}

#[test]
fn two_nodes_and_the_model_agree_whoever_of_them_does_what() {
    let usual = Extent { cases: 500, most_steps: 40, time: Duration::from_secs(20), least: 4 };
    agree(Kind::Two, usual, 300);
}

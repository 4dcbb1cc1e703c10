//! The life of deliveries against a small model in memory: whatever is done in whatever order, with crashes and clocks that
//! go on, the store and the model agree.

use std::collections::BTreeMap;

use formgate::store::{
    Batch, Delivery, DeliveryFilter, DeliveryState, Error, NewDelivery, Options, Reopened, Settlement, Store,
    Verdict,
};
use proptest::prelude::*;
use tempfile::TempDir;

const LEASE_MS: i64 = 60;

#[derive(Debug, Clone)]
enum Step {
    Begin { key: u8, destination: u8, due_in_ms: i64 },
    Claim { destination: u8, limit: u32 },
    Renew { key: u8, lease_back: u64 },
    Settle { key: u8, lease_back: u64, verdict: u8, due_in_ms: i64 },
    Reopen { key: u8 },
    Advance { by_ms: i64 },
    Clamp { ahead_ms: i64 },
    CloseAndOpen,
}

fn step() -> impl Strategy<Value = Step> {
    // Few keys and destinations, so that steps meet; mostly the newest lease, sometimes an older one.
    let key = || 0u8..6;
    let lease_back = || prop_oneof![4 => Just(0u64), 1 => 1u64..3];
    prop_oneof![
        4 => (key(), 0u8..2, 0i64..50).prop_map(|(key, destination, due_in_ms)| Step::Begin { key, destination, due_in_ms }),
        6 => (0u8..2, 1u32..4).prop_map(|(destination, limit)| Step::Claim { destination, limit }),
        2 => (key(), lease_back()).prop_map(|(key, lease_back)| Step::Renew { key, lease_back }),
        6 => (key(), lease_back(), 0u8..3, 0i64..50)
            .prop_map(|(key, lease_back, verdict, due_in_ms)| Step::Settle { key, lease_back, verdict, due_in_ms }),
        2 => key().prop_map(|key| Step::Reopen { key }),
        4 => (1i64..100).prop_map(|by_ms| Step::Advance { by_ms }),
        1 => (0i64..60).prop_map(|ahead_ms| Step::Clamp { ahead_ms }),
        1 => Just(Step::CloseAndOpen),
    ]
}

/// The deliveries by key, each with the order in which it was begun.
#[derive(Default)]
struct Model {
    deliveries: BTreeMap<[u8; 16], (usize, Delivery)>,
    now_ms: i64,
}

fn name(destination: u8) -> String {
    format!("destination-{destination}")
}

fn is_open(delivery: &Delivery) -> bool {
    matches!(delivery.state, DeliveryState::Due | DeliveryState::Leased)
}

impl Model {
    fn begin(&mut self, new: &NewDelivery) {
        let order = self.deliveries.len();
        self.deliveries.entry(new.key).or_insert_with(|| {
            let delivery = Delivery {
                key: new.key,
                submission: new.submission,
                destination: new.destination.clone(),
                state: DeliveryState::Due,
                due_at_ms: new.due_at_ms,
                attempt: 0,
                lease: 0,
                unsettled: 0,
                history: vec![],
            };
            (order, delivery)
        });
    }

    fn claim(&mut self, destination: &str, limit: u32) -> Vec<Delivery> {
        let now_ms = self.now_ms;
        let mut due: Vec<_> = self
            .deliveries
            .values_mut()
            .filter(|(_, delivery)| delivery.destination == destination && is_open(delivery))
            .filter(|(_, delivery)| delivery.due_at_ms <= now_ms)
            .collect();
        due.sort_by_key(|(order, delivery)| (delivery.due_at_ms, *order));
        let claim = |(_, delivery): &mut (usize, Delivery)| {
            delivery.state = DeliveryState::Leased;
            delivery.due_at_ms = now_ms + LEASE_MS;
            delivery.attempt += 1;
            delivery.lease += 1;
            delivery.unsettled += 1;
            delivery.clone()
        };
        due.into_iter().take(limit as usize).map(claim).collect()
    }

    /// The delivery if this is its valid lease.
    fn leased(&mut self, key: [u8; 16], lease: u64) -> Option<&mut Delivery> {
        let (_, delivery) = self.deliveries.get_mut(&key)?;
        (delivery.state == DeliveryState::Leased && delivery.lease == lease).then_some(delivery)
    }

    fn reopen(&mut self, key: [u8; 16]) -> Reopened {
        match self.deliveries.get_mut(&key) {
            None => Reopened::Unknown,
            Some((_, delivery)) if delivery.state == DeliveryState::Dead => {
                delivery.state = DeliveryState::Due;
                delivery.due_at_ms = self.now_ms;
                delivery.attempt = 0;
                delivery.unsettled = 0;
                Reopened::Due
            }
            Some((_, delivery)) => Reopened::NotDead(delivery.state),
        }
    }
}

fn is_stale(result: &Result<(), Error>) -> bool {
    match result {
        Ok(()) => false,
        Err(Error::StaleLease) => true,
        Err(other) => panic!("{other:?}"),
    }
}

async fn walk(steps: Vec<Step>) {
    let folder = TempDir::new().expect("a folder");
    let options = Options::new(folder.path());
    let mut store = Store::open_embedded(&options).expect("the store opens");
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Begin { key, destination, due_in_ms } => {
                let due_at_ms = model.now_ms + due_in_ms;
                let new = NewDelivery {
                    key: [key; 16],
                    submission: [key; 16],
                    destination: name(destination),
                    due_at_ms,
                };
                model.begin(&new);
                store.commit(Batch::at(model.now_ms).deliver(new)).await.expect("a commit");
            }
            Step::Claim { destination, limit } => {
                let claimed =
                    store.claim(&name(destination), model.now_ms, LEASE_MS, limit).await.expect("a claim");
                assert_eq!(claimed, model.claim(&name(destination), limit));
            }
            Step::Renew { key, lease_back } => {
                let lease = lease_of(&model, key, lease_back);
                let until_ms = model.now_ms + LEASE_MS;
                let stale = is_stale(&store.renew([key; 16], lease, until_ms).await);
                let leased = model.leased([key; 16], lease).map(|delivery| delivery.due_at_ms = until_ms);
                assert_eq!(stale, leased.is_none());
            }
            Step::Settle { key, lease_back, verdict, due_in_ms } => {
                let lease = lease_of(&model, key, lease_back);
                let at_ms = model.now_ms + due_in_ms;
                let (verdict, state) = match verdict {
                    0 => (Verdict::Delivered { at_ms }, DeliveryState::Delivered),
                    1 => (Verdict::Retry { due_at_ms: at_ms }, DeliveryState::Due),
                    _ => (Verdict::Dead { at_ms }, DeliveryState::Dead),
                };
                let history = at_ms.to_be_bytes().to_vec();
                let settlement = Settlement { verdict, history: history.clone(), puts: vec![] };
                let stale = is_stale(&store.settle([key; 16], lease, settlement).await);
                let leased = model.leased([key; 16], lease).map(|delivery| {
                    (delivery.state, delivery.due_at_ms, delivery.history) = (state, at_ms, history);
                    delivery.unsettled = 0;
                });
                assert_eq!(stale, leased.is_none());
            }
            Step::Reopen { key } => {
                let reopened = store.reopen([key; 16], model.now_ms, vec![]).await.expect("a reopen");
                assert_eq!(reopened, model.reopen([key; 16]));
            }
            Step::Advance { by_ms } => model.now_ms += by_ms,
            Step::Clamp { ahead_ms } => {
                let latest_ms = model.now_ms + ahead_ms;
                store.clamp_due(latest_ms).await.expect("a clamp");
                for (_, delivery) in model.deliveries.values_mut().filter(|(_, delivery)| is_open(delivery)) {
                    delivery.due_at_ms = delivery.due_at_ms.min(latest_ms);
                }
            }
            Step::CloseAndOpen => {
                store.close().await.expect("a clean close");
                store = Store::open_embedded(&options).expect("the store opens");
                for (_, delivery) in model.deliveries.values_mut() {
                    if delivery.state == DeliveryState::Leased {
                        (delivery.state, delivery.due_at_ms) = (DeliveryState::Due, 0);
                    }
                }
            }
        }
    }
    let stored = store.deliveries(DeliveryFilter::default(), None, 100).await.expect("a read");
    let expected: Vec<_> = model.deliveries.into_values().map(|(_, delivery)| delivery).collect();
    assert_eq!(stored, expected);
}

fn lease_of(model: &Model, key: u8, back: u64) -> u64 {
    model.deliveries.get(&[key; 16]).map_or(0, |(_, delivery)| delivery.lease.saturating_sub(back))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_store_and_a_model_of_deliveries_agree(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(walk(steps));
    }
}

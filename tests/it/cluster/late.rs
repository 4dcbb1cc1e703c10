//! Outcomes that come late: what was found out under a lease of a Redis that was restarted since changes nothing that others
//! have done meanwhile, unless it was delivered.

use formgate::store::{Delivery, DeliveryState, Error, Verdict};

use super::fixture::{Node, Redis, emptied};
use super::{accept, claimed, claimed_at, key, settle, states};

/// Two nodes, of which the second has the only delivery in hand; then Redis is restarted.
async fn begun() -> (Redis, Node, Node, Delivery) {
    let mut redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    accept(&one, 0..1).await;
    let under_way = claimed(&two, 1).await.remove(0);
    redis.kill();
    for node in [&one, &two] {
        node.alone().await;
    }
    redis.restart().await;
    for node in [&one, &two] {
        node.told().await;
    }
    (redis, one, two, under_way)
}

#[tokio::test]
async fn a_late_outcome_brings_nothing_back_that_was_erased_meanwhile() {
    let (mut redis, one, two, late) = begun().await;
    one.erase(key(0)).await;
    let settled = settle(&two, &late, Verdict::Delivered { at_ms: 2 }).await;
    assert!(matches!(settled, Err(Error::StaleLease)), "{settled:?}");
    two.told().await;
    assert_eq!(states(&one).await, []);
    emptied(&mut redis, &[&one, &two]).await;
    assert_eq!(states(&one).await, []);
}

#[tokio::test]
async fn a_late_outcome_ends_nothing_that_another_node_has_in_hand_and_is_not_told_again() {
    for verdict in [Verdict::Dead { at_ms: 2 }, Verdict::Superseded { at_ms: 2 }] {
        let (mut redis, one, two, late) = begun().await;
        let again = claimed_at(&one, 1, 100_000).await.remove(0);
        assert_eq!((late.lease, again.lease), (1, 2));
        let settled = settle(&two, &late, verdict).await;
        assert!(matches!(settled, Err(Error::StaleLease)), "{settled:?}");
        settle(&one, &again, Verdict::Retry { due_at_ms: 100_001 }).await.expect("the lease");
        assert_eq!(states(&one).await, [(0, DeliveryState::Due)]);
        emptied(&mut redis, &[&one, &two]).await;
        assert_eq!(states(&one).await, [(0, DeliveryState::Due)]);
    }
}

#[tokio::test]
async fn what_was_delivered_is_delivered_however_late_that_is_said() {
    let (mut redis, one, two, late) = begun().await;
    let again = claimed_at(&one, 1, 100_000).await.remove(0);
    settle(&two, &late, Verdict::Delivered { at_ms: 2 }).await.expect("it is true");
    let settled = settle(&one, &again, Verdict::Retry { due_at_ms: 100_001 }).await;
    assert!(matches!(settled, Err(Error::StaleLease)), "{settled:?}");
    assert_eq!(states(&one).await, [(0, DeliveryState::Delivered)]);
    emptied(&mut redis, &[&one, &two]).await;
    assert_eq!(states(&one).await, [(0, DeliveryState::Delivered)]);
}

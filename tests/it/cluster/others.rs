//! What one node does with what another has accepted, and Redis then loses.

use formgate::store::{
    Batch, DeliveryFilter, DeliveryState, Erasure, Error, Expectation, Lane, Pace, Put, Reopen, Reopened,
    Scan, Table, Verdict,
};
use tokio::time::{Duration, sleep};

use super::fixture::{Node, PATIENCE, Redis, emptied, options, pace};
use super::{accept, claimed, key, settle, states, submission, value};

async fn state(node: &Node, key: [u8; 16]) -> Option<DeliveryState> {
    node.store.delivery(key).await.expect("a read").map(|delivery| delivery.state)
}

#[tokio::test]
async fn what_one_node_has_replayed_is_not_lost_with_redis_whoever_accepted_and_whoever_ended_it() {
    let mut redis = Redis::start().await;
    let (one, two, three) = (Node::join(&redis).await, Node::join(&redis).await, Node::join(&redis).await);
    accept(&one, 0..6).await;
    let mut dead = claimed(&one, 6).await;
    dead.sort_by_key(|delivery| delivery.key);
    let verdict = Verdict::Dead { at_ms: 2 };
    for (delivery, node) in dead.iter().zip([&one, &two, &three].repeat(2)) {
        // As that node knows it: it may only have the outcome.
        let settlement = formgate::store::Settlement { verdict, history: b"kept".to_vec(), puts: vec![] };
        node.store.settle(delivery.key, delivery.lease, settlement).await.expect("the lease");
    }
    // Another node makes three of them due again under the same key, and three as new.
    for number in 0..3 {
        let reopened = two.store.reopen(key(number), 5, vec![]).await.expect("a replay");
        assert_eq!(reopened, Reopened::Due);
    }
    let as_new = (3..6).fold(Batch::at(0), |batch, number| {
        batch.reopen(Reopen { key: key(number), new_key: key(number + 100), due_at_ms: 5, lane: Lane::Bulk })
    });
    two.store.commit(as_new).await.expect("a replay");
    // The others have heard that three keys are gone.
    for node in [&one, &three] {
        node.until("it has heard", async || state(node, key(5)).await.is_none()).await;
    }
    emptied(&mut redis, &[&one, &two, &three]).await;
    for number in [0, 1, 2, 103, 104, 105] {
        let open = state(&three, key(number)).await;
        assert!(matches!(open, Some(DeliveryState::Due)), "{number} is {open:?}");
        let body = value(&three, Table::Submission, &key(number % 100)).await;
        assert_eq!(body, Some(format!("canary-body-{}", number % 100).into_bytes()));
    }
    assert_eq!(states(&one).await.len(), 6, "and nothing else");
}

#[tokio::test]
async fn what_another_node_has_sealed_again_is_what_the_first_has_when_redis_is_gone() {
    let mut redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    accept(&one, 0..2).await;
    let sealed = two.store.get(Table::Submission, &key(0)).await.expect("a read").expect("a record");
    let again = Batch::at(0)
        .require(Table::Submission, key(0), Expectation::Version(sealed.version))
        .put(Put::new(Table::Submission, key(0), "sealed-under-a-newer-key"));
    two.store.commit(again).await.expect("a commit");
    one.until("it has the newer one", async || one.has_on_disk(b"sealed-under-a-newer-key")).await;
    // Nobody needs it who never had it.
    assert_eq!(claimed(&one, 2).await.len(), 2);
    drop(two);
    redis.kill();
    one.alone().await;
    let body = value(&one, Table::Submission, &key(0)).await;
    assert_eq!(body.as_deref(), Some(&b"sealed-under-a-newer-key"[..]));
}

#[tokio::test]
async fn a_node_that_was_away_while_a_body_was_sealed_again_and_redis_lost_everything_has_the_newer_one_then()
{
    let mut redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    accept(&one, 0..1).await;
    let away = one.crash();
    let again = Batch::at(0).put(Put::new(Table::Submission, key(0), "sealed-under-a-newer-key"));
    two.store.commit(again).await.expect("a commit");
    emptied(&mut redis, &[&two]).await;
    let one = Node::at(away, options(&redis, "{formgate}"), pace()).await;
    one.told().await;
    one.until("it has the newer one", async || one.has_on_disk(b"sealed-under-a-newer-key")).await;
    redis.kill();
    one.alone().await;
    let body = value(&one, Table::Submission, &key(0)).await;
    assert_eq!(body.as_deref(), Some(&b"sealed-under-a-newer-key"[..]));
}

#[tokio::test]
async fn a_node_that_has_only_a_body_takes_over_the_rest_before_it_says_that_it_is_kept() {
    let mut redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    accept(&one, 0..1).await;
    two.store.commit(Batch::at(0).put(Put::new(Table::Submission, key(0), "again"))).await.expect("ok");
    assert!(two.store.adopt(key(0)).await.expect("it is in Redis"), "it was not here as a whole");
    two.store
        .keep_copies(vec![(Table::Walk, vec![1; 16]), (Table::Setting, b"none".to_vec())])
        .await
        .expect("ok");
    assert!(!two.store.adopt(key(0)).await.expect("it is here"));
    drop(one);
    emptied(&mut redis, &[&two]).await;
    assert_eq!(value(&two, Table::Timeline, &[0; 24]).await.as_deref(), Some(&b"canary-entry"[..]));
    assert_eq!(state(&two, key(0)).await, Some(DeliveryState::Due));
}

#[tokio::test]
async fn nobody_is_found_or_erased_while_redis_lacks_what_a_node_has() {
    let mut redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    let person = [7; 48];
    two.store.commit(submission(1).put(Put::new(Table::Person, person, ""))).await.expect("accepted");
    for node in [&one, &two] {
        node.told().await;
        let scan = || Scan { prefix: vec![7; 32], limit: 9, ..Scan::default() };
        node.until(
            "it is found",
            async || matches!(node.store.scan_all(Table::Person, scan()).await, Ok(found) if found.len() == 1),
        )
        .await;
    }
    let folder = two.crash();
    redis.wipe();
    redis.restart().await;
    // The other node is known, has not told yet what it has, and has what is looked for.
    let scan = Scan { prefix: vec![7; 32], limit: 9, ..Scan::default() };
    let found = one.store.scan_all(Table::Person, scan.clone()).await;
    assert!(matches!(found, Err(Error::Incomplete)), "{found:?}");
    let erasure =
        Erasure { submission: key(1), settled: None, forget_at_ms: 9, deletes: vec![], puts: vec![] };
    let erased = one.store.erase(erasure).await;
    assert!(matches!(erased, Err(Error::Busy)), "{erased:?}");
    let two = Node::at(folder, options(&redis, "{formgate}"), pace()).await;
    two.told().await;
    one.until(
        "it is found",
        async || matches!(one.store.scan_all(Table::Person, scan.clone()).await, Ok(found) if found.len() == 1),
    )
    .await;
}

#[tokio::test]
async fn whoever_must_see_all_that_any_node_has_is_not_given_a_part() {
    let redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    accept(&two, 0..3).await;
    for delivery in claimed(&two, 3).await {
        settle(&two, &delivery, Verdict::Dead { at_ms: 2 }).await.expect("the lease");
    }
    let dead = || DeliveryFilter { state: Some(DeliveryState::Dead), ..DeliveryFilter::default() };
    let all = || Scan { limit: 9, ..Scan::default() };
    let replay =
        || Batch::at(0).reopen(Reopen { key: key(0), new_key: key(0), due_at_ms: 5, lane: Lane::Bulk });
    one.until("it sees all", async || one.store.deliveries_all(dead(), None, 9).await.is_ok()).await;
    // One that answers, and does nothing: each single call may fail.
    redis.run::<()>(&["ACL", "SETUSER", "default", "-evalsha"]);
    let part = one.store.deliveries(dead(), None, 9).await.expect("its own");
    assert_eq!((part.len(), one.store.scan(Table::Timeline, all()).await.expect("its own").len()), (0, 0));
    let found = one.store.deliveries_all(dead(), None, 9).await;
    assert!(matches!(found, Err(Error::Incomplete)), "{found:?}");
    let found = one.store.scan_all(Table::Timeline, all()).await;
    assert!(matches!(found, Err(Error::Incomplete)), "{found:?}");
    let replayed = one.store.commit(replay()).await;
    assert!(matches!(replayed, Err(Error::Busy)), "it is not here: {replayed:?}");
    redis.run::<()>(&["ACL", "SETUSER", "default", "+evalsha"]);
    one.until(
        "it sees all",
        async || matches!(one.store.deliveries_all(dead(), None, 9).await, Ok(found) if found.len() == 3),
    )
    .await;
    one.store.commit(replay()).await.expect("a replay");
    assert_eq!(state(&one, key(0)).await, Some(DeliveryState::Due));
}

#[tokio::test]
async fn what_was_written_again_alone_does_not_come_back_if_others_had_erased_it_before() {
    let redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    accept(&one, 0..2).await;
    one.told().await;
    let folder = one.leave().await;
    two.erase(key(0)).await;
    // The first is cut off, has not heard of it, and writes both again afterwards.
    let mut nowhere = Redis::start().await;
    nowhere.kill();
    let one = Node::at(folder, options(&nowhere, "{formgate}"), pace()).await;
    for number in 0..2 {
        let record = one.store.get(Table::Submission, &key(number)).await.expect("a read").expect("a record");
        let again = Batch::at(0)
            .require(Table::Submission, key(number), Expectation::Version(record.version))
            .put(Put::new(Table::Submission, key(number), "canary-again"));
        one.store.commit(again).await.expect("a commit");
    }
    let one = Node::at(one.leave().await, options(&redis, "{formgate}"), pace()).await;
    one.told().await;
    two.until("the other was written again", async || {
        value(&two, Table::Submission, &key(1)).await.as_deref() == Some(&b"canary-again"[..])
    })
    .await;
    for node in [&one, &two] {
        assert_eq!(value(node, Table::Submission, &key(0)).await.as_deref(), Some(&b""[..]));
    }
}

#[tokio::test]
async fn a_node_that_starts_while_redis_is_away_waits_for_those_it_knew() {
    let mut redis = Redis::start().await;
    // The first does not compare what it has entrusted, so it does not learn what the second has ended.
    let alone = Pace { reconcile_every: PATIENCE, ..pace() };
    let at = tempfile::TempDir::new().expect("a folder");
    let one = Node::at(at, options(&redis, "{formgate}"), alone.clone()).await;
    let two = Node::join(&redis).await;
    accept(&one, 0..1).await;
    let delivery = claimed(&two, 1).await.remove(0);
    settle(&two, &delivery, Verdict::Delivered { at_ms: 2 }).await.expect("the lease");
    for node in [&one, &two] {
        node.told().await;
    }
    sleep(pace().look_every * 6).await;
    let (first, second) = (one.crash(), two.crash());
    redis.wipe();
    let one = Node::at(first, options(&redis, "{formgate}"), alone).await;
    redis.restart().await;
    let claim = async || one.store.claim("crm", 100_000, 60_000, 9).await.expect("a claim");
    one.until("it has noticed", async || one.store.standing().is_some_and(|standing| standing.reachable))
        .await;
    sleep(pace().look_every * 6).await;
    assert_eq!(claim().await, [], "it waits");
    let two = Node::at(second, options(&redis, "{formgate}"), pace()).await;
    for node in [&one, &two] {
        node.told().await;
    }
    sleep(pace().look_every * 6).await;
    assert_eq!(claim().await, [], "it was delivered");
    assert_eq!(states(&one).await, [(0, DeliveryState::Delivered)]);
}

#[tokio::test]
async fn a_repeat_while_redis_is_told_what_it_lost_finds_what_was_accepted() {
    let mut redis = Redis::start().await;
    // The one waits long for the other, which does not come back.
    let patient = Pace { look_every: Duration::from_millis(150), ..pace() };
    let at = tempfile::TempDir::new().expect("a folder");
    let one = Node::at(at, options(&redis, "{formgate}"), patient).await;
    let two = Node::join(&redis).await;
    accept(&one, 0..1).await;
    for node in [&one, &two] {
        node.told().await;
    }
    sleep(pace().look_every * 6).await;
    drop(two);
    redis.wipe();
    redis.restart().await;
    one.until("it has noticed", async || {
        one.store.standing().is_some_and(|standing| standing.reachable && !standing.told)
    })
    .await;
    let repeat = one.store.commit(submission(0)).await;
    assert!(matches!(repeat, Err(Error::Conflict { index: 0, existing: Some(_) })), "{repeat:?}");
    one.told().await;
    let delivery = claimed(&one, 1).await.remove(0);
    settle(&one, &delivery, Verdict::Delivered { at_ms: 3 }).await.expect("the lease");
    assert_eq!(states(&one).await, [(0, DeliveryState::Delivered)]);
}

#[tokio::test]
async fn what_was_begun_without_redis_can_be_ended_also_after_it_was_back_and_has_lost_everything_since() {
    let mut redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    redis.kill();
    one.alone().await;
    accept(&one, 0..2).await;
    let under_way = claimed(&one, 2).await;
    redis.restart().await;
    for node in [&one, &two] {
        node.told().await;
    }
    emptied(&mut redis, &[&one, &two]).await;
    assert_eq!(states(&two).await, [(0, DeliveryState::Leased), (1, DeliveryState::Leased)]);
    let [first, second] = under_way.as_slice() else { panic!("{under_way:?}") };
    one.store.renew(first.key, first.lease, i64::from(u32::MAX)).await.expect("the lease");
    settle(&one, second, Verdict::Delivered { at_ms: 2 }).await.expect("the lease");
    assert_eq!(states(&two).await, [(0, DeliveryState::Leased), (1, DeliveryState::Delivered)]);
}

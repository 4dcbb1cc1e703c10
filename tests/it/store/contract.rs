//! What every store does, whichever kind it is: each test runs on a file of one process, and on a node with its journal and a
//! Redis of its own.

use std::num::NonZeroU32;

use formgate::store::{
    Batch, DeliveryState, Erased, Erasure, Error, Expectation, NewDelivery, Put, Rate, Reopened, Scan,
    Settled, Settlement, Store, Table, Verdict, trace,
};

use crate::store_model::backend::{Backend, on_both};

on_both!(
    crate::store_model::backend::Backend::start;
    a_batch_is_applied_as_a_whole_or_not_at_all,
    one_conflict_in_a_group_fails_no_other_operation,
    a_record_that_was_deleted_and_made_again_does_not_look_unchanged,
    a_record_whose_time_is_over_counts_as_absent_and_is_purged,
    a_scan_reads_a_prefix_in_order_page_by_page_in_both_directions,
    a_delivery_whose_lease_expired_is_claimed_again_and_the_old_lease_changes_nothing,
    the_oldest_due_is_claimed_first_and_a_dead_one_only_after_it_was_reopened,
    what_is_erased_goes_with_all_that_belongs_to_it_and_stays_known_for_a_while,
    a_bucket_gives_what_its_rate_allows_and_an_account_that_asks_for_patience_gets_it,
    what_was_acknowledged_outlives_a_crash_a_restart_and_a_redis_that_lost_everything,
);

fn delivery(number: u8, due_at_ms: i64) -> NewDelivery {
    NewDelivery { key: [number; 16], submission: [0; 16], destination: "crm".into(), due_at_ms }
}

fn settled(verdict: Verdict) -> Settlement {
    Settlement { verdict, history: b"kept".to_vec(), puts: vec![] }
}

async fn value(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    store.get(Table::Setting, key).await.expect("a read").map(|record| record.value)
}

async fn a_batch_is_applied_as_a_whole_or_not_at_all(backend: Backend) {
    let store = backend.store();
    store.commit(Batch::at(0).put(Put::new(Table::Setting, "a", "1"))).await.expect("a commit");

    let refused = Batch::at(0)
        .require(Table::Setting, "b", Expectation::Absent)
        .require(Table::Setting, "a", Expectation::Absent)
        .put(Put::new(Table::Setting, "b", "2"))
        .delete(Table::Setting, "a")
        .deliver(delivery(1, 0));
    match store.commit(refused).await {
        Err(Error::Conflict { index: 1, existing: Some(record) }) => assert_eq!(record.value, b"1"),
        other => panic!("{other:?}"),
    }
    assert_eq!(value(store, b"a").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(value(store, b"b").await, None);
    assert_eq!(store.delivery([1; 16]).await.expect("a read"), None);
}

async fn one_conflict_in_a_group_fails_no_other_operation(backend: Backend) {
    let store = backend.store();
    let mut commits = tokio::task::JoinSet::new();
    for number in 0..200u32 {
        let store = store.clone();
        // Every key is wanted by two, and exactly one of them may have it.
        let key = (number / 2).to_be_bytes();
        let batch = Batch::at(0).require(Table::Setting, key, Expectation::Absent).put(Put::new(
            Table::Setting,
            key,
            number.to_be_bytes(),
        ));
        commits.spawn(async move { store.commit(batch).await });
    }
    let results = commits.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 100);
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(Error::Conflict { index: 0, .. }))));
}

async fn a_record_that_was_deleted_and_made_again_does_not_look_unchanged(backend: Backend) {
    let store = backend.store();
    let put = || Put::new(Table::Setting, "a", "same");
    store.commit(Batch::at(0).put(put())).await.expect("a commit");
    let seen = store.get(Table::Setting, b"a").await.expect("a read").expect("a record").version;
    store
        .commit(Batch::at(0).require(Table::Setting, "a", Expectation::Version(seen)))
        .await
        .expect("unchanged");
    store.commit(Batch::at(0).delete(Table::Setting, "a")).await.expect("a commit");
    store.commit(Batch::at(0).put(put())).await.expect("a commit");

    let changed = store.commit(Batch::at(0).require(Table::Setting, "a", Expectation::Version(seen))).await;
    assert!(matches!(changed, Err(Error::Conflict { .. })));
}

async fn a_record_whose_time_is_over_counts_as_absent_and_is_purged(backend: Backend) {
    let store = backend.store();
    store.commit(Batch::at(0).put(Put::new(Table::Reply, "a", "1").until(100))).await.expect("a commit");
    let absent = |now_ms| Batch::at(now_ms).require(Table::Reply, "a", Expectation::Absent);
    assert!(store.commit(absent(99)).await.is_err());
    assert!(store.commit(absent(100)).await.is_ok());
    assert_eq!(store.purge_expired(99, 10).await.expect("a purge"), 0);
    assert_eq!(store.purge_expired(100, 10).await.expect("a purge"), 1);
    assert_eq!(store.get(Table::Reply, b"a").await.expect("a read"), None);
}

async fn a_scan_reads_a_prefix_in_order_page_by_page_in_both_directions(backend: Backend) {
    let store = backend.store();
    let keys: [&[u8]; 6] = [b"a", b"b", b"b1", b"b2", b"b\xff", b"c"];
    let batch = keys.iter().fold(Batch::at(0), |batch, key| batch.put(Put::new(Table::Setting, *key, "")));
    store.commit(batch).await.expect("a commit");

    for descending in [false, true] {
        let (mut read, mut after) = (vec![], None);
        loop {
            let scan = Scan { prefix: b"b".to_vec(), after, descending, limit: 2 };
            let page = store.scan(Table::Setting, scan).await.expect("a read");
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            read.extend(page.into_iter().map(|(key, _)| key));
        }
        if descending {
            read.reverse();
        }
        assert_eq!(read, [&b"b"[..], b"b1", b"b2", b"b\xff"]);
    }
}

async fn a_delivery_whose_lease_expired_is_claimed_again_and_the_old_lease_changes_nothing(backend: Backend) {
    let store = backend.store();
    store.commit(Batch::at(0).deliver(delivery(1, 10))).await.expect("a commit");
    assert!(store.claim("crm", 9, 60, 8).await.expect("a claim").is_empty());
    assert!(store.claim("other", 10, 60, 8).await.expect("a claim").is_empty());

    let old = store.claim("crm", 10, 60, 8).await.expect("a claim").remove(0);
    assert_eq!((old.attempt, old.lease, old.unsettled, old.due_at_ms), (1, 1, 1, 70));
    assert!(store.claim("crm", 69, 60, 8).await.expect("a claim").is_empty(), "the lease is valid");
    let new = store.claim("crm", 70, 60, 8).await.expect("a claim").remove(0);
    assert_eq!((new.attempt, new.lease, new.unsettled), (2, 2, 2));

    let before = store.delivery([1; 16]).await.expect("a read");
    let stale = store.settle([1; 16], old.lease, settled(Verdict::Delivered { at_ms: 80 })).await;
    assert!(matches!(stale, Err(Error::StaleLease)));
    assert!(matches!(store.renew([1; 16], old.lease, 999).await, Err(Error::StaleLease)));
    assert_eq!(store.delivery([1; 16]).await.expect("a read"), before);

    store.renew([1; 16], new.lease, 200).await.expect("the valid lease");
    let retry = settled(Verdict::Retry { due_at_ms: 500 });
    store.settle([1; 16], new.lease, retry.clone()).await.expect("the valid lease");
    assert!(matches!(store.settle([1; 16], new.lease, retry).await, Err(Error::StaleLease)), "settled once");
    let after = store.delivery([1; 16]).await.expect("a read").expect("a delivery");
    assert_eq!((after.state, after.due_at_ms, after.unsettled), (DeliveryState::Due, 500, 0));
    assert_eq!(after.history, b"kept");
}

async fn the_oldest_due_is_claimed_first_and_a_dead_one_only_after_it_was_reopened(backend: Backend) {
    let store = backend.store();
    let batch = [(1, 30), (2, 10), (3, 20)]
        .into_iter()
        .fold(Batch::at(0), |batch, (n, due)| batch.deliver(delivery(n, due)));
    store.commit(batch).await.expect("a commit");
    let claimed = store.claim("crm", 100, 60, 2).await.expect("a claim");
    assert_eq!(claimed.iter().map(|delivery| delivery.key).collect::<Vec<_>>(), [[2; 16], [3; 16]]);
    store.settle([2; 16], 1, settled(Verdict::Dead { at_ms: 101 })).await.expect("a lease");

    let depth = store.depths().await.expect("a read").remove(0);
    assert_eq!((depth.due, depth.in_flight, depth.dead, depth.delivered), (1, 1, 1, 0));
    assert_eq!(depth.oldest_due_at_ms, Some(30));

    assert_eq!(store.reopen([9; 16], 200, vec![]).await.expect("a reopen"), Reopened::Unknown);
    let leased = Reopened::NotDead(DeliveryState::Leased);
    assert_eq!(store.reopen([3; 16], 200, vec![]).await.expect("a reopen"), leased);
    assert_eq!(store.reopen([2; 16], 200, vec![]).await.expect("a reopen"), Reopened::Due);
    let again = store.delivery([2; 16]).await.expect("a read").expect("a delivery");
    assert_eq!(
        (again.state, again.attempt, again.lease),
        (DeliveryState::Due, 0, 2),
        "a new budget, and what was found out before is stale"
    );
}

async fn what_is_erased_goes_with_all_that_belongs_to_it_and_stays_known_for_a_while(mut backend: Backend) {
    let store = backend.store();
    let reply = [7; 32];
    let accept = |now_ms| {
        Batch::at(now_ms)
            .require(Table::Submission, [0; 16], Expectation::Absent)
            .put(Put::new(Table::Submission, [0; 16], "sealed"))
            .put(Put::new(Table::Reply, reply, "kept"))
            .put(trace([0; 16], Table::Reply, &reply))
            .deliver(delivery(1, 0))
            .deliver(delivery(2, 0))
    };
    store.commit(accept(0)).await.expect("a commit");
    let leased = store.claim("crm", 0, 60, 1).await.expect("a claim").remove(0);
    let erasure = |settled| Erasure {
        submission: [0; 16],
        settled,
        forget_at_ms: 100,
        deletes: vec![],
        puts: vec![Put::new(Table::Setting, "erased", "1")],
    };
    let in_time = Settled { delivered_by_ms: 50, dead_by_ms: 50 };
    let refused = store.erase(erasure(Some(in_time))).await.expect("an answer");
    assert_eq!((refused, value(store, b"erased").await), (Erased::NotSettled, None));
    let Erased::Done { deliveries } = store.erase(erasure(None)).await.expect("an answer") else {
        panic!("it was not erased")
    };
    assert_eq!(deliveries.len(), 2);
    assert_eq!(value(store, b"erased").await.as_deref(), Some(&b"1"[..]));

    // Also after everything that can become of a process and of what it shares.
    for redis_is_empty in [false, true] {
        backend.crash(0).await;
        backend.redis_dies(redis_is_empty).await;
        let store = backend.store();
        assert_eq!(store.get(Table::Reply, &reply).await.expect("a read"), None);
        assert_eq!(store.delivery([1; 16]).await.expect("a read"), None);
        let late = settled(Verdict::Delivered { at_ms: 1 });
        let late = store.settle(leased.key, leased.lease, late).await;
        assert!(matches!(late, Err(Error::StaleLease)), "{late:?}");
        assert!(store.commit(accept(99)).await.is_err(), "a late repeat is no new submission");
    }
    backend.store().commit(accept(100)).await.expect("forgotten");
}

async fn a_bucket_gives_what_its_rate_allows_and_an_account_that_asks_for_patience_gets_it(backend: Backend) {
    let store = backend.store();
    let number = |number| NonZeroU32::new(number).expect("not zero");
    let rate = Some(Rate { per_minute: number(60), burst: number(5) });
    let take = |wanted, now_ms| async move {
        store.take_tokens("account", rate, wanted, now_ms).await.expect("an answer").granted
    };
    assert_eq!((take(3, 0).await, take(3, 0).await, take(1, 0).await), (3, 2, 0));
    store.give_tokens_back("account", rate, 1).await.expect("given back");
    assert_eq!((take(5, 0).await, take(5, 2_000).await), (1, 2));
    store.slow_down("account", rate, 10_000, 2_000).await.expect("a pause");
    let asked = store.take_tokens("account", rate, 1, 9_000).await.expect("an answer");
    assert_eq!((asked.granted, asked.next_at_ms >= 10_000), (0, true));
    let other = store.take_tokens("other", rate, 1, 9_000).await.expect("an answer");
    assert_eq!(other.granted, 1, "one account's pause is no other's");
}

async fn what_was_acknowledged_outlives_a_crash_a_restart_and_a_redis_that_lost_everything(
    mut backend: Backend,
) {
    for number in 0..20u8 {
        let batch =
            Batch::at(0).put(Put::new(Table::Setting, [number], [number])).deliver(delivery(number, 0));
        backend.store().commit(batch).await.expect("a commit");
    }
    let claimed = backend.store().claim("crm", 0, 60, 3).await.expect("a claim");
    for delivery in &claimed {
        let done = settled(Verdict::Delivered { at_ms: 1 });
        backend.store().settle(delivery.key, delivery.lease, done).await.expect("a lease");
    }
    backend.crash(0).await;
    backend.redis_dies(true).await;
    backend.close_and_open(0).await;
    let store = backend.store();
    for number in 0..20u8 {
        assert_eq!(value(store, &[number]).await, Some(vec![number]));
    }
    let depth = store.depths().await.expect("a read").remove(0);
    assert_eq!((depth.due, depth.delivered), (17, 3), "and what has ended stays so");
    assert_eq!(store.claim("crm", 0, 60, 30).await.expect("a claim").len(), 17);
}

//! What nodes tell a server that has lost it, and what they learn from it.

use formgate::store::redis::{Change, Error, Offered, Redis, Row};
use formgate::store::{Batch, Delivery, DeliveryState, Erased, Erasure, Lane, Put, Settled, Table, Verdict};

use super::server::Server;
use super::{claim, delivery, opened, options, settled};

fn row(number: u8, state: DeliveryState, lease: u64) -> Delivery {
    Delivery {
        key: [number; 16],
        submission: [number; 16],
        destination: "crm".into(),
        state,
        lane: Lane::Retry,
        due_at_ms: 7,
        attempt: 3,
        lease,
        unsettled: 0,
        history: b"kept".to_vec(),
    }
}

fn submission(delivery: Delivery, version: i64) -> Row {
    let put = Put::new(Table::Submission, delivery.submission, "sealed");
    Row::Submission { records: vec![(put, version)], deliveries: vec![(delivery, version)] }
}

async fn offer(redis: &Redis, row: Row) -> Offered {
    redis.offer(&[row]).await.expect("an answer").remove(0)
}

async fn state(redis: &Redis, number: u8) -> Option<(DeliveryState, u64)> {
    let read = redis.delivery([number; 16]).await.expect("a read");
    read.map(|delivery| (delivery.state, delivery.lease))
}

#[tokio::test]
async fn an_offer_is_taken_if_it_is_newer_and_a_second_time_changes_nothing() {
    let (_server, redis) = opened().await;
    let open = row(1, DeliveryState::Due, 4);
    assert_eq!(offer(&redis, submission(open.clone(), 1_000)).await, Offered::Taken);
    assert_eq!(redis.delivery([1; 16]).await.expect("a read"), Some(open.clone()));
    assert_eq!(offer(&redis, submission(open.clone(), 1_000)).await, Offered::Known);
    assert_eq!(redis.states(&[[1; 16], [2; 16]]).await.expect("a read").iter().flatten().count(), 1);

    let claimed = redis.claim(&claim(9, 9)).await.expect("a claim").remove(0);
    assert_eq!((claimed.lease, claimed.attempt, claimed.history.as_slice()), (5, 4, &b"kept"[..]));
    assert_eq!(offer(&redis, submission(open, i64::MAX >> 11)).await, Offered::Taken, "the record alone");
    assert_eq!(state(&redis, 1).await, Some((DeliveryState::Leased, 5)), "a lease never goes back");
    let next = redis.commit(&Batch::at(0)).await.expect("a commit");
    let behind = Batch::at(0).put(Put::new(Table::Setting, "a", "1"));
    assert!(redis.commit(&behind).await.expect("a commit") > next, "later than any that was offered");
}

#[tokio::test]
async fn what_was_delivered_beats_everything_and_what_died_only_what_is_not_newer() {
    let (_server, redis) = opened().await;
    let open = |number| submission(row(number, DeliveryState::Due, 4), 1_000);
    for number in 1..=3 {
        assert_eq!(offer(&redis, open(number)).await, Offered::Taken);
    }
    let ended = |number, state, lease, version| submission(row(number, state, lease), version);
    let (delivered, dead) = (DeliveryState::Delivered, DeliveryState::Dead);
    offer(&redis, ended(1, delivered, 1, 900)).await;
    assert_eq!(state(&redis, 1).await, Some((delivered, 4)));
    offer(&redis, ended(1, DeliveryState::Due, 9, 9_000)).await;
    assert_eq!(state(&redis, 1).await, Some((delivered, 4)), "it stays so");
    offer(&redis, ended(2, dead, 3, 2_000)).await;
    assert_eq!(state(&redis, 2).await, Some((DeliveryState::Due, 4)), "an older lease");
    offer(&redis, ended(2, dead, 4, 999)).await;
    assert_eq!(state(&redis, 2).await, Some((DeliveryState::Due, 4)), "an older version");
    offer(&redis, ended(2, dead, 4, 2_000)).await;
    assert_eq!(state(&redis, 2).await, Some((dead, 4)));
    offer(&redis, ended(2, DeliveryState::Due, 5, 3_000)).await;
    assert_eq!(state(&redis, 2).await, Some((DeliveryState::Due, 5)), "it was reopened");
    let depth = redis.depths().await.expect("a read").remove(0);
    assert_eq!((depth.due, depth.delivered, depth.dead, depth.in_flight), (2, 1, 0, 0));
}

#[tokio::test]
async fn what_was_deleted_does_not_come_back_and_an_erased_submission_not_in_parts() {
    let (_server, redis) = opened().await;
    let put = || Put::new(Table::Setting, "a", "1");
    let written = redis.commit(&Batch::at(0).put(put())).await.expect("a commit");
    let deleted = redis.commit(&Batch::at(0).delete(Table::Setting, "a")).await.expect("a commit");
    assert!(deleted > written);
    let old = Row::Record { put: put(), version: 1_000 };
    assert_eq!(offer(&redis, old).await, Offered::Buried);
    assert_eq!(redis.get(Table::Setting, b"a").await.expect("a read"), None);
    let newer = Row::Record { put: put(), version: i64::MAX >> 11 };
    assert_eq!(offer(&redis, newer).await, Offered::Taken);
    let gone = |version| Row::Deleted { table: 8, key: b"a".to_vec(), version };
    assert_eq!(offer(&redis, gone(1_000)).await, Offered::Known);
    assert_eq!(offer(&redis, gone(i64::MAX >> 11)).await, Offered::Taken);
    assert_eq!(redis.get(Table::Setting, b"a").await.expect("a read"), None);

    // Erased while the server knew nothing of it.
    let erasure =
        Erasure { submission: [1; 16], settled: None, forget_at_ms: 9, deletes: vec![], puts: vec![] };
    redis.erase(&erasure).await.expect("an erasure");
    assert_eq!(offer(&redis, submission(row(1, DeliveryState::Due, 0), 1_000)).await, Offered::Buried);
    assert_eq!((state(&redis, 1).await, redis.claim(&claim(9, 9)).await.expect("a claim").len()), (None, 0));
    let no_delivery = Row::Deleted { table: 0, key: vec![2; 16], version: 2_000 };
    assert_eq!(offer(&redis, no_delivery).await, Offered::Taken);
    offer(&redis, submission(row(2, DeliveryState::Due, 0), 1_000)).await;
    assert_eq!(state(&redis, 2).await, None);
}

#[tokio::test]
async fn what_is_to_be_erased_because_it_is_settled_has_to_be_there() {
    let (server, redis) = opened().await;
    let batch = Batch::at(0).put(Put::new(Table::Submission, [1; 16], "sealed"));
    let batch = batch.put(Put::new(Table::Timeline, [1; 24], "entry")).deliver(delivery(1, 0));
    redis.commit(&batch).await.expect("a commit");
    let erasure = Erasure {
        submission: [1; 16],
        settled: Some(Settled { delivered_by_ms: i64::MAX, dead_by_ms: i64::MAX }),
        forget_at_ms: 9,
        deletes: vec![(Table::Timeline, vec![1; 24])],
        puts: vec![],
    };
    // Emptied since somebody saw it: nobody knows what became of its deliveries, and they will be told again.
    server.run::<()>(&["FLUSHALL"]);
    redis.identity().await.expect("a name");
    assert_eq!(redis.erase(&erasure).await.expect("an answer").0, Erased::NotSettled);
    let told = submission(row(1, DeliveryState::Due, 0), 1_000);
    assert_eq!(offer(&redis, told).await, Offered::Taken);
}

#[tokio::test]
async fn a_submission_that_is_written_again_is_a_change_and_one_that_is_new_is_none() {
    let (_server, redis) = opened().await;
    let tables = [Table::Submission, Table::File, Table::Timeline];
    let write = |value: &'static str| {
        tables.into_iter().fold(Batch::at(0), |batch, table| batch.put(Put::new(table, [1; 16], value)))
    };
    redis.commit(&write("old")).await.expect("a commit");
    assert_eq!(redis.changes(0, 100).await.expect("changes"), []);
    redis.commit(&write("new")).await.expect("a commit");
    let told = redis.changes(0, 100).await.expect("changes");
    let told: Vec<Table> = told
        .iter()
        .map(|change| match change {
            Change::Record { put, .. } if put.value == b"new" => put.table,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [Table::Submission, Table::File]);
}

#[tokio::test]
async fn changes_tell_configuration_and_all_that_was_deleted_once_and_whole() {
    let (_server, redis) = opened().await;
    let batch = (0..5u8).fold(Batch::at(0), |batch, n| batch.put(Put::new(Table::Secret, [n], [n])));
    let batch = batch.put(Put::new(Table::Submission, [1; 16], "not configuration"));
    let first = redis.commit(&batch).await.expect("a commit");
    redis
        .commit(&Batch::at(0).delete(Table::Secret, [0]).put(Put::new(Table::Secret, [1], [9])))
        .await
        .expect("a commit");
    let page = redis.changes(0, 2).await.expect("changes");
    assert_eq!(page.len(), 3, "a version is told as a whole: {page:?}");
    let all = redis.changes(0, 100).await.expect("changes");
    let told: Vec<(u8, bool)> = all
        .iter()
        .map(|change| match change {
            Change::Record { put, .. } => (put.key[0], true),
            Change::Deleted { key, table: 7, .. } => (key[0], false),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [(2, true), (3, true), (4, true), (0, false), (1, true)]);
    let at = |change: &Change| match change {
        Change::Record { at, .. } | Change::Deleted { at, .. } => *at,
    };
    assert_eq!(redis.changes(at(&page[2]), 100).await.expect("changes").len(), 2);
    assert_eq!(redis.changes(at(&all[4]), 100).await.expect("changes"), []);

    // What is offered is told although its own version is old.
    let put = Put::new(Table::Secret, [7], [7]);
    offer(&redis, Row::Record { put: put.clone(), version: 1_000 }).await;
    match redis.changes(at(&all[4]), 100).await.expect("changes").as_slice() {
        [Change::Record { put: told, version: 1_000, .. }] => assert_eq!(*told, put),
        other => panic!("{other:?}"),
    }
    let last = at(&redis.changes(0, 100).await.expect("changes").pop().expect("a change"));
    assert!(last > at(&page[0]) && redis.commit(&Batch::at(0)).await.expect("a commit") > first);
    let erasure =
        Erasure { submission: [1; 16], settled: None, forget_at_ms: 9, deletes: vec![], puts: vec![] };
    redis.erase(&erasure).await.expect("an erasure");
    let told = redis.changes(last, 100).await.expect("changes");
    // Whoever had a copy keeps that there was one, as long as it is to be known.
    match told.as_slice() {
        [Change::Record { put, version: left, .. }, Change::Deleted { table: 1, key, version, .. }] => {
            assert_eq!(*put, Put::new(Table::Submission, [1; 16], []).until(9));
            assert!(left == version && key[..] == [1; 16]);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_open_outcome_of_what_is_lost_waits_for_its_submission_and_one_that_ended_does_not() {
    let (_server, redis) = opened().await;
    let version = redis.commit(&Batch::at(0)).await.expect("a commit");
    let offer_outcome =
        async |number, state| redis.offer_outcome(&row(number, state, 4), version).await.expect("an answer");
    assert_eq!(offer_outcome(1, DeliveryState::Due).await, None);
    assert!(state(&redis, 1).await.is_none() && redis.claim(&claim(9, 9)).await.expect("ok").is_empty());
    assert_eq!(offer_outcome(1, DeliveryState::Dead).await, Some(Offered::Taken));
    assert_eq!(state(&redis, 1).await, Some((DeliveryState::Dead, 4)));

    offer(&redis, submission(row(2, DeliveryState::Leased, 4), 1_000)).await;
    assert_eq!(offer_outcome(2, DeliveryState::Due).await, Some(Offered::Taken));
    assert_eq!(offer_outcome(2, DeliveryState::Due).await, Some(Offered::Known));
    let erasure =
        Erasure { submission: [2; 16], settled: None, forget_at_ms: 9, deletes: vec![], puts: vec![] };
    redis.erase(&erasure).await.expect("an erasure");
    for late in [DeliveryState::Due, DeliveryState::Delivered] {
        assert_eq!(offer_outcome(2, late).await, Some(Offered::Buried));
    }
    assert_eq!(state(&redis, 2).await, None);
}

#[tokio::test]
async fn claims_wait_for_a_refill_and_no_longer_than_it_may_take() {
    let (server, redis) = opened().await;
    let three = (1..=3).fold(Batch::at(0), |batch, number| batch.deliver(delivery(number, 0)));
    redis.commit(&three).await.expect("a commit");
    let now_ms = redis.now_ms().await.expect("a time");
    redis.begin_refill("one", now_ms + 3_600_000, "as it was").await.expect("begun");
    redis.begin_refill("two", now_ms + 300, "as it was").await.expect("begun");
    assert!(redis.claim(&claim(9, 1)).await.expect("a claim").is_empty());
    let ends: Vec<String> = server.run(&["ZRANGE", "{formgate}:refill", "0", "-1", "WITHSCORES"]);
    let longest: i64 = ends[3].parse().expect("a time");
    assert!((now_ms..now_ms + 31_000).contains(&longest), "half a minute: {ends:?}");
    redis.end_refill("one").await.expect("ended");
    assert!(redis.claim(&claim(9, 1)).await.expect("a claim").is_empty(), "the other one");
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert_eq!(redis.claim(&claim(9, 1)).await.expect("a claim").len(), 1);
    // One that never ends: the next hold within five minutes ends where the first had to.
    server.run::<()>(&["HSET", "{formgate}:held", "since", &(now_ms - 40_000).to_string()]);
    redis.begin_refill("one", now_ms + 3_600_000, "as it was").await.expect("begun");
    assert_eq!(redis.claim(&claim(9, 1)).await.expect("a claim").len(), 1);
    // One that was restarted, or put back, has to be told everything again: it has half a minute of its own.
    redis.begin_refill("one", now_ms + 3_600_000, "another").await.expect("begun");
    assert!(redis.claim(&claim(9, 1)).await.expect("a claim").is_empty());

    redis.heartbeat("one").await.expect("noted");
    redis.heartbeat("two").await.expect("noted");
    let mut nodes = redis.nodes().await.expect("a list");
    nodes.sort();
    assert_eq!(nodes, ["one", "two"]);
}

#[tokio::test]
async fn an_emptied_server_is_another_one_gives_nothing_out_and_takes_everything_back() {
    let mut server = Server::start();
    let redis = Redis::open(&options(server.url())).await.expect("it opens");
    redis.commit(&Batch::at(0).deliver(delivery(1, 0))).await.expect("a commit");
    let before = redis.identity().await.expect("an answer");
    assert_eq!(redis.identity().await.expect("an answer"), before);
    server.stop();
    let lost = redis.commit(&Batch::at(0)).await;
    assert!(matches!(lost, Err(Error::OutOfReach(_))), "{lost:?}");
    server.restart();
    super::servers::again(&redis).await;
    let restarted = redis.identity().await.expect("an answer");
    assert_eq!(restarted.epoch, before.epoch);
    assert_ne!(restarted.run_id, before.run_id);
    assert!(redis.delivery([1; 16]).await.expect("a read").is_some(), "it was kept");

    server.stop();
    server.wipe();
    server.restart();
    super::servers::again(&redis).await;
    // Before anybody has noticed.
    redis.commit(&Batch::at(0).deliver(delivery(2, 0))).await.expect("a commit");
    assert!(redis.claim(&claim(9, 9)).await.expect("a claim").is_empty());
    assert_ne!(redis.identity().await.expect("an answer").epoch, before.epoch);
    assert_eq!(offer(&redis, submission(row(1, DeliveryState::Due, 4), 1_000)).await, Offered::Taken);
    let claimed = redis.claim(&claim(9, 9)).await.expect("a claim");
    assert_eq!(claimed.len(), 2);
    redis.settle([1; 16], 5, &settled(Verdict::Delivered { at_ms: 9 })).await.expect("a lease");
}

//! One tombstone keeps all of an erased submission from coming back, whatever part of it is offered.

use formgate::store::redis::{Offered, Redis, Row};
use formgate::store::{Batch, Delivery, DeliveryState, Erasure, Lane, NewDelivery, Put, Table, trace};

use super::server::Server;
use super::{claim, opened};

/// Later than any version that a server gives.
const LATER: i64 = i64::MAX >> 11;

fn erasure(submission: [u8; 16]) -> Erasure {
    Erasure { submission, settled: None, forget_at_ms: 9, deletes: vec![], puts: vec![] }
}

/// What an acceptance writes about a submission, and whether its key names it.
fn records(id: [u8; 16]) -> Vec<(Put, bool)> {
    let person = |by: u8| Put::new(Table::Person, [[by; 32].as_slice(), &id].concat(), []);
    let mut told = vec![
        (Put::new(Table::Timeline, [[7; 8].as_slice(), &id].concat(), "what a list shows of it"), true),
        (Put::new(Table::Reply, [[id[0]; 16], id].concat(), [5; 300]).until(1 << 50), false),
        (Put::new(Table::File, id, "sealed"), true),
    ];
    told.extend((0..4).map(|by| (person(by), true)));
    let traces: Vec<_> = told.iter().map(|(put, _)| (trace(id, put.table, &put.key), true)).collect();
    told.extend(traces);
    told
}

fn accepted(id: [u8; 16]) -> Batch {
    let batch = Batch::at(0).put(Put::new(Table::Submission, id, [id[0]; 900]));
    let batch = records(id).into_iter().fold(batch, |batch, (put, _)| batch.put(put));
    (0..2_u8).fold(batch, |batch, at| {
        let key = std::array::from_fn(|index| if index == 0 { at } else { id[index] });
        batch.deliver(NewDelivery { key, submission: id, destination: format!("crm-{at}"), due_at_ms: 0 })
    })
}

fn delivery(id: [u8; 16]) -> Delivery {
    Delivery {
        key: id,
        submission: id,
        destination: "crm".into(),
        state: DeliveryState::Delivered,
        lane: Lane::First,
        due_at_ms: 7,
        attempt: 1,
        lease: 1,
        unsettled: 0,
        history: vec![],
    }
}

fn alone(put: Put, version: i64) -> Row {
    Row::Record { put, version }
}

async fn offer(redis: &Redis, row: Row) -> Offered {
    redis.offer(&[row]).await.expect("an answer").remove(0)
}

fn graves(server: &Server) -> u64 {
    server.run(&["HLEN", "{formgate}:x"])
}

async fn stands(redis: &Redis, id: [u8; 16]) -> usize {
    let mut found = 0;
    for (put, _) in records(id) {
        found += usize::from(redis.get(put.table, &put.key).await.expect("a read").is_some());
    }
    found
}

#[tokio::test]
async fn every_part_of_an_erased_submission_is_refused_alone_under_its_one_tombstone() {
    let (server, redis) = opened().await;
    let id = [3; 16];
    redis.commit(&accepted(id)).await.expect("a commit");
    assert_eq!(stands(&redis, id).await, records(id).len());
    redis.erase(&erasure(id)).await.expect("an erasure");
    assert_eq!(stands(&redis, id).await, 0);
    let unnamed = records(id).iter().filter(|(_, is_named)| !is_named).count();
    assert_eq!(graves(&server), 1 + unnamed as u64);

    for (put, _) in records(id) {
        let told = format!("{:?}", put.table);
        assert_eq!(offer(&redis, alone(put, 1_000)).await, Offered::Buried, "{told}");
    }
    let one = Row::Submission { records: vec![], deliveries: vec![(delivery(id), 1_000)] };
    offer(&redis, one).await;
    assert_eq!(redis.delivery(id).await.expect("a read"), None);
    // Another one's are no matter of it.
    let other = records([4; 16]).into_iter().map(|(put, _)| alone(put, 1_000)).collect::<Vec<_>>();
    let answers = redis.offer(&other).await.expect("answers");
    assert!(answers.iter().all(|answer| *answer == Offered::Taken), "{answers:?}");
}

#[tokio::test]
async fn a_server_that_took_an_erased_submission_back_deletes_all_of_it_when_it_is_told() {
    let (server, redis) = opened().await;
    let id = [3; 16];
    let whole = |version: i64| Row::Submission {
        records: records(id)
            .into_iter()
            .map(|(put, _)| (put, version))
            .chain([(Put::new(Table::Submission, id, "sealed"), version)])
            .collect(),
        deliveries: vec![(delivery(id), version)],
    };
    assert_eq!(offer(&redis, whole(1_000)).await, Offered::Taken);
    let gone = |version| Row::Deleted { table: 1, key: id.to_vec(), version };
    assert_eq!(offer(&redis, gone(2_000)).await, Offered::Taken);
    assert_eq!(stands(&redis, id).await, 0);
    assert_eq!(redis.delivery(id).await.expect("a read"), None);
    assert!(redis.depths().await.expect("counts").iter().all(|depth| depth.delivered == 0));
    assert_eq!((offer(&redis, whole(1_500)).await, graves(&server)), (Offered::Buried, 1));

    // What is left of it says by itself that it was erased.
    let (_server, other) = opened().await;
    assert_eq!(
        offer(&other, alone(Put::new(Table::Submission, id, []).until(1 << 50), 2_000)).await,
        Offered::Taken
    );
    assert_eq!(offer(&other, whole(1_000)).await, Offered::Buried);
}

#[tokio::test]
async fn one_that_comes_anew_is_taken_and_nothing_of_what_it_was_before() {
    let (_server, redis) = opened().await;
    let id = [3; 16];
    redis.commit(&accepted(id)).await.expect("a commit");
    redis.erase(&erasure(id)).await.expect("an erasure");
    redis.purge_expired(10, 100).await.expect("the time is over for which it is remembered");
    redis.commit(&Batch::at(10).put(Put::new(Table::Submission, id, "anew"))).await.expect("a commit");
    for (put, _) in records(id) {
        assert_eq!(offer(&redis, alone(put.clone(), 1_000)).await, Offered::Buried);
        assert_eq!(offer(&redis, alone(put, LATER)).await, Offered::Taken);
    }
    let told = redis.changes(0, 1_000).await.expect("changes");
    let is_told = |change: &formgate::store::redis::Change| {
        matches!(change, formgate::store::redis::Change::Deleted { table: 1, .. })
    };
    assert!(!told.iter().any(is_told), "it is not told as deleted: {told:?}");
    assert!(redis.get(Table::Submission, &id).await.expect("a read").is_some());
    assert!(redis.claim(&claim(9, 9)).await.expect("a claim").is_empty());
}

#[tokio::test]
async fn an_erased_submission_takes_a_fraction_of_its_memory() {
    const COUNT: u32 = 2_000;
    let (server, redis) = opened().await;
    let id = |number: u32| -> [u8; 16] {
        let mut id = [9; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        id[8..12].copy_from_slice(&number.wrapping_mul(0x9E37_79B9).to_be_bytes());
        id
    };
    let used = || server.info("used_memory").parse::<i64>().expect("a number");
    // Scripts and tables are there before it is measured.
    redis.commit(&accepted([1; 16])).await.expect("a commit");
    redis.erase(&erasure([1; 16])).await.expect("an erasure");
    let empty = used();
    for number in 0..COUNT {
        redis.commit(&accepted(id(number))).await.expect("a commit");
    }
    let alive = (used() - empty) / i64::from(COUNT);
    for number in 0..COUNT {
        redis.erase(&erasure(id(number))).await.expect("an erasure");
    }
    let erased = (used() - empty) / i64::from(COUNT);
    redis.purge_expired(10, COUNT).await.expect("a purge");
    let later = (used() - empty) / i64::from(COUNT);
    println!(
        "a submission takes {alive} bytes of Redis, erased {erased}, and {later} when it is not remembered any more"
    );
    assert!(erased < 900 && later < 500, "alive {alive}, erased {erased}, later {later}");
}

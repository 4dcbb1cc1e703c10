//! The audit trail on real files: whoever changes one afterwards is found out.

use std::path::Path;
use std::sync::Arc;

use formgate::audit::{Broken, Event, Verified, newest, trim, verify};
use formgate::crypto::MacKey;
use formgate::store::{
    Batch, Error, Expectation, NewDelivery, Options, Put, Settlement, Store, Table, Verdict,
};
use tempfile::TempDir;

const TABLES: &str = "tbl = 4";

/// A store whose chain has this key; the first opening begins the chain.
async fn open(folder: &Path, key: &Arc<MacKey>) -> Store {
    let store = Store::open_embedded(&Options::new(folder)).expect("the store opens");
    if store.get(Table::AuditLink, b"").await.expect("a read").is_none() {
        let beginning = store.chain_beginning(key.as_ref());
        store.commit(Batch::at(0).put(beginning)).await.expect("a commit");
    }
    store.chain_audit(Arc::<MacKey>::clone(key));
    store
}

fn event(number: i64) -> Put {
    Event::ok(number, "test", "thing.done", format_args!("thing-{number}")).put()
}

async fn verified(store: &Store, key: &Arc<MacKey>) -> Verified {
    verify(store, Arc::<MacKey>::clone(key)).await.expect("a read")
}

/// A closed store with ten chained events.
async fn ten(key: &Arc<MacKey>) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path(), key).await;
    for number in 1..=10 {
        store.commit(Batch::at(0).put(event(number))).await.expect("a commit");
    }
    store.close().await.expect("a clean close");
    folder
}

fn tamper(folder: &Path, sql: &str) {
    let file = rusqlite::Connection::open(folder.join("store.sqlite3")).expect("the file");
    file.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// What is found after this was done to the file.
async fn found(key: &Arc<MacKey>, sql: &str) -> Verified {
    let folder = ten(key).await;
    tamper(folder.path(), sql);
    let store = Store::open_embedded(&Options::new(folder.path())).expect("the store opens");
    verified(&store, key).await
}

#[tokio::test]
async fn every_way_of_writing_an_event_adds_to_one_chain_and_what_was_refused_does_not() {
    let (folder, key) = (TempDir::new().expect("a folder"), Arc::new(MacKey::generate()));
    let store = open(folder.path(), &key).await;
    let mut commits = tokio::task::JoinSet::new();
    for number in 0..100u32 {
        let store = store.clone();
        // Each key is wanted by two: half of these are undone, in the same transactions as the others are done.
        let key = (number / 2).to_be_bytes();
        let batch = Batch::at(0)
            .require(Table::Setting, key, Expectation::Absent)
            .put(event(number.into()))
            .put(Put::new(Table::Setting, key, ""));
        commits.spawn(async move { store.commit(batch).await });
    }
    let results = commits.join_all().await;
    assert!(results.iter().any(|result| matches!(result, Err(Error::Conflict { .. }))));
    let delivery = NewDelivery { key: [1; 16], submission: [0; 16], destination: "crm".into(), due_at_ms: 0 };
    store.commit(Batch::at(0).deliver(delivery)).await.expect("a commit");
    store.claim("crm", 0, 60, 1).await.expect("a claim");
    let dead = Settlement { verdict: Verdict::Dead { at_ms: 1 }, history: vec![], puts: vec![event(200)] };
    assert!(store.settle([1; 16], 9, dead.clone()).await.is_err(), "not this lease");
    store.settle([1; 16], 1, dead).await.expect("the lease");
    store.reopen([1; 16], 5, vec![event(201)]).await.expect("a reopen");
    let before = verified(&store, &key).await;
    assert_eq!((before.entries, before.older, before.broken), (52, 0, None));
    store.close().await.expect("a clean close");

    let store = open(folder.path(), &key).await;
    store.commit(Batch::at(0).put(event(300))).await.expect("a commit");
    let after = verified(&store, &key).await;
    assert_eq!((after.entries, after.older, after.broken), (53, 0, None));
    assert_eq!(newest(&store, 2).await.expect("a read").len(), 2);
    assert_eq!(newest(&store, 1).await.expect("a read")[0].subject, "thing-300");
}

#[tokio::test]
async fn an_event_that_was_changed_is_named() {
    let key = Arc::new(MacKey::generate());
    let changed = format!(
        "UPDATE record SET value = CAST(replace(CAST(value AS TEXT), 'thing-4', 'thing-x') AS BLOB)
         WHERE {TABLES} AND CAST(value AS TEXT) LIKE '%thing-4%'"
    );
    let found = found(&key, &changed).await;
    let Some(Broken::Changed { number: 4, event }) = found.broken else { panic!("{found:?}") };
    assert!(event.contains("thing-x"), "{event}");
    assert_eq!(found.entries, 3);
}

#[tokio::test]
async fn a_tag_that_was_changed_is_named() {
    let key = Arc::new(MacKey::generate());
    let sql = "UPDATE record SET value = CAST(zeroblob(32) || substr(value, 33) AS BLOB) WHERE tbl = 9 AND key = x'0000000000000006'";
    assert!(matches!(found(&key, sql).await.broken, Some(Broken::Changed { number: 6, .. })));
}

#[tokio::test]
async fn an_event_that_was_deleted_is_named_with_its_link_or_without() {
    let key = Arc::new(MacKey::generate());
    let event = format!("DELETE FROM record WHERE {TABLES} AND CAST(value AS TEXT) LIKE '%thing-5%';");
    assert_eq!(found(&key, &event).await.broken, Some(Broken::Deleted { number: 5 }));
    let link = "DELETE FROM record WHERE tbl = 9 AND key = x'0000000000000005';";
    assert_eq!(found(&key, &format!("{event}{link}")).await.broken, Some(Broken::Deleted { number: 5 }));
}

#[tokio::test]
async fn events_that_changed_places_are_found() {
    let key = Arc::new(MacKey::generate());
    let three_and_seven = format!(
        "CREATE TEMP TABLE three AS SELECT * FROM record WHERE {TABLES} AND CAST(value AS TEXT) LIKE '%thing-3%';
         CREATE TEMP TABLE seven AS SELECT * FROM record WHERE {TABLES} AND CAST(value AS TEXT) LIKE '%thing-7%';
         UPDATE record SET value = (SELECT value FROM seven) WHERE version = (SELECT version FROM three);
         UPDATE record SET value = (SELECT value FROM three) WHERE version = (SELECT version FROM seven);"
    );
    assert!(matches!(found(&key, &three_and_seven).await.broken, Some(Broken::Changed { number: 3, .. })));
    let links = "UPDATE record SET key = x'00000000000000ff' WHERE tbl = 9 AND key = x'0000000000000003';
         UPDATE record SET key = x'0000000000000003' WHERE tbl = 9 AND key = x'0000000000000007';
         UPDATE record SET key = x'0000000000000007' WHERE tbl = 9 AND key = x'00000000000000ff';";
    assert!(matches!(found(&key, links).await.broken, Some(Broken::Changed { number: 3, .. })));
}

#[tokio::test]
async fn a_trail_that_was_cut_off_is_found_and_writing_on_does_not_mend_it() {
    let key = Arc::new(MacKey::generate());
    let end = "DELETE FROM record WHERE tbl = 9 AND key > x'0000000000000007';
         DELETE FROM record WHERE tbl = 4 AND CAST(value AS TEXT) LIKE '%thing-8%';
         DELETE FROM record WHERE tbl = 4 AND CAST(value AS TEXT) LIKE '%thing-9%';
         DELETE FROM record WHERE tbl = 4 AND CAST(value AS TEXT) LIKE '%thing-10%';";
    let head = "DELETE FROM record WHERE tbl = 9 AND key = x'';";
    let cut = found(&key, end).await;
    assert_eq!((cut.entries, cut.broken), (7, Some(Broken::CutOff { first: 8, last: 10 })));
    let headless = found(&key, &format!("{end}{head}")).await;
    assert_eq!(headless.broken, Some(Broken::NoHead { number: 7 }));
    // Older bytes of a head, and one that somebody without the key has made.
    let forged =
        "UPDATE record SET value = CAST(x'0000000000000007' || (SELECT substr(value, 1, 32) FROM record
         WHERE tbl = 9 AND key = x'0000000000000007') || zeroblob(32) AS BLOB) WHERE tbl = 9 AND key = x'';";
    assert_eq!(found(&key, &format!("{end}{forged}")).await.broken, Some(Broken::NoHead { number: 7 }));

    for sql in [end.to_owned(), format!("{end}{head}"), format!("{end}{forged}")] {
        let folder = ten(&key).await;
        tamper(folder.path(), &sql);
        let store = Store::open_embedded(&Options::new(folder.path())).expect("the store opens");
        store.chain_audit(Arc::<MacKey>::clone(&key));
        for number in 20..25 {
            store.commit(Batch::at(0).put(event(number))).await.expect("a commit");
        }
        let found = verified(&store, &key).await;
        assert_eq!(found.entries, 7, "{sql}: {found:?}");
        assert!(matches!(
            found.broken,
            Some(Broken::Deleted { number: 8 } | Broken::Changed { number: 8, .. })
        ));
    }
}

#[tokio::test]
async fn events_from_before_the_chain_are_counted_and_later_ones_without_a_link_are_named() {
    let (folder, key) = (TempDir::new().expect("a folder"), Arc::new(MacKey::generate()));
    let store = Store::open_embedded(&Options::new(folder.path())).expect("the store opens");
    for number in 1..=3 {
        store.commit(Batch::at(0).put(event(number))).await.expect("a commit");
    }
    store.close().await.expect("a clean close");
    let store = open(folder.path(), &key).await;
    let upgraded = verified(&store, &key).await;
    assert_eq!((upgraded.entries, upgraded.older, upgraded.broken), (0, 3, None));
    store.commit(Batch::at(0).put(event(10))).await.expect("a commit");
    let upgraded = verified(&store, &key).await;
    assert_eq!((upgraded.entries, upgraded.older, upgraded.broken), (1, 3, None));
    store.close().await.expect("a clean close");

    // An older release, or somebody with an editor.
    let store = Store::open_embedded(&Options::new(folder.path())).expect("the store opens");
    store.commit(Batch::at(0).put(event(11))).await.expect("a commit");
    let found = verified(&store, &key).await;
    let Some(Broken::Unchained { event }) = found.broken else { panic!("{found:?}") };
    assert!(event.contains("thing-11"), "{event}");
}

#[tokio::test]
async fn another_key_verifies_nothing() {
    let (key, other) = (Arc::new(MacKey::generate()), Arc::new(MacKey::generate()));
    let folder = ten(&key).await;
    let store = Store::open_embedded(&Options::new(folder.path())).expect("the store opens");
    assert_eq!(verified(&store, &key).await.broken, None);
    assert!(matches!(verified(&store, &other).await.broken, Some(Broken::Changed { number: 1, .. })));
}

#[tokio::test]
async fn a_trail_longer_than_a_page_is_verified_to_its_end() {
    let (folder, key) = (TempDir::new().expect("a folder"), Arc::new(MacKey::generate()));
    let store = open(folder.path(), &key).await;
    for hundred in 0..25 {
        let batch = (0..100).fold(Batch::at(0), |batch, number| batch.put(event(hundred * 100 + number)));
        store.commit(batch).await.expect("a commit");
    }
    assert_eq!(verified(&store, &key).await.entries, 2_500);
    assert_eq!(newest(&store, 2_200).await.expect("a read").len(), 2_200);
    store.close().await.expect("a clean close");
    tamper(folder.path(), "DELETE FROM record WHERE tbl = 9 AND key = x'00000000000007d1'");
    let store = Store::open_embedded(&Options::new(folder.path())).expect("the store opens");
    assert_eq!(verified(&store, &key).await.broken, Some(Broken::Deleted { number: 2_001 }));
}

/// A closed store with so many chained events, one a millisecond.
async fn long(key: &Arc<MacKey>, count: i64) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path(), key).await;
    for first in (1..=count).step_by(250) {
        let numbers = first..=(first + 249).min(count);
        let batch = numbers.fold(Batch::at(0), |batch, number| batch.put(event(number)));
        store.commit(batch).await.expect("a commit");
    }
    store.close().await.expect("a clean close");
    folder
}

#[tokio::test]
async fn events_whose_time_is_over_are_deleted_and_the_rest_is_verified_from_there_on() {
    let key = Arc::new(MacKey::generate());
    let folder = long(&key, 2_500).await;
    let store = open(folder.path(), &key).await;
    let whole = verified(&store, &key).await;
    assert_eq!((whole.trimmed, whole.entries, whole.broken), (0, 2_500, None));
    assert_eq!(trim(&store, 1).await.expect("a write"), 0, "all are younger");
    assert_eq!(trim(&store, 1_501).await.expect("a write"), 1_500);
    let rest = verified(&store, &key).await;
    assert_eq!((rest.trimmed, rest.entries, rest.older, rest.broken), (1_500, 1_000, 0, None));
    assert_eq!(rest.tag, whole.tag, "the end is what it was");
    assert_eq!(newest(&store, 9_000).await.expect("a read").len(), 1_000);
    // It goes on, also in the next process, and is trimmed again.
    store.commit(Batch::at(0).put(event(2_501))).await.expect("a commit");
    store.close().await.expect("a clean close");
    let store = open(folder.path(), &key).await;
    store.commit(Batch::at(0).put(event(2_502))).await.expect("a commit");
    assert_eq!(trim(&store, 9_000).await.expect("a write"), 1_002);
    store.commit(Batch::at(0).put(event(2_503))).await.expect("a commit");
    let rest = verified(&store, &key).await;
    assert_eq!((rest.trimmed, rest.entries, rest.older, rest.broken), (2_502, 1, 0, None));
}

/// What could not be seen to be done is done again, with the same event.
#[tokio::test]
async fn an_event_that_is_put_again_has_one_link_and_goes_with_it() {
    let key = Arc::new(MacKey::generate());
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path(), &key).await;
    let events: Vec<_> = (1..=12).map(event).collect();
    for put in events.iter().chain(&events[..6]) {
        store.commit(Batch::at(0).put(put.clone())).await.expect("a commit");
    }
    let whole = verified(&store, &key).await;
    assert_eq!((whole.entries, whole.broken), (12, None));
    assert_eq!(trim(&store, 5).await.expect("a write"), 4);
    let rest = verified(&store, &key).await;
    assert_eq!((rest.trimmed, rest.entries, rest.broken), (4, 8, None));
}

#[tokio::test]
async fn nobody_without_the_key_can_take_events_off_and_what_was_changed_is_not_taken_off() {
    let key = Arc::new(MacKey::generate());
    let trimmed = async |sql: &str| {
        let folder = long(&key, 20).await;
        let store = open(folder.path(), &key).await;
        assert_eq!(trim(&store, 6).await.expect("a write"), 5);
        store.close().await.expect("a clean close");
        tamper(folder.path(), sql);
        let store = open(folder.path(), &key).await;
        (verified(&store, &key).await, store, folder)
    };
    let first_links = "DELETE FROM record WHERE tbl = 9 AND length(key) = 8 AND key <= x'0000000000000008';
         DELETE FROM record WHERE tbl = 4 AND key < x'0000000000000009';";
    let start = "UPDATE record SET value = CAST(x'0000000000000008' || substr(value, 9) AS BLOB)
         WHERE tbl = 9 AND key = x'00';";
    // The head is no start.
    let head = "UPDATE record SET value = (SELECT value FROM record WHERE tbl = 9 AND key = x'')
         WHERE tbl = 9 AND key = x'00';";
    for (sql, number) in [
        (first_links.to_owned(), 6),
        (format!("{first_links}{start}"), 1),
        ("DELETE FROM record WHERE tbl = 9 AND key = x'00'".to_owned(), 1),
        (head.to_owned(), 1),
    ] {
        let (found, ..) = trimmed(&sql).await;
        assert_eq!(found.broken, Some(Broken::Deleted { number }), "{sql}");
    }
    let changed = format!(
        "UPDATE record SET value = CAST(replace(CAST(value AS TEXT), 'thing-9', 'thing-x') AS BLOB)
         WHERE {TABLES} AND CAST(value AS TEXT) LIKE '%thing-9%'"
    );
    let (found, store, _folder) = trimmed(&changed).await;
    assert!(matches!(found.broken, Some(Broken::Changed { number: 9, .. })), "{found:?}");
    assert_eq!(trim(&store, 15).await.expect("a write"), 3, "up to there");
    let found = verified(&store, &key).await;
    assert_eq!((found.trimmed, found.entries), (8, 0));
    assert!(matches!(found.broken, Some(Broken::Changed { number: 9, .. })), "it is still to be found");
}

#[tokio::test]
async fn an_event_without_a_link_is_named_among_very_many() {
    let key = Arc::new(MacKey::generate());
    let folder = long(&key, 120_000).await;
    let store = open(folder.path(), &key).await;
    assert_eq!(verified(&store, &key).await.broken, None);
    store.close().await.expect("a clean close");
    let store = Store::open_embedded(&Options::new(folder.path())).expect("the store opens");
    for number in [70_000, 3_001, 110_000] {
        let by_hand = Event::ok(number, "somebody", "thing.done", format_args!("planted-{number}"));
        store.commit(Batch::at(0).put(by_hand.put())).await.expect("a commit");
    }
    let found = verified(&store, &key).await;
    let Some(Broken::Unchained { event }) = found.broken else { panic!("{found:?}") };
    assert!(event.contains("planted-3001"), "the oldest: {event}");
}

#[tokio::test]
async fn a_trail_that_is_trimmed_while_it_is_verified_is_whole() {
    let key = Arc::new(MacKey::generate());
    let folder = long(&key, 8_000).await;
    let store = open(folder.path(), &key).await;
    let trimming = {
        let store = store.clone();
        tokio::spawn(async move {
            for before in (500..=6_000).step_by(500) {
                trim(&store, before).await.expect("a write");
                tokio::task::yield_now().await;
            }
        })
    };
    while !trimming.is_finished() {
        assert_eq!(verified(&store, &key).await.broken, None);
    }
    trimming.await.expect("no panic");
    let found = verified(&store, &key).await;
    assert_eq!((found.trimmed, found.entries), (5_999, 2_001));
}

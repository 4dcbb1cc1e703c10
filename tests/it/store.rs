//! The embedded store on real files.

use std::path::Path;

use formgate::store::{
    Batch, DeliveryState, Error, Expectation, NewDelivery, OpenError, Options, Put, Reopened, RestoreError,
    Scan, Settlement, Store, Table, Verdict,
};
use tempfile::TempDir;

fn open(directory: &Path) -> Store {
    Store::open_embedded(&Options::new(directory)).expect("the store opens")
}

fn delivery(number: u8, due_at_ms: i64) -> NewDelivery {
    NewDelivery { key: [number; 16], submission: [0; 16], destination: "crm".into(), due_at_ms }
}

fn settled(verdict: Verdict) -> Settlement {
    Settlement { verdict, history: b"kept".to_vec(), puts: vec![] }
}

async fn value(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    store.get(Table::Setting, key).await.expect("a read").map(|record| record.value)
}

#[tokio::test]
async fn a_batch_is_applied_as_a_whole_or_not_at_all() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path());
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
    assert_eq!(value(&store, b"a").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(value(&store, b"b").await, None);
    assert_eq!(store.delivery([1; 16]).await.expect("a read"), None);
}

#[tokio::test]
async fn one_conflict_in_a_group_fails_no_other_operation() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path());
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

#[tokio::test]
async fn a_record_that_was_deleted_and_made_again_does_not_look_unchanged() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path());
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

#[tokio::test]
async fn a_record_whose_time_is_over_counts_as_absent_and_is_purged() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path());
    store.commit(Batch::at(0).put(Put::new(Table::Reply, "a", "1").until(100))).await.expect("a commit");
    let absent = |now_ms| Batch::at(now_ms).require(Table::Reply, "a", Expectation::Absent);
    assert!(store.commit(absent(99)).await.is_err());
    assert!(store.commit(absent(100)).await.is_ok());
    assert_eq!(store.purge_expired(99, 10).await.expect("a purge"), 0);
    assert_eq!(store.purge_expired(100, 10).await.expect("a purge"), 1);
    assert_eq!(store.get(Table::Reply, b"a").await.expect("a read"), None);
}

#[tokio::test]
async fn a_scan_reads_a_prefix_in_order_page_by_page_in_both_directions() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path());
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

#[tokio::test]
async fn a_delivery_whose_lease_expired_is_claimed_again_and_the_old_lease_changes_nothing() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path());
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

#[tokio::test]
async fn the_oldest_due_is_claimed_first_and_a_dead_one_only_after_it_was_reopened() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path());
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

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash_and_what_was_leased_can_be_claimed_at_once() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path());
    for number in 0..50u8 {
        let batch =
            Batch::at(0).put(Put::new(Table::Setting, [number], [number])).deliver(delivery(number, 0));
        store.commit(batch).await.expect("a commit");
    }
    let claimed = store.claim("crm", 0, i64::from(u32::MAX), 10).await.expect("a claim");

    // What a crash leaves: the files as they are, the log not folded in, no goodbye.
    let crashed = TempDir::new().expect("a folder");
    for file in ["store.sqlite3", "store.sqlite3-wal"] {
        std::fs::copy(folder.path().join(file), crashed.path().join(file)).expect("a copy");
    }
    let store = open(crashed.path());
    for number in 0..50u8 {
        assert_eq!(value(&store, &[number]).await, Some(vec![number]));
    }
    let again = store.claim("crm", 1, 60, 10).await.expect("a claim");
    let keys = |claimed: &[formgate::store::Delivery]| {
        claimed.iter().map(|delivery| delivery.key).collect::<Vec<_>>()
    };
    assert_eq!(keys(&again), keys(&claimed), "what was under way goes on first");
    assert!(again.iter().all(|delivery| delivery.unsettled == 2 && delivery.lease == 2));
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_refused_until_the_first_has_closed() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path());
    store.commit(Batch::at(0).put(Put::new(Table::Setting, "a", "1"))).await.expect("a commit");
    let second = Store::open_embedded(&Options::new(folder.path()));
    assert!(matches!(second, Err(OpenError::InUse { .. })));

    store.close().await.expect("a clean close");
    assert!(matches!(store.commit(Batch::at(0)).await, Err(Error::Unavailable)));
    assert!(matches!(store.get(Table::Setting, b"a").await, Err(Error::Unavailable)));
    assert!(!folder.path().join("store.sqlite3-wal").exists(), "the log is folded in");
    let second = open(folder.path());
    assert_eq!(value(&second, b"a").await, Some(b"1".to_vec()));
}

#[tokio::test]
async fn the_release_before_can_open_what_this_one_wrote() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path());
    // Of every kind that the release before did not know: it reads by table, and never these.
    for table in [Table::AuditLink, Table::Person, Table::Trace, Table::Job] {
        store.commit(Batch::at(0).put(Put::new(table, "a", "1"))).await.expect("a commit");
    }
    store.close().await.expect("a clean close");
    let file = rusqlite::Connection::open(folder.path().join("store.sqlite3")).expect("the file");
    let schema: i64 = file.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a schema");
    assert_eq!(schema, 1, "a release refuses files of a schema it does not know");
    let tables: i64 = file
        .query_row("SELECT count(*) FROM sqlite_schema WHERE sql IS NOT NULL", [], |row| row.get(0))
        .expect("a count");
    // What a release adds beside these is ignored by the one before; `store_upgrade` runs its statements on this file.
    assert_eq!(tables, 16, "record, delivery, sqlite_sequence, addition, tombstone, node and ten indexes");
}

#[tokio::test]
async fn a_store_of_a_newer_program_is_refused() {
    let folder = TempDir::new().expect("a folder");
    open(folder.path()).close().await.expect("a clean close");
    let file = rusqlite::Connection::open(folder.path().join("store.sqlite3")).expect("the file");
    file.pragma_update(None, "user_version", 99).expect("a version");
    drop(file);
    let refused = Store::open_embedded(&Options::new(folder.path()));
    assert!(matches!(refused, Err(OpenError::Newer { found: 99, .. })));
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let parent = TempDir::new().expect("a folder");
    let folder = parent.path().join("data");
    let store = open(&folder);
    store.commit(Batch::at(0).put(Put::new(Table::Setting, "a", "1"))).await.expect("a commit");
    let mode = |path: &Path| std::fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for file in std::fs::read_dir(&folder).expect("a folder") {
        let path = file.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn a_failed_write_stops_the_store_for_good() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path());
    let mut fatal = store.fatal();
    assert!(fatal.borrow().is_none());
    let saboteur = rusqlite::Connection::open(folder.path().join("store.sqlite3")).expect("the file");
    saboteur.execute_batch("DROP TABLE record").expect("a drop");

    let put = || Batch::at(0).put(Put::new(Table::Setting, "a", "1"));
    assert!(matches!(store.commit(put()).await, Err(Error::Unavailable)));
    let reported = fatal.wait_for(Option::is_some).await.expect("the store lives").clone();
    assert_eq!(reported.map(|fatal| fatal.operation), Some("write"));
    assert!(matches!(store.commit(put()).await, Err(Error::Unavailable)));
}

#[tokio::test]
async fn more_than_the_queue_holds_is_refused_and_what_was_queued_is_done_although_its_caller_left() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path());
    // As long as somebody else writes, our writer waits, and the queue fills.
    let blocker = rusqlite::Connection::open(folder.path().join("store.sqlite3")).expect("the file");
    blocker.execute_batch("BEGIN IMMEDIATE").expect("a lock");

    let mut refused = 0u32;
    let mut queued = vec![];
    for number in 0..2_000u32 {
        let put = Put::new(Table::Setting, number.to_be_bytes(), "");
        let mut commit = store.commit(Batch::at(0).put(put));
        let polled =
            std::future::poll_fn(|context| std::task::Poll::Ready(commit.as_mut().poll(context))).await;
        match polled {
            std::task::Poll::Pending => queued.push(number),
            std::task::Poll::Ready(Err(Error::Busy)) => refused += 1,
            std::task::Poll::Ready(other) => panic!("{other:?}"),
        }
        // Here the caller leaves.
    }
    assert!(refused > 0);
    assert!(queued.len() >= 1_024);
    blocker.execute_batch("COMMIT").expect("the lock is given up");

    // Behind all of them in the queue, once it has room again.
    while let Err(error) = store.commit(Batch::at(0)).await {
        assert!(matches!(error, Error::Busy));
        tokio::task::yield_now().await;
    }
    let scan = Scan { limit: 10_000, ..Scan::default() };
    let stored = store.scan(Table::Setting, scan).await.expect("a read").len();
    assert_eq!(stored, queued.len());
}

/// The positive control of the crash tests: a build that acknowledges before the commit is caught losing data.
#[cfg(feature = "faults")]
#[tokio::test]
async fn a_store_told_to_acknowledge_early_loses_what_it_acknowledged() {
    let folder = TempDir::new().expect("a folder");
    let mut options = Options::new(folder.path());
    options.faults.ack_early = true;
    let store = Store::open_embedded(&options).expect("the store opens");
    store.commit(Batch::at(0).put(Put::new(Table::Setting, "a", "1"))).await.expect("an early word");
    let crashed = TempDir::new().expect("a folder");
    for file in ["store.sqlite3", "store.sqlite3-wal"] {
        std::fs::copy(folder.path().join(file), crashed.path().join(file)).expect("a copy");
    }
    assert_eq!(value(&open(crashed.path()), b"a").await, None);
}

#[tokio::test]
async fn a_copy_under_load_is_one_moment_and_delays_nobody() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path());
    let bytes = vec![7; 20_000];
    for number in 0..1_000u32 {
        let put =
            Put::new(Table::Setting, [b"old".as_slice(), &number.to_be_bytes()].concat(), bytes.clone());
        store.commit(Batch::at(0).put(put)).await.expect("a commit");
    }
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            // Two records that are always equal in one moment, and never in a mixture of two.
            let mut number = 0u32;
            while !*stopped.borrow() {
                number += 1;
                let pair = |name: &str| Put::new(Table::Setting, name, number.to_be_bytes());
                store.commit(Batch::at(0).put(pair("a")).put(pair("z"))).await.expect("a commit");
            }
            number
        }
    });
    let elsewhere = TempDir::new().expect("a folder");
    let mut copies = vec![];
    for name in ["first", "second", "third"] {
        let to = elsewhere.path().join(name);
        store.copy_to(to.clone()).await.expect("a copy");
        copies.push(to);
    }
    stop.send_replace(true);
    let written = writing.await.expect("no panic");
    assert!(written > 3, "others went on writing: {written}");
    for copy in copies {
        assert_eq!(Store::faults_of_copy(&copy).expect("a check"), Vec::<String>::new());
        let restored = TempDir::new().expect("a folder");
        let fill = |to: &mut std::fs::File| std::io::copy(&mut std::fs::File::open(&copy)?, to).map(drop);
        Store::restore_embedded(restored.path(), &[], fill).expect("restored");
        let store = open(restored.path());
        let pair = (value(&store, b"a").await, value(&store, b"z").await);
        assert_eq!(pair.0, pair.1);
        let scan = Scan { prefix: b"old".to_vec(), limit: 2_000, ..Scan::default() };
        assert_eq!(store.scan(Table::Setting, scan).await.expect("a read").len(), 1_000);
        store.close().await.expect("a clean close");
        let again = Store::restore_embedded(restored.path(), &[], |_| Ok(()));
        assert!(matches!(again, Err(RestoreError::NotEmpty { .. })));
    }
}

#[tokio::test]
async fn scrubbing_overwrites_what_was_deleted_and_gives_its_room_back() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path());
    let keys: Vec<[u8; 4]> = (0..200u32).map(u32::to_be_bytes).collect();
    for key in &keys {
        let put = Put::new(Table::Setting, *key, b"canary".repeat(3_000));
        store.commit(Batch::at(0).put(put)).await.expect("a commit");
    }
    let read = || {
        ["store.sqlite3", "store.sqlite3-wal"]
            .map(|file| std::fs::read(folder.path().join(file)).expect("a file"))
    };
    let is_there = || read().iter().any(|bytes| bytes.windows(6).any(|window| window == b"canary"));
    assert!(store.scrub().await.expect("a scrub"));
    let full = read()[0].len();
    assert!(is_there() && full > 3_000_000);
    let gone = keys.iter().fold(Batch::at(0), |batch, key| batch.delete(Table::Setting, *key));
    store.commit(gone).await.expect("a commit");
    assert!(is_there(), "the file is not folded in yet");
    assert!(store.scrub().await.expect("a scrub"));
    assert!(!is_there());
    assert!(read()[0].len() < full / 4, "{} of {full}", read()[0].len());
}

#[tokio::test]
async fn what_is_no_sound_store_is_not_restored() {
    let folder = TempDir::new().expect("a folder");
    for content in [&b"no database at all"[..], b""] {
        let fill = |to: &mut std::fs::File| std::io::Write::write_all(to, content);
        let refused = Store::restore_embedded(folder.path(), &[], fill);
        assert!(matches!(refused, Err(RestoreError::Unsound(_))), "{refused:?}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "as it was");
    }
}

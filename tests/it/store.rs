//! The embedded store on real files; what it has in common with the other kind is in `contract`.

mod contract;

use std::path::Path;

use formgate::store::{Batch, Error, NewDelivery, OpenError, Options, Put, RestoreError, Scan, Store, Table};
use tempfile::TempDir;

fn open(directory: &Path) -> Store {
    Store::open_embedded(&Options::new(directory)).expect("the store opens")
}

fn delivery(number: u8, due_at_ms: i64) -> NewDelivery {
    NewDelivery { key: [number; 16], submission: [0; 16], destination: "crm".into(), due_at_ms }
}

async fn value(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    store.get(Table::Setting, key).await.expect("a read").map(|record| record.value)
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash_and_what_was_leased_can_be_claimed_at_once() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path());
    for number in 0..50u8 {
        let batch =
            Batch::at(0).put(Put::new(Table::Setting, [number], [number])).deliver(delivery(number, 7));
        store.commit(batch).await.expect("a commit");
    }
    let claimed = store.claim("crm", 7, i64::from(u32::MAX), 10).await.expect("a claim");

    // What a crash leaves: the files as they are, the log not folded in, no goodbye.
    let crashed = TempDir::new().expect("a folder");
    for file in ["store.sqlite3", "store.sqlite3-wal"] {
        std::fs::copy(folder.path().join(file), crashed.path().join(file)).expect("a copy");
    }
    let store = open(crashed.path());
    for number in 0..50u8 {
        assert_eq!(value(&store, &[number]).await, Some(vec![number]));
    }
    let depths = store.depths().await.expect("counts");
    assert_eq!(depths[0].oldest_due_at_ms, Some(7), "what was under way has no age of its own");
    let again = store.claim("crm", 8, 60, 10).await.expect("a claim");
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

/// What a crash leaves: the files as they are, with a log that was not folded in. `damage` makes a long record unreadable.
pub async fn crashed(damage: bool) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("store.sqlite3");
    let store = open(folder.path());
    store.commit(Batch::at(0).put(Put::new(Table::Setting, "long", [0xa5; 20_000]))).await.expect("a commit");
    store.close().await.expect("a clean close");
    if damage {
        let mut bytes = std::fs::read(&path).expect("the file");
        // A page that holds nothing else; its first four bytes name the next one.
        let page = bytes.chunks_exact_mut(4096).find(|page| page[4..].iter().all(|byte| *byte == 0xa5));
        page.expect("a page")[..4].fill(0xff);
        std::fs::write(&path, bytes).expect("a file");
    }
    let store = open(folder.path());
    store.commit(Batch::at(0).put(Put::new(Table::Setting, "a", "1"))).await.expect("a commit");
    let crashed = TempDir::new().expect("a folder");
    for file in ["store.sqlite3", "store.sqlite3-wal"] {
        std::fs::copy(folder.path().join(file), crashed.path().join(file)).expect("a copy");
    }
    crashed
}

#[tokio::test]
async fn after_a_crash_a_small_file_is_checked_before_it_is_used_and_a_large_one_while_it_is() {
    for damage in [true, false] {
        let refused = Store::open_embedded(&Options::new(crashed(damage).await.path()));
        assert_eq!(matches!(refused, Err(OpenError::Damaged)), damage, "{refused:?}");

        let folder = crashed(damage).await;
        let mut options = Options::new(folder.path());
        options.checked_in_use_bytes = 0;
        let store = Store::open_embedded(&options).expect("it is used while it is checked");
        assert_eq!(value(&store, b"a").await, Some(b"1".to_vec()));
        let until = std::time::Instant::now() + std::time::Duration::from_secs(if damage { 60 } else { 1 });
        while !matches!(store.ready().await, Err(Error::Damaged)) && std::time::Instant::now() < until {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(matches!(store.ready().await, Err(Error::Damaged)), damage);
        store.commit(Batch::at(0).put(Put::new(Table::Setting, "b", "2"))).await.expect("it goes on");
        store.close().await.expect("a clean close");
    }
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
async fn what_is_no_store_is_refused_and_the_reason_is_told() {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("store.sqlite3"), [b'x'; 4096]).expect("a file");
    let refused = Store::open_embedded(&Options::new(folder.path())).err().map(|error| error.to_string());
    assert_eq!(refused.as_deref(), Some("cannot open the store: file is not a database"));
}

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

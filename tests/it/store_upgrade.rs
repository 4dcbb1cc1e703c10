//! A store of the previous release is opened by this one, and can go back: what was added takes nothing away. The same of the
//! next release and this one.

use std::path::Path;

use formgate::store::{
    Batch, DeliveryFilter, DeliveryState, Erasure, Lane, OpenError, Options, Put, RestoreError, Settlement,
    Store, Table, Verdict,
};
use rusqlite::{Connection, params};
use tempfile::TempDir;

/// The schema of the previous release, as it wrote it.
const PREVIOUS: &str = "
    -- One physical table for all record tables, so that a new one needs no migration. The version is the row id:
    -- AUTOINCREMENT never uses one twice, also after a delete.
    CREATE TABLE record (
        version INTEGER PRIMARY KEY AUTOINCREMENT,
        tbl INTEGER NOT NULL,
        key BLOB NOT NULL,
        expires_at_ms INTEGER,
        value BLOB NOT NULL,
        UNIQUE (tbl, key)
    ) STRICT;
    CREATE INDEX record_expiry ON record (expires_at_ms) WHERE expires_at_ms IS NOT NULL;
    -- due_at_ms is also the end of the lease, so a process that died needs no search for orphans.
    CREATE TABLE delivery (
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL UNIQUE,
        submission BLOB NOT NULL,
        destination TEXT NOT NULL,
        state INTEGER NOT NULL,
        due_at_ms INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        lease INTEGER NOT NULL,
        unsettled INTEGER NOT NULL,
        history BLOB NOT NULL
    ) STRICT;
    CREATE INDEX delivery_open ON delivery (destination, due_at_ms) WHERE state < 2;
    CREATE INDEX delivery_state ON delivery (destination, state);
    CREATE INDEX delivery_submission ON delivery (submission);
    PRAGMA user_version = 1;
    PRAGMA application_id = 1179469652;
";

/// What the previous release did with deliveries, word for word.
const BEGIN: &str = "INSERT INTO delivery (key, submission, destination, due_at_ms, state, attempt, lease, unsettled, history)
    VALUES (?1, ?2, ?3, ?4, 0, 0, 0, 0, x'') ON CONFLICT (key) DO NOTHING";
const CLAIM: &str =
    "SELECT key, submission, destination, state, due_at_ms, attempt, lease, unsettled, history, id
    FROM delivery WHERE destination = ?1 AND state < 2 AND due_at_ms <= ?2 ORDER BY due_at_ms, id LIMIT ?3";
const LEASE: &str = "UPDATE delivery SET state = 1, due_at_ms = ?2, attempt = attempt + 1, lease = lease + 1,
    unsettled = unsettled + 1 WHERE id = ?1";
const SETTLE: &str = "UPDATE delivery SET state = ?3, due_at_ms = ?4, history = ?5, unsettled = 0
    WHERE key = ?1 AND state = 1 AND lease = ?2";

fn file(folder: &Path) -> Connection {
    Connection::open(folder.join("store.sqlite3")).expect("the file")
}

/// Begins a delivery as the previous release did.
fn begin(file: &Connection, number: u8) {
    file.execute(BEGIN, params![[number; 16], [number; 16], "crm", i64::from(number)]).expect("a delivery");
}

/// Claims and settles the oldest as the previous release did.
fn attempt(file: &Connection, state: i64) -> [u8; 16] {
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(6)?, row.get::<_, i64>(9)?));
    let (key, lease, id): ([u8; 16], i64, i64) =
        file.query_row(CLAIM, params!["crm", 100, 1], read).expect("one that is due");
    file.execute(LEASE, params![id, 200]).expect("a lease");
    assert_eq!(file.execute(SETTLE, params![key, lease + 1, state, 300, &b"kept"[..]]).expect("settled"), 1);
    key
}

#[tokio::test]
async fn a_store_of_the_previous_release_is_opened_and_the_previous_release_can_have_it_back() {
    let folder = TempDir::new().expect("a folder");
    let previous = file(folder.path());
    previous.execute_batch(PREVIOUS).expect("the previous schema");
    for number in 1..=4 {
        begin(&previous, number);
    }
    assert_eq!(attempt(&previous, 4), [1; 16]);
    assert_eq!(attempt(&previous, 3), [2; 16]);
    drop(previous);

    let store = Store::open_embedded(&Options::new(folder.path())).expect("it is brought up to date");
    let found = store.deliveries(DeliveryFilter::default(), None, 10).await.expect("a read");
    let states: Vec<_> = found.iter().map(|delivery| delivery.state).collect();
    use DeliveryState::{Dead, Delivered, Due};
    assert_eq!(states, [Dead, Delivered, Due, Due]);
    assert!(found.iter().all(|delivery| delivery.lane == Lane::First));
    let claimed = store.claim("crm", 100, 60, 1).await.expect("a claim").remove(0);
    assert_eq!(claimed.key, [3; 16]);
    let verdict = Verdict::Retry { due_at_ms: 50 };
    let settlement = Settlement { verdict, history: vec![], puts: vec![] };
    store.settle(claimed.key, claimed.lease, settlement).await.expect("a lease");
    store.close().await.expect("a clean close");

    // Back to the previous release, which asks the file for its version and finds its own.
    let previous = file(folder.path());
    let version: i64 =
        previous.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a version");
    assert_eq!(version, 1);
    begin(&previous, 5);
    assert_eq!(attempt(&previous, 0), [4; 16], "what is due goes on by its due time");
    drop(previous);

    // And forward again: what was added is not added twice, what came in meanwhile is there.
    let store = Store::open_embedded(&Options::new(folder.path())).expect("it opens again");
    let claimed = store.claim("crm", 1_000, 60, 10).await.expect("a claim");
    let keys: Vec<_> = claimed.iter().map(|delivery| (delivery.key[0], delivery.lane)).collect();
    assert_eq!(keys, [(5, Lane::First), (4, Lane::First), (3, Lane::Retry)]);
}

/// What the next release may add, and what it may have written by then.
const NEXT: &str = "
    ALTER TABLE record ADD COLUMN mood TEXT DEFAULT 'none';
    ALTER TABLE delivery ADD COLUMN mood TEXT DEFAULT 'none';
    CREATE INDEX record_mood ON record (mood);
    CREATE TABLE mood (name TEXT PRIMARY KEY) STRICT;
    INSERT INTO mood (name) VALUES ('good');
    INSERT INTO addition (name) VALUES ('moods');
    INSERT INTO record (tbl, key, value, mood) VALUES (250, x'01', x'02', 'good'), (251, x'03', x'04', 'good');
    -- The second is about the submission of the first delivery.
    INSERT INTO record (tbl, key, value) VALUES (11, CAST(x'01010101010101010101010101010101fb' || x'03' AS BLOB), x'');
    INSERT INTO delivery (key, submission, destination, state, due_at_ms, attempt, lease, unsettled, history, mood)
    VALUES (x'09090909090909090909090909090909', x'09090909090909090909090909090909', 'crm', 7, 0, 0, 0, 0, x'', 'good');
";

fn kept(file: &Connection) -> Vec<i64> {
    let count = |of: &str| {
        file.query_row(&format!("SELECT count(*) FROM {of}"), [], |row| row.get(0)).expect("a count")
    };
    [
        "record WHERE tbl = 250 AND mood = 'good'",
        "record WHERE tbl = 251 AND mood = 'good'",
        "delivery WHERE state = 7 AND mood = 'good'",
        "mood WHERE name = 'good'",
        "addition WHERE name = 'moods'",
    ]
    .map(count)
    .to_vec()
}

#[tokio::test]
async fn a_store_that_the_next_release_has_used_is_opened_and_keeps_what_is_not_known_here() {
    let folder = TempDir::new().expect("a folder");
    let options = Options::new(folder.path());
    Store::open_embedded(&options).expect("a new one").close().await.expect("a clean close");
    let next = file(folder.path());
    begin(&next, 1);
    next.execute_batch(NEXT).expect("what the next release does");
    drop(next);

    let store = Store::open_embedded(&options).expect("it is opened");
    store.commit(Batch::at(0).put(Put::new(Table::Submission, [1; 16], "body"))).await.expect("a commit");
    let claimed = store.claim("crm", 100, 60, 10).await.expect("a claim");
    assert_eq!(claimed.iter().map(|delivery| delivery.key).collect::<Vec<_>>(), [[1; 16]]);
    assert_eq!(store.delivery([9; 16]).await.expect("a read"), None);
    let reopened = store.reopen([9; 16], 1, vec![]).await.expect("an answer, and no end of the process");
    assert_eq!(reopened, formgate::store::Reopened::Unknown);
    assert_eq!(store.deliveries(DeliveryFilter::default(), None, 10).await.expect("a read").len(), 1);
    store.purge_expired(i64::from(u32::MAX), 100).await.expect("a purge");
    // A backup has it, too, and a folder that is filled from it.
    let (copy, other) = (folder.path().join("copy"), TempDir::new().expect("a folder"));
    store.copy_to(copy.clone()).await.expect("a copy");
    Store::restore_embedded(other.path(), &[], |to| {
        std::io::copy(&mut std::fs::File::open(&copy)?, to).map(drop)
    })
    .expect("it is restored");
    let restored = Store::open_embedded(&Options::new(other.path())).expect("it is opened");
    assert_eq!(restored.faults().await.expect("a check"), Vec::<String>::new());
    restored.close().await.expect("a clean close");
    assert_eq!(kept(&file(other.path())), [1, 1, 1, 1, 1]);
    // What is about a submission goes with it.
    let erasure =
        Erasure { submission: [1; 16], settled: None, forget_at_ms: 9, deletes: vec![], puts: vec![] };
    store.erase(erasure).await.expect("it is erased");
    while !store.scrub().await.expect("a scrub") {}
    store.close().await.expect("a clean close");
    assert_eq!(kept(&file(folder.path())), [1, 0, 1, 1, 1]);
}

#[tokio::test]
async fn a_store_whose_schema_is_newer_is_refused_and_left_as_it_is() {
    let folder = TempDir::new().expect("a folder");
    let options = Options::new(folder.path());
    Store::open_embedded(&options).expect("a new one").close().await.expect("a clean close");
    file(folder.path()).pragma_update(None, "user_version", 2).expect("a newer one");
    let before = std::fs::read(folder.path().join("store.sqlite3")).expect("the file");
    let refused = Store::open_embedded(&options).map(drop);
    assert!(matches!(refused, Err(OpenError::Newer { found: 2, known: 1 })), "{refused:?}");
    let other = TempDir::new().expect("a folder");
    let refused = Store::restore_embedded(other.path(), &[], |to| std::io::Write::write_all(to, &before));
    assert!(matches!(refused, Err(RestoreError::Open(OpenError::Newer { .. }))), "{refused:?}");
    assert_eq!(std::fs::read(folder.path().join("store.sqlite3")).expect("the file"), before);
}

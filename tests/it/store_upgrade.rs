//! A store of the previous release is opened by this one, and can go back: what was added takes nothing away.

use std::path::Path;

use formgate::store::{DeliveryFilter, DeliveryState, Lane, Options, Settlement, Store, Verdict};
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

//! What a node of the next release has written, as the nodes that are still of this one find it; and what they find in their own
//! journals after they went back to this one.

use formgate::store::{Batch, Put, Reopened, Table};
use redis::ToRedisArgs;
use rusqlite::{Connection, params};
use tempfile::TempDir;
use tokio::time::sleep;

use super::fixture::{Node, Redis, emptied, options, pace};
use super::{accept, claimed, key, submission};

/// Tables that no release has yet: of one every node keeps a copy, the records of another are about submissions, and of the
/// last each node has its own.
const EVERYBODYS: u8 = 250;
const ABOUT: u8 = 251;
const OWN: u8 = 252;
/// More than one page of changes.
const MANY: u16 = 700;

const COMMON: &str = include_str!("../../../src/store/redis/scripts/common.lua");
const PUT: &str =
    "local version = stamp() put(number(), arg(), arg(), nil, arg() == '1', version, version) return version";
const DELETE: &str = "local version, t, key = stamp(), number(), arg() forget(t, key) bury(t, key, version, version) return version";
/// Puts a delivery into a state that only the next release knows, and out of its queue.
const HOLD: &str = "local key = arg() local row = call('HGET', p .. 'd', key)
    call('ZREM', p .. 'q:0:crm', key)
    return call('HSET', p .. 'd', key, string.sub(row, 1, 16) .. '\\7' .. string.sub(row, 18))";

/// The server, as a node of the next release uses it.
struct Later(redis::Connection);

impl Later {
    fn of(server: &Redis) -> Self {
        let client = redis::Client::open(server.url()).expect("an address");
        Self(client.get_connection().expect("a connection"))
    }

    fn run(&mut self, script: &str, arguments: &[&[u8]]) -> i64 {
        let code = format!("{COMMON}\n{script}");
        redis::cmd("EVAL")
            .arg(code)
            .arg(1)
            .arg("{formgate}:ver")
            .arg(arguments)
            .query(&mut self.0)
            .expect("done")
    }

    fn put(&mut self, table: u8, key: &[u8], value: &[u8], everybodys: bool) {
        let flag: &[u8] = if everybodys { b"1" } else { b"0" };
        self.run(PUT, &[table.to_string().as_bytes(), key, value, flag]);
    }

    fn count(&mut self, table: u8) -> u16 {
        redis::cmd("HLEN").arg(format!("{{formgate}}:v:{table}")).query(&mut self.0).expect("a count")
    }

    fn get(&mut self, hash: &str, key: impl ToRedisArgs) -> Option<Vec<u8>> {
        redis::cmd("HGET").arg(format!("{{formgate}}:{hash}")).arg(key).query(&mut self.0).expect("an answer")
    }
}

fn file(folder: &TempDir) -> Connection {
    Connection::open(folder.path().join("store.sqlite3")).expect("the journal")
}

fn rows(file: &Connection, condition: &str) -> u16 {
    let sql = format!("SELECT count(*) FROM {condition}");
    file.query_row(&sql, [], |row| row.get(0)).expect("a count")
}

fn trace(submission: [u8; 16], table: u8, key: &[u8]) -> Vec<u8> {
    [submission.as_slice(), &[table], key].concat()
}

#[tokio::test]
async fn what_a_later_release_has_written_is_kept_by_nodes_that_do_not_know_it_and_goes_when_it_is_deleted() {
    let mut redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    accept(&one, 0..2).await;
    let mut later = Later::of(&redis);
    for number in 0..MANY {
        later.put(EVERYBODYS, &number.to_be_bytes(), b"everybodys", true);
    }
    later.put(ABOUT, b"about", b"canary-about", false);
    later.put(11, &trace(key(0), ABOUT, b"about"), b"", false);
    // It holds up nothing that comes after it.
    let known = Put::new(Table::Setting, "a", "known-by-all");
    one.store.commit(Batch::at(0).put(known)).await.expect("a commit");
    two.until("it has heard", async || two.has_on_disk(b"known-by-all")).await;
    assert!(two.store.adopt(key(0)).await.expect("it is in Redis"), "with all that is about it");
    later.run(DELETE, &[EVERYBODYS.to_string().as_bytes(), &0_u16.to_be_bytes()]);
    sleep(pace().look_every * 4).await;
    drop(later);

    emptied(&mut redis, &[&one, &two]).await;
    let mut later = Later::of(&redis);
    assert_eq!(later.count(EVERYBODYS), MANY - 1, "all but the one that was deleted");
    let value = later.get(&format!("v:{EVERYBODYS}"), &1_u16.to_be_bytes()[..]);
    assert!(value.is_some_and(|packed| packed.ends_with(b"everybodys")));
    let about = later.get(&format!("v:{ABOUT}"), &b"about"[..]);
    assert!(about.is_some_and(|packed| packed.ends_with(b"canary-about")));
    // A node that is new gets what is everybody's, and only that.
    let third = Node::join(&redis).await;
    third.told().await;
    let there = file(&third.folder);
    assert_eq!(rows(&there, &format!("record WHERE tbl = {EVERYBODYS}")), MANY - 1);
    assert_eq!(rows(&there, &format!("record WHERE tbl = {ABOUT}")), 0);

    one.erase(key(0)).await;
    assert_eq!(later.count(ABOUT), 0);
    two.until("its copy is gone", async || !two.has_on_disk(b"canary-about")).await;
    assert_eq!(rows(&there, &format!("record WHERE tbl = {EVERYBODYS}")), MANY - 1);
}

#[tokio::test]
async fn a_delivery_in_a_state_of_a_later_release_is_left_to_that() {
    let redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    accept(&one, 0..2).await;
    for node in [&one, &two] {
        node.told().await;
    }
    let mut later = Later::of(&redis);
    later.run(HOLD, &[&key(0)]);
    let held = later.get("d", &key(0)[..]).expect("it is there");
    // The one that has entrusted it compares, the other sweeps.
    sleep(pace().reconcile_every * 6).await;
    let mine = claimed(&two, 1).await;
    assert_eq!(mine.iter().map(|delivery| delivery.key).collect::<Vec<_>>(), [key(1)]);
    for node in [&one, &two] {
        assert_eq!(node.store.delivery(key(0)).await.expect("a read"), None);
        let again = node.store.claim("crm", 100_000, 60_000, 9).await.expect("a claim");
        assert!(again.iter().all(|delivery| delivery.key == key(1)), "{again:?}");
    }
    assert_eq!(later.get("d", &key(0)[..]), Some(held));
}

#[tokio::test]
async fn what_a_later_release_has_left_in_a_journal_stays_there_and_is_told_to_redis() {
    let mut redis = Redis::start().await;
    let node = Node::join(&redis).await;
    accept(&node, 0..1).await;
    node.told().await;
    let folder = node.leave().await;
    let there = file(&folder);
    there
        .execute_batch(
            "ALTER TABLE record ADD COLUMN mood TEXT DEFAULT 'none';
             CREATE TABLE mood (name TEXT PRIMARY KEY) STRICT;
             INSERT INTO addition (name) VALUES ('moods');
             UPDATE node SET value = CAST(value || x'fa' AS BLOB) WHERE name = 'everywhere';",
        )
        .expect("what the next release adds");
    let version: i64 =
        there.query_row("SELECT max(shared) FROM record", [], |row| row.get(0)).expect("a version");
    let put =
        "INSERT INTO record (tbl, key, value, shared, pending, mood) VALUES (?1, ?2, x'01', ?3, ?4, 'good')";
    for (table, key, version, pending) in [
        (EVERYBODYS, "told", Some(version), Some(false)),
        (EVERYBODYS, "untold", Some(version + 1), Some(true)),
        (OWN, "own", None, None::<bool>),
    ] {
        there.execute(put, params![table, key.as_bytes(), version, pending]).expect("a row");
    }
    let held = "INSERT INTO delivery (key, submission, destination, state, due_at_ms, attempt, lease, unsettled, history,
         shared, pending) VALUES (?1, ?1, 'crm', 7, 0, 0, 0, 0, x'', ?2, 0)";
    there.execute(held, params![key(9), version]).expect("a row");
    drop(there);

    let node = Node::at(folder, options(&redis, "{formgate}"), pace()).await;
    node.told().await;
    node.until("nothing waits", async || Later::of(&redis).count(EVERYBODYS) == 1).await;
    emptied(&mut redis, &[&node]).await;
    let mut later = Later::of(&redis);
    assert_eq!((later.count(EVERYBODYS), later.count(OWN)), (2, 0));
    let other = Node::join(&redis).await;
    other.told().await;
    assert_eq!(rows(&file(&other.leave().await), &format!("record WHERE tbl = {EVERYBODYS}")), 2);
    // The file goes on to be used.
    node.store.commit(submission(1)).await.expect("accepted");
    assert_eq!(claimed(&node, 2).await.len(), 2);
    let reopened = node.store.reopen(key(9), 1, vec![]).await.expect("an answer");
    assert_eq!(reopened, Reopened::Unknown);
    node.store.purge_expired(i64::from(u32::MAX), 100).await.expect("a purge");
    node.until("it is scrubbed", async || node.store.scrub().await.expect("a scrub")).await;
    let folder = node.leave().await;
    let there = file(&folder);
    for (condition, count) in [
        (format!("record WHERE tbl = {EVERYBODYS} AND mood = 'good' AND pending = 0"), 2),
        (format!("record WHERE tbl = {OWN} AND shared IS NULL"), 1),
        ("delivery WHERE state = 7".to_owned(), 1),
        ("addition WHERE name = 'moods'".to_owned(), 1),
        ("mood".to_owned(), 0),
    ] {
        assert_eq!(rows(&there, &condition), count, "{condition}");
    }
}

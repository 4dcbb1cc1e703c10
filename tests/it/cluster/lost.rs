//! What a Redis that was emptied is not believed: before anybody has looked, and before it is told.

use formgate::store::{Batch, Error, Expectation, Options, Pace, Put, Scan, SharedOptions, Store, Table};
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use super::fixture::{Node, PATIENCE, Redis, options, pace};
use super::{accept, claim, key, submission, value};

/// A node that looks at Redis so seldom that much can happen in between.
async fn join(redis: &Redis) -> Node {
    let seldom = Pace {
        commit: PATIENCE,
        down_after: PATIENCE,
        look_every: Duration::from_secs(2),
        reconcile_every: PATIENCE,
        ..pace()
    };
    Node::at(TempDir::new().expect("a folder"), options(redis, "{formgate}"), seldom).await
}

/// Sets something that was not set.
fn setting(name: &str) -> Batch {
    let batch = Batch::at(0).require(Table::Setting, name, Expectation::Absent);
    batch.put(Put::new(Table::Setting, name, name))
}

async fn names(node: &Node, descending: bool, after: Option<&str>, limit: u32) -> String {
    let scan = Scan { prefix: vec![], after: after.map(|it| it.as_bytes().to_vec()), descending, limit };
    let found = node.store.scan(Table::Setting, scan).await.expect("a read");
    found.iter().map(|(key, _)| String::from_utf8_lossy(key)).collect()
}

#[tokio::test]
async fn what_is_configured_is_read_as_it_was_from_a_redis_that_has_lost_it_or_is_older() {
    let redis = Redis::start().await;
    let (one, two) = (join(&redis).await, join(&redis).await);
    for name in ["a", "b", "c", "d"] {
        one.store.commit(setting(name)).await.expect("a commit");
    }
    one.told().await;
    assert_eq!(names(&one, false, None, 9).await, "abcd");
    // As an old backup, in which what was deleted since still is.
    let run = |command: &[&str]| redis.run::<()>(command);
    run(&["COPY", "{formgate}:v:8", "{formgate}:saved-v"]);
    run(&["COPY", "{formgate}:k:8", "{formgate}:saved-k"]);
    one.store.commit(Batch::at(0).delete(Table::Setting, "b")).await.expect("a commit");
    run(&["RENAME", "{formgate}:saved-v", "{formgate}:v:8"]);
    run(&["RENAME", "{formgate}:saved-k", "{formgate}:k:8"]);
    run(&["HDEL", "{formgate}:x", "\u{8}b"]);
    run(&["DEL", "{formgate}:epoch"]);
    assert_eq!(names(&one, false, None, 9).await, "acd");
    assert_eq!(names(&one, false, None, 2).await, "ac", "what is passed over leaves no gap");
    one.told().await;
    run(&["FLUSHALL"]);
    assert_eq!(value(&one, Table::Setting, b"a").await.as_deref(), Some(&b"a"[..]));
    two.store.commit(setting("f")).await.expect("a commit");
    assert_eq!(names(&one, false, None, 9).await, "acdf", "what others write meanwhile is there, too");
    assert_eq!(names(&one, false, None, 2).await, "ac");
    assert_eq!(names(&one, false, Some("c"), 2).await, "df");
    assert_eq!(names(&one, true, None, 2).await, "fd");
    assert_eq!(names(&one, true, Some("d"), 2).await, "ca");
}

#[tokio::test]
async fn a_condition_on_what_is_configured_is_judged_by_a_redis_that_was_told() {
    let mut redis = Redis::start().await;
    let node = Node::join(&redis).await;
    node.store.commit(setting("a")).await.expect("a commit");
    node.told().await;
    let folder = node.leave().await;
    redis.wipe();
    redis.restart().await;
    let journal = Options::new(folder.path());
    let starting = SharedOptions { journal, redis: options(&redis, "{formgate}"), pace: pace() };
    // Its tasks do not run yet, as while the program is built.
    let (store, _tasks) = Store::open_shared(starting).await.expect("it starts");
    assert_eq!(redis.run::<u64>(&["HLEN", "{formgate}:v:8"]), 1, "told before anything is asked");
    redis.run::<()>(&["FLUSHALL"]);
    let again = store.commit(setting("a")).await;
    assert!(matches!(again, Err(Error::Conflict { index: 0, existing: Some(_) })), "{again:?}");
}

#[tokio::test]
async fn nobody_is_told_that_there_is_no_such_submission_by_a_redis_that_has_lost_it() {
    let redis = Redis::start().await;
    let (one, two) = (join(&redis).await, join(&redis).await);
    accept(&one, 0..1).await;
    for node in [&one, &two] {
        node.told().await;
        let there_is_none = async || matches!(node.store.get(Table::Submission, &key(9)).await, Ok(None));
        node.until("it is sure that there is none", there_is_none).await;
    }
    redis.run::<()>(&["FLUSHALL"]);
    let body = Some(b"canary-body-0".to_vec());
    assert_eq!(value(&one, Table::Submission, &key(0)).await, body, "its own journal has it");
    let read = two.store.get(Table::Submission, &key(0)).await;
    assert!(!matches!(read, Ok(None)), "the other cannot know");
    let finds_it = async || {
        let read = two.store.get(Table::Submission, &key(0)).await;
        read.is_ok_and(|record| record.map(|record| record.value) == body)
    };
    two.until("it is there again", finds_it).await;
}

#[tokio::test]
async fn what_a_node_leases_alone_while_redis_comes_back_no_other_node_gets() {
    let mut redis = Redis::start().await;
    let (one, two) = (Node::join(&redis).await, Node::join(&redis).await);
    redis.kill();
    for node in [&one, &two] {
        node.alone().await;
    }
    one.store.commit(submission(0)).await.expect("accepted");
    // Its disk takes its time.
    let file = rusqlite::Connection::open(one.folder.path().join("store.sqlite3")).expect("the file");
    file.execute_batch("BEGIN IMMEDIATE").expect("nobody writes");
    let store = one.store.clone();
    let claiming = tokio::spawn(async move { store.claim("crm", 1, 60_000, 9).await });
    sleep(Duration::from_millis(200)).await;
    redis.restart().await;
    let (mut others, until) = (vec![], Instant::now() + Duration::from_secs(2));
    while others.is_empty() && Instant::now() < until {
        others = claim(&two, 1).await;
        sleep(Duration::from_millis(5)).await;
    }
    file.execute_batch("COMMIT").expect("nothing was written");
    let mine = claiming.await.expect("no panic").expect("a claim");
    assert_eq!((mine.len(), others.len()), (1, 0));
    for node in [&one, &two] {
        node.told().await;
    }
    assert!(claim(&two, 1).await.is_empty(), "Redis knows of the lease");
}

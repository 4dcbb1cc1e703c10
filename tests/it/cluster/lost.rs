//! What a Redis that was emptied is not believed: before anybody has looked, and before it is told.

use formgate::store::{Pace, Table};
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

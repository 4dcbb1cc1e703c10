//! What a Redis that was emptied is not believed: before anybody has looked, and before it is told.

use tokio::time::{Duration, Instant, sleep};

use super::fixture::{Node, Redis};
use super::{claim, submission};

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

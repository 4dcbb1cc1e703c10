//! Nodes that acknowledge nothing before Redis has synced it.

use std::time::Duration;

use formgate::store::redis::{self, Acknowledge};
use formgate::store::{Error, Pace, Table};
use tempfile::TempDir;

use super::fixture::{Node, pace};
use super::{key, submission};
use crate::redis::server::Server;

fn named(number: u8) -> Vec<(Table, Vec<u8>)> {
    vec![(Table::Submission, key(number).to_vec())]
}

fn options(server: &Server) -> redis::Options {
    redis::Options { acknowledge: Acknowledge::Redis { replicas: 0 }, ..crate::redis::options(server.url()) }
}

/// Long enough for a machine that stands still now and then.
fn patient() -> Pace {
    Pace { down_after: Duration::from_secs(5), ..pace() }
}

async fn joined(server: &Server) -> Node {
    joined_at(server, pace()).await
}

async fn joined_at(server: &Server, pace: Pace) -> Node {
    let node = Node::at(TempDir::new().expect("a folder"), options(server), pace).await;
    node.told().await;
    node
}

/// What a person gets to hear of a submission.
async fn accepted(node: &Node, number: u8) -> Result<(), Error> {
    match node.store.commit(submission(number)).await {
        Ok(()) => {}
        Err(Error::Conflict { .. }) => drop(node.store.adopt(key(number)).await?),
        Err(error) => return Err(error),
    }
    node.store.confirm(named(number)).await
}

async fn accepted_at_last(node: &Node, number: u8) {
    node.until("it is accepted", async || accepted(node, number).await.is_ok()).await;
}

async fn ready(node: &Node) {
    node.until("it is ready", async || node.store.ready().await.is_ok()).await;
}

/// Whether this Redis has it.
fn has(server: &Server, number: u8) -> bool {
    let key = key(number);
    let client = ::redis::Client::open(server.url()).expect("an address");
    let mut connection = client.get_connection().expect("it answers");
    let found = ::redis::cmd("HEXISTS").arg("{formgate}:v:1").arg(&key).query(&mut connection);
    found.expect("an answer")
}

#[tokio::test]
async fn without_redis_nothing_is_taken_and_the_node_says_so_until_it_is_back() {
    let mut server = Server::start_with(&["--appendfsync", "always"]);
    let node = joined_at(&server, patient()).await;
    ready(&node).await;
    accepted(&node, 1).await.expect("accepted");

    server.kill();
    // Before anybody knows that it is away: kept here, and nobody is told so.
    assert!(matches!(accepted(&node, 2).await, Err(Error::Unconfirmed)));
    assert!(matches!(node.store.ready().await, Err(Error::Unconfirmed)));
    node.alone().await;
    for number in [2, 3] {
        assert!(matches!(accepted(&node, number).await, Err(Error::Busy)), "nobody waits for it");
    }
    assert!(node.store.get(Table::Submission, &key(3)).await.is_err(), "it was not taken");
    assert!(node.store.ready().await.is_err());

    server.restart();
    node.told().await;
    ready(&node).await;
    assert!(has(&server, 2), "what was kept is offered, and will be delivered");
    accepted(&node, 2).await.expect("the repeat is told so");
    accepted(&node, 3).await.expect("accepted");
    // Another node says the same.
    let other = joined(&server).await;
    accepted(&other, 2).await.expect("a repeat");
}

#[tokio::test]
async fn what_redis_has_lost_is_offered_again_before_it_is_said_again_that_it_is_kept() {
    let server = Server::start_with(&["--appendfsync", "always"]);
    let node = joined(&server).await;
    accepted(&node, 1).await.expect("accepted");
    server.run::<()>(&["FLUSHALL"]);
    node.store.confirm(named(1)).await.expect("it is told again");
    assert!(has(&server, 1));
    let unknown = tokio::time::timeout(Duration::from_secs(5), node.store.confirm(named(9))).await;
    assert!(matches!(unknown, Ok(Err(Error::Unconfirmed))), "{unknown:?}");
    ready(&node).await;
}

#[tokio::test]
async fn a_submission_that_redis_was_too_slow_to_take_is_acknowledged_when_it_has_it() {
    let server = Server::start_with(&["--appendfsync", "always"]);
    let node = joined_at(&server, patient()).await;
    ready(&node).await;
    server.pause();
    let accepting = async {
        let committed = node.store.commit(submission(1)).await;
        // Longer than the accept path waits for Redis, and shorter than for its word.
        server.resume();
        committed.expect("it is in the journal");
        node.store.confirm(named(1)).await
    };
    accepting.await.expect("acknowledged");
    assert!(has(&server, 1));
}

#[tokio::test]
async fn one_that_redis_confirms_nothing_for_is_not_ready_and_is_found_by_the_repeat() {
    let (server, replica) =
        (Server::start_with(&["--appendfsync", "always"]), Server::start_with(&["--appendfsync", "always"]));
    replica.follow(&server);
    let acknowledge = Acknowledge::Redis { replicas: 1 };
    let options = redis::Options { acknowledge, ..options(&server) };
    let node = Node::at(TempDir::new().expect("a folder"), options, pace()).await;
    ready(&node).await;
    accepted_at_last(&node, 1).await;
    replica.pause();
    assert!(matches!(accepted(&node, 2).await, Err(Error::Unconfirmed)));
    assert!(matches!(node.store.ready().await, Err(Error::Unconfirmed)));
    // Redis is there: what was taken is delivered.
    assert_eq!(node.store.claim("crm", 1, 60_000, 9).await.expect("a claim").len(), 2);
    replica.resume();
    ready(&node).await;
    accepted_at_last(&node, 2).await;
}

#[tokio::test]
async fn a_node_that_waits_for_its_own_disk_alone_asks_redis_nothing() {
    let server = Server::start();
    let journal = crate::redis::options(server.url());
    let node = Node::at(TempDir::new().expect("a folder"), journal, pace()).await;
    node.told().await;
    server.run::<()>(&["CONFIG", "RESETSTAT"]);
    node.store.confirm(named(9)).await.expect("it is no question");
    node.store.ready().await.expect("ready");
    assert_eq!(server.run::<u64>(&["EXISTS", "{formgate}:synced"]), 0);
}

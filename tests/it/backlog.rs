//! A hundred thousand deliveries that are open: a start, the memory and claims. A million of them, and whether times are within
//! limits, are a matter of `benches/outbox.rs`.

mod measured;

use crate::redis::server::{self, Server};
use measured::Backlog;

const OPEN: usize = 100_000;

async fn assert_within_limits(redis: Option<Server>) {
    let measured = Backlog::measure(redis, OPEN).await;
    println!("{}\n{measured}", Backlog::head());
    assert_eq!(measured.above(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_with_a_hundred_thousand_open_deliveries_takes_little_memory_and_gives_them_out() {
    assert_within_limits(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_hundred_thousand_open_deliveries_takes_little_memory_and_gives_them_out() {
    assert_within_limits(Some(Server::start())).await;
}

//! What was erased goes out of the server's append-only file, too.

use std::time::{Duration, Instant};

use formgate::store::redis::Redis;
use formgate::store::{Batch, Erasure, Put, Rewrite, Table};

use super::options;
use super::server::{Server, valkey};

async fn erase(redis: &Redis, number: u8) {
    let body = Put::new(Table::Submission, [number; 16], canary(number));
    redis.commit(&Batch::at(0).put(body)).await.expect("a commit");
    let erasure =
        Erasure { submission: [number; 16], settled: None, forget_at_ms: 9, deletes: vec![], puts: vec![] };
    redis.erase(&erasure).await.expect("an erasure");
}

fn canary(number: u8) -> Vec<u8> {
    (0..64_u8).map(|at| at.wrapping_mul(number).wrapping_add(number)).collect()
}

/// Looks until it is done; what it was at first.
pub async fn rewritten(redis: &Redis, at_once: bool) -> Rewrite {
    let (begun, mut first) = (Instant::now(), None);
    loop {
        let now = redis.rewrite_log(at_once).await.expect("an answer");
        let first = *first.get_or_insert(now);
        if now == Rewrite::Done {
            return first;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{now:?}, at first {first:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether these bytes are in a file of the server.
pub fn keeps(server: &Server, bytes: &[u8]) -> bool {
    let folder = server.folder.path().join("appendonlydir");
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    // One that is written anew is gone in the next moment.
    files
        .filter_map(|file| std::fs::read(file).ok())
        .any(|content| content.windows(bytes.len()).any(|window| window == bytes))
}

async fn is_written_anew(server: &Server) {
    let redis = Redis::open(&options(server.url())).await.expect("it opens");
    assert_eq!(redis.rewrite_log(true).await.expect("an answer"), Rewrite::Done, "nothing was erased");
    assert_eq!(server.info("aof_rewrites"), "0");
    erase(&redis, 1).await;
    assert!(keeps(server, &canary(1)), "the search finds what is there");
    assert_eq!(rewritten(&redis, true).await, Rewrite::Begun);
    assert!(!keeps(server, &canary(1)));
    assert_eq!(
        (redis.rewrite_log(true).await.expect("an answer"), server.info("aof_rewrites").as_str()),
        (Rewrite::Done, "1")
    );
}

#[tokio::test]
async fn an_erasure_is_out_of_the_append_only_file_when_it_was_written_anew() {
    is_written_anew(&Server::start()).await;
    if let Some(program) = valkey() {
        is_written_anew(&Server::start_program(program, &[])).await;
    }
}

#[tokio::test]
async fn a_rewrite_that_began_before_the_erasure_is_not_enough() {
    let server = Server::start();
    let redis = Redis::open(&options(server.url())).await.expect("it opens");
    // It takes its time.
    server.run::<()>(&["CONFIG", "SET", "rdb-key-save-delay", "300000"]);
    redis.commit(&Batch::at(0).put(Put::new(Table::Submission, [1; 16], canary(1)))).await.expect("a commit");
    server.run::<()>(&["BGREWRITEAOF"]);
    erase(&redis, 1).await;
    assert_eq!(redis.rewrite_log(true).await.expect("an answer"), Rewrite::Later);
    server.run::<()>(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
    rewritten(&redis, true).await;
    assert_eq!(server.info("aof_rewrites"), "2");
    assert!(!keeps(&server, &canary(1)));
}

#[tokio::test]
async fn what_nobody_waits_for_is_written_anew_once_an_hour_by_one_node_and_again_in_another_process() {
    let mut server = Server::start();
    let (one, two) = (options(server.url()), options(server.url()));
    let one = Redis::open(&one).await.expect("it opens");
    let two = Redis::open(&two).await.expect("it opens");
    erase(&one, 1).await;
    let (_, _) = tokio::join!(rewritten(&one, false), rewritten(&two, false));
    assert_eq!(server.info("aof_rewrites"), "1", "one of them");
    erase(&two, 2).await;
    for redis in [&one, &two] {
        assert_eq!(redis.rewrite_log(false).await.expect("an answer"), Rewrite::Later);
    }
    assert!(keeps(&server, &canary(2)));
    // An hour goes by.
    let wish: String = server.run(&["GET", "{formgate}:rewriting"]);
    let parts: Vec<&str> = wish.split(' ').collect();
    let at: i64 = parts[1].parse().expect("a time");
    let older = format!("{} {} {} {}", parts[0], at - 3_600_000, parts[2], parts[3]);
    server.run::<()>(&["SET", "{formgate}:rewriting", &older]);
    assert_eq!(rewritten(&one, false).await, Rewrite::Begun);
    assert!(!keeps(&server, &canary(2)));
    // Killed in the middle, or a replica that became the primary: its files are its own.
    server.restart();
    super::servers::again(&two).await;
    assert_eq!(two.rewrite_log(false).await.expect("an answer"), Rewrite::Later, "within the hour");
    assert_eq!(rewritten(&two, true).await, Rewrite::Begun);
}

#[tokio::test]
async fn a_server_that_does_not_let_its_log_be_written_anew_is_no_failure() {
    let server = Server::start();
    server.run::<()>(&["ACL", "SETUSER", "formgate", "on", ">secret", "~*", "+@all", "-bgrewriteaof"]);
    let guarded = format!("redis://formgate:secret@127.0.0.1:{}", server.port);
    let redis = Redis::open(&options(guarded)).await.expect("it opens");
    erase(&redis, 1).await;
    assert_eq!(redis.rewrite_log(true).await.expect("an answer"), Rewrite::Refused);
    let renamed = Server::start_with(&["--rename-command", "BGREWRITEAOF", ""]);
    let redis = Redis::open(&options(renamed.url())).await.expect("it opens");
    erase(&redis, 1).await;
    assert_eq!(redis.rewrite_log(false).await.expect("an answer"), Rewrite::Refused);
    redis.commit(&Batch::at(0)).await.expect("it goes on");
}

//! A server whose word is waited for: it has synced, and so have its replicas.

use std::time::{Duration, Instant};

use formgate::store::redis::{Acknowledge, Error, OpenError, Options, Redis};
use formgate::store::{Batch, Put, Table};
use tokio::task::JoinSet;

use super::options;
use super::server::Server;

/// A server whose word can be taken.
const ALWAYS: [&str; 2] = ["--appendfsync", "always"];

pub fn waiting(url: impl Into<String>, replicas: u32) -> Options {
    Options { acknowledge: Acknowledge::Redis { replicas }, ..options(url) }
}

async fn opened(server: &Server, replicas: u32) -> Redis {
    Redis::open(&waiting(server.url(), replicas)).await.expect("it opens")
}

/// Whether it can be asked to wait until it has synced.
fn waits_for_disk(server: &Server) -> bool {
    server.try_run::<redis::Value>(&["WAITAOF", "0", "0", "1"]).is_ok()
}

fn named(key: &str) -> (Table, Vec<u8>) {
    (Table::Setting, key.into())
}

async fn put(redis: &Redis, key: &str) {
    redis.commit(&Batch::at(0).put(Put::new(Table::Setting, key, "1"))).await.expect("a commit");
}

#[tokio::test]
async fn what_is_there_is_confirmed_and_what_is_not_is_not() {
    let server = Server::start_with(&ALWAYS);
    let redis = opened(&server, 0).await;
    put(&redis, "a").await;
    put(&redis, "b").await;
    for (asked, answer) in [
        (vec![], true),
        (vec![named("a")], true),
        (vec![named("b"), named("a")], true),
        (vec![named("c")], false),
        (vec![named("a"), named("c")], false),
        (vec![(Table::Reply, b"a".to_vec())], false),
    ] {
        assert_eq!(redis.confirm(&asked).await.expect("an answer"), answer, "{asked:?}");
    }
}

#[tokio::test]
async fn a_server_that_answers_before_it_has_synced_is_refused_in_plain_words_also_if_it_is_set_so_later() {
    let server = Server::start();
    match Redis::open(&waiting(server.url(), 0)).await {
        Err(OpenError::Unsafe(reason)) => {
            assert!(
                reason.contains("(appendfsync everysec)") && reason.ends_with("set appendfsync always"),
                "{reason}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(server.run::<u64>(&["DBSIZE"]), 0, "nothing was written");
    server.run::<()>(&["CONFIG", "SET", "appendfsync", "always"]);
    let redis = Redis::open(&waiting(server.url(), 0)).await.expect("it opens");
    for _ in 0..2 {
        server.run::<()>(&["CONFIG", "SET", "appendfsync", "always"]);
        assert!(redis.confirm(&[]).await.expect("an answer"));
        server.run::<()>(&["CONFIG", "SET", "appendfsync", "everysec"]);
        let refused = redis.confirm(&[]).await;
        assert!(
            matches!(&refused, Err(Error::OutOfReach(reason)) if reason.contains("everysec")),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn its_user_needs_what_the_readme_says_besides() {
    let server = Server::start_with(&ALWAYS);
    let readme = include_str!("../../../README.md");
    let line = readme.lines().map(str::trim).find(|line| line.starts_with("user formgate on "));
    let rules = line.expect("the ACL line").split_whitespace().skip(2);
    let rules = rules.map(|rule| if rule.starts_with('>') { ">secret" } else { rule });
    let command: Vec<&str> = ["ACL", "SETUSER", "formgate"].into_iter().chain(rules).collect();
    server.run::<()>(&command);
    let url = format!("redis://formgate:secret@127.0.0.1:{}", server.port);
    let refused = Redis::open(&waiting(url.clone(), 0)).await;
    assert!(
        matches!(&refused, Err(OpenError::Unsafe(reason)) if reason.contains("+config|get")),
        "{refused:?}"
    );
    let told = readme.lines().find(|line| line.contains("`+waitaof`")).expect("what else it needs");
    for rule in ["+config|get", if waits_for_disk(&server) { "+waitaof" } else { "+wait" }] {
        assert!(told.contains(&format!("`{rule}`")), "{rule} is not in: {told}");
        server.run::<()>(&["ACL", "SETUSER", "formgate", rule]);
    }
    let redis = Redis::open(&waiting(url, 0)).await.expect("it opens");
    put(&redis, "a").await;
    assert!(redis.confirm(&[named("a")]).await.expect("an answer"));
}

#[tokio::test]
async fn replicas_are_waited_for_and_meanwhile_everything_else_goes_on() {
    let (server, replica) = (Server::start_with(&ALWAYS), Server::start_with(&ALWAYS));
    let redis = opened(&server, 1).await;
    put(&redis, "a").await;
    let alone = tokio::spawn({
        let redis = redis.clone();
        async move { redis.confirm(&[named("a")]).await }
    });
    let mut commits = 0;
    while !alone.is_finished() {
        put(&redis, "b").await;
        commits += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(commits > 2, "commits waited with it");
    let alone = alone.await.expect("no panic");
    assert!(matches!(alone, Err(Error::OutOfReach(_))), "there is no replica: {alone:?}");

    replica.follow(&server);
    confirms_again(&redis).await;
    replica.pause();
    assert!(redis.confirm(&[named("a")]).await.is_err(), "the replica hears nothing");
    replica.resume();
    confirms_again(&redis).await;
}

#[tokio::test]
async fn a_primary_that_is_none_any_more_confirms_nothing() {
    let (server, other) = (Server::start_with(&ALWAYS), Server::start_with(&ALWAYS));
    let redis = opened(&server, 1).await;
    put(&redis, "a").await;
    // It waits for a replica that there is not, and becomes one itself.
    let asked = loop {
        let redis = redis.clone();
        let asked = tokio::spawn(async move { redis.confirm(&[named("a")]).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        // On a machine that stood still meanwhile it has waited in vain already.
        if !asked.is_finished() {
            break asked;
        }
    };
    server.run::<()>(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
    let asked = asked.await.expect("no panic");
    assert!(asked.is_err(), "{asked:?}");
    let again = redis.confirm(&[named("a")]).await;
    assert!(again.is_err(), "{again:?}");
    let none = opened(&other, 0).await;
    assert!(!none.confirm(&[named("a")]).await.expect("an answer"), "the new primary does not have it");
}

#[tokio::test]
async fn all_who_wait_share_a_question() {
    let server = Server::start_with(&ALWAYS);
    let redis = opened(&server, 0).await;
    let mut asking = JoinSet::new();
    for number in 0..200_u8 {
        put(&redis, &number.to_string()).await;
    }
    server.run::<()>(&["CONFIG", "RESETSTAT"]);
    for number in 0..=200_u8 {
        let redis = redis.clone();
        asking.spawn(async move { (number, redis.confirm(&[named(&number.to_string())]).await) });
    }
    for (number, answer) in asking.join_all().await {
        assert_eq!(answer.expect("an answer"), number < 200, "each gets its own");
    }
    let told = server.info("cmdstat_evalsha");
    let calls = told.split(['=', ',']).nth(1).and_then(|calls| calls.parse::<u32>().ok());
    assert!(calls.is_some_and(|calls| calls < 20), "{told}");
}

#[tokio::test]
async fn a_server_that_was_restarted_is_asked_on_a_new_connection_and_scripts_are_told_again() {
    let mut server = Server::start_with(&ALWAYS);
    let redis = opened(&server, 0).await;
    put(&redis, "a").await;
    assert!(redis.confirm(&[named("a")]).await.expect("an answer"));
    server.run::<()>(&["SCRIPT", "FLUSH"]);
    assert!(redis.confirm(&[named("a")]).await.expect("an answer"));
    server.kill();
    let gone = redis.confirm(&[named("a")]).await;
    assert!(matches!(gone, Err(Error::OutOfReach(_))), "{gone:?}");
    server.restart();
    assert!(redis.confirm(&[named("a")]).await.expect("an answer"));
}

async fn confirms_again(redis: &Redis) {
    let begun = Instant::now();
    while let Err(error) = redis.confirm(&[named("a")]).await {
        assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
    }
}

//! Servers as they are in the world: guarded, full, deaf, failing over, wrongly set.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use formgate::store::redis::{Error, OpenError, Options, Redis, Topology};
use formgate::store::{Batch, Erasure, Put, Table};

use super::server::{Server, cluster, sentinel, until, valkey};
use super::{claim, delivery, options};

/// Waits until it does what it is asked again.
pub async fn again(redis: &Redis) {
    let begun = Instant::now();
    while let Err(error) = redis.now_ms().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn works(redis: &Redis) {
    redis
        .commit(&Batch::at(0).deliver(delivery(1, 0)).put(Put::new(Table::Setting, "a", "1")))
        .await
        .expect("a commit");
    assert_eq!(redis.claim(&claim(0, 9)).await.expect("a claim").len(), 1);
    assert!(redis.get(Table::Setting, b"a").await.expect("a read").is_some());
    redis.identity().await.expect("an answer");
    let erasure =
        Erasure { submission: [9; 16], settled: None, forget_at_ms: 9, deletes: vec![], puts: vec![] };
    redis.erase(&erasure).await.expect("an erasure");
    super::rewrites::rewritten(redis, true).await;
}

#[tokio::test]
async fn settings_that_would_lose_data_are_refused_in_plain_words_with_what_mends_them() {
    for (arguments, fix) in [
        (&["--maxmemory-policy", "allkeys-lru"][..], "set maxmemory-policy noeviction"),
        (&["--appendonly", "no"], "set appendonly yes"),
        (
            &["--appendfsync", "always", "--no-appendfsync-on-rewrite", "yes"],
            "set no-appendfsync-on-rewrite no",
        ),
    ] {
        let server = Server::start_with(arguments);
        match Redis::open(&options(server.url())).await {
            Err(OpenError::Unsafe(reason)) => assert!(reason.ends_with(fix), "{reason}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(server.run::<u64>(&["DBSIZE"]), 0, "nothing was written");
    }
}

#[tokio::test]
async fn a_server_that_is_loading_its_data_is_waited_for_and_not_taken_for_one_that_keeps_nothing() {
    let mut server = Server::start_with(&[]);
    let fill = "for at = 1, 4000 do redis.call('SET', 'fill:' .. at, at) end";
    server.run::<()>(&["EVAL", fill, "0"]);
    server.add_arguments(&["--key-load-delay", "400"]);
    server.begin();
    until("it says that it is loading", || {
        server.try_run::<String>(&["INFO", "persistence"]).is_ok_and(|info| info.contains("loading:1"))
    });
    match Redis::open(&options(server.url())).await {
        Err(OpenError::OutOfReach(reason)) => assert!(reason.contains("loading"), "{reason}"),
        other => panic!("{other:?}"),
    }
    until("it has loaded all", || server.try_run::<String>(&["PING"]).is_ok());
    works(&Redis::open(&options(server.url())).await.expect("it is as it should be")).await;
}

#[tokio::test]
async fn an_address_that_leads_nowhere_is_told_apart_from_one_that_cannot_be_read() {
    let nobody = Redis::open(&options("redis://127.0.0.1:1")).await;
    assert!(matches!(nobody, Err(OpenError::OutOfReach(_))), "{nobody:?}");
    let secret = Redis::open(&options("http://user:hunter2@localhost")).await;
    let told = format!("{:?} {}", secret, secret.as_ref().expect_err("no address"));
    assert!(
        matches!(secret, Err(OpenError::Address { number: 1, .. })) && !told.contains("hunter2"),
        "{told}"
    );
}

#[tokio::test]
async fn scripts_that_the_server_has_forgotten_are_told_again() {
    let server = Server::start();
    let redis = Redis::open(&options(server.url())).await.expect("it opens");
    server.run::<()>(&["SCRIPT", "FLUSH"]);
    works(&redis).await;
}

#[tokio::test]
async fn a_user_who_may_do_no_more_than_the_readme_says_can_do_everything() {
    let server = Server::start();
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("a readme");
    let line = readme
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("user formgate on "))
        .expect("the ACL line");
    let rules: Vec<&str> = line.split_whitespace().skip(2).collect();
    let rules = rules.iter().map(|rule| if rule.starts_with('>') { ">secret" } else { rule });
    let command: Vec<&str> = ["ACL", "SETUSER", "formgate"].into_iter().chain(rules).collect();
    server.run::<()>(&command);
    let url = format!("redis://formgate:secret@127.0.0.1:{}", server.port);
    let redis = Redis::open(&options(url)).await.expect("it opens");
    works(&redis).await;
    let denied: Vec<redis::Value> = server.run(&["ACL", "LOG"]);
    let told = format!("{denied:?}");
    assert!(denied.len() <= 1 && told.contains("config|get"), "only what is not needed: {told}");
    let mut foreign = options(format!("redis://formgate:secret@127.0.0.1:{}", server.port));
    foreign.prefix = "{other}".to_owned();
    assert!(Redis::open(&foreign).await.is_err(), "other keys are not ours");
    let wrong = Redis::open(&options(format!("redis://formgate:wrong@127.0.0.1:{}", server.port))).await;
    assert!(matches!(wrong, Err(OpenError::OutOfReach(_))), "{wrong:?}");
}

#[tokio::test]
async fn tls_trusts_the_authority_that_is_named_and_no_other() {
    let (server, ca_pem) = Server::start_tls();
    let trusting = Options { ca_pem: Some(ca_pem), ..options(server.tls_url()) };
    let redis = Redis::open(&trusting).await.expect("it opens");
    works(&redis).await;
    let stranger = Redis::open(&options(server.tls_url())).await;
    assert!(matches!(stranger, Err(OpenError::OutOfReach(_))), "{stranger:?}");
}

#[tokio::test]
async fn a_full_server_refuses_and_goes_on_when_there_is_room() {
    let server = Server::start();
    let redis = Redis::open(&options(server.url())).await.expect("it opens");
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let put = || Batch::at(0).put(Put::new(Table::Setting, "a", "1"));
    let refused = redis.commit(&put()).await;
    assert!(matches!(&refused, Err(Error::Refused(reason)) if reason.contains("OOM")), "{refused:?}");
    assert_eq!(redis.get(Table::Setting, b"a").await.expect("a read"), None);
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    redis.commit(&put()).await.expect("a commit");
}

#[tokio::test]
async fn a_deaf_server_holds_nobody_longer_than_his_patience_and_is_used_again_when_it_hears() {
    let server = Server::start();
    let redis = Redis::open(&options(server.url())).await.expect("it opens");
    server.pause();
    for _ in 0..3 {
        let asked = tokio::time::timeout(Duration::from_millis(250), redis.commit(&Batch::at(0))).await;
        assert!(!matches!(asked, Ok(Ok(_))), "{asked:?}");
    }
    server.resume();
    again(&redis).await;
    works(&redis).await;
}

#[tokio::test]
async fn a_killed_server_is_found_again_by_itself() {
    let mut server = Server::start_with(&["--appendfsync", "always"]);
    let redis = Redis::open(&options(server.url())).await.expect("it opens");
    works(&redis).await;
    server.kill();
    assert!(matches!(redis.commit(&Batch::at(0)).await, Err(Error::OutOfReach(_))));
    server.restart();
    again(&redis).await;
    assert!(redis.delivery([1; 16]).await.expect("a read").is_some());
    redis.commit(&Batch::at(0)).await.expect("a commit");
}

#[tokio::test]
async fn a_replica_is_not_written_to() {
    let (primary, replica) = (Server::start(), Server::start());
    let redis = Redis::open(&options(replica.url())).await.expect("it opens");
    replica.follow(&primary);
    let refused = redis.commit(&Batch::at(0)).await;
    assert!(matches!(refused, Err(Error::Refused(_) | Error::OutOfReach(_))), "{refused:?}");
    assert!(matches!(Redis::open(&options(replica.url())).await, Err(OpenError::OutOfReach(_))));
}

#[tokio::test]
async fn sentinels_lead_to_the_new_primary_after_a_failover() {
    let (mut primary, replica) = (Server::start(), Server::start());
    replica.follow(&primary);
    let sentinel = sentinel(&primary);
    until("the sentinel knows the replica", || sentinel.info("master0").contains("slaves=1"));
    let topology = Topology::Sentinel { service: "main".to_owned() };
    let redis = Redis::open(&Options { topology, ..options(sentinel.url()) }).await.expect("it opens");
    works(&redis).await;
    let before = redis.identity().await.expect("an answer");
    until("the replica has it all", || {
        replica.info("master_repl_offset") == primary.info("master_repl_offset")
    });
    primary.kill();
    let begun = Instant::now();
    while redis.commit(&Batch::at(0)).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "no failover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let after = redis.identity().await.expect("an answer");
    assert_eq!(after.epoch, before.epoch);
    assert!(after.run_id != before.run_id && after.master_replid != before.master_replid);
    assert!(redis.delivery([1; 16]).await.expect("a read").is_some());
    let rewrites = || replica.info("aof_rewrites").parse::<u64>().expect("a number");
    let before = rewrites();
    super::rewrites::rewritten(&redis, true).await;
    assert_eq!(rewrites(), before + 1, "the new primary has files of its own");
}

#[tokio::test]
async fn sentinels_are_asked_with_the_password_if_they_know_it_and_never_for_a_numbered_database() {
    let primary = Server::start();
    let sentinel = sentinel(&primary);
    let user = ["ACL", "SETUSER", "formgate", "on", ">secret", "~*", "&*", "+@all"];
    primary.run::<()>(&user);
    for (knows_it, way_in) in [(false, ""), (false, "formgate:secret@"), (true, "formgate:secret@")] {
        if knows_it {
            sentinel.run::<()>(&user);
            sentinel.run::<()>(&["ACL", "SETUSER", "default", "off"]);
        }
        let url = format!("redis://{way_in}127.0.0.1:{}/2", sentinel.port);
        let topology = Topology::Sentinel { service: "main".to_owned() };
        works(&Redis::open(&Options { topology, ..options(url) }).await.expect("it opens")).await;
        let databases: String = primary.run(&["INFO", "keyspace"]);
        assert!(databases.contains("db2:") && !databases.contains("db0:"), "{databases}");
        primary.run::<()>(&["FLUSHALL"]);
    }
}

#[tokio::test]
async fn addresses_that_say_nothing_do_not_keep_it_from_one_behind_them_that_answers() {
    // What connects to one waits for ever: nobody takes it from the queue.
    let silent: Vec<_> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let ports = silent.iter().map(|silent| silent.local_addr().expect("an address").port());
    let ports: Vec<u16> = ports.collect();
    let behind = |last: u16| {
        let urls = ports.iter().copied().chain([last]);
        urls.map(|port| format!("redis://:secret@127.0.0.1:{port}").into()).collect()
    };
    let (servers, primary) = (cluster(1), Server::start());
    let sentinel = sentinel(&primary);
    for server in [&servers[0], &primary] {
        server.run::<()>(&["ACL", "SETUSER", "default", ">secret"]);
    }
    let service = "main".to_owned();
    for (last, topology) in
        [(servers[0].port, Topology::Cluster), (sentinel.port, Topology::Sentinel { service })]
    {
        let options = Options { urls: behind(last), topology, ..options("") };
        // As long as a node waits for it.
        let opened = tokio::time::timeout(Duration::from_secs(5), Redis::open(&options)).await;
        works(&opened.expect("in time").expect("it opens")).await;
    }
}

#[tokio::test]
async fn in_a_cluster_any_node_leads_to_the_one_that_has_the_slot() {
    let servers = cluster(3);
    for (index, server) in servers.iter().enumerate() {
        let options = Options {
            topology: Topology::Cluster,
            prefix: format!("{{formgate{index}}}"),
            ..options(server.url())
        };
        works(&Redis::open(&options).await.expect("it opens")).await;
    }
    let keys: u64 = servers.iter().map(|server| server.run::<u64>(&["DBSIZE"])).sum();
    assert!(keys > 30);
}

#[tokio::test]
async fn while_a_cluster_moves_their_slot_nothing_is_done_by_halves_and_afterwards_all_works_again() {
    let servers = cluster(2);
    let slot: u64 = servers[0].run(&["CLUSTER", "KEYSLOT", "{formgate}"]);
    let (from, to) = if slot < 8_192 { (&servers[0], &servers[1]) } else { (&servers[1], &servers[0]) };
    let set_slot = |server: &Server, state: &str, other: &Server| {
        let id: String = other.run(&["CLUSTER", "MYID"]);
        server.run::<()>(&["CLUSTER", "SETSLOT", &slot.to_string(), state, &id]);
    };
    let content = || {
        let mut keys: Vec<String> = from.run(&["KEYS", "*"]);
        keys.sort();
        let dumped = |key: String| (from.run::<Vec<u8>>(&["DUMP", &key]), key);
        keys.into_iter().map(dumped).collect::<Vec<_>>()
    };
    let clustered = Options { topology: Topology::Cluster, ..options(to.url()) };
    let redis = Redis::open(&clustered).await.expect("it opens");
    redis.commit(&Batch::at(0).put(Put::new(Table::Setting, "kept", "1"))).await.expect("a commit");

    set_slot(to, "IMPORTING", from);
    set_slot(from, "MIGRATING", to);
    // Some of what it writes to is there, some is not there yet, and some is there no more.
    let batch = Batch::at(0).put(Put::new(Table::Walk, "w", "1")).deliver(delivery(2, 5));
    for moved in [0, 1, usize::MAX] {
        for (_, key) in content().iter().take(moved) {
            from.run::<()>(&["MIGRATE", "127.0.0.1", &to.port.to_string(), key, "0", "5000"]);
        }
        let before = content();
        let refused = loop {
            match redis.commit(&batch).await {
                Err(Error::OutOfReach(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                other => break other,
            }
        };
        assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
        assert_eq!(content(), before);
    }
    set_slot(to, "NODE", to);
    set_slot(from, "NODE", to);
    let begun = Instant::now();
    while let Err(error) = redis.commit(&batch).await {
        assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(super::value(&redis, b"kept").await, Some(b"1".to_vec()));
    works(&redis).await;
}

#[tokio::test]
async fn valkey_does_the_same() {
    let Some(program) = valkey() else {
        eprintln!("Valkey is not there; tests/run puts it into target/tools");
        return;
    };
    let server = Server::start_program(program, &[]);
    assert!(!server.info("valkey_version").is_empty());
    let redis = Redis::open(&options(server.url())).await.expect("it opens");
    works(&redis).await;
}

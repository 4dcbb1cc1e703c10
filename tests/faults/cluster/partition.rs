//! One node is cut off from Redis, or all are, for a time that is long for them: their patience is a twentieth of the usual.

use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;

use super::nodes::{Ended, NODES, PATIENCE, Plan, Scene, counted};
use super::proxy::Proxy;
use super::server::Server;
use crate::run;
use crate::sink::Manner;

const ROUNDS: (u32, u32) = (1, 4);
/// Five minutes; a node alone takes everything over after fifteen.
const CUT: Duration = Duration::from_secs(15);
/// Submissions that wait, entrusted to all, when the cut comes.
const BACKLOG: u64 = 60;
/// Minutes without Redis, per change and before a release; one is three seconds.
const MINUTES: (u32, u32) = (4, 60);
const MINUTE: Duration = Duration::from_secs(3);
/// What a journal may have after an hour at ten submissions a second.
const MAX_JOURNAL_BYTES: u64 = 150_000_000;

/// Cuts one node off while nobody has anything in hand.
async fn cut_off(redis: &Server, proxy: &Proxy) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if counted(redis, "1") == 0 {
            proxy.cut();
            // Whatever was on its way is noted by now.
            tokio::time::sleep(Duration::from_millis(50)).await;
            if counted(redis, "1") == 0 {
                return;
            }
            proxy.mend();
        }
        assert!(Instant::now() < give_up, "somebody always has something in hand");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

async fn partitions(rounds: u32, points: &str, dice: &mut SmallRng) -> Ended {
    let redis = Server::start();
    let mut proxies = Vec::new();
    for _ in 0..NODES {
        proxies.push(Proxy::start(redis.port, Duration::ZERO).await);
    }
    let urls = proxies.iter().map(Proxy::url).collect();
    let scene = Scene::start(&redis, Plan { points, urls, ..Plan::default() }, dice).await;
    for proxy in proxies.iter().cycle().take(rounds as usize) {
        scene.sink.behave(Manner::Broken);
        scene.people.resume();
        scene.ledger.until_acknowledged(BACKLOG).await;
        scene.people.hold();
        // What was begun ends, and the destination is found broken.
        tokio::time::sleep(Duration::from_secs(1)).await;
        cut_off(&redis, proxy).await;
        scene.sink.behave(Manner::Well);
        let (begun, entrusted) = (Instant::now(), scene.ledger.acknowledged());
        scene.people.resume();
        tokio::time::sleep(CUT / 3).await;
        scene.people.hold();
        let took = scene.until_delivered(&entrusted, CUT).await;
        println!(
            "{} were entrusted; the others have delivered them after {:?}",
            entrusted.len(),
            begun.elapsed()
        );
        assert!(took.is_some(), "the others did not deliver what was entrusted");
        tokio::time::sleep(CUT.saturating_sub(begun.elapsed())).await;
        proxy.mend();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    scene.finish(&redis, PATIENCE).await
}

#[test]
fn a_node_that_is_cut_off_goes_on_and_sends_nothing_that_it_had_entrusted_to_the_others() {
    let (rounds, mut dice) = (run::numbers(ROUNDS.0, ROUNDS.1), run::dice());
    let ended = run::runtime().block_on(partitions(rounds, "cluster.quick:on", &mut dice));
    ended.tell("one node of three is cut off from Redis", rounds);
    ended.assert_kept();
    ended.ledger.assert_repeats_explained();
}

/// The control: a node that takes over at once what it had entrusted.
#[test]
fn a_node_that_takes_over_at_once_is_caught_sending_what_others_send() {
    let mut dice = run::dice();
    let points = "cluster.quick:on,cluster.takes_over_at_once:on";
    let ended = run::runtime().block_on(partitions(1, points, &mut dice));
    let twice = ended.ledger.repeats().unexplained;
    let caught = usize::try_from(twice).expect("a few");
    let told = ended.acknowledged.len();
    run::tell(
        "a node that is cut off takes over at once, sent twice: control",
        1,
        told,
        caught,
        &twice.to_string(),
    );
    assert!(twice > 0, "the harness would not notice");
}

/// The value below which 99 of 100 are.
fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}

fn bytes(folder: &Path) -> u64 {
    let files = folder.read_dir().expect("a folder").flatten();
    let files = files.filter(|entry| entry.file_name().to_string_lossy().starts_with("store.sqlite3"));
    files.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[test]
fn with_redis_down_for_long_everything_is_taken_and_delivered_and_redis_has_it_all_afterwards() {
    let (minutes, mut dice) = (run::numbers(MINUTES.0, MINUTES.1), run::dice());
    run::runtime().block_on(async {
        let mut redis = Server::start();
        let plan = Plan { points: "cluster.quick:on", ..Plan::default() };
        let scene = Scene::start(&redis, plan, &mut dice).await;
        scene.people.resume();
        scene.ledger.until_acknowledged(30).await;
        scene.ledger.exchanges();
        tokio::time::sleep(Duration::from_secs(6)).await;
        let usual = p99(scene.ledger.exchanges());

        redis.kill();
        let down = Instant::now();
        let before = scene.ledger.acknowledged();
        let small: Vec<u64> = scene.gates.iter().map(|gate| bytes(&gate.kept().join("data"))).collect();
        // The first seconds of an outage, in which nodes still wait for Redis.
        tokio::time::sleep(Duration::from_secs(1)).await;
        scene.ledger.exchanges();
        tokio::time::sleep((MINUTE * minutes).saturating_sub(down.elapsed())).await;
        let alone = p99(scene.ledger.exchanges());
        scene.people.hold();
        let told = scene.ledger.acknowledged();
        let large: Vec<u64> = scene.gates.iter().map(|gate| bytes(&gate.kept().join("data"))).collect();

        redis.restart();
        let answers = Instant::now();
        let has_all = |redis: &Server| redis.run::<usize>(&["HLEN", "{formgate}:v:1"]) >= told.len();
        while !has_all(&redis) && answers.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let caught_up = answers.elapsed();
        let ended = scene.finish(&redis, PATIENCE).await;
        let grown: u64 = large.iter().zip(&small).map(|(large, small)| large - small).sum();
        let taken = told.len() - before.len();
        println!(
            "{taken} were taken without Redis; the journals grew by {} KB, {} bytes each; Redis had all after {caught_up:?}; \
             p99 of an exchange {usual:?} with Redis, {alone:?} without: {:.2}",
            grown / 1024,
            grown / u64::try_from(taken.max(1)).expect("a count"),
            alone.as_secs_f64() / usual.as_secs_f64()
        );
        ended.tell("Redis is down for long", 1);
        ended.assert_kept();
    ended.ledger.assert_repeats_explained();
        assert!(taken > 0, "nothing was taken without Redis");
        assert!(caught_up < PATIENCE, "Redis was not told everything");
        assert!(large.iter().all(|bytes| *bytes < MAX_JOURNAL_BYTES), "{large:?}");
        // Twice as slow, and what a busy machine adds to so few.
        assert!(alone <= usual * 2 + Duration::from_millis(100), "{usual:?} became {alone:?}");
    });
}

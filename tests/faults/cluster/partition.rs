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
/// Submissions without Redis, at least: ten a second for an hour before a release.
const SUBMISSIONS: (u32, u32) = (200, 36_000);
/// How much longer it is away until there are so many.
const LONGER: Duration = Duration::from_secs(20 * 60);
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
    ended.assert_repeats_explained();
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

/// What a long time without Redis showed.
struct Outage {
    ended: Ended,
    taken: usize,
    /// How soon Redis had everything; `None` if it never had.
    caught_up: Option<Duration>,
    /// What each journal had at the end of it.
    journals_bytes: Vec<u64>,
    /// p99 of an exchange, with Redis and without.
    exchanges: [Duration; 2],
}

/// Takes Redis away for so many minutes, and for as long as it takes until so many were acknowledged without it.
async fn outage(
    minutes: u32,
    submissions: u32,
    points: &str,
    patience: Duration,
    dice: &mut SmallRng,
) -> Outage {
    let mut redis = Server::start();
    let scene = Scene::start(&redis, Plan { points, ..Plan::default() }, dice).await;
    scene.people.resume();
    scene.ledger.until_acknowledged(30).await;
    scene.ledger.exchanges();
    tokio::time::sleep(MINUTE * minutes.min(2)).await;
    let usual = p99(scene.ledger.exchanges());

    let down = Instant::now();
    redis.kill();
    // What a node has in hand that is not its own is taken over after the patience by whoever has it in the journal.
    scene.ledger.leases_lost("Redis went away", down, NODES);
    let before = scene.ledger.acknowledged().len();
    let journals = || scene.gates.iter().map(|gate| bytes(&gate.kept().join("data"))).collect::<Vec<u64>>();
    let small: u64 = journals().iter().sum();
    // The first seconds of an outage, in which nodes still wait for Redis.
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.ledger.exchanges();
    tokio::time::sleep((MINUTE * minutes).saturating_sub(down.elapsed())).await;
    let all = scene.ledger.until_told(before as u64 + u64::from(submissions));
    let _ = tokio::time::timeout(LONGER, all).await;
    let alone = p99(scene.ledger.exchanges());
    scene.people.hold();
    let told = scene.ledger.acknowledged();
    let journals_bytes = journals();

    redis.restart();
    let answers = Instant::now();
    let has_all = || redis.run::<usize>(&["HLEN", "{formgate}:v:1"]) >= told.len();
    while !has_all() && answers.elapsed() < patience {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let caught_up = has_all().then(|| answers.elapsed());
    let ended = scene.finish(&redis, patience).await;
    let taken = told.len() - before;
    println!(
        "{taken} were taken in {:?} without Redis; the journals grew by {} KB, {} bytes each; Redis had all after \
         {caught_up:?}; p99 of an exchange {usual:?} with Redis, {alone:?} without: {:.2}",
        down.elapsed(),
        (journals_bytes.iter().sum::<u64>() - small) / 1024,
        (journals_bytes.iter().sum::<u64>() - small) / u64::try_from(taken.max(1)).expect("a count"),
        alone.as_secs_f64() / usual.as_secs_f64()
    );
    Outage { ended, taken, caught_up, journals_bytes, exchanges: [usual, alone] }
}

#[test]
fn with_redis_down_for_long_everything_is_taken_and_delivered_and_redis_has_it_all_afterwards() {
    let (minutes, mut dice) = (run::numbers(MINUTES.0, MINUTES.1), run::dice());
    let submissions = run::target(SUBMISSIONS.0, SUBMISSIONS.1);
    let points = "cluster.quick:on";
    let outage = run::runtime().block_on(outage(minutes, submissions, points, PATIENCE, &mut dice));
    let Outage { ended, taken, caught_up, journals_bytes, exchanges: [usual, alone] } = outage;
    ended.tell("Redis is down for long", 1);
    ended.assert_kept();
    ended.assert_repeats_explained();
    assert!(taken >= submissions as usize && taken > 0, "only {taken} were taken without Redis");
    assert!(caught_up.is_some(), "Redis was not told everything");
    assert!(journals_bytes.iter().all(|bytes| *bytes < MAX_JOURNAL_BYTES), "{journals_bytes:?}");
    // Twice as slow, and what a busy machine adds to so few.
    assert!(alone <= usual * 2 + Duration::from_millis(100), "{usual:?} became {alone:?}");
}

/// The control: nodes that keep for themselves what they took without Redis.
#[test]
fn nodes_that_tell_redis_nothing_after_it_was_down_are_caught_when_it_has_not_everything() {
    let mut dice = run::dice();
    let points = "cluster.quick:on,cluster.tells_nothing:on";
    let outage = run::runtime().block_on(outage(1, 20, points, Duration::from_secs(4), &mut dice));
    let told = outage.ended.acknowledged.len();
    let absent = outage.ended.acknowledged.difference(&outage.ended.stored).count();
    run::tell("Redis is down for long and not told afterwards: control", 1, told, absent, "0");
    assert!(outage.caught_up.is_none() && absent >= 20, "the harness would not notice");
}

//! SIGTERM under load, with one destination that is slow and one that hangs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::ledger::Ledger;
use super::people::People;
use super::process::Gate;
use super::reasons::Repeats;
use super::run;
use super::sink::{Manner, Sink};

const ROUNDS: (u32, u32) = (2, 20);
/// What is under way has 10 s to end; then it is given back.
const DRAIN: Duration = Duration::from_secs(10);
/// How much faster the outbox's clock goes, which counts those 10 s.
const SCALE: u32 = 5;
/// How soon the next process sends what is due.
const SENDS_WITHIN: Duration = Duration::from_secs(2);

struct Found {
    acknowledged: usize,
    lost: usize,
    /// Deliveries that a process that had ended still had under a lease.
    leased: u64,
    repeats: Repeats,
}

/// Has the program told to stop so often, and looks at what it leaves each time.
async fn stop(rounds: u32, points: &str, dice: &mut SmallRng) -> Found {
    let ledger = Arc::new(Ledger::default());
    let slow = Sink::start("slow", &ledger, SmallRng::seed_from_u64(dice.random())).await;
    let hangs = Sink::start("hangs", &ledger, SmallRng::seed_from_u64(dice.random())).await;
    let time = format!("{}:{SCALE}:0", jiff::Timestamp::now().as_millisecond());
    let gate = Gate::new(&ledger, &[&slow, &hangs], &[("FORMGATE_FAULTS__TIME", &time)]);
    let people = People::start(6, &[&gate], &ledger, dice);
    let mut leased = 0;
    for _ in 0..rounds {
        slow.behave(Manner::Slow(Duration::from_millis(300)));
        hangs.behave(Manner::Hang);
        let mut process = gate.spawn_with(&[("FORMGATE_FAULTS__POINTS", points)]);
        gate.ready(&mut process).await;
        people.resume();
        tokio::time::sleep(Duration::from_millis(dice.random_range(300..900))).await;
        let stopping = tokio::task::spawn_blocking(move || process.terminate());
        let (status, took) = stopping.await.expect("no panic");
        people.hold();
        assert!(status.success() || !points.is_empty(), "{status}");
        // Room for the requests in flight and the disk.
        assert!(took <= DRAIN / SCALE + Duration::from_secs(2), "it took {took:?}");
        leased += gate.leased();

        slow.behave(Manner::Well);
        hangs.behave(Manner::Well);
        let mut heard = hangs.listen();
        let mut process = gate.spawn();
        gate.ready(&mut process).await;
        let ready = Instant::now();
        let sent = tokio::time::timeout(SENDS_WITHIN, heard.recv()).await;
        assert!(sent.is_ok(), "nothing was sent within {SENDS_WITHIN:?}");
        println!("stopped after {took:?}, the next one sent {:?} after it was ready", ready.elapsed());
        process.stop();
    }
    let mut process = gate.spawn();
    gate.ready(&mut process).await;
    people.finish().await;
    let told = ledger.acknowledged();
    let give_up = Instant::now() + Duration::from_secs(60);
    let missing = || [&slow, &hangs].map(|sink| ledger.missing(&sink.id, &told).len());
    while missing() != [0, 0] {
        assert!(Instant::now() < give_up, "{:?} are missing: {}", missing(), gate.said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    process.stop();
    assert_eq!(ledger.complaints(), Vec::<String>::new());
    Found { acknowledged: told.len(), lost: missing().iter().sum(), leased, repeats: ledger.repeats() }
}

#[test]
fn a_process_that_is_told_to_stop_ends_in_time_and_the_next_one_goes_on_at_once() {
    let (rounds, mut dice) = (run::numbers(ROUNDS.0, ROUNDS.1), run::dice());
    let found = run::runtime().block_on(stop(rounds, "", &mut dice));
    let repeats = found.repeats;
    assert_eq!((repeats.killed, repeats.unexplained), (0, 0), "what was answered is written down");
    assert_eq!(found.leased, 0, "what was not is given back");
    run::tell("SIGTERM", rounds, found.acknowledged, found.lost, &repeats.to_string());
    assert_eq!(found.lost, 0);
}

/// The control: a program that ends at once.
#[test]
fn a_process_that_does_not_end_what_it_has_begun_is_caught_with_leases_and_repeats() {
    let mut dice = run::dice();
    let found = run::runtime().block_on(stop(1, "app.stopping:kill", &mut dice));
    let caught = usize::try_from(found.leased).expect("a few");
    run::tell("SIGTERM, ended at once: control", 1, found.acknowledged, caught, &found.repeats.to_string());
    assert!(found.leased > 0, "the harness would not notice a lease that was not given back");
    assert!(found.repeats.killed > 0, "the harness would not notice an answer that was not written down");
}

//! SIGTERM under load, with one destination that is slow and one that hangs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::ledger::Ledger;
use super::people::People;
use super::process::Gate;
use super::run;
use super::sink::{Manner, Sink};

const ROUNDS: (u32, u32) = (2, 20);
/// What is under way has 10 s to end; then it is given back.
const DRAIN: Duration = Duration::from_secs(10);
/// How much faster the outbox's clock goes, which counts those 10 s.
const SCALE: u32 = 5;
/// How soon the next process sends what is due.
const SENDS_WITHIN: Duration = Duration::from_secs(2);

#[test]
fn a_process_that_is_told_to_stop_ends_in_time_and_the_next_one_goes_on_at_once() {
    let (rounds, mut dice) = (run::numbers(ROUNDS.0, ROUNDS.1), run::dice());
    run::runtime().block_on(async {
        let ledger = Arc::new(Ledger::default());
        let slow = Sink::start("slow", &ledger, SmallRng::seed_from_u64(dice.random())).await;
        let hangs = Sink::start("hangs", &ledger, SmallRng::seed_from_u64(dice.random())).await;
        let time = format!("{}:{SCALE}:0", jiff::Timestamp::now().as_millisecond());
        let gate = Gate::new(&ledger, &[&slow, &hangs], &[("FORMGATE_FAULTS__TIME", &time)]);
        let people = People::start(6, &[&gate], &ledger, &mut dice);
        for _ in 0..rounds {
            slow.behave(Manner::Slow(Duration::from_millis(300)));
            hangs.behave(Manner::Hang);
            let mut process = gate.spawn();
            gate.ready(&mut process).await;
            people.resume();
            tokio::time::sleep(Duration::from_millis(dice.random_range(300..900))).await;
            let took = tokio::task::spawn_blocking(move || process.stop()).await.expect("no panic");
            people.hold();
            // Room for the requests in flight and the disk.
            assert!(took <= DRAIN / SCALE + Duration::from_secs(2), "it took {took:?}");
            let depths = gate.depths().await;
            assert!(depths.iter().all(|depth| depth.in_flight == 0), "not given back: {depths:?}");

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
        assert_eq!(ledger.repeats().unexplained, 0);
        run::tell("SIGTERM", rounds, told.len(), missing().iter().sum(), &ledger.repeats().to_string());
    });
}

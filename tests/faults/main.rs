//! What Formgate promises while its process is killed: real processes, real sockets, real encryption.
//!
//! The oracle is two ledgers that the process cannot touch. One holds what people were told: the submission id in every
//! closing reply that a phone could open. The other holds what the destination got. The promise is that the first is
//! a part of what is stored and of the second, each submission under one idempotency key for ever; a delivery that arrives
//! twice under its key is allowed, and counted.
//!
//! `FORMGATE_FAULT_ROUNDS` sets how often the process is killed, `FORMGATE_FAULT_SEED` repeats the choices of a run (when
//! to kill, who taps again); how threads and sockets interleave is the machine's affair.

mod ledger;
mod people;
mod process;
mod sink;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use ledger::Ledger;
use people::People;
use process::Gate;
use sink::Sink;

/// Kills without the variable. Each takes a restart and some load: about a third of a second.
const ROUNDS: u32 = 100;
/// Phones at the same time.
const PEOPLE: u64 = 12;
/// A process runs at most so long before it is killed.
const MAX_LIFE_MS: u64 = 500;
/// A process is killed at the latest after so many submissions were acknowledged.
const MAX_ACKNOWLEDGED: u64 = 40;
/// How long deliveries that were cut off may take at the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a run showed.
struct Findings {
    acknowledged: usize,
    /// Acknowledged and not in the store.
    lost: Vec<String>,
    /// Stored and never delivered.
    undelivered: Vec<String>,
    ledger: Arc<Ledger>,
    /// Deliveries that are neither done nor on their way.
    dead: u64,
}

/// Kills the process `rounds` times under load, lets it come to rest, and compares.
fn run(fault: &str, rounds: u32, variables: &[(&str, &str)], patience: Duration) -> Findings {
    let seed = variable("FORMGATE_FAULT_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}: FORMGATE_FAULT_SEED={seed} repeats it");
    let mut rng = SmallRng::seed_from_u64(seed);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let began = Instant::now();
    let findings = runtime.block_on(async {
        let ledger = Arc::new(Ledger::default());
        let sink = Sink::start(Arc::clone(&ledger)).await;
        let gate = Gate::new(&sink, variables);
        let people = People::start(PEOPLE, &gate, &ledger, &mut rng);

        for round in 0..rounds {
            let mut process = gate.spawn();
            if rng.random_ratio(1, 8) {
                // In the middle of its start: recovery has to stand being interrupted, too.
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..60))).await;
            } else {
                gate.ready(&mut process).await;
                people.resume();
                let deadline = Duration::from_millis(rng.random_range(0..MAX_LIFE_MS));
                // Half of them right after a person was told so, which is when the word is freshest.
                let enough = if rng.random() { rng.random_range(1..MAX_ACKNOWLEDGED) } else { u64::MAX };
                let _ = tokio::time::timeout(deadline, ledger.until_acknowledged(enough)).await;
            }
            people.hold();
            process.kill();
            if round % 25 == 24 {
                let seconds = began.elapsed().as_secs();
                println!("{} kills, {} acknowledged, {seconds} s", round + 1, ledger.acknowledged().len());
            }
        }

        // Whoever was cut off taps once more and is answered.
        let mut process = gate.spawn();
        gate.ready(&mut process).await;
        people.finish().await;
        process.kill();

        let stored = gate.stored();
        let mut process = gate.spawn();
        gate.ready(&mut process).await;
        let patience = Instant::now() + patience;
        while Instant::now() < patience && !stored.iter().all(|id| ledger.is_delivered(id)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        process.stop();
        let acknowledged = ledger.acknowledged();
        let missing = |id: &&String| !stored.contains(*id);
        Findings {
            acknowledged: acknowledged.len(),
            lost: acknowledged.iter().filter(missing).cloned().collect(),
            undelivered: stored.iter().filter(|id| !ledger.is_delivered(id)).cloned().collect(),
            dead: gate.not_delivered().await,
            ledger,
        }
    });
    let (broken, resent) = findings.ledger.broken_and_resent();
    println!(
        "{broken} exchanges were cut off, {resent} taps repeated, {:.1} s",
        began.elapsed().as_secs_f64()
    );
    println!("| fault | rounds | acknowledged | lost | repeated deliveries |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    println!(
        "| {fault} | {rounds} | {} | {} | {} |",
        findings.acknowledged,
        findings.lost.len(),
        findings.ledger.repeated(),
    );
    findings
}

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    #[expect(clippy::disallowed_methods, reason = "how a person asks a test for more rounds")]
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn a_process_killed_at_any_moment_loses_nothing_that_it_acknowledged() {
    let rounds = variable("FORMGATE_FAULT_ROUNDS").unwrap_or(ROUNDS);
    let found = run("kill -9", rounds, &[], PATIENCE);
    assert_eq!(found.lost, Vec::<String>::new(), "acknowledged, and not stored");
    assert_eq!(found.undelivered, Vec::<String>::new(), "stored, and not delivered");
    assert_eq!(found.dead, 0, "deliveries that were given up");
    assert_eq!(found.ledger.complaints(), Vec::<String>::new());
    // Otherwise the kills met an idle process and nothing was proved.
    assert!(found.acknowledged >= rounds as usize, "only {} walks were completed", found.acknowledged);
    let (broken, resent) = found.ledger.broken_and_resent();
    assert!(broken > 0 && resent > 0, "no kill met an exchange");
}

/// The positive control: the same harness on a process that answers before it commits.
#[cfg(feature = "faults")]
#[test]
fn a_process_that_acknowledges_before_the_commit_is_caught_losing_submissions() {
    // It also gives up deliveries, whose submission is not there yet when the worker looks: no use in waiting for them.
    let (broken, patience) = ([("FORMGATE_FAULTS__ACK_EARLY", "true")], Duration::from_secs(1));
    let found = run("early acknowledgement, kill -9", 10, &broken, patience);
    assert!(!found.lost.is_empty(), "the harness would not notice a loss");
}

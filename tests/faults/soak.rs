//! `kill -9` at any moment, under load, with three destinations that fail three times in ten.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::ledger::Ledger;
use super::people::People;
use super::process::Gate;
use super::run;
use super::sink::{Manner, Sink};

/// Kills in the test command, and before a release. Each takes a restart and some load: about half a second.
const ROUNDS: (u32, u32) = (40, 200);
/// Submissions by the last kill, at least; a process lives on for them.
const SUBMISSIONS: (u32, u32) = (400, 10_000);
/// How much longer one lives that is behind.
const LONGER: Duration = Duration::from_secs(20);
/// Phones at the same time.
const PEOPLE: u64 = 12;
/// A process runs at most so long before it is killed.
const MAX_LIFE_MS: u64 = 1_500;
/// A process is killed at the latest after so many submissions were acknowledged.
const MAX_ACKNOWLEDGED: u64 = 150;
/// How long after the last fault nothing may be delivered, while something waits.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much faster the outbox's clock goes: a destination that hangs is given up after 1.5 s.
const SCALE: i64 = 20;

/// What a run showed.
struct Findings {
    acknowledged: BTreeSet<String>,
    /// Acknowledged and not in the store.
    lost: Vec<String>,
    /// Stored and never delivered, with the destination.
    undelivered: Vec<(String, String)>,
    ledger: Arc<Ledger>,
    /// Deliveries that are neither done nor on their way.
    dead: u64,
}

/// Kills the process `rounds` times under load, lets it come to rest, and compares.
async fn soak(
    rounds: u32,
    submissions: u32,
    manner: Manner,
    broken: &[(&str, &str)],
    patience: Duration,
) -> Findings {
    let mut dice = run::dice();
    let ledger = Arc::new(Ledger::default());
    let mut sinks = Vec::new();
    for id in ["crm", "sheet", "mail"] {
        let sink = Sink::start(id, &ledger, SmallRng::seed_from_u64(dice.random())).await;
        sink.behave(manner);
        sinks.push(sink);
    }
    let gate = Gate::new(&ledger, &sinks.iter().collect::<Vec<_>>(), broken);
    let people = People::start(PEOPLE, &[&gate], &ledger, &mut dice);
    let base_ms = jiff::Timestamp::now().as_millisecond();
    let spawn = |ahead: Duration| {
        let time = format!("{base_ms}:{SCALE}:{}", ahead.as_millis());
        gate.spawn_with(&[("FORMGATE_FAULTS__TIME", &time)])
    };

    for round in 1..=rounds {
        let mut process = spawn(Duration::ZERO);
        if dice.random_ratio(1, 8) {
            // In the middle of its start: recovery has to stand being interrupted, too.
            tokio::time::sleep(Duration::from_millis(dice.random_range(0..60))).await;
        } else {
            gate.ready(&mut process).await;
            people.resume();
            let deadline = Duration::from_millis(dice.random_range(0..MAX_LIFE_MS));
            // Half of them right after a person was told so, which is when the word is freshest.
            let enough = if dice.random() { dice.random_range(1..MAX_ACKNOWLEDGED) } else { u64::MAX };
            let _ = tokio::time::timeout(deadline, ledger.until_acknowledged(enough)).await;
            // A few rounds ahead, for those that are killed while they start.
            let by_now = u64::from(submissions) * u64::from(rounds.min(round + 8)) / u64::from(rounds);
            let _ = tokio::time::timeout(LONGER, ledger.until_told(by_now)).await;
        }
        people.hold();
        process.kill();
    }

    // Whoever was cut off taps once more and is answered.
    let mut process = spawn(Duration::ZERO);
    gate.ready(&mut process).await;
    people.finish().await;
    process.kill();

    let stored = gate.stored();
    sinks.iter().for_each(|sink| sink.behave(Manner::Well));
    // Half a day later, when whatever waits for its next attempt is due.
    let mut process = spawn(Duration::from_secs(12 * 3_600));
    gate.ready(&mut process).await;
    let undelivered = || {
        let missing = |sink: &Sink| {
            let id = sink.id.clone();
            ledger.missing(&sink.id, &stored).into_iter().map(move |submission| (id.clone(), submission))
        };
        sinks.iter().flat_map(missing).collect::<Vec<_>>()
    };
    let (mut waiting, mut give_up) = (usize::MAX, Instant::now() + patience);
    while waiting > 0 && Instant::now() < give_up {
        let still = undelivered().len();
        if still < waiting {
            (waiting, give_up) = (still, Instant::now() + patience);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    process.stop();
    let acknowledged = ledger.acknowledged();
    Findings {
        lost: acknowledged.difference(&stored).cloned().collect(),
        acknowledged,
        undelivered: undelivered(),
        dead: gate.not_delivered().await,
        ledger,
    }
}

fn run(
    fault: &str,
    rounds: u32,
    submissions: u32,
    manner: Manner,
    broken: &[(&str, &str)],
    patience: Duration,
) -> Findings {
    let began = Instant::now();
    let found = run::runtime().block_on(soak(rounds, submissions, manner, broken, patience));
    let (broken, resent) = found.ledger.broken_and_resent();
    println!("{broken} exchanges were cut off, {resent} taps repeated, {} s", began.elapsed().as_secs());
    let repeats = found.ledger.repeats();
    println!(
        "{repeats} repeats of {} at most, the oldest {:?} after its answer",
        repeats.at_most, repeats.longest_unnoted
    );
    run::tell(fault, rounds, found.acknowledged.len(), found.lost.len(), &repeats.to_string());
    found
}

#[test]
fn a_process_killed_at_any_moment_loses_nothing_that_it_acknowledged() {
    let (rounds, submissions) = (run::numbers(ROUNDS.0, ROUNDS.1), run::target(SUBMISSIONS.0, SUBMISSIONS.1));
    let found = run("`kill -9`", rounds, submissions, Manner::Mixed, &[], PATIENCE);
    assert_eq!(found.lost, Vec::<String>::new(), "acknowledged, and not stored");
    assert_eq!(found.undelivered, vec![], "stored, and not delivered");
    assert_eq!(found.dead, 0, "deliveries that were given up");
    assert_eq!(found.ledger.complaints(), Vec::<String>::new());
    found.ledger.assert_repeats_explained();
    // Otherwise the kills met an idle process and nothing was proved.
    assert!(found.acknowledged.len() >= submissions as usize, "only {} walks", found.acknowledged.len());
    let (broken, resent) = found.ledger.broken_and_resent();
    assert!(broken > 0 && resent > 0, "no kill met an exchange");
}

/// The positive control: the same harness on a process that answers before it commits.
#[test]
fn a_process_that_acknowledges_before_the_commit_is_caught_losing_submissions() {
    // It also gives up deliveries, whose submission is not there yet when the worker looks: no use in waiting for them.
    let (broken, patience) = ([("FORMGATE_FAULTS__ACK_EARLY", "true")], Duration::from_secs(1));
    let found = run("`kill -9`, answered early: control", 10, 0, Manner::Well, &broken, patience);
    assert!(!found.lost.is_empty(), "the harness would not notice a loss");
}

/// The positive control of the repeats: a process whose leases hold nobody off.
#[test]
fn a_process_without_fencing_is_caught_delivering_again_for_no_reason() {
    let broken = [("FORMGATE_FAULTS__POINTS", "worker.no_fencing:on")];
    let found = run::runtime().block_on(soak(3, 0, Manner::Well, &broken, PATIENCE));
    let repeats = found.ledger.repeats();
    let caught = usize::try_from(repeats.unexplained).expect("a few");
    let fault = "`kill -9`, no fencing, sent for no reason: control";
    run::tell(fault, 3, found.acknowledged.len(), caught, &repeats.to_string());
    assert!(caught > 0, "the harness would not notice");
}

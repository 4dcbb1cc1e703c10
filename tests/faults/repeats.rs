//! A line that sends every request up to five times at once, and phones with a key that the endpoint no longer has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::ledger::Ledger;
use super::people::People;
use super::process::Gate;
use super::run;
use super::sink::Sink;

const WALKS: (u32, u32) = (200, 2_000);
const PEOPLE: u64 = 10;
const COPIES: usize = 5;

async fn walk(walks: u32, points: &str, dice: &mut SmallRng) -> Arc<Ledger> {
    let ledger = Arc::new(Ledger::default());
    let sink = Sink::start("crm", &ledger, SmallRng::seed_from_u64(dice.random())).await;
    let gate = Gate::new(&ledger, &[&sink], &[("FORMGATE_FAULTS__POINTS", points)]);
    let people = People::with_copies(PEOPLE, &[&gate], &ledger, dice, COPIES);
    let mut process = gate.spawn();
    gate.ready(&mut process).await;
    people.walk_until(u64::from(walks) / PEOPLE);
    // A walk that ends with a complaint is told nothing.
    let all = ledger.until_told(walks.into());
    let _ended_or_complained = tokio::time::timeout(Duration::from_millis(100) * walks, all).await;
    people.finish().await;
    let give_up = Instant::now() + Duration::from_secs(20);
    while Instant::now() < give_up && ledger.count("crm") < ledger.acknowledged().len() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stored = gate.stored();
    process.stop();
    assert_eq!(stored, ledger.acknowledged(), "what is stored is what people were told");
    ledger
}

#[test]
fn the_same_envelope_many_times_at_once_is_one_submission_and_one_reply() {
    let (walks, mut dice) = (run::numbers(WALKS.0, WALKS.1), run::dice());
    let ledger = run::runtime().block_on(walk(walks, "", &mut dice));
    let told = ledger.acknowledged();
    let lost = ledger.missing("crm", &told).len();
    run::tell("every request up to five times", walks, told.len(), lost, &ledger.repeats().to_string());
    assert_eq!(ledger.complaints(), Vec::<String>::new());
    assert_eq!((told.len(), ledger.count("crm")), (walks as usize, walks as usize));
    assert_eq!(ledger.repeats().unexplained, 0);
}

/// The control: a program that does not recognise an envelope.
#[test]
fn a_program_that_forgets_envelopes_is_caught_with_two_replies_to_one() {
    let mut dice = run::dice();
    let ledger = run::runtime().block_on(walk(20, "endpoint.forgets_envelopes:on", &mut dice));
    let different = ledger.complaints().iter().filter(|what| what.contains("different replies")).count();
    run::tell("envelopes forgotten: control", 20, ledger.acknowledged().len(), different, "0");
    assert!(different > 0, "the harness would not notice two replies");
}

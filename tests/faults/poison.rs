//! One submission in a hundred cannot be read any more: the others go home as if nothing were.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use rusqlite::{Connection, params};

use super::ledger::Ledger;
use super::people::People;
use super::process::Gate;
use super::run;
use super::sink::Sink;

const SUBMISSIONS: (u32, u32) = (300, 1_000);

/// How soon everything that can be read has to be there.
const PATIENCE: Duration = Duration::from_secs(60);
/// What becomes of what cannot be read is known by then.
const SET_ASIDE: Duration = Duration::from_secs(1);

struct Found {
    took: Duration,
    /// Deliveries that were set aside,
    dead: u64,
    /// and those that are neither delivered nor set aside.
    open: u64,
    /// How many that could be read did not come.
    lost: usize,
}

/// Has them accepted while their destination is paused, spoils some, and times the rest.
async fn deliver(count: u32, poisoned: u32, points: &str, dice: &mut SmallRng) -> Found {
    let ledger = Arc::new(Ledger::default());
    let sink = Sink::start("crm", &ledger, SmallRng::seed_from_u64(dice.random())).await;
    let gate = Gate::new(&ledger, &[&sink], &[]);
    let people = People::start(10, &[&gate], &ledger, dice);
    let mut process = gate.spawn();
    gate.ready(&mut process).await;
    gate.run(&["destinations", "pause", "crm"]);
    people.walk_until(u64::from(count) / 10);
    ledger.until_told(count.into()).await;
    people.finish().await;
    process.stop();
    assert_eq!((ledger.acknowledged().len(), ledger.count("crm")), (count as usize, 0));

    let file = Connection::open(gate.kept().join("data/store.sqlite3")).expect("the file");
    // Table 1 is that of sealed submissions.
    let spoiled = file.execute(
        "UPDATE record SET value = randomblob(64) WHERE version IN
         (SELECT version FROM record WHERE tbl = 1 ORDER BY random() LIMIT ?1)",
        params![poisoned],
    );
    assert_eq!(spoiled.expect("the file is written") as u32, poisoned);
    drop(file);

    let mut process = gate.spawn_with(&[("FORMGATE_FAULTS__POINTS", points)]);
    gate.ready(&mut process).await;
    let began = Instant::now();
    gate.run(&["destinations", "resume", "crm"]);
    let readable = (count - poisoned) as usize;
    while ledger.count("crm") < readable && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed();
    tokio::time::sleep(SET_ASIDE).await;
    process.stop();
    assert_eq!(ledger.complaints(), Vec::<String>::new());
    ledger.assert_repeats_explained();
    let depths = gate.depths().await;
    let [crm] = depths.as_slice() else { panic!("{depths:?}") };
    let lost = readable - ledger.count("crm");
    Found { took, dead: crm.dead, open: crm.due + crm.in_flight, lost }
}

#[test]
fn one_submission_in_a_hundred_that_cannot_be_read_is_set_aside_and_holds_up_nobody() {
    let (count, mut dice) = (run::numbers(SUBMISSIONS.0, SUBMISSIONS.1), run::dice());
    run::runtime().block_on(async {
        let usual = deliver(count, 0, "", &mut dice).await;
        let found = deliver(count, count / 100, "", &mut dice).await;
        println!("{count} took {:?}, with {} spoiled {:?}", usual.took, count / 100, found.took);
        assert_eq!((usual.dead, usual.open, usual.lost), (0, 0, 0));
        run::tell("one in a hundred is unreadable", 1, count as usize, found.lost, "0");
        assert_eq!((found.dead, found.open, found.lost), (u64::from(count / 100), 0, 0));
        let most = usual.took * 6 / 5 + Duration::from_secs(1);
        assert!(found.took <= most, "{:?} became {:?}", usual.took, found.took);
    });
}

/// The control: a program that gives what it cannot read back, as it would a delivery whose turn has not come.
#[test]
fn a_program_that_sets_nothing_aside_is_caught_with_deliveries_that_never_end() {
    let mut dice = run::dice();
    run::runtime().block_on(async {
        let found = deliver(100, 5, "worker.keeps_poison:on", &mut dice).await;
        let caught = usize::try_from(found.open).expect("a few");
        run::tell("one in twenty is unreadable, not set aside: control", 1, 100, caught + found.lost, "0");
        assert_eq!((found.dead, found.open), (0, 5), "the harness would not notice");
    });
}

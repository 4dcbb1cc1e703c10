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

/// Has them accepted while their destination is paused, spoils some, and times the rest. Says how many were quarantined.
async fn deliver(count: u32, poisoned: u32, dice: &mut SmallRng) -> (Duration, u64, usize) {
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

    let mut process = gate.spawn();
    gate.ready(&mut process).await;
    let began = Instant::now();
    gate.run(&["destinations", "resume", "crm"]);
    while ledger.count("crm") < (count - poisoned) as usize {
        assert!(began.elapsed() < Duration::from_secs(60), "{} came: {}", ledger.count("crm"), gate.said());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed();
    tokio::time::sleep(Duration::from_millis(300)).await;
    process.stop();
    assert_eq!(ledger.complaints(), Vec::<String>::new());
    assert_eq!(ledger.repeats().unexplained, 0);
    let depths = gate.depths().await;
    let [crm] = depths.as_slice() else { panic!("{depths:?}") };
    assert_eq!((crm.due, crm.in_flight, crm.delivered), (0, 0, u64::from(count - poisoned)));
    let lost = ledger.missing("crm", &ledger.acknowledged()).len() - poisoned as usize;
    (took, crm.dead, lost)
}

#[test]
fn one_submission_in_a_hundred_that_cannot_be_read_is_set_aside_and_holds_up_nobody() {
    let (count, mut dice) = (run::numbers(SUBMISSIONS.0, SUBMISSIONS.1), run::dice());
    run::runtime().block_on(async {
        let (usual, none, _) = deliver(count, 0, &mut dice).await;
        let (with_poison, quarantined, lost) = deliver(count, count / 100, &mut dice).await;
        println!("{count} took {usual:?}, with {} spoiled {with_poison:?}", count / 100);
        assert_eq!((none, quarantined), (0, u64::from(count / 100)));
        assert!(with_poison <= usual * 6 / 5 + Duration::from_secs(1), "{usual:?} became {with_poison:?}");
        run::tell("one in a hundred is unreadable", 1, count as usize, lost, "0");
    });
}

//! The power fails, the disk fills up, a sync fails: what was acknowledged is there afterwards.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::disk::{Disk, Left};
use super::ledger::Ledger;
use super::people::People;
use super::process::Gate;
use super::run;
use super::sink::Sink;

const POWER_LOSSES: (u32, u32) = (10, 100);
const CHECKPOINTS: (u32, u32) = (3, 25);
const FAILURES: (u32, u32) = (12, 200);
const PEOPLE: u64 = 8;
const SIGABRT: i32 = 6;
const MAX_LIFE_MS: u64 = 600;
/// How long a process may go on whose disk has failed: requests in flight are answered, deliveries given back.
const ENDS_WITHIN: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(30);
/// How soon a person is told that nothing came of it: the promise, and what a busy machine adds.
const ANSWERS_WITHIN: Duration = Duration::from_millis(3_500);

struct Scene {
    ledger: Arc<Ledger>,
    sink: Sink,
    gate: Gate,
    disk: Disk,
    people: People,
    dice: SmallRng,
}

/// What was found at the end.
struct Found {
    acknowledged: usize,
    lost: Vec<String>,
    repeats: String,
    unexplained: u64,
    /// What `formgate store check` says.
    sound: bool,
}

impl Scene {
    async fn new() -> Scene {
        let mut dice = run::dice();
        let ledger = Arc::new(Ledger::default());
        let sink = Sink::start("crm", &ledger, SmallRng::seed_from_u64(dice.random())).await;
        let gate = Gate::new(&ledger, &[&sink], &[]);
        let people = People::start(PEOPLE, &[&gate], &ledger, &mut dice);
        let disk = Disk::of(&gate);
        Scene { ledger, sink, gate, disk, people, dice }
    }

    /// A process under load until the power fails.
    async fn power_loss(&mut self, left: Left, points: &str) {
        let mut process = self.disk.spawn(&self.gate, &[("FORMGATE_FAULTS__POINTS", points)]);
        if self.dice.random_ratio(1, 8) {
            tokio::time::sleep(Duration::from_millis(self.dice.random_range(0..80))).await;
        } else {
            self.gate.ready(&mut process).await;
            self.people.resume();
            let life = Duration::from_millis(self.dice.random_range(0..MAX_LIFE_MS));
            let enough = if self.dice.random() { self.dice.random_range(1..40) } else { u64::MAX };
            let _ = tokio::time::timeout(life, self.ledger.until_acknowledged(enough)).await;
        }
        self.people.hold();
        process.kill();
        self.disk.lose(left, &mut self.dice);
    }

    /// A process under load whose disk fails as ordered. Says whether it came to that within the time.
    async fn failure(&mut self, fail: &str, only: &str, points: &str) -> bool {
        let variables =
            [("POWERLOSS_FAIL", fail), ("POWERLOSS_ONLY", only), ("FORMGATE_FAULTS__POINTS", points)];
        let mut process = self.disk.spawn(&self.gate, &variables);
        process.fails();
        let began = Instant::now();
        let mut ended = self.gate.ready_or_ended(&mut process).await;
        if ended.is_none() {
            self.people.resume();
            ended = process.until_ended(ENDS_WITHIN).await;
        }
        self.people.hold();
        if let Some(status) = ended {
            assert!(!status.success(), "{fail}: it ended as if all were well");
            assert_ne!(status.signal(), Some(SIGABRT), "{fail}: it aborted: {}", self.gate.said());
            println!("{fail}: ended after {:?} with {status}", began.elapsed());
        }
        process.kill();
        self.disk.lose(Left::Nothing, &mut self.dice);
        ended.is_some()
    }

    /// The disk is sound again: whoever was cut off taps once more, and everything goes home.
    async fn recover(self) -> Found {
        let Scene { ledger, sink, gate, people, .. } = self;
        let mut process = gate.spawn();
        gate.ready(&mut process).await;
        people.finish().await;
        let (stored, told) = (gate.stored(), ledger.acknowledged());
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up && !ledger.missing("crm", &stored).is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let undelivered = ledger.missing(&sink.id, &stored);
        process.stop();
        let check = gate.command("store").arg("check").output().expect("it runs");
        assert_eq!(undelivered, Vec::<String>::new(), "stored, and not delivered");
        Found {
            unexplained: ledger.repeats().unexplained,
            acknowledged: told.len(),
            lost: told.difference(&stored).cloned().collect(),
            repeats: ledger.repeats().to_string(),
            sound: check.status.success(),
        }
    }
}

async fn lose_power(fault: &str, rounds: u32, left: Left, points: &str) -> (Found, Vec<String>) {
    let mut scene = Scene::new().await;
    for _ in 0..rounds {
        scene.power_loss(left, points).await;
    }
    let ledger = Arc::clone(&scene.ledger);
    let found = scene.recover().await;
    run::tell(fault, rounds, found.acknowledged, found.lost.len(), &found.repeats);
    (found, ledger.complaints())
}

#[test]
fn a_power_loss_takes_nothing_that_was_acknowledged_and_the_store_opens_always() {
    let rounds = run::numbers(POWER_LOSSES.0, POWER_LOSSES.1);
    run::runtime().block_on(async {
        for (fault, left) in [
            ("power loss, nothing unsynced is left", Left::Nothing),
            ("power loss, half of it is left", Left::Half),
        ] {
            let (found, complaints) = lose_power(fault, rounds, left, "").await;
            assert_eq!(
                (found.lost, found.unexplained, complaints, found.sound),
                (vec![], 0, vec![], true),
                "{fault}"
            );
            assert!(found.acknowledged >= rounds as usize, "only {} walks", found.acknowledged);
        }
    });
}

/// The control: SQLite as it is set up most often.
#[test]
fn a_store_that_does_not_sync_every_commit_is_caught_losing_submissions() {
    run::runtime().block_on(async {
        let fault = "power loss, `synchronous=NORMAL`: control";
        let (found, _) = lose_power(fault, 5, Left::Nothing, "store.sync_normal:on").await;
        assert!(!found.lost.is_empty(), "the harness would not notice a loss");
    });
}

#[test]
fn a_process_that_is_killed_while_the_log_is_folded_in_has_lost_nothing() {
    let rounds = run::numbers(CHECKPOINTS.0, CHECKPOINTS.1);
    run::runtime().block_on(async {
        let mut scene = Scene::new().await;
        let mut killed = 0;
        for _ in 0..rounds {
            let nth = scene.dice.random_range(1..60);
            let fail = format!("write:KILL:{nth}");
            killed += u32::from(scene.failure(&fail, "store.sqlite3", "").await);
        }
        let ledger = Arc::clone(&scene.ledger);
        let found = scene.recover().await;
        run::tell(
            "killed at C10, in a checkpoint",
            killed,
            found.acknowledged,
            found.lost.len(),
            &found.repeats,
        );
        assert_eq!(
            (found.lost, found.unexplained, ledger.complaints(), found.sound),
            (vec![], 0, vec![], true)
        );
        assert!(killed > 0, "no checkpoint was met");
    });
}

#[test]
fn a_disk_that_fails_or_is_full_ends_the_process_and_nothing_acknowledged_is_missing() {
    let rounds = run::numbers(FAILURES.0, FAILURES.1);
    run::runtime().block_on(async {
        let fewer = rounds.div_ceil(4);
        for (fault, fail, only, last, rounds) in [
            ("a sync fails", "fsync:EIO", "", 200, rounds),
            // Of the file: the log is being folded in.
            ("a sync in a checkpoint fails", "fsync:EIO", "store.sqlite3", 5, fewer),
            ("the disk is full", "write:ENOSPC", "", 1_500, fewer),
            ("the disk is read-only", "write:EROFS", "", 1_500, fewer),
        ] {
            let mut scene = Scene::new().await;
            let mut met = 0;
            for round in 0..rounds {
                // Spread evenly, so that the first ones of a start are among them; each of them before a release.
                let nth = 1 + round * last / rounds;
                let for_good = if fail.starts_with("write") { "+" } else { "" };
                met += u32::from(scene.failure(&format!("{fail}:{nth}{for_good}"), only, "").await);
            }
            let ledger = Arc::clone(&scene.ledger);
            let found = scene.recover().await;
            run::tell(fault, met, found.acknowledged, found.lost.len(), &found.repeats);
            assert_eq!(
                (found.lost, found.unexplained, ledger.complaints(), found.sound),
                (vec![], 0, vec![], true),
                "{fault}"
            );
            assert!(
                ledger.longest_wait() <= ANSWERS_WITHIN,
                "{fault}: somebody waited {:?}",
                ledger.longest_wait()
            );
            // One that is not met says nothing; one in a checkpoint always is.
            let most = if only.is_empty() { rounds / 2 + 1 } else { rounds };
            assert!(met >= most, "{fault}: only {met} of {rounds} processes met it and ended");
        }
    });
}

/// A disk that takes ten seconds to fail: what people see meanwhile.
async fn stall(points: &str) -> (Found, Duration, Arc<Ledger>) {
    let mut scene = Scene::new().await;
    assert!(scene.failure("fsync:STALL:60+", "", points).await, "it did not end");
    let ledger = Arc::clone(&scene.ledger);
    let found = scene.recover().await;
    (found, ledger.longest_wait(), ledger)
}

#[test]
fn a_disk_that_does_not_answer_keeps_no_person_waiting_and_ends_the_process() {
    run::runtime().block_on(async {
        let (found, waited, ledger) = stall("").await;
        println!("the longest that somebody waited was {waited:?}");
        run::tell(
            "a sync takes ten seconds and fails",
            1,
            found.acknowledged,
            found.lost.len(),
            &found.repeats,
        );
        assert_eq!(
            (found.lost, found.unexplained, ledger.complaints(), found.sound),
            (vec![], 0, vec![], true)
        );
        assert!(waited > Duration::from_secs(1), "nobody met it");
        assert!(waited <= ANSWERS_WITHIN, "somebody waited {waited:?}");
    });
}

/// The control: a program that waits for its disk for as long as it takes.
#[test]
fn a_program_that_waits_for_its_disk_is_caught_keeping_people_waiting() {
    run::runtime().block_on(async {
        let (found, waited, _) = stall("outbox.no_deadline:on").await;
        println!("the longest that somebody waited was {waited:?}");
        let fault = "a sync takes ten seconds, waited for: control";
        run::tell(fault, 1, found.acknowledged, usize::from(waited > ANSWERS_WITHIN), &found.repeats);
        assert!(waited > ANSWERS_WITHIN, "the harness would not notice");
    });
}

/// The controls: a program that takes a failed commit for a good one.
#[test]
fn a_program_that_swallows_what_its_disk_says_is_caught_losing_submissions() {
    run::runtime().block_on(async {
        for (fault, fail, nths) in [
            // After what a start does, which is not swallowed.
            ("a sync fails, swallowed: control", "fsync:EIO", [60, 80, 100]),
            ("the disk is full, swallowed: control", "write:ENOSPC", [600, 700, 800]),
            ("the disk is read-only, swallowed: control", "write:EROFS", [600, 700, 800]),
        ] {
            let mut scene = Scene::new().await;
            for nth in nths {
                // From then on every call fails, so that it does not matter whose commit the first one is.
                let fail = format!("{fail}:{nth}+");
                let mut process = scene.disk.spawn(
                    &scene.gate,
                    &[("POWERLOSS_FAIL", &fail), ("FORMGATE_FAULTS__POINTS", "store.swallow_errors:on")],
                );
                scene.gate.ready(&mut process).await;
                scene.people.resume();
                let told = scene.ledger.until_acknowledged(100);
                let _enough = tokio::time::timeout(PATIENCE, told).await;
                scene.people.hold();
                process.kill();
                scene.disk.lose(Left::Nothing, &mut scene.dice);
            }
            let found = scene.recover().await;
            run::tell(fault, 3, found.acknowledged, found.lost.len(), &found.repeats);
            assert!(!found.lost.is_empty(), "{fault}: the harness would not notice a loss");
        }
    });
}

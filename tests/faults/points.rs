//! The program dies at named points, one for each line of the failure matrix (reliability notes, 2.8), and each line has to
//! hold: what the person saw, what is stored before anybody repeats anything, and how often the destination got it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use super::ledger::Ledger;
use super::people::People;
use super::process::{Gate, Process};
use super::riddle::Riddle;
use super::run;
use super::sink::{Manner, Sink};

/// Kills at each point.
const ROUNDS: (u32, u32) = (3, 25);
const PATIENCE: Duration = Duration::from_secs(20);
/// How soon a process goes on with what another one had begun.
const GOES_ON_WITHIN: Duration = Duration::from_secs(2);
/// How long a destination is watched that must not get any more.
const SILENCE: Duration = Duration::from_millis(300);

/// One person, one destination, and the program between them.
struct Scene {
    ledger: Arc<Ledger>,
    sink: Sink,
    gate: Gate,
    people: People,
    dice: SmallRng,
}

impl Scene {
    async fn new(dice: &mut SmallRng, lines: &str) -> Scene {
        let mut dice = SmallRng::seed_from_u64(dice.random());
        let ledger = Arc::new(Ledger::default());
        let mut sink = Sink::start("crm", &ledger, SmallRng::seed_from_u64(dice.random())).await;
        sink.lines = lines.to_owned();
        let gate = Gate::new(&ledger, &[&sink], &[]);
        let people = People::start(1, &[&gate], &ledger, &mut dice);
        Scene { ledger, sink, gate, people, dice }
    }

    async fn start(&self, points: &str) -> Process {
        let mut process = self.gate.spawn_with(&[("FORMGATE_FAULTS__POINTS", points)]);
        self.gate.ready(&mut process).await;
        process
    }

    /// Walks one after the other, each until its submission has gone home.
    async fn walk(&self, from: u64, to: u64) {
        for walks in from..to {
            self.people.walk_until(walks + 1);
            self.until_delivered(usize::try_from(walks + 1).expect("a few")).await;
        }
    }

    async fn until_delivered(&self, count: usize) {
        let give_up = Instant::now() + PATIENCE;
        while self.ledger.count(&self.sink.id) < count {
            assert!(Instant::now() < give_up, "{count} were not delivered: {}", self.gate.said());
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        // Its outcome is written down, too.
        tokio::time::sleep(Duration::from_millis(40)).await;
    }

    /// Waits until no erasure is begun that has not come to its end; whether that was in time.
    async fn until_erased(&self, patience: Duration) -> bool {
        let give_up = Instant::now() + patience;
        while self.gate.erasures() > 0 {
            if Instant::now() > give_up {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// The next process serves, whoever was cut off repeats, and the line of the table is checked as a whole.
    async fn recover(self, walks: u64) -> Recovered {
        let Scene { ledger, sink, gate, people, .. } = self;
        let mut process = gate.spawn();
        gate.ready(&mut process).await;
        people.walk_until(walks);
        people.finish().await;
        let give_up = Instant::now() + PATIENCE;
        let mut all = gate.stored();
        while Instant::now() < give_up && !ledger.missing(&sink.id, &all).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            all = gate.stored();
        }
        tokio::time::sleep(SILENCE).await;
        process.stop();
        let acknowledged = ledger.acknowledged();
        assert_eq!(ledger.complaints(), Vec::<String>::new());
        Recovered {
            acknowledged: acknowledged.len(),
            stored: all.len(),
            lost: acknowledged.difference(&all).count(),
            undelivered: ledger.missing(&sink.id, &all).len(),
            repeated: ledger.repeats().killed,
            unexplained: ledger.riddles(),
            not_done: gate.not_delivered().await,
        }
    }
}

#[derive(Debug)]
struct Recovered {
    acknowledged: usize,
    stored: usize,
    lost: usize,
    undelivered: usize,
    repeated: u64,
    unexplained: Vec<Riddle>,
    not_done: u64,
}

/// Where it dies, and what the line of the matrix says.
struct Line {
    name: &'static str,
    point: &'static str,
    /// How often a walk comes by there.
    passages: u64,
    /// Whether the submission is stored before it is repeated.
    stored: bool,
    /// How often the destination gets it again.
    repeated: u64,
}

/// The lines of the person's side: died while she waited, so she saw an error and taps again.
const ACCEPTING: [Line; 4] = [
    Line { name: "C0, read", point: "endpoint.opened", passages: 3, stored: false, repeated: 0 },
    Line { name: "C1, checked", point: "outbox.accepting", passages: 1, stored: false, repeated: 0 },
    Line {
        name: "C2, in the commit",
        point: "store.in_transaction",
        passages: 1,
        stored: false,
        repeated: 0,
    },
    Line { name: "C3, stored", point: "outbox.stored", passages: 1, stored: true, repeated: 0 },
];

/// The lines of the destination's side.
const DELIVERING: [Line; 3] = [
    Line { name: "C6, claimed", point: "worker.claimed", passages: 1, stored: true, repeated: 0 },
    Line { name: "C8, answered", point: "worker.answered", passages: 1, stored: true, repeated: 1 },
    Line { name: "C9, settled", point: "worker.settled", passages: 1, stored: true, repeated: 0 },
];

fn tell(name: &str, rounds: u32, found: &[Recovered]) {
    let sum = |of: fn(&Recovered) -> usize| found.iter().map(of).sum();
    let repeated: u64 = found.iter().map(|found| found.repeated).sum();
    run::tell(
        &format!("killed at {name}"),
        rounds,
        sum(|f| f.acknowledged),
        sum(|f| f.lost),
        &repeated.to_string(),
    );
}

fn judge(name: &str, walks: u64, found: &Recovered) {
    let all = usize::try_from(walks).expect("a few");
    assert_eq!(
        (found.acknowledged, found.stored),
        (all, all),
        "{name}: one submission of each walk: {found:?}"
    );
    assert_eq!((found.lost, found.undelivered, found.not_done), (0, 0, 0), "{name}");
    assert!(found.unexplained.is_empty(), "{name}: {:#?}", found.unexplained);
}

#[test]
fn a_process_that_dies_while_a_person_waits_has_stored_all_or_nothing_and_a_repeat_adds_nothing() {
    let (rounds, mut dice) = (run::numbers(ROUNDS.0, ROUNDS.1), run::dice());
    run::runtime().block_on(async {
        for Line { name, point, passages, stored, .. } in ACCEPTING {
            let mut all = Vec::new();
            for _ in 0..rounds {
                let mut scene = Scene::new(&mut dice, "").await;
                let before = scene.dice.random_range(0..4);
                let nth = before * passages + scene.dice.random_range(1..=passages);
                let mut process = scene.start(&format!("{point}:kill:{nth}")).await;
                scene.walk(0, before).await;
                scene.people.walk_until(before + 1);
                let ended = process.until_ended(PATIENCE).await;
                assert!(ended.is_some(), "{name}: it did not die");
                scene.people.hold();
                let (told, kept) = (scene.ledger.acknowledged().len(), scene.gate.stored().len());
                assert_eq!(told as u64, before, "{name}: the person saw an error");
                assert_eq!(kept as u64, before + u64::from(stored), "{name}: stored before the repeat");
                let found = scene.recover(before + 1).await;
                judge(name, before + 1, &found);
                assert_eq!(found.repeated, 0, "{name}");
                all.push(found);
            }
            tell(name, rounds, &all);
        }
    });
}

#[test]
fn a_process_that_dies_around_an_attempt_delivers_again_under_the_same_key_only_what_it_had_not_noted() {
    let (rounds, mut dice) = (run::numbers(ROUNDS.0, ROUNDS.1), run::dice());
    run::runtime().block_on(async {
        for Line { name, point, repeated, .. } in DELIVERING {
            let mut all = Vec::new();
            for _ in 0..rounds {
                let mut scene = Scene::new(&mut dice, "").await;
                let before = scene.dice.random_range(0..4);
                let mut process = scene.start(&format!("{point}:kill:{}", before + 1)).await;
                scene.walk(0, before).await;
                scene.people.walk_until(before + 1);
                assert!(process.until_ended(PATIENCE).await.is_some(), "{name}: it did not die");
                scene.people.hold();
                assert_eq!(scene.gate.stored().len() as u64, before + 1, "{name}");
                let found = scene.recover(before + 1).await;
                judge(name, before + 1, &found);
                assert_eq!(found.repeated, repeated, "{name}");
                all.push(found);
            }
            tell(name, rounds, &all);
        }
        // C4 and C7: the person has her reply, the destination has the bytes, and nothing else has happened yet.
        for (name, taken) in [("C4, told", false), ("C7, sent", true)] {
            let mut all = Vec::new();
            for _ in 0..rounds {
                let scene = Scene::new(&mut dice, "").await;
                let process = scene.start("").await;
                scene.sink.behave(Manner::Slow(Duration::from_millis(500)));
                let mut heard = scene.sink.listen();
                scene.people.walk_until(1);
                if taken {
                    heard.recv().await.expect("a delivery");
                }
                scene.ledger.until_told(1).await;
                process.kill();
                scene.people.hold();
                scene.sink.behave(Manner::Well);
                let found = scene.recover(1).await;
                judge(name, 1, &found);
                assert!(found.repeated == 1 || !taken, "{name}: {found:?}");
                all.push(found);
            }
            tell(name, rounds, &all);
        }
    });
}

#[test]
fn a_process_that_dies_in_a_replay_moves_every_delivery_once() {
    let (rounds, mut dice) = (run::numbers(ROUNDS.0, ROUNDS.1), run::dice());
    run::runtime().block_on(async {
        for (name, point) in [
            ("C11, in a step of a replay", "replay.stepping"),
            ("C11, after a step of a replay", "replay.stepped"),
        ] {
            let mut all = Vec::new();
            for _ in 0..rounds {
                // One attempt each, at a destination that refuses: all of them are given up.
                let scene = Scene::new(&mut dice, "max_attempts = 1").await;
                scene.sink.behave(Manner::Broken);
                let mut process = scene.start(&format!("{point}:kill:1")).await;
                scene.people.walk_until(3);
                scene.ledger.until_told(3).await;
                tokio::time::sleep(SILENCE).await;
                scene.sink.behave(Manner::Well);
                let replay = ["--all-dead"];
                let asked =
                    scene.gate.command("submissions").arg("replay").args(replay).output().expect("it runs");
                assert!(process.until_ended(PATIENCE).await.is_some(), "{name}: it did not die: {asked:?}");
                scene.people.hold();
                let found = scene.recover(3).await;
                judge(name, 3, &found);
                assert!(found.repeated <= 3, "{name}: {found:?}");
                all.push(found);
            }
            tell(name, rounds, &all);
        }
    });
}

#[test]
fn a_replay_that_was_cut_off_and_is_cancelled_is_not_gone_on_with() {
    let mut dice = run::dice();
    run::runtime().block_on(async {
        let scene = Scene::new(&mut dice, "max_attempts = 1").await;
        scene.sink.behave(Manner::Broken);
        let mut process = scene.start("replay.stepping:kill:1").await;
        scene.people.walk_until(3);
        scene.ledger.until_told(3).await;
        tokio::time::sleep(SILENCE).await;
        scene.sink.behave(Manner::Well);
        let asked =
            scene.gate.command("submissions").args(["replay", "--all-dead"]).output().expect("it runs");
        assert!(process.until_ended(PATIENCE).await.is_some(), "it did not die: {asked:?}");
        let cancelled = scene.gate.run(&["submissions", "replay", "--cancel"]);
        assert_eq!(cancelled.trim(), "cancelled after 0 of 3: 0 of 0 dead deliveries are due now");
        let process = scene.start("").await;
        tokio::time::sleep(SILENCE).await;
        process.stop();
        assert_eq!((scene.ledger.count("crm"), scene.gate.not_delivered().await), (0, 3));
    });
}

/// How many backups have the name of a whole one.
fn whole_backups(folder: &Path) -> usize {
    let entries =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    entries.filter(|name| name.to_string_lossy().ends_with(".formgate-backup")).count()
}

#[test]
fn a_process_that_dies_in_an_erasure_or_a_backup_ends_the_one_and_leaves_nothing_of_the_other() {
    let (rounds, mut dice) = (run::numbers(ROUNDS.0, ROUNDS.1), run::dice());
    run::runtime().block_on(async {
        for (name, point) in [
            ("C12, in an erasure", "erasure.stepped"),
            ("C10, while pages are given back", "store.vacuumed"),
            ("C12, at the end of an erasure", "erasure.scrubbed"),
            ("C10, in a backup", "backup.sealed"),
        ] {
            let (mut acknowledged, mut lost) = (0, 0);
            for _ in 0..rounds {
                let scene = Scene::new(&mut dice, "").await;
                let mut process = scene.start(&format!("{point}:kill:1")).await;
                scene.walk(0, 3).await;
                let backups = scene.gate.kept().join("backups");
                let erases = point != "backup.sealed";
                let mut asked = if erases {
                    let mut asked = scene.gate.command("submissions");
                    asked.args(["erase", "--token", "walk-0-1"]);
                    asked
                } else {
                    let mut asked = scene.gate.command("store");
                    asked.arg("backup").arg(&backups);
                    asked
                };
                let asked = asked.output().expect("it runs");
                assert!(!asked.status.success(), "{name}: {asked:?}");
                assert!(process.until_ended(PATIENCE).await.is_some(), "{name}: it did not die");
                if !erases {
                    let named = whole_backups(&backups);
                    assert_eq!(named, 0, "{name}: a backup has its name before it counts");
                }
                let mut process = scene.start("").await;
                let give_up = Instant::now() + PATIENCE;
                let left = if erases { 2 } else { 3 };
                while scene.gate.stored().len() > left {
                    assert!(Instant::now() < give_up, "{name}: the erasure was not ended");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                if erases {
                    // What is left of it may be in the file and in the log, where nobody sees it.
                    assert!(scene.until_erased(PATIENCE).await, "{name}: the erasure was not ended");
                    let theirs = scene.gate.run(&["submissions", "export", "--token", "walk-0-1"]);
                    assert_eq!(theirs, "", "{name}");
                } else {
                    scene.gate.run(&["store", "backup", &backups.display().to_string()]);
                }
                assert!(process.ended().is_none(), "{name}: {}", scene.gate.said());
                process.stop();
                acknowledged += scene.ledger.acknowledged().len();
                lost += left - scene.gate.stored().len();
                scene.gate.run(&["store", "check"]);
                assert_eq!(scene.ledger.repeats().killed + scene.ledger.repeats().unexplained, 0, "{name}");
            }
            run::tell(&format!("killed at {name}"), rounds, acknowledged, lost, "0");
            assert_eq!(lost, 0, "{name}");
        }
    });
}

/// The controls: programs that leave undone what another process had begun, or name a backup before it counts.
#[test]
fn a_program_that_ends_nothing_that_was_begun_is_caught_with_halves_of_it() {
    let mut dice = run::dice();
    run::runtime().block_on(async {
        let scene = Scene::new(&mut dice, "").await;
        let mut process = scene.start("erasure.stepped:kill:1").await;
        scene.walk(0, 3).await;
        let mut asked = scene.gate.command("submissions");
        asked.args(["erase", "--token", "walk-0-1"]).output().expect("it runs");
        assert!(process.until_ended(PATIENCE).await.is_some(), "it did not die");
        let process = scene.start("erasure.left_undone:on").await;
        let left = usize::from(!scene.until_erased(GOES_ON_WITHIN).await);
        process.stop();
        run::tell("killed at C12, and not gone on with: control", 1, 3, left, "0");
        assert_eq!(left, 1, "the harness would not notice");

        let scene = Scene::new(&mut dice, "max_attempts = 1").await;
        scene.sink.behave(Manner::Broken);
        let mut process = scene.start("replay.stepping:kill:1").await;
        scene.people.walk_until(3);
        scene.ledger.until_told(3).await;
        tokio::time::sleep(SILENCE).await;
        scene.sink.behave(Manner::Well);
        scene.gate.command("submissions").args(["replay", "--all-dead"]).output().expect("it runs");
        assert!(process.until_ended(PATIENCE).await.is_some(), "it did not die");
        let process = scene.start("replay.left_undone:on").await;
        tokio::time::sleep(GOES_ON_WITHIN).await;
        process.stop();
        let missing = scene.ledger.missing(&scene.sink.id, &scene.gate.stored()).len();
        run::tell("killed at C11, and not gone on with: control", 1, 3, missing, "0");
        assert_eq!(missing, 3, "the harness would not notice");

        let scene = Scene::new(&mut dice, "").await;
        let mut process = scene.start("backup.named_early:on,backup.sealed:kill:1").await;
        scene.walk(0, 1).await;
        let backups = scene.gate.kept().join("backups");
        scene.gate.command("store").arg("backup").arg(&backups).output().expect("it runs");
        assert!(process.until_ended(PATIENCE).await.is_some(), "it did not die");
        let named = whole_backups(&backups);
        run::tell("killed at C10, named before it counts: control", 1, 1, named, "0");
        assert_eq!(named, 1, "the harness would not notice");
    });
}

/// The control: a program whose accepting is two commits, and that dies between them.
#[test]
fn a_program_that_commits_in_two_steps_is_caught_with_a_submission_that_goes_nowhere() {
    let mut dice = run::dice();
    run::runtime().block_on(async {
        let scene = Scene::new(&mut dice, "").await;
        let mut process = scene.start("outbox.split:on,outbox.half_stored:kill:3").await;
        scene.walk(0, 2).await;
        scene.people.walk_until(3);
        assert!(process.until_ended(PATIENCE).await.is_some(), "it did not die");
        scene.people.hold();
        let Scene { ledger, sink, gate, people, .. } = scene;
        let mut process = gate.spawn();
        gate.ready(&mut process).await;
        people.walk_until(3);
        people.finish().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let told = ledger.acknowledged();
        let missing = ledger.missing(&sink.id, &told);
        process.stop();
        let repeats = ledger.repeats().to_string();
        run::tell("killed between two commits: control", 1, told.len(), missing.len(), &repeats);
        assert_eq!(missing.len(), 1, "the harness would not notice a loss");
    });
}

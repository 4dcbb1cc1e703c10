//! The wall clock jumps, by an hour and by a day, to and fro, while deliveries wait for their second attempt.

use std::fs::{File, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;

use super::disk::library;
use super::ledger::Ledger;
use super::people::People;
use super::process::{Gate, Process};
use super::run;
use super::sink::{Heard, Manner, Sink};

/// How much faster the outbox's clock goes.
const SCALE: i64 = 10;
/// Five seconds, a fifth less and a fifth more, by that clock.
const SECOND_ATTEMPT_MS: (i64, i64) = (400, 600);
/// A second earlier is too early, by that clock.
const TOO_EARLY_MS: i64 = 100;
/// What a busy machine may add.
const SLACK_MS: i64 = 900;
const ROUNDS: (u32, u32) = (1, 10);
/// How soon an outcome is written down.
const NOTED: Duration = Duration::from_millis(150);
const HOUR_MS: i64 = 3_600_000;

/// Milliseconds that the program's wall clock is ahead of ours.
pub struct Wall {
    file: File,
    folder: TempDir,
}

impl Wall {
    pub fn new() -> Wall {
        let folder = tempfile::tempdir().expect("a folder");
        let file = File::create_new(folder.path().join("ahead")).expect("a file");
        let wall = Wall { file, folder };
        wall.set(0);
        wall
    }

    pub fn set(&self, ahead_ms: i64) {
        self.file.write_all_at(&ahead_ms.to_ne_bytes(), 0).expect("the clock");
    }

    /// A program that tells the time by this clock.
    pub fn program(&self, program: &Path) -> PathBuf {
        let path = self.folder.path().join("program");
        let (library, program) = (library().display(), program.display());
        let script = format!(
            "#!/bin/sh\nLD_PRELOAD='{library}' POWERLOSS_CLOCK='{}' exec '{program}' \"$@\"\n",
            self.path()
        );
        std::fs::write(&path, script).expect("a file");
        std::fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("a program");
        path
    }

    fn path(&self) -> String {
        self.folder.path().join("ahead").display().to_string()
    }
}

/// When the clock jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The destination has not answered yet.
    Leased,
    /// The outcome is written down, with the time of the next attempt.
    Waiting,
}

struct Scene {
    ledger: Arc<Ledger>,
    sink: Sink,
    heard: UnboundedReceiver<Heard>,
    gate: Gate,
    people: People,
    walks: u64,
    wall: Wall,
    base_ms: i64,
}

impl Scene {
    async fn new(dice: &mut SmallRng) -> Scene {
        let ledger = Arc::new(Ledger::default());
        let sink = Sink::start("crm", &ledger, SmallRng::seed_from_u64(dice.random())).await;
        sink.behave(Manner::Once);
        let heard = sink.listen();
        let gate = Gate::new(&ledger, &[&sink], &[]);
        let people = People::start(1, &[&gate], &ledger, dice);
        let base_ms = jiff::Timestamp::now().as_millisecond();
        Scene { ledger, sink, heard, gate, people, walks: 0, wall: Wall::new(), base_ms }
    }

    async fn start(&self, points: &str, ahead_ms: i64) -> Process {
        let (clock, library) = (self.wall.path(), library().to_str().expect("a path"));
        let time = format!("{}:{SCALE}:{ahead_ms}", self.base_ms);
        let mut process = self.gate.spawn_with(&[
            ("LD_PRELOAD", library),
            ("POWERLOSS_CLOCK", &clock),
            ("FORMGATE_FAULTS__POINTS", points),
            ("FORMGATE_FAULTS__TIME", &time),
        ]);
        self.gate.ready(&mut process).await;
        process
    }

    /// One walk whose delivery is refused; `None` if that does not come in time.
    async fn until_refused(&mut self) -> Heard {
        self.walks += 1;
        self.people.walk_until(self.walks);
        let heard = tokio::time::timeout(Duration::from_secs(10), self.heard.recv()).await;
        let heard = heard.expect("an attempt in time").expect("a sink");
        assert!(!heard.taken);
        heard
    }

    /// The clock jumps at this moment, and another walk wakes the lane. How long after the first attempt the second one
    /// comes; `None` if it does not come in time.
    async fn jump_ms(&mut self, ahead_ms: i64, moment: Moment) -> Option<i64> {
        let first = self.until_refused().await;
        if moment == Moment::Waiting {
            tokio::time::sleep(NOTED).await;
        }
        self.wall.set(ahead_ms);
        self.walks += 1;
        self.people.walk_until(self.walks);
        self.until_taken_ms(&first).await
    }

    async fn until_taken_ms(&mut self, first: &Heard) -> Option<i64> {
        let patience = Duration::from_millis((SECOND_ATTEMPT_MS.1 + SLACK_MS).unsigned_abs());
        let taken = async {
            loop {
                match self.heard.recv().await {
                    Some(heard) if !heard.taken || heard.key != first.key => {}
                    heard => return heard,
                }
            }
        };
        Some(tokio::time::timeout(patience, taken).await.ok()??.at_ms - first.at_ms)
    }

    /// Waits until everything that people were told has come.
    async fn until_all_came(&mut self) {
        let give_up = Instant::now() + Duration::from_secs(20);
        while self.ledger.count(&self.sink.id) < usize::try_from(self.walks).expect("a few") {
            assert!(Instant::now() < give_up, "not everything came: {}", self.gate.said());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Its outcome is written down, too.
        tokio::time::sleep(Duration::from_millis(100)).await;
        while self.heard.try_recv().is_ok() {}
    }
}

fn is_in_time(after_ms: Option<i64>) -> bool {
    let (earliest_ms, latest_ms) = SECOND_ATTEMPT_MS;
    after_ms.is_some_and(|ms| (earliest_ms - TOO_EARLY_MS..=latest_ms + SLACK_MS).contains(&ms))
}

#[test]
fn a_wall_clock_that_jumps_or_runs_makes_no_attempt_early_late_or_double() {
    let (rounds, mut dice) = (run::numbers(ROUNDS.0, ROUNDS.1), run::dice());
    run::runtime().block_on(async {
        let mut scene = Scene::new(&mut dice).await;
        let day_ms = 24 * HOUR_MS;
        let moments = [Moment::Leased, Moment::Waiting];
        let jumps = [HOUR_MS, -HOUR_MS, day_ms, -day_ms].map(|ms| moments.map(|moment| (ms, moment)));
        for (ahead_ms, moment) in jumps.concat().repeat(rounds as usize) {
            // A process for each: as many refusals as these in one would open its breaker.
            scene.wall.set(0);
            let process = scene.start("", 0).await;
            let after_ms = scene.jump_ms(ahead_ms, moment).await;
            assert!(
                is_in_time(after_ms),
                "{ahead_ms} ms, {moment:?}: the second attempt came after {after_ms:?} ms"
            );
            scene.until_all_came().await;
            scene.wall.set(0);
            process.stop();
        }
        // A clock that is brought back slowly.
        let process = scene.start("", 0).await;
        let first = scene.until_refused().await;
        let (after_ms, ()) = {
            let path = scene.wall.path();
            let slew = async {
                let file = File::options().write(true).open(path).expect("the clock");
                for behind_ms in 0..100_i64 {
                    file.write_all_at(&(-behind_ms * 2).to_ne_bytes(), 0).expect("the clock");
                    tokio::time::sleep(Duration::from_millis(4)).await;
                }
            };
            tokio::join!(scene.until_taken_ms(&first), slew)
        };
        assert!(is_in_time(after_ms), "the second attempt came after {after_ms:?} ms");
        scene.until_all_came().await;
        process.stop();
        assert_eq!(scene.ledger.complaints(), Vec::<String>::new());
        scene.ledger.assert_repeats_explained();
        let told = scene.ledger.acknowledged().len();
        assert_eq!(scene.ledger.count(&scene.sink.id), told);
        run::tell(
            "the wall clock jumps by an hour and a day",
            8 * rounds + 1,
            told,
            told - scene.ledger.count(&scene.sink.id),
            "0",
        );
    });
}

/// Starts a process while the clock is ahead, and the ones after it when it is right; whether its delivery comes within the
/// longest wait.
async fn start_ahead(scene: &mut Scene, ahead_ms: i64, points: &str) -> bool {
    // Refused while the clock was ahead; the next process has the right time.
    scene.wall.set(ahead_ms);
    let process = scene.start(points, 0).await;
    scene.until_refused().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    process.kill();
    scene.wall.set(0);
    let process = scene.start(points, 0).await;
    let depths = tokio::time::timeout(Duration::from_millis(300), scene.heard.recv()).await;
    assert!(depths.is_err(), "{ahead_ms}: it was not due yet");
    process.stop();
    // The longest wait of any schedule, by the outbox's clock.
    let process = scene.start(points, 12 * HOUR_MS * 12 / 10 + 60_000).await;
    let taken = tokio::time::timeout(Duration::from_secs(5), scene.heard.recv()).await;
    process.stop();
    taken.is_ok_and(|heard| heard.is_some_and(|heard| heard.taken))
}

#[test]
fn a_process_that_starts_with_a_wrong_clock_delivers_all_the_same_within_the_longest_wait() {
    let mut dice = run::dice();
    run::runtime().block_on(async {
        let mut scene = Scene::new(&mut dice).await;
        for ahead_ms in [HOUR_MS, 24 * HOUR_MS] {
            assert!(start_ahead(&mut scene, ahead_ms, "").await, "{ahead_ms}: not delivered");
        }
        let told = scene.ledger.acknowledged().len();
        assert_eq!(scene.ledger.complaints(), Vec::<String>::new());
        run::tell("a start with the clock ahead", 2, told, told - scene.ledger.count(&scene.sink.id), "0");
    });
}

/// The control: a program that believes any time that it finds.
#[test]
fn a_program_that_believes_due_times_far_ahead_is_caught_delivering_late() {
    let mut dice = run::dice();
    run::runtime().block_on(async {
        let mut scene = Scene::new(&mut dice).await;
        let in_time = start_ahead(&mut scene, 24 * HOUR_MS, "worker.believes_due_times:on").await;
        let told = scene.ledger.acknowledged().len();
        run::tell(
            "a start with the clock ahead, believed, late: control",
            1,
            told,
            usize::from(!in_time),
            "0",
        );
        assert!(!in_time, "the harness would not notice");
    });
}

/// The control: a scheduler that asks the wall clock.
#[test]
fn a_scheduler_on_the_wall_clock_is_caught_with_an_attempt_that_is_late() {
    let mut dice = run::dice();
    run::runtime().block_on(async {
        let mut scene = Scene::new(&mut dice).await;
        let process = scene.start("clock.wall:on", 0).await;
        let after_ms = scene.jump_ms(-HOUR_MS, Moment::Waiting).await;
        println!("the second attempt came after {after_ms:?} ms");
        let wrong = usize::from(!is_in_time(after_ms));
        process.kill();
        let told = scene.ledger.acknowledged().len();
        run::tell("the clock jumps under a wall-clock scheduler, late: control", 1, told, wrong, "0");
        assert!(wrong > 0, "the harness would not notice");
    });
}

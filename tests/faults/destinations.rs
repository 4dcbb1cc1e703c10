//! One destination of five goes wrong, in every way that there is: the other four must not notice.
//!
//! A twin, on the same machine at the same time with as many people and five sound destinations, says what is usual: other
//! work on the machine slows both down.
//!
//! Each way has a control: the same on a program without the promise that stands against it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc::UnboundedReceiver;

use super::ledger::Ledger;
use super::people::People;
use super::process::{Gate, Process, free_address, metrics_of};
use super::run;
use super::sink::{Heard, Manner, Sink};

/// How much faster the outbox's clock goes: an attempt is given up after 3 s, a breaker opens for 3 s.
const SCALE: u32 = 10;
const PEOPLE: u64 = 2;
/// Seconds for which both are warmed up, and delays are measured. By the outbox's clock the longer ones are the ten
/// minutes of a release.
const MEASURED: (u32, u32) = (2, 60);
/// How much longer than the twin's half of the delays may be, and all but a hundredth: of a few hundred deliveries, and of
/// the many of a release, where 1.2 times is promised.
const LONGER: [Longer; 2] = [Longer { half: 1.5, most: 2.0 }, Longer { half: 1.2, most: 1.2 }];
/// One step of the clock by which delays are measured, and a turn of the scheduler.
const STEP: Duration = Duration::from_millis(5);
/// A delay alone is measured again: what the machine does to one of the two comes and goes, a queue that is shared does not.
const TRIES: u32 = 3;
const DELAYED: &str = "the others were delayed";
/// How long an attempt may take, and what notices its end.
const SLOT_FREED: Duration = Duration::from_millis(30_000 / SCALE as u64 + 500);
/// How soon a breaker opens after the first failures are known, and what the metrics and a busy machine take.
const OPENS: Duration = Duration::from_millis(10_000 / SCALE as u64 + 500);
/// How much more memory than the twin it may take.
const MAX_GROWTH: u64 = 8 << 20;
/// A control is stopped when it has taken so much.
const ENOUGH_GROWTH: u64 = 64 << 20;
/// How long anything is waited for that does not come.
const PATIENCE: Duration = Duration::from_secs(12);

/// How a destination goes wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Behaves(Manner),
    /// Its address leads to no server,
    Nobody,
    /// to one that speaks no TLS,
    NoTls,
    /// or has a name that does not exist.
    NoName,
}

/// A way to go wrong, and programs that do not stand it.
struct Fault {
    name: &'static str,
    wrong: Wrong,
    controls: &'static [Control],
}

/// A program without a promise.
struct Control {
    without: &'static str,
    points: &'static str,
    /// What it is caught with.
    caught: &'static str,
}

const NO_BREAKER: &[Control] =
    &[Control { without: "no breaker", points: "worker.no_breaker:on", caught: "the breaker did not open" }];

const FAULTS: [Fault; 7] = [
    Fault {
        name: "a destination hangs",
        wrong: Wrong::Behaves(Manner::Hang),
        controls: &[
            Control { without: "one pool of slots", points: "worker.one_pool:on", caught: DELAYED },
            Control {
                without: "no deadline",
                points: "worker.no_deadline:on",
                caught: "a slot was not freed",
            },
        ],
    },
    Fault {
        name: "a destination answers a byte a second",
        wrong: Wrong::Behaves(Manner::Drip),
        controls: &[Control {
            without: "no deadline to the last byte",
            points: "worker.no_deadline:on",
            caught: "a slot was not freed",
        }],
    },
    Fault {
        name: "a destination answers with a gibibyte",
        wrong: Wrong::Behaves(Manner::Endless),
        controls: &[Control { without: "no cap", points: "client.no_cap:on", caught: "memory grew" }],
    },
    Fault { name: "a destination resets", wrong: Wrong::Behaves(Manner::Reset), controls: NO_BREAKER },
    Fault { name: "a destination is not there", wrong: Wrong::Nobody, controls: NO_BREAKER },
    Fault { name: "a destination speaks no TLS", wrong: Wrong::NoTls, controls: NO_BREAKER },
    Fault { name: "a destination's name is gone", wrong: Wrong::NoName, controls: NO_BREAKER },
];

impl Fault {
    /// 200 is 200, whatever follows it.
    fn opens_breaker(&self) -> bool {
        self.wrong != Wrong::Behaves(Manner::Endless)
    }

    /// Whether nothing is known of it before an attempt is given up.
    fn keeps_waiting(&self) -> bool {
        // A server that waits for the end of a head in what is none says nothing, either.
        matches!(self.wrong, Wrong::Behaves(Manner::Hang | Manner::Drip) | Wrong::NoTls)
    }

    /// How soon after its beginning the breaker has to be open.
    fn opens_within(&self) -> Duration {
        if self.keeps_waiting() { SLOT_FREED + OPENS } else { OPENS }
    }
}

#[derive(Debug, Clone, Copy)]
struct Longer {
    half: f64,
    most: f64,
}

/// Between acceptance and arrival at the sound destinations.
#[derive(Debug, Clone, Copy)]
struct Delays {
    /// Half are shorter.
    half: Duration,
    /// Ninety-nine of a hundred are shorter.
    most: Duration,
}

impl Delays {
    fn of(mut all_ms: Vec<u64>) -> Delays {
        all_ms.sort_unstable();
        let at = |part: usize| Duration::from_millis(all_ms[all_ms.len() * part / 100]);
        Delays { half: at(50), most: at(99) }
    }

    fn are_longer(&self, usual: Delays, longer: Longer) -> bool {
        self.half > usual.half.mul_f64(longer.half) + STEP
            || self.most > usual.most.mul_f64(longer.most) + STEP * 2
    }
}

/// What was measured.
#[derive(Debug)]
struct Found {
    /// The twin's.
    calm: Delays,
    disturbed: Delays,
    /// How long the program waited at the longest.
    held: Duration,
    grown: u64,
    opened: Option<Duration>,
    closed: Option<Duration>,
    /// How long the breaker was to stay open when the destination was well again.
    step: Duration,
}

impl Found {
    /// The promises that were not kept.
    fn broken(&self, fault: &Fault, longer: Longer) -> Vec<&'static str> {
        let mut broken = Vec::new();
        if self.disturbed.are_longer(self.calm, longer) {
            broken.push(DELAYED);
        }
        if self.held > SLOT_FREED {
            broken.push("a slot was not freed");
        }
        if self.grown > MAX_GROWTH {
            broken.push("memory grew");
        }
        if !fault.opens_breaker() {
            return broken;
        }
        if self.opened.is_none_or(|opened| opened > fault.opens_within()) {
            broken.push("the breaker did not open");
        } else if self.closed.is_none_or(|closed| closed > self.step + OPENS) {
            broken.push("the breaker did not close");
        }
        broken
    }
}

struct Scene {
    ledger: Arc<Ledger>,
    bad: Sink,
    others: Vec<(Sink, UnboundedReceiver<Heard>)>,
    gate: Gate,
    base_ms: i64,
    people: People,
    points: &'static str,
    process: Option<Process>,
}

impl Scene {
    async fn new(dice: &mut SmallRng, points: &'static str) -> Scene {
        let mut dice = SmallRng::seed_from_u64(dice.random());
        let ledger = Arc::new(Ledger::default());
        let bad = Sink::start("bad", &ledger, SmallRng::seed_from_u64(dice.random())).await;
        let mut others = Vec::new();
        for id in ["crm", "sheet", "mail", "chat"] {
            let sink = Sink::start(id, &ledger, SmallRng::seed_from_u64(dice.random())).await;
            let heard = sink.listen();
            others.push((sink, heard));
        }
        let sinks: Vec<&Sink> = others.iter().map(|(sink, _)| sink).chain([&bad]).collect();
        let base_ms = jiff::Timestamp::now().as_millisecond();
        let time = format!("{base_ms}:{SCALE}:0");
        let gate = Gate::new(&ledger, &sinks, &[("FORMGATE_FAULTS__TIME", &time)]);
        let people = People::start(PEOPLE, &[&gate], &ledger, &mut dice);
        let mut scene = Scene { ledger, bad, others, gate, base_ms, people, points, process: None };
        scene.start().await;
        scene
    }

    async fn start(&mut self) {
        let mut process = self.gate.spawn_with(&[("FORMGATE_FAULTS__POINTS", self.points)]);
        self.gate.ready(&mut process).await;
        self.process = Some(process);
    }

    /// Starts the program anew, with another address of the bad destination if there is one.
    async fn start_anew(&mut self, lead: Option<(&str, &str)>) {
        if let Some(process) = self.process.take() {
            process.stop();
        }
        if let Some((old, new)) = lead {
            self.gate.reconfigure(&format!("url = \"{old}\""), &format!("url = \"{new}\""));
        }
        self.start().await;
    }

    fn resident(&self) -> u64 {
        self.process.as_ref().map_or(0, Process::resident_bytes)
    }

    /// Delays between acceptance and arrival at the other destinations while people walk. What does not arrive in time
    /// counts with all the time that it was waited for.
    async fn delays(&mut self, seconds: u32) -> Delays {
        self.others.iter_mut().for_each(|(_, heard)| while heard.try_recv().is_ok() {});
        let before = self.ledger.acknowledged();
        self.people.resume();
        tokio::time::sleep(Duration::from_secs(seconds.into())).await;
        self.people.hold();
        // Whoever walks still comes to the end.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let told: BTreeSet<String> = self.ledger.acknowledged().difference(&before).cloned().collect();
        let give_up = Instant::now() + SLOT_FREED * 2;
        while self.missing(&told, false) > 0 && Instant::now() < give_up {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (base_ms, mut delays) = (self.base_ms, Vec::new());
        for (_, heard) in &mut self.others {
            while let Ok(heard) = heard.try_recv() {
                let accepted_ms = base_ms + (heard.completed_at_ms - base_ms) / i64::from(SCALE);
                delays.push(u64::try_from(heard.at_ms - accepted_ms).unwrap_or(0));
            }
        }
        let never = u64::try_from((SLOT_FREED * 2).as_millis()).unwrap_or(u64::MAX);
        delays.extend(std::iter::repeat_n(never, self.missing(&told, false)));
        assert!(delays.len() > 50, "only {} deliveries were measured", delays.len());
        Delays::of(delays)
    }

    async fn until_open(&self, open: bool, patience: Duration) -> Option<Duration> {
        until_open(self.gate.admin, open, patience).await
    }

    /// How much the program takes at most more than before, until a time has passed or it is too much to go on.
    async fn grows(&mut self, before: u64, time: Duration) -> u64 {
        let (began, mut most) = (Instant::now(), 0);
        while began.elapsed() < time {
            most = self.resident().saturating_sub(before).max(most);
            if most > ENOUGH_GROWTH {
                self.people.hold();
                self.process = None;
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        most
    }

    /// A calm time, the fault, and the time after it.
    async fn endure(&mut self, twin: &mut Scene, fault: &Fault, seconds: u32) -> Found {
        // What a program takes once, whatever comes.
        tokio::join!(self.delays(seconds), twin.delays(seconds));
        let before = self.resident();
        let well = self.bad.url.clone();
        let ill = match fault.wrong {
            Wrong::Behaves(manner) => {
                self.bad.behave(manner);
                None
            }
            Wrong::Nobody => Some(format!("http://{}/hook", free_address())),
            Wrong::NoTls => Some(well.replace("http:", "https:")),
            Wrong::NoName => Some("http://gone.invalid/hook".to_owned()),
        };
        if let Some(ill) = &ill {
            tokio::join!(self.start_anew(Some((&well, ill))), twin.start_anew(None));
        }
        let nothing = Delays::of(vec![0]);
        let mut found = Found {
            calm: nothing,
            disturbed: nothing,
            held: Duration::ZERO,
            grown: 0,
            opened: None,
            closed: None,
            step: Duration::ZERO,
        };
        if !self.points.is_empty() && !fault.opens_breaker() {
            // A program that takes all memory is not to have it.
            self.people.resume();
            found.grown = self.grows(before, PATIENCE).await;
            return found;
        }
        let patience = fault.opens_within() + Duration::from_secs(u64::from(seconds));
        let watching = tokio::spawn(until_open(self.gate.admin, true, patience));
        let began = Instant::now();
        (found.disturbed, found.calm) = tokio::join!(self.delays(seconds), twin.delays(seconds));
        // Both are of the same age and have had the same to do.
        found.grown = self.resident().saturating_sub(twin.resident());
        if fault.opens_breaker() {
            found.opened = watching.await.expect("no panic");
        } else {
            watching.abort();
        }
        // What began before the breaker opened is given up by now.
        tokio::time::sleep(Duration::from_millis(200)).await;
        found.held = if found.opened.is_some() || !fault.keeps_waiting() {
            self.bad.longest_held()
        } else {
            // It waits still.
            began.elapsed()
        };
        if found.opened.is_none() {
            return found;
        }
        let began = Instant::now();
        self.bad.behave(Manner::Well);
        if let Some(ill) = &ill {
            self.start_anew(Some((ill, &well))).await;
        }
        found.step = self.until_probe().await;
        found.closed = self.until_open(false, found.step + PATIENCE).await.map(|_| began.elapsed());
        found
    }

    /// How long it is until the destination is tried again; after a probe that is under way, if there is one.
    async fn until_probe(&self) -> Duration {
        let began = Instant::now();
        loop {
            let line = self.gate.run(&["destinations", "list"]);
            let line = line.lines().find(|line| line.starts_with("bad ")).unwrap_or_default().to_owned();
            let Some((_, rest)) = line.split_once("next probe ") else { return began.elapsed() };
            let at: jiff::Timestamp = rest.split("  ").next().unwrap_or_default().parse().expect("a time");
            let now_ms = jiff::Timestamp::now().as_millisecond();
            let outbox_ms = self.base_ms + (now_ms - self.base_ms) * i64::from(SCALE);
            if let Ok(left_ms @ 1..) = u64::try_from(at.as_millisecond() - outbox_ms) {
                return began.elapsed() + Duration::from_millis(left_ms / u64::from(SCALE));
            }
            assert!(began.elapsed() < PATIENCE, "no probe: {line}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many deliveries of these submissions have not come to the other destinations, and to the bad one if it counts.
    fn missing(&self, told: &BTreeSet<String>, with_bad: bool) -> usize {
        let others = self.others.iter().map(|(sink, _)| sink);
        let sinks = others.chain(Some(&self.bad).filter(|_| with_bad));
        sinks.map(|sink| self.ledger.missing(&sink.id, told).len()).sum()
    }

    async fn until_all_have_all(&self) {
        let give_up = Instant::now() + Duration::from_secs(60);
        let told = self.ledger.acknowledged();
        while self.missing(&told, true) > 0 {
            assert!(Instant::now() < give_up, "not everything was delivered: {}", self.gate.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A program with these orders, and its twin without, through a fault.
async fn endured(fault: &Fault, points: &'static str, seconds: u32, dice: &mut SmallRng) -> (Scene, Found) {
    let (mut scene, mut twin) = (Scene::new(dice, points).await, Scene::new(dice, "").await);
    let found = scene.endure(&mut twin, fault, seconds).await;
    assert_eq!(twin.ledger.complaints(), Vec::<String>::new());
    (scene, found)
}

async fn until_open(admin: SocketAddr, open: bool, patience: Duration) -> Option<Duration> {
    let began = Instant::now();
    while began.elapsed() < patience {
        let metrics = metrics_of(admin).await.unwrap_or_default();
        let mut lines = metrics.lines().filter(|line| line.contains("destination=\"bad\""));
        let is_open = lines.any(|line| line.contains("reason=\"open\"") && line.ends_with(" 1"));
        if !metrics.is_empty() && is_open == open {
            return Some(began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

#[test]
fn a_destination_that_goes_wrong_delays_no_other_costs_no_memory_and_is_taken_back_when_it_works_again() {
    let (seconds, mut dice) = (run::numbers(MEASURED.0, MEASURED.1), run::dice());
    let longer = LONGER[usize::from(seconds >= MEASURED.1)];
    run::runtime().block_on(async {
        for fault in &FAULTS {
            let name = fault.name;
            let (mut scene, mut found) = endured(fault, "", seconds, &mut dice).await;
            for _ in 1..TRIES {
                println!("{name}: {found:?}");
                if found.broken(fault, longer) != [DELAYED] {
                    break;
                }
                (scene, found) = endured(fault, "", seconds, &mut dice).await;
            }
            let broken = found.broken(fault, longer);
            assert_eq!(broken, Vec::<&str>::new(), "{name}: {found:?}: {}", scene.gate.said());
            scene.bad.behave(Manner::Well);
            scene.people.walk_until(0);
            scene.until_all_have_all().await;
            let told = scene.ledger.acknowledged();
            let lost = scene.missing(&told, true);
            let Scene { ledger, people, process, .. } = scene;
            people.finish().await;
            process.expect("it runs").stop();
            assert_eq!(ledger.complaints(), Vec::<String>::new());
            ledger.assert_repeats_explained();
            run::tell(name, 1, told.len(), lost, &ledger.repeats().to_string());
            assert_eq!(lost, 0, "{name}");
        }
    });
}

/// A delay of five times is seen, however short the usual one is; one that a busy machine makes is not taken for it.
#[test]
fn delays_that_are_several_times_as_long_as_the_usual_ones_are_noticed() {
    let delays = |half, most| Delays { half: Duration::from_millis(half), most: Duration::from_millis(most) };
    let usual = delays(4, 10);
    for longer in LONGER {
        assert!(delays(20, 50).are_longer(usual, longer));
        assert!(delays(4, 50).are_longer(usual, longer), "a hundredth of them is enough");
        assert!(delays(20, 20).are_longer(usual, longer), "so is half of them");
        assert!(!delays(5, 14).are_longer(usual, longer));
    }
}

/// The controls.
#[test]
fn a_program_without_slots_deadlines_a_cap_or_a_breaker_is_caught_by_what_its_destinations_do() {
    let mut dice = run::dice();
    run::runtime().block_on(async {
        for fault in &FAULTS {
            for Control { without, points, caught } in fault.controls {
                let (scene, found) = endured(fault, points, 1, &mut dice).await;
                let broken = found.broken(fault, LONGER[0]);
                println!("{}, {without}: {found:?}: {broken:?}", fault.name);
                let told = scene.ledger.acknowledged().len();
                let name = format!("{}, {without}, {caught}: control", fault.name);
                run::tell(&name, 1, told, broken.len(), "0");
                assert!(broken.contains(caught), "{}: the harness would not notice {without}", fault.name);
            }
        }
    });
}

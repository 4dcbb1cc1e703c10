//! One destination of five goes wrong, in every way that there is: the other four must not notice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc::UnboundedReceiver;

use super::ledger::Ledger;
use super::people::People;
use super::process::{Gate, Process, free_address};
use super::run;
use super::sink::{Heard, Manner, Sink};

/// How much faster the outbox's clock goes: an attempt is given up after 3 s, a breaker opens for 3 s.
const SCALE: i64 = 10;
const PEOPLE: u64 = 4;
/// How long delays are measured, before the fault and during it.
const MEASURED: (u32, u32) = (2, 20);
/// An attempt's deadline and what an answer may take after it, in real time.
const OPENS_WITHIN: Duration = Duration::from_secs(6);
/// The first wait of a breaker, its jitter, and the probe.
const CLOSES_WITHIN: Duration = Duration::from_secs(6);
/// What the load itself and the allocator may add to the 8 MiB that a fault may.
const MAX_GROWTH: u64 = 24 << 20;

struct Scene {
    ledger: Arc<Ledger>,
    bad: Sink,
    others: Vec<(Sink, UnboundedReceiver<Heard>)>,
    gate: Gate,
    base_ms: i64,
    people: People,
}

impl Scene {
    async fn new(dice: &mut SmallRng, url: Option<&str>) -> Scene {
        let mut dice = SmallRng::seed_from_u64(dice.random());
        let ledger = Arc::new(Ledger::default());
        let mut bad = Sink::start("bad", &ledger, SmallRng::seed_from_u64(dice.random())).await;
        if let Some(url) = url {
            url.clone_into(&mut bad.url);
        }
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
        Scene { ledger, bad, others, gate, base_ms, people }
    }

    /// Delays between acceptance and arrival at the other destinations while people walk, the longest of a hundred left out.
    async fn delay(&mut self, seconds: u32) -> Duration {
        self.others.iter_mut().for_each(|(_, heard)| while heard.try_recv().is_ok() {});
        self.people.resume();
        tokio::time::sleep(Duration::from_secs(seconds.into())).await;
        self.people.hold();
        tokio::time::sleep(Duration::from_millis(200)).await;
        let base_ms = self.base_ms;
        let mut delays = Vec::new();
        for (_, heard) in &mut self.others {
            while let Ok(heard) = heard.try_recv() {
                let accepted_ms = base_ms + (heard.completed_at_ms - base_ms) / SCALE;
                delays.push(u64::try_from(heard.at_ms - accepted_ms).unwrap_or(0));
            }
        }
        delays.sort_unstable();
        assert!(delays.len() > 100, "only {} deliveries were measured", delays.len());
        Duration::from_millis(delays[delays.len() * 99 / 100])
    }

    async fn is_open(&self) -> bool {
        let metrics = self.gate.metrics().await;
        let mut lines = metrics.lines().filter(|line| line.contains("destination=\"bad\""));
        lines.any(|line| line.contains("reason=\"open\"") && line.ends_with(" 1"))
    }

    async fn until_open(&self, open: bool, patience: Duration) -> Duration {
        let began = Instant::now();
        while self.is_open().await != open {
            let said = self.gate.said();
            assert!(began.elapsed() < patience, "after {patience:?} it is not open={open}: {said}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        began.elapsed()
    }

    /// A calm time, the fault, and what the two differ in.
    async fn endure(&mut self, name: &str, seconds: u32, process: &Process, fault: impl FnOnce(&Sink)) {
        let calm = self.delay(seconds).await;
        let before = process.resident_bytes();
        fault(&self.bad);
        let disturbed = self.delay(seconds).await;
        let opened = self.until_open(true, OPENS_WITHIN).await;
        let grown = process.resident_bytes().saturating_sub(before);
        println!(
            "{name}: p99 of the others {calm:?}, then {disturbed:?}; open after {opened:?}; {grown} bytes more"
        );
        // A fifth, and what a busy machine does to any measurement.
        assert!(
            disturbed <= calm * 6 / 5 + Duration::from_millis(150),
            "{name}: {calm:?} became {disturbed:?}"
        );
        assert!(grown <= MAX_GROWTH, "{name}: {grown} bytes more");
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

#[test]
fn a_destination_that_hangs_drips_floods_or_resets_delays_no_other_and_is_taken_back_when_it_works_again() {
    let (seconds, mut dice) = (run::numbers(MEASURED.0, MEASURED.1), run::dice());
    run::runtime().block_on(async {
        for (name, manner) in [
            ("a destination hangs", Manner::Hang),
            ("a destination answers a byte a second", Manner::Drip),
            ("a destination answers with a gibibyte", Manner::Endless),
            ("a destination resets", Manner::Reset),
        ] {
            let mut scene = Scene::new(&mut dice, None).await;
            let mut process = scene.gate.spawn();
            scene.gate.ready(&mut process).await;
            if manner == Manner::Endless {
                // 200 is 200, whatever follows: it counts as delivered, and costs no memory.
                let calm = scene.delay(seconds).await;
                let before = process.resident_bytes();
                scene.bad.behave(manner);
                let disturbed = scene.delay(seconds).await;
                let grown = process.resident_bytes().saturating_sub(before);
                println!("{name}: p99 of the others {calm:?}, then {disturbed:?}; {grown} bytes more");
                assert!(disturbed <= calm * 6 / 5 + Duration::from_millis(150), "{name}: {disturbed:?}");
                assert!(grown <= MAX_GROWTH, "{name}: {grown} bytes more");
            } else {
                scene.endure(name, seconds, &process, |bad| bad.behave(manner)).await;
                scene.bad.behave(Manner::Well);
                let closed = scene.until_open(false, CLOSES_WITHIN).await;
                println!("{name}: it is sent to again {closed:?} after it works");
            }
            scene.people.walk_until(0);
            scene.until_all_have_all().await;
            let told = scene.ledger.acknowledged();
            let lost = scene.missing(&told, true);
            let Scene { ledger, people, .. } = scene;
            people.finish().await;
            process.stop();
            assert_eq!(ledger.complaints(), Vec::<String>::new());
            let repeats = ledger.repeats();
            assert_eq!(repeats.unexplained, 0, "{name}");
            run::tell(name, 1, told.len(), lost, &repeats.to_string());
            assert_eq!(lost, 0, "{name}");
        }
    });
}

#[test]
fn a_destination_without_a_certificate_or_without_a_server_delays_no_other() {
    let (seconds, mut dice) = (run::numbers(MEASURED.0, MEASURED.1), run::dice());
    run::runtime().block_on(async {
        let refusing = format!("http://{}/hook", free_address());
        let ledger = Arc::new(Ledger::default());
        let plain = Sink::start("plain", &ledger, SmallRng::seed_from_u64(dice.random())).await;
        let untrusted = plain.url.replace("http:", "https:");
        for (name, url) in
            [("a destination is not there", refusing), ("a destination speaks no TLS", untrusted)]
        {
            let mut quiet = Scene::new(&mut dice, None).await;
            let mut process = quiet.gate.spawn();
            quiet.gate.ready(&mut process).await;
            let calm = quiet.delay(seconds).await;
            drop(process);
            let mut scene = Scene::new(&mut dice, Some(&url)).await;
            let mut process = scene.gate.spawn();
            scene.gate.ready(&mut process).await;
            let disturbed = scene.delay(seconds).await;
            scene.until_open(true, OPENS_WITHIN).await;
            println!("{name}: p99 of the others {calm:?}, then {disturbed:?}");
            assert!(
                disturbed <= calm * 6 / 5 + Duration::from_millis(150),
                "{name}: {calm:?}, {disturbed:?}"
            );
            let told = scene.ledger.acknowledged();
            let lost = scene.missing(&told, false);
            process.stop();
            run::tell(name, 1, told.len(), lost, &scene.ledger.repeats().to_string());
            assert_eq!(lost, 0, "{name}");
        }
    });
}

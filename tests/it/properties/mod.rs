//! The core proved over random forms: they compile, walk as an independent reading of the form says, end, submit exactly
//! the answers of the branch that was walked, and stand whatever a client sends.
//!
//! Invariant: everything is derived from a seed, and every failure names it. `FORMGATE_SEED=N` runs one seed alone;
//! `FORMGATE_FORMS=N` walks over more forms than the default run, `FORMGATE_FAILURES=N` goes on until so many fell.
//!
//! What it deliberately does not do: it shares no code with `form::walk` or `form::condition`, which it judges.

mod bytes;
mod compiling;
mod definitions;
pub(crate) mod generate;
mod hostile;
mod options;
mod phone;
mod reconstruct;
mod reference;
mod regressions;
mod sealed;
mod sound;
mod truth;
mod walks;

use formgate::flow::compile::{Compiled, Error, Mode, Settings, compile};
use formgate::flow::limits::Version;
use formgate::flow::plan::{DataApi, Entry};
use formgate::form::Form;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Random decisions that a seed repeats.
struct Dice(StdRng);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(StdRng::seed_from_u64(seed))
    }

    /// A number from 0, below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    /// True so many times in a hundred.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.0.random())
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index + 1));
        }
    }
}

/// Calls `judge` with each seed; a failure names the seed it fell with.
fn for_seeds(count: u64, mut judge: impl FnMut(u64)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("FORMGATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FORMGATE_FORMS").unwrap_or(count),
    };
    let most = usize::try_from(number("FORMGATE_FAILURES").unwrap_or(1)).unwrap_or(1);
    let mut failed = Vec::new();
    for seed in seeds {
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| judge(seed)));
        if judged.is_err() {
            eprintln!("failed with FORMGATE_SEED={seed}");
            failed.push(seed);
        }
        assert!(failed.len() < most, "failed with FORMGATE_SEED one of {failed:?}");
    }
    assert!(failed.is_empty(), "failed with FORMGATE_SEED one of {failed:?}");
}

/// Every way a form may be compiled that changes its document.
fn all_settings() -> Vec<Settings> {
    let mut all = Vec::new();
    for mode in [Mode::Grouped, Mode::OneQuestion] {
        for entry in [Entry::Exchange, Entry::Static] {
            for data_api in [DataApi::V4, DataApi::V3] {
                all.push(Settings {
                    mode,
                    entry,
                    data_api,
                    flow_json: Version::new(7, 3),
                    ..Settings::default()
                });
            }
        }
    }
    all
}

/// The flow of a generated form; `None` only where it truly needs more screens than WhatsApp has.
fn compiled(form: &Form, settings: &Settings) -> Option<Compiled> {
    match compile(form, settings) {
        Ok(compiled) => Some(compiled),
        Err(Error::TooManyScreens(screens, _)) => {
            assert!(screens > 100, "{screens} screens are not too many");
            None
        }
        Err(error) => panic!("{settings:?}: {error}"),
    }
}

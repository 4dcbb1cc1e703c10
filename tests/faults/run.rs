//! What every fault has in common: its numbers, its seed, its line in the table.

use std::io::Write as _;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;

/// How often a fault is done: the budget of a change, or, with `FORMGATE_FAULT_FULL`, what is promised before a release.
pub fn numbers(usual: u32, full: u32) -> u32 {
    let asked = variable("FORMGATE_FAULT_ROUNDS");
    asked.unwrap_or(if is_full() { full } else { usual })
}

fn is_full() -> bool {
    variable::<String>("FORMGATE_FAULT_FULL").is_some()
}

/// How much a fault has to meet: as above, and nothing if it is done another number of times.
pub fn target(usual: u32, full: u32) -> u32 {
    if variable::<u32>("FORMGATE_FAULT_ROUNDS").is_some() { 0 } else { numbers(usual, full) }
}

/// How long something may take: exactly so long in a run of a release, and twice that where other tests run beside it.
pub fn limit(exact: Duration) -> Duration {
    if is_full() { exact } else { exact * 2 }
}

pub fn variable<T: FromStr>(name: &str) -> Option<T> {
    #[expect(clippy::disallowed_methods, reason = "how a person asks a test for more rounds")]
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} cannot be {text}")))
}

/// The choices of a run. How threads and sockets interleave is the machine's affair.
pub fn dice() -> SmallRng {
    let seed = variable("FORMGATE_FAULT_SEED").unwrap_or_else(rand::random);
    println!("seed {seed}: FORMGATE_FAULT_SEED={seed} repeats it");
    SmallRng::seed_from_u64(seed)
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// Tells the line of a fault, and adds it to the table of all, which `tests/run` prints.
pub fn tell(fault: &str, rounds: u32, acknowledged: usize, lost: usize, repeated: &str) {
    let line = format!("| {fault} | {rounds} | {acknowledged} | {lost} | {repeated} |");
    println!("{line}");
    let table = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.md");
    let mut table = std::fs::File::options().create(true).append(true).open(table).expect("the table");
    writeln!(table, "{line}").expect("the table");
}

//! Why deliveries came again: what excuses how many of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Finds an upset that excuses a repeat, if need be by having another excuse one of those that it excused before.
pub fn excuse<'a>(
    number: usize,
    wanted: &impl Fn(usize) -> (&'a str, &'a [usize]),
    slots: &impl Fn(usize) -> usize,
    excused: &mut BTreeMap<(usize, &'a str), Vec<usize>>,
    tried: &mut BTreeSet<usize>,
) -> bool {
    let (destination, met) = wanted(number);
    for upset in met {
        if !tried.insert(*upset) {
            continue;
        }
        let place = (*upset, destination);
        let those = excused.entry(place).or_default();
        if those.len() < slots(*upset) {
            those.push(number);
            return true;
        }
        for (at, other) in those.clone().into_iter().enumerate() {
            if excuse(other, wanted, slots, excused, tried) {
                excused.entry(place).or_default()[at] = number;
                return true;
            }
        }
    }
    false
}

/// Deliveries that came again under their key, by the reason.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Repeats {
    /// The process was killed before it could note the first one. Of each kill and destination no more than its slots.
    pub killed: u64,
    /// The destination took the first one and did not say so.
    pub unanswered: u64,
    pub unexplained: u64,
    /// How many there might have been: whatever was in hand at a kill, and whatever was not answered.
    pub at_most: u64,
    /// How long an answer had been there at the longest that was not noted.
    pub longest_unnoted: Duration,
}

impl std::fmt::Display for Repeats {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Repeats { killed, unanswered, unexplained, .. } = self;
        write!(formatter, "{}", killed + unanswered + unexplained)?;
        let parts = [(killed, "killed"), (unanswered, "not answered"), (unexplained, "unexplained")];
        let parts: Vec<_> =
            parts.iter().filter(|(n, _)| **n > 0).map(|(n, why)| format!("{n} {why}")).collect();
        if parts.is_empty() { Ok(()) } else { write!(formatter, " ({})", parts.join(", ")) }
    }
}

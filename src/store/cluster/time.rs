//! The time that all nodes have in common: the Redis server's, carried on by this machine's monotonic clock.
//!
//! Invariant: no wall clock of a node decides anything once the server's time is known. Small differences are made up for
//! slowly, so that time never runs backwards for them; a large one means that the server's clock was set, and all nodes
//! follow it at their next look. Leases that are under way then are not over by that: see [`SharedTime::grace_ms`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

/// A difference from which on the clock is set instead of slowed down or sped up.
const STEP_US: i64 = 1_000_000;
/// An answer that took longer tells the time too badly.
const MAX_ROUND_TRIP: Duration = Duration::from_millis(500);
/// How much later than another node this one may notice that the clock was set.
const NOTICED_WITHIN_US: i64 = 5_000_000;
/// How fast small differences are made up for: at most a tenth of the time that has passed.
const SLEW: i64 = 10;

/// A clock that follows the shared store's; cheap to clone.
#[derive(Debug, Clone)]
pub struct SharedTime(Arc<Reading>);

#[derive(Debug)]
struct Reading {
    wall_us: i64,
    start: Instant,
    offset_us: AtomicI64,
    /// When it was last measured, on the monotonic clock; negative before the first time.
    measured_us: AtomicI64,
    /// By how much it was set forward, in all.
    forward_us: AtomicI64,
    /// When that was the last time, on the monotonic clock.
    forward_at_us: AtomicI64,
}

impl SharedTime {
    /// A clock that starts at this machine's time.
    pub(super) fn new() -> Self {
        Self(Arc::new(Reading {
            wall_us: jiff::Timestamp::now().as_microsecond(),
            start: Instant::now(),
            offset_us: AtomicI64::new(0),
            measured_us: AtomicI64::new(-1),
            forward_us: AtomicI64::new(0),
            forward_at_us: AtomicI64::new(0),
        }))
    }

    fn elapsed_us(&self) -> i64 {
        i64::try_from(self.0.start.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// Unix microseconds.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        let local_us = self.0.wall_us.saturating_add(self.elapsed_us());
        local_us.saturating_add(self.0.offset_us.load(Ordering::Acquire))
    }

    /// Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now_us() / 1_000
    }

    /// By how much later than their word leases end that may have been given before the clock was set forward; 0 if that is
    /// longer ago than any such lease.
    pub(super) fn grace_ms(&self, lease_ms: i64) -> i64 {
        let since_us = self.elapsed_us().saturating_sub(self.0.forward_at_us.load(Ordering::Acquire));
        let lately = since_us < lease_ms.saturating_mul(1_000).saturating_add(NOTICED_WITHIN_US);
        if lately { self.0.forward_us.load(Ordering::Acquire) / 1_000 } else { 0 }
    }

    /// Takes over what the server said, to a question that took so long. Says whether the clock was set back.
    pub(super) fn measured(&self, server_ms: i64, round_trip: Duration) -> bool {
        let half_us = i64::try_from(round_trip.as_micros() / 2).unwrap_or(i64::MAX);
        // The server cuts its time to milliseconds.
        let server_us = server_ms.saturating_mul(1_000).saturating_add(500).saturating_add(half_us);
        let (now_us, elapsed_us) = (self.now_us(), self.elapsed_us());
        let before_us = self.0.measured_us.load(Ordering::Acquire);
        if round_trip > MAX_ROUND_TRIP && before_us >= 0 {
            return false;
        }
        self.0.measured_us.store(elapsed_us, Ordering::Release);
        let off_us = server_us.saturating_sub(now_us);
        if let Some(step_us) = step(off_us, (before_us >= 0).then(|| elapsed_us.saturating_sub(before_us))) {
            let set = before_us >= 0 && off_us.abs() > STEP_US;
            if set {
                tracing::warn!(by_ms = off_us / 1_000, "the clock of Redis was set; this node follows it");
            }
            if set && off_us > 0 {
                // Before anybody reads the new time. Twice in a row adds up: some lease may be older than both.
                self.0.forward_us.fetch_add(off_us, Ordering::AcqRel);
                self.0.forward_at_us.store(elapsed_us, Ordering::Release);
            }
            self.0.offset_us.fetch_add(step_us, Ordering::AcqRel);
            return set && off_us < 0;
        }
        false
    }
}

/// By how much a clock that is off is set, if so long has passed since it was set before.
fn step(off_us: i64, passed_us: Option<i64>) -> Option<i64> {
    match passed_us {
        None => Some(off_us),
        Some(_) if off_us.abs() > STEP_US => Some(off_us),
        Some(passed_us) => {
            let most_us = passed_us / SLEW;
            Some(off_us.clamp(-most_us, most_us)).filter(|step_us| *step_us != 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_answer_sets_the_clock_small_differences_slew_it_and_large_ones_set_it_again() {
        assert_eq!(step(-3_600_000_000, None), Some(-3_600_000_000));
        assert_eq!(step(40_000, Some(1_000_000)), Some(40_000));
        assert_eq!(step(-400_000, Some(1_000_000)), Some(-100_000), "it never runs backwards");
        assert_eq!(step(0, Some(1_000_000)), None);
        assert_eq!(step(3_600_000_000, Some(1_000_000)), Some(3_600_000_000));
    }

    #[test]
    fn it_follows_the_server_whatever_this_machine_says() {
        let time = SharedTime::new();
        time.measured(5_000, Duration::from_millis(2));
        assert!((5_000..5_200).contains(&time.now_ms()), "{}", time.now_ms());
        // A slow answer says little.
        time.measured(90_000, Duration::from_secs(3));
        assert!((5_000..5_300).contains(&time.now_ms()), "{}", time.now_ms());
        time.measured(90_000, Duration::from_millis(2));
        assert!((90_000..90_300).contains(&time.now_ms()), "{}", time.now_ms());
    }

    #[test]
    fn leases_end_later_by_as_much_as_the_clock_was_set_forward_and_what_sets_it_back_is_told() {
        let time = SharedTime::new();
        assert!(!time.measured(5_000, Duration::ZERO), "the first time sets nothing forward or back");
        assert_eq!(time.grace_ms(60_000), 0);
        assert!(!time.measured(90_000, Duration::ZERO));
        let grace_ms = time.grace_ms(60_000);
        assert!((84_500..=85_001).contains(&grace_ms), "{grace_ms}");
        assert!(time.measured(5_000, Duration::ZERO));
        assert_eq!(time.grace_ms(60_000), grace_ms, "a lease may be older than both");
        assert_eq!(time.grace_ms(-60_000), 0, "longer ago than any lease");
    }
}

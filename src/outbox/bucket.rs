//! How fast a destination is sent to: a token bucket, and the patience it asked for. Pure: the time is an argument.
//!
//! Invariant: within any time `t` at most `burst + rate × t` attempts begin, and none while the destination has asked us to
//! wait. Time that goes backwards gives no token and takes none away for longer than a full bucket takes to fill.

use std::num::NonZeroU32;

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Attempts in a minute.
    pub per_minute: NonZeroU32,
    /// Attempts at once after a rest.
    pub burst: NonZeroU32,
}

/// The wait after a 429 that names none (reliability notes 2.9).
pub const PATIENCE_MS: i64 = 10_000;
/// The longest wait a destination may ask for.
const MAX_PATIENCE_MS: i64 = 12 * 3_600_000;

/// The bucket of one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    rate: Option<Rate>,
    // The moment at which the bucket would be full again (generic cell rate algorithm): one number, nothing to refill.
    full_at_us: i64,
    closed_until_ms: i64,
}

impl Bucket {
    /// A full one; without a rate it only knows waits.
    #[must_use]
    pub fn new(rate: Option<Rate>) -> Self {
        Self { rate, full_at_us: i64::MIN, closed_until_ms: i64::MIN }
    }

    /// How many attempts may begin now; with none, the earliest time for the next.
    pub fn available(&mut self, now_ms: i64) -> Result<u32, i64> {
        // A clock that was set back must not make a wait longer than any that could have been asked for.
        self.closed_until_ms = self.closed_until_ms.min(now_ms.saturating_add(MAX_PATIENCE_MS));
        if self.closed_until_ms > now_ms {
            return Err(self.closed_until_ms);
        }
        let Some((every_us, burst)) = self.cell() else { return Ok(u32::MAX) };
        let now_us = now_ms.saturating_mul(1_000);
        let latest_us = now_us.saturating_add(every_us.saturating_mul(burst));
        self.full_at_us = self.full_at_us.clamp(now_us, latest_us);
        let tokens = latest_us.saturating_sub(self.full_at_us) / every_us;
        match u32::try_from(tokens) {
            Ok(0) => {
                // When the first one has come back, rounded up.
                let missing_us = self.full_at_us.saturating_add(every_us).saturating_sub(latest_us);
                Err(now_ms.saturating_add(missing_us.saturating_add(999) / 1_000))
            }
            Ok(tokens) => Ok(tokens),
            Err(_) => Ok(u32::MAX),
        }
    }

    /// Takes what was available.
    pub fn take(&mut self, attempts: u32, now_ms: i64) {
        if let Some((every_us, _)) = self.cell() {
            let from_us = self.full_at_us.max(now_ms.saturating_mul(1_000));
            self.full_at_us = from_us.saturating_add(every_us.saturating_mul(i64::from(attempts)));
        }
    }

    /// Empties it: the destination said 429, or how long to wait. Then one may go first, and more as tokens come.
    pub fn slow_down(&mut self, after_ms: Option<i64>, now_ms: i64) {
        let wait_ms = after_ms.unwrap_or(PATIENCE_MS).clamp(0, MAX_PATIENCE_MS);
        let until_ms = now_ms.saturating_add(wait_ms);
        self.closed_until_ms = self.closed_until_ms.max(until_ms);
        if let Some((every_us, burst)) = self.cell() {
            let empty_us = until_ms.saturating_mul(1_000).saturating_add(every_us.saturating_mul(burst - 1));
            self.full_at_us = self.full_at_us.max(empty_us);
        }
    }

    fn cell(&self) -> Option<(i64, i64)> {
        let rate = self.rate?;
        Some((60_000_000 / i64::from(rate.per_minute.get().min(60_000_000)), i64::from(rate.burst.get())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(per_minute: u32, burst: u32) -> Bucket {
        let [per_minute, burst] = [per_minute, burst].map(|n| NonZeroU32::new(n).expect("not zero"));
        Bucket::new(Some(Rate { per_minute, burst }))
    }

    #[test]
    fn a_burst_goes_at_once_and_then_one_as_each_token_comes() {
        let mut bucket = bucket(300, 10);
        assert_eq!(bucket.available(1_000), Ok(10));
        bucket.take(10, 1_000);
        assert_eq!(bucket.available(1_000), Err(1_200));
        assert_eq!(bucket.available(1_199), Err(1_200));
        assert_eq!(bucket.available(1_200), Ok(1));
        assert_eq!(bucket.available(1_600), Ok(3));
        assert_eq!(bucket.available(1_000_000), Ok(10), "never more than a burst");
    }

    #[test]
    fn a_request_for_patience_empties_it_for_as_long_as_asked_or_ten_seconds() {
        let mut bucket = bucket(300, 10);
        bucket.slow_down(None, 0);
        assert_eq!(bucket.available(0), Err(10_000));
        assert_eq!(bucket.available(10_000), Ok(1), "not a whole burst at once");
        bucket.slow_down(Some(60_000), 10_000);
        bucket.slow_down(Some(1_000), 10_001);
        assert_eq!(bucket.available(69_999), Err(70_000), "the longer wait counts");
        bucket.slow_down(Some(i64::MAX), 70_000);
        assert_eq!(bucket.available(70_000), Err(70_000 + MAX_PATIENCE_MS));
        let mut unlimited = Bucket::new(None);
        assert_eq!(unlimited.available(0), Ok(u32::MAX));
        unlimited.slow_down(Some(5_000), 0);
        assert_eq!((unlimited.available(4_999), unlimited.available(5_000)), (Err(5_000), Ok(u32::MAX)));
    }

    #[test]
    fn a_clock_set_back_by_a_year_holds_nothing_up_for_longer_than_any_wait() {
        let year_ms = 365 * 24 * 3_600_000;
        let mut bucket = bucket(60, 5);
        assert_eq!(bucket.available(year_ms), Ok(5));
        bucket.take(5, year_ms);
        assert_eq!(bucket.available(0), Err(1_000));
        bucket.slow_down(Some(1_000), year_ms);
        assert_eq!(bucket.available(0), Err(MAX_PATIENCE_MS));
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_has_more_attempts_than_a_burst_and_the_rate_allow(
            (per_minute, burst) in (1u32..10_000, 1u32..100),
            steps in prop::collection::vec((0i64..5_000, 1u32..20), 1..200),
        ) {
            let mut bucket = bucket(per_minute, burst);
            let (mut now_ms, mut taken) = (0i64, vec![]);
            for (by_ms, wanted) in steps {
                now_ms += by_ms;
                if let Ok(available) = bucket.available(now_ms) {
                    bucket.take(available.min(wanted), now_ms);
                    taken.push((now_ms, available.min(wanted)));
                }
            }
            for (first, (from_ms, _)) in taken.iter().enumerate() {
                let mut sum = 0i64;
                for (at_ms, count) in taken.iter().skip(first) {
                    sum += i64::from(*count);
                    let every_us = 60_000_000 / i64::from(per_minute);
                    let allowed = i64::from(burst) + (at_ms - from_ms) * 1_000 / every_us;
                    prop_assert!(sum <= allowed, "{sum} > {allowed} in {} ms", at_ms - from_ms);
                }
            }
        }

        #[test]
        fn what_it_says_is_the_earliest_time_is_one_at_which_an_attempt_may_begin(
            (per_minute, burst) in (1u32..100_000, 1u32..100), wait in prop::option::of(0i64..100_000),
        ) {
            let mut bucket = bucket(per_minute, burst);
            bucket.take(burst, 0);
            if wait.is_some() {
                bucket.slow_down(wait, 0);
            }
            if let Err(at_ms) = bucket.available(0) {
                prop_assert!(bucket.clone().available(at_ms - 1).is_err());
                prop_assert!(bucket.available(at_ms).is_ok());
            }
        }
    }
}

//! How fast an account is sent to: a token bucket, and the patience it asked for. [`Bucket`] is pure: the time is an argument.
//!
//! Invariant: within any time `t` at most `burst + rate × t` attempts begin, and none while the account has asked us to
//! wait. Time that goes backwards gives no token and takes none away for longer than a full bucket takes to fill.
//!
//! What is forgotten when the process ends is at most one burst too many: [`Buckets`] are kept in memory.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use super::Pending;

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Attempts in a minute.
    pub per_minute: NonZeroU32,
    /// Attempts at once after a rest.
    pub burst: NonZeroU32,
}

impl Rate {
    /// How long a token takes to come, in microseconds.
    #[must_use]
    pub fn every_us(self) -> i64 {
        60_000_000 / i64::from(self.per_minute.get().min(60_000_000))
    }
}

/// What became of a wish for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// So many attempts may begin. What does not begin is to be given back.
    pub granted: u32,
    /// With none granted: the earliest time for the next.
    pub next_at_ms: i64,
}

/// The longest wait an account may ask for.
pub const MAX_PATIENCE_MS: i64 = 12 * 3_600_000;

/// The bucket of one account. The same rate has to be given each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    // The moment at which the bucket would be full again (generic cell rate algorithm): one number, nothing to refill.
    full_at_us: i64,
    closed_until_ms: i64,
}

impl Default for Bucket {
    /// A full one.
    fn default() -> Self {
        Self { full_at_us: i64::MIN, closed_until_ms: i64::MIN }
    }
}

impl Bucket {
    /// Takes as many tokens as there are, `wanted` at most; without a rate only waits are known.
    pub fn take(&mut self, rate: Option<Rate>, wanted: u32, now_ms: i64) -> Tokens {
        // A clock that was set back must not make a wait longer than any that could have been asked for.
        self.closed_until_ms = self.closed_until_ms.min(now_ms.saturating_add(MAX_PATIENCE_MS));
        if self.closed_until_ms > now_ms {
            return Tokens { granted: 0, next_at_ms: self.closed_until_ms };
        }
        let Some((every_us, burst)) = cell(rate) else {
            return Tokens { granted: wanted, next_at_ms: now_ms };
        };
        let now_us = now_ms.saturating_mul(1_000);
        let latest_us = now_us.saturating_add(every_us.saturating_mul(burst));
        self.full_at_us = self.full_at_us.clamp(now_us, latest_us);
        let there = u32::try_from(latest_us.saturating_sub(self.full_at_us) / every_us).unwrap_or(u32::MAX);
        if there == 0 {
            // When the first one has come back, rounded up.
            let missing_us = self.full_at_us.saturating_add(every_us).saturating_sub(latest_us);
            let next_at_ms = now_ms.saturating_add(missing_us.saturating_add(999) / 1_000);
            return Tokens { granted: 0, next_at_ms };
        }
        let granted = there.min(wanted);
        self.full_at_us = self.full_at_us.saturating_add(every_us.saturating_mul(i64::from(granted)));
        Tokens { granted, next_at_ms: now_ms }
    }

    /// Puts tokens back with which nothing was begun.
    pub fn give_back(&mut self, rate: Option<Rate>, unused: u32) {
        if let Some((every_us, _)) = cell(rate) {
            self.full_at_us = self.full_at_us.saturating_sub(every_us.saturating_mul(i64::from(unused)));
        }
    }

    /// Empties it until this time: the account said 429, or how long to wait. Then one may go first, and more as tokens
    /// come.
    pub fn slow_down(&mut self, rate: Option<Rate>, until_ms: i64, now_ms: i64) {
        let until_ms = until_ms.clamp(now_ms, now_ms.saturating_add(MAX_PATIENCE_MS));
        self.closed_until_ms = self.closed_until_ms.max(until_ms);
        if let Some((every_us, burst)) = cell(rate) {
            let empty_us = until_ms.saturating_mul(1_000).saturating_add(every_us.saturating_mul(burst - 1));
            self.full_at_us = self.full_at_us.max(empty_us);
        }
    }
}

fn cell(rate: Option<Rate>) -> Option<(i64, i64)> {
    rate.map(|rate| (rate.every_us(), i64::from(rate.burst.get())))
}

/// The buckets of all accounts of one process.
#[derive(Debug, Default)]
pub(in crate::store) struct Buckets(Mutex<HashMap<String, Bucket>>);

impl Buckets {
    /// Changes the bucket of an account at once; there is nothing to wait for.
    pub(in crate::store) fn with<'a, T: Send + 'a>(
        &self,
        account: &str,
        change: impl FnOnce(&mut Bucket) -> T,
    ) -> Pending<'a, T> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = match buckets.get_mut(account) {
            Some(bucket) => change(bucket),
            None => change(buckets.entry(account.to_owned()).or_default()),
        };
        Box::pin(std::future::ready(Ok(changed)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(per_minute: u32, burst: u32) -> Option<Rate> {
        let [per_minute, burst] = [per_minute, burst].map(|n| NonZeroU32::new(n).expect("not zero"));
        Some(Rate { per_minute, burst })
    }

    fn granted(granted: u32, at_ms: i64) -> Tokens {
        Tokens { granted, next_at_ms: at_ms }
    }

    #[test]
    fn a_burst_goes_at_once_and_then_one_as_each_token_comes() {
        let (mut bucket, rate) = (Bucket::default(), rate(300, 10));
        assert_eq!(bucket.take(rate, 100, 1_000), granted(10, 1_000));
        assert_eq!(bucket.take(rate, 1, 1_000), granted(0, 1_200));
        assert_eq!(bucket.take(rate, 1, 1_199), granted(0, 1_200));
        assert_eq!(bucket.take(rate, 5, 1_200), granted(1, 1_200));
        assert_eq!(bucket.take(rate, 2, 1_600), granted(2, 1_600));
        assert_eq!(bucket.take(rate, 99, 1_000_000), granted(10, 1_000_000), "never more than a burst");
    }

    #[test]
    fn what_was_taken_and_not_used_is_there_again() {
        let (mut bucket, rate) = (Bucket::default(), rate(300, 10));
        assert_eq!(bucket.take(rate, 8, 0), granted(8, 0));
        bucket.give_back(rate, 7);
        assert_eq!(bucket.take(rate, 99, 0), granted(9, 0));
        bucket.give_back(rate, 1_000);
        assert_eq!(bucket.take(rate, 99, 0), granted(10, 0), "and no more than fits into it");
    }

    #[test]
    fn a_request_for_patience_empties_it_for_as_long_as_asked() {
        let (mut bucket, rate) = (Bucket::default(), rate(300, 10));
        bucket.slow_down(rate, 10_000, 0);
        assert_eq!(bucket.take(rate, 5, 0), granted(0, 10_000));
        assert_eq!(bucket.take(rate, 5, 10_000), granted(1, 10_000), "not a whole burst at once");
        bucket.slow_down(rate, 70_000, 10_000);
        bucket.slow_down(rate, 11_001, 10_001);
        assert_eq!(bucket.take(rate, 5, 69_999), granted(0, 70_000), "the longer wait counts");
        bucket.slow_down(rate, i64::MAX, 70_000);
        assert_eq!(bucket.take(rate, 5, 70_000), granted(0, 70_000 + MAX_PATIENCE_MS));
        let mut unlimited = Bucket::default();
        assert_eq!(unlimited.take(None, 77, 0), granted(77, 0));
        unlimited.slow_down(None, 5_000, 0);
        assert_eq!(unlimited.take(None, 7, 4_999), granted(0, 5_000));
        assert_eq!(unlimited.take(None, 7, 5_000), granted(7, 5_000));
    }

    #[test]
    fn a_clock_set_back_by_a_year_holds_nothing_up_for_longer_than_any_wait() {
        let year_ms = 365 * 24 * 3_600_000;
        let (mut bucket, rate) = (Bucket::default(), rate(60, 5));
        assert_eq!(bucket.take(rate, 5, year_ms), granted(5, year_ms));
        assert_eq!(bucket.take(rate, 5, 0), granted(0, 1_000));
        bucket.slow_down(rate, year_ms + 1_000, year_ms);
        assert_eq!(bucket.take(rate, 5, 0), granted(0, MAX_PATIENCE_MS));
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_has_more_attempts_than_a_burst_and_the_rate_allow(
            (per_minute, burst) in (1u32..10_000, 1u32..100),
            steps in prop::collection::vec((0i64..5_000, 1u32..20, 0u32..20), 1..200),
        ) {
            let (mut bucket, rate) = (Bucket::default(), rate(per_minute, burst));
            let (mut now_ms, mut taken) = (0i64, vec![]);
            for (by_ms, wanted, unused) in steps {
                now_ms += by_ms;
                let granted = bucket.take(rate, wanted, now_ms).granted;
                prop_assert!(granted <= wanted);
                let unused = unused.min(granted);
                bucket.give_back(rate, unused);
                taken.push((now_ms, granted - unused));
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
            let (mut bucket, rate) = (Bucket::default(), rate(per_minute, burst));
            bucket.take(rate, burst, 0);
            if let Some(wait) = wait {
                bucket.slow_down(rate, wait, 0);
            }
            let Tokens { granted, next_at_ms } = bucket.clone().take(rate, 1, 0);
            if granted == 0 {
                prop_assert_eq!(bucket.clone().take(rate, 1, next_at_ms - 1).granted, 0);
                prop_assert_eq!(bucket.take(rate, 1, next_at_ms).granted, 1);
            }
        }
    }
}

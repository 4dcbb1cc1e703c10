//! When a delivery is attempted again. Pure: the attempt, the wait that was asked for and a random number come in, a wait
//! or the end comes out.

use std::sync::Arc;

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// Waits before the second attempt, the third, and so on; the last one goes on until a week is full (reliability notes 2.9).
const WAITS_MS: [i64; 10] = [
    5 * SECOND,
    30 * SECOND,
    2 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    4 * HOUR,
    8 * HOUR,
    12 * HOUR,
];
const ATTEMPTS: u32 = 23;
/// Nobody waits for more.
const MAX_ATTEMPTS: u32 = 50;
/// What a destination may ask for.
const MAX_RETRY_AFTER_MS: i64 = 12 * HOUR;

/// What comes after an attempt that did not deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Attempt again after this time.
    RetryIn {
        /// From the end of the attempt.
        wait_ms: i64,
    },
    /// Give up.
    Dead,
}

/// The schedule of a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    max_attempts: u32,
    waits_ms: Arc<[i64]>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::with_max_attempts(ATTEMPTS)
    }
}

impl RetryPolicy {
    /// No schedule takes longer, all its waits together.
    pub const MAX_TOTAL_MS: i64 = 30 * 24 * HOUR;

    /// The usual schedule, ended after this many attempts (1 to 50).
    #[must_use]
    pub fn with_max_attempts(max_attempts: u32) -> Self {
        Self { max_attempts: max_attempts.clamp(1, MAX_ATTEMPTS), waits_ms: Arc::new(WAITS_MS) }
    }

    /// These waits, in milliseconds, one after the other. With more attempts than they make, the last one is repeated;
    /// without a number of attempts there is one more than waits.
    #[must_use]
    pub fn scheduled(waits_ms: &[i64], max_attempts: Option<u32>) -> Self {
        let own = u32::try_from(waits_ms.len()).unwrap_or(u32::MAX).saturating_add(1);
        let waits_ms = waits_ms.iter().map(|wait_ms| (*wait_ms).clamp(SECOND, Self::MAX_TOTAL_MS)).collect();
        Self { max_attempts: max_attempts.unwrap_or(own).clamp(1, MAX_ATTEMPTS), waits_ms }
    }

    /// How long all waits take together if none is spread or prolonged.
    #[must_use]
    pub fn total_ms(&self) -> i64 {
        let waits = (1..self.max_attempts).map(|attempt| self.scheduled_ms(attempt));
        waits.fold(0, i64::saturating_add)
    }

    /// No wait is longer than this: a due time further ahead comes from a clock that ran wrong.
    #[must_use]
    pub fn max_wait_ms(&self) -> i64 {
        let longest_ms = self.waits_ms.iter().copied().max().unwrap_or(0);
        longest_ms.max(MAX_RETRY_AFTER_MS) / 10 * 12
    }

    fn scheduled_ms(&self, attempt: u32) -> i64 {
        let step = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        self.waits_ms.get(step).or(self.waits_ms.last()).copied().unwrap_or(SECOND)
    }

    /// What comes after attempt number `attempt` (the first is 1). A wait that the destination asked for is honoured up
    /// to 12 h and never shortens the schedule; `random` spreads what failed together over ±20 %.
    #[must_use]
    pub fn next(&self, attempt: u32, retry_after_ms: Option<i64>, random: u64) -> Decision {
        if attempt >= self.max_attempts {
            return Decision::Dead;
        }
        // 800 to 1,200 thousandths.
        let jitter = i64::try_from(random % 401).unwrap_or(200) + 800;
        let scheduled_ms = self.scheduled_ms(attempt) / 1_000 * jitter;
        let asked_ms = retry_after_ms.unwrap_or(0).clamp(0, MAX_RETRY_AFTER_MS);
        Decision::RetryIn { wait_ms: scheduled_ms.max(asked_ms) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The random number that gives the factor 1.
    const EVEN: u64 = 200;

    #[test]
    fn the_schedule_has_23_attempts_in_a_week() {
        let policy = RetryPolicy::default();
        let mut at_ms = 0;
        let mut times = vec![0];
        for attempt in 1.. {
            let Decision::RetryIn { wait_ms } = policy.next(attempt, None, EVEN) else { break };
            at_ms += wait_ms;
            times.push(at_ms);
        }
        assert_eq!(times.len(), 23);
        assert_eq!(times.get(1..5), Some(&[5_000, 35_000, 155_000, 755_000][..]));
        assert!((6 * 24 * HOUR..=8 * 24 * HOUR).contains(&at_ms), "{at_ms}");
    }

    #[test]
    fn a_thousand_retries_that_failed_together_are_spread_over_a_fifth_to_either_side() {
        let policy = RetryPolicy::default();
        let waits: Vec<_> = (0..1_000).map(|random| policy.next(7, None, random * 2_654_435_761)).collect();
        let wait = |decision: &Decision| match decision {
            Decision::RetryIn { wait_ms } => *wait_ms,
            Decision::Dead => panic!("seven attempts are not the last"),
        };
        assert!(waits.iter().map(wait).min() < Some(2 * HOUR * 81 / 100));
        assert!(waits.iter().map(wait).max() > Some(2 * HOUR * 119 / 100));
    }

    #[test]
    fn a_wait_that_was_asked_for_is_honoured_up_to_twelve_hours() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.next(1, Some(60_000), EVEN), Decision::RetryIn { wait_ms: 60_000 });
        assert_eq!(policy.next(1, Some(i64::MAX), EVEN), Decision::RetryIn { wait_ms: 12 * HOUR });
        assert_eq!(policy.next(1, Some(0), EVEN), Decision::RetryIn { wait_ms: 5_000 });
    }

    #[test]
    fn a_schedule_of_ones_own_is_kept_and_its_last_wait_repeated_for_attempts_beyond_it() {
        let waits = |policy: &RetryPolicy| -> Vec<i64> {
            let next = |attempt| match policy.next(attempt, None, EVEN) {
                Decision::RetryIn { wait_ms } => Some(wait_ms / SECOND),
                Decision::Dead => None,
            };
            (1..).map_while(next).collect()
        };
        let own = [5 * SECOND, 30 * SECOND, 2 * MINUTE];
        assert_eq!(waits(&RetryPolicy::scheduled(&own, None)), [5, 30, 120]);
        assert_eq!(waits(&RetryPolicy::scheduled(&own, Some(6))), [5, 30, 120, 120, 120]);
        assert_eq!(waits(&RetryPolicy::scheduled(&own, Some(2))), [5]);
        assert_eq!(RetryPolicy::scheduled(&own, Some(6)).total_ms(), 395 * SECOND);
        assert_eq!(waits(&RetryPolicy::scheduled(&[], Some(1))), Vec::<i64>::new());
    }

    proptest! {
        #[test]
        fn every_wait_is_positive_and_bounded(
            attempt: u32, after: Option<i64>, random: u64, max in prop::option::of(0u32..100),
            own in prop::option::of(prop::collection::vec(any::<i64>(), 0..60)),
        ) {
            let policy = match own {
                Some(own) => RetryPolicy::scheduled(&own, max),
                None => RetryPolicy::with_max_attempts(max.unwrap_or(ATTEMPTS)),
            };
            let max = policy.max_attempts;
            match policy.next(attempt, after, random) {
                Decision::RetryIn { wait_ms } => prop_assert!((800..=policy.max_wait_ms()).contains(&wait_ms)),
                Decision::Dead => prop_assert!(attempt >= max.max(1)),
            }
        }
    }
}

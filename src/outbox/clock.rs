//! Time as the outbox sees it, so that tests can run through a week in a moment.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::fault;

/// Counts from when the machine was started, also while it sleeps, and nobody can set it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const STEADY: ClockId = ClockId::Boottime;
/// Elsewhere it is this one that does.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const STEADY: ClockId = ClockId::Monotonic;
/// How soon a sleeper notices that the machine has slept: timers stand still meanwhile.
const LOOK_EVERY_MS: u64 = 1_000;
/// A nonsensical time must not overflow the timer.
const LONGEST_MS: u64 = 24 * 3_600_000;

/// A wait for a moment.
pub type Sleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Tells the time and waits for it.
pub trait Clock: Send + Sync {
    /// Unix milliseconds.
    fn now_ms(&self) -> i64;

    /// Ends when `now_ms` has reached `at_ms`.
    fn sleep_until_ms(&self, at_ms: i64) -> Sleep<'_>;

    /// Ends after so many milliseconds, whatever the clock says then.
    fn sleep_ms(&self, wait_ms: i64) -> Sleep<'_> {
        self.sleep_until_ms(self.now_ms().saturating_add(wait_ms))
    }
}

/// The real time. It reads the wall clock once and goes on with the time since the machine was started, so that a wall clock
/// that jumps makes no delivery early, late or doubly leased, and a machine that was suspended knows what time it is.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    wall_ms: i64,
    started: Duration,
    since_boot: fn() -> Duration,
}

impl SystemClock {
    /// A clock that starts at the wall clock's present time.
    #[must_use]
    pub fn new() -> Self {
        Self::counting(since_boot)
    }

    fn counting(since_boot: fn() -> Duration) -> Self {
        Self { wall_ms: Timestamp::now().as_millisecond(), started: since_boot(), since_boot }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let elapsed = (self.since_boot)().saturating_sub(self.started);
        let elapsed_ms = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        let mut now_ms = self.wall_ms.saturating_add(elapsed_ms);
        if fault::is_on("clock.wall") {
            now_ms = Timestamp::now().as_millisecond();
        }
        fault::stretched_ms(now_ms)
    }

    fn sleep_until_ms(&self, at_ms: i64) -> Sleep<'_> {
        Box::pin(async move {
            loop {
                let wait_ms = u64::try_from(at_ms.saturating_sub(self.now_ms())).unwrap_or(0);
                let wait_ms = fault::real_wait_ms(wait_ms.min(LONGEST_MS));
                tokio::time::sleep(Duration::from_millis(wait_ms.min(LOOK_EVERY_MS))).await;
                if self.now_ms() >= at_ms {
                    return;
                }
            }
        })
    }

    fn sleep_ms(&self, wait_ms: i64) -> Sleep<'_> {
        let wait_ms = u64::try_from(wait_ms).unwrap_or(0).min(LONGEST_MS);
        Box::pin(tokio::time::sleep(Duration::from_millis(fault::real_wait_ms(wait_ms))))
    }
}

fn since_boot() -> Duration {
    let time = clock_gettime(STEADY);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use super::*;

    const SIX_HOURS_MS: i64 = 6 * 3_600_000;

    /// How long this machine has slept, as the test wants it.
    static SLEPT_MS: AtomicU64 = AtomicU64::new(0);

    #[tokio::test]
    async fn a_machine_that_was_suspended_knows_the_time_and_who_waited_for_it_goes_on() {
        let clock =
            SystemClock::counting(|| since_boot() + Duration::from_millis(SLEPT_MS.load(Ordering::SeqCst)));
        let before_ms = clock.now_ms();
        let waiting = clock.sleep_until_ms(before_ms + SIX_HOURS_MS / 2);
        let suspended = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            SLEPT_MS.store(SIX_HOURS_MS.unsigned_abs(), Ordering::SeqCst);
        };
        let both = async { tokio::join!(waiting, suspended) };
        tokio::time::timeout(Duration::from_secs(30), both).await.expect("it does not wait on");
        assert!((0..60_000).contains(&(clock.now_ms() - before_ms - SIX_HOURS_MS)));
    }

    /// The kernel's own word on how long the machine is up, sleep included (proc_uptime(5)).
    #[cfg(target_os = "linux")]
    #[test]
    fn the_time_since_boot_is_the_kernels() {
        let uptime = std::fs::read_to_string("/proc/uptime").expect("a file");
        let uptime: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).expect("seconds");
        assert!((since_boot().as_secs_f64() - uptime).abs() < 5.0, "{uptime}");
    }

    #[tokio::test]
    async fn it_sleeps_as_long_as_it_is_told() {
        let clock = SystemClock::new();
        let begun = Instant::now();
        clock.sleep_until_ms(clock.now_ms() + 1_200).await;
        assert!(begun.elapsed() >= Duration::from_millis(1_190));
        clock.sleep_until_ms(clock.now_ms() - 5).await;
        clock.sleep_ms(20).await;
        assert!(begun.elapsed() >= Duration::from_millis(1_210));
    }
}

//! Time as the outbox sees it, so that tests can run through a week in a moment.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::fault;

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

/// The real time. It reads the wall clock once and goes on with the monotonic one, so that a wall clock that jumps makes
/// no delivery early, late or doubly leased.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    wall_ms: i64,
    start: Instant,
}

impl SystemClock {
    /// A clock that starts at the wall clock's present time.
    #[must_use]
    pub fn new() -> Self {
        Self { wall_ms: Timestamp::now().as_millisecond(), start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let elapsed_ms = i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX);
        let mut now_ms = self.wall_ms.saturating_add(elapsed_ms);
        if fault::is_on("clock.wall") {
            now_ms = Timestamp::now().as_millisecond();
        }
        fault::stretched_ms(now_ms)
    }

    fn sleep_until_ms(&self, at_ms: i64) -> Sleep<'_> {
        let wait_ms = u64::try_from(at_ms.saturating_sub(self.now_ms())).unwrap_or(0);
        // Callers wait minutes at most; a nonsensical time must not overflow the timer.
        let wait_ms = fault::real_wait_ms(wait_ms.min(24 * 3_600_000));
        Box::pin(tokio::time::sleep(Duration::from_millis(wait_ms)))
    }
}

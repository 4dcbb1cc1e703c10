//! What was counted within the last while, from counters that only grow.

use std::collections::VecDeque;
use std::time::Duration;

/// Snapshots of counters, as far back as the window goes.
#[derive(Debug)]
pub struct Window<T> {
    length: Duration,
    snapshots: VecDeque<(i64, T)>,
}

impl<T> Window<T> {
    /// A window of this length.
    pub fn new(length: Duration) -> Self {
        Self { length, snapshots: VecDeque::new() }
    }

    /// Adds the counters as they are now; gives them as they were at the beginning of the window, and as they are.
    pub fn push(&mut self, now_ms: i64, counters: T) -> (&T, &T) {
        let length_ms = i64::try_from(self.length.as_millis()).unwrap_or(i64::MAX);
        // The oldest that is kept may be older than the window, as long as it is the only one that is.
        while self.snapshots.get(1).is_some_and(|(at_ms, _)| now_ms.saturating_sub(*at_ms) >= length_ms) {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back((now_ms, counters));
        let (first, last) = (self.snapshots.front(), self.snapshots.back());
        let (_, first) = first.expect("one was added just now");
        let (_, last) = last.expect("one was added just now");
        (first, last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_follows_the_end_at_the_window_s_length() {
        let mut window = Window::new(Duration::from_secs(60));
        assert_eq!(window.push(0, 1), (&1, &1));
        for (at_s, counter, beginning) in [(10, 2, 1), (50, 3, 1), (60, 4, 1), (70, 5, 2), (115, 6, 3)] {
            assert_eq!(window.push(at_s * 1_000, counter), (&beginning, &counter), "{at_s}");
        }
        assert!(window.snapshots.len() <= 4, "what is over is not kept");
    }
}

//! What is kept about a delivery besides its state: its last attempts and its crashes. No bodies, no answers.

use serde::{Deserialize, Serialize};

/// Attempts that are kept.
const MAX_ATTEMPTS_KEPT: usize = 20;

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which one of its budget; the first is 1.
    pub number: u32,
    /// When it began, in Unix milliseconds.
    pub at_ms: i64,
    /// How long it took.
    pub took_ms: u32,
    /// How it ended: `delivered`, or a short constant class such as `status`, `connect`, `deadline`, `panic`.
    pub class: String,
    /// The destination's HTTP status, if there was one.
    pub status: Option<u16>,
}

/// What the store keeps for the outbox beside a delivery.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The last attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// How often an attempt has crashed.
    pub crashes: u32,
    /// Why it is dead.
    pub dead_reason: Option<String>,
}

impl History {
    /// Adds an attempt, and forgets the oldest beyond the last 20.
    pub fn push(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
        let surplus = self.attempts.len().saturating_sub(MAX_ATTEMPTS_KEPT);
        self.attempts.drain(..surplus);
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("numbers and strings always serialise")
    }

    /// Reads it back. What cannot be read is as good as none: it must not hold up the delivery.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        postcard::from_bytes(bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_twenty_attempts_are_kept() {
        let mut history = History::default();
        for number in 1..=50 {
            let class = "status".to_owned();
            history.push(Attempt { number, at_ms: 0, took_ms: 1, class, status: Some(500) });
        }
        assert_eq!(history.attempts.len(), 20);
        assert_eq!(history.attempts.first().map(|attempt| attempt.number), Some(31));
        assert_eq!(History::from_bytes(&history.to_bytes()), history);
    }

    #[test]
    fn bytes_that_cannot_be_read_are_an_empty_history() {
        assert_eq!(History::from_bytes(b""), History::default());
        assert_eq!(History::from_bytes(&[255; 9]), History::default());
    }
}

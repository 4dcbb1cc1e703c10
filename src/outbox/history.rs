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

/// Ends of attempts that did not reach the point where something is sent, or were told that nothing was done. None of them
/// comes with a status of 500 or more of what was sent.
const CLEAN: [&str; 23] = [
    "url",
    "plain_http",
    "port",
    "address_refused",
    "header",
    "resolve",
    "connect",
    "tls",
    "look",
    "search",
    "mapping",
    "skipped",
    "form",
    "form_not_read_yet",
    "version",
    "version_not_known_yet",
    "content",
    "render",
    "address",
    "tab",
    "no_webhook",
    "reconnect",
    "no_key",
];

impl Attempt {
    /// Whether it may have delivered without our hearing of it.
    pub(super) fn is_unclear(&self) -> bool {
        let is_answered = self.status.is_some_and(|status| status < 500);
        !is_answered && !CLEAN.contains(&self.class.as_str()) || self.class == "delivered"
    }
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
    /// What a later release has put behind it: it is kept.
    #[serde(skip)]
    rest: Vec<u8>,
}

impl History {
    /// Adds an attempt, and forgets the oldest beyond the last 20.
    pub fn push(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
        let surplus = self.attempts.len().saturating_sub(MAX_ATTEMPTS_KEPT);
        self.attempts.drain(..surplus);
    }

    /// Whether one of the attempts may have delivered without our hearing of it: the request may have left, and no answer
    /// says that nothing was done. `before` is how many attempts there were; one that is not kept may have been any.
    pub(super) fn is_unclear(&self, before: u32) -> bool {
        let kept = u32::try_from(self.attempts.len()).unwrap_or(u32::MAX);
        before > kept
            || self.attempts.len() >= MAX_ATTEMPTS_KEPT
            || self.attempts.iter().any(Attempt::is_unclear)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = postcard::to_stdvec(self).expect("numbers and strings always serialise");
        bytes.extend_from_slice(&self.rest);
        bytes
    }

    /// Reads it back. What cannot be read is as good as none: it must not hold up the delivery.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let read = postcard::take_from_bytes(bytes);
        read.map(|(history, rest)| Self { rest: rest.to_vec(), ..history }).unwrap_or_default()
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
    fn an_attempt_is_unclear_unless_it_is_known_that_nothing_was_done() {
        let history = |class: &str, status| {
            let mut history = History::default();
            history.push(Attempt { number: 1, at_ms: 0, took_ms: 1, class: class.into(), status });
            history
        };
        for (class, status) in
            [("look", Some(503)), ("status", Some(429)), ("rate", Some(403)), ("reconnect", Some(401))]
        {
            assert!(!history(class, status).is_unclear(1), "{class}");
        }
        for class in [
            "connect",
            "mapping",
            "skipped",
            "form",
            "form_not_read_yet",
            "version",
            "version_not_known_yet",
            "content",
            "render",
            "address",
            "tab",
            "no_webhook",
            "reconnect",
            "no_key",
        ] {
            assert!(!history(class, None).is_unclear(1), "{class}");
        }
        for (class, status) in [
            ("exchange", None),
            ("partly", None),
            ("file", None),
            ("abandoned", None),
            ("quarantined", None),
            ("deadline", None),
            ("panic", None),
            ("status", Some(500)),
            ("delivered", Some(200)),
        ] {
            assert!(history(class, status).is_unclear(1), "{class}");
        }
        assert!(!History::default().is_unclear(0));
        assert!(History::default().is_unclear(1), "what is not kept may have been any");
    }

    #[test]
    fn what_a_later_release_has_put_behind_it_is_kept() {
        let bytes = [History::default().to_bytes(), b"more".to_vec()].concat();
        let mut history = History::from_bytes(&bytes);
        history.push(Attempt { number: 1, at_ms: 0, took_ms: 1, class: "status".into(), status: Some(500) });
        let again = History::from_bytes(&history.to_bytes());
        assert_eq!((again.attempts.len(), again.rest.as_slice()), (1, &b"more"[..]));
    }

    #[test]
    fn bytes_that_cannot_be_read_are_an_empty_history() {
        assert_eq!(History::from_bytes(b""), History::default());
        assert_eq!(History::from_bytes(&[255; 9]), History::default());
    }
}

//! Which causes stand, and which notices that makes: one when a cause begins, one when it is over.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::store::QueueDepth;

/// From when on something is a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// How long a delivery may be due.
    pub queue_age: Duration,
    /// How many given-up deliveries of a destination may be kept unseen.
    pub dead_letters: u64,
}

/// Something that a person has to mend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Deliveries to this destination wait too long.
    QueueAge(String),
    /// Deliveries to this destination were given up.
    DeadLetters(String),
    /// The store does not answer.
    Store,
}

/// What was seen at one look.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// Where deliveries stand.
    Depths(&'a [QueueDepth]),
    /// The store did not answer.
    StoreFailed,
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Of what.
    pub cause: Cause,
    /// It is over.
    pub recovered: bool,
    /// Since when the cause stands, in milliseconds since 1970.
    pub since_ms: i64,
    /// What is the matter, in a sentence; no answer of anybody in it.
    pub text: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Cause {
    /// Its name for machines: the same at the beginning and at the end.
    pub fn name(&self) -> &'static str {
        match self {
            Cause::QueueAge(_) => "queue_age",
            Cause::DeadLetters(_) => "dead_letters",
            Cause::Store => "store",
        }
    }

    /// The destination it is about.
    pub fn destination(&self) -> Option<&str> {
        match self {
            Cause::QueueAge(destination) | Cause::DeadLetters(destination) => Some(destination),
            Cause::Store => None,
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Cause::QueueAge(_) => {
                "See what it answers: formgate submissions list, then submissions show ID. Nothing is lost; deliveries go on being tried."
            }
            Cause::DeadLetters(_) => {
                "formgate submissions list --dead, then submissions show ID says why. Mend that, then formgate submissions replay ID."
            }
            Cause::Store => {
                "Look at the disk and the log. Nothing new is acknowledged meanwhile; restart Formgate when the disk is mended."
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.destination() {
            Some(destination) => write!(formatter, "{} {destination}", self.name()),
            None => formatter.write_str(self.name()),
        }
    }
}

/// The causes that stand.
#[derive(Debug)]
pub struct Watch {
    thresholds: Thresholds,
    standing: BTreeMap<Cause, i64>,
}

impl Watch {
    /// Nothing stands yet.
    pub fn new(thresholds: Thresholds) -> Watch {
        Watch { thresholds, standing: BTreeMap::new() }
    }

    /// Compares what is seen now with what stood before.
    pub fn look(&mut self, now_ms: i64, seen: Seen<'_>) -> Vec<Notice> {
        let mut now: BTreeMap<Cause, String> = BTreeMap::new();
        match seen {
            Seen::StoreFailed => {
                now.insert(Cause::Store, "The store does not answer.".to_owned());
                // Nothing is known of the rest, so nothing of it is over.
                for cause in self.standing.keys().filter(|cause| **cause != Cause::Store) {
                    now.insert(cause.clone(), String::new());
                }
            }
            Seen::Depths(depths) => {
                for depth in depths {
                    self.queue(now_ms, depth, &mut now);
                }
            }
        }
        let mut notices = Vec::new();
        for (cause, text) in &now {
            if !self.standing.contains_key(cause) {
                self.standing.insert(cause.clone(), now_ms);
                let (text, remedy) = (text.clone(), cause.remedy());
                notices.push(Notice {
                    cause: cause.clone(),
                    recovered: false,
                    since_ms: now_ms,
                    text,
                    remedy,
                });
            }
        }
        self.standing.retain(|cause, since_ms| {
            let stands = now.contains_key(cause);
            if !stands {
                notices.push(Notice {
                    cause: cause.clone(),
                    recovered: true,
                    since_ms: *since_ms,
                    text: format!("Recovered: {cause}."),
                    remedy: "Nothing to do.",
                });
            }
            stands
        });
        notices
    }

    fn queue(&self, now_ms: i64, depth: &QueueDepth, now: &mut BTreeMap<Cause, String>) {
        let destination = &depth.destination;
        let waited_ms = depth.oldest_due_at_ms.map_or(0, |at_ms| now_ms.saturating_sub(at_ms));
        let waited = Duration::from_millis(u64::try_from(waited_ms).unwrap_or(0));
        if waited > self.thresholds.queue_age {
            let text = format!(
                "{} deliveries to {destination} wait; the oldest has been due for {} minutes.",
                depth.due,
                waited.as_secs() / 60
            );
            now.insert(Cause::QueueAge(destination.clone()), text);
        }
        if depth.dead > self.thresholds.dead_letters {
            let text = format!("{} deliveries to {destination} were given up.", depth.dead);
            now.insert(Cause::DeadLetters(destination.clone()), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn watch() -> Watch {
        Watch::new(Thresholds { queue_age: Duration::from_secs(15 * 60), dead_letters: 0 })
    }

    fn depth(destination: &str, oldest_due_at_ms: Option<i64>, dead: u64) -> QueueDepth {
        let due = u64::from(oldest_due_at_ms.is_some());
        QueueDepth {
            destination: destination.to_owned(),
            due,
            in_flight: 0,
            delivered: 7,
            dead,
            oldest_due_at_ms,
        }
    }

    fn told(notices: &[Notice]) -> Vec<String> {
        notices.iter().map(|n| format!("{}{}", if n.recovered { "-" } else { "+" }, n.cause)).collect()
    }

    #[test]
    fn a_cause_is_told_once_when_it_begins_and_once_when_it_is_over() {
        let mut watch = watch();
        let quiet = [depth("crm", Some(0), 0), depth("shop", None, 0)];
        assert_eq!(told(&watch.look(15 * MINUTE_MS, Seen::Depths(&quiet))), Vec::<String>::new());
        let raised = watch.look(16 * MINUTE_MS, Seen::Depths(&quiet));
        assert_eq!(told(&raised), ["+queue_age crm"]);
        assert_eq!(raised[0].text, "1 deliveries to crm wait; the oldest has been due for 16 minutes.");
        assert_eq!(told(&watch.look(17 * MINUTE_MS, Seen::Depths(&quiet))), Vec::<String>::new());
        let dead = [depth("crm", Some(0), 0), depth("shop", None, 3)];
        assert_eq!(told(&watch.look(18 * MINUTE_MS, Seen::Depths(&dead))), ["+dead_letters shop"]);
        let mended = [depth("crm", None, 0), depth("shop", None, 4)];
        let recovered = watch.look(19 * MINUTE_MS, Seen::Depths(&mended));
        assert_eq!(told(&recovered), ["-queue_age crm"], "more of the same cause is no news");
        assert_eq!(recovered[0].since_ms, 16 * MINUTE_MS);
        assert_eq!(told(&watch.look(20 * MINUTE_MS, Seen::Depths(&[]))), ["-dead_letters shop"]);
    }

    #[test]
    fn a_store_that_does_not_answer_ends_no_other_cause() {
        let mut watch = watch();
        watch.look(0, Seen::Depths(&[depth("shop", None, 1)]));
        assert_eq!(told(&watch.look(1, Seen::StoreFailed)), ["+store"]);
        assert_eq!(told(&watch.look(2, Seen::StoreFailed)), Vec::<String>::new());
        assert_eq!(told(&watch.look(3, Seen::Depths(&[depth("shop", None, 1)]))), ["-store"]);
    }
}

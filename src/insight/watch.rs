//! Which causes stand, and which notices that makes. Pure: the time is an argument (only a notice's id is random).
//!
//! Invariant: the notices of a cause are one that it began, then at most one a day that it still stands, then one that it
//! is over. It is over when every node that saw it has seen it to be well for a while, never because it could not be seen.
//!
//! What is known of a cause ([`Alert`]) is kept in the store. A look makes [`Step`]s of it; each is written on condition
//! that nobody has written meanwhile, and only what was written is told. So of all nodes one tells, and after its death
//! another. What the store cannot keep is told all the same if something begins, and kept when it can be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Alert, Cause, Group};
use crate::store::Version;

/// How often a cause that stands is told again.
const AGAIN: Duration = Duration::from_secs(24 * 3600);
/// How often a node says that it still sees a cause.
const SEEN_AGAIN: Duration = Duration::from_secs(300);
/// From then on a node that has not said so any more does not keep a cause standing.
const GONE: Duration = Duration::from_secs(900);
/// How long a node has notices to itself; it takes them anew while it lives.
const LEASE_MS: i64 = 300_000;

/// How it is with one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Level {
    /// Nothing is the matter.
    Well,
    /// Neither bad nor well: what stood stands, what did not does not begin.
    Between,
    /// It stands; what is the matter, in a sentence, with no answer of anybody in it.
    Bad(String),
}

/// One cause, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign {
    /// Which one.
    pub cause: Cause,
    /// How it is.
    pub level: Level,
}

/// All that was seen at one time. A cause of a group that was seen, but of which nothing is said, is well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// What was seen.
    pub signs: Vec<Sign>,
    /// What could not be looked at, or not at all of it: something in it can begin, and nothing can be over.
    pub unseen: Vec<Group>,
}

impl Look {
    /// Nothing was looked at: no cause begins or ends.
    pub fn at_nothing() -> Self {
        Self { signs: vec![], unseen: Group::ALL.to_vec() }
    }
}

/// What a notice tells of its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It began.
    Raised,
    /// It still stands.
    Repeated,
    /// It is over.
    Recovered,
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The same at every try.
    pub id: String,
    /// Of what.
    pub cause: Cause,
    /// What of it.
    pub kind: Kind,
    /// Since when the cause stands, in milliseconds since 1970.
    pub since_ms: i64,
    /// What is the matter, in a sentence; no answer of anybody in it.
    pub text: String,
    /// What to do about it.
    pub remedy: &'static str,
    /// The node that saw it, where several share a store.
    pub node: Option<String>,
}

/// A change of what is known of a cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Of which.
    pub cause: Cause,
    /// The writing that it changes; `None` if nothing may stand there.
    pub before: Option<Version>,
    /// What is known now; `None` when it is over and everybody knows.
    pub after: Option<Alert>,
    /// The notice that this makes, if it makes one.
    pub notice: Option<Notice>,
}

#[derive(Debug, Clone)]
struct Known {
    alert: Alert,
    /// Whether the store has it, too.
    is_kept: bool,
    /// The writing that was read last; unknown after one of our own, until it is read.
    version: Option<Version>,
}

/// What one node knows of the causes that stand.
#[derive(Debug)]
pub struct Watch {
    /// Itself.
    node: String,
    /// What it is called in a notice, where several share a store.
    name: Option<String>,
    sinks: BTreeSet<String>,
    known: BTreeMap<Cause, Known>,
    /// Since when this node sees to be well what stands.
    well_since: BTreeMap<Cause, i64>,
    /// Notices and the sinks that took them, until that is written.
    taken: BTreeSet<(String, String)>,
}

impl Watch {
    /// Nothing stands yet. The node's name, where several share a store; and the names of the sinks.
    pub fn new(name: Option<String>, sinks: impl IntoIterator<Item = String>) -> Self {
        Self {
            node: name.clone().unwrap_or_default(),
            name,
            sinks: sinks.into_iter().collect(),
            known: BTreeMap::new(),
            well_since: BTreeMap::new(),
            taken: BTreeSet::new(),
        }
    }

    /// Knows what the store has. What could not be written stays, unless somebody else has written of the same cause; and
    /// everything does if the store does not say.
    pub fn read(&mut self, stored: Option<Vec<(Alert, Version)>>) {
        let Some(stored) = stored else { return };
        let known = |(alert, version): (Alert, Version)| {
            (alert.cause.clone(), Known { alert, is_kept: true, version: Some(version) })
        };
        let stored = stored.into_iter().map(known).collect();
        let before = std::mem::replace(&mut self.known, stored);
        for (cause, known) in before.into_iter().filter(|(_, known)| !known.is_kept) {
            self.known.entry(cause).or_insert(known);
        }
        self.well_since.retain(|cause, _| self.known.contains_key(cause));
    }

    /// Compares what is seen now with what is known.
    pub fn look(&mut self, now_ms: i64, look: &Look) -> Vec<Step> {
        let levels: BTreeMap<&Cause, &Level> =
            look.signs.iter().map(|sign| (&sign.cause, &sign.level)).collect();
        let ids: BTreeSet<&str> = self.known.values().map(|known| known.alert.notice.as_str()).collect();
        self.taken.retain(|(notice, _)| ids.contains(notice.as_str()));
        let causes: BTreeSet<Cause> =
            levels.keys().map(|cause| (*cause).clone()).chain(self.known.keys().cloned()).collect();
        let steps = causes.into_iter().filter_map(|cause| {
            let level = match levels.get(&cause) {
                Some(Level::Well) | None if look.unseen.contains(&cause.group()) => None,
                level => Some(level.copied().unwrap_or(&Level::Well)),
            };
            self.step(now_ms, cause, level)
        });
        steps.collect()
    }

    fn step(&mut self, now_ms: i64, cause: Cause, level: Option<&Level>) -> Option<Step> {
        let known = self.known.get(&cause);
        let calm = match (level, known) {
            (Some(Level::Well), Some(_)) => {
                let since_ms = *self.well_since.entry(cause.clone()).or_insert(now_ms);
                passed(since_ms, now_ms) >= cause.calm()
            }
            (Some(Level::Bad(_) | Level::Between), _) => {
                self.well_since.remove(&cause);
                false
            }
            _ => false,
        };
        let alert = known.map(|known| &known.alert);
        let before = known.and_then(|known| known.version);
        let next = self.next(now_ms, &cause, level, calm, alert)?;
        let is_new = alert.is_none_or(|alert| alert.notice != next.notice);
        let is_known = known.is_some_and(|known| known.is_kept && known.alert == next);
        let is_over = !next.stands() && next.owed.is_empty();
        let notice = is_new.then(|| next.to_notice());
        (is_over || !is_known).then(|| Step { cause, before, after: (!is_over).then_some(next), notice })
    }

    /// What is known next of a cause that is on this level; `None` if nothing was and nothing is.
    fn next(
        &self,
        now_ms: i64,
        cause: &Cause,
        level: Option<&Level>,
        calm: bool,
        alert: Option<&Alert>,
    ) -> Option<Alert> {
        let mut next = match (level, alert) {
            (Some(Level::Bad(text)), Some(alert)) if alert.stands() => {
                let mut next = alert.clone();
                let said_ms = next.seen.get(&self.node);
                if said_ms.is_none_or(|said_ms| passed(*said_ms, now_ms) >= SEEN_AGAIN) {
                    next.seen.insert(self.node.clone(), now_ms);
                }
                if passed(next.told_ms, now_ms) >= AGAIN {
                    next = self.told(next, now_ms, Kind::Repeated, format!("Still: {text}"));
                }
                next
            }
            (Some(Level::Bad(text)), _) => self.raised(now_ms, cause, text.clone()),
            (Some(Level::Well), Some(alert)) if calm && alert.stands() => {
                let mut next = alert.clone();
                next.seen.remove(&self.node);
                next.seen.retain(|_, said_ms| passed(*said_ms, now_ms) < GONE);
                if next.seen.is_empty() {
                    let text = format!("Recovered: {cause}.");
                    next = self.told(next, now_ms, Kind::Recovered, text);
                }
                next
            }
            (_, alert) => alert?.clone(),
        };
        let notice = next.notice.clone();
        next.owed.retain(|sink| {
            self.sinks.contains(sink) && !self.taken.contains(&(notice.clone(), sink.clone()))
        });
        let ends_soon = next.until_ms.saturating_sub(now_ms) < LEASE_MS / 2;
        if !next.owed.is_empty() && (next.until_ms <= now_ms || (next.teller == self.node && ends_soon)) {
            next.teller.clone_from(&self.node);
            next.until_ms = now_ms.saturating_add(LEASE_MS);
        }
        Some(next)
    }

    fn raised(&self, now_ms: i64, cause: &Cause, text: String) -> Alert {
        let unsaid = Alert {
            cause: cause.clone(),
            since_ms: now_ms,
            kind: Kind::Raised,
            notice: String::new(),
            told_ms: now_ms,
            text: String::new(),
            node: None,
            seen: BTreeMap::from([(self.node.clone(), now_ms)]),
            owed: BTreeSet::new(),
            teller: String::new(),
            until_ms: 0,
        };
        self.told(unsaid, now_ms, Kind::Raised, text)
    }

    /// The same with a new notice, which this node tells.
    fn told(&self, alert: Alert, now_ms: i64, kind: Kind, text: String) -> Alert {
        Alert {
            kind,
            notice: format!("alert_{}", uuid::Uuid::new_v8(rand::random())),
            told_ms: now_ms,
            text,
            node: self.name.clone(),
            owed: self.sinks.clone(),
            teller: self.node.clone(),
            until_ms: now_ms.saturating_add(LEASE_MS),
            ..alert
        }
    }

    /// The step was written.
    pub fn written(&mut self, step: Step) {
        match step.after {
            Some(alert) => self.known.insert(step.cause, Known { alert, is_kept: true, version: None }),
            None => self.known.remove(&step.cause),
        };
    }

    /// The step could not be written. Whether it is told all the same: that something is over can wait for the store.
    pub fn unwritten(&mut self, step: Step) -> bool {
        let Some(alert) = step.after.filter(Alert::stands) else { return false };
        self.known.insert(step.cause, Known { alert, is_kept: false, version: None });
        true
    }

    /// The sink took the notice.
    pub fn took(&mut self, sink: String, notice: String) {
        self.taken.insert((notice, sink));
    }

    /// What this node has to tell the sink, the oldest first.
    pub fn wanted(&self, sink: &str) -> Vec<Notice> {
        let mine = |known: &&Known| {
            let alert = &known.alert;
            let taken = self.taken.contains(&(alert.notice.clone(), sink.to_owned()));
            alert.teller == self.node && alert.owed.contains(sink) && !taken
        };
        let mut alerts: Vec<&Alert> = self.known.values().filter(mine).map(|known| &known.alert).collect();
        alerts.sort_by_key(|alert| alert.told_ms);
        alerts.into_iter().map(Alert::to_notice).collect()
    }
}

fn passed(from_ms: i64, to_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0))
}

#[cfg(test)]
mod tests;

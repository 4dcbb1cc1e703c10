//! Which causes stand, and which notices that makes. Pure: the time is an argument.
//!
//! Invariant: the notices of a cause are one that it began, then at most one a day that it still stands, then one that it
//! is over. It is over when it has been seen to be well for a while, never because it could not be seen.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Cause, Group};

/// How often a cause that stands is told again.
const AGAIN: Duration = Duration::from_secs(24 * 3600);

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
    /// What could not be looked at.
    pub unseen: Vec<Group>,
}

/// What a notice tells of its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

#[derive(Debug)]
struct Standing {
    since_ms: i64,
    told_ms: i64,
    well_since_ms: Option<i64>,
}

/// The causes that stand.
#[derive(Debug, Default)]
pub struct Watch {
    standing: BTreeMap<Cause, Standing>,
}

impl Watch {
    /// Nothing stands yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compares what is seen now with what stood before.
    pub fn look(&mut self, now_ms: i64, look: &Look) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut seen: BTreeMap<&Cause, &Level> = BTreeMap::new();
        for sign in &look.signs {
            seen.insert(&sign.cause, &sign.level);
        }
        for (cause, level) in &seen {
            let Level::Bad(text) = level else { continue };
            let (kind, since_ms) = match self.standing.get_mut(*cause) {
                None => {
                    let standing = Standing { since_ms: now_ms, told_ms: now_ms, well_since_ms: None };
                    self.standing.insert((*cause).clone(), standing);
                    (Kind::Raised, now_ms)
                }
                Some(standing) => {
                    standing.well_since_ms = None;
                    if passed(standing.told_ms, now_ms) < AGAIN {
                        continue;
                    }
                    standing.told_ms = now_ms;
                    (Kind::Repeated, standing.since_ms)
                }
            };
            let text = match kind {
                Kind::Repeated => format!("Still: {text}"),
                _ => text.clone(),
            };
            notices.push(Notice { cause: (*cause).clone(), kind, since_ms, text, remedy: cause.remedy() });
        }
        self.standing.retain(|cause, standing| {
            match seen.get(cause) {
                Some(Level::Bad(_)) => return true,
                Some(Level::Between) => {
                    standing.well_since_ms = None;
                    return true;
                }
                Some(Level::Well) => {}
                None if look.unseen.contains(&cause.group()) => return true,
                None => {}
            }
            let well_since_ms = *standing.well_since_ms.get_or_insert(now_ms);
            if passed(well_since_ms, now_ms) < cause.calm() {
                return true;
            }
            notices.push(Notice {
                cause: cause.clone(),
                kind: Kind::Recovered,
                since_ms: standing.since_ms,
                text: format!("Recovered: {cause}."),
                remedy: "Nothing to do.",
            });
            false
        });
        notices
    }
}

fn passed(from_ms: i64, to_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn look(signs: &[(Cause, bool)]) -> Look {
        let level = |bad: bool| if bad { Level::Bad("It is bad.".to_owned()) } else { Level::Well };
        let signs = signs.iter().map(|(cause, bad)| Sign { cause: cause.clone(), level: level(*bad) });
        Look { signs: signs.collect(), unseen: vec![] }
    }

    fn told(notices: &[Notice]) -> Vec<String> {
        let mark = |notice: &Notice| match notice.kind {
            Kind::Raised => "+",
            Kind::Repeated => "=",
            Kind::Recovered => "-",
        };
        notices.iter().map(|notice| format!("{}{}", mark(notice), notice.cause)).collect()
    }

    #[test]
    fn a_cause_is_told_when_it_begins_each_day_that_it_stands_and_when_it_is_over() {
        let dead = Cause::DeadLetters("crm".to_owned());
        let mut watch = Watch::new();
        let bad = look(&[(dead.clone(), true)]);
        assert_eq!(told(&watch.look(0, &bad)), ["+dead_letters crm"]);
        assert_eq!(told(&watch.look(HOUR_MS, &bad)), Vec::<String>::new(), "more of the same is no news");
        let again = watch.look(24 * HOUR_MS, &bad);
        assert_eq!(told(&again), ["=dead_letters crm"]);
        assert_eq!((again[0].since_ms, again[0].text.as_str()), (0, "Still: It is bad."));
        assert_eq!(told(&watch.look(47 * HOUR_MS, &bad)), Vec::<String>::new());
        assert_eq!(told(&watch.look(48 * HOUR_MS, &bad)), ["=dead_letters crm"]);
        let over = watch.look(49 * HOUR_MS, &look(&[(dead, false)]));
        assert_eq!(told(&over), ["-dead_letters crm"]);
        assert_eq!(over[0].since_ms, 0);
    }

    #[test]
    fn what_cannot_be_seen_is_not_over_and_what_is_gone_is() {
        let (dead, disk) = (Cause::DeadLetters("crm".to_owned()), Cause::Disk);
        let mut watch = Watch::new();
        watch.look(0, &look(&[(dead, true), (disk, true)]));
        let blind = Look { signs: vec![], unseen: vec![Group::Stored, Group::Disk] };
        assert_eq!(told(&watch.look(HOUR_MS, &blind)), Vec::<String>::new());
        assert_eq!(
            told(&watch.look(2 * HOUR_MS, &look(&[]))),
            ["-dead_letters crm"],
            "the disk is calm later"
        );
        assert_eq!(told(&watch.look(3 * HOUR_MS, &look(&[]))), ["-disk"]);
    }

    #[test]
    fn between_bad_and_well_nothing_begins_and_nothing_ends() {
        let cause = Cause::QueueAge("crm".to_owned());
        let between =
            Look { signs: vec![Sign { cause: cause.clone(), level: Level::Between }], unseen: vec![] };
        let mut watch = Watch::new();
        assert_eq!(told(&watch.look(0, &between)), Vec::<String>::new());
        watch.look(1, &look(&[(cause.clone(), true)]));
        assert_eq!(told(&watch.look(HOUR_MS, &between)), Vec::<String>::new());
        assert_eq!(told(&watch.look(HOUR_MS + 1, &look(&[(cause, false)]))), ["-queue_age crm"]);
    }

    /// How it was at each look, ten seconds apart.
    fn history() -> impl Strategy<Value = Vec<Option<Level>>> {
        let level = prop_oneof![
            Just(None),
            Just(Some(Level::Well)),
            Just(Some(Level::Between)),
            Just(Some(Level::Bad("Bad.".to_owned()))),
        ];
        // Runs, so that calm times pass, too.
        proptest::collection::vec((level, 1..40_usize), 1..60)
            .prop_map(|runs| runs.into_iter().flat_map(|(level, times)| vec![level; times]).collect())
    }

    proptest! {
        #[test]
        fn notices_alternate_and_never_flap(history in history(), which in 0..4_usize) {
            let cause = [
                Cause::Breaker("crm".to_owned()), Cause::Latency, Cause::Store, Cause::DeadLetters("crm".to_owned()),
            ][which].clone();
            let mut watch = Watch::new();
            let (mut stands, mut told_ms, mut ended_ms) = (false, 0_i64, None::<i64>);
            let mut last_not_well_ms = 0_i64;
            for (step, level) in history.iter().enumerate() {
                let now_ms = 10_000 * i64::try_from(step).expect("few");
                let look = Look {
                    unseen: if level.is_none() { vec![cause.group()] } else { vec![] },
                    signs: level.iter().map(|level| Sign { cause: cause.clone(), level: level.clone() }).collect(),
                };
                if matches!(level, Some(Level::Bad(_) | Level::Between)) {
                    last_not_well_ms = now_ms;
                }
                let notices = watch.look(now_ms, &look);
                prop_assert!(notices.len() <= 1);
                for notice in notices {
                    match notice.kind {
                        Kind::Raised => {
                            prop_assert!(!stands && matches!(level, Some(Level::Bad(_))));
                            // Between an end and the next beginning the cause was well for its calm time.
                            if let Some(ended_ms) = ended_ms {
                                prop_assert!(now_ms > ended_ms);
                            }
                            (stands, told_ms) = (true, now_ms);
                        }
                        Kind::Repeated => {
                            prop_assert!(stands && passed(told_ms, now_ms) >= AGAIN);
                            told_ms = now_ms;
                        }
                        Kind::Recovered => {
                            prop_assert!(stands && level == &Some(Level::Well));
                            prop_assert!(passed(last_not_well_ms, now_ms) >= cause.calm());
                            (stands, ended_ms) = (false, Some(now_ms));
                        }
                    }
                }
                // Nothing that is bad goes untold.
                prop_assert!(stands || !matches!(level, Some(Level::Bad(_))));
            }
        }

        #[test]
        fn what_comes_and_goes_within_its_calm_time_is_one_cause(pattern in proptest::collection::vec(1..6_usize, 1..50)) {
            let cause = Cause::Breaker("crm".to_owned());
            let mut watch = Watch::new();
            let mut notices = Vec::new();
            let mut now_ms = 0;
            for times in pattern {
                notices.extend(watch.look(now_ms, &look(&[(cause.clone(), true)])));
                for _ in 0..times {
                    now_ms += 10_000;
                    notices.extend(watch.look(now_ms, &look(&[(cause.clone(), false)])));
                }
                now_ms += 10_000;
            }
            prop_assert_eq!(told(&notices), ["+breaker crm"]);
        }
    }
}

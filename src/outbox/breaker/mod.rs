//! Spares a destination that fails: after some failures nothing is sent for a while, then one probe. Pure: the time and
//! randomness are arguments.
//!
//! Invariant: while it is open no delivery is attempted, so none of those that wait loses an attempt. Only what was begun
//! since the last change counts, so a late answer from before neither opens nor closes anything.

mod shared;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

pub(super) use self::shared::Kept;

/// When a breaker opens, and for how long (reliability notes 2.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// It opens at so many failures in a row,
    pub failures_in_row: u32,
    /// or when of so many attempts or more
    pub min_attempts: u32,
    /// within this time
    pub window_ms: i64,
    /// this part failed.
    pub failed_percent: u32,
    /// How long it is open at first; twice as long after each probe that fails.
    pub open_ms: i64,
    /// The longest it stays open, before it is spread.
    pub max_open_ms: i64,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures_in_row: 5,
            min_attempts: 10,
            window_ms: 60_000,
            failed_percent: 50,
            open_ms: 30_000,
            max_open_ms: 15 * 60_000,
        }
    }
}

/// More attempts than this within the window are not remembered.
const MAX_REMEMBERED: usize = 1_024;

/// What an attempt says about its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It works.
    Well,
    /// It does not.
    Failed,
    /// It asked for patience. In a row with others like it this counts once: it works, as slowly as it says.
    Busy,
    /// It answered, and refused this one delivery: no sign that it fails, and as good as any that it is there.
    Refused,
    /// Nothing was learnt.
    Nothing,
}

/// Whether an attempt may begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// As many as there are.
    All,
    /// One, to see whether the destination is back.
    Probe,
    /// None before this time.
    From(i64),
    /// None before the probe has ended.
    AfterProbe,
}

/// Since which change an attempt was begun; it is handed back with the attempt's sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(u64);

/// What a sign has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It opened.
    Opened,
    /// A probe failed: it stays open.
    StillOpen,
    /// The destination is back.
    Closed,
}

/// An open breaker: what is stored, and what people see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Since when the destination has been failing.
    pub since_ms: i64,
    /// When the next probe may be sent.
    pub until_ms: i64,
    /// How many probes have failed.
    pub probes: u32,
}

impl Open {
    /// From then on the destination is shown as failing, not merely as disturbed.
    const FAILING_AFTER_MS: i64 = 72 * 3_600_000;

    /// Whether it has been open for so long that somebody must look.
    #[must_use]
    pub fn is_failing(&self, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= Self::FAILING_AFTER_MS
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Closed { in_row: u32, busy_in_row: bool, attempts: VecDeque<(i64, bool)> },
    Open(Open),
    Probing(Open),
}

impl State {
    fn closed() -> Self {
        Self::Closed { in_row: 0, busy_in_row: false, attempts: VecDeque::new() }
    }
}

/// The breaker of one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
    epoch: u64,
}

impl Breaker {
    /// A closed one, or one as it was left: a process that begins again does not forget that a destination fails.
    #[must_use]
    pub fn new(policy: BreakerPolicy, left: Option<Open>) -> Self {
        Self { policy, state: left.map_or_else(State::closed, State::Open), epoch: 0 }
    }

    /// How it is open, if it is.
    #[must_use]
    pub fn open(&self) -> Option<Open> {
        match &self.state {
            State::Closed { .. } => None,
            State::Open(open) | State::Probing(open) => Some(*open),
        }
    }

    /// Whether attempts may begin now.
    #[must_use]
    pub fn permit(&self, now_ms: i64) -> Permit {
        match &self.state {
            State::Closed { .. } => Permit::All,
            State::Probing(_) => Permit::AfterProbe,
            State::Open(open) => {
                // A clock that was set back must not keep it open for longer than it ever is.
                let longest_ms = now_ms.saturating_add(spread(self.policy.max_open_ms, u64::MAX));
                let until_ms = open.until_ms.min(longest_ms);
                if until_ms <= now_ms { Permit::Probe } else { Permit::From(until_ms) }
            }
        }
    }

    /// Takes over how it is kept in the store, where another node may have opened, probed or closed it. What a probe of
    /// this node's finds out goes before that.
    pub fn adopt(&mut self, kept: Option<Open>) {
        let state = match (&self.state, kept) {
            (State::Probing(_), _) | (State::Closed { .. }, None) => return,
            (State::Open(open), Some(kept)) if *open == kept => return,
            (_, None) => State::closed(),
            (_, Some(kept)) => State::Open(kept),
        };
        self.state = state;
        self.epoch += 1;
    }

    /// Says that an attempt begins, which the permit allowed.
    pub fn begin(&mut self) -> Epoch {
        if let State::Open(open) = self.state {
            self.state = State::Probing(open);
            self.epoch += 1;
        }
        Epoch(self.epoch)
    }

    /// Says how an attempt ended that was begun in this epoch.
    pub fn record(&mut self, epoch: Epoch, sign: Sign, now_ms: i64, random: u64) -> Option<Change> {
        if epoch.0 != self.epoch {
            return None;
        }
        match &mut self.state {
            State::Open(_) => None,
            State::Probing(open) => {
                let mut open = *open;
                self.epoch += 1;
                match sign {
                    Sign::Well | Sign::Refused => {
                        self.state = State::closed();
                        Some(Change::Closed)
                    }
                    Sign::Nothing => {
                        self.state = State::Open(open);
                        None
                    }
                    Sign::Failed | Sign::Busy => {
                        open.probes = open.probes.saturating_add(1);
                        open.until_ms = now_ms.saturating_add(self.open_ms(open.probes, random));
                        self.state = State::Open(open);
                        Some(Change::StillOpen)
                    }
                }
            }
            State::Closed { in_row, busy_in_row, attempts } => {
                let failed = match sign {
                    Sign::Refused | Sign::Nothing => return None,
                    Sign::Busy if *busy_in_row => return None,
                    Sign::Busy | Sign::Failed => true,
                    Sign::Well => false,
                };
                *busy_in_row = failed && (*busy_in_row || sign == Sign::Busy);
                *in_row = if failed { in_row.saturating_add(1) } else { 0 };
                let policy = self.policy;
                let is_recent = |at_ms: i64| (0..policy.window_ms).contains(&now_ms.saturating_sub(at_ms));
                attempts.retain(|(at_ms, _)| is_recent(*at_ms));
                if attempts.len() == MAX_REMEMBERED {
                    attempts.pop_front();
                }
                attempts.push_back((now_ms, failed));
                let (all, bad) = (attempts.len(), attempts.iter().filter(|(_, failed)| *failed).count());
                let mostly =
                    all >= policy.min_attempts as usize && bad * 100 >= all * policy.failed_percent as usize;
                if *in_row < policy.failures_in_row && !(failed && mostly) {
                    return None;
                }
                self.epoch += 1;
                let until_ms = now_ms.saturating_add(self.open_ms(0, random));
                self.state = State::Open(Open { since_ms: now_ms, until_ms, probes: 0 });
                Some(Change::Opened)
            }
        }
    }

    fn open_ms(&self, probes: u32, random: u64) -> i64 {
        let doubled =
            self.policy.open_ms.saturating_mul(1_i64.checked_shl(probes.min(32)).unwrap_or(i64::MAX));
        spread(doubled.min(self.policy.max_open_ms), random)
    }
}

/// Times 0.8 to 1.2, so that many breakers that opened together do not all probe together.
fn spread(wait_ms: i64, random: u64) -> i64 {
    let thousandths =
        if random == u64::MAX { 1_200 } else { i64::try_from(random % 401).unwrap_or(200) + 800 };
    (wait_ms / 1_000).saturating_mul(thousandths)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The random number that gives the factor 1.
    const EVEN: u64 = 200;

    fn breaker() -> Breaker {
        Breaker::new(BreakerPolicy::default(), None)
    }

    fn attempt(breaker: &mut Breaker, sign: Sign, now_ms: i64) -> Option<Change> {
        let epoch = breaker.begin();
        breaker.record(epoch, sign, now_ms, EVEN)
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_four_do_not() {
        let mut breaker = breaker();
        for _ in 0..4 {
            assert_eq!(attempt(&mut breaker, Sign::Failed, 0), None);
        }
        assert_eq!(attempt(&mut breaker, Sign::Well, 0), None);
        for _ in 0..4 {
            assert_eq!(attempt(&mut breaker, Sign::Failed, 100_000), None);
        }
        assert_eq!(attempt(&mut breaker, Sign::Failed, 100_000), Some(Change::Opened));
        assert_eq!(breaker.permit(100_000), Permit::From(130_000));
        assert_eq!(breaker.permit(130_000), Permit::Probe);
    }

    #[test]
    fn half_of_ten_failures_within_a_minute_open_it_and_not_over_two_minutes() {
        for (step_ms, opens) in [(6_000, true), (13_000, false)] {
            let mut breaker = breaker();
            let changes: Vec<_> = (0..10)
                .filter_map(|n| {
                    let sign = if n % 2 == 0 { Sign::Well } else { Sign::Failed };
                    attempt(&mut breaker, sign, n * step_ms)
                })
                .collect();
            assert_eq!(changes, if opens { vec![Change::Opened] } else { vec![] }, "{step_ms}");
        }
    }

    #[test]
    fn refusals_do_not_count_and_requests_for_patience_count_once() {
        let mut breaker = breaker();
        for _ in 0..50 {
            assert_eq!(attempt(&mut breaker, Sign::Refused, 0), None);
            assert_eq!(attempt(&mut breaker, Sign::Busy, 0), None);
            assert_eq!(attempt(&mut breaker, Sign::Nothing, 0), None);
        }
        for _ in 0..3 {
            assert_eq!(attempt(&mut breaker, Sign::Failed, 0), None);
        }
        assert_eq!(attempt(&mut breaker, Sign::Failed, 0), Some(Change::Opened));
    }

    #[test]
    fn one_probe_decides_and_each_that_fails_doubles_the_wait_up_to_a_quarter_of_an_hour() {
        let mut breaker = breaker();
        while attempt(&mut breaker, Sign::Failed, 0).is_none() {}
        let mut now_ms = 0;
        let mut waits = vec![];
        for _ in 0..8 {
            let Permit::From(until_ms) = breaker.permit(now_ms) else { panic!("it is open") };
            waits.push((until_ms - now_ms) / 1_000);
            now_ms = until_ms;
            assert_eq!(breaker.permit(now_ms), Permit::Probe);
            let probe = breaker.begin();
            assert_eq!(breaker.permit(now_ms), Permit::AfterProbe, "one at a time");
            assert_eq!(breaker.record(probe, Sign::Failed, now_ms, EVEN), Some(Change::StillOpen));
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 900, 900, 900]);
        let Permit::From(until_ms) = breaker.permit(now_ms) else { panic!("it is open") };
        assert_eq!(breaker.open().map(|open| (open.since_ms, open.probes)), Some((0, 8)));
        assert_eq!(attempt(&mut breaker, Sign::Nothing, until_ms), None);
        assert_eq!(breaker.permit(until_ms), Permit::Probe, "a probe that taught nothing is made again");
        assert_eq!(attempt(&mut breaker, Sign::Refused, until_ms), Some(Change::Closed));
        assert_eq!(breaker.permit(until_ms), Permit::All);
    }

    #[test]
    fn an_answer_from_before_the_last_change_changes_nothing() {
        let mut breaker = breaker();
        let early = breaker.begin();
        while attempt(&mut breaker, Sign::Failed, 0).is_none() {}
        assert_eq!(breaker.record(early, Sign::Well, 1, EVEN), None);
        let probe = breaker.begin();
        assert_eq!(breaker.record(early, Sign::Well, 30_000, EVEN), None);
        assert_eq!(breaker.permit(30_000), Permit::AfterProbe);
        assert_eq!(breaker.record(probe, Sign::Well, 30_001, EVEN), Some(Change::Closed));
        assert_eq!(breaker.record(early, Sign::Failed, 30_002, EVEN), None);
    }

    #[test]
    fn a_process_that_begins_again_and_a_clock_set_back_keep_it_open_no_longer_than_it_ever_is() {
        let left = Open { since_ms: 0, until_ms: i64::MAX, probes: 3 };
        let breaker = Breaker::new(BreakerPolicy::default(), Some(left));
        assert_eq!(breaker.permit(-1_000_000), Permit::From(-1_000_000 + 18 * 60_000));
        assert!(!left.is_failing(71 * 3_600_000) && left.is_failing(72 * 3_600_000));
    }

    fn sign() -> impl Strategy<Value = Sign> {
        prop::sample::select(vec![Sign::Well, Sign::Failed, Sign::Busy, Sign::Refused, Sign::Nothing])
    }

    proptest! {
        // Whatever happens in whatever order: never more than one probe at a time, a wait is bounded, and after a wait and
        // a good probe all may go.
        #[test]
        fn it_never_gets_stuck(
            steps in prop::collection::vec((sign(), -100_000i64..1_000_000, any::<u64>(), any::<bool>()), 0..200),
        ) {
            let (mut breaker, mut now_ms) = (breaker(), 0i64);
            let mut under_way: Vec<Epoch> = vec![];
            let mut probes = 0;
            for (sign, by_ms, random, begin) in steps {
                now_ms += by_ms;
                match breaker.permit(now_ms) {
                    Permit::All if begin => under_way.push(breaker.begin()),
                    Permit::Probe if begin => {
                        under_way.push(breaker.begin());
                        probes += 1;
                        prop_assert_eq!(breaker.permit(now_ms), Permit::AfterProbe);
                    }
                    Permit::From(until_ms) => prop_assert!((1..=18 * 60_000).contains(&(until_ms - now_ms))),
                    _ if under_way.is_empty() => {}
                    _ => {
                        let epoch = under_way.remove((random % under_way.len() as u64) as usize);
                        breaker.record(epoch, sign, now_ms, random);
                    }
                }
            }
            for epoch in under_way {
                breaker.record(epoch, Sign::Nothing, now_ms, 0);
            }
            now_ms += 18 * 60_000 + 1;
            if breaker.permit(now_ms) != Permit::All {
                prop_assert_eq!(breaker.permit(now_ms), Permit::Probe, "after {} probes", probes);
                prop_assert_eq!(attempt(&mut breaker, Sign::Well, now_ms), Some(Change::Closed));
            }
            prop_assert_eq!(breaker.permit(now_ms), Permit::All);
        }
    }
}

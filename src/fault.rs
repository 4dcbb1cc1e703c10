//! Faults on purpose: named points at which a test-only build dies, stumbles or breaks a promise, and a quicker clock.
//!
//! Invariant: without the feature `faults` nothing here does anything, decided when it is compiled: no variable, no file and
//! no request reaches it. With it, `FORMGATE_FAULTS__POINTS` arms points and `FORMGATE_FAULTS__TIME` changes the outbox's
//! clock, so that `tests/faults` can kill the real program between any two durable steps and see a control fail.
//!
//! What is armed is the process's, set once at its start: a point stands in the middle of a transaction, where no handle
//! would come by otherwise. It deliberately knows nothing of what it interrupts.

#[cfg(feature = "faults")]
pub use self::armed::{InvalidOrder, Orders, arm};

/// Dies, panics or sleeps here if this point is armed to and it is its turn.
#[inline]
pub fn point(name: &str) {
    #[cfg(feature = "faults")]
    armed::point(name);
    #[cfg(not(feature = "faults"))]
    let _ = name;
}

/// Whether a promise of this name is to be broken, at this turn.
#[inline]
#[must_use]
pub fn is_on(name: &str) -> bool {
    #[cfg(feature = "faults")]
    return armed::is_on(name);
    #[cfg(not(feature = "faults"))]
    {
        let _ = name;
        false
    }
}

/// The time of the outbox at this wall time; the same unless a test runs the clock faster.
#[inline]
#[must_use]
pub fn stretched_ms(wall_ms: i64) -> i64 {
    #[cfg(feature = "faults")]
    return armed::stretched_ms(wall_ms);
    #[cfg(not(feature = "faults"))]
    wall_ms
}

/// How long a wait of the outbox really takes; the same unless a test runs the clock faster.
#[inline]
#[must_use]
pub fn real_wait_ms(wait_ms: u64) -> u64 {
    #[cfg(feature = "faults")]
    return armed::real_wait_ms(wait_ms);
    #[cfg(not(feature = "faults"))]
    wait_ms
}

#[cfg(feature = "faults")]
mod armed {
    use std::str::FromStr;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    /// Written once, when the process starts.
    static ORDERS: OnceLock<Orders> = OnceLock::new();

    /// What a test wants.
    #[derive(Debug, Default)]
    pub struct Orders {
        points: Vec<Armed>,
        time: Time,
    }

    /// A variable that says nothing this build understands.
    #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
    #[error("\"{0}\" is no order: name:kill|panic|on[:nth], name:sleep=MS[:nth], or base_ms:scale:ahead_ms")]
    pub struct InvalidOrder(String);

    #[derive(Debug)]
    struct Armed {
        name: String,
        action: Action,
        /// At which passage; every one if it is not said.
        nth: Option<u64>,
        passed: AtomicU64,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Action {
        Kill,
        Panic,
        Sleep(Duration),
        On,
    }

    /// `base + (wall - base) * scale + ahead`: the same for every process that is given the same.
    #[derive(Debug, Clone, Copy)]
    struct Time {
        base_ms: i64,
        scale: i64,
        ahead_ms: i64,
    }

    impl Default for Time {
        fn default() -> Self {
            Self { base_ms: 0, scale: 1, ahead_ms: 0 }
        }
    }

    impl Orders {
        /// Reads both variables; an absent one is empty.
        pub fn read(points: &str, time: &str) -> Result<Self, InvalidOrder> {
            let points = points.split(',').filter(|order| !order.is_empty());
            let points = points.map(str::parse).collect::<Result<_, _>>()?;
            let time = if time.is_empty() { Time::default() } else { time.parse()? };
            Ok(Self { points, time })
        }
    }

    impl FromStr for Armed {
        type Err = InvalidOrder;

        fn from_str(text: &str) -> Result<Self, InvalidOrder> {
            let invalid = || InvalidOrder(text.to_owned());
            let mut parts = text.split(':');
            let (name, action) = (parts.next().ok_or_else(invalid)?, parts.next().ok_or_else(invalid)?);
            let action = match action.split_once('=') {
                Some(("sleep", ms)) => {
                    Action::Sleep(Duration::from_millis(ms.parse().map_err(|_| invalid())?))
                }
                None if action == "kill" => Action::Kill,
                None if action == "panic" => Action::Panic,
                None if action == "on" => Action::On,
                _ => return Err(invalid()),
            };
            let nth = parts.next().map(str::parse).transpose().map_err(|_| invalid())?;
            if parts.next().is_some() {
                return Err(invalid());
            }
            Ok(Self { name: name.to_owned(), action, nth, passed: AtomicU64::new(0) })
        }
    }

    impl FromStr for Time {
        type Err = InvalidOrder;

        fn from_str(text: &str) -> Result<Self, InvalidOrder> {
            let numbers = text.split(':').map(str::parse).collect::<Result<Vec<i64>, _>>();
            match numbers.as_deref() {
                Ok([base_ms, scale, ahead_ms]) if *scale > 0 => {
                    Ok(Self { base_ms: *base_ms, scale: *scale, ahead_ms: *ahead_ms })
                }
                _ => Err(InvalidOrder(text.to_owned())),
            }
        }
    }

    impl Armed {
        fn is_its_turn(&self) -> bool {
            let passage = self.passed.fetch_add(1, Ordering::Relaxed) + 1;
            self.nth.is_none_or(|nth| nth == passage)
        }
    }

    /// Arms this process. Only the first orders count.
    pub fn arm(orders: Orders) {
        let _first_counts = ORDERS.set(orders);
    }

    fn armed(name: &str) -> impl Iterator<Item = &'static Armed> {
        ORDERS.get().into_iter().flat_map(|orders| &orders.points).filter(move |armed| armed.name == name)
    }

    pub(super) fn point(name: &str) {
        for armed in armed(name).filter(|armed| armed.action != Action::On && armed.is_its_turn()) {
            match armed.action {
                // As sudden as SIGKILL, and at exactly this instruction: no handler, no destructor, no flush.
                Action::Kill => std::process::abort(),
                Action::Panic => panic!("a test wants this panic"),
                Action::Sleep(time) => std::thread::sleep(time),
                Action::On => {}
            }
        }
    }

    pub(super) fn is_on(name: &str) -> bool {
        armed(name).any(|armed| armed.action == Action::On && armed.is_its_turn())
    }

    pub(super) fn stretched_ms(wall_ms: i64) -> i64 {
        let Some(Orders { time, .. }) = ORDERS.get() else { return wall_ms };
        let since_base_ms = wall_ms.saturating_sub(time.base_ms);
        time.base_ms.saturating_add(since_base_ms.saturating_mul(time.scale)).saturating_add(time.ahead_ms)
    }

    pub(super) fn real_wait_ms(wait_ms: u64) -> u64 {
        let scale = ORDERS.get().map_or(1, |orders| orders.time.scale);
        wait_ms.div_ceil(scale.unsigned_abs())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn orders_are_read_and_nonsense_is_refused() {
            let orders = Orders::read("a.b:kill:3,c:on,d:sleep=20", "1000:20:-5").expect("orders");
            let read: Vec<_> = orders.points.iter().map(|a| (a.name.as_str(), a.action, a.nth)).collect();
            let sleep = Action::Sleep(Duration::from_millis(20));
            assert_eq!(read, [("a.b", Action::Kill, Some(3)), ("c", Action::On, None), ("d", sleep, None)]);
            for (points, time) in
                [("a", ""), ("a:die", ""), ("a:kill:x", ""), ("a:kill:1:2", ""), ("", "1:0:0"), ("", "1:2")]
            {
                assert!(Orders::read(points, time).is_err(), "{points} {time}");
            }
        }

        #[test]
        fn a_point_has_its_turn_once_and_one_without_a_number_always() {
            let Orders { points, .. } = Orders::read("a:on:2,b:on", "").expect("orders");
            let turns = |armed: &Armed| (0..3).map(|_| armed.is_its_turn()).collect::<Vec<_>>();
            assert_eq!(points.iter().map(turns).collect::<Vec<_>>(), [[false, true, false], [true; 3]]);
        }
    }
}

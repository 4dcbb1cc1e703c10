//! Whether the shared copy is within reach, and the versions that a node gives while it is not.
//!
//! Invariant: while Redis is down nobody waits for it; only the watcher goes on trying, and only the watcher declares it up
//! again, after it has told what must be known there first.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, RwLock, RwLockReadGuard};
use tokio::time::Instant;

/// Between two lines of the log about it.
const LOG_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Link {
    down_after: Duration,
    /// Since when everything that was asked has failed.
    failing_since: Mutex<Option<Instant>>,
    logged: Mutex<Option<Instant>>,
    down: AtomicBool,
    /// Held while something is leased of what is here alone.
    leasing: RwLock<()>,
    /// Of which generation the shared copy has everything that is here.
    whole: AtomicU64,
    /// How often something was written here alone, and up to which time of these the shared copy was told.
    written: AtomicU64,
    told: AtomicU64,
    /// How often the shared copy was another than before.
    generation: AtomicU64,
    /// How often it was looked at.
    looks: AtomicU64,
    /// The shared copy that is known, by its name.
    known: Mutex<Arc<str>>,
    last_version: AtomicI64,
    /// Whether the last that was to be confirmed was not, or nothing was yet.
    in_doubt: AtomicBool,
    /// Something failed: the watcher looks at once.
    pub(super) trouble: Notify,
    /// Something waits to be offered.
    pub(super) offer: Notify,
}

impl Link {
    pub(super) fn new(down_after: Duration) -> Self {
        Self {
            down_after,
            failing_since: Mutex::default(),
            logged: Mutex::default(),
            down: AtomicBool::new(true),
            leasing: RwLock::default(),
            whole: AtomicU64::new(u64::MAX),
            written: AtomicU64::new(1),
            told: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            looks: AtomicU64::new(0),
            known: Mutex::new(Arc::from("")),
            last_version: AtomicI64::new(1),
            in_doubt: AtomicBool::new(true),
            trouble: Notify::new(),
            offer: Notify::new(),
        }
    }

    /// Whether nothing is asked of Redis for now.
    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Acquire) == self.generation()
    }

    /// Says that the shared copy of this generation has everything; whether it is still the one that is there.
    pub(super) fn set_whole(&self, generation: u64) -> bool {
        self.whole.store(generation, Ordering::Release);
        self.is_whole()
    }

    /// Whether the shared copy lacks nothing that is here.
    pub(super) fn is_told(&self) -> bool {
        self.is_whole() && !self.is_behind()
    }

    /// Whether something is here alone.
    pub(super) fn is_behind(&self) -> bool {
        self.written.load(Ordering::Acquire) != self.told.load(Ordering::Acquire)
    }

    /// Says that something is here alone, and has it offered.
    pub(super) fn fall_behind(&self) {
        self.written.fetch_add(1, Ordering::AcqRel);
        self.offer.notify_one();
    }

    /// To be asked before the backlog is read: what comes in meanwhile is not told with it.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    pub(super) fn caught_up(&self, written: u64) {
        self.told.store(written, Ordering::Release);
    }

    /// How long Redis has been out of reach without a break.
    pub(super) fn out_for(&self) -> Duration {
        self.failing_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Redis wrote what was asked, or was seen whole. That it can still be read says nothing: one that is full, or whose disk
    /// is, refuses every write.
    pub(super) fn heard(&self) {
        if !self.is_down() {
            *self.failing_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Redis did not answer, or could not do what was asked.
    pub(super) fn missed(&self, reason: &str) {
        let mut since = self.failing_since.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *since.get_or_insert_with(Instant::now);
        if !self.is_down() {
            self.log(reason);
            if since.elapsed() >= self.down_after {
                self.down.store(true, Ordering::Release);
                tracing::error!(reason, "Redis is out of reach; this node goes on alone");
            }
            self.trouble.notify_one();
        }
    }

    /// Whether it is not known that Redis confirms what it is given.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Acquire)
    }

    /// Redis has confirmed something.
    pub(super) fn confirms(&self) {
        self.in_doubt.store(false, Ordering::Release);
    }

    /// Redis did not confirm what it was given.
    pub(super) fn confirms_not(&self, reason: &str) {
        self.in_doubt.store(true, Ordering::Release);
        self.log(reason);
    }

    /// Logs it, unless something was just now.
    pub(super) fn log(&self, reason: &str) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            *logged = Some(Instant::now());
            tracing::warn!(reason, "Redis did not do what was asked");
        }
    }

    /// Keeps Redis from being asked again until what is here alone is leased; `None` if it is asked. It would be told that
    /// nobody has that in hand, by whoever has read it just before, and would lease it a second time.
    pub(super) async fn lease_alone(&self) -> Option<RwLockReadGuard<'_, ()>> {
        let leasing = self.leasing.read().await;
        self.is_down().then_some(leasing)
    }

    /// Redis is asked again, once nothing is being leased here. `true` if it was not.
    pub(super) async fn up(&self) -> bool {
        let _nobody = self.leasing.write().await;
        *self.failing_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.down.swap(false, Ordering::AcqRel)
    }

    /// It was looked at from beginning to end.
    pub(super) fn looked(&self) {
        self.heard();
        self.looks.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Acquire)
    }

    /// The shared copy is another one, or has lost something.
    pub(super) fn lost(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Which one the shared copy was at the last look.
    pub(super) fn known(&self) -> Arc<str> {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn knows(&self, name: String) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = name.into();
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn saw(&self, version: i64) {
        self.last_version.fetch_max(version, Ordering::AcqRel);
    }

    /// A version newer than all that were seen.
    pub(super) fn next_version(&self, now_us: i64) -> i64 {
        let next = |last: i64| last.saturating_add(1).max(now_us);
        let before =
            self.last_version.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(next(last)));
        next(before.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_waits_any_more_once_it_has_failed_long_enough_and_only_up_ends_that() {
        let patient = Link::new(Duration::from_secs(3_600));
        assert!(patient.is_down() && patient.up().await);
        patient.missed("test");
        assert!(!patient.is_down() && patient.out_for() > Duration::ZERO);
        patient.heard();
        assert_eq!(patient.out_for(), Duration::ZERO, "one answer is enough");

        let link = Link::new(Duration::ZERO);
        assert!(link.up().await);
        link.missed("test");
        assert!(link.is_down());
        // An answer to something that was asked before does not bring it back.
        link.heard();
        assert!(link.is_down() && link.out_for() > Duration::ZERO);
        assert!(link.lease_alone().await.is_some());
        assert!(link.up().await && !link.is_down() && link.out_for() == Duration::ZERO);
        assert!(link.lease_alone().await.is_none());
    }

    #[test]
    fn a_version_is_newer_than_all_that_were_seen_also_if_the_clock_was_set_back() {
        let link = Link::new(Duration::ZERO);
        link.saw(1_000);
        assert_eq!(
            (link.next_version(2_000), link.next_version(500), link.next_version(2_001)),
            (2_000, 2_001, 2_002)
        );
    }
}

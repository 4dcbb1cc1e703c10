//! What the worker does when the store fails at a read or a task of it: it waits a moment, longer each time, and asks again.
//!
//! Invariant: only a store that has stopped for good ends the worker; the process ends with it. Everything else may be over
//! the next time, and what waits for its delivery must not have to wait for a restart.

use tokio::sync::watch;

use super::raised;
use crate::outbox::Outbox;
use crate::store;

/// How long the first pause is,
const FIRST_MS: i64 = 1_000;
/// and the longest, each being twice as long as the one before.
const LONGEST_MS: i64 = 60_000;

/// Failures in a row of one part of the worker.
pub(super) struct Trouble {
    /// Which part, for the log.
    part: &'static str,
    pause_ms: i64,
}

impl Trouble {
    pub(super) fn of(part: &'static str) -> Self {
        Self { part, pause_ms: 0 }
    }

    /// How long to leave the store alone after this failure; `None` if it has stopped for good.
    pub(super) fn again_in_ms(&mut self, outbox: &Outbox, error: &store::Error) -> Option<i64> {
        let error = error as &dyn std::error::Error;
        if outbox.store.fatal().borrow().is_some() {
            tracing::error!(error, part = self.part, "a part of the outbox stops with its store");
            return None;
        }
        // One line for all failures in a row.
        if self.pause_ms == 0 {
            tracing::error!(error, part = self.part, "the store failed; it is asked again until it answers");
        }
        self.pause_ms = (self.pause_ms * 2).clamp(FIRST_MS, LONGEST_MS);
        Some(self.pause_ms)
    }

    /// Waits that long. `false` if there is nothing more to do.
    pub(super) async fn wait(
        &mut self,
        outbox: &Outbox,
        error: &store::Error,
        shutdown: &mut watch::Receiver<bool>,
    ) -> bool {
        let Some(pause_ms) = self.again_in_ms(outbox, error) else { return false };
        tokio::select! {
            () = raised(shutdown) => false,
            () = outbox.clock.sleep_ms(pause_ms) => true,
        }
    }

    /// The store has answered.
    pub(super) fn is_over(&mut self) {
        if self.pause_ms > 0 {
            tracing::info!(part = self.part, "the store answers again");
            self.pause_ms = 0;
        }
    }
}

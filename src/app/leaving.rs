//! The time between being told to stop and stopping: everything is answered as before, and `/readyz` says 503, so that
//! whatever sends requests here learns in time to send them elsewhere.
//!
//! Invariant: every reply of that time ends its connection, so that nobody keeps one for the next request. It does not know
//! who sends requests, nor whether they have learned: how long it takes is a setting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::server::Response;
use crate::store::Fatal;

/// Whether this process leaves; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Leaving(Arc<AtomicBool>);

impl Leaving {
    /// Leaves for so long; cut short by a store that stops.
    pub(super) async fn leave(
        &self,
        lasts: Duration,
        fatal: &mut watch::Receiver<Option<Fatal>>,
    ) -> Option<Fatal> {
        self.0.store(true, Ordering::Release);
        if !lasts.is_zero() {
            tracing::info!(seconds = lasts.as_secs(), "leaving: not ready any more, everything is answered");
        }
        tokio::select! {
            () = tokio::time::sleep(lasts) => None,
            failed = fatal.wait_for(Option::is_some) => failed.ok().and_then(|fatal| fatal.clone()),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// A reply of this process as things are.
    pub(super) fn reply(&self, response: Response) -> Response {
        if self.is_on() { response.closing() } else { response }
    }
}

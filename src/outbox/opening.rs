//! When walks began: noted where a flow is opened, and written down in batches, beside the exchange.
//!
//! Invariant: noting costs the exchange neither a wait nor I/O, and no reply has the time in it, so copies of one opening
//! get the same bytes on every node and after a restart. What a process noted in its last second dies with it; such a walk
//! counts as begun when it was closed. No answer and no delivery hangs on it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::Outbox;
use crate::store::{self, Batch, Expectation, Put, Table};

/// How long it is known when a walk began: as long as a closing reply. Most walks that were opened are never closed.
const KEPT_MS: i64 = 24 * 3_600_000;
/// How often what was noted is written down.
const WRITE_EVERY_MS: i64 = 1_000;
/// Openings noted and not written yet; more than a node can open in the time between.
const MAX_NOTED: usize = 16_384;
/// Openings written in one commit.
const PAGE: usize = 256;
/// How long a walk waits to be told when it began.
const PATIENCE: Duration = Duration::from_millis(250);

/// The store could not say in time when a walk began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot say now whether a walk has begun")]
pub struct Unanswered;

/// Walks and when they began, in milliseconds since 1970, until they are written down.
#[derive(Default)]
pub(super) struct Openings(Mutex<HashMap<[u8; 16], i64>>);

impl Openings {
    fn note(&self, walk: [u8; 16], at_ms: i64) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() < MAX_NOTED {
            // A copy of the opening that came later changes nothing.
            noted.entry(walk).or_insert(at_ms);
        }
    }

    fn noted(&self, walk: &[u8; 16]) -> Option<i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(walk).copied()
    }

    fn page(&self) -> Vec<([u8; 16], i64)> {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.iter().take(PAGE).map(|(walk, at_ms)| (*walk, *at_ms)).collect()
    }

    fn forget(&self, page: &[([u8; 16], i64)]) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (walk, _) in page {
            noted.remove(walk);
        }
    }
}

impl Outbox {
    /// Takes note that a walk begins now.
    pub fn note_opening(&self, walk: [u8; 16]) {
        self.openings.note(walk, self.clock.now_ms());
    }

    /// When a walk began, on whichever node, in milliseconds since 1970; `None` if nobody knows.
    pub async fn opened_at_ms(&self, walk: [u8; 16]) -> Result<Option<i64>, Unanswered> {
        let noted = self.openings.noted(&walk);
        let reading = tokio::time::timeout(PATIENCE, self.store.get(Table::Opening, &walk)).await;
        let Ok(Ok(record)) = reading else { return noted.map(Some).ok_or(Unanswered) };
        let written = record.and_then(|record| Some(i64::from_be_bytes(record.value.try_into().ok()?)));
        // What is noted here may be a copy that came later.
        Ok([noted, written].into_iter().flatten().min())
    }

    /// Writes down what was noted. What a busy store does not take stays noted.
    pub async fn write_openings(&self) -> Result<(), store::Error> {
        loop {
            let mut page = self.openings.page();
            if page.is_empty() {
                return Ok(());
            }
            let batch = page.iter().fold(Batch::at(self.clock.now_ms()), |batch, (walk, at_ms)| {
                let put = Put::new(Table::Opening, *walk, at_ms.to_be_bytes());
                let batch = batch.require(Table::Opening, *walk, Expectation::Absent);
                batch.put(put.until(at_ms.saturating_add(KEPT_MS)))
            });
            match self.store.commit(batch).await {
                Ok(()) => {}
                // Another node, or this process before, had a copy of this opening earlier.
                Err(store::Error::Conflict { index, .. }) if index < page.len() => page = vec![page[index]],
                Err(error) => return Err(error),
            }
            self.openings.forget(&page);
        }
    }

    /// Writes it down again and again until `shutdown` becomes true. What is noted after that is left to
    /// [`Outbox::write_openings`].
    pub async fn keep_openings(self, mut shutdown: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.write_openings().await {
                tracing::debug!(error = &error as &dyn std::error::Error, "openings wait to be written down");
            }
            let again_at_ms = self.clock.now_ms().saturating_add(WRITE_EVERY_MS);
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                () = self.clock.sleep_until_ms(again_at_ms) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_note_of_a_walk_counts_and_the_notes_stay_bounded() {
        let openings = Openings::default();
        openings.note([0; 16], 5);
        openings.note([0; 16], 9);
        assert_eq!(openings.noted(&[0; 16]), Some(5));
        for number in 0..2 * MAX_NOTED as u64 {
            let mut walk = [1; 16];
            walk[..8].copy_from_slice(&number.to_be_bytes());
            openings.note(walk, 7);
        }
        assert_eq!(openings.0.lock().expect("no panic while held").len(), MAX_NOTED);
        openings.forget(&[([0; 16], 5)]);
        assert_eq!((openings.noted(&[0; 16]), openings.page().len()), (None, PAGE));
    }
}

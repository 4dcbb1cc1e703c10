//! When walks began, and that they did: an envelope that began one must not be refused afterwards, nor the other way round.
//!
//! Invariant: of a token that can be revoked or used up, the beginning is in the store before the first screen is sent, under
//! the condition that this envelope was not refused, and a refusal is under the condition that it began nothing. So one
//! envelope has one reply on all nodes that reach the store, and where the store cannot say, it has none.
//!
//! The beginning with any other token is noted, and written down in batches beside the exchange, which costs that neither a
//! wait nor I/O: nothing is known of such a person that could be a reason to refuse. What a process noted in its last
//! second dies with it; such a walk counts as begun when it was closed. No reply has the time in it, so copies of one opening
//! get the same bytes on every node and after a restart.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::repeat::{self, Answering, Denial, Repeat};
use super::submission::Contact;
use super::{AcceptError, Accepted, Outbox};
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

/// Who wants to begin a walk.
#[derive(Clone, Copy)]
pub struct Opening<'a> {
    /// Under which rule they answer.
    pub answering: Answering,
    /// Which flow.
    pub flow_id: &'a str,
    /// With which token.
    pub flow_token: &'a str,
    /// Whom the token is of.
    pub contact: Option<&'a Contact>,
    /// The hash of the envelope.
    pub envelope: &'a [u8; 32],
    /// The walk that it begins.
    pub walk: [u8; 16],
}

/// What an envelope that would begin a walk comes to.
#[derive(Debug)]
pub enum Begun {
    /// It has begun it, now or before.
    Walk,
    /// It may not begin it.
    Denied(Denial),
    /// It has this reply already.
    Kept(Accepted),
}

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
    /// Takes note that a walk begins now, with a token of which nothing is known.
    pub fn note_opening(&self, walk: [u8; 16]) {
        self.openings.note(walk, self.clock.now_ms());
    }

    pub(super) fn has_noted(&self, walk: &[u8; 16]) -> bool {
        self.openings.noted(walk).is_some()
    }

    /// Begins a walk if this person may, and if its envelope was not refused before. An error leaves open whether it has
    /// begun; the same envelope may be tried again.
    pub async fn begin(&self, opening: Opening<'_>) -> Result<Begun, AcceptError> {
        let beginning = tokio::time::timeout(self.accept_deadline, self.begin_in_time(opening));
        beginning.await.unwrap_or(Err(AcceptError::Unavailable))
    }

    async fn begin_in_time(&self, opening: Opening<'_>) -> Result<Begun, AcceptError> {
        let Opening { answering, flow_id, flow_token, contact, envelope, walk } = opening;
        let now_ms = self.clock.now_ms();
        let mut batch = Batch::at(now_ms).require(Table::Reply, *envelope, Expectation::Absent);
        if let Some(key) = self.revoked_key(flow_token).filter(|_| answering.own_token) {
            batch = batch.require(Table::Revoked, key, Expectation::Absent);
        }
        if answering.repeat == Repeat::Once {
            let people = repeat::people(answering, flow_token, contact);
            for (table, key) in self.markers(flow_id, &people, None) {
                batch = batch.require(table, key, Expectation::Absent);
            }
        }
        // The last condition: a copy of an opening is refused as well if its person may not answer any more.
        batch = batch.require(Table::Opening, walk, Expectation::Absent);
        let asked: Vec<Table> = batch.preconditions.iter().map(|asked| asked.table).collect();
        match self.store.commit(batch.put(put(walk, now_ms))).await {
            Ok(()) => Ok(Begun::Walk),
            Err(store::Error::Conflict { index, existing }) => match (asked.get(index), existing) {
                (Some(Table::Opening), _) => Ok(Begun::Walk),
                (Some(Table::Reply), Some(record)) => {
                    let kept = self.repeat(&record.value).await?.ok_or(AcceptError::Unavailable)?;
                    self.confirmed(envelope, kept).await.map(Begun::Kept)
                }
                (Some(Table::Revoked), _) => Ok(Begun::Denied(Denial::Revoked)),
                _ => Ok(Begun::Denied(Denial::Answered)),
            },
            Err(store::Error::Busy) => Err(AcceptError::Busy),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a walk could not be begun");
                Err(AcceptError::Unavailable)
            }
        }
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
                batch.require(Table::Opening, *walk, Expectation::Absent).put(put(*walk, *at_ms))
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

fn put(walk: [u8; 16], at_ms: i64) -> Put {
    Put::new(Table::Opening, walk, at_ms.to_be_bytes()).until(at_ms.saturating_add(KEPT_MS))
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

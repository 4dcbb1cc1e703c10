//! The durable path of a submission: accepted in one batch, delivered at least once to every destination, visible always.
//!
//! Invariant: when [`Outbox::accept`] returns `Ok`, the submission, one delivery per destination, the audit entry and the
//! kept reply are in one synced transaction. From then on each delivery is due, parked, in flight, delivered or dead, never
//! forgotten, and every attempt of it carries the same [`DeliveryKey`]. Bodies are sealed before they reach the store.
//!
//! Order between submissions is not promised; per destination the oldest due goes first. A destination that honours the
//! key gets each submission once, any other at least once.

mod accept;
mod breaker;
mod clock;
mod destination;
mod file;
mod history;
mod hold;
mod ids;
mod mapping;
mod opening;
mod person;
mod query;
mod repeat;
mod replay;
mod retention;
mod retry;
mod route;
mod share;
mod submission;
mod webhook;
mod witness;
mod worker;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};

use crate::store::{self, Mac, Put, Store, Table};

pub use self::breaker::{BreakerPolicy, Open};
pub use self::clock::{Clock, Sleep, SystemClock};
pub use self::destination::{Attempting, Call, Destination, Grade, Outcome, Verdict};
pub use self::file::{
    Download, Files, LinkError, Refusal, Settings as FileSettings, file_text, files_context,
};
pub use self::history::{Attempt, History};
pub use self::hold::{DestinationView, Hold, MAPPING, Paused};
pub use self::ids::{DeliveryKey, DestinationId, InvalidDestinationId, SubmissionId};
pub use self::mapping::{Route, RouteError, SetRoute};
pub use self::opening::{Begun, Opening, Unanswered};
pub use self::person::{By, ErasedPerson, InvalidPerson, Person};
pub use self::query::{Cursor, DeliveryView, Export, Filter, InvalidCursor, Listed, Page, Shown};
pub use self::repeat::{Answering, Denial, Repeat};
pub use self::replay::{Replay, ReplayFilter};
pub use self::retention::{Retention, Swept};
pub use self::retry::{Decision, RetryPolicy};
pub use self::route::{Routed, Unmapped, mapped};
pub use self::submission::{Answer, Contact, Form, Submission};
pub use self::webhook::{Field, LeadFields, Shape, SignWebhook, Webhook, retry_after, slug};
pub use self::witness::Witnessed;
pub use self::worker::{Pace, Worker};
pub use crate::store::Rate;

/// How long a closing reply can be repeated.
const REPLY_KEPT_MS: i64 = 24 * 3_600_000;
/// Meta waits 10 s in all; a store that needs longer than this is as good as down.
const ACCEPT_DEADLINE: Duration = Duration::from_secs(3);

/// Seals submissions before they are stored. `crypto` implements it; the outbox never sees a key.
pub trait SealBody: Send + Sync {
    /// Seals bytes, bound to a context that has to be given again to open them.
    fn seal(&self, context: &[u8], plaintext: &[u8]) -> Vec<u8>;
    /// Opens what was sealed under the same context.
    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unsealable>;
}

/// Why sealed bytes cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsealable {
    /// Changed, or not sealed for this.
    #[error("it is damaged")]
    Damaged,
    /// Sealed under a master key that is not here; another node may have it.
    #[error("it is sealed under a master key that is not here")]
    NoKey,
}

/// Why nothing was accepted, or why it is not known whether it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// Too much is queued; nothing of this was.
    #[error("the outbox has more queued than it may hold")]
    Busy,
    /// This person has answered before, or may not answer: nothing was stored.
    #[error("the outbox takes no answer of this person")]
    Refused(Denial),
    /// The store failed or did not answer in time. A repeat is safe: it is recognised if this one was stored after all.
    #[error("the outbox cannot store the submission now")]
    Unavailable,
}

/// Why something of the outbox could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store refused.
    #[error("the store refused")]
    Store(#[from] store::Error),
    /// A stored submission cannot be opened or decoded.
    #[error("submission {id} cannot be read: {why}")]
    Unreadable {
        /// Which one.
        id: SubmissionId,
        /// Why.
        why: Unsealable,
    },
    /// An erasure was begun and could not be ended now.
    #[error(
        "the erasure was begun and could not be ended; the running server goes on with it within the hour"
    )]
    Unended(#[source] Box<Error>),
}

/// A submission that is safe now.
#[derive(Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its id: of the earlier one if this was a repeat.
    pub submission: SubmissionId,
    /// The reply to send: of the first time if this envelope was answered before.
    pub reply: Vec<u8>,
    /// Whether it was stored before.
    pub repeated: bool,
    /// Whether the reply is the refusal that this envelope was given: then nothing is stored.
    pub refused: bool,
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Accepted")
            .field("submission", &self.submission)
            .field("repeated", &self.repeated)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

/// The outbox; cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    store: Store,
    seal: Arc<dyn SealBody>,
    clock: Arc<dyn Clock>,
    // Finds a person's submissions without naming anybody; without it only the program's own parts find them.
    index: Option<Arc<dyn Mac>>,
    // Fetches and keeps the files of answers.
    files: Option<Files>,
    // Erasures of persons run one after the other: each writes down how far it is.
    erasing: Arc<Semaphore>,
    // Whether the files still hold what was erased, because readers were in the way.
    unscrubbed: Arc<AtomicBool>,
    // When walks began, until it is written down.
    openings: Arc<opening::Openings>,
    // Tells the workers of this process that something is due; what they miss they find by the due times.
    wake: Arc<watch::Sender<()>>,
    // How long accepting may take.
    accept_deadline: Duration,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Outbox")
    }
}

/// A closing reply and the submission it closed, as kept under the envelope's hash; a refusal closed none, which is written nil.
#[derive(Serialize, Deserialize)]
struct KeptReply {
    submission: SubmissionId,
    reply: Vec<u8>,
}

impl KeptReply {
    const NONE: SubmissionId = SubmissionId::new(uuid::Uuid::nil());

    /// The reply, and the trace by which it is erased with its submission.
    fn puts(&self, envelope: &[u8; 32], now_ms: i64) -> [Put; 2] {
        let value = postcard::to_stdvec(self).expect("an id and bytes always serialise");
        let trace = store::trace(self.submission.to_bytes(), Table::Reply, envelope);
        let until_ms = now_ms.saturating_add(REPLY_KEPT_MS);
        [Put::new(Table::Reply, *envelope, value), trace].map(|put| put.until(until_ms))
    }
}

impl Outbox {
    /// The outbox over this store.
    pub fn new(store: Store, seal: Arc<dyn SealBody>, clock: Arc<dyn Clock>) -> Self {
        let (erasing, wake) = (Arc::new(Semaphore::new(1)), Arc::new(watch::Sender::new(())));
        let accept_deadline = ACCEPT_DEADLINE;
        Self {
            store,
            seal,
            clock,
            index: None,
            files: None,
            erasing,
            unscrubbed: Arc::default(),
            openings: Arc::default(),
            wake,
            accept_deadline,
        }
    }

    /// Gives the store so long to accept a submission, instead of the 3 s that Meta's patience leaves it.
    #[must_use]
    pub fn accepting_within(mut self, deadline: Duration) -> Self {
        self.accept_deadline = deadline;
        self
    }

    /// Lets persons be found, for their export and erasure, by hashes under this key.
    #[must_use]
    pub fn indexed(mut self, key: Arc<dyn Mac>) -> Self {
        self.index = Some(key);
        self
    }

    /// The closing reply this envelope was given in the last 24 h, or the refusal of one, if any: to be looked up before its
    /// key is opened.
    pub async fn kept_reply(&self, envelope: &[u8; 32]) -> Result<Option<Accepted>, AcceptError> {
        let reading = async {
            let record = self.store.get(Table::Reply, envelope).await.map_err(refusal)?;
            let valid =
                |record: &store::Record| record.expires_at_ms.is_none_or(|at_ms| at_ms > self.clock.now_ms());
            let Some(record) = record.filter(valid) else { return Ok(None) };
            match self.repeat(&record.value).await? {
                Some(kept) => self.confirmed(envelope, kept).await.map(Some),
                None => Ok(None),
            }
        };
        let read = tokio::time::timeout(self.accept_deadline, reading).await;
        read.map_err(|_elapsed| AcceptError::Unavailable)?
    }

    /// Hands an acknowledgement out when the store has all of it where it is to be by then.
    async fn confirmed(&self, envelope: &[u8; 32], accepted: Accepted) -> Result<Accepted, AcceptError> {
        let mut records = vec![(Table::Reply, envelope.to_vec())];
        if accepted.submission != KeptReply::NONE {
            records.push((Table::Submission, accepted.submission.to_bytes().to_vec()));
        }
        self.store.confirm(records).await.map_err(refusal)?;
        Ok(accepted)
    }

    /// A kept reply, which is an acknowledgement once more: it is given only of what is on this node's own disk.
    async fn repeat(&self, value: &[u8]) -> Result<Option<Accepted>, AcceptError> {
        let Ok(KeptReply { submission, reply }) = postcard::from_bytes(value) else { return Ok(None) };
        if submission == KeptReply::NONE {
            return Ok(Some(Accepted { submission, reply, repeated: false, refused: true }));
        }
        let adopting = tokio::time::timeout(self.accept_deadline, self.adopt(submission));
        adopting.await.map_err(|_elapsed| AcceptError::Unavailable)??;
        Ok(Some(Accepted { submission, reply, repeated: true, refused: false }))
    }

    fn seal_submission(&self, submission: &Submission) -> Result<Vec<u8>, AcceptError> {
        // Only a time outside of jiff's years can fail here, and the endpoint takes its times from a clock.
        let body = serde_json::to_vec(submission).map_err(|_time| AcceptError::Unavailable)?;
        Ok(self.seal.seal(&body_context(submission.id), &body))
    }

    /// Asks a busy store again: accepting goes first, this can wait.
    async fn patiently<'a, T>(
        &'a self,
        mut ask: impl FnMut() -> store::Pending<'a, T>,
    ) -> Result<T, store::Error> {
        loop {
            match ask().await {
                Err(store::Error::Busy) => tokio::time::sleep(person::PAUSE).await,
                result => return result,
            }
        }
    }

    /// Reads a submission as it may be told; `None` if there is none.
    async fn read_submission(&self, id: SubmissionId) -> Result<Option<Submission>, Error> {
        let mut submission = self.read_stored(id).await?;
        if let Some(submission) = &mut submission {
            self.present_files(submission).await?;
        }
        Ok(submission)
    }

    /// Reads a submission with the keys of its files; `None` if there is none.
    async fn read_stored(&self, id: SubmissionId) -> Result<Option<Submission>, Error> {
        match self.store.get(Table::Submission, &id.to_bytes()).await? {
            Some(record) => self.open_submission(id, &record),
            None => Ok(None),
        }
    }

    fn open_submission(&self, id: SubmissionId, record: &store::Record) -> Result<Option<Submission>, Error> {
        // What is left of one that was erased: see `store::Erasure::forget_at_ms`.
        if record.value.is_empty() {
            return Ok(None);
        }
        let unreadable = |why| Error::Unreadable { id, why };
        let body = self.seal.open(&body_context(id), &record.value).map_err(unreadable)?;
        serde_json::from_slice(&body).map(Some).map_err(|_error| unreadable(Unsealable::Damaged))
    }
}

/// Binds a sealed submission to its place, so that two cannot be swapped in the file.
pub fn body_context(id: SubmissionId) -> Vec<u8> {
    [b"formgate submission ".as_slice(), &id.to_bytes()].concat()
}

fn refusal(error: store::Error) -> AcceptError {
    match error {
        store::Error::Busy | store::Error::Incomplete => AcceptError::Busy,
        error => {
            tracing::error!(error = &error as &dyn std::error::Error, "a submission could not be stored");
            AcceptError::Unavailable
        }
    }
}

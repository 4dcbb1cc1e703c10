//! The second witness of a submission: Meta's webhook, which comes when the closed flow has been sent.
//!
//! Invariant: a message is counted once, however often its webhook comes, and a confirmation makes no submission.

use sha2::{Digest as _, Sha256};

use super::{Outbox, SubmissionId, body_context};
use crate::audit;
use crate::store::{self, Batch, Expectation, Put, Table, trace};

/// How long a message is remembered: Meta repeats webhooks for seven days (WhatsApp Flows reference 7.7).
const KEPT_MS: i64 = 8 * 24 * 3_600_000;

/// What a confirmation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witnessed {
    /// The submission is here.
    Confirmed,
    /// It was said before.
    Repeated,
    /// The submission was here, and was erased.
    Erased,
    /// There is no such submission, or it has another token.
    Unknown,
}

/// Under which key a message is remembered: not by its id, which names a person.
fn message_key(message: &str) -> Vec<u8> {
    [b"m".as_slice(), &Sha256::digest(message.as_bytes())].concat()
}

fn submission_key(id: SubmissionId) -> Vec<u8> {
    [b"s".as_slice(), &id.to_bytes()].concat()
}

impl Outbox {
    /// Takes note that Meta has confirmed a submission by this message. `token` is what the message carries, if it does.
    pub async fn witness(
        &self,
        id: SubmissionId,
        token: Option<&str>,
        message: &str,
    ) -> Result<Witnessed, store::Error> {
        let now_ms = self.clock.now_ms();
        let record = self.store.get(Table::Submission, &id.to_bytes()).await?;
        let found = match &record {
            None => Witnessed::Unknown,
            Some(record) if record.value.is_empty() => return Ok(Witnessed::Erased),
            Some(record) => {
                let body = self.seal.open(&body_context(id), &record.value).ok();
                let stored = body.and_then(|body| serde_json::from_slice::<super::Submission>(&body).ok());
                // One that cannot be read is here all the same.
                let same = |stored: super::Submission| token.is_none_or(|token| token == stored.flow_token);
                if stored.is_none_or(same) { Witnessed::Confirmed } else { Witnessed::Unknown }
            }
        };
        let remembered = message_key(message);
        let batch = Batch::at(now_ms)
            .require(Table::Witness, remembered.clone(), Expectation::Absent)
            .put(Put::new(Table::Witness, remembered.clone(), []).until(now_ms.saturating_add(KEPT_MS)));
        let batch = if found == Witnessed::Confirmed {
            let confirmed = submission_key(id);
            let of = |key: &[u8]| trace(id.to_bytes(), Table::Witness, key);
            let traces = [of(&remembered).until(now_ms.saturating_add(KEPT_MS)), of(&confirmed)];
            let batch = batch.require(Table::Submission, id.to_bytes(), Expectation::Present).put(Put::new(
                Table::Witness,
                confirmed,
                now_ms.to_be_bytes(),
            ));
            traces.into_iter().fold(batch, Batch::put)
        } else {
            batch.put(
                audit::Event::with_outcome(now_ms, "webhook", "submission.confirmed", id, "unknown").put(),
            )
        };
        match self.store.commit(batch).await {
            Ok(()) => Ok(found),
            Err(store::Error::Conflict { index: 0, .. }) => Ok(Witnessed::Repeated),
            // Erased since it was read.
            Err(store::Error::Conflict { .. }) => Ok(Witnessed::Erased),
            Err(error) => Err(error),
        }
    }

    /// When Meta confirmed a submission, if it has.
    pub async fn confirmed_ms(&self, id: SubmissionId) -> Result<Option<i64>, store::Error> {
        let record = self.store.get(Table::Witness, &submission_key(id)).await?;
        Ok(record.and_then(|record| Some(i64::from_be_bytes(record.value.try_into().ok()?))))
    }
}

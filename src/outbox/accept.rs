//! The closing commit: a submission with everything that belongs to it, once.

use super::ids::{DeliveryKey, DestinationId, SubmissionId};
use super::repeat::{Answering, Denial, Repeat};
use super::submission::Submission;
use super::{AcceptError, Accepted, KeptReply, Outbox, query, refusal};
use crate::audit;
use crate::fault;
use crate::store::{self, Batch, Expectation, NewDelivery, Put, Table};

/// How long a walk that was closed can be closed again with other answers and be linked to the first time.
const WALK_KEPT_MS: i64 = 90 * 24 * 3_600_000;
/// How long the deliveries of a submission with files wait before they look for them.
const FILES_MS: i64 = 1_000;
/// How often a commit is made anew because another one of the same person came between.
const MAX_TRIES: u32 = 4;

/// Until when it is known which submission closed a walk.
pub(super) fn walk_until_ms(now_ms: i64) -> i64 {
    now_ms.saturating_add(WALK_KEPT_MS)
}

impl Outbox {
    /// Stores a submission with its deliveries, its audit entry and the reply to its envelope.
    ///
    /// The same envelope again gets the stored reply; the same submission in a new envelope gets the new reply, which is
    /// kept too, and no new deliveries. Another submission of a walk that was closed before is stored as such, linked to
    /// the first one. Cancel safe in one direction: once polled it may be stored although the future
    /// was dropped, and the repeat is recognised.
    pub async fn accept(
        &self,
        submission: &Submission,
        destinations: &[DestinationId],
        envelope: &[u8; 32],
        reply: Vec<u8>,
    ) -> Result<Accepted, AcceptError> {
        self.accept_under(Answering::default(), submission, destinations, envelope, reply).await
    }

    /// The same under the flow's rule for persons who answer again.
    pub async fn accept_under(
        &self,
        answering: Answering,
        submission: &Submission,
        destinations: &[DestinationId],
        envelope: &[u8; 32],
        reply: Vec<u8>,
    ) -> Result<Accepted, AcceptError> {
        let accepting = async {
            let accepted = self.accept_in_time(answering, submission, destinations, envelope, reply).await?;
            self.confirmed(envelope, accepted).await
        };
        let patience = self.accept_deadline * if fault::is_on("outbox.no_deadline") { 20 } else { 1 };
        let accepted =
            tokio::time::timeout(patience, accepting).await.unwrap_or(Err(AcceptError::Unavailable))?;
        if !accepted.repeated && !accepted.refused {
            self.wake.send_replace(());
        }
        Ok(accepted)
    }

    async fn accept_in_time(
        &self,
        answering: Answering,
        submission: &Submission,
        destinations: &[DestinationId],
        envelope: &[u8; 32],
        reply: Vec<u8>,
    ) -> Result<Accepted, AcceptError> {
        let now_ms = self.clock.now_ms();
        let id = submission.id;
        let kept = KeptReply { submission: id, reply };
        let mut first_of_walk = None;
        for _ in 0..MAX_TRIES {
            let earlier = match answering.repeat {
                Repeat::Append => None,
                Repeat::Once | Repeat::Replace => Some(self.earlier(answering, submission, now_ms).await?),
            };
            let linked_to = earlier.as_ref().map_or(first_of_walk, |earlier| earlier.of_walk);
            let replaces = earlier.as_ref().and_then(|earlier| earlier.replaced.first().copied());
            let linked = (linked_to.is_some() || replaces.is_some()).then(|| Submission {
                linked_to: linked_to.or(submission.linked_to),
                replaces,
                ..submission.clone()
            });
            let submission = linked.as_ref().unwrap_or(submission);
            let mut batch = self.first_batch(submission, destinations, envelope, &kept, now_ms)?;
            batch = match (earlier, submission.walk, first_of_walk) {
                (Some(earlier), ..) => self.after_earlier(earlier, id, batch).await?,
                (None, Some(walk), None) => batch
                    .require(Table::Walk, walk, Expectation::Absent)
                    .put(Put::new(Table::Walk, walk, id.to_bytes()).until(walk_until_ms(now_ms))),
                _ => batch,
            };
            if let Some(revoked) = self.revoked_key(&submission.flow_token).filter(|_| answering.own_token) {
                batch = batch.require(Table::Revoked, revoked, Expectation::Absent);
            }
            let asked: Vec<Table> = batch.preconditions.iter().map(|asked| asked.table).collect();
            fault::point("outbox.accepting");
            let (index, existing) = match self.commit_first(batch).await {
                Ok(()) => {
                    fault::point("outbox.stored");
                    let reply = kept.reply;
                    return Ok(Accepted { submission: id, reply, repeated: false, refused: false });
                }
                Err(store::Error::Conflict { index, existing }) => (index, existing),
                Err(error) => return Err(refusal(error)),
            };
            match (index, asked.get(index), existing) {
                (0, _, Some(record)) => {
                    return self.repeat(&record.value).await?.ok_or(AcceptError::Unavailable);
                }
                // The submission is there already, under another envelope: only the reply is new.
                (1, ..) => return self.reply_again(kept, envelope, now_ms).await,
                (_, Some(Table::Revoked), _) => return Err(AcceptError::Refused(Denial::Revoked)),
                _ if answering.repeat == Repeat::Once => {
                    return Err(AcceptError::Refused(Denial::Answered));
                }
                // The walk was closed before, with other answers.
                (_, Some(Table::Walk), Some(record)) if answering.repeat == Repeat::Append => {
                    first_of_walk = uuid::Uuid::from_slice(&record.value).ok().map(SubmissionId::new);
                }
                // Another answer of this person came between.
                _ => {}
            }
        }
        Err(AcceptError::Unavailable)
    }

    async fn reply_again(
        &self,
        kept: KeptReply,
        envelope: &[u8; 32],
        now_ms: i64,
    ) -> Result<Accepted, AcceptError> {
        self.adopt(kept.submission).await?;
        let again = Batch::at(now_ms).require(Table::Reply, *envelope, Expectation::Absent);
        let again = kept.puts(envelope, now_ms).into_iter().fold(again, Batch::put);
        match self.store.commit(again).await {
            Ok(()) => Ok(Accepted {
                submission: kept.submission,
                reply: kept.reply,
                repeated: true,
                refused: false,
            }),
            Err(store::Error::Conflict { existing: Some(record), .. }) => {
                self.repeat(&record.value).await?.ok_or(AcceptError::Unavailable)
            }
            Err(error) => Err(refusal(error)),
        }
    }

    #[cfg(not(feature = "faults"))]
    async fn commit_first(&self, batch: Batch) -> Result<(), store::Error> {
        self.store.commit(batch).await
    }

    /// In one commit; or in two if the fault tests want to see that they notice.
    #[cfg(feature = "faults")]
    async fn commit_first(&self, mut batch: Batch) -> Result<(), store::Error> {
        if !fault::is_on("outbox.split") {
            return self.store.commit(batch).await;
        }
        let (now_ms, deliveries) = (batch.now_ms, std::mem::take(&mut batch.deliveries));
        self.store.commit(batch).await?;
        fault::point("outbox.half_stored");
        self.store.commit(deliveries.into_iter().fold(Batch::at(now_ms), Batch::deliver)).await
    }

    /// Everything that a new submission writes. The first two preconditions tell repeats.
    fn first_batch(
        &self,
        submission: &Submission,
        destinations: &[DestinationId],
        envelope: &[u8; 32],
        kept: &KeptReply,
        now_ms: i64,
    ) -> Result<Batch, AcceptError> {
        let id = submission.id;
        let batch = Batch::at(now_ms)
            .require(Table::Reply, *envelope, Expectation::Absent)
            .require(Table::Submission, id.to_bytes(), Expectation::Absent)
            .put(Put::new(Table::Submission, id.to_bytes(), self.seal_submission(submission)?))
            .put(audit::Event::ok(now_ms, "endpoint", "submission.accepted", id).put());
        let listed = query::timeline_put(submission, now_ms);
        let found_by = self.person_puts(submission, &listed.key);
        let files = self.file_puts(submission, now_ms);
        // A moment, in which most files are there.
        let due_at_ms = now_ms.saturating_add(if files.is_empty() { 0 } else { FILES_MS });
        let puts = kept.puts(envelope, now_ms).into_iter().chain([listed]).chain(found_by).chain(files);
        let batch = puts.fold(batch, Batch::put);
        Ok(destinations.iter().fold(batch, |batch, destination| {
            batch.deliver(NewDelivery {
                key: DeliveryKey::of(id, destination).to_bytes(),
                submission: id.to_bytes(),
                destination: destination.as_str().to_owned(),
                due_at_ms,
            })
        }))
    }
}

//! A person who answers a flow again: what the flow's owner wants of that, and who counts as the same person.
//!
//! Invariant: it is decided by preconditions of the closing commit, so two answers at the same moment, on whatever nodes,
//! are never both the only one. What is read before the commit only finds the words for the refusal. A refusal is kept
//! before it is sent, so an envelope that was refused is not answered otherwise later.
//!
//! The same person is whoever has the same contact or the same token of ours, and whoever ends the same walk again. What is
//! remembered is a keyed hash, for thirteen months, also when the submission is deleted earlier; an erasure takes it away.
//! Where every answer is one more nobody needs to be known, so no person is remembered; a walk that is ended again is.

use std::time::Duration;

use serde_json::{Map, Value};

use super::accept::walk_until_ms;
use super::ids::SubmissionId;
use super::person::{By, Person, Scope};
use super::submission::{Contact, Submission};
use super::{AcceptError, Accepted, Error, KeptReply, Outbox, REPLY_KEPT_MS, body_context, refusal};
use crate::audit;
use crate::fault;
use crate::store::{self, Batch, Expectation, Put, Record, Scan, Table};

/// How long it is remembered who has answered.
const REMEMBERED_MS: i64 = 396 * 24 * 3_600_000;
/// How long the refusal's words may be looked for before the commit decides alone.
const CLOSING_PATIENCE: Duration = Duration::from_millis(250);
/// Flows of which one person's answers are forgotten at one time.
const PAGE: u32 = 100;

/// What becomes of an answer of somebody who has answered before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Repeat {
    /// It is one more.
    #[default]
    Append,
    /// It is refused.
    Once,
    /// It takes the place of the earlier one, which is not sent any more where it was not sent yet.
    Replace,
}

/// Under which rule somebody answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Answering {
    /// The flow's rule.
    pub repeat: Repeat,
    /// The flow token is one that Formgate sealed, so it is one person's and can be revoked.
    pub own_token: bool,
}

/// Why a person may not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// They have, and once is enough.
    Answered,
    /// Their token was revoked.
    Revoked,
}

/// What is known of a person's earlier answers, and what must still stand when the new one is committed.
pub(super) struct Earlier {
    asked: Vec<(Table, Vec<u8>, Expectation)>,
    pub(super) of_walk: Option<SubmissionId>,
    /// The earlier submissions that are replaced.
    pub(super) replaced: Vec<SubmissionId>,
}

impl Outbox {
    /// Whether this submission would be refused as things stand; if that cannot be found out in time, its commit tells.
    pub async fn may_close(&self, answering: Answering, submission: &Submission) -> Result<(), Denial> {
        let looking = self.refused(answering, submission);
        tokio::time::timeout(CLOSING_PATIENCE, looking).await.unwrap_or(Ok(())).map_err(|refused| refused.0)
    }

    /// Keeps the refusal of a closing envelope for as long as a closing reply: whoever sends the same envelope again, to any
    /// node, gets the same bytes, also where the person may answer by then. An envelope that has a reply keeps that one.
    pub async fn refuse(&self, envelope: &[u8; 32], reply: Vec<u8>) -> Result<Accepted, AcceptError> {
        self.keep_refusal(envelope, None, reply).await?.ok_or(AcceptError::Unavailable)
    }

    /// The same for an envelope that would begin this walk; `None` if it has begun it, so that it has another reply.
    pub async fn refuse_opening(
        &self,
        envelope: &[u8; 32],
        walk: [u8; 16],
        reply: Vec<u8>,
    ) -> Result<Option<Accepted>, AcceptError> {
        self.keep_refusal(envelope, Some(walk), reply).await
    }

    async fn keep_refusal(
        &self,
        envelope: &[u8; 32],
        begins: Option<[u8; 16]>,
        reply: Vec<u8>,
    ) -> Result<Option<Accepted>, AcceptError> {
        let now_ms = self.clock.now_ms();
        let kept = KeptReply { submission: KeptReply::NONE, reply };
        let value = postcard::to_stdvec(&kept).expect("an id and bytes always serialise");
        let put = Put::new(Table::Reply, *envelope, value).until(now_ms.saturating_add(REPLY_KEPT_MS));
        let mut batch = Batch::at(now_ms).require(Table::Reply, *envelope, Expectation::Absent).put(put);
        if let Some(walk) = begins {
            if self.has_noted(&walk) {
                return Ok(None);
            }
            batch = batch.require(Table::Opening, walk, Expectation::Absent);
        }
        let keeping = async {
            let kept = match self.store.commit(batch).await {
                Ok(()) => {
                    let KeptReply { submission, reply } = kept;
                    Accepted { submission, reply, repeated: false, refused: true }
                }
                Err(store::Error::Conflict { index: 0, existing: Some(record) }) => {
                    self.repeat(&record.value).await?.ok_or(AcceptError::Unavailable)?
                }
                Err(store::Error::Conflict { .. }) => return Ok(None),
                Err(error) => return Err(refusal(error)),
            };
            self.confirmed(envelope, kept).await.map(Some)
        };
        let kept = tokio::time::timeout(self.accept_deadline, keeping).await;
        kept.map_err(|_elapsed| AcceptError::Unavailable)?
    }

    async fn refused(&self, answering: Answering, closing: &Submission) -> Result<(), Refused> {
        let now_ms = self.clock.now_ms();
        if let Some(key) = self.revoked_key(&closing.flow_token).filter(|_| answering.own_token)
            && self.valid(Table::Revoked, &key, now_ms).await.is_some()
        {
            return Err(Refused(Denial::Revoked));
        }
        if answering.repeat != Repeat::Once {
            return Ok(());
        }
        let people = people(answering, &closing.flow_token, closing.contact.as_ref());
        for (table, key) in self.markers(&closing.flow_id, &people, closing.walk) {
            let earlier = self.valid(table, &key, now_ms).await.and_then(|record| submission_of(&record));
            // The same submission once more is a repeat of the same answer.
            if earlier.is_some_and(|earlier| closing.id != earlier) {
                return Err(Refused(Denial::Answered));
            }
        }
        Ok(())
    }

    async fn valid(&self, table: Table, key: &[u8], now_ms: i64) -> Option<Record> {
        let record = self.store.get(table, key).await.ok().flatten()?;
        record.expires_at_ms.is_none_or(|at_ms| at_ms > now_ms).then_some(record)
    }

    /// The records by which it is known that somebody has answered: of the walk, and of the person.
    pub(super) fn markers(
        &self,
        flow_id: &str,
        people: &[Person],
        walk: Option<[u8; 16]>,
    ) -> Vec<(Table, Vec<u8>)> {
        let walk = walk.map(|walk| (Table::Walk, walk.to_vec()));
        let people = if fault::is_on("outbox.forgets_people") { &[] } else { people };
        let hashes = people.iter().filter_map(|person| self.hash(person));
        let people = hashes.map(|hash| (Table::Answered, [&hash, flow_id.as_bytes()].concat()));
        walk.into_iter().chain(people).collect()
    }

    /// Reads what the person of a submission has answered before.
    pub(super) async fn earlier(
        &self,
        answering: Answering,
        submission: &Submission,
        now_ms: i64,
    ) -> Result<Earlier, AcceptError> {
        let people = people(answering, &submission.flow_token, submission.contact.as_ref());
        let mut earlier = Earlier { asked: Vec::new(), of_walk: None, replaced: Vec::new() };
        for (table, key) in self.markers(&submission.flow_id, &people, submission.walk) {
            if answering.repeat == Repeat::Once {
                earlier.asked.push((table, key, Expectation::Absent));
                continue;
            }
            let record = self.store.get(table, &key).await.map_err(refusal)?;
            let record = record.filter(|record| record.expires_at_ms.is_none_or(|at_ms| at_ms > now_ms));
            let expect = record.as_ref().map_or(Expectation::Absent, |r| Expectation::Version(r.version));
            let id = record.as_ref().and_then(submission_of).filter(|id| *id != submission.id);
            if table == Table::Walk {
                earlier.of_walk = id;
            }
            if let Some(id) = id.filter(|id| !earlier.replaced.contains(id)) {
                earlier.replaced.push(id);
            }
            earlier.asked.push((table, key, expect));
        }
        Ok(earlier)
    }

    /// Has a submission on this node's own disk, and what its person is remembered by.
    pub(super) async fn adopt(&self, id: SubmissionId) -> Result<(), AcceptError> {
        if !self.store.adopt(id.to_bytes()).await.map_err(refusal)? {
            return Ok(());
        }
        // Of one that was erased, or that nobody can read, there is nothing to remember.
        let Ok(Some(submission)) = self.read_stored(id).await else { return Ok(()) };
        let markers = self.markers(&submission.flow_id, &remembered_people(&submission), submission.walk);
        self.store.keep_copies(markers).await.map_err(refusal)
    }

    /// Adds to the commit of a submission what makes it the newest of its person.
    pub(super) async fn after_earlier(
        &self,
        earlier: Earlier,
        id: SubmissionId,
        mut batch: Batch,
    ) -> Result<Batch, AcceptError> {
        let now_ms = batch.now_ms;
        for (table, key, expect) in earlier.asked {
            let until_ms = match table {
                Table::Walk => walk_until_ms(now_ms),
                _ => now_ms.saturating_add(REMEMBERED_MS),
            };
            let put = Put::new(table, key.clone(), id.to_bytes()).until(until_ms);
            batch = batch.require(table, key, expect).put(put);
        }
        for old in earlier.replaced {
            let Some(record) = self.store.get(Table::Submission, &old.to_bytes()).await.map_err(refusal)?
            else {
                continue;
            };
            // One that was erased, or that nobody can read, is replaced in name alone.
            let Some(replaced) = self.replaced(old, &record, id) else { continue };
            let mut put = Put::new(Table::Submission, old.to_bytes(), replaced);
            put.expires_at_ms = record.expires_at_ms;
            batch = batch
                .require(Table::Submission, old.to_bytes(), Expectation::Version(record.version))
                .put(put)
                .put(audit::Event::ok(now_ms, "endpoint", "submission.replaced", old).put());
        }
        Ok(batch)
    }

    /// A stored submission with the name of the one that takes its place, sealed again. What a later release has written into
    /// it stays in it.
    fn replaced(&self, old: SubmissionId, record: &Record, by: SubmissionId) -> Option<Vec<u8>> {
        let context = body_context(old);
        let body = self.seal.open(&context, &record.value).ok()?;
        let mut body: Map<String, Value> = serde_json::from_slice(&body).ok()?;
        body.insert("replaced_by".to_owned(), by.to_string().into());
        Some(self.seal.seal(&context, &serde_json::to_vec(&body).ok()?))
    }

    /// Makes a token of ours open nothing any more. `false` if it was revoked before.
    pub async fn revoke_token(
        &self,
        flow_token: &str,
        until_ms: Option<i64>,
        actor: &str,
    ) -> Result<bool, Error> {
        let now_ms = self.clock.now_ms();
        let Some(key) = self.revoked_key(flow_token) else { return Ok(false) };
        let subject: String = key.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let mut put = Put::new(Table::Revoked, key.clone(), now_ms.to_be_bytes());
        put.expires_at_ms = until_ms;
        let batch = Batch::at(now_ms)
            .require(Table::Revoked, key, Expectation::Absent)
            .put(put)
            .put(audit::Event::ok(now_ms, actor, "token.revoked", subject).put());
        match self.store.commit(batch).await {
            Ok(()) => Ok(true),
            Err(store::Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn revoked_key(&self, flow_token: &str) -> Option<Vec<u8>> {
        self.index.as_ref().map(|key| key.mac("revoked", &[flow_token.as_bytes()]).to_vec())
    }

    /// The records that remember the person of a submission at its flow: they outlive it, but not its erasure.
    pub(super) async fn remembered(&self, id: SubmissionId) -> Result<Vec<(Table, Vec<u8>)>, Error> {
        let submission = match self.read_submission(id).await {
            Ok(Some(submission)) => submission,
            Ok(None) | Err(Error::Unreadable { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        Ok(self.markers(&submission.flow_id, &remembered_people(&submission), None))
    }

    /// Forgets at which flows a person has answered.
    pub(super) async fn forget_answered(&self, hash: [u8; 32], scope: Scope) -> Result<(), Error> {
        let mut after = None;
        loop {
            let scan = Scan { prefix: hash.to_vec(), after, limit: PAGE, ..Scan::default() };
            let page = self.store.scan_all(Table::Answered, scan).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let mut batch = Batch::at(self.clock.now_ms());
            for (key, record) in page {
                let is_over = match submission_of(&record) {
                    Some(id) => self.is_in(scope, id).await?,
                    None => true,
                };
                if is_over {
                    batch = batch.delete(Table::Answered, key);
                }
            }
            self.patiently(|| self.store.commit(batch.clone())).await?;
        }
    }
}

struct Refused(Denial);

fn submission_of(record: &Record) -> Option<SubmissionId> {
    uuid::Uuid::from_slice(&record.value).ok().map(SubmissionId::new)
}

/// All by whom a person may be remembered: whether the token was ours is not known any more.
fn remembered_people(submission: &Submission) -> Vec<Person> {
    let answering = Answering { own_token: true, ..Answering::default() };
    people(answering, &submission.flow_token, submission.contact.as_ref())
}

pub(super) fn people(answering: Answering, flow_token: &str, contact: Option<&Contact>) -> Vec<Person> {
    let (phone, user_id) =
        contact.map_or((None, None), |contact| (contact.phone.as_deref(), contact.user_id.as_deref()));
    let token = answering.own_token.then_some(flow_token);
    let told = [(By::UserId, user_id), (By::Phone, phone), (By::Token, token)];
    told.into_iter().filter_map(|(by, text)| Person::new(by, text?).ok()).collect()
}

//! Finding and erasing what a person sent, without keeping who sent what.
//!
//! With each submission go keyed hashes of what its person can be found by. The key is sealed in the store, so the hashes
//! tell nothing to whoever has the files. An erasure is a job in the store: it is begun by one commit, each submission goes
//! in one, and what a process leaves undone the next one ends ([`Outbox::resume_erasures`]).
//!
//! It does not look inside free text: a name typed into a message finds nobody. What destinations have got stays there; it is
//! counted and told.

mod again;
mod job;

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

pub use self::job::ErasedPerson;
use self::job::Job;
pub(super) use self::job::Scope;
use super::query::Cursor;
use super::submission::Submission;
use super::{Error, Outbox, SubmissionId};
use crate::audit;
use crate::fault;
use crate::store::{self, Batch, Erased, Erasure, Expectation, Put, Rewrite, Scan, Table, trace};

/// Submissions looked up at one time.
const PAGE: u32 = 100;
/// How long a submission that was erased is remembered by its id, so that a late repeat does not bring it back.
const FORGET_MS: i64 = 8 * 24 * 3_600_000;
/// How long a busy store, or a reader in the way of scrubbing, is given before it is asked again.
pub(super) const PAUSE: Duration = Duration::from_millis(200);
/// How often scrubbing is tried before it is left to the next sweep.
const MAX_SCRUBS: u32 = 20;
/// How often it is looked whether the shared copy has written its log anew; then the erasure ends with its beginning.
const MAX_LOOKS: u32 = 100;
/// The keys of erasures among the jobs.
const JOB: &[u8] = b"erase\0";

/// What a person is found by. The name of each is hashed with the value: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// A phone number: of the contact, or an answer to a question for one.
    Phone,
    /// WhatsApp's id of the person for this business.
    UserId,
    /// An e-mail address that was an answer or a hidden value.
    Email,
    /// The flow token of the message.
    Token,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::UserId => "user_id",
            Self::Email => "email",
            Self::Token => "token",
        }
    }
}

/// A person, in the one spelling that is hashed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(By, String)", into = "(By, String)")]
pub struct Person {
    by: By,
    value: String,
}

/// The text finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPerson {
    /// Not a number.
    #[error("this is no phone number; write it with its country code, such as +390669821234")]
    Phone,
    /// Not an address.
    #[error("this is no e-mail address")]
    Email,
    /// Nothing.
    #[error("this is empty")]
    Empty,
    /// What many messages carry.
    #[error("“unused” is the token of every message that was sent without one, not of a person")]
    Shared,
}

impl Person {
    /// The person of this number, id, address or token.
    pub fn new(by: By, text: &str) -> Result<Self, InvalidPerson> {
        let text = text.trim();
        let value = match by {
            By::Phone => {
                let digits: String = text.chars().filter(char::is_ascii_digit).collect();
                let digits = digits.strip_prefix("00").unwrap_or(&digits).to_owned();
                let is_number = |c: char| c.is_ascii_digit() || " +-()./".contains(c);
                if !(5..=20).contains(&digits.len()) || !text.chars().all(is_number) {
                    return Err(InvalidPerson::Phone);
                }
                digits
            }
            By::Email if text.contains('@') => text.to_lowercase(),
            By::Email => return Err(InvalidPerson::Email),
            By::Token if text.eq_ignore_ascii_case("unused") => return Err(InvalidPerson::Shared),
            By::UserId | By::Token => text.to_owned(),
        };
        if value.is_empty() { Err(InvalidPerson::Empty) } else { Ok(Self { by, value }) }
    }

    /// Everybody that a submission is found by.
    fn of(submission: &Submission) -> Vec<Self> {
        let mut found = Vec::new();
        let mut add = |by: By, text: &str| {
            if let Ok(person) = Self::new(by, text)
                && !found.contains(&person)
            {
                found.push(person);
            }
        };
        add(By::Token, &submission.flow_token);
        if let Some(contact) = &submission.contact {
            contact.phone.iter().for_each(|phone| add(By::Phone, phone));
            contact.user_id.iter().for_each(|user_id| add(By::UserId, user_id));
        }
        for answer in &submission.answers {
            let by = match answer.kind.as_str() {
                "email" => By::Email,
                "phone" | "phone_number" => By::Phone,
                _ => continue,
            };
            answer.value.as_str().into_iter().chain([answer.text.as_str()]).for_each(|text| add(by, text));
        }
        for (name, value) in &submission.hidden {
            add(By::Email, value);
            if name.to_lowercase().contains("phone") {
                add(By::Phone, value);
            }
        }
        found
    }
}

impl TryFrom<(By, String)> for Person {
    type Error = InvalidPerson;

    fn try_from((by, text): (By, String)) -> Result<Self, InvalidPerson> {
        Self::new(by, &text)
    }
}

impl From<Person> for (By, String) {
    fn from(person: Person) -> Self {
        (person.by, person.value)
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Person").field("by", &self.by).finish_non_exhaustive()
    }
}

impl Outbox {
    /// The records by which a submission's person is found, with their traces. The trace of its place in the timeline is
    /// one of them: a place without one belongs to a submission whose person is not found yet.
    pub(super) fn person_puts(&self, submission: &Submission, listed: &[u8]) -> Vec<Put> {
        if self.index.is_none() {
            return Vec::new();
        }
        let hashes = Person::of(submission).into_iter().filter_map(|person| self.hash(&person));
        let id = submission.id.to_bytes();
        let found_by = hashes.flat_map(|hash| {
            let key = [hash.as_slice(), &id].concat();
            let trace = trace(id, Table::Person, &key);
            [Put::new(Table::Person, key, []), trace]
        });
        found_by.chain([trace(id, Table::Timeline, listed)]).collect()
    }

    pub(super) fn hash(&self, person: &Person) -> Option<[u8; 32]> {
        let parts = [person.by.name().as_bytes(), person.value.as_bytes()];
        self.index.as_ref().map(|key| key.mac("person", &parts))
    }

    /// Gives submissions that an older release accepted the hashes and traces of this one.
    pub async fn index_older(&self) -> Result<u64, Error> {
        let mut indexed = 0;
        while self.index.is_some() {
            let keys = self.store.untraced(PAGE).await?;
            let ended = keys.len() < PAGE as usize;
            // All of a page at once: the store makes one sync of them.
            let mut commits = JoinSet::new();
            for key in keys {
                let Some(cursor) = Cursor::from_key(&key) else { continue };
                let batch = self.index_one(cursor, key).await?;
                let outbox = self.clone();
                commits.spawn(async move { outbox.patiently(|| outbox.store.commit(batch.clone())).await });
            }
            while let Some(committed) = commits.join_next().await {
                match committed.unwrap_or(Err(store::Error::Unavailable)) {
                    Ok(()) => indexed += 1,
                    // Erased since it was read.
                    Err(store::Error::Conflict { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if ended {
                break;
            }
        }
        Ok(indexed)
    }

    async fn index_one(&self, cursor: Cursor, listed: Vec<u8>) -> Result<Batch, Error> {
        let (batch, id) = (Batch::at(self.clock.now_ms()), cursor.id.to_bytes());
        match self.read_submission(cursor.id).await {
            Ok(Some(submission)) => {
                let batch = batch.require(Table::Submission, id, Expectation::Present);
                Ok(self.person_puts(&submission, &listed).into_iter().fold(batch, Batch::put))
            }
            Ok(None) => Ok(batch.delete(Table::Timeline, listed)),
            // Sealed under a key that is gone: nobody can be found in it, by anybody.
            Err(Error::Unreadable { .. }) => Ok(batch.put(trace(id, Table::Timeline, &listed))),
            Err(error) => Err(error),
        }
    }

    /// The ids of a person's submissions, in no order that says anything.
    pub async fn of_person(&self, person: &Person) -> Result<Vec<SubmissionId>, Error> {
        self.index_older().await?;
        let Some(hash) = self.hash(person) else { return Ok(Vec::new()) };
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.scan_all(Table::Person, of_hash(hash, after)).await?;
            let ended = page.len() < PAGE as usize;
            after = page.last().map(|(key, _)| key.clone());
            ids.extend(page.iter().filter_map(|(key, _)| submission_of(key)));
            if ended {
                return Ok(ids);
            }
        }
    }

    /// Reads one submission; `None` if there is none.
    pub async fn submission(&self, id: SubmissionId) -> Result<Option<Submission>, Error> {
        self.read_submission(id).await
    }

    /// Erases everything of a person: submissions, deliveries in whatever state, kept replies, hashes. What was begun is
    /// ended, if not by this call then by [`resume_erasures`](Self::resume_erasures).
    ///
    /// # Errors
    /// [`Error::Unended`] if it was begun, and others if not even that.
    pub async fn erase_person(
        &self,
        person: &Person,
        actor: &str,
        progress: impl FnMut(u64),
    ) -> Result<ErasedPerson, Error> {
        self.index_older().await?;
        let hash = self.hash(person);
        let job = Job::begin(person.by, hash.unwrap_or_default(), actor, self.clock.now_ms());
        if hash.is_none() {
            return Ok(job.done(true, Rewrite::Done));
        }
        let _alone = self.erasing.acquire().await;
        let batch = Batch::at(self.clock.now_ms());
        let (key, job) = self.begin_erasure(job, batch).await?;
        let scope = job.scope(false);
        self.run_erasure(&key, job, scope, progress).await.map_err(|error| Error::Unended(Box::new(error)))
    }

    async fn begin_erasure(&self, job: Job, batch: Batch) -> Result<(Vec<u8>, Job), Error> {
        let key = [JOB, &rand::random::<[u8; 16]>()].concat();
        let event = audit::Event::ok(batch.now_ms, &job.actor, "person.erasure_begun", job.subject());
        let batch = batch.put(job.put(&key)).put(event.put());
        self.patiently(|| self.store.commit(batch.clone())).await?;
        Ok((key, job))
    }

    /// Ends the erasures that another process began, and does those again for which something has come from a node that was
    /// away; says how many.
    pub async fn resume_erasures(&self) -> Result<u64, Error> {
        let _alone = self.erasing.acquire().await;
        self.erase_again().await?;
        let scan = Scan { prefix: JOB.to_vec(), limit: PAGE, ..Scan::default() };
        let jobs = self.store.scan(Table::Job, scan).await?;
        let mut count = 0;
        for (key, record) in jobs.into_iter().filter(|_| !fault::is_on("erasure.left_undone")) {
            if let Ok(job) = serde_json::from_slice::<Job>(&record.value) {
                let scope = job.scope(true);
                let erased = self.run_erasure(&key, job, scope, |_| {}).await?;
                count += u64::from(erased.is_ended());
            }
        }
        Ok(count)
    }

    /// When the oldest erasure was asked for that is not done.
    pub async fn oldest_erasure_ms(&self) -> Result<Option<i64>, Error> {
        let scan = Scan { prefix: JOB.to_vec(), limit: PAGE, ..Scan::default() };
        let jobs = self.store.scan(Table::Job, scan).await?;
        let begun = |record: &store::Record| serde_json::from_slice::<Job>(&record.value).ok()?.begun_ms;
        Ok(jobs.iter().filter_map(|(_, record)| begun(record)).min())
    }

    async fn run_erasure(
        &self,
        key: &[u8],
        mut job: Job,
        scope: Scope,
        mut progress: impl FnMut(u64),
    ) -> Result<ErasedPerson, Error> {
        let mut after = None;
        loop {
            // From the start each time, unless something is passed over: what was erased is no longer found.
            let page = self.store.scan_all(Table::Person, of_hash(job.hash, after)).await?;
            let Some((last, _)) = page.last() else { break };
            after = scope.before_ms.map(|_| last.clone());
            for (entry, _) in page {
                let Some(id) = submission_of(&entry) else { continue };
                if !self.is_in(scope, id).await? {
                    continue;
                }
                let states = self.deliveries_of(id, &self.holds().await?).await?;
                let mut next = job.clone();
                next.count(&states, self.kept_files(id).await?);
                let remembered = self.remembered(id).await?;
                let now_ms = self.clock.now_ms();
                let event =
                    audit::Event::with_outcome(now_ms, &job.actor, "submission.erased", id, "on request");
                let erasure = Erasure {
                    submission: id.to_bytes(),
                    settled: None,
                    forget_at_ms: now_ms.saturating_add(FORGET_MS),
                    deletes: [vec![(Table::Person, entry)], remembered].concat(),
                    puts: vec![next.put(key), event.put()],
                };
                self.patiently(|| self.store.erase(erasure.clone())).await?;
                self.remove_files(id).await;
                job = next;
                fault::point("erasure.stepped");
                progress(job.erased);
            }
        }
        self.forget_answered(job.hash, scope).await?;
        let batch = Batch::at(self.clock.now_ms());
        let batch = self.erased_before(key, &job).into_iter().fold(batch, Batch::put);
        job.forget();
        let batch = batch.put(job.put(key));
        self.patiently(|| self.store.commit(batch.clone())).await?;
        // Before the job is done: a process that dies here leaves it to the next one.
        let scrubbed = self.scrub().await?;
        fault::point("erasure.scrubbed");
        let log = self.rewrite_log().await?;
        let (now_ms, outcome) = (self.clock.now_ms(), job.outcome(log));
        let event = audit::Event::with_outcome(now_ms, &job.actor, "person.erased", job.subject(), &outcome);
        let erased = job.done(scrubbed, log);
        if !erased.is_ended() {
            tracing::warn!(scrubbed, "remains cannot be overwritten now; the erasure is ended later");
            return Ok(erased);
        }
        let batch = Batch::at(now_ms).delete(Table::Job, key).put(event.put());
        self.patiently(|| self.store.commit(batch.clone())).await?;
        Ok(erased)
    }

    /// Erases one submission if its deliveries ended as long ago as `settled` says.
    pub(super) async fn erase_settled(
        &self,
        cursor: Cursor,
        settled: store::Settled,
        event: &audit::Event,
    ) -> Result<bool, Error> {
        let erasure = Erasure {
            submission: cursor.id.to_bytes(),
            settled: Some(settled),
            forget_at_ms: self.clock.now_ms().saturating_add(FORGET_MS),
            deletes: vec![(Table::Timeline, cursor.to_key())],
            puts: vec![event.put()],
        };
        let erased = self.patiently(|| self.store.erase(erasure.clone())).await?;
        let is_erased = matches!(erased, Erased::Done { .. });
        if is_erased {
            self.remove_files(cursor.id).await;
        }
        Ok(is_erased)
    }

    /// Has the shared copy write its log anew, and waits a while for it.
    async fn rewrite_log(&self) -> Result<Rewrite, Error> {
        let mut log = Rewrite::Later;
        for _ in 0..MAX_LOOKS {
            match self.store.rewrite_log(true).await {
                Ok(end @ (Rewrite::Done | Rewrite::Refused)) => return Ok(end),
                Ok(Rewrite::Begun) => log = Rewrite::Begun,
                Ok(Rewrite::Later) | Err(store::Error::Busy) => {}
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(log)
    }

    /// Overwrites what was erased in the files, too. `false` if readers were in the way all the time; then the next sweep
    /// tries it again.
    pub async fn scrub(&self) -> Result<bool, Error> {
        self.unscrubbed.store(true, Ordering::Release);
        for _ in 0..MAX_SCRUBS {
            match self.store.scrub().await {
                Ok(true) => {
                    self.unscrubbed.store(false, Ordering::Release);
                    return Ok(true);
                }
                Ok(false) | Err(store::Error::Busy) => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}

fn of_hash(hash: [u8; 32], after: Option<Vec<u8>>) -> Scan {
    Scan { prefix: hash.to_vec(), after, limit: PAGE, ..Scan::default() }
}

/// The submission that an entry of the index leads to.
fn submission_of(entry: &[u8]) -> Option<SubmissionId> {
    let id = entry.last_chunk::<16>()?;
    Some(SubmissionId::new(uuid::Uuid::from_bytes(*id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_has_one_spelling() {
        let person = |by, text| Person::new(by, text).map(|person| person.value);
        for text in ["+390669821234", "0039 06 6982 1234", "(+39) 06-6982.1234", "390669821234"] {
            assert_eq!(person(By::Phone, text), Ok("390669821234".to_owned()), "{text}");
        }
        assert_eq!(person(By::Email, " Ada@Example.com "), Ok("ada@example.com".to_owned()));
        assert_eq!(person(By::Token, "Fg.A"), Ok("Fg.A".to_owned()), "tokens are exact");
        for (by, text) in [
            (By::Phone, "ada"),
            (By::Phone, "12"),
            (By::Phone, "call 390669821234"),
            (By::Email, "ada"),
            (By::UserId, " "),
            (By::Token, "unused"),
        ] {
            assert!(person(by, text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_person_is_not_shown() {
        let person = Person::new(By::Phone, "+390669821234").expect("a number");
        assert!(!format!("{person:?}").contains("39066"));
    }
}

//! The files of answers: fetched from Meta's servers soon after the submission was accepted, verified, kept sealed, and
//! handed on.
//!
//! A phone puts a file on Meta's servers, encrypted, and the answer says where it is and how it opens (WhatsApp Flows
//! reference, 5.1). That stays in the stored submission, sealed, and nobody who reads a submission is told it: in its place
//! they get what became of the file, and a link that ends.
//!
//! Invariant: a submission with files has a record of them and a job, committed with it; the job stays until each file is
//! kept or refused with its reason, over every restart. A kept file is sealed under a key that only the record has, so what
//! erases the record erases the file, whatever is left of it on a disk.
//!
//! What it deliberately does not do: it shows no file to anybody but by a link or to a destination, and scans for no malware.

mod disk;
mod fetch;
mod job;
mod link;
mod present;
mod sniff;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;
use url::Url;

pub use self::link::{Download, LinkError};
pub use self::present::file_text;

use super::submission::{Answer, Submission};
use super::{Clock, Error, Outbox, SealBody, SubmissionId};
use crate::client::{AddressPolicy, Client};
use crate::crypto::Sealer;
use crate::form::FileLimits;
use crate::store::{Put, Record, Store, Table, Version, trace};

/// The kind of an answer that is files.
const KIND: &str = "file";
/// The keys of file jobs among the jobs.
const JOB: &[u8] = b"files\0";
/// Files that are handed out at one time.
const MAX_DOWNLOADS: usize = 32;

/// How files are fetched, kept and handed on.
#[derive(Clone)]
pub struct Settings {
    /// Where they are kept.
    pub folder: PathBuf,
    /// Hosts that files are fetched from; subdomains are meant, too.
    pub hosts: Vec<String>,
    /// Whether those may be in a private network.
    pub policy: AddressPolicy,
    /// How long one file may take.
    pub deadline: Duration,
    /// How Formgate is reached from outside; without it there are no links.
    pub public_url: Option<Url>,
    /// How long a link leads to its file.
    pub link_ttl: Duration,
    /// By which client.
    pub client: Client,
}

/// The files of all submissions. Cheap to clone.
#[derive(Clone)]
pub struct Files(Arc<Inner>);

struct Inner {
    settings: Settings,
    sealer: Sealer,
    store: Store,
    clock: Arc<dyn Clock>,
    downloads: Arc<Semaphore>,
    fetching_again: Semaphore,
}

impl fmt::Debug for Files {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Files")
    }
}

/// Why a file was not taken. The name is told to destinations: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Not at one of Meta's hosts, or not by https.
    #[error("its address is not one of Meta's file servers")]
    HostNotAllowed,
    /// The host's name leads into a private network.
    #[error("its address leads into a private network")]
    AddressNotAllowed,
    /// The server sends elsewhere.
    #[error("its server redirects, which is not followed")]
    Redirected,
    /// Larger than the question allows.
    #[error("it is larger than the question allows")]
    TooLarge,
    /// The keys or hashes have not the right form.
    #[error("its keys or hashes have not the right form")]
    Metadata,
    /// What was fetched is not what was announced.
    #[error("what was fetched has not the hash that was announced")]
    EncryptedHash,
    /// What was fetched cannot be an encrypted file.
    #[error("what was fetched cannot be an encrypted file")]
    Length,
    /// It was not sealed by the sender.
    #[error("what was fetched was not authenticated by its sender")]
    Hmac,
    /// It does not end as it should.
    #[error("what was decrypted has no right padding")]
    Padding,
    /// What came out is not what was announced.
    #[error("what was decrypted has not the hash that was announced")]
    PlaintextHash,
    /// Its content is of a kind that the question does not take.
    #[error("its content is of a kind that the question does not take")]
    TypeNotAllowed,
    /// The server has it no more.
    #[error("Meta's file server does not have it any more")]
    Gone,
    /// The server could not be reached in all the time that Meta keeps files.
    #[error("it could not be fetched in the time that Meta keeps files")]
    Unavailable,
}

impl Refusal {
    /// Its name in submissions and logs.
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| Some(name.as_str()?.to_owned())).unwrap_or_default()
    }
}

/// What became of one file.
#[derive(Clone, Serialize, Deserialize)]
enum State {
    Pending,
    Kept(Kept),
    Refused(Refusal),
}

/// A file that was fetched, verified and kept.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    key: [u8; 32],
    media_type: String,
    size_bytes: u64,
    sha256: [u8; 32],
}

/// What became of the files of one submission, in the order of its answers.
#[derive(Clone, Serialize, Deserialize)]
struct Known {
    since_ms: i64,
    files: Vec<State>,
}

impl Known {
    fn is_settled(&self) -> bool {
        !self.files.iter().any(|state| matches!(state, State::Pending))
    }
}

/// One uploaded file as the stored submission has it.
#[derive(Clone, Deserialize)]
struct Upload {
    file_name: String,
    cdn_url: String,
    encryption_metadata: Metadata,
    /// What the question takes. Submissions of older releases do not say.
    #[serde(default = "any")]
    limits: FileLimits,
}

#[derive(Clone, Deserialize)]
struct Metadata {
    encrypted_hash: String,
    iv: String,
    encryption_key: String,
    hmac_key: String,
    plaintext_hash: String,
}

fn any() -> FileLimits {
    FileLimits { photos_only: false, media_types: Vec::new(), max_files: 30, max_kib: 25_600 }
}

/// The answers that are files, with their items.
fn file_answers(submission: &Submission) -> impl Iterator<Item = (&Answer, &Vec<Value>)> {
    let answers = submission.answers.iter().filter(|answer| answer.kind == KIND);
    answers.filter_map(|answer| Some((answer, answer.value.as_array()?)))
}

/// Every upload of a submission as it is stored. One that cannot be read keeps its place.
fn uploads(submission: &Submission) -> Vec<Option<Upload>> {
    let items = file_answers(submission).flat_map(|(_, items)| items);
    items.map(|item| Upload::deserialize(item).ok()).collect()
}

/// Binds the sealed record to its place.
pub fn files_context(id: SubmissionId) -> Vec<u8> {
    [b"formgate files ".as_slice(), &id.to_bytes()].concat()
}

fn known_put(seal: &dyn SealBody, id: SubmissionId, known: &Known) -> Put {
    let value = postcard::to_stdvec(known).expect("bytes, numbers and strings always serialise");
    Put::new(Table::File, id.to_bytes(), seal.seal(&files_context(id), &value))
}

fn known_of(seal: &dyn SealBody, id: SubmissionId, record: &Record) -> Option<(Known, Version)> {
    let value = seal.open(&files_context(id), &record.value).ok()?;
    Some((postcard::from_bytes(&value).ok()?, record.version))
}

impl Files {
    /// Files kept as these settings say.
    pub fn new(settings: Settings, sealer: Sealer, store: Store, clock: Arc<dyn Clock>) -> Self {
        let downloads = Arc::new(Semaphore::new(MAX_DOWNLOADS));
        let fetching_again = Semaphore::new(1);
        Self(Arc::new(Inner { settings, sealer, store, clock, downloads, fetching_again }))
    }
}

impl Outbox {
    /// Fetches, keeps and hands on the files of answers; without it they stay where they are.
    #[must_use]
    pub fn with_files(mut self, files: Files) -> Self {
        self.files = Some(files);
        self
    }

    /// What is written with a submission that has files: their record, the job that fetches them, and the traces by which
    /// both are erased.
    pub(super) fn file_puts(&self, submission: &Submission, now_ms: i64) -> Vec<Put> {
        let count = uploads(submission).len();
        if count == 0 {
            return Vec::new();
        }
        let id = submission.id;
        let known = Known { since_ms: now_ms, files: vec![State::Pending; count] };
        let record = known_put(&*self.seal, id, &known);
        let trace = trace(id.to_bytes(), Table::File, &record.key);
        [record, trace].into_iter().chain(job::first_puts(id, now_ms)).collect()
    }

    /// How many files of a submission were fetched, and so may have been handed on.
    pub(super) async fn kept_files(&self, id: SubmissionId) -> Result<u64, Error> {
        let known = self.known_files(id).await?;
        let files = known.iter().flat_map(|(known, _)| &known.files);
        Ok(files.filter(|state| matches!(state, State::Kept(_))).count() as u64)
    }

    /// Removes what is here of the files of a submission that was erased. What only a later release can read was not.
    async fn remove_erased(&self, files: &Files, id: SubmissionId) -> Result<(), Error> {
        if self.store.get(Table::File, &id.to_bytes()).await?.is_none() {
            files.remove(id).await;
        }
        Ok(())
    }

    async fn known_files(&self, id: SubmissionId) -> Result<Option<(Known, Version)>, Error> {
        let record = self.store.get(Table::File, &id.to_bytes()).await?;
        Ok(record.and_then(|record| known_of(&*self.seal, id, &record)))
    }
}

//! Links to kept files: `{public_url}/files/{token}`. The token is sealed and says which file and until when; who has it has
//! the file until then, and nobody can make one.

use std::fs::File;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::disk::Places;
use super::fetch::{Failure, fetch};
use super::present::hex;
use super::{Files, Kept, State, uploads};
use crate::crypto::{FileKey, FileOpener, Purpose};
use crate::outbox::{Error, Outbox, SubmissionId};

/// Links end at full hours, so that a repeat of a delivery says the same.
const GRAIN_MS: i64 = 3_600_000;
/// How long one download may take.
const DEADLINE: Duration = Duration::from_secs(600);
/// Pieces on their way from the disk to the network.
const PIECES: usize = 2;

#[derive(Serialize, Deserialize)]
struct Link {
    submission: [u8; 16],
    number: u16,
    expires_at_s: i64,
}

/// A file on its way out.
pub struct Download {
    /// What the person's phone called it.
    pub name: String,
    /// What its content was found to be.
    pub media_type: String,
    /// Its length.
    pub size_bytes: u64,
    /// Its content. It ends early if the file on the disk is damaged.
    pub pieces: mpsc::Receiver<Bytes>,
}

/// Why a link leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Not made here, or the file was erased or refused.
    #[error("there is no such file")]
    Unknown,
    /// Its time is over.
    #[error("the link has expired")]
    Expired,
    /// Not fetched yet, or too many ask at once, or the store does not answer.
    #[error("the file is not there yet")]
    NotNow,
}

impl From<Error> for LinkError {
    fn from(error: Error) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "a file could not be handed out");
        Self::NotNow
    }
}

impl Files {
    /// A link to a file, and when it ends in RFC 3339; `None` without a public address.
    pub(super) fn link(&self, id: SubmissionId, number: u16) -> Option<(String, String)> {
        let mut url = self.0.settings.public_url.clone()?;
        let ttl_ms = i64::try_from(self.0.settings.link_ttl.as_millis()).unwrap_or(i64::MAX);
        let ends_ms = self.0.clock.now_ms().checked_add(ttl_ms)?;
        let ends_ms = ends_ms.checked_add(GRAIN_MS - 1)? / GRAIN_MS * GRAIN_MS;
        let ends = Timestamp::from_millisecond(ends_ms).ok()?;
        let link = Link { submission: id.to_bytes(), number, expires_at_s: ends.as_second() };
        let bytes = postcard::to_stdvec(&link).ok()?;
        // The same link is the same text.
        let token = self.0.sealer.seal(Purpose::FileLink, b"", &bytes, Some(&bytes));
        url.path_segments_mut().ok()?.pop_if_empty().extend(["files", &token]);
        Some((url.into(), format!("{ends:.3}")))
    }

    fn read_link(&self, token: &str) -> Result<(SubmissionId, u16), LinkError> {
        let bytes = self.0.sealer.open(Purpose::FileLink, b"", token).map_err(|_| LinkError::Unknown)?;
        let link: Link = postcard::from_bytes(&bytes).map_err(|_| LinkError::Unknown)?;
        if self.0.clock.now_ms() / 1_000 >= link.expires_at_s {
            return Err(LinkError::Expired);
        }
        Ok((SubmissionId::new(Uuid::from_bytes(link.submission)), link.number))
    }

    /// The content of a kept file, which begins to be read here.
    async fn read(
        &self,
        id: SubmissionId,
        number: u16,
        kept: &Kept,
    ) -> Result<mpsc::Receiver<Bytes>, io::Error> {
        let slot = self.0.downloads.clone().try_acquire_owned().map_err(|_| io::ErrorKind::ResourceBusy)?;
        let (path, key) = (Places::of(&self.0, id, number).kept(), FileKey::from_bytes(kept.key));
        let begin = tokio::task::spawn_blocking(move || {
            let mut opener = FileOpener::new(&key, File::open(path)?);
            let chunk = opener.next_chunk()?;
            Ok::<_, io::Error>((opener, chunk))
        });
        let (mut opener, mut chunk) = begin.await.map_err(io::Error::other)??;
        let (to, pieces) = mpsc::channel(PIECES);
        let deadline = Instant::now() + DEADLINE;
        tokio::spawn(async move {
            let _slot = slot;
            while let Some(piece) = chunk {
                if !matches!(timeout_at(deadline, to.send(piece.into())).await, Ok(Ok(()))) {
                    return;
                }
                let reading = tokio::task::spawn_blocking(move || {
                    let next = opener.next_chunk();
                    (opener, next)
                });
                let Ok((read, Ok(next))) = reading.await else { return };
                (opener, chunk) = (read, next);
            }
        });
        Ok(pieces)
    }
}

impl Outbox {
    /// What a link leads to.
    pub async fn download(&self, token: &str) -> Result<Download, LinkError> {
        let files = self.files.as_ref().ok_or(LinkError::Unknown)?;
        let (id, number) = files.read_link(token)?;
        self.open_file(id, number).await
    }

    /// The first file of a submission whose content has this hash, in hexadecimal digits, as submissions tell it.
    ///
    /// # Errors
    /// [`LinkError`], as a link would.
    pub async fn open_with_hash(&self, id: SubmissionId, sha256: &str) -> Result<Download, LinkError> {
        let (known, _) = self.known_files(id).await?.ok_or(LinkError::Unknown)?;
        let has = |state: &State| matches!(state, State::Kept(kept) if hex(&kept.sha256) == sha256);
        let number = known.files.iter().position(has).and_then(|number| u16::try_from(number).ok());
        self.open_file(id, number.ok_or(LinkError::Unknown)?).await
    }

    /// One file of a submission, counted over all its answers. One that is not on this node's disk (another one has
    /// fetched it, or a backup was restored) is fetched again.
    pub async fn open_file(&self, id: SubmissionId, number: u16) -> Result<Download, LinkError> {
        let files = self.files.as_ref().ok_or(LinkError::Unknown)?;
        let (known, _) = self.known_files(id).await?.ok_or(LinkError::Unknown)?;
        let kept = match known.files.get(usize::from(number)) {
            Some(State::Kept(kept)) => kept,
            Some(State::Pending) => return Err(LinkError::NotNow),
            Some(State::Refused(_)) | None => return Err(LinkError::Unknown),
        };
        let submission = self.read_stored(id).await?.ok_or(LinkError::Unknown)?;
        let upload =
            uploads(&submission).into_iter().nth(number.into()).flatten().ok_or(LinkError::Unknown)?;
        let pieces = match files.read(id, number, kept).await {
            Ok(pieces) => pieces,
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Err(LinkError::NotNow),
            Err(error) => {
                tracing::info!(submission.id = %id, file = number, error = %error.kind(), "a file is fetched again");
                // One after the other: they would write to one place.
                let _alone = files.0.fetching_again.acquire().await;
                if let Err(failure) = fetch(&files.0, id, number, &upload, Some(kept)).await {
                    tracing::warn!(submission.id = %id, file = number, ?failure, "a file cannot be fetched again");
                    let is_final = matches!(failure, Failure::Refused(_) | Failure::Stubborn(_));
                    return Err(if is_final { LinkError::Unknown } else { LinkError::NotNow });
                }
                // It may have been erased meanwhile.
                if self.known_files(id).await?.is_none() {
                    self.remove_erased(files, id).await?;
                    return Err(LinkError::Unknown);
                }
                files.read(id, number, kept).await.map_err(|_| LinkError::NotNow)?
            }
        };
        Ok(Download {
            name: upload.file_name,
            media_type: kept.media_type.clone(),
            size_bytes: kept.size_bytes,
            pieces,
        })
    }
}

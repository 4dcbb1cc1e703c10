//! One file: from Meta's server to the disk, in constant memory, by the six steps of the WhatsApp Flows reference (5.1).
//!
//! What is fetched goes to the disk as it came, hashed on the way (steps 1 to 4). Only if it is what its sender sealed is it
//! read again, decrypted, checked and sealed under a key of our own (5 and 6). Then its content is held against what the
//! question takes, and only then does it get its name.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use url::Url;

use super::disk::Places;
use super::{Inner, Kept, Refusal, Upload, sniff};
use crate::client::{AddressPolicy, Error, Method, Request};
use crate::crypto::{
    FileKey, FileSealer, MEDIA_OVERHEAD_BYTES, MediaError, MediaKeys, MediaVerifier, VerifiedMedia,
};
use crate::form::FileLimits;
use crate::outbox::SubmissionId;

/// Pieces on their way from the network to the disk.
const PIECES: usize = 4;
/// Read from the disk at one time.
const READ_BYTES: usize = 64 * 1024;
/// Meta's own cap (reference 5.3).
const MAX_KIB: u32 = 25_600;

/// Why a file was not kept now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// For good.
    Refused(Refusal),
    /// For good, if it stays so for some attempts.
    Stubborn(Refusal),
    /// It may work later; a constant name for the log.
    Later(&'static str),
}

impl From<MediaError> for Failure {
    fn from(error: MediaError) -> Self {
        Self::Refused(match error {
            MediaError::Metadata => Refusal::Metadata,
            MediaError::EncryptedHash => Refusal::EncryptedHash,
            MediaError::Length => Refusal::Length,
            MediaError::Hmac => Refusal::Hmac,
            MediaError::Padding => Refusal::Padding,
            MediaError::PlaintextHash => Refusal::PlaintextHash,
        })
    }
}

// Our own disk: somebody has to make room, and the file waits at Meta's.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        tracing::error!(error = %error.kind(), "a file could not be written or read");
        Self::Later("disk")
    }
}

/// Fetches, verifies and keeps one file. With `again` it must be the one that was kept before, and keeps its key. Cancel
/// safe: what an attempt left on the disk, the next one overwrites.
pub(super) async fn fetch(
    inner: &Inner,
    id: SubmissionId,
    number: u16,
    upload: &Upload,
    again: Option<&Kept>,
) -> Result<Kept, Failure> {
    let url = allowed(inner, &upload.cdn_url)?;
    let metadata = &upload.encryption_metadata;
    let keys = MediaKeys::from_base64(
        &metadata.encrypted_hash,
        &metadata.iv,
        &metadata.encryption_key,
        &metadata.hmac_key,
        &metadata.plaintext_hash,
    )?;
    let sha256 = keys.plaintext_hash();
    if again.is_some_and(|kept| kept.sha256 != sha256) {
        return Err(Failure::Refused(Refusal::PlaintextHash));
    }
    let max_bytes = u64::from(upload.limits.max_kib.clamp(1, MAX_KIB)) * 1024;
    let places = Places::of(inner, id, number);

    let mut request = Request::new(Method::GET, url, "", Instant::now() + inner.settings.deadline);
    request.policy = inner.settings.policy;
    request.max_response_bytes = usize::try_from(max_bytes + MEDIA_OVERHEAD_BYTES).unwrap_or(usize::MAX);
    let (to, pieces) = mpsc::channel(PIECES);
    // Hashing and writing have a thread of their own; it ends when the pieces do.
    let receiving = tokio::task::spawn_blocking(move || {
        let received = receive(&places, keys, pieces);
        (places, received)
    });
    let response = inner.settings.client.download(request, to).await;
    let (places, received) = receiving.await.map_err(|_panic| Failure::Later("crash"))?;
    let judged =
        response.map_err(|error| refused(&error)).and_then(|response| match response.status.as_u16() {
            200 if response.truncated && received.is_ok() => Err(Failure::Refused(Refusal::TooLarge)),
            200 => received,
            300..=399 => Err(Failure::Refused(Refusal::Redirected)),
            408 | 425 | 429 | 500.. => Err(Failure::Later("status")),
            _ => Err(Failure::Stubborn(Refusal::Gone)),
        });
    let verified = judged.and_then(|(fetched, verifier)| Ok((fetched, verifier.finish()?)));
    let (fetched, verified) = match verified {
        Ok(verified) => verified,
        Err(failure) => {
            places.clear();
            return Err(failure);
        }
    };
    let (limits, name) = (upload.limits.clone(), upload.file_name.clone());
    let key = again.map_or_else(FileKey::generate, |kept| FileKey::from_bytes(kept.key));
    let opening = tokio::task::spawn_blocking(move || {
        let opened = open(&places, fetched, verified, &key, &limits, &name, max_bytes);
        places.clear();
        opened.map(|(media_type, size_bytes)| Kept {
            key: *key.expose_bytes(),
            media_type,
            size_bytes,
            sha256,
        })
    });
    opening.await.map_err(|_panic| Failure::Later("crash"))?
}

/// The address, if it is one that files are fetched from.
fn allowed(inner: &Inner, address: &str) -> Result<Url, Failure> {
    let refused = Failure::Refused(Refusal::HostNotAllowed);
    let url = Url::parse(address).map_err(|_| refused)?;
    let host = url.host_str().ok_or(refused)?.to_ascii_lowercase();
    let is_below = |allowed: &String| {
        host == *allowed || host.strip_suffix(allowed.as_str()).is_some_and(|rest| rest.ends_with('.'))
    };
    let secure = url.scheme() == "https" || inner.settings.policy == AddressPolicy::AllowPrivateNetwork;
    if secure && inner.settings.hosts.iter().any(is_below) { Ok(url) } else { Err(refused) }
}

fn refused(error: &Error) -> Failure {
    match error {
        Error::Url | Error::PlainHttp | Error::Port | Error::Header => {
            Failure::Refused(Refusal::HostNotAllowed)
        }
        Error::Address => Failure::Stubborn(Refusal::AddressNotAllowed),
        error => Failure::Later(error.class()),
    }
}

/// Step 1, and what steps 2 to 4 need of every byte.
fn receive(
    places: &Places,
    keys: MediaKeys,
    mut pieces: mpsc::Receiver<Bytes>,
) -> Result<(File, MediaVerifier), Failure> {
    let mut verifier = MediaVerifier::new(keys);
    let mut file = places.create_fetched()?;
    while let Some(piece) = pieces.blocking_recv() {
        verifier.update(&piece);
        file.write_all(&piece)?;
    }
    Ok((file, verifier))
}

/// Steps 5 and 6, then the content; gives the file its name if all is well.
fn open(
    places: &Places,
    mut fetched: File,
    verified: VerifiedMedia,
    key: &FileKey,
    limits: &FileLimits,
    name: &str,
    max_bytes: u64,
) -> Result<(String, u64), Failure> {
    fetched.rewind()?;
    let mut decryptor = verified.decrypt();
    let mut sealer = FileSealer::new(key, places.create_half()?);
    let (mut piece, mut plaintext, mut head) = (vec![0; READ_BYTES], Vec::new(), Vec::new());
    let mut size_bytes = 0;
    let mut take = |plaintext: &[u8]| {
        size_bytes += plaintext.len() as u64;
        let room = sniff::HEAD_BYTES - head.len();
        head.extend_from_slice(plaintext.get(..room).unwrap_or(plaintext));
        sealer.write_all(plaintext)
    };
    loop {
        let read = fetched.read(&mut piece)?;
        if read == 0 {
            break;
        }
        decryptor.update(piece.get(..read).unwrap_or_default(), &mut plaintext);
        take(&plaintext)?;
    }
    decryptor.finish(&mut plaintext)?;
    take(&plaintext)?;
    if size_bytes > max_bytes {
        return Err(Failure::Refused(Refusal::TooLarge));
    }
    let media_type = sniff::media_type(&head, name);
    if !limits.allows(media_type) {
        return Err(Failure::Refused(Refusal::TypeNotAllowed));
    }
    places.name(&sealer.finish()?)?;
    Ok((media_type.to_owned(), size_bytes))
}

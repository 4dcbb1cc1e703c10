//! The exchange envelope (WhatsApp Flows reference 1.1, 1.2), opened by whichever key it was made for.
//!
//! A request that does not open fails in one way: the sender cannot learn how far it came. Only what everyone can see in the
//! envelope (that it is no envelope at all, or has parts of the wrong length) is refused before the private keys are used.

use std::borrow::Cow;
use std::fmt;

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm::aes::Aes128;
use aes_gcm::{AesGcm, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::key::{AES_KEY_BYTES, KEY_BYTES, KeyId, PrivateKey};

/// The IV has 16 bytes, not the usual 12.
const IV_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

type ExchangeCipher = AesGcm<Aes128, U16>;

/// No kept key opens the request: 421.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request cannot be decrypted")]
pub struct Undecryptable;

/// The private keys of a number.
#[derive(Debug)]
pub struct KeyRing(Vec<PrivateKey>);

/// A request that was opened.
pub struct Opened {
    /// What the client sent.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// Seals the reply.
    pub reply: ReplySealer,
    /// SHA-256 of the envelope's encrypted parts: equal for the same envelope however it is written.
    pub envelope: [u8; 32],
    /// Which key opened it; an old one says that the client has not fetched the new one yet.
    pub key_id: KeyId,
}

impl fmt::Debug for Opened {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Opened").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl KeyRing {
    /// Keys in the order in which they are tried: newest first. Without any, nothing opens.
    pub fn new(keys: Vec<PrivateKey>) -> Self {
        Self(keys)
    }

    /// The keys, newest first.
    pub fn keys(&self) -> &[PrivateKey] {
        &self.0
    }

    /// Opens the body of a request whose signature was checked.
    pub fn open(&self, raw_body: &[u8]) -> Result<Opened, Undecryptable> {
        let Envelope { encrypted_aes_key, iv, mut message, tag } =
            Envelope::parse(raw_body).ok_or(Undecryptable)?;
        let envelope = Sha256::new()
            .chain_update(encrypted_aes_key)
            .chain_update(iv)
            .chain_update(&*message)
            .chain_update(tag)
            .finalize()
            .into();
        let instead = Zeroizing::new(rand::random::<[u8; AES_KEY_BYTES]>());
        for key in &self.0 {
            let aes_key = key.unwrap_aes_key(&encrypted_aes_key, &instead);
            let cipher = ExchangeCipher::new(&(*aes_key).into());
            // The tag is checked first; if it does not fit, the ciphertext stays as it is for the next key.
            let opened = cipher.decrypt_inout_detached(
                &Nonce::from(iv),
                &[],
                message.as_mut_slice().into(),
                &Tag::from(tag),
            );
            if opened.is_ok() {
                let reply = ReplySealer { cipher, iv: iv.map(|byte| !byte) };
                return Ok(Opened { plaintext: message, reply, envelope, key_id: *key.id() });
            }
        }
        Err(Undecryptable)
    }
}

/// Seals one reply, and is used up by it: a second one under the same key and IV would give both away.
pub struct ReplySealer {
    cipher: ExchangeCipher,
    iv: [u8; IV_BYTES],
}

impl ReplySealer {
    /// The body of the response: base64 of ciphertext and tag, under the request's key and its inverted IV.
    pub fn seal(self, plaintext: &[u8]) -> String {
        let mut sealed = Vec::with_capacity(plaintext.len() + TAG_BYTES);
        sealed.extend_from_slice(plaintext);
        let tag = self
            .cipher
            .encrypt_inout_detached(&Nonce::from(self.iv), &[], sealed.as_mut_slice().into())
            .expect("what fits in memory is below the limit of AES-GCM");
        sealed.extend_from_slice(&tag);
        STANDARD.encode(sealed)
    }
}

impl fmt::Debug for ReplySealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ReplySealer")
    }
}

struct Envelope {
    encrypted_aes_key: [u8; KEY_BYTES],
    iv: [u8; IV_BYTES],
    message: Zeroizing<Vec<u8>>,
    tag: [u8; TAG_BYTES],
}

// Borrowed unless a writer escapes the slashes of base64.
#[derive(Deserialize)]
struct EnvelopeJson<'a> {
    #[serde(borrow)]
    encrypted_flow_data: Cow<'a, str>,
    #[serde(borrow)]
    encrypted_aes_key: Cow<'a, str>,
    #[serde(borrow)]
    initial_vector: Cow<'a, str>,
}

impl Envelope {
    fn parse(raw_body: &[u8]) -> Option<Self> {
        let json: EnvelopeJson<'_> = serde_json::from_slice(raw_body).ok()?;
        let mut message = Zeroizing::new(STANDARD.decode(&*json.encrypted_flow_data).ok()?);
        let tag = *message.last_chunk()?;
        let message_bytes = message.len() - TAG_BYTES;
        message.truncate(message_bytes);
        Some(Self {
            encrypted_aes_key: decode(&json.encrypted_aes_key)?,
            iv: decode(&json.initial_vector)?,
            message,
            tag,
        })
    }
}

/// Exactly `N` bytes, without a detour over the heap.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (STANDARD.decode_slice(text, &mut bytes).ok()? == N).then_some(bytes)
}

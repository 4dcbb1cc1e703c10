//! Sealing under the master key: what others carry for us (state, tokens) and what rests in the store.
//!
//! The cipher is AES-256-GCM-SIV (RFC 8452): a repeated nonce shows at most that two plaintexts are equal, which is what lets
//! a repeated envelope be answered with the same bytes. Sealed bytes are
//! `master key's id (1) ‖ nonce (12) ‖ ciphertext ‖ tag (16)`; as text they are base64url without padding.

use std::fmt;
use std::sync::Arc;

use aes_gcm_siv::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm_siv::{Aes256GcmSiv, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::hex;
use super::mac::hmac_sha256;

const NONCE_BYTES: usize = 12;
const HEAD_BYTES: usize = 1 + NONCE_BYTES;
const TAG_BYTES: usize = 16;

/// The key that all sealing keys are derived from.
#[derive(Clone)]
pub struct MasterKey(Zeroizing<[u8; 32]>);

/// Text that is not a master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the master key is not 32 bytes in base64 or hexadecimal")]
pub struct InvalidMasterKey;

impl MasterKey {
    /// Makes a new one.
    pub fn generate() -> Self {
        Self(Zeroizing::new(rand::random()))
    }

    /// Reads base64, in either alphabet, or hexadecimal.
    pub fn parse(text: &str) -> Result<Self, InvalidMasterKey> {
        let text = text.trim();
        // 64 hexadecimal digits are base64, too, but of 48 bytes.
        if let Some(bytes) = hex::decode(text) {
            return Ok(Self(Zeroizing::new(bytes)));
        }
        [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
            .iter()
            .find_map(|alphabet| {
                let bytes = Zeroizing::new(alphabet.decode(text).ok()?);
                <[u8; 32]>::try_from(bytes.as_slice()).ok()
            })
            .map(|bytes| Self(Zeroizing::new(bytes)))
            .ok_or(InvalidMasterKey)
    }

    /// The text that [`parse`](Self::parse) reads, to be kept in a file.
    pub fn to_text(&self) -> SecretString {
        SecretString::from(STANDARD.encode(*self.0))
    }

    /// HKDF-Expand of one block (RFC 5869); a master key is uniformly random, so there is nothing to extract.
    fn derive(&self, label: &str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(hmac_sha256(&*self.0, &[b"formgate/1/", label.as_bytes(), &[1]]))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey")
    }
}

/// The master key in use and the ones before it, which only open.
#[derive(Debug, Clone)]
pub struct MasterKeys {
    current: MasterKey,
    previous: Vec<MasterKey>,
}

impl MasterKeys {
    /// Keys, of which the first seals.
    pub fn new(current: MasterKey, previous: Vec<MasterKey>) -> Self {
        Self { current, previous }
    }

    /// Reads the keys of a file, newest first, white space between them.
    pub fn parse(text: &SecretString) -> Result<Self, InvalidMasterKey> {
        let mut keys = text.expose_secret().split_whitespace().map(MasterKey::parse);
        let current = keys.next().ok_or(InvalidMasterKey)??;
        Ok(Self { current, previous: keys.collect::<Result<_, _>>()? })
    }
}

/// What something is sealed for. Sealed for one purpose, it does not open for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The answers so far, which travel with the screen.
    State,
    /// Flow tokens.
    Token,
    /// Submissions in the store.
    StoredBody,
    /// Private keys and credentials in the store.
    Secret,
    /// Backups.
    Archive,
    /// Links to files.
    FileLink,
}

impl Purpose {
    const ALL: [Self; 6] =
        [Self::State, Self::Token, Self::StoredBody, Self::Secret, Self::Archive, Self::FileLink];

    // Part of the format: what was sealed under a name opens under that name only.
    fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Token => "token",
            Self::StoredBody => "stored-body",
            Self::Secret => "secret",
            Self::Archive => "archive",
            Self::FileLink => "file-link",
        }
    }
}

/// Bytes that this installation did not seal for this purpose and context, or not under a key that is still kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes were not sealed here for this")]
pub struct NotOurs;

/// Parts as one context, so that no two lists of parts give the same bytes.
pub fn associated_data(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Seals and opens. Cheap to clone.
#[derive(Clone)]
pub struct Sealer(Arc<Keys>);

struct Keys {
    current: DerivedKeys,
    previous: Vec<DerivedKeys>,
}

struct DerivedKeys {
    // Tells keys apart without trying them. Two may share one; then both are tried.
    id: u8,
    sealing: [SealingKey; Purpose::ALL.len()],
    hashing: Zeroizing<[u8; 32]>,
}

struct SealingKey {
    cipher: Aes256GcmSiv,
    nonce: Zeroizing<[u8; 32]>,
}

impl DerivedKeys {
    fn new(master: &MasterKey) -> Self {
        let [id, ..] = *master.derive("key-id");
        Self {
            id,
            sealing: Purpose::ALL.map(|purpose| SealingKey {
                cipher: Aes256GcmSiv::new(&(*master.derive(&format!("seal/{}", purpose.name()))).into()),
                nonce: master.derive(&format!("nonce/{}", purpose.name())),
            }),
            hashing: master.derive("hash"),
        }
    }

    fn sealing(&self, purpose: Purpose) -> &SealingKey {
        // The array is made from `ALL`, which lists the variants in their order.
        &self.sealing[purpose as usize]
    }

    fn keyed_hash(&self, domain: &str, bytes: &[u8]) -> [u8; 32] {
        let domain_bytes = (domain.len() as u64).to_be_bytes();
        hmac_sha256(&*self.hashing, &[&domain_bytes, domain.as_bytes(), bytes])
    }
}

impl SealingKey {
    fn nonce(&self, seed: Option<&[u8]>) -> [u8; NONCE_BYTES] {
        let Some(seed) = seed else { return rand::random() };
        let tag = hmac_sha256(&*self.nonce, &[seed]);
        std::array::from_fn(|index| tag[index])
    }
}

impl Sealer {
    /// Derives every key once.
    pub fn new(keys: &MasterKeys) -> Self {
        Self(Arc::new(Keys {
            current: DerivedKeys::new(&keys.current),
            previous: keys.previous.iter().map(DerivedKeys::new).collect(),
        }))
    }

    /// Seals to text. With a seed, equal arguments give equal text; without one, the nonce is random.
    pub fn seal(&self, purpose: Purpose, aad: &[u8], plaintext: &[u8], seed: Option<&[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(self.seal_bytes(purpose, aad, plaintext, seed))
    }

    /// Opens what [`seal`](Self::seal) made for the same purpose and context.
    pub fn open(&self, purpose: Purpose, aad: &[u8], text: &str) -> Result<Zeroizing<Vec<u8>>, NotOurs> {
        let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotOurs)?;
        self.open_bytes(purpose, aad, &sealed)
    }

    /// As [`seal`](Self::seal), to bytes.
    pub fn seal_bytes(&self, purpose: Purpose, aad: &[u8], plaintext: &[u8], seed: Option<&[u8]>) -> Vec<u8> {
        let keys = &self.0.current;
        let key = keys.sealing(purpose);
        let nonce = key.nonce(seed);
        let mut sealed = Vec::with_capacity(HEAD_BYTES + plaintext.len() + TAG_BYTES);
        sealed.push(keys.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        let (_, message) = sealed.split_at_mut(HEAD_BYTES);
        let tag = key
            .cipher
            .encrypt_inout_detached(&Nonce::from(nonce), aad, message.into())
            .expect("what fits in memory is below the limit of AES-GCM-SIV");
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// Opens what [`seal_bytes`](Self::seal_bytes) made for the same purpose and context.
    pub fn open_bytes(
        &self,
        purpose: Purpose,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotOurs> {
        Self::open_with(self.all(), purpose, aad, sealed)
    }

    fn open_with<'k>(
        keys: impl Iterator<Item = &'k DerivedKeys>,
        purpose: Purpose,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotOurs> {
        let (head, rest) = sealed.split_first_chunk::<HEAD_BYTES>().ok_or(NotOurs)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(NotOurs)?;
        let [id, nonce @ ..] = *head;
        for keys in keys.filter(|keys| keys.id == id) {
            let mut message = Zeroizing::new(ciphertext.to_vec());
            let opened = keys.sealing(purpose).cipher.decrypt_inout_detached(
                &Nonce::from(nonce),
                aad,
                message.as_mut_slice().into(),
                &Tag::from(*tag),
            );
            if opened.is_ok() {
                return Ok(message);
            }
        }
        Err(NotOurs)
    }

    /// Whether one of the master keys has the id that these bytes name; one in 256 others has it, too.
    pub(super) fn has_key_of(&self, sealed: &[u8]) -> bool {
        sealed.first().is_some_and(|id| self.all().any(|keys| keys.id == *id))
    }

    /// Whether the newest master key opens it; asked of what is known to be ours.
    pub(super) fn opens_currently(&self, purpose: Purpose, aad: &[u8], sealed: &[u8]) -> bool {
        Self::open_with(std::iter::once(&self.0.current), purpose, aad, sealed).is_ok()
    }

    /// The keyed hash of these bytes under every master key, the current one first.
    pub(super) fn keyed_hashes(&self, domain: &str, bytes: &[u8]) -> impl Iterator<Item = [u8; 32]> {
        self.all().map(move |keys| keys.keyed_hash(domain, bytes))
    }

    /// The first of [`keyed_hashes`](Self::keyed_hashes).
    pub(super) fn keyed_hash(&self, domain: &str, bytes: &[u8]) -> [u8; 32] {
        self.0.current.keyed_hash(domain, bytes)
    }

    fn all(&self) -> impl Iterator<Item = &DerivedKeys> {
        std::iter::once(&self.0.current).chain(&self.0.previous)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sealer")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealer(current: u8, previous: &[u8]) -> Sealer {
        let key = |byte| MasterKey(Zeroizing::new([byte; 32]));
        Sealer::new(&MasterKeys::new(key(current), previous.iter().copied().map(key).collect()))
    }

    #[test]
    fn the_order_of_purposes_is_the_order_of_their_keys() {
        for (index, purpose) in Purpose::ALL.into_iter().enumerate() {
            assert_eq!(purpose as usize, index);
        }
    }

    #[test]
    fn what_is_sealed_opens_for_its_purpose_and_context_only() {
        let sealer = sealer(1, &[]);
        let sealed = sealer.seal(Purpose::State, b"context", b"answers", None);
        assert_eq!(sealer.open(Purpose::State, b"context", &sealed).expect("ours").as_slice(), b"answers");
        assert_eq!(sealer.open(Purpose::State, b"other", &sealed), Err(NotOurs));
        for purpose in [Purpose::Token, Purpose::StoredBody, Purpose::Secret] {
            assert_eq!(sealer.open(purpose, b"context", &sealed), Err(NotOurs));
        }
    }

    #[test]
    fn a_seed_makes_sealing_repeatable_and_no_seed_makes_it_fresh() {
        let sealer = sealer(1, &[]);
        let seal = |plaintext: &[u8], seed| sealer.seal(Purpose::State, b"", plaintext, seed);
        assert_eq!(seal(b"a", Some(b"seed")), seal(b"a", Some(b"seed")));
        assert_ne!(seal(b"a", Some(b"seed")), seal(b"a", Some(b"other")));
        assert_ne!(seal(b"a", Some(b"seed")), seal(b"b", Some(b"seed")));
        assert_ne!(seal(b"a", None), seal(b"a", None));
    }

    #[test]
    fn a_previous_key_still_opens_and_a_dropped_one_does_not() {
        let sealed = sealer(1, &[]).seal(Purpose::Token, b"", b"token", None);
        let rotated = sealer(2, &[1]);
        assert_eq!(rotated.open(Purpose::Token, b"", &sealed).expect("kept").as_slice(), b"token");
        let resealed = rotated.seal(Purpose::Token, b"", b"token", None);
        assert!(sealer(2, &[]).open(Purpose::Token, b"", &resealed).is_ok());
        assert_eq!(sealer(2, &[3]).open(Purpose::Token, b"", &sealed), Err(NotOurs));
    }

    #[test]
    fn keys_that_share_an_id_are_both_tried() {
        let id = |byte: u8| sealer(byte, &[]).0.current.id;
        let (one, other) = (0..=255)
            .flat_map(|one| (0..one).map(move |other| (one, other)))
            .find(|(one, other)| id(*one) == id(*other))
            .expect("256 keys have a pair of equal bytes");
        let sealed = sealer(one, &[]).seal(Purpose::State, b"", b"text", None);
        assert!(sealer(other, &[one]).open(Purpose::State, b"", &sealed).is_ok());
    }

    #[test]
    fn parts_cannot_be_shifted_into_each_other() {
        assert_ne!(associated_data(&[b"ab", b"c"]), associated_data(&[b"a", b"bc"]));
        assert_ne!(associated_data(&[b"a"]), associated_data(&[b"a", b""]));
    }

    #[test]
    fn a_master_key_is_read_from_every_usual_text() {
        let key = MasterKey(Zeroizing::new([0xfb; 32]));
        let texts = [
            hex::encode(&*key.0),
            hex::encode(&*key.0).to_uppercase(),
            STANDARD.encode(*key.0),
            format!(" {}\n", STANDARD_NO_PAD.encode(*key.0)),
            URL_SAFE.encode(*key.0),
            URL_SAFE_NO_PAD.encode(*key.0),
        ];
        for text in texts {
            assert_eq!(MasterKey::parse(&text).expect("a usual text").0, key.0, "{text}");
        }
        for text in ["", "short", &STANDARD.encode([1; 31]), &hex::encode(&[1; 33])] {
            assert!(MasterKey::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_of_master_keys_is_read_newest_first() {
        let (new, old) = (MasterKey::generate(), MasterKey::generate());
        let [new_text, old_text] = [&new, &old].map(MasterKey::to_text);
        let text = format!("{}\n{}\n", new_text.expose_secret(), old_text.expose_secret());
        let keys = MasterKeys::parse(&text.into()).expect("two keys");
        assert_eq!(keys.current.0, new.0);
        assert_eq!(keys.previous.iter().map(|key| *key.0).collect::<Vec<_>>(), [*old.0]);
        for text in ["", "\n", "bad"] {
            assert!(MasterKeys::parse(&text.into()).is_err());
        }
        assert_eq!(format!("{new:?}"), "MasterKey");
    }

    proptest! {
        #[test]
        fn any_bytes_survive_and_any_change_is_found(
            plaintext: Vec<u8>, aad: Vec<u8>, seed: Option<Vec<u8>>, at: prop::sample::Index, change in 1..=255u8,
        ) {
            let sealer = sealer(7, &[8]);
            let mut sealed = sealer.seal_bytes(Purpose::StoredBody, &aad, &plaintext, seed.as_deref());
            let opened = sealer.open_bytes(Purpose::StoredBody, &aad, &sealed).expect("ours");
            prop_assert_eq!(opened.as_slice(), plaintext);
            let at = at.index(sealed.len());
            sealed[at] ^= change;
            prop_assert_eq!(sealer.open_bytes(Purpose::StoredBody, &aad, &sealed), Err(NotOurs));
        }

        #[test]
        fn arbitrary_text_is_not_ours(text: String, bytes: Vec<u8>) {
            let sealer = sealer(7, &[8]);
            prop_assert_eq!(sealer.open(Purpose::State, b"", &text), Err(NotOurs));
            prop_assert_eq!(sealer.open_bytes(Purpose::State, b"", &bytes), Err(NotOurs));
        }
    }
}

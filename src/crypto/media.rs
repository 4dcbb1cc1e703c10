//! Files that a phone has put on Meta's servers: AES-256-CBC, HMAC-SHA-256 and two hashes (WhatsApp Flows reference, 5.1).
//!
//! Two passes over a stream, in constant memory. The first one checks what was fetched (steps 2 to 4) and gives a
//! [`VerifiedMedia`]; only that can be decrypted, and the second pass checks what comes out (steps 5 and 6). So no byte is
//! decrypted that its sender has not authenticated, and nothing that was decrypted counts before [`MediaDecryptor::finish`].
//!
//! What it deliberately does not do: it neither fetches nor keeps anything, and has no opinion of sizes and kinds.

use std::fmt;

use aes::Aes256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::{Block, BlockModeDecrypt as _, KeyIvInit as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The tag behind the ciphertext: the beginning of an HMAC.
const TAG_BYTES: usize = 10;
const BLOCK_BYTES: usize = 16;

/// What a file on Meta's servers is longer by than the file itself, at most: padding and tag.
pub const MEDIA_OVERHEAD_BYTES: u64 = (BLOCK_BYTES + TAG_BYTES) as u64;

/// Why a file is not what its sender described: the first step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// A key, an initial vector or a hash is not base64 of the right length.
    #[error("its keys or hashes have not the right form")]
    Metadata,
    /// Step 2.
    #[error("what was fetched has not the hash that was announced")]
    EncryptedHash,
    /// Step 3: too short to hold a block and a tag, or no whole number of blocks.
    #[error("what was fetched is no whole number of blocks and a tag")]
    Length,
    /// Step 4.
    #[error("what was fetched was not authenticated by its sender")]
    Hmac,
    /// Step 5.
    #[error("what was decrypted has no right padding")]
    Padding,
    /// Step 6.
    #[error("what was decrypted has not the hash that was announced")]
    PlaintextHash,
}

/// How one file is verified and decrypted.
#[derive(Clone)]
pub struct MediaKeys {
    encrypted_hash: [u8; 32],
    iv: [u8; 16],
    encryption_key: Zeroizing<[u8; 32]>,
    hmac_key: Zeroizing<[u8; 32]>,
    plaintext_hash: [u8; 32],
}

impl fmt::Debug for MediaKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MediaKeys")
    }
}

impl MediaKeys {
    /// Reads the members of `encryption_metadata`, standard base64 each.
    ///
    /// # Errors
    /// [`MediaError::Metadata`].
    pub fn from_base64(
        encrypted_hash: &str,
        iv: &str,
        encryption_key: &str,
        hmac_key: &str,
        plaintext_hash: &str,
    ) -> Result<Self, MediaError> {
        Ok(Self {
            encrypted_hash: decoded(encrypted_hash)?,
            iv: decoded(iv)?,
            encryption_key: Zeroizing::new(decoded(encryption_key)?),
            hmac_key: Zeroizing::new(decoded(hmac_key)?),
            plaintext_hash: decoded(plaintext_hash)?,
        })
    }
}

impl MediaKeys {
    /// The SHA-256 that was announced for the file itself.
    pub fn plaintext_hash(&self) -> [u8; 32] {
        self.plaintext_hash
    }
}

fn decoded<const BYTES: usize>(text: &str) -> Result<[u8; BYTES], MediaError> {
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| MediaError::Metadata)?);
    bytes.as_slice().try_into().map_err(|_| MediaError::Metadata)
}

/// The first pass: takes what is fetched, piece by piece.
pub struct MediaVerifier {
    keys: MediaKeys,
    hash: Sha256,
    hmac: Hmac<Sha256>,
    /// The last bytes so far: they are the tag if nothing follows.
    tail: Vec<u8>,
    length: u64,
}

impl MediaVerifier {
    /// Begins with nothing fetched.
    pub fn new(keys: MediaKeys) -> Self {
        let mut hmac = Hmac::new_from_slice(&*keys.hmac_key).expect("HMAC takes a key of any length");
        hmac.update(&keys.iv);
        Self { keys, hash: Sha256::new(), hmac, tail: Vec::with_capacity(2 * TAG_BYTES), length: 0 }
    }

    /// The next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.hash.update(piece);
        self.length = self.length.saturating_add(piece.len() as u64);
        // All but the last ten bytes seen so far are ciphertext for certain.
        let certain = (self.tail.len() + piece.len()).saturating_sub(TAG_BYTES);
        let (of_tail, of_piece) =
            (certain.min(self.tail.len()), certain.saturating_sub(self.tail.len()).min(piece.len()));
        self.hmac.update(&self.tail[..of_tail]);
        self.tail.drain(..of_tail);
        let (ciphertext, rest) = piece.split_at(of_piece);
        self.hmac.update(ciphertext);
        self.tail.extend_from_slice(rest);
    }

    /// Steps 2 to 4, once everything was fetched.
    ///
    /// # Errors
    /// The first step that failed.
    pub fn finish(self) -> Result<VerifiedMedia, MediaError> {
        if !bool::from(self.hash.finalize().as_slice().ct_eq(&self.keys.encrypted_hash)) {
            return Err(MediaError::EncryptedHash);
        }
        let ciphertext_bytes = self.length.checked_sub(TAG_BYTES as u64).ok_or(MediaError::Length)?;
        if ciphertext_bytes == 0 || !ciphertext_bytes.is_multiple_of(BLOCK_BYTES as u64) {
            return Err(MediaError::Length);
        }
        self.hmac.verify_truncated_left(&self.tail).map_err(|_| MediaError::Hmac)?;
        Ok(VerifiedMedia { keys: self.keys, ciphertext_bytes })
    }
}

/// A file whose ciphertext was found to be what its sender has sealed.
#[derive(Debug)]
pub struct VerifiedMedia {
    keys: MediaKeys,
    ciphertext_bytes: u64,
}

impl VerifiedMedia {
    /// How much of what was fetched is ciphertext; behind it stands the tag.
    pub fn ciphertext_bytes(&self) -> u64 {
        self.ciphertext_bytes
    }

    /// Begins the second pass.
    pub fn decrypt(self) -> MediaDecryptor {
        let cipher = cbc::Decryptor::<Aes256>::new(&(*self.keys.encryption_key).into(), &self.keys.iv.into());
        MediaDecryptor {
            cipher,
            hash: Sha256::new(),
            waiting: Zeroizing::new(Vec::new()),
            left: self.ciphertext_bytes,
            plaintext_hash: self.keys.plaintext_hash,
        }
    }
}

/// The second pass: takes the same bytes again, piece by piece.
pub struct MediaDecryptor {
    cipher: cbc::Decryptor<Aes256>,
    hash: Sha256,
    /// Ciphertext of a block that is not whole, or may be the last one and hold padding.
    waiting: Zeroizing<Vec<u8>>,
    /// Ciphertext that is still to come.
    left: u64,
    plaintext_hash: [u8; 32],
}

impl MediaDecryptor {
    /// Decrypts the next piece into `plaintext`, which is emptied first. The tag may follow the ciphertext; it is passed
    /// over.
    pub fn update(&mut self, piece: &[u8], plaintext: &mut Vec<u8>) {
        plaintext.clear();
        let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
        let (piece, _tag) = piece.split_at(taken);
        self.left -= taken as u64;
        self.waiting.extend_from_slice(piece);
        // The last block is kept for `finish`.
        let ready = self.waiting.len().saturating_sub(1) / BLOCK_BYTES * BLOCK_BYTES;
        plaintext.extend_from_slice(&self.waiting[..ready]);
        self.waiting.drain(..ready);
        self.open(plaintext);
        self.hash.update(&*plaintext);
    }

    /// Decrypts the last block into `plaintext`, which is emptied first, and does steps 5 and 6.
    ///
    /// # Errors
    /// The first step that failed; nothing that was decrypted may be used then.
    pub fn finish(mut self, plaintext: &mut Vec<u8>) -> Result<(), MediaError> {
        plaintext.clear();
        // Fewer bytes than in the first pass: the copy was damaged meanwhile.
        if self.left > 0 || self.waiting.len() != BLOCK_BYTES {
            return Err(MediaError::Length);
        }
        plaintext.extend_from_slice(&self.waiting);
        self.open(plaintext);
        let padding = plaintext.last().copied().map_or(0, usize::from);
        let kept = plaintext.len().checked_sub(padding).filter(|_| (1..=BLOCK_BYTES).contains(&padding));
        let is_padding = |kept: &usize| plaintext[*kept..].iter().all(|byte| usize::from(*byte) == padding);
        let kept = kept.filter(is_padding).ok_or(MediaError::Padding)?;
        plaintext.truncate(kept);
        self.hash.update(&*plaintext);
        let same = self.hash.finalize().as_slice().ct_eq(&self.plaintext_hash);
        if bool::from(same) { Ok(()) } else { Err(MediaError::PlaintextHash) }
    }

    fn open(&mut self, blocks: &mut [u8]) {
        let (blocks, _none) = Block::<cbc::Decryptor<Aes256>>::slice_as_chunks_mut(blocks);
        self.cipher.decrypt_blocks(blocks);
    }
}

#[cfg(test)]
mod tests {
    use cbc::cipher::{BlockModeEncrypt as _, block_padding::Pkcs7};
    use proptest::prelude::*;

    use super::*;

    /// A file as a phone seals it.
    struct Sealed {
        file: Vec<u8>,
        iv: [u8; 16],
        plaintext_hash: [u8; 32],
    }

    const KEY: [u8; 32] = [3; 32];
    const HMAC_KEY: [u8; 32] = [4; 32];

    fn seal(plaintext: &[u8], iv: [u8; 16]) -> Sealed {
        tagged(encrypted(plaintext, iv), iv, Sha256::digest(plaintext).into())
    }

    fn encrypted(plaintext: &[u8], iv: [u8; 16]) -> Vec<u8> {
        let mut buffer = [plaintext, &[0; 16]].concat();
        let cipher = cbc::Encryptor::<Aes256>::new(&KEY.into(), &iv.into());
        cipher.encrypt_padded::<Pkcs7>(&mut buffer, plaintext.len()).expect("room for the padding").to_vec()
    }

    fn tagged(mut file: Vec<u8>, iv: [u8; 16], plaintext_hash: [u8; 32]) -> Sealed {
        let mut hmac = Hmac::<Sha256>::new_from_slice(&HMAC_KEY).expect("any length");
        hmac.update(&iv);
        hmac.update(&file);
        file.extend_from_slice(&hmac.finalize().into_bytes()[..TAG_BYTES]);
        Sealed { file, iv, plaintext_hash }
    }

    impl Sealed {
        fn keys(&self) -> MediaKeys {
            let text = |bytes: &[u8]| STANDARD.encode(bytes);
            let hash = text(&Sha256::digest(&self.file));
            MediaKeys::from_base64(
                &hash,
                &text(&self.iv),
                &text(&KEY),
                &text(&HMAC_KEY),
                &text(&self.plaintext_hash),
            )
            .expect("the right form")
        }
    }

    /// Both passes, in pieces of these sizes.
    fn open(keys: MediaKeys, file: &[u8], sizes: &[usize]) -> Result<Vec<u8>, MediaError> {
        let mut sizes = sizes.iter().copied().filter(|size| *size > 0).cycle();
        let mut pieces = |mut rest: &[u8]| {
            let mut pieces: Vec<Vec<u8>> = Vec::new();
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(sizes.next().unwrap_or(rest.len()).min(rest.len()));
                pieces.push(piece.to_vec());
                rest = behind;
            }
            pieces
        };
        let mut verifier = MediaVerifier::new(keys);
        pieces(file).iter().for_each(|piece| verifier.update(piece));
        let mut decryptor = verifier.finish()?.decrypt();
        let (mut plaintext, mut out) = (Vec::new(), Vec::new());
        for piece in pieces(file) {
            decryptor.update(&piece, &mut out);
            plaintext.extend_from_slice(&out);
        }
        decryptor.finish(&mut out)?;
        plaintext.extend_from_slice(&out);
        Ok(plaintext)
    }

    #[test]
    fn metadata_of_any_other_length_is_no_metadata() {
        let (long, short) = (STANDARD.encode([0; 32]), STANDARD.encode([0; 16]));
        assert!(MediaKeys::from_base64(&long, &short, &long, &long, &long).is_ok());
        for bad in ["", "a", &short, &STANDARD.encode([0; 33]), &long.replace('=', ""), "ä"] {
            for at in 0..5 {
                let mut texts = [&*long, &short, &long, &long, &long];
                if (texts[at], at) == (bad, 1) {
                    continue;
                }
                texts[at] = bad;
                let [hash, iv, key, hmac_key, plain] = texts;
                let refused = MediaKeys::from_base64(hash, iv, key, hmac_key, plain);
                assert_eq!(refused.err(), Some(MediaError::Metadata), "{bad} at {at}");
            }
        }
    }

    #[test]
    fn each_step_is_named_when_it_fails() {
        let good = seal(b"hello", [7; 16]);
        let mut changed = good.file.clone();
        changed[3] ^= 1;
        assert_eq!(open(good.keys(), &changed, &[]), Err(MediaError::EncryptedHash));
        // From here on the announced hash is that of what is served: its sender lies, or somebody between.
        let lie = |file: Vec<u8>| Sealed { file, ..seal(b"hello", [7; 16]) };
        for length in [0, 9, 10, 25, 27] {
            let file = lie(good.file.iter().copied().cycle().take(length).collect());
            assert_eq!(open(file.keys(), &file.file, &[]), Err(MediaError::Length), "{length}");
        }
        let file = lie(changed);
        assert_eq!(open(file.keys(), &file.file, &[]), Err(MediaError::Hmac));
        let other_iv = Sealed { iv: [8; 16], ..seal(b"hello", [7; 16]) };
        assert_eq!(open(other_iv.keys(), &other_iv.file, &[]), Err(MediaError::Hmac));
        for last in [0, 17, 255] {
            let mut block = [1; 16];
            block[15] = last;
            let bad = tagged(encrypted(&block, [7; 16])[..16].to_vec(), [7; 16], [0; 32]);
            assert_eq!(open(bad.keys(), &bad.file, &[]), Err(MediaError::Padding), "{last}");
        }
        let other = Sealed { plaintext_hash: [0; 32], ..seal(b"hello", [7; 16]) };
        assert_eq!(open(other.keys(), &other.file, &[]), Err(MediaError::PlaintextHash));
    }

    #[test]
    fn a_copy_that_was_cut_between_the_passes_is_found() {
        let good = seal(&[5; 100], [7; 16]);
        let mut verifier = MediaVerifier::new(good.keys());
        verifier.update(&good.file);
        let mut decryptor = verifier.finish().expect("good").decrypt();
        let mut out = Vec::new();
        decryptor.update(&good.file[..64], &mut out);
        assert_eq!(decryptor.finish(&mut out), Err(MediaError::Length));
    }

    proptest! {
        #[test]
        fn files_survive_in_pieces_of_any_size(
            plaintext in prop::collection::vec(any::<u8>(), 0..300), iv: [u8; 16],
            sizes in prop::collection::vec(1..70usize, 1..5),
        ) {
            let sealed = seal(&plaintext, iv);
            prop_assert_eq!(open(sealed.keys(), &sealed.file, &sizes), Ok(plaintext));
        }

        #[test]
        fn no_changed_bit_gets_through_whatever_hash_is_announced(
            plaintext in prop::collection::vec(any::<u8>(), 0..100),
            at: prop::sample::Index, change in 1..=255u8, relabelled: bool,
        ) {
            let mut sealed = seal(&plaintext, [9; 16]);
            let honest = sealed.keys();
            let at = at.index(sealed.file.len());
            sealed.file[at] ^= change;
            let keys = if relabelled { sealed.keys() } else { honest };
            let expected = if relabelled { MediaError::Hmac } else { MediaError::EncryptedHash };
            prop_assert_eq!(open(keys, &sealed.file, &[7]), Err(expected));
        }

        #[test]
        fn arbitrary_bytes_are_refused_and_nothing_panics(
            file in prop::collection::vec(any::<u8>(), 0..200), plaintext_hash: [u8; 32],
            sizes in prop::collection::vec(1..40usize, 1..4),
        ) {
            let arbitrary = Sealed { file, iv: [1; 16], plaintext_hash };
            prop_assert!(open(arbitrary.keys(), &arbitrary.file, &sizes).is_err());
        }
    }
}

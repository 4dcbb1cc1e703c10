//! One file at rest, sealed in chunks under a key of its own: it can be read as a stream, and whoever loses the key has
//! lost the file. So an erasure ends with the record that holds the key, and a new master key leaves the files alone.
//!
//! The cipher is AES-256-GCM-SIV. A key seals one file, so the nonce is the chunk's place in it and whether it is the last
//! one: none can be changed, moved, repeated or cut off.

use std::fmt;
use std::io::{self, Read, Write};

use aes_gcm_siv::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm_siv::{Aes256GcmSiv, Nonce, Tag};
use zeroize::Zeroizing;

/// Plaintext in one chunk.
const CHUNK: usize = 64 * 1024;
const TAG_BYTES: usize = 16;

/// The key of one file.
#[derive(Clone)]
pub struct FileKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for FileKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FileKey")
    }
}

impl FileKey {
    /// Makes a new one, for one file.
    pub fn generate() -> Self {
        Self(Zeroizing::new(rand::random()))
    }

    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Its bytes, to be sealed.
    pub fn expose_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn cipher(&self) -> Aes256GcmSiv {
        Aes256GcmSiv::new(&(*self.0).into())
    }
}

fn nonce(index: u64, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&index.to_be_bytes());
    nonce[8] = u8::from(last);
    nonce.into()
}

/// Seals what is written to it. What it has written is whole only after [`finish`](Self::finish).
pub struct FileSealer<W> {
    cipher: Aes256GcmSiv,
    to: W,
    chunk: Zeroizing<Vec<u8>>,
    index: u64,
}

impl<W: Write> FileSealer<W> {
    /// Seals a file under its key. A key must not be used for a second one.
    pub fn new(key: &FileKey, to: W) -> Self {
        let chunk = Zeroizing::new(Vec::with_capacity(CHUNK + TAG_BYTES));
        Self { cipher: key.cipher(), to, chunk, index: 0 }
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce(self.index, last), b"", self.chunk.as_mut_slice().into())
            .expect("a chunk is far below the limit of AES-GCM-SIV");
        self.to.write_all(&self.chunk)?;
        self.to.write_all(&tag)?;
        self.chunk.clear();
        self.index += 1;
        Ok(())
    }

    /// Seals what is left and gives back what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        self.to.flush()?;
        Ok(self.to)
    }
}

impl<W: Write> Write for FileSealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits until it is known that it is not the last one.
        if self.chunk.len() == CHUNK && !bytes.is_empty() {
            self.seal(false)?;
        }
        let room = CHUNK - self.chunk.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.chunk.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Opens a sealed file, chunk by chunk.
pub struct FileOpener<R> {
    cipher: Aes256GcmSiv,
    from: R,
    index: u64,
    ended: bool,
}

impl<R: Read> FileOpener<R> {
    /// Opens a file under its key.
    pub fn new(key: &FileKey, from: R) -> Self {
        Self { cipher: key.cipher(), from, index: 0, ended: false }
    }

    /// The next chunk; `None` behind the last one.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if it was sealed under another key, or was changed or cut off since.
    pub fn next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.ended {
            return Ok(None);
        }
        let mut chunk = Vec::with_capacity(CHUNK + TAG_BYTES);
        self.from.by_ref().take((CHUNK + TAG_BYTES) as u64).read_to_end(&mut chunk)?;
        let damaged =
            || io::Error::new(io::ErrorKind::InvalidData, "the file was changed, or its key is another");
        let length = chunk.len().checked_sub(TAG_BYTES).ok_or_else(damaged)?;
        let tag: [u8; TAG_BYTES] = chunk.split_off(length).as_slice().try_into().map_err(|_| damaged())?;
        let tag = Tag::from(tag);
        let sealed = chunk.clone();
        let open = |last: bool, chunk: &mut Vec<u8>| {
            self.cipher
                .decrypt_inout_detached(&nonce(self.index, last), b"", chunk.as_mut_slice().into(), &tag)
                .is_ok()
        };
        if length == CHUNK && open(false, &mut chunk) {
            self.index += 1;
            return Ok(Some(chunk));
        }
        chunk = sealed;
        if !open(true, &mut chunk) || self.from.read(&mut [0])? > 0 {
            return Err(damaged());
        }
        self.ended = true;
        Ok(Some(chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(key: &FileKey, length: usize) -> (Vec<u8>, Vec<u8>) {
        let plain: Vec<u8> = (0..length).map(|at| (at / 3) as u8).collect();
        let mut sealer = FileSealer::new(key, Vec::new());
        for piece in plain.chunks(1_000) {
            sealer.write_all(piece).expect("memory takes it");
        }
        (plain, sealer.finish().expect("memory takes it"))
    }

    fn open(key: &FileKey, sealed: &[u8]) -> io::Result<Vec<u8>> {
        let mut opener = FileOpener::new(key, sealed);
        let mut plain = Vec::new();
        while let Some(chunk) = opener.next_chunk()? {
            plain.extend_from_slice(&chunk);
        }
        Ok(plain)
    }

    #[test]
    fn files_of_every_length_survive() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7] {
            let key = FileKey::generate();
            let (plain, sealed) = sealed(&key, length);
            assert!(open(&key, &sealed).expect("ours") == plain, "{length}");
            assert!(length < 8 || !sealed.windows(8).any(|part| part == &plain[length - 8..]));
        }
    }

    #[test]
    fn no_change_no_missing_end_and_no_other_key_goes_unnoticed() {
        let key = FileKey::from_bytes([6; 32]);
        let (_, whole) = sealed(&key, 2 * CHUNK + 5);
        assert!(open(&FileKey::generate(), &whole).is_err());
        for at in (0..whole.len()).step_by(9_973).chain([whole.len() - 1]) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(open(&key, &changed).is_err(), "byte {at}");
        }
        let chunks: Vec<&[u8]> = whole.chunks(CHUNK + TAG_BYTES).collect();
        for order in [vec![0, 1], vec![0], vec![], vec![1, 0, 2], vec![0, 2], vec![0, 1, 2, 2], vec![2]] {
            let forged: Vec<u8> = order.iter().flat_map(|at| chunks[*at].to_vec()).collect();
            assert!(open(&key, &forged).is_err(), "{order:?}");
        }
    }
}

//! A stream sealed under the master key, for files that leave the machine.
//!
//! The format is `magic (8) ‖ stream id (16)` and then chunks of `length (4, big endian) ‖ sealed`. Each chunk is sealed for
//! its stream, its place in it, and whether it is the last one, so none can be changed, moved, repeated or cut off.

use std::io::{self, Read, Write};

use super::sealer::{Purpose, Sealer, associated_data};

const MAGIC: &[u8; 8] = b"FMGTARC1";
/// Plaintext in one chunk.
const CHUNK: usize = 1 << 20;
/// What sealing adds is far less than this.
const MAX_SEALED: usize = CHUNK + 1024;

/// Why an archive was not opened.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not written by this program.
    #[error("it is not an archive of Formgate")]
    Foreign,
    /// Its first chunk does not open.
    #[error("it was sealed under another master key")]
    OtherMasterKey,
    /// A later chunk does not open, or is missing.
    #[error("it is damaged or incomplete")]
    Damaged,
    /// A file could not be read or written.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

fn context(stream: &[u8; 16], index: u64, last: bool) -> Vec<u8> {
    associated_data(&[b"archive", stream, &index.to_be_bytes(), &[u8::from(last)]])
}

impl Sealer {
    /// Seals everything that can be read.
    pub fn seal_archive(&self, mut from: impl Read, mut to: impl Write) -> io::Result<()> {
        let stream: [u8; 16] = rand::random();
        to.write_all(MAGIC)?;
        to.write_all(&stream)?;
        let mut chunk = read_chunk(&mut from)?;
        for index in 0.. {
            let next = read_chunk(&mut from)?;
            let last = next.is_empty();
            let sealed = self.seal_bytes(Purpose::Archive, &context(&stream, index, last), &chunk, None);
            let length = u32::try_from(sealed.len()).expect("a chunk is far below 4 GiB");
            to.write_all(&length.to_be_bytes())?;
            to.write_all(&sealed)?;
            if last {
                break;
            }
            chunk = next;
        }
        to.flush()
    }

    /// Opens what [`seal_archive`](Self::seal_archive) wrote. What was written to `to` counts only if this returns `Ok`.
    pub fn open_archive(&self, mut from: impl Read, mut to: impl Write) -> Result<(), ArchiveError> {
        let mut head = [0; 24];
        read_exact(&mut from, &mut head, ArchiveError::Foreign)?;
        let (magic, stream) = head.split_first_chunk::<8>().ok_or(ArchiveError::Foreign)?;
        let stream = <&[u8; 16]>::try_from(stream).map_err(|_| ArchiveError::Foreign)?;
        if magic != MAGIC {
            return Err(ArchiveError::Foreign);
        }
        for index in 0.. {
            let mut length = [0; 4];
            read_exact(&mut from, &mut length, ArchiveError::Damaged)?;
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            if length > MAX_SEALED {
                return Err(ArchiveError::Damaged);
            }
            let mut sealed = vec![0; length];
            read_exact(&mut from, &mut sealed, ArchiveError::Damaged)?;
            let open = |last| self.open_bytes(Purpose::Archive, &context(stream, index, last), &sealed);
            let (chunk, last) = match (open(false), index) {
                (Ok(chunk), _) => (chunk, false),
                (Err(_), 0) => (open(true).map_err(|_| ArchiveError::OtherMasterKey)?, true),
                (Err(_), _) => (open(true).map_err(|_| ArchiveError::Damaged)?, true),
            };
            to.write_all(&chunk)?;
            if last {
                break;
            }
        }
        // Behind the last chunk there is nothing.
        match from.read(&mut [0])? {
            0 => Ok(to.flush()?),
            _ => Err(ArchiveError::Damaged),
        }
    }
}

fn read_chunk(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::new();
    from.take(CHUNK as u64).read_to_end(&mut chunk)?;
    Ok(chunk)
}

fn read_exact(from: &mut impl Read, to: &mut [u8], short: ArchiveError) -> Result<(), ArchiveError> {
    from.read_exact(to).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => short,
        _ => ArchiveError::Io(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{MasterKey, MasterKeys};

    fn sealer() -> Sealer {
        Sealer::new(&MasterKeys::new(MasterKey::generate(), Vec::new()))
    }

    fn sealed(sealer: &Sealer, length: usize) -> (Vec<u8>, Vec<u8>) {
        let plain: Vec<u8> = (0..length).map(|index| (index / 7) as u8).collect();
        let mut archive = Vec::new();
        sealer.seal_archive(plain.as_slice(), &mut archive).expect("memory takes it");
        (plain, archive)
    }

    fn open(sealer: &Sealer, archive: &[u8]) -> Result<Vec<u8>, ArchiveError> {
        let mut plain = Vec::new();
        sealer.open_archive(archive, &mut plain).map(|()| plain)
    }

    #[test]
    fn archives_of_every_length_survive() {
        let sealer = sealer();
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let (plain, archive) = sealed(&sealer, length);
            assert!(open(&sealer, &archive).expect("ours") == plain, "{length}");
        }
    }

    #[test]
    fn no_change_and_no_missing_end_goes_unnoticed() {
        let sealer = sealer();
        let (_, archive) = sealed(&sealer, 2 * CHUNK + 5);
        for at in (0..archive.len()).step_by(99_991).chain([0, 9, 24, 30, archive.len() - 1]) {
            let mut changed = archive.clone();
            changed[at] ^= 1;
            assert!(open(&sealer, &changed).is_err(), "byte {at}");
        }
        // Whole chunks that are cut off, exchanged, or added.
        let size = 4 + CHUNK + 29;
        let (head, rest) = archive.split_at(24);
        let chunks: Vec<&[u8]> = rest.chunks(size).collect();
        assert_eq!(chunks.len(), 3);
        for order in [vec![0, 1], vec![0], vec![], vec![1, 0, 2], vec![0, 0, 2], vec![0, 1, 2, 2], vec![2]] {
            let forged: Vec<u8> =
                head.iter().copied().chain(order.iter().flat_map(|at| chunks[*at].to_vec())).collect();
            assert!(open(&sealer, &forged).is_err(), "{order:?}");
        }
    }

    #[test]
    fn another_master_key_and_another_file_are_told_apart() {
        let (_, archive) = sealed(&sealer(), 10);
        assert!(matches!(open(&sealer(), &archive), Err(ArchiveError::OtherMasterKey)));
        for foreign in [&b""[..], b"SQLite format 3\0 and more than 24 bytes"] {
            assert!(matches!(open(&sealer(), foreign), Err(ArchiveError::Foreign)));
        }
    }
}

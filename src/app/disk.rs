//! How much room there is on a disk.

use std::io;
use std::path::Path;

/// What is free for this program where this folder is.
pub(super) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

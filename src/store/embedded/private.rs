//! Files and folders that no other user can read.

use std::fs::{File, OpenOptions};
use std::path::Path;

/// Makes the folder, for this user alone, and its name safe: without that a power loss may forget the folder as a whole,
/// with everything in it that was synced.
pub(super) fn create_private_directory(directory: &Path) -> std::io::Result<()> {
    let directory = std::path::absolute(directory)?;
    let missing = directory.ancestors().take_while(|folder| !folder.exists()).count();
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(&directory)?;
    // Also if it was there: whoever made it may have died before this.
    for folder in directory.ancestors().skip(1).take(missing.max(1)) {
        match File::open(folder).and_then(|folder| folder.sync_all()) {
            // A folder that somebody else made, in one that is none of ours.
            Err(error) if missing == 0 && error.kind() == std::io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}

pub(super) fn open_private_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

//! Where kept files lie: `{folder}/{submission}/{number}`, sealed, readable for this user only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{Files, Inner};
use crate::outbox::{Error, Outbox, SubmissionId};
use crate::store::Table;

/// The places of one file.
pub(super) struct Places {
    folder: PathBuf,
    number: u16,
}

impl Places {
    pub(super) fn of(inner: &Inner, id: SubmissionId, number: u16) -> Self {
        Self { folder: inner.settings.folder.join(id.to_string()), number }
    }

    /// What was fetched, as it came; without the keys it says nothing.
    pub(super) fn fetched(&self) -> PathBuf {
        self.folder.join(format!("{}.fetched", self.number))
    }

    /// Until it is whole.
    fn half(&self) -> PathBuf {
        self.folder.join(format!("{}.half", self.number))
    }

    /// The file.
    pub(super) fn kept(&self) -> PathBuf {
        self.folder.join(self.number.to_string())
    }

    pub(super) fn create_fetched(&self) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        create(&self.fetched())
    }

    pub(super) fn create_half(&self) -> io::Result<File> {
        create(&self.half())
    }

    /// Gives a whole file its name; it is on the disk then.
    pub(super) fn name(&self, half: &File) -> io::Result<()> {
        half.sync_all()?;
        fs::rename(self.half(), self.kept())?;
        File::open(&self.folder)?.sync_all()
    }

    /// Takes away what an attempt left.
    pub(super) fn clear(&self) {
        let _left = (fs::remove_file(self.fetched()), fs::remove_file(self.half()));
    }

    /// Takes the file away.
    pub(super) fn remove(&self) {
        let _absent = fs::remove_file(self.kept());
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

impl Files {
    /// Takes the files of a submission away. What is left if that fails is taken by the next sweep, and cannot be read.
    pub(in crate::outbox) async fn remove(&self, id: SubmissionId) {
        let folder = self.0.settings.folder.join(id.to_string());
        let removed = tokio::task::spawn_blocking(move || fs::remove_dir_all(folder)).await;
        if let Ok(Err(error)) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(submission.id = %id, error = %error.kind(), "files of an erased submission are still there");
        }
    }

    /// Takes away the files of submissions that are gone: erased by another node, or by a process that died meanwhile.
    pub(in crate::outbox) async fn sweep(&self) -> Result<(), Error> {
        let folder = self.0.settings.folder.clone();
        let listed = tokio::task::spawn_blocking(move || {
            let entries = fs::read_dir(folder)?.filter_map(Result::ok);
            Ok::<Vec<SubmissionId>, io::Error>(
                entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect(),
            )
        });
        let Ok(Ok(ids)) = listed.await else { return Ok(()) };
        for id in ids {
            // The record comes with the submission, before any file does.
            if self.0.store.get(Table::File, &id.to_bytes()).await?.is_none() {
                self.remove(id).await;
            }
        }
        Ok(())
    }
}

impl Outbox {
    /// Takes the files of an erased submission away.
    pub(in crate::outbox) async fn remove_files(&self, id: SubmissionId) {
        if let Some(files) = &self.files {
            files.remove(id).await;
        }
    }
}

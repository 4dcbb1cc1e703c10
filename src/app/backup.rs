//! Backups of the store: a copy of one moment, sealed under the master key, opened again before it counts.
//!
//! A backup is one file. It has its name only when it is whole, on disk, and was opened and checked.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, BufWriter};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::error::chain;
use super::{Error, disk, master_keys};
use crate::config::{self, Config};
use crate::crypto::{ArchiveError, Sealer};
use crate::fault;
use crate::store::{RestoreError, Store};

mod dated;
mod periodic;

use self::dated::{Dated, NAME, SUFFIX, with_suffix};
pub(super) use self::periodic::{Periodic, Status};

/// The copy's name in the data folder, until it is sealed.
const PLAIN: &str = "store.backup";
/// What follows a backup's name while it is being written.
const HALF: &str = ".half";

fn refused(reason: impl std::fmt::Display) -> Error {
    Error::Control(reason.to_string())
}

fn refused_at(path: &Path, reason: impl std::fmt::Display) -> Error {
    refused(format!("{}: {reason}", path.display()))
}

/// What backups are made of.
#[derive(Clone)]
pub(super) struct Source {
    store: Store,
    sealer: Sealer,
    /// The data folder, where the copy lies until it is sealed.
    data: PathBuf,
    /// What has to stay free on its disk: acceptance needs it.
    spare_bytes: u64,
}

impl Source {
    pub(super) fn new(config: &Config, store: &Store, sealer: &Sealer) -> Source {
        Source {
            store: store.clone(),
            sealer: sealer.clone(),
            data: config.server.data_dir.clone(),
            spare_bytes: config.alerts.disk_free_bytes,
        }
    }

    /// Writes a backup into a folder, which is made if it is absent; says where it is. Nobody waits for it.
    ///
    /// # Errors
    /// [`Error::Control`] in the words of the operator; nothing is left behind then.
    pub(super) async fn write(&self, folder: &Path) -> Result<PathBuf, Error> {
        let lock = self.lock()?.ok_or_else(|| refused("a backup is being written already"))?;
        self.write_alone(lock, folder).await
    }

    /// The right to write one; `None` if somebody else has it.
    fn lock(&self) -> Result<Option<File>, Error> {
        lock(&self.data).map_err(|error| refused_at(&self.data, error))
    }

    /// Writes one, for whoever has the lock.
    async fn write_alone(&self, lock: File, folder: &Path) -> Result<PathBuf, Error> {
        let (source, folder, runtime) = (self.clone(), folder.to_owned(), Handle::current());
        let (tell, told) = oneshot::channel();
        // The store copies on when nobody waits any more, so all of it is one piece of work that sees to its own end.
        tokio::task::spawn_blocking(move || {
            let written = source.copy_and_seal(lock, &folder, &runtime, || !tell.is_closed());
            let _nobody_waits = tell.send(written);
        });
        told.await.unwrap_or_else(|_panic| Err(refused("the backup crashed")))
    }

    /// Blocks. What nobody waits for any more is not sealed.
    fn copy_and_seal(
        &self,
        lock: File,
        folder: &Path,
        runtime: &Handle,
        is_awaited: impl Fn() -> bool,
    ) -> Result<PathBuf, Error> {
        let plain = Plain { path: self.data.join(PLAIN), _lock: lock };
        let at_plain = |error: &dyn std::error::Error| refused_at(&plain.path, chain(error));
        // Left by a process that died here while the store was open.
        plain.remove().map_err(|error| at_plain(&error))?;
        clear_folder(folder).map_err(|error| refused_at(folder, error))?;
        self.check_room(folder)?;
        runtime.block_on(self.store.copy_to(plain.path.clone())).map_err(|error| at_plain(&error))?;
        if !is_awaited() {
            return Err(refused("nobody waits for the backup any more"));
        }
        if let Some(fault) = Store::faults_of_copy(&plain.path).map_err(|error| at_plain(&error))?.first() {
            return Err(refused(format!("the store is damaged: {fault}")));
        }
        let written = seal(&self.sealer, &plain.path, folder);
        plain.remove().map_err(|error| at_plain(&error))?;
        written
    }

    /// Refuses a backup that would take what acceptance needs.
    fn check_room(&self, folder: &Path) -> Result<(), Error> {
        let measured = || {
            // On one disk the copy and what is sealed of it are there together for a while.
            let both = std::fs::metadata(folder)?.dev() == std::fs::metadata(&self.data)?.dev();
            let needed = Store::bytes_of_copy(&self.data)?.saturating_mul(if both { 2 } else { 1 });
            Ok((disk::free_bytes(&self.data)?, needed))
        };
        let (free, needed) = measured().map_err(|error: io::Error| refused_at(&self.data, error))?;
        if free >= needed.saturating_add(self.spare_bytes) {
            return Ok(());
        }
        let (free, needed, spare) = (free >> 20, needed.div_ceil(1 << 20), self.spare_bytes >> 20);
        Err(refused_at(
            &self.data,
            format!(
                "{free} MiB are free, and a backup takes {needed} MiB there besides the {spare} MiB that have to stay free ([alerts] disk_free_mib)"
            ),
        ))
    }
}

/// Makes the folder of backups if it is absent, and removes what a process left that died.
fn clear_folder(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    // Nobody else writes one now.
    with_suffix(folder, &[SUFFIX, HALF].concat())?.iter().try_for_each(|path| remove(path))
}

/// The copy before it is sealed: what is erased from the store would stay in it. It goes with whoever made it, however
/// that ends, and before the lock does.
struct Plain {
    path: PathBuf,
    _lock: File,
}

impl Plain {
    fn remove(&self) -> io::Result<()> {
        remove(&self.path)?;
        // SQLite's, beside a copy that did not come to its end.
        remove(&self.path.with_extension("backup-journal"))
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            let file = self.path.display();
            tracing::error!(%file, %error, "a copy of the store cannot be removed: what is erased stays in it");
        }
    }
}

/// Removes the copy that a process left which died before it had sealed it. For whoever has opened the store in this folder.
pub(super) fn clear(data: &Path) {
    let path = data.join(PLAIN);
    // Whoever else has the lock is about to end, and removes it then.
    if path.exists()
        && let Ok(Some(lock)) = lock(data)
    {
        drop(Plain { path, _lock: lock });
    }
}

/// The right to write a backup; `None` if somebody else has it. Two at once would write to one file. Given up when it is
/// dropped, or when the process dies.
fn lock(data: &Path) -> io::Result<Option<File>> {
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(data.join("backup.lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn seal(sealer: &Sealer, copy: &Path, folder: &Path) -> Result<PathBuf, Error> {
    let at = jiff::Timestamp::now().strftime(NAME).to_string();
    let not_yet = if fault::is_on("backup.named_early") { "" } else { HALF };
    let (half, whole) = (folder.join(format!("{at}{SUFFIX}{not_yet}")), folder.join(format!("{at}{SUFFIX}")));
    let write = || {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half)?;
        let mut to = BufWriter::new(file);
        sealer.seal_archive(BufReader::new(File::open(copy)?), &mut to)?;
        to.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    };
    let verify = || {
        let mut same = Same { expected: BufReader::new(File::open(copy)?) };
        sealer.open_archive(BufReader::new(File::open(&half)?), &mut same)?;
        match io::Read::read(&mut same.expected, &mut [0])? {
            0 => Ok(()),
            _ => Err(ArchiveError::Damaged),
        }
    };
    let name = || {
        fault::point("backup.sealed");
        std::fs::rename(&half, &whole)?;
        File::open(folder)?.sync_all()
    };
    let in_folder = |error: io::Error| refused_at(folder, error);
    let done = write()
        .map_err(in_folder)
        .and_then(|()| {
            verify().map_err(|error| refused(format!("what was written does not open again: {error}")))
        })
        .and_then(|()| name().map_err(in_folder));
    if done.is_err() {
        let _left = std::fs::remove_file(&half);
    }
    done.map(|()| whole)
}

/// Takes what is written to it only if it is the same as what it reads.
struct Same<R> {
    expected: R,
}

impl<R: io::Read> io::Write for Same<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut expected = vec![0; bytes.len()];
        self.expected.read_exact(&mut expected)?;
        if expected == bytes {
            Ok(bytes.len())
        } else {
            Err(io::Error::other("it differs from what was copied"))
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a data folder was filled from.
#[derive(Debug)]
pub struct Restored {
    /// The backup.
    pub file: PathBuf,
    /// One beside it that claims to be newer, by a time that has not come.
    pub passed_over: Option<PathBuf>,
}

/// Fills the empty data folder of this configuration from a backup, or from the newest one in a folder whose time has come.
///
/// # Errors
/// [`Error::Control`] in the words of the operator; the data folder is as it was then.
pub fn restore(config: &Config, from: &Path) -> Result<Restored, Error> {
    let mut keep = Vec::new();
    if let config::MasterKey::File { path, content } = &config.server.master_key {
        if content.is_none() {
            return Err(refused(format!(
                "there is no master key at {}: put the one there that the backup was sealed under",
                path.display()
            )));
        }
        keep.push(path.clone());
    }
    let sealer = Sealer::new(&master_keys(&config.server.master_key)?);
    let newest = newest(from)?;
    let named = |reason: &dyn std::fmt::Display| refused_at(&newest.file, reason);
    let mut opened = Ok(());
    let restored = Store::restore_embedded(&config.server.data_dir, &keep, |to| {
        let archive = BufReader::new(File::open(&newest.file)?);
        opened = sealer.open_archive(archive, BufWriter::new(to));
        // Why is told below.
        opened.as_ref().map_err(|_| io::Error::other("the backup does not open")).copied()
    });
    match (opened, restored) {
        (Err(error), _) => Err(named(&error)),
        (Ok(()), Err(error @ RestoreError::NotEmpty { .. })) => {
            Err(refused(format!("{error}: move what is there away, a restore overwrites nothing")))
        }
        (Ok(()), Err(error)) => Err(named(&error)),
        (Ok(()), Ok(())) => Ok(newest),
    }
}

/// The file itself, or the newest backup in the folder whose time has come.
fn newest(from: &Path) -> Result<Restored, Error> {
    if from.is_file() {
        return Ok(Restored { file: from.to_owned(), passed_over: None });
    }
    let dated = Dated::read(from, jiff::Timestamp::now().as_millisecond());
    let Dated { mut past, mut later } = dated.map_err(|error| refused_at(from, error))?;
    let passed_over = later.pop().map(|(_, path)| path);
    match (past.pop(), passed_over) {
        (Some((_, file)), passed_over) => Ok(Restored { file, passed_over }),
        (None, Some(later)) => Err(refused(format!(
            "by this machine's clock the time of every backup in {} is still to come: if {} is the one to restore, give its own path",
            from.display(),
            later.display()
        ))),
        (None, None) => Err(refused(format!(
            "there is no backup in {} that has its time as its name: give the path of another one itself",
            from.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::crypto::{MasterKey, MasterKeys};
    use crate::store::Options;

    fn source(data: PathBuf) -> Source {
        let store = Store::open_embedded(&Options::new(&data)).expect("a store");
        let sealer = Sealer::new(&MasterKeys::new(MasterKey::generate(), vec![]));
        Source { store, sealer, data, spare_bytes: 0 }
    }

    #[test]
    fn a_backup_needs_room_for_the_file_and_its_log_and_twice_on_one_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let stored = source(folder.path().join("store"));
        let spare_bytes = (1 << 50) | 1;
        let source = Source { data: folder.path().to_owned(), spare_bytes, ..stored };
        for (name, bytes) in [("store.sqlite3", 3 << 20), ("store.sqlite3-wal", 1)] {
            let file = File::create(folder.path().join(name)).expect("a file");
            file.set_len(bytes).expect("a size");
        }
        let told = source.check_room(folder.path()).expect_err("there is no such disk").to_string();
        assert!(told.starts_with(&folder.path().display().to_string()), "{told}");
        assert!(told.contains("a backup takes 7 MiB there besides the 1073741824 MiB"), "{told}");
        let roomy = Source { spare_bytes: 0, ..source };
        roomy.check_room(folder.path()).expect("a few mebibytes are free");
    }

    #[test]
    fn a_backup_that_nobody_waits_for_any_more_leaves_neither_a_copy_nor_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, backups) = (source(folder.path().join("data")), folder.path().join("backups"));
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().max_blocking_threads(2).build().expect("a runtime");
        let ended = runtime.block_on(async {
            // With the second thread taken the copy is not begun before the backup is given up.
            let (release, taken) = std::sync::mpsc::channel::<()>();
            tokio::task::spawn_blocking(move || taken.recv());
            let given_up = tokio::time::timeout(Duration::ZERO, source.write(&backups)).await;
            assert!(given_up.is_err(), "{given_up:?}");
            assert!(lock(&source.data).expect("a file").is_none(), "it still goes on");
            drop(release);
            let ended = async {
                while lock(&source.data).expect("a file").is_none() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), ended).await
        });
        ended.expect("it ends");
        assert!(!source.data.join(PLAIN).exists());
        assert_eq!(std::fs::read_dir(&backups).map_or(0, Iterator::count), 0);
        // The next one is none the worse for it.
        assert!(runtime.block_on(source.write(&backups)).expect("a backup").exists());
    }
}

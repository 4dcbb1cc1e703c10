//! Backups at set times: written and opened again as those that are asked for, and the oldest deleted.
//!
//! What is on disk decides what is due: a process that starts makes no backup while the newest one is young enough, and
//! makes one at once when none is. It deletes only what has the name of a backup, and only after a new one counts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{SUFFIX, backups, lock, write_alone};
use crate::config;
use crate::crypto::Sealer;
use crate::outbox::Clock;
use crate::store::Store;
use crate::telemetry::Metrics;

/// How long after a failure it is tried again.
const AGAIN_MS: i64 = 15 * 60_000;
/// How long somebody else who is writing one is given.
const BUSY_MS: i64 = 60_000;
/// What was erased should be nowhere any more after this (reliability notes, GDPR).
const REACH: Duration = Duration::from_secs(30 * 24 * 3600);

/// How it stands with the backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::app) struct Status {
    /// When the last one was done, or when waiting for the first one began.
    pub last_ms: i64,
    /// Why the last try failed.
    pub failed: Option<String>,
}

/// Makes backups at set times.
pub(in crate::app) struct Periodic {
    store: Store,
    sealer: Sealer,
    data: PathBuf,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    configured: config::Backup,
    status: watch::Sender<Status>,
}

impl Periodic {
    pub(in crate::app) fn new(
        configured: &config::Backup,
        data: &Path,
        store: Store,
        sealer: Sealer,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Periodic {
        if configured.reach() > REACH {
            tracing::warn!(
                days = configured.reach().as_secs() / 86_400,
                "what is erased stays in backups for longer than 30 days: lower [backup] keep or every_hours"
            );
        }
        let status = watch::Sender::new(Status { last_ms: clock.now_ms(), failed: None });
        let (configured, data) = (configured.clone(), data.to_owned());
        Periodic { store, sealer, data, clock, metrics, configured, status }
    }

    /// How it stands, now and later.
    pub(in crate::app) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Makes them until `stop` becomes true. One that is being written then is left to the next process.
    pub(in crate::app) async fn run(self, mut stop: watch::Receiver<bool>) {
        let every_ms = i64::try_from(self.configured.every.as_millis()).unwrap_or(i64::MAX);
        let mut next_ms = match newest_ms(&self.configured.directory) {
            Ok(Some(last_ms)) => {
                self.done(last_ms);
                last_ms.saturating_add(every_ms)
            }
            // A folder that cannot be read is told by the first try.
            Ok(None) | Err(_) => self.clock.now_ms(),
        };
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.clock.sleep_until_ms(next_ms) => {}
            }
            let now_ms = self.clock.now_ms();
            if now_ms < next_ms {
                continue;
            }
            let made = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                made = self.make() => made,
            };
            next_ms = match made {
                Ok(Some(file)) => {
                    tracing::info!(file = %file.display(), "a backup was made");
                    self.done(now_ms);
                    now_ms.saturating_add(every_ms)
                }
                Ok(None) => now_ms.saturating_add(BUSY_MS),
                Err(reason) => {
                    tracing::error!(error = reason.as_str(), "a backup failed; it is tried again later");
                    self.status.send_modify(|status| status.failed = Some(reason));
                    now_ms.saturating_add(AGAIN_MS.min(every_ms))
                }
            };
        }
    }

    fn done(&self, at_ms: i64) {
        self.metrics.set_last_backup(at_ms / 1_000);
        self.status.send_replace(Status { last_ms: at_ms, failed: None });
    }

    /// Makes one and deletes what is too many; `None` if somebody else is making one.
    async fn make(&self) -> Result<Option<PathBuf>, String> {
        let Some(lock) = lock(&self.data).map_err(|error| error.to_string())? else { return Ok(None) };
        let folder = &self.configured.directory;
        let made = write_alone(lock, &self.store, &self.sealer, &self.data, folder).await;
        let file = made.map_err(|error| error.to_string())?;
        prune(folder, self.configured.keep).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Some(file))
    }
}

/// When a backup was made, by its name.
fn made_ms(path: &Path) -> Option<i64> {
    let name = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
    // As NAME writes it: 20261125T090807654Z.
    let part = |from: usize, to: usize| name.get(from..to);
    if name.len() != 19 || part(18, 19) != Some("Z") {
        return None;
    }
    let date = format!("{}-{}-{}", part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let time = format!("{}:{}:{}.{}", part(9, 11)?, part(11, 13)?, part(13, 15)?, part(15, 18)?);
    let at: jiff::Timestamp = format!("{date}{}{time}Z", part(8, 9)?).parse().ok()?;
    Some(at.as_millisecond())
}

/// When the newest one was made; `None` also if there is no folder.
fn newest_ms(folder: &Path) -> io::Result<Option<i64>> {
    match backups(folder, SUFFIX) {
        Ok(found) => Ok(found.iter().filter_map(|path| made_ms(path)).max()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes all but the newest so many.
fn prune(folder: &Path, keep: usize) -> io::Result<()> {
    let mut found: Vec<(i64, PathBuf)> =
        backups(folder, SUFFIX)?.into_iter().filter_map(|path| Some((made_ms(&path)?, path))).collect();
    found.sort_unstable();
    let too_many = found.len().saturating_sub(keep);
    for (_, path) in found.into_iter().take(too_many) {
        super::remove(&path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::NAME;
    use super::*;

    #[test]
    fn a_backup_s_age_is_in_its_name_and_nothing_else_is_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let at: jiff::Timestamp = "2026-11-25T09:08:07.654Z".parse().expect("a time");
        let name = |at: jiff::Timestamp| format!("{}{SUFFIX}", at.strftime(NAME));
        assert_eq!(made_ms(Path::new(&name(at))), Some(at.as_millisecond()));
        for other in
            ["notes.formgate-backup", "20261125T090807654Z.txt", "20261125T090807654Zé.formgate-backup", ""]
        {
            assert_eq!(made_ms(Path::new(other)), None, "{other}");
        }
        let write = |name: &str| std::fs::write(folder.path().join(name), "x").expect("a file");
        let names: Vec<String> =
            (1..=5).map(|hours| name(at - jiff::SignedDuration::from_hours(hours))).collect();
        names.iter().for_each(|name| write(name));
        write("notes.formgate-backup");
        write("other.txt");
        prune(folder.path(), 2).expect("a folder");
        let mut left: Vec<String> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
            .collect();
        left.sort_unstable();
        let mut wanted =
            vec![names[1].clone(), names[0].clone(), "notes.formgate-backup".into(), "other.txt".into()];
        wanted.sort_unstable();
        assert_eq!(left, wanted);
        let newest = newest_ms(folder.path()).expect("a folder");
        assert_eq!(newest, made_ms(Path::new(&names[0])));
        assert_eq!(newest_ms(&folder.path().join("none")).expect("no folder is no fault"), None);
    }
}

//! Backups at set times: written and opened again as those that are asked for, and the oldest deleted.
//!
//! What is on disk decides what is due: a process that starts makes no backup while the newest one is young enough, and
//! makes one at once when none is. It deletes only what has the name of a backup, and only after a new one counts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Source;
use super::dated::{Dated, prune};
use crate::config;
use crate::outbox::Clock;
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
    source: Source,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    configured: config::Backup,
    status: watch::Sender<Status>,
}

impl Periodic {
    pub(in crate::app) fn new(
        configured: &config::Backup,
        source: Source,
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
        Periodic { source, clock, metrics, configured: configured.clone(), status }
    }

    /// How it stands, now and later.
    pub(in crate::app) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Makes them until `stop` becomes true. One that is being written then is left to the next process.
    pub(in crate::app) async fn run(self, mut stop: watch::Receiver<bool>) {
        let every_ms = i64::try_from(self.configured.every.as_millis()).unwrap_or(i64::MAX);
        let mut next_ms = match self.last_ms() {
            Some(last_ms) => {
                self.done(last_ms);
                last_ms.saturating_add(every_ms)
            }
            None => self.clock.now_ms(),
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

    /// When the newest of those that are there was made.
    fn last_ms(&self) -> Option<i64> {
        let (now_ms, wall_ms) = (self.clock.now_ms(), jiff::Timestamp::now().as_millisecond());
        // A folder that cannot be read is told by the first try.
        let Dated { past, later } = Dated::read(&self.configured.directory, wall_ms).ok()?;
        if let Some((_, newest)) = later.last() {
            tracing::warn!(
                file = %newest.display(),
                "a backup has the name of a time that has not come: it counts for nothing, and is deleted before all others"
            );
        }
        let (made_ms, _) = past.last()?;
        // Names go by the wall clock, which need not be the one that is waited by.
        Some(now_ms.saturating_sub(wall_ms.saturating_sub(*made_ms)))
    }

    fn done(&self, at_ms: i64) {
        self.metrics.set_last_backup(at_ms / 1_000);
        self.status.send_replace(Status { last_ms: at_ms, failed: None });
    }

    /// Makes one and deletes what is too many; `None` if somebody else is making one.
    async fn make(&self) -> Result<Option<PathBuf>, String> {
        let Some(lock) = self.source.lock().map_err(|error| error.to_string())? else { return Ok(None) };
        let folder = &self.configured.directory;
        let made = self.source.write_alone(lock, folder).await;
        let file = made.map_err(|error| error.to_string())?;
        prune(folder, self.configured.keep, &file)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Some(file))
    }
}

//! Deletes what was kept as long as its flow says.
//!
//! Invariant: a submission with an open delivery is never deleted, however old it is. One whose deliveries were given up is
//! kept as long after that as a delivered one after its delivery, so that it can be replayed; where the flow keeps nothing
//! beyond delivery, for [`UNDELIVERED_DAYS`]. Its end is an audit event of its own kind and a warning, not silence.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::query::{Cursor, Entry};
use super::{Error, Outbox};
use crate::audit;
use crate::store::{self, Batch, DeliveryState, Put, Scan, Settled, Table};

/// How long a submission stays that no destination took, where delivered ones go at once.
const UNDELIVERED_DAYS: u32 = 30;
const DAY_MS: i64 = 24 * 3_600_000;
/// How often old submissions are looked for.
const SWEEP_MS: i64 = 3_600_000;
/// The same, if a flow keeps nothing beyond delivery.
const QUICK_SWEEP_MS: i64 = 60_000;
/// Submissions looked at in one read.
const PAGE: u32 = 1_000;
/// What was decided for a flow, kept for the time when it is no longer configured.
const SETTING: &[u8] = b"retention\0";

/// How long the submissions of each flow are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    days: HashMap<String, u32>,
    /// The same for the audit trail; `None` keeps it.
    audit_days: Option<u32>,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Submissions that are gone.
    pub erased: u64,
    /// Those of them that some destination never took.
    pub undelivered: u64,
}

impl Retention {
    /// The same, with audit events kept for so long.
    #[must_use]
    pub fn keeping_audit(self, days: u32) -> Self {
        Self { audit_days: Some(days), ..self }
    }

    fn least_days(&self) -> Option<u32> {
        self.days.values().min().copied()
    }
}

fn ago(now_ms: i64, days: u32) -> i64 {
    now_ms.saturating_sub(DAY_MS.saturating_mul(days.into()))
}

impl Outbox {
    /// What is decided for every flow: as configured now, or as it was when the flow was still configured.
    pub async fn retention(&self, configured: &[(String, u32)]) -> Result<Retention, Error> {
        let batch = configured.iter().fold(Batch::at(self.clock.now_ms()), |batch, (flow, days)| {
            batch.put(Put::new(Table::Setting, [SETTING, flow.as_bytes()].concat(), days.to_be_bytes()))
        });
        self.store.commit(batch).await?;
        let (mut days, mut after) = (HashMap::new(), None);
        loop {
            let scan = Scan { prefix: SETTING.to_vec(), after, limit: PAGE, ..Scan::default() };
            let page = self.store.scan(Table::Setting, scan).await?;
            let ended = page.len() < PAGE as usize;
            after = page.last().map(|(key, _)| key.clone());
            days.extend(page.iter().filter_map(|(key, record)| {
                let flow = String::from_utf8(key.strip_prefix(SETTING)?.to_vec()).ok()?;
                Some((flow, u32::from_be_bytes(record.value.as_slice().try_into().ok()?)))
            }));
            if ended {
                return Ok(Retention { days, audit_days: None });
            }
        }
    }

    /// Keeps house until `shutdown` becomes true or the store stops: ends the erasures that were begun and not ended, then
    /// deletes what is old enough, again and again.
    pub async fn keep_house(self, retention: Retention, mut shutdown: watch::Receiver<bool>) {
        let mut indexed = false;
        let pause_ms = if retention.least_days() == Some(0) { QUICK_SWEEP_MS } else { SWEEP_MS };
        loop {
            // What failed is tried again with each sweep: a person who is to be erased does not wait for a restart.
            let resume = async {
                if !indexed {
                    self.index_older().await?;
                    indexed = true;
                }
                self.resume_erasures().await
            };
            let resumed = tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                resumed = resume => resumed,
            };
            match resumed {
                Ok(0) => {}
                Ok(jobs) => tracing::info!(jobs, "erasures were ended that had been begun before"),
                Err(error) => report(&error),
            }
            let swept = tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                swept = self.sweep(&retention) => swept,
            };
            match swept {
                Ok(Swept { erased: 0, .. }) => {}
                Ok(Swept { erased, undelivered: 0 }) => {
                    tracing::info!(erased, "old submissions were deleted")
                }
                Ok(Swept { erased, undelivered }) => {
                    tracing::warn!(
                        erased,
                        undelivered,
                        "old submissions were deleted, also some that no destination took"
                    );
                }
                Err(error) => report(&error),
            }
            if self.store.fatal().borrow().is_some() {
                return;
            }
            let again_at_ms = self.clock.now_ms().saturating_add(pause_ms);
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => return,
                () = self.clock.sleep_until_ms(again_at_ms) => {}
            }
        }
    }

    /// Deletes what is old enough. Cancel safe: each submission goes in a commit of its own.
    pub async fn sweep(&self, retention: &Retention) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        if let Some(files) = &self.files {
            files.sweep().await?;
        }
        let now_ms = self.clock.now_ms();
        if let Some(days) = retention.audit_days {
            match audit::trim(&self.store, ago(now_ms, days)).await {
                // With the next sweep.
                Ok(0) | Err(store::Error::Busy) => {}
                Ok(trimmed) => tracing::info!(trimmed, "audit events were deleted whose time was over"),
                Err(error) => return Err(error.into()),
            }
        }
        let Some(least_days) = retention.least_days() else { return Ok(swept) };
        let mut after = None;
        loop {
            let scan = Scan { after, limit: PAGE, ..Scan::default() };
            let page = self.store.scan(Table::Timeline, scan).await?;
            let mut ended = page.len() < PAGE as usize;
            after = page.last().map(|(key, _)| key.clone());
            for (key, record) in page {
                let Some(cursor) = Cursor::from_key(&key) else { continue };
                // They come in the order of acceptance: those behind this one are too young for every flow.
                if cursor.accepted_at_ms > ago(now_ms, least_days) {
                    ended = true;
                    break;
                }
                let Ok(entry) = postcard::from_bytes::<Entry>(&record.value) else { continue };
                let Some(days) = retention.days.get(&entry.flow_id) else { continue };
                if cursor.accepted_at_ms <= ago(now_ms, *days) {
                    self.sweep_one(cursor, *days, now_ms, &mut swept).await?;
                }
            }
            if ended {
                break;
            }
        }
        let unscrubbed = swept.erased > 0 || self.unscrubbed.load(Ordering::Acquire);
        if unscrubbed && !self.scrub().await? {
            tracing::warn!(
                "what was deleted could not be overwritten yet; it is tried again at the next sweep"
            );
        }
        // Whoever erased it: the nodes do it for each other, and nobody waits for it.
        match self.store.rewrite_log(false).await {
            Ok(_) | Err(store::Error::Busy) => Ok(swept),
            Err(error) => Err(error.into()),
        }
    }

    async fn sweep_one(
        &self,
        cursor: Cursor,
        days: u32,
        now_ms: i64,
        swept: &mut Swept,
    ) -> Result<(), Error> {
        let deliveries = self.deliveries_of(cursor.id, &self.holds().await?).await?;
        let undelivered_days = if days == 0 { UNDELIVERED_DAYS } else { days };
        // One that goes nowhere waits to be exported: it is kept as long as one that nobody took.
        if deliveries.is_empty() && cursor.accepted_at_ms > ago(now_ms, undelivered_days) {
            return Ok(());
        }
        let undelivered = deliveries.iter().any(|delivery| delivery.state == DeliveryState::Dead);
        let outcome = if undelivered { "undelivered" } else { "ok" };
        let event = audit::Event::with_outcome(now_ms, "retention", "submission.erased", cursor.id, outcome);
        let settled =
            Settled { delivered_by_ms: ago(now_ms, days), dead_by_ms: ago(now_ms, undelivered_days) };
        if self.erase_settled(cursor, settled, &event).await? {
            swept.erased += 1;
            swept.undelivered += u64::from(undelivered);
        }
        Ok(())
    }
}

fn report(error: &Error) {
    tracing::error!(error = error as &dyn std::error::Error, "keeping house failed; it is tried again later");
}

//! The shared copy in Redis or Valkey: everything that is asked of the server, and nothing of the journal.
//!
//! Invariant: each operation that writes is one script, so it is done as a whole or not at all, and whatever it writes has
//! one version that is higher than every one before, also after the server lost its data. All keys are in one slot.
//! [`Error::OutOfReach`] means that nobody knows whether it was done; [`Error::Refused`] that it was not.
//!
//! Operations do what the embedded store's do, with one exception: of deliveries that are due in the same millisecond the
//! one with the lower key is first. Every wait ends after ten seconds; a caller that gives up earlier drops the future, and
//! what was sent may still be done. The connection is made when it is needed, by whoever needs it.
//!
//! It deliberately has no opinion on when Redis is down, keeps nothing, and never tries again what may have been done.

mod code;
mod confirm;
mod line;
mod options;
mod primary;
mod read;
mod rewrite;
mod script;
mod share;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use self::code::{Answer, integer};
use self::confirm::Confirmer;
use self::line::Line;
use self::primary::Finder;
use self::script::{CLAIM, CLAMP, COMMIT, Call, ERASE, PURGE, RENEW, REOPEN, SETTLE, SWEEP, Script, TRIM};
use super::{
    AWAY_DAYS, Batch, Claim, Delivery, DeliveryState, Erased, Erasure, Expectation, Lane, Put, Record,
    Reopened, Settlement, Table, Verdict, Version,
};

pub use self::options::{Acknowledge, OpenError, Options, Topology};
pub use self::share::{Change, Identity, Offered, Row};

/// Rows that one call of a script changes at most.
const PAGE: u32 = 1_000;
/// How long tombstones are kept, in microseconds.
const TOMBSTONES_US: i64 = AWAY_DAYS * 24 * 3_600 * 1_000_000;

/// Why an operation was not done, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not answer; whether it was done is not known.
    #[error("Redis is out of reach: {0}")]
    OutOfReach(String),
    /// It is full, a replica, loading or the like; it was not done.
    #[error("Redis refused: {0}")]
    Refused(String),
    /// A precondition did not hold, so nothing of the batch was done.
    #[error("precondition {index} of the batch does not hold")]
    Conflict {
        /// Which precondition, counted in the order of the batch.
        index: usize,
        /// What stands there instead, if anything.
        existing: Option<Record>,
    },
    /// The lease named is no longer the valid one, so nothing was changed.
    #[error("the lease is no longer valid")]
    StaleLease,
    /// It is not the Redis that was expected, so it gives no leases out and cannot judge any; nothing was changed.
    #[error("it is another Redis than before")]
    Another,
}

/// What an erasure has taken away.
#[derive(Debug, Default)]
pub struct Gone {
    /// Rows by the number of their table, 0 for deliveries, and their key; the submission itself is not named.
    pub rows: Vec<(i64, Vec<u8>)>,
    /// Whether there was a submission: then an empty one stays behind.
    pub was_there: bool,
}

/// The Redis that nodes share. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    line: Arc<Line>,
    confirmer: Arc<Confirmer>,
    prefix: Arc<str>,
    /// What scripts declare: the key of the last version, from which they take the prefix of all others, and one that is never
    /// there. While a cluster moves their slot to another server, Redis refuses a script that declares a key which is not
    /// there before it begins, and otherwise in the middle, at the first key that it finds to be gone.
    keys: Arc<[String; 2]>,
    /// Which one leases are of; empty if any will do.
    expected: Arc<str>,
    /// Whether it was told that the log is not to be written anew.
    may_not_rewrite: Arc<AtomicBool>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Redis").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Redis {
    /// Connects, and refuses a server whose settings would lose data.
    pub async fn open(options: &Options) -> Result<Self, OpenError> {
        let key = format!("{}:ver", options.prefix);
        let finder = Arc::new(Finder::new(options, key.clone())?);
        let replicas = match options.acknowledge {
            Acknowledge::Journal => 0,
            Acknowledge::Redis { replicas } => replicas,
        };
        let (line, confirmer) = (Line::new(Arc::clone(&finder)), Arc::new(Confirmer::new(finder, replicas)));
        line.open().await?;
        let prefix = Arc::from(options.prefix.as_str());
        let keys = Arc::new([key, format!("{prefix}:never")]);
        let (expected, may_not_rewrite) = (Arc::from(""), Arc::default());
        let redis = Self { line, confirmer, prefix, keys, expected, may_not_rewrite };
        // A store without a name gives nothing out.
        redis.identity().await.map_err(|error| OpenError::OutOfReach(error.to_string()))?;
        Ok(redis)
    }

    /// The same, but leases are of this one alone, as [`Identity`] writes it: another answers claims with [`Error::Another`],
    /// and so it does to whoever names a lease that it does not know.
    #[must_use]
    pub fn expecting(&self, identity: Arc<str>) -> Self {
        Self { expected: identity, ..self.clone() }
    }

    fn call(&self, script: &Script) -> Call {
        Call::new(script, &self.keys)
    }

    async fn run(&self, script: &Script, call: Call) -> Result<redis::Value, Error> {
        self.line.run(script, call.command()).await
    }

    fn name(&self, rest: &str) -> String {
        format!("{}:{rest}", self.prefix)
    }

    /// Applies a whole batch or nothing of it.
    pub async fn commit(&self, batch: &Batch) -> Result<Version, Error> {
        let mut call = self.call(&COMMIT).number(batch.now_ms).count(batch.preconditions.len());
        for precondition in &batch.preconditions {
            let (kind, version) = match precondition.expect {
                Expectation::Absent => ("absent", 0),
                Expectation::Present => ("present", 0),
                Expectation::Version(version) => ("version", version.0),
            };
            call = call.number(precondition.table.number()).bytes(&precondition.key).bytes(kind);
            call = call.number(version);
        }
        call = call.count(batch.deletes.len());
        for (table, key) in &batch.deletes {
            call = call.number(table.number()).bytes(key);
        }
        call = call.puts(&batch.puts).count(batch.deliveries.len());
        for delivery in &batch.deliveries {
            call = call.bytes(delivery.key).bytes(delivery.submission).bytes(&delivery.destination);
            call = call.number(delivery.due_at_ms);
        }
        call = call.count(batch.reopens.len());
        for reopen in &batch.reopens {
            call = call.bytes(reopen.key).bytes(reopen.new_key).number(reopen.due_at_ms);
            call = call.count(reopen.lane.number());
        }
        let mut answer = Answer::new(self.run(&COMMIT, call).await?)?;
        if answer.integer()? == 1 {
            return answer.integer().map(Version);
        }
        let index = usize::try_from(answer.integer()?).unwrap_or(usize::MAX);
        let existing = if answer.is_over() { None } else { answer.optional_bytes()? };
        Err(Error::Conflict { index, existing: existing.as_deref().map(code::record).transpose()? })
    }

    /// Leases deliveries of a destination that are due; none while it is paused, or while nodes refill a store that was lost.
    pub async fn claim(&self, claim: &Claim) -> Result<Vec<Delivery>, Error> {
        self.claim_after(claim, 0).await.map(|(claimed, _)| claimed)
    }

    /// The same after the clock was set forward by `grace_ms`: leases that were given before end later by as much. With the
    /// version that all have from then on.
    pub async fn claim_after(&self, claim: &Claim, grace_ms: i64) -> Result<(Vec<Delivery>, Version), Error> {
        let mut call =
            self.call(&CLAIM).bytes(&claim.destination).number(claim.now_ms).number(claim.lease_ms);
        for number in claim.shares.into_iter().chain(claim.limits) {
            call = call.number(number.into());
        }
        let call = call.number(grace_ms).bytes(&*self.expected);
        let mut answer = Answer::new(self.run(&CLAIM, call).await?)?;
        let damaged = answer.integer()?;
        if damaged < 0 {
            return Err(Error::Another);
        }
        if damaged > 0 {
            tracing::error!(destination.id = claim.destination, damaged, "deliveries were quarantined");
        }
        let (mut claimed, mut version) = (Vec::new(), Version(0));
        while !answer.is_over() {
            let (key, row) = (answer.bytes()?, answer.bytes()?);
            // The script has read it, too; only a destination that is no text comes this far.
            if let Some((delivery, of_all)) = code::delivery(&key, &row) {
                claimed.push(delivery);
                version = of_all;
            }
        }
        Ok((claimed, version))
    }

    /// Prolongs a lease that is still the valid one. The delivery keeps its version.
    pub async fn renew(&self, key: [u8; 16], lease: u64, until_ms: i64) -> Result<(), Error> {
        let call = self.call(&RENEW).bytes(key).number(signed(lease)).number(until_ms);
        judged(integer(&self.run(&RENEW, call.bytes(&*self.expected)).await?)?).map(drop)
    }

    /// Ends a lease with its outcome.
    pub async fn settle(&self, key: [u8; 16], lease: u64, settlement: &Settlement) -> Result<Version, Error> {
        let first = Lane::First;
        let (state, at_ms, lane, given_back) = match settlement.verdict {
            Verdict::Delivered { at_ms } => (DeliveryState::Delivered, at_ms, first, 0),
            Verdict::Retry { due_at_ms } => (DeliveryState::Due, due_at_ms, Lane::Retry, 0),
            Verdict::Release { due_at_ms } => (DeliveryState::Due, due_at_ms, first, 1),
            Verdict::Dead { at_ms } => (DeliveryState::Dead, at_ms, first, 0),
            Verdict::Superseded { at_ms } => (DeliveryState::Superseded, at_ms, first, 1),
        };
        let call = self.call(&SETTLE).bytes(key).number(signed(lease)).number(state.number()).number(at_ms);
        let call = call.count(lane.number()).number(given_back).bytes(&settlement.history);
        let call = call.bytes(&*self.expected).puts(&settlement.puts);
        judged(integer(&self.run(&SETTLE, call).await?)?).map(Version)
    }

    /// Makes a dead delivery due again. The version counts only if it was.
    pub async fn reopen(
        &self,
        key: [u8; 16],
        due_at_ms: i64,
        puts: &[Put],
    ) -> Result<(Reopened, Version), Error> {
        let call = self.call(&REOPEN).bytes(key).number(due_at_ms).puts(puts);
        let mut answer = Answer::new(self.run(&REOPEN, call).await?)?;
        let reopened = match DeliveryState::from_number(answer.integer()?) {
            None => Reopened::Unknown,
            Some(DeliveryState::Dead) => Reopened::Due,
            Some(state) => Reopened::NotDead(state),
        };
        Ok((reopened, Version(answer.integer()?)))
    }

    /// Brings due times back that lie further ahead than any schedule goes.
    pub async fn clamp_due(&self, latest_ms: i64) -> Result<u64, Error> {
        self.clamp(latest_ms, false).await
    }

    /// Makes due by now what waits for no schedule: submissions that came, and replays that were asked for, before the clock
    /// was set back.
    pub async fn clamp_untried(&self, now_ms: i64) -> Result<u64, Error> {
        self.clamp(now_ms, true).await
    }

    async fn clamp(&self, latest_ms: i64, untried: bool) -> Result<u64, Error> {
        let mut all = 0;
        loop {
            let call = self.call(&CLAMP).number(latest_ms).number(PAGE.into()).number(untried.into());
            let changed = integer(&self.run(&CLAMP, call).await?)?.unsigned_abs();
            all += changed;
            if changed < PAGE.into() {
                return Ok(all);
            }
        }
    }

    /// Deletes up to `limit` records whose time is over, and tombstones that nobody can ask for any more.
    pub async fn purge_expired(&self, now_ms: i64, limit: u32) -> Result<u64, Error> {
        let mut all = 0;
        loop {
            let page = (u64::from(limit) - all).min(PAGE.into());
            let call = self.call(&PURGE).number(now_ms).number(page.cast_signed()).number(TOMBSTONES_US);
            let purged = integer(&self.run(&PURGE, call).await?)?.unsigned_abs().min(page);
            all += purged;
            if purged < page || all == u64::from(limit) {
                return Ok(all);
            }
        }
    }

    /// Deletes up to `limit` audit records, of whichever node, whose keys are before this one; says how many.
    pub async fn trim_audit(&self, before: &[u8], limit: u32) -> Result<u64, Error> {
        let call = self.call(&TRIM).number(Table::Audit.number()).bytes(before);
        let call = call.number(limit.min(PAGE).into());
        Ok(integer(&self.run(&TRIM, call).await?)?.unsigned_abs())
    }

    /// Deletes a submission with its deliveries and every record that a trace of it names. The submission itself stays behind,
    /// empty.
    pub async fn erase(&self, erasure: &Erasure) -> Result<(Erased, Version, Gone), Error> {
        let by = |ms: Option<i64>| ms.unwrap_or_default();
        let mut call = self.call(&ERASE).bytes(erasure.submission).flag(erasure.settled.is_some());
        call = call.number(by(erasure.settled.map(|settled| settled.delivered_by_ms)));
        call =
            call.number(by(erasure.settled.map(|settled| settled.dead_by_ms))).number(erasure.forget_at_ms);
        call = call.count(erasure.deletes.len());
        for (table, key) in &erasure.deletes {
            call = call.number(table.number()).bytes(key);
        }
        let answer = self.run(&ERASE, call.puts(&erasure.puts)).await?;
        if matches!(answer, redis::Value::Int(_)) {
            return Ok((Erased::NotSettled, Version(0), Gone::default()));
        }
        let mut answer = Answer::new(answer)?;
        let (version, mut told, mut named) = (Version(answer.integer()?), answer.inner()?, answer.inner()?);
        let was_there = answer.integer()? == 1;
        let (mut deliveries, mut rows) = (Vec::new(), Vec::new());
        while !told.is_over() {
            let (destination, state) = (told.text()?, DeliveryState::from_number(told.integer()?));
            deliveries.push((destination, state.unwrap_or(DeliveryState::Due)));
        }
        while !named.is_over() {
            rows.push((named.integer()?, named.bytes()?));
        }
        Ok((Erased::Done { deliveries }, version, Gone { rows, was_there }))
    }

    /// Puts open deliveries that no queue has back into theirs, and counts all anew; how many. `None` if none seemed to be
    /// missing: then it looks at so many of them, if the last look of any node is so long ago, and at the next ones next time.
    pub async fn sweep(&self, keys: u32, every: Duration) -> Result<Option<u64>, Error> {
        let every_ms = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
        let mut found = 0;
        loop {
            let call = self.call(&SWEEP).number(keys.into()).number(every_ms);
            let mut answer = Answer::new(self.run(&SWEEP, call).await?)?;
            found += u64::try_from(answer.integer()?).map_err(|_negative| code::malformed())?;
            let (seemed, goes_on) = (answer.integer()? == 1, answer.integer()? == 1);
            if !goes_on {
                return Ok((seemed || found > 0).then_some(found));
            }
        }
    }

    /// The hash that holds the records of a table.
    fn values(&self, table: Table) -> String {
        self.name(&format!("v:{}", table.number()))
    }
}

/// What a script says of a lease that was named.
fn judged(answer: i64) -> Result<i64, Error> {
    match answer {
        0 => Err(Error::StaleLease),
        -1 => Err(Error::Another),
        answer => Ok(answer),
    }
}

// A lease number would need 2^53 claims of one delivery to be too large for a script.
fn signed(lease: u64) -> i64 {
    i64::try_from(lease).unwrap_or(i64::MAX)
}

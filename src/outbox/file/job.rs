//! Fetches what is due, again and again, until each file is kept or refused.
//!
//! A job's place among the jobs is the time at which it is due, so looking costs what is due and no more. Who takes one puts
//! it behind the time that a file may take: a process that dies leaves it to the next one, and no two have it at a time.

use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::disk::Places;
use super::fetch::{Failure, fetch};
use super::{Files, JOB, KIND, Known, Refusal, State, known_put, uploads};
use crate::outbox::{Error, Outbox, Submission, SubmissionId};
use crate::store::{self, Batch, Expectation, Put, Scan, Table, trace};

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Waits after the first attempt, the second, and so on; the last one goes on.
const STEPS_MS: [i64; 9] = [
    5 * SECOND_MS,
    30 * SECOND_MS,
    2 * MINUTE_MS,
    10 * MINUTE_MS,
    30 * MINUTE_MS,
    HOUR_MS,
    2 * HOUR_MS,
    4 * HOUR_MS,
    6 * HOUR_MS,
];
/// Longer than one file may take: so long a job is left to who has taken it.
const LEASE_MS: i64 = 10 * MINUTE_MS;
/// After so many attempts what looks final is final.
const STUBBORN: u32 = 4;
/// Meta keeps files so long (WhatsApp Flows reference, 5.1).
const KEPT_BY_META_MS: i64 = 20 * DAY_MS;
/// Deliveries wait for their files so long, then they tell what is known.
const DELIVERIES_WAIT_MS: i64 = DAY_MS;
/// Jobs under way at one time; each holds a few hundred KiB at most.
const MAX_UNDER_WAY: usize = 16;
/// The longest the fetcher sleeps without looking.
const MAX_SLEEP_MS: i64 = MINUTE_MS;

/// When a job is due, and of which submission it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    at_ms: i64,
    id: SubmissionId,
}

impl Due {
    fn key(self) -> Vec<u8> {
        [JOB, &self.at_ms.to_be_bytes(), &self.id.to_bytes()].concat()
    }

    fn of_key(key: &[u8]) -> Option<Self> {
        let (at, id) = key.strip_prefix(JOB)?.split_first_chunk::<8>()?;
        let id = SubmissionId::new(Uuid::from_slice(id).ok()?);
        Some(Self { at_ms: i64::from_be_bytes(*at), id })
    }

    fn puts(self, attempt: u32) -> [Put; 2] {
        let put = Put::new(Table::Job, self.key(), attempt.to_be_bytes());
        let trace = trace(self.id.to_bytes(), Table::Job, &put.key);
        [put, trace]
    }

    /// Takes the job, and its trace, out of the store.
    fn gone(self, batch: Batch) -> Batch {
        let key = self.key();
        let trace = trace(self.id.to_bytes(), Table::Job, &key);
        batch.delete(Table::Job, key).delete(trace.table, trace.key)
    }
}

/// What is written with a submission, so that its files are fetched at once.
pub(super) fn first_puts(id: SubmissionId, now_ms: i64) -> [Put; 2] {
    Due { at_ms: now_ms, id }.puts(0)
}

/// After which attempt to wait how long; a fifth is left to chance, so that what failed together comes back apart.
fn pause_ms(attempt: u32, random: u64) -> i64 {
    let step = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let step_ms = STEPS_MS.get(step).or(STEPS_MS.last()).copied().unwrap_or(HOUR_MS);
    step_ms + step_ms / 1_000 * i64::try_from(random % 201).unwrap_or(0)
}

impl Outbox {
    /// How long a delivery of this submission has to wait for its files; `None` if it has none or has waited enough.
    pub(in crate::outbox) async fn wait_for_files_ms(
        &self,
        submission: &Submission,
    ) -> Result<Option<i64>, Error> {
        if self.files.is_none() || submission.answers.iter().all(|answer| answer.kind != KIND) {
            return Ok(None);
        }
        let Some((known, _)) = self.known_files(submission.id).await? else { return Ok(None) };
        let waited_ms = self.clock.now_ms().saturating_sub(known.since_ms);
        if known.is_settled() || waited_ms >= DELIVERIES_WAIT_MS {
            return Ok(None);
        }
        // Often while it may be a matter of moments, seldom when it is not.
        Ok(Some((waited_ms / 4).clamp(SECOND_MS / 2, MINUTE_MS)))
    }

    /// Fetches files until `shutdown` becomes true or the store stops. What is under way then is left to the next process.
    pub async fn fetch_files(self, mut shutdown: watch::Receiver<bool>) {
        let Some(files) = self.files.clone() else { return };
        let mut wake = self.wake.subscribe();
        let mut under_way = JoinSet::new();
        while self.store.fatal().borrow().is_none() {
            wake.mark_unchanged();
            let look_at_ms = match self.begin_due(&files, &mut under_way).await {
                Ok(at_ms) => at_ms,
                Err(error) => {
                    report(&error);
                    self.clock.now_ms().saturating_add(SECOND_MS)
                }
            };
            let room = under_way.len() < MAX_UNDER_WAY;
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => break,
                Some(_) = under_way.join_next() => {}
                _ = wake.changed(), if room => {}
                () = self.clock.sleep_until_ms(look_at_ms), if room => {}
            }
        }
        under_way.shutdown().await;
    }

    /// Begins what is due, as far as there is room; says when to look again.
    async fn begin_due(&self, files: &Files, under_way: &mut JoinSet<()>) -> Result<i64, Error> {
        let now_ms = self.clock.now_ms();
        let limit = u32::try_from(MAX_UNDER_WAY + 1).unwrap_or(u32::MAX);
        let scan = Scan { prefix: JOB.to_vec(), limit, ..Scan::default() };
        for (key, record) in self.store.scan(Table::Job, scan).await? {
            let Some(due) = Due::of_key(&key) else { continue };
            if due.at_ms > now_ms {
                return Ok(due.at_ms.min(now_ms.saturating_add(MAX_SLEEP_MS)));
            }
            if under_way.len() >= MAX_UNDER_WAY {
                break;
            }
            let attempt = record.value.as_slice().try_into().map_or(0, u32::from_be_bytes).saturating_add(1);
            let taken = Due { at_ms: now_ms.saturating_add(LEASE_MS.max(pause_ms(attempt, 0))), id: due.id };
            let batch = Batch::at(now_ms).require(Table::Job, key, Expectation::Version(record.version));
            let batch = taken.puts(attempt).into_iter().fold(due.gone(batch), Batch::put);
            match self.store.commit(batch).await {
                Ok(()) => {}
                // Another node has it.
                Err(store::Error::Conflict { .. }) => continue,
                Err(error) => return Err(error.into()),
            }
            let (outbox, files) = (self.clone(), files.clone());
            under_way.spawn(async move {
                if let Err(error) = outbox.fetch_of(&files, taken, attempt).await {
                    report(&error);
                }
            });
        }
        Ok(now_ms.saturating_add(MAX_SLEEP_MS))
    }

    /// Fetches the files of one submission that are not settled, and writes down each.
    async fn fetch_of(&self, files: &Files, mut taken: Due, attempt: u32) -> Result<(), Error> {
        let id = taken.id;
        let Some(submission) = self.read_stored(id).await? else {
            let batch = taken.gone(Batch::at(self.clock.now_ms()));
            self.store.commit(batch).await?;
            return Ok(());
        };
        for (number, upload) in (0..).zip(uploads(&submission)) {
            let Some((mut known, version)) = self.known_files(id).await? else {
                return self.remove_erased(files, id).await;
            };
            let Some(state @ State::Pending) = known.files.get_mut(usize::from(number)) else { continue };
            let fetched = match &upload {
                Some(upload) => fetch(&files.0, id, number, upload, None).await,
                None => Err(Failure::Refused(Refusal::Metadata)),
            };
            let now_ms = self.clock.now_ms();
            let is_late = now_ms.saturating_sub(known.since_ms) >= KEPT_BY_META_MS;
            *state = match fetched {
                Ok(kept) => State::Kept(kept),
                Err(Failure::Refused(refusal)) => State::Refused(refusal),
                Err(Failure::Stubborn(refusal)) if attempt >= STUBBORN => State::Refused(refusal),
                Err(_) if is_late => State::Refused(Refusal::Unavailable),
                Err(failure) => {
                    tracing::info!(submission.id = %id, file = number, ?failure, attempt, "a file is fetched again later");
                    continue;
                }
            };
            if let State::Refused(refusal) = state {
                tracing::warn!(submission.id = %id, file = number, refusal = refusal.name(), "a file was refused");
            }
            let next = Due { at_ms: now_ms.saturating_add(LEASE_MS), id };
            if !self.write_down(&known, version, taken, next, attempt).await? {
                // Erased meanwhile, or kept by another node, from which this one can fetch it again.
                Places::of(&files.0, id, number).remove();
                return self.remove_erased(files, id).await;
            }
            taken = next;
        }
        let Some((known, version)) = self.known_files(id).await? else {
            // Erased meanwhile; what this attempt has left is all that is left.
            return self.remove_erased(files, id).await;
        };
        if !known.is_settled() {
            let at_ms = self.clock.now_ms().saturating_add(pause_ms(attempt, rand::random()));
            self.write_down(&known, version, taken, Due { at_ms, id }, attempt).await?;
        }
        Ok(())
    }

    /// Replaces the record, if nobody else has, and the job, which ends when all is settled.
    async fn write_down(
        &self,
        known: &Known,
        version: store::Version,
        taken: Due,
        next: Due,
        attempt: u32,
    ) -> Result<bool, Error> {
        let id = taken.id;
        let batch = Batch::at(self.clock.now_ms())
            .require(Table::File, id.to_bytes(), Expectation::Version(version))
            .put(known_put(&*self.seal, id, known));
        let mut batch = taken.gone(batch);
        if !known.is_settled() {
            batch = next.puts(attempt).into_iter().fold(batch, Batch::put);
        }
        match self.patiently(|| self.store.commit(batch.clone())).await {
            Ok(()) => Ok(true),
            Err(store::Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn report(error: &Error) {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "files could not be fetched; it is tried again later"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_stand_in_the_order_in_which_they_are_due() {
        let id = |byte| SubmissionId::new(Uuid::from_bytes([byte; 16]));
        let jobs =
            [(0, 9), (5, 1), (5, 2), (1_795_521_600_000, 0)].map(|(at_ms, of)| Due { at_ms, id: id(of) });
        assert!(jobs.map(Due::key).is_sorted());
        assert_eq!(jobs.map(|due| Due::of_key(&due.key())), jobs.map(Some));
        assert_eq!(Due::of_key(b"erase\0 and what follows it, which is long"), None);
    }

    #[test]
    fn a_file_is_asked_for_until_meta_has_it_no_more() {
        let mut at_ms = 0;
        let mut attempts = 0;
        while at_ms < KEPT_BY_META_MS {
            attempts += 1;
            at_ms += pause_ms(attempts, 0);
        }
        assert!((80..120).contains(&attempts), "{attempts}");
        assert!(pause_ms(u32::MAX, u64::MAX) <= 6 * HOUR_MS * 12 / 10);
        // Moments after it was accepted, the first attempts are over.
        assert!((1..=3).map(|attempt| pause_ms(attempt, 200)).sum::<i64>() < 4 * MINUTE_MS);
    }
}

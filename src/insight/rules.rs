//! From which measure on something is bad, and from which it is well again. Pure.
//!
//! Each rule has a margin between the two, so that a measure that trembles around its threshold is one cause and not many.
//! Meta warns from 5 % of errors and a p90 of one second on (WhatsApp Flows reference 3.2); the defaults here are below.

use std::time::Duration;

use super::{Cause, Level, Sign};
use crate::store::QueueDepth;

/// Fewer exchanges than this in the window say nothing about a share.
const FEW: u64 = 20;
/// So many refused requests in the window are no accident.
const SOME: u64 = 5;
/// An erasure may take this long; the law wants it within days, and it takes minutes.
const ERASURE: Duration = Duration::from_secs(24 * 3600);
/// A shared store that is away for less than this is back before anybody can look, and has what was kept for it.
const SHARED_STORE: Duration = Duration::from_secs(60);

/// From when on something is a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// How long a delivery may be due.
    pub queue_age: Duration,
    /// How many given-up deliveries of a destination may be kept unseen.
    pub dead_letters: u64,
    /// How long a breaker may be open.
    pub breaker: Duration,
    /// The share of exchanges that may fail.
    pub error_percent: u64,
    /// What the slowest tenth of the exchanges may take.
    pub latency: Duration,
    /// The share of exchanges that may come with a token that is no longer valid.
    pub token_percent: u64,
    /// What has to be free on the disk.
    pub disk_free_bytes: u64,
    /// How many submissions may be on this node only for more than a moment.
    pub single_copy: u64,
}

/// A destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its deliveries; those that a hold parks count as due.
    pub depth: QueueDepth,
    /// What holds it.
    pub hold: Hold,
    /// Whether a delivery to it was quarantined since this process started.
    pub quarantined: bool,
}

/// What holds a destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hold {
    /// It was paused: by itself (or by the program), or by a person.
    pub paused: Option<Paused>,
    /// Since when its breaker is open.
    pub open_since_ms: Option<i64>,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// No person did it.
    pub by_itself: bool,
    /// Why.
    pub reason: Option<String>,
}

/// A connected account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The connection.
    pub id: String,
    /// The tool's name for people.
    pub tool: &'static str,
    /// Why the tool does not accept it any more; `None` while it does.
    pub lost: Option<String>,
}

/// Exchanges of a flow, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Answered as they should be.
    pub well: u64,
    /// 427.
    pub token: u64,
    /// 421.
    pub undecryptable: u64,
    /// 432.
    pub signature: u64,
    /// Any other status: a fault of ours, or of whoever called.
    pub failed: u64,
    /// What the phone could not use; each of these was answered, too.
    pub notices: u64,
}

impl Totals {
    /// What was added since.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            well: self.well.saturating_sub(earlier.well),
            token: self.token.saturating_sub(earlier.token),
            undecryptable: self.undecryptable.saturating_sub(earlier.undecryptable),
            signature: self.signature.saturating_sub(earlier.signature),
            failed: self.failed.saturating_sub(earlier.failed),
            notices: self.notices.saturating_sub(earlier.notices),
        }
    }

    fn all(&self) -> u64 {
        self.well + self.token + self.undecryptable + self.signature + self.failed
    }
}

/// A flow and its exchanges within the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchanges {
    /// The flow.
    pub flow: String,
    /// Within the window.
    pub totals: Totals,
}

/// A number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Number {
    /// Its name.
    pub id: String,
    /// Whether it has a private key.
    pub has_key: bool,
    /// Whether it has an app secret that is in force.
    pub has_secret: bool,
}

/// The disk of the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// What is free for this program.
    pub free_bytes: u64,
}

/// Backups at set times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// When the last one was done, or when waiting for the first one began.
    pub last_ms: i64,
    /// How often there has to be one.
    pub every: Duration,
    /// Why the last try failed.
    pub failed: Option<String>,
}

/// The store that nodes share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedStore {
    /// How long it has been out of reach.
    pub away: Option<Duration>,
    /// Submissions that are on this node only.
    pub single: u64,
    /// How long they have been more than may be.
    pub single_for: Duration,
}

/// The last that Meta has said about one flow in one respect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaEvent {
    /// In which.
    pub cause: Cause,
    /// Whether it is bad.
    pub stands: bool,
    /// In a sentence.
    pub text: String,
}

/// Bad above the first bound, well at the second or below.
fn level(is_bad: bool, is_well: bool, text: impl FnOnce() -> String) -> Level {
    match (is_bad, is_well) {
        (true, _) => Level::Bad(text()),
        (false, true) => Level::Well,
        (false, false) => Level::Between,
    }
}

fn since(from_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(now_ms.saturating_sub(from_ms)).unwrap_or(0))
}

fn minutes(time: Duration) -> u64 {
    time.as_secs() / 60
}

fn length(time: Duration) -> String {
    match minutes(time) {
        0 => format!("{} seconds", time.as_secs()),
        whole => format!("{whole} minutes"),
    }
}

impl Thresholds {
    /// A destination: one cause at a time of those that explain each other. What waits for a destination that is held
    /// waits because of that.
    pub fn queue(&self, now_ms: i64, queue: &Queue) -> Vec<Sign> {
        let (depth, hold) = (&queue.depth, &queue.hold);
        let destination = &depth.destination;
        let held = hold.paused.is_some() || hold.open_since_ms.is_some();
        let waited = depth.oldest_due_at_ms.map_or(Duration::ZERO, |at_ms| since(at_ms, now_ms));
        let waits = || {
            format!(
                "{} deliveries to {destination} wait; the oldest has been due for {} minutes.",
                depth.due,
                minutes(waited)
            )
        };
        let age = level(waited > self.queue_age && !held, waited <= self.queue_age / 2, waits);
        let is_dead = depth.dead > self.dead_letters || (queue.quarantined && depth.dead > 0);
        let given_up = || {
            let broken = if queue.quarantined {
                " Some of them crash, end the process or cannot be read: please report that."
            } else {
                ""
            };
            format!("{} deliveries to {destination} were given up.{broken}", depth.dead)
        };
        let open = hold.open_since_ms.map(|since_ms| since(since_ms, now_ms));
        let fails = || {
            format!(
                "{destination} has been failing for {}; {} deliveries wait.",
                length(open.unwrap_or_default()),
                depth.due
            )
        };
        let by_itself = hold.paused.as_ref().filter(|paused| paused.by_itself);
        let paused = || {
            let reason =
                by_itself.and_then(|paused| paused.reason.as_deref()).unwrap_or("no reason is known");
            format!("{destination} is paused: {reason}. {} deliveries wait.", depth.due)
        };
        let open_for_long = open.is_some_and(|open| open >= self.breaker) && hold.paused.is_none();
        [
            (Cause::QueueAge(destination.clone()), age),
            (Cause::DeadLetters(destination.clone()), level(is_dead, !is_dead, given_up)),
            (Cause::Breaker(destination.clone()), level(open_for_long, open.is_none(), fails)),
            (Cause::Paused(destination.clone()), level(by_itself.is_some(), by_itself.is_none(), paused)),
        ]
        .into_iter()
        .map(|(cause, level)| Sign { cause, level })
        .collect()
    }

    /// A connected account, whatever it is used for.
    pub fn account(&self, account: &Account) -> Sign {
        let reason = account.lost.as_deref();
        let text = || {
            let (tool, id, reason) = (account.tool, &account.id, reason.unwrap_or_default());
            format!(
                "{tool} does not accept the connection {id} any more ({reason}); what is delivered or read with it waits."
            )
        };
        let level = level(reason.is_some(), reason.is_none(), text);
        Sign { cause: Cause::Connection(account.id.clone()), level }
    }

    /// The exchanges of a flow within the window.
    pub fn exchanges(&self, of: &Exchanges) -> Vec<Sign> {
        let (flow, totals) = (&of.flow, &of.totals);
        let all = totals.all();
        // What is neither ours nor a phone's is not a part of the whole.
        let spoken = totals.well + totals.token + totals.failed;
        let share = |part: u64, whole: u64, percent: u64, text: &dyn Fn() -> String| {
            let enough = whole >= FEW || (part >= SOME && part == whole);
            let is_bad = enough && part * 100 > whole * percent;
            level(is_bad, part * 200 <= whole * percent, text)
        };
        let failed =
            || format!("{} of {spoken} exchanges of {flow} failed in the last 10 minutes.", totals.failed);
        let notices = || {
            format!(
                "Phones could not use {} of {} answers of {flow} in the last 10 minutes.",
                totals.notices, totals.well
            )
        };
        let tokens = || {
            let count = totals.token;
            format!("{count} of {spoken} exchanges of {flow} came with a token that is no longer valid.")
        };
        let signatures =
            || format!("{} of {all} requests to {flow} were not signed by its app.", totals.signature);
        let undecryptable = || format!("No key opened {} of {all} requests to {flow}.", totals.undecryptable);
        let rare = |count: u64| count >= SOME && count * 2 >= all;
        [
            (Cause::ExchangeErrors(flow.clone()), share(totals.failed, spoken, self.error_percent, &failed)),
            (
                Cause::ClientErrors(flow.clone()),
                share(totals.notices, totals.well, self.error_percent, &notices),
            ),
            (Cause::Tokens(flow.clone()), share(totals.token, spoken, self.token_percent, &tokens)),
            (
                Cause::Signatures(flow.clone()),
                level(rare(totals.signature), totals.signature * 4 < all.max(1), signatures),
            ),
            (
                // Each of these was signed by Meta; one or two after a rotation are as it should be.
                Cause::Undecryptable(flow.clone()),
                level(
                    totals.undecryptable >= SOME && totals.undecryptable * 10 >= all,
                    totals.undecryptable * 20 < all.max(1),
                    undecryptable,
                ),
            ),
        ]
        .into_iter()
        .map(|(cause, level)| Sign { cause, level })
        .collect()
    }

    /// How long exchanges took within the window: upper bounds in seconds, and how many lie below each but above the
    /// one before it.
    pub fn latency(&self, buckets: &[(f64, u64)]) -> Sign {
        let all: u64 = buckets.iter().map(|(_, count)| count).sum();
        let p90 = p90(buckets);
        let is_bad = all >= FEW && p90 > self.latency.as_secs_f64();
        let text = || format!("The slowest tenth of {all} exchanges took {p90:.2} s or more.");
        let level = level(is_bad, all == 0 || p90 <= self.latency.as_secs_f64() / 2.0, text);
        Sign { cause: Cause::Latency, level }
    }

    /// What a number needs to be served.
    pub fn number(&self, number: &Number) -> Sign {
        let what = match (number.has_key, number.has_secret) {
            (true, true) => None,
            (false, _) => Some("no private key"),
            (true, false) => Some("no app secret that is in force"),
        };
        let text = || format!("Number {} has {}.", number.id, what.unwrap_or_default());
        Sign { cause: Cause::Key(number.id.clone()), level: level(what.is_some(), what.is_none(), text) }
    }

    /// The disk.
    pub fn disk(&self, disk: Disk) -> Sign {
        let mib = disk.free_bytes >> 20;
        let is_well = disk.free_bytes >= self.disk_free_bytes.saturating_add(self.disk_free_bytes / 4);
        let text = || format!("{mib} MiB are free where data_dir is.");
        Sign { cause: Cause::Disk, level: level(disk.free_bytes < self.disk_free_bytes, is_well, text) }
    }

    /// Backups. Half an interval late is late.
    pub fn backup(&self, now_ms: i64, backup: &Backup) -> Sign {
        let age = since(backup.last_ms, now_ms);
        let overdue = age > backup.every + backup.every / 2;
        let text = || match &backup.failed {
            Some(reason) => format!("The last backup failed: {reason}."),
            None => format!("The last backup was {} hours ago.", age.as_secs() / 3600),
        };
        let is_bad = overdue || backup.failed.is_some();
        Sign { cause: Cause::Backup, level: level(is_bad, !is_bad, text) }
    }

    /// The oldest erasure that is not done.
    pub fn erasure(&self, now_ms: i64, begun_ms: Option<i64>) -> Sign {
        let age = begun_ms.map_or(Duration::ZERO, |begun_ms| since(begun_ms, now_ms));
        let text =
            || format!("An erasure that was asked for {} hours ago is not done.", age.as_secs() / 3600);
        Sign { cause: Cause::Erasure, level: level(age > ERASURE, begun_ms.is_none(), text) }
    }

    /// The store that nodes share, and what only this node has meanwhile.
    pub fn shared_store(&self, shared: SharedStore) -> Vec<Sign> {
        let away = shared.away;
        let text = || {
            format!(
                "The shared store has been out of reach for {} minutes.",
                minutes(away.unwrap_or_default())
            )
        };
        let single = || format!("{} submissions are on this node only.", shared.single);
        let few = shared.single <= self.single_copy / 2;
        // A second copy that took too long for one answer is there a moment later.
        let many = shared.single > self.single_copy && shared.single_for >= SHARED_STORE;
        [
            (Cause::SharedStore, level(away.is_some_and(|away| away >= SHARED_STORE), away.is_none(), text)),
            (Cause::SingleCopy, level(many, few, single)),
        ]
        .into_iter()
        .map(|(cause, level)| Sign { cause, level })
        .collect()
    }

    /// What Meta says.
    pub fn meta(&self, event: &MetaEvent) -> Sign {
        let level = level(event.stands, !event.stands, || event.text.clone());
        Sign { cause: event.cause.clone(), level }
    }

    /// Whether the store answers and is sound.
    pub fn store(&self, answers: bool, is_damaged: bool) -> Sign {
        let is_well = answers && !is_damaged;
        let told = if is_damaged {
            "The store is damaged. What can be read of it is still delivered."
        } else {
            "The store does not answer."
        };
        Sign { cause: Cause::Store, level: level(!is_well, is_well, || told.to_owned()) }
    }
}

/// The bound below which nine tenths lie, and between two bounds in proportion.
fn p90(buckets: &[(f64, u64)]) -> f64 {
    let all: u64 = buckets.iter().map(|(_, count)| count).sum();
    let wanted = (all * 9).div_ceil(10);
    let (mut below, mut lower) = (0, 0.0);
    for (bound, count) in buckets {
        if *count > 0 && below + count >= wanted {
            // Nothing is known of how far above the last bound they are.
            let upper = if bound.is_finite() { *bound } else { lower };
            #[expect(clippy::cast_precision_loss, reason = "a part of a bucket")]
            let part = wanted.saturating_sub(below) as f64 / *count as f64;
            return lower + (upper - lower) * part;
        }
        below += count;
        lower = if bound.is_finite() { *bound } else { lower };
    }
    0.0
}

#[cfg(test)]
mod tests;

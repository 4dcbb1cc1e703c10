//! What people were told, and what each destination got.
//!
//! Two files, each line synced before what it says counts: before a person is taken to be told, and before a destination
//! answers. A repeated delivery is allowed if its key is the same and there is a reason for it: the process that sent the
//! first one was killed, or the destination kept its answer back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::watch;

/// What a process that was killed has sent may be looked at only now.
const LATE: Duration = Duration::from_secs(1);

/// Both ledgers, and everything that looked wrong on the way.
pub struct Ledger {
    state: Mutex<State>,
    /// Rises with every acknowledgement.
    told: watch::Sender<u64>,
    _folder: TempDir,
}

struct State {
    /// What people were told, and what destinations got.
    files: [File; 2],
    /// Submission by walk, from closing replies.
    acknowledged: BTreeMap<String, String>,
    /// By destination and submission.
    delivered: BTreeMap<(String, String), Delivered>,
    /// Submission and destination by idempotency key.
    keys: BTreeMap<String, (String, String)>,
    life: u64,
    born: Instant,
    repeats: Repeats,
    broken: u64,
    /// The longest that anybody waited for an exchange that came to nothing.
    waited: Duration,
    resent: u64,
    exchanges: Vec<Duration>,
    complaints: Vec<String>,
}

struct Delivered {
    walk: String,
    last: Taken,
}

#[derive(Clone, Copy)]
struct Taken {
    life: u64,
    /// So soon after a process was killed that it may be of that one.
    early: bool,
    answered: bool,
}

/// Deliveries that came again under their key, by the reason.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Repeats {
    /// The process was killed before it could note the first one.
    pub killed: u64,
    /// The destination took the first one and did not say so.
    pub unanswered: u64,
    pub unexplained: u64,
}

impl std::fmt::Display for Repeats {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Repeats { killed, unanswered, unexplained } = self;
        write!(formatter, "{}", killed + unanswered + unexplained)?;
        let parts = [(killed, "killed"), (unanswered, "not answered"), (unexplained, "unexplained")];
        let parts: Vec<_> =
            parts.iter().filter(|(n, _)| **n > 0).map(|(n, why)| format!("{n} {why}")).collect();
        if parts.is_empty() { Ok(()) } else { write!(formatter, " ({})", parts.join(", ")) }
    }
}

/// One delivery as a destination reads it.
pub struct Delivery<'a> {
    pub destination: &'a str,
    pub key: &'a str,
    pub submission: &'a str,
    pub walk: &'a str,
    pub name: &'a str,
}

impl Default for Ledger {
    fn default() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let files = ["people", "destinations"].map(|name| {
            let path = folder.path().join(name);
            File::options().create_new(true).append(true).open(path).expect("a ledger")
        });
        let state = State {
            files,
            acknowledged: BTreeMap::new(),
            delivered: BTreeMap::new(),
            keys: BTreeMap::new(),
            life: 0,
            born: Instant::now(),
            repeats: Repeats::default(),
            broken: 0,
            waited: Duration::ZERO,
            resent: 0,
            exchanges: Vec::new(),
            complaints: Vec::new(),
        };
        Self { state: Mutex::new(state), told: watch::Sender::default(), _folder: folder }
    }
}

impl State {
    fn write(&mut self, file: usize, line: &str) {
        let written = writeln!(self.files[file], "{line}").and_then(|()| self.files[file].sync_data());
        written.expect("the ledger is on disk");
    }
}

impl Ledger {
    /// A phone opened a closing reply with this submission.
    pub fn acknowledge(&self, walk: &str, submission: &str) {
        let mut state = self.state();
        state.write(0, &format!("{walk} {submission}"));
        let known = state.acknowledged.insert(walk.to_owned(), submission.to_owned());
        if let Some(known) = known.filter(|known| known != submission) {
            state.complaints.push(format!("{walk} was told {known} and later {submission}"));
        }
        drop(state);
        self.told.send_modify(|told| *told += 1);
    }

    /// Waits for `count` further acknowledgements.
    pub async fn until_acknowledged(&self, count: u64) {
        let mut told = self.told.subscribe();
        let enough = told.borrow_and_update().saturating_add(count);
        // The sender lives as long as this ledger.
        drop(told.wait_for(|told| *told >= enough).await);
    }

    /// Waits until so many have been acknowledged in all.
    pub async fn until_told(&self, count: u64) {
        drop(self.told.subscribe().wait_for(|told| *told >= count).await);
    }

    /// Another process serves from now on.
    pub fn new_life(&self) {
        let mut state = self.state();
        state.life += 1;
        state.born = Instant::now();
    }

    /// A signed delivery arrived; `answered` is whether the destination is going to say so.
    pub fn deliver(&self, delivery: &Delivery<'_>, answered: bool) {
        let Delivery { destination, key, submission, walk, name } = *delivery;
        let mut state = self.state();
        state.write(1, &format!("{destination} {key} {submission} {answered}"));
        let taken = Taken { life: state.life, early: state.born.elapsed() < LATE, answered };
        let place = (destination.to_owned(), submission.to_owned());
        let before = state.delivered.get(&place).map(|delivered| (delivered.walk.clone(), delivered.last));
        match state.keys.insert(key.to_owned(), place.clone()) {
            Some(known) if known == place => {}
            Some(known) => {
                state.complaints.push(format!("key {key} was of {known:?} and is now of {place:?}"));
            }
            None if before.is_some() => {
                state.complaints.push(format!("{submission} came under a second key, {key}"));
            }
            None => {}
        }
        if let Some((other, last)) = before {
            if other != walk {
                state.complaints.push(format!("{submission} was of {other} and is now of {walk}"));
            }
            if !last.answered {
                state.repeats.unanswered += 1;
            } else if last.life != taken.life || last.early {
                state.repeats.killed += 1;
            } else {
                state.repeats.unexplained += 1;
            }
        }
        state.delivered.insert(place, Delivered { walk: walk.to_owned(), last: taken });
        // Each person answers with the name of the walk.
        if name != walk {
            state.complaints.push(format!("{submission} of {walk} has the answer {name}"));
        }
    }

    /// Something that must not happen.
    pub fn complain(&self, what: String) {
        self.state().complaints.push(what);
    }

    /// An exchange was cut off, or refused, after so long.
    pub fn broke(&self, waited: Duration) {
        let mut state = self.state();
        state.broken += 1;
        state.waited = state.waited.max(waited);
    }

    /// The longest that anybody waited for an exchange that was cut off or refused.
    pub fn longest_wait(&self) -> Duration {
        self.state().waited
    }

    /// A request whose reply was lost was sent again and answered.
    pub fn resent(&self) {
        self.state().resent += 1;
    }

    /// A request was answered after this time.
    pub fn exchanged(&self, took: Duration) {
        self.state().exchanges.push(took);
    }

    /// How long requests took since this was asked before.
    pub fn exchanges(&self) -> Vec<Duration> {
        std::mem::take(&mut self.state().exchanges)
    }

    pub fn broken_and_resent(&self) -> (u64, u64) {
        let state = self.state();
        (state.broken, state.resent)
    }

    /// The submissions that people were told.
    pub fn acknowledged(&self) -> BTreeSet<String> {
        self.state().acknowledged.values().cloned().collect()
    }

    /// The submission of each walk that people were told.
    pub fn told(&self) -> BTreeMap<String, String> {
        self.state().acknowledged.clone()
    }

    /// Which of these a destination has not got.
    pub fn missing<'a>(
        &self,
        destination: &str,
        submissions: impl IntoIterator<Item = &'a String>,
    ) -> Vec<String> {
        let state = self.state();
        let has = |id: &String| state.delivered.contains_key(&(destination.to_owned(), id.clone()));
        submissions.into_iter().filter(|id| !has(id)).cloned().collect()
    }

    /// How many submissions a destination has got.
    pub fn count(&self, destination: &str) -> usize {
        self.state().delivered.keys().filter(|(to, _)| to == destination).count()
    }

    pub fn repeats(&self) -> Repeats {
        self.state().repeats
    }

    /// Everything that looked wrong: also two submissions of one walk, which nobody asked for.
    pub fn complaints(&self) -> Vec<String> {
        let state = self.state();
        let mut complaints = state.complaints.clone();
        let mut by_walk = BTreeMap::<&str, BTreeSet<&str>>::new();
        for ((_, submission), delivered) in &state.delivered {
            by_walk.entry(&delivered.walk).or_default().insert(submission);
        }
        let twice = by_walk.iter().filter(|(_, submissions)| submissions.len() > 1);
        complaints
            .extend(twice.map(|(walk, submissions)| format!("{walk} was submitted as {submissions:?}")));
        complaints
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }
}

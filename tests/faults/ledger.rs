//! What people were told, and what the destination got.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;

/// Both ledgers, and everything that looked wrong on the way.
#[derive(Default)]
pub struct Ledger {
    state: Mutex<State>,
    /// Rises with every acknowledgement.
    told: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Submission by walk, from closing replies.
    acknowledged: BTreeMap<String, String>,
    /// Walk by submission, from deliveries.
    delivered: BTreeMap<String, String>,
    /// Submission by idempotency key.
    keys: BTreeMap<String, String>,
    repeated: u64,
    broken: u64,
    resent: u64,
    complaints: Vec<String>,
}

impl Ledger {
    /// A phone opened a closing reply with this submission.
    pub fn acknowledge(&self, walk: &str, submission: &str) {
        let mut state = self.state();
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

    /// A signed delivery arrived.
    pub fn deliver(&self, key: &str, submission: &str, walk: &str, name: &str) {
        let mut state = self.state();
        match state.keys.insert(key.to_owned(), submission.to_owned()) {
            Some(known) if known == submission => state.repeated += 1,
            Some(known) => {
                state.complaints.push(format!("key {key} was of {known} and is now of {submission}"));
            }
            None => {
                if state.delivered.contains_key(submission) {
                    state.complaints.push(format!("{submission} came under a second key, {key}"));
                }
            }
        }
        if let Some(other) = state.delivered.insert(submission.to_owned(), walk.to_owned())
            && other != walk
        {
            state.complaints.push(format!("{submission} was of {other} and is now of {walk}"));
        }
        // Each person answers with the name of the walk.
        if name != walk {
            state.complaints.push(format!("{submission} of {walk} has the answer {name}"));
        }
    }

    /// Something that must not happen.
    pub fn complain(&self, what: String) {
        self.state().complaints.push(what);
    }

    /// An exchange was cut off.
    pub fn broke(&self) {
        self.state().broken += 1;
    }

    /// A request whose reply was lost was sent again and answered.
    pub fn resent(&self) {
        self.state().resent += 1;
    }

    pub fn broken_and_resent(&self) -> (u64, u64) {
        let state = self.state();
        (state.broken, state.resent)
    }

    /// The submissions that people were told.
    pub fn acknowledged(&self) -> BTreeSet<String> {
        self.state().acknowledged.values().cloned().collect()
    }

    pub fn is_delivered(&self, submission: &str) -> bool {
        self.state().delivered.contains_key(submission)
    }

    /// Deliveries that came again under their key.
    pub fn repeated(&self) -> u64 {
        self.state().repeated
    }

    /// Everything that looked wrong: also two submissions of one walk, which nobody asked for.
    pub fn complaints(&self) -> Vec<String> {
        let state = self.state();
        let mut complaints = state.complaints.clone();
        let mut by_walk = BTreeMap::<&str, Vec<&str>>::new();
        for (submission, walk) in &state.delivered {
            by_walk.entry(walk).or_default().push(submission);
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

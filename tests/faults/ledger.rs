//! What people were told, and what each destination got.
//!
//! Two files, each line synced before what it says counts: before a person is taken to be told, and before a destination
//! answers. A repeated delivery is allowed if its key is the same and there is a reason for it: the destination kept its
//! answer back, or the process died with the delivery in hand. A process has no more in hand of a destination than it has
//! slots: what is above that number has no reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::reasons::{Repeats, excuse};
use super::riddle::Riddle;

/// What a process has sent may be looked at so long after its death. It is seen then that nobody waits for an answer.
const LATE: Duration = Duration::from_secs(1);
/// How long an answer may take to be noted: a commit on a busy disk. The longest that was seen on two cores is 240 ms.
const NOTED_WITHIN: Duration = Duration::from_millis(500);
/// The same where Redis notes it first, and the journals of three nodes are on one disk.
const NOTED_BY_NODES_WITHIN: Duration = Duration::from_secs(1);
/// Attempts that a process makes at one time of one destination.
pub const SLOTS: u64 = 8;

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
    upsets: Vec<Upset>,
    noted_within: Duration,
    broken: u64,
    /// The longest that anybody waited for an exchange that came to nothing.
    waited: Duration,
    resent: u64,
    exchanges: Vec<Duration>,
    complaints: Vec<String>,
}

struct Delivered {
    walk: String,
    copies: Vec<Copy>,
}

/// A delivery as it came once.
struct Copy {
    arrived: Instant,
    end: End,
}

/// What became of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The destination has it in hand.
    Open,
    /// It was taken, and nobody is told so.
    KeptBack,
    /// Whoever had sent it was gone before the answer.
    HungUp(Instant),
    Answered(Instant),
}

/// Why what was in hand may come again: a process has died, or Redis has lost who holds what.
struct Upset {
    what: &'static str,
    began: Instant,
    ended: Instant,
    /// Attempts of a destination that can be in hand.
    slots: u64,
}

impl Upset {
    /// Whether it met this one after its arrival and before its outcome was surely written down.
    fn met(&self, copy: &Copy, noted_within: Duration) -> bool {
        let (from, until) = match copy.end {
            End::KeptBack => return false,
            End::Open => return self.ended >= copy.arrived,
            // Whoever had sent it was dead by then: a later death is another's.
            End::HungUp(at) => (copy.arrived.checked_sub(LATE).unwrap_or(copy.arrived), at),
            End::Answered(at) => (copy.arrived, at + noted_within),
        };
        self.ended >= from && self.began <= until
    }
}

/// Which delivery of which submission a destination has in hand.
pub struct Receipt {
    place: (String, String),
    copy: usize,
}

/// One delivery as a destination reads it.
pub struct Delivery<'a> {
    pub destination: &'a str,
    pub key: &'a str,
    pub submission: &'a str,
    pub walk: &'a str,
    /// All of them, as they came.
    pub answers: &'a Value,
}

/// What the person of a walk chooses on the second screen, by its id and its label.
pub fn colour(walk: &str) -> (&'static str, &'static str) {
    let sum = walk.bytes().map(u32::from).sum::<u32>();
    if sum.is_multiple_of(2) { ("r", "Red") } else { ("b", "Blue") }
}

/// All that a destination is to get of the answers of a walk.
pub fn answers(walk: &str) -> Value {
    let (id, label) = colour(walk);
    json!([
        {"key": "name", "question": "Name", "type": "short_text", "value": walk, "text": walk},
        {"key": "colour", "question": "Colour", "type": "single_choice", "value": id, "text": label},
    ])
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
            upsets: Vec::new(),
            noted_within: NOTED_WITHIN,
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
    /// What has met this one before it came again, by its number: those after its arrival, or else the last before that.
    fn met(&self, copy: &Copy, next: Option<&Copy>) -> Vec<usize> {
        let in_time = |upset: &Upset| next.is_none_or(|next| upset.began <= next.arrived);
        let met = self
            .upsets
            .iter()
            .enumerate()
            .filter(|(_, upset)| upset.met(copy, self.noted_within) && in_time(upset));
        let (after, before): (Vec<_>, Vec<_>) = met.partition(|(_, upset)| upset.ended >= copy.arrived);
        let met = if after.is_empty() { before.into_iter().next_back().into_iter().collect() } else { after };
        met.into_iter().map(|(number, _)| number).collect()
    }

    /// A repeat that nobody can explain, with what happened around both.
    fn riddle(&self, place: (&str, &str), copy: &Copy, next: &Copy) -> Riddle {
        let since = |at: Instant| at.saturating_duration_since(copy.arrived);
        let end = match copy.end {
            End::Open => "open".to_owned(),
            End::KeptBack => "not answered".to_owned(),
            End::HungUp(at) => format!("hung up after {:?}", since(at)),
            End::Answered(at) => format!("answered after {:?}", since(at)),
        };
        let around = |at: Instant| {
            let before = self.upsets.iter().rfind(|upset| upset.ended < at);
            let before = before.map(|upset| (upset.what, at - upset.ended));
            let after = self.upsets.iter().find(|upset| upset.ended >= at);
            let after = after.map(|upset| (upset.what, since(upset.began), since(upset.ended)));
            format!("before it {before:?}, after it {after:?}")
        };
        let is_it = |of: &&(String, String)| (of.0.as_str(), of.1.as_str()) == place;
        let key = self.keys.iter().find_map(|(key, of)| is_it(&of).then(|| key.clone())).unwrap_or_default();
        let text = format!(
            "{} {end} ({}), came again after {:?} ({})",
            place.0,
            around(copy.arrived),
            since(next.arrived),
            around(next.arrived)
        );
        Riddle::new(key, [copy.arrived, next.arrived], text)
    }

    fn write(&mut self, file: usize, line: &str) {
        let written = writeln!(self.files[file], "{line}").and_then(|()| self.files[file].sync_data());
        written.expect("the ledger is on disk");
    }
}

impl Ledger {
    /// Of what several nodes deliver.
    pub fn of_nodes() -> Ledger {
        let ledger = Ledger::default();
        ledger.state().noted_within = NOTED_BY_NODES_WITHIN;
        ledger
    }

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

    /// A process has died, at some time since then.
    pub fn died(&self, began: Instant) {
        self.upset("a process died", began, Instant::now(), SLOTS);
    }

    /// Redis was away since then, or has lost what each of so many nodes has in hand: what is not a node's own cannot be
    /// noted meanwhile.
    pub fn leases_lost(&self, what: &'static str, began: Instant, nodes: usize) {
        // What was claimed before may be on its way.
        self.upset(what, began, Instant::now() + NOTED_WITHIN, SLOTS * nodes as u64);
    }

    fn upset(&self, what: &'static str, began: Instant, ended: Instant, slots: u64) {
        self.state().upsets.push(Upset { what, began, ended, slots });
    }

    /// A signed delivery has arrived.
    pub fn deliver(&self, delivery: &Delivery<'_>, arrived: Instant) -> Receipt {
        let Delivery { destination, key, submission, walk, answers } = *delivery;
        let mut state = self.state();
        state.write(1, &format!("{destination} {key} {submission}"));
        let place = (destination.to_owned(), submission.to_owned());
        let before = state.delivered.get(&place).map(|delivered| delivered.walk.clone());
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
        if let Some(other) = before.filter(|other| other != walk) {
            state.complaints.push(format!("{submission} was of {other} and is now of {walk}"));
        }
        if *answers != self::answers(walk) {
            state.complaints.push(format!("{submission} of {walk} has the answers {answers}"));
        }
        let delivered = state.delivered.entry(place.clone());
        let delivered = delivered.or_insert_with(|| Delivered { walk: String::new(), copies: Vec::new() });
        walk.clone_into(&mut delivered.walk);
        delivered.copies.push(Copy { arrived, end: End::Open });
        Receipt { place, copy: delivered.copies.len() - 1 }
    }

    /// What became of it.
    pub fn end(&self, receipt: &Receipt, end: End) {
        let mut state = self.state();
        let copies = state.delivered.get_mut(&receipt.place).map(|delivered| &mut delivered.copies);
        copies.expect("it was delivered")[receipt.copy].end = end;
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

    /// What came more than once, and why.
    pub fn repeats(&self) -> Repeats {
        self.repeats_and_riddles().0
    }

    /// Each repeat has a reason, and none has more than it can have.
    pub fn assert_repeats_explained(&self) {
        let (repeats, riddles) = self.repeats_and_riddles();
        assert_eq!(repeats.unexplained, 0, "delivered again for no reason: {repeats}: {riddles:#?}");
    }

    /// Repeats that nothing explains.
    pub fn riddles(&self) -> Vec<Riddle> {
        self.repeats_and_riddles().1
    }

    fn repeats_and_riddles(&self) -> (Repeats, Vec<Riddle>) {
        let state = self.state();
        let (mut repeats, mut riddles) = (Repeats::default(), Vec::new());
        // By upset and destination: what was in hand. And what of it came again.
        let mut in_hand = BTreeMap::<(usize, &str), u64>::new();
        let mut again = Vec::new();
        for ((destination, submission), Delivered { copies, .. }) in &state.delivered {
            for (number, copy) in copies.iter().enumerate() {
                let next = copies.get(number + 1);
                if copy.end == End::KeptBack {
                    repeats.unanswered += u64::from(next.is_some());
                    repeats.at_most += 1;
                    continue;
                }
                let met = state.met(copy, next);
                for upset in &met {
                    *in_hand.entry((*upset, destination)).or_default() += 1;
                }
                let Some(next) = next else { continue };
                if let End::Answered(at) = copy.end {
                    let unnoted =
                        met.iter().map(|upset| state.upsets[*upset].began.saturating_duration_since(at));
                    repeats.longest_unnoted = repeats.longest_unnoted.max(unnoted.min().unwrap_or_default());
                }
                again.push(((destination.as_str(), submission.as_str()), met, copy, next));
            }
        }
        // One may have met several deaths that follow each other quickly, and is excused by any of them that has a slot left.
        let mut excused = BTreeMap::<(usize, &str), Vec<usize>>::new();
        for number in 0..again.len() {
            let wanted = |number: usize| (again[number].0.0, again[number].1.as_slice());
            let slots = |upset: usize| state.upsets[upset].slots as usize;
            let mut tried = BTreeSet::new();
            if excuse(number, &wanted, &slots, &mut excused, &mut tried) {
                repeats.killed += 1;
            } else {
                repeats.unexplained += 1;
                let at = |upset: &usize| excused.get(&(*upset, again[number].0.0)).into_iter().flatten();
                riddles.push((number, tried.iter().flat_map(at).copied().collect::<BTreeSet<_>>()));
            }
        }
        // Any of those that have taken all its excuses may be the one that has none.
        let told = |number: &usize| {
            let (place, _, copy, next) = &again[*number];
            state.riddle(*place, copy, next)
        };
        let riddles = riddles.iter().map(|(number, rivals)| told(number).among(rivals.iter().map(told)));
        let riddles = riddles.collect();
        let slots = in_hand.iter().map(|((upset, _), all)| (*all).min(state.upsets[*upset].slots));
        repeats.at_most += slots.sum::<u64>();
        (repeats, riddles)
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

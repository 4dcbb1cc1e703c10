//! An outbox on a real file with a clock in the test's hand and destinations that behave as told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use formgate::crypto::MacKey;
use formgate::outbox::{
    Answer, Attempting, Call, Clock, Contact, DeliveryKey, DeliveryView, Destination, DestinationId, Form,
    Outbox, Outcome, Pace, RetryPolicy, SealBody, Sleep, Submission, SubmissionId, Unsealable, Worker,
};
use formgate::store::{DeliveryState, Options, Store};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::store_model::backend::{Backend, Kind};

/// How long anything here may take in real time.
const PATIENCE: Duration = Duration::from_secs(60);

/// 2026-11-24T12:00:00Z.
const START_MS: i64 = 1_795_521_600_000;

/// Time that stands still until it is advanced.
pub struct ManualClock(watch::Sender<i64>);

impl ManualClock {
    pub fn new() -> Self {
        Self(watch::Sender::new(START_MS))
    }

    pub fn advance(&self, by_ms: i64) {
        self.0.send_modify(|now_ms| *now_ms += by_ms);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        *self.0.borrow()
    }

    fn sleep_until_ms(&self, at_ms: i64) -> Sleep<'_> {
        let mut now = self.0.subscribe();
        Box::pin(async move { drop(now.wait_for(|now_ms| *now_ms >= at_ms).await) })
    }
}

/// Not a cipher: enough to see that the outbox seals, and under which context.
pub struct Inverting;

impl SealBody for Inverting {
    fn seal(&self, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
        [context, plaintext].concat().iter().map(|byte| !byte).collect()
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let opened: Vec<u8> = sealed.iter().map(|byte| !byte).collect();
        opened.strip_prefix(context).map(<[u8]>::to_vec).ok_or(Unsealable::Damaged)
    }
}

#[derive(Clone)]
pub enum Behaviour {
    Answers(Outcome),
    Hangs,
    PanicsOn(SubmissionId),
    WaitsFor(watch::Receiver<bool>),
    /// Delivers after a time on the test's clock.
    Takes(Arc<ManualClock>, i64),
}

impl Behaviour {
    pub fn delivers() -> Self {
        Self::Answers(Outcome::delivered(Some(200)))
    }

    pub fn answers(outcome: Outcome) -> Self {
        Self::Answers(outcome)
    }
}

pub struct Puppet {
    pub id: DestinationId,
    pub account: Option<&'static str>,
    pub calls: Mutex<Vec<(SubmissionId, DeliveryKey, u32)>>,
    pub started: AtomicUsize,
    behaviour: Mutex<Behaviour>,
}

impl Puppet {
    pub fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().expect("a behaviour") = behaviour;
    }
}

impl Destination for Puppet {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn account(&self) -> std::borrow::Cow<'_, str> {
        self.account.unwrap_or(self.id.as_str()).into()
    }

    fn deliver<'a>(&'a self, call: Call<'a>) -> Attempting<'a> {
        Box::pin(async move {
            self.calls.lock().expect("calls").push((call.submission.id, call.key, call.attempt));
            self.started.fetch_add(1, Ordering::SeqCst);
            let behaviour = self.behaviour.lock().expect("a behaviour").clone();
            match behaviour {
                Behaviour::Answers(outcome) => outcome,
                Behaviour::Hangs => std::future::pending().await,
                Behaviour::PanicsOn(id) if id == call.submission.id => panic!("poison, as the test wants it"),
                Behaviour::PanicsOn(_) => Outcome::delivered(None),
                Behaviour::Takes(clock, ms) => {
                    let until_ms = clock.now_ms() + ms;
                    clock.sleep_until_ms(until_ms).await;
                    Outcome::delivered(None)
                }
                Behaviour::WaitsFor(mut released) => {
                    drop(released.wait_for(|released| *released).await);
                    Outcome::delivered(None)
                }
            }
        })
    }
}

/// A running worker.
pub struct Working {
    pub shutdown: watch::Sender<bool>,
    worker: JoinHandle<()>,
}

impl Working {
    pub async fn stop(self) {
        self.shutdown.send_replace(true);
        tokio::time::timeout(PATIENCE, self.worker).await.expect("it ends").expect("no panic");
    }

    pub fn has_ended(&self) -> bool {
        self.worker.is_finished()
    }

    pub fn kill(self) {
        self.worker.abort();
    }
}

/// An outbox and all it stands on.
pub struct Home {
    /// Where its files are, if the store is the embedded one.
    pub folder: TempDir,
    pub clock: Arc<ManualClock>,
    pub store: Store,
    pub outbox: Outbox,
    /// What a store that nodes share stands on.
    pub shared: Option<Backend>,
}

impl Home {
    pub fn new() -> Self {
        Self::at(TempDir::new().expect("a folder"), Arc::new(ManualClock::new()))
    }

    fn at(folder: TempDir, clock: Arc<ManualClock>) -> Self {
        let store = Store::open_embedded(&Options::new(folder.path())).expect("the store opens");
        Self::over(store, folder, clock, None)
    }

    /// The same on either kind of store.
    pub async fn on(kind: Kind) -> Self {
        if kind == Kind::Embedded {
            return Self::new();
        }
        let backend = Backend::start(kind).await;
        let clock = Arc::new(ManualClock::new());
        Self::over(backend.store().clone(), TempDir::new().expect("a folder"), clock, Some(backend))
    }

    fn over(store: Store, folder: TempDir, clock: Arc<ManualClock>, shared: Option<Backend>) -> Self {
        let outbox = Outbox::new(store.clone(), Arc::new(Inverting), Arc::<ManualClock>::clone(&clock));
        let index = MacKey::from_bytes(&[7; 32]).expect("32 bytes");
        // On a busy machine three seconds are over soon.
        let outbox = outbox.indexed(Arc::new(index)).accepting_within(PATIENCE);
        Self { folder, clock, store, outbox, shared }
    }

    /// What another process finds after this one died on the spot.
    pub fn crash(&self) -> Self {
        let files = ["store.sqlite3", "store.sqlite3-wal"];
        let read = || files.map(|file| std::fs::read(self.folder.path().join(file)).expect("a file"));
        // The store's writer is a thread of its own: both files have to be of one moment.
        let mut found = read();
        loop {
            let again = read();
            if found == again {
                break;
            }
            found = again;
        }
        let folder = TempDir::new().expect("a folder");
        for (file, bytes) in files.iter().zip(found) {
            std::fs::write(folder.path().join(file), bytes).expect("a copy");
        }
        Self::at(folder, Arc::clone(&self.clock))
    }

    /// The same folder under a new process, the file of the old one folded together and changed in between.
    pub async fn reopened(self, change: impl FnOnce(&std::path::Path)) -> Self {
        self.store.close().await.expect("a clean close");
        let Self { folder, clock, .. } = self;
        change(&folder.path().join("store.sqlite3"));
        Self::at(folder, clock)
    }

    pub fn destination(&self, id: &str, behaviour: Behaviour) -> Arc<Puppet> {
        self.destination_of(None, id, behaviour)
    }

    pub fn destination_of(
        &self,
        account: Option<&'static str>,
        id: &str,
        behaviour: Behaviour,
    ) -> Arc<Puppet> {
        Arc::new(Puppet {
            id: DestinationId::new(id).expect("an id"),
            account,
            calls: Mutex::default(),
            started: AtomicUsize::new(0),
            behaviour: Mutex::new(behaviour),
        })
    }

    pub fn work<D: Destination + 'static>(&self, destinations: &[Arc<D>]) -> Working {
        self.work_at(destinations, Pace::default())
    }

    pub fn work_at<D: Destination + 'static>(&self, destinations: &[Arc<D>], pace: Pace) -> Working {
        let all = destinations.iter().map(|destination| Arc::clone(destination) as Arc<dyn Destination>);
        let worker = Worker::new(self.outbox.clone(), all.collect(), RetryPolicy::default());
        let worker = destinations
            .iter()
            .fold(worker, |worker, destination| worker.pacing(destination.id().clone(), pace.clone()));
        let (shutdown, stop) = watch::channel(false);
        Working { shutdown, worker: tokio::spawn(worker.run(stop)) }
    }

    /// Gives the worker's tasks a moment.
    pub async fn pause(&self) {
        sleep(Duration::from_millis(5)).await;
    }

    /// Gives the worker's lanes the time to find that nothing more may begin now.
    pub async fn rest(&self) {
        sleep(Duration::from_millis(200)).await;
    }

    pub async fn until(&self, holds: impl Fn() -> bool) {
        let give_up = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < give_up, "it never came to hold");
            self.pause().await;
        }
    }

    pub async fn until_async<F: Future<Output = bool>>(&self, holds: impl Fn() -> F) {
        let give_up = Instant::now() + PATIENCE;
        while !holds().await {
            assert!(Instant::now() < give_up, "it never came to hold");
            self.pause().await;
        }
    }

    pub async fn until_state(&self, key: [u8; 16], state: DeliveryState) {
        let give_up = Instant::now() + PATIENCE;
        while self.store.delivery(key).await.expect("a read").map(|delivery| delivery.state) != Some(state) {
            assert!(Instant::now() < give_up, "it never became {state:?}");
            self.pause().await;
        }
    }

    /// Waits until the deliveries of a submission, by destination, are in these states.
    pub async fn settled(&self, id: SubmissionId, states: &[DeliveryState]) {
        self.wait_for(id, states, 0).await;
    }

    /// The same, while time goes on.
    pub async fn settled_in_time(&self, id: SubmissionId, states: &[DeliveryState]) {
        self.wait_for(id, states, 1_800_000).await;
    }

    async fn wait_for(&self, id: SubmissionId, states: &[DeliveryState], step_ms: i64) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let shown = self.outbox.show(id).await.expect("a read").expect("a submission");
            let mut found: Vec<_> =
                shown.deliveries.iter().map(|view| (&view.destination, view.state)).collect();
            found.sort_by_key(|(destination, _)| *destination);
            if found.iter().map(|(_, state)| *state).eq(states.iter().copied()) {
                return;
            }
            assert!(Instant::now() < give_up, "{found:?}");
            // Only while nothing is under way or about to be: a lease must not run out because the test is quicker than
            // the worker. What is due later cannot be claimed between this look and the step.
            let now_ms = self.clock.now_ms();
            let rests = |view: &DeliveryView| match view.state {
                DeliveryState::Leased => false,
                DeliveryState::Due => view.at_ms > now_ms,
                _ => true,
            };
            if shown.deliveries.iter().all(rests) {
                self.clock.advance(step_ms);
            }
            self.pause().await;
        }
    }
}

pub fn crm() -> DestinationId {
    DestinationId::new("crm").expect("an id")
}

pub trait SubmissionExt {
    fn anonymous(self) -> Self;
}

impl SubmissionExt for Submission {
    /// As little as a submission can hold.
    fn anonymous(mut self) -> Self {
        (self.contact, self.linked_to, self.replaces, self.ending) = (None, None, None, None);
        self.source.clear();
        self.hidden.clear();
        self.variables.clear();
        self
    }
}

pub fn answer(key: &str, question: &str, kind: &str, value: serde_json::Value, text: &str) -> Answer {
    let [key, question, kind, text] = [key, question, kind, text].map(str::to_owned);
    Answer { key, question, kind, value, text, other: None }
}

/// One of many: `submission` has a number for each of 256 only.
pub fn one_of_many(number: u32) -> Submission {
    let mut bytes = [3; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Submission { id: SubmissionId::new(Uuid::new_v8(bytes)), ..submission(0) }
}

pub fn submission(number: u8) -> Submission {
    let text = |text: &str| text.to_owned();
    Submission {
        id: SubmissionId::new(Uuid::new_v8([number; 16])),
        flow_id: text("contact"),
        flow_version: 3,
        form: Form { tool: text("typeform"), id: text("lR6F4j"), title: text("Contact") },
        flow_token: text("token-canary"),
        contact: Some(Contact { phone: Some(text("+393331234567")), user_id: None }),
        started_at_ms: START_MS,
        completed_at_ms: START_MS + 61_234,
        locale: text("it"),
        source: BTreeMap::from([(text("campaign"), text("autumn"))]),
        hidden: BTreeMap::from([(text("ref"), text("42"))]),
        variables: BTreeMap::from([(text("score"), json!(7))]),
        test: false,
        linked_to: Some(SubmissionId::new(Uuid::new_v8([255; 16]))),
        replaces: Some(SubmissionId::new(Uuid::new_v8([254; 16]))),
        replaced_by: None,
        walk: None,
        ending: Some(text("default")),
        answers: vec![
            answer("q1", "Your name?", "short_text", json!("Ada Lovelace"), "Ada Lovelace"),
            answer("q2", "E-mail", "email", json!("ada@example.com"), "ada@example.com"),
            answer("q3", "Colours", "multiple_choice", json!(["r", "g"]), "Red, Green"),
            answer("q4", "How many?", "number", json!(3), "3"),
            answer("q5", "Agree?", "yes_no", json!(true), "Yes"),
        ],
    }
}

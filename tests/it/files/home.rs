//! An outbox that fetches from file servers in the test's hand, at a time in the test's hand.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use formgate::client::{AddressPolicy, Client};
use formgate::crypto::{MasterKey, MasterKeys, Purpose, Sealer, Vault};
use formgate::form::FileLimits;
use formgate::outbox::{Answer, Clock, FileSettings, Files, Form, Outbox, Sleep, Submission, SubmissionId};
use formgate::player::media::Encrypted;
use formgate::sandbox::Media;
use formgate::store::{Options, Scan, Store, Table};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// 2026-11-24T12:00:00Z.
const START_MS: i64 = 1_795_521_600_000;
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Time that stands still until it is advanced.
pub struct ManualClock(watch::Sender<i64>);

impl ManualClock {
    pub fn advance(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).expect("a time");
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

/// What differs from one test to the next.
pub struct Setup {
    pub hosts: Vec<String>,
    pub policy: AddressPolicy,
    pub deadline: Duration,
    pub client: Client,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            hosts: vec!["127.0.0.1".to_owned()],
            policy: AddressPolicy::AllowPrivateNetwork,
            deadline: PATIENCE,
            client: Client::new(),
        }
    }
}

pub struct Home {
    pub folder: TempDir,
    pub clock: Arc<ManualClock>,
    pub media: Media,
    pub servers: String,
    master: MasterKey,
    _stop: watch::Sender<bool>,
}

/// A process on it.
pub struct Running {
    pub outbox: Outbox,
    pub store: Store,
    shutdown: watch::Sender<bool>,
    fetcher: JoinHandle<()>,
}

impl Running {
    pub async fn stop(self) {
        self.shutdown.send_replace(true);
        tokio::time::timeout(PATIENCE, self.fetcher).await.expect("it ends").expect("no panic");
        self.store.close().await.expect("it closes");
    }

    /// Accepts a submission of these uploads; its id.
    pub async fn accept(&self, uploads: &[Value], limits: &FileLimits) -> SubmissionId {
        let mut items = uploads.to_vec();
        items.iter_mut().for_each(|item| item["limits"] = json!(limits));
        let id = SubmissionId::new(Uuid::from_u128(rand::random()));
        let answer = Answer {
            key: "photo".into(),
            question: "A photo".into(),
            kind: "file".into(),
            value: items.into(),
            text: "a.pdf".into(),
            other: None,
        };
        let submission = Submission {
            id,
            flow_id: "contact".into(),
            flow_version: 1,
            form: Form { tool: "form".into(), id: "f".into(), title: "F".into() },
            flow_token: "unused".into(),
            contact: None,
            started_at_ms: START_MS,
            completed_at_ms: START_MS,
            locale: "en".into(),
            source: Default::default(),
            hidden: Default::default(),
            variables: Default::default(),
            test: false,
            linked_to: None,
            replaces: None,
            replaced_by: None,
            walk: None,
            ending: None,
            answers: vec![answer],
        };
        self.outbox.accept(&submission, &[], &rand::random(), vec![1]).await.expect("accepted");
        id
    }

    /// What is told of the files of a submission.
    pub async fn told(&self, id: SubmissionId) -> Vec<Value> {
        let submission = self.outbox.submission(id).await.expect("a store").expect("a submission");
        submission.answers[0].value.as_array().expect("files").clone()
    }

    /// The same, once nothing is pending.
    pub async fn settled(&self, id: SubmissionId) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let told = self.told(id).await;
            if told.iter().all(|file| file.get("pending").is_none()) {
                return told;
            }
            assert!(Instant::now() < until, "still pending: {told:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The content behind a link.
    pub async fn content(&self, told: &Value) -> Vec<u8> {
        let url = told["url"].as_str().expect("a link");
        let token = url.rsplit('/').next().expect("a token");
        let mut download = self.outbox.download(token).await.expect("a file");
        let mut content = Vec::new();
        while let Some(piece) = download.pieces.recv().await {
            content.extend_from_slice(&piece);
        }
        assert_eq!(content.len() as u64, download.size_bytes);
        content
    }
}

/// Time that goes from one attempt to fetch a file to the next, and stands still while one is due or under way.
pub struct Attempts<'a> {
    home: &'a Home,
    running: &'a Running,
    name: String,
    /// Attempts that never reached the file's server.
    lost: usize,
}

impl<'a> Attempts<'a> {
    /// Of the one file that is pending there.
    pub fn of(home: &'a Home, running: &'a Running, upload: &Value) -> Self {
        Self { home, running, name: upload["media_id"].as_str().expect("an id").to_owned(), lost: 0 }
    }

    /// When the next attempt is due, or one under way is given up; and how many there were.
    async fn job(&self) -> Option<(i64, usize)> {
        let scan = Scan { limit: 1, ..Scan::default() };
        let (key, record) = self.running.store.scan(Table::Job, scan).await.expect("a store").pop()?;
        // Time and submission stand at the end of the key.
        let due_ms = key[key.len() - 24..].first_chunk().copied().map(i64::from_be_bytes).expect("a time");
        let attempts = record.value.as_slice().try_into().map(u32::from_be_bytes).expect("a number");
        Some((due_ms, attempts as usize))
    }

    /// Goes on to the next attempt, but not beyond this moment. `true` if there is none until then.
    pub async fn go_on(&mut self, until_ms: i64) -> bool {
        let begun = Instant::now();
        loop {
            let Some((due_ms, attempts)) = self.job().await else { return true };
            let asked = self.home.media.fetched().iter().filter(|asked| **asked == self.name).count();
            if due_ms > self.home.clock.now_ms() && asked + self.lost < attempts {
                if begun.elapsed() > Duration::from_secs(5) {
                    self.lost = attempts - asked;
                }
            } else if due_ms > self.home.clock.now_ms() {
                let by_ms = due_ms.min(until_ms) - self.home.clock.now_ms();
                self.home.clock.advance(Duration::from_millis(by_ms.unsigned_abs()));
                return by_ms == 0;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing is attempted");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Home {
    pub async fn new() -> Self {
        let media = Media::new();
        let (stop, stopped) = watch::channel(false);
        let address = media.serve(stopped).await.expect("a port");
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            clock: Arc::new(ManualClock(watch::Sender::new(START_MS))),
            media,
            servers: format!("http://{address}/v/"),
            master: MasterKey::generate(),
            _stop: stop,
        }
    }

    pub fn start(&self) -> Running {
        self.start_with(Setup::default())
    }

    pub fn start_with(&self, setup: Setup) -> Running {
        let sealer = Sealer::new(&MasterKeys::new(self.master.clone(), Vec::new()));
        let store = Store::open_embedded(&Options::new(self.folder.path())).expect("a store");
        let vault = Vault::new(sealer.clone(), Purpose::StoredBody);
        let settings = FileSettings {
            folder: self.folder.path().join("files"),
            hosts: setup.hosts,
            policy: setup.policy,
            deadline: setup.deadline,
            public_url: Some("https://forms.example.com/".parse().expect("a URL")),
            link_ttl: Duration::from_secs(7 * 24 * 3_600),
            client: setup.client,
        };
        let clock: Arc<ManualClock> = Arc::clone(&self.clock);
        let files = Files::new(settings, sealer, store.clone(), clock.clone());
        let outbox =
            Outbox::new(store.clone(), Arc::new(vault), clock).with_files(files).accepting_within(PATIENCE);
        let (shutdown, stopped) = watch::channel(false);
        let fetcher = tokio::spawn(outbox.clone().fetch_files(stopped));
        Running { outbox, store, shutdown, fetcher }
    }

    /// Puts a file on the servers as a phone does; its media object.
    pub fn upload(&self, name: &str, content: &[u8]) -> Value {
        self.put(name, &Encrypted::of(content))
    }

    pub fn put(&self, name: &str, encrypted: &Encrypted) -> Value {
        let id = Uuid::from_u128(rand::random()).to_string();
        self.media.put(&id, encrypted.file.clone());
        json!({"media_id": id, "cdn_url": format!("{}{id}", self.servers), "file_name": name,
            "encryption_metadata": encrypted.metadata})
    }

    /// Waits until so many files are kept, and nothing of an attempt is there.
    pub async fn leaves(&self, count: usize) {
        let until = Instant::now() + PATIENCE;
        while self.on_disk().len() != count {
            assert!(Instant::now() < until, "{:?}", self.on_disk());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Everything below the folder of kept files.
    pub fn on_disk(&self) -> Vec<std::path::PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("files")];
        while let Some(folder) = folders.pop() {
            for entry in folder.read_dir().into_iter().flatten() {
                let path = entry.expect("an entry").path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }
}

pub fn limits(media_types: &[&str], max_kib: u32) -> FileLimits {
    let media_types = media_types.iter().map(|t| (*t).to_owned()).collect();
    FileLimits { photos_only: false, media_types, max_files: 30, max_kib }
}

/// A document that says so in its first bytes.
pub fn pdf(bytes: usize) -> Vec<u8> {
    let filler = (0..bytes).map(|at| (at % 251) as u8);
    b"%PDF-1.7\n".iter().copied().chain(filler).take(bytes.max(9)).collect()
}

/// Standard base64 of bytes in metadata, with one bit changed.
pub fn flipped(metadata: &Value, name: &str) -> Value {
    let mut bytes = STANDARD.decode(metadata[name].as_str().expect("base64")).expect("base64");
    bytes[0] ^= 1;
    let mut changed = metadata.clone();
    changed[name] = json!(STANDARD.encode(bytes));
    changed
}

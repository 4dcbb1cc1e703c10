//! Nodes over a Redis that the test has for itself.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use formgate::store::redis::{self, Acknowledge, Topology};
use formgate::store::{Erased, Erasure, Options, Pace, SharedOpenError, SharedOptions, Store};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::connect::fixture::free_port;

/// How long anything here may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A server with an append-only file, as production has it. Dropping it kills it.
pub struct Redis {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Redis {
    pub async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut redis = Self { folder, port: free_port(), process: None };
        redis.restart().await;
        redis
    }

    /// As after a power cut: no goodbye.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().and_then(|()| process.wait()).expect("it is dead");
        }
    }

    /// On the same data, at the same port.
    pub async fn restart(&mut self) {
        self.kill();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--maxmemory-policy"]);
        // What it keeps can be searched.
        command
            .args(["noeviction", "--rdbcompression", "no", "--port", &self.port.to_string(), "--dir"])
            .arg(self.folder.path());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.process = Some(process.expect("redis-server is installed"));
        let give_up = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(Instant::now() < give_up, "redis-server does not listen");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Takes all data away while it is dead.
    pub fn wipe(&mut self) {
        self.kill();
        for entry in self.folder.path().read_dir().expect("a folder") {
            let path = entry.expect("an entry").path();
            let gone = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
            gone.expect("it is gone");
        }
    }

    /// A copy of all that it has, of a moment in which nobody writes.
    pub fn back_up(&self) -> TempDir {
        let backup = TempDir::new().expect("a folder");
        copy(self.folder.path(), backup.path());
        backup
    }

    /// Dies, and has what the backup has.
    pub fn put_back(&mut self, backup: &TempDir) {
        self.wipe();
        copy(backup.path(), self.folder.path());
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// How many of these byte strings are in its files, and the names of those that have one.
    pub fn keeps(&self, wanted: &[Vec<u8>]) -> (usize, Vec<String>) {
        let files = self.folder.path().join("appendonlydir").read_dir().expect("a folder");
        let files = files.map(|entry| entry.expect("an entry").path());
        // One that is written anew may be gone in the next moment.
        let files: Vec<_> = files.filter_map(|path| Some((std::fs::read(&path).ok()?, path))).collect();
        let has = |content: &[u8], bytes: &[u8]| content.windows(bytes.len()).any(|window| window == bytes);
        let found = wanted.iter().filter(|bytes| files.iter().any(|(content, _)| has(content, bytes)));
        let names = files.iter().filter(|(content, _)| wanted.iter().any(|bytes| has(content, bytes)));
        (found.count(), names.map(|(_, path)| path.display().to_string()).collect())
    }

    /// Sends a command, and reads its answer.
    pub fn run<T: ::redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let client = ::redis::Client::open(self.url()).expect("an address");
        let mut connection = client.get_connection_with_timeout(PATIENCE).expect("a connection");
        let (name, arguments) = command.split_first().expect("a command");
        ::redis::cmd(name).arg(arguments).query(&mut connection).expect("an answer")
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in from.read_dir().expect("a folder") {
        let path = entry.expect("an entry").path();
        let copied = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            std::fs::create_dir(&copied).expect("a folder");
            copy(&path, &copied);
        } else {
            std::fs::copy(&path, &copied).expect("a copy");
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Redis loses everything, and is told again by whoever there is.
pub async fn emptied(redis: &mut Redis, nodes: &[&Node]) {
    redis.wipe();
    for node in nodes {
        node.alone().await;
    }
    redis.restart().await;
    for node in nodes {
        node.told().await;
    }
}

/// Everything a hundred times as quick.
pub fn pace() -> Pace {
    Pace {
        down_after: Duration::from_millis(150),
        take_over_after: PATIENCE,
        look_every: Duration::from_millis(50),
        reconcile_every: Duration::from_millis(100),
        ..Pace::default()
    }
}

pub fn options(server: &Redis, prefix: &str) -> redis::Options {
    redis::Options {
        urls: vec![server.url().into()],
        topology: Topology::Single,
        prefix: prefix.to_owned(),
        ca_pem: None,
        acknowledge: Acknowledge::Journal,
    }
}

/// A node that runs.
pub struct Node {
    pub folder: TempDir,
    pub store: Store,
    stop: watch::Sender<bool>,
    tasks: JoinHandle<()>,
}

impl Node {
    pub async fn join(redis: &Redis) -> Self {
        Self::at(TempDir::new().expect("a folder"), options(redis, "{formgate}"), pace()).await
    }

    pub async fn at(folder: TempDir, redis: redis::Options, pace: Pace) -> Self {
        let give_up = Instant::now() + PATIENCE;
        let (store, tasks) = loop {
            let journal = Options::new(folder.path());
            let options = SharedOptions { journal, redis: redis.clone(), pace: pace.clone() };
            match Store::open_shared(options).await {
                Ok(opened) => break opened,
                // On a busy machine it does not answer in time.
                Err(SharedOpenError::NeverJoined(_)) if Instant::now() < give_up => {}
                Err(error) => panic!("{error}"),
            }
        };
        let (stop, stopped) = watch::channel(false);
        Self { folder, store, stop, tasks: tokio::spawn(tasks.run(stopped)) }
    }

    /// Ends well; what is left of it is its folder.
    pub async fn leave(self) -> TempDir {
        self.stop.send_replace(true);
        self.tasks.await.expect("no panic");
        self.store.close().await.expect("a clean close");
        self.folder
    }

    /// Dies on the spot; what the next process finds is in the folder.
    pub fn crash(self) -> TempDir {
        self.tasks.abort();
        let folder = TempDir::new().expect("a folder");
        for file in ["store.sqlite3", "store.sqlite3-wal"] {
            std::fs::copy(self.folder.path().join(file), folder.path().join(file)).expect("a copy");
        }
        folder
    }

    /// Erases a submission as somebody wants it. A node that was there a moment ago may have something of it: it is waited for.
    pub async fn erase(&self, submission: [u8; 16]) {
        let forget_at_ms = i64::from(u32::MAX);
        let erasure = Erasure { submission, settled: None, forget_at_ms, deletes: vec![], puts: vec![] };
        self.until("it is erased", async || {
            matches!(self.store.erase(erasure.clone()).await, Ok(Erased::Done { .. }))
        })
        .await;
    }

    /// Waits until Redis is within reach and has everything that is here.
    pub async fn told(&self) {
        self.until("it has told everything", async || {
            self.store.standing().is_some_and(|standing| standing.reachable && standing.told)
        })
        .await;
    }

    /// Waits until it knows so many nodes, itself included, and will know them when it is started again.
    pub async fn knows(&self, nodes: usize) {
        let file = rusqlite::Connection::open(self.folder.path().join("store.sqlite3")).expect("the file");
        let peers = || {
            let peers = "SELECT value FROM node WHERE name = 'peers'";
            file.query_row(peers, [], |row| row.get::<_, Vec<u8>>(0)).unwrap_or_default()
        };
        self.until("it knows the others", async || peers().split(|byte| *byte == b'\n').count() == nodes)
            .await;
    }

    /// Waits until this node goes on alone.
    pub async fn alone(&self) {
        self.until("it goes on alone", async || {
            self.store.standing().is_some_and(|standing| !standing.reachable)
        })
        .await;
    }

    pub async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let give_up = Instant::now() + PATIENCE;
        while !holds().await {
            assert!(Instant::now() < give_up, "never: {what}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether these bytes are in a file of this node.
    pub fn has_on_disk(&self, bytes: &[u8]) -> bool {
        let files = self.folder.path().read_dir().expect("a folder");
        let files = files.map(|entry| entry.expect("an entry").path());
        files.into_iter().any(|file| {
            let content = std::fs::read(file).expect("a file");
            content.windows(bytes.len()).any(|window| window == bytes)
        })
    }
}

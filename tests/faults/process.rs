//! The real program: configured, started, killed, and asked what it has.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use formgate::crypto::PrivateKey;
use formgate::flow::compile::{Settings, compile};
use formgate::form::Form;
use formgate::store::{self, QueueDepth, Store};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::ledger::Ledger;
use super::sink::Sink;

/// The app's secret.
pub const SECRET: &str = "fault-app-secret";
/// How an operator reads all submissions.
const EXPORT: [&str; 2] = ["submissions", "export"];
/// How long a start may take; it checks the whole store after every kill.
const START: Duration = Duration::from_secs(20);

/// One installation, whichever process serves it.
pub struct Gate {
    folder: TempDir,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    variables: Vec<(String, String)>,
    pub document: Value,
    pub public_pem: String,
    ledger: Arc<Ledger>,
}

/// A process. Dropping it kills it.
pub struct Process {
    child: Child,
    born: Instant,
    /// Its disk fails at some time: from then on it can note nothing, and lives on for a while.
    fails: bool,
    /// Its death is noted.
    dead: bool,
    ledger: Arc<Ledger>,
}

/// Two screens: a name, and a choice.
fn form() -> Value {
    json!({
        "id": "visit", "title": "A visit", "locale": "en",
        "pages": [
            {"id": "who", "title": "You", "questions": [
                {"key": "name", "title": "Name", "type": "short_text", "required": true}
            ]},
            {"id": "what", "title": "The visit", "questions": [
                {"key": "colour", "title": "Colour", "type": "single_choice", "required": true,
                 "options": [{"id": "r", "label": "Red"}, {"id": "b", "label": "Blue"}]}
            ]}
        ]
    })
}

fn destination(sink: &Sink) -> String {
    let Sink { id, url, secret, lines, .. } = sink;
    format!(
        r#"
[[destination]]
id = "{id}"
kind = "webhook"
url = "{url}"
secret = "{secret}"
allow_private_network = true
{lines}
"#
    )
}

impl Gate {
    /// Writes what an operator would: form, key, configuration. Every process gets the variables.
    pub fn new(ledger: &Arc<Ledger>, sinks: &[&Sink], variables: &[(&str, &str)]) -> Gate {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
        let (form, key) = (form(), PrivateKey::generate());
        let (listen, admin) = (free_address(), free_address());
        write("form.json", &form.to_string());
        write("key.pem", key.private_pem().expose_secret());
        let ids: Vec<_> = sinks.iter().map(|sink| sink.id.as_str()).collect();
        let destinations: String = sinks.iter().map(|sink| destination(sink)).collect();
        write(
            "formgate.toml",
            &format!(
                r#"
[server]
listen = "{listen}"
admin_listen = "{admin}"
data_dir = "kept/data"
master_key = "file:kept/master.key"

[log]
level = "warn"

[meta]
verify_token = "fault-verify-token"

[[number]]
id = "shop"
app_secret = "{SECRET}"
private_keys = ["file:key.pem"]
{destinations}
[[flow]]
id = "visit"
tool = "form"
definition = "form.json"
number = "shop"
deliver_to = {ids:?}
"#
            ),
        );
        std::fs::create_dir(folder.path().join("kept")).expect("a folder");
        let form: Form = serde_json::from_value(form).expect("a form");
        let compiled = compile(&form, &Settings::default()).expect("a flow");
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Gate {
            folder,
            listen,
            admin,
            variables,
            document: compiled.document,
            public_pem: key.public_pem(),
            ledger: Arc::clone(ledger),
        }
    }

    /// One more node of the same installation: forms, keys and destinations are the same, and its journal is its own.
    pub fn another(&self) -> Gate {
        let folder = tempfile::tempdir().expect("a folder");
        let (listen, admin) = (free_address(), free_address());
        std::fs::create_dir(folder.path().join("kept")).expect("a folder");
        for file in ["form.json", "key.pem", "kept/master.key"] {
            std::fs::copy(self.folder.path().join(file), folder.path().join(file)).expect("a copy");
        }
        let file = |folder: &TempDir| folder.path().join("formgate.toml");
        let text = std::fs::read_to_string(file(&self.folder)).expect("the configuration");
        let text = text.replace(&self.listen.to_string(), &listen.to_string());
        let text = text.replace(&self.admin.to_string(), &admin.to_string());
        std::fs::write(file(&folder), text).expect("a file");
        Gate {
            folder,
            listen,
            admin,
            variables: self.variables.clone(),
            document: self.document.clone(),
            public_pem: self.public_pem.clone(),
            ledger: Arc::clone(&self.ledger),
        }
    }

    /// Where phones send to.
    pub fn address(&self) -> String {
        format!("http://{}/flows/visit", self.listen)
    }

    /// Everything that the program keeps.
    pub fn kept(&self) -> PathBuf {
        self.folder.path().join("kept")
    }

    /// Starts the program on the same data, at the same address.
    pub fn spawn(&self) -> Process {
        self.spawn_with(&[])
    }

    /// The same, for this process with further variables.
    pub fn spawn_with(&self, variables: &[(&str, &str)]) -> Process {
        let log = std::fs::File::options().create(true).append(true).open(self.log()).expect("a log file");
        let mut serve = self.command("serve");
        serve.envs(variables.iter().copied()).stdout(Stdio::null()).stderr(log);
        let child = serve.spawn().expect("the program starts");
        let ledger = Arc::clone(&self.ledger);
        Process { child, born: Instant::now(), fails: false, dead: false, ledger }
    }

    /// Waits until it takes submissions.
    pub async fn ready(&self, process: &mut Process) {
        assert!(self.ready_or_ended(process).await.is_none(), "it ended: {}", self.said());
    }

    /// Waits until it takes submissions, or says how it ended instead.
    pub async fn ready_or_ended(&self, process: &mut Process) -> Option<ExitStatus> {
        let give_up = Instant::now() + START;
        while !is_ready(self.listen).await {
            if let Some(ended) = process.ended() {
                return Some(ended);
            }
            assert!(Instant::now() < give_up, "not ready: {}", self.said());
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        None
    }

    /// Whether a load balancer would send it people.
    pub async fn is_ready(&self) -> bool {
        is_ready(self.listen).await
    }

    /// The ids of all submissions, as an operator reads them.
    pub fn stored(&self) -> BTreeSet<String> {
        ids(&self.run(&EXPORT))
    }

    /// The same, or none if it cannot say that now.
    pub fn stored_if_told(&self) -> BTreeSet<String> {
        let output = self.command(EXPORT[0]).args(&EXPORT[1..]).output().expect("the program starts");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        if output.status.success() { ids(&text) } else { BTreeSet::new() }
    }

    /// What a command prints; it has to end well.
    pub fn run(&self, arguments: &[&str]) -> String {
        let (name, rest) = arguments.split_first().expect("a command");
        let output = self.command(name).args(rest).output().expect("the program starts");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// How many deliveries the ended program still has under a lease. The next one that opens the store ends them.
    pub fn leased(&self) -> u64 {
        let file = rusqlite::Connection::open(self.kept().join("data/store.sqlite3")).expect("the file");
        let leased = file.query_row("SELECT count(*) FROM delivery WHERE state = 1", [], |row| row.get(0));
        u64::try_from(leased.unwrap_or(-1_i64)).expect("the deliveries are read")
    }

    /// How many erasures are begun and not ended, also while the program runs.
    pub fn erasures(&self) -> u64 {
        let file = rusqlite::Connection::open(self.kept().join("data/store.sqlite3")).expect("the file");
        // Table 12 is that of jobs.
        let begun =
            "SELECT count(*) FROM record WHERE tbl = 12 AND substr(key, 1, 5) = CAST('erase' AS BLOB)";
        let begun = file.query_row(begun, [], |row| row.get(0));
        u64::try_from(begun.unwrap_or(-1_i64)).expect("the jobs are read")
    }

    /// Changes a text of the configuration, for the next process.
    pub fn reconfigure(&self, old: &str, new: &str) {
        let path = self.folder.path().join("formgate.toml");
        let text = std::fs::read_to_string(&path).expect("the configuration");
        assert_eq!(text.matches(old).count(), 1, "{old}");
        std::fs::write(path, text.replace(old, new)).expect("the configuration");
    }

    /// How many deliveries the stopped program has in each state.
    pub async fn depths(&self) -> Vec<QueueDepth> {
        let store = Store::open_embedded(&store::Options::new(self.kept().join("data")));
        let store = store.expect("the store opens");
        let depths = store.depths().await.expect("a read");
        store.close().await.expect("a clean close");
        depths
    }

    /// How many deliveries the stopped program has in any state but delivered.
    pub async fn not_delivered(&self) -> u64 {
        self.depths().await.iter().map(|depth| depth.due + depth.in_flight + depth.dead).sum()
    }

    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formgate"));
        command.arg(name).arg("--config").arg(self.folder.path().join("formgate.toml"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command
    }

    fn log(&self) -> PathBuf {
        Path::join(self.folder.path(), "log")
    }

    /// What the program has logged.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

fn ids(exported: &str) -> BTreeSet<String> {
    let id = |line: &str| {
        let submission: Value = serde_json::from_str(line).expect("a submission on each line");
        submission["id"].as_str().expect("an id").to_owned()
    };
    exported.lines().map(id).collect()
}

impl Process {
    /// SIGKILL: no handler, no flush, no farewell.
    pub fn kill(mut self) {
        self.end();
    }

    /// SIGTERM, and a clean end; how long that took.
    pub fn stop(self) -> Duration {
        let (status, took) = self.terminate();
        assert!(status.success(), "{status}");
        took
    }

    /// SIGTERM; how it ended, and how long that took.
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let (pid, asked) = (self.child.id().to_string(), Instant::now());
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill");
        assert!(sent.success());
        let status = self.child.wait().expect("a child");
        let took = asked.elapsed();
        self.died(Instant::now());
        (status, took)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let looked = Instant::now();
        let ended = self.child.try_wait().expect("a child");
        if ended.is_some() {
            self.died(looked);
        }
        ended
    }

    /// From some time on it can note nothing more, although it lives.
    pub fn fails(&mut self) {
        self.fails = true;
    }

    /// Waits until it has ended by itself.
    pub async fn until_ended(&mut self, patience: Duration) -> Option<ExitStatus> {
        let give_up = Instant::now() + patience;
        while Instant::now() < give_up {
            if let Some(ended) = self.ended() {
                return Some(ended);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        None
    }

    /// Memory that is really in use.
    pub fn resident_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).expect("statm");
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages");
        pages * 4096
    }

    fn end(&mut self) {
        let began = Instant::now();
        // It may have ended by itself, which the next start will tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.died(began);
    }

    fn died(&mut self, began: Instant) {
        if !std::mem::replace(&mut self.dead, true) {
            self.ledger.died(if self.fails { self.born } else { began });
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A port that stays free while nobody listens: below those that the system gives to outgoing connections, and kept for UDP,
/// which nobody here speaks, so that no other test takes it before this process ends.
pub fn free_address() -> SocketAddr {
    let mut addresses =
        (0..1_000).map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, rand::random_range(15_000..32_000))));
    let is_free = |address: &SocketAddr| {
        let Ok(kept) = std::net::UdpSocket::bind(address) else { return false };
        let is_free = TcpListener::bind(address).is_ok();
        if is_free {
            std::mem::forget(kept);
        }
        is_free
    };
    addresses.find(is_free).expect("a free port")
}

async fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(Duration::from_secs(2), ask)
        .await
        .unwrap_or(Err(std::io::ErrorKind::TimedOut.into()))
}

/// What the metrics of a process say, if it answers.
pub async fn metrics_of(admin: SocketAddr) -> Option<String> {
    get(admin, "/metrics").await.ok()
}

/// Posts a webhook of Meta's as Meta signs it; the status of the answer.
pub async fn post_webhook(address: SocketAddr, body: &str) -> std::io::Result<u16> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body.as_bytes());
    let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "POST /webhooks/meta HTTP/1.1\r\nhost: gate\r\nconnection: close\r\ncontent-type: application/json\r\n\
         x-hub-signature-256: sha256={signature}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

async fn is_ready(address: SocketAddr) -> bool {
    get(address, "/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

//! The real program: configured, started, killed, and asked what it has.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use formgate::crypto::PrivateKey;
use formgate::flow::compile::{Settings, compile};
use formgate::form::Form;
use formgate::store::{self, Store};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::sink::Sink;

/// The app's secret.
pub const SECRET: &str = "fault-app-secret";
/// How long a start may take; it checks the whole store after every kill.
const START: Duration = Duration::from_secs(20);

/// One installation, whichever process serves it.
pub struct Gate {
    folder: TempDir,
    listen: SocketAddr,
    variables: Vec<(String, String)>,
    pub document: Value,
    pub public_pem: String,
}

/// A process. Dropping it kills it.
pub struct Process(Child);

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

impl Gate {
    /// Writes what an operator would: form, key, configuration.
    pub fn new(sink: &Sink, variables: &[(&str, &str)]) -> Gate {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
        let (form, key, listen) = (form(), PrivateKey::generate(), free_address());
        write("form.json", &form.to_string());
        write("key.pem", key.private_pem().expose_secret());
        let (url, webhook) = (&sink.url, &sink.secret);
        write(
            "formgate.toml",
            &format!(
                r#"
[server]
listen = "{listen}"
admin_listen = "127.0.0.1:0"
data_dir = "data"
master_key = "file:master.key"

[log]
level = "warn"

[[number]]
id = "shop"
app_secret = "{SECRET}"
private_keys = ["file:key.pem"]

[[destination]]
id = "crm"
kind = "webhook"
url = "{url}"
secret = "{webhook}"
allow_private_network = true

[[flow]]
id = "visit"
tool = "form"
definition = "form.json"
number = "shop"
deliver_to = ["crm"]
"#
            ),
        );
        let form: Form = serde_json::from_value(form).expect("a form");
        let compiled = compile(&form, &Settings::default()).expect("a flow");
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Gate { folder, listen, variables, document: compiled.document, public_pem: key.public_pem() }
    }

    /// Where phones send to.
    pub fn address(&self) -> String {
        format!("http://{}/flows/visit", self.listen)
    }

    /// Starts the program on the same data, at the same address.
    pub fn spawn(&self) -> Process {
        let log = std::fs::File::options().create(true).append(true).open(self.log()).expect("a log file");
        let mut serve = self.command("serve");
        Process(serve.stdout(Stdio::null()).stderr(log).spawn().expect("the program starts"))
    }

    /// Waits until it takes submissions.
    pub async fn ready(&self, process: &mut Process) {
        let give_up = Instant::now() + START;
        while !is_ready(self.listen).await {
            let ended = process.0.try_wait().expect("a child");
            assert!(ended.is_none() && Instant::now() < give_up, "{ended:?}, not ready: {}", self.said());
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// The ids of all submissions, as an operator reads them while the program is stopped.
    pub fn stored(&self) -> BTreeSet<String> {
        let export = self.command("submissions").arg("export").output().expect("the program starts");
        assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
        let id = |line: &str| {
            let submission: Value = serde_json::from_str(line).expect("a submission on each line");
            submission["id"].as_str().expect("an id").to_owned()
        };
        String::from_utf8(export.stdout).expect("UTF-8").lines().map(id).collect()
    }

    /// How many deliveries the stopped program has in any state but delivered.
    pub async fn not_delivered(&self) -> u64 {
        let store = Store::open_embedded(&store::Options::new(self.folder.path().join("data")));
        let depths = store.expect("the store opens").depths().await.expect("a read");
        depths.iter().map(|depth| depth.due + depth.in_flight + depth.dead).sum()
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formgate"));
        command.arg(name).arg("--config").arg(self.folder.path().join("formgate.toml"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command
    }

    fn log(&self) -> PathBuf {
        Path::join(self.folder.path(), "log")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Process {
    /// SIGKILL: no handler, no flush, no farewell.
    pub fn kill(mut self) {
        self.end();
    }

    /// SIGTERM, and a clean end.
    pub fn stop(mut self) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill");
        assert!(sent.success());
        let status = self.0.wait().expect("a child");
        assert!(status.success(), "{status}");
    }

    fn end(&mut self) {
        // It may have ended by itself, which the next start will tell.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A port that stays free while nobody listens: below those that the system gives to outgoing connections.
fn free_address() -> SocketAddr {
    let mut addresses =
        (0..200).map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, rand::random_range(15_000..32_000))));
    addresses.find(|address| TcpListener::bind(address).is_ok()).expect("a free port")
}

async fn is_ready(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with("HTTP/1.1 200"))
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
}

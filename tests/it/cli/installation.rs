//! A folder with a configuration as an operator has it, its server process, and the destination behind it.

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use formgate::server::{Limits, Listener, Request, Response, Server, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test, with nothing of this test's environment.
pub fn formgate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_formgate"));
    command.env_clear();
    command
}

/// How a process ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ran {
    command.stdin(Stdio::null()).output().expect("the program starts").into()
}

/// A destination that remembers the idempotency keys it was sent.
pub struct Sink {
    keys: Arc<Mutex<Vec<String>>>,
    bodies: Arc<Mutex<Vec<Value>>>,
    refuses: Arc<AtomicBool>,
    notices: Arc<Mutex<Vec<String>>>,
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

impl Sink {
    fn new() -> Sink {
        let (keys, refuses) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (seen, refusing) = (Arc::clone(&keys), Arc::clone(&refuses));
        let notices = Arc::new(Mutex::new(Vec::new()));
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let read = Arc::clone(&bodies);
        let told = Arc::clone(&notices);
        let handler = move |request: Request| {
            if request.path() == "/ops" {
                let text = String::from_utf8_lossy(&request.body).into_owned();
                told.lock().expect("no panic under the lock").push(text);
                return std::future::ready(Response::empty(StatusCode::OK));
            }
            let key = request.header("webhook-id").unwrap_or_default().to_owned();
            read.lock()
                .expect("no panic under the lock")
                .push(serde_json::from_slice(&request.body).unwrap_or_default());
            seen.lock().expect("no panic under the lock").push(key);
            let status = if refusing.load(Ordering::SeqCst) {
                StatusCode::UNPROCESSABLE_ENTITY
            } else {
                StatusCode::NO_CONTENT
            };
            std::future::ready(Response::empty(status))
        };
        let (stop, stopped) = watch::channel(false);
        let (tell, bound) = std::sync::mpsc::channel();
        // A runtime of its own: the commands of a test block the test's.
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = Listener { addr: "127.0.0.1:0".parse().expect("an address"), tls: None };
                let server =
                    Server::bind(listener, Limits::default(), Arc::new(handler)).await.expect("a port");
                tell.send(server.local_addr()).expect("the test waits");
                server.run(stopped, Duration::from_secs(1)).await;
            });
        });
        Sink { keys, bodies, refuses, notices, address: bound.recv().expect("an address"), _stop: stop }
    }

    /// The alerts that came, once one says this.
    pub async fn alert(&self, saying: &str) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let notices = self.notices.lock().expect("no panic under the lock").clone();
            if notices.iter().any(|notice| notice.contains(saying)) {
                return notices;
            }
            assert!(Instant::now() < until, "{saying}: {notices:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// From now on it answers 422 to everything, or no longer.
    pub fn refuse(&self, refuse: bool) {
        self.refuses.store(refuse, Ordering::SeqCst);
    }

    /// What came with each delivery so far, as JSON.
    pub fn bodies(&self) -> Vec<Value> {
        self.bodies.lock().expect("no panic under the lock").clone()
    }

    /// The keys of all deliveries, once there are so many.
    pub async fn deliveries(&self, count: usize) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let keys = self.keys.lock().expect("no panic under the lock").clone();
            if keys.len() >= count {
                return keys;
            }
            assert!(Instant::now() < until, "{} of {count} deliveries came", keys.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The folder.
pub struct Installation {
    pub folder: TempDir,
    pub sink: Sink,
}

/// A running server; killed when it is dropped.
pub struct Serving {
    child: tokio::process::Child,
    log: Arc<Mutex<String>>,
    pub public: SocketAddr,
    pub admin: SocketAddr,
}

impl Installation {
    /// One flow, `visit`, which these tokens open; its number's key is a file, or made and kept by the server.
    pub fn new(tokens: &str, key_file: bool) -> Installation {
        let folder = tempfile::tempdir().expect("a folder");
        let sink = Sink::new();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
        let form = json!({"id": "visit", "title": "A visit", "hidden": [{"key": "utm"}], "pages": [
            {"id": "who", "title": "You", "questions": [{"key": "name", "title": "Name", "type": "short_text", "required": true}]},
            {"id": "what", "title": "The visit", "questions": [
                {"key": "colour", "title": "Colour", "type": "single_choice", "required": true,
                 "options": [{"id": "r", "label": "Red"}, {"id": "b", "label": "Blue"}]}]}]});
        write("form.json", &form.to_string());
        write("answers.json", &json!({"Name": "Ada", "Colour": "Blue"}).to_string());
        let keys = if key_file {
            let made = run(formgate().args(["keys", "new"]).arg(folder.path().join("key.pem")));
            assert_eq!(made.code, 0, "{made:?}");
            "private_keys = [\"file:key.pem\"]"
        } else {
            ""
        };
        let config = format!(
            r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
data_dir = "data"
master_key = "file:master.key"

[log]
format = "json"

[[number]]
id = "shop"
app_secret = "an app secret"
{keys}

[[destination]]
id = "crm"
kind = "webhook"
url = "http://{}/hook"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
allow_private_network = true

[[flow]]
id = "visit"
tool = "form"
definition = "form.json"
number = "shop"
deliver_to = ["crm"]
tokens = "{tokens}"

[[alert]]
id = "ops"
kind = "slack"
url = "http://{}/ops"
allow_private_network = true
"#,
            sink.address, sink.address
        );
        write("formgate.toml", &config);
        Installation { folder, sink }
    }

    /// Starts the server and waits until it says where it listens.
    pub async fn serve(&self) -> Serving {
        let mut command = tokio::process::Command::from(formgate());
        command.current_dir(self.folder.path()).arg("serve");
        let mut child =
            command.stderr(Stdio::piped()).kill_on_drop(true).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped above")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let (told, ready) = tokio::sync::oneshot::channel();
        let kept = Arc::clone(&log);
        tokio::spawn(async move {
            let mut told = Some(told);
            while let Ok(Some(line)) = lines.next_line().await {
                let event: Value = serde_json::from_str(&line).unwrap_or_default();
                if event["message"] == "ready" || event["fields"]["message"] == "ready" {
                    let address = |name: &str| -> Option<SocketAddr> {
                        event[name].as_str().or(event["fields"][name].as_str())?.parse().ok()
                    };
                    if let (Some(tell), Some(public), Some(admin)) =
                        (told.take(), address("listen"), address("admin"))
                    {
                        let _gone = tell.send((public, admin));
                    }
                }
                let mut log = kept.lock().expect("no panic under the lock");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let ready = tokio::time::timeout(PATIENCE, ready).await;
        let Ok(Ok((public, admin))) = ready else {
            panic!("the server did not start: {}", log.lock().expect("no panic under the lock"));
        };
        Serving { child, log, public, admin }
    }

    /// Runs a command in the folder.
    pub fn command(&self, arguments: &[&str]) -> Ran {
        run(formgate().current_dir(self.folder.path()).args(arguments))
    }

    /// Runs a command again and again until its result is as wanted.
    pub async fn until(&self, arguments: &[&str], wanted: impl Fn(&Ran) -> bool) -> Ran {
        let until = Instant::now() + PATIENCE;
        loop {
            let ran = self.command(arguments);
            if wanted(&ran) {
                return ran;
            }
            assert!(Instant::now() < until, "{arguments:?}: {ran:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The metrics, once this line is there.
    pub async fn metrics(&self, server: &Serving, line: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let (_, metrics) = self.get(server.admin, "/metrics").await;
            if metrics.lines().any(|found| found == line) {
                return metrics;
            }
            assert!(Instant::now() < until, "{line}: {metrics}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Walks the flow on this server, with its document.
    pub fn play(&self, server: &Serving, more: &[&str]) -> Ran {
        let url = format!("http://{}/flows/visit", server.public);
        let mut command = formgate();
        command.current_dir(self.folder.path());
        command.env("FORMGATE_SERVER__ADMIN_LISTEN", server.admin.to_string());
        run(command.args(["play", "visit", "--url", &url]).args(more))
    }

    /// A plain GET: status and body.
    pub async fn get(&self, address: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
        (status, body)
    }
}

impl Serving {
    /// Asks it to stop, as an init system does, and waits for its end.
    pub async fn terminate(&mut self) -> Ran {
        let pid = self.child.id().expect("it runs").to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status().expect("kill starts");
        assert!(killed.success());
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it drains in time");
        let code = status.expect("a status").code().unwrap_or(-1);
        let err = self.log.lock().expect("no panic under the lock").clone();
        Ran { code, out: String::new(), err }
    }
}

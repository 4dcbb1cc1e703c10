//! What concerns the process as a whole: `[server]`, `[store]`, `[log]`, `[limits]` and others.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use secrecy::SecretString;
use url::Url;

use super::{read::Section, secret::MasterKey};
use crate::telemetry;

/// `[server]`: where the process listens and keeps its data.
#[derive(Debug)]
pub struct Server {
    /// The public listener.
    pub listen: SocketAddr,
    /// Metrics and health.
    pub admin_listen: SocketAddr,
    /// How Meta and people reach the public listener from outside.
    pub public_url: Option<Url>,
    /// The embedded store and sealed keys.
    pub data_dir: PathBuf,
    /// Seals secrets at rest.
    pub master_key: MasterKey,
    /// Present: the public listener speaks TLS.
    pub tls: Option<Tls>,
    /// How long it is not ready any more and goes on answering after a stop was asked for.
    pub leave: Duration,
    /// How long requests in flight may take after that.
    pub drain: Duration,
}

/// `[server.tls]`: PEM texts.
#[derive(Debug)]
pub struct Tls {
    /// The chain, leaf first.
    pub cert_pem: String,
    /// The leaf's private key.
    pub key_pem: SecretString,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// For a person or for a collector.
    pub format: telemetry::Format,
    /// What is logged.
    pub level: telemetry::Filter,
}

/// `[limits]`: what a peer of the public listener may make us hold, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest body of an exchange or webhook.
    pub max_body_bytes: usize,
    /// All bodies in flight together.
    pub max_in_flight_body_bytes: usize,
    /// Open connections.
    pub max_connections: usize,
    /// Open connections of one source address.
    pub max_connections_per_source: Option<usize>,
    /// To the last byte of a head.
    pub header_read: Duration,
    /// To the last byte of a body.
    pub body_read: Duration,
    /// Between two requests of a connection.
    pub keep_alive_idle: Duration,
}

/// `[backup]`: copies at set times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// How long between two.
    pub every: Duration,
    /// How many are kept.
    pub keep: usize,
    /// Where they go.
    pub directory: PathBuf,
}

impl Backup {
    /// How long what was erased may stay in them.
    pub fn reach(&self) -> Duration {
        self.every.saturating_mul(u32::try_from(self.keep).unwrap_or(u32::MAX))
    }
}

/// `None` in `Some`: no copies are made.
pub(super) fn backup(section: &Section<'_>) -> Option<Option<Backup>> {
    let every = section.integer("every_hours", 1..=24 * 30);
    let keep = section.integer("keep", 1..=10_000);
    let directory = section.text("directory").map(|(path, _)| section.cx.resolve(&path));
    section.finish();
    let every = Duration::from_secs(every?.saturating_mul(3600));
    let keep = usize::try_from(keep?).ok()?;
    Some(directory.map(|directory| Backup { every, keep, directory }))
}

/// `[audit]`: how long the trail is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audit {
    /// Events older than this are deleted.
    pub retention_days: u32,
}

pub(super) fn audit(section: &Section<'_>) -> Option<Audit> {
    let days = section.integer("retention_days", 30..=36_500);
    section.finish();
    Some(Audit { retention_days: u32::try_from(days?).ok()? })
}

/// `[drift]`: how forms are watched in their tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// How long between two looks at a form; none: only when somebody asks.
    pub every: Option<Duration>,
}

pub(super) fn drift(section: &Section<'_>) -> Option<Drift> {
    let every_minutes = section.integer("every_minutes", 0..=30 * 24 * 60);
    section.finish();
    let every = every_minutes.filter(|minutes| *minutes > 0);
    every_minutes?;
    Some(Drift { every: every.map(|minutes| Duration::from_secs(minutes.saturating_mul(60))) })
}

/// `[meta]`: what Meta calls besides the endpoint.
#[derive(Debug, Clone, Default)]
pub struct Meta {
    /// Answers Meta's challenge when its webhook is set up; without it `/webhooks/meta` is not served.
    pub verify_token: Option<SecretString>,
}

pub(super) fn meta(section: &Section<'_>) -> Option<Meta> {
    let verify_token = section.secret("verify_token");
    section.finish();
    Some(Meta { verify_token })
}

pub(super) fn server(section: &Section<'_>) -> Option<Server> {
    let listen = address(section, "listen");
    let admin_listen = address(section, "admin_listen");
    if let (Some(listen), true) = (listen, listen == admin_listen)
        && listen.port() != 0
    {
        section.fault(
            "admin_listen",
            section.place.clone(),
            "is the public listener's address",
            "Give metrics and health a port of their own",
        );
    }
    let public_url = section.parsed("public_url", "Write https://host, as Meta reaches it", public_url);
    let data_dir = section.text("data_dir").map(|(path, _)| section.cx.resolve(&path));
    let master_key = section.master_key("master_key");
    let tls = tls(&section.section("tls"));
    let leave = section.integer("leave_seconds", 0..=600).map(Duration::from_secs);
    let drain = seconds(section, "drain_seconds", 600);
    section.finish();
    Some(Server {
        listen: listen?,
        admin_listen: admin_listen?,
        public_url,
        data_dir: data_dir?,
        master_key: master_key?,
        tls,
        leave: leave?,
        drain: drain?,
    })
}

fn tls(section: &Section<'_>) -> Option<Tls> {
    let cert = section.existing_file("cert");
    let key = section.existing_file("key");
    if section.table.is_some() || section.given("cert").or_else(|| section.given("key")).is_some() {
        section.require("cert", "Add the certificate chain, as a PEM file");
        section.require("key", "Add the certificate's private key, as a PEM file");
    }
    section.finish();
    let (cert, key) = (cert?, key?);
    let read = |name, path: &PathBuf| {
        fs::read_to_string(path)
            .map_err(|error| {
                let reason = format!("cannot read {}: {}", path.display(), error.kind());
                section.fault(name, section.place.clone(), reason, "Correct the file's permissions");
            })
            .ok()
    };
    let (cert_pem, key_pem) = (read("cert", &cert), read("key", &key));
    Some(Tls { cert_pem: cert_pem?, key_pem: SecretString::from(key_pem?) })
}

pub(super) fn log(section: &Section<'_>) -> Option<Log> {
    let format =
        section.choice("format", &[("pretty", telemetry::Format::Pretty), ("json", telemetry::Format::Json)]);
    let level = section.parsed("level", "Write for example \"info\"", |text| {
        text.parse().map_err(|_: telemetry::Error| "is not a log filter".to_owned())
    });
    section.finish();
    Some(Log { format: format?, level: level? })
}

pub(super) fn limits(section: &Section<'_>) -> Option<Limits> {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    // Meta's own cap of an exchange is 10 MB (WhatsApp Flows reference 1.1).
    let max_body_bytes = size(section, "max_body_bytes", 64 * KIB..=10 * MIB);
    let max_in_flight_body_bytes = size(section, "max_in_flight_body_bytes", MIB..=4096 * MIB);
    let max_connections = size(section, "max_connections", 16..=1_000_000);
    let max_connections_per_source = size(section, "max_connections_per_source", 0..=1_000_000);
    let header_read = seconds(section, "header_seconds", 60);
    let body_read = seconds(section, "body_seconds", 60);
    let keep_alive_idle = seconds(section, "idle_seconds", 3600);
    section.finish();
    Some(Limits {
        max_body_bytes: max_body_bytes?,
        max_in_flight_body_bytes: max_in_flight_body_bytes?,
        max_connections: max_connections?,
        max_connections_per_source: max_connections_per_source.filter(|limit| *limit > 0),
        header_read: header_read?,
        body_read: body_read?,
        keep_alive_idle: keep_alive_idle?,
    })
}

fn address(section: &Section<'_>, key: &'static str) -> Option<SocketAddr> {
    section.parsed(key, "Write an IP address and a port: \"127.0.0.1:8080\"", |text| {
        text.parse().map_err(|_| format!("\"{text}\" is not a socket address"))
    })
}

fn seconds(section: &Section<'_>, key: &'static str, most: u64) -> Option<Duration> {
    section.integer(key, 1..=most).map(Duration::from_secs)
}

fn size(section: &Section<'_>, key: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<usize> {
    section.integer(key, range).and_then(|size| usize::try_from(size).ok())
}

fn public_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err("has a user, a password or a query".to_owned());
    }
    let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match url.scheme() {
        "https" => Ok(url),
        "http" if local => Ok(url),
        _ => Err("is not https, and Meta calls nothing else".to_owned()),
    }
}

//! Finds the server that has the keys, and judges whether it may be trusted with them.
//!
//! All keys are in one slot, so in every topology there is exactly one such server: the one at the address, the one that
//! the sentinels name, or the one that has the slot. What is asked of it goes over one connection.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, RedisError, Value};
use tokio::task::JoinSet;

use super::options::{Acknowledge, Options, Topology, addresses, elsewhere};
use super::{OpenError, Topology as Kind};

/// Within this time all addresses are asked that have to be: silent ones in front must not keep us from one that answers.
const SPREAD: Duration = Duration::from_secs(1);
/// How long one server may take to let us in.
const CONNECT: Duration = Duration::from_secs(2);
/// How long it may take to say what it is.
const ASK: Duration = Duration::from_secs(2);
/// Why a server cannot be used that says nothing.
const SILENT: &str = "it did not let us in in time";
/// Why a server cannot be used that is about to be there.
pub(super) const LOADS: &str = "the server is loading its data";
/// The first version whose scripts are replicated by their effects and whose refusals have names.
const MIN_VERSION: u32 = 7;
/// The first version that can be asked to wait until it has synced. Valkey gives itself out as a later one.
const WAITS_FROM: (u32, u32) = (7, 2);

/// Where to look.
pub(super) struct Finder {
    seeds: Vec<ConnectionInfo>,
    topology: Topology,
    /// A key whose slot is that of all.
    key: String,
    /// Whether it has to say when it has synced.
    acknowledges: bool,
}

/// A primary, and what is wrong with its settings.
pub(super) struct Primary {
    pub(super) connection: MultiplexedConnection,
    pub(super) faults: Vec<String>,
    /// Whether it can be asked to wait until it has synced.
    pub(super) waits_for_disk: bool,
}

impl Finder {
    pub(super) fn new(options: &Options, key: String) -> Result<Self, OpenError> {
        let (seeds, topology) = (addresses(options)?, options.topology.clone());
        Ok(Self { seeds, topology, key, acknowledges: options.acknowledge != Acknowledge::Journal })
    }

    /// Connects to the primary by the first address that leads there; the reason of the last failure if none does. An address
    /// is asked when the one before has failed or has had its head start.
    pub(super) async fn find(self: &Arc<Self>) -> Result<Primary, String> {
        let mut reason = "there is no address".to_owned();
        let head_start = SPREAD.div_f64(self.seeds.len().max(1) as f64);
        let (mut seeds, mut asked) = (self.seeds.iter().cloned(), JoinSet::new());
        loop {
            if let Some(seed) = seeds.next() {
                let finder = Arc::clone(self);
                asked.spawn(async move { finder.find_by(&seed).await });
            }
            match tokio::time::timeout(head_start, asked.join_next()).await {
                Ok(None) => return Err(reason),
                Ok(Some(Ok(Ok(primary)))) => return Ok(primary),
                Ok(Some(Ok(Err(error)))) => reason = error,
                Ok(Some(Err(_panic))) => reason = "it could not be asked".to_owned(),
                Err(_elapsed) => {}
            }
        }
    }

    async fn find_by(&self, seed: &ConnectionInfo) -> Result<Primary, String> {
        let info = match &self.topology {
            Kind::Single => seed.clone(),
            Kind::Sentinel { service } => ask_sentinel(seed, service).await?,
            Kind::Cluster => ask_cluster(seed, &self.key).await?,
        };
        let mut connection = connect(&info).await?;
        let text = ask(&mut connection, redis::cmd("INFO").arg("everything")).await?;
        let info = Info(text_of(text));
        // A sentinel may still name the primary that was; then writes would go nowhere.
        if info.get("role").is_some_and(|role| role != "master") {
            return Err("the server is a replica".to_owned());
        }
        // Meanwhile it says of itself that it writes no log, and refuses what it is asked.
        if info.get("loading").is_some_and(|is_loading| is_loading != "0") {
            return Err(LOADS.to_owned());
        }
        let mut faults = info.faults();
        // Not everybody may read the configuration; who may is told more.
        let sync = redis::cmd("CONFIG").arg("GET").arg("*appendfsync*").to_owned();
        let told = ask(&mut connection, &sync).await;
        let settings = Settings(match told {
            Ok(Value::Array(pairs)) => pairs.into_iter().map(text_of).collect(),
            _ => vec![],
        });
        faults.extend(settings.fault());
        if self.acknowledges {
            faults.extend(unsynced(settings.get("appendfsync")));
        }
        Ok(Primary { connection, faults, waits_for_disk: info.waits_for_disk() })
    }
}

async fn connect(info: &ConnectionInfo) -> Result<MultiplexedConnection, String> {
    let told = |error: RedisError| reason(&error);
    let client = Client::open(info.clone()).map_err(told)?;
    // Deadlines are ours: each operation has its own.
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let connected = tokio::time::timeout(CONNECT, connecting).await;
    connected.map_err(|_elapsed| SILENT.to_owned())?.map_err(told)
}

async fn ask(connection: &mut MultiplexedConnection, command: &redis::Cmd) -> Result<Value, String> {
    let answer = tokio::time::timeout(ASK, command.query_async(connection)).await;
    answer.map_err(|_elapsed| "it did not answer in time".to_owned())?.map_err(|error| reason(&error))
}

async fn ask_sentinel(seed: &ConnectionInfo, service: &str) -> Result<ConnectionInfo, String> {
    // It has no numbered databases; the number is that of the primary.
    let sentinel = seed.clone().set_redis_settings(seed.redis_settings().clone().set_db(0));
    let mut connection = match connect(&sentinel).await {
        Ok(connection) => connection,
        Err(reason) if reason != SILENT && seed.redis_settings().password().is_some() => {
            // It may know no password although the servers do.
            let open = redis::RedisConnectionInfo::default();
            connect(&seed.clone().set_redis_settings(open)).await.map_err(|_other| reason)?
        }
        Err(reason) => return Err(reason),
    };
    let command = redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(service).to_owned();
    let Value::Array(address) = ask(&mut connection, &command).await? else {
        return Err("the sentinel does not know the service".to_owned());
    };
    let mut parts = address.into_iter().map(text_of);
    let (host, port) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let port = port.parse().map_err(|_no_number| "the sentinel named no port".to_owned())?;
    Ok(elsewhere(seed, &host, port))
}

async fn ask_cluster(seed: &ConnectionInfo, key: &str) -> Result<ConnectionInfo, String> {
    let mut connection = connect(seed).await?;
    let command = redis::cmd("CLUSTER").arg("KEYSLOT").arg(key).to_owned();
    let Value::Int(slot) = ask(&mut connection, &command).await? else {
        return Err("the server is not part of a cluster".to_owned());
    };
    let Value::Array(ranges) = ask(&mut connection, redis::cmd("CLUSTER").arg("SLOTS")).await? else {
        return Err("the cluster told no slots".to_owned());
    };
    for range in ranges {
        let Value::Array(range) = range else { continue };
        let mut range = range.into_iter();
        let (Some(Value::Int(first)), Some(Value::Int(last)), Some(Value::Array(node))) =
            (range.next(), range.next(), range.next())
        else {
            continue;
        };
        if (first..=last).contains(&slot) {
            let mut node = node.into_iter();
            let host = node.next().map(text_of).unwrap_or_default();
            let Some(Value::Int(port)) = node.next() else { continue };
            let port = u16::try_from(port).map_err(|_no_port| "the cluster named no port".to_owned())?;
            // Without a name it is the one that was asked.
            return Ok(match seed.addr() {
                redis::ConnectionAddr::Tcp(asked, _) | redis::ConnectionAddr::TcpTls { host: asked, .. }
                    if host.is_empty() || host == "?" =>
                {
                    elsewhere(seed, asked, port)
                }
                _ => elsewhere(seed, &host, port),
            });
        }
    }
    Err("no server of the cluster has the slot of our keys".to_owned())
}

/// What went wrong, without what was sent.
pub(super) fn reason(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("it refused with {code}"),
        None => format!("{} ({})", error.category(), error.detail().unwrap_or("no more is known")),
    }
}

pub(super) fn text_of(value: Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text,
        Value::Int(number) => number.to_string(),
        _ => String::new(),
    }
}

/// The answer to INFO, which every user may be allowed without more.
pub(super) struct Info(String);

impl Info {
    pub(super) fn new(value: Value) -> Self {
        Self(text_of(value))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    /// Whether it has WAITAOF.
    fn waits_for_disk(&self) -> bool {
        let mut parts = self.get("redis_version").unwrap_or("0").split('.').map(|part| part.parse::<u32>());
        let mut part = || parts.next().and_then(Result::ok).unwrap_or(0);
        (part(), part()) >= WAITS_FROM
    }

    /// What would lose data, in plain words, each with what mends it.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let version = self.get("redis_version").unwrap_or("0");
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok()).unwrap_or(0);
        if self.get("valkey_version").is_none() && major < MIN_VERSION {
            faults.push(format!("it is Redis {version}; use Redis 7.0 or newer, or Valkey"));
        }
        match self.get("maxmemory_policy") {
            None | Some("noeviction") => {}
            Some(policy) => faults.push(format!(
                "when its memory is full it throws away what it has (maxmemory-policy {policy}); set maxmemory-policy noeviction"
            )),
        }
        if self.get("aof_enabled") == Some("0") {
            faults.push(
                "it forgets what it was told when it stops (appendonly no); set appendonly yes".to_owned(),
            );
        }
        faults
    }
}

/// How it syncs, as far as its user may read that: names and values in turn.
struct Settings(Vec<String>);

impl Settings {
    fn get(&self, name: &str) -> Option<&str> {
        let pair = self.0.chunks_exact(2).find(|pair| pair.first().is_some_and(|found| found == name))?;
        pair.get(1).map(String::as_str)
    }

    fn fault(&self) -> Option<String> {
        let set = (self.get("appendfsync")?, self.get("no-appendfsync-on-rewrite")?);
        (set == ("always", "yes")).then(|| {
            "appendfsync always is undone while the log is rewritten (no-appendfsync-on-rewrite yes); set no-appendfsync-on-rewrite no"
                .to_owned()
        })
    }
}

/// Why what it has answered may be lost all the same, where acknowledgements wait for its disk.
pub(super) fn unsynced(policy: Option<&str>) -> Option<String> {
    let needs = "acknowledge = \"redis\" needs a server that syncs before it answers";
    match policy {
        Some("always") => None,
        Some(policy) => Some(format!("{needs} (appendfsync {policy}); set appendfsync always")),
        None => {
            Some(format!("{needs}, and its user may not read whether it does; allow +config|get in the ACL"))
        }
    }
}

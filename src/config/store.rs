//! `[store]`: where what is stored is kept, and with whom it is shared.

use std::fs;

use secrecy::{ExposeSecret as _, SecretString};
use toml::de::DeValue;
use url::Url;

use super::read::{Given, Section};

/// `[store]`.
#[derive(Debug)]
pub enum Store {
    /// SQLite in the data folder: one node.
    Embedded,
    /// Shared by several nodes; the data folder is this node's journal.
    Redis(Redis),
}

/// `[store]` with `kind = "redis"`.
#[derive(Debug)]
pub struct Redis {
    /// Addresses, which may hold a user and a password: of the server, of sentinels, or of nodes of the cluster.
    pub urls: Vec<SecretString>,
    /// How the servers stand to each other.
    pub topology: Topology,
    /// What every key begins with.
    pub prefix: String,
    /// Certificates that sign the server's, in place of the public ones.
    pub ca_pem: Option<String>,
    /// What an acknowledgement waits for.
    pub acknowledge: Acknowledge,
}

/// What an acknowledgement waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// The journal of the node; Redis has a moment to take it, too.
    Journal,
    /// Redis has synced it, too.
    Redis {
        /// And so many of its replicas.
        replicas: u32,
    },
}

/// How Redis servers stand to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server, or one address that leads to the primary.
    Single,
    /// Sentinels say which server is the primary of this service.
    Sentinel {
        /// The name that the sentinels know it by.
        service: String,
    },
    /// Redis Cluster.
    Cluster,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Single,
    Sentinel,
    Cluster,
}

pub(super) fn store(section: &Section<'_>) -> Option<Store> {
    let is_redis = section.choice("kind", &[("embedded", false), ("redis", true)]);
    let store = match is_redis {
        Some(true) => redis(section).map(Store::Redis),
        Some(false) => {
            embedded(section);
            Some(Store::Embedded)
        }
        None => {
            let _known = KEYS.map(|key| section.given(key));
            None
        }
    };
    section.finish();
    store
}

const KEYS: [&str; 7] = ["url", "topology", "service", "prefix", "ca", "acknowledge", "replicas"];

fn embedded(section: &Section<'_>) {
    // Those that have a default may stand in a file that shows all keys.
    let _known = KEYS.map(|key| section.given(key));
    for key in ["url", "service", "ca"] {
        if let Some((_, place)) = section.given(key) {
            section.fault(key, place, "belongs to kind = \"redis\"", "Remove it, or change the kind");
        }
    }
    if acknowledge(section).is_some_and(|acknowledge| acknowledge != Acknowledge::Journal) {
        let (key, place) = ("acknowledge", section.place.clone());
        section.fault(key, place, "belongs to kind = \"redis\"", "Remove it, or change the kind");
    }
}

fn redis(section: &Section<'_>) -> Option<Redis> {
    let (urls, topology) = (urls(section), topology(section));
    let fix = "Write a short text with one part in braces, which keeps the keys together: \"{formgate}\"";
    let prefix = section.parsed("prefix", fix, |text| {
        let tagged = text.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let good = tagged.is_some_and(|(tag, _)| !tag.is_empty()) && text.len() <= 64;
        if good { Ok(text.to_owned()) } else { Err("has no part in braces".to_owned()) }
    });
    let ca = section.existing_file("ca").map(|path| {
        fs::read_to_string(&path).map_err(|error| {
            let reason = format!("cannot read {}: {}", path.display(), error.kind());
            section.fault("ca", section.place.clone(), reason, "Correct the file's permissions");
        })
    });
    let (acknowledge, ca_pem) = (acknowledge(section), ca.transpose().ok()?);
    Some(Redis { urls: urls?, topology: topology?, prefix: prefix?, ca_pem, acknowledge: acknowledge? })
}

fn acknowledge(section: &Section<'_>) -> Option<Acknowledge> {
    let by_redis = section.choice("acknowledge", &[("journal", false), ("redis", true)]);
    let replicas = section.integer("replicas", 0..=16).and_then(|count| u32::try_from(count).ok());
    match (by_redis?, replicas?) {
        (true, replicas) => Some(Acknowledge::Redis { replicas }),
        (false, 0) => Some(Acknowledge::Journal),
        (false, _) => {
            let fix = "Remove it, or write acknowledge = \"redis\"";
            section.fault("replicas", section.place.clone(), "belongs to acknowledge = \"redis\"", fix);
            None
        }
    }
}

fn topology(section: &Section<'_>) -> Option<Topology> {
    let kinds = [("single", Kind::Single), ("sentinel", Kind::Sentinel), ("cluster", Kind::Cluster)];
    let kind = section.choice("topology", &kinds);
    match (kind?, section.text("service")) {
        (Kind::Sentinel, Some((service, _))) => Some(Topology::Sentinel { service }),
        (Kind::Sentinel, None) => {
            let fix = "Write the name that the sentinels know the primary by, often \"mymaster\"";
            section.missing("service", fix);
            None
        }
        (kind, service) => {
            if let Some((_, place)) = service {
                section.fault("service", place, "belongs to topology = \"sentinel\"", "Remove it");
            }
            Some(if kind == Kind::Cluster { Topology::Cluster } else { Topology::Single })
        }
    }
}

/// One address, several with commas between them, or a list; each may be a reference to a secret.
fn urls(section: &Section<'_>) -> Option<Vec<SecretString>> {
    let Some((given, place)) = section.given("url") else {
        section.missing("url", "Write where Redis is: redis://127.0.0.1:6379, or rediss:// for TLS");
        return None;
    };
    let given = match given {
        Given::Toml(DeValue::Array(_)) => section.secrets("url"),
        _ => vec![section.secret("url")?],
    };
    let mut urls = Vec::new();
    for text in given.iter().flat_map(|secret| secret.expose_secret().split(',')).map(str::trim) {
        let good = Url::parse(text)
            .is_ok_and(|url| ["redis", "rediss"].contains(&url.scheme()) && url.host_str().is_some());
        if !good {
            // Not shown: it may hold a password.
            let fix = "Write redis://HOST:PORT, or rediss://HOST:PORT for TLS";
            section.fault("url", place.clone(), "is not the address of a Redis server", fix);
            return None;
        }
        urls.push(SecretString::from(text));
    }
    Some(urls).filter(|urls| !urls.is_empty())
}

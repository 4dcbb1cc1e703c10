//! Where Redis is, and why it cannot be used.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, TlsCertificates};
use secrecy::{ExposeSecret as _, SecretString};

/// How the servers stand to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server, or one address that leads to the primary.
    Single,
    /// Sentinels say which server is the primary of this service.
    Sentinel {
        /// The name that the sentinels know it by.
        service: String,
    },
    /// Redis Cluster. All keys are in one slot, so one of its primaries has them all.
    Cluster,
}

/// What an acknowledgement waits for, besides the journal of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acknowledge {
    /// Nothing: Redis has had a moment to take it.
    #[default]
    Journal,
    /// Redis has synced it.
    Redis {
        /// So many replicas have it, too.
        replicas: u32,
    },
}

/// Where Redis is.
#[derive(Clone)]
pub struct Options {
    /// `redis://[user:password@]host:port[/number]`, or `rediss://` for TLS: of the server, of sentinels, or of nodes of the
    /// cluster. User and password are those of all of them; sentinels that know no password are asked without, and none for a
    /// number.
    pub urls: Vec<SecretString>,
    /// How the servers stand to each other.
    pub topology: Topology,
    /// What every key begins with; a part in braces keeps them in one slot.
    pub prefix: String,
    /// Certificates that sign the server's, in place of the public ones.
    pub ca_pem: Option<String>,
    /// What an acknowledgement waits for.
    pub acknowledge: Acknowledge,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Options")
            .field("topology", &self.topology)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// Why Redis was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An address cannot be read. It is not shown: it may hold a password.
    #[error("address number {number} of Redis cannot be used: {reason}")]
    Address {
        /// Which one, counted from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// It does not answer, or does not let us in; trying again may help.
    #[error("Redis is out of reach: {0}")]
    OutOfReach(String),
    /// It would lose data; what is wrong and how it is mended.
    #[error("Redis would not keep what it is given: {0}")]
    Unsafe(String),
}

/// Where to begin looking for the primary.
pub(super) fn addresses(options: &Options) -> Result<Vec<ConnectionInfo>, OpenError> {
    let read = |(index, url): (usize, &SecretString)| {
        let wrong = |reason: &str| OpenError::Address { number: index + 1, reason: reason.to_owned() };
        let url = url.expose_secret();
        let info = url.into_connection_info().map_err(|error| wrong(error.category()))?;
        if options.topology == Topology::Cluster && info.redis_settings().db() != 0 {
            return Err(wrong("a cluster has no numbered databases"));
        }
        // Old servers do not know the command, and users need not be allowed it.
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let info = info.set_redis_settings(settings);
        with_authority(info, options.ca_pem.as_deref())
            .map_err(|_error| wrong("the certificates of `ca` cannot be read"))
    };
    let found = options.urls.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() {
        return Err(OpenError::Address { number: 1, reason: "there is none".to_owned() });
    }
    Ok(found)
}

fn with_authority(info: ConnectionInfo, ca_pem: Option<&str>) -> redis::RedisResult<ConnectionInfo> {
    let Some(ca_pem) = ca_pem.filter(|_| matches!(info.addr(), ConnectionAddr::TcpTls { .. })) else {
        return Ok(info);
    };
    let certificates = TlsCertificates { client_tls: None, root_cert: Some(ca_pem.as_bytes().to_vec()) };
    Ok(redis::Client::build_with_tls(info, certificates)?.get_connection_info().clone())
}

/// The same way in, to another server.
pub(super) fn elsewhere(info: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let addr = match info.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host: host.to_owned(),
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    };
    info.clone().set_addr(addr)
}

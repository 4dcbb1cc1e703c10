//! The HTTP edge: accepts connections, bounds what a peer can make us hold or wait for, and hands whole requests to a
//! [`Handler`].
//!
//! Invariant: a handler sees a request only after its last body byte arrived under the size cap and the deadline, and no
//! peer can hold a connection, a buffer or a task longer than [`Limits`] says. It deliberately knows no route, decides no
//! status beyond the ones below, and trusts no forwarding header.
//!
//! | What happened | Answer |
//! | --- | --- |
//! | no complete head in time, connection idle, peer does not read its reply | closed |
//! | malformed head, conflicting framing, missing or repeated `Host` | 400, closed |
//! | head too large | 431, closed |
//! | body broken off | 400, closed |
//! | body slower than its deadline | 408, closed |
//! | body over the route's cap | 413, closed |
//! | bodies in flight over the memory budget | 503, closed |
//! | the handler panicked | 500, closed; the process lives |

mod accept;
mod body;
mod connection;
mod message;
mod pace;
mod stream;
mod tls;

use std::{net::SocketAddr, time::Duration};

pub use accept::{Drained, Server};
pub use hyper::{HeaderMap, Method, StatusCode, Uri, header};
pub use message::{Request, RequestId, Response};
pub use stream::Pieces;
pub use tls::Tls;

/// The largest body a route accepts unless its handler says otherwise: long texts, file metadata and the sealed state of
/// a flow travel in one exchange.
pub const DEFAULT_BODY_LIMIT_BYTES: usize = 1024 * 1024;

/// Where to listen.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Address to bind; port 0 takes a free one, which [`Server::local_addr`] tells.
    pub addr: SocketAddr,
    /// Present: the listener speaks TLS only.
    pub tls: Option<Tls>,
}

/// What a peer may make us hold, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// From accept, or from the first byte of a further request, to the last byte of the head. Covers the TLS handshake.
    pub header_read: Duration,
    /// From the end of the head to the last byte of the body.
    pub body_read: Duration,
    /// Between two requests of one connection; also the most a peer may take to read one reply.
    pub keep_alive_idle: Duration,
    /// How long a peer may refuse to take one more byte of its reply.
    pub write_stall: Duration,
    /// Header lines of one request.
    pub max_headers: usize,
    /// Bytes of one request's head.
    pub max_header_bytes: usize,
    /// Open connections; further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// Open connections of one source address (IPv6: one /64); further ones are closed at once.
    ///
    /// Off by default, because all of Meta's traffic arrives from a handful of proxies: a cap that stops an attacker
    /// would stop Meta first. Set it only where every peer connects for itself.
    pub max_connections_per_source: Option<usize>,
    /// Bytes of all bodies being read or handled together.
    pub max_in_flight_body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_read: Duration::from_secs(5),
            body_read: Duration::from_secs(5),
            keep_alive_idle: Duration::from_secs(30),
            write_stall: Duration::from_secs(10),
            max_headers: 64,
            max_header_bytes: 16 * 1024,
            max_connections: 4096,
            max_connections_per_source: None,
            max_in_flight_body_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Answers requests.
///
/// The returned future is dropped when the peer closes its connection first, so work that must be finished belongs in a
/// task or a queue of its own. A panic is answered with 500.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request, whose body has arrived completely.
    fn handle(&self, request: Request) -> impl Future<Output = Response> + Send;

    /// The largest body this route accepts; asked before the first body byte is read.
    fn body_limit(&self, method: &Method, path: &str) -> usize {
        let _ = (method, path);
        DEFAULT_BODY_LIMIT_BYTES
    }
}

impl<F, A> Handler for F
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send,
{
    fn handle(&self, request: Request) -> impl Future<Output = Response> + Send {
        self(request)
    }
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, not ours, or not permitted.
    #[error("cannot listen on {addr}")]
    Bind {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The certificate file holds no readable certificate.
    #[error("the TLS certificate is not a PEM certificate chain")]
    Certificate(#[source] rustls_pki_types::pem::Error),
    /// The key file holds no readable private key.
    #[error("the TLS key is not a PEM private key")]
    Key(#[source] rustls_pki_types::pem::Error),
    /// Certificate and key do not belong together, or are of an unsupported kind.
    #[error("the TLS certificate and key cannot be used")]
    Tls(#[source] tokio_rustls::rustls::Error),
}

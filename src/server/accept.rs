//! The accept loop and the drain.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

use super::{
    Error, Handler, Limits, Listener,
    connection::{self, Shared},
};

/// How long to leave a failing `accept` alone: descriptors run out for longer than a scheduler turn.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The same failure is logged at most this often.
const ACCEPT_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// A bound listener, not yet accepting.
pub struct Server<H> {
    listener: TcpListener,
    local_addr: SocketAddr,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared<H>>,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections cut because their request outlived the grace period.
    pub cut: usize,
}

impl<H: Handler> Server<H> {
    /// Binds the address, so that a port that is taken is found before anything starts.
    pub async fn bind(listener: Listener, limits: Limits, handler: Arc<H>) -> Result<Self, Error> {
        let addr = listener.addr;
        let tls = listener.tls.as_ref().map(super::Tls::acceptor).transpose()?;
        let bound = TcpListener::bind(addr).await.map_err(|source| Error::Bind { addr, source })?;
        let local_addr = bound.local_addr().map_err(|source| Error::Bind { addr, source })?;
        Ok(Self { listener: bound, local_addr, tls, shared: Arc::new(Shared::new(handler, limits)) })
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown` becomes true or its sender is dropped, then stops accepting, lets requests in flight
    /// finish for `grace`, and returns when no connection is left.
    ///
    /// Not cancel safe: dropping the future cuts every connection.
    pub async fn run(self, shutdown: watch::Receiver<bool>, grace: Duration) -> Drained {
        let limits = &self.shared.limits;
        let slots = Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS)));
        let sources = limits.max_connections_per_source.map(Sources::new);
        let mut connections = JoinSet::new();
        let mut stop = shutdown.clone();
        let mut log_after = Instant::now();
        let begin = |connections: &mut JoinSet<()>, slot: OwnedSemaphorePermit, stream, peer: SocketAddr| {
            let source = match &sources {
                None => None,
                Some(sources) => match sources.enter(peer.ip()) {
                    Some(source) => Some(source),
                    None => return,
                },
            };
            let (shared, tls, stop) = (Arc::clone(&self.shared), self.tls.clone(), shutdown.clone());
            connections.spawn(async move {
                let _held = (slot, source);
                greet(stream, peer, tls, shared, stop).await;
            });
        };
        let mut paused = shutdown.clone();
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = accept(&self.listener, &slots) => accepted,
            };
            let (slot, stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if concerns_one_connection(&error) => continue,
                Err(error) => {
                    if Instant::now() >= log_after {
                        log_after = Instant::now() + ACCEPT_LOG_INTERVAL;
                        tracing::warn!(net.listener = %self.local_addr, error = %error, "cannot accept connections");
                    }
                    tokio::select! {
                        _ = paused.wait_for(|stop| *stop) => break,
                        () = tokio::time::sleep(ACCEPT_PAUSE) => continue,
                    }
                }
            };
            begin(&mut connections, slot, stream, peer);
        }
        // Whoever has connected by now was not refused, and would be cut off without a word.
        for (stream, peer) in waiting(self.listener) {
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { break };
            begin(&mut connections, slot, stream, peer);
        }
        drain(connections, grace).await
    }
}

/// Waits for a free slot first, so that a full server leaves new connections in the kernel's backlog. Cancel safe.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((slot, stream, peer))
}

/// Closes a listener; gives the connections that the kernel has taken and nobody has accepted.
fn waiting(listener: TcpListener) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
    // Of the system itself: the runtime may not have heard of them yet. It does not block.
    let listener = listener.into_std();
    std::iter::from_fn(move || {
        let (stream, peer) = listener.as_ref().ok()?.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, peer))
    })
}

/// Failures of the connection that was about to be accepted; all others concern the listener or the process.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

async fn greet<H: Handler>(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared<H>>,
    stop: watch::Receiver<bool>,
) {
    let accepted = Instant::now();
    // A reply is one write; Nagle's algorithm could only delay it.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(net.peer = %peer, error = %error, "connection failed");
        return;
    }
    let Some(tls) = tls else {
        return connection::serve(stream, peer, accepted, shared, stop).await;
    };
    // One that has begun goes on during a drain: its request is as good as in flight.
    match tokio::time::timeout(shared.limits.header_read, tls.accept(stream)).await {
        Ok(Ok(stream)) => connection::serve(stream, peer, accepted, shared, stop).await,
        Ok(Err(error)) => tracing::debug!(net.peer = %peer, error = %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(net.peer = %peer, "connection closed: the peer was too slow"),
    }
}

async fn drain(mut connections: JoinSet<()>, grace: Duration) -> Drained {
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, all_ended).await.is_ok() {
        return Drained { cut: 0 };
    }
    while connections.try_join_next().is_some() {}
    let cut = connections.len();
    connections.shutdown().await;
    Drained { cut }
}

/// Counts open connections by source.
#[derive(Clone)]
struct Sources {
    limit: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Sources {
    fn new(limit: usize) -> Self {
        Self { limit, open: Arc::default() }
    }

    /// Counts one more connection of this source, unless that is one too many.
    fn enter(&self, peer: IpAddr) -> Option<Source> {
        let key = source_of(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key).or_insert(0);
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Source { sources: self.clone(), key })
    }
}

/// Counts its connection out again when dropped.
struct Source {
    sources: Sources,
    key: IpAddr,
}

impl Drop for Source {
    fn drop(&mut self) {
        let mut open = self.sources.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

/// One household or machine usually owns a whole IPv6 /64, so counting single addresses would count nothing.
fn source_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_descriptors_is_waited_out_and_an_aborted_connection_is_not() {
        const EMFILE: i32 = 24;
        assert!(!concerns_one_connection(&io::Error::from_raw_os_error(EMFILE)));
        assert!(concerns_one_connection(&io::Error::from(io::ErrorKind::ConnectionAborted)));
    }

    #[test]
    fn a_source_over_its_limit_is_refused_until_one_of_its_connections_ends() {
        let sources = Sources::new(1);
        let first = sources.enter([192, 0, 2, 1].into()).expect("the first is admitted");
        assert!(sources.enter([192, 0, 2, 1].into()).is_none());
        assert!(sources.enter([192, 0, 2, 2].into()).is_some(), "another source is not affected");
        drop(first);
        assert!(sources.enter([192, 0, 2, 1].into()).is_some());
        assert!(sources.open.lock().expect("no panic while held").is_empty());
    }

    #[test]
    fn ipv6_addresses_of_one_network_are_one_source_and_mapped_ipv4_is_ipv4() {
        let source = |text: &str| source_of(text.parse().expect("an address"));
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    }
}

//! The fault dial: what goes wrong on purpose, in front of any sandbox peer.
//!
//! [`Dial::serve`] puts a peer behind a plain TCP front, because no HTTP server cuts a connection on purpose. Which requests
//! fail is told by the beginning of their path: the next ones in an order, or a share of all of them by a seed. A fault that
//! "accepts" lets the peer do its work first, so that only the answer is lost.
//!
//! Invariant: with nothing dialled, what passes is untouched. It listens on loopback only.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::server::header::{self, HeaderValue};
use crate::server::{Error, Handler, Limits, Listener, Method, Request, Response, Server, StatusCode};

/// Where a program turns the dial of `formgate sandbox`.
const CONTROL: &str = "/_dial";

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status, and the peer does nothing.
    Status(u16),
    /// 429 with `Retry-After` in seconds, and the peer does nothing.
    RateLimit(u64),
    /// The connection is reset, and the peer does nothing.
    Reset,
    /// No answer ever, and the peer does nothing.
    Hang,
    /// The peer does its work, and the connection is cut before the answer.
    AcceptThenCut,
    /// The peer does its work, and 500 is answered.
    AcceptThenFail,
}

/// A word that names no fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is none of a status (500), 429:SECONDS, reset, hang, cut and fail")]
pub struct UnknownFault;

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(text: &str) -> Result<Self, UnknownFault> {
        Ok(match text {
            "reset" => Fault::Reset,
            "hang" => Fault::Hang,
            "cut" => Fault::AcceptThenCut,
            "fail" => Fault::AcceptThenFail,
            other => match other.split_once(':') {
                Some(("429", seconds)) => Fault::RateLimit(seconds.parse().map_err(|_| UnknownFault)?),
                Some(_) => return Err(UnknownFault),
                None => {
                    let status = other.parse().ok().filter(|status| (400..600).contains(status));
                    Fault::Status(status.ok_or(UnknownFault)?)
                }
            },
        })
    }
}

/// The faults of paths that begin alike.
enum Setting {
    /// These, once each, in this order.
    Next(VecDeque<Fault>),
    /// Each with so many chances in a thousand.
    Mix(Vec<(Fault, u16)>, Box<SmallRng>),
}

impl Setting {
    fn take(&mut self) -> Option<Fault> {
        match self {
            Setting::Next(faults) => faults.pop_front(),
            Setting::Mix(faults, random) => {
                let mut drawn = random.random_range(0..1_000u16);
                faults.iter().find_map(|(fault, chances)| match drawn.checked_sub(*chances) {
                    Some(rest) => {
                        drawn = rest;
                        None
                    }
                    None => Some(*fault),
                })
            }
        }
    }
}

#[derive(Default)]
struct State {
    settings: Vec<(String, Setting)>,
    /// The open connections, by the address that the peer sees.
    links: HashMap<SocketAddr, Arc<Notify>>,
}

/// The dial. Cheap to clone; clones are one dial.
#[derive(Clone, Default)]
pub struct Dial(Arc<Mutex<State>>);

impl Dial {
    /// Nothing goes wrong.
    pub fn new() -> Dial {
        Dial::default()
    }

    /// The next requests whose path begins so fail like this, in this order; replaces what was set for them.
    pub fn next(&self, prefix: &str, faults: impl IntoIterator<Item = Fault>) {
        self.set(prefix, Setting::Next(faults.into_iter().collect()));
    }

    /// Requests whose path begins so fail by chance, each fault in so many of a thousand; a seed repeats a run.
    pub fn mix(&self, prefix: &str, seed: u64, faults: impl IntoIterator<Item = (Fault, u16)>) {
        let random = Box::new(SmallRng::seed_from_u64(seed));
        self.set(prefix, Setting::Mix(faults.into_iter().collect(), random));
    }

    /// Nothing goes wrong any more.
    pub fn clear(&self) {
        self.state().settings.clear();
    }

    /// Serves a peer behind the dial on a loopback address until `stop` becomes true; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is taken or is none of this machine's own.
    pub async fn serve<H: Handler>(
        &self,
        peer: H,
        addr: SocketAddr,
        stop: watch::Receiver<bool>,
    ) -> Result<SocketAddr, Error> {
        self.front(peer, addr, false, stop).await
    }

    /// The same, and `POST /_dial` turns the dial: `{"path": "/hubspot", "faults": ["429:5", "reset"]}`.
    ///
    /// # Errors
    /// As [`Dial::serve`].
    pub async fn serve_with_control<H: Handler>(
        &self,
        peer: H,
        addr: SocketAddr,
        stop: watch::Receiver<bool>,
    ) -> Result<SocketAddr, Error> {
        self.front(peer, addr, true, stop).await
    }

    async fn front<H: Handler>(
        &self,
        peer: H,
        addr: SocketAddr,
        controlled: bool,
        stop: watch::Receiver<bool>,
    ) -> Result<SocketAddr, Error> {
        let bind = |source| Error::Bind { addr, source };
        if !addr.ip().is_loopback() {
            return Err(bind(std::io::ErrorKind::PermissionDenied.into()));
        }
        let behind = Dialled { peer, dial: self.clone(), controlled };
        let inner = Listener { addr: SocketAddr::new(addr.ip(), 0), tls: None };
        let server = Server::bind(inner, Limits::default(), Arc::new(behind)).await?;
        let inner = server.local_addr();
        let front = TcpListener::bind(addr).await.map_err(bind)?;
        let address = front.local_addr().map_err(bind)?;
        tokio::spawn(server.run(stop.clone(), Duration::from_secs(1)));
        tokio::spawn(forward(front, inner, self.clone(), stop));
        Ok(address)
    }

    fn set(&self, prefix: &str, setting: Setting) {
        let mut state = self.state();
        state.settings.retain(|(of, _)| of != prefix);
        state.settings.push((prefix.to_owned(), setting));
    }

    fn take(&self, path: &str) -> Option<Fault> {
        let mut state = self.state();
        let mut settings = state.settings.iter_mut().filter(|(prefix, _)| path.starts_with(prefix.as_str()));
        settings.find_map(|(_, setting)| setting.take())
    }

    fn cut(&self, link: SocketAddr) {
        if let Some(cut) = self.state().links.get(&link) {
            cut.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self, body: &[u8]) -> Result<(), String> {
        let wanted: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let path = wanted["path"].as_str().ok_or("path is missing")?;
        let words = wanted["faults"].as_array().ok_or("faults is missing")?;
        let fault = |word: &Value| word.as_str().unwrap_or_default().parse::<Fault>();
        let faults: Result<Vec<_>, _> = words.iter().map(fault).collect();
        self.next(path, faults.map_err(|error| format!("a fault {error}"))?);
        Ok(())
    }
}

/// A peer with the dial before it.
struct Dialled<H> {
    peer: H,
    dial: Dial,
    controlled: bool,
}

impl<H: Handler> Handler for Dialled<H> {
    async fn handle(&self, request: Request) -> Response {
        if self.controlled && request.path() == CONTROL {
            return self.control(&request);
        }
        let link = request.peer;
        match self.dial.take(request.path()) {
            None => self.peer.handle(request).await,
            Some(Fault::Status(status)) => failed(status),
            Some(Fault::RateLimit(seconds)) => {
                failed(429).with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
            }
            Some(Fault::Hang) => never().await,
            Some(Fault::Reset) => {
                self.dial.cut(link);
                never().await
            }
            Some(Fault::AcceptThenCut) => {
                let _lost = self.peer.handle(request).await;
                self.dial.cut(link);
                never().await
            }
            Some(Fault::AcceptThenFail) => {
                let _lost = self.peer.handle(request).await;
                failed(500)
            }
        }
    }

    fn body_limit(&self, method: &Method, path: &str) -> usize {
        self.peer.body_limit(method, path)
    }
}

impl<H> Dialled<H> {
    fn control(&self, request: &Request) -> Response {
        // With this type a browser asks first, so no page that somebody visits can turn the dial.
        let is_json = request.header(header::CONTENT_TYPE) == Some("application/json");
        if request.method != Method::POST || !is_json {
            return Response::method_not_allowed("POST");
        }
        match self.dial.turn(&request.body) {
            Ok(()) => Response::empty(StatusCode::NO_CONTENT),
            Err(reason) => Response::text(StatusCode::BAD_REQUEST, reason),
        }
    }
}

async fn never() -> Response {
    match pending::<Infallible>().await {}
}

fn failed(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Response::json(status, &json!({"status": "error", "message": "failed on purpose"}))
}

/// Passes connections on until the dial cuts them.
async fn forward(front: TcpListener, inner: SocketAddr, dial: Dial, mut stop: watch::Receiver<bool>) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = front.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        while open.try_join_next().is_some() {}
        let Ok((outside, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        open.spawn(pass(outside, inner, dial.clone()));
    }
}

async fn pass(mut outside: TcpStream, inner: SocketAddr, dial: Dial) {
    let Ok(mut inside) = TcpStream::connect(inner).await else { return };
    let Ok(link) = inside.local_addr() else { return };
    let cut = Arc::new(Notify::new());
    dial.state().links.insert(link, Arc::clone(&cut));
    tokio::select! {
        _ = copy_bidirectional(&mut outside, &mut inside) => {}
        () = cut.notified() => {
            // Without it the end of a connection looks like one that was meant.
            let _closed_anyway = outside.set_zero_linger();
        }
    }
    dial.state().links.remove(&link);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_dealt_by_path_and_in_order() {
        let dial = Dial::new();
        dial.next("/a", [Fault::Hang, Fault::Reset]);
        dial.next("/b", [Fault::Status(503)]);
        assert_eq!(dial.take("/c"), None);
        assert_eq!(dial.take("/a/x"), Some(Fault::Hang));
        assert_eq!(dial.take("/b"), Some(Fault::Status(503)));
        assert_eq!(dial.take("/b"), None);
        assert_eq!(dial.take("/a"), Some(Fault::Reset));
        assert_eq!(dial.take("/a"), None);
    }

    #[test]
    fn a_mix_keeps_its_shares_and_a_seed_repeats_it() {
        let deal = |seed| {
            let dial = Dial::new();
            dial.mix("/", seed, [(Fault::Hang, 100), (Fault::Reset, 200)]);
            (0..10_000).map(|_| dial.take("/x")).collect::<Vec<_>>()
        };
        let dealt = deal(1);
        assert_eq!(dealt, deal(1));
        assert_ne!(dealt, deal(2));
        let share = |fault| dealt.iter().filter(|dealt| **dealt == Some(fault)).count();
        assert!((900..1_100).contains(&share(Fault::Hang)), "{}", share(Fault::Hang));
        assert!((1_850..2_150).contains(&share(Fault::Reset)), "{}", share(Fault::Reset));
    }

    #[test]
    fn faults_have_words() {
        let words = ["500", "429:7", "reset", "hang", "cut", "fail"].map(str::parse);
        let faults = [
            Fault::Status(500),
            Fault::RateLimit(7),
            Fault::Reset,
            Fault::Hang,
            Fault::AcceptThenCut,
            Fault::AcceptThenFail,
        ];
        assert_eq!(words, faults.map(Ok));
        for word in ["", "200", "429:", "503:1", "explode"] {
            assert_eq!(word.parse::<Fault>(), Err(UnknownFault), "{word}");
        }
    }
}

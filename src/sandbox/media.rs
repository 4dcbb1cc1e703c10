//! Meta's file servers as far as a flow needs them: what a phone has put there can be fetched by whoever knows where.
//!
//! `PUT /v/{name}` takes a file as it is, encrypted by who sends it; `GET /v/{name}` gives it back, or does what the dial
//! says. It knows no key and opens nothing.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use crate::server::{
    Error, Handler, Limits, Listener, Method, Pieces, Request, Response, Server, StatusCode,
    header::{self, HeaderValue},
};

/// Files that are kept; older ones are forgotten.
const KEPT: usize = 40;
/// Meta's cap of a file, and what encryption adds (WhatsApp Flows reference 5.1).
const MAX_FILE_BYTES: usize = 25 * 1024 * 1024 + 26;
/// What a huge file claims to have.
const HUGE_BYTES: u64 = 1 << 30;

/// What happens to files that are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tamper {
    /// Nothing: they come as they were put.
    #[default]
    Not,
    /// One bit is another.
    FlipBit,
    /// The last byte is missing.
    CutOff,
    /// It is said to be elsewhere.
    Redirect,
    /// It is answered with this status.
    Status(StatusCode),
    /// It comes byte by byte, with this pause between them.
    Drip(Duration),
    /// It has a gibibyte.
    Huge,
}

#[derive(Default)]
struct State {
    files: VecDeque<(String, Bytes)>,
    tamper: Tamper,
    fetched: Vec<String>,
}

/// The servers. Cheap to clone; clones are one.
#[derive(Clone, Default)]
pub struct Media(Arc<Mutex<State>>);

impl Media {
    /// Servers without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves on a free port of 127.0.0.1 until `stop` becomes true; says where.
    pub async fn serve(&self, stop: watch::Receiver<bool>) -> Result<SocketAddr, Error> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server =
            Server::bind(Listener { addr, tls: None }, Limits::default(), Arc::new(self.clone())).await?;
        let addr = server.local_addr();
        tokio::spawn(server.run(stop, Duration::from_secs(1)));
        Ok(addr)
    }

    /// Sets the dial.
    pub fn tamper(&self, tamper: Tamper) {
        self.state().tamper = tamper;
    }

    /// Puts a file there.
    pub fn put(&self, name: &str, file: impl Into<Bytes>) {
        let mut state = self.state();
        state.files.retain(|(known, _)| known != name);
        if state.files.len() == KEPT {
            state.files.pop_front();
        }
        state.files.push_back((name.to_owned(), file.into()));
    }

    /// The names of the files that are there, oldest first.
    pub fn names(&self) -> Vec<String> {
        self.state().files.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The names that were asked for, in order, one for each time.
    pub fn fetched(&self) -> Vec<String> {
        self.state().fetched.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, name: &str) -> Response {
        let mut state = self.state();
        state.fetched.push(name.to_owned());
        let Some((_, file)) = state.files.iter().find(|(known, _)| known == name) else {
            return Response::empty(StatusCode::NOT_FOUND);
        };
        let file = file.clone();
        match state.tamper {
            Tamper::Not => Response::new(StatusCode::OK, "application/octet-stream", file),
            Tamper::FlipBit => {
                let mut file = file.to_vec();
                let middle = file.len() / 2;
                file.get_mut(middle).into_iter().for_each(|byte| *byte ^= 1);
                Response::new(StatusCode::OK, "application/octet-stream", file)
            }
            Tamper::CutOff => {
                let file = file.slice(..file.len().saturating_sub(1));
                Response::new(StatusCode::OK, "application/octet-stream", file)
            }
            Tamper::Redirect => Response::empty(StatusCode::FOUND).with_header(
                header::LOCATION,
                HeaderValue::from_static("http://169.254.169.254/latest/meta-data/"),
            ),
            Tamper::Status(status) => Response::empty(status),
            Tamper::Drip(pause) => {
                let (length, bytes) =
                    (file.len() as u64, file.into_iter().map(|byte| Bytes::from(vec![byte])));
                streamed(length, bytes, pause)
            }
            Tamper::Huge => {
                let piece = Bytes::from(vec![0; 64 * 1024]);
                streamed(HUGE_BYTES, std::iter::repeat(piece), Duration::ZERO)
            }
        }
    }
}

/// A body that is made while it is sent; it ends when nobody takes it any more.
fn streamed(length: u64, pieces: impl Iterator<Item = Bytes> + Send + 'static, pause: Duration) -> Response {
    let (to, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        for piece in pieces {
            if to.send(piece).await.is_err() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    });
    let content_type = HeaderValue::from_static("application/octet-stream");
    Response::streamed(StatusCode::OK, content_type, Pieces::new(length, receiver))
}

impl Handler for Media {
    async fn handle(&self, request: Request) -> Response {
        let Some(name) = request.path().strip_prefix("/v/").filter(|name| !name.is_empty()) else {
            return Response::empty(StatusCode::NOT_FOUND);
        };
        match request.method {
            Method::GET => self.get(name),
            Method::PUT => {
                self.put(name, request.body.clone());
                Response::empty(StatusCode::CREATED)
            }
            _ => Response::method_not_allowed("GET, PUT"),
        }
    }

    fn body_limit(&self, method: &Method, _path: &str) -> usize {
        if *method == Method::PUT { MAX_FILE_BYTES } else { 0 }
    }
}

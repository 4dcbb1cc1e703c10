//! The endpoint behind its real server, on a thread of its own, against phones that only send and receive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use formgate::server::{Limits, Listener, Request, Response, Server, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::gate::{Gate, Kind, Sample};
use super::median;
use super::stages::Bare;

/// More than the endpoint keeps replies of, so that none is given twice from memory.
pub const SAMPLES: usize = 6_000;
const MEASURED: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 16;
/// At half load a request rarely waits for a free connection.
const CONNECTIONS_HALF: usize = 64;

pub fn print_head() {
    println!(
        "{:>8} {:>14} {:>8} {:>10} {:>10} {:>9} {:>10} {:>8} {:>8}",
        "flows", "exchange", "RSA us", "req/s", "req/s core", "of 1/RSA", "half req/s", "p50 ms", "p99 ms"
    );
}

/// One row: full load first, then half of what was reached.
pub fn measure(gate: &Gate, bare: &Bare, kind: Kind, samples: Vec<Sample>) {
    let serving = Serving::start(gate);
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let load = Arc::new(Load { samples, next: AtomicUsize::new(0), address: serving.address });

    let stop_bare = AtomicU64::new(0);
    let (rate, per_core, rsa) = std::thread::scope(|scope| {
        // The bare operation runs now and then on the thread of the phones' machine, while the server is at work.
        let rsa = scope.spawn(|| {
            let mut took = Vec::new();
            while stop_bare.load(Ordering::Relaxed) == 0 {
                let begun = Instant::now();
                bare.decrypt();
                took.push(begun.elapsed());
                std::thread::sleep(Duration::from_millis(10));
            }
            median(took)
        });
        let (cpu, begun) = (serving.cpu(), Instant::now());
        let answered = client.block_on(load.full());
        let (wall, cpu) = (begun.elapsed(), serving.cpu() - cpu);
        stop_bare.store(1, Ordering::Relaxed);
        let per = |time: Duration| answered as f64 / time.as_secs_f64();
        (per(wall), per(cpu), rsa.join().expect("no panic"))
    });
    let mut took = client.block_on(load.at_rate(rate / 2.0));
    took.sort_unstable();
    let ms = |thousandth: usize| {
        took.get(took.len() * thousandth / 1_000).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    };
    println!(
        "{:>8} {:>14} {:>8.0} {rate:>10.0} {per_core:>10.0} {:>9.2} {:>10.0} {:>8.2} {:>8.2}",
        gate.flows(),
        kind.name(),
        rsa.as_secs_f64() * 1e6,
        per_core * rsa.as_secs_f64(),
        rate / 2.0,
        ms(500),
        ms(990),
    );
    serving.stop();
}

/// The server on a thread of its own.
struct Serving {
    address: SocketAddr,
    /// Where Linux tells how long that thread was on a core.
    schedstat: String,
    stop: watch::Sender<bool>,
    thread: std::thread::JoinHandle<()>,
}

impl Serving {
    fn start(gate: &Gate) -> Serving {
        let endpoint = gate.endpoint.clone();
        let (stop, stopped) = watch::channel(false);
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let handler = move |request: Request| {
                    let endpoint = endpoint.clone();
                    async move {
                        match request.path().strip_prefix("/flows/") {
                            Some(flow) => endpoint.exchange(flow, &request).await,
                            None => Response::empty(StatusCode::NOT_FOUND),
                        }
                    }
                };
                let listener = Listener { addr: SocketAddr::from(([127, 0, 0, 1], 0)), tls: None };
                let server =
                    Server::bind(listener, Limits::default(), Arc::new(handler)).await.expect("a port");
                let thread = std::fs::read_link("/proc/thread-self").expect("Linux");
                let schedstat = format!("/proc/{}/schedstat", thread.display());
                tell.send((server.local_addr(), schedstat)).expect("the caller waits");
                server.run(stopped, Duration::from_secs(1)).await;
            });
        });
        let (address, schedstat) = told.recv().expect("the server starts");
        Serving { address, schedstat, stop, thread }
    }

    /// Time on a core so far.
    fn cpu(&self) -> Duration {
        let text = std::fs::read_to_string(&self.schedstat).expect("a running thread");
        let ns = text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds");
        Duration::from_nanos(ns)
    }

    fn stop(self) {
        self.stop.send_replace(true);
        self.thread.join().expect("no panic");
    }
}

struct Load {
    samples: Vec<Sample>,
    next: AtomicUsize,
    address: SocketAddr,
}

impl Load {
    /// As much as the server takes; how many requests that was.
    async fn full(self: &Arc<Self>) -> usize {
        let give_up = Instant::now() + MEASURED;
        let mut phones = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            let load = Arc::clone(self);
            phones.spawn(async move {
                let mut connection = load.connect().await;
                let mut answered = 0;
                while Instant::now() < give_up {
                    load.ask(&mut connection).await;
                    answered += 1;
                }
                answered
            });
        }
        phones.join_all().await.into_iter().sum()
    }

    /// Requests at random moments, so many a second, whether or not earlier ones are answered; how long each took from
    /// the moment it was due.
    async fn at_rate(self: &Arc<Self>, rate: f64) -> Vec<Duration> {
        let (due, waiting) = mpsc::unbounded_channel::<Instant>();
        let waiting = Arc::new(tokio::sync::Mutex::new(waiting));
        let mut phones = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS_HALF {
            let (load, waiting) = (Arc::clone(self), Arc::clone(&waiting));
            phones.spawn(async move {
                let mut connection = load.connect().await;
                let mut took = Vec::new();
                loop {
                    let next = waiting.lock().await.recv().await;
                    let Some(at) = next else { return took };
                    load.ask(&mut connection).await;
                    took.push(at.elapsed());
                }
            });
        }
        let (begun, mut at) = (Instant::now(), Duration::ZERO);
        while at < MEASURED {
            // Times between arrivals that know nothing of each other are distributed exponentially.
            at += Duration::from_secs_f64(-(1.0 - rand::random::<f64>()).ln() / rate);
            tokio::time::sleep_until((begun + at).into()).await;
            due.send(begun + at).expect("phones wait");
        }
        drop(due);
        phones.join_all().await.concat()
    }

    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let (sender, driver) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        tokio::spawn(driver);
        sender
    }

    async fn ask(&self, connection: &mut SendRequest<Full<Bytes>>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let sample = &self.samples[number % self.samples.len()];
        let request = hyper::Request::post(format!("/flows/{}", sample.flow))
            .header("host", "bench")
            .header("content-type", "application/json")
            .header("x-hub-signature-256", &sample.signature)
            .body(Full::new(sample.body.clone()))
            .expect("a request");
        connection.ready().await.expect("a connection");
        let response = connection.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.expect("a body");
    }
}

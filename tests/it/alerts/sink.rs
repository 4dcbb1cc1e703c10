//! A webhook that takes alerts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use formgate::server::{Limits, Listener, Request, Response, Server, StatusCode};
use serde_json::Value as Json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// It ends with its sink.
pub struct Sink {
    heard: Arc<Mutex<Vec<Json>>>,
    /// The ids of what it did not take.
    refused: Arc<Mutex<Vec<String>>>,
    refuses: Arc<AtomicBool>,
    pub at: SocketAddr,
    _stop: watch::Sender<bool>,
}

impl Sink {
    pub async fn open() -> Sink {
        let (heard, refused) = (Arc::<Mutex<Vec<Json>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let refuses = Arc::<AtomicBool>::default();
        let (hears, denied, denies) = (Arc::clone(&heard), Arc::clone(&refused), Arc::clone(&refuses));
        let handler = move |request: Request| {
            let id = request.header("webhook-id").expect("an id").to_owned();
            if denies.load(Ordering::SeqCst) {
                denied.lock().expect("no panic").push(id);
                return std::future::ready(Response::empty(StatusCode::SERVICE_UNAVAILABLE));
            }
            let mut notice: Json = serde_json::from_slice(&request.body).expect("JSON");
            notice["id"] = id.into();
            hears.lock().expect("no panic").push(notice);
            std::future::ready(Response::empty(StatusCode::NO_CONTENT))
        };
        let listener = Listener { addr: ([127, 0, 0, 1], 0).into(), tls: None };
        let server = Server::bind(listener, Limits::default(), Arc::new(handler)).await.expect("a port");
        let at = server.local_addr();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(server.run(stopped, Duration::ZERO));
        Sink { heard, refused, refuses, at, _stop: stop }
    }

    /// Whether it takes anything from now on.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Waits until it has refused so many; gives their ids.
    pub async fn until_refused(&self, count: usize) -> Vec<String> {
        let refused = || self.refused.lock().expect("no panic").clone();
        self.wait(&format!("{count} refused"), || refused().len() >= count).await;
        refused()
    }

    /// Its section of a configuration.
    pub fn section(&self) -> String {
        format!(
            "[[alert]]\nid = \"ops\"\nkind = \"webhook\"\nurl = \"http://{}/\"\nallow_private_network = true\n\
             secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n",
            self.at
        )
    }

    /// Everything that it took, in order, with the ids.
    pub fn all(&self) -> Vec<Json> {
        self.heard.lock().expect("no panic").clone()
    }

    /// Kind and cause of everything that it took.
    pub fn told(&self) -> Vec<String> {
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let told = |notice: &Json| format!("{} {}", text(&notice["type"]), text(&notice["data"]["cause"]));
        self.all().iter().map(told).collect()
    }

    /// Waits until it took so many.
    pub async fn until(&self, count: usize) -> Vec<Json> {
        self.wait(&format!("{count} notices"), || self.all().len() >= count).await;
        self.all()
    }

    async fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < end, "never: {what}; {:?}", self.all());
            sleep(Duration::from_millis(20)).await;
        }
    }
}

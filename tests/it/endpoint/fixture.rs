//! An endpoint on a socket, with a real key, a real store and a phone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use formgate::crypto::{
    AppSecret, AppSecrets, KeyRing, MacKey, MasterKey, MasterKeys, PrivateKey, Purpose, Sealer, Vault,
};
use formgate::endpoint::{Endpoint, Flow, Flows, TokenPolicy, TokenSignature};
use formgate::flow::compile::{Compiled, Settings, compile};
use formgate::flow::handler::Handler;
use formgate::form::Form;
use formgate::outbox::{Clock as _, DestinationId, Filter, Outbox, Repeat, Shown, Submission};
use formgate::player::document::Document;
use formgate::player::transport::HttpTransport;
use formgate::player::{Options, Player};
use formgate::server::{Limits, Listener, Request, Response, Server, StatusCode};
use formgate::store::{self, DeliveryState, Store};
use formgate::telemetry::Metrics;
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::outbox::fixture::ManualClock;

/// The app's secret in these tests.
pub const SECRET: &str = "app-secret";

/// Keys take a while to make; the tests share two.
pub fn key(number: usize) -> PrivateKey {
    static PEMS: std::sync::LazyLock<[SecretString; 2]> = std::sync::LazyLock::new(|| {
        [PrivateKey::generate().private_pem(), PrivateKey::generate().private_pem()]
    });
    use secrecy::ExposeSecret as _;
    PrivateKey::from_pem(PEMS[number].expose_secret(), None).expect("our own key")
}

/// What a test may change of its flow.
pub struct Setup {
    pub versions: Vec<Compiled>,
    pub keys: Vec<PrivateKey>,
    pub tokens: TokenPolicy,
    pub token_signature: TokenSignature,
    pub repeat: Repeat,
}

impl Setup {
    /// One version of this form.
    pub fn of(form: &Form, settings: &Settings) -> Setup {
        let compiled = compile(form, settings).unwrap_or_else(|error| panic!("{error}"));
        Setup {
            versions: vec![compiled],
            keys: vec![key(0)],
            tokens: TokenPolicy::Any,
            token_signature: TokenSignature::IfPresent,
            repeat: Repeat::Append,
        }
    }

    pub async fn start(self) -> Gate {
        let directory = tempfile::tempdir().expect("a folder");
        let store = Store::open_embedded(&store::Options::new(directory.path())).expect("a store");
        let sealer = Sealer::new(&MasterKeys::new(MasterKey::generate(), Vec::new()));
        let clock = Arc::new(ManualClock::new());
        let vault = Vault::new(sealer.clone(), Purpose::StoredBody);
        let index = MacKey::from_bytes(&[7; 32]).expect("32 bytes");
        let (vault, index): (Arc<Vault>, Arc<MacKey>) = (Arc::new(vault), Arc::new(index));
        // On a busy machine three seconds are over soon; the phone waits for ten.
        let outbox = {
            let (store, clock) = (store.clone(), Arc::clone(&clock));
            move || {
                let outbox = Outbox::new(store.clone(), vault.clone(), clock.clone());
                outbox.indexed(index.clone()).accepting_within(Duration::from_secs(8))
            }
        };
        let metrics = Metrics::new();
        let secret = AppSecret::new(SecretString::from(SECRET), None).expect("a secret");
        let document = self.versions.first().expect("a version").document.clone();
        let public_pem = self.keys.first().expect("a key").public_pem();
        let flows = Flows::default();
        flows.replace([Flow {
            id: "contact".to_owned(),
            keys: Arc::new(KeyRing::new(self.keys)),
            app_secrets: Arc::new(AppSecrets::new(vec![secret]).expect("secrets")),
            tokens: self.tokens,
            token_signature: self.token_signature,
            repeat: self.repeat,
            destinations: vec![DestinationId::new("crm").expect("an id")],
            versions: self.versions.into_iter().map(|version| Arc::new(Handler::new(version.plan))).collect(),
            metrics: metrics.flow("contact"),
            test: false,
        }]);
        let begin: Box<dyn Fn() -> Serving> = {
            let (sealer, metrics, clock) = (sealer.clone(), metrics.clone(), Arc::clone(&clock));
            Box::new(move || {
                let (flows, outbox, clock) = (flows.clone(), outbox(), clock.clone());
                let endpoint = Endpoint::new(flows, sealer.clone(), outbox.clone(), clock, metrics.clone());
                Serving { endpoint, outbox }
            })
        };
        let begun = begin();
        let outbox = begun.outbox.clone();
        let serving = Arc::new(Mutex::new(begun));
        let asked = Arc::clone(&serving);
        let handler = move |request: Request| {
            let endpoint = asked.lock().expect("no panic while held").endpoint.clone();
            async move {
                match request.path().strip_prefix("/flows/") {
                    Some(flow) => endpoint.exchange(flow, &request).await,
                    None => Response::empty(StatusCode::NOT_FOUND),
                }
            }
        };
        let listener = Listener { addr: "127.0.0.1:0".parse().expect("an address"), tls: None };
        let server = Server::bind(listener, Limits::default(), Arc::new(handler)).await.expect("a port");
        let address = format!("http://{}/flows/contact", server.local_addr());
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(server.run(stopped, Duration::from_secs(1)));
        Gate {
            address,
            document,
            public_pem,
            store,
            outbox,
            sealer,
            metrics,
            clock,
            begin,
            serving,
            _directory: directory,
            _stop: stop,
        }
    }
}

/// What a process has in memory.
struct Serving {
    endpoint: Endpoint,
    outbox: Outbox,
}

/// A running endpoint.
pub struct Gate {
    pub address: String,
    pub document: Value,
    pub public_pem: String,
    pub store: Store,
    pub outbox: Outbox,
    pub sealer: Sealer,
    pub metrics: Metrics,
    /// The endpoint's, which stands still.
    pub clock: Arc<ManualClock>,
    begin: Box<dyn Fn() -> Serving>,
    serving: Arc<Mutex<Serving>>,
    _directory: TempDir,
    _stop: watch::Sender<bool>,
}

impl Gate {
    /// A phone that shows the newest version.
    pub fn player(&self, token: &str) -> Player<HttpTransport> {
        self.player_of(&self.document, token, Options::default())
    }

    /// A phone that shows this version.
    pub fn player_of(&self, document: &Value, token: &str, options: Options) -> Player<HttpTransport> {
        let transport = HttpTransport::new(&self.address).expect("an address");
        let document = Document::read(document).expect("a document");
        let options = Options { resend_delay: Duration::ZERO, ..options };
        Player::new(document, &self.public_pem, SecretString::from(SECRET), token, transport, options)
            .expect("a player")
    }

    /// From now on it remembers only what is stored, as after a restart, or as another node.
    pub fn restart(&self) {
        *self.serving.lock().expect("no panic while held") = (self.begin)();
    }

    /// Writes down which walks began, as a process does every second.
    pub async fn write_openings(&self) {
        let outbox = self.serving.lock().expect("no panic while held").outbox.clone();
        outbox.write_openings().await.expect("written");
    }

    /// The time of the endpoint.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Lets the time go on to where what is shown is due; not while it is under way, or its lease would end.
    pub fn advance_to_the_next_attempt(&self, shown: &Shown) {
        let due = shown.deliveries.iter().filter(|view| view.state == DeliveryState::Due);
        let wait_ms = due.map(|view| view.at_ms - self.now_ms()).max();
        self.clock.advance(wait_ms.unwrap_or(0).max(0));
    }

    /// Everything that was stored.
    pub async fn submissions(&self) -> Vec<Submission> {
        let page = self.outbox.list(&Filter::default(), None, 1_000).await.expect("a list");
        let mut found = Vec::new();
        for entry in page.items {
            let shown = self.outbox.show(entry.id).await.expect("a read").expect("a submission");
            found.push(shown.submission);
        }
        found
    }
}

//! An endpoint with as many flows as wanted, and envelopes for it as phones make them.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use formgate::crypto::{
    AppSecret, AppSecrets, KeyRing, MasterKey, MasterKeys, PrivateKey, Purpose, Sealer, Vault,
};
use formgate::endpoint::{Endpoint, Flow, Flows, TokenPolicy, TokenSignature};
use formgate::flow::compile::{Settings, compile};
use formgate::flow::handler::Handler;
use formgate::form::Form;
use formgate::outbox::{DestinationId, Outbox, Repeat, SystemClock};
use formgate::player::document::Document;
use formgate::player::envelope::{EndpointKey, Envelope, hub_signature};
use formgate::player::strategy::{Strategy as _, Truthful};
use formgate::player::transport::{self, Transport};
use formgate::player::{Options, Outcome, Player};
use formgate::server::{
    HeaderMap, Limits, Listener, Method, Request, RequestId, Response, Server, StatusCode, header,
};
use formgate::store::{self, Store};
use formgate::telemetry::Metrics;
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::stages::Bare;

const FORM: &str = include_str!("../../assets/demo-form.json");
const SECRET: &str = "bench-app-secret";

/// What is asked of the endpoint.
#[derive(Clone, Copy)]
pub enum Kind {
    /// The health check.
    Ping,
    /// The opening.
    Init,
    /// The first screen, filled in and sent.
    Screen,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Ping, Kind::Init, Kind::Screen];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Ping => "ping",
            Kind::Init => "INIT",
            Kind::Screen => "data_exchange",
        }
    }
}

/// One request.
#[derive(Clone)]
pub struct Sample {
    pub flow: String,
    pub body: Bytes,
    pub signature: String,
    /// What was sealed.
    pub plaintext: Vec<u8>,
}

/// The endpoint.
pub struct Gate {
    pub endpoint: Endpoint,
    pub sealer: Sealer,
    pub secrets: Arc<AppSecrets>,
    pub keys: Arc<KeyRing>,
    flows: usize,
    document: Document,
    public_pem: String,
    key: EndpointKey,
    id: RequestId,
    _folder: TempDir,
}

impl Gate {
    pub fn handler() -> Handler {
        let form: Form = serde_json::from_str(FORM).expect("a form");
        Handler::new(compile(&form, &Settings::default()).expect("a flow").plan)
    }

    pub async fn start(flows: usize, bare: &Bare) -> Gate {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open_embedded(&store::Options::new(folder.path())).expect("a store");
        let sealer = Sealer::new(&MasterKeys::new(MasterKey::generate(), Vec::new()));
        let clock = Arc::new(SystemClock::new());
        let vault = Vault::new(sealer.clone(), Purpose::StoredBody);
        let outbox = Outbox::new(store, Arc::new(vault), clock.clone());
        let metrics = Metrics::new();
        let secret = AppSecret::new(SecretString::from(SECRET), None).expect("a secret");
        let secrets = Arc::new(AppSecrets::new(vec![secret]).expect("secrets"));
        let private = PrivateKey::from_pem(&bare.pem(), None).expect("a key");
        let public_pem = private.public_pem();
        let keys = Arc::new(KeyRing::new(vec![private]));
        let served = Flows::default();
        // Each flow has handlers of its own, as if it were another form.
        let flow = |number: usize| Flow {
            id: flow_id(number),
            keys: Arc::clone(&keys),
            app_secrets: Arc::clone(&secrets),
            tokens: TokenPolicy::Any,
            token_signature: TokenSignature::IfPresent,
            repeat: Repeat::Append,
            destinations: vec![DestinationId::new("crm").expect("an id")],
            versions: vec![Arc::new(Gate::handler())],
            metrics: metrics.flow(&flow_id(number)),
            test: false,
        };
        served.replace((0..flows).map(flow));
        let form: Form = serde_json::from_str(FORM).expect("a form");
        let compiled = compile(&form, &Settings::default()).expect("a flow");
        Gate {
            endpoint: Endpoint::new(served, sealer.clone(), outbox, clock, metrics.clone()),
            sealer,
            secrets,
            keys,
            flows,
            document: Document::read(&compiled.document).expect("a document"),
            key: EndpointKey::from_pem(&public_pem).expect("a key"),
            public_pem,
            id: request_id().await,
            _folder: folder,
        }
    }

    /// How many flows are loaded.
    pub fn flows(&self) -> usize {
        self.flows
    }

    /// The request as the server hands it over.
    pub fn request(&self, sample: &Sample) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        headers.insert("x-hub-signature-256", sample.signature.parse().expect("a header"));
        Request {
            method: Method::POST,
            uri: format!("/flows/{}", sample.flow).parse().expect("a path"),
            headers,
            body: sample.body.clone(),
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            id: self.id,
            received: Instant::now(),
        }
    }

    /// Envelopes, no two of them the same, over all flows. Screens are sent with the state of a walk of their own.
    pub async fn samples(&self, kind: Kind, count: usize) -> Vec<Sample> {
        let mut samples = Vec::with_capacity(count);
        let mut walked: Option<(String, Value)> = None;
        for number in 0..count {
            let flow = flow_id(rand::random_range(0..self.flows));
            let (flow, plaintext) = match kind {
                Kind::Ping => (flow, json!({"version": "3.0", "action": "ping"})),
                Kind::Init => {
                    let token = format!("token-{number}");
                    let init = json!({"version": "4.0", "action": "INIT", "data": {}, "flow_token": token});
                    (flow, init)
                }
                Kind::Screen => {
                    // A walk costs a few milliseconds, so each of them serves four envelopes.
                    if number % 4 == 0 {
                        let plaintext = self.walk(&flow).await;
                        walked = Some((flow, plaintext));
                    }
                    walked.clone().expect("walked at the first one")
                }
            };
            let plaintext = plaintext.to_string().into_bytes();
            let envelope = Envelope::seal(&self.key, &plaintext).expect("sealed");
            let signature = hub_signature(&SecretString::from(SECRET), envelope.body());
            samples.push(Sample {
                flow,
                body: Bytes::copy_from_slice(envelope.body()),
                signature,
                plaintext,
            });
        }
        samples
    }

    /// Opens a flow, fills the first screen in, and tells what was sent.
    async fn walk(&self, flow: &str) -> Value {
        let secret = SecretString::from(SECRET);
        let transport = InProcess { gate: self, flow: flow.to_owned() };
        let options = Options { resend_delay: Duration::ZERO, ..Options::default() };
        let mut player =
            Player::new(self.document.clone(), &self.public_pem, secret, "6f1c-token", transport, options)
                .expect("a player");
        let answers = json!({"Your name": "Ada Lovelace", "Where shall we send the offer?": "ada@example.org",
            "Phone": "020 7946 0018"});
        let mut person = Truthful::new(answers.as_object().cloned().expect("an object"));
        assert_eq!(player.open().await.expect("opened"), Outcome::Shown);
        // The first question may stand behind an introduction.
        for _ in 0..2 {
            let screen = player.screen().expect("a screen");
            let is_asked = screen.inputs().next().is_some();
            for (name, value) in person.answer(&screen) {
                player.fill(&name, value).await.expect("filled");
            }
            assert_eq!(player.tap_footer().await.expect("tapped"), Outcome::Shown);
            if is_asked {
                break;
            }
        }
        assert_eq!(player.walk().faults().count(), 0);
        player.walk().requests().last().cloned().expect("a request")
    }
}

fn flow_id(number: usize) -> String {
    format!("flow-{number}")
}

/// Hands requests over without a socket.
struct InProcess<'a> {
    gate: &'a Gate,
    flow: String,
}

impl Transport for InProcess<'_> {
    async fn post(
        &self,
        body: Vec<u8>,
        headers: Vec<(&'static str, String)>,
    ) -> Result<transport::Response, transport::Error> {
        let signature = headers.iter().find(|(name, _)| *name == "x-hub-signature-256");
        let signature = signature.map(|(_, value)| value.clone()).unwrap_or_default();
        let sample =
            Sample { flow: self.flow.clone(), body: Bytes::from(body), signature, plaintext: Vec::new() };
        let response = self.gate.endpoint.exchange(&self.flow, &self.gate.request(&sample)).await;
        let content_type = response.headers.get(header::CONTENT_TYPE);
        Ok(transport::Response {
            status: response.status.as_u16(),
            content_type: content_type.and_then(|value| value.to_str().ok()).map(str::to_owned),
            body: response.body.to_vec(),
        })
    }
}

/// Only a server makes one of these; it is the same for every request here.
async fn request_id() -> RequestId {
    let seen = Arc::new(OnceLock::new());
    let told = Arc::clone(&seen);
    let handler = move |request: Request| {
        let _ = told.set(request.id);
        std::future::ready(Response::empty(StatusCode::OK))
    };
    let listener = Listener { addr: SocketAddr::from(([127, 0, 0, 1], 0)), tls: None };
    let server = Server::bind(listener, Limits::default(), Arc::new(handler)).await.expect("a port");
    let address = server.local_addr();
    let (_stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(server.run(stopped, Duration::ZERO));
    let transport = transport::HttpTransport::new(&format!("http://{address}/")).expect("an address");
    transport.post(Vec::new(), Vec::new()).await.expect("an answer");
    serving.abort();
    *seen.get().expect("a request came")
}

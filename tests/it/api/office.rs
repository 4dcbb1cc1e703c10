//! A Formgate of two workspaces, each with a flow, a destination and a submission that the destination has refused.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use formgate::app::App;
use formgate::client::{AddressPolicy, Client, Method, Request};
use formgate::config::Config;
use formgate::connector::connection::{By, Connections};
use formgate::console::access::{NewToken, Role};
use formgate::console::api::document;
use formgate::crypto::PrivateKey;
use formgate::outbox::{Filter, Outbox};
use formgate::player::document::Document;
use formgate::player::strategy::{Played, Truthful, play};
use formgate::player::transport::HttpTransport;
use formgate::player::{Options, Outcome, Player};
use formgate::sandbox::Tools;
use formgate::server::{self, Limits, Listener, Response, Server, StatusCode};
use formgate::store::DeliveryState;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::connect::fixture;

/// A form of the connected accounts.
const GARDEN: &str = include_str!("../../fixtures/typeform/garden-visit.json");
/// Its id.
pub const FORM: &str = "GrdnVst1";

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Office {
    public: std::net::SocketAddr,
    pub outbox: Outbox,
    tokens: formgate::console::access::Tokens,
    pub tools: Tools,
    pub connections: Connections,
    store: formgate::store::Store,
    refuses: Arc<AtomicBool>,
    bodies: Arc<Mutex<Vec<Json>>>,
    stop: watch::Sender<bool>,
    /// The sink's and the sandbox's end.
    _end: watch::Sender<bool>,
    running: JoinHandle<Result<(), formgate::app::Error>>,
    folder: TempDir,
}

/// An answer of the API.
pub struct Answered {
    pub status: u16,
    pub json: Json,
    headers: server::HeaderMap,
}

impl Answered {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Holds the answer against a schema of the OpenAPI document.
    #[track_caller]
    pub fn is_a(&self, schema: &str) {
        let mut whole = serde_json::to_value(document()).expect("JSON");
        whole["$ref"] = json!(format!("#/components/schemas/{schema}"));
        let validator = jsonschema::validator_for(&whole).expect("a schema");
        let faults: Vec<String> = validator.iter_errors(&self.json).map(|error| error.to_string()).collect();
        assert!(faults.is_empty(), "{schema}: {faults:?} in {}", self.json);
    }
}

/// A form that asks for a name under this key.
fn write_form(folder: &Path, name: &str, key: &str) {
    let form = json!({"id": name, "title": format!("Form {name}"), "pages": [
        {"id": "p", "questions": [{"key": key, "title": "Your name", "type": "short_text", "required": true}]}]});
    std::fs::write(folder.join(format!("{name}.json")), form.to_string()).expect("a file");
}

fn config(folder: &Path, sink: std::net::SocketAddr, tools: String) -> Config {
    let mut text = tools
        + "[[number]]\nid = \"shop\"\napp_secret = \"app-secret\"\nprivate_keys = [\"file:shop.pem\"]\n";
    for name in ["a", "b"] {
        write_form(folder, name, "name");
        text += &format!(
            "[[destination]]\nid = \"to-{name}\"\nworkspace = \"{name}\"\nkind = \"webhook\"\nurl = \"http://{sink}/\"\n\
             allow_private_network = true\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n\
             [[flow]]\nid = \"flow-{name}\"\nworkspace = \"{name}\"\ntool = \"form\"\ndefinition = \"{name}.json\"\n\
             number = \"shop\"\ndeliver_to = [\"to-{name}\"]\n"
        );
    }
    text += &format!(
        "[[destination]]\nid = \"mapped-a\"\nworkspace = \"a\"\nkind = \"webhook\"\nurl = \"http://{sink}/\"\n\
         allow_private_network = true\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\nmapping = {{ source = {{ constant = \"wa\" }} }}\n"
    );
    let file = folder.join("formgate.toml");
    std::fs::write(&file, text).expect("a file");
    load(&file)
}

fn load(file: &Path) -> Config {
    Config::load(Some(file), std::iter::empty()).unwrap_or_else(|faults| panic!("{faults}"))
}

impl Office {
    pub async fn open() -> Self {
        let refuses = Arc::new(AtomicBool::new(true));
        let (refusing, bodies) = (Arc::clone(&refuses), Arc::<Mutex<Vec<Json>>>::default());
        let taken = Arc::clone(&bodies);
        let handler = move |request: server::Request| {
            taken.lock().expect("no panic").push(serde_json::from_slice(&request.body).unwrap_or_default());
            let refused = refusing.load(Ordering::SeqCst);
            let status = if refused { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::NO_CONTENT };
            std::future::ready(Response::empty(status))
        };
        let (end, ended) = watch::channel(false);
        let listener = Listener { addr: ([127, 0, 0, 1], 0).into(), tls: None };
        let sink = Server::bind(listener, Limits::default(), Arc::new(handler)).await.expect("a port");
        let address = sink.local_addr();
        tokio::spawn(sink.run(ended.clone(), Duration::ZERO));

        let port = fixture::free_port();
        let (tools, _dial, sandbox) = fixture::sandbox(port, ended).await;
        let garden: Json = serde_json::from_str(GARDEN).expect("JSON");
        tools.library.put("typeform", garden);
        let folder = tempfile::tempdir().expect("a folder");
        let key = PrivateKey::generate();
        std::fs::write(folder.path().join("shop.pem"), key.private_pem().expose_secret()).expect("a file");
        let config = config(folder.path(), address, fixture::configuration(port, sandbox));
        let app = App::start(&config).await.unwrap_or_else(|error| panic!("{error}"));
        let (stop, stopped) = watch::channel(false);
        let (public, admin, outbox) = (app.public, app.admin, app.outbox.clone());
        let (tokens, store, connections) = (app.tokens.clone(), app.store(), app.connections.clone());
        let office = Self {
            public,
            outbox,
            tokens,
            tools,
            connections,
            store,
            refuses,
            bodies,
            stop,
            _end: end,
            running: tokio::spawn(app.run(stopped)),
            folder,
        };
        for name in ["a", "b"] {
            office.fill_in(admin, &key, &format!("flow-{name}")).await;
            office.paste(name).await;
        }
        office.until(DeliveryState::Dead, 2).await;
        office
    }

    async fn fill_in(&self, admin: std::net::SocketAddr, key: &PrivateKey, flow: &str) {
        let url = format!("http://{admin}/api/v1/flows/{flow}/flow.json").parse().expect("a URL");
        let mut request = Request::new(Method::GET, url, "", Instant::now() + PATIENCE);
        request.policy = AddressPolicy::AllowPrivateNetwork;
        let served = Client::new().request(request).await.expect("an answer");
        let document =
            Document::read(&serde_json::from_slice(&served.body).expect("JSON")).expect("a document");
        let transport =
            HttpTransport::new(&format!("http://{}/flows/{flow}", self.public)).expect("an address");
        let secret = SecretString::from("app-secret");
        let mut player =
            Player::new(document, &key.public_pem(), secret, "unused", transport, Options::default())
                .expect("a player");
        let Json::Object(answers) = json!({"Your name": "Ada"}) else { panic!("answers") };
        let played = play(&mut player, &mut Truthful::new(answers)).await.expect("answers");
        assert!(matches!(played, Played::Ended(Outcome::Completed(_))), "{played:?}");
    }

    /// Connects Typeform for a workspace, by a token.
    async fn paste(&self, workspace: &str) {
        let token = self.tools.authority.make_token("typeform", &["accounts:read", "forms:read"]);
        let name = format!("forms-{workspace}").parse().expect("a name");
        let by = By { actor: "test", workspace: Some(workspace) };
        let added =
            self.connections.add_token("typeform", None, Some(&name), &SecretString::from(token), by).await;
        added.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Until so many deliveries of all workspaces are in this state.
    pub async fn until(&self, state: DeliveryState, count: usize) {
        let end = Instant::now() + PATIENCE;
        let filter = Filter { state: Some(state), ..Filter::default() };
        while self.outbox.list(&filter, None, 10).await.expect("a list").items.len() < count {
            assert!(Instant::now() < end, "no {count} deliveries are {state:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Until the delivery of a workspace has arrived.
    pub async fn until_delivered(&self, name: &str) {
        let end = Instant::now() + PATIENCE;
        let filter = Filter {
            state: Some(DeliveryState::Delivered),
            flow_id: Some(format!("flow-{name}")),
            since_ms: None,
        };
        while self.outbox.list(&filter, None, 10).await.expect("a list").items.is_empty() {
            assert!(Instant::now() < end, "it was not delivered");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Has the form of a workspace ask for the name under this key, from the next start on.
    pub fn write_form(&self, workspace: &str, key: &str) {
        write_form(self.folder.path(), workspace, key);
    }

    /// Stops Formgate and starts it again.
    pub async fn restart(&mut self) {
        let (stop, stopped) = watch::channel(false);
        std::mem::replace(&mut self.stop, stop).send_replace(true);
        (&mut self.running).await.expect("it ends").unwrap_or_else(|error| panic!("{error}"));
        let config = load(&self.folder.path().join("formgate.toml"));
        let app = App::start(&config).await.unwrap_or_else(|error| panic!("{error}"));
        (self.public, self.outbox, self.tokens) = (app.public, app.outbox.clone(), app.tokens.clone());
        (self.store, self.connections) = (app.store(), app.connections.clone());
        self.running = tokio::spawn(app.run(stopped));
    }

    /// The answers that the destination of the first workspace was sent last, by their keys.
    pub fn answers(&self) -> Vec<(String, String)> {
        let bodies = self.bodies.lock().expect("no panic");
        let own = bodies.iter().rev().find(|body| body["data"]["flow_id"] == "flow-a");
        let answers = own.and_then(|body| body["data"]["answers"].as_array()).expect("a submission");
        let text = |answer: &Json, member: &str| answer[member].as_str().unwrap_or_default().to_owned();
        answers.iter().map(|answer| (text(answer, "key"), text(answer, "text"))).collect()
    }

    /// How many submissions were sent to destinations.
    pub fn attempts(&self) -> usize {
        self.bodies.lock().expect("no panic").len()
    }

    /// Whether the destinations refuse from now on.
    pub fn keep_failing(&self, fails: bool) {
        self.refuses.store(fails, Ordering::SeqCst);
    }

    /// What a path of this workspace can name.
    pub async fn ids(&self, name: &str) -> Vec<(&'static str, String)> {
        let filter = Filter { flow_id: Some(format!("flow-{name}")), ..Filter::default() };
        let page = self.outbox.list(&filter, None, 1).await.expect("a list");
        let submission = page.items.first().expect("a submission");
        let delivery = submission.deliveries.first().expect("a delivery").key;
        let token = NewToken {
            name: "for the path".to_owned(),
            workspace: name.to_owned(),
            role: Role::Viewer,
            scopes: None,
            expires_at_ms: None,
        };
        let token = self.tokens.make(token, "test", 0).await.expect("a token").view.id;
        vec![
            ("flow", format!("flow-{name}")),
            ("connection", format!("forms-{name}")),
            ("form", FORM.to_owned()),
            ("destination", format!("to-{name}")),
            ("submission", submission.id.to_string()),
            ("delivery", delivery.to_string()),
            ("token", token),
        ]
    }

    /// A token of a workspace, by the name of its role.
    pub async fn token(&self, workspace: &str, role: Role) -> String {
        self.make(workspace, role, None).await
    }

    /// One that was valid until a while ago.
    pub async fn ended_token(&self, workspace: &str) -> String {
        self.make(workspace, Role::Owner, Some(1)).await
    }

    async fn make(&self, workspace: &str, role: Role, expires_at_ms: Option<i64>) -> String {
        let name = format!("{role:?}").to_lowercase();
        let new = NewToken { name, workspace: workspace.to_owned(), role, scopes: None, expires_at_ms };
        self.tokens.make(new, "test", 0).await.expect("a token").secret
    }

    pub async fn revoke(&self, token: &str) {
        let id = &token["fgt_".len()..][..16];
        assert!(self.tokens.revoke(id, None, "test", 1).await.expect("the store"));
    }

    /// What an actor has done, by the audit trail.
    pub async fn events(&self, actor: &str) -> Vec<String> {
        let events = formgate::audit::newest(&self.store, 1_000).await.expect("events");
        events.into_iter().filter(|event| event.actor == actor).map(|event| event.action).collect()
    }

    pub async fn call(&self, method: &str, path: &str, token: Option<&str>, body: Option<Json>) -> Answered {
        let url = format!("http://{}{path}", self.public).parse().expect("a URL");
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let mut request = Request::new(method, url, body, Instant::now() + PATIENCE);
        request.policy = AddressPolicy::AllowPrivateNetwork;
        request.max_response_bytes = 1024 * 1024;
        if let Some(token) = token {
            let value = format!("Bearer {token}");
            let value = server::header::HeaderValue::from_bytes(value.as_bytes()).expect("a header");
            request.headers.insert(server::header::AUTHORIZATION, value);
        }
        let response = Client::new().request(request).await.expect("an answer");
        let json = serde_json::from_slice(&response.body).unwrap_or_default();
        Answered { status: response.status.as_u16(), json, headers: response.headers }
    }

    /// Who has done what to something, the newest first.
    pub async fn events_of(&self, subject: &str) -> Vec<(String, String)> {
        let events = formgate::audit::newest(&self.store, 1_000).await.expect("events");
        let about = events.into_iter().filter(|event| event.subject == subject);
        about.map(|event| (event.actor, event.action)).collect()
    }

    pub async fn close(self) {
        self.stop.send_replace(true);
        self.running.await.expect("it ends").unwrap_or_else(|error| panic!("{error}"));
    }
}

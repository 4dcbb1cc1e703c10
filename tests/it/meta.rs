//! Meta's webhook over sockets: the challenge, the second witness, Meta's own verdicts on flows.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use formgate::app::App;
use formgate::audit;
use formgate::client::{AddressPolicy, Client, Method, Request};
use formgate::config::Config;
use formgate::crypto::{AppSecret, AppSecrets, MasterKey, MasterKeys, PrivateKey, Purpose, Sealer, Vault};
use formgate::insight::Cause;
use formgate::meta::{self, Webhook};
use formgate::outbox::{By, Clock as _, Filter, Form, Outbox, Person, Submission, SubmissionId, SystemClock};
use formgate::server::{self, Limits, Listener, Response, Server, StatusCode};
use formgate::store::{Options, Store};
use formgate::telemetry::Metrics;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;

const SECRET: &str = "app-secret";
const OTHER_SECRET: &str = "secret of the second number";

fn signed(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

async fn ask(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: &str,
    signature: Option<&str>,
) -> (u16, String) {
    let url = format!("http://{address}{path}").parse().expect("a URL");
    let mut request = Request::new(method, url, body.to_owned(), Instant::now() + Duration::from_secs(60));
    request.policy = AddressPolicy::AllowPrivateNetwork;
    if let Some(signature) = signature {
        request = request.header("x-hub-signature-256", signature).expect("a header");
    }
    let response = Client::new().request(request).await.expect("an answer");
    (response.status.as_u16(), String::from_utf8_lossy(&response.body).into_owned())
}

/// WhatsApp Flows reference 7.5.
fn closed(message: &str, response: &Value) -> String {
    let reply = json!({"name": "flow", "body": "Sent", "response_json": response.to_string()});
    let message = json!({"from": "15551234567", "from_user_id": "US.1234", "id": message, "timestamp": "1764000000",
        "type": "interactive", "context": {"from": "1", "id": "wamid.A"},
        "interactive": {"type": "nfm_reply", "nfm_reply": reply}});
    json!({"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "changes": [{"field": "messages",
        "value": {"messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "1", "phone_number_id": "2"},
            "contacts": [{"profile": {"name": "Ada"}, "wa_id": "15551234567", "user_id": "US.1234"}],
            "messages": [message]}}]}]})
    .to_string()
}

/// WhatsApp Flows reference 3.3.
fn event(at_s: i64, value: &Value) -> String {
    json!({"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "time": at_s,
        "changes": [{"field": "flows", "value": value}]}]})
    .to_string()
}

fn status(at_s: i64, new_status: &str) -> String {
    let change = json!({"event": "FLOW_STATUS_CHANGE", "flow_id": "6627390910605886", "message": "…",
        "old_status": "PUBLISHED", "new_status": new_status});
    event(at_s, &change)
}

struct Hook {
    address: SocketAddr,
    outbox: Outbox,
    store: Store,
    metrics: Metrics,
    _folder: TempDir,
    _stop: watch::Sender<bool>,
}

impl Hook {
    async fn start() -> Hook {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open_embedded(&Options::new(folder.path())).expect("a store");
        let sealer = Sealer::new(&MasterKeys::new(MasterKey::generate(), Vec::new()));
        let clock = Arc::new(SystemClock::new());
        let index = Arc::new(formgate::crypto::MacKey::generate());
        let vault = Arc::new(Vault::new(sealer, Purpose::StoredBody));
        let outbox = Outbox::new(store.clone(), vault, clock.clone()).indexed(index);
        let metrics = Metrics::new();
        let secrets = [SECRET, OTHER_SECRET].map(|secret| {
            let secret = AppSecret::new(SecretString::from(secret), None).expect("a secret");
            Arc::new(AppSecrets::new(vec![secret]).expect("secrets"))
        });
        let token = SecretString::from("verify me");
        let webhook =
            Webhook::new(token, secrets.to_vec(), store.clone(), outbox.clone(), clock, metrics.clone());
        let handler = move |request: server::Request| {
            let webhook = webhook.clone();
            async move { webhook.answer(&request).await }
        };
        let listener = Listener { addr: "127.0.0.1:0".parse().expect("an address"), tls: None };
        let server = Server::bind(listener, Limits::default(), Arc::new(handler)).await.expect("a port");
        let address = server.local_addr();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(server.run(stopped, Duration::from_secs(1)));
        Hook { address, outbox, store, metrics, _folder: folder, _stop: stop }
    }

    async fn post(&self, body: &str) -> u16 {
        ask(self.address, Method::POST, "/", body, Some(&signed(SECRET, body))).await.0
    }

    /// A stored submission, and what its closing reply carried.
    async fn submission(&self, token: &str) -> (SubmissionId, Value) {
        let id = SubmissionId::new(uuid::Uuid::new_v8(rand::random()));
        let now_ms = SystemClock::new().now_ms();
        let submission = Submission {
            id,
            flow_id: "contact".into(),
            flow_version: 1,
            form: Form { tool: "form".into(), id: "contact".into(), title: "Contact".into() },
            flow_token: token.into(),
            contact: None,
            started_at_ms: now_ms,
            completed_at_ms: now_ms,
            locale: "en".into(),
            source: Default::default(),
            hidden: Default::default(),
            variables: Default::default(),
            test: false,
            linked_to: None,
            replaces: None,
            replaced_by: None,
            walk: None,
            ending: None,
            answers: vec![],
        };
        let envelope = rand::random();
        self.outbox.accept(&submission, &[], &envelope, b"reply".to_vec()).await.expect("stored");
        (id, json!({"flow_token": token, "submission_id": id.to_string(), "summary": "Thanks"}))
    }

    fn counted(&self, outcome: &str) -> u64 {
        let metrics = self.metrics.encode();
        let name = format!("formgate_confirmations_total{{outcome=\"{outcome}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
    }

    async fn unknown_events(&self) -> usize {
        let events = audit::newest(&self.store, 100).await.expect("a trail");
        events
            .iter()
            .filter(|event| {
                (event.action.as_str(), event.outcome.as_str()) == ("submission.confirmed", "unknown")
            })
            .count()
    }

    async fn stored(&self) -> usize {
        self.outbox.list(&Filter::default(), None, 100).await.expect("a list").items.len()
    }

    /// The causes that stand by Meta's word.
    async fn standing(&self) -> Vec<String> {
        let events = meta::events(&self.store, SystemClock::new().now_ms()).await.expect("a read");
        events.into_iter().filter(|event| event.stands).map(|event| event.cause.to_string()).collect()
    }
}

#[tokio::test]
async fn the_challenge_is_given_back_only_to_whoever_knows_the_token() {
    let hook = Hook::start().await;
    let get = async |query: &str| ask(hook.address, Method::GET, &format!("/?{query}"), "", None).await;
    // WhatsApp Flows reference 7.6.
    let challenge = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=verify%20me";
    assert_eq!(get(challenge).await, (200, "1158201444".to_owned()));
    for refused in [
        "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=other",
        "hub.mode=unsubscribe&hub.challenge=1158201444&hub.verify_token=verify+me",
        "hub.mode=subscribe&hub.challenge=1158201444",
        "hub.mode=subscribe&hub.verify_token=verify+me",
        "hub.mode=subscribe&hub.challenge=%3Cscript%3E&hub.verify_token=verify+me",
        "",
    ] {
        assert_eq!(get(refused).await, (403, String::new()), "{refused}");
    }
}

#[tokio::test]
async fn what_is_not_signed_by_one_of_our_apps_is_not_looked_at() {
    let hook = Hook::start().await;
    let (_, params) = hook.submission("token").await;
    let body = closed("wamid.B", &params);
    let post = async |body: &str, signature: Option<&str>| {
        ask(hook.address, Method::POST, "/", body, signature).await.0
    };
    assert_eq!(post(&body, None).await, 401);
    assert_eq!(post(&body, Some(&signed("a stranger's", &body))).await, 401);
    assert_eq!(post(&format!("{body} "), Some(&signed(SECRET, &body))).await, 401, "another body");
    assert_eq!(hook.counted("confirmed"), 0);
    assert_eq!(post("no JSON", Some(&signed(SECRET, "no JSON"))).await, 400);
    assert_eq!(post(&body, Some(&signed(OTHER_SECRET, &body))).await, 200, "of any number");
    assert_eq!(hook.counted("confirmed"), 1);
    assert_eq!(ask(hook.address, Method::PUT, "/", &body, Some(&signed(SECRET, &body))).await.0, 405);
}

#[tokio::test]
async fn a_stored_submission_is_confirmed_once_however_often_meta_says_so_and_never_made() {
    let hook = Hook::start().await;
    let (id, params) = hook.submission("token").await;
    assert_eq!(hook.outbox.confirmed_ms(id).await.expect("a read"), None);
    for _ in 0..3 {
        assert_eq!(hook.post(&closed("wamid.B", &params)).await, 200);
    }
    assert_eq!((hook.counted("confirmed"), hook.counted("unknown")), (1, 0));
    assert!(hook.outbox.confirmed_ms(id).await.expect("a read").is_some());
    // Some phones leave the token out.
    let (_, mut other) = hook.submission("second").await;
    other.as_object_mut().expect("an object").remove("flow_token");
    assert_eq!(hook.post(&closed("wamid.C", &other)).await, 200);
    assert_eq!(hook.counted("confirmed"), 2);
    // A flow of somebody else's.
    assert_eq!(hook.post(&closed("wamid.D", &json!({"screen_0_Name_0": "Ada"}))).await, 200);
    assert_eq!((hook.counted("foreign"), hook.counted("unknown")), (1, 0));
    assert_eq!((hook.stored().await, hook.unknown_events().await), (2, 0));
    assert_eq!(hook.standing().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_submission_that_is_not_here_is_told_once_and_not_made() {
    let hook = Hook::start().await;
    let (_, params) = hook.submission("token").await;
    let lost = json!({"flow_token": "token", "submission_id": uuid::Uuid::new_v8([7; 16]).to_string()});
    let mut forged = params;
    forged["flow_token"] = json!("another token");
    for _ in 0..2 {
        assert_eq!(hook.post(&closed("wamid.B", &lost)).await, 200);
        assert_eq!(hook.post(&closed("wamid.C", &forged)).await, 200);
    }
    assert_eq!((hook.counted("confirmed"), hook.counted("unknown")), (0, 2));
    assert_eq!((hook.stored().await, hook.unknown_events().await), (1, 2));
    assert_eq!(hook.standing().await, [Cause::UnknownSubmission.to_string()]);
}

#[tokio::test]
async fn a_confirmation_goes_with_the_erasure_of_its_person_and_a_late_one_is_no_loss() {
    let hook = Hook::start().await;
    let (id, params) = hook.submission("a token of a person").await;
    assert_eq!(hook.post(&closed("wamid.B", &params)).await, 200);
    let person = Person::new(By::Token, "a token of a person").expect("a person");
    let erased = hook.outbox.erase_person(&person, "test", |_| {}).await.expect("erased");
    assert_eq!(erased.erased, 1);
    assert_eq!(hook.outbox.confirmed_ms(id).await.expect("a read"), None, "no trace of it is left");
    assert_eq!(hook.post(&closed("wamid.C", &params)).await, 200);
    assert_eq!((hook.counted("unknown"), hook.unknown_events().await), (0, 0));
}

#[tokio::test]
async fn meta_s_verdicts_stand_until_meta_takes_them_back_and_an_old_one_that_comes_again_changes_nothing() {
    let hook = Hook::start().await;
    assert_eq!(hook.post(&status(100, "THROTTLED")).await, 200);
    let latency = |at_s: i64, state: &str| {
        event(
            at_s,
            &json!({"event": "ENDPOINT_LATENCY", "flow_id": "6627390910605886", "p90_latency": 5100, "p50_latency": 900,
            "requests_count": 3400, "threshold": 5000, "alert_state": state, "message": "…"}),
        )
    };
    assert_eq!(hook.post(&latency(101, "ACTIVATED")).await, 200);
    let both = ["meta_health 6627390910605886 ENDPOINT_LATENCY", "meta_status 6627390910605886"];
    let mut standing = hook.standing().await;
    standing.sort_unstable();
    assert_eq!(standing, both);
    assert_eq!(hook.post(&latency(102, "DEACTIVATED")).await, 200);
    assert_eq!(hook.post(&status(103, "PUBLISHED")).await, 200);
    assert_eq!(hook.standing().await, Vec::<String>::new());
    assert_eq!(hook.post(&status(100, "THROTTLED")).await, 200, "it is taken, or it would come for days");
    assert_eq!(hook.standing().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_thousand_updates_in_one_call_are_all_taken() {
    let hook = Hook::start().await;
    let mut call: Value = serde_json::from_str(&closed("wamid.0", &json!({}))).expect("JSON");
    let template = call["entry"][0]["changes"][0]["value"]["messages"][0].clone();
    let mut messages = vec![];
    for number in 0..1_000 {
        let mut message = template.clone();
        let lost = json!({"submission_id": uuid::Uuid::new_v8(rand::random()).to_string()});
        message["id"] = json!(format!("wamid.{number}"));
        message["interactive"]["nfm_reply"]["response_json"] = json!(lost.to_string());
        messages.push(message);
    }
    call["entry"][0]["changes"][0]["value"]["messages"] = json!(messages);
    assert_eq!(hook.post(&call.to_string()).await, 200);
    assert_eq!(hook.counted("unknown"), 1_000);
}

fn config(folder: &Path, ops: SocketAddr, webhook: &str) -> Config {
    let form = json!({"id": "visit", "title": "A visit", "pages": [{"id": "who", "title": "You", "questions": [
        {"key": "name", "title": "Name", "type": "short_text"}]}]});
    std::fs::write(folder.join("form.json"), form.to_string()).expect("a file");
    std::fs::write(folder.join("shop.pem"), PrivateKey::generate().private_pem().expose_secret())
        .expect("a file");
    let text = format!(
        r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
data_dir = "data"
master_key = "file:master.key"
public_url = "https://forms.example.com"
[[number]]
id = "shop"
app_secret = "{SECRET}"
private_keys = ["file:shop.pem"]
[[flow]]
id = "visit"
tool = "form"
definition = "form.json"
number = "shop"
[[alert]]
id = "ops"
kind = "slack"
url = "http://{ops}/"
allow_private_network = true
{webhook}
"#
    );
    let file = folder.join("formgate.toml");
    std::fs::write(&file, text).expect("a file");
    Config::load(Some(&file), std::iter::empty()).unwrap_or_else(|faults| panic!("{faults}"))
}

#[tokio::test]
async fn a_flow_that_meta_has_blocked_is_an_alert_of_the_running_program() {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let hears = Arc::clone(&heard);
    let handler = move |request: server::Request| {
        hears
            .lock()
            .expect("no panic under the lock")
            .push(String::from_utf8_lossy(&request.body).into_owned());
        std::future::ready(Response::empty(StatusCode::OK))
    };
    let listener = Listener { addr: "127.0.0.1:0".parse().expect("an address"), tls: None };
    let ops = Server::bind(listener, Limits::default(), Arc::new(handler)).await.expect("a port");
    let ops_address = ops.local_addr();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(ops.run(stopped.clone(), Duration::from_secs(1)));

    let folder = tempfile::tempdir().expect("a folder");
    let silent = config(folder.path(), ops_address, "");
    let app = App::start(&silent).await.unwrap_or_else(|error| panic!("{error}"));
    let public = app.public;
    let (halt, halted) = watch::channel(false);
    let running = tokio::spawn(app.run(halted));
    let blocked = status(100, "BLOCKED");
    let post = async |public: SocketAddr, body: &str| {
        ask(public, Method::POST, "/webhooks/meta", body, Some(&signed(SECRET, body))).await.0
    };
    // Without a token it takes no body either.
    assert!(matches!(post(public, &blocked).await, 404 | 413), "not configured, not served");
    halt.send_replace(true);
    running.await.expect("it ends").unwrap_or_else(|error| panic!("{error}"));

    let config = config(folder.path(), ops_address, "[meta]\nverify_token = \"verify me\"");
    let app = App::start(&config).await.unwrap_or_else(|error| panic!("{error}"));
    let public = app.public;
    let running = tokio::spawn(app.run(stopped));
    assert_eq!(post(public, &blocked).await, 200);
    let wait = async |saying: &str| {
        let until = Instant::now() + Duration::from_secs(60);
        while !heard.lock().expect("no panic under the lock").iter().any(|text| text.contains(saying)) {
            assert!(Instant::now() < until, "{saying}: {:?}", heard.lock());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    wait("Formgate forms.example.com: Meta has set flow 6627390910605886 to BLOCKED.").await;
    assert_eq!(post(public, &status(101, "PUBLISHED")).await, 200);
    wait("Recovered: meta_status 6627390910605886.").await;
    assert_eq!(heard.lock().expect("no panic under the lock").len(), 2, "nothing else was told");
    stop.send_replace(true);
    running.await.expect("it ends").unwrap_or_else(|error| panic!("{error}"));
}

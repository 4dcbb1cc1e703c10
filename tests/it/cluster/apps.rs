//! Whole Formgates that share a store, behind a load balancer that sends every request to another one.

mod emptied;
mod master_key;
mod rolling;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use formgate::app::control::{Command, Told, run};
use formgate::app::{App, Error};
use formgate::config::Config;
use formgate::crypto::{MasterKey, PrivateKey, WebhookSecret};
use formgate::endpoint::Flows;
use formgate::flow::compile::{Settings, compile};
use formgate::form::Form;
use formgate::outbox::{DestinationId, Filter, Outbox, ReplayFilter};
use formgate::player::document::Document;
use formgate::player::strategy::{Played, Truthful, play};
use formgate::player::transport::{self, HttpTransport, Response, Transport};
use formgate::player::{Options, Outcome, Player};
use formgate::sandbox::Inbox;
use formgate::store::{SharedOpenError, Store};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::fixture::{PATIENCE, Redis, pace};
use crate::alerts::sink::Sink;

fn form() -> Value {
    json!({"id": "visit", "title": "A visit", "locale": "en", "pages": [
        {"id": "who", "title": "You", "questions": [
            {"key": "name", "title": "Name", "type": "short_text", "required": true}]},
        {"id": "what", "title": "The visit", "questions": [
            {"key": "why", "title": "Why", "type": "short_text", "required": true}]}]})
}

type Arrived = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// What all nodes of an installation have in common, and where they deliver to.
struct Home {
    folder: TempDir,
    redis: Redis,
    inbox: Inbox,
    /// The id and the body of every delivery that arrived, as often as it did.
    arrived: Arrived,
    inbox_url: String,
    secret: SecretString,
    key: PrivateKey,
    /// How a node stops.
    stopping: &'static str,
    _stop: watch::Sender<bool>,
}

/// One running node. Dropping it is its sudden death.
struct Running {
    address: String,
    flows: Flows,
    outbox: Outbox,
    store: Store,
    config: Config,
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<(), Error>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Home {
    async fn new() -> Self {
        let (folder, redis) = (TempDir::new().expect("a folder"), Redis::start().await);
        let (webhook, key) = (WebhookSecret::generate(), PrivateKey::generate());
        let secret = webhook.to_text();
        let arrived = Arrived::default();
        let ledger = Arc::clone(&arrived);
        let inbox = Inbox::new(move |signed| {
            let now_s = jiff::Timestamp::now().as_second();
            let tolerance = Duration::from_secs(300);
            ledger.lock().expect("no panic").push((signed.id.to_owned(), signed.body.to_vec()));
            webhook
                .verify(signed.id, signed.timestamp, signed.signature, signed.body, now_s, tolerance)
                .is_ok()
        });
        let server = inbox.bind(0).await.expect("a port");
        let inbox_url = format!("http://{}/hook", server.local_addr());
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(server.run(stopped, Duration::from_secs(1)));
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
        write("form.json", &form().to_string());
        write("shop.pem", key.private_pem().expose_secret());
        write("master.key", MasterKey::generate().to_text().expose_secret());
        Self {
            folder,
            redis,
            inbox,
            arrived,
            inbox_url,
            secret,
            key,
            stopping: "drain_seconds = 1",
            _stop: stop,
        }
    }

    fn config(&self, node: &str, more: &str) -> Config {
        let stopping = self.stopping;
        let text = format!(
            r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
data_dir = "data-{node}"
master_key = "file:master.key"
{stopping}
[store]
kind = "redis"
url = "{}"
[[number]]
id = "shop"
app_secret = "app-secret"
{more}
[[destination]]
id = "crm"
kind = "webhook"
url = "{}"
secret = "{}"
allow_private_network = true
[[flow]]
id = "visit"
tool = "form"
definition = "form.json"
number = "shop"
deliver_to = ["crm"]
"#,
            self.redis.url(),
            self.inbox_url,
            self.secret.expose_secret()
        );
        let file = self.folder.path().join(format!("{node}.toml"));
        std::fs::write(&file, text).expect("a file");
        Config::load(Some(&file), std::iter::empty()).unwrap_or_else(|faults| panic!("{faults}"))
    }

    async fn node(&self, name: &str) -> Running {
        self.run(self.config(name, "private_keys = [\"file:shop.pem\"]")).await
    }

    async fn run(&self, config: Config) -> Running {
        let give_up = Instant::now() + PATIENCE;
        let app = loop {
            match App::start_at(&config, pace()).await {
                Ok(app) => break app,
                // On a busy machine Redis does not answer in time.
                Err(Error::Shared(SharedOpenError::NeverJoined(_))) if Instant::now() < give_up => {}
                Err(error) => panic!("{error}"),
            }
        };
        let address = format!("http://{}/flows/visit", app.public);
        let (flows, outbox, store) = (app.flows.clone(), app.outbox.clone(), app.store());
        let (stop, stopped) = watch::channel(false);
        Running { address, flows, outbox, store, config, stop, running: tokio::spawn(app.run(stopped)) }
    }

    /// Ends a node at once, wherever it is; nothing of it runs afterwards.
    async fn kill(&self, node: Running, name: &str) {
        drop(node);
        let lock = self.folder.path().join(format!("data-{name}/store.lock"));
        let lock = std::fs::File::open(lock).expect("its lock");
        self.until("its store is closed", async || lock.try_lock().is_ok()).await;
    }

    /// A phone whose requests go to these nodes in turn.
    fn phone(&self, nodes: &[&Running], token: &str) -> Player<Balanced> {
        let nodes = nodes.iter().map(|node| HttpTransport::new(&node.address).expect("an address"));
        self.phone_by(Balanced { nodes: nodes.collect(), next: AtomicUsize::new(0) }, token)
    }

    fn phone_by<T: Transport>(&self, transport: T, token: &str) -> Player<T> {
        let form: Form = serde_json::from_value(form()).expect("a form");
        let settings = Settings { version: 1, ..Settings::default() };
        let compiled = compile(&form, &settings).expect("a flow");
        let document = Document::read(&compiled.document).expect("a document");
        let secret = SecretString::from("app-secret");
        let options = Options { resend_delay: Duration::ZERO, ..Options::default() };
        Player::new(document, &self.key.public_pem(), secret, token, transport, options).expect("a player")
    }

    /// How many nodes see what the only alert in Redis is about; `None` if there is none.
    fn seen_by(&self) -> Option<usize> {
        let rows: Vec<Vec<u8>> = self.redis.run(&["HVALS", "{formgate}:v:32"]);
        let row = rows.first()?;
        // One such byte alone may be of the version that goes before.
        let start = row.windows(2).position(|two| two == b"{\"").expect("JSON");
        let alert: Value = serde_json::from_slice(&row[start..]).expect("an alert");
        Some(alert["seen"].as_object().expect("nodes").len())
    }

    async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let give_up = Instant::now() + PATIENCE;
        while !holds().await {
            assert!(Instant::now() < give_up, "never: {what}; {:?}", self.inbox.counts());
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Running {
    async fn end(mut self) {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout(PATIENCE, &mut self.running).await.expect("it ends");
        ended.expect("no panic").unwrap_or_else(|error| panic!("{error}"));
    }

    async fn count(&self) -> usize {
        self.outbox.list(&Filter::default(), None, 1_000).await.expect("a list").items.len()
    }

    fn keys(&self) -> usize {
        self.flows.all().first().expect("a flow").keys.keys().len()
    }
}

struct Balanced {
    nodes: Vec<HttpTransport>,
    next: AtomicUsize,
}

impl Transport for Balanced {
    async fn post(
        &self,
        body: Vec<u8>,
        headers: Vec<(&'static str, String)>,
    ) -> Result<Response, transport::Error> {
        let turn = self.next.fetch_add(1, Ordering::SeqCst);
        self.nodes[turn % self.nodes.len()].post(body, headers).await
    }
}

async fn walk<T: Transport>(phone: &mut Player<T>, name: &str) {
    let Value::Object(answers) = json!({"Name": name, "Why": "to see"}) else { unreachable!() };
    let played = play(phone, &mut Truthful::new(answers)).await.expect("answers");
    assert!(matches!(played, Played::Ended(Outcome::Completed(_))), "{played:?}");
}

#[tokio::test]
async fn a_walk_over_two_nodes_is_one_submission_and_the_same_envelope_gets_the_same_bytes_from_each() {
    let home = Home::new().await;
    // Both at once, on nothing: keys and versions are made by one of them.
    let (one, two) = tokio::join!(home.node("one"), home.node("two"));
    let mut phone = home.phone(&[&one, &two], "t");
    phone.open().await.expect("opened");
    walk(&mut phone, "Ada").await;
    let first = phone.raw_resend().await.expect("an answer").expect("a request");
    let second = phone.raw_resend().await.expect("an answer").expect("a request");
    assert_eq!((first.status, &first.body), (200, &second.body));
    home.until("it is delivered", async || home.inbox.counts().taken == 1).await;
    assert_eq!((one.count().await, two.count().await), (1, 1));
    sleep(Duration::from_millis(300)).await;
    assert_eq!(home.inbox.counts().repeated, 0);
    let versions = |node: &Running| node.flows.all().first().map(|flow| flow.versions.len());
    assert_eq!((versions(&one), versions(&two)), (Some(1), Some(1)));
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn people_notice_nothing_of_redis_going_and_coming_back_empty() {
    let mut home = Home::new().await;
    let (one, two) = (home.node("one").await, home.node("two").await);
    for name in ["Ada", "Grace"] {
        walk(&mut home.phone(&[&one, &two], name), name).await;
    }
    home.until("both are delivered", async || home.inbox.counts().taken == 2).await;
    home.redis.wipe();
    // Each walk ends on the node that has it alone.
    for (name, node) in [("Edsger", &one), ("Barbara", &two), ("Alan", &one)] {
        walk(&mut home.phone(&[node], name), name).await;
    }
    home.until("they are delivered by who took them", async || home.inbox.counts().taken == 5).await;
    home.redis.restart().await;
    home.until("both see all", async || one.count().await == 5 && two.count().await == 5).await;
    walk(&mut home.phone(&[&one, &two], "Tony"), "Tony").await;
    home.until("it is delivered", async || home.inbox.counts().taken == 6).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(home.inbox.counts().repeated, 0, "what was delivered is not sent again");
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn what_a_dead_node_had_accepted_the_others_deliver() {
    let home = Home::new().await;
    let (one, two) = (home.node("one").await, home.node("two").await);
    home.inbox.fail_next(1_000, formgate::server::StatusCode::SERVICE_UNAVAILABLE);
    walk(&mut home.phone(&[&one], "Ada"), "Ada").await;
    home.until("it was tried", async || home.inbox.counts().failed > 0).await;
    drop(one);
    home.inbox.fail_next(0, formgate::server::StatusCode::OK);
    home.until("the other delivers it", async || home.inbox.counts().taken == 1).await;
    two.end().await;
}

#[tokio::test]
async fn a_replay_by_filter_waits_until_all_can_be_seen_and_where_nobody_can_wait_it_says_why() {
    let mut home = Home::new().await;
    let (one, two) = (home.node("one").await, home.node("two").await);
    home.inbox.fail_next(1, formgate::server::StatusCode::UNPROCESSABLE_ENTITY);
    walk(&mut home.phone(&[&two], "Ada"), "Ada").await;
    let dead = async |node: &Running| {
        let listed = node.outbox.list(&Filter::default(), None, 9).await.expect("a list").items;
        let mut deliveries = listed.iter().flat_map(|item| &item.deliveries);
        deliveries.any(|delivery| delivery.dead_reason.is_some())
    };
    home.until("it is given up", async || dead(&one).await).await;
    let replay = || Command::ReplayDead { filter: ReplayFilter::default(), as_new: false };
    home.redis.kill();
    let told = Mutex::new(vec![]);
    let replaying = run(&one.config, replay(), |line| told.lock().expect("no panic").push(line));
    let waits = |told: &Told| matches!(told, Told::Remark(why) if why.contains("Redis is out of reach"));
    let restarting = async {
        home.until("it waits", async || told.lock().expect("no panic").iter().any(waits)).await;
        home.redis.restart().await;
    };
    let (replayed, ()) = tokio::join!(replaying, restarting);
    replayed.unwrap_or_else(|error| panic!("{error}"));
    home.until("it is delivered", async || home.inbox.counts().taken == 1).await;
    one.end().await;
    home.redis.kill();
    let config = home.config("one", "private_keys = [\"file:shop.pem\"]");
    let refused = run(&config, replay(), |_| {}).await.map_err(|error| error.to_string());
    assert!(refused.as_ref().is_err_and(|why| why.contains("Redis is out of reach")), "{refused:?}");
    let mut told = vec![];
    let export = Command::ExportSubmissions { flow: None };
    run(&config, export, |line| told.push(line)).await.unwrap_or_else(|error| panic!("{error}"));
    let is_partial = |told: &Told| matches!(told, Told::Remark(why) if why.contains("perhaps not all"));
    assert!(told.iter().any(is_partial), "{told:?}");
}

#[tokio::test]
async fn a_key_made_on_one_node_opens_requests_on_the_others() {
    let home = Home::new().await;
    let (one, two) = tokio::join!(home.run(home.config("one", "")), home.run(home.config("two", "")));
    home.until("both have the one first key", async || (one.keys(), two.keys()) == (1, 1)).await;
    let rotate = Command::RotateKey { number: "shop".to_owned() };
    let mut told = vec![];
    run(&one.config, rotate, |line| told.push(line)).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(told.iter().any(|told| matches!(told, Told::Line(line) if line.contains("PUBLIC KEY"))));
    assert_eq!(one.keys(), 2);
    home.until("the other has it, too", async || two.keys() == 2).await;
    for node in [&one, &two] {
        let verify = Command::Keep(formgate::app::control::Keep::VerifyAudit);
        let checked = run(&node.config, verify, |_| {}).await;
        assert!(
            checked.is_ok(),
            "every node proves its own trail: {:?}",
            checked.err().map(|e| e.to_string())
        );
    }
    one.end().await;
    two.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_nodes_one_tells_an_alert_and_its_end_also_if_the_first_is_dead() {
    let (home, sink) = (Home::new().await, Sink::open().await);
    let more = format!("private_keys = [\"file:shop.pem\"]\n{}", sink.section());
    let (one, two) = tokio::join!(home.run(home.config("one", &more)), home.run(home.config("two", &more)));
    let crm = DestinationId::new("crm").expect("an id");
    one.outbox.park_until_reconnect(&crm, "outbox", "401").await.expect("it is parked");
    let raised = sink.until(1).await;
    assert!(raised[0]["data"]["node"].is_string(), "{raised:?}");
    home.until("both see it", async || home.seen_by() == Some(2)).await;
    assert_eq!(sink.told(), ["alert.raised paused"]);
    home.kill(one, "one").await;
    two.outbox.resume(&crm, "test").await.expect("it goes on");
    home.until("the other sees its end", async || home.seen_by() == Some(1)).await;
    assert_eq!(sink.told(), ["alert.raised paused"], "a node that is gone may be back, and ends nothing");
    let one = home.run(home.config("one", &more)).await;
    let over = sink.until(2).await;
    assert_eq!(over[0]["data"]["since"], over[1]["data"]["since"], "{over:?}");
    home.until("nothing is owed", async || home.seen_by().is_none()).await;
    one.end().await;
    two.end().await;
    assert_eq!(sink.told(), ["alert.raised paused", "alert.recovered paused"]);
}

#[tokio::test]
async fn a_node_without_the_common_master_key_does_not_start() {
    let home = Home::new().await;
    home.config("one", "private_keys = [\"file:shop.pem\"]");
    std::fs::remove_file(home.folder.path().join("master.key")).expect("it is gone");
    let config = Config::load(Some(&home.folder.path().join("one.toml")), std::iter::empty())
        .unwrap_or_else(|faults| panic!("{faults}"));
    let refused = App::start_at(&config, pace()).await.map(|_| ()).map_err(|error| error.to_string());
    assert!(refused.is_err_and(|reason| reason.contains("copy it from another node")));
    assert!(!home.folder.path().join("master.key").exists(), "none was made");
}

//! Photos on their way into HubSpot's files, from the picker on the phone, through a running Formgate.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use formgate::app::App;
use formgate::client::{AddressPolicy, Client, Method, Request};
use formgate::config::Config;
use formgate::crypto::PrivateKey;
use formgate::outbox::{By, Filter, Outbox, Person, Shown};
use formgate::player::document::Document;
use formgate::player::strategy::{Played, Truthful, play};
use formgate::player::transport::HttpTransport;
use formgate::player::{Options, Outcome, Player};
use formgate::sandbox::dial::{Dial, Fault};
use formgate::sandbox::{Media, PORTAL, Record, Tamper, Tools};
use formgate::store::{DeliveryState, Store};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const FORM: &str = include_str!("../../../assets/sandbox/hubspot-repair.json");
const PATIENCE: Duration = Duration::from_secs(30);
const UPLOADS: &str = "/hubspot/files/v3/files";
const SUBMISSIONS: &str = "/hubspot/submissions";

/// A Formgate, HubSpot, and Meta's file servers.
struct House {
    tools: Tools,
    dial: Dial,
    media: Media,
    servers: url::Url,
    outbox: Outbox,
    store: Store,
    public: SocketAddr,
    admin: SocketAddr,
    key: PrivateKey,
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<(), formgate::app::Error>>,
    _folder: tempfile::TempDir,
}

impl House {
    /// With a token that may do this, this form, and more lines for the destination.
    async fn new(scopes: &[&str], form: &str, more: &str) -> House {
        let (tools, dial, media) =
            (Tools::new("http://127.0.0.1:1/connect/*/callback"), Dial::new(), Media::new());
        tools.library.put("hubspot", serde_json::from_str(form).expect("JSON"));
        let (stop, stopped) = watch::channel(false);
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let sandbox = dial.serve(tools.clone(), any, stopped.clone()).await.expect("a port");
        let servers = media.serve(stopped.clone()).await.expect("a port");
        let folder = tempfile::tempdir().expect("a folder");
        let key = PrivateKey::generate();
        std::fs::write(folder.path().join("shop.pem"), key.private_pem().expose_secret()).expect("a file");
        std::fs::write(folder.path().join("form.json"), form).expect("a file");
        let token = tools.authority.make_token("hubspot", scopes);
        let text = format!(
            r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
public_url = "https://forms.example.com"
data_dir = "data"
master_key = "file:master.key"
[files]
hosts = ["127.0.0.1"]
allow_private_network = true
[[number]]
id = "shop"
app_secret = "app-secret"
private_keys = ["file:shop.pem"]
[[destination]]
id = "hubspot"
kind = "hubspot"
token = "{token}"
portal_id = "{PORTAL}"
api_url = "http://{sandbox}/hubspot"
allow_private_network = true
retry_schedule = ["1s"]
max_attempts = 6
{more}
[[flow]]
id = "repair"
tool = "hubspot"
definition = "form.json"
number = "shop"
deliver_to = ["hubspot"]
"#
        );
        let file = folder.path().join("formgate.toml");
        std::fs::write(&file, text).expect("a file");
        let config =
            Config::load(Some(&file), std::iter::empty()).unwrap_or_else(|faults| panic!("{faults}"));
        let app = App::start(&config).await.unwrap_or_else(|error| panic!("{error}"));
        let (outbox, store, public, admin) = (app.outbox.clone(), app.store(), app.public, app.admin);
        let servers = format!("http://{servers}/v/").parse().expect("a URL");
        let running = tokio::spawn(app.run(stopped));
        House {
            tools,
            dial,
            media,
            servers,
            outbox,
            store,
            public,
            admin,
            key,
            stop,
            running,
            _folder: folder,
        }
    }

    /// A person reports damage with this photo.
    async fn report(&self, photo: &[u8]) {
        let url = format!("http://{}/api/v1/flows/repair/flow.json", self.admin).parse().expect("a URL");
        let mut request = Request::new(Method::GET, url, "", Instant::now() + PATIENCE);
        request.policy = AddressPolicy::AllowPrivateNetwork;
        request.max_response_bytes = 1 << 20;
        let served = Client::new().request(request).await.expect("an answer");
        let document =
            Document::read(&serde_json::from_slice(&served.body).expect("JSON")).expect("a document");
        let transport =
            HttpTransport::new(&format!("http://{}/flows/repair", self.public)).expect("an address");
        let options = Options { media_servers: Some(self.servers.clone()), ..Options::default() };
        let secret = SecretString::from("app-secret");
        let mut player = Player::new(document, &self.key.public_pem(), secret, "unused", transport, options)
            .expect("a player");
        let answers = json!({
            "E-mail": "ada@example.org", "What happened?": "The tap drips.",
            "A photo": [{"file_name": "Küche 1.JPG", "content": STANDARD.encode(photo)}],
        });
        let Value::Object(answers) = answers else { panic!("answers") };
        let played = play(&mut player, &mut Truthful::new(answers)).await.expect("answers");
        assert!(matches!(played, Played::Ended(Outcome::Completed(_))), "{played:?}");
    }

    fn records(&self, kind: &str) -> Vec<Value> {
        let records = self.tools.records().into_iter().filter(|record: &Record| record.kind == kind);
        records.map(|record| record.content).collect()
    }

    /// The only submission as Formgate has it, once it is as wanted.
    async fn shown(&self, wanted: impl Fn(&Shown) -> bool) -> Shown {
        let until = Instant::now() + PATIENCE;
        loop {
            let page = self.outbox.list(&Filter::default(), None, 10).await.expect("a list");
            let shown = match page.items.first() {
                Some(item) => self.outbox.show(item.id).await.expect("a read"),
                None => None,
            };
            if let Some(shown) = shown.filter(&wanted) {
                return shown;
            }
            assert!(Instant::now() < until, "{} submissions", page.items.len());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The only submission that HubSpot has, once it is delivered.
    async fn delivered(&self) -> Value {
        self.shown(|shown| shown.deliveries[0].state == DeliveryState::Delivered).await;
        let [record] = self.records("submission").try_into().expect("one submission");
        record
    }

    async fn end(self) {
        self.stop.send_replace(true);
        self.running.await.expect("it ends").unwrap_or_else(|error| panic!("{error}"));
    }
}

fn jpeg(bytes: usize) -> Vec<u8> {
    let filler = (0..bytes).map(|at| (at % 253) as u8);
    b"\xff\xd8\xff\xe0\0\x10JFIF\0".iter().copied().chain(filler).take(bytes).collect()
}

/// The value of the field for the photo.
fn photo(submission: &Value) -> Option<&str> {
    let fields = submission["fields"].as_array().expect("fields");
    fields.iter().find(|field| field["name"] == "photo")?["value"].as_str()
}

#[tokio::test]
async fn a_photo_is_in_hubspot_s_files_privately_and_named_in_the_form_s_field() {
    let house = House::new(&["forms", "files"], FORM, "").await;
    // Longer than one chunk at rest, and with what looks like the border of a part.
    let mut content = jpeg(300_000);
    content.extend_from_slice(b"\r\n--formgate-\r\n--");
    house.report(&content).await;
    let submission = house.delivered().await;
    let [file] = house.records("file").try_into().expect("one file");
    assert_eq!(photo(&submission), file["url"].as_str());
    let hash: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((&file["sha256"], &file["access"]), (&json!(hash), &json!("PRIVATE")));
    let name = file["name"].as_str().expect("a name");
    let id =
        submission["pageUrl"].as_str().and_then(|url| url.split("submission=").nth(1)?.split('&').next());
    let id = id.expect("our id");
    assert_eq!((name, file["extension"].as_str()), (&*format!("K-che-1-{id}-{}", &hash[..12]), Some("jpg")));
    assert_eq!(file["folder"], format!("/formgate/repair/{id}"));

    // What the account keeps is out of reach: whoever erases the person is told where it is.
    let person = Person::new(By::Email, "ada@example.org").expect("an address");
    let erased = house.outbox.erase_person(&person, "test", |_| {}).await.expect("an erasure");
    let one = BTreeMap::from([("hubspot".to_owned(), 1)]);
    assert_eq!((erased.erased, &erased.gone_to, &erased.files_at), (1, &one, &one));
    let events = formgate::audit::newest(&house.store, 10).await.expect("a read");
    let event = events.iter().find(|event| event.action == "person.erased").expect("an event");
    assert_eq!(event.outcome, "ok, but for files that were sent to hubspot 1");
    assert_eq!(house.records("file").len(), 1);
    house.end().await;
}

#[tokio::test]
async fn an_upload_or_a_submission_whose_answer_is_lost_leaves_one_file_and_one_submission() {
    for (path, faults) in [
        (UPLOADS, vec![Fault::AcceptThenCut, Fault::Status(503)]),
        (UPLOADS, vec![Fault::Reset, Fault::AcceptThenFail]),
        (SUBMISSIONS, vec![Fault::AcceptThenFail]),
        (SUBMISSIONS, vec![Fault::Status(500)]),
    ] {
        let house = House::new(&["forms", "files"], FORM, "").await;
        house.dial.next(path, faults.clone());
        house.report(&jpeg(5_000)).await;
        let submission = house.delivered().await;
        let [file] = house.records("file").try_into().unwrap_or_else(|files| panic!("{faults:?}: {files:?}"));
        assert_eq!(photo(&submission), file["url"].as_str(), "{path} {faults:?}");
        assert_eq!(file["uploads"], 1, "it was looked for before: {path} {faults:?}");
        house.end().await;
    }
}

#[tokio::test]
async fn a_token_that_may_not_upload_pauses_the_destination_and_says_which_scope_it_lacks() {
    let house = House::new(&["forms"], FORM, "").await;
    house.report(&jpeg(100)).await;
    let until = Instant::now() + PATIENCE;
    loop {
        let views = house.outbox.destinations().await.expect("destinations");
        if let Some(paused) = views.iter().find_map(|view| view.hold.paused.as_ref()) {
            let reason = paused.reason.clone().unwrap_or_default();
            assert!(paused.reconnect && reason.contains("scope \"files\""), "{reason}");
            break;
        }
        assert!(Instant::now() < until, "it is not paused");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((house.records("file"), house.records("submission")), (vec![], vec![]));
    house.end().await;
}

#[tokio::test]
async fn a_photo_that_was_tampered_with_is_not_uploaded_and_where_it_is_required_the_reason_is_told() {
    let house = House::new(&["forms", "files"], FORM, "").await;
    house.media.tamper(Tamper::FlipBit);
    house.report(&jpeg(5_000)).await;
    let submission = house.delivered().await;
    assert_eq!((house.records("file"), photo(&submission)), (vec![], None), "the rest is delivered");
    house.end().await;

    let mut required: Value = serde_json::from_str(FORM).expect("JSON");
    required["fieldGroups"][0]["fields"][3]["required"] = json!(true);
    let house = House::new(&["forms", "files"], &required.to_string(), "").await;
    house.media.tamper(Tamper::FlipBit);
    house.report(&jpeg(5_000)).await;
    let dead = house.shown(|shown| shown.deliveries[0].dead_reason.is_some()).await;
    let reason = dead.deliveries[0].dead_reason.clone().unwrap_or_default();
    assert!(reason.contains("“A photo” requires a file") && reason.contains("hash"), "{reason}");
    assert_eq!((house.records("file"), house.records("submission")), (vec![], vec![]));
    house.end().await;
}

#[tokio::test]
async fn where_links_are_wanted_the_field_gets_one_that_ends_and_nothing_is_uploaded() {
    let house = House::new(&["forms"], FORM, "files = \"link\"").await;
    house.report(&jpeg(5_000)).await;
    let submission = house.delivered().await;
    let link = photo(&submission).expect("a link");
    assert!(link.starts_with("https://forms.example.com/files/"), "{link}");
    assert_eq!(house.records("file"), vec![] as Vec<Value>);
    house.end().await;
}

//! From the picker on the phone to the receiver's disk, through a running Formgate.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use formgate::app::App;
use formgate::client::{AddressPolicy, Client, Method, Request, Response, StatusCode};
use formgate::config::Config;
use formgate::crypto::{PrivateKey, WebhookSecret};
use formgate::player::checks::Refusal;
use formgate::player::document::Document;
use formgate::player::strategy::{Played, Truthful, play};
use formgate::player::transport::HttpTransport;
use formgate::player::{Error, Options, Outcome, Player};
use formgate::sandbox::{Inbox, Media, Tamper};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(30);
const FORM: &str = r#"{
  "id": "claim", "title": "A claim", "locale": "en",
  "pages": [{"id": "p", "questions": [
    {"key": "photos", "title": "Photos of the damage", "type": "file", "required": true,
     "photos_only": true, "max_files": 3, "max_kib": 2048},
    {"key": "invoice", "title": "The invoice", "type": "file", "required": true,
     "media_types": ["application/pdf"], "max_files": 1, "max_kib": 100},
    {"key": "note", "title": "Anything else?", "type": "short_text"}
  ]}]
}"#;

struct House {
    folder: tempfile::TempDir,
    key: PrivateKey,
    secret: WebhookSecret,
    media: Media,
    servers: url::Url,
    inbox: Inbox,
    hook: SocketAddr,
    _stop: watch::Sender<bool>,
}

struct Serving {
    public: SocketAddr,
    admin: SocketAddr,
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<(), formgate::app::Error>>,
}

impl Serving {
    async fn stop(self) {
        self.stop.send_replace(true);
        self.running.await.expect("it ends").unwrap_or_else(|error| panic!("{error}"));
    }
}

impl House {
    async fn new() -> Self {
        let secret = WebhookSecret::generate();
        let verifier = WebhookSecret::try_from(&secret.to_text()).expect("a secret");
        let inbox = Inbox::new(move |signed| {
            let now_s = jiff::Timestamp::now().as_second();
            let tolerance = Duration::from_secs(300);
            verifier
                .verify(signed.id, signed.timestamp, signed.signature, signed.body, now_s, tolerance)
                .is_ok()
        });
        let (stop, stopped) = watch::channel(false);
        let server = inbox.bind(0).await.expect("a port");
        let hook = server.local_addr();
        tokio::spawn(server.run(stopped.clone(), Duration::from_secs(1)));
        let media = Media::new();
        let address = media.serve(stopped).await.expect("a port");
        let key = PrivateKey::generate();
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("shop.pem"), key.private_pem().expose_secret()).expect("a file");
        std::fs::write(folder.path().join("form.json"), FORM).expect("a file");
        let servers = format!("http://{address}/v/").parse().expect("a URL");
        Self { folder, key, secret, media, servers, inbox, hook, _stop: stop }
    }

    fn config(&self) -> Config {
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
id = "full"
kind = "webhook"
url = "http://{hook}/hook"
secret = "{secret}"
allow_private_network = true
[[destination]]
id = "flat"
kind = "webhook"
shape = "flat"
url = "http://{hook}/hook"
secret = "{secret}"
allow_private_network = true
[[flow]]
id = "claim"
tool = "form"
definition = "form.json"
number = "shop"
deliver_to = ["full", "flat"]
"#,
            hook = self.hook,
            secret = self.secret.to_text().expose_secret(),
        );
        let file = self.folder.path().join("formgate.toml");
        std::fs::write(&file, text).expect("a file");
        Config::load(Some(&file), std::iter::empty()).unwrap_or_else(|faults| panic!("{faults}"))
    }

    async fn serve(&self) -> Serving {
        let app = App::start(&self.config()).await.unwrap_or_else(|error| panic!("{error}"));
        let (public, admin) = (app.public, app.admin);
        let (stop, stopped) = watch::channel(false);
        Serving { public, admin, stop, running: tokio::spawn(app.run(stopped)) }
    }

    async fn person(&self, serving: &Serving) -> Player<HttpTransport> {
        let served = get(&format!("http://{}/api/v1/flows/claim/flow.json", serving.admin)).await;
        let document = serde_json::from_slice(&served.body).expect("JSON");
        let document = Document::read(&document).expect("a document");
        let transport =
            HttpTransport::new(&format!("http://{}/flows/claim", serving.public)).expect("an address");
        let options = Options { media_servers: Some(self.servers.clone()), ..Options::default() };
        let secret = SecretString::from("app-secret");
        Player::new(document, &self.key.public_pem(), secret, "unused", transport, options).expect("a player")
    }

    /// What both webhooks got, by the delivery's shape.
    async fn delivered(&self) -> (Value, Value) {
        let until = Instant::now() + PATIENCE;
        loop {
            let bodies: Vec<Value> =
                self.inbox.deliveries().into_iter().map(|delivery| delivery.body).collect();
            let full = bodies.iter().find(|body| body.get("data").is_some());
            let flat = bodies.iter().find(|body| body.get("submission_id").is_some());
            if let (Some(full), Some(flat)) = (full, flat) {
                return (full.clone(), flat.clone());
            }
            assert!(Instant::now() < until, "{bodies:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn call(method: Method, url: &str) -> Response {
    let mut request =
        Request::new(method, url.parse().expect("a URL"), "", Instant::now() + Duration::from_secs(60));
    request.policy = AddressPolicy::AllowPrivateNetwork;
    request.max_response_bytes = 4 << 20;
    Client::new().request(request).await.expect("an answer")
}

async fn get(url: &str) -> Response {
    call(Method::GET, url).await
}

/// The link of a file, at the address where the server really is.
fn local(serving: &Serving, file: &Value) -> String {
    let url = file["url"].as_str().expect("a link");
    url.replace("https://forms.example.com", &format!("http://{}", serving.public))
}

fn picked(name: &str, content: &[u8]) -> Value {
    json!({"file_name": name, "content": STANDARD.encode(content)})
}

fn jpeg(bytes: usize) -> Vec<u8> {
    let filler = (0..bytes).map(|at| (at % 253) as u8);
    b"\xff\xd8\xff\xe0\0\x10JFIF\0".iter().copied().chain(filler).take(bytes).collect()
}

async fn walk(player: &mut Player<HttpTransport>, answers: Value) -> Map<String, Value> {
    let Value::Object(answers) = answers else { panic!("answers") };
    match play(player, &mut Truthful::new(answers)).await.expect("answers") {
        Played::Ended(Outcome::Completed(params)) => params,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn photos_and_a_document_travel_from_the_picker_to_the_receiver() {
    let house = House::new().await;
    let serving = house.serve().await;
    let invoice = house.folder.path().join("Rechnung für Ärger.pdf");
    let pdf = super::home::pdf(50_000);
    std::fs::write(&invoice, &pdf).expect("a file");
    let photos = [jpeg(1_000_000), jpeg(10)];
    let mut player = house.person(&serving).await;
    let completed = walk(
        &mut player,
        json!({
            "Photos of the damage": [picked("IMG_1.jpg", &photos[0]), picked("IMG_2.JPG", &photos[1])],
            "The invoice": invoice,
            "Anything else?": "No",
        }),
    )
    .await;
    assert!(!completed["summary"].as_str().expect("a summary").contains("IMG_1"), "{completed:?}");
    let faults: Vec<_> = player.walk().faults().collect();
    assert!(faults.is_empty(), "{faults:?}");

    let (full, flat) = house.delivered().await;
    let answers = full["data"]["answers"].as_array().expect("answers");
    assert_eq!(answers.len(), 3, "{full}");
    let files: Vec<&Value> =
        answers[..2].iter().flat_map(|answer| answer["value"].as_array().expect("files")).collect();
    let contents = [photos[0].as_slice(), &photos[1], &pdf];
    let names = ["IMG_1.jpg", "IMG_2.JPG", "Rechnung für Ärger.pdf"];
    let types = ["image/jpeg", "image/jpeg", "application/pdf"];
    assert_eq!(files.len(), 3, "{full}");
    for (at, file) in files.iter().enumerate() {
        let sha256: String = Sha256::digest(contents[at]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((&file["name"], &file["mime_type"]), (&json!(names[at]), &json!(types[at])));
        assert_eq!((&file["size_bytes"], &file["sha256"]), (&json!(contents[at].len()), &json!(sha256)));
        let response = get(&local(&serving, file)).await;
        assert_eq!((response.status, response.body.as_ref()), (StatusCode::OK, contents[at]));
        let header = |name: &str| response.headers[name].to_str().expect("text").to_owned();
        assert_eq!(header("content-type"), types[at]);
        assert_eq!(header("content-length"), contents[at].len().to_string());
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("content-security-policy"), "default-src 'none'; sandbox");
        assert!(header("content-disposition").starts_with("attachment; filename=\""), "{at}");
    }
    let last = get(&local(&serving, files[2])).await;
    let disposition = last.headers["content-disposition"].to_str().expect("text");
    assert!(disposition.ends_with("filename*=UTF-8''Rechnung%20f%C3%BCr%20%C3%84rger.pdf"), "{disposition}");
    let links =
        format!("{}, {}", files[0]["url"].as_str().expect("a link"), files[1]["url"].as_str().expect("one"));
    assert_eq!(flat["photos_of_the_damage"], links, "{flat}");
    assert_eq!(flat["the_invoice"], files[2]["url"]);

    // The schema that receivers are given describes it.
    let schema: Value =
        serde_json::from_str(include_str!("../../../schemas/submission.schema.json")).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<_> = validator.iter_errors(&full["data"]).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");

    // What else can be asked.
    let link = local(&serving, files[0]);
    let head = call(Method::HEAD, &link).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.headers["content-length"], "1000000");
    assert_eq!(call(Method::POST, &link).await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(get(&link[..link.len() - 1]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(get(&format!("http://{}/files/", serving.public)).await.status, StatusCode::NOT_FOUND);

    // The next process hands them out, too.
    serving.stop().await;
    let serving = house.serve().await;
    assert_eq!(get(&local(&serving, files[0])).await.body.as_ref(), contents[0]);
    serving.stop().await;
    assert!(house.folder.path().join("data/files").read_dir().expect("a folder").next().is_some());
}

#[tokio::test]
async fn a_submission_is_delivered_although_a_file_was_tampered_with_and_says_so() {
    let house = House::new().await;
    let serving = house.serve().await;
    house.media.tamper(Tamper::FlipBit);
    let mut player = house.person(&serving).await;
    walk(
        &mut player,
        json!({
            "Photos of the damage": [picked("IMG_1.jpg", &jpeg(1_000))],
            "The invoice": picked("a.pdf", &super::home::pdf(500)),
            "Anything else?": "No",
        }),
    )
    .await;
    let (full, flat) = house.delivered().await;
    let photo = &full["data"]["answers"][0]["value"][0];
    assert_eq!(photo["refused"], "encrypted_hash", "{full}");
    assert_eq!(flat["photos_of_the_damage"], "IMG_1.jpg (refused: encrypted_hash)");
    assert_eq!(full["data"]["answers"][2]["value"], "No");
    serving.stop().await;
}

#[tokio::test]
async fn what_the_picker_of_a_careful_phone_does_not_take_the_server_does_not_either() {
    let house = House::new().await;
    let serving = house.serve().await;
    let mut player = house.person(&serving).await;
    player.open().await.expect("a screen");
    let name = |player: &Player<HttpTransport>| {
        player.screen().expect("a screen").inputs().next().expect("a picker").name.clone()
    };
    let photos = name(&player);
    // The phone itself refuses a large one.
    let refused = player.fill(&photos, json!([picked("a.jpg", &jpeg(3 << 20))])).await;
    assert!(matches!(refused, Err(Error::Refused(why)) if why[0].1 == Refusal::TooLarge));
    // An old phone filters no types: the name tells at once.
    player.fill(&photos, json!([picked("a.pdf", b"%PDF-")])).await.expect("uploaded");
    player.tap_footer().await.expect("an answer");
    let screen = player.screen().expect("a screen");
    assert_eq!(name(&player), photos, "the same screen again");
    assert!(screen.errors().any(|error| error.contains("cannot be accepted")), "{screen:?}");
    player.fill(&photos, json!([picked("a.jpg", &jpeg(500))])).await.expect("uploaded");
    player.tap_footer().await.expect("an answer");
    assert_ne!(name(&player), photos);
    serving.stop().await;
}

#[test]
fn nothing_of_a_file_is_compiled_into_less_than_the_form_says() {
    let form: Value = serde_json::from_str(FORM).expect("JSON");
    let folder = tempfile::tempdir().expect("a folder");
    let written = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(folder.path().join(name)).expect("a file")).expect("JSON")
    };
    std::fs::write(folder.path().join("form.json"), form.to_string()).expect("a file");
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_formgate"))
        .args(["compile", "form.json", "--out", "."])
        .current_dir(folder.path())
        .output()
        .expect("formgate runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let document = written("flow.json").to_string();
    for part in [
        r#""type":"PhotoPicker""#,
        r#""max-uploaded-photos":3"#,
        r#""max-file-size-kb":2048"#,
        r#""min-uploaded-documents":1"#,
        r#""allowed-mime-types":["application/pdf"]"#,
        r#""max-file-size-kb":100"#,
    ] {
        assert!(document.contains(part), "{part} in {document}");
    }
    let report = written("fidelity.json");
    assert_eq!(report["grade"], "exact", "{report:#}");
}

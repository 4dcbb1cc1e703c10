//! Deliveries wait for an account without using attempts up, and go on when it is connected.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use formgate::app::App;
use formgate::config::Config;
use formgate::crypto::PrivateKey;
use formgate::outbox::{DestinationView, Filter};
use formgate::player::document::Document;
use formgate::player::strategy::{Played, Truthful, play};
use formgate::player::transport::HttpTransport;
use formgate::player::{Options, Outcome, Player};
use formgate::sandbox::hubspot::HubSpot as Account;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::fixture::{Browser, configuration, free_port, sandbox};
use super::id;

const FORM: &str = r#"{
    "id": "6f1d6a6e-2b57-4d5c-9a53-0a4f3e6b7c21", "name": "Contact", "createdAt": "2026-01-01T00:00:00Z",
    "updatedAt": "2026-01-01T00:00:00Z", "archived": false, "formType": "hubspot",
    "fieldGroups": [{"groupType": "default_group", "richTextType": "text", "fields": [
        {"objectTypeId": "0-1", "name": "email", "label": "E-mail", "required": true, "hidden": false, "fieldType": "email",
         "validation": {"blockedEmailDomains": [], "useDefaultBlockList": false}}]}]
}"#;

fn load(folder: &Path, port: u16, sandbox: SocketAddr, account: SocketAddr) -> (Config, PrivateKey) {
    let key = PrivateKey::generate();
    std::fs::write(folder.join("shop.pem"), key.private_pem().expose_secret()).expect("a file");
    std::fs::write(folder.join("form.json"), FORM).expect("a file");
    let text = configuration(port, sandbox)
        + &format!(
            r#"
[[number]]
id = "shop"
app_secret = "app-secret"
private_keys = ["file:shop.pem"]
[[destination]]
id = "crm"
kind = "hubspot"
connection = "hubspot"
portal_id = "25505644"
api_url = "http://{account}"
allow_private_network = true
[[flow]]
id = "contact"
tool = "hubspot"
definition = "form.json"
number = "shop"
deliver_to = ["crm"]
"#
        );
    (super::fixture::load(folder, &text), key)
}

async fn walk(public: SocketAddr, admin: SocketAddr, key: &PrivateKey) {
    let url = format!("http://{}/api/v1/flows/contact/flow.json", admin).parse().expect("a URL");
    let served = Browser::default().get(&url).await;
    let document = Document::read(&serde_json::from_slice(&served.body).expect("JSON")).expect("a document");
    let transport = HttpTransport::new(&format!("http://{}/flows/contact", public)).expect("an address");
    let secret = SecretString::from("app-secret");
    let mut player =
        Player::new(document, &key.public_pem(), secret, "unused", transport, Options::default())
            .expect("a player");
    let Value::Object(answers) = json!({"E-mail": "ada@example.org"}) else { panic!("answers") };
    let played = play(&mut player, &mut Truthful::new(answers)).await.expect("answers");
    assert!(matches!(played, Played::Ended(Outcome::Completed(_))), "{played:?}");
}

#[tokio::test]
async fn deliveries_wait_for_an_account_that_has_to_be_connected_and_go_on_afterwards() {
    let folder = tempfile::tempdir().expect("a folder");
    let (stop, stopped) = watch::channel(false);
    let port = free_port();
    let (tools, _dial, sandbox) = sandbox(port, stopped.clone()).await;
    let [old, new] = [(); 2].map(|()| tools.authority.make_token("hubspot", &["forms"]));
    let account = Account::new("25505644", &new, &[serde_json::from_str(FORM).expect("JSON")]);
    let at = account.serve(stopped.clone()).await.expect("a port");
    let (config, key) = load(folder.path(), port, sandbox, at);
    let app = App::start(&config).await.unwrap_or_else(|error| panic!("{error}"));
    let (outbox, connections) = (app.outbox.clone(), app.connections.clone());
    let (public, admin) = (app.public, app.admin);
    let running = tokio::spawn(app.run(stopped));
    walk(public, admin, &key).await;

    let parked = |views: &[DestinationView]| {
        views.iter().any(|view| view.hold.paused.as_ref().is_some_and(|paused| paused.reconnect))
    };
    let until = Instant::now() + Duration::from_secs(60);
    while !parked(&outbox.destinations().await.expect("a list")) {
        assert!(Instant::now() < until, "it is not parked");
        sleep(Duration::from_millis(50)).await;
    }
    let told = outbox.destinations().await.expect("a list").remove(0).hold.paused.expect("a hold").reason;
    assert!(told.is_some_and(|reason| reason.contains("no connection “hubspot”")), "said plainly");
    assert_eq!(account.requests(), Vec::<String>::new(), "HubSpot is left alone");

    // A token that HubSpot does not take for submissions: it waits again, and the tool says that the token itself is good.
    let pasted = SecretString::from(old);
    let added = connections.add_token("hubspot", None, None, &pasted, "test").await;
    added.unwrap_or_else(|error| panic!("{error}"));
    let until = Instant::now() + Duration::from_secs(60);
    while account.requests().is_empty() || !parked(&outbox.destinations().await.expect("a list")) {
        assert!(Instant::now() < until, "it is not tried and parked again");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(account.records(), []);

    let pasted = SecretString::from(new);
    let added = connections.add_token("hubspot", None, Some(&id("hubspot")), &pasted, "test").await;
    added.unwrap_or_else(|error| panic!("{error}"));
    let until = Instant::now() + Duration::from_secs(60);
    while account.records().is_empty() {
        assert!(Instant::now() < until, "it does not go on");
        sleep(Duration::from_millis(50)).await;
    }
    let listed = outbox.list(&Filter::default(), None, 10).await.expect("a list").items;
    assert_eq!(listed.len(), 1);
    assert!(
        listed[0].deliveries[0].attempt <= 1,
        "waiting used no attempt up: {:?}",
        listed[0].deliveries[0]
    );
    stop.send_replace(true);
    running.await.expect("it ends").unwrap_or_else(|error| panic!("{error}"));
}

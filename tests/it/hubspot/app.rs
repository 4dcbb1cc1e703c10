//! A configured HubSpot destination in a running Formgate.

use std::path::Path;
use std::time::Duration;

use formgate::app::App;
use formgate::client::{AddressPolicy, Client, Method, Request};
use formgate::config::Config;
use formgate::connector::hubspot::Plan;
use formgate::crypto::PrivateKey;
use formgate::player::document::Document;
use formgate::player::strategy::{Played, Truthful, play};
use formgate::player::transport::HttpTransport;
use formgate::player::{Options, Outcome, Player};
use formgate::sandbox::hubspot::HubSpot as Account;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{WINE, read, wine};

/// A configuration of one flow that delivers to HubSpot, with these lines for the destination.
fn config(folder: &Path, tool: &str, definition: &str, destination: &str) -> Config {
    std::fs::write(folder.join("form.json"), definition).expect("a file");
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
app_secret = "app-secret"
private_keys = ["file:shop.pem"]
[[destination]]
id = "hubspot"
kind = "hubspot"
token = "env:HUBSPOT_TOKEN"
portal_id = "25505644"
{destination}
[[flow]]
id = "wine"
tool = "{tool}"
definition = "form.json"
number = "shop"
deliver_to = ["hubspot"]
"#
    );
    let file = folder.join("formgate.toml");
    std::fs::write(&file, text).expect("a file");
    let environment = [("HUBSPOT_TOKEN".to_owned(), "pat-eu1-1234".to_owned())];
    Config::load(Some(&file), environment.into_iter()).unwrap_or_else(|faults| panic!("{faults}"))
}

fn key(folder: &Path) -> PrivateKey {
    let key = PrivateKey::generate();
    std::fs::write(folder.join("shop.pem"), key.private_pem().expose_secret()).expect("a file");
    key
}

#[tokio::test]
async fn what_a_person_fills_in_is_in_hubspot_as_configured() {
    let definition: Value = serde_json::from_str(WINE).expect("JSON");
    let account = Account::new("25505644", "pat-eu1-1234", &[definition]);
    let (stop, stopped) = watch::channel(false);
    let address = account.serve(stopped.clone()).await.expect("a port");
    let folder = tempfile::tempdir().expect("a folder");
    let key = key(folder.path());
    let local = format!("api_url = \"http://{address}\"\nallow_private_network = true");
    let config = config(folder.path(), "hubspot", WINE, &local);
    let app = App::start(&config).await.unwrap_or_else(|error| panic!("{error}"));
    let (public, admin) = (app.public, app.admin);
    let running = tokio::spawn(app.run(stopped));

    let url = format!("http://{admin}/api/v1/flows/wine/flow.json").parse().expect("a URL");
    let mut request = Request::new(Method::GET, url, "", Instant::now() + Duration::from_secs(60));
    request.policy = AddressPolicy::AllowPrivateNetwork;
    request.max_response_bytes = 1024 * 1024;
    let served = Client::new().request(request).await.expect("an answer");
    let document = Document::read(&serde_json::from_slice(&served.body).expect("JSON")).expect("a document");
    let transport = HttpTransport::new(&format!("http://{public}/flows/wine")).expect("an address");
    let secret = SecretString::from("app-secret");
    let mut player =
        Player::new(document, &key.public_pem(), secret, "unused", transport, Options::default())
            .expect("a player");
    let answers = json!({
        "First name": "Ada", "E-mail": "ada@example.org", "Guests": "2", "Wine": "None of them", "Food": ["Olives"],
        "Day": "2027-03-28", "Changes of your visit": true, "I agree that it is stored.": true,
    });
    let Value::Object(answers) = answers else { panic!("answers") };
    let played = play(&mut player, &mut Truthful::new(answers)).await.expect("answers");
    assert!(matches!(played, Played::Ended(Outcome::Completed(_))), "{played:?}");

    let until = Instant::now() + Duration::from_secs(60);
    while account.records().is_empty() && Instant::now() < until {
        sleep(Duration::from_millis(50)).await;
    }
    let [record] = account.records().try_into().expect("one submission");
    assert!(record.values.contains(&("0-1".to_owned(), "wine".to_owned(), "n".to_owned())), "{record:?}");
    assert!(record.page_url.starts_with("https://forms.example.com/flows/wine?submission="), "{record:?}");
    stop.send_replace(true);
    running.await.expect("it ends").unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn a_flow_that_hubspot_cannot_take_stops_the_start_with_the_reason() {
    let own =
        r#"{"id":"f","title":"F","pages":[{"id":"p","questions":[{"key":"a","type":"email","title":"E"}]}]}"#;
    let nameless =
        r#"{"name":"F","fieldGroups":[{"fields":[{"fieldType":"email","name":"email","label":"E"}]}]}"#;
    for (tool, definition, destination, words) in [
        (
            "form",
            own,
            "",
            "destination hubspot cannot be used: flow wine cannot be delivered to it: its form was made with form",
        ),
        ("hubspot", nameless, "", "names no guid: write the destination's \"form\""),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        key(folder.path());
        let refused = App::start(&config(folder.path(), tool, definition, destination)).await;
        let refused = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refused.contains(words), "{refused}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    key(folder.path());
    let named = config(folder.path(), "hubspot", nameless, "form = \"5b0a4c2e-7d31-4f0e-9a57-2f6c1d8e9b10\"");
    let started = App::start(&named).await.map(|app| app.public.port());
    assert!(started.is_ok(), "{:?}", started.err().map(|error| error.to_string()));
}

#[test]
fn a_form_that_can_never_be_written_back_says_so_before_anybody_fills_it_in() {
    let fields = |field: Value| json!({"name": "F", "fieldGroups": [{"fields": [field]}]});
    let plan = |definition: Value| Plan::of(&read(&definition.to_string()).expect("a form").form).map(|_| ());
    let mut other = fields(json!({"fieldType": "email", "name": "email", "label": "E"}));
    other["legalConsentOptions"] = json!({"type": "legitimate_interest", "lawfulBasis": "other",
        "subscriptionTypeIds": [9], "privacyText": "P"});
    assert!(plan(other).is_err_and(|reason| reason.contains("“other”")));
    let mut typeform = wine().form;
    typeform.tool = "typeform".to_owned();
    assert!(Plan::of(&typeform).is_err_and(|reason| reason.contains("typeform")));
    let kept = Plan::of(&wine().form).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(kept.file_questions().collect::<Vec<_>>(), ["A photo"]);
}

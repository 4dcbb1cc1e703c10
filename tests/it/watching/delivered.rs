//! New versions of a form whose destination has to be made ready for each: served without a start, and delivered.

use std::time::Duration;

use formgate::app::App;
use formgate::app::control::FlowCommand;
use formgate::client::{AddressPolicy, Client, Method, Request};
use formgate::config::Config;
use formgate::crypto::PrivateKey;
use formgate::player::document::Document;
use formgate::player::render::Screen;
use formgate::player::strategy::{Played, Strategy, Truthful, play};
use formgate::player::transport::HttpTransport;
use formgate::player::{Options, Outcome, Player};
use formgate::sandbox::hubspot::HubSpot as Account;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value as Json, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{ask, check_of, until_served};
use crate::connect::fixture::{Browser, Site, start_with};
use crate::source::definition;

const GUID: &str = "5b0a4c2e-7d31-4f0e-9a57-2f6c1d8e9b10";

/// The form with one more question, which nobody has to answer.
fn longer() -> Json {
    let mut form = definition("hubspot");
    let fields = form["fieldGroups"][1]["fields"].as_array_mut().expect("fields");
    fields.push(json!({"fieldType": "single_line_text", "objectTypeId": "0-1", "name": "jobtitle", "label": "Profession"}));
    form
}

/// The form without a question that it had.
fn shorter() -> Json {
    let mut form = longer();
    let fields = form["fieldGroups"][2]["fields"].as_array_mut().expect("fields");
    fields.retain(|field| field["name"] != "mobilephone");
    form
}

/// A form with a consent that HubSpot's API does not take.
fn undeliverable() -> Json {
    let mut form = shorter();
    form["legalConsentOptions"] = json!({"type": "legitimate_interest", "lawfulBasis": "other",
        "subscriptionTypeIds": [9], "privacyText": "P"});
    form
}

/// Fills the form in, and has something happen when the second screen is there.
struct Interrupted<'a> {
    person: Truthful,
    screens: Vec<String>,
    happening: Option<Box<dyn FnOnce() + Send + 'a>>,
}

impl Strategy for Interrupted<'_> {
    fn answer(&mut self, screen: &Screen) -> Vec<(String, Json)> {
        if self.screens.last() != Some(&screen.id) {
            self.screens.push(screen.id.clone());
        }
        if self.screens.len() == 2
            && let Some(happening) = self.happening.take()
        {
            happening();
        }
        self.person.answer(screen)
    }

    fn patience(&self) -> u32 {
        self.person.patience()
    }
}

struct Home {
    site: Site,
    key: PrivateKey,
}

impl Home {
    async fn document(&self) -> Document {
        let url = format!("http://{}/api/v1/flows/wine/flow.json", self.site.admin).parse().expect("a URL");
        let mut request = Request::new(Method::GET, url, "", Instant::now() + Duration::from_secs(60));
        request.policy = AddressPolicy::AllowPrivateNetwork;
        request.max_response_bytes = 1024 * 1024;
        let served = Client::new().request(request).await.expect("an answer");
        Document::read(&serde_json::from_slice(&served.body).expect("JSON")).expect("a document")
    }

    /// Walks the version that is served now.
    async fn walk<'a>(&self, name: &str, happening: Option<Box<dyn FnOnce() + Send + 'a>>) {
        let url = self.site.public.join("flows/wine").expect("a URL");
        let transport = HttpTransport::new(url.as_str()).expect("an address");
        let (secret, options) = (SecretString::from("app-secret"), Options::default());
        let pem = self.key.public_pem();
        let mut player =
            Player::new(self.document().await, &pem, secret, "unused", transport, options).expect("a player");
        let answers = json!({
            "First name": name, "E-mail": "ada@example.org", "Guests": "2", "Wine": "None of them", "Food": ["Olives"],
            "Day": "2027-03-28", "Changes of your visit": true, "I agree that it is stored.": true, "Profession": "Countess",
        });
        let person = Truthful::new(answers.as_object().expect("answers").clone());
        let mut person = Interrupted { person, screens: Vec::new(), happening };
        let played = play(&mut player, &mut person).await.expect("answers");
        assert!(matches!(played, Played::Ended(Outcome::Completed(_))), "{played:?}");
        assert!(person.happening.is_none(), "it was never on a second screen: {:?}", person.screens);
    }
}

/// The values of what this person handed in.
async fn handed_in(account: &Account, name: &str) -> Vec<(String, String, String)> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let value = ("0-1".to_owned(), "firstname".to_owned(), name.to_owned());
        if let Some(record) = account.records().into_iter().find(|record| record.values.contains(&value)) {
            return record.values;
        }
        assert!(Instant::now() < end, "nothing of {name} in {:?}", account.records());
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_is_served_and_delivered_without_a_start_and_so_is_what_was_begun_before() {
    let account = Account::new("25505644", "pat-eu1-1234", &[longer()]);
    let (_stop, stopped) = watch::channel(false);
    let address = account.serve(stopped).await.expect("a port");
    let key = PrivateKey::generate();
    let more = format!(
        "[[number]]\nid = \"shop\"\napp_secret = \"app-secret\"\nprivate_keys = ['''{}''']\n[drift]\nevery_minutes = 0\n\
         [[destination]]\nid = \"crm\"\nkind = \"hubspot\"\ntoken = \"pat-eu1-1234\"\nportal_id = \"25505644\"\n\
         api_url = \"http://{address}\"\nallow_private_network = true\n\
         [[flow]]\nid = \"wine\"\ntool = \"hubspot\"\nconnection = \"hubspot\"\nform = \"{GUID}\"\nnumber = \"shop\"\n\
         deliver_to = [\"crm\"]\n",
        key.private_pem().expose_secret()
    );
    let site = start_with(&more).await;
    site.tools.library.put("hubspot", definition("hubspot"));
    site.connect("hubspot").await;
    assert_eq!(until_served(&site, "wine", 1).await, 1);
    let home = Home { site, key };
    let site = &home.site;
    home.walk("Ada", None).await;
    handed_in(&account, "Ada").await;

    let runtime = tokio::runtime::Handle::current();
    let change = || {
        tokio::task::block_in_place(|| {
            runtime.block_on(async {
                site.tools.library.put("hubspot", longer());
                let said = check_of(site, "wine").await;
                assert!(said.starts_with("it was changed, and is taken over: 1 compatible"), "{said}");
                assert_eq!(until_served(site, "wine", 2).await, 2);
            });
        });
    };
    home.walk("Byron", Some(Box::new(change))).await;
    let begun_before = handed_in(&account, "Byron").await;
    assert!(begun_before.iter().all(|(_, name, _)| name != "jobtitle"), "{begun_before:?}");
    home.walk("Charles", None).await;
    let asked = ("0-1".to_owned(), "jobtitle".to_owned(), "Countess".to_owned());
    let newest = handed_in(&account, "Charles").await;
    assert!(newest.contains(&asked), "{newest:?}");

    site.tools.library.put("hubspot", shorter());
    let said = check_of(site, "wine").await;
    assert!(said.starts_with("it was changed, and waits: 1 breaking"), "{said}");
    ask(site, FlowCommand::Approve { flow: "wine".into() }).await.expect("it is taken");
    assert_eq!(until_served(site, "wine", 3).await, 3);
    home.walk("Dorothea", None).await;
    handed_in(&account, "Dorothea").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_cannot_be_delivered_is_never_taken_and_does_not_stop_the_next_start() {
    let more = format!(
        "[[number]]\nid = \"shop\"\napp_secret = \"app-secret\"\n[drift]\nevery_minutes = 0\n\
         [[destination]]\nid = \"crm\"\nkind = \"hubspot\"\nconnection = \"hubspot\"\nportal_id = \"25505644\"\n\
         allow_private_network = true\n\
         [[destination]]\nid = \"page\"\nkind = \"google-forms\"\nunofficial = true\n\
         [[flow]]\nid = \"wine\"\ntool = \"hubspot\"\nconnection = \"hubspot\"\nform = \"{GUID}\"\nnumber = \"shop\"\n\
         take = \"compatible\"\ndeliver_to = [\"crm\"]\n\
         [[flow]]\nid = \"workshop\"\ntool = \"google-forms\"\nconnection = \"google-forms\"\n\
         form = \"1workshopExampleFormId0000000000000000000000\"\nnumber = \"shop\"\ndeliver_to = [\"page\"]\n"
    );
    // Where the Google form's public page is stands in its definition, which is not read yet: that stops no start.
    let site = start_with(&more).await;
    site.tools.library.put("google-forms", definition("google-forms"));
    site.connect("google-forms").await;
    assert_eq!(until_served(&site, "workshop", 1).await, 1);

    site.tools.library.put("hubspot", undeliverable());
    site.connect("hubspot").await;
    let ask_now = || ask(&site, FlowCommand::Check { flow: "wine".into() });
    let refused = ask_now().await.expect_err("nothing can be served");
    assert!(refused.contains("destination crm cannot be used") && refused.contains("“other”"), "{refused}");
    assert!(site.flows.get("wine").is_none());

    site.tools.library.put("hubspot", shorter());
    check_of(&site, "wine").await;
    assert_eq!(until_served(&site, "wine", 1).await, 1);
    site.tools.library.put("hubspot", undeliverable());
    let said = check_of(&site, "wine").await;
    assert!(said.starts_with("it was changed, and cannot be served: ") && said.contains("“other”"), "{said}");
    let refused = ask(&site, FlowCommand::Approve { flow: "wine".into() }).await.expect_err("not that one");
    assert!(refused.contains("“other”"), "{refused}");

    let folder = site.end().await;
    let file = folder.path().join("formgate.toml");
    let config = Config::load(Some(&file), std::iter::empty()).unwrap_or_else(|faults| panic!("{faults}"));
    let app = App::start(&config).await.unwrap_or_else(|error| panic!("{error}"));
    assert!(app.flows.get("wine").is_some_and(|flow| flow.versions.len() == 1));
}

/// The form without its question for a photo.
fn without_files() -> Json {
    let mut form = longer();
    let groups = form["fieldGroups"].as_array_mut().expect("groups").iter_mut();
    for fields in groups.filter_map(|group| group.get_mut("fields")?.as_array_mut()) {
        fields.retain(|field| field["fieldType"] != "file");
    }
    form
}

/// What somebody who connects HubSpot now is asked to allow.
async fn scopes(site: &Site) -> String {
    let at = Browser::default().leave(&site.link("hubspot", None).await).await;
    let asked = at.query_pairs().filter(|(name, _)| name.ends_with("scope"));
    asked.map(|(_, scopes)| scopes.into_owned() + " ").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leave_to_keep_files_is_asked_for_only_when_a_form_that_asks_for_files_is_served() {
    let site = start_with(&format!(
        "[[number]]\nid = \"shop\"\napp_secret = \"app-secret\"\n[drift]\nevery_minutes = 0\n\
         [[destination]]\nid = \"crm\"\nkind = \"hubspot\"\nconnection = \"hubspot\"\nportal_id = \"25505644\"\n\
         allow_private_network = true\n\
         [[flow]]\nid = \"wine\"\ntool = \"hubspot\"\nconnection = \"hubspot\"\nform = \"{GUID}\"\nnumber = \"shop\"\n\
         take = \"compatible\"\ndeliver_to = [\"crm\"]\n",
    ))
    .await;
    site.tools.library.put("hubspot", without_files());
    site.connect("hubspot").await;
    assert_eq!(until_served(&site, "wine", 1).await, 1);
    // It has the photo, and lacks a question: whether it can be delivered is tried, and it waits.
    site.tools.library.put("hubspot", shorter());
    let said = check_of(&site, "wine").await;
    assert!(said.starts_with("it was changed, and waits: 1 breaking"), "{said}");
    let asked = scopes(&site).await;
    assert!(asked.contains("forms") && !asked.contains("files"), "{asked}");
    ask(&site, FlowCommand::Approve { flow: "wine".into() }).await.expect("it is taken");
    assert_eq!(until_served(&site, "wine", 2).await, 2);
    let asked = scopes(&site).await;
    assert!(asked.contains("files"), "{asked}");
    site.end().await;
}

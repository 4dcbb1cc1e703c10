//! The collector that a survey's responses go into where none is named, and what a page that cannot be asked says.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use formgate::client::{AddressPolicy, Client};
use formgate::connector::PublicForm;
use formgate::connector::surveymonkey::{Responses, Survey};
use formgate::outbox::{Destination as _, Grade, Outcome, Submission, Verdict};
use formgate::sandbox::GoogleForm;
use formgate::sandbox::surveymonkey::{Account, Fault, Sandbox};
use formgate::server::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{answer, api, deliver, held, id, refused, submission};

const SURVEY: &str = r#"{"id": "9001", "title": "Short", "language": "en", "question_count": 1, "pages": [{"id": "1", "questions": [
    {"id": "10", "family": "open_ended", "subtype": "single", "headings": [{"heading": "Your name"}]}]}]}"#;

struct Running {
    sandbox: Sandbox,
    destination: Responses,
    _stop: watch::Sender<bool>,
}

/// An account whose survey has this collector, or none.
async fn start(collector: &str) -> Running {
    let survey: Value = serde_json::from_str(SURVEY).expect("JSON");
    let sandbox = Sandbox::new(Account::new("token", collector, survey));
    let running = sandbox.bind(0).await.expect("a port");
    let address = running.local_addr().expect("an address");
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(running.run(stopped));
    let survey = Survey::read(SURVEY.as_bytes()).expect("a survey");
    let destination = Responses {
        id: id(),
        api: api(address, "token"),
        collector: None,
        surveys: BTreeMap::from([("contact".to_owned(), survey)]),
        found: Mutex::default(),
    };
    Running { sandbox, destination, _stop: stop }
}

fn named(number: u8) -> Submission {
    let mut submission = submission(vec![answer("10", "short_text", json!("Ada"))]);
    submission.id = formgate::outbox::SubmissionId::new(uuid::Uuid::new_v8([number; 16]));
    submission.form.tool = "surveymonkey".to_owned();
    submission.form.id = "9001".to_owned();
    submission
}

impl Running {
    async fn deliver(&self, number: u8) -> Outcome {
        deliver(&self.destination, &named(number), false).await
    }

    fn collectors(&self) -> Vec<Value> {
        self.sandbox.responses().iter().map(|response| response["collector_id"].clone()).collect()
    }
}

#[tokio::test]
async fn a_collector_of_its_own_is_made_once_and_found_by_the_next_process() {
    let running = start("555").await;
    assert_eq!(running.destination.grade(), Grade::A);
    for number in 1..=2 {
        assert_eq!(running.deliver(number).await, Outcome::delivered(Some(201)));
    }
    *running.destination.found.lock().expect("a map") = BTreeMap::new();
    assert_eq!(running.deliver(3).await, Outcome::delivered(Some(201)));
    let [made] = running.sandbox.made().try_into().expect("one, not three");
    assert_eq!((made["name"].as_str(), made["type"].as_str()), (Some("WhatsApp"), Some("weblink")));
    assert_eq!(running.collectors(), [made["id"].clone(), made["id"].clone(), made["id"].clone()]);
}

#[tokio::test]
async fn while_collectors_cannot_be_listed_nothing_is_sent_and_nothing_made() {
    let running = start("").await;
    running.sandbox.fail_next([Fault::Status(StatusCode::SERVICE_UNAVAILABLE)]);
    let outcome = running.deliver(1).await;
    assert_eq!(outcome, Outcome::retry("look", Some(503), None), "nothing was sent, so nothing is unclear");
    assert_eq!(running.deliver(1).await, Outcome::delivered(Some(201)));
    assert_eq!(running.sandbox.made().len(), 1);
}

#[tokio::test]
async fn an_open_web_link_takes_them_where_none_may_be_made_and_without_one_it_is_said() {
    let running = start("555").await;
    running.sandbox.change(|account| account.scopes.retain(|scope| scope != "collectors_write"));
    assert_eq!(running.deliver(1).await, Outcome::delivered(Some(201)));
    assert_eq!(running.collectors(), [json!("555")]);

    for (lost, open, words) in [
        ("collectors_write", false, "may not make one"),
        ("collectors_read", true, "name one in “collector”"),
    ] {
        let running = start("555").await;
        running.sandbox.change(|account| {
            account.scopes.retain(|scope| scope != lost);
            account.open = open;
        });
        let outcome = running.deliver(1).await;
        let (class, reason) = held(&outcome);
        assert!(class == "scope" && reason.contains(words), "{class}: {reason}");
        assert!(running.sandbox.responses().is_empty());
    }
}

#[tokio::test]
async fn after_a_collector_was_closed_another_one_is_found() {
    let running = start("555").await;
    running.sandbox.change(|account| account.scopes.retain(|scope| scope != "collectors_write"));
    assert_eq!(running.deliver(1).await, Outcome::delivered(Some(201)));
    running.sandbox.change(|account| account.open = false);
    assert_eq!(refused(&running.deliver(2).await).0, "collector");
    running.sandbox.change(|account| account.scopes.extend(["collectors_write".to_owned()]));
    assert_eq!(running.deliver(2).await, Outcome::delivered(Some(201)));
    assert_eq!(running.sandbox.made().len(), 1);
}

#[tokio::test]
async fn a_public_page_that_may_have_taken_it_before_says_so() {
    let data: Value = serde_json::from_str(include_str!("../../fixtures/google-forms/public-form.json"))
        .expect("our fixture");
    let form = GoogleForm::new(data);
    let server = form.bind(0).await.expect("a free port");
    let url = format!("http://{}/forms/d/e/1FAIpQLExample/viewform", server.local_addr());
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(server.run(stopped, Duration::from_secs(1)));
    let page = PublicForm {
        id: id(),
        url: url.parse().expect("a URL"),
        policy: AddressPolicy::AllowPrivateNetwork,
        client: Client::new(),
    };
    assert_eq!(page.grade(), Grade::B);
    let sent = submission(vec![
        answer("emailAddress", "email", json!("ada@example.org")),
        answer("0000000b", "short_text", json!("Ada")),
        answer("0000000e", "scale", json!(2)),
        answer("0000006f", "matrix", json!({"00000015": ["Wheel", "Kiln"]})),
        answer("00000018", "single_choice", json!("Was")),
    ]);
    assert_eq!(deliver(&page, &sent, false).await, Outcome::delivered(Some(200)));
    let again = deliver(&page, &sent, true).await;
    assert_eq!((again.verdict, again.class), (Verdict::Delivered, "maybe_twice"));
    assert_eq!(form.stored().len(), 2);
}

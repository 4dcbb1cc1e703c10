//! Submissions go back into HubSpot as its own form would have stored them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use formgate::client::{AddressPolicy, Client};
use formgate::connector::hubspot::{HubSpot, Plan, Settings};
use formgate::flow::compile::Settings as CompileSettings;
use formgate::form::Form as NeutralForm;
use formgate::outbox::{
    Answer, Call, DeliveryKey, Destination, DestinationId, Form, Outcome, RetryPolicy, Submission,
    SubmissionId, Verdict, Worker,
};
use formgate::player::Outcome as Walked;
use formgate::player::strategy::{Played, Truthful, play};
use formgate::sandbox::hubspot::{Fault, HubSpot as Account, Record};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use url::Url;
use uuid::Uuid;

use super::{WINE, read, wine};
use crate::endpoint::fixture::Setup;
use crate::outbox::fixture::{self, SubmissionExt as _};

pub(super) const PORTAL: &str = "25505644";
pub(super) const TOKEN: &str = "pat-eu1-1234";
const GUID: &str = "5b0a4c2e-7d31-4f0e-9a57-2f6c1d8e9b10";

fn crm() -> DestinationId {
    DestinationId::new("crm").expect("an id")
}

pub(super) struct Running {
    pub(super) account: Account,
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

pub(super) async fn start(account: Account) -> Running {
    let (stop, stopped) = watch::channel(false);
    let address = account.serve(stopped).await.expect("a port");
    Running { account, address, _stop: stop }
}

async fn wine_account() -> Running {
    start(Account::new(PORTAL, TOKEN, &[serde_json::from_str(WINE).expect("JSON")])).await
}

impl Running {
    pub(super) fn destination(&self, form: &NeutralForm) -> HubSpot {
        self.destination_with(form, |_| {})
    }

    fn destination_with(&self, form: &NeutralForm, change: impl FnOnce(&mut Settings)) -> HubSpot {
        let plan = || Plan::of(form).unwrap_or_else(|error| panic!("{error}"));
        let plans = [0, 1].map(|version| (("contact".to_owned(), version), plan()));
        let mut settings = Settings {
            public_url: Url::parse("https://forms.example.com").ok(),
            plans: BTreeMap::from(plans),
            ..settings(self)
        };
        change(&mut settings);
        HubSpot::new(settings)
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn answer(key: &str, value: Value) -> Answer {
    Answer {
        key: key.to_owned(),
        question: key.to_owned(),
        kind: "short_text".to_owned(),
        text: value.to_string(),
        value,
        other: None,
    }
}

/// What a person answered, with everything that HubSpot requires.
fn submission() -> Submission {
    Submission {
        id: SubmissionId::new(Uuid::from_u128(0x8000_0000_0000_8000_8000_0000_0000_0001)),
        flow_id: "contact".to_owned(),
        flow_version: 1,
        form: Form { tool: "hubspot".to_owned(), id: GUID.to_owned(), title: "Wine tasting".to_owned() },
        flow_token: "unused".to_owned(),
        started_at_ms: now_ms() - 30_000,
        completed_at_ms: now_ms(),
        locale: "pt-BR".to_owned(),
        source: BTreeMap::from([("campaign".to_owned(), "spring & summer".to_owned())]),
        hidden: BTreeMap::from([("0-1/utm_source".to_owned(), "qr".to_owned())]),
        answers: vec![
            answer("0-1/firstname", json!("Ada")),
            answer("0-1/email", json!("ada@example.org")),
            answer("0-1/guests", json!(2)),
            answer("0-1/wine", json!("n")),
            answer("0-1/food", json!(["olives", "cheese"])),
            answer("0-1/visit_date", json!("2027-03-28")),
            answer("consent/communication/11", json!(false)),
            answer("consent/communication/12", json!(true)),
            answer("consent/process", json!(true)),
        ],
        ..fixture::submission(0).anonymous()
    }
}

/// The submission with another answer to a question.
fn with(key: &str, value: Value) -> Submission {
    let mut submission = submission();
    submission.answers.retain(|answer| answer.key != key);
    if !value.is_null() {
        submission.answers.push(answer(key, value));
    }
    submission
}

async fn attempt(
    destination: &HubSpot,
    submission: &Submission,
    (attempt, sent_before): (u32, bool),
    patience: Duration,
) -> Outcome {
    let (key, deadline) = (DeliveryKey::of(submission.id, &crm()), Instant::now() + patience);
    destination.deliver(Call { submission, key, attempt, sent_before, deadline }).await
}

pub(super) async fn deliver(destination: &HubSpot, submission: &Submission) -> Outcome {
    attempt(destination, submission, (1, false), Duration::from_secs(60)).await
}

pub(super) fn values(record: &Record) -> Vec<(&str, &str, &str)> {
    record
        .values
        .iter()
        .map(|(object, name, value)| (object.as_str(), name.as_str(), value.as_str()))
        .collect()
}

/// The consent that HubSpot's own form would have stored for the fixture.
fn consent(news: bool) -> Value {
    json!({"consent": {
        "consentToProcess": true,
        "text": "I agree that it is stored.",
        "communications": [
            {"value": news, "subscriptionTypeId": 11, "text": "News & offers"},
            {"value": true, "subscriptionTypeId": 12, "text": "Changes of your visit"},
        ],
    }})
}

#[tokio::test]
async fn a_walk_is_stored_in_hubspot_as_its_own_form_would_store_it_also_when_the_answer_is_lost() {
    let import = wine();
    let hubspot = wine_account().await;
    // HubSpot keeps the submission, but we never hear of it: the repeat finds it and sends nothing.
    hubspot.account.fail([Fault::AcceptThenCut]);
    let gate = Setup::of(&import.form, &CompileSettings::default()).start().await;
    let answers = json!({
        "First name": "Ada", "E-mail": "ada@example.org", "Phone": "+39 06 6982 1234", "Guests": "6",
        "Company": "Analytical Engines", "Wine": "Red wine", "Body": "Full", "Why full?": "It lasts\nlonger",
        "I come by car": true, "Food": ["Cheese", "Dark bread"], "Day": "2027-03-28",
        "News & offers": true, "Changes of your visit": true, "I agree that it is stored.": true,
    });
    let Value::Object(answers) = answers else { panic!("answers") };
    let mut player = gate.player("token");
    let played = play(&mut player, &mut Truthful::new(answers)).await.expect("answers");
    assert!(matches!(played, Played::Ended(Walked::Completed(_))), "{played:?}");

    let destination: Arc<dyn Destination> = Arc::new(hubspot.destination(&import.form));
    let (stop, stopped) = watch::channel(false);
    let worker = tokio::spawn(
        Worker::new(gate.outbox.clone(), vec![destination], RetryPolicy::default()).run(stopped),
    );
    let submission = gate.submissions().await.remove(0);
    let until = Instant::now() + Duration::from_secs(60);
    let delivered = loop {
        let shown = gate.outbox.show(submission.id).await.expect("a read").expect("a submission");
        let delivery = format!("{:?}", shown.deliveries);
        if delivery.contains("found") || Instant::now() > until {
            break delivery;
        }
        gate.advance_to_the_next_attempt(&shown);
        sleep(Duration::from_millis(100)).await;
    };
    assert!(delivered.contains("Delivered") && delivered.contains("found"), "{delivered}");
    stop.send_replace(true);
    worker.await.expect("the worker ends");

    let [record] = hubspot.account.records().try_into().expect("one, not two");
    let id = submission.id.to_string();
    assert_eq!(
        values(&record),
        [
            ("0-1", "firstname", "Ada"),
            ("0-1", "email", "ada@example.org"),
            ("0-1", "phone", "+390669821234"),
            ("0-1", "guests", "6"),
            ("0-2", "name", "Analytical Engines"),
            ("0-1", "wine", "r"),
            ("0-1", "body", "full"),
            ("0-1", "why_full", "It lasts\nlonger"),
            ("0-1", "drives", "true"),
            ("0-1", "food", "cheese;bread;dark"),
            ("0-1", "visit_date", "1806192000000"),
            ("0-1", "utm_source", "whatsapp"),
            ("0-1", "tags", "a;b"),
            ("0-1", "wa_submission_id", &id),
        ]
    );
    assert_eq!(record.consent, consent(true));
    assert_eq!(record.submitted_at, Some(submission.completed_at_ms));
    assert_eq!(
        record.page_url,
        format!(
            "https://forms.example.com/flows/contact?submission={id}&version={}&source=whatsapp",
            submission.flow_version
        )
    );
    assert_eq!(record.page_name, "WhatsApp: Wine tasting");
}

#[tokio::test]
async fn what_hubspot_will_never_take_is_refused_with_the_question_and_without_the_answer() {
    let hubspot = wine_account().await;
    let destination = hubspot.destination(&wine().form);
    for (submission, class, words) in [
        (
            with("0-1/email", json!("canary@gmail.com")),
            "mapping",
            vec!["“E-mail” (email)", "block list", "BLOCKED_EMAIL"],
        ),
        (
            with("0-1/email", Value::Null),
            "mapping",
            vec!["“E-mail” (email)", "requires it", "REQUIRED_FIELD"],
        ),
        (
            with("0-1/wine", json!("canary")),
            "mapping",
            vec!["“Wine” (wine)", "no longer one", "VALUE_NOT_IN_FIELD_DEFINITION"],
        ),
        (
            with("0-1/mobilephone", json!("+393471234567")),
            "mapping",
            vec!["“Mobile” (mobilephone)", "out of the range"],
        ),
        (with("0-1/guests", json!(7)), "mapping", vec!["“Company” (name)", "requires it"]),
        (with("consent/process", json!(false)), "consent", vec!["MISSING_PROCESSING_CONSENT"]),
        (with("0-1/gone", json!("canary")), "mapping", vec!["0-1/gone"]),
        (with("0-1/firstname", json!({"canary": 1})), "mapping", vec!["“First name”"]),
    ] {
        let outcome = deliver(&destination, &submission).await;
        let Verdict::Refused { reason } = &outcome.verdict else { panic!("{outcome:?}") };
        assert_eq!(outcome.class, class, "{reason}");
        for word in words {
            assert!(reason.contains(word), "{word}: {reason}");
        }
        assert!(!reason.contains("canary") && !reason.contains("347"), "no answer is told: {reason}");
    }
    assert_eq!(hubspot.account.records(), []);
}

#[tokio::test]
async fn tokens_forms_versions_and_limits_have_outcomes_of_their_own() {
    let hubspot = wine_account().await;
    let form = wine().form;
    let wrong = hubspot
        .destination_with(&form, |settings| settings.tokens = Arc::new(SecretString::from("pat-other")));
    let reconnect = |outcome: &Outcome| matches!(outcome.verdict, Verdict::Hold { reconnect: true, .. });
    let told = |outcome: Outcome| (outcome.class, outcome.status, reconnect(&outcome));
    assert_eq!(told(deliver(&wrong, &submission()).await), ("token", Some(401), true));
    assert!(!format!("{wrong:?}").contains("pat-"));

    let elsewhere = hubspot.destination_with(&form, |settings| settings.form = Some(Uuid::nil().to_string()));
    let outcome = deliver(&elsewhere, &submission()).await;
    assert_eq!((outcome.class, outcome.status), ("unknown_form", Some(404)));
    assert!(matches!(outcome.verdict, Verdict::Refused { .. }));

    let old = Submission { flow_version: 7, ..submission() };
    let outcome = deliver(&hubspot.destination(&form), &old).await;
    assert_eq!(
        (outcome.class, outcome.status),
        ("version", None),
        "its texts are not known, so nothing is sent"
    );

    let destination = hubspot.destination(&form);
    for (fault, outcome) in [
        (Fault::RateLimit(17), Outcome::retry("rate", Some(429), Some(17_000))),
        (Fault::DailyLimit, Outcome::retry("rate", Some(429), Some(21_600_000))),
        (Fault::Status(477), Outcome::retry("moving", Some(477), None)),
        (Fault::Status(500), Outcome::retry("status", Some(500), None)),
        (Fault::Status(503), Outcome::retry("status", Some(503), None)),
    ] {
        hubspot.account.fail([fault]);
        assert_eq!(deliver(&destination, &submission()).await, outcome, "{fault:?}");
    }
    hubspot.account.fail([Fault::Status(403)]);
    assert_eq!(told(deliver(&destination, &submission()).await), ("scope", Some(403), true));
    hubspot.account.fail([Fault::Status(409)]);
    assert!(matches!(deliver(&destination, &submission()).await.verdict, Verdict::Refused { .. }));
    hubspot.account.fail([Fault::Hang]);
    let outcome = attempt(&destination, &submission(), (1, false), Duration::from_secs(3)).await;
    assert_eq!(outcome, Outcome::retry("deadline", None, None));
    assert_eq!(hubspot.account.records(), []);
    assert_eq!(deliver(&destination, &submission()).await, Outcome::delivered(Some(200)));
    assert_eq!(hubspot.account.records().len(), 1);
}

fn settings(hubspot: &Running) -> Settings {
    Settings {
        id: crm(),
        portal: PORTAL.to_owned(),
        form: None,
        api: Url::parse(&format!("http://{}", hubspot.address)).expect("a URL"),
        tokens: Arc::new(SecretString::from(TOKEN)),
        public_url: None,
        plans: BTreeMap::new(),
        policy: AddressPolicy::AllowPrivateNetwork,
        files: None,
        client: Client::new(),
    }
}

#[tokio::test]
async fn over_the_rate_the_account_asks_for_a_pause_and_takes_it_afterwards() {
    let definition = serde_json::from_str(WINE).expect("JSON");
    let hubspot = start(Account::new(PORTAL, TOKEN, &[definition]).limited(2, true)).await;
    let destination = hubspot.destination(&wine().form);
    for _ in 0..2 {
        assert_eq!(deliver(&destination, &submission()).await, Outcome::delivered(Some(200)));
    }
    assert_eq!(deliver(&destination, &submission()).await, Outcome::retry("rate", Some(429), Some(10_000)));
}

#[tokio::test]
async fn a_repeat_is_sent_only_if_the_first_did_not_arrive() {
    let hubspot = wine_account().await;
    let destination = hubspot.destination(&wine().form);
    let long = Duration::from_secs(60);
    hubspot.account.fail([Fault::AcceptThenFail]);
    assert_eq!(deliver(&destination, &submission()).await, Outcome::retry("status", Some(500), None));
    let found = Outcome { class: "found", ..Outcome::delivered(None) };
    assert_eq!(attempt(&destination, &submission(), (2, true), long).await, found);
    // One that a shutdown cut off has given its number back.
    assert_eq!(attempt(&destination, &submission(), (1, true), long).await, found);
    // A replay counts from one again, but is no longer prompt.
    let mut replayed = submission();
    replayed.completed_at_ms -= 3_600_000;
    assert_eq!(attempt(&destination, &replayed, (1, false), long).await, found);
    assert_eq!(hubspot.account.records().len(), 1);

    let other = Submission { id: SubmissionId::new(Uuid::from_u128(2)), ..submission() };
    hubspot.account.fail([Fault::Status(500)]);
    assert_eq!(deliver(&destination, &other).await, Outcome::retry("status", Some(500), None));
    assert_eq!(attempt(&destination, &other, (2, true), long).await, Outcome::delivered(Some(200)));
    assert_eq!(hubspot.account.records().len(), 2);

    // A token that may not list: better twice than never, and it is said.
    let definition = serde_json::from_str(WINE).expect("JSON");
    let blind = start(Account::new(PORTAL, TOKEN, &[definition]).limited(100, false)).await;
    let destination = blind.destination(&wine().form);
    let doubtful = Outcome::delivered_maybe_twice(Some(200));
    assert_eq!(attempt(&destination, &submission(), (1, true), long).await, doubtful);
    let [listed, submitted] = blind.account.requests().try_into().expect("two requests");
    assert!(listed.starts_with("GET /form-integrations/v1/submissions/forms/"), "{listed}");
    assert_eq!(submitted, format!("POST /submissions/v3/integration/secure/submit/{PORTAL}/{GUID}"));
}

#[tokio::test]
async fn what_is_older_than_hubspot_takes_goes_without_its_date_and_every_submission_with_its_ids() {
    let hubspot = wine_account().await;
    let destination = hubspot.destination_with(&wine().form, |settings| settings.public_url = None);
    let mut old = submission();
    old.completed_at_ms -= 40 * 24 * 3_600_000;
    assert_eq!(deliver(&destination, &old).await, Outcome::delivered(Some(200)));
    let [record] = hubspot.account.records().try_into().expect("one");
    assert_eq!(record.submitted_at, None);
    assert_eq!(
        record.page_url,
        format!(
            "https://formgate.invalid/flows/contact?submission={}&version=1&source=whatsapp&campaign=spring+%26+summer",
            old.id
        )
    );
    assert_eq!(record.consent, consent(false));
    assert!(
        values(&record).contains(&("0-1", "utm_source", "qr")),
        "the token's value wins over the default"
    );
    assert!(values(&record).contains(&("0-1", "food", "olives;cheese")));
}

#[tokio::test]
async fn implicit_consent_and_legitimate_interest_are_told_in_the_words_shown() {
    let id = |n: u128| Uuid::from_u128(n).to_string();
    let form = |guid: String, consent: Value| {
        json!({"id": guid, "name": "F", "fieldGroups": [{"fields": [
            {"fieldType": "email", "objectTypeId": "0-1", "name": "email", "label": "E-mail", "required": true}]}],
            "legalConsentOptions": consent})
    };
    let implicit = form(
        id(1),
        json!({"type": "implicit_consent_to_process", "communicationsCheckboxes": [],
        "consentToProcessText": "<p>By submitting you <b>agree</b>.</p>", "privacyText": "P"}),
    );
    let interest = form(
        id(2),
        json!({"type": "legitimate_interest", "lawfulBasis": "client",
        "subscriptionTypeIds": [9], "privacyText": "<p>You are a customer.</p>"}),
    );
    let none = form(id(3), json!({"type": "none"}));
    let hubspot =
        start(Account::new(PORTAL, TOKEN, &[implicit.clone(), interest.clone(), none.clone()])).await;
    for (definition, consent) in [
        (
            implicit,
            json!({"consent": {"consentToProcess": true, "text": "By submitting you agree.", "communications": []}}),
        ),
        (
            interest,
            json!({"legitimateInterest": {"value": true, "subscriptionTypeId": 9, "legalBasis": "CUSTOMER", "text": "You are a customer."}}),
        ),
        (none, Value::Null),
    ] {
        let import = read(&definition.to_string()).expect("a form");
        let mut submission = submission();
        submission.form.id = import.form.id.clone();
        submission.answers.retain(|answer| answer.key == "0-1/email");
        let outcome = deliver(&hubspot.destination(&import.form), &submission).await;
        assert_eq!(outcome, Outcome::delivered(Some(200)));
        assert_eq!(hubspot.account.records().last().expect("a record").consent, consent);
    }
}

#[tokio::test]
async fn a_form_that_was_changed_in_hubspot_since_is_refused_with_what_changed() {
    let changed = |change: fn(&mut Value)| {
        let mut definition: Value = serde_json::from_str(WINE).expect("JSON");
        change(&mut definition);
        definition
    };
    for (definition, class, words) in [
        (
            changed(|form| form["fieldGroups"][1]["fields"][0]["name"] = json!("renamed")),
            "mapping",
            vec![
                "“First name” (firstname): it is no longer on the form",
                "FIELD_NOT_IN_FORM_DEFINITION",
                "REQUIRED_FIELD",
            ],
        ),
        (
            changed(|form| form["fieldGroups"][3]["fields"][0]["options"] = json!([])),
            "mapping",
            vec!["“Wine” (wine): the value is no longer one of the property's"],
        ),
        (
            changed(|form| form["configuration"]["recaptchaEnabled"] = json!(true)),
            "captcha",
            vec!["CAPTCHA is on"],
        ),
        (
            changed(|form| {
                form["legalConsentOptions"]["consentToProcessCheckboxLabel"] = json!("Other words")
            }),
            "consent",
            vec!["MISSING_PROCESSING_CONSENT_TEXT"],
        ),
        (
            changed(|form| {
                form["legalConsentOptions"]["communicationsCheckboxes"][0]["label"] = json!("Others")
            }),
            "consent",
            vec!["MISSING_COMMUNICATION_CONSENT_TEXT"],
        ),
        (
            changed(|form| form["legalConsentOptions"] = json!({"type": "none"})),
            "consent",
            vec!["INVALID_LEGAL_OPTION_FORMAT"],
        ),
    ] {
        let hubspot = start(Account::new(PORTAL, TOKEN, &[definition])).await;
        let outcome = deliver(&hubspot.destination(&wine().form), &submission()).await;
        let Verdict::Refused { reason } = &outcome.verdict else { panic!("{outcome:?}") };
        assert_eq!((outcome.class, outcome.status), (class, Some(400)), "{reason}");
        assert!(words.iter().all(|word| reason.contains(word)), "{words:?}: {reason}");
        assert!(hubspot.account.records().is_empty());
    }
}

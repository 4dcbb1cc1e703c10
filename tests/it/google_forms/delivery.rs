//! Responses by the public page of a form, against the sandbox's page on a socket.

use std::collections::BTreeSet;
use std::time::Duration;

use formgate::client::{AddressPolicy, Client};
use formgate::connector::PublicForm;
use formgate::flow::compile::Settings;
use formgate::outbox::{
    Answer, Call, DeliveryKey, Destination as _, DestinationId, Form, Outcome, Submission, SubmissionId,
    Verdict,
};
use formgate::player::strategy::{Random, play};
use formgate::sandbox::{GoogleForm, Mood};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use super::read;
use crate::endpoint::fixture::Setup;

/// Every kind that a page takes from outside, in four sections.
fn data() -> Value {
    serde_json::from_str(include_str!("../../fixtures/google-forms/public-form.json")).expect("our fixture")
}

struct Running {
    form: GoogleForm,
    destination: PublicForm,
    /// Dropping it stops the server.
    _stop: watch::Sender<bool>,
}

async fn start(data: Value) -> Running {
    let form = GoogleForm::new(data);
    let server = form.bind(0).await.expect("a free port");
    let url = format!("http://{}/forms/d/e/1FAIpQLExample/viewform?usp=sf_link", server.local_addr());
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(server.run(stopped, Duration::from_secs(1)));
    let destination = PublicForm {
        id: DestinationId::new("form").expect("an id"),
        url: Url::parse(&url).expect("a URL"),
        policy: AddressPolicy::AllowPrivateNetwork,
        client: Client::new(),
    };
    Running { form, destination, _stop: stop }
}

impl Running {
    async fn deliver(&self, submission: &Submission) -> Outcome {
        let deadline = Instant::now() + Duration::from_secs(60);
        let key = DeliveryKey::of(submission.id, &self.destination.id);
        self.destination.deliver(Call { submission, key, attempt: 1, sent_before: false, deadline }).await
    }

    async fn answer(&self, answers: &[(&str, Value)]) -> Outcome {
        self.deliver(&submission(answers)).await
    }
}

fn submission(answers: &[(&str, Value)]) -> Submission {
    let text = |text: &str| text.to_owned();
    let answers = answers.iter().map(|(key, value)| {
        let (value, other) = match value {
            Value::Object(parts) if parts.contains_key("other") => {
                (parts["other"].clone(), parts["other"].as_str())
            }
            value => (value.clone(), None),
        };
        let other = other.map(str::to_owned);
        Answer { key: text(key), question: text("?"), kind: text("any"), value, text: text(""), other }
    });
    Submission {
        id: SubmissionId::new(Uuid::new_v8([7; 16])),
        flow_id: text("pottery"),
        flow_version: 1,
        form: Form { tool: text("google-forms"), id: text("1FAIpQLExample"), title: text("Pottery") },
        flow_token: text("token"),
        contact: None,
        started_at_ms: 0,
        completed_at_ms: 1,
        locale: text("en"),
        source: Default::default(),
        hidden: Default::default(),
        variables: Default::default(),
        test: false,
        linked_to: None,
        replaces: None,
        replaced_by: None,
        walk: None,
        ending: None,
        answers: answers.collect(),
    }
}

/// The least that leads straight to the end.
fn least() -> Vec<(&'static str, Value)> {
    vec![
        ("emailAddress", json!("ada@example.org")),
        ("0000000b", json!("Ada")),
        ("0000000e", json!(2)),
        ("0000006f", json!({"00000015": ["Wheel", "Kiln"]})),
        ("00000018", json!("Was")),
    ]
}

/// The least, with one answer changed or added.
fn with(key: &'static str, value: Value) -> Vec<(&'static str, Value)> {
    least().into_iter().filter(|(known, _)| *known != key).chain([(key, value)]).collect()
}

fn refusal(outcome: &Outcome) -> (&str, &str) {
    match &outcome.verdict {
        Verdict::Refused { reason } => (outcome.class, reason),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_walk_through_a_form_becomes_a_response_that_the_page_takes() {
    let running = start(data()).await;
    let form = read(&data().to_string()).expect("a form").form;
    let gate = Setup::of(&form, &Settings::default()).start().await;
    for seed in 0..24 {
        play(&mut gate.player(&format!("walk-{seed}")), &mut Random::new(seed)).await.expect("answers");
    }
    let submissions = gate.submissions().await;
    assert_eq!(submissions.len(), 24);
    for submission in &submissions {
        let outcome = running.deliver(submission).await;
        assert_eq!(outcome.verdict, Verdict::Delivered, "{:?}: {outcome:?}", submission.answers);
    }
    let stored = running.form.stored();
    assert_eq!(stored.len(), 24);
    let entries: BTreeSet<u64> = stored
        .iter()
        .flatten()
        .filter_map(|(name, _)| name.strip_prefix("entry.")?.split(['_', '.']).next()?.parse().ok())
        .collect();
    assert_eq!(entries, (11..=27).collect(), "between them the walks answer everything");
}

#[tokio::test]
async fn each_kind_of_answer_is_sent_as_the_page_sends_it() {
    let running = start(data()).await;
    let mut answers = with("00000018", json!({"other": "My sister is"}));
    answers.extend([
        ("0000000c", json!("ä\nö")),
        ("0000000d", json!(["Monday", "A & B "])),
        ("00000010", json!("2026-11-22")),
        ("00000011", json!("2026-02-03")),
        ("00000012", json!("2026-11-22T14:05")),
        ("00000013", json!("09:30")),
        ("00000014", json!("01:30:00")),
        ("00000070", json!({"00000017": ["Yes"]})),
        ("0000001b", json!("No more")),
    ]);
    assert_eq!(running.answer(&answers).await.verdict, Verdict::Delivered);
    let stored = running.form.stored();
    let told: BTreeSet<String> = stored[0].iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = [
        "emailAddress=ada@example.org",
        "entry.11=Ada",
        "entry.12=ä\nö",
        "entry.13=Monday",
        "entry.13=A & B ",
        "entry.14=2",
        "entry.16_year=2026",
        "entry.16_month=11",
        "entry.16_day=22",
        "entry.17_month=02",
        "entry.17_day=03",
        "entry.18_year=2026",
        "entry.18_month=11",
        "entry.18_day=22",
        "entry.18_hour=14",
        "entry.18_minute=05",
        "entry.19_hour=09",
        "entry.19_minute=30",
        "entry.20_hour=01",
        "entry.20_minute=30",
        "entry.20_second=00",
        "entry.21=Wheel",
        "entry.21=Kiln",
        "entry.23=Yes",
        "entry.24=__other_option__",
        "entry.24.other_option_response=My sister is",
        "entry.27=No more",
    ];
    assert_eq!(told, expected.into_iter().map(str::to_owned).collect());
}

#[tokio::test]
async fn what_the_page_has_no_place_for_is_refused_before_anything_is_sent() {
    let running = start(data()).await;
    for (answers, words) in [
        (with("000000ff", json!("lost")), "000000ff is not in it any more"),
        // Members are asked in a section that this answer passes over.
        (with("0000001a", json!("2020")), "a section that it would not show"),
        (with("00000018", json!("Perhaps")), "does not fit"),
        (with("0000000d", json!(["Sunday"])), "does not fit"),
        (with("0000000d", json!("Sunday")), "does not fit"),
        (with("0000006f", json!({"000000aa": ["Wheel"]})), "does not fit"),
        (with("0000006f", json!({"00000015": ["Spoon"]})), "does not fit"),
        (with("00000010", json!("tomorrow")), "does not fit"),
        (with("00000012", json!("2026-11-22")), "does not fit"),
        (with("00000013", json!("01:02:03")), "does not fit"),
        (with("0000000b", json!({"a": 1})), "does not fit"),
    ] {
        let outcome = running.answer(&answers).await;
        let (class, reason) = refusal(&outcome);
        assert!(class == "form" && reason.contains(words), "{class}: {reason}");
        assert!(!reason.contains("Sunday") && !reason.contains("tomorrow"), "{reason}");
    }
    assert!(running.form.stored().is_empty());
}

#[tokio::test]
async fn only_what_the_page_confirms_is_delivered() {
    let running = start(data()).await;
    let missing: Vec<_> = least().into_iter().filter(|(key, _)| *key != "0000000b").collect();
    assert_eq!(refusal(&running.answer(&missing).await).0, "answers");
    assert!(running.form.stored().is_empty());
    for (mood, class) in [(Mood::Closed, "closed"), (Mood::SignIn, "sign_in"), (Mood::Mute, "unclear")] {
        running.form.behave(mood);
        assert_eq!(refusal(&running.answer(&least()).await).0, class);
    }
    running.form.behave(Mood::Throttled);
    let outcome = running.answer(&least()).await;
    assert!(
        matches!(outcome.verdict, Verdict::Retry { after_ms: Some(wait) } if wait >= 3_600_000),
        "{outcome:?}"
    );
    running.form.behave(Mood::Failing);
    assert_eq!(running.answer(&least()).await.verdict, Verdict::Retry { after_ms: None });
    running.form.behave(Mood::Open);
    assert_eq!(running.answer(&least()).await.verdict, Verdict::Delivered);
}

#[tokio::test]
async fn a_form_that_asks_for_an_account_or_has_moved_is_not_sent_to() {
    let mut verified = data();
    verified[1][10][6] = json!(2);
    let running = start(verified).await;
    assert!(refusal(&running.answer(&least()).await).1.contains("e-mail address of a Google account"));
    let mut running = start(data()).await;
    running.destination.url.set_path("/forms/d/e/another/viewform");
    assert_eq!(refusal(&running.answer(&least()).await).0, "gone");
    running.destination.url.set_path("/forms/d/e/1FAIpQLExample/edit");
    assert_eq!(refusal(&running.answer(&least()).await).0, "address");
    assert!(running.form.stored().is_empty());
}

#[tokio::test]
async fn a_form_without_a_text_of_its_own_confirms_by_showing_no_questions() {
    let mut plain = data();
    plain[1][2] = Value::Null;
    let running = start(plain).await;
    assert_eq!(running.answer(&least()).await.verdict, Verdict::Delivered);
    running.form.behave(Mood::Mute);
    assert_eq!(refusal(&running.answer(&least()).await).0, "unclear");
}

//! Responses written back: from the definition through flow, walk, outbox and worker to the sandbox's record, over sockets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use formgate::client::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use formgate::client::{AddressPolicy, Client, Method, Request, StatusCode};
use formgate::connector::Api;
use formgate::connector::surveymonkey::{Responses, Survey};
use formgate::flow::compile::{Settings, compile};
use formgate::outbox::{
    Call, DeliveryKey, Destination, DestinationId, Outcome, RetryPolicy, Submission, Verdict, Worker,
};
use formgate::player::Outcome as Walked;
use formgate::player::strategy::{Played, Truthful, play};
use formgate::sandbox::surveymonkey::{Account, Fault, Sandbox};
use formgate::store::DeliveryState;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;
use url::Url;

use super::person::{meant, stored, written};
use super::{WORKSHOP, workshop};
use crate::endpoint::fixture::{Gate, Setup};
use crate::outbox::fixture::{Home, crm};

const TOKEN: &str = "token-canary";

/// A walk to the end of the flow; its submission is in the outbox then.
async fn walked() -> Gate {
    let form = workshop().form;
    let settings = Settings::default();
    let plan = compile(&form, &settings).expect("a flow").plan;
    let gate = Setup::of(&form, &settings).start().await;
    let mut player = gate.player("walk");
    let mut person = Truthful::new(written(&plan, &meant()));
    let played = play(&mut player, &mut person).await.expect("answers");
    let Played::Ended(Walked::Completed(_)) = played else { panic!("{played:?}") };
    gate
}

/// The submission of such a walk, made once.
async fn submission() -> Submission {
    static WALKED: OnceCell<Submission> = OnceCell::const_new();
    let make = async || walked().await.submissions().await.remove(0);
    WALKED.get_or_init(make).await.clone()
}

pub(super) struct Peer {
    pub(super) sandbox: Sandbox,
    api_url: Url,
    definition: String,
    /// Dropping it stops the sandbox.
    _stop: watch::Sender<bool>,
}

async fn peer() -> Peer {
    peer_of(WORKSHOP).await
}

/// An account with this survey.
pub(super) async fn peer_of(definition: &str) -> Peer {
    let survey = serde_json::from_str(definition).expect("a survey");
    let sandbox = Sandbox::new(Account::new(TOKEN, "555", survey));
    let running = sandbox.bind(0).await.expect("a port");
    let api_url = format!("http://{}", running.local_addr().expect("an address")).parse().expect("a URL");
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(running.run(stopped));
    Peer { sandbox, api_url, definition: definition.to_owned(), _stop: stop }
}

impl Peer {
    pub(super) fn destination(&self) -> Responses {
        Responses {
            id: crm(),
            api: Api {
                account: "surveymonkey:1".to_owned(),
                base: self.api_url.clone(),
                tokens: Arc::new(SecretString::from(TOKEN)),
                policy: AddressPolicy::AllowPrivateNetwork,
                client: Client::new(),
            },
            collector: Some("555".to_owned()),
            surveys: BTreeMap::from([(
                "contact".to_owned(),
                Survey::read(self.definition.as_bytes()).expect("a survey"),
            )]),
            found: Mutex::default(),
        }
    }
}

pub(super) async fn attempt(destination: &Responses, submission: &Submission, attempt: u32) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(60);
    let key = DeliveryKey::of(submission.id, &destination.id);
    destination.deliver(Call { submission, key, attempt, sent_before: attempt > 1, deadline }).await
}

#[tokio::test]
async fn a_walk_becomes_the_response_that_the_survey_s_own_form_would_have_stored() {
    let (gate, peer) = (walked().await, peer().await);
    let (stop, stopped) = watch::channel(false);
    let destination: Arc<dyn Destination> = Arc::new(peer.destination());
    let worker = Worker::new(gate.outbox.clone(), vec![destination], RetryPolicy::default());
    let working = tokio::spawn(worker.run(stopped));
    let give_up = Instant::now() + Duration::from_secs(60);
    while peer.sandbox.responses().is_empty() {
        let shown = gate.submissions().await.remove(0);
        let shown = gate.outbox.show(shown.id).await.expect("a read").expect("a submission");
        let delivery = &shown.deliveries[0];
        assert!(Instant::now() < give_up && delivery.dead_reason.is_none(), "{:?}", delivery.dead_reason);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.send_replace(true);
    working.await.expect("no panic");

    let [response] = peer.sandbox.responses().try_into().expect("one response");
    let stored = stored();
    for (page, expected) in stored.as_array().expect("pages").iter().enumerate() {
        for (question, expected) in expected["questions"].as_array().expect("questions").iter().enumerate() {
            assert_eq!(&response["pages"][page]["questions"][question], expected);
        }
    }
    assert_eq!(response["pages"], stored);
    let submission = gate.submissions().await.remove(0);
    assert_eq!(response["custom_value"], format!("wa-{}", submission.id));
    assert_eq!(response["response_status"], "completed");
    let began: jiff::Timestamp = response["date_created"].as_str().expect("a date").parse().expect("a date");
    assert_eq!(began.as_second(), submission.started_at_ms / 1_000);
    assert_eq!(peer.sandbox.requests(), 1, "one submission costs one call");
}

#[tokio::test]
async fn only_variables_of_the_survey_are_told_to_it() {
    let (peer, mut submission) = (peer().await, submission().await);
    submission.hidden.insert("campaign".to_owned(), "autumn".to_owned());
    submission.hidden.insert("unknown".to_owned(), "x".to_owned());
    submission.source.insert("ref".to_owned(), "42".to_owned());
    assert_eq!(attempt(&peer.destination(), &submission, 1).await, Outcome::delivered(Some(201)));
    assert_eq!(peer.sandbox.responses()[0]["custom_variables"], json!({"campaign": "autumn", "ref": "42"}));
}

#[tokio::test]
async fn an_answer_that_was_cut_off_makes_no_second_response() {
    let (peer, home, submission) = (peer().await, Home::new(), submission().await);
    peer.sandbox.fail_next([Fault::AcceptThenCut, Fault::Status(StatusCode::BAD_GATEWAY)]);
    home.outbox.accept(&submission, &[crm()], &[1; 32], vec![]).await.expect("accepted");
    let working = home.work(&[Arc::new(peer.destination())]);
    home.settled_in_time(submission.id, &[DeliveryState::Delivered]).await;
    working.stop().await;
    let shown = home.outbox.show(submission.id).await.expect("a read").expect("a submission");
    let classes: Vec<&str> =
        shown.deliveries[0].attempts.iter().map(|attempt| attempt.class.as_str()).collect();
    assert_eq!(classes, ["exchange", "look", "delivered"]);
    assert_eq!(peer.sandbox.responses().len(), 1);
    // The cut call, the failed look, the look, and the response that it found.
    assert_eq!(peer.sandbox.requests(), 4);
}

#[tokio::test]
async fn a_replay_looks_for_what_was_sent_before_it() {
    let (peer, home, submission) = (peer().await, Home::new(), submission().await);
    peer.sandbox.fail_next([Fault::AcceptThenCut]);
    home.outbox.accept(&submission, &[crm()], &[1; 32], vec![]).await.expect("accepted");
    let working = home.work(&[Arc::new(peer.destination())]);
    home.until(|| peer.sandbox.responses().len() == 1).await;
    // Before the next attempt the collector is deleted, and the delivery dies.
    peer.sandbox.change(|account| "556".clone_into(&mut account.collector));
    home.settled_in_time(submission.id, &[DeliveryState::Dead]).await;
    peer.sandbox.change(|account| "555".clone_into(&mut account.collector));
    home.outbox.replay(DeliveryKey::of(submission.id, &crm()), "a person").await.expect("replayed");
    home.settled_in_time(submission.id, &[DeliveryState::Delivered]).await;
    working.stop().await;
    assert_eq!(peer.sandbox.responses().len(), 1);
}

#[tokio::test]
async fn a_second_attempt_creates_what_the_first_did_not() {
    let (peer, submission) = (peer().await, submission().await);
    let destination = peer.destination();
    peer.sandbox.fail_next([Fault::Status(StatusCode::INTERNAL_SERVER_ERROR)]);
    assert_eq!(attempt(&destination, &submission, 1).await, Outcome::retry("status", Some(500), None));
    assert_eq!(attempt(&destination, &submission, 2).await, Outcome::delivered(Some(201)));
    assert_eq!(attempt(&destination, &submission, 3).await, Outcome::delivered(None));
    assert_eq!(peer.sandbox.responses().len(), 1);
    let mut other = submission.clone();
    other.id = formgate::outbox::SubmissionId::new(uuid::Uuid::new_v8([9; 16]));
    assert_eq!(attempt(&destination, &other, 2).await, Outcome::delivered(Some(201)));
    assert_eq!(peer.sandbox.responses().len(), 2, "another submission is another response");
}

#[tokio::test]
async fn limits_are_waited_for_and_a_hanging_api_ends_at_the_deadline() {
    let (peer, submission) = (peer().await, submission().await);
    let destination = peer.destination();
    peer.sandbox.fail_next([Fault::Minute(42), Fault::Day(40_000), Fault::Hang]);
    let limited = |after_ms| Outcome::retry("rate_limit", Some(429), Some(after_ms));
    assert_eq!(attempt(&destination, &submission, 1).await, limited(42_000));
    assert_eq!(attempt(&destination, &submission, 1).await, limited(40_000_000));
    let deadline = Instant::now() + Duration::from_secs(3);
    let key = DeliveryKey::of(submission.id, &crm());
    let hung = destination
        .deliver(Call { submission: &submission, key, attempt: 1, sent_before: false, deadline })
        .await;
    assert_eq!(hung, Outcome::retry("deadline", None, None));
    peer.sandbox.change(|account| account.per_minute = 0);
    let spent = attempt(&destination, &submission, 1).await;
    assert!(matches!(spent.verdict, Verdict::Retry { after_ms: Some(1..=60_000) }), "{spent:?}");
    assert!(peer.sandbox.responses().is_empty());
}

#[tokio::test]
async fn a_refusal_says_what_has_to_be_changed() {
    type Change = fn(&mut Account, &mut Responses, &mut Submission);
    let cases: [(Change, u32, &str, &str); 13] = [
        (|account, _, _| account.token = "other".to_owned(), 1, "token", "set a new one"),
        (
            |account, _, _| account.scopes.retain(|scope| scope != "responses_write"),
            1,
            "scope",
            "responses_write",
        ),
        (
            |account, _, _| account.scopes.retain(|scope| scope != "responses_read"),
            2,
            "scope",
            "responses_read",
        ),
        (|account, _, _| account.paid = false, 1, "plan", "paid plan"),
        (|account, _, _| account.open = false, 1, "collector", "closed or full"),
        (|_, responses, _| responses.collector = Some("556".to_owned()), 1, "collector", "no such collector"),
        (|_, _, submission| submission.form.id = "9002".to_owned(), 1, "content", "“9002”"),
        (|_, _, submission| submission.answers[0].key = "99".to_owned(), 1, "content", "question 99"),
        (|_, _, submission| submission.answers[0].value = json!(7), 1, "content", "answer to question 100"),
        (|_, _, submission| drop(submission.answers.remove(0)), 1, "content", "100 (“How did you hear"),
        (
            |account, _, _| {
                account.survey["pages"][0]["questions"][1]["answers"]["choices"][2]["visible"] = json!(false)
            },
            1,
            "content",
            "101 (“Which room?”)",
        ),
        (|account, _, _| account.survey["pages"][2]["id"] = json!("77"), 1, "content", "does not say which"),
        (
            |_, responses, _| responses.api.tokens = Arc::new(SecretString::from("line\nbreak")),
            1,
            "header",
            "a header",
        ),
    ];
    for (change, number, class, words) in cases {
        let (peer, mut submission) = (peer().await, submission().await);
        let mut destination = peer.destination();
        peer.sandbox.change(|account| change(account, &mut destination, &mut submission));
        let outcome = attempt(&destination, &submission, number).await;
        let (Verdict::Refused { reason } | Verdict::Hold { reason, .. }) = &outcome.verdict else {
            panic!("{words}: {outcome:?}")
        };
        // What is wrong for every submission holds them all; what is wrong with one refuses it.
        let is_held = matches!(outcome.verdict, Verdict::Hold { .. });
        assert_eq!(is_held, ["token", "scope", "plan"].contains(&class), "{reason}");
        assert_eq!(outcome.class, class, "{reason}");
        assert!(reason.contains(words), "{reason}");
        for answer in ["Ada", "ada@", "radio"] {
            assert!(!reason.contains(answer), "an answer is told: {reason}");
        }
        assert!(peer.sandbox.responses().is_empty(), "{words}");
    }
}

#[tokio::test]
async fn a_value_of_another_kind_is_refused_and_never_a_panic() {
    let (peer, submission) = (peer().await, submission().await);
    peer.sandbox.change(|account| account.per_minute = 10_000);
    let destination = peer.destination();
    let odd = [
        json!(null),
        json!(-7),
        json!(1e300),
        json!("2026-02-30T25:61"),
        json!([1]),
        json!({"2001": 3}),
        json!([[]]),
    ];
    for index in 0..submission.answers.len() {
        for value in &odd {
            let mut submission = submission.clone();
            let answer = &mut submission.answers[index];
            let (key, kind) = (answer.key.clone(), answer.kind.clone());
            (answer.value, answer.other) = (value.clone(), None);
            let outcome = attempt(&destination, &submission, 1).await;
            let is_text =
                matches!(kind.as_str(), "short_text" | "long_text" | "email" | "phone" | "number" | "scale");
            let is_refused = matches!(outcome.verdict, Verdict::Refused { .. });
            assert!(is_refused || is_text, "{key} = {value}: {outcome:?}");
        }
    }
}

#[test]
fn the_token_is_not_told() {
    let destination = Responses {
        id: DestinationId::new("survey").expect("an id"),
        api: Api {
            account: "surveymonkey:1".to_owned(),
            base: "https://api.surveymonkey.com".parse().expect("a URL"),
            tokens: Arc::new(SecretString::from(TOKEN)),
            policy: AddressPolicy::PublicHttps,
            client: Client::new(),
        },
        collector: Some("555".to_owned()),
        surveys: BTreeMap::new(),
        found: Mutex::default(),
    };
    assert!(!format!("{destination:?}").contains(TOKEN));
}

/// Posts a body as it is.
async fn post(peer: &Peer, body: &Value) -> (u16, Value) {
    let url = peer.api_url.join("/v3/collectors/555/responses").expect("a URL");
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut request = Request::new(Method::POST, url, body.to_string(), deadline);
    request.policy = AddressPolicy::AllowPrivateNetwork;
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.headers.insert(AUTHORIZATION, HeaderValue::from_static("bearer token-canary"));
    let response = Client::new().request(request).await.expect("an answer");
    (response.status.as_u16(), serde_json::from_slice(&response.body).expect("JSON"))
}

#[tokio::test]
async fn the_sandbox_refuses_what_the_survey_s_own_form_would_not_let_through() {
    let peer = peer().await;
    let good = json!({"pages": stored(), "response_status": "completed"});
    assert_eq!(post(&peer, &good).await.0, 201);
    let question = |page: usize, question: usize| format!("/pages/{page}/questions/{question}");
    let answer = |page, number, index: usize| format!("{}/answers/{index}", question(page, number));
    let cases = [
        ("/surprise".to_owned(), json!(1)),
        ("/response_status".to_owned(), json!("done")),
        ("/date_created".to_owned(), json!("yesterday")),
        ("/custom_variables".to_owned(), json!({"unknown": "x"})),
        ("/pages".to_owned(), Value::Null),
        ("/pages".to_owned(), json!([])),
        ("/pages/0/id".to_owned(), json!("99")),
        (format!("{}/id", question(0, 0)), json!("101")),
        (format!("{}/id", question(0, 0)), json!("300")),
        (format!("{}/id", question(0, 0)), json!("105")),
        (format!("{}/id", question(0, 0)), json!(100)),
        (format!("{}/answers", question(0, 0)), json!([])),
        (format!("{}/answers", question(0, 0)), json!([{"choice_id": "1001"}, {"choice_id": "1002"}])),
        (
            format!("{}/answers", question(0, 0)),
            json!([{"choice_id": "1001"}, {"other_id": "1010", "text": "x"}]),
        ),
        (answer(0, 0, 0), json!({"choice_id": "1009"})),
        (answer(0, 0, 0), json!({"choice_id": "1101"})),
        (answer(0, 0, 0), json!({"text": "A friend"})),
        (answer(0, 0, 0), json!({"other_id": "1010"})),
        (answer(0, 0, 0), json!({"other_id": "1310", "text": "x"})),
        (format!("{}/answers", question(0, 3)), json!([{"choice_id": "1301"}])),
        (format!("{}/answers", question(0, 3)), json!([{"choice_id": "1301"}, {"choice_id": "1301"}])),
        (answer(1, 0, 0), json!({"choice_id": "2052"})),
        (answer(1, 0, 0), json!({"row_id": "2101", "choice_id": "2052"})),
        (answer(1, 0, 0), json!({"row_id": "2002", "choice_id": "2051"})),
        (answer(1, 1, 1), json!({"other_id": "2190", "text": "Cold"})),
        (answer(1, 3, 1), json!({"row_id": "2301", "choice_id": "2351"})),
        (answer(1, 4, 0), json!({"row_id": "2401", "choice_id": "24512"})),
        (answer(1, 4, 0), json!({"row_id": "2401", "col_id": "2452", "choice_id": "24512"})),
        (answer(2, 0, 0), json!({"text": ""})),
        (answer(2, 0, 0), json!({"text": 7})),
        (answer(2, 1, 0), json!({"text": "short"})),
        (answer(2, 2, 0), json!({"text": "21"})),
        (answer(2, 5, 0), json!({"text": "2026-02-03"})),
        (answer(2, 6, 0), json!({"text": "02/13/2026"})),
        (format!("{}/answers", question(2, 9)), json!([{"row_id": "3111", "text": "Bea"}])),
        (format!("{}/answers", question(3, 0)), json!([{"row_id": "4003", "text": "a@example.com"}])),
        (answer(3, 0, 0), json!({"row_id": "4009", "text": "x"})),
        (answer(3, 1, 0), json!({"row_id": "4101", "text": "02/03/2026 14:30"})),
        (answer(3, 3, 0), json!({"row_id": "4301", "text": "08:30"})),
        (format!("{}/variable_id", question(3, 4)), json!("79")),
    ];
    for (path, value) in cases {
        let mut body = good.clone();
        let (parent, name) = path.rsplit_once('/').expect("a path");
        match body.pointer_mut(parent).expect("a parent") {
            Value::Array(items) => items[name.parse::<usize>().expect("an index")] = value.clone(),
            members => members[name] = value.clone(),
        }
        let (status, answered) = post(&peer, &body).await;
        assert_eq!((status, &answered["error"]["id"]), (400, &json!("1002")), "{path} = {value}: {answered}");
        assert_eq!(answered["error"]["http_status_code"], 400);
    }
    assert_eq!(peer.sandbox.responses().len(), 1);
}

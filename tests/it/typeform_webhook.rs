//! Submissions as Typeform would tell them to the customer's own endpoint, over real sockets.

mod kinds;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use formgate::client::{AddressPolicy, Client};
use formgate::connector::connector;
use formgate::connector::typeform::deliver::{Definition, FormResponse};
use formgate::flow::compile::Settings;
use formgate::outbox::{Call, DeliveryKey, Destination as _, DestinationId, Outcome, Submission, Verdict};
use formgate::player::Outcome as Ended;
use formgate::player::strategy::{Played, Random, Truthful, play};
use formgate::server::{Limits, Listener, Request, Response, Server, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::endpoint::fixture::Setup;

const SECRET: &str = "typeform-secret";

/// What came: headers and raw body.
type Received = Arc<Mutex<Vec<(BTreeMap<String, String>, Vec<u8>)>>>;

/// A customer's endpoint that gives this answer, and the destination that leads there.
async fn customer(status: StatusCode, definition: &str) -> (FormResponse, Received, watch::Sender<bool>) {
    let received = Received::default();
    let seen = Arc::clone(&received);
    let handler = move |request: Request| {
        let names = ["typeform-signature", "content-type", "user-agent"];
        let headers = names.iter().filter_map(|n| Some(((*n).to_owned(), request.header(*n)?.to_owned())));
        seen.lock().expect("no panic under the lock").push((headers.collect(), request.body.to_vec()));
        async move { Response::empty(status) }
    };
    let listener = Listener { addr: "127.0.0.1:0".parse().expect("an address"), tls: None };
    let server = Server::bind(listener, Limits::default(), Arc::new(handler)).await.expect("a port");
    let url = format!("http://{}/typeform", server.local_addr()).parse().expect("a URL");
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(server.run(stopped, Duration::from_secs(1)));
    let destination = FormResponse {
        id: DestinationId::new("customer").expect("an id"),
        url,
        secret: Some(SecretString::from(SECRET)),
        definitions: BTreeMap::from([(
            "contact".to_owned(),
            Definition::read(definition.as_bytes()).expect("a definition"),
        )]),
        policy: AddressPolicy::AllowPrivateNetwork,
        client: Client::new(),
    };
    (destination, received, stop)
}

async fn deliver(destination: &FormResponse, submission: &Submission) -> Outcome {
    let key = DeliveryKey::of(submission.id, destination.id());
    let deadline = Instant::now() + Duration::from_secs(60);
    destination.deliver(Call { submission, key, attempt: 1, sent_before: false, deadline }).await
}

fn orders() -> String {
    json!({
        "id": "oRdEr1", "title": "Order", "hidden": ["shop"], "variables": {"score": 1, "tier": "tin"},
        "thankyou_screens": [{"id": "e1", "ref": "thanks", "title": "Thanks", "type": "thankyou_screen"}],
        "fields": [
            {"id": "f1", "ref": "name", "type": "short_text", "title": "Name", "validations": {"required": true}},
            {"id": "f2", "ref": "size", "type": "dropdown", "title": "Size", "properties": {"choices": [
                {"id": "c1", "ref": "s", "label": "Small"}, {"id": "c2", "ref": "l", "label": "Large"}]}},
            {"id": "f3", "ref": "extras", "type": "multiple_choice", "title": "Extras", "properties": {
                "allow_multiple_selection": true, "allow_other_choice": true, "choices": [
                {"id": "c3", "ref": "milk", "label": "Milk"}, {"id": "c4", "label": "Sugar"}]}},
            {"id": "f4", "ref": "stars", "type": "rating", "title": "Stars", "properties": {"steps": 3}},
            {"id": "g1", "ref": "more", "type": "group", "title": "More", "properties": {"fields": [
                {"id": "f5", "ref": "news", "type": "yes_no", "title": "News?"}]}},
            {"id": "f6", "ref": "note", "type": "statement", "title": "Bye"}
        ],
        "logic": [{"type": "field", "ref": "size", "actions": [{"action": "add",
            "details": {"target": {"type": "variable", "value": "score"}, "value": {"type": "constant", "value": 4}},
            "condition": {"op": "is", "vars": [{"type": "field", "value": "size"}, {"type": "choice", "value": "l"}]}}]}]
    })
    .to_string()
}

#[tokio::test]
async fn a_submission_arrives_in_typeforms_shape_under_typeforms_signature() {
    let import = connector("typeform").expect("a reader").read(orders().as_bytes()).expect("a form");
    let gate = Setup::of(&import.form, &Settings::default()).start().await;
    let mut player = gate.player("unused");
    let answers = json!({"Name": "Ada", "Size": "Large", "Extras": ["Milk", "Sugar"], "Please specify": "Rum", "Stars": "3", "News?": "No"});
    let mut person = Truthful::new(answers.as_object().cloned().expect("an object"));
    let played = play(&mut player, &mut person).await.expect("answers");
    assert!(matches!(played, Played::Ended(Ended::Completed(_))), "{played:?}");
    let sent = gate.submissions().await.remove(0);

    let (destination, received, _stop) = customer(StatusCode::OK, &orders()).await;
    assert_eq!(deliver(&destination, &sent).await, Outcome::delivered(Some(200)));
    assert_eq!(deliver(&destination, &sent).await, Outcome::delivered(Some(200)));
    let received = received.lock().expect("no panic under the lock").clone();
    let (headers, body) = &received[0];
    assert_eq!(received[1], received[0], "a repeat is the same to the byte");
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["user-agent"], "Typeform Webhooks");

    // A receiver that knows nothing of us checks the signature.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("body");
    std::fs::write(&file, body).expect("a file");
    let openssl = std::process::Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", SECRET, "-binary"])
        .arg(&file)
        .output()
        .expect("openssl");
    use base64::Engine as _;
    let tag = base64::engine::general_purpose::STANDARD.encode(openssl.stdout);
    assert_eq!(headers["typeform-signature"], format!("sha256={tag}"));

    let told: Value = serde_json::from_slice(body).expect("JSON");
    let response = &told["form_response"];
    assert_eq!(
        (told["event_type"].as_str(), told["event_id"].as_str().map(str::len)),
        (Some("form_response"), Some(26))
    );
    assert_eq!(
        (response["form_id"].as_str(), response["token"].as_str()),
        (Some("oRdEr1"), Some(sent.id.to_string().as_str()))
    );
    for time in ["landed_at", "submitted_at"] {
        let text = response[time].as_str().expect("a time");
        assert!(text.len() == 20 && text.ends_with('Z'), "{text}");
    }
    let field = |id: &str, kind: &str, reference: &str| json!({"id": id, "type": kind, "ref": reference});
    assert_eq!(
        response["answers"],
        json!([
            {"type": "text", "text": "Ada", "field": field("f1", "short_text", "name")},
            {"type": "choice", "choice": {"id": "c2", "label": "Large", "ref": "l"}, "field": field("f2", "dropdown", "size")},
            {"type": "choices", "choices": {"ids": ["c3", "c4"], "labels": ["Milk", "Sugar"], "refs": ["milk"], "other": "Rum"},
             "field": field("f3", "multiple_choice", "extras")},
            {"type": "number", "number": 3, "field": field("f4", "rating", "stars")},
            {"type": "boolean", "boolean": false, "field": field("f5", "yes_no", "news")},
        ])
    );
    assert_eq!(response["calculated"], json!({"score": 5}));
    assert_eq!(
        response["variables"],
        json!([{"key": "score", "type": "number", "number": 5}, {"key": "tier", "type": "text", "text": "tin"}])
    );
    assert_eq!(response["hidden"]["wa_submission_id"], sent.id.to_string());
    assert_eq!(response["hidden"]["source"], "whatsapp");
    assert_eq!(response["ending"], json!({"id": "e1", "ref": "thanks"}));
    let shown: Vec<&str> = response["definition"]["fields"]
        .as_array()
        .expect("fields")
        .iter()
        .filter_map(|f| f["ref"].as_str())
        .collect();
    assert_eq!(shown, ["name", "size", "extras", "stars", "news"], "flat, and only what is answered");
}

#[tokio::test]
async fn every_answer_of_every_kind_keeps_its_value_but_files() {
    let garden = include_str!("../fixtures/typeform/garden-visit.json");
    let import = connector("typeform").expect("a reader").read(garden.as_bytes()).expect("a form");
    let gate = Setup::of(&import.form, &Settings::default()).start().await;
    for seed in 0..6 {
        let mut player = gate.player("unused");
        play(&mut player, &mut Random::new(seed)).await.expect("answers");
    }
    let (destination, received, _stop) = customer(StatusCode::NO_CONTENT, garden).await;
    let mut kinds = std::collections::BTreeSet::new();
    for sent in gate.submissions().await {
        assert_eq!(deliver(&destination, &sent).await, Outcome::delivered(Some(204)));
        let body = received.lock().expect("no panic under the lock").pop().expect("a delivery").1;
        let told: Value = serde_json::from_slice(&body).expect("JSON");
        let answers = told["form_response"]["answers"].as_array().expect("answers");
        let expected: Vec<_> = sent.answers.iter().filter(|answer| answer.kind != "file").collect();
        assert_eq!(answers.len(), expected.len());
        for (answer, sent) in answers.iter().zip(expected) {
            let kind = answer["type"].as_str().expect("a type");
            kinds.insert(kind.to_owned());
            assert_eq!(answer["field"]["ref"], sent.key.as_str());
            let text = match (kind, &answer[kind]) {
                ("choice", choice) => choice.get("label").or(choice.get("other")).cloned().expect("a choice"),
                ("choices", choices) => {
                    let labels =
                        choices["labels"].as_array().expect("labels").iter().chain(choices.get("other"));
                    json!(labels.filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
                }
                (_, value) => {
                    assert_eq!(*value, sent.value, "{}", sent.key);
                    continue;
                }
            };
            assert_eq!(text, sent.text.as_str(), "{}", sent.key);
        }
    }
    for kind in ["text", "email", "number", "date", "boolean", "choice"] {
        assert!(kinds.contains(kind), "{kind} was not among {kinds:?}");
    }
}

#[tokio::test]
async fn what_an_older_version_asked_is_told_in_words() {
    let import = connector("typeform").expect("a reader").read(orders().as_bytes()).expect("a form");
    let gate = Setup::of(&import.form, &Settings::default()).start().await;
    let mut player = gate.player("unused");
    play(&mut player, &mut Random::new(1)).await.expect("answers");
    let sent = gate.submissions().await.remove(0);
    let newer = orders().replace(r#""ref":"name""#, r#""ref":"full_name""#);
    assert_ne!(newer, orders());
    let (destination, received, _stop) = customer(StatusCode::OK, &newer).await;
    assert_eq!(deliver(&destination, &sent).await, Outcome::delivered(Some(200)));
    let body = received.lock().expect("no panic under the lock").pop().expect("a delivery").1;
    let told: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(
        told["form_response"]["answers"][0],
        json!({"type": "text", "text": sent.answers[0].text, "field": {"ref": "name", "type": "short_text"}})
    );
    assert_eq!(told["form_response"]["answers"].as_array().map(Vec::len), Some(sent.answers.len()));
}

#[tokio::test]
async fn an_endpoint_that_is_gone_and_a_flow_of_another_tool_are_final() {
    let import = connector("typeform").expect("a reader").read(orders().as_bytes()).expect("a form");
    let gate = Setup::of(&import.form, &Settings::default()).start().await;
    let mut player = gate.player("unused");
    play(&mut player, &mut Random::new(1)).await.expect("answers");
    let mut sent = gate.submissions().await.remove(0);
    let (gone, _received, _stop) = customer(StatusCode::GONE, &orders()).await;
    assert!(matches!(deliver(&gone, &sent).await.verdict, Verdict::Refused { .. }));
    let (busy, received, _stop) = customer(StatusCode::TOO_MANY_REQUESTS, &orders()).await;
    assert_eq!(deliver(&busy, &sent).await.verdict, Verdict::Retry { after_ms: None });
    sent.flow_id = "another".to_owned();
    assert!(matches!(deliver(&busy, &sent).await.verdict, Verdict::Refused { .. }));
    assert_eq!(received.lock().expect("no panic under the lock").len(), 1, "nothing is sent for it");
}

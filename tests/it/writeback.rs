//! Submissions back into the tools by every way that is configured, against peers on sockets.

mod collector;
mod crm;
mod described;
mod descriptions;
mod hooks;
mod installed;
mod routes;
mod script;
mod sheet;

use std::sync::Arc;
use std::time::Duration;

use formgate::client::{AddressPolicy, Client};
use formgate::connector::{Api, connector};
use formgate::flow::compile::Settings;
use formgate::form::Form;
use formgate::outbox::{
    self, Answer, Call, DeliveryKey, Destination, DestinationId, Outcome, Submission, SubmissionId, Verdict,
};
use formgate::player::strategy::{Random, play};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::endpoint::fixture::Setup;

const EVERY_KIND: &str = include_str!("../fixtures/google-forms/every-kind.json");

fn every_kind() -> Form {
    let connector = connector("google-forms").expect("a reader");
    connector.read(EVERY_KIND.as_bytes()).expect("a form").form
}

/// What people made of the form, all kinds of questions between them.
async fn walks(form: &Form, seeds: u64) -> Vec<Submission> {
    let gate = Setup::of(form, &Settings::default()).start().await;
    for seed in 0..seeds {
        play(&mut gate.player(&format!("walk-{seed}")), &mut Random::new(seed)).await.expect("answers");
    }
    gate.submissions().await
}

fn id() -> DestinationId {
    DestinationId::new("there").expect("an id")
}

fn api(address: std::net::SocketAddr, token: &str) -> Api {
    Api {
        account: "account:1".to_owned(),
        base: format!("http://{address}").parse().expect("a URL"),
        tokens: Arc::new(SecretString::from(token)),
        policy: AddressPolicy::AllowPrivateNetwork,
        client: Client::new(),
    }
}

fn answer(key: &str, kind: &str, value: Value) -> Answer {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Answer { key: key.into(), question: format!("The {key}"), kind: kind.into(), value, text, other: None }
}

fn submission(answers: Vec<Answer>) -> Submission {
    Submission {
        id: SubmissionId::new(Uuid::new_v8([7; 16])),
        flow_id: "contact".into(),
        flow_version: 3,
        form: outbox::Form { tool: "form".into(), id: "f".into(), title: "F".into() },
        flow_token: "token".into(),
        contact: None,
        started_at_ms: 1_795_521_600_000,
        completed_at_ms: 1_795_521_660_000,
        locale: "en".into(),
        source: [("campaign".to_owned(), "spring".to_owned())].into(),
        hidden: [("shop".to_owned(), "rome".to_owned())].into(),
        variables: [("score".to_owned(), json!(7))].into(),
        test: false,
        linked_to: None,
        replaces: None,
        replaced_by: None,
        walk: None,
        ending: None,
        answers,
    }
}

async fn deliver(destination: &dyn Destination, submission: &Submission, sent_before: bool) -> Outcome {
    let key = DeliveryKey::of(submission.id, destination.id());
    let deadline = Instant::now() + Duration::from_secs(60);
    destination.deliver(Call { submission, key, attempt: 1, sent_before, deadline }).await
}

#[track_caller]
fn refused(outcome: &Outcome) -> (&'static str, &str) {
    match &outcome.verdict {
        Verdict::Refused { reason } => (outcome.class, reason),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn held(outcome: &Outcome) -> (&'static str, &str) {
    match &outcome.verdict {
        Verdict::Hold { reason, .. } => (outcome.class, reason),
        other => panic!("{other:?}"),
    }
}

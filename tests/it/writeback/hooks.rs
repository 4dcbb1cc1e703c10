//! The webhooks that a form has in Typeform.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use formgate::client::AddressPolicy;
use formgate::connector::typeform::deliver::Definition;
use formgate::connector::typeform::hooks::{Hooks, Memory};
use formgate::outbox::{Destination as _, Grade, Outcome, Submission, Verdict};
use formgate::sandbox::typeform::Webhooks;
use formgate::server::{Limits, Listener, Request, Response, Server, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{answer, api, deliver, held, id, refused, submission};

const FORM: &str = r#"{"id": "oRdEr1", "title": "Order", "fields": [
    {"id": "f1", "ref": "name", "type": "short_text", "title": "Name"}]}"#;

struct Running {
    account: Webhooks,
    destination: Hooks,
    stops: Vec<watch::Sender<bool>>,
}

type Received = Arc<Mutex<Vec<Value>>>;

async fn start() -> Running {
    let account = Webhooks::new("oRdEr1", "tfp_token");
    let (stop, stopped) = watch::channel(false);
    let address = account.serve(stopped).await.expect("a port");
    let definition = Definition::read(FORM.as_bytes()).expect("a definition");
    let destination = Hooks {
        id: id(),
        api: api(address, "tfp_token"),
        secret: Some(SecretString::from("typeform-secret")),
        definitions: BTreeMap::from([("contact".to_owned(), definition)]),
        policy: AddressPolicy::AllowPrivateNetwork,
        memory: Mutex::default(),
    };
    Running { account, destination, stops: vec![stop] }
}

impl Running {
    /// An endpoint of the customer's that gives these answers, then 200.
    async fn listener(&mut self, tag: &str, enabled: bool, answers: Vec<u16>) -> Received {
        let received = Received::default();
        let (seen, answers) = (Arc::clone(&received), Mutex::new(answers));
        let handler = move |request: Request| {
            assert!(request.header("typeform-signature").is_some_and(|value| value.starts_with("sha256=")));
            let mut answers = answers.lock().expect("answers");
            let status = if answers.is_empty() { 200 } else { answers.remove(0) };
            if status == 200 {
                seen.lock().expect("a list").push(serde_json::from_slice(&request.body).expect("JSON"));
            }
            async move { Response::empty(StatusCode::from_u16(status).expect("a status")) }
        };
        let listener = Listener { addr: "127.0.0.1:0".parse().expect("an address"), tls: None };
        let server = Server::bind(listener, Limits::default(), Arc::new(handler)).await.expect("a port");
        self.account.add(tag, &format!("http://{}/hook", server.local_addr()), enabled);
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(server.run(stopped, Duration::from_secs(1)));
        self.stops.push(stop);
        received
    }
}

fn sent() -> Submission {
    submission(vec![answer("name", "short_text", json!("Ada"))])
}

#[tokio::test]
async fn every_webhook_that_is_switched_on_gets_what_typeform_would_have_sent_and_a_repeat_goes_to_the_others()
 {
    let mut running = start().await;
    assert_eq!(running.destination.grade(), Grade::C);
    let first = running.listener("crm", true, vec![]).await;
    let second = running.listener("mail", true, vec![503]).await;
    let off = running.listener("old", false, vec![]).await;
    let outcome = deliver(&running.destination, &sent(), false).await;
    assert_eq!(outcome, Outcome::retry("status", Some(503), None));
    assert_eq!(deliver(&running.destination, &sent(), true).await, Outcome::delivered(Some(200)));
    let (first, second) = (first.lock().expect("a list").clone(), second.lock().expect("a list").clone());
    assert_eq!((first.len(), second.len(), off.lock().expect("a list").len()), (1, 1, 0));
    assert_eq!(first, second, "the same to the byte, under one event id");
    let response = &first[0]["form_response"];
    assert_eq!(response["answers"][0]["text"], "Ada");
    assert_eq!(response["hidden"]["wa_campaign"], "spring");
    assert_eq!(response["hidden"]["wa_submission_id"], sent().id.to_string());
    assert_eq!(running.account.requests(), 1, "the list of webhooks is kept for a while");
}

#[tokio::test]
async fn a_webhook_that_is_gone_ends_there_and_only_there() {
    let mut running = start().await;
    let gone = running.listener("gone", true, vec![410, 410]).await;
    let alone = deliver(&running.destination, &sent(), false).await;
    let (class, reason) = refused(&alone);
    assert!(class == "gone" && reason.contains("gone"), "{class}: {reason}");
    let taken = running.listener("crm", true, vec![]).await;
    *running.destination.memory.lock().expect("a memory") = Memory::default();
    assert_eq!(deliver(&running.destination, &sent(), false).await.verdict, Verdict::Delivered);
    assert_eq!((gone.lock().expect("a list").len(), taken.lock().expect("a list").len()), (0, 1));
}

#[tokio::test]
async fn without_a_webhook_a_scope_or_a_token_it_is_said() {
    let mut running = start().await;
    assert_eq!(refused(&deliver(&running.destination, &sent(), false).await).0, "no_webhook");
    *running.destination.memory.lock().expect("a memory") = Memory::default();
    running.account.grant(&["forms:read"]);
    assert!(held(&deliver(&running.destination, &sent(), false).await).1.contains("webhooks:read"));
    running.account.refuse([429, 503]);
    assert_eq!(
        deliver(&running.destination, &sent(), false).await,
        Outcome::retry("rate", Some(429), Some(1_000))
    );
    assert_eq!(deliver(&running.destination, &sent(), false).await, Outcome::retry("look", Some(503), None));
    running.destination.api.tokens = Arc::new(SecretString::from("tfp_other"));
    assert_eq!(held(&deliver(&running.destination, &sent(), false).await).0, "reconnect");
}

#[tokio::test]
async fn a_webhook_inside_the_network_is_not_called_unless_that_is_allowed() {
    let mut running = start().await;
    let inside = running.listener("inside", true, vec![]).await;
    running.destination.policy = AddressPolicy::PublicHttps;
    assert_eq!(refused(&deliver(&running.destination, &sent(), false).await).0, "gone");
    assert!(inside.lock().expect("a list").is_empty());
}

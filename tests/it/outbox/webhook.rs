//! The webhook destination against a real server on a socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use formgate::client::header::{HeaderMap, HeaderValue};
use formgate::client::{AddressPolicy, Client};
use formgate::outbox::{
    Call, DeliveryKey, Destination, Field, LeadFields, Outcome, Shape, SignWebhook, Verdict, Webhook, slug,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::time::Instant;
use url::Url;

use super::fixture::{SubmissionExt, answer, crm, submission};

/// Shows what it was given to sign.
struct Quoting;

impl SignWebhook for Quoting {
    fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        format!("v1,{id}.{timestamp_s}.{}", body.len())
    }
}

/// One request as a server saw it.
struct Received {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Delivers one submission to a server that gives this answer.
async fn deliver(shape: Shape, answer: &'static str) -> (Outcome, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a caller");
        let mut stream = BufReader::new(stream);
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.expect("a line");
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.trim_end().split_once(": ") {
                headers.insert(name.to_owned(), value.to_owned());
            }
        }
        let mut body = vec![0; headers["content-length"].parse().expect("a length")];
        stream.read_exact(&mut body).await.expect("the body");
        stream.get_mut().write_all(answer.as_bytes()).await.expect("a caller");
        Received { headers, body }
    });
    let webhook = Webhook {
        id: crm(),
        url: Url::parse(&format!("http://127.0.0.1:{port}/hook")).expect("a URL"),
        signer: Some(Arc::new(Quoting)),
        shape,
        headers: HeaderMap::from_iter([(
            "authorization".parse().expect("a name"),
            HeaderValue::from_static("Bearer x"),
        )]),
        policy: AddressPolicy::AllowPrivateNetwork,
        client: Client::new(),
    };
    let sent = submission(1);
    let deadline = Instant::now() + Duration::from_secs(60);
    let key = DeliveryKey::of(sent.id, &crm());
    let outcome =
        webhook.deliver(Call { submission: &sent, key, attempt: 2, sent_before: true, deadline }).await;
    (outcome, server.await.expect("a request"))
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn a_webhook_is_a_signed_post_under_its_idempotency_key() {
    let (outcome, received) = deliver(Shape::Full, OK).await;
    assert_eq!(outcome, Outcome::delivered(Some(200)));
    let key = DeliveryKey::of(submission(1).id, &crm()).to_string();
    let timestamp = &received.headers["webhook-timestamp"];
    assert_eq!(received.headers["webhook-id"], key);
    assert_eq!(
        received.headers["webhook-signature"],
        format!("v1,{key}.{timestamp}.{}", received.body.len())
    );
    assert_eq!(received.headers["content-type"], "application/json");
    assert_eq!(received.headers["authorization"], "Bearer x");
    let body: Value = serde_json::from_slice(&received.body).expect("JSON");
    assert_eq!(body["type"], "submission.completed");
    assert_eq!(body["timestamp"], "2026-11-24T12:01:01.234Z");
    assert_eq!(body["data"], serde_json::to_value(submission(1)).expect("JSON"));
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_410_ends_it_for_all_deliveries() {
    let (moved, _) =
        deliver(Shape::Full, "HTTP/1.1 307 Away\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(moved, Outcome::retry("status", Some(307), None));
    let (gone, _) = deliver(Shape::Full, "HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n").await;
    assert!(matches!(gone.verdict, Verdict::Hold { .. }));
    let busy = "HTTP/1.1 429 Slow\r\nretry-after: 17\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(deliver(Shape::Full, busy).await.0, Outcome::retry("status", Some(429), Some(17_000)));
    let (cut, _) = deliver(Shape::Full, "HTTP/1.1 200").await;
    assert_eq!(cut, Outcome::retry("exchange", None, None));
}

#[test]
fn a_flat_body_has_every_key_always_and_scalars_only() {
    let field = |key: &str, name: &str| Field { key: key.into(), name: name.into() };
    let fields = vec![field("q1", "name"), field("q9", "never_asked"), field("q3", "colours")];
    let shape = Shape::Flat { fields: BTreeMap::from([("contact".into(), fields)]) };
    let mut sent = submission(1);
    sent.answers.push(answer("q6", "Agree?", "yes_no", json!(false), "No"));
    let body = shape.render(&sent);
    assert_eq!(
        body,
        json!({
            "submission_id": sent.id.to_string(), "flow_id": "contact", "completed_at": "2026-11-24T12:01:01.234Z",
            "contact_phone": "+393331234567", "name": "Ada Lovelace", "never_asked": "", "colours": "Red, Green",
            "e_mail": "ada@example.com", "how_many": 3, "agree": true, "agree_2": false,
        })
    );
    let keys: Vec<_> = body.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(
        keys.get(4..7),
        Some(&["name".to_owned(), "never_asked".into(), "colours".into()][..]),
        "in order"
    );
}

#[test]
fn a_lead_takes_what_is_mapped_and_else_what_the_kinds_say() {
    let lead = Shape::Lead { fields: BTreeMap::new() }.render(&submission(1));
    assert_eq!(
        lead,
        json!({
            "full_name": "Ada Lovelace", "phone": "+393331234567", "email": "ada@example.com",
            "extra_fields": { "colours": "Red, Green", "how_many": 3, "agree": true },
        })
    );
    let names = vec![Field { key: "q3".into(), name: "favourites".into() }];
    let mapped = LeadFields {
        full_name: Some("q2".into()),
        phone: Some("q4".into()),
        email: Some("q1".into()),
        names,
    };
    let lead = Shape::Lead { fields: BTreeMap::from([("contact".into(), mapped)]) }
        .render(&submission(1).anonymous());
    assert_eq!(
        (&lead["full_name"], &lead["phone"], &lead["email"]),
        (&json!("ada@example.com"), &json!("3"), &json!("Ada Lovelace"))
    );
    assert_eq!(lead["extra_fields"]["favourites"], "Red, Green");
}

#[test]
fn a_slug_is_made_of_letters_digits_and_single_underscores() {
    for (question, expected) in [
        ("Your name?", "your_name"),
        ("  Qual è la tua città? ", "qual_è_la_tua_città"),
        ("A -- B", "a_b"),
        ("???", "field"),
        ("", "field"),
    ] {
        assert_eq!(slug(question), expected);
    }
    assert_eq!(slug(&"x".repeat(500)).len(), 64);
}

//! The same cryptography by Node, in both directions: Meta's own sample of an endpoint runs on it.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead as _, KeyInit as _};
use aes_gcm::{AesGcm, aes::Aes128};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use formgate::crypto::{AppSecret, AppSecrets, FlowTokenSignature, HubSignature, PrivateKey, WebhookSecret};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{Parts, RING, key};

const SECRET: &str = "app secret, ünï";
const NOW_S: u64 = 1_795_521_600;

fn node(job: &Value) -> Value {
    let mut node = Command::new("node")
        .args(["-e", include_str!("peer.js")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("crypto is checked against Node's, install the node command: {error}")
        });
    node.stdin.take().expect("piped").write_all(job.to_string().as_bytes()).expect("node reads");
    let output = node.wait_with_output().expect("ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("node prints JSON")
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("{member} in {value}"))
}

fn secrets() -> AppSecrets {
    AppSecrets::new(vec![AppSecret::new(SECRET.into(), None).expect("not empty")]).expect("not none")
}

#[test]
fn a_request_by_node_opens_and_node_opens_the_reply() {
    let plaintext = r#"{"action":"INIT","città":"Forlì 🇮🇹"}"#;
    let request = node(&json!({
        "job": "request", "publicPem": key().public_pem(), "plaintext": plaintext, "secret": SECRET,
    }));
    let body = text(&request, "body").as_bytes();
    HubSignature::verify(&secrets(), Some(text(&request, "signature")), body, NOW_S).expect("is signed");
    let opened = RING.open(body).expect("opens");
    assert_eq!(opened.plaintext.as_slice(), plaintext.as_bytes());
    let reply = opened.reply.seal(r#"{"screen":"È"}"#.as_bytes());
    let opened =
        node(&json!({ "job": "openReply", "key": request["key"], "iv": request["iv"], "reply": reply }));
    assert_eq!(opened, r#"{"screen":"È"}"#);
}

#[test]
fn node_serves_with_our_private_key() {
    let (aes_key, iv) = (rand::random::<[u8; 16]>(), rand::random::<[u8; 16]>());
    let body = Parts::seal_with(key(), aes_key, iv, b"request").body();
    let answer = node(&json!({
        "job": "answer", "privatePem": key().private_pem().expose_secret(),
        "body": String::from_utf8(body.clone()).expect("JSON"), "reply": "reply",
    }));
    assert_eq!(text(&answer, "plaintext"), "request");
    // Node's reply and ours to the same request are the same bytes.
    let reply = RING.open(&body).expect("opens").reply.seal(b"reply");
    assert_eq!(text(&answer, "reply"), reply);
    let reply = STANDARD.decode(reply).expect("base64");
    let cipher = AesGcm::<Aes128, U16>::new(&aes_key.into());
    assert_eq!(cipher.decrypt(&iv.map(|byte| !byte).into(), reply.as_slice()).expect("opens"), b"reply");
}

#[test]
fn keys_made_by_node_are_read() {
    let keys = node(&json!({ "job": "keys", "passphrase": "pässphrase" }));
    let private_pems = keys["privatePems"].as_array().expect("a list");
    assert_eq!(private_pems.len(), 7);
    for pem in private_pems {
        let pem = pem.as_str().expect("PEM");
        let key = PrivateKey::from_pem(pem, Some(&"pässphrase".into()))
            .unwrap_or_else(|error| panic!("{error}: {pem:.120}"));
        assert_eq!(key.public_pem(), text(&keys, "publicPem"));
    }
}

#[test]
fn node_makes_the_same_signatures() {
    let body = r#"{"x":"é"}"#;
    assert_eq!(
        node(&json!({ "job": "hubSignature", "secret": SECRET, "body": body })),
        HubSignature::sign(&SECRET.into(), body.as_bytes())
    );

    let token = node(&json!({ "job": "tokenSignature", "secret": SECRET, "flowToken": "tök \"1\"" }));
    let signature = token.as_str().expect("a JWT");
    assert_eq!(FlowTokenSignature::verify(&secrets(), "tök \"1\"", signature, NOW_S), Ok(()));

    let secret = WebhookSecret::generate();
    let signature = node(&json!({
        "job": "webhookSignature", "secret": secret.to_text().expose_secret(), "id": "msg_1", "timestamp": 1_700_000_000,
        "body": body,
    }));
    assert_eq!(signature, secret.sign("msg_1", 1_700_000_000, body.as_bytes()));
    let verified = secret.verify(
        "msg_1",
        "1700000000",
        signature.as_str().expect("text"),
        body.as_bytes(),
        1_700_000_000,
        Duration::ZERO,
    );
    assert_eq!(verified, Ok(()));
}

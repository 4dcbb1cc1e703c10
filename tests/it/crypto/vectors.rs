//! Every file of `tests/vectors/crypto` is a case; the folder is the list.

use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use formgate::crypto::{
    AppSecret, AppSecrets, FlowTokenSignature, HubSignature, MasterKeys, Purpose, Sealer, Vault,
    WebhookSecret, associated_data,
};
use serde::Deserialize;

use super::{Parts, RING, encrypt_to, key};

#[derive(Deserialize)]
struct Case {
    // Who says so.
    #[expect(dead_code, reason = "for the reader of the file")]
    source: String,
    #[serde(flatten)]
    vector: Vector,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Vector {
    HubSignature {
        secret: String,
        body: String,
        signature: String,
        valid: bool,
    },
    TokenSignature {
        secret: String,
        flow_token: String,
        signature: String,
        valid: bool,
    },
    Exchange {
        aes_key: String,
        initial_vector: String,
        encrypted_flow_data: String,
        plaintext: String,
        reply_plaintext: String,
        reply: String,
    },
    Webhook {
        secret: String,
        id: String,
        timestamp_s: i64,
        body: String,
        signature: String,
    },
    Sealed {
        master_key: String,
        purpose: String,
        context: Vec<String>,
        seed: String,
        plaintext: String,
        sealed: String,
    },
    KeyedHash {
        master_key: String,
        domain: String,
        text: String,
        hash: String,
    },
}

#[test]
fn every_vector_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/crypto");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let case: Case = serde_json::from_slice(&fs::read(&path).expect("a file"))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        holds(&name, case.vector);
        count += 1;
    }
    assert!(count > 0, "the folder is empty");
}

fn holds(name: &str, vector: Vector) {
    match vector {
        Vector::HubSignature { secret, body, signature, valid } => {
            let verified = HubSignature::verify(&secrets(&secret), Some(&signature), body.as_bytes(), 0);
            assert_eq!(verified.is_ok(), valid, "{name}");
            assert_eq!(HubSignature::sign(&secret.into(), body.as_bytes()) == signature, valid, "{name}");
        }
        Vector::TokenSignature { secret, flow_token, signature, valid } => {
            let verified = FlowTokenSignature::verify(&secrets(&secret), &flow_token, &signature, 0);
            assert_eq!(verified.is_ok(), valid, "{name}: {verified:?}");
        }
        Vector::Exchange {
            aes_key,
            initial_vector,
            encrypted_flow_data,
            plaintext,
            reply_plaintext,
            reply,
        } => {
            let decode = |text| STANDARD.decode(text).expect("base64");
            let parts = Parts {
                encrypted_aes_key: encrypt_to(key(), &decode(aes_key)),
                iv: decode(initial_vector),
                encrypted_flow_data: decode(encrypted_flow_data),
            };
            let opened = RING.open(&parts.body()).expect(name);
            assert_eq!(opened.plaintext.as_slice(), plaintext.as_bytes(), "{name}");
            assert_eq!(opened.reply.seal(reply_plaintext.as_bytes()), reply, "{name}");
        }
        Vector::Webhook { secret, id, timestamp_s, body, signature } => {
            let secret = WebhookSecret::parse(&secret).expect(name);
            assert_eq!(secret.sign(&id, timestamp_s, body.as_bytes()), signature, "{name}");
            let verified = secret.verify(
                &id,
                &timestamp_s.to_string(),
                &signature,
                body.as_bytes(),
                timestamp_s,
                Duration::ZERO,
            );
            assert_eq!(verified, Ok(()), "{name}");
        }
        Vector::Sealed { master_key, purpose, context, seed, plaintext, sealed } => {
            let (sealer, purpose) = (sealer(&master_key), purpose_of(&purpose));
            let context: Vec<_> = context.iter().map(String::as_bytes).collect();
            let aad = associated_data(&context);
            let made = sealer.seal(purpose, &aad, plaintext.as_bytes(), Some(seed.as_bytes()));
            assert_eq!(made, sealed, "{name}");
            assert_eq!(sealer.open(purpose, &aad, &sealed).expect(name).as_slice(), plaintext.as_bytes());
        }
        Vector::KeyedHash { master_key, domain, text, hash } => {
            let vault = Vault::new(sealer(&master_key), Purpose::StoredBody);
            assert_eq!(STANDARD.encode(vault.keyed_hash(&domain, text.as_bytes())), hash, "{name}");
        }
    }
}

fn secrets(secret: &str) -> AppSecrets {
    AppSecrets::new(vec![AppSecret::new(secret.into(), None).expect("not empty")]).expect("not none")
}

fn sealer(master_key: &str) -> Sealer {
    Sealer::new(&MasterKeys::parse(&master_key.into()).expect("a master key"))
}

fn purpose_of(name: &str) -> Purpose {
    match name {
        "state" => Purpose::State,
        "token" => Purpose::Token,
        "stored-body" => Purpose::StoredBody,
        "secret" => Purpose::Secret,
        _ => panic!("unknown purpose {name}"),
    }
}

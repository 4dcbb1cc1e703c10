//! The bare RSA operation, and the stages of an exchange one by one.

use std::hint::black_box;
use std::time::{Duration, Instant};

use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead as _, KeyInit as _};
use aes_gcm::aes::Aes128;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use formgate::crypto::{HubSignature, Purpose};
use formgate::flow::handler::{Handler, Session, Turn};
use serde_json::{Map, Value};

use super::gate::{Gate, Kind};
use super::median;

const ROUNDS: usize = 400;
/// Of a stage that is over in a few microseconds, so many are timed together.
const TOGETHER: u32 = 16;

/// RSA-2048 OAEP by the library that the product uses, and nothing around it.
pub struct Bare {
    key: PrivateDecryptingKey,
    oaep: OaepPrivateDecryptingKey,
    ciphertext: Vec<u8>,
}

impl Bare {
    pub fn new() -> Bare {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("a key");
        let public = OaepPublicEncryptingKey::new(key.public_key()).expect("a key");
        let mut ciphertext = vec![0; public.ciphertext_size()];
        public.encrypt(&OAEP_SHA256_MGF1SHA256, &[7; 16], &mut ciphertext, None).expect("an envelope");
        let oaep = OaepPrivateDecryptingKey::new(key.clone()).expect("a key");
        Bare { key, oaep, ciphertext }
    }

    /// The operation, with the same key as the endpoint's.
    pub fn decrypt(&self) -> usize {
        let mut plaintext = [0; 256];
        let opened = self.oaep.decrypt(&OAEP_SHA256_MGF1SHA256, &self.ciphertext, &mut plaintext, None);
        opened.expect("it opens").len()
    }

    /// The key for the endpoint.
    pub fn pem(&self) -> String {
        let pkcs8: Pkcs8V1Der<'_> = self.key.as_der().expect("the key as PKCS#8");
        pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.as_ref().to_vec()))
    }
}

/// Medians of a stage and of the bare operation beside it.
fn beside<T>(bare: &Bare, together: u32, mut stage: impl FnMut() -> T) -> (Duration, Duration) {
    let (mut alone, mut stages) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        black_box(bare.decrypt());
        let between = Instant::now();
        for _ in 0..together {
            black_box(stage());
        }
        alone.push(between - begun);
        stages.push(between.elapsed() / together);
    }
    (median(alone), median(stages))
}

/// The table of stages, for the first screen of the form.
pub async fn print(gate: &Gate, bare: &Bare) {
    println!("{:>28} {:>10} {:>10}", "stage", "us", "of RSA");
    let row = |name: &str, (alone, stage): (Duration, Duration)| {
        let ratio = stage.as_secs_f64() / alone.as_secs_f64();
        println!("{name:>28} {:>10.2} {ratio:>10.4}", stage.as_secs_f64() * 1e6);
    };
    let sample = gate.samples(Kind::Screen, 1).await.remove(0);
    let signature = Some(sample.signature.as_str());
    let plaintext = sample.plaintext.as_slice();

    row("bare RSA-2048 OAEP", beside(bare, 1, || bare.decrypt()));
    row(
        "HMAC over the body",
        beside(bare, TOGETHER, || HubSignature::verify(&gate.secrets, signature, &sample.body, 0)),
    );
    row("envelope: JSON, RSA, AES", beside(bare, 1, || gate.keys.open(&sample.body)));

    let cipher = AesGcm::<Aes128, U16>::new(&[7; 16].into());
    let sealed = cipher.encrypt(&[9; 16].into(), plaintext).expect("sealed");
    row("AES-128-GCM open", beside(bare, TOGETHER, || cipher.decrypt(&[9; 16].into(), sealed.as_slice())));
    row("JSON of the request", beside(bare, TOGETHER, || serde_json::from_slice::<Value>(plaintext)));

    // The session of this screen, as the endpoint has it after it opened the state.
    let handler = Gate::handler();
    let request: Value = serde_json::from_slice(plaintext).expect("a request");
    let screen = request["screen"].as_str().expect("a screen");
    let data = request["data"].as_object().expect("data");
    let session = session_at(&handler, screen);
    let bytes = session.to_bytes();
    let state = gate.sealer.seal(Purpose::State, b"flow screen token", &bytes, Some(&[1; 32]));
    row(
        "state open",
        beside(bare, TOGETHER, || {
            let bytes = gate.sealer.open(Purpose::State, b"flow screen token", &state).expect("ours");
            Session::from_bytes(&bytes)
        }),
    );
    row("handler step", beside(bare, TOGETHER, || handler.step(session.clone(), screen, data)));
    let Some(Turn::Show(show)) = handler.step(session.clone(), screen, data) else {
        panic!("the first screen leads to another one");
    };
    assert!(!show.problem, "the answers are right");
    let next = show.session.expect("a screen with a state");
    row(
        "state seal",
        beside(bare, TOGETHER, || {
            gate.sealer.seal(Purpose::State, b"flow screen token", &next.to_bytes(), Some(&[1; 32]))
        }),
    );
    let mut shown = show.data;
    shown.insert("state".to_owned(), Value::String(state));
    let reply = serde_json::json!({"screen": show.screen, "data": shown, "version": "4.0"});
    let text = reply.to_string();
    row("JSON of the reply", beside(bare, TOGETHER, || reply.to_string()));
    row(
        "AES-128-GCM seal, base64",
        beside(bare, TOGETHER, || {
            STANDARD.encode(cipher.encrypt(&[9; 16].into(), text.as_bytes()).expect("sealed"))
        }),
    );
    println!(
        "A body of {} bytes, a plaintext of {}, a reply of {}.",
        sample.body.len(),
        plaintext.len(),
        text.len()
    );
}

/// Walks over screens that ask nothing until `screen` is reached.
fn session_at(handler: &Handler, screen: &str) -> Session {
    let hidden = handler.form().hidden.iter();
    let hidden = hidden.filter_map(|hidden| Some((hidden.key.clone(), hidden.default.clone()?))).collect();
    let mut show = handler.open(Session::start([7; 16], hidden));
    while show.screen != screen {
        let session = show.session.expect("a screen with a state");
        match handler.step(session, &show.screen, &Map::new()) {
            Some(Turn::Show(next)) => show = next,
            other => panic!("{screen} is not reached: {other:?}"),
        }
    }
    show.session.expect("a screen with a state")
}

//! The sealed side of the exchange over real sockets: arbitrary plaintexts, altered and foreign states and tokens.

use formgate::crypto::{HubSignature, MasterKey, MasterKeys, Purpose, Sealer};
use formgate::endpoint::token::Token;
use formgate::flow::compile::Settings;
use formgate::player::envelope::{EndpointKey, Envelope};
use formgate::player::transport::{HttpTransport, Transport};
use secrecy::SecretString;
use serde_json::{Value as Json, json};

use super::Dice;
use crate::endpoint::fixture::{Gate, SECRET, Setup};

/// Sends a plaintext as WhatsApp would; tells the status and the reply where there is one to be read.
async fn exchange(gate: &Gate, plaintext: &[u8]) -> (u16, Option<Json>) {
    let key = EndpointKey::from_pem(&gate.public_pem).expect("a key");
    let envelope = Envelope::seal(&key, plaintext).expect("sealed");
    let signature = HubSignature::sign(&SecretString::from(SECRET), envelope.body());
    let transport = HttpTransport::new(&gate.address).expect("an address");
    let headers = vec![("x-hub-signature-256", signature), ("content-type", "application/json".to_owned())];
    let response = transport.post(envelope.body().to_vec(), headers).await.expect("always answered");
    let opened = envelope.open(&response.body).ok();
    (response.status, opened.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn gate() -> Setup {
    let form = serde_json::from_value(
        json!({"id": "f", "title": "Form", "pages": [{"id": "p", "questions": [
            {"key": "name", "title": "Name", "type": "short_text", "required": true, "rules": [{"do": {"jump": {"question": "email"}}}]},
            {"key": "email", "title": "Where?", "type": "email", "required": true}
        ]}]}),
    );
    Setup::of(&form.expect("a form"), &Settings::default())
}

fn request(action: &str, screen: &str, token: &str, data: Json) -> Vec<u8> {
    json!({"version": "3.0", "action": action, "screen": screen, "flow_token": token, "data": data})
        .to_string()
        .into_bytes()
}

/// The state of the first screen.
async fn opened(gate: &Gate, token: &str) -> Json {
    let (status, reply) = exchange(gate, &request("INIT", "", token, json!({}))).await;
    assert_eq!(status, 200);
    reply.expect("a screen")["data"]["state"].clone()
}

#[tokio::test]
async fn any_plaintext_is_answered_with_a_status_that_has_a_meaning() {
    let gate = gate().start().await;
    let state = opened(&gate, "t").await;
    let mut dice = Dice::new(11);
    let own = json!({"v": "1", "state": state, "q_name_text": "Ada"});
    let whole: Json = serde_json::from_slice(&request("data_exchange", "START", "t", own)).expect("JSON");
    let mut seen = std::collections::BTreeMap::<u16, usize>::new();
    for round in 0..250 {
        let plaintext = match round % 3 {
            0 => dice.bytes::<48>().to_vec(),
            1 => super::bytes::broken(&whole.to_string(), &mut dice),
            _ => {
                let mut request = whole.clone();
                super::bytes::twisted(&mut request, &mut dice, 6);
                request.to_string().into_bytes()
            }
        };
        let (status, reply) = exchange(&gate, &plaintext).await;
        *seen.entry(status).or_default() += 1;
        assert!(matches!(status, 200 | 400 | 427), "{status} for {}", String::from_utf8_lossy(&plaintext));
        assert_eq!(reply.is_some(), status != 400, "a reply that opens");
    }
    assert!(seen.len() == 3 && seen.values().all(|count| *count > 5), "{seen:?}");
    assert_eq!(gate.submissions().await, [], "nobody finished");
}

#[tokio::test]
async fn only_a_state_of_this_flow_screen_version_and_token_is_taken() {
    let gate = gate().start().await;
    let mut dice = Dice::new(12);
    let state = opened(&gate, "t").await;
    let text = state.as_str().expect("a text").to_owned();
    let data = |state: Json| json!({"v": "1", "state": state, "q_name_text": "Ada"});
    let (status, reply) = exchange(&gate, &request("data_exchange", "START", "t", data(state.clone()))).await;
    let reply = reply.expect("the next screen");
    let next = reply["screen"].as_str().expect("a screen");
    assert_eq!(status, 200);
    assert_ne!(next, "START");
    let second = reply["data"]["state"].clone();

    let stranger = Sealer::new(&MasterKeys::new(MasterKey::generate(), Vec::new()));
    let mut foreign = vec![
        json!(stranger.seal(Purpose::State, b"", b"anything", None)),
        json!(gate.sealer.seal(Purpose::Token, b"", b"anything", None)),
        json!(gate.sealer.seal(Purpose::State, b"elsewhere", b"anything", None)),
        json!(""),
        Json::Null,
        json!([text]),
        second.clone(),
    ];
    for _ in 0..60 {
        let mut altered: Vec<char> = text.chars().collect();
        let at = dice.below(altered.len());
        match dice.below(3) {
            0 => altered.truncate(at),
            1 => altered.insert(at, 'A'),
            _ => altered[at] = if altered[at] == 'A' { 'B' } else { 'A' },
        }
        foreign.push(json!(altered.into_iter().collect::<String>()));
    }
    for state in foreign {
        let (status, _) = exchange(&gate, &request("data_exchange", "START", "t", data(state.clone()))).await;
        assert_eq!(status, 427, "{state}");
    }
    for (screen, token, version, state) in [
        ("START", "other", "1", &state),
        (next, "t", "1", &state),
        ("START", "t", "2", &state),
        ("START", "t", "x", &state),
        ("NOWHERE", "t", "1", &state),
        ("START", "t", "1", &second),
        (next, "u", "1", &second),
    ] {
        let data = json!({"v": version, "state": state, "q_name_text": "Ada"});
        let (status, _) = exchange(&gate, &request("data_exchange", screen, token, data)).await;
        assert_eq!(status, 427, "{screen} {token} {version}");
    }
    // A screen that was skipped has no state, a stale one still leads on, and the walk ends with what was sent last.
    let (status, _) = exchange(&gate, &request("data_exchange", "START", "t", data(state))).await;
    assert_eq!(status, 200);
    let last = json!({"v": "1", "state": second, "q_email_text": "ada@example.com", "q_name_text": "Eve"});
    let (status, reply) = exchange(&gate, &request("data_exchange", next, "t", last)).await;
    assert_eq!((status, reply.expect("the end")["screen"].as_str()), (200, Some("SUCCESS")));
    let stored = gate.submissions().await;
    let told: Vec<_> =
        stored.iter().flat_map(|s| s.answers.iter().map(|a| (a.key.as_str(), a.value.clone()))).collect();
    assert_eq!(told, [("name", json!("Ada")), ("email", json!("ada@example.com"))]);
}

#[tokio::test]
async fn a_token_that_claims_to_be_ours_and_is_not_is_refused() {
    let gate = gate().start().await;
    let mut dice = Dice::new(13);
    let token = Token { nonce: 7, ..Token::default() }.issue(&gate.sealer, "contact").expect("short");
    opened(&gate, &token).await;
    for _ in 0..40 {
        let mut altered: Vec<char> = token.chars().collect();
        let at = 3 + dice.below(altered.len() - 3);
        if dice.chance(30) {
            altered.truncate(at);
        } else {
            altered[at] = if altered[at] == 'A' { 'B' } else { 'A' };
        }
        let altered: String = altered.into_iter().collect();
        let (status, _) = exchange(&gate, &request("INIT", "", &altered, json!({}))).await;
        assert_eq!(status, 427, "{altered}");
    }
}

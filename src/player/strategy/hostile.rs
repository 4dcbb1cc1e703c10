//! Someone who sends what no client would: the endpoint must always answer with a usable 200 or a 4xx.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value, json};

use crate::player::judge::{Fault, judge_data};
use crate::player::transport::{self, Transport};
use crate::player::walk::{Error, Player, RawReply, RawSignature};

/// What the endpoint did.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// A usable 200 or a 4xx.
    Legal,
    /// A 5xx, a closed connection or a timeout.
    Broken(Fault),
    /// A 200 that no client could use.
    Illegal(Vec<Fault>),
}

/// One hostile request and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// What was wrong with the request.
    pub kind: &'static str,
    /// The status, when there was one.
    pub status: Option<u16>,
    /// The verdict.
    pub verdict: Verdict,
    /// The answer's plaintext.
    pub answer: Option<Value>,
}

/// A hostile client with a seed.
#[derive(Debug, Clone)]
pub struct Hostile {
    rng: SmallRng,
    /// A payload seen earlier, for stale and foreign state.
    seen: Vec<Value>,
}

const KINDS: [&str; 15] = [
    "unknown option",
    "missing key",
    "empty payload",
    "over-long text",
    "wrong type",
    "null",
    "altered state",
    "stale payload",
    "unknown screen",
    "skipped screen",
    "unknown action",
    "not JSON",
    "replay",
    "wrong signature",
    "garbage body",
];

impl Hostile {
    /// A client with this seed.
    pub fn new(seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), seen: Vec::new() }
    }

    /// Sends `rounds` hostile requests from the screen that the player shows, which stays as it is.
    pub async fn attack<T: Transport>(
        &mut self,
        player: &mut Player<T>,
        rounds: usize,
    ) -> Result<Vec<Attempt>, Error> {
        let mut attempts = Vec::with_capacity(rounds);
        let first = self.rng.random_range(0..KINDS.len());
        for kind in KINDS.iter().cycle().skip(first).take(rounds) {
            attempts.push(self.attempt(player, kind).await?);
        }
        self.seen.extend(player.footer_payload());
        Ok(attempts)
    }

    async fn attempt<T: Transport>(
        &mut self,
        player: &mut Player<T>,
        kind: &'static str,
    ) -> Result<Attempt, Error> {
        let payload = player.footer_payload()?.as_object().cloned().unwrap_or_default();
        let screen = player.screen().ok_or(Error::Closed)?.id;
        let reply = match kind {
            "unknown screen" => player.raw_payload("NO_SUCH_SCREEN", json!(payload)).await,
            "skipped screen" => {
                let screens = &player.document().screens;
                let other = screens.choose(&mut self.rng).map(|screen| screen.id.clone()).unwrap_or_default();
                player.raw_payload(&other, json!(payload)).await
            }
            "unknown action" => {
                let action = ["complete", "", "ping ", "DATA_EXCHANGE"].choose(&mut self.rng).copied();
                let request = player.request(action.unwrap_or_default(), Some(&screen), Some(json!(payload)));
                player.raw_plaintext(json!(request).to_string().as_bytes()).await
            }
            "not JSON" => {
                let plaintexts: [&[u8]; 5] = [b"", b"{", b"[]", b"null", b"\xff\xfe"];
                let plaintext = plaintexts.choose(&mut self.rng).copied().unwrap_or_default();
                player.raw_plaintext(plaintext).await
            }
            "replay" => match player.raw_resend().await {
                Ok(Some(reply)) => Ok(reply),
                Ok(None) => player.raw_plaintext(b"{}").await,
                Err(error) => Err(error),
            },
            "wrong signature" => {
                let values = ["", "sha256=", "sha256=zz", "sha1=00", &format!("sha256={}", "0".repeat(64))];
                let value = values.choose(&mut self.rng).copied().unwrap_or_default().to_owned();
                player.raw_body(b"{}".to_vec(), RawSignature::Given(value)).await
            }
            "garbage body" => {
                let length = self.rng.random_range(0..600);
                let body = (0..length).map(|_| self.rng.random()).collect();
                player.raw_body(body, RawSignature::Right).await
            }
            _ => {
                let payload = self.spoil(kind, payload);
                player.raw_payload(&screen, payload).await
            }
        };
        let (status, verdict, answer) = match reply {
            Ok(reply) => (Some(reply.status), verdict(player, &reply), reply.opened.and_then(Result::ok)),
            Err(Error::Transport(transport::Error::Timeout)) => (None, Verdict::Broken(Fault::Timeout), None),
            Err(Error::Transport(transport::Error::Connection(_))) => {
                (None, Verdict::Broken(Fault::NoAnswer), None)
            }
            Err(other) => return Err(other),
        };
        Ok(Attempt { kind, status, verdict, answer })
    }

    /// The payload with one thing wrong.
    fn spoil(&mut self, kind: &str, mut payload: Map<String, Value>) -> Value {
        let keys: Vec<String> = payload.keys().cloned().collect();
        let key = keys.choose(&mut self.rng).cloned().unwrap_or_else(|| String::from("q_unknown"));
        let value = match kind {
            "unknown option" => {
                [json!("no_such_option"), json!(["no_such_option"])].choose(&mut self.rng).cloned()
            }
            "over-long text" => Some(json!("x".repeat(100_000))),
            "wrong type" => {
                [json!(17), json!({"a": {"b": []}}), json!([[1], {}]), json!(false), json!(-0.5e300)]
                    .choose(&mut self.rng)
                    .cloned()
            }
            "null" => Some(Value::Null),
            "missing key" => {
                payload.shift_remove(&key);
                return Value::Object(payload);
            }
            "empty payload" => {
                return [json!({}), json!([]), json!(null), json!("x")]
                    .choose(&mut self.rng)
                    .cloned()
                    .unwrap_or_default();
            }
            "stale payload" => return self.seen.choose(&mut self.rng).cloned().unwrap_or_else(|| json!({})),
            // A flipped character in what the endpoint sealed.
            "altered state" => {
                let state = payload.get("state").and_then(Value::as_str).unwrap_or_default();
                let at = self.rng.random_range(0..state.chars().count().max(1));
                let flip = |(index, c): (usize, char)| {
                    if index != at {
                        c
                    } else if c == 'A' {
                        'B'
                    } else {
                        'A'
                    }
                };
                let altered: String = state.chars().enumerate().map(flip).collect();
                payload.insert("state".into(), json!(altered));
                return Value::Object(payload);
            }
            _ => None,
        };
        payload.insert(key, value.unwrap_or_default());
        Value::Object(payload)
    }
}

/// What a client could do with the answer, wherever it thinks it is.
fn verdict<T: Transport>(player: &Player<T>, reply: &RawReply) -> Verdict {
    match (&reply.opened, reply.status) {
        (_, 400..=499) => Verdict::Legal,
        // The envelope of a raw body is unknown, so its 200 cannot be opened.
        (None, 200) => Verdict::Legal,
        (Some(Err(fault)), 200) => Verdict::Illegal(vec![fault.clone()]),
        (Some(Ok(answer)), 200) => {
            let id = answer.get("screen").and_then(Value::as_str);
            let is_acknowledged = answer.pointer("/data/acknowledged").is_some();
            let is_success = id == Some("SUCCESS")
                && answer.pointer("/data/extension_message_response/params/flow_token").is_some();
            if is_acknowledged || is_success {
                return Verdict::Legal;
            }
            let Some(definition) = id.and_then(|id| player.document().screen(id)) else {
                return Verdict::Illegal(vec![Fault::UnknownScreen(id.unwrap_or_default().to_owned())]);
            };
            let Some(data) = answer.get("data").and_then(Value::as_object) else {
                return Verdict::Illegal(vec![Fault::Shape("data")]);
            };
            let faults = judge_data(definition, data);
            if faults.is_empty() { Verdict::Legal } else { Verdict::Illegal(faults) }
        }
        (_, status) => Verdict::Broken(Fault::Status(status)),
    }
}

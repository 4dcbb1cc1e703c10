//! What the player says to the endpoint: the legal requests, and the raw ones of a hostile client.

use serde_json::{Map, Value, json};

use super::{Error, Outcome, Player, Step};
use crate::player::envelope::{EndpointKey, Envelope, flow_token_signature, hub_signature};
use crate::player::judge::{self, Fault, Position};
use crate::player::transport::{self, Response, Transport};

/// An answer to a raw request.
#[derive(Debug, Clone, PartialEq)]
pub struct RawReply {
    /// The HTTP status.
    pub status: u16,
    /// The raw body.
    pub body: Vec<u8>,
    /// What a 200 says, or what is wrong with it. Empty for other statuses.
    pub opened: Option<Result<Value, Fault>>,
}

/// What came of one request.
enum Answer {
    Opened(Value),
    Expired(Option<String>),
    Unusable(Vec<Fault>),
}

impl<T: Transport> Player<T> {
    /// Sends the health check and says whether it was answered rightly.
    pub async fn ping(&mut self) -> Result<bool, Error> {
        let request = json!({ "version": "3.0", "action": "ping" });
        let request = request.as_object().cloned().unwrap_or_default();
        let is_active = match self.ask(&request).await? {
            Answer::Opened(answer) => answer.pointer("/data/status") == Some(&json!("active")),
            Answer::Expired(_) => false,
            Answer::Unusable(faults) => {
                self.fail(faults);
                false
            }
        };
        if !is_active {
            self.fail(vec![Fault::NotActive]);
        }
        Ok(is_active)
    }

    /// Tells the endpoint that its last answer could not be used (reference 1.8).
    pub async fn error_notice(&mut self, action: &str, key: &str, message: &str) -> Result<bool, Error> {
        let data = json!({ "error": key, "error_message": message });
        let mut request = self.request(action, self.current.clone().as_deref(), Some(data));
        request.shift_remove("flow_token_signature");
        let is_acknowledged = match self.ask(&request).await? {
            Answer::Opened(answer) => answer.pointer("/data/acknowledged") == Some(&json!(true)),
            Answer::Expired(_) | Answer::Unusable(_) => false,
        };
        if !is_acknowledged {
            self.fail(vec![Fault::NotAcknowledged]);
        }
        Ok(is_acknowledged)
    }

    /// A request as the client forms it (reference 1.5).
    pub fn request(&self, action: &str, screen: Option<&str>, data: Option<Value>) -> Map<String, Value> {
        let mut request = Map::new();
        let version = self.document.data_api_version.as_deref().unwrap_or("3.0");
        request.insert("version".into(), json!(version));
        request.insert("action".into(), json!(action));
        request.insert("screen".into(), json!(screen.unwrap_or_default()));
        request.insert("data".into(), data.unwrap_or_else(|| json!({})));
        request.insert("flow_token".into(), json!(self.flow_token));
        if self.options.send_token_signature {
            let signature = flow_token_signature(&self.app_secret, &self.flow_token);
            request.insert("flow_token_signature".into(), json!(signature));
        }
        request
    }

    /// Asks for the next screen, judges the answer, and complains about a bad one.
    pub(super) async fn ask_next(
        &mut self,
        request: Map<String, Value>,
        asked: Option<&str>,
    ) -> Result<Outcome, Error> {
        let action = request.get("action").and_then(Value::as_str).unwrap_or_default().to_owned();
        let faults = match self.ask(&request).await? {
            Answer::Expired(message) => {
                self.current = None;
                return Ok(Outcome::Expired(message));
            }
            Answer::Unusable(faults) => faults,
            Answer::Opened(answer) => {
                let position = Position { current: self.current.as_deref(), asked };
                match judge::judge(&self.document, position, &answer) {
                    Ok(next) => return self.take_or_complain(next, &action).await,
                    Err(faults) => faults,
                }
            }
        };
        self.complain(&action, faults).await
    }

    /// Takes a judged answer; a component that cannot be shown is complained about all the same.
    async fn take_or_complain(&mut self, next: judge::Next, action: &str) -> Result<Outcome, Error> {
        let outcome = self.take(next);
        let screen = self.screen();
        let fault = screen.iter().flat_map(judge::judge_screen).find(|fault| !fault.is_warning());
        match (outcome, fault.and_then(|fault| Some((fault.notice_key()?, fault.to_string())))) {
            (Outcome::Shown, Some((key, text))) => {
                self.error_notice(action, key, &text).await?;
                Ok(Outcome::Failed)
            }
            (outcome, _) => Ok(outcome),
        }
    }

    async fn complain(&mut self, action: &str, faults: Vec<Fault>) -> Result<Outcome, Error> {
        let notice = faults.iter().find_map(|fault| Some((fault.notice_key()?, fault.to_string())));
        self.fail(faults);
        if let Some((key, text)) = notice {
            self.error_notice(action, key, &text).await?;
        }
        Ok(Outcome::Failed)
    }

    async fn ask(&mut self, request: &Map<String, Value>) -> Result<Answer, Error> {
        self.walk.steps.push(Step::Request(Value::Object(request.clone())));
        let plaintext = Value::Object(request.clone()).to_string();
        let (envelope, response) = match self.send(plaintext.as_bytes()).await {
            Ok(sent) => sent,
            Err(error) => return unanswered(error),
        };
        if response.status != 421 {
            return Ok(self.read(&envelope, &response));
        }
        // The one automatic resend: refetch the public key and seal anew (reference 1.10).
        self.walk.steps.push(Step::Reply { status: 421, body: None });
        tokio::time::sleep(self.options.resend_delay).await;
        if let Some(key_source) = &self.options.key_source {
            self.endpoint_key = EndpointKey::from_pem(&key_source())?;
        }
        match self.send(plaintext.as_bytes()).await {
            Ok((envelope, response)) => Ok(self.read(&envelope, &response)),
            Err(error) => unanswered(error),
        }
    }

    fn read(&mut self, envelope: &Envelope, response: &Response) -> Answer {
        let mut faults = Vec::new();
        let (body, answer) = match response.status {
            200 => match judge::open(envelope, response, &mut faults) {
                Ok(answer) => (Some(answer.clone()), Answer::Opened(answer)),
                Err(fault) => (None, Answer::Unusable(vec![fault])),
            },
            // An empty 427 gives the generic text; anything else must open like a 200 (reference 1.10).
            427 if response.body.is_empty() => (None, Answer::Expired(None)),
            427 => match envelope.open(&response.body).map(|bytes| serde_json::from_slice::<Value>(&bytes)) {
                Ok(Ok(answer)) => {
                    let message = answer.get("error_msg").and_then(Value::as_str).map(str::to_owned);
                    if message.is_none() {
                        faults.push(Fault::Shape("error_msg"));
                    }
                    (Some(answer), Answer::Expired(message))
                }
                Ok(Err(_)) => (None, Answer::Unusable(vec![Fault::NotJson])),
                Err(_) => (None, Answer::Unusable(vec![Fault::NotDecryptable])),
            },
            status => (None, Answer::Unusable(vec![Fault::Status(status)])),
        };
        self.walk.steps.push(Step::Reply { status: response.status, body });
        self.fail(faults);
        answer
    }

    async fn send(&mut self, plaintext: &[u8]) -> Result<(Envelope, Response), Error> {
        let envelope = Envelope::seal(&self.endpoint_key, plaintext)?;
        self.last_envelope = Some(envelope.clone());
        let signature = hub_signature(&self.app_secret, envelope.body());
        let response = self.post(envelope.body().to_vec(), Some(signature)).await?;
        Ok((envelope, response))
    }

    async fn post(&self, body: Vec<u8>, signature: Option<String>) -> Result<Response, Error> {
        let mut headers = vec![("content-type", String::from("application/json"))];
        headers.extend(signature.map(|signature| ("x-hub-signature-256", signature)));
        Ok(self.transport.post(body, headers).await?)
    }

    /// Hostile: sends any plaintext, sealed and signed.
    pub async fn raw_plaintext(&mut self, plaintext: &[u8]) -> Result<RawReply, Error> {
        let (envelope, response) = self.send(plaintext).await?;
        Ok(open_raw(Some(&envelope), response))
    }

    /// Hostile: sends any `data_exchange` payload for any screen.
    pub async fn raw_payload(&mut self, screen: &str, data: Value) -> Result<RawReply, Error> {
        let request = Value::Object(self.request("data_exchange", Some(screen), Some(data)));
        self.raw_plaintext(request.to_string().as_bytes()).await
    }

    /// Hostile: sends any bytes as the body, signed rightly or with the given header or with none.
    pub async fn raw_body(&mut self, body: Vec<u8>, signature: RawSignature) -> Result<RawReply, Error> {
        let signature = match signature {
            RawSignature::Right => Some(hub_signature(&self.app_secret, &body)),
            RawSignature::Given(value) => Some(value),
            RawSignature::Missing => None,
        };
        Ok(open_raw(None, self.post(body, signature).await?))
    }

    /// Hostile: sends the last envelope again, byte for byte. `None` when nothing was sent yet.
    pub async fn raw_resend(&mut self) -> Result<Option<RawReply>, Error> {
        let Some(envelope) = self.last_envelope.clone() else { return Ok(None) };
        let signature = hub_signature(&self.app_secret, envelope.body());
        let response = self.post(envelope.body().to_vec(), Some(signature)).await?;
        Ok(Some(open_raw(Some(&envelope), response)))
    }
}

/// The signature of a raw body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawSignature {
    /// The right one.
    Right,
    /// This header value.
    Given(String),
    /// No header.
    Missing,
}

fn unanswered(error: Error) -> Result<Answer, Error> {
    match error {
        Error::Transport(transport::Error::Timeout) => Ok(Answer::Unusable(vec![Fault::Timeout])),
        Error::Transport(transport::Error::Connection(_)) => Ok(Answer::Unusable(vec![Fault::NoAnswer])),
        other => Err(other),
    }
}

fn open_raw(envelope: Option<&Envelope>, response: Response) -> RawReply {
    let opened = match (envelope, response.status) {
        (Some(envelope), 200) => Some(judge::open(envelope, &response, &mut Vec::new())),
        _ => None,
    };
    RawReply { status: response.status, body: response.body, opened }
}

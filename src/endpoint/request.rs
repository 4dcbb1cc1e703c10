//! The decrypted request (WhatsApp Flows reference, 1.5): lenient in what may be missing, since clients differ.

use serde_json::{Map, Value};

use crate::telemetry::Action;

/// A decrypted request.
pub(super) struct Exchange {
    /// Echoed in the reply.
    pub version: String,
    pub action: Action,
    pub screen: String,
    pub data: Map<String, Value>,
    /// As it came; empty when it is missing.
    pub flow_token: String,
    pub flow_token_signature: Option<String>,
    /// What the client says was wrong with our last answer.
    pub notice: Option<String>,
}

impl Exchange {
    /// Reads the plaintext; `None` if it is no JSON object.
    pub(super) fn read(plaintext: &[u8]) -> Option<Exchange> {
        let Ok(Value::Object(mut members)) = serde_json::from_slice(plaintext) else { return None };
        let mut text = |name: &str| match members.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let action = text("action").unwrap_or_default();
        let (version, screen) = (text("version"), text("screen"));
        let (flow_token, flow_token_signature) = (text("flow_token"), text("flow_token_signature"));
        let data = match members.remove("data") {
            Some(Value::Object(data)) => data,
            _ => Map::new(),
        };
        // Notices come under the action that they are about, so they are told by their data (1.8).
        let notice = data.get("error").or_else(|| data.get("error_key"));
        let notice = notice.map(|key| key.as_str().unwrap_or("other").to_owned());
        let action = match action.as_str() {
            "ping" => Action::Ping,
            _ if notice.is_some() => Action::ErrorNotice,
            "INIT" => Action::Init,
            "BACK" => Action::Back,
            "data_exchange" => Action::DataExchange,
            _ => Action::Unknown,
        };
        Some(Exchange {
            version: version.unwrap_or_else(|| "3.0".to_owned()),
            action,
            screen: screen.unwrap_or_default(),
            data,
            flow_token: flow_token.unwrap_or_default(),
            flow_token_signature,
            notice,
        })
    }
}

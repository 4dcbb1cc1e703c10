//! What a webhook says, as far as it concerns us. What is not understood is passed over: Meta adds to it as it likes.

use serde_json::Value;
use uuid::Uuid;

use super::event::Event;

/// More updates in one call than Meta ever sends (WhatsApp Flows reference 7.7: 1000).
const MAX_UPDATES: usize = 2_000;
/// Longer ids are none.
const MAX_ID_CHARS: usize = 512;

/// One update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Update {
    /// Somebody has sent a closed flow.
    Closed(Closed),
    /// Meta says how it is with a flow.
    Event(Event),
}

/// What the message of a closed flow says.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Closed {
    /// The message's id.
    pub message: String,
    /// Our id of the submission; `None` if the flow is not one of ours.
    pub submission: Option<Uuid>,
    /// The flow token. Some phones leave it out (WhatsApp Flows reference 7.5).
    pub token: Option<String>,
}

// A token may name a person.
impl std::fmt::Debug for Closed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Closed").field("submission", &self.submission).finish_non_exhaustive()
    }
}

/// Every update of a call; `None` if it is no call of a WhatsApp webhook.
pub(super) fn read(body: &[u8]) -> Option<Vec<Update>> {
    let call: Value = serde_json::from_slice(body).ok()?;
    if call["object"] != "whatsapp_business_account" {
        return None;
    }
    let mut updates = Vec::new();
    for entry in items(&call["entry"]) {
        for change in items(&entry["changes"]) {
            let value = &change["value"];
            match change["field"].as_str() {
                Some("messages") => {
                    updates.extend(items(&value["messages"]).filter_map(closed).map(Update::Closed))
                }
                Some("flows") => {
                    let at_s = entry["time"].as_i64().unwrap_or(0);
                    updates.extend(Event::read(value, at_s).into_iter().map(Update::Event));
                }
                _ => {}
            }
        }
    }
    updates.truncate(MAX_UPDATES);
    Some(updates)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// `nfm_reply` of a flow (WhatsApp Flows reference 7.5). Other kinds of it exist and are not ours.
fn closed(message: &Value) -> Option<Closed> {
    let reply = &message["interactive"]["nfm_reply"];
    if message["interactive"]["type"] != "nfm_reply"
        || reply["name"].as_str().is_some_and(|name| name != "flow")
    {
        return None;
    }
    let id = message["id"].as_str().filter(|id| (1..=MAX_ID_CHARS).contains(&id.len()))?;
    // A string with JSON in it; a media page prints it as an object.
    let params = match &reply["response_json"] {
        Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        other => other.clone(),
    };
    let submission = params["submission_id"].as_str().and_then(|text| Uuid::parse_str(text).ok());
    let token = params["flow_token"].as_str().filter(|token| !token.is_empty()).map(str::to_owned);
    Some(Closed { message: id.to_owned(), submission, token })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn call(response: Value) -> Vec<u8> {
        let reply = json!({"name": "flow", "body": "Sent", "response_json": response});
        // WhatsApp Flows reference 7.5.
        json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": {
            "messaging_product": "whatsapp", "metadata": {"display_phone_number": "1", "phone_number_id": "2"},
            "contacts": [{"profile": {"name": "Ada"}, "wa_id": "15551234567", "user_id": "US.1234"}],
            "messages": [
                {"from": "15551234567", "id": "wamid.A", "timestamp": "1764000000", "type": "text", "text": {"body": "hi"}},
                {"from": "15551234567", "from_user_id": "US.1234", "id": "wamid.B", "timestamp": "1764000000",
                 "type": "interactive", "context": {"from": "1", "id": "wamid.A"},
                 "interactive": {"type": "nfm_reply", "nfm_reply": reply}}],
        }}]}]})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn the_message_of_a_closed_flow_is_read_whether_its_answer_is_text_or_an_object() {
        let id = "01234567-89ab-8def-8123-456789abcdef";
        let params = json!({"flow_token": "token", "submission_id": id, "summary": "Thanks"});
        let expected =
            Closed { message: "wamid.B".into(), submission: id.parse().ok(), token: Some("token".into()) };
        assert_eq!(read(&call(json!(params.to_string()))), Some(vec![Update::Closed(expected.clone())]));
        assert_eq!(read(&call(params)), Some(vec![Update::Closed(expected)]));
    }

    #[test]
    fn foreign_flows_have_no_submission_and_other_replies_are_passed_over() {
        for response in [
            json!("{\"screen_0_Name_0\":\"Ada\"}"),
            json!("no JSON"),
            json!(7),
            json!({"submission_id": "x"}),
        ] {
            let foreign = Closed { message: "wamid.B".into(), submission: None, token: None };
            assert_eq!(read(&call(response.clone())), Some(vec![Update::Closed(foreign)]), "{response}");
        }
        let address =
            String::from_utf8(call(json!("{}"))).expect("text").replace("\"flow\"", "\"address_message\"");
        assert_eq!(read(address.as_bytes()), Some(vec![]));
        assert_eq!(read(b"{\"object\": \"page\", \"entry\": []}"), None);
        assert_eq!(read(b"{\"object\": \"whatsapp_business_account\"}"), Some(vec![]));
        assert_eq!(read(b"[]"), None);
        assert_eq!(read(b"\xff"), None);
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_read_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _read = read(&body);
        }
    }
}

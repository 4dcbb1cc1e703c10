//! Grade C: what Typeform would have told the customer's own endpoint of a response (form tools reference, 3.3).
//!
//! Invariant: the body has Typeform's shape and Typeform's signature, and says by hidden fields that the response came from
//! WhatsApp: it exists nowhere in Typeform. Every attempt of a
//! delivery has the same body and the same `event_id`.
//!
//! What it deliberately does not do: it calls none of the renderer's private endpoints, and it passes no files on, whose
//! addresses hold encrypted bytes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use url::Url;

use super::fields::{self, Field};
use super::{Reader, list, recognise, text};
use crate::client::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use crate::client::{AddressPolicy, Client, Error, Method, Request, StatusCode};
use crate::connector::ImportError;
use crate::crypto::BodySignature;
use crate::outbox::{
    Answer, Attempting, Call, DeliveryKey, Destination, DestinationId, Grade, Outcome, Submission,
    retry_after,
};

/// The endpoint of a customer that expects Typeform's `form_response` webhooks.
pub struct FormResponse {
    /// Its name.
    pub id: DestinationId,
    /// Where to; often a secret itself.
    pub url: Url,
    /// What the customer checks `Typeform-Signature` with; `None` sends none, as Typeform does.
    pub secret: Option<SecretString>,
    /// The forms, by flow id.
    pub definitions: BTreeMap<String, Definition>,
    /// Whether it may be in a private network.
    pub policy: AddressPolicy,
    /// By which client.
    pub client: Client,
}

/// What a `form_response` tells of its form.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    id: String,
    title: String,
    fields: Vec<Leaf>,
    endings: Vec<Value>,
}

/// A field that is answered.
#[derive(Debug, Clone, PartialEq)]
struct Leaf {
    key: String,
    /// `{id, ref, type}`, as far as the definition has them.
    reference: Value,
    /// As `definition.fields` shows it.
    shown: Value,
    kind: String,
    /// `{id, ref, label}` of each option, by our id of it.
    choices: Vec<(String, Value)>,
}

impl Definition {
    /// Reads the definition that the flow was made from.
    ///
    /// # Errors
    /// [`ImportError`], as when the form is imported.
    pub fn read(definition: &[u8]) -> Result<Definition, ImportError> {
        let json: Value =
            serde_json::from_slice(definition).map_err(|error| ImportError::Json(error.to_string()))?;
        recognise(&json)?;
        // The notes were taken when the form was imported.
        let mut reader = Reader::new(&json);
        let tree = fields::tree(list(&json, "fields"), &mut reader.notes);
        reader.know(&tree);
        let mut leaves = Vec::new();
        collect(&mut reader, &tree, &mut leaves);
        let endings = list(&json, "thankyou_screens").iter().map(|screen| {
            let mut ending = some(screen, &["id", "ref", "title", "type"]);
            ending.entry("properties").or_insert_with(|| json!({}));
            Value::Object(ending)
        });
        Ok(Definition {
            id: text(&json, "id").unwrap_or_default().to_owned(),
            title: text(&json, "title").unwrap_or_default().to_owned(),
            fields: leaves,
            endings: endings.collect(),
        })
    }
}

fn collect<'j>(reader: &mut Reader<'j>, fields: &[Field<'j>], leaves: &mut Vec<Leaf>) {
    for field in fields {
        if field.is_answered() {
            let reference = some(field.json, &["id", "type", "ref"]);
            let mut shown = some(field.json, &["id", "ref", "type", "title"]);
            shown.insert("properties".to_owned(), json!({}));
            let identified = reader.identified(field).into_iter();
            let choices: Vec<(String, Value)> = identified
                .map(|(option, choice)| (option.id, Value::Object(some(choice, &["id", "label", "ref"]))))
                .collect();
            if !choices.is_empty() {
                let choices: Vec<&Value> = choices.iter().map(|(_, choice)| choice).collect();
                shown.insert("choices".to_owned(), json!(choices));
                // The webhook says it in the plural, the definition does not.
                for (from, to) in [
                    ("allow_multiple_selection", "allow_multiple_selections"),
                    ("allow_other_choice", "allow_other_choice"),
                ] {
                    if let Some(value) = field.properties().get(from).filter(|value| value.is_boolean()) {
                        shown.insert(to.to_owned(), value.clone());
                    }
                }
            }
            leaves.push(Leaf {
                key: field.key.clone(),
                reference: Value::Object(reference),
                shown: Value::Object(shown),
                kind: field.kind.to_owned(),
                choices,
            });
        }
        collect(reader, &field.children, leaves);
    }
}

/// The members with these names that are there.
fn some(json: &Value, names: &[&str]) -> Map<String, Value> {
    names.iter().filter_map(|name| Some(((*name).to_owned(), json.get(*name)?.clone()))).collect()
}

impl std::fmt::Debug for FormResponse {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("FormResponse").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Destination for FormResponse {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn grade(&self) -> Grade {
        Grade::C
    }

    fn deliver<'a>(&'a self, call: Call<'a>) -> Attempting<'a> {
        Box::pin(self.post(call))
    }
}

impl FormResponse {
    async fn post(&self, call: Call<'_>) -> Outcome {
        let Some(definition) = self.definitions.get(&call.submission.flow_id) else {
            return Outcome::refused("form", None, "the flow of this submission has no Typeform definition");
        };
        let mut request = match definition.request(self.url.clone(), self.secret.as_ref(), call) {
            Ok(request) => request,
            Err(error) => return Outcome::refused(error.class(), None, error.to_string()),
        };
        request.policy = self.policy;
        match self.client.request(request).await {
            Ok(response) => answered(response.status, retry_after(&response.headers)),
            Err(error) if error.is_retryable() => Outcome::retry(error.class(), None, None),
            Err(error) => Outcome::refused(error.class(), None, error.to_string()),
        }
    }
}

/// Typeform's own rules: 2xx is success, 404 and 410 switch the webhook off, anything else is tried again.
pub(super) fn answered(status: StatusCode, after_ms: Option<i64>) -> Outcome {
    let code = Some(status.as_u16());
    match status {
        status if status.is_success() => Outcome::delivered(code),
        StatusCode::NOT_FOUND | StatusCode::GONE => Outcome::refused(
            "gone",
            code,
            "the endpoint answered that it is gone, which would switch a webhook of Typeform off; mend its address, then replay",
        ),
        _ => Outcome::retry("status", code, after_ms),
    }
}

impl Definition {
    /// The form's id in Typeform.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The call that tells an endpoint of a submission.
    pub(super) fn request(
        &self,
        url: Url,
        secret: Option<&SecretString>,
        call: Call<'_>,
    ) -> Result<Request, Error> {
        let body = self.body(call.submission, call.key).to_string();
        let signature = secret.map(|secret| BodySignature::sha256(secret, body.as_bytes()));
        let mut request = Request::new(Method::POST, url, body, call.deadline);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers.insert(USER_AGENT, HeaderValue::from_static("Typeform Webhooks"));
        match signature {
            None => Ok(request),
            Some(signature) => request.header("typeform-signature", &signature),
        }
    }

    /// The `form_response` of a submission.
    fn body(&self, submission: &Submission, key: DeliveryKey) -> Value {
        let answers: Vec<Value> = submission
            .answers
            .iter()
            .filter_map(|answer| match self.fields.iter().find(|leaf| leaf.key == answer.key) {
                Some(leaf) => leaf.answer(answer),
                // Asked by an older version of the form: told in words, so that it is not lost.
                None => Some(json!({
                    "type": "text",
                    "text": answer.text,
                    "field": {"ref": answer.key, "type": "short_text"},
                })),
            })
            .collect();
        let mut hidden: Map<String, Value> =
            submission.hidden.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        hidden.insert("source".to_owned(), json!("whatsapp"));
        for (name, value) in submission.facts() {
            // The phone number is the person's; whoever wants it asks for it.
            if name != "wa_phone" {
                hidden.entry(name).or_insert_with(|| json!(value));
            }
        }
        let variables = submission.variables.iter().map(|(name, value)| match value {
            Value::Number(number) => json!({"key": name, "type": "number", "number": number}),
            Value::String(text) => json!({"key": name, "type": "text", "text": text}),
            other => json!({"key": name, "type": "text", "text": other.to_string()}),
        });
        let mut response = json!({
            "form_id": self.id,
            "token": submission.id.to_string(),
            "landed_at": second(submission.started_at_ms),
            "submitted_at": second(submission.completed_at_ms),
            "hidden": hidden,
            "calculated": {"score": submission.variables.get("score").cloned().unwrap_or_else(|| json!(0))},
            "variables": variables.collect::<Vec<_>>(),
            "definition": {
                "id": self.id,
                "title": self.title,
                "fields": self.fields.iter().map(|leaf| &leaf.shown).collect::<Vec<_>>(),
                "endings": self.endings,
            },
            "answers": answers,
        });
        let ending = submission.ending.as_deref();
        if let Some(ending) =
            self.endings.iter().find(|known| ending.is_some() && text(known, "ref") == ending)
        {
            response["ending"] = Value::Object(some(ending, &["id", "ref"]));
        }
        json!({"event_id": ulid(key.to_bytes()), "event_type": "form_response", "form_response": response})
    }
}

impl Leaf {
    /// `None` for a file.
    fn answer(&self, answer: &Answer) -> Option<Value> {
        let (kind, value) = match self.kind.as_str() {
            "short_text" | "long_text" => ("text", answer.value.clone()),
            "email" => ("email", answer.value.clone()),
            "website" => ("url", answer.value.clone()),
            "phone_number" => ("phone_number", answer.value.clone()),
            "date" => ("date", answer.value.clone()),
            "number" | "rating" | "opinion_scale" | "nps" => ("number", answer.value.clone()),
            "yes_no" | "legal" => ("boolean", answer.value.clone()),
            "multiple_choice" | "picture_choice" | "dropdown" | "ranking" => match &answer.value {
                Value::Array(ids) => ("choices", self.several(ids, answer.other.as_deref())),
                id => ("choice", self.one(id, answer.other.as_deref())),
            },
            _ => return None,
        };
        Some(json!({"type": kind, kind: value, "field": self.reference}))
    }

    fn one(&self, id: &Value, other: Option<&str>) -> Value {
        match (other, self.choice(id)) {
            (Some(other), _) => json!({"other": other}),
            (None, Some(choice)) => choice.clone(),
            (None, None) => json!({"label": id}),
        }
    }

    fn several(&self, ids: &[Value], other: Option<&str>) -> Value {
        let known: Vec<&Value> = ids.iter().filter_map(|id| self.choice(id)).collect();
        let each = |name: &str| known.iter().filter_map(|choice| choice.get(name)).collect::<Vec<_>>();
        let mut several = json!({"ids": each("id"), "labels": each("label"), "refs": each("ref")});
        if let Some(other) = other {
            several["other"] = json!(other);
        }
        several
    }

    /// The option that an answer names.
    fn choice(&self, id: &Value) -> Option<&Value> {
        let id = id.as_str()?;
        self.choices.iter().find(|(known, _)| known == id).map(|(_, choice)| choice)
    }
}

/// To the second, in UTC, as Typeform writes times.
fn second(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map(|at| format!("{at:.0}")).unwrap_or_default()
}

/// 128 bits in Crockford's base 32, as a ULID is written.
fn ulid(bytes: [u8; 16]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let number = u128::from_be_bytes(bytes);
    let digit = |place: u32| char::from(DIGITS[usize::try_from((number >> (5 * place)) & 31).unwrap_or(0)]);
    (0..26).rev().map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_a_ulid() {
        // The example of the ULID specification, and its bounds.
        assert_eq!(ulid(0x0156_3DF3_6481_A0E0_9C94_5A90_0BD2_D9F5_u128.to_be_bytes()).len(), 26);
        assert_eq!(ulid([0; 16]), "0".repeat(26));
        assert_eq!(ulid([255; 16]), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
        assert_eq!(ulid(1_u128.to_be_bytes()), format!("{}1", "0".repeat(25)));
    }

    #[test]
    fn a_status_means_what_it_means_to_typeform() {
        use crate::outbox::Verdict;
        let verdict = |status: u16| answered(StatusCode::from_u16(status).expect("a status"), None).verdict;
        for status in [200, 204] {
            assert_eq!(verdict(status), Verdict::Delivered);
        }
        for status in [302, 400, 401, 408, 423, 429, 500, 503] {
            assert_eq!(verdict(status), Verdict::Retry { after_ms: None }, "{status}");
        }
        for status in [404, 410] {
            assert!(matches!(verdict(status), Verdict::Refused { .. }), "{status}");
        }
    }
}

//! The endpoint of a customer who has a webhook in Typeform: it takes what is signed and has Typeform's shape.
//!
//! Invariant: what is kept answers fields of the form only, each once and in the manner of its type.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use secrecy::SecretString;
use serde_json::Value;

use crate::crypto::{BodySignature, is_same};
use crate::server::{Request, Response, StatusCode, header};

/// What a webhook of the sandbox is signed with.
pub const WEBHOOK_SECRET: &str = "typeform-webhook-secret";
/// How many responses are kept.
const KEPT: usize = 100;

/// The endpoint. Cheap to clone; clones are one.
#[derive(Clone, Default)]
pub(in crate::sandbox) struct Received(Arc<Mutex<Vec<Value>>>);

impl Received {
    /// The `form_response` of each event, oldest first.
    pub(in crate::sandbox) fn all(&self) -> Vec<Value> {
        self.state().clone()
    }

    /// Takes an event of the form with this definition.
    pub(in crate::sandbox) fn take(&self, definition: &Value, request: &Request) -> Response {
        let signature = BodySignature::sha256(&SecretString::from(WEBHOOK_SECRET), &request.body);
        let given = request.header("typeform-signature").unwrap_or_default();
        if !is_same(given.as_bytes(), signature.as_bytes()) {
            return Response::text(StatusCode::UNAUTHORIZED, "Typeform-Signature is missing or wrong");
        }
        if request.header(header::CONTENT_TYPE) != Some("application/json") {
            return Response::empty(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        let event = match serde_json::from_slice::<Value>(&request.body) {
            Ok(event) => event,
            Err(error) => return Response::text(StatusCode::BAD_REQUEST, error.to_string()),
        };
        if let Err(reason) = check(definition, &event) {
            return Response::text(StatusCode::UNPROCESSABLE_ENTITY, reason);
        }
        let response = event["form_response"].clone();
        let mut kept = self.state();
        if kept.iter().any(|known| known["token"] == response["token"]) {
            return Response::empty(StatusCode::OK);
        }
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(response);
        Response::empty(StatusCode::OK)
    }

    fn state(&self) -> MutexGuard<'_, Vec<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The fields, those in groups, too.
fn fields(of: &Value) -> Vec<&Value> {
    list(of)
        .iter()
        .flat_map(|field| std::iter::once(field).chain(fields(&field["properties"]["fields"])))
        .collect()
}

fn check(definition: &Value, event: &Value) -> Result<(), String> {
    let response = &event["form_response"];
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    if event["event_type"] != "form_response" || !is_text(&event["event_id"]) {
        return Err("this is no form_response".to_owned());
    }
    if response["form_id"] != definition["id"] || response["definition"]["id"] != definition["id"] {
        return Err("it is another form's".to_owned());
    }
    for moment in ["landed_at", "submitted_at"] {
        let is_moment = response[moment].as_str().is_some_and(|at| at.parse::<jiff::Timestamp>().is_ok());
        if !is_moment {
            return Err(format!("{moment} is no moment"));
        }
    }
    if !is_text(&response["token"]) {
        return Err("token is missing".to_owned());
    }
    let (fields, mut seen) = (fields(&definition["fields"]), BTreeSet::new());
    for answer in list(&response["answers"]) {
        let id = answer["field"]["id"].as_str().unwrap_or_default();
        let field = fields.iter().find(|field| field["id"] == id).ok_or(format!("there is no field {id}"))?;
        if answer["field"]["type"] != field["type"] || answer["field"]["ref"] != field["ref"] {
            return Err(format!("field {id} is described as another one"));
        }
        if !seen.insert(id) {
            return Err(format!("field {id} is answered twice"));
        }
        fits(field, answer).map_err(|reason| format!("field {id} {reason}"))?;
    }
    Ok(())
}

/// Whether an answer is one of its field's type.
fn fits(field: &Value, answer: &Value) -> Result<(), &'static str> {
    let kind = answer["type"].as_str().ok_or("has an answer without a type")?;
    let value = answer.get(kind).ok_or("has an answer without a value")?;
    let wanted = match field["type"].as_str().unwrap_or_default() {
        "short_text" | "long_text" => "text",
        "dropdown" if answer["type"] == "text" => "text",
        "multiple_choice" | "picture_choice" if field["properties"]["allow_multiple_selection"] == true => {
            "choices"
        }
        "multiple_choice" | "picture_choice" | "dropdown" => "choice",
        "ranking" => "choices",
        "email" => "email",
        "phone_number" => "phone_number",
        "website" => "url",
        "date" => "date",
        "number" | "rating" | "opinion_scale" | "nps" => "number",
        "yes_no" | "legal" => "boolean",
        "file_upload" => "file_url",
        "matrix" | "contact_info" | "address" | "group" | "inline_group" => {
            return Err("is answered by its parts");
        }
        _ => return Ok(()),
    };
    if kind != wanted {
        return Err("is answered in the manner of another type");
    }
    let labels: Vec<&Value> =
        list(&field["properties"]["choices"]).iter().map(|choice| &choice["label"]).collect();
    let is_good = match kind {
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "choice" => labels.contains(&&value["label"]) || value["other"].is_string(),
        "choices" => {
            let known = |label: &Value| labels.contains(&label);
            list(&value["labels"]).iter().all(known)
                && (value["labels"].is_array() || value["other"].is_string())
        }
        "email" => value.as_str().is_some_and(|text| text.contains('@')),
        "date" => value.as_str().is_some_and(|text| text.parse::<jiff::civil::Date>().is_ok()),
        _ => value.is_string(),
    };
    if is_good { Ok(()) } else { Err("has a value that its type does not take") }
}

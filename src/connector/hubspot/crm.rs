//! Grade C for HubSpot: a contact, found or made by its e-mail address, and if wanted an object of one's own beside it
//! (form tools reference 1.4). No form is submitted: no notification is sent and no workflow of the form runs.
//!
//! Invariant: every call can be made again and changes nothing the second time. The contact is known by its address, the
//! object by the submission's id, and an association is there or not.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::deliver::{linked, midnight, usual};
use crate::client::{Method, Response};
use crate::connector::api::{Api, Asked, partly};
use crate::connector::json::{list, text};
use crate::form::Form;
use crate::form::mapping::Step;
use crate::outbox::{Answer, Attempting, Call, Destination, DestinationId, Grade, Outcome};

/// Where the API is.
pub const API: &str = "https://api.hubapi.com";
/// The type of contacts.
const CONTACT: &str = "0-1";
/// The property by which contacts are known.
const EMAIL: &str = "email";
/// Where an object holds the submission's id, unless the configuration says otherwise.
pub const OBJECT_ID: &str = "wa_submission_id";

/// Contacts and objects of an account.
#[derive(Debug)]
pub struct Crm {
    /// Its name as a destination.
    pub id: DestinationId,
    /// HubSpot's API, with a token that may write contacts.
    pub api: Api,
    /// An object that is made beside the contact.
    pub object: Option<Object>,
}

/// An object of the account's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its type, such as `2-7654321`.
    pub kind: String,
    /// Its property with unique values that holds the submission's id.
    pub id_property: String,
}

impl Destination for Crm {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn account(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.api.account)
    }

    fn grade(&self) -> Grade {
        Grade::C
    }

    fn deliver<'a>(&'a self, call: Call<'a>) -> Attempting<'a> {
        Box::pin(async move { self.write(call).await.unwrap_or_else(|outcome| outcome) })
    }
}

/// What the records get.
struct Records {
    contact: Map<String, Value>,
    object: Map<String, Value>,
}

impl Crm {
    /// Whether the answers of a form have their properties, under this mapping.
    ///
    /// # Errors
    /// Why not, in the words of the form's owner.
    pub fn fit(&self, form: &Form, mapping: &[(String, Step)]) -> Result<(), String> {
        let mut has_email = false;
        let mut place = |name: &str| match self.place(name) {
            Some((CONTACT, EMAIL)) => {
                has_email = true;
                true
            }
            place => place.is_some(),
        };
        for (_, question) in form.questions().filter(|(_, question)| question.kind.is_answered()) {
            let title = &question.title;
            let step = mapping.iter().find(|(name, _)| *name == question.key).map(|(_, step)| step);
            match step {
                Some(Step::Drop) => {}
                Some(Step::Rename(to)) if place(to) => {}
                Some(Step::Rename(to)) => {
                    return Err(format!("“{title}” is mapped to {to}, which is no property here"));
                }
                _ if form.tool == "hubspot" && place(&question.key) => {}
                _ => {
                    return Err(format!(
                        "“{title}” has no property: write mapping = {{ \"{}\" = \"property\" }}, or {{ drop = true }}",
                        question.key
                    ));
                }
            }
        }
        for (name, step) in mapping.iter().filter(|(_, step)| !matches!(step, Step::Drop | Step::Rename(_))) {
            let _made: &Step = step;
            if !place(name) {
                return Err(format!("the mapping makes {name}, which is no property here"));
            }
        }
        if has_email {
            Ok(())
        } else {
            Err("nothing is mapped to email, by which contacts are known".to_owned())
        }
    }

    /// The object type and property that a name means: `email`, `0-1/email`, `2-7654321/price`.
    fn place<'n>(&'n self, name: &'n str) -> Option<(&'n str, &'n str)> {
        let (kind, property) = name.split_once('/').unwrap_or((CONTACT, name));
        let is_known = kind == CONTACT || self.object.as_ref().is_some_and(|object| object.kind == kind);
        (is_known && !property.is_empty()).then_some((kind, property))
    }

    fn records(&self, call: Call<'_>) -> Result<Records, String> {
        let mut records = Records { contact: Map::new(), object: Map::new() };
        for answer in &call.submission.answers {
            // By its key: the words of a question may quote what was answered before it.
            let (kind, property) = self
                .place(&answer.key)
                .ok_or_else(|| format!("“{}” has no property; mend the mapping, then replay", answer.key))?;
            let value = match (answer.kind.as_str(), &answer.value) {
                ("file", Value::Array(items)) => {
                    tell_left_out(call, &answer.key, items);
                    let links = linked(answer);
                    if links.is_empty() {
                        continue;
                    }
                    links
                }
                _ => value(answer).ok_or_else(|| {
                    format!("“{}” has an answer of a kind that no property holds", answer.key)
                })?,
            };
            let record = if kind == CONTACT { &mut records.contact } else { &mut records.object };
            record.insert(property.to_owned(), value.into());
        }
        Ok(records)
    }

    async fn write(&self, call: Call<'_>) -> Result<Outcome, Outcome> {
        let unfit = |reason: String| Outcome::refused("mapping", None, reason);
        let Records { contact, object } = self.records(call).map_err(unfit)?;
        let Some(email) = contact.get(EMAIL).and_then(Value::as_str).map(str::to_owned) else {
            return Err(unfit("there is no e-mail address, by which contacts are known".to_owned()));
        };
        let (code, contact) = self.upsert("contacts", EMAIL, &email, contact, call).await?;
        let Some(made) = &self.object else { return Ok(Outcome::delivered(code)) };
        let id = call.submission.id.to_string();
        let object = self.upsert(&made.kind, &made.id_property, &id, object, call).await;
        let (_, object) = object.map_err(partly)?;
        let path =
            ["crm", "v4", "objects", "contacts", &contact, "associations", "default", &made.kind, &object];
        let response = self.api.call(Asked::send(Method::PUT, &path, &Value::Null, call.deadline)).await;
        let response = response.map_err(partly)?;
        match response.status.is_success() {
            true => Ok(Outcome::delivered(code)),
            false => Err(judge(&response)),
        }
    }

    /// Makes or changes one record, and tells its id.
    async fn upsert(
        &self,
        kind: &str,
        by: &str,
        id: &str,
        mut properties: Map<String, Value>,
        call: Call<'_>,
    ) -> Result<(Option<u16>, String), Outcome> {
        properties.insert(by.to_owned(), id.into());
        let body = json!({"inputs": [{
            "idProperty": by, "id": id, "properties": properties,
            "objectWriteTraceId": call.submission.id.to_string(),
        }]});
        let path = ["crm", "v3", "objects", kind, "batch", "upsert"];
        let response = self.api.call(Asked::send(Method::POST, &path, &body, call.deadline)).await?;
        let code = Some(response.status.as_u16());
        if response.status.as_u16() == 207 || !response.status.is_success() {
            return Err(judge(&response));
        }
        let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let made = list(&answer, "results").first().and_then(|result| text(result, "id"));
        // Something between us answers: nothing is sure, and all can be made again.
        let made = made.ok_or_else(|| Outcome::retry("answer", None, None))?;
        Ok((code, made.to_owned()))
    }
}

/// Says which files of an answer the record does not get: those that were refused, or that there is no link to.
fn tell_left_out(call: Call<'_>, key: &str, items: &[Value]) {
    for item in items.iter().filter(|item| text(item, "url").is_none()) {
        let reason = text(item, "reason").unwrap_or("there is no link to it");
        tracing::warn!(submission.id = %call.submission.id, question = key, reason, "HubSpot does not get a file");
    }
}

/// An answer that is no file, as HubSpot writes it.
fn value(answer: &Answer) -> Option<String> {
    match &answer.value {
        Value::Null => Some(String::new()),
        Value::String(text) if answer.kind == "date" => midnight(text),
        Value::String(text) if answer.kind == "date_time" => {
            let at: jiff::civil::DateTime = text.parse().ok()?;
            let at: Timestamp = jiff::tz::Offset::UTC.to_timestamp(at).ok()?;
            Some(at.as_millisecond().to_string())
        }
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(answer.value.to_string()),
        Value::Array(items) => Some(items.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?.join(";")),
        Value::Object(_) => Some(answer.text.clone()),
    }
}

/// What an answer other than success means. HubSpot's messages quote values, so only names of properties are told.
fn judge(response: &Response) -> Outcome {
    let code = Some(response.status.as_u16());
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    match response.status.as_u16() {
        207 | 400 | 409 => Outcome::refused("mapping", code, refusal(&body)),
        401 => Outcome::reconnect(
            "reconnect",
            code,
            "HubSpot does not accept the token: set a new one, then resume",
        ),
        403 => Outcome::reconnect(
            "reconnect",
            code,
            "the token may not write contacts or this object: grant crm.objects.contacts.write, and crm.objects.custom.write for an object, then resume",
        ),
        404 => Outcome::refused(
            "mapping",
            code,
            "HubSpot knows no such type of object; mend “object”, then replay",
        ),
        _ => usual(response.status, &response.headers, &body),
    }
}

fn refusal(body: &Value) -> String {
    let mut names = BTreeMap::new();
    let errors = list(body, "errors").iter().flat_map(|error| {
        let inner = list(error, "errors");
        if inner.is_empty() { std::slice::from_ref(error) } else { inner }
    });
    for error in errors {
        let context = error.get("context").and_then(|context| context.get("propertyName"));
        let named =
            context.and_then(|names| names.get(0)).and_then(Value::as_str).or_else(|| text(error, "in"));
        let is_name = |name: &str| {
            name.len() <= 100 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if let Some(name) = named.filter(|name| is_name(name)) {
            let why = text(error, "code").filter(|code| is_name(code)).unwrap_or("it does not say why");
            names.entry(name.to_owned()).or_insert_with(|| why.to_owned());
        }
    }
    if names.is_empty() {
        return "HubSpot refused the record and names no property; compare the mapping with the account's properties, then replay".to_owned();
    }
    let told: Vec<String> = names.iter().map(|(name, why)| format!("property {name} ({why})")).collect();
    format!("HubSpot refused {}; mend the mapping or the property, then replay", told.join(", "))
}

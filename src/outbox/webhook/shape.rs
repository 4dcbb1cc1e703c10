//! The three bodies a webhook can send: full, flat, lead (form tools reference 5.1 to 5.3).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::outbox::file::file_text;
use crate::outbox::submission::{Answer, Submission};

/// What the body of a webhook looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Shape {
    /// `{"type": "submission.completed", "timestamp": …, "data": submission}`.
    #[default]
    Full,
    /// One object of scalars, for tools that map fields by name.
    Flat {
        /// The questions of each flow by flow id, so that every key is there also when its question was not asked.
        fields: BTreeMap<String, Vec<Field>>,
    },
    /// `{"full_name", "phone", "email", "extra_fields"}`.
    Lead {
        /// The questions that hold the three, by flow id; what is not mapped is taken from the kind of question.
        fields: BTreeMap<String, LeadFields>,
    },
}

/// A question and its name in a flat body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The question's key.
    pub key: String,
    /// Its name in the body: from the mapping, or the [`slug`] of its text.
    pub name: String,
}

/// The keys of the questions that a lead is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeadFields {
    /// Holds the name.
    pub full_name: Option<String>,
    /// Holds the phone number; without one, the sender's own is taken.
    pub phone: Option<String>,
    /// Holds the e-mail address.
    pub email: Option<String>,
    /// What the other answers are called.
    pub names: Vec<Field>,
}

impl Shape {
    /// The body for a submission.
    #[must_use]
    pub fn render(&self, submission: &Submission) -> Value {
        match self {
            Self::Full => json!({
                "type": "submission.completed",
                "timestamp": rfc3339(submission.completed_at_ms),
                "data": submission,
            }),
            Self::Flat { fields } => {
                flat(submission, fields.get(&submission.flow_id).map_or(&[], Vec::as_slice))
            }
            Self::Lead { fields } => {
                lead(submission, &fields.get(&submission.flow_id).cloned().unwrap_or_default())
            }
        }
    }
}

/// A name for a field made from the text of its question: lower-case letters, digits and underscores.
#[must_use]
pub fn slug(question: &str) -> String {
    const MAX_CHARS: usize = 64;
    let mut slug = String::new();
    for character in question.chars().flat_map(char::to_lowercase) {
        if character.is_alphanumeric() {
            slug.push(character);
        } else if !slug.is_empty() && !slug.ends_with('_') {
            slug.push('_');
        }
    }
    let slug: String = slug.chars().take(MAX_CHARS).collect();
    let slug = slug.trim_end_matches('_');
    if slug.is_empty() { "field".to_owned() } else { slug.to_owned() }
}

fn flat(submission: &Submission, fields: &[Field]) -> Value {
    let phone = submission.contact.as_ref().and_then(|contact| contact.phone.clone()).unwrap_or_default();
    let mut body = Map::new();
    body.insert("submission_id".into(), submission.id.to_string().into());
    body.insert("flow_id".into(), submission.flow_id.clone().into());
    body.insert("completed_at".into(), rfc3339(submission.completed_at_ms).into());
    body.insert("contact_phone".into(), phone.into());
    for field in fields {
        let answer = submission.answers.iter().find(|answer| answer.key == field.key);
        insert_unique(&mut body, &field.name, answer.map_or_else(|| Value::from(""), scalar));
    }
    // A question the mapping does not know (a version published since) is not held back.
    for answer in unmapped(submission, |key| fields.iter().any(|field| field.key == key)) {
        insert_unique(&mut body, &slug(&answer.question), scalar(answer));
    }
    Value::Object(body)
}

fn lead(submission: &Submission, fields: &LeadFields) -> Value {
    let find = |mapped: &Option<String>, guess: &dyn Fn(&Answer) -> bool| match mapped {
        Some(key) => submission.answers.iter().find(|answer| answer.key == *key),
        None => submission.answers.iter().find(|answer| guess(answer)),
    };
    let kind_is =
        |kinds: &'static [&'static str]| move |answer: &Answer| kinds.contains(&answer.kind.as_str());
    let email = find(&fields.email, &kind_is(&["email"]));
    let phone = find(&fields.phone, &kind_is(&["phone", "phone_number"]));
    let named = |answer: &Answer| {
        let slug = slug(&answer.question);
        answer.value.is_string()
            && slug.split('_').any(|word| matches!(word, "name" | "nome" | "nombre" | "nom"))
    };
    let full_name = find(&fields.full_name, &named);

    let text = |answer: Option<&Answer>| answer.map(|answer| answer.text.clone()).unwrap_or_default();
    let sender = || submission.contact.as_ref().and_then(|contact| contact.phone.clone()).unwrap_or_default();
    let phone_text = Some(text(phone)).filter(|phone| !phone.is_empty()).unwrap_or_else(sender);
    let used = [full_name, phone, email].map(|answer| answer.map(|answer| answer.key.as_str()));
    let mut extra = Map::new();
    for answer in unmapped(submission, |key| used.contains(&Some(key))) {
        let known = fields.names.iter().find(|field| field.key == answer.key);
        let name = known.map_or_else(|| slug(&answer.question), |field| field.name.clone());
        insert_unique(&mut extra, &name, scalar(answer));
    }
    json!({ "full_name": text(full_name), "phone": phone_text, "email": text(email), "extra_fields": extra })
}

fn unmapped<'a>(
    submission: &'a Submission,
    mapped: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = &'a Answer> {
    submission.answers.iter().filter(move |answer| !mapped(&answer.key))
}

/// Numbers and truth values as they are; of everything else, what the person saw, so that option references and arrays
/// arrive as words.
fn scalar(answer: &Answer) -> Value {
    if let Some(text) = file_text(answer) {
        return text.into();
    }
    match &answer.value {
        Value::Number(_) | Value::Bool(_) => answer.value.clone(),
        Value::Array(items) if answer.text.is_empty() => {
            let items: Vec<String> = items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect();
            items.join(", ").into()
        }
        _ => answer.text.clone().into(),
    }
}

/// Two questions with the same text must not overwrite each other.
fn insert_unique(body: &mut Map<String, Value>, name: &str, value: Value) {
    let mut unique = name.to_owned();
    for number in 2.. {
        if !body.contains_key(&unique) {
            break;
        }
        unique = format!("{name}_{number}");
    }
    body.insert(unique, value);
}

fn rfc3339(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map(|timestamp| format!("{timestamp:.3}")).unwrap_or_default()
}

//! What a version of a flow sends to HubSpot: which answer is which property, and which consent was shown in which words.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde_json::{Map, Value, json};

use crate::form::{Form, Kind};
use crate::outbox::{Answer, Submission};

/// HubSpot refuses what is older than a month; a month has 28 days at least.
const MAX_AGE_MS: i64 = 28 * 24 * 3_600_000;

/// The property behind a question.
struct Property {
    object: String,
    name: String,
    title: String,
    is_date: bool,
    is_file: bool,
    required: bool,
}

/// A box for a kind of communication.
struct Communication {
    key: String,
    subscription: u64,
    text: String,
}

/// What stands in `legalConsentOptions`.
enum Consent {
    None,
    Processing { key: Option<String>, text: String, communications: Vec<Communication> },
    Legitimate { basis: &'static str, subscription: u64, text: String },
}

/// What a version of a flow sends.
pub struct Plan {
    form: Form,
    properties: BTreeMap<String, Property>,
    consent: Consent,
}

/// A submission that this form cannot take.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfit(pub String);

impl Plan {
    /// What this form sends.
    ///
    /// # Errors
    /// Why its submissions can never be written to HubSpot, in the words of the form's owner.
    pub fn of(form: &Form) -> Result<Plan, String> {
        if form.tool != "hubspot" {
            return Err(format!(
                "its form was made with {}, so its answers name no HubSpot properties",
                form.tool
            ));
        }
        let mut properties = BTreeMap::new();
        for (_, question) in form.questions().filter(|(_, question)| question.kind.is_answered()) {
            let Some((object, name)) =
                question.key.split_once('/').filter(|(object, _)| *object != "consent")
            else {
                continue;
            };
            let property = Property {
                object: object.to_owned(),
                name: name.to_owned(),
                title: question.title.clone(),
                is_date: matches!(question.kind, Kind::Date { .. }),
                is_file: matches!(question.kind, Kind::File(_)),
                required: question.required,
            };
            properties.insert(question.key.clone(), property);
        }
        let consent = consent(form)?;
        Ok(Plan { form: form.clone(), properties, consent })
    }

    /// The questions that are answered by files.
    pub fn file_questions(&self) -> impl Iterator<Item = &str> {
        self.properties.values().filter(|property| property.is_file).map(|property| property.title.as_str())
    }

    /// The answers that are files, each with its question.
    pub(super) fn files<'s>(
        &'s self,
        submission: &'s Submission,
    ) -> impl Iterator<Item = (&'s Answer, &'s str)> {
        submission.answers.iter().filter_map(|answer| {
            let property = self.properties.get(&answer.key).filter(|property| property.is_file)?;
            Some((answer, property.title.as_str()))
        })
    }

    /// The title of the question behind a property.
    pub(super) fn title(&self, name: &str) -> Option<&str> {
        self.properties
            .values()
            .find(|property| property.name == name)
            .map(|property| property.title.as_str())
    }

    /// The body of the call.
    pub(super) fn render(
        &self,
        submission: &Submission,
        files: &BTreeMap<String, String>,
        page: &str,
        now_ms: i64,
    ) -> Result<Value, Unfit> {
        let mut fields = Vec::new();
        let mut add = |object: &str, name: &str, value: String| {
            if !value.is_empty() {
                fields.push(json!({"objectTypeId": object, "name": name, "value": value}));
            }
        };
        for answer in submission.answers.iter().filter(|answer| !answer.key.starts_with("consent/")) {
            let property = self
                .properties
                .get(&answer.key)
                .ok_or_else(|| Unfit(format!("“{}” is no property of HubSpot's", answer.key)))?;
            let value = match files.get(&answer.key).filter(|_| property.is_file) {
                // HubSpot would only say that it is required.
                Some(none) if none.is_empty() && property.required => {
                    return Err(property.without_file(answer));
                }
                Some(addresses) => addresses.clone(),
                None => property.value(answer)?,
            };
            add(&property.object, &property.name, value);
        }
        let facts = submission.facts();
        // `wa_submission_id`, where a form has it, is the only place in HubSpot that can be searched.
        for hidden in &self.form.hidden {
            let Some((object, name)) = hidden.key.split_once('/') else { continue };
            let own = facts.iter().find(|(fact, _)| fact == name).map(|(_, value)| value.clone());
            let value = submission.hidden.get(&hidden.key).filter(|value| !value.is_empty()).cloned();
            add(object, name, value.or(own).unwrap_or_default());
        }
        let mut body = Map::new();
        if now_ms.saturating_sub(submission.completed_at_ms) < MAX_AGE_MS {
            body.insert("submittedAt".to_owned(), json!(submission.completed_at_ms.to_string()));
        }
        body.insert("fields".to_owned(), fields.into());
        let name = format!("WhatsApp: {}", submission.form.title);
        body.insert("context".to_owned(), json!({"pageUri": page, "pageName": name}));
        if let Some(consent) = self.consent(submission) {
            body.insert("legalConsentOptions".to_owned(), consent);
        }
        Ok(body.into())
    }

    fn consent(&self, submission: &Submission) -> Option<Value> {
        let ticked = |key: &str| {
            let answer = submission.answers.iter().find(|answer| answer.key == key);
            answer.is_some_and(|answer| answer.value == Value::Bool(true))
        };
        match &self.consent {
            Consent::None => None,
            Consent::Processing { key, text, communications } => {
                let communications: Vec<Value> = communications
                    .iter()
                    .map(|one| {
                        json!({"value": ticked(&one.key), "subscriptionTypeId": one.subscription, "text": one.text})
                    })
                    .collect();
                // Without a box it is submitting that consents.
                let given = key.as_deref().is_none_or(ticked);
                Some(json!({"consent": {
                    "consentToProcess": given, "text": text, "communications": communications,
                }}))
            }
            Consent::Legitimate { basis, subscription, text } => Some(json!({"legitimateInterest": {
                "value": true, "subscriptionTypeId": subscription, "legalBasis": basis, "text": text,
            }})),
        }
    }
}

impl Property {
    /// Why there is no file where there has to be one.
    fn without_file(&self, answer: &Answer) -> Unfit {
        let items = answer.value.as_array().into_iter().flatten();
        let reasons: Vec<&str> = items.filter_map(|item| item.get("reason")?.as_str()).collect();
        let reasons =
            if reasons.is_empty() { "there is no link to it".to_owned() } else { reasons.join("; ") };
        Unfit(format!(
            "“{}” requires a file, and HubSpot cannot get the one that was picked: {reasons}",
            self.title
        ))
    }

    /// The answer as HubSpot writes it.
    fn value(&self, answer: &Answer) -> Result<String, Unfit> {
        let unfit = || Unfit(format!("“{}” has an answer of a kind that HubSpot has not", self.title));
        match &answer.value {
            Value::Null => Ok(String::new()),
            Value::String(text) if self.is_date => midnight(text).ok_or_else(unfit),
            Value::String(text) => Ok(text.clone()),
            value @ (Value::Bool(_) | Value::Number(_)) => Ok(value.to_string()),
            Value::Array(items) => {
                let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                texts.map(|texts| texts.join(";")).ok_or_else(unfit)
            }
            Value::Object(_) => Err(unfit()),
        }
    }
}

/// Milliseconds at midnight UTC, so that no time zone moves the day.
pub(in crate::connector::hubspot) fn midnight(date: &str) -> Option<String> {
    let date: Date = date.parse().ok()?;
    let at = jiff::tz::Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?;
    Some(at.as_millisecond().to_string())
}

/// The consent of a form, found by the keys that the reader made.
fn consent(form: &Form) -> Result<Consent, String> {
    let mut process = None;
    let mut communications = Vec::new();
    for (_, question) in form.questions() {
        let Some(what) = question.key.strip_prefix("consent/") else { continue };
        let number = |id: &str| {
            id.parse::<u64>().map_err(|_| format!("its subscription “{id}” is not one of HubSpot's numbers"))
        };
        match (&question.kind, what.split_once('/').unwrap_or((what, ""))) {
            (Kind::Consent { text, .. }, ("process", "")) => {
                process = Some((Some(question.key.clone()), text.clone()));
            }
            (Kind::Statement, ("implicit", "")) => {
                process = Some((None, question.help.clone().unwrap_or_default()));
            }
            (Kind::Consent { text, .. }, ("communication", id)) => communications.push(Communication {
                key: question.key.clone(),
                subscription: number(id)?,
                text: text.clone(),
            }),
            (Kind::Statement, ("legitimate", rest)) => {
                let (basis, id) = rest.split_once('/').unwrap_or((rest, ""));
                let basis = match basis {
                    "lead" => "LEAD",
                    "client" => "CUSTOMER",
                    other => {
                        return Err(format!(
                            "its legal basis is “{other}”, and HubSpot's submissions know only lead and client"
                        ));
                    }
                };
                let text = question.help.clone().unwrap_or_default();
                return Ok(Consent::Legitimate { basis, subscription: number(id)?, text });
            }
            _ => {}
        }
    }
    Ok(match process {
        Some((key, text)) => Consent::Processing { key, text, communications },
        None => Consent::None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_its_own_midnight_in_utc() {
        assert_eq!(midnight("2027-01-01").as_deref(), Some("1798761600000"));
        assert_eq!(midnight("1969-12-31").as_deref(), Some("-86400000"));
        assert_eq!(midnight("tomorrow"), None);
    }
}

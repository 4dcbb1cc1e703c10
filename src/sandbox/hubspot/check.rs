//! What HubSpot refuses, with the error types of its documentation.

use jiff::Timestamp;
use serde_json::Value;

/// Beyond it `INPUT_TOO_LARGE`.
const MAX_CHARS: usize = 65_000;
const MAX_FIELDS: usize = 1_000;
const MONTH_MS: i64 = 30 * 24 * 3_600_000;
const DAY_MS: i64 = 24 * 3_600_000;

/// An error type and its message.
type Refusal = (&'static str, String);

/// A form of the account.
pub(super) struct Form {
    pub guid: String,
    fields: Vec<Field>,
    consent: Value,
    captcha: bool,
}

struct Field {
    object: String,
    name: String,
    kind: String,
    required: bool,
    options: Vec<String>,
    definition: Value,
    /// The parent's object and name, and the condition on it.
    shown_if: Option<(String, String, Value)>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Milliseconds, as a number or in a text.
pub(super) fn milliseconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

impl Form {
    pub(super) fn of(definition: &Value) -> Form {
        let mut form = Form {
            guid: text(&definition["id"]),
            fields: Vec::new(),
            consent: definition["legalConsentOptions"].clone(),
            captcha: definition["configuration"]["recaptchaEnabled"] == true,
        };
        for group in items(&definition["fieldGroups"]) {
            for field in items(&group["fields"]) {
                form.add(field, None);
            }
        }
        form
    }

    fn add(&mut self, field: &Value, shown_if: Option<(String, String, Value)>) {
        let object = field["objectTypeId"].as_str().unwrap_or("0-1").to_owned();
        let name = text(&field["name"]);
        if name.is_empty() {
            return;
        }
        for dependent in items(&field["dependentFields"]) {
            let condition = dependent["dependentCondition"].clone();
            self.add(&dependent["dependentField"], Some((object.clone(), name.clone(), condition)));
        }
        self.fields.push(Field {
            kind: text(&field["fieldType"]),
            required: field["required"] == true,
            options: items(&field["options"]).map(|option| text(&option["value"])).collect(),
            definition: field.clone(),
            object,
            name,
            shown_if,
        });
    }

    /// Everything that is wrong with a submission.
    pub(super) fn check(&self, body: &Value) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        if self.captcha {
            refusals.push(("FORM_HAS_RECAPTCHA_ENABLED", "The form has reCAPTCHA enabled".to_owned()));
        }
        let known = ["submittedAt", "fields", "context", "legalConsentOptions"];
        for name in body.as_object().into_iter().flat_map(|body| body.keys()) {
            if !known.contains(&name.as_str()) {
                refusals.push(("INVALID_METADATA", format!("Unknown member '{name}'")));
            }
        }
        let age_ms = milliseconds(&body["submittedAt"]).map(|at| Timestamp::now().as_millisecond() - at);
        let is_sound =
            body["submittedAt"].is_null() || age_ms.is_some_and(|age| (-DAY_MS..MONTH_MS).contains(&age));
        if !is_sound {
            refusals.push(("INVALID_METADATA", "submittedAt is too old or no time".to_owned()));
        }
        self.context(&body["context"], &mut refusals);
        self.fields(&body["fields"], &mut refusals);
        self.consent(&body["legalConsentOptions"], &mut refusals);
        refusals
    }

    fn context(&self, context: &Value, refusals: &mut Vec<Refusal>) {
        for (name, value) in context.as_object().into_iter().flatten() {
            match name.as_str() {
                "pageUri" if value.as_str().is_none_or(|uri| url::Url::parse(uri).is_err()) => {
                    refusals.push(("INVALID_PAGE_URI", "pageUri is no URL".to_owned()));
                }
                "pageUri" | "pageName" if value.is_string() => {}
                "hutk" => refusals.push(("INVALID_HUTK", "hutk is no tracking cookie".to_owned())),
                "ipAddress" => {
                    refusals.push(("INVALID_IP_ADDRESS", "ipAddress is not the visitor's".to_owned()))
                }
                _ => refusals.push(("INVALID_METADATA", format!("Unknown context '{name}'"))),
            }
        }
    }

    fn fields(&self, sent: &Value, refusals: &mut Vec<Refusal>) {
        let Some(sent) = sent.as_array() else {
            refusals.push(("REQUIRED_FIELD", "There are no fields".to_owned()));
            return;
        };
        if sent.len() > MAX_FIELDS {
            refusals.push(("MAX_NUMBER_OF_SUBMITTED_VALUES_EXCEEDED", "Too many values".to_owned()));
        }
        for one in sent {
            let (object, name) = (one["objectTypeId"].as_str().unwrap_or("0-1"), text(&one["name"]));
            let found = self.fields.iter().find(|field| field.object == object && field.name == name);
            match (found, one["value"].as_str()) {
                (None, _) => refusals.push((
                    "FIELD_NOT_IN_FORM_DEFINITION",
                    format!("Error in 'fields.{name}'. The field is not on the form"),
                )),
                (Some(_), None) => refusals.push((
                    "VALUE_NOT_IN_FIELD_DEFINITION",
                    format!("Error in 'fields.{name}'. The value is not a string"),
                )),
                (Some(field), Some(value)) => {
                    // As the real one does, the message quotes the value.
                    let kind = field.refuses(value);
                    refusals.extend(
                        kind.map(|kind| {
                            (kind, format!("Error in 'fields.{name}'. \"{value}\" is not valid"))
                        }),
                    );
                }
            }
        }
        let value_of = |object: &str, name: &str| {
            let found = sent
                .iter()
                .find(|one| one["objectTypeId"].as_str().unwrap_or("0-1") == object && one["name"] == name)?;
            found["value"].as_str().filter(|value| !value.is_empty())
        };
        for field in self.fields.iter().filter(|field| field.required) {
            let is_shown = match &field.shown_if {
                None => true,
                Some((object, name, condition)) => {
                    value_of(object, name).is_some_and(|value| holds(condition, value))
                }
            };
            if is_shown && value_of(&field.object, &field.name).is_none() {
                let name = &field.name;
                refusals
                    .push(("REQUIRED_FIELD", format!("Error in 'fields.{name}'. Required field is missing")));
            }
        }
    }

    /// The texts must be those of the form, as a person reads them.
    fn consent(&self, sent: &Value, refusals: &mut Vec<Refusal>) {
        let kind = self.consent["type"].as_str().unwrap_or("none");
        let mut refuse =
            |kind: &'static str| refusals.push((kind, format!("Error in 'legalConsentOptions': {kind}")));
        let processing = &sent["consent"];
        let interest = &sent["legitimateInterest"];
        match kind {
            "none" => {
                if !sent.is_null() {
                    refuse("INVALID_LEGAL_OPTION_FORMAT");
                }
            }
            "legitimate_interest" => {
                if !interest.is_object() || !processing.is_null() {
                    return refuse("INVALID_LEGAL_OPTION_FORMAT");
                }
                if interest["text"].as_str().is_none_or(str::is_empty)
                    || !is_of(&interest["text"], &self.consent["privacyText"])
                {
                    refuse("MISSING_LEGITIMATE_INTEREST_TEXT");
                }
                let subscription = &interest["subscriptionTypeId"];
                let known = items(&self.consent["subscriptionTypeIds"]).any(|id| id == subscription);
                let basis = matches!(interest["legalBasis"].as_str(), Some("CUSTOMER" | "LEAD"));
                if !known || !basis || interest["value"] != true {
                    refuse("INVALID_LEGAL_OPTION_FORMAT");
                }
            }
            _ => {
                if !processing.is_object() || !interest.is_null() {
                    return refuse("INVALID_LEGAL_OPTION_FORMAT");
                }
                if processing["consentToProcess"] != true {
                    refuse("MISSING_PROCESSING_CONSENT");
                }
                let label = &self.consent["consentToProcessCheckboxLabel"];
                let wanted = if label.is_string() { label } else { &self.consent["consentToProcessText"] };
                if !is_of(&processing["text"], wanted) {
                    refuse("MISSING_PROCESSING_CONSENT_TEXT");
                }
                self.communications(&processing["communications"], &mut refuse);
            }
        }
    }

    fn communications(&self, sent: &Value, refuse: &mut impl FnMut(&'static str)) {
        let mut seen = Vec::new();
        let boxes: Vec<&Value> = items(&self.consent["communicationsCheckboxes"]).collect();
        for one in items(sent) {
            let id = &one["subscriptionTypeId"];
            if seen.contains(&id) {
                refuse("DUPLICATE_SUBSCRIPTION_TYPE_ID");
            }
            seen.push(id);
            let known = boxes.iter().find(|known| known["subscriptionTypeId"] == *id);
            match known {
                None => refuse("INVALID_LEGAL_OPTION_FORMAT"),
                Some(known) if !is_of(&one["text"], &known["label"]) => {
                    refuse("MISSING_COMMUNICATION_CONSENT_TEXT")
                }
                Some(known) if known["required"] == true && one["value"] != true => {
                    refuse("INVALID_LEGAL_OPTION_FORMAT");
                }
                Some(_) if !one["value"].is_boolean() => refuse("INVALID_LEGAL_OPTION_FORMAT"),
                Some(_) => {}
            }
        }
        if boxes.iter().any(|known| !seen.contains(&&known["subscriptionTypeId"])) {
            refuse("MISSING_COMMUNICATION_CONSENT_TEXT");
        }
    }
}

/// Whether a text says what an HTML text says: every word of it that stands outside of tags, in its order.
fn is_of(sent: &Value, html: &Value) -> bool {
    let (Some(sent), Some(html)) = (sent.as_str().filter(|sent| !sent.is_empty()), html.as_str()) else {
        return false;
    };
    let mut words = Vec::new();
    for part in html.split('<') {
        let outside = part.split_once('>').map_or(part, |(_, outside)| outside);
        words.extend(outside.split_whitespace().map(|word| word.replace("&amp;", "&")));
    }
    let mut rest = sent;
    words.iter().all(|word| match rest.split_once(word.as_str()) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

/// The conditions that the sandbox needs to know what is required.
fn holds(condition: &Value, value: &str) -> bool {
    let wanted = text(&condition["value"]);
    let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
    match condition["operator"].as_str().unwrap_or_default() {
        "eq" => value == wanted,
        "neq" => value != wanted,
        "gte" => number(value) >= number(&wanted),
        "set_any" => items(&condition["values"]).any(|one| one == value),
        "is_not_empty" => true,
        _ => false,
    }
}

impl Field {
    /// The error type for a value that the field does not take.
    fn refuses(&self, value: &str) -> Option<&'static str> {
        let digits = value.bytes().filter(u8::is_ascii_digit).count() as u64;
        let validation = &self.definition["validation"];
        let out_of_range = || {
            let (min, max) = (&validation["minAllowedDigits"], &validation["maxAllowedDigits"]);
            min.as_u64().is_some_and(|min| digits < min) || max.as_u64().is_some_and(|max| digits > max)
        };
        if value.chars().count() > MAX_CHARS {
            return Some("INPUT_TOO_LARGE");
        }
        match self.kind.as_str() {
            // A hidden field is filled by a script; its options still count.
            "email" => {
                let domain = value.split_once('@').map(|(_, domain)| domain);
                let blocked =
                    |domain: &str| items(&validation["blockedEmailDomains"]).any(|known| known == domain);
                match domain {
                    None => Some("INVALID_EMAIL"),
                    Some(domain) if !domain.contains('.') => Some("INVALID_EMAIL"),
                    Some(domain) if blocked(domain) => Some("BLOCKED_EMAIL"),
                    Some(_) => None,
                }
            }
            "phone" | "mobile_phone" => out_of_range().then_some("NUMBER_OUT_OF_RANGE"),
            "number" if value.parse::<f64>().is_err() => Some("INVALID_NUMBER"),
            "number" => out_of_range().then_some("NUMBER_OUT_OF_RANGE"),
            "single_checkbox" => {
                (!matches!(value, "true" | "false")).then_some("VALUE_NOT_IN_FIELD_DEFINITION")
            }
            "dropdown" | "radio" if self.definition["hidden"] != true => {
                (!self.options.iter().any(|option| option == value))
                    .then_some("VALUE_NOT_IN_FIELD_DEFINITION")
            }
            "multiple_checkboxes" | "dropdown" | "radio" => {
                // An option's value may hold a semicolon itself, so the options are taken off one by one.
                let mut rest = value;
                while !rest.is_empty() {
                    let longest = self.options.iter().filter(|option| {
                        !option.is_empty()
                            && rest
                                .strip_prefix(option.as_str())
                                .is_some_and(|after| after.is_empty() || after.starts_with(';'))
                    });
                    let Some(option) = longest.max_by_key(|option| option.len()) else {
                        return Some("VALUE_NOT_IN_FIELD_DEFINITION");
                    };
                    rest = rest.get(option.len()..).unwrap_or_default();
                    rest = rest.strip_prefix(';').unwrap_or(rest);
                }
                None
            }
            "datepicker" => {
                let day = value.parse::<jiff::civil::Date>().is_ok();
                let midnight = value.parse::<i64>().is_ok_and(|at| at.rem_euclid(DAY_MS) == 0);
                (!day && !midnight).then_some("VALUE_NOT_IN_FIELD_DEFINITION")
            }
            // Addresses of files that are somewhere already.
            "file" => {
                let is_address = |part: &str| url::Url::parse(part).is_ok_and(|url| url.has_host());
                (!value.split(';').all(is_address)).then_some("VALUE_NOT_IN_FIELD_DEFINITION")
            }
            "payment_link_radio" => Some("VALUE_NOT_IN_FIELD_DEFINITION"),
            _ => None,
        }
    }
}

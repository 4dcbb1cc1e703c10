//! HubSpot forms: definitions as `GET /marketing/v3/forms/{id}`, the older v2 and the public embed answer them, and
//! submissions back into them.
//!
//! A question's key is the object type and the property, `0-1/email`, so that a submission can name both again; option ids
//! are HubSpot's values. The reader is lenient: what is damaged or unknown is named in a note and passed over.
//!
//! What it deliberately does not do: guess. A condition it cannot read is not approximated; its field is left out and named,
//! and where HubSpot would require it the form cannot be published.

mod consent;
pub mod crm;
mod deliver;
mod fields;
mod html;
mod logic;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use self::deliver::{HubSpot, Plan, SUBMISSION_API, Settings};
use self::source::{Dialect, scalar};
use super::json::{flag, list, text};
use super::{Connector, Import, ImportError, Note};
use crate::form::{Ending, Form, Hidden, Kind, Question, Template};

pub(super) struct Hubspot;

impl Connector for Hubspot {
    fn tool(&self) -> &'static str {
        "hubspot"
    }

    fn read(&self, definition: &[u8]) -> Result<Import, ImportError> {
        let json: Value =
            serde_json::from_slice(definition).map_err(|error| ImportError::Json(error.to_string()))?;
        // The public embed wraps the form.
        let form = json.get("form").filter(|form| form.is_object()).unwrap_or(&json);
        let dialect = recognise(&json, form)?;
        let mut reader = Reader::default();
        let form = reader.form(form, dialect)?;
        let faults = form.check();
        if faults.is_empty() {
            Ok(Import { form, notes: reader.notes })
        } else {
            Err(ImportError::Faults(faults))
        }
    }
}

/// Refuses what is not a form, or not one that submissions can go to, with the reason.
fn recognise(json: &Value, form: &Value) -> Result<Dialect, ImportError> {
    let has = |name: &str| form.get(name).is_some();
    let refuse = |refusal: String| Err(ImportError::Shape(refusal));
    let dialect = if has("fieldGroups") {
        Dialect::V3
    } else if has("formFieldGroups") {
        Dialect::V2
    } else {
        let refusal = if json.is_array() || has("results") {
            "this is a list of forms: give one of them, the answer of GET /marketing/v3/forms/{formId}"
        } else if has("status") && has("message") || has("errorCode") {
            "this is HubSpot's answer to a request that failed, not the form"
        } else if has("values") || has("submittedAt") {
            "this is a submission, not the form: give the answer of GET /marketing/v3/forms/{formId}"
        } else if has("thankyou_screens") || has("fields") {
            "this looks like a Typeform definition; choose the tool it comes from"
        } else if has("items") || has("info") {
            "this looks like a Google form; choose the tool it comes from"
        } else if has("pages") {
            "this looks like a SurveyMonkey survey or a form in Formgate's own format; choose the tool it comes from"
        } else {
            "this is not a HubSpot form, it has neither “fieldGroups” nor “formFieldGroups”: give the answer of GET /marketing/v3/forms/{formId}"
        };
        return refuse(refusal.to_owned());
    };
    let form_type = text(form, "formType").unwrap_or("hubspot").to_ascii_lowercase();
    if form_type == "captured" {
        return refuse(
            "this is a form of another website that HubSpot's script collects (“captured”); HubSpot takes no submissions for it"
                .to_owned(),
        );
    }
    if form_type != "hubspot" {
        return refuse(format!(
            "this is a form of type “{form_type}”; only forms of type “hubspot” are known to take submissions"
        ));
    }
    let archived =
        flag(form, "archived") || form.get("deletedAt").and_then(Value::as_i64).is_some_and(|at| at > 0);
    if archived {
        return refuse(
            "this form is archived in HubSpot and takes no submissions; restore it first".to_owned(),
        );
    }
    let captcha =
        form.get("configuration").is_some_and(|configuration| flag(configuration, "recaptchaEnabled"));
    if captcha || flag(form, "captchaEnabled") {
        return refuse(
            "this form has its CAPTCHA on, and HubSpot takes submissions to it only from a browser: switch it off in the form's options"
                .to_owned(),
        );
    }
    Ok(dialect)
}

/// What is known of the definition while it is read.
#[derive(Default)]
struct Reader {
    /// Keys of all fields that were met.
    fields: BTreeSet<String>,
    /// The parent of each dependent field, by key.
    parents: BTreeMap<String, String>,
    hidden: Vec<Hidden>,
    notes: Vec<Note>,
}

impl Reader {
    fn form(&mut self, json: &Value, dialect: Dialect) -> Result<Form, ImportError> {
        let mut pages = self.pages(&source::rows(json, dialect), dialect);
        let consent = self.consent(json, dialect);
        match pages.last_mut() {
            Some(last) if pages_ask(last) || !consent.is_empty() => last.questions.extend(consent),
            Some(_) | None => {}
        }
        if pages.is_empty() || !pages.iter().any(pages_ask) {
            return Err(ImportError::Shape("the form has no question that could be asked".to_owned()));
        }
        let title = text(json, "name").unwrap_or("Form");
        let id = text(json, "id").or(text(json, "guid")).unwrap_or(title).to_owned();
        self.settings(json, dialect);
        Ok(Form {
            id,
            tool: "hubspot".to_owned(),
            title: literal(title),
            locale: self.language(json, dialect),
            description: None,
            default_country: None,
            time_zone: None,
            pages,
            hidden: std::mem::take(&mut self.hidden),
            variables: Vec::new(),
            endings: self.ending(json, dialect).into_iter().collect(),
            translations: BTreeMap::new(),
        })
    }

    /// A BCP 47 tag; HubSpot writes its region in small letters.
    fn language(&mut self, json: &Value, dialect: Dialect) -> String {
        let written = match dialect {
            Dialect::V3 => json.get("configuration").and_then(|c| text(c, "language")),
            Dialect::V2 => {
                let mut entries = list(json, "metaData").iter();
                entries
                    .find(|entry| text(entry, "name") == Some("lang"))
                    .and_then(|entry| text(entry, "value"))
            }
        };
        let Some(written) = written else { return "en".to_owned() };
        let mut parts = written.trim().split(['-', '_']);
        let language = parts.next().unwrap_or_default().to_ascii_lowercase();
        let rest: Vec<String> = parts
            .map(|part| if part.len() == 2 { part.to_ascii_uppercase() } else { part.to_owned() })
            .collect();
        let sound =
            |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric()) && (2..=8).contains(&part.len());
        if !sound(&language) || !rest.iter().all(|part| sound(part)) {
            self.lost("form.language".to_owned(), written, "its language is not known; English is used");
            return "en".to_owned();
        }
        [vec![language], rest].concat().join("-")
    }

    fn ending(&mut self, json: &Value, dialect: Dialect) -> Option<Ending> {
        let (thanks, redirect) = match dialect {
            Dialect::V3 => {
                let action = json.get("configuration")?.get("postSubmitAction")?;
                let value = text(action, "value");
                match text(action, "type") {
                    Some("redirect_url") => (None, value),
                    Some("thank_you") => (value, None),
                    other => {
                        let what = format!("what follows (“{}”) is not known", other.unwrap_or_default());
                        self.lost("form.ending".to_owned(), "", &what);
                        return None;
                    }
                }
            }
            Dialect::V2 => {
                (text(json, "inlineMessage"), text(json, "redirectUrl").or(text(json, "redirect")))
            }
        };
        if let Some(link) = redirect {
            if link.starts_with("https://") || link.starts_with("http://") {
                let link = Some(link.to_owned());
                return Some(Ending {
                    key: "redirect".to_owned(),
                    title: String::new(),
                    description: None,
                    link,
                });
            }
            self.lost("ending.redirect".to_owned(), "", "it leads to something that is not a web address");
        }
        let read = html::read(thanks?);
        self.pictures(read.pictures, "thank-you", "Thank you");
        let (first, rest) = read.blocks.split_first()?;
        let description = literal(&html::lines(rest));
        Some(Ending {
            key: "thank-you".to_owned(),
            title: literal(&first.text),
            description: (!description.is_empty()).then_some(description),
            link: None,
        })
    }

    /// What the settings hold that a chat has no place for.
    fn settings(&mut self, json: &Value, dialect: Dialect) {
        let configuration = json.get("configuration").unwrap_or(&Value::Null);
        if dialect == Dialect::V3 && flag(configuration, "prePopulateKnownValues") {
            let what = "HubSpot fills in what it knows of a visitor by cookies, which a chat has not";
            self.changed("form.known_values".to_owned(), "", what);
        }
        let ids = ["sfdcCampaignId", "campaignGuid"].into_iter().filter_map(|name| scalar(json.get(name)));
        if ids.count() > 0 {
            let what = "HubSpot adds its campaign itself; it is not part of what is sent";
            self.changed("form.campaign".to_owned(), "", what);
        }
    }

    fn pictures(&mut self, pictures: usize, key: &str, title: &str) {
        if pictures > 0 {
            let what = if pictures == 1 { "its picture is" } else { "its pictures are" };
            self.lost(format!("form.{key}.picture"), title, &format!("{what} not shown in the chat"));
        }
    }

    /// Something that is not carried.
    fn lost(&mut self, at: String, title: &str, text: &str) {
        self.notes.push(Note::lost(at, title, text));
    }

    /// Something that is carried otherwise.
    fn changed(&mut self, at: String, title: &str, text: &str) {
        self.notes.push(Note::changed(at, title, text));
    }
}

fn pages_ask(page: &crate::form::Page) -> bool {
    page.questions.iter().any(|question| question.kind != Kind::Statement)
}

fn question(key: &str, title: String, kind: Kind) -> Question {
    Question {
        key: key.to_owned(),
        title,
        help: None,
        kind,
        required: false,
        default: None,
        visible_if: None,
        personal: false,
        group: None,
        rules: Vec::new(),
    }
}

fn statement(key: &str, title: String, help: String) -> Question {
    Question { help: (!help.is_empty()).then_some(help), ..question(key, title, Kind::Statement) }
}

fn unsupported(key: &str, title: &str, source_type: &str) -> Question {
    question(key, title.to_owned(), Kind::Unsupported { source_type: source_type.to_owned() })
}

/// HubSpot's texts recall nothing, so what looks like a recall is meant to the letter.
fn literal(text: &str) -> String {
    let text = text.trim();
    if Template::parse(text).recalls().next().is_some() { text.replace("{{", "{ {") } else { text.to_owned() }
}

//! Typeform definitions, as `GET /forms/{id}` answers them.
//!
//! The reader is lenient: what is damaged or unknown is named in a note and passed over, the rest is read. Questions of
//! groups, matrices, contact and address blocks stay questions of their own, because Typeform answers and branches on each.
//!
//! What it deliberately does not do: guess. A rule whose condition it cannot read is left out and named, not approximated.

mod choices;
pub mod deliver;
mod fields;
pub mod hooks;
mod logic;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use self::fields::Field;
use super::json::{flag, list, text};
use super::{Connector, Import, ImportError, Note, translate};
use crate::form::{Ending, Form, Hidden, Kind, Page, Variable};

pub(super) struct Typeform;

impl Connector for Typeform {
    fn tool(&self) -> &'static str {
        "typeform"
    }

    fn read(&self, definition: &[u8]) -> Result<Import, ImportError> {
        let json: Value =
            serde_json::from_slice(definition).map_err(|error| ImportError::Json(error.to_string()))?;
        recognise(&json)?;
        let mut reader = Reader::new(&json);
        let mut form = reader.form(&json);
        for (language, translation) in translate::taken_along(&json) {
            let mut translated = json.clone();
            translate::lay_over(&mut translated, translation);
            let texts = translate::texts(&form, &Reader::new(&translated).form(&translated));
            form.translations.insert(language.to_owned(), texts);
        }
        let faults = form.check();
        if faults.is_empty() {
            Ok(Import { form, notes: reader.notes })
        } else {
            Err(ImportError::Faults(faults))
        }
    }
}

/// Refuses what is not a definition, with what it looks like.
fn recognise(json: &Value) -> Result<(), ImportError> {
    let has = |name: &str| json.get(name).is_some();
    let fields = list(json, "fields");
    let refusal = if has("form_response") || has("event_type") {
        "this is a response that Typeform delivered, not the form: give the answer of GET /forms/{form_id}"
    } else if has("total_items") {
        "this is a list, not a form: give the answer of GET /forms/{form_id}"
    } else if has("formFieldGroups") || has("fieldGroups") {
        "this looks like a HubSpot form; choose the tool it comes from"
    } else if has("items") || has("info") {
        "this looks like a Google form; choose --tool google-forms for it"
    } else if has("pages") {
        "this looks like a SurveyMonkey survey or a form in Formgate's own format; choose the tool it comes from"
    } else if !fields.is_empty() && fields.iter().all(|field| text(field, "type").is_none()) {
        "this is a translation of a form or a damaged copy, its fields have no type: give the form itself, the answer of GET /forms/{form_id}"
    } else if !has("fields") {
        "this is not a Typeform definition, it has no “fields”: give the answer of GET /forms/{form_id}"
    } else if fields.is_empty() {
        "the form has no question yet"
    } else {
        return Ok(());
    };
    Err(ImportError::Shape(refusal.to_owned()))
}

/// What is known of the definition while it is read.
struct Reader<'j> {
    /// Keys of answerable questions, by reference and by id.
    answers: BTreeMap<&'j str, String>,
    /// Hidden fields, in their order.
    hidden: Vec<&'j str>,
    /// Variables with their first value.
    variables: BTreeMap<&'j str, Value>,
    /// References that a condition looks at.
    tested: BTreeSet<&'j str>,
    /// Option ids by question key and by reference, id or label of the option.
    options: choices::Aliases,
    /// What the questions that are no choices ask, by key.
    kinds: BTreeMap<String, Kind>,
    /// Where a reference leads.
    places: BTreeMap<String, fields::Place>,
    notes: Vec<Note>,
}

impl<'j> Reader<'j> {
    fn new(json: &'j Value) -> Reader<'j> {
        let mut reader = Reader {
            answers: BTreeMap::new(),
            hidden: list(json, "hidden").iter().filter_map(Value::as_str).collect(),
            variables: BTreeMap::new(),
            tested: BTreeSet::new(),
            options: choices::Aliases::default(),
            kinds: BTreeMap::new(),
            places: BTreeMap::new(),
            notes: Vec::new(),
        };
        let mut seen = BTreeSet::new();
        reader.hidden.retain(|name| !name.trim().is_empty() && seen.insert(*name));
        for (name, initial) in json.get("variables").and_then(Value::as_object).into_iter().flatten() {
            if !name.trim().is_empty() && (initial.is_number() || initial.is_string()) {
                reader.variables.insert(name, initial.clone());
            } else {
                let what = "the variable's first value is neither a number nor a text";
                reader.lost(format!("variable.{name}"), name, what);
            }
        }
        reader.look_ahead(list(json, "logic"));
        reader
    }

    fn form(&mut self, json: &'j Value) -> Form {
        let fields = fields::tree(list(json, "fields"), &mut self.notes);
        self.know(&fields);
        let mut pages = self.pages(&fields);
        let mut endings = self.endings(json);
        self.logic(list(json, "logic"), json.get("outcome"), &mut pages, &mut endings);
        let title = text(json, "title").unwrap_or("Form");
        let form = Form {
            id: text(json, "id").unwrap_or(title).to_owned(),
            tool: "typeform".to_owned(),
            title: self.plain("form", title, title),
            locale: json
                .get("settings")
                .and_then(|settings| text(settings, "language"))
                .unwrap_or("en")
                .to_owned(),
            description: self.welcome(json),
            default_country: None,
            time_zone: None,
            pages,
            hidden: self
                .hidden
                .iter()
                .map(|name| Hidden { key: (*name).to_owned(), default: None })
                .collect(),
            variables: self
                .variables
                .iter()
                .map(|(name, initial)| Variable { name: (*name).to_owned(), initial: initial.clone() })
                .collect(),
            endings,
            translations: BTreeMap::new(),
        };
        self.settings(json, &form.title);
        form
    }

    /// Remembers which references can be recalled and compared.
    fn know(&mut self, fields: &[Field<'j>]) {
        for field in fields {
            if field.is_answered() {
                for name in [text(field.json, "ref"), text(field.json, "id")].into_iter().flatten() {
                    self.answers.entry(name).or_insert_with(|| field.key.clone());
                }
            }
            self.know(&field.children);
        }
    }

    fn welcome(&mut self, json: &'j Value) -> Option<String> {
        let screens = list(json, "welcome_screens");
        for screen in screens.iter().skip(1) {
            let title = text(screen, "title").unwrap_or("Welcome");
            self.lost("form.welcome".to_owned(), title, "only the first welcome screen is shown");
        }
        let screen = screens.first()?;
        self.attachment(screen, "form.welcome", text(screen, "title").unwrap_or("Welcome"));
        let description = screen.get("properties").and_then(|p| text(p, "description"));
        let parts: Vec<String> = [text(screen, "title"), description]
            .into_iter()
            .flatten()
            .map(|part| self.plain("form.welcome", part, part))
            .collect();
        (!parts.is_empty()).then(|| parts.join("\n\n"))
    }

    /// The endings in their order; the first one is Typeform's default.
    fn endings(&mut self, json: &'j Value) -> Vec<Ending> {
        let mut endings: Vec<Ending> = Vec::new();
        for (number, screen) in list(json, "thankyou_screens").iter().enumerate() {
            let name = text(screen, "ref").or(text(screen, "id"));
            let mut key = name.map_or_else(|| format!("ending-{}", number + 1), str::to_owned);
            while endings.iter().any(|ending| ending.key == key) {
                key.push_str("-2");
            }
            let at = format!("ending.{key}");
            let title = text(screen, "title").unwrap_or_default();
            let properties = screen.get("properties").unwrap_or(&Value::Null);
            self.attachment(screen, &at, title);
            endings.push(Ending {
                title: self.plain(&at, title, title),
                description: text(properties, "description").map(|text| self.plain(&at, title, text)),
                link: text(properties, "redirect_url").map(|link| self.link(&at, title, link)),
                key,
            });
        }
        let redirect = json.get("settings").and_then(|settings| text(settings, "redirect_after_submit_url"));
        if let Some(link) = redirect {
            let link = self.link("form", "", link);
            match endings.first_mut() {
                Some(ending) if ending.link.is_none() => ending.link = Some(link),
                Some(_) => self.changed("form".to_owned(), &link, "the ending's own link is shown instead"),
                None => endings.push(Ending {
                    key: "default_tys".to_owned(),
                    title: String::new(),
                    description: None,
                    link: Some(link),
                }),
            }
        }
        endings
    }

    /// A link stands as it is: recalls in it are not filled in.
    fn link(&mut self, at: &str, title: &str, link: &str) -> String {
        if link.contains("{{") {
            self.changed(at.to_owned(), title, "the answers that its link recalls are not filled in");
        }
        link.to_owned()
    }

    /// What the settings hold that a chat has no place for.
    fn settings(&mut self, json: &Value, title: &str) {
        let settings = json.get("settings").unwrap_or(&Value::Null);
        let languages: Vec<&str> =
            list(settings, "translation_languages").iter().filter_map(Value::as_str).collect();
        let taken = |language: &&str| translate::taken_along(json).all(|(taken, _)| taken != *language);
        let languages: Vec<&str> = languages.into_iter().filter(taken).collect();
        if !languages.is_empty() {
            let what = format!(
                "Typeform keeps the translations ({}) apart from the form; they are not in this definition",
                languages.join(", ")
            );
            self.lost("form.translations".to_owned(), title, &what);
        }
        for name in ["captcha", "show_captcha"] {
            if settings.get(name).is_some_and(|value| *value != Value::Bool(false) && !value.is_null()) {
                let what = "a CAPTCHA has no meaning in a chat; signed flow tokens take its place";
                self.changed("form.captcha".to_owned(), title, what);
            }
        }
        if settings.get("duplicate_prevention").is_some_and(Value::is_object) {
            let what = "Typeform's protection against answering twice works by cookies and is not carried";
            self.lost("form.duplicate_prevention".to_owned(), title, what);
        }
    }

    fn attachment(&mut self, json: &Value, at: &str, title: &str) {
        if json.get("attachment").is_some_and(Value::is_object) {
            self.changed(at.to_owned(), title, "its picture or video is not shown in the chat");
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

/// A page that is being filled.
fn page(id: String, title: Option<String>, description: Option<String>) -> Page {
    Page { id, title, description, visible_if: None, questions: Vec::new(), rules: Vec::new() }
}

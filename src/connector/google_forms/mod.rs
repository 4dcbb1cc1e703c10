//! Google Forms: the answer of `forms.get`, or the data of the form's public page.
//!
//! Both shapes are read into one description in Google's terms, and that into a form, so the same form has the same keys
//! whichever way it came: Google's ids in hexadecimal for questions and rows of grids, the values of options as they stand.
//! What is damaged or unknown is named in a note and passed over, the rest is read.
//!
//! What it deliberately does not do: guess. What a shape cannot tell (the API hides rules for answers and where sections
//! lead) is named as unknown.

mod api;
mod build;
mod checks;
mod deliver;
mod entries;
mod kinds;
mod navigation;
mod page;
pub mod script;
mod source;
mod webapp;

use serde_json::Value;

use self::build::Builder;
pub use self::deliver::PublicForm;
pub use self::webapp::WebApp;
use super::json::list;
use super::{Connector, Import, ImportError};
use crate::form::Template;

pub(super) struct GoogleForms;

impl Connector for GoogleForms {
    fn tool(&self) -> &'static str {
        "google-forms"
    }

    fn read(&self, definition: &[u8]) -> Result<Import, ImportError> {
        let json = parse(definition)?;
        let source = if json.is_array() {
            recognise_page(&json)?;
            page::source(&json)
        } else {
            recognise(&json)?;
            api::source(&json)
        };
        let mut builder = Builder::default();
        let form = builder.form(&source);
        let faults = form.check();
        if form.pages.iter().all(|page| page.questions.is_empty()) {
            return Err(shape("there is nothing in the form that could be asked"));
        }
        if faults.is_empty() {
            Ok(Import { form, notes: builder.notes })
        } else {
            Err(ImportError::Faults(faults))
        }
    }
}

/// JSON, or the public page as a browser saves it.
fn parse(definition: &[u8]) -> Result<Value, ImportError> {
    let error = match serde_json::from_slice(definition) {
        Ok(json) => return Ok(json),
        Err(error) => error,
    };
    let text = String::from_utf8_lossy(definition);
    if let Some(json) = page::find(&text) {
        return Ok(json);
    }
    if text.trim_start().starts_with('<') {
        return Err(shape(
            "this is a web page without the data of a form; it may be one that asks to sign in. Save the page that a person sees who may answer the form",
        ));
    }
    Err(ImportError::Json(error.to_string()))
}

fn shape(refusal: &str) -> ImportError {
    ImportError::Shape(refusal.to_owned())
}

/// Refuses what is not a definition, with what it looks like.
fn recognise(json: &Value) -> Result<(), ImportError> {
    let has = |name: &str| json.get(name).is_some();
    let is_form = has("items") && ["formId", "info", "responderUri"].into_iter().any(has);
    Err(shape(if has("error") {
        "this is an error that Google answered, not a form: give the answer of GET /v1/forms/{formId}"
    } else if has("responses") || has("responseId") {
        "this is a response, not the form: give the answer of GET /v1/forms/{formId}"
    } else if has("requests") {
        "this is a request to change a form, not the form: give the answer of GET /v1/forms/{formId}"
    } else if has("files") {
        "this is a list of files, not a form: give the answer of GET /v1/forms/{formId}"
    } else if has("form_response") || has("event_type") || has("fields") {
        "this looks like Typeform's; choose --tool typeform for a definition of it"
    } else if has("formFieldGroups") || has("fieldGroups") {
        "this looks like a HubSpot form; choose the tool it comes from"
    } else if has("pages") {
        "this looks like a SurveyMonkey survey or a form in Formgate's own format; choose the tool it comes from"
    } else if !is_form && !has("formId") && !has("info") {
        "this is not a Google form, it has no “info” and no “items”: give the answer of GET /v1/forms/{formId}"
    } else if list(json, "items").is_empty() {
        "the form has no question yet"
    } else {
        return Ok(());
    }))
}

fn recognise_page(json: &Value) -> Result<(), ImportError> {
    match page::items(json) {
        Some([]) => Err(shape("the form has no question yet")),
        Some(_) => Ok(()),
        None => Err(shape(
            "this is not the data of a Google form's public page: give FB_PUBLIC_LOAD_DATA_ of a page that shows the questions, or the answer of GET /v1/forms/{formId}",
        )),
    }
}

/// Where the form's public page is, if the definition says so.
///
/// # Errors
/// [`ImportError`], as when the form is imported.
pub fn public_page(definition: &[u8]) -> Result<Option<String>, ImportError> {
    let json = parse(definition)?;
    let told = json.get("responderUri").and_then(Value::as_str).map(str::to_owned);
    let path = json.get(14).and_then(Value::as_str).filter(|path| path.starts_with("e/"));
    Ok(told.or_else(|| path.map(|path| format!("https://docs.google.com/forms/d/{path}/viewform"))))
}

/// A text as it stands: what would be read as a recall of an answer is meant to the letter.
fn plain(text: &str) -> String {
    let text = text.trim();
    if Template::parse(text).recalls().next().is_some() { text.replace("{{", "{ {") } else { text.to_owned() }
}

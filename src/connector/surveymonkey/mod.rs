//! SurveyMonkey surveys: definitions, as `GET /v3/surveys/{id}/details` answers them, and responses put back into them.
//!
//! The reader is lenient: what is damaged or unknown is named in a note and passed over, the rest is read. It guesses
//! nothing: what the API does not show (skip logic, piping, randomised pages, quotas) is said to be unknown.
//!
//! # Keys
//!
//! A question that is answered in one place goes by its id. Of one with several places each place is a question of the
//! form, and its key tells the place, so that a response can be put together again:
//!
//! | Key | Answer |
//! | --- | --- |
//! | `QUESTION` | choices; matrix of several rows (the value maps row ids to choice ids); ranking; one text box; slider; file |
//! | `QUESTION/row-ROW` | a labelled text box, a line of a contact block, a date or time, the only row of a matrix |
//! | `QUESTION/row-ROW/col-COLUMN` | a cell of a matrix of drop-downs |
//! | `QUESTION/other-OTHER` | a comment field |
//! | `QUESTION/row-ROW/other-OTHER` | the comment field of one row |
//!
//! Ids of options, rows and columns in the values are SurveyMonkey's own.

mod address;
mod boxes;
mod choices;
mod collector;
mod deliver;
mod encode;
mod matrix;
mod question;
mod text;

use std::collections::BTreeSet;

use serde_json::Value;

pub use self::address::Survey;
pub use self::deliver::{API, Responses};
use super::json::{flag, list, text};
use super::{Connector, Import, ImportError, Note, translate};
use crate::form::{Form, Hidden, Kind, Page};

pub(super) struct SurveyMonkey;

impl Connector for SurveyMonkey {
    fn tool(&self) -> &'static str {
        "surveymonkey"
    }

    fn read(&self, definition: &[u8]) -> Result<Import, ImportError> {
        let json = parse(definition)?;
        let mut reader = Reader::default();
        let mut form = reader.form(&json);
        for (language, translation) in translate::taken_along(&json) {
            let mut translated = json.clone();
            translate::replace(&mut translated, translate::strings(translation));
            let texts = translate::texts(&form, &Reader::default().form(&translated));
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

fn parse(definition: &[u8]) -> Result<Value, ImportError> {
    let json: Value =
        serde_json::from_slice(definition).map_err(|error| ImportError::Json(error.to_string()))?;
    recognise(&json)?;
    Ok(json)
}

/// Refuses what is not a definition, with what it looks like.
fn recognise(json: &Value) -> Result<(), ImportError> {
    let has = |name: &str| json.get(name).is_some();
    let questions = || list(json, "pages").iter().flat_map(|page| list(page, "questions"));
    let refusal = if has("status") && json.pointer("/data/pages").is_some() {
        "this is a survey as SurveyMonkey's API told it in version 2, which is switched off: give the answer of GET /v3/surveys/{survey_id}/details"
    } else if has("error") && !has("pages") {
        "this is an error that SurveyMonkey answered, not a survey: give the answer of GET /v3/surveys/{survey_id}/details"
    } else if has("data") {
        "this is a list, not a survey: give the answer of GET /v3/surveys/{survey_id}/details"
    } else if has("collector_id") || has("response_status") {
        "this is a response to a survey, not the survey: give the answer of GET /v3/surveys/{survey_id}/details"
    } else if has("fields") {
        "this looks like a Typeform definition; choose the tool it comes from"
    } else if has("formFieldGroups") || has("fieldGroups") {
        "this looks like a HubSpot form; choose the tool it comes from"
    } else if has("items") || has("formId") {
        "this looks like a Google form; choose the tool it comes from"
    } else if !has("pages") && (has("question_count") || has("page_count")) {
        "this is a survey without its pages: give the answer of GET /v3/surveys/{survey_id}/details"
    } else if !has("pages") {
        "this is not a SurveyMonkey survey, it has no “pages”: give the answer of GET /v3/surveys/{survey_id}/details"
    } else if questions().any(|question| question.get("key").is_some() && question.get("family").is_none()) {
        "this looks like a form in Formgate's own format; choose the tool it comes from"
    } else if questions().next().is_none() {
        "the survey has no question yet"
    } else {
        return Ok(());
    };
    Err(ImportError::Shape(refusal.to_owned()))
}

/// What is known of the definition while it is read.
#[derive(Default)]
struct Reader {
    notes: Vec<Note>,
    survey: Survey,
    /// Keys of questions that were read.
    keys: BTreeSet<String>,
    /// Ids of questions that were read.
    questions: BTreeSet<String>,
    /// Something has words of its own for a wrong or missing answer.
    has_messages: bool,
    /// An "other" has a length.
    has_other_length: bool,
    /// Answers are given points.
    is_quiz: bool,
}

impl Reader {
    fn form(&mut self, json: &Value) -> Form {
        let title = text(json, "title").unwrap_or("Survey");
        let title = self.plain("form", title);
        let pages = self.pages(json);
        self.complete(json, &title);
        let names = json.get("custom_variables").and_then(Value::as_object);
        let names = names.into_iter().flat_map(|names| names.keys()).filter(|name| !name.trim().is_empty());
        self.survey.variables = names.cloned().collect();
        self.is_quiz |= json.get("quiz_options").is_some_and(|quiz| flag(quiz, "is_quiz_mode"));
        self.settings(&title);
        self.survey.id = id(json).or_else(|| id_in_address(json)).unwrap_or_else(|| title.clone());
        Form {
            id: self.survey.id.clone(),
            tool: "surveymonkey".to_owned(),
            title,
            locale: text(json, "language").unwrap_or("en").to_owned(),
            description: None,
            default_country: None,
            time_zone: None,
            pages,
            hidden: self
                .survey
                .variables
                .iter()
                .map(|name| Hidden { key: name.clone(), default: None })
                .collect(),
            variables: Vec::new(),
            endings: Vec::new(),
            translations: Default::default(),
        }
    }

    fn pages(&mut self, json: &Value) -> Vec<Page> {
        let mut pages: Vec<Page> = Vec::new();
        for (number, source) in in_order(list(json, "pages")).into_iter().enumerate() {
            let source_id = id(source);
            let mut page_id = source_id.clone().unwrap_or_else(|| format!("page-{}", number + 1));
            while pages.iter().any(|page| page.id == page_id) {
                page_id.push_str("-2");
            }
            let at = format!("page.{page_id}");
            let mut told = |name: &str| {
                let plain = self.plain(&at, text(source, name)?);
                (!plain.is_empty()).then_some(plain)
            };
            let (title, description) = (told("title"), told("description"));
            if source_id.is_none() {
                let what = "the page has no id; answers on it cannot be written to SurveyMonkey";
                self.lost(&at, title.as_deref().unwrap_or_default(), what);
            }
            let mut page = Page {
                id: page_id,
                title,
                description,
                visible_if: None,
                questions: Vec::new(),
                rules: Vec::new(),
            };
            for question in in_order(list(source, "questions")) {
                self.question(question, source_id.as_deref(), &mut page.questions);
            }
            if page.questions.is_empty() {
                // A page that only tells something; a page of the form needs a question for it.
                let told = page.title.take().or_else(|| page.description.take());
                let Some(title) = told else { continue };
                let key = format!("page/{}", page.id);
                if self.keys.insert(key.clone()) {
                    let help = page.description.take();
                    page.questions.push(question::bare(key, title, help, Kind::Statement));
                }
            }
            pages.push(page);
        }
        pages
    }

    /// Whether the definition is whole, as far as it tells.
    fn complete(&mut self, json: &Value, title: &str) {
        let count = |json: &Value, name: &str| json.get(name).and_then(Value::as_u64);
        let pages = list(json, "pages");
        let held = |pages: &[Value]| -> u64 {
            pages.iter().map(|page| u64::try_from(list(page, "questions").len()).unwrap_or(u64::MAX)).sum()
        };
        let told: u64 = pages
            .iter()
            .map(|page| count(page, "question_count").unwrap_or_else(|| held(std::slice::from_ref(page))))
            .sum();
        let told = count(json, "question_count").map_or(told, |all| all.max(told));
        if told > held(pages) {
            let what = format!(
                "the definition is incomplete: of {told} questions it holds {}; the others are not asked",
                held(pages)
            );
            self.lost("form", title, what);
        }
        let absent: Vec<&str> = ["id", "language", "question_count"]
            .into_iter()
            .filter(|name| json.get(name).is_none())
            .collect();
        if !absent.is_empty() {
            let what = format!(
                "the definition is not as SurveyMonkey's API gives it, it lacks “{}”; what else was taken out cannot be known",
                absent.join("”, “")
            );
            self.changed("form", title, what);
        }
    }

    /// What concerns the whole survey.
    fn settings(&mut self, title: &str) {
        let hidden = "unknown: SurveyMonkey's API does not show skip logic, branching, randomised pages and questions, or quotas; \
            if the survey has any, it does not take place here and every page is asked in its order";
        self.changed("form.logic", title, hidden);
        if self.has_messages {
            let what = "where an answer is missing or wrong, Formgate's words for it are shown and not the survey's own";
            self.changed("form.messages", title, what);
        }
        if self.has_other_length {
            let what =
                "the field sizes of “other” options are not held; SurveyMonkey may refuse a longer text";
            self.changed("form.other", title, what);
        }
        if self.is_quiz {
            self.lost(
                "form.quiz",
                title,
                "points and feedback of the quiz are not shown; SurveyMonkey may count them",
            );
        }
    }

    /// Something that is not carried.
    fn lost(&mut self, at: &str, title: &str, text: impl Into<String>) {
        self.note(Note::lost(at, title, text));
    }

    /// Something that is carried otherwise.
    fn changed(&mut self, at: &str, title: &str, text: impl Into<String>) {
        self.note(Note::changed(at, title, text));
    }

    /// The same is said once, however often it is come across.
    fn note(&mut self, note: Note) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// An id: a text, or a number in older answers.
fn id(json: &Value) -> Option<String> {
    match json.get("id")? {
        Value::String(id) => Some(id.trim().to_owned()).filter(|id| !id.is_empty()),
        Value::Number(id) => id.as_u64().map(|id| id.to_string()),
        _ => None,
    }
}

/// The survey's id, from the address of one of its pages.
fn id_in_address(json: &Value) -> Option<String> {
    let (_, rest) = text(list(json, "pages").first()?, "href")?.split_once("/surveys/")?;
    rest.split('/').next().filter(|id| !id.is_empty()).map(str::to_owned)
}

/// As the editor shows them: by position, where each has one.
fn in_order(items: &[Value]) -> Vec<&Value> {
    let position = |item: &Value| item.get("position").and_then(Value::as_i64);
    let mut sorted: Vec<&Value> = items.iter().collect();
    if items.iter().all(|item| position(item).is_some()) {
        sorted.sort_by_key(|item| position(item));
    }
    sorted
}

/// Deleted in the editor; SurveyMonkey keeps it for old responses.
fn is_deleted(json: &Value) -> bool {
    json.get("visible") == Some(&Value::Bool(false))
}

//! What a tool's API hides, added by hand: an overlay is laid over a form after every import, so it survives the next one.
//!
//! Invariant: an overlay never invents a question or changes what an answer is stored as: keys, options and rows stay the
//! source's. What it names and the form no longer has is told in a note and passed over; a form that it would make unsound
//! is refused.
//!
//! Its members are merge patches (RFC 7396) over the neutral form: a member replaces the form's, `null` takes it away.
//! `schemas/overlay.schema.json` is the same shape for people who write one.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::connector::{Import, Note};
use crate::form::{Fault, Form, Hidden, Page, Translation, Variable};

/// Members of a question that tell who it is and what its answers are.
const FIXED: [&str; 5] = ["key", "options", "rows", "columns", "group"];
/// Kinds whose answers are one text for the tool, so that one may stand for another: a tool that hides that a text must be
/// an e-mail address takes the address as the text that it is.
const TEXTS: [&str; 6] = ["short_text", "long_text", "email", "phone", "url", "number"];

/// An overlay.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// For editors; has no meaning.
    #[serde(default, rename = "$schema")]
    pub schema: Option<String>,
    /// Changes of questions, by key.
    #[serde(default)]
    pub questions: BTreeMap<String, Map<String, Value>>,
    /// Changes of pages, by id: `title`, `description`, `visible_if`, `rules`.
    #[serde(default)]
    pub pages: BTreeMap<String, Map<String, Value>>,
    /// Where further pages begin, in the order of the form.
    #[serde(default)]
    pub breaks: Vec<Break>,
    /// Changes of endings, by key: `title`, `description`, `link`.
    #[serde(default)]
    pub endings: BTreeMap<String, Map<String, Value>>,
    /// Hidden values that the source does not name.
    #[serde(default)]
    pub hidden: Vec<Hidden>,
    /// Variables for rules of the overlay.
    #[serde(default)]
    pub variables: Vec<Variable>,
    /// Replaces the form's.
    #[serde(default)]
    pub locale: Option<String>,
    /// Replaces the form's.
    #[serde(default)]
    pub default_country: Option<String>,
    /// Replaces the form's.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Texts in other languages, added to the form's.
    #[serde(default)]
    pub translations: BTreeMap<String, Translation>,
}

/// A page that the source does not tell of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Break {
    /// The key of the question it begins with.
    pub before: String,
    /// The page's id; unique, and not one of the form's.
    pub page: String,
    /// Its heading.
    #[serde(default)]
    pub title: Option<String>,
}

/// Why an overlay cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON, or not an overlay.
    #[error("it is no overlay: {0}")]
    Shape(String),
    /// It touches what it may not.
    #[error("question {key}: an overlay cannot change \"{member}\"; change it in the form's tool")]
    Fixed {
        /// The question.
        key: String,
        /// The member.
        member: String,
    },
    /// The form would not be one.
    #[error("{at}: {reason}")]
    Member {
        /// The question, page or ending.
        at: String,
        /// Why its members are refused.
        reason: String,
    },
    /// The form would contradict itself.
    #[error("with the overlay the form has faults:\n{}", .0.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<Fault>),
}

impl Overlay {
    /// Reads an overlay.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Fixed`]
    pub fn read(json: &[u8]) -> Result<Self, Error> {
        let shape = |error: serde_json::Error| Error::Shape(error.to_string());
        // By way of an object: a list of members in their order is nothing that anybody means.
        let members: Map<String, Value> = serde_json::from_slice(json).map_err(shape)?;
        let overlay: Self = serde_json::from_value(Value::Object(members)).map_err(shape)?;
        for (key, members) in &overlay.questions {
            if let Some(member) = members.keys().find(|member| FIXED.contains(&member.as_str())) {
                return Err(Error::Fixed { key: key.clone(), member: member.clone() });
            }
        }
        Ok(overlay)
    }

    /// Lays it over a form that was imported.
    ///
    /// # Errors
    /// [`Error::Member`], [`Error::Faults`], [`Error::Fixed`]
    pub fn apply(&self, import: Import) -> Result<Import, Error> {
        let Import { mut form, mut notes } = import;
        self.change_questions(&mut form, &mut notes)?;
        self.change_pages(&mut form, &mut notes)?;
        for page in &self.breaks {
            if !begin_page(&mut form, page) {
                notes.push(vanished(
                    &format!("question.{}", page.before),
                    &page.before,
                    "begins a page with",
                ));
            }
        }
        for (key, members) in &self.endings {
            match form.endings.iter_mut().find(|ending| ending.key == *key) {
                Some(ending) => *ending = merged(ending, members, &format!("ending {key}"))?,
                None => notes.push(vanished(&format!("ending.{key}"), key, "changes the ending")),
            }
        }
        let is_new = |hidden: &&Hidden| form.hidden.iter().all(|known| known.key != hidden.key);
        let hidden: Vec<Hidden> = self.hidden.iter().filter(is_new).cloned().collect();
        form.hidden.extend(hidden);
        form.variables.extend(self.variables.iter().cloned());
        if let Some(locale) = &self.locale {
            form.locale.clone_from(locale);
        }
        form.default_country = self.default_country.clone().or(form.default_country);
        form.time_zone = self.time_zone.clone().or(form.time_zone);
        for (locale, texts) in &self.translations {
            form.translations.entry(locale.clone()).or_default().extend(texts.clone());
        }
        let faults = form.check();
        if faults.is_empty() { Ok(Import { form, notes }) } else { Err(Error::Faults(faults)) }
    }

    fn change_questions(&self, form: &mut Form, notes: &mut Vec<Note>) -> Result<(), Error> {
        for (key, members) in &self.questions {
            let questions = form.pages.iter_mut().flat_map(|page| &mut page.questions);
            let Some(question) = questions.into_iter().find(|question| question.key == *key) else {
                notes.push(vanished(&format!("question.{key}"), key, "changes the question"));
                continue;
            };
            let was = question.kind.name();
            *question = merged(question, members, &format!("question {key}"))?;
            let is = question.kind.name();
            if was != is && !(TEXTS.contains(&was) && TEXTS.contains(&is)) {
                return Err(Error::Fixed { key: key.clone(), member: "type".to_owned() });
            }
            let names: Vec<&str> = members.keys().map(String::as_str).collect();
            let text = format!("changed by the overlay: {}", names.join(", "));
            notes.push(Note::changed(format!("question.{key}"), &question.title, text));
        }
        Ok(())
    }

    fn change_pages(&self, form: &mut Form, notes: &mut Vec<Note>) -> Result<(), Error> {
        for (id, members) in &self.pages {
            if let Some(member) = members.keys().find(|member| ["id", "questions"].contains(&member.as_str()))
            {
                let reason = format!("an overlay cannot change \"{member}\"");
                return Err(Error::Member { at: format!("page {id}"), reason });
            }
            // A page that the overlay itself begins may be one of them: it is changed where it is begun.
            match form.pages.iter_mut().find(|page| page.id == *id) {
                Some(page) => *page = merged(page, members, &format!("page {id}"))?,
                None => notes.push(vanished(&format!("page.{id}"), id, "changes the page")),
            }
        }
        Ok(())
    }
}

fn vanished(at: &str, name: &str, does: &str) -> Note {
    let text =
        format!("the overlay {does} {name}, which the form does not have (any more); mend the overlay");
    Note::lost(at, name, text)
}

/// Splits a page where a question begins another one. What the page did at its end, its last part does.
fn begin_page(form: &mut Form, wanted: &Break) -> bool {
    let found = form.pages.iter().enumerate().find_map(|(number, page)| {
        let at = page.questions.iter().position(|question| question.key == wanted.before)?;
        Some((number, at))
    });
    let Some((number, at)) = found else { return false };
    let Some(page) = form.pages.get_mut(number) else { return false };
    let next = Page {
        id: wanted.page.clone(),
        title: wanted.title.clone(),
        description: None,
        visible_if: page.visible_if.clone(),
        questions: page.questions.split_off(at),
        rules: std::mem::take(&mut page.rules),
    };
    form.pages.insert(number + 1, next);
    true
}

/// A thing with members replaced, by way of its JSON.
fn merged<T>(thing: &T, members: &Map<String, Value>, at: &str) -> Result<T, Error>
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let refused = |error: serde_json::Error| Error::Member { at: at.to_owned(), reason: error.to_string() };
    let mut json = serde_json::to_value(thing).map_err(refused)?;
    patch(&mut json, &Value::Object(members.clone()));
    // What a kind does not know would be dropped in silence: it has to be there again afterwards.
    let changed: T = serde_json::from_value(json).map_err(refused)?;
    let kept = serde_json::to_value(&changed).map_err(refused)?;
    if let Some((name, _)) = members.iter().find(|(name, value)| !value.is_null() && !has(&kept, name, value))
    {
        let reason = format!("\"{name}\" has no meaning here");
        return Err(Error::Member { at: at.to_owned(), reason });
    }
    Ok(changed)
}

/// Whether a member is there. Serialisation leaves out what is `false` or empty.
fn has(json: &Value, name: &str, value: &Value) -> bool {
    let is_default = *value == Value::Bool(false) || value.as_array().is_some_and(Vec::is_empty);
    is_default || json.get(name).is_some()
}

/// RFC 7396.
fn patch(target: &mut Value, patch_with: &Value) {
    let Value::Object(members) = patch_with else {
        target.clone_from(patch_with);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(into) = target else { return };
    for (name, value) in members {
        if value.is_null() {
            into.shift_remove(name);
        } else {
            patch(into.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn import() -> Import {
        let form = json!({
            "id": "f", "title": "F",
            "pages": [{"id": "one", "title": "One", "questions": [
                {"key": "name", "title": "Name", "type": "short_text", "required": true},
                {"key": "mail", "title": "Mail", "type": "short_text"},
                {"key": "colour", "title": "Colour", "type": "single_choice",
                 "options": [{"id": "r", "label": "Red"}, {"id": "b", "label": "Blue"}]},
                {"key": "why", "title": "Why?", "type": "long_text"}
            ], "rules": [{"do": {"jump": "end"}}]}],
            "endings": [{"key": "thanks", "title": "Thanks"}]
        });
        Import { form: serde_json::from_value(form).expect("a form"), notes: vec![] }
    }

    fn overlaid(overlay: &Value) -> Result<Import, Error> {
        Overlay::read(overlay.to_string().as_bytes())?.apply(import())
    }

    #[test]
    fn what_a_tool_hides_is_added_and_named() {
        let is_red = json!({"if": {"answer": "colour"}, "op": "is", "value": "r"});
        let overlay = json!({
            "questions": {
                "mail": {"type": "email", "required": true, "blocked_domains": ["example.org"]},
                "name": {"max_length": 40, "required": false},
                "why": {"visible_if": is_red}
            },
            "breaks": [{"before": "colour", "page": "two", "title": "Two"}],
            "endings": {"thanks": {"description": "We call you."}},
            "hidden": [{"key": "utm_source"}],
            "time_zone": "Europe/Rome",
            "translations": {"it": {"title": "Effe"}}
        });
        let Import { form, notes } = overlaid(&overlay).expect("it fits");
        assert_eq!(form.question("mail").map(|q| q.kind.name()), Some("email"));
        assert_eq!(form.question("name").map(|q| q.required), Some(false));
        assert!(form.question("why").is_some_and(|q| q.visible_if.is_some()));
        let pages: Vec<(&str, usize, usize)> = form
            .pages
            .iter()
            .map(|page| (page.id.as_str(), page.questions.len(), page.rules.len()))
            .collect();
        assert_eq!(pages, [("one", 2, 0), ("two", 2, 1)], "the last part of a page does what the page did");
        assert_eq!(form.time_zone.as_deref(), Some("Europe/Rome"));
        assert!(notes.iter().all(|note| !note.lost && note.text.starts_with("changed by the overlay: ")));
        assert_eq!(notes.len(), 3);
    }

    #[test]
    fn what_the_form_no_longer_has_is_named_and_the_rest_is_done() {
        let overlay = json!({
            "questions": {"gone": {"required": true}, "name": {"help": "As in your passport"}},
            "pages": {"nowhere": {"title": "x"}},
            "breaks": [{"before": "gone", "page": "three"}],
            "endings": {"none": {"title": "x"}}
        });
        let Import { form, notes } = overlaid(&overlay).expect("the rest fits");
        assert_eq!(
            form.question("name").and_then(|q| q.help.clone()).as_deref(),
            Some("As in your passport")
        );
        assert_eq!(notes.iter().filter(|note| note.lost).count(), 4);
    }

    #[test]
    fn it_cannot_change_what_answers_are_or_make_a_form_unsound() {
        for (overlay, why) in [
            (json!({"questions": {"colour": {"options": []}}}), "cannot change \"options\""),
            (json!({"questions": {"name": {"key": "other"}}}), "cannot change \"key\""),
            (json!({"questions": {"name": {"type": "yes_no"}}}), "cannot change \"type\""),
            (json!({"questions": {"name": {"max_size": 4}}}), "\"max_size\" has no meaning here"),
            (json!({"questions": {"name": {"min": 4}}}), "\"min\" has no meaning here"),
            (json!({"questions": {"name": {"max_length": "ten"}}}), "invalid type"),
            (json!({"pages": {"one": {"questions": []}}}), "cannot change \"questions\""),
            (json!({"breaks": [{"before": "why", "page": "one"}]}), "the key is used twice"),
            (
                json!({"questions": {"name": {"visible_if": {"if": {"answer": "nobody"}, "op": "is", "value": 1}}}}),
                "which does not exist",
            ),
            (json!({"question": {}}), "unknown field"),
        ] {
            let refused = overlaid(&overlay).expect_err("refused").to_string();
            assert!(refused.contains(why), "{overlay}: {refused}");
        }
    }
}

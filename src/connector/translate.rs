//! Translations that a tool keeps apart from the definition: laid over it, and read by the same reader.
//!
//! Invariant: a translation changes texts and nothing else. It is read as a definition of its own, and what its form says
//! at the same path is the translation; so every rule for texts (markup, recalls, cuts) holds for it, too.

use std::collections::BTreeMap;

use serde_json::Value;

use super::json::{list, text};
use crate::form::{Form, Translation};

/// Members that are no texts for a person.
const NO_TEXT: [&str; 6] = ["id", "ref", "type", "href", "name", "subfield_key"];

/// What the translated form says elsewhere than the form itself.
pub(super) fn texts(form: &Form, translated: &Form) -> Translation {
    let own = form.texts();
    let differs = |(path, text): &(String, String)| own.get(path).is_some_and(|own| own != text);
    translated.texts().into_iter().filter(differs).collect()
}

/// Lays a document over a definition that has the same members: items of lists meet by their `id`.
pub(super) fn lay_over(definition: &mut Value, translation: &Value) {
    match (definition, translation) {
        (Value::Object(members), Value::Object(translated)) => {
            for (name, value) in translated.iter().filter(|(name, _)| !NO_TEXT.contains(&name.as_str())) {
                if let Some(member) = members.get_mut(name) {
                    lay_over(member, value);
                }
            }
        }
        (Value::Array(items), Value::Array(translated)) => {
            for value in translated {
                let Some(id) = text(value, "id") else { continue };
                if let Some(item) = items.iter_mut().find(|item| text(item, "id") == Some(id)) {
                    lay_over(item, value);
                }
            }
        }
        (own @ Value::String(_), Value::String(translated)) if !translated.trim().is_empty() => {
            *own = Value::String(translated.clone());
        }
        _ => {}
    }
}

/// Replaces texts of a definition by those of a list of `{default, translation, resource_id}` (SurveyMonkey).
pub(super) fn replace(definition: &mut Value, strings: &[Value]) {
    let mut words = BTreeMap::new();
    for string in strings {
        if let (Some(own), Some(translated)) = (text(string, "default"), text(string, "translation")) {
            words.insert((text(string, "resource_id"), own), translated);
            // For a text whose resource is not one of the definition's.
            words.entry((None, own)).or_insert(translated);
        }
    }
    replace_in(definition, None, &words);
}

fn replace_in(json: &mut Value, resource: Option<&str>, words: &BTreeMap<(Option<&str>, &str), &str>) {
    match json {
        Value::Object(members) => {
            let id = members.get("id").and_then(Value::as_str).map(str::to_owned);
            let resource = id.as_deref().or(resource);
            for (_, member) in members.iter_mut().filter(|(name, _)| !NO_TEXT.contains(&name.as_str())) {
                replace_in(member, resource, words);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace_in(item, resource, words)),
        Value::String(own) => {
            let found = words.get(&(resource, own.as_str())).or_else(|| words.get(&(None, own.as_str())));
            if let Some(translated) = found {
                *own = (*translated).to_owned();
            }
        }
        _ => {}
    }
}

/// The translations that were taken along with a definition, by language.
pub(super) fn taken_along(definition: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let members = definition.get("translations").and_then(Value::as_object);
    members.into_iter().flatten().map(|(language, translation)| (language.as_str(), translation))
}

/// The strings of a translation as SurveyMonkey's API gives it.
pub(super) fn strings(translation: &Value) -> &[Value] {
    list(translation, "translations")
}

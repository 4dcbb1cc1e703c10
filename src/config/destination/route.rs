//! Which submissions go to a destination, and how their answers are changed on the way.

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use crate::config::fault::Place;
use crate::config::read::{Given, Section};
use crate::form::Condition;
use crate::form::mapping::{Step, given_twice};

const STEP: &str = "\"name\", { drop = true }, { constant = \"…\" }, { template = \"{{answer:key}}\" } or { join = [\"key\", \"key\"], with = \", \" }";

/// `when`: a condition in the words of a form.
pub(super) fn when(section: &Section<'_>) -> Option<Condition> {
    const FIX: &str =
        "Write for example when = { if = { answer = \"topic\" }, op = \"is\", value = \"order\" }";
    let (given, place) = section.given("when")?;
    let Given::Toml(value @ DeValue::Table(_)) = given else {
        section.wrong_kind("when", place, given, "a condition in the file: { if = …, op = …, value = … }");
        return None;
    };
    let read = json(value).and_then(|value| serde_json::from_value(value).ok());
    if read.is_none() {
        section.fault("when", place, "is not a condition", FIX);
    }
    read
}

/// `mapping`: by question's key, or by the name of a value that is made.
pub(super) fn mapping(section: &Section<'_>) -> Vec<(String, Step)> {
    let steps = table(section, "mapping", |name, value, place| {
        let step = json(value).and_then(|value| Step::try_from(value).ok());
        if step.is_none() {
            section.fault(&format!("mapping.{name}"), place, "is not understood", format!("Write {STEP}"));
        }
        step
    });
    if let Some(twice) = given_twice(steps.iter().map(|(name, step)| (name, step))) {
        let reason = format!("gives the name \"{twice}\" twice");
        section.fault("mapping", section.place.clone(), reason, "Give each its own name");
    }
    steps
}

fn members<'t>(table: &'t DeTable<'_>) -> Option<Vec<(&'t str, Value)>> {
    table.iter().map(|(name, value)| Some((name.get_ref().as_ref(), json(value.get_ref())?))).collect()
}

/// `None` for what JSON has not, such as a date.
fn json(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.into(),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok()?.into(),
        DeValue::Array(items) => {
            items.iter().map(|item| json(item.get_ref())).collect::<Option<Vec<_>>>()?.into()
        }
        DeValue::Table(table) => {
            let members = members(table)?.into_iter().map(|(name, value)| (name.to_owned(), value));
            Value::Object(members.collect())
        }
        DeValue::Datetime(_) => return None,
    })
}

/// A table whose keys are free and whose values are texts.
pub(super) fn texts<T>(
    section: &Section<'_>,
    key: &'static str,
    read: impl Fn(&str, &str, Place) -> Option<T>,
) -> Vec<(String, T)> {
    table(section, key, |name, value, place| match value {
        DeValue::String(text) => read(name, text, place),
        other => {
            section.wrong_kind(&format!("{key}.{name}"), place, Given::Toml(other), "a string in quotes");
            None
        }
    })
}

/// A table whose keys are free.
fn table<T>(
    section: &Section<'_>,
    key: &'static str,
    read: impl Fn(&str, &DeValue<'_>, Place) -> Option<T>,
) -> Vec<(String, T)> {
    let Some((given, place)) = section.given(key) else { return Vec::new() };
    let Given::Toml(DeValue::Table(entries)) = given else {
        section.wrong_kind(key, place, given, "a table in the file: { name = \"value\" }");
        return Vec::new();
    };
    let entry = |(name, value): (&toml::Spanned<std::borrow::Cow<'_, str>>, &toml::Spanned<DeValue<'_>>)| {
        let place = section.cx.line(&value.span());
        Some((name.get_ref().to_string(), read(name.get_ref(), value.get_ref(), place)?))
    };
    entries.iter().filter_map(entry).collect()
}

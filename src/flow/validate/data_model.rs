//! The data model of each screen (WhatsApp Flows reference 4.5).

use serde_json::Value;

use super::Code;
use super::document::{Flow, Screen};
use super::report::{Path, Report};
use super::types::Types;
use crate::flow::limits;

const EXAMPLE: &str = "__example__";

impl<'d> Screen<'d> {
    /// The names of the data fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = &'d str> + use<'d> {
        self.data.into_iter().flatten().map(|(name, _)| name.as_str()).filter(|name| !is_reserved(name))
    }

    /// The declaration of one data field.
    pub(super) fn field(&self, name: &str) -> Option<&'d Value> {
        self.data.and_then(|data| data.get(name)).filter(|_| !is_reserved(name))
    }
}

fn is_reserved(name: &str) -> bool {
    limits::table().data_model.reserved_names.iter().any(|reserved| reserved == name)
}

pub(super) fn check(flow: &Flow<'_>, report: &mut Report) {
    for screen in &flow.screens {
        let screen_path = Path::At(&screen.path);
        let data_path = screen_path.key("data");
        for (name, field) in screen.data.into_iter().flatten() {
            let path = data_path.key(name);
            if is_reserved(name) {
                // As a list it means what it means in JSON Schema: which fields must be there.
                let is_list = field.as_array().is_some_and(|names| names.iter().all(Value::is_string));
                if !is_list {
                    let message = format!(
                        "{name:?} is read as a list of mandatory fields: give the field another name."
                    );
                    report.error(Code::InvalidScreenData, path, message);
                }
                continue;
            }
            if name.contains(|c| limits::table().data_model.avoid_in_names.contains(c)) {
                let message =
                    "Hyphens, blanks, quotes and backticks collide with references: rename the field.";
                report.warning(Code::PropertyNameMismatch, path, message);
            }
            check_field(field, &path, report);
        }
    }
}

fn check_field(field: &Value, path: &Path<'_>, report: &mut Report) {
    if !check_schema(field, true, path, report) {
        return;
    }
    match field.get(EXAMPLE) {
        None => {
            let message = "A data field needs __example__, a value of its type: add one.";
            report.error(Code::InvalidScreenData, path, message);
        }
        Some(example) => check_example(example, field, &path.key(EXAMPLE), report),
    }
}

/// Whether the declaration can be read.
fn check_schema(schema: &Value, top: bool, path: &Path<'_>, report: &mut Report) -> bool {
    let types = &limits::table().data_model.types;
    let Value::Object(map) = schema else {
        report.error(Code::InvalidScreenData, path, "A declaration is an object with a type.");
        return false;
    };
    let known = types.join(", ");
    let type_name = match map.get("type") {
        None => {
            report.error(Code::InvalidScreenData, path, format!("The type is missing: add one of {known}."));
            return false;
        }
        Some(Value::String(name)) if types.contains(name) => name.as_str(),
        Some(other) => {
            report.error(
                Code::InvalidScreenData,
                path.key("type"),
                format!("{other} is no type: use one of {known}."),
            );
            return false;
        }
    };
    if !top && map.contains_key(EXAMPLE) {
        let message = "__example__ is allowed only in the outermost declaration: remove it here.";
        report.error(Code::InvalidScreenData, path.key(EXAMPLE), message);
    }
    if type_name == "array" {
        let path = path.key("items");
        match map.get("items") {
            None => report.error(Code::InvalidScreenData, path, "An array must declare its items: add them."),
            Some(Value::Bool(_)) => {}
            Some(items @ Value::Object(_)) => {
                check_schema(items, false, &path, report);
            }
            Some(_) => report.error(
                Code::InvalidScreenData,
                path,
                "\"items\" is a declaration, or true for anything.",
            ),
        }
    }
    match map.get("properties") {
        Some(Value::Object(properties)) => {
            let path = path.key("properties");
            for (name, schema) in properties {
                let path = path.key(name);
                if name == EXAMPLE {
                    let message = "__example__ is allowed only in the outermost declaration: remove it here.";
                    report.error(Code::InvalidScreenData, path, message);
                } else {
                    check_schema(schema, false, &path, report);
                }
            }
        }
        Some(_) => report.error(
            Code::InvalidScreenData,
            path.key("properties"),
            "\"properties\" is an object of declarations.",
        ),
        None => {}
    }
    true
}

fn check_example(example: &Value, schema: &Value, path: &Path<'_>, report: &mut Report) {
    let wanted = Types::of_schema(schema);
    let found = Types::of(example);
    if !found.is_some_and(|found| found.overlaps(wanted)) {
        let found = found.map_or_else(|| "null".to_owned(), |found| found.to_string());
        let message = format!("The example is {found}, declared is {wanted}: make them equal.");
        report.error(Code::InvalidScreenData, path, message);
        return;
    }
    match example {
        Value::Array(entries) => {
            if let Some(items @ Value::Object(_)) = schema.get("items") {
                for (index, entry) in entries.iter().enumerate() {
                    check_example(entry, items, &path.index(index), report);
                }
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                if let Some(schema) = schema.get("properties").and_then(|properties| properties.get(name)) {
                    check_example(member, schema, &path.key(name), report);
                }
            }
        }
        _ => {}
    }
}

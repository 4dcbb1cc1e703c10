//! Formgate's own format: `schemas/form.schema.json`, written by hand or by a program.

use serde_json::Value;

use super::{Connector, Import, ImportError};
use crate::form::Form;

pub(super) struct NeutralForm;

impl Connector for NeutralForm {
    fn tool(&self) -> &'static str {
        "form"
    }

    fn read(&self, definition: &[u8]) -> Result<Import, ImportError> {
        let mut json: Value =
            serde_json::from_slice(definition).map_err(|error| ImportError::Json(error.to_string()))?;
        // Editors find the schema by it; it says nothing about the form.
        json.as_object_mut().map(|form| form.shift_remove("$schema"));
        if json.get("fields").is_some() && json.get("pages").is_none() {
            return Err(ImportError::Shape(
                "this looks like a Typeform definition; choose --tool typeform for it".to_owned(),
            ));
        }
        if json.get("items").is_some() && json.get("pages").is_none() {
            return Err(ImportError::Shape(
                "this looks like a Google form; choose --tool google-forms for it".to_owned(),
            ));
        }
        let form: Form = serde_json::from_value(json.clone()).map_err(|error| {
            ImportError::Shape(format!("this is not a form in Formgate's own format: {error}"))
        })?;
        let mut ignored = Vec::new();
        let read = serde_json::to_value(&form).map_err(|error| ImportError::Shape(error.to_string()))?;
        unread("", &json, &read, &mut ignored);
        if !ignored.is_empty() {
            return Err(ImportError::Shape(format!(
                "these members have no meaning where they stand, a typing error perhaps: {}",
                ignored.join(", ")
            )));
        }
        let faults = form.check();
        if faults.is_empty() {
            Ok(Import { form, notes: Vec::new() })
        } else {
            Err(ImportError::Faults(faults))
        }
    }
}

/// Members of the definition that reading it passed over. Serde refuses them only where nothing is flattened or untagged,
/// and a `requird` that is ignored there would be a rule that is dropped in silence.
fn unread(at: &str, written: &Value, read: &Value, found: &mut Vec<String>) {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            for (name, value) in written {
                let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                match read.get(name) {
                    Some(read) => unread(&at, value, read, found),
                    // A default that was written out is not kept.
                    None if means_nothing(value) => {}
                    None => found.push(at),
                }
            }
        }
        (Value::Array(written), Value::Array(read)) => {
            for (index, (written, read)) in written.iter().zip(read).enumerate() {
                unread(&format!("{at}[{index}]"), written, read, found);
            }
        }
        _ => {}
    }
}

fn means_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_form_is_read_and_faults_are_told_together() {
        let sound =
            br#"{"id":"f","title":"F","pages":[{"id":"p","questions":[{"key":"a","type":"email"}]}]}"#;
        assert_eq!(NeutralForm.read(sound).map(|import| import.form.id), Ok("f".to_owned()));
        let faulty = br#"{"id":"f","title":"F","pages":[{"id":"p","questions":[
            {"key":"a","type":"email"},{"key":"a","type":"email","visible_if":{"if":{"answer":"x"},"op":"answered"}}]}]}"#;
        assert!(matches!(NeutralForm.read(faulty), Err(ImportError::Faults(faults)) if faults.len() == 2));
    }

    #[test]
    fn something_else_is_refused_with_what_it_looks_like() {
        assert!(matches!(NeutralForm.read(b"{"), Err(ImportError::Json(_))));
        assert!(matches!(NeutralForm.read(b"[]"), Err(ImportError::Shape(_))));
        let typeform = NeutralForm.read(br#"{"title":"T","fields":[]}"#);
        assert!(typeform.is_err_and(|error| error.to_string().contains("--tool typeform")));
    }

    #[test]
    fn a_member_that_means_nothing_where_it_stands_is_named_and_refused() {
        let typing_errors =
            br#"{"$schema":"form.schema.json","id":"f","title":"F","pages":[{"id":"p","questions":[
            {"key":"a","type":"email","requird":true,"max_length":5,"personal":false,"rules":[]},
            {"key":"b","type":"url","visible_if":{"if":{"answer":"a","not":1},"op":"answered"}}]}]}"#;
        let refused = NeutralForm.read(typing_errors).expect_err("three members").to_string();
        assert!(
            refused.ends_with(
                ": pages[0].questions[0].requird, pages[0].questions[0].max_length, pages[0].questions[1].visible_if.if.not"
            ),
            "{refused}"
        );
    }
}

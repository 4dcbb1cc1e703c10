//! Formgate's own format: `schemas/form.schema.json`, written by hand or by a program.

use super::{Connector, Import, ImportError};
use crate::form::Form;

pub(super) struct NeutralForm;

impl Connector for NeutralForm {
    fn tool(&self) -> &'static str {
        "form"
    }

    fn read(&self, definition: &[u8]) -> Result<Import, ImportError> {
        let json: serde_json::Value =
            serde_json::from_slice(definition).map_err(|error| ImportError::Json(error.to_string()))?;
        if json.get("fields").is_some() && json.get("pages").is_none() {
            return Err(ImportError::Shape(
                "this looks like a Typeform definition; choose --tool typeform for it".to_owned(),
            ));
        }
        let form: Form = serde_json::from_value(json).map_err(|error| {
            ImportError::Shape(format!("this is not a form in Formgate's own format: {error}"))
        })?;
        let faults = form.check();
        if faults.is_empty() {
            Ok(Import { form, notes: Vec::new() })
        } else {
            Err(ImportError::Faults(faults))
        }
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
}

//! The form tools: what each one's definition says, as a neutral form.
//!
//! Invariant: bad input is refused or named in a note, never guessed and never a panic.

mod api;
pub mod connection;
mod form;
pub mod google_forms;
pub mod google_sheets;
pub mod hubspot;
mod json;
pub mod oauth;
pub mod source;
pub mod surveymonkey;
mod translate;
pub mod typeform;

pub use self::api::{Api, Granting, Tokens, Ungranted};
pub use self::google_forms::PublicForm;
use crate::form::{Fault, Form};
use crate::outbox::Grade;

/// A form tool.
pub trait Connector: Send + Sync {
    /// Its name in the configuration, such as `typeform`.
    fn tool(&self) -> &'static str;

    /// Reads a definition, as the tool exports it.
    ///
    /// # Errors
    /// [`ImportError`], in the words of the form's owner.
    fn read(&self, definition: &[u8]) -> Result<Import, ImportError>;
}

/// A form that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// The form; [`Form::check`] finds nothing wrong with it.
    pub form: Form,
    /// What of the definition is not in the form, or not as it was.
    pub notes: Vec<Note>,
}

/// Something that was not carried, or was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Where in the definition: `question.KEY`, `question.KEY.rule.N`, `ending.KEY`, `form.…`.
    pub at: String,
    /// The text people know it by.
    pub title: String,
    /// What, in plain words.
    pub text: String,
    /// It is not carried at all; otherwise it is carried in another way.
    pub lost: bool,
}

impl Note {
    /// Something that is not carried.
    pub(crate) fn lost(at: impl Into<String>, title: &str, text: impl Into<String>) -> Note {
        Note { at: at.into(), title: title.to_owned(), text: text.into(), lost: true }
    }

    /// Something that is carried in another way.
    pub(crate) fn changed(at: impl Into<String>, title: &str, text: impl Into<String>) -> Note {
        Note { at: at.into(), title: title.to_owned(), text: text.into(), lost: false }
    }
}

/// Why a definition cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Not JSON.
    #[error("this is not JSON: {0}")]
    Json(String),
    /// JSON, but not a definition of this tool.
    #[error("{0}")]
    Shape(String),
    /// A definition that contradicts itself.
    #[error("the form has faults:\n{}", .0.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<Fault>),
}

/// Every tool there is a connector for.
pub fn connectors() -> [&'static dyn Connector; 5] {
    [
        &form::NeutralForm,
        &google_forms::GoogleForms,
        &hubspot::Hubspot,
        &surveymonkey::SurveyMonkey,
        &typeform::Typeform,
    ]
}

/// The connector of a tool.
pub fn connector(tool: &str) -> Option<&'static dyn Connector> {
    connectors().into_iter().find(|connector| connector.tool() == tool)
}

/// The kinds of destinations that put a submission of this tool's form back into the tool, the best first.
pub fn ways_back(tool: &str) -> &'static [(&'static str, Grade)] {
    match tool {
        "hubspot" => &[("hubspot", Grade::A), ("hubspot-crm", Grade::C)],
        "surveymonkey" => &[("surveymonkey", Grade::A)],
        "google-forms" => {
            &[("google-apps-script", Grade::A), ("google-forms", Grade::B), ("google-sheets", Grade::C)]
        }
        "typeform" => &[("typeform", Grade::C), ("typeform-webhook", Grade::C)],
        _ => &[],
    }
}

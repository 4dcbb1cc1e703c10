//! How answers are named and made for somewhere that knows the form by other names.

use serde_json::Value;

use super::{Recall, Template};

/// One step of a mapping. It is told under a name: the question's key, or the name of the value that it makes.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The answer to the question is called so.
    Rename(String),
    /// The answer to the question is not sent.
    Drop,
    /// A value that is always sent: a text, a number or a truth value.
    Constant(Value),
    /// A text with answers in it.
    Template(Template),
    /// The answers to several questions as one text; those that were not given are left out.
    Join {
        /// The questions' keys.
        of: Vec<String>,
        /// What stands between them.
        with: String,
    },
}

impl Step {
    /// The keys of the questions that the step needs, if it is told under this name.
    pub fn questions<'s>(&'s self, name: &'s str) -> Vec<&'s str> {
        match self {
            Step::Rename(_) | Step::Drop => vec![name],
            Step::Constant(_) => Vec::new(),
            Step::Template(template) => {
                let answers = template.recalls().filter_map(|recall| match recall {
                    Recall::Answer(key) => Some(key.as_str()),
                    Recall::Hidden(_) | Recall::Variable(_) => None,
                });
                answers.collect()
            }
            Step::Join { of, .. } => of.iter().map(String::as_str).collect(),
        }
    }
}

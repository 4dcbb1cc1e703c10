//! How answers are named and made for somewhere that knows the form by other names.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Recall, Template};

/// One step of a mapping. It is told under a name: the question's key, or the name of the value that it makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
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

/// The value is no step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not understood: write a name, or one of drop, constant, template and join, such as {{\"template\": \"{{{{answer:key}}}}\"}}"
)]
pub struct NoStep;

impl TryFrom<Value> for Step {
    type Error = NoStep;

    /// As configuration and API write it: `"name"`, `{"drop": true}`, `{"constant": "…"}`, `{"template": "…"}` or
    /// `{"join": ["key"], "with": ", "}`.
    fn try_from(value: Value) -> Result<Self, NoStep> {
        let members = match &value {
            Value::String(name) if !name.is_empty() => return Ok(Step::Rename(name.clone())),
            Value::Object(members) => members,
            _ => return Err(NoStep),
        };
        let with = members.get("with");
        Ok(match (members.len(), members.iter().find(|(name, _)| *name != "with").ok_or(NoStep)?) {
            (1, (name, Value::Bool(true))) if name == "drop" => Step::Drop,
            (1, (name, value @ (Value::String(_) | Value::Number(_) | Value::Bool(_))))
                if name == "constant" =>
            {
                Step::Constant(value.clone())
            }
            (1, (name, Value::String(text))) if name == "template" => Step::Template(Template::parse(text)),
            (1 | 2, (name, Value::Array(keys))) if name == "join" && !keys.is_empty() => {
                let keys = keys.iter().map(|key| key.as_str().map(str::to_owned));
                let of = keys.collect::<Option<_>>().ok_or(NoStep)?;
                let with = with.map_or(Some(", "), Value::as_str).ok_or(NoStep)?.to_owned();
                if members.len() == 2 && members.get("with").is_none() {
                    return Err(NoStep);
                }
                Step::Join { of, with }
            }
            _ => return Err(NoStep),
        })
    }
}

impl From<Step> for Value {
    fn from(step: Step) -> Value {
        match step {
            Step::Rename(name) => name.into(),
            Step::Drop => json!({"drop": true}),
            Step::Constant(value) => json!({"constant": value}),
            Step::Template(template) => json!({"template": template.fill(Recall::to_string)}),
            Step::Join { of, with } => json!({"join": of, "with": with}),
        }
    }
}

/// The first name that a mapping gives to two answers.
pub fn given_twice<'m>(steps: impl IntoIterator<Item = (&'m String, &'m Step)>) -> Option<&'m str> {
    let given = steps.into_iter().filter_map(|(name, step)| match step {
        Step::Rename(to) => Some(to.as_str()),
        Step::Drop => None,
        _ => Some(name.as_str()),
    });
    let mut names: Vec<&str> = given.collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_written_as_it_is_read() {
        for written in [
            json!("name"),
            json!({"drop": true}),
            json!({"constant": 3}),
            json!({"template": "{{answer:first}} {{hidden:x}} {{variable:y}} {{{{"}),
            json!({"join": ["first", "last"], "with": " "}),
        ] {
            let step = Step::try_from(written.clone()).unwrap_or_else(|error| panic!("{written} {error}"));
            assert_eq!(Value::from(step), written);
        }
        let comma = Step::try_from(json!({"join": ["first"]})).expect("a step");
        assert_eq!(comma, Step::Join { of: vec!["first".to_owned()], with: ", ".to_owned() });
    }

    #[test]
    fn what_is_no_step_is_refused() {
        for wrong in [
            json!(""),
            json!(1),
            json!(null),
            json!({}),
            json!({"drop": false}),
            json!({"constant": null}),
            json!({"constant": 1, "with": ","}),
            json!({"join": []}),
            json!({"join": [1]}),
            json!({"join": ["a"], "with": 1}),
            json!({"join": ["a"], "drop": true}),
            json!({"with": ","}),
            json!({"rename": "a"}),
        ] {
            assert_eq!(Step::try_from(wrong.clone()), Err(NoStep), "{wrong}");
        }
    }
}

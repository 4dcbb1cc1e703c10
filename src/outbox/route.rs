//! What stands before a destination: a condition that says which submissions go there, and a mapping of their answers.
//!
//! Invariant: a destination behind a route sees only the mapped answers; everything else of a submission, its id above
//! all, passes unchanged. Both are looked at when it is delivered, so a replay goes by those of today.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::destination::{Attempting, Call, Destination, Grade, Outcome};
use super::ids::DestinationId;
use super::submission::{Answer, Submission};
use crate::form::mapping::Step;
use crate::form::{self, Condition, Facts, Recall, Scalar, Selection};

/// A destination behind a condition and a mapping.
pub struct Routed {
    /// The destination itself.
    pub destination: Arc<dyn Destination>,
    /// Only submissions of which this holds go there.
    pub when: Option<Condition>,
    /// What becomes of answers, by name.
    pub mapping: Vec<(String, Step)>,
}

/// Two answers would have the same name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the mapping gives two answers the name “{name}”, one of them to the question {key}; mend it, then replay"
)]
pub struct Unmapped {
    /// The name.
    pub name: String,
    /// The key of the question whose answer found it taken.
    pub key: String,
}

impl Destination for Routed {
    fn id(&self) -> &DestinationId {
        self.destination.id()
    }

    fn account(&self) -> Cow<'_, str> {
        self.destination.account()
    }

    fn grade(&self) -> Grade {
        self.destination.grade()
    }

    fn deliver<'a>(&'a self, call: Call<'a>) -> Attempting<'a> {
        if self.when.as_ref().is_some_and(|when| !holds(when, call.submission)) {
            return Box::pin(async { Outcome::skipped() });
        }
        Box::pin(async move {
            match mapped(call.submission, &self.mapping) {
                Ok(submission) => self.destination.deliver(Call { submission: &submission, ..call }).await,
                Err(unmapped) => Outcome::refused("mapping", None, unmapped.to_string()),
            }
        })
    }
}

/// The submission as a destination with this mapping gets it.
///
/// # Errors
/// [`Unmapped`]: nothing overwrites anything.
pub fn mapped<'s>(
    submission: &'s Submission,
    mapping: &[(String, Step)],
) -> Result<Cow<'s, Submission>, Unmapped> {
    if mapping.is_empty() {
        return Ok(Cow::Borrowed(submission));
    }
    let step_of = |key: &str| mapping.iter().find(|(name, _)| name == key).map(|(_, step)| step);
    let mut answers = Vec::new();
    for answer in &submission.answers {
        match step_of(&answer.key) {
            Some(Step::Drop) => {}
            Some(Step::Rename(name)) => {
                add(&mut answers, Answer { key: name.clone(), ..answer.clone() }, &answer.key)?
            }
            _ => add(&mut answers, answer.clone(), &answer.key)?,
        }
    }
    for (name, step) in mapping {
        let value = match step {
            Step::Rename(_) | Step::Drop => continue,
            Step::Constant(value) => value.clone(),
            Step::Template(template) => template.fill(|recall| recalled(submission, recall)).into(),
            Step::Join { of, with } => {
                let texts = of.iter().filter_map(|key| Some(answer(submission, key)?.text.as_str()));
                texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(with).into()
            }
        };
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if !text.trim().is_empty() {
            let made = Answer {
                key: name.clone(),
                question: name.clone(),
                kind: "short_text".to_owned(),
                value,
                text,
                other: None,
            };
            add(&mut answers, made, name)?;
        }
    }
    Ok(Cow::Owned(Submission { answers, ..submission.clone() }))
}

fn add(answers: &mut Vec<Answer>, answer: Answer, key: &str) -> Result<(), Unmapped> {
    if answers.iter().any(|known| known.key == answer.key) {
        return Err(Unmapped { name: answer.key, key: key.to_owned() });
    }
    answers.push(answer);
    Ok(())
}

fn answer<'s>(submission: &'s Submission, key: &str) -> Option<&'s Answer> {
    submission.answers.iter().find(|answer| answer.key == key)
}

fn recalled(submission: &Submission, recall: &Recall) -> String {
    let found = match recall {
        Recall::Answer(key) => answer(submission, key).map(|answer| answer.text.clone()),
        Recall::Hidden(name) => submission.hidden.get(name).cloned().or_else(|| {
            let facts = submission.facts().into_iter();
            facts.filter(|(known, _)| known == name).map(|(_, value)| value).next()
        }),
        Recall::Variable(name) => {
            submission.variables.get(name).and_then(Scalar::from_json).map(|value| value.display())
        }
    };
    found.unwrap_or_default()
}

fn holds(when: &Condition, submission: &Submission) -> bool {
    let answers = submission.answers.iter().filter_map(|answer| Some((answer.key.clone(), value(answer)?)));
    let variables = submission.variables.iter();
    let variables: BTreeMap<String, Scalar> =
        variables.filter_map(|(name, value)| Some((name.clone(), Scalar::from_json(value)?))).collect();
    let answers = answers.collect();
    when.holds(&Facts { answers: &answers, hidden: &submission.hidden, variables: &variables })
}

/// The answer as the form had it.
fn value(answer: &Answer) -> Option<form::Value> {
    let texts = |items: &[Value]| -> Vec<String> {
        items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    Some(match &answer.value {
        Value::Null => return None,
        Value::Bool(value) => form::Value::Bool(*value),
        Value::Number(number) => form::Value::Number(number.as_f64()?),
        Value::String(text) if answer.kind == "single_choice" => form::Value::Choice(Selection::of([text])),
        Value::String(text) => form::Value::Text(text.clone()),
        Value::Array(items) => form::Value::Choices(Selection::of(texts(items))),
        Value::Object(rows) => {
            let row = |(row, chosen): (&String, &Value)| {
                let chosen = chosen.as_array().map(Vec::as_slice).unwrap_or_default();
                (row.clone(), texts(chosen))
            };
            form::Value::Matrix(rows.iter().map(row).collect())
        }
    })
}

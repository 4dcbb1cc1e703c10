//! Conditions over answers, hidden values and variables.
//!
//! Evaluation never fails: a missing answer is simply not equal to, not greater than and not containing anything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Answers, Value};

/// A condition, nested as deep as the source has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Condition {
    /// All of them; an empty list holds.
    All {
        /// The parts.
        all: Vec<Condition>,
    },
    /// At least one of them; an empty list does not hold.
    Any {
        /// The parts.
        any: Vec<Condition>,
    },
    /// The opposite.
    Not {
        /// The part.
        not: Box<Condition>,
    },
    /// One comparison.
    Test(Test),
}

/// One comparison: `{"if": {"answer": "color"}, "op": "is", "value": "red"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// What is looked at.
    #[serde(rename = "if")]
    pub left: Operand,
    /// How.
    pub op: Op,
    /// Compared with what; not needed by `answered` and `unanswered`.
    #[serde(default = "nothing", rename = "value", skip_serializing_if = "is_nothing")]
    pub right: Operand,
}

fn nothing() -> Operand {
    Operand::Constant(serde_json::Value::Null)
}

fn is_nothing(operand: &Operand) -> bool {
    *operand == nothing()
}

/// Something that has a value while a form is filled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Operand {
    /// The answer to a question.
    Answer {
        /// The question's key.
        answer: String,
    },
    /// The columns chosen in one row of a matrix.
    Row {
        /// The matrix question's key.
        matrix: String,
        /// The row's id.
        row: String,
    },
    /// A hidden value.
    Hidden {
        /// Its name.
        hidden: String,
    },
    /// A variable.
    Variable {
        /// Its name.
        variable: String,
    },
    /// A string (an option id when a choice is looked at), number or boolean.
    Constant(serde_json::Value),
}

/// How two operands are compared. Texts are compared trimmed and without regard to case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Equal; of several options: among those chosen.
    Is,
    /// The opposite of `is`.
    IsNot,
    /// The text holds it; the option is among those chosen.
    Contains,
    /// The opposite of `contains`.
    NotContains,
    /// The text begins with it.
    BeginsWith,
    /// The text ends with it.
    EndsWith,
    /// Smaller; of dates and times: earlier.
    LessThan,
    /// Smaller or equal.
    AtMost,
    /// Greater; of dates and times: later.
    GreaterThan,
    /// Greater or equal.
    AtLeast,
    /// Has an answer.
    Answered,
    /// Has none.
    Unanswered,
}

/// All that a condition may look at.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Answers by question key.
    pub answers: &'a Answers,
    /// Hidden values by name.
    pub hidden: &'a BTreeMap<String, String>,
    /// Variables by name.
    pub variables: &'a BTreeMap<String, Scalar>,
}

/// A value that can be compared and computed with.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// A truth value.
    Bool(bool),
    /// Several texts: option ids.
    Many(Vec<String>),
}

impl Condition {
    /// A single test, for importers.
    pub fn test(left: Operand, op: Op, right: Operand) -> Condition {
        Condition::Test(Test { left, op, right })
    }

    /// Whether it holds.
    pub fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Condition::All { all } => all.iter().all(|c| c.holds(facts)),
            Condition::Any { any } => any.iter().any(|c| c.holds(facts)),
            Condition::Not { not } => !not.holds(facts),
            Condition::Test(test) => test.holds(facts),
        }
    }

    /// Every operand, depth first.
    pub fn operands<'c>(&'c self, visit: &mut impl FnMut(&'c Operand)) {
        match self {
            Condition::All { all: parts } | Condition::Any { any: parts } => {
                for part in parts {
                    part.operands(visit);
                }
            }
            Condition::Not { not } => not.operands(visit),
            Condition::Test(test) => {
                visit(&test.left);
                visit(&test.right);
            }
        }
    }

    /// The keys of the questions it looks at.
    pub fn questions(&self) -> Vec<&str> {
        let mut keys = Vec::new();
        self.operands(&mut |operand| match operand {
            Operand::Answer { answer: key } | Operand::Row { matrix: key, .. } => keys.push(key.as_str()),
            _ => {}
        });
        keys
    }
}

impl Operand {
    /// The answer to this question.
    pub fn answer(key: impl Into<String>) -> Operand {
        Operand::Answer { answer: key.into() }
    }

    /// Its value now; `None` when there is none.
    pub fn resolve(&self, facts: &Facts<'_>) -> Option<Scalar> {
        match self {
            Operand::Answer { answer } => facts.answers.get(answer).map(scalar_of),
            Operand::Row { matrix, row } => match facts.answers.get(matrix)? {
                Value::Matrix(rows) => rows.get(row).map(|ids| Scalar::Many(ids.clone())),
                _ => None,
            },
            Operand::Hidden { hidden } => facts.hidden.get(hidden).map(|v| Scalar::Text(v.clone())),
            Operand::Variable { variable } => facts.variables.get(variable).cloned(),
            Operand::Constant(value) => Scalar::from_json(value),
        }
    }
}

impl Scalar {
    /// A JSON string, number or boolean.
    pub fn from_json(value: &serde_json::Value) -> Option<Scalar> {
        match value {
            serde_json::Value::String(text) => Some(Scalar::Text(text.clone())),
            serde_json::Value::Number(number) => number.as_f64().map(Scalar::Number),
            serde_json::Value::Bool(value) => Some(Scalar::Bool(*value)),
            _ => None,
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Scalar::Text(text) => text.clone().into(),
            Scalar::Number(number) => super::answer::number_json(*number),
            Scalar::Bool(value) => (*value).into(),
            Scalar::Many(ids) => ids.clone().into(),
        }
    }

    /// As a person would read it.
    pub fn display(&self) -> String {
        match self {
            Scalar::Text(text) => text.clone(),
            Scalar::Number(number) => super::answer::number_json(*number).to_string(),
            Scalar::Bool(value) => value.to_string(),
            Scalar::Many(ids) => ids.join(", "),
        }
    }

    /// As a number, when it is one or reads like one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Scalar::Number(number) => Some(*number),
            Scalar::Text(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
            Scalar::Bool(_) | Scalar::Many(_) => None,
        }
    }
}

fn scalar_of(value: &Value) -> Scalar {
    match value {
        Value::Text(text) => Scalar::Text(text.clone()),
        Value::Number(number) => Scalar::Number(*number),
        Value::Bool(value) => Scalar::Bool(*value),
        Value::Choice(selection) | Value::Choices(selection) => {
            Scalar::Many(selection.ids.iter().chain(&selection.other).cloned().collect())
        }
        Value::Ranking(ids) => Scalar::Many(ids.clone()),
        Value::Matrix(rows) => Scalar::Many(rows.values().flatten().cloned().collect()),
        Value::Files(files) => Scalar::Many(files.iter().map(|f| f.file_name.clone()).collect()),
    }
}

impl Test {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        let left = self.left.resolve(facts);
        match self.op {
            Op::Answered => return left.is_some_and(|l| !is_empty(&l)),
            Op::Unanswered => return left.is_none_or(|l| is_empty(&l)),
            _ => {}
        }
        let right = self.right.resolve(facts);
        let (Some(left), Some(right)) = (left, right) else {
            return matches!(self.op, Op::IsNot | Op::NotContains);
        };
        match self.op {
            Op::Is => same(&left, &right),
            Op::IsNot => !same(&left, &right),
            Op::Contains => contains(&left, &right),
            Op::NotContains => !contains(&left, &right),
            Op::BeginsWith => any_text(&left, &right, |l, r| l.starts_with(r)),
            Op::EndsWith => any_text(&left, &right, |l, r| l.ends_with(r)),
            Op::LessThan => order(&left, &right).is_some_and(std::cmp::Ordering::is_lt),
            Op::AtMost => order(&left, &right).is_some_and(std::cmp::Ordering::is_le),
            Op::GreaterThan => order(&left, &right).is_some_and(std::cmp::Ordering::is_gt),
            Op::AtLeast => order(&left, &right).is_some_and(std::cmp::Ordering::is_ge),
            Op::Answered | Op::Unanswered => unreachable!("answered above"),
        }
    }
}

fn is_empty(value: &Scalar) -> bool {
    match value {
        Scalar::Text(text) => text.is_empty(),
        Scalar::Many(ids) => ids.is_empty(),
        Scalar::Number(_) | Scalar::Bool(_) => false,
    }
}

fn fold(text: &str) -> String {
    text.trim().to_lowercase()
}

fn same(left: &Scalar, right: &Scalar) -> bool {
    match (left, right) {
        (Scalar::Many(l), Scalar::Many(r)) => l == r,
        // An option id is compared to the letter, a written "other" or label as text.
        (Scalar::Many(ids), other) | (other, Scalar::Many(ids)) => {
            let wanted = other.display();
            ids.contains(&wanted) || ids.iter().any(|id| fold(id) == fold(&wanted))
        }
        (Scalar::Bool(l), Scalar::Bool(r)) => l == r,
        (Scalar::Bool(value), Scalar::Text(text)) | (Scalar::Text(text), Scalar::Bool(value)) => {
            fold(text) == value.to_string()
        }
        (Scalar::Text(l), Scalar::Text(r)) => fold(l) == fold(r),
        _ => left.number().is_some_and(|l| right.number() == Some(l)),
    }
}

fn contains(left: &Scalar, right: &Scalar) -> bool {
    match left {
        Scalar::Many(_) => same(left, right),
        _ => any_text(left, right, |l, r| l.contains(r)),
    }
}

fn any_text(left: &Scalar, right: &Scalar, test: impl Fn(&str, &str) -> bool) -> bool {
    let wanted = fold(&right.display());
    match left {
        Scalar::Many(ids) => ids.iter().any(|id| test(&fold(id), &wanted)),
        _ => test(&fold(&left.display()), &wanted),
    }
}

/// Numbers by value; anything else as text, which is right for ISO dates and times.
fn order(left: &Scalar, right: &Scalar) -> Option<std::cmp::Ordering> {
    if let (Some(l), Some(r)) = (left.number(), right.number()) {
        return l.partial_cmp(&r);
    }
    match (left, right) {
        (Scalar::Text(l), Scalar::Text(r)) => Some(fold(l).cmp(&fold(r))),
        _ => None,
    }
}

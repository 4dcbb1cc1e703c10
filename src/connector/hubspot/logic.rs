//! When a dependent field is shown.
//!
//! HubSpot does not say whether "is not" holds while the parent is empty. Here a dependent field is shown only once its
//! parent has an answer; the import says so wherever it makes a difference.

use serde_json::{Value, json};

use super::source::Filter;
use crate::form::{Condition, Kind, Op, Operand, Test};

/// What a condition looks at.
pub(super) struct Parent<'a> {
    pub operand: Operand,
    /// What is asked; `None` for a hidden field.
    pub kind: Option<&'a Kind>,
}

/// A condition that was read, and what of it is not as HubSpot has it.
pub(super) struct Shown {
    pub condition: Condition,
    pub note: Option<String>,
}

/// Reads a comparison.
///
/// # Errors
/// Why it cannot be carried, to complete "it is shown under a condition that cannot be carried: …".
pub(super) fn shown_if(parent: &Parent<'_>, filter: &Filter) -> Result<Shown, String> {
    let mut notes = Vec::new();
    let operator = filter.operator.as_str();
    let (positive, negated) = match operator {
        "neq" => ("eq", true),
        "doesnt_contain" => ("contains", true),
        "not_between" => ("between", true),
        "set_not_any" => ("set_any", true),
        "set_not_all" => ("set_all", true),
        "set_neq" => ("set_eq", true),
        other => (other, false),
    };
    let condition = match positive {
        "eq" => {
            let value = filter.value.clone().or_else(|| filter.values.first().cloned());
            let value = value.ok_or("it compares with nothing")?;
            match parent.kind {
                Some(Kind::MultipleChoice(_)) => {
                    let values: Vec<String> = value.split(';').map(|part| part.trim().to_owned()).collect();
                    parent.exactly(&values, &mut notes)?
                }
                _ => Condition::All { all: parent.each(&[value], &mut notes)? },
            }
        }
        "contains" | "str_starts_with" | "str_ends_with" => parent.part(positive, filter)?,
        "lt" | "lte" | "gt" | "gte" => {
            let op = match positive {
                "lt" => Op::LessThan,
                "lte" => Op::AtMost,
                "gt" => Op::GreaterThan,
                _ => Op::AtLeast,
            };
            parent.test(op, parent.ordered(filter.value.as_deref())?)
        }
        "between" => Condition::All {
            all: vec![
                parent.test(Op::AtLeast, parent.ordered(filter.start.as_deref())?),
                parent.test(Op::AtMost, parent.ordered(filter.end.as_deref())?),
            ],
        },
        "set_any" => Condition::Any { any: parent.each(&filter.values, &mut notes)? },
        "set_all" => Condition::All { all: parent.each(&filter.values, &mut notes)? },
        "set_eq" => parent.exactly(&filter.values, &mut notes)?,
        "is_not_empty" => match parent.kind {
            Some(Kind::Consent { .. }) => {
                return Err("whether a box that is not ticked counts as empty is not documented".to_owned());
            }
            _ => parent.known(),
        },
        "within_time" | "within_time_reverse" => {
            return Err("it looks at the time that has passed, which forms here do not know".to_owned());
        }
        "" => return Err("it has no operator".to_owned()),
        other => return Err(format!("the comparison “{other}” is not known")),
    };
    if !negated {
        return Ok(Shown { condition, note: notes.into_iter().next() });
    }
    notes.push(
        "shown once the field before it has an answer; whether HubSpot shows it before that is not documented".to_owned(),
    );
    let not = Condition::Not { not: Box::new(condition) };
    Ok(Shown { condition: Condition::All { all: vec![parent.known(), not] }, note: Some(notes.join("; ")) })
}

impl Parent<'_> {
    fn test(&self, op: Op, value: Value) -> Condition {
        Condition::Test(Test { left: self.operand.clone(), op, right: Operand::Constant(value) })
    }

    fn known(&self) -> Condition {
        self.test(Op::Answered, Value::Null)
    }

    fn options(&self) -> Option<Vec<&str>> {
        let options = self.kind?.options();
        (!options.is_empty()).then(|| options.iter().map(|option| option.id.as_str()).collect())
    }

    /// A test of equality for each value that the parent can have.
    fn each(&self, values: &[String], notes: &mut Vec<String>) -> Result<Vec<Condition>, String> {
        if values.is_empty() {
            return Err("it compares with nothing".to_owned());
        }
        let mut tests = Vec::new();
        for value in values {
            if self.options().is_some_and(|options| !options.contains(&value.as_str())) {
                notes.push(format!("its condition looks at “{value}”, which is not an option"));
                continue;
            }
            tests.push(self.test(Op::Is, self.equal(value)?));
        }
        if tests.is_empty() {
            return Err(format!("it looks at “{}”, which is not an option", values.join("”, “")));
        }
        Ok(tests)
    }

    /// These options and no other.
    fn exactly(&self, values: &[String], notes: &mut Vec<String>) -> Result<Condition, String> {
        let mut all = self.each(values, notes)?;
        if all.len() != values.len() {
            return Err("it asks for options that are not there".to_owned());
        }
        if let Some(Kind::MultipleChoice(_)) = self.kind {
            let others = self.options().unwrap_or_default().into_iter();
            let others = others.filter(|option| values.iter().all(|value| value != option));
            all.extend(
                others.map(|option| Condition::Not { not: Box::new(self.test(Op::Is, json!(option))) }),
            );
        }
        Ok(Condition::All { all })
    }

    /// A part of a text. A choice's value is one of its options, so they are looked through here.
    fn part(&self, operator: &str, filter: &Filter) -> Result<Condition, String> {
        let wanted = filter.value.as_deref().ok_or("it compares with nothing")?;
        if matches!(
            self.kind,
            Some(Kind::Number { .. } | Kind::Date { .. } | Kind::Consent { .. } | Kind::File(_))
        ) {
            return Err("a part of such an answer cannot be compared".to_owned());
        }
        let Some(options) = self.options() else {
            let op = match operator {
                "contains" => Op::Contains,
                "str_starts_with" => Op::BeginsWith,
                _ => Op::EndsWith,
            };
            return Ok(self.test(op, json!(wanted)));
        };
        let fits = |option: &&str| match operator {
            "contains" => option.contains(wanted),
            "str_starts_with" => option.starts_with(wanted),
            _ => option.ends_with(wanted),
        };
        let any: Vec<Condition> =
            options.into_iter().filter(fits).map(|option| self.test(Op::Is, json!(option))).collect();
        if any.is_empty() {
            return Err(format!("no option has “{wanted}” in it"));
        }
        Ok(Condition::Any { any })
    }

    /// A value to be equal to.
    fn equal(&self, value: &str) -> Result<Value, String> {
        match self.kind {
            Some(Kind::Number { .. }) => number(value),
            Some(Kind::Date { .. }) => day(value),
            Some(Kind::Consent { .. }) => match value.to_ascii_lowercase().as_str() {
                "true" => Ok(json!(true)),
                "false" => Ok(json!(false)),
                _ => Err("a box is ticked or not, and it compares with something else".to_owned()),
            },
            Some(Kind::File(_)) => Err("files cannot be compared".to_owned()),
            _ => Ok(json!(value)),
        }
    }

    /// A value to be greater or smaller than.
    fn ordered(&self, value: Option<&str>) -> Result<Value, String> {
        let value = value.ok_or("it compares with nothing")?;
        match self.kind {
            Some(Kind::Number { .. }) => number(value),
            Some(Kind::Date { .. }) => day(value),
            _ => Err("only numbers and dates can be greater or smaller".to_owned()),
        }
    }
}

fn number(value: &str) -> Result<Value, String> {
    let number: Option<f64> = value.parse().ok().filter(|number: &f64| number.is_finite());
    number.map(|number| json!(number)).ok_or_else(|| format!("“{value}” is not a number"))
}

fn day(value: &str) -> Result<Value, String> {
    date(value).map(|date| json!(date)).ok_or_else(|| format!("“{value}” is not a date"))
}

/// A date as HubSpot writes it, `YYYY-MM-DD` or milliseconds at midnight UTC, as ours.
pub(super) fn date(value: &str) -> Option<String> {
    if let Ok(date) = value.parse::<jiff::civil::Date>() {
        return Some(date.to_string()).filter(|date| date == value);
    }
    let at = jiff::Timestamp::from_millisecond(value.parse().ok()?).ok()?;
    Some(jiff::tz::Offset::UTC.to_datetime(at).date().to_string()).filter(|date| date.len() == 10)
}

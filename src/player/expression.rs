//! References and nested expressions as the client evaluates them (WhatsApp Flows reference 4.6 and 4.10).
//!
//! The player has its own evaluator on purpose: a document that only our compiler's parser understands must fail here.
//! An unset reference is *undefined* (`None`), and an undefined member vanishes from a payload (reference 4.9).

mod parser;

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use parser::{Expression, Operator};

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not follow the grammar.
    #[error("syntax error at byte {0}")]
    Syntax(usize),
    /// An operator got operands of types it does not take.
    #[error("`{0}` does not take these operands")]
    Types(&'static str),
    /// It nests deeper than any real document.
    #[error("nested too deeply")]
    Depth,
}

/// What a screen holds: the data that arrived and the values that were entered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScreenState {
    /// Data from the endpoint, from `navigate` or from `update_data`.
    pub data: Map<String, Value>,
    /// Current values of the inputs by name.
    pub values: Map<String, Value>,
}

/// Where references are looked up.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The screen that is shown.
    pub current: &'a ScreenState,
    /// Every screen seen so far, by id.
    pub screens: &'a BTreeMap<String, ScreenState>,
}

impl Scope<'_> {
    fn lookup(&self, path: &str) -> Option<Value> {
        let (root, rest) = path.split_once('.')?;
        let (members, rest) = match root {
            "data" => (&self.current.data, rest),
            "form" => (&self.current.values, rest),
            "screen" => {
                let (id, rest) = rest.split_once('.')?;
                let (side, rest) = rest.split_once('.')?;
                let state = self.screens.get(id)?;
                match side {
                    "data" => (&state.data, rest),
                    "form" => (&state.values, rest),
                    _ => return None,
                }
            }
            _ => return None,
        };
        let mut steps = rest.split('.');
        let first = members.get(steps.next()?)?;
        let value = steps.try_fold(first, |value, step| match value {
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            other => other.get(step),
        })?;
        (!value.is_null()).then(|| value.clone())
    }
}

/// The value of a property or payload: references resolved at any depth, undefined members left out.
pub fn evaluate(value: &Value, scope: Scope<'_>) -> Result<Option<Value>, Error> {
    match value {
        Value::String(text) => evaluate_text(text, scope),
        Value::Array(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| evaluate(item, scope)).collect();
            Ok(Some(Value::Array(items?.into_iter().flatten().collect())))
        }
        Value::Object(members) => {
            let mut evaluated = Map::new();
            for (name, member) in members {
                if let Some(member) = evaluate(member, scope)? {
                    evaluated.insert(name.clone(), member);
                }
            }
            Ok(Some(Value::Object(evaluated)))
        }
        literal => Ok(Some(literal.clone())),
    }
}

fn evaluate_text(text: &str, scope: Scope<'_>) -> Result<Option<Value>, Error> {
    if let Some(inner) = text.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
        return compute(&parser::parse(inner)?, scope);
    }
    match whole_reference(text) {
        Some(path) => Ok(scope.lookup(path)),
        None => Ok(Some(Value::String(text.to_owned()))),
    }
}

/// Outside backticks a reference must be the whole value (reference 4.6).
fn whole_reference(text: &str) -> Option<&str> {
    let path = text.strip_prefix("${")?.strip_suffix('}')?;
    (!path.contains(['{', '}', '`'])).then_some(path)
}

/// The verdict of an `If` condition, which is an expression with or without backticks. Undefined is false.
pub fn evaluate_condition(condition: &Value, scope: Scope<'_>) -> Result<bool, Error> {
    let value = match condition {
        Value::String(text) => {
            let inner = text.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).unwrap_or(text);
            compute(&parser::parse(inner)?, scope)?
        }
        other => Some(other.clone()),
    };
    truth(value, "condition")
}

fn compute(expression: &Expression, scope: Scope<'_>) -> Result<Option<Value>, Error> {
    match expression {
        Expression::Literal(value) => Ok(Some(value.clone())),
        Expression::Reference(path) => Ok(scope.lookup(path)),
        Expression::Not(operand) => Ok(Some(Value::Bool(!truth(compute(operand, scope)?, "!")?))),
        Expression::Negate(operand) => match compute(operand, scope)? {
            None => Ok(None),
            Some(value) => number(value.as_f64().map(|value| -value), "-"),
        },
        Expression::Concatenate(parts) => {
            let mut text = String::new();
            for part in parts {
                match compute(part, scope)? {
                    Some(Value::String(part)) => text.push_str(&part),
                    Some(part @ (Value::Number(_) | Value::Bool(_))) => text.push_str(&part.to_string()),
                    Some(_) => return Err(Error::Types("concatenation")),
                    None => {}
                }
            }
            Ok(Some(Value::String(text)))
        }
        Expression::Binary(Operator::And, left, right) => {
            let verdict = truth(compute(left, scope)?, "&&")? && truth(compute(right, scope)?, "&&")?;
            Ok(Some(Value::Bool(verdict)))
        }
        Expression::Binary(Operator::Or, left, right) => {
            let verdict = truth(compute(left, scope)?, "||")? || truth(compute(right, scope)?, "||")?;
            Ok(Some(Value::Bool(verdict)))
        }
        Expression::Binary(operator, left, right) => {
            binary(*operator, compute(left, scope)?, compute(right, scope)?)
        }
    }
}

fn binary(operator: Operator, left: Option<Value>, right: Option<Value>) -> Result<Option<Value>, Error> {
    let symbol = operator.symbol();
    match operator {
        Operator::Equal => equal(left, right, symbol).map(|verdict| Some(Value::Bool(verdict))),
        Operator::NotEqual => equal(left, right, symbol).map(|verdict| Some(Value::Bool(!verdict))),
        Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual => {
            let (Some(left), Some(right)) = (left, right) else { return Ok(Some(Value::Bool(false))) };
            let (Some(left), Some(right)) = (left.as_f64(), right.as_f64()) else {
                return Err(Error::Types(symbol));
            };
            Ok(Some(Value::Bool(match operator {
                Operator::Less => left < right,
                Operator::LessEqual => left <= right,
                Operator::Greater => left > right,
                _ => left >= right,
            })))
        }
        Operator::Divide | Operator::Remainder => {
            // Division or modulo by zero or null yields 0 (reference 4.6).
            let Some(right) = right else { return Ok(Some(Value::from(0))) };
            let Some(left) = left else { return Ok(None) };
            let (Some(left), Some(right)) = (left.as_f64(), right.as_f64()) else {
                return Err(Error::Types(symbol));
            };
            let quotient = match operator {
                _ if right == 0.0 => 0.0,
                Operator::Divide => left / right,
                _ => left % right,
            };
            number(Some(quotient), symbol)
        }
        Operator::Add | Operator::Subtract | Operator::Multiply => {
            let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
            let (Some(left), Some(right)) = (left.as_f64(), right.as_f64()) else {
                return Err(Error::Types(symbol));
            };
            let result = match operator {
                Operator::Add => left + right,
                Operator::Subtract => left - right,
                _ => left * right,
            };
            number(Some(result), symbol)
        }
        Operator::And | Operator::Or => Err(Error::Types(symbol)),
    }
}

fn equal(left: Option<Value>, right: Option<Value>, symbol: &'static str) -> Result<bool, Error> {
    match (left, right) {
        (None, None) => Ok(true),
        (None, Some(_)) | (Some(_), None) => Ok(false),
        (Some(Value::String(left)), Some(Value::String(right))) => Ok(left == right),
        (Some(Value::Bool(left)), Some(Value::Bool(right))) => Ok(left == right),
        (Some(Value::Number(left)), Some(Value::Number(right))) => Ok(left.as_f64() == right.as_f64()),
        _ => Err(Error::Types(symbol)),
    }
}

fn truth(value: Option<Value>, symbol: &'static str) -> Result<bool, Error> {
    match value {
        None => Ok(false),
        Some(Value::Bool(verdict)) => Ok(verdict),
        Some(_) => Err(Error::Types(symbol)),
    }
}

/// Whole results are JSON integers, so that `4 / 2` reads `2` in a text.
fn number(value: Option<f64>, symbol: &'static str) -> Result<Option<Value>, Error> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let value = value.ok_or(Error::Types(symbol))?;
    let number = if value.fract() == 0.0 && value.abs() < EXACT {
        Some(Number::from(value as i64))
    } else {
        Number::from_f64(value)
    };
    number.map(|number| Some(Value::Number(number))).ok_or(Error::Types(symbol))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(data: Value, values: Value) -> ScreenState {
        let object = |value: Value| value.as_object().cloned().expect("an object");
        ScreenState { data: object(data), values: object(values) }
    }

    fn run(value: &Value) -> Result<Option<Value>, Error> {
        let current = state(
            json!({"name": "Ada", "n": 7, "yes": true, "a": {"b": "deep"}, "list": [{"id": "1"}], "gone": null}),
            json!({"pet": "cat", "age": 12}),
        );
        let screens = [(String::from("FIRST"), state(json!({"x": 1}), json!({"mail": "a@b.it"})))];
        evaluate(value, Scope { current: &current, screens: &BTreeMap::from(screens) })
    }

    fn text(expression: &str) -> Result<Option<Value>, Error> {
        run(&json!(format!("`{expression}`")))
    }

    #[test]
    fn a_whole_value_reference_keeps_the_type_of_what_it_names() {
        assert_eq!(run(&json!("${data.n}")), Ok(Some(json!(7))));
        assert_eq!(run(&json!("${data.a.b}")), Ok(Some(json!("deep"))));
        assert_eq!(run(&json!("${data.list}")), Ok(Some(json!([{"id": "1"}]))));
        assert_eq!(run(&json!("${screen.FIRST.form.mail}")), Ok(Some(json!("a@b.it"))));
        assert_eq!(run(&json!("${screen.FIRST.data.x}")), Ok(Some(json!(1))));
    }

    #[test]
    fn a_reference_inside_a_literal_is_left_as_text() {
        assert_eq!(run(&json!("Hi ${data.name}")), Ok(Some(json!("Hi ${data.name}"))));
        assert_eq!(run(&json!("${data.name} ${data.name}")), Ok(Some(json!("${data.name} ${data.name}"))));
    }

    #[test]
    fn an_unset_reference_makes_its_key_vanish() {
        let payload = json!({"pet": "${form.pet}", "none": "${form.none}", "null": "${data.gone}", "v": "1",
            "in": {"x": "${screen.LATER.form.x}"}});
        assert_eq!(run(&payload), Ok(Some(json!({"pet": "cat", "v": "1", "in": {}}))));
    }

    #[test]
    fn expressions_follow_the_usual_precedence() {
        assert_eq!(text("1 + ${data.n} % 4 - 1"), Ok(Some(json!(3))));
        assert_eq!(text("(1 + ${data.n}) / 4"), Ok(Some(json!(2))));
        assert_eq!(text("${data.n} / 2"), Ok(Some(json!(3.5))));
        assert_eq!(text("${data.n} > 6 && ${form.pet} == 'cat' || false"), Ok(Some(json!(true))));
        assert_eq!(text("!(${data.yes}) || ${form.age} <= 11"), Ok(Some(json!(false))));
        assert_eq!(text("-${data.n} < -6.5"), Ok(Some(json!(true))));
    }

    #[test]
    fn juxtaposition_concatenates_strings_numbers_and_booleans() {
        assert_eq!(
            text("'Hi ' ${data.name} ', ' ${data.n} ' ' ${data.yes}"),
            Ok(Some(json!("Hi Ada, 7 true")))
        );
        assert_eq!(text("'Total: ' (${data.n} + 1)"), Ok(Some(json!("Total: 8"))));
        assert_eq!(text("'a' ${form.none} 'b'"), Ok(Some(json!("ab"))));
        assert_eq!(text(r"'tick \\` and \' quote' ${form.none}"), Ok(Some(json!("tick ` and ' quote"))));
    }

    #[test]
    fn division_and_modulo_by_zero_or_nothing_yield_zero() {
        for expression in ["${data.n} / 0", "${data.n} % 0", "${data.n} / ${form.none}"] {
            assert_eq!(text(expression), Ok(Some(json!(0))), "{expression}");
        }
    }

    #[test]
    fn operators_refuse_operands_of_other_types() {
        assert_eq!(text("${data.n} == '7'"), Err(Error::Types("==")));
        assert_eq!(text("${data.name} < 3"), Err(Error::Types("<")));
        assert_eq!(text("${data.name} && true"), Err(Error::Types("&&")));
        assert_eq!(text("${data.name} + 1"), Err(Error::Types("+")));
        assert_eq!(text("'x' ${data.list}"), Err(Error::Types("concatenation")));
    }

    #[test]
    fn an_undefined_operand_is_equal_to_nothing_and_false() {
        assert_eq!(text("${form.none} == 'x'"), Ok(Some(json!(false))));
        assert_eq!(text("${form.none} != 'x'"), Ok(Some(json!(true))));
        assert_eq!(text("!${form.none}"), Ok(Some(json!(true))));
    }

    #[test]
    fn broken_expressions_are_errors_and_never_panics() {
        for expression in ["", "(", "'open", "${data.n", "1 +", "== 1", "${data.n} ==", ")", "1 2 &", "é"] {
            assert!(matches!(text(expression), Err(Error::Syntax(_))), "{expression}");
        }
        assert_eq!(text(&"(".repeat(10_000)), Err(Error::Depth));
        assert_eq!(text(&"!".repeat(10_000)), Err(Error::Depth));
    }

    #[test]
    fn a_condition_needs_no_backticks() {
        let current = state(json!({"show": true}), json!({}));
        let scope = Scope { current: &current, screens: &BTreeMap::new() };
        assert_eq!(evaluate_condition(&json!("${data.show} && (${data.show} == true)"), scope), Ok(true));
        assert_eq!(evaluate_condition(&json!("`!${data.show}`"), scope), Ok(false));
        assert_eq!(evaluate_condition(&json!(true), scope), Ok(true));
        assert_eq!(evaluate_condition(&json!("'text' ${data.show}"), scope), Err(Error::Types("condition")));
    }
}

//! Logic: jumps, calculations and their conditions.

use serde_json::Value;

use super::choices::fold;
use super::fields::Place;
use super::{Reader, list, text};
use crate::form::{Condition, Ending, Kind, Op, Operand, Page, Question, Rule, RuleEffect, Target};

/// Why a rule is left out, in the words of the form's owner.
type Unread = String;

/// Typeform's own ending, which a form need not list.
const DEFAULT_ENDINGS: [&str; 2] = ["default_tys", "DefaultTyScreen"];

impl<'j> Reader<'j> {
    /// Learns, before any text is read, which variables the logic sets and which fields it looks at.
    pub(super) fn look_ahead(&mut self, logic: &'j [Value]) {
        let mut open: Vec<&'j Value> = logic.iter().collect();
        while let Some(json) = open.pop() {
            match (text(json, "type"), text(json, "value")) {
                (Some("variable"), Some(name)) => {
                    self.variables.entry(name).or_insert_with(|| Value::from(0));
                }
                (Some("field"), Some(name)) => {
                    self.tested.insert(name);
                }
                _ => {}
            }
            match json {
                Value::Array(items) => open.extend(items),
                // Where a jump leads is no test.
                Value::Object(members) => {
                    open.extend(members.iter().filter(|(name, _)| *name != "to").map(|(_, value)| value));
                }
                _ => {}
            }
        }
    }

    /// Puts every action of the logic behind the question or page it belongs to.
    pub(super) fn logic(
        &mut self,
        logic: &'j [Value],
        outcome: Option<&'j Value>,
        pages: &mut [Page],
        endings: &mut Vec<Ending>,
    ) {
        for entry in logic {
            let name = text(entry, "ref").unwrap_or_default();
            for (number, action) in list(entry, "actions").iter().enumerate() {
                let at = format!("question.{name}.rule.{number}");
                let owner = match text(entry, "type") {
                    Some("field") | None => rules_of(self.places.get(name), pages)
                        .ok_or_else(|| format!("it belongs to the field “{name}”, which is not in the form")),
                    Some(kind) => {
                        Err(format!("rules of a {kind} field, which run without a question, are not known"))
                    }
                };
                let rules = owner.and_then(|(rules, title)| {
                    self.rules(action, outcome, endings).map(|mut made| {
                        rules.append(&mut made);
                        title
                    })
                });
                if let Err(reason) = rules {
                    self.lost(at, &describe(action), &format!("this rule is not carried: {reason}"));
                }
            }
        }
    }

    fn rules(
        &mut self,
        action: &'j Value,
        outcome: Option<&'j Value>,
        endings: &mut Vec<Ending>,
    ) -> Result<Vec<Rule>, Unread> {
        let when = match action.get("condition") {
            Some(condition) => self.condition(condition)?,
            None => return Err("it has no condition".to_owned()),
        };
        let details = action.get("details").unwrap_or(&Value::Null);
        let name = text(action, "action").unwrap_or_default();
        if name == "jump" {
            let to = details.get("to").unwrap_or(&Value::Null);
            if text(to, "type") == Some("outcome") {
                return self.outcomes(when.as_ref(), outcome, endings);
            }
            let effect = RuleEffect::Jump(self.target(to, endings)?);
            return Ok(vec![Rule { when, effect }]);
        }
        let target = details.get("target").unwrap_or(&Value::Null);
        let variable = match (text(target, "type"), text(target, "value")) {
            (Some("variable") | None, Some(variable)) => variable.to_owned(),
            _ => return Err("it does not say which variable it changes".to_owned()),
        };
        let value = details.get("value").unwrap_or(&Value::Null);
        let value = match text(value, "type") {
            Some("evaluation") => return Err("it computes with a formula".to_owned()),
            _ => self.operand(value)?,
        };
        let effect = match name {
            "set" => RuleEffect::Set(variable, value),
            "add" => RuleEffect::Add(variable, value),
            "subtract" => RuleEffect::Subtract(variable, value),
            "multiply" => RuleEffect::Multiply(variable, value),
            "divide" => RuleEffect::Divide(variable, value),
            other => return Err(format!("the action “{other}” is not known")),
        };
        Ok(vec![Rule { when, effect }])
    }

    fn target(&self, to: &Value, endings: &mut Vec<Ending>) -> Result<Target, Unread> {
        let name = text(to, "value").ok_or("it does not say where it leads")?;
        match text(to, "type").unwrap_or_default() {
            "field" => match self.places.get(name) {
                Some(Place::Question(key)) | Some(Place::Group(key, _)) => Ok(Target::Question(key.clone())),
                Some(Place::Page(id)) => Ok(Target::Page(id.clone())),
                None => Err(format!("it leads to the field “{name}”, which is not in the form")),
            },
            "thankyou" => ending(name, endings)
                .ok_or_else(|| format!("it leads to the ending “{name}”, which is not in the form")),
            kind => Err(format!("it leads to a “{kind}”, which is not known")),
        }
    }

    /// The jump to whichever ending the outcome's variable names.
    fn outcomes(
        &mut self,
        when: Option<&Condition>,
        outcome: Option<&'j Value>,
        endings: &mut Vec<Ending>,
    ) -> Result<Vec<Rule>, Unread> {
        let outcome = outcome.ok_or("the form has no outcomes")?;
        let variable = text(outcome, "variable").ok_or("the outcomes name no variable")?;
        self.variables.entry(variable).or_insert_with(|| Value::from(""));
        let mut rules = Vec::new();
        for choice in list(outcome, "choices") {
            let names = text(choice, "ref").zip(text(choice, "thankyou_screen_ref"));
            let (name, screen) = names.ok_or("an outcome names no ending")?;
            let to = ending(screen, endings).ok_or_else(|| {
                format!("an outcome leads to the ending “{screen}”, which is not in the form")
            })?;
            let is = Condition::test(
                Operand::Variable { variable: variable.to_owned() },
                Op::Is,
                Operand::Constant(name.into()),
            );
            let all = when.cloned().into_iter().chain([is]).collect();
            rules.push(Rule { when: Some(Condition::All { all }), effect: RuleEffect::Jump(to) });
        }
        if rules.is_empty() {
            return Err("the form has no outcomes".to_owned());
        }
        rules.push(Rule { when: when.cloned(), effect: RuleEffect::Jump(Target::End) });
        Ok(rules)
    }

    /// `None` is “always”.
    fn condition(&mut self, json: &'j Value) -> Result<Option<Condition>, Unread> {
        let op = text(json, "op").ok_or("its condition cannot be read")?;
        if op == "always" {
            return Ok(None);
        }
        if matches!(op, "and" | "or") {
            let mut parts = Vec::new();
            for part in list(json, "vars") {
                let always = || Condition::All { all: Vec::new() };
                parts.push(self.condition(part)?.unwrap_or_else(always));
            }
            if parts.is_empty() {
                return Err(format!("its condition has an “{op}” of nothing"));
            }
            let joined =
                if op == "and" { Condition::All { all: parts } } else { Condition::Any { any: parts } };
            return Ok(Some(joined));
        }
        let op = match op {
            "is" | "equal" | "on" => Op::Is,
            "is_not" | "not_equal" | "not_on" => Op::IsNot,
            "begins_with" => Op::BeginsWith,
            "ends_with" => Op::EndsWith,
            "contains" => Op::Contains,
            "not_contains" => Op::NotContains,
            "lower_than" | "earlier_than" => Op::LessThan,
            "lower_equal_than" | "earlier_than_or_on" => Op::AtMost,
            "greater_than" | "later_than" => Op::GreaterThan,
            "greater_equal_than" | "later_than_or_on" => Op::AtLeast,
            other => return Err(format!("the comparison “{other}” is not known")),
        };
        let [left, right] = list(json, "vars") else {
            return Err("its condition does not compare two things".to_owned());
        };
        let left = self.operand(left)?;
        let Operand::Answer { answer: key } = &left else {
            let right = self.operand(right)?;
            return Ok(Some(Condition::test(left, op, right)));
        };
        if text(right, "type") == Some("choice") {
            let name = text(right, "value").unwrap_or_default();
            let id = self.options.named(key, name).ok_or_else(|| {
                format!("it looks for the option “{name}”, which the question does not have")
            })?;
            let right = Operand::Constant(id.into());
            return Ok(Some(Condition::test(left, op, right)));
        }
        let right = self.operand(right)?;
        Ok(Some(self.compare(key, op, right)))
    }

    /// A comparison of an answer, with constants as our answers hold them: an option's label becomes its id, a word for yes
    /// or no a boolean, a point in time a date.
    fn compare(&self, key: &str, op: Op, right: Operand) -> Condition {
        let left = Operand::answer(key);
        let Operand::Constant(Value::String(constant)) = &right else {
            return Condition::test(left, op, right);
        };
        if self.options.has(key) {
            let wanted = fold(constant);
            let holds = |label: &str| match op {
                Op::BeginsWith => label.starts_with(&wanted),
                Op::EndsWith => label.ends_with(&wanted),
                Op::Contains | Op::NotContains => label.contains(&wanted),
                _ => label == wanted,
            };
            let found = self.options.labelled(key, holds);
            let negative = matches!(op, Op::IsNot | Op::NotContains);
            let textual = negative || matches!(op, Op::Is | Op::Contains | Op::BeginsWith | Op::EndsWith);
            if textual && !found.is_empty() {
                let is = |id: &str| Condition::test(left.clone(), Op::Is, Operand::Constant(id.into()));
                let mut any: Vec<Condition> = found.into_iter().map(is).collect();
                let one = if any.len() == 1 { any.swap_remove(0) } else { Condition::Any { any } };
                return if negative { Condition::Not { not: Box::new(one) } } else { one };
            }
            return Condition::test(left, op, right);
        }
        let constant = match (self.kinds.get(key), fold(constant).as_str()) {
            (Some(Kind::YesNo | Kind::Consent { .. }), "true" | "yes" | "1") => Value::from(true),
            (Some(Kind::YesNo | Kind::Consent { .. }), "false" | "no" | "0") => Value::from(false),
            (Some(Kind::Date { .. }), _) => Value::from(constant.get(..10).unwrap_or(constant)),
            _ => return Condition::test(left, op, right),
        };
        Condition::test(left, op, Operand::Constant(constant))
    }

    fn operand(&mut self, json: &'j Value) -> Result<Operand, Unread> {
        let value = json.get("value").unwrap_or(&Value::Null);
        let kind = text(json, "type").unwrap_or_default();
        if kind == "constant" {
            return match value {
                Value::String(_) | Value::Number(_) | Value::Bool(_) => Ok(Operand::Constant(value.clone())),
                _ => Err("it compares with something that is neither a text nor a number".to_owned()),
            };
        }
        let name = value.as_str().unwrap_or_default();
        match kind {
            "field" => match self.answers.get(name) {
                Some(key) => Ok(Operand::answer(key.clone())),
                None => Err(format!("it looks at the field “{name}”, which has no answer in this form")),
            },
            "hidden" if !name.trim().is_empty() => {
                if !self.hidden.contains(&name) {
                    self.hidden.push(name);
                }
                Ok(Operand::Hidden { hidden: name.to_owned() })
            }
            "variable" if self.variables.contains_key(name) => {
                Ok(Operand::Variable { variable: name.to_owned() })
            }
            _ => Err(format!("it looks at a “{kind}”, which is not known")),
        }
    }
}

/// The rules of a place, and what people call it.
fn rules_of<'p>(place: Option<&Place>, pages: &'p mut [Page]) -> Option<(&'p mut Vec<Rule>, String)> {
    let find = |pages: &'p mut [Page], key: &str| {
        let mut questions = pages.iter_mut().flat_map(|page| &mut page.questions);
        questions
            .find(|question: &&mut Question| question.key == key)
            .map(|q| (&mut q.rules, q.title.clone()))
    };
    match place? {
        Place::Question(key) | Place::Group(_, key) => find(pages, key),
        Place::Page(id) => pages
            .iter_mut()
            .find(|page| page.id == *id)
            .map(|page| (&mut page.rules, page.title.clone().unwrap_or_default())),
    }
}

/// The ending with this key; Typeform's own one exists also where it is not listed.
fn ending(name: &str, endings: &mut Vec<Ending>) -> Option<Target> {
    let listed = |name: &str, endings: &[Ending]| endings.iter().any(|ending| ending.key == name);
    if listed(name, endings) {
        return Some(Target::Ending(name.to_owned()));
    }
    if !DEFAULT_ENDINGS.contains(&name) {
        return None;
    }
    let [own, _] = DEFAULT_ENDINGS;
    if !listed(own, endings) {
        endings.push(Ending { key: own.to_owned(), title: String::new(), description: None, link: None });
    }
    Some(Target::Ending(own.to_owned()))
}

/// An action in a few words, for a note.
fn describe(action: &Value) -> String {
    let name = text(action, "action").unwrap_or("rule");
    let to = action.pointer("/details/to/value").or_else(|| action.pointer("/details/target/value"));
    match to.and_then(Value::as_str) {
        Some(to) => format!("{name} {to}"),
        None => name.to_owned(),
    }
}

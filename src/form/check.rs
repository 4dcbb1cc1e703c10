//! Whether a form is sound: unique keys, no dangling reference, options where options are needed.

use std::collections::BTreeSet;

use jiff::civil::{Date, Time};

use super::{Condition, Form, Kind, Operand, Recall, Rule, RuleEffect, Target, Template};

/// One fault of a form, with where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The question, page or ending, such as `question color`.
    pub at: String,
    /// What is wrong.
    pub kind: FaultKind,
}

/// What is wrong with a form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// Two things share a key.
    #[error("the key is used twice; give each its own")]
    DuplicateKey,
    /// A key that is empty.
    #[error("the key is empty; give it a short stable name")]
    EmptyKey,
    /// A reference to something that does not exist.
    #[error("refers to {0}, which does not exist")]
    Unknown(String),
    /// A choice without options, or options that share an id.
    #[error("{0}")]
    Options(&'static str),
    /// A limit that no answer can meet.
    #[error("{0}")]
    Limits(&'static str),
    /// A regular expression that cannot be read.
    #[error("the pattern is not a regular expression that can be checked in linear time: {0}")]
    Pattern(String),
    /// A constant that nothing can be compared or computed with.
    #[error(
        "{0} is neither a text nor a number nor true or false, nor one of answer, matrix and row, hidden, variable"
    )]
    Constant(String),
    /// A variable that begins as neither number nor text.
    #[error("`initial` must be a number or a text")]
    Initial,
    /// The form asks nothing.
    #[error("the form has no question")]
    Empty,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.at, self.kind)
    }
}

impl Form {
    /// Every fault of this form; none means that compiler and handlers can rely on it.
    pub fn check(&self) -> Vec<Fault> {
        let mut checker = Checker {
            keys: self.questions().map(|(_, q)| q.key.as_str()).collect(),
            pages: self.pages.iter().map(|p| p.id.as_str()).collect(),
            endings: self.endings.iter().map(|e| e.key.as_str()).collect(),
            hidden: self.hidden.iter().map(|h| h.key.as_str()).collect(),
            variables: self.variables.iter().map(|v| v.name.as_str()).collect(),
            faults: Vec::new(),
        };
        checker.unique("page", self.pages.iter().map(|p| p.id.as_str()));
        checker.unique("question", self.questions().map(|(_, q)| q.key.as_str()));
        checker.unique("ending", self.endings.iter().map(|e| e.key.as_str()));
        checker.unique("variable", self.variables.iter().map(|v| v.name.as_str()));
        checker.unique("hidden field", self.hidden.iter().map(|h| h.key.as_str()));
        for variable in &self.variables {
            if !variable.initial.is_number() && !variable.initial.is_string() {
                checker.fault(&format!("variable {}", variable.name), FaultKind::Initial);
            }
        }
        if self.questions().next().is_none() {
            checker.fault("form", FaultKind::Empty);
        }
        for page in &self.pages {
            let at = format!("page {}", page.id);
            checker.condition(&at, page.visible_if.as_ref());
            checker.rules(&at, &page.rules);
        }
        for (_, question) in self.questions() {
            let at = format!("question {}", question.key);
            checker.condition(&at, question.visible_if.as_ref());
            checker.rules(&at, &question.rules);
            checker.text(&at, &question.title);
            checker.kind(&at, &question.kind);
        }
        for ending in &self.endings {
            checker.text(&format!("ending {}", ending.key), &ending.title);
        }
        checker.faults
    }
}

struct Checker<'f> {
    keys: BTreeSet<&'f str>,
    pages: BTreeSet<&'f str>,
    endings: BTreeSet<&'f str>,
    hidden: BTreeSet<&'f str>,
    variables: BTreeSet<&'f str>,
    faults: Vec<Fault>,
}

impl<'f> Checker<'f> {
    fn fault(&mut self, at: &str, kind: FaultKind) {
        self.faults.push(Fault { at: at.to_owned(), kind });
    }

    fn unknown(&mut self, at: &str, what: &str, name: &str) {
        self.fault(at, FaultKind::Unknown(format!("{what} “{name}”")));
    }

    fn unique(&mut self, what: &str, keys: impl Iterator<Item = &'f str>) {
        let mut seen = BTreeSet::new();
        for key in keys {
            if key.trim().is_empty() {
                self.fault(what, FaultKind::EmptyKey);
            } else if !seen.insert(key) {
                self.fault(&format!("{what} {key}"), FaultKind::DuplicateKey);
            }
        }
    }

    fn condition(&mut self, at: &str, condition: Option<&Condition>) {
        let mut operands = Vec::new();
        if let Some(condition) = condition {
            condition.operands(&mut |operand| operands.push(operand));
        }
        for operand in operands {
            self.operand(at, operand);
        }
    }

    fn operand(&mut self, at: &str, operand: &Operand) {
        let (set, what, name) = match operand {
            Operand::Answer { answer: key } | Operand::Row { matrix: key, .. } => {
                (&self.keys, "question", key)
            }
            Operand::Hidden { hidden } => (&self.hidden, "hidden field", hidden),
            Operand::Variable { variable } => (&self.variables, "variable", variable),
            // Null stands for a value that is not given.
            Operand::Constant(value) => {
                if value.is_object() || value.is_array() {
                    self.fault(at, FaultKind::Constant(value.to_string()));
                }
                return;
            }
        };
        if !set.contains(name.as_str()) {
            self.unknown(at, what, name);
        }
    }

    fn rules(&mut self, at: &str, rules: &[Rule]) {
        for rule in rules {
            self.condition(at, rule.when.as_ref());
            match &rule.effect {
                RuleEffect::Jump(Target::Question(key)) if !self.keys.contains(key.as_str()) => {
                    self.unknown(at, "question", key);
                }
                RuleEffect::Jump(Target::Page(id)) if !self.pages.contains(id.as_str()) => {
                    self.unknown(at, "page", id)
                }
                RuleEffect::Jump(Target::Ending(key)) if !self.endings.contains(key.as_str()) => {
                    self.unknown(at, "ending", key);
                }
                RuleEffect::Jump(_) => {}
                RuleEffect::Set(name, operand)
                | RuleEffect::Add(name, operand)
                | RuleEffect::Subtract(name, operand)
                | RuleEffect::Multiply(name, operand)
                | RuleEffect::Divide(name, operand) => {
                    if !self.variables.contains(name.as_str()) {
                        self.unknown(at, "variable", name);
                    }
                    self.operand(at, operand);
                }
            }
        }
    }

    fn text(&mut self, at: &str, text: &str) {
        for recall in Template::parse(text).recalls() {
            let (set, what, name) = match recall {
                Recall::Answer(name) => (&self.keys, "question", name),
                Recall::Hidden(name) => (&self.hidden, "hidden field", name),
                Recall::Variable(name) => (&self.variables, "variable", name),
            };
            if !set.contains(name.as_str()) {
                self.unknown(at, what, name);
            }
        }
    }

    fn kind(&mut self, at: &str, kind: &Kind) {
        match kind {
            Kind::SingleChoice(choice) | Kind::MultipleChoice(choice) => {
                if choice.min.zip(choice.max).is_some_and(|(min, max)| min > max) {
                    self.fault(at, FaultKind::Limits("`min` is greater than `max`"));
                }
                self.options(at, kind);
            }
            Kind::Ranking { .. } | Kind::Matrix { .. } => {
                self.options(at, kind);
                if let Kind::Matrix { rows, .. } = kind {
                    let ids: BTreeSet<&str> = rows.iter().map(|r| r.id.as_str()).collect();
                    if rows.is_empty() || ids.len() != rows.len() {
                        self.fault(at, FaultKind::Options("a matrix needs rows, each with its own id"));
                    }
                }
            }
            Kind::Number { min: Some(min), max: Some(max), .. } if min > max => {
                self.fault(at, FaultKind::Limits("`min` is greater than `max`"));
            }
            Kind::Date { min, max } | Kind::DateTime { min, max } if !in_order(min, max, is_date) => {
                self.fault(
                    at,
                    FaultKind::Limits("`min` and `max` are dates as YYYY-MM-DD, the earlier one first"),
                );
            }
            Kind::Time { min, max } if !in_order(min, max, is_time) => {
                self.fault(
                    at,
                    FaultKind::Limits("`min` and `max` are times as HH:MM, the earlier one first"),
                );
            }
            Kind::Scale { min, max, step, .. } if min >= max || *step < 1 || (max - min) / step > 1000 => {
                self.fault(
                    at,
                    FaultKind::Limits(
                        "a scale needs `min` below `max`, a positive `step`, 1,000 steps at most",
                    ),
                );
            }
            Kind::Rating { steps } if *steps < 1 => self.fault(at, FaultKind::Limits("a rating needs steps")),
            Kind::ShortText(limits) | Kind::LongText(limits) => {
                if limits.min_length.zip(limits.max_length).is_some_and(|(min, max)| min > max) {
                    self.fault(at, FaultKind::Limits("`min_length` is greater than `max_length`"));
                }
                if let Some(pattern) = &limits.pattern {
                    if let Err(error) = regex::Regex::new(&pattern.regex) {
                        self.fault(at, FaultKind::Pattern(error.to_string()));
                    } else if super::validate::whole(&pattern.regex).is_none() {
                        // What the validator cannot hold must not pass for a rule.
                        let reason = "it is too large, or cannot be matched against a whole text";
                        self.fault(at, FaultKind::Pattern(reason.to_owned()));
                    }
                }
            }
            Kind::Date { min, max } | Kind::DateTime { min, max } => {
                let is_date = |text: &str| text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok();
                self.bounds(at, [min, max], is_date, "`min` and `max` are dates, written YYYY-MM-DD");
            }
            Kind::Time { min, max } => {
                let is_time = |text: &str| {
                    text.len() == 5
                        && text.is_ascii()
                        && format!("{text}:00").parse::<jiff::civil::Time>().is_ok()
                };
                self.bounds(at, [min, max], is_time, "`min` and `max` are times, written HH:MM");
            }
            _ => {}
        }
    }

    fn bounds(
        &mut self,
        at: &str,
        bounds: [&Option<String>; 2],
        is_sound: impl Fn(&str) -> bool,
        wrong: &'static str,
    ) {
        if bounds.iter().any(|bound| bound.as_deref().is_some_and(|text| !is_sound(text))) {
            self.fault(at, FaultKind::Limits(wrong));
        } else if let [Some(min), Some(max)] = bounds
            && min > max
        {
            self.fault(at, FaultKind::Limits("`min` is later than `max`"));
        }
    }

    fn options(&mut self, at: &str, kind: &Kind) {
        let options = kind.options();
        let ids: BTreeSet<&str> = options.iter().map(|o| o.id.as_str()).collect();
        if options.is_empty() {
            self.fault(at, FaultKind::Options("there are no options to choose from"));
        } else if ids.len() != options.len() || ids.contains("") {
            self.fault(at, FaultKind::Options("each option needs an id of its own"));
        }
    }
}

/// Answers are compared with limits as text, which is right only for ISO dates and times.
fn in_order(min: &Option<String>, max: &Option<String>, is_well_written: fn(&str) -> bool) -> bool {
    let is_limit = |limit: &Option<String>| limit.as_deref().is_none_or(is_well_written);
    is_limit(min) && is_limit(max) && min.as_ref().zip(max.as_ref()).is_none_or(|(min, max)| min <= max)
}

fn is_date(text: &str) -> bool {
    text.parse().is_ok_and(|date: Date| date.to_string() == text)
}

fn is_time(text: &str) -> bool {
    Time::strptime("%H:%M", text).is_ok_and(|time| time.strftime("%H:%M").to_string() == text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn faults(question: Value) -> Vec<FaultKind> {
        let form = json!({
            "id": "f", "title": "F", "variables": [{"name": "v", "initial": 0}],
            "pages": [{"id": "p", "questions": [question]}],
        });
        let form: Form = serde_json::from_value(form).expect("a form");
        form.check().into_iter().map(|fault| fault.kind).collect()
    }

    #[test]
    fn a_limit_that_is_no_date_or_time_is_a_fault() {
        for (kind, min, max, sound) in [
            ("date", "2026-01-01", "2026-12-31", true),
            ("date", "tomorrow", "2026-12-31", false),
            ("date", "2026-02-30", "2026-12-31", false),
            ("date_time", "2026-12-31", "2026-01-01", false),
            ("time", "09:00", "17:30", true),
            ("time", "9:00", "17:30", false),
            ("time", "09:00", "24:30", false),
            ("time", "17:30", "09:00", false),
        ] {
            let found = faults(json!({"key": "q", "type": kind, "min": min, "max": max}));
            assert_eq!(found.is_empty(), sound, "{kind} {min} {max}: {found:?}");
        }
    }

    #[test]
    fn a_misspelt_operand_is_a_fault_and_not_a_constant() {
        let condition = |operand: Value| json!({"key": "q", "type": "url", "visible_if": {"if": operand, "op": "is", "value": "x"}});
        assert_eq!(faults(condition(json!({"variable": "v"}))), []);
        assert_eq!(
            faults(condition(json!({"answr": "q"}))),
            [FaultKind::Constant(r#"{"answr":"q"}"#.to_owned())]
        );
        let rule = json!({"key": "q", "type": "url", "rules": [{"do": {"set": ["v", [1]]}}]});
        assert_eq!(faults(rule), [FaultKind::Constant("[1]".to_owned())]);
    }

    #[test]
    fn a_variable_begins_as_a_number_or_a_text() {
        for (initial, sound) in
            [(json!(1.5), true), (json!("a"), true), (json!(null), false), (json!([]), false)]
        {
            let form = json!({
                "id": "f", "title": "F", "variables": [{"name": "v", "initial": initial}],
                "pages": [{"id": "p", "questions": [{"key": "q", "type": "url"}]}],
            });
            let form: Form = serde_json::from_value(form).expect("a form");
            assert_eq!(form.check().is_empty(), sound, "{initial}");
        }
    }
}

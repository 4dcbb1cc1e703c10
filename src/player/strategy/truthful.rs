//! Someone with fixed answers: by component name, or by the question's text.

use serde_json::{Map, Value, json};

use super::Strategy;
use crate::player::render::{Choice, Input, InputKind, Screen, TextType};

/// Answers from a map; a question without an answer is left as it is.
#[derive(Clone)]
pub struct Truthful {
    answers: Map<String, Value>,
}

impl Truthful {
    /// Keys are component names, labels or question texts; an option is given by id or title.
    pub fn new(answers: Map<String, Value>) -> Self {
        Self { answers }
    }

    fn answer_to(&self, input: &Input) -> Option<&Value> {
        if let Some(answer) = self.answers.get(&input.name) {
            return Some(answer);
        }
        let texts: Vec<String> = input
            .question
            .iter()
            .rev()
            .chain([&input.label])
            .map(|text| normal(text))
            .filter(|text| !text.is_empty())
            .collect();
        let keys: Vec<(String, &Value)> =
            self.answers.iter().map(|(key, answer)| (normal(key), answer)).collect();
        let exact = texts.iter().find_map(|text| keys.iter().find(|(key, _)| key == text));
        if let Some((_, answer)) = exact {
            return Some(answer);
        }
        // A long question may be cut in the label or stand behind a section's introduction.
        let mut near = keys.iter().filter(|(key, _)| {
            key.len() > 3
                && texts
                    .iter()
                    .any(|text| text.ends_with(key) || cut(text).is_some_and(|start| key.starts_with(start)))
        });
        let first = near.next()?;
        near.next().is_none().then_some(first.1)
    }
}

impl Strategy for Truthful {
    fn answer(&mut self, screen: &Screen) -> Vec<(String, Value)> {
        let answer = |input: &Input| Some((input.name.clone(), coerce(input, self.answer_to(input)?)));
        screen.inputs().filter_map(answer).collect()
    }

    fn patience(&self) -> u32 {
        // The same answers a second time cannot do better.
        1
    }
}

/// A label that was cut ends with an ellipsis.
fn cut(text: &str) -> Option<&str> {
    text.strip_suffix('…').map(str::trim_end).filter(|start| start.len() > 3)
}

/// Texts compare without case, runs of blanks, and the marks around a question.
fn normal(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let is_mark = |c: char| matches!(c, '*' | ':' | '?' | '.' | '_' | ' ');
    words.join(" ").trim_matches(is_mark).to_owned()
}

/// The given answer in the form that the component takes.
fn coerce(input: &Input, answer: &Value) -> Value {
    match &input.kind {
        InputKind::Choice { kind, options, .. } if kind.is_multiple() => match answer {
            Value::Array(items) => items.iter().map(|item| option_id(options, item)).collect(),
            Value::Null => json!([]),
            one => json!([option_id(options, one)]),
        },
        InputKind::Choice { options, .. } => match answer {
            Value::Array(items) => items.first().map(|item| option_id(options, item)).unwrap_or_default(),
            one => option_id(options, one),
        },
        InputKind::OptIn => match answer.as_str().map(normal) {
            Some(text) => Value::Bool(matches!(text.as_str(), "true" | "yes" | "1" | "on")),
            None => answer.clone(),
        },
        InputKind::Text { text_type, .. } => match answer {
            Value::Number(number) if *text_type != TextType::Number => Value::String(number.to_string()),
            other => other.clone(),
        },
        // One file or several, by path or as objects.
        InputKind::Media { .. } => {
            let file =
                |item: &Value| item.as_str().map_or_else(|| item.clone(), |path| json!({"path": path}));
            match answer {
                Value::Array(items) => items.iter().map(file).collect(),
                Value::Null => json!([]),
                one => json!([file(one)]),
            }
        }
        _ => answer.clone(),
    }
}

fn option_id(options: &[Choice], answer: &Value) -> Value {
    let wanted = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
    if options.iter().any(|option| option.id == wanted) {
        return Value::String(wanted);
    }
    let text = normal(&wanted);
    let is_named = |option: &&Choice| {
        let title = normal(&option.title);
        let whole =
            normal(&format!("{} {}", option.title, option.description.as_deref().unwrap_or_default()));
        let description = option.description.as_deref().map(normal);
        title == text
            || whole == text
            || description.as_deref() == Some(&text)
            || cut(&title).is_some_and(|start| text.starts_with(start))
    };
    let exact = options.iter().find(|option| normal(&option.title) == text);
    let found = exact.or_else(|| options.iter().find(is_named));
    // An unknown option is passed on as it is, so that the client's check names it.
    Value::String(found.map_or(wanted, |option| option.id.clone()))
}

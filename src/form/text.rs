//! Texts that recall earlier answers: `Hello {{answer:name}}`.

use std::fmt;

use super::{Facts, Form, Kind, Operand, Value};

/// A text cut into its literal parts and recalls.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    parts: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Literal(String),
    Recall(Recall),
}

/// One recall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recall {
    /// `{{answer:key}}`
    Answer(String),
    /// `{{hidden:name}}`
    Hidden(String),
    /// `{{variable:name}}`
    Variable(String),
}

impl fmt::Display for Recall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Recall::Answer(key) => write!(formatter, "{{{{answer:{key}}}}}"),
            Recall::Hidden(name) => write!(formatter, "{{{{hidden:{name}}}}}"),
            Recall::Variable(name) => write!(formatter, "{{{{variable:{name}}}}}"),
        }
    }
}

impl Template {
    /// Reads a text. Braces that are no recall stay as they are.
    pub fn parse(text: &str) -> Template {
        let mut parts = Vec::new();
        let mut rest = text;
        let mut literal = String::new();
        while let Some((before, after)) = rest.split_once("{{") {
            literal.push_str(before);
            match after.split_once("}}").and_then(|(inside, tail)| Some((recall(inside)?, tail))) {
                Some((recall, tail)) => {
                    if !literal.is_empty() {
                        parts.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(Piece::Recall(recall));
                    rest = tail;
                }
                None => {
                    literal.push_str("{{");
                    rest = after;
                }
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Piece::Literal(literal));
        }
        Template { parts }
    }

    /// The text without its recalls.
    pub fn literal(&self) -> String {
        let literals = self.parts.iter().filter_map(|part| match part {
            Piece::Literal(literal) => Some(literal.as_str()),
            Piece::Recall(_) => None,
        });
        literals.collect()
    }

    /// The recalls, in their order.
    pub fn recalls(&self) -> impl Iterator<Item = &Recall> {
        self.parts.iter().filter_map(|part| match part {
            Piece::Recall(recall) => Some(recall),
            Piece::Literal(_) => None,
        })
    }

    /// The text with every recall filled in by `recall`.
    pub fn fill(&self, mut recall: impl FnMut(&Recall) -> String) -> String {
        let fill = |part: &Piece| match part {
            Piece::Literal(literal) => literal.clone(),
            Piece::Recall(wanted) => recall(wanted),
        };
        self.parts.iter().map(fill).collect()
    }

    /// The text with every recall filled in; what is not known yet is left out.
    pub fn render(&self, form: &Form, facts: &Facts<'_>) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Recall(Recall::Answer(key)) => {
                    if let (Some(question), Some(value)) = (form.question(key), facts.answers.get(key)) {
                        text.push_str(&value.read(&question.kind));
                    }
                }
                Piece::Recall(Recall::Hidden(name)) => {
                    text.push_str(facts.hidden.get(name).map_or("", String::as_str));
                }
                Piece::Recall(Recall::Variable(variable)) => {
                    let operand = Operand::Variable { variable: variable.clone() };
                    text.push_str(&operand.resolve(facts).map(|v| v.display()).unwrap_or_default());
                }
            }
        }
        text
    }
}

fn recall(inside: &str) -> Option<Recall> {
    let (kind, name) = inside.split_once(':')?;
    let name = name.trim().to_owned();
    match kind.trim() {
        "answer" => Some(Recall::Answer(name)),
        "hidden" => Some(Recall::Hidden(name)),
        "variable" => Some(Recall::Variable(name)),
        _ => None,
    }
}

impl Value {
    /// The answer as the person saw it: labels instead of option references. Yes/no is told in plain symbols by the
    /// caller's language, so here it stays `true`/`false`.
    pub fn read(&self, kind: &Kind) -> String {
        let label = |id: &String| {
            kind.options().iter().find(|o| o.id == *id).map_or_else(|| id.clone(), |o| o.label.clone())
        };
        let labels = |ids: &[String]| ids.iter().map(label).collect::<Vec<_>>().join(", ");
        match self {
            Value::Text(text) => text.clone(),
            Value::Number(number) => super::answer::number_json(*number).to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Choice(selection) | Value::Choices(selection) => {
                selection.ids.iter().map(label).chain(selection.other.clone()).collect::<Vec<_>>().join(", ")
            }
            Value::Ranking(ids) => labels(ids),
            Value::Matrix(rows) => {
                let Kind::Matrix { rows: known, .. } = kind else { return String::new() };
                let told = known
                    .iter()
                    .filter_map(|row| Some(format!("{}: {}", row.label, labels(rows.get(&row.id)?))));
                told.collect::<Vec<_>>().join("; ")
            }
            Value::Files(files) => files.iter().map(|f| f.file_name.as_str()).collect::<Vec<_>>().join(", "),
        }
    }
}

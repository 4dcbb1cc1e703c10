//! A submission as a row below a header.
//!
//! Invariant: every answer is in the row, or there is no row but a reason that names the question. Reasons hold no answers.

use serde_json::{Value, json};

use crate::form::{Form, Kind, Question, Template};
use crate::outbox::{Answer, Submission};

/// What a cell of Google Sheets can hold.
const MAX_CELL_CHARS: usize = 50_000;

/// The header, without regard to spaces and letter case.
#[derive(Default)]
pub(super) struct Columns(Vec<String>);

impl Columns {
    pub(super) fn of(row: Option<&Value>) -> Columns {
        let cells = row.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let text = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
        Columns(cells.iter().map(|cell| folded(&text(cell))).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn position(&self, name: &str) -> Option<usize> {
        let name = folded(name);
        self.0.iter().position(|column| !name.is_empty() && *column == name)
    }

    /// How many of these have a column.
    pub(super) fn score(&self, wanted: &[Vec<String>]) -> usize {
        wanted.iter().filter(|names| names.iter().any(|name| self.position(name).is_some())).count()
    }
}

fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The names that each column of the submission may have.
pub(super) fn expected(form: Option<&Form>, submission: &Submission) -> Vec<Vec<String>> {
    let cells = submission.answers.iter().flat_map(|answer| cells(form, answer));
    cells.map(|(names, _)| names).collect()
}

/// The row, or why there is none.
pub(super) fn row(
    columns: &Columns,
    form: Option<&Form>,
    submission: &Submission,
) -> Result<Vec<Value>, String> {
    let mut row = vec![json!(""); columns.len()];
    let mut taken = vec![false; columns.len()];
    for answer in &submission.answers {
        for (names, value) in cells(form, answer) {
            let title = &names[0];
            let at = names.iter().find_map(|name| columns.position(name));
            let at = at.ok_or_else(|| {
                format!("no column has the title “{title}”: add it to the first row, or drop the question in the mapping, then replay")
            })?;
            if std::mem::replace(&mut taken[at], true) {
                return Err(format!(
                    "two answers would stand in the column “{title}”; rename one in the mapping"
                ));
            }
            if value.as_str().is_some_and(|text| text.chars().count() > MAX_CELL_CHARS) {
                return Err(format!("the answer to “{title}” is longer than a cell may be"));
            }
            row[at] = value;
        }
    }
    let own = submission.facts().into_iter();
    let hidden = submission.hidden.iter().map(|(name, value)| (name.clone(), value.clone()));
    let variables = submission
        .variables
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    for (name, value) in own.chain(hidden).chain(variables) {
        if let Some(at) = columns.position(&name).filter(|at| !taken[*at]) {
            (row[at], taken[at]) = (value.into(), true);
        }
    }
    // The first column of a form's own sheet is the time, in whatever language its title is.
    let is_question = |column: &str| {
        let titles = form.into_iter().flat_map(|form| form.questions());
        titles
            .flat_map(|(_, question)| [title(question), question.key.clone()])
            .any(|name| folded(&name) == column)
    };
    if let (Some(false), Some(first)) = (taken.first(), columns.0.first())
        && !first.starts_with("wa_")
        && !is_question(first)
    {
        let at = submission.facts().into_iter().find(|(name, _)| name == "wa_completed_at");
        row[0] = at.map_or_else(String::new, |(_, at)| at).into();
    }
    Ok(row)
}

fn title(question: &Question) -> String {
    Template::parse(&question.title).literal()
}

/// The cells of an answer, each with the titles that its column may have: one, or one for each row of a grid.
fn cells(form: Option<&Form>, answer: &Answer) -> Vec<(Vec<String>, Value)> {
    let question = form.and_then(|form| form.question(&answer.key));
    let known = question.map(title);
    let names = || {
        // A name that the form has not is one that the mapping gave. The first is the one that reasons tell, so it is never
        // the question as it was asked, which may quote an answer.
        let known = known.as_ref().filter(|title| !title.trim().is_empty());
        let asked = match known {
            Some(title) => vec![title.clone(), answer.question.clone(), answer.key.clone()],
            None => vec![answer.key.clone(), answer.question.clone()],
        };
        asked.into_iter().filter(|name| !name.trim().is_empty()).collect::<Vec<_>>()
    };
    let Some(chosen) = answer.value.as_object().filter(|_| known.is_some()) else {
        return vec![(names(), cell(answer))];
    };
    let (rows, labels) = match question.map(|question| &question.kind) {
        Some(Kind::Matrix { rows, columns, .. }) => (rows.as_slice(), columns.as_slice()),
        _ => (&[][..], &[][..]),
    };
    let each = chosen.iter().map(|(id, chosen)| {
        let label = rows.iter().find(|row| row.id == *id).map_or(id.as_str(), |row| row.label.as_str());
        let texts = chosen.as_array().into_iter().flatten().filter_map(Value::as_str).map(|id| {
            labels.iter().find(|column| column.id == id).map_or(id, |column| column.label.as_str())
        });
        let value = texts.collect::<Vec<_>>().join(", ");
        // As Google titles the columns of a grid.
        let names = names().into_iter().map(|name| format!("{name} [{label}]")).collect();
        (names, value.into())
    });
    each.collect()
}

/// Numbers and truth values as they are; dates as they are stored; of everything else, what the person saw.
fn cell(answer: &Answer) -> Value {
    match &answer.value {
        Value::Number(_) | Value::Bool(_) => answer.value.clone(),
        Value::String(text) if matches!(answer.kind.as_str(), "date" | "time" | "date_time") => {
            text.replace('T', " ").into()
        }
        Value::String(text) if answer.text.is_empty() => text.clone().into(),
        Value::Array(items) if answer.text.is_empty() => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ").into()
        }
        _ => answer.text.clone().into(),
    }
}

/// Whether a row that was read is this one; empty cells at the end are not told.
pub(super) fn same(known: &[Value], row: &[Value]) -> bool {
    let text = |cell: Option<&Value>| match cell {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.as_f64().map(|number| number.to_string()).unwrap_or_default(),
        Some(other) => other.to_string(),
    };
    (0..known.len().max(row.len())).all(|at| text(known.get(at)) == text(row.get(at)))
}

/// The name of a column: A to Z, AA and so on.
pub(super) fn letters(mut index: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(char::from(b'A' + u8::try_from(index % 26).unwrap_or(0)));
        match (index / 26).checked_sub(1) {
            Some(next) => index = next,
            None => break,
        }
    }
    letters.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_as_in_a_sheet() {
        for (index, name) in
            [(0, "A"), (25, "Z"), (26, "AA"), (51, "AZ"), (52, "BA"), (701, "ZZ"), (702, "AAA")]
        {
            assert_eq!(letters(index), name);
        }
    }

    #[test]
    fn rows_are_the_same_without_the_empty_end_and_whatever_kind_a_number_has() {
        assert!(same(&[json!("a"), json!(3)], &[json!("a"), json!(3.0), json!("")]));
        assert!(!same(&[json!("a")], &[json!("a"), json!("b")]));
    }
}

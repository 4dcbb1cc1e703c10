//! A submission as the body of `POST /v3/collectors/{id}/responses`.
//!
//! Invariant: an answer is written as the survey's own form would have stored it, or the whole body is refused with the
//! question that cannot be.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::address::{Address, Survey, To};
use crate::outbox::{Answer, Submission};

/// The value by which a response is found again.
pub(super) fn custom_value(submission: &Submission) -> String {
    format!("wa-{}", submission.id)
}

/// The body, or why there is none, in words without answers.
pub(super) fn response(survey: &Survey, submission: &Submission) -> Result<Value, String> {
    if submission.form.tool != "surveymonkey" || submission.form.id != survey.id {
        return Err(format!(
            "the submission is of form “{}”, but this destination writes to survey “{}”; mend deliver_to",
            submission.form.id, survey.id
        ));
    }
    let mut pages: Vec<Value> = Vec::new();
    for answer in &submission.answers {
        let Some(address) = survey.addresses.get(&answer.key) else {
            return Err(format!(
                "the survey has no place for the answer to question {}; it was changed after the form was published",
                answer.key
            ));
        };
        let answers = answers(address, answer).ok_or_else(|| {
            format!("the answer to question {} is not of the kind that the survey asks for", answer.key)
        })?;
        if !answers.is_empty() {
            add(&mut pages, address, answers);
        }
    }
    let mut body = json!({
        "response_status": "completed",
        "custom_value": custom_value(submission),
        "pages": pages,
    });
    if let Ok(began) = Timestamp::from_millisecond(submission.started_at_ms) {
        body["date_created"] = json!(began.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string());
    }
    let named = |name: &String| {
        let value = submission.hidden.get(name).or_else(|| submission.source.get(name))?;
        (!value.is_empty()).then(|| (name.clone(), json!(value)))
    };
    let variables: Map<String, Value> = survey.variables.iter().filter_map(named).collect();
    if !variables.is_empty() {
        body["custom_variables"] = Value::Object(variables);
    }
    Ok(body)
}

/// Puts answers into the page and question that they belong to.
fn add(pages: &mut Vec<Value>, address: &Address, answers: Vec<Value>) {
    fn named<'v>(items: &'v mut Vec<Value>, id: &str, fresh: Value) -> Option<&'v mut Value> {
        let at = items.iter().position(|item| item["id"] == id).unwrap_or_else(|| {
            items.push(fresh);
            items.len() - 1
        });
        items.get_mut(at)
    }
    let page = named(pages, &address.page, json!({"id": address.page, "questions": []}));
    let Some(questions) = page.and_then(|page| page["questions"].as_array_mut()) else { return };
    let mut fresh = json!({"id": address.question, "answers": []});
    if let Some(variant) = &address.variant {
        fresh["variable_id"] = json!(variant);
    }
    let question = named(questions, &address.question, fresh);
    if let Some(all) = question.and_then(|question| question["answers"].as_array_mut()) {
        all.extend(answers);
    }
}

/// The `answers[]` of one question of the form; none where the API takes none, `None` where the value is of another kind.
fn answers(address: &Address, answer: &Answer) -> Option<Vec<Value>> {
    let value = &answer.value;
    let place = |members: Value| {
        let mut placed = Map::new();
        for (name, id) in [("row_id", &address.row), ("col_id", &address.col)] {
            if let Some(id) = id {
                placed.insert(name.to_owned(), json!(id));
            }
        }
        placed.extend(members.as_object().cloned().unwrap_or_default());
        Value::Object(placed)
    };
    Some(match &address.to {
        To::Nowhere => Vec::new(),
        To::Choices { other } => {
            let mut ids = ids(value)?;
            if answer.other.is_some() {
                // What was written stands last, where an option's id would.
                ids.pop();
            }
            let mut found: Vec<Value> = ids.into_iter().map(|id| place(json!({"choice_id": id}))).collect();
            if let Some(written) = &answer.other {
                found.push(place(json!({"other_id": other.as_ref()?, "text": written})));
            }
            found
        }
        To::Rows => {
            let mut found = Vec::new();
            for (row, chosen) in value.as_object()? {
                found.extend(ids(chosen)?.into_iter().map(|id| json!({"row_id": row, "choice_id": id})));
            }
            found
        }
        To::Ranks(ranks) => {
            let rows = ids(value)?;
            if rows.len() != ranks.len() {
                return None;
            }
            rows.iter().zip(ranks).map(|(row, rank)| json!({"row_id": row, "choice_id": rank})).collect()
        }
        To::Steps(choices, first) => {
            let step = usize::try_from(value.as_u64()?).ok()?.checked_sub(*first)?;
            vec![place(json!({"choice_id": choices.get(step)?}))]
        }
        To::Text => vec![place(json!({"text": text(value)?}))],
        To::Moment { day_first } => vec![place(json!({"text": moment(value.as_str()?, *day_first)?}))],
        To::Comment(other) => vec![place(json!({"other_id": other, "text": text(value)?}))],
    })
}

fn ids(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(id) => Some(vec![id]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// `YYYY-MM-DD`, `HH:MM` or both as SurveyMonkey stores them: `MM/DD/YYYY HH:MM AM`.
fn moment(value: &str, day_first: bool) -> Option<String> {
    let date = |date: &str| {
        let date: jiff::civil::Date = date.parse().ok()?;
        let order = if day_first { "%d/%m/%Y" } else { "%m/%d/%Y" };
        Some(date.strftime(order).to_string())
    };
    let time = |time: &str| {
        let time = jiff::civil::Time::strptime("%H:%M", time).ok()?;
        Some(time.strftime("%I:%M %p").to_string())
    };
    match value.split_once('T') {
        Some((day, hour)) => Some(format!("{} {}", date(day)?, time(hour)?)),
        None if value.contains(':') => time(value),
        None => date(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_written_as_surveymonkey_stores_them() {
        for (value, day_first, written) in [
            ("2026-01-31", false, Some("01/31/2026")),
            ("2026-01-31", true, Some("31/01/2026")),
            ("2026-12-31T23:59", false, Some("12/31/2026 11:59 PM")),
            ("2026-12-31T00:05", false, Some("12/31/2026 12:05 AM")),
            ("12:00", false, Some("12:00 PM")),
            ("09:30", true, Some("09:30 AM")),
            ("soon", false, None),
            ("2026-02-30", false, None),
        ] {
            assert_eq!(moment(value, day_first).as_deref(), written, "{value}");
        }
    }
}

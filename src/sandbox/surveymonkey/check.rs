//! Whether a response is one that the survey's own form could have stored.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use serde_json::{Map, Value};

const MEMBERS: [&str; 8] = [
    "custom_variables",
    "custom_value",
    "date_created",
    "ip_address",
    "pages",
    "recipient_id",
    "response_status",
    "collection_mode",
];

type Checked = Result<(), String>;

/// What is wrong with the body, if anything.
pub(super) fn response(survey: &Value, body: &Value) -> Checked {
    let body = body.as_object().ok_or("The body is no object.")?;
    if let Some(name) = body.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(format!("The member {name} is not known."));
    }
    if let Some(status) = body.get("response_status") {
        let known = ["completed", "partial", "overquota", "disqualified"];
        known.iter().find(|known| status == *known).ok_or("The response_status is not known.")?;
    }
    for name in ["custom_value", "ip_address"] {
        if body.get(name).is_some_and(|value| !value.is_string()) {
            return Err(format!("{name} is no text."));
        }
    }
    if let Some(date) = body.get("date_created") {
        let date = date.as_str().and_then(|date| date.parse::<Timestamp>().ok());
        date.ok_or("date_created is no date with a time and an offset.")?;
    }
    if let Some(variables) = body.get("custom_variables") {
        let variables = variables.as_object().ok_or("custom_variables is no object.")?;
        for (name, value) in variables {
            if survey["custom_variables"].get(name).is_none() || !value.is_string() {
                return Err(format!(
                    "The custom variable {name} is not one of the survey, or its value is no text."
                ));
            }
        }
    }
    let sent = body.get("pages").and_then(Value::as_array).ok_or("pages is missing.")?;
    pages(survey, sent)
}

fn pages(survey: &Value, sent: &[Value]) -> Checked {
    let mut seen = BTreeSet::new();
    for page in sent {
        only(page, &["id", "questions"])?;
        let id = text(page, "id").ok_or("A page has no id.")?;
        let known = named(&survey["pages"], id).ok_or(format!("The survey has no page {id}."))?;
        if !seen.insert(id) {
            return Err(format!("The page {id} stands twice."));
        }
        for question in items(&page["questions"]) {
            only(question, &["id", "answers", "variable_id"])?;
            let id = text(question, "id").ok_or("A question has no id.")?;
            let asked = named(&known["questions"], id);
            let asked = asked.ok_or(format!("The page has no question {id}."))?;
            if !seen.insert(id) {
                return Err(format!("The question {id} stands twice."));
            }
            answered(asked, question).map_err(|error| format!("Question {id}: {error}"))?;
        }
    }
    let asked = items(&survey["pages"]).iter().flat_map(|page| items(&page["questions"]));
    for question in asked.filter(|question| is_kept(question)) {
        let id = text(question, "id").unwrap_or_default();
        if question["required"].is_object() && question["required"]["amount"] != "0" && !seen.contains(id) {
            return Err(format!("Question {id} requires an answer."));
        }
        let all = question["required"]["type"] == "all";
        if all && !seen.contains(id) {
            return Err(format!("Question {id} requires an answer."));
        }
    }
    Ok(())
}

fn answered(asked: &Value, question: &Value) -> Checked {
    let answers = items(&question["answers"]);
    if answers.is_empty() {
        return Err("it has no answers.".to_owned());
    }
    if let Some(variant) = question.get("variable_id") {
        let mut headings = items(&asked["headings"]).iter();
        if !headings.any(|heading| heading["random_assignment"]["id"] == *variant) {
            return Err("it has no such variable.".to_owned());
        }
    }
    let shape = (asked["family"].as_str().unwrap_or_default(), asked["subtype"].as_str().unwrap_or_default());
    let members: &[&str] = match shape {
        ("single_choice" | "multiple_choice", _) => &["choice_id"],
        ("matrix", "menu") => &["row_id", "col_id", "choice_id"],
        ("matrix", _) => &["row_id", "choice_id"],
        ("open_ended", "single" | "essay") => &["text"],
        ("open_ended" | "demographic" | "datetime", _) => &["row_id", "text"],
        _ => return Err("it takes no answer.".to_owned()),
    };
    if asked["display_options"]["display_type"] == "file_upload" {
        return Err("it takes no answer by API.".to_owned());
    }
    let mut places = BTreeSet::new();
    let mut others = 0;
    for answer in answers {
        if answer.get("other_id").is_some() {
            others += 1;
            other(asked, answer)?;
            continue;
        }
        exactly(answer, members)?;
        place(asked, answer, shape)?;
        if members.contains(&"text") {
            typed(asked, answer, shape)?;
        }
        if !places.insert(answer.to_string()) {
            return Err("an answer stands twice.".to_owned());
        }
    }
    let per_place = |names: &[&str]| -> usize {
        let key = |answer: &&Value| names.iter().map(|name| answer[*name].to_string()).collect::<Vec<_>>();
        let chosen = answers.iter().filter(|answer| answer.get("other_id").is_none());
        let mut counts = std::collections::BTreeMap::new();
        chosen.for_each(|answer| *counts.entry(key(&answer)).or_insert(0) += 1);
        counts.into_values().max().unwrap_or(0)
    };
    let is_option = asked["answers"]["other"]["is_answer_choice"] == true;
    let one = match shape {
        ("single_choice", _) => places.len() + if is_option { others } else { 0 } <= 1,
        ("matrix", "single" | "rating") => per_place(&["row_id"]) <= 1,
        ("matrix", "ranking") => per_place(&["row_id"]) <= 1 && per_place(&["choice_id"]) <= 1,
        ("matrix", "menu") => per_place(&["row_id", "col_id"]) <= 1,
        ("open_ended" | "demographic" | "datetime", _) => per_place(&["row_id"]) <= 1,
        _ => true,
    };
    if !one {
        return Err("it takes one answer in a place.".to_owned());
    }
    amount(asked, answers, shape, places.len() + if is_option { others } else { 0 })
}

/// The ids of an answer are those of the question, and not deleted.
fn place(asked: &Value, answer: &Value, shape: (&str, &str)) -> Checked {
    let rows = &asked["answers"]["rows"];
    if let Some(row) = text(answer, "row_id") {
        named(rows, row).ok_or(format!("it has no row {row}."))?;
    }
    if let Some(choice) = text(answer, "choice_id") {
        let column = text(answer, "col_id").unwrap_or_default();
        let choices = if shape == ("matrix", "menu") {
            &named(&asked["answers"]["cols"], column).ok_or(format!("it has no column {column}."))?["choices"]
        } else {
            &asked["answers"]["choices"]
        };
        named(choices, choice).ok_or(format!("it has no choice {choice}."))?;
    }
    Ok(())
}

fn other(asked: &Value, answer: &Value) -> Checked {
    let field = &asked["answers"]["other"];
    let per_row = field["apply_all_rows"] == true;
    exactly(answer, if per_row { &["row_id", "other_id", "text"] } else { &["other_id", "text"] })?;
    if field["id"] != answer["other_id"] || field["visible"] == false {
        return Err("it has no such other.".to_owned());
    }
    place(asked, answer, ("", ""))
}

/// What is typed keeps the question's rule.
fn typed(asked: &Value, answer: &Value, shape: (&str, &str)) -> Checked {
    let written = text(answer, "text").filter(|text| !text.is_empty()).ok_or("a text is empty.")?;
    let date = |text: &str, order: &str| Date::strptime(order, text).is_ok() && text.len() == 10;
    let time = |text: &str| Time::strptime("%I:%M %p", text).is_ok() && text.len() == 8;
    let sound = match shape {
        ("datetime", "date_only") => date(written, "%m/%d/%Y"),
        ("datetime", "time_only") => time(written),
        ("datetime", _) => written
            .split_at_checked(10)
            .is_some_and(|(day, hour)| date(day, "%m/%d/%Y") && hour.strip_prefix(' ').is_some_and(time)),
        _ => {
            let rule = &asked["validation"];
            let bound = |name: &str| match &rule[name] {
                Value::String(text) => text.parse::<f64>().ok(),
                number => number.as_f64(),
            };
            let within =
                |n: f64| bound("min").is_none_or(|min| n >= min) && bound("max").is_none_or(|max| n <= max);
            #[expect(clippy::cast_precision_loss, reason = "the length of a text")]
            let length = written.chars().count() as f64;
            match rule["type"].as_str() {
                Some("integer") => written.parse::<i32>().is_ok_and(|n| within(f64::from(n))),
                Some("decimal") => written.parse::<f64>().is_ok_and(within),
                Some("email") => written.split('@').count() == 2,
                Some("date_us") => date(written, "%m/%d/%Y"),
                Some("date_intl") => date(written, "%d/%m/%Y"),
                Some("text_length") => within(length),
                _ => true,
            }
        }
    };
    if sound { Ok(()) } else { Err("a text breaks its rule.".to_owned()) }
}

/// As much is answered as must be.
fn amount(asked: &Value, answers: &[Value], shape: (&str, &str), chosen: usize) -> Checked {
    let rows = || items(&asked["answers"]["rows"]).iter().filter(|row| is_kept(row));
    for row in rows().filter(|row| row["required"] == true) {
        if !answers.iter().any(|answer| answer["row_id"] == row["id"]) {
            return Err("a line that is required has no answer.".to_owned());
        }
    }
    let rule = &asked["required"];
    let (count, all) = match shape.0 {
        "single_choice" | "multiple_choice" => (chosen, 1),
        _ => {
            let answered: BTreeSet<&str> =
                answers.iter().filter_map(|answer| text(answer, "row_id")).collect();
            (if asked["answers"]["rows"].is_array() { answered.len() } else { 1 }, rows().count().max(1))
        }
    };
    let amount = rule["amount"].as_str().unwrap_or_default();
    let number = |text: &str| text.parse::<usize>().unwrap_or(0);
    let enough = match rule["type"].as_str() {
        Some("all") => count >= all,
        Some("at_least") => count >= number(amount),
        Some("at_most") => count <= number(amount),
        Some("exactly") => count == number(amount),
        Some("range") => {
            let (low, high) = amount.split_once(',').unwrap_or_default();
            (number(low)..=number(high)).contains(&count)
        }
        _ => true,
    };
    if enough { Ok(()) } else { Err("not as much is answered as must be.".to_owned()) }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name)?.as_str()
}

fn is_kept(value: &Value) -> bool {
    value["visible"] != false
}

/// The item of a list that has this id and was not deleted.
fn named<'v>(list: &'v Value, id: &str) -> Option<&'v Value> {
    items(list).iter().find(|item| item["id"] == id && is_kept(item))
}

fn object(value: &Value) -> Result<&Map<String, Value>, String> {
    value.as_object().ok_or_else(|| "something is no object.".to_owned())
}

fn only(value: &Value, members: &[&str]) -> Checked {
    match object(value)?.keys().find(|name| !members.contains(&name.as_str())) {
        Some(name) => Err(format!("The member {name} is not known.")),
        None => Ok(()),
    }
}

/// These members and no others, each a text.
fn exactly(value: &Value, members: &[&str]) -> Checked {
    only(value, members)?;
    match members.iter().find(|name| text(value, name).is_none()) {
        Some(name) => Err(format!("{name} is missing or no text.")),
        None => Ok(()),
    }
}

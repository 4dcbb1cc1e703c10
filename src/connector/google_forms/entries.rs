//! A submission as the public page of the form would send it.
//!
//! Invariant: every answer is in the body, or there is no body: an answer that the page has no place for, or that stands in
//! a section which the page itself would not have shown, is a reason and never left out. Reasons hold no answers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use url::form_urlencoded::Serializer;

use super::source::{Asked, Body, Choosable, Email, Goto, Grid, Source, Style, What};
use crate::outbox::Answer;

/// A section as the page divides them.
#[derive(Default)]
struct Section<'s> {
    id: Option<&'s str>,
    items: Vec<(&'s Body, Option<&'s str>)>,
    target: Option<&'s Goto>,
}

struct Fields<'s> {
    answers: BTreeMap<&'s str, &'s Answer>,
    list: Vec<(String, String)>,
    used: BTreeSet<&'s str>,
}

/// The body, or why the page cannot take the answers.
pub(super) fn body(source: &Source, fbzx: Option<&str>, answers: &[Answer]) -> Result<String, String> {
    let mut fields = Fields {
        answers: answers.iter().map(|answer| (answer.key.as_str(), answer)).collect(),
        list: Vec::new(),
        used: BTreeSet::new(),
    };
    match (source.email, fields.answers.get("emailAddress")) {
        (Email::Verified, _) => return Err("it takes the e-mail address of a Google account".to_owned()),
        (_, Some(answer)) => {
            fields.list.push(("emailAddress".to_owned(), written(answer)?));
            fields.used.insert("emailAddress");
        }
        _ => {}
    }
    let sections = sections(source);
    let history = history(&sections, &fields.answers)?;
    for (body, id) in history.iter().flat_map(|index| &sections[*index].items) {
        match body {
            Body::Question(asked) => fields.question(asked)?,
            Body::Grid(grid) => fields.grid(grid, *id)?,
            _ => {}
        }
    }
    if let Some(left) = fields.answers.keys().find(|key| !fields.used.contains(*key)) {
        return Err(format!(
            "the question {left} is not in it any more, or in a section that it would not show"
        ));
    }
    let mut form = Serializer::new(String::new());
    form.extend_pairs(&fields.list).append_pair("fvv", "1");
    if let Some(fbzx) = fbzx {
        form.append_pair("fbzx", fbzx);
        form.append_pair("partialResponse", &serde_json::json!([null, null, fbzx]).to_string());
    }
    let history: Vec<String> = history.iter().map(usize::to_string).collect();
    form.append_pair("pageHistory", &history.join(","));
    Ok(form.finish())
}

fn sections(source: &Source) -> Vec<Section<'_>> {
    let mut sections = vec![Section::default()];
    for item in &source.items {
        if let Body::Section { after_previous } = &item.body {
            if let Some(previous) = sections.last_mut() {
                previous.target = after_previous.as_ref();
            }
            sections.push(Section { id: item.id.as_deref(), ..Section::default() });
        } else if let Some(section) = sections.last_mut() {
            section.items.push((&item.body, item.id.as_deref()));
        }
    }
    sections
}

/// The sections that the page shows to someone with these answers, in order.
fn history(sections: &[Section<'_>], answers: &BTreeMap<&str, &Answer>) -> Result<Vec<usize>, String> {
    let mut history = vec![0];
    let mut at = 0;
    while at + 1 < sections.len() {
        let chosen = sections[at].items.iter().rev().find_map(|(body, _)| match body {
            Body::Question(asked) => led(asked, answers),
            _ => None,
        });
        at = match chosen.or(sections[at].target) {
            None | Some(Goto::Next) => at + 1,
            Some(Goto::Submit) => break,
            Some(Goto::Section(id)) => sections
                .iter()
                .position(|section| section.id == Some(id))
                .ok_or("it leads to a section that it does not have")?,
            Some(Goto::Restart) => return Err("the answers lead back to its beginning".to_owned()),
            Some(Goto::Unknown(_)) => return Err("where the answers lead in it is not known".to_owned()),
        };
        if history.contains(&at) {
            return Err("the answers lead in a circle".to_owned());
        }
        history.push(at);
    }
    Ok(history)
}

/// Where the chosen option leads.
fn led<'s>(asked: &'s Asked, answers: &BTreeMap<&str, &Answer>) -> Option<&'s Goto> {
    let What::Choice { style: Style::Radio | Style::Dropdown, options, .. } = &asked.what else {
        return None;
    };
    let answer = answers.get(asked.id.as_deref()?)?;
    let option = options.iter().find(|option| match &answer.other {
        Some(_) => option.other,
        None => !option.other && option.value.as_deref() == answer.value.as_str(),
    });
    option?.goto.as_ref()
}

/// `entry.N`: the API's id as a decimal number.
fn entry(id: Option<&str>) -> Result<String, String> {
    let number = id.and_then(|id| u64::from_str_radix(id, 16).ok());
    number.map(|number| format!("entry.{number}")).ok_or_else(|| "one of its questions has no id".to_owned())
}

fn written(answer: &Answer) -> Result<String, String> {
    match &answer.value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(unfit(&answer.key)),
    }
}

fn unfit(key: &str) -> String {
    format!("the answer to {key} does not fit its question there")
}

impl<'s> Fields<'s> {
    fn question(&mut self, asked: &'s Asked) -> Result<(), String> {
        let entry = entry(asked.id.as_deref())?;
        let has_sentinel = match &asked.what {
            What::Choice { style, .. } => *style != Style::Dropdown,
            What::Scale { .. } | What::Rating { .. } => true,
            _ => false,
        };
        let found = asked.id.as_deref().and_then(|id| self.answers.get_key_value(id));
        if let Some((&key, &answer)) = found {
            self.used.insert(key);
            self.answer(&entry, &asked.what, answer)?;
        }
        if has_sentinel {
            self.list.push((format!("{entry}_sentinel"), String::new()));
        }
        Ok(())
    }

    fn answer(&mut self, entry: &str, what: &What, answer: &Answer) -> Result<(), String> {
        let bad = || unfit(&answer.key);
        let mut part = |name: &str, value: &str| self.list.push((format!("{entry}{name}"), value.to_owned()));
        match what {
            What::Text { .. } | What::Scale { .. } | What::Rating { .. } => part("", &written(answer)?),
            What::Choice { options, .. } => {
                let chosen = match &answer.value {
                    Value::Array(list) => list.iter().map(Value::as_str).collect::<Option<Vec<_>>>(),
                    value => value.as_str().map(|value| vec![value]),
                };
                let mut chosen = chosen.ok_or_else(bad)?;
                if let Some(other) = &answer.other {
                    // What was written stands last among the values.
                    if chosen.pop() != Some(other) || !options.iter().any(|option| option.other) {
                        return Err(bad());
                    }
                }
                for value in chosen {
                    if !is_listed(options, value) {
                        return Err(bad());
                    }
                    part("", value);
                }
                if let Some(other) = &answer.other {
                    part("", "__other_option__");
                    part(".other_option_response", other);
                }
            }
            What::Date { time, year } => {
                let text = answer.value.as_str().ok_or_else(bad)?;
                let (date, clock) =
                    text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
                let date: Vec<&str> = date.split('-').collect();
                let [y, m, d] = date.as_slice() else { return Err(bad()) };
                if *year {
                    part("_year", y);
                }
                part("_month", m);
                part("_day", d);
                match (time, clock.and_then(|clock| clock.split_once(':'))) {
                    (true, Some((hour, minute))) => {
                        part("_hour", hour);
                        part("_minute", minute);
                    }
                    (false, None) => {}
                    _ => return Err(bad()),
                }
            }
            What::Time { duration } => {
                let parts: Vec<&str> = answer.value.as_str().ok_or_else(bad)?.split(':').collect();
                let names = ["_hour", "_minute", "_second"];
                if parts.len() != if *duration { 3 } else { 2 } {
                    return Err(bad());
                }
                names.iter().zip(parts).for_each(|(name, value)| part(name, value));
            }
            What::File { .. } => {
                return Err("it takes files only from people with a Google account".to_owned());
            }
            What::Damaged(_) | What::Unknown(_) => return Err(bad()),
        }
        Ok(())
    }

    fn grid(&mut self, grid: &'s Grid, id: Option<&'s str>) -> Result<(), String> {
        let found = id.and_then(|id| self.answers.get_key_value(id));
        let rows = match found {
            Some((&key, &answer)) => {
                self.used.insert(key);
                let rows = answer.value.as_object().ok_or_else(|| unfit(key))?;
                if rows.keys().any(|row| grid.rows.iter().all(|known| known.id.as_ref() != Some(row))) {
                    return Err(unfit(key));
                }
                Some((key, rows))
            }
            None => None,
        };
        for row in &grid.rows {
            let entry = entry(row.id.as_deref())?;
            let chosen = rows.and_then(|(key, rows)| Some((key, rows.get(row.id.as_deref()?)?)));
            for value in chosen.iter().flat_map(|(_, value)| value.as_array()).flatten() {
                let listed = value.as_str().filter(|value| is_listed(&grid.columns, value));
                let value = listed.ok_or_else(|| unfit(chosen.map_or("a grid", |(key, _)| key)))?;
                self.list.push((entry.clone(), value.to_owned()));
            }
            self.list.push((format!("{entry}_sentinel"), String::new()));
        }
        Ok(())
    }
}

fn is_listed(options: &[Choosable], value: &str) -> bool {
    options.iter().any(|option| !option.other && option.value.as_deref() == Some(value))
}

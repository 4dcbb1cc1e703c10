//! Whether an answer is one the form accepts. Pure: what "today" or "here" is comes in as an argument, errors are data.
//!
//! Invariant: whatever the client sent, an accepted value is one the form could have produced, and bounded in size.

mod file;
mod problem;
mod scalar;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value as Json;

pub use problem::Problem;

use super::answer::number_json;
use super::{Choice, Form, Kind, MatrixRow, Question, Selection, TextLimits, Value};

/// Longest text that is ever stored, in characters, whatever the form allows.
const MAX_TEXT: u32 = 4_096;

/// The form's rules, made ready once.
#[derive(Debug, Clone)]
pub struct Validator {
    patterns: BTreeMap<String, Regex>,
    locale: String,
    country: Option<String>,
}

impl Validator {
    /// The rules of `form`. A pattern that cannot be read is no rule; [`Form::check`] refuses such a form.
    pub fn new(form: &Form) -> Validator {
        let patterns = form.questions().filter_map(|(_, question)| {
            let (Kind::ShortText(limits) | Kind::LongText(limits)) = &question.kind else { return None };
            let regex = whole(&limits.pattern.as_ref()?.regex)?;
            Some((question.key.clone(), regex))
        });
        Validator {
            patterns: patterns.collect(),
            locale: form.locale.clone(),
            country: form.default_country.clone(),
        }
    }

    /// The checked answer; `None` when nothing was answered and nothing had to be.
    ///
    /// `raw` is what was sent, with the form's own option, row and column ids: a string, number or boolean, an array of
    /// ids, an object of arrays for a matrix, an array of media objects for files. `other` is the text of "other".
    ///
    /// # Errors
    /// [`Problem`], for the person in the chat.
    pub fn accept(
        &self,
        question: &Question,
        raw: Option<&Json>,
        other: Option<&str>,
    ) -> Result<Option<Value>, Problem> {
        let other = other.map(clean).filter(|text| !text.is_empty());
        let value = match &question.kind {
            Kind::Statement | Kind::Unsupported { .. } => return Ok(None),
            Kind::SingleChoice(choice) => single(choice, raw, other)?,
            Kind::MultipleChoice(choice) => multiple(choice, raw, other)?,
            Kind::Ranking { options } => ranking(options.iter().map(|o| o.id.as_str()).collect(), raw)?,
            Kind::Matrix { rows, columns, multiple } => {
                let columns: Vec<&str> = columns.iter().map(|c| c.id.as_str()).collect();
                return matrix(rows, &columns, *multiple, question.required, raw);
            }
            Kind::File(limits) => file::files(limits, raw)?,
            Kind::Consent { .. } => {
                let given = boolean(raw)?.unwrap_or(false);
                if question.required && !given {
                    return Err(Problem::ConsentRequired);
                }
                Some(Value::Bool(given))
            }
            Kind::YesNo => boolean(raw)?.map(Value::Bool),
            _ => match text(raw)? {
                Some(text) => {
                    // A JSON number is written with a point whatever the language.
                    let locale = if matches!(raw, Some(Json::Number(_))) { "en" } else { &self.locale };
                    Some(self.scalar(question, &text, locale)?)
                }
                None => None,
            },
        };
        if value.is_none() && question.required { Err(Problem::Required) } else { Ok(value) }
    }

    fn scalar(&self, question: &Question, text: &str, locale: &str) -> Result<Value, Problem> {
        let value = match &question.kind {
            Kind::ShortText(limits) => {
                // One line: what a paste brought along becomes blanks.
                let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
                self.limited(
                    question,
                    limits,
                    if text.contains(['\n', '\r']) { line } else { text.to_owned() },
                )?
            }
            Kind::LongText(limits) => self.limited(question, limits, text.to_owned())?,
            Kind::Email { blocked_domains } => {
                let domain = scalar::email(text)?;
                let blocked = |known: &String| {
                    let known = known.trim().trim_start_matches('@').to_lowercase();
                    domain == known || domain.ends_with(&format!(".{known}"))
                };
                if blocked_domains.iter().any(blocked) {
                    return Err(Problem::BlockedDomain { domain });
                }
                text.to_owned()
            }
            Kind::Phone { country } => scalar::phone(text, country.as_deref().or(self.country.as_deref()))?,
            Kind::Url => scalar::web_address(text)?,
            Kind::Date { min, max } => {
                let date = scalar::date(text).ok_or(Problem::Date)?.to_string();
                between(&date, min.as_deref(), max.as_deref())?;
                date
            }
            Kind::Time { min, max } => {
                let time = scalar::time(text).ok_or(Problem::Time)?.strftime("%H:%M").to_string();
                between(&time, min.as_deref(), max.as_deref())?;
                time
            }
            Kind::DateTime { min, max } => {
                let (date, time) = text.split_once('T').ok_or(Problem::Time)?;
                let date = scalar::date(date).ok_or(Problem::Date)?.to_string();
                between(&date, min.as_deref(), max.as_deref())?;
                let time = scalar::time(time).ok_or(Problem::Time)?.strftime("%H:%M").to_string();
                format!("{date}T{time}")
            }
            Kind::Number { min, max, integer } => {
                let number = scalar::number(text, locale).ok_or(Problem::Number)?;
                if *integer && number.fract() != 0.0 {
                    return Err(Problem::WholeNumber);
                }
                return within(number, *min, *max);
            }
            Kind::Rating { steps } => return on_scale(locale, text, 1, i64::from(*steps), 1),
            Kind::Scale { min, max, step, .. } => return on_scale(locale, text, *min, *max, *step),
            Kind::Nps { .. } => return on_scale(locale, text, 0, 10, 1),
            _ => return Err(Problem::NotOffered),
        };
        Ok(Value::Text(value))
    }

    fn limited(&self, question: &Question, limits: &TextLimits, text: String) -> Result<String, Problem> {
        let length = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        let max = limits.max_length.unwrap_or(MAX_TEXT).min(MAX_TEXT);
        if length > max {
            return Err(Problem::TooLong { max });
        }
        if let Some(min) = limits.min_length.filter(|min| length < *min) {
            return Err(Problem::TooShort { min });
        }
        if self.patterns.get(&question.key).is_some_and(|pattern| !pattern.is_match(&text)) {
            let message = limits.pattern.as_ref().and_then(|pattern| pattern.message.clone());
            return Err(Problem::Pattern { message });
        }
        Ok(text)
    }
}

/// A pattern that the whole text must match; `None` if it cannot be checked in linear time and bounded memory.
pub(super) fn whole(pattern: &str) -> Option<Regex> {
    regex::RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(1 << 20).build().ok()
}

/// Trimmed, without control characters that no keyboard writes.
fn clean(text: &str) -> String {
    let typed: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    typed.trim().to_owned()
}

/// What was sent as one text; nothing when it is empty.
fn text(raw: Option<&Json>) -> Result<Option<String>, Problem> {
    let text = match raw {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::String(text)) => clean(text),
        Some(Json::Number(number)) => {
            number.as_f64().map_or_else(|| number.to_string(), |n| number_json(n).to_string())
        }
        Some(Json::Array(items)) if items.is_empty() => return Ok(None),
        Some(_) => return Err(Problem::NotOffered),
    };
    // Longer than any limit in bytes: refused before anything looks at it.
    if text.len() > MAX_TEXT as usize * 4 {
        return Err(Problem::TooLong { max: MAX_TEXT });
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn boolean(raw: Option<&Json>) -> Result<Option<bool>, Problem> {
    match raw {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Bool(value)) => Ok(Some(*value)),
        Some(Json::String(text)) if text.is_empty() => Ok(None),
        Some(Json::String(text)) if text == "true" => Ok(Some(true)),
        Some(Json::String(text)) if text == "false" => Ok(Some(false)),
        Some(_) => Err(Problem::NotOffered),
    }
}

/// What was sent as a list of ids.
fn ids(raw: Option<&Json>) -> Result<Vec<&str>, Problem> {
    match raw {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::String(id)) if id.is_empty() => Ok(Vec::new()),
        Some(Json::String(id)) => Ok(vec![id]),
        Some(Json::Array(items)) => {
            items.iter().map(|item| item.as_str().ok_or(Problem::NotOffered)).collect()
        }
        Some(_) => Err(Problem::NotOffered),
    }
}

fn own_words(choice: &Choice, other: Option<String>) -> Result<Option<String>, Problem> {
    match other {
        Some(_) if choice.other.is_none() => Err(Problem::NotOffered),
        Some(text) if text.chars().count() > MAX_TEXT as usize => Err(Problem::TooLong { max: MAX_TEXT }),
        other => Ok(other),
    }
}

fn single(choice: &Choice, raw: Option<&Json>, other: Option<String>) -> Result<Option<Value>, Problem> {
    let other = own_words(choice, other)?;
    let ids = ids(raw)?;
    match (ids.as_slice(), other) {
        ([], None) => Ok(None),
        ([], Some(text)) => Ok(Some(Value::Choice(Selection { ids: Vec::new(), other: Some(text) }))),
        ([id], None) if choice.options.iter().any(|o| o.id == *id) => {
            Ok(Some(Value::Choice(Selection::of([*id]))))
        }
        _ => Err(Problem::NotOffered),
    }
}

fn multiple(choice: &Choice, raw: Option<&Json>, other: Option<String>) -> Result<Option<Value>, Problem> {
    let other = own_words(choice, other)?;
    let chosen = ids(raw)?;
    if chosen.iter().any(|id| choice.options.iter().all(|o| o.id != *id)) {
        return Err(Problem::NotOffered);
    }
    let ids: Vec<String> =
        choice.options.iter().filter(|o| chosen.contains(&o.id.as_str())).map(|o| o.id.clone()).collect();
    let count = u32::try_from(ids.len() + usize::from(other.is_some())).unwrap_or(u32::MAX);
    if count == 0 {
        return Ok(None);
    }
    if let Some(min) = choice.min.filter(|min| count < *min) {
        return Err(Problem::TooFewChoices { min });
    }
    if let Some(max) = choice.max.filter(|max| count > *max) {
        return Err(Problem::TooManyChoices { max });
    }
    Ok(Some(Value::Choices(Selection { ids, other })))
}

fn ranking(options: Vec<&str>, raw: Option<&Json>) -> Result<Option<Value>, Problem> {
    let order = ids(raw)?;
    if order.is_empty() {
        return Ok(None);
    }
    if order.iter().any(|id| !options.contains(id)) {
        return Err(Problem::NotOffered);
    }
    let mut sorted = order.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() != order.len() || order.len() != options.len() {
        return Err(Problem::Ranking);
    }
    Ok(Some(Value::Ranking(order.into_iter().map(str::to_owned).collect())))
}

fn matrix(
    rows: &[MatrixRow],
    columns: &[&str],
    multiple: bool,
    required: bool,
    raw: Option<&Json>,
) -> Result<Option<Value>, Problem> {
    let empty = serde_json::Map::new();
    let sent = match raw {
        None | Some(Json::Null) => &empty,
        Some(Json::Object(sent)) => sent,
        Some(_) => return Err(Problem::NotOffered),
    };
    if sent.keys().any(|id| rows.iter().all(|row| row.id != *id)) {
        return Err(Problem::NotOffered);
    }
    let mut answered = BTreeMap::new();
    for row in rows {
        let chosen = ids(sent.get(&row.id))?;
        if chosen.iter().any(|id| !columns.contains(id)) || (!multiple && chosen.len() > 1) {
            return Err(Problem::NotOffered);
        }
        if chosen.is_empty() {
            if required || row.required {
                return Err(Problem::RowMissing);
            }
            continue;
        }
        let ordered = columns.iter().filter(|id| chosen.contains(id)).map(|id| (*id).to_owned()).collect();
        answered.insert(row.id.clone(), ordered);
    }
    Ok((!answered.is_empty()).then_some(Value::Matrix(answered)))
}

fn between(value: &str, min: Option<&str>, max: Option<&str>) -> Result<(), Problem> {
    if let Some(min) = min.filter(|min| value < *min) {
        return Err(Problem::TooEarly { min: min.to_owned() });
    }
    if let Some(max) = max.filter(|max| value > *max) {
        return Err(Problem::TooLate { max: max.to_owned() });
    }
    Ok(())
}

fn within(number: f64, min: Option<f64>, max: Option<f64>) -> Result<Value, Problem> {
    if let Some(min) = min.filter(|min| number < *min) {
        return Err(Problem::TooSmall { min: number_json(min).to_string() });
    }
    if let Some(max) = max.filter(|max| number > *max) {
        return Err(Problem::TooLarge { max: number_json(max).to_string() });
    }
    Ok(Value::Number(number))
}

fn on_scale(locale: &str, text: &str, min: i64, max: i64, step: i64) -> Result<Value, Problem> {
    let number = scalar::number(text, locale).ok_or(Problem::NotOffered)?;
    #[expect(clippy::cast_precision_loss, reason = "scales are small")]
    let (low, high, step) = (min as f64, max as f64, step.max(1) as f64);
    // Steps are whole; a tiny fraction would get lost in the subtraction.
    let offered =
        number >= low && number <= high && number.fract() == 0.0 && ((number - low) / step).fract() == 0.0;
    if offered { Ok(Value::Number(number)) } else { Err(Problem::NotOffered) }
}

#[cfg(test)]
mod tests;

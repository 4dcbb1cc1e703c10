//! The checks that a client runs before it sends anything (WhatsApp Flows reference 4.8 and 4.9).
//!
//! Only visible inputs are checked. The checks are quick and incomplete by nature; the endpoint must repeat all of them.

use std::sync::LazyLock;

use jiff::civil::{Date, Weekday};
use regex::Regex;
use serde_json::Value;

use super::render::{Choice, Input, InputKind, Screen, TextType};

/// Why the client refuses to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A required input is empty.
    #[error("required")]
    Required,
    /// Fewer characters than `min-chars`.
    #[error("too short")]
    TooShort,
    /// More characters than allowed.
    #[error("too long")]
    TooLong,
    /// Not what the input type takes.
    #[error("not of the input's type")]
    Type,
    /// The pattern does not match.
    #[error("does not match the pattern")]
    Pattern,
    /// Fewer choices or files than asked for.
    #[error("too few chosen")]
    TooFew,
    /// More choices or files than allowed.
    #[error("too many chosen")]
    TooMany,
    /// The option does not exist or cannot be chosen.
    #[error("no such option")]
    Option,
    /// Outside of the allowed days.
    #[error("not an allowed date")]
    Date,
}

/// Checks every visible input of a screen.
pub fn check_screen(screen: &Screen) -> Vec<(String, Refusal)> {
    let refuse = |input: &Input| Some((input.name.clone(), check(input, input.value.as_ref()).err()?));
    screen.inputs().filter_map(refuse).collect()
}

/// Checks one value for one input.
pub fn check(input: &Input, value: Option<&Value>) -> Result<(), Refusal> {
    let value = value.filter(|value| !is_empty(value));
    match &input.kind {
        InputKind::Media { min_files, max_files } => {
            let files = value.and_then(Value::as_array).map_or(0, Vec::len);
            return within(files, *min_files, *max_files);
        }
        // Required means ticked.
        InputKind::OptIn => {
            return match value {
                Some(Value::Bool(true)) => Ok(()),
                Some(Value::Bool(false)) | None if input.required => Err(Refusal::Required),
                Some(Value::Bool(false)) | None => Ok(()),
                Some(_) => Err(Refusal::Type),
            };
        }
        _ => {}
    }
    let Some(value) = value else {
        return if input.required { Err(Refusal::Required) } else { Ok(()) };
    };
    match &input.kind {
        InputKind::Text { text_type, min_chars, max_chars, pattern } => {
            let text = text_of(value).ok_or(Refusal::Type)?;
            let text = text.trim();
            check_length(text, *min_chars, *max_chars)?;
            check_text_type(text, *text_type)?;
            // The pattern runs unanchored; a broken one is ignored.
            let pattern = pattern.as_deref().and_then(|pattern| Regex::new(pattern).ok());
            match pattern {
                Some(pattern) if !pattern.is_match(text) => Err(Refusal::Pattern),
                _ => Ok(()),
            }
        }
        InputKind::TextArea { max_chars } => {
            check_length(value.as_str().ok_or(Refusal::Type)?.trim(), 0, *max_chars)
        }
        InputKind::Choice { kind, options, min_selected, max_selected } => {
            if !kind.is_multiple() {
                return check_option(options, value);
            }
            let chosen = value.as_array().ok_or(Refusal::Type)?;
            chosen.iter().try_for_each(|id| check_option(options, id))?;
            within(chosen.len(), *min_selected, *max_selected)
        }
        InputKind::Date { min, max, unavailable, include_days } => {
            let date = date(value).ok_or(Refusal::Type)?;
            check_bounds(date, min.as_deref(), max.as_deref())?;
            let is_out = |day: &String| day.parse::<Date>().is_ok_and(|day| day == date);
            let day_name = weekday(date.weekday());
            if unavailable.iter().any(is_out)
                || !(include_days.is_empty() || include_days.iter().any(|day| day == day_name))
            {
                return Err(Refusal::Date);
            }
            Ok(())
        }
        InputKind::DateRange { min, max, min_days, max_days } => {
            let end = |name: &str| value.get(name).and_then(date).ok_or(Refusal::Type);
            let (start, end) = (end("start-date")?, end("end-date")?);
            check_bounds(start, min.as_deref(), max.as_deref())?;
            check_bounds(end, min.as_deref(), max.as_deref())?;
            let days = (end - start).get_days();
            let days = u64::try_from(days).map_err(|_| Refusal::Date)?;
            if min_days.is_some_and(|min| days < min) || max_days.is_some_and(|max| days > max) {
                return Err(Refusal::Date);
            }
            Ok(())
        }
        InputKind::OptIn | InputKind::Media { .. } => Ok(()),
    }
}

/// Missing, null, `""` and `[]` are alike (reference 4.9).
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn check_length(text: &str, min: u64, max: u64) -> Result<(), Refusal> {
    // The client counts as JavaScript does, in UTF-16 units.
    let length = u64::try_from(text.encode_utf16().count()).unwrap_or(u64::MAX);
    if length < min {
        Err(Refusal::TooShort)
    } else if length > max {
        Err(Refusal::TooLong)
    } else {
        Ok(())
    }
}

fn check_text_type(text: &str, text_type: TextType) -> Result<(), Refusal> {
    static EMAIL: LazyLock<Regex> = LazyLock::new(|| regex(r"^[^\s@]+@[^\s@]+\.[^\s@]+$"));
    static PHONE: LazyLock<Regex> =
        LazyLock::new(|| regex(r"^(\+?[0-9]{1,3}[ .-]?)?(\([0-9]{1,4}\)[ .-]?)?[0-9]+([ .-]?[0-9]+)*$"));
    static PASSCODE: LazyLock<Regex> = LazyLock::new(|| regex(r"^[0-9]+$"));
    static NUMBER: LazyLock<Regex> =
        LazyLock::new(|| regex(r"^[+-]?([0-9]{1,3}(,[0-9]{3})+|[0-9]+)?([.,][0-9]+)?([eE][+-]?[0-9]+)?$"));
    let base = match text_type {
        TextType::Text | TextType::Password => return Ok(()),
        TextType::Email => &EMAIL,
        TextType::Phone => &PHONE,
        TextType::Passcode => &PASSCODE,
        TextType::Number => &NUMBER,
    };
    let has_digit = text_type != TextType::Number || text.contains(|c: char| c.is_ascii_digit());
    if base.is_match(text) && has_digit { Ok(()) } else { Err(Refusal::Type) }
}

fn regex(source: &str) -> Regex {
    Regex::new(source).expect("the expression is a literal")
}

fn check_option(options: &[Choice], id: &Value) -> Result<(), Refusal> {
    let id = id.as_str().ok_or(Refusal::Type)?;
    let known = options.iter().any(|option| option.enabled && option.id == id);
    if known { Ok(()) } else { Err(Refusal::Option) }
}

fn within(count: usize, min: u64, max: u64) -> Result<(), Refusal> {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    if count < min {
        Err(Refusal::TooFew)
    } else if count > max {
        Err(Refusal::TooMany)
    } else {
        Ok(())
    }
}

fn date(value: &Value) -> Option<Date> {
    let text = value.as_str().filter(|text| text.len() == 10)?;
    text.parse().ok()
}

fn check_bounds(date: Date, min: Option<&str>, max: Option<&str>) -> Result<(), Refusal> {
    let bound = |text: Option<&str>| text.and_then(|text| text.parse::<Date>().ok());
    if bound(min).is_some_and(|min| date < min) || bound(max).is_some_and(|max| date > max) {
        return Err(Refusal::Date);
    }
    Ok(())
}

/// The name that `include-days` uses.
pub(super) fn weekday(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Mon",
        Weekday::Tuesday => "Tue",
        Weekday::Wednesday => "Wed",
        Weekday::Thursday => "Thu",
        Weekday::Friday => "Fri",
        Weekday::Saturday => "Sat",
        Weekday::Sunday => "Sun",
    }
}

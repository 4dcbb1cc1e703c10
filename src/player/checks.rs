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
    /// A file with more bytes than allowed.
    #[error("too large a file")]
    TooLarge,
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
        InputKind::Media { min_files, max_files, .. } => {
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
    static NUMBER: LazyLock<Regex> = LazyLock::new(|| {
        regex(r"^[+-]?([0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?|[0-9]+([.,][0-9]+)?|[.,][0-9]+)([eE][+-]?[0-9]+)?$")
    });
    let base = match text_type {
        TextType::Text | TextType::Password => return Ok(()),
        TextType::Email => &EMAIL,
        TextType::Phone => &PHONE,
        TextType::Passcode => &PASSCODE,
        TextType::Number => &NUMBER,
    };
    if base.is_match(text) { Ok(()) } else { Err(Refusal::Type) }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::player::document::Document;
    use crate::player::expression::{Scope, ScreenState};

    /// The verdict of the client on `value` for a component.
    fn verdict(component: &Value, value: &Value) -> Result<(), Refusal> {
        let mut component = component.clone();
        component["name"] = json!("x");
        component["label"] = json!("X");
        let flow = json!({"screens": [{"id": "A", "layout": {"children": [component]}}]});
        let document = Document::read(&flow).expect("a flow");
        let mut state = ScreenState::default();
        state.values.insert("x".into(), value.clone());
        let scope = Scope { current: &state, screens: &Default::default() };
        let screen = Screen::render(&document.screens[0], scope, None);
        check_screen(&screen).pop().map_or(Ok(()), |(_, refusal)| Err(refusal))
    }

    fn assert_verdicts(component: &Value, verdicts: &[(Value, Result<(), Refusal>)]) {
        for (value, expected) in verdicts {
            assert_eq!(verdict(component, value), *expected, "{value} for {component}");
        }
    }

    #[test]
    fn texts_are_held_to_length_and_an_unanchored_pattern() {
        let text = json!({"type": "TextInput", "required": true, "min-chars": "2", "max-chars": 4, "pattern": "[0-9]"});
        assert_verdicts(
            &text,
            &[
                (json!(""), Err(Refusal::Required)),
                (json!("  "), Err(Refusal::Required)),
                (json!("1"), Err(Refusal::TooShort)),
                (json!(" a1b "), Ok(())),
                (json!("abc12"), Err(Refusal::TooLong)),
                (json!("abc"), Err(Refusal::Pattern)),
                (json!(["a"]), Err(Refusal::Type)),
            ],
        );
        let optional = json!({"type": "TextInput", "min-chars": 5, "pattern": "("});
        assert_verdicts(&optional, &[(json!(""), Ok(())), (json!("abcde"), Ok(()))]);
        let area = json!({"type": "TextArea", "max-length": 3});
        assert_verdicts(&area, &[(json!("abc"), Ok(())), (json!("😀😀"), Err(Refusal::TooLong))]);
    }

    #[test]
    fn input_types_have_their_base_checks() {
        let cases: [(&str, &[&str], &[&str]); 4] = [
            ("email", &["a@b.it", "a.b+c@d-e.co.uk"], &["a", "a@b", "a b@c.it", "@b.it"]),
            (
                "phone",
                &["+39 055 1234", "(055) 12-34", "3331234567", "+1.415.555.0123"],
                &["abc", "+", "055/1234"],
            ),
            ("passcode", &["0042"], &["12a", "1 2"]),
            ("number", &["-4", "1,234", "1,5", "1.5e3", ".5"], &["-", "1.2.3", "12a", "e5"]),
        ];
        for (input_type, right, wrong) in cases {
            let input = json!({"type": "TextInput", "input-type": input_type});
            for text in right {
                assert_eq!(verdict(&input, &json!(text)), Ok(()), "{input_type} {text}");
            }
            for text in wrong {
                assert_eq!(verdict(&input, &json!(text)), Err(Refusal::Type), "{input_type} {text}");
            }
        }
        assert_eq!(verdict(&json!({"type": "TextInput", "input-type": "number"}), &json!(12.5)), Ok(()));
    }

    #[test]
    fn choices_must_exist_and_keep_their_counts() {
        let options = json!([{"id": "a", "title": "A"}, {"id": "b", "title": "B"}, {"id": "c", "title": "C"},
            {"id": "d", "title": "D", "enabled": false}]);
        for many in ["CheckboxGroup", "ChipsSelector"] {
            let group = json!({"type": many, "required": true, "data-source": options,
                "min-selected-items": 2, "max-selected-items": 2});
            assert_verdicts(
                &group,
                &[
                    (json!([]), Err(Refusal::Required)),
                    (json!(["a"]), Err(Refusal::TooFew)),
                    (json!(["a", "b"]), Ok(())),
                    (json!(["a", "b", "c"]), Err(Refusal::TooMany)),
                    (json!(["a", "z"]), Err(Refusal::Option)),
                    (json!(["a", "d"]), Err(Refusal::Option)),
                    (json!("a"), Err(Refusal::Type)),
                ],
            );
        }
        for one in ["RadioButtonsGroup", "Dropdown"] {
            let group = json!({"type": one, "data-source": options});
            let verdicts =
                [(json!("a"), Ok(())), (json!("z"), Err(Refusal::Option)), (json!(1), Err(Refusal::Type))];
            assert_verdicts(&group, &verdicts);
        }
    }

    #[test]
    fn dates_stay_inside_their_bounds_and_days() {
        let picker = json!({"type": "DatePicker", "min-date": "2026-01-10", "max-date": "2026-01-20",
            "unavailable-dates": ["2026-01-15"]});
        let verdicts = [
            (json!("2026-01-10"), Ok(())),
            (json!("2026-01-20"), Ok(())),
            (json!("2026-01-09"), Err(Refusal::Date)),
            (json!("2026-01-15"), Err(Refusal::Date)),
            (json!("2026-02-30"), Err(Refusal::Type)),
            (json!("10/01/2026"), Err(Refusal::Type)),
        ];
        assert_verdicts(&picker, &verdicts);
        let weekdays = json!({"type": "CalendarPicker", "include-days": ["Mon"]});
        assert_verdicts(
            &weekdays,
            &[(json!("2026-01-12"), Ok(())), (json!("2026-01-13"), Err(Refusal::Date))],
        );
        let range = json!({"type": "CalendarPicker", "mode": "range", "min-days": 2, "max-days": 4});
        let days = |start: &str, end: &str| json!({"start-date": start, "end-date": end});
        let verdicts = [
            (days("2026-01-01", "2026-01-03"), Ok(())),
            (days("2026-01-01", "2026-01-02"), Err(Refusal::Date)),
            (days("2026-01-01", "2026-01-06"), Err(Refusal::Date)),
            (days("2026-01-03", "2026-01-01"), Err(Refusal::Date)),
            (json!("2026-01-01"), Err(Refusal::Type)),
        ];
        assert_verdicts(&range, &verdicts);
    }

    #[test]
    fn a_required_opt_in_is_ticked_and_pickers_count_files() {
        let consent = json!({"type": "OptIn", "required": true});
        let verdicts = [
            (json!(true), Ok(())),
            (json!(false), Err(Refusal::Required)),
            (json!("yes"), Err(Refusal::Type)),
        ];
        assert_verdicts(&consent, &verdicts);
        let photos = json!({"type": "PhotoPicker", "min-uploaded-photos": 1, "max-uploaded-photos": 1});
        let verdicts = [
            (json!([]), Err(Refusal::TooFew)),
            (json!([{}]), Ok(())),
            (json!([{}, {}]), Err(Refusal::TooMany)),
        ];
        assert_verdicts(&photos, &verdicts);
    }

    #[test]
    fn what_is_not_visible_is_not_checked() {
        let hidden = json!({"type": "TextInput", "required": true, "visible": false});
        assert_eq!(verdict(&hidden, &json!("")), Ok(()));
    }
}

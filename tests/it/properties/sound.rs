//! Whether a stored answer is one that the form accepts: written anew from the form's own words, not from its validator.

use std::collections::BTreeSet;

use formgate::form::{Kind, Question, TextLimits, Value};

/// What is wrong with a stored answer; `None` if it is sound.
pub fn fault(question: &Question, value: &Value) -> Option<String> {
    let unless = |holds: bool, what: &str| (!holds).then(|| format!("{}: {what}: {value:?}", question.key));
    let offered: BTreeSet<&str> = question.kind.options().iter().map(|option| option.id.as_str()).collect();
    let known = |ids: &[String]| {
        ids.iter().all(|id| offered.contains(id.as_str()))
            && ids.iter().collect::<BTreeSet<_>>().len() == ids.len()
    };
    let own_words = |other: &Option<String>, allowed: bool| {
        other.as_ref().is_none_or(|text| allowed && !text.trim().is_empty() && text.chars().count() <= 4_096)
    };
    match (&question.kind, value) {
        (Kind::ShortText(limits), Value::Text(text)) => {
            unless(fits(limits, text) && !text.contains('\n'), "not within its limits")
        }
        (Kind::LongText(limits), Value::Text(text)) => unless(fits(limits, text), "not within its limits"),
        (Kind::Email { blocked_domains }, Value::Text(text)) => {
            let parts: Vec<&str> = text.split('@').collect();
            let sound = parts.len() == 2 && !parts[0].is_empty() && parts[1].contains('.');
            let blocked = blocked_domains.iter().any(|domain| text.to_lowercase().ends_with(domain.as_str()));
            unless(sound && !blocked && !text.contains(char::is_whitespace), "no address")
        }
        (Kind::Phone { .. }, Value::Text(text)) => {
            let digits = text.strip_prefix('+').unwrap_or_default();
            unless((6..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()), "no E.164")
        }
        (Kind::Url, Value::Text(text)) => {
            unless(text.starts_with("https://") || text.starts_with("http://"), "no web address")
        }
        (Kind::Date { min, max }, Value::Text(text)) => unless(
            is_date(text) && between(text, min.as_deref(), max.as_deref()),
            "no date within its limits",
        ),
        (Kind::Time { min, max }, Value::Text(text)) => unless(
            is_time(text) && between(text, min.as_deref(), max.as_deref()),
            "no time within its limits",
        ),
        (Kind::DateTime { min, max }, Value::Text(text)) => {
            let (date, time) = text.split_once('T').unwrap_or_default();
            unless(
                is_date(date) && is_time(time) && between(date, min.as_deref(), max.as_deref()),
                "no moment",
            )
        }
        (Kind::Number { min, max, integer }, Value::Number(number)) => unless(
            number.is_finite()
                && min.is_none_or(|min| *number >= min)
                && max.is_none_or(|max| *number <= max)
                && (!integer || number.trunc() == *number),
            "not within its limits",
        ),
        (Kind::Rating { steps }, Value::Number(number)) => {
            unless(on(*number, 1, i64::from(*steps), 1), "no step")
        }
        (Kind::Scale { min, max, step, .. }, Value::Number(number)) => {
            unless(on(*number, *min, *max, *step), "no step")
        }
        (Kind::Nps { .. }, Value::Number(number)) => unless(on(*number, 0, 10, 1), "no step"),
        (Kind::YesNo, Value::Bool(_)) => None,
        (Kind::Consent { .. }, Value::Bool(given)) => unless(*given || !question.required, "not given"),
        (Kind::SingleChoice(choice), Value::Choice(chosen)) => unless(
            known(&chosen.ids)
                && own_words(&chosen.other, choice.other.is_some())
                && chosen.ids.len() + usize::from(chosen.other.is_some()) == 1,
            "not one of its options",
        ),
        (Kind::MultipleChoice(choice), Value::Choices(chosen)) => {
            let count = chosen.ids.len() + usize::from(chosen.other.is_some());
            let least = choice.min.unwrap_or(1).max(1) as usize;
            unless(
                known(&chosen.ids)
                    && own_words(&chosen.other, choice.other.is_some())
                    && count >= least
                    && choice.max.is_none_or(|max| count <= max as usize),
                "not among its options",
            )
        }
        (Kind::Ranking { options }, Value::Ranking(order)) => {
            unless(known(order) && order.len() == options.len(), "no order of all")
        }
        (Kind::Matrix { rows, multiple, .. }, Value::Matrix(cells)) => {
            let names: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
            let filled = cells.iter().all(|(row, ids)| {
                names.contains(row.as_str()) && known(ids) && !ids.is_empty() && (*multiple || ids.len() == 1)
            });
            let must = rows.iter().filter(|row| row.required || question.required);
            let complete = must.into_iter().all(|row| cells.contains_key(&row.id));
            unless(filled && complete && !cells.is_empty(), "not in its rows and columns")
        }
        (Kind::File(limits), Value::Files(files)) => {
            let named = files.iter().all(|file| !file.media_id.is_empty() && file.file_name.len() <= 2_048);
            unless(
                named && !files.is_empty() && files.len() <= usize::from(limits.max_files),
                "not its files",
            )
        }
        _ => unless(false, "not of its kind"),
    }
}

fn fits(limits: &TextLimits, text: &str) -> bool {
    let length = text.chars().count();
    let pattern = limits.pattern.as_ref().map(|pattern| {
        regex::Regex::new(&format!("\\A(?:{})\\z", pattern.regex)).expect("a checked pattern")
    });
    !text.trim().is_empty()
        && text.trim() == text
        && length <= limits.max_length.map_or(4_096, |max| max as usize).min(4_096)
        && limits.min_length.is_none_or(|min| length >= min as usize)
        && pattern.is_none_or(|pattern| pattern.is_match(text))
}

fn is_date(text: &str) -> bool {
    let days = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let parts: Vec<usize> = text.split('-').filter_map(|part| part.parse().ok()).collect();
    match parts[..] {
        [year, month, day] => {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let most = days.get(month.wrapping_sub(1)).copied().unwrap_or(0);
            text.len() == 10 && day >= 1 && day <= most && (month != 2 || leap || day <= 28)
        }
        _ => false,
    }
}

fn is_time(text: &str) -> bool {
    text.split_once(':').is_some_and(|(hour, minute)| {
        let number = |part: &str| part.parse::<u8>().ok().filter(|_| part.len() == 2);
        number(hour).is_some_and(|hour| hour < 24) && number(minute).is_some_and(|minute| minute < 60)
    })
}

fn between(text: &str, min: Option<&str>, max: Option<&str>) -> bool {
    min.is_none_or(|min| text >= min) && max.is_none_or(|max| text <= max)
}

fn on(number: f64, min: i64, max: i64, step: i64) -> bool {
    let mut value = min;
    while value <= max {
        #[expect(clippy::cast_precision_loss, reason = "small scales")]
        if number == value as f64 {
            return true;
        }
        value += step;
    }
    false
}

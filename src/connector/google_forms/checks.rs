//! The validation rules of the public page, each `[kind, operator, arguments, message]`.
//!
//! Google documents none of the numbers. Captured pages show 1/9 (a number), 2/100, 2/102, 4/299, 4/301, 6/202, 7/200 and
//! 8/205; the others stand in the order of the form editor's lists. What is not in these lists is named and not enforced.

use serde_json::Value;

use super::build::Builder;
use crate::form::{Kind, Pattern, TextLimits};

/// "Greater than" has no place in a form, where limits are inclusive; this far above it is the smallest number allowed.
const ABOVE: f64 = 0.0001;

struct Check {
    kind: u64,
    op: u64,
    arguments: Vec<String>,
    message: Option<String>,
}

/// What became of a rule: carried, or carried with these words to the owner.
type Carried = Result<Option<String>, String>;

impl Builder {
    /// `kind` with the rules of the page.
    pub(super) fn checked(&mut self, at: &str, title: &str, mut kind: Kind, checks: &[Value]) -> Kind {
        for (number, json) in checks.iter().enumerate() {
            let at = format!("{at}.rule.{number}");
            let Some(check) = read(json) else {
                self.lost(&at, title, "its rule makes no sense and is not enforced");
                continue;
            };
            let mut tightened = kind.clone();
            match tighten(&mut tightened, &check) {
                Err(why) => self.lost(&at, title, &format!("its rule is not enforced: {why}")),
                Ok(_) if !is_possible(&tightened) => {
                    self.lost(&at, title, "no answer could keep its rules; this one is not enforced");
                }
                Ok(changed) => {
                    kind = tightened;
                    if let Some(changed) = changed {
                        self.changed(&at, title, &changed);
                    }
                    let says_it_itself =
                        matches!(&kind, Kind::ShortText(l) | Kind::LongText(l) if l.pattern.is_some());
                    if let Some(message) = check.message.filter(|_| !says_it_itself) {
                        let what = format!(
                            "what a wrong answer is told is not “{}” but said in other words",
                            message.trim()
                        );
                        self.changed(&at, title, &what);
                    }
                }
            }
        }
        kind
    }
}

fn read(json: &Value) -> Option<Check> {
    let arguments = json.get(2).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let arguments = arguments.iter().filter_map(|argument| match argument {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    Some(Check {
        kind: json.get(0)?.as_u64()?,
        op: json.get(1)?.as_u64()?,
        arguments: arguments.collect(),
        message: json.get(3).and_then(Value::as_str).filter(|m| !m.trim().is_empty()).map(str::to_owned),
    })
}

fn is_possible(kind: &Kind) -> bool {
    match kind {
        Kind::Number { min: Some(min), max: Some(max), .. } => min <= max,
        Kind::ShortText(limits) | Kind::LongText(limits) => {
            limits.min_length.zip(limits.max_length).is_none_or(|(min, max)| min <= max)
        }
        Kind::MultipleChoice(choice) => {
            let most = choice.options.len() + usize::from(choice.other.is_some());
            choice.min.is_none_or(|min| usize::try_from(min).is_ok_and(|min| min <= most))
                && choice.min.zip(choice.max).is_none_or(|(min, max)| min <= max)
        }
        _ => true,
    }
}

fn tighten(kind: &mut Kind, check: &Check) -> Carried {
    match (check.kind, check.op) {
        (1, 1..=10) => number(kind, check),
        (2, 100) => match check.arguments.first().filter(|part| !part.is_empty()) {
            Some(part) => pattern(kind, check, format!("(?s:.*){}(?s:.*)", regex::escape(part))),
            // Every text contains nothing.
            None => Ok(None),
        },
        (2, 101) => Err("“does not contain” cannot be checked".to_owned()),
        (2, 102) => instead(kind, Kind::Email { blocked_domains: Vec::new() }),
        (2, 103) => instead(kind, Kind::Url),
        (4, 299) => pattern(kind, check, format!("(?s:.*)(?:{})(?s:.*)", argument(check)?)),
        (4, 301) => pattern(kind, check, argument(check)?.to_owned()),
        (4, 300 | 302) => Err("an expression that must not match cannot be checked".to_owned()),
        (6, 202) => {
            limits(kind)?.max_length = Some(count(check)?);
            Ok(None)
        }
        (6, 203) => {
            limits(kind)?.min_length = Some(count(check)?);
            Ok(None)
        }
        (7, 200 | 201 | 204) => {
            let Kind::MultipleChoice(choice) = kind else { return Err(misplaced()) };
            let count = count(check)?;
            if check.op != 201 {
                choice.min = Some(count).filter(|min| *min > 0);
            }
            if check.op != 200 {
                choice.max = Some(count).filter(|max| *max > 0);
            }
            Ok(None)
        }
        (8, 205) => Err("one answer a column cannot be checked".to_owned()),
        (kind, op) => Err(format!("{kind}/{op} is not known")),
    }
}

fn misplaced() -> String {
    "it does not fit the question".to_owned()
}

fn argument(check: &Check) -> Result<&str, String> {
    check.arguments.first().map(String::as_str).ok_or_else(|| "it says nothing to compare with".to_owned())
}

fn count(check: &Check) -> Result<u32, String> {
    argument(check)?.trim().parse().map_err(|_| "what it counts up to is no number".to_owned())
}

fn limits(kind: &mut Kind) -> Result<&mut TextLimits, String> {
    match kind {
        Kind::ShortText(limits) | Kind::LongText(limits) => Ok(limits),
        _ => Err(misplaced()),
    }
}

/// A text with rules of another sort keeps them; only a plain one becomes a question of another kind.
fn instead(kind: &mut Kind, other: Kind) -> Carried {
    if *limits(kind)? != TextLimits::default() {
        return Err("it does not go with the rule before it".to_owned());
    }
    *kind = other;
    Ok(None)
}

fn pattern(kind: &mut Kind, check: &Check, regex: String) -> Carried {
    let limits = limits(kind)?;
    if limits.pattern.is_some() {
        return Err("only one expression can be checked".to_owned());
    }
    // As the answers will be matched: whole, in linear time and in bounded memory.
    let whole = regex::RegexBuilder::new(&format!("^(?:{regex})$")).size_limit(1 << 20).build();
    if regex::Regex::new(&regex).is_err() || whole.is_err() {
        return Err("its expression cannot be checked in linear time".to_owned());
    }
    limits.pattern = Some(Pattern { regex, message: check.message.clone() });
    Ok(None)
}

fn number(kind: &mut Kind, check: &Check) -> Carried {
    if !matches!(kind, Kind::Number { .. }) {
        instead(kind, Kind::Number { min: None, max: None, integer: false })?;
    }
    let Kind::Number { min, max, integer } = kind else { return Err(misplaced()) };
    let value = |index: usize| {
        let text = check.arguments.get(index).map(|text| text.trim());
        let number = text.and_then(|text| text.parse().ok()).filter(|n: &f64| n.is_finite());
        number.ok_or_else(|| "what it compares with is no number".to_owned())
    };
    let strictly = |words: &str, than: f64, limit: f64| {
        Ok(Some(format!("“{words} than {than}” is checked as {limit}, {words} by a hair")))
    };
    match check.op {
        1 => {
            let (than, above) = (value(0)?, beyond(value(0)?, 1.0));
            *min = Some(above);
            strictly("greater", than, above)
        }
        2 => {
            *min = Some(value(0)?);
            Ok(None)
        }
        3 => {
            let (than, below) = (value(0)?, beyond(value(0)?, -1.0));
            *max = Some(below);
            strictly("less", than, below)
        }
        4 => {
            *max = Some(value(0)?);
            Ok(None)
        }
        5 => {
            (*min, *max) = (Some(value(0)?), Some(value(0)?));
            Ok(None)
        }
        6 => Err("a number that must not be given cannot be checked".to_owned()),
        7 => {
            (*min, *max) = (Some(value(0)?), Some(value(1)?));
            Ok(None)
        }
        8 => Err("numbers that must not be given cannot be checked".to_owned()),
        10 => {
            *integer = true;
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// The next number that a person would write; of large numbers, the next there is.
fn beyond(number: f64, direction: f64) -> f64 {
    let hair = ((number + direction * ABOVE) / ABOVE).round() * ABOVE;
    // Times a ten-thousandth leaves dust behind the fourth digit.
    let written = format!("{hair:.4}").parse().unwrap_or(hair);
    let next = if direction > 0.0 { number.next_up() } else { number.next_down() };
    if direction > 0.0 { f64::max(written, next) } else { f64::min(written, next) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text() -> Kind {
        Kind::ShortText(TextLimits::default())
    }

    fn after(checks: &[Value]) -> (Kind, Vec<String>) {
        let mut builder = Builder::default();
        let kind = builder.checked("question.q", "Q", text(), checks);
        (kind, builder.notes.into_iter().map(|note| note.text).collect())
    }

    #[test]
    fn numbers_keep_their_limits() {
        let number = |min, max, integer| Kind::Number { min, max, integer };
        for (check, kind) in [
            (json!([1, 1, ["0"]]), number(Some(0.0001), None, false)),
            (json!([1, 1, ["12.5"]]), number(Some(12.5001), None, false)),
            (json!([1, 1, ["1e15"]]), number(Some(1e15_f64.next_up()), None, false)),
            (json!([1, 2, ["5"]]), number(Some(5.0), None, false)),
            (json!([1, 3, ["0"]]), number(None, Some(-0.0001), false)),
            (json!([1, 4, [5]]), number(None, Some(5.0), false)),
            (json!([1, 5, ["5"]]), number(Some(5.0), Some(5.0), false)),
            (json!([1, 7, ["1", "8"]]), number(Some(1.0), Some(8.0), false)),
            (json!([1, 9, [""]]), number(None, None, false)),
            (json!([1, 10, null]), number(None, None, true)),
        ] {
            assert_eq!(after(std::slice::from_ref(&check)).0, kind, "{check}");
        }
        let (kind, notes) = after(&[json!([1, 10]), json!([1, 2, ["1"], "At least one"])]);
        assert_eq!(kind, number(Some(1.0), None, true));
        assert_eq!(notes, ["what a wrong answer is told is not “At least one” but said in other words"]);
    }

    #[test]
    fn what_cannot_be_checked_is_named_and_the_question_stays() {
        for (check, words) in [
            (json!([1, 6, ["0"]]), "must not be given"),
            (json!([1, 8, ["1", "2"]]), "must not be given"),
            (json!([1, 2, ["many"]]), "no number"),
            (json!([1, 7, ["8", "1"]]), "no answer could keep"),
            (json!([2, 101, ["x"]]), "does not contain"),
            (json!([4, 301, ["(?=look)ahead"]]), "linear time"),
            (json!([4, 301, ["(a{1000}){1000}"]]), "linear time"),
            (json!([4, 301, []]), "nothing to compare"),
            (json!([4, 302, ["x"]]), "must not match"),
            (json!([7, 200, ["2"]]), "does not fit"),
            (json!([9, 999]), "9/999 is not known"),
            (json!("rule"), "makes no sense"),
            (json!([6, 202, ["-1"]]), "no number"),
        ] {
            let (kind, notes) = after(std::slice::from_ref(&check));
            assert_eq!(kind, text(), "{check}");
            assert!(matches!(notes.as_slice(), [note] if note.contains(words)), "{check}: {notes:?}");
        }
    }

    #[test]
    fn texts_keep_their_expressions_and_lengths() {
        let (kind, notes) =
            after(&[json!([6, 202, ["10"]]), json!([6, 203, ["2"]]), json!([2, 100, ["a.b"], "Say a.b"])]);
        let Kind::ShortText(limits) = kind else { panic!("{kind:?}") };
        assert_eq!((limits.min_length, limits.max_length), (Some(2), Some(10)));
        let pattern = limits.pattern.expect("a pattern");
        assert_eq!(
            (pattern.regex.as_str(), pattern.message.as_deref()),
            (r"(?s:.*)a\.b(?s:.*)", Some("Say a.b"))
        );
        assert!(notes.is_empty(), "{notes:?}");
        assert_eq!(after(&[json!([2, 102, null, null])]).0, Kind::Email { blocked_domains: Vec::new() });
        assert_eq!(after(&[json!([2, 103])]).0, Kind::Url);
        assert_eq!(after(&[json!([2, 100, [""]])]), (text(), Vec::new()));
        let (kind, notes) = after(&[json!([6, 202, ["10"]]), json!([2, 102])]);
        assert!(matches!(kind, Kind::ShortText(_)) && notes[0].contains("rule before it"), "{notes:?}");
    }
}

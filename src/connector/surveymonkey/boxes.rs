//! Text boxes, sliders, contact blocks, dates, and the rules for what is typed into them.

use jiff::civil::Date;
use serde_json::Value;

use super::address::To;
use super::question::{Asked, Item, Piece};
use super::{Reader, flag, text};
use crate::form::{Kind, Labels, Part, Pattern, Question, TextLimits};

impl Reader {
    pub(super) fn open_ended(&mut self, asked: &Asked<'_>, questions: &mut Vec<Question>) {
        let rule = asked.member("validation");
        let subtype = text(asked.json, "subtype").unwrap_or_default();
        match (subtype, asked.display("display_type").as_str()) {
            ("single", Some("file_upload")) => self.file(asked, questions),
            ("single", Some("slider")) => {
                let kind = self.slider(asked);
                self.push(asked, Piece::whole(asked, kind, To::Text), questions);
            }
            ("single" | "essay", _) => {
                let (kind, to) = self.text_kind(asked, rule, subtype == "essay");
                self.push(asked, Piece::whole(asked, kind, to), questions);
            }
            ("multi" | "numerical", _) => {
                let rows = self.items(asked, asked.answers("rows"));
                if rows.is_empty() {
                    return self.unsupported(asked, "list of boxes", questions);
                }
                let required = self.needs_all(asked, rows.len());
                let (kind, to) = if subtype == "numerical" {
                    (self.number(asked, rule, rule.get("type").is_some_and(|t| t == "integer")), To::Text)
                } else {
                    self.text_kind(asked, rule, false)
                };
                if rule.get("sum").is_some_and(|sum| !sum.is_null()) {
                    let what = "that its numbers add up to a sum is not enforced; SurveyMonkey may refuse what is sent";
                    self.lost(&asked.at(), &asked.heading, what);
                }
                for row in &rows {
                    let piece = labelled(asked, row, kind.clone(), to.clone(), required);
                    self.push(asked, piece, questions);
                }
            }
            _ => self.unsupported(asked, "subtype", questions),
        }
    }

    /// A contact block: each line is a question.
    pub(super) fn contact(&mut self, asked: &Asked<'_>, questions: &mut Vec<Question>) {
        let rows = self.items(asked, asked.answers("rows"));
        if rows.is_empty() {
            return self.unsupported(asked, "list of lines", questions);
        }
        // A line says itself whether it is required; a rule of the whole block comes on top.
        let all = asked.required.any && self.needs_all(asked, rows.len());
        for row in &rows {
            let short = || Kind::ShortText(TextLimits::default());
            let (part, kind) = match text(row.json, "type").unwrap_or_default() {
                "name" => (Some(Part::FullName), short()),
                "company" => (Some(Part::Company), short()),
                "address" => (Some(Part::Address), short()),
                "address2" => (Some(Part::AddressLine2), short()),
                "city" => (Some(Part::City), short()),
                "state" => (Some(Part::State), short()),
                "zip" => (Some(Part::PostalCode), short()),
                "country" => (Some(Part::Country), short()),
                "email" => (Some(Part::Email), Kind::Email { blocked_domains: Vec::new() }),
                "phone" => (Some(Part::Phone), Kind::Phone { country: None }),
                _ => (None, short()),
            };
            let required = all || flag(row.json, "required");
            let mut piece = labelled(asked, row, kind, To::Text, required);
            if row.text.is_empty() {
                piece.title = text(row.json, "type").map_or_else(|| asked.heading.clone(), str::to_owned);
                piece.grouped = true;
            }
            self.push(asked, Piece { part, ..piece }, questions);
        }
    }

    pub(super) fn moments(&mut self, asked: &Asked<'_>, questions: &mut Vec<Question>) {
        let rows = self.items(asked, asked.answers("rows"));
        if rows.is_empty() {
            return self.unsupported(asked, "list of dates", questions);
        }
        let (min, max) = self.dates(asked, asked.member("validation"));
        let kind = match text(asked.json, "subtype").unwrap_or_default() {
            "date_only" => Kind::Date { min, max },
            "time_only" => Kind::Time { min: None, max: None },
            "both" => Kind::DateTime { min, max },
            _ => return self.unsupported(asked, "subtype", questions),
        };
        let required = self.needs_all(asked, rows.len());
        for row in &rows {
            // Captured responses have the month first, whatever the survey's order.
            let piece = labelled(asked, row, kind.clone(), To::Moment { day_first: false }, required);
            self.push(asked, piece, questions);
        }
    }

    fn slider(&mut self, asked: &Asked<'_>) -> Kind {
        let rule = asked.member("validation");
        self.has_messages |= text(rule, "text").is_some();
        let step = asked.display("custom_options").get("step_size").and_then(Value::as_i64).unwrap_or(1);
        let mut label = |end: &str| {
            let source = asked.display(end).as_str().filter(|label| !label.trim().is_empty())?;
            Some(self.plain(&asked.at(), source)).filter(|label| !label.is_empty())
        };
        let labels =
            Labels { left: label("left_label"), center: label("middle_label"), right: label("right_label") };
        let bound =
            |name: &str| rule.get(name).and_then(number).filter(|n| n.fract() == 0.0 && n.abs() < 1e9);
        if let Some((min, max)) = bound("min").zip(bound("max")) {
            #[expect(clippy::cast_possible_truncation, reason = "whole and below 10^9")]
            let (min, max) = (min as i64, max as i64);
            if min < max && step >= 1 && (max - min) / step <= 1_000 {
                return Kind::Scale { min, max, step, labels };
            }
        }
        self.changed(
            &asked.at(),
            &asked.heading,
            "its slider has no steps that a chat can show; it is asked as a number",
        );
        let ends: Vec<String> = [labels.left, labels.center, labels.right].into_iter().flatten().collect();
        if !ends.is_empty() {
            let what = format!("what its ends mean is not shown: {}", ends.join(" … "));
            self.lost(&asked.at(), &asked.heading, what);
        }
        self.number(asked, rule, true)
    }

    fn number(&mut self, asked: &Asked<'_>, rule: &Value, integer: bool) -> Kind {
        self.has_messages |= text(rule, "text").is_some();
        let (mut min, mut max) = self.bounds(asked, rule);
        if min.zip(max).is_some_and(|(min, max)| min > max) {
            self.lost(&asked.at(), &asked.heading, "no number could keep its limits; they are not enforced");
            (min, max) = (None, None);
        }
        Kind::Number { min, max, integer }
    }

    /// `min` and `max`; one that is no number is named.
    fn bounds(&mut self, asked: &Asked<'_>, rule: &Value) -> (Option<f64>, Option<f64>) {
        let mut bound = |name: &str| {
            let source = rule.get(name).filter(|value| !value.is_null() && *value != "")?;
            let found = number(source);
            if found.is_none() {
                let what = format!("its limit “{name}” is no number; it is not enforced");
                self.lost(&asked.at(), &asked.heading, what);
            }
            found
        };
        (bound("min"), bound("max"))
    }

    /// What may be typed into a box, by its rule.
    pub(super) fn text_kind(&mut self, asked: &Asked<'_>, rule: &Value, is_long: bool) -> (Kind, To) {
        self.has_messages |= text(rule, "text").is_some();
        let wrap =
            |limits: TextLimits| if is_long { Kind::LongText(limits) } else { Kind::ShortText(limits) };
        let free = || (wrap(TextLimits::default()), To::Text);
        match text(rule, "type").unwrap_or("any") {
            "any" => free(),
            "integer" => (self.number(asked, rule, true), To::Text),
            "decimal" => (self.number(asked, rule, false), To::Text),
            kind @ ("date_us" | "date_intl") => {
                let (min, max) = self.dates(asked, rule);
                (Kind::Date { min, max }, To::Moment { day_first: kind == "date_intl" })
            }
            "email" => (Kind::Email { blocked_domains: Vec::new() }, To::Text),
            "text_length" => {
                let (min, max) = self.bounds(asked, rule);
                let length = |bound: Option<f64>| {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "within the range of u32"
                    )]
                    bound.filter(|n| (1.0..1e9).contains(n)).map(|n| n as u32)
                };
                let (mut min_length, mut max_length) = (length(min), length(max));
                if min_length.zip(max_length).is_some_and(|(min, max)| min > max) {
                    self.lost(
                        &asked.at(),
                        &asked.heading,
                        "no text could keep its length; it is not enforced",
                    );
                    (min_length, max_length) = (None, None);
                }
                (wrap(TextLimits { min_length, max_length, pattern: None }), To::Text)
            }
            "regex" => {
                let source = text(rule, "regex").or(text(rule, "pattern"));
                let Some(regex) = source.filter(|regex| is_checkable(regex)) else {
                    let what = if source.is_some() {
                        "its regular expression cannot be checked in bounded time; it is not enforced"
                    } else {
                        "its rule is a regular expression that the definition does not hold; it is not enforced"
                    };
                    self.lost(&asked.at(), &asked.heading, what);
                    return free();
                };
                let message = text(rule, "text").map(str::to_owned);
                let pattern = Some(Pattern { regex: regex.to_owned(), message });
                (wrap(TextLimits { pattern, ..TextLimits::default() }), To::Text)
            }
            other => {
                let what = format!("its rule “{other}” is not known and not enforced");
                self.lost(&asked.at(), &asked.heading, what);
                free()
            }
        }
    }

    /// `min` and `max` as dates, in the order that the rule names.
    fn dates(&mut self, asked: &Asked<'_>, rule: &Value) -> (Option<String>, Option<String>) {
        self.has_messages |= text(rule, "text").is_some();
        let day_first = rule.get("type").is_some_and(|kind| kind == "date_intl");
        let mut bound = |name: &str| {
            let source = text(rule, name)?;
            let found = date(source, day_first);
            if found.is_none() {
                let what = format!("its limit “{source}” is no date; it is not enforced");
                self.lost(&asked.at(), &asked.heading, what);
            }
            found
        };
        let (min, max) = (bound("min"), bound("max"));
        if min.as_ref().zip(max.as_ref()).is_some_and(|(min, max)| min > max) {
            self.lost(&asked.at(), &asked.heading, "no date could keep its limits; they are not enforced");
            return (None, None);
        }
        (min, max)
    }
}

/// A box with its label; the only one of a question is asked by the heading.
fn labelled(asked: &Asked<'_>, row: &Item<'_>, kind: Kind, to: To, required: bool) -> Piece {
    let grouped = !row.text.is_empty() && row.text != asked.heading;
    let title = if grouped { row.text.clone() } else { asked.heading.clone() };
    Piece { title, kind, required, row: Some(row.id.clone()), col: None, to, grouped, part: None }
}

/// A number, also as a text.
fn number(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    number.filter(|number| number.is_finite())
}

/// `MM/DD/YYYY` or `DD/MM/YYYY`, or an ISO date, as `YYYY-MM-DD`.
fn date(source: &str, day_first: bool) -> Option<String> {
    let source = source.trim();
    let iso = source.get(..10).filter(|iso| iso.as_bytes().get(4) == Some(&b'-'));
    if let Some(date) = iso.and_then(|iso| iso.parse::<Date>().ok()) {
        return Some(date.to_string());
    }
    let parts: Vec<i16> =
        source.split(['/', '-', '.']).map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
    let [first, second, year] = parts.as_slice() else { return None };
    let (day, month) = if day_first { (first, second) } else { (second, first) };
    let date = Date::new(*year, i8::try_from(*month).ok()?, i8::try_from(*day).ok()?).ok()?;
    (1_000..=9_999).contains(year).then(|| date.to_string())
}

/// As the form's validator will: the whole text, in linear time and bounded memory.
fn is_checkable(regex: &str) -> bool {
    regex::Regex::new(regex).is_ok()
        && regex::RegexBuilder::new(&format!("^(?:{regex})$")).size_limit(1 << 20).build().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_the_order_that_the_rule_names() {
        for (source, day_first, expected) in [
            ("12/31/2026", false, Some("2026-12-31")),
            ("31/12/2026", true, Some("2026-12-31")),
            ("31/12/2026", false, None),
            ("2026-12-31", true, Some("2026-12-31")),
            ("2026-12-31T00:00:00", false, Some("2026-12-31")),
            ("1/2/26", false, None),
            ("soon", false, None),
            ("", false, None),
        ] {
            assert_eq!(date(source, day_first).as_deref(), expected, "{source}");
        }
    }
}

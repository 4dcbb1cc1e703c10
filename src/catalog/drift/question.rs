//! What changed in one question.

use std::collections::BTreeMap;

use super::{Changes, Impact, logic};
use crate::form::{Choice, ChoiceOption, Kind, MatrixRow, Question, TextLimits};

use Impact::{Breaking, Compatible, Cosmetic};

pub(super) fn added(changes: &mut Changes, question: &Question) {
    let at = format!("question.{}", question.key);
    if question.required && question.kind.is_answered() {
        let text = "a required question is new: who is filling the form in now is not asked it";
        changes.add(Breaking, at, &question.title, text);
    } else {
        changes.add(Compatible, at, &question.title, "the question is new");
    }
}

pub(super) fn removed(changes: &mut Changes, question: &Question) {
    let at = format!("question.{}", question.key);
    if question.kind.is_answered() {
        changes.add(
            Breaking,
            at,
            &question.title,
            "the question is gone: its answers have no place any more",
        );
    } else {
        changes.add(Cosmetic, at, &question.title, "the text is gone");
    }
}

pub(super) fn compare(changes: &mut Changes, old: &Question, new: &Question) {
    let (at, title) = (format!("question.{}", new.key), new.title.as_str());
    changes.differ(Cosmetic, &at, title, "the question's text", &old.title, &new.title);
    changes.differ(Cosmetic, &at, title, "the help", &old.help, &new.help);
    match (old.required, new.required) {
        (false, true) => changes.add(Breaking, &at, title, "it is required now"),
        (true, false) => changes.add(Compatible, &at, title, "it is not required any more"),
        _ => {}
    }
    changes.differ(Compatible, &at, title, "the answer filled in beforehand", &old.default, &new.default);
    changes.differ(Compatible, &at, title, "whether it is personal", &old.personal, &new.personal);
    let headings =
        |question: &Question| question.group.as_ref().map(|group| (group.key.clone(), group.title.clone()));
    changes.differ(Cosmetic, &at, title, "its group", &headings(old), &headings(new));
    let part = |question: &Question| question.group.as_ref().and_then(|group| group.part);
    changes.differ(Breaking, &at, title, "which part of a contact it is", &part(old), &part(new));
    logic(changes, &at, title, (&old.visible_if, &old.rules), (&new.visible_if, &new.rules));
    kind(changes, &at, title, &old.kind, &new.kind);
}

fn kind(changes: &mut Changes, at: &str, title: &str, old: &Kind, new: &Kind) {
    match (old, new) {
        (Kind::ShortText(was), Kind::ShortText(is)) | (Kind::LongText(was), Kind::LongText(is)) => {
            text(changes, at, title, was, is)
        }
        // One line becomes several: every old answer fits.
        (Kind::ShortText(was), Kind::LongText(is)) => {
            changes.add(Compatible, at, title, "it takes several lines now");
            text(changes, at, title, was, is);
        }
        (Kind::Email { blocked_domains: was }, Kind::Email { blocked_domains: is }) => {
            let stricter = is.iter().any(|domain| !was.contains(domain));
            let impact = if stricter { Breaking } else { Compatible };
            changes.differ(impact, at, title, "which e-mail domains are refused", was, is);
        }
        (Kind::Phone { country: was }, Kind::Phone { country: is }) => {
            changes.differ(Compatible, at, title, "the country of numbers without a prefix", was, is);
        }
        (
            Kind::Number { min: was_min, max: was_max, integer: was_integer },
            Kind::Number { min, max, integer },
        ) => {
            range(changes, at, title, "the number", (was_min, was_max), (min, max));
            match (was_integer, integer) {
                (false, true) => changes.add(Breaking, at, title, "only whole numbers are taken now"),
                (true, false) => changes.add(Compatible, at, title, "fractions are taken now"),
                _ => {}
            }
        }
        (Kind::Date { min: was_min, max: was_max }, Kind::Date { min, max })
        | (Kind::Time { min: was_min, max: was_max }, Kind::Time { min, max })
        | (Kind::DateTime { min: was_min, max: was_max }, Kind::DateTime { min, max }) => {
            // ISO dates and times compare as texts.
            range(changes, at, title, "the date or time", (was_min, was_max), (min, max));
        }
        (Kind::SingleChoice(was), Kind::SingleChoice(is))
        | (Kind::MultipleChoice(was), Kind::MultipleChoice(is)) => choice(changes, at, title, was, is),
        (Kind::Rating { steps: was }, Kind::Rating { steps: is }) => {
            // Three of five is not three of ten.
            changes.differ(Breaking, at, title, "the number of steps", was, is);
        }
        (
            Kind::Scale { min: was_min, max: was_max, step: was_step, labels: was_labels },
            Kind::Scale { min, max, step, labels },
        ) => {
            let (was, is) = ((was_min, was_max, was_step), (min, max, step));
            changes.differ(Breaking, at, title, "the scale", &was, &is);
            changes.differ(Cosmetic, at, title, "what the ends are called", was_labels, labels);
        }
        (Kind::Nps { labels: was }, Kind::Nps { labels: is }) => {
            changes.differ(Cosmetic, at, title, "what the ends are called", was, is);
        }
        (Kind::Ranking { options: was }, Kind::Ranking { options: is }) => {
            options(changes, at, title, "item to rank", was, is);
            // An order of fewer items is no order of all.
            let is_new = |option: &&ChoiceOption| was.iter().all(|old| old.id != option.id);
            if is.iter().filter(is_new).count() > 0 {
                changes.add(Breaking, at, title, "there is more to rank: older answers are incomplete");
            }
        }
        (
            Kind::Matrix { rows: was_rows, columns: was_columns, multiple: was_multiple },
            Kind::Matrix { rows, columns, multiple },
        ) => {
            matrix_rows(changes, at, was_rows, rows);
            options(changes, at, title, "column", was_columns, columns);
            match (was_multiple, multiple) {
                (true, false) => changes.add(Breaking, at, title, "only one column a row is taken now"),
                // A list in the place of one value is another shape for whoever receives it.
                (false, true) => changes.add(Breaking, at, title, "several columns a row are taken now"),
                _ => {}
            }
        }
        (Kind::File(was), Kind::File(is)) => {
            changes.differ(Breaking, at, title, "which files are taken", was, is);
        }
        (
            Kind::Consent { text: was_text, version: was_version, link: was_link },
            Kind::Consent { text, version, link },
        ) => {
            // What somebody has agreed to is stored with the answer; a new text asks for another agreement.
            changes.differ(Breaking, at, title, "the text agreed to", was_text, text);
            changes.differ(Compatible, at, title, "the version of the text", was_version, version);
            changes.differ(Cosmetic, at, title, "where the whole text stands", was_link, link);
        }
        (Kind::Unsupported { source_type: was }, Kind::Unsupported { source_type: is }) => {
            changes.differ(Compatible, at, title, "its kind, which is not carried,", was, is);
        }
        _ if old.name() == new.name() => changes.differ(Breaking, at, title, "its kind", old, new),
        _ => {
            let text = format!("it was a {} and is a {} now", words(old.name()), words(new.name()));
            changes.add(Breaking, at, title, text);
        }
    }
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}

fn text(changes: &mut Changes, at: &str, title: &str, old: &TextLimits, new: &TextLimits) {
    let was = (&old.min_length, &old.max_length);
    range(changes, at, title, "the length of the text", was, (&new.min_length, &new.max_length));
    let regex = |limits: &TextLimits| limits.pattern.as_ref().map(|pattern| pattern.regex.clone());
    match (regex(old), regex(new)) {
        (was, is) if was == is => {
            changes.differ(Cosmetic, at, title, "what is said of a wrong answer", &old.pattern, &new.pattern);
        }
        (Some(_), None) => changes.add(Compatible, at, title, "it has no pattern any more"),
        _ => changes.add(Breaking, at, title, "the pattern of the text changed"),
    }
}

/// A limit that moved outwards lets everything through that it let through before.
fn range<T: PartialOrd>(
    changes: &mut Changes,
    at: &str,
    title: &str,
    what: &str,
    old: (&Option<T>, &Option<T>),
    new: (&Option<T>, &Option<T>),
) {
    let narrower = |old: &Option<T>, new: &Option<T>, is_inside: fn(&T, &T) -> bool| match (old, new) {
        (None, Some(_)) => true,
        (Some(old), Some(new)) => is_inside(new, old),
        (_, None) => false,
    };
    let (low, high) =
        (narrower(old.0, new.0, |new, old| new > old), narrower(old.1, new.1, |new, old| new < old));
    if low || high {
        changes.add(Breaking, at, title, format!("the limits of {what} are narrower"));
    } else if old != new {
        changes.add(Compatible, at, title, format!("the limits of {what} are wider"));
    }
}

fn choice(changes: &mut Changes, at: &str, title: &str, old: &Choice, new: &Choice) {
    options(changes, at, title, "option", &old.options, &new.options);
    match (&old.other, &new.other) {
        (Some(_), None) => changes.add(Breaking, at, title, "an answer of one's own is not taken any more"),
        (None, Some(_)) => changes.add(Compatible, at, title, "an answer of one's own is taken now"),
        (was, is) => changes.differ(Cosmetic, at, title, "what an answer of one's own is called", was, is),
    }
    range(changes, at, title, "how many may be chosen", (&old.min, &old.max), (&new.min, &new.max));
    changes.differ(Cosmetic, at, title, "how it is shown", &old.display, &new.display);
}

fn options(
    changes: &mut Changes,
    at: &str,
    title: &str,
    what: &str,
    old: &[ChoiceOption],
    new: &[ChoiceOption],
) {
    let before: BTreeMap<&str, &ChoiceOption> = old.iter().map(|o| (o.id.as_str(), o)).collect();
    for option in new {
        let place = format!("{at}.option.{}", option.id);
        match before.get(option.id.as_str()) {
            None => changes.add(Compatible, place, &option.label, format!("the {what} is new")),
            Some(was) => {
                changes.differ(Cosmetic, &place, &option.label, "the label", &was.label, &option.label);
                changes.differ(Cosmetic, &place, &option.label, "the picture", &was.image, &option.image);
            }
        }
    }
    for was in old.iter().filter(|was| new.iter().all(|option| option.id != was.id)) {
        let place = format!("{at}.option.{}", was.id);
        changes.add(Breaking, place, &was.label, format!("the {what} is gone"));
    }
    let order = |options: &[ChoiceOption], other: &[ChoiceOption]| -> Vec<String> {
        let ids = options.iter().map(|option| option.id.clone());
        ids.filter(|id| other.iter().any(|option| option.id == *id)).collect()
    };
    changes.differ(
        Cosmetic,
        at,
        title,
        &format!("the order of the {what}s"),
        &order(old, new),
        &order(new, old),
    );
}

fn matrix_rows(changes: &mut Changes, at: &str, old: &[MatrixRow], new: &[MatrixRow]) {
    for row in new {
        let place = format!("{at}.row.{}", row.id);
        match old.iter().find(|was| was.id == row.id) {
            None if row.required => changes.add(Breaking, place, &row.label, "a required row is new"),
            None => changes.add(Compatible, place, &row.label, "the row is new"),
            Some(was) => {
                changes.differ(Cosmetic, &place, &row.label, "the label", &was.label, &row.label);
                match (was.required, row.required) {
                    (false, true) => changes.add(Breaking, &place, &row.label, "the row is required now"),
                    (true, false) => {
                        changes.add(Compatible, &place, &row.label, "the row is not required any more");
                    }
                    _ => {}
                }
            }
        }
    }
    for was in old.iter().filter(|was| new.iter().all(|row| row.id != was.id)) {
        changes.add(Breaking, format!("{at}.row.{}", was.id), &was.label, "the row is gone");
    }
    let order = |rows: &[MatrixRow], other: &[MatrixRow]| -> Vec<String> {
        let ids = rows.iter().map(|row| row.id.clone());
        ids.filter(|id| other.iter().any(|row| row.id == *id)).collect()
    };
    let (was, is) = (order(old, new), order(new, old));
    changes.differ(Cosmetic, at, "rows", "the order of the rows", &was, &is);
}

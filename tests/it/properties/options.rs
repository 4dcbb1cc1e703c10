//! What is asked in random forms: kinds with their limits, options of every number and length, and texts.

use formgate::form::{
    Choice, ChoiceOption, Display, FileLimits, Kind, Labels, MatrixRow, Other, Pattern, TextLimits,
};
use serde_json::{Value as Json, json};

use super::Dice;

/// What people write in a text; conditions compare with these.
pub const TEXTS: [&str; 8] = ["red", "Blue", "AB123", "hello world", "Ärger", "10", "2.5", "true"];
pub const EMAILS: [&str; 3] = ["ada@example.com", "Bob@mail.example.org", "carl.x+y@example.net"];
/// As they are sent and as they are stored.
pub const PHONES: [(&str, &str); 3] = [
    ("06 6982 1234", "+390669821234"),
    ("+39 347 123 4567", "+393471234567"),
    ("0039 347 123 4567", "+393471234567"),
];
pub const URLS: [(&str, &str); 3] = [
    ("example.com", "https://example.com/"),
    ("http://example.org/a?b=c", "http://example.org/a?b=c"),
    ("https://example.net/x", "https://example.net/x"),
];
pub const DATES: [&str; 4] = ["2024-01-01", "2025-06-30", "2026-12-31", "2024-02-29"];
pub const TIMES: [(&str, &str); 4] =
    [("9", "09:00"), ("9:30", "09:30"), ("2:15 pm", "14:15"), ("17.45", "17:45")];
pub const NUMBERS: [f64; 6] = [0.0, 1.0, 2.0, 3.0, 5.0, 10.0];

/// Any kind, with limits that the pools above can meet.
pub fn kind(dice: &mut Dice) -> Kind {
    match dice.below(26) {
        0 | 1 => Kind::ShortText(limits(dice)),
        2 => Kind::LongText(limits(dice)),
        3 => Kind::Email {
            blocked_domains: if dice.chance(30) { vec!["blocked.example".to_owned()] } else { Vec::new() },
        },
        4 => Kind::Phone { country: dice.chance(30).then(|| "IT".to_owned()) },
        5 | 6 => Kind::Number {
            min: dice.chance(30).then_some(0.0),
            max: dice.chance(30).then_some(10.0),
            integer: dice.chance(40),
        },
        7 => Kind::Url,
        8 => Kind::Date {
            min: dice.chance(40).then(|| "2020-01-01".to_owned()),
            max: dice.chance(40).then(|| "2030-12-31".to_owned()),
        },
        9 => Kind::Time {
            min: dice.chance(40).then(|| "08:00".to_owned()),
            max: dice.chance(40).then(|| "18:00".to_owned()),
        },
        10 => Kind::DateTime { min: dice.chance(40).then(|| "2020-01-01".to_owned()), max: None },
        11 | 12 => Kind::YesNo,
        13..=15 => {
            let count = many(dice);
            Kind::SingleChoice(choice(dice, count, false))
        }
        16 => {
            let count = many(dice).min(130);
            Kind::MultipleChoice(choice(dice, count, true))
        }
        17 => Kind::Rating { steps: 1 + u8::try_from(dice.below(10)).unwrap_or(0) },
        18 => {
            let step = 1 + i64::try_from(dice.below(3)).unwrap_or(0);
            let max = if dice.chance(15) { 400 } else { 9 };
            Kind::Scale { min: -1, max, step, labels: labels(dice) }
        }
        19 => Kind::Nps { labels: labels(dice) },
        20 => {
            let count = if dice.chance(5) { 22 } else { 1 + dice.below(5) };
            Kind::Ranking { options: choices(dice, count) }
        }
        21 | 22 => {
            let multiple = dice.chance(40);
            let rows = if dice.chance(15) { 12 } else { 1 + dice.below(4) };
            let columns = if dice.chance(8) && !multiple { 25 } else { 1 + dice.below(5) };
            Kind::Matrix {
                rows: (0..rows)
                    .map(|n| MatrixRow { id: id(dice, n), label: words(dice), required: dice.chance(20) })
                    .collect(),
                columns: choices(dice, columns),
                multiple,
            }
        }
        23 => Kind::File(FileLimits {
            photos_only: dice.chance(50),
            media_types: if dice.chance(40) {
                vec!["application/pdf".to_owned(), "application/x-odd".to_owned()]
            } else {
                Vec::new()
            },
            max_files: 1 + u8::try_from(dice.below(3)).unwrap_or(0),
            max_kib: *dice.pick(&[100, 25_600, 90_000]),
        }),
        24 => Kind::Consent {
            text: words(dice),
            version: None,
            link: dice.chance(40).then(|| "https://example.com/terms".to_owned()),
        },
        _ if dice.chance(70) => Kind::Statement,
        _ => Kind::Unsupported { source_type: "payment".to_owned() },
    }
}

fn limits(dice: &mut Dice) -> TextLimits {
    match dice.below(6) {
        0 => TextLimits { min_length: Some(2), max_length: Some(40), pattern: None },
        1 => TextLimits { min_length: None, max_length: Some(5_000), pattern: None },
        2 => TextLimits {
            min_length: None,
            max_length: dice.chance(50).then_some(5),
            pattern: Some(Pattern {
                regex: (*dice.pick(&["[A-Z]{2}[0-9]{3}", "\\p{Lu}B\\d+", "(?i)ab123"])).to_owned(),
                message: dice.chance(50).then(|| "Two letters and three digits".to_owned()),
            }),
        },
        _ => TextLimits::default(),
    }
}

fn many(dice: &mut Dice) -> usize {
    match dice.below(30) {
        0 => 240,
        1 => 130,
        2 | 3 => 21 + dice.below(10),
        4..=6 => 8 + dice.below(13),
        _ => 1 + dice.below(6),
    }
}

fn choice(dice: &mut Dice, count: usize, multiple: bool) -> Choice {
    let min = (multiple && dice.chance(30)).then(|| 1 + u32::try_from(dice.below(count.min(3))).unwrap_or(0));
    let max = (multiple && dice.chance(30))
        .then(|| min.unwrap_or(1).max(1 + u32::try_from(dice.below(count.min(4))).unwrap_or(0)));
    Choice {
        options: choices(dice, count),
        other: dice.chance(30).then(|| Other { label: dice.chance(50).then(|| words(dice)) }),
        min,
        max,
        display: *dice.pick(&[Display::List, Display::List, Display::Dropdown, Display::Picture]),
    }
}

fn labels(dice: &mut Dice) -> Labels {
    let mut label = || dice.chance(40).then(|| words(dice));
    Labels { left: label(), center: label(), right: label() }
}

fn choices(dice: &mut Dice, count: usize) -> Vec<ChoiceOption> {
    let shared = dice.chance(15);
    (0..count)
        .map(|number| {
            let label = if shared {
                format!("The beginning that all of these options share {number}")
            } else if count > 200 {
                // Searched by label, so each has its own.
                format!("Place {number} of many")
            } else {
                words(dice)
            };
            let image = dice.chance(5).then(|| "https://example.com/p.png".to_owned());
            ChoiceOption { id: id(dice, number), label, image }
        })
        .collect()
}

/// Unique by the number, in different dress; now and then two that differ by case alone, and one named `other`.
fn id(dice: &mut Dice, number: usize) -> String {
    match dice.below(30) {
        0 => format!("Opt {number} é/“q”"),
        1 => format!("{}{number}", "reference-".repeat(8)),
        2 if number == 0 => "other".to_owned(),
        3 if number == 1 => "A0".to_owned(),
        4 if number == 2 => "true".to_owned(),
        5 if number == 3 => "3".to_owned(),
        _ => format!("a{number}"),
    }
}

/// Texts that must be shown: short, long, longer than anything holds, blank, odd.
pub fn words(dice: &mut Dice) -> String {
    const ODD: [&str; 9] = [
        "",
        "   ",
        "${form.x}",
        "`'a' == 'b'`",
        "Half {{open",
        "  padded  ",
        "👩‍🚀 Raumfahrt",
        "שלום עולם",
        "Line one\nline two",
    ];
    match dice.below(24) {
        0..=2 => (*dice.pick(&ODD)).to_owned(),
        3..=5 => format!("{} {}", "A question that goes on for a while".repeat(2), dice.below(1_000)),
        6 => format!("{} {}", "Much text, more than a caption may have. ".repeat(12), dice.below(1_000)),
        7 if dice.chance(20) => {
            format!("{} {}", "More than a body of text may have. ".repeat(130), dice.below(1_000))
        }
        _ => format!("Word {}", dice.below(1_000)),
    }
}

/// A constant in the way of the answers of this kind.
pub fn constant(dice: &mut Dice, kind: &Kind) -> Json {
    match kind {
        Kind::ShortText(_) | Kind::LongText(_) => match dice.below(3) {
            0 => json!(dice.pick(&TEXTS).to_uppercase()),
            1 => json!(dice.pick(&TEXTS).get(..1).unwrap_or("r")),
            _ => json!(dice.pick(&TEXTS)),
        },
        Kind::Email { .. } => json!(dice.pick(&["ada@example.com", "@example", "Bob"])),
        Kind::Phone { .. } => json!(dice.pick(&["+39", "+390669821234"])),
        Kind::Url => json!(dice.pick(&["https://example.com/", "example", "/x"])),
        Kind::Date { .. } => json!(dice.pick(&DATES)),
        Kind::Time { .. } => json!(dice.pick(&TIMES).1),
        Kind::DateTime { .. } => json!(format!("{}T{}", dice.pick(&DATES), dice.pick(&TIMES).1)),
        Kind::YesNo | Kind::Consent { .. } => {
            dice.pick(&[json!(true), json!(false), json!("True"), json!("yes")]).clone()
        }
        Kind::Number { .. } | Kind::Rating { .. } | Kind::Scale { .. } | Kind::Nps { .. } => {
            match dice.below(4) {
                0 => json!(dice.below(11).to_string()),
                1 => json!(2.5),
                _ => json!(dice.below(11)),
            }
        }
        Kind::File(_) => json!("file0.pdf"),
        kind => match kind.options() {
            [] => json!("red"),
            options => {
                let option = dice.pick(options);
                match dice.below(8) {
                    0 => json!(option.id.to_uppercase()),
                    1 => json!(option.label),
                    2 => json!("mauve"),
                    _ => json!(option.id),
                }
            }
        },
    }
}

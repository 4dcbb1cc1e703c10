//! Someone who enters any valid value; the same seed enters the same values.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::ToSpan as _;
use jiff::civil::{Date, date};
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use super::Strategy;
use crate::player::checks::check;
use crate::player::render::{Choice, Input, InputKind, Screen, TextType};

/// Valid values of every kind.
#[derive(Debug, Clone)]
pub struct Random {
    rng: SmallRng,
    /// Values chosen for the screen being filled, so that asking again gives the same answer.
    chosen: Vec<(String, Value)>,
    screen: String,
}

/// What a pattern is likely to ask for; the first that fits is taken.
const SPECIMENS: [&str; 20] = [
    "Ada Lovelace",
    "ada@example.org",
    "https://example.org/a",
    "+14155550123",
    "4155550123",
    "12:30",
    "2026-01-31",
    "31/01/2026",
    "AB12 3CD",
    "AB123",
    "ABC",
    "abc",
    "a",
    "5",
    "12",
    "123",
    "1234",
    "12345",
    "12345678",
    "1.50",
];

impl Random {
    /// A person with this seed.
    pub fn new(seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), chosen: Vec::new(), screen: String::new() }
    }

    /// A value that the client's checks accept, or null where none is needed or none is found.
    pub fn value(&mut self, input: &Input) -> Value {
        if !input.required && self.rng.random_bool(0.25) && !matches!(input.kind, InputKind::Media { .. }) {
            return Value::Null;
        }
        for _ in 0..200 {
            let value = self.candidate(input);
            if check(input, Some(&value)).is_ok() {
                return value;
            }
        }
        Value::Null
    }

    fn candidate(&mut self, input: &Input) -> Value {
        if let Some(example) = input.hint.as_deref().and_then(clock)
            && self.rng.random_bool(0.9)
        {
            return self.like(example);
        }
        if let Some(error) = &input.error
            && self.rng.random_bool(0.7)
            && let Some(value) = self.mended(input, error)
        {
            return value;
        }
        match &input.kind {
            InputKind::Text { text_type, pattern, min_chars, max_chars } => {
                self.text(*text_type, pattern.is_some(), *min_chars, *max_chars)
            }
            InputKind::TextArea { max_chars } => self.text(TextType::Text, false, 0, *max_chars),
            InputKind::Choice { kind, options, min_selected, max_selected } => {
                let mut open: Vec<&Choice> = options.iter().filter(|option| option.enabled).collect();
                if !kind.is_multiple() {
                    return open.choose(&mut self.rng).map(|option| json!(option.id)).unwrap_or_default();
                }
                let least = usize::try_from(*min_selected).unwrap_or(0).max(usize::from(input.required));
                let most = usize::try_from(*max_selected).unwrap_or(usize::MAX).min(open.len());
                let count = self.rng.random_range(least..=most.max(least));
                open.shuffle(&mut self.rng);
                open.iter().take(count).map(|option| json!(option.id)).collect()
            }
            InputKind::Date { min, max, .. } => json!(self.day(min.as_deref(), max.as_deref()).to_string()),
            InputKind::DateRange { min, max, min_days, max_days } => {
                let start = self.day(min.as_deref(), max.as_deref());
                let least = i64::try_from(min_days.unwrap_or(0)).unwrap_or(0);
                let most = i64::try_from(max_days.unwrap_or(14)).unwrap_or(14).max(least);
                let end = start.saturating_add(self.rng.random_range(least..=most.min(4000)).days());
                json!({ "start-date": start.to_string(), "end-date": end.to_string() })
            }
            InputKind::OptIn => json!(input.required || self.rng.random_bool(0.5)),
            InputKind::Media { min_files, max_files, photos, media_types, .. } => {
                let most = (*min_files).max(1).min(*max_files);
                let count = self.rng.random_range(*min_files..=most.max(*min_files));
                (0..count).map(|index| self.file(index, *photos, media_types)).collect()
            }
        }
    }

    /// What someone tries who has read the message under a text field: a number that it tells, or another kind of text.
    fn mended(&mut self, input: &Input, error: &str) -> Option<Value> {
        let InputKind::Text { text_type, .. } = &input.kind else { return None };
        if *text_type == TextType::Number {
            let told = error.split(|c: char| !c.is_ascii_digit() && c != '.');
            let told: Vec<f64> = told.filter_map(|number| number.parse().ok()).collect();
            return told.choose(&mut self.rng).map(|number| json!(number.to_string()));
        }
        SPECIMENS.choose(&mut self.rng).map(|specimen| json!(specimen))
    }

    fn text(&mut self, text_type: TextType, has_pattern: bool, min: u64, max: u64) -> Value {
        if has_pattern && self.rng.random_bool(0.7) {
            return json!(SPECIMENS.choose(&mut self.rng).copied().unwrap_or_default());
        }
        let number = self.rng.random_range(1..=99);
        let digits: String = (0..9).map(|_| char::from(b'0' + self.rng.random_range(0..=9))).collect();
        let mut text = match text_type {
            TextType::Email => format!("ada{number}@example.org"),
            // An Italian mobile number: one that a person could have.
            TextType::Phone => format!("+39347{}", &digits[..7]),
            TextType::Number => return json!(number),
            TextType::Passcode => digits,
            TextType::Text | TextType::Password => {
                let words = ["Ada", "Grace", "Łucja", "José", "محمد", "安娜", "O'Neil"];
                format!("{} {number}", words.choose(&mut self.rng).copied().unwrap_or_default())
            }
        };
        while u64::try_from(text.chars().count()).is_ok_and(|length| length < min.min(4096)) {
            text.push('7');
        }
        let most = usize::try_from(max).unwrap_or(usize::MAX);
        json!(if text_type == TextType::Email { text } else { text.chars().take(most).collect() })
    }

    /// A time or duration in the shape of the example.
    fn like(&mut self, example: &str) -> Value {
        let parts = example.split(':').enumerate();
        let parts = parts.map(|(index, _)| self.rng.random_range(0..if index == 0 { 24 } else { 60 }));
        let parts: Vec<String> = parts.map(|number| format!("{number:02}")).collect();
        json!(parts.join(":"))
    }

    fn day(&mut self, min: Option<&str>, max: Option<&str>) -> Date {
        let bound = |text: Option<&str>, or: Date| text.and_then(|text| text.parse().ok()).unwrap_or(or);
        let (first, last) = (bound(min, date(1900, 1, 1)), bound(max, date(2100, 12, 31)));
        let days = (last - first).get_days().max(0);
        first.saturating_add(self.rng.random_range(0..=days).days())
    }

    /// A file of a kind that the picker takes.
    fn file(&mut self, index: u64, photos: bool, media_types: &[String]) -> Value {
        let fits = |(media_type, ..): &&(&str, &str, &[u8])| {
            (!photos || media_type.starts_with("image/"))
                && (media_types.is_empty() || media_types.iter().any(|allowed| allowed == media_type))
        };
        let known = FILES.iter().filter(fits).collect::<Vec<_>>();
        let (_, ending, start) = known.choose(&mut self.rng).copied().unwrap_or(&("", "", b"?"));
        let content = [start, self.rng.random::<[u8; 16]>().map(|byte| b'a' + byte % 26).as_slice()].concat();
        json!({"file_name": format!("file{index}{ending}"), "content": STANDARD.encode(content)})
    }
}

/// Kinds of files, the endings of their names, and how they begin.
const FILES: [(&str, &str, &[u8]); 5] = [
    ("image/jpeg", ".jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0"),
    ("image/png", ".png", b"\x89PNG\r\n\x1a\n"),
    ("application/pdf", ".pdf", b"%PDF-1.7\n"),
    ("application/zip", ".zip", b"PK\x03\x04"),
    ("text/plain", ".txt", b"Some text: "),
];

/// The time or duration that a hint gives as an example, such as `09:30` or `HH:MM:SS`.
fn clock(hint: &str) -> Option<&str> {
    hint.split_whitespace().map(|word| word.trim_end_matches(['.', ','])).find(|word| {
        let is_part = |part: &str| {
            part.len() == 2 && part.chars().all(|c| c.is_ascii_digit() || matches!(c, 'H' | 'M' | 'S'))
        };
        word.contains(':') && word.split(':').all(is_part)
    })
}

impl Strategy for Random {
    fn answer(&mut self, screen: &Screen) -> Vec<(String, Value)> {
        if self.screen != screen.id {
            self.chosen.clear();
            self.screen.clone_from(&screen.id);
        }
        // Errors ask for other values: of the fields that show one, or of all where the message stands elsewhere.
        if screen.errors().next().is_some() {
            let shown = |name: &str| screen.input(name).is_some_and(|input| input.error.is_some());
            let somewhere = screen.inputs().any(|input| input.error.is_some());
            self.chosen.retain(|(name, _)| somewhere && !shown(name));
        }
        let mut answers = Vec::new();
        for input in screen.inputs() {
            let known =
                self.chosen.iter().find(|(name, _)| *name == input.name).map(|(_, value)| value.clone());
            let value = known.unwrap_or_else(|| self.value(input));
            answers.push((input.name.clone(), value));
        }
        self.chosen.clone_from(&answers);
        answers
    }

    fn patience(&self) -> u32 {
        12
    }

    fn choose(&mut self, ids: &[&str]) -> usize {
        self.rng.random_range(0..ids.len().max(1))
    }
}

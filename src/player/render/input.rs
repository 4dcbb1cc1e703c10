//! The components that take a value, with the limits a client enforces (WhatsApp Flows reference 4.8).

use serde_json::Value;

use super::{Properties, plain};
use crate::player::document::Action;

/// A visible input.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// The name in `${form.name}`.
    pub name: String,
    /// Its label; of a range calendar the title.
    pub label: String,
    /// The texts between the input before and this one: usually the question in full.
    pub question: Vec<String>,
    /// Description or helper text.
    pub hint: Option<String>,
    /// Whether it must be filled.
    pub required: bool,
    /// Whether it can be changed.
    pub enabled: bool,
    /// What was entered.
    pub value: Option<Value>,
    /// The endpoint's message at this input.
    pub error: Option<String>,
    /// Its kind with its limits.
    pub kind: InputKind,
    /// Done when a value is chosen.
    pub on_select: Option<Action>,
    /// Done when a value is taken away.
    pub on_unselect: Option<Action>,
    /// The link of an opt-in.
    pub on_click: Option<Action>,
}

/// The kinds of inputs.
#[derive(Debug, Clone, PartialEq)]
pub enum InputKind {
    /// `TextInput`.
    Text {
        /// Its keyboard and base check.
        text_type: TextType,
        /// Fewest characters, unless it is left empty.
        min_chars: u64,
        /// Most characters.
        max_chars: u64,
        /// An unanchored expression.
        pattern: Option<String>,
    },
    /// `TextArea`.
    TextArea {
        /// Most characters.
        max_chars: u64,
    },
    /// `CheckboxGroup`, `ChipsSelector`, `RadioButtonsGroup`, `Dropdown`.
    Choice {
        /// Which of them.
        kind: ChoiceKind,
        /// The options.
        options: Vec<Choice>,
        /// Fewest choices.
        min_selected: u64,
        /// Most choices.
        max_selected: u64,
    },
    /// `DatePicker` or a single `CalendarPicker`.
    Date {
        /// First day.
        min: Option<String>,
        /// Last day.
        max: Option<String>,
        /// Days that cannot be chosen.
        unavailable: Vec<String>,
        /// Weekdays that can be chosen (`Mon` …); empty means all.
        include_days: Vec<String>,
    },
    /// `CalendarPicker` with `mode: range`.
    DateRange {
        /// First day.
        min: Option<String>,
        /// Last day.
        max: Option<String>,
        /// Fewest days between start and end.
        min_days: Option<u64>,
        /// Most days between start and end.
        max_days: Option<u64>,
    },
    /// `OptIn`.
    OptIn,
    /// `PhotoPicker` or `DocumentPicker`.
    Media {
        /// Fewest files.
        min_files: u64,
        /// Most files.
        max_files: u64,
        /// Largest file, in KiB.
        max_kib: u64,
        /// Only photos.
        photos: bool,
        /// What may be picked; everything when empty.
        media_types: Vec<String>,
    },
}

/// `input-type` of a text input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextType {
    /// Anything.
    Text,
    /// A number.
    Number,
    /// An e-mail address.
    Email,
    /// Hidden while typed.
    Password,
    /// Hidden digits.
    Passcode,
    /// A phone number.
    Phone,
}

/// Which component offers the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChoiceKind {
    /// `CheckboxGroup`: many.
    Checkbox,
    /// `ChipsSelector`: many.
    Chips,
    /// `RadioButtonsGroup`: one.
    Radio,
    /// `Dropdown`: one.
    Dropdown,
}

impl ChoiceKind {
    /// Whether the value is an array of ids.
    pub fn is_multiple(self) -> bool {
        matches!(self, Self::Checkbox | Self::Chips)
    }

    /// How many options the component may show (reference 4.8).
    pub fn option_counts(self) -> std::ops::RangeInclusive<usize> {
        match self {
            Self::Checkbox | Self::Radio => 1..=20,
            Self::Chips => 2..=20,
            Self::Dropdown => 1..=200,
        }
    }
}

/// One option.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// What goes into the payload.
    pub id: String,
    /// What the person reads.
    pub title: String,
    /// The smaller line below it.
    pub description: Option<String>,
    /// Whether it can be chosen.
    pub enabled: bool,
    /// Done when it is chosen.
    pub on_select: Option<Action>,
    /// Done when it is taken away.
    pub on_unselect: Option<Action>,
}

impl Input {
    pub(super) fn read(kind: &str, view: &Properties<'_>) -> Option<Self> {
        let range = view.text("mode") == "range";
        let kind = match kind {
            "TextInput" => InputKind::Text {
                text_type: text_type(&view.text("input-type")),
                min_chars: view.count("min-chars").unwrap_or(0),
                max_chars: view.count("max-chars").unwrap_or(80),
                pattern: view.resolved.get("pattern").and_then(Value::as_str).map(str::to_owned),
            },
            "TextArea" => InputKind::TextArea { max_chars: view.count("max-length").unwrap_or(600) },
            "CheckboxGroup" => view.choice(ChoiceKind::Checkbox),
            "ChipsSelector" => view.choice(ChoiceKind::Chips),
            "RadioButtonsGroup" => view.choice(ChoiceKind::Radio),
            "Dropdown" => view.choice(ChoiceKind::Dropdown),
            "DatePicker" => InputKind::Date {
                min: Some(view.date("min-date").unwrap_or_else(|| "1900-01-01".into())),
                max: Some(view.date("max-date").unwrap_or_else(|| "2100-12-31".into())),
                unavailable: view.list("unavailable-dates"),
                include_days: Vec::new(),
            },
            "CalendarPicker" if range => InputKind::DateRange {
                min: view.date("min-date"),
                max: view.date("max-date"),
                min_days: view.count("min-days"),
                max_days: view.count("max-days"),
            },
            "CalendarPicker" => InputKind::Date {
                min: view.date("min-date"),
                max: view.date("max-date"),
                unavailable: view.list("unavailable-dates"),
                include_days: view.list("include-days"),
            },
            "OptIn" => InputKind::OptIn,
            "PhotoPicker" => view.media("min-uploaded-photos", "max-uploaded-photos", true),
            "DocumentPicker" => view.media("min-uploaded-documents", "max-uploaded-documents", false),
            _ => return None,
        };
        let label = if range { view.text("title") } else { view.text("label") };
        let hint = ["description", "helper-text"].iter().find_map(|name| view.resolved.get(*name)?.as_str());
        let required = match view.resolved.get("required") {
            // A range calendar has a flag for each end.
            Some(Value::Object(ends)) => ends.values().any(|end| end == &Value::Bool(true)),
            other => other == Some(&Value::Bool(true)),
        };
        Some(Self {
            name: view.resolved.get("name")?.as_str()?.to_owned(),
            label,
            question: Vec::new(),
            hint: hint.map(str::to_owned),
            required,
            enabled: view.resolved.get("enabled") != Some(&Value::Bool(false)),
            value: None,
            error: None,
            kind,
            on_select: view.action("on-select-action"),
            on_unselect: view.action("on-unselect-action"),
            on_click: view.action("on-click-action"),
        })
    }
}

impl Properties<'_> {
    /// A count may come as a string (reference 4.8).
    fn count(&self, name: &str) -> Option<u64> {
        let value = self.resolved.get(name)?;
        value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
    }

    fn date(&self, name: &str) -> Option<String> {
        self.resolved.get(name)?.as_str().filter(|date| !date.is_empty()).map(str::to_owned)
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.resolved.get(name).and_then(Value::as_array).into_iter().flatten().map(plain).collect()
    }

    fn media(&self, min: &str, max: &str, photos: bool) -> InputKind {
        InputKind::Media {
            min_files: self.count(min).unwrap_or(0),
            max_files: self.count(max).unwrap_or(30),
            max_kib: self.count("max-file-size-kb").unwrap_or(25_600),
            photos,
            media_types: self.list("allowed-mime-types"),
        }
    }

    fn choice(&self, kind: ChoiceKind) -> InputKind {
        let options = self.resolved.get("data-source").and_then(Value::as_array).into_iter().flatten();
        let options: Vec<Choice> = options.map(read_option).collect();
        let (min_selected, max_selected) = if kind.is_multiple() {
            let all = u64::try_from(options.len()).unwrap_or(u64::MAX);
            (self.count("min-selected-items").unwrap_or(0), self.count("max-selected-items").unwrap_or(all))
        } else {
            (0, 1)
        };
        InputKind::Choice { kind, options, min_selected, max_selected }
    }
}

fn read_option(option: &Value) -> Choice {
    let text = |name: &str| option.get(name).and_then(Value::as_str).map(str::to_owned);
    Choice {
        id: text("id").unwrap_or_default(),
        title: text("title").unwrap_or_default(),
        description: text("description").filter(|description| !description.is_empty()),
        enabled: option.get("enabled") != Some(&Value::Bool(false)),
        on_select: option.get("on-select-action").and_then(Action::read),
        on_unselect: option.get("on-unselect-action").and_then(Action::read),
    }
}

fn text_type(name: &str) -> TextType {
    match name {
        "number" => TextType::Number,
        "email" => TextType::Email,
        "password" => TextType::Password,
        "passcode" => TextType::Passcode,
        "phone" => TextType::Phone,
        _ => TextType::Text,
    }
}

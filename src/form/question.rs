//! Questions of every kind that the four tools have.

use serde::{Deserialize, Serialize};

use super::{Condition, Rule};

/// One question, statement or consent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The source's stable reference; unique within the form.
    pub key: String,
    /// The full question text. May hold recalls such as `{{answer:name}}` (see [`Template`](super::Template)).
    #[serde(default)]
    pub title: String,
    /// Help or description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// What is asked and its own limits.
    #[serde(flatten)]
    pub kind: Kind,
    /// Must be answered when it is shown.
    #[serde(default)]
    pub required: bool,
    /// The answer that is filled in beforehand, in the shape of the answer's JSON value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    /// Shown only while this holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visible_if: Option<Condition>,
    /// Personal data: masked in the person's own summary. E-mail, phone, address parts and files always are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub personal: bool,
    /// The source's group (section, matrix, contact or address block) that this question is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// Logic that runs after this question was shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// Which group a question belongs to; consecutive questions with the same key form the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The source's reference of the group.
    pub key: String,
    /// Heading of the group.
    #[serde(default)]
    pub title: String,
    /// Which part of a contact or address this question is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

/// A part of a contact or address group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Part {
    FirstName,
    LastName,
    FullName,
    Email,
    Phone,
    Company,
    Address,
    AddressLine2,
    City,
    State,
    PostalCode,
    Country,
}

/// What is asked. The JSON member `type` names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Kind {
    /// One line of text.
    ShortText(TextLimits),
    /// Several lines of text.
    LongText(TextLimits),
    /// An e-mail address.
    Email {
        /// Domains that are refused, such as `gmail.com`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        blocked_domains: Vec<String>,
    },
    /// A phone number; stored as E.164.
    Phone {
        /// Country of numbers without a prefix; the form's default when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        country: Option<String>,
    },
    /// A number.
    Number {
        /// Smallest allowed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<f64>,
        /// Largest allowed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
        /// Whole numbers only.
        #[serde(default)]
        integer: bool,
    },
    /// A web address.
    Url,
    /// A calendar date, `YYYY-MM-DD`.
    Date {
        /// Earliest allowed, `YYYY-MM-DD`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<String>,
        /// Latest allowed, `YYYY-MM-DD`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<String>,
    },
    /// A time of day, `HH:MM`.
    Time {
        /// Earliest allowed, `HH:MM`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<String>,
        /// Latest allowed, `HH:MM`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<String>,
    },
    /// A date with a time of day, `YYYY-MM-DDTHH:MM`, in the form's time zone.
    DateTime {
        /// Earliest date allowed, `YYYY-MM-DD`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<String>,
        /// Latest date allowed, `YYYY-MM-DD`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<String>,
    },
    /// Yes or no; the value is a boolean.
    YesNo,
    /// One of several options.
    SingleChoice(Choice),
    /// Any number of several options.
    MultipleChoice(Choice),
    /// A number of steps, as stars or hearts.
    Rating {
        /// From 1 to this.
        steps: u8,
    },
    /// An opinion scale or slider.
    Scale {
        /// First value.
        min: i64,
        /// Last value.
        max: i64,
        /// Distance of the values.
        #[serde(default = "one")]
        step: i64,
        /// What the ends mean.
        #[serde(default)]
        labels: Labels,
    },
    /// Net promoter score, 0 to 10.
    Nps {
        /// What the ends mean.
        #[serde(default)]
        labels: Labels,
    },
    /// Put the options in order; the value is all option ids, best first.
    Ranking {
        /// What is put in order.
        options: Vec<ChoiceOption>,
    },
    /// One choice (or several) per row; the value maps row ids to column ids.
    Matrix {
        /// The rows.
        rows: Vec<MatrixRow>,
        /// The columns, the same for every row.
        columns: Vec<ChoiceOption>,
        /// Several columns per row.
        #[serde(default)]
        multiple: bool,
    },
    /// One or several files.
    File(FileLimits),
    /// A consent that is ticked.
    Consent {
        /// The exact text agreed to.
        text: String,
        /// Version of that text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// Where the whole text stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        link: Option<String>,
    },
    /// Text without an answer.
    Statement,
    /// Something WhatsApp cannot carry (payment, scheduler, signature, …); the report names it.
    Unsupported {
        /// The source's name of the kind.
        source_type: String,
    },
}

fn one() -> i64 {
    1
}

/// Limits of a text, in characters.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TextLimits {
    /// At least this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u32>,
    /// At most this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
    /// A regular expression the whole text must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Pattern>,
}

/// A regular expression with the words that explain it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pattern {
    /// The expression, in the linear-time syntax of crate `regex`; the whole text must match.
    pub regex: String,
    /// What a person is told when it does not match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The options of a choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// In the order shown.
    pub options: Vec<ChoiceOption>,
    /// The person may write an option of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<Other>,
    /// At least this many, of a multiple choice that is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// At most this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// How the source shows it.
    #[serde(default)]
    pub display: Display,
}

/// How the source shows a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Display {
    /// A list of buttons or boxes.
    #[default]
    List,
    /// A drop-down.
    Dropdown,
    /// Pictures.
    Picture,
}

/// An option, a matrix column or an item to rank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChoiceOption {
    /// The source's reference; what the answer holds.
    pub id: String,
    /// What the person reads.
    pub label: String,
    /// Address of the source's picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// A row of a matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixRow {
    /// The source's reference.
    pub id: String,
    /// What the person reads.
    pub label: String,
    /// This row must be answered, also when the whole question need not.
    #[serde(default)]
    pub required: bool,
}

/// The "other, please specify" option.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Other {
    /// What it is called; "Other" in the person's language when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// What the ends and the middle of a scale mean.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Labels {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub center: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<String>,
}

/// Limits of a file question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLimits {
    /// Only photos.
    #[serde(default)]
    pub photos_only: bool,
    /// Allowed media types; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media_types: Vec<String>,
    /// At most this many files.
    #[serde(default = "one_file")]
    pub max_files: u8,
    /// At most this many KiB each.
    #[serde(default = "meta_file_cap")]
    pub max_kib: u32,
}

fn one_file() -> u8 {
    1
}

/// 25 MiB, Meta's own cap (WhatsApp Flows reference, 5.3).
fn meta_file_cap() -> u32 {
    25_600
}

impl Kind {
    /// The name in JSON, reports and submissions.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::ShortText(_) => "short_text",
            Kind::LongText(_) => "long_text",
            Kind::Email { .. } => "email",
            Kind::Phone { .. } => "phone",
            Kind::Number { .. } => "number",
            Kind::Url => "url",
            Kind::Date { .. } => "date",
            Kind::Time { .. } => "time",
            Kind::DateTime { .. } => "date_time",
            Kind::YesNo => "yes_no",
            Kind::SingleChoice(_) => "single_choice",
            Kind::MultipleChoice(_) => "multiple_choice",
            Kind::Rating { .. } => "rating",
            Kind::Scale { .. } => "scale",
            Kind::Nps { .. } => "nps",
            Kind::Ranking { .. } => "ranking",
            Kind::Matrix { .. } => "matrix",
            Kind::File(_) => "file",
            Kind::Consent { .. } => "consent",
            Kind::Statement => "statement",
            Kind::Unsupported { .. } => "unsupported",
        }
    }

    /// Whether a person answers it at all.
    pub fn is_answered(&self) -> bool {
        !matches!(self, Kind::Statement | Kind::Unsupported { .. })
    }

    /// The options of a choice, ranking or matrix (its columns).
    pub fn options(&self) -> &[ChoiceOption] {
        match self {
            Kind::SingleChoice(choice) | Kind::MultipleChoice(choice) => &choice.options,
            Kind::Ranking { options } => options,
            Kind::Matrix { columns, .. } => columns,
            _ => &[],
        }
    }
}

impl Question {
    /// Personal data, declared or by kind.
    pub fn is_personal(&self) -> bool {
        self.personal
            || matches!(self.kind, Kind::Email { .. } | Kind::Phone { .. } | Kind::File(_))
            || self.group.as_ref().is_some_and(|g| g.part.is_some())
    }

    pub(super) fn each_text(&mut self, visit: &mut impl FnMut(String, &mut String)) {
        let path = format!("question.{}", self.key);
        visit(format!("{path}.title"), &mut self.title);
        if let Some(help) = &mut self.help {
            visit(format!("{path}.help"), help);
        }
        if let Some(group) = &mut self.group {
            visit(format!("group.{}.title", group.key), &mut group.title);
        }
        let options = match &mut self.kind {
            Kind::SingleChoice(choice) | Kind::MultipleChoice(choice) => {
                if let Some(label) = choice.other.as_mut().and_then(|o| o.label.as_mut()) {
                    visit(format!("{path}.other"), label);
                }
                &mut choice.options
            }
            Kind::Ranking { options } => options,
            Kind::Matrix { rows, columns, .. } => {
                for row in rows {
                    visit(format!("{path}.row.{}", row.id), &mut row.label);
                }
                columns
            }
            Kind::Scale { labels, .. } | Kind::Nps { labels } => {
                for (end, label) in
                    [("left", &mut labels.left), ("center", &mut labels.center), ("right", &mut labels.right)]
                {
                    if let Some(label) = label {
                        visit(format!("{path}.label.{end}"), label);
                    }
                }
                return;
            }
            Kind::Consent { text, .. } => return visit(format!("{path}.text"), text),
            _ => return,
        };
        for option in options {
            visit(format!("{path}.option.{}", option.id), &mut option.label);
        }
    }
}

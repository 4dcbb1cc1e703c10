//! Google's kinds of questions as kinds of the neutral form.

use std::collections::BTreeSet;

use super::build::Builder;
use super::navigation::{Way, Ways};
use super::source::{Choosable, Grid, Row, Style, What};
use crate::form::{
    Choice, ChoiceOption, Condition, Display, FileLimits, Kind, Labels, MatrixRow, Op, Operand, Other,
    Pattern, TextLimits,
};

/// What Meta takes per file; Google allows more.
const MAX_KIB: u64 = 25_600;
/// How many files one question may hold in a reply to Meta.
const MAX_FILES: u64 = 10;

/// A kind, and which of its options lead somewhere.
pub(super) type Read = (Kind, Vec<Way>);

impl Builder {
    pub(super) fn kind(&mut self, key: &str, title: &str, what: &What) -> Read {
        let at = format!("question.{key}");
        let kind = match what {
            What::Text { paragraph: false } => Kind::ShortText(TextLimits::default()),
            What::Text { paragraph: true } => Kind::LongText(TextLimits::default()),
            What::Choice { style, options, shuffled } => {
                return self.choice(key, title, *style, options, *shuffled);
            }
            What::Scale { low, high, labels: [left, right] } => {
                if low >= high || high.saturating_sub(*low) > 100 {
                    return (self.damaged(&at, title, "numbers", "scaleQuestion"), Vec::new());
                }
                let label = |label: &Option<String>| label.as_deref().map(super::plain);
                let labels = Labels { left: label(left), center: None, right: label(right) };
                Kind::Scale { min: *low, max: *high, step: 1, labels }
            }
            What::Rating { steps, stars } => {
                let Some(steps) = u8::try_from(*steps).ok().filter(|steps| (1..=100).contains(steps)) else {
                    return (self.damaged(&at, title, "steps", "ratingQuestion"), Vec::new());
                };
                if !stars {
                    self.changed(&at, title, "its icons are not shown; the steps are the same");
                }
                Kind::Rating { steps }
            }
            What::Date { time, year } => {
                if !year {
                    self.changed(
                        &at,
                        title,
                        "Google asks for day and month only; here the year is asked, too",
                    );
                }
                if *time {
                    Kind::DateTime { min: None, max: None }
                } else {
                    Kind::Date { min: None, max: None }
                }
            }
            What::Time { duration: false } => Kind::Time { min: None, max: None },
            What::Time { duration: true } => {
                self.changed(
                    &at,
                    title,
                    "a duration is written as a text: hours, minutes and seconds, HH:MM:SS",
                );
                let pattern = Pattern {
                    regex: r"[0-9]{1,3}:[0-5][0-9]:[0-5][0-9]".to_owned(),
                    message: Some("HH:MM:SS".to_owned()),
                };
                Kind::ShortText(TextLimits { pattern: Some(pattern), ..TextLimits::default() })
            }
            What::File { types, most, bytes } => self.file(&at, title, types, *most, *bytes),
            What::Damaged(part) => self.damaged(&at, title, part, "question"),
            What::Unknown(name) => Kind::Unsupported { source_type: name.clone() },
        };
        (kind, Vec::new())
    }

    fn damaged(&mut self, at: &str, title: &str, part: &str, source_type: &str) -> Kind {
        self.lost(at, title, &format!("its “{part}” make no sense, so it cannot be asked"));
        Kind::Unsupported { source_type: source_type.to_owned() }
    }

    fn file(
        &mut self,
        at: &str,
        title: &str,
        types: &[String],
        most: Option<u64>,
        bytes: Option<u64>,
    ) -> Kind {
        if most.is_none() && bytes.is_none() {
            self.changed(
                at,
                title,
                "how many files of what size and kind it takes is not told; one of any kind is asked for",
            );
        }
        let max_files = most.unwrap_or(1).clamp(1, MAX_FILES);
        if most.is_some_and(|most| most > MAX_FILES) {
            self.changed(at, title, &format!("at most {MAX_FILES} files can be sent"));
        }
        let kib = bytes.map_or(MAX_KIB, |bytes| (bytes / 1024).max(1));
        if kib > MAX_KIB {
            self.changed(at, title, "a file can have 25 MiB at most");
        }
        let mut media_types = BTreeSet::new();
        let mut any = types.is_empty();
        for name in types {
            match media(name) {
                Some(known) => media_types.extend(known.iter().map(|t| (*t).to_owned())),
                None => {
                    any = true;
                    if name != "ANY" {
                        self.changed(
                            at,
                            title,
                            &format!("files of the kind “{name}” cannot be told apart, so any file is taken"),
                        );
                    }
                }
            }
        }
        Kind::File(FileLimits {
            photos_only: !any && types.iter().all(|name| name == "IMAGE"),
            media_types: if any { Vec::new() } else { media_types.into_iter().collect() },
            max_files: u8::try_from(max_files).unwrap_or(1),
            max_kib: u32::try_from(kib.min(MAX_KIB)).unwrap_or(25_600),
        })
    }

    fn choice(&mut self, key: &str, title: &str, style: Style, source: &[Choosable], shuffled: bool) -> Read {
        let at = format!("question.{key}");
        let options = self.options(&at, title, source);
        if options.iter().all(Option::is_none) {
            return (self.damaged(&at, title, "options", "choiceQuestion"), Vec::new());
        }
        if shuffled {
            self.changed(&at, title, "its options always come in the same order");
        }
        let other = source.iter().any(|option| option.other).then(Other::default);
        let ways = self.ways(key, title, source, &options);
        let options: Vec<ChoiceOption> = options.into_iter().flatten().collect();
        let display = if style == Style::Dropdown { Display::Dropdown } else { Display::List };
        let choice = Choice { options, other, min: None, max: None, display };
        if style == Style::Checkbox {
            if !ways.is_empty() {
                self.lost(&at, title, "options of checkboxes cannot lead elsewhere; that is not carried");
            }
            return (Kind::MultipleChoice(choice), Vec::new());
        }
        (Kind::SingleChoice(choice), ways)
    }

    /// The options that are not "other", each in its place.
    fn options(&mut self, at: &str, title: &str, source: &[Choosable]) -> Vec<Option<ChoiceOption>> {
        let mut ids = BTreeSet::new();
        let mut options = Vec::new();
        if source.iter().any(|option| option.picture) {
            self.changed(at, title, "the pictures of its options are not shown in the chat");
        }
        for (number, option) in source.iter().enumerate() {
            if option.other {
                options.push(None);
                continue;
            }
            let mut id = option.value.clone().unwrap_or_else(|| {
                self.changed(at, title, "an option without a text is called by its number");
                (number + 1).to_string()
            });
            let label = super::plain(&id);
            if ids.contains(&id) {
                self.changed(
                    at,
                    title,
                    &format!("the option “{label}” is there twice; Google cannot tell them apart"),
                );
            }
            while !ids.insert(id.clone()) {
                id = format!("{id} ({})", number + 1);
            }
            options.push(Some(ChoiceOption { id, label, image: None }));
        }
        options
    }

    /// Which options lead somewhere, and when.
    fn ways(
        &mut self,
        key: &str,
        title: &str,
        source: &[Choosable],
        options: &[Option<ChoiceOption>],
    ) -> Vec<Way> {
        let chosen = |id: &str| Condition::test(Operand::answer(key), Op::Is, Operand::Constant(id.into()));
        let fold = |id: &str| id.trim().to_lowercase();
        let mut ways = Vec::new();
        for (number, (option, carried)) in source.iter().zip(options).enumerate() {
            let Some(goto) = option.goto.clone() else { continue };
            let when = match carried {
                Some(ChoiceOption { id, .. }) => {
                    // Answers are compared without regard to case.
                    let twin = source.iter().zip(options).any(|(other, carried)| {
                        carried.as_ref().is_some_and(|c| c.id != *id && fold(&c.id) == fold(id))
                            && other.goto != option.goto
                    });
                    if twin {
                        let at = format!("question.{key}.rule.{number}");
                        self.lost(&at, title, "this rule is not carried: two options differ only in case");
                        continue;
                    }
                    chosen(id)
                }
                None => Condition::All {
                    all: vec![
                        Condition::test(
                            Operand::answer(key),
                            Op::Answered,
                            Operand::Constant(serde_json::Value::Null),
                        ),
                        Condition::Not {
                            not: Box::new(Condition::Any {
                                any: options.iter().flatten().map(|option| chosen(&option.id)).collect(),
                            }),
                        },
                    ],
                },
            };
            ways.push(Way { number, when, goto });
        }
        ways
    }

    /// A grid is one question: its rows have the ids of Google's questions, its columns the values.
    pub(super) fn grid(&mut self, key: &str, title: &str, grid: &Grid) -> Kind {
        let at = format!("question.{key}");
        let columns: Vec<ChoiceOption> =
            self.options(&at, title, &grid.columns).into_iter().flatten().collect();
        if columns.is_empty() || grid.rows.is_empty() {
            return self.damaged(&at, title, "rows and columns", "questionGroupItem");
        }
        if grid.shuffled {
            self.changed(&at, title, "its rows always come in the same order");
        }
        let mut rows: Vec<MatrixRow> = Vec::new();
        for (number, row) in grid.rows.iter().enumerate() {
            let id = self.key(row.id.as_deref(), &format!("{key}-row-{}", number + 1), title);
            let label = row.title.as_deref().map_or_else(
                || {
                    self.changed(&at, title, "a row without a text is called by its number");
                    (number + 1).to_string()
                },
                super::plain,
            );
            rows.push(MatrixRow { id, label, required: row.required });
        }
        Kind::Matrix { rows, columns, multiple: grid.multiple }
    }

    /// The ways of a question, kept for when its section is left.
    pub(super) fn keep(ways: &mut Vec<Ways>, key: &str, title: &str, list: Vec<Way>) {
        if !list.is_empty() {
            ways.push(Ways { key: key.to_owned(), title: title.to_owned(), list });
        }
    }
}

/// Whether every row must be answered.
pub(super) fn is_required(rows: &[Row]) -> bool {
    !rows.is_empty() && rows.iter().all(|row| row.required)
}

/// The media types of Google's kinds of files.
fn media(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "PDF" => &["application/pdf"],
        "IMAGE" => {
            &["image/gif", "image/heic", "image/heif", "image/jpeg", "image/png", "image/tiff", "image/webp"]
        }
        "VIDEO" => &["video/mp4", "video/mpeg"],
        "DOCUMENT" => &[
            "application/msword",
            "application/vnd.oasis.opendocument.text",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "text/plain",
        ],
        "SPREADSHEET" => &[
            "application/vnd.ms-excel",
            "application/vnd.oasis.opendocument.spreadsheet",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        ],
        "PRESENTATION" => &[
            "application/vnd.ms-powerpoint",
            "application/vnd.oasis.opendocument.presentation",
            "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        ],
        _ => return None,
    })
}

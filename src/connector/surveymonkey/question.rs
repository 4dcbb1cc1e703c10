//! One question of a survey: what it is, what must be answered of it, and which questions of the form it becomes.

use serde_json::Value;

use super::address::{Address, To};
use super::{Reader, flag, id, in_order, is_deleted, list, text};
use crate::form::{FileLimits, Group, Kind, Part, Question};

/// A question while it is read.
pub(super) struct Asked<'j> {
    pub json: &'j Value,
    pub id: String,
    pub page: Option<&'j str>,
    pub heading: String,
    pub help: Option<String>,
    variant: Option<String>,
    pub required: Required,
}

/// How much of a question must be answered.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Required {
    /// At all.
    pub any: bool,
    /// At least so many rows or options; all rows when absent.
    pub min: Option<u32>,
    /// At most so many.
    pub max: Option<u32>,
}

/// A question of the form that is about to be made.
pub(super) struct Piece {
    pub title: String,
    pub kind: Kind,
    pub required: bool,
    pub row: Option<String>,
    pub col: Option<String>,
    pub to: To,
    /// Whether the heading stands over it, because its title is only its own label.
    pub grouped: bool,
    pub part: Option<Part>,
}

impl Piece {
    /// The whole question, as one.
    pub(super) fn whole(asked: &Asked<'_>, kind: Kind, to: To) -> Piece {
        Piece {
            title: asked.heading.clone(),
            kind,
            required: asked.required.any,
            row: None,
            col: None,
            to,
            grouped: false,
            part: None,
        }
    }
}

/// An option, row or column.
pub(super) struct Item<'j> {
    pub id: String,
    /// May be empty.
    pub text: String,
    pub json: &'j Value,
}

impl<'j> Asked<'j> {
    /// Where notes say they are.
    pub(super) fn at(&self) -> String {
        format!("question.{}", self.id)
    }

    pub(super) fn member(&self, name: &str) -> &'j Value {
        self.json.get(name).unwrap_or(&Value::Null)
    }

    pub(super) fn answers(&self, name: &str) -> &'j [Value] {
        list(self.member("answers"), name)
    }

    pub(super) fn display(&self, name: &str) -> &'j Value {
        self.member("display_options").get(name).unwrap_or(&Value::Null)
    }

    pub(super) fn source_type(&self) -> String {
        [text(self.json, "family"), text(self.json, "subtype")]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("/")
    }
}

impl Reader {
    /// Reads a question into the questions that it becomes.
    pub(super) fn question<'j>(
        &mut self,
        json: &'j Value,
        page: Option<&'j str>,
        questions: &mut Vec<Question>,
    ) {
        if is_deleted(json) {
            return;
        }
        let heading = list(json, "headings").first().and_then(|heading| text(heading, "heading"));
        let Some(id) = id(json) else {
            self.lost("form", heading.unwrap_or_default(), "a question has no id; it is left out");
            return;
        };
        let at = format!("question.{id}");
        if !self.questions.insert(id.clone()) {
            self.lost(
                &at,
                heading.unwrap_or_default(),
                "another question has the same id; this one is left out",
            );
            return;
        }
        let asked = self.asked(json, id, page, &at);
        let from = questions.len();
        match text(json, "family").unwrap_or_default() {
            "single_choice" => self.single_choice(&asked, questions),
            "multiple_choice" => self.multiple_choice(&asked, questions),
            "matrix" => self.matrix(&asked, questions),
            "open_ended" => self.open_ended(&asked, questions),
            "demographic" => self.contact(&asked, questions),
            "datetime" => self.moments(&asked, questions),
            "presentation" => self.statement(&asked, questions),
            "" => self.lost(&at, &asked.heading, "the question has no family; it is left out"),
            _ => self.unsupported(&asked, "family", questions),
        }
        if let Some(first) = questions.get_mut(from) {
            first.help = match (asked.help, first.help.take()) {
                (Some(help), Some(own)) => Some(format!("{help}\n{own}")),
                (help, own) => help.or(own),
            };
        }
    }

    fn asked<'j>(&mut self, json: &'j Value, id: String, page: Option<&'j str>, at: &str) -> Asked<'j> {
        let headings = list(json, "headings");
        let first = headings.first().unwrap_or(&Value::Null);
        let mut plain = |name: &str| text(first, name).map(|source| self.plain(at, source));
        let (heading, help) = (plain("heading"), plain("description").filter(|help| !help.is_empty()));
        let nickname = || text(json, "nickname").unwrap_or_default().to_owned();
        let heading = heading.filter(|heading| !heading.is_empty()).unwrap_or_else(nickname);
        if headings.len() > 1 {
            let what = format!(
                "of its {} wordings, shown at random in SurveyMonkey, only the first is asked",
                headings.len()
            );
            self.changed(at, &heading, what);
        }
        if first.get("image").is_some_and(Value::is_object) {
            self.changed(at, &heading, "its picture is not shown in the chat");
        }
        let variant = first.get("random_assignment").and_then(super::id);
        self.is_quiz |= json.get("quiz_options").is_some_and(|quiz| flag(quiz, "scoring_enabled"));
        let mut asked = Asked { json, id, page, heading, help, variant, required: Required::default() };
        asked.required = self.required(&asked);
        asked
    }

    /// `{type, amount, text}`; that it is there at all means that an answer is required.
    fn required(&mut self, asked: &Asked<'_>) -> Required {
        let rule = asked.member("required");
        if !rule.is_object() {
            return Required { any: rule == &Value::Bool(true), ..Required::default() };
        }
        self.has_messages |= text(rule, "text").is_some();
        let amount = match rule.get("amount") {
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::String(amount)) => amount.clone(),
            _ => String::new(),
        };
        let number = |text: &str| text.trim().parse::<u32>().ok();
        let (min, max) = match text(rule, "type") {
            None | Some("all") => (None, None),
            Some("at_least") => (number(&amount), None),
            Some("at_most") => (Some(1), number(&amount)),
            Some("exactly") => (number(&amount), number(&amount)),
            Some("range") => {
                let (low, high) = amount.split_once(',').unwrap_or_default();
                (number(low), number(high))
            }
            Some(other) => {
                let what = format!(
                    "how much of it must be answered (“{other}”) is not known; an answer is required"
                );
                self.lost(&asked.at(), &asked.heading, what);
                (Some(1), None)
            }
        };
        let incomplete = match text(rule, "type") {
            Some("at_least" | "exactly") => min.is_none(),
            Some("at_most") => max.is_none(),
            Some("range") => min.is_none() || max.is_none(),
            _ => false,
        };
        if incomplete || min.zip(max).is_some_and(|(min, max)| min > max) {
            let what = "how much of it must be answered makes no sense; an answer is required";
            self.lost(&asked.at(), &asked.heading, what);
            return Required { any: true, min: Some(1), max: None };
        }
        // "At least none" requires nothing.
        Required { any: min != Some(0), min, max }
    }

    /// Whether each of so many rows must be answered. A rule in between cannot be held row by row, and is named.
    pub(super) fn needs_all(&mut self, asked: &Asked<'_>, rows: usize) -> bool {
        let Required { any, min, max } = asked.required;
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        let wanted = min.unwrap_or(rows);
        if max.is_some_and(|max| max < rows) || (any && wanted < rows) {
            let most = max.map(|max| format!(" and {max} at most")).unwrap_or_default();
            let what = format!(
                "that {wanted} of its {rows} rows{most} must be answered is not enforced; SurveyMonkey may refuse what is sent"
            );
            self.lost(&asked.at(), &asked.heading, what);
            return false;
        }
        any
    }

    /// The options, rows or columns that are not deleted, each with an id of its own.
    pub(super) fn items<'j>(&mut self, asked: &Asked<'_>, source: &'j [Value]) -> Vec<Item<'j>> {
        let mut items: Vec<Item<'j>> = Vec::new();
        for json in in_order(source) {
            if is_deleted(json) {
                continue;
            }
            let source = text(json, "text").unwrap_or_default();
            let text = if source.is_empty() { String::new() } else { self.plain(&asked.at(), source) };
            match id(json) {
                None => self.lost(&asked.at(), &asked.heading, format!("“{text}” has no id; it is left out")),
                Some(id) if items.iter().any(|item| item.id == id) => {
                    let what = format!("“{text}” has the id of another one; it is left out");
                    self.lost(&asked.at(), &asked.heading, what);
                }
                Some(id) => items.push(Item { id, text, json }),
            }
        }
        items
    }

    /// As SurveyMonkey would sort them.
    pub(super) fn sort(&mut self, asked: &Asked<'_>, items: &mut [Item<'_>]) {
        let sorting = asked.member("sorting");
        let Some(how) = text(sorting, "type").filter(|how| *how != "default") else { return };
        let sorted = items.len().saturating_sub(usize::from(flag(sorting, "ignore_last")));
        let Some(items) = items.get_mut(..sorted) else { return };
        match how {
            "textasc" => items.sort_by_cached_key(|item| item.text.to_lowercase()),
            "textdesc" => items.sort_by_cached_key(|item| std::cmp::Reverse(item.text.to_lowercase())),
            _ => {
                let what = format!("its order (“{how}”) is not carried: it always comes in the same one");
                self.changed(&asked.at(), &asked.heading, what);
            }
        }
    }

    /// Adds a question of the form and remembers where its answer goes.
    pub(super) fn push(&mut self, asked: &Asked<'_>, piece: Piece, questions: &mut Vec<Question>) {
        let mut key = asked.id.clone();
        for (what, id) in [("row", &piece.row), ("col", &piece.col)] {
            if let Some(id) = id {
                key.push_str(&format!("/{what}-{id}"));
            }
        }
        if let To::Comment(other) = &piece.to {
            key.push_str(&format!("/other-{other}"));
        }
        if !self.keys.insert(key.clone()) {
            self.lost(
                &format!("question.{key}"),
                &piece.title,
                "it has the ids of another one; it is left out",
            );
            return;
        }
        if let Some(page) = asked.page.filter(|_| piece.kind.is_answered()) {
            let address = Address {
                page: page.to_owned(),
                question: asked.id.clone(),
                heading: asked.heading.clone(),
                variant: asked.variant.clone(),
                row: piece.row,
                col: piece.col,
                to: piece.to,
            };
            self.survey.addresses.insert(key.clone(), address);
        }
        let group = piece.grouped.then(|| Group {
            key: asked.id.clone(),
            title: asked.heading.clone(),
            part: piece.part,
        });
        questions.push(Question {
            required: piece.required,
            group,
            personal: asked.member("family") == "demographic",
            ..bare(key, piece.title, None, piece.kind)
        });
    }

    fn statement(&mut self, asked: &Asked<'_>, questions: &mut Vec<Question>) {
        if asked.heading.is_empty() && asked.help.is_none() {
            self.lost(&asked.at(), "", "it has no text, and a picture is not shown in the chat");
            return;
        }
        let piece = Piece { required: false, ..Piece::whole(asked, Kind::Statement, To::Nowhere) };
        self.push(asked, piece, questions);
    }

    /// A question whose kind is not known, or has no meaning in a chat.
    pub(super) fn unsupported(&mut self, asked: &Asked<'_>, what: &str, questions: &mut Vec<Question>) {
        let source_type = asked.source_type();
        let text =
            format!("its {what} makes no sense or is not known (“{source_type}”), so it cannot be asked");
        self.lost(&asked.at(), &asked.heading, text);
        self.push(asked, Piece::whole(asked, Kind::Unsupported { source_type }, To::Nowhere), questions);
    }

    pub(super) fn file(&mut self, asked: &Asked<'_>, questions: &mut Vec<Question>) {
        let what = "SurveyMonkey takes no files from outside: the file is asked for, and the response written there is without it";
        self.changed(&asked.at(), &asked.heading, what);
        let limits =
            FileLimits { photos_only: false, media_types: Vec::new(), max_files: 1, max_kib: 25_600 };
        self.push(asked, Piece::whole(asked, Kind::File(limits), To::Nowhere), questions);
    }
}

/// A question without rules.
pub(super) fn bare(key: String, title: String, help: Option<String>, kind: Kind) -> Question {
    Question {
        key,
        title,
        help,
        kind,
        required: false,
        default: None,
        visible_if: None,
        personal: false,
        group: None,
        rules: Vec::new(),
    }
}

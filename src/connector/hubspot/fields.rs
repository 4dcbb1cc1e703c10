//! Fields as questions and hidden values, rows as parts of a page.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::consent::ticked;
use super::logic::{self, Parent};
use super::source::{Field, Row, scalar};
use super::{Dialect, Reader, html, literal, question, statement, unsupported};
use crate::connector::json::{flag, text};
use crate::form::{
    Choice, ChoiceOption, Condition, Display, FileLimits, Hidden, Kind, Operand, Page, Question, TextLimits,
};

/// Where a field stands.
#[derive(Default, Clone, Copy)]
struct Within<'a> {
    /// The key of the field it depends on.
    parent: Option<&'a str>,
    /// When it is shown.
    condition: Option<&'a Condition>,
    smart: bool,
}

impl Reader {
    /// The pages with their questions. v3 does not tell pages, so all of it is one.
    pub(super) fn pages(&mut self, rows: &[Option<Row<'_>>], dialect: Dialect) -> Vec<Page> {
        let mut pages: Vec<Page> = Vec::new();
        let mut questions = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            let Some(row) = row else {
                self.lost(
                    format!("form.row-{}", number + 1),
                    "",
                    "a row of the form is damaged and left out",
                );
                continue;
            };
            self.rich_text(row, number + 1, &mut questions);
            for (place, json) in row.fields.iter().enumerate() {
                let at = format!("form.row-{}.field-{}", number + 1, place + 1);
                self.field(
                    json,
                    dialect,
                    &at,
                    Within { smart: row.smart, ..Within::default() },
                    &mut questions,
                );
            }
            if row.page_break && !questions.is_empty() {
                pages.push(page(pages.len() + 1, std::mem::take(&mut questions)));
            }
        }
        if !questions.is_empty() {
            pages.push(page(pages.len() + 1, questions));
        }
        pages
    }

    fn rich_text(&mut self, row: &Row<'_>, number: usize, questions: &mut Vec<Question>) {
        let Some(source) = row.rich_text else { return };
        let key = format!("text-{number}");
        let read = html::read(source);
        let mut blocks = read.blocks.as_slice();
        let mut title = String::new();
        if let [first, rest @ ..] = blocks
            && first.heading
        {
            (title, blocks) = (literal(&first.text), rest);
        }
        let help = literal(&html::lines(blocks));
        self.pictures(read.pictures, &key, if title.is_empty() { &help } else { &title });
        if !title.is_empty() || !help.is_empty() {
            questions.push(statement(&key, title, help));
        }
    }

    /// What a field becomes, with the fields that depend on it.
    fn field(
        &mut self,
        json: &Value,
        dialect: Dialect,
        at: &str,
        within: Within<'_>,
        questions: &mut Vec<Question>,
    ) {
        let Some(field) = Field::of(json, dialect) else {
            let title = text(json, "label").or(text(json, "name")).unwrap_or_default();
            self.lost(at.to_owned(), title, "the field has no name or no type; it is left out");
            return;
        };
        let key = field.key();
        let at = format!("question.{key}");
        let title = literal(&html::read(field.label.unwrap_or(field.name)).text());
        if field.off {
            self.lost(at, &title, "it is switched off in HubSpot and left out, with what depends on it");
            return;
        }
        if !self.fields.insert(key.clone()) {
            self.again(&key, &title, &field, within, questions);
            return;
        }
        let mut kind = None;
        let visible = within.condition.cloned();
        if field.hidden {
            if visible.is_some() {
                self.lost(
                    at,
                    &title,
                    "it is hidden and depends on another field, which a hidden value cannot",
                );
                return;
            }
            self.hidden(&field, &title);
        } else {
            let made = self.question(&field, &title, within, visible.clone());
            kind = Some(made.kind.clone());
            questions.push(made);
        }
        for (number, dependent) in field.dependents.iter().enumerate() {
            let at = format!("{at}.rule.{number}");
            self.dependent(dependent, dialect, &at, &key, kind.as_ref(), visible.as_ref(), questions);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all of it says where the field stands")]
    fn dependent(
        &mut self,
        dependent: &super::source::Dependent<'_>,
        dialect: Dialect,
        at: &str,
        parent: &str,
        kind: Option<&Kind>,
        visible: Option<&Condition>,
        questions: &mut Vec<Question>,
    ) {
        let title = text(dependent.field, "label").or(text(dependent.field, "name")).unwrap_or_default();
        let operand = match kind {
            Some(_) => Operand::Answer { answer: parent.to_owned() },
            None => Operand::Hidden { hidden: parent.to_owned() },
        };
        let read = match (dependent.action, dependent.filters.as_slice()) {
            (Some(action), _) => Err(format!("it does not show the field but “{action}”")),
            (None, [filter]) if kind.is_none_or(Kind::is_answered) => {
                logic::shown_if(&Parent { operand, kind }, filter)
            }
            (None, [_]) => Err("it depends on a field that cannot be asked".to_owned()),
            (None, []) => Err("it has no comparison".to_owned()),
            (None, _) => Err("how several comparisons go together is not documented".to_owned()),
        };
        match read {
            Ok(shown) => {
                if let Some(note) = shown.note {
                    self.changed(at.to_owned(), title, &note);
                }
                let condition = match visible {
                    Some(outer) => Condition::All { all: vec![outer.clone(), shown.condition] },
                    None => shown.condition,
                };
                let within = Within { parent: Some(parent), condition: Some(&condition), smart: false };
                self.field(dependent.field, dialect, at, within, questions);
            }
            Err(why) => {
                let what = format!("it is shown under a condition that cannot be carried: {why}");
                self.lost(at.to_owned(), title, &what);
                // HubSpot would refuse the submission without it, so such a form must not be published.
                if let Some(field) =
                    Field::of(dependent.field, dialect).filter(|field| field.required && !field.hidden)
                    && self.fields.insert(field.key())
                {
                    let title = literal(&html::read(title).text());
                    let blocked = unsupported(&field.key(), &title, "a field with such a condition");
                    questions.push(Question { required: true, ..blocked });
                }
            }
        }
    }

    /// A field that stands in the form twice. Under one parent it is one field that is shown in either case.
    fn again(
        &mut self,
        key: &str,
        title: &str,
        field: &Field<'_>,
        within: Within<'_>,
        questions: &mut [Question],
    ) {
        let same =
            questions.iter_mut().find(|question| question.key == key && question.required == field.required);
        if let (Some(question), Some(condition)) = (same, within.condition)
            && self.parents.get(key).map(String::as_str) == within.parent
            && field.dependents.is_empty()
            && let Some(earlier) = question.visible_if.take()
        {
            question.visible_if = Some(Condition::Any { any: vec![earlier, condition.clone()] });
            return;
        }
        self.lost(
            format!("question.{key}"),
            title,
            "the field stands in the form twice; only the first is asked",
        );
    }

    fn hidden(&mut self, field: &Field<'_>, title: &str) {
        let default = (!field.defaults.is_empty()).then(|| field.defaults.join(";"));
        if field.required && default.is_none() {
            let what = "it is hidden and required but has no value: HubSpot may refuse submissions whose link carries none";
            self.changed(format!("question.{}", field.key()), title, what);
        }
        self.hidden.push(Hidden { key: field.key(), default });
    }

    fn question(
        &mut self,
        field: &Field<'_>,
        title: &str,
        within: Within<'_>,
        visible_if: Option<Condition>,
    ) -> Question {
        let key = field.key();
        let at = format!("question.{key}");
        if field.label.is_none() {
            self.changed(at.clone(), title, "it has no label and is called by its name");
        }
        if field.smart || within.smart {
            let what = "HubSpot leaves it out when it knows the answer; here it is always asked";
            self.changed(at.clone(), title, what);
        }
        if field.unknown_rule {
            self.lost(at.clone(), title, "its validation is not known and not enforced");
        }
        if let Some(parent) = within.parent {
            self.parents.insert(key.clone(), parent.to_owned());
        }
        let kind = self.kind(field, &at, title);
        let default = self.default(field, &kind, &at, title);
        let help = [field.help, field.placeholder].into_iter().flatten();
        let help = help.map(|help| literal(&html::read(help).text())).filter(|help| !help.is_empty());
        let help = help.collect::<Vec<_>>().join("\n");
        let made = match kind {
            Kind::Consent { text, .. } => ticked(&key, text, field.required),
            kind => question(&key, title.to_owned(), kind),
        };
        Question {
            help: (!help.is_empty()).then_some(help),
            required: field.required,
            default,
            visible_if,
            ..made
        }
    }

    fn kind(&mut self, field: &Field<'_>, at: &str, title: &str) -> Kind {
        match field.kind {
            "single_line_text" => Kind::ShortText(TextLimits::default()),
            "multi_line_text" => Kind::LongText(TextLimits::default()),
            "email" => {
                if field.blocks_free_mail {
                    let what = "HubSpot's list of free mail providers is not in the definition: such an address is \
                                taken here, and refused by HubSpot";
                    self.lost(at.to_owned(), title, what);
                }
                Kind::Email { blocked_domains: field.blocked_domains.clone() }
            }
            "phone" | "mobile_phone" => {
                // A whole number with its country has 7 to 15 digits.
                let (min, max) = (field.min_digits.unwrap_or(7), field.max_digits.unwrap_or(20));
                if min > 7 || max < 15 {
                    let what = format!(
                        "its limit of {min} to {max} digits is not enforced: a number is checked by its country's rules"
                    );
                    self.lost(at.to_owned(), title, &what);
                }
                Kind::Phone { country: None }
            }
            "number" => self.number(field, at, title),
            // A box to tick; required, it has to be ticked.
            "single_checkbox" => Kind::Consent { text: title.to_owned(), version: None, link: None },
            "multiple_checkboxes" => self.choice(field, at, title, Display::List, true),
            "radio" => self.choice(field, at, title, Display::List, false),
            "dropdown" => self.choice(field, at, title, Display::Dropdown, false),
            "datepicker" => Kind::Date { min: None, max: None },
            "file" => {
                let what = "the file is put into HubSpot's files, and its address into the field";
                self.changed(at.to_owned(), title, what);
                let max_files = if field.several_files { 10 } else { 1 };
                Kind::File(FileLimits {
                    photos_only: false,
                    media_types: Vec::new(),
                    max_files,
                    max_kib: 25_600,
                })
            }
            other => Kind::Unsupported { source_type: other.to_owned() },
        }
    }

    /// HubSpot limits the digits of a number, not its value. No more than n digits is less than ten to the power of n.
    fn number(&mut self, field: &Field<'_>, at: &str, title: &str) -> Kind {
        if let Some(min) = field.min_digits.filter(|min| *min > 1) {
            let what = format!("its limit of at least {min} digits is not enforced");
            self.lost(at.to_owned(), title, &what);
        }
        let digits = field.max_digits.and_then(|digits| i32::try_from(digits).ok());
        let most = digits.filter(|digits| (1..=15).contains(digits)).map(|digits| 10_f64.powi(digits) - 1.0);
        if most.is_some() {
            let what = "its limit of digits is enforced as a range; digits behind the point are not counted";
            self.changed(at.to_owned(), title, what);
        }
        Kind::Number { min: most.map(|most| -most), max: most, integer: false }
    }

    fn choice(&mut self, field: &Field<'_>, at: &str, title: &str, display: Display, several: bool) -> Kind {
        let mut options: Vec<ChoiceOption> = Vec::new();
        let mut ids = BTreeSet::new();
        for json in field.options {
            // Not shown in HubSpot either.
            if flag(json, "hidden") {
                continue;
            }
            let label = text(json, "label").map(|label| literal(&html::read(label).text()));
            let Some(id) = scalar(json.get("value")) else {
                let what = format!("its option “{}” has no value and is left out", label.unwrap_or_default());
                self.lost(at.to_owned(), title, &what);
                continue;
            };
            if !ids.insert(id.clone()) {
                self.lost(
                    at.to_owned(),
                    title,
                    &format!("a second option has the value “{id}” and is left out"),
                );
                continue;
            }
            let label = label.filter(|label| !label.is_empty()).unwrap_or_else(|| id.clone());
            options.push(ChoiceOption { id, label, image: None });
        }
        if options.is_empty() {
            self.lost(at.to_owned(), title, "it has no options, so it cannot be asked");
            return Kind::Unsupported { source_type: field.kind.to_owned() };
        }
        let choice = Choice { options, other: None, min: None, max: None, display };
        if several { Kind::MultipleChoice(choice) } else { Kind::SingleChoice(choice) }
    }

    /// The answer filled in beforehand, in the shape of the answer.
    fn default(&mut self, field: &Field<'_>, kind: &Kind, at: &str, title: &str) -> Option<Value> {
        let first = field.defaults.first()?;
        let options = kind.options();
        let offered = |id: &&String| options.iter().any(|option| option.id == **id);
        let (value, rest) = match kind {
            Kind::Number { .. } => (first.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| json!(n)), 1),
            Kind::Date { .. } => (logic::date(first).map(|date| json!(date)), 1),
            Kind::Consent { .. } => (first.parse::<bool>().ok().map(|value| json!(value)), 1),
            Kind::SingleChoice(_) => (Some(first).filter(offered).map(|id| json!(id)), 1),
            Kind::MultipleChoice(_) => {
                // v2 and single values write several as one text.
                let given: Vec<String> =
                    field.defaults.iter().flat_map(|d| d.split(';')).map(|d| d.trim().to_owned()).collect();
                let known: Vec<&String> = given.iter().filter(offered).collect();
                let rest = if known.len() == given.len() { field.defaults.len() } else { 0 };
                ((!known.is_empty()).then(|| json!(known)), rest)
            }
            Kind::File(_) | Kind::Unsupported { .. } => (None, 1),
            _ => (Some(json!(first)), 1),
        };
        if value.is_none() || rest < field.defaults.len() {
            self.lost(
                at.to_owned(),
                title,
                "not all of what it is filled in with beforehand is an answer to it",
            );
        }
        value
    }
}

fn page(number: usize, questions: Vec<Question>) -> Page {
    Page {
        id: format!("page-{number}"),
        title: None,
        description: None,
        visible_if: None,
        questions,
        rules: Vec::new(),
    }
}

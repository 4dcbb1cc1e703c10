//! Fields as questions, groups as pages.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Reader, flag, list, page, text};
use crate::connector::Note;
use crate::form::{Display, FileLimits, Group, Kind, Labels, Page, Part, Question, TextLimits};

/// Types that hold other fields.
const GROUPS: [&str; 5] = ["group", "inline_group", "matrix", "contact_info", "address"];
/// Types without an answer, or with one that WhatsApp cannot carry.
const UNANSWERED: [&str; 5] = ["statement", "payment", "calendly", "signature", "multi_format"];

/// A field with the key it goes by.
pub(super) struct Field<'j> {
    pub key: String,
    pub json: &'j Value,
    pub kind: &'j str,
    pub children: Vec<Field<'j>>,
}

/// Where a reference leads.
pub(super) enum Place {
    /// A question.
    Question(String),
    /// A page: its id.
    Page(String),
    /// A group within a page: its first and its last question.
    Group(String, String),
}

/// The fields as a tree, each with a key of its own. What is no field is noted.
pub(super) fn tree<'j>(fields: &'j [Value], notes: &mut Vec<Note>) -> Vec<Field<'j>> {
    fn grow<'j>(fields: &'j [Value], keys: &mut BTreeSet<String>, notes: &mut Vec<Note>) -> Vec<Field<'j>> {
        let mut grown = Vec::new();
        for json in fields {
            let title = text(json, "title").unwrap_or_default();
            let name = text(json, "ref").or(text(json, "id"));
            let base =
                name.map_or_else(|| format!("field-{}", keys.len() + 1), |name| name.trim().to_owned());
            // Two closing braces would end a recall of this key.
            let base = base.replace("}}", "_");
            let mut key = base.clone();
            let mut number = 1;
            while !keys.insert(key.clone()) {
                number += 1;
                key = format!("{base}-{number}");
            }
            let at = format!("question.{key}");
            if number > 1 {
                let what = "another field has the same reference; this one is told apart by a number";
                notes.push(Note::changed(&at, title, what));
            }
            let Some(kind) = text(json, "type") else {
                notes.push(Note::lost(at, title, "the field has no type; it is left out"));
                continue;
            };
            let children = json.get("properties").map_or(&[][..], |properties| list(properties, "fields"));
            grown.push(Field { key, json, kind, children: grow(children, keys, notes) });
        }
        grown
    }
    grow(fields, &mut BTreeSet::new(), notes)
}

impl<'j> Field<'j> {
    pub(super) fn properties(&self) -> &'j Value {
        self.json.get("properties").unwrap_or(&Value::Null)
    }

    /// A whole number among the validations.
    pub(super) fn limit(&self, name: &str) -> Option<u32> {
        let value = self.json.get("validations")?.get(name)?.as_u64()?;
        Some(u32::try_from(value).unwrap_or(u32::MAX))
    }

    /// Where notes say they are.
    pub(super) fn at(&self) -> String {
        format!("question.{}", self.key)
    }

    pub(super) fn title(&self) -> String {
        text(self.json, "title").unwrap_or_default().to_owned()
    }

    fn is_group(&self) -> bool {
        GROUPS.contains(&self.kind) || !self.children.is_empty()
    }

    pub(super) fn is_answered(&self) -> bool {
        !self.is_group() && !UNANSWERED.contains(&self.kind)
    }

    fn names(&self) -> impl Iterator<Item = String> + use<> {
        let names = [Some(self.key.as_str()), text(self.json, "ref"), text(self.json, "id")];
        names.into_iter().flatten().map(str::to_owned).collect::<Vec<_>>().into_iter()
    }
}

impl<'j> Reader<'j> {
    /// Each group is a page, and so is each run of fields between groups.
    pub(super) fn pages(&mut self, fields: &[Field<'j>]) -> Vec<Page> {
        let mut pages: Vec<Page> = Vec::new();
        let mut in_run = false;
        for field in fields {
            if field.kind == "group" && !field.children.is_empty() {
                let mut group = page(
                    field.key.clone(),
                    text(field.json, "title").map(|title| self.plain(&field.at(), title, title)),
                    self.description(field),
                );
                self.attachment(field.json, &field.at(), &field.title());
                for child in &field.children {
                    self.questions(child, None, &mut group.questions);
                }
                for name in field.names() {
                    self.places.entry(name).or_insert_with(|| Place::Page(field.key.clone()));
                }
                pages.push(group);
                in_run = false;
                continue;
            }
            if !in_run {
                // The first question's key is unique among questions and groups, so it is among pages.
                pages.push(page(format!("from {}", field.key), None, None));
                in_run = true;
            }
            if let Some(run) = pages.last_mut() {
                self.questions(field, None, &mut run.questions);
            }
        }
        pages
    }

    /// The questions that a field becomes.
    fn questions(&mut self, field: &Field<'j>, group: Option<&Group>, questions: &mut Vec<Question>) {
        if !field.is_group() || field.children.is_empty() {
            let question = self.question(field, group);
            for name in field.names() {
                self.places.entry(name).or_insert_with(|| Place::Question(field.key.clone()));
            }
            questions.push(question);
            return;
        }
        if !GROUPS.contains(&field.kind) {
            let what = format!("Typeform's “{}” is not known; its parts are asked one by one", field.kind);
            self.changed(field.at(), &field.title(), &what);
        }
        self.attachment(field.json, &field.at(), &field.title());
        let first = questions.len();
        let help = self.description(field);
        let title = self.plain(&field.at(), &field.title(), &field.title());
        let mut inner = Group { key: field.key.clone(), title, part: None };
        if help.is_some() {
            // A group has no place for a description, so its heading and description are told by a statement.
            let title = std::mem::take(&mut inner.title);
            questions.push(Question { help, ..self.bare(field, title, Kind::Statement) });
        }
        for child in &field.children {
            inner.part = text(child.json, "subfield_key").and_then(part);
            self.questions(child, Some(&inner), questions);
        }
        let keys = questions.get(first..).unwrap_or_default();
        if let (Some(from), Some(to)) = (keys.first(), keys.last()) {
            for name in field.names() {
                self.places.entry(name).or_insert_with(|| Place::Group(from.key.clone(), to.key.clone()));
            }
        }
    }

    fn question(&mut self, field: &Field<'j>, group: Option<&Group>) -> Question {
        let (at, title) = (field.at(), field.title());
        self.attachment(field.json, &at, &title);
        let kind = self.kind(field);
        if kind.options().is_empty() {
            self.kinds.insert(field.key.clone(), kind.clone());
        }
        let help = self.description(field);
        let known = ["required", "max_length", "min_value", "max_value", "min_selection", "max_selection"];
        for name in
            field.json.get("validations").and_then(Value::as_object).into_iter().flat_map(|v| v.keys())
        {
            if !known.contains(&name.as_str()) {
                self.lost(at.clone(), &title, &format!("its rule “{name}” is not known and not enforced"));
            }
        }
        let required = field.json.pointer("/validations/required").and_then(Value::as_bool).unwrap_or(false);
        let plain = self.plain(&at, &title, &title);
        // The text of a consent is what is agreed to; it must not be said twice.
        let help = if matches!(kind, Kind::Consent { .. }) { None } else { help };
        Question { help, required, group: group.cloned(), ..self.bare(field, plain, kind) }
    }

    fn bare(&self, field: &Field<'j>, title: String, kind: Kind) -> Question {
        Question {
            key: field.key.clone(),
            title,
            help: None,
            kind,
            required: false,
            default: None,
            visible_if: None,
            personal: false,
            group: None,
            rules: Vec::new(),
        }
    }

    fn description(&mut self, field: &Field<'j>) -> Option<String> {
        let description = text(field.properties(), "description")?;
        Some(self.plain(&field.at(), &field.title(), description))
    }

    fn kind(&mut self, field: &Field<'j>) -> Kind {
        let unsupported = || Kind::Unsupported { source_type: field.kind.to_owned() };
        let properties = field.properties();
        let limits = || TextLimits {
            max_length: field.limit("max_length").filter(|n| *n > 0),
            ..TextLimits::default()
        };
        match field.kind {
            "short_text" => Kind::ShortText(limits()),
            "long_text" => Kind::LongText(limits()),
            "email" => Kind::Email { blocked_domains: Vec::new() },
            "website" => Kind::Url,
            "phone_number" => {
                Kind::Phone { country: text(properties, "default_country_code").map(str::to_ascii_uppercase) }
            }
            "number" => self.number(field),
            "date" => Kind::Date { min: None, max: None },
            "yes_no" => Kind::YesNo,
            "legal" => self.legal(field),
            "multiple_choice" => self.choice(field, Display::List).unwrap_or_else(|| self.no_options(field)),
            "picture_choice" => {
                self.choice(field, Display::Picture).unwrap_or_else(|| self.no_options(field))
            }
            "dropdown" => self.choice(field, Display::Dropdown).unwrap_or_else(|| self.no_options(field)),
            "ranking" => self.ranking(field).unwrap_or_else(|| self.no_options(field)),
            "rating" => {
                let steps = properties.get("steps").and_then(Value::as_u64).unwrap_or(5);
                match u8::try_from(steps).ok().filter(|steps| (1..=100).contains(steps)) {
                    Some(steps) => Kind::Rating { steps },
                    None => self.damaged(field, "steps"),
                }
            }
            "opinion_scale" => {
                let steps = properties.get("steps").and_then(Value::as_i64).unwrap_or(11);
                let start = i64::from(flag(properties, "start_at_one"));
                if !(2..=100).contains(&steps) {
                    return self.damaged(field, "steps");
                }
                Kind::Scale { min: start, max: start + steps - 1, step: 1, labels: self.labels(field) }
            }
            "nps" => Kind::Nps { labels: self.labels(field) },
            "file_upload" => {
                let what = "the file is asked for, and what is told in Typeform's shape is without it";
                self.changed(field.at(), &field.title(), what);
                let several = flag(properties, "allow_multiple");
                Kind::File(FileLimits {
                    photos_only: false,
                    media_types: Vec::new(),
                    max_files: if several { 10 } else { 1 },
                    max_kib: 25_600,
                })
            }
            "statement" => Kind::Statement,
            _ if field.is_group() => {
                self.lost(field.at(), &field.title(), "the group has no fields");
                Kind::Statement
            }
            _ => unsupported(),
        }
    }

    fn number(&mut self, field: &Field<'j>) -> Kind {
        let value = |name: &str| field.json.pointer(&format!("/validations/{name}")).and_then(Value::as_f64);
        let (mut min, mut max) = (value("min_value"), value("max_value"));
        if min.zip(max).is_some_and(|(min, max)| min > max) {
            self.lost(field.at(), &field.title(), "no number could keep its limits; they are ignored");
            (min, max) = (None, None);
        }
        Kind::Number { min, max, integer: false }
    }

    /// "I accept" and "I don't accept" are both answers in Typeform. Where logic looks at the answer both must stay
    /// possible; elsewhere it is a consent to tick.
    fn legal(&mut self, field: &Field<'j>) -> Kind {
        let looked_at = [text(field.json, "ref"), text(field.json, "id")]
            .into_iter()
            .flatten()
            .any(|name| self.tested.contains(name));
        if looked_at {
            self.changed(
                field.at(),
                &field.title(),
                "asked as yes or no, because the form branches on both answers",
            );
            return Kind::YesNo;
        }
        let required = field.json.pointer("/validations/required").and_then(Value::as_bool) == Some(true);
        if required {
            let what = "a consent to tick: who does not accept cannot go on, where Typeform takes “I don't accept” too";
            self.changed(field.at(), &field.title(), what);
        }
        let text = self.description(field);
        let text = text.unwrap_or_else(|| self.plain(&field.at(), &field.title(), &field.title()));
        Kind::Consent { text, version: None, link: None }
    }

    fn labels(&mut self, field: &Field<'j>) -> Labels {
        let labels = field.properties().get("labels").unwrap_or(&Value::Null);
        let mut label =
            |end: &str| text(labels, end).map(|label| self.plain(&field.at(), &field.title(), label));
        Labels { left: label("left"), center: label("center"), right: label("right") }
    }

    fn no_options(&mut self, field: &Field<'j>) -> Kind {
        self.damaged(field, "choices")
    }

    fn damaged(&mut self, field: &Field<'j>, member: &str) -> Kind {
        let what = format!("its “{member}” make no sense, so it cannot be asked");
        self.lost(field.at(), &field.title(), &what);
        Kind::Unsupported { source_type: field.kind.to_owned() }
    }
}

fn part(subfield: &str) -> Option<Part> {
    Some(match subfield {
        "first_name" => Part::FirstName,
        "last_name" => Part::LastName,
        "full_name" | "name" => Part::FullName,
        "email" => Part::Email,
        "phone_number" => Part::Phone,
        "company" => Part::Company,
        "address" => Part::Address,
        "address_line_2" => Part::AddressLine2,
        "city" => Part::City,
        "state" => Part::State,
        "zip_code" => Part::PostalCode,
        "country" => Part::Country,
        _ => return None,
    })
}

//! One question as components: what the phone shows, under which names, and how faithful that is.

mod choice;
mod text;

use serde_json::{Map, Value, json};

use self::choice::wire;
use self::text::{chunks, is_portable, reads_as_code};
pub(super) use self::text::{cut, fixed, text};
use super::names::Names;
use crate::flow::limits;
use crate::flow::plan::{DataKey, Input, Role, WireOption};
use crate::flow::report::{self, Enforced, Grade, Item};
use crate::flow::words::Words;
use crate::form::{Display, FileLimits, Kind, Labels, MEDIA_TYPES, Question, Template, TextLimits};

/// What a picker takes at most (WhatsApp Flows reference, 5.3).
const MAX_FILES: u8 = 30;
const MAX_KIB: u32 = 25_600;
/// Text of one TextBody.
const MAX_BODY: usize = 4096;

/// What one screen asks of a question.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub inputs: Vec<Input>,
    pub components: Vec<Value>,
    pub data: Vec<DataKey>,
    pub sensitive: Vec<String>,
    pub seconds: u32,
}

/// A question made ready for the phone.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// One part per screen; a question of several parts has these screens to itself.
    pub parts: Vec<Part>,
    pub items: Vec<Item>,
    /// Wants a screen of its own.
    pub alone: bool,
    /// Upper bound of the answer in the state, in bytes.
    pub bytes: usize,
}

/// How the question stands on its screen.
#[derive(Clone, Copy)]
pub(super) struct Style {
    pub words: &'static Words,
    /// Inside an `If`: the phone must not insist.
    pub conditional: bool,
}

/// A question for the report, without what has items of its own.
pub(super) fn alone(question: &Question) -> Option<serde_json::Value> {
    report::part(&Question { rules: Vec::new(), visible_if: None, ..question.clone() })
}

/// Makes `question` ready.
pub(super) fn ask(question: &Question, names: &mut Names, style: Style) -> Asked {
    let mut maker = Maker {
        question,
        names,
        words: style.words,
        required: question.required && !style.conditional,
        asked: Asked::default(),
        part: Part::default(),
        grade: Grade::Exact,
        reasons: Vec::new(),
        enforced: if question.kind.is_answered() { Enforced::PhoneAndServer } else { Enforced::Nowhere },
    };
    maker.kind();
    if style.conditional && question.required && question.kind.is_answered() {
        maker.server_only("that it must be answered where it appears is checked after sending");
    }
    maker.finish()
}

struct Maker<'a> {
    question: &'a Question,
    names: &'a mut Names,
    words: &'static Words,
    required: bool,
    asked: Asked,
    part: Part,
    grade: Grade,
    reasons: Vec<String>,
    enforced: Enforced,
}

impl Maker<'_> {
    fn kind(&mut self) {
        match &self.question.kind {
            Kind::ShortText(limits) => self.short_text(limits),
            Kind::LongText(limits) => self.long_text(limits),
            Kind::Email { blocked_domains } => {
                if !blocked_domains.is_empty() {
                    self.server_only("blocked domains are refused after sending");
                }
                self.text_input("email", Role::Answer, 254, None);
            }
            Kind::Phone { .. } => self.text_input("phone", Role::Answer, 40, None),
            Kind::Number { min, max, integer } => {
                if min.is_some() || max.is_some() || *integer {
                    self.server_only("the range is checked after sending");
                }
                self.text_input("number", Role::Answer, 40, None);
            }
            Kind::Url => {
                self.server_only(
                    "the phone has no field for web addresses; the address is checked after sending",
                );
                self.text_input("text", Role::Answer, 2_000, None);
            }
            Kind::Date { min, max } => self.date(min.as_deref(), max.as_deref()),
            Kind::Time { .. } => {
                self.worse(Grade::Substitute, "written as text, since WhatsApp has no time picker");
                self.text_input("text", Role::Answer, 20, Some(self.words.time_hint));
            }
            Kind::DateTime { min, max } => {
                self.worse(Grade::Split, "a date picker and a time written as text");
                self.heading();
                self.help_below_heading();
                let label = self.words.date;
                self.date_picker(label, min.as_deref(), max.as_deref());
                let (label, hint) = (self.words.time, self.words.time_hint);
                self.input_field(
                    "TextInput",
                    label,
                    "time",
                    Role::Time,
                    json!({"input-type": "text", "max-chars": 20, "helper-text": hint}),
                );
            }
            Kind::YesNo => {
                let options = vec![
                    wire("yes", Some("true"), self.words.yes, None),
                    wire("no", Some("false"), self.words.no, None),
                ];
                self.single(options, Display::List, Role::Answer, "");
            }
            Kind::SingleChoice(choice) => self.single_choice(choice),
            Kind::MultipleChoice(choice) => self.multiple_choice(choice),
            Kind::Rating { steps } => self.numbers(1, i64::from(*steps), 1, &Labels::default()),
            Kind::Scale { min, max, step, labels } => self.numbers(*min, *max, *step, labels),
            Kind::Nps { labels } => self.numbers(0, 10, 1, labels),
            Kind::Ranking { options } => self.ranking(options),
            Kind::Matrix { .. } => self.matrix(),
            Kind::File(_) => self.file(),
            Kind::Consent { text, link, .. } => self.consent(text, link.as_deref()),
            Kind::Statement => self.statement(),
            Kind::Unsupported { source_type } => {
                self.worse(
                    Grade::Dropped,
                    &format!(
                        "WhatsApp cannot carry “{source_type}”; people read that it is not possible here"
                    ),
                );
                self.enforced = Enforced::Nowhere;
                self.heading();
                self.help_below_heading();
                let text = self.words.not_here;
                self.part.components.push(json!({"type": "TextBody", "text": text}));
            }
        }
    }

    fn short_text(&mut self, limits: &TextLimits) {
        let max = limits.max_length.unwrap_or(80).clamp(1, 4_096);
        let mut extra = json!({"input-type": "text", "max-chars": max});
        if let Some(min) = limits.min_length.filter(|min| *min > 0) {
            extra["min-chars"] = json!(min);
        }
        self.pattern(limits, Some(&mut extra));
        self.asked.bytes += 4 * max as usize;
        self.titled("TextInput", Role::Answer, extra);
    }

    fn long_text(&mut self, limits: &TextLimits) {
        let max = limits.max_length.unwrap_or(600).clamp(1, 4_096);
        self.pattern(limits, None);
        if limits.min_length.is_some_and(|min| min > 1) {
            self.server_only("the minimum length is checked after sending");
        }
        self.asked.bytes += 4 * max as usize;
        self.titled("TextArea", Role::Answer, json!({"max-length": max}));
    }

    /// A pattern goes to the phone only where both dialects read it alike; the phone then needs a helper text.
    fn pattern(&mut self, limits: &TextLimits, field: Option<&mut Value>) {
        let Some(pattern) = &limits.pattern else { return };
        match (field, &pattern.message) {
            (Some(field), Some(message))
                if is_portable(&pattern.regex)
                    && self.question.help.is_none()
                    && message.chars().count() <= 80 =>
            {
                field["pattern"] = json!(format!("^(?:{})$", pattern.regex));
                field["helper-text"] = json!(fixed(message));
            }
            _ => self.server_only("the pattern is checked after sending"),
        }
    }

    fn text_input(&mut self, input_type: &str, role: Role, max: u32, hint: Option<&str>) {
        let mut extra = json!({"input-type": input_type, "max-chars": max});
        if let (Some(hint), None) = (hint, &self.question.help) {
            extra["helper-text"] = json!(hint);
        }
        self.asked.bytes += 4 * max as usize;
        self.titled("TextInput", role, extra);
    }

    fn date(&mut self, min: Option<&str>, max: Option<&str>) {
        self.asked.bytes += 16;
        let label = self.label("DatePicker", self.words.date);
        self.help_below_heading();
        self.date_picker(&label, min, max);
    }

    fn date_picker(&mut self, label: &str, min: Option<&str>, max: Option<&str>) {
        let mut extra = Map::new();
        for (name, bound) in [("min-date", min), ("max-date", max)] {
            if let Some(bound) = bound {
                extra.insert(name.to_owned(), json!(bound));
            }
        }
        self.input_field("DatePicker", label, "", Role::Answer, Value::Object(extra));
    }

    fn file(&mut self) {
        let Kind::File(limits) = &self.question.kind else { return };
        let (component, min, max) = if limits.photos_only {
            ("PhotoPicker", "min-uploaded-photos", "max-uploaded-photos")
        } else {
            ("DocumentPicker", "min-uploaded-documents", "max-uploaded-documents")
        };
        self.asked.alone = true;
        let most = limits.max_files.clamp(1, MAX_FILES);
        if limits.max_files > MAX_FILES {
            self.worse(Grade::Substitute, "at most 30 files can be sent at a time");
        }
        if limits.max_kib > MAX_KIB {
            self.worse(Grade::Substitute, "a file can have 25 MiB at most");
        }
        // Id, address, name, keys and hashes at their longest, and the numbers between them.
        self.asked.bytes += usize::from(most) * 1_720;
        let mut extra = json!({max: most, "max-file-size-kb": limits.max_kib.clamp(1, MAX_KIB)});
        if self.required {
            extra[min] = json!(1);
        }
        let named: Vec<&str> = MEDIA_TYPES.into_iter().filter(|known| limits.allows(known)).collect();
        let listed = !limits.media_types.is_empty();
        if !limits.photos_only && listed && !named.is_empty() {
            extra["allowed-mime-types"] = json!(named);
        }
        // A photo picker can be told no types, and a document picker only those of its list.
        let is_told = |listed: &String| {
            let only = FileLimits { media_types: vec![listed.clone()], ..limits.clone() };
            !limits.photos_only && MEDIA_TYPES.iter().any(|known| only.allows(known))
        };
        if !limits.media_types.iter().all(is_told) {
            self.server_only("some file types cannot be named to the phone and are checked after sending");
        }
        let label = self.label(component, self.words.file);
        if let Some(help) = self.question.help.clone().filter(|h| !h.trim().is_empty()) {
            self.caption(&help);
        }
        // Pickers know no `required`.
        let required = std::mem::replace(&mut self.required, false);
        self.input_field(component, &label, "", Role::Answer, extra);
        self.required = required;
        if let Some(input) = self.part.inputs.last_mut() {
            input.many = true;
        }
        self.part.sensitive.clear();
    }

    fn consent(&mut self, text: &str, link: Option<&str>) {
        let limit = limits::max_chars("OptIn", "label").unwrap_or(120);
        if !self.question.title.trim().is_empty() && self.question.title.trim() != text.trim() {
            self.heading();
        }
        self.help_below_heading();
        let fits = !text.trim().is_empty() && text.chars().count() <= limit && !reads_as_code(text);
        if !fits && !text.trim().is_empty() {
            for chunk in chunks(text, MAX_BODY) {
                let text = self.text(&chunk, MAX_BODY);
                self.part.components.push(json!({"type": "TextBody", "text": text}));
            }
        }
        let label = if fits { text.to_owned() } else { self.words.agree.to_owned() };
        let mut extra = json!({});
        if let Some(link) = link.filter(|l| l.starts_with("https://")) {
            extra["on-click-action"] = json!({"name": "open_url", "url": link});
        }
        self.asked.bytes += 2;
        self.input_field("OptIn", &label, "", Role::Answer, extra);
        self.part.sensitive.clear();
    }

    fn statement(&mut self) {
        self.heading();
        self.help_below_heading();
    }

    // Texts.

    /// The label of a component: the question where it fits, else the short word with the whole question above.
    fn label(&mut self, component: &str, short: &str) -> String {
        let limit = limits::max_chars(component, "label").unwrap_or(20);
        let title = self.question.title.trim();
        let is_plain = Template::parse(title).recalls().next().is_none();
        if !title.is_empty() && is_plain && !reads_as_code(title) && title.chars().count() <= limit {
            return title.to_owned();
        }
        self.heading();
        short.to_owned()
    }

    /// The whole question text.
    fn heading(&mut self) {
        let title = self.question.title.trim().to_owned();
        if title.is_empty() {
            return;
        }
        if Template::parse(&title).recalls().next().is_some() {
            let text = self.text(&title, MAX_BODY);
            self.part.components.push(json!({"type": "TextBody", "text": text, "font-weight": "bold"}));
            return;
        }
        for chunk in chunks(&title, MAX_BODY) {
            let text = self.text(&chunk, MAX_BODY);
            self.part.components.push(json!({"type": "TextBody", "text": text, "font-weight": "bold"}));
        }
    }

    fn help_below_heading(&mut self) {
        if let Some(help) = self.question.help.clone().filter(|h| !h.trim().is_empty()) {
            self.caption(&help);
        }
    }

    fn caption(&mut self, help: &str) {
        let limit = limits::max_chars("TextCaption", "text").unwrap_or(409);
        let long = help.chars().count() > limit;
        if Template::parse(help).recalls().next().is_some() || !long {
            let component = if long { "TextBody" } else { "TextCaption" };
            let text = self.text(help, if long { MAX_BODY } else { limit });
            self.part.components.push(json!({"type": component, "text": text}));
            return;
        }
        for chunk in chunks(help, MAX_BODY) {
            let text = self.text(&chunk, MAX_BODY);
            self.part.components.push(json!({"type": "TextBody", "text": text}));
        }
    }

    /// A text, bound to a data key when it recalls something.
    fn text(&mut self, template: &str, max_chars: usize) -> Value {
        text(template, max_chars, &mut self.part.data)
    }

    // Inputs.

    fn titled(&mut self, component: &str, role: Role, mut extra: Value) {
        let label = self.label(component, self.words.your_answer);
        let limit = limits::max_chars(component, "helper-text").unwrap_or(80);
        if let Some(help) = self.question.help.clone().filter(|h| !h.trim().is_empty()) {
            let plain = Template::parse(&help).recalls().next().is_none();
            if plain && help.chars().count() <= limit && !reads_as_code(&help) {
                extra["helper-text"] = json!(help);
            } else {
                self.caption(&help);
            }
        }
        self.input_field(component, &label, "", role, extra);
    }

    fn input_field(&mut self, component: &str, label: &str, part: &str, role: Role, extra: Value) -> String {
        self.field(component, label, part, role, Vec::new(), extra)
    }

    fn field(
        &mut self,
        component: &str,
        label: &str,
        part: &str,
        role: Role,
        options: Vec<WireOption>,
        extra: Value,
    ) -> String {
        let name = self.names.input(self.question, part);
        let mut field = json!({"type": component, "name": name, "label": label});
        if self.required {
            field["required"] = json!(true);
        }
        if let (Value::Object(field), Value::Object(extra)) = (&mut field, extra) {
            field.extend(extra);
        }
        if self.question.is_personal() {
            self.part.sensitive.push(name.clone());
        }
        self.part.seconds += match component {
            "TextArea" => 20,
            "TextInput" => 10,
            "PhotoPicker" | "DocumentPicker" => 20,
            _ => 5,
        };
        self.part.components.push(field);
        let many = component == "CheckboxGroup";
        self.part.inputs.push(Input { name: name.clone(), role, many, options });
        name
    }

    // Report.

    fn worse(&mut self, grade: Grade, reason: &str) {
        self.grade = self.grade.max(grade);
        self.reasons.push(reason.to_owned());
    }

    fn server_only(&mut self, reason: &str) {
        self.enforced = Enforced::Server;
        self.worse(Grade::ServerOnly, reason);
    }

    fn item(&mut self, part: &str, title: &str, grade: Grade, reason: &str) {
        let at = format!("question.{}.{part}", self.question.key);
        let title = cut(title, 80);
        let enforced = Enforced::PhoneAndServer;
        self.asked.items.push(Item { at, title, grade, reason: reason.to_owned(), enforced, part: None });
    }

    fn next_screen(&mut self) {
        self.asked.parts.push(std::mem::take(&mut self.part));
    }

    fn finish(mut self) -> Asked {
        if !self.part.components.is_empty() || self.asked.parts.is_empty() {
            self.next_screen();
        }
        self.reasons.dedup();
        let reason =
            if self.reasons.is_empty() { "carried as it is".to_owned() } else { self.reasons.join("; ") };
        let at = format!("question.{}", self.question.key);
        let title = cut(&self.question.title, 80);
        let part = if self.grade == Grade::Exact { None } else { alone(self.question) };
        let (grade, enforced) = (self.grade, self.enforced);
        self.asked.items.insert(0, Item { at, title, grade, reason, enforced, part });
        self.asked.alone |= self.asked.parts.len() > 1 || matches!(self.question.kind, Kind::Matrix { .. });
        self.asked
    }
}

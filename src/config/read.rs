//! Reads keys of a section from the layers environment, file and shipped defaults, and collects every fault.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::fault::{Fault, Place, nearest};

/// Every environment variable that sets a key starts so.
const ENV_PREFIX: &str = "FORMGATE";
/// Separates the names of sections and keys in a variable.
const ENV_SEPARATOR: &str = "__";

/// What all sections share while a configuration is read.
pub(super) struct Context {
    /// The file's text, to turn positions into lines.
    text: String,
    /// Relative paths count from here.
    folder: PathBuf,
    env: BTreeMap<String, String>,
    faults: RefCell<Vec<Fault>>,
    /// Variables that could have been given, to find those that nobody asked for.
    env_asked: RefCell<BTreeSet<String>>,
    /// Keys that were asked for, without indexes: `flow.deliver_to`.
    keys_asked: RefCell<BTreeSet<String>>,
}

impl Context {
    pub(super) fn new(text: String, folder: PathBuf, env: BTreeMap<String, String>) -> Self {
        Self {
            text,
            folder,
            env,
            faults: RefCell::default(),
            env_asked: RefCell::default(),
            keys_asked: RefCell::default(),
        }
    }

    pub(super) fn line(&self, span: &Range<usize>) -> Place {
        let before = self.text.bytes().take(span.start);
        Place::Line(before.filter(|byte| *byte == b'\n').count() + 1)
    }

    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str)
    }

    /// Whether a promise is to be broken. No key of the file answers to such a variable, so no documentation names it.
    #[cfg(feature = "faults")]
    pub(super) fn breaks(&self, promise: &str) -> bool {
        let name = format!("{ENV_PREFIX}_FAULTS{ENV_SEPARATOR}{promise}");
        let is_broken = self.variable(&name) == Some("true");
        self.env_asked.borrow_mut().insert(name);
        is_broken
    }

    /// What else the fault tests want broken; `None` only together with a fault.
    #[cfg(feature = "faults")]
    pub(super) fn orders(&self) -> Option<crate::fault::Orders> {
        let names = ["POINTS", "TIME"].map(|name| format!("{ENV_PREFIX}_FAULTS{ENV_SEPARATOR}{name}"));
        let [points, time] = names.each_ref().map(|name| self.variable(name).unwrap_or_default());
        let orders = crate::fault::Orders::read(points, time);
        let [name, _] = &names;
        self.env_asked.borrow_mut().extend(names.clone());
        let refuse = |error| self.fault("", Place::Variable(name.clone()), format!("{error}"), "Correct it");
        orders.map_err(refuse).ok()
    }

    pub(super) fn fault(
        &self,
        key: impl Into<String>,
        place: Place,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let fault = Fault { key: key.into(), place, reason: reason.into(), fix: fix.into() };
        let mut faults = self.faults.borrow_mut();
        // A key that is read twice, for itself and for a cross check, is still one fault.
        if !faults.contains(&fault) {
            faults.push(fault);
        }
    }

    /// Variables of ours that no key answers to.
    pub(super) fn unknown_variables(&self) {
        let asked = self.env_asked.borrow();
        let separator = format!("{ENV_PREFIX}_");
        for name in self.env.keys() {
            if name.starts_with(&separator) && name.contains(ENV_SEPARATOR) && !asked.contains(name) {
                let fix = match nearest(name, asked.iter().map(String::as_str)) {
                    Some(known) => format!("Did you mean {known}?"),
                    None => "Remove it, or add the section it belongs to".to_owned(),
                };
                self.fault("", Place::Variable(name.clone()), "no key answers to this variable", fix);
            }
        }
    }

    pub(super) fn into_faults(self) -> (Vec<Fault>, BTreeSet<String>) {
        (self.faults.into_inner(), self.keys_asked.into_inner())
    }
}

/// A value as it was given.
#[derive(Clone, Copy)]
pub(super) enum Given<'a> {
    Variable(&'a str),
    Toml(&'a DeValue<'a>),
}

impl Given<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Self::Variable(_) => "string",
            Self::Toml(value) => value.type_str(),
        }
    }
}

/// One table of the configuration, being read.
pub(super) struct Section<'a> {
    pub(super) cx: &'a Context,
    /// As faults name it: `flow[2]`.
    pub(super) path: String,
    /// As [`Context::keys_asked`] names it: `flow`.
    schema: String,
    /// What its variables start with.
    env: Option<String>,
    pub(super) table: Option<&'a DeTable<'a>>,
    pub(super) place: Place,
    defaults: Option<&'a DeTable<'a>>,
    asked: RefCell<Vec<&'static str>>,
}

fn entry<'a>(table: &'a DeTable<'a>, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
}

impl<'a> Section<'a> {
    /// The whole file.
    pub(super) fn root(cx: &'a Context, table: &'a DeTable<'a>, defaults: &'a DeTable<'a>) -> Self {
        Self {
            cx,
            path: String::new(),
            schema: String::new(),
            env: Some(ENV_PREFIX.to_owned()),
            table: Some(table),
            place: Place::Absent,
            defaults: Some(defaults),
            asked: RefCell::default(),
        }
    }

    pub(super) fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn ask(&self, key: &'static str) {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        let schema = if self.schema.is_empty() { key.to_owned() } else { format!("{}.{key}", self.schema) };
        self.cx.keys_asked.borrow_mut().insert(schema);
    }

    fn env_name(&self, key: &str) -> Option<String> {
        let separator = if self.path.is_empty() { "_" } else { ENV_SEPARATOR };
        self.env.as_ref().map(|env| format!("{env}{separator}{}", key.to_uppercase().replace('-', "_")))
    }

    /// The value of a key in the highest layer that has it.
    pub(super) fn given(&self, key: &'static str) -> Option<(Given<'a>, Place)> {
        self.ask(key);
        if let Some(name) = self.env_name(key) {
            let found = self.cx.env.get(&name);
            self.cx.env_asked.borrow_mut().insert(name.clone());
            if let Some(value) = found {
                return Some((Given::Variable(value), Place::Variable(name)));
            }
        }
        if let Some(value) = self.table.and_then(|table| entry(table, key)) {
            return Some((Given::Toml(value.get_ref()), self.cx.line(&value.span())));
        }
        let shipped = self.defaults.and_then(|table| entry(table, key))?;
        Some((Given::Toml(shipped.get_ref()), Place::Absent))
    }

    pub(super) fn fault(&self, key: &str, place: Place, reason: impl Into<String>, fix: impl Into<String>) {
        self.cx.fault(self.key(key), place, reason, fix);
    }

    pub(super) fn wrong_kind(&self, key: &str, place: Place, given: Given<'_>, wanted: &str) {
        self.fault(key, place, format!("is of type {}", given.kind()), format!("Write {wanted}"));
    }

    /// A required key that is not there.
    pub(super) fn missing(&self, key: &str, fix: impl Into<String>) {
        self.fault(key, self.place.clone(), "is missing", fix);
    }

    /// Reports a key that no layer gives; one that has a fault of its own is there.
    pub(super) fn require(&self, key: &'static str, fix: &str) {
        if self.given(key).is_none() {
            self.missing(key, fix);
        }
    }

    /// A string, with where it was given.
    pub(super) fn text(&self, key: &'static str) -> Option<(String, Place)> {
        let (given, place) = self.given(key)?;
        match given {
            Given::Variable(text) => Some((text.to_owned(), place)),
            Given::Toml(DeValue::String(text)) => Some((text.clone().into_owned(), place)),
            other => {
                self.wrong_kind(key, place, other, "a string in quotes");
                None
            }
        }
    }

    /// A string that `parse` understands; its error completes the sentence "`key` …".
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        fix: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, place) = self.text(key)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.fault(key, place, reason, fix);
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let (text, place) = self.text(key)?;
        let chosen = choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        if chosen.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let fix = match nearest(&text, choices.iter().map(|(word, _)| *word)) {
                Some(word) => format!("Did you mean \"{word}\"? It may be {}", words.join(", ")),
                None => format!("It may be {}", words.join(", ")),
            };
            self.fault(key, place, format!("\"{text}\" is not known here"), fix);
        }
        chosen
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        let (given, place) = self.given(key)?;
        match given {
            Given::Variable("true") => Some(true),
            Given::Variable("false") => Some(false),
            Given::Toml(DeValue::Boolean(value)) => Some(*value),
            other => {
                self.wrong_kind(key, place, other, "true or false");
                None
            }
        }
    }

    pub(super) fn integer(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let (given, place) = self.given(key)?;
        let fix = format!("Write a whole number from {} to {}", range.start(), range.end());
        let number = match given {
            Given::Variable(text) => text.parse().ok(),
            Given::Toml(DeValue::Integer(number)) => {
                u64::from_str_radix(number.as_str(), number.radix()).ok()
            }
            other => {
                self.fault(key, place, format!("is of type {}", other.kind()), fix);
                return None;
            }
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.fault(key, place, "is out of range", fix);
        }
        number
    }

    /// A list of strings; in the environment separated by commas.
    pub(super) fn list(&self, key: &'static str) -> Option<Vec<(String, Place)>> {
        let (given, place) = self.given(key)?;
        match given {
            Given::Variable(text) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(items.map(|item| (item.to_owned(), place.clone())).collect())
            }
            Given::Toml(DeValue::Array(items)) => {
                let mut list = Vec::new();
                for item in items.iter() {
                    let place = self.cx.line(&item.span());
                    match item.get_ref() {
                        DeValue::String(text) => list.push((text.clone().into_owned(), place)),
                        other => self.wrong_kind(key, place, Given::Toml(other), "strings in quotes"),
                    }
                }
                Some(list)
            }
            other => {
                self.wrong_kind(key, place, other, "a list of strings: [\"…\"]");
                None
            }
        }
    }

    /// A path, relative to the file, at which something readable stands.
    pub(super) fn existing_file(&self, key: &'static str) -> Option<PathBuf> {
        let (text, place) = self.text(key)?;
        let path = self.cx.resolve(&text);
        if is_file(&path) {
            return Some(path);
        }
        self.fault(
            key,
            place,
            format!("there is no file {}", path.display()),
            "Correct the path; a relative one counts from the configuration file's folder",
        );
        None
    }

    fn child(&self, key: &'static str) -> Self {
        Self {
            cx: self.cx,
            path: self.key(key),
            schema: if self.schema.is_empty() { key.to_owned() } else { format!("{}.{key}", self.schema) },
            env: self.env_name(key),
            table: None,
            place: Place::Absent,
            defaults: None,
            asked: RefCell::default(),
        }
    }

    /// A table under this one. There even if no layer has it: its keys may stand in the environment.
    pub(super) fn section(&self, key: &'static str) -> Self {
        self.ask(key);
        let mut section = self.child(key);
        section.defaults =
            self.defaults.and_then(|table| entry(table, key)).and_then(|value| value.get_ref().as_table());
        if let Some(value) = self.table.and_then(|table| entry(table, key)) {
            section.place = self.cx.line(&value.span());
            section.table = value.get_ref().as_table();
            if section.table.is_none() {
                let given = Given::Toml(value.get_ref());
                self.wrong_kind(key, section.place.clone(), given, &format!("a table: [{}]", section.path));
            }
        }
        section
    }

    /// The tables of an array `[[key]]`; variables reach one by its id.
    pub(super) fn items(&self, key: &'static str) -> Vec<Self> {
        self.ask(key);
        let Some(value) = self.table.and_then(|table| entry(table, key)) else { return Vec::new() };
        let place = self.cx.line(&value.span());
        let DeValue::Array(tables) = value.get_ref() else {
            let given = Given::Toml(value.get_ref());
            self.wrong_kind(key, place, given, &format!("[[{key}]], with two brackets"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, value) in tables.iter().enumerate() {
            let mut section = self.child(key);
            section.path = format!("{key}[{index}]");
            section.place = self.cx.line(&value.span());
            let Some(table) = value.get_ref().as_table() else {
                self.wrong_kind(key, section.place, Given::Toml(value.get_ref()), &format!("[[{key}]]"));
                continue;
            };
            section.table = Some(table);
            let id = entry(table, "id").and_then(|id| id.get_ref().as_str());
            section.env = id
                .zip(self.env_name(key))
                .map(|(id, env)| format!("{env}{ENV_SEPARATOR}{}", id.to_uppercase().replace('-', "_")));
            sections.push(section);
        }
        sections
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for (name, _) in self.table.into_iter().flat_map(DeTable::iter) {
            if !asked.iter().any(|known| known == name.get_ref()) {
                let fix = match nearest(name.get_ref(), asked.iter().copied()) {
                    Some(known) => format!("Did you mean \"{known}\"?"),
                    None => format!("Remove it; known here are {}", asked.join(", ")),
                };
                self.fault(name.get_ref(), self.cx.line(&name.span()), "is not a known key", fix);
            }
        }
    }
}

fn is_file(path: &Path) -> bool {
    path.is_file()
}

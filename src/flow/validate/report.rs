//! What was found, and where.

use std::fmt;

use super::Code;

/// One rule that a document breaks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Meta's code.
    pub code: Code,
    /// Where, like `screens[0].layout.children[2].label`; empty for the document itself.
    pub path: String,
    /// What is wrong and how to fix it.
    pub message: String,
    /// Whether it must be fixed.
    pub severity: Severity,
}

/// Whether a violation must be fixed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// Meta or its client refuses the document, or cuts what it shows.
    Error,
    /// Sources disagree, or it works but probably not as meant.
    Warning,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let path = if self.path.is_empty() { "the document" } else { &self.path };
        write!(formatter, "{severity} {} at {path}: {}", self.code, self.message)
    }
}

/// So many are reported; a document with more is no Flow JSON, and a list of all would be larger than the document.
pub(super) const MAX_VIOLATIONS: usize = 1_000;

/// Collects violations in the order they are found.
#[derive(Default)]
pub(super) struct Report {
    pub(super) violations: Vec<Violation>,
}

impl Report {
    pub(super) fn error(&mut self, code: Code, path: impl fmt::Display, message: impl Into<String>) {
        self.add(code, path, message, Severity::Error);
    }

    pub(super) fn warning(&mut self, code: Code, path: impl fmt::Display, message: impl Into<String>) {
        self.add(code, path, message, Severity::Warning);
    }

    fn add(&mut self, code: Code, path: impl fmt::Display, message: impl Into<String>, severity: Severity) {
        if self.violations.len() == MAX_VIOLATIONS {
            return;
        }
        self.violations.push(Violation { code, path: path.to_string(), message: message.into(), severity });
    }
}

/// A place in the document, written out only when something is wrong there.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    Root,
    At(&'a str),
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    pub(super) fn key(&'a self, key: &'a str) -> Self {
        Self::Key(self, key)
    }

    pub(super) fn index(&'a self, index: usize) -> Self {
        Self::Index(self, index)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::At(path) => formatter.write_str(path),
            Self::Key(Path::Root, key) => formatter.write_str(key),
            Self::Key(parent, key) => write!(formatter, "{parent}.{key}"),
            Self::Index(parent, index) => write!(formatter, "{parent}[{index}]"),
        }
    }
}

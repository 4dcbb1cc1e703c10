//! The fidelity report: how faithfully each part of the form is carried, in the words of the person who owns the form.

use std::fmt;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

/// How faithfully something is carried, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// Same meaning and value set.
    Exact,
    /// One question became several fields or screens.
    Split,
    /// Another control, the value is still valid.
    Substitute,
    /// Not shown on the phone but enforced on every answer.
    ServerOnly,
    /// Leaves WhatsApp.
    LinkOut,
    /// Not carried.
    Dropped,
}

/// Who holds the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enforced {
    /// The phone warns before sending, the server checks again.
    PhoneAndServer,
    /// The server checks.
    Server,
    /// Nothing to enforce.
    Nowhere,
}

/// How one part of the form is carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// Which part: `question.KEY`, `question.KEY.option.ID`, `question.KEY.row.ID`, `question.KEY.rule.N`,
    /// `question.KEY.visible_if`, `page.ID.rule.N`, `page.ID.visible_if`, `ending.KEY`, `hidden.NAME`,
    /// `variable.NAME`.
    pub at: String,
    /// The text people know it by.
    pub title: String,
    /// How faithfully.
    pub grade: Grade,
    /// Why, in plain words.
    pub reason: String,
    /// Who holds its rules.
    pub enforced: Enforced,
    /// The part as `schemas/form.schema.json` writes it, where the document does not hold all of it: of a question without
    /// its rules and its condition, which have items of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<Value>,
}

/// The report of one compilation. `schemas/report.schema.json` is the same shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What people call the form.
    pub title: String,
    /// The worst grade of all items.
    pub grade: Grade,
    /// How many screens the flow has.
    pub screens: usize,
    /// Most screens one person can see without going back.
    pub longest_walk: usize,
    /// How long the longest walk takes, estimated.
    pub seconds: u32,
    /// Upper bound of the sealed state, in bytes.
    pub state_bytes: usize,
    /// What must be resolved before the flow may be published.
    pub blockers: Vec<String>,
    /// Good to know.
    pub advice: Vec<String>,
    /// Every question, option, row, rule, condition, ending, hidden value and variable.
    pub items: Vec<Item>,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Grade::Exact => "exact",
            Grade::Split => "split",
            Grade::Substitute => "substitute",
            Grade::ServerOnly => "server-only",
            Grade::LinkOut => "link-out",
            Grade::Dropped => "dropped",
        })
    }
}

/// A part of the form for [`Item::part`].
pub(super) fn part(of: &impl Serialize) -> Option<Value> {
    serde_json::to_value(of).ok()
}

impl Report {
    /// Adds what the reader of the source could not carry (`lost`) or carried in another way.
    pub fn note(&mut self, at: &str, title: &str, reason: &str, lost: bool) {
        let grade = if lost { Grade::Dropped } else { Grade::Substitute };
        self.grade = self.grade.max(grade);
        self.items.push(Item {
            at: at.to_owned(),
            title: title.to_owned(),
            grade,
            reason: reason.to_owned(),
            enforced: Enforced::Nowhere,
            part: None,
        });
    }

    /// The report for a terminal: the summary, what blocks, and everything that is not carried exactly.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "{}: {} screens, at most {} for one person, about {} seconds. Worst grade: {}.\n",
            self.title, self.screens, self.longest_walk, self.seconds, self.grade
        );
        for blocker in &self.blockers {
            let _ = writeln!(text, "  blocks publishing: {blocker}");
        }
        for advice in &self.advice {
            let _ = writeln!(text, "  note: {advice}");
        }
        for item in self.items.iter().filter(|item| item.grade != Grade::Exact) {
            // A title may have several lines.
            let title = item.title.split_whitespace().collect::<Vec<_>>().join(" ");
            let _ = writeln!(text, "  {:<11} {} ({title}): {}", item.grade, item.at, item.reason);
        }
        text
    }
}

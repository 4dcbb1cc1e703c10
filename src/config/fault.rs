//! What is wrong with a configuration, in words for the person who wrote it.

use std::fmt;

/// Where a key was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On this line of the file.
    Line(usize),
    /// In this environment variable.
    Variable(String),
    /// Nowhere: it is missing, or the fault is about the whole.
    Absent,
}

/// One thing to put right. Nothing here is for a program to decide on, so reason and fix are prose; neither ever quotes
/// a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key: `flow[2].deliver_to`, counted from 0.
    pub key: String,
    /// Where it was given.
    pub place: Place,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub fix: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.key.is_empty() { "the configuration" } else { &self.key })?;
        match &self.place {
            Place::Line(line) => write!(f, " (line {line})")?,
            Place::Variable(name) => write!(f, " ({name})")?,
            Place::Absent => {}
        }
        write!(f, ": {}. {}", self.reason, self.fix)
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub(super) Vec<Fault>);

impl Faults {
    /// The faults, in the order of the file's sections.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} {}", if count == 1 { "fault" } else { "faults" })?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for Faults {}

/// The candidate that a person most likely meant, if one is near.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, one row at a time.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, b) in row.iter_mut().skip(1).zip(&to) {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = *cell;
            left = substituted.min(left + 1).min(*cell + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_and_a_far_one_is_not() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(nearest("lisen", ["listen", "admin_listen", "tls"]), Some("listen"));
        assert_eq!(nearest("delivery_to", ["deliver_to", "definition"]), Some("deliver_to"));
        assert_eq!(nearest("colour", ["listen", "tls"]), None);
    }
}

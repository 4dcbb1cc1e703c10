//! Names the phone sees: input names and option ids, derived from the source's stable references.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::form::{Kind, Question};

/// Longest part of a source reference that is kept readable.
const READABLE: usize = 24;

/// Gives out names and remembers which are taken.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: BTreeSet<String>,
}

impl Names {
    /// `q_<reference>_<family>`, with a suffix that tells the part of the answer. The family keeps a question that changed
    /// its type from meeting its older self in the data of an older version (design decision 2, names).
    pub(super) fn input(&mut self, question: &Question, part: &str) -> String {
        let mut name = format!("q_{}_{}", readable(&question.key), family(&question.kind));
        if !part.is_empty() {
            name.push('_');
            name.push_str(&readable(part));
        }
        if !self.taken.insert(name.clone()) {
            // Two references that read alike: the digest of the exact reference tells them apart for ever.
            name = format!("{name}_{}", digest(&format!("{}\0{part}", question.key)));
            self.taken.insert(name.clone());
        }
        name
    }
}

/// Ids for options: the source's where it is short and plain, else one derived from it. `other` is kept free.
pub(super) fn option_ids<'a>(sources: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = BTreeSet::from([OTHER.to_owned()]);
    sources
        .map(|source| {
            let plain = !source.is_empty() && source.len() <= 64 && source.bytes().all(is_plain);
            let mut id = if plain { source.to_owned() } else { format!("o_{}", digest(source)) };
            while !taken.insert(id.clone()) {
                id.push('_');
            }
            id
        })
        .collect()
}

/// Id of the "other" option.
pub(super) const OTHER: &str = "other";

/// Screen ids may hold only letters and underscores (WhatsApp Flows reference, 4.3): `SCREEN_A` … `SCREEN_Z`, `SCREEN_BA` …
pub(super) fn screen(prefix: &str, mut number: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(char::from(b'A' + u8::try_from(number % 26).unwrap_or(0)));
        number /= 26;
        if number == 0 {
            break;
        }
    }
    letters.push('_');
    prefix.chars().chain(letters.into_iter().rev()).collect()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn readable(reference: &str) -> String {
    let changed =
        reference.len() > READABLE || !reference.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let mut name: String =
        reference.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(READABLE).collect();
    if changed {
        if !name.is_empty() {
            name.push('_');
        }
        name.push_str(&digest(reference));
    }
    name
}

/// Eight hexadecimal digits of a SHA-256.
pub(super) fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn family(kind: &Kind) -> &'static str {
    match kind {
        Kind::MultipleChoice(_) | Kind::File(_) | Kind::Matrix { multiple: true, .. } => "many",
        Kind::Consent { .. } => "bool",
        Kind::SingleChoice(_) | Kind::YesNo | Kind::Ranking { .. } | Kind::Matrix { .. } => "one",
        Kind::Rating { .. } | Kind::Scale { .. } | Kind::Nps { .. } | Kind::Number { .. } => "number",
        _ => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn screens_are_numbered_in_letters() {
        assert_eq!(screen("SCREEN", 0), "SCREEN_A");
        assert_eq!(screen("SCREEN", 25), "SCREEN_Z");
        assert_eq!(screen("SCREEN", 26), "SCREEN_BA");
    }

    #[test]
    fn option_ids_stay_unique_and_never_take_the_name_of_other() {
        let ids = option_ids(["other", "a b", "red", "a b!"].into_iter());
        assert_eq!(ids[0], "other_");
        assert_eq!(ids[2], "red");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 4);
    }
}

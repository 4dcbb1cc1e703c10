//! What the tests of every reader need: real definitions, where they stand beside the checkout, and ways to damage one.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

/// The real definitions in this folder, with their names; none where there are none.
pub fn files(folder: &str) -> Vec<(String, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folders = ["../shared/forms", "../../shared/forms"].map(|shared| root.join(shared).join(folder));
    let folder = folders.iter().find_map(|folder| folder.read_dir().ok());
    let files = folder.into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = || std::fs::read_to_string(entry.path()).expect("a readable file");
        name.ends_with(".json").then(|| (name.clone(), text()))
    });
    files.collect()
}

/// Every path of a document, so that a test can damage any of it.
pub fn paths(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| paths(item, &format!("{at}/{index}"), found));
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, item)| paths(item, &format!("{at}/{name}"), found));
        }
        _ => {}
    }
}

/// The texts that the arms of a `match` in a source begin with, so that a table of tests can be held against all that is
/// known there.
pub fn arms<'s>(source: &'s str, beginning: &str) -> BTreeSet<&'s str> {
    let from = source.find(beginning).unwrap_or_else(|| panic!("no {beginning}"));
    let body = source.get(from..).unwrap_or_default();
    let indent = body.lines().nth(1).map_or(0, |line| line.len() - line.trim_start().len());
    let arms = body
        .lines()
        .skip(1)
        .take_while(|line| line.trim().is_empty() || line.len() - line.trim_start().len() >= indent);
    arms.filter(|line| line.len() - line.trim_start().len() == indent && line.trim_start().starts_with('"'))
        .filter_map(|line| line.split_once(" =>"))
        .flat_map(|(words, _)| words.split('|').map(|word| word.trim().trim_matches('"')))
        .collect()
}

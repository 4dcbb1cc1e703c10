//! What the tests of every reader need: real definitions, where they stand beside the checkout, and ways to damage one.

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

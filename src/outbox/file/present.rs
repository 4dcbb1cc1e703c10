//! What a submission tells of its files: never where they lie at Meta's, and never the keys.

use serde_json::{Map, Value, json};

use super::{KIND, Known, State};
use crate::outbox::{Answer, Error, Outbox, Submission};

/// How a file is written where there is room for a text only: as its link, or with the reason why there is none. `None` for
/// an answer that is no file.
#[must_use]
pub fn file_text(answer: &Answer) -> Option<String> {
    if answer.kind != KIND {
        return None;
    }
    let one = |item: &Value| {
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        let name = text("name").unwrap_or_default();
        match (text("url"), text("refused")) {
            (Some(url), _) => url.to_owned(),
            (None, Some(refused)) => format!("{name} (refused: {refused})"),
            (None, None) => name.to_owned(),
        }
    };
    let items = answer.value.as_array().map(Vec::as_slice).unwrap_or_default();
    Some(items.iter().map(one).collect::<Vec<_>>().join(", "))
}

impl Outbox {
    /// Replaces what the stored submission has of its files by what became of them.
    pub(in crate::outbox) async fn present_files(&self, submission: &mut Submission) -> Result<(), Error> {
        if !submission.answers.iter().any(|answer| answer.kind == KIND) {
            return Ok(());
        }
        let id = submission.id;
        let known = self.known_files(id).await?.map(|(known, _)| known);
        let mut number = 0;
        for answer in submission.answers.iter_mut().filter(|answer| answer.kind == KIND) {
            let Value::Array(items) = &mut answer.value else {
                // Nothing that was ever stored so, but nothing that may be told either.
                answer.value = Value::Null;
                continue;
            };
            for item in items {
                let name = item.get("file_name").cloned().unwrap_or_default();
                let link = self.files.as_ref().and_then(|files| files.link(id, number));
                let state = known.as_ref().and_then(|known: &Known| known.files.get(usize::from(number)));
                *item = Value::Object(told(name, state, link));
                number += 1;
            }
        }
        Ok(())
    }
}

/// A hash, as submissions tell it.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn told(name: Value, state: Option<&State>, link: Option<(String, String)>) -> Map<String, Value> {
    let mut told = Map::new();
    let mut tell = |name: &str, value: Value| drop(told.insert(name.to_owned(), value));
    tell("name", name);
    match state {
        Some(State::Refused(refusal)) => {
            tell("refused", json!(refusal.name()));
            tell("reason", json!(refusal.to_string()));
            return told;
        }
        Some(State::Kept(kept)) => {
            tell("mime_type", json!(kept.media_type));
            tell("size_bytes", json!(kept.size_bytes));
            tell("sha256", json!(hex(&kept.sha256)));
        }
        Some(State::Pending) | None => tell("pending", json!(true)),
    }
    if let Some((url, expires_at)) = link {
        tell("url", json!(url));
        tell("expires_at", json!(expires_at));
    }
    told
}

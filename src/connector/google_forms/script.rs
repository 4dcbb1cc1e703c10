//! Grade A for Google: a response by a script of the form's owner (form tools reference 2.3). Google's REST API has no
//! such call; Apps Script has, inside the owner's account. The script that the owner pastes is made here.
//!
//! Invariant: delivered is only what the script said, in JSON and naming the submission. The script knows each
//! submission's id and takes it once, so every doubt is settled by asking again.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::source::{Asked, Body, Shape, Source, Style, What};
use super::{page, parse, recognise, recognise_page};
use crate::connector::ImportError;
use crate::form::{Form, Kind};
use crate::outbox::Answer;

/// The items of a Google form that can be answered, by the keys of their questions.
pub struct Items {
    /// The form's id for a script; none: the form that the script belongs to.
    id: Option<String>,
    title: String,
    items: BTreeMap<String, Item>,
}

/// An item.
struct Item {
    id: u64,
    title: String,
    what: Place,
}

/// How its answer is written.
enum Place {
    Text,
    Number,
    One,
    Several,
    Date {
        time: bool,
    },
    Time,
    /// The ids of its rows, in their order.
    Grid {
        rows: Vec<Option<String>>,
        multiple: bool,
    },
    File,
}

impl Items {
    /// Reads the definition that the flow was made from.
    ///
    /// # Errors
    /// [`ImportError`], as when the form is imported.
    pub fn read(definition: &[u8]) -> Result<Items, ImportError> {
        let json = parse(definition)?;
        let source = if json.is_array() {
            recognise_page(&json)?;
            page::source(&json)
        } else {
            recognise(&json)?;
            super::api::source(&json)
        };
        Ok(Items::of(&source))
    }

    fn of(source: &Source) -> Items {
        let mut items = BTreeMap::new();
        for item in &source.items {
            let Some(id) = item.id.as_deref().and_then(|id| u64::from_str_radix(id, 16).ok()) else {
                continue;
            };
            let title = item.title.clone().unwrap_or_default();
            let (key, what) = match &item.body {
                Body::Question(Asked { id: Some(question), what, .. }) => {
                    let Some(what) = place(what) else { continue };
                    (question.clone(), what)
                }
                Body::Grid(grid) => {
                    let rows = grid.rows.iter().map(|row| row.id.clone()).collect();
                    let Some(key) = item.id.clone() else { continue };
                    (key, Place::Grid { rows, multiple: grid.multiple })
                }
                _ => continue,
            };
            items.insert(key, Item { id, title, what });
        }
        Items {
            // The public page has another id, which no script can open a form by.
            id: source.id.clone().filter(|_| source.shape == Shape::Api),
            title: source.title.clone().unwrap_or_default(),
            items,
        }
    }

    /// Whether the flow's form can be answered by a script.
    ///
    /// # Errors
    /// Why not, in the words of the form's owner.
    pub fn fit(&self, form: &Form) -> Result<(), String> {
        for (_, question) in form.questions().filter(|(_, question)| question.kind.is_answered()) {
            let title = &question.title;
            match self.items.get(&question.key) {
                Some(Item { what: Place::File, .. }) if question.required => {
                    return Err(format!("“{title}” requires a file, which no script can hand in"));
                }
                Some(_) => {}
                None if question.key == "emailAddress" => {
                    return Err(
                        "the form collects e-mail addresses, which no script can fill in: switch that off in its settings and ask for the address in a question"
                            .to_owned(),
                    );
                }
                None if matches!(question.kind, Kind::File(_)) && !question.required => {}
                None => return Err(format!("“{title}” has no id of Google's, so a script cannot find it")),
            }
        }
        Ok(())
    }

    /// The titles of the questions whose files are not handed on.
    pub fn left_out(&self) -> impl Iterator<Item = &str> {
        let files = self.items.values().filter(|item| matches!(item.what, Place::File));
        files.map(|item| item.title.as_str())
    }

    /// The script that the owner of the form pastes. It holds a hash of the secret.
    #[must_use]
    pub fn script(&self, secret: &SecretString) -> String {
        let mut hash = String::new();
        for byte in Sha256::digest(secret.expose_secret().as_bytes()) {
            // A String takes everything.
            let _written = write!(hash, "{byte:02x}");
        }
        let (place, id) = match &self.id {
            Some(id) => {
                ("Open https://script.google.com, as someone who may edit the form: New project.", json!(id))
            }
            None => ("Open the form in Google Forms: the menu of three dots, Apps Script.", Value::Null),
        };
        // Nothing may end the comment that the title stands in, nor the script that the id does.
        let title: String = self.title.chars().filter(|c| !c.is_control()).collect();
        include_str!("script.js")
            .replace("{{title}}", &title.replace("*/", "* /").replace("{{", "{ {"))
            .replace("{{place}}", place)
            .replace("{{form_id}}", &id.to_string())
            .replace("{{secret_sha256}}", &hash)
    }

    /// The items of the message, or which answer has no place and why.
    pub(super) fn message(&self, answers: &[Answer]) -> Result<Vec<Value>, String> {
        let mut message = Vec::new();
        for answer in answers {
            let item = self.items.get(&answer.key).ok_or_else(|| {
                format!(
                    "the form has no question {} that a script could answer; read it again, then replay",
                    answer.key
                )
            })?;
            if matches!(item.what, Place::File) {
                continue;
            }
            let value = item.what.value(answer);
            let value = value.ok_or_else(|| {
                format!("the answer to “{}” does not fit its question in Google", item.title)
            })?;
            message.push(json!({"id": item.id, "value": value}));
        }
        Ok(message)
    }

    pub(super) fn title_of(&self, id: &Value) -> Option<&str> {
        let id = id.as_u64()?;
        self.items.values().find(|item| item.id == id).map(|item| item.title.as_str())
    }
}

fn place(what: &What) -> Option<Place> {
    Some(match what {
        What::Text { .. } => Place::Text,
        What::Choice { style: Style::Checkbox, .. } => Place::Several,
        What::Choice { .. } => Place::One,
        What::Scale { .. } | What::Rating { .. } => Place::Number,
        What::Date { time, .. } => Place::Date { time: *time },
        What::Time { .. } => Place::Time,
        What::File { .. } => Place::File,
        What::Damaged(_) | What::Unknown(_) => return None,
    })
}

impl Place {
    fn value(&self, answer: &Answer) -> Option<Value> {
        let value = &answer.value;
        match self {
            Self::Text => match value {
                Value::String(_) => Some(value.clone()),
                Value::Number(number) => Some(number.to_string().into()),
                _ => None,
            },
            Self::Number => value.is_number().then(|| value.clone()),
            Self::One => value.is_string().then(|| value.clone()),
            Self::Several => match value {
                Value::Array(items) if items.iter().all(Value::is_string) => Some(value.clone()),
                _ => None,
            },
            Self::Date { time } => {
                let text = value.as_str()?;
                let (date, clock) =
                    text.split_once('T').map_or((text, None), |(date, clock)| (date, Some(clock)));
                let mut numbers = numbers(date, '-', 3)?;
                match (time, clock) {
                    (true, Some(clock)) => numbers.extend(self::numbers(clock, ':', 2)?),
                    (false, None) => {}
                    _ => return None,
                }
                Some(numbers.into())
            }
            Self::Time => {
                let text = value.as_str()?;
                let parts = text.split(':').count();
                (2..=3).contains(&parts).then_some(())?;
                Some(numbers(text, ':', parts)?.into())
            }
            Self::Grid { rows, multiple } => {
                let chosen = value.as_object()?;
                let known = |id: &String| rows.iter().flatten().any(|row| row == id);
                chosen.keys().all(known).then_some(())?;
                let row = |id: &Option<String>| grid_row(chosen, id.as_ref(), *multiple);
                Some(rows.iter().map(row).collect::<Option<Vec<_>>>()?.into())
            }
            Self::File => None,
        }
    }
}

/// What a row of a grid was answered; null where it was not.
fn grid_row(chosen: &Map<String, Value>, id: Option<&String>, multiple: bool) -> Option<Value> {
    let Some(chosen) = id.and_then(|id| chosen.get(id)) else { return Some(Value::Null) };
    let columns = chosen.as_array()?;
    columns.iter().all(Value::is_string).then_some(())?;
    match (multiple, columns.as_slice()) {
        (_, []) => Some(Value::Null),
        (true, columns) => Some(columns.to_vec().into()),
        (false, [column]) => Some(column.clone()),
        (false, _) => None,
    }
}

fn numbers(text: &str, by: char, count: usize) -> Option<Vec<u32>> {
    let numbers: Vec<u32> = text.split(by).map(|part| part.parse().ok()).collect::<Option<_>>()?;
    (numbers.len() == count).then_some(numbers)
}

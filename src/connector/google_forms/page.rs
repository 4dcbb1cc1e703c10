//! `FB_PUBLIC_LOAD_DATA_`, the array in the public page of a form.
//!
//! Google documents none of it. The places are those that captured pages and independent readers agree on; ids are decimal
//! here and hexadecimal in the API, so that both shapes of one form give the same keys.

use serde_json::Value;

use super::source::{Asked, Body, Choosable, Email, Goto, Grid, Item, Row, Shape, Source, Style, What};

/// The array within a page that was saved as it is, or the array itself.
pub(super) fn find(text: &str) -> Option<Value> {
    let (_, after) = text.split_once("FB_PUBLIC_LOAD_DATA_")?;
    let array = &after[after.find('[')?..];
    serde_json::Deserializer::from_str(array).into_iter().next()?.ok()
}

/// The list of items, where page data has it.
pub(super) fn items(json: &Value) -> Option<&[Value]> {
    json.get(1)?.get(1)?.as_array().map(Vec::as_slice)
}

pub(super) fn source(json: &Value) -> Source {
    let form = json.get(1).unwrap_or(&Value::Null);
    let path = words(json, 14);
    Source {
        shape: Shape::Page,
        id: path.map(|path| path.strip_prefix("e/").map(str::to_owned).unwrap_or(path)),
        title: words(form, 8).or_else(|| words(json, 3)),
        description: words(form, 0),
        email: match form.get(10).and_then(|settings| settings.get(6)).and_then(Value::as_u64) {
            Some(1) => Email::No,
            Some(2) => Email::Verified,
            Some(3) => Email::Asked,
            _ => Email::Unknown,
        },
        confirmation: form.get(2).and_then(|confirmation| words(confirmation, 0)),
        closed: false,
        items: items(json).unwrap_or_default().iter().map(item).collect(),
    }
}

/// A text with something in it.
fn words(json: &Value, index: usize) -> Option<String> {
    json.get(index)?.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

/// The API's id for a number of the page.
fn id(json: &Value, index: usize) -> Option<String> {
    Some(format!("{:08x}", json.get(index)?.as_u64()?))
}

/// Pages write 0 and 1, other places of Google the same arrays with true and false.
fn is_set(json: Option<&Value>) -> bool {
    json.is_some_and(|value| value.as_bool() == Some(true) || value.as_u64() == Some(1))
}

fn array(json: &Value, index: usize) -> &[Value] {
    json.get(index).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn item(json: &Value) -> Item {
    let entries = array(json, 4);
    let entry = entries.first().unwrap_or(&Value::Null);
    let body = match json.get(3).and_then(Value::as_u64) {
        Some(6) => Body::Text,
        Some(7) => Body::Grid(grid(json, entries)),
        Some(8) => Body::Section { after_previous: json.get(5).and_then(goto) },
        Some(11) => Body::Image { alternative: None },
        Some(12) => {
            let film = json.get(6).and_then(|media| words(media, 3));
            let address = film.map(|film| format!("https://www.youtube.com/watch?v={film}"));
            Body::Video { address, caption: None }
        }
        Some(kind @ (0..=5 | 9 | 10 | 13 | 18)) => Body::Question(Asked {
            id: id(entry, 0),
            required: is_set(entry.get(2)),
            what: what(kind, entry),
            checks: array(entry, 4).to_vec(),
            // Right answers are not in the public page.
            graded: false,
        }),
        Some(kind) => Body::Unknown(format!("type {kind}")),
        None => Body::Unknown("item".to_owned()),
    };
    Item {
        id: id(json, 0),
        title: words(json, 1),
        description: words(json, 2),
        picture: !matches!(body, Body::Image { .. } | Body::Video { .. }) && !array(json, 9).is_empty(),
        body,
    }
}

fn what(kind: u64, entry: &Value) -> What {
    let options = || array(entry, 1).iter().map(option).collect();
    let shuffled = is_set(entry.get(8));
    let numbers: Vec<Option<i64>> =
        array(entry, 1).iter().map(|option| words(option, 0)?.trim().parse().ok()).collect();
    let ends = || numbers.first().copied().flatten().zip(numbers.last().copied().flatten());
    match kind {
        0 => What::Text { paragraph: false },
        1 => What::Text { paragraph: true },
        2 => What::Choice { style: Style::Radio, options: options(), shuffled },
        3 => What::Choice { style: Style::Dropdown, options: options(), shuffled },
        4 => What::Choice { style: Style::Checkbox, options: options(), shuffled },
        5 => match ends() {
            Some((low, high)) => {
                let label = |index| entry.get(3).and_then(|labels| words(labels, index));
                What::Scale { low, high, labels: [label(0), label(1)] }
            }
            None => What::Damaged("numbers"),
        },
        18 => match ends() {
            Some((1, steps)) => {
                let icon = entry.get(14).and_then(|icon| icon.get(0)).and_then(Value::as_u64);
                What::Rating { steps, stars: matches!(icon, None | Some(1)) }
            }
            _ => What::Damaged("numbers"),
        },
        9 => {
            let parts = entry.get(7).unwrap_or(&Value::Null);
            let year = parts.get(1).is_none_or(|year| is_set(Some(year)));
            What::Date { time: is_set(parts.get(0)), year }
        }
        10 => What::Time { duration: is_set(entry.get(6).and_then(|duration| duration.get(0))) },
        _ => What::File { types: Vec::new(), most: None, bytes: None },
    }
}

fn option(json: &Value) -> Choosable {
    // Captured pages have the target third; one reader of such pages reports it sixth, where others have the picture.
    let goto = json.get(2).and_then(goto).or_else(|| json.get(5).and_then(goto));
    Choosable {
        // Not trimmed: a response must hold the value to the letter.
        value: words(json, 0),
        other: is_set(json.get(4)),
        picture: !array(json, 5).is_empty(),
        goto,
    }
}

/// A positive number is a section. Captured pages have -2 for "go on" and -3 for "submit".
fn goto(json: &Value) -> Option<Goto> {
    Some(match json.as_i64()? {
        0 => return None,
        -2 => Goto::Next,
        -3 => Goto::Submit,
        section if section > 0 => Goto::Section(format!("{section:08x}")),
        other => Goto::Unknown(other.to_string()),
    })
}

fn grid(json: &Value, entries: &[Value]) -> Grid {
    let first = entries.first().unwrap_or(&Value::Null);
    Grid {
        rows: entries
            .iter()
            .map(|row| Row {
                id: id(row, 0),
                title: row.get(3).and_then(|label| words(label, 0)),
                required: is_set(row.get(2)),
            })
            .collect(),
        columns: array(first, 1).iter().map(option).collect(),
        multiple: is_set(first.get(11).and_then(|several| several.get(0))),
        shuffled: is_set(json.get(7)),
        checks: array(json, 8).to_vec(),
        graded: false,
    }
}

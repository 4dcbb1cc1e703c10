//! What the public page of a form shows of it, made from the definition that the API tells: `FB_PUBLIC_LOAD_DATA_`.
//!
//! Ids are hexadecimal in the API and decimal in the page. What the API hides, such as where a section leads by default,
//! is not there.

use serde_json::{Map, Value, json};

/// The page's array for a definition of the API's.
pub(in crate::sandbox) fn page_data(definition: &Value) -> Value {
    let items: Vec<Value> = list(&definition["items"]).iter().filter_map(item).collect();
    let info = &definition["info"];
    let email = match definition["settings"]["emailCollectionType"].as_str() {
        Some("RESPONDER_INPUT") => 3,
        Some("VERIFIED") => 2,
        _ => 1,
    };
    let settings =
        [Value::Null, Value::Null, Value::Null, Value::Null, Value::Null, Value::Null, json!(email)];
    let form = json!([
        info["description"],
        items,
        [info["confirmation"]],
        null,
        null,
        null,
        null,
        null,
        info["title"],
        null,
        settings,
    ]);
    let name = info["documentTitle"].as_str().or(info["title"].as_str());
    let mut data = vec![Value::Null; 15];
    data[1] = form;
    data[3] = json!(name);
    data[14] = json!(format!("e/{}", definition["formId"].as_str().unwrap_or_default()));
    Value::Array(data)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn number(id: &Value) -> Value {
    id.as_str().and_then(|id| u64::from_str_radix(id, 16).ok()).map_or(Value::Null, Value::from)
}

fn item(item: &Value) -> Option<Value> {
    let (id, title, description) = (number(&item["itemId"]), &item["title"], &item["description"]);
    let of = |kind: u64, entries: Vec<Value>| json!([id, title, description, kind, entries]);
    if let Some(asked) = item.pointer("/questionItem/question") {
        let (kind, entry) = question(asked)?;
        return Some(of(kind, vec![entry]));
    }
    if let Some(group) = item.get("questionGroupItem") {
        let several = u64::from(group["grid"]["columns"]["type"] == "CHECKBOX");
        let columns: Vec<Value> = list(&group["grid"]["columns"]["options"])
            .iter()
            .map(|column| json!([column["value"]]))
            .collect();
        let row = |row: &Value| {
            let mut entry = vec![Value::Null; 12];
            entry[0] = number(&row["questionId"]);
            entry[1] = json!(columns);
            entry[2] = json!(u64::from(row["required"] == true));
            entry[3] = json!([row["rowQuestion"]["title"]]);
            entry[11] = json!([several]);
            Value::Array(entry)
        };
        return Some(of(7, list(&group["questions"]).iter().map(row).collect()));
    }
    if item.get("pageBreakItem").is_some() {
        return Some(json!([id, title, description, 8, null, null]));
    }
    let kind = ["textItem", "imageItem", "videoItem"].iter().zip([6, 11, 12]);
    let (_, kind) = kind.into_iter().find(|(name, _)| item.get(**name).is_some())?;
    Some(json!([id, title, description, kind]))
}

/// Its kind in the page, and its entry.
fn question(asked: &Value) -> Option<(u64, Value)> {
    let mut entry = vec![Value::Null; 12];
    entry[0] = number(&asked["questionId"]);
    entry[2] = json!(u64::from(asked["required"] == true));
    let asked: &Map<String, Value> = asked.as_object()?;
    let flag = |of: &Value, name: &str| u64::from(of[name] == true);
    let steps = |from: u64, to: u64| (from..=to).map(|step| json!([step.to_string()])).collect::<Vec<_>>();
    let (name, what) = asked.iter().find(|(name, _)| name.ends_with("Question"))?;
    let kind = match name.as_str() {
        "textQuestion" => flag(what, "paragraph"),
        "choiceQuestion" => {
            entry[1] = list(&what["options"]).iter().map(option).collect();
            match what["type"].as_str()? {
                "RADIO" => 2,
                "DROP_DOWN" => 3,
                _ => 4,
            }
        }
        "scaleQuestion" => {
            entry[1] = json!(steps(what["low"].as_u64().unwrap_or(0), what["high"].as_u64()?));
            entry[3] = json!([what["lowLabel"], what["highLabel"]]);
            5
        }
        "ratingQuestion" => {
            entry[1] = json!(steps(1, what["ratingScaleLevel"].as_u64()?));
            18
        }
        "dateQuestion" => {
            entry[7] = json!([flag(what, "includeTime"), flag(what, "includeYear")]);
            9
        }
        "timeQuestion" => {
            entry[6] = json!([flag(what, "duration")]);
            10
        }
        "fileUploadQuestion" => 13,
        _ => return None,
    };
    Some((kind, Value::Array(entry)))
}

fn option(option: &Value) -> Value {
    let target = match (option["goToAction"].as_str(), option["goToSectionId"].as_str()) {
        (Some("NEXT_SECTION"), _) => json!(-2),
        (Some("SUBMIT_FORM"), _) => json!(-3),
        (_, Some(_)) => number(&option["goToSectionId"]),
        _ => Value::Null,
    };
    let text = option["value"].as_str().unwrap_or_default();
    json!([text, null, target, null, u64::from(option["isOther"] == true)])
}

//! What a person means in the fixture's survey, how a phone writes it, and what the survey's own form would store.

use formgate::flow::plan::{Content, Input, Plan, Role};
use formgate::form::Walker;
use serde_json::{Map, Value, json};

/// What a person means, by the key of the question. `{"ids": […], "other": …}` is a choice with words of one's own.
pub fn meant() -> Value {
    json!({
        "100": {"ids": [], "other": "The radio"},
        "101": "1103",
        "102": "1201",
        "102/other-1210": "It was fun.",
        "103": {"ids": ["1301", "1303"], "other": "Music"},
        "104": ["1402"],
        "200": {"2001": "2052", "2002": "2059"},
        "201": {"2101": "2151"},
        "201/row-2101/other-2190": "Cold",
        "202": {"2201": ["2251", "2253"], "2202": ["2252"]},
        "203": ["2303", "2301", "2302"],
        "204/row-2401/col-2451": "24512",
        "204/row-2402/col-2452": "24521",
        "204/other-2490": "More butter",
        "205/row-2501": "4",
        "206/row-2601": "9",
        "207/row-2701": "2752",
        "300": "Ada",
        "301": "Longer than ten letters.",
        "302": "3",
        "303": "2.5",
        "304": "ada@example.com",
        "305": "2026-02-03",
        "306": "2026-02-04",
        "307": "AB123",
        "309": "4",
        "311/row-3111": "Bea",
        "311/row-3112": "Cem",
        "312/row-3121": "7",
        "400/row-4001": "Ada Lovelace",
        "400/row-4003": "ada@example.com",
        "400/row-4004": "+39 347 123 4567",
        "401/row-4101": "2026-02-03T14:30",
        "402/row-4202": "2026-02-05",
        "403/row-4301": "08:30",
        "406": "Fine",
    })
}

/// What SurveyMonkey's own form would have stored for it.
pub fn stored() -> Value {
    json!([
        {"id": "10", "questions": [
            {"id": "100", "answers": [{"other_id": "1010", "text": "The radio"}]},
            {"id": "101", "answers": [{"choice_id": "1103"}]},
            {"id": "102", "answers": [{"choice_id": "1201"}, {"other_id": "1210", "text": "It was fun."}]},
            {"id": "103", "answers": [{"choice_id": "1301"}, {"choice_id": "1303"}, {"other_id": "1310", "text": "Music"}]},
            {"id": "104", "answers": [{"choice_id": "1402"}]},
        ]},
        {"id": "11", "questions": [
            {"id": "200", "answers": [{"row_id": "2001", "choice_id": "2052"}, {"row_id": "2002", "choice_id": "2059"}]},
            {"id": "201", "answers": [{"row_id": "2101", "choice_id": "2151"}, {"row_id": "2101", "other_id": "2190", "text": "Cold"}]},
            {"id": "202", "answers": [{"row_id": "2201", "choice_id": "2251"}, {"row_id": "2201", "choice_id": "2253"}, {"row_id": "2202", "choice_id": "2252"}]},
            {"id": "203", "answers": [{"row_id": "2303", "choice_id": "2351"}, {"row_id": "2301", "choice_id": "2352"}, {"row_id": "2302", "choice_id": "2353"}]},
            {"id": "204", "answers": [
                {"row_id": "2401", "col_id": "2451", "choice_id": "24512"},
                {"row_id": "2402", "col_id": "2452", "choice_id": "24521"},
                {"other_id": "2490", "text": "More butter"},
            ]},
            {"id": "205", "answers": [{"row_id": "2501", "choice_id": "2554"}]},
            {"id": "206", "answers": [{"row_id": "2601", "choice_id": "2660"}]},
            {"id": "207", "answers": [{"row_id": "2701", "choice_id": "2752"}]},
        ]},
        {"id": "12", "questions": [
            {"id": "300", "answers": [{"text": "Ada"}]},
            {"id": "301", "answers": [{"text": "Longer than ten letters."}]},
            {"id": "302", "answers": [{"text": "3"}]},
            {"id": "303", "answers": [{"text": "2.5"}]},
            {"id": "304", "answers": [{"text": "ada@example.com"}]},
            {"id": "305", "answers": [{"text": "02/03/2026"}]},
            {"id": "306", "answers": [{"text": "04/02/2026"}]},
            {"id": "307", "answers": [{"text": "AB123"}]},
            {"id": "309", "answers": [{"text": "4"}]},
            {"id": "311", "answers": [{"row_id": "3111", "text": "Bea"}, {"row_id": "3112", "text": "Cem"}]},
            {"id": "312", "answers": [{"row_id": "3121", "text": "7"}]},
        ]},
        {"id": "13", "questions": [
            {"id": "400", "answers": [
                {"row_id": "4001", "text": "Ada Lovelace"},
                {"row_id": "4003", "text": "ada@example.com"},
                {"row_id": "4004", "text": "+393471234567"},
            ]},
            {"id": "401", "answers": [{"row_id": "4101", "text": "02/03/2026 02:30 PM"}]},
            {"id": "402", "answers": [{"row_id": "4202", "text": "02/05/2026"}]},
            {"id": "403", "answers": [{"row_id": "4301", "text": "08:30 AM"}]},
            {"id": "406", "variable_id": "77", "answers": [{"text": "Fine"}]},
        ]},
    ])
}

/// How a phone writes what is meant into the inputs of the flow.
pub fn written(plan: &Plan, meant: &Value) -> Map<String, Value> {
    let walker = Walker::new(&plan.form);
    let mut found = Map::new();
    for screen in &plan.screens {
        let Content::Questions(blocks) = &screen.content else { continue };
        for block in blocks {
            let value = &meant[walker.question(&plan.form, block.position).key.as_str()];
            for input in &block.inputs {
                if let Some(part) = part(input, value) {
                    found.insert(input.name.clone(), part);
                }
            }
        }
    }
    found
}

fn part(input: &Input, value: &Value) -> Option<Value> {
    let known = |source: Option<&str>| {
        let option = input.options.iter().find(|option| option.source.as_deref() == source)?;
        Some(json!(option.id))
    };
    let id = |value: &Value| known(Some(value.as_str()?));
    let chosen = |value: &Value| -> Option<Value> {
        match value {
            Value::Array(items) => Some(items.iter().filter_map(id).collect()),
            Value::Null => None,
            one if input.many => Some(json!([id(one)?])),
            one => id(one),
        }
    };
    let (date, time) = value.as_str().and_then(|text| text.split_once('T')).unzip();
    match &input.role {
        Role::Other => value.get("other").cloned(),
        Role::Time if input.options.is_empty() => time.map(|time| json!(time)),
        Role::Time => known(time),
        Role::Row(row) => chosen(&value[row.as_str()]),
        Role::Rank(place) => id(&value[usize::from(*place)]),
        Role::Answer if value.get("other").is_some() => {
            if input.many {
                chosen(&value["ids"])
            } else {
                known(None)
            }
        }
        Role::Answer if input.options.is_empty() => {
            if value.is_null() {
                None
            } else {
                Some(date.map_or_else(|| value.clone(), |date| json!(date)))
            }
        }
        Role::Answer => chosen(value),
        Role::Query | Role::Pick => panic!("no list of the fixture is that long"),
    }
}

//! Random definitions as the four tools write them: questions of every kind that goes home, required or not, with limits,
//! options, branches, hidden values and consent.

use serde_json::{Map, Value, json};

use super::Dice;

/// A definition of this tool.
pub fn of(tool: &str, dice: &mut Dice) -> Value {
    match tool {
        "typeform" => typeform(dice),
        "hubspot" => hubspot(dice),
        "surveymonkey" => surveymonkey(dice),
        _ => google(dice),
    }
}

const WORDS: [&str; 8] = [
    "Oak",
    "Ash & elm",
    "Café",
    "日本",
    "Very long words that need some more room than one line",
    "Yes",
    "7",
    "?!",
];

fn title(dice: &mut Dice, number: usize) -> String {
    format!(
        "{} {number}",
        dice.pick(&["Name", "How was it over all", "Größe", "What would you like us to tell the others"])
    )
}

/// Between two and nine different labels.
fn labels(dice: &mut Dice) -> Vec<String> {
    (0..2 + dice.below(7)).map(|number| format!("{} {number}", dice.pick(&WORDS))).collect()
}

fn typeform(dice: &mut Dice) -> Value {
    let count = 2 + dice.below(7);
    let kinds = [
        "short_text",
        "long_text",
        "email",
        "website",
        "phone_number",
        "number",
        "date",
        "yes_no",
        "legal",
        "multiple_choice",
        "picture_choice",
        "dropdown",
        "ranking",
        "rating",
        "opinion_scale",
        "nps",
        "file_upload",
        "statement",
        "payment",
    ];
    let mut fields = Vec::new();
    let mut logic = Vec::new();
    for number in 0..count {
        // Something must be asked.
        let kind = if number == 0 { "short_text" } else { dice.pick(&kinds) };
        let reference = format!("f{number}x");
        let mut properties = Map::new();
        let mut rules = Map::new();
        rules.insert("required".to_owned(), json!(kind != "payment" && dice.chance(50)));
        match kind {
            "short_text" | "long_text" if dice.chance(50) => {
                rules.insert("max_length".to_owned(), json!(1 + dice.below(150)));
            }
            "number" if dice.chance(50) => {
                rules.insert("min_value".to_owned(), json!(1));
                rules.insert("max_value".to_owned(), json!(20));
            }
            "multiple_choice" | "picture_choice" | "dropdown" | "ranking" => {
                let choices: Vec<Value> = labels(dice)
                    .iter()
                    .enumerate()
                    .map(|(at, label)| json!({"id": format!("i{number}{at}"), "ref": format!("o{number}_{at}"), "label": label}))
                    .collect();
                if kind == "multiple_choice" && dice.chance(50) {
                    properties.insert("allow_multiple_selection".to_owned(), json!(true));
                    if dice.chance(50) {
                        rules.insert("max_selection".to_owned(), json!(2 + dice.below(2)));
                    }
                    if dice.chance(50) {
                        rules.insert("min_selection".to_owned(), json!(1 + dice.below(2)));
                    }
                }
                if kind == "multiple_choice" && dice.chance(20) {
                    properties.insert("allow_other_choice".to_owned(), json!(true));
                }
                properties.insert("choices".to_owned(), json!(choices));
            }
            "rating" | "opinion_scale" => {
                drop(properties.insert("steps".to_owned(), json!(5 + dice.below(5))))
            }
            _ => {}
        }
        if kind != "statement" && number + 1 < count && dice.chance(30) {
            let field = json!({"type": "field", "value": reference});
            let condition = match kind {
                "number" => json!({"op": "greater_than", "vars": [field, {"type": "constant", "value": 3}]}),
                "yes_no" => json!({"op": "is", "vars": [field, {"type": "constant", "value": true}]}),
                "multiple_choice" => {
                    json!({"op": "is", "vars": [field, {"type": "choice", "value": format!("o{number}_1")}]})
                }
                _ => json!({"op": "always", "vars": []}),
            };
            let action = match dice.chance(50) {
                true => json!({"action": "jump", "condition": condition, "details": {"to":
                    {"type": "field", "value": format!("f{}x", number + 1 + dice.below(count - number - 1))}}}),
                false => json!({"action": "add", "condition": condition, "details": {
                    "target": {"type": "variable", "value": "score"}, "value": {"type": "constant", "value": 2}}}),
            };
            logic.push(json!({"type": "field", "ref": reference, "actions": [action]}));
        }
        fields.push(
            json!({"id": format!("id{number}"), "ref": reference, "type": kind, "title": title(dice, number),
            "properties": properties, "validations": rules}),
        );
    }
    if dice.chance(40) {
        let last = fields.split_off(fields.len() - 1);
        fields.push(json!({"id": "g", "ref": "gx", "type": "group", "title": "A group", "properties": {"fields": last}}));
    }
    let hidden: &[&str] = if dice.chance(50) { &["utm", "tier"] } else { &[] };
    json!({"id": "x", "title": "Generated", "fields": fields, "logic": logic, "hidden": hidden, "variables": {"score": 0},
        "thankyou_screens": [{"id": "e", "ref": "end", "type": "thankyou_screen", "title": "Thanks"}]})
}

fn hubspot(dice: &mut Dice) -> Value {
    let kinds = [
        "single_line_text",
        "multi_line_text",
        "email",
        "phone",
        "mobile_phone",
        "number",
        "single_checkbox",
        "multiple_checkboxes",
        "dropdown",
        "radio",
        "datepicker",
        "file",
        "payment_link_radio",
    ];
    let field = |dice: &mut Dice, number: usize| {
        let kind = if number == 0 { "radio" } else { dice.pick(&kinds) };
        let mut field = json!({"fieldType": kind, "objectTypeId": dice.pick(&["0-1", "0-2"]), "name": format!("p{number}"),
            "label": title(dice, number), "required": kind != "payment_link_radio" && dice.chance(50), "hidden": false});
        if ["multiple_checkboxes", "dropdown", "radio", "payment_link_radio"].contains(&kind) {
            let options = labels(dice).into_iter().enumerate();
            field["options"] =
                options.map(|(at, label)| json!({"label": label, "value": format!("v {at}")})).collect();
        }
        field
    };
    let count = 1 + dice.below(7);
    let mut fields: Vec<Value> = (0..count).map(|number| field(dice, number)).collect();
    for (parent, asked) in fields.iter_mut().enumerate() {
        let Some(first) = asked["options"][0]["value"].as_str().map(str::to_owned) else { continue };
        if dice.chance(40) && asked["fieldType"] != "payment_link_radio" {
            let condition = json!({"operator": "set_any", "values": [first]});
            let mut child = field(dice, 100 + parent);
            if child["fieldType"] == "payment_link_radio" {
                child["fieldType"] = json!("dropdown");
            }
            asked["dependentFields"] = json!([{"dependentCondition": condition, "dependentField": child}]);
        }
    }
    if dice.chance(50) {
        fields.push(json!({"fieldType": "single_line_text", "objectTypeId": "0-1", "name": "utm", "label": "U", "hidden": true,
            "defaultValue": "whatsapp"}));
    }
    let boxes = json!([{"required": false, "label": "News", "subscriptionTypeId": 11}]);
    let consent = match dice.below(4) {
        0 => json!({"type": "none"}),
        1 => {
            json!({"type": "legitimate_interest", "lawfulBasis": "lead", "subscriptionTypeIds": [9], "privacyText": "P"})
        }
        2 => json!({"type": "implicit_consent_to_process", "communicationsCheckboxes": boxes,
            "consentToProcessText": "You agree.", "privacyText": "P"}),
        _ => json!({"type": "explicit_consent_to_process", "communicationsCheckboxes": boxes,
            "consentToProcessText": "It is stored.", "consentToProcessCheckboxLabel": "I agree.", "privacyText": "P"}),
    };
    let groups: Value = fields.chunks(2).map(|row| json!({"fields": row})).collect();
    json!({"id": "5b0a4c2e-7d31-4f0e-9a57-2f6c1d8e9b10", "name": "Generated", "fieldGroups": groups,
        "legalConsentOptions": consent,
        "configuration": {"postSubmitAction": {"type": "thank_you", "value": "<p>Thanks</p>"}}})
}

fn surveymonkey(dice: &mut Dice) -> Value {
    let items = |start: String, labels: Vec<String>| -> Value {
        let item = |(at, text): (usize, String)| json!({"id": format!("{start}{at}"), "text": text, "visible": true, "position": at + 1});
        labels.into_iter().enumerate().map(item).collect()
    };
    let kinds = [
        ("single_choice", "vertical"),
        ("single_choice", "menu"),
        ("multiple_choice", "vertical"),
        ("matrix", "single"),
        ("matrix", "multi"),
        ("matrix", "ranking"),
        ("open_ended", "single"),
        ("open_ended", "essay"),
        ("open_ended", "multi"),
        ("demographic", "international"),
        ("datetime", "date_only"),
        ("datetime", "time_only"),
        ("datetime", "both"),
        ("presentation", "descriptive_text"),
    ];
    let mut number = 0;
    let mut pages = Vec::new();
    for page in 0..1 + dice.below(3) {
        let mut questions = Vec::new();
        for _ in 0..1 + dice.below(4) {
            let (family, subtype) = if number == 0 { kinds[6] } else { *dice.pick(&kinds) };
            let id = format!("{}", 100 + number);
            let required = match dice.chance(50) && family != "presentation" {
                true => json!({"text": "Please", "type": "all", "amount": "0"}),
                false => Value::Null,
            };
            let validation = match (family, subtype, dice.below(4)) {
                ("open_ended", "single", 0) => json!({"type": "integer", "min": "1", "max": "9", "text": ""}),
                ("open_ended", "single", 1) => json!({"type": "email", "min": null, "max": null, "text": ""}),
                ("open_ended", "single" | "essay", 2) => {
                    json!({"type": "text_length", "min": "2", "max": "90", "text": ""})
                }
                _ => Value::Null,
            };
            let (rows, choices) = (labels(dice), labels(dice));
            let ranks = (1..=rows.len()).map(|rank| rank.to_string()).collect();
            let answers = match (family, subtype) {
                ("matrix", "ranking") => {
                    json!({"rows": items(format!("{id}7"), rows), "choices": items(format!("{id}8"), ranks)})
                }
                ("matrix", _) => {
                    json!({"rows": items(format!("{id}7"), rows), "choices": items(format!("{id}8"), choices)})
                }
                ("single_choice" | "multiple_choice", _) => {
                    json!({"choices": items(format!("{id}8"), choices)})
                }
                ("demographic", _) => json!({"rows": [
                    {"id": format!("{id}71"), "type": "name", "text": "Your name", "required": dice.chance(50), "visible": true},
                    {"id": format!("{id}72"), "type": "email", "text": "Your mail", "required": dice.chance(50), "visible": true}]}),
                ("open_ended", "multi") | ("datetime", _) => json!({"rows": items(format!("{id}7"), rows)}),
                _ => Value::Null,
            };
            questions.push(json!({"id": id, "visible": true, "family": family, "subtype": subtype, "required": required,
                "validation": validation, "answers": answers, "headings": [{"heading": title(dice, number)}]}));
            number += 1;
        }
        pages.push(json!({"id": format!("{}", 10 + page), "title": "", "questions": questions}));
    }
    let variables = if dice.chance(50) { json!({"utm": "UTM"}) } else { json!({}) };
    json!({"id": "9", "title": "Generated", "language": "en", "question_count": number, "custom_variables": variables, "pages": pages})
}

fn google(dice: &mut Dice) -> Value {
    let sections = 1 + dice.below(3);
    let mut items = Vec::new();
    let mut number = 0;
    for section in 0..sections {
        if section > 0 {
            items.push(json!({"itemId": format!("3000000{section}"), "title": format!("Part {section}"), "pageBreakItem": {}}));
        }
        for _ in 0..1 + dice.below(4) {
            let id = format!("0b00{number:04x}");
            let options = |dice: &mut Dice, has_ways: bool| -> Value {
                let way = |at: usize| match at {
                    0 if sections > 1 => json!({"goToSectionId": format!("3000000{}", sections - 1)}),
                    1 => json!({"goToAction": "SUBMIT_FORM"}),
                    _ => json!({"goToAction": "NEXT_SECTION"}),
                };
                let option = |(at, label): (usize, String)| {
                    let mut option = if has_ways { way(at) } else { json!({}) };
                    option["value"] = json!(label);
                    option
                };
                labels(dice).into_iter().enumerate().map(option).collect()
            };
            let kind = if number == 0 { 0 } else { dice.below(9) };
            let mut question = match kind {
                0 => json!({"textQuestion": {}}),
                1 => json!({"textQuestion": {"paragraph": true}}),
                2 => {
                    let has_ways = dice.chance(50);
                    json!({"choiceQuestion": {"type": "RADIO", "options": options(dice, has_ways)}})
                }
                3 => json!({"choiceQuestion": {"type": "CHECKBOX", "options": options(dice, false)}}),
                4 => json!({"choiceQuestion": {"type": "DROP_DOWN", "options": options(dice, false)}}),
                5 => json!({"scaleQuestion": {"low": 1, "high": 5, "lowLabel": "bad", "highLabel": "good"}}),
                6 => json!({"dateQuestion": {"includeYear": true, "includeTime": dice.chance(50)}}),
                7 => json!({"timeQuestion": {}}),
                _ => json!({"rowQuestion": {"title": "Row"}}),
            };
            let item = json!({"itemId": format!("2000{number:04x}"), "title": title(dice, number)});
            let mut item = item;
            if kind == 8 {
                let rows: Vec<Value> = (0..2)
                    .map(|row| json!({"questionId": format!("0c0{row}{number:04x}"), "rowQuestion": {"title": format!("Row {row}")}}))
                    .collect();
                let columns =
                    json!({"type": dice.pick(&["RADIO", "CHECKBOX"]), "options": options(dice, false)});
                item["questionGroupItem"] = json!({"questions": rows, "grid": {"columns": columns}});
            } else {
                question["questionId"] = json!(id);
                question["required"] = json!(dice.chance(50));
                item["questionItem"] = json!({"question": question});
            }
            items.push(item);
            number += 1;
        }
    }
    json!({"formId": "1generated", "info": {"title": "Generated", "documentTitle": "Generated"}, "items": items,
        "responderUri": "https://docs.google.com/forms/d/e/1FAIpQLGenerated/viewform"})
}

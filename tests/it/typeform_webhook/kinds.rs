//! Every kind of field, from the definition over a walk to the `form_response` that Typeform itself would have sent.
//!
//! Invariant: the table holds every kind that Typeform documents and every kind that the import and the write-back know,
//! so that none is added on one side only.

use std::collections::BTreeSet;

use formgate::catalog;
use formgate::flow::compile::compile;
use formgate::flow::report::Grade;

use super::*;
use crate::corpus;
use crate::surveymonkey::person::written;

/// The types that Typeform documents for fields.
const DOCUMENTED: [&str; 26] = [
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
    "group",
    "matrix",
    "contact_info",
    "address",
    "payment",
    "calendly",
    "multi_format",
    "signature",
];

/// Met in definitions, documented nowhere.
const MET: [&str; 1] = ["inline_group"];

/// What becomes of an answer.
enum Told {
    /// Typeform's webhook has these answers: the key of the field, the answer's type, its value.
    Answers(Vec<(&'static str, &'static str, Value)>),
    /// It has no answer, and nothing is lost: there is none to give.
    Nothing,
    /// It is not told, and the report says so.
    Reported(Grade),
}
use Told::{Answers, Nothing, Reported};

struct Row {
    word: &'static str,
    /// Properties and validations.
    more: Value,
    key: &'static str,
    /// What a person means, by the key of the question.
    says: Value,
    told: Told,
}

/// Options whose id, reference and label all differ.
fn choices(of: &str) -> Value {
    ["Oak", "Ash", "Elm"]
        .map(|label| json!({"id": format!("{of}{label}"), "ref": format!("{of}-{label}"), "label": label}))
        .into()
}

fn choice(of: &str, label: &str) -> Value {
    json!({"id": format!("{of}{label}"), "ref": format!("{of}-{label}"), "label": label})
}

fn several(of: &str, labels: &[&str]) -> Value {
    json!({
        "ids": labels.iter().map(|label| format!("{of}{label}")).collect::<Vec<_>>(),
        "labels": labels,
        "refs": labels.iter().map(|label| format!("{of}-{label}")).collect::<Vec<_>>(),
    })
}

fn part(word: &str, subfield: &str) -> Value {
    json!({"id": format!("id-{subfield}"), "ref": subfield, "type": word, "subfield_key": subfield, "title": subfield})
}

fn parts(words: &[(&str, &str)]) -> Value {
    json!({"properties": {"fields": words.iter().map(|(word, subfield)| part(word, subfield)).collect::<Vec<_>>()}})
}

fn table() -> Vec<Row> {
    // A field with one answer of this type.
    let one = |word, key, more, says: Value, kind, value| Row {
        word,
        more,
        key,
        says: json!({key: says}),
        told: Answers(vec![(key, kind, value)]),
    };
    let none = |word, more, told| Row { word, more, key: word, says: json!({}), told };
    let text = |word| one(word, word, json!({}), json!("Ada, née “B”"), "text", json!("Ada, née “B”"));
    let steps = |steps: u32, more: Value| {
        let mut properties = json!({"steps": steps});
        properties.as_object_mut().expect("members").extend(more.as_object().expect("members").clone());
        json!({"properties": properties})
    };
    let options = |of: &str, more: Value| {
        let mut properties = json!({"choices": choices(of)});
        properties.as_object_mut().expect("members").extend(more.as_object().expect("members").clone());
        json!({"properties": properties})
    };
    let many = json!({"allow_multiple_selection": true, "allow_other_choice": true});
    let other = json!({"allow_other_choice": true});
    let with_other = |of: &str, labels: &[&str]| {
        let mut several = several(of, labels);
        several["other"] = json!("Yew");
        several
    };
    let row = |key: &str, label: &str| {
        json!({"id": format!("id-{key}"), "ref": key, "type": "multiple_choice", "title": label,
            "properties": {"choices": choices(key)}})
    };
    let contact = [
        ("short_text", "first_name"),
        ("short_text", "last_name"),
        ("phone_number", "phone_number"),
        ("email", "email"),
        ("short_text", "company"),
    ];
    let address = [
        ("short_text", "address"),
        ("short_text", "address_line_2"),
        ("short_text", "city"),
        ("short_text", "state"),
        ("short_text", "zip_code"),
        ("dropdown", "country"),
    ];
    let mut home = parts(&address);
    home["properties"]["fields"][5]["properties"] = json!({"choices": choices("country")});
    vec![
        text("short_text"),
        text("long_text"),
        one("email", "email_alone", json!({}), json!("ada@example.org"), "email", json!("ada@example.org")),
        one(
            "website",
            "website",
            json!({}),
            json!("https://example.org/a?b=c"),
            "url",
            json!("https://example.org/a?b=c"),
        ),
        one(
            "phone_number",
            "phone_alone",
            json!({"properties": {"default_country_code": "IT"}}),
            json!("06 6982 1234"),
            "phone_number",
            json!("+390669821234"),
        ),
        one("number", "number", json!({}), json!("6.5"), "number", json!(6.5)),
        one(
            "number",
            "whole",
            json!({"validations": {"min_value": 1, "max_value": 20}}),
            json!("12"),
            "number",
            json!(12),
        ),
        one(
            "date",
            "date",
            json!({"properties": {"structure": "DDMMYYYY", "separator": "/"}}),
            json!("2027-03-28"),
            "date",
            json!("2027-03-28"),
        ),
        one("yes_no", "yes_no", json!({}), json!("false"), "boolean", json!(false)),
        one("yes_no", "yes", json!({}), json!("true"), "boolean", json!(true)),
        one("legal", "legal", json!({}), json!(true), "boolean", json!(true)),
        // The form branches on it, so both answers are possible.
        one("legal", "refused", json!({}), json!("false"), "boolean", json!(false)),
        one(
            "multiple_choice",
            "single",
            options("single", json!({})),
            json!("single-Ash"),
            "choice",
            choice("single", "Ash"),
        ),
        one(
            "multiple_choice",
            "own",
            options("own", other.clone()),
            json!({"ids": [], "other": "Yew"}),
            "choice",
            json!({"other": "Yew"}),
        ),
        one(
            "multiple_choice",
            "many",
            options("many", many.clone()),
            json!(["many-Oak", "many-Elm"]),
            "choices",
            several("many", &["Oak", "Elm"]),
        ),
        one(
            "multiple_choice",
            "many_own",
            options("many_own", many),
            json!({"ids": ["many_own-Ash"], "other": "Yew"}),
            "choices",
            with_other("many_own", &["Ash"]),
        ),
        one(
            "picture_choice",
            "picture",
            options("picture", other),
            json!("picture-Elm"),
            "choice",
            choice("picture", "Elm"),
        ),
        one(
            "picture_choice",
            "pictures",
            options("pictures", json!({"allow_multiple_selection": true})),
            json!(["pictures-Oak", "pictures-Ash"]),
            "choices",
            several("pictures", &["Oak", "Ash"]),
        ),
        one(
            "dropdown",
            "dropdown",
            options("dropdown", json!({"alphabetical_order": true})),
            json!("dropdown-Oak"),
            "choice",
            choice("dropdown", "Oak"),
        ),
        one(
            "ranking",
            "ranking",
            options("ranking", json!({})),
            json!(["ranking-Elm", "ranking-Oak", "ranking-Ash"]),
            "choices",
            several("ranking", &["Elm", "Oak", "Ash"]),
        ),
        one("rating", "rating", steps(3, json!({"shape": "heart"})), json!("3"), "number", json!(3)),
        one("opinion_scale", "from_zero", steps(5, json!({})), json!("0"), "number", json!(0)),
        one(
            "opinion_scale",
            "from_one",
            steps(5, json!({"start_at_one": true})),
            json!("5"),
            "number",
            json!(5),
        ),
        one(
            "nps",
            "nps",
            json!({"properties": {"labels": {"left": "No", "right": "Yes"}}}),
            json!("10"),
            "number",
            json!(10),
        ),
        none("file_upload", json!({}), Reported(Grade::Substitute)),
        none("statement", json!({"properties": {"description": "Well then."}}), Nothing),
        Row {
            word: "group",
            more: json!({"properties": {"fields": [{"id": "id-inner", "ref": "inner", "type": "short_text", "title": "Inner"}]}}),
            key: "group",
            says: json!({"inner": "Within"}),
            told: Answers(vec![("inner", "text", json!("Within"))]),
        },
        Row {
            word: "inline_group",
            more: json!({"properties": {"fields": [{"id": "id-inline", "ref": "inline", "type": "number", "title": "Inline"}]}}),
            key: "inline_group",
            says: json!({"inline": "7"}),
            told: Answers(vec![("inline", "number", json!(7))]),
        },
        Row {
            word: "matrix",
            more: json!({"properties": {"fields": [row("shade", "Shade"), row("fruit", "Fruit")]}}),
            key: "matrix",
            says: json!({"shade": "shade-Oak", "fruit": "fruit-Elm"}),
            told: Answers(vec![
                ("shade", "choice", choice("shade", "Oak")),
                ("fruit", "choice", choice("fruit", "Elm")),
            ]),
        },
        Row {
            word: "contact_info",
            more: parts(&contact),
            key: "contact_info",
            says: json!({"first_name": "Ada", "last_name": "Lovelace", "phone_number": "+39 347 123 4567",
                "email": "a@example.org", "company": "Engines"}),
            told: Answers(vec![
                ("first_name", "text", json!("Ada")),
                ("last_name", "text", json!("Lovelace")),
                ("phone_number", "phone_number", json!("+393471234567")),
                ("email", "email", json!("a@example.org")),
                ("company", "text", json!("Engines")),
            ]),
        },
        Row {
            word: "address",
            more: home,
            key: "home",
            says: json!({"address": "Main Street 1", "city": "Rome", "state": "RM", "zip_code": "00100", "country": "country-Elm"}),
            // The second line is left empty, so there is no answer to it.
            told: Answers(vec![
                ("address", "text", json!("Main Street 1")),
                ("city", "text", json!("Rome")),
                ("state", "text", json!("RM")),
                ("zip_code", "text", json!("00100")),
                ("country", "choice", choice("country", "Elm")),
            ]),
        },
        none("payment", json!({"properties": {"currency": "EUR"}}), Reported(Grade::Dropped)),
        none("calendly", json!({}), Reported(Grade::Dropped)),
        none("multi_format", json!({}), Reported(Grade::Dropped)),
        none("signature", json!({}), Reported(Grade::Dropped)),
    ]
}

fn definition(rows: &[Row]) -> Value {
    let fields = rows.iter().map(|row| {
        let mut field = json!({"id": format!("id-{}", row.key), "ref": row.key, "type": row.word,
            "title": format!("The question {}", row.key)});
        field.as_object_mut().expect("members").extend(row.more.as_object().expect("members").clone());
        field
    });
    json!({
        "id": "kInDs1", "title": "Every kind", "fields": fields.collect::<Vec<_>>(), "variables": {"score": 0},
        "logic": [{"type": "field", "ref": "refused", "actions": [{"action": "add",
            "details": {"target": {"type": "variable", "value": "score"}, "value": {"type": "constant", "value": 4}},
            "condition": {"op": "is", "vars": [{"type": "field", "value": "refused"}, {"type": "constant", "value": false}]}}]}],
    })
}

/// The type of the field with this reference, also within another.
fn word_of(fields: &Value, reference: &str) -> Option<String> {
    fields.as_array()?.iter().find_map(|field| match field["ref"] == reference {
        true => field["type"].as_str().map(str::to_owned),
        false => word_of(&field["properties"]["fields"], reference),
    })
}

#[tokio::test]
async fn every_kind_of_field_is_told_as_typeform_itself_tells_it() {
    let rows = table();
    let definition = definition(&rows);
    let text = definition.to_string();
    let import = connector("typeform").expect("a reader").read(text.as_bytes()).expect("a form");
    let settings = Settings::default();
    let plan = compile(&import.form, &settings).expect("a flow").plan;
    let gate = Setup::of(&import.form, &settings).start().await;
    let meant = rows.iter().flat_map(|row| row.says.as_object().expect("answers").clone()).collect();
    let mut person = Truthful::new(written(&plan, &Value::Object(meant)));
    let played = play(&mut gate.player("unused"), &mut person).await.expect("answers");
    assert!(matches!(played, Played::Ended(Ended::Completed(_))), "{played:?}");
    let sent = gate.submissions().await.remove(0);
    let (destination, received, _stop) = customer(StatusCode::OK, &text).await;
    assert_eq!(deliver(&destination, &sent).await, Outcome::delivered(Some(200)));
    let body = received.lock().expect("no panic under the lock").pop().expect("a delivery").1;
    let told: Value = serde_json::from_slice(&body).expect("JSON");

    let mut expected = Vec::new();
    for row in &rows {
        let Answers(answers) = &row.told else { continue };
        for (key, kind, value) in answers {
            let word = word_of(&definition["fields"], key).unwrap_or_else(|| panic!("no {key}"));
            let field = json!({"id": format!("id-{key}"), "ref": key, "type": word});
            expected.push(json!({"type": kind, *kind: value, "field": field}));
        }
    }
    assert_eq!(told["form_response"]["answers"], Value::Array(expected));
    assert_eq!(told["form_response"]["calculated"], json!({"score": 4}), "the refusal was counted");

    let report = catalog::compile(&import, &settings).expect("a flow").report;
    let worst = |key: &str| {
        let at = format!("question.{key}");
        report.items.iter().filter(|item| item.at == at).map(|item| item.grade).max()
    };
    for row in &rows {
        match row.told {
            Answers(_) => {}
            Nothing => assert!(worst(row.key) < Some(Grade::Dropped), "{}", row.word),
            Reported(grade) => assert_eq!(worst(row.key), Some(grade), "{}", row.word),
        }
    }
}

#[test]
fn the_table_holds_every_kind_that_typeform_documents_and_that_the_import_knows() {
    let rows = table();
    let words: BTreeSet<&str> = rows.iter().map(|row| row.word).collect();
    assert_eq!(words, DOCUMENTED.into_iter().chain(MET).collect());

    let import = include_str!("../../../src/connector/typeform/fields.rs");
    let quoted = |name: &str| {
        let line = import.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}"));
        line.split('"').skip(1).step_by(2).collect::<BTreeSet<&str>>()
    };
    let mut known = corpus::arms(import, "match field.kind {");
    known.extend(quoted("const GROUPS"));
    known.extend(quoted("const UNANSWERED"));
    assert_eq!(known, words, "what the import knows is what the table walks");

    let told = corpus::arms(
        include_str!("../../../src/connector/typeform/deliver.rs"),
        "match self.kind.as_str() {",
    );
    let definition = definition(&rows);
    let walked: BTreeSet<String> = rows
        .iter()
        .filter_map(|row| match &row.told {
            Answers(answers) => Some(answers),
            Nothing | Reported(_) => None,
        })
        .flatten()
        .filter_map(|(key, _, _)| word_of(&definition["fields"], key))
        .collect();
    assert_eq!(told, walked.iter().map(String::as_str).collect(), "what is told is what the table holds");
}

#[test]
fn an_unknown_kind_is_reported_as_dropped_and_blocks_where_it_is_required() {
    for required in [false, true] {
        let definition = json!({"id": "x", "title": "X", "fields": [
            {"id": "1", "ref": "new", "type": "hologram", "title": "New", "validations": {"required": required}},
            {"id": "2", "ref": "name", "type": "short_text", "title": "Name"}]});
        let import =
            connector("typeform").expect("a reader").read(definition.to_string().as_bytes()).expect("a form");
        let report = catalog::compile(&import, &Settings::default()).expect("a flow").report;
        let item = report.items.iter().find(|item| item.at == "question.new").expect("an item");
        assert_eq!(item.grade, Grade::Dropped);
        assert!(item.reason.contains("hologram"), "{}", item.reason);
        assert_eq!(report.blockers.is_empty(), !required);
    }
}

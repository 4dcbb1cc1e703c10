//! Forms become flows that break no rule, lose nothing silently, and are the same every time.

use std::collections::BTreeSet;

use formgate::flow::compile::{Compiled, Error, Mode, Settings, compile};
use formgate::flow::limits::Version;
use formgate::flow::plan::{Content, DataApi, ENTRY, Entry};
use formgate::flow::report::Grade;
use formgate::flow::validate::validate;
use formgate::form::{Form, Kind};
use serde_json::{Value, json};

fn everything() -> Form {
    serde_json::from_str(include_str!("../fixtures/form/everything.json")).expect("a form")
}

fn form_of(questions: Value) -> Form {
    serde_json::from_value(
        json!({"id": "f", "title": "Form", "pages": [{"id": "p", "questions": questions}]}),
    )
    .expect("a form")
}

fn compiled(form: &Form, settings: &Settings) -> Compiled {
    let compiled = compile(form, settings).unwrap_or_else(|error| panic!("{error}"));
    let violations = validate(&compiled.document);
    assert!(
        violations.iter().all(|v| v.severity != formgate::flow::validate::Severity::Error),
        "{violations:?}"
    );
    compiled
}

/// Every string of a document.
fn strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(members) => members.values().for_each(|item| strings(item, found)),
        _ => {}
    }
}

/// Every component of a document, those in branches too.
fn components<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| components(item, found)),
        Value::Object(members) => {
            if members.get("type").is_some_and(Value::is_string) && !members.contains_key("__example__") {
                found.push(value);
            }
            members.values().for_each(|item| components(item, found));
        }
        _ => {}
    }
}

fn component(document: &Value, name: &str) -> Value {
    let mut all = Vec::new();
    components(&document["screens"], &mut all);
    let found = all.into_iter().find(|c| c["name"].as_str().is_some_and(|n| n.starts_with(name)));
    found.unwrap_or_else(|| panic!("no component named {name}")).clone()
}

#[test]
fn a_form_with_every_kind_compiles_in_every_mode() {
    for mode in [Mode::Grouped, Mode::OneQuestion] {
        for entry in [Entry::Exchange, Entry::Static] {
            let v4 = Settings { mode, entry, ..Settings::default() };
            let v3 = Settings { data_api: DataApi::V3, flow_json: Version::new(7, 0), ..v4.clone() };
            for settings in [v4, v3] {
                let compiled = compiled(&everything(), &settings);
                assert_eq!(compiled.plan.screens[0].id, ENTRY);
                assert_eq!(compiled.plan.screens[0].content == Content::Cover, entry == Entry::Static);
            }
        }
    }
}

#[test]
fn the_same_form_gives_the_same_flow() {
    let one = compiled(&everything(), &Settings::default());
    let two = compiled(&everything(), &Settings::default());
    assert_eq!(serde_json::to_string(&one.document).ok(), serde_json::to_string(&two.document).ok());
    assert_eq!(one, two);
}

#[test]
fn every_text_is_on_a_screen_or_in_the_report() {
    let form = everything();
    let compiled = compiled(&form, &Settings::default());
    let mut shown = Vec::new();
    strings(&compiled.document, &mut shown);
    let report = serde_json::to_string(&compiled.report).expect("a report");
    let plan = serde_json::to_string(&compiled.plan.screens).expect("screens");
    for (path, text) in form.texts() {
        let said =
            shown.iter().any(|s| s.contains(text.trim())) || report.contains(&text) || plan.contains(&text);
        assert!(said, "{path}: {text}");
    }
}

#[test]
fn every_question_option_and_rule_is_in_the_report() {
    let form = everything();
    let report = compiled(&form, &Settings::default()).report;
    let at: BTreeSet<&str> = report.items.iter().map(|item| item.at.as_str()).collect();
    for (_, question) in form.questions() {
        assert!(at.contains(format!("question.{}", question.key).as_str()), "{}", question.key);
        for option in question.kind.options().iter() {
            let path = format!("question.{}.option.{}", question.key, option.id);
            assert!(at.contains(path.as_str()), "{path}");
        }
        for (number, _) in question.rules.iter().enumerate() {
            assert!(at.contains(format!("question.{}.rule.{number}", question.key).as_str()));
        }
    }
    assert_eq!(at.len(), report.items.len(), "no part is told twice");
}

#[test]
fn an_optional_unsupported_question_is_dropped_and_a_required_one_blocks() {
    let optional =
        form_of(json!([{"key": "pay", "title": "Pay", "type": "unsupported", "source_type": "payment"}]));
    let report = compiled(&optional, &Settings::default()).report;
    assert_eq!((report.grade, report.blockers.len()), (Grade::Dropped, 0));
    let mut required = optional;
    required.pages[0].questions[0].required = true;
    assert_eq!(compiled(&required, &Settings::default()).report.blockers.len(), 1);
}

#[test]
fn the_number_of_options_decides_the_component() {
    for (count, expected) in
        [(5, "RadioButtonsGroup"), (20, "RadioButtonsGroup"), (21, "Dropdown"), (200, "Dropdown")]
    {
        let options: Vec<Value> =
            (0..count).map(|n| json!({"id": format!("id {n}"), "label": format!("Option {n}")})).collect();
        let form =
            form_of(json!([{"key": "c", "title": "Choose", "type": "single_choice", "options": options}]));
        let compiled = compiled(&form, &Settings::default());
        let choice = component(&compiled.document, "q_c_");
        assert_eq!(choice["type"], expected, "{count}");
        assert_eq!(choice["data-source"].as_array().map(Vec::len), Some(count));
        let Content::Questions(blocks) = &compiled.plan.screens[0].content else { panic!("questions") };
        let sources: Vec<_> = blocks[0].inputs[0].options.iter().filter_map(|o| o.source.clone()).collect();
        assert_eq!(sources, (0..count).map(|n| format!("id {n}")).collect::<Vec<_>>());
    }
}

#[test]
fn more_than_200_options_are_searched_on_one_screen_and_picked_on_the_next() {
    for count in [201, 5_000] {
        let options: Vec<Value> =
            (0..count).map(|n| json!({"id": n.to_string(), "label": format!("Option {n}")})).collect();
        let question = |required: bool| json!([{"key": "c", "title": "Choose", "type": "single_choice", "required": required, "options": options}]);
        // Who may leave it out goes from the search to the end, which then needs a screen of its own.
        let skipped = compiled(&form_of(question(false)), &Settings::default());
        assert_eq!(skipped.plan.screens.len(), 3);
        assert!(matches!(skipped.plan.screens[2].content, Content::Ending(_)));
        let compiled = compiled(&form_of(question(true)), &Settings::default());
        assert_eq!(compiled.plan.screens.len(), 2);
        assert_eq!(component(&compiled.document, "q_c_one_query")["type"], "TextInput");
        assert_eq!(component(&compiled.document, "q_c_one")["type"], "TextInput");
        assert!(compiled.report.items[0].reason.contains("search"));
    }
}

#[test]
fn a_question_that_depends_on_a_choice_of_its_screen_appears_by_itself() {
    let compiled = compiled(&everything(), &Settings::default());
    let mut all = Vec::new();
    components(&compiled.document["screens"], &mut all);
    let branch = all
        .iter()
        .find(|c| c["type"] == "If" && c["condition"].as_str().is_some_and(|c| c.contains("'red'")));
    let branch = branch.expect("an If for the shade");
    assert_eq!(branch["then"][0]["label"], "Which red?");
    assert!(branch["then"][0].get("required").is_none(), "the server insists, not the phone");
}

#[test]
fn a_wide_branching_gets_relays() {
    let targets: Vec<Value> = (0..30)
        .map(|n| json!({"when": {"if": {"answer": "c"}, "op": "is", "value": format!("o{n}")}, "do": {"jump": {"question": format!("t{n}")}}}))
        .collect();
    let options: Vec<Value> =
        (0..30).map(|n| json!({"id": format!("o{n}"), "label": format!("Option {n}")})).collect();
    let mut questions = vec![
        json!({"key": "c", "title": "Choose", "type": "single_choice", "options": options, "rules": targets}),
    ];
    for n in 0..30 {
        questions.push(json!({"key": format!("t{n}"), "title": format!("Target {n}"), "type": "short_text", "rules": [{"do": {"jump": "end"}}]}));
    }
    let compiled = compiled(&form_of(json!(questions)), &Settings::default());
    let model = compiled.document["routing_model"].as_object().expect("a model");
    assert!(model.keys().any(|id| id.starts_with("RELAY_")));
    assert!(model.values().all(|targets| targets.as_array().is_some_and(|t| t.len() <= 10)));
    let entry = &compiled.plan.screens[0];
    assert_eq!(
        entry.routes.len() + entry.via.len(),
        30 + entry.via.iter().map(|(_, r)| r).collect::<BTreeSet<_>>().len()
    );
}

#[test]
fn a_form_too_large_for_the_state_is_refused() {
    let questions: Vec<Value> = (0..60)
        .map(|n| json!({"key": format!("k{n}"), "title": "Tell us", "type": "long_text", "max_length": 4096}))
        .collect();
    let error = compile(&form_of(json!(questions)), &Settings::default()).expect_err("too large");
    assert!(matches!(error, Error::StateTooLarge(_)), "{error}");
}

#[test]
fn a_language_without_texts_is_refused_and_known_ones_are_named() {
    let settings = Settings { locale: Some("it".to_owned()), ..Settings::default() };
    let error = compile(&everything(), &settings).expect_err("no Italian");
    assert!(error.to_string().contains("choose one of: en"), "{error}");
}

#[test]
fn a_loop_back_to_the_first_question_leaves_the_entry_without_an_edge_towards_it() {
    let form = form_of(json!([
        {"key": "a", "title": "A", "type": "short_text"},
        {"key": "b", "title": "Again?", "type": "yes_no", "rules": [{"when": {"if": {"answer": "b"}, "op": "is", "value": true}, "do": {"jump": {"question": "a"}}}]}
    ]));
    let compiled = compiled(&form, &Settings { mode: Mode::OneQuestion, ..Settings::default() });
    assert!(compiled.report.items.iter().any(|item| item.reason.starts_with("leads back")));
    let back = compiled.plan.screens.iter().position(|s| s.id == "SCREEN_A").expect("the first question");
    assert!(compiled.plan.screens.iter().any(|s| s.routes.contains(&back) && s.id == "SCREEN_B"));
}

#[test]
fn personal_answers_are_masked_in_the_persons_own_summary() {
    let compiled = compiled(&everything(), &Settings::default());
    let sensitive = compiled.document["screens"][0]["sensitive"].as_array().expect("names");
    assert_eq!(sensitive.len(), 3, "name, e-mail and phone: {sensitive:?}");
    let unknown =
        everything().questions().filter(|(_, q)| matches!(q.kind, Kind::Unsupported { .. })).count();
    assert_eq!(unknown, 1);
}

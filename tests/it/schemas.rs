//! The published schemas say what the program does: what it reads, they accept; what it refuses, they refuse; what it writes
//! is valid. The validator is not ours (crate `jsonschema`).

use formgate::catalog::overlay::Overlay;
use formgate::connector::connector;
use formgate::flow::compile::{Settings, compile};
use formgate::form::{Form, Kind};
use formgate::outbox::{Shape, Submission};
use formgate::player::Outcome;
use formgate::player::strategy::{Played, Random, play};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::endpoint::fixture::Setup;

const FORM: &str = include_str!("../../schemas/form.schema.json");
const REPORT: &str = include_str!("../../schemas/report.schema.json");
const OVERLAY: &str = include_str!("../../schemas/overlay.schema.json");
const SUBMISSION: &str = include_str!("../../schemas/submission.schema.json");

fn schema(text: &str) -> Validator {
    jsonschema::validator_for(&parsed(text)).expect("a JSON Schema")
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[track_caller]
fn assert_valid(schema: &Validator, document: &Value, what: &str) {
    let faults: Vec<String> =
        schema.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(faults.is_empty(), "{what}: {faults:#?}");
}

/// Whether `formgate compile` and `serve` take it.
fn is_read(form: &Value) -> Result<Form, String> {
    let connector = connector("form").expect("Formgate's own format");
    connector.read(form.to_string().as_bytes()).map(|import| import.form).map_err(|error| error.to_string())
}

/// Every form that this repository ships.
fn shipped() -> Vec<(String, Value)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("tests/fixtures/form").read_dir().expect("a folder");
    let mut files: Vec<_> = folder.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.push(root.join("assets/demo-form.json"));
    assert!(files.len() >= 2, "the fixtures were moved");
    let read = |file: &std::path::PathBuf| parsed(&std::fs::read_to_string(file).expect("a file"));
    files.iter().map(|file| (file.display().to_string(), read(file))).collect()
}

/// One example of each kind, with every member that the kind has.
fn kinds() -> Vec<Value> {
    let options = json!([{"id": "r", "label": "Red", "image": "https://example.com/red.png"}, {"id": "b", "label": "Blue"}]);
    let labels = json!({"left": "bad", "center": "so so", "right": "good"});
    let kinds = json!([
        {"type": "short_text", "min_length": 1, "max_length": 9, "pattern": {"regex": "[a-z]+", "message": "Small letters"}},
        {"type": "long_text", "max_length": 500},
        {"type": "email", "blocked_domains": ["gmail.com"]},
        {"type": "phone", "country": "IT"},
        {"type": "number", "min": -1.5, "max": 3, "integer": true},
        {"type": "url"},
        {"type": "date", "min": "2026-01-01", "max": "2026-12-31"},
        {"type": "time", "min": "09:00", "max": "23:59"},
        {"type": "date_time", "min": "2026-01-01"},
        {"type": "yes_no"},
        {"type": "single_choice", "options": options, "other": {}, "display": "dropdown"},
        {"type": "multiple_choice", "options": options, "other": {"label": "Else"}, "min": 1, "max": 2},
        {"type": "rating", "steps": 5},
        {"type": "scale", "min": 0, "max": 10, "step": 2, "labels": labels},
        {"type": "nps", "labels": labels},
        {"type": "ranking", "options": options},
        {"type": "matrix", "rows": [{"id": "a", "label": "A", "required": true}], "columns": options, "multiple": true},
        {"type": "file", "photos_only": false, "media_types": ["application/pdf"], "max_files": 3, "max_kib": 1024},
        {"type": "consent", "text": "I agree", "version": "2", "link": "https://example.com/privacy"},
        {"type": "statement"},
        {"type": "unsupported", "source_type": "payment"},
    ]);
    kinds.as_array().expect("a list").clone()
}

/// A form with one question of this kind, and everything that a form, a page and a question can have besides.
fn form_with(kind: &Value) -> Value {
    let test = json!({"if": {"hidden": "utm"}, "op": "is_not", "value": "x"});
    let mut question = json!({
        "key": "q", "title": "Q, {{hidden:utm}}", "help": "Help", "required": true, "default": null, "personal": true,
        "visible_if": {"all": [test, {"any": [test, {"not": test}]}, {"if": {"answer": "first"}, "op": "answered"}]},
        "group": {"key": "g", "title": "Group", "part": "city"},
        "rules": [
            {"when": test, "do": {"jump": {"question": "last"}}}, {"do": {"set": ["v", 1]}}, {"do": {"add": ["v", {"variable": "v"}]}},
            {"do": {"subtract": ["v", {"answer": "first"}]}}, {"do": {"multiply": ["v", 2]}}, {"do": {"divide": ["v", 2]}},
        ],
    });
    for (name, value) in kind.as_object().expect("an object") {
        question[name] = value.clone();
    }
    json!({
        "$schema": "form.schema.json", "id": "f", "tool": "form", "title": "Form", "locale": "en", "description": "About",
        "default_country": "IT", "time_zone": "Europe/Rome",
        "pages": [
            {"id": "p", "title": "P", "description": "About P", "visible_if": test, "questions": [
                {"key": "first", "title": "First", "type": "url"}, question, {"key": "last", "type": "statement"},
            ], "rules": [{"do": {"jump": {"page": "p2"}}}]},
            {"id": "p2", "questions": [], "rules": [{"when": test, "do": {"jump": {"ending": "e"}}}, {"do": {"jump": "end"}}]},
        ],
        "hidden": [{"key": "utm", "default": "none"}], "variables": [{"name": "v", "initial": 0}],
        "endings": [{"key": "e", "title": "Thanks", "description": "Bye", "link": "https://example.com"}],
        "translations": {"it": {"title": "Modulo"}},
    })
}

#[test]
fn the_forms_we_ship_are_valid() {
    let schema = schema(FORM);
    for (file, form) in shipped() {
        assert_valid(&schema, &form, &file);
        let read = is_read(&form).unwrap_or_else(|error| panic!("{file}: {error}"));
        // What `formgate compile` writes as form.json is the same format.
        assert_valid(&schema, &serde_json::to_value(read).expect("JSON"), &file);
    }
}

#[test]
fn every_kind_of_question_is_accepted_by_program_and_schema() {
    let (schema, mut seen) = (schema(FORM), std::collections::BTreeSet::new());
    for kind in kinds() {
        let form = form_with(&kind);
        assert_valid(&schema, &form, &kind.to_string());
        let read = is_read(&form).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let question = read.question("q").expect("the question");
        seen.insert(question.kind.name());
        // A kind that is added to the program fails to compile here until the list above has it.
        match question.kind {
            Kind::ShortText(_) | Kind::LongText(_) | Kind::Email { .. } | Kind::Phone { .. } => {}
            Kind::Number { .. } | Kind::Url | Kind::Date { .. } | Kind::Time { .. } => {}
            Kind::DateTime { .. } | Kind::YesNo | Kind::SingleChoice(_) | Kind::MultipleChoice(_) => {}
            Kind::Rating { .. } | Kind::Scale { .. } | Kind::Nps { .. } | Kind::Ranking { .. } => {}
            Kind::Matrix { .. } | Kind::File(_) | Kind::Consent { .. } | Kind::Statement => {}
            Kind::Unsupported { .. } => {}
        }
    }
    assert_eq!(seen.len(), 21);
    let named: Vec<Value> =
        parsed(FORM)["$defs"]["question"]["properties"]["type"]["enum"].as_array().expect("a list").clone();
    assert_eq!(named.len(), seen.len());
    assert!(named.iter().all(|name| seen.contains(name.as_str().expect("a name"))));
}

/// Replaces the value at a pointer, or takes the member away.
fn changed(pointer: &str, value: Option<Value>) -> Value {
    let mut form = form_with(&json!({"type": "number", "min": 1}));
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let parent = form.pointer_mut(parent).unwrap_or_else(|| panic!("nothing at {parent}"));
    match (parent, value) {
        (Value::Object(members), Some(value)) => drop(members.insert(name.to_owned(), value)),
        (Value::Object(members), None) => drop(members.shift_remove(name).expect("a member")),
        (Value::Array(items), Some(value)) => items[name.parse::<usize>().expect("an index")] = value,
        (parent, _) => panic!("{parent} has no members"),
    }
    form
}

#[test]
fn what_is_no_form_is_refused_by_program_and_schema() {
    const Q: &str = "/pages/0/questions/1";
    let at = |path: &str| format!("{Q}{path}");
    let question = |question: Value| (Q.to_owned(), Some(question));
    let faults = [
        ("/id".to_owned(), None),
        ("/title".to_owned(), Some(json!(7))),
        ("/pages".to_owned(), Some(json!([]))),
        ("/pages/0/id".to_owned(), Some(json!(" "))),
        ("/pages/0/questions".to_owned(), None),
        ("/colour".to_owned(), Some(json!("red"))),
        ("/pages/0/quesions".to_owned(), Some(json!([{}]))),
        ("/variables/0/initial".to_owned(), Some(json!(true))),
        ("/variables/0/initial".to_owned(), None),
        ("/hidden/0/key".to_owned(), Some(json!(""))),
        ("/endings/0/title".to_owned(), None),
        ("/translations/it".to_owned(), Some(json!(["Modulo"]))),
        (at("/key"), None),
        (at("/type"), None),
        (at("/type"), Some(json!("colour"))),
        (at("/requird"), Some(json!(true))),
        (at("/required"), Some(json!("yes"))),
        (at("/max_length"), Some(json!(5))),
        (at("/min"), Some(json!("1"))),
        (at("/group/key"), None),
        (at("/group/part"), Some(json!("planet"))),
        (at("/visible_if"), Some(json!({"if": {"answer": "first"}}))),
        (at("/visible_if"), Some(json!({"if": {"answer": "first"}, "op": "equals", "value": "x"}))),
        (at("/visible_if"), Some(json!({"if": {"answr": "first"}, "op": "is", "value": "x"}))),
        (at("/visible_if"), Some(json!({"if": {"answer": "first"}, "op": "is", "value": ["x"]}))),
        (at("/visible_if"), Some(json!({"if": {"matrix": "first"}, "op": "is", "value": "x"}))),
        (at("/visible_if"), Some(json!({"all": [], "any": [{"if": "a", "op": "is", "value": "a"}]}))),
        (at("/visible_if"), Some(json!("always"))),
        (at("/rules/0/do"), None),
        (at("/rules/0/do"), Some(json!({"hop": "end"}))),
        (at("/rules/0/do"), Some(json!({"jump": "start"}))),
        (at("/rules/0/do"), Some(json!({"jump": {"question": 1}}))),
        (at("/rules/0/do"), Some(json!({"jump": "end", "set": ["v", 1]}))),
        (at("/rules/0/do"), Some(json!({"set": ["v"]}))),
        (at("/rules/0/do"), Some(json!({"set": ["v", 1, 2]}))),
        (at("/rules/0/do"), Some(json!({"set": {"v": 1}}))),
        question(json!({"key": "q", "type": "single_choice"})),
        question(json!({"key": "q", "type": "single_choice", "options": []})),
        question(json!({"key": "q", "type": "single_choice", "options": [{"label": "A"}]})),
        question(json!({"key": "q", "type": "single_choice", "options": [{"id": "", "label": "A"}]})),
        question(json!({"key": "q", "type": "multiple_choice", "options": ["A", "B"]})),
        question(
            json!({"key": "q", "type": "multiple_choice", "options": [{"id": "a", "label": "A"}], "min": -1}),
        ),
        question(
            json!({"key": "q", "type": "single_choice", "options": [{"id": "a", "label": "A"}], "display": "wheel"}),
        ),
        question(json!({"key": "q", "type": "ranking", "options": []})),
        question(json!({"key": "q", "type": "matrix", "rows": [], "columns": [{"id": "a", "label": "A"}]})),
        question(json!({"key": "q", "type": "matrix", "rows": [{"id": "a", "label": "A"}]})),
        question(json!({"key": "q", "type": "rating"})),
        question(json!({"key": "q", "type": "rating", "steps": 0})),
        question(json!({"key": "q", "type": "rating", "steps": 256})),
        question(json!({"key": "q", "type": "scale", "min": 1})),
        question(json!({"key": "q", "type": "scale", "min": 1, "max": 5, "step": 0})),
        question(json!({"key": "q", "type": "scale", "min": 1, "max": 5.5})),
        question(json!({"key": "q", "type": "nps", "labels": {"top": "good"}})),
        question(json!({"key": "q", "type": "date", "min": "tomorrow"})),
        question(json!({"key": "q", "type": "time", "max": "25:00"})),
        question(json!({"key": "q", "type": "short_text", "pattern": "[a-z]+"})),
        question(json!({"key": "q", "type": "file", "max_files": -1})),
        question(json!({"key": "q", "type": "consent"})),
        question(json!({"key": "q", "type": "unsupported"})),
        question(json!({"key": "q", "type": "email", "options": [{"id": "a", "label": "A"}]})),
    ];
    let schema = schema(FORM);
    let sound = form_with(&json!({"type": "number", "min": 1}));
    assert_eq!((schema.is_valid(&sound), is_read(&sound).err()), (true, None), "what is changed is sound");
    for (pointer, value) in faults {
        let told = format!("{pointer} = {value:?}");
        let form = changed(&pointer, value);
        assert!(!schema.is_valid(&form), "the schema accepts {told}");
        assert!(is_read(&form).is_err(), "the program accepts {told}");
    }
}

#[test]
fn a_compiled_report_is_valid() {
    let schema = schema(REPORT);
    for (file, form) in shipped() {
        let form = is_read(&form).expect("a form");
        let report = compile(&form, &Settings::default()).unwrap_or_else(|error| panic!("{error}")).report;
        let mut written = serde_json::to_value(&report).expect("JSON");
        assert!(report.items.len() >= form.questions().count());
        assert_valid(&schema, &written, &file);
        // The schema would notice.
        written["items"][0]["grade"] = json!("fine");
        assert!(!schema.is_valid(&written));
    }
}

#[tokio::test]
async fn a_submission_that_was_walked_and_stored_is_valid_in_every_way_out() {
    let schema = schema(SUBMISSION);
    let registry = jsonschema::Registry::new()
        .add("urn:formgate:schema:submission", parsed(SUBMISSION))
        .and_then(jsonschema::RegistryBuilder::prepare)
        .expect("a registry");
    let webhook = jsonschema::options()
        .with_registry(&registry)
        .build(&json!({"$ref": "urn:formgate:schema:submission#/$defs/webhook"}))
        .expect("a JSON Schema");
    assert!(!webhook.is_valid(&json!({"type": "submission.completed"})));
    for (file, form) in shipped() {
        let mut form = is_read(&form).expect("a form");
        // Nobody random writes what only the server knows to check.
        for page in &mut form.pages {
            page.questions.retain(|q| !["site", "time", "when", "phone", "pin"].contains(&q.key.as_str()));
        }
        let gate = Setup::of(&form, &Settings::default()).start().await;
        let mut completed = 0;
        for seed in 0..8 {
            let mut player = gate.player(&format!("token-{seed}"));
            let played = play(&mut player, &mut Random::new(seed)).await.expect("answered");
            completed += usize::from(matches!(played, Played::Ended(Outcome::Completed(_))));
        }
        let stored = gate.submissions().await;
        assert!(completed > 0 && stored.len() == completed, "{file}: {completed} of 8 came through");
        for submission in stored {
            let mut exported = serde_json::to_value(&submission).expect("JSON");
            assert_valid(&schema, &exported, &file);
            assert_valid(&webhook, &Shape::Full.render(&submission), &file);
            let read: Submission = serde_json::from_value(exported.clone()).expect("what was written");
            assert_eq!(read, submission);
            // The schema would notice.
            exported["completed_at"] = json!("yesterday");
            assert!(!schema.is_valid(&exported));
        }
    }
}

#[test]
fn an_overlay_that_is_read_is_valid_and_one_that_is_refused_for_its_shape_is_not() {
    let schema = schema(OVERLAY);
    let condition = json!({"if": {"answer": "happy"}, "op": "is", "value": true});
    let whole = json!({
        "$schema": "overlay.schema.json",
        "questions": {"name": {"type": "email", "required": true, "max_length": null, "visible_if": condition}},
        "pages": {"you": {"title": null, "rules": [{"do": {"jump": "end"}}]}},
        "breaks": [{"before": "phone", "page": "more", "title": "More"}],
        "endings": {"thanks": {"title": "Thanks", "link": null}},
        "hidden": [{"key": "utm_source", "default": "none"}],
        "variables": [{"name": "price", "initial": 1}],
        "locale": "it", "default_country": "IT", "time_zone": "Europe/Rome",
        "translations": {"it": {"title": "Tutto"}},
    });
    let is_read = |overlay: &Value| Overlay::read(overlay.to_string().as_bytes()).is_ok();
    assert!(is_read(&whole));
    assert_valid(&schema, &whole, "an overlay with every member");
    for broken in [
        json!({"question": {}}),
        json!({"questions": {"name": {"options": []}}}),
        json!({"questions": {"name": {"key": "other"}}}),
        json!({"breaks": [{"before": "phone"}]}),
        json!({"breaks": [{"before": "phone", "page": "more", "titel": "x"}]}),
        json!({"hidden": [{"default": "x"}]}),
        json!({"translations": {"it": {"title": 1}}}),
        json!([]),
    ] {
        assert!(!is_read(&broken) && !schema.is_valid(&broken), "{broken}");
    }
}

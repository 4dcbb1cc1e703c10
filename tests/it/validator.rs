//! The Flow JSON validator against one fixture per rule, random damage, and a large document.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use formgate::flow::limits;
use formgate::flow::validate::{Code, Severity, Violation, validate, validate_str};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The fixtures of one folder, by file name without its ending.
fn fixtures(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/flow-json").join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder exists")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let name = |path: &Path| path.file_stem().expect("a file name").to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).expect("readable"))).collect()
}

fn listed(violations: &[Violation]) -> String {
    violations.iter().map(|violation| format!("\n    {violation}")).collect()
}

#[test]
fn valid_documents_have_no_violations() {
    for (name, json) in fixtures("valid") {
        let violations = validate_str(&json);
        assert!(violations.is_empty(), "{name}:{}", listed(&violations));
    }
}

#[test]
fn each_broken_rule_is_reported_by_its_code_alone() {
    // What cannot be broken without breaking another rule as well.
    let accompanied = [
        "INVALID_FLOW_JSON_VERSION--number",
        "INVALID_ROUTING_MODEL--derived-loop",
        "INVALID_ROUTING_MODEL--unknown-key",
        "KEYWORD_ONE_OF--outside-form",
        "MIN_CHARS_REQUIRED--screen-id",
        "MISSING_TERMINAL_SCREEN--none",
        "COMPONENT_TYPE_MAX_NUMBER_PER_SCREEN--two-forms",
    ];
    let mut wrong = String::new();
    for (name, json) in fixtures("invalid") {
        let expected = name.split("--").next().expect("a code");
        let violations = validate_str(&json);
        let codes: BTreeSet<&str> = violations.iter().map(|violation| violation.code.as_str()).collect();
        if !codes.contains(expected) || (codes.len() > 1 && !accompanied.contains(&name.as_str())) {
            wrong += &format!("\n{name}:{}", listed(&violations));
        }
        for violation in &violations {
            assert!(violation.message.ends_with('.'), "{name}: {violation}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_code_has_a_fixture() {
    let covered: BTreeSet<String> = fixtures("invalid")
        .iter()
        .filter_map(|(name, _)| name.split("--").next().map(str::to_owned))
        .collect();
    let missing: Vec<&str> =
        Code::ALL.iter().map(|code| code.as_str()).filter(|code| !covered.contains(*code)).collect();
    assert_eq!(missing, [""; 0]);
    let known: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert!(covered.iter().all(|code| known.contains(code.as_str())));
}

#[test]
fn a_violation_names_its_place_and_severity() {
    let document = json!({"version": "7.3", "screens": [{"id": "START", "title": "Hi", "terminal": true,
    "layout": {"type": "SingleColumnLayout", "children": [
        {"type": "TextCaption", "text": "x".repeat(500)},
        {"type": "Form", "name": "form", "children": [
            {"type": "TextInput", "name": "a", "label": "A label of more than twenty characters"},
            {"type": "Footer", "label": "Go", "on-click-action": {"name": "complete", "payload": {"a": "${form.b}"}}}
        ]}
    ]}}]});
    let found: Vec<_> = validate(&document)
        .into_iter()
        .map(|violation| (violation.code, violation.path, violation.severity))
        .collect();
    let at = |rest: &str| format!("screens[0].layout.children{rest}");
    assert_eq!(
        found,
        [
            (Code::InvalidPropertyValue, at("[0].text"), Severity::Warning),
            (Code::InvalidPropertyValue, at("[1].children[0].label"), Severity::Error),
            (
                Code::InvalidOnClickActionPayload,
                at("[1].children[1].on-click-action.payload.a"),
                Severity::Error
            ),
        ]
    );
}

#[test]
fn a_document_over_ten_megabytes_is_refused() {
    let most = limits::table().global.flow_json_bytes;
    let document = json!({"version": "7.3", "screens": [{"id": "A", "title": "x".repeat(most), "terminal": true,
        "layout": {"type": "SingleColumnLayout", "children": [
            {"type": "Footer", "label": "Go", "on-click-action": {"name": "complete", "payload": {}}}]}}]});
    let codes: Vec<_> = validate(&document).into_iter().map(|violation| violation.code).collect();
    assert_eq!(codes, [Code::InvalidFlowJson]);
    assert_eq!(validate_str(&document.to_string()).len(), 1);
}

#[test]
fn a_picture_over_its_size_is_refused() {
    let image = |kilobytes: usize| format!("/9j/{}", "A".repeat(kilobytes * 4000 / 3 - 4));
    let document = |kilobytes| {
        json!({"version": "7.3", "screens": [{"id": "A", "title": "x", "terminal": true,
            "layout": {"type": "SingleColumnLayout", "children": [
                {"type": "Image", "src": image(kilobytes)},
                {"type": "Footer", "label": "Go", "on-click-action": {"name": "complete", "payload": {}}}]}}]})
    };
    assert_eq!(validate(&document(300)), []);
    let codes: Vec<_> = validate(&document(303)).into_iter().map(|violation| violation.code).collect();
    assert_eq!(codes, [Code::InvalidPropertyValue]);
}

/// The largest flow that is allowed: 100 screens of 50 components, each with a reference or an expression.
fn largest() -> Value {
    let id =
        |n: usize| format!("S{}{}", char::from(b'A' + (n / 26) as u8), char::from(b'A' + (n % 26) as u8));
    let screen = |n: usize| {
        let mut children: Vec<Value> = (0..24)
            .flat_map(|i| {
                [
                    json!({"type": "TextInput", "name": format!("q_{i}"), "label": "Name", "required": "${data.on}"}),
                    json!({"type": "TextBody", "text": format!("`'You wrote ' ${{form.q_{i}}} '!'`"), "visible": "${data.on}"}),
                ]
            })
            .collect();
        children.push(if n < 99 {
            json!({"type": "Footer", "label": "Go", "on-click-action": {"name": "navigate",
                "next": {"type": "screen", "name": id(n + 1)}, "payload": {"on": "${data.on}"}}})
        } else {
            json!({"type": "Footer", "label": "Go", "on-click-action": {"name": "complete", "payload": {}}})
        });
        json!({"id": id(n), "title": "Title", "terminal": n == 99, "data": {"on": {"type": "boolean", "__example__": true}},
            "layout": {"type": "SingleColumnLayout", "children": children}})
    };
    json!({"version": "7.3", "screens": (0..100).map(screen).collect::<Vec<_>>()})
}

#[test]
fn the_largest_flow_passes_in_a_moment() {
    let document = largest();
    // The best of three: a busy machine is not slow each time.
    let took = (0..3).map(|_| {
        let start = std::time::Instant::now();
        let violations = validate(&document);
        let took = start.elapsed();
        assert!(violations.is_empty(), "{}", listed(&violations));
        took
    });
    let took = took.min().expect("three");
    // A few milliseconds when optimised; the bound only catches work that grows with the square of the document.
    assert!(took.as_millis() < 2_000, "{took:?}");
}

#[test]
fn many_faults_in_one_screen_take_no_quadratic_time() {
    let children: Vec<Value> =
        (0..30_000).map(|i| json!({"type": "TextBody", "text": format!("${{form.q_{i}}}")})).collect();
    let options: Vec<Value> =
        (0..30_000).map(|i| json!({"id": i.to_string(), "title": "x", "enabled": false})).collect();
    let ids: Vec<String> = (0..30_000).map(|i| i.to_string()).collect();
    let dropdown = json!({"type": "CheckboxGroup", "name": "d", "label": "D", "data-source": options, "init-value": ids});
    let screens: Vec<Value> = (0..30_000).map(|i| json!({"id": format!("S{i}")})).collect();
    for children in [json!(children), json!([dropdown])] {
        let document = json!({"version": "7.3", "screens": [{"id": "A", "layout": {"children": children}}]});
        assert!(!validate(&document).is_empty());
    }
    assert!(!validate(&json!({"version": "7.3", "screens": screens})).is_empty());
}

/// Puts `new` in the place of the value that the numbers lead to; removes that for `None`.
fn damage(value: &mut Value, steps: &[usize], new: Option<&Value>) {
    let Some((step, rest)) = steps.split_first() else {
        *value = new.cloned().unwrap_or_default();
        return;
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            let key = map.keys().nth(step % map.len()).expect("inside").clone();
            if rest.is_empty() && new.is_none() {
                map.remove(&key);
            } else {
                damage(map.get_mut(&key).expect("inside"), rest, new);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let index = step % items.len();
            damage(&mut items[index], rest, new);
        }
        leaf => *leaf = new.cloned().unwrap_or_default(),
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~é]{0,12}".prop_map(Value::from),
        r"`?(\$\{(data|form|screen)\.[a-zA-Z.]{0,8}\}|'x'| == |&&|\(|\)|!){0,5}`?".prop_map(Value::from),
        prop::sample::select(vec![
            "Form",
            "If",
            "Switch",
            "Footer",
            "CalendarPicker",
            "NavigationList",
            "7.3",
            "2.1",
            "range"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let key = prop_oneof![
            prop::sample::select(vec![
                "type",
                "name",
                "children",
                "then",
                "cases",
                "label",
                "data",
                "payload",
                "start-date"
            ])
            .prop_map(str::to_owned),
            "[a-z-]{0,8}"
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_damage_to_a_document_makes_the_validator_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((prop::collection::vec(0_usize..12, 1..10), prop::option::of(any_json())), 1..6)
    ) {
        let valid = fixtures("valid");
        let (_, json) = which.get(&valid);
        let mut document: Value = serde_json::from_str(json).expect("a fixture");
        for (steps, new) in &changes {
            damage(&mut document, steps, new.as_ref());
        }
        let _ = validate(&document);
    }

    #[test]
    fn anything_at_all_is_validated_without_a_panic(document in any_json()) {
        let _ = validate(&document);
        let _ = validate(&json!({"version": "7.3", "screens": document.clone()}));
        let _ = validate(&json!({"version": "7.3", "screens": [{"id": "A", "layout": {"children": [document]}}]}));
    }
}

#[test]
fn nesting_beyond_any_document_is_refused_without_recursion() {
    let mut document = json!(1);
    for _ in 0..2_000 {
        document = Value::Array(vec![document]);
    }
    let codes: Vec<_> = validate(&document).into_iter().map(|violation| violation.code).collect();
    assert_eq!(codes, [Code::InvalidFlowJson]);
}

//! Arbitrary bytes and broken copies of valid input: whatever reads them refuses or reads, and never panics.

use formgate::connector::connector;
use formgate::crypto::{KeyRing, MasterKey, MasterKeys, PrivateKey, Purpose, Sealer};
use formgate::endpoint::token::Token;
use formgate::flow::compile::{Settings, compile};
use formgate::flow::handler::Session;
use formgate::flow::plan::Plan;
use formgate::flow::validate::{validate, validate_str};
use formgate::form::Form;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{Dice, generate};

fn config() -> ProptestConfig {
    // Seeds of failures are printed; no file is written, since a test that fell becomes one of `regressions`.
    ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() }
}

/// Any JSON, with the words of the given vocabulary.
fn json_of(words: &'static [&'static str]) -> impl Strategy<Value = Json> {
    let word = prop::sample::select(words);
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        word.clone().prop_map(|value| json!(value)),
        ".{0,12}".prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(6, 80, 8, move |inner| {
        let name = prop_oneof![word.clone().prop_map(str::to_owned), ".{0,6}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Json::Array),
            prop::collection::vec((name, inner), 0..8)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

/// Breaks a text in a few places.
pub fn broken(text: &str, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..1 + dice.below(4) {
        let at = dice.below(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
        match dice.below(5) {
            0 => bytes.truncate(at),
            1 => bytes[at] = dice.bytes::<1>()[0],
            2 => bytes.insert(at, *dice.pick(b"{}[]\",:0e\\$`")),
            3 => drop(bytes.remove(at)),
            _ => {
                let end = (at + dice.below(60)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
        if bytes.is_empty() {
            return bytes;
        }
    }
    bytes
}

/// Puts other values, other names and nothing in some places of a JSON value.
pub fn twisted(value: &mut Json, dice: &mut Dice, odds: usize) {
    if dice.below(odds) == 0 {
        let others = [
            Json::Null,
            json!(true),
            json!(-1),
            json!(1e300),
            json!(""),
            json!("${data.x}"),
            json!("`${form.x} + 1`"),
            json!([]),
            json!({}),
            json!([[[{}]]]),
            json!("x".repeat(5_000)),
            json!(u64::MAX),
        ];
        *value = dice.pick(&others).clone();
        return;
    }
    match value {
        Json::Array(items) => {
            if !items.is_empty() && dice.below(odds) == 0 {
                let again = dice.pick(items).clone();
                items.push(again);
            }
            items.iter_mut().for_each(|item| twisted(item, dice, odds));
        }
        Json::Object(members) => {
            if dice.below(odds) == 0
                && let Some(name) = members.keys().nth(dice.below(members.len().max(1))).cloned()
            {
                let value = members.remove(&name).unwrap_or_default();
                if dice.chance(50) {
                    members.insert(format!("{name}x"), value);
                }
            }
            members.values_mut().for_each(|item| twisted(item, dice, odds));
        }
        _ => {}
    }
}

const FLOW_WORDS: &[&str] = &[
    "version",
    "7.3",
    "screens",
    "id",
    "START",
    "title",
    "layout",
    "type",
    "SingleColumnLayout",
    "children",
    "Form",
    "If",
    "Switch",
    "condition",
    "then",
    "else",
    "cases",
    "value",
    "Footer",
    "on-click-action",
    "name",
    "data_exchange",
    "navigate",
    "complete",
    "next",
    "screen",
    "payload",
    "routing_model",
    "data_api_version",
    "4.0",
    "data",
    "__example__",
    "array",
    "items",
    "object",
    "properties",
    "string",
    "${data.a}",
    "${form.a}",
    "`${form.a} == 'b'`",
    "data-source",
    "RadioButtonsGroup",
    "TextInput",
    "label",
    "init-values",
    "error-messages",
    "terminal",
    "success",
    "NavigationList",
    "list-items",
    "PhotoPicker",
    "CalendarPicker",
    "DatePicker",
    "min-date",
    "2024-02-30",
    "${screen.START.form.a}",
];

const FORM_WORDS: &[&str] = &[
    "id",
    "f",
    "title",
    "pages",
    "questions",
    "key",
    "a",
    "type",
    "email",
    "short_text",
    "single_choice",
    "options",
    "label",
    "rules",
    "when",
    "do",
    "jump",
    "question",
    "page",
    "ending",
    "end",
    "if",
    "answer",
    "op",
    "is",
    "value",
    "all",
    "any",
    "not",
    "visible_if",
    "matrix",
    "rows",
    "columns",
    "scale",
    "min",
    "max",
    "step",
    "rating",
    "steps",
    "pattern",
    "regex",
    "(",
    "[",
    "(a{1000}){1000}",
    "hidden",
    "variables",
    "name",
    "initial",
    "endings",
    "translations",
    "{{answer:a}}",
    "fields",
];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_validator_reads_any_json(document in json_of(FLOW_WORDS), inside in json_of(FLOW_WORDS)) {
        let _ = validate(&document);
        let flow = json!({"version": "7.3", "data_api_version": "4.0", "routing_model": document, "screens": [
            {"id": "START", "title": "T", "data": inside, "terminal": true, "layout": {"type": "SingleColumnLayout", "children": [document, inside]}},
            inside,
        ]});
        let violations = validate(&flow);
        prop_assert!(!violations.is_empty(), "such a document cannot be right");
        prop_assert_eq!(violations, validate(&flow));
    }

    #[test]
    fn the_validator_and_the_importer_read_any_text(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let form = connector("form").expect("our own");
        let _ = (validate_str(&text), form.read(text.as_bytes()), form.read(&bytes));
        let _ = validate_str(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn the_importer_reads_any_json_and_what_it_takes_compiles_or_is_refused(definition in json_of(FORM_WORDS), questions in json_of(FORM_WORDS)) {
        let form = connector("form").expect("our own");
        let whole = json!({"id": "f", "title": "F", "pages": [{"id": "p", "questions": [questions, definition]}], "endings": definition});
        for json in [definition, whole] {
            if let Ok(import) = form.read(json.to_string().as_bytes()) {
                prop_assert_eq!(import.form.check(), vec![]);
                let _ = compile(&import.form, &Settings::default());
            }
        }
    }

    #[test]
    fn a_session_and_a_plan_read_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Session::from_bytes(&bytes);
        let _ = serde_json::from_slice::<Plan>(&bytes);
    }

    #[test]
    fn no_sealed_text_opens_but_our_own(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let sealer = Sealer::new(&MasterKeys::new(MasterKey::generate(), Vec::new()));
        for text in [text.clone(), format!("fg.{text}"), hex(&bytes), format!("fg.{}", hex(&bytes))] {
            prop_assert!(sealer.open(Purpose::State, b"place", &text).is_err());
            prop_assert!(Token::open(&sealer, "contact", &text, 0).is_err());
        }
        prop_assert!(sealer.open_bytes(Purpose::StoredBody, b"place", &bytes).is_err());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_validator_reads_every_broken_copy_of_a_compiled_document() {
    super::for_seeds(60, |seed| {
        let mut dice = Dice::new(seed ^ 0xb0);
        let Some(flow) = super::compiled(&generate::form(seed), &Settings::default()) else { return };
        let text = flow.document.to_string();
        for round in 0..8 {
            let _ = validate_str(&String::from_utf8_lossy(&broken(&text, &mut dice)));
            let mut document = flow.document.clone();
            twisted(&mut document, &mut dice, 20 << round);
            assert_eq!(validate(&document), validate(&document));
        }
    });
}

#[test]
fn the_importer_reads_every_broken_copy_of_a_form_and_what_it_takes_compiles_or_is_refused() {
    super::for_seeds(80, |seed| {
        let mut dice = Dice::new(seed ^ 0xf0);
        let form = generate::form(seed);
        let reader = connector("form").expect("our own");
        let whole = serde_json::to_value(&form).expect("a form");
        assert_eq!(
            reader.read(whole.to_string().as_bytes()).map(|import| import.form),
            Ok(form),
            "what we write we read"
        );
        for round in 0..12 {
            let _ = reader.read(&broken(&whole.to_string(), &mut dice));
            let mut definition = whole.clone();
            twisted(&mut definition, &mut dice, 40 << round);
            if let Ok(import) = reader.read(definition.to_string().as_bytes()) {
                accept(&import.form);
            }
        }
    });
}

/// A form that was read is compiled, or refused in words that name the owner's fault and not ours.
fn accept(form: &Form) {
    use formgate::flow::compile::Error;
    match compile(form, &Settings::default()) {
        Ok(flow) => assert_eq!(flow.plan.screens[0].id, "START"),
        Err(Error::Invalid(violations)) => {
            panic!("a fault of ours: {violations:?}\n{}", serde_json::to_string(form).expect("a form"))
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

#[test]
fn no_envelope_opens_but_what_was_sealed_for_the_key() {
    let key = PrivateKey::generate();
    let public = formgate::player::envelope::EndpointKey::from_pem(&key.public_pem()).expect("our own key");
    let ring = KeyRing::new(vec![key]);
    let mut dice = Dice::new(7);
    let envelope =
        formgate::player::envelope::Envelope::seal(&public, b"{\"action\":\"ping\"}").expect("sealed");
    let text = String::from_utf8(envelope.body().to_vec()).expect("JSON");
    assert!(ring.open(text.as_bytes()).is_ok());
    for _ in 0..300 {
        let bytes = broken(&text, &mut dice);
        if let Ok(opened) = ring.open(&bytes) {
            // Breaking what JSON does not care about leaves the message as it was.
            assert_eq!(opened.plaintext.as_slice(), b"{\"action\":\"ping\"}");
        }
        let mut json: Json = serde_json::from_str(&text).expect("JSON");
        twisted(&mut json, &mut dice, 3);
        let _ = ring.open(json.to_string().as_bytes());
        let _ = ring.open(&dice.bytes::<64>());
    }
}

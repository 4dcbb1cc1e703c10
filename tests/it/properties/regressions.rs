//! What the properties found, each as the smallest form that shows it.

use std::collections::BTreeMap;

use formgate::flow::compile::{Compiled, Error, Mode, Settings, compile};
use formgate::flow::handler::{Completed, Turn};
use formgate::flow::plan::{Content, Entry};
use formgate::form::{Form, Scalar, Validator};
use serde_json::{Map, Value as Json, json};

use super::phone::Phone;

fn form(parts: &Json) -> Form {
    let mut whole = json!({"id": "f", "title": "Form"});
    if let (Some(whole), Some(parts)) = (whole.as_object_mut(), parts.as_object()) {
        whole.extend(parts.clone());
    }
    serde_json::from_value(whole).expect("a form")
}

fn of(questions: Json) -> Form {
    form(&json!({"pages": [{"id": "p", "questions": questions}]}))
}

fn flow(form: &Form, settings: &Settings) -> Compiled {
    compile(form, settings).unwrap_or_else(|error| panic!("{error}"))
}

/// Walks with these texts by key; tells what was submitted, and how many screens were passed.
fn walk(form: &Form, mode: Mode, texts: &[(&str, &str)]) -> (Completed, usize) {
    let phone = Phone::new(flow(form, &Settings { mode, ..Settings::default() }), BTreeMap::new());
    let mut show = phone.open();
    for screens in 1..2_000 {
        let mut payload = Map::new();
        for block in phone.blocks(&show.screen) {
            let key = &phone.handler.question(block.position).key;
            let text = texts.iter().find(|(of, _)| of == key).map_or("x", |(_, text)| text);
            payload.extend(block.inputs.iter().map(|input| (input.name.clone(), json!(text))));
        }
        match phone.send(&show, &payload) {
            Turn::Show(next) => {
                assert!(!next.problem, "{payload:?}");
                show = next;
            }
            Turn::Finish { completed, .. } => return (completed, screens),
        }
    }
    panic!("it never ends");
}

fn keys(form: &Form, completed: &Completed) -> Vec<String> {
    let all: Vec<&str> = form.questions().map(|(_, question)| question.key.as_str()).collect();
    completed.answers.iter().map(|(position, _)| all[*position].to_owned()).collect()
}

#[test]
fn a_jump_to_a_page_does_not_run_the_rules_of_the_page_before_it() {
    // As in Google Forms: “go to section B if …”, and section A goes on to section C by itself.
    let form = form(&json!({"pages": [
        {"id": "a", "questions": [{"key": "one", "title": "One", "type": "short_text", "rules": [
            {"when": {"if": {"answer": "one"}, "op": "is", "value": "b"}, "do": {"jump": {"page": "b"}}}]}],
         "rules": [{"do": {"jump": {"page": "c"}}}]},
        {"id": "b", "questions": [{"key": "two", "title": "Two", "type": "short_text"}]},
        {"id": "c", "questions": [{"key": "three", "title": "Three", "type": "short_text"}]}
    ]}));
    for mode in [Mode::Grouped, Mode::OneQuestion] {
        assert_eq!(keys(&form, &walk(&form, mode, &[("one", "b")]).0), ["one", "two", "three"]);
        assert_eq!(keys(&form, &walk(&form, mode, &[]).0), ["one", "three"]);
    }
}

#[test]
fn a_loop_by_the_rules_of_a_page_ends() {
    let form = form(&json!({"pages": [
        {"id": "a", "questions": [{"key": "one", "title": "One", "type": "short_text"}]},
        {"id": "b", "questions": [{"key": "two", "title": "Two", "type": "short_text"}],
         "rules": [{"do": {"jump": {"page": "a"}}}]}
    ]}));
    let (completed, screens) = walk(&form, Mode::Grouped, &[]);
    assert_eq!(keys(&form, &completed), ["one", "two"]);
    assert_eq!(screens, 1 + 2 * 101, "the opening, a hundred rounds and the last one");
}

#[test]
fn a_loop_that_is_entered_in_its_middle_ends() {
    let form = of(json!([
        {"key": "a", "title": "A", "type": "short_text", "rules": [{"do": {"jump": {"question": "c"}}}]},
        {"key": "b", "title": "B", "type": "short_text"},
        {"key": "c", "title": "C", "type": "short_text", "rules": [{"do": {"jump": {"question": "b"}}}]}
    ]));
    assert_eq!(keys(&form, &walk(&form, Mode::OneQuestion, &[]).0), ["a", "c"]);
}

#[test]
fn a_rule_sees_the_answers_given_until_then_also_when_it_is_computed_anew() {
    let form = form(&json!({
        "variables": [{"name": "early", "initial": 0}],
        "pages": [{"id": "p", "questions": [
            {"key": "a", "title": "A", "type": "short_text", "rules": [
                {"when": {"if": {"answer": "b"}, "op": "answered"}, "do": {"add": ["early", 1]}}]},
            {"key": "b", "title": "B", "type": "short_text"},
            {"key": "c", "title": "C", "type": "short_text"}
        ]}]
    }));
    for mode in [Mode::Grouped, Mode::OneQuestion] {
        let (completed, _) = walk(&form, mode, &[]);
        assert_eq!(completed.variables.get("early"), Some(&Scalar::Number(0.0)), "{mode:?}");
    }
}

#[test]
fn texts_are_ordered_without_regard_to_case() {
    let form = of(json!([
        {"key": "a", "title": "A", "type": "short_text", "rules": [
            {"when": {"if": {"answer": "a"}, "op": "less_than", "value": "m"}, "do": {"jump": "end"}}]},
        {"key": "b", "title": "B", "type": "short_text"}
    ]));
    assert_eq!(keys(&form, &walk(&form, Mode::Grouped, &[("a", "Apple")]).0), ["a"]);
    assert_eq!(keys(&form, &walk(&form, Mode::Grouped, &[("a", "Zebra")]).0), ["a", "b"]);
}

#[test]
fn a_menu_that_many_questions_lead_back_to_compiles() {
    let mut questions = vec![json!({"key": "menu", "title": "Menu", "type": "yes_no"})];
    for n in 0..16 {
        questions.push(json!({"key": format!("k{n}"), "title": "More?", "type": "yes_no", "rules": [
            {"when": {"if": {"answer": format!("k{n}")}, "op": "is", "value": true}, "do": {"jump": {"question": "menu"}}}]}));
    }
    for mode in [Mode::Grouped, Mode::OneQuestion] {
        let compiled = flow(&of(json!(questions)), &Settings { mode, ..Settings::default() });
        assert_eq!(compiled.report.blockers, [""; 0]);
        assert!(compiled.plan.screens.iter().any(|screen| screen.content == Content::Relay));
    }
}

#[test]
fn texts_that_read_like_code_are_shown_as_they_are() {
    for text in ["${form.x}", "`'a' == 'b'`", "  `1 + 1`", "{{answer:a}} costs ${5}"] {
        let options =
            json!([{"id": "x", "label": text}, {"id": "y", "label": format!("{text} {}", "y".repeat(40))}]);
        let form = form(
            &json!({"title": text, "description": text, "pages": [{"id": "p", "title": text, "questions": [
            {"key": "a", "title": text, "help": text, "type": "single_choice", "options": options, "other": {"label": text}},
            {"key": "b", "title": text, "type": "consent", "text": text},
            {"key": "c", "title": text, "type": "matrix", "rows": [{"id": "r", "label": text}], "columns": options},
            {"key": "d", "title": text, "type": "nps", "labels": {"left": text}},
            {"key": "e", "title": text.repeat(900), "help": text.repeat(100), "type": "short_text"}
        ]}], "endings": [{"key": "e", "title": text}]}),
        );
        for entry in [Entry::Exchange, Entry::Static] {
            flow(&form, &Settings { entry, ..Settings::default() });
        }
    }
}

#[test]
fn labels_and_helps_that_have_no_place_of_their_own_are_not_lost() {
    let labels = json!({"left": "Awful", "center": "So so", "right": "Great"});
    let form = of(json!([
        {"key": "a", "title": "A", "type": "scale", "min": 1, "max": 4, "labels": labels},
        {"key": "b", "title": "B", "type": "scale", "min": 1, "max": 500, "labels": labels},
        {"key": "c", "title": "C", "help": "Local time", "type": "date_time"},
        {"key": "d", "title": "D", "help": "By card", "type": "unsupported", "source_type": "payment"},
        {"key": "e", "title": "E", "type": "single_choice", "options": [{"id": "x", "label": "X"}],
         "other": {"label": "Something else that is not in this list"}}
    ]));
    let compiled = flow(&form, &Settings::default());
    let (document, report) = (compiled.document.to_string(), compiled.report.to_text());
    for text in ["1: Awful", "500: Great", "Local time", "By card", "Something else that is not in this list"]
    {
        assert!(document.contains(text), "{text}");
    }
    assert!(report.contains("So so"), "{report}");
}

#[test]
fn what_an_answer_of_the_same_screen_may_hide_gets_a_screen_of_its_own() {
    let hides = json!({"not": {"if": {"answer": "a"}, "op": "is", "value": "stop"}});
    let by_page = form(&json!({"pages": [{"id": "p", "visible_if": hides, "questions": [
        {"key": "a", "title": "A", "type": "short_text"}, {"key": "b", "title": "B", "type": "short_text"}]}]}));
    let shared = json!({"if": {"variable": "v"}, "op": "is", "value": 0});
    let by_sum = form(
        &json!({"variables": [{"name": "v", "initial": 0}], "pages": [{"id": "p", "questions": [
        {"key": "a", "title": "A", "type": "short_text", "visible_if": shared, "rules": [{"do": {"add": ["v", 1]}}]},
        {"key": "b", "title": "B", "type": "short_text", "visible_if": shared}]}]}),
    );
    // The phone would reveal by the very letter, the form does not mind case.
    let by_case = of(json!([
        {"key": "a", "title": "A", "type": "single_choice", "options": [{"id": "x", "label": "x"}, {"id": "X", "label": "X"}]},
        {"key": "b", "title": "B", "type": "short_text", "visible_if": {"if": {"answer": "a"}, "op": "is", "value": "x"}}
    ]));
    for form in [by_page, by_sum, by_case] {
        let compiled = flow(&form, &Settings::default());
        let together = |content: &Content| matches!(content, Content::Questions(blocks) if blocks.len() > 1);
        assert!(!compiled.plan.screens.iter().any(|screen| together(&screen.content)), "{:?}", form.pages);
    }
}

#[test]
fn a_tiny_fraction_is_no_step_of_a_scale() {
    let form = of(json!([{"key": "a", "title": "A", "type": "nps"}]));
    let (_, question) = form.questions().next().expect("one");
    let validator = Validator::new(&form);
    for number in [1e-171, 5.000_000_000_000_001, -1e-30] {
        assert!(validator.accept(question, Some(&json!(number)), None).is_err(), "{number}");
    }
}

#[test]
fn bounds_that_are_no_dates_and_patterns_that_cannot_be_held_are_faults_of_the_form() {
    for question in [
        json!({"type": "date", "min": ""}),
        json!({"type": "date", "max": "2024-02-30"}),
        json!({"type": "date_time", "min": "2024-01-02", "max": "2024-01-01"}),
        json!({"type": "time", "min": "8:00"}),
        json!({"type": "time", "min": "18:00", "max": "08:00"}),
        json!({"type": "short_text", "pattern": {"regex": "(?x) a # and no more"}}),
        json!({"type": "short_text", "pattern": {"regex": "\\w{250}"}}),
    ] {
        let mut whole = question.clone();
        whole["key"] = json!("a");
        let form = of(json!([whole]));
        assert_eq!(form.check().len(), 1, "{question}");
        assert!(matches!(compile(&form, &Settings::default()), Err(Error::Form(_))));
    }
}

//! SurveyMonkey surveys become forms: everything is carried or named, nothing panics.

use std::collections::BTreeSet;

use formgate::catalog;
use formgate::connector::{Import, ImportError, connector};
use formgate::flow::compile::Settings;
use formgate::form::{Display, Kind, Part, Question};
use proptest::prelude::*;
use serde_json::{Value, json};

mod corpus;
mod home;
mod kinds;
pub(crate) mod person;

const WORKSHOP: &str = include_str!("../fixtures/surveymonkey/workshop.json");

fn read(definition: &str) -> Result<Import, ImportError> {
    connector("surveymonkey").expect("a reader").read(definition.as_bytes())
}

fn workshop() -> Import {
    read(WORKSHOP).expect("a form")
}

/// A survey of these questions.
fn survey(questions: Value) -> Import {
    let definition = json!({"id": "1", "language": "en", "question_count": 1, "title": "X",
        "pages": [{"id": "2", "questions": questions}]});
    read(&definition.to_string()).expect("a form")
}

/// The notes, as `lost AT: TEXT` and `AT: TEXT`.
fn told(import: &Import) -> BTreeSet<String> {
    let told =
        import.notes.iter().map(|n| format!("{}{}: {}", if n.lost { "lost " } else { "" }, n.at, n.text));
    told.collect()
}

#[test]
fn every_kind_of_question_becomes_its_questions() {
    let import = workshop();
    let found: Vec<String> = import
        .form
        .questions()
        .map(|(page, q)| format!("{page} {} {}{}", q.key, q.kind.name(), if q.required { "!" } else { "" }))
        .collect();
    assert_eq!(
        found,
        [
            "0 100 single_choice!",
            "0 101 single_choice",
            "0 102 single_choice",
            "0 102/other-1210 long_text",
            "0 103 multiple_choice!",
            "0 104 multiple_choice",
            "1 200 matrix!",
            "1 201 matrix",
            "1 201/row-2101/other-2190 short_text",
            "1 201/row-2102/other-2190 short_text",
            "1 202 matrix",
            "1 203 ranking!",
            "1 204/row-2401/col-2451 single_choice",
            "1 204/row-2401/col-2452 single_choice",
            "1 204/row-2402/col-2451 single_choice",
            "1 204/row-2402/col-2452 single_choice",
            "1 204/other-2490 short_text",
            "1 205/row-2501 rating!",
            "1 206/row-2601 nps",
            "1 207/row-2701 single_choice",
            "2 300 short_text!",
            "2 301 long_text",
            "2 302 number",
            "2 303 number",
            "2 304 email",
            "2 305 date",
            "2 306 date",
            "2 307 short_text",
            "2 308 short_text",
            "2 309 scale",
            "2 310 file",
            "2 311/row-3111 short_text!",
            "2 311/row-3112 short_text!",
            "2 312/row-3121 number",
            "2 312/row-3122 number",
            "3 400/row-4001 short_text!",
            "3 400/row-4002 short_text",
            "3 400/row-4003 email!",
            "3 400/row-4004 phone",
            "3 400/row-4005 short_text",
            "3 401/row-4101 date_time",
            "3 402/row-4201 date",
            "3 402/row-4202 date",
            "3 403/row-4301 time!",
            "3 404 statement",
            "3 405 statement",
            "3 406 short_text",
            "3 407 unsupported",
            "4 page/14 statement",
        ]
    );
    assert_eq!((import.form.id.as_str(), import.form.title.as_str()), ("9001", "Workshop feedback"));
    let hidden: Vec<&str> = import.form.hidden.iter().map(|hidden| hidden.key.as_str()).collect();
    assert_eq!(hidden, ["campaign", "ref"]);
    assert_eq!(import.form.pages[0].description.as_deref(), Some("Four short questions."));
}

fn question<'f>(import: &'f Import, key: &str) -> &'f Question {
    import.form.question(key).unwrap_or_else(|| panic!("no {key}"))
}

fn labels(import: &Import, key: &str) -> Vec<String> {
    question(import, key).kind.options().iter().map(|o| format!("{} {}", o.id, o.label)).collect()
}

#[test]
fn texts_options_and_rows_are_those_of_the_survey() {
    let import = workshop();
    let heard = question(&import, "100");
    assert_eq!(heard.title, "How did you hear of us? See help (https://example.com/help)");
    assert_eq!(
        labels(&import, "100"),
        ["1001 A friend", "1002 The press"],
        "what was deleted is not offered"
    );
    assert!(matches!(&heard.kind, Kind::SingleChoice(c)
        if c.other.as_ref().is_some_and(|o| o.label.as_deref() == Some("Somewhere else"))));
    assert_eq!(labels(&import, "101"), ["1102 Ash", "1103 Elm", "1101 Oak"]);
    assert!(
        matches!(&question(&import, "101").kind, Kind::SingleChoice(c) if c.display == Display::Dropdown)
    );
    let why = question(&import, "102/other-1210");
    assert!(matches!(&why.kind, Kind::LongText(limits) if limits.max_length == Some(200)));
    assert_eq!(why.group.as_ref().map(|g| g.title.as_str()), Some("Would you come again?"));
    assert!(
        matches!(&question(&import, "103").kind, Kind::MultipleChoice(c) if (c.min, c.max) == (Some(2), Some(3)))
    );
    let Kind::MultipleChoice(pictures) = &question(&import, "104").kind else { panic!("no choice") };
    assert_eq!(pictures.display, Display::Picture);
    assert_eq!(pictures.options[0].image.as_deref(), Some("https://example.com/1401.png"));

    let Kind::Matrix { rows, columns, multiple: false } = &question(&import, "200").kind else {
        panic!("no matrix")
    };
    assert_eq!(rows.iter().map(|r| r.label.as_str()).collect::<Vec<_>>(), ["Food", "Rooms"]);
    assert_eq!(columns.len(), 3);
    assert_eq!(labels(&import, "201"), ["2151 Poor", "2152 Fair – as expected"]);
    assert!(matches!(&question(&import, "202").kind, Kind::Matrix { multiple: true, .. }));
    assert_eq!(question(&import, "204/row-2402/col-2451").title, "Cake: Texture");
    assert_eq!(labels(&import, "204/row-2402/col-2452"), ["24521 Mild", "24522 Strong"]);
    assert_eq!(question(&import, "205/row-2501").kind, Kind::Rating { steps: 5 });
    assert!(matches!(&question(&import, "206/row-2601").kind, Kind::Nps { labels }
        if labels.left.as_deref() == Some("Not at all likely") && labels.right.as_deref() == Some("Extremely likely")));
    assert_eq!(question(&import, "207/row-2701").title, "The staff");

    let email = question(&import, "400/row-4003");
    assert_eq!(
        (email.title.as_str(), email.group.as_ref().and_then(|g| g.part)),
        ("E-mail", Some(Part::Email))
    );
    assert!(email.is_personal() && question(&import, "400/row-4005").is_personal());
    assert_eq!(question(&import, "400/row-4002").title, "company");
    assert_eq!(question(&import, "404").title, "Almost & nearly done.\n• One more");
    assert_eq!(question(&import, "406").title, "Shorter, [Q1]?");
}

#[test]
fn rules_for_what_is_typed_are_those_of_the_survey() {
    let import = workshop();
    let kind = |key: &str| &question(&import, key).kind;
    assert!(
        matches!(kind("301"), Kind::LongText(l) if (l.min_length, l.max_length) == (Some(10), Some(500)))
    );
    assert_eq!(kind("302"), &Kind::Number { min: Some(1.0), max: Some(20.0), integer: true });
    assert_eq!(kind("303"), &Kind::Number { min: Some(0.5), max: None, integer: false });
    let day = |day: &str| Some(day.to_owned());
    assert_eq!(kind("305"), &Kind::Date { min: day("2026-01-15"), max: day("2026-12-31") });
    assert_eq!(kind("306"), &Kind::Date { min: day("2026-01-15"), max: None });
    assert!(matches!(kind("307"), Kind::ShortText(limits)
        if limits.pattern.as_ref().is_some_and(|p| p.regex == "[A-Z]{2}\\d{3}" && p.message.as_deref() == Some("Two letters, three digits."))));
    assert!(matches!(kind("309"), Kind::Scale { min: 0, max: 10, step: 2, labels }
        if labels.left.as_deref() == Some("0 - cold") && labels.center.is_none()));
    assert_eq!(kind("312/row-3121"), &Kind::Number { min: Some(0.0), max: Some(10.0), integer: true });
    assert_eq!(kind("401/row-4101"), &Kind::DateTime { min: day("2026-01-01"), max: day("2026-12-31") });
}

#[test]
fn what_a_chat_cannot_carry_is_named() {
    let import = workshop();
    let told = told(&import);
    for expected in [
        "form.logic: unknown: SurveyMonkey's API does not show skip logic, branching, randomised pages and questions, or quotas; if the survey has any, it does not take place here and every page is asked in its order",
        "form.messages: where an answer is missing or wrong, Formgate's words for it are shown and not the survey's own",
        "form.other: the field sizes of “other” options are not held; SurveyMonkey may refuse a longer text",
        "lost form.quiz: points and feedback of the quiz are not shown; SurveyMonkey may count them",
        "question.103: its order (“random”) is not carried: it always comes in the same one",
        "lost question.200: that each column is chosen for one row only is not enforced",
        "lost question.201: that 1 of its 2 rows must be answered is not enforced; SurveyMonkey may refuse what is sent",
        "lost question.308: its rule is a regular expression that the definition does not hold; it is not enforced",
        "question.310: SurveyMonkey takes no files from outside: the file is asked for, and the response written there is without it",
        "lost question.312: that its numbers add up to a sum is not enforced; SurveyMonkey may refuse what is sent",
        "question.405: its picture is not shown in the chat",
        "question.406: of its 2 wordings, shown at random in SurveyMonkey, only the first is asked",
        "lost question.406: its text fills in “[Q1]”, which the definition does not explain; it is shown as written",
        "lost question.407: its family makes no sense or is not known (“payment/card”), so it cannot be asked",
    ] {
        assert!(told.contains(expected), "{expected}\n{told:#?}");
    }
    assert_eq!(told.len(), 14, "{told:#?}");
    let compiled = catalog::compile(&import, &Settings::default()).expect("a flow");
    for note in &import.notes {
        assert!(compiled.report.items.iter().any(|item| item.at == note.at && item.reason == note.text));
    }
    assert!(compiled.report.blockers.is_empty(), "nothing that must be answered is dropped");
}

#[test]
fn damaged_parts_are_named_and_the_rest_is_read() {
    let boxes = |subtype: &str, rest: Value| {
        let mut question =
            json!({"family": "open_ended", "subtype": subtype, "headings": [{"heading": "T"}]});
        question.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        question
    };
    let choices = json!([{"id": 7, "text": "a"}, {"text": "b"}, {"id": "7", "text": "c"}, {"id": "8"}]);
    let import = survey(json!([
        boxes("single", json!({})),
        boxes("single", json!({"id": "a"})),
        boxes("single", json!({"id": "a"})),
        boxes("hologram", json!({"id": "b"})),
        {"id": "c", "headings": "?"},
        {"id": "d", "family": "single_choice", "headings": [{"heading": "D"}], "answers": {"choices": choices}},
        {"id": "e", "family": "multiple_choice", "headings": [{"heading": "E"}], "answers": {"choices": [{"id": "1", "text": "x"}]},
         "required": {"type": "exactly", "amount": "4"}},
        {"id": "f", "family": "single_choice", "headings": [{"heading": "F"}], "answers": {"choices": []}},
        {"id": "g", "family": "matrix", "subtype": "ranking", "headings": [{"heading": "G"}],
         "answers": {"rows": [{"id": "1", "text": "x"}, {"id": "2", "text": "y"}], "choices": [{"id": "3", "text": "1"}]}},
        boxes("single", json!({"id": "h", "validation": {"type": "integer", "min": "9", "max": "1"}})),
        boxes("single", json!({"id": "i", "validation": {"type": "integer", "min": "nine", "max": null}})),
        boxes("single", json!({"id": "j", "validation": {"type": "spell"}})),
        boxes("single", json!({"id": "k", "validation": {"type": "regex", "regex": "(a)\\1"}})),
        boxes("single", json!({"id": "l", "required": {"type": "range", "amount": "3"}})),
        boxes("single", json!({"id": "m", "display_options": {"display_type": "slider", "left_label": "low"}})),
        {"id": "n", "family": "presentation", "subtype": "image"},
    ]));
    let found: Vec<String> =
        import.form.questions().map(|(_, q)| format!("{} {}", q.key, q.kind.name())).collect();
    assert_eq!(
        found,
        [
            "a short_text",
            "b unsupported",
            "d single_choice",
            "e multiple_choice",
            "f unsupported",
            "g unsupported",
            "h number",
            "i number",
            "j short_text",
            "k short_text",
            "l short_text",
            "m number"
        ]
    );
    assert_eq!(labels(&import, "d"), ["7 a", "8 2"]);
    let lost: Vec<&str> = import.notes.iter().filter(|n| n.lost).map(|n| n.at.as_str()).collect();
    let expected = [
        "form",
        "question.a",
        "question.b",
        "question.c",
        "question.d",
        "question.d",
        "question.e",
        "question.f",
        "question.g",
        "question.h",
        "question.i",
        "question.j",
        "question.k",
        "question.l",
        "question.m",
        "question.n",
    ];
    assert_eq!(lost, expected);
}

#[test]
fn a_definition_that_is_only_a_part_is_read_and_said_to_be_one() {
    let question =
        json!({"id": "1", "family": "open_ended", "subtype": "single", "headings": [{"heading": "A"}]});
    let page = json!({"id": "2", "question_count": 5, "questions": [question],
        "href": "https://api.eu.surveymonkey.com/v3/surveys/230/pages/2"});
    let import = read(&json!({"title": "T", "pages": [page]}).to_string()).expect("a form");
    assert_eq!(import.form.id, "230");
    let told = told(&import);
    for expected in [
        "lost form: the definition is incomplete: of 5 questions it holds 1; the others are not asked",
        "form: the definition is not as SurveyMonkey's API gives it, it lacks “id”, “language”, “question_count”; what else was taken out cannot be known",
    ] {
        assert!(told.contains(expected), "{told:#?}");
    }
}

#[test]
fn what_is_no_survey_is_refused_with_what_it_looks_like() {
    for (definition, words) in [
        ("{", "not JSON"),
        ("[]", "no “pages”"),
        ("7", "no “pages”"),
        (r#"{"status":0,"data":{"pages":[]}}"#, "version 2"),
        (r#"{"error":{"id":"1014"}}"#, "an error"),
        (r#"{"data":[],"page":1,"per_page":50}"#, "a list"),
        (r#"{"id":"1","collector_id":"2","pages":[]}"#, "a response"),
        (r#"{"id":"1","question_count":3,"page_count":1}"#, "without its pages"),
        (r#"{"title":"T","pages":[{"id":"1","questions":[]}]}"#, "no question"),
        (r#"{"title":"T","pages":[{"id":"1","questions":[{"key":"a","type":"url"}]}]}"#, "own format"),
        (r#"{"formId":"1","info":{},"items":[]}"#, "Google"),
        (r#"{"fieldGroups":[],"id":"1"}"#, "HubSpot"),
        (r#"{"fields":[],"title":"T"}"#, "Typeform"),
    ] {
        let refused = read(definition).map(|import| import.form.title);
        assert!(
            refused.as_ref().is_err_and(|error| error.to_string().contains(words)),
            "{definition}: {refused:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_damage_makes_the_reader_panic_or_read_an_unsound_form(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..10), 1..6)
    ) {
        let mut definition: Value = serde_json::from_str(WORKSHOP).expect("our fixture");
        for (place, what) in damage {
            let mut all = Vec::new();
            crate::corpus::paths(&definition, "", &mut all);
            let path = place.get(&all);
            let Some(part) = definition.pointer_mut(path) else { continue };
            *part = match what {
                0 => Value::Null,
                1 => json!(-1),
                2 => json!(""),
                3 => json!({}),
                4 => json!([part.clone(), part.clone()]),
                5 => json!("{{answer:nobody}} {{ [Q1] <a href='"),
                6 => json!(1e300),
                7 => json!("3,1"),
                8 => json!(true),
                _ => json!("rating"),
            };
        }
        if let Ok(import) = read(&definition.to_string()) {
            prop_assert_eq!(import.form.check(), vec![]);
            // Too large or too damaged a form is refused in words; our own fault would be `Invalid`.
            if let Err(error) = catalog::compile(&import, &Settings::default()) {
                prop_assert!(!matches!(error, formgate::flow::compile::Error::Invalid(_)), "{}", error);
            }
        }
    }
}

//! Every family, subtype and display of a question, from the definition over a walk to the response that the survey's own
//! form would have stored.
//!
//! Invariant: the table holds every kind that SurveyMonkey documents and every family that the import knows, so that none
//! is added on one side only.

use std::collections::{BTreeMap, BTreeSet};

use formgate::catalog;
use formgate::flow::compile::{Settings, compile};
use formgate::flow::report::Grade;
use formgate::outbox::Outcome;
use formgate::player::Outcome as Walked;
use formgate::player::strategy::{Played, Truthful, play};
use serde_json::{Value, json};

use super::home::{attempt, peer_of};
use super::person::written;
use super::{read, survey};
use crate::corpus;
use crate::endpoint::fixture::Setup;

/// Family, subtype and display, as SurveyMonkey documents them; `vertical_two_col` is met in real surveys.
const DOCUMENTED: [(&str, &str, &str); 30] = [
    ("single_choice", "vertical", ""),
    ("single_choice", "vertical", "image_choice"),
    ("single_choice", "vertical_two_col", ""),
    ("single_choice", "horiz", ""),
    ("single_choice", "menu", ""),
    ("multiple_choice", "vertical", ""),
    ("multiple_choice", "vertical", "image_choice"),
    ("multiple_choice", "vertical_two_col", ""),
    ("matrix", "single", ""),
    ("matrix", "rating", ""),
    ("matrix", "rating", "star"),
    ("matrix", "rating", "smiley"),
    ("matrix", "rating", "heart"),
    ("matrix", "rating", "thumb"),
    ("matrix", "multi", ""),
    ("matrix", "ranking", ""),
    ("matrix", "menu", ""),
    ("open_ended", "single", ""),
    ("open_ended", "single", "slider"),
    ("open_ended", "single", "file_upload"),
    ("open_ended", "essay", ""),
    ("open_ended", "multi", ""),
    ("open_ended", "numerical", ""),
    ("demographic", "international", ""),
    ("demographic", "us", ""),
    ("datetime", "both", ""),
    ("datetime", "date_only", ""),
    ("datetime", "time_only", ""),
    ("presentation", "descriptive_text", ""),
    ("presentation", "image", ""),
];

/// What becomes of an answer.
enum Home {
    /// The survey's own form stores these answers.
    Stored(Value),
    /// There is nothing to answer.
    Nothing,
    /// It does not go home, and the report says so.
    Reported(Grade),
}
use Home::{Nothing, Reported, Stored};

/// In texts `#` stands for the id of the question, which ids of its parts begin with.
struct Row {
    kind: (&'static str, &'static str, &'static str),
    answers: Value,
    /// Other members of the question.
    more: Value,
    /// What a person means, by the key of the question.
    says: Value,
    home: Home,
}

/// Ids `#1`, `#2` … behind a prefix, with these texts.
fn items(prefix: &str, texts: &[&str]) -> Value {
    let item = |(number, text): (usize, &&str)| json!({"id": format!("#{prefix}{}", number + 1), "text": text, "position": number + 1, "visible": true});
    texts.iter().enumerate().map(item).collect()
}

fn table() -> Vec<Row> {
    let row = |kind, answers, says, home| Row { kind, answers, more: json!({}), says, home };
    let choices = || items("0", &["Oak", "Ash", "Elm"]);
    let single = |subtype, display| {
        row(
            ("single_choice", subtype, display),
            json!({"choices": choices()}),
            json!({"#": "#02"}),
            Stored(json!([{"choice_id": "#02"}])),
        )
    };
    let multiple = |subtype, display| {
        row(
            ("multiple_choice", subtype, display),
            json!({"choices": choices()}),
            json!({"#": ["#01", "#03"]}),
            Stored(json!([{"choice_id": "#01"}, {"choice_id": "#03"}])),
        )
    };
    let other = |is_option: bool| {
        json!({"id": "#9", "text": "Something else", "visible": true, "position": 0, "num_chars": 50,
            "num_lines": 1, "is_answer_choice": is_option})
    };
    let grid = |subtype| {
        row(
            ("matrix", subtype, ""),
            json!({"rows": items("7", &["Food", "Rooms"]), "choices": choices()}),
            json!({"#": {"#71": "#02", "#72": "#03"}}),
            Stored(json!([{"row_id": "#71", "choice_id": "#02"}, {"row_id": "#72", "choice_id": "#03"}])),
        )
    };
    let symbols = |display| {
        let mut steps = items("0", &["", "", "", ""]);
        for (number, step) in steps.as_array_mut().expect("steps").iter_mut().enumerate() {
            step["weight"] = json!(number + 1);
        }
        row(
            ("matrix", "rating", display),
            json!({"rows": items("7", &[""]), "choices": steps}),
            json!({"#/row-#71": "3"}),
            Stored(json!([{"row_id": "#71", "choice_id": "#03"}])),
        )
    };
    let line = |kind, says: &str, stored: &str| {
        row(kind, Value::Null, json!({"#": says}), Stored(json!([{"text": stored}])))
    };
    let boxes = |subtype, says: [&str; 2]| {
        row(
            ("open_ended", subtype, ""),
            json!({"rows": items("7", &["First", "Second"])}),
            json!({"#/row-#71": says[0], "#/row-#72": says[1]}),
            Stored(json!([{"row_id": "#71", "text": says[0]}, {"row_id": "#72", "text": says[1]}])),
        )
    };
    let contact = |subtype| {
        let lines = [
            ("name", "Ada Lovelace", "Ada Lovelace"),
            ("company", "Engines", "Engines"),
            ("address", "Main Street 1", "Main Street 1"),
            ("address2", "Second floor", "Second floor"),
            ("city", "Rome", "Rome"),
            ("state", "Lazio", "Lazio"),
            ("zip", "00100", "00100"),
            ("country", "Italy", "Italy"),
            ("email", "ada@example.org", "ada@example.org"),
            ("phone", "+39 347 123 4567", "+393471234567"),
        ];
        let id = |number: usize| format!("#7{number}");
        let rows = lines.iter().enumerate().map(|(number, (kind, ..))| {
            json!({"id": id(number), "type": kind, "text": format!("Your {kind}"), "required": false, "visible": true,
                "position": number + 1})
        });
        let says =
            lines.iter().enumerate().map(|(n, (_, says, _))| (format!("#/row-{}", id(n)), json!(says)));
        let stored =
            lines.iter().enumerate().map(|(n, (.., stored))| json!({"row_id": id(n), "text": stored}));
        row(
            ("demographic", subtype, ""),
            json!({"rows": rows.collect::<Vec<_>>()}),
            Value::Object(says.collect()),
            Stored(stored.collect()),
        )
    };
    let moment = |subtype, says: &str, stored: &str| {
        row(
            ("datetime", subtype, ""),
            json!({"rows": items("7", &["When"])}),
            json!({"#/row-#71": says}),
            Stored(json!([{"row_id": "#71", "text": stored}])),
        )
    };
    let many = || json!([{"row_id": "#71", "choice_id": "#01"}, {"row_id": "#71", "choice_id": "#03"}, {"row_id": "#72", "choice_id": "#02"}]);
    let cols = json!([
        {"id": "#51", "text": "Texture", "position": 1, "visible": true, "choices": items("511", &["Soft", "Hard"])},
        {"id": "#52", "text": "Taste", "position": 2, "visible": true, "choices": items("521", &["Mild", "Strong"])}]);
    let rule = |kind: &str, min: Value, max: Value| json!({"validation": {"type": kind, "min": min, "max": max, "text": ""}});
    vec![
        single("vertical", ""),
        single("vertical", "image_choice"),
        single("vertical_two_col", ""),
        single("horiz", ""),
        single("menu", ""),
        row(
            ("single_choice", "vertical", ""),
            json!({"choices": choices(), "other": other(true)}),
            json!({"#": {"ids": [], "other": "Yew"}}),
            Stored(json!([{"other_id": "#9", "text": "Yew"}])),
        ),
        row(
            ("single_choice", "menu", ""),
            json!({"choices": choices(), "other": other(false)}),
            json!({"#": "#01", "#/other-#9": "Because"}),
            Stored(json!([{"choice_id": "#01"}, {"other_id": "#9", "text": "Because"}])),
        ),
        multiple("vertical", ""),
        multiple("vertical", "image_choice"),
        multiple("vertical_two_col", ""),
        row(
            ("multiple_choice", "vertical", ""),
            json!({"choices": choices(), "other": other(true)}),
            json!({"#": {"ids": ["#02"], "other": "Yew"}}),
            Stored(json!([{"choice_id": "#02"}, {"other_id": "#9", "text": "Yew"}])),
        ),
        grid("single"),
        grid("rating"),
        symbols("star"),
        symbols("smiley"),
        symbols("heart"),
        symbols("thumb"),
        row(
            ("matrix", "multi", ""),
            json!({"rows": items("7", &["Food", "Rooms"]), "choices": choices()}),
            json!({"#": {"#71": ["#01", "#03"], "#72": ["#02"]}}),
            Stored(many()),
        ),
        row(
            ("matrix", "ranking", ""),
            json!({"rows": items("7", &["Red", "Green", "Blue"]), "choices": items("0", &["1", "2", "3"])}),
            json!({"#": ["#73", "#71", "#72"]}),
            Stored(json!([{"row_id": "#73", "choice_id": "#01"}, {"row_id": "#71", "choice_id": "#02"},
                {"row_id": "#72", "choice_id": "#03"}])),
        ),
        row(
            ("matrix", "menu", ""),
            json!({"rows": items("7", &["Bread", "Cake"]), "cols": cols}),
            json!({"#/row-#71/col-#51": "#5112", "#/row-#72/col-#52": "#5211"}),
            Stored(json!([{"row_id": "#71", "col_id": "#51", "choice_id": "#5112"},
                {"row_id": "#72", "col_id": "#52", "choice_id": "#5211"}])),
        ),
        line(("open_ended", "single", ""), "Ada, née “B”", "Ada, née “B”"),
        Row { more: rule("any", json!(null), json!(null)), ..line(("open_ended", "single", ""), "x", "x") },
        Row {
            more: rule("integer", json!("1"), json!("20")),
            ..line(("open_ended", "single", ""), "12", "12")
        },
        Row {
            more: rule("decimal", json!("0.5"), json!(null)),
            ..line(("open_ended", "single", ""), "2.5", "2.5")
        },
        Row {
            more: rule("date_us", json!("01/15/2026"), json!(null)),
            ..line(("open_ended", "single", ""), "2026-02-03", "02/03/2026")
        },
        Row {
            more: rule("date_intl", json!("15/01/2026"), json!(null)),
            ..line(("open_ended", "single", ""), "2026-02-03", "03/02/2026")
        },
        Row {
            more: rule("email", json!(null), json!(null)),
            ..line(("open_ended", "single", ""), "ada@example.org", "ada@example.org")
        },
        Row {
            more: rule("text_length", json!("2"), json!("9")),
            ..line(("open_ended", "essay", ""), "One\ntwo", "One\ntwo")
        },
        Row {
            more: json!({"validation": {"type": "integer", "min": "0", "max": "10", "text": ""}}),
            ..line(("open_ended", "single", "slider"), "4", "4")
        },
        row(("open_ended", "single", "file_upload"), Value::Null, json!({}), Reported(Grade::Substitute)),
        boxes("multi", ["Bea", "Cem"]),
        boxes("numerical", ["7", "3"]),
        contact("international"),
        contact("us"),
        moment("both", "2026-02-03T14:30", "02/03/2026 02:30 PM"),
        moment("date_only", "2026-02-05", "02/05/2026"),
        moment("time_only", "08:30", "08:30 AM"),
        row(("presentation", "descriptive_text", ""), Value::Null, json!({}), Nothing),
        row(("presentation", "image", ""), Value::Null, json!({}), Reported(Grade::Substitute)),
    ]
}

fn number(index: usize) -> String {
    (1_000 + index).to_string()
}

/// The value with the question's id in the place of `#`.
fn placed(value: &Value, id: &str) -> Value {
    serde_json::from_str(&value.to_string().replace('#', id)).expect("JSON")
}

fn definition(rows: &[Row]) -> Value {
    let questions = rows.iter().enumerate().map(|(index, row)| {
        let (family, subtype, display) = row.kind;
        let mut question = json!({"id": number(index), "position": index + 1, "visible": true, "family": family,
            "subtype": subtype, "headings": [{"heading": format!("Question {index}")}], "required": null,
            "validation": null, "sorting": null, "forced_ranking": false});
        match display {
            "" => {}
            "star" | "smiley" | "heart" | "thumb" => {
                question["display_options"] = json!({"display_type": "emoji", "display_subtype": display});
            }
            "slider" => {
                question["display_options"] = json!({"display_type": display, "left_label": "cold", "right_label": "hot",
                    "custom_options": {"starting_position": 0, "step_size": 2}});
            }
            _ => question["display_options"] = json!({"display_type": display}),
        }
        if family == "presentation" && subtype == "image" {
            question["headings"][0]["image"] = json!({"url": "https://example.com/1.png"});
        }
        let members = question.as_object_mut().expect("members");
        if !row.answers.is_null() {
            members.insert("answers".to_owned(), row.answers.clone());
        }
        members.extend(row.more.as_object().expect("members").clone());
        placed(&question, &number(index))
    });
    let questions: Vec<Value> = questions.collect();
    json!({"id": "9002", "title": "Every kind", "language": "en", "question_count": questions.len(), "page_count": 1,
        "pages": [{"id": "10", "position": 1, "title": "", "question_count": questions.len(), "questions": questions}]})
}

#[tokio::test]
async fn every_kind_of_question_is_stored_as_the_survey_s_own_form_stores_it() {
    let rows = table();
    let text = definition(&rows).to_string();
    let import = read(&text).expect("a form");
    let settings = Settings::default();
    let plan = compile(&import.form, &settings).expect("a flow").plan;
    let gate = Setup::of(&import.form, &settings).start().await;
    let said =
        |(index, row): (usize, &Row)| placed(&row.says, &number(index)).as_object().expect("answers").clone();
    let meant = Value::Object(rows.iter().enumerate().flat_map(said).collect());
    let mut person = Truthful::new(written(&plan, &meant));
    let played = play(&mut gate.player("walk"), &mut person).await.expect("answers");
    let Played::Ended(Walked::Completed(_)) = played else { panic!("{played:?}") };

    let peer = peer_of(&text).await;
    let submission = gate.submissions().await.remove(0);
    assert_eq!(attempt(&peer.destination(), &submission, 1).await, Outcome::delivered(Some(201)));
    let [response] = peer.sandbox.responses().try_into().expect("one response");
    let expected: BTreeMap<String, Value> = rows
        .iter()
        .enumerate()
        .filter_map(|(index, row)| match &row.home {
            Stored(answers) => Some((number(index), placed(answers, &number(index)))),
            Nothing | Reported(_) => None,
        })
        .collect();
    let questions = response["pages"][0]["questions"].as_array().expect("questions");
    let found = questions.iter().map(|q| (q["id"].as_str().expect("an id").to_owned(), q["answers"].clone()));
    let found: BTreeMap<String, Value> = found.collect();
    for (id, answers) in &expected {
        assert_eq!(
            found.get(id),
            Some(answers),
            "{:?}",
            rows[id.parse::<usize>().expect("ours") - 1_000].kind
        );
    }
    assert_eq!(found.len(), expected.len(), "and nothing else");

    let report = catalog::compile(&import, &settings).expect("a flow").report;
    for (index, row) in rows.iter().enumerate() {
        let at = format!("question.{}", number(index));
        let worst = report.items.iter().filter(|item| item.at == at).map(|item| item.grade).max();
        match row.home {
            Stored(_) => assert!(worst < Some(Grade::Dropped), "{:?}", row.kind),
            Nothing => assert_eq!(worst, Some(Grade::Exact), "{:?}", row.kind),
            Reported(grade) => assert_eq!(worst, Some(grade), "{:?}", row.kind),
        }
    }
}

#[test]
fn the_table_holds_every_kind_that_surveymonkey_documents_and_that_the_import_knows() {
    let rows = table();
    let kinds: BTreeSet<_> = rows.iter().map(|row| row.kind).collect();
    assert_eq!(kinds, BTreeSet::from(DOCUMENTED));

    let source = include_str!("../../../src/connector/surveymonkey/question.rs");
    let mut families = corpus::arms(source, "match text(json, \"family\").unwrap_or_default() {");
    families.remove("");
    assert_eq!(
        families,
        rows.iter().map(|row| row.kind.0).collect(),
        "what the import knows is what the table walks"
    );
    let typed = include_str!("../../../src/connector/surveymonkey/boxes.rs");
    let contact = corpus::arms(typed, "let (part, kind) = match text(row.json, \"type\")");
    let walked = definition(&rows).to_string();
    for line in contact {
        assert!(walked.contains(&format!("\"type\":\"{line}\"")), "no line of a contact block is a {line}");
    }
}

#[test]
fn an_unknown_kind_is_reported_as_dropped_and_blocks_where_it_is_required() {
    for (family, subtype) in
        [("hologram", "3d"), ("matrix", "cube"), ("open_ended", "sung"), ("datetime", "era")]
    {
        for required in [Value::Null, json!({"text": "Please", "type": "all", "amount": "0"})] {
            let is_required = !required.is_null();
            let import = survey(json!([
                {"id": "5", "family": family, "subtype": subtype, "headings": [{"heading": "New"}], "required": required,
                 "answers": {"rows": [{"id": "6", "text": "a"}], "choices": [{"id": "7", "text": "b"}]}},
                {"id": "8", "family": "open_ended", "subtype": "single", "headings": [{"heading": "Name"}]}]));
            let report = catalog::compile(&import, &Settings::default()).expect("a flow").report;
            let items = report.items.iter().filter(|item| item.at == "question.5");
            assert_eq!(items.map(|item| item.grade).max(), Some(Grade::Dropped), "{family}/{subtype}");
            assert_eq!(report.blockers.is_empty(), !is_required, "{family}/{subtype}");
        }
    }
}

//! Google Forms definitions, of the API and of the public page, become forms: everything is carried or named, nothing panics.

mod corpus;
mod delivery;

use std::collections::BTreeSet;

use formgate::catalog;
use formgate::connector::{Import, ImportError, connector};
use formgate::flow::compile::Settings;
use formgate::form::{Answers, Choice, Form, Kind, Next, Selection, Value as Answer, Walker};
use serde_json::{Value, json};

const WORKSHOP: &str = include_str!("../fixtures/google-forms/workshop.json");
const PAGE: &str = include_str!("../fixtures/google-forms/workshop-page.json");

fn read(definition: &str) -> Result<Import, ImportError> {
    connector("google-forms").expect("a reader").read(definition.as_bytes())
}

fn workshop() -> Import {
    read(WORKSHOP).expect("a form")
}

fn page() -> Import {
    read(PAGE).expect("a form")
}

/// A form of the API with these items.
fn form(items: Value) -> Import {
    read(&json!({"formId": "x", "info": {"title": "X"}, "items": items}).to_string()).expect("a form")
}

fn radio(id: &str, options: Value) -> Value {
    json!({"itemId": format!("1{id}"), "title": id, "questionItem": {"question": {"questionId": id, "choiceQuestion": {"type": "RADIO", "options": options}}}})
}

fn told(form: &Form) -> Vec<String> {
    let questions = form.questions();
    questions
        .map(|(page, q)| format!("{page} {} {}{}", q.key, q.kind.name(), if q.required { "!" } else { "" }))
        .collect()
}

fn notes(import: &Import) -> BTreeSet<String> {
    let notes = import.notes.iter();
    notes.map(|n| format!("{}{}: {}", if n.lost { "lost " } else { "" }, n.at, n.text)).collect()
}

fn choice<'f>(form: &'f Form, key: &str) -> &'f Choice {
    match &form.question(key).expect("a question").kind {
        Kind::SingleChoice(choice) | Kind::MultipleChoice(choice) => choice,
        kind => panic!("{kind:?}"),
    }
}

fn ids(kind: &Kind) -> Vec<&str> {
    kind.options().iter().map(|option| option.id.as_str()).collect()
}

#[test]
fn every_kind_of_item_of_the_api_becomes_its_question() {
    let import = workshop();
    assert_eq!(
        told(&import.form),
        [
            "0 emailAddress email!",
            "0 0a000001 short_text!",
            "0 0a000002 long_text",
            "0 0a000003 single_choice!",
            "0 0a000004 multiple_choice",
            "0 0a000005 scale",
            "0 0a000006 rating",
            "0 0a000007 date",
            "0 0a000008 date_time",
            "0 0a000009 date",
            "0 0a00000a time",
            "0 0a00000b short_text",
            "0 0a00000c file",
            "0 0a00000d file",
            "0 1000000e matrix",
            "0 1000000f matrix!",
            "0 10000010 statement",
            "0 10000011 statement",
            "0 10000013 statement",
            "0 0a000012 single_choice",
            "0 0a000013 short_text",
            "0 0a000014 single_choice!",
            "0 0a000015 single_choice",
            "1 0a000016 single_choice",
            "2 20000002 statement",
            "3 0a000017 single_choice",
        ]
    );
    let question = |key: &str| import.form.question(key).expect("a question");
    assert_eq!(import.form.id, "1workshopExampleFormId0000000000000000000000");
    assert_eq!((import.form.title.as_str(), import.form.tool.as_str()), ("Pottery workshop", "google-forms"));
    assert_eq!(import.form.description.as_deref(), Some("Tell us about you.\nIt takes two minutes."));
    assert_eq!(question("0a000001").help.as_deref(), Some("As on your ticket"));
    // To the letter: a response must hold the value as it stands.
    assert_eq!(ids(&question("0a000003").kind), ["Friends", "A poster "]);
    assert_eq!(question("0a000003").kind.options()[1].label, "A poster");
    assert!(choice(&import.form, "0a000003").other.is_some());
    assert_eq!(ids(&question("0a000004").kind), ["Monday", "Tuesday", "Monday (3)"]);
    assert!(matches!(&question("0a000005").kind, Kind::Scale { min: 0, max: 10, step: 1, labels }
        if labels.left.as_deref() == Some("Hard") && labels.right.as_deref() == Some("Easy")));
    assert_eq!(question("0a000006").kind, Kind::Rating { steps: 7 });
    assert!(matches!(&question("0a00000b").kind, Kind::ShortText(limits) if limits.pattern.is_some()));
    assert!(
        matches!(&question("0a00000c").kind, Kind::File(f) if f.photos_only && f.max_files == 5 && f.max_kib == 10_240)
    );
    assert!(matches!(&question("0a00000d").kind, Kind::File(f)
        if !f.photos_only && f.max_files == 1 && f.max_kib == 25_600 && f.media_types.contains(&"application/pdf".to_owned())));
    let Kind::Matrix { rows, columns, multiple: false } = &question("1000000e").kind else {
        panic!("a grid")
    };
    let rows: Vec<_> = rows.iter().map(|r| (r.id.as_str(), r.label.as_str(), r.required)).collect();
    assert_eq!(rows, [("0a00000e", "Clay", true), ("0a00000f", "Glaze", false)]);
    assert_eq!(columns.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["Not at all", "A lot"]);
    assert!(matches!(&question("1000000f").kind, Kind::Matrix { multiple: true, .. }));
    assert_eq!(question("10000011").title, "Our workshop");
    assert_eq!(
        question("10000013").help.as_deref(),
        Some("Two minutes\n\nhttps://www.youtube.com/watch?v=abc")
    );
    assert_eq!(question("0a000012").title, "Question 16");
    // What looks like a recall of ours is meant to the letter.
    assert_eq!(question("0a000016").title, "Which plan, { {answer:0a000001}}?");
    let pages: Vec<_> = import.form.pages.iter().map(|p| (p.id.as_str(), p.title.as_deref())).collect();
    assert_eq!(
        pages,
        [
            ("start", None),
            ("20000001", Some("Join us")),
            ("20000002", None),
            ("20000003", Some("Almost done"))
        ]
    );
    assert_eq!(question("20000002").title, "Thank you for being a member");
    assert!(import.form.endings.is_empty(), "the API does not tell what is said at the end");
}

#[test]
fn every_kind_of_item_of_the_public_page_becomes_its_question_with_its_rules() {
    let import = page();
    assert_eq!(
        told(&import.form),
        [
            "0 emailAddress email!",
            "0 0a000001 short_text!",
            "0 0a000002 email!",
            "0 0a000003 url",
            "0 0a000004 number!",
            "0 0a000005 short_text",
            "0 0a000006 long_text",
            "0 0a000007 multiple_choice",
            "0 0a000008 scale!",
            "0 0a000009 rating",
            "0 0a00000a date",
            "0 0a00000b date_time",
            "0 0a00000c time",
            "0 0a00000d short_text",
            "0 0a00000e file",
            "0 1000000f matrix!",
            "0 10000010 statement",
            "0 10000012 statement",
            "0 0a000011 single_choice!",
            "1 0a000012 single_choice",
            "2 0a000013 short_text",
            "3 0a000014 long_text",
        ]
    );
    let kind = |key: &str| &import.form.question(key).expect("a question").kind;
    assert!(
        matches!(kind("0a000001"), Kind::ShortText(l) if (l.min_length, l.max_length) == (Some(2), Some(40)))
    );
    assert_eq!(*kind("0a000004"), Kind::Number { min: Some(1.0), max: Some(8.0), integer: true });
    assert!(matches!(kind("0a000005"), Kind::ShortText(l)
        if l.pattern.as_ref().is_some_and(|p| p.regex == "[A-Z]{2}[0-9]{4}" && p.message.as_deref() == Some("Two letters, four digits"))));
    assert_eq!(choice(&import.form, "0a000007").max, Some(2));
    assert!(choice(&import.form, "0a000007").other.is_some());
    assert!(matches!(kind("0a000008"), Kind::Scale { min: 0, max: 3, labels, .. }
        if labels.left.as_deref() == Some("Hard") && labels.right.is_none()));
    assert_eq!(*kind("0a000009"), Kind::Rating { steps: 3 });
    let Kind::Matrix { rows, multiple: true, .. } = kind("1000000f") else { panic!("a grid") };
    assert_eq!(
        rows.iter().map(|r| (r.id.as_str(), r.required)).collect::<Vec<_>>(),
        [("0a00000f", true), ("0a000010", true)]
    );
    assert_eq!(
        import.form.question("10000012").expect("a film").help.as_deref(),
        Some("https://www.youtube.com/watch?v=abc")
    );
    assert_eq!((import.form.id.as_str(), import.form.title.as_str()), ("1FAIpQLExample", "Pottery workshop"));
    assert_eq!(import.form.endings[0].title, "See you soon!");
}

#[test]
fn a_page_that_a_browser_saved_is_read_like_its_data() {
    let html = format!(
        "<!DOCTYPE html><html><head><script>var FB_PUBLIC_LOAD_DATA_ = {PAGE};</script></head></html>"
    );
    assert_eq!(read(&html), Ok(page()));
}

#[test]
fn what_the_api_hides_or_a_chat_cannot_carry_is_named() {
    let import = workshop();
    let told = notes(&import);
    for expected in [
        "form.closed: the form takes no responses at present",
        "form.confirmation: unknown: Google's API does not tell what is said at the end",
        "form.sections: unknown: Google's API does not tell where a section leads when no option says so; here it leads to the next one. The public page has it",
        "form.validation: unknown: Google's API does not tell the rules for answers (numbers, lengths, expressions, counts of boxes); they are not enforced here. The public page has them",
        "form.locale: Google does not tell in which language a form is written; the chat's own words are English",
        "question.emailAddress: the box for the e-mail address is a question like the others",
        "question.0a000002: its picture is not shown in the chat",
        "question.0a000003: its options always come in the same order",
        "question.0a000003: the pictures of its options are not shown in the chat",
        "question.0a000004: the option “Monday” is there twice; Google cannot tell them apart",
        "question.0a000006: its icons are not shown; the steps are the same",
        "question.0a000009: Google asks for day and month only; here the year is asked, too",
        "question.0a00000b: a duration is written as a text: hours, minutes and seconds, HH:MM:SS",
        "question.0a00000d: a file can have 25 MiB at most",
        "question.1000000e: its rows always come in the same order",
        "question.10000011: its picture is not shown in the chat",
        "lost question.10000012: its picture is not shown in the chat",
        "question.10000013: its video is not played in the chat; the address is shown",
        "question.0a000012: the question has no text and is called by its number",
        "question.0a000013: its points, right answers and feedback stay with Google and are not shown in the chat",
        "lost question.0a000015.rule.3: this rule is not carried: it leads to the section “2fffffff”, which is not in the form",
        "lost question.0a000015.rule.4: this rule is not carried: it leads to “FLY”, which is not known",
        "question.0a000017: its options lead elsewhere, which has no effect on the last section of a Google form: the form ends there",
    ] {
        assert!(told.contains(expected), "{expected}\n{told:#?}");
    }
    assert_eq!(told.len(), 23, "{told:#?}");
    let page = page();
    let told = notes(&page);
    for expected in [
        "form.page: read from the public page, whose data Google does not document: compare rules and sections with the form",
        "question.0a000002.rule.0: what a wrong answer is told is not “Please give an e-mail address” but said in other words",
        "lost question.0a000006.rule.0: its rule is not enforced: an expression that must not match cannot be checked",
        "question.0a000007.rule.0: what a wrong answer is told is not “Two at most” but said in other words",
        "question.0a000007: its options always come in the same order",
        "question.0a000009: its icons are not shown; the steps are the same",
        "question.0a00000e: how many files of what size and kind it takes is not told; one of any kind is asked for",
        "lost question.1000000f.rule.0: its rule is not enforced: one answer a column cannot be checked",
        "lost question.10000011: its picture is not shown in the chat",
        "question.0a000011: its picture is not shown in the chat",
        "lost question.0a000011.rule.4: this rule is not carried: it leads to “-7”, which is not known",
    ] {
        assert!(told.contains(expected), "{expected}\n{told:#?}");
    }
    assert!(
        !told.iter().any(|note| note.contains("form.validation") || note.contains("form.sections")),
        "{told:#?}"
    );
    for import in [import, page] {
        let compiled = catalog::compile(&import, &Settings::default()).expect("a flow");
        for note in &import.notes {
            assert!(compiled.report.items.iter().any(|item| item.at == note.at && item.reason == note.text));
        }
        assert!(compiled.report.blockers.is_empty(), "nothing that must be answered is dropped");
    }
}

/// Where `form` goes after the question `from`, with these chosen options; what is in no list was written as "other".
fn after(form: &Form, from: &str, chosen: &[(&str, &str)]) -> String {
    let walker = Walker::new(form);
    let mut answers = Answers::new();
    for (key, option) in chosen {
        let listed = form.question(key).expect("a question").kind.options().iter().any(|o| o.id == *option);
        let selection = if listed {
            Selection::of([*option])
        } else {
            Selection { ids: Vec::new(), other: Some((*option).to_owned()) }
        };
        answers.insert((*key).to_owned(), Answer::Choice(selection));
    }
    let position = walker.position(from).expect("a question");
    let mut variables = Walker::variables(form);
    match walker.step(form, position, &answers, &Default::default(), &mut variables) {
        Next::Question(next) => walker.question(form, next).key.clone(),
        Next::Ending(Some(ending)) => format!("ending {}", form.endings[ending].key),
        Next::Ending(None) => "end".to_owned(),
    }
}

#[test]
fn sections_lead_where_google_leads() {
    let form = workshop().form;
    let (member, guest) = ("0a000014", "0a000015");
    for (from, chosen, to) in [
        // Nothing is decided before the section is left.
        (member, vec![(member, "I was")], guest),
        (guest, vec![(member, "Yes")], "20000002"),
        (guest, vec![(member, "No")], "0a000016"),
        (guest, vec![(member, "I was")], "end"),
        (guest, vec![(member, "My sister is")], "0a000017"),
        // The last option that leads somewhere wins, also when it leads to the next section.
        (guest, vec![(member, "I was"), (guest, "Yes")], "0a000017"),
        (guest, vec![(member, "I was"), (guest, "Perhaps")], "0a000016"),
        (guest, vec![(member, "Yes"), (guest, "Begin again")], "emailAddress"),
        // What is not known leads nowhere, so the one before counts.
        (guest, vec![(member, "Yes"), (guest, "Nowhere")], "20000002"),
        ("0a000016", vec![], "20000002"),
        // A section with nothing to show is passed through.
        ("20000002", vec![], "0a000017"),
        // On the last section nothing leads anywhere.
        ("0a000017", vec![("0a000017", "Start over")], "end"),
    ] {
        assert_eq!(after(&form, from, &chosen), to, "{from} {chosen:?}");
    }
    let form = page().form;
    for (from, chosen, to) in [
        ("0a000011", vec![("0a000011", "Yes")], "0a000013"),
        ("0a000011", vec![("0a000011", "No")], "0a000012"),
        ("0a000011", vec![("0a000011", "I was")], "ending confirmation"),
        ("0a000011", vec![("0a000011", "Perhaps")], "0a000014"),
        ("0a000011", vec![("0a000011", "Oddly")], "0a000012"),
        // The target that a page break holds is that of the section before it.
        ("0a000012", vec![], "0a000014"),
        ("0a000013", vec![], "ending confirmation"),
        ("0a000014", vec![], "ending confirmation"),
    ] {
        assert_eq!(after(&form, from, &chosen), to, "{from} {chosen:?}");
    }
}

#[test]
fn options_that_differ_only_in_case_do_not_lead_astray() {
    let import = form(json!([
        radio("0a", json!([{"value": "yes", "goToAction": "SUBMIT_FORM"}, {"value": "Yes", "goToAction": "NEXT_SECTION"}, {"value": "no", "goToAction": "SUBMIT_FORM"}])),
        {"itemId": "2a", "title": "S", "pageBreakItem": {}},
        radio("0b", json!([{"value": "x"}])),
    ]));
    assert_eq!(after(&import.form, "0a", &[("0a", "Yes")]), "0b");
    assert_eq!(after(&import.form, "0a", &[("0a", "no")]), "end");
    let lost: Vec<&str> = import.notes.iter().filter(|n| n.lost).map(|n| n.at.as_str()).collect();
    assert_eq!(lost, ["question.0a.rule.0", "question.0a.rule.1"]);
}

#[test]
fn a_loop_of_sections_without_questions_ends() {
    let data = json!([
        null,
        [
            null,
            [
                [1, "Go", null, 0, [[11, null, 0]]],
                [2, null, null, 8, null, 3],
                [3, null, null, 8, null, 3],
                [4, null, null, 8, null, 2]
            ]
        ]
    ]);
    let import = read(&data.to_string()).expect("a form");
    assert_eq!(after(&import.form, "0000000b", &[]), "end");
}

#[test]
fn an_address_that_google_verifies_is_asked_and_an_unknown_setting_named() {
    let definition = |kind: &str| {
        let item = radio("0a", json!([{"value": "x"}]));
        json!({"formId": "x", "settings": {"emailCollectionType": kind}, "items": [item]}).to_string()
    };
    let import = read(&definition("VERIFIED")).expect("a form");
    assert_eq!(told(&import.form)[0], "0 emailAddress email!");
    assert!(notes(&import).iter().any(|note| note.contains("nobody has verified it")));
    assert_eq!(import.form.title, "Google form");
    let import = read(&definition("DO_NOT_COLLECT")).expect("a form");
    assert_eq!(told(&import.form), ["0 0a single_choice"]);
    let import = read(&definition("TELEPATHY")).expect("a form");
    assert!(notes(&import).iter().any(|note| note.starts_with("form.email: unknown")));
}

#[test]
fn damaged_parts_are_named_and_the_rest_is_read() {
    let question = |id: &str, what: Value| {
        let mut question = what;
        question["questionId"] = json!(id);
        json!({"itemId": format!("1{id}"), "title": id, "questionItem": {"question": question}})
    };
    let import = form(json!([
        7,
        {"itemId": "a", "title": "Telepathy", "telepathyItem": {}},
        question("0a", json!({"scaleQuestion": {"low": 5, "high": 1}})),
        question("0b", json!({"scaleQuestion": {}})),
        question("0c", json!({"ratingQuestion": {"ratingScaleLevel": 4000}})),
        question("0d", json!({"choiceQuestion": {"type": "RADIO", "options": [{"isOther": true}]}})),
        question("0e", json!({"choiceQuestion": {"type": "WHEEL", "options": [{"value": "x"}]}})),
        question("0f", json!({"choiceQuestion": {"type": "CHECKBOX", "options": [{"value": "x", "goToAction": "SUBMIT_FORM"}, {}, null]}})),
        question("10", json!({"hologramQuestion": {}})),
        question("10", json!({"textQuestion": {}})),
        question("q1", json!({"textQuestion": {}})),
        {"questionItem": {"question": {"textQuestion": {}}}},
        {"itemId": "b", "title": "Grid", "questionGroupItem": {"questions": [], "grid": {}}},
        {"itemId": "c", "questionGroupItem": {"questions": [{"required": true}], "grid": {"columns": {"options": [{"value": "x"}]}}}},
        {"textItem": {}},
    ]));
    assert_eq!(
        told(&import.form),
        [
            "0 0a unsupported",
            "0 0b unsupported",
            "0 0c unsupported",
            "0 0d unsupported",
            "0 0e unsupported",
            "0 0f multiple_choice",
            "0 10 unsupported",
            "0 10-2 short_text",
            "0 q1 short_text",
            "0 question-10 short_text",
            "0 b unsupported",
            "0 c matrix!",
        ]
    );
    assert_eq!(ids(&import.form.question("0f").expect("boxes").kind), ["x", "2", "3"]);
    let told = notes(&import);
    for expected in [
        "lost question.item-1: “item” is not known or damaged; it is left out",
        "lost question.a: “telepathyItem” is not known or damaged; it is left out",
        "lost question.0f: options of checkboxes cannot lead elsewhere; that is not carried",
        "question.10-2: another question has the same id; this one is told apart by a number, and its answers cannot be put back",
        "form.ids: answers cannot be put back into the Google form where its questions have no id of Google's: “q1”, “question-10”, “c-row-1”",
        "lost question.text: it has no text; it is left out",
    ] {
        assert!(told.contains(expected), "{expected}\n{told:#?}");
    }
    let lost: BTreeSet<&str> = import.notes.iter().filter(|n| n.lost).map(|n| n.at.as_str()).collect();
    for at in ["question.0a", "question.0b", "question.0c", "question.0d", "question.0e", "question.b"] {
        assert!(lost.contains(at), "{at}");
    }
}

#[test]
fn what_is_no_google_form_is_refused_with_what_it_looks_like() {
    for (definition, words) in [
        ("{", "not JSON"),
        ("7", "no “info”"),
        ("{}", "no “info”"),
        (r#"{"items":[]}"#, "no “info”"),
        (r#"{"formId":"x","info":{}}"#, "no question yet"),
        (r#"{"formId":"x","info":{},"items":[]}"#, "no question yet"),
        (r#"{"formId":"x","items":[{"itemId":"1","imageItem":{}}]}"#, "nothing in the form"),
        (r#"{"formId":"x","items":[{"itemId":"1","pageBreakItem":{}}]}"#, "nothing in the form"),
        (r#"{"error":{"code":403,"status":"PERMISSION_DENIED"}}"#, "an error that Google answered"),
        (r#"{"responses":[{"responseId":"r"}]}"#, "a response"),
        (r#"{"formId":"x","responseId":"r","answers":{}}"#, "a response"),
        (r#"{"requests":[{"createItem":{}}]}"#, "a request to change"),
        (r#"{"files":[],"nextPageToken":"t"}"#, "a list of files"),
        (r#"{"id":"x","title":"T","fields":[]}"#, "--tool typeform"),
        (r#"{"event_type":"form_response","form_response":{}}"#, "--tool typeform"),
        (r#"{"fieldGroups":[],"id":"1"}"#, "HubSpot"),
        (r#"{"pages":[],"title":"T"}"#, "SurveyMonkey"),
        ("[]", "not the data"),
        ("[null,[null,null]]", "not the data"),
        ("[null,[null,[]]]", "no question yet"),
        ("<html>Sign in</html>", "without the data of a form"),
        ("<html>FB_PUBLIC_LOAD_DATA_ = broken</html>", "without the data of a form"),
    ] {
        let refused = read(definition).map(|import| import.form.title);
        assert!(
            refused.as_ref().is_err_and(|error| error.to_string().contains(words)),
            "{definition}: {refused:?}"
        );
    }
    for other in ["typeform", "form"] {
        let refused = connector(other).expect("a reader").read(WORKSHOP.as_bytes());
        assert!(refused.is_err_and(|error| error.to_string().contains("--tool google-forms")), "{other}");
    }
}

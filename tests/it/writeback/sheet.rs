//! Rows in the sandbox's spreadsheet.

use std::collections::BTreeMap;
use std::sync::Mutex;

use formgate::connector::google_sheets::Sheet;
use formgate::form::Form;
use formgate::outbox::{Destination as _, Grade, Outcome, Submission, Verdict};
use formgate::sandbox::google_sheets::{Fault, Spreadsheet};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{answer, api, deliver, every_kind, held, id, refused, submission, walks};

pub const HEADER: [&str; 16] = [
    "Informazioni cronologiche",
    "Name",
    "Story",
    "Colour",
    "Days",
    "City",
    "How easy?",
    "Stars",
    "Day",
    "Start",
    "At",
    "Stay",
    "Rate [Clay]",
    "Rate [Kiln]",
    "Tools [Home]",
    "Tools [Studio]",
];

pub struct Running {
    pub account: Spreadsheet,
    pub destination: Sheet,
    _stop: watch::Sender<bool>,
}

pub async fn start(header: &[&str], form: Option<Form>) -> Running {
    let tabs: [(&str, &[&str]); 3] =
        [("Notes", &["What", "Who"]), ("Anna's answers", header), ("Empty", &[])];
    let account = Spreadsheet::new("1sheet", "ya29.token", &tabs);
    let (stop, stopped) = watch::channel(false);
    let address = account.serve(stopped).await.expect("a port");
    let destination = Sheet {
        id: id(),
        api: api(address, "ya29.token"),
        spreadsheet: "1sheet".to_owned(),
        tab: None,
        forms: form.map(|form| ("contact".to_owned(), form)).into_iter().collect::<BTreeMap<_, _>>(),
        found: Mutex::default(),
    };
    Running { account, destination, _stop: stop }
}

impl Running {
    fn rows(&self) -> Vec<Vec<Value>> {
        self.account.rows("Anna's answers")
    }
}

fn simple() -> Submission {
    submission(vec![answer("name", "short_text", json!("Ada")), answer("note", "long_text", json!("=1+1"))])
}

/// What Google's own form would put into a column.
fn native(submission: &Submission, column: &str) -> Value {
    let form = every_kind();
    let (title, row) = column
        .split_once(" [")
        .map_or((column, None), |(title, row)| (title, Some(row.trim_end_matches(']'))));
    let question = form.questions().map(|(_, question)| question).find(|question| question.title == title);
    let question = question.unwrap_or_else(|| panic!("{column}"));
    let Some(answer) = submission.answers.iter().find(|answer| answer.key == question.key) else {
        return json!("");
    };
    let list = |value: &Value| {
        let items = value.as_array().cloned().unwrap_or_default();
        items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
    };
    match (row, &answer.value) {
        (Some(row), value) => {
            let id = match row {
                "Clay" => "0b00000c",
                "Kiln" => "0b00000d",
                "Home" => "0b00000e",
                _ => "0b00000f",
            };
            value.get(id).map_or_else(String::new, list).into()
        }
        (None, value @ Value::Array(_)) => list(value).into(),
        (None, Value::String(text)) if question.title == "Start" => text.replace('T', " ").into(),
        (None, value) => value.clone(),
    }
}

#[tokio::test]
async fn every_walk_is_a_row_below_the_form_s_own_header() {
    let running = start(&HEADER, Some(every_kind())).await;
    assert_eq!(running.destination.grade(), Grade::C);
    let submissions = walks(&every_kind(), 12).await;
    for submission in &submissions {
        assert_eq!(deliver(&running.destination, submission, false).await, Outcome::delivered(Some(200)));
        let row = running.rows().pop().expect("a row");
        let at: jiff::Timestamp = row[0].as_str().expect("a time").parse().expect("a time");
        assert_eq!(at.as_millisecond(), submission.completed_at_ms);
        for (column, cell) in HEADER.iter().zip(&row).skip(1) {
            assert_eq!(*cell, native(submission, column), "{column}");
        }
    }
    assert_eq!(running.rows().len(), submissions.len());
    assert!(running.account.rows("Notes").is_empty());
    // The tab is looked for once; then a header and a row each.
    assert_eq!(running.account.exchanges().len(), 2 * submissions.len() + 1);
}

#[tokio::test]
async fn columns_are_matched_by_title_key_and_our_own_names_and_nothing_becomes_a_formula() {
    let header =
        ["the  NAME", "wa_submission_id", "note", "wa_campaign", "shop", "score", "wa_flow_version", "mine"];
    let running = start(&header, None).await;
    assert_eq!(deliver(&running.destination, &simple(), false).await, Outcome::delivered(Some(200)));
    let id = simple().id.to_string();
    assert_eq!(
        running.rows(),
        [json!(["Ada", id, "=1+1", "spring", "rome", "7", "3", ""]).as_array().expect("a row").clone()]
    );
    let exchange = running.account.exchanges().pop().expect("the last");
    assert!(exchange.query.contains(&("valueInputOption".to_owned(), "RAW".to_owned())));
}

#[tokio::test]
async fn an_answer_without_a_column_is_named_and_no_row_is_written() {
    let running = start(&["When", "The name", "Other"], None).await;
    let outcome = deliver(&running.destination, &simple(), false).await;
    let (class, reason) = refused(&outcome);
    assert!(class == "mapping" && reason.contains("no column has the title “note”"), "{class}: {reason}");
    let running = start(&["When", "Something else"], None).await;
    assert_eq!(refused(&deliver(&running.destination, &simple(), false).await).0, "tab");
    let mut long = simple();
    long.answers[1].text = "x".repeat(50_001);
    let running = start(&["The name", "The note"], None).await;
    assert!(refused(&deliver(&running.destination, &long, false).await).1.contains("“note”"));
    assert!(running.rows().is_empty());
    // A title that is nothing but an earlier answer says nothing; the question as it was asked would say too much.
    let form = json!({"id": "f", "title": "F", "pages": [{"id": "p", "questions": [
        {"key": "name", "title": "The name", "type": "short_text"},
        {"key": "note", "title": "{{answer:name}}", "type": "long_text"},
    ]}]});
    let form = serde_json::from_value(form).expect("a form");
    let running = start(&["When", "The name", "Other"], Some(form)).await;
    let mut recalling = simple();
    recalling.answers[1].question = "canary".to_owned();
    let outcome = deliver(&running.destination, &recalling, false).await;
    let reason = refused(&outcome).1;
    assert!(reason.contains("“note”") && !reason.contains("canary"), "{reason}");
}

#[tokio::test]
async fn a_row_whose_answer_was_lost_is_found_by_its_id_or_by_all_that_is_in_it() {
    for header in
        [&["When", "The name", "The note", "wa_submission_id"][..], &["When", "The name", "The note"]]
    {
        let running = start(header, None).await;
        let mut other = simple();
        other.id = formgate::outbox::SubmissionId::new(uuid::Uuid::new_v8([9; 16]));
        other.completed_at_ms += 1;
        assert_eq!(deliver(&running.destination, &other, false).await, Outcome::delivered(Some(200)));
        running.account.fail([Fault::AppendThenFail]);
        let lost = deliver(&running.destination, &simple(), false).await;
        assert_eq!(lost, Outcome::retry("status", Some(503), None));
        let found = deliver(&running.destination, &simple(), true).await;
        assert_eq!((found.verdict, found.class), (Verdict::Delivered, "found"));
        assert_eq!(running.rows().len(), 2);
    }
}

#[tokio::test]
async fn permissions_park_limits_wait_and_a_renamed_tab_is_found_again() {
    let running = start(&["When", "The name", "The note"], None).await;
    running.account.share(false);
    assert!(
        held(&deliver(&running.destination, &simple(), false).await).1.contains("share it with the account")
    );
    running.account.share(true);
    running.account.fail([Fault::RateLimit]);
    assert_eq!(
        deliver(&running.destination, &simple(), false).await,
        Outcome::retry("rate", Some(403), None)
    );
    running.account.fail([Fault::Status(500)]);
    assert_eq!(
        deliver(&running.destination, &simple(), false).await,
        Outcome::retry("look", Some(500), None)
    );
    assert_eq!(deliver(&running.destination, &simple(), false).await, Outcome::delivered(Some(200)));
    running.account.rename("Anna's answers", "Answers");
    assert_eq!(deliver(&running.destination, &simple(), false).await, Outcome::delivered(Some(200)));
    assert_eq!(running.account.rows("Answers").len(), 2);

    let mut stranger = start(&["When"], None).await;
    stranger.destination.api.tokens = std::sync::Arc::new(secrecy::SecretString::from("ya29.old"));
    assert_eq!(held(&deliver(&stranger.destination, &simple(), false).await).0, "reconnect");
    let mut lost = start(&["When"], None).await;
    lost.destination.spreadsheet = "1other".to_owned();
    assert_eq!(held(&deliver(&lost.destination, &simple(), false).await).0, "gone");
}

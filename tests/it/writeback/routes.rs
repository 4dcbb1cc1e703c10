//! What stands before a destination: conditions and mappings, and what becomes of doubtful attempts.

use std::sync::{Arc, Mutex};

use formgate::form::mapping::Step;
use formgate::form::{Condition, Template};
use formgate::outbox::{
    Attempting, Call, Destination, DestinationId, Grade, Outcome, Routed, Submission, Verdict, mapped,
};
use formgate::store::DeliveryState;
use serde_json::{Value, json};

use super::{answer, deliver, id, refused, submission};
use crate::outbox::fixture::{Home, crm};

/// Keeps what it gets, and answers as it is told.
struct Kept {
    id: DestinationId,
    got: Mutex<Vec<(Submission, bool)>>,
    answers: Mutex<Vec<Outcome>>,
}

impl Kept {
    fn new(id: DestinationId, answers: Vec<Outcome>) -> Arc<Kept> {
        Arc::new(Kept { id, got: Mutex::default(), answers: Mutex::new(answers) })
    }

    fn got(&self) -> Vec<(Submission, bool)> {
        self.got.lock().expect("a list").clone()
    }
}

impl Destination for Kept {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn grade(&self) -> Grade {
        Grade::B
    }

    fn deliver<'a>(&'a self, call: Call<'a>) -> Attempting<'a> {
        self.got.lock().expect("a list").push((call.submission.clone(), call.sent_before));
        let mut answers = self.answers.lock().expect("answers");
        let next = if answers.is_empty() { None } else { Some(answers.remove(0)) };
        Box::pin(async move {
            match next {
                Some(outcome) => outcome,
                // As a destination does that cannot be asked.
                None if call.sent_before => Outcome::delivered_maybe_twice(Some(200)),
                None => Outcome::delivered(Some(200)),
            }
        })
    }
}

fn filled() -> Submission {
    submission(vec![
        answer("first", "short_text", json!("Ada")),
        answer("last", "short_text", json!("Lovelace")),
        answer("topic", "single_choice", json!("order")),
        answer("extras", "multiple_choice", json!(["milk", "rum"])),
        answer("age", "number", json!(36)),
        answer("grid", "matrix", json!({"a": ["good"]})),
    ])
}

fn steps(steps: &[(&str, Step)]) -> Vec<(String, Step)> {
    steps.iter().map(|(name, step)| ((*name).to_owned(), step.clone())).collect()
}

#[test]
fn a_mapping_renames_drops_and_makes_and_leaves_everything_else() {
    let mapping = steps(&[
        ("first", Step::Rename("FirstName".into())),
        ("last", Step::Drop),
        ("source", Step::Constant(json!("whatsapp"))),
        ("count", Step::Constant(json!(3))),
        (
            "hello",
            Step::Template(Template::parse(
                "{{answer:first}} of {{hidden:shop}} ({{variable:score}}, {{hidden:wa_flow_version}})",
            )),
        ),
        ("name", Step::Join { of: vec!["first".into(), "middle".into(), "last".into()], with: " ".into() }),
        ("empty", Step::Template(Template::parse("{{answer:middle}}"))),
    ]);
    let (before, sent) = (filled(), filled());
    let sent = mapped(&sent, &mapping).expect("no name twice");
    let told: Vec<(&str, Value)> = sent.answers.iter().map(|a| (a.key.as_str(), a.value.clone())).collect();
    assert_eq!(
        told,
        [
            ("FirstName", json!("Ada")),
            ("topic", json!("order")),
            ("extras", json!(["milk", "rum"])),
            ("age", json!(36)),
            ("grid", json!({"a": ["good"]})),
            ("source", json!("whatsapp")),
            ("count", json!(3)),
            ("hello", json!("Ada of rome (7, 3)")),
            ("name", json!("Ada Lovelace")),
        ]
    );
    assert_eq!((sent.id, &sent.hidden, &sent.source), (before.id, &before.hidden, &before.source));
    let twice = steps(&[("first", Step::Rename("topic".into()))]);
    assert!(mapped(&before, &twice).is_err_and(|error| error.name == "topic" && error.key == "topic"));
}

#[tokio::test]
async fn only_what_the_condition_lets_through_is_sent() {
    let condition = |json: Value| serde_json::from_value::<Condition>(json).expect("a condition");
    for (when, lets) in [
        (json!({"if": {"answer": "topic"}, "op": "is", "value": "order"}), true),
        (json!({"if": {"answer": "topic"}, "op": "is", "value": "ord"}), false),
        (json!({"if": {"answer": "first"}, "op": "contains", "value": "da"}), true),
        (json!({"if": {"answer": "extras"}, "op": "contains", "value": "rum"}), true),
        (json!({"if": {"answer": "age"}, "op": "greater_than", "value": 40}), false),
        (json!({"if": {"matrix": "grid", "row": "a"}, "op": "is", "value": "good"}), true),
        (json!({"if": {"hidden": "shop"}, "op": "is", "value": "Rome"}), true),
        (json!({"if": {"variable": "score"}, "op": "at_least", "value": 8}), false),
        (json!({"if": {"answer": "middle"}, "op": "answered"}), false),
        (json!({"not": {"any": [{"if": {"answer": "middle"}, "op": "answered"}]}}), true),
    ] {
        let kept = Kept::new(id(), vec![]);
        let mapping = steps(&[("topic", Step::Drop)]);
        let routed = Routed { destination: kept.clone(), when: Some(condition(when.clone())), mapping };
        assert_eq!(routed.grade(), Grade::B);
        let outcome = deliver(&routed, &filled(), false).await;
        // What is kept back is not counted as a failure, and is told apart.
        let class = if lets { "delivered" } else { "skipped" };
        assert_eq!((outcome.verdict, outcome.class), (Verdict::Delivered, class), "{when}");
        assert_eq!(kept.got().len(), usize::from(lets), "{when}");
        assert!(kept.got().iter().all(|(sent, _)| sent.answers.iter().all(|answer| answer.key != "topic")));
    }
}

#[tokio::test]
async fn a_mapping_that_cannot_be_is_refused_with_the_name() {
    let kept = Kept::new(id(), vec![]);
    let mapping = steps(&[("first", Step::Rename("last".into()))]);
    let routed = Routed { destination: kept.clone(), when: None, mapping };
    let outcome = deliver(&routed, &filled(), false).await;
    let (class, reason) = refused(&outcome);
    assert!(class == "mapping" && reason.contains("“last”") && !reason.contains("Lovelace"), "{reason}");
    assert!(kept.got().is_empty());
}

/// What the outbox says of a delivery whose attempts ended so, and what each attempt was told about those before.
async fn history(answers: Vec<Outcome>) -> (Vec<bool>, bool) {
    let home = Home::new();
    let sent = filled();
    home.outbox.accept(&sent, &[crm()], &[1; 32], vec![]).await.expect("accepted");
    let kept = Kept::new(crm(), answers);
    let working = home.work(std::slice::from_ref(&kept));
    home.settled_in_time(sent.id, &[DeliveryState::Delivered]).await;
    working.stop().await;
    let shown = home.outbox.show(sent.id).await.expect("a read").expect("a submission");
    (kept.got().iter().map(|(_, before)| *before).collect(), shown.deliveries[0].may_be_duplicated())
}

#[tokio::test]
async fn only_an_attempt_that_may_have_arrived_makes_the_next_one_doubtful() {
    let clean = [("connect", None), ("rate", Some(429)), ("status", Some(404)), ("look", Some(503))];
    for (class, status) in clean {
        let told = history(vec![Outcome::retry(class, status, None)]).await;
        assert_eq!(told, (vec![false, false], false), "{class} {status:?}");
    }
    for (class, status) in [("exchange", None), ("deadline", None), ("status", Some(500))] {
        let told = history(vec![Outcome::retry(class, status, None)]).await;
        assert_eq!(told, (vec![false, true], true), "{class} {status:?}");
    }
}

//! What a change of the source means: a matrix of edits, and that no difference goes unnamed.

use formgate::catalog::drift::{Drift, Impact, compare};
use formgate::form::Form;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::properties::generate;

use Impact::{Breaking, Compatible, Cosmetic};

const EVERYTHING: &str = include_str!("../fixtures/form/everything.json");

/// One edit of a definition.
enum Edit {
    Set(&'static str, Json),
    Remove(&'static str),
    Push(&'static str, Json),
    Swap(&'static str, usize, usize),
}

use Edit::{Push, Remove, Set, Swap};

fn definition() -> Json {
    serde_json::from_str(EVERYTHING).expect("the fixture is JSON")
}

fn form(json: Json) -> Form {
    let form: Form = serde_json::from_value(json).expect("an edited definition is a form");
    assert_eq!(form.check(), vec![]);
    form
}

/// The pointer of a question: `shade/required` stands for `/pages/1/questions/1/required`.
fn pointer(json: &Json, short: &str) -> String {
    let (first, rest) =
        short.split_once('/').map_or((short, String::new()), |(key, rest)| (key, format!("/{rest}")));
    let pages = json["pages"].as_array().expect("pages");
    for (page, questions) in
        pages.iter().map(|page| page["questions"].as_array().expect("questions")).enumerate()
    {
        if let Some(at) = questions.iter().position(|question| question["key"] == first) {
            return format!("/pages/{page}/questions/{at}{rest}");
        }
    }
    format!("/{short}")
}

fn apply(json: &mut Json, edit: &Edit) {
    let (Set(short, _) | Remove(short) | Push(short, _) | Swap(short, ..)) = edit;
    let whole = pointer(json, short);
    match edit {
        Push(_, value) => {
            json.pointer_mut(&whole).and_then(Json::as_array_mut).expect("a list").push(value.clone())
        }
        Swap(_, one, other) => {
            json.pointer_mut(&whole).and_then(Json::as_array_mut).expect("a list").swap(*one, *other);
        }
        Set(..) | Remove(_) => {
            let (parent, name) = whole.rsplit_once('/').expect("a pointer");
            match (json.pointer_mut(parent).expect("the parent"), edit) {
                (Json::Object(members), Set(_, value)) => {
                    members.insert(name.to_owned(), value.clone());
                }
                (Json::Object(members), _) => {
                    members.remove(name).expect("the member to remove");
                }
                (Json::Array(items), _) => {
                    items.remove(name.parse().expect("an index"));
                }
                _ => panic!("{parent} holds nothing"),
            }
        }
    }
}

fn drift_of(edits: &[Edit]) -> Drift {
    let mut edited = definition();
    edits.iter().for_each(|edit| apply(&mut edited, edit));
    compare(&form(definition()), &form(edited))
}

#[test]
fn each_edit_of_a_form_has_the_impact_that_it_has_for_answers_and_destinations() {
    let question = |key: &str, required: bool| json!({"key": key, "title": "New", "type": "short_text", "required": required});
    let yes = json!({"if": {"answer": "happy"}, "op": "is", "value": true});
    let matrix = [
        (Cosmetic, Set("title", json!("Everything"))),
        (Cosmetic, Set("description", json!("Another text"))),
        (Cosmetic, Set("name/title", json!("Your name"))),
        (Cosmetic, Set("name/help", json!("As in your passport"))),
        (Cosmetic, Set("pages/0/title", json!("You"))),
        (Cosmetic, Set("pages/0/description", json!("A few words"))),
        (Cosmetic, Set("colour/options/0/label", json!("Scarlet"))),
        (Cosmetic, Set("colour/options/0/image", json!("https://example.com/red.png"))),
        (Cosmetic, Swap("colour/options", 0, 1)),
        (Cosmetic, Set("colour/display", json!("dropdown"))),
        (Cosmetic, Set("extras/other/label", json!("Other"))),
        (Cosmetic, Set("scale/labels/left", json!("awful"))),
        (Cosmetic, Set("nps/labels", json!({"left": "no", "right": "yes"}))),
        (Cosmetic, Set("grid/rows/0/label", json!("The food"))),
        (Cosmetic, Swap("grid/rows", 0, 1)),
        (Cosmetic, Set("pin/pattern/message", json!("Like AB123"))),
        (Cosmetic, Set("agree/link", json!("https://example.com/new"))),
        (Cosmetic, Set("endings/0/title", json!("Thanks"))),
        (Cosmetic, Set("endings/1/link", json!("https://example.com/other"))),
        (Cosmetic, Set("translations", json!({"it": {"title": "Tutto"}}))),
        (Cosmetic, Remove("note")),
        (Compatible, Push("pages/0/questions", question("extra", false))),
        (
            Compatible,
            Push(
                "pages/0/questions",
                json!({"key": "hint", "title": "Read this", "type": "statement", "required": true}),
            ),
        ),
        (Compatible, Push("pages", json!({"id": "more", "questions": []}))),
        (Compatible, Set("name/required", json!(false))),
        (Compatible, Set("name/max_length", json!(100))),
        (Compatible, Remove("name/max_length")),
        (Compatible, Remove("pin/pattern")),
        (Compatible, Push("colour/options", json!({"id": "green", "label": "Green"}))),
        (Compatible, Set("shade/other", json!({}))),
        (Compatible, Set("extras/max", json!(3))),
        (Compatible, Set("many/max", json!(20))),
        (Compatible, Set("many/integer", json!(false))),
        (Compatible, Set("born/min", json!("1900-01-01"))),
        (Compatible, Set("name/type", json!("long_text"))),
        (Compatible, Push("grid/rows", json!({"id": "r3", "label": "Music"}))),
        (Compatible, Push("grid/columns", json!({"id": "no", "label": "None"}))),
        (Compatible, Swap("pages/0/questions", 0, 1)),
        (Compatible, Swap("pages", 0, 1)),
        (Compatible, Set("site/visible_if", yes.clone())),
        (Compatible, Remove("again/rules")),
        (Compatible, Set("pages/2/visible_if", yes)),
        (Compatible, Push("hidden", json!({"key": "gclid"}))),
        (Compatible, Set("hidden/0/default", json!("mail"))),
        (Compatible, Push("variables", json!({"name": "price", "initial": 1}))),
        (Compatible, Set("variables/0/initial", json!(5))),
        (Compatible, Push("endings", json!({"key": "third", "title": "Bye"}))),
        (Compatible, Swap("endings", 0, 1)),
        (Compatible, Set("default_country", json!("DE"))),
        (Compatible, Set("locale", json!("it"))),
        (Compatible, Set("agree/version", json!("2"))),
        (Compatible, Set("name/default", json!("Ada"))),
        (Breaking, Set("id", json!("another"))),
        (Breaking, Set("time_zone", json!("UTC"))),
        (Breaking, Push("pages/0/questions", question("extra", true))),
        (Breaking, Remove("site")),
        (Breaking, Set("site/required", json!(true))),
        (Breaking, Set("site/type", json!("email"))),
        (Breaking, Set("why/type", json!("short_text"))),
        (Breaking, Set("name/max_length", json!(10))),
        (Breaking, Set("name/min_length", json!(3))),
        (Breaking, Set("name/pattern", json!({"regex": "[a-z]+"}))),
        (Breaking, Set("pin/pattern/regex", json!("\\d{4}"))),
        (Breaking, Remove("colour/options/1")),
        (Breaking, Set("colour/options/1/id", json!("navy"))),
        (Breaking, Remove("colour/other")),
        (Breaking, Set("extras/max", json!(1))),
        (Breaking, Set("colour/type", json!("multiple_choice"))),
        (Breaking, Set("many/max", json!(5))),
        (Breaking, Set("stars/steps", json!(10))),
        (Breaking, Set("scale/max", json!(10))),
        (Breaking, Push("rank/options", json!({"id": "w", "label": "W"}))),
        (Breaking, Remove("grid/rows/1")),
        (Breaking, Set("grid/rows/0/required", json!(true))),
        (Breaking, Set("grid/multiple", json!(true))),
        (Breaking, Set("email/blocked_domains", json!(["example.org"]))),
        (Breaking, Set("photo/max_files", json!(1))),
        (Breaking, Set("agree/text", json!("I agree to everything"))),
        (Breaking, Remove("hidden/0")),
        (Breaking, Set("pay/type", json!("short_text"))),
    ];
    assert!(matrix.len() >= 40);
    for (number, (impact, edit)) in matrix.into_iter().enumerate() {
        let drift = drift_of(&[edit]);
        assert_eq!(drift.impact(), Some(impact), "edit {number}: {:?}", drift.changes);
        assert!(drift.changes.iter().all(|change| !change.text.is_empty() && !change.at.is_empty()));
    }
}

#[test]
fn several_changes_are_as_severe_as_the_severest_and_are_all_told() {
    let drift = drift_of(&[Set("title", json!("New")), Set("name/required", json!(false)), Remove("site")]);
    assert_eq!(drift.impact(), Some(Breaking));
    assert_eq!(drift.summary(), "1 breaking, 1 compatible, 1 cosmetic");
    let lines: Vec<String> = drift.changes.iter().map(ToString::to_string).collect();
    assert!(lines.contains(&"breaking   question.site (Your web site): the question is gone: its answers have no place any more".to_owned()), "{lines:?}");
}

#[test]
fn a_form_that_was_not_touched_has_not_changed() {
    let drift = drift_of(&[]);
    assert_eq!((drift.impact(), drift.summary().as_str()), (None, "no changes"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    // Completeness: what is told as unchanged is equal.
    #[test]
    fn two_forms_without_a_change_between_them_are_equal(one in any::<u64>(), other in any::<u64>(), edit in any::<u64>()) {
        let (one, other) = (generate::form(one), generate::form(other));
        prop_assert_eq!(compare(&one, &one).impact(), None);
        prop_assert_eq!(compare(&one, &other).changes.is_empty(), one == other);
        let mut json = serde_json::to_value(&one).expect("a form serialises");
        change_one_leaf(&mut json, edit);
        if let Ok(edited) = serde_json::from_value::<Form>(json) {
            let drift = compare(&one, &edited);
            prop_assert_eq!(drift.changes.is_empty(), one == edited, "{:?}", drift);
        }
    }
}

/// Alters one text, number or truth value of a document, or takes away one item of a list.
fn change_one_leaf(json: &mut Json, choice: u64) {
    fn leaves(json: &mut Json, visit: &mut dyn FnMut(&mut Json)) {
        match json {
            Json::Array(items) => {
                items.iter_mut().for_each(|item| leaves(item, visit));
            }
            Json::Object(members) => members.values_mut().for_each(|member| leaves(member, visit)),
            leaf => visit(leaf),
        }
    }
    let mut count = 0u64;
    leaves(json, &mut |_| count += 1);
    let (chosen, mut seen) = (choice % count.max(1), 0);
    leaves(json, &mut |leaf| {
        if seen == chosen {
            *leaf = match &*leaf {
                Json::String(text) => Json::String(format!("{text}x")),
                Json::Bool(value) => Json::Bool(!value),
                Json::Number(number) => json!(number.as_f64().unwrap_or(0.0) + 1.0),
                other => other.clone(),
            };
        }
        seen += 1;
    });
}

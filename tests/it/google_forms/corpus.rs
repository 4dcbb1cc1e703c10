//! Real definitions, and damaged ones.

use std::collections::BTreeSet;

use formgate::catalog;
use formgate::flow::compile::{Mode, Settings};
use formgate::flow::validate::{Severity, validate};
use formgate::form::Kind;
use formgate::player::Outcome;
use formgate::player::strategy::{Played, Random, play};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{PAGE, WORKSHOP, read};
use crate::corpus;
use crate::endpoint::fixture::Setup;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_damage_makes_the_reader_panic_or_read_an_unsound_form(
        page in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..10), 1..6)
    ) {
        let mut definition: Value = serde_json::from_str(if page { PAGE } else { WORKSHOP }).expect("our fixture");
        for (place, what) in damage {
            let mut all = Vec::new();
            corpus::paths(&definition, "", &mut all);
            let path = place.get(&all);
            let Some(part) = definition.pointer_mut(path) else { continue };
            *part = match what {
                0 => Value::Null,
                1 => json!(-3),
                2 => json!(""),
                3 => json!({}),
                4 => json!([part.clone(), part.clone()]),
                5 => json!("{{answer:0a000001}} {{answer:nobody}} {{"),
                6 => json!(1e300),
                7 => json!(" "),
                8 => json!(u64::MAX),
                _ => json!("start"),
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

/// Real definitions, where the checkout stands beside them.
fn corpus() -> Vec<(String, String)> {
    let own = [("workshop", WORKSHOP), ("workshop-page", PAGE)];
    let own = own.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let real = ["google-forms", "google-forms/public-load-data"].into_iter().flat_map(corpus::files);
    own.into_iter().chain(real).collect()
}

/// What one item must become: its key, how many options it has, and how many of them lead somewhere.
struct Expected {
    key: String,
    options: usize,
    leading: usize,
}

/// Read from the definition here and not by the reader.
fn expected(definition: &Value) -> Vec<Expected> {
    let mut found = Vec::new();
    let mut expect =
        |key: String, options: usize, leading: usize| found.push(Expected { key, options, leading });
    for item in definition["items"].as_array().into_iter().flatten() {
        let question = &item["questionItem"]["question"];
        let options = question["choiceQuestion"]["options"].as_array().map_or(&[][..], Vec::as_slice);
        let listed = options.iter().filter(|option| option["isOther"] != true).count();
        let leads = |option: &&Value| option.get("goToSectionId").or(option.get("goToAction")).is_some();
        let id = question["questionId"].as_str().or(item["itemId"].as_str()).expect("real items have ids");
        let columns = item["questionGroupItem"]["grid"]["columns"]["options"].as_array().map_or(0, Vec::len);
        expect(id.to_owned(), listed + columns, options.iter().filter(leads).count());
        for row in item["questionGroupItem"]["questions"].as_array().into_iter().flatten() {
            expect(row["questionId"].as_str().expect("an id").to_owned(), 0, 0);
        }
    }
    for item in definition[1][1].as_array().into_iter().flatten() {
        let kind = item[3].as_u64().expect("a type");
        let entries = item[4].as_array().map_or(&[][..], Vec::as_slice);
        let options = entries.first().and_then(|e| e[1].as_array()).map_or(&[][..], Vec::as_slice);
        let leads = |option: &&Value| option[2].is_number() || option[5].is_number();
        let counted = if matches!(kind, 5 | 18) { 0 } else { options.iter().filter(|o| o[4] != 1).count() };
        let hex = |number: &Value| format!("{:08x}", number.as_u64().expect("an id"));
        if entries.len() == 1 && kind != 7 {
            expect(hex(&entries[0][0]), counted, options.iter().filter(leads).count());
        } else {
            expect(hex(&item[0]), counted, 0);
            entries.iter().for_each(|row| expect(hex(&row[0]), 0, 0));
        }
    }
    found
}

#[test]
fn of_real_definitions_every_item_option_and_rule_is_carried_or_named() {
    for (name, definition) in corpus() {
        let import = read(&definition).unwrap_or_else(|error| panic!("{name}: {error}"));
        let json: Value = serde_json::from_str(&definition).expect("read above");
        for mode in [Mode::Grouped, Mode::OneQuestion] {
            let settings = Settings { mode, ..Settings::default() };
            let compiled =
                catalog::compile(&import, &settings).unwrap_or_else(|error| panic!("{name}: {error}"));
            let broken: Vec<_> =
                validate(&compiled.document).into_iter().filter(|v| v.severity == Severity::Error).collect();
            assert!(broken.is_empty(), "{name}: {broken:?}");
            for (_, question) in import.form.questions() {
                let at = format!("question.{}", question.key);
                assert!(
                    compiled.report.items.iter().any(|item| item.at == at),
                    "{name}: {at} is not in the report"
                );
            }
        }
        let form = &import.form;
        let rows: BTreeSet<&str> = form
            .questions()
            .filter_map(|(_, q)| match &q.kind {
                Kind::Matrix { rows, .. } => Some(rows.iter().map(|row| row.id.as_str())),
                _ => None,
            })
            .flatten()
            .collect();
        let items = expected(&json);
        assert!(!items.is_empty(), "{name}");
        for item in items {
            let question = form.question(&item.key);
            let page = form.pages.iter().any(|page| page.id == item.key);
            let at = format!("question.{}", item.key);
            let noted = import.notes.iter().any(|note| note.at == at && note.lost);
            // A page break without a text shows nothing of its own.
            let silent = item.options == 0
                && question.is_none()
                && name.starts_with("workshop")
                && item.key == "20000004";
            assert!(
                question.is_some() || page || noted || silent || rows.contains(item.key.as_str()),
                "{name}: {}",
                item.key
            );
            assert_eq!(
                question.map_or(0, |q| q.kind.options().len()),
                item.options,
                "{name}: options of {}",
                item.key
            );
            let looks_at = |rule: &&formgate::form::Rule| {
                rule.when.as_ref().is_some_and(|when| when.questions().contains(&item.key.as_str()))
            };
            let carried = form.pages.iter().flat_map(|page| &page.rules).filter(looks_at).count();
            let rule = format!("{at}.rule.");
            let lost = import.notes.iter().filter(|note| note.lost && note.at.starts_with(&rule)).count();
            let last = form.pages.last().is_some_and(|p| p.questions.iter().any(|q| q.key == item.key));
            if !last {
                assert!(carried + lost >= item.leading, "{name}: rules of {}: {carried} + {lost}", item.key);
            }
        }
    }
}

#[tokio::test]
async fn real_definitions_can_be_walked_to_an_end() {
    for (name, definition) in corpus() {
        let import = read(&definition).expect("read by the test above");
        let gate = Setup::of(&import.form, &Settings::default()).start().await;
        for seed in 0..4 {
            let mut player = gate.player(&format!("{name}-{seed}"));
            let played = play(&mut player, &mut Random::new(seed)).await.expect("answers");
            let faults: Vec<_> = player.walk().faults().collect();
            assert!(faults.is_empty(), "{name}, seed {seed}: {faults:?}");
            let Played::Ended(Outcome::Completed(_)) = played else {
                panic!("{name}, seed {seed}: {played:?}")
            };
        }
        assert_eq!(gate.submissions().await.len(), 4, "{name}");
    }
}

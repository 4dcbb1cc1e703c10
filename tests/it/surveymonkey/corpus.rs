//! Real definitions, and our own fixture among them: everything is carried or named, and every flow can be walked.

use std::collections::BTreeSet;

use formgate::catalog;
use formgate::flow::compile::{Mode, Settings};
use formgate::flow::validate::{Severity, validate};
use formgate::form::{Kind, Question};
use formgate::player::Outcome;
use formgate::player::render::{InputKind, Screen, TextType};
use formgate::player::strategy::{Played, Random, Strategy, play};
use serde_json::{Value, json};

use super::{WORKSHOP, read};
use crate::corpus;
use crate::endpoint::fixture::Setup;

/// Real definitions, where the checkout stands beside them.
fn corpus() -> Vec<(String, String)> {
    let mut found = vec![("workshop".to_owned(), WORKSHOP.to_owned())];
    for (name, definition) in corpus::files("surveymonkey") {
        if name.starts_with("legacy-v2") {
            let refused = read(&definition).map(|import| import.form.title);
            assert!(refused.is_err_and(|error| error.to_string().contains("version 2")), "{name}");
        } else {
            found.push((name, definition));
        }
    }
    found
}

/// The ids that are not deleted.
fn ids(items: &Value) -> Vec<String> {
    let items = items.as_array().map_or(&[][..], Vec::as_slice);
    let kept = items.iter().filter(|item| item["visible"] != false);
    kept.map(|item| item["id"].as_str().expect("real ids are texts").to_owned()).collect()
}

#[test]
fn of_real_definitions_every_question_option_and_row_is_carried_or_named() {
    for (name, definition) in corpus() {
        let import = read(&definition).unwrap_or_else(|error| panic!("{name}: {error}"));
        let json: Value = serde_json::from_str(&definition).expect("read above");
        for mode in [Mode::Grouped, Mode::OneQuestion] {
            let settings = Settings { mode, ..Settings::default() };
            let compiled = match catalog::compile(&import, &settings) {
                Ok(compiled) => compiled,
                // A flow has a hundred screens; only questions that share them fit then.
                Err(error) if mode == Mode::OneQuestion && import.form.questions().count() > 100 => {
                    assert!(error.to_string().contains("screens"), "{name}: {error}");
                    continue;
                }
                Err(error) => panic!("{name}: {error}"),
            };
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
        let asked = json["pages"].as_array().expect("pages").iter();
        for source in asked.flat_map(|page| page["questions"].as_array().expect("questions")) {
            let id = source["id"].as_str().expect("an id");
            let own = |key: &str| key == id || key.starts_with(&format!("{id}/"));
            let mine: Vec<&Question> =
                import.form.questions().map(|(_, q)| q).filter(|q| own(&q.key)).collect();
            let named = import.notes.iter().any(|note| note.lost && note.at == format!("question.{id}"));
            assert_eq!(mine.is_empty(), source["visible"] == false, "{name}: {id}");
            if mine.is_empty() {
                continue;
            }
            let answers = &source["answers"];
            let mut known = BTreeSet::new();
            for question in &mine {
                known.extend(
                    question
                        .key
                        .split('/')
                        .filter_map(|part| part.split_once('-'))
                        .map(|(_, id)| id.to_owned()),
                );
                known.extend(question.kind.options().iter().map(|option| option.id.clone()));
                if let Kind::Matrix { rows, .. } = &question.kind {
                    known.extend(rows.iter().map(|row| row.id.clone()));
                }
            }
            let cols = answers["cols"].as_array().map_or(&[][..], Vec::as_slice);
            let cells = cols.iter().flat_map(|col| ids(&col["choices"]));
            let mut wanted: Vec<String> =
                ids(&answers["rows"]).into_iter().chain(cells).chain(ids(&answers["cols"])).collect();
            // The steps of a rating, a score or a ranking are its numbers.
            if !mine
                .iter()
                .any(|q| matches!(q.kind, Kind::Rating { .. } | Kind::Nps { .. } | Kind::Ranking { .. }))
            {
                wanted.extend(ids(&answers["choices"]));
            }
            for id in wanted {
                assert!(known.contains(&id) || named, "{name}: {id} of {}", source["id"]);
            }
            if answers["other"].is_object() && answers["other"]["visible"] != false {
                let other = answers["other"]["id"].as_str().expect("an id");
                let option = mine.iter().any(|q| matches!(&q.kind, Kind::SingleChoice(c) | Kind::MultipleChoice(c) if c.other.is_some()));
                assert!(known.contains(other) || option || named, "{name}: other of {id}");
            }
        }
    }
}

/// Answers at random, but knows what chance does not hit upon: a time, a phone number that exists, the fixture's code.
struct Careful(Random);

impl Strategy for Careful {
    fn answer(&mut self, screen: &Screen) -> Vec<(String, Value)> {
        let mut answers = self.0.answer(screen);
        for input in screen.inputs() {
            let date = input.name.strip_suffix("_time").and_then(|date| screen.input(date));
            let written = if input.label == "Booking code" {
                Some("AB123")
            } else if matches!(input.kind, InputKind::Text { text_type: TextType::Phone, .. }) {
                Some("+39 347 123 4567")
            } else if input.hint.as_deref() == Some("For example 09:30") {
                // A date goes with its time, and none with none.
                Some(if date.is_some_and(|date| date.value.is_none()) { "" } else { "09:30" })
            } else {
                None
            };
            if let Some(written) = written {
                answers.retain(|(name, _)| *name != input.name);
                answers.push((input.name.clone(), json!(written)));
            }
        }
        answers
    }

    fn patience(&self) -> u32 {
        self.0.patience()
    }
}

#[tokio::test]
async fn real_definitions_can_be_walked_to_an_end() {
    for (name, definition) in corpus() {
        let import = read(&definition).expect("read by the test above");
        let gate = Setup::of(&import.form, &Settings::default()).start().await;
        for seed in 0..3 {
            let mut player = gate.player(&format!("{name}-{seed}"));
            let played = play(&mut player, &mut Careful(Random::new(seed))).await.expect("answers");
            let faults: Vec<_> = player.walk().faults().collect();
            assert!(faults.is_empty(), "{name}, seed {seed}: {faults:?}");
            let Played::Ended(Outcome::Completed(_)) = played else {
                panic!("{name}, seed {seed}: {played:?}")
            };
        }
        assert_eq!(gate.submissions().await.len(), 3, "{name}");
    }
}

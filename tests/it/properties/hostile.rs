//! A hostile client on random forms: always answered, never believed.

use std::collections::BTreeMap;

use formgate::flow::handler::{Closing, Session, Show, Turn};
use formgate::flow::plan::Content;
use formgate::form::Validator;
use serde_json::{Map, Value as Json, json};

use super::options::TEXTS;
use super::phone::Phone;
use super::truth::{self, file, meant};
use super::{Dice, all_settings, compiled, for_seeds, generate, sound};

/// Forms of the default run, and exchanges with each.
const FORMS: u64 = 80;
const EXCHANGES: usize = 250;

#[test]
fn whatever_a_client_sends_it_is_answered_and_nothing_invalid_is_submitted() {
    let (mut finished, mut refused, mut stored) = (0, 0, 0);
    for_seeds(FORMS, |seed| {
        let form = generate::form(seed);
        let mut dice = Dice::new(seed ^ 0xbad);
        let settings = dice.pick(&all_settings()).clone();
        let Some(compiled) = compiled(&form, &settings) else { return };
        let phone = Phone::new(compiled, BTreeMap::new());
        let mut earlier: Vec<Show> = Vec::new();
        let mut show = phone.open();
        for _ in 0..EXCHANGES {
            // Replays, screens skipped, and old screens with their old state.
            if !earlier.is_empty() && dice.chance(8) {
                show = earlier[dice.below(earlier.len())].clone();
            }
            let payload = payload(&phone, &show, &mut dice);
            let turn = phone.send(&show, &payload);
            assert_eq!(phone.send(&show, &payload), turn, "a replay is answered alike");
            match turn {
                Turn::Show(next) => {
                    if next.problem {
                        refused += 1;
                        assert_eq!(next.screen, show.screen);
                        assert_eq!(next.session, show.session, "nothing was taken");
                        let message = next.data.get("error_message").and_then(Json::as_str);
                        assert!(message.is_some_and(|text| !text.trim().is_empty()), "what is wrong is said");
                    } else if earlier.len() < 100 {
                        earlier.push(next.clone());
                    }
                    show = next;
                }
                Turn::Finish { completed, then } => {
                    finished += 1;
                    let mut seen = std::collections::BTreeSet::new();
                    for (position, value) in &completed.answers {
                        stored += 1;
                        let question = phone.handler.question(*position);
                        assert!(seen.insert(position), "{} twice", question.key);
                        assert_eq!(sound::fault(question, value), None);
                    }
                    if let Closing::Show(ending) = then {
                        earlier.push(*ending);
                    }
                    show = phone.open();
                }
            }
        }
    });
    eprintln!("{finished} walks ended, {stored} answers were judged, {refused} screens were refused");
    let alone = std::env::var("FORMGATE_SEED").is_ok();
    assert!(alone || (finished > 500 && refused > 2_000 && stored > 2_000), "{finished} {refused} {stored}");
}

#[test]
fn a_state_of_another_form_or_with_altered_bytes_is_refused_or_answered() {
    let mut opened = 0;
    for_seeds(FORMS / 2, |seed| {
        let mut dice = Dice::new(seed ^ 0xa17e);
        let [own, foreign] = [seed, seed + 10_000].map(|seed| {
            let settings = all_settings()[usize::try_from(seed % 8).expect("small")].clone();
            compiled(&generate::form(seed), &settings).map(|compiled| Phone::new(compiled, BTreeMap::new()))
        });
        let (Some(own), Some(foreign)) = (own, foreign) else { return };
        let mut states = vec![own.session().to_bytes()];
        let mut show = own.open();
        for _ in 0..60 {
            let payload = payload(&own, &show, &mut dice);
            match own.send(&show, &payload) {
                Turn::Show(next) => show = next,
                Turn::Finish { .. } => show = own.open(),
            }
            states.extend(show.session.iter().map(Session::to_bytes));
        }
        for bytes in states {
            let mut altered = bytes.clone();
            for _ in 0..dice.below(3) {
                let at = dice.below(altered.len());
                altered[at] = u8::try_from(dice.below(256)).expect("a byte");
            }
            if dice.chance(10) {
                altered.truncate(dice.below(altered.len()));
            }
            let Ok(session) = Session::from_bytes(&altered) else { continue };
            for phone in [&own, &foreign] {
                for screen in &phone.handler.plan().screens {
                    opened += 1;
                    let payload = match dice.chance(50) {
                        true => Map::new(),
                        false => {
                            payload(phone, &Show { screen: screen.id.clone(), ..show.clone() }, &mut dice)
                        }
                    };
                    assert!(phone.handler.step(session.clone(), &screen.id, &payload).is_some());
                    assert!(phone.handler.again(session.clone(), &screen.id).is_some());
                    assert!(phone.handler.refuse(session.clone(), &screen.id, &payload, "No").is_some());
                }
                assert_eq!(phone.handler.step(session.clone(), "NOWHERE", &Map::new()), None);
            }
        }
    });
    assert!(std::env::var("FORMGATE_SEED").is_ok() || opened > 20_000, "only {opened} altered states opened");
}

#[test]
fn what_the_validator_accepts_of_anything_is_sound() {
    let mut accepted = 0;
    for_seeds(FORMS, |seed| {
        let form = generate::form(seed);
        let mut dice = Dice::new(seed ^ 0xacce);
        let validator = Validator::new(&form);
        for (_, question) in form.questions() {
            for _ in 0..60 {
                let option = question.kind.options().first().map_or("x", |option| option.id.as_str());
                let raw = anything(&mut dice, option, 0);
                let other = dice.chance(20).then(|| "Own words".to_owned());
                if let Ok(Some(value)) = validator.accept(question, Some(&raw), other.as_deref()) {
                    accepted += 1;
                    assert_eq!(sound::fault(question, &value), None, "from {raw}");
                }
            }
        }
    });
    assert!(std::env::var("FORMGATE_SEED").is_ok() || accepted > 1_000, "only {accepted} were accepted");
}

/// What a client may send from a screen: mostly valid, sometimes hostile, sometimes for questions of other screens.
fn payload(phone: &Phone, show: &Show, dice: &mut Dice) -> Map<String, Json> {
    let mut payload = Map::new();
    for block in phone.blocks(&show.screen) {
        let question = phone.handler.question(block.position);
        if dice.chance(75) {
            truth::write(&meant(dice, question), block, question, |_| None, &mut payload);
        }
        for input in &block.inputs {
            if dice.chance(12) {
                let known = input.options.first().map_or("x", |option| option.id.as_str());
                payload.insert(input.name.clone(), anything(dice, known, 0));
            }
            if dice.chance(4) {
                payload.remove(&input.name);
            }
        }
    }
    if dice.chance(15) {
        let screens = &phone.handler.plan().screens;
        if let Content::Questions(blocks) = &screens[dice.below(screens.len())].content {
            for input in blocks.iter().flat_map(|block| &block.inputs) {
                payload.insert(input.name.clone(), anything(dice, "x", 0));
            }
        }
        payload.insert("error".to_owned(), json!({"key": "x"}));
        payload.insert(String::new(), json!("nameless"));
    }
    payload
}

/// Any JSON.
fn anything(dice: &mut Dice, known: &str, depth: usize) -> Json {
    match dice.below(if depth > 3 { 14 } else { 19 }) {
        0 => Json::Null,
        1 => json!(dice.chance(50)),
        2 => json!(i64::from_ne_bytes(dice.bytes())),
        3 => json!(f64::from_ne_bytes(dice.bytes())),
        4 => json!(u64::MAX),
        5 => json!("x".repeat(4_097)),
        6 => json!("🦀".repeat(17_000)),
        7 => json!(String::from_utf8_lossy(&dice.bytes::<8>())),
        8 => json!(""),
        9 => json!("\u{0}\u{202e}\u{feff} \n "),
        10 | 11 => json!(known),
        12 => json!(dice.pick(&[
            "2024-02-30",
            "24:00",
            "ada@",
            "+",
            "1e999",
            "-0",
            "NaN",
            "١٢",
            "9999-12-31T23:59",
            "http://"
        ])),
        13 => json!(dice.pick(&TEXTS)),
        14 => json!([known, known]),
        15 => file("file.pdf"),
        16 => json!([file(""), file("../../etc/passwd")]),
        17 => (0..dice.below(4)).map(|_| anything(dice, known, depth + 1)).collect(),
        _ => {
            let members = (0..dice.below(4)).map(|number| {
                let name = if dice.chance(50) { known.to_owned() } else { format!("a{number}") };
                (name, anything(dice, known, depth + 1))
            });
            Json::Object(members.collect())
        }
    }
}

//! Compiled flows answered by their handlers, as a client would walk them.

use std::collections::{BTreeMap, BTreeSet};

use formgate::flow::compile::{Mode, Settings, compile};
use formgate::flow::handler::{Closing, Completed, Handler, Session, Show, Turn};
use formgate::flow::plan::{Content, DataSource, Entry, FIELD_ERRORS, INIT_VALUES, Input, PROGRESS, Role};
use formgate::form::{Form, Kind, Selection, Value};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value as Json, json};

fn everything() -> Form {
    serde_json::from_str(include_str!("../fixtures/form/everything.json")).expect("a form")
}

fn form_of(questions: Json) -> Form {
    serde_json::from_value(
        json!({"id": "f", "title": "Form", "pages": [{"id": "p", "questions": questions}]}),
    )
    .expect("a form")
}

/// A flow and the routing that its document promises the client.
struct Flow {
    handler: Handler,
    document: Json,
}

impl Flow {
    fn of(form: &Form, settings: &Settings) -> Flow {
        let compiled = compile(form, settings).unwrap_or_else(|error| panic!("{error}"));
        Flow { handler: Handler::new(compiled.plan), document: compiled.document }
    }

    fn session(&self) -> Session {
        Session::start([1; 16], BTreeMap::new())
    }

    fn open(&self) -> Show {
        self.judged(None, self.handler.open(self.session()))
    }

    fn step(&self, show: &Show, payload: Json) -> Turn {
        // The session travels as bytes, as it does when sealed.
        let session = show
            .session
            .as_ref()
            .map_or_else(|| self.session(), |s| Session::from_bytes(&s.to_bytes()).expect("own bytes"));
        let Json::Object(payload) = payload else { panic!("a payload is an object") };
        let turn = self.handler.step(session, &show.screen, &payload).expect("a known screen");
        match turn {
            Turn::Show(next) => Turn::Show(self.judged(Some(&show.screen), next)),
            Turn::Finish { completed, then: Closing::Show(next) } => Turn::Finish {
                completed,
                then: Closing::Show(Box::new(self.judged(Some(&show.screen), *next))),
            },
            turn => {
                let screen = self.screen(&show.screen);
                assert_eq!(screen["terminal"], true, "SUCCESS is answered on terminal screens only");
                turn
            }
        }
    }

    fn screen(&self, id: &str) -> &Json {
        let screens = self.document["screens"].as_array().expect("screens");
        screens.iter().find(|s| s["id"] == id).unwrap_or_else(|| panic!("no screen {id}"))
    }

    /// Holds a screen to the data model and the routing model.
    fn judged(&self, from: Option<&str>, show: Show) -> Show {
        let declared = self.screen(&show.screen)["data"].as_object().cloned().unwrap_or_default();
        for (key, kind) in declared.iter().filter(|(key, _)| *key != "state") {
            let value = show.data.get(key).unwrap_or_else(|| panic!("{} lacks {key}", show.screen));
            let fits = match kind["type"].as_str() {
                Some("string") => value.as_str().is_some_and(|text| !text.trim().is_empty()),
                Some("array") => value.as_array().is_some_and(|items| !items.is_empty()),
                Some("object") => value.is_object(),
                _ => false,
            };
            assert!(fits, "{}: {key} = {value}", show.screen);
            for (name, value) in value.as_object().into_iter().flatten() {
                let wanted = kind["properties"][name]["type"].as_str();
                let fits = match wanted {
                    Some("string") => value.is_string(),
                    Some("boolean") => value.is_boolean(),
                    Some("array") => value.is_array(),
                    _ => false,
                };
                assert!(fits, "{key}.{name} = {value}, declared {wanted:?}");
            }
        }
        if let Some(from) = from.filter(|from| *from != show.screen) {
            let leads = |a: &str, b: &str| {
                self.document["routing_model"][a]
                    .as_array()
                    .is_some_and(|targets| targets.contains(&json!(b)))
            };
            assert!(
                leads(from, &show.screen) || leads(&show.screen, from),
                "{from} → {} is not routed",
                show.screen
            );
        }
        show
    }

    fn inputs(&self, screen: &str) -> Vec<Input> {
        let plan = self.handler.plan().screens.iter().find(|s| s.id == screen).expect("planned");
        match &plan.content {
            Content::Questions(blocks) => blocks.iter().flat_map(|b| b.inputs.clone()).collect(),
            _ => Vec::new(),
        }
    }

    /// Walks with these answers, by the beginning of the input's name; what is not named stays empty.
    fn walk(&self, answers: &[(&str, Json)]) -> Completed {
        let mut show = self.open();
        for _ in 0..200 {
            let mut payload = Map::new();
            for input in self.inputs(&show.screen) {
                if let Some((_, value)) = answers.iter().find(|(name, _)| input.name == *name) {
                    payload.insert(input.name, value.clone());
                }
            }
            match self.step(&show, Json::Object(payload)) {
                Turn::Show(next) => {
                    assert!(!next.problem, "{}: {:?}", next.screen, next.data.get("error_message"));
                    show = next;
                }
                Turn::Finish { completed, .. } => return completed,
            }
        }
        panic!("the walk does not end");
    }
}

fn truthful() -> Vec<(&'static str, Json)> {
    vec![
        ("q_name_text", json!("Ada")),
        ("q_email_text", json!("ada@example.com")),
        ("q_phone_text", json!("06 6982 1234")),
        ("q_site_text", json!("example.com")),
        ("q_born_text", json!("1980-05-17")),
        ("q_pin_text", json!("AB123")),
        ("q_colour_one", json!("red")),
        ("q_shade_one", json!("dark")),
        ("q_extras_many", json!(["b"])),
        ("q_extras_many_other", json!("D")),
        ("q_when_text", json!("2026-12-01")),
        ("q_when_text_time", json!("9.30")),
        ("q_time_text", json!("14:00")),
        ("q_many_number", json!("3")),
        ("q_stars_number", json!("4")),
        ("q_scale_number", json!("7")),
        ("q_nps_number", json!("9")),
        ("q_rank_one_place1", json!("z")),
        ("q_rank_one_place2", json!("x")),
        ("q_grid_one_r1", json!("ok")),
        ("q_grid_one_r2", json!("ko")),
        ("q_grid2_many_r1", json!(["c2", "c1"])),
        ("q_happy_one", json!("no")),
        ("q_why_text", json!("Cold soup")),
        ("q_agree_bool", json!(true)),
        ("q_again_one", json!("no")),
    ]
}

fn answer<'c>(flow: &Flow, completed: &'c Completed, key: &str) -> Option<&'c Value> {
    completed
        .answers
        .iter()
        .find(|(position, _)| flow.handler.question(*position).key == key)
        .map(|(_, value)| value)
}

#[test]
fn a_truthful_walk_submits_every_answer_in_the_forms_own_ids() {
    for mode in [Mode::Grouped, Mode::OneQuestion] {
        let flow = Flow::of(&everything(), &Settings { mode, ..Settings::default() });
        let completed = flow.walk(&truthful());
        let told: BTreeMap<&str, Json> = completed
            .answers
            .iter()
            .map(|(position, value)| (flow.handler.question(*position).key.as_str(), value.to_json()))
            .collect();
        assert_eq!(
            json!(told),
            json!({
                "name": "Ada", "email": "ada@example.com", "phone": "+390669821234", "site": "https://example.com/",
                "born": "1980-05-17", "pin": "AB123", "colour": "red", "shade": "dark", "extras": ["b", "D"],
                "when": "2026-12-01T09:30", "time": "14:00", "many": 3, "stars": 4, "scale": 7, "nps": 9,
                "rank": ["z", "x", "y"], "grid": {"r1": ["ok"], "r2": ["ko"]}, "grid2": {"r1": ["c1", "c2"]},
                "happy": false, "why": "Cold soup", "agree": true, "again": false
            })
        );
        assert_eq!(completed.variables["score"].number(), Some(3.0));
        assert_eq!(completed.ending, Some(0));
        assert!(
            completed.summary.contains("Which red?: Dark") && !completed.summary.contains("ada@"),
            "{}",
            completed.summary
        );
    }
}

#[test]
fn the_same_walk_is_the_same_submission_and_another_answer_is_another() {
    let flow = Flow::of(&everything(), &Settings::default());
    let one = flow.walk(&truthful());
    assert_eq!(flow.walk(&truthful()), one);
    let mut changed = truthful();
    changed[0].1 = json!("Grace");
    assert_ne!(flow.walk(&changed).id, one.id);
}

#[test]
fn an_ending_with_words_of_its_own_is_shown_and_closes_with_the_same_submission() {
    let flow = Flow::of(&everything(), &Settings::default());
    let mut show = flow.open();
    let (completed, ending) = loop {
        let payload: Map<String, Json> = flow
            .inputs(&show.screen)
            .into_iter()
            .filter_map(|input| {
                let (_, value) = truthful().into_iter().find(|(name, _)| input.name == *name)?;
                Some((input.name, value))
            })
            .collect();
        match flow.step(&show, Json::Object(payload)) {
            Turn::Show(next) => show = next,
            Turn::Finish { completed, then: Closing::Show(ending) } => break (completed, *ending),
            Turn::Finish { .. } => panic!("the ending has words"),
        }
    };
    assert!(ending.data.values().any(|text| text == "Thank you, Ada"), "{:?}", ending.data);
    match flow.step(&ending, json!({})) {
        Turn::Finish { completed: again, then: Closing::Success } => assert_eq!(again, completed),
        turn => panic!("{turn:?}"),
    }
}

#[test]
fn what_is_wrong_comes_back_on_its_field_with_what_was_written() {
    let flow = Flow::of(&everything(), &Settings::default());
    let first = flow.open();
    let Turn::Show(again) = flow.step(&first, json!({"q_name_text": "Ada", "q_email_text": "ada@"})) else {
        panic!("the address is not complete");
    };
    assert!(again.problem);
    assert_eq!(again.screen, first.screen);
    assert_eq!(again.session, first.session, "nothing was taken");
    assert_eq!(again.data[FIELD_ERRORS], json!({"q_email_text": "E-mail not valid"}));
    assert_eq!(again.data[INIT_VALUES]["q_name_text"], "Ada");
    assert_eq!(again.data[INIT_VALUES]["q_email_text"], "ada@");
    assert!(again.data["error_message"].as_str().is_some_and(|text| text.contains("name@example.com")));
}

#[test]
fn answers_of_a_branch_that_was_left_are_not_submitted() {
    let flow = Flow::of(&everything(), &Settings::default());
    let mut answers = truthful();
    answers
        .iter_mut()
        .filter(|(name, _)| *name == "q_colour_one")
        .for_each(|(_, value)| *value = json!("blue"));
    // The client still sends the shade, though it is hidden; six of them jump over the opinions.
    answers.iter_mut().filter(|(name, _)| *name == "q_many_number").for_each(|(_, value)| *value = json!(6));
    let completed = flow.walk(&answers);
    assert_eq!(answer(&flow, &completed, "shade"), None);
    assert_eq!(answer(&flow, &completed, "stars"), None);
    assert_eq!(answer(&flow, &completed, "note"), None);
    assert_eq!(answer(&flow, &completed, "many"), Some(&Value::Number(6.0)));
}

#[test]
fn other_is_taken_in_the_persons_own_words() {
    let flow = Flow::of(&everything(), &Settings::default());
    let mut answers = truthful();
    answers
        .iter_mut()
        .filter(|(name, _)| *name == "q_colour_one")
        .for_each(|(_, value)| *value = json!("other"));
    answers.push(("q_colour_one_other", json!(" Mauve ")));
    let completed = flow.walk(&answers);
    let own = Value::Choice(Selection { ids: vec![], other: Some("Mauve".to_owned()) });
    assert_eq!(answer(&flow, &completed, "colour"), Some(&own));
}

#[test]
fn a_long_list_is_searched_and_only_what_exists_is_taken() {
    let options: Vec<Json> =
        (0..5_000).map(|n| json!({"id": format!("id{n}"), "label": format!("City {n}")})).collect();
    let flow = Flow::of(
        &form_of(
            json!([{"key": "c", "title": "Where?", "type": "single_choice", "options": options, "required": true}]),
        ),
        &Settings::default(),
    );
    let first = flow.open();
    let Turn::Show(nothing) = flow.step(&first, json!({"q_c_one_query": "zzz"})) else { panic!() };
    assert_eq!((nothing.problem, &nothing.screen), (true, &first.screen));
    let Turn::Show(pick) = flow.step(&first, json!({"q_c_one_query": "city 499"})) else { panic!() };
    assert_eq!(pick.data["o_q_c_one"].as_array().map(Vec::len), Some(11));
    let Turn::Show(again) = flow.step(&pick, json!({"q_c_one": "nowhere"})) else { panic!() };
    assert!(again.problem);
    let Turn::Finish { completed, .. } = flow.step(&pick, json!({"q_c_one": "id4990"})) else { panic!() };
    assert_eq!(answer(&flow, &completed, "c"), Some(&Value::Choice(Selection::of(["id4990"]))));
}

#[test]
fn more_boxes_than_a_group_holds_count_together() {
    let options: Vec<Json> =
        (0..150).map(|n| json!({"id": format!("id{n}"), "label": format!("Box {n}")})).collect();
    let form = form_of(
        json!([{"key": "c", "title": "Which?", "type": "multiple_choice", "options": options, "min": 2}]),
    );
    let flow = Flow::of(&form, &Settings::default());
    let Turn::Show(second) = flow.step(&flow.open(), json!({"q_c_many_g0": ["id3"]})) else { panic!() };
    let Turn::Show(again) = flow.step(&second, json!({})) else { panic!() };
    assert!(again.problem, "one is fewer than two");
    let Turn::Finish { completed, .. } = flow.step(&second, json!({"q_c_many_g7": ["id149"]})) else {
        panic!()
    };
    assert_eq!(answer(&flow, &completed, "c"), Some(&Value::Choices(Selection::of(["id3", "id149"]))));
}

#[test]
fn a_cover_needs_no_state_and_leads_to_the_first_question() {
    let flow = Flow::of(&everything(), &Settings { entry: Entry::Static, ..Settings::default() });
    let cover = flow.open();
    assert_eq!((cover.session.is_none(), cover.data.is_empty()), (true, true));
    assert!(flow.handler.is_cover(&cover.screen));
    let Turn::Show(first) = flow.step(&cover, json!({})) else { panic!() };
    assert!(first.data.contains_key(PROGRESS));
}

#[test]
fn a_walk_that_is_always_led_back_ends_after_a_hundred_rounds() {
    let flow = Flow::of(
        &form_of(json!([
            {"key": "a", "title": "A", "type": "short_text"},
            {"key": "b", "title": "B", "type": "short_text", "rules": [{"do": {"jump": {"question": "a"}}}]}
        ])),
        &Settings::default(),
    );
    let mut show = flow.open();
    for _ in 0..400 {
        match flow.step(&show, json!({"q_a_text": "x", "q_b_text": "y"})) {
            Turn::Show(next) => show = next,
            Turn::Finish { completed, .. } => {
                assert_eq!(completed.answers.len(), 2);
                return;
            }
        }
    }
    panic!("it never ends");
}

/// Something a client may send for an input: mostly right, sometimes hostile.
fn sent(input: &Input, show: &Show, rng: &mut StdRng) -> Json {
    let options: Vec<Json> = show
        .data
        .get(&format!("o_{}", input.name))
        .and_then(Json::as_array)
        .map(|items| items.iter().map(|item| item["id"].clone()).collect())
        .unwrap_or_else(|| input.options.iter().map(|o| json!(o.id)).collect());
    let pick = |rng: &mut StdRng| {
        if options.is_empty() { json!("") } else { options[rng.random_range(0..options.len())].clone() }
    };
    match rng.random_range(0..12) {
        0 => json!("unknown id"),
        1 => json!(["unknown", 3, null]),
        2 => json!({"nested": [1]}),
        3 => json!("x".repeat(20_000)),
        4 => Json::Null,
        5 => json!(rng.random::<f64>()),
        _ if input.many => json!((0..rng.random_range(0..3)).map(|_| pick(rng)).collect::<Vec<_>>()),
        _ if !options.is_empty() => pick(rng),
        6 => json!(true),
        _ => {
            let plain = [
                "Ada",
                "ada@example.com",
                "+390669821234",
                "example.com",
                "1980-05-17",
                "AB123",
                "9:30",
                "3",
                "7",
                "option",
            ];
            json!(plain[rng.random_range(0..plain.len())])
        }
    }
}

#[test]
fn a_hostile_client_is_always_answered_and_nothing_invalid_is_submitted() {
    let mut finished = 0;
    for (seed, mode) in [(1, Mode::Grouped), (2, Mode::OneQuestion)] {
        let flow = Flow::of(&everything(), &Settings { mode, ..Settings::default() });
        let mut rng = StdRng::seed_from_u64(seed);
        let mut earlier: Vec<Show> = Vec::new();
        let mut show = flow.open();
        for _ in 0..20_000 {
            // Now and then an old screen with its old state, as after the phone's own back.
            if rng.random_range(0..40) == 0 && !earlier.is_empty() {
                show = earlier[rng.random_range(0..earlier.len())].clone();
            }
            let payload: Map<String, Json> = flow
                .inputs(&show.screen)
                .iter()
                .map(|input| (input.name.clone(), sent(input, &show, &mut rng)))
                .collect();
            match flow.step(&show, Json::Object(payload)) {
                Turn::Show(next) => {
                    if earlier.len() < 200 {
                        earlier.push(next.clone());
                    }
                    show = next;
                }
                Turn::Finish { completed, .. } => {
                    finished += 1;
                    assert_valid(&flow, &completed);
                    show = flow.open();
                    earlier.clear();
                }
            }
        }
    }
    assert!(finished > 10, "only {finished} walks ended");
}

/// Every answer is one the form accepts, once, and every required question that was shown has one.
fn assert_valid(flow: &Flow, completed: &Completed) {
    let validator = formgate::form::Validator::new(flow.handler.form());
    let mut seen = BTreeSet::new();
    for (position, value) in &completed.answers {
        let question = flow.handler.question(*position);
        assert!(seen.insert(position), "{} twice", question.key);
        assert!(!matches!(question.kind, Kind::Statement | Kind::Unsupported { .. }));
        let raw = match value {
            Value::Choice(selection) | Value::Choices(selection) => json!(selection.ids),
            Value::Files(_) => continue,
            value => value.to_json(),
        };
        let again = validator.accept(question, Some(&raw), value.other());
        assert_eq!(again.as_ref(), Ok(&Some(value.clone())), "{}", question.key);
    }
    for required in ["name", "email", "colour", "agree"] {
        assert!(answer(flow, completed, required).is_some(), "{required} is missing");
    }
    assert!(flow.handler.plan().screens.iter().all(|s| s.data.iter().all(|key| match &key.source {
        DataSource::Options { input, .. } =>
            flow.inputs(&s.id).iter().any(|i| i.name == *input && i.role != Role::Other),
        DataSource::Text { .. } => true,
    })));
}

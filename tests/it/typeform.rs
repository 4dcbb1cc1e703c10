//! Typeform definitions become forms: everything is carried or named, nothing panics.

use std::collections::BTreeSet;

use formgate::catalog;
use formgate::connector::{Import, ImportError, connector};
use formgate::flow::compile::{Mode, Settings};
use formgate::flow::report::Grade;
use formgate::flow::validate::{Severity, validate};
use formgate::form::{
    Answers, Condition, Form, Kind, Next, Part, RuleEffect, Selection, Value as Answer, Walker,
};
use formgate::player::Outcome;
use formgate::player::strategy::{Played, Random, play};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::corpus;
use crate::endpoint::fixture::Setup;

const GARDEN: &str = include_str!("../fixtures/typeform/garden-visit.json");

fn read(definition: &str) -> Result<Import, ImportError> {
    connector("typeform").expect("a reader").read(definition.as_bytes())
}

fn garden() -> Import {
    read(GARDEN).expect("a form")
}

/// A form of these fields with this logic.
fn form(fields: Value, logic: Value) -> Import {
    let definition = json!({"id": "x", "title": "X", "fields": fields, "logic": logic});
    read(&definition.to_string()).expect("a form")
}

#[test]
fn every_kind_of_field_becomes_its_question() {
    let import = garden();
    let told: Vec<String> = import
        .form
        .questions()
        .map(|(page, q)| format!("{page} {} {}{}", q.key, q.kind.name(), if q.required { "!" } else { "" }))
        .collect();
    assert_eq!(
        told,
        [
            "0 name short_text!",
            "0 about long_text",
            "0 mail email!",
            "0 phone phone",
            "0 site url",
            "0 guests number!",
            "0 day date!",
            "0 member yes_no!",
            "0 rules yes_no!",
            "0 news consent!",
            "0 plants multiple_choice",
            "0 tour single_choice!",
            "0 from single_choice",
            "0 order ranking",
            "0 stars rating",
            "0 ease scale",
            "0 again nps",
            "0 photo file",
            "0 note statement",
            "1 car yes_no",
            "1 plate short_text",
            "2 grid-tea single_choice!",
            "2 grid-cake single_choice!",
            "2 contact statement",
            "2 c-first short_text!",
            "2 c-mail email",
            "2 a-street short_text!",
            "2 a-zip short_text!",
            "2 pay unsupported",
            "2 last short_text",
        ]
    );
    let question = |key: &str| import.form.question(key).expect("a question");
    let name = question("name");
    assert_eq!(name.title, "What is your name?");
    assert_eq!(name.help.as_deref(), Some("As on your ticket, see terms (https://example.com/terms)."));
    assert!(matches!(&name.kind, Kind::ShortText(limits) if limits.max_length == Some(40)));
    assert_eq!(question("about").title, "{{answer:name}}, what do you grow? {{hidden:campaign}}");
    assert_eq!(question("phone").kind, Kind::Phone { country: Some("IT".to_owned()) });
    assert_eq!(question("guests").kind, Kind::Number { min: Some(1.0), max: Some(8.0), integer: false });
    assert!(matches!(&question("news").kind, Kind::Consent { text, .. } if text == "You may write to me."));
    assert!(matches!(&question("plants").kind, Kind::MultipleChoice(c)
        if (c.min, c.max) == (Some(1), Some(2)) && c.other.is_some()));
    let from: Vec<(&str, &str)> =
        question("from").kind.options().iter().map(|o| (o.id.as_str(), o.label.as_str())).collect();
    assert_eq!(from, [("Country", "Country"), ("Town", "Town"), ("Town (3)", "Town")]);
    assert!(matches!(question("ease").kind, Kind::Scale { min: 1, max: 7, .. }));
    assert_eq!(question("grid-tea").group.as_ref().map(|g| g.title.as_str()), Some("How do you like"));
    assert_eq!(question("a-zip").group.as_ref().and_then(|g| g.part), Some(Part::PostalCode));
    assert!(question("c-first").is_personal());

    assert_eq!(import.form.pages[1].title.as_deref(), Some("Your travel"));
    assert_eq!(import.form.description.as_deref(), Some("Welcome\n\nIt takes two minutes."));
    assert_eq!(import.form.hidden.len(), 2);
    let variables: Vec<(&str, &Value)> =
        import.form.variables.iter().map(|v| (v.name.as_str(), &v.initial)).collect();
    assert_eq!(variables, [("price", &json!(0)), ("score", &json!(0)), ("winner", &json!("rose"))]);
    let ending = &import.form.endings[0];
    assert_eq!(
        (ending.title.as_str(), ending.description.as_deref()),
        ("Thank you, {{answer:name}}", Some("Your score is {{variable:score}}."))
    );
    assert_eq!(import.form.endings[1].link.as_deref(), Some("https://shop.example.com/{{hidden:tier}}"));
}

#[test]
fn what_a_chat_cannot_carry_is_named() {
    let import = garden();
    let told: BTreeSet<String> = import
        .notes
        .iter()
        .map(|n| format!("{}{}: {}", if n.lost { "lost " } else { "" }, n.at, n.text))
        .collect();
    for expected in [
        "lost form.welcome: only the first welcome screen is shown",
        "lost form.duplicate_prevention: Typeform's protection against answering twice works by cookies and is not carried",
        "lost form.translations: Typeform keeps the translations (it) apart from the form; they are not in this definition",
        "form.captcha: a CAPTCHA has no meaning in a chat; signed flow tokens take its place",
        "ending.shop: the answers that its link recalls are not filled in",
        "lost question.about: its text recalls “field:gone”, which is not in the form",
        "question.rules: asked as yes or no, because the form branches on both answers",
        "question.plants: its options always come in the same order",
        "question.stars: its picture or video is not shown in the chat",
        "lost question.last: its rule “shout” is not known and not enforced",
        "lost question.plants.rule.3: this rule is not carried: it computes with a formula",
        "lost question.from.rule.2: this rule is not carried: it leads to the field “nowhere”, which is not in the form",
        "lost question.from.rule.3: this rule is not carried: the comparison “sounds_like” is not known",
        "lost question.tier.rule.0: this rule is not carried: rules of a hidden field, which run without a question, are not known",
    ] {
        assert!(told.contains(expected), "{expected}\n{told:#?}");
    }
    let compiled = catalog::compile(&import, &Settings::default()).expect("a flow");
    assert_eq!(compiled.report.grade, Grade::Dropped);
    for note in &import.notes {
        assert!(compiled.report.items.iter().any(|item| item.at == note.at && item.reason == note.text));
    }
    assert!(compiled.report.blockers.is_empty(), "nothing that must be answered is dropped");
}

/// Where `form` goes after the question `from`, with these answers and hidden values.
fn after(form: &Form, from: &str, answers: &[(&str, Answer)], hidden: &[(&str, &str)]) -> String {
    let walker = Walker::new(form);
    let answers: Answers = answers.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let hidden = hidden.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let position = walker.position(from).expect("a question");
    let mut variables = Walker::variables(form);
    match walker.step(form, position, &answers, &hidden, &mut variables) {
        Next::Question(next) => walker.question(form, next).key.clone(),
        Next::Ending(Some(ending)) => format!("ending {}", form.endings[ending].key),
        Next::Ending(None) => "end".to_owned(),
    }
}

#[test]
fn logic_leads_where_typeform_leads() {
    let form = garden().form;
    let text = |text: &str| Answer::Text(text.to_owned());
    let option = |id: &str| Answer::Choice(Selection::of([id]));
    let member = ("member", Answer::Bool(true));
    let four = ("guests", Answer::Number(4.0));
    let two = ("guests", Answer::Number(2.0));
    type Case =
        (&'static str, Vec<(&'static str, Answer)>, &'static [(&'static str, &'static str)], &'static str);
    let cases: [Case; 17] = [
        ("member", vec![member.clone(), four.clone()], &[], "tour"),
        ("member", vec![member.clone(), two.clone()], &[("tier", "Gold")], "tour"),
        ("member", vec![member, two], &[("tier", "tin")], "rules"),
        ("member", vec![("member", Answer::Bool(false)), four], &[("tier", "gold")], "rules"),
        ("rules", vec![("rules", Answer::Bool(false))], &[], "ending default_tys"),
        ("rules", vec![("rules", Answer::Bool(true))], &[], "news"),
        ("tour", vec![("tour", option("tour-short"))], &[], "car"),
        ("tour", vec![("tour", option("tour-long"))], &[], "from"),
        // Older forms compare with the label.
        ("from", vec![("from", option("Country"))], &[], "grid-tea"),
        ("from", vec![("from", option("Town (3)"))], &[], "stars"),
        ("from", vec![], &[], "order"),
        ("day", vec![("day", text("2026-12-31"))], &[], "plants"),
        ("day", vec![("day", text("2027-01-01"))], &[], "member"),
        // Logic of a group runs when its last question is left.
        ("plate", vec![("car", Answer::Bool(false))], &[], "contact"),
        ("plate", vec![("car", Answer::Bool(true))], &[], "grid-tea"),
        ("c-mail", vec![("c-first", text("Ada"))], &[], "last"),
        ("c-mail", vec![("c-first", text("Bea"))], &[], "a-street"),
    ];
    for (from, answers, hidden, to) in cases {
        assert_eq!(after(&form, from, &answers, hidden), to, "{from} {answers:?} {hidden:?}");
    }
}

#[test]
fn calculations_choose_the_outcome() {
    let form = garden().form;
    let walker = Walker::new(&form);
    let at = |key: &str| walker.position(key).expect("a question");
    for (plants, guests, ending) in [("plant-rose", 3.0, 1), ("plant-rose", 2.0, 0), ("plant-fern", 8.0, 0)] {
        let answers = Answers::from([
            ("plants".to_owned(), Answer::Choices(Selection::of([plants]))),
            ("guests".to_owned(), Answer::Number(guests)),
        ]);
        let trail = [at("guests"), at("plants"), at("last")];
        let (next, _) = walker.after(&form, &trail, &answers, &Default::default());
        assert_eq!(next, Next::Ending(Some(ending)), "{plants} {guests}");
    }
}

#[test]
fn a_default_ending_need_not_be_listed_and_an_unknown_one_is_not_guessed() {
    let jump = |to: &str| {
        json!([{"type": "field", "ref": "a", "actions": [{"action": "jump",
        "details": {"to": {"type": "thankyou", "value": to}}, "condition": {"op": "always", "vars": []}}]}])
    };
    let fields = json!([{"ref": "a", "type": "short_text", "title": "A"}, {"ref": "b", "type": "short_text", "title": "B"}]);
    let import = form(fields.clone(), jump("default_tys"));
    assert_eq!(after(&import.form, "a", &[], &[]), "ending default_tys");
    assert_eq!(import.notes, []);
    let import = form(fields, jump("gone"));
    assert_eq!(after(&import.form, "a", &[], &[]), "b");
    assert!(matches!(import.notes.as_slice(), [note] if note.lost && note.text.contains("gone")));
}

#[test]
fn damaged_parts_are_named_and_the_rest_is_read() {
    let import = form(
        json!([
            {"title": "No type"},
            {"ref": "same", "type": "short_text", "title": "A"},
            {"ref": "same", "type": "short_text", "title": "B"},
            {"type": "dropdown", "title": "No options", "properties": {"choices": []}},
            {"ref": "n", "type": "number", "title": "N", "validations": {"min_value": 5, "max_value": 1}},
            {"ref": "r", "type": "rating", "title": "R", "properties": {"steps": 4000}},
            {"ref": "m", "type": "multiple_choice", "title": "M", "properties": {"allow_multiple_selection": true, "choices": [{"label": "x"}, {}]},
             "validations": {"min_selection": 9}},
            {"ref": "g", "type": "group", "title": "Empty"},
            {"ref": "w", "type": "hologram", "title": "W"},
            {"ref": "v", "type": "carousel", "title": "V", "properties": {"fields": [{"ref": "inner", "type": "email", "title": "I"}]}}
        ]),
        json!([{"type": "field", "ref": "lost", "actions": [{}]}, {"type": "field", "ref": "n", "actions": [{"action": "jump"}, 7]}, null]),
    );
    let keys: Vec<&str> = import.form.questions().map(|(_, q)| q.key.as_str()).collect();
    assert_eq!(keys, ["same", "same-2", "field-4", "n", "r", "m", "g", "w", "inner"]);
    let ids: Vec<&str> =
        import.form.question("m").expect("m").kind.options().iter().map(|o| o.id.as_str()).collect();
    assert_eq!(ids, ["x", "2"]);
    let lost: Vec<&str> = import.notes.iter().filter(|n| n.lost).map(|n| n.at.as_str()).collect();
    assert_eq!(
        lost,
        [
            "question.field-1",
            "question.field-4",
            "question.n",
            "question.r",
            "question.m",
            "question.g",
            "question.lost.rule.0",
            "question.n.rule.0",
            "question.n.rule.1"
        ]
    );
}

#[test]
fn what_is_no_form_of_typeform_is_refused_with_what_it_looks_like() {
    for (definition, words) in [
        ("{", "not JSON"),
        ("[]", "no “fields”"),
        ("7", "no “fields”"),
        (r#"{"event_type":"form_response","form_response":{}}"#, "a response"),
        (r#"{"total_items":1,"page_count":1,"items":[]}"#, "a list"),
        (r#"{"fields":[{"id":"a","title":"T"}],"thankyou_screens":[]}"#, "translation"),
        (r#"{"fields":[],"title":"T"}"#, "no question"),
        (r#"{"formId":"1","info":{},"items":[]}"#, "Google"),
        (r#"{"fieldGroups":[],"id":"1"}"#, "HubSpot"),
        (r#"{"pages":[],"title":"T"}"#, "SurveyMonkey"),
    ] {
        let refused = read(definition).map(|import| import.form.title);
        assert!(
            refused.as_ref().is_err_and(|error| error.to_string().contains(words)),
            "{definition}: {refused:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_damage_makes_the_reader_panic_or_read_an_unsound_form(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..8), 1..6)
    ) {
        let mut definition: Value = serde_json::from_str(GARDEN).expect("our fixture");
        for (place, what) in damage {
            let mut all = Vec::new();
            corpus::paths(&definition, "", &mut all);
            let path = place.get(&all);
            let Some(part) = definition.pointer_mut(path) else { continue };
            *part = match what {
                0 => Value::Null,
                1 => json!(-1),
                2 => json!(""),
                3 => json!({}),
                4 => json!([part.clone(), part.clone()]),
                5 => json!("{{field:name}} {{answer:nobody}} {{"),
                6 => json!(1e300),
                _ => json!("name"),
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
    let mut found = corpus::files("typeform");
    // A translation is no form; what is said of one stands in the table of refusals.
    found.retain(|(name, _)| !name.contains("translation.json"));
    found.push(("garden-visit".to_owned(), GARDEN.to_owned()));
    found
}

/// The fields of a definition, those of groups too.
fn fields<'j>(list: &'j [Value], found: &mut Vec<&'j Value>) {
    for field in list {
        found.push(field);
        fields(field["properties"]["fields"].as_array().map_or(&[], Vec::as_slice), found);
    }
}

#[test]
fn of_real_definitions_every_question_option_and_rule_is_carried_or_named() {
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
        let mut all = Vec::new();
        fields(json["fields"].as_array().expect("fields"), &mut all);
        let noted = |at: &str| import.notes.iter().any(|note| note.at == at && note.lost);
        for field in all {
            let key = field["ref"].as_str().or(field["id"].as_str()).expect("real fields have references");
            let page = import.form.pages.iter().any(|page| page.id == key);
            let group = import.form.questions().any(|(_, q)| q.group.as_ref().is_some_and(|g| g.key == key));
            let question = import.form.question(key);
            assert!(
                page || group || question.is_some() || noted(&format!("question.{key}")),
                "{name}: {key}"
            );
            let choices = field["properties"]["choices"].as_array().map_or(0, Vec::len);
            assert_eq!(question.map_or(0, |q| q.kind.options().len()), choices, "{name}: options of {key}");
        }
        let (mut sources, mut carried) = (0, 0);
        for entry in json["logic"].as_array().into_iter().flatten() {
            for action in entry["actions"].as_array().into_iter().flatten() {
                sources += 1;
                // An outcome becomes a rule for each ending and one for none.
                let outcome = action["details"]["to"]["type"] == "outcome";
                let lost = entry["type"] == "hidden";
                carried += if outcome && !lost {
                    json["outcome"]["choices"].as_array().map_or(0, Vec::len)
                } else {
                    0
                };
            }
        }
        let rules: usize = import
            .form
            .pages
            .iter()
            .map(|p| p.rules.len() + p.questions.iter().map(|q| q.rules.len()).sum::<usize>())
            .sum();
        let lost = import.notes.iter().filter(|note| note.at.contains(".rule.")).count();
        assert_eq!(rules + lost, sources + carried, "{name}: {sources} actions");
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

#[test]
fn a_condition_on_several_options_holds_for_each_of_them() {
    let import = form(
        json!([{"ref": "a", "type": "dropdown", "title": "A", "properties": {"choices": [{"label": "North"}, {"label": "South"}, {"label": "East"}]}},
               {"ref": "b", "type": "short_text", "title": "B"}]),
        json!([{"type": "field", "ref": "a", "actions": [{"action": "jump", "details": {"to": {"type": "thankyou", "value": "default_tys"}},
            "condition": {"op": "not_contains", "vars": [{"type": "field", "value": "a"}, {"type": "constant", "value": "TH"}]}}]}]),
    );
    let rule = &import.form.question("a").expect("a").rules[0];
    assert!(matches!((&rule.when, &rule.effect), (Some(Condition::Not { .. }), RuleEffect::Jump(_))));
    for (chosen, to) in [("North", "b"), ("South", "b"), ("East", "ending default_tys")] {
        let answers = [("a", Answer::Choice(Selection::of([chosen])))];
        assert_eq!(after(&import.form, "a", &answers, &[]), to, "{chosen}");
    }
}

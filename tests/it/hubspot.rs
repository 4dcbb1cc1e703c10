//! HubSpot definitions become forms: everything is carried or named, nothing panics.

mod app;
mod deliver;
mod kinds;
mod shapes;
mod upload;

use std::collections::BTreeMap;

use formgate::catalog;
use formgate::connector::{Import, ImportError, connector};
use formgate::flow::compile::{Mode, Settings};
use formgate::flow::validate::{Severity, validate};
use formgate::form::{Answers, Facts, Kind, Selection, Value as Answer, Walker};
use formgate::player::Outcome;
use formgate::player::strategy::{Played, Random, play};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::corpus;
use crate::endpoint::fixture::Setup;

pub const WINE: &str = include_str!("../fixtures/hubspot/wine-tasting.json");

pub fn read(definition: &str) -> Result<Import, ImportError> {
    connector("hubspot").expect("a reader").read(definition.as_bytes())
}

pub fn wine() -> Import {
    read(WINE).expect("a form")
}

/// A form with these members besides its name.
fn form(members: Value) -> Import {
    let mut form = json!({"name": "X", "fieldGroups": []});
    let members = members.as_object().expect("members").clone();
    form.as_object_mut().expect("a form").extend(members);
    read(&form.to_string()).unwrap_or_else(|error| panic!("{error}"))
}

/// A form of these fields.
fn fields(fields: Value) -> Import {
    form(json!({"fieldGroups": [{"fields": fields}]}))
}

fn texts(import: &Import) -> Vec<String> {
    let told =
        |n: &formgate::connector::Note| format!("{}{}: {}", if n.lost { "lost " } else { "" }, n.at, n.text);
    import.notes.iter().map(told).collect()
}

#[test]
fn every_kind_of_field_becomes_its_question() {
    let import = wine();
    let told: Vec<String> = import
        .form
        .questions()
        .map(|(page, q)| format!("{page} {} {}{}", q.key, q.kind.name(), if q.required { "!" } else { "" }))
        .collect();
    assert_eq!(
        told,
        [
            "0 text-1 statement",
            "0 0-1/firstname short_text!",
            "0 0-1/email email!",
            "0 0-1/phone phone",
            "0 0-1/mobilephone phone",
            "0 0-1/guests number!",
            "0 0-2/name short_text!",
            "0 0-1/wine single_choice!",
            "0 0-1/body single_choice!",
            "0 0-1/why_full long_text",
            "0 0-1/drives consent",
            "0 0-1/food multiple_choice!",
            "0 0-1/visit_date date!",
            "0 0-1/photo file",
            "0 0-1/holo unsupported",
            "0 consent/text/communication statement",
            "0 consent/communication/11 consent",
            "0 consent/communication/12 consent!",
            "0 consent/text/process statement",
            "0 consent/process consent!",
            "0 consent/text/footer statement",
            "0 consent/text/privacy statement",
        ]
    );
    let question = |key: &str| import.form.question(key).unwrap_or_else(|| panic!("{key}"));
    assert_eq!(import.form.id, "5b0a4c2e-7d31-4f0e-9a57-2f6c1d8e9b10");
    assert_eq!((import.form.locale.as_str(), import.form.tool.as_str()), ("pt-BR", "hubspot"));
    assert_eq!(question("text-1").title, "Your visit");
    assert_eq!(question("text-1").help.as_deref(), Some("We open at six."));
    assert_eq!(question("0-1/firstname").help.as_deref(), Some("Ada"));
    assert_eq!(question("0-1/email").help.as_deref(), Some("Where we write to"));
    assert_eq!(question("0-1/email").kind, Kind::Email { blocked_domains: vec!["gmail.com".to_owned()] });
    assert_eq!(
        question("0-1/guests").kind,
        Kind::Number { min: Some(-99.0), max: Some(99.0), integer: false }
    );
    assert_eq!(question("0-1/guests").default, Some(json!(2.0)));
    assert_eq!(question("0-1/wine").default, Some(json!("r")));
    assert_eq!(question("0-1/visit_date").default, Some(json!("2027-01-01")));
    let options: Vec<(&str, &str)> =
        question("0-1/food").kind.options().iter().map(|o| (o.id.as_str(), o.label.as_str())).collect();
    assert_eq!(options, [("cheese", "Cheese"), ("bread;dark", "Dark bread"), ("olives", "Olives")]);
    let hidden: Vec<(&str, Option<&str>)> =
        import.form.hidden.iter().map(|h| (h.key.as_str(), h.default.as_deref())).collect();
    assert_eq!(
        hidden,
        [("0-1/utm_source", Some("whatsapp")), ("0-1/tags", Some("a;b")), ("0-1/wa_submission_id", None)]
    );
    assert!(matches!(&question("consent/communication/11").kind,
        Kind::Consent { text, .. } if text == "News & offers"));
    assert_eq!(
        question("consent/text/privacy").help.as_deref(),
        Some("See our privacy policy (https://wine.example/privacy).")
    );
    let ending = &import.form.endings[0];
    assert_eq!(ending.title, "Thank you!");
    assert_eq!(ending.description.as_deref(), Some("See the plan (https://wine.example/plan)."));
}

#[test]
fn what_a_chat_cannot_carry_is_named() {
    let import = wine();
    let told = texts(&import);
    for expected in [
        "lost form.text-1.picture: its picture is not shown in the chat",
        "lost question.0-1/mobilephone: its limit of 9 to 10 digits is not enforced: a number is checked by its country's rules",
        "question.0-1/guests: its limit of digits is enforced as a range; digits behind the point are not counted",
        "question.0-1/wine.rule.1: shown once the field before it has an answer; whether HubSpot shows it before that is not documented",
        "lost question.0-1/wine.rule.2: it is shown under a condition that cannot be carried: it looks at the time that has passed, which forms here do not know",
        "question.0-1/food: HubSpot leaves it out when it knows the answer; here it is always asked",
        "lost question.0-1/food: a second option has the value “olives” and is left out",
        "lost question.0-1/food: its option “Please choose” has no value and is left out",
        "question.0-1/photo: the file is put into HubSpot's files, and its address into the field",
        "lost form.row-6.field-5: the field has no name or no type; it is left out",
    ] {
        assert!(told.iter().any(|note| note == expected), "{expected}\n{told:#?}");
    }
    let compiled = catalog::compile(&import, &Settings::default()).expect("a flow");
    for note in &import.notes {
        assert!(compiled.report.items.iter().any(|item| item.at == note.at && item.reason == note.text));
    }
    assert_eq!(compiled.report.blockers, Vec::<String>::new(), "nothing that must be answered is dropped");
}

/// Whether a question is shown with these answers and hidden values.
fn shown(import: &Import, key: &str, answers: &[(&str, Answer)], hidden: &[(&str, &str)]) -> bool {
    let walker = Walker::new(&import.form);
    let answers: Answers = answers.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    let hidden: BTreeMap<String, String> =
        hidden.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let variables = Walker::variables(&import.form);
    let facts = Facts { answers: &answers, hidden: &hidden, variables: &variables };
    walker.is_shown(&import.form, walker.position(key).unwrap_or_else(|| panic!("{key}")), &facts)
}

#[test]
fn dependent_fields_are_shown_when_their_parents_say_so() {
    let import = wine();
    let wine = |id: &str| ("0-1/wine", Answer::Choice(Selection::of([id])));
    let full = ("0-1/body", Answer::Choice(Selection::of(["full"])));
    let guests = |n: f64| ("0-1/guests", Answer::Number(n));
    for (key, answers, is_shown) in [
        ("0-2/name", vec![guests(5.0)], false),
        ("0-2/name", vec![guests(6.0)], true),
        ("0-1/body", vec![wine("r")], true),
        ("0-1/body", vec![wine("n")], false),
        ("0-1/body", vec![], false),
        ("0-1/why_full", vec![wine("w"), full.clone()], true),
        // An answer to a branch that is no longer taken does not open another.
        ("0-1/why_full", vec![wine("n"), full], false),
        ("0-1/drives", vec![wine("w")], true),
        ("0-1/drives", vec![wine("n")], false),
        ("0-1/drives", vec![], false),
    ] {
        assert_eq!(shown(&import, key, &answers, &[]), is_shown, "{key} {answers:?}");
    }
    let keys: Vec<&str> = import.form.questions().map(|(_, q)| q.key.as_str()).collect();
    assert!(!keys.contains(&"0-1/never"));
}

#[test]
fn consent_that_cannot_be_asked_keeps_the_form_from_being_published() {
    let one = json!([{"fields": [{"fieldType": "email", "name": "email", "label": "E"}]}]);
    for options in [
        json!({"type": "explicit_consent_to_process", "communicationsCheckboxes": [], "privacyText": ""}),
        json!({"type": "implicit_consent_to_process", "communicationsCheckboxes": [], "privacyText": "P"}),
        json!({"type": "legitimate_interest", "lawfulBasis": "lead", "subscriptionTypeIds": [], "privacyText": "P"}),
        json!({"type": "telepathic"}),
        json!({"type": "implicit_consent_to_process", "consentToProcessText": "You agree.",
            "communicationsCheckboxes": [{"required": true, "label": "No subscription"}]}),
    ] {
        let import = form(json!({"fieldGroups": one, "legalConsentOptions": options}));
        let report = catalog::compile(&import, &Settings::default()).expect("a flow").report;
        assert!(!report.blockers.is_empty(), "{options}");
    }
    let import = form(json!({"fieldGroups": one, "legalConsentOptions": {"type": "none"}}));
    assert_eq!(import.form.questions().count(), 1);
}

#[test]
fn what_takes_no_submissions_is_refused_with_the_reason() {
    let groups = json!([{"fields": [{"fieldType": "email", "name": "email", "label": "E"}]}]);
    for (definition, words) in [
        (json!({"fieldGroups": groups, "formType": "captured"}), "captured"),
        (json!({"formFieldGroups": groups, "formType": "FLOW"}), "“flow”"),
        (json!({"fieldGroups": groups, "configuration": {"recaptchaEnabled": true}}), "CAPTCHA"),
        (json!({"form": {"formFieldGroups": groups, "captchaEnabled": true}}), "CAPTCHA"),
        (json!({"fieldGroups": groups, "archived": true}), "archived"),
        (json!({"fieldGroups": []}), "no question"),
        (json!({"fieldGroups": [{"richText": "<p>Only words</p>"}]}), "no question"),
        (json!({"results": []}), "a list"),
        (json!([{}]), "a list"),
        (json!({"status": "error", "message": "x"}), "failed"),
        (json!({"values": []}), "a submission"),
        (json!({"fields": [], "title": "T"}), "Typeform"),
        (json!({"formId": "1", "info": {}, "items": []}), "Google"),
        (json!({"pages": []}), "SurveyMonkey"),
        (json!(7), "neither"),
    ] {
        let refused = read(&definition.to_string()).map(|import| import.form.title);
        assert!(
            refused.as_ref().is_err_and(|error| error.to_string().contains(words)),
            "{definition}: {refused:?}"
        );
    }
    assert!(matches!(read("{"), Err(ImportError::Json(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_damage_makes_the_reader_panic_or_read_an_unsound_form(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..9), 1..6)
    ) {
        let mut definition: Value = serde_json::from_str(WINE).expect("our fixture");
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
                5 => json!("{{answer:nobody}} &#0; <a href='x'<b>"),
                6 => json!(1e300),
                7 => json!("<"),
                _ => json!("email"),
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
    let own = ("wine-tasting".to_owned(), WINE.to_owned());
    std::iter::once(own).chain(corpus::files("hubspot")).collect()
}

#[test]
fn of_real_definitions_every_field_and_option_is_carried_or_named() {
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
            assert_eq!(compiled.report.blockers, Vec::<String>::new(), "{name}");
        }
        let form = if json["form"].is_object() { &json["form"] } else { &json };
        let groups = form["fieldGroups"].as_array().or(form["formFieldGroups"].as_array()).expect("groups");
        let all = groups.iter().flat_map(|group| group["fields"].as_array().into_iter().flatten());
        for field in all.filter(|field| field["name"].is_string()) {
            let name_of = field["name"].as_str().unwrap_or_default();
            let key = format!("{}/{name_of}", field["objectTypeId"].as_str().unwrap_or("0-1"));
            let options = field["options"].as_array().map_or(0, Vec::len);
            let Some(question) = import.form.question(&key) else {
                assert!(import.form.hidden.iter().any(|hidden| hidden.key == key), "{name}: {key}");
                continue;
            };
            let lost =
                import.notes.iter().filter(|n| n.lost && n.at.contains(&key) && n.text.contains("option"));
            assert_eq!(question.kind.options().len() + lost.count(), options, "{name}: options of {key}");
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

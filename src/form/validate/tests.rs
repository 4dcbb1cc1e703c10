use proptest::prelude::*;
use serde_json::json;

use super::*;

fn question(json: Json) -> Question {
    serde_json::from_value(json).expect("a question")
}

fn accept(json_question: Json, raw: Json, other: Option<&str>) -> Result<Option<Value>, Problem> {
    let form: Form = serde_json::from_value(json!({
        "id": "f", "title": "F", "locale": "it", "default_country": "IT",
        "pages": [{"id": "p", "questions": [json_question]}]
    }))
    .expect("a form");
    Validator::new(&form).accept(&form.pages[0].questions[0], Some(&raw), other)
}

fn text(value: &str) -> Result<Option<Value>, Problem> {
    Ok(Some(Value::Text(value.to_owned())))
}

#[test]
fn texts_are_trimmed_limited_and_matched_whole() {
    let short = json!({"key": "k", "type": "short_text", "min_length": 2, "max_length": 5, "pattern": {"regex": "[a-zè ]+"}});
    assert_eq!(accept(short.clone(), json!("  ab  "), None), text("ab"));
    assert_eq!(accept(short.clone(), json!("a\nb"), None), text("a b"));
    assert_eq!(accept(short.clone(), json!("a"), None), Err(Problem::TooShort { min: 2 }));
    assert_eq!(accept(short.clone(), json!("èèèèèè"), None), Err(Problem::TooLong { max: 5 }));
    assert_eq!(accept(short.clone(), json!("ab1"), None), Err(Problem::Pattern { message: None }));
    assert_eq!(accept(short, json!(" "), None), Ok(None));
    let long = json!({"key": "k", "type": "long_text"});
    assert_eq!(accept(long.clone(), json!("a\u{0}\nb"), None), text("a\nb"));
    assert_eq!(accept(long, json!("x".repeat(5_000)), None), Err(Problem::TooLong { max: 4_096 }));
}

#[test]
fn a_required_question_needs_an_answer_of_any_shape() {
    for kind in ["short_text", "email", "date", "number", "url", "yes_no", "phone", "time", "file"] {
        let required = json!({"key": "k", "type": kind, "required": true});
        for nothing in [json!(""), Json::Null] {
            assert_eq!(accept(required.clone(), nothing, None), Err(Problem::Required), "{kind}");
        }
    }
    let consent = json!({"key": "k", "type": "consent", "text": "I agree", "required": true});
    assert_eq!(accept(consent.clone(), json!(false), None), Err(Problem::ConsentRequired));
    assert_eq!(accept(consent, json!(true), None), Ok(Some(Value::Bool(true))));
}

#[test]
fn dates_and_times_keep_their_bounds() {
    let date = json!({"key": "k", "type": "date", "min": "2026-01-01", "max": "2026-12-31"});
    assert_eq!(accept(date.clone(), json!("2026-02-28"), None), text("2026-02-28"));
    assert_eq!(accept(date.clone(), json!("2026-02-30"), None), Err(Problem::Date));
    assert_eq!(
        accept(date.clone(), json!("2025-12-31"), None),
        Err(Problem::TooEarly { min: "2026-01-01".into() })
    );
    assert_eq!(accept(date, json!("2027-01-01"), None), Err(Problem::TooLate { max: "2026-12-31".into() }));
    let when = json!({"key": "k", "type": "date_time"});
    assert_eq!(accept(when.clone(), json!("2026-05-01T9.30"), None), text("2026-05-01T09:30"));
    assert_eq!(accept(when, json!("2026-05-01"), None), Err(Problem::Time));
}

#[test]
fn numbers_scales_and_ratings_accept_only_what_is_offered() {
    let number = json!({"key": "k", "type": "number", "min": 1, "max": 10, "integer": true});
    assert_eq!(accept(number.clone(), json!(3), None), Ok(Some(Value::Number(3.0))));
    assert_eq!(
        accept(json!({"key": "k", "type": "number"}), json!(1.234), None),
        Ok(Some(Value::Number(1.234)))
    );
    assert_eq!(
        accept(json!({"key": "k", "type": "number"}), json!("1.234"), None),
        Ok(Some(Value::Number(1234.0)))
    );
    assert_eq!(accept(number.clone(), json!("3,5"), None), Err(Problem::WholeNumber));
    assert_eq!(accept(number.clone(), json!("0"), None), Err(Problem::TooSmall { min: "1".into() }));
    assert_eq!(accept(number, json!("many"), None), Err(Problem::Number));
    let scale = json!({"key": "k", "type": "scale", "min": 0, "max": 10, "step": 5});
    assert_eq!(accept(scale.clone(), json!("5"), None), Ok(Some(Value::Number(5.0))));
    assert_eq!(accept(scale, json!("6"), None), Err(Problem::NotOffered));
    assert_eq!(
        accept(json!({"key": "k", "type": "rating", "steps": 5}), json!(6), None),
        Err(Problem::NotOffered)
    );
}

#[test]
fn choices_hold_only_known_options_and_their_counts() {
    let options = json!([{"id": "a", "label": "A"}, {"id": "b", "label": "B"}, {"id": "c", "label": "C"}]);
    let one = json!({"key": "k", "type": "single_choice", "options": options, "other": {}});
    assert_eq!(accept(one.clone(), json!("a"), None), Ok(Some(Value::Choice(Selection::of(["a"])))));
    assert_eq!(accept(one.clone(), json!("z"), None), Err(Problem::NotOffered));
    assert_eq!(accept(one.clone(), json!("a"), Some("mine")), Err(Problem::NotOffered));
    let own = Value::Choice(Selection { ids: vec![], other: Some("mine".into()) });
    assert_eq!(accept(one, Json::Null, Some(" mine ")), Ok(Some(own)));
    let many = json!({"key": "k", "type": "multiple_choice", "options": options, "min": 1, "max": 2});
    assert_eq!(
        accept(many.clone(), json!(["c", "a", "a"]), None),
        Ok(Some(Value::Choices(Selection::of(["a", "c"]))))
    );
    assert_eq!(accept(many.clone(), json!(["a", "b", "c"]), None), Err(Problem::TooManyChoices { max: 2 }));
    assert_eq!(accept(many, json!(["a"]), Some("no other here")), Err(Problem::NotOffered));
    let ranked = json!({"key": "k", "type": "ranking", "options": options});
    assert_eq!(
        accept(ranked.clone(), json!(["c", "a", "b"]), None),
        Ok(Some(Value::Ranking(vec!["c".into(), "a".into(), "b".into()])))
    );
    assert_eq!(accept(ranked, json!(["c", "c", "b"]), None), Err(Problem::Ranking));
}

#[test]
fn a_matrix_holds_known_rows_and_columns_and_all_that_are_required() {
    let matrix = json!({"key": "k", "type": "matrix", "rows": [{"id": "r", "label": "R"}, {"id": "s", "label": "S", "required": true}],
        "columns": [{"id": "a", "label": "A"}, {"id": "b", "label": "B"}]});
    assert!(accept(matrix.clone(), json!({"s": "a"}), None).is_ok());
    assert_eq!(accept(matrix.clone(), json!({"r": "a"}), None), Err(Problem::RowMissing));
    assert_eq!(accept(matrix.clone(), json!({"s": ["a", "b"]}), None), Err(Problem::NotOffered));
    assert_eq!(accept(matrix.clone(), json!({"s": "z"}), None), Err(Problem::NotOffered));
    assert_eq!(accept(matrix, json!({"x": "a", "s": "a"}), None), Err(Problem::NotOffered));
}

#[test]
fn files_need_all_that_is_needed_to_verify_them() {
    // 32 bytes in Base64, as hashes and keys are.
    const HASH: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let media = json!({"media_id": 790, "cdn_url": "https://mmg.whatsapp.net/f", "file_name": "a.pdf", "encryption_metadata": {
        "encrypted_hash": HASH, "iv": "AAECAwQFBgcICQoLDA0ODw==", "encryption_key": HASH, "hmac_key": HASH, "plaintext_hash": HASH}});
    let file = json!({"key": "k", "type": "file"});
    assert!(
        matches!(accept(file.clone(), json!([media]), None), Ok(Some(Value::Files(files))) if files[0].media_id == "790")
    );
    assert_eq!(accept(file.clone(), json!([media, media]), None), Err(Problem::TooManyFiles { max: 1 }));
    assert_eq!(accept(file.clone(), json!([{"file_name": "x"}]), None), Err(Problem::File));
    assert_eq!(accept(file, json!([]), None), Ok(None));
}

#[test]
fn blocked_domains_are_refused_with_their_subdomains() {
    let email = json!({"key": "k", "type": "email", "blocked_domains": ["gmail.com"]});
    assert_eq!(
        accept(email.clone(), json!("a@x.GMAIL.com"), None),
        Err(Problem::BlockedDomain { domain: "x.gmail.com".into() })
    );
    assert_eq!(accept(email, json!("a@notgmail.com"), None), text("a@notgmail.com"));
}

fn anything() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        ".{0,40}".prop_map(Json::from),
        "[a-c]{1}".prop_map(Json::from),
        "20[0-9]{2}-[01][0-9]-[0-3][0-9]".prop_map(Json::from),
        "\\+?[0-9 ]{5,14}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|m| m.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_that_is_sent_breaks_a_question_and_what_is_accepted_is_accepted_again(raw in anything(), other in prop::option::of(".{0,20}")) {
        let options = json!([{"id": "a", "label": "A"}, {"id": "b", "label": "B"}, {"id": "c", "label": "C"}]);
        for mut definition in [
            json!({"type": "short_text", "max_length": 20}), json!({"type": "long_text"}), json!({"type": "email"}), json!({"type": "phone"}),
            json!({"type": "number"}), json!({"type": "url"}), json!({"type": "date"}), json!({"type": "time"}), json!({"type": "date_time"}),
            json!({"type": "yes_no"}), json!({"type": "rating", "steps": 5}), json!({"type": "nps"}), json!({"type": "file"}),
            json!({"type": "single_choice", "options": options, "other": {}}), json!({"type": "multiple_choice", "options": options, "other": {}}),
            json!({"type": "ranking", "options": options}), json!({"type": "matrix", "rows": options, "columns": options}),
            json!({"type": "statement"}), json!({"type": "consent", "text": "I agree"}),
        ] {
            definition["key"] = json!("k");
            let question = question(definition.clone());
            if let Ok(Some(value)) = accept(definition.clone(), raw.clone(), other.as_deref())
                && !matches!(question.kind, Kind::File(_))
            {
                let own = value.other().map(str::to_owned);
                let again = match &value {
                    Value::Choice(selection) | Value::Choices(selection) => json!(selection.ids),
                    value => value.to_json(),
                };
                prop_assert_eq!(accept(definition, again, own.as_deref()), Ok(Some(value)));
            }
        }
    }
}

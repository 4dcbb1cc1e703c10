//! The operators of dependent fields, and the older shapes of a form.

use formgate::catalog;
use formgate::flow::compile::Settings;
use formgate::form::{Selection, Value as Answer};
use serde_json::{Value, json};

use super::{fields, read, shown, texts};

#[test]
fn every_operator_of_a_dependent_field_is_carried_or_named() {
    let choice = |ids: &[&str]| Answer::Choices(Selection::of(ids.iter().copied()));
    let text = |text: &str| Answer::Text(text.to_owned());
    let number = Answer::Number;
    let options =
        json!([{"label": "A", "value": "a"}, {"label": "B", "value": "b"}, {"label": "C", "value": "ca"}]);
    let many = json!({"fieldType": "multiple_checkboxes", "options": options});
    let line = json!({"fieldType": "single_line_text"});
    let count = json!({"fieldType": "number"});
    let day = json!({"fieldType": "datepicker"});
    let tick = json!({"fieldType": "single_checkbox"});
    let cases = [
        (&line, json!({"operator": "eq", "value": "Rome"}), vec![text("rome")], vec![text("Roma")]),
        (&line, json!({"operator": "neq", "value": "Rome"}), vec![text("Roma")], vec![text("Rome")]),
        (&line, json!({"operator": "contains", "value": "om"}), vec![text("Rome")], vec![text("Bari")]),
        (&line, json!({"operator": "doesnt_contain", "value": "om"}), vec![text("Bari")], vec![text("Rome")]),
        (
            &line,
            json!({"operator": "str_starts_with", "value": "Ro"}),
            vec![text("Rome")],
            vec![text("Euro")],
        ),
        (&line, json!({"operator": "str_ends_with", "value": "me"}), vec![text("Rome")], vec![text("Meet")]),
        (&line, json!({"operator": "set_any", "values": ["x", "y"]}), vec![text("y")], vec![text("z")]),
        (&line, json!({"operator": "is_not_empty"}), vec![text("z")], vec![]),
        (&count, json!({"operator": "lt", "value": "3"}), vec![number(2.0)], vec![number(3.0)]),
        (&count, json!({"operator": "lte", "value": "3"}), vec![number(3.0)], vec![number(4.0)]),
        (&count, json!({"operator": "gt", "value": "3"}), vec![number(10.0)], vec![number(3.0)]),
        (
            &count,
            json!({"operator": "between", "rangeStart": "2", "rangeEnd": "4"}),
            vec![number(2.0), number(4.0)],
            vec![number(5.0)],
        ),
        (
            &count,
            json!({"operator": "not_between", "rangeStart": 2, "rangeEnd": 4}),
            vec![number(5.0)],
            vec![number(3.0)],
        ),
        (
            &day,
            json!({"operator": "gte", "value": "1798761600000"}),
            vec![text("2027-01-01")],
            vec![text("2026-12-31")],
        ),
        (
            &tick,
            json!({"operator": "eq", "value": "true"}),
            vec![Answer::Bool(true)],
            vec![Answer::Bool(false)],
        ),
        (
            &many,
            json!({"operator": "set_any", "values": ["a", "b"]}),
            vec![choice(&["b", "ca"])],
            vec![choice(&["ca"])],
        ),
        (
            &many,
            json!({"operator": "set_not_any", "values": ["a", "b"]}),
            vec![choice(&["ca"])],
            vec![choice(&["a"])],
        ),
        (
            &many,
            json!({"operator": "set_all", "values": ["a", "b"]}),
            vec![choice(&["a", "b", "ca"])],
            vec![choice(&["a"])],
        ),
        (
            &many,
            json!({"operator": "set_not_all", "values": ["a", "b"]}),
            vec![choice(&["a"])],
            vec![choice(&["a", "b"])],
        ),
        (
            &many,
            json!({"operator": "set_eq", "values": ["a", "b"]}),
            vec![choice(&["a", "b"])],
            vec![choice(&["a", "b", "ca"]), choice(&["a"])],
        ),
        (
            &many,
            json!({"operator": "set_neq", "values": ["a"]}),
            vec![choice(&["a", "b"])],
            vec![choice(&["a"])],
        ),
        (&many, json!({"operator": "eq", "value": "a;b"}), vec![choice(&["a", "b"])], vec![choice(&["a"])]),
        (&many, json!({"operator": "contains", "value": "a"}), vec![choice(&["ca"])], vec![choice(&["b"])]),
    ];
    for (parent, condition, pass, fail) in cases {
        let mut field = parent.clone();
        field["name"] = json!("p");
        field["dependentFields"] = json!([{"dependentCondition": condition,
            "dependentField": {"fieldType": "single_line_text", "name": "c", "label": "C"}}]);
        let import = fields(json!([field]));
        for answer in pass {
            assert!(shown(&import, "0-1/c", &[("0-1/p", answer.clone())], &[]), "{condition} {answer:?}");
        }
        for answer in fail {
            assert!(!shown(&import, "0-1/c", &[("0-1/p", answer.clone())], &[]), "{condition} {answer:?}");
        }
        assert!(!shown(&import, "0-1/c", &[], &[]), "{condition}: nothing depends on an empty field");
    }
    for (parent, condition, why) in [
        (&line, json!({"operator": "within_time_reverse", "value": "3"}), "the time that has passed"),
        (&line, json!({"operator": "gt", "value": "3"}), "only numbers and dates"),
        (&line, json!({"operator": "rhymes", "value": "3"}), "“rhymes” is not known"),
        (&line, json!({"operator": "eq"}), "compares with nothing"),
        (&line, json!(null), "no operator"),
        (&many, json!({"operator": "set_any", "values": ["z"]}), "“z”, which is not an option"),
        (&tick, json!({"operator": "is_not_empty"}), "not documented"),
    ] {
        let mut field = parent.clone();
        field["name"] = json!("p");
        field["dependentFields"] = json!([{"dependentCondition": condition,
            "dependentField": {"fieldType": "single_line_text", "name": "c", "label": "C", "required": true}}]);
        let import = fields(json!([field]));
        assert!(texts(&import).iter().any(|note| note.starts_with("lost ") && note.contains(why)), "{why}");
        let report = catalog::compile(&import, &Settings::default()).expect("a flow").report;
        assert!(!report.blockers.is_empty(), "{why}: HubSpot would require it, so the form is not published");
    }
}

#[test]
fn a_field_that_depends_on_a_hidden_value_follows_it() {
    let import = fields(
        json!([{"fieldType": "single_line_text", "name": "plan", "hidden": true, "defaultValue": "free",
        "dependentFields": [{"dependentCondition": {"operator": "eq", "value": "pro"},
            "dependentField": {"fieldType": "single_line_text", "name": "seats", "label": "Seats"}}]},
        {"fieldType": "single_line_text", "name": "other", "label": "Other"}]),
    );
    assert!(shown(&import, "0-1/seats", &[], &[("0-1/plan", "pro")]));
    assert!(!shown(&import, "0-1/seats", &[], &[("0-1/plan", "free")]));
}

#[test]
fn one_field_under_two_conditions_of_a_parent_is_shown_in_either_case() {
    let dependent = |value: &str| {
        json!({"dependentCondition": {"operator": "eq", "value": value},
            "dependentField": {"fieldType": "single_line_text", "name": "c", "label": "C"}})
    };
    let import = fields(json!([{"fieldType": "single_line_text", "name": "p",
        "dependentFields": [dependent("x"), dependent("y")]}, {"fieldType": "number", "name": "p", "label": "Again"}]));
    for (value, is_shown) in [("x", true), ("y", true), ("z", false)] {
        let answers = [("0-1/p", Answer::Text(value.to_owned()))];
        assert_eq!(shown(&import, "0-1/c", &answers, &[]), is_shown, "{value}");
    }
    assert!(
        texts(&import)
            .iter()
            .any(|note| note.starts_with("lost question.0-1/p: the field stands in the form twice"))
    );
}

#[test]
fn the_older_shape_and_the_embed_are_read_alike() {
    let field = |name: &str, kind: &str, more: Value| {
        let mut field = json!({"name": name, "label": name, "fieldType": kind, "enabled": true});
        field.as_object_mut().expect("a field").extend(more.as_object().expect("members").clone());
        field
    };
    let v2 = json!({
        "guid": "g-1", "name": "Old", "formType": "HUBSPOT", "captchaEnabled": false, "inlineMessage": "<p>Thanks</p>",
        "redirectUrl": "https://example.com/thanks",
        "formFieldGroups": [
            {"fields": [field("email", "text", json!({"validation": {"data": "", "blockedEmailAddresses": ["x.com"]}})),
                field("phone", "text", json!({"validation": {"data": "7:20:true"}})),
                field("odd", "text", json!({"validation": {"data": "what"}}))],
             "richText": {"content": "<p>Hello</p>", "type": "TEXT"}, "isPageBreak": true},
            {"fields": [field("agree", "booleancheckbox", json!({"dependentFieldFilters": [
                    {"filters": [{"operator": "EQ", "strValue": "", "boolValue": true}], "formFieldAction": "DISPLAY",
                     "dependentFormField": field("more", "textarea", json!({}))}]})),
                field("size", "select", json!({"selectedOptions": ["l"], "objectTypeId": "0-2",
                    "options": [{"label": "Large", "value": "l"}, {"label": "Gone", "value": "g", "hidden": true}],
                    "dependentFieldFilters": [
                    {"filters": [{"operator": "SET_ANY", "strValues": ["l"]}], "formFieldAction": "DISPLAY",
                     "dependentFormField": field("day", "date", json!({}))},
                    {"filters": [{"operator": "EQ", "strValue": "l"}, {"operator": "EQ", "strValue": "m"}],
                     "dependentFormField": field("two", "text", json!({}))}]})),
                field("off", "text", json!({"enabled": false})),
                field("utm", "text", json!({"hidden": true, "defaultValue": "wa"}))]}
        ],
        "metaData": [{"name": "lang", "value": "it"}, {"name": "legalConsentOptions", "value":
            "{\"isLegitimateInterest\":true,\"legitimateInterestLegalBasis\":\"LEGITIMATE_INTEREST_PQL\",\"legitimateInterestSubscriptionTypes\":[5,6],\"privacyPolicyText\":\"<p>Privacy</p>\"}"}]
    });
    for definition in [v2.clone(), json!({"form": v2, "gates": {}, "errorCode": null})] {
        let import = read(&definition.to_string()).unwrap_or_else(|error| panic!("{error}"));
        let told: Vec<String> =
            import.form.questions().map(|(page, q)| format!("{page} {} {}", q.key, q.kind.name())).collect();
        assert_eq!(
            told,
            [
                "0 text-1 statement",
                "0 0-1/email email",
                "0 0-1/phone phone",
                "0 0-1/odd short_text",
                "1 0-1/agree consent",
                "1 0-1/more long_text",
                "1 0-2/size single_choice",
                "1 0-1/day date",
                "1 consent/legitimate/lead/5 statement",
            ]
        );
        assert_eq!((import.form.id.as_str(), import.form.locale.as_str()), ("g-1", "it"));
        assert_eq!(import.form.endings[0].link.as_deref(), Some("https://example.com/thanks"));
        assert!(shown(&import, "0-1/more", &[("0-1/agree", Answer::Bool(true))], &[]));
        assert_eq!(import.form.question("0-2/size").expect("size").default, Some(json!("l")));
        let told = texts(&import);
        for note in [
            "lost question.0-1/odd: its validation is not known and not enforced",
            "lost question.0-1/off: it is switched off in HubSpot and left out, with what depends on it",
            "lost question.0-2/size.rule.1: it is shown under a condition that cannot be carried: how several comparisons go together is not documented",
            "question.consent/legitimate/lead/5: HubSpot takes one subscription with a submission: 5 is recorded, 6 are not",
        ] {
            assert!(told.iter().any(|told| told == note), "{note}\n{told:#?}");
        }
    }
}

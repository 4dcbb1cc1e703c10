//! Every kind of field and of consent, from the definition over a walk to the record: what HubSpot's own form would have
//! stored, in both shapes of a definition and for every type of object.
//!
//! Invariant: the table holds every kind that HubSpot documents and every kind that the import knows, so that none is
//! added on one side only.

use std::collections::BTreeSet;

use formgate::catalog;
use formgate::connector::Import;
use formgate::flow::compile::Settings;
use formgate::flow::report::Grade;
use formgate::outbox::Outcome;
use formgate::player::Outcome as Walked;
use formgate::player::strategy::{Played, Truthful, play};
use formgate::sandbox::hubspot::{HubSpot as Account, Record};
use serde_json::{Map, Value, json};

use super::deliver::{PORTAL, TOKEN, deliver, start, values};
use super::read;
use crate::corpus;
use crate::endpoint::fixture::Setup;

const GUID: &str = "0f0e0d0c-0000-4000-8000-000000000001";

/// `fieldType` in the Forms API v3.
const DOCUMENTED: [&str; 13] = [
    "single_line_text",
    "multi_line_text",
    "email",
    "phone",
    "mobile_phone",
    "number",
    "single_checkbox",
    "multiple_checkboxes",
    "dropdown",
    "radio",
    "datepicker",
    "file",
    "payment_link_radio",
];

/// `fieldType` in the forms API v2 and in the public embed.
const OLDER: [&str; 10] = [
    "text",
    "textarea",
    "select",
    "radio",
    "checkbox",
    "booleancheckbox",
    "number",
    "date",
    "file",
    "phonenumber",
];

/// Contact, company, ticket, and an object of the account's own; the name of v2 where it has one.
const OBJECTS: [(&str, Option<&str>); 4] =
    [("0-1", Some("CONTACT")), ("0-2", Some("COMPANY")), ("0-5", Some("TICKET")), ("2-77", None)];

/// What becomes of an answer.
enum Home {
    /// HubSpot's own form stores this value.
    Stored(&'static str),
    /// It does not go home by itself, and the report says so.
    Reported(Grade),
}
use Home::{Reported, Stored};

struct Row {
    word: &'static str,
    /// How v2 calls it, with other members that it needs.
    older: Option<(&'static str, Value)>,
    name: &'static str,
    /// Members besides the common ones.
    more: Value,
    /// What a person means.
    says: Value,
    home: Home,
}

fn table() -> Vec<Row> {
    let row = |word, older: Option<&'static str>, more, says, home| Row {
        word,
        older: older.map(|word| (word, json!({}))),
        name: word,
        more,
        says,
        home,
    };
    let options = json!({"options": [
        {"label": "Red wine", "value": "r", "displayOrder": 0},
        {"label": "White & rosé", "value": "w", "displayOrder": -1},
        {"label": "None", "value": "bread;dark", "displayOrder": 1}]});
    let digits = json!({"validation": {"minAllowedDigits": 7, "maxAllowedDigits": 20}});
    let email = row("email", Some("text"), json!({}), json!("ada@example.org"), Stored("ada@example.org"));
    vec![
        row("single_line_text", Some("text"), json!({}), json!("Ada, née “B”"), Stored("Ada, née “B”")),
        row(
            "multi_line_text",
            Some("textarea"),
            json!({}),
            json!("One\n\ntwo; three"),
            Stored("One\n\ntwo; three"),
        ),
        email,
        row("phone", Some("phonenumber"), digits.clone(), json!("+39 06 6982 1234"), Stored("+390669821234")),
        // v2 has no word of its own for it where the digits are limited.
        Row {
            name: "phone_by_its_rule",
            older: Some(("text", json!({"validation": {"data": "7:20:true"}}))),
            ..row("phone", None, digits.clone(), json!("+393471234567"), Stored("+393471234567"))
        },
        row("mobile_phone", None, digits, json!("+39 347 123 4567"), Stored("+393471234567")),
        row("number", Some("number"), json!({}), json!("6.5"), Stored("6.5")),
        Row { name: "whole", ..row("number", Some("number"), json!({}), json!("-12"), Stored("-12")) },
        row("single_checkbox", Some("booleancheckbox"), json!({}), json!(true), Stored("true")),
        Row {
            name: "unticked",
            ..row("single_checkbox", Some("booleancheckbox"), json!({}), json!(false), Stored("false"))
        },
        row(
            "multiple_checkboxes",
            Some("checkbox"),
            options.clone(),
            json!(["White & rosé", "None"]),
            Stored("w;bread;dark"),
        ),
        row("dropdown", Some("select"), options.clone(), json!("White & rosé"), Stored("w")),
        row("radio", Some("radio"), options.clone(), json!("Red wine"), Stored("r")),
        // A date is midnight in UTC, whatever the time zone.
        row("datepicker", Some("date"), json!({}), json!("2027-03-28"), Stored("1806192000000")),
        row(
            "file",
            Some("file"),
            json!({"allowMultipleFiles": true}),
            Value::Null,
            Reported(Grade::Substitute),
        ),
        row("payment_link_radio", None, options, Value::Null, Reported(Grade::Dropped)),
    ]
}

/// What the question is called; no other is called so.
fn title(row: &Row, object: &str) -> String {
    format!("{} of {object}", row.name)
}

fn merged(parts: [&Value; 2]) -> Value {
    let members = parts.into_iter().flat_map(|part| part.as_object().expect("members").clone());
    Value::Object(members.collect())
}

/// The form of all rows and objects, as v3 writes it and as v2 does.
fn forms(table: &[Row]) -> (Value, Value) {
    let (mut current, mut older) = (Vec::new(), Vec::new());
    for (object, named) in OBJECTS {
        for row in table {
            let common =
                json!({"name": row.name, "label": title(row, object), "required": false, "hidden": false});
            let own = json!({"fieldType": row.word, "objectTypeId": object});
            current.push(merged([&merged([&common, &own]), &row.more]));
            if let Some((word, more)) = &row.older {
                let own = match named {
                    Some(name) => json!({"fieldType": word, "propertyObjectType": name}),
                    None => json!({"fieldType": word, "objectTypeId": object}),
                };
                let options =
                    json!({"options": row.more.get("options").cloned().unwrap_or_else(|| json!([]))});
                older.push(merged([&merged([&merged([&common, &own]), &options]), more]));
            }
        }
    }
    let name = "Every kind";
    (
        json!({"id": GUID, "name": name, "formType": "hubspot", "fieldGroups": groups(&current, "fields")}),
        json!({"guid": GUID, "portalId": 25_505_644, "name": name, "formFieldGroups": groups(&older, "fields")}),
    )
}

fn groups(fields: &[Value], member: &str) -> Value {
    fields.chunks(3).map(|row| json!({member: row})).collect()
}

fn import(definition: &Value) -> Import {
    read(&definition.to_string()).unwrap_or_else(|error| panic!("{error}"))
}

/// What stands in the account after someone with these answers walked the flow of `read_from`; the account knows the
/// form as `kept`.
async fn record(read_from: &Value, kept: &Value, answers: Map<String, Value>) -> Record {
    let import = import(read_from);
    let gate = Setup::of(&import.form, &Settings::default()).start().await;
    let mut player = gate.player("token");
    let played = play(&mut player, &mut Truthful::new(answers)).await.expect("answers");
    assert!(matches!(played, Played::Ended(Walked::Completed(_))), "{played:?}");
    let submission = gate.submissions().await.remove(0);
    let hubspot = start(Account::new(PORTAL, TOKEN, std::slice::from_ref(kept))).await;
    let outcome = deliver(&hubspot.destination(&import.form), &submission).await;
    assert_eq!(outcome, Outcome::delivered(Some(200)));
    let [record] = hubspot.account.records().try_into().expect("one record");
    record
}

#[tokio::test]
async fn every_kind_of_field_of_every_object_is_stored_as_the_native_form_stores_it() {
    let table = table();
    let (current, older) = forms(&table);
    for (shape, definition) in [("v3", &current), ("v2", &older)] {
        let rows: Vec<(&str, &Row)> = OBJECTS
            .iter()
            .flat_map(|(object, _)| table.iter().map(|row| (*object, row)))
            .filter(|(_, row)| shape == "v3" || row.older.is_some())
            .collect();
        let answers = rows.iter().filter(|(_, row)| !row.says.is_null());
        let answers = answers.map(|(object, row)| (title(row, object), row.says.clone())).collect();
        let expected: Vec<(&str, &str, &str)> = rows
            .iter()
            .filter_map(|(object, row)| match row.home {
                Stored(value) => Some((*object, row.name, value)),
                Reported(_) => None,
            })
            .collect();
        let record = record(definition, &current, answers).await;
        assert_eq!(values(&record), expected, "{shape}");
        assert_eq!(record.consent, Value::Null);

        let report = catalog::compile(&import(definition), &Settings::default()).expect("a flow").report;
        for (object, row) in rows {
            if let Reported(grade) = row.home {
                let at = format!("question.{object}/{}", row.name);
                let worst = report.items.iter().filter(|item| item.at == at).map(|item| item.grade).max();
                assert_eq!(worst, Some(grade), "{shape}: {at}");
            }
        }
    }
}

#[test]
fn the_table_holds_every_kind_that_hubspot_documents_and_that_the_import_knows() {
    let table = table();
    let words: BTreeSet<&str> = table.iter().map(|row| row.word).collect();
    assert_eq!(words, BTreeSet::from(DOCUMENTED));
    let older: BTreeSet<&str> = table.iter().filter_map(|row| Some(row.older.as_ref()?.0)).collect();
    assert_eq!(older, BTreeSet::from(OLDER));

    let source = include_str!("../../../src/connector/hubspot/fields.rs");
    let known = corpus::arms(source, "match field.kind {");
    let carried: BTreeSet<&str> =
        DOCUMENTED.into_iter().filter(|word| *word != "payment_link_radio").collect();
    assert_eq!(known, carried, "what the import knows is what the table walks");

    let unknown = json!({"id": GUID, "name": "X", "fieldGroups": [{"fields": [
        {"fieldType": "hologram", "objectTypeId": "0-1", "name": "new", "label": "New"},
        {"fieldType": "email", "objectTypeId": "0-1", "name": "email", "label": "E-mail"}]}]});
    for required in [false, true] {
        let mut unknown = unknown.clone();
        unknown["fieldGroups"][0]["fields"][0]["required"] = json!(required);
        let report = catalog::compile(&import(&unknown), &Settings::default()).expect("a flow").report;
        let item = report.items.iter().find(|item| item.at == "question.0-1/new").expect("an item");
        assert_eq!(item.grade, Grade::Dropped);
        assert!(item.reason.contains("hologram"), "{}", item.reason);
        assert_eq!(report.blockers.is_empty(), !required, "required, it keeps the form from being published");
    }
}

/// A kind of consent in both shapes, what a person ticks, and what HubSpot stores.
struct Consent {
    v3: Value,
    v2: Value,
    ticks: Value,
    stored: Value,
}

fn consents() -> Vec<Consent> {
    let communications = |id: &str| {
        json!([{"required": false, "label": "News &amp; offers", id: 11},
            {"required": true, "label": "<b>Changes</b> of your visit", id: 12}])
    };
    let stored = |text: &str, news: Option<bool>| {
        let both = |news| {
            json!([{"value": news, "subscriptionTypeId": 11, "text": "News & offers"},
                {"value": true, "subscriptionTypeId": 12, "text": "Changes of your visit"}])
        };
        let communications = news.map_or_else(|| json!([]), both);
        json!({"consent": {"consentToProcess": true, "text": text, "communications": communications}})
    };
    let ticks = |news: bool| json!({"News & offers": news, "Changes of your visit": true});
    let interest = |basis: &str| {
        json!({"legitimateInterest": {"value": true, "subscriptionTypeId": 9,
        "legalBasis": basis, "text": "We know each other."}})
    };
    let legitimate = |v3: &str, v2: &str, stored: &str| Consent {
        v3: json!({"type": "legitimate_interest", "lawfulBasis": v3, "subscriptionTypeIds": [9],
            "privacyText": "<p>We know each other.</p>"}),
        v2: json!({"isLegitimateInterest": true, "legitimateInterestLegalBasis": v2,
            "legitimateInterestSubscriptionTypes": [9], "privacyPolicyText": "<p>We know each other.</p>"}),
        ticks: json!({}),
        stored: interest(stored),
    };
    let asked = |v3: &str, v2: &str, news: Option<bool>| {
        let boxes = |id| if news.is_some() { communications(id) } else { json!([]) };
        let label = if v3.starts_with("explicit") { json!("I agree.") } else { Value::Null };
        let ticks = news.map_or_else(|| json!({}), ticks);
        Consent {
            v3: json!({"type": v3, "communicationsCheckboxes": boxes("subscriptionTypeId"),
                "consentToProcessText": "It is <i>stored</i>.", "consentToProcessCheckboxLabel": label,
                "privacyText": "See our policy."}),
            v2: json!({"processingConsentType": v2, "communicationConsentCheckboxes": boxes("communicationTypeId"),
                "processingConsentText": "It is <i>stored</i>.", "processingConsentCheckboxLabel": label,
                "privacyPolicyText": "See our policy."}),
            ticks: if label.is_null() { ticks } else { merged([&ticks, &json!({"I agree.": true})]) },
            stored: stored(if label.is_null() { "It is stored." } else { "I agree." }, news),
        }
    };
    vec![
        Consent { v3: json!({"type": "none"}), v2: json!({}), ticks: json!({}), stored: Value::Null },
        legitimate("lead", "LEGITIMATE_INTEREST_PQL", "LEAD"),
        legitimate("client", "LEGITIMATE_INTEREST_CLIENT", "CUSTOMER"),
        asked("implicit_consent_to_process", "IMPLICIT", None),
        asked("implicit_consent_to_process", "IMPLICIT", Some(false)),
        asked("explicit_consent_to_process", "REQUIRED_CHECKBOX", None),
        asked("explicit_consent_to_process", "REQUIRED_CHECKBOX", Some(true)),
    ]
}

#[tokio::test]
async fn every_kind_of_consent_is_stored_in_the_words_that_were_shown() {
    for Consent { v3, v2, ticks, stored } in consents() {
        let field = json!({"fieldType": "single_line_text", "objectTypeId": "0-1", "name": "firstname", "label": "Name"});
        let current =
            json!({"id": GUID, "name": "X", "fieldGroups": [{"fields": [field]}], "legalConsentOptions": v3});
        let old = json!({"fieldType": "text", "name": "firstname", "label": "Name"});
        let older = json!({"guid": GUID, "name": "X", "formFieldGroups": [{"fields": [old]}],
            "metaData": [{"name": "legalConsentOptions", "value": v2.to_string()}]});
        let answers = merged([&json!({"Name": "Ada"}), &ticks]);
        for definition in [&current, &older] {
            let record = record(definition, &current, answers.as_object().expect("answers").clone()).await;
            assert_eq!(record.consent, stored, "{definition}");
            assert_eq!(values(&record), [("0-1", "firstname", "Ada")]);
        }
    }
}

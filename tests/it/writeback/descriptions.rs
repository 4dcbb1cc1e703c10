//! What is said to HubSpot and Google, and what the sandbox answers, is valid against the vendors' own descriptions of
//! their APIs, where these stand beside the checkout.

use std::path::PathBuf;

use formgate::outbox::Outcome;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::{crm, deliver, every_kind, sheet, walks};

/// A vendor's description, if it is there.
pub(super) fn description(name: &str) -> Option<Value> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folders = ["../shared/openapi", "../../shared/openapi"].map(|shared| root.join(shared));
    let text = folders.iter().find_map(|folder| std::fs::read_to_string(folder.join(name)).ok());
    if text.is_none() {
        println!("{name} is not beside the checkout: nothing is compared");
    }
    Some(serde_json::from_str(&text?).expect("JSON"))
}

/// A schema of a description's, with all the others it may refer to, and no member that it does not name.
pub(super) fn schema(schemas: &Value, at: &str, name: &str) -> Validator {
    let mut all = Map::new();
    for (name, schema) in schemas.as_object().expect("schemas") {
        let mut schema = schema.clone();
        close(&mut schema);
        all.insert(name.clone(), schema);
    }
    // A discovery document refers by name alone.
    let text = serde_json::to_string(&all).expect("JSON");
    let text = text.replace(&format!("#/{at}/"), "#/$defs/");
    let mut defs: Value = serde_json::from_str(&text).expect("JSON");
    refer(&mut defs, &all);
    let schema = json!({"$ref": format!("#/$defs/{name}"), "$defs": defs});
    jsonschema::validator_for(&schema).expect("a JSON Schema")
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            // Vendors' own kinds of formats and descriptions are none of a schema's.
            for extra in
                ["format", "discriminator", "annotations", "id", "default", "deprecated", "enumDescriptions"]
            {
                if members.get(extra).is_some_and(|value| !value.is_object() || extra != "id") {
                    members.remove(extra);
                }
            }
            if members.get("type") == Some(&json!("any")) {
                members.remove("type");
            }
            if members.get("properties").is_some_and(Value::is_object)
                && !members.contains_key("additionalProperties")
                // The members are those of the one that it is.
                && !members.contains_key("oneOf")
            {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
            members.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

fn refer(schema: &mut Value, all: &Map<String, Value>) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(name)) = members.get("$ref")
                && all.contains_key(name)
            {
                let name = format!("#/$defs/{name}");
                members.insert("$ref".to_owned(), json!(name));
            }
            members.values_mut().for_each(|value| refer(value, all));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| refer(value, all)),
        _ => {}
    }
}

#[track_caller]
pub(super) fn assert_valid(schema: &Validator, document: &Value, what: &str) {
    let faults: Vec<String> =
        schema.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(faults.is_empty(), "{what}: {faults:#?} in {document:#}");
}

#[tokio::test]
async fn what_is_said_to_hubspot_s_crm_and_what_it_answers_is_as_hubspot_describes_it() {
    let Some(description) = description("hubspot-contacts-v3.json") else { return };
    let schemas = &description["components"]["schemas"];
    let of = |name: &str| schema(schemas, "components/schemas", name);
    let input = of("BatchInputSimplePublicObjectBatchInputUpsert");
    let (output, error) = (of("BatchResponseSimplePublicUpsertObject"), of("Error"));
    assert!(!input.is_valid(&json!({"inputs": [{"id": 7}]})), "the schema would notice");
    let running = crm::start().await;
    assert_eq!(deliver(&running.destination, &crm::filled(), false).await, Outcome::delivered(Some(200)));
    running.account.fail([429]);
    deliver(&running.destination, &crm::filled(), false).await;
    running.account.withdraw("crm.objects.contacts.write");
    deliver(&running.destination, &crm::filled(), false).await;
    let exchanges = running.account.exchanges();
    let upserts = exchanges.iter().filter(|(path, ..)| path.ends_with("/batch/upsert"));
    let (mut answered, mut refused) = (0, 0);
    for (path, sent, status, answer) in upserts {
        assert!(path.contains("2-7654321") || description["paths"].get(path).is_some(), "{path}");
        assert_valid(&input, sent, path);
        match status {
            200 => {
                answered += 1;
                assert_valid(&output, answer, path);
            }
            _ => {
                refused += 1;
                assert_valid(&error, answer, path);
            }
        }
    }
    assert_eq!((answered, refused), (2, 2));
}

#[tokio::test]
async fn what_is_said_to_google_sheets_and_what_it_answers_is_as_google_describes_it() {
    let Some(description) = description("google-sheets-v4.discovery.json") else { return };
    let of = |name: &str| schema(&description["schemas"], "schemas", name);
    let (range, appended) = (of("ValueRange"), of("AppendValuesResponse"));
    let (batch, spreadsheet) = (of("BatchGetValuesResponse"), of("Spreadsheet"));
    assert!(!range.is_valid(&json!({"values": "x"})), "the schema would notice");
    let running = sheet::start(&sheet::HEADER, Some(every_kind())).await;
    for submission in walks(&every_kind(), 4).await {
        deliver(&running.destination, &submission, false).await;
        deliver(&running.destination, &submission, true).await;
    }
    let methods = &description["resources"]["spreadsheets"];
    let values = &methods["resources"]["values"]["methods"];
    let mut seen = std::collections::BTreeSet::new();
    for exchange in running.account.exchanges() {
        assert_eq!(exchange.status, 200);
        let (method, answer) = match (exchange.method.as_str(), exchange.path.as_str()) {
            ("POST", path) if path.ends_with(":append") => (&values["append"], &appended),
            ("GET", path) if path.ends_with("values:batchGet") => (&values["batchGet"], &batch),
            ("GET", path) if path.contains("/values/") => (&values["get"], &range),
            _ => (&methods["methods"]["get"], &spreadsheet),
        };
        assert_eq!(method["httpMethod"], exchange.method.as_str());
        seen.insert(method["id"].as_str().expect("an id").to_owned());
        for (name, value) in &exchange.query {
            let known = method["parameters"].get(name).or_else(|| description["parameters"].get(name));
            let known = known.unwrap_or_else(|| panic!("{name} is no parameter of {}", method["id"]));
            if let Some(words) = known.get("enum").and_then(Value::as_array) {
                assert!(words.contains(&json!(value)), "{name}={value}");
            }
        }
        if exchange.method == "POST" {
            assert_valid(&range, &exchange.sent, &exchange.path);
        }
        assert_valid(answer, &exchange.answered, &exchange.path);
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

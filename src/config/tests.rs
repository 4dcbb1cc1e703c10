//! The shipped file, its examples and the published schema say the same as the code.

use std::fs;

use serde_json::{Value, json};

use super::*;

/// The shipped file with its examples switched on: lines that begin with `#` and no space.
fn sample() -> String {
    let switch_on = |line: &'static str| match line.strip_prefix('#') {
        Some(example) if !example.is_empty() && !example.starts_with(' ') => example,
        _ => line,
    };
    let sample = DEFAULT_FILE.lines().map(switch_on).collect::<Vec<_>>().join("\n");
    // The other keys of the store have a meaning only so.
    let sample = sample.replacen("kind = \"embedded\"", "kind = \"redis\"", 1);
    sample.replacen("topology = \"single\"", "topology = \"sentinel\"", 1)
}

/// Loads the sample from a folder that holds the files it names.
fn load_sample() -> (Result<Config, Faults>, BTreeSet<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    for path in [
        "tls/chain.pem",
        "tls/key.pem",
        "tls/redis-ca.pem",
        "keys/shop.pem",
        "forms/contact.json",
        "forms/contact.overlay.json",
        "tls/mail-ca.pem",
    ] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("in a folder")).expect("a folder");
        fs::write(path, "content").expect("a file");
    }
    let env = [
        ("META_APP_SECRET", "app-secret"),
        ("META_TOKEN", "token"),
        ("SHOP_KEY_PASSPHRASE", "passphrase"),
        ("CRM_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("CRM_AUTHORIZATION", "Bearer token"),
        ("ALERT_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("REDIS_URL", "rediss://formgate:password@redis.example.com:6379"),
        ("HUBSPOT_TOKEN", "pat-token"),
        ("HUBSPOT_CLIENT_SECRET", "client-secret"),
        ("TYPEFORM_SECRET", "any text"),
        ("SMTP_PASSWORD", "a password"),
        ("META_VERIFY_TOKEN", "any text"),
        ("TYPEFORM_TOKEN", "tfp_token"),
        ("SURVEYMONKEY_TOKEN", "token"),
        ("GOOGLE_TOKEN", "token"),
        ("SCRIPT_SECRET", "0123456789abcdef01234567"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Config::read(sample(), folder.path(), env)
}

fn as_json(text: &str) -> Value {
    serde_json::to_value(text.parse::<toml::Table>().expect("TOML")).expect("JSON")
}

fn schema() -> Value {
    serde_json::from_str(include_str!("../../schemas/config.schema.json")).expect("JSON")
}

/// Keys as `flow.deliver_to`, from the properties of a schema.
fn schema_keys(schema: &Value, prefix: &str, keys: &mut BTreeSet<String>) {
    let schema = schema.get("items").unwrap_or(schema);
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        schema_keys(property, &key, keys);
        keys.insert(key);
    }
}

/// Keys as `flow.deliver_to`, from a configuration.
fn file_keys(value: &Value, prefix: &str, keys: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let free = matches!(key.as_str(), "destination.mapping" | "destination.headers" | "destination.when");
        for value in value.as_array().into_iter().flatten().chain([value]).filter(|_| !free) {
            file_keys(value, &key, keys);
        }
        keys.insert(key);
    }
}

#[test]
fn the_shipped_file_is_the_program_s_defaults() {
    let explicit = Config::read(DEFAULT_FILE.to_owned(), Path::new(""), BTreeMap::new()).0;
    let explicit = explicit.expect("the shipped file has no fault");
    assert_eq!(format!("{explicit:?}"), format!("{:?}", Config::default()));
    assert_eq!(explicit.limits.max_body_bytes, crate::server::DEFAULT_BODY_LIMIT_BYTES);
    let server = crate::server::Limits::default();
    assert_eq!(explicit.limits.max_in_flight_body_bytes, server.max_in_flight_body_bytes);
    assert_eq!(explicit.limits.max_connections, server.max_connections);
    assert_eq!(explicit.limits.max_connections_per_source, server.max_connections_per_source);
    assert_eq!(explicit.limits.header_read, server.header_read);
    assert_eq!(explicit.limits.body_read, server.body_read);
    assert_eq!(explicit.limits.keep_alive_idle, server.keep_alive_idle);
}

#[test]
fn the_shipped_file_shows_every_key_and_the_schema_allows_the_same() {
    let (loaded, asked) = load_sample();
    loaded.expect("the examples have no fault");
    let mut shown = BTreeSet::new();
    file_keys(&as_json(&sample()), "", &mut shown);
    assert_eq!(shown, asked, "in the shipped file, and asked for by the code");
    let mut allowed = BTreeSet::new();
    schema_keys(&schema(), "", &mut allowed);
    assert_eq!(allowed, asked, "in the schema, and asked for by the code");
}

#[test]
fn an_example_of_a_default_is_the_default() {
    let (shown, _) = load_sample();
    let shown = shown.expect("the examples have no fault");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("form.json"), "{}").expect("a file");
    let least = r#"
        [[number]]
        id = "shop"
        app_secret = "app-secret"
        [[destination]]
        id = "crm"
        kind = "webhook"
        url = "https://crm.example.com/hook"
        secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        [[flow]]
        id = "contact"
        tool = "form"
        definition = "form.json"
        number = "shop"
    "#;
    let least = Config::read(least.to_owned(), folder.path(), BTreeMap::new()).0.expect("no fault");
    let (shown, least) =
        ((&shown.flows[0], &shown.destinations[0]), (&least.flows[0], &least.destinations[0]));
    let shape = |destination: &Destination| match &destination.target {
        Target::Webhook(webhook) => Some(webhook.shape),
        _ => None,
    };
    assert_eq!((shape(shown.1), shape(least.1)), (Some(Shape::Full), Some(Shape::Full)));
    assert_eq!(shown.1.allow_private_network, least.1.allow_private_network);
    let of = |flow: &Flow| {
        (flow.tokens, flow.retention_days, flow.entry, flow.data_api, flow.mode, flow.token_signature)
    };
    assert_eq!(of(shown.0), of(least.0));
}

#[test]
fn the_published_schema_accepts_the_shipped_file_and_its_examples_and_refuses_typos() {
    let validator = jsonschema::validator_for(&schema()).expect("a schema");
    for text in [DEFAULT_FILE.to_owned(), sample()] {
        let errors: Vec<_> = validator.iter_errors(&as_json(&text)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    for wrong in [
        json!({ "sever": {} }),
        json!({ "server": { "listen": 8080 } }),
        json!({ "number": [{ "id": "shop" }] }),
        json!({ "destination": [{ "id": "crm", "kind": "webhook" }] }),
        json!({ "destination": [{ "id": "crm", "kind": "hubspot", "token": "t", "portal_id": "1", "url": "https://x.example" }] }),
        json!({ "flow": [{ "id": "Contact", "tool": "form", "definition": "f", "number": "shop" }] }),
    ] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
}

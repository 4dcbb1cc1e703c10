//! Connecting and reading, held against the vendors' own descriptions: every request that the connectors make and every
//! answer of the sandbox is recorded on its way, and has to be an operation that is described, or one of a short list.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use formgate::app::App;
use formgate::client::{AddressPolicy, Client};
use formgate::connector::source::{Account, source};
use formgate::sandbox::Tools;
use formgate::sandbox::dial::Dial;
use formgate::server::header::CONTENT_TYPE;
use formgate::server::{Handler, Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use url::{Url, form_urlencoded};

use super::descriptions::{assert_valid, description, schema};
use crate::connect::fixture::{Browser, configuration, free_port, load};

/// What is asked and is in none of the descriptions: Google publishes none of its authorization server.
const UNDESCRIBED: [(&str, &str); 4] = [
    ("GET", "/hubspot/account-info/v3/details"),
    ("POST", "/google-forms/token"),
    ("GET", "/google-forms/v1/userinfo"),
    ("POST", "/google-forms/revoke"),
];
/// The HubSpot form that is read.
const FORM: &str = "3f9a2c41-0d57-4f0e-9a57-2f6c1d8e9b10";
/// Pages for people, in their browsers.
const PAGES: [&str; 2] = ["/hubspot/oauth/authorize", "/google-forms/o/oauth2/v2/auth"];

#[derive(Debug, Clone)]
struct Exchange {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    /// JSON, or the pairs of a form.
    sent: Value,
    status: u16,
    answered: Value,
}

/// Notes what passes.
#[derive(Clone)]
struct Recorder(Tools, Arc<Mutex<Vec<Exchange>>>);

fn pairs(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).into_owned().collect()
}

impl Handler for Recorder {
    async fn handle(&self, request: Request) -> Response {
        let (method, path) = (request.method.to_string(), request.path().to_owned());
        let query = pairs(request.query().unwrap_or_default().as_bytes());
        let sent = match request.header(CONTENT_TYPE) {
            Some("application/x-www-form-urlencoded") => Value::Object(
                pairs(&request.body).into_iter().map(|(name, value)| (name, json!(value))).collect(),
            ),
            _ => serde_json::from_slice(&request.body).unwrap_or_default(),
        };
        let response = self.0.handle(request).await;
        let answered = serde_json::from_slice(&response.body).unwrap_or_default();
        let status = response.status.as_u16();
        let exchange = Exchange { method, path, query, sent, status, answered };
        self.1.lock().expect("no panic under the lock").push(exchange);
        response
    }
}

/// A form of every kind of field that HubSpot describes.
fn every_kind_of_field() -> Value {
    let field = |kind: &str| {
        let mut field = json!({"fieldType": kind, "name": format!("p_{kind}"), "label": kind});
        if matches!(kind, "multiple_checkboxes" | "dropdown" | "radio") {
            field["options"] = json!([{"label": "One", "value": "1"}, {"label": "Two", "value": "2"}]);
        }
        field
    };
    let mut fields = [
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
    ]
    .map(field);
    fields[8]["dependentFields"] = json!([{
        "dependentCondition": {"operator": "eq", "value": "1"},
        "dependentField": {"fieldType": "single_line_text", "name": "p_why", "label": "Why?"},
    }]);
    json!({"id": FORM, "name": "Every kind", "fieldGroups": [{"fields": fields}]})
}

/// Everything that is said when somebody connects both tools, renews, reads, is refused, and disconnects.
async fn journey() -> Vec<Exchange> {
    let folder = tempfile::tempdir().expect("a folder");
    let (stop, stopped) = watch::channel(false);
    let port = free_port();
    let tools = Tools::new(&format!("http://127.0.0.1:{port}/connect/*/callback"));
    let recorder = Recorder(tools.clone(), Arc::default());
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let address = Dial::new().serve(recorder.clone(), any, stopped.clone()).await.expect("a port");
    // Without the scope that lists files, a Google form is named by its link.
    let google = "id = \"google-forms\"";
    let scopes = "scopes = [\"openid\", \"email\", \"https://www.googleapis.com/auth/forms.body.readonly\", \"https://www.googleapis.com/auth/drive.metadata.readonly\"]";
    let text = configuration(port, address).replace(google, &format!("{google}\n{scopes}"));
    let app = App::start(&load(folder.path(), &text)).await;
    let app = app.unwrap_or_else(|error| panic!("{error}"));
    let (connections, public) = (app.connections.clone(), app.public);
    let running = tokio::spawn(app.run(stopped));

    tools.library.put("hubspot", every_kind_of_field());
    for (tool, form) in [("hubspot", FORM), ("google-forms", "1sandboxPotteryClassForm")] {
        let begun =
            connections.begin(tool, None, None, "test").await.unwrap_or_else(|error| panic!("{error}"));
        let mut link = Url::parse(&format!("http://{public}/connect/{tool}")).expect("a URL");
        link.query_pairs_mut().append_pair("start", begun.expose_secret());
        let page = Browser::default().walk(&link, &[("answer", "allow")], &[]).await;
        assert!(page.contains("is connected"), "{page}");
        let id = tool.parse().expect("a name");
        connections.check(&id).await.unwrap_or_else(|error| panic!("{error}"));
        connections.mend(&id).await.unwrap_or_else(|error| panic!("{error}"));
        let account = |tokens| Account {
            api: format!("http://{address}/{tool}").parse().expect("a URL"),
            tokens,
            client: Client::new(),
            policy: AddressPolicy::AllowPrivateNetwork,
        };
        let forms = source(tool, account(connections.tokens(id))).expect("a tool with forms");
        let listing = forms.list(None, None).await.expect("a page");
        assert!(!listing.forms.is_empty());
        forms.list(Some("It's \\ a search"), None).await.expect("a page");
        forms.fetch(form).await.expect("the form");
        forms.fetch("nowhere").await.expect_err("refused");
        tools.library.refuse([(429, Some(1)), (500, None)]);
        forms.list(None, None).await.expect_err("refused");
        forms.fetch(form).await.expect_err("refused");
        let stranger =
            source(tool, account(Arc::new(SecretString::from("no-such-token")))).expect("a tool with forms");
        stranger.list(None, None).await.expect_err("refused");
        let id = tool.parse().expect("a name");
        connections.remove(&id, "test").await.unwrap_or_else(|error| panic!("{error}"));
    }
    stop.send_replace(true);
    running.await.expect("it ends").unwrap_or_else(|error| panic!("{error}"));
    recorder.1.lock().expect("no panic under the lock").clone()
}

/// Whether a path is one that a template describes.
fn fits(template: &str, path: &str) -> bool {
    let (wanted, given): (Vec<_>, Vec<_>) =
        (template.trim_matches('/').split('/').collect(), path.trim_matches('/').split('/').collect());
    wanted.len() == given.len()
        && wanted
            .iter()
            .zip(given)
            .all(|(wanted, given)| wanted.starts_with('{') && !given.is_empty() || *wanted == given)
}

/// What OpenAPI says of a parameter.
fn is_of(schema: &Value, text: &str) -> bool {
    match schema["type"].as_str() {
        Some("integer") => text.parse::<i64>().is_ok(),
        Some("boolean") => matches!(text, "true" | "false"),
        Some("array") => is_of(&schema["items"], text),
        _ => schema["enum"].as_array().is_none_or(|words| words.contains(&json!(text))),
    }
}

/// Holds an exchange against HubSpot's OpenAPI descriptions; `false` if it is in none of them.
fn is_hubspot_s(descriptions: &[Value], exchange: &Exchange) -> bool {
    let path = exchange.path.trim_start_matches("/hubspot");
    let what = format!("{} {path}", exchange.method);
    for description in descriptions {
        let paths = description["paths"].as_object().expect("paths");
        let Some((_, methods)) = paths.iter().find(|(template, _)| fits(template, path)) else { continue };
        let Some(operation) = methods.get(exchange.method.to_lowercase()) else { continue };
        let schemas = &description["components"]["schemas"];
        let all = schemas.as_object().expect("schemas");
        for (name, value) in &exchange.query {
            let parameters = operation["parameters"].as_array().expect("parameters");
            let known =
                parameters.iter().find(|known| known["in"] == "query" && known["name"] == json!(name));
            let known = known.unwrap_or_else(|| panic!("{name} is no parameter of {what}"));
            assert!(is_of(&known["schema"], value), "{what}: {name}={value}");
        }
        for (_, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            // The schema of a body stands in the operation and gets a name like all others.
            let named = with(all, "Sent", &content["schema"]);
            assert_valid(&schema(&named, "components/schemas", "Sent"), &exchange.sent, &what);
        }
        // What the token endpoint refuses with is described as every other refusal, and is not: it has RFC 6749's members.
        let is_token = path.contains("/oauth/");
        if exchange.status == 200 && !path.ends_with("/revoke") {
            let answer = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            let named = with(all, "Answered", answer);
            assert_valid(&schema(&named, "components/schemas", "Answered"), &exchange.answered, &what);
        } else if exchange.status >= 400 && !is_token {
            assert_valid(&schema(schemas, "components/schemas", "Error"), &exchange.answered, &what);
        }
        return true;
    }
    false
}

fn with(all: &Map<String, Value>, name: &str, schema: &Value) -> Value {
    let mut all = all.clone();
    all.insert(name.to_owned(), schema.clone());
    Value::Object(all)
}

/// The methods of a discovery document, wherever they stand.
fn methods<'d>(resource: &'d Value, found: &mut Vec<&'d Value>) {
    found.extend(resource["methods"].as_object().into_iter().flatten().map(|(_, method)| method));
    for (_, inner) in resource["resources"].as_object().into_iter().flatten() {
        methods(inner, found);
    }
}

/// The same with Google's discovery documents.
fn is_google_s(descriptions: &[Value], exchange: &Exchange) -> bool {
    let path = exchange.path.trim_start_matches("/google-forms/");
    for description in descriptions {
        let mut all = Vec::new();
        methods(description, &mut all);
        let root = description["servicePath"].as_str().unwrap_or_default();
        let found = all.into_iter().find(|method| {
            let template =
                format!("{root}{}", method["flatPath"].as_str().or(method["path"].as_str()).expect("a path"));
            method["httpMethod"] == json!(exchange.method) && fits(&template, path)
        });
        let Some(method) = found else { continue };
        let what = format!("{} {path}", method["id"]);
        for (name, value) in &exchange.query {
            let known = method["parameters"].get(name).or_else(|| description["parameters"].get(name));
            let known = known.unwrap_or_else(|| panic!("{name} is no parameter of {what}"));
            assert!(is_of(known, value), "{what}: {name}={value}");
        }
        if exchange.status == 200 {
            let answer = method["response"]["$ref"].as_str().expect("a schema");
            assert_valid(&schema(&description["schemas"], "schemas", answer), &exchange.answered, &what);
        } else {
            // Errors are described once for all APIs: code, message, and the status by its name.
            let error = &exchange.answered["error"];
            assert_eq!(error["code"], exchange.status, "{what}");
            assert!(error["message"].is_string() && error["status"].is_string(), "{what}: {error}");
        }
        return true;
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_and_reading_is_as_hubspot_and_google_describe_it() {
    let hubspot = ["hubspot-oauth-2026-03.json", "hubspot-forms-v3.json"].map(description);
    let google = ["google-forms-v1.discovery.json", "google-drive-v3.discovery.json"].map(description);
    let [Some(oauth), Some(forms)] = hubspot else { return };
    let [Some(google_forms), Some(drive)] = google else { return };
    let (hubspot, google) = ([oauth, forms], [google_forms, drive]);
    let exchanges = tokio::time::timeout(Duration::from_secs(60), journey()).await.expect("it ends");
    let mut seen = BTreeSet::new();
    for exchange in &exchanges {
        let is_page = PAGES.contains(&exchange.path.as_str());
        let is_known = UNDESCRIBED.contains(&(exchange.method.as_str(), exchange.path.as_str()));
        let is_described = if exchange.path.starts_with("/hubspot/") {
            is_page || is_hubspot_s(&hubspot, exchange)
        } else {
            is_page || is_google_s(&google, exchange)
        };
        assert!(is_described != is_known, "{exchange:?}");
        seen.insert(format!("{} {} {}", exchange.method, exchange.path, exchange.status));
    }
    for wanted in [
        "POST /hubspot/oauth/2026-03/token 200",
        "POST /hubspot/oauth/2026-03/token/revoke 200",
        "GET /hubspot/marketing/v3/forms 200",
        "GET /hubspot/marketing/v3/forms 429",
        "GET /hubspot/marketing/v3/forms/nowhere 404",
        "GET /google-forms/drive/v3/files 200",
        "GET /google-forms/drive/v3/files 401",
        "GET /google-forms/v1/forms/1sandboxPotteryClassForm 200",
        "GET /google-forms/v1/forms/nowhere 404",
    ] {
        assert!(seen.contains(wanted), "{wanted} is not among {seen:#?}");
    }

    // What is not described is noticed.
    let mut wrong =
        exchanges.iter().find(|exchange| exchange.path.ends_with("/v3/forms")).expect("a list").clone();
    wrong.path.push_str("/x/y");
    assert!(!is_hubspot_s(&hubspot, &wrong));
}

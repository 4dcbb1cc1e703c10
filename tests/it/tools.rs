//! The four tools at one address: what one token may do at each, what is stored, and what is refused, over sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use formgate::client::{AddressPolicy, Client, Method, Request};
use formgate::connector::connector;
use formgate::crypto::BodySignature;
use formgate::form::Form;
use formgate::sandbox::dial::{Dial, Fault};
use formgate::sandbox::typeform::WEBHOOK_SECRET;
use formgate::sandbox::{EXAMPLES, PORTAL, RECORDS, SHEET, Tools};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

const SHEETS: &str = "https://www.googleapis.com/auth/spreadsheets";

struct Site {
    tools: Tools,
    dial: Dial,
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

async fn start() -> Site {
    let (tools, dial) = (Tools::new("http://127.0.0.1:1/connect/*/callback"), Dial::new());
    let (stop, stopped) = watch::channel(false);
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let address = dial.serve_with_control(tools.clone(), any, stopped).await.expect("a port");
    Site { tools, dial, address, _stop: stop }
}

fn form(tool: &str) -> &'static str {
    EXAMPLES.iter().find(|(of, _)| *of == tool).expect("an example").1
}

impl Site {
    async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address).parse().expect("a URL");
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut request = Request::new(method, url, body.to_owned(), deadline);
        for (name, value) in headers {
            request = request.header(name, value).expect("a header");
        }
        request.policy = AddressPolicy::AllowPrivateNetwork;
        request.max_response_bytes = 1 << 20;
        let answer = Client::new().request(request).await.expect("an answer");
        (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// JSON with a token.
    async fn send(&self, path: &str, token: &str, body: &Value) -> u16 {
        let token = format!("Bearer {token}");
        let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
        self.call(Method::POST, path, &headers, &body.to_string()).await.0
    }

    async fn get(&self, path: &str, token: &str) -> (u16, Value) {
        let token = format!("Bearer {token}");
        let (status, body) = self.call(Method::GET, path, &[("authorization", &token)], "").await;
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// Kind and content of what a tool has stored.
    async fn stored(&self, tool: &str) -> Vec<(String, Value)> {
        let (status, body) = self.call(Method::GET, RECORDS, &[], "").await;
        assert_eq!(status, 200);
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let records =
            body["records"].as_array().expect("records").iter().filter(|record| record["tool"] == tool);
        records
            .map(|record| (record["kind"].as_str().expect("a kind").to_owned(), record["content"].clone()))
            .collect()
    }
}

fn quote() -> Value {
    json!({
        "fields": [
            {"objectTypeId": "0-1", "name": "firstname", "value": "Ada"},
            {"objectTypeId": "0-1", "name": "email", "value": "ada@example.org"},
            {"objectTypeId": "0-1", "name": "service", "value": "kitchen"},
        ],
        "legalConsentOptions": {"consent": {
            "consentToProcess": true, "text": "I agree that it is stored.",
            "communications": [{"value": false, "subscriptionTypeId": 11, "text": "News, four times a year"}],
        }},
    })
}

#[tokio::test]
async fn hubspot_takes_submissions_of_listed_forms_by_tokens_that_may_use_forms() {
    let site = start().await;
    let submit = |form: &str| format!("/hubspot/submissions/v3/integration/secure/submit/{PORTAL}/{form}");
    let (token, poor) = (
        site.tools.authority.make_token("hubspot", &["oauth", "forms"]),
        site.tools.authority.make_token("hubspot", &["oauth"]),
    );
    let other = site.tools.authority.make_token("typeform", &["forms:read"]);
    let path = submit(form("hubspot"));
    assert_eq!(site.send(&path, "made-up", &quote()).await, 401);
    assert_eq!(site.send(&path, &other, &quote()).await, 401, "another tool's");
    assert_eq!(site.send(&path, &poor, &quote()).await, 403);
    assert_eq!(site.send(&submit("nowhere"), &token, &quote()).await, 404);
    let mut unknown = quote();
    unknown["fields"][0]["name"] = json!("shoe_size");
    assert_eq!(site.send(&path, &token, &unknown).await, 400);
    let mut silent = quote();
    silent["legalConsentOptions"] = Value::Null;
    assert_eq!(site.send(&path, &token, &silent).await, 400, "without the consent");
    assert_eq!(site.stored("hubspot").await, []);
    assert_eq!(site.send(&path, &token, &quote()).await, 200);
    let [(kind, content)] = site.stored("hubspot").await.try_into().expect("one");
    assert_eq!((kind.as_str(), &content["fields"]), ("submission", &quote()["fields"]));

    // The owner of the form takes a field away.
    let mut changed: Value =
        serde_json::from_str(include_str!("../../assets/sandbox/hubspot-quote.json")).expect("JSON");
    changed["fieldGroups"].as_array_mut().expect("groups").truncate(1);
    site.tools.library.put("hubspot", changed);
    assert_eq!(site.send(&path, &token, &quote()).await, 400, "the field is not there any more");
    site.tools.library.remove("hubspot", form("hubspot"));
    assert_eq!(site.send(&path, &token, &quote()).await, 404);

    let upsert = "/hubspot/crm/v3/objects/contacts/batch/upsert";
    let contact = json!({"inputs": [{"id": "ada@example.org", "idProperty": "email", "properties": {"service": "kitchen"}}]});
    assert_eq!(site.send(upsert, &token, &contact).await, 403, "forms are not contacts");
    let rich = site.tools.authority.make_token("hubspot", &["crm.objects.contacts.write"]);
    assert_eq!(site.send(upsert, &rich, &contact).await, 200);
    assert_eq!(site.stored("hubspot").await[1].0, "contact");
    site.tools.authority.end_access("hubspot");
    site.tools.authority.throw_out("hubspot");
    assert_eq!(site.send(upsert, &rich, &contact).await, 401, "it was revoked");
}

fn read(tool: &str, text: &str) -> Form {
    connector(tool).expect("a reader").read(text.as_bytes()).expect("a form").form
}

#[tokio::test]
async fn the_page_of_every_google_form_asks_what_the_form_does_and_takes_only_what_fits() {
    let site = start().await;
    let fixture = include_str!("../fixtures/google-forms/every-kind.json");
    let listed: Value = serde_json::from_str(fixture).expect("JSON");
    site.tools.library.put("google-forms", listed.clone());
    let texts = [
        fixture,
        include_str!("../../assets/sandbox/google-class.json"),
        include_str!("../../assets/sandbox/google-lunch.json"),
    ];
    for text in texts {
        let definition: Value = serde_json::from_str(text).expect("JSON");
        let id = definition["formId"].as_str().expect("an id");
        let page = site.call(Method::GET, &format!("/google-forms/forms/d/e/{id}/viewform"), &[], "").await;
        assert_eq!(page.0, 200, "{id}");
        let asked = |form: Form| -> Vec<String> {
            let questions =
                form.questions().map(|(_, q)| format!("{} {} {} {:?}", q.key, q.title, q.required, q.kind));
            questions.collect()
        };
        assert_eq!(asked(read("google-forms", &page.1)), asked(read("google-forms", text)), "{id}");
    }
    let missing = site.call(Method::GET, "/google-forms/forms/d/e/nowhere/viewform", &[], "").await;
    assert_eq!(missing.0, 404);

    let base = format!("/google-forms/forms/d/e/{}", form("google-forms"));
    let shown = site.call(Method::GET, &format!("{base}/viewform"), &[], "").await.1;
    let fbzx = shown
        .split("name=\"fbzx\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a ticket");
    let body = |experience: &str| {
        let partial = format!("[null,null,\"{fbzx}\"]");
        url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("entry.704643073", "Ada"),
                ("entry.704643074", experience),
                ("fvv", "1"),
                ("fbzx", fbzx),
            ])
            .extend_pairs([("partialResponse", partial.as_str()), ("pageHistory", "0")])
            .finish()
    };
    let (path, headers) =
        (format!("{base}/formResponse"), [("content-type", "application/x-www-form-urlencoded")]);
    assert_eq!(site.call(Method::POST, &path, &headers, &body("Sometimes")).await.0, 400);
    assert_eq!(site.stored("google-forms").await, []);
    assert_eq!(site.call(Method::POST, &path, &headers, &body("Never")).await.0, 200);
    let [(kind, content)] = site.stored("google-forms").await.try_into().expect("one");
    assert_eq!((kind.as_str(), &content[1]["value"]), ("response", &json!("Never")));

    let values =
        format!("/google-forms/v4/spreadsheets/{SHEET}/values/'Responses'!A1:append?valueInputOption=RAW");
    let row = json!({"values": [["", "Ada"]]});
    let poor = site.tools.authority.make_token("google-forms", &["openid"]);
    assert_eq!(site.send(&values, &poor, &row).await, 403);
    let token = site.tools.authority.make_token("google-forms", &[SHEETS]);
    assert_eq!(site.send(&values, &token, &row).await, 200);
    assert_eq!(site.stored("google-forms").await[1], ("row".to_owned(), row["values"][0].clone()));
}

#[tokio::test]
async fn a_webhook_of_typeform_takes_what_is_signed_and_answers_the_form() {
    let site = start().await;
    let id = form("typeform");
    let hooks = format!("/typeform/forms/{id}/webhooks");
    let poor = site.tools.authority.make_token("typeform", &["forms:read"]);
    assert_eq!(site.get(&hooks, &poor).await.0, 403);
    let token = site.tools.authority.make_token("typeform", &["webhooks:read"]);
    let (status, told) = site.get(&hooks, &token).await;
    assert_eq!(status, 200);
    let hook = format!("/typeform/hooks/{id}");
    assert_eq!(told["items"][0]["url"], format!("http://{}{hook}", site.address));
    assert_eq!(site.get("/typeform/forms/nowhere/webhooks", &token).await.0, 404);

    let event = |answers: Value| {
        json!({"event_id": "e1", "event_type": "form_response", "form_response": {
            "form_id": id, "token": "t1", "landed_at": "2026-11-22T10:00:00Z", "submitted_at": "2026-11-22T10:01:00Z",
            "definition": {"id": id, "title": "Visit the studio", "fields": []}, "answers": answers,
        }})
    };
    let field = json!({"id": "sbxf01", "ref": "name", "type": "short_text"});
    let good = event(json!([{"type": "text", "text": "Ada", "field": field}]));
    let post = async |event: &Value, secret: &str| {
        let body = event.to_string();
        let signature = BodySignature::sha256(&SecretString::from(secret.to_owned()), body.as_bytes());
        let headers = [("content-type", "application/json"), ("typeform-signature", signature.as_str())];
        site.call(Method::POST, &hook, &headers, &body).await.0
    };
    assert_eq!(post(&good, "another").await, 401);
    let twice = event(json!([good["form_response"]["answers"][0], good["form_response"]["answers"][0]]));
    let strange = event(
        json!([{"type": "text", "text": "Ada", "field": {"id": "gone", "ref": "name", "type": "short_text"}}]),
    );
    let wrong = event(json!([{"type": "number", "number": 1, "field": field}]));
    for refused in [twice, strange, wrong, json!({"event_type": "form_response"})] {
        assert_eq!(post(&refused, WEBHOOK_SECRET).await, 422, "{refused}");
    }
    for _repeat in 0..2 {
        assert_eq!(post(&good, WEBHOOK_SECRET).await, 200);
    }
    assert_eq!(site.stored("typeform").await, [("webhook".to_owned(), good["form_response"].clone())]);
}

#[tokio::test]
async fn surveymonkey_takes_responses_into_any_collector_of_a_listed_survey() {
    let site = start().await;
    let all = ["surveys_read", "collectors_read", "collectors_write", "responses_write"];
    let token = site.tools.authority.make_token("surveymonkey", &all);
    let poor = site.tools.authority.make_token("surveymonkey", &["surveys_read", "collectors_read"]);
    let response = json!({"pages": [
        {"id": "7001", "questions": [{"id": "70011", "answers": [{"choice_id": "700112"}]}]},
        {"id": "7002", "questions": [{"id": "70021", "answers": [{"text": "Ada"}]}]},
    ]});
    let mut into = Vec::new();
    for survey in [form("surveymonkey"), "700200"] {
        let (status, told) = site.get(&format!("/surveymonkey/v3/surveys/{survey}/collectors"), &token).await;
        assert_eq!(status, 200);
        let made = json!({"type": "weblink", "name": "WhatsApp"});
        let path = format!("/surveymonkey/v3/surveys/{survey}/collectors");
        assert_eq!(site.send(&path, &poor, &made).await, 403);
        assert_eq!(site.send(&path, &token, &made).await, 201);
        let (_, now) = site.get(&path, &token).await;
        assert_eq!(
            now["data"].as_array().map(Vec::len),
            Some(told["data"].as_array().map_or(0, Vec::len) + 1)
        );
        for collector in now["data"].as_array().expect("collectors") {
            into.push(format!(
                "/surveymonkey/v3/collectors/{}/responses",
                collector["id"].as_str().expect("an id")
            ));
        }
    }
    assert_eq!(site.send(&into[0], "made-up", &response).await, 401);
    assert_eq!(site.send(&into[0], &poor, &response).await, 403);
    let mut wrong = response.clone();
    wrong["pages"][0]["questions"][0]["answers"][0]["choice_id"] = json!("1");
    assert_eq!(site.send(&into[0], &token, &wrong).await, 400);
    assert_eq!(site.send(&into[2], &token, &response).await, 400, "another survey's collector");
    assert_eq!(site.stored("surveymonkey").await, []);
    for path in &into[..2] {
        assert_eq!(site.send(path, &token, &response).await, 201, "{path}");
    }
    assert_eq!(site.stored("surveymonkey").await.len(), 2);
    assert_eq!(site.send("/surveymonkey/v3/collectors/1/responses", &token, &response).await, 404);
}

#[tokio::test]
async fn hubspot_s_files_take_whole_forms_with_an_access_and_a_place_and_keep_a_content_once() {
    let site = start().await;
    let upload = async |token: &str, kind: &str, body: &str| {
        let token = format!("Bearer {token}");
        let headers = [("authorization", token.as_str()), ("content-type", kind)];
        site.call(Method::POST, "/hubspot/files/v3/files", &headers, body).await
    };
    let part = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let options = |access: &str| {
        let more = "\"duplicateValidationStrategy\": \"RETURN_EXISTING\", \"duplicateValidationScope\": \"EXACT_FOLDER\"";
        part("options", &format!("{{\"access\": \"{access}\", {more}}}"))
    };
    let file = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nHello\r\n";
    let (place, end) = (part("folderPath", "/here"), "--b--\r\n");
    let whole = [options("PRIVATE").as_str(), &place, file, end].concat();
    let (token, kind) =
        (site.tools.authority.make_token("hubspot", &["files"]), "multipart/form-data; boundary=b");
    let poor = site.tools.authority.make_token("hubspot", &["forms"]);
    assert_eq!(upload("made-up", kind, &whole).await.0, 401);
    assert_eq!(upload(&poor, kind, &whole).await.0, 403);
    assert_eq!(upload(&token, "multipart/form-data; boundary=c", &whole).await.0, 400);
    assert_eq!(upload(&token, "application/json", &whole).await.0, 400);
    for (missing, body) in [
        ("options", [&place, file, end].concat()),
        ("access", [options("OPEN").as_str(), &place, file, end].concat()),
        ("a place", [options("PRIVATE").as_str(), file, end].concat()),
        ("a file", [options("PRIVATE").as_str(), &place, end].concat()),
        ("an end", [options("PRIVATE").as_str(), &place, file].concat()),
        ("a known part", [options("PRIVATE").as_str(), &place, &part("colour", "red"), file, end].concat()),
        ("one place", [options("PRIVATE").as_str(), &place, &place, file, end].concat()),
    ] {
        assert_eq!(upload(&token, kind, &body).await.0, 400, "without {missing}");
    }
    assert_eq!(site.stored("hubspot").await, []);
    let (status, first) = upload(&token, kind, &whole).await;
    assert_eq!(status, 201);
    assert_eq!(upload(&token, kind, &whole).await.1, first, "what is there already");
    let [(kind, content)] = site.stored("hubspot").await.try_into().expect("one");
    assert_eq!((kind.as_str(), &content["size"], &content["access"]), ("file", &json!(5), &json!("PRIVATE")));
    let search = site.get("/hubspot/files/v3/files/search?name=a&limit=10", &token).await.1;
    assert_eq!(search["results"][0]["path"], "/here/a.txt");
    assert_eq!(site.get("/hubspot/files/v3/files/search?colour=red", &token).await.0, 400);
}

#[tokio::test]
async fn the_dial_stands_before_all_of_them_and_a_cut_answer_has_been_stored() {
    let site = start().await;
    let token = site.tools.authority.make_token("hubspot", &["forms"]);
    let path = format!("/hubspot/submissions/v3/integration/secure/submit/{PORTAL}/{}", form("hubspot"));
    site.dial.next("/hubspot/submissions", [Fault::RateLimit(5), Fault::Status(500), Fault::AcceptThenFail]);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(site.send(&path, &token, &quote()).await);
    }
    assert_eq!(statuses, [429, 500, 500]);
    assert_eq!(site.stored("hubspot").await.len(), 1, "only what was accepted");
}

#[tokio::test]
async fn what_is_stored_is_shown_as_text_and_under_names_of_this_machine_only() {
    let site = start().await;
    let token = site.tools.authority.make_token("hubspot", &["forms"]);
    let path = format!("/hubspot/submissions/v3/integration/secure/submit/{PORTAL}/{}", form("hubspot"));
    let mut hostile = quote();
    hostile["fields"][0]["value"] = json!("<script>alert(1)</script>");
    assert_eq!(site.send(&path, &token, &hostile).await, 200);
    let (status, page) = site.call(Method::GET, "/", &[], "").await;
    assert_eq!(status, 200);
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
    assert!(page.contains("Pottery class") && page.contains("Visit the studio"), "forms are listed, too");
    for path in ["/", RECORDS] {
        let mut stream = TcpStream::connect(site.address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.expect("a reply");
        assert!(reply.starts_with("HTTP/1.1 403"), "{path}: {reply}");
        assert_eq!(site.call(Method::POST, path, &[], "").await.0, 405, "{path}");
    }
}

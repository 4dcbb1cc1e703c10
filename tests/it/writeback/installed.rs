//! Destinations of every kind in a configuration, and what the command line says of them.

use std::path::Path;
use std::process::Command;

use formgate::app::App;
use formgate::config::Config;
use formgate::crypto::PrivateKey;
use secrecy::ExposeSecret as _;

use super::EVERY_KIND;

const HEAD: &str = r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
data_dir = "data"
master_key = "file:master.key"
[[number]]
id = "shop"
app_secret = "app-secret"
private_keys = ["file:shop.pem"]
"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    write("shop.pem", PrivateKey::generate().private_pem().expose_secret());
    write("google.json", EVERY_KIND);
    write("survey.json", include_str!("../../fixtures/surveymonkey/workshop.json"));
    write("typeform.json", include_str!("../../fixtures/typeform/garden-visit.json"));
    write("wine.json", include_str!("../../fixtures/hubspot/wine-tasting.json"));
    folder
}

fn flow(id: &str, tool: &str, definition: &str, deliver_to: &str) -> String {
    format!(
        "[[flow]]\nid = \"{id}\"\ntool = \"{tool}\"\ndefinition = \"{definition}\"\nnumber = \"shop\"\ndeliver_to = [{deliver_to}]\n"
    )
}

fn destination(id: &str, kind: &str, keys: &str) -> String {
    format!("[[destination]]\nid = \"{id}\"\nkind = \"{kind}\"\n{keys}\n")
}

fn load(folder: &Path, text: &str) -> Config {
    std::fs::write(folder.join("formgate.toml"), format!("{HEAD}{text}")).expect("a file");
    Config::load(Some(&folder.join("formgate.toml")), std::iter::empty())
        .unwrap_or_else(|faults| panic!("{faults}"))
}

/// One of each kind, with the flows that deliver to them.
fn each_kind() -> String {
    let token = "token = \"t\"";
    [
        destination("script", "google-apps-script", "url = \"https://script.google.com/macros/s/x/exec\"\nsecret = \"0123456789abcdef01234567\""),
        destination("page", "google-forms", "unofficial = true"),
        destination("sheet", "google-sheets", &format!("{token}\nspreadsheet = \"1sheet\"")),
        destination("survey", "surveymonkey", token),
        destination("hooks", "typeform", &format!("{token}\nconsent = true")),
        destination("contacts", "hubspot-crm", &format!("{token}\nmapping = {{ \"0-2/name\" = {{ drop = true }}, \"consent/process\" = {{ drop = true }}, \"consent/communication/11\" = {{ drop = true }}, \"consent/communication/12\" = {{ drop = true }} }}")),
        flow("every", "google-forms", "google.json", "\"script\", \"page\", \"sheet\""),
        flow("workshop", "surveymonkey", "survey.json", "\"survey\""),
        flow("garden", "typeform", "typeform.json", "\"hooks\""),
        flow("wine", "hubspot", "wine.json", "\"contacts\""),
    ]
    .concat()
}

#[tokio::test]
async fn every_kind_is_built_from_a_configuration() {
    let folder = folder();
    let started = App::start(&load(folder.path(), &each_kind())).await;
    assert!(started.is_ok(), "{:?}", started.err().map(|error| error.to_string()));
}

#[tokio::test]
async fn what_can_never_be_delivered_stops_the_start_with_the_reason() {
    let script = |more: &str| {
        destination(
            "d",
            "google-apps-script",
            &format!(
                "url = \"https://script.google.com/macros/s/x/exec\"\nsecret = \"0123456789abcdef01234567\"\n{more}"
            ),
        )
    };
    let token = "token = \"t\"";
    let every = flow("every", "google-forms", "google.json", "\"d\"");
    let wine = flow("wine", "hubspot", "wine.json", "\"d\"");
    for (text, words) in [
        (format!("{}{wine}", script("")), "flow wine was not made from a form of google-forms"),
        (
            format!("{}{every}{}", script(""), every.replace("\"every\"", "\"two\"")),
            "a script knows one form",
        ),
        (
            format!("{}{every}", destination("d", "surveymonkey", token)),
            "not made from a form of surveymonkey",
        ),
        (
            format!("{}{every}", destination("d", "typeform", &format!("{token}\nconsent = true"))),
            "not made from a form of typeform",
        ),
        (format!("{}{every}", destination("d", "hubspot-crm", token)), "“Name” has no property"),
        (format!("{}{wine}", destination("d", "hubspot-crm", token)), "has no property"),
        (
            format!(
                "{}{every}",
                destination(
                    "d",
                    "google-sheets",
                    &format!(
                        "{token}\nspreadsheet = \"1\"\nwhen = {{ if = {{ answer = \"nmae\" }}, op = \"answered\" }}"
                    )
                )
            ),
            "its “when” names a question “nmae”",
        ),
        (
            format!("{}{every}", script("mapping = { nmae = { drop = true } }")),
            "its “mapping” names a question “nmae”",
        ),
    ] {
        let folder = folder();
        let refused = App::start(&load(folder.path(), &text)).await.err().map(|error| error.to_string());
        assert!(refused.as_ref().is_some_and(|reason| reason.contains(words)), "{words}: {refused:?}");
    }
}

#[test]
fn the_command_line_prints_the_script_and_says_how_good_each_destination_is() {
    let folder = folder();
    drop(load(folder.path(), &each_kind()));
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_formgate"))
            .args(arguments)
            .args(["--config", "formgate.toml"])
            .current_dir(folder.path())
            .output()
            .expect("formgate runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, script, _) = run(&["apps-script", "every"]);
    assert_eq!(code, Some(0));
    assert!(script.contains("function doPost") && script.contains("\"1everyKindExampleFormId\""), "{script}");
    assert!(!script.contains("0123456789abcdef01234567"), "it holds a hash of the secret only");
    assert!(script.contains("Every kind * / of question") && !script.contains("{{"), "{script}");
    for flow in ["wine", "workshop", "none"] {
        assert_eq!(run(&["apps-script", flow]).0, Some(2), "{flow}");
    }
    let (code, listed, _) = run(&["destinations", "list"]);
    assert_eq!(code, Some(0));
    for line in [
        "script  active  nothing was sent yet  (google-apps-script, grade A)",
        "page  active  nothing was sent yet  (google-forms, grade B)",
        "sheet  active  nothing was sent yet  (google-sheets, grade C)",
        "survey  active  nothing was sent yet  (surveymonkey, grade A)",
        "hooks  active  nothing was sent yet  (typeform, grade C)",
        "contacts  active  nothing was sent yet  (hubspot-crm, grade C)",
    ] {
        assert!(listed.lines().any(|known| known == line), "{line}: {listed}");
    }
}

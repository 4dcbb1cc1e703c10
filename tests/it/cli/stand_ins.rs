//! `formgate sandbox` as a person uses it: its configuration, its links in a browser, and what is stored in the end.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::installation::{Installation, formgate};
use crate::connect::fixture::{Browser, free_port};

/// The sandbox's process, and all that it printed.
async fn sandbox(public_url: &str) -> (Child, String) {
    let mut command = Command::from(formgate());
    command.args(["sandbox", "--listen", "127.0.0.1:0", "--public-url", public_url]);
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped above")).lines();
    let mut printed = String::new();
    while let Some(line) = lines.next_line().await.expect("text") {
        printed.push_str(&line);
        printed.push('\n');
        if line.contains("/_dial") {
            return (child, printed);
        }
    }
    panic!("it ended: {printed}");
}

#[tokio::test]
async fn what_the_sandbox_prints_connects_serves_and_writes_back_to_all_four_tools() {
    let port = free_port();
    let public_url = format!("http://127.0.0.1:{port}");
    let (_sandbox, printed) = sandbox(&public_url).await;
    let installation = Installation::new("any", false);
    let ours = format!("[server]\nadmin_listen = \"127.0.0.1:{}\"", free_port());
    let config = printed.replacen("[server]", &ours, 1) + "\n[log]\nformat = \"json\"\n";
    std::fs::write(installation.folder.path().join("formgate.toml"), config).expect("a file");

    let mut server = installation.serve().await;
    let tools = ["hubspot", "google-forms", "typeform", "surveymonkey"];
    for tool in tools {
        let link = installation.command(&["connect", tool]);
        assert_eq!(link.code, 0, "{link:?}");
        let mut browser = Browser::default();
        let page = browser.walk(&link.out.trim().parse().expect("a URL"), &[("answer", "allow")], &[]).await;
        assert!(page.contains("is connected"), "{page}");
        let forms = installation.command(&["forms", tool]);
        assert_eq!(forms.out.lines().count(), 2, "{tool}: {forms:?}");
        let flow =
            installation.until(&["flow", "list"], |ran| ran.out.contains(&format!("{tool}  v1"))).await;
        assert_eq!(flow.code, 0, "{flow:?}");
        let played = installation.until(&["play", tool], |ran| ran.code == 0).await;
        assert!(played.out.contains("completed"), "{tool}: {played:?}");
    }
    let records = printed.split_whitespace().find(|word| word.ends_with("/_records")).expect("an address");
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    let kinds = loop {
        let answer = Browser::default().get(&records.parse().expect("a URL")).await;
        let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let kinds: Vec<Value> = told["records"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|record| json!([record["tool"], record["kind"]]))
            .collect();
        if kinds.len() >= 6 {
            break json!(kinds);
        }
        let waits = installation.command(&["destinations", "list"]);
        assert!(tokio::time::Instant::now() < until, "{kinds:?}\n{waits:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let expected = json!([
        ["hubspot", "submission"],
        ["hubspot", "contact"],
        ["google-forms", "response"],
        ["google-forms", "row"],
        ["typeform", "webhook"],
        ["surveymonkey", "response"],
    ]);
    assert_eq!(kinds, expected);
    assert_eq!(server.terminate().await.code, 0);
}

//! Flows that are made from forms in their tools: imported, watched, taken over or held back, while people fill them in.

mod delivered;

use std::time::Duration;

use formgate::app::control::{Command, FlowCommand, Told, run};
use formgate::config::Config;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use crate::connect::fixture::{Site, start_with};
use crate::source::definition;

const FORM: &str = "GrdnVst1";

/// A flow that is made from a form of the connection.
async fn site() -> Site {
    let more = format!(
        "[[number]]\nid = \"shop\"\napp_secret = \"app-secret\"\n[drift]\nevery_minutes = 0\n[[flow]]\nid = \"garden\"\n\
         tool = \"typeform\"\nconnection = \"typeform\"\nform = \"{FORM}\"\nnumber = \"shop\"\n"
    );
    let site = start_with(&more).await;
    site.tools.library.put("typeform", definition("typeform"));
    site
}

/// What a command of an operator says, remarks included.
async fn ask(site: &Site, command: FlowCommand) -> Result<Vec<String>, String> {
    let file = site.folder.path().join("formgate.toml");
    let config = Config::load(Some(&file), std::iter::empty()).unwrap_or_else(|faults| panic!("{faults}"));
    let mut said = Vec::new();
    let told = run(&config, Command::Flow(command), |told| match told {
        Told::Line(line) | Told::Remark(line) => said.push(line),
        _ => {}
    });
    told.await.map(|()| said).map_err(|error| error.to_string())
}

async fn check(site: &Site) -> String {
    check_of(site, "garden").await
}

async fn check_of(site: &Site, flow: &str) -> String {
    ask(site, FlowCommand::Check { flow: flow.into() }).await.expect("a look").join("\n")
}

/// Until this version is the newest that is served; how many are.
async fn until_served(site: &Site, flow: &str, version: u32) -> usize {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let versions: Vec<u32> = site
            .flows
            .get(flow)
            .map(|flow| flow.versions.iter().map(|handler| handler.plan().version).collect())
            .unwrap_or_default();
        if versions.first() == Some(&version) {
            return versions.len();
        }
        assert!(Instant::now() < end, "version {version} is not served: {versions:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn without_a_field() -> Json {
    let mut json = definition("typeform");
    json["title"] = json!("Another title");
    let fields = json["fields"].as_array_mut().expect("fields");
    let at = fields.iter().position(|field| field["type"] == "short_text" || field["type"] == "email");
    fields.remove(at.expect("a field"));
    json
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_becomes_a_flow_when_it_is_read_and_what_changes_in_its_tool_is_taken_over_or_waits() {
    let site = site().await;
    assert!(site.flows.get("garden").is_none());
    let refused =
        ask(&site, FlowCommand::Check { flow: "garden".into() }).await.expect_err("no connection yet");
    assert!(refused.contains("typeform"), "{refused}");
    site.connect("typeform").await;

    let forms =
        FlowCommand::Forms { connection: "typeform".into(), search: Some("garden".into()), limit: None };
    let listed = ask(&site, forms).await.expect("a list");
    assert!(listed.len() == 1 && listed[0].starts_with(FORM), "{listed:?}");
    let import = FlowCommand::Import { connection: "typeform".into(), form: FORM.into() };
    let imported = ask(&site, import).await.expect("a form");
    assert!(imported.iter().any(|line| line.contains("Worst grade")), "{imported:?}");
    let read: Json = serde_json::from_str(imported.last().expect("the definition")).expect("JSON");
    assert_eq!(read["id"], FORM);

    assert_eq!(until_served(&site, "garden", 1).await, 1, "connecting is enough");
    assert_eq!(check(&site).await, "it is as it was");

    let mut renamed = definition("typeform");
    renamed["title"] = json!("Another title");
    site.tools.library.put("typeform", renamed);
    assert_eq!(check(&site).await, "it was changed, and is taken over: 1 cosmetic");
    assert_eq!(until_served(&site, "garden", 2).await, 2, "people in mid-form finish on what they opened");

    site.tools.library.put("typeform", without_a_field());
    let said = check(&site).await;
    assert!(said.starts_with("it was changed, and waits: 1 breaking"), "{said}");
    let diff = ask(&site, FlowCommand::Diff { flow: "garden".into() }).await.expect("a diff");
    assert!(diff[0].starts_with("breaking") && diff[0].contains("the question is gone"), "{diff:?}");
    let flows = ask(&site, FlowCommand::List).await.expect("a list");
    assert!(flows[0].starts_with("garden  v2") && flows[0].contains("waits: 1 breaking"), "{flows:?}");
    let shown = ask(&site, FlowCommand::Show { flow: "garden".into() }).await.expect("the flow");
    assert!(shown.iter().any(|line| line.contains("a change waits")), "{shown:?}");

    let approved = ask(&site, FlowCommand::Approve { flow: "garden".into() }).await.expect("it is taken");
    assert!(approved[0].starts_with("taken over: 1 breaking"), "{approved:?}");
    assert_eq!(until_served(&site, "garden", 3).await, 3);
    let versions = ask(&site, FlowCommand::Versions { flow: "garden".into() }).await.expect("versions");
    assert!(
        versions.len() == 3 && versions[0].starts_with("v3") && versions[0].ends_with("newest"),
        "{versions:?}"
    );
    let unknown = ask(&site, FlowCommand::Diff { flow: "gardne".into() }).await.expect_err("no such flow");
    assert!(unknown.contains("there is no flow “gardne”"), "{unknown}");
    site.end().await;
}

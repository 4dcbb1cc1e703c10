//! The form tools of the demo: a sandbox on this machine, connected in a browser as its owner would, and a walk through a
//! form of each.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::browser::Browser;
use crate::app::control::{self, Command, Connect, Told};
use crate::cli::play::{self, Phone};
use crate::cli::{Error, waiting};
use crate::config::Config;
use crate::connector::connection::{ConnectionId, Connections};
use crate::connector::oauth::Tool;
use crate::player::strategy::Truthful;
use crate::sandbox::{EXAMPLES, Record, Tools};

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_millis(20);
/// Of a record, on one line.
const SHOWN_CHARS: usize = 300;

/// What arrives in each tool, as the configuration of the demo delivers it.
const ARRIVES: [(&str, &[&str]); 4] = [
    ("hubspot", &["submission", "contact"]),
    ("google-forms", &["response", "row"]),
    ("typeform", &["webhook"]),
    ("surveymonkey", &["response"]),
];

/// What somebody answers, whichever form it is.
fn answers() -> Value {
    json!({
        "First name": "Ada", "E-mail": "ada@example.org", "What is it about?": "A new kitchen",
        "Which rooms?": ["Ground floor"], "I agree that it is stored.": true,
        "Your name": "Ada Lovelace", "Have you worked with clay before?": "A little",
        "Which evenings suit you?": ["Monday", "Friday"], "From when?": "2027-01-11", "How easy was this form?": "5",
        "What is your name?": "Ada Lovelace", "Your e-mail": "ada@example.org", "Which day?": "2027-02-01",
        "How many people?": "3", "What would you like to see?": ["The kiln"], "Shall we make lunch?": "Yes",
        "Which course did you take?": "Glazing", "What did you like?": ["The room"],
    })
}

/// Connects each tool: the link of `formgate connect`, and a browser that agrees.
pub(super) async fn connect(config: &Config, connections: &Connections) -> Result<(), Error> {
    for tool in Tool::ALL {
        let name: ConnectionId =
            tool.as_str().parse().map_err(|_| Error::Input(format!("{tool} is no name")))?;
        let mut link = String::new();
        let begin = Connect::Begin { tool, region: None, name: Some(name.clone()), workspace: None };
        control::run(config, Command::Connect(begin), |told| {
            if let Told::Line(line) = told {
                link = line;
            }
        })
        .await?;
        let link = Url::parse(&link).map_err(|error| Error::Input(format!("the link of {tool}: {error}")))?;
        let mut browser = Browser::default();
        let ours = browser.open(link).await?;
        let theirs = browser.press(&ours, None).await?;
        let back = browser.press(&theirs, Some(("answer", "allow"))).await?;
        let connection = connections.get(&name).await.map_err(|_| {
            Error::Input(format!("{tool} was not connected; the last page says: {}", back.heading()))
        })?;
        say!("  {}: {}", back.heading(), connection.account.name);
    }
    Ok(())
}

/// Walks through the form of each tool that is served, and waits until its submission is where it belongs. Tells whether
/// all of it went well.
pub(super) async fn walk(
    phone: &Phone,
    tools: &Tools,
    (public, admin): (SocketAddr, SocketAddr),
) -> Result<bool, Error> {
    let mut went_well = true;
    for (tool, kinds) in ARRIVES {
        let bar = waiting(
            "{spinner} {msg} ({elapsed})",
            "waiting for the form to be read and the submission to arrive",
        );
        let document = served(admin, tool).await;
        let Ok(document) = document else {
            bar.finish_and_clear();
            say!("  {tool}: its form was not served within {} s.", PATIENCE.as_secs());
            went_well = false;
            continue;
        };
        let before = tools.records().len();
        let mut person = Truthful::new(answers().as_object().cloned().unwrap_or_default());
        let walked = phone.walk(&document, &format!("http://{public}/flows/{tool}"), &mut person).await?;
        let arrived = arrived(tools, tool, kinds, before, Instant::now() + PATIENCE).await;
        bar.finish_and_clear();
        let example = EXAMPLES.iter().find(|(of, _)| *of == tool).map_or("", |(_, form)| *form);
        let titles = tools.library.titles(tool);
        let title = titles.iter().find(|(id, _)| id == example).map_or("", |(_, title)| title);
        say!("  {tool}, “{title}”{}", if walked { "" } else { ": the walk was not completed" });
        for Record { kind, content, .. } in &arrived {
            say!("    {kind}: {}", line(content));
        }
        if arrived.len() < kinds.len() {
            say!("    not all of {} arrived within {} s", kinds.join(", "), PATIENCE.as_secs());
        }
        went_well &= walked && arrived.len() == kinds.len();
    }
    Ok(went_well)
}

/// The document of a flow, as soon as its form was read.
async fn served(admin: SocketAddr, flow: &str) -> Result<Value, Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        match play::served(admin, flow).await {
            Err(_) if Instant::now() < until => tokio::time::sleep(EVERY).await,
            answer => return answer,
        }
    }
}

/// What a tool has stored besides `before` records of all, once each of these kinds is there.
async fn arrived(tools: &Tools, tool: &str, kinds: &[&str], before: usize, until: Instant) -> Vec<Record> {
    loop {
        let all = tools.records();
        let is_new = all.len() > before;
        let of =
            |kind: &&str| all.iter().rfind(|record| record.tool == tool && record.kind == *kind).cloned();
        let found: Vec<Record> = kinds.iter().filter_map(of).collect();
        if (is_new && found.len() == kinds.len()) || Instant::now() >= until {
            return found;
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What is of interest in a record, on one line.
fn line(content: &Value) -> String {
    let inner = ["fields", "answers", "pages"].iter().find_map(|name| content.get(name)).unwrap_or(content);
    let whole = inner.to_string();
    match whole.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}…", &whole[..at]),
        None => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_did_not_arrive_is_not_there_when_patience_ends() {
        let tools = Tools::new("http://127.0.0.1:1/connect/*/callback");
        for (tool, kinds) in ARRIVES {
            assert_eq!(arrived(&tools, tool, kinds, 0, Instant::now()).await, []);
        }
    }

    #[test]
    fn a_long_record_is_cut_between_characters() {
        let cut = line(&json!(["é".repeat(400)]));
        assert_eq!(cut.chars().count(), SHOWN_CHARS + 1);
        assert_eq!(line(&json!({"fields": ["a"], "pageUri": "x"})), r#"["a"]"#);
    }
}

//! Commands on connected accounts.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::mpsc;

use super::{Control, Told, gone, say};
use crate::connector::connection::{Connection, ConnectionId, LINK_LIFE, Means, State};
use crate::connector::oauth::Tool;

const ACTOR: &str = "cli";

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "connect", rename_all = "snake_case")]
pub enum Command {
    /// Makes a one-time link for a browser.
    Begin {
        /// Whose account.
        tool: Tool,
        /// In which of the tool's regions.
        region: Option<String>,
        /// The connection's name.
        name: Option<ConnectionId>,
    },
    /// Connects by a token.
    AddToken {
        /// Whose account.
        tool: Tool,
        /// In which of the tool's regions.
        region: Option<String>,
        /// The connection's name.
        name: Option<ConnectionId>,
        /// The token.
        token: Passed,
    },
    /// Connects by a key file of a service account.
    AddServiceAccount {
        /// The connection's name.
        name: Option<ConnectionId>,
        /// The file's text.
        file: Passed,
    },
    /// Every connection.
    List,
    /// One connection.
    Show {
        /// Which one.
        id: ConnectionId,
    },
    /// Asks the tool.
    Check {
        /// Which one.
        id: ConnectionId,
    },
    /// Gives it back and forgets it.
    Remove {
        /// Which one.
        id: ConnectionId,
    },
}

/// A secret on its way through the control socket, which only this user can open.
#[derive(Clone)]
pub struct Passed(pub SecretString);

impl fmt::Debug for Passed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passed")
    }
}

impl Serialize for Passed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Passed(SecretString::from(text)))
    }
}

impl Control {
    pub(super) async fn connect(&self, command: Command, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        match command {
            Command::Begin { tool, region, name } => self.begin(tool, region, name, tell).await,
            Command::AddToken { tool, region, name, token } => {
                let (provider, region) = server(tool, region.as_deref());
                let name = name.as_ref();
                let added = self.connections.add_token(provider, region, name, &token.0, ACTOR).await;
                added_line(&added.map_err(text)?, tell).await
            }
            Command::AddServiceAccount { name, file } => {
                let added = self.connections.add_service_account(name.as_ref(), &file.0, ACTOR).await;
                added_line(&added.map_err(text)?, tell).await
            }
            Command::List => {
                for connection in self.connections.list().await.map_err(text)? {
                    say(tell, line(&connection)).await?;
                }
                Ok(())
            }
            Command::Show { id } => {
                let connection = self.connections.get(&id).await.map_err(text)?;
                let json = serde_json::to_string_pretty(&connection).map_err(text)?;
                say(tell, json).await
            }
            Command::Check { id } => {
                let account = self.connections.check(&id).await.map_err(text)?;
                say(tell, format!("ok  {id}  {}", account.name)).await
            }
            Command::Remove { id } => {
                let connection = self.connections.get(&id).await.map_err(text)?;
                let told = self.connections.remove(&id, ACTOR).await.map_err(text)?;
                say(tell, format!("{id} is removed")).await?;
                let remark = match (connection.means, told) {
                    (Means::Oauth, true) => return Ok(()),
                    (Means::Oauth, false) => {
                        "has not been told: remove the app in the account's settings, too"
                    }
                    (Means::Token | Means::ServiceAccount, _) => {
                        "still knows the token or key: delete it there, too"
                    }
                };
                let remark = format!("{} {remark}.", connection.tool.title());
                tell.send(Told::Remark(remark)).await.map_err(|_| gone())
            }
        }
    }

    async fn begin(
        &self,
        tool: Tool,
        region: Option<String>,
        name: Option<ConnectionId>,
        tell: &mpsc::Sender<Told>,
    ) -> Result<(), String> {
        let public = self.public_url.as_ref().ok_or(
            "nobody could come back from the tool: set server.public_url in the configuration to the address of this server",
        )?;
        let (provider, region) = server(tool, region.as_deref());
        let token = self.connections.begin(provider, region, name.as_ref(), ACTOR).await.map_err(text)?;
        let mut url = public.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["connect", provider]);
        }
        url.query_pairs_mut().append_pair("start", token.expose_secret());
        say(tell, url.to_string()).await?;
        let minutes = LINK_LIFE.as_secs() / 60;
        let serve = if self.running.is_some() { "" } else { " Start Formgate first." };
        let remark = format!("Open it in a browser within {minutes} minutes; it works once.{serve}");
        tell.send(Told::Remark(remark)).await.map_err(|_| gone())
    }
}

/// Typeform's European accounts have a server of their own.
fn server(tool: Tool, region: Option<&str>) -> (&'static str, Option<&str>) {
    match (tool, region) {
        (Tool::Typeform, Some("eu")) => ("typeform-eu", region),
        _ => (tool.as_str(), region),
    }
}

async fn added_line(connection: &Connection, tell: &mpsc::Sender<Told>) -> Result<(), String> {
    say(tell, line(connection)).await
}

fn line(connection: &Connection) -> String {
    let state = match &connection.state {
        State::Active => "active".to_owned(),
        State::NeedsReconnect { since_ms, reason } => {
            let at = jiff::Timestamp::from_millisecond(*since_ms).unwrap_or_default();
            format!("to be connected again since {at:.0} ({reason})")
        }
    };
    let Connection { id, tool, account, means, .. } = connection;
    format!("{id}  {}  {}  {}  {state}", tool.title(), account.name, means.as_str())
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

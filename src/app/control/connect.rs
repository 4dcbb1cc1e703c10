//! Commands on connected accounts.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::mpsc;

use super::{Control, Told, gone, say};
use crate::connector::connection::{By, Connection, ConnectionId, LINK_LIFE, State};
use crate::connector::oauth::Tool;
use crate::console::start_link;

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
        /// Whose it is to be here.
        #[serde(default)]
        workspace: Option<String>,
    },
    /// Connects by a token.
    AddToken {
        /// Whose account.
        tool: Tool,
        /// In which of the tool's regions.
        region: Option<String>,
        /// The connection's name.
        name: Option<ConnectionId>,
        /// Whose it is to be here.
        #[serde(default)]
        workspace: Option<String>,
        /// The token.
        token: Passed,
    },
    /// Connects by a key file of a service account.
    AddServiceAccount {
        /// The connection's name.
        name: Option<ConnectionId>,
        /// Whose it is to be here.
        #[serde(default)]
        workspace: Option<String>,
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
            Command::Begin { tool, region, name, workspace } => {
                self.begin(tool, region, name, self.by(workspace.as_deref())?, tell).await
            }
            Command::AddToken { tool, region, name, workspace, token } => {
                let (provider, name) = (tool.server(region.as_deref()), name.as_ref());
                let by = self.by(workspace.as_deref())?;
                let added = self.connections.add_token(provider, region.as_deref(), name, &token.0, by).await;
                added_line(&added.map_err(text)?, tell).await
            }
            Command::AddServiceAccount { name, workspace, file } => {
                let by = self.by(workspace.as_deref())?;
                let added = self.connections.add_service_account(name.as_ref(), &file.0, by).await;
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
                let Some(remark) = connection.left_to_do(told) else { return Ok(()) };
                tell.send(Told::Remark(remark)).await.map_err(|_| gone())
            }
        }
    }

    /// The operator, who connects for this workspace.
    fn by<'w>(&self, workspace: Option<&'w str>) -> Result<By<'w>, String> {
        if let Some(workspace) = workspace {
            self.know_workspace(workspace)?;
        }
        Ok(By { actor: ACTOR, workspace })
    }

    async fn begin(
        &self,
        tool: Tool,
        region: Option<String>,
        name: Option<ConnectionId>,
        by: By<'_>,
        tell: &mpsc::Sender<Told>,
    ) -> Result<(), String> {
        let public = self.public_url.as_ref().ok_or(
            "nobody could come back from the tool: set server.public_url in the configuration to the address of this server",
        )?;
        let provider = tool.server(region.as_deref());
        let token = self.connections.begin(provider, region.as_deref(), name.as_ref(), by).await;
        let url = start_link(public, provider, &token.map_err(text)?);
        say(tell, url.to_string()).await?;
        let minutes = LINK_LIFE.as_secs() / 60;
        let serve = if self.running.is_some() { "" } else { " Start Formgate first." };
        let remark = format!("Open it in a browser within {minutes} minutes; it works once.{serve}");
        tell.send(Told::Remark(remark)).await.map_err(|_| gone())
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
    let Connection { id, tool, account, means, workspace, .. } = connection;
    format!("{id}  {}  {}  {}  of {workspace}  {state}", tool.title(), account.name, means.as_str())
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

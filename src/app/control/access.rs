//! Tokens of the management API: making, listing, taking back.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Control, Told, gone, say};
use crate::console::access::NewToken;
use crate::outbox::{Clock as _, SystemClock};

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "access", rename_all = "snake_case")]
pub enum Command {
    /// Makes a token and shows it, this once.
    Make {
        /// What it is to be.
        token: NewToken,
    },
    /// All tokens, without what they are.
    List,
    /// Takes a token back.
    Revoke {
        /// Which one.
        id: String,
    },
}

impl Control {
    /// A misspelt workspace must not become one in which there is nothing.
    pub(super) fn know_workspace(&self, workspace: &str) -> Result<(), String> {
        let mut named = self.workspaces.flows.values().chain(self.workspaces.destinations.values());
        if named.any(|known| known == workspace) {
            return Ok(());
        }
        Err(format!("no flow and no destination of the configuration is in workspace “{workspace}”"))
    }

    pub(super) async fn access(&self, command: Command, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        let now_ms = SystemClock::new().now_ms();
        let at = |at_ms: i64| jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
        match command {
            Command::Make { token } => {
                self.know_workspace(&token.workspace)?;
                let made = self.tokens.make(token, "cli", now_ms).await.map_err(|error| error.to_string())?;
                say(tell, made.secret).await?;
                let remark = "Keep it: it is not shown again. Programs send it as Authorization: Bearer …";
                tell.send(Told::Remark(remark.to_owned())).await.map_err(|_| gone())
            }
            Command::List => {
                for token in self.tokens.list(None).await.map_err(|error| error.to_string())? {
                    let made = &token.made;
                    let role = format!("{:?}", made.role).to_lowercase();
                    let until = made
                        .expires_at_ms
                        .map_or("no end".to_owned(), |at_ms| format!("until {:.0}", at(at_ms)));
                    let line = format!(
                        "{}  {}  {role} of {}  made {:.0} by {}  {until}",
                        token.id,
                        made.name,
                        made.workspace,
                        at(token.made_at_ms),
                        token.made_by
                    );
                    say(tell, line).await?;
                }
                Ok(())
            }
            Command::Revoke { id } => {
                let revoked = self.tokens.revoke(&id, None, "cli", now_ms).await;
                if revoked.map_err(|error| error.to_string())? {
                    say(tell, format!("{id} opens nothing any more")).await
                } else {
                    Err(format!("there is no token {id}; formgate api-token list names those there are"))
                }
            }
        }
    }
}

//! What an operator asks about flows and the forms they are made from: lists, versions, what waits, imports.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::super::watching::Watching;
use super::{Control, Told, gone, say};
use crate::catalog::import::{self, Imported, Taken};
use crate::catalog::overlay::Overlay;
use crate::catalog::{self, Catalog};
use crate::config;
use crate::connector::connection::InvalidId;
use crate::connector::oauth::Tool;
use crate::connector::source::{Fetched, Listing, Source};
use crate::flow::compile::Settings;
use crate::outbox::{Clock as _, SystemClock};

/// Forms listed without being asked for more.
const LISTED: u32 = 100;

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum Command {
    /// Every flow and where its form is.
    List,
    /// The stored versions of a flow.
    Versions {
        /// Which one.
        flow: String,
    },
    /// Where a flow's form is, and what waits.
    Show {
        /// Which one.
        flow: String,
    },
    /// What is different in the change that waits.
    Diff {
        /// Of which flow.
        flow: String,
    },
    /// Makes the change that waits the flow's definition.
    Approve {
        /// Of which flow.
        flow: String,
    },
    /// Looks at the form in its tool now.
    Check {
        /// Of which flow.
        flow: String,
    },
    /// The forms of a connection.
    Forms {
        /// Which one.
        connection: String,
        /// Only those whose title holds it.
        search: Option<String>,
        /// At most so many.
        limit: Option<u32>,
    },
    /// Reads a form and says what becomes of it; the definition is the last line.
    Import {
        /// Through which connection.
        connection: String,
        /// Which form.
        form: String,
    },
}

impl Control {
    /// Carries out a command about flows.
    pub(super) async fn flow(&self, command: Command, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        match command {
            Command::List => self.list_flows(tell).await,
            Command::Versions { flow } => self.versions(&flow, tell).await,
            Command::Show { flow } => self.show_flow(&flow, tell).await,
            Command::Diff { flow } => self.diff(&flow, tell).await,
            Command::Approve { flow } => self.approve(&flow, tell).await,
            Command::Check { flow } => self.check_form(&flow, tell).await,
            Command::Forms { connection, search, limit } => {
                self.forms(&connection, search.as_deref(), limit.unwrap_or(LISTED), tell).await
            }
            Command::Import { connection, form } => self.import(&connection, &form, tell).await,
        }
    }

    fn catalog(&self) -> Catalog {
        let running = self.watching.as_ref().map(Watching::catalog);
        running.unwrap_or_else(|| Catalog::new(self.store.clone()))
    }

    async fn list_flows(&self, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        for flow in &self.flows {
            let versions = self.catalog().versions(&flow.id).await.map_err(|error| error.to_string())?;
            let version = versions.first().map_or("not served yet".to_owned(), |newest| {
                let form = &newest.plan.form;
                format!("v{}  {} ({})", newest.plan.version, form.title, flow.tool)
            });
            let waits = self.imported(&flow.id).await?.and_then(|imported| imported.waiting);
            let waits = waits.map(|waiting| format!("  waits: {}", waiting.drift.summary()));
            say(tell, format!("{}  {version}{}", flow.id, waits.unwrap_or_default())).await?;
        }
        Ok(())
    }

    async fn versions(&self, flow: &str, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        self.know_flow(flow)?;
        let versions = self.catalog().versions(flow).await.map_err(|error| error.to_string())?;
        for (age, version) in versions.iter().enumerate() {
            let plan = &version.plan;
            let (number, title) = (plan.version, &plan.form.title);
            let questions = plan.form.questions().count();
            let source = version.source.get(..12).unwrap_or_default();
            let newest = if age == 0 { "  newest" } else { "" };
            say(tell, format!("v{number}  {title}  {questions} questions  {source}{newest}")).await?;
        }
        Ok(())
    }

    async fn show_flow(&self, flow: &str, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        let known = self.know_flow(flow)?;
        say(tell, format!("flow {flow}, made from a form of {}", known.tool)).await?;
        match self.imported(flow).await? {
            None if known.is_connected => {
                say(tell, "its form was not read from the tool yet".to_owned()).await?;
            }
            None => say(tell, "its definition is a file".to_owned()).await?,
            Some(imported) => {
                let at = |at_ms| jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
                let Imported { origin, current, waiting, checked_at_ms } = imported;
                say(tell, format!("form {} of connection {}", origin.form, origin.connection)).await?;
                let line = format!(
                    "read {:.0} ({}), looked at {:.0}",
                    at(current.at_ms),
                    current.revision,
                    at(checked_at_ms)
                );
                say(tell, line).await?;
                if let Some(waiting) = waiting {
                    let summary = waiting.drift.summary();
                    say(tell, format!("a change waits: {summary}; see formgate flow diff {flow}")).await?;
                }
            }
        }
        self.versions(flow, tell).await
    }

    async fn diff(&self, flow: &str, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        self.know_flow(flow)?;
        let Some(waiting) = self.imported(flow).await?.and_then(|imported| imported.waiting) else {
            return say(tell, "nothing waits".to_owned()).await;
        };
        for change in &waiting.drift.changes {
            say(tell, change.to_string()).await?;
        }
        let remark = format!(
            "Take it over with formgate flow approve {flow}; until then people go on with what they have."
        );
        tell.send(Told::Remark(remark)).await.map_err(|_| gone())
    }

    async fn approve(&self, flow: &str, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        self.know_flow(flow)?;
        let now_ms = SystemClock::new().now_ms();
        let approved =
            self.catalog().approve(flow, "cli", now_ms).await.map_err(|error| error.to_string())?;
        let Some(drift) = approved else { return say(tell, "nothing waits".to_owned()).await };
        if let Some(watching) = &self.watching {
            watching.look();
        }
        say(tell, format!("taken over: {}", drift.summary())).await
    }

    async fn check_form(&self, flow: &str, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        self.know_flow(flow)?;
        let watching = self.watching.as_ref().ok_or_else(not_running)?;
        let line = match watching.ask(flow).await? {
            Taken::Unchanged => "it is as it was".to_owned(),
            Taken::Taken(None) => "it was read for the first time".to_owned(),
            Taken::Taken(Some(drift)) => format!("it was changed, and is taken over: {}", drift.summary()),
            Taken::Waits { drift, refused: None, .. } => {
                format!("it was changed, and waits: {}; see formgate flow diff {flow}", drift.summary())
            }
            Taken::Waits { drift, refused: Some(reason), .. } => {
                format!("it was changed, and cannot be served: {}; {reason}", drift.summary())
            }
            Taken::Raced => "somebody else looks at it at this moment".to_owned(),
        };
        say(tell, line).await
    }

    async fn forms(
        &self,
        connection: &str,
        search: Option<&str>,
        limit: u32,
        tell: &mpsc::Sender<Told>,
    ) -> Result<(), String> {
        let (_tool, source) = self.source(connection).await?;
        let (mut page, mut left) = (None::<String>, limit as usize);
        loop {
            let listing = source.list(search, page.as_deref()).await.map_err(|error| error.to_string())?;
            let Listing { forms, next } = listing;
            for form in forms.iter().take(left) {
                let changed = form.changed.as_deref().unwrap_or("-");
                say(tell, format!("{}  {changed}  {}", form.id, form.title)).await?;
            }
            left = left.saturating_sub(forms.len());
            page = next;
            match &page {
                None => return Ok(()),
                Some(_) if left == 0 => {
                    let remark = "There are more; narrow them down with --search, or raise --limit.";
                    return tell.send(Told::Remark(remark.to_owned())).await.map_err(|_| gone());
                }
                Some(_) => {}
            }
        }
    }

    async fn import(&self, connection: &str, form: &str, tell: &mpsc::Sender<Told>) -> Result<(), String> {
        let (tool, source) = self.source(connection).await?;
        let Fetched { definition, .. } = source.fetch(form).await.map_err(|error| error.to_string())?;
        let import =
            import::read(&definition, tool.as_str(), None::<&Overlay>).map_err(|error| error.to_string())?;
        let compiled = catalog::compile(&import, &Settings::default()).map_err(|error| error.to_string())?;
        for line in compiled.report.to_text().lines() {
            tell.send(Told::Remark(line.to_owned())).await.map_err(|_| gone())?;
        }
        say(tell, String::from_utf8_lossy(&definition).into_owned()).await
    }

    async fn source(&self, connection: &str) -> Result<(Tool, Box<dyn Source>), String> {
        let id = connection.parse().map_err(|error: InvalidId| error.to_string())?;
        self.connections.source(&id).await.map_err(|error| error.to_string())
    }

    async fn imported(&self, flow: &str) -> Result<Option<Imported>, String> {
        self.catalog().imported(flow).await.map_err(|error| error.to_string())
    }

    /// A misspelt id must not look as if there were nothing.
    fn know_flow(&self, flow: &str) -> Result<&Known, String> {
        self.flows
            .iter()
            .find(|known| known.id == flow)
            .ok_or_else(|| format!("there is no flow “{flow}”; formgate flow list names those there are"))
    }
}

fn not_running() -> String {
    "Formgate is not running here; start it, or wait until it looks by itself".to_owned()
}

/// A configured flow.
pub(in crate::app) struct Known {
    pub id: String,
    pub tool: &'static str,
    pub is_connected: bool,
}

impl Known {
    /// What the configuration says of it.
    pub(in crate::app) fn of(flow: &config::Flow) -> Self {
        let is_connected = matches!(flow.definition, config::Definition::Connected { .. });
        Self { id: flow.id.as_str().to_owned(), tool: flow.tool.as_str(), is_connected }
    }
}

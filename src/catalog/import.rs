//! Forms as they were read from their tools, what has changed there since, and who says that it is taken.
//!
//! Invariant: what a flow is made from is stored, with what the tool called that state; the tool is never asked while
//! somebody fills a form in. A change becomes the flow's definition only if it is no severer than the flow takes by itself,
//! or when somebody approves it; until then it waits beside, with its differences. What cannot be served is never taken,
//! whoever approves it. Each change of this is one commit with its audit event, made against the state that was looked at.

use serde::{Deserialize, Serialize};

use super::drift::{self, Drift, Impact};
use super::overlay::{self, Overlay};
use super::{Catalog, Error};
use crate::audit;
use crate::connector::source::Fetched;
use crate::connector::{self, Import, ImportError};
use crate::store::{self, Batch, Expectation, Put, Table, Version};

/// Where a form is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The tool.
    pub tool: String,
    /// The id of the connection it is read through.
    pub connection: String,
    /// The tool's id of it.
    pub form: String,
}

/// A definition as a tool gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The JSON.
    pub json: String,
    /// What the tool calls this state; empty if it says nothing.
    pub revision: String,
    /// When it was fetched, in Unix milliseconds.
    pub at_ms: i64,
}

impl Definition {
    /// What was fetched just now.
    fn of(fetched: &Fetched, at_ms: i64) -> Self {
        let json = String::from_utf8_lossy(&fetched.definition).into_owned();
        Self { json, revision: fetched.revision.clone(), at_ms }
    }

    /// Reads it, with the overlay laid over.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn read(&self, tool: &str, overlay: Option<&Overlay>) -> Result<Import, ReadError> {
        read(self.json.as_bytes(), tool, overlay)
    }
}

/// Why a definition is no form.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no reader for the tool.
    #[error("there is no reader for “{0}”")]
    Tool(String),
    /// The definition cannot be read.
    #[error(transparent)]
    Definition(#[from] ImportError),
    /// The overlay does not fit.
    #[error("the overlay cannot be used: {0}")]
    Overlay(#[from] overlay::Error),
}

/// Reads a definition of a tool, with the overlay laid over.
///
/// # Errors
/// [`ReadError`]
pub fn read(definition: &[u8], tool: &str, overlay: Option<&Overlay>) -> Result<Import, ReadError> {
    let connector = connector::connector(tool).ok_or_else(|| ReadError::Tool(tool.to_owned()))?;
    let import = connector.read(definition)?;
    Ok(match overlay {
        Some(overlay) => overlay.apply(import)?,
        None => import,
    })
}

/// A change that waits for somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The newer definition.
    pub definition: Definition,
    /// What is different in it.
    pub drift: Drift,
}

/// What a connected flow is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Where it is.
    pub origin: Origin,
    /// What is served.
    pub current: Definition,
    /// What was found since.
    pub waiting: Option<Waiting>,
    /// When the tool was asked last, in Unix milliseconds.
    pub checked_at_ms: i64,
}

/// What came of a look at the tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is as it was.
    Unchanged,
    /// It is the flow's definition now; `None` for the first one.
    Taken(Option<Drift>),
    /// It waits for somebody to approve it. `news`: it was not waiting like this before.
    Waits {
        /// What is different.
        drift: Drift,
        /// Whether it was not known before.
        news: bool,
        /// Why it cannot be taken, if it cannot.
        refused: Option<String>,
    },
    /// Another node, or a person, changed it just now: look again later.
    Raced,
}

impl Catalog {
    /// What a connected flow is made from; `None` before its first import.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Import`].
    pub async fn imported(&self, flow: &str) -> Result<Option<Imported>, Error> {
        Ok(self.import_record(flow).await?.map(|(imported, _)| imported))
    }

    async fn import_record(&self, flow: &str) -> Result<Option<(Imported, Version)>, Error> {
        let Some(record) = self.store.get(Table::Definition, flow.as_bytes()).await? else { return Ok(None) };
        let imported = serde_json::from_slice(&record.value)
            .map_err(|_| Error::Import(format!("the stored definition of flow {flow} cannot be read")))?;
        Ok(Some((imported, record.version)))
    }

    fn judge(&self, flow: &str, definition: &Definition) -> Result<(), String> {
        self.judge.as_ref().map_or(Ok(()), |judge| judge(flow, definition))
    }

    /// Takes note of what the tool has now. It becomes the flow's definition if it is the first one, or no severer a change
    /// than `limit`; otherwise it waits. What cannot be read is refused, and changes nothing; so is a first one that cannot
    /// be served.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Import`].
    pub async fn take(
        &self,
        flow: &str,
        origin: &Origin,
        fetched: &Fetched,
        limit: Option<Impact>,
        overlay: Option<&Overlay>,
        now_ms: i64,
    ) -> Result<Taken, Error> {
        let refused = |error: ReadError| Error::Import(error.to_string());
        let newest = Definition::of(fetched, now_ms);
        let form = newest.read(&origin.tool, overlay).map_err(refused)?.form;
        let before = self.import_record(flow).await?;
        // Another form is another beginning: nothing of the old one can be compared.
        let Some((mut imported, version)) = before.filter(|(imported, _)| imported.origin == *origin) else {
            self.judge(flow, &newest).map_err(Error::Import)?;
            let imported =
                Imported { origin: origin.clone(), current: newest, waiting: None, checked_at_ms: now_ms };
            let event = audit::Event::ok(now_ms, "import", "form.imported", flow);
            let batch = Batch::at(now_ms).put(put(flow, &imported)).put(event.put());
            self.store.commit(batch).await?;
            return Ok(Taken::Taken(None));
        };
        imported.checked_at_ms = now_ms;
        // One that a newer release cannot read any more differs in everything.
        let drift = match imported.current.read(&origin.tool, overlay) {
            Ok(current) => drift::compare(&current.form, &form),
            Err(error) => return Err(refused(error)),
        };
        let impact = drift.impact();
        let refused = impact.and_then(|_| self.judge(flow, &newest).err());
        let (taken, event) = match impact {
            None => {
                imported.current.revision = newest.revision;
                (Taken::Unchanged, imported.waiting.take().map(|_| "form.change_withdrawn"))
            }
            Some(impact) if refused.is_none() && limit.is_some_and(|limit| impact <= limit) => {
                (imported.current, imported.waiting) = (newest, None);
                (Taken::Taken(Some(drift)), Some("form.changed"))
            }
            Some(_) => {
                let news = imported.waiting.as_ref().is_none_or(|waiting| waiting.drift != drift);
                imported.waiting = Some(Waiting { definition: newest, drift: drift.clone() });
                (Taken::Waits { drift, news, refused }, news.then_some("form.change_waits"))
            }
        };
        let event = event.map(|action| audit::Event::ok(now_ms, "import", action, flow).put());
        self.change_import(flow, &imported, version, event, now_ms, taken).await
    }

    /// Makes the change that waits the flow's definition; `None` if none waits.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Import`], also if it cannot be served.
    pub async fn approve(&self, flow: &str, actor: &str, now_ms: i64) -> Result<Option<Drift>, Error> {
        let Some((mut imported, version)) = self.import_record(flow).await? else { return Ok(None) };
        let Some(waiting) = imported.waiting.take() else { return Ok(None) };
        self.judge(flow, &waiting.definition).map_err(Error::Import)?;
        imported.current = waiting.definition;
        let event = audit::Event::ok(now_ms, actor, "form.change_approved", flow).put();
        let taken = Taken::Taken(Some(waiting.drift));
        match self.change_import(flow, &imported, version, Some(event), now_ms, taken).await? {
            Taken::Taken(drift) => Ok(drift),
            _ => Err(Error::Import(
                "the form was changed at this moment: look at the difference again".to_owned(),
            )),
        }
    }

    async fn change_import(
        &self,
        flow: &str,
        imported: &Imported,
        version: Version,
        event: Option<Put>,
        now_ms: i64,
        taken: Taken,
    ) -> Result<Taken, Error> {
        let batch = Batch::at(now_ms)
            .require(Table::Definition, flow, Expectation::Version(version))
            .put(put(flow, imported));
        match self.store.commit(event.into_iter().fold(batch, Batch::put)).await {
            Ok(()) => Ok(taken),
            Err(store::Error::Conflict { .. }) => Ok(Taken::Raced),
            Err(error) => Err(error.into()),
        }
    }
}

fn put(flow: &str, imported: &Imported) -> Put {
    let value = serde_json::to_vec(imported).expect("strings and numbers always serialise");
    Put::new(Table::Definition, flow, value)
}

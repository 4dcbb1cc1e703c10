//! Flows and their versions: what was compiled is stored, and never compiled again.
//!
//! Invariant: a version once stored never changes. The same form with the same settings is the same version. One that this
//! release cannot read, because a later one has made it, is left as it is and keeps its number; what can be read is served.

pub mod drift;
pub mod import;
pub mod overlay;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::audit;
use crate::connector::Import;
use crate::flow::compile::{self, Compiled, Settings};
use crate::flow::plan::Plan;
use crate::flow::report::Report;
use crate::form::Form;
use crate::outbox::Clock;
use crate::store::{self, Batch, Expectation, Put, Scan, Store, Table};

/// Versions of one flow that stay live: people finish on what they opened.
const LIVE: u32 = 20;
/// How often publishing is tried again because another node was quicker.
const MAX_RACES: u32 = 8;

/// Says of a definition whether a flow can be served with it, and if not, why.
pub type Judge = Arc<dyn Fn(&str, &import::Definition) -> Result<(), String> + Send + Sync>;

/// The flows of one installation.
#[derive(Clone)]
pub struct Catalog {
    store: Store,
    judge: Option<Judge>,
}

/// A stored version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// SHA-256 of form and settings, in hexadecimal.
    pub source: String,
    /// The Flow JSON document.
    pub document: serde_json::Value,
    /// What the handlers need.
    pub plan: Plan,
}

/// What the store has of a flow.
struct Stored {
    /// What can be read, newest first.
    versions: Vec<Version>,
    /// The number of the newest, readable or not; 0 if there is none.
    newest: u32,
}

/// What came of publishing.
#[derive(Debug)]
pub struct Published {
    /// All live versions, newest first; never empty.
    pub versions: Vec<Version>,
    /// The report, where a version was made.
    pub report: Option<Report>,
}

/// Why a flow could not be published or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The form cannot become a flow.
    #[error(transparent)]
    Compile(#[from] compile::Error),
    /// Something must be resolved first.
    #[error("the form cannot be published yet:\n{}", .0.iter().map(|b| format!("  {b}")).collect::<Vec<_>>().join("\n"))]
    Blocked(Vec<String>),
    /// Messages already sent open the flow in the other way.
    #[error("how the flow opens (entry) cannot change once it is published; give it a new id")]
    Entry,
    /// What was read from a tool cannot be used.
    #[error("{0}")]
    Import(String),
    /// The store refused.
    #[error("the store refused")]
    Store(#[from] store::Error),
}

impl Catalog {
    /// The catalog in this store.
    pub fn new(store: Store) -> Catalog {
        Catalog { store, judge: None }
    }

    /// Has every definition judged before a flow is made from it.
    #[must_use]
    pub fn judged_by(self, judge: Judge) -> Catalog {
        Catalog { judge: Some(judge), ..self }
    }

    /// Makes this form the newest version of the flow, unless it already is. [`Settings::version`] is decided here.
    ///
    /// # Errors
    /// [`Error`]; nothing was stored then.
    pub async fn publish(
        &self,
        flow: &str,
        import: &Import,
        settings: &Settings,
        clock: &dyn Clock,
    ) -> Result<Published, Error> {
        for _ in 0..MAX_RACES {
            match self.try_publish(flow, import, settings, clock).await {
                // Another node has published a version in the same moment: most likely this one.
                Err(Error::Store(store::Error::Conflict { .. })) => {}
                published => return published,
            }
        }
        self.try_publish(flow, import, settings, clock).await
    }

    async fn try_publish(
        &self,
        flow: &str,
        import: &Import,
        settings: &Settings,
        clock: &dyn Clock,
    ) -> Result<Published, Error> {
        let Stored { mut versions, newest } = self.stored(flow).await?;
        let source = source(&import.form, settings);
        if versions.first().is_some_and(|newest| newest.source == source) {
            return Ok(Published { versions, report: None });
        }
        if versions.first().is_some_and(|newest| newest.plan.entry != settings.entry) {
            return Err(Error::Entry);
        }
        let version = newest.saturating_add(1);
        let Compiled { document, plan, report } = compile(import, &Settings { version, ..settings.clone() })?;
        if !report.blockers.is_empty() {
            return Err(Error::Blocked(report.blockers));
        }
        let stored = Version { source, document, plan };
        let value = serde_json::to_vec(&stored).expect("documents and plans have only texts for keys");
        let key = key(flow, version);
        let batch = Batch::at(clock.now_ms())
            .require(Table::FlowVersion, key.clone(), Expectation::Absent)
            .put(Put::new(Table::FlowVersion, key, value))
            .put(
                audit::Event::ok(clock.now_ms(), "start", "flow.published", format_args!("{flow} {version}"))
                    .put(),
            );
        self.store.commit(batch).await?;
        versions.insert(0, stored);
        Ok(Published { versions, report: Some(report) })
    }

    /// The live versions of a flow, newest first, as far as this release can read them.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn versions(&self, flow: &str) -> Result<Vec<Version>, Error> {
        Ok(self.stored(flow).await?.versions)
    }

    async fn stored(&self, flow: &str) -> Result<Stored, Error> {
        let prefix = [flow.as_bytes(), b"\0"].concat();
        let scan = Scan { prefix, after: None, descending: true, limit: LIVE };
        let records = self.store.scan(Table::FlowVersion, scan).await?;
        let number = |key: &[u8]| key.last_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
        let newest = records.first().map_or(0, |(key, _)| number(key));
        let mut versions = Vec::new();
        for (key, record) in &records {
            match serde_json::from_slice(&record.value) {
                Ok(version) => versions.push(version),
                Err(_) => tracing::error!(
                    flow.id = flow,
                    flow.version = number(key),
                    "a version of a flow cannot be read: another release has stored it; who has a message of it cannot go on here"
                ),
            }
        }
        Ok(Stored { versions, newest })
    }
}

/// Compiles a form that was read; the report says also what the reader could not carry.
///
/// # Errors
/// [`compile::Error`]
pub fn compile(import: &Import, settings: &Settings) -> Result<Compiled, compile::Error> {
    let mut compiled = compile::compile(&import.form, settings)?;
    for note in &import.notes {
        compiled.report.note(&note.at, &note.title, &note.text, note.lost);
    }
    Ok(compiled)
}

fn key(flow: &str, version: u32) -> Vec<u8> {
    [flow.as_bytes(), b"\0", &version.to_be_bytes()].concat()
}

fn source(form: &Form, settings: &Settings) -> String {
    let settings = format!("{:?}", Settings { version: 0, ..settings.clone() });
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(form).unwrap_or_default());
    hash.update(settings);
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

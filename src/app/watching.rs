//! Watches the forms of connected flows in their tools, and brings what was taken over into service.
//!
//! Invariant: what is served is always a stored version of the stored definition, and its destinations are ready for it
//! before anybody can fill it in. A change that cannot be read, compiled or delivered is not taken, leaves what is served as
//! it is, and is told once. Every node looks at the store, so what one node has taken
//! over the others serve within [`LOOK_EVERY`]; only one of them asks the tool.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::build::Documents;
use super::destinations::{Destinations, Served};
use super::error::chain;
use crate::catalog::drift::{Drift, Impact};
use crate::catalog::import::{Definition, Imported, Origin, Taken};
use crate::catalog::overlay::Overlay;
use crate::catalog::{self, Catalog, Published};
use crate::connector::connection::{ConnectionId, Connections, InvalidId};
use crate::connector::source;
use crate::endpoint::{Flow, Flows};
use crate::flow::compile::Settings;
use crate::flow::handler::Handler;
use crate::outbox::Clock;

/// Between two looks at the store.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// After a failure a tool is left alone for at least this long.
const PATIENCE_MS: i64 = 60_000;

/// A flow that is made from a form in its tool.
pub(super) struct Watched {
    /// What it is served with; its versions are not looked at.
    pub flow: Flow,
    pub origin: Origin,
    /// The severest change that becomes a version by itself.
    pub limit: Option<Impact>,
    pub overlay: Option<Overlay>,
    pub settings: Settings,
}

/// Watched flows by id.
type ById = Arc<HashMap<String, Watched>>;

/// Which flows are watched, for those who ask about them.
#[derive(Clone)]
pub(super) struct Watching(Arc<Shared>);

struct Shared {
    catalog: Catalog,
    connections: Connections,
    watched: ById,
    destinations: Destinations,
    flows: Flows,
    documents: Documents,
    clock: Arc<dyn Clock>,
    /// Between two questions to a tool; `None` asks only when somebody wants to.
    every: Option<Duration>,
    look: Notify,
}

/// What a look at one form has led to, in words for whoever asked.
pub(super) type Outcome = Result<Taken, String>;

/// Where one flow stands, from look to look.
#[derive(Default)]
struct Standing {
    /// The definition that is served, or that was tried and cannot be.
    tried: Option<String>,
    /// What was told last of a failure.
    told: Option<String>,
    /// Not before then is the tool asked again.
    rest_until_ms: i64,
}

impl Watching {
    pub(super) fn new(
        catalog: Catalog,
        connections: Connections,
        watched: Vec<Watched>,
        (flows, documents, destinations): (Flows, Documents, Destinations),
        clock: Arc<dyn Clock>,
        every: Option<Duration>,
    ) -> Self {
        let watched = watched.into_iter().map(|watched| (watched.flow.id.clone(), watched));
        let watched: ById = Arc::new(watched.collect());
        let look = Notify::new();
        let of = (ById::clone(&watched), flows.clone(), destinations.clone());
        let catalog = catalog.judged_by(Arc::new(move |flow, definition| {
            let (watched, flows, destinations) = &of;
            watched.get(flow).map_or(Ok(()), |watched| fits(watched, definition, flows, destinations))
        }));
        Self(Arc::new(Shared {
            catalog,
            connections,
            watched,
            destinations,
            flows,
            documents,
            clock,
            every,
            look,
        }))
    }

    /// The flows, of which none is made from a form that cannot be served.
    pub(super) fn catalog(&self) -> Catalog {
        self.0.catalog.clone()
    }

    /// Asks the tool now. What comes of it is served at the next look, which this brings about.
    pub(super) async fn ask(&self, flow: &str) -> Outcome {
        let watched =
            self.0.watched.get(flow).ok_or_else(|| format!("flow {flow} is not read from a connection"))?;
        let taken = self.fetch(watched).await.map_err(|error| chain(&error))??;
        self.0.look.notify_one();
        Ok(taken)
    }

    /// Has what was taken over looked at now.
    pub(super) fn look(&self) {
        self.0.look.notify_one();
    }

    /// Watches until `stop` becomes true.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut standings: HashMap<String, Standing> = HashMap::new();
        let mut connected = self.0.connections.changes();
        loop {
            self.0.destinations.follow_accounts().await;
            for (id, watched) in self.0.watched.iter() {
                let standing = standings.entry(id.clone()).or_default();
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => return,
                    () = self.look_at(watched, standing) => {}
                }
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.0.look.notified() => {}
                _ = connected.changed() => {
                    // What failed for want of the account may work now.
                    standings.values_mut().for_each(|standing| standing.rest_until_ms = 0);
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn look_at(&self, watched: &Watched, standing: &mut Standing) {
        let id = watched.flow.id.as_str();
        let now_ms = self.0.clock.now_ms();
        let mut imported = match self.0.catalog.imported(id).await {
            Ok(imported) => imported.filter(|imported| imported.origin == watched.origin),
            Err(error) => return tell(standing, id, error.to_string()),
        };
        if self.is_due(imported.as_ref(), now_ms) && now_ms >= standing.rest_until_ms {
            match self.fetch(watched).await {
                Ok(Ok(taken)) => {
                    standing.told = None;
                    note(id, &taken);
                }
                Ok(Err(reason)) => {
                    standing.rest_until_ms = now_ms.saturating_add(PATIENCE_MS);
                    tell(standing, id, reason);
                }
                Err(error) => {
                    let wait_ms = match &error {
                        source::Error::Busy { after, .. } => {
                            i64::try_from(after.as_millis()).unwrap_or(i64::MAX)
                        }
                        _ => 0,
                    };
                    standing.rest_until_ms = now_ms.saturating_add(wait_ms.max(PATIENCE_MS));
                    tell(standing, id, chain(&error));
                }
            }
            imported = self.0.catalog.imported(id).await.ok().flatten();
        }
        let Some(imported) = imported.filter(|imported| imported.origin == watched.origin) else { return };
        if standing.tried.as_ref() == Some(&imported.current.json) {
            return;
        }
        if let Err(reason) = self.serve(watched, &imported).await {
            tell(standing, id, reason);
        }
        standing.tried = Some(imported.current.json);
    }

    fn is_due(&self, imported: Option<&Imported>, now_ms: i64) -> bool {
        let Some(imported) = imported else { return true };
        let Some(every) = self.0.every else { return false };
        let every_ms = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
        // A clock that was set back must not keep a form from being looked at for ever.
        now_ms >= imported.checked_at_ms.saturating_add(every_ms) || now_ms < imported.checked_at_ms
    }

    /// Reads the form from its tool and takes note of it; the inner error is of what was read.
    async fn fetch(&self, watched: &Watched) -> Result<Outcome, source::Error> {
        let Origin { tool, connection, form } = &watched.origin;
        let id: ConnectionId =
            connection.parse().map_err(|error: InvalidId| source::Error::Reference(error.to_string()))?;
        let (of, source) = self.0.connections.source(&id).await?;
        if of.as_str() != tool {
            let reason =
                format!("connection {connection} is one of {of}, and the flow is made from a form of {tool}");
            return Err(source::Error::Reference(reason));
        }
        let fetched = source.fetch(form).await?;
        let (id, now_ms) = (watched.flow.id.as_str(), self.0.clock.now_ms());
        let overlay = watched.overlay.as_ref();
        let taken = self.0.catalog.take(id, &watched.origin, &fetched, watched.limit, overlay, now_ms).await;
        Ok(taken.map_err(|error| error.to_string()))
    }

    /// Makes a stored definition the newest version and serves it, if every destination can take it.
    async fn serve(&self, watched: &Watched, imported: &Imported) -> Result<(), String> {
        let id = watched.flow.id.as_str();
        let overlay = watched.overlay.as_ref();
        let import =
            imported.current.read(&watched.origin.tool, overlay).map_err(|error| error.to_string())?;
        let publishing = self.0.catalog.publish(id, &import, &watched.settings, self.0.clock.as_ref());
        let Published { versions, report } = publishing.await.map_err(|error| error.to_string())?;
        let document = versions.first().map(|newest| newest.document.clone());
        let handlers: Vec<_> =
            versions.into_iter().map(|version| Arc::new(Handler::new(version.plan))).collect();
        // Keys may have changed since the flow was built: they are taken from what is served now.
        let mut flow =
            self.0.flows.get(id).map_or_else(|| watched.flow.clone(), |flow| flow.as_ref().clone());
        let before = flow.versions.first().map(|handler| handler.plan().version);
        let newest = handlers.first().map(|handler| handler.plan().version);
        let served = Served {
            form: import.form,
            definition: imported.current.json.clone().into_bytes(),
            versions: handlers.clone(),
        };
        self.0.destinations.prepare(id, served)?.put();
        if before == newest {
            return Ok(());
        }
        flow.versions = handlers;
        if let Some(document) = document {
            self.0.documents.put(id, document);
        }
        self.0.flows.put(flow);
        let grade = report.map(|report| report.grade.to_string());
        tracing::info!(flow.id = id, version = newest, grade, "a new version is served");
        Ok(())
    }
}

/// Whether a flow can be served with a definition: it becomes a form, a document without blockers, and something that every
/// destination can take.
fn fits(
    watched: &Watched,
    definition: &Definition,
    flows: &Flows,
    destinations: &Destinations,
) -> Result<(), String> {
    let id = watched.flow.id.as_str();
    let import =
        definition.read(&watched.origin.tool, watched.overlay.as_ref()).map_err(|error| error.to_string())?;
    let mut versions = flows.get(id).map(|flow| flow.versions.clone()).unwrap_or_default();
    let version = versions.first().map_or(1, |newest| newest.plan().version.saturating_add(1));
    let settings = Settings { version, ..watched.settings.clone() };
    let compiled = catalog::compile(&import, &settings).map_err(|error| error.to_string())?;
    if !compiled.report.blockers.is_empty() {
        return Err(catalog::Error::Blocked(compiled.report.blockers).to_string());
    }
    versions.insert(0, Arc::new(Handler::new(compiled.plan)));
    let definition = definition.json.clone().into_bytes();
    destinations.prepare(id, Served { form: import.form, definition, versions }).map(drop)
}

/// Tells what was found, if it is news.
fn note(flow: &str, taken: &Taken) {
    let (drift, text): (&Drift, _) = match taken {
        Taken::Taken(Some(drift)) => (drift, "the form was changed in its tool, and is taken over"),
        Taken::Waits { drift, news: true, .. } => {
            (drift, "the form was changed in its tool, and waits: formgate flow diff")
        }
        _ => return,
    };
    let refused = match taken {
        Taken::Waits { refused, .. } => refused.as_deref(),
        _ => None,
    };
    tracing::warn!(flow.id = flow, changes = drift.summary(), refused, "{text}");
}

/// Says a failure once, until another one or success takes its place.
fn tell(standing: &mut Standing, flow: &str, reason: String) {
    if standing.told.as_ref() != Some(&reason) {
        tracing::warn!(flow.id = flow, reason, "a form cannot be taken over from its tool");
        standing.told = Some(reason);
    }
}

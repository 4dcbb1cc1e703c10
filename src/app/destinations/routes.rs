//! Conditions and mappings that were set while Formgate runs: taken over by every node, and tried before they are set.
//!
//! Invariant: what the configuration says is never replaced. What was set and does not fit the forms that are delivered there
//! is not taken: at the start nothing is delivered there then, later the one before goes on.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::slot::{Absent, Built};
use super::{Builder, Destinations, grade};
use crate::app::Error;
use crate::config;
use crate::console::api::{Described, Fault, Looking, Mappings, Tried};
use crate::form::Form;
use crate::form::mapping::{Step, given_twice};
use crate::outbox::{Destination as _, Outbox, Route, RouteError};

/// Between two looks at what other nodes have set.
const FOLLOW_EVERY: Duration = Duration::from_secs(5);
const _: () = assert!(FOLLOW_EVERY.as_secs() < 10, "the README promises ten seconds");

/// Routes that were set, by destination.
pub(super) type Routes = BTreeMap<String, Arc<Route>>;

/// What is set in the store.
pub(super) async fn set(outbox: &Outbox) -> Result<Routes, RouteError> {
    let set = outbox.routes().await?.into_iter();
    Ok(set.map(|(destination, set)| (destination, Arc::new(set.route))).collect())
}

fn is_configured(configured: &config::Destination) -> bool {
    configured.when.is_some() || !configured.mapping.is_empty()
}

impl Builder<'_> {
    /// The destination with the route that was set for it, if the configuration has none.
    pub(super) fn effective<'c>(&self, configured: &'c config::Destination) -> Cow<'c, config::Destination> {
        match self.routes.get(configured.id.as_str()) {
            Some(route) if !is_configured(configured) => {
                let mapping = route.mapping.iter().map(|(name, step)| (name.clone(), step.clone())).collect();
                Cow::Owned(config::Destination { when: route.when.clone(), mapping, ..configured.clone() })
            }
            _ => Cow::Borrowed(configured),
        }
    }

    /// At the start a route that does not fit any more must not keep everything else from being served.
    pub(super) fn built_or_absent(&self, configured: &config::Destination) -> Result<Built, Error> {
        let misfit = match self.built(configured) {
            Ok(built) => return Ok(built),
            Err(misfit) => misfit,
        };
        let none = Routes::new();
        let plain = Builder { routes: &none, is_told: false, ..*self };
        if !self.routes.contains_key(configured.id.as_str()) || plain.built(configured).is_err() {
            return Err(misfit);
        }
        let id = configured.id.as_str();
        tracing::error!(destination.id = id, error = %misfit, "the mapping that was set does not fit: deliveries wait until another one is");
        Ok(Built { destination: Err(Absent::Misfit), newest: BTreeMap::new(), asks_for_files: false })
    }

    fn faults(&self, configured: &config::Destination, route: &Route) -> Vec<Fault> {
        let forms: Vec<&Form> =
            self.delivering(configured).filter_map(|flow| self.form(flow.id.as_str())).collect();
        let title = |key: &str| {
            forms.iter().find_map(|form| form.question(key)).map(|question| question.title.clone())
        };
        let mut faults = Vec::new();
        if let Some(name) = given_twice(&route.mapping) {
            let text = format!("the mapping gives the name “{name}” twice: give each answer its own name");
            faults.push(Fault { at: "mapping".to_owned(), question: None, title: None, text });
        }
        let asked = route.when.iter().flat_map(|when| when.questions()).map(|key| ("when".to_owned(), key));
        let used = route.mapping.iter().flat_map(|(name, step)| {
            step.questions(name).into_iter().map(move |key| (format!("mapping.{name}"), key))
        });
        let named: BTreeSet<(String, &str)> = asked.chain(used).collect();
        for (at, key) in named {
            if !forms.is_empty() && forms.iter().all(|form| form.question(key).is_none()) {
                let text =
                    format!("{at} names a question “{key}”, which no form that is delivered there has");
                faults.push(Fault { at, question: Some(key.to_owned()), title: None, text });
            }
        }
        // What keeps its name must not meet another answer that is given it.
        for (name, step) in &route.mapping {
            let given = match step {
                Step::Rename(to) => to,
                Step::Drop => continue,
                _ => name,
            };
            let is_moved = matches!(route.mapping.get(given), Some(Step::Rename(_) | Step::Drop));
            let is_itself = matches!(step, Step::Rename(to) if to == name);
            if let Some(title) = title(given).filter(|_| !is_moved && !is_itself) {
                let text = format!(
                    "mapping.{name} gives the name “{given}”, which the answer to “{title}” has already: rename or drop that one, too"
                );
                let (at, question) = (format!("mapping.{name}"), Some(given.clone()));
                faults.push(Fault { at, question, title: Some(title), text });
            }
        }
        if faults.is_empty()
            && let Err(error) = self.built(configured)
        {
            let text = match error {
                Error::Destination { reason, .. } => reason,
                error => error.to_string(),
            };
            faults.push(Fault { at: "destination".to_owned(), question: None, title: None, text });
        }
        faults
    }
}

impl Destinations {
    /// Takes over what was set, here or by other nodes, until `stop` becomes true.
    pub(in crate::app) async fn follow_routes(self, mut stop: watch::Receiver<bool>) {
        let mut told = BTreeMap::new();
        loop {
            self.take_routes(&mut told).await;
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(FOLLOW_EVERY) => {}
            }
        }
    }

    /// Takes over what was set. `told` are the failures that were told already.
    async fn take_routes(&self, told: &mut BTreeMap<String, Arc<Route>>) {
        // Two looks at once could put what the earlier one saw in the place of what the later one did.
        let Ok(_permit) = self.0.following.acquire().await else { return };
        let set = match set(&self.0.outbox).await {
            Ok(set) => set,
            Err(error) => {
                tracing::warn!(%error, "mappings that were set cannot be read; destinations stay as they are");
                return;
            }
        };
        for configured in &self.0.configured {
            let id = configured.id.as_str();
            let changing = self.0.changing();
            let (served, mut routes) = self.0.known();
            if routes.get(id) == set.get(id) {
                continue;
            }
            let route = set.get(id).cloned();
            match &route {
                Some(route) => routes.insert(id.to_owned(), Arc::clone(route)),
                None => routes.remove(id),
            };
            match self.0.prepare(changing, served, routes, |to| to.id == configured.id, false) {
                Ok(prepared) => {
                    prepared.put();
                    tracing::info!(destination.id = id, "another mapping is used from now on");
                }
                Err(error) => {
                    let route = route.unwrap_or_default();
                    if told.get(id) != Some(&route) {
                        tracing::warn!(destination.id = id, %error, "a mapping that was set cannot be used here yet");
                        told.insert(id.to_owned(), route);
                    }
                }
            }
        }
        self.let_go_on().await;
    }

    /// Resumes what was paused because its mapping did not fit, and fits now.
    async fn let_go_on(&self) {
        for slot in self.0.slots.iter().filter(|slot| slot.fits_again()) {
            if let Err(error) = self.0.outbox.fits_again(slot.id()).await {
                slot.waits_on();
                tracing::warn!(destination.id = %slot.id(), %error, "what waits for its mapping cannot go on yet");
            }
        }
    }

    fn configured(&self, id: &str) -> Option<&config::Destination> {
        self.0.configured.iter().find(|configured| configured.id.as_str() == id)
    }
}

impl Mappings for Destinations {
    fn described(&self, destination: &str) -> Option<Described> {
        let configured = self.configured(destination)?;
        let kind = configured.target.kind();
        let route = is_configured(configured).then(|| Route {
            when: configured.when.clone(),
            mapping: configured.mapping.iter().cloned().collect(),
        });
        Some(Described { kind: kind.as_str(), grade: grade(kind), configured: route })
    }

    fn tried(&self, destination: &str, route: &Route) -> Tried {
        let Some(configured) = self.configured(destination) else { return Tried::default() };
        // As it would be without a word in the configuration: what is tried takes its place.
        let bare = config::Destination { when: None, mapping: Vec::new(), ..configured.clone() };
        let (served, mut routes) = self.0.known();
        routes.insert(destination.to_owned(), Arc::new(route.clone()));
        let accounts = self.0.accounts.read().unwrap_or_else(PoisonError::into_inner).clone();
        let builder =
            Builder { of: &self.0, served: &served, accounts: &accounts, routes: &routes, is_told: false };
        let flows =
            builder.delivering(&bare).map(|flow| flow.id.as_str()).filter(|id| served.contains_key(*id));
        Tried { flows: flows.map(str::to_owned).collect(), faults: builder.faults(&bare, route) }
    }

    fn look(&self) -> Looking<'_> {
        Box::pin(async { self.take_routes(&mut BTreeMap::new()).await })
    }
}

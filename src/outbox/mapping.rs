//! Routes that somebody has set while Formgate runs, where the configuration has none.
//!
//! Invariant: each is one record of the store, changed together with its audit event. Whether it fits the forms that are
//! delivered there is for whoever sets it to know; nothing here looks at a form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ids::DestinationId;
use super::{Error, Outbox};
use crate::audit;
use crate::form::Condition;
use crate::form::mapping::Step;
use crate::store::{self, Batch, Expectation, Put, Scan, Table};

const SETTING: &[u8] = b"route\0";
/// More are not looked at.
const MAX_ROUTES: u32 = 10_000;

/// Which submissions go to a destination, and how their answers are changed on the way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Only submissions of which this holds go there.
    #[serde(default)]
    pub when: Option<Condition>,
    /// What becomes of answers, by name.
    #[serde(default)]
    pub mapping: BTreeMap<String, Step>,
}

impl Route {
    /// Whether everything passes unchanged.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.when.is_none() && self.mapping.is_empty()
    }
}

/// A route that was set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetRoute {
    /// What it is.
    #[serde(flatten)]
    pub route: Route,
    /// When it was set, in Unix milliseconds.
    pub at_ms: i64,
    /// By whom.
    pub by: String,
}

/// Why routes cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The store refused.
    #[error("the store refused")]
    Store(#[from] store::Error),
    /// What is kept of one cannot be read. To leave it out would send answers as they are.
    #[error("the mapping of destination {destination} cannot be read; set it again")]
    Damaged {
        /// Of which destination.
        destination: String,
    },
}

fn key(destination: &str) -> Vec<u8> {
    [SETTING, destination.as_bytes()].concat()
}

impl Outbox {
    /// Every route that is set, by its destination.
    ///
    /// # Errors
    /// [`RouteError`]
    pub async fn routes(&self) -> Result<BTreeMap<String, SetRoute>, RouteError> {
        let scan = Scan { prefix: SETTING.to_vec(), limit: MAX_ROUTES, ..Scan::default() };
        let records = self.store.scan(Table::Setting, scan).await?;
        let read = |(key, record): (Vec<u8>, store::Record)| {
            let destination =
                String::from_utf8_lossy(key.strip_prefix(SETTING).unwrap_or_default()).into_owned();
            match serde_json::from_slice(&record.value) {
                Ok(route) => Ok((destination, route)),
                Err(_damaged) => Err(RouteError::Damaged { destination }),
            }
        };
        records.into_iter().map(read).collect()
    }

    /// Sets the route of a destination in the place of the one that was set before. `false` if it is the same.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn set_route(&self, id: &DestinationId, route: &Route, actor: &str) -> Result<bool, Error> {
        let (now_ms, key) = (self.clock.now_ms(), key(id.as_str()));
        let before = self.store.get(Table::Setting, &key).await?;
        let known = before.as_ref().and_then(|record| serde_json::from_slice::<SetRoute>(&record.value).ok());
        if known.is_some_and(|known| known.route == *route) {
            return Ok(false);
        }
        let expect = before.map_or(Expectation::Absent, |record| Expectation::Version(record.version));
        let set = SetRoute { route: route.clone(), at_ms: now_ms, by: actor.to_owned() };
        let value = serde_json::to_vec(&set).expect("texts, numbers and truth values always serialise");
        let batch = Batch::at(now_ms)
            .require(Table::Setting, key.clone(), expect)
            .put(Put::new(Table::Setting, key, value))
            .put(audit::Event::ok(now_ms, actor, "destination.mapping_set", id).put());
        self.store.commit(batch).await?;
        Ok(true)
    }

    /// Takes the route of a destination back. `false` if none was set.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn unset_route(&self, id: &DestinationId, actor: &str) -> Result<bool, Error> {
        let (now_ms, key) = (self.clock.now_ms(), key(id.as_str()));
        let Some(record) = self.store.get(Table::Setting, &key).await? else { return Ok(false) };
        let batch = Batch::at(now_ms)
            .require(Table::Setting, key.clone(), Expectation::Version(record.version))
            .delete(Table::Setting, key)
            .put(audit::Event::ok(now_ms, actor, "destination.mapping_unset", id).put());
        self.store.commit(batch).await?;
        Ok(true)
    }
}

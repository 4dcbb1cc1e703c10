//! What people and their programs use Formgate by, besides the command line: the management API, and pages.
//!
//! Invariant: there is one place that decides who may do what to which object ([`access`] and the route table of [`api`]):
//! a handler is only called for a route that the principal's scopes allow, with an object of the principal's workspace. An
//! object of another workspace does not exist. A page runs no script and loads nothing from elsewhere, shows no token, and lets
//! nobody put it into a frame; everything on it is escaped.

pub mod access;
pub mod api;
mod connect;

use std::collections::BTreeMap;

pub use self::connect::{Connect, start_link};

/// Where each configured object belongs.
#[derive(Debug, Clone, Default)]
pub struct Workspaces {
    /// Flows, by id.
    pub flows: BTreeMap<String, String>,
    /// Destinations, by id.
    pub destinations: BTreeMap<String, String>,
}

impl Workspaces {
    fn has_flow(&self, workspace: &str, flow: &str) -> bool {
        self.flows.get(flow).is_some_and(|of| of == workspace)
    }

    fn has_destination(&self, workspace: &str, destination: &str) -> bool {
        self.destinations.get(destination).is_some_and(|of| of == workspace)
    }
}

//! What people and their programs use Formgate by, besides the command line: the management API.
//!
//! Invariant: there is one place that decides who may do what to which object ([`access`] and the route table of [`api`]):
//! a handler is only called for a route that the principal's scopes allow, with an object of the principal's workspace. An
//! object of another workspace does not exist.

pub mod access;
pub mod api;

use std::collections::BTreeMap;

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

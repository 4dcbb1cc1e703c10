//! The flows that are served.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::crypto::{AppSecrets, KeyRing};
use crate::flow::handler::Handler;
use crate::outbox::{DestinationId, Repeat};
use crate::telemetry::FlowMetrics;

/// Which flow tokens open the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenPolicy {
    /// Every token, also `unused` and shared ones.
    #[default]
    Any,
    /// Only tokens that Formgate sealed.
    Sealed,
}

/// Whether Meta's own signature of the token is asked for (WhatsApp Flows reference, 1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenSignature {
    /// Not looked at.
    Off,
    /// Verified where it is sent.
    #[default]
    IfPresent,
    /// A request without one is refused.
    Required,
}

/// One flow as the endpoint serves it.
#[derive(Clone)]
pub struct Flow {
    /// Its name here.
    pub id: String,
    /// The private keys of its number, newest first.
    pub keys: Arc<KeyRing>,
    /// The app's secrets.
    pub app_secrets: Arc<AppSecrets>,
    /// Which tokens open it.
    pub tokens: TokenPolicy,
    /// Whether Meta's signature of the token is asked for.
    pub token_signature: TokenSignature,
    /// What becomes of an answer of somebody who has answered before.
    pub repeat: Repeat,
    /// Where submissions go.
    pub destinations: Vec<DestinationId>,
    /// Its live versions, newest first; never empty.
    pub versions: Vec<Arc<Handler>>,
    /// Its counters.
    pub metrics: FlowMetrics,
    /// Submissions are trials.
    pub test: bool,
}

impl Flow {
    /// The version that new walks open.
    pub(super) fn newest(&self) -> Option<&Arc<Handler>> {
        self.versions.first()
    }

    /// The version that a payload names.
    pub(super) fn version(&self, version: u32) -> Option<&Arc<Handler>> {
        self.versions.iter().find(|handler| handler.plan().version == version)
    }
}

/// All flows by their ids; cheap to clone, changed as a whole.
#[derive(Clone, Default)]
pub struct Flows(Arc<RwLock<Arc<ById>>>);

type ById = HashMap<String, Arc<Flow>>;

impl Flows {
    /// Puts these flows in the place of all others. A flow without a version is left out.
    pub fn replace(&self, flows: impl IntoIterator<Item = Flow>) {
        let flows = flows.into_iter().filter(|flow| !flow.versions.is_empty());
        let flows = Arc::new(flows.map(|flow| (flow.id.clone(), Arc::new(flow))).collect());
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = flows;
    }

    /// Puts one flow in the place of the one with its id, or adds it.
    pub fn put(&self, flow: Flow) {
        let mut flows = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = flows.as_ref().clone();
        changed.insert(flow.id.clone(), Arc::new(flow));
        *flows = Arc::new(changed);
    }

    /// Changes every flow that `change` says it has changed. Nothing that others change meanwhile is lost.
    pub fn change(&self, mut change: impl FnMut(&mut Flow) -> bool) {
        let mut flows = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = flows.as_ref().clone();
        for flow in changed.values_mut() {
            let mut copy = flow.as_ref().clone();
            if change(&mut copy) {
                *flow = Arc::new(copy);
            }
        }
        *flows = Arc::new(changed);
    }

    /// The flow with this id.
    pub fn get(&self, id: &str) -> Option<Arc<Flow>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// All flows, in no order.
    pub fn all(&self) -> Vec<Arc<Flow>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

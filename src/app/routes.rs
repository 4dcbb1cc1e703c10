//! The route tables of both listeners.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::build::Documents;
use super::files;
use super::leaving::Leaving;
use crate::console::Connect;
use crate::console::api::{self, Api};
use crate::endpoint::{Endpoint, Flows};
use crate::meta;
use crate::outbox::{Clock, Outbox};
use crate::server::{DEFAULT_BODY_LIMIT_BYTES, Handler, Method, Request, Response, StatusCode};
use crate::store::{self, Store};
use crate::telemetry::{CONTENT_TYPE, DeliveryState, HoldReason, Metrics};

/// Where Meta's webhook is.
const WEBHOOK: &str = "/webhooks/meta";

/// What Meta calls, and the programs of those who manage flows.
pub(super) struct Public {
    pub endpoint: Endpoint,
    pub webhook: Option<meta::Webhook>,
    pub api: Api,
    pub outbox: Outbox,
    pub connect: Connect,
    pub store: Store,
    pub leaving: Leaving,
    pub max_body_bytes: usize,
}

impl Handler for Public {
    async fn handle(&self, request: Request) -> Response {
        self.leaving.reply(self.answer(request).await)
    }

    fn body_limit(&self, _method: &Method, path: &str) -> usize {
        match path {
            WEBHOOK if self.webhook.is_some() => meta::MAX_BODY_BYTES,
            _ if path.starts_with("/flows/") => self.max_body_bytes,
            _ if path.starts_with(api::ROOT) => api::MAX_BODY_BYTES,
            _ => Connect::body_limit(path),
        }
    }
}

impl Public {
    async fn answer(&self, request: Request) -> Response {
        match request.path() {
            "/healthz" => alive(&request),
            "/readyz" => ready(&request, &self.store, &self.leaving).await,
            WEBHOOK => match &self.webhook {
                Some(webhook) => webhook.answer(&request).await,
                None => Response::empty(StatusCode::NOT_FOUND),
            },
            path if path.starts_with(api::ROOT) => self.api.answer(&request).await,
            path => {
                let below = |root| path.strip_prefix(root).filter(|rest: &&str| !rest.contains('/'));
                match (below("/flows/"), below("/files/")) {
                    (Some(flow), _) => self.endpoint.exchange(flow, &request).await,
                    (None, Some(token)) => files::hand_out(&self.outbox, token, &request).await,
                    (None, None) => {
                        let page = self.connect.answer(&request).await;
                        page.unwrap_or_else(|| Response::empty(StatusCode::NOT_FOUND))
                    }
                }
            }
        }
    }
}

/// What operators and their machines call.
pub(super) struct Admin {
    pub flows: Flows,
    pub metrics: Metrics,
    pub store: Store,
    pub outbox: Outbox,
    pub documents: Documents,
    pub clock: Arc<dyn Clock>,
    pub leaving: Leaving,
}

impl Handler for Admin {
    async fn handle(&self, request: Request) -> Response {
        match request.path() {
            "/healthz" => alive(&request),
            "/readyz" => ready(&request, &self.store, &self.leaving).await,
            "/metrics" if is_read(&request) => {
                self.measure().await;
                Response::new(StatusCode::OK, CONTENT_TYPE, self.metrics.encode())
            }
            "/api/v1/flows" if is_read(&request) => {
                let mut ids: Vec<String> = self.flows.all().iter().map(|flow| flow.id.clone()).collect();
                ids.sort_unstable();
                Response::json(StatusCode::OK, &json!({"flows": ids}))
            }
            path => {
                let id = path.strip_prefix("/api/v1/flows/").and_then(|rest| rest.strip_suffix("/flow.json"));
                match id.and_then(|id| self.documents.get(id)) {
                    Some(_) if !is_read(&request) => Response::method_not_allowed("GET, HEAD"),
                    Some(document) => Response::json(StatusCode::OK, &*document),
                    None if path == "/metrics" || path == "/api/v1/flows" => {
                        Response::method_not_allowed("GET, HEAD")
                    }
                    None => Response::empty(StatusCode::NOT_FOUND),
                }
            }
        }
    }

    fn body_limit(&self, _method: &Method, _path: &str) -> usize {
        DEFAULT_BODY_LIMIT_BYTES
    }
}

impl Admin {
    /// Where deliveries stand, read when somebody looks. Without a store the last figures stay.
    async fn measure(&self) {
        if let Some(standing) = self.store.standing() {
            self.metrics.set_shared(standing.reachable, standing.single_copy);
        }
        let Ok(destinations) = self.outbox.destinations().await else { return };
        let now_ms = self.clock.now_ms();
        // What somebody has paused is meant to wait.
        let waiting = destinations.iter().filter(|destination| destination.hold.paused.is_none());
        let oldest_ms = waiting.filter_map(|destination| destination.depth.oldest_due_at_ms).min();
        let waited_ms = oldest_ms.map_or(0, |at_ms| now_ms.saturating_sub(at_ms));
        self.metrics.set_oldest_due(Duration::from_millis(u64::try_from(waited_ms).unwrap_or(0)));
        for destination in destinations {
            let (id, depth) = (&destination.id, &destination.depth);
            for (state, count) in [
                (DeliveryState::Due, depth.due),
                (DeliveryState::Leased, depth.in_flight),
                (DeliveryState::Parked, destination.parked),
                (DeliveryState::Delivered, depth.delivered),
                (DeliveryState::Dead, depth.dead),
            ] {
                self.metrics.set_deliveries(id, state, count);
            }
            let open = destination.hold.open;
            for (reason, held) in [
                (HoldReason::Paused, destination.hold.paused.is_some()),
                (HoldReason::Open, open.is_some()),
                (HoldReason::Failing, open.is_some_and(|open| open.is_failing(now_ms))),
            ] {
                self.metrics.set_held(id, reason, held);
            }
        }
    }
}

fn is_read(request: &Request) -> bool {
    matches!(request.method, Method::GET | Method::HEAD)
}

fn alive(request: &Request) -> Response {
    if is_read(request) {
        Response::text(StatusCode::OK, "ok\n")
    } else {
        Response::method_not_allowed("GET, HEAD")
    }
}

/// Ready while the store takes writes: without it nothing can be acknowledged.
async fn ready(request: &Request, store: &Store, leaving: &Leaving) -> Response {
    if !is_read(request) {
        return Response::method_not_allowed("GET, HEAD");
    }
    if leaving.is_on() {
        return Response::text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    match store.ready().await {
        Ok(()) => Response::text(StatusCode::OK, "ready\n"),
        Err(store::Error::Unconfirmed) => {
            Response::text(StatusCode::SERVICE_UNAVAILABLE, "the shared store confirms nothing\n")
        }
        Err(store::Error::Damaged) => {
            Response::text(StatusCode::SERVICE_UNAVAILABLE, "the store is damaged\n")
        }
        Err(_) => Response::text(StatusCode::SERVICE_UNAVAILABLE, "the store is not available\n"),
    }
}

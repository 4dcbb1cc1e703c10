//! Destinations: their queues, pausing and resuming them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Call, Object, Problem, moment, ok};
use crate::outbox::{DestinationId, DestinationView as Seen};

/// Characters of a reason.
const MAX_REASON: usize = 200;

/// A destination and its queue.
#[derive(Serialize, ToSchema)]
pub(super) struct DestinationView {
    id: String,
    /// Since when it is paused; null if it is not.
    paused_at: Option<String>,
    /// Why, if a reason was given.
    pause_reason: Option<String>,
    /// Since when its breaker is open; null if it works.
    failing_since: Option<String>,
    /// Deliveries that wait for their time.
    due: u64,
    /// Deliveries that wait because it is held.
    parked: u64,
    /// Deliveries under way.
    in_flight: u64,
    /// Deliveries that it has got.
    delivered: u64,
    /// Deliveries that were given up, and can be replayed.
    dead: u64,
}

/// Destinations.
#[derive(Serialize, ToSchema)]
pub(super) struct DestinationList {
    destinations: Vec<DestinationView>,
}

/// Why it is paused.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pause {
    /// For whoever looks at it later.
    reason: Option<String>,
}

/// What came of it.
#[derive(Serialize, ToSchema)]
pub(super) struct Changed {
    /// Whether it was not so before.
    pub(super) changed: bool,
}

pub(super) fn destination(call: &Call<'_>) -> Result<DestinationId, Problem> {
    match &call.object {
        Object::Destination(id) => DestinationId::new(id.as_str()).map_err(|_invalid| Problem::missing()),
        _ => Err(Problem::missing()),
    }
}

fn view(id: &str, seen: Option<&Seen>) -> DestinationView {
    let hold = seen.map(|seen| seen.hold.clone()).unwrap_or_default();
    let depth = seen.map(|seen| seen.depth.clone()).unwrap_or_default();
    DestinationView {
        id: id.to_owned(),
        paused_at: hold.paused.as_ref().map(|paused| moment(paused.at_ms)),
        pause_reason: hold.paused.and_then(|paused| paused.reason),
        failing_since: hold.open.map(|open| moment(open.since_ms)),
        due: depth.due,
        parked: seen.map_or(0, |seen| seen.parked),
        in_flight: depth.in_flight,
        delivered: depth.delivered,
        dead: depth.dead,
    }
}

/// The destinations of the workspace.
#[utoipa::path(get, path = "/api/v1/destinations", operation_id = "listDestinations", tag = "destinations",
    responses((status = 200, body = DestinationList)))]
pub(super) async fn list(call: Call<'_>) -> Answer {
    call.only(&[])?;
    let seen = call.of.outbox.destinations().await?;
    let ids = call.of.workspaces.destinations.iter().filter(|(_, of)| **of == call.principal.workspace);
    let views = ids.map(|(id, _)| view(id, seen.iter().find(|seen| seen.id == *id)));
    ok(&DestinationList { destinations: views.collect() })
}

/// One destination.
#[utoipa::path(get, path = "/api/v1/destinations/{destination}", operation_id = "getDestination", tag = "destinations",
    params(("destination" = String, Path)), responses((status = 200, body = DestinationView), (status = 404, body = Problem)))]
pub(super) async fn show(call: Call<'_>) -> Answer {
    let id = destination(&call)?;
    let seen = call.of.outbox.destinations().await?;
    ok(&view(id.as_str(), seen.iter().find(|seen| seen.id == id.as_str())))
}

/// Sends nothing more to it; submissions are still taken, and wait.
#[utoipa::path(post, path = "/api/v1/destinations/{destination}/pause", operation_id = "pauseDestination", tag = "destinations",
    params(("destination" = String, Path)), request_body = Pause,
    responses((status = 200, body = Changed), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn pause(call: Call<'_>) -> Answer {
    let Pause { reason } = call.json()?;
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON) {
        return Err(Problem::bad(format!("reason: {MAX_REASON} characters at most")));
    }
    let (id, actor) = (destination(&call)?, call.principal.actor());
    ok(&Changed { changed: call.of.outbox.pause(&id, &actor, reason.as_deref()).await? })
}

/// Sends to it again, and probes it at once if it was failing.
#[utoipa::path(post, path = "/api/v1/destinations/{destination}/resume", operation_id = "resumeDestination", tag = "destinations",
    params(("destination" = String, Path)), responses((status = 200, body = Changed), (status = 404, body = Problem)))]
pub(super) async fn resume(call: Call<'_>) -> Answer {
    let (id, actor) = (destination(&call)?, call.principal.actor());
    ok(&Changed { changed: call.of.outbox.resume(&id, &actor).await? })
}

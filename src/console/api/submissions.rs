//! Submissions, their deliveries, and replaying these.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Call, Object, Problem, moment, ok};
use crate::outbox::{Cursor, DeliveryKey, DeliveryView as Seen, Filter, SubmissionId};
use crate::server::StatusCode;
use crate::store::{DeliveryState, Reopened};

/// A line of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct Listed {
    /// The submission.
    id: String,
    flow_id: String,
    flow_version: u32,
    accepted_at: String,
    /// Whether it was a trial.
    test: bool,
    deliveries: Vec<DeliveryView>,
}

/// A page of a list, the newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct SubmissionList {
    submissions: Vec<Listed>,
    /// What to give as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// A delivery.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryView {
    /// Its key, which is also the idempotency key that the destination gets.
    key: String,
    destination: String,
    /// `due`, `parked`, `in_flight`, `delivered` or `dead`.
    state: &'static str,
    /// When it is due, when its lease ends, or when it was settled.
    at: String,
    /// How often it was attempted in this budget.
    attempt: u32,
    /// Its last attempts, the oldest first.
    attempts: Vec<AttemptView>,
    /// Why it was given up; null unless it was.
    dead_reason: Option<String>,
}

/// An attempt of a delivery.
#[derive(Serialize, ToSchema)]
pub(super) struct AttemptView {
    number: u32,
    at: String,
    took_ms: u32,
    /// How it ended, in a word.
    class: String,
    /// The destination's HTTP status, if it gave one.
    status: Option<u16>,
}

/// A submission with its answers, as webhooks get it, and where each delivery stands.
#[derive(Serialize, ToSchema)]
pub(super) struct SubmissionView {
    /// As in `schemas/submission.schema.json`.
    #[schema(value_type = Object)]
    submission: serde_json::Value,
    deliveries: Vec<DeliveryView>,
}

/// How to replay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Replay {
    /// Under new idempotency keys: a destination that has it already then has it twice.
    #[serde(default)]
    as_new: bool,
}

/// What was replayed.
#[derive(Serialize, ToSchema)]
pub(super) struct Replayed {
    /// How many deliveries are due now.
    replayed: usize,
}

impl From<&Seen> for DeliveryView {
    fn from(seen: &Seen) -> Self {
        let attempts = seen.attempts.iter().map(|attempt| AttemptView {
            number: attempt.number,
            at: moment(attempt.at_ms),
            took_ms: attempt.took_ms,
            class: attempt.class.to_string(),
            status: attempt.status,
        });
        Self {
            key: seen.key.to_string(),
            destination: seen.destination.clone(),
            state: seen.state.as_str(),
            at: moment(seen.at_ms),
            attempt: seen.attempt,
            attempts: attempts.collect(),
            dead_reason: seen.dead_reason.clone(),
        }
    }
}

fn state(call: &Call<'_>) -> Result<Option<DeliveryState>, Problem> {
    let Some(name) = call.query.get("state") else { return Ok(None) };
    use DeliveryState::{Dead, Delivered, Due, Leased, Parked};
    let found = [Due, Leased, Parked, Delivered, Dead].into_iter().find(|state| state.as_str() == name);
    found.map(Some).ok_or_else(|| Problem::bad("state: due, parked, in_flight, delivered or dead"))
}

/// Submissions of the workspace, the newest first, without their answers.
#[utoipa::path(get, path = "/api/v1/submissions", operation_id = "listSubmissions", tag = "submissions",
    params(("flow" = Option<String>, Query, description = "Only of this flow"),
        ("state" = Option<String>, Query, description = "Only those with a delivery in this state"),
        ("since" = Option<String>, Query, description = "Only those accepted at this time or later, RFC 3339"),
        ("after" = Option<String>, Query, description = "What the page before gave as `next`"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200)),
    responses((status = 200, body = SubmissionList), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn list(call: Call<'_>) -> Answer {
    call.only(&["flow", "state", "since", "after", "limit"])?;
    let workspace = call.principal.workspace.as_str();
    let flow_id = call.query.get("flow").cloned();
    if flow_id.as_ref().is_some_and(|flow| !call.of.workspaces.has_flow(workspace, flow)) {
        return Err(Problem::missing());
    }
    let since = call.parsed::<jiff::Timestamp>("since")?;
    let filter =
        Filter { flow_id, state: state(&call)?, since_ms: since.map(|since| since.as_millisecond()) };
    let (limit, mut after) = (call.limit()?, call.parsed::<Cursor>("after")?);
    let mut submissions: Vec<Listed> = Vec::new();
    // A page of the outbox may hold other workspaces' submissions, and may hold none at all.
    for _ in 0..MAX_LOOKS {
        let left = limit.saturating_sub(u32::try_from(submissions.len()).unwrap_or(u32::MAX));
        let page = call.of.outbox.list(&filter, after, left).await?;
        let own = page.items.iter().filter(|item| call.of.workspaces.has_flow(workspace, &item.flow_id));
        submissions.extend(own.map(|item| Listed {
            id: item.id.to_string(),
            flow_id: item.flow_id.clone(),
            flow_version: item.flow_version,
            accepted_at: moment(item.accepted_at_ms),
            test: item.test,
            deliveries: item.deliveries.iter().map(DeliveryView::from).collect(),
        }));
        after = page.next;
        if after.is_none() || submissions.len() >= limit as usize {
            break;
        }
    }
    ok(&SubmissionList { submissions, next: after.map(|cursor| cursor.to_string()) })
}

/// Pages of the outbox looked through for one page of the list.
const MAX_LOOKS: usize = 10;

fn submission(call: &Call<'_>) -> Result<SubmissionId, Problem> {
    match call.object {
        Object::Submission(id) => Ok(id),
        _ => Err(Problem::missing()),
    }
}

/// One submission with its answers.
#[utoipa::path(get, path = "/api/v1/submissions/{submission}", operation_id = "getSubmission", tag = "submissions",
    params(("submission" = String, Path)), responses((status = 200, body = SubmissionView), (status = 404, body = Problem)))]
pub(super) async fn show(call: Call<'_>) -> Answer {
    let shown = call.of.outbox.show(submission(&call)?).await?.ok_or_else(Problem::missing)?;
    let unwritable =
        |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the submission cannot be written as JSON");
    ok(&SubmissionView {
        submission: serde_json::to_value(&shown.submission).map_err(unwritable)?,
        deliveries: shown.deliveries.iter().map(DeliveryView::from).collect(),
    })
}

/// Makes the deliveries of a submission that were given up due again, with a new budget of attempts.
#[utoipa::path(post, path = "/api/v1/submissions/{submission}/replay", operation_id = "replaySubmission", tag = "submissions",
    params(("submission" = String, Path)), request_body = Replay,
    responses((status = 200, body = Replayed), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn replay(call: Call<'_>) -> Answer {
    let Replay { as_new } = call.json()?;
    let shown = call.of.outbox.show(submission(&call)?).await?.ok_or_else(Problem::missing)?;
    let mut replayed = 0;
    for delivery in shown.deliveries.iter().filter(|delivery| delivery.state == DeliveryState::Dead) {
        if reopen(&call, delivery.key, as_new).await? == Reopened::Due {
            replayed += 1;
        }
    }
    ok(&Replayed { replayed })
}

fn key(call: &Call<'_>) -> Result<DeliveryKey, Problem> {
    match call.object {
        Object::Delivery(key) => Ok(key),
        _ => Err(Problem::missing()),
    }
}

async fn reopen(call: &Call<'_>, key: DeliveryKey, as_new: bool) -> Result<Reopened, Problem> {
    let actor = call.principal.actor();
    Ok(if as_new {
        call.of.outbox.replay_as_new(key, &actor).await?
    } else {
        call.of.outbox.replay(key, &actor).await?
    })
}

/// One delivery.
#[utoipa::path(get, path = "/api/v1/deliveries/{delivery}", operation_id = "getDelivery", tag = "deliveries",
    params(("delivery" = String, Path)), responses((status = 200, body = DeliveryView), (status = 404, body = Problem)))]
pub(super) async fn delivery(call: Call<'_>) -> Answer {
    let key = key(&call)?;
    let submission = call.of.outbox.submission_of(key).await?.ok_or_else(Problem::missing)?;
    let shown = call.of.outbox.show(submission).await?.ok_or_else(Problem::missing)?;
    let delivery =
        shown.deliveries.iter().find(|delivery| delivery.key == key).ok_or_else(Problem::missing)?;
    ok(&DeliveryView::from(delivery))
}

/// Makes a delivery that was given up due again.
#[utoipa::path(post, path = "/api/v1/deliveries/{delivery}/replay", operation_id = "replayDelivery", tag = "deliveries",
    params(("delivery" = String, Path)), request_body = Replay,
    responses((status = 200, body = Replayed), (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn replay_delivery(call: Call<'_>) -> Answer {
    let Replay { as_new } = call.json()?;
    match reopen(&call, key(&call)?, as_new).await? {
        Reopened::Due => ok(&Replayed { replayed: 1 }),
        Reopened::NotDead(state) => {
            let detail = format!("it was not given up: it is {}", state.as_str());
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
        Reopened::Unknown => Err(Problem::missing()),
    }
}

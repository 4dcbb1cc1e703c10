//! Flows: what is served, what it is made from, and what waits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Call, Object, Problem, moment, ok};
use crate::catalog::drift::Change;
use crate::catalog::import::Imported;
use crate::endpoint::token::Token;
use crate::server::{Response, StatusCode};

/// The longest life of a flow token made here, in seconds: as Meta keeps messages openable for weeks, not for years.
const MAX_TTL_S: u64 = 90 * 86_400;

/// A flow.
#[derive(Serialize, ToSchema)]
pub(super) struct FlowView {
    /// Its id; it is served at `/flows/{id}`.
    id: String,
    /// The tool that its form is from.
    tool: String,
    /// The form's title.
    title: String,
    /// The newest version.
    version: u32,
    /// Where its form is read from; absent for a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<OriginView>,
    /// How many changes of the form wait to be approved.
    waiting: usize,
}

/// Where a form is read from.
#[derive(Serialize, ToSchema)]
pub(super) struct OriginView {
    /// The connection.
    connection: String,
    /// The tool's id of the form.
    form: String,
    /// What the tool calls the state that is served.
    revision: String,
    /// When it was read.
    read_at: String,
    /// When the tool was asked last.
    checked_at: String,
}

/// Flows.
#[derive(Serialize, ToSchema)]
pub(super) struct FlowList {
    flows: Vec<FlowView>,
}

/// A stored version.
#[derive(Serialize, ToSchema)]
pub(super) struct VersionView {
    /// Its number.
    version: u32,
    /// The form's title then.
    title: String,
    /// How many questions it has.
    questions: usize,
    /// SHA-256 of form and settings, in hexadecimal.
    source: String,
}

/// Versions, the newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct VersionList {
    versions: Vec<VersionView>,
}

/// What is different in the change that waits.
#[derive(Serialize, ToSchema)]
pub(super) struct DiffView {
    /// The severest of the changes: `cosmetic`, `compatible` or `breaking`; null if nothing waits.
    impact: Option<&'static str>,
    changes: Vec<ChangeView>,
}

/// One change of a form.
#[derive(Serialize, ToSchema)]
pub(super) struct ChangeView {
    /// `cosmetic`, `compatible` or `breaking`.
    impact: &'static str,
    /// Where, such as `question.KEY`.
    at: String,
    /// The text people know it by.
    title: String,
    /// What changed.
    text: String,
}

/// A flow token to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewFlowToken {
    /// Whom the message goes to: a phone number.
    contact: Option<String>,
    /// What the message belongs to.
    campaign: Option<String>,
    /// How long it opens the flow, in seconds; three days if absent.
    ttl_seconds: Option<u64>,
    /// Values of hidden fields.
    #[serde(default)]
    hidden: BTreeMap<String, String>,
}

/// A flow token.
#[derive(Serialize, ToSchema)]
pub(super) struct FlowToken {
    /// What goes into the message as `flow_token`.
    flow_token: String,
}

fn flow(call: &Call<'_>) -> Result<String, Problem> {
    match &call.object {
        Object::Flow(id) => Ok(id.clone()),
        _ => Err(Problem::missing()),
    }
}

async fn view(call: &Call<'_>, id: &str) -> Result<Option<FlowView>, Problem> {
    // One whose form was not read yet has no version to tell of.
    let Some(newest) = call.of.flows.get(id).and_then(|flow| flow.versions.first().cloned()) else {
        return Ok(None);
    };
    let imported = call.of.catalog.imported(id).await?;
    let waiting = imported.as_ref().and_then(|imported| imported.waiting.as_ref());
    let (form, version) = (newest.form(), newest.plan().version);
    Ok(Some(FlowView {
        id: id.to_owned(),
        tool: form.tool.clone(),
        title: form.title.clone(),
        version,
        waiting: waiting.map_or(0, |waiting| waiting.drift.changes.len()),
        origin: imported.map(origin),
    }))
}

fn origin(imported: Imported) -> OriginView {
    OriginView {
        connection: imported.origin.connection,
        form: imported.origin.form,
        revision: imported.current.revision,
        read_at: moment(imported.current.at_ms),
        checked_at: moment(imported.checked_at_ms),
    }
}

/// The flows of the workspace.
#[utoipa::path(get, path = "/api/v1/flows", operation_id = "listFlows", tag = "flows",
    responses((status = 200, body = FlowList)))]
pub(super) async fn list(call: Call<'_>) -> Answer {
    call.only(&[])?;
    let ids = call.of.workspaces.flows.iter().filter(|(_, of)| **of == call.principal.workspace);
    let mut flows = Vec::new();
    for (id, _) in ids {
        flows.extend(view(&call, id).await?);
    }
    ok(&FlowList { flows })
}

/// One flow.
#[utoipa::path(get, path = "/api/v1/flows/{flow}", operation_id = "getFlow", tag = "flows", params(("flow" = String, Path)),
    responses((status = 200, body = FlowView), (status = 404, body = Problem)))]
pub(super) async fn show(call: Call<'_>) -> Answer {
    ok(&view(&call, &flow(&call)?).await?.ok_or_else(Problem::missing)?)
}

/// The stored versions of a flow, the newest first: people in mid-form finish on the one they opened.
#[utoipa::path(get, path = "/api/v1/flows/{flow}/versions", operation_id = "listVersions", tag = "flows", params(("flow" = String, Path)),
    responses((status = 200, body = VersionList), (status = 404, body = Problem)))]
pub(super) async fn versions(call: Call<'_>) -> Answer {
    let versions = call.of.catalog.versions(&flow(&call)?).await?.into_iter().map(|version| VersionView {
        version: version.plan.version,
        title: version.plan.form.title.clone(),
        questions: version.plan.form.questions().count(),
        source: version.source,
    });
    ok(&VersionList { versions: versions.collect() })
}

/// The Flow JSON document of the newest version, to publish with Meta.
#[utoipa::path(get, path = "/api/v1/flows/{flow}/flow.json", operation_id = "getFlowJson", tag = "flows", params(("flow" = String, Path)),
    responses((status = 200, body = serde_json::Value), (status = 404, body = Problem)))]
pub(super) async fn served_document(call: Call<'_>) -> Answer {
    let versions = call.of.catalog.versions(&flow(&call)?).await?;
    ok(&versions.first().ok_or_else(Problem::missing)?.document)
}

/// The form that is served, in the neutral format of `schemas/form.schema.json`.
#[utoipa::path(get, path = "/api/v1/flows/{flow}/form", operation_id = "getForm", tag = "flows", params(("flow" = String, Path)),
    responses((status = 200, body = serde_json::Value), (status = 404, body = Problem)))]
pub(super) async fn form(call: Call<'_>) -> Answer {
    let served = call.of.flows.get(&flow(&call)?);
    let newest = served.as_ref().and_then(|flow| flow.versions.first()).ok_or_else(Problem::missing)?;
    ok(newest.form())
}

/// What is different in the change of the form that waits.
#[utoipa::path(get, path = "/api/v1/flows/{flow}/diff", operation_id = "getDiff", tag = "flows", params(("flow" = String, Path)),
    responses((status = 200, body = DiffView), (status = 404, body = Problem)))]
pub(super) async fn diff(call: Call<'_>) -> Answer {
    let imported = call.of.catalog.imported(&flow(&call)?).await?;
    let drift =
        imported.and_then(|imported| imported.waiting).map(|waiting| waiting.drift).unwrap_or_default();
    let impact = drift.impact().map(crate::catalog::drift::Impact::as_str);
    ok(&DiffView { impact, changes: drift.changes.into_iter().map(change).collect() })
}

fn change(change: Change) -> ChangeView {
    let Change { impact, at, title, text } = change;
    ChangeView { impact: impact.as_str(), at, title, text }
}

/// Takes the change that waits over. People in mid-form finish on what they opened.
#[utoipa::path(post, path = "/api/v1/flows/{flow}/approve", operation_id = "approveChange", tag = "flows", params(("flow" = String, Path)),
    responses((status = 200, body = DiffView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn approve(call: Call<'_>) -> Answer {
    let approved = call.of.catalog.approve(&flow(&call)?, &call.principal.actor(), call.now_ms()).await?;
    let Some(drift) = approved else {
        return Err(Problem::new(StatusCode::CONFLICT, "no change of the form waits"));
    };
    (call.of.look)();
    let impact = drift.impact().map(crate::catalog::drift::Impact::as_str);
    ok(&DiffView { impact, changes: drift.changes.into_iter().map(change).collect() })
}

/// Makes a sealed flow token: it opens the flow for one contact and campaign, with hidden values, for a while.
#[utoipa::path(post, path = "/api/v1/flows/{flow}/tokens", operation_id = "makeFlowToken", tag = "flows", params(("flow" = String, Path)),
    request_body = NewFlowToken,
    responses((status = 201, body = FlowToken), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn make_token(call: Call<'_>) -> Answer {
    let new: NewFlowToken = call.json()?;
    let ttl_s = new.ttl_seconds.unwrap_or(3 * 86_400);
    if !(60..=MAX_TTL_S).contains(&ttl_s) {
        return Err(Problem::bad(format!("ttl_seconds: a number from 60 to {MAX_TTL_S}")));
    }
    let now_s = u64::try_from(call.now_ms() / 1_000).unwrap_or(0);
    let token = Token {
        nonce: rand::random(),
        expires_at_s: Some(now_s.saturating_add(ttl_s)),
        phone: new.contact,
        user_id: None,
        campaign: new.campaign,
        hidden: new.hidden.into_iter().collect(),
    };
    let flow_token = token.issue(&call.of.sealer, &flow(&call)?);
    let flow_token = flow_token.map_err(|error| Problem::bad(error.to_string()))?;
    Ok(Response::json(StatusCode::CREATED, &FlowToken { flow_token }))
}

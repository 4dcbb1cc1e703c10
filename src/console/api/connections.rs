//! Connected accounts: whose they are, how they stand, what forms they have; links that connect, and the end.
//!
//! Tokens are never told. A link is: it is for one browser, once, and connects an account to the caller's workspace.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Answer, Call, Object, Problem, moment, ok};
use crate::catalog::{self, import};
use crate::connector::connection::{By, Connection, ConnectionId, LINK_LIFE, Means, State};
use crate::connector::oauth::{self, Tool};
use crate::connector::source::{self, Fetched, Listing};
use crate::console::start_link;
use crate::flow::compile::Settings;
use crate::server::{Response, StatusCode};

/// How long a tool may take, all its calls together.
const PATIENCE: Duration = Duration::from_secs(45);
/// Characters of what is searched for, and of the mark of a page.
const MAX_TEXT: usize = 500;

/// A connected account.
#[derive(Serialize, ToSchema)]
pub(super) struct ConnectionView {
    /// Its name: what `connection` is in the configuration.
    id: String,
    /// The form tool.
    tool: &'static str,
    /// Whose account it is.
    account: AccountView,
    /// The tool's region, if one was chosen.
    region: Option<String>,
    /// By what it is connected: `oauth`, `token` or `service_account`.
    means: &'static str,
    /// `active` or `needs_reconnect`.
    state: &'static str,
    /// What is the matter and what to do; null while it works.
    lost: Option<LostView>,
    /// What was granted, as far as the tool says.
    scopes: Vec<String>,
    made_at: String,
    made_by: String,
    /// When it was connected last.
    connected_at: String,
}

/// An account at a tool.
#[derive(Serialize, ToSchema)]
pub(super) struct AccountView {
    /// The tool's id of it; empty if the token may not tell.
    id: String,
    /// What people call it.
    name: String,
}

/// Why a connection does not work, and what to do.
#[derive(Serialize, ToSchema)]
pub(super) struct LostView {
    since: String,
    reason: String,
    /// What somebody has to do. What waits goes on by itself then.
    remedy: String,
}

/// Connected accounts.
#[derive(Serialize, ToSchema)]
pub(super) struct ConnectionList {
    connections: Vec<ConnectionView>,
}

/// An account to connect in a browser.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewConnectionLink {
    /// `hubspot`, `google-forms`, `typeform` or `surveymonkey`.
    #[schema(pattern = "^(hubspot|google-forms|typeform|surveymonkey)$", example = "hubspot")]
    tool: String,
    /// The tool's region of the account: `us`, `eu`, `ca` or `eu-old`.
    region: Option<String>,
    /// What to call the connection: small letters, digits and hyphens; that of an older one mends it.
    #[schema(pattern = "^[a-z0-9-]{1,64}$")]
    name: Option<String>,
}

/// A link that connects an account.
#[derive(Serialize, ToSchema)]
pub(super) struct ConnectionLink {
    /// To be opened in a browser, once.
    url: String,
    /// Until when.
    expires_at: String,
}

/// What came of the end.
#[derive(Serialize, ToSchema)]
pub(super) struct Disconnected {
    /// Whether the tool has taken the tokens back.
    revoked: bool,
    /// What is left to do at the tool; null if nothing is.
    left_to_do: Option<String>,
}

/// A form at its tool.
#[derive(Serialize, ToSchema)]
pub(super) struct FormListed {
    /// The tool's id of it.
    id: String,
    title: String,
    /// When it was changed, as the tool says it.
    changed: Option<String>,
}

/// Forms at their tool.
#[derive(Serialize, ToSchema)]
pub(super) struct FormList {
    forms: Vec<FormListed>,
    /// What to give as `page` for more; null on the last page.
    next: Option<String>,
}

/// A form as its tool has it now, and what would become of it.
#[derive(Serialize, ToSchema)]
pub(super) struct FormRead {
    /// What was asked for.
    form: String,
    tool: &'static str,
    /// What the tool calls this state of the form; empty if it says nothing.
    revision: String,
    /// As the tool gives it: what `formgate compile` takes.
    #[schema(value_type = Object)]
    definition: serde_json::Value,
    /// How faithfully each part is carried (`schemas/report.schema.json`).
    #[schema(value_type = Object)]
    report: serde_json::Value,
}

fn connection<'c>(call: &'c Call<'_>) -> Result<&'c Connection, Problem> {
    match &call.object {
        Object::Connection(connection) => Ok(connection),
        _ => Err(Problem::missing()),
    }
}

fn view(connection: Connection) -> ConnectionView {
    let lost = match &connection.state {
        State::Active => None,
        State::NeedsReconnect { since_ms, reason } => {
            Some(LostView { since: moment(*since_ms), reason: reason.clone(), remedy: remedy(&connection) })
        }
    };
    let Connection { id, tool, account, region, means, scopes, made_at_ms, made_by, .. } = connection;
    ConnectionView {
        id: id.to_string(),
        tool: tool.as_str(),
        account: AccountView { id: account.id, name: account.name },
        region,
        means: match means {
            Means::Oauth => "oauth",
            Means::Token => "token",
            Means::ServiceAccount => "service_account",
        },
        state: if lost.is_some() { "needs_reconnect" } else { "active" },
        lost,
        scopes,
        made_at: moment(made_at_ms),
        made_by,
        connected_at: moment(connection.connected_at_ms),
    }
}

fn remedy(connection: &Connection) -> String {
    let Connection { id, tool, .. } = connection;
    match connection.means {
        Means::Oauth => format!(
            "Connect the same account again: open a link of POST /api/v1/connection-links with {{\"tool\": \"{tool}\", \"name\": \"{id}\"}}, or of formgate connect {tool} --name {id}."
        ),
        Means::Token => format!(
            "Make a new token at {}, then formgate connect {tool} --name {id} --token-file FILE.",
            tool.title()
        ),
        Means::ServiceAccount => format!(
            "Make a new key for the service account, then formgate connect {tool} --name {id} --service-account FILE."
        ),
    }
}

/// The connected accounts of the workspace.
#[utoipa::path(get, path = "/api/v1/connections", operation_id = "listConnections", tag = "connections",
    responses((status = 200, body = ConnectionList), (status = 400, body = Problem)))]
pub(super) async fn list(call: Call<'_>) -> Answer {
    call.only(&[])?;
    let all = call.of.connections.list().await?.into_iter();
    let own = all.filter(|connection| connection.workspace == call.principal.workspace);
    ok(&ConnectionList { connections: own.map(view).collect() })
}

/// One connected account.
#[utoipa::path(get, path = "/api/v1/connections/{connection}", operation_id = "getConnection", tag = "connections",
    params(("connection" = String, Path)), responses((status = 200, body = ConnectionView), (status = 404, body = Problem)))]
pub(super) async fn show(call: Call<'_>) -> Answer {
    ok(&view(connection(&call)?.clone()))
}

/// Makes a link that connects an account: whoever opens it agrees at the tool. It works once.
#[utoipa::path(post, path = "/api/v1/connection-links", operation_id = "makeConnectionLink", tag = "connections",
    request_body = NewConnectionLink,
    responses((status = 201, body = ConnectionLink), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn begin(call: Call<'_>) -> Answer {
    let NewConnectionLink { tool, region, name } = call.json()?;
    let tool: Tool = tool.parse().map_err(|error: oauth::UnknownTool| Problem::bad(error.to_string()))?;
    let name: Option<ConnectionId> = match name.as_deref().map(str::parse) {
        None => None,
        Some(Ok(name)) => Some(name),
        Some(Err(invalid)) => return Err(Problem::bad(invalid.to_string())),
    };
    let public = call.of.public_url.as_ref().ok_or_else(|| {
        let detail =
            "nobody could come back from the tool: the configuration has to have server.public_url, the address of this server";
        Problem::new(StatusCode::CONFLICT, detail)
    })?;
    let (provider, actor) = (tool.server(region.as_deref()), call.principal.actor());
    let by = By { actor: &actor, workspace: Some(&call.principal.workspace) };
    let token = call.of.connections.begin(provider, region.as_deref(), name.as_ref(), by).await?;
    let life_ms = i64::try_from(LINK_LIFE.as_millis()).unwrap_or(i64::MAX);
    let link = ConnectionLink {
        url: start_link(public, provider, &token).into(),
        expires_at: moment(call.now_ms().saturating_add(life_ms)),
    };
    Ok(Response::json(StatusCode::CREATED, &link))
}

/// Gives the tokens back, where the tool can, and forgets the connection. What uses it waits until there is one of this name.
#[utoipa::path(delete, path = "/api/v1/connections/{connection}", operation_id = "removeConnection", tag = "connections",
    params(("connection" = String, Path)), responses((status = 200, body = Disconnected), (status = 404, body = Problem)))]
pub(super) async fn remove(call: Call<'_>) -> Answer {
    let connection = connection(&call)?;
    let revoked = call.of.connections.remove(&connection.id, &call.principal.actor()).await?;
    ok(&Disconnected { revoked, left_to_do: connection.left_to_do(revoked) })
}

/// A page of the forms that the account has at its tool.
#[utoipa::path(get, path = "/api/v1/connections/{connection}/forms", operation_id = "listForms", tag = "connections",
    params(("connection" = String, Path),
        ("search" = Option<String>, Query, description = "Only those whose title holds it"),
        ("page" = Option<String>, Query, description = "What the page before gave as `next`")),
    responses((status = 200, body = FormList), (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn forms(call: Call<'_>) -> Answer {
    call.only(&["search", "page"])?;
    let text = |name: &str| match call.query.get(name) {
        Some(text) if text.chars().count() > MAX_TEXT => {
            Err(Problem::bad(format!("{name}: {MAX_TEXT} characters at most")))
        }
        text => Ok(text.map(String::as_str).filter(|text| !text.is_empty())),
    };
    let (search, page) = (text("search")?, text("page")?);
    let (_, source) = call.of.connections.source(&connection(&call)?.id).await?;
    let Listing { forms, next } = in_time(source.list(search, page)).await?;
    let forms = forms.into_iter().map(|form| {
        let source::Listed { id, title, changed } = form;
        FormListed { id, title, changed }
    });
    ok(&FormList { forms: forms.collect(), next })
}

/// Reads a form at its tool and says what would become of it; nothing is kept.
#[utoipa::path(get, path = "/api/v1/connections/{connection}/forms/{form}", operation_id = "readForm", tag = "connections",
    params(("connection" = String, Path), ("form" = String, Path, description = "The tool's id of the form; for Google also its link, percent-encoded")),
    responses((status = 200, body = FormRead), (status = 400, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem, description = "It is no form that can become a flow")))]
pub(super) async fn read_form(call: Call<'_>) -> Answer {
    let form = call.part.clone().filter(|form| !form.is_empty()).ok_or_else(Problem::missing)?;
    let (tool, source) = call.of.connections.source(&connection(&call)?.id).await?;
    let Fetched { definition, revision } = in_time(source.fetch(&form)).await?;
    let unreadable = |error: &dyn std::fmt::Display| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the form cannot become a flow: {error}"))
    };
    let import = import::read(&definition, tool.as_str(), None).map_err(|error| unreadable(&error))?;
    let compiled = catalog::compile(&import, &Settings::default()).map_err(|error| unreadable(&error))?;
    let definition = serde_json::from_slice(&definition).map_err(|error| unreadable(&error))?;
    let report = serde_json::to_value(&compiled.report).map_err(|error| unreadable(&error))?;
    ok(&FormRead { form, tool: tool.as_str(), revision, definition, report })
}

async fn in_time<T>(calling: source::Pending<'_, T>) -> Result<T, Problem> {
    let late = |_| Problem::new(StatusCode::BAD_GATEWAY, "the tool did not answer in time; try again");
    Ok(tokio::time::timeout(PATIENCE, calling).await.map_err(late)??)
}

//! The management API, `/api/v1/…`: JSON over HTTP, with tokens (`Authorization: Bearer fgt_…`).
//!
//! Invariant: the table of routes is all there is. [`Api::answer`] finds the route, the principal, checks the scope, finds the
//! object that the path names and checks that it is in the principal's workspace, in this order, before a handler runs.
//! The OpenAPI document is made from the same handlers; a test holds both equal.
//!
//! Refusals are problem details (RFC 9457).

mod connections;
mod destinations;
mod document;
mod flows;
mod mapping;
mod submissions;
mod tokens;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;
use utoipa::ToSchema;

use super::Workspaces;
use super::access::{Principal, Scope, Tokens};
use crate::catalog::Catalog;
use crate::connector::connection::{self, Connection, Connections};
use crate::connector::source;
use crate::crypto::Sealer;
use crate::endpoint::Flows;
use crate::outbox::{self, Clock, DeliveryKey, Outbox, SubmissionId};
use crate::server::header::{self, HeaderValue};
use crate::server::{Method, Request, Response, StatusCode};
use crate::store;

pub use self::document::document;
pub use self::mapping::{Described, Fault, Looking, Mappings, Tried};

/// Where it is.
pub const ROOT: &str = "/api/v1/";
/// The largest body.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// Items of a page without a word on it, and the most there can be.
const PAGE: u32 = 50;
const MAX_PAGE: u32 = 200;

/// What the API works on.
pub struct Resources {
    /// Submissions and deliveries.
    pub outbox: Outbox,
    /// Flows and their versions.
    pub catalog: Catalog,
    /// What is served.
    pub flows: Flows,
    /// Has what was taken over, or set, looked at now.
    pub look: Arc<dyn Fn() + Send + Sync>,
    /// Connected accounts.
    pub connections: Connections,
    /// Those who deliver, asked about mappings.
    pub mappings: Arc<dyn Mappings>,
    /// Where people reach this server.
    pub public_url: Option<Url>,
    /// Seals flow tokens.
    pub sealer: Sealer,
    /// Tokens of the API itself.
    pub tokens: Tokens,
    /// Who has what.
    pub workspaces: Workspaces,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// The API; cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Resources>);

/// A refusal (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What kind of refusal it is.
    pub title: &'static str,
    /// What is wrong, and what to do.
    pub detail: String,
    /// What is wrong, one by one, where several things can be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// After how many seconds to try again, for the header.
    #[serde(skip)]
    retry_after_s: u64,
}

impl Problem {
    fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Refused");
        Self { status: status.as_u16(), title, detail: detail.into(), faults: Vec::new(), retry_after_s: 1 }
    }

    fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    fn missing() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such thing, or not in the workspace of this token")
    }

    fn response(&self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let response = Response::json(status, self)
            .with_header(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::UNAUTHORIZED => {
                response.with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                response.with_header(header::RETRY_AFTER, HeaderValue::from(self.retry_after_s))
            }
            _ => response,
        }
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "a call of the API could not be answered");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the store is busy or cannot be reached; try again")
    }
}

impl From<outbox::Error> for Problem {
    fn from(error: outbox::Error) -> Self {
        match error {
            outbox::Error::Store(error) => error.into(),
            error => Self::new(StatusCode::CONFLICT, error.to_string()),
        }
    }
}

impl From<outbox::RouteError> for Problem {
    fn from(error: outbox::RouteError) -> Self {
        match error {
            outbox::RouteError::Store(error) => error.into(),
            error => Self::new(StatusCode::CONFLICT, error.to_string()),
        }
    }
}

impl From<crate::catalog::Error> for Problem {
    fn from(error: crate::catalog::Error) -> Self {
        match error {
            crate::catalog::Error::Store(error) => error.into(),
            error => Self::new(StatusCode::CONFLICT, error.to_string()),
        }
    }
}

impl From<connection::Error> for Problem {
    fn from(error: connection::Error) -> Self {
        match error {
            connection::Error::Store(error) => error.into(),
            connection::Error::Unknown(_) => Self::missing(),
            connection::Error::Place(_) => Self::bad(error.to_string()),
            connection::Error::Busy(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            error => Self::new(StatusCode::CONFLICT, error.to_string()),
        }
    }
}

/// What a tool refuses is the caller's to mend; what it does not do is the tool's fault.
impl From<source::Error> for Problem {
    fn from(error: source::Error) -> Self {
        let status = match &error {
            source::Error::Reconnect { .. } | source::Error::Forbidden { .. } => StatusCode::CONFLICT,
            source::Error::NotFound { .. } => StatusCode::NOT_FOUND,
            source::Error::Reference(_) => StatusCode::BAD_REQUEST,
            source::Error::Status { status: 400..=499, .. } => StatusCode::BAD_REQUEST,
            source::Error::Busy { after, .. } => {
                let retry_after_s = after.as_secs().max(1);
                let busy = Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
                return Self { retry_after_s, ..busy };
            }
            source::Error::Status { .. }
            | source::Error::Unreachable { .. }
            | source::Error::Shape { .. } => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a form tool did not answer a call of the API"
                );
                StatusCode::BAD_GATEWAY
            }
        };
        Self::new(status, error.to_string())
    }
}

/// What a call has come to.
type Answer = Result<Response, Problem>;
type Answering<'a> = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

/// What the path names: it exists, and is the principal's.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Object {
    None,
    Flow(String),
    Connection(Box<Connection>),
    Destination(String),
    Submission(SubmissionId),
    Delivery(DeliveryKey),
    Token(String),
}

/// One call, after everything was checked.
struct Call<'a> {
    of: &'a Resources,
    principal: &'a Principal,
    object: Object,
    /// What the path names below the object: a thing that is only known elsewhere.
    part: Option<String>,
    query: BTreeMap<String, String>,
    body: &'a [u8],
}

/// One route.
struct Route {
    method: Method,
    /// The path below [`ROOT`]; what is in braces names an object.
    path: &'static str,
    /// What the principal has to be allowed; `None` for what every token may.
    scope: Option<Scope>,
    handler: for<'a> fn(Call<'a>) -> Answering<'a>,
}

macro_rules! routes {
    ($($method:ident $path:literal $scope:expr => $handler:path;)+) => {
        static ROUTES: &[Route] = &[$(Route {
            method: Method::$method,
            path: $path,
            scope: $scope,
            handler: |call| Box::pin($handler(call)),
        }),+];
    };
}

routes! {
    GET "me" None => tokens::me;
    GET "flows" Some(Scope::FlowsRead) => flows::list;
    GET "flows/{flow}" Some(Scope::FlowsRead) => flows::show;
    GET "flows/{flow}/versions" Some(Scope::FlowsRead) => flows::versions;
    GET "flows/{flow}/flow.json" Some(Scope::FlowsRead) => flows::served_document;
    GET "flows/{flow}/form" Some(Scope::FlowsRead) => flows::form;
    GET "flows/{flow}/diff" Some(Scope::FlowsRead) => flows::diff;
    POST "flows/{flow}/approve" Some(Scope::FlowsWrite) => flows::approve;
    POST "flows/{flow}/tokens" Some(Scope::FlowsWrite) => flows::make_token;
    GET "connections" Some(Scope::ConnectionsRead) => connections::list;
    GET "connections/{connection}" Some(Scope::ConnectionsRead) => connections::show;
    DELETE "connections/{connection}" Some(Scope::ConnectionsWrite) => connections::remove;
    POST "connection-links" Some(Scope::ConnectionsWrite) => connections::begin;
    GET "connections/{connection}/forms" Some(Scope::FormsRead) => connections::forms;
    GET "connections/{connection}/forms/{form}" Some(Scope::FormsRead) => connections::read_form;
    GET "destinations" Some(Scope::DestinationsRead) => destinations::list;
    GET "destinations/{destination}" Some(Scope::DestinationsRead) => destinations::show;
    POST "destinations/{destination}/pause" Some(Scope::DestinationsWrite) => destinations::pause;
    POST "destinations/{destination}/resume" Some(Scope::DestinationsWrite) => destinations::resume;
    GET "destinations/{destination}/mapping" Some(Scope::DestinationsRead) => mapping::show;
    PUT "destinations/{destination}/mapping" Some(Scope::DestinationsWrite) => mapping::set;
    DELETE "destinations/{destination}/mapping" Some(Scope::DestinationsWrite) => mapping::unset;
    POST "destinations/{destination}/mapping/check" Some(Scope::DestinationsRead) => mapping::check;
    GET "submissions" Some(Scope::SubmissionsRead) => submissions::list;
    GET "submissions/{submission}" Some(Scope::SubmissionsRead) => submissions::show;
    POST "submissions/{submission}/replay" Some(Scope::SubmissionsWrite) => submissions::replay;
    GET "deliveries/{delivery}" Some(Scope::SubmissionsRead) => submissions::delivery;
    POST "deliveries/{delivery}/replay" Some(Scope::SubmissionsWrite) => submissions::replay_delivery;
    GET "api-tokens" Some(Scope::TokensWrite) => tokens::list;
    POST "api-tokens" Some(Scope::TokensWrite) => tokens::make;
    DELETE "api-tokens/{token}" Some(Scope::TokensWrite) => tokens::revoke;
}

/// Method, path and scope of every route, for tests and documentation.
pub fn routes() -> impl Iterator<Item = (&'static str, String, Option<Scope>)> {
    ROUTES.iter().map(|route| (route.method.as_str(), format!("{ROOT}{}", route.path), route.scope))
}

impl Api {
    /// The API of these resources.
    #[must_use]
    pub fn new(resources: Resources) -> Self {
        Self(Arc::new(resources))
    }

    /// Answers a request to a path below [`ROOT`].
    pub async fn answer(&self, request: &Request) -> Response {
        let path = request.path().strip_prefix(ROOT).unwrap_or_default();
        if path == "openapi.json" && request.method == Method::GET {
            return Response::json(StatusCode::OK, &document());
        }
        let answered = self.try_answer(path, request).await;
        let response = answered.unwrap_or_else(|problem| problem.response());
        // Answers are about people, and none of them is for a browser's cache.
        response
            .with_header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
            .with_header(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
    }

    async fn try_answer(&self, path: &str, request: &Request) -> Answer {
        let fitting: Vec<_> =
            ROUTES.iter().filter_map(|route| Some((route, named(route.path, path)?))).collect();
        if fitting.is_empty() {
            return Err(Problem::new(StatusCode::NOT_FOUND, "there is no such route"));
        }
        let Some((route, names)) = fitting.iter().find(|(route, _)| route.method == request.method) else {
            let allowed: Vec<&str> = fitting.iter().map(|(route, _)| route.method.as_str()).collect();
            let allow = HeaderValue::from_str(&allowed.join(", ")).ok();
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this route has other methods");
            let response = problem.response();
            return Ok(match allow {
                Some(allow) => response.with_header(header::ALLOW, allow),
                None => response,
            });
        };
        let principal = self.principal(request).await?;
        if let Some(scope) = route.scope.filter(|scope| !principal.may(*scope)) {
            let detail = format!("this token has not the scope {}", scope.as_str());
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        let object = match names.first() {
            None => Object::None,
            Some((kind, text)) => self.object(kind, text, &principal).await?.ok_or_else(Problem::missing)?,
        };
        let part = names.get(1).map(|(_, text)| text.clone().into_owned());
        let query = url::form_urlencoded::parse(request.query().unwrap_or_default().as_bytes());
        let (query, body) = (query.into_owned().collect(), request.body.as_ref());
        (route.handler)(Call { of: &self.0, principal: &principal, object, part, query, body }).await
    }

    async fn principal(&self, request: &Request) -> Result<Principal, Problem> {
        let refused = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, detail);
        let given = request.header(header::AUTHORIZATION).and_then(|value| value.split_once(' '));
        let token =
            given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let token = token.ok_or_else(|| {
            refused("send a token: Authorization: Bearer fgt_…, made by formgate api-token new")
        })?;
        let found = self.0.tokens.principal(token, self.0.clock.now_ms()).await?;
        found.ok_or_else(|| refused("this token is not known, was revoked, or has ended"))
    }

    /// The object that a path names, if it is in the principal's workspace.
    async fn object(&self, kind: &str, text: &str, principal: &Principal) -> Result<Option<Object>, Problem> {
        let (of, workspace) = (&self.0, principal.workspace.as_str());
        Ok(match kind {
            "flow" => of.workspaces.has_flow(workspace, text).then(|| Object::Flow(text.to_owned())),
            "connection" => {
                let Ok(id) = text.parse() else { return Ok(None) };
                match of.connections.get(&id).await {
                    Ok(found) => (found.workspace == workspace).then(|| Object::Connection(Box::new(found))),
                    Err(connection::Error::Unknown(_)) => None,
                    Err(error) => return Err(error.into()),
                }
            }
            "destination" => {
                of.workspaces.has_destination(workspace, text).then(|| Object::Destination(text.to_owned()))
            }
            "submission" => {
                let Ok(id) = text.parse::<SubmissionId>() else { return Ok(None) };
                self.owns(id, workspace).await?.then_some(Object::Submission(id))
            }
            "delivery" => {
                let Ok(key) = text.parse::<DeliveryKey>() else { return Ok(None) };
                let Some(submission) = of.outbox.submission_of(key).await? else { return Ok(None) };
                self.owns(submission, workspace).await?.then_some(Object::Delivery(key))
            }
            "token" => {
                let tokens = of.tokens.list(Some(workspace)).await?;
                tokens.iter().any(|token| token.id == text).then(|| Object::Token(text.to_owned()))
            }
            _ => None,
        })
    }

    async fn owns(&self, id: SubmissionId, workspace: &str) -> Result<bool, Problem> {
        let shown = self.0.outbox.show(id).await?;
        Ok(shown.is_some_and(|shown| self.0.workspaces.has_flow(workspace, &shown.submission.flow_id)))
    }
}

/// What a path names: its kind and its percent-decoded text.
type Named<'p> = (&'static str, std::borrow::Cow<'p, str>);

/// Whether a path fits a template, and what it names: the object, and what is below it.
fn named<'p>(template: &'static str, path: &'p str) -> Option<Vec<Named<'p>>> {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let mut names = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(names),
            (Some(wanted), Some(given)) => {
                match wanted.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                    Some(kind) => names.push((kind, decoded(given))),
                    None if wanted == given => {}
                    None => return None,
                }
            }
            _ => return None,
        }
    }
}

fn decoded(part: &str) -> std::borrow::Cow<'_, str> {
    // A name of a form field is decoded as a part of a path is, but for the plus sign.
    match part.contains('%') {
        false => part.into(),
        true => {
            let escaped = part.replace('+', "%2B");
            let mut pairs = url::form_urlencoded::parse(escaped.as_bytes());
            pairs.next().map_or_else(|| part.to_owned().into(), |(name, _)| name.into_owned().into())
        }
    }
}

impl Call<'_> {
    /// The body, which has to be JSON of this shape; an empty one is `{}`.
    fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body = if self.body.is_empty() { b"{}".as_slice() } else { self.body };
        // An array would be taken for the members of a shape in their order.
        let object: serde_json::Result<serde_json::Map<_, _>> = serde_json::from_slice(body);
        let read = object.and_then(|object| T::deserialize(serde_json::Value::Object(object)));
        read.map_err(|error| Problem::bad(format!("the body cannot be read: {error}")))
    }

    /// A parameter of the query that `T` understands.
    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&self, name: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.query.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|error| Problem::bad(format!("{name}: {error}")))
    }

    /// How many items a page may have.
    fn limit(&self) -> Result<u32, Problem> {
        match self.parsed::<u32>("limit")? {
            None => Ok(PAGE),
            Some(limit @ 1..=MAX_PAGE) => Ok(limit),
            Some(_) => Err(Problem::bad(format!("limit: a number from 1 to {MAX_PAGE}"))),
        }
    }

    /// No parameter but these: a misspelt filter must not look as if everything passed it.
    fn only(&self, known: &[&str]) -> Result<(), Problem> {
        match self.query.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => Err(Problem::bad(format!("there is no parameter “{name}” here"))),
        }
    }

    fn now_ms(&self) -> i64 {
        self.of.clock.now_ms()
    }
}

/// A moment as the API tells it: RFC 3339.
fn moment(at_ms: i64) -> String {
    format!("{:.3}", jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default())
}

fn ok(value: &impl Serialize) -> Answer {
    Ok(Response::json(StatusCode::OK, value))
}

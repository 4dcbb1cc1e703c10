//! Tokens of the API itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::access::{Error, NewToken, Role, Scope, TokenView};
use super::{Answer, Call, Object, Problem, moment, ok};
use crate::server::{Response, StatusCode};

/// Whoever asks.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    name: String,
    workspace: String,
    role: Role,
    scopes: BTreeSet<Scope>,
}

/// A token, without what it is.
#[derive(Serialize, ToSchema)]
pub(super) struct ApiToken {
    id: String,
    name: String,
    role: Role,
    /// What it may do.
    scopes: BTreeSet<Scope>,
    made_at: String,
    made_by: String,
    expires_at: Option<String>,
}

/// Tokens.
#[derive(Serialize, ToSchema)]
pub(super) struct ApiTokenList {
    tokens: Vec<ApiToken>,
}

/// A token to make, for the workspace of the one that makes it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewApiToken {
    /// What people call it: 1 to 64 letters, digits, blanks, hyphens, dots and underscores.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    role: Role,
    /// Only these of the role's scopes; all of them if absent.
    scopes: Option<BTreeSet<Scope>>,
    /// For how long, in seconds; without an end if absent.
    #[schema(minimum = 60)]
    ttl_seconds: Option<u32>,
}

/// A token that was made. It is shown this once.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeApiToken {
    /// The token itself.
    secret: String,
    #[serde(flatten)]
    token: ApiToken,
}

impl From<TokenView> for ApiToken {
    fn from(view: TokenView) -> Self {
        let TokenView { id, made, made_at_ms, made_by } = view;
        let mut scopes = made.role.scopes();
        if let Some(only) = made.scopes {
            scopes.retain(|scope| only.contains(scope));
        }
        let expires_at = made.expires_at_ms.map(moment);
        Self {
            id,
            name: made.name,
            role: made.role,
            scopes,
            made_at: moment(made_at_ms),
            made_by,
            expires_at,
        }
    }
}

/// Whose token this is, and what it may do.
#[utoipa::path(get, path = "/api/v1/me", operation_id = "getMe", tag = "tokens", responses((status = 200, body = Me)))]
pub(super) async fn me(call: Call<'_>) -> Answer {
    let who = call.principal;
    let (name, workspace) = (who.name.clone(), who.workspace.clone());
    ok(&Me { name, workspace, role: who.role, scopes: who.scopes.clone() })
}

/// The tokens of the workspace.
#[utoipa::path(get, path = "/api/v1/api-tokens", operation_id = "listApiTokens", tag = "tokens", responses((status = 200, body = ApiTokenList)))]
pub(super) async fn list(call: Call<'_>) -> Answer {
    call.only(&[])?;
    let tokens = call.of.tokens.list(Some(&call.principal.workspace)).await?;
    ok(&ApiTokenList { tokens: tokens.into_iter().map(ApiToken::from).collect() })
}

/// Makes a token. It cannot do more than the one that makes it.
#[utoipa::path(post, path = "/api/v1/api-tokens", operation_id = "makeApiToken", tag = "tokens", request_body = NewApiToken,
    responses((status = 201, body = MadeApiToken), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn make(call: Call<'_>) -> Answer {
    let new: NewApiToken = call.json()?;
    let wanted = new.scopes.clone().unwrap_or_else(|| new.role.scopes());
    if let Some(scope) = wanted.iter().find(|scope| !call.principal.may(**scope)) {
        let detail = format!("this token has not the scope {} itself, and cannot give it", scope.as_str());
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    if new.ttl_seconds.is_some_and(|ttl| ttl < 60) {
        return Err(Problem::bad("ttl_seconds: 60 at least"));
    }
    let now_ms = call.now_ms();
    let token = NewToken {
        name: new.name,
        workspace: call.principal.workspace.clone(),
        role: new.role,
        scopes: new.scopes,
        expires_at_ms: new.ttl_seconds.map(|ttl| now_ms.saturating_add(i64::from(ttl) * 1_000)),
    };
    let made =
        call.of.tokens.make(token, &call.principal.actor(), now_ms).await.map_err(|error| match error {
            Error::Store(error) => error.into(),
            error => Problem::bad(error.to_string()),
        })?;
    let body = MadeApiToken { secret: made.secret, token: made.view.into() };
    Ok(Response::json(StatusCode::CREATED, &body))
}

/// Takes a token back at once.
#[utoipa::path(delete, path = "/api/v1/api-tokens/{token}", operation_id = "revokeApiToken", tag = "tokens",
    params(("token" = String, Path)), responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn revoke(call: Call<'_>) -> Answer {
    let Object::Token(id) = &call.object else { return Err(Problem::missing()) };
    let (workspace, actor) = (Some(call.principal.workspace.as_str()), call.principal.actor());
    if call.of.tokens.revoke(id, workspace, &actor, call.now_ms()).await? {
        Ok(Response::empty(StatusCode::NO_CONTENT))
    } else {
        Err(Problem::missing())
    }
}

//! The OpenAPI document, made from the handlers.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{Problem, destinations, flows, submissions, tokens};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Formgate management API",
        description = "Flows, destinations, submissions and deliveries of one workspace. Every refusal is a problem (RFC 9457).",
        license(name = "MIT OR Apache-2.0")
    ),
    security(("token" = [])),
    modifiers(&Token),
    components(schemas(Problem)),
    paths(
        tokens::me, flows::list, flows::show, flows::versions, flows::served_document, flows::form, flows::diff,
        flows::approve, flows::make_token, destinations::list, destinations::show, destinations::pause,
        destinations::resume, submissions::list, submissions::show, submissions::replay, submissions::delivery,
        submissions::replay_delivery, tokens::list, tokens::make, tokens::revoke,
    )
)]
struct Document;

/// How a call says who it is, and the refusals that every call can get.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description = Some("A token made by `formgate api-token new` or this API.".to_owned());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

/// The document, as `/api/v1/openapi.json` gives it.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

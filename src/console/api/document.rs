//! The OpenAPI document, made from the handlers.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, PathItem, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, OpenApi};

use super::{Problem, connections, destinations, flows, mapping, submissions, tokens};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Formgate management API",
        description = "Flows, connected accounts and their forms, destinations, submissions and deliveries of one workspace. Every refusal is a problem (RFC 9457).",
        license(name = "MIT OR Apache-2.0")
    ),
    security(("token" = [])),
    modifiers(&Token, &Refusals),
    components(schemas(Problem)),
    paths(
        tokens::me, flows::list, flows::show, flows::versions, flows::served_document, flows::form, flows::diff,
        flows::approve, flows::make_token, connections::list, connections::show, connections::remove, connections::begin,
        connections::forms, connections::read_form, destinations::list, destinations::show, destinations::pause,
        destinations::resume, mapping::show, mapping::set, mapping::unset, mapping::check, submissions::list, submissions::show, submissions::replay, submissions::delivery,
        submissions::replay_delivery, tokens::list, tokens::make, tokens::revoke,
    )
)]
struct Document;

/// How a call says who it is.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description = Some("A token made by `formgate api-token new` or this API.".to_owned());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

/// The media type of every refusal (RFC 9457), also of those that any call can get: no token, no scope, a busy store.
struct Refusals;

impl Modify for Refusals {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for PathItem { get, put, post, delete, .. } in document.paths.paths.values_mut() {
            for operation in [get, put, post, delete].into_iter().flatten() {
                let responses = &mut operation.responses.responses;
                for (status, response) in responses.iter_mut().filter(|(status, _)| status.starts_with('4')) {
                    let told = match response {
                        RefOr::T(Response { description, .. }) if !description.is_empty() => description,
                        _ => &mut format!("Refused with {status}"),
                    };
                    *response = refusal(told);
                }
                responses.insert("default".to_owned(), refusal("Refused"));
            }
        }
    }
}

fn refusal(description: &str) -> RefOr<Response> {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let refusal =
        ResponseBuilder::new().description(description).content("application/problem+json", problem);
    RefOr::T(refusal.build())
}

/// The document, as `/api/v1/openapi.json` gives it.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

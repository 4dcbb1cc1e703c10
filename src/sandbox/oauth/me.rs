//! What the tools tell about a token, and how it is given back.

use serde_json::{Value, json};

use super::grant::refusal;
use super::{Authority, Manners, parameters};
use crate::server::header::{self, HeaderName, HeaderValue};
use crate::server::{Method, Request, Response, StatusCode};

impl Authority {
    /// `None` if the path is of nothing here.
    pub(super) fn about(&self, manners: &'static Manners, request: &Request) -> Option<Response> {
        let path = request.path().strip_prefix('/')?.strip_prefix(manners.tool)?;
        Some(match (&request.method, manners.tool, path) {
            (&Method::GET, "hubspot", "/account-info/v3/details") => {
                self.told(manners, request, None, |id, _| json!({"portalId": id.parse::<u64>().unwrap_or(0)}))
            }
            (&Method::GET, "google-forms", "/v1/userinfo") => {
                self.told(manners, request, Some("openid"), |id, email| json!({"sub": id, "email": email}))
            }
            (&Method::GET, "typeform", "/me") => {
                let me = |id: &str, email: &str| json!({"user_id": id, "alias": email.split('@').next(), "email": email, "language": "en"});
                self.told(manners, request, Some("accounts:read"), me)
            }
            (&Method::GET, "surveymonkey", "/v3/users/me") => {
                let me = |id: &str, email: &str| json!({"id": id, "username": email, "email": email});
                self.told(manners, request, Some("users_read"), me)
            }
            (&Method::POST, "hubspot", "/oauth/2026-03/token/revoke") => self.revoke(manners, request, true),
            (&Method::POST, "google-forms", "/revoke") => self.revoke(manners, request, false),
            (&Method::POST, "hubspot", "/oauth/2026-03/token/introspect") => {
                self.introspect(manners, request)
            }
            _ => return None,
        })
    }

    fn told(
        &self,
        manners: &'static Manners,
        request: &Request,
        scope: Option<&str>,
        tell: impl Fn(&str, &str) -> Value,
    ) -> Response {
        let token = request.header(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let agreed = token.and_then(|token| self.use_token(manners.tool, token));
        let Some(agreed) = agreed else { return refusal(manners, 401, "invalid_token") };
        if scope.is_some_and(|scope| !agreed.scopes.contains(scope)) {
            return refusal(manners, 403, "insufficient_scope");
        }
        let response = Response::json(StatusCode::OK, &tell(&agreed.person.id, &agreed.person.email));
        if manners.tool != "surveymonkey" {
            return response;
        }
        let scopes: Vec<&str> = agreed.scopes.iter().map(String::as_str).collect();
        match HeaderValue::from_str(&scopes.join(",")) {
            Ok(granted) => response.with_header(HeaderName::from_static("x-oauth-scopes-granted"), granted),
            Err(_) => response,
        }
    }

    fn revoke(&self, manners: &'static Manners, request: &Request, authenticates: bool) -> Response {
        let Some(given) = parameters(&request.body) else { return refusal(manners, 400, "invalid_request") };
        if authenticates && !self.is_client(manners, &given) {
            return refusal(manners, 401, "invalid_client");
        }
        let mut state = self.state();
        let known = given.get("token").and_then(|token| state.tokens.get(token)).cloned();
        let Some(known) = known.filter(|known| known.agreed.tool == manners.tool) else {
            return refusal(manners, 400, "invalid_token");
        };
        // HubSpot's access tokens live on; Google ends all of the agreement (form-tools 1.1, 2.1).
        let ends_all = manners.tool == "google-forms";
        let family = known.agreed.family;
        state.tokens.retain(|_, token| token.agreed.family != family || !(ends_all || token.is_refresh));
        Response::json(StatusCode::OK, &json!({}))
    }

    fn introspect(&self, manners: &'static Manners, request: &Request) -> Response {
        let given = parameters(&request.body).filter(|given| self.is_client(manners, given));
        let Some(given) = given else { return refusal(manners, 401, "invalid_client") };
        let state = self.state();
        let known = given.get("token").and_then(|token| state.tokens.get(token));
        let answer = match known {
            Some(known) => json!({
                "active": true, "hub_id": known.agreed.person.id.parse::<u64>().unwrap_or(0),
                "scopes": known.agreed.scopes,
            }),
            None => json!({"active": false}),
        };
        Response::json(StatusCode::OK, &answer)
    }

    fn is_client(&self, manners: &Manners, given: &std::collections::BTreeMap<String, String>) -> bool {
        self.0.clients.get(manners.tool).is_some_and(|client| {
            given.get("client_id") == Some(&client.id) && given.get("client_secret") == Some(&client.secret)
        })
    }
}

//! The token endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Agreed, Authority, CODE_LIFE, Manners, Person, Rotation, State, Token, parameters, secret};
use crate::crypto::verify_claims;
use crate::server::header::{self, HeaderValue};
use crate::server::{Request, Response, StatusCode};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

impl Authority {
    pub(super) fn grant(&self, manners: &'static Manners, request: &Request) -> Response {
        let is_form = request.header(header::CONTENT_TYPE) == Some("application/x-www-form-urlencoded");
        let Some(given) = parameters(&request.body).filter(|_| is_form) else {
            return refusal(manners, 400, "invalid_request");
        };
        let get = |name: &str| given.get(name).map(String::as_str);
        let kind = get("grant_type").unwrap_or_default();
        if manners.tool == "google-forms" && kind == JWT_BEARER {
            return self.robot(manners, get("assertion").unwrap_or_default());
        }
        let client = self.0.clients.get(manners.tool);
        let known = client.filter(|client| {
            get("client_id") == Some(client.id.as_str())
                && get("client_secret") == Some(client.secret.as_str())
        });
        if known.is_none() {
            return refusal(manners, 401, "invalid_client");
        }
        let refreshes = self.state().behaviours.get(manners.tool).is_some_and(|b| b.rotation.is_some());
        match kind {
            "authorization_code" => {
                self.by_code(manners, &given, request.header(header::HOST).unwrap_or_default())
            }
            "refresh_token" if refreshes => {
                self.by_refresh(manners, get("refresh_token").unwrap_or_default())
            }
            _ => refusal(manners, 400, "unsupported_grant_type"),
        }
    }

    fn by_code(&self, manners: &'static Manners, given: &BTreeMap<String, String>, host: &str) -> Response {
        let get = |name: &str| given.get(name).map(String::as_str);
        let mut state = self.state();
        let Some(code) = state.codes.get_mut(get("code").unwrap_or_default()) else {
            return refusal(manners, 400, "invalid_grant");
        };
        if code.used {
            // RFC 6749, 4.1.2: somebody has stolen it, so what it gave ends, too.
            let family = code.agreed.family;
            state.tokens.retain(|_, token| token.agreed.family != family);
            return refusal(manners, 400, "invalid_grant");
        }
        code.used = true;
        let challenge = |verifier: &str| URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        let is_met = match (&code.challenge, get("code_verifier")) {
            (Some(wanted), Some(verifier)) => {
                (43..=128).contains(&verifier.len()) && challenge(verifier) == *wanted
            }
            (None, None) => true,
            _ => false,
        };
        let is_good = code.agreed.tool == manners.tool
            && code.made.elapsed() < CODE_LIFE
            && get("redirect_uri") == Some(code.redirect.as_str())
            && is_met;
        let agreed = code.agreed.clone();
        if !is_good {
            return refusal(manners, 400, "invalid_grant");
        }
        issue(manners, &mut state, agreed, None, host)
    }

    fn by_refresh(&self, manners: &'static Manners, token: &str) -> Response {
        let mut state = self.state();
        let known = state.tokens.get(token).cloned();
        let known = known.filter(|known| known.is_refresh && known.agreed.tool == manners.tool);
        let Some(known) = known else { return refusal(manners, 400, "invalid_grant") };
        if let Some(replaced) = known.replaces {
            state.tokens.remove(&replaced);
        }
        issue(manners, &mut state, known.agreed, Some(token), "")
    }

    fn robot(&self, manners: &'static Manners, assertion: &str) -> Response {
        let mut state = self.state();
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let claims = state.robots.iter().find_map(|(email, pem)| {
            let claims = verify_claims(assertion, pem)?;
            (claims["iss"].as_str() == Some(email)).then_some((email.clone(), claims))
        });
        let Some((email, claims)) = claims else { return refusal(manners, 400, "invalid_grant") };
        let (from, to) = (claims["iat"].as_u64().unwrap_or(0), claims["exp"].as_u64().unwrap_or(0));
        let is_now = from <= now_s + 60 && to > now_s && to <= from + 3_600;
        let is_here = claims["aud"].as_str().is_some_and(|audience| audience.ends_with(manners.token));
        let scopes: BTreeSet<String> =
            claims["scope"].as_str().unwrap_or_default().split(' ').map(str::to_owned).collect();
        if !is_now || !is_here || scopes.iter().any(|scope| !manners.scopes.contains(&scope.as_str())) {
            return refusal(manners, 400, "invalid_grant");
        }
        state.families += 1;
        let person = Person { id: email.clone(), email };
        let agreed = Agreed { tool: manners.tool, person, scopes, family: state.families, offline: false };
        issue(manners, &mut state, agreed, None, "")
    }
}

/// Gives tokens out: for a code, or in place of what the refresh token `used` gave.
fn issue(manners: &Manners, state: &mut State, agreed: Agreed, used: Option<&str>, host: &str) -> Response {
    let Some(behaviour) = state.behaviours.get(manners.tool).cloned() else {
        return refusal(manners, 500, "server_error");
    };
    let access = secret("access");
    state.issued.push(access.clone());
    let rotates = behaviour.rotation.filter(|rotation| *rotation != Rotation::Never);
    let refresh = match (used, behaviour.rotation) {
        (_, None) => None,
        (Some(_), Some(Rotation::Never)) => None,
        (None, _) if !agreed.offline => None,
        _ => Some(secret("refresh")),
    };
    let replaces = used.filter(|_| rotates == Some(Rotation::AtUse)).map(str::to_owned);
    if let Some(used) = used.filter(|_| rotates == Some(Rotation::AtOnce)) {
        state.tokens.remove(used);
    }
    let ends = behaviour.access_life.map(|life| Instant::now() + life);
    let token =
        |is_refresh, ends| Token { agreed: agreed.clone(), ends, replaces: replaces.clone(), is_refresh };
    state.tokens.insert(access.clone(), token(false, ends));
    if let Some(refresh) = &refresh {
        state.issued.push(refresh.clone());
        state.tokens.insert(refresh.clone(), token(true, None));
    }
    let expires_in = behaviour.access_life.map(|life| match behaviour.expires_at {
        true => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| (now + life).as_secs()),
        false => life.as_secs(),
    });
    let mut answer = json!({"access_token": access, "token_type": "bearer", "expires_in": expires_in});
    if let Some(refresh) = refresh {
        answer["refresh_token"] = refresh.into();
    }
    let scopes: Vec<&str> = agreed.scopes.iter().map(String::as_str).collect();
    match manners.tool {
        "hubspot" => {
            answer["hub_id"] = agreed.person.id.parse::<u64>().unwrap_or(0).into();
            answer["user_id"] = 7.into();
            answer["token_use"] = "access_token".into();
            answer["scopes"] = scopes.into();
        }
        "google-forms" => {
            answer["token_type"] = "Bearer".into();
            answer["scope"] = scopes.join(" ").into();
        }
        "surveymonkey" => answer["access_url"] = format!("http://{host}").into(),
        _ => {}
    }
    Response::json(StatusCode::OK, &answer)
        .with_header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

/// A refusal in the tool's own shape.
pub(super) fn refusal(manners: &Manners, status: u16, code: &str) -> Response {
    let body: Value = match manners.tool {
        "hubspot" => json!({
            "error": code, "error_description": "refused", "status": "BAD_REFRESH_TOKEN", "message": "refused",
        }),
        "typeform" => {
            json!({"code": "AUTHENTICATION_FAILED", "description": "Authentication credentials not found"})
        }
        _ => json!({"error": code, "error_description": "Token has been expired or revoked."}),
    };
    Response::json(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &body)
}

//! The page on which a person agrees, and where it sends them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Instant;

use url::{Url, form_urlencoded};

use super::{Agreed, Authority, Code, Manners, parameters, secret};
use crate::sandbox::page::Escaped;
use crate::server::header::{self, HeaderValue};
use crate::server::{Request, Response, StatusCode};

/// What a page asks.
pub(super) struct Asked {
    tool: &'static str,
    redirect: String,
    state: String,
    scopes: BTreeSet<String>,
    challenge: Option<String>,
    offline: bool,
}

impl Authority {
    /// Shows the page, if the request is in order. What is wrong with client or redirect address is told to the person and
    /// never sent on (RFC 6749, 4.1.2.1).
    pub(super) fn ask(&self, manners: &'static Manners, request: &Request) -> Response {
        let query = request.query().unwrap_or_default();
        let asked = match parameters(query.as_bytes()).ok_or("a parameter comes twice".to_owned()) {
            Ok(parameters) => self.asked(manners, &parameters),
            Err(reason) => Err(reason),
        };
        let asked = match asked {
            Ok(asked) => asked,
            Err(reason) => return refused(manners, &reason),
        };
        let ticket = secret("page");
        let mut state = self.state();
        let people = state.people.clone();
        let page =
            page(manners, &asked, &ticket, &people.iter().map(|p| p.email.as_str()).collect::<Vec<_>>());
        let target = Url::parse(&asked.redirect).map(|url| url.origin().ascii_serialization());
        state.pages.insert(ticket, asked);
        let policy = format!(
            "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' {}",
            target.unwrap_or_default()
        );
        let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
        Response::html(StatusCode::OK, page)
            .with_header(header::CONTENT_SECURITY_POLICY, policy)
            .with_header(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
            .with_header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }

    fn asked(&self, manners: &'static Manners, given: &BTreeMap<String, String>) -> Result<Asked, String> {
        let client = self.0.clients.get(manners.tool).ok_or("there is no client")?;
        let get = |name: &str| given.get(name).map(String::as_str);
        if get("client_id") != Some(client.id.as_str()) {
            return Err("client_id is not known".to_owned());
        }
        let redirect = get("redirect_uri").filter(|uri| client.redirects.contains(*uri));
        let redirect = redirect.ok_or("redirect_uri is not the registered one")?.to_owned();
        if get("response_type") != Some("code") {
            return Err("response_type must be code".to_owned());
        }
        let known = ["client_id", "redirect_uri", "response_type", "state"];
        let pkce = ["code_challenge", "code_challenge_method"];
        let unknown = given.keys().map(String::as_str).find(|name| {
            let named = known.contains(name) || manners.extra.contains(name);
            !(named || manners.names_scopes && *name == "scope" || manners.pkce && pkce.contains(name))
        });
        if let Some(name) = unknown {
            return Err(format!("{name} is not a documented parameter"));
        }
        let state = get("state").filter(|state| !state.is_empty()).ok_or("state is missing")?.to_owned();
        let challenge = get("code_challenge").map(str::to_owned);
        if challenge.is_some() && get("code_challenge_method") != Some("S256") {
            return Err("code_challenge_method must be S256".to_owned());
        }
        let scopes: BTreeSet<String> = if manners.names_scopes {
            get("scope")
                .unwrap_or_default()
                .split([' ', '+'])
                .filter(|s| !s.is_empty())
                .map(str::to_owned)
                .collect()
        } else {
            manners.scopes.iter().map(|scope| (*scope).to_owned()).collect()
        };
        if let Some(scope) = scopes.iter().find(|scope| !manners.scopes.contains(&scope.as_str())) {
            return Err(format!("scope {scope} does not exist"));
        }
        if scopes.is_empty() {
            return Err("scope is missing".to_owned());
        }
        let offline = match manners.offline {
            None => true,
            Some("access_type") => get("access_type") == Some("offline"),
            Some(scope) => scopes.contains(scope),
        };
        Ok(Asked { tool: manners.tool, redirect, state, scopes, challenge, offline })
    }

    /// Takes the person's answer.
    pub(super) fn agree(&self, manners: &'static Manners, request: &Request) -> Response {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(&request.body).into_owned().collect();
        let get = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let mut state = self.state();
        let asked = get("ticket").and_then(|ticket| state.pages.remove(ticket));
        let Some(asked) = asked.filter(|asked| asked.tool == manners.tool) else {
            return refused(manners, "this page is too old; go back to where you came from");
        };
        let Ok(mut back) = Url::parse(&asked.redirect) else { return refused(manners, "no way back") };
        if get("answer") != Some("allow") {
            back.query_pairs_mut()
                .append_pair("error", "access_denied")
                .append_pair("error_description", "Resource owner canceled the request")
                .append_pair("state", &asked.state);
            return away(&back);
        }
        let ticked: BTreeSet<String> =
            pairs.iter().filter(|(key, _)| key == "scope").map(|(_, value)| value.clone()).collect();
        let scopes = if manners.unticks { &asked.scopes & &ticked } else { asked.scopes.clone() };
        let person =
            state.people.iter().find(|person| Some(person.email.as_str()) == get("account")).cloned();
        let Some(person) = person else { return refused(manners, "choose an account") };
        state.families += 1;
        let agreed =
            Agreed { tool: manners.tool, person, scopes, family: state.families, offline: asked.offline };
        let code = secret("code");
        state.issued.push(code.clone());
        back.query_pairs_mut().append_pair("code", &code).append_pair("state", &asked.state);
        let Asked { redirect, challenge, .. } = asked;
        state.codes.insert(code, Code { agreed, redirect, challenge, made: Instant::now(), used: false });
        away(&back)
    }
}

fn away(to: &Url) -> Response {
    match HeaderValue::from_str(to.as_str()) {
        Ok(to) => Response::empty(StatusCode::SEE_OTHER).with_header(header::LOCATION, to),
        Err(_) => Response::empty(StatusCode::BAD_REQUEST),
    }
}

fn refused(manners: &Manners, reason: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head><body>\
         <h1>{title} (sandbox)</h1><p>This request cannot be answered: {reason}.</p></body></html>",
        title = manners.title,
        reason = Escaped(reason),
    );
    Response::html(StatusCode::BAD_REQUEST, page)
}

fn page(manners: &Manners, asked: &Asked, ticket: &str, people: &[&str]) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title} (sandbox)</title></head><body>\
         <h1>{title} (sandbox)</h1><p>Formgate asks for your account. Nothing here is real.</p>\
         <form method=\"post\" action=\"{action}\"><input type=\"hidden\" name=\"ticket\" value=\"{ticket}\">\
         <fieldset><legend>Account</legend>",
        title = manners.title,
        action = manners.authorize,
    );
    for (index, email) in people.iter().enumerate() {
        let checked = if index == 0 { " checked" } else { "" };
        let _ = write!(
            page,
            "<p><label><input type=\"radio\" name=\"account\" value=\"{0}\"{checked}> {0}</label></p>",
            Escaped(email)
        );
    }
    page.push_str("</fieldset><fieldset><legend>It may</legend>");
    for scope in &asked.scopes {
        let fixed = if manners.unticks { "" } else { " disabled" };
        let _ = write!(
            page,
            "<p><label><input type=\"checkbox\" name=\"scope\" value=\"{0}\" checked{fixed}> {0}</label></p>",
            Escaped(scope)
        );
    }
    page.push_str(
        "</fieldset><p><button name=\"answer\" value=\"allow\">Allow</button> \
         <button name=\"answer\" value=\"cancel\">Cancel</button></p></form></body></html>",
    );
    page
}

//! OAuth 2.0 towards the tools: where people agree, how codes and refresh tokens become tokens, how they are given back,
//! and whose account it is.
//!
//! Types, states and PKCE are crate `oauth2`'s; every call goes through [`crate::client`] and its address guard. Invariant:
//! a secret or token is in no error, log or `Debug`, and an error says what the caller can do: [`Error::Grant`] means
//! that only the account's owner can help, [`Error::Unavailable`] that waiting does.
//!
//! It deliberately keeps nothing: see [`super::connection`].

mod account;
mod provider;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use oauth2::basic::{
    BasicErrorResponse, BasicErrorResponseType, BasicRevocationErrorResponse,
    BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier,
    RedirectUrl, RefreshToken, RequestTokenError, StandardRevocableToken, StandardTokenResponse,
    TokenResponse as _, TokenUrl,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::{Url, form_urlencoded};

pub use self::account::Account;
use self::provider::SURVEYMONKEY_HOSTS;
pub use self::provider::{Provider, Scope, Settings, Tool, UnknownTool};
use crate::client::{self, Client, Method, Request, Response, Sent, header};
use crate::crypto::ClaimsKey;

/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(12);
/// A lifetime above this is a moment (form-tools 3.1).
const EPOCH_S: u64 = 1_000_000_000;
/// How long a claim of a service account is good for.
const CLAIM_S: i64 = 3_600;
/// Characters of an error code that are kept: what a peer sends may be anything.
const MAX_CODE: usize = 64;

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The code or refresh token is not valid any more: the account has to be connected again.
    #[error("{tool} does not accept the grant any more ({code})")]
    Grant {
        /// Which tool.
        tool: &'static str,
        /// Its error code.
        code: String,
    },
    /// The client is not known there, or may not do this: the configuration has to be mended.
    #[error(
        "{tool} does not accept the client ({code}): check client_id, client_secret and the redirect address there"
    )]
    Client {
        /// Which tool.
        tool: &'static str,
        /// Its error code.
        code: String,
    },
    /// The token may not ask this.
    #[error("{tool} does not let the token do this")]
    Forbidden {
        /// Which tool.
        tool: &'static str,
    },
    /// The configuration names no client.
    #[error(
        "the configuration names no client for {name}: add a [[tool]] with id = \"{name}\", client_id and client_secret"
    )]
    NoClient {
        /// The section's name.
        name: &'static str,
    },
    /// The tool fails, is busy, or cannot be reached.
    #[error("{tool} cannot give tokens now ({reason})")]
    Unavailable {
        /// Which tool.
        tool: &'static str,
        /// What happened.
        reason: String,
        /// When to ask again, if it says so.
        after: Option<Duration>,
    },
    /// An answer that is none.
    #[error("{tool} answered something else than its documentation says: {reason}")]
    Shape {
        /// Which tool.
        tool: &'static str,
        /// What was wrong.
        reason: &'static str,
    },
    /// The credentials that were given cannot be used.
    #[error("{0}")]
    Credentials(&'static str),
}

/// What a token endpoint gave.
pub struct Tokens {
    /// The access token.
    pub access: SecretString,
    /// When it ends, in Unix milliseconds; none: it does not.
    pub expires_at_ms: Option<i64>,
    /// The refresh token, if there is a new one.
    pub refresh: Option<SecretString>,
    /// What was granted, if it says so.
    pub scopes: Option<Vec<String>>,
    /// HubSpot's account.
    hub_id: Option<u64>,
    /// SurveyMonkey's API of the account.
    access_url: Option<String>,
}

/// What the tools tell besides the standard's members.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Extra {
    hub_id: Option<u64>,
    scopes: Option<Vec<String>>,
    access_url: Option<String>,
}

impl ExtraTokenFields for Extra {}

type Answered = StandardTokenResponse<Extra, BasicTokenType>;
type Standard = oauth2::Client<
    BasicErrorResponse,
    Answered,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// A browser on its way to the tool.
pub struct Departure {
    /// Where it goes.
    pub url: Url,
    /// What it has to bring back.
    pub state: SecretString,
    /// Proves that the code is ours; for tools with PKCE.
    pub verifier: Option<SecretString>,
}

/// Why one HTTP call gave no OAuth answer.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("no answer")]
    Call(#[from] client::Error),
    #[error("status {status}")]
    Status { status: u16, after: Option<Duration> },
    /// A refusal that is not the standard's, as Typeform's are.
    #[error("refused with {status}")]
    Refused { status: u16, code: String },
}

/// Our own client, as the library asks for one.
struct Calls<'p> {
    provider: &'p Provider,
    client: &'p Client,
}

impl<'c> AsyncHttpClient<'c> for Calls<'_> {
    type Error = Failed;
    type Future = Calling<'c>;

    fn call(&'c self, request: HttpRequest) -> Calling<'c> {
        Box::pin(self.provider.http(self.client, request))
    }
}

type Calling<'c> = Pin<Box<dyn Future<Output = Result<HttpResponse, Failed>> + Send + 'c>>;

impl Provider {
    fn standard(&self, region: Option<&str>) -> Result<Standard, Error> {
        let (Some(id), Some(secret)) = (&self.settings.client_id, &self.settings.client_secret) else {
            return Err(Error::NoClient { name: self.name });
        };
        Ok(oauth2::Client::new(ClientId::new(id.clone()))
            .set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
            .set_auth_type(AuthType::RequestBody)
            .set_auth_uri(AuthUrl::from_url(self.authorize_url(region)))
            .set_token_uri(TokenUrl::from_url(self.token_url())))
    }

    /// Sends a browser to the tool.
    ///
    /// # Errors
    /// [`Error::NoClient`].
    pub fn depart(&self, region: Option<&str>, redirect: &Url) -> Result<Departure, Error> {
        let client = self.standard(region)?.set_redirect_uri(RedirectUrl::from_url(redirect.clone()));
        // 256 bits, where the standard asks for 128.
        let mut request = client.authorize_url(|| CsrfToken::new_random_len(32));
        if self.facts.names_scopes {
            request =
                request.add_scopes(self.scopes().into_iter().map(|scope| oauth2::Scope::new(scope.name)));
        }
        for (name, value) in self.facts.extra {
            request = request.add_extra_param(*name, *value);
        }
        let mut verifier = None;
        if self.facts.pkce {
            let (challenge, made) = PkceCodeChallenge::new_random_sha256();
            request = request.set_pkce_challenge(challenge);
            verifier = Some(SecretString::from(made.secret().clone()));
        }
        let (url, state) = request.url();
        Ok(Departure { url, state: SecretString::from(state.into_secret()), verifier })
    }

    /// Turns the code of a callback into tokens.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn exchange(
        &self,
        client: &Client,
        code: &str,
        verifier: Option<&SecretString>,
        redirect: &Url,
        now_ms: i64,
    ) -> Result<Tokens, Error> {
        let standard = self.standard(None)?.set_redirect_uri(RedirectUrl::from_url(redirect.clone()));
        let mut request = standard.exchange_code(AuthorizationCode::new(code.to_owned()));
        if let Some(verifier) = verifier {
            request = request.set_pkce_verifier(PkceCodeVerifier::new(verifier.expose_secret().to_owned()));
        }
        let http = Calls { provider: self, client };
        self.tokens(request.request_async(&http).await, now_ms)
    }

    /// Turns a refresh token into tokens.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn refresh(
        &self,
        client: &Client,
        refresh: &SecretString,
        now_ms: i64,
    ) -> Result<Tokens, Error> {
        let standard = self.standard(None)?;
        let token = RefreshToken::new(refresh.expose_secret().to_owned());
        let mut request = standard.exchange_refresh_token(&token);
        // Only Typeform asks for them again (form-tools 3.1).
        if self.tool == Tool::Typeform {
            request =
                request.add_scopes(self.scopes().into_iter().map(|scope| oauth2::Scope::new(scope.name)));
        }
        let http = Calls { provider: self, client };
        self.tokens(request.request_async(&http).await, now_ms)
    }

    /// Asks for a token in the name of a service account (RFC 7523).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn assert(
        &self,
        client: &Client,
        email: &str,
        key: &ClaimsKey,
        now_ms: i64,
    ) -> Result<Tokens, Error> {
        let names: Vec<String> = self.scopes().into_iter().map(|scope| scope.name).collect();
        // What says who somebody is has no meaning for a robot.
        let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| name.contains('/')).collect();
        let (now_s, audience) = (now_ms / 1_000, self.token_url());
        let claims = json!({
            "iss": email, "scope": names.join(" "), "aud": audience.as_str(), "iat": now_s, "exp": now_s + CLAIM_S,
        });
        let assertion = key.sign(&claims);
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
            .append_pair("assertion", assertion.expose_secret())
            .finish();
        let response = self.post(client, audience, body).await.map_err(|failed| self.failed(failed))?;
        let json: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        if !response.status.is_success() {
            return Err(self.refused(json["error"].as_str().unwrap_or("invalid_grant")));
        }
        let answered: Answered = serde_json::from_value(json)
            .map_err(|_| Error::Shape { tool: self.tool.title(), reason: "it is no token answer" })?;
        self.tokens(Ok::<_, RequestTokenError<Failed, BasicErrorResponse>>(answered), now_ms)
    }

    /// Gives a token back. `false` where the tool has no way to.
    ///
    /// # Errors
    /// [`Error`]; a token that is not known any more is no error (RFC 7009, 2.2).
    pub async fn revoke(&self, client: &Client, token: &SecretString, hint: &str) -> Result<bool, Error> {
        let Some(url) = self.revoke_url() else { return Ok(false) };
        let client_of = (self.tool == Tool::Hubspot)
            .then(|| self.settings.client_id.as_ref().zip(self.settings.client_secret.as_ref()))
            .flatten();
        let pairs = [("token", token.expose_secret()), ("token_type_hint", hint)];
        let own = client_of
            .map(|(id, secret)| [("client_id", id.as_str()), ("client_secret", secret.expose_secret())]);
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs.into_iter().chain(own.into_iter().flatten()))
            .finish();
        let response = self.post(client, url, body).await.map_err(|failed| self.failed(failed))?;
        match response.status.as_u16() {
            200..300 | 400 | 404 => Ok(true),
            status => Err(self.failed(Failed::Status { status, after: None })),
        }
    }

    async fn post(&self, client: &Client, url: Url, body: String) -> Result<Response, Failed> {
        let mut request = Request::new(Method::POST, url, body, Instant::now() + DEADLINE)
            .header("content-type", "application/x-www-form-urlencoded")?
            .header("accept", "application/json")?;
        request.policy = self.policy();
        judged(client.request(request).await?)
    }

    async fn http(&self, client: &Client, request: HttpRequest) -> Result<HttpResponse, Failed> {
        let (parts, body) = request.into_parts();
        // The library has built it from a URL.
        let url = Url::parse(&parts.uri.to_string()).map_err(|_| client::Error::Url)?;
        let mut request = Request::new(Method::POST, url, body, Instant::now() + DEADLINE);
        request.headers = parts.headers;
        request.policy = self.policy();
        let response = judged(client.request(request).await?)?;
        let is_error = !response.status.is_success();
        if is_error && serde_json::from_slice::<BasicErrorResponse>(&response.body).is_err() {
            let json: Value = serde_json::from_slice(&response.body).unwrap_or_default();
            let code = ["code", "error", "status"].iter().find_map(|name| json[*name].as_str());
            let code = code.unwrap_or("no reason given").to_owned();
            return Err(Failed::Refused { status: response.status.as_u16(), code });
        }
        let mut answer = HttpResponse::new(response.body.to_vec());
        *answer.status_mut() = response.status;
        if let Some(kind) = response.headers.get(header::CONTENT_TYPE) {
            answer.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
        }
        Ok(answer)
    }

    fn tokens(
        &self,
        answered: Result<Answered, RequestTokenError<Failed, BasicErrorResponse>>,
        now_ms: i64,
    ) -> Result<Tokens, Error> {
        let tool = self.tool.title();
        let answered = answered.map_err(|error| match error {
            RequestTokenError::ServerResponse(told) => match told.error() {
                BasicErrorResponseType::InvalidGrant => self.refused("invalid_grant"),
                other => self.refused(other.as_ref()),
            },
            RequestTokenError::Request(failed) => self.failed(failed),
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
                Error::Shape { tool, reason: "it is no token answer" }
            }
        })?;
        let secret = |text: &String| SecretString::from(text.clone());
        let expires_at_ms = answered.expires_in().map(|lifetime| match lifetime.as_secs() {
            moment if moment > EPOCH_S => i64::try_from(moment.saturating_mul(1_000)).unwrap_or(i64::MAX),
            _ => now_ms.saturating_add(i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX)),
        });
        let named = answered.scopes().map(|scopes| scopes.iter().map(|scope| scope.to_string()).collect());
        let extra = answered.extra_fields();
        Ok(Tokens {
            access: secret(answered.access_token().secret()),
            expires_at_ms,
            refresh: answered.refresh_token().map(|token| secret(token.secret())),
            scopes: extra.scopes.clone().or(named),
            hub_id: extra.hub_id,
            access_url: extra.access_url.clone(),
        })
    }

    /// The root of the API for these tokens.
    ///
    /// # Errors
    /// [`Error::Shape`] if SurveyMonkey names a host that is none of its own.
    pub fn api_of(&self, tokens: &Tokens, region: Option<&str>) -> Result<Url, Error> {
        let Some(named) = tokens.access_url.as_deref().filter(|_| self.tool == Tool::Surveymonkey) else {
            return Ok(self.api_url(region));
        };
        let url = Url::parse(named).ok();
        let own = self.settings.api_url.as_ref();
        let known = url.filter(|url| match own {
            Some(own) => own.origin() == url.origin(),
            None => SURVEYMONKEY_HOSTS.contains(&url.as_str()),
        });
        let known = known.ok_or(Error::Shape {
            tool: self.tool.title(),
            reason: "its access_url is none of its data centres",
        })?;
        Ok(own.cloned().unwrap_or(known))
    }

    fn failed(&self, failed: Failed) -> Error {
        let tool = self.tool.title();
        match failed {
            Failed::Refused { status: 400 | 401 | 403, code } => {
                Error::Grant { tool, code: code.chars().take(MAX_CODE).collect() }
            }
            Failed::Refused { status, .. } => {
                Error::Unavailable { tool, reason: format!("status {status}"), after: None }
            }
            Failed::Status { status, after } => {
                Error::Unavailable { tool, reason: format!("status {status}"), after }
            }
            Failed::Call(error) => {
                let sent = if error.sent() == Sent::Nothing { "" } else { ", and the answer is lost" };
                Error::Unavailable { tool, reason: format!("{error}{sent}"), after: None }
            }
        }
    }

    fn refused(&self, code: &str) -> Error {
        let (tool, short) = (self.tool.title(), code.chars().take(MAX_CODE).collect());
        match code {
            "invalid_client"
            | "unauthorized_client"
            | "unsupported_grant_type"
            | "invalid_request"
            | "invalid_scope" => Error::Client { tool, code: short },
            _ => Error::Grant { tool, code: short },
        }
    }
}

/// Statuses that say nothing about the grant.
fn judged(response: Response) -> Result<Response, Failed> {
    let status = response.status.as_u16();
    if status == 429 || !(200..500).contains(&status) || (300..400).contains(&status) || response.truncated {
        let after =
            response.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        return Err(Failed::Status { status, after: after.map(Duration::from_secs) });
    }
    Ok(response)
}

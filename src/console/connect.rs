//! `/connect/{tool}`: the way of a browser to a form tool and back.
//!
//! A one-time link leads to a page that says what will be asked. Its button uses the link up, gives the browser a cookie, and
//! sends it to the tool; only that browser can come back, to `/connect/{tool}/callback`, and once.

use askama::Template;
use secrecy::{ExposeSecret as _, SecretString};
use url::{Url, form_urlencoded};

use crate::connector::connection::{Arrival, Arrived, Connections, Error, Lost, STATE_LIFE};
use crate::connector::oauth::{self, Scope};
use crate::server::header::{self, HeaderValue};
use crate::server::{Method, Request, Response, StatusCode};

const STYLE: &str = include_str!("../../templates/connect/style.css");
/// The largest form that the start page sends.
const MAX_BODY_BYTES: usize = 4 * 1024;
/// The longest code, state or token that is looked at.
const MAX_VALUE_BYTES: usize = 4 * 1024;

/// The pages.
#[derive(Clone)]
pub struct Connect {
    connections: Connections,
    /// Where people reach this server.
    public_url: Option<Url>,
}

#[derive(Template)]
#[template(path = "connect/start.html")]
struct Start<'a> {
    title: &'a str,
    name: Option<String>,
    host: &'a str,
    scopes: &'a [Scope],
    provider: &'a str,
    start: &'a str,
}

#[derive(Template)]
#[template(path = "connect/end.html")]
struct End<'a> {
    heading: &'a str,
    lines: Vec<String>,
    scopes: &'a [Scope],
    is_good: bool,
    again: Option<String>,
}

impl<'a> End<'a> {
    fn bad(heading: &'a str, line: impl Into<String>) -> Self {
        End { heading, lines: vec![line.into()], scopes: &[], is_good: false, again: None }
    }
}

/// The one-time link that a browser begins with, at this server.
#[must_use]
pub fn start_link(public: &Url, provider: &str, token: &SecretString) -> Url {
    let mut url = public.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(["connect", provider]);
    }
    url.query_pairs_mut().append_pair("start", token.expose_secret());
    url
}

impl Connect {
    /// The pages of these connections, at this address.
    pub fn new(connections: Connections, public_url: Option<Url>) -> Self {
        Self { connections, public_url }
    }

    /// The largest body of a request to this path.
    pub fn body_limit(path: &str) -> usize {
        if path.starts_with("/connect/") { MAX_BODY_BYTES } else { 0 }
    }

    /// Answers what is below `/connect/`; `None` for any other path.
    pub async fn answer(&self, request: &Request) -> Option<Response> {
        let path = request.path().strip_prefix("/connect/")?;
        let is_read = matches!(request.method, Method::GET | Method::HEAD);
        if path == "style.css" && is_read {
            return Some(
                Response::new(StatusCode::OK, "text/css; charset=utf-8", STYLE)
                    .with_header(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
                    .with_header(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600")),
            );
        }
        let (provider, is_callback) = match path.split_once('/') {
            None => (path, false),
            Some((provider, "callback")) => (provider, true),
            Some(_) => return Some(Response::empty(StatusCode::NOT_FOUND)),
        };
        if self.connections.provider(provider).is_none() {
            return Some(Response::empty(StatusCode::NOT_FOUND));
        }
        Some(match (&request.method, is_callback) {
            (&Method::GET, true) => self.arrive(provider, request).await,
            (&Method::GET, false) => self.start(provider, request).await,
            (&Method::POST, false) => self.depart(provider, request).await,
            (_, true) => Response::method_not_allowed("GET"),
            (_, false) => Response::method_not_allowed("GET, POST"),
        })
    }

    async fn start(&self, provider: &str, request: &Request) -> Response {
        let query = request.query().unwrap_or_default();
        let Some(start) = value(query.as_bytes(), "start") else {
            return self.lost(provider, &Lost::Link, None);
        };
        match self.connections.look(provider, &start).await {
            Ok(begun) => {
                let host = begun.at.host_str().unwrap_or_default();
                let (title, scopes) = (begun.title, begun.scopes.as_slice());
                let name = begun.name.as_ref().map(ToString::to_string);
                let page = Start { title, name, host, scopes, provider, start: &start };
                // A form's policy counts for where it is sent on to as well.
                let target = begun.at.origin().ascii_serialization();
                self.page(StatusCode::OK, &page, Some(&target))
            }
            Err(lost) => self.lost(provider, &lost, None),
        }
    }

    async fn depart(&self, provider: &str, request: &Request) -> Response {
        if !self.is_own(request) {
            let page = End::bad("Not from here", "This button was pressed on another site.");
            return self.page(StatusCode::FORBIDDEN, &page, None);
        }
        let start = value(&request.body, "start").unwrap_or_default();
        let Some(redirect) = self.redirect(provider) else { return self.lost(provider, &Lost::Link, None) };
        match self.connections.depart(provider, &start, &redirect).await {
            Ok(departed) => {
                let cookie = self.cookie(Some(departed.cookie.expose_secret()));
                let Ok(to) = HeaderValue::from_str(departed.url.as_str()) else {
                    return Response::empty(StatusCode::INTERNAL_SERVER_ERROR);
                };
                guarded(Response::empty(StatusCode::SEE_OTHER), None)
                    .with_header(header::LOCATION, to)
                    .with_header(header::SET_COOKIE, cookie)
            }
            Err(lost) => self.lost(provider, &lost, None),
        }
    }

    async fn arrive(&self, provider: &str, request: &Request) -> Response {
        let query = request.query().unwrap_or_default().as_bytes();
        let arrival = Arrival {
            code: value(query, "code"),
            state: value(query, "state"),
            error: value(query, "error"),
            iss: value(query, "iss"),
        };
        let cookie = cookie_of(request, self.cookie_name());
        // A task of its own: a browser that hangs up must not leave a grant behind that nobody keeps.
        let (connections, name) = (self.connections.clone(), provider.to_owned());
        let arriving =
            tokio::spawn(async move { connections.arrive(&name, cookie.as_deref(), &arrival).await });
        let Ok(arrived) = arriving.await else { return Response::empty(StatusCode::INTERNAL_SERVER_ERROR) };
        match arrived {
            Ok(Arrived { connection, is_new }) => {
                let tool = connection.tool.title();
                let heading = format!("{tool} is connected");
                let what = if is_new { "is connected" } else { "works again" };
                let lines = vec![
                    format!("Account: {}", connection.account.name),
                    format!("“{}” {what}. You can close this page.", connection.id),
                ];
                let page = End { heading: &heading, lines, scopes: &[], is_good: true, again: None };
                self.page(StatusCode::OK, &page, None).with_header(header::SET_COOKIE, self.cookie(None))
            }
            Err((lost, again)) => {
                let again = again.map(|token| {
                    let query = form_urlencoded::Serializer::new(String::new())
                        .append_pair("start", token.expose_secret())
                        .finish();
                    format!("/connect/{provider}?{query}")
                });
                self.lost(provider, &lost, again)
            }
        }
    }

    fn lost(&self, provider: &str, lost: &Lost, again: Option<String>) -> Response {
        let title = self.connections.provider(provider).map_or("The tool", |provider| provider.tool.title());
        let (status, mut page) = match lost {
            Lost::Link => (
                StatusCode::NOT_FOUND,
                End::bad(
                    "This link does not work",
                    "It was used already, or it is too old. Ask for a new one: formgate connect makes it.",
                ),
            ),
            Lost::State => (
                StatusCode::BAD_REQUEST,
                End::bad(
                    "Nothing was connected",
                    "This answer was used already, or it took too long. Begin again with a new link.",
                ),
            ),
            Lost::Browser => (
                StatusCode::FORBIDDEN,
                End::bad(
                    "Nothing was connected",
                    "This answer belongs to another browser. Finish in the one in which you began; it has to accept cookies.",
                ),
            ),
            Lost::MixedUp => (
                StatusCode::BAD_REQUEST,
                End::bad(
                    "Nothing was connected",
                    "This answer came from another service than the one you went to.",
                ),
            ),
            Lost::Cancelled => (
                StatusCode::OK,
                End::bad("You cancelled", format!("Nothing was connected, and {title} has shared nothing.")),
            ),
            Lost::Scopes(missing) => {
                let line = "Nothing was connected, because it needs what was not granted. Try again and leave these ticked:";
                (StatusCode::OK, End { scopes: missing, ..End::bad("Something was not granted", line) })
            }
            Lost::Tool(code) => (
                StatusCode::BAD_GATEWAY,
                End::bad("Nothing was connected", format!("{title} sent you back with the error “{code}”.")),
            ),
            Lost::Other(error) => {
                tracing::warn!(tool = provider, %error, "an account could not be connected");
                // What a stranger may read is less than what the log says.
                let line = match error {
                    Error::OtherAccount { .. } | Error::OtherTool { .. } | Error::Taken(_) => {
                        capital(&error.to_string())
                    }
                    Error::Oauth(oauth::Error::Grant { .. }) => {
                        format!("{title} did not accept its own answer. Try again.")
                    }
                    Error::Oauth(oauth::Error::Unavailable { .. }) => {
                        format!("{title} does not answer just now. Try again in some minutes.")
                    }
                    Error::Oauth(oauth::Error::Client { .. }) => {
                        format!(
                            "{title} does not accept this Formgate's app. Its operator has to mend the configuration."
                        )
                    }
                    _ => "Something went wrong. The log of this server says what.".to_owned(),
                };
                (StatusCode::BAD_GATEWAY, End::bad("Nothing was connected", line))
            }
        };
        page.again = again;
        self.page(status, &page, None)
    }

    fn page(&self, status: StatusCode, page: &impl Template, target: Option<&str>) -> Response {
        match page.render() {
            Ok(html) => {
                let response = guarded(Response::html(status, html), target);
                if !self.is_secure() {
                    return response;
                }
                let year = HeaderValue::from_static("max-age=31536000");
                response.with_header(header::STRICT_TRANSPORT_SECURITY, year)
            }
            Err(error) => {
                tracing::error!(%error, "a page cannot be rendered");
                Response::empty(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// Where the tool sends people back: this address is registered there, to the letter.
    fn redirect(&self, provider: &str) -> Option<Url> {
        let mut url = self.public_url.clone()?;
        url.path_segments_mut().ok()?.pop_if_empty().extend(["connect", provider, "callback"]);
        Some(url)
    }

    /// Whether the form was sent from our own page. Browsers without either header are let pass: the link is secret.
    fn is_own(&self, request: &Request) -> bool {
        let site = request.header("sec-fetch-site");
        let origin = request.header(header::ORIGIN);
        let ours = self.public_url.as_ref().map(|url| url.origin().ascii_serialization());
        // A page that sends no referrer may say "null".
        let is_ours = origin.is_none_or(|origin| origin == "null" || Some(origin) == ours.as_deref());
        site.is_none_or(|site| site == "same-origin" || site == "none")
            && (is_ours || site == Some("same-origin"))
    }

    fn is_secure(&self) -> bool {
        self.public_url.as_ref().is_some_and(|url| url.scheme() == "https")
    }

    /// Plain http is for loopback only, where `__Host-` cookies are not kept.
    fn cookie_name(&self) -> &'static str {
        if self.is_secure() { "__Host-formgate-connect" } else { "formgate-connect" }
    }

    /// Lax, because the tool sends people back from its own site.
    fn cookie(&self, secret: Option<&str>) -> HeaderValue {
        let (name, secure) = (self.cookie_name(), if self.is_secure() { "; Secure" } else { "" });
        let life = if secret.is_some() { STATE_LIFE.as_secs() } else { 0 };
        let secret = secret.unwrap_or_default();
        let text = format!("{name}={secret}; Path=/; Max-Age={life}; HttpOnly; SameSite=Lax{secure}");
        let mut value = HeaderValue::from_str(&text).expect("base64url and constants are visible ASCII");
        value.set_sensitive(true);
        value
    }
}

/// What keeps a page to itself.
fn guarded(response: Response, target: Option<&str>) -> Response {
    let policy = format!(
        "default-src 'none'; style-src 'self'; form-action 'self' {}; base-uri 'none'; frame-ancestors 'none'",
        target.unwrap_or_default()
    );
    let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    response
        .with_header(header::CONTENT_SECURITY_POLICY, policy)
        .with_header(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
        .with_header(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"))
        .with_header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .with_header(
            header::HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        )
}

/// The one value of a parameter; nothing if it comes twice, is empty or is too long.
fn value(encoded: &[u8], name: &str) -> Option<String> {
    let mut values = form_urlencoded::parse(encoded).filter(|(key, _)| key == name).map(|(_, value)| value);
    let value = values.next().filter(|value| (1..=MAX_VALUE_BYTES).contains(&value.len()))?;
    values.next().is_none().then(|| value.into_owned())
}

fn cookie_of(request: &Request, name: &str) -> Option<String> {
    let lines = request.headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut values = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name);
    let (_, value) = values.next()?;
    // Two of one name: one of them is not ours.
    values.next().is_none().then(|| value.to_owned())
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

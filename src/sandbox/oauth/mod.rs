//! The tools' authorization servers, as their documentation describes them: consent in a browser, codes, tokens that end,
//! rotation, revocation, and whose account a token is for.
//!
//! Each stands below its tool's name: `/hubspot/oauth/authorize`, `/google-forms/o/oauth2/v2/auth`,
//! `/typeform/oauth/authorize`, `/surveymonkey/oauth/authorize`. Stricter than the real ones where the documents leave room:
//! the redirect address has to be the registered one to the letter, a code is good once and takes its tokens with it when it
//! comes twice, a challenge has to be met, and parameters that the tool does not document are refused.

mod consent;
mod grant;
mod me;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use url::form_urlencoded;

use crate::server::{Method, Request, Response};

/// How long a code is good.
const CODE_LIFE: Duration = Duration::from_secs(60);
/// Tokens and codes that are remembered.
const MAX_KEPT: usize = 10_000;

/// When a rotated refresh token stops working.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// There is one for ever.
    Never,
    /// When one of the tokens that came in its place is used for the first time.
    AtUse,
    /// At once.
    AtOnce,
}

/// How a server behaves.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// How long an access token is good; none: for ever.
    pub access_life: Option<Duration>,
    /// How refresh tokens are replaced; none: there are no refresh tokens.
    pub rotation: Option<Rotation>,
    /// `expires_in` is a moment instead of a number of seconds.
    pub expires_at: bool,
}

/// A person who can agree.
#[derive(Debug, Clone)]
pub struct Person {
    /// The tool's id of the account.
    pub id: String,
    /// Shown on the page.
    pub email: String,
}

/// What a tool's server is like.
struct Manners {
    tool: &'static str,
    title: &'static str,
    authorize: &'static str,
    token: &'static str,
    scopes: &'static [&'static str],
    /// Whether the request names the scopes.
    names_scopes: bool,
    pkce: bool,
    /// People can untick scopes.
    unticks: bool,
    /// A refresh token only with this parameter or scope.
    offline: Option<&'static str>,
    extra: &'static [&'static str],
}

const MANNERS: [Manners; 4] = [
    Manners {
        tool: "hubspot",
        title: "HubSpot",
        authorize: "/hubspot/oauth/authorize",
        token: "/hubspot/oauth/2026-03/token",
        scopes: &[
            "oauth",
            "forms",
            "crm.objects.contacts.read",
            "crm.objects.contacts.write",
            "crm.objects.custom.read",
            "crm.objects.custom.write",
            "communication_preferences.read",
            "files",
        ],
        names_scopes: true,
        pkce: true,
        unticks: false,
        offline: None,
        extra: &["optional_scope"],
    },
    Manners {
        tool: "google-forms",
        title: "Google",
        authorize: "/google-forms/o/oauth2/v2/auth",
        token: "/google-forms/token",
        scopes: &[
            "openid",
            "email",
            "https://www.googleapis.com/auth/forms.body.readonly",
            "https://www.googleapis.com/auth/forms.responses.readonly",
            "https://www.googleapis.com/auth/drive.file",
            "https://www.googleapis.com/auth/drive.metadata.readonly",
            "https://www.googleapis.com/auth/spreadsheets",
        ],
        names_scopes: true,
        pkce: true,
        unticks: true,
        offline: Some("access_type"),
        extra: &["access_type", "prompt", "include_granted_scopes", "login_hint"],
    },
    Manners {
        tool: "typeform",
        title: "Typeform",
        authorize: "/typeform/oauth/authorize",
        token: "/typeform/oauth/token",
        scopes: &[
            "offline",
            "accounts:read",
            "forms:read",
            "forms:write",
            "responses:read",
            "webhooks:read",
            "webhooks:write",
        ],
        names_scopes: true,
        pkce: false,
        unticks: false,
        offline: Some("offline"),
        extra: &[],
    },
    Manners {
        tool: "surveymonkey",
        title: "SurveyMonkey",
        authorize: "/surveymonkey/oauth/authorize",
        token: "/surveymonkey/oauth/token",
        scopes: &[
            "users_read",
            "surveys_read",
            "collectors_read",
            "collectors_write",
            "responses_read",
            "responses_read_detail",
            "responses_write",
        ],
        names_scopes: false,
        pkce: false,
        unticks: true,
        offline: None,
        extra: &[],
    },
];

/// A client of a server.
struct Registered {
    id: String,
    secret: String,
    redirects: BTreeSet<String>,
}

/// What somebody agreed to.
#[derive(Debug, Clone)]
struct Agreed {
    tool: &'static str,
    person: Person,
    scopes: BTreeSet<String>,
    /// All that came from one agreement end together.
    family: u64,
    offline: bool,
}

struct Code {
    agreed: Agreed,
    redirect: String,
    challenge: Option<String>,
    made: Instant,
    used: bool,
}

#[derive(Debug, Clone)]
struct Token {
    agreed: Agreed,
    ends: Option<Instant>,
    /// A refresh token that dies when this one is used.
    replaces: Option<String>,
    is_refresh: bool,
}

#[derive(Default)]
struct State {
    codes: BTreeMap<String, Code>,
    tokens: BTreeMap<String, Token>,
    /// Consent pages that were shown and not answered, by their ticket.
    pages: BTreeMap<String, consent::Asked>,
    families: u64,
    behaviours: BTreeMap<&'static str, Behaviour>,
    people: Vec<Person>,
    robots: BTreeMap<String, String>,
    requests: Vec<String>,
    /// Every secret that was ever given out.
    issued: Vec<String>,
}

struct Shared {
    clients: BTreeMap<&'static str, Registered>,
    /// Where this stands, as peers reach it.
    state: Mutex<State>,
}

/// The four servers. Cheap to clone; clones are the same servers.
#[derive(Clone)]
pub struct Authority(Arc<Shared>);

impl Authority {
    /// Servers with one client each: its id is `{tool}-client`, its secret `{tool}-secret`, and this its redirect address
    /// with the tool's name for `*`.
    pub fn new(redirect: &str) -> Authority {
        let registered = |tool: &'static str| Registered {
            id: format!("{tool}-client"),
            secret: format!("{tool}-secret"),
            redirects: BTreeSet::from([redirect.replace('*', tool)]),
        };
        let clients = MANNERS.iter().map(|manners| (manners.tool, registered(manners.tool))).collect();
        let hour = Some(Duration::from_secs(3_600));
        let behaviour = |access_life, rotation| Behaviour { access_life, rotation, expires_at: false };
        let behaviours = BTreeMap::from([
            ("hubspot", behaviour(Some(Duration::from_secs(1_800)), Some(Rotation::Never))),
            ("google-forms", behaviour(hour, Some(Rotation::Never))),
            ("typeform", behaviour(Some(Duration::from_secs(604_800)), Some(Rotation::AtOnce))),
            ("surveymonkey", behaviour(None, None)),
        ]);
        let person = |id: &str, email: &str| Person { id: id.to_owned(), email: email.to_owned() };
        let people = vec![person("25505644", "ada@example.org"), person("25505645", "grace@example.org")];
        let state = Mutex::new(State { behaviours, people, ..State::default() });
        Authority(Arc::new(Shared { clients, state }))
    }

    /// Lets a tool's server behave so from now on.
    ///
    /// # Panics
    /// If there is no such tool.
    pub fn behave(&self, tool: &str, behaviour: Behaviour) {
        let manners = MANNERS.iter().find(|manners| manners.tool == tool).expect("one of the four tools");
        self.state().behaviours.insert(manners.tool, behaviour);
    }

    /// Knows a service account by its e-mail and public key in PEM.
    pub fn know_robot(&self, email: &str, public_pem: &str) {
        self.state().robots.insert(email.to_owned(), public_pem.to_owned());
    }

    /// Makes a token as the tool's pages for developers do.
    pub fn make_token(&self, tool: &str, scopes: &[&str]) -> String {
        let manners = MANNERS.iter().find(|manners| manners.tool == tool).expect("one of the four tools");
        let mut state = self.state();
        let person = state.people.first().cloned().expect("somebody");
        state.families += 1;
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let agreed = Agreed { tool: manners.tool, person, scopes, family: state.families, offline: false };
        let token = secret("pat");
        state.issued.push(token.clone());
        state.tokens.insert(token.clone(), Token { agreed, ends: None, replaces: None, is_refresh: false });
        token
    }

    /// The account's owner throws the app out: all its tokens end.
    pub fn throw_out(&self, tool: &str) {
        self.state().tokens.retain(|_, token| token.agreed.tool != tool);
    }

    /// All access tokens of a tool end now; refresh tokens go on.
    pub fn end_access(&self, tool: &str) {
        self.state().tokens.retain(|_, token| token.agreed.tool != tool || token.is_refresh);
    }

    /// Method and path of every request that came, oldest first.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// Every code and token that was ever given out: none may be seen anywhere else.
    pub fn issued(&self) -> Vec<String> {
        self.state().issued.clone()
    }

    /// What a token of a tool may do, which uses it; `None` if it is not valid.
    pub fn scopes_of(&self, tool: &str, token: &str) -> Option<BTreeSet<String>> {
        self.use_token(tool, token).map(|agreed| agreed.scopes)
    }

    /// Answers a request of one of the servers; `None` if its path is none of theirs.
    pub fn answer(&self, request: &Request) -> Option<Response> {
        let path = request.path();
        let manners = MANNERS.iter().find(|manners| {
            path.strip_prefix('/').and_then(|path| path.strip_prefix(manners.tool)?.chars().next())
                == Some('/')
        })?;
        let answered = match request.method {
            Method::GET if path == manners.authorize => Some(self.ask(manners, request)),
            Method::POST if path == manners.authorize => Some(self.agree(manners, request)),
            Method::POST if path == manners.token => Some(self.grant(manners, request)),
            _ => self.about(manners, request),
        };
        if answered.is_some() {
            self.state().requests.push(format!("{} {path}", request.method));
        }
        answered
    }

    fn use_token(&self, tool: &str, token: &str) -> Option<Agreed> {
        let mut state = self.state();
        let known = state.tokens.get(token)?.clone();
        if known.agreed.tool != tool
            || known.is_refresh
            || known.ends.is_some_and(|ends| ends <= Instant::now())
        {
            return None;
        }
        if let Some(replaced) = known.replaces {
            state.tokens.remove(&replaced);
        }
        Some(known.agreed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.tokens.len() > MAX_KEPT {
            state.tokens.pop_first();
        }
        while state.codes.len() > MAX_KEPT {
            state.codes.pop_first();
        }
        while state.pages.len() > MAX_KEPT {
            state.pages.pop_first();
        }
        state
    }
}

fn secret(kind: &str) -> String {
    let bytes: [u8; 24] = rand::random();
    format!("{kind}-{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// The parameters of a query or form; `None` if one comes twice.
fn parameters(encoded: &[u8]) -> Option<BTreeMap<String, String>> {
    let mut parameters = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(encoded).into_owned() {
        if parameters.insert(name, value).is_some() {
            return None;
        }
    }
    Some(parameters)
}

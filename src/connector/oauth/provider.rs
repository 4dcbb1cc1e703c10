//! What each tool's authorization server is like: one table, with what the configuration changes of it.

use std::fmt;
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};

use secrecy::SecretString;
use url::Url;

use crate::client::AddressPolicy;

/// A tool whose accounts can be connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tool {
    /// HubSpot.
    Hubspot,
    /// Google, for its Forms and Sheets.
    GoogleForms,
    /// Typeform.
    Typeform,
    /// SurveyMonkey.
    Surveymonkey,
}

impl Tool {
    /// All of them.
    pub const ALL: [Tool; 4] = [Tool::Hubspot, Tool::GoogleForms, Tool::Typeform, Tool::Surveymonkey];

    /// Its name in configuration, commands and addresses.
    pub fn as_str(self) -> &'static str {
        match self {
            Tool::Hubspot => "hubspot",
            Tool::GoogleForms => "google-forms",
            Tool::Typeform => "typeform",
            Tool::Surveymonkey => "surveymonkey",
        }
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Tool::Hubspot => "HubSpot",
            Tool::GoogleForms => "Google",
            Tool::Typeform => "Typeform",
            Tool::Surveymonkey => "SurveyMonkey",
        }
    }

    /// The authorization server of this region: Typeform's European accounts have one of their own.
    pub fn server(self, region: Option<&str>) -> &'static str {
        match (self, region) {
            (Tool::Typeform, Some("eu")) => "typeform-eu",
            _ => self.as_str(),
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The word names no tool that can be connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tools that can be connected are hubspot, google-forms, typeform and surveymonkey")]
pub struct UnknownTool;

impl FromStr for Tool {
    type Err = UnknownTool;

    fn from_str(text: &str) -> Result<Self, UnknownTool> {
        Tool::ALL.into_iter().find(|tool| tool.as_str() == text).ok_or(UnknownTool)
    }
}

/// A right that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The tool's name of it.
    pub name: String,
    /// What it is for, in plain words.
    pub words: String,
}

/// What is known of an authorization server (form-tools 1.1, 2.1, 3.1, 4.1).
pub(super) struct Facts {
    pub(super) name: &'static str,
    pub(super) tool: Tool,
    authorize: &'static str,
    token: &'static str,
    revoke: Option<&'static str>,
    api: &'static str,
    /// Whose account it is, where the API's own root does not tell.
    account: Option<&'static str>,
    pub(super) pkce: bool,
    /// Whether the request names the scopes; else they are set in the app's settings at the tool.
    pub(super) names_scopes: bool,
    scopes: &'static [(&'static str, &'static str)],
    /// Parameters of the authorize request besides the standard's.
    pub(super) extra: &'static [(&'static str, &'static str)],
    /// What `iss` of a callback has to be if it is there (RFC 9207).
    pub(super) issuer: Option<&'static str>,
    /// A region's name, and what is another there: the authorize host, and the API's.
    regions: &'static [(&'static str, Option<&'static str>, Option<&'static str>)],
}

/// SurveyMonkey's data centres: the only hosts that `access_url` may name.
pub(super) const SURVEYMONKEY_HOSTS: [&str; 3] =
    ["https://api.surveymonkey.com/", "https://api.eu.surveymonkey.com/", "https://api.surveymonkey.ca/"];

pub(super) const FACTS: [Facts; 5] = [
    Facts {
        name: "hubspot",
        tool: Tool::Hubspot,
        authorize: "https://app.hubspot.com/oauth/authorize",
        token: "https://api.hubapi.com/oauth/2026-03/token",
        revoke: Some("https://api.hubapi.com/oauth/2026-03/token/revoke"),
        api: "https://api.hubapi.com/",
        account: None,
        pkce: true,
        names_scopes: true,
        scopes: &[("oauth", "connect at all"), ("forms", "read your forms and hand submissions in")],
        extra: &[],
        issuer: None,
        regions: &[("us", None, None), ("eu", Some("https://app-eu1.hubspot.com/oauth/authorize"), None)],
    },
    Facts {
        name: "google-forms",
        tool: Tool::GoogleForms,
        authorize: "https://accounts.google.com/o/oauth2/v2/auth",
        token: "https://oauth2.googleapis.com/token",
        revoke: Some("https://oauth2.googleapis.com/revoke"),
        api: "https://forms.googleapis.com/",
        account: Some("https://openidconnect.googleapis.com/v1/userinfo"),
        pkce: true,
        names_scopes: true,
        scopes: &[
            ("openid", "know which account it is"),
            ("email", "show whose account it is"),
            ("https://www.googleapis.com/auth/forms.body.readonly", "read your forms"),
        ],
        // Without both Google gives no refresh token to somebody who has connected before.
        extra: &[("access_type", "offline"), ("prompt", "consent")],
        issuer: Some("https://accounts.google.com"),
        regions: &[],
    },
    Facts {
        name: "typeform",
        tool: Tool::Typeform,
        authorize: "https://api.typeform.com/oauth/authorize",
        token: "https://api.typeform.com/oauth/token",
        revoke: None,
        api: "https://api.typeform.com/",
        account: None,
        pkce: false,
        names_scopes: true,
        scopes: TYPEFORM_SCOPES,
        extra: &[],
        issuer: None,
        regions: &[("us", None, None), ("eu-old", None, Some("https://api.eu.typeform.com/"))],
    },
    // Accounts of the European data centre have an authorization server and clients of their own.
    Facts {
        name: "typeform-eu",
        tool: Tool::Typeform,
        authorize: "https://api.typeform.eu/oauth/authorize",
        token: "https://api.typeform.eu/oauth/token",
        revoke: None,
        api: "https://api.typeform.eu/",
        account: None,
        pkce: false,
        names_scopes: true,
        scopes: TYPEFORM_SCOPES,
        extra: &[],
        issuer: None,
        regions: &[("eu", None, None)],
    },
    Facts {
        name: "surveymonkey",
        tool: Tool::Surveymonkey,
        authorize: "https://api.surveymonkey.com/oauth/authorize",
        token: "https://api.surveymonkey.com/oauth/token",
        revoke: None,
        api: "https://api.surveymonkey.com/",
        account: None,
        pkce: false,
        names_scopes: false,
        scopes: &[
            ("users_read", "know whose account it is"),
            ("surveys_read", "read your surveys"),
            ("collectors_read", "find where responses go in"),
            ("responses_write", "hand responses in (a paid plan)"),
        ],
        extra: &[],
        issuer: None,
        regions: &[
            ("us", None, None),
            ("eu", None, Some("https://api.eu.surveymonkey.com/")),
            ("ca", None, Some("https://api.surveymonkey.ca/")),
        ],
    },
];

const TYPEFORM_SCOPES: &[(&str, &str)] = &[
    ("offline", "stay connected"),
    ("accounts:read", "show whose account it is"),
    ("forms:read", "read your forms"),
    ("webhooks:read", "see which webhooks a form has"),
];

/// What the configuration says of one server; every address is the documented one unless it is given.
#[derive(Default)]
pub struct Settings {
    /// The client's id at the tool; none: only pasted credentials can be used.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret: Option<SecretString>,
    /// Asked for besides the least that is needed.
    pub scopes: Vec<String>,
    /// Where people agree.
    pub authorize_url: Option<Url>,
    /// Where tokens come from.
    pub token_url: Option<Url>,
    /// Where they are given back.
    pub revoke_url: Option<Url>,
    /// Where it says whose account it is.
    pub account_url: Option<Url>,
    /// The root of the API.
    pub api_url: Option<Url>,
    /// Permits http, any port and private addresses.
    pub allow_private_network: bool,
}

/// One authorization server, as it is used here.
pub struct Provider {
    /// Its name in configuration and addresses.
    pub name: &'static str,
    /// Whose it is.
    pub tool: Tool,
    pub(super) facts: &'static Facts,
    pub(super) settings: Settings,
    /// What else the flows being served turned out to need.
    also: RwLock<Vec<Scope>>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Provider({})", self.name)
    }
}

fn documented(text: &str) -> Url {
    Url::parse(text).expect("a test reads every address of the table")
}

impl Provider {
    /// The names of all.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FACTS.iter().map(|facts| facts.name)
    }

    /// The server of this name; `None` if there is none.
    pub fn new(name: &str, settings: Settings) -> Option<Provider> {
        let facts = FACTS.iter().find(|facts| facts.name == name)?;
        Some(Provider { name: facts.name, tool: facts.tool, facts, settings, also: RwLock::default() })
    }

    /// Where its calls may go.
    pub fn policy(&self) -> AddressPolicy {
        if self.settings.allow_private_network {
            AddressPolicy::AllowPrivateNetwork
        } else {
            AddressPolicy::PublicHttps
        }
    }

    /// Whether people can agree in a browser: the configuration names a client.
    pub fn has_client(&self) -> bool {
        self.settings.client_id.is_some() && self.settings.client_secret.is_some()
    }

    /// Whether it has a region of this name; without a name its first.
    pub fn has_region(&self, region: Option<&str>) -> bool {
        region.is_none_or(|region| self.facts.regions.iter().any(|(name, ..)| *name == region))
    }

    /// Where people of this region agree.
    pub fn authorize_url(&self, region: Option<&str>) -> Url {
        let regional = || self.region(region).and_then(|(_, authorize, _)| *authorize);
        let given = self.settings.authorize_url.clone();
        given.unwrap_or_else(|| documented(regional().unwrap_or(self.facts.authorize)))
    }

    /// The root of the API of this region.
    pub fn api_url(&self, region: Option<&str>) -> Url {
        let regional = || self.region(region).and_then(|(_, _, api)| *api);
        let given = self.settings.api_url.clone();
        given.unwrap_or_else(|| documented(regional().unwrap_or(self.facts.api)))
    }

    pub(super) fn token_url(&self) -> Url {
        self.settings.token_url.clone().unwrap_or_else(|| documented(self.facts.token))
    }

    pub(super) fn revoke_url(&self) -> Option<Url> {
        self.settings.revoke_url.clone().or_else(|| self.facts.revoke.map(documented))
    }

    pub(super) fn account_url(&self) -> Option<Url> {
        self.settings.account_url.clone().or_else(|| self.facts.account.map(documented))
    }

    fn region(
        &self,
        region: Option<&str>,
    ) -> Option<&'static (&'static str, Option<&'static str>, Option<&'static str>)> {
        self.facts.regions.iter().find(|(name, ..)| Some(*name) == region)
    }

    /// Asks for a scope from now on that a flow turned out to need. Who has connected before is not asked again by itself.
    pub fn ask_also(&self, name: &str, words: &str) {
        let mut also = self.also.write().unwrap_or_else(PoisonError::into_inner);
        if !also.iter().any(|scope| scope.name == name) {
            also.push(Scope { name: name.to_owned(), words: words.to_owned() });
        }
    }

    /// What is asked for: the least that is needed, and what the configuration adds.
    pub fn scopes(&self) -> Vec<Scope> {
        let least = self.facts.scopes.iter().map(|(name, words)| (*name, *words));
        let more = self.settings.scopes.iter().map(|name| (name.as_str(), "as your configuration asks"));
        let mut scopes: Vec<Scope> = Vec::new();
        for (name, words) in least.chain(more) {
            if !scopes.iter().any(|scope| scope.name == name) {
                scopes.push(Scope { name: name.to_owned(), words: words.to_owned() });
            }
        }
        for scope in self.also.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if !scopes.iter().any(|known| known.name == scope.name) {
                scopes.push(scope.clone());
            }
        }
        scopes
    }

    /// Those that are needed or configured and were not granted. Google tells `email` by a longer name.
    pub fn missing(&self, granted: &[String]) -> Vec<Scope> {
        let has = |name: &str| {
            let long = format!("https://www.googleapis.com/auth/userinfo.{name}");
            granted.iter().any(|scope| scope == name || *scope == long)
        };
        self.scopes().into_iter().filter(|scope| !has(&scope.name)).collect()
    }

    /// Whether a callback's `iss` is this server's; one that is missing is no fault.
    pub fn is_issuer(&self, issuer: Option<&str>) -> bool {
        match (issuer, self.facts.issuer) {
            (Some(given), Some(known)) if self.settings.authorize_url.is_none() => given == known,
            // A server that is not the documented one is told apart by its origin.
            (Some(given), _) => {
                let origin = self.authorize_url(None).origin();
                Url::parse(given).is_ok_and(|given| given.origin() == origin)
            }
            (None, _) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_the_table_is_an_https_address() {
        for facts in &FACTS {
            let provider = Provider::new(facts.name, Settings::default()).expect("in the table");
            let mut urls = vec![provider.token_url()];
            urls.extend(provider.revoke_url());
            urls.extend(provider.account_url());
            for region in facts.regions.iter().map(|(name, ..)| Some(*name)).chain([None]) {
                assert!(provider.has_region(region));
                urls.extend([provider.authorize_url(region), provider.api_url(region)]);
            }
            assert!(urls.iter().all(|url| url.scheme() == "https"), "{urls:?}");
        }
        assert!(SURVEYMONKEY_HOSTS.iter().all(|host| Url::parse(host).is_ok()));
    }

    #[test]
    fn a_scope_that_was_not_granted_is_named() {
        let provider = Provider::new("google-forms", Settings::default()).expect("in the table");
        let granted = ["openid", "https://www.googleapis.com/auth/userinfo.email"].map(str::to_owned);
        let missing = provider.missing(&granted);
        let names: Vec<&str> = missing.iter().map(|scope| scope.name.as_str()).collect();
        assert_eq!(names, ["https://www.googleapis.com/auth/forms.body.readonly"]);
    }

    #[test]
    fn a_scope_that_a_flow_needs_is_asked_for_from_then_on() {
        let hubspot = Provider::new("hubspot", Settings::default()).expect("in the table");
        let names = || hubspot.scopes().into_iter().map(|scope| scope.name).collect::<Vec<_>>();
        assert_eq!(names(), ["oauth", "forms"], "nobody is asked for more than is needed");
        hubspot.ask_also("files", "keep files");
        hubspot.ask_also("files", "keep files");
        assert_eq!(names(), ["oauth", "forms", "files"]);
        let granted = ["oauth", "forms"].map(str::to_owned);
        assert_eq!(hubspot.missing(&granted)[0].name, "files");
    }

    #[test]
    fn an_issuer_of_somebody_else_is_told_apart() {
        let google = Provider::new("google-forms", Settings::default()).expect("in the table");
        assert!(google.is_issuer(None) && google.is_issuer(Some("https://accounts.google.com")));
        assert!(!google.is_issuer(Some("https://accounts.google.com.example.org")));
        let hubspot = Provider::new("hubspot", Settings::default()).expect("in the table");
        assert!(!hubspot.is_issuer(Some("https://accounts.google.com")));
        assert!(hubspot.is_issuer(Some("https://app.hubspot.com")));
    }
}

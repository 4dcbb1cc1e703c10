//! What is kept of a connection: what a list shows, and its sealed credentials.

use std::fmt;
use std::str::FromStr;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;
use zeroize::Zeroizing;

use crate::connector::oauth::{Account, Tokens, Tool};

const MAX_ID_BYTES: usize = 64;

/// Names a connection, in the configuration too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConnectionId(String);

/// The text is no name of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a connection's name is 1 to 64 small letters, digits and hyphens")]
pub struct InvalidId;

impl ConnectionId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ConnectionId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(plain);
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidId) }
    }
}

impl TryFrom<String> for ConnectionId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<ConnectionId> for String {
    fn from(id: ConnectionId) -> String {
        id.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The workspace of what the operator connects without a word on it, and of what was connected before there were workspaces.
const DEFAULT_WORKSPACE: &str = "default";

/// Whoever connects an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct By<'a> {
    /// Who it is, for the audit trail.
    pub actor: &'a str,
    /// The only workspace whose connections there are; `None` for the operator, who sees all.
    pub workspace: Option<&'a str>,
}

impl By<'_> {
    /// Whether the connection exists for it.
    pub(super) fn sees(&self, connection: &Connection) -> bool {
        self.workspace.is_none_or(|workspace| connection.workspace == workspace)
    }

    /// Where what it makes belongs.
    pub(super) fn home(&self) -> String {
        self.workspace.unwrap_or(DEFAULT_WORKSPACE).to_owned()
    }
}

/// The operator, by the name that the audit trail gets.
impl<'a> From<&'a str> for By<'a> {
    fn from(actor: &'a str) -> Self {
        Self { actor, workspace: None }
    }
}

/// How a connection stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It works, as far as is known.
    Active,
    /// The tool does not accept it any more: it has to be connected again.
    NeedsReconnect {
        /// Since when, in Unix milliseconds.
        since_ms: i64,
        /// Why, in a short constant or the tool's error code.
        reason: String,
    },
}

/// By what it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// Somebody agreed in a browser.
    Oauth,
    /// A token that somebody pasted.
    Token,
    /// A service account's key.
    ServiceAccount,
}

impl Means {
    /// For lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Means::Oauth => "OAuth",
            Means::Token => "pasted token",
            Means::ServiceAccount => "service account",
        }
    }
}

/// A connected account, without its credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its name.
    pub id: ConnectionId,
    /// Whose it is here: destinations and flows of the configuration may use it whatever their workspace.
    #[serde(default = "default_workspace")]
    pub workspace: String,
    /// Whose account.
    pub tool: Tool,
    /// The authorization server it was made with.
    pub provider: String,
    /// The region that was chosen, if any.
    pub region: Option<String>,
    /// The root of the API that serves the account.
    pub api_url: Url,
    /// Whose it is.
    pub account: Account,
    /// What was granted, as far as the tool says.
    pub scopes: Vec<String>,
    /// By what it is connected.
    pub means: Means,
    /// How it stands.
    #[serde(flatten)]
    pub state: State,
    /// When it was made, in Unix milliseconds.
    pub made_at_ms: i64,
    /// By whom.
    pub made_by: String,
    /// When it was connected last.
    #[serde(default)]
    pub connected_at_ms: i64,
}

fn default_workspace() -> String {
    DEFAULT_WORKSPACE.to_owned()
}

impl Connection {
    /// What is left to do at the tool after it was removed here; `told`: the tool has taken the tokens back.
    #[must_use]
    pub fn left_to_do(&self, told: bool) -> Option<String> {
        let remark = match (self.means, told) {
            (Means::Oauth, true) => return None,
            (Means::Oauth, false) => "has not been told: remove the app in the account's settings, too",
            (Means::Token | Means::ServiceAccount, _) => "still knows the token or key: delete it there, too",
        };
        Some(format!("{} {remark}.", self.tool.title()))
    }
}

/// The credentials, sealed in [`crate::store::Table::Secret`].
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    /// The access token of the moment; none before a service account's first.
    pub(super) access: Option<String>,
    pub(super) expires_at_ms: Option<i64>,
    pub(super) issued_at_ms: i64,
    pub(super) refresh: Option<String>,
    /// The refresh token before this one: kept until this one has worked once.
    pub(super) previous: Option<String>,
    /// A service account's key, as Google gives it.
    pub(super) service_account: Option<ServiceAccount>,
}

/// What is used of a service account's key file. Its `token_uri` is not: a file may not say where keys are sent.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ServiceAccount {
    pub(super) client_email: String,
    pub(super) private_key: String,
    pub(super) private_key_id: String,
}

impl Kept {
    /// What a token endpoint gave. A refresh token that is not given again stays (RFC 6749, 6).
    pub(super) fn of(tokens: &Tokens, used: Option<&str>, now_ms: i64) -> Kept {
        let text = |secret: &SecretString| secret.expose_secret().to_owned();
        let given = tokens.refresh.as_ref().map(text);
        let rotated = given.as_deref().is_some_and(|given| Some(given) != used);
        Kept {
            access: Some(text(&tokens.access)),
            expires_at_ms: tokens.expires_at_ms,
            issued_at_ms: now_ms,
            refresh: given.or_else(|| used.map(str::to_owned)),
            previous: used.filter(|_| rotated).map(str::to_owned),
            service_account: None,
        }
    }

    pub(super) fn pasted(token: &SecretString, now_ms: i64) -> Kept {
        Kept {
            access: Some(token.expose_secret().to_owned()),
            expires_at_ms: None,
            issued_at_ms: now_ms,
            refresh: None,
            previous: None,
            service_account: None,
        }
    }

    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(serde_json::to_vec(self).expect("strings and numbers always serialise"))
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Kept> {
        serde_json::from_slice(bytes).ok()
    }

    /// Whether new tokens can be had without anybody's help.
    pub(super) fn is_renewable(&self) -> bool {
        self.refresh.is_some() || self.service_account.is_some()
    }

    /// From when on a new token is asked for: a tenth of its life before its end, five minutes at most.
    pub(super) fn renew_at_ms(&self) -> Option<i64> {
        const MOST_MS: i64 = 5 * 60 * 1_000;
        let expires_at_ms = self.expires_at_ms?;
        let margin_ms = (expires_at_ms.saturating_sub(self.issued_at_ms) / 10).clamp(0, MOST_MS);
        Some(expires_at_ms - margin_ms)
    }

    /// Whether it is good for now. One that cannot be renewed is used to its end.
    pub(super) fn is_fresh(&self, now_ms: i64) -> bool {
        let until = if self.is_renewable() { self.renew_at_ms() } else { self.expires_at_ms };
        self.access.is_some() && until.is_none_or(|until| now_ms < until)
    }

    /// Whether the tool still takes it.
    pub(super) fn is_valid(&self, now_ms: i64) -> bool {
        self.access.is_some() && self.expires_at_ms.is_none_or(|until| now_ms < until)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        let mut wiped = [&mut self.access, &mut self.refresh, &mut self.previous];
        wiped.iter_mut().for_each(|secret| secret.zeroize());
        if let Some(account) = &mut self.service_account {
            account.private_key.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(issued_at_ms: i64, expires_at_ms: Option<i64>, refresh: Option<&str>) -> Kept {
        let access = Some("token".to_owned());
        let refresh = refresh.map(str::to_owned);
        Kept { access, expires_at_ms, issued_at_ms, refresh, previous: None, service_account: None }
    }

    #[test]
    fn a_token_is_renewed_a_tenth_of_its_life_before_its_end_and_never_an_hour_before() {
        let half_hour = kept(0, Some(1_800_000), Some("r"));
        assert!(half_hour.is_fresh(1_619_999) && !half_hour.is_fresh(1_620_000));
        let week = kept(0, Some(604_800_000), Some("r"));
        assert!(week.is_fresh(604_499_999) && !week.is_fresh(604_500_000));
        assert!(week.is_valid(604_799_999) && !week.is_valid(604_800_000));
    }

    #[test]
    fn what_cannot_be_renewed_is_used_to_its_end() {
        assert!(kept(0, None, None).is_fresh(i64::MAX));
        assert!(kept(0, Some(100), None).is_fresh(99));
        assert!(!kept(0, Some(100), None).is_fresh(100));
    }

    #[test]
    fn an_id_needs_no_escaping_anywhere() {
        assert!("hubspot-2".parse::<ConnectionId>().is_ok());
        for text in ["", "HubSpot", "a b", "a/b", &"x".repeat(65)] {
            assert_eq!(text.parse::<ConnectionId>(), Err(InvalidId), "{text}");
        }
    }
}

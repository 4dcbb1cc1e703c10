//! Who may do what: roles, scopes, and the tokens of programs.
//!
//! Invariant: of a token only a keyed hash is stored. What a token may do is the role's scopes, narrowed by its own; a
//! token cannot give away what it does not have.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::audit;
use crate::store::{self, Batch, Expectation, Mac, Put, Scan, Store, Table};

/// What every token begins with, so that it is found where it must not be.
const PREFIX: &str = "fgt_";
/// Tokens that a list shows.
const LISTED: u32 = 1_000;
/// Characters of a token's name.
const MAX_NAME: usize = 64;

/// One thing that may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum Scope {
    /// See flows, their versions and changes.
    #[serde(rename = "flows:read")]
    FlowsRead,
    /// Take changes of forms over, make flow tokens.
    #[serde(rename = "flows:write")]
    FlowsWrite,
    /// See connected accounts and how they stand.
    #[serde(rename = "connections:read")]
    ConnectionsRead,
    /// Connect and disconnect accounts.
    #[serde(rename = "connections:write")]
    ConnectionsWrite,
    /// Read the forms that connected accounts have at their tools, whether they are served or not.
    #[serde(rename = "forms:read")]
    FormsRead,
    /// See destinations and their queues.
    #[serde(rename = "destinations:read")]
    DestinationsRead,
    /// Pause and resume destinations, and set their mappings.
    #[serde(rename = "destinations:write")]
    DestinationsWrite,
    /// See submissions with their answers, and their deliveries.
    #[serde(rename = "submissions:read")]
    SubmissionsRead,
    /// Replay deliveries.
    #[serde(rename = "submissions:write")]
    SubmissionsWrite,
    /// Make and revoke tokens of this API.
    #[serde(rename = "tokens:write")]
    TokensWrite,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::FlowsRead,
        Self::FlowsWrite,
        Self::ConnectionsRead,
        Self::ConnectionsWrite,
        Self::FormsRead,
        Self::DestinationsRead,
        Self::DestinationsWrite,
        Self::SubmissionsRead,
        Self::SubmissionsWrite,
        Self::TokensWrite,
    ];

    /// Its name in tokens and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FlowsRead => "flows:read",
            Self::FlowsWrite => "flows:write",
            Self::ConnectionsRead => "connections:read",
            Self::ConnectionsWrite => "connections:write",
            Self::FormsRead => "forms:read",
            Self::DestinationsRead => "destinations:read",
            Self::DestinationsWrite => "destinations:write",
            Self::SubmissionsRead => "submissions:read",
            Self::SubmissionsWrite => "submissions:write",
            Self::TokensWrite => "tokens:write",
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::as_str).join(", ");
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| format!("“{text}” is no scope; there are {}", names()))
    }
}

/// What somebody is to a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Also works with flows, destinations and deliveries.
    Editor,
    /// Also says who else may, and whose accounts are used.
    Owner,
}

impl Role {
    /// What the role may do.
    #[must_use]
    pub fn scopes(self) -> BTreeSet<Scope> {
        let may = |scope: &Scope| match scope {
            Scope::FlowsRead | Scope::ConnectionsRead | Scope::DestinationsRead | Scope::SubmissionsRead => {
                true
            }
            Scope::FlowsWrite | Scope::FormsRead | Scope::DestinationsWrite | Scope::SubmissionsWrite => {
                self >= Self::Editor
            }
            Scope::ConnectionsWrite | Scope::TokensWrite => self >= Self::Owner,
        };
        Scope::ALL.into_iter().filter(may).collect()
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "editor" => Ok(Self::Editor),
            "owner" => Ok(Self::Owner),
            _ => Err(format!("“{text}” is no role; there are viewer, editor and owner")),
        }
    }
}

/// Whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The name that audit entries get.
    pub name: String,
    /// The only workspace that exists for it.
    pub workspace: String,
    /// What it is there.
    pub role: Role,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
}

impl Principal {
    /// Whether it may.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Who did it, for the audit trail.
    #[must_use]
    pub fn actor(&self) -> String {
        format!("api:{}", self.name)
    }
}

/// A token to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// What people call it.
    pub name: String,
    /// The workspace it is for.
    pub workspace: String,
    /// Its role there.
    pub role: Role,
    /// Only these of the role's scopes; none: all of them.
    pub scopes: Option<BTreeSet<Scope>>,
    /// Until when, in Unix milliseconds.
    pub expires_at_ms: Option<i64>,
}

/// A token as it is listed: without what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// Its id, also a part of the token itself.
    pub id: String,
    /// What it was made with.
    #[serde(flatten)]
    pub made: NewToken,
    /// When it was made, in Unix milliseconds.
    pub made_at_ms: i64,
    /// Who made it.
    pub made_by: String,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    view: TokenView,
    hash: String,
}

/// A token, shown once.
pub struct Made {
    /// The token itself.
    pub secret: String,
    /// What is kept of it.
    pub view: TokenView,
}

impl fmt::Debug for Made {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Made").field("view", &self.view).finish_non_exhaustive()
    }
}

/// Why a token was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its name.
    #[error("a token's name is 1 to {MAX_NAME} letters, digits, blanks, hyphens, dots and underscores")]
    Name,
    /// A scope that the role does not have.
    #[error("the role has not the scope {}", .0.as_str())]
    Scope(Scope),
    /// The store refused.
    #[error("the store refused")]
    Store(#[from] store::Error),
}

/// The tokens of programs.
#[derive(Clone)]
pub struct Tokens {
    store: Store,
    key: Arc<dyn Mac>,
}

impl Tokens {
    /// The tokens in this store; `key` makes the hashes that are kept of them.
    pub fn new(store: Store, key: Arc<dyn Mac>) -> Self {
        Self { store, key }
    }

    /// Makes a token.
    ///
    /// # Errors
    /// [`Error`]; nothing was made.
    pub async fn make(&self, new: NewToken, actor: &str, now_ms: i64) -> Result<Made, Error> {
        let is_plain = |c: char| c.is_alphanumeric() || [' ', '-', '.', '_'].contains(&c);
        let length = new.name.chars().count();
        if !(1..=MAX_NAME).contains(&length) || !new.name.chars().all(is_plain) || new.name.trim() != new.name
        {
            return Err(Error::Name);
        }
        let role = new.role.scopes();
        if let Some(scope) = new.scopes.iter().flatten().find(|scope| !role.contains(scope)) {
            return Err(Error::Scope(*scope));
        }
        let id = hex(&rand::random::<[u8; 8]>());
        let secret = format!("{PREFIX}{id}_{}", BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        let view = TokenView { id, made: new, made_at_ms: now_ms, made_by: actor.to_owned() };
        let kept = Kept { hash: self.hash(&secret), view: view.clone() };
        let value = serde_json::to_vec(&kept).expect("strings and numbers always serialise");
        let key = view.id.as_bytes();
        let batch = Batch::at(now_ms)
            .require(Table::ApiToken, key, Expectation::Absent)
            .put(Put::new(Table::ApiToken, key, value))
            .put(audit::Event::ok(now_ms, actor, "api_token.made", &view.id).put());
        self.store.commit(batch).await?;
        Ok(Made { secret, view })
    }

    /// The tokens of a workspace, or all.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self, workspace: Option<&str>) -> Result<Vec<TokenView>, store::Error> {
        let scan = Scan { limit: LISTED, ..Scan::default() };
        let records = self.store.scan(Table::ApiToken, scan).await?;
        let views =
            records.iter().filter_map(|(_, record)| serde_json::from_slice::<Kept>(&record.value).ok());
        let of = |view: &TokenView| workspace.is_none_or(|workspace| view.made.workspace == workspace);
        Ok(views.map(|kept| kept.view).filter(of).collect())
    }

    /// Takes a token back at once. `false` if there is none in that workspace.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn revoke(
        &self,
        id: &str,
        workspace: Option<&str>,
        actor: &str,
        now_ms: i64,
    ) -> Result<bool, store::Error> {
        let Some(record) = self.store.get(Table::ApiToken, id.as_bytes()).await? else { return Ok(false) };
        let kept: Option<Kept> = serde_json::from_slice(&record.value).ok();
        // One that cannot be read can be taken back by whoever sees all.
        let of = kept.map(|kept| kept.view.made.workspace);
        if workspace.is_some_and(|workspace| of.as_deref() != Some(workspace)) {
            return Ok(false);
        }
        let batch = Batch::at(now_ms)
            .require(Table::ApiToken, id, Expectation::Version(record.version))
            .delete(Table::ApiToken, id)
            .put(audit::Event::ok(now_ms, actor, "api_token.revoked", id).put());
        match self.store.commit(batch).await {
            Ok(()) => Ok(true),
            Err(store::Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whose token this is; `None` for one that is not known, was taken back, or has ended.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn principal(&self, token: &str, now_ms: i64) -> Result<Option<Principal>, store::Error> {
        let id = token.strip_prefix(PREFIX).and_then(|rest| rest.get(..16)).filter(|id| is_hex(id));
        let Some(id) = id else { return Ok(None) };
        let Some(record) = self.store.get(Table::ApiToken, id.as_bytes()).await? else { return Ok(None) };
        let Ok(Kept { view, hash }) = serde_json::from_slice(&record.value) else { return Ok(None) };
        // What is compared is a hash under a key that nobody outside has: its time tells nothing about the token.
        let made = view.made;
        if hash != self.hash(token) || made.expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            return Ok(None);
        }
        let mut scopes = made.role.scopes();
        if let Some(only) = &made.scopes {
            scopes.retain(|scope| only.contains(scope));
        }
        Ok(Some(Principal { name: made.name, workspace: made.workspace, role: made.role, scopes }))
    }

    fn hash(&self, token: &str) -> String {
        hex(&self.key.mac("api token", &[token.as_bytes()]))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

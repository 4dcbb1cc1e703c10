//! Making connections, and mending them: the same account keeps its name, so that what uses it goes on.

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::record::{Kept, ServiceAccount};
use super::{By, Connection, ConnectionId, Connections, Error, Means, State, to_put};
use crate::audit;
use crate::connector::oauth::{self, Account, Provider, Scope, Tokens};
use crate::crypto::ClaimsKey;
use crate::store::{self, Batch, Expectation, Record, Table};

/// How often a name that was just taken is replaced by the next.
const MAX_NAMES: usize = 100;

/// What is connected, as far as whoever asks can say.
#[derive(Debug, Clone)]
pub(super) struct Wanted<'a> {
    pub(super) provider: &'a Provider,
    pub(super) region: Option<&'a str>,
    /// A new name, or that of the connection to mend.
    pub(super) name: Option<&'a ConnectionId>,
    pub(super) by: By<'a>,
}

/// What came of it.
pub(super) struct Gained {
    pub(super) means: Means,
    pub(super) api_url: Url,
    pub(super) account: Account,
    pub(super) scopes: Vec<String>,
    pub(super) kept: Kept,
}

impl Connections {
    /// Connects by a token that somebody made at the tool: a service key, a private app's or a personal token.
    ///
    /// # Errors
    /// [`Error`]; a token that the tool does not accept is not kept.
    pub async fn add_token(
        &self,
        provider: &str,
        region: Option<&str>,
        name: Option<&ConnectionId>,
        token: &SecretString,
        by: impl Into<By<'_>>,
    ) -> Result<Connection, Error> {
        let provider = self.placed(provider, region)?;
        let api_url = provider.api_url(region);
        let account = match provider.account(&self.0.client, &api_url, token).await {
            // A token that may not say whose it is may still do what it is for.
            Err(oauth::Error::Forbidden { .. }) => Account {
                id: String::new(),
                name: "unknown: the token may not tell".to_owned(),
                scopes: None,
            },
            other => other?,
        };
        let scopes = account.scopes.clone().unwrap_or_default();
        let kept = Kept::pasted(token, self.0.clock.now_ms());
        let gained = Gained { means: Means::Token, api_url, account, scopes, kept };
        let wanted = Wanted { provider, region, name, by: by.into() };
        self.establish(&wanted, gained).await.map(|(connection, _)| connection)
    }

    /// Connects by the key file of a service account of Google's.
    ///
    /// # Errors
    /// [`Error`]; a key that Google does not accept is not kept.
    pub async fn add_service_account(
        &self,
        name: Option<&ConnectionId>,
        file: &SecretString,
        by: impl Into<By<'_>>,
    ) -> Result<Connection, Error> {
        let provider = self.placed("google-forms", None)?;
        let read = serde_json::from_str::<ServiceAccount>(file.expose_secret());
        let account = read.map_err(|_| {
            oauth::Error::Credentials(
                "this is no key file of a service account: client_email, private_key or private_key_id is missing",
            )
        })?;
        let key =
            ClaimsKey::from_pem(&SecretString::from(account.private_key.clone()), &account.private_key_id)
                .map_err(|_| {
                    oauth::Error::Credentials("the private_key in the key file is no RSA key in PEM")
                })?;
        let now_ms = self.0.clock.now_ms();
        let tokens = provider.assert(&self.0.client, &account.client_email, &key, now_ms).await?;
        let email = account.client_email.clone();
        let mut kept = Kept::of(&tokens, None, now_ms);
        kept.service_account = Some(account);
        let gained = Gained {
            means: Means::ServiceAccount,
            api_url: provider.api_url(None),
            account: Account { id: email.clone(), name: email, scopes: None },
            scopes: tokens.scopes.unwrap_or_default(),
            kept,
        };
        let wanted = Wanted { provider, region: None, name, by: by.into() };
        self.establish(&wanted, gained).await.map(|(connection, _)| connection)
    }

    /// Connects by the tokens that a code gave; what was not granted is said, and then nothing is kept.
    pub(super) async fn add_oauth(
        &self,
        wanted: &Wanted<'_>,
        tokens: Tokens,
    ) -> Result<(Connection, bool), Refused> {
        let Wanted { provider, region, .. } = wanted;
        let api_url = provider.api_of(&tokens, *region).map_err(Error::from)?;
        let account = provider.account_of(&self.0.client, &api_url, &tokens).await.map_err(Error::from)?;
        let told = account.scopes.clone().or_else(|| tokens.scopes.clone());
        // A server that says nothing has granted what was asked (RFC 6749, 5.1).
        let scopes = told.unwrap_or_else(|| provider.scopes().into_iter().map(|scope| scope.name).collect());
        let missing = provider.missing(&scopes);
        if !missing.is_empty() {
            let token = tokens.refresh.as_ref().unwrap_or(&tokens.access);
            let hint = if tokens.refresh.is_some() { "refresh_token" } else { "access_token" };
            let _still_granted = provider.revoke(&self.0.client, token, hint).await;
            return Err(Refused::Scopes(missing));
        }
        let kept = Kept::of(&tokens, None, self.0.clock.now_ms());
        let account = Account { scopes: None, ..account };
        let gained = Gained { means: Means::Oauth, api_url, account, scopes, kept };
        Ok(self.establish(wanted, gained).await?)
    }

    /// The server of this name, if it has this region.
    pub(super) fn placed(&self, provider: &str, region: Option<&str>) -> Result<&Provider, Error> {
        let found =
            self.provider(provider).ok_or_else(|| Error::Place(format!("there is no tool “{provider}”")))?;
        if !found.has_region(region) {
            let region = region.unwrap_or_default();
            return Err(Error::Place(format!("{} has no region “{region}”", found.tool.title())));
        }
        Ok(found)
    }

    /// Keeps a connection: a new one, or the one of this name or account, which then works again. `true` if it is new.
    async fn establish(&self, wanted: &Wanted<'_>, gained: Gained) -> Result<(Connection, bool), Error> {
        let tool = wanted.provider.tool;
        for number in 1..=MAX_NAMES {
            let old = self.same(wanted, &gained.account).await?;
            let id = match (&old, wanted.name) {
                (Some((old, _)), _) => old.id.clone(),
                (None, Some(name)) => name.clone(),
                (None, None) => {
                    let name = if number == 1 { tool.to_string() } else { format!("{tool}-{number}") };
                    name.parse().map_err(|_| Error::Damaged(name))?
                }
            };
            let now_ms = self.0.clock.now_ms();
            let (made_at_ms, made_by, workspace) = old.as_ref().map_or_else(
                || (now_ms, wanted.by.actor.to_owned(), wanted.by.home()),
                |(old, _)| (old.made_at_ms, old.made_by.clone(), old.workspace.clone()),
            );
            let connection = Connection {
                id: id.clone(),
                workspace,
                tool,
                provider: wanted.provider.name.to_owned(),
                region: wanted.region.map(str::to_owned),
                api_url: gained.api_url.clone(),
                account: gained.account.clone(),
                scopes: gained.scopes.clone(),
                means: gained.means,
                state: State::Active,
                made_at_ms,
                made_by,
                connected_at_ms: now_ms,
            };
            let (expect, action) = match &old {
                Some((_, record)) => (Expectation::Version(record.version), "connection.renewed"),
                None => (Expectation::Absent, "connection.made"),
            };
            let batch = Batch::at(now_ms)
                .require(Table::Connection, id.as_str(), expect)
                .put(to_put(&connection))
                .put(self.seal(&id, &gained.kept))
                .put(audit::Event::ok(now_ms, wanted.by.actor, action, &id).put());
            match self.0.store.commit(batch).await {
                Ok(()) => {
                    tracing::info!(connection.id = %id, tool = tool.as_str(), action, "an account is connected");
                    self.0.changed.send_replace(());
                    return Ok((connection, old.is_none()));
                }
                // The name was taken, or the connection changed.
                Err(store::Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Place(format!(
            "there are {MAX_NAMES} connections of {tool} already; give this one a name"
        )))
    }

    /// The connection that this is about: the one of the name, else the one of the same account.
    async fn same(
        &self,
        wanted: &Wanted<'_>,
        account: &Account,
    ) -> Result<Option<(Connection, Record)>, Error> {
        let tool = wanted.provider.tool;
        if let Some(name) = wanted.name {
            let (old, record) = match self.load(name).await {
                Ok(found) => found,
                Err(Error::Unknown(_)) => return Ok(None),
                Err(error) => return Err(error),
            };
            if !wanted.by.sees(&old) {
                return Err(Error::Taken(name.clone()));
            }
            if old.tool != tool {
                return Err(Error::OtherTool { id: name.clone(), tool: old.tool });
            }
            if old.account.id != account.id && !old.account.id.is_empty() && !account.id.is_empty() {
                let (is, other) = (old.account.name, account.name.clone());
                return Err(Error::OtherAccount { id: name.clone(), is, other });
            }
            return Ok(Some((old, record)));
        }
        let same = |old: &Connection| {
            wanted.by.sees(old)
                && old.provider == wanted.provider.name
                && !account.id.is_empty()
                && old.account.id == account.id
        };
        match self.list().await?.into_iter().find(same) {
            Some(old) => Ok(Some(self.load(&old.id).await?)),
            None => Ok(None),
        }
    }
}

/// Why a code's tokens made no connection.
pub(super) enum Refused {
    Scopes(Vec<Scope>),
    Other(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Other(error)
    }
}

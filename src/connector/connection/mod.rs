//! Connected accounts: whose they are, how they stand, and a token that works now.
//!
//! [`Connections::token`] is what everything else asks. Invariants: credentials rest sealed under the master key, bound to
//! their connection; a token is renewed by one task of one node at a time; a rotated refresh token is on disk before any
//! token that came with it is used, and the one before is kept until it has worked; a connection that its tool does not
//! accept any more is said to need its owner, and nothing is sent with it until somebody connects it again.
//!
//! What it deliberately does not do: decide what becomes of deliveries meanwhile.

mod add;
mod forms;
mod record;
mod renew;
mod start;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Semaphore, watch};
use url::Url;

use self::record::Kept;
pub use self::record::{By, Connection, ConnectionId, InvalidId, Means, State};
pub use self::start::{Arrival, Arrived, Begun, Departed, LINK_LIFE, Lost, STATE_LIFE};
use super::api::{Granting, Tokens, Ungranted};
use super::oauth::{self, Provider, Tool};
use crate::audit;
use crate::client::{AddressPolicy, Client};
use crate::crypto::{Purpose, Sealer, Vault};
use crate::outbox::Clock;
use crate::store::{self, Batch, Expectation, Put, Record, Scan, Store, Table};

/// Connections that are listed: more than any team has accounts.
const MAX_CONNECTIONS: u32 = 1_000;
/// Renewals at one time.
const MAX_RENEWALS: u32 = 16;

/// Why there is no token, or a connection could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of this name.
    #[error("there is no connection “{0}”")]
    Unknown(ConnectionId),
    /// Its owner has to connect it again. Nothing that uses it can go on; nothing is lost by waiting.
    #[error("{} does not accept connection “{id}” any more ({reason}): connect it again with formgate connect {tool} --name {id}", tool.title())]
    NeedsReconnect {
        /// Which one.
        id: ConnectionId,
        /// Whose account.
        tool: Tool,
        /// Why.
        reason: String,
    },
    /// The name is another account's.
    #[error(
        "connection “{id}” is the account “{is}”, and this one is “{other}”: sign in to the same account, or give it another name"
    )]
    OtherAccount {
        /// Which one.
        id: ConnectionId,
        /// The account it is.
        is: String,
        /// The account that was given.
        other: String,
    },
    /// The name is another tool's.
    #[error("connection “{id}” is one of {}", tool.title())]
    OtherTool {
        /// Which one.
        id: ConnectionId,
        /// Whose it is.
        tool: Tool,
    },
    /// The name is one of another workspace.
    #[error("the name “{0}” is not free: choose another one")]
    Taken(ConnectionId),
    /// A scope is missing.
    #[error("it was not granted: {0}")]
    Scope(String),
    /// The tool.
    #[error("{0}")]
    Oauth(#[from] oauth::Error),
    /// The tool has no such region, or the configuration no such server.
    #[error("{0}")]
    Place(String),
    /// Its credentials do not open: another master key sealed them.
    #[error("the credentials of connection “{0}” were sealed under another master key; give that one, too")]
    Sealed(ConnectionId),
    /// What is kept of it cannot be read.
    #[error("what is kept of connection “{0}” cannot be read; connect it again")]
    Damaged(String),
    /// Another node is renewing it and does not come to an end.
    #[error("connection “{0}” is being renewed elsewhere; try again")]
    Busy(ConnectionId),
    /// The store.
    #[error("the store refused: {0}")]
    Store(#[from] store::Error),
}

impl Error {
    /// Whether waiting alone does not help: whoever delivers should hold back and burn no attempt.
    pub fn needs_somebody(&self) -> bool {
        matches!(
            self,
            Error::Unknown(_)
                | Error::NeedsReconnect { .. }
                | Error::Sealed(_)
                | Error::Damaged(_)
                | Error::Place(_)
                | Error::Oauth(oauth::Error::Client { .. } | oauth::Error::NoClient { .. })
        )
    }
}

/// What a call to a tool needs.
#[derive(Clone)]
pub struct Access {
    /// Good for now.
    pub token: SecretString,
    /// The root of the account's API.
    pub api_url: Url,
    /// Where calls may go.
    pub policy: AddressPolicy,
    /// What was granted.
    pub scopes: Vec<String>,
    /// The account's id at the tool.
    pub account: String,
}

struct Shared {
    store: Store,
    vault: Vault,
    clock: Arc<dyn Clock>,
    client: Client,
    providers: Vec<Provider>,
    /// One permit a connection: whoever renews it.
    gates: Mutex<HashMap<ConnectionId, Arc<Semaphore>>>,
    renewals: Arc<Semaphore>,
    changed: watch::Sender<()>,
}

/// The connected accounts. Cheap to clone.
#[derive(Clone)]
pub struct Connections(Arc<Shared>);

impl Connections {
    /// The connections in this store, through these servers.
    pub fn new(
        store: Store,
        sealer: Sealer,
        clock: Arc<dyn Clock>,
        client: Client,
        providers: Vec<Provider>,
    ) -> Connections {
        Connections(Arc::new(Shared {
            store,
            vault: Vault::new(sealer, Purpose::Secret),
            clock,
            client,
            providers,
            gates: Mutex::default(),
            renewals: Arc::new(Semaphore::new(MAX_RENEWALS as usize)),
            changed: watch::Sender::new(()),
        }))
    }

    /// Every connection, by name.
    ///
    /// # Errors
    /// [`Error::Store`]. One that cannot be read is left out.
    pub async fn list(&self) -> Result<Vec<Connection>, Error> {
        let scan = Scan { limit: MAX_CONNECTIONS, ..Scan::default() };
        let records = self.0.store.scan(Table::Connection, scan).await?;
        Ok(records.iter().filter_map(|(_, record)| serde_json::from_slice(&record.value).ok()).collect())
    }

    /// One connection.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Store`].
    pub async fn get(&self, id: &ConnectionId) -> Result<Connection, Error> {
        self.load(id).await.map(|(connection, _)| connection)
    }

    /// A token that is valid now, renewed if it has to be. Not cancelled by its caller: a renewal that has begun ends.
    ///
    /// # Errors
    /// [`Error`]; see [`Error::needs_somebody`].
    pub async fn token(&self, id: &ConnectionId) -> Result<Access, Error> {
        self.access(id, None).await
    }

    /// A token instead of one that the tool has refused: the newer one if there is one, else a renewed one. A connection
    /// that cannot be renewed, or was just now, needs its owner from then on.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn instead_of(&self, id: &ConnectionId, refused: &SecretString) -> Result<Access, Error> {
        self.access(id, Some(refused)).await
    }

    /// The tokens of an account, for those who call its tool.
    #[must_use]
    pub fn tokens(&self, id: ConnectionId) -> Arc<dyn Tokens> {
        Arc::new(AccountTokens { connections: self.clone(), id })
    }

    /// Changes whenever a connection was made, lost or mended by this process.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// Whose account the tool says it is, asked now.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn check(&self, id: &ConnectionId) -> Result<oauth::Account, Error> {
        let (connection, provider) = self.provider_of(id).await?;
        let access = self.token(id).await?;
        let asked = provider.account(&self.0.client, &connection.api_url, &access.token).await;
        match asked {
            Err(oauth::Error::Grant { .. }) => {
                let renewed = self.instead_of(id, &access.token).await?;
                Ok(provider.account(&self.0.client, &connection.api_url, &renewed.token).await?)
            }
            // It may do other things; that it may not say whose it is was known from the start.
            Err(oauth::Error::Forbidden { .. }) if connection.account.id.is_empty() => Ok(connection.account),
            other => Ok(other?),
        }
    }

    /// After a tool has refused something: asks whether it refuses the token, and renews it then. `false` if the token is
    /// good, so that something else was the matter.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn mend(&self, id: &ConnectionId) -> Result<bool, Error> {
        let (connection, provider) = self.provider_of(id).await?;
        let access = self.token(id).await?;
        match provider.account(&self.0.client, &connection.api_url, &access.token).await {
            Err(oauth::Error::Grant { .. }) => self.instead_of(id, &access.token).await.map(|_renewed| true),
            Ok(_) | Err(oauth::Error::Forbidden { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the tokens back where the tool can, and forgets the connection. Says whether the tool was told.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Store`]. A tool that cannot be reached keeps no connection here alive.
    pub async fn remove(&self, id: &ConnectionId, actor: &str) -> Result<bool, Error> {
        let (connection, record) = self.load(id).await?;
        let mut told = false;
        if let (Ok((kept, _)), Some(provider)) = (self.kept(id).await, self.provider(&connection.provider))
            && connection.means == Means::Oauth
        {
            let tokens = [(&kept.refresh, "refresh_token"), (&kept.access, "access_token")];
            for (token, hint) in tokens.into_iter().filter_map(|(token, hint)| Some((token.as_ref()?, hint)))
            {
                let token = SecretString::from(token.clone());
                match provider.revoke(&self.0.client, &token, hint).await {
                    Ok(revoked) => told |= revoked,
                    Err(error) => {
                        tracing::warn!(connection.id = %id, %error, "the tool was not told of the end")
                    }
                }
            }
        }
        let now_ms = self.0.clock.now_ms();
        let batch = Batch::at(now_ms)
            .require(Table::Connection, id.as_str(), Expectation::Version(record.version))
            .delete(Table::Connection, id.as_str())
            .delete(Table::Secret, secret_key(id))
            .put(audit::Event::ok(now_ms, actor, "connection.removed", id).put());
        self.0.store.commit(batch).await?;
        self.0.changed.send_replace(());
        Ok(told)
    }

    /// Keeps every token fresh until `stop` becomes true, so that nobody waits for a renewal, and a refresh token that dies
    /// when it is not used is used. Waits for renewals that have begun.
    pub async fn keep_fresh(self, mut stop: watch::Receiver<bool>) {
        const LEAST_MS: i64 = 100;
        const RETRY_MS: i64 = 5_000;
        const MOST_MS: i64 = 30_000;
        let mut changed = self.changes();
        loop {
            let mut wait_ms = MOST_MS;
            for connection in self.list().await.unwrap_or_default() {
                let due = self.kept(&connection.id).await.ok().filter(|(kept, _)| kept.is_renewable());
                let Some(due_ms) = due.and_then(|(kept, _)| kept.renew_at_ms()) else { continue };
                if connection.state != State::Active {
                    continue;
                }
                let left_ms = due_ms - self.0.clock.now_ms();
                if left_ms > 0 {
                    wait_ms = wait_ms.min(left_ms);
                } else if let Err(error) = self.token(&connection.id).await {
                    tracing::warn!(connection.id = %connection.id, %error, "a token could not be renewed");
                    wait_ms = wait_ms.min(RETRY_MS);
                } else {
                    // How long the new one lives is seen at the next look.
                    wait_ms = wait_ms.min(LEAST_MS);
                }
            }
            let wait = Duration::from_millis(wait_ms.clamp(LEAST_MS, MOST_MS).unsigned_abs());
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                _ = changed.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        // A new refresh token that is not on disk yet must not be lost.
        let idle = self.0.renewals.acquire_many(MAX_RENEWALS);
        let _ended = tokio::time::timeout(renew::LEASE, idle).await;
    }

    async fn access(&self, id: &ConnectionId, refused: Option<&SecretString>) -> Result<Access, Error> {
        let (connection, provider) = self.provider_of(id).await?;
        if let State::NeedsReconnect { reason, .. } = &connection.state {
            let (id, tool, reason) = (id.clone(), connection.tool, reason.clone());
            return Err(Error::NeedsReconnect { id, tool, reason });
        }
        let policy = provider.policy();
        let (kept, _) = self.kept(id).await?;
        let is_refused = |kept: &Kept| {
            refused.is_some_and(|refused| kept.access.as_deref() == Some(refused.expose_secret()))
        };
        let token = match &kept.access {
            Some(access) if kept.is_fresh(self.0.clock.now_ms()) && !is_refused(&kept) => {
                SecretString::from(access.clone())
            }
            _ => self.renew(id, refused).await?,
        };
        let Connection { api_url, scopes, account, .. } = connection;
        Ok(Access { token, api_url, policy, scopes, account: account.id })
    }

    async fn load(&self, id: &ConnectionId) -> Result<(Connection, Record), Error> {
        let record = self.0.store.get(Table::Connection, id.as_str().as_bytes()).await?;
        let record = record.ok_or_else(|| Error::Unknown(id.clone()))?;
        let connection = serde_json::from_slice(&record.value);
        Ok((connection.map_err(|_| Error::Damaged(id.to_string()))?, record))
    }

    async fn kept(&self, id: &ConnectionId) -> Result<(Kept, Record), Error> {
        let key = secret_key(id);
        let record =
            self.0.store.get(Table::Secret, &key).await?.ok_or_else(|| Error::Unknown(id.clone()))?;
        let opened = self.0.vault.open(&key, &record.value).map_err(|_| Error::Sealed(id.clone()))?;
        let kept = Kept::from_bytes(&opened).ok_or_else(|| Error::Damaged(id.to_string()))?;
        Ok((kept, record))
    }

    fn seal(&self, id: &ConnectionId, kept: &Kept) -> Put {
        let key = secret_key(id);
        let sealed = self.0.vault.seal(&key, &kept.to_bytes());
        Put::new(Table::Secret, key, sealed)
    }

    /// The server of this name, as the configuration has it.
    pub fn provider(&self, name: &str) -> Option<&Provider> {
        self.0.providers.iter().find(|provider| provider.name == name)
    }

    async fn provider_of(&self, id: &ConnectionId) -> Result<(Connection, &Provider), Error> {
        let connection = self.get(id).await?;
        let provider = self.provider(&connection.provider).ok_or_else(|| {
            Error::Place(format!("connection “{id}” is of {}, which is not known here", connection.provider))
        })?;
        Ok((connection, provider))
    }

    fn gate(&self, id: &ConnectionId) -> Arc<Semaphore> {
        let mut gates = self.0.gates.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry(id.clone()).or_insert_with(|| Arc::new(Semaphore::new(1))))
    }
}

fn secret_key(id: &ConnectionId) -> Vec<u8> {
    [b"connection\0", id.as_str().as_bytes()].concat()
}

fn to_put(connection: &Connection) -> Put {
    let value = serde_json::to_vec(connection).expect("strings and numbers always serialise");
    Put::new(Table::Connection, connection.id.as_str(), value)
}

/// The tokens of one account.
struct AccountTokens {
    connections: Connections,
    id: ConnectionId,
}

impl Tokens for AccountTokens {
    fn token(&self) -> Granting<'_> {
        Box::pin(async move {
            match self.connections.token(&self.id).await {
                Ok(access) => Ok(access.token),
                Err(error) if error.needs_somebody() => Err(Ungranted::Reconnect(error.to_string())),
                Err(error) => {
                    tracing::warn!(connection.id = %self.id, %error, "there is no token just now");
                    Err(Ungranted::Later)
                }
            }
        })
    }
}

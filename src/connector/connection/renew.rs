//! Renewing a token: once at a time, and never losing one.
//!
//! Within a process a permit makes it single-flight, across nodes a lease in the store. It runs in a task of its own, so
//! that a caller who gives up does not throw a rotated token away. The new tokens are committed, on the condition that
//! nobody has changed the old ones, before anybody gets one of them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::record::{Kept, ServiceAccount};
use super::{Connection, ConnectionId, Connections, Error, State, secret_key, to_put};
use crate::audit;
use crate::connector::oauth::{self, Provider, Tokens};
use crate::crypto::ClaimsKey;
use crate::store::{self, Batch, Expectation, Put, Record, Table};

/// How long one node may take: two calls with their deadlines, and the commit.
pub(super) const LEASE: Duration = Duration::from_secs(40);
/// Between two looks at what another node does.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Between two tries to commit into a busy store.
const PAUSE: Duration = Duration::from_millis(50);
/// A token that was made within this time and is refused already is not the reason: another one would be refused, too.
const YOUNG_MS: i64 = 10_000;

/// What one round came to.
enum Round {
    /// This token is good.
    Done(SecretString),
    /// Another has changed something: look again.
    Again,
}

impl Connections {
    /// A new token, or the one that somebody else has just got.
    pub(super) async fn renew(
        &self,
        id: &ConnectionId,
        refused: Option<&SecretString>,
    ) -> Result<SecretString, Error> {
        let permit = self.gate(id).acquire_owned().await;
        let running = Arc::clone(&self.0.renewals).acquire_owned().await;
        let (connections, id, refused) = (self.clone(), id.clone(), refused.cloned());
        let task = tokio::spawn(async move {
            let _held = (permit, running);
            connections.renew_alone(&id, refused.as_ref()).await
        });
        // It only ends early with the runtime, when nobody waits any more.
        task.await.unwrap_or(Err(Error::Store(store::Error::Unavailable)))
    }

    // Boxed, because the compiler cannot otherwise see that the task may move between threads.
    fn renew_alone<'a>(
        &'a self,
        id: &'a ConnectionId,
        refused: Option<&'a SecretString>,
    ) -> Pin<Box<dyn Future<Output = Result<SecretString, Error>> + Send + 'a>> {
        Box::pin(async move {
            let until = tokio::time::Instant::now() + LEASE;
            while tokio::time::Instant::now() < until {
                let Some(lease) = self.lease(id).await? else {
                    // Another node is at it. It may be done, or dead: then its lease ends.
                    tokio::time::sleep(LOOK_AGAIN).await;
                    if let Some(token) = self.fresh(&self.kept(id).await?.0, refused) {
                        return Ok(token);
                    }
                    continue;
                };
                let round = self.round(id, refused).await;
                self.release(id, &lease).await;
                match round? {
                    Round::Done(token) => return Ok(token),
                    Round::Again => {}
                }
            }
            Err(Error::Busy(id.clone()))
        })
    }

    fn fresh(&self, kept: &Kept, refused: Option<&SecretString>) -> Option<SecretString> {
        let access = kept.access.as_ref().filter(|_| kept.is_fresh(self.0.clock.now_ms()))?;
        let is_refused = refused.is_some_and(|refused| refused.expose_secret() == access);
        (!is_refused).then(|| SecretString::from(access.clone()))
    }

    /// One renewal under the lease.
    async fn round(&self, id: &ConnectionId, refused: Option<&SecretString>) -> Result<Round, Error> {
        let (connection, provider) = self.provider_of(id).await?;
        if let State::NeedsReconnect { reason, .. } = connection.state {
            return Err(Error::NeedsReconnect { id: id.clone(), tool: connection.tool, reason });
        }
        // Only what is read under the lease is certain to be the newest.
        let (kept, record) = self.kept(id).await?;
        if let Some(token) = self.fresh(&kept, refused) {
            return Ok(Round::Done(token));
        }
        let now_ms = self.0.clock.now_ms();
        let is_young = refused.is_some() && now_ms - kept.issued_at_ms < YOUNG_MS;
        if !kept.is_renewable() || is_young {
            return self.lose(&connection, &record, "the tool refused the token").await;
        }
        let answered = self.ask(provider, &kept, now_ms).await;
        match answered {
            Ok((tokens, used)) => {
                let mut renewed = Kept::of(&tokens, used.as_deref(), now_ms);
                renewed.service_account.clone_from(&kept.service_account);
                let is_kept = self.keep(id, &renewed, (&kept, record)).await?;
                Ok(if is_kept { Round::Done(tokens.access) } else { Round::Again })
            }
            Err(oauth::Error::Grant { code, .. }) => self.lose(&connection, &record, &code).await,
            // The tool is in trouble and the token still has some time: nobody has to wait.
            Err(error @ oauth::Error::Unavailable { .. }) => match &kept.access {
                Some(access) if refused.is_none() && kept.is_valid(now_ms) => {
                    Ok(Round::Done(SecretString::from(access.clone())))
                }
                _ => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Asks the tool; also says which refresh token it took. The previous one is tried when the newer was never taken.
    async fn ask(
        &self,
        provider: &Provider,
        kept: &Kept,
        now_ms: i64,
    ) -> Result<(Tokens, Option<String>), oauth::Error> {
        let client = &self.0.client;
        if let Some(ServiceAccount { client_email, private_key, private_key_id }) = &kept.service_account {
            let key = ClaimsKey::from_pem(&SecretString::from(private_key.clone()), private_key_id)
                .map_err(|_| oauth::Error::Credentials("the service account's private key cannot be used"))?;
            return Ok((provider.assert(client, client_email, &key, now_ms).await?, None));
        }
        let mut result = Err(oauth::Error::Credentials("there is no refresh token"));
        for token in [&kept.refresh, &kept.previous].into_iter().flatten() {
            result = provider.refresh(client, &SecretString::from(token.clone()), now_ms).await;
            match result {
                Ok(tokens) => return Ok((tokens, Some(token.clone()))),
                Err(oauth::Error::Grant { .. }) => {}
                Err(_) => break,
            }
        }
        result.map(|tokens| (tokens, None))
    }

    /// Commits new tokens; `false` if somebody has changed the old ones. A store that is busy is asked again, and old tokens
    /// that were only sealed again are no others: these tokens exist nowhere else.
    async fn keep(
        &self,
        id: &ConnectionId,
        renewed: &Kept,
        (old, mut record): (&Kept, Record),
    ) -> Result<bool, Error> {
        let until = tokio::time::Instant::now() + LEASE / 3;
        loop {
            let batch = Batch::at(self.0.clock.now_ms())
                .require(Table::Secret, secret_key(id), Expectation::Version(record.version))
                .put(self.seal(id, renewed));
            let failed = match self.0.store.commit(batch).await {
                Ok(()) => return Ok(true),
                Err(store::Error::Conflict { .. }) => match self.kept(id).await {
                    Ok((now, resealed)) if now.to_bytes() == old.to_bytes() => {
                        record = resealed;
                        continue;
                    }
                    Ok(_changed) => return Ok(false),
                    Err(error) => error,
                },
                Err(error) => error.into(),
            };
            match failed {
                Error::Store(store::Error::Busy) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(PAUSE).await;
                }
                error => return Err(error),
            }
        }
    }

    /// The owner has to connect it again: said once, with its audit line, on the condition that nobody just has.
    async fn lose(&self, connection: &Connection, old: &Record, reason: &str) -> Result<Round, Error> {
        let (id, now_ms) = (&connection.id, self.0.clock.now_ms());
        let state = State::NeedsReconnect { since_ms: now_ms, reason: reason.to_owned() };
        let lost = Connection { state, ..connection.clone() };
        let batch = Batch::at(now_ms)
            .require(Table::Secret, secret_key(id), Expectation::Version(old.version))
            .require(Table::Connection, id.as_str(), Expectation::Present)
            .put(to_put(&lost))
            .put(audit::Event::with_outcome(now_ms, "connector", "connection.lost", id, reason).put());
        match self.0.store.commit(batch).await {
            Ok(()) => {
                tracing::warn!(connection.id = %id, reason, "a connection has to be made again: formgate connect {} --name {id}", connection.tool);
                self.0.changed.send_replace(());
                let (id, tool, reason) = (id.clone(), connection.tool, reason.to_owned());
                Err(Error::NeedsReconnect { id, tool, reason })
            }
            Err(store::Error::Conflict { .. }) => Ok(Round::Again),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the lease; `None` if another node has it.
    async fn lease(&self, id: &ConnectionId) -> Result<Option<Record>, Error> {
        let (key, now_ms) = (lease_key(id), self.0.clock.now_ms());
        let owner: [u8; 16] = rand::random();
        let life_ms = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
        let put = Put::new(Table::Connecting, key.clone(), owner).until(now_ms.saturating_add(life_ms));
        let batch = Batch::at(now_ms).require(Table::Connecting, key.clone(), Expectation::Absent).put(put);
        match self.0.store.commit(batch).await {
            Ok(()) => {}
            Err(store::Error::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let record = self.0.store.get(Table::Connecting, &key).await?;
        Ok(record.filter(|record| record.value == owner))
    }

    async fn release(&self, id: &ConnectionId, lease: &Record) {
        let key = lease_key(id);
        let batch = Batch::at(self.0.clock.now_ms())
            .require(Table::Connecting, key.clone(), Expectation::Version(lease.version))
            .delete(Table::Connecting, key);
        // One that is not ours any more, or stays, ends by itself.
        let _ended = self.0.store.commit(batch).await;
    }

    /// Ends the leases that a process before this one left. Only where no other node can hold one.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn end_leases(&self) -> Result<(), Error> {
        let mut batch = Batch::at(self.0.clock.now_ms());
        for connection in self.list().await? {
            batch = batch.delete(Table::Connecting, lease_key(&connection.id));
        }
        Ok(self.0.store.commit(batch).await?)
    }
}

fn lease_key(id: &ConnectionId) -> Vec<u8> {
    [b"lease\0", id.as_str().as_bytes()].concat()
}

//! A browser's way to the tool and back: a one-time link, a state that only the same browser can bring back, and once.
//!
//! What it defends against (reliability S10): a callback in another browser (the state is bound to a cookie), a repeated one
//! (the state is used up before the code is), a state that was made up or altered (256 random bits, kept as a hash), a code
//! of another server (each server has an address of its own, and `iss` is checked), and a code that was put in from outside
//! (PKCE where the tool has it, and the state everywhere).

use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::add::{Refused, Wanted};
use super::{By, Connection, ConnectionId, Connections, Error};
use crate::audit;
use crate::connector::oauth::{Provider, Scope};
use crate::store::{self, Batch, Expectation, Put, Record, Table};

/// How long a link may be opened.
pub const LINK_LIFE: std::time::Duration = std::time::Duration::from_secs(15 * 60);
/// How long somebody may take at the tool.
pub const STATE_LIFE: std::time::Duration = std::time::Duration::from_secs(10 * 60);

/// What a link is for, before anybody has left.
#[derive(Debug, Clone)]
pub struct Begun {
    /// Whose people will be asked.
    pub title: &'static str,
    /// Where they will be asked.
    pub at: Url,
    /// For what.
    pub scopes: Vec<Scope>,
    /// The connection that is to be made or mended, if it was named.
    pub name: Option<ConnectionId>,
}

/// A browser that leaves.
pub struct Departed {
    /// Where it goes.
    pub url: Url,
    /// What only this browser may know.
    pub cookie: SecretString,
}

/// What a callback brings.
#[derive(Default)]
pub struct Arrival {
    /// `code`
    pub code: Option<String>,
    /// `state`
    pub state: Option<String>,
    /// `error`
    pub error: Option<String>,
    /// `iss`
    pub iss: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub struct Arrived {
    /// The connection.
    pub connection: Connection,
    /// It was made; otherwise it works again.
    pub is_new: bool,
}

/// Why nothing was connected; for the person in the browser.
#[derive(Debug)]
pub enum Lost {
    /// The link is unknown, used or too old.
    Link,
    /// The state is missing, unknown, used or too old.
    State,
    /// Another browser has left than the one that came back.
    Browser,
    /// Another server's answer.
    MixedUp,
    /// They did not agree.
    Cancelled,
    /// They unticked something that is needed.
    Scopes(Vec<Scope>),
    /// The tool sent them back with an error; its code.
    Tool(String),
    /// Something else, in the words of the operator.
    Other(Error),
}

impl From<Error> for Lost {
    fn from(error: Error) -> Self {
        Lost::Other(error)
    }
}

impl From<store::Error> for Lost {
    fn from(error: store::Error) -> Self {
        Lost::Other(error.into())
    }
}

/// Behind a link.
#[derive(Clone, Serialize, Deserialize)]
struct Link {
    provider: String,
    region: Option<String>,
    name: Option<ConnectionId>,
    by: String,
    #[serde(default)]
    workspace: Option<String>,
}

impl Link {
    fn by(&self) -> By<'_> {
        By { actor: &self.by, workspace: self.workspace.as_deref() }
    }
}

/// Behind a state.
#[derive(Serialize, Deserialize)]
struct Journey {
    link: Link,
    /// Hash of what the browser knows.
    cookie: [u8; 32],
    verifier: Option<String>,
    redirect: Url,
}

impl Connections {
    /// Makes a one-time link's token.
    ///
    /// # Errors
    /// [`Error`]: there is no such tool, region or client, or the name is another tool's or workspace's.
    pub async fn begin(
        &self,
        provider: &str,
        region: Option<&str>,
        name: Option<&ConnectionId>,
        by: impl Into<By<'_>>,
    ) -> Result<SecretString, Error> {
        let by = by.into();
        let found = self.placed(provider, region)?;
        if !found.has_client() {
            return Err(crate::connector::oauth::Error::NoClient { name: found.name }.into());
        }
        if let Some(name) = name {
            match self.get(name).await {
                Ok(old) if !by.sees(&old) => return Err(Error::Taken(name.clone())),
                Ok(old) if old.tool != found.tool => {
                    return Err(Error::OtherTool { id: name.clone(), tool: old.tool });
                }
                Ok(_) | Err(Error::Unknown(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let link = Link {
            provider: provider.to_owned(),
            region: region.map(str::to_owned),
            name: name.cloned(),
            by: by.actor.to_owned(),
            workspace: by.workspace.map(str::to_owned),
        };
        self.link(&link).await
    }

    /// What a link is for; it stays good.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn look(&self, provider: &str, token: &str) -> Result<Begun, Lost> {
        let (link, _, _) = self.opened::<Link>("start", token).await?.ok_or(Lost::Link)?;
        let found = self.of(&link, provider)?;
        Ok(Begun {
            title: found.tool.title(),
            at: found.authorize_url(link.region.as_deref()),
            scopes: found.scopes(),
            name: link.name,
        })
    }

    /// Uses a link up and sends the browser to the tool.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn depart(&self, provider: &str, token: &str, redirect: &Url) -> Result<Departed, Lost> {
        let (link, key, record) = self.opened::<Link>("start", token).await?.ok_or(Lost::Link)?;
        let found = self.of(&link, provider)?;
        let departure = found.depart(link.region.as_deref(), redirect).map_err(Error::from)?;
        let cookie = random();
        let journey = Journey {
            link,
            cookie: hash(cookie.expose_secret()),
            verifier: departure.verifier.as_ref().map(|verifier| verifier.expose_secret().to_owned()),
            redirect: redirect.clone(),
        };
        let batch = Batch::at(self.0.clock.now_ms())
            .require(Table::Connecting, key.clone(), Expectation::Version(record.version))
            .delete(Table::Connecting, key)
            .put(self.sealed("state", departure.state.expose_secret(), &journey, STATE_LIFE));
        match self.0.store.commit(batch).await {
            Ok(()) => Ok(Departed { url: departure.url, cookie }),
            Err(store::Error::Conflict { .. }) => Err(Lost::Link),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a browser back. After a failure that is the person's own, there is a new link's token for another try.
    ///
    /// # Errors
    /// [`Lost`].
    pub async fn arrive(
        &self,
        provider: &str,
        cookie: Option<&str>,
        arrival: &Arrival,
    ) -> Result<Arrived, (Lost, Option<SecretString>)> {
        let journey = self.welcome(provider, cookie, arrival).await.map_err(|lost| (lost, None))?;
        match self.settle(&journey, arrival).await {
            Ok(arrived) => Ok(arrived),
            Err(lost) => {
                let again = self.link(&journey.link).await.ok();
                Err((lost, again))
            }
        }
    }

    /// Checks that this is the browser that has left, at the address of the server it went to, for the first time.
    async fn welcome(
        &self,
        provider: &str,
        cookie: Option<&str>,
        arrival: &Arrival,
    ) -> Result<Journey, Lost> {
        let state = arrival.state.as_deref().ok_or(Lost::State)?;
        let (journey, key, record) = self.opened::<Journey>("state", state).await?.ok_or(Lost::State)?;
        // Compared as hashes, so that time tells nothing about the secret.
        if cookie.map(hash) != Some(journey.cookie) {
            return Err(Lost::Browser);
        }
        // From here on it is used up, whatever comes of it.
        let batch = Batch::at(self.0.clock.now_ms())
            .require(Table::Connecting, key.clone(), Expectation::Version(record.version))
            .delete(Table::Connecting, key);
        match self.0.store.commit(batch).await {
            Ok(()) => {}
            Err(store::Error::Conflict { .. }) => return Err(Lost::State),
            Err(error) => return Err(error.into()),
        }
        let found = self.of(&journey.link, provider).map_err(|_| Lost::MixedUp)?;
        if !found.is_issuer(arrival.iss.as_deref()) {
            return Err(Lost::MixedUp);
        }
        Ok(journey)
    }

    async fn settle(&self, journey: &Journey, arrival: &Arrival) -> Result<Arrived, Lost> {
        let Journey { link, verifier, redirect, .. } = journey;
        let provider = self.placed(&link.provider, link.region.as_deref())?;
        if let Some(error) = &arrival.error {
            let known = |byte: char| byte.is_ascii_lowercase() || byte == '_';
            let code: String = error.chars().filter(|c| known(*c)).take(40).collect();
            return Err(if code == "access_denied" { Lost::Cancelled } else { Lost::Tool(code) });
        }
        let code = arrival.code.as_deref().ok_or_else(|| Lost::Tool("no_code".to_owned()))?;
        let verifier = verifier.clone().map(SecretString::from);
        let (client, now_ms) = (&self.0.client, self.0.clock.now_ms());
        let exchanged = provider.exchange(client, code, verifier.as_ref(), redirect, now_ms).await;
        let tokens = exchanged.map_err(Error::from)?;
        let wanted =
            Wanted { provider, region: link.region.as_deref(), name: link.name.as_ref(), by: link.by() };
        match self.add_oauth(&wanted, tokens).await {
            Ok((connection, is_new)) => Ok(Arrived { connection, is_new }),
            Err(Refused::Scopes(missing)) => Err(Lost::Scopes(missing)),
            Err(Refused::Other(error)) => Err(error.into()),
        }
    }

    fn of(&self, link: &Link, provider: &str) -> Result<&Provider, Lost> {
        if link.provider != provider {
            return Err(Lost::Link);
        }
        Ok(self.placed(&link.provider, link.region.as_deref())?)
    }

    async fn link(&self, link: &Link) -> Result<SecretString, Error> {
        let token = random();
        let now_ms = self.0.clock.now_ms();
        let about = link.name.as_ref().map_or_else(|| link.provider.clone(), ToString::to_string);
        let batch = Batch::at(now_ms)
            .put(self.sealed("start", token.expose_secret(), link, LINK_LIFE))
            .put(audit::Event::ok(now_ms, &link.by, "connection.started", about).put());
        self.0.store.commit(batch).await?;
        Ok(token)
    }

    fn sealed(&self, kind: &str, token: &str, value: &impl Serialize, life: std::time::Duration) -> Put {
        let key = key(kind, token);
        let json = serde_json::to_vec(value).expect("strings and bytes always serialise");
        let value = self.0.vault.seal(&key, &zeroize::Zeroizing::new(json));
        let life_ms = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
        Put::new(Table::Connecting, key, value).until(self.0.clock.now_ms().saturating_add(life_ms))
    }

    /// What is kept under a token, if its time is not over.
    async fn opened<T: DeserializeOwned>(
        &self,
        kind: &str,
        token: &str,
    ) -> Result<Option<(T, Vec<u8>, Record)>, store::Error> {
        let key = key(kind, token);
        let Some(record) = self.0.store.get(Table::Connecting, &key).await? else { return Ok(None) };
        if record.expires_at_ms.is_some_and(|at_ms| at_ms <= self.0.clock.now_ms()) {
            return Ok(None);
        }
        let opened = self.0.vault.open(&key, &record.value).ok();
        let value = opened.and_then(|opened| serde_json::from_slice(&opened).ok());
        Ok(value.map(|value| (value, key, record)))
    }
}

/// 256 random bits.
fn random() -> SecretString {
    use base64::Engine as _;
    let bytes: [u8; 32] = rand::random();
    SecretString::from(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// The token itself is not kept: whoever reads the store cannot use it.
fn key(kind: &str, token: &str) -> Vec<u8> {
    [kind.as_bytes(), b"\0", &hash(token)].concat()
}

//! The forms of a connected account, read with tokens that are mended on the way.
//!
//! Invariant: a refused token is renewed and tried once more; one that cannot be renewed makes the connection one that needs
//! its owner, also if nothing is ever delivered with it.

use super::{Connection, ConnectionId, Connections, Error};
use crate::client::AddressPolicy;
use crate::connector::oauth::{Provider, Tool};
use crate::connector::source::{self, Fetched, Listing, Pending, Source};

/// What is tried again with a mended token.
struct Mending {
    connections: Connections,
    id: ConnectionId,
    source: Box<dyn Source>,
}

impl Connections {
    /// The tool of a connection, and its forms.
    ///
    /// # Errors
    /// [`source::Error::Reference`]: there is no such connection, or its tool has no forms that can be listed.
    pub async fn source(&self, id: &ConnectionId) -> Result<(Tool, Box<dyn Source>), source::Error> {
        let unknown = |error: Error| source::Error::Reference(error.to_string());
        let Connection { provider, tool, api_url, .. } = self.get(id).await.map_err(unknown)?;
        let policy = self.provider(&provider).map_or(AddressPolicy::PublicHttps, Provider::policy);
        let (tokens, client) = (self.tokens(id.clone()), self.0.client.clone());
        let account = source::Account { api: api_url, tokens, client, policy };
        let source = source::source(tool.as_str(), account)
            .ok_or_else(|| source::Error::Reference(format!("{tool} has no forms that can be listed")))?;
        Ok((tool, Box::new(Mending { connections: self.clone(), id: id.clone(), source })))
    }
}

impl Mending {
    /// Whether another try has another token.
    async fn is_mended<T>(&self, tried: &Result<T, source::Error>) -> bool {
        let is_refused = matches!(tried, Err(source::Error::Reconnect { .. }));
        is_refused && matches!(self.connections.mend(&self.id).await, Ok(true))
    }
}

impl Source for Mending {
    fn list<'a>(&'a self, search: Option<&'a str>, page: Option<&'a str>) -> Pending<'a, Listing> {
        Box::pin(async move {
            let tried = self.source.list(search, page).await;
            if self.is_mended(&tried).await { self.source.list(search, page).await } else { tried }
        })
    }

    fn fetch<'a>(&'a self, form: &'a str) -> Pending<'a, Fetched> {
        Box::pin(async move {
            let tried = self.source.fetch(form).await;
            if self.is_mended(&tried).await { self.source.fetch(form).await } else { tried }
        })
    }
}

//! Connected accounts, from the configuration.

use std::sync::Arc;

use crate::client::Client;
use crate::config::{Config, ToolClient};
use crate::connector::connection::Connections;
use crate::connector::oauth::{Provider, Settings};
use crate::crypto::Sealer;
use crate::outbox::Clock;
use crate::store::Store;

/// The connections of this store. A tool without a section is known by its documented addresses.
pub(super) fn connections(
    config: &Config,
    store: &Store,
    sealer: &Sealer,
    clock: Arc<dyn Clock>,
) -> Connections {
    let provider = |name| {
        let configured = config.tools.iter().find(|tool| tool.id.as_str() == name);
        Provider::new(name, configured.map(settings).unwrap_or_default())
    };
    let providers = Provider::names().filter_map(provider).collect();
    Connections::new(store.clone(), sealer.clone(), clock, Client::new(), providers)
}

fn settings(tool: &ToolClient) -> Settings {
    Settings {
        client_id: tool.client_id.clone(),
        client_secret: tool.client_secret.clone(),
        scopes: tool.scopes.clone(),
        authorize_url: tool.authorize_url.clone(),
        token_url: tool.token_url.clone(),
        revoke_url: tool.revoke_url.clone(),
        account_url: tool.account_url.clone(),
        api_url: tool.api_url.clone(),
        allow_private_network: tool.allow_private_network,
    }
}

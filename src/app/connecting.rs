//! Connected accounts: from the configuration, for destinations, and what waits for one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::client::Client;
use crate::config::{Config, ToolClient};
use crate::connector::connection::{ConnectionId, Connections, State};
use crate::connector::oauth::{Provider, Settings};
use crate::crypto::Sealer;
use crate::outbox::{Clock, DestinationId, Outbox};
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

/// Lets deliveries go on that wait for an account, as soon as it is connected again or its token was renewed.
pub(super) struct Resuming {
    pub(super) connections: Connections,
    pub(super) outbox: Outbox,
    /// Which destination is delivered to with which account.
    pub(super) uses: Vec<(DestinationId, ConnectionId)>,
}

impl Resuming {
    /// Between two looks: another node may have mended something.
    const EVERY: Duration = Duration::from_secs(10);

    /// Watches until `stop` becomes true.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut changed = self.connections.changes();
        let mut asked = HashMap::new();
        loop {
            if !self.uses.is_empty() {
                self.look(&mut asked).await;
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                _ = changed.changed() => {}
                () = tokio::time::sleep(Self::EVERY) => {}
            }
        }
    }

    /// `asked` says for which pause the tool was asked already: a refusal that has another reason than the token is for
    /// its owner.
    async fn look(&self, asked: &mut HashMap<DestinationId, i64>) {
        let Ok(views) = self.outbox.destinations().await else { return };
        for (destination, id) in &self.uses {
            let view = views.iter().find(|view| view.id == destination.as_str());
            let Some(paused) =
                view.and_then(|view| view.hold.paused.as_ref()).filter(|paused| paused.reconnect)
            else {
                continue;
            };
            let Ok(connection) = self.connections.get(id).await else { continue };
            if connection.state != State::Active {
                continue;
            }
            let is_mended = connection.connected_at_ms > paused.at_ms
                || asked.insert(destination.clone(), paused.at_ms) != Some(paused.at_ms)
                    && matches!(self.connections.mend(id).await, Ok(true));
            if is_mended && let Err(error) = self.outbox.reconnected(destination, "connector").await {
                tracing::warn!(destination.id = %destination, %error, "what waits for an account cannot go on yet");
            }
        }
    }
}

/// Which destination of the configuration uses which account.
pub(super) fn uses(config: &Config) -> Vec<(DestinationId, ConnectionId)> {
    let used = config.destinations.iter().filter_map(|configured| {
        let name = configured.target.connection()?;
        DestinationId::new(configured.id.as_str()).ok().zip(name.parse().ok())
    });
    used.collect()
}

//! Looks at the queues and tells the sinks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{AddressPolicy, Client};
use crate::config::{self, Config};
use crate::crypto::WebhookSecret;
use crate::insight::{Notice, Seen, Sink, SinkKind, Thresholds, Watch};
use crate::outbox::Clock;
use crate::store::Store;

use super::Error;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);
/// How long one try may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// Waits before the second and later tries.
const WAITS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120)];

/// The task that alerts.
pub(super) struct Alerting {
    store: Store,
    clock: Arc<dyn Clock>,
    watch: Watch,
    sinks: Vec<Sink>,
}

impl Alerting {
    pub(super) fn new(config: &Config, store: Store, clock: Arc<dyn Clock>) -> Result<Alerting, Error> {
        let thresholds =
            Thresholds { queue_age: config.alerts.queue_age, dead_letters: config.alerts.dead_letters };
        let client = Client::new();
        let sinks = config.alert_sinks.iter().map(|configured| sink(configured, &client));
        Ok(Alerting { store, clock, watch: Watch::new(thresholds), sinks: sinks.collect::<Result<_, _>>()? })
    }

    /// Watches until `stop` becomes true. Without sinks the alerts are logged only.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut telling = JoinSet::new();
        loop {
            let depths = self.store.depths().await;
            let seen = depths.as_ref().map_or(Seen::StoreFailed, |depths| Seen::Depths(depths));
            for notice in self.watch.look(self.clock.now_ms(), seen) {
                let cause = notice.cause.name();
                let destination = notice.cause.destination();
                if notice.recovered {
                    tracing::info!(alert = cause, delivery.destination = destination, "recovered");
                } else {
                    tracing::warn!(alert = cause, delivery.destination = destination, "{}", notice.text);
                }
                let notice = Arc::new(notice);
                for sink in &self.sinks {
                    telling.spawn(tell(sink.clone(), Arc::clone(&notice)));
                }
            }
            while telling.try_join_next().is_some() {}
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
        // An alert that waits for its next try is raised again by the next start, if its cause still stands.
        telling.shutdown().await;
    }
}

async fn tell(sink: Sink, notice: Arc<Notice>) {
    let id = format!("alert_{}", uuid::Uuid::new_v8(rand::random()));
    let mut waits = WAITS.into_iter();
    loop {
        let now_s = jiff::Timestamp::now().as_second();
        let Err(failed) = sink.tell(&notice, &id, now_s, Instant::now() + DEADLINE).await else { return };
        let Some(wait) = waits.next() else {
            tracing::error!(alert.sink = sink.id.as_str(), error = %failed, "an alert did not reach its sink");
            return;
        };
        tokio::time::sleep(wait).await;
    }
}

fn sink(configured: &config::Alert, client: &Client) -> Result<Sink, Error> {
    let id = configured.id.as_str().to_owned();
    let kind = match &configured.kind {
        config::AlertKind::Slack => SinkKind::Slack,
        config::AlertKind::Webhook(secret) => {
            let secret = WebhookSecret::try_from(secret)
                .map_err(|error| Error::Destination { id: id.clone(), reason: error.to_string() })?;
            SinkKind::Webhook(Arc::new(move |id, at_s, body| secret.sign(id, at_s, body)))
        }
    };
    let policy = if configured.allow_private_network {
        AddressPolicy::AllowPrivateNetwork
    } else {
        AddressPolicy::PublicHttps
    };
    Ok(Sink { id, kind, url: configured.url.clone(), policy, client: client.clone() })
}

//! Looks at everything that alerts are about, and tells the sinks.

mod look;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::look::Looking;
pub(super) use self::look::Sources;
use super::Error;
use crate::client::{AddressPolicy, Client, MailSecurity, MailServer};
use crate::config::{self, Config};
use crate::crypto::WebhookSecret;
use crate::insight::{Kind, Mailbox, Notice, Sink, SinkKind, Watch};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);
/// How long one try may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// Waits before the second and later tries.
const WAITS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120)];
/// Notices on their way; more than this are logged only.
const MAX_TELLING: usize = 256;

/// The task that alerts.
pub(super) struct Alerting {
    looking: Looking,
    watch: Watch,
    sinks: Vec<Sink>,
}

impl Alerting {
    pub(super) fn new(config: &Config, sources: Sources) -> Result<Alerting, Error> {
        let client = Client::new();
        let public = config.server.public_url.as_ref().and_then(|url| url.host_str().map(str::to_owned));
        let host = public.unwrap_or_else(|| config.server.listen.to_string());
        let sinks = config.alert_sinks.iter().map(|configured| sink(configured, &client, &host));
        let sinks = sinks.collect::<Result<_, _>>()?;
        Ok(Alerting { looking: Looking::new(config, sources), watch: Watch::new(), sinks })
    }

    /// Watches until `stop` becomes true. Without sinks the alerts are logged only.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut telling = JoinSet::new();
        loop {
            let looked = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                looked = self.looking.look() => looked,
            };
            for notice in self.watch.look(self.looking.now_ms(), &looked) {
                let cause = notice.cause.to_string();
                if notice.kind == Kind::Recovered {
                    tracing::info!(alert = cause, "recovered");
                } else {
                    tracing::warn!(alert = cause, "{}", notice.text);
                }
                let notice = Arc::new(notice);
                for sink in &self.sinks {
                    if telling.len() >= MAX_TELLING {
                        tracing::error!(
                            alert.sink = sink.id.as_str(),
                            alert = cause,
                            "too many alerts are on their way"
                        );
                        continue;
                    }
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

fn sink(configured: &config::Alert, client: &Client, host: &str) -> Result<Sink, Error> {
    let id = configured.id.as_str().to_owned();
    let unusable = |reason: String| Error::Destination { id: id.clone(), reason };
    let mut client = client.clone();
    let kind = match &configured.kind {
        config::AlertKind::Slack(url) => SinkKind::Slack(url.clone()),
        config::AlertKind::Webhook(url, secret) => {
            let secret = WebhookSecret::try_from(secret).map_err(|error| unusable(error.to_string()))?;
            SinkKind::Webhook(url.clone(), Arc::new(move |id, at_s, body| secret.sign(id, at_s, body)))
        }
        config::AlertKind::Email(email) => {
            if let Some(ca_pem) = &email.ca_pem {
                client = Client::with_extra_roots(ca_pem.as_bytes())
                    .map_err(|error| unusable(error.to_string()))?;
            }
            let server = MailServer {
                host: email.host.clone(),
                port: email.port,
                security: match email.tls {
                    config::MailTls::Implicit => MailSecurity::Implicit,
                    config::MailTls::StartTls => MailSecurity::StartTls,
                    config::MailTls::None => MailSecurity::None,
                },
                login: email.login.clone(),
            };
            SinkKind::Email(Arc::new(Mailbox { server, from: email.from.clone(), to: email.to.clone() }))
        }
    };
    let policy = if configured.allow_private_network {
        AddressPolicy::AllowPrivateNetwork
    } else {
        AddressPolicy::PublicHttps
    };
    Ok(Sink { id, kind, policy, client, host: host.to_owned() })
}

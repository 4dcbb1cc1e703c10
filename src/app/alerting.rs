//! Looks at everything that alerts are about, and tells the sinks.

mod book;
mod look;
mod telling;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use self::book::{Book, Outcome};
use self::look::Looking;
pub(super) use self::look::Sources;
use self::telling::Telling;
use super::Error;
use crate::client::{AddressPolicy, Client, MailSecurity, MailServer};
use crate::config::{self, Config};
use crate::crypto::WebhookSecret;
use crate::insight::{Kind, Look, Mailbox, Notice, Sink, SinkKind, Step, Watch};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);

/// The task that alerts.
pub(super) struct Alerting {
    looking: Looking,
    book: Book,
    watch: Watch,
    sinks: Vec<Sink>,
}

impl Alerting {
    pub(super) fn new(config: &Config, sources: Sources) -> Result<Alerting, Error> {
        let client = Client::new();
        let public = config.server.public_url.as_ref().and_then(|url| url.host_str().map(str::to_owned));
        let host = public.unwrap_or_else(|| config.server.listen.to_string());
        let sinks = config.alert_sinks.iter().map(|configured| sink(configured, &client, &host));
        let sinks = sinks.collect::<Result<Vec<Sink>, _>>()?;
        let node = sources.store.node().map(str::to_owned);
        let watch = Watch::new(node, sinks.iter().map(|sink| sink.id.clone()));
        let book = Book::new(sources.store.clone());
        Ok(Alerting { looking: Looking::new(config, sources), book, watch, sinks })
    }

    /// Watches until `stop` becomes true. Without sinks the alerts are logged only.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut telling = Telling::to(std::mem::take(&mut self.sinks));
        let mut next = Instant::now();
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = self.turn(&mut telling, &mut next) => {}
            }
        }
        // What no sink has taken is known to be owed: this node goes on with it when it starts, or another one.
        for (sink, notice) in telling.end().await {
            self.watch.took(sink, notice);
        }
        self.consider(&Look::at_nothing()).await;
    }

    /// Looks when it is time, or notes that a sink has taken something.
    async fn turn(&mut self, telling: &mut Telling, next: &mut Instant) {
        tokio::select! {
            () = sleep_until(*next) => {
                let looked = self.looking.look().await;
                self.consider(&looked).await;
                *next = Instant::now() + EVERY;
                telling.want(|sink| self.watch.wanted(sink));
            }
            Some((sink, notice)) = telling.taken() => {
                self.watch.took(sink, notice);
                self.consider(&Look::at_nothing()).await;
            }
        }
    }

    async fn consider(&mut self, looked: &Look) {
        let known = self.book.read().await;
        let is_known = known.is_some();
        self.watch.read(known);
        for step in self.watch.look(self.looking.now_ms(), looked) {
            self.take(step, is_known).await;
        }
    }

    /// Writes down what has changed, and logs what that tells.
    async fn take(&mut self, step: Step, is_known: bool) {
        let outcome = match is_known {
            true => self.book.write(self.looking.now_ms(), &step).await,
            false => Outcome::Unwritten,
        };
        let notice = step.notice.clone();
        let is_told = match outcome {
            Outcome::Overtaken => false,
            Outcome::Unwritten => self.watch.unwritten(step),
            Outcome::Written => {
                self.watch.written(step);
                true
            }
        };
        if let Some(notice) = notice.filter(|_| is_told) {
            log(&notice);
        }
    }
}

fn log(notice: &Notice) {
    let cause = notice.cause.to_string();
    if notice.kind == Kind::Recovered {
        tracing::info!(alert = cause, "recovered");
    } else {
        tracing::warn!(alert = cause, "{}", notice.text);
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

//! The composition root: builds every component from the configuration, joins them, and owns every long task.

mod alerting;
mod backup;
mod build;
mod connecting;
pub mod control;
mod destinations;
mod disk;
mod error;
mod files;
mod keys;
mod leaving;
mod open;
mod rewrap;
mod rings;
mod routes;
mod seams;
mod watching;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::alerting::{Alerting, Sources};
pub use self::backup::{Restored, restore};
use self::connecting::Resuming;
use self::control::{Control, Socket};
use self::destinations::Destinations;
pub use self::error::Error;
pub use self::keys::{Keys, StoreKeys, master_keys};
use self::leaving::Leaving;
use self::rings::Rings;
use self::routes::{Admin, Public};
use self::watching::Watching;
use crate::catalog::Catalog;
use crate::config::{self, Config};
use crate::connector::connection::Connections;
use crate::console::Connect;
use crate::console::access::Tokens;
use crate::console::api::{Api, Resources};
use crate::crypto::{MacKey, Sealer};
use crate::endpoint::Flows;
use crate::fault;
use crate::meta;
use crate::outbox::{Outbox, Retention, RetryPolicy, Worker};
use crate::server::{self, Drained, Listener, Server};
use crate::store::{Pace, Store, Tasks};

/// A running Formgate.
pub struct App {
    /// The public listener's address.
    pub public: SocketAddr,
    /// The admin listener's address.
    pub admin: SocketAddr,
    /// The flows that are served.
    pub flows: Flows,
    /// Seals tokens.
    pub sealer: Sealer,
    /// The submissions.
    pub outbox: Outbox,
    /// Tokens of the management API.
    pub tokens: Tokens,
    store: Store,
    leave: Duration,
    drain: Duration,
    leaving: Leaving,
    servers: (Server<Public>, Server<Admin>),
    worker: Worker,
    retention: Retention,
    control: Control,
    socket: Option<Socket>,
    alerting: Alerting,
    /// The connected accounts.
    pub connections: Connections,
    watching: Watching,
    destinations: Destinations,
    resuming: Resuming,
    backups: Option<backup::Periodic>,
    tasks: Option<Tasks>,
}

impl App {
    /// Builds everything; nothing is served before [`App::run`].
    ///
    /// # Errors
    /// [`Error`], in the words of the operator.
    pub async fn start(config: &Config) -> Result<App, Error> {
        Self::start_at(config, Pace::default()).await
    }

    /// The same; a node that shares its store is this patient with the others.
    ///
    /// # Errors
    /// [`Error`], in the words of the operator.
    pub async fn start_at(config: &Config, patience: Pace) -> Result<App, Error> {
        let built = build::build(config, patience).await?;
        let limits = server::Limits {
            header_read: config.limits.header_read,
            body_read: config.limits.body_read,
            keep_alive_idle: config.limits.keep_alive_idle,
            max_connections: config.limits.max_connections,
            max_connections_per_source: config.limits.max_connections_per_source,
            max_in_flight_body_bytes: config.limits.max_in_flight_body_bytes,
            ..server::Limits::default()
        };
        let webhook = config.meta.verify_token.clone().map(|token| {
            let (store, outbox) = (built.store.clone(), built.outbox.clone());
            let secrets = built.app_secrets.clone();
            meta::Webhook::new(token, secrets, store, outbox, built.clock.clone(), built.metrics.clone())
        });
        let tokens = Tokens::new(built.store.clone(), Arc::<MacKey>::clone(&built.index));
        let watching = Watching::new(
            Catalog::new(built.store.clone()),
            built.connections.clone(),
            built.watched,
            (built.flows.clone(), built.documents.clone(), built.destinations.clone()),
            built.clock.clone(),
            config.drift.every,
        );
        let looking = watching.clone();
        let api = Api::new(Resources {
            outbox: built.outbox.clone(),
            catalog: watching.catalog(),
            flows: built.flows.clone(),
            look: Arc::new(move || looking.look()),
            connections: built.connections.clone(),
            public_url: config.server.public_url.clone(),
            mappings: Arc::new(built.destinations.clone()),
            sealer: built.sealer.clone(),
            tokens: tokens.clone(),
            workspaces: build::workspaces(config),
            clock: built.clock.clone(),
        });
        let leaving = Leaving::default();
        let public = Public {
            webhook,
            connect: Connect::new(built.connections.clone(), config.server.public_url.clone()),
            endpoint: built.endpoint,
            api,
            outbox: built.outbox.clone(),
            store: built.store.clone(),
            leaving: leaving.clone(),
            max_body_bytes: config.limits.max_body_bytes,
        };
        let listener = Listener { addr: config.server.listen, tls: build::tls(config) };
        let public = Server::bind(listener, limits.clone(), Arc::new(public)).await?;
        let admin = Admin {
            flows: built.flows.clone(),
            metrics: built.metrics.clone(),
            store: built.store.clone(),
            outbox: built.outbox.clone(),
            documents: built.documents.clone(),
            clock: built.clock.clone(),
            leaving: leaving.clone(),
        };
        let listener = Listener { addr: config.server.admin_listen, tls: None };
        let admin = Server::bind(listener, limits, Arc::new(admin)).await?;
        let socket = Socket::bind(&config.server.data_dir).inspect_err(|error| {
            tracing::warn!(error = %error.kind(), "commands such as formgate submissions will not reach this server");
        });
        let number_of = |flow: &config::Flow| (flow.id.as_str().to_owned(), flow.number.as_str().to_owned());
        let numbers: HashMap<String, String> = config.flows.iter().map(number_of).collect();
        let source = backup::Source::new(config, &built.store, &built.sealer);
        let control = Control {
            flows: config.flows.iter().map(control::Known::of).collect(),
            watching: Some(watching.clone()),
            outbox: built.outbox.clone(),
            store: built.store.clone(),
            sealer: built.sealer.clone(),
            chain: built.chain,
            backups: source.clone(),
            keys: Keys::new(built.store.clone(), built.sealer.clone()),
            connections: built.connections.clone(),
            public_url: config.server.public_url.clone(),
            destinations: build::destination_ids(config),
            numbers: built.configured,
            tokens: tokens.clone(),
            workspaces: build::workspaces(config),
            running: Some(Arc::new(Rings::new(built.flows.clone(), numbers))),
        };
        let backups = config
            .backup
            .as_ref()
            .map(|backup| backup::Periodic::new(backup, source, built.clock.clone(), built.metrics.clone()));
        let sources = Sources {
            store: built.store.clone(),
            connections: built.connections.clone(),
            outbox: built.outbox.clone(),
            clock: built.clock.clone(),
            metrics: built.metrics.clone(),
            flows: built.flows.clone(),
            backup: backups.as_ref().map(backup::Periodic::status),
        };
        let alerting = Alerting::new(config, sources)?;
        let kept: Vec<_> =
            config.flows.iter().map(|flow| (flow.id.as_str().to_owned(), flow.retention_days)).collect();
        let retention = built.outbox.retention(&kept).await?.keeping_audit(config.audit.retention_days);
        let worker = Worker::new(built.outbox.clone(), built.destinations.all(), RetryPolicy::default());
        let worker = built
            .paces
            .into_iter()
            .fold(worker, |worker, (destination, pace)| worker.pacing(destination, pace));
        Ok(App {
            public: public.local_addr(),
            admin: admin.local_addr(),
            flows: built.flows,
            sealer: built.sealer,
            worker: worker.counting(built.metrics),
            outbox: built.outbox.clone(),
            tokens,
            store: built.store,
            leave: config.server.leave,
            drain: config.server.drain,
            leaving,
            retention,
            servers: (public, admin),
            control,
            socket: socket.ok(),
            alerting,
            resuming: Resuming {
                connections: built.connections.clone(),
                outbox: built.outbox.clone(),
                uses: connecting::uses(config),
            },
            connections: built.connections,
            watching,
            destinations: built.destinations,
            backups,
            tasks: built.tasks,
        })
    }

    /// The store: what is only to be looked at.
    #[must_use]
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// Serves until `stop` becomes true. Then it is not ready any more and answers everything for as long as it is set to;
    /// then it drains: no new connections, requests in flight end, deliveries under way are settled or given back, the
    /// store is closed.
    ///
    /// # Errors
    /// [`Error::StoreStopped`] when the store failed: the process must end, since only a restart tells what is on disk.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> Result<(), Error> {
        let (halt, halted) = watch::channel(false);
        // What ends a delivery has to be told to the other nodes, so this goes on until all others have ended.
        let (end, ended) = watch::channel(false);
        let tasks = self.tasks.map(|tasks| tokio::spawn(tasks.run(ended)));
        let mut fatal = self.store.fatal();
        let (public, admin) = self.servers;
        let public: JoinHandle<Drained> = tokio::spawn(public.run(halted.clone(), self.drain));
        let admin: JoinHandle<Drained> = tokio::spawn(admin.run(halted.clone(), Duration::from_secs(1)));
        let worker = tokio::spawn(self.worker.run(halted.clone()));
        let connections = tokio::spawn(self.connections.keep_fresh(halted.clone()));
        let watching = tokio::spawn(self.watching.run(halted.clone()));
        let routes = tokio::spawn(self.destinations.follow_routes(halted.clone()));
        let resuming = tokio::spawn(self.resuming.run(halted.clone()));
        let alerting = tokio::spawn(self.alerting.run(halted.clone()));
        let backups = self.backups.map(|backups| tokio::spawn(backups.run(halted.clone())));
        let keeper = tokio::spawn(self.outbox.clone().keep_house(self.retention, halted.clone()));
        let fetcher = tokio::spawn(self.outbox.clone().fetch_files(halted.clone()));
        let openings = tokio::spawn(self.outbox.clone().keep_openings(halted.clone()));
        let control = Arc::new(self.control);
        let rings = tokio::spawn(Arc::clone(&control).follow_keys(halted.clone()));
        let control = self.socket.map(|socket| tokio::spawn(socket.serve(control, halted)));
        tracing::info!(listen = %self.public, admin = %self.admin, flows = self.flows.all().len(), "ready");
        let failed = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => None,
            failed = fatal.wait_for(Option::is_some) => failed.ok().and_then(|fatal| fatal.clone()),
        };
        let failed = match failed {
            None => self.leaving.leave(self.leave, &mut fatal).await,
            failed => failed,
        };
        tracing::info!("stopping");
        fault::point("app.stopping");
        halt.send_replace(true);
        let ended = tokio::join!(
            public,
            admin,
            worker,
            keeper,
            fetcher,
            openings,
            alerting,
            rings,
            connections,
            watching,
            routes,
            resuming
        );
        let public = ended.0;
        if let Some(control) = control {
            let _ended = control.await;
        }
        if let Some(backups) = backups {
            let _ended = backups.await;
        }
        // The last of them were noted while connections drained; a store that has stopped took its own leave.
        let _written = self.outbox.write_openings().await;
        end.send_replace(true);
        if let Some(tasks) = tasks {
            let _ended = tasks.await;
        }
        let closed = self.store.close().await;
        if let Some(fatal) = failed {
            return Err(Error::StoreStopped(fatal));
        }
        if let Ok(drained) = public {
            tracing::info!(?drained, "stopped");
        }
        closed.map_err(Error::Store)
    }
}

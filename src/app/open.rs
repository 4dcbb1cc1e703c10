//! Opens the store that is configured, with the clock that goes with it.

use std::sync::Arc;

use super::{Error, backup, master_keys};
use crate::config::{self, Config};
use crate::crypto::{MasterKeys, Sealer};
#[cfg(feature = "faults")]
use crate::fault;
use crate::outbox::{Clock, SystemClock};
use crate::store::redis::{Acknowledge, Options, Topology};
use crate::store::{self, Pace, SharedOptions, Store, Tasks};

/// A store and what belongs to it.
pub(super) struct Opened {
    pub store: Store,
    pub sealer: Sealer,
    /// The time by which its deliveries are due: with several nodes, the one they have in common.
    pub clock: Arc<dyn Clock>,
    /// What a node has to do besides; `None` for a store of one node.
    pub tasks: Option<Tasks>,
}

/// Opens the store of this configuration. A node of several is this patient with what they share.
///
/// # Errors
/// [`Error::MasterKey`], [`Error::Open`], [`Error::Shared`].
pub(super) async fn open(config: &Config, pace: Pace) -> Result<Opened, Error> {
    let config::Store::Redis(redis) = &config.store else {
        let sealer = Sealer::new(&master_keys(&config.server.master_key)?);
        let store = Store::open_embedded(&journal(config))?;
        backup::clear(&config.server.data_dir);
        return Ok(Opened { store, sealer, clock: Arc::new(SystemClock::new()), tasks: None });
    };
    let sealer = Sealer::new(&common_keys(&config.server.master_key)?);
    #[cfg(feature = "faults")]
    let pace = quickened(pace);
    let options = SharedOptions { journal: journal(config), redis: options(redis), pace };
    let (store, tasks) = Store::open_shared(options).await?;
    backup::clear(&config.server.data_dir);
    let clock = Arc::new(tasks.time());
    Ok(Opened { store, sealer, clock, tasks: Some(tasks) })
}

/// A key made here would open nothing of what the other nodes have sealed.
fn common_keys(configured: &config::MasterKey) -> Result<MasterKeys, Error> {
    if let config::MasterKey::File { path, content: None } = configured {
        return Err(Error::MasterKey(format!(
            "there is none at {0}, and nodes that share a store have the same one: copy it from another node, or make the first with: openssl rand -base64 32 > {0}",
            path.display()
        )));
    }
    master_keys(configured)
}

fn options(redis: &config::Redis) -> Options {
    Options {
        urls: redis.urls.clone(),
        topology: match &redis.topology {
            config::Topology::Single => Topology::Single,
            config::Topology::Sentinel { service } => Topology::Sentinel { service: service.clone() },
            config::Topology::Cluster => Topology::Cluster,
        },
        prefix: redis.prefix.clone(),
        ca_pem: redis.ca_pem.clone(),
        acknowledge: match redis.acknowledge {
            config::Acknowledge::Journal => Acknowledge::Journal,
            config::Acknowledge::Redis { replicas } => Acknowledge::Redis { replicas },
        },
    }
}

/// The same patience twenty times as short, except for waits that a slow machine needs.
#[cfg(feature = "faults")]
fn quickened(pace: Pace) -> Pace {
    if !fault::is_on("cluster.quick") {
        return pace;
    }
    Pace {
        down_after: pace.down_after / 20,
        take_over_after: pace.take_over_after / 20,
        look_every: pace.look_every / 20,
        reconcile_every: pace.reconcile_every / 20,
        ..pace
    }
}

#[cfg(not(feature = "faults"))]
fn journal(config: &Config) -> store::Options {
    store::Options::new(&config.server.data_dir)
}

#[cfg(feature = "faults")]
fn journal(config: &Config) -> store::Options {
    let mut options = store::Options::new(&config.server.data_dir);
    options.faults.ack_early = config.ack_early;
    options.faults.sync_normal = fault::is_on("store.sync_normal");
    options.faults.swallow_errors = fault::is_on("store.swallow_errors");
    options
}

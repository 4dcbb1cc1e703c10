//! Components from the configuration.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::ExposeSecret as _;

use super::destinations::{Destinations, Served};
use super::open::{Opened, open};
use super::watching::Watched;
use super::{Error, Keys, StoreKeys, connecting, destinations, files};
use crate::catalog::Catalog;
use crate::catalog::drift::Impact;
use crate::catalog::import::{self, Origin};
use crate::catalog::overlay::Overlay;
use crate::config::{self, Config};
use crate::connector::Import;
use crate::connector::connection::Connections;
use crate::console::Workspaces;
use crate::crypto::{AppSecret, AppSecrets, KeyRing, MacKey, PrivateKey, Purpose, Sealer, Vault};
use crate::endpoint::{Endpoint, Flow, Flows, TokenPolicy, TokenSignature};
use crate::flow::compile::{Mode, Settings};
use crate::flow::handler::Handler;
use crate::flow::limits::Version;
use crate::flow::plan::{DataApi, Entry};
use crate::outbox::{Clock, DestinationId, Outbox, Pace, Rate, Repeat, RetryPolicy};
use crate::server::Tls;
use crate::store::{self, Store, Tasks};
use crate::telemetry::Metrics;

/// The Flow JSON documents being served, by flow; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Documents(Arc<RwLock<HashMap<String, Arc<serde_json::Value>>>>);

impl Documents {
    /// The document of a flow.
    pub(super) fn get(&self, flow: &str) -> Option<Arc<serde_json::Value>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(flow).cloned()
    }

    /// Puts a document in the place of the one that the flow has.
    pub(super) fn put(&self, flow: &str, document: serde_json::Value) {
        let mut documents = self.0.write().unwrap_or_else(PoisonError::into_inner);
        documents.insert(flow.to_owned(), Arc::new(document));
    }
}

pub(super) struct Built {
    pub store: Store,
    pub sealer: Sealer,
    /// The key of the audit chain.
    pub chain: Arc<MacKey>,
    /// The key of hashes that things are found by.
    pub index: Arc<MacKey>,
    pub outbox: Outbox,
    pub flows: Flows,
    pub documents: Documents,
    pub endpoint: Endpoint,
    pub metrics: Metrics,
    pub destinations: Destinations,
    pub paces: Vec<(DestinationId, Pace)>,
    pub clock: Arc<dyn Clock>,
    pub connections: Connections,
    /// The flows that are made from forms in their tools.
    pub watched: Vec<Watched>,
    /// The app secrets of every number.
    pub app_secrets: Vec<Arc<AppSecrets>>,
    /// What a node of several has to do besides.
    pub tasks: Option<Tasks>,
    /// Numbers whose keys are files, with those keys; the others keep them in the store.
    pub configured: HashMap<String, Option<Arc<KeyRing>>>,
}

pub(super) async fn build(config: &Config, patience: store::Pace) -> Result<Built, Error> {
    let Opened { store, sealer, clock, tasks } = open(config, patience).await?;
    let vault = Vault::new(sealer.clone(), Purpose::StoredBody);
    let StoreKeys { chain, index } = StoreKeys::open(&store, &sealer, clock.now_ms()).await?;
    let files = files::build(config, store.clone(), sealer.clone(), clock.clone());
    let outbox = Outbox::new(store.clone(), Arc::new(vault), clock.clone())
        .indexed(Arc::<MacKey>::clone(&index))
        .with_files(files);
    let metrics = Metrics::new();
    let connections = connecting::connections(config, &store, &sealer, clock.clone());
    if tasks.is_none() {
        // The store is this process's alone, so what an earlier one was renewing is not being renewed any more.
        connections.end_leases().await.map_err(|error| Error::Control(error.to_string()))?;
    }

    let (mut numbers, mut configured) = (HashMap::new(), HashMap::new());
    for number in &config.numbers {
        let keys = configured_keys(number)?;
        let ring = (!keys.is_empty()).then(|| Arc::new(KeyRing::new(keys)));
        configured.insert(number.id.as_str().to_owned(), ring.clone());
        numbers.insert(number.id.clone(), self::number(number, ring, &store, &sealer, clock.as_ref()).await?);
    }
    let catalog = Catalog::new(store.clone());
    let (mut flows, documents) = (Vec::new(), Documents::default());
    let (mut served, mut watched) = (BTreeMap::new(), Vec::new());
    for flow in &config.flows {
        let id = flow.id.as_str();
        // A configuration that was read refers to nothing that is missing.
        let Some((keys, app_secrets)) = numbers.get(&flow.number) else { continue };
        let bare = bare(flow, Arc::clone(keys), Arc::clone(app_secrets), &metrics)?;
        watched.extend(watched_of(flow, &bare)?);
        let Some((bytes, import)) = definition(flow, &catalog).await? else {
            tracing::warn!(
                flow.id = id,
                "the form was not read from its tool yet; the flow is served when it is"
            );
            continue;
        };
        let published = catalog
            .publish(id, &import, &settings(flow), clock.as_ref())
            .await
            .map_err(|source| Error::Publish { flow: id.to_owned(), source })?;
        if let Some(report) = &published.report {
            tracing::info!(flow.id = id, grade = %report.grade, screens = report.screens, "a new version was made");
        }
        if let Some(newest) = published.versions.first() {
            documents.put(id, newest.document.clone());
        }
        let versions = published.versions.into_iter().map(|version| Arc::new(Handler::new(version.plan)));
        let versions: Vec<_> = versions.collect();
        flows.push(Flow { versions: versions.clone(), ..bare });
        files::warn_of_links(config, flow, &import.form);
        served.insert(id.to_owned(), Arc::new(Served { form: import.form, definition: bytes, versions }));
    }
    let serving = Flows::default();
    serving.replace(flows);
    let destinations = Destinations::build(config, served, &connections, &outbox).await?;
    let paces = config
        .destinations
        .iter()
        .map(|configured| Ok((DestinationId::new(configured.id.as_str())?, pace(configured))))
        .collect::<Result<_, Error>>()?;
    let endpoint =
        Endpoint::new(serving.clone(), sealer.clone(), outbox.clone(), clock.clone(), metrics.clone());
    Ok(Built {
        store,
        sealer,
        chain,
        index,
        outbox,
        flows: serving,
        documents,
        endpoint,
        metrics,
        destinations,
        paces,
        clock,
        connections,
        watched,
        app_secrets: numbers.into_values().map(|(_ring, secrets)| secrets).collect(),
        tasks,
        configured,
    })
}

/// A flow as it is configured, before it has a version.
fn bare(
    flow: &config::Flow,
    keys: Arc<KeyRing>,
    app_secrets: Arc<AppSecrets>,
    metrics: &Metrics,
) -> Result<Flow, Error> {
    Ok(Flow {
        id: flow.id.to_string(),
        keys,
        app_secrets,
        tokens: match flow.tokens {
            config::Tokens::Any => TokenPolicy::Any,
            config::Tokens::Sealed => TokenPolicy::Sealed,
        },
        token_signature: match flow.token_signature {
            config::TokenSignature::Off => TokenSignature::Off,
            config::TokenSignature::IfPresent => TokenSignature::IfPresent,
            config::TokenSignature::Required => TokenSignature::Required,
        },
        repeat: match flow.repeat {
            config::Repeat::Append => Repeat::Append,
            config::Repeat::Once => Repeat::Once,
            config::Repeat::Replace => Repeat::Replace,
        },
        destinations: flow
            .deliver_to
            .iter()
            .map(|id| DestinationId::new(id.as_str()))
            .collect::<Result<_, _>>()?,
        versions: vec![],
        metrics: metrics.flow(flow.id.as_str()),
        test: false,
    })
}

/// What there is to watch of a flow; `None` for one that is made from a file.
fn watched_of(flow: &config::Flow, bare: &Flow) -> Result<Option<Watched>, Error> {
    let config::Definition::Connected { connection, form } = &flow.definition else { return Ok(None) };
    let (connection, form) = (connection.clone(), form.clone());
    Ok(Some(Watched {
        flow: bare.clone(),
        origin: Origin { tool: flow.tool.as_str().to_owned(), connection, form },
        limit: match flow.take {
            config::Take::Never => None,
            config::Take::Cosmetic => Some(Impact::Cosmetic),
            config::Take::Compatible => Some(Impact::Compatible),
        },
        overlay: overlay(flow)?,
        settings: settings(flow),
    }))
}

/// Which workspace each flow and destination is in.
pub(super) fn workspaces(config: &Config) -> Workspaces {
    let flows = config.flows.iter().map(|flow| (flow.id.to_string(), flow.workspace.to_string()));
    let destinations = config.destinations.iter().map(|to| (to.id.to_string(), to.workspace.to_string()));
    Workspaces { flows: flows.collect(), destinations: destinations.collect() }
}

/// The ids of the configured destinations, each with what it is.
pub(super) fn destination_ids(config: &Config) -> BTreeMap<String, String> {
    let told = |destination: &config::Destination| {
        let kind = destination.target.kind();
        let what = format!("{}, grade {}", kind.as_str(), destinations::grade(kind));
        (destination.id.as_str().to_owned(), what)
    };
    config.destinations.iter().map(told).collect()
}

fn pace(configured: &config::Destination) -> Pace {
    let rate = configured.rate_per_minute.map(|per_minute| Rate {
        per_minute,
        // Without a word on it: what a second may have, so that attempts come evenly.
        burst: configured
            .rate_burst
            .or_else(|| NonZeroU32::new(per_minute.get() / 60))
            .unwrap_or(NonZeroU32::MIN),
    });
    let retry = match (configured.retry_schedule.as_slice(), configured.max_attempts) {
        ([], None) => RetryPolicy::default(),
        ([], Some(max_attempts)) => RetryPolicy::with_max_attempts(max_attempts),
        (waits, max_attempts) => {
            let waits = waits.iter().map(|wait| i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
            RetryPolicy::scheduled(&waits.collect::<Vec<_>>(), max_attempts)
        }
    };
    Pace { retry, rate, ..Pace::default() }
}

/// TLS of the public listener.
pub(super) fn tls(config: &Config) -> Option<Tls> {
    let tls = config.server.tls.as_ref()?;
    Some(Tls { cert_pem: tls.cert_pem.clone(), key_pem: tls.key_pem.clone() })
}

/// The keys of a number that are files, newest first.
pub(super) fn configured_keys(number: &config::Number) -> Result<Vec<PrivateKey>, Error> {
    let read = |pem: &secrecy::SecretString| {
        PrivateKey::from_pem(pem.expose_secret(), number.private_key_passphrase.as_ref())
            .map_err(|source| Error::Key { number: number.id.as_str().to_owned(), source })
    };
    number.private_keys.iter().map(read).collect()
}

async fn number(
    number: &config::Number,
    configured: Option<Arc<KeyRing>>,
    store: &Store,
    sealer: &Sealer,
    clock: &dyn Clock,
) -> Result<(Arc<KeyRing>, Arc<AppSecrets>), Error> {
    let id = number.id.as_str();
    let ring = match configured {
        Some(ring) => ring,
        None => {
            let kept = Keys::new(store.clone(), sealer.clone());
            if kept.list(id).await?.is_empty()
                && let Some(made) = kept.make_first(id, clock).await?
            {
                tracing::info!(number.id = id, key = %made, "made a private key; register its public half with Meta: formgate keys list");
            }
            Arc::new(KeyRing::new(kept.list(id).await?))
        }
    };
    let secrets = number.app_secrets.iter().map(|configured| {
        let expires = configured.expires.map(|at| u64::try_from(at.as_second()).unwrap_or(0));
        AppSecret::new(configured.secret.clone(), expires)
    });
    let secrets = secrets.collect::<Result<Vec<_>, _>>().and_then(AppSecrets::new);
    let secrets = secrets.map_err(|_| Error::AppSecret(id.to_owned()))?;
    Ok((ring, Arc::new(secrets)))
}

/// What a flow is made from now; `None` for one whose form was not read from its tool yet.
async fn definition(flow: &config::Flow, catalog: &Catalog) -> Result<Option<(Vec<u8>, Import)>, Error> {
    let id = || flow.id.as_str().to_owned();
    let bytes = match &flow.definition {
        config::Definition::File(path) => {
            std::fs::read(path).map_err(|source| Error::File { flow: id(), path: path.clone(), source })?
        }
        config::Definition::Connected { .. } => {
            let imported = catalog.imported(flow.id.as_str()).await;
            match imported.map_err(|source| Error::Publish { flow: id(), source })? {
                Some(imported) => imported.current.json.into_bytes(),
                None => return Ok(None),
            }
        }
    };
    let overlay = overlay(flow)?;
    let import = import::read(&bytes, flow.tool.as_str(), overlay.as_ref())
        .map_err(|source| Error::Definition { flow: id(), source })?;
    Ok(Some((bytes, import)))
}

/// What is laid over a flow's form.
pub(super) fn overlay(flow: &config::Flow) -> Result<Option<Overlay>, Error> {
    let Some(path) = &flow.overlay else { return Ok(None) };
    let id = || flow.id.as_str().to_owned();
    let bytes =
        std::fs::read(path).map_err(|source| Error::File { flow: id(), path: path.clone(), source })?;
    let overlay = Overlay::read(&bytes).map_err(import::ReadError::Overlay);
    overlay.map(Some).map_err(|source| Error::Definition { flow: id(), source })
}

fn settings(flow: &config::Flow) -> Settings {
    Settings {
        version: 0,
        flow_json: match flow.data_api {
            config::DataApi::V4 => Version::new(7, 3),
            config::DataApi::V3 => Version::new(7, 0),
        },
        data_api: match flow.data_api {
            config::DataApi::V4 => DataApi::V4,
            config::DataApi::V3 => DataApi::V3,
        },
        mode: match flow.mode {
            config::Mode::Grouped => Mode::Grouped,
            config::Mode::OneQuestion => Mode::OneQuestion,
        },
        entry: match flow.entry {
            config::Entry::Exchange => Entry::Exchange,
            config::Entry::Static => Entry::Static,
        },
        locale: flow.locale.clone(),
        default_country: flow.default_country.clone(),
    }
}

//! One look at everything: the queues, what was counted, the disk, the backups, what Meta says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::super::backup::Status;
use super::super::connecting;
use super::super::disk::free_bytes;
use crate::config::Config;
use crate::connector::connection::{Connection, Connections, State};
use crate::endpoint::Flows;
use crate::insight::{
    Account, Backup, Disk, Exchanges, Group, Hold, Look, Number, Paused, Queue, SharedStore, Sign,
    Thresholds, Totals, Window,
};
use crate::meta;
use crate::outbox::{Clock, DestinationView, Outbox};
use crate::store::{self, Store};
use crate::telemetry::{DeliveryOutcome, FlowTotals, Metrics};

/// How far back exchanges are counted.
const WINDOW: Duration = Duration::from_secs(600);
/// How long the store may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What there is to look at.
pub(in crate::app) struct Sources {
    pub store: Store,
    pub outbox: Outbox,
    pub connections: Connections,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    pub flows: Flows,
    pub backup: Option<watch::Receiver<Status>>,
}

/// What was counted at one time.
struct Counted {
    flows: BTreeMap<Arc<str>, FlowTotals>,
    times: Vec<(f64, u64)>,
}

pub(super) struct Looking {
    sources: Sources,
    thresholds: Thresholds,
    /// The number of each flow.
    numbers: BTreeMap<String, String>,
    /// The connection of each destination that is delivered to with one.
    uses: BTreeMap<String, String>,
    data: PathBuf,
    backup_every: Duration,
    window: Window<Counted>,
    /// Since when more is on this node only than may be.
    single_since_ms: Option<i64>,
}

impl Looking {
    pub(super) fn new(config: &Config, sources: Sources) -> Looking {
        let alerts = &config.alerts;
        let thresholds = Thresholds {
            queue_age: alerts.queue_age,
            dead_letters: alerts.dead_letters,
            breaker: alerts.breaker,
            error_percent: alerts.error_percent,
            latency: alerts.latency,
            token_percent: alerts.token_percent,
            disk_free_bytes: alerts.disk_free_bytes,
            single_copy: alerts.single_copy,
        };
        let number =
            |flow: &crate::config::Flow| (flow.id.as_str().to_owned(), flow.number.as_str().to_owned());
        let uses = connecting::uses(config).into_iter();
        Looking {
            sources,
            thresholds,
            numbers: config.flows.iter().map(number).collect(),
            uses: uses.map(|(to, connection)| (to.to_string(), connection.to_string())).collect(),
            data: config.server.data_dir.clone(),
            backup_every: config.backup.as_ref().map(|backup| backup.every).unwrap_or_default(),
            window: Window::new(WINDOW),
            single_since_ms: None,
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.sources.clock.now_ms()
    }

    pub(super) async fn look(&mut self) -> Look {
        let now_ms = self.now_ms();
        let mut look = Look::default();
        self.counted(now_ms, &mut look.signs);
        self.disk(&mut look);
        if let Some(standing) = self.sources.store.standing() {
            let away = (!standing.reachable).then_some(standing.out_for);
            let single = standing.single_copy;
            let many = single > self.thresholds.single_copy;
            self.single_since_ms = many.then(|| self.single_since_ms.unwrap_or(now_ms));
            let single_for = self.single_since_ms.map_or(0, |at_ms| now_ms.saturating_sub(at_ms));
            let single_for = Duration::from_millis(u64::try_from(single_for).unwrap_or(0));
            let shared = SharedStore { away, single, single_for };
            look.signs.extend(self.thresholds.shared_store(shared));
            if !standing.reachable || !standing.told {
                // What this node has of the rest is a part of it: that nothing is the matter there means nothing.
                look.unseen.push(Group::Stored);
            }
        }
        let stored = tokio::time::timeout(PATIENCE, self.stored(now_ms)).await;
        let ready = tokio::time::timeout(PATIENCE, self.sources.store.ready()).await;
        let is_damaged = matches!(ready, Ok(Err(store::Error::Damaged)));
        look.signs.push(self.thresholds.store(matches!(stored, Ok(Ok(_))), is_damaged));
        match stored {
            Ok(Ok(signs)) => look.signs.extend(signs),
            // Nothing is known of the rest, so nothing of it is over.
            Ok(Err(())) | Err(_) => look.unseen.push(Group::Stored),
        }
        look
    }

    /// What the store says.
    async fn stored(&self, now_ms: i64) -> Result<Vec<Sign>, ()> {
        let thresholds = &self.thresholds;
        let destinations = self.sources.outbox.destinations().await.map_err(|_refused| ())?;
        let accounts = self.sources.connections.list().await.map_err(|_refused| ())?;
        let accounts: Vec<Account> = accounts.into_iter().map(account).collect();
        let lost: BTreeSet<&str> = accounts
            .iter()
            .filter(|account| account.lost.is_some())
            .map(|account| account.id.as_str())
            .collect();
        let queues = destinations.into_iter().map(|view| self.queue(view, &lost));
        let mut signs: Vec<Sign> = queues.flat_map(|queue| thresholds.queue(now_ms, &queue)).collect();
        signs.extend(accounts.iter().map(|account| thresholds.account(account)));
        let begun_ms = self.sources.outbox.oldest_erasure_ms().await.map_err(|_refused| ())?;
        signs.push(thresholds.erasure(now_ms, begun_ms));
        let events = meta::events(&self.sources.store, now_ms).await.map_err(|_refused| ())?;
        signs.extend(events.iter().map(|event| thresholds.meta(event)));
        Ok(signs)
    }

    fn queue(&self, view: DestinationView, lost: &BTreeSet<&str>) -> Queue {
        let quarantined = self.sources.metrics.deliveries_ended(&view.id, DeliveryOutcome::Quarantined) > 0;
        let is_told = self.uses.get(&view.id).is_some_and(|connection| lost.contains(connection.as_str()));
        let paused = view.hold.paused.map(|paused| Paused {
            // Persons do it by the command line or the console. What waits for a lost account is told of the account.
            by_itself: if paused.reconnect { !is_told } else { paused.is_by_itself() },
            reason: paused.reason,
        });
        let hold = Hold { paused, open_since_ms: view.hold.open.map(|open| open.since_ms) };
        let mut depth = view.depth;
        depth.due += view.parked;
        Queue { depth, hold, quarantined }
    }

    /// What this process has counted and knows.
    fn counted(&mut self, now_ms: i64, signs: &mut Vec<Sign>) {
        let metrics = &self.sources.metrics;
        let counted = Counted { flows: metrics.flow_totals(), times: metrics.exchange_times() };
        let (then, now) = self.window.push(now_ms, counted);
        for (flow, totals) in &now.flows {
            let earlier = then.flows.get(flow).copied().unwrap_or_default();
            let totals = totals_of(*totals).since(&totals_of(earlier));
            signs.extend(self.thresholds.exchanges(&Exchanges { flow: flow.to_string(), totals }));
        }
        let times: Vec<(f64, u64)> = now
            .times
            .iter()
            .zip(&then.times)
            .map(|((bound, now), (_, then))| (*bound, now.saturating_sub(*then)))
            .collect();
        signs.push(self.thresholds.latency(&times));
        let now_s = u64::try_from(now_ms / 1_000).unwrap_or(0);
        let mut numbers = BTreeMap::new();
        for flow in self.sources.flows.all() {
            if let Some(id) = self.numbers.get(&flow.id) {
                let number = Number {
                    id: id.clone(),
                    has_key: !flow.keys.keys().is_empty(),
                    has_secret: flow.app_secrets.is_any_valid_at(now_s),
                };
                numbers.insert(id.clone(), number);
            }
        }
        signs.extend(numbers.values().map(|number| self.thresholds.number(number)));
        if let Some(status) = &self.sources.backup {
            let Status { last_ms, failed } = status.borrow().clone();
            let backup = Backup { last_ms, every: self.backup_every, failed };
            signs.push(self.thresholds.backup(now_ms, &backup));
        }
    }

    fn disk(&self, look: &mut Look) {
        match free_bytes(&self.data) {
            Ok(free_bytes) => {
                self.sources.metrics.set_disk_free(free_bytes);
                look.signs.push(self.thresholds.disk(Disk { free_bytes }));
            }
            Err(_unknown) => look.unseen.push(Group::Disk),
        }
    }
}

fn account(connection: Connection) -> Account {
    let lost = match connection.state {
        State::Active => None,
        State::NeedsReconnect { reason, .. } => Some(reason),
    };
    Account { id: connection.id.to_string(), tool: connection.tool.title(), lost }
}

fn totals_of(totals: FlowTotals) -> Totals {
    let FlowTotals { well, token, undecryptable, signature, failed, notices } = totals;
    Totals { well, token, undecryptable, signature, failed, notices }
}

//! Brings submissions home: claims what is due, attempts it under a lease, settles it.
//!
//! Each destination has its own lane with its own slots, so one that hangs or fails does not delay another. The worker
//! decides nothing about an answer: the destination gives an [`Outcome`](super::Outcome), [`RetryPolicy`] the next time, and
//! the breaker, the bucket and the shares say how many attempts may begin.

mod attempt;
mod lane;
mod trouble;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use self::lane::DestinationLane;
use self::trouble::Trouble;
use super::Outbox;
use super::breaker::BreakerPolicy;
use super::destination::Destination;
use super::ids::DestinationId;
use super::retry::RetryPolicy;
use super::share::SLOTS;
use crate::fault;
use crate::store::{self, Rate};
use crate::telemetry::Metrics;

/// Attempts of all destinations at one time.
const MAX_IN_FLIGHT: usize = 256;
/// How often expired records are deleted, and how many at a time.
const PURGE_EVERY_MS: i64 = 60_000;
const PURGE_LIMIT: u32 = 1_000;

/// How a destination is sent to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pace {
    /// When what has failed is attempted again.
    pub retry: RetryPolicy,
    /// When it is left alone for a while.
    pub breaker: BreakerPolicy,
    /// How fast; as fast as it answers if there is no rate.
    pub rate: Option<Rate>,
}

/// The worker of all destinations.
pub struct Worker {
    outbox: Outbox,
    destinations: Vec<Arc<dyn Destination>>,
    usual: Pace,
    paces: HashMap<DestinationId, Pace>,
    metrics: Metrics,
}

impl Worker {
    /// A worker for these destinations.
    #[must_use]
    pub fn new(outbox: Outbox, destinations: Vec<Arc<dyn Destination>>, policy: RetryPolicy) -> Self {
        let usual = Pace { retry: policy, ..Pace::default() };
        Self { outbox, destinations, usual, paces: HashMap::new(), metrics: Metrics::new() }
    }

    /// Sends to one destination at its own pace.
    #[must_use]
    pub fn pacing(mut self, destination: DestinationId, pace: Pace) -> Self {
        self.paces.insert(destination, pace);
        self
    }

    /// Counts attempts in these metrics.
    #[must_use]
    pub fn counting(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    fn pace(&self, destination: &dyn Destination) -> Pace {
        self.paces.get(destination.id()).unwrap_or(&self.usual).clone()
    }

    /// Works until `shutdown` becomes true or the store stops. Then what is under way has 10 s to end; what has not ended
    /// by then is given back. Not cancel safe: dropping the future leaves leases that end by themselves.
    pub async fn run(self, shutdown: watch::Receiver<bool>) {
        let paces = self.paces.values().chain([&self.usual]);
        let longest_ms = paces.map(|pace| pace.retry.max_wait_ms()).max().unwrap_or(0);
        let longest_ms = if fault::is_on("worker.believes_due_times") { i64::MAX } else { longest_ms };
        let latest_ms = self.outbox.clock.now_ms().saturating_add(longest_ms);
        match self.outbox.store.clamp_due(latest_ms).await {
            Ok(0) => {}
            Ok(deliveries) => tracing::warn!(deliveries, "due times too far ahead were brought back"),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "due times could not be checked")
            }
        }
        // One pool for all is what many programs have.
        let most = if fault::is_on("worker.one_pool") { SLOTS as usize } else { MAX_IN_FLIGHT };
        let slots = Arc::new(Semaphore::new(most));
        let mut lanes = JoinSet::new();
        lanes.spawn(purge(self.outbox.clone(), shutdown.clone()));
        lanes.spawn(go_on(self.outbox.clone(), shutdown.clone()));
        let paces: Vec<Pace> =
            self.destinations.iter().map(|destination| self.pace(&**destination)).collect();
        let rates = rates(&self.destinations, &paces);
        for (destination, mut pace) in self.destinations.into_iter().zip(paces) {
            pace.rate = rates.get(&*destination.account()).copied().flatten();
            let lane = DestinationLane {
                outbox: self.outbox.clone(),
                destination,
                pace,
                metrics: self.metrics.clone(),
                slots: Arc::clone(&slots),
            };
            lanes.spawn(lane.run(shutdown.clone()));
        }
        while let Some(ended) = lanes.join_next().await {
            if let Err(error) = ended {
                tracing::error!(error = &error as &dyn std::error::Error, "a lane of the outbox crashed");
            }
        }
    }
}

/// The rate of each account: the slowest that any of its destinations has.
fn rates(destinations: &[Arc<dyn Destination>], paces: &[Pace]) -> HashMap<String, Option<Rate>> {
    let mut rates: HashMap<String, Option<Rate>> = HashMap::new();
    for (destination, pace) in destinations.iter().zip(paces) {
        let slowest = rates.entry(destination.account().into_owned()).or_default();
        let both = slowest.iter().chain(&pace.rate).copied();
        *slowest = both.min_by_key(|rate| (rate.per_minute, rate.burst));
    }
    rates
}

/// Waits until the flag is raised, or whoever could raise it is gone.
async fn raised(flag: &mut watch::Receiver<bool>) {
    // The guard inside the result must not live across an await of the caller.
    drop(flag.wait_for(|raised| *raised).await);
}

/// Deletes kept replies whose day is over.
async fn purge(outbox: Outbox, mut shutdown: watch::Receiver<bool>) {
    let mut trouble = Trouble::of("purge");
    loop {
        let now_ms = outbox.clock.now_ms();
        match outbox.store.purge_expired(now_ms, PURGE_LIMIT).await {
            Ok(deleted) => {
                trouble.is_over();
                if deleted == u64::from(PURGE_LIMIT) {
                    continue;
                }
            }
            Err(store::Error::Busy) => {}
            Err(error) => {
                if !trouble.wait(&outbox, &error, &mut shutdown).await {
                    return;
                }
                continue;
            }
        }
        tokio::select! {
            () = raised(&mut shutdown) => return,
            () = outbox.clock.sleep_until_ms(now_ms.saturating_add(PURGE_EVERY_MS)) => {}
        }
    }
}

/// Ends the replays that an earlier process had begun.
async fn go_on(outbox: Outbox, mut shutdown: watch::Receiver<bool>) {
    let mut trouble = Trouble::of("replays");
    loop {
        let working = async {
            let unfinished = outbox.unfinished_replays().await?;
            for id in unfinished.into_iter().filter(|_| !fault::is_on("replay.left_undone")) {
                tracing::info!(replay.id = %id, "going on with a replay that was cut off");
                outbox.run_replay(id, |_| {}).await?;
            }
            Ok::<_, super::Error>(())
        };
        let result = tokio::select! {
            () = raised(&mut shutdown) => return,
            result = working => result,
        };
        match result {
            Ok(()) => return trouble.is_over(),
            Err(super::Error::Store(error)) => {
                if !trouble.wait(&outbox, &error, &mut shutdown).await {
                    return;
                }
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a replay cannot go on");
                return;
            }
        }
    }
}

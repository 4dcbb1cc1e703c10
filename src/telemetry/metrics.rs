//! The metric families, under the names that dashboards and alerts rely on.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};

use super::histogram::Seconds;
use super::label::{Action, DeliveryOutcome, DeliveryState, HoldReason, Witness};
use super::totals::{Counting, FlowTotals};

/// The `content-type` of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// From well below Meta's wish (1 s) to its hard limit (10 s); WhatsApp Flows reference 1.11.
const EXCHANGE_SECONDS: &[f64] =
    &[0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// From "at once" to the end of the retry window.
const LAG_SECONDS: &[f64] =
    &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43_200.0, 259_200.0];

/// Statuses that an exchange can have; anything else is counted as `other`, so that the label stays bounded.
const STATUSES: [(u16, &str); 11] = [
    (200, "200"),
    (400, "400"),
    (404, "404"),
    (408, "408"),
    (413, "413"),
    (421, "421"),
    (427, "427"),
    (429, "429"),
    (432, "432"),
    (500, "500"),
    (503, "503"),
];
const STATUS_COUNT: usize = STATUSES.len() + 1;

/// Error names Meta reports (WhatsApp Flows reference 1.12); others are counted as `other`: the name comes from outside.
const NOTICES: [&str; 10] = [
    "timeout_error",
    "missing_capability",
    "cannot_be_served",
    "no_http_response_error",
    "unexpected_http_status_code",
    "public-key-missing",
    "public-key-signiture-verification",
    "response-decryption-error",
    "invalid-screen-transition",
    "payload-schema-error",
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExchangeLabels {
    flow: Arc<str>,
    action: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FlowLabel {
    flow: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoticeLabels {
    flow: Arc<str>,
    error: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeliveryLabels {
    destination: String,
    outcome: DeliveryOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    destination: String,
    state: DeliveryState,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HoldLabels {
    destination: String,
    reason: HoldReason,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WitnessLabels {
    outcome: Witness,
}

/// For a family of one series, which shows once there is something to tell.
type NoLabels = [(String, String); 0];

/// Every metric of the process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    registry: Registry,
    exchanges: Family<ExchangeLabels, Counter>,
    exchange_seconds: Seconds,
    notices: Family<NoticeLabels, Counter>,
    signature_failures: Counter,
    undecryptable: Counter,
    submissions: Family<FlowLabel, Counter>,
    submission_repeats: Counter,
    deliveries: Family<DeliveryLabels, Counter>,
    delivery_lag_seconds: Seconds,
    delivery_states: Family<StateLabels, Gauge<i64, AtomicI64>>,
    destination_holds: Family<HoldLabels, Gauge<i64, AtomicI64>>,
    stale_leases: Counter,
    oldest_due_seconds: Gauge<f64, AtomicU64>,
    witnesses: Family<WitnessLabels, Counter>,
    disk_free_bytes: Gauge<i64, AtomicI64>,
    backup_time_seconds: Gauge<i64, AtomicI64>,
    totals: Mutex<BTreeMap<Arc<str>, Arc<Counting>>>,
    // A node that shares nothing shows neither.
    redis_up: Family<NoLabels, Gauge<i64, AtomicI64>>,
    single_copy: Family<NoLabels, Gauge<i64, AtomicI64>>,
}

impl Metrics {
    /// Registers every family.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("formgate");
        let up = Gauge::<i64, AtomicI64>::default();
        up.set(1);
        registry.register("up", "The process runs", up);
        registry.register(
            "build",
            "What is running",
            Info::new([("version", env!("CARGO_PKG_VERSION"))].to_vec()),
        );
        let exchanges = Family::default();
        registry.register("exchange_requests", "Data exchange requests answered", exchanges.clone());
        let exchange_seconds = Seconds::new(EXCHANGE_SECONDS);
        registry.register("exchange_seconds", "From a request's head to its reply", exchange_seconds.clone());
        let notices = Family::default();
        registry.register("error_notices", "Errors that WhatsApp reported to the endpoint", notices.clone());
        let signature_failures = Counter::default();
        registry.register(
            "signature_failures",
            "Requests with a missing or wrong signature",
            signature_failures.clone(),
        );
        let undecryptable = Counter::default();
        registry.register("undecryptable", "Signed requests that no kept key opens", undecryptable.clone());
        let submissions = Family::default();
        registry.register("submissions", "Submissions acknowledged", submissions.clone());
        let submission_repeats = Counter::default();
        registry.register(
            "submission_repeats",
            "Submissions that were there already",
            submission_repeats.clone(),
        );
        let deliveries = Family::default();
        registry.register("deliveries", "Delivery attempts ended", deliveries.clone());
        let delivery_lag_seconds = Seconds::new(LAG_SECONDS);
        registry.register(
            "delivery_lag_seconds",
            "From a submission's acceptance to its delivery",
            delivery_lag_seconds.clone(),
        );
        let delivery_states = Family::default();
        registry.register("deliveries", "Deliveries by state", delivery_states.clone());
        let destination_holds = Family::default();
        registry.register(
            "destination_held",
            "Whether deliveries are held back: by a pause, by an open breaker, by one that has been open for three days",
            destination_holds.clone(),
        );
        let stale_leases = Counter::default();
        registry.register(
            "stale_leases",
            "Outcomes that came after their lease was lost",
            stale_leases.clone(),
        );
        let oldest_due_seconds = Gauge::default();
        registry.register(
            "oldest_due_seconds",
            "How long the oldest due delivery has been waiting",
            oldest_due_seconds.clone(),
        );
        let witnesses = Family::default();
        registry.register(
            "confirmations",
            "Messages of closed flows in Meta's webhook: of submissions stored here, of unknown ones, of foreign flows",
            witnesses.clone(),
        );
        let disk_free_bytes = Gauge::default();
        registry.register(
            "disk_free_bytes",
            "What is free where the data folder is",
            disk_free_bytes.clone(),
        );
        let backup_time_seconds = Gauge::default();
        registry.register(
            "last_backup_timestamp_seconds",
            "When the last backup was done, in Unix time; 0 if none was",
            backup_time_seconds.clone(),
        );
        let redis_up = Family::default();
        registry.register("redis_up", "Whether Redis is within reach of this node", redis_up.clone());
        let single_copy = Family::default();
        registry.register(
            "single_copy",
            "Submissions that are on the disk of this node and not in Redis",
            single_copy.clone(),
        );
        Self(Arc::new(Families {
            registry,
            exchanges,
            exchange_seconds,
            notices,
            signature_failures,
            undecryptable,
            submissions,
            submission_repeats,
            deliveries,
            delivery_lag_seconds,
            delivery_states,
            destination_holds,
            stale_leases,
            oldest_due_seconds,
            witnesses,
            disk_free_bytes,
            backup_time_seconds,
            totals: Mutex::default(),
            redis_up,
            single_copy,
        }))
    }

    /// The counters of one flow; ask once and keep them.
    pub fn flow(&self, id: &str) -> FlowMetrics {
        let flow: Arc<str> = id.into();
        let submissions = self.0.submissions.get_or_create_owned(&FlowLabel { flow: Arc::clone(&flow) });
        let mut totals = self.0.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = Arc::clone(totals.entry(Arc::clone(&flow)).or_default());
        FlowMetrics(Arc::new(FlowCounters {
            families: Arc::clone(&self.0),
            totals,
            flow,
            exchanges: Default::default(),
            submissions,
        }))
    }

    /// A request with a missing or wrong signature.
    pub fn signature_failure(&self) {
        self.0.signature_failures.inc();
    }

    /// A signed request that no kept key opens.
    pub fn undecryptable(&self) {
        self.0.undecryptable.inc();
    }

    /// A submission that was there already.
    pub fn submission_repeat(&self) {
        self.0.submission_repeats.inc();
    }

    /// A delivery attempt that ended.
    pub fn delivery(&self, destination: &str, outcome: DeliveryOutcome) {
        let labels = DeliveryLabels { destination: destination.to_owned(), outcome };
        self.0.deliveries.get_or_create(&labels).inc();
    }

    /// How long a delivered submission had been waiting.
    pub fn delivery_lag(&self, lag: Duration) {
        self.0.delivery_lag_seconds.observe(lag);
    }

    /// How many deliveries of a destination are in a state now.
    pub fn set_deliveries(&self, destination: &str, state: DeliveryState, count: u64) {
        let labels = StateLabels { destination: destination.to_owned(), state };
        self.0.delivery_states.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Whether a destination is held back, and by what.
    pub fn set_held(&self, destination: &str, reason: HoldReason, held: bool) {
        let labels = HoldLabels { destination: destination.to_owned(), reason };
        self.0.destination_holds.get_or_create(&labels).set(i64::from(held));
    }

    /// An outcome that changed nothing, because its lease was lost.
    pub fn stale_lease(&self) {
        self.0.stale_leases.inc();
    }

    /// How this node stands to the Redis that it shares with others.
    pub fn set_shared(&self, is_up: bool, single_copy: u64) {
        self.0.redis_up.get_or_create(&[]).set(i64::from(is_up));
        self.0.single_copy.get_or_create(&[]).set(i64::try_from(single_copy).unwrap_or(i64::MAX));
    }

    /// How long the oldest due delivery has been waiting; zero when none is due.
    pub fn set_oldest_due(&self, waiting: Duration) {
        self.0.oldest_due_seconds.set(waiting.as_secs_f64());
    }

    /// Meta's webhook told of a closed flow.
    pub fn witness(&self, outcome: Witness) {
        self.0.witnesses.get_or_create(&WitnessLabels { outcome }).inc();
    }

    /// How much is free where the data folder is.
    pub fn set_disk_free(&self, bytes: u64) {
        self.0.disk_free_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// When the last backup was done, in Unix seconds.
    pub fn set_last_backup(&self, at_s: i64) {
        self.0.backup_time_seconds.set(at_s);
    }

    /// What the exchanges of each flow have come to.
    pub fn flow_totals(&self) -> BTreeMap<Arc<str>, FlowTotals> {
        let totals = self.0.totals.lock().unwrap_or_else(PoisonError::into_inner);
        totals.iter().map(|(flow, counting)| (Arc::clone(flow), counting.read())).collect()
    }

    /// How long exchanges took: upper bounds in seconds, and how many lie below each but above the one before it.
    pub fn exchange_times(&self) -> Vec<(f64, u64)> {
        self.0.exchange_seconds.buckets()
    }

    /// How many delivery attempts to a destination ended in this way.
    pub fn deliveries_ended(&self, destination: &str, outcome: DeliveryOutcome) -> u64 {
        let labels = DeliveryLabels { destination: destination.to_owned(), outcome };
        self.0.deliveries.get(&labels).map_or(0, |counter| counter.get())
    }

    /// All metrics in the Prometheus text format; see [`CONTENT_TYPE`].
    pub fn encode(&self) -> String {
        let mut open_metrics = String::new();
        text::encode_registry(&mut open_metrics, &self.0.registry)
            .expect("writing to a String does not fail");
        prometheus_text(&open_metrics)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Turns OpenMetrics text into Prometheus text: there a counter's family carries the suffix `_total`, so that
/// `formgate_deliveries_total` and the gauge `formgate_deliveries` are two families, and an info is a gauge.
fn prometheus_text(open_metrics: &str) -> String {
    let mut output = String::with_capacity(open_metrics.len() + 256);
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(description) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            help = Some(description);
            continue;
        }
        let Some((family, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) else {
            output.push_str(line);
            output.push('\n');
            continue;
        };
        let (suffix, kind) = match kind {
            "counter" => ("_total", "counter"),
            "info" => ("_info", "gauge"),
            other => ("", other),
        };
        if let Some((_, text)) = help.take() {
            output.push_str(&format!("# HELP {family}{suffix} {text}\n"));
        }
        output.push_str(&format!("# TYPE {family}{suffix} {kind}\n"));
    }
    output
}

/// The counters of one flow: nothing on this path takes a lock once a series exists. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FlowMetrics(Arc<FlowCounters>);

#[derive(Debug)]
struct FlowCounters {
    families: Arc<Families>,
    totals: Arc<Counting>,
    flow: Arc<str>,
    /// Resolved at first use, so that a flow shows only the series that it has.
    exchanges: [[OnceLock<Counter>; STATUS_COUNT]; Action::COUNT],
    submissions: Counter,
}

impl FlowMetrics {
    /// An exchange that was answered.
    pub fn exchange(&self, action: Action, status: u16, took: Duration) {
        self.0.families.exchange_seconds.observe(took);
        self.count(action, status);
    }

    /// A request that was refused before anything was read from it.
    pub fn refused(&self, status: u16) {
        self.count(Action::Unknown, status);
    }

    fn count(&self, action: Action, status: u16) {
        self.0.totals.exchange(status);
        let column = STATUSES.iter().position(|(code, _)| *code == status).unwrap_or(STATUSES.len());
        // Both positions are inside the table by construction of its type.
        self.0.exchanges[action as usize][column]
            .get_or_init(|| {
                self.0.families.exchanges.get_or_create_owned(&ExchangeLabels {
                    flow: Arc::clone(&self.0.flow),
                    action: action.label(),
                    status: STATUSES.get(column).map_or("other", |(_, text)| text),
                })
            })
            .inc();
    }

    /// WhatsApp reported an error of this flow's endpoint.
    pub fn error_notice(&self, error: &str) {
        self.0.totals.notice();
        // Webhook samples spell them in capitals with underscores (WhatsApp Flows reference 1.12).
        let same = |known: &&str| {
            known.len() == error.len()
                && known.bytes().zip(error.bytes()).all(|(known, found)| {
                    let plain = |byte: u8| if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
                    plain(known) == plain(found)
                })
        };
        let labels = NoticeLabels {
            flow: Arc::clone(&self.0.flow),
            error: NOTICES.iter().copied().find(same).unwrap_or("other"),
        };
        self.0.families.notices.get_or_create(&labels).inc();
    }

    /// A submission was acknowledged.
    pub fn submission(&self) {
        self.0.submissions.inc();
    }
}

#[cfg(test)]
mod tests;

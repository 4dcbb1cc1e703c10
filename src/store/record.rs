//! The words of the contract: records, batches and deliveries, the same for every backend.

use super::Table;

/// Which writing of a record this is. Grows with every put of the store and is never used twice, so a record that was
/// deleted and made again does not look unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(pub(crate) i64);

/// A record as it stands in the store.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The bytes that were put.
    pub value: Vec<u8>,
    /// For [`Expectation::Version`].
    pub version: Version,
    /// From when on it counts as absent.
    pub expires_at_ms: Option<i64>,
}

// Values are answers and keys, sealed or not: a log may say how long they are.
impl std::fmt::Debug for Record {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Record")
            .field("value_bytes", &self.value.len())
            .field("version", &self.version)
            .field("expires_at_ms", &self.expires_at_ms)
            .finish()
    }
}

/// One record to write, whether it exists or not.
#[derive(Clone, PartialEq, Eq)]
pub struct Put {
    /// Where.
    pub table: Table,
    /// Under which key.
    pub key: Vec<u8>,
    /// What.
    pub value: Vec<u8>,
    /// From when on it counts as absent and may be deleted; `None` keeps it.
    pub expires_at_ms: Option<i64>,
}

impl Put {
    /// A record that stays.
    pub fn new(table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { table, key: key.into(), value: value.into(), expires_at_ms: None }
    }

    /// The same record, but only until `expires_at_ms`.
    #[must_use]
    pub fn until(mut self, expires_at_ms: i64) -> Self {
        self.expires_at_ms = Some(expires_at_ms);
        self
    }
}

impl std::fmt::Debug for Put {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Put")
            .field("table", &self.table)
            .field("value_bytes", &self.value.len())
            .field("expires_at_ms", &self.expires_at_ms)
            .finish_non_exhaustive()
    }
}

/// What must stand under a key for a batch to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// No record, or one whose time is over.
    Absent,
    /// Any record whose time is not over.
    Present,
    /// Exactly this writing of the record.
    Version(Version),
}

/// One condition of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Precondition {
    /// Where.
    pub table: Table,
    /// Under which key.
    pub key: Vec<u8>,
    /// What must stand there.
    pub expect: Expectation,
}

/// Changes that are made together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The caller's time, against which expiry counts.
    pub now_ms: i64,
    /// Checked in this order before anything is written.
    pub preconditions: Vec<Precondition>,
    /// Records to write.
    pub puts: Vec<Put>,
    /// Records to delete; one that is absent is no error.
    pub deletes: Vec<(Table, Vec<u8>)>,
    /// Deliveries to begin; one whose key exists is left as it is.
    pub deliveries: Vec<NewDelivery>,
    /// Dead deliveries to make due again; one that is not dead, or whose new key is taken, is left as it is.
    pub reopens: Vec<Reopen>,
}

impl Batch {
    /// An empty batch at this time.
    #[must_use]
    pub fn at(now_ms: i64) -> Self {
        Self {
            now_ms,
            preconditions: vec![],
            puts: vec![],
            deletes: vec![],
            deliveries: vec![],
            reopens: vec![],
        }
    }

    /// Adds a condition.
    #[must_use]
    pub fn require(mut self, table: Table, key: impl Into<Vec<u8>>, expect: Expectation) -> Self {
        self.preconditions.push(Precondition { table, key: key.into(), expect });
        self
    }

    /// Adds a record to write.
    #[must_use]
    pub fn put(mut self, put: Put) -> Self {
        self.puts.push(put);
        self
    }

    /// Adds a record to delete.
    #[must_use]
    pub fn delete(mut self, table: Table, key: impl Into<Vec<u8>>) -> Self {
        self.deletes.push((table, key.into()));
        self
    }

    /// Adds a delivery to begin.
    #[must_use]
    pub fn deliver(mut self, delivery: NewDelivery) -> Self {
        self.deliveries.push(delivery);
        self
    }

    /// Adds a dead delivery to make due again.
    #[must_use]
    pub fn reopen(mut self, reopen: Reopen) -> Self {
        self.reopens.push(reopen);
        self
    }
}

/// A dead delivery to make due again, with a new budget of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reopen {
    /// Which one.
    pub key: [u8; 16],
    /// The key it has from now on: the same, unless it is to be sent as new.
    pub new_key: [u8; 16],
    /// From when on it may be claimed.
    pub due_at_ms: i64,
    /// In which lane it waits.
    pub lane: Lane,
}

/// In which line a delivery waits for its destination. The number of a lane is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// It was not attempted yet, or a person replays it alone.
    First,
    /// An attempt has failed.
    Retry,
    /// It is one of many that are replayed together.
    Bulk,
}

impl Lane {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 3] = [Self::First, Self::Retry, Self::Bulk];

    /// Its number on disk, and its place in [`Lane::ALL`].
    #[must_use]
    pub fn number(self) -> usize {
        match self {
            Self::First => 0,
            Self::Retry => 1,
            Self::Bulk => 2,
        }
    }
}

/// What to lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Of which destination.
    pub destination: String,
    /// What is due by then, or whose lease ended by then.
    pub now_ms: i64,
    /// For how long.
    pub lease_ms: i64,
    /// What each lane, in the order of [`Lane::ALL`], may have before any has more than this.
    pub shares: [u32; 3],
    /// At most so many of a lane and of those behind it together; the first number is for all.
    pub limits: [u32; 3],
}

impl Claim {
    /// How many more a lane may have when so many of each were taken.
    #[must_use]
    pub fn room(&self, lane: Lane, taken: [u32; 3]) -> u32 {
        let with_those_behind =
            |(number, limit): (usize, &u32)| limit.saturating_sub(taken.iter().skip(number).sum());
        self.limits.iter().enumerate().take(lane.number() + 1).map(with_those_behind).min().unwrap_or(0)
    }
}

/// A delivery to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// Its constant key.
    pub key: [u8; 16],
    /// The submission it carries.
    pub submission: [u8; 16],
    /// Where to.
    pub destination: String,
    /// From when on it may be claimed.
    pub due_at_ms: i64,
}

/// Where a delivery is in its life. The number of a state is on disk, except that of a parked one: what waits is parked when
/// its destination is held, so that to hold a million deliveries is one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeliveryState {
    /// Waits until it is due.
    Due,
    /// Somebody attempts it under a lease.
    Leased,
    /// Waits, and its destination is held: paused, or its breaker is open. No row says so; whoever shows deliveries does.
    Parked,
    /// The destination has it.
    Delivered,
    /// Given up; kept for a replay.
    Dead,
    /// Not sent any more: the person has answered anew, and that submission goes in its place.
    Superseded,
}

impl DeliveryState {
    /// Its number on disk. Those below 2 are open; 2 stands in no row, and 5 is a node's own.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Due => 0,
            Self::Leased => 1,
            Self::Parked => 2,
            Self::Delivered => 3,
            Self::Dead => 4,
            Self::Superseded => 6,
        }
    }

    pub(super) fn from_number(number: i64) -> Option<Self> {
        [Self::Due, Self::Leased, Self::Delivered, Self::Dead, Self::Superseded]
            .into_iter()
            .find(|state| state.number() == number)
    }

    /// Its name in lists and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Leased => "in_flight",
            Self::Parked => "parked",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Superseded => "superseded",
        }
    }
}

/// A delivery as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its constant key.
    pub key: [u8; 16],
    /// The submission it carries.
    pub submission: [u8; 16],
    /// Where to.
    pub destination: String,
    /// Where it is in its life.
    pub state: DeliveryState,
    /// In which line it waits.
    pub lane: Lane,
    /// When it is due; while leased, when the lease ends; when settled for good, when that was.
    pub due_at_ms: i64,
    /// How often it was claimed in this budget of attempts, this claim included.
    pub attempt: u32,
    /// The fencing number of the newest lease; grows with every claim, never starts again.
    pub lease: u64,
    /// Claims in a row that nobody settled, this one included: the process died, or lost its lease.
    pub unsettled: u32,
    /// What the owner keeps about it.
    pub history: Vec<u8>,
}

/// How a lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// What becomes of the delivery.
    pub verdict: Verdict,
    /// Replaces what the owner keeps about it.
    pub history: Vec<u8>,
    /// Records to write in the same transaction.
    pub puts: Vec<Put>,
}

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The destination has it.
    Delivered {
        /// When that was.
        at_ms: i64,
    },
    /// It is to be attempted again: from now on in the lane of retries, unless it is one of many.
    Retry {
        /// From when on.
        due_at_ms: i64,
    },
    /// It is given back as if it had not been claimed: the attempt does not count.
    Release {
        /// From when on it may be claimed.
        due_at_ms: i64,
    },
    /// It is given up.
    Dead {
        /// When that was.
        at_ms: i64,
    },
    /// It is not sent any more, because another submission goes in its place. The attempt does not count.
    Superseded {
        /// When that was.
        at_ms: i64,
    },
}

/// What became of a wish to make a dead delivery due again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reopened {
    /// It is due.
    Due,
    /// It is not dead, so nothing was changed.
    NotDead(DeliveryState),
    /// There is no such delivery.
    Unknown,
}

/// Which records a scan reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// Only keys that begin with this.
    pub prefix: Vec<u8>,
    /// Go on behind this key (in the direction of the scan).
    pub after: Option<Vec<u8>>,
    /// From the last key to the first.
    pub descending: bool,
    /// At most so many.
    pub limit: u32,
}

/// Which deliveries a list reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Only of this submission.
    pub submission: Option<[u8; 16]>,
    /// Only to this destination.
    pub destination: Option<String>,
    /// Only in this state.
    pub state: Option<DeliveryState>,
}

/// The deliveries of one destination, counted by state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Which destination.
    pub destination: String,
    /// Waiting.
    pub due: u64,
    /// Under a lease.
    pub in_flight: u64,
    /// Done.
    pub delivered: u64,
    /// Given up.
    pub dead: u64,
    /// The oldest due time of those waiting.
    pub oldest_due_at_ms: Option<i64>,
}

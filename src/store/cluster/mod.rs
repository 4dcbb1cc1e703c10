//! The store of a node that shares its records with others: Redis, which has everything of all nodes, and a journal, which
//! has everything that this node wrote.
//!
//! Invariant: `Ok` means synced in the journal of this node, always; Redis was given the time to take the second copy. So
//! Redis may be down, restarted, failed over, emptied or put back to an old backup: what was acknowledged is offered to it
//! again, and what has ended or was deleted does not come back. The journal is the embedded store's file.
//!
//! | | |
//! | --- | --- |
//! | `node` | one operation: Redis, then the journal; or the journal alone |
//! | `link` | whether Redis is asked, and the versions a node gives while it is not |
//! | `adopt` | takes over what another node stored, before this one says that it is kept |
//! | `confirm` | has Redis sync what is acknowledged, where the configuration says so |
//! | `lost` | what a Redis that was emptied must not be believed |
//! | `look` | watches Redis, takes over what others changed, tells the time |
//! | `tell` | offers what Redis lacks |
//! | `whole` | what is done to all that any node has, or not at all |
//! | `held` | the leases of this node |
//!
//! Nodes of two releases may share one Redis. What another node has written and this one does not know is left as it is, and
//! taken into its journal where that is to have a copy: see `store::table`.
//!
//! It deliberately asks nothing of Redis but what `store::redis` offers, and knows no command of it.

mod adopt;
mod backend;
mod confirm;
mod held;
mod link;
mod look;
mod lost;
mod node;
mod tell;
mod time;
mod whole;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use self::held::Held;
use self::link::Link;
use self::look::Looking;
use self::node::{Node, Peers};
use self::tell::Telling;
pub use self::time::SharedTime;
use super::embedded::{Embedded, ID, OFFERED, PEERS};
use super::redis::{Acknowledge, OpenError as RedisOpenError, Options as RedisOptions, Redis};
use super::{AWAY_DAYS, Error, Table};

/// How patient a node is. The defaults are the promises; tests scale them.
#[derive(Debug, Clone)]
pub struct Pace {
    /// How long an acceptance or a read waits for Redis.
    pub commit: Duration,
    /// How long a worker waits for it.
    pub work: Duration,
    /// After so long without an answer nobody waits any more.
    pub down_after: Duration,
    /// After so long without an answer the node delivers also what it had entrusted to all.
    pub take_over_after: Duration,
    /// Between two looks at Redis.
    pub look_every: Duration,
    /// Between two comparisons of what was entrusted.
    pub reconcile_every: Duration,
    /// So many open deliveries, while Redis is out of reach, are the most that a node takes.
    pub most_open: u64,
    /// So many bytes its file may grow by meanwhile.
    pub most_bytes: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            commit: Duration::from_millis(250),
            work: Duration::from_secs(2),
            down_after: Duration::from_secs(5),
            take_over_after: Duration::from_secs(15 * 60),
            look_every: Duration::from_millis(500),
            reconcile_every: Duration::from_secs(10),
            most_open: 500_000,
            most_bytes: 1 << 30,
        }
    }
}

impl Pace {
    /// How long claims wait for other nodes to notice that Redis is another one, and for one that tells what has ended to say
    /// so again.
    fn peers(&self) -> Duration {
        self.look_every.saturating_mul(10).max(Duration::from_secs(5))
    }
}

/// Where a node's journal lives, and what it shares.
#[derive(Clone)]
pub struct SharedOptions {
    /// The journal: the data folder of this node alone.
    pub journal: super::Options,
    /// Redis.
    pub redis: RedisOptions,
    /// How patient the node is.
    pub pace: Pace,
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum SharedOpenError {
    /// Its journal.
    #[error(transparent)]
    Journal(#[from] super::OpenError),
    /// Redis is there and must not be used as it is.
    #[error("{0}")]
    Redis(RedisOpenError),
    /// The first start needs Redis: keys and settings that all nodes have in common are there.
    #[error(
        "Redis is out of reach, and this node has never been part of an installation, so it has no copy of the common keys: {0}"
    )]
    NeverJoined(String),
    /// What was deleted meanwhile is remembered by nobody any more, and this node would bring it back.
    #[error(
        "this node saw Redis {days} days ago, and what was erased is remembered for {kept}: it would bring that back. Start it with an empty data folder; what the old one has can be read with kind = \"embedded\" in [store]: formgate submissions export",
        kept = AWAY_DAYS
    )]
    Away {
        /// For so long it was away.
        days: i64,
    },
    /// The journal could not be read.
    #[error("the journal could not be read: {0}")]
    Read(#[from] Error),
}

/// The backend of a node.
pub(super) struct Cluster {
    node: Arc<Node>,
}

/// What a node does besides its operations; `app` runs it.
pub struct Tasks {
    node: Arc<Node>,
    options: RedisOptions,
    looking: Looking,
    telling: watch::Sender<Telling>,
}

impl Tasks {
    /// Keeps journal and Redis together until `stop` becomes true, then offers what is left, for a moment.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let told = self.telling.subscribe();
        let telling = tell::run(Arc::clone(&self.node), told, stop.clone());
        let looking = look::run(Arc::clone(&self.node), self.options, self.looking, self.telling, stop);
        tokio::join!(telling, looking);
        if let Some(redis) = self.node.redis.get().filter(|_| !self.node.link.is_down()) {
            let known = self.node.link.known();
            // What is not told now is told by the next process.
            let _left =
                tokio::time::timeout(self.node.pace.work, tell::outcomes(&self.node, redis, &known)).await;
        }
    }

    /// The time that all nodes have in common.
    #[must_use]
    pub fn time(&self) -> SharedTime {
        self.node.time.clone()
    }
}

impl Cluster {
    pub(super) async fn open(options: SharedOptions) -> Result<(Self, Tasks), SharedOpenError> {
        let SharedOptions { mut journal, redis: options, pace } = options;
        journal.journal = true;
        let opening = tokio::task::spawn_blocking(move || Embedded::open(&journal));
        let journal = opening.await.map_err(|_panic| Error::Unavailable)??;
        let id = node_id(&journal).await?;
        let known = journal.journal_get(PEERS).await?.and_then(|names| String::from_utf8(names).ok());
        let known = known.unwrap_or_default().lines().map(str::to_owned).collect();
        let peers = Peers { known, ..Peers::default() };
        let redis = OnceLock::new();
        match tokio::time::timeout(CONNECT, Redis::open(&options)).await {
            Ok(Ok(opened)) => drop(redis.set(opened)),
            Ok(Err(RedisOpenError::OutOfReach(reason))) => never_joined(&journal, reason).await?,
            Ok(Err(error)) => return Err(SharedOpenError::Redis(error)),
            Err(_elapsed) => never_joined(&journal, "it does not answer".to_owned()).await?,
        }
        let confirms = options.acknowledge != Acknowledge::Journal;
        let watched = Table::ALL.into_iter().filter(|table| table.is_configuration());
        let node = Arc::new(Node {
            id,
            journal,
            redis,
            link: Link::new(pace.down_after),
            held: Held::default(),
            time: SharedTime::new(),
            pace,
            confirms,
            watched: watched.map(|table| (table, watch::Sender::new(0))).collect::<HashMap<_, _>>(),
            full: AtomicBool::new(false),
            single_copy: AtomicU64::new(0),
            peers: Mutex::new(peers),
        });
        let (mut looking, telling) = (Looking::default(), watch::Sender::new(Telling::default()));
        // What the program reads first must not be older than what the others have.
        let is_up = look::look(&node, &mut looking, &telling).await;
        if let Some(days) = looking.away_days {
            return Err(SharedOpenError::Away { days });
        }
        if let Some(redis) = node.redis.get().filter(|_| is_up) {
            // Nor may what it makes, if it finds none, replace what this node has.
            if let Err(broken) = tell::configuration(&node, redis).await {
                node.link.missed(&broken.to_string());
            }
        } else {
            never_joined(&node.journal, "it does not do what it is asked".to_owned()).await?;
            tracing::error!("Redis is out of reach; this node begins alone");
        }
        let tasks = Tasks { node: Arc::clone(&node), options, looking, telling };
        Ok((Self { node }, tasks))
    }
}

/// Waits until the flag is raised, or whoever could raise it is gone.
async fn raised(flag: &mut watch::Receiver<bool>) {
    // The guard inside the result must not live across an await of the caller.
    drop(flag.wait_for(|raised| *raised).await);
}

/// How long a start waits for Redis.
const CONNECT: Duration = Duration::from_secs(5);

async fn never_joined(journal: &Embedded, reason: String) -> Result<(), SharedOpenError> {
    match journal.journal_get(OFFERED).await? {
        Some(_) => Ok(()),
        None => Err(SharedOpenError::NeverJoined(reason)),
    }
}

async fn node_id(journal: &Embedded) -> Result<String, Error> {
    if let Some(id) = journal.journal_get(ID).await?.and_then(|id| String::from_utf8(id).ok()) {
        return Ok(id);
    }
    let id = uuid::Uuid::new_v8(rand::random()).simple().to_string();
    journal.journal_set(ID, id.clone().into_bytes()).await?;
    Ok(id)
}

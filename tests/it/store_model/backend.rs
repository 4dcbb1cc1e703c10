//! The two kinds of store behind one face: both are opened, left, and lost in the same words.

use std::time::Duration;

use formgate::store::{Options, Pace, Store};
use tempfile::TempDir;

use crate::cluster::fixture::{self, Node, Redis};

/// Which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file of one process.
    Embedded,
    /// A node with its journal, and a Redis of its own.
    Shared,
    /// Two nodes, each with its journal, over one Redis.
    Two,
}

/// Runs each of these tests on both kinds of store; what they take is made by `$start`.
macro_rules! on_both {
    ($start:path; $($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $name() {
                super::$name($start($crate::store_model::backend::Kind::Embedded).await).await;
            })+
        }
        mod shared {
            $(#[tokio::test]
            async fn $name() {
                super::$name($start($crate::store_model::backend::Kind::Shared).await).await;
            })+
        }
    };
}

pub(crate) use on_both;

/// One that is open.
pub enum Backend {
    Embedded(Option<Embedded>),
    Shared(Box<Shared>),
}

/// A store and its folder.
pub struct Embedded {
    folder: TempDir,
    store: Store,
}

/// Nodes and their Redis.
pub struct Shared {
    redis: Redis,
    nodes: Vec<Option<Node>>,
}

impl Embedded {
    fn at(folder: TempDir) -> Self {
        let store = Store::open_embedded(&Options::new(folder.path())).expect("the store opens");
        Self { folder, store }
    }
}

impl Shared {
    async fn begin(&mut self, number: usize, folder: TempDir) {
        self.open(number, folder).await;
        self.told().await;
    }

    async fn open(&mut self, number: usize, folder: TempDir) {
        // What a comparison finds out, and when, no model can tell.
        let pace = Pace { reconcile_every: Duration::from_secs(3_600), ..fixture::pace() };
        let node = Node::at(folder, fixture::options(&self.redis, "{model}"), pace).await;
        self.nodes[number] = Some(node);
    }

    async fn told(&self) {
        for node in self.nodes.iter().flatten() {
            node.told().await;
        }
        // For so long nodes may hold claims back that have to tell what has ended.
        tokio::time::sleep(fixture::pace().look_every * 3).await;
    }
}

impl Backend {
    pub async fn start(kind: Kind) -> Self {
        let folder = || TempDir::new().expect("a folder");
        let nodes = match kind {
            Kind::Embedded => return Self::Embedded(Some(Embedded::at(folder()))),
            Kind::Shared => 1,
            Kind::Two => 2,
        };
        let nodes: Vec<_> = (0..nodes).map(|_| None).collect();
        let mut shared = Box::new(Shared { redis: Redis::start().await, nodes });
        for number in 0..shared.nodes.len() {
            shared.begin(number, folder()).await;
        }
        Self::Shared(shared)
    }

    pub fn store(&self) -> &Store {
        self.store_of(0)
    }

    /// That of this node; where there is only one it is that of all.
    pub fn store_of(&self, number: usize) -> &Store {
        match self {
            Self::Embedded(embedded) => &embedded.as_ref().expect("an open store").store,
            Self::Shared(shared) => {
                &shared.nodes[number % shared.nodes.len()].as_ref().expect("a node").store
            }
        }
    }

    /// What nodes share, if they do.
    pub fn redis(&self) -> Option<&Redis> {
        match self {
            Self::Embedded(_) => None,
            Self::Shared(shared) => Some(&shared.redis),
        }
    }

    /// Waits until others know what they have to.
    pub async fn told(&self) {
        if let Self::Shared(shared) = self {
            for node in shared.nodes.iter().flatten() {
                node.told().await;
            }
        }
    }

    /// The process ends well, and the next one opens what it left.
    pub async fn close_and_open(&mut self, number: usize) {
        match self {
            Self::Embedded(embedded) => {
                let Embedded { folder, store } = embedded.take().expect("an open store");
                store.close().await.expect("a clean close");
                *embedded = Some(Embedded::at(folder));
            }
            Self::Shared(shared) => {
                let number = number % shared.nodes.len();
                let folder = shared.nodes[number].take().expect("a node").leave().await;
                shared.begin(number, folder).await;
            }
        }
    }

    /// The process dies on the spot. The next one finds the files as they are, and no goodbye.
    pub async fn crash(&mut self, number: usize) {
        match self {
            Self::Embedded(embedded) => {
                let dead = embedded.take().expect("an open store");
                let folder = TempDir::new().expect("a folder");
                for file in ["store.sqlite3", "store.sqlite3-wal"] {
                    std::fs::copy(dead.folder.path().join(file), folder.path().join(file)).expect("a copy");
                }
                *embedded = Some(Embedded::at(folder));
            }
            Self::Shared(shared) => {
                let number = number % shared.nodes.len();
                let folder = shared.nodes[number].take().expect("a node").crash();
                shared.begin(number, folder).await;
            }
        }
    }

    /// Redis dies, and another process starts on its data, or on none. Where there is no Redis nothing happens.
    pub async fn redis_dies(&mut self, empty: bool) {
        self.redis_goes().await;
        self.redis_comes(empty).await;
    }

    /// Redis dies, and everybody has noticed it.
    pub async fn redis_goes(&mut self) {
        let Self::Shared(shared) = self else { return };
        shared.redis.kill();
        for node in shared.nodes.iter().flatten() {
            node.alone().await;
        }
    }

    /// Another process of Redis starts, on the data of the one that died, or on none.
    pub async fn redis_comes(&mut self, empty: bool) {
        let Self::Shared(shared) = self else { return };
        if empty {
            shared.redis.wipe();
        }
        shared.redis.restart().await;
        shared.told().await;
    }

    /// All nodes die at once, and Redis with them.
    pub async fn all_die(&mut self, redis_is_empty: bool) {
        let Self::Shared(shared) = self else { return self.crash(0).await };
        let dead: Vec<_> = shared.nodes.iter_mut().map(|node| node.take().expect("a node").crash()).collect();
        if redis_is_empty {
            shared.redis.wipe();
        }
        shared.redis.restart().await;
        for (number, folder) in dead.into_iter().enumerate() {
            shared.open(number, folder).await;
        }
        shared.told().await;
    }

    /// Waits until each node has heard what the others have changed.
    pub async fn heard(&self) {
        if let Self::Shared(_) = self {
            self.told().await;
            tokio::time::sleep(fixture::pace().look_every * 3).await;
        }
    }
}

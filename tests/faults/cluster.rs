//! Three nodes and the Redis that they share: real processes, on a network that can be cut and slowed down.
//!
//! | | |
//! | --- | --- |
//! | `nodes` | the scene: Redis, nodes, people, a destination |
//! | `proxy` | a piece of network |
//! | `diskless` | Redis loses what it has not synced, together with disks of nodes |
//! | `restarts` | Redis ends in every way and comes back, nodes are killed |
//! | `keys` | what Redis keeps is deleted under everybody's feet |
//! | `failover` | a replica becomes the primary |
//! | `partition` | one node is cut off, or Redis is gone for long |
//! | `limiter` | a destination that blocks whoever sends too fast, and one that is broken |
//! | `copies` | the same request, or the same person, on several nodes at once |
//! | `clock` | the clock of the machine that Redis is on is set |

mod clock;
mod copies;
mod diskless;
mod failover;
mod keys;
mod limiter;
mod nodes;
mod partition;
mod proxy;
mod restarts;
#[path = "../it/redis/server.rs"]
#[expect(dead_code, reason = "the tests of the store use the rest")]
#[expect(clippy::disallowed_methods, reason = "which server to start is the machine's affair")]
pub mod server;

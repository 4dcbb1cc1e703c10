//! Three nodes and the Redis that they share: real processes, each with a journal of its own.
//!
//! | | |
//! | --- | --- |
//! | `nodes` | the scene: Redis, nodes, people, a destination |
//! | `restarts` | Redis ends in every way and comes back, nodes are killed |
//! | `keys` | what Redis keeps is deleted under everybody's feet |

mod keys;
mod nodes;
mod restarts;
#[path = "../it/redis/server.rs"]
#[expect(dead_code, reason = "the tests of the store use the rest")]
#[expect(clippy::disallowed_methods, reason = "which server to start is the machine's affair")]
mod server;

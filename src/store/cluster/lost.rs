//! What a Redis that was emptied must not be believed: that there is no such submission.
//!
//! Invariant: such an answer counts only if Redis lacked nothing before it was asked, and is the same one afterwards. It may
//! have been emptied a moment ago, before anybody has looked.

use super::node::Node;
use crate::store::redis::{Error as RedisError, Redis};
use crate::store::{Error, Record, Table};

impl Node {
    /// Reads a submission that is neither here nor, as it seemed, there; [`Error::Busy`] if it cannot be said now that nobody
    /// has it. Who is told that there is none gives its delivery up.
    pub(super) async fn get_lost(&self, submission: &[u8]) -> Result<Option<Record>, Error> {
        // In this order: what is told to a later one is not taken for told to this one.
        let known = self.link.known();
        self.until_all_told().await?;
        let asked = self.read(self.pace.work, |redis| async move {
            match redis.get(Table::Submission, submission).await? {
                None => is_known(redis, &known).await.map(|()| None),
                record => Ok(record),
            }
        });
        asked.await?.ok_or(Error::Busy)
    }
}

/// Looks whether Redis is the one of this name.
async fn is_known(redis: &Redis, known: &str) -> Result<(), RedisError> {
    if redis.identity().await?.to_string() == known { Ok(()) } else { Err(RedisError::Another) }
}

//! Where the disk of a node may be gone with it: nothing is acknowledged before the shared copy has synced it.
//!
//! Invariant: a record is confirmed only if Redis has it and says that it is synced, whichever node wrote it and however it
//! came there. What was written here alone, because Redis was slow or another one, is offered first; the same goes for what
//! Redis has lost since. So what an acknowledgement that was refused leaves behind is delivered all the same, or found by the
//! repeat, and the repeat is confirmed like the first.
//!
//! It deliberately does not take back what could not be confirmed: the person was told nothing.

use std::time::{Duration, Instant};

use super::node::Node;
use super::tell;
use crate::fault;
use crate::store::redis::Redis;
use crate::store::{Error, Table};

/// How long it is offered what it lacks; whoever waits for the answer gives up earlier.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(20);

impl Node {
    /// Waits until Redis has synced these records.
    pub(super) async fn confirm(&self, records: Vec<(Table, Vec<u8>)>) -> Result<(), Error> {
        if fault::is_on("cluster.confirms_nothing") {
            return Ok(());
        }
        let give_up = Instant::now() + PATIENCE;
        loop {
            // Nobody waits for one that is known to be away.
            let Some(redis) = self.redis.get().filter(|_| !self.link.is_down()) else {
                return Err(Error::Busy);
            };
            match redis.confirm(&records).await {
                Ok(true) => {
                    self.link.confirms();
                    return Ok(());
                }
                Ok(false) if Instant::now() < give_up => {
                    self.offer_again(redis, &records).await;
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(false) => return Err(Error::Unconfirmed),
                Err(error) => {
                    self.link.confirms_not(&error.to_string());
                    self.link.trouble.notify_one();
                    return Err(Error::Unconfirmed);
                }
            }
        }
    }

    /// Whether an acknowledgement could be given.
    pub(super) fn could_confirm(&self) -> bool {
        !self.confirms || !(self.link.is_down() || self.link.is_in_doubt())
    }

    /// Finds out whether Redis confirms, after it did not, or before it was asked for the first time.
    pub(super) async fn try_to_confirm(&self, redis: &Redis) {
        if self.confirms && self.link.is_in_doubt() {
            match redis.confirm(&[]).await {
                Ok(_) => self.link.confirms(),
                Err(error) => self.link.confirms_not(&error.to_string()),
            }
        }
    }

    async fn offer_again(&self, redis: &Redis, records: &[(Table, Vec<u8>)]) {
        self.link.offer.notify_one();
        for (_, key) in records.iter().filter(|(table, _)| *table == Table::Submission) {
            let Ok(submission) = key.as_slice().try_into() else { continue };
            if let Err(broken) = tell::whole(self, redis, submission).await {
                self.link.missed(&broken.to_string());
            }
        }
    }
}

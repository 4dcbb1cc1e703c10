//! Takes a submission over from the shared copy before this node says again that it is kept.
//!
//! Invariant: what a node acknowledges is in its own journal, also if it only repeats what was acknowledged before. The node
//! that stored it may have died between the two writes, and then no journal has it. It asks nobody but the shared copy.

use super::node::Node;
use crate::fault;
use crate::store::embedded::Kept;
use crate::store::erasure::traced;
use crate::store::redis::{Error as RedisError, Redis};
use crate::store::{Backend as _, DeliveryFilter, Error, Put, Record, Scan, Table};

/// Records and deliveries of one submission: more than any has.
const ALL: u32 = 10_000;

impl Node {
    /// Has a copy of a submission in the journal; [`Error::Busy`] if it is in neither place that can be asked now.
    pub(super) async fn adopt(&self, submission: [u8; 16]) -> Result<(), Error> {
        let has_it = self.journal.get(Table::Submission, &submission).await?.is_some();
        if has_it || fault::is_on("cluster.adopts_nothing") {
            return Ok(());
        }
        let read = self.ask(self.pace.work, |redis| whole(redis, submission)).await?;
        let Some(whole) = read else { return Err(Error::Busy) };
        self.surely(|| self.journal.journal_adopt(whole.clone())).await
    }
}

/// Everything of one submission; nothing if there is none.
async fn whole(redis: &Redis, submission: [u8; 16]) -> Result<Vec<Kept>, RedisError> {
    let Some(body) = redis.get(Table::Submission, &submission).await? else { return Ok(vec![]) };
    let mut whole = vec![kept(Table::Submission, submission.to_vec(), body)];
    let scan = Scan { prefix: submission.to_vec(), after: None, descending: false, limit: ALL };
    for (trace, record) in redis.scan(Table::Trace, &scan).await? {
        let named = traced(&trace).and_then(|(table, key)| Some((Table::from_number(table)?, key.to_vec())));
        if let Some((table, key)) = named
            && let Some(record) = redis.get(table, &key).await?
        {
            whole.push(kept(table, key, record));
        }
        whole.push(kept(Table::Trace, trace, record));
    }
    let filter = DeliveryFilter { submission: Some(submission), ..DeliveryFilter::default() };
    let keys: Vec<_> =
        redis.deliveries(&filter, None, ALL).await?.iter().map(|delivery| delivery.key).collect();
    let states = redis.states(&keys).await?.into_iter().flatten();
    whole.extend(states.map(|(delivery, version)| Kept::Delivery { delivery, version: version.0 }));
    Ok(whole)
}

fn kept(table: Table, key: Vec<u8>, record: Record) -> Kept {
    let put = Put { table, key, value: record.value, expires_at_ms: record.expires_at_ms };
    Kept::Record { put, version: record.version.0 }
}

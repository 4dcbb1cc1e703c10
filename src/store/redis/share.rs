//! What nodes tell each other by Redis: rows that it lacks, changes, who is there, and how fast an account is sent to.

use super::code::{Answer, integer, malformed, optional_bytes, record, version};
use super::primary::Info;
use super::script::{
    CHANGES, Call, GIVE_TOKENS_BACK, IDENTITY, NODES, OFFER, REFILL, SLOW_DOWN, TAKE_TOKENS,
};
use super::{Error, Redis};
use crate::store::{Delivery, MAX_PATIENCE_MS, Put, Rate, Table, Tokens, Version};

/// Bytes that one call offers, unless one row alone has more.
const OFFERED_BYTES: usize = 1 << 20;
/// Rows that one call offers.
const OFFERED_ROWS: usize = 200;
/// A node that was silent for so long is not there.
const NODE_PATIENCE_MS: i64 = 30_000;

/// Something that Redis may lack. It is taken if it is newer than what is there, and not older than its tombstone.
#[derive(Debug, Clone)]
pub enum Row {
    /// One record.
    Record {
        /// The record.
        put: Put,
        /// Its version.
        version: i64,
    },
    /// Something that was deleted.
    Deleted {
        /// The number of its table; 0 is a delivery.
        table: i64,
        /// Its key.
        key: Vec<u8>,
        /// The version of the deletion.
        version: i64,
    },
    /// A submission with what belongs to it, so that no delivery is claimed before its body is there. Nothing of it is taken
    /// if the submission was erased.
    Submission {
        /// Its records, each with its version.
        records: Vec<(Put, i64)>,
        /// Its deliveries, each with its version.
        deliveries: Vec<(Delivery, i64)>,
    },
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It was taken, or a part of it was.
    Taken,
    /// What is there is as new, or newer.
    Known,
    /// It was deleted or erased, and stays so.
    Buried,
}

/// Something that was written or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A record that every node keeps a copy of.
    Record {
        /// Where to go on after it.
        at: i64,
        /// The record.
        put: Put,
        /// Its version.
        version: i64,
    },
    /// Anything that was deleted. A submission that was erased is here, too.
    Deleted {
        /// Where to go on after it.
        at: i64,
        /// The number of its table; 0 is a delivery.
        table: i64,
        /// Its key.
        key: Vec<u8>,
        /// The version of the deletion.
        version: i64,
    },
}

/// Which Redis it is: another epoch has lost its data, another run or history may have lost the last of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Random, as long as the data is the same.
    pub epoch: String,
    /// Of the server's process.
    pub run_id: String,
    /// Of the primary's history.
    pub master_replid: String,
}

impl std::fmt::Display for Identity {
    /// As a journal keeps it and scripts compare it.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {} {}", self.epoch, self.run_id, self.master_replid)
    }
}

impl Redis {
    /// Offers rows, in their order; an answer for each. Harmless however often it is done.
    pub async fn offer(&self, rows: &[Row]) -> Result<Vec<Offered>, Error> {
        let mut answers = Vec::with_capacity(rows.len());
        let mut rest = rows;
        while !rest.is_empty() {
            let (mut bytes, mut count) = (0, 0);
            while let Some(row) = rest.get(count) {
                bytes += size(row);
                if count > 0 && (bytes > OFFERED_BYTES || count >= OFFERED_ROWS) {
                    break;
                }
                count += 1;
            }
            let (page, behind) = rest.split_at(count);
            rest = behind;
            let newest = page.iter().map(newest).max().unwrap_or(0);
            let call = page.iter().fold(self.call(&OFFER).number(newest).count(page.len()), offered);
            let mut answer = Answer::new(self.run(&OFFER, call).await?)?;
            for _row in page {
                answers.push(offered_as(answer.integer()?));
            }
        }
        Ok(answers)
    }

    /// Offers what came of a lease that is perhaps no more. `None` if it is open and not there at all: it is not put into a
    /// queue before its submission is told.
    pub async fn offer_outcome(
        &self,
        delivery: &Delivery,
        version: Version,
    ) -> Result<Option<Offered>, Error> {
        let call = self.call(&OFFER).number(version.0).count(1).bytes("outcome");
        let mut answer = Answer::new(self.run(&OFFER, with_delivery(call, delivery, version.0)).await?)?;
        Ok(match answer.integer()? {
            -2 => None,
            answer => Some(offered_as(answer)),
        })
    }

    /// Configuration that was written, and everything that was deleted, after `after`, in order: at least `limit` if there are
    /// so many, and never a part of what one operation did.
    pub async fn changes(&self, after: i64, limit: u32) -> Result<Vec<Change>, Error> {
        let call = self.call(&CHANGES).number(after).number(limit.max(1).into());
        let mut answer = Answer::new(self.run(&CHANGES, call).await?)?;
        let mut changes = Vec::new();
        while !answer.is_over() {
            let (at, number, key) = (answer.integer()?, answer.integer()?, answer.bytes()?);
            let (packed, is_deleted) = (answer.bytes()?, answer.integer()? == 1);
            if is_deleted {
                changes.push(Change::Deleted { at, table: number, key, version: version(&packed)? });
            } else {
                // What the log has of a table that only a later release knows is everybody's.
                let table = Table::of(number, true).ok_or_else(malformed)?;
                let found = record(&packed)?;
                let put = Put { table, key, value: found.value, expires_at_ms: found.expires_at_ms };
                changes.push(Change::Record { at, put, version: found.version.0 });
            }
        }
        Ok(changes)
    }

    /// Which Redis it is; one without a name gets one.
    pub async fn identity(&self) -> Result<Identity, Error> {
        let name = format!("{:032x}", rand::random::<u128>());
        let named = self.run(&IDENTITY, self.call(&IDENTITY).bytes(name)).await?;
        let epoch = optional_bytes(named)?.and_then(|name| String::from_utf8(name).ok());
        let info = Info::new(self.line.ask(redis::cmd("INFO").arg("everything")).await?);
        let field = |name: &str| info.get(name).map(str::to_owned).ok_or_else(malformed);
        Ok(Identity {
            epoch: epoch.ok_or_else(malformed)?,
            run_id: field("run_id")?,
            master_replid: field("master_replid")?,
        })
    }

    /// Holds all claims back until then, by the server's time, while this node tells what it knows. All nodes together hold
    /// them for 30 s at most of this one, as [`Identity`] writes it; then they have to wait 5 minutes.
    pub async fn begin_refill(&self, node: &str, until_ms: i64, identity: &str) -> Result<(), Error> {
        let call = self.call(&REFILL).bytes(node).number(until_ms).bytes(identity);
        self.run(&REFILL, call).await.map(drop)
    }

    /// Holds claims back no longer.
    pub async fn end_refill(&self, node: &str) -> Result<(), Error> {
        self.run(&REFILL, self.call(&REFILL).bytes(node).bytes("")).await.map(drop)
    }

    /// Says that a node is there.
    pub async fn heartbeat(&self, node: &str) -> Result<(), Error> {
        self.run(&NODES, self.call(&NODES).bytes(node).number(NODE_PATIENCE_MS)).await.map(drop)
    }

    /// The nodes that said so in the last 30 s.
    pub async fn nodes(&self) -> Result<Vec<String>, Error> {
        let mut answer =
            Answer::new(self.run(&NODES, self.call(&NODES).bytes("").number(NODE_PATIENCE_MS)).await?)?;
        let mut nodes = Vec::new();
        while !answer.is_over() {
            nodes.push(answer.text()?);
        }
        Ok(nodes)
    }

    /// Takes up to `wanted` tokens from the bucket of an account, for all nodes together.
    pub async fn take_tokens(
        &self,
        account: &str,
        rate: Option<Rate>,
        wanted: u32,
        now_ms: i64,
    ) -> Result<Tokens, Error> {
        let call = bucket(self.call(&TAKE_TOKENS), account, rate).number(wanted.into()).number(now_ms);
        let mut answer = Answer::new(self.run(&TAKE_TOKENS, call).await?)?;
        let granted = u32::try_from(answer.integer()?).map_err(|_negative| malformed())?;
        Ok(Tokens { granted, next_at_ms: answer.integer()? })
    }

    /// Puts tokens back with which nothing was begun.
    pub async fn give_tokens_back(
        &self,
        account: &str,
        rate: Option<Rate>,
        unused: u32,
    ) -> Result<(), Error> {
        let call = bucket(self.call(&GIVE_TOKENS_BACK), account, rate).number(unused.into());
        integer(&self.run(&GIVE_TOKENS_BACK, call).await?).map(drop)
    }

    /// Empties the bucket of an account until this time, [`MAX_PATIENCE_MS`] from now at most.
    pub async fn slow_down(
        &self,
        account: &str,
        rate: Option<Rate>,
        until_ms: i64,
        now_ms: i64,
    ) -> Result<(), Error> {
        let until_ms = until_ms.clamp(now_ms, now_ms.saturating_add(MAX_PATIENCE_MS));
        let call = bucket(self.call(&SLOW_DOWN), account, rate).number(until_ms);
        integer(&self.run(&SLOW_DOWN, call).await?).map(drop)
    }
}

/// Which bucket: its account, how long a token takes to come (0: there is no limit), how many there are at most.
fn bucket(call: Call, account: &str, rate: Option<Rate>) -> Call {
    let (every_us, burst) = rate.map_or((0, 0), |rate| (rate.every_us(), rate.burst.get()));
    call.bytes(account).number(every_us).number(burst.into())
}

fn size(row: &Row) -> usize {
    let put = |put: &Put| put.key.len() + put.value.len();
    match row {
        Row::Record { put: one, .. } => put(one),
        Row::Deleted { key, .. } => key.len(),
        Row::Submission { records, deliveries } => {
            let records: usize = records.iter().map(|(one, _)| put(one)).sum();
            records + deliveries.iter().map(|(delivery, _)| 100 + delivery.history.len()).sum::<usize>()
        }
    }
}

fn newest(row: &Row) -> i64 {
    match row {
        Row::Record { version, .. } | Row::Deleted { version, .. } => *version,
        Row::Submission { records, deliveries } => {
            let records = records.iter().map(|(_, version)| *version);
            records.chain(deliveries.iter().map(|(_, version)| *version)).max().unwrap_or(0)
        }
    }
}

fn offered(call: Call, row: &Row) -> Call {
    match row {
        Row::Record { put, version } => call.bytes("record").put(put).number(*version),
        Row::Deleted { table, key, version } => {
            call.bytes("deleted").number(*table).bytes(key).number(*version)
        }
        Row::Submission { records, deliveries } => {
            let mut call = call.bytes("submission").count(records.len());
            for (put, version) in records {
                call = call.put(put).number(*version);
            }
            call = call.count(deliveries.len());
            deliveries.iter().fold(call, |call, (delivery, version)| with_delivery(call, delivery, *version))
        }
    }
}

fn with_delivery(call: Call, delivery: &Delivery, version: i64) -> Call {
    let call = call.bytes(delivery.key).bytes(delivery.submission).number(delivery.state.number());
    let call = call.count(delivery.lane.number()).number(delivery.due_at_ms);
    let call = call.number(delivery.attempt.into()).number(super::signed(delivery.lease));
    let call = call.number(delivery.unsettled.into()).bytes(&delivery.destination);
    call.bytes(&delivery.history).number(version)
}

fn offered_as(answer: i64) -> Offered {
    match answer {
        1 => Offered::Taken,
        0 => Offered::Known,
        _ => Offered::Buried,
    }
}

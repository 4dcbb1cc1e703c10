//! The words of erasing: one submission with everything that a trace names, in one transaction.
//!
//! Whoever writes a record about a submission (its place in a list, its kept replies, the hashes it is found by) writes a
//! trace with it, in the same batch. Erasing follows the traces, so nothing has to be searched for, and nothing is missed
//! because two programs disagree on what belongs to a submission.
//!
//! Where nodes share a store, one tombstone keeps a submission, its deliveries and all records whose keys name it
//! ([`is_named_by`]) from coming back. Any other record has a tombstone of its own.

use super::{DeliveryState, Put, Table};

/// A record that says "this other record is about this submission".
#[must_use]
pub fn trace(submission: [u8; 16], table: Table, key: &[u8]) -> Put {
    Put::new(Table::Trace, trace_key(submission, table, key), [])
}

/// The key of a trace: the submission, the number of the table, the record's key.
pub(super) fn trace_key(submission: [u8; 16], table: Table, key: &[u8]) -> Vec<u8> {
    let table = u8::try_from(table.number()).unwrap_or(u8::MAX);
    [submission.as_slice(), &[table], key].concat()
}

/// The table number and the key of the record that a trace names.
pub(super) fn traced(trace: &[u8]) -> Option<(i64, &[u8])> {
    let (_submission, rest) = trace.split_first_chunk::<16>()?;
    let (table, key) = rest.split_first()?;
    Some((i64::from(*table), key))
}

/// Whether the key of a record (of a delivery: table 0) names the submission that it belongs to, so that its tombstone is
/// that of the submission. `common.lua` knows the same keys.
pub(super) fn is_named_by(submission: &[u8], table: i64, key: &[u8]) -> bool {
    table == 0 || owner(table, key).is_some_and(|owner| owner == submission)
}

/// The submission that the key of a record about it names, if it does.
pub(super) fn owner(table: i64, key: &[u8]) -> Option<&[u8; 16]> {
    let is_of = |named: Table| table == named.number();
    match key.len() {
        24 if is_of(Table::Timeline) => key.last_chunk(),
        48 if is_of(Table::Person) => key.last_chunk(),
        16 if is_of(Table::File) => key.first_chunk(),
        17.. if is_of(Table::Trace) => key.first_chunk(),
        _ => None,
    }
}

/// What to erase, and when it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// The submission.
    pub submission: [u8; 16],
    /// Only if every delivery of it was settled early enough; `None` erases in any state.
    pub settled: Option<Settled>,
    /// Until when it stays known that there was one, so that a late repeat is not taken for something new.
    pub forget_at_ms: i64,
    /// Records to delete besides those that have a trace.
    pub deletes: Vec<(Table, Vec<u8>)>,
    /// Records to write in the same transaction, if it is done.
    pub puts: Vec<Put>,
}

/// How long ago the deliveries must have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Those that were delivered or superseded: at this time or earlier.
    pub delivered_by_ms: i64,
    /// Those that were given up: at this time or earlier.
    pub dead_by_ms: i64,
}

/// Whether the shared copy's log still has what was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrite {
    /// It has nothing of it, or there is no shared copy.
    Done,
    /// It is being written anew without it.
    Begun,
    /// It cannot be written anew now: to be asked again.
    Later,
    /// The server does not do it for us.
    Refused,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erased {
    /// It is gone.
    Done {
        /// Where each delivery of it stood.
        deliveries: Vec<(String, DeliveryState)>,
    },
    /// A delivery is open, or was settled too late; nothing was changed.
    NotSettled,
}

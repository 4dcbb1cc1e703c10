//! The kinds of records, the same for every backend.
//!
//! Nodes of two releases share a store while an installation is upgraded, and a file goes back to the release before when an
//! upgrade is taken back. Invariant: what a release does not know is left as it is. It reads no record of a table that only a
//! later one has ([`Table::Later`]), but what it keeps copies of it keeps with these: a journal takes over such records
//! where they are everybody's, has those that belong to a submission it takes over, and tells a Redis that was emptied all of them;
//! what is erased goes by its traces, whatever table it is in. The same holds for columns, tables and indexes of the file,
//! keys of Redis, and deliveries in a state or a lane that are not known here.
//!
//! So a release may add a table, a field behind those that a record has, or an addition to the file. It must not change what
//! the one before reads, nor write a delivery in a new state, before that one knows it.

/// A kind of record. The number of a table is on disk: never change or reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Submission id → sealed submission.
    Submission,
    /// Time of acceptance and submission id → what a list shows; the order in which submissions came.
    Timeline,
    /// Envelope hash → the closing reply that was given, for 24 h.
    Reply,
    /// Time and random id → audit event.
    Audit,
    /// Flow and version → compiled flow.
    FlowVersion,
    /// Walk → the first submission that closed it.
    Walk,
    /// Sealed key material and credentials.
    Secret,
    /// Anything with a name of which there is one.
    Setting,
    /// Destination → why it is paused. While there is a record, nothing of that destination is claimed.
    Pause,
    /// Destination → its open circuit breaker.
    Breaker,
    /// Id of a replay by filter → how far it has come.
    Replay,
    /// Number in the audit chain → link.
    AuditLink,
    /// Keyed hash of what a person is found by, and submission id → nothing.
    Person,
    /// Submission id and a record about it → nothing.
    Trace,
    /// Flow → the definition it is made from, as its tool gave it.
    Definition,
    /// Message or submission that Meta's webhook has confirmed → when.
    Witness,
    /// Keyed hash of a person, and a flow → the newest submission of that person there.
    Answered,
    /// Keyed hash of a flow token → when it was revoked.
    Revoked,
    /// Id of a token of the management API → what it may do, and its hash.
    ApiToken,
    /// Connection → whose account it is and how it stands; its tokens are in [`Table::Secret`].
    Connection,
    /// What a connecting browser or a renewing node holds for some minutes.
    Connecting,
    /// Job id → work that was begun and must be ended, also by the next process.
    Job,
    /// Submission id → what became of its files, sealed.
    File,
    /// Walk → when it began, for a day.
    Opening,
    /// Cause → since when it stands, and whom that was told.
    Alert,
    /// One that only a later release knows.
    Later(Later),
}

/// A table that only a later release knows: nothing here asks for its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Later {
    number: u8,
    everywhere: bool,
}

impl Table {
    /// All that this release knows.
    pub(super) const ALL: [Self; 25] = [
        Self::Submission,
        Self::Timeline,
        Self::Reply,
        Self::Audit,
        Self::FlowVersion,
        Self::Walk,
        Self::Secret,
        Self::Setting,
        Self::Definition,
        Self::ApiToken,
        Self::Connection,
        Self::Connecting,
        Self::Pause,
        Self::Breaker,
        Self::Replay,
        Self::AuditLink,
        Self::Person,
        Self::Trace,
        Self::Job,
        Self::File,
        Self::Witness,
        Self::Answered,
        Self::Revoked,
        Self::Opening,
        Self::Alert,
    ];

    /// Its number on disk.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Submission => 1,
            Self::Timeline => 2,
            Self::Reply => 3,
            Self::Audit => 4,
            Self::FlowVersion => 5,
            Self::Walk => 6,
            Self::Secret => 7,
            Self::Setting => 8,
            Self::Definition => 24,
            Self::ApiToken => 25,
            Self::Connection => 27,
            Self::Connecting => 28,
            Self::Pause => 16,
            Self::Breaker => 17,
            Self::Replay => 18,
            Self::AuditLink => 9,
            Self::Person => 10,
            Self::Trace => 11,
            Self::Job => 12,
            Self::File => 26,
            Self::Witness => 30,
            Self::Answered => 19,
            Self::Revoked => 20,
            Self::Opening => 31,
            Self::Alert => 32,
            Self::Later(later) => i64::from(later.number),
        }
    }

    /// The table of this number. If only a later release knows it, `everywhere` says whether every node keeps a copy of it.
    /// `None` for a number that no table has: traces and Redis write it as one byte, and 0 is a delivery.
    pub(super) fn of(number: i64, everywhere: bool) -> Option<Self> {
        let known = Self::ALL.into_iter().find(|table| table.number() == number);
        let later = || {
            let number = u8::try_from(number).ok().filter(|number| *number > 0)?;
            Some(Self::Later(Later { number, everywhere }))
        };
        known.or_else(later)
    }

    /// Whether only a later release knows it.
    pub(super) fn is_later(self) -> bool {
        matches!(self, Self::Later(_))
    }

    /// Whether nodes that share a store have it in common. Every node chains its own audit trail.
    pub(super) fn is_shared(self) -> bool {
        self != Self::AuditLink
    }

    /// Whether every node that shares a store keeps a copy of it, whoever wrote it: without it none could go on alone.
    pub(super) fn is_configuration(self) -> bool {
        use Table::{
            Alert, ApiToken, Breaker, Connection, Definition, FlowVersion, Job, Pause, Replay, Revoked,
            Secret, Setting,
        };
        if let Self::Later(later) = self {
            return later.everywhere;
        }
        matches!(
            self,
            Alert
                | ApiToken
                | Connection
                | Definition
                | FlowVersion
                | Secret
                | Setting
                | Pause
                | Breaker
                | Job
                | Replay
                | Revoked
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_found_by_its_number() {
        let numbered = include_str!("table.rs").lines().filter(|line| {
            let arm = line.trim().strip_prefix("Self::").and_then(|line| line.split_once(" => "));
            arm.is_some_and(|(_, number)| number.trim_end_matches(',').parse::<i64>().is_ok())
        });
        assert_eq!(numbered.count(), Table::ALL.len(), "a new table belongs to ALL");
        for table in Table::ALL {
            assert_eq!(Table::of(table.number(), !table.is_configuration()), Some(table));
            assert!((1..256).contains(&table.number()), "it is written as one byte");
        }
        for number in [0, -1, 256] {
            assert_eq!(Table::of(number, true), None, "{number}");
        }
        let later = Table::of(250, true).expect("a later release may have it");
        assert_eq!((later.number(), later.is_shared(), later.is_configuration()), (250, true, true));
        assert!(Table::of(250, false).is_some_and(|later| !later.is_configuration()));
    }
}

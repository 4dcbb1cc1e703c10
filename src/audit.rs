//! The audit trail: who did what to which thing, when, and with what outcome.
//!
//! Invariant: an event is written in the batch of the change it tells of, so there is no change without its event and no
//! event without its change. Events are only ever added. They name things by id and hold no answer, phone number or token.
//!
//! The store chains them ([`Mac`]); [`verify`] finds the first one that was changed, deleted, moved or cut off. What it
//! cannot find is a whole file that was put back to an earlier state: for that, keep what it prints elsewhere.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::{self, Head, Mac, Put, Scan, Store, Table};

/// Records read at one time.
const PAGE: u32 = 1_000;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in Unix milliseconds.
    pub at_ms: i64,
    /// Who: a user of the console, `cli`, or the part of the program that did it by itself.
    pub actor: String,
    /// What, as `thing.verb`, for example `submission.accepted`.
    pub action: String,
    /// The id of what it was done to.
    pub subject: String,
    /// With what outcome: `ok`, or a short constant reason.
    pub outcome: String,
}

impl Event {
    /// An event that went well.
    pub fn ok(at_ms: i64, actor: &str, action: &str, subject: impl ToString) -> Self {
        Self::with_outcome(at_ms, actor, action, subject, "ok")
    }

    /// An event with its outcome.
    pub fn with_outcome(
        at_ms: i64,
        actor: &str,
        action: &str,
        subject: impl ToString,
        outcome: &str,
    ) -> Self {
        Self {
            at_ms,
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: subject.to_string(),
            outcome: outcome.to_owned(),
        }
    }

    /// The record that adds this event to the trail. Its key sorts by time, and is random behind it: two nodes never
    /// overwrite each other's events.
    #[must_use]
    pub fn put(&self) -> Put {
        let mut key = self.at_ms.to_be_bytes().to_vec();
        key.extend_from_slice(Uuid::from_u128(rand::random()).as_bytes());
        let value = serde_json::to_vec(self).expect("strings and a number always serialise");
        Put::new(Table::Audit, key, value)
    }

    /// Reads an event back; `None` for bytes that are none.
    #[must_use]
    pub fn from_record(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }
}

/// The newest events, the newest first.
///
/// # Errors
/// When the store cannot be read.
pub async fn newest(store: &Store, limit: u32) -> Result<Vec<Event>, store::Error> {
    let (mut events, mut after, mut left) = (Vec::new(), None, limit);
    while left > 0 {
        let page_limit = left.min(PAGE);
        let scan = Scan { after, descending: true, limit: page_limit, ..Scan::default() };
        let page = store.scan(Table::Audit, scan).await?;
        let ended = page.len() < page_limit as usize;
        after = page.last().map(|(key, _)| key.clone());
        events.extend(page.iter().filter_map(|(_, record)| Event::from_record(&record.value)));
        if ended {
            break;
        }
        left -= page_limit;
    }
    Ok(events)
}

/// What is wrong with the trail, at the first place where something is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The record is not what was written, or not where it was written.
    #[error("entry {number} was changed or moved ({event})")]
    Changed {
        /// Which one.
        number: u64,
        /// What it says now.
        event: String,
    },
    /// The record was deleted.
    #[error("entry {number} was deleted")]
    Deleted {
        /// Which one.
        number: u64,
    },
    /// The end was cut off.
    #[error("the entries from {first} to {last} were cut off")]
    CutOff {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// Nothing says where the chain ends.
    #[error(
        "the head of the chain is gone or was not written by this installation; entries behind {number} may be missing"
    )]
    NoHead {
        /// The last entry that is there.
        number: u64,
    },
    /// An event is not in the chain.
    #[error("an event is not in the chain: an older release has written it, or somebody else ({event})")]
    Unchained {
        /// What it says.
        event: String,
    },
}

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Entries of the chain that are as they were written, up to the first that is not.
    pub entries: u64,
    /// The tag of the last of them: whoever keeps it elsewhere can tell later that nothing before it was taken back.
    pub tag: [u8; 32],
    /// Events from before the chain was begun, which nothing protects.
    pub older: u64,
    /// The first thing that is wrong.
    pub broken: Option<Broken>,
}

/// Goes through the whole trail. Events that are added meanwhile do no harm.
///
/// # Errors
/// When the store cannot be read.
pub async fn verify(store: &Store, mac: Arc<dyn Mac>) -> Result<Verified, store::Error> {
    // In this order: what is written later is behind the head, and has its link when its record is there.
    let head = store.chain_head(Arc::clone(&mac)).await?;
    let mut unchained = keys(store).await?;
    let (mut last, mut first_key) = (Head::NONE, None);
    let broken = loop {
        let page = store.trail(last.number, PAGE).await?;
        let ended = page.len() < PAGE as usize;
        let mut found = None;
        for link in page {
            let expected = last.number.saturating_add(1);
            let Some(value) = link.value.filter(|_| link.number == expected) else {
                found = Some(Broken::Deleted { number: expected });
                break;
            };
            let next = last.next(&*mac, &link.key, &value);
            if next.tag.as_slice() != link.tag
                || head.is_some_and(|head| head.number == expected && head != next)
            {
                found = Some(Broken::Changed { number: expected, event: told(&value) });
                break;
            }
            unchained.remove(&link.key);
            first_key.get_or_insert(link.key);
            last = next;
        }
        if found.is_some() || ended {
            break found;
        }
    };
    let broken = broken.or(match head {
        None => Some(Broken::NoHead { number: last.number }),
        Some(head) if head.number > last.number => {
            Some(Broken::CutOff { first: last.number.saturating_add(1), last: head.number })
        }
        Some(_) => None,
    });
    let is_older = |key: &&Vec<u8>| first_key.as_ref().is_none_or(|first| *key < first);
    let older = unchained.iter().filter(is_older).count() as u64;
    let broken = match (broken, unchained.iter().filter(|key| !is_older(key)).min()) {
        (None, Some(key)) => {
            let record = store.get(Table::Audit, key).await?;
            let event = record.map(|record| told(&record.value)).unwrap_or_default();
            Some(Broken::Unchained { event })
        }
        (broken, _) => broken,
    };
    Ok(Verified { entries: last.number, tag: last.tag, older, broken })
}

/// The keys of all events that the chain is over: where nodes share a store, each has its own chain over its own events.
async fn keys(store: &Store) -> Result<HashSet<Vec<u8>>, store::Error> {
    let (mut keys, mut after) = (HashSet::new(), None);
    loop {
        let page = store.own_audit(Scan { after, limit: PAGE, ..Scan::default() }).await?;
        let ended = page.len() < PAGE as usize;
        after = page.last().map(|(key, _)| key.clone());
        keys.extend(page.into_iter().map(|(key, _)| key));
        if ended {
            return Ok(keys);
        }
    }
}

/// An event in a few words.
fn told(value: &[u8]) -> String {
    match Event::from_record(value) {
        Some(event) => {
            let at = jiff::Timestamp::from_millisecond(event.at_ms).unwrap_or_default();
            format!("{at:.0} {} {} {}", event.actor, event.action, event.subject)
        }
        None => "no event can be read there".to_owned(),
    }
}

//! The audit trail: who did what to which thing, when, and with what outcome.
//!
//! Invariant: an event is written in the batch of the change it tells of, so there is no change without its event and no
//! event without its change. Events are only ever added. They name things by id and hold no answer, phone number or token.
//!
//! The store chains them ([`Mac`]); [`verify`] finds the first one that was changed, deleted, moved or cut off. What it
//! cannot find is a whole file that was put back to an earlier state: for that, keep what it prints elsewhere.
//!
//! They are kept for a set time ([`trim`]); the chain then says where it begins.

use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::{self, Head, Mac, Put, Scan, Store, Table};

/// Records read, or deleted, at one time.
const PAGE: u32 = 1_000;
/// Keys of events that are held in memory at one time.
const HELD: u64 = 50_000;
/// How often a verification begins anew because the oldest events were deleted meanwhile.
const MAX_TRIES: u32 = 4;

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
    /// Entries before the first that is there: they were deleted when their time was over.
    pub trimmed: u64,
    /// Entries of the chain that are there and as they were written, up to the first that is not.
    pub entries: u64,
    /// The tag of the last of them: whoever keeps it elsewhere can tell later that nothing before it was taken back.
    pub tag: [u8; 32],
    /// Events from before the chain was begun, which nothing protects.
    pub older: u64,
    /// The first thing that is wrong.
    pub broken: Option<Broken>,
}

/// Deletes the events from before this time; says how many. Where nodes share a store, each does so for its own trail, and
/// for what all share.
///
/// # Errors
/// When the store is busy, or cannot be written.
pub async fn trim(store: &Store, before_ms: i64) -> Result<u64, store::Error> {
    let mut trimmed = 0;
    loop {
        let now = store.trim_audit(before_ms.to_be_bytes().to_vec(), PAGE).await?;
        trimmed += now;
        if now < PAGE.into() {
            return Ok(trimmed);
        }
    }
}

/// Goes through the whole trail, in memory that does not grow with it. Events that are added meanwhile do no harm.
///
/// # Errors
/// When the store cannot be read.
pub async fn verify(store: &Store, mac: Arc<dyn Mac>) -> Result<Verified, store::Error> {
    for _ in 1..MAX_TRIES {
        let start = store.chain_start(Arc::clone(&mac)).await?;
        let verified = verify_from(store, &mac, start).await?;
        // What was deleted on time while it was gone through is not missing.
        if verified.broken.is_none() || store.chain_start(Arc::clone(&mac)).await? == start {
            return Ok(verified);
        }
    }
    let start = store.chain_start(Arc::clone(&mac)).await?;
    verify_from(store, &mac, start).await
}

async fn verify_from(
    store: &Store,
    mac: &Arc<dyn Mac>,
    start: Option<Head>,
) -> Result<Verified, store::Error> {
    // In this order: what is written later is behind the head, and behind the newest event.
    let head = store.chain_head(Arc::clone(mac)).await?;
    let newest = Scan { descending: true, limit: 1, ..Scan::default() };
    let newest = store.own_audit(newest).await?.pop().map(|(key, _)| key).unwrap_or_default();
    let start = start.unwrap_or(Head::NONE);
    let (mut last, mut first) = (start, None::<Vec<u8>>);
    // Entries with keys before the first one's, and with later ones up to the newest.
    let (mut before, mut chained) = (0_u64, 0_u64);
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
            let next = last.next(&**mac, &link.key, &value);
            if next.tag.as_slice() != link.tag
                || head.is_some_and(|head| head.number == expected && head != next)
            {
                found = Some(Broken::Changed { number: expected, event: told(&value) });
                break;
            }
            if link.key < *first.get_or_insert_with(|| link.key.clone()) {
                before += 1;
            } else if link.key <= newest {
                chained += 1;
            }
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
    let (mut older, mut events) = (0_u64, 0_u64);
    each_event(store, |key| {
        if first.as_ref().is_none_or(|first| key < first) {
            older += 1;
        } else if *key <= newest {
            events += 1;
        }
    })
    .await?;
    // Each entry of the chain was found with its event: if there are no more events than entries, there is none without.
    let broken = match (broken, &first) {
        (None, Some(first)) if events != chained => unchained(store, start, (first, &newest), events).await?,
        (broken, _) => broken,
    };
    Ok(Verified {
        trimmed: start.number,
        entries: last.number.saturating_sub(start.number),
        tag: last.tag,
        older: older.saturating_sub(before),
        broken,
    })
}

/// The oldest event of so many between two keys that is not in the chain; only some are held at a time.
async fn unchained(
    store: &Store,
    start: Head,
    (first, newest): (&Vec<u8>, &Vec<u8>),
    events: u64,
) -> Result<Option<Broken>, store::Error> {
    let parts = events / HELD + 1;
    // Keys end in random bytes.
    let part_of = |key: &[u8]| key.last_chunk::<8>().map_or(0, |end| u64::from_be_bytes(*end) % parts);
    let mut oldest: Option<Vec<u8>> = None;
    for part in 0..parts {
        let mut left = HashSet::new();
        // Before their links: what is written later has its link when it is here.
        each_event(store, |key| {
            if key >= first && key <= newest && part_of(key) == part {
                left.insert(key.clone());
            }
        })
        .await?;
        let mut last = start.number;
        loop {
            let page = store.trail(last, PAGE).await?;
            for link in &page {
                left.remove(&link.key);
                last = link.number;
            }
            if page.len() < PAGE as usize {
                break;
            }
        }
        oldest = left.into_iter().chain(oldest).min();
    }
    let Some(key) = oldest else { return Ok(None) };
    let record = store.get(Table::Audit, &key).await?;
    let event = record.map(|record| told(&record.value)).unwrap_or_default();
    Ok(Some(Broken::Unchained { event }))
}

/// Goes through the keys of all events that the chain is over: where nodes share a store, each has its own chain over its own
/// events.
async fn each_event(store: &Store, mut see: impl FnMut(&Vec<u8>)) -> Result<(), store::Error> {
    let mut after = None;
    loop {
        let page = store.own_audit(Scan { after, limit: PAGE, ..Scan::default() }).await?;
        let ended = page.len() < PAGE as usize;
        page.iter().for_each(|(key, _)| see(key));
        after = page.into_iter().last().map(|(key, _)| key);
        if ended {
            return Ok(());
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

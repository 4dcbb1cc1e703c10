//! Looking into the outbox: lists, one submission, export.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::destination::MAYBE_TWICE;
use super::history::{Attempt, History};
use super::hold::Holds;
use super::ids::{DeliveryKey, SubmissionId};
use super::submission::Submission;
use super::{Error, Outbox};
use crate::store::{self, Delivery, DeliveryFilter, DeliveryState, Put, QueueDepth, Scan, Table};

/// Entries looked at for one page, so that a rare filter over a long list does not read all of it in one go.
const MAX_SCANNED: u32 = 1_000;
/// Why a delivery is dead of which nothing is kept: the store has quarantined it.
const DAMAGED: &str = "quarantined: its record was damaged";
/// Destinations a submission can have.
const MAX_DELIVERIES: u32 = 1_000;

/// Which submissions a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this flow.
    pub flow_id: Option<String>,
    /// Only those with a delivery in this state.
    pub state: Option<DeliveryState>,
    /// Only those accepted at this time or later.
    pub since_ms: Option<i64>,
}

/// Where a page ends and the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub(super) accepted_at_ms: i64,
    pub(super) id: SubmissionId,
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.accepted_at_ms, self.id)
    }
}

/// The text is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cursor that a list has given")]
pub struct InvalidCursor;

impl std::str::FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (at, id) = text.split_once('.').ok_or(InvalidCursor)?;
        let accepted_at_ms = at.parse().map_err(|_invalid| InvalidCursor)?;
        Ok(Self { accepted_at_ms, id: id.parse().map_err(|_invalid| InvalidCursor)? })
    }
}

impl Cursor {
    pub(super) fn to_key(self) -> Vec<u8> {
        [self.accepted_at_ms.to_be_bytes().as_slice(), &self.id.to_bytes()].concat()
    }

    pub(super) fn from_key(key: &[u8]) -> Option<Self> {
        let (at, id) = key.split_first_chunk::<8>()?;
        let id = Uuid::from_slice(id).ok()?;
        Some(Self { accepted_at_ms: i64::from_be_bytes(*at), id: SubmissionId::new(id) })
    }
}

/// What the timeline says of a submission without opening it.
#[derive(Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) flow_id: String,
    flow_version: u32,
    test: bool,
}

/// The record by which lists find a submission.
pub(super) fn timeline_put(submission: &Submission, accepted_at_ms: i64) -> Put {
    let key = Cursor { accepted_at_ms, id: submission.id }.to_key();
    let entry = Entry {
        flow_id: submission.flow_id.clone(),
        flow_version: submission.flow_version,
        test: submission.test,
    };
    let entry = postcard::to_stdvec(&entry).expect("a string, a number and a flag serialise");
    Put::new(Table::Timeline, key, entry)
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which submission.
    pub id: SubmissionId,
    /// When it was accepted.
    pub accepted_at_ms: i64,
    /// The flow it came from.
    pub flow_id: String,
    /// That flow's version.
    pub flow_version: u32,
    /// Whether it was a trial.
    pub test: bool,
    /// Where it goes.
    pub deliveries: Vec<DeliveryView>,
}

/// A part of a list, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its lines; may be few or none although there is a next page.
    pub items: Vec<Listed>,
    /// Where to go on.
    pub next: Option<Cursor>,
}

/// A delivery as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryView {
    /// Its key, also the idempotency key that the destination gets.
    pub key: DeliveryKey,
    /// Where to.
    pub destination: String,
    /// Where it is in its life.
    pub state: DeliveryState,
    /// When it is due, when its lease ends, or when it was settled.
    pub at_ms: i64,
    /// How often it was attempted in this budget.
    pub attempt: u32,
    /// Its last attempts.
    pub attempts: Vec<Attempt>,
    /// Why it is dead.
    pub dead_reason: Option<String>,
}

impl DeliveryView {
    /// Whether the destination may have it twice: an attempt got no clear answer, the next one was taken, and the
    /// destination cannot be asked.
    #[must_use]
    pub fn may_be_duplicated(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.class == MAYBE_TWICE)
    }
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        let history = History::from_bytes(&delivery.history);
        Self {
            key: DeliveryKey::from_bytes(delivery.key),
            destination: delivery.destination,
            state: delivery.state,
            at_ms: delivery.due_at_ms,
            attempt: delivery.attempt,
            attempts: history.attempts,
            dead_reason: (delivery.state == DeliveryState::Dead)
                .then(|| history.dead_reason.unwrap_or_else(|| DAMAGED.to_owned())),
        }
    }
}

/// A submission with everything that happened to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// The submission.
    pub submission: Submission,
    /// Where it goes.
    pub deliveries: Vec<DeliveryView>,
}

impl Outbox {
    /// A page of the submissions that pass the filter, the newest first.
    pub async fn list(&self, filter: &Filter, after: Option<Cursor>, limit: u32) -> Result<Page, Error> {
        let scan = Scan {
            after: after.map(Cursor::to_key),
            descending: true,
            limit: MAX_SCANNED,
            ..Scan::default()
        };
        let entries = self.store.scan(Table::Timeline, scan).await?;
        let holds = self.holds().await?;
        let more = entries.len() == MAX_SCANNED as usize;
        let mut items = Vec::new();
        let mut last = None;
        for (key, record) in entries {
            let Some(cursor) = Cursor::from_key(&key) else { continue };
            if filter.since_ms.is_some_and(|since_ms| cursor.accepted_at_ms < since_ms) {
                return Ok(Page { items, next: None });
            }
            if items.len() == limit as usize {
                return Ok(Page { items, next: last });
            }
            last = Some(cursor);
            let Ok(entry) = postcard::from_bytes::<Entry>(&record.value) else { continue };
            if filter.flow_id.as_ref().is_some_and(|flow_id| *flow_id != entry.flow_id) {
                continue;
            }
            let deliveries = self.deliveries_of(cursor.id, &holds).await?;
            if filter.state.is_some_and(|state| deliveries.iter().all(|delivery| delivery.state != state)) {
                continue;
            }
            items.push(Listed {
                id: cursor.id,
                accepted_at_ms: cursor.accepted_at_ms,
                flow_id: entry.flow_id,
                flow_version: entry.flow_version,
                test: entry.test,
                deliveries,
            });
        }
        Ok(Page { items, next: last.filter(|_| more) })
    }

    /// One submission with its deliveries and their attempts; `None` if there is none.
    pub async fn show(&self, id: SubmissionId) -> Result<Option<Shown>, Error> {
        let Some(submission) = self.read_submission(id).await? else { return Ok(None) };
        let holds = self.holds().await?;
        let mut deliveries = self.deliveries_of(id, &holds).await?;
        if submission.replaced_by.is_some() {
            // The worker says so of each when its turn has come; it sends none of them.
            use DeliveryState::{Dead, Due, Parked, Superseded};
            let open = deliveries.iter_mut().filter(|delivery| matches!(delivery.state, Due | Parked | Dead));
            open.for_each(|delivery| delivery.state = Superseded);
        }
        Ok(Some(Shown { submission, deliveries }))
    }

    /// Which submission a delivery carries; `None` if there is no such delivery.
    pub async fn submission_of(&self, key: DeliveryKey) -> Result<Option<SubmissionId>, Error> {
        let delivery = self.store.delivery(key.to_bytes()).await?;
        Ok(delivery.map(|delivery| SubmissionId::new(Uuid::from_bytes(delivery.submission))))
    }

    /// How many deliveries each destination has in each state.
    pub async fn depths(&self) -> Result<Vec<QueueDepth>, Error> {
        Ok(self.store.depths().await?)
    }

    /// All submissions, or those of one flow, the oldest first.
    #[must_use]
    pub fn export(&self, flow_id: Option<&str>) -> Export {
        Export {
            outbox: self.clone(),
            flow_id: flow_id.map(str::to_owned),
            after: None,
            page: Vec::new().into_iter(),
            ended: false,
            partial: false,
        }
    }

    pub(super) async fn deliveries_of(
        &self,
        id: SubmissionId,
        holds: &Holds,
    ) -> Result<Vec<DeliveryView>, Error> {
        let filter = DeliveryFilter { submission: Some(id.to_bytes()), ..DeliveryFilter::default() };
        let deliveries = self.store.deliveries(filter, None, MAX_DELIVERIES).await?;
        Ok(deliveries.into_iter().map(|delivery| holds.mark(delivery.into())).collect())
    }
}

/// A walk over submissions.
#[derive(Debug)]
pub struct Export {
    outbox: Outbox,
    flow_id: Option<String>,
    after: Option<Vec<u8>>,
    page: std::vec::IntoIter<SubmissionId>,
    ended: bool,
    partial: bool,
}

impl Export {
    /// Whether something may be missing so far: what other nodes have could not be seen.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// The next submission. After [`Error::Unreadable`] the walk can go on with the one behind it.
    pub async fn next(&mut self) -> Result<Option<Submission>, Error> {
        loop {
            for id in self.page.by_ref() {
                // One that was erased since the page was read is not an error.
                if let Some(submission) = self.outbox.read_submission(id).await? {
                    return Ok(Some(submission));
                }
            }
            if self.ended {
                return Ok(None);
            }
            let scan = Scan { after: self.after.clone(), limit: MAX_SCANNED, ..Scan::default() };
            let store = &self.outbox.store;
            let entries = match store.scan_all(Table::Timeline, scan.clone()).await {
                Err(store::Error::Incomplete) => {
                    self.partial = true;
                    store.scan(Table::Timeline, scan).await?
                }
                entries => entries?,
            };
            self.ended = entries.len() < MAX_SCANNED as usize;
            self.after = entries.last().map(|(key, _)| key.clone());
            let wanted = |value: &[u8]| match (&self.flow_id, postcard::from_bytes::<Entry>(value)) {
                (Some(flow_id), Ok(entry)) => entry.flow_id == *flow_id,
                (wanted, _) => wanted.is_none(),
            };
            let ids = entries.iter().filter(|(_, record)| wanted(&record.value));
            self.page = ids
                .filter_map(|(key, _)| Cursor::from_key(key).map(|cursor| cursor.id))
                .collect::<Vec<_>>()
                .into_iter();
        }
    }
}

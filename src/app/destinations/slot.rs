//! A destination's place: what stands in it is another one when a form of its flows is another.
//!
//! Invariant: an attempt goes on with the destination that it began with. A submission of a version that is not known here
//! yet, because another node serves it already, waits for that version; nothing is refused because a node is late.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::outbox::{Attempting, Call, Destination, DestinationId, Grade, MAPPING, Outcome};

/// What stands in a place.
pub(super) struct Built {
    /// The destination, or why there is none.
    pub destination: Result<Arc<dyn Destination>, Absent>,
    /// The newest version of each flow that it was made for; empty for one that takes whatever comes.
    pub newest: BTreeMap<String, u32>,
    /// Whether it keeps files of its newest forms in a connected HubSpot account.
    pub asks_for_files: bool,
}

/// Why nothing stands in a place. What is to be delivered there waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// The form was not read from its tool yet.
    Unread,
    /// The mapping that was set does not fit the form any more.
    Misfit,
}

/// A place with a destination in it.
pub(super) struct Slot {
    id: DestinationId,
    account: String,
    grade: Grade,
    built: RwLock<Arc<Built>>,
    /// It may be paused for want of a mapping that fits, by an earlier process, too.
    may_wait: AtomicBool,
}

impl Slot {
    pub(super) fn new(id: DestinationId, grade: Grade, built: Built) -> Self {
        let account = built
            .destination
            .as_ref()
            .map_or_else(|_absent| id.as_str().to_owned(), |to| to.account().into_owned());
        Self { id, account, grade, built: RwLock::new(Arc::new(built)), may_wait: AtomicBool::new(true) }
    }

    /// Puts another one there.
    pub(super) fn put(&self, built: Built) {
        let mut place = self.built.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(place.destination, Err(Absent::Misfit)) {
            self.may_wait.store(true, Ordering::Release);
        }
        *place = Arc::new(built);
    }

    /// Whether its mapping fits now and deliveries may still be waiting for that. Asked once; [`Slot::waits_on`] takes the
    /// answer back.
    pub(super) fn fits_again(&self) -> bool {
        !matches!(self.built().destination, Err(Absent::Misfit))
            && self.may_wait.swap(false, Ordering::AcqRel)
    }

    /// They could not be let go on.
    pub(super) fn waits_on(&self) {
        self.may_wait.store(true, Ordering::Release);
    }

    /// Whether it keeps files of its newest forms in a connected HubSpot account.
    pub(super) fn asks_for_files(&self) -> bool {
        self.built().asks_for_files
    }

    fn built(&self) -> Arc<Built> {
        Arc::clone(&self.built.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Destination for Slot {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn account(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.account)
    }

    fn grade(&self) -> Grade {
        self.grade
    }

    fn deliver<'a>(&'a self, call: Call<'a>) -> Attempting<'a> {
        let built = self.built();
        let submission = call.submission;
        let is_late =
            built.newest.get(&submission.flow_id).is_some_and(|newest| submission.flow_version > *newest);
        Box::pin(async move {
            match &built.destination {
                Ok(destination) if !is_late => destination.deliver(call).await,
                Ok(_) => Outcome::not_yet("version_not_known_yet"),
                Err(Absent::Unread) => Outcome::not_yet("form_not_read_yet"),
                Err(Absent::Misfit) => Outcome::hold(
                    MAPPING,
                    None,
                    "its mapping does not fit the form any more: set one that does, and what waits goes on by itself",
                ),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::outbox::{DeliveryKey, Submission, Verdict};

    struct Takes(DestinationId);

    impl Destination for Takes {
        fn id(&self) -> &DestinationId {
            &self.0
        }

        fn deliver<'a>(&'a self, _call: Call<'a>) -> Attempting<'a> {
            Box::pin(async { Outcome::delivered(None) })
        }
    }

    #[tokio::test]
    async fn a_submission_of_a_version_that_another_node_serves_already_waits_for_it() {
        let id = DestinationId::new("crm").expect("an id");
        let built = |newest: u32| Built {
            destination: Ok(Arc::new(Takes(id.clone()))),
            newest: [("contact".to_owned(), newest)].into(),
            asks_for_files: false,
        };
        let absent =
            |absent| Built { destination: Err(absent), newest: BTreeMap::new(), asks_for_files: false };
        let slot = Slot::new(id.clone(), Grade::D, absent(Absent::Unread));
        let submission: Submission = serde_json::from_value(serde_json::json!({
            "id": "00000000-0000-8000-8000-000000000001", "flow_id": "contact", "flow_version": 2,
            "form": {"tool": "form", "id": "contact", "title": "Contact"}, "flow_token": "unused", "contact": null,
            "started_at": "2026-01-01T00:00:00Z", "completed_at": "2026-01-01T00:01:00Z", "locale": "en",
            "test": false, "answers": [],
        }))
        .expect("a submission");
        let deliver = async || {
            let call = Call {
                submission: &submission,
                key: DeliveryKey::of(submission.id, &id),
                attempt: 1,
                sent_before: false,
                deadline: Instant::now() + Duration::from_secs(1),
            };
            slot.deliver(call).await
        };
        assert_eq!(deliver().await.class, "form_not_read_yet");
        assert!(slot.fits_again() && !slot.fits_again(), "an earlier process may have left it paused");
        slot.put(absent(Absent::Misfit));
        let waits = deliver().await;
        assert!(
            matches!(waits.verdict, Verdict::Hold { reconnect: false, .. }),
            "no attempt is used up: {waits:?}"
        );
        assert_eq!((waits.class, slot.fits_again()), (MAPPING, false));
        slot.put(built(1));
        assert!(slot.fits_again() && !slot.fits_again());
        let late = deliver().await;
        assert_eq!((late.class, late.verdict), ("version_not_known_yet", Verdict::Retry { after_ms: None }));
        slot.put(built(2));
        assert_eq!(deliver().await.verdict, Verdict::Delivered);
    }
}

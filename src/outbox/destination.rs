//! What a destination has to do; webhooks are here, form tools implement it in `connector`.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;

use tokio::time::Instant;

use super::ids::{DeliveryKey, DestinationId};
use super::submission::Submission;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What it means for the delivery.
    pub verdict: Verdict,
    /// A short constant name for metrics and the attempt log.
    pub class: &'static str,
    /// The destination's HTTP status, if there was one.
    pub status: Option<u16>,
    /// Whether the destination had no part in it, so that nothing is learnt of how that is.
    pub without_it: bool,
}

/// What an attempt means for the delivery. The destination decides it by its tool's own table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The destination has the submission.
    Delivered,
    /// It may work later.
    Retry {
        /// The wait that the destination asked for.
        after_ms: Option<i64>,
    },
    /// It will not work however often it is tried: dead, until somebody changes something and replays.
    Refused {
        /// Why, in words for the operator; no answers in it.
        reason: String,
    },
    /// The destination wants nothing more at all: it is paused, and what waits for it loses no attempt.
    Hold {
        /// Why, in words for the operator.
        reason: String,
        /// Whether it takes nothing because it does not accept our credentials: then new ones resume it.
        reconnect: bool,
    },
}

/// How much a submission becomes what the tool's own form would have made of it. Told before anybody fills it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// The tool's own, official way to submit the form.
    A,
    /// The public form, as a browser fills it in.
    B,
    /// A record beside the form: a row, a contact, an event to the form's endpoints.
    C,
    /// A message to an endpoint of one's own.
    D,
}

impl Grade {
    /// What it means, in words for the form's owner.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::A => "a submission in the tool, by its official way",
            Self::B => "a submission in the tool, by its public form: unofficial",
            Self::C => "a record beside the form; the tool's own results do not have it",
            Self::D => "a message to an endpoint of your own",
        }
    }
}

impl std::fmt::Display for Grade {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self:?}")
    }
}

/// The class of a delivery that is there now, and may have been there before: the destination cannot be asked.
pub(super) const MAYBE_TWICE: &str = "maybe_twice";
/// The class of a delivery that the destination's condition keeps back.
pub(super) const SKIPPED: &str = "skipped";

impl Outcome {
    /// Delivered with this status.
    #[must_use]
    pub fn delivered(status: Option<u16>) -> Self {
        Self { verdict: Verdict::Delivered, class: "delivered", status, without_it: false }
    }

    /// Delivered, by a destination that cannot tell whether an attempt before this one had delivered it already.
    #[must_use]
    pub fn delivered_maybe_twice(status: Option<u16>) -> Self {
        Self { class: MAYBE_TWICE, ..Self::delivered(status) }
    }

    /// To be tried again.
    #[must_use]
    pub fn retry(class: &'static str, status: Option<u16>, after_ms: Option<i64>) -> Self {
        Self { verdict: Verdict::Retry { after_ms }, class, status, without_it: false }
    }

    /// Not for this destination: it is done, and nothing was sent.
    #[must_use]
    pub fn skipped() -> Self {
        Self { class: SKIPPED, without_it: true, ..Self::delivered(None) }
    }

    /// To be tried again, because something is missing here that the destination needs.
    #[must_use]
    pub fn not_yet(class: &'static str) -> Self {
        Self { without_it: true, ..Self::retry(class, None, None) }
    }

    /// Nothing more is to be sent until somebody has looked.
    #[must_use]
    pub fn hold(class: &'static str, status: Option<u16>, reason: impl Into<String>) -> Self {
        let verdict = Verdict::Hold { reason: reason.into(), reconnect: false };
        Self { verdict, class, status, without_it: false }
    }

    /// Nothing more is to be sent until there are new credentials: the ones that were sent are expired, revoked or may not
    /// do this. It costs no delivery an attempt.
    #[must_use]
    pub fn reconnect(class: &'static str, status: Option<u16>, reason: impl Into<String>) -> Self {
        let verdict = Verdict::Hold { reason: reason.into(), reconnect: true };
        Self { verdict, class, status, without_it: false }
    }

    /// Never to be tried again by itself.
    #[must_use]
    pub fn refused(class: &'static str, status: Option<u16>, reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Refused { reason: reason.into() }, class, status, without_it: false }
    }
}

/// One attempt: everything a destination needs for it.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// What to deliver.
    pub submission: &'a Submission,
    /// The idempotency key, the same at every attempt.
    pub key: DeliveryKey,
    /// Which attempt this is; the first is 1.
    pub attempt: u32,
    /// Whether an attempt before this one, one before a replay included, may have reached the destination and done its
    /// work: it got no answer, or one that leaves it open. A destination that knows no idempotency key looks for the
    /// submission then.
    pub sent_before: bool,
    /// When the attempt must be over.
    pub deadline: Instant,
}

/// The future of one attempt.
pub type Attempting<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// Somewhere submissions go.
pub trait Destination: Send + Sync {
    /// Its configured name.
    fn id(&self) -> &DestinationId;

    /// Whose limits count for it: destinations of the same account share one rate, and a request for patience. No secret
    /// in it.
    fn account(&self) -> Cow<'_, str> {
        Cow::Borrowed(self.id().as_str())
    }

    /// How much its tool makes of a submission.
    fn grade(&self) -> Grade {
        Grade::D
    }

    /// Attempts a delivery. The future may be dropped at the deadline; a panic counts as a crash of this delivery and
    /// hurts no other.
    fn deliver<'a>(&'a self, call: Call<'a>) -> Attempting<'a>;
}

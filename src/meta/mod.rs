//! What Meta calls besides the endpoint: its webhooks.
//!
//! A webhook is a second witness. When a flow was closed, Meta sends what the closing reply carried, and so confirms that a
//! submission which is stored here was sent; one that is not stored here is told as an alert. It never makes a submission:
//! the data came through the endpoint, complete and checked. Meta's own verdicts on flows become alerts as well.
//!
//! Invariant: an update is answered with 200 only after what follows from it is stored, and one that comes again changes
//! nothing: Meta repeats what was not taken, for days. No message, name or number of a person is kept or logged.

mod event;
mod update;
mod webhook;

pub use self::event::events;
pub use self::webhook::{MAX_BODY_BYTES, Webhook};

//! The peers of a demo, so that everything can be tried without an account: so far a webhook inbox and the
//! public page of a Google form.
//!
//! Invariant: a sandbox peer shares no type with what it stands opposite to. It is for one machine: it listens on loopback
//! only, keeps nothing on disk, and asks nobody to sign in.

mod google_forms;
mod inbox;
mod page;

pub use google_forms::{GoogleForm, Mood, Stored};
pub use inbox::{Counts, Delivery, Inbox, Signed};

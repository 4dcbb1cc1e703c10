//! The peers of a demo, so that everything can be tried without an account: a webhook inbox, a HubSpot account,
//! SurveyMonkey's API for responses, the public page of a Google form, the lists of forms of all four tools, and Meta's file
//! servers.
//!
//! Invariant: a sandbox peer shares no type with what it stands opposite to. It is for one machine: it listens on loopback
//! only, keeps nothing on disk, and asks nobody to sign in.

pub mod dial;
mod google_forms;
pub mod hubspot;
mod inbox;
pub mod library;
mod media;
mod page;
pub mod surveymonkey;

pub use google_forms::{GoogleForm, Mood, Stored};
pub use inbox::{Counts, Delivery, Inbox, Signed};
pub use media::{Media, Tamper};

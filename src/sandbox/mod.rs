//! The peers of a demo, so that everything can be tried without an account: a webhook inbox, a HubSpot account, and
//! SurveyMonkey's API for responses.
//!
//! Invariant: a sandbox peer shares no type with what it stands opposite to. It is for one machine: it listens on loopback
//! only, keeps nothing on disk, and asks nobody to sign in.

pub mod hubspot;
mod inbox;
mod page;
pub mod surveymonkey;

pub use inbox::{Counts, Delivery, Inbox, Signed};

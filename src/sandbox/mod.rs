//! The peers of a demo, so that everything can be tried without an account: a webhook inbox, a HubSpot account,
//! SurveyMonkey's API for responses, the public page of a Google form, a script's web app, Google Sheets, the webhooks of a
//! form in Typeform, the lists of forms and the authorization servers of all four tools, and Meta's file servers. [`Tools`]
//! has them at one address.
//!
//! Invariant: a sandbox peer shares no type with what it stands opposite to. It is for one machine: it listens on loopback
//! only, keeps nothing on disk, and asks nobody for a password.

mod access;
pub mod apps_script;
pub mod dial;
mod google_forms;
pub mod google_sheets;
pub mod hubspot;
mod inbox;
pub mod library;
mod media;
pub mod oauth;
mod page;
mod peers;
mod records;
mod samples;
pub mod surveymonkey;
mod tools;
pub mod typeform;

pub use google_forms::{GoogleForm, Mood, Stored};
pub use inbox::{Counts, Delivery, Inbox, Signed};
pub use media::{Media, Tamper};
pub use peers::PORTAL;
pub use records::{RECORDS, Record};
pub use samples::{EXAMPLES, SHEET};
pub use tools::Tools;

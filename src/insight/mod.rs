//! What an operator has to know without looking: alerts.
//!
//! Deciding is pure ([`Watch`]); telling is one request to each sink. What it deliberately does not do: keep alerts. After a
//! restart a cause that still stands is raised again.

mod alert;
mod sink;

pub use self::alert::{Cause, Notice, Seen, Thresholds, Watch};
pub use self::sink::{Failed, Sign, Sink, SinkKind};

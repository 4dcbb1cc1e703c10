//! Logs and metrics: set-up, field names, redaction.
//!
//! Invariant: what is wrapped in [`Redacted`] never reaches a log line, and every metric family is registered once, here.
//! Nothing is sent anywhere: logs go to standard error, metrics wait for a scrape. Bodies, answers, phone numbers, tokens
//! and keys are never logged, not even at `trace`.

pub mod field;
mod histogram;
mod label;
mod metrics;
mod totals;

use std::{
    fmt,
    io::{self, IsTerminal},
    str::FromStr,
};

pub use label::{Action, DeliveryOutcome, DeliveryState, HoldReason, Witness};
pub use metrics::{CONTENT_TYPE, FlowMetrics, Metrics};
pub use totals::FlowTotals;
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For a person at a terminal.
    Pretty,
    /// One JSON object a line, for a collector.
    Json,
}

/// Which spans and events are logged, in the directive syntax of `tracing`: `info`, `info,formgate::store=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(String);

impl FromStr for Filter {
    type Err = Error;

    fn from_str(directives: &str) -> Result<Self, Error> {
        EnvFilter::builder().parse(directives).map_err(Error::Filter)?;
        Ok(Self(directives.to_owned()))
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directive is misspelt.
    #[error(
        "not a log filter; write a level (error, warn, info, debug, trace) or module=level, separated by commas"
    )]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// This process already has a subscriber.
    #[error("logging is already set up")]
    AlreadySet(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Sends this process's log lines to standard error, coloured only on a terminal.
pub fn init(format: Format, filter: &Filter) -> Result<(), Error> {
    let filter = EnvFilter::builder().parse(&filter.0).map_err(Error::Filter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        Format::Pretty => lines.with_ansi(io::stderr().is_terminal()).with_target(false).try_init(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    }
    .map_err(Error::AlreadySet)
}

/// A value that may be used but not shown: `Debug` and `Display` write a placeholder.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    /// Hides a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for use and never for a log line.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// Takes the value out.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redacted_value_is_used_but_not_shown() {
        let token = Redacted::new("canary");
        assert_eq!(format!("{token} {token:?} {:?}", Some(&token)), "[redacted] [redacted] Some([redacted])");
        assert_eq!(*token.expose(), "canary");
    }

    #[test]
    fn a_filter_is_checked_when_it_is_read() {
        assert!("info,formgate::store=debug".parse::<Filter>().is_ok());
        assert!(matches!("formgate=loud".parse::<Filter>(), Err(Error::Filter(_))));
    }
}

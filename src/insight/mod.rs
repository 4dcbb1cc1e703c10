//! What an operator has to know without looking: alerts.
//!
//! Three steps. What is measured becomes signs ([`Thresholds`] decides, each with a margin between "bad" and "well");
//! signs become notices ([`Watch`]: one when a cause begins, one a day while it stands, one when it is over); a notice
//! goes to each [`Sink`]. The first two are pure.
//!
//! What it deliberately does not do: keep alerts. After a restart a cause that still stands is raised again.

mod cause;
mod rules;
mod sink;
mod watch;
mod window;

pub use self::cause::{Cause, Group, Subject};
pub use self::rules::{
    Account, Backup, Disk, Exchanges, Hold, MetaEvent, Number, Paused, Queue, SharedStore, Thresholds, Totals,
};
pub use self::sink::{Failed, Mailbox, Sink, SinkKind};
pub use self::watch::{Kind, Level, Look, Notice, Sign, Watch};
pub use self::window::Window;

//! What an operator has to know without looking: alerts.
//!
//! Three steps. What is measured becomes signs ([`Thresholds`] decides, each with a margin between "bad" and "well");
//! signs become notices ([`Watch`]: one when a cause begins, one a day while it stands, one when it is over); a notice
//! goes to each [`Sink`], by its [`NoticeQueue`]. All but the sinks is pure.
//!
//! What it deliberately does not do: write. What has to outlast a process, and what nodes have to agree on, is an
//! [`Alert`], and somebody else keeps it.

mod alert;
mod cause;
mod queue;
mod rules;
mod sink;
mod watch;
mod window;

pub use self::alert::Alert;
pub use self::cause::{Cause, Group, Subject};
pub use self::queue::NoticeQueue;
pub use self::rules::{
    Account, Backup, Disk, Exchanges, Hold, MetaEvent, Number, Paused, Queue, SharedStore, Thresholds, Totals,
};
pub use self::sink::{Failed, Mailbox, Sink, SinkKind};
pub use self::watch::{Kind, Level, Look, Notice, Sign, Step, Watch};
pub use self::window::Window;

//! What is asked over the socket, and what is answered: one JSON object a line.

use serde::{Deserialize, Serialize};

use super::{AccessCommand, Connect, FlowCommand, Keep};
use crate::outbox::{DestinationId, ReplayFilter, SubmissionId};

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// The newest submissions and where each delivery stands.
    ListSubmissions {
        /// At most so many.
        limit: u32,
        /// Only of this flow.
        flow: Option<String>,
        /// Only those with a delivery that was given up.
        dead: bool,
    },
    /// One submission with its attempts.
    ShowSubmission {
        /// Which one.
        id: SubmissionId,
    },
    /// Makes given-up deliveries of a submission due again.
    ReplaySubmission {
        /// Which one.
        id: SubmissionId,
        /// Under new idempotency keys.
        #[serde(default)]
        as_new: bool,
    },
    /// Makes every given-up delivery due again that passes a filter.
    ReplayDead {
        /// Which ones.
        filter: ReplayFilter,
        /// Under new idempotency keys.
        as_new: bool,
    },
    /// Ends every replay of many that is under way.
    CancelReplays,
    /// Every destination and its queue.
    ListDestinations,
    /// Sends nothing more to a destination.
    PauseDestination {
        /// Which one.
        id: DestinationId,
    },
    /// Sends to a destination again.
    ResumeDestination {
        /// Which one.
        id: DestinationId,
    },
    /// Every submission, one JSON object a line.
    ExportSubmissions {
        /// Only of this flow.
        flow: Option<String>,
    },
    /// The public keys of every number.
    ListKeys,
    /// Makes a flow token open nothing any more.
    RevokeToken {
        /// The flow it was made for.
        flow: String,
        /// The token as it was printed.
        token: String,
    },
    /// Makes a new kept key for a number.
    RotateKey {
        /// Which one.
        number: String,
    },
    /// What keeps the store safe and clean.
    Keep(Keep),
    /// Flows and the forms they are made from.
    Flow(FlowCommand),
    /// Tokens of the management API.
    Access(AccessCommand),
    /// Connected accounts.
    Connect(Connect),
}

/// What is answered, line by line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// A line of the result.
    Line(String),
    /// A remark for the person, not a part of the result.
    Remark(String),
    /// How far it is; not every step is told.
    Progress {
        /// So many were looked at
        done: u64,
        /// of so many.
        of: u64,
    },
    /// It could not be done.
    Failed(String),
    /// It was done.
    Done,
}

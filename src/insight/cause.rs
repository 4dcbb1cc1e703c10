//! What can be the matter, and what to do about it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Something that a person has to mend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Deliveries to this destination wait too long.
    QueueAge(String),
    /// Deliveries to this destination were given up.
    DeadLetters(String),
    /// This destination fails, and is left alone.
    Breaker(String),
    /// This destination was paused, and not by a person.
    Paused(String),
    /// The tool does not accept this connection any more.
    Connection(String),
    /// Exchanges of this flow fail.
    ExchangeErrors(String),
    /// Phones cannot use what this flow's endpoint answers.
    ClientErrors(String),
    /// Many people come to this flow with a token that is no longer valid.
    Tokens(String),
    /// Requests to this flow are not signed by its app.
    Signatures(String),
    /// No key opens requests to this flow.
    Undecryptable(String),
    /// Exchanges are slow.
    Latency,
    /// This number has no private key, or no app secret that is in force.
    Key(String),
    /// The disk is nearly full.
    Disk,
    /// The store does not answer.
    Store,
    /// Backups fail, or are overdue.
    Backup,
    /// An erasure that somebody asked for is not done.
    Erasure,
    /// Too much is on one node only.
    SingleCopy,
    /// The shared store cannot be reached.
    SharedStore,
    /// Meta has throttled or blocked this flow (its id at Meta).
    MetaStatus(String),
    /// Meta reports trouble with this flow (its id at Meta), of this kind.
    MetaHealth(String, String),
    /// A version that this flow (its id at Meta) uses ends soon.
    MetaVersion(String),
    /// Meta has confirmed a submission that is not stored here.
    UnknownSubmission,
}

/// What a cause is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A destination.
    Destination(&'a str),
    /// A connected account.
    Connection(&'a str),
    /// A flow.
    Flow(&'a str),
    /// A flow, by the id it has at Meta.
    MetaFlow(&'a str),
    /// A number.
    Number(&'a str),
    /// The whole.
    Whole,
}

/// Which look shows whether a cause stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Whether the store answers.
    Store,
    /// What the store says.
    Stored,
    /// What this process has counted.
    Counted,
    /// What the disk says.
    Disk,
}

impl Group {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Store, Self::Stored, Self::Counted, Self::Disk];
}

impl Cause {
    /// Its name for machines: the same at the beginning and at the end.
    pub fn name(&self) -> &'static str {
        match self {
            Self::QueueAge(_) => "queue_age",
            Self::DeadLetters(_) => "dead_letters",
            Self::Breaker(_) => "breaker",
            Self::Paused(_) => "paused",
            Self::Connection(_) => "connection",
            Self::ExchangeErrors(_) => "exchange_errors",
            Self::ClientErrors(_) => "client_errors",
            Self::Tokens(_) => "tokens",
            Self::Signatures(_) => "signatures",
            Self::Undecryptable(_) => "undecryptable",
            Self::Latency => "latency",
            Self::Key(_) => "key",
            Self::Disk => "disk",
            Self::Store => "store",
            Self::Backup => "backup",
            Self::Erasure => "erasure",
            Self::SingleCopy => "single_copy",
            Self::SharedStore => "shared_store",
            Self::MetaStatus(_) => "meta_status",
            Self::MetaHealth(..) => "meta_health",
            Self::MetaVersion(_) => "meta_version",
            Self::UnknownSubmission => "unknown_submission",
        }
    }

    /// What it is about.
    pub fn subject(&self) -> Subject<'_> {
        match self {
            Self::QueueAge(id) | Self::DeadLetters(id) | Self::Breaker(id) | Self::Paused(id) => {
                Subject::Destination(id)
            }
            Self::Connection(id) => Subject::Connection(id),
            Self::ExchangeErrors(id)
            | Self::ClientErrors(id)
            | Self::Tokens(id)
            | Self::Signatures(id)
            | Self::Undecryptable(id) => Subject::Flow(id),
            Self::Key(id) => Subject::Number(id),
            Self::MetaStatus(id) | Self::MetaHealth(id, _) | Self::MetaVersion(id) => Subject::MetaFlow(id),
            Self::Latency
            | Self::Disk
            | Self::Store
            | Self::Backup
            | Self::Erasure
            | Self::SingleCopy
            | Self::SharedStore
            | Self::UnknownSubmission => Subject::Whole,
        }
    }

    /// Whether it is about one node and not about what nodes have in common: each tells its own.
    pub fn is_of_one_node(&self) -> bool {
        matches!(self, Self::Disk | Self::Store | Self::Backup | Self::SingleCopy | Self::SharedStore)
    }

    /// Which look shows it.
    pub fn group(&self) -> Group {
        match self {
            Self::Store => Group::Store,
            Self::QueueAge(_)
            | Self::DeadLetters(_)
            | Self::Breaker(_)
            | Self::Paused(_)
            | Self::Connection(_)
            | Self::Erasure
            | Self::MetaStatus(_)
            | Self::MetaHealth(..)
            | Self::MetaVersion(_)
            | Self::UnknownSubmission => Group::Stored,
            Self::Disk => Group::Disk,
            Self::ExchangeErrors(_)
            | Self::ClientErrors(_)
            | Self::Tokens(_)
            | Self::Signatures(_)
            | Self::Undecryptable(_)
            | Self::Latency
            | Self::Key(_)
            | Self::Backup
            | Self::SingleCopy
            | Self::SharedStore => Group::Counted,
        }
    }

    /// How long it must have been well before it is over: what comes and goes is one cause.
    pub(super) fn calm(&self) -> Duration {
        Duration::from_secs(match self {
            // These end when somebody has done something.
            Self::DeadLetters(_) | Self::Paused(_) | Self::Connection(_) => 0,
            Self::Key(_) | Self::Backup | Self::Erasure => 0,
            // Meta has its own margin.
            Self::MetaStatus(_) | Self::MetaHealth(..) | Self::MetaVersion(_) | Self::UnknownSubmission => 0,
            // It is over when the queue is much younger than when it began.
            Self::QueueAge(_) => 0,
            // It is told at its first opening. A destination that answers now and then and fails again opens and closes it
            // for as long as that goes on; this is longer than the breaks between.
            Self::Breaker(_) => 300,
            Self::Store | Self::SharedStore | Self::SingleCopy | Self::Disk => 60,
            Self::ExchangeErrors(_)
            | Self::ClientErrors(_)
            | Self::Tokens(_)
            | Self::Signatures(_)
            | Self::Undecryptable(_)
            | Self::Latency => 120,
        })
    }

    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::QueueAge(_) => {
                "See what it answers: formgate submissions list, then submissions show ID. Nothing is lost; deliveries go on being tried."
            }
            Self::DeadLetters(_) => {
                "formgate submissions list --dead, then submissions show ID says why. Mend that, then formgate submissions replay ID."
            }
            Self::Breaker(_) => {
                "Look at the destination; formgate submissions show ID says what it answers. It is probed by itself; formgate destinations resume ID probes at once. Nothing that waits loses an attempt."
            }
            Self::Paused(_) => {
                "formgate destinations list says why. Mend that, then formgate destinations resume ID. Submissions are taken meanwhile, and wait."
            }
            Self::Connection(_) => {
                "Connect the same account again: formgate connect TOOL --name ID; formgate connections show ID says whose it is. What waits for it goes on by itself then."
            }
            Self::ExchangeErrors(_) => {
                "Look at the log and at formgate_exchange_requests_total by status; README, “When something does not work”, says what each status means. Meta throttles a flow that goes on failing."
            }
            Self::ClientErrors(_) => {
                "WhatsApp could not use an answer; the log names the screen. If the document at Meta is not the one being served, publish that one: /api/v1/flows/ID/flow.json on the admin listener."
            }
            Self::Tokens(_) => {
                "Messages are older than their tokens' --ttl, or tokens come from another system while tokens = \"sealed\". Send new messages."
            }
            Self::Signatures(_) => {
                "Compare app_secret with the app that the flow is connected to; a proxy must not change the body. If the flow works, strangers are calling, and nothing has to be done."
            }
            Self::Undecryptable(_) => {
                "Upload the public key of the number again: formgate keys list prints it. The phone fetches it and repeats the request."
            }
            Self::Latency => {
                "Look at the load of the machine and the speed of its disk. Meta warns from one second on."
            }
            Self::Key(_) => {
                "Give the number a private key (formgate keys new or rotate) and an app secret that has not expired, and restart."
            }
            Self::Disk => {
                "Free or add space on the volume of data_dir. When it is full nothing new is acknowledged, and the process ends."
            }
            Self::Store => {
                "Look at the disk and the log. Nothing new is acknowledged meanwhile; restart Formgate when the disk is mended. A damaged store has to be restored: stop Formgate, move the data folder away, formgate store restore."
            }
            Self::Backup => {
                "The log says why. Look at [backup] directory and at data_dir, where the copy lies until it is sealed: their space, and who may write. formgate store backup DIRECTORY tries at once."
            }
            Self::Erasure => {
                "It is tried again every hour, and at every start. The log says why it fails; mend that. The law gives it a time."
            }
            Self::SingleCopy => {
                "Bring the shared store back. Until then this node's disk is the only copy: keep it, and do not remove the node."
            }
            Self::SharedStore => {
                "Look at the Redis server and the network to it. Submissions are taken meanwhile and kept on this node."
            }
            Self::MetaStatus(_) => {
                "Mend what the alerts before it name: errors, slow answers, failed health checks. Meta takes it back by itself, step by step."
            }
            Self::MetaHealth(..) => {
                "Compare with Formgate's own alerts and metrics: if those are quiet, the trouble is between Meta and here (proxy, certificate, network)."
            }
            Self::UnknownSubmission => {
                "If another installation uses the same app at Meta, it is one of its. If a backup was restored, it came after that backup. Else look at formgate audit list and report it."
            }
            Self::MetaVersion(_) => {
                "Upgrade Formgate, restart, and publish the document that is served then."
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())?;
        match self.subject() {
            Subject::Whole => {}
            Subject::Destination(id)
            | Subject::Connection(id)
            | Subject::Flow(id)
            | Subject::MetaFlow(id)
            | Subject::Number(id) => {
                write!(formatter, " {id}")?;
            }
        }
        match self {
            Self::MetaHealth(_, event) => write!(formatter, " {event}"),
            _ => Ok(()),
        }
    }
}

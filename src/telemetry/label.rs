//! The values that labels of metrics can have: few, fixed, and none of them from outside.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// What an exchange asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The flow was opened.
    Init,
    /// A screen was submitted.
    DataExchange,
    /// The person went back.
    Back,
    /// Meta's health check.
    Ping,
    /// Meta reports an error of ours.
    ErrorNotice,
    /// It could not be read.
    Unknown,
}

impl Action {
    pub(super) const COUNT: usize = 6;

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Init => "INIT",
            Self::DataExchange => "data_exchange",
            Self::Back => "BACK",
            Self::Ping => "ping",
            Self::ErrorNotice => "error_notice",
            Self::Unknown => "unknown",
        }
    }
}

/// How a delivery attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryOutcome {
    /// The destination has it.
    Delivered,
    /// Tried again later.
    Retry,
    /// The destination will never take it.
    Refused,
    /// Given up after the last attempt.
    Dead,
    /// Given up because attempts of it crash or end the process, or because it cannot be read.
    Quarantined,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Waiting for its time.
    Due,
    /// Being attempted.
    Leased,
    /// Held back by a pause or an open breaker.
    Parked,
    /// Done.
    Delivered,
    /// Given up, kept for replay.
    Dead,
}

/// Why deliveries of a destination are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoldReason {
    /// Somebody paused it.
    Paused,
    /// It fails, and is left alone for a while.
    Open,
    /// It has been failing for three days.
    Failing,
}

/// What a webhook of Meta's said of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Witness {
    /// It is stored here.
    Confirmed,
    /// It is not.
    Unknown,
    /// It belongs to a flow that is not one of ours.
    Foreign,
}

macro_rules! label_value {
    ($type:ty { $($variant:ident => $text:literal),+ $(,)? }) => {
        impl EncodeLabelValue for $type {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
                let text = match self { $(Self::$variant => $text),+ };
                EncodeLabelValue::encode(&text, encoder)
            }
        }
    };
}

label_value!(DeliveryOutcome {
    Delivered => "delivered",
    Retry => "retry",
    Refused => "refused",
    Dead => "dead",
    Quarantined => "quarantined",
});
label_value!(Witness {
    Confirmed => "confirmed",
    Unknown => "unknown",
    Foreign => "foreign",
});
label_value!(HoldReason {
    Paused => "paused",
    Open => "open",
    Failing => "failing",
});
label_value!(DeliveryState {
    Due => "due",
    Leased => "leased",
    Parked => "parked",
    Delivered => "delivered",
    Dead => "dead",
});

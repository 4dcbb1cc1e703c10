//! The ids of the outbox.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of a submission: derived by the endpoint from the session and the answers, so a repeat has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubmissionId(Uuid);

impl SubmissionId {
    /// The submission with this UUID.
    #[must_use]
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// Its UUID.
    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }

    /// Its bytes, the key in the store.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl fmt::Display for SubmissionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::str::FromStr for SubmissionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// The key of a delivery: submission and destination decide it, so it is the same on every attempt, after every restart,
/// on every node and in every replay. Destinations get it as their idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeliveryKey(Uuid);

impl DeliveryKey {
    /// The key of this submission at this destination: UUIDv5, the submission's id being the name space.
    #[must_use]
    pub fn of(submission: SubmissionId, destination: &DestinationId) -> Self {
        Self(Uuid::new_v5(&submission.0, destination.0.as_bytes()))
    }

    /// The key that follows this one when the delivery is sent as new.
    #[must_use]
    pub fn as_new(self) -> Self {
        Self(Uuid::new_v5(&self.0, b"as new"))
    }

    /// The key with these bytes, as the store has them.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }
}

impl fmt::Display for DeliveryKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::str::FromStr for DeliveryKey {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// The name of a destination, as configured. It is part of every delivery key: a renamed destination is a new one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DestinationId(String);

/// The text is no name of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a destination's id has 1 to 64 letters, digits, '-' or '_'")]
pub struct InvalidDestinationId;

impl DestinationId {
    /// The destination of this name.
    pub fn new(id: impl Into<String>) -> Result<Self, InvalidDestinationId> {
        let id = id.into();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if (1..=64).contains(&id.len()) && id.bytes().all(allowed) {
            Ok(Self(id))
        } else {
            Err(InvalidDestinationId)
        }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DestinationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for DestinationId {
    type Error = InvalidDestinationId;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        Self::new(id)
    }
}

impl From<DestinationId> for String {
    fn from(id: DestinationId) -> Self {
        id.0
    }
}

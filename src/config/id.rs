//! Ids that a person chooses: they stand in URLs, metrics and variable names.

use std::{fmt, str::FromStr};

const MAX_BYTES: usize = 64;

/// The text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an id of 1 to 64 small letters, digits and hyphens")]
pub struct InvalidId;

fn check(text: &str) -> Result<(), InvalidId> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=MAX_BYTES).contains(&text.len()) && text.bytes().all(plain);
    if fits { Ok(()) } else { Err(InvalidId) }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Names a WhatsApp number in the configuration.
    NumberId
);
id!(
    /// Names a destination of submissions.
    DestinationId
);
id!(
    /// Names a workspace: flows and destinations that the same people manage.
    WorkspaceId
);
id!(
    /// Names a flow; it is served at `/flows/{id}`.
    FlowId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_and_needs_no_escaping_anywhere() {
        for text in ["a", "contact-2", &"x".repeat(64)] {
            assert!(text.parse::<FlowId>().is_ok(), "{text}");
        }
        for text in ["", "Contact", "a_b", "a/b", "é", &"x".repeat(65)] {
            assert_eq!(text.parse::<FlowId>(), Err(InvalidId), "{text}");
        }
    }
}

//! Flow tokens that Formgate makes: who the message went to, what it is for, and how long it opens the flow, sealed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::crypto::{Purpose, Sealer, associated_data};

/// Tells our tokens from foreign ones.
const PREFIX: &str = "fg.";
/// Longest token: Meta documents no limit, and longer ones are untried (WhatsApp Flows reference, 1.11).
const MAX_CHARS: usize = 512;

/// What a token says. Bound to one flow.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Token {
    /// Sets tokens of the same content apart: each message has its own.
    pub nonce: u64,
    /// In seconds since 1970; for ever when absent.
    pub expires_at_s: Option<u64>,
    /// The phone number it was sent to, E.164.
    pub phone: Option<String>,
    /// WhatsApp's id of the person for this business.
    pub user_id: Option<String>,
    /// What the message belonged to.
    pub campaign: Option<String>,
    /// Values of the form's hidden fields.
    pub hidden: BTreeMap<String, String>,
}

/// Why a token does not open a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not sealed by this Formgate for this flow.
    #[error("the token was not made for this flow, or by another installation")]
    Foreign,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It says too much.
    #[error(
        "the token would have {0} characters and may have {MAX_CHARS}; give it fewer or shorter hidden values"
    )]
    TooLong(usize),
}

// Phone numbers stay out of every log, also by accident.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("expires_at_s", &self.expires_at_s).finish_non_exhaustive()
    }
}

impl Token {
    /// The token as it is sent with the message.
    ///
    /// # Errors
    /// [`Error::TooLong`].
    pub fn issue(&self, sealer: &Sealer, flow: &str) -> Result<String, Error> {
        let bytes = postcard::to_stdvec(self).unwrap_or_default();
        let sealed = sealer.seal(Purpose::Token, &associated_data(&[flow.as_bytes()]), &bytes, None);
        let text = format!("{PREFIX}{sealed}");
        if text.len() > MAX_CHARS { Err(Error::TooLong(text.len())) } else { Ok(text) }
    }

    /// What a token says.
    ///
    /// # Errors
    /// [`Error::Foreign`] and [`Error::Expired`].
    pub fn open(sealer: &Sealer, flow: &str, text: &str, now_s: u64) -> Result<Token, Error> {
        let sealed = text.strip_prefix(PREFIX).ok_or(Error::Foreign)?;
        let bytes = sealer
            .open(Purpose::Token, &associated_data(&[flow.as_bytes()]), sealed)
            .map_err(|_| Error::Foreign)?;
        let token: Token = postcard::from_bytes(&bytes).map_err(|_| Error::Foreign)?;
        if token.expires_at_s.is_some_and(|at| at <= now_s) { Err(Error::Expired) } else { Ok(token) }
    }

    /// Whether the text claims to be one of ours.
    pub(super) fn is_ours(text: &str) -> bool {
        text.starts_with(PREFIX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{MasterKey, MasterKeys};

    fn sealer() -> Sealer {
        Sealer::new(&MasterKeys::new(MasterKey::generate(), Vec::new()))
    }

    #[test]
    fn a_token_opens_its_own_flow_until_it_expires() {
        let sealer = sealer();
        let token =
            Token { expires_at_s: Some(100), phone: Some("+390669821234".into()), ..Token::default() };
        let text = token.issue(&sealer, "contact").expect("short");
        assert_eq!(Token::open(&sealer, "contact", &text, 99), Ok(token));
        assert_eq!(Token::open(&sealer, "contact", &text, 100), Err(Error::Expired));
        assert_eq!(Token::open(&sealer, "other", &text, 99), Err(Error::Foreign));
        assert_eq!(Token::open(&super::tests::sealer(), "contact", &text, 99), Err(Error::Foreign));
        assert_eq!(Token::open(&sealer, "contact", "unused", 99), Err(Error::Foreign));
        assert!(!text.contains("3906"));
    }

    #[test]
    fn a_token_that_says_too_much_is_refused_before_it_is_sent() {
        let hidden = BTreeMap::from([("utm".to_owned(), "x".repeat(600))]);
        let token = Token { hidden, ..Token::default() };
        assert!(matches!(token.issue(&sealer(), "contact"), Err(Error::TooLong(_))));
    }
}

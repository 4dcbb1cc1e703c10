//! Signatures of outgoing webhooks, by Standard Webhooks 1.0.0: made for a destination, checked by the sandbox's inbox.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroizing;

use super::mac::hmac_sha256;

/// The symmetric scheme's version, in front of every signature.
const VERSION: &str = "v1,";

/// What a destination's deliveries are signed with.
#[derive(Clone)]
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

/// A secret that is not one of Standard Webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWebhookSecret {
    /// Not the prefix and base64.
    #[error("the webhook secret is not \"whsec_\" and base64")]
    Malformed,
    /// Standard Webhooks asks for 24 to 64 bytes.
    #[error("the webhook secret has {bytes} bytes; it must have 24 to 64")]
    Length {
        /// How many it has.
        bytes: usize,
    },
}

/// Why a delivery is not taken for ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// The time is no number of seconds, or too far from now.
    #[error("the timestamp is not within the tolerance")]
    Timestamp,
    /// None of the signatures is of this id, time and body.
    #[error("no signature fits")]
    Mismatch,
}

impl WebhookSecret {
    const PREFIX: &str = "whsec_";

    /// Reads `whsec_` and the base64 of 24 to 64 bytes.
    pub fn parse(text: &str) -> Result<Self, InvalidWebhookSecret> {
        let encoded = text.trim().strip_prefix(Self::PREFIX).ok_or(InvalidWebhookSecret::Malformed)?;
        let bytes =
            STANDARD.decode(encoded).map(Zeroizing::new).map_err(|_| InvalidWebhookSecret::Malformed)?;
        if (24..=64).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(InvalidWebhookSecret::Length { bytes: bytes.len() })
        }
    }

    /// Makes a new one of 32 bytes.
    pub fn generate() -> Self {
        Self(Zeroizing::new(rand::random::<[u8; 32]>().to_vec()))
    }

    /// The text that [`parse`](Self::parse) reads, to hand to the destination's owner.
    pub fn to_text(&self) -> SecretString {
        let encoded = Zeroizing::new(STANDARD.encode(&*self.0));
        SecretString::from(format!("{}{}", Self::PREFIX, encoded.as_str()))
    }

    /// The value of `webhook-signature`. While secrets rotate, the values of both are sent, a space between them.
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let tag = self.tag(id, &timestamp_s.to_string(), body);
        format!("{VERSION}{}", STANDARD.encode(tag))
    }

    /// Checks a delivery by the values of its three headers.
    pub fn verify(
        &self,
        id: &str,
        timestamp: &str,
        signatures: &str,
        body: &[u8],
        now_s: i64,
        tolerance: Duration,
    ) -> Result<(), WebhookError> {
        let timestamp_s: i64 = timestamp.parse().map_err(|_| WebhookError::Timestamp)?;
        if now_s.abs_diff(timestamp_s) > tolerance.as_secs() {
            return Err(WebhookError::Timestamp);
        }
        let tag = self.tag(id, timestamp, body);
        let fits = signatures
            .split(' ')
            .filter_map(|signature| STANDARD.decode(signature.strip_prefix(VERSION)?).ok())
            .fold(Choice::from(0), |any, given| any | tag.ct_eq(&given));
        if fits.into() { Ok(()) } else { Err(WebhookError::Mismatch) }
    }

    fn tag(&self, id: &str, timestamp: &str, body: &[u8]) -> [u8; 32] {
        hmac_sha256(&self.0, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body])
    }
}

impl TryFrom<&SecretString> for WebhookSecret {
    type Error = InvalidWebhookSecret;

    fn try_from(text: &SecretString) -> Result<Self, Self::Error> {
        Self::parse(text.expose_secret())
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WebhookSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE_MINUTES: Duration = Duration::from_secs(300);
    const NOW_S: i64 = 1_795_521_600;

    fn verify(secret: &WebhookSecret, signatures: &str, now_s: i64) -> Result<(), WebhookError> {
        secret.verify("msg_1", &NOW_S.to_string(), signatures, b"{}", now_s, FIVE_MINUTES)
    }

    #[test]
    fn one_fitting_signature_of_several_is_enough() {
        let (old, new) = (WebhookSecret::generate(), WebhookSecret::generate());
        let both = [&new, &old].map(|secret| secret.sign("msg_1", NOW_S, b"{}")).join(" ");
        assert_eq!((verify(&old, &both, NOW_S), verify(&new, &both, NOW_S)), (Ok(()), Ok(())));
        assert_eq!(verify(&WebhookSecret::generate(), &both, NOW_S), Err(WebhookError::Mismatch));
    }

    #[test]
    fn a_delivery_is_good_for_the_tolerance_either_way() {
        let secret = WebhookSecret::generate();
        let signature = secret.sign("msg_1", NOW_S, b"{}");
        for (skew_s, expected) in [
            (300, Ok(())),
            (-300, Ok(())),
            (301, Err(WebhookError::Timestamp)),
            (-301, Err(WebhookError::Timestamp)),
        ] {
            assert_eq!(verify(&secret, &signature, NOW_S + skew_s), expected, "{skew_s}");
        }
    }

    #[test]
    fn another_id_time_body_or_scheme_does_not_fit() {
        let secret = WebhookSecret::generate();
        let signature = secret.sign("msg_1", NOW_S, b"{}");
        let time = NOW_S.to_string();
        let check = |id: &str, time: &str, signature: &str, body: &[u8]| {
            secret.verify(id, time, signature, body, NOW_S, FIVE_MINUTES)
        };
        assert_eq!(check("msg_1", &time, &signature, b"{}"), Ok(()));
        assert_eq!(check("msg_2", &time, &signature, b"{}"), Err(WebhookError::Mismatch));
        assert_eq!(check("msg_1", &(NOW_S + 1).to_string(), &signature, b"{}"), Err(WebhookError::Mismatch));
        assert_eq!(check("msg_1", &time, &signature, b"{ }"), Err(WebhookError::Mismatch));
        assert_eq!(
            check("msg_1", &time, &signature.replace("v1,", "v2,"), b"{}"),
            Err(WebhookError::Mismatch)
        );
        for partial in ["", " ", "v1,", "v1", &signature[..signature.len() - 4]] {
            assert_eq!(check("msg_1", &time, partial, b"{}"), Err(WebhookError::Mismatch), "{partial}");
        }
        for time in ["", "now", "1e9", "99999999999999999999"] {
            assert_eq!(check("msg_1", time, &signature, b"{}"), Err(WebhookError::Timestamp), "{time}");
        }
    }

    #[test]
    fn a_secret_survives_its_text_and_is_not_shown() {
        let secret = WebhookSecret::generate();
        let read = WebhookSecret::try_from(&secret.to_text()).expect("its own text");
        assert_eq!(read.0, secret.0);
        assert_eq!(format!("{secret:?}"), "WebhookSecret");
    }

    #[test]
    fn a_secret_of_another_form_is_refused() {
        use InvalidWebhookSecret::{Length, Malformed};
        let of_length = |bytes| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        let refusal = |text: &str| WebhookSecret::parse(text).err();
        assert_eq!((refusal(&of_length(24)), refusal(&of_length(64))), (None, None));
        assert_eq!(refusal(&of_length(23)), Some(Length { bytes: 23 }));
        assert_eq!(refusal(&of_length(65)), Some(Length { bytes: 65 }));
        for text in ["", "whsec_!", &of_length(32)[6..]] {
            assert_eq!(refusal(text), Some(Malformed), "{text}");
        }
    }
}

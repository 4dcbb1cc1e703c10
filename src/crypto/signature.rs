//! What proves that a request is Meta's: the signature over the body, and the one over the flow token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use subtle::{Choice, ConstantTimeEq as _};

use super::hex;
use super::mac::hmac_sha256;

/// A secret of the Meta app.
#[derive(Debug, Clone)]
pub struct AppSecret {
    secret: SecretString,
    expires_at_s: Option<u64>,
}

/// Why app secrets cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAppSecret {
    /// With an empty key everyone can sign.
    #[error("the app secret is empty")]
    Empty,
    /// Without a secret no request could be told from a stranger's.
    #[error("there is no app secret")]
    Missing,
}

impl AppSecret {
    /// A secret that is not accepted any more from `expires_at_s` on, in Unix seconds: after a reset Meta keeps signing with the
    /// old one for some hours (WhatsApp Flows reference 1.3).
    pub fn new(secret: SecretString, expires_at_s: Option<u64>) -> Result<Self, InvalidAppSecret> {
        if secret.expose_secret().is_empty() {
            return Err(InvalidAppSecret::Empty);
        }
        Ok(Self { secret, expires_at_s })
    }

    fn is_valid_at(&self, now_s: u64) -> bool {
        self.expires_at_s.is_none_or(|expires_at_s| now_s < expires_at_s)
    }
}

/// The secrets that a request may be signed with; never none.
#[derive(Debug, Clone)]
pub struct AppSecrets(Vec<AppSecret>);

impl AppSecrets {
    /// Takes at least one secret.
    pub fn new(secrets: Vec<AppSecret>) -> Result<Self, InvalidAppSecret> {
        if secrets.is_empty() { Err(InvalidAppSecret::Missing) } else { Ok(Self(secrets)) }
    }

    /// Whether any of them is in force.
    #[must_use]
    pub fn is_any_valid_at(&self, now_s: u64) -> bool {
        self.0.iter().any(|secret| secret.is_valid_at(now_s))
    }

    /// Whether one of the secrets in force made this tag. Every one of them is tried, so that time does not tell which.
    fn made(&self, tag: &[u8], message: &[u8], now_s: u64) -> bool {
        self.0
            .iter()
            .filter(|secret| secret.is_valid_at(now_s))
            .map(|AppSecret { secret, .. }| mac(secret, message).ct_eq(tag))
            .fold(Choice::from(0), |any, this| any | this)
            .into()
    }
}

fn mac(secret: &SecretString, message: &[u8]) -> [u8; 32] {
    hmac_sha256(secret.expose_secret().as_bytes(), &[message])
}

/// Why a body is not taken for Meta's. The sender learns nothing of the difference: each is 432.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No header.
    #[error("the request is not signed")]
    Missing,
    /// Not `sha256=` and 64 hexadecimal digits.
    #[error("the signature has not the form of one")]
    Malformed,
    /// Another body, or another secret.
    #[error("the signature fits none of the app secrets")]
    Mismatch,
}

/// `X-Hub-Signature-256` (WhatsApp Flows reference 1.3).
#[derive(Debug, Clone, Copy)]
pub struct HubSignature;

impl HubSignature {
    const PREFIX: &str = "sha256=";

    /// Checks the header's value over the raw body, before anything else looks at that body.
    pub fn verify(
        secrets: &AppSecrets,
        header: Option<&str>,
        raw_body: &[u8],
        now_s: u64,
    ) -> Result<(), SignatureError> {
        let header = header.ok_or(SignatureError::Missing)?;
        let tag =
            header.strip_prefix(Self::PREFIX).and_then(hex::decode::<32>).ok_or(SignatureError::Malformed)?;
        if secrets.made(&tag, raw_body, now_s) { Ok(()) } else { Err(SignatureError::Mismatch) }
    }

    /// The header's value as Meta makes it.
    pub fn sign(secret: &SecretString, raw_body: &[u8]) -> String {
        format!("{}{}", Self::PREFIX, hex::encode(&mac(secret, raw_body)))
    }
}

/// Why a flow token is not taken for the one that Meta sent along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlowTokenSignatureError {
    /// Not a JWT of algorithm HS256 with a claim `flow_token`.
    #[error("the flow token's signature is not a JWT of the expected form")]
    Malformed,
    /// Changed, or made with another secret.
    #[error("the flow token's signature fits none of the app secrets")]
    Mismatch,
    /// Meta signed another token.
    #[error("the signature is of another flow token")]
    OtherToken,
}

/// `flow_token_signature` of data API 4.0: a JWT under the app secret (WhatsApp Flows reference 1.6).
#[derive(Debug, Clone, Copy)]
pub struct FlowTokenSignature;

impl FlowTokenSignature {
    /// Checks that Meta signed exactly this token. No expiry is documented, so none is asked for.
    pub fn verify(
        secrets: &AppSecrets,
        flow_token: &str,
        signature: &str,
        now_s: u64,
    ) -> Result<(), FlowTokenSignatureError> {
        use FlowTokenSignatureError::{Malformed, Mismatch, OtherToken};

        let (signed, tag) = signature.rsplit_once('.').ok_or(Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Malformed)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| Malformed)?;
        // The algorithm is ours, never the one the header names, and nothing is parsed that is not signed.
        if !secrets.made(&tag, signed.as_bytes(), now_s) {
            return Err(Mismatch);
        }
        let header: Header = json(header).ok_or(Malformed)?;
        let claims: Claims = json(claims).ok_or(Malformed)?;
        if header.alg != "HS256" {
            return Err(Malformed);
        }
        if claims.flow_token == flow_token { Ok(()) } else { Err(OtherToken) }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    flow_token: String,
}

fn json<T: DeserializeOwned>(segment: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(segment).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_795_521_600;

    fn secret(text: &str, expires_at_s: Option<u64>) -> AppSecret {
        AppSecret::new(SecretString::from(text), expires_at_s).expect("not empty")
    }

    fn secrets() -> AppSecrets {
        AppSecrets::new(vec![secret("new", None), secret("old", Some(NOW_S))]).expect("not none")
    }

    fn verify(header: &str, now_s: u64) -> Result<(), SignatureError> {
        HubSignature::verify(&secrets(), Some(header), b"body", now_s)
    }

    #[test]
    fn the_old_secret_is_good_until_it_expires() {
        let (new, old) = ["new", "old"].map(|text| HubSignature::sign(&text.into(), b"body")).into();
        assert_eq!((verify(&new, NOW_S), verify(&old, NOW_S - 1)), (Ok(()), Ok(())));
        assert_eq!(verify(&old, NOW_S), Err(SignatureError::Mismatch));
    }

    #[test]
    fn a_signature_with_any_bit_flipped_is_refused() {
        let tag = mac(&"new".into(), b"body");
        for bit in 0..256 {
            let mut altered = tag;
            altered[bit / 8] ^= 1 << (bit % 8);
            let header = format!("sha256={}", hex::encode(&altered));
            assert_eq!(verify(&header, NOW_S), Err(SignatureError::Mismatch));
        }
    }

    #[test]
    fn what_is_not_a_signature_is_told_apart_for_the_operator() {
        assert_eq!(HubSignature::verify(&secrets(), None, b"body", NOW_S), Err(SignatureError::Missing));
        let signature = HubSignature::sign(&"new".into(), b"body");
        let hex = signature.strip_prefix("sha256=").expect("has the prefix");
        for header in ["", "sha256=", hex, &signature[..70], &format!("sha1={hex}"), &format!("{signature}0")]
        {
            assert_eq!(verify(header, NOW_S), Err(SignatureError::Malformed), "{header}");
        }
    }

    #[test]
    fn an_empty_secret_and_an_empty_list_are_refused() {
        assert_eq!(AppSecret::new("".into(), None).err(), Some(InvalidAppSecret::Empty));
        assert_eq!(AppSecrets::new(Vec::new()).err(), Some(InvalidAppSecret::Missing));
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert!(!format!("{:?}", AppSecrets::new(vec![secret("canary", None)])).contains("canary"));
    }

    fn jwt(secret: &str, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let tag = URL_SAFE_NO_PAD.encode(mac(&secret.into(), signed.as_bytes()));
        format!("{signed}.{tag}")
    }

    fn verify_token(signature: &str) -> Result<(), FlowTokenSignatureError> {
        FlowTokenSignature::verify(&secrets(), "tok-1", signature, NOW_S)
    }

    const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

    #[test]
    fn a_token_is_good_with_its_own_signature_only() {
        assert_eq!(verify_token(&jwt("new", HS256, r#"{"flow_token":"tok-1","iat":1}"#)), Ok(()));
        assert_eq!(
            verify_token(&jwt("new", HS256, r#"{"flow_token":"tok-2"}"#)),
            Err(FlowTokenSignatureError::OtherToken)
        );
        assert_eq!(
            verify_token(&jwt("old", HS256, r#"{"flow_token":"tok-1"}"#)),
            Err(FlowTokenSignatureError::Mismatch)
        );
    }

    #[test]
    fn no_other_algorithm_is_taken() {
        let claims = r#"{"flow_token":"tok-1"}"#;
        for header in
            [r#"{"alg":"none"}"#, r#"{"alg":"hs256"}"#, r#"{"alg":"HS512"}"#, "{}", "[", r#"{"alg":1}"#]
        {
            assert_eq!(verify_token(&jwt("new", header, claims)), Err(FlowTokenSignatureError::Malformed));
        }
        let unsigned = jwt("new", r#"{"alg":"none"}"#, claims);
        let (unsigned, _) = unsigned.rsplit_once('.').expect("three segments");
        assert_eq!(verify_token(&format!("{unsigned}.")), Err(FlowTokenSignatureError::Mismatch));
    }

    #[test]
    fn what_is_not_a_token_signature_is_refused_without_a_panic() {
        for signature in ["", ".", "..", "a.b", "a.b.!", "a.b.c.d", "é.é.é"] {
            assert!(verify_token(signature).is_err(), "{signature}");
        }
        for claims in ["{}", "[]", "", r#"{"flow_token":null}"#] {
            assert_eq!(verify_token(&jwt("new", HS256, claims)), Err(FlowTokenSignatureError::Malformed));
        }
    }
}

//! Signatures of a whole body by a shared secret, as some form tools make them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};

use super::mac::hmac_sha256;

/// The signature of a body.
#[derive(Debug, Clone, Copy)]
pub struct BodySignature;

impl BodySignature {
    /// `sha256=` and the base64 of HMAC-SHA-256 over the raw bytes: `Typeform-Signature` (form tools reference, 3.3).
    pub fn sha256(secret: &SecretString, body: &[u8]) -> String {
        let tag = hmac_sha256(secret.expose_secret().as_bytes(), &[body]);
        format!("sha256={}", STANDARD.encode(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_signed_as_openssl_signs_it() {
        // printf '{"a":1}' | openssl dgst -sha256 -hmac secret -binary | base64
        let secret = SecretString::from("secret");
        assert_eq!(
            BodySignature::sha256(&secret, b"{\"a\":1}"),
            "sha256=qp4uNXX11wmLbKzNeQiIw21f22M0KnO62i1qUXR6hJQ="
        );
    }
}

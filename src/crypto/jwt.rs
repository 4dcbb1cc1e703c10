//! Signed claims (RFC 7519, RS256): how a service account of Google's asks for a token.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pkcs8::der::Decode as _;
use pkcs8::spki::SubjectPublicKeyInfoRef;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::key::KeyError;
use super::pem;

/// A private RSA key that signs claims.
pub struct ClaimsKey {
    pair: KeyPair,
    id: String,
}

impl ClaimsKey {
    /// Reads the PEM of a key; `id` is what the verifier knows it by.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(pem: &SecretString, id: &str) -> Result<Self, KeyError> {
        let document = pem::read(pem.expose_secret(), None)?;
        let pair = KeyPair::from_pkcs8(document.as_bytes()).map_err(|_| KeyError::Damaged)?;
        Ok(Self { pair, id: id.to_owned() })
    }

    /// The claims as a compact JWT.
    pub fn sign(&self, claims: &Value) -> SecretString {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": self.id});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .expect("a key of a size that was read signs SHA-256");
        SecretString::from(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl fmt::Debug for ClaimsKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ClaimsKey")
    }
}

/// The claims of a compact JWT that the owner of this public key has signed; `None` for anything else.
pub fn verify_claims(jwt: &str, public_pem: &str) -> Option<Value> {
    let document = ::pem::parse(public_pem).ok()?.into_contents();
    let info = SubjectPublicKeyInfoRef::from_der(&document).ok()?;
    let (message, signature) = jwt.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    // The one algorithm, whatever the header asks for.
    if header["alg"] != "RS256" {
        return None;
    }
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, info.subject_public_key.as_bytes()?);
    key.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::PrivateKey;

    #[test]
    fn what_is_signed_is_verified_by_the_public_key_and_by_no_other() {
        let key = PrivateKey::generate();
        let signer = ClaimsKey::from_pem(&key.private_pem(), "key-1").expect("an RSA key");
        let jwt = signer.sign(&json!({"iss": "robot@example.iam.gserviceaccount.com"}));
        let jwt = jwt.expose_secret();
        let claims = verify_claims(jwt, &key.public_pem()).expect("signed by this key");
        assert_eq!(claims["iss"], "robot@example.iam.gserviceaccount.com");
        assert_eq!(verify_claims(jwt, &PrivateKey::generate().public_pem()), None);
        let (message, signature) = jwt.rsplit_once('.').expect("three parts");
        let (header, claims) = message.split_once('.').expect("two parts");
        let read: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).expect("base64url")).expect("JSON");
        assert_eq!(read, json!({"alg": "RS256", "typ": "JWT", "kid": "key-1"}));
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        for changed in
            [format!("{header}.{claims}A.{signature}"), format!("{none}.{claims}."), "x".to_owned()]
        {
            assert_eq!(verify_claims(&changed, &key.public_pem()), None, "{changed}");
        }
        assert!(ClaimsKey::from_pem(&SecretString::from("no key"), "k").is_err());
        assert_eq!(format!("{signer:?}"), "ClaimsKey");
    }
}

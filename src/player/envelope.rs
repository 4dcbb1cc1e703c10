//! The client's half of the cryptography: what a phone does to a request and to its reply, and what Meta's proxy adds.
//!
//! It shares nothing with the server's side, so that the two can only agree by both following the specification
//! (WhatsApp Flows reference 1.2, 1.3, 1.6). It holds no private key.

use aes_gcm::AesGcm;
use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead, KeyInit as _};
use aes_gcm::aes::Aes128;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use rand::Rng as _;
use rsa::PublicKey;
use rsa::pkcs8::DecodePublicKey as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sha2::Sha256;

/// The IV has 16 bytes, not the usual 12 (reference 1.2).
type ExchangeCipher = AesGcm<Aes128, U16>;

/// Why an envelope could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint's public key is not an RSA key in SPKI PEM.
    #[error("the public key is not an RSA key in SPKI PEM")]
    PublicKey(#[source] rsa::pkcs8::spki::Error),
    /// The AES key could not be encrypted to the endpoint.
    #[error("the AES key could not be encrypted")]
    KeyTransport(#[source] rsa::Error),
}

/// Why a reply could not be opened; each is `response-decryption-error` to the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The body is not bare standard base64.
    #[error("the body is not base64")]
    Base64,
    /// The tag does not fit the request's key and the inverted IV.
    #[error("the body does not decrypt with the request's key and the inverted IV")]
    Tag,
}

/// The endpoint's public key as the client caches it.
#[derive(Debug, Clone)]
pub struct EndpointKey(PublicKey);

impl EndpointKey {
    /// Reads the SPKI PEM that the Graph API serves.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        PublicKey::from_public_key_pem(pem).map(Self).map_err(Error::PublicKey)
    }
}

/// One sealed request, and what opens its reply.
#[derive(Clone)]
pub struct Envelope {
    body: Vec<u8>,
    aes_key: [u8; 16],
    iv: [u8; 16],
}

impl Envelope {
    /// Seals `plaintext` under a fresh AES key and IV.
    pub fn seal(endpoint_key: &EndpointKey, plaintext: &[u8]) -> Result<Self, Error> {
        let mut rng = rand::rng();
        let (mut aes_key, mut iv) = ([0; 16], [0; 16]);
        rng.fill_bytes(&mut aes_key);
        rng.fill_bytes(&mut iv);
        let encrypted_key = endpoint_key
            .0
            .oaep_encrypt_with_rng::<Sha256, _>(&mut rng, &aes_key)
            .map_err(Error::KeyTransport)?;
        let body = json!({
            "encrypted_flow_data": STANDARD.encode(encrypt(&aes_key, &iv, plaintext)),
            "encrypted_aes_key": STANDARD.encode(encrypted_key),
            "initial_vector": STANDARD.encode(iv),
        });
        Ok(Self { body: body.to_string().into_bytes(), aes_key, iv })
    }

    /// The request body as it goes over the wire.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Opens a reply: the request's key, every bit of its IV inverted.
    pub fn open(&self, reply: &[u8]) -> Result<Vec<u8>, OpenError> {
        let ciphertext = STANDARD.decode(reply).map_err(|_| OpenError::Base64)?;
        cipher(&self.aes_key)
            .decrypt(&self.iv.map(|byte| !byte).into(), ciphertext.as_slice())
            .map_err(|_| OpenError::Tag)
    }
}

fn cipher(aes_key: &[u8; 16]) -> ExchangeCipher {
    ExchangeCipher::new(&(*aes_key).into())
}

fn encrypt(aes_key: &[u8; 16], iv: &[u8; 16], plaintext: &[u8]) -> Vec<u8> {
    cipher(aes_key).encrypt(&(*iv).into(), plaintext).expect("a request is far below the limit of AES-GCM")
}

/// The value of `X-Hub-Signature-256` over the raw body (reference 1.3).
pub fn hub_signature(app_secret: &SecretString, body: &[u8]) -> String {
    let mut signature = String::from("sha256=");
    for byte in mac(app_secret, body) {
        signature.push_str(&format!("{byte:02x}"));
    }
    signature
}

/// The `flow_token_signature` of data API 4.0: a JWT with the token as its only claim (reference 1.6).
pub fn flow_token_signature(app_secret: &SecretString, flow_token: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = URL_SAFE_NO_PAD.encode(json!({ "flow_token": flow_token }).to_string());
    let signed = format!("{header}.{claims}");
    let tag = URL_SAFE_NO_PAD.encode(mac(app_secret, signed.as_bytes()));
    format!("{signed}.{tag}")
}

fn mac(app_secret: &SecretString, message: &[u8]) -> [u8; 32] {
    let key = app_secret.expose_secret().as_bytes();
    let mut mac =
        <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    const SECRET: &str = "test-app-secret";

    fn iv() -> [u8; 16] {
        std::array::from_fn(|index| 0xa0 + u8::try_from(index).expect("16 fits"))
    }

    // The vectors of the WhatsApp Flows reference, section 10.
    #[test]
    fn the_published_request_vector_is_reproduced() {
        let sealed = encrypt(&KEY, &iv(), br#"{"version":"3.0","action":"ping"}"#);
        assert_eq!(
            STANDARD.encode(sealed),
            "RXsgKMV2vzp9Rg/3Nn9QNv1AIVWqxNBHbiobq+p97njG/oEBr518kbftZkNYkqEcIg=="
        );
    }

    #[test]
    fn the_published_reply_vector_opens_with_the_inverted_iv() {
        let envelope = Envelope { body: Vec::new(), aes_key: KEY, iv: iv() };
        let reply = b"FusEzBdzvQC+45OrlNKuLz5JY7ITAEKuw/x2vQfdtCN50KTnDUi/t1juMWA=";
        assert_eq!(envelope.open(reply).expect("opens"), br#"{"data":{"status":"active"}}"#);
        assert_eq!(envelope.open(b"\"quoted\""), Err(OpenError::Base64));
        assert_eq!(envelope.open(&reply[..56]), Err(OpenError::Tag));
    }

    #[test]
    fn the_published_signatures_are_reproduced() {
        let secret = SecretString::from(SECRET);
        let body = br#"{"encrypted_flow_data":"RXsgKMV2vzp9Rg/3Nn9QNv1AIVWqxNBHbiobq+p97njG/oEBr518kbftZkNYkqEcIg==","encrypted_aes_key":"QUJD","initial_vector":"oKGio6SlpqeoqaqrrK2urw=="}"#;
        assert_eq!(
            hub_signature(&secret, body),
            "sha256=e1d1c7df804afd77ab5c8baccf6826646b1ad7d3da541035842c6275b6ff24e8"
        );
        assert_eq!(
            flow_token_signature(&secret, "tok-123"),
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJmbG93X3Rva2VuIjoidG9rLTEyMyJ9.HkiC43VA0vPfgNOdTUu1tfEadIkgZZjJfHk2uZEgSao"
        );
    }
}

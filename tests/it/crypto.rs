//! The server's cryptography against other people's: OpenSSL's keys, Node's ciphers, published vectors, and a client built on
//! another RSA library.

mod envelope;
mod keys;
mod node;
mod vectors;

use std::sync::LazyLock;

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead as _, KeyInit as _};
use aes_gcm::{AesGcm, aes::Aes128};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use formgate::crypto::{KeyRing, PrivateKey};
use rsa::PublicKey;
use rsa::pkcs8::DecodePublicKey as _;
use serde_json::json;

/// One key for all tests that need just any: making one takes its time.
static RING: LazyLock<KeyRing> = LazyLock::new(|| KeyRing::new(vec![PrivateKey::generate()]));

fn key() -> &'static PrivateKey {
    &RING.keys()[0]
}

/// What a client encrypts, part by part.
#[derive(Clone)]
struct Parts {
    encrypted_aes_key: Vec<u8>,
    iv: Vec<u8>,
    encrypted_flow_data: Vec<u8>,
}

impl Parts {
    fn seal(key: &PrivateKey, plaintext: &[u8]) -> Self {
        Self::seal_with(key, rand::random(), rand::random(), plaintext)
    }

    fn seal_with(key: &PrivateKey, aes_key: [u8; 16], iv: [u8; 16], plaintext: &[u8]) -> Self {
        Self {
            encrypted_aes_key: encrypt_to(key, &aes_key),
            iv: iv.to_vec(),
            encrypted_flow_data: AesGcm::<Aes128, U16>::new(&aes_key.into())
                .encrypt(&iv.into(), plaintext)
                .expect("encrypts"),
        }
    }

    fn body(&self) -> Vec<u8> {
        json!({
            "encrypted_flow_data": STANDARD.encode(&self.encrypted_flow_data),
            "encrypted_aes_key": STANDARD.encode(&self.encrypted_aes_key),
            "initial_vector": STANDARD.encode(&self.iv),
        })
        .to_string()
        .into_bytes()
    }
}

fn encrypt_to(key: &PrivateKey, message: &[u8]) -> Vec<u8> {
    PublicKey::from_public_key_pem(&key.public_pem())
        .expect("an RSA key")
        .oaep_encrypt_with_rng::<sha2::Sha256, _>(&mut rand::rng(), message)
        .expect("encrypts")
}

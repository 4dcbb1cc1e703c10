//! Where one module asks for what another has, without knowing it.

use crate::crypto::{MacKey, Vault, WebhookSecret};
use crate::outbox::{SealBody, SignWebhook, Unsealable};
use crate::store::Mac;

impl Mac for MacKey {
    fn mac(&self, domain: &str, parts: &[&[u8]]) -> [u8; 32] {
        MacKey::mac(self, domain, parts)
    }
}

impl SealBody for Vault {
    fn seal(&self, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
        Vault::seal(self, context, plaintext)
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        Vault::open(self, context, sealed).map(|plaintext| plaintext.to_vec()).map_err(|_| Unsealable)
    }
}

impl SignWebhook for WebhookSecret {
    fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        WebhookSecret::sign(self, id, timestamp_s, body)
    }
}

//! HMAC-SHA-256, the one keyed hash of everything here.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The tag over the parts as if they were one message: the caller sees to it that their borders are unambiguous.
pub(super) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

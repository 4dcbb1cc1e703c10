//! HMAC-SHA-256, the one keyed hash of everything here.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::sealer::associated_data;

/// Whether two secrets are the same; how long that takes says nothing but whether they have the same length.
#[must_use]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// The tag over the parts as if they were one message: the caller sees to it that their borders are unambiguous.
pub(super) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// A random key for keyed hashes that outlive a master key: it is kept, sealed, beside what it hashes.
#[derive(Clone)]
pub struct MacKey(Zeroizing<[u8; 32]>);

impl MacKey {
    /// Makes a new one.
    pub fn generate() -> Self {
        Self(Zeroizing::new(rand::random()))
    }

    /// The key with these bytes; `None` if there are not 32 of them.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// Its bytes, to be sealed.
    pub fn expose_bytes(&self) -> &[u8] {
        &*self.0
    }

    /// The tag over the parts, their borders included. Tags of different domains are never the same.
    pub fn mac(&self, domain: &str, parts: &[&[u8]]) -> [u8; 32] {
        let message = associated_data(&[&[domain.as_bytes()], parts].concat());
        hmac_sha256(&*self.0, &[&message])
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MacKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_depend_on_key_domain_and_every_border() {
        let key = MacKey::generate();
        let tag = key.mac("domain", &[b"ab", b"c"]);
        assert_eq!(
            MacKey::from_bytes(key.expose_bytes()).expect("32 bytes").mac("domain", &[b"ab", b"c"]),
            tag
        );
        assert_ne!(MacKey::generate().mac("domain", &[b"ab", b"c"]), tag);
        assert_ne!(key.mac("domain", &[b"a", b"bc"]), tag);
        assert_ne!(key.mac("domaina", &[b"b", b"c"]), tag);
        assert!(MacKey::from_bytes(&[0; 31]).is_none());
        assert_eq!(format!("{key:?}"), "MacKey");
    }
}

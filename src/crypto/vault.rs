//! What rests in the store: bytes sealed under the master key, and keyed hashes that find a person without naming one.

use zeroize::Zeroizing;

use super::sealer::{NotOurs, Purpose, Sealer};

/// Seals what is stored for one purpose. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Vault {
    sealer: Sealer,
    purpose: Purpose,
}

impl Vault {
    /// A vault of its own for each purpose.
    pub fn new(sealer: Sealer, purpose: Purpose) -> Self {
        Self { sealer, purpose }
    }

    /// Seals bytes, bound to a context that has to be given again to open them.
    pub fn seal(&self, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
        self.sealer.seal_bytes(self.purpose, context, plaintext, None)
    }

    /// Opens what was sealed under the same context.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotOurs> {
        self.sealer.open_bytes(self.purpose, context, sealed)
    }

    /// Whether one of the master keys may have sealed these bytes.
    pub fn has_key_of(&self, sealed: &[u8]) -> bool {
        self.sealer.has_key_of(sealed)
    }

    /// The same bytes sealed under the newest master key; `None` if they are already.
    pub fn reseal(&self, context: &[u8], sealed: &[u8]) -> Result<Option<Vec<u8>>, NotOurs> {
        if self.sealer.opens_currently(self.purpose, context, sealed) {
            return Ok(None);
        }
        Ok(Some(self.seal(context, &self.open(context, sealed)?)))
    }

    /// A hash that nobody without the master key can compute or confirm, for an index over personal data.
    pub fn keyed_hash(&self, domain: &str, bytes: &[u8]) -> [u8; 32] {
        self.sealer.keyed_hash(domain, bytes)
    }

    /// The hashes that an entry may be indexed under: one for each master key, as it was in use when the entry was made.
    pub fn keyed_hashes(&self, domain: &str, bytes: &[u8]) -> impl Iterator<Item = [u8; 32]> {
        self.sealer.keyed_hashes(domain, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{MasterKey, MasterKeys};

    #[test]
    fn a_body_opens_in_its_own_vault_and_context_only() {
        let sealer = Sealer::new(&MasterKeys::new(MasterKey::generate(), Vec::new()));
        let bodies = Vault::new(sealer.clone(), Purpose::StoredBody);
        let secrets = Vault::new(sealer, Purpose::Secret);
        let sealed = bodies.seal(b"submission 1", b"answers");
        assert_eq!(bodies.open(b"submission 1", &sealed).expect("ours").as_slice(), b"answers");
        assert_eq!(bodies.open(b"submission 2", &sealed), Err(NotOurs));
        assert_eq!(secrets.open(b"submission 1", &sealed), Err(NotOurs));
    }

    #[test]
    fn what_an_older_key_sealed_is_sealed_again_once() {
        let (old, new) = (MasterKey::generate(), MasterKey::generate());
        let vault = |current: &MasterKey, previous: &[MasterKey]| {
            Vault::new(Sealer::new(&MasterKeys::new(current.clone(), previous.to_vec())), Purpose::StoredBody)
        };
        let sealed = vault(&old, &[]).seal(b"submission 1", b"answers");
        let both = vault(&new, &[old]);
        let resealed = both.reseal(b"submission 1", &sealed).expect("ours").expect("under the older key");
        assert_eq!(vault(&new, &[]).open(b"submission 1", &resealed).expect("ours").as_slice(), b"answers");
        assert_eq!(both.reseal(b"submission 1", &resealed), Ok(None));
        assert_eq!(both.reseal(b"submission 2", &sealed), Err(NotOurs));
    }

    #[test]
    fn an_entry_is_found_after_the_master_key_changed() {
        let (old, new) = (MasterKey::generate(), MasterKey::generate());
        let vault = |current: &MasterKey, previous: &[MasterKey]| {
            Vault::new(Sealer::new(&MasterKeys::new(current.clone(), previous.to_vec())), Purpose::StoredBody)
        };
        let entry = vault(&old, &[]).keyed_hash("phone", b"+39055123456");
        let rotated = vault(&new, &[old]);
        assert_ne!(rotated.keyed_hash("phone", b"+39055123456"), entry);
        assert!(rotated.keyed_hashes("phone", b"+39055123456").any(|hash| hash == entry));
        assert_eq!(rotated.keyed_hashes("phone", b"x").next(), Some(rotated.keyed_hash("phone", b"x")));
    }

    #[test]
    fn domains_do_not_run_into_the_bytes() {
        let vault =
            Vault::new(Sealer::new(&MasterKeys::new(MasterKey::generate(), Vec::new())), Purpose::StoredBody);
        assert_ne!(vault.keyed_hash("ab", b"c"), vault.keyed_hash("a", b"bc"));
    }
}

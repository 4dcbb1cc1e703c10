//! The words of the audit chain: every audit record put while a store has a key gets a link, which holds a tag over the
//! record and over the tag of the link before.
//!
//! Invariant: link and record are written in one transaction, and the head, sealed by its own tag, names the last of them.
//! So a record that was changed, deleted, moved or cut off at the end is found by whoever has the key, and nobody without
//! it can make a chain that looks whole. Not found is a whole file that was put back to an earlier state of itself.
//!
//! The oldest links can be taken off together with their records: then a head sealed in words of its own, the *start*, says
//! what the first that is left stands on. Only links that are as they were written are taken off.

/// A keyed hash whose key the store never sees.
pub trait Mac: Send + Sync {
    /// The tag over the parts, borders included; tags of different domains are never the same.
    fn mac(&self, domain: &str, parts: &[&[u8]]) -> [u8; 32];
}

/// What the last link is sealed as.
const HEAD: &str = "audit head";
/// What the last of the links that were taken off is sealed as.
const START: &str = "audit start";

/// Where a chain begins.
const BEGIN: [u8; 32] = [0; 32];
/// Where it begins again because its head was taken away: no link of a whole chain stands on this.
const TORN: [u8; 32] = [0xff; 32];

/// The last link of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0 before the first one.
    pub number: u64,
    /// Its tag.
    pub tag: [u8; 32],
}

impl Head {
    /// Before the first link.
    pub(crate) const NONE: Self = Self { number: 0, tag: BEGIN };

    /// What a chain goes on from that has links but no head: it can be read, and never looks whole again.
    pub(super) fn torn(number: u64) -> Self {
        Self { number, tag: TORN }
    }

    /// The head after one more record.
    #[must_use]
    pub fn next(&self, mac: &dyn Mac, key: &[u8], value: &[u8]) -> Self {
        let number = self.number.saturating_add(1);
        Self { number, tag: mac.mac("audit link", &[&self.tag, &number.to_be_bytes(), key, value]) }
    }

    /// The bytes of the record that names it as the last.
    pub(super) fn to_bytes(self, mac: &dyn Mac) -> Vec<u8> {
        self.sealed(mac, HEAD)
    }

    /// Reads it back; `None` if it was not sealed with this key.
    pub(super) fn from_bytes(bytes: &[u8], mac: &dyn Mac) -> Option<Self> {
        Self::opened(bytes, mac, HEAD)
    }

    /// The bytes of the record that names it as what the chain stands on.
    pub(super) fn to_start(self, mac: &dyn Mac) -> Vec<u8> {
        self.sealed(mac, START)
    }

    /// Reads that back; `None` if it was not sealed with this key.
    pub(super) fn from_start(bytes: &[u8], mac: &dyn Mac) -> Option<Self> {
        Self::opened(bytes, mac, START)
    }

    fn sealed(self, mac: &dyn Mac, domain: &str) -> Vec<u8> {
        let seal = mac.mac(domain, &[&self.number.to_be_bytes(), &self.tag]);
        [self.number.to_be_bytes().as_slice(), &self.tag, &seal].concat()
    }

    fn opened(bytes: &[u8], mac: &dyn Mac, domain: &str) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk::<8>()?;
        let (tag, _seal) = rest.split_first_chunk::<32>()?;
        let head = Self { number: u64::from_be_bytes(*number), tag: *tag };
        // Whoever can watch this comparison has the file and no use for its time.
        (head.sealed(mac, domain) == bytes).then_some(head)
    }
}

/// A link as it stands in the store, with the record it is about.
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number; the first is 1.
    pub number: u64,
    /// Its tag; empty if the link is damaged.
    pub tag: Vec<u8>,
    /// The key of the audit record.
    pub key: Vec<u8>,
    /// The audit record; `None` if it is gone.
    pub value: Option<Vec<u8>>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Link").field("number", &self.number).finish_non_exhaustive()
    }
}

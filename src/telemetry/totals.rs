//! What a flow's exchanges came to, as plain numbers: alerts read these, since the metric families can only be scraped.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Exchanges of a flow since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlowTotals {
    /// 200.
    pub well: u64,
    /// 427.
    pub token: u64,
    /// 421.
    pub undecryptable: u64,
    /// 432.
    pub signature: u64,
    /// Any other status.
    pub failed: u64,
    /// Errors that WhatsApp reported; each of these was answered, too.
    pub notices: u64,
}

/// The same, being counted.
#[derive(Debug, Default)]
pub(super) struct Counting {
    well: AtomicU64,
    token: AtomicU64,
    undecryptable: AtomicU64,
    signature: AtomicU64,
    failed: AtomicU64,
    notices: AtomicU64,
}

impl Counting {
    pub(super) fn exchange(&self, status: u16) {
        let counter = match status {
            200 => &self.well,
            421 => &self.undecryptable,
            427 => &self.token,
            432 => &self.signature,
            _ => &self.failed,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn notice(&self) {
        self.notices.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> FlowTotals {
        FlowTotals {
            well: self.well.load(Relaxed),
            token: self.token.load(Relaxed),
            undecryptable: self.undecryptable.load(Relaxed),
            signature: self.signature.load(Relaxed),
            failed: self.failed.load(Relaxed),
            notices: self.notices.load(Relaxed),
        }
    }
}

//! The deliveries that this node has under a lease: what it needs to write their end into its journal.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::store::{Delivery, DeliveryState, Lane, Settlement, Verdict};

/// A lease that ended so long ago is nobody's any more.
const FORGET_AFTER_MS: i64 = 600_000;

/// Where a lease is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// In the shared copy, as it was in this generation.
    Shared(u64),
    /// In this node's journal alone.
    Journal,
}

#[derive(Debug, Clone)]
pub(super) struct Leased {
    pub(super) delivery: Delivery,
    pub(super) from: From,
    /// What the delivery has had since it is leased.
    pub(super) version: i64,
}

#[derive(Default)]
pub(super) struct Held(Mutex<HashMap<[u8; 16], Leased>>);

impl Held {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<[u8; 16], Leased>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps what was claimed, and forgets what was never settled.
    pub(super) fn take(&self, claimed: &[Delivery], from: From, version: i64, now_ms: i64) {
        self.with(|held| {
            held.retain(|_, leased| leased.delivery.due_at_ms.saturating_add(FORGET_AFTER_MS) > now_ms);
            for delivery in claimed {
                held.insert(delivery.key, Leased { delivery: delivery.clone(), from, version });
            }
        });
    }

    pub(super) fn get(&self, key: [u8; 16], lease: u64) -> Option<Leased> {
        self.with(|held| held.get(&key).filter(|leased| leased.delivery.lease == lease).cloned())
    }

    /// Its end is another one, and it may have another version.
    pub(super) fn renew(&self, key: [u8; 16], lease: u64, until_ms: i64, version: Option<i64>) {
        self.with(|held| {
            if let Some(leased) = held.get_mut(&key).filter(|leased| leased.delivery.lease == lease) {
                leased.delivery.due_at_ms = until_ms;
                leased.version = version.unwrap_or(leased.version);
            }
        });
    }

    pub(super) fn forget(&self, key: [u8; 16], lease: u64) {
        self.with(|held| {
            if held.get(&key).is_some_and(|leased| leased.delivery.lease == lease) {
                held.remove(&key);
            }
        });
    }
}

/// The delivery after its lease ended so.
pub(super) fn settled(mut delivery: Delivery, settlement: &Settlement) -> Delivery {
    (delivery.state, delivery.due_at_ms) = match settlement.verdict {
        Verdict::Delivered { at_ms } => (DeliveryState::Delivered, at_ms),
        Verdict::Dead { at_ms } => (DeliveryState::Dead, at_ms),
        Verdict::Release { due_at_ms } => {
            delivery.attempt = delivery.attempt.saturating_sub(1);
            (DeliveryState::Due, due_at_ms)
        }
        Verdict::Superseded { at_ms } => {
            delivery.attempt = delivery.attempt.saturating_sub(1);
            (DeliveryState::Superseded, at_ms)
        }
        Verdict::Retry { due_at_ms } => {
            delivery.lane = delivery.lane.max(Lane::Retry);
            (DeliveryState::Due, due_at_ms)
        }
    };
    delivery.history.clone_from(&settlement.history);
    delivery.unsettled = 0;
    delivery
}

pub(super) fn has_ended(delivery: &Delivery) -> bool {
    matches!(delivery.state, DeliveryState::Delivered | DeliveryState::Dead | DeliveryState::Superseded)
}

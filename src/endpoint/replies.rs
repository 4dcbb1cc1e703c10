//! The replies of the last envelopes, so that the same envelope gets the same bytes (design decision 7).
//!
//! Bounded by number: a repeat comes within seconds. Closing replies are also kept durably by the outbox.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::exchange::Answer;

/// Tables, each with a lock of its own, so that exchanges do not wait for each other.
const SHARDS: usize = 16;
/// Replies kept by each table.
const KEPT: usize = 256;

/// The answer to one envelope, once it is known. A repeat that comes meanwhile waits for it.
pub(super) struct Slot {
    envelope: [u8; 32],
    answer: OnceCell<Answer>,
}

impl Slot {
    pub(super) async fn get_or_init<F: Future<Output = Answer>>(&self, init: impl FnOnce() -> F) -> &Answer {
        self.answer.get_or_init(init).await
    }
}

#[derive(Default)]
struct Shard {
    slots: HashMap<[u8; 32], Arc<Slot>>,
    order: VecDeque<[u8; 32]>,
}

#[derive(Default)]
pub(super) struct Replies([Mutex<Shard>; SHARDS]);

impl Replies {
    /// The place of this envelope's answer.
    pub(super) fn slot(&self, envelope: [u8; 32]) -> Arc<Slot> {
        let mut shard = self.shard(&envelope).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = shard.slots.get(&envelope) {
            return Arc::clone(slot);
        }
        if shard.order.len() >= KEPT
            && let Some(oldest) = shard.order.pop_front()
        {
            shard.slots.remove(&oldest);
        }
        let slot = Arc::new(Slot { envelope, answer: OnceCell::new() });
        shard.slots.insert(envelope, Arc::clone(&slot));
        shard.order.push_back(envelope);
        slot
    }

    /// Forgets an answer that a repeat should not get.
    pub(super) fn forget(&self, slot: &Arc<Slot>) {
        let mut shard = self.shard(&slot.envelope).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.slots.get(&slot.envelope).is_some_and(|kept| Arc::ptr_eq(kept, slot)) {
            shard.slots.remove(&slot.envelope);
            shard.order.retain(|envelope| *envelope != slot.envelope);
        }
    }

    fn shard(&self, envelope: &[u8; 32]) -> &Mutex<Shard> {
        &self.0[usize::from(envelope[0]) % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_envelope_has_one_place_and_the_table_stays_bounded() {
        let replies = Replies::default();
        let first = replies.slot([0; 32]);
        assert!(Arc::ptr_eq(&first, &replies.slot([0; 32])));
        for number in 0..10_000_u32 {
            let mut envelope = [0; 32];
            envelope[1..5].copy_from_slice(&number.to_be_bytes());
            replies.slot(envelope);
        }
        let shard = replies.0[0].lock().expect("no panic while held");
        assert_eq!((shard.slots.len(), shard.order.len()), (KEPT, KEPT));
    }

    #[test]
    fn what_is_forgotten_has_a_new_place() {
        let replies = Replies::default();
        let first = replies.slot([9; 32]);
        replies.forget(&first);
        assert!(!Arc::ptr_eq(&first, &replies.slot([9; 32])));
    }
}

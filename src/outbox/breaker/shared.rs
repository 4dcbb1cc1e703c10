//! A breaker that several nodes have in common: what they keep of it in the store, and what each makes of it. Pure: the
//! caller reads the record, and writes it only if nobody else has meanwhile.
//!
//! Invariant: while it is open, one node at a time has the lease of the probe, so a destination that comes back is not met
//! by all of them at once. A node that dies during its probe holds up the others no longer than that lease.

use serde::{Deserialize, Serialize};

use super::Open;

/// How long a node may take for its probe; longer than any attempt.
pub(in crate::outbox) const PROBE_MS: i64 = 60_000;
/// How far a node's clock, or its look at it, may be behind that of the node which has the lease.
const MOST_BEHIND_MS: i64 = PROBE_MS;

/// An open breaker as it is kept. An older program reads the first three fields, which are [`Open`]'s, and leaves the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::outbox) struct Kept {
    open: Open,
    /// Which node probes; 0 is none.
    probe_by: u64,
    probe_until_ms: i64,
}

impl Kept {
    /// Nobody probes.
    pub(in crate::outbox) fn idle(open: Open) -> Self {
        Self { open, probe_by: 0, probe_until_ms: 0 }
    }

    pub(in crate::outbox) fn open(&self) -> Open {
        self.open
    }

    pub(in crate::outbox) fn to_bytes(self) -> Vec<u8> {
        postcard::to_stdvec(&self).expect("numbers always serialise")
    }

    pub(in crate::outbox) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let older = || postcard::from_bytes(bytes).map(Self::idle);
        postcard::from_bytes(bytes).or_else(|_shorter| older()).ok()
    }

    /// Whether this node may send its probe as things are.
    pub(in crate::outbox) fn is_probed_by(&self, node: u64, now_ms: i64) -> bool {
        self.probe_by == node && self.leased(now_ms)
    }

    /// Until when another node's probe is waited for, if there is one.
    pub(in crate::outbox) fn probed_elsewhere(&self, node: u64, now_ms: i64) -> Option<i64> {
        (self.probe_by != 0 && self.probe_by != node && self.leased(now_ms)).then_some(self.probe_until_ms)
    }

    /// The record by which this node takes the lease of the probe.
    pub(in crate::outbox) fn probe(&self, node: u64, now_ms: i64) -> Self {
        Self { probe_by: node, probe_until_ms: now_ms.saturating_add(PROBE_MS), ..*self }
    }

    fn leased(&self, now_ms: i64) -> bool {
        // A clock that was set back must not make a lease last for ever; one that is behind another node's must not end it.
        (1..=PROBE_MS + MOST_BEHIND_MS).contains(&self.probe_until_ms.saturating_sub(now_ms))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Breaker, BreakerPolicy, Change, Epoch, Permit, Sign};
    use super::*;

    /// The random number that gives the factor 1.
    const EVEN: u64 = 200;

    #[test]
    fn a_record_of_an_older_program_is_read_and_an_older_program_reads_ours() {
        let open = Open { since_ms: 1, until_ms: 2, probes: 3 };
        let older = postcard::to_stdvec(&open).expect("numbers");
        assert_eq!(Kept::from_bytes(&older), Some(Kept::idle(open)));
        let ours = Kept::idle(open).probe(7, 1_000);
        assert_eq!(Kept::from_bytes(&ours.to_bytes()), Some(ours));
        assert_eq!(postcard::from_bytes::<Open>(&ours.to_bytes()), Ok(open));
        assert_eq!(Kept::from_bytes(&[]), None);
    }

    /// The store: one record and its version.
    #[derive(Default)]
    struct Shelf {
        kept: Option<Kept>,
        version: u64,
    }

    impl Shelf {
        fn put(&mut self, kept: Option<Kept>) {
            (self.kept, self.version) = (kept, self.version + 1);
        }
    }

    struct Node {
        id: u64,
        breaker: Breaker,
        /// It means to take the lease, as of this version.
        means_to: Option<u64>,
        probing: Option<(Epoch, i64)>,
    }

    impl Node {
        fn new(id: u64) -> Self {
            Self { id, breaker: Breaker::new(BreakerPolicy::default(), None), means_to: None, probing: None }
        }

        fn look(&mut self, shelf: &Shelf, now_ms: i64) {
            self.breaker.adopt(shelf.kept.map(|kept| kept.open()));
            self.means_to = None;
            let elsewhere = shelf.kept.and_then(|kept| kept.probed_elsewhere(self.id, now_ms));
            if self.breaker.permit(now_ms) == Permit::Probe && elsewhere.is_none() {
                self.means_to = Some(shelf.version);
            }
        }

        fn probe(&mut self, shelf: &mut Shelf, now_ms: i64) {
            if self.means_to.take() == Some(shelf.version)
                && let Some(kept) = shelf.kept
            {
                shelf.put(Some(kept.probe(self.id, now_ms)));
                self.probing = Some((self.breaker.begin(), now_ms + PROBE_MS));
            }
        }

        fn end(&mut self, shelf: &mut Shelf, sign: Sign, now_ms: i64) -> Option<Change> {
            let (epoch, _) = self.probing.take()?;
            let change = self.breaker.record(epoch, sign, now_ms, EVEN);
            // Only what is still its own is written.
            if shelf.kept.is_some_and(|kept| kept.is_probed_by(self.id, now_ms)) {
                shelf.put(self.breaker.open().map(Kept::idle));
            }
            change
        }

        fn fail(&mut self, shelf: &mut Shelf, now_ms: i64) {
            let epoch = self.breaker.begin();
            let opened = self.breaker.record(epoch, Sign::Failed, now_ms, EVEN) == Some(Change::Opened);
            if opened && shelf.kept.is_none() {
                shelf.put(self.breaker.open().map(Kept::idle));
            }
        }
    }

    /// Often two steps follow each other so closely that clocks disagree on their order.
    fn passed_ms() -> impl Strategy<Value = i64> {
        prop_oneof![0i64..2_000, 0i64..40_000]
    }

    proptest! {
        // Three nodes, whose clocks are not the same, look, mean to probe, probe, die and hear back in any order: never two
        // leases of a probe at a time, and one good probe closes it for all.
        #[test]
        fn one_node_at_a_time_probes_and_all_of_them_learn_how_it_went(
            steps in prop::collection::vec((0usize..3, 0u8..7, passed_ms(), 0i64..5_000), 0..200),
        ) {
            let (mut shelf, mut now_ms) = (Shelf::default(), 0i64);
            let mut nodes = [1, 2, 3].map(Node::new);
            for (node, step, by_ms, behind_ms) in steps {
                now_ms += by_ms;
                let is_closed = nodes[node].breaker.open().is_none();
                match step {
                    0 | 1 if nodes[node].probing.is_none() => nodes[node].look(&shelf, now_ms - behind_ms),
                    2 | 3 => nodes[node].probe(&mut shelf, now_ms),
                    4 => drop(nodes[node].end(&mut shelf, Sign::Well, now_ms)),
                    5 if is_closed => nodes[node].fail(&mut shelf, now_ms),
                    5 => drop(nodes[node].end(&mut shelf, Sign::Failed, now_ms)),
                    6 => nodes[node] = Node::new(nodes[node].id + 3),
                    _ => {}
                }
                let probing = |node: &&Node| node.probing.is_some_and(|(_, until_ms)| until_ms > now_ms);
                prop_assert!(nodes.iter().filter(probing).count() <= 1);
            }
            // Whatever was left behind, after a wait somebody probes, and after a good probe all may go.
            now_ms += 18 * 60_000 + PROBE_MS;
            for node in &mut nodes {
                node.end(&mut shelf, Sign::Nothing, now_ms);
                node.look(&shelf, now_ms);
            }
            if shelf.kept.is_some() {
                for node in &mut nodes {
                    node.probe(&mut shelf, now_ms);
                }
                prop_assert_eq!(nodes.iter().filter(|node| node.probing.is_some()).count(), 1);
                for node in &mut nodes {
                    node.end(&mut shelf, Sign::Well, now_ms);
                }
                for node in &mut nodes {
                    node.look(&shelf, now_ms);
                }
            }
            for node in &nodes {
                prop_assert_eq!(node.breaker.permit(now_ms), Permit::All);
            }
        }
    }
}

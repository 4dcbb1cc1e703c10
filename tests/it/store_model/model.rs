//! The state machine of deliveries (reliability notes 2.4) as a pure model: what every store must do, and nothing of how.
//!
//! `due(t) → leased(n, until) → delivered | due(t') | dead | superseded`, `dead → due` by a replay under the same key or a new one, and a
//! pause under which nothing is claimed. An erasure takes a submission with all its deliveries, whatever their state; for a while it
//! stays known that there was one. Every transition out of a lease names its number; a stale one changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use formgate::store::{
    Claim, Delivery, DeliveryState, Erased, Erasure, Lane, NewDelivery, Reopen, Reopened, Settlement, Verdict,
};

use super::backend::Kind;

/// The deliveries by key, each with the order in which it was begun.
#[derive(Default)]
pub struct Model {
    deliveries: BTreeMap<[u8; 16], (usize, Delivery)>,
    begun: usize,
    /// Those that are there, and until when it is known of those that were.
    submissions: BTreeMap<[u8; 16], Option<i64>>,
    /// What each is sealed as.
    bodies: BTreeMap<[u8; 16], String>,
    sealed: usize,
    paused: BTreeSet<String>,
    /// Whether nodes share the store: then of two that are due at once the one with the lower key goes first.
    shared: bool,
    /// Which of two nodes does what follows. A store of one process has no second.
    pub by: usize,
    /// The submissions that each has accepted.
    accepted: [BTreeSet<[u8; 16]>; 2],
    /// How each delivery stood when each node last wrote it into its journal, and its version then.
    journals: [BTreeMap<[u8; 16], (u64, Delivery)>; 2],
    /// The leases that each node has, where nodes share them.
    held: [BTreeMap<[u8; 16], Held>; 2],
    /// How each delivery is numbered that is there or was, from its last change on.
    versions: BTreeMap<[u8; 16], u64>,
    written: u64,
    /// How often what is common to all was another one.
    generation: usize,
}

/// A delivery as it was claimed, in which version, and of which generation.
struct Held {
    delivery: Delivery,
    version: u64,
    generation: usize,
}

/// A lease that ended so long ago is nobody's any more.
const FORGET_AFTER_MS: i64 = 600_000;

pub fn is_open(delivery: &Delivery) -> bool {
    matches!(delivery.state, DeliveryState::Due | DeliveryState::Leased)
}

fn settle(delivery: &mut Delivery, settlement: &Settlement) {
    (delivery.state, delivery.due_at_ms) = match settlement.verdict {
        Verdict::Delivered { at_ms } => (DeliveryState::Delivered, at_ms),
        Verdict::Dead { at_ms } => (DeliveryState::Dead, at_ms),
        Verdict::Superseded { at_ms } => {
            delivery.attempt -= 1;
            (DeliveryState::Superseded, at_ms)
        }
        Verdict::Release { due_at_ms } => {
            delivery.attempt -= 1;
            (DeliveryState::Due, due_at_ms)
        }
        Verdict::Retry { due_at_ms } => {
            delivery.lane = delivery.lane.max(Lane::Retry);
            (DeliveryState::Due, due_at_ms)
        }
    };
    delivery.history.clone_from(&settlement.history);
    delivery.unsettled = 0;
}

fn lease(delivery: &mut Delivery, until_ms: i64) {
    (delivery.state, delivery.due_at_ms) = (DeliveryState::Leased, until_ms);
    delivery.attempt += 1;
    delivery.lease += 1;
    delivery.unsettled += 1;
}

impl Model {
    pub fn of(kind: Kind) -> Self {
        Self { shared: kind != Kind::Embedded, ..Self::default() }
    }

    /// A delivery has changed, or is gone. What comes late of a lease is between two changes.
    fn change(&mut self, key: [u8; 16]) -> u64 {
        self.written += 2;
        self.versions.insert(key, self.written);
        self.written
    }

    /// A node writes down what it has begun or ended; a claim it does not.
    fn journal(&mut self, key: [u8; 16]) {
        if let Some((_, delivery)) = self.deliveries.get(&key) {
            self.journals[self.by].insert(key, (self.versions[&key], delivery.clone()));
        }
    }

    /// What is still open after an attempt is written down by a node that has its submission, or its delivery.
    fn journal_if_known(&mut self, key: [u8; 16]) {
        let Some((_, delivery)) = self.deliveries.get(&key) else { return };
        let known = self.accepted[self.by].contains(&delivery.submission)
            || self.journals[self.by].contains_key(&key);
        if known || !is_open(delivery) {
            self.journal(key);
        }
    }

    fn forget(&mut self, key: [u8; 16]) {
        self.journals.iter_mut().for_each(|journal| drop(journal.remove(&key)));
    }

    /// What is common to all is another one, and was told again from the journals if it was lost.
    pub fn another(&mut self, is_lost: bool) {
        self.generation += 1;
        if !self.shared || !is_lost {
            return;
        }
        for (key, (_, delivery)) in &mut self.deliveries {
            let kept = self.journals.iter().filter_map(|journal| journal.get(key));
            let (version, newest) = kept.max_by_key(|(version, _)| *version).expect("somebody has it");
            delivery.clone_from(newest);
            self.versions.insert(*key, *version);
        }
    }

    /// Whether there is a submission; `Some(false)` if there was one.
    pub fn has(&self, submission: [u8; 16], now_ms: i64) -> Option<bool> {
        let forget_at_ms = *self.submissions.get(&submission)?;
        forget_at_ms.is_none_or(|at_ms| at_ms > now_ms).then_some(forget_at_ms.is_none())
    }

    /// What there is of a submission: its body, or nothing if there was one.
    pub fn body(&self, submission: [u8; 16], now_ms: i64) -> Option<String> {
        let body = |it_is_there: bool| self.bodies.get(&submission).filter(|_| it_is_there).cloned();
        self.has(submission, now_ms).map(|it_is_there| body(it_is_there).unwrap_or_default())
    }

    /// A body that none was before.
    pub fn seal(&mut self) -> String {
        self.sealed += 1;
        format!("sealed {}", self.sealed)
    }

    /// It is sealed anew.
    pub fn rewrap(&mut self, submission: [u8; 16], body: String) {
        self.bodies.insert(submission, body);
    }

    /// Whether neither a submission nor a delivery has this key, or had.
    pub fn is_new(&self, key: [u8; 16], now_ms: i64) -> bool {
        self.has(key, now_ms).is_none() && !self.deliveries.contains_key(&key)
    }

    /// What was to be known until now is forgotten, also if the clock is set back.
    pub fn purge(&mut self, now_ms: i64) {
        self.submissions.retain(|_, forget_at_ms| forget_at_ms.is_none_or(|at_ms| at_ms > now_ms));
    }

    /// Whether it was accepted.
    pub fn begin(&mut self, new: &NewDelivery, body: String, now_ms: i64) -> bool {
        if self.has(new.submission, now_ms).is_some() {
            return false;
        }
        self.bodies.insert(new.submission, body);
        self.submissions.insert(new.submission, None);
        let order = self.begun;
        self.begun += 1;
        self.deliveries.entry(new.key).or_insert_with(|| {
            let delivery = Delivery {
                key: new.key,
                submission: new.submission,
                destination: new.destination.clone(),
                state: DeliveryState::Due,
                lane: Lane::First,
                due_at_ms: new.due_at_ms,
                attempt: 0,
                lease: 0,
                unsettled: 0,
                history: vec![],
            };
            (order, delivery)
        });
        self.accepted[self.by].insert(new.submission);
        if self.deliveries[&new.key].0 == order {
            self.change(new.key);
        }
        if !self.journals.iter().any(|journal| journal.contains_key(&new.key)) {
            self.journal(new.key);
        }
        true
    }

    pub fn erase(&mut self, erasure: &Erasure) -> Erased {
        let theirs: Vec<&Delivery> = self
            .deliveries
            .values()
            .map(|(_, delivery)| delivery)
            .filter(|delivery| delivery.submission == erasure.submission)
            .collect();
        let in_time = |delivery: &&Delivery| match (erasure.settled, delivery.state) {
            (None, _) => true,
            (Some(settled), DeliveryState::Delivered | DeliveryState::Superseded) => {
                delivery.due_at_ms <= settled.delivered_by_ms
            }
            (Some(settled), DeliveryState::Dead) => delivery.due_at_ms <= settled.dead_by_ms,
            (Some(_), _) => false,
        };
        if !theirs.iter().all(in_time) {
            return Erased::NotSettled;
        }
        let mut deliveries: Vec<_> =
            theirs.iter().map(|delivery| (delivery.destination.clone(), delivery.state)).collect();
        deliveries.sort_by(|one, other| one.0.cmp(&other.0));
        let keys: Vec<[u8; 16]> = theirs.iter().map(|delivery| delivery.key).collect();
        for key in keys {
            self.deliveries.remove(&key);
            self.change(key);
            self.forget(key);
        }
        self.accepted.iter_mut().for_each(|accepted| {
            accepted.remove(&erasure.submission);
        });
        if let Some(forget_at_ms) = self.submissions.get_mut(&erasure.submission) {
            *forget_at_ms = Some(erasure.forget_at_ms);
        }
        Erased::Done { deliveries }
    }

    pub fn claim(&mut self, claim: &Claim) -> Vec<Delivery> {
        let claimed = self.lease(claim);
        let (by, generation) = (self.by, self.generation);
        self.held[by]
            .retain(|_, held| held.delivery.due_at_ms.saturating_add(FORGET_AFTER_MS) > claim.now_ms);
        for delivery in &claimed {
            let version = self.change(delivery.key);
            self.held[by].insert(delivery.key, Held { delivery: delivery.clone(), version, generation });
        }
        claimed
    }

    fn lease(&mut self, claim: &Claim) -> Vec<Delivery> {
        let mut claimed = vec![];
        if self.paused.contains(&claim.destination) {
            return claimed;
        }
        let mut taken = [0_u32; 3];
        for at_most in [claim.shares, [u32::MAX; 3]] {
            for (number, lane) in Lane::ALL.into_iter().enumerate() {
                // A limit is for a lane and all behind it, so the tightest of this one's and those before it counts.
                let room = (0..=number).map(|first| claim.limits[first] - taken[first..].iter().sum::<u32>());
                let most = room.min().expect("a limit").min(at_most[number]) as usize;
                let mut due: Vec<_> = self
                    .deliveries
                    .values_mut()
                    .filter(|(_, delivery)| delivery.destination == claim.destination && is_open(delivery))
                    .filter(|(_, delivery)| delivery.due_at_ms <= claim.now_ms && delivery.lane == lane)
                    .collect();
                let shared = self.shared;
                due.sort_by_key(|(order, delivery)| {
                    let key = shared.then_some(delivery.key);
                    (delivery.due_at_ms, key, *order)
                });
                for (_, delivery) in due.into_iter().take(most) {
                    lease(delivery, claim.now_ms + claim.lease_ms);
                    taken[number] += 1;
                    claimed.push(delivery.clone());
                }
            }
        }
        claimed
    }

    /// While what is shared is away, a node has only what it has begun meanwhile, and it writes down also that it has claimed it.
    pub fn claim_alone(&mut self, key: [u8; 16], now_ms: i64, lease_ms: i64) -> Vec<Delivery> {
        let Some((_, delivery)) = self.deliveries.get_mut(&key) else { return vec![] };
        if delivery.due_at_ms > now_ms || self.paused.contains(&delivery.destination) {
            return vec![];
        }
        lease(delivery, now_ms + lease_ms);
        let claimed = vec![delivery.clone()];
        self.change(key);
        self.journal(key);
        claimed
    }

    /// The delivery if this is its valid lease.
    fn leased(&mut self, key: [u8; 16], lease: u64) -> Option<&mut Delivery> {
        let (_, delivery) = self.deliveries.get_mut(&key)?;
        (delivery.state == DeliveryState::Leased && delivery.lease == lease).then_some(delivery)
    }

    /// Whether the lease was valid.
    pub fn renew(&mut self, key: [u8; 16], lease: u64, until_ms: i64) -> bool {
        let is_valid = self.leased(key, lease).map(|delivery| delivery.due_at_ms = until_ms).is_some();
        let held = self.held[self.by].get_mut(&key).filter(|held| is_valid && held.delivery.lease == lease);
        held.into_iter().for_each(|held| held.delivery.due_at_ms = until_ms);
        is_valid
    }

    /// Whether the lease was valid, or what came of it was taken.
    pub fn settle(&mut self, key: [u8; 16], lease: u64, settlement: &Settlement) -> bool {
        let held = &mut self.held[self.by];
        if held.get(&key).is_some_and(|held| held.delivery.lease == lease) {
            let held = held.remove(&key).expect("it is there");
            if self.shared && held.generation != self.generation {
                return self.settle_late(held, settlement);
            }
        }
        let Some(delivery) = self.leased(key, lease) else { return false };
        settle(delivery, settlement);
        self.change(key);
        self.journal_if_known(key);
        true
    }

    /// The lease may be lost, and its number given again. What came of it is taken unless somebody has changed the delivery
    /// since; that it was delivered is taken as long as it is there.
    fn settle_late(&mut self, held: Held, settlement: &Settlement) -> bool {
        let Held { delivery: mut late, version, .. } = held;
        let key = late.key;
        settle(&mut late, settlement);
        let Some((_, delivery)) = self.deliveries.get_mut(&key) else { return false };
        let is_late = self.versions[&key] > version;
        let is_taken = match (delivery.state, late.state) {
            (DeliveryState::Delivered, _) => false,
            (_, DeliveryState::Delivered) => true,
            (DeliveryState::Superseded, _) => false,
            _ => !is_late,
        };
        if is_taken {
            late.lease = late.lease.max(delivery.lease);
            *delivery = late;
            let version = self.versions[&key].max(version + 1);
            self.versions.insert(key, version);
            self.journal_if_known(key);
        }
        is_taken
    }

    pub fn reopen(&mut self, reopen: &Reopen) -> Reopened {
        match self.deliveries.get(&reopen.key).map(|(_, delivery)| delivery.state) {
            None => return Reopened::Unknown,
            Some(DeliveryState::Dead) => {}
            Some(state) => return Reopened::NotDead(state),
        }
        // A new key that is in use already belongs to another delivery.
        if reopen.new_key != reopen.key && self.deliveries.contains_key(&reopen.new_key) {
            return Reopened::NotDead(DeliveryState::Dead);
        }
        let (order, mut delivery) = self.deliveries.remove(&reopen.key).expect("it is there");
        (delivery.key, delivery.lane, delivery.due_at_ms) = (reopen.new_key, reopen.lane, reopen.due_at_ms);
        (delivery.state, delivery.attempt, delivery.unsettled) = (DeliveryState::Due, 0, 0);
        // As by a claim: what was found out under an older lease is stale.
        delivery.lease += 1;
        self.deliveries.insert(reopen.new_key, (order, delivery));
        self.change(reopen.key);
        self.change(reopen.new_key);
        self.forget(reopen.key);
        self.journal(reopen.new_key);
        Reopened::Due
    }

    pub fn pause(&mut self, destination: &str, paused: bool) {
        if paused {
            self.paused.insert(destination.to_owned());
        } else {
            self.paused.remove(destination);
        }
    }

    pub fn clamp(&mut self, latest_ms: i64) {
        for (_, delivery) in self.deliveries.values_mut().filter(|(_, delivery)| is_open(delivery)) {
            delivery.due_at_ms = delivery.due_at_ms.min(latest_ms);
        }
    }

    /// The process that had the store is gone, and with it everybody who had a lease; of several nodes it was only one, and
    /// the others see its leases end.
    pub fn begin_anew(&mut self) {
        self.held[self.by].clear();
        if self.shared {
            return;
        }
        for (_, delivery) in self.deliveries.values_mut() {
            if delivery.state == DeliveryState::Leased {
                (delivery.state, delivery.due_at_ms) = (DeliveryState::Due, 0);
            }
        }
    }

    pub fn next_due(&self, destination: &str) -> [Option<i64>; 3] {
        Lane::ALL.map(|lane| {
            let all = self.deliveries.values().map(|(_, delivery)| delivery);
            let open = all.filter(|delivery| delivery.destination == destination && is_open(delivery));
            open.filter(|delivery| delivery.lane == lane).map(|delivery| delivery.due_at_ms).min()
        })
    }

    /// A delivery that this node has in hand, and the lease under which it has it.
    pub fn in_hand(&self, number: u8) -> Option<([u8; 16], u64)> {
        let held = &self.held[self.by];
        let nth = held.values().nth(usize::from(number) % held.len().max(1));
        nth.map(|held| (held.delivery.key, held.delivery.lease))
    }

    /// A delivery's key and newest lease, by its number in the order of keys; keys change when something is sent as new.
    pub fn nth(&self, number: u8) -> ([u8; 16], u64) {
        let nth = self.deliveries.values().nth(usize::from(number) % self.deliveries.len().max(1));
        nth.map_or(([number; 16], 0), |(_, delivery)| (delivery.key, delivery.lease))
    }

    /// Whose delivery the nth is; the submission of that number if there is no delivery.
    pub fn submission_of(&self, number: u8) -> [u8; 16] {
        let (key, _) = self.nth(number);
        self.deliveries.get(&key).map_or(key, |(_, delivery)| delivery.submission)
    }

    pub fn all(&self) -> Vec<Delivery> {
        self.deliveries.values().map(|(_, delivery)| delivery.clone()).collect()
    }
}

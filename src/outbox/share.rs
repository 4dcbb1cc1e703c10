//! How the lanes of a destination share its slots. Pure.
//!
//! Invariant: a lane that has something due gets its share as slots come free, whatever the others have; what replays wait
//! for in numbers, and what has failed before, never take the last slots, so a new submission is sent at once.

use crate::store::Lane;

/// Attempts of one destination at one time.
pub(super) const SLOTS: u32 = 8;
/// What each lane has for itself: first attempts, retries and bulk replays share 70/20/10 (reliability notes 2.9).
const SHARES: [u32; 3] = [5, 2, 1];
/// How many slots a lane and those behind it may use together while the others leave them free.
const CAPS: [u32; 3] = [8, 6, 4];

/// The slots in use, by lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct InUse([u32; 3]);

impl InUse {
    pub(super) fn begin(&mut self, lane: Lane) {
        if let Some(used) = self.0.get_mut(lane.number()) {
            *used += 1;
        }
    }

    pub(super) fn end(&mut self, lane: Lane) {
        if let Some(used) = self.0.get_mut(lane.number()) {
            *used = used.saturating_sub(1);
        }
    }

    pub(super) fn all(&self) -> u32 {
        self.0.iter().sum()
    }

    pub(super) fn free(&self) -> u32 {
        SLOTS.saturating_sub(self.all())
    }

    /// What each lane lacks of its share.
    pub(super) fn shares(&self) -> [u32; 3] {
        std::array::from_fn(|number| {
            let used = self.0.get(number).copied().unwrap_or(0);
            SHARES.get(number).copied().unwrap_or(0).saturating_sub(used)
        })
    }

    /// How many more may begin of each lane and those behind it together.
    pub(super) fn limits(&self) -> [u32; 3] {
        std::array::from_fn(|number| {
            let used = self.0.iter().skip(number).sum();
            CAPS.get(number).copied().unwrap_or(0).saturating_sub(used)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Claim;

    /// What a store with this much due claims, as [`Claim`] says.
    fn claimed(in_use: &InUse, mut due: [u32; 3]) -> InUse {
        let (shares, limits) = (in_use.shares(), in_use.limits());
        let claim = Claim { destination: String::new(), now_ms: 0, lease_ms: 0, shares, limits };
        let mut taken = [0; 3];
        for at_most in [shares, [u32::MAX; 3]] {
            for lane in Lane::ALL {
                let n = lane.number();
                let takes = due[n].min(at_most[n]).min(claim.room(lane, taken));
                due[n] -= takes;
                taken[n] += takes;
            }
        }
        let mut after = *in_use;
        Lane::ALL.into_iter().for_each(|lane| (0..taken[lane.number()]).for_each(|_| after.begin(lane)));
        after
    }

    #[test]
    fn lanes_that_all_have_plenty_share_five_two_one() {
        assert_eq!(claimed(&InUse::default(), [100; 3]), InUse([5, 2, 1]));
    }

    #[test]
    fn first_attempts_may_have_all_and_bulk_replays_no_more_than_half() {
        assert_eq!(claimed(&InUse::default(), [100, 0, 0]), InUse([8, 0, 0]));
        assert_eq!(claimed(&InUse::default(), [0, 100, 0]), InUse([0, 6, 0]));
        assert_eq!(claimed(&InUse::default(), [0, 0, 100]), InUse([0, 0, 4]));
    }

    #[test]
    fn whatever_waits_and_runs_a_new_submission_finds_a_slot_unless_others_like_it_have_them() {
        for due in (0..10).flat_map(|retry| (0..10).map(move |bulk| [0, retry, bulk])) {
            let mut in_use = InUse::default();
            // Slots come free one by one, of any lane, and are filled again.
            for freed in [Lane::Bulk, Lane::Retry, Lane::Retry, Lane::Bulk, Lane::Bulk, Lane::Retry] {
                in_use = claimed(&in_use, due);
                assert!(in_use.free() >= 2, "{in_use:?} of {due:?}");
                assert!(claimed(&in_use, [1, 9, 9]).0[0] == 1);
                in_use.end(freed);
            }
        }
    }

    #[test]
    fn a_lane_gets_its_share_back_as_slots_come_free() {
        let mut in_use = InUse([8, 0, 0]);
        for _ in 0..3 {
            in_use.end(Lane::First);
            in_use = claimed(&in_use, [100, 100, 100]);
        }
        assert_eq!(in_use, InUse([5, 2, 1]));
    }
}

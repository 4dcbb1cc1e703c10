//! The notices that one sink has not taken yet. Pure: sending and waiting is the caller's.
//!
//! Invariant: of each cause at most one notice waits, the newest, so that nobody hears that something began after hearing
//! that it was over; and one that cannot be sent holds up no other for longer than its try.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::Notice;

/// Waits after so many failures in a row; the last is repeated for as long as it takes.
const WAITS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
];
/// So many wait here; the others are still owed, and come when there is room.
const MAX_WAITING: usize = 256;

/// What waits, in the order in which it is sent.
#[derive(Debug, Default)]
pub struct NoticeQueue {
    /// Those that were not tried yet before those that were.
    waiting: VecDeque<Notice>,
    /// How many at the end of them were tried.
    tried: usize,
    /// Those that it took, for as long as they are still asked for.
    taken: BTreeSet<String>,
    failures: usize,
}

impl NoticeQueue {
    /// Nothing waits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has exactly these wait, of each cause one; what is new goes before what was tried. Whether there is something new:
    /// then it is worth a try, however long the pause.
    pub fn want(&mut self, wanted: &[Notice]) -> bool {
        let ids: BTreeSet<&str> = wanted.iter().map(|notice| notice.id.as_str()).collect();
        let is_wanted = |notice: &Notice| ids.contains(notice.id.as_str());
        let mut tried = self.waiting.split_off(self.waiting.len() - self.tried);
        tried.retain(is_wanted);
        self.waiting.retain(is_wanted);
        self.taken.retain(|taken| ids.contains(taken.as_str()));
        let before = self.waiting.len();
        for notice in wanted {
            let is_known = self.taken.contains(&notice.id)
                || self.waiting.iter().chain(&tried).any(|waiting| waiting.id == notice.id);
            if !is_known && self.waiting.len() + tried.len() < MAX_WAITING {
                self.waiting.push_back(notice.clone());
            }
        }
        let is_new = self.waiting.len() > before;
        self.tried = tried.len();
        self.waiting.append(&mut tried);
        is_new
    }

    /// What to send next.
    pub fn next(&self) -> Option<&Notice> {
        self.waiting.front()
    }

    /// The sink took the next one.
    pub fn took(&mut self) {
        self.failures = 0;
        let taken = self.waiting.pop_front();
        self.tried = self.tried.min(self.waiting.len());
        self.taken.extend(taken.map(|notice| notice.id));
    }

    /// The sink did not take the next one: the others go first now. How long to wait.
    pub fn failed(&mut self) -> Duration {
        if let Some(tried) = self.waiting.pop_front() {
            self.waiting.push_back(tried);
            self.tried = (self.tried + 1).min(self.waiting.len());
        }
        let wait = WAITS[self.failures.min(WAITS.len() - 1)];
        self.failures = self.failures.saturating_add(1);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::insight::{Cause, Kind};

    fn notice(id: &str, cause: &str) -> Notice {
        Notice {
            id: id.to_owned(),
            cause: Cause::Breaker(cause.to_owned()),
            kind: Kind::Raised,
            since_ms: 0,
            text: String::new(),
            remedy: "",
            node: None,
        }
    }

    fn next(queue: &NoticeQueue) -> Option<&str> {
        queue.next().map(|notice| notice.id.as_str())
    }

    #[test]
    fn each_is_sent_once_in_order_and_one_that_fails_lets_the_others_pass() {
        let mut queue = NoticeQueue::new();
        let wanted = [notice("1", "a"), notice("2", "b")];
        assert!(queue.want(&wanted));
        assert!(!queue.want(&wanted), "asked for again it is no news");
        assert_eq!(next(&queue), Some("1"));
        queue.failed();
        assert_eq!(next(&queue), Some("2"));
        queue.took();
        assert!(!queue.want(&wanted), "nobody has noted yet that it was taken");
        assert_eq!(next(&queue), Some("1"));
        queue.took();
        assert_eq!(next(&queue), None);
        assert!(!queue.want(&wanted));
        assert_eq!(next(&queue), None);
        assert!(!queue.want(&[]) && queue.taken.is_empty(), "what was taken is not kept for ever");
    }

    #[test]
    fn what_is_new_is_tried_before_what_failed() {
        let mut queue = NoticeQueue::new();
        let wanted = ["1", "2", "3"].map(|id| notice(id, id));
        queue.want(&wanted[..2]);
        queue.failed();
        assert!(queue.want(&wanted));
        let mut order = Vec::new();
        while let Some(id) = next(&queue) {
            order.push(id.to_owned());
            queue.took();
        }
        assert_eq!(order, ["2", "3", "1"]);
    }

    #[test]
    fn an_end_takes_the_place_of_its_beginning() {
        let mut queue = NoticeQueue::new();
        queue.want(&[notice("began", "a")]);
        queue.failed();
        assert!(queue.want(&[notice("over", "a")]));
        assert_eq!(next(&queue), Some("over"));
        queue.took();
        assert_eq!(next(&queue), None, "nobody hears that it began");
    }

    #[test]
    fn it_is_tried_for_ever_more_and_more_rarely_until_something_is_taken() {
        let mut queue = NoticeQueue::new();
        queue.want(&[notice("1", "a")]);
        let waits: Vec<u64> = (0..7).map(|_| queue.failed().as_secs()).collect();
        assert_eq!(waits, [1, 5, 30, 120, 600, 600, 600]);
        queue.took();
        queue.want(&[notice("2", "a")]);
        assert_eq!(queue.failed().as_secs(), 1);
    }

    #[test]
    fn more_than_there_is_room_for_comes_later() {
        let mut queue = NoticeQueue::new();
        let wanted: Vec<Notice> =
            (0..300).map(|number| notice(&number.to_string(), &number.to_string())).collect();
        queue.want(&wanted);
        assert_eq!(queue.waiting.len(), 256);
        queue.took();
        assert!(queue.want(&wanted[1..]));
        assert_eq!(queue.waiting.back().map(|notice| notice.id.as_str()), Some("256"));
    }
}

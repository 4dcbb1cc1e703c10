use proptest::prelude::*;

use super::*;

const HOUR_MS: i64 = 3_600_000;
const LOOK_MS: i64 = 10_000;

/// What nodes have in common.
#[derive(Default)]
struct Shared {
    alerts: BTreeMap<Cause, (Alert, i64)>,
    writings: i64,
    fails: bool,
}

impl Shared {
    fn read(&self) -> Option<Vec<(Alert, Version)>> {
        let read = |(alert, version): &(Alert, i64)| (alert.clone(), Version(*version));
        (!self.fails).then(|| self.alerts.values().map(read).collect())
    }

    fn write(&mut self, step: &Step) -> bool {
        if self.alerts.get(&step.cause).map(|(_, version)| Version(*version)) != step.before {
            return false;
        }
        self.writings += 1;
        match &step.after {
            Some(alert) => self.alerts.insert(step.cause.clone(), (alert.clone(), self.writings)),
            None => self.alerts.remove(&step.cause),
        };
        true
    }

    /// As a node does it: reads, looks, writes, and tells what was written.
    fn look(&mut self, watch: &mut Watch, now_ms: i64, look: &Look) -> Vec<Notice> {
        watch.read(self.read());
        let mut told = Vec::new();
        for step in watch.look(now_ms, look) {
            let notice = step.notice.clone();
            let is_told = if self.fails {
                watch.unwritten(step)
            } else if self.write(&step) {
                watch.written(step);
                true
            } else {
                false
            };
            told.extend(notice.filter(|_| is_told));
        }
        told
    }
}

fn alone() -> (Shared, Watch) {
    (Shared::default(), Watch::new(None, []))
}

fn node(name: &str) -> Watch {
    Watch::new(Some(name.to_owned()), ["ops".to_owned()])
}

fn look(signs: &[(Cause, bool)]) -> Look {
    let level = |bad: bool| if bad { Level::Bad("It is bad.".to_owned()) } else { Level::Well };
    let signs = signs.iter().map(|(cause, bad)| Sign { cause: cause.clone(), level: level(*bad) });
    Look { signs: signs.collect(), unseen: vec![] }
}

fn told(notices: &[Notice]) -> Vec<String> {
    let mark = |notice: &Notice| match notice.kind {
        Kind::Raised => "+",
        Kind::Repeated => "=",
        Kind::Recovered => "-",
    };
    notices.iter().map(|notice| format!("{}{}", mark(notice), notice.cause)).collect()
}

fn dead() -> Cause {
    Cause::DeadLetters("crm".to_owned())
}

const NOTHING: Vec<String> = Vec::new();

#[test]
fn a_cause_is_told_when_it_begins_each_day_that_it_stands_and_when_it_is_over() {
    let (mut shared, mut watch) = alone();
    let bad = look(&[(dead(), true)]);
    assert_eq!(told(&shared.look(&mut watch, 0, &bad)), ["+dead_letters crm"]);
    assert_eq!(told(&shared.look(&mut watch, HOUR_MS, &bad)), NOTHING, "more of the same is no news");
    let again = shared.look(&mut watch, 24 * HOUR_MS, &bad);
    assert_eq!(told(&again), ["=dead_letters crm"]);
    assert_eq!((again[0].since_ms, again[0].text.as_str()), (0, "Still: It is bad."));
    assert_eq!(told(&shared.look(&mut watch, 47 * HOUR_MS, &bad)), NOTHING);
    assert_eq!(told(&shared.look(&mut watch, 48 * HOUR_MS, &bad)), ["=dead_letters crm"]);
    let over = shared.look(&mut watch, 49 * HOUR_MS, &look(&[(dead(), false)]));
    assert_eq!(told(&over), ["-dead_letters crm"]);
    assert_eq!(over[0].since_ms, 0);
    assert!(shared.alerts.is_empty(), "what is over and told is not kept");
}

#[test]
fn what_cannot_be_seen_is_not_over_and_what_is_gone_is() {
    let (mut shared, mut watch) = alone();
    shared.look(&mut watch, 0, &look(&[(dead(), true), (Cause::Disk, true)]));
    let blind = Look { signs: vec![], unseen: vec![Group::Stored, Group::Disk] };
    assert_eq!(told(&shared.look(&mut watch, HOUR_MS, &blind)), NOTHING);
    let partly = Look { unseen: vec![Group::Stored], ..look(&[(dead(), false), (Cause::Disk, true)]) };
    assert_eq!(told(&shared.look(&mut watch, HOUR_MS, &partly)), NOTHING, "a part that is well is no end");
    let over = shared.look(&mut watch, 2 * HOUR_MS, &look(&[]));
    assert_eq!(told(&over), ["-dead_letters crm"], "the disk is calm later");
    assert_eq!(told(&shared.look(&mut watch, 3 * HOUR_MS, &look(&[]))), ["-disk"]);
    let partly = Look { unseen: vec![Group::Stored], ..look(&[(dead(), true)]) };
    let begun = shared.look(&mut watch, 4 * HOUR_MS, &partly);
    assert_eq!(told(&begun), ["+dead_letters crm"], "a part that is bad is a beginning");
}

#[test]
fn between_bad_and_well_nothing_begins_and_nothing_ends() {
    let cause = Cause::QueueAge("crm".to_owned());
    let between = Look { signs: vec![Sign { cause: cause.clone(), level: Level::Between }], unseen: vec![] };
    let (mut shared, mut watch) = alone();
    assert_eq!(told(&shared.look(&mut watch, 0, &between)), NOTHING);
    shared.look(&mut watch, 1, &look(&[(cause.clone(), true)]));
    assert_eq!(told(&shared.look(&mut watch, HOUR_MS, &between)), NOTHING);
    assert_eq!(told(&shared.look(&mut watch, HOUR_MS + 1, &look(&[(cause, false)]))), ["-queue_age crm"]);
}

#[test]
fn nothing_is_written_while_nothing_changes() {
    let (mut shared, mut watch) = alone();
    shared.look(&mut watch, 0, &look(&[(dead(), true)]));
    for second in 1..29 {
        shared.look(&mut watch, second * LOOK_MS, &look(&[(dead(), true), (Cause::Latency, false)]));
    }
    assert_eq!(shared.writings, 1);
    shared.look(&mut watch, 30 * LOOK_MS, &look(&[(dead(), true)]));
    assert_eq!(shared.writings, 2, "it still sees it");
}

#[test]
fn of_all_nodes_one_tells_and_it_is_over_when_all_have_seen_that() {
    let mut shared = Shared::default();
    let [mut a, mut b] = ["a", "b"].map(node);
    let cause = Cause::ExchangeErrors("lead".to_owned());
    let (bad, well) = (look(&[(cause.clone(), true)]), look(&[(cause.clone(), false)]));
    let begun = shared.look(&mut a, 0, &bad);
    assert_eq!(
        (told(&begun), begun[0].node.as_deref()),
        (vec!["+exchange_errors lead".to_owned()], Some("a"))
    );
    assert_eq!(told(&shared.look(&mut b, 1, &bad)), NOTHING);
    assert_eq!(shared.alerts[&cause].0.seen.keys().collect::<Vec<_>>(), ["a", "b"]);
    for at_ms in [2, 130_000, 140_000] {
        assert_eq!(told(&shared.look(&mut a, at_ms, &well)), NOTHING, "b still sees it");
        assert_eq!(told(&shared.look(&mut b, at_ms, &bad)), NOTHING);
    }
    shared.look(&mut b, 150_000, &well);
    assert_eq!(told(&shared.look(&mut b, 260_000, &well)), NOTHING);
    assert_eq!(told(&shared.look(&mut b, 270_000, &well)), ["-exchange_errors lead"]);
}

#[test]
fn two_nodes_that_see_it_at_the_same_moment_tell_it_once() {
    let mut shared = Shared::default();
    let [mut a, mut b] = ["a", "b"].map(node);
    let bad = look(&[(dead(), true)]);
    a.read(shared.read());
    b.read(shared.read());
    let (of_a, of_b) = (a.look(0, &bad).remove(0), b.look(0, &bad).remove(0));
    assert!(shared.write(&of_a) && !shared.write(&of_b));
    a.written(of_a);
    assert_eq!((a.wanted("ops").len(), b.wanted("ops").len()), (1, 0));
    assert_eq!(told(&shared.look(&mut b, 1, &bad)), NOTHING);
}

#[test]
fn a_node_that_died_keeps_nothing_standing_and_what_it_owed_is_told_by_another() {
    let mut shared = Shared::default();
    let [mut a, mut b] = ["a", "b"].map(node);
    let (bad, well) = (look(&[(dead(), true)]), look(&[(dead(), false)]));
    shared.look(&mut a, 0, &bad);
    let owed = a.wanted("ops").remove(0).id;
    drop(a);
    shared.look(&mut b, 1, &bad);
    assert_eq!(b.wanted("ops"), [], "its time is not over");
    shared.look(&mut b, LEASE_MS, &bad);
    assert_eq!(b.wanted("ops").remove(0).id, owed, "a sink that has heard it knows it");
    b.took("ops".to_owned(), owed);
    assert_eq!(b.wanted("ops"), []);
    shared.look(&mut b, LEASE_MS + 1, &bad);
    assert!(shared.alerts[&dead()].0.owed.is_empty());
    assert_eq!(told(&shared.look(&mut b, LEASE_MS + 2, &well)), NOTHING, "the other may only be slow");
    assert_eq!(told(&shared.look(&mut b, 900_000, &well)), ["-dead_letters crm"]);
}

#[test]
fn a_process_that_starts_again_goes_on_with_what_it_owed_and_tells_nothing_anew() {
    let (mut shared, mut before) = (Shared::default(), node("a"));
    shared.look(&mut before, 0, &look(&[(dead(), true)]));
    let owed = before.wanted("ops");
    let mut after = node("a");
    assert_eq!(told(&shared.look(&mut after, 1, &look(&[(dead(), true)]))), NOTHING);
    assert_eq!(after.wanted("ops"), owed);
    let mut mended = node("a");
    let over = shared.look(&mut mended, 2, &look(&[(dead(), false)]));
    assert_eq!((told(&over), over[0].since_ms), (vec!["-dead_letters crm".to_owned()], 0));
    assert_eq!(told(&mended.wanted("ops")), ["-dead_letters crm"], "nobody is told now that it began");
    // A sink that nobody has any more is owed nothing.
    let mut fewer = Watch::new(Some("a".to_owned()), []);
    shared.look(&mut fewer, 3, &look(&[]));
    assert!(shared.alerts.is_empty());
}

#[test]
fn what_begins_while_the_store_fails_is_told_once_and_what_ends_is_told_when_it_is_back() {
    let (mut shared, mut watch) = (Shared::default(), node("a"));
    shared.look(&mut watch, 0, &look(&[(dead(), true)]));
    shared.fails = true;
    let both = look(&[(dead(), false), (Cause::Store, true)]);
    assert_eq!(told(&shared.look(&mut watch, 1, &both)), ["+store"]);
    assert_eq!(told(&shared.look(&mut watch, 2, &both)), NOTHING);
    assert_eq!(told(&watch.wanted("ops")), ["+dead_letters crm", "+store"]);
    shared.fails = false;
    assert_eq!(told(&shared.look(&mut watch, 3, &both)), ["-dead_letters crm"]);
    assert!(shared.alerts.contains_key(&Cause::Store), "it is kept now");
    assert_eq!(told(&shared.look(&mut watch, HOUR_MS, &look(&[]))), NOTHING);
    assert_eq!(told(&shared.look(&mut watch, 2 * HOUR_MS, &look(&[]))), ["-store"]);
}

/// How it was at each look, ten seconds apart.
fn history() -> impl Strategy<Value = Vec<Option<Level>>> {
    let level = prop_oneof![
        Just(None),
        Just(Some(Level::Well)),
        Just(Some(Level::Between)),
        Just(Some(Level::Bad("Bad.".to_owned()))),
    ];
    // Runs, so that calm times pass, too.
    proptest::collection::vec((level, 1..40_usize), 1..60)
        .prop_map(|runs| runs.into_iter().flat_map(|(level, times)| vec![level; times]).collect())
}

/// What happens to one of three nodes.
#[derive(Debug, Clone)]
enum Event {
    /// It looks; whether it can see.
    Look(bool),
    /// It dies, and starts again.
    Restart,
    /// The cause begins or ends, for all.
    Turn,
    /// The sink fails or works again.
    Sink,
}

fn events() -> impl Strategy<Value = Vec<(usize, Event)>> {
    let event = prop_oneof![
        60 => Just(Event::Look(true)),
        3 => Just(Event::Look(false)),
        2 => Just(Event::Restart),
        1 => Just(Event::Turn),
        1 => Just(Event::Sink),
    ];
    proptest::collection::vec((0..3_usize, event), 1..600)
}

proptest! {
    #[test]
    fn notices_alternate_and_never_flap(history in history(), which in 0..4_usize) {
        let cause = [
            Cause::Breaker("crm".to_owned()), Cause::Latency, Cause::Store, Cause::DeadLetters("crm".to_owned()),
        ][which].clone();
        let (mut shared, mut watch) = alone();
        let (mut stands, mut told_ms, mut ended_ms) = (false, 0_i64, None::<i64>);
        let mut last_not_well_ms = 0_i64;
        for (step, level) in history.iter().enumerate() {
            let now_ms = LOOK_MS * i64::try_from(step).expect("few");
            let look = Look {
                unseen: if level.is_none() { vec![cause.group()] } else { vec![] },
                signs: level.iter().map(|level| Sign { cause: cause.clone(), level: level.clone() }).collect(),
            };
            if matches!(level, Some(Level::Bad(_) | Level::Between)) {
                last_not_well_ms = now_ms;
            }
            let notices = shared.look(&mut watch, now_ms, &look);
            prop_assert!(notices.len() <= 1);
            for notice in notices {
                match notice.kind {
                    Kind::Raised => {
                        prop_assert!(!stands && matches!(level, Some(Level::Bad(_))));
                        // Between an end and the next beginning the cause was well for its calm time.
                        if let Some(ended_ms) = ended_ms {
                            prop_assert!(now_ms > ended_ms);
                        }
                        (stands, told_ms) = (true, now_ms);
                    }
                    Kind::Repeated => {
                        prop_assert!(stands && passed(told_ms, now_ms) >= AGAIN);
                        told_ms = now_ms;
                    }
                    Kind::Recovered => {
                        prop_assert!(stands && level == &Some(Level::Well));
                        prop_assert!(passed(last_not_well_ms, now_ms) >= cause.calm());
                        (stands, ended_ms) = (false, Some(now_ms));
                    }
                }
            }
            // Nothing that is bad goes untold.
            prop_assert!(stands || !matches!(level, Some(Level::Bad(_))));
        }
    }

    #[test]
    fn what_comes_and_goes_within_its_calm_time_is_one_cause(pattern in proptest::collection::vec(1..6_usize, 1..50)) {
        let cause = Cause::Breaker("crm".to_owned());
        let (mut shared, mut watch) = alone();
        let mut notices = Vec::new();
        let mut now_ms = 0;
        for times in pattern {
            notices.extend(shared.look(&mut watch, now_ms, &look(&[(cause.clone(), true)])));
            for _ in 0..times {
                now_ms += LOOK_MS;
                notices.extend(shared.look(&mut watch, now_ms, &look(&[(cause.clone(), false)])));
            }
            now_ms += LOOK_MS;
        }
        prop_assert_eq!(told(&notices), ["+breaker crm"]);
    }

    #[test]
    fn three_nodes_that_die_tell_a_sink_that_fails_everything_in_its_order(events in events()) {
        let mut shared = Shared::default();
        let names = ["a", "b", "c"];
        let mut nodes = names.map(node);
        let (mut now_ms, mut is_bad, mut takes) = (0, false, true);
        let (mut made, mut heard): (Vec<(String, Kind)>, Vec<String>) = (Vec::new(), Vec::new());
        // In the end everything works for long enough.
        let rest = (0..360).map(|turn| (turn % 3, Event::Look(true)));
        let count = events.len();
        for (at, (which, event)) in events.into_iter().chain(rest).enumerate() {
            if at == count {
                (is_bad, takes) = (false, true);
            }
            match event {
                Event::Restart => nodes[which] = node(names[which]),
                Event::Turn => is_bad = !is_bad,
                Event::Sink => takes = !takes,
                Event::Look(sees) => {
                    now_ms += LOOK_MS / 3;
                    let mut seen = look(&[(dead(), is_bad)]);
                    if !sees {
                        seen = Look { signs: vec![], unseen: vec![Group::Stored] };
                    }
                    let told = shared.look(&mut nodes[which], now_ms, &seen);
                    made.extend(told.into_iter().map(|notice| (notice.id, notice.kind)));
                    for notice in nodes[which].wanted("ops").into_iter().filter(|_| takes) {
                        nodes[which].took("ops".to_owned(), notice.id.clone());
                        heard.push(notice.id);
                    }
                }
            }
        }
        for (place, (_, kind)) in made.iter().enumerate() {
            let expected = if place % 2 == 0 { Kind::Raised } else { Kind::Recovered };
            prop_assert_eq!(*kind, expected);
        }
        // One that was taken, and whose node died before it said so, is heard again by the same id.
        heard.dedup();
        let order: Vec<usize> =
            heard.iter().map(|id| made.iter().position(|(made, _)| made == id).expect("it was made")).collect();
        prop_assert!(order.is_sorted(), "{order:?}");
        prop_assert_eq!(order.last().copied(), made.len().checked_sub(1), "the last word was heard");
        prop_assert!(shared.alerts.is_empty(), "{:?}", shared.alerts);
    }
}

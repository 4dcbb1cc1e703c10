//! The oracle itself: what it lets pass, and what it does not.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ledger::{Delivery, End, Ledger, Receipt, answers};

/// Long enough ago for everything to be noted.
const LONG: Duration = Duration::from_secs(2);

fn deliver(ledger: &Ledger, walk: &str, answers: &Value, arrived: Instant) -> Receipt {
    let (key, submission) = (format!("key-{walk}"), format!("submission-{walk}"));
    let (key, submission) = (key.as_str(), submission.as_str());
    ledger.deliver(&Delivery { destination: "crm", key, submission, walk, answers }, arrived)
}

/// One that arrived at this time and ended like this, and the same once more.
fn twice(ledger: &Ledger, walk: &str, arrived: Instant, end: End) {
    let receipt = deliver(ledger, walk, &answers(walk), arrived);
    ledger.end(&receipt, end);
    let now = Instant::now();
    let receipt = deliver(ledger, walk, &answers(walk), now);
    ledger.end(&receipt, End::Answered(now));
}

/// Killed, not answered, unexplained.
fn reasons(ledger: &Ledger) -> (u64, u64, u64) {
    let repeats = ledger.repeats();
    (repeats.killed, repeats.unanswered, repeats.unexplained)
}

#[test]
fn an_answer_that_was_dropped_swapped_added_or_changed_is_noticed() {
    let right = answers("walk-1-1");
    let changed = |change: fn(&mut Vec<Value>)| {
        let mut answers = right.clone();
        change(answers.as_array_mut().expect("answers"));
        answers
    };
    let wrong = [
        changed(|answers| drop(answers.pop())),
        changed(|answers| answers.reverse()),
        changed(|answers| answers.push(json!({"key": "more"}))),
        changed(|answers| answers[1]["value"] = json!("x")),
        changed(|answers| answers[1]["text"] = json!("Green")),
        changed(|answers| {
            let [name, colour] = [0, 1].map(|number| answers[number]["value"].clone());
            (answers[0]["value"], answers[1]["value"]) = (colour, name);
        }),
    ];
    for answers in &wrong {
        let ledger = Ledger::default();
        deliver(&ledger, "walk-1-1", answers, Instant::now());
        assert_eq!(ledger.complaints().len(), 1, "{answers}");
    }
    let ledger = Ledger::default();
    deliver(&ledger, "walk-1-1", &right, Instant::now());
    assert_eq!(ledger.complaints(), Vec::<String>::new());
}

#[test]
fn both_colours_are_chosen() {
    let chosen =
        |id| (0..100).filter(|walk| super::ledger::colour(&format!("walk-0-{walk}")).0 == id).count();
    assert!(chosen("r") > 30 && chosen("b") > 30);
}

#[test]
fn a_repeat_is_excused_by_a_death_that_met_it_and_by_no_other() {
    let ledger = Ledger::default();
    let long_ago = Instant::now().checked_sub(LONG).expect("a time");
    twice(&ledger, "noted", long_ago, End::Answered(long_ago));
    assert_eq!(reasons(&ledger), (0, 0, 1), "nobody has died");
    let now = Instant::now();
    twice(&ledger, "in hand", long_ago, End::Answered(now));
    ledger.died(now);
    assert_eq!(
        reasons(&ledger),
        (1, 0, 1),
        "its outcome could not be written down, that of the other one could"
    );
    let now = Instant::now();
    twice(&ledger, "by the next", now, End::Answered(now));
    assert_eq!(reasons(&ledger), (1, 0, 2), "it came after the death, and somebody waited for the answer");
    let now = Instant::now();
    twice(&ledger, "late", now, End::HungUp(now));
    assert_eq!(reasons(&ledger), (2, 0, 2), "it was of the dead one");
    twice(&ledger, "cut", now, End::KeptBack);
    assert_eq!(reasons(&ledger), (2, 1, 2));
}

#[test]
fn a_death_excuses_no_more_repeats_than_there_are_slots() {
    let ledger = Ledger::default();
    let now = Instant::now();
    for walk in 0..10 {
        twice(&ledger, &format!("walk-{walk}"), now, End::Answered(now));
    }
    ledger.died(now);
    assert_eq!(reasons(&ledger), (8, 0, 2));
    assert_eq!(ledger.repeats().at_most, 8);
}

#[test]
fn what_a_dead_process_had_sent_takes_nothing_of_the_excuses_of_the_next_death() {
    let ledger = Ledger::of_nodes();
    let send = |walk: &str| deliver(&ledger, walk, &answers(walk), Instant::now());
    let hang_up = |receipt: &Receipt| ledger.end(receipt, End::HungUp(Instant::now()));
    // Of the first one half is looked at after its death; the second one has all its slots full when it dies.
    ledger.died(Instant::now());
    (0..4).for_each(|walk| hang_up(&send(&format!("late-{walk}"))));
    let in_hand: Vec<_> = (0..8).map(|walk| send(&format!("in-hand-{walk}"))).collect();
    ledger.died(Instant::now());
    in_hand.iter().for_each(hang_up);
    for walk in (0..4).map(|walk| format!("late-{walk}")).chain((0..8).map(|walk| format!("in-hand-{walk}")))
    {
        ledger.end(&send(&walk), End::Answered(Instant::now()));
    }
    assert_eq!(reasons(&ledger), (12, 0, 0));
}

#[test]
fn of_deaths_that_follow_each_other_each_excuses_what_no_other_can() {
    let ledger = Ledger::default();
    let now = Instant::now().checked_sub(LONG).expect("a time");
    let before = now.checked_sub(Duration::from_millis(400)).expect("a time");
    for walk in 0..8 {
        twice(&ledger, &format!("a-{walk}"), now, End::Answered(now));
        twice(&ledger, &format!("b-{walk}"), before, End::Answered(before));
    }
    ledger.died(now);
    // By then those that came before were surely noted.
    ledger.died(now + Duration::from_millis(200));
    assert_eq!(reasons(&ledger), (16, 0, 0));
}

//! An erasure is done again when a node brings something of the person that no other had.

use formgate::outbox::{Clock as _, Submission, SubmissionId};
use formgate::store::{Batch, Put, Scan, Table};

use super::{DAY_MS, accept, by_phone, is_there, of_person};
use crate::outbox::fixture::{Home, submission};
use crate::store_model::backend::Kind;

/// Notes of each that its person has answered somewhere, for everything that they are found by; how much that is.
async fn answered(home: &Home, ids: &[SubmissionId]) -> usize {
    let scan = Scan { limit: 100, ..Scan::default() };
    let people = home.store.scan(Table::Person, scan).await.expect("a read");
    let mut batch = Batch::at(home.clock.now_ms());
    for id in ids {
        for (key, _) in people.iter().filter(|(key, _)| key.ends_with(&id.to_bytes())) {
            batch = batch.put(Put::new(Table::Answered, key.as_slice(), id.to_bytes()));
        }
    }
    let hashes = batch.puts.len() / ids.len();
    home.store.commit(batch).await.expect("stored");
    hashes
}

#[tokio::test]
async fn what_a_node_that_was_away_brings_of_an_erased_person_is_erased_and_what_they_send_later_is_not() {
    let home = Home::on(Kind::Shared).await;
    let phone = "+393331234567";
    let sent =
        |number, at_ms| Submission { completed_at_ms: at_ms, ..of_person(number, phone, "ada@example.com") };
    let now_ms = home.clock.now_ms();
    let (first, late, later) = (sent(1, now_ms - 2), sent(2, now_ms - 1), sent(3, now_ms + 1));
    accept(&home, &first, &[]).await;
    let erased = home.outbox.erase_person(&by_phone(phone), "test", |_| {}).await.expect("an erasure");
    assert_eq!(erased.erased, 1);
    assert_eq!(home.outbox.resume_erasures().await.expect("nothing to do"), 0);

    for round in 1..=2 {
        let late = Submission { id: submission(3 + round).id, ..late.clone() };
        accept(&home, &late, &[]).await;
        accept(&home, &later, &[]).await;
        let hashes = answered(&home, &[late.id, later.id]).await;
        assert_eq!(home.outbox.resume_erasures().await.expect("resumed"), 1, "{round}");
        let known =
            home.store.scan(Table::Answered, Scan { limit: 99, ..Scan::default() }).await.expect("a read");
        let of = |id: SubmissionId| known.iter().filter(|(_, record)| record.value == id.to_bytes()).count();
        assert_eq!((of(late.id), of(later.id)), (hashes - 1, hashes), "a later answer was one");
        assert!(!is_there(&home, late.id).await, "{round}");
        assert!(is_there(&home, later.id).await, "a person who writes again is heard");
        assert_eq!(home.outbox.of_person(&by_phone(phone)).await.expect("a read"), [later.id]);
        assert_eq!(home.outbox.oldest_erasure_ms().await.expect("a read"), None);
        assert_eq!(home.outbox.resume_erasures().await.expect("nothing to do"), 0);
    }
    home.clock.advance(35 * DAY_MS + 1);
    accept(&home, &Submission { id: submission(9).id, ..late }, &[]).await;
    assert_eq!(home.outbox.resume_erasures().await.expect("nothing to do"), 0, "no hash is kept for longer");
}

//! What was erased, by its age or for a person, is in no file afterwards; what was not is still there.

mod again;
mod later;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use formgate::crypto::MacKey;
use formgate::outbox::{
    By, Clock as _, Contact, DeliveryKey, DestinationId, Error, Outcome, Person, Retention, Submission,
    SubmissionId, Swept,
};
use formgate::store::{Batch, DeliveryFilter, DeliveryState, Rewrite, Scan, Table};
use tokio::sync::watch;
use uuid::Uuid;

use crate::store_model::backend::{Backend, Kind, on_both};

use super::fixture::{Behaviour, Home, crm, submission};

const DAY_MS: i64 = 24 * 3_600_000;

on_both!(
    crate::outbox::fixture::Home::on;
    what_is_open_is_never_erased_and_what_was_given_up_as_long_after_that,
    an_erasure_while_a_delivery_is_under_way_says_who_may_have_it_and_keeps_nothing,
    an_erasure_that_failed_is_ended_by_the_same_process_when_it_keeps_house,
);

async fn retention(home: &Home, days: u32) -> Retention {
    home.outbox.retention(&[("contact".to_owned(), days)]).await.expect("a retention")
}

async fn accept(home: &Home, submission: &Submission, destinations: &[DestinationId]) {
    let mut envelope = [0; 32];
    envelope[..16].copy_from_slice(&submission.id.to_bytes());
    let reply = [b"the reply to ".as_slice(), &submission.id.to_bytes()].concat();
    home.outbox.accept(submission, destinations, &envelope, reply).await.expect("accepted");
}

/// Everything that only this submission has put into the files: its sealed body, its kept reply, its keys and its hashes.
async fn remains(home: &Home, id: SubmissionId) -> Vec<Vec<u8>> {
    let id_bytes = id.to_bytes();
    let sealed = home.store.get(Table::Submission, &id_bytes).await.expect("a read").expect("a submission");
    let mut remains = vec![sealed.value[..64].to_vec(), [b"the reply to ".as_slice(), &id_bytes].concat()];
    let scan = |limit| Scan { limit, ..Scan::default() };
    for (key, _) in home.store.scan(Table::Person, scan(10_000)).await.expect("a read") {
        if key.ends_with(&id_bytes) {
            // The hash with the id: the same hash also finds others of this person.
            remains.push(key);
        }
    }
    let filter = DeliveryFilter { submission: Some(id_bytes), ..DeliveryFilter::default() };
    for delivery in home.store.deliveries(filter, None, 10).await.expect("a read") {
        remains.push(delivery.key.to_vec());
    }
    assert!(remains.len() >= 4, "body, reply, hashes, delivery");
    remains
}

/// How many of these byte strings are in the files of a folder.
fn found(folder: &Path, wanted: &[Vec<u8>]) -> usize {
    let files: Vec<Vec<u8>> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|file| std::fs::read(file.expect("an entry").path()).expect("a file"))
        .collect();
    let is_there = |text: &&Vec<u8>| {
        files.iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_slice()))
    };
    wanted.iter().filter(is_there).count()
}

fn by_phone(phone: &str) -> Person {
    Person::new(By::Phone, phone).expect("a number")
}

/// A submission of the person with this number and address.
fn of_person(number: u8, phone: &str, email: &str) -> Submission {
    let mut sent = submission(number);
    sent.contact = Some(Contact { phone: Some(phone.to_owned()), user_id: Some(format!("id of {phone}")) });
    sent.flow_token = format!("token of {phone}");
    for answer in sent.answers.iter_mut().filter(|answer| answer.kind == "email") {
        (answer.value, answer.text) = (email.into(), email.to_owned());
    }
    sent
}

async fn is_there(home: &Home, id: SubmissionId) -> bool {
    home.outbox.show(id).await.expect("a read").is_some()
}

#[tokio::test]
async fn a_delivered_submission_is_erased_when_its_days_are_over_and_is_in_no_file_then() {
    let home = Home::new();
    let retention = retention(&home, 30).await;
    let crm = home.destination("crm", Behaviour::delivers());
    let (old, young) = (submission(1), submission(2));
    accept(&home, &old, std::slice::from_ref(&crm.id)).await;
    let working = home.work(std::slice::from_ref(&crm));
    home.settled(old.id, &[DeliveryState::Delivered]).await;
    home.clock.advance(15 * DAY_MS);
    accept(&home, &young, std::slice::from_ref(&crm.id)).await;
    home.settled(young.id, &[DeliveryState::Delivered]).await;
    working.stop().await;

    let (remains, others) = (remains(&home, old.id).await, remains(&home, young.id).await);
    home.clock.advance(15 * DAY_MS - 1);
    assert_eq!(home.outbox.sweep(&retention).await.expect("a sweep"), Swept::default());
    // The reply's day is over, so the worker has deleted it, but only overwriting takes it out of the log.
    assert!(found(home.folder.path(), &remains) >= remains.len() - 1, "the search finds what is there");

    home.clock.advance(1);
    let swept = home.outbox.sweep(&retention).await.expect("a sweep");
    assert_eq!(swept, Swept { erased: 1, undelivered: 0 });
    assert!(!is_there(&home, old.id).await);
    assert!(is_there(&home, young.id).await);
    assert_eq!(home.outbox.list(&Default::default(), None, 10).await.expect("a read").items.len(), 1);
    assert_eq!(found(home.folder.path(), &remains), 0);
    assert!(found(home.folder.path(), &others) >= others.len() - 1);
    let events = formgate::audit::newest(&home.store, 1).await.expect("a read");
    assert_eq!(
        (events[0].action.as_str(), events[0].subject.clone(), events[0].outcome.as_str()),
        ("submission.erased", old.id.to_string(), "ok")
    );
}

async fn what_is_open_is_never_erased_and_what_was_given_up_as_long_after_that(home: Home) {
    let retention = retention(&home, 2).await;
    let crm = home.destination("crm", Behaviour::answers(Outcome::retry("status", Some(500), None)));
    let (open, half) = (submission(1), submission(2));
    accept(&home, &open, std::slice::from_ref(&crm.id)).await;
    let sheet = home.destination("sheet", Behaviour::delivers());
    accept(&home, &half, &[sheet.id.clone(), DestinationId::new("gone").expect("an id")]).await;
    let working = home.work(&[Arc::clone(&crm), sheet]);
    home.until_state(
        DeliveryKey::of(half.id, &DestinationId::new("sheet").expect("an id")).to_bytes(),
        DeliveryState::Delivered,
    )
    .await;
    // A destination that is no longer configured leaves its delivery open: it is kept.
    home.clock.advance(3 * DAY_MS);
    assert_eq!(home.outbox.sweep(&retention).await.expect("a sweep"), Swept::default());
    home.settled_in_time(open.id, &[DeliveryState::Dead]).await;
    working.stop().await;
    assert_eq!(home.outbox.sweep(&retention).await.expect("a sweep"), Swept::default());
    home.clock.advance(2 * DAY_MS);
    let swept = home.outbox.sweep(&retention).await.expect("a sweep");
    assert_eq!(swept, Swept { erased: 1, undelivered: 1 });
    assert!(!is_there(&home, open.id).await);
    assert!(is_there(&home, half.id).await, "one of its deliveries is open");
    let events = formgate::audit::newest(&home.store, 1).await.expect("a read");
    assert_eq!(events[0].outcome, "undelivered");
}

#[tokio::test]
async fn zero_days_erase_on_delivery_but_not_what_was_given_up_or_goes_nowhere() {
    let home = Home::new();
    let retention = retention(&home, 0).await;
    let crm = home.destination("crm", Behaviour::delivers());
    let sheet = home.destination("sheet", Behaviour::answers(Outcome::refused("status", Some(410), "gone")));
    let (delivered, refused, nowhere) = (submission(1), submission(2), submission(3));
    accept(&home, &delivered, std::slice::from_ref(&crm.id)).await;
    accept(&home, &refused, &[crm.id.clone(), sheet.id.clone()]).await;
    accept(&home, &nowhere, &[]).await;
    let working = home.work(&[crm, sheet]);
    home.settled(delivered.id, &[DeliveryState::Delivered]).await;
    home.settled(refused.id, &[DeliveryState::Delivered, DeliveryState::Dead]).await;
    let remains = remains(&home, delivered.id).await;
    assert_eq!(found(home.folder.path(), &remains), remains.len(), "the search finds what is there");

    // The task of the program, from its first sweep on.
    let (stop, stopped) = watch::channel(false);
    let keeper = tokio::spawn(home.outbox.clone().keep_house(retention, stopped));
    while is_there(&home, delivered.id).await || found(home.folder.path(), &remains) > 0 {
        home.pause().await;
    }
    assert!(is_there(&home, refused.id).await && is_there(&home, nowhere.id).await);
    working.stop().await;

    // A late repeat, in the same envelope or another, is recognised and is nothing new.
    for envelope in [[9; 32], [10; 32]] {
        let again = home.outbox.accept(&delivered, &[super::crm()], &envelope, b"again".to_vec()).await;
        assert!(again.expect("accepted").repeated);
    }
    assert!(!is_there(&home, delivered.id).await);
    home.clock.advance(31 * DAY_MS);
    while is_there(&home, refused.id).await || is_there(&home, nowhere.id).await {
        home.pause().await;
    }
    stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(60), keeper).await.expect("it ends").expect("no panic");
}

#[tokio::test]
async fn a_flow_that_is_no_longer_configured_keeps_its_days() {
    let home = Home::new();
    let sent = submission(1);
    accept(&home, &sent, &[]).await;
    home.outbox.retention(&[("contact".to_owned(), 60)]).await.expect("a retention");
    let without = home.outbox.retention(&[("other".to_owned(), 1)]).await.expect("a retention");
    home.clock.advance(59 * DAY_MS);
    assert_eq!(home.outbox.sweep(&without).await.expect("a sweep").erased, 0);
    home.clock.advance(2 * DAY_MS);
    assert_eq!(home.outbox.sweep(&without).await.expect("a sweep").erased, 1);
    // One that nobody ever decided anything for is kept.
    let unknown = Home::new();
    accept(&unknown, &sent, &[]).await;
    let other = unknown.outbox.retention(&[("other".to_owned(), 1)]).await.expect("a retention");
    unknown.clock.advance(5_000 * DAY_MS);
    assert_eq!(unknown.outbox.sweep(&other).await.expect("a sweep").erased, 0);
}

#[tokio::test]
async fn a_person_is_found_by_number_id_address_and_token_and_erased_from_every_file() {
    let home = Home::new();
    let crm = home.destination("crm", Behaviour::delivers());
    let ada =
        [of_person(1, "+393331234567", "Ada@example.com"), of_person(2, "+393331234567", "ada@example.com")];
    let bob = of_person(3, "+4915112345678", "bob@example.com");
    accept(&home, &ada[0], std::slice::from_ref(&crm.id)).await;
    let working = home.work(std::slice::from_ref(&crm));
    home.settled(ada[0].id, &[DeliveryState::Delivered]).await;
    working.stop().await;
    // Waiting for its first attempt.
    accept(&home, &ada[1], std::slice::from_ref(&crm.id)).await;
    accept(&home, &bob, std::slice::from_ref(&crm.id)).await;
    for (by, text) in [
        (By::Phone, "0039 333 1234567"),
        (By::UserId, "id of +393331234567"),
        (By::Email, "ADA@EXAMPLE.COM"),
        (By::Token, "token of +393331234567"),
    ] {
        let person = Person::new(by, text).expect("a person");
        let mut ids = home.outbox.of_person(&person).await.expect("a read");
        ids.sort_unstable();
        let mut expected = ada.each_ref().map(|sent| sent.id);
        expected.sort_unstable();
        assert_eq!(ids, expected, "{text}");
    }

    let mut gone = remains(&home, ada[0].id).await;
    gone.extend(remains(&home, ada[1].id).await);
    let others = remains(&home, bob.id).await;
    assert_eq!(found(home.folder.path(), &gone), gone.len(), "the search finds what is there");
    let erased =
        home.outbox.erase_person(&by_phone("+393331234567"), "test", |_| {}).await.expect("an erasure");
    assert_eq!((erased.erased, erased.scrubbed), (2, true));
    assert_eq!(erased.gone_to.into_iter().collect::<Vec<_>>(), [("crm".to_owned(), 1)]);
    assert_eq!(found(home.folder.path(), &gone), 0);
    assert_eq!(found(home.folder.path(), &others), others.len());
    assert!(!is_there(&home, ada[0].id).await && !is_there(&home, ada[1].id).await);
    assert!(home.outbox.of_person(&by_phone("+393331234567")).await.expect("a read").is_empty());
    assert_eq!(home.store.scan(Table::Job, Scan { limit: 9, ..Scan::default() }).await.expect("a read"), []);

    // The trail says that it was done, and not for whom.
    let events = formgate::audit::newest(&home.store, 100).await.expect("a read");
    let count = |action: &str| events.iter().filter(|event| event.action == action).count();
    assert_eq!(
        (count("person.erasure_begun"), count("submission.erased"), count("person.erased")),
        (1, 2, 1)
    );
    for canary in ["3331234567", "ada@", "Ada"] {
        assert_eq!(found(home.folder.path(), &[canary.as_bytes().to_vec()]), 0, "{canary}");
    }
    // What is still open goes to nobody, and the other one does.
    let working = home.work(std::slice::from_ref(&crm));
    home.settled(bob.id, &[DeliveryState::Delivered]).await;
    working.stop().await;
    assert_eq!(crm.calls.lock().expect("calls").len(), 2);
}

#[tokio::test]
async fn an_erasure_that_was_killed_half_way_is_ended_by_the_next_process() {
    let home = Home::new();
    let mut ids = vec![];
    for number in 0..=250 {
        let mut sent = of_person(7, "+393331234567", "ada@example.com");
        sent.id = SubmissionId::new(Uuid::new_v8([number; 16]));
        accept(&home, &sent, &[crm()]).await;
        ids.push(sent.id);
    }
    let bob = of_person(1, "+4915112345678", "bob@example.com");
    let bob = Submission { id: SubmissionId::new(Uuid::new_v8([0xfe; 16])), ..bob };
    accept(&home, &bob, &[crm()]).await;
    home.clock.advance(DAY_MS);

    let (told, mut reached) = watch::channel(0);
    let outbox = home.outbox.clone();
    let erasing = tokio::spawn(async move {
        let person = by_phone("+393331234567");
        outbox.erase_person(&person, "test", |erased| told.send_modify(|told| *told = erased)).await
    });
    reached.wait_for(|erased| *erased >= 60).await.expect("it goes on");
    // What the next process finds if this one dies now.
    let next = home.crash();
    erasing.abort();
    let left = |home: &Home| {
        let outbox = home.outbox.clone();
        async move { outbox.of_person(&by_phone("+393331234567")).await.expect("a read").len() }
    };
    let before = left(&next).await;
    assert!((1..=191).contains(&before), "{before} of 251 are left: it was killed half way");

    assert_eq!(next.outbox.resume_erasures().await.expect("resumed"), 1);
    assert_eq!(left(&next).await, 0);
    for id in ids {
        assert!(!is_there(&next, id).await);
    }
    assert!(is_there(&next, bob.id).await);
    assert_eq!(next.outbox.resume_erasures().await.expect("nothing to do"), 0);
    let events = formgate::audit::newest(&next.store, 1_000).await.expect("a read");
    let count = |action: &str| events.iter().filter(|event| event.action == action).count();
    assert_eq!((count("submission.erased"), count("person.erased")), (251, 1), "each once");
}

#[tokio::test]
async fn what_an_older_release_stored_is_found_too() {
    let home = Home::new();
    let sent = of_person(1, "+393331234567", "ada@example.com");
    accept(&home, &sent, &[crm()]).await;
    // As the release before wrote it: no hashes, no traces.
    for table in [Table::Person, Table::Trace] {
        let records = home.store.scan(table, Scan { limit: 100, ..Scan::default() }).await.expect("a read");
        assert!(!records.is_empty());
        let batch = records.into_iter().fold(Batch::at(0), |batch, (key, _)| batch.delete(table, key));
        home.store.commit(batch).await.expect("a commit");
    }
    assert_eq!(home.outbox.of_person(&by_phone("+393331234567")).await.expect("a read"), [sent.id]);
    assert_eq!(home.outbox.index_older().await.expect("nothing to do"), 0);
    assert_eq!(
        home.outbox.erase_person(&by_phone("+393331234567"), "test", |_| {}).await.expect("erased").erased,
        1
    );
    assert!(!is_there(&home, sent.id).await);
    assert!(!matches!(home.outbox.submission(sent.id).await, Err(Error::Unreadable { .. })));
}

async fn an_erasure_while_a_delivery_is_under_way_says_who_may_have_it_and_keeps_nothing(home: Home) {
    let (release, released) = watch::channel(false);
    let slow = home.destination("slow", Behaviour::WaitsFor(released));
    let down = home.destination("down", Behaviour::answers(Outcome::retry("status", Some(503), None)));
    let refusing =
        home.destination("refusing", Behaviour::answers(Outcome::refused("status", Some(422), "no")));
    let all = [slow, down, refusing];
    let ids: Vec<_> = all.iter().map(|destination| destination.id.clone()).collect();
    let sent = of_person(1, "+393331234567", "ada@example.com");
    accept(&home, &sent, &ids).await;
    let working = home.work(&all);
    home.settled(sent.id, &[DeliveryState::Due, DeliveryState::Dead, DeliveryState::Leased]).await;
    assert_eq!(home.outbox.oldest_erasure_ms().await.expect("a read"), None);
    let erased =
        home.outbox.erase_person(&by_phone("+393331234567"), "test", |_| {}).await.expect("an erasure");
    assert_eq!(erased.gone_to.len(), 0);
    let maybe: Vec<_> = erased.maybe_gone_to.into_iter().collect();
    assert_eq!(maybe, [("down".to_owned(), 1), ("slow".to_owned(), 1)], "a clear no is a no");
    // The late outcome of what was under way brings nothing back.
    release.send_replace(true);
    working.stop().await;
    assert!(!is_there(&home, sent.id).await);
    let left = home.store.deliveries(DeliveryFilter::default(), None, 100).await.expect("a read");
    assert_eq!(left, []);
}

async fn an_erasure_that_failed_is_ended_by_the_same_process_when_it_keeps_house(home: Home) {
    let sent = of_person(1, "+393331234567", "ada@example.com");
    accept(&home, &sent, &[crm()]).await;
    let kept = home.outbox.retention(&[("contact".to_owned(), 30)]).await.expect("a retention");
    let (stop, stopped) = watch::channel(false);
    let keeping = tokio::spawn(home.outbox.clone().keep_house(kept, stopped));
    // It has looked once, and found nothing to end.
    for _ in 0..20 {
        home.pause().await;
    }
    let outbox = home.outbox.clone();
    let (told, mut reached) = watch::channel(false);
    let erasing = tokio::spawn(async move {
        let person = by_phone("+393331234567");
        outbox.erase_person(&person, "test", |_| told.send_modify(|told| *told = true)).await
    });
    // It goes no further than this: the task waits for the store, and is never asked again.
    reached.wait_for(|told| *told).await.expect("it goes on");
    erasing.abort();
    let begun_ms = home.clock.now_ms();
    // Beside them stand erasures that are done.
    let scan = Scan { prefix: b"erase\0".to_vec(), limit: 9, ..Scan::default() };
    let jobs = async || home.store.scan(Table::Job, scan.clone()).await.expect("a read");
    assert_eq!(jobs().await.len(), 1, "begun, and not ended");
    assert_eq!(home.outbox.oldest_erasure_ms().await.expect("a read"), Some(begun_ms));
    home.clock.advance(3_600_000);
    home.until_async(async || jobs().await.is_empty()).await;
    stop.send_replace(true);
    keeping.await.expect("it ends");
    assert!(!is_there(&home, sent.id).await);
}

#[tokio::test]
async fn an_erased_person_is_in_no_append_only_file_of_redis_and_the_outcome_says_if_it_refuses() {
    let home = Home::on(Kind::Shared).await;
    let redis = home.shared.as_ref().and_then(Backend::redis).expect("a node");
    let crm = home.destination("crm", Behaviour::delivers());
    let (ada, grace) = (
        of_person(1, "+393331234567", "ada@example.com"),
        of_person(2, "+447700900123", "grace@example.com"),
    );
    accept(&home, &ada, std::slice::from_ref(&crm.id)).await;
    accept(&home, &grace, std::slice::from_ref(&crm.id)).await;
    let (gone, others) = (remains(&home, ada.id).await, remains(&home, grace.id).await);
    assert_eq!(redis.keeps(&gone).0, gone.len(), "the search finds what is there");
    // In the file that it begins with, too, which is written in the format of snapshots.
    redis.run::<()>(&["BGREWRITEAOF"]);
    home.until(|| redis.keeps(&gone).1.iter().any(|name| name.contains(".base.rdb"))).await;
    assert_eq!(redis.keeps(&gone).0, gone.len());

    let person = by_phone("+393331234567");
    let erased = home.outbox.erase_person(&person, "test", |_| {}).await.expect("an erasure");
    assert_eq!((erased.erased, erased.scrubbed, erased.log), (1, true, Rewrite::Done));
    assert_eq!(redis.keeps(&gone), (0, vec![]), "neither the body nor what it was found by");
    assert_eq!(redis.keeps(&others).0, others.len());

    redis.run::<()>(&["ACL", "SETUSER", "default", "-bgrewriteaof"]);
    let person = by_phone("+447700900123");
    let erased = home.outbox.erase_person(&person, "test", |_| {}).await.expect("an erasure");
    assert_eq!((erased.erased, erased.log), (1, Rewrite::Refused));
    assert_eq!(redis.keeps(&others[..2]).0, 2, "what is erased stays in the file until it is written anew");
    let events = formgate::audit::newest(&home.store, 100).await.expect("a read");
    let ends = events.iter().filter(|event| event.action == "person.erased");
    let mut outcomes: Vec<_> = ends.map(|event| event.outcome.as_str()).collect();
    outcomes.sort_unstable();
    let refused = "ok, but for the log of Redis, which it does not let be written anew";
    assert_eq!(outcomes, ["ok", refused]);
    assert_eq!(home.outbox.oldest_erasure_ms().await.expect("a read"), None, "the job is ended");

    // The nodes do it for each other when it may be done again.
    redis.run::<()>(&["ACL", "SETUSER", "default", "+bgrewriteaof"]);
    redis.run::<()>(&["SET", "{model}:rewriting", ""]);
    let retention = retention(&home, 30).await;
    home.until_async(|| async {
        home.outbox.sweep(&retention).await.expect("a sweep");
        redis.keeps(&others[..2]).0 == 0
    })
    .await;
}

#[tokio::test]
async fn a_sweep_deletes_audit_events_after_their_days_and_what_a_submission_had_stays() {
    let home = Home::new();
    let key = Arc::new(MacKey::from_bytes(&[5; 32]).expect("32 bytes"));
    let beginning = home.store.chain_beginning(key.as_ref());
    home.store.commit(Batch::at(0).put(beginning)).await.expect("a commit");
    home.store.chain_audit(Arc::<MacKey>::clone(&key));
    let retention = retention(&home, 4_000).await.keeping_audit(396);
    accept(&home, &submission(1), &[]).await;
    home.clock.advance(396 * DAY_MS);
    accept(&home, &submission(2), &[]).await;
    home.outbox.sweep(&retention).await.expect("a sweep");
    let events = async || formgate::audit::newest(&home.store, 9).await.expect("a read").len();
    assert_eq!(events().await, 2, "not before");
    home.clock.advance(1);
    home.outbox.sweep(&retention).await.expect("a sweep");
    assert_eq!(events().await, 1);
    assert!(is_there(&home, submission(1).id).await);
    let found = formgate::audit::verify(&home.store, key).await.expect("a read");
    assert_eq!((found.trimmed, found.entries, found.broken), (1, 1, None));
}

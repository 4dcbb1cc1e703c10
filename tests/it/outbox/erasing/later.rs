//! Erasures that cannot be ended at once, and what becomes of what comes meanwhile.

use formgate::outbox::{Clock as _, Error, Submission};
use formgate::store::{self, Rewrite, Scan, Table};
use tokio::sync::watch;

use super::{DAY_MS, accept, by_phone, found, is_there, of_person, remains, retention};
use crate::outbox::fixture::{Home, submission};
use crate::store_model::backend::{Backend, Kind};

const PHONE: &str = "+393331234567";

async fn jobs(home: &Home) -> usize {
    home.store.scan(Table::Job, Scan { limit: 9, ..Scan::default() }).await.expect("a read").len()
}

/// How often the trail says that an erasure is done.
async fn ended(home: &Home) -> usize {
    let events = formgate::audit::newest(&home.store, 1_000).await.expect("a read");
    events.iter().filter(|event| event.action == "person.erased").count()
}

/// Reads the moment that it was made in, until it is dropped.
fn reader(home: &Home) -> rusqlite::Connection {
    let file = rusqlite::Connection::open(home.folder.path().join("store.sqlite3")).expect("the file");
    file.execute_batch("BEGIN; SELECT count(*) FROM record;").expect("a moment");
    file
}

#[tokio::test]
async fn what_a_person_sends_after_they_were_to_be_erased_is_no_part_of_it_when_it_is_gone_on_with() {
    let home = Home::new();
    let (mut sent, mut later) = (vec![], vec![]);
    for number in 1..=20 {
        sent.push(of_person(number, PHONE, "ada@example.com"));
        accept(&home, sent.last().expect("one"), &[]).await;
    }
    home.clock.advance(DAY_MS);
    let (told, mut reached) = watch::channel(false);
    let outbox = home.outbox.clone();
    let erasing = tokio::spawn(async move {
        outbox.erase_person(&by_phone(PHONE), "test", |_| told.send_modify(|told| *told = true)).await
    });
    reached.wait_for(|told| *told).await.expect("it goes on");
    erasing.abort();
    assert!(erasing.await.is_err(), "it is cut off");
    home.clock.advance(1);
    for number in 101..=220 {
        let completed_at_ms = home.clock.now_ms();
        later.push(Submission { completed_at_ms, ..of_person(number, PHONE, "ada@example.com") });
        accept(&home, later.last().expect("one"), &[]).await;
    }
    assert_eq!(home.outbox.resume_erasures().await.expect("resumed"), 1);
    for gone in sent {
        assert!(!is_there(&home, gone.id).await);
    }
    for kept in later {
        assert!(is_there(&home, kept.id).await, "a person who writes again is heard");
    }
    assert_eq!((jobs(&home).await, ended(&home).await), (0, 1));
}

#[tokio::test]
async fn an_erasure_ends_when_nothing_of_it_is_left_in_the_files() {
    let home = Home::new();
    let sent = of_person(1, PHONE, "ada@example.com");
    accept(&home, &sent, &[]).await;
    let remains = remains(&home, sent.id).await;
    let reader = reader(&home);
    let erased = home.outbox.erase_person(&by_phone(PHONE), "test", |_| {}).await.expect("an erasure");
    assert_eq!((erased.erased, erased.scrubbed, erased.log), (1, false, Rewrite::Done));
    assert!(found(home.folder.path(), &remains) > 0, "the reader still has it");
    assert_eq!((jobs(&home).await, ended(&home).await), (1, 0));
    drop(reader);
    assert_eq!(home.outbox.resume_erasures().await.expect("resumed"), 1);
    assert_eq!(found(home.folder.path(), &remains), 0);
    assert_eq!((jobs(&home).await, ended(&home).await), (0, 1));
    assert_eq!(home.outbox.resume_erasures().await.expect("nothing to do"), 0);
}

#[tokio::test]
async fn a_sweep_overwrites_what_one_before_it_could_not() {
    let home = Home::new();
    let retention = retention(&home, 1).await;
    accept(&home, &submission(1), &[]).await;
    let remains = remains(&home, submission(1).id).await;
    home.clock.advance(DAY_MS);
    let reader = reader(&home);
    assert_eq!(home.outbox.sweep(&retention).await.expect("a sweep").erased, 1);
    assert!(found(home.folder.path(), &remains) > 0, "the reader still has it");
    drop(reader);
    assert_eq!(home.outbox.sweep(&retention).await.expect("a sweep").erased, 0);
    assert_eq!(found(home.folder.path(), &remains), 0);
}

#[tokio::test]
async fn an_erasure_that_waits_for_redis_says_that_it_was_begun_and_goes_on() {
    let home = Home::on(Kind::Shared).await;
    let redis = home.shared.as_ref().and_then(Backend::redis).expect("a node");
    let sent = of_person(1, PHONE, "ada@example.com");
    accept(&home, &sent, &[]).await;
    home.clock.advance(DAY_MS);
    redis.run::<()>(&["ACL", "SETUSER", "default", "-evalsha"]);
    let error = home.outbox.erase_person(&by_phone(PHONE), "test", |_| {}).await.expect_err("it waits");
    let Error::Unended(cause) = &error else { panic!("{error}") };
    assert!(matches!(**cause, Error::Store(store::Error::Incomplete)), "{cause:?}");
    assert!(is_there(&home, sent.id).await, "of nothing it is believed to be gone");
    redis.run::<()>(&["ACL", "SETUSER", "default", "+evalsha"]);
    home.until_async(|| async { matches!(home.outbox.resume_erasures().await, Ok(1)) }).await;
    assert!(!is_there(&home, sent.id).await);
}

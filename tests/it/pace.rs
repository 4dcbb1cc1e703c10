//! How destinations are spared: breaker, rate, patience, pause.

use std::num::NonZeroU32;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use formgate::audit;
use formgate::outbox::{Clock, DestinationView, Outcome, Pace, Rate, ReplayFilter};
use formgate::store::{self, Batch, DeliveryFilter, DeliveryState, Put, Scan, Table};

use crate::outbox::fixture::{Behaviour, Home, Puppet, crm, submission};

fn failing() -> Behaviour {
    Behaviour::answers(Outcome::retry("status", Some(500), None))
}

async fn accept(home: &Home, numbers: std::ops::Range<u8>) {
    for number in numbers {
        home.outbox.accept(&submission(number), &[crm()], &[number; 32], vec![]).await.expect("accepted");
    }
}

async fn view(home: &Home) -> DestinationView {
    home.outbox.destinations().await.expect("a read").remove(0)
}

fn started(puppet: &Puppet) -> usize {
    puppet.started.load(Ordering::SeqCst)
}

/// How often an action stands in the audit trail.
pub async fn audited(home: &Home, action: &str) -> usize {
    let scan = Scan { limit: 100_000, ..Scan::default() };
    let events = home.store.scan(Table::Audit, scan).await.expect("a read");
    let events = events.iter().filter_map(|(_, record)| audit::Event::from_record(&record.value));
    events.filter(|event| event.action == action).count()
}

/// What is logged on this thread, on which all of a test's tasks run.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("a log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Until the guard is dropped.
    pub fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub fn lines_with(&self, text: &str) -> usize {
        let bytes = self.0.lock().expect("a log").clone();
        String::from_utf8_lossy(&bytes).lines().filter(|line| line.contains(text)).count()
    }
}

#[tokio::test]
async fn an_open_breaker_burns_no_attempt_of_what_waits_and_one_probe_brings_the_destination_back() {
    let (log, _logging) = Log::begin();
    let home = Home::new();
    let destination = home.destination("crm", failing());
    accept(&home, 0..30).await;
    let working = home.work(&[Arc::clone(&destination)]);
    home.until_async(|| async { view(&home).await.parked == 30 }).await;
    // Five have opened it; some may have begun while they ended.
    let burnt = started(&destination);
    assert!((5..=12).contains(&burnt), "no more than were under way when it opened: {burnt}");
    let open = view(&home).await.hold.open.expect("an open breaker");
    assert!((24_000..=36_000).contains(&(open.until_ms - home.clock.now_ms())), "{open:?}");
    let attempts = || async {
        let all = home.store.deliveries(DeliveryFilter::default(), None, 100).await.expect("a read");
        all.iter().map(|delivery| delivery.attempt).sum::<u32>()
    };
    assert_eq!(attempts().await, burnt as u32);

    // What failed is due again long before; nothing is sent, nothing is counted.
    home.clock.advance(20_000);
    home.pause().await;
    assert_eq!((started(&destination), attempts().await), (burnt, burnt as u32));
    // One probe, which fails: it stays open, for longer, and one delivery has one attempt more.
    home.clock.advance(open.until_ms - home.clock.now_ms());
    home.until(|| started(&destination) == burnt + 1).await;
    home.until_async(|| async { view(&home).await.parked == 30 }).await;
    let open = view(&home).await.hold.open.expect("an open breaker");
    assert!((48_000..=72_000).contains(&(open.until_ms - home.clock.now_ms())), "{open:?}");
    assert_eq!(attempts().await, burnt as u32 + 1);

    destination.behave(Behaviour::delivers());
    home.clock.advance(open.until_ms - home.clock.now_ms());
    home.until_async(|| async { view(&home).await.depth.delivered >= 17 }).await;
    // The one that was probed is due in half a minute.
    home.clock.advance(60_000);
    home.until_async(|| async { view(&home).await.depth.delivered == 30 }).await;
    assert_eq!(view(&home).await.hold.open, None);
    working.stop().await;
    assert_eq!(
        (audited(&home, "destination.opened").await, audited(&home, "destination.recovered").await),
        (1, 1)
    );
    assert_eq!((log.lines_with("the destination fails"), log.lines_with("works again")), (1, 1));
}

#[tokio::test]
async fn what_the_destination_had_no_part_in_neither_opens_its_breaker_nor_closes_it() {
    let home = Home::new();
    let waits = Behaviour::answers(Outcome::not_yet("version_not_known_yet"));
    let destination = home.destination("crm", waits);
    accept(&home, 0..30).await;
    let working = home.work(&[Arc::clone(&destination)]);
    home.until(|| started(&destination) == 30).await;
    home.rest().await;
    assert_eq!(view(&home).await.hold.open, None);

    destination.behave(failing());
    home.clock.advance(20_000);
    home.until_async(|| async { view(&home).await.parked == 30 }).await;
    // What its condition keeps back is done meanwhile, one after the other, as far as probes go.
    destination.behave(Behaviour::answers(Outcome::skipped()));
    home.clock.advance(300_000);
    home.until_async(|| async { view(&home).await.depth.delivered == 30 }).await;
    home.rest().await;
    assert!(view(&home).await.hold.open.is_some(), "nobody knows whether it is back");
    working.stop().await;
    assert_eq!(
        (audited(&home, "destination.opened").await, audited(&home, "destination.recovered").await),
        (1, 0)
    );
}

#[tokio::test]
async fn a_breaker_that_a_process_left_open_is_open_in_the_next_one_until_it_is_resumed() {
    let home = Home::new();
    accept(&home, 0..30).await;
    let failing = home.destination("crm", failing());
    let working = home.work(&[Arc::clone(&failing)]);
    home.until_async(|| async { view(&home).await.parked == 30 }).await;
    let attempted = started(&failing) as u64;
    let crashed = home.crash();
    working.kill();

    let destination = crashed.destination("crm", Behaviour::delivers());
    let working = crashed.work(&[Arc::clone(&destination)]);
    crashed.pause().await;
    assert_eq!((view(&crashed).await.parked, started(&destination)), (30, 0));
    // Somebody has mended it and does not want to wait: what was not attempted yet goes at once, the probe first.
    assert!(crashed.outbox.resume(&crm(), "cli").await.expect("a change"));
    crashed.until_async(|| async { view(&crashed).await.depth.delivered == 30 - attempted }).await;
    assert!(!crashed.outbox.resume(&crm(), "cli").await.expect("a change"), "it is not held any more");
    working.stop().await;
}

/// Where in the file the pages of a long record begin that hold nothing else.
fn pages_of(path: &std::path::Path, filling: u8) -> Vec<u64> {
    let bytes = std::fs::read(path).expect("the file");
    let pages = bytes.chunks_exact(4096).enumerate();
    // The first four bytes of such a page name the next one.
    let full = pages.filter(|(_, page)| page[4..].iter().all(|byte| *byte == filling));
    full.map(|(number, _)| number as u64 * 4096).collect()
}

#[tokio::test]
async fn a_store_that_cannot_be_read_for_a_while_ends_neither_a_lane_nor_a_replay() {
    let home = Home::new();
    accept(&home, 0..30).await;
    let failing = home.destination("crm", failing());
    let working = home.work(&[Arc::clone(&failing)]);
    home.until_async(|| async { view(&home).await.parked == 30 }).await;
    working.stop().await;
    // The breaker, and a replay that was begun, in records so long that they need pages of their own.
    let actor = "r".repeat(20_000);
    home.outbox.begin_replay(ReplayFilter::default(), false, &actor).await.expect("begun");
    let scan = Scan { limit: 2, ..Scan::default() };
    let (key, breaker) = home.store.scan(Table::Breaker, scan).await.expect("a read").remove(0);
    let breaker = Put::new(Table::Breaker, key, [breaker.value, vec![0xa5; 20_000]].concat());
    home.store.commit(Batch::at(home.clock.now_ms()).put(breaker)).await.expect("stored");
    let mut pages = Vec::new();
    let home =
        home.reopened(|path| pages = [0xa5, b'r'].map(|filling| pages_of(path, filling)).to_vec()).await;
    let file = std::fs::File::options().read(true).write(true).open(home.folder.path().join("store.sqlite3"));
    let (file, mut names_next) = (file.expect("the file"), Vec::new());
    let (breaker, replay) =
        ((Table::Breaker, b"crm".to_vec()), home.outbox.unfinished_replays().await.expect("a read")[0]);
    let replay = (Table::Replay, replay.as_bytes().to_vec());
    let destination = home.destination("crm", Behaviour::delivers());
    // Whoever has read a page before reads it anew after a commit.
    let anything = || Batch::at(0).put(Put::new(Table::Setting, *b"anything", []));
    let mut working = None;
    // The replay is damaged when the worker starts, the breaker under its hands.
    for (pages, (table, key)) in [(&pages[1], &replay), (&pages[0], &breaker)] {
        assert!(pages.len() >= 3, "{pages:?}");
        for page in pages {
            let mut next = [0; 4];
            file.read_exact_at(&mut next, *page).expect("a read");
            file.write_all_at(&[0xff; 4], *page).expect("a write");
            names_next.push((*page, next));
        }
        home.store.commit(anything()).await.expect("stored");
        assert!(matches!(home.store.get(*table, key).await, Err(store::Error::Read(_))), "{table:?}");
        working.get_or_insert_with(|| home.work(&[Arc::clone(&destination)]));
        home.rest().await;
    }
    for _ in 0..5 {
        home.clock.advance(60_000);
        home.pause().await;
    }
    assert_eq!(started(&destination), 0, "nobody can say whether it may be called");
    for (page, next) in names_next {
        file.write_all_at(&next, page).expect("a write");
    }
    home.store.commit(anything()).await.expect("stored");
    home.until_async(|| async {
        home.clock.advance(60_000);
        let undone = home.outbox.unfinished_replays().await.expect("a read").len() as u64;
        view(&home).await.depth.delivered == 30 && undone == 0
    })
    .await;
    working.expect("a worker").stop().await;
}

#[tokio::test]
async fn a_429_slows_the_whole_destination_and_not_only_one_delivery() {
    let home = Home::new();
    let limited = Behaviour::answers(Outcome::retry("status", Some(429), Some(60_000)));
    let destination = home.destination("crm", limited);
    accept(&home, 0..1).await;
    let working = home.work(&[Arc::clone(&destination)]);
    home.settled(submission(0).id, &[DeliveryState::Due]).await;
    home.until(|| started(&destination) == 1).await;
    home.until_async(|| async {
        home.outbox.show(submission(0).id).await.expect("a read").expect("one").deliveries[0].attempts.len()
            == 1
    })
    .await;
    destination.behave(Behaviour::delivers());
    accept(&home, 1..10).await;
    home.clock.advance(59_999);
    home.pause().await;
    assert_eq!(started(&destination), 1, "the others wait, too");
    let depth = view(&home).await;
    assert_eq!((depth.depth.due, depth.parked, depth.hold.open), (10, 0, None), "it is slow, not broken");
    home.clock.advance(1);
    home.until_async(|| async { view(&home).await.depth.delivered == 10 }).await;
    working.stop().await;
}

#[tokio::test]
async fn no_more_is_sent_than_the_configured_rate() {
    let home = Home::new();
    let destination = home.destination("crm", Behaviour::delivers());
    accept(&home, 0..20).await;
    let number = |number| NonZeroU32::new(number).expect("not zero");
    let rate = Some(Rate { per_minute: number(60), burst: number(5) });
    let working = home.work_at(&[Arc::clone(&destination)], Pace { rate, ..Pace::default() });
    for expected in 5..20 {
        home.until_async(|| async { view(&home).await.depth.delivered == expected as u64 }).await;
        home.pause().await;
        home.clock.advance(999);
        home.pause().await;
        assert_eq!(started(&destination), expected);
        home.clock.advance(1);
    }
    home.until_async(|| async { view(&home).await.depth.delivered == 20 }).await;
    working.stop().await;
}

#[tokio::test]
async fn a_paused_destination_takes_submissions_and_sends_nothing_until_it_is_resumed_also_after_a_crash() {
    let home = Home::new();
    let (crm_puppet, sheet) =
        (home.destination("crm", Behaviour::delivers()), home.destination("sheet", Behaviour::delivers()));
    let working = home.work(&[Arc::clone(&crm_puppet), Arc::clone(&sheet)]);
    assert!(home.outbox.pause(&crm(), "cli", None).await.expect("a change"));
    assert!(!home.outbox.pause(&crm(), "cli", None).await.expect("a change"), "it is paused already");
    let ids = [crm(), sheet.id.clone()];
    for number in 0..10 {
        home.outbox.accept(&submission(number), &ids, &[number; 32], vec![]).await.expect("accepted");
    }
    home.until(|| started(&sheet) == 10).await;
    home.clock.advance(3_600_000);
    home.pause().await;
    let paused = view(&home).await;
    assert_eq!((started(&crm_puppet), paused.parked, paused.depth.due), (0, 10, 0));
    assert_eq!(paused.hold.paused.map(|paused| paused.actor).as_deref(), Some("cli"));
    let crashed = home.crash();
    working.kill();

    let destination = crashed.destination("crm", Behaviour::delivers());
    let working = crashed.work(&[Arc::clone(&destination)]);
    crashed.pause().await;
    assert_eq!(started(&destination), 0);
    assert!(crashed.outbox.resume(&crm(), "cli").await.expect("a change"));
    crashed.until_async(|| async { view(&crashed).await.depth.delivered == 10 }).await;
    working.stop().await;
    let calls = destination.calls.lock().expect("calls").clone();
    assert!(calls.iter().all(|(_, _, attempt)| *attempt == 1), "the pause cost no attempt");
    assert_eq!(
        (audited(&crashed, "destination.paused").await, audited(&crashed, "destination.resumed").await),
        (1, 1)
    );
}

#[tokio::test]
async fn a_destination_that_wants_no_more_is_paused_by_itself_and_nothing_is_given_up() {
    let home = Home::new();
    let gone = Behaviour::answers(Outcome::hold("gone", Some(410), "it answered 410 and wants no more"));
    let destination = home.destination("crm", gone);
    accept(&home, 0..20).await;
    let working = home.work(&[Arc::clone(&destination)]);
    home.until_async(|| async { view(&home).await.parked == 20 }).await;
    assert!(started(&destination) <= 8);
    assert_eq!(audited(&home, "destination.paused").await, 1);
    let paused = view(&home).await.hold.paused.expect("a pause");
    assert_eq!((paused.actor.as_str(), paused.reason.is_some()), ("outbox", true));
    destination.behave(Behaviour::delivers());
    home.outbox.resume(&crm(), "cli").await.expect("a change");
    home.until_async(|| async { view(&home).await.depth.delivered == 20 }).await;
    working.stop().await;
    let calls = destination.calls.lock().expect("calls").clone();
    assert!(calls.iter().all(|(_, _, attempt)| *attempt == 1), "no attempt was burnt");
}

#[tokio::test]
async fn a_destination_that_does_not_take_our_credentials_waits_for_new_ones_and_burns_no_attempt() {
    let home = Home::new();
    let revoked = Behaviour::answers(Outcome::reconnect("token", Some(401), "reconnect it"));
    let destination = home.destination("crm", revoked);
    accept(&home, 0..20).await;
    let working = home.work(&[Arc::clone(&destination)]);
    home.until_async(|| async { view(&home).await.parked == 20 }).await;
    let paused = view(&home).await.hold.paused.expect("a pause");
    assert_eq!((paused.reconnect, paused.reason.as_deref()), (true, Some("reconnect it")));
    assert_eq!(view(&home).await.hold.open, None, "its breaker has nothing to do with it");
    destination.behave(Behaviour::delivers());
    assert!(home.outbox.reconnected(&crm(), "connect").await.expect("a change"));
    assert!(!home.outbox.reconnected(&crm(), "connect").await.expect("a change"), "once is enough");
    home.until_async(|| async { view(&home).await.depth.delivered == 20 }).await;
    let calls = destination.calls.lock().expect("calls").clone();
    assert!(calls.iter().all(|(_, _, attempt)| *attempt == 1), "no attempt was burnt");

    // What somebody has paused, new credentials do not set going.
    assert!(home.outbox.pause(&crm(), "cli", Some("maintenance")).await.expect("a change"));
    assert!(!home.outbox.reconnected(&crm(), "connect").await.expect("a change"));
    assert!(view(&home).await.hold.paused.is_some());
    working.stop().await;
}

#[tokio::test]
async fn destinations_of_one_account_share_its_rate_and_its_patience() {
    let home = Home::new();
    let of_account = |id: &str| home.destination_of(Some("hubspot:1"), id, Behaviour::delivers());
    let (first, second) = (of_account("crm"), of_account("sheet"));
    let apart = home.destination("apart", Behaviour::delivers());
    let ids = [&first, &second, &apart].map(|puppet| puppet.id.clone());
    for number in 0..10 {
        home.outbox.accept(&submission(number), &ids, &[number; 32], vec![]).await.expect("accepted");
    }
    let number = |number| NonZeroU32::new(number).expect("not zero");
    let rate = Some(Rate { per_minute: number(60), burst: number(4) });
    let all = [Arc::clone(&first), Arc::clone(&second), Arc::clone(&apart)];
    let working = home.work_at(&all, Pace { rate, ..Pace::default() });
    let both = || started(&first) + started(&second);
    home.until(|| both() == 4 && started(&apart) == 4).await;
    // The clock jumps when nobody is on the way with tokens of the time before.
    home.rest().await;
    home.clock.advance(999);
    home.rest().await;
    assert_eq!((both(), started(&apart)), (4, 4), "four together, and four of the other account");
    home.clock.advance(2_001);
    home.until(|| both() == 7).await;
    home.rest().await;

    for limited in [&first, &second] {
        limited.behave(Behaviour::answers(Outcome::retry("status", Some(429), Some(60_000))));
    }
    home.clock.advance(1_000);
    home.until(|| both() == 8).await;
    // What it was told is known everywhere once the attempt has ended and its lane has come to rest.
    home.until_async(|| async {
        let leased = DeliveryFilter { state: Some(DeliveryState::Leased), ..DeliveryFilter::default() };
        home.store.deliveries(leased, None, 100).await.expect("a read").is_empty()
    })
    .await;
    home.rest().await;
    home.clock.advance(59_000);
    home.pause().await;
    assert_eq!(both(), 8, "whichever was told it, both wait");
    working.stop().await;
}

//! Replaying many, and what is quarantined.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use formgate::outbox::{
    AcceptError, Clock, DeliveryKey, Outcome, Pace, ReplayFilter, Submission, SubmissionId,
};
use formgate::store::{
    Batch, DeliveryFilter, DeliveryState, Lane, NewDelivery, Put, Settlement, Table, Verdict,
};

use crate::outbox::fixture::{Behaviour, Home, crm, one_of_many, submission};
use crate::pace::audited;

/// Accepts many at once, so that they share their commits.
async fn accept_all(home: &Home, submissions: Vec<Submission>) {
    for chunk in submissions.chunks(500) {
        let mut accepting = tokio::task::JoinSet::new();
        for submission in chunk.iter().cloned() {
            let outbox = home.outbox.clone();
            let envelope: [u8; 32] =
                [submission.id.to_bytes(), [0; 16]].concat().try_into().expect("32 bytes");
            accepting.spawn(async move {
                // So many at once may take longer than one of them may: it is asked again, as phones do.
                let accept = async || outbox.accept(&submission, &[crm()], &envelope, vec![]).await;
                while let Err(refused) = accept().await {
                    assert_eq!(refused, AcceptError::Unavailable);
                }
            });
        }
        accepting.join_all().await;
    }
}

/// Gives up everything that is due.
async fn give_up(home: &Home) {
    loop {
        let now_ms = home.clock.now_ms();
        let claimed = home.store.claim("crm", now_ms, 60_000, 500).await.expect("a claim");
        if claimed.is_empty() {
            return;
        }
        let mut settling = tokio::task::JoinSet::new();
        for delivery in claimed {
            let store = home.store.clone();
            let verdict = Verdict::Dead { at_ms: now_ms };
            let settlement = Settlement { verdict, history: vec![], puts: vec![] };
            settling.spawn(async move {
                store.settle(delivery.key, delivery.lease, settlement).await.expect("a lease");
            });
        }
        settling.join_all().await;
    }
}

async fn dead(home: &Home) -> u64 {
    home.outbox.depths().await.expect("a read")[0].dead
}

#[tokio::test]
async fn ten_thousand_replays_do_not_keep_a_new_submission_waiting() {
    const REPLAYED: u32 = 10_000;
    let home = Home::new();
    accept_all(&home, (0..REPLAYED).map(one_of_many).collect()).await;
    give_up(&home).await;
    home.clock.advance(60_000);
    let replay = home.outbox.begin_replay(ReplayFilter::default(), false, "cli").await.expect("begun");
    let mut told = vec![];
    let replay = home.outbox.run_replay(replay.id, |replay| told.push(replay.looked_at)).await.expect("run");
    assert_eq!(replay.map(|replay| (replay.replayed, replay.dead)), Some((10_000, 10_000)));
    assert!(told.len() > 30 && told.is_sorted(), "{told:?}");

    // Each attempt takes a second, and time stands still unless the test says so.
    let destination = home.destination("crm", Behaviour::Takes(Arc::clone(&home.clock), 1_000));
    let working = home.work(&[Arc::clone(&destination)]);
    home.until(|| destination.started.load(Ordering::SeqCst) == 4).await;
    let begun = |id: SubmissionId| {
        destination.calls.lock().expect("calls").iter().any(|(called, _, _)| *called == id)
    };
    for number in 0..20 {
        home.clock.advance(250);
        let live = submission(number);
        home.outbox.accept(&live, &[crm()], &[number; 32], vec![]).await.expect("accepted");
        // Not a moment later, although thousands have been due for longer.
        home.until(|| begun(live.id)).await;
        let bulk = || async {
            let open = DeliveryFilter { state: Some(DeliveryState::Leased), ..DeliveryFilter::default() };
            let leased = home.store.deliveries(open, None, 100).await.expect("a read");
            leased.iter().filter(|delivery| delivery.lane == Lane::Bulk).count()
        };
        assert!(bulk().await <= 4);
        // They go on, beside; some may just have ended.
        home.until_async(|| async { bulk().await > 0 }).await;
    }
    for number in 0..20 {
        let shown = || async { home.outbox.show(submission(number).id).await.expect("a read").expect("one") };
        while shown().await.deliveries[0].state != DeliveryState::Delivered {
            home.clock.advance(100);
            home.pause().await;
        }
    }
    working.kill();
}

/// The control of the test above: in the lane of live deliveries they would.
#[tokio::test]
async fn as_many_live_deliveries_do_keep_it_waiting() {
    let home = Home::new();
    accept_all(&home, (0..30).map(one_of_many).collect()).await;
    let destination = home.destination("crm", Behaviour::Takes(Arc::clone(&home.clock), 1_000));
    let working = home.work(&[Arc::clone(&destination)]);
    home.until(|| destination.started.load(Ordering::SeqCst) == 8).await;
    home.clock.advance(1);
    home.outbox.accept(&submission(1), &[crm()], &[1; 32], vec![]).await.expect("accepted");
    home.clock.advance(1_000);
    home.until(|| destination.started.load(Ordering::SeqCst) == 16).await;
    let calls = destination.calls.lock().expect("calls").clone();
    assert!(calls.iter().all(|(id, _, _)| *id != submission(1).id));
    working.kill();
}

#[tokio::test]
async fn a_replay_takes_what_passes_its_filter_under_the_same_key_or_as_new_under_another() {
    let home = Home::new();
    let of_flow = |number: u8, flow: &str| Submission { flow_id: flow.to_owned(), ..submission(number) };
    accept_all(&home, (0..10).map(|n| of_flow(n, if n < 4 { "visit" } else { "contact" })).collect()).await;
    give_up(&home).await;
    home.clock.advance(60_000);
    let later_ms = home.clock.now_ms();
    accept_all(&home, (10..16).map(|n| of_flow(n, "visit")).collect()).await;
    give_up(&home).await;
    // This one cannot be read, so nobody knows its flow.
    let key = [9; 16];
    let broken = NewDelivery { key, submission: key, destination: "crm".into(), due_at_ms: 0 };
    let batch = Batch::at(0).put(Put::new(Table::Submission, key, "not sealed")).deliver(broken);
    home.store.commit(batch).await.expect("a commit");
    give_up(&home).await;
    assert_eq!(dead(&home).await, 17);
    home.clock.advance(1);

    let run = |filter: ReplayFilter, as_new| {
        let outbox = home.outbox.clone();
        async move {
            let begun = outbox.begin_replay(filter, as_new, "cli").await.expect("begun");
            let ended = outbox.run_replay(begun.id, |_| {}).await.expect("run").expect("a replay");
            (ended.replayed, ended.unreadable)
        }
    };
    let elsewhere = ReplayFilter { destination: Some("sheet".into()), ..ReplayFilter::default() };
    assert_eq!(run(elsewhere, false).await, (0, 0));
    let visits = ReplayFilter { flow_id: Some("visit".into()), ..ReplayFilter::default() };
    let late_visits = ReplayFilter { since_ms: Some(later_ms), ..visits.clone() };
    assert_eq!(run(late_visits, true).await, (6, 1));
    assert_eq!(run(visits.clone(), false).await, (4, 1));
    assert_eq!(run(visits, false).await, (0, 1), "they are not dead any more");
    assert_eq!(dead(&home).await, 7);
    assert_eq!(audited(&home, "delivery.replayed").await, 4);
    assert_eq!(audited(&home, "delivery.replayed_as_new").await, 6);

    let destination = home.destination("crm", Behaviour::delivers());
    let working = home.work(&[Arc::clone(&destination)]);
    home.until_async(|| async { home.outbox.depths().await.expect("a read")[0].delivered == 10 }).await;
    working.stop().await;
    for (id, key, attempt) in destination.calls.lock().expect("calls").iter() {
        let same = DeliveryKey::of(*id, &crm());
        let is_late = (10..16).any(|n| submission(n).id == *id);
        assert_eq!(*key, if is_late { same.as_new() } else { same });
        assert_eq!(*attempt, 1, "a new budget");
    }
    // One alone, as new: the same submission, once more, under a third key.
    let shown = home.outbox.show(submission(10).id).await.expect("a read").expect("one");
    assert_eq!(shown.deliveries.len(), 1, "it has replaced the old one");
}

#[tokio::test]
async fn a_replay_that_was_cut_off_is_gone_on_with_by_the_next_process_and_moves_nothing_twice() {
    let home = Home::new();
    accept_all(&home, (0..1_000).map(one_of_many).collect()).await;
    give_up(&home).await;
    home.clock.advance(1);
    let replay = home.outbox.begin_replay(ReplayFilter::default(), false, "cli").await.expect("begun");
    let (tell, mut told) = tokio::sync::watch::channel(0);
    tokio::select! {
        biased;
        _ = told.wait_for(|looked_at| *looked_at > 0) => {}
        ended = home.outbox.run_replay(replay.id, |replay| { tell.send_replace(replay.looked_at); }) => {
            panic!("it has ended: {ended:?}");
        }
    }
    let crashed = home.crash();
    let left = dead(&crashed).await;
    assert!((1..1_000).contains(&left), "{left}");
    assert_eq!(crashed.outbox.unfinished_replays().await.expect("a read"), [replay.id]);

    let destination = crashed.destination("crm", Behaviour::delivers());
    let working = crashed.work(&[Arc::clone(&destination)]);
    crashed
        .until_async(|| async { crashed.outbox.depths().await.expect("a read")[0].delivered == 1_000 })
        .await;
    working.stop().await;
    assert_eq!(audited(&crashed, "delivery.replayed").await, 1_000);
    assert_eq!(audited(&crashed, "replay.ended").await, 1);
    assert!(crashed.outbox.unfinished_replays().await.expect("a read").is_empty());
    let calls = destination.calls.lock().expect("calls").clone();
    let keys: BTreeSet<_> = calls.iter().map(|(_, key, _)| *key).collect();
    assert_eq!((calls.len(), keys.len()), (1_000, 1_000));
}

#[tokio::test]
async fn a_replay_that_is_cancelled_moves_nothing_more_and_what_it_moved_is_sent() {
    let home = Home::new();
    accept_all(&home, (0..1_000).map(one_of_many).collect()).await;
    give_up(&home).await;
    home.clock.advance(1);
    let replay = home.outbox.begin_replay(ReplayFilter::default(), false, "cli").await.expect("begun");
    let (tell, mut told) = tokio::sync::watch::channel(0);
    let going_on = home.outbox.run_replay(replay.id, |replay| {
        tell.send_replace(replay.looked_at);
    });
    tokio::pin!(going_on);
    tokio::select! {
        biased;
        _ = told.wait_for(|looked_at| *looked_at > 0) => {}
        ended = &mut going_on => panic!("it has ended: {ended:?}"),
    }
    // It stands still in its second step at most; nobody polls it until somebody has cancelled.
    let cancelled = home.outbox.cancel_replay(replay.id, "ada").await.expect("a cancellation").expect("one");
    // Whoever runs it learns of it at the next step.
    let ended = going_on.await.expect("run").expect("a replay");
    assert!(cancelled.cancelled && cancelled.ended && cancelled.replayed < 1_000, "{cancelled:?}");
    assert_eq!(ended, cancelled);
    assert_eq!(dead(&home).await, 1_000 - cancelled.replayed);
    assert!(home.outbox.unfinished_replays().await.expect("a read").is_empty());
    let again = home.outbox.cancel_replay(replay.id, "ada").await.expect("a read");
    assert_eq!(again.as_ref(), Some(&cancelled), "once");
    assert_eq!(home.outbox.run_replay(replay.id, |_| {}).await.expect("run"), again, "and for good");
    assert_eq!((audited(&home, "replay.cancelled").await, audited(&home, "replay.ended").await), (1, 0));
    assert_eq!(home.outbox.cancel_replay(uuid::Uuid::nil(), "ada").await.expect("a read"), None);

    let destination = home.destination("crm", Behaviour::delivers());
    let working = home.work(&[destination]);
    let sent = || async { home.outbox.depths().await.expect("a read")[0].delivered == cancelled.replayed };
    home.until_async(sent).await;
    working.stop().await;
}

#[tokio::test]
async fn a_row_that_cannot_be_decoded_ends_neither_a_replay_nor_a_page_early() {
    let home = Home::new();
    accept_all(&home, (0..600).map(one_of_many).collect()).await;
    give_up(&home).await;
    home.clock.advance(1);
    let file = rusqlite::Connection::open(home.folder.path().join("store.sqlite3")).expect("the file");
    // The first in the order of the keys.
    let damage = "UPDATE delivery SET attempt = -1 WHERE key = (SELECT min(key) FROM delivery)";
    assert_eq!(file.execute(damage, []).expect("damage"), 1);
    let listed = home.store.deliveries(DeliveryFilter::default(), None, 100).await.expect("a read");
    assert_eq!(listed.len(), 100, "a page that is not full is the last one");
    let listed = home.store.deliveries(DeliveryFilter::default(), None, 1_000).await.expect("a read");
    assert_eq!(listed.len(), 599);
    let replay = home.outbox.begin_replay(ReplayFilter::default(), false, "cli").await.expect("begun");
    let ended = home.outbox.run_replay(replay.id, |_| {}).await.expect("run").expect("a replay");
    assert_eq!((ended.replayed, ended.looked_at, ended.ended), (599, 599, true));
}

#[tokio::test]
async fn a_replay_takes_what_a_clock_ahead_of_ours_gave_up_and_leaves_what_is_given_up_after_it_began() {
    const AHEAD_MS: i64 = 3_600_000;
    let home = Home::new();
    home.clock.advance(AHEAD_MS);
    accept_all(&home, (0..3).map(one_of_many).collect()).await;
    give_up(&home).await;
    home.clock.advance(-AHEAD_MS);
    let replay = home.outbox.begin_replay(ReplayFilter::default(), false, "cli").await.expect("begun");
    home.clock.advance(1);
    accept_all(&home, (3..5).map(one_of_many).collect()).await;
    give_up(&home).await;
    let ended = home.outbox.run_replay(replay.id, |_| {}).await.expect("run").expect("a replay");
    assert_eq!((ended.replayed, ended.looked_at), (3, 5));
    assert_eq!(dead(&home).await, 2);
}

#[tokio::test]
async fn a_replay_that_the_release_before_began_is_gone_on_with() {
    let home = Home::new();
    accept_all(&home, vec![submission(1)]).await;
    give_up(&home).await;
    home.clock.advance(1);
    let replay = home.outbox.begin_replay(ReplayFilter::default(), false, "cli").await.expect("begun");
    let record =
        home.store.get(Table::Replay, replay.id.as_bytes()).await.expect("a read").expect("a record");
    // It had nothing to say of a cancellation, which is the last byte.
    let (last, before) = record.value.split_last().expect("bytes");
    assert_eq!(*last, 0);
    let put = Put::new(Table::Replay, *replay.id.as_bytes(), before);
    home.store.commit(Batch::at(0).put(put)).await.expect("a commit");
    assert_eq!(home.outbox.unfinished_replays().await.expect("a read"), [replay.id]);
    let ended = home.outbox.run_replay(replay.id, |_| {}).await.expect("run").expect("a replay");
    assert_eq!((ended.replayed, ended.ended, ended.cancelled), (1, true, false));
}

#[tokio::test]
async fn a_replay_that_says_more_than_this_release_knows_is_left_to_the_next_one() {
    let home = Home::new();
    accept_all(&home, vec![submission(1)]).await;
    give_up(&home).await;
    home.clock.advance(1);
    let replay = home.outbox.begin_replay(ReplayFilter::default(), false, "cli").await.expect("begun");
    let read =
        async || home.store.get(Table::Replay, replay.id.as_bytes()).await.expect("a read").expect("one");
    // Perhaps it says of which people only.
    let later = [read().await.value, b"\x01\x03Ada".to_vec()].concat();
    let put = Put::new(Table::Replay, *replay.id.as_bytes(), later.clone());
    home.store.commit(Batch::at(0).put(put)).await.expect("a commit");
    assert!(home.outbox.unfinished_replays().await.expect("a read").is_empty());
    assert_eq!(home.outbox.run_replay(replay.id, |_| {}).await.expect("a read"), None);
    assert_eq!(home.outbox.cancel_replay(replay.id, "cli").await.expect("a read"), None);
    assert_eq!(read().await.value, later);
    assert_eq!(home.outbox.depths().await.expect("a read")[0].dead, 1, "nothing was made due");
}

#[tokio::test]
async fn one_poisoned_delivery_in_a_hundred_is_quarantined_and_all_others_are_delivered() {
    let home = Home::new();
    for number in 0..10_u8 {
        let key = [number; 16];
        let poison = NewDelivery { key, submission: key, destination: "crm".into(), due_at_ms: 0 };
        let batch = Batch::at(0).put(Put::new(Table::Submission, key, "not sealed")).deliver(poison);
        home.store.commit(batch).await.expect("a commit");
    }
    accept_all(&home, (0..990).map(one_of_many).collect()).await;
    let destination = home.destination("crm", Behaviour::delivers());
    let working = home.work(&[Arc::clone(&destination)]);
    let depth = || async { home.outbox.depths().await.expect("a read").remove(0) };
    // Time stands still: the poison costs the others no wait.
    home.until_async(|| async { depth().await.delivered == 990 && depth().await.dead == 10 }).await;
    working.stop().await;
}

#[tokio::test]
async fn a_row_that_cannot_be_decoded_is_quarantined_and_stops_neither_the_store_nor_its_neighbours() {
    let home = Home::new();
    accept_all(&home, (0..20).map(one_of_many).collect()).await;
    let file = rusqlite::Connection::open(home.folder.path().join("store.sqlite3")).expect("the file");
    let damage = [
        "UPDATE delivery SET submission = x'0102' WHERE id = 1",
        "UPDATE delivery SET attempt = -1 WHERE id = 2",
        "UPDATE delivery SET state = -7 WHERE id = 3",
        "UPDATE delivery SET key = x'03' WHERE id = 4",
        "UPDATE delivery SET unsettled = 99999999999 WHERE id = 5",
    ];
    for sql in damage {
        assert_eq!(file.execute(sql, []).expect("damage"), 1, "{sql}");
    }
    let listed = home.store.deliveries(DeliveryFilter::default(), None, 100).await.expect("a read");
    assert_eq!(listed.len(), 15, "the others are still shown");
    let destination = home.destination("crm", Behaviour::delivers());
    let working = home.work(&[Arc::clone(&destination)]);
    let depth = || async { home.outbox.depths().await.expect("a read").remove(0) };
    home.until_async(|| async { depth().await.delivered == 15 && depth().await.dead == 5 }).await;
    assert!(home.store.fatal().borrow().is_none());
    let all = home.store.deliveries(DeliveryFilter::default(), None, 100).await.expect("a read");
    assert_eq!(all.len(), 20, "and can be looked at and replayed");
    let listed = home.outbox.show(one_of_many(1).id).await.expect("a read").expect("one");
    assert!(listed.deliveries[0].dead_reason.as_deref().is_some_and(|why| why.starts_with("quarantined")));
    // What was only miscounted is delivered after a replay.
    home.outbox.replay(listed.deliveries[0].key, "cli").await.expect("a replay");
    home.until_async(|| async { depth().await.delivered == 16 }).await;
    working.stop().await;
}

#[tokio::test]
async fn a_delivery_during_whose_attempts_the_process_ended_too_often_is_quarantined_for_that_reason() {
    let home = Home::new();
    accept_all(&home, vec![submission(1)]).await;
    for _ in 0..10 {
        let claimed = home.store.claim("crm", home.clock.now_ms(), 60_000, 1).await.expect("a claim");
        assert_eq!(claimed.len(), 1);
        home.clock.advance(60_001);
    }
    let destination = home.destination("crm", Behaviour::delivers());
    let working = home.work(&[Arc::clone(&destination)]);
    home.settled(submission(1).id, &[DeliveryState::Dead]).await;
    let dead = home.outbox.show(submission(1).id).await.expect("a read").expect("one").deliveries.remove(0);
    let reason = dead.dead_reason.expect("a reason");
    assert!(reason.starts_with("quarantined: the process ended during its last 10 attempts"), "{reason}");
    assert_eq!(destination.started.load(Ordering::SeqCst), 0);
    home.outbox.replay(dead.key, "cli").await.expect("a replay");
    home.settled(submission(1).id, &[DeliveryState::Delivered]).await;
    working.stop().await;
}

#[tokio::test]
async fn a_shutdown_costs_a_delivery_no_attempt_and_a_crash_does() {
    let home = Home::new();
    let hanging = home.destination("crm", Behaviour::Hangs);
    accept_all(&home, vec![submission(1)]).await;
    for round in 0..3 {
        let working = home.work_at(&[Arc::clone(&hanging)], Pace::default());
        home.until(|| hanging.started.load(Ordering::SeqCst) == round + 1).await;
        working.shutdown.send_replace(true);
        while !working.has_ended() {
            // In small steps: the worker has to see the shutdown long before the attempt's own deadline.
            home.clock.advance(100);
            home.pause().await;
        }
        working.stop().await;
    }
    let attempts: Vec<u32> = hanging.calls.lock().expect("calls").iter().map(|(_, _, n)| *n).collect();
    assert_eq!(attempts, [1, 1, 1]);
    let crashed = {
        let working = home.work(&[Arc::clone(&hanging)]);
        home.until(|| hanging.started.load(Ordering::SeqCst) == 4).await;
        let crashed = home.crash();
        working.kill();
        crashed
    };
    let destination = crashed.destination("crm", Behaviour::answers(Outcome::delivered(None)));
    let working = crashed.work(&[Arc::clone(&destination)]);
    crashed.settled(submission(1).id, &[DeliveryState::Delivered]).await;
    working.stop().await;
    let last = destination.calls.lock().expect("calls").last().map(|(_, _, attempt)| *attempt);
    assert_eq!(last, Some(2), "what may have been the cause of a crash is counted");
}

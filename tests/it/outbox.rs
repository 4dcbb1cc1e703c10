//! A submission goes home: accepted once, delivered to every destination, whatever they do.

mod erasing;
pub mod fixture;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use formgate::outbox::{
    AcceptError, Accepted, BreakerPolicy, Clock, DeliveryKey, Filter, Outcome, Pace, RetryPolicy,
    SubmissionId, Worker,
};
use formgate::store::{DeliveryFilter, DeliveryState, NewDelivery, Reopened, Table};
use tokio::sync::watch;
use uuid::Uuid;

use crate::store_model::backend::on_both;
use fixture::{Behaviour, Home, SubmissionExt, crm, submission};

on_both!(
    crate::outbox::fixture::Home::on;
    an_accepted_submission_is_delivered_to_every_destination_under_its_constant_key,
    the_same_envelope_gets_the_same_reply_and_the_same_submission_no_second_delivery,
    repeats_at_the_same_moment_make_one_submission,
    a_failing_destination_is_tried_23_times_in_a_week_with_one_key_and_can_be_replayed,
    a_refusal_is_final_and_a_wait_asked_for_is_honoured,
    a_hanging_destination_holds_its_eight_slots_and_delays_no_other,
    what_has_not_ended_ten_seconds_after_the_shutdown_is_given_back,
    a_delivery_that_crashes_three_times_is_quarantined_and_its_neighbours_are_delivered,
    a_submission_that_cannot_be_read_is_quarantined_and_holds_up_nobody,
    a_shutdown_lets_what_is_under_way_end_and_claims_nothing_more,
    lists_and_exports_go_page_by_page_through_everything,
);

async fn an_accepted_submission_is_delivered_to_every_destination_under_its_constant_key(home: Home) {
    let destinations =
        [home.destination("crm", Behaviour::delivers()), home.destination("sheet", Behaviour::delivers())];
    let ids = destinations.clone().map(|destination| destination.id.clone());
    let sent = submission(1);
    let accepted = home.outbox.accept(&sent, &ids, &[1; 32], b"reply".to_vec()).await.expect("accepted");
    assert_eq!(
        accepted,
        Accepted { submission: sent.id, reply: b"reply".to_vec(), repeated: false, refused: false }
    );

    let working = home.work(&destinations);
    home.settled(sent.id, &[DeliveryState::Delivered, DeliveryState::Delivered]).await;
    working.stop().await;
    for destination in destinations {
        let calls = destination.calls.lock().expect("calls").clone();
        assert_eq!(calls, [(sent.id, DeliveryKey::of(sent.id, &destination.id), 1)]);
    }
    let shown = home.outbox.show(sent.id).await.expect("a read").expect("a submission");
    assert_eq!(shown.submission, sent);
    assert!(shown.deliveries.iter().all(|delivery| delivery.attempts.len() == 1));
}

async fn the_same_envelope_gets_the_same_reply_and_the_same_submission_no_second_delivery(home: Home) {
    let sent = submission(1);
    let accept = |envelope: [u8; 32], reply: &'static [u8]| {
        let (outbox, sent) = (home.outbox.clone(), sent.clone());
        async move { outbox.accept(&sent, &[crm()], &envelope, reply.to_vec()).await.expect("accepted") }
    };
    assert!(!accept([1; 32], b"first").await.repeated);
    let repeat = accept([1; 32], b"other").await;
    assert_eq!((repeat.reply, repeat.repeated), (b"first".to_vec(), true));
    // The phone sends the same answers again, sealed anew.
    let again = accept([2; 32], b"second").await;
    assert_eq!((again.submission, again.reply, again.repeated), (sent.id, b"second".to_vec(), true));
    assert_eq!(accept([2; 32], b"other").await.reply, b"second");
    let kept = home.outbox.kept_reply(&[2; 32]).await.expect("a read").expect("a reply");
    assert_eq!(kept.reply, b"second");
    assert_eq!(home.outbox.kept_reply(&[3; 32]).await.expect("a read"), None);

    let page = home.outbox.list(&Filter::default(), None, 10).await.expect("a list");
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0].deliveries.len(), 1);

    home.clock.advance(24 * 3_600_000);
    assert_eq!(home.outbox.kept_reply(&[1; 32]).await.expect("a read"), None, "a day later it is forgotten");
}

async fn repeats_at_the_same_moment_make_one_submission(home: Home) {
    let sent = submission(1);
    let mut accepting = tokio::task::JoinSet::new();
    for envelope in 0..40u8 {
        let (outbox, sent) = (home.outbox.clone(), sent.clone());
        // Each of ten envelopes four times.
        let envelope = envelope / 4;
        accepting.spawn(async move {
            let accepted =
                outbox.accept(&sent, &[crm()], &[envelope; 32], vec![envelope]).await.expect("accepted");
            assert_eq!(accepted.reply, [envelope]);
            accepted.repeated
        });
    }
    let repeated = accepting.join_all().await;
    assert_eq!(repeated.iter().filter(|repeated| !**repeated).count(), 1);
    assert_eq!(home.outbox.depths().await.expect("a read")[0].due, 1);
}

#[tokio::test]
async fn no_answer_stands_readable_in_the_files() {
    let home = Home::new();
    home.outbox.accept(&submission(1), &[crm()], &[1; 32], vec![]).await.expect("accepted");
    for file in std::fs::read_dir(home.folder.path()).expect("a folder") {
        let bytes = std::fs::read(file.expect("an entry").path()).expect("a file");
        for canary in ["Ada Lovelace", "+39333", "token-canary"] {
            assert!(!bytes.windows(canary.len()).any(|window| window == canary.as_bytes()), "{canary}");
        }
    }
    let debug = format!("{:?}", submission(1));
    assert!(!debug.contains("Ada") && !debug.contains("canary") && !debug.contains("333"), "{debug}");
}

async fn a_failing_destination_is_tried_23_times_in_a_week_with_one_key_and_can_be_replayed(home: Home) {
    let destination = home.destination("crm", Behaviour::answers(Outcome::retry("status", Some(500), None)));
    let sent = submission(1);
    home.outbox.accept(&sent, &[crm()], &[1; 32], vec![]).await.expect("accepted");
    let begun_ms = home.clock.now_ms();
    let working = home.work(&[Arc::clone(&destination)]);
    home.settled_in_time(sent.id, &[DeliveryState::Dead]).await;
    let days = (home.clock.now_ms() - begun_ms) / (24 * 3_600_000);
    assert!((5..=9).contains(&days), "{days}");

    let key = DeliveryKey::of(sent.id, &destination.id);
    {
        let calls = destination.calls.lock().expect("calls");
        assert_eq!(
            calls.iter().map(|(_, _, attempt)| *attempt).collect::<Vec<_>>(),
            (1..=23).collect::<Vec<_>>()
        );
        assert!(calls.iter().all(|(_, used, _)| *used == key));
    }
    let shown = home.outbox.show(sent.id).await.expect("a read").expect("a submission");
    assert_eq!(shown.deliveries[0].attempts.len(), 20, "the last twenty are kept");
    assert!(shown.deliveries[0].dead_reason.is_some());
    let dead = Filter { state: Some(DeliveryState::Dead), ..Filter::default() };
    assert_eq!(home.outbox.list(&dead, None, 10).await.expect("a list").items.len(), 1);

    destination.behave(Behaviour::delivers());
    assert_eq!(home.outbox.replay(key, "cli").await.expect("a replay"), Reopened::Due);
    // At the next probe: the breaker is open, after a week of failures.
    home.settled_in_time(sent.id, &[DeliveryState::Delivered]).await;
    working.stop().await;
    let last = destination.calls.lock().expect("calls").last().copied();
    assert_eq!(last, Some((sent.id, key, 1)), "a new budget, the same key");
    let delivered = Reopened::NotDead(DeliveryState::Delivered);
    assert_eq!(home.outbox.replay(key, "cli").await.expect("a replay"), delivered);
}

async fn a_refusal_is_final_and_a_wait_asked_for_is_honoured(home: Home) {
    let refusing =
        home.destination("crm", Behaviour::answers(Outcome::refused("status", Some(422), "no such field")));
    let asking =
        home.destination("sheet", Behaviour::answers(Outcome::retry("status", Some(429), Some(3_600_000))));
    let sent = submission(1);
    let ids = [refusing.id.clone(), asking.id.clone()];
    home.outbox.accept(&sent, &ids, &[1; 32], vec![]).await.expect("accepted");
    let begun_ms = home.clock.now_ms();
    let working = home.work(&[Arc::clone(&refusing), Arc::clone(&asking)]);
    home.until(|| asking.started.load(Ordering::SeqCst) == 1).await;
    home.settled(sent.id, &[DeliveryState::Dead, DeliveryState::Due]).await;
    working.stop().await;

    let shown = home.outbox.show(sent.id).await.expect("a read").expect("a submission");
    let view =
        |id: &str| shown.deliveries.iter().find(|delivery| delivery.destination == id).expect("a delivery");
    assert_eq!(view("crm").dead_reason.as_deref(), Some("no such field"));
    assert_eq!(view("sheet").at_ms, begun_ms + 3_600_000);
    assert_eq!(view("sheet").attempts[0].status, Some(429));
}

async fn a_hanging_destination_holds_its_eight_slots_and_delays_no_other(home: Home) {
    let hanging = home.destination("crm", Behaviour::Hangs);
    let well = home.destination("sheet", Behaviour::delivers());
    for number in 0..30 {
        let ids = [hanging.id.clone(), well.id.clone()];
        home.outbox.accept(&submission(number), &ids, &[number; 32], vec![]).await.expect("accepted");
    }
    // The deadlines of these attempts must not open the breaker: slots alone are looked at.
    let pace = Pace {
        breaker: BreakerPolicy {
            failures_in_row: u32::MAX,
            min_attempts: u32::MAX,
            ..BreakerPolicy::default()
        },
        ..Pace::default()
    };
    let working = home.work_at(&[Arc::clone(&hanging), Arc::clone(&well)], pace);
    home.until(|| well.started.load(Ordering::SeqCst) == 30).await;
    home.until(|| hanging.started.load(Ordering::SeqCst) == 8).await;
    let store = &home.store;
    let leased_until = |at_ms| async move {
        let filter = DeliveryFilter { state: Some(DeliveryState::Leased), ..DeliveryFilter::default() };
        let leased = store.deliveries(filter, None, 100).await.expect("a read");
        leased.len() == 8 && leased.iter().all(|delivery| delivery.due_at_ms == at_ms)
    };
    // A third of the lease later they are renewed; nobody can claim them a second time.
    home.clock.advance(20_000);
    let renewed_ms = home.clock.now_ms() + 60_000;
    home.until_async(|| leased_until(renewed_ms)).await;
    assert_eq!(hanging.started.load(Ordering::SeqCst), 8);
    // At the deadline the slots are free for the next ones.
    home.clock.advance(10_000);
    home.until(|| hanging.started.load(Ordering::SeqCst) == 16).await;
    working.kill();
}

async fn what_has_not_ended_ten_seconds_after_the_shutdown_is_given_back(home: Home) {
    let hanging = home.destination("crm", Behaviour::Hangs);
    home.outbox.accept(&submission(1), &[crm()], &[1; 32], vec![]).await.expect("accepted");
    let working = home.work(&[Arc::clone(&hanging)]);
    home.until(|| hanging.started.load(Ordering::SeqCst) == 1).await;
    home.rest().await;
    working.shutdown.send_replace(true);
    home.pause().await;
    assert!(!working.has_ended(), "it waits");
    while !working.has_ended() {
        // In small steps: the worker has to see the shutdown long before the attempt's own deadline.
        home.clock.advance(100);
        home.pause().await;
    }
    working.stop().await;
    let shown = home.outbox.show(submission(1).id).await.expect("a read").expect("a submission");
    let delivery = &shown.deliveries[0];
    assert_eq!(delivery.state, DeliveryState::Due);
    assert_eq!(delivery.attempts[0].class, "abandoned");
}

#[tokio::test]
async fn an_outbox_whose_store_has_stopped_accepts_nothing() {
    let home = Home::new();
    home.store.close().await.expect("a clean close");
    let refused = home.outbox.accept(&submission(1), &[crm()], &[1; 32], vec![]).await;
    assert_eq!(refused, Err(AcceptError::Unavailable));
    assert_eq!(home.outbox.kept_reply(&[1; 32]).await, Err(AcceptError::Unavailable));
}

async fn a_delivery_that_crashes_three_times_is_quarantined_and_its_neighbours_are_delivered(home: Home) {
    let destination = home.destination("crm", Behaviour::PanicsOn(submission(0).id));
    for number in 0..20 {
        home.outbox.accept(&submission(number), &[crm()], &[number; 32], vec![]).await.expect("accepted");
    }
    let working = home.work(&[Arc::clone(&destination)]);
    home.settled_in_time(submission(0).id, &[DeliveryState::Dead]).await;
    for number in 1..20 {
        home.settled(submission(number).id, &[DeliveryState::Delivered]).await;
    }
    working.stop().await;
    let shown = home.outbox.show(submission(0).id).await.expect("a read").expect("a submission");
    assert_eq!(shown.deliveries[0].attempts.len(), 3);
    assert!(
        shown.deliveries[0].dead_reason.as_deref().is_some_and(|reason| reason.starts_with("quarantined"))
    );
}

async fn a_submission_that_cannot_be_read_is_quarantined_and_holds_up_nobody(home: Home) {
    let destination = home.destination("crm", Behaviour::delivers());
    let broken = formgate::store::Batch::at(0)
        .put(formgate::store::Put::new(Table::Submission, [7; 16], "not sealed"))
        .deliver(NewDelivery { key: [7; 16], submission: [7; 16], destination: "crm".into(), due_at_ms: 0 });
    home.store.commit(broken).await.expect("a commit");
    home.outbox.accept(&submission(1), &[crm()], &[1; 32], vec![]).await.expect("accepted");
    let working = home.work(&[Arc::clone(&destination)]);
    home.settled(submission(1).id, &[DeliveryState::Delivered]).await;
    home.until_state([7; 16], DeliveryState::Dead).await;
    working.stop().await;
    let unreadable = home.outbox.show(SubmissionId::new(Uuid::from_bytes([7; 16]))).await;
    assert!(unreadable.is_err());
}

async fn a_shutdown_lets_what_is_under_way_end_and_claims_nothing_more(home: Home) {
    let (release, released) = watch::channel(false);
    let destination = home.destination("crm", Behaviour::WaitsFor(released));
    for number in 0..10 {
        home.outbox.accept(&submission(number), &[crm()], &[number; 32], vec![]).await.expect("accepted");
    }
    let working = home.work(&[Arc::clone(&destination)]);
    home.until(|| destination.started.load(Ordering::SeqCst) == 8).await;
    working.shutdown.send_replace(true);
    home.pause().await;
    release.send_replace(true);
    working.stop().await;
    let depth = home.outbox.depths().await.expect("a read").remove(0);
    assert_eq!((depth.delivered, depth.due, depth.in_flight), (8, 2, 0));
}

#[tokio::test]
async fn what_was_in_flight_when_the_process_died_is_delivered_by_the_next_one_under_the_same_key() {
    let home = Home::new();
    let hanging = home.destination("crm", Behaviour::Hangs);
    let sent = submission(1);
    home.outbox.accept(&sent, &[crm()], &[1; 32], vec![]).await.expect("accepted");
    let working = home.work(&[Arc::clone(&hanging)]);
    home.until(|| hanging.started.load(Ordering::SeqCst) == 1).await;
    let crashed = home.crash();
    working.kill();

    let destination = crashed.destination("crm", Behaviour::delivers());
    let working = crashed.work(&[Arc::clone(&destination)]);
    crashed.settled(sent.id, &[DeliveryState::Delivered]).await;
    working.stop().await;
    let calls = destination.calls.lock().expect("calls").clone();
    assert_eq!(calls, [(sent.id, DeliveryKey::of(sent.id, &crm()), 2)]);
}

async fn lists_and_exports_go_page_by_page_through_everything(home: Home) {
    for number in 0..25 {
        home.clock.advance(1_000);
        let mut sent = submission(number);
        sent.flow_id = if number % 5 == 0 { "other" } else { "contact" }.into();
        home.outbox.accept(&sent, &[crm()], &[number; 32], vec![]).await.expect("accepted");
    }
    let filter = Filter { flow_id: Some("contact".into()), ..Filter::default() };
    let (mut listed, mut after) = (vec![], None);
    loop {
        let page = home.outbox.list(&filter, after, 7).await.expect("a list");
        listed.extend(page.items.iter().map(|item| item.id));
        let Some(next) = page.next else { break };
        after = Some(next.to_string().parse().expect("a cursor"));
    }
    let contact: Vec<_> =
        (0..25).filter(|number| number % 5 != 0).map(|number| submission(number).id).collect();
    assert_eq!(listed, contact.iter().rev().copied().collect::<Vec<_>>(), "the newest first");

    let mut export = home.outbox.export(Some("contact"));
    let mut exported = vec![];
    while let Some(submission) = export.next().await.expect("an export") {
        exported.push(submission.id);
    }
    assert_eq!(exported, contact, "the oldest first");
}

#[test]
fn a_submission_is_written_as_its_published_schema_says_and_read_back() {
    let schema = include_str!("../../schemas/submission.schema.json");
    let schema = serde_json::from_str(schema).expect("the schema is JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("a schema");
    let anonymous = submission(1).anonymous();
    for sent in [submission(1), anonymous] {
        let json = serde_json::to_value(&sent).expect("JSON");
        let faults: Vec<_> = validator.iter_errors(&json).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(json["started_at"], "2026-11-24T12:00:00.000Z");
        assert_eq!(json["answers"][0]["type"], "short_text");
        assert_eq!(
            serde_json::from_value::<formgate::outbox::Submission>(json.clone()).expect("a submission"),
            sent
        );
        for member in ["id", "contact", "answers", "completed_at"] {
            let mut damaged = json.clone();
            damaged.as_object_mut().expect("an object").remove(member);
            assert!(!validator.is_valid(&damaged), "{member}");
        }
    }
}

#[tokio::test]
async fn a_worker_without_destinations_ends_at_the_shutdown() {
    let home = Home::new();
    let (shutdown, stop) = watch::channel(false);
    let worker = tokio::spawn(Worker::new(home.outbox.clone(), vec![], RetryPolicy::default()).run(stop));
    shutdown.send_replace(true);
    worker.await.expect("no panic");
}

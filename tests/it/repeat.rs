//! Persons who answer a flow again: appended, refused or replaced, as its owner wants.

use std::sync::Arc;
use std::time::{Duration, Instant};

use formgate::audit;
use formgate::endpoint::token::Token;
use formgate::flow::compile::Settings;
use formgate::form::Form;
use formgate::outbox::{
    AcceptError, Answering, By, Denial, Outcome, Person, Repeat, SealBody as _, Submission, SubmissionId,
    body_context,
};
use formgate::player::strategy::{Truthful, play};
use formgate::player::{Outcome as Walked, Player, RawReply, transport::HttpTransport};
use formgate::store::{Batch, DeliveryState, Put, Scan, Table};
use serde_json::{Value, json};

use crate::endpoint::fixture::{Gate, Setup};
use crate::outbox::fixture::{Behaviour, Home, Inverting, crm, one_of_many, submission};
use crate::pace::audited;

const ANSWERED: &str = "Hai già compilato questo modulo. Grazie.";
const EXPIRED: &str = "Questo modulo è scaduto. Chiedi un nuovo link.";

fn form() -> Form {
    serde_json::from_value(json!({
        "id": "vote", "title": "Vote", "locale": "it",
        "pages": [{"id": "p", "questions": [
            {"key": "name", "title": "Name", "type": "short_text", "required": true}
        ]}]
    }))
    .expect("a form")
}

async fn gate(repeat: Repeat) -> Gate {
    Setup { repeat, ..Setup::of(&form(), &Settings::default()) }.start().await
}

fn token(gate: &Gate, phone: Option<&str>) -> String {
    let token = Token { nonce: rand::random(), phone: phone.map(str::to_owned), ..Token::default() };
    token.issue(&gate.sealer, "contact").expect("short enough")
}

async fn answer(player: &mut Player<HttpTransport>, name: &str) {
    let answers = json!({"Name": name}).as_object().cloned().expect("an object");
    play(player, &mut Truthful::new(answers)).await.expect("played");
}

/// What the person reads if the flow does not open. A store that is too busy to say is asked again.
async fn opens(gate: &Gate, token: &str) -> Result<(), String> {
    for _ in 0..100 {
        match gate.player(token).open().await.expect("an answer") {
            Walked::Expired(message) => return Err(message.expect("a message")),
            Walked::Shown => return Ok(()),
            _ => {}
        }
    }
    panic!("nobody says whether it opens the flow");
}

async fn refused(gate: &Gate, token: &str) -> String {
    opens(gate, token).await.expect_err("it opens the flow")
}

/// Ends a walk whose only screen is open; says what the person reads if that is refused.
async fn end(player: &mut Player<HttpTransport>, name: &str) -> Option<String> {
    let screen = player.screen().expect("a screen");
    let input = screen.inputs().next().expect("an input").name.clone();
    player.fill(&input, json!(name)).await.expect("filled");
    // Where the store is too busy to be asked, the commit decides: the person is asked to tap again, and told why then.
    for _ in 0..100 {
        match player.tap_footer().await.expect("an answer") {
            Walked::Expired(message) => return message,
            Walked::Completed(_) => return None,
            _ => {}
        }
    }
    panic!("it never came to an end");
}

/// The answer to the last request, sent again, or to one that says this. A busy machine is asked again, as phones do.
async fn asked_again(player: &mut Player<HttpTransport>, said: Option<&Value>) -> RawReply {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = match said {
            Some(said) => player.raw_plaintext(said.to_string().as_bytes()).await.expect("an answer"),
            None => player.raw_resend().await.expect("an answer").expect("a request"),
        };
        if answer.status != 503 || Instant::now() > until {
            return answer;
        }
    }
}

/// The closing request of a walk, with another name in it, as a phone that went back sends it.
async fn close_again(player: &mut Player<HttpTransport>, name: &str) -> u16 {
    let mut last = player.walk().requests().last().cloned().expect("a request");
    let data = last["data"].as_object_mut().expect("data");
    let key = data.keys().find(|key| key.contains("name")).expect("the input").clone();
    data.insert(key, json!(name));
    asked_again(player, Some(&last)).await.status
}

#[tokio::test]
async fn who_may_answer_once_is_told_so_when_the_flow_is_opened_and_at_the_latest_at_its_end() {
    let gate = gate(Repeat::Once).await;
    let ada = Some("+390669821234");
    let (first, second) = (token(&gate, ada), token(&gate, ada));
    // Two messages to the same person, both open before either is answered.
    let (mut early, mut late) = (gate.player(&first), gate.player(&second));
    early.open().await.expect("opened");
    late.open().await.expect("opened");
    answer(&mut early, "Ada").await;
    assert_eq!(gate.submissions().await.len(), 1);
    assert_eq!(end(&mut late, "Grace").await.as_deref(), Some(ANSWERED));
    let resent = asked_again(&mut late, None).await;
    let resent_again = asked_again(&mut late, None).await;
    assert_eq!((resent.status, resent.body), (427, resent_again.body));
    for token in [&first, &second, &token(&gate, ada)] {
        assert_eq!(refused(&gate, token).await, ANSWERED);
    }
    // A double tap of the one that counted is the same answer once more, and not a second one.
    let last = early.walk().requests().last().cloned().expect("a request");
    let again = asked_again(&mut early, Some(&last)).await;
    assert_eq!(again.status, 200);
    assert_eq!(close_again(&mut early, "Somebody else").await, 427);
    assert_eq!(gate.submissions().await.len(), 1);

    // Others are not held up: another person, one whose token names nobody, one with a token of another system.
    for other in [token(&gate, Some("+390669825678")), token(&gate, None), "unused".to_owned()] {
        let mut player = gate.player(&other);
        answer(&mut player, "Somebody").await;
        assert_eq!(close_again(&mut player, "Somebody else").await, 427, "{other}");
    }
    assert_eq!(gate.submissions().await.len(), 4);
    assert_eq!(opens(&gate, "unused").await, Ok(()), "a shared token is nobody's");
    // Who was erased is not remembered either.
    let person = Person::new(By::Phone, "+390669821234").expect("a number");
    gate.outbox.erase_person(&person, "cli", |_| {}).await.expect("erased");
    assert_eq!(opens(&gate, &token(&gate, ada)).await, Ok(()));
    assert_eq!(opens(&gate, &first).await, Ok(()), "nor by the token");
}

#[tokio::test]
async fn who_was_refused_gets_the_same_bytes_for_the_same_envelope_on_every_node_also_when_they_may_answer_by_then()
 {
    let gate = gate(Repeat::Once).await;
    let ada = Some("+390669821234");
    let (mut early, mut late) = (gate.player(&token(&gate, ada)), gate.player(&token(&gate, ada)));
    early.open().await.expect("opened");
    late.open().await.expect("opened");
    answer(&mut early, "Ada").await;
    assert_eq!(end(&mut late, "Grace").await.as_deref(), Some(ANSWERED));
    let told = asked_again(&mut late, None).await;
    assert_eq!(told.status, 427);
    gate.restart();
    let person = Person::new(By::Phone, "+390669821234").expect("a number");
    gate.outbox.erase_person(&person, "cli", |_| {}).await.expect("erased");
    let again = asked_again(&mut late, None).await;
    assert_eq!((again.status, again.body), (427, told.body), "one envelope has one reply");
    assert_eq!(gate.submissions().await.len(), 0);
    // A new envelope is another matter.
    let last = late.walk().requests().last().cloned().expect("a request");
    let anew = asked_again(&mut late, Some(&last)).await;
    assert_eq!((anew.status, gate.submissions().await.len()), (200, 1));
}

#[tokio::test]
async fn an_opening_that_one_node_has_refused_gets_the_same_bytes_from_the_others_also_when_it_would_be_opened_by_then()
 {
    let gate = gate(Repeat::Once).await;
    let ada = Some("+390669821234");
    answer(&mut gate.player(&token(&gate, ada)), "Ada").await;
    let mut late = gate.player(&token(&gate, ada));
    assert_eq!(late.open().await.expect("an answer"), Walked::Expired(Some(ANSWERED.to_owned())));
    let told = asked_again(&mut late, None).await;
    gate.restart();
    let person = Person::new(By::Phone, "+390669821234").expect("a number");
    gate.outbox.erase_person(&person, "cli", |_| {}).await.expect("erased");
    let again = asked_again(&mut late, None).await;
    assert_eq!((again.status, again.body), (427, told.body), "one envelope has one reply");
    assert_eq!(opens(&gate, &token(&gate, ada)).await, Ok(()), "a new envelope is another matter");
}

#[tokio::test]
async fn an_opening_that_one_node_has_just_taken_is_refused_by_the_others_without_a_word() {
    for repeat in [Repeat::Once, Repeat::Append] {
        let gate = gate(repeat).await;
        let token = token(&gate, Some("+390669821234"));
        let (mut early, mut late) = (gate.player(&token), gate.player(&token));
        early.open().await.expect("opened");
        late.open().await.expect("opened");
        // No second has gone by, and nothing was written down beside the exchange.
        gate.restart();
        if repeat == Repeat::Once {
            answer(&mut early, "Ada").await;
        } else {
            gate.outbox.revoke_token(&token, None, "cli").await.expect("revoked");
        }
        let again = asked_again(&mut late, None).await;
        assert_eq!((again.status, again.body), (427, Vec::new()), "{repeat:?}: it has had another reply");
        assert!(opens(&gate, &token).await.is_err(), "a new envelope is told why");
    }
}

#[tokio::test]
async fn an_opening_of_which_nobody_can_say_whether_it_was_refused_is_not_opened() {
    let gate = gate(Repeat::Append).await;
    let (mut own, mut foreign) = (gate.player(&token(&gate, None)), gate.player("unused"));
    gate.store.close().await.expect("a clean close");
    let _failed = own.open().await.expect("an answer");
    let answer = own.raw_resend().await.expect("an answer").expect("a request");
    assert_eq!((answer.status, answer.body), (503, Vec::new()));
    assert_eq!(foreign.open().await.expect("an answer"), Walked::Shown, "nothing could refuse that one");
}

#[tokio::test]
async fn a_refusal_is_kept_for_a_day_and_an_envelope_that_was_accepted_keeps_that() {
    let home = Home::new();
    let (envelope, other) = ([1; 32], [2; 32]);
    let told = home.outbox.refuse(&envelope, b"sorry".to_vec()).await.expect("kept");
    assert!(told.refused && !told.repeated);
    assert_eq!(home.outbox.refuse(&envelope, b"no".to_vec()).await.expect("kept").reply, b"sorry");
    let accept = |envelope: [u8; 32]| {
        let outbox = home.outbox.clone();
        async move {
            outbox.accept(&submission(1), &[crm()], &envelope, b"thanks".to_vec()).await.expect("an answer")
        }
    };
    let (first, second) = (accept(envelope).await, accept(other).await);
    assert_eq!((first.refused, first.reply), (true, b"sorry".to_vec()));
    assert_eq!((second.refused, second.repeated), (false, false), "nothing of the first one was stored");
    let kept = home.outbox.refuse(&other, b"sorry".to_vec()).await.expect("an answer");
    assert_eq!((kept.refused, kept.reply), (false, b"thanks".to_vec()));
    home.clock.advance(24 * 3_600_000);
    assert_eq!(home.outbox.kept_reply(&envelope).await.expect("a read"), None);
}

#[tokio::test]
async fn a_token_that_was_revoked_opens_nothing_and_ends_nothing() {
    let gate = gate(Repeat::Append).await;
    let (revoked, other) = (token(&gate, None), token(&gate, None));
    let mut under_way = gate.player(&revoked);
    under_way.open().await.expect("opened");
    assert!(gate.outbox.revoke_token(&revoked, None, "cli").await.expect("revoked"));
    assert!(!gate.outbox.revoke_token(&revoked, None, "cli").await.expect("a read"), "it is already");
    assert_eq!(refused(&gate, &revoked).await, EXPIRED);
    assert_eq!(opens(&gate, &other).await, Ok(()));
    assert_eq!(end(&mut under_way, "Ada").await.as_deref(), Some(EXPIRED));
    assert!(gate.submissions().await.is_empty());
}

#[tokio::test]
async fn an_answer_that_replaces_another_names_it_and_the_other_is_not_sent_any_more() {
    let gate = gate(Repeat::Replace).await;
    let ada = Some("+390669821234");
    let mut first = gate.player(&token(&gate, ada));
    answer(&mut first, "Ada").await;
    let mut second = gate.player(&token(&gate, ada));
    answer(&mut second, "Grace").await;
    assert_eq!(close_again(&mut second, "Edith").await, 200, "the same walk again");
    let stored = gate.submissions().await;
    let named = |name: &str| stored.iter().find(|stored| stored.answers[0].text == name).expect("stored");
    let (ada, grace, edith) = (named("Ada"), named("Grace"), named("Edith"));
    assert_eq!((ada.replaces, grace.replaces, edith.replaces), (None, Some(ada.id), Some(grace.id)));
    assert_eq!((ada.replaced_by, grace.replaced_by), (Some(grace.id), Some(edith.id)));
    assert_eq!((grace.linked_to, edith.linked_to, edith.replaced_by), (None, Some(grace.id), None));
    for (submission, state) in
        [(ada, DeliveryState::Superseded), (grace, DeliveryState::Superseded), (edith, DeliveryState::Due)]
    {
        let shown = gate.outbox.show(submission.id).await.expect("a read").expect("one");
        assert_eq!(shown.deliveries[0].state, state);
    }
    let events =
        gate.store.scan(Table::Audit, Scan { limit: 1_000, ..Scan::default() }).await.expect("a read");
    let events = events.iter().filter_map(|(_, record)| audit::Event::from_record(&record.value));
    let replaced: Vec<_> = events.filter(|event| event.action == "submission.replaced").collect();
    assert_eq!(replaced.len(), 2);
    assert!(replaced.iter().any(|event| event.subject == ada.id.to_string()));
    // Whoever taps once more on the first answer brings it not back.
    let last = first.walk().requests().last().cloned().expect("a request");
    assert_eq!(asked_again(&mut first, Some(&last)).await.status, 200);
    assert_eq!(gate.submissions().await.len(), 3);
}

fn of_ada(number: u32) -> Submission {
    let id: SubmissionId = one_of_many(number).id;
    Submission { id, linked_to: None, replaces: None, walk: Some(id.to_bytes()), ..submission(0) }
}

#[tokio::test]
async fn where_every_answer_is_one_more_no_person_is_remembered_and_another_rule_counts_from_its_beginning() {
    let home = Home::new();
    let accept = async |repeat: Repeat, number: u8| {
        let rule = Answering { repeat, own_token: true };
        home.outbox.accept_under(rule, &of_ada(number.into()), &[crm()], &[number; 32], vec![]).await
    };
    let remembered = async || {
        home.store.scan(Table::Answered, Scan { limit: 10, ..Scan::default() }).await.expect("a read").len()
    };
    accept(Repeat::Append, 1).await.expect("accepted");
    assert_eq!(remembered().await, 0);
    accept(Repeat::Once, 2).await.expect("accepted");
    assert_eq!(remembered().await, 2, "by the contact and by the token");
    assert_eq!(accept(Repeat::Once, 3).await, Err(AcceptError::Refused(Denial::Answered)));
    accept(Repeat::Append, 4).await.expect("accepted");
    assert_eq!(
        accept(Repeat::Once, 5).await,
        Err(AcceptError::Refused(Denial::Answered)),
        "it was not forgotten"
    );
}

/// Twelve answers of one person at the same moment.
async fn all_at_once(home: &Home, repeat: Repeat) -> Vec<Result<SubmissionId, AcceptError>> {
    let mut accepting = tokio::task::JoinSet::new();
    for number in 0..12 {
        let outbox = home.outbox.clone();
        accepting.spawn(async move {
            let (rule, answer) = (Answering { repeat, own_token: false }, of_ada(number));
            let envelope = [u8::try_from(number).expect("few"); 32];
            // Whoever lost too often is asked by its phone to try again, as people do.
            loop {
                let accepted = outbox.accept_under(rule, &answer, &[crm()], &envelope, vec![]).await;
                if !matches!(accepted, Err(AcceptError::Unavailable)) {
                    return accepted.map(|accepted| accepted.submission);
                }
            }
        });
    }
    accepting.join_all().await
}

#[tokio::test]
async fn of_many_answers_at_the_same_moment_one_is_the_only_one() {
    let home = Home::new();
    let results = all_at_once(&home, Repeat::Once).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let refused = Err(AcceptError::Refused(Denial::Answered));
    assert_eq!(results.iter().filter(|result| **result == refused).count(), 11);
}

#[tokio::test]
async fn of_many_answers_that_replace_each_other_one_is_sent_and_no_attempt_is_made_of_the_others() {
    let home = Home::new();
    let results = all_at_once(&home, Repeat::Replace).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let mut stored = vec![];
    for number in 0..12 {
        stored.push(home.outbox.submission(of_ada(number).id).await.expect("a read").expect("stored"));
    }
    let last: Vec<_> = stored.iter().filter(|stored| stored.replaced_by.is_none()).collect();
    assert_eq!((last.len(), stored.iter().filter(|stored| stored.replaces.is_none()).count()), (1, 1));
    for submission in stored.iter().filter(|stored| stored.replaced_by.is_some()) {
        let by = stored.iter().find(|other| Some(other.id) == submission.replaced_by).expect("it is stored");
        assert_eq!(by.replaces, Some(submission.id), "a chain without forks");
    }
    assert_eq!(audited(&home, "submission.replaced").await, 11);

    let destination = home.destination("crm", Behaviour::delivers());
    let working = home.work(&[Arc::clone(&destination)]);
    let superseded = || async {
        let all = home.store.deliveries(Default::default(), None, 100).await.expect("a read");
        all.iter()
            .filter(|delivery| delivery.state == DeliveryState::Superseded && delivery.attempt == 0)
            .count()
    };
    home.until_async(|| async { superseded().await == 11 }).await;
    home.settled(last[0].id, &[DeliveryState::Delivered]).await;
    working.stop().await;
    let calls = destination.calls.lock().expect("calls").clone();
    assert_eq!(calls.iter().map(|(id, _, _)| *id).collect::<Vec<_>>(), [last[0].id]);
}

#[tokio::test]
async fn what_was_given_up_and_then_replaced_is_not_sent_by_a_replay() {
    let home = Home::new();
    let rule = Answering { repeat: Repeat::Replace, own_token: false };
    let refuses = Behaviour::answers(Outcome::refused("status", Some(422), "no"));
    let destination = home.destination("crm", refuses);
    let working = home.work(&[Arc::clone(&destination)]);
    home.outbox.accept_under(rule, &of_ada(1), &[crm()], &[1; 32], vec![]).await.expect("accepted");
    home.settled(of_ada(1).id, &[DeliveryState::Dead]).await;
    destination.behave(Behaviour::delivers());
    home.outbox.accept_under(rule, &of_ada(2), &[crm()], &[2; 32], vec![]).await.expect("accepted");
    home.settled(of_ada(2).id, &[DeliveryState::Delivered]).await;
    let key = home.outbox.show(of_ada(1).id).await.expect("a read").expect("one").deliveries[0].key;
    home.outbox.replay(key, "cli").await.expect("a replay");
    home.until_state(key.to_bytes(), DeliveryState::Superseded).await;
    working.stop().await;
    let calls = destination.calls.lock().expect("calls").clone();
    let sent: Vec<_> = calls.iter().map(|(id, _, _)| *id).collect();
    assert_eq!(sent, [of_ada(1).id, of_ada(2).id]);
}

#[tokio::test]
async fn what_the_next_release_has_written_into_a_submission_stays_in_it_when_another_takes_its_place() {
    let home = Home::new();
    let rule = Answering { repeat: Repeat::Replace, own_token: false };
    let accept = async |number: u8| {
        let answer = of_ada(number.into());
        let accepted = home.outbox.accept_under(rule, &answer, &[crm()], &[number; 32], vec![]).await;
        accepted.expect("accepted").submission
    };
    let old = accept(1).await;
    let read = async || {
        let record = home.store.get(Table::Submission, &old.to_bytes()).await.expect("a read").expect("one");
        let body = Inverting.open(&body_context(old), &record.value).expect("it opens");
        serde_json::from_slice::<Value>(&body).expect("JSON")
    };
    let mut later = read().await;
    later["mood"] = json!({"of": "the person"});
    later["answers"][0]["weight"] = json!(0.1);
    let sealed = Inverting.seal(&body_context(old), later.to_string().as_bytes());
    let put = Put::new(Table::Submission, old.to_bytes(), sealed);
    home.store.commit(Batch::at(0).put(put)).await.expect("a commit");
    let new = accept(2).await;
    later["replaced_by"] = json!(new.to_string());
    assert_eq!(read().await, later, "and nothing else is different");
    let old = home.outbox.submission(old).await.expect("a read").expect("one");
    assert_eq!(old.replaced_by, Some(new));
}

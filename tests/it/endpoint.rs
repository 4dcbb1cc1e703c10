//! The encrypted endpoint over real sockets, with the player as its client.

pub mod fixture;

use std::collections::BTreeMap;

use formgate::crypto::HubSignature;
use formgate::endpoint::token::Token;
use formgate::endpoint::{TokenPolicy, TokenSignature};
use formgate::flow::compile::{Mode, Settings, compile};
use formgate::flow::limits::Version;
use formgate::flow::plan::{DataApi, Entry as FlowEntry};
use formgate::form::{Form, Validator};
use formgate::player::strategy::{Hostile, Played, Random, Truthful, Verdict, play};
use formgate::player::transport::HttpTransport;
use formgate::player::{Entry, Options, Outcome, Player, RawSignature};
use serde_json::{Value, json};

use fixture::{Gate, SECRET, Setup, key};

fn everything() -> Form {
    serde_json::from_str(include_str!("../fixtures/form/everything.json")).expect("a form")
}

fn short() -> Form {
    serde_json::from_value(json!({
        "id": "short", "title": "Short", "locale": "it", "hidden": [{"key": "utm", "default": "none"}],
        "pages": [{"id": "p", "questions": [
            {"key": "name", "title": "Name", "type": "short_text", "required": true},
            {"key": "colour", "title": "Colour", "type": "single_choice", "options": [{"id": "r", "label": "Red"}, {"id": "b", "label": "Blue"}],
             "rules": [{"when": {"if": {"answer": "colour"}, "op": "is", "value": "b"}, "do": {"jump": "end"}}]},
            {"key": "shade", "title": "Which red?", "type": "short_text"}
        ]}]
    }))
    .expect("a form")
}

fn truthful(value: Value) -> Truthful {
    Truthful::new(value.as_object().cloned().expect("an object"))
}

#[tokio::test]
async fn a_walk_over_sockets_stores_the_submission_before_it_closes() {
    for settings in [
        Settings::default(),
        Settings { data_api: DataApi::V3, flow_json: Version::new(7, 0), ..Settings::default() },
        Settings { mode: Mode::OneQuestion, ..Settings::default() },
    ] {
        let gate = Setup::of(&short(), &settings).start().await;
        let mut player = gate.player("6f1c");
        let played =
            play(&mut player, &mut truthful(json!({"Name": "Ada", "Colour": "Red", "Which red?": "Dark"})))
                .await;
        assert_eq!(player.walk().faults().collect::<Vec<_>>(), Vec::<&_>::new());
        assert!(matches!(played, Ok(Played::Ended(Outcome::Completed(_)))), "{played:?}");
        let stored = gate.submissions().await;
        let told: Vec<_> = stored[0].answers.iter().map(|a| (a.key.as_str(), a.value.clone())).collect();
        assert_eq!(told, [("name", json!("Ada")), ("colour", json!("r")), ("shade", json!("Dark"))]);
        assert_eq!((stored.len(), stored[0].flow_token.as_str()), (1, "6f1c"));
        assert!(gate.metrics.encode().contains("formgate"));
    }
}

#[tokio::test]
async fn a_flow_that_opens_with_a_static_screen_needs_no_init() {
    let gate =
        Setup::of(&short(), &Settings { entry: FlowEntry::Static, ..Settings::default() }).start().await;
    let options =
        Options { entry: Entry::Navigate { screen: None, data: Default::default() }, ..Options::default() };
    let mut player = gate.player_of(&gate.document, "t", options);
    let played = play(&mut player, &mut truthful(json!({"Name": "Ada", "Colour": "Blue"}))).await;
    assert_eq!(player.walk().faults().collect::<Vec<_>>(), Vec::<&_>::new());
    assert!(matches!(played, Ok(Played::Ended(Outcome::Completed(_)))), "{played:?}");
    assert_eq!(gate.submissions().await[0].answers.len(), 2);
}

#[tokio::test]
async fn health_check_and_error_notice_are_answered_and_change_nothing() {
    let gate = Setup::of(&short(), &Settings::default()).start().await;
    let mut player = gate.player("t");
    assert!(player.ping().await.expect("an answer"));
    player.open().await.expect("an answer");
    assert!(player.error_notice("data_exchange", "payload-schema-error", "x").await.expect("an answer"));
    assert!(gate.submissions().await.is_empty());
    assert!(gate.metrics.encode().contains("payload-schema-error"));
}

#[tokio::test]
async fn the_same_envelope_gets_the_same_bytes_and_the_same_submit_one_submission() {
    let gate = Setup::of(&short(), &Settings::default()).start().await;
    let mut player = gate.player("t");
    player.open().await.expect("opened");
    let first = player.raw_resend().await.expect("an answer").expect("a request").body;
    assert_eq!(player.raw_resend().await.expect("an answer").expect("a request").body, first);
    play(&mut player, &mut truthful(json!({"Name": "Ada", "Colour": "Blue"}))).await.expect("played");
    let closing = player.raw_resend().await.expect("an answer").expect("a request");
    assert_eq!(player.raw_resend().await.expect("an answer").expect("a request").body, closing.body);
    // The person taps again: a new envelope with the same state.
    let last = player.walk().requests().last().cloned().expect("a request");
    let again = player.raw_plaintext(last.to_string().as_bytes()).await.expect("an answer");
    assert_eq!(again.opened.expect("opened").expect("sound")["screen"], "SUCCESS");
    assert_eq!(gate.submissions().await.len(), 1);
}

/// Fills the only screen of [`short`]; the name of the input for the name.
async fn fill(player: &mut Player<HttpTransport>) -> String {
    let screen = player.screen().expect("a screen");
    let named = |part: &str| screen.inputs().find(|i| i.name.contains(part)).expect("an input").name.clone();
    let (name, colour) = (named("name"), named("colour"));
    player.fill(&name, json!("Ada")).await.expect("filled");
    let options = screen.input(&colour).expect("an input");
    let formgate::player::render::InputKind::Choice { options, .. } = &options.kind else {
        panic!("a choice: {options:?}")
    };
    player.fill(&colour, json!(options[1].id)).await.expect("filled");
    name
}

/// Taps through to the end.
async fn end(player: &mut Player<HttpTransport>) {
    let mut outcome = player.tap_footer().await.expect("an answer");
    if outcome == Outcome::Shown {
        outcome = player.tap_footer().await.expect("an answer");
    }
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
}

#[tokio::test]
async fn a_copy_of_an_opening_gets_the_same_bytes_from_another_process_and_the_walk_began_when_it_was_opened()
{
    let gate = Setup::of(&short(), &Settings::default()).start().await;
    let mut player = gate.player("t");
    let opened_ms = gate.now_ms();
    player.open().await.expect("opened");
    let first = player.raw_resend().await.expect("an answer").expect("a request").body;
    gate.write_openings().await;
    gate.clock.advance(90_000);
    gate.restart();
    assert_eq!(player.raw_resend().await.expect("an answer").expect("a request").body, first);
    // This process has noted the copy, too; what was written first is what counts.
    gate.write_openings().await;
    fill(&mut player).await;
    end(&mut player).await;
    let stored = gate.submissions().await.remove(0);
    assert_eq!((stored.started_at_ms, stored.completed_at_ms), (opened_ms, opened_ms + 90_000));

    // Nobody knows when this one was opened: it began when it was closed.
    player.open().await.expect("opened");
    gate.clock.advance(90_000);
    gate.restart();
    fill(&mut player).await;
    end(&mut player).await;
    let stored = gate.submissions().await;
    let late = stored.iter().find(|late| late.started_at_ms > opened_ms).expect("the second");
    assert_eq!((late.started_at_ms, late.completed_at_ms), (opened_ms + 180_000, opened_ms + 180_000));
}

#[tokio::test]
async fn other_answers_after_the_end_are_a_second_submission_linked_to_the_first() {
    let gate = Setup::of(&short(), &Settings::default()).start().await;
    let mut player = gate.player("t");
    player.open().await.expect("opened");
    let screen = player.screen().expect("a screen");
    let name = fill(&mut player).await;
    let payload = player.footer_payload().expect("a payload");
    // The person ends, gets no answer, goes back, mends the name and ends again; then taps once more.
    for person in ["Ada", "Grace", "Grace"] {
        let mut data = payload.clone();
        data[&name] = json!(person);
        let request = json!({"version": "4.0", "action": "data_exchange", "screen": screen.id, "flow_token": "t", "data": data});
        let reply = player.raw_plaintext(request.to_string().as_bytes()).await.expect("an answer");
        assert_eq!(reply.status, 200, "{person}");
    }
    let stored = gate.submissions().await;
    let mut told: Vec<_> = stored.iter().map(|s| (s.answers[0].text.as_str(), s.linked_to)).collect();
    told.sort_unstable();
    let first = stored.iter().find(|s| s.answers[0].text == "Ada").expect("the first").id;
    assert_eq!(told, [("Ada", None), ("Grace", Some(first))]);
}

#[tokio::test]
async fn a_wrong_signature_is_432_and_a_foreign_key_is_421() {
    let gate = Setup::of(&short(), &Settings::default()).start().await;
    let mut player = gate.player("t");
    for (body, signature, status) in [
        (b"{}".to_vec(), RawSignature::Given("sha256=00".to_owned()), 432),
        (b"{}".to_vec(), RawSignature::Missing, 432),
        (b"{}".to_vec(), RawSignature::Right, 421),
        (b"not json".to_vec(), RawSignature::Right, 421),
    ] {
        let reply = player.raw_body(body, signature).await.expect("an answer");
        assert_eq!((reply.status, reply.body.len()), (status, 0));
    }
    let reply = player.raw_plaintext(b"[1]").await.expect("an answer");
    assert_eq!((reply.status, reply.body.len()), (400, 0));
}

#[tokio::test]
async fn any_key_of_the_ring_opens_a_request() {
    let mut setup = Setup::of(&short(), &Settings::default());
    setup.keys = vec![key(1), key(0)];
    let mut gate = setup.start().await;
    assert!(gate.player("t").ping().await.expect("an answer"));
    gate.public_pem = key(0).public_pem();
    assert!(gate.player("t").ping().await.expect("an answer"), "the retiring key still opens");
}

#[tokio::test]
async fn a_state_from_elsewhere_is_427_in_the_flows_language() {
    let gate =
        Setup::of(&short(), &Settings { mode: Mode::OneQuestion, ..Settings::default() }).start().await;
    let mut player = gate.player("one");
    player.open().await.expect("opened");
    let payload = player.footer_payload().expect("a payload");
    let mut other = gate.player("two");
    other.open().await.expect("opened");
    let mut altered = payload.clone();
    altered["state"] = json!(altered["state"].as_str().expect("a state").to_owned() + "A");
    let mut unknown = payload.clone();
    unknown["v"] = json!("99");
    for (stolen, screen, payload) in [
        (true, "START", payload.clone()),
        (false, "SCREEN_A", payload.clone()),
        (false, "NO_SUCH", payload.clone()),
        (false, "START", altered),
        (false, "START", unknown),
        (false, "START", json!({})),
    ] {
        let client = if stolen { &mut other } else { &mut player };
        let reply = client.raw_payload(screen, payload).await.expect("an answer");
        assert_eq!(reply.status, 427, "{screen}");
        assert!(!reply.body.is_empty(), "the message is encrypted");
    }
    assert!(gate.submissions().await.is_empty());
}

#[tokio::test]
async fn sealed_tokens_carry_the_person_and_expire() {
    let mut setup = Setup::of(&short(), &Settings::default());
    setup.tokens = TokenPolicy::Sealed;
    let gate = setup.start().await;
    let token = Token {
        phone: Some("+390669821234".to_owned()),
        campaign: Some("spring".to_owned()),
        hidden: BTreeMap::from([
            ("utm".to_owned(), "poster".to_owned()),
            ("unknown".to_owned(), "x".to_owned()),
        ]),
        ..Token::default()
    };
    let text = token.issue(&gate.sealer, "contact").expect("short enough");
    let mut player = gate.player(&text);
    play(&mut player, &mut truthful(json!({"Name": "Ada", "Colour": "Blue"}))).await.expect("played");
    let stored = gate.submissions().await;
    assert_eq!(stored[0].contact.as_ref().and_then(|c| c.phone.as_deref()), Some("+390669821234"));
    assert_eq!(stored[0].hidden, BTreeMap::from([("utm".to_owned(), "poster".to_owned())]));
    assert_eq!(stored[0].source["campaign"], "spring");
    let expired =
        Token { expires_at_s: Some(1), ..token }.issue(&gate.sealer, "contact").expect("short enough");
    for refused in [expired.as_str(), "unused", "", "fg.AAAA"] {
        let outcome = gate.player(refused).open().await.expect("an answer");
        let expected = "Questo modulo è scaduto. Chiedi un nuovo link.";
        assert!(
            matches!(&outcome, Outcome::Expired(Some(message)) if message == expected),
            "{refused}: {outcome:?}"
        );
    }
}

/// A token that is valid for a minute.
fn expiring(gate: &Gate) -> String {
    let expires_at_s = u64::try_from(gate.now_ms() / 1_000 + 60).expect("a time");
    let token = Token { expires_at_s: Some(expires_at_s), ..Token::default() };
    token.issue(&gate.sealer, "contact").expect("short enough")
}

#[tokio::test]
async fn a_token_that_expires_stops_nobody_who_is_under_way_and_gives_no_envelope_a_second_plaintext() {
    let mut setup = Setup::of(&short(), &Settings::default());
    setup.tokens = TokenPolicy::Sealed;
    let gate = setup.start().await;
    let token = expiring(&gate);
    let mut player = gate.player(&token);
    player.open().await.expect("opened");
    gate.write_openings().await;
    gate.clock.advance(60_000);
    let first = player.raw_resend().await.expect("an answer").expect("a request");
    assert_eq!(first.status, 200, "the same bytes, whatever has expired");
    gate.restart();
    let again = player.raw_resend().await.expect("an answer").expect("a request");
    assert_eq!((again.status, again.body), (427, Vec::new()));
    let anew = gate.player(&token).open().await.expect("an answer");
    assert!(matches!(anew, Outcome::Expired(Some(_))), "a new envelope is told why: {anew:?}");
    fill(&mut player).await;
    end(&mut player).await;
    assert_eq!(gate.submissions().await.len(), 1);
}

#[tokio::test]
async fn an_envelope_of_which_nobody_can_say_whether_it_had_a_reply_is_given_none() {
    let mut setup = Setup::of(&short(), &Settings::default());
    setup.tokens = TokenPolicy::Sealed;
    let gate = setup.start().await;
    let token = expiring(&gate);
    let mut player = gate.player(&token);
    assert!(matches!(player.open().await, Ok(Outcome::Shown)));
    gate.write_openings().await;
    gate.clock.advance(60_000);
    gate.restart();
    gate.store.close().await.expect("a clean close");
    let again = player.raw_resend().await.expect("an answer").expect("a request");
    assert_eq!((again.status, again.body.len()), (503, 0));
}

#[tokio::test]
async fn metas_signature_of_the_token_is_asked_for_where_it_is_required() {
    let mut setup = Setup::of(&short(), &Settings::default());
    setup.token_signature = TokenSignature::Required;
    let gate = setup.start().await;
    assert!(matches!(gate.player("t").open().await, Ok(Outcome::Expired(_))));
    let options = Options { send_token_signature: true, ..Options::default() };
    let mut player = gate.player_of(&gate.document, "t", options);
    assert!(matches!(player.open().await, Ok(Outcome::Shown)));
}

#[tokio::test]
async fn people_who_opened_an_old_version_finish_on_it() {
    let old = compile(&short(), &Settings::default()).expect("compiled");
    let mut form = short();
    form.pages[0].questions.remove(0);
    let new = compile(&form, &Settings { version: 2, ..Settings::default() }).expect("compiled");
    let old_document = old.document.clone();
    let mut setup = Setup::of(&short(), &Settings::default());
    setup.versions = vec![new, old];
    let gate = setup.start().await;
    for (document, version, answers) in [(old_document, 1, 2), (gate.document.clone(), 2, 1)] {
        let mut player = gate.player_of(&document, "t", Options::default());
        let played = play(&mut player, &mut truthful(json!({"Name": "Ada", "Colour": "Blue"}))).await;
        assert_eq!(player.walk().faults().collect::<Vec<_>>(), Vec::<&_>::new());
        assert!(matches!(played, Ok(Played::Ended(Outcome::Completed(_)))), "{played:?}");
        let stored = gate.submissions().await;
        let submission = stored.iter().find(|s| s.flow_version == version).expect("stored");
        assert_eq!(submission.answers.len(), answers);
    }
}

#[tokio::test]
async fn other_methods_and_types_get_their_own_statuses() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let gate = Setup::of(&short(), &Settings::default()).start().await;
    let authority =
        gate.address.trim_start_matches("http://").split('/').next().expect("an authority").to_owned();
    let signature = HubSignature::sign(&SECRET.into(), b"{}");
    for (head, status) in [
        ("GET /flows/contact HTTP/1.1\r\ncontent-length: 0\r\n".to_owned(), "405"),
        ("POST /flows/unknown HTTP/1.1\r\ncontent-length: 2\r\n".to_owned(), "404"),
        (
            "POST /flows/contact HTTP/1.1\r\ncontent-type: text/html\r\ncontent-length: 2\r\n".to_owned(),
            "415",
        ),
        (
            format!(
                "POST /flows/contact HTTP/1.1\r\nx-hub-signature-256: {signature}\r\ncontent-length: 2\r\n"
            ),
            "421",
        ),
    ] {
        let mut stream = tokio::net::TcpStream::connect(&authority).await.expect("connected");
        let body = if head.starts_with("GET") { "" } else { "{}" };
        let request = format!("{head}host: x\r\nconnection: close\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.expect("read");
        assert!(reply.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {reply}");
    }
}

#[tokio::test]
async fn random_people_and_hostile_clients_are_answered_soundly() {
    let mut form = everything();
    // Nobody random writes what only the server knows to check.
    for page in &mut form.pages {
        page.questions.retain(|q| !["site", "time", "when", "phone", "pin"].contains(&q.key.as_str()));
    }
    let gate = Setup::of(&form, &Settings::default()).start().await;
    let mut completed = 0;
    for seed in 0..12 {
        let mut player = gate.player(&format!("token-{seed}"));
        let played = play(&mut player, &mut Random::new(seed)).await.expect("answered");
        completed += usize::from(matches!(played, Played::Ended(Outcome::Completed(_))));
        assert_eq!(player.walk().faults().collect::<Vec<_>>(), Vec::<&_>::new(), "seed {seed}");
        let mut player = gate.player(&format!("hostile-{seed}"));
        player.open().await.expect("opened");
        let attempts = Hostile::new(seed).attack(&mut player, 40).await.expect("answered");
        for attempt in attempts {
            assert!(!matches!(attempt.verdict, Verdict::Broken(_)), "seed {seed}: {attempt:?}");
            assert!(attempt.status.is_some_and(|status| status < 500), "seed {seed}: {attempt:?}");
        }
    }
    assert!(completed > 0, "nobody came through");
    let validator = Validator::new(&form);
    for submission in gate.submissions().await {
        for answer in &submission.answers {
            let question = form.question(&answer.key).expect("a question of the form");
            if answer.kind == "file" || answer.other.is_some() {
                continue;
            }
            let again = validator.accept(question, Some(&answer.value), None);
            assert_eq!(again.map(|value| value.map(|value| value.to_json())), Ok(Some(answer.value.clone())));
        }
    }
}

//! The player against a small endpoint over real sockets and real encryption.

mod endpoint;

use std::time::Duration;

use formgate::player::document::Document;
use formgate::player::judge::Fault;
use formgate::player::strategy::{Hostile, Played, Random, Truthful, Verdict, play};
use formgate::player::transport::HttpTransport;
use formgate::player::{Entry, Error, Options, Outcome, Player};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use endpoint::{Endpoint, Reply, public_key_pem};

const TOKEN: &str = "6f1c-token";

fn document(json: &str) -> Document {
    Document::read(&serde_json::from_str(json).expect("JSON")).expect("a flow")
}

fn player_with(json: &str, address: &str, options: Options) -> Player<HttpTransport> {
    let transport = HttpTransport::new(address).expect("an address");
    let secret = SecretString::from("app-secret");
    let options = Options { resend_delay: Duration::ZERO, ..options };
    Player::new(document(json), &public_key_pem(), secret, TOKEN, transport, options).expect("a player")
}

fn booking(address: &str) -> Player<HttpTransport> {
    player_with(include_str!("../fixtures/player/booking.json"), address, Options::default())
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("an object")
}

fn contact(errors: Value, init_values: Value) -> Value {
    json!({"screen": "CONTACT", "data": {"state": "s0", "init_values": init_values, "field_errors": errors}})
}

fn details() -> Value {
    json!({"screen": "DETAILS", "data": {"state": "s1", "hello": "Hi", "show_note": false,
        "slots": [{"id": "s9", "title": "09:00"}, {"id": "s10", "title": "10:00"}]}})
}

fn success() -> Value {
    json!({"screen": "SUCCESS", "data": {"extension_message_response": {"params": {"flow_token": TOKEN, "order": "A-17"}}}})
}

/// A well-behaved endpoint of the booking flow.
fn well_behaved(_: usize, request: &Value) -> Reply {
    let text = |name: &str| request.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let answer = match (text("action").as_str(), text("screen").as_str()) {
        _ if request.is_null() => return Reply::Plain(421, "text/plain", Vec::new()),
        ("ping", _) => json!({"data": {"status": "active"}}),
        _ if request.pointer("/data/error").is_some() => json!({"data": {"acknowledged": true}}),
        ("INIT", _) => contact(json!({}), json!({})),
        ("BACK", "CONFIRM") => details(),
        ("data_exchange", "CONTACT") => match request.pointer("/data/q_name").and_then(Value::as_str) {
            Some("Bad") => contact(json!({"q_name": "Not this one"}), json!({"q_name": "Bad"})),
            _ => details(),
        },
        ("data_exchange", "DETAILS") => json!({"screen": "CONFIRM", "data": {"summary": "09:00"}}),
        ("data_exchange", "CONFIRM") => success(),
        _ => return Reply::Plain(400, "text/plain", Vec::new()),
    };
    answer.into()
}

/// Opens the booking flow at an endpoint whose answer to the first submit is `answer`.
async fn submit_answered_with(
    answer: impl Fn() -> Reply + Send + Sync + 'static,
) -> (Outcome, Vec<Fault>, Vec<Value>) {
    let endpoint = Endpoint::start(
        move |index, request| if index == 1 { answer() } else { well_behaved(index, request) },
    )
    .await;
    let mut player = booking(&endpoint.address);
    player.open().await.expect("opened");
    player.fill("q_name", json!("Ada")).await.expect("filled");
    let outcome = player.tap_footer().await.expect("tapped");
    let requests = endpoint.requests.lock().expect("no panic while held").clone();
    (outcome, player.walk().faults().cloned().collect(), requests)
}

#[tokio::test]
async fn a_flow_is_walked_to_its_success_and_unset_values_vanish() {
    let endpoint = Endpoint::start(well_behaved).await;
    let mut player = booking(&endpoint.address);
    assert!(player.ping().await.expect("pinged"));
    assert_eq!(player.open().await.expect("opened"), Outcome::Shown);
    player.fill("q_name", json!("Ada")).await.expect("filled");
    player.fill("q_guests", json!("4")).await.expect("filled");
    assert_eq!(player.tap_footer().await.expect("tapped"), Outcome::Shown);
    let screen = player.screen().expect("a screen");
    assert!(screen.to_text(40).contains("Hi, Ada"), "{}", screen.to_text(40));
    player.fill("slot", json!("s9")).await.expect("filled");
    player.tap_footer().await.expect("tapped");
    let outcome = player.tap_footer().await.expect("tapped");
    assert_eq!(outcome, Outcome::Completed(object(json!({"flow_token": TOKEN, "order": "A-17"}))));
    assert_eq!(player.walk().faults().count(), 0);
    let requests = endpoint.requests.lock().expect("no panic while held");
    assert_eq!(
        requests[2],
        json!({"version": "4.0", "action": "data_exchange", "screen": "CONTACT",
        "data": {"v": "1", "state": "s0", "q_name": "Ada", "q_guests": 4}, "flow_token": TOKEN})
    );
}

#[tokio::test]
async fn field_errors_are_shown_at_their_inputs_and_what_was_entered_stays() {
    let endpoint = Endpoint::start(well_behaved).await;
    let mut player = booking(&endpoint.address);
    player.open().await.expect("opened");
    player.fill("q_name", json!("Bad")).await.expect("filled");
    player.fill("q_topics", json!(["a", "c"])).await.expect("filled");
    assert_eq!(player.tap_footer().await.expect("tapped"), Outcome::Shown);
    let screen = player.screen().expect("a screen");
    assert_eq!(screen.errors().collect::<Vec<_>>(), ["Not this one"]);
    assert_eq!(screen.input("q_topics").expect("shown").value, Some(json!(["a", "c"])));
}

#[tokio::test]
async fn the_client_sends_nothing_while_its_own_checks_fail() {
    let endpoint = Endpoint::start(well_behaved).await;
    let mut player = booking(&endpoint.address);
    player.open().await.expect("opened");
    player.fill("q_mail", json!("not an address")).await.expect("filled");
    player.fill("q_topics", json!(["a", "b", "c"])).await.expect("filled");
    let Err(Error::Refused(refusals)) = player.tap_footer().await else { panic!("the client goes on") };
    let names: Vec<_> = refusals.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["q_name", "q_mail", "q_topics"]);
    assert_eq!(endpoint.requests.lock().expect("no panic while held").len(), 1);
}

#[tokio::test]
async fn an_illegal_transition_is_refused_and_notified() {
    let answer = || json!({"screen": "CONFIRM", "data": {"summary": "x"}}).into();
    let (outcome, faults, requests) = submit_answered_with(answer).await;
    assert_eq!(outcome, Outcome::Failed);
    assert_eq!(faults, [Fault::Transition { from: Some("CONTACT".into()), to: "CONFIRM".into() }]);
    assert_eq!(requests[2]["data"]["error"], "invalid-screen-transition");
    assert_eq!(requests[2]["action"], "data_exchange");
}

#[tokio::test]
async fn missing_mistyped_and_null_data_are_each_named() {
    let answer = || {
        json!({"screen": "DETAILS", "data": {"state": null, "hello": 7, "slots": [{"id": "1", "title": null}]}}).into()
    };
    let (outcome, faults, requests) = submit_answered_with(answer).await;
    let screen = || String::from("DETAILS");
    assert_eq!(outcome, Outcome::Failed);
    assert_eq!(
        faults,
        [
            Fault::Null { screen: screen(), path: "state".into() },
            Fault::WrongType { screen: screen(), path: "hello".into() },
            Fault::Null { screen: screen(), path: "slots[0].title".into() },
            Fault::MissingKey { screen: screen(), key: "show_note".into() },
        ]
    );
    assert_eq!(requests[2]["data"]["error"], "payload-schema-error");
}

#[tokio::test]
async fn a_list_with_repeated_ids_or_nothing_in_it_is_a_fault() {
    for (slots, fault) in [
        (json!([]), Fault::OptionCount { component: "slot".into(), count: 0 }),
        (
            json!([{"id": "1", "title": "a"}, {"id": "1", "title": "b"}]),
            Fault::OptionId { component: "slot".into() },
        ),
    ] {
        let mut answer = details();
        answer["data"]["slots"] = slots;
        let (outcome, faults, requests) = submit_answered_with(move || answer.clone().into()).await;
        assert_eq!((outcome, faults), (Outcome::Failed, vec![fault]));
        assert_eq!(requests[2]["data"]["error"], "components-validation-error");
    }
}

#[tokio::test]
async fn answers_that_no_client_could_read_are_faults() {
    let cases: [(fn() -> Reply, Fault); 6] = [
        (|| Reply::Plain(200, "application/json", b"{}".to_vec()), Fault::ContentType),
        (|| Reply::Plain(200, "text/plain", b"{}".to_vec()), Fault::NotBase64),
        (|| Reply::Plain(200, "text/plain", vec![b'A'; 64]), Fault::NotDecryptable),
        (|| Reply::Plain(500, "text/plain", Vec::new()), Fault::Status(500)),
        (|| Reply::Plain(432, "text/plain", Vec::new()), Fault::Status(432)),
        (|| json!({"screen": "SUCCESS", "data": {}}).into(), Fault::SuccessWithoutToken),
    ];
    for (answer, fault) in cases {
        let (outcome, faults, _) = submit_answered_with(answer).await;
        assert_eq!((outcome, faults), (Outcome::Failed, vec![fault]));
    }
}

#[tokio::test]
async fn a_request_that_the_endpoint_cannot_open_is_sent_once_more() {
    let once = |index: usize, request: &Value| match index {
        0 => Reply::Plain(421, "text/plain", Vec::new()),
        _ => well_behaved(index, request),
    };
    let endpoint = Endpoint::start(once).await;
    let mut player = booking(&endpoint.address);
    assert_eq!(player.open().await.expect("opened"), Outcome::Shown);
    assert_eq!(player.walk().faults().count(), 0);

    let endpoint = Endpoint::start(|_, _| Reply::Plain(421, "text/plain", Vec::new())).await;
    let mut player = booking(&endpoint.address);
    assert_eq!(player.open().await.expect("opened"), Outcome::Failed);
    assert_eq!(endpoint.requests.lock().expect("no panic while held").len(), 2);
    assert_eq!(player.walk().faults().collect::<Vec<_>>(), [&Fault::Status(421)]);
}

#[tokio::test]
async fn a_dead_token_closes_the_flow_with_the_endpoints_words() {
    let expired = || Reply::Sealed(427, json!({"error_msg": "This form has expired."}));
    let (outcome, faults, _) = submit_answered_with(expired).await;
    assert_eq!(outcome, Outcome::Expired(Some("This form has expired.".into())));
    assert_eq!(faults, []);
}

#[tokio::test]
async fn back_shows_the_phones_own_copy_and_asks_only_where_the_screen_says_so() {
    let endpoint = Endpoint::start(well_behaved).await;
    let mut player = booking(&endpoint.address);
    player.open().await.expect("opened");
    player.fill("q_name", json!("Ada")).await.expect("filled");
    player.tap_footer().await.expect("tapped");
    player.fill("slot", json!("s9")).await.expect("filled");
    player.back().await.expect("went back");
    let screen = player.screen().expect("a screen");
    assert_eq!(
        (screen.id.as_str(), &screen.input("q_name").expect("shown").value),
        ("CONTACT", &Some(json!("Ada")))
    );
    assert_eq!(endpoint.requests.lock().expect("no panic while held").len(), 2);
    player.tap_footer().await.expect("tapped");
    player.fill("slot", json!("s10")).await.expect("filled");
    player.tap_footer().await.expect("tapped");
    player.back().await.expect("went back");
    let screen = player.screen().expect("a screen");
    assert_eq!(
        (screen.id.as_str(), &screen.input("slot").expect("shown").value),
        ("DETAILS", &Some(json!("s10")))
    );
    let requests = endpoint.requests.lock().expect("no panic while held");
    let last = requests.last().expect("a request");
    assert_eq!((&last["action"], &last["screen"]), (&json!("BACK"), &json!("CONFIRM")));
}

#[tokio::test]
async fn conditions_follow_update_data_and_what_was_chosen() {
    let endpoint = Endpoint::start(well_behaved).await;
    let mut player = booking(&endpoint.address);
    player.open().await.expect("opened");
    player.fill("q_name", json!("Ada")).await.expect("filled");
    player.tap_footer().await.expect("tapped");
    let shows =
        |player: &Player<HttpTransport>, name: &str| player.screen().expect("a screen").input(name).is_some();
    assert!(!shows(&player, "note") && !shows(&player, "allergy"));
    player.fill("pet", json!("cat")).await.expect("filled");
    assert!(shows(&player, "note") && shows(&player, "allergy"));
    player.fill("pet", json!("none")).await.expect("filled");
    assert!(!shows(&player, "note") && !shows(&player, "allergy"));
    assert!(matches!(player.fill("note", json!("x")).await, Err(Error::NoSuchComponent(_))));
}

#[tokio::test]
async fn a_static_flow_is_walked_without_an_endpoint() {
    let data = object(json!({"greeting": "Welcome"}));
    let options = Options { entry: Entry::Navigate { screen: None, data }, ..Options::default() };
    let json = include_str!("../fixtures/player/static.json");
    let mut player = player_with(json, "http://127.0.0.1:9/", options);
    player.open().await.expect("opened");
    player.fill("nick", json!("Ada")).await.expect("filled");
    player.tap_footer().await.expect("tapped");
    assert!(player.screen().expect("a screen").to_text(30).contains("Bye Ada"));
    let params = object(json!({"nick": "Ada", "again": "Ada", "flow_token": TOKEN}));
    assert_eq!(player.tap_footer().await.expect("tapped"), Outcome::Completed(params));

    let without_data =
        Options { entry: Entry::Navigate { screen: None, data: Map::new() }, ..Options::default() };
    let mut player = player_with(json, "http://127.0.0.1:9/", without_data);
    assert_eq!(player.open().await.expect("judged"), Outcome::Failed);
    let missing = Fault::MissingKey { screen: "START".into(), key: "greeting".into() };
    assert_eq!(player.walk().faults().collect::<Vec<_>>(), [&missing]);
}

#[tokio::test]
async fn truthful_answers_are_found_by_question_label_name_and_option_title() {
    let endpoint = Endpoint::start(well_behaved).await;
    let mut player = booking(&endpoint.address);
    let answers = json!({"what is your full name": "Ada", "E-mail": "ada@example.org", "q_topics": ["Apples", "c"],
        "Slot": "10:00", "pet": "Cat", "About the cat": "Purrs"});
    let played = play(&mut player, &mut Truthful::new(object(answers))).await.expect("played");
    assert!(matches!(played, Played::Ended(Outcome::Completed(_))), "{played:?}");
    let requests = endpoint.requests.lock().expect("no panic while held");
    assert_eq!(
        requests[1]["data"],
        json!({"v": "1", "state": "s0", "q_name": "Ada", "q_mail": "ada@example.org", "q_topics": ["a", "c"]})
    );
    assert_eq!(requests[2]["data"], json!({"v": "1", "state": "s1", "slot": "s10", "note": "Purrs"}));
}

#[tokio::test]
async fn random_walks_end_and_the_same_seed_says_the_same() {
    let endpoint = Endpoint::start(well_behaved).await;
    let mut said = Vec::new();
    for seed in [1, 2, 3, 1] {
        let mut player = booking(&endpoint.address);
        let played = play(&mut player, &mut Random::new(seed)).await.expect("played");
        assert!(matches!(played, Played::Ended(Outcome::Completed(_))), "{played:?}");
        said.push(player.walk().requests().cloned().collect::<Vec<_>>());
    }
    assert_eq!(said[0], said[3]);
    assert_ne!(said[0], said[1]);
}

#[tokio::test]
async fn a_hostile_client_tells_a_steady_endpoint_from_one_that_breaks() {
    let endpoint = Endpoint::start(well_behaved).await;
    let mut player = booking(&endpoint.address);
    player.open().await.expect("opened");
    let attempts = Hostile::new(7).attack(&mut player, 30).await.expect("attacked");
    assert!(attempts.iter().all(|attempt| attempt.verdict == Verdict::Legal), "{attempts:?}");

    let breaking = |index: usize, request: &Value| match index {
        0 => well_behaved(index, request),
        _ => Reply::Plain(500, "text/plain", Vec::new()),
    };
    let endpoint = Endpoint::start(breaking).await;
    let mut player = booking(&endpoint.address);
    player.open().await.expect("opened");
    let attempts = Hostile::new(7).attack(&mut player, 15).await.expect("attacked");
    assert!(
        attempts.iter().all(|attempt| attempt.verdict == Verdict::Broken(Fault::Status(500))),
        "{attempts:?}"
    );
}

//! A line that sends every request up to five times, to different nodes at once; and the same person on two nodes.

use std::sync::Arc;
use std::time::Duration;

use formgate::player::document::Document;
use formgate::player::strategy::{Played, Truthful, play};
use formgate::player::transport::HttpTransport;
use formgate::player::{Options, Outcome, Player};
use rand::rngs::SmallRng;
use secrecy::SecretString;
use serde_json::json;
use tokio::task::JoinSet;

use super::nodes::{Ended, NODES, PATIENCE, Plan, Scene, counted, open};
use super::server::{Server, until};
use crate::process::{Gate, SECRET};
use crate::run;
use crate::sink::Manner;

const WALKS: (u32, u32) = (200, 2_000);
const PEOPLE: u64 = 10;
const COPIES: usize = 5;
/// People who answer on every node at the same moment.
const TWINS: u32 = 8;

async fn walk(walks: u32, points: &str, dice: &mut SmallRng) -> Ended {
    let redis = Server::start();
    let plan = Plan { points, people: PEOPLE, copies: COPIES, ..Plan::default() };
    let scene = Scene::start(&redis, plan, dice).await;
    scene.people.walk_until(u64::from(walks) / PEOPLE);
    // A walk that ends with a complaint is told nothing.
    let all = scene.ledger.until_told(walks.into());
    let _ended_or_complained = tokio::time::timeout(Duration::from_millis(200) * walks, all).await;
    scene.finish(&redis, PATIENCE).await
}

#[test]
fn the_same_envelope_on_several_nodes_at_once_is_one_submission_and_one_reply() {
    let (walks, mut dice) = (run::numbers(WALKS.0, WALKS.1), run::dice());
    let ended = run::runtime().block_on(walk(walks, "", &mut dice));
    ended.tell("every request up to five times, on any of three nodes", walks);
    assert_eq!(ended.ledger.complaints(), Vec::<String>::new());
    assert_eq!((&ended.lost, ended.open), (&Vec::new(), 0));
    assert_eq!(ended.stored, ended.acknowledged, "what is stored is what people were told");
    assert_eq!((ended.acknowledged.len(), ended.ledger.count("crm")), (walks as usize, walks as usize));
    ended.assert_repeats_explained();
}

/// The control: nodes that do not recognise an envelope.
#[test]
fn nodes_that_forget_envelopes_are_caught_with_two_replies_to_one() {
    let mut dice = run::dice();
    let ended = run::runtime().block_on(walk(20, "endpoint.forgets_envelopes:on", &mut dice));
    let different = ended
        .ledger
        .complaints()
        .iter()
        .filter(|what| what.contains("of one envelope got different"))
        .count();
    run::tell("envelopes forgotten by three nodes: control", 20, ended.acknowledged.len(), different, "0");
    assert!(different > 0, "the harness would not notice two replies");
}

/// One walk under this token, all of it on one node; whether its answer was taken.
async fn answer(gate: &Gate, token: &str, name: &str) -> bool {
    let document = Document::read(&gate.document).expect("a document");
    let transport = HttpTransport::new(&gate.address()).expect("an address");
    let (secret, options) = (SecretString::from(SECRET), Options::default());
    let mut player =
        Player::new(document, &gate.public_pem, secret, token, transport, options).expect("a player");
    let answers = json!({"Name": name, "Colour": "Red"});
    let mut person = Truthful::new(answers.as_object().cloned().expect("an object"));
    let Played::Ended(mut outcome) = play(&mut player, &mut person).await.expect("answers") else {
        panic!("{name} did not come to an end");
    };
    // Whoever loses at the very last moment is asked to tap again, and told why then.
    for _ in 0..3 {
        match outcome {
            Outcome::Completed(_) => return true,
            Outcome::Expired(_) => return false,
            _ => outcome = player.tap_footer().await.expect("an answer"),
        }
    }
    panic!("{name}: {outcome:?}");
}

/// Several people, each on all nodes at the same moment, of a flow with this rule. How many answers of each were taken, and
/// how many deliveries were made and superseded.
async fn twins(repeat: &str, points: &str, dice: &mut SmallRng) -> (Vec<usize>, i64, i64) {
    let redis = Server::start();
    let plan = Plan { points, variables: &[("FORMGATE_FLOW__VISIT__REPEAT", repeat)], ..Plan::default() };
    let scene = Arc::new(Scene::start(&redis, plan, dice).await);
    // Nothing reaches it before everybody has answered.
    scene.sink.behave(Manner::Broken);
    let mut taken = Vec::new();
    for person in 0..TWINS {
        let contact = format!("+390600000{person:03}");
        let mut answering = JoinSet::new();
        let tokens = scene.gates.iter().map(|gate| gate.run(&["token", "visit", "--contact", &contact]));
        for (node, token) in tokens.collect::<Vec<_>>().into_iter().enumerate() {
            let scene = Arc::clone(&scene);
            answering.spawn(async move {
                answer(&scene.gates[node], token.trim(), &format!("twin-{person}-{node}")).await
            });
        }
        taken.push(answering.join_all().await.into_iter().filter(|taken| *taken).count());
    }
    scene.sink.behave(Manner::Well);
    until("all is delivered", || open(&redis) == 0);
    (taken, counted(&redis, "3"), counted(&redis, "6"))
}

#[test]
fn of_one_person_on_three_nodes_at_once_one_answer_is_the_only_one() {
    let mut dice = run::dice();
    let (taken, delivered, _) = run::runtime().block_on(twins("once", "", &mut dice));
    assert_eq!(taken, vec![1; TWINS as usize]);
    assert_eq!(delivered, i64::from(TWINS));
    run::tell("`once`, the same person on three nodes", TWINS, taken.len(), 0, "0");
}

#[test]
fn of_one_person_on_three_nodes_at_once_one_answer_replaces_the_others() {
    let mut dice = run::dice();
    let (taken, delivered, superseded) = run::runtime().block_on(twins("replace", "", &mut dice));
    assert_eq!(taken, vec![NODES; TWINS as usize]);
    assert_eq!((delivered, superseded), (i64::from(TWINS), i64::from(TWINS) * 2));
    run::tell("`replace`, the same person on three nodes", TWINS, taken.iter().sum(), 0, "0");
}

/// The control: nodes that do not know people again.
#[test]
fn nodes_that_forget_people_are_caught_taking_several_answers_and_replacing_none() {
    let mut dice = run::dice();
    let points = "outbox.forgets_people:on";
    let (taken, _, _) = run::runtime().block_on(twins("once", points, &mut dice));
    let many = taken.iter().filter(|taken| **taken > 1).count();
    run::tell("`once`, people forgotten, answered again: control", TWINS, taken.iter().sum(), many, "0");
    assert!(many > 0, "the harness would not notice");
    let (taken, delivered, superseded) = run::runtime().block_on(twins("replace", points, &mut dice));
    let kept = usize::try_from(delivered).expect("a few") - TWINS as usize;
    run::tell("`replace`, people forgotten, not replaced: control", TWINS, taken.iter().sum(), kept, "0");
    assert!(kept > 0 && superseded == 0, "the harness would not notice");
}

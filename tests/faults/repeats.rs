//! A line that sends every request up to five times at once, phones with a key that the endpoint no longer has, and Meta's own
//! webhook of each closed walk behind that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use super::ledger::Ledger;
use super::people::People;
use super::process::{Gate, metrics_of, post_webhook};
use super::run;
use super::sink::Sink;

const WALKS: (u32, u32) = (200, 2_000);
const PEOPLE: u64 = 10;
const COPIES: usize = 5;

async fn walk(walks: u32, points: &str, dice: &mut SmallRng) -> Arc<Ledger> {
    let ledger = Arc::new(Ledger::default());
    let sink = Sink::start("crm", &ledger, SmallRng::seed_from_u64(dice.random())).await;
    let gate = Gate::new(&ledger, &[&sink], &[("FORMGATE_FAULTS__POINTS", points)]);
    let people = People::with_copies(PEOPLE, &[&gate], &ledger, dice, COPIES);
    let mut process = gate.spawn();
    gate.ready(&mut process).await;
    people.walk_until(u64::from(walks) / PEOPLE);
    // A walk that ends with a complaint is told nothing.
    let all = ledger.until_told(walks.into());
    let _ended_or_complained = tokio::time::timeout(Duration::from_millis(100) * walks, all).await;
    people.finish().await;
    let give_up = Instant::now() + Duration::from_secs(20);
    while Instant::now() < give_up && ledger.count("crm") < ledger.acknowledged().len() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    witness(&gate, &ledger).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stored = gate.stored();
    process.stop();
    assert_eq!(ledger.count("crm"), ledger.acknowledged().len(), "a confirmation sends nothing");
    assert_eq!(stored, ledger.acknowledged(), "what is stored is what people were told");
    ledger
}

/// Meta's webhook comes for every closed walk (WhatsApp Flows reference 7.5), twice for every other one. It makes no
/// submission, and each is confirmed once.
async fn witness(gate: &Gate, ledger: &Ledger) {
    let told = ledger.told();
    for (number, (walk, submission)) in told.iter().enumerate() {
        let params = json!({"flow_token": walk, "submission_id": submission, "summary": ""});
        let reply = json!({"name": "flow", "body": "Sent", "response_json": params.to_string()});
        let message = json!({"from": "15551234567", "id": format!("wamid.{walk}"), "timestamp": "1764000000",
            "type": "interactive", "interactive": {"type": "nfm_reply", "nfm_reply": reply}});
        let value = json!({"messaging_product": "whatsapp", "messages": [message],
            "metadata": {"display_phone_number": "1", "phone_number_id": "2"}});
        let body = json!({"object": "whatsapp_business_account",
            "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]});
        for _ in 0..=number % 2 {
            let status = post_webhook(gate.listen, &body.to_string()).await.expect("an answer");
            assert_eq!(status, 200);
        }
    }
    let metrics = metrics_of(gate.admin).await.expect("metrics");
    let count = |witness: &str| {
        let wanted = format!("formgate_confirmations_total{{outcome=\"{witness}\"}}");
        let line = metrics.lines().find(|line| line.contains(&wanted));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).unwrap_or(0)
    };
    assert_eq!((count("confirmed"), count("unknown")), (told.len(), 0), "{metrics}");
}

#[test]
fn the_same_envelope_many_times_at_once_is_one_submission_and_one_reply() {
    let (walks, mut dice) = (run::numbers(WALKS.0, WALKS.1), run::dice());
    let ledger = run::runtime().block_on(walk(walks, "", &mut dice));
    let told = ledger.acknowledged();
    let lost = ledger.missing("crm", &told).len();
    run::tell("every request up to five times", walks, told.len(), lost, &ledger.repeats().to_string());
    assert_eq!(ledger.complaints(), Vec::<String>::new());
    assert_eq!((told.len(), ledger.count("crm")), (walks as usize, walks as usize));
    ledger.assert_repeats_explained();
}

/// The control: a program that does not recognise an envelope.
#[test]
fn a_program_that_forgets_envelopes_is_caught_with_two_replies_to_one() {
    let mut dice = run::dice();
    let ledger = run::runtime().block_on(walk(20, "endpoint.forgets_envelopes:on", &mut dice));
    let different = ledger.complaints().iter().filter(|what| what.contains("different replies")).count();
    run::tell("envelopes forgotten: control", 20, ledger.acknowledged().len(), different, "0");
    assert!(different > 0, "the harness would not notice two replies");
}

//! The master key is changed while nodes share a store: nothing that was accepted is out of anybody's reach meanwhile.

use formgate::app::control::Keep;

use super::*;

/// The configuration of a node that seals and opens with these keys, the first of which seals.
fn config(home: &Home, node: &str, keys: &[&str]) -> Config {
    std::fs::write(home.folder.path().join(format!("{node}.key")), keys.join("\n")).expect("keys");
    home.config(node, "private_keys = [\"file:shop.pem\"]");
    let file = home.folder.path().join(format!("{node}.toml"));
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, text.replace("file:master.key", &format!("file:{node}.key"))).expect("a file");
    Config::load(Some(&file), std::iter::empty()).unwrap_or_else(|faults| panic!("{faults}"))
}

fn crm() -> DestinationId {
    DestinationId::new("crm").expect("an id")
}

fn key() -> String {
    MasterKey::generate().to_text().expose_secret().to_owned()
}

/// Has a command carried out, and tells what was said.
async fn control(node: &Running, command: Command) -> Result<Vec<String>, String> {
    let mut lines = vec![];
    let told = |told| {
        if let Told::Line(line) | Told::Remark(line) = told {
            lines.push(line);
        }
    };
    run(&node.config, command, told).await.map_err(|error| error.to_string())?;
    Ok(lines)
}

/// The classes of the attempts to deliver the only submission.
async fn attempts(node: &Running) -> Vec<String> {
    let listed = node.outbox.list(&Filter::default(), None, 9).await.expect("a list");
    let deliveries = listed.items.iter().flat_map(|item| &item.deliveries);
    deliveries.flat_map(|delivery| delivery.attempts.iter().map(|attempt| attempt.class.clone())).collect()
}

#[tokio::test]
async fn a_node_that_lacks_the_master_key_of_a_submission_leaves_it_to_another() {
    let home = Home::new().await;
    let (old, new) = (key(), key());
    let two = home.run(config(&home, "two", &[&old])).await;
    let one = home.run(config(&home, "one", &[&new, &old])).await;
    control(&one, Command::PauseDestination { id: crm() }).await.expect("paused");
    walk(&mut home.phone(&[&one], "Ada"), "Ada").await;
    home.kill(one, "one").await;
    control(&two, Command::ResumeDestination { id: crm() }).await.expect("resumed");
    home.until("the other cannot read it", async || attempts(&two).await == ["no_key"]).await;
    two.end().await;
    let one = home.run(config(&home, "one", &[&new, &old])).await;
    home.until("it is delivered", async || home.inbox.counts().taken == 1).await;
    one.end().await;
}

#[tokio::test]
async fn the_master_key_is_changed_in_two_rounds_and_the_old_one_is_needed_no_more() {
    let mut home = Home::new().await;
    let (old, new) = (key(), key());
    let rewrap = || Command::Keep(Keep::Rewrap);
    let rounds: [&[&str]; 3] = [&[&old], &[&old, &new], &[&new, &old]];
    let mut one = home.run(config(&home, "one", rounds[0])).await;
    let mut two = home.run(config(&home, "two", rounds[0])).await;
    let mut walks = 0;
    control(&one, Command::PauseDestination { id: crm() }).await.expect("paused");
    for keys in rounds {
        one.end().await;
        one = home.run(config(&home, "one", keys)).await;
        // Begun on one node and gone on with on the other; each ends one of them.
        for (name, nodes) in [("Ada", [&one, &two]), ("Grace", [&two, &one])] {
            walk(&mut home.phone(&nodes, &format!("{name} {walks}")), name).await;
            walks += 1;
        }
        two.end().await;
        two = home.run(config(&home, "two", keys)).await;
    }
    // With Redis away nobody can see what the other has.
    home.redis.kill();
    let refused = control(&one, rewrap()).await.expect_err("it cannot be done now");
    assert!(refused.contains("Redis is out of reach"), "{refused}");
    home.redis.restart().await;
    home.until("it is done", async || control(&one, rewrap()).await.is_ok()).await;
    let again = control(&two, rewrap()).await.expect("it can be done").join("\n");
    assert!(again.starts_with("0 records"), "all of both nodes was done: {again}");

    one.end().await;
    two.end().await;
    let (one, two) =
        (home.run(config(&home, "one", &[&new])).await, home.run(config(&home, "two", &[&new])).await);
    control(&two, Command::ResumeDestination { id: crm() }).await.expect("resumed");
    home.until("all are delivered", async || home.inbox.counts().taken == walks).await;
    // Each has its own under the new key, too: it goes on when Redis is away.
    home.redis.kill();
    for node in [&one, &two] {
        let listed = node.outbox.list(&Filter::default(), None, 99).await.expect("a list").items;
        assert!(!listed.is_empty());
        for item in listed {
            let read = node.outbox.submission(item.id).await;
            assert!(matches!(read, Ok(Some(_))), "{read:?}");
        }
    }
}

//! Redis loses everything while no node runs, and the nodes are started again.

use std::collections::BTreeMap;

use formgate::form::mapping::Step;
use formgate::outbox::{DestinationId, Route};

use super::{Home, Running};

/// The private keys that open requests, newest first.
fn ring(node: &Running) -> Vec<String> {
    let flow = node.flows.all().first().cloned().expect("a flow");
    flow.keys.keys().iter().map(|key| key.id().to_string()).collect()
}

/// What Redis has of a table, versions included, in any order.
fn rows(home: &Home, table: u8) -> Vec<Vec<u8>> {
    let mut rows: Vec<Vec<u8>> = home.redis.run(&["HVALS", &format!("{{formgate}}:v:{table}")]);
    rows.sort_unstable();
    rows
}

#[tokio::test]
async fn nodes_that_start_on_an_emptied_redis_have_the_keys_versions_and_routes_that_they_had() {
    let mut home = Home::new().await;
    let start =
        async |home: &Home| tokio::join!(home.run(home.config("one", "")), home.run(home.config("two", "")));
    let (one, two) = start(&home).await;
    let crm = DestinationId::new("crm").expect("an id");
    let mapping = BTreeMap::from([("name".to_owned(), Step::Rename("who".to_owned()))]);
    one.outbox.set_route(&crm, &Route { when: None, mapping }, "test").await.expect("it is set");
    home.until("both have the first key", async || ring(&one).len() == 1 && ring(&two) == ring(&one)).await;
    let (keys, versions, secrets) = (ring(&one), rows(&home, 5), rows(&home, 7));
    assert_eq!(
        (versions.len(), secrets.len()),
        (1, 5),
        "the chain, the index, the key, and a chain for each"
    );
    let told = |node: &Running| node.store.standing().is_some_and(|standing| standing.told);
    for (name, node) in [("one", &one), ("two", &two)] {
        home.until("all is told, and heard", async || told(node)).await;
        let journal = home.folder.path().join(format!("data-{name}/store.sqlite3"));
        let file = rusqlite::Connection::open(journal).expect("the file");
        let count = "SELECT count(*) FROM record WHERE tbl IN (5, 7)";
        let copies = || file.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap_or_default();
        home.until("it has copies", async || copies() == 6).await;
    }
    one.end().await;
    two.end().await;
    home.redis.wipe();
    home.redis.restart().await;
    let (one, two) = start(&home).await;
    for node in [&one, &two] {
        assert_eq!(ring(node), keys);
        assert_eq!(node.flows.all().first().map(|flow| flow.versions.len()), Some(1));
        let routes = node.outbox.routes().await.expect("a read");
        assert!(routes.contains_key("crm"), "{:?}", routes.keys());
    }
    for node in [&one, &two] {
        home.until("all is told", async || told(node)).await;
    }
    assert!((rows(&home, 5), rows(&home, 7)) == (versions, secrets), "nothing was made anew");
    one.end().await;
    two.end().await;
}

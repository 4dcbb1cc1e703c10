//! A connection that its tool does not accept any more is told once, whatever uses it, and once when it works again.

use formgate::connector::connection::ConnectionId;
use formgate::outbox::DestinationId;
use secrecy::SecretString;
use serde_json::Value as Json;

use super::sink::Sink;
use crate::connect::fixture::{Site, start_with};

/// Connects Typeform by a token.
async fn paste(site: &Site, name: &ConnectionId) {
    let token = site.tools.authority.make_token("typeform", &["accounts:read", "forms:read"]);
    let token = SecretString::from(token);
    let added = site.connections.add_token("typeform", None, Some(name), &token, "test").await;
    added.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_one_notice_also_if_it_only_reads_forms() {
    let sink = Sink::open().await;
    let site = start_with(&format!(
        "{}[[destination]]\nid = \"sheet\"\nkind = \"typeform\"\nconnection = \"used\"\nconsent = true\n",
        sink.section()
    ))
    .await;
    let (reads, used): (ConnectionId, ConnectionId) =
        ("reads".parse().expect("a name"), "used".parse().expect("a name"));
    paste(&site, &reads).await;
    paste(&site, &used).await;
    site.tools.authority.throw_out("typeform");
    for name in [&reads, &used] {
        let (_, source) = site.connections.source(name).await.expect("its forms");
        let refused = source.list(None, None).await.expect_err("it is not accepted");
        assert!(refused.to_string().contains("connect it again"), "{refused}");
    }
    // What is delivered with a lost account waits, and that is the same cause.
    let to = DestinationId::new("sheet").expect("an id");
    site.outbox.park_until_reconnect(&to, "outbox", "401").await.expect("it is parked");

    let raised = sink.until(2).await;
    let mut told: Vec<(Json, Json)> = raised
        .iter()
        .map(|notice| (notice["data"]["cause"].clone(), notice["data"]["connection"].clone()))
        .collect();
    told.sort_by_key(|(_, connection)| connection.to_string());
    assert_eq!(
        told,
        [("connection".into(), "reads".into()), ("connection".into(), "used".into())],
        "{raised:?}"
    );
    let text = format!("{raised:?}");
    assert!(text.contains("Typeform does not accept the connection reads any more"), "{text}");
    assert!(text.contains("formgate connect"), "{text}");

    paste(&site, &reads).await;
    let after = sink.until(3).await;
    assert_eq!(after.len(), 3, "one notice each, and one that it is over: {after:?}");
    assert_eq!(
        (&after[2]["type"], &after[2]["data"]["connection"]),
        (&"alert.recovered".into(), &"reads".into())
    );
    site.end().await;
}

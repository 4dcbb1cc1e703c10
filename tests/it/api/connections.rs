//! Connected accounts by the API: links, forms, loss and end, each only in its own workspace.

use formgate::connector::connection::{ConnectionId, State};
use formgate::console::access::Role;
use serde_json::{Value as Json, json};
use url::Url;

use super::office::{Answered, FORM, Office};
use crate::connect::fixture::Browser;

struct Caller<'o>(&'o Office, String);

impl Caller<'_> {
    async fn call(&self, method: &str, path: &str, body: Option<Json>) -> Answered {
        self.0.call(method, &format!("/api/v1/{path}"), Some(&self.1), body).await
    }

    async fn link(&self, body: Json) -> Answered {
        self.call("POST", "connection-links", Some(body)).await
    }

    /// The whole way of a browser; the last page.
    async fn connect(&self, body: Json) -> String {
        let link = self.link(body).await;
        assert_eq!(link.status, 201, "{}", link.json);
        link.is_a("ConnectionLink");
        let url: Url = link.json["url"].as_str().expect("a link").parse().expect("a URL");
        Browser::default().walk(&url, &[("answer", "allow")], &[]).await
    }
}

fn id(name: &str) -> ConnectionId {
    name.parse().expect("a name")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_connects_an_account_for_the_workspace_of_whoever_made_it() {
    let office = Office::open().await;
    let a = Caller(&office, office.token("a", Role::Owner).await);
    let b = Caller(&office, office.token("b", Role::Owner).await);
    let page = a.connect(json!({"tool": "hubspot", "name": "crm"})).await;
    assert!(page.contains("“crm” is connected"), "{page}");
    let shown = a.call("GET", "connections/crm", None).await;
    shown.is_a("ConnectionView");
    let expected =
        json!({"state": "active", "means": "oauth", "made_by": "api:owner", "lost": null, "tool": "hubspot"});
    for (member, value) in expected.as_object().expect("members") {
        assert_eq!(&shown.json[member], value, "{member}");
    }
    assert_eq!(shown.json["account"]["name"], "Hub ID 25505644");
    assert!(shown.json["scopes"].as_array().is_some_and(|scopes| !scopes.is_empty()));
    assert_eq!(office.connections.get(&id("crm")).await.expect("it is there").workspace, "a");
    let issued = office.tools.authority.issued();
    for path in ["connections/crm", "connections"] {
        let text = a.call("GET", path, None).await.json.to_string();
        assert!(!issued.is_empty() && issued.iter().all(|token| !text.contains(token.as_str())), "{path}");
    }

    // The same account, by others: one of their own. What is another's is neither taken nor seen.
    assert_eq!(b.call("GET", "connections/crm", None).await.status, 404);
    let taken = b.link(json!({"tool": "hubspot", "name": "crm"})).await;
    assert_eq!(taken.status, 409);
    assert!(
        taken.json["detail"].as_str().is_some_and(|detail| detail.contains("is not free")),
        "{}",
        taken.json
    );
    let page = b.connect(json!({"tool": "hubspot"})).await;
    assert!(page.contains("“hubspot” is connected"), "{page}");
    let page = b.connect(json!({"tool": "hubspot"})).await;
    assert!(page.contains("“hubspot” works again"), "{page}");
    assert_eq!(office.connections.get(&id("hubspot")).await.expect("it is there").workspace, "b");
    assert_eq!(
        office.connections.get(&id("crm")).await.expect("it is there").connected_at_ms,
        office.connections.get(&id("crm")).await.expect("it is there").made_at_ms
    );

    for (wrong, status) in [
        (json!({"tool": "jotform"}), 400),
        (json!({"tool": "hubspot", "region": "mars"}), 400),
        (json!({"tool": "hubspot", "name": "No Good"}), 400),
        (json!({"tool": "typeform", "name": "crm"}), 409),
        (json!({"tools": "hubspot"}), 400),
        (json!({}), 400),
    ] {
        let refused = a.link(wrong.clone()).await;
        assert_eq!(refused.status, status, "{wrong}: {}", refused.json);
        refused.is_a("Problem");
    }
    let events = office.events_of("crm").await;
    let owner = |action: &str| ("api:owner".to_owned(), action.to_owned());
    assert_eq!(events, [owner("connection.made"), owner("connection.started")]);

    let removed = a.call("DELETE", "connections/crm", None).await;
    removed.is_a("Disconnected");
    assert_eq!((removed.status, &removed.json), (200, &json!({"revoked": true, "left_to_do": null})));
    assert_eq!(a.call("GET", "connections/crm", None).await.status, 404);
    assert_eq!(office.events_of("crm").await[0], owner("connection.removed"));
    let removed = b.call("DELETE", "connections/forms-b", None).await;
    assert!(removed.json["left_to_do"].as_str().is_some_and(|text| text.contains("delete it there")));
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_forms_of_an_account_are_listed_searched_and_read_with_their_report() {
    let office = Office::open().await;
    let a = Caller(&office, office.token("a", Role::Editor).await);
    let listed = a.call("GET", "connections/forms-a/forms?search=garden", None).await.json;
    assert_eq!(listed["forms"][0]["id"], FORM, "{listed}");
    let none = a.call("GET", "connections/forms-a/forms?search=zebra", None).await.json;
    assert_eq!(none, json!({"forms": [], "next": null}));
    let read = a.call("GET", &format!("connections/forms-a/forms/{FORM}"), None).await.json;
    assert_eq!((&read["definition"]["id"], &read["tool"]), (&json!(FORM), &json!("typeform")));
    assert!(read["report"]["items"].as_array().is_some_and(|items| items.len() > 3), "{}", read["report"]);
    for (path, status) in [
        ("connections/forms-a/forms/nothing", 404),
        ("connections/forms-a/forms/%2e%2e%2fme", 404),
        ("connections/forms-a/forms/", 404),
        ("connections/forms-a/forms?q=x", 400),
        (&format!("connections/forms-a/forms?search={}", "x".repeat(501)), 400),
    ] {
        let refused = a.call("GET", path, None).await;
        assert_eq!(refused.status, status, "{path}: {}", refused.json);
        refused.is_a("Problem");
    }
    let viewer = Caller(&office, office.token("a", Role::Viewer).await);
    assert_eq!(viewer.call("GET", "connections/forms-a/forms", None).await.status, 403);
    assert_eq!(viewer.call("GET", "connections/forms-a", None).await.status, 200);

    // The tool takes the token back. Whoever reads a form learns it, and from then on everybody sees it.
    office.tools.authority.throw_out("typeform");
    let refused = a.call("GET", &format!("connections/forms-a/forms/{FORM}"), None).await;
    assert_eq!(refused.status, 409, "{}", refused.json);
    let lost = a.call("GET", "connections/forms-a", None).await;
    lost.is_a("ConnectionView");
    assert_eq!(lost.json["state"], "needs_reconnect");
    let remedy = lost.json["lost"]["remedy"].as_str().expect("what to do");
    assert!(remedy.contains("formgate connect typeform --name forms-a --token-file"), "{remedy}");
    let state = office.connections.get(&id("forms-a")).await.expect("it is there").state;
    assert!(matches!(state, State::NeedsReconnect { .. }));
    office.close().await;
}

//! The management API of a running Formgate: what a program can do with which token, and what it cannot.

mod connections;
mod mapping;
mod office;

use std::collections::BTreeSet;

use formgate::console::access::{Role, Scope};
use formgate::console::api::{document, routes};
use serde_json::{Value as Json, json};

use office::{Answered, Office};

#[test]
fn every_route_is_in_the_document_and_the_document_has_no_other() {
    let document = serde_json::to_value(document()).expect("JSON");
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            assert!(
                operation["operationId"].is_string() && operation["summary"].is_string(),
                "{method} {path}"
            );
            let refusal = &operation["responses"]["default"]["content"]["application/problem+json"];
            assert_eq!(refusal["schema"]["$ref"], "#/components/schemas/Problem", "{method} {path}");
            documented.insert((method.to_uppercase(), path.clone()));
        }
    }
    let routes: BTreeSet<_> = routes().map(|(method, path, _)| (method.to_owned(), path)).collect();
    assert_eq!(documented, routes);
}

#[test]
fn a_role_can_do_what_the_one_below_can_and_more() {
    let (viewer, editor, owner) = (Role::Viewer.scopes(), Role::Editor.scopes(), Role::Owner.scopes());
    assert!(viewer.is_subset(&editor) && editor.is_subset(&owner) && viewer != editor && editor != owner);
    assert_eq!(owner, Scope::ALL.into_iter().collect());
    assert!(viewer.iter().all(|scope| scope.as_str().ends_with(":read")));
}

/// A path with something in the place of what is in braces.
fn filled(path: &str, ids: &[(&str, String)]) -> String {
    ids.iter().fold(path.to_owned(), |path, (kind, id)| path.replace(&format!("{{{kind}}}"), id))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_in_without_a_token_or_with_one_that_has_ended() {
    let office = Office::open().await;
    let own = office.ids("a").await;
    let gone = office.token("a", Role::Owner).await;
    office.revoke(&gone).await;
    let ended = office.ended_token("a").await;
    for (method, path, _) in routes() {
        let path = filled(&path, &own);
        for token in [
            None,
            Some("fgt_"),
            Some("fgt_0123456789abcdef_x"),
            Some("é"),
            Some(gone.as_str()),
            Some(ended.as_str()),
        ] {
            let answer = office.call(method, &path, token, None).await;
            assert_eq!(answer.status, 401, "{method} {path} {token:?}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
    }
    assert_eq!(office.call("GET", "/api/v1/nothing", None, None).await.status, 404);
    let wrong = office.call("DELETE", "/api/v1/flows", None, None).await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, "GET"));
    let document = office.call("GET", "/api/v1/openapi.json", None, None).await;
    assert_eq!((document.status, document.json["openapi"].as_str()), (200, Some("3.1.0")));
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_another_workspace_does_not_exist() {
    let office = Office::open().await;
    let (own, foreign) = (office.ids("a").await, office.ids("b").await);
    let token = office.token("a", Role::Owner).await;
    let unknown: Vec<_> =
        own.iter().map(|(kind, _)| (*kind, "3f2b8a52-7d31-5f0e-9a57-2f6c1d8e9b10".to_owned())).collect();
    let mut looked_at = 0;
    for (method, path, _) in routes().filter(|(_, path, _)| path.contains('{')) {
        let body = Some(json!({}));
        let theirs = office.call(method, &filled(&path, &foreign), Some(&token), body.clone()).await;
        let nothing = office.call(method, &filled(&path, &unknown), Some(&token), body).await;
        assert_eq!((theirs.status, &theirs.json), (404, &nothing.json), "{method} {path}");
        looked_at += 1;
    }
    assert!(looked_at >= 12, "{looked_at}");
    for (path, member) in [
        ("flows", "flows"),
        ("destinations", "destinations"),
        ("submissions", "submissions"),
        ("api-tokens", "tokens"),
        ("connections", "connections"),
    ] {
        let listed = office.call("GET", &format!("/api/v1/{path}"), Some(&token), None).await.json;
        let listed = listed[member].as_array().expect("a list").clone();
        assert!(!listed.is_empty(), "{path}");
        let text = Json::from(listed).to_string();
        assert!(foreign.iter().all(|(_, id)| !text.contains(&format!("\"{id}\""))), "{path}: {text}");
    }
    assert_eq!(office.call("GET", "/api/v1/submissions?flow=flow-b", Some(&token), None).await.status, 404);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_does_what_its_scopes_allow_and_nothing_else() {
    let office = Office::open().await;
    let own = office.ids("a").await;
    for role in [Role::Viewer, Role::Editor, Role::Owner] {
        let token = office.token("a", role).await;
        for (method, path, scope) in routes() {
            let answer =
                office.call(method, &filled(&path, &own), Some(&token), Some(json!({"wrong": 1}))).await;
            let may = scope.is_none_or(|scope| role.scopes().contains(&scope));
            assert_eq!(answer.status != 403, may, "{role:?} {method} {path}: {}", answer.status);
        }
    }
    // Narrower than its role.
    let owner = office.token("a", Role::Owner).await;
    let body = json!({"name": "reader", "role": "editor", "scopes": ["flows:read"], "ttl_seconds": 60});
    let made = office.call("POST", "/api/v1/api-tokens", Some(&owner), Some(body)).await;
    let narrow = made.json["secret"].as_str().expect("a secret").to_owned();
    assert_eq!((made.status, &made.json["scopes"]), (201, &json!(["flows:read"])));
    assert_eq!(office.call("GET", "/api/v1/flows", Some(&narrow), None).await.status, 200);
    assert_eq!(office.call("GET", "/api/v1/submissions", Some(&narrow), None).await.status, 403);
    let me = office.call("GET", "/api/v1/me", Some(&narrow), None).await;
    assert_eq!(
        me.json,
        json!({"name": "reader", "workspace": "a", "role": "editor", "scopes": ["flows:read"]})
    );
    for (wrong, status) in [
        (json!({"name": "x", "role": "viewer", "scopes": ["flows:write"]}), 400),
        (json!({"name": "", "role": "viewer"}), 400),
        (json!({"name": "a\nb", "role": "viewer"}), 400),
        (json!({"name": "x", "role": "king"}), 400),
        (json!({"name": "x", "role": "viewer", "ttl_seconds": 1}), 400),
        (json!({"name": "x"}), 400),
        (json!([]), 400),
    ] {
        assert_eq!(
            office.call("POST", "/api/v1/api-tokens", Some(&owner), Some(wrong.clone())).await.status,
            status,
            "{wrong}"
        );
    }
    let id = made.json["id"].as_str().expect("an id");
    assert_eq!(
        office.call("DELETE", &format!("/api/v1/api-tokens/{id}"), Some(&owner), None).await.status,
        204
    );
    assert_eq!(office.call("GET", "/api/v1/me", Some(&narrow), None).await.status, 401);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_destinations_submissions_and_deliveries_are_told_as_the_document_says() {
    let office = Office::open().await;
    let own = office.ids("a").await;
    let token = office.token("a", Role::Owner).await;
    let get = async |path: &str| office.call("GET", &filled(path, &own), Some(&token), None).await;
    for (path, schema) in [
        ("/api/v1/me", "Me"),
        ("/api/v1/flows", "FlowList"),
        ("/api/v1/flows/{flow}", "FlowView"),
        ("/api/v1/flows/{flow}/versions", "VersionList"),
        ("/api/v1/flows/{flow}/diff", "DiffView"),
        ("/api/v1/connections", "ConnectionList"),
        ("/api/v1/connections/{connection}", "ConnectionView"),
        ("/api/v1/connections/{connection}/forms", "FormList"),
        ("/api/v1/connections/{connection}/forms/{form}", "FormRead"),
        ("/api/v1/destinations", "DestinationList"),
        ("/api/v1/destinations/{destination}", "DestinationView"),
        ("/api/v1/destinations/{destination}/mapping", "MappingView"),
        ("/api/v1/submissions", "SubmissionList"),
        ("/api/v1/submissions?flow=flow-a&state=dead&since=2026-01-01T00:00:00Z&limit=1", "SubmissionList"),
        ("/api/v1/submissions/{submission}", "SubmissionView"),
        ("/api/v1/deliveries/{delivery}", "DeliveryView"),
        ("/api/v1/api-tokens", "ApiTokenList"),
    ] {
        let answer = get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.json);
        answer.is_a(schema);
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    let submission = get("/api/v1/submissions/{submission}").await.json;
    assert_eq!(submission["submission"]["answers"][0]["text"], "Ada");
    assert_eq!(submission["deliveries"][0]["state"], "dead");
    assert!(submission["deliveries"][0]["dead_reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert!(get("/api/v1/flows/{flow}/flow.json").await.json["routing_model"].is_object());
    assert_eq!(get("/api/v1/flows/{flow}/form").await.json["title"], "Form a");
    for wrong in [
        "limit=0",
        "limit=201",
        "limit=x",
        "state=lost",
        "since=yesterday",
        "after=x",
        "flows=a",
        "after=1.x",
    ] {
        let refused = get(&format!("/api/v1/submissions?{wrong}")).await;
        assert_eq!(refused.status, 400, "{wrong}");
        refused.is_a("Problem");
    }
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_is_made_and_leaves_one_line_in_the_audit_trail() {
    let office = Office::open().await;
    let own = office.ids("a").await;
    let token = office.token("a", Role::Owner).await;
    office.keep_failing(false);
    let post = async |path: &str, body: Json| -> Answered {
        office.call("POST", &filled(path, &own), Some(&token), Some(body)).await
    };
    for (path, body, status, action) in [
        (
            "/api/v1/destinations/{destination}/pause",
            json!({"reason": "repair"}),
            200,
            Some("destination.paused"),
        ),
        ("/api/v1/destinations/{destination}/pause", json!({}), 200, None),
        ("/api/v1/deliveries/{delivery}/replay", json!({}), 200, Some("delivery.replayed")),
        ("/api/v1/deliveries/{delivery}/replay", json!({}), 409, None),
        ("/api/v1/submissions/{submission}/replay", json!({"as_new": true}), 200, None),
        ("/api/v1/destinations/{destination}/resume", json!({}), 200, Some("destination.resumed")),
        ("/api/v1/flows/{flow}/approve", json!({}), 409, None),
        ("/api/v1/flows/{flow}/tokens", json!({"contact": "+390669821234", "ttl_seconds": 600}), 201, None),
        ("/api/v1/api-tokens", json!({"name": "second", "role": "viewer"}), 201, Some("api_token.made")),
    ] {
        let before = office.events("api:owner").await;
        let answer = post(path, body.clone()).await;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.json);
        let mut after = office.events("api:owner").await;
        for event in before {
            let at = after.iter().position(|known| *known == event).expect("events are only added");
            after.remove(at);
        }
        assert_eq!(
            after.iter().map(String::as_str).collect::<Vec<_>>(),
            Vec::from_iter(action),
            "{path} {body}"
        );
    }
    // What was replayed arrives, now that the destination takes it.
    office.until_delivered("a").await;
    let destination =
        office.call("GET", &filled("/api/v1/destinations/{destination}", &own), Some(&token), None).await;
    assert_eq!((&destination.json["delivered"], &destination.json["dead"]), (&json!(1), &json!(0)));
    for (path, body) in [
        ("/api/v1/destinations/{destination}/pause", json!({"reason": "x".repeat(201)})),
        ("/api/v1/destinations/{destination}/pause", json!({"reason": 1})),
        ("/api/v1/flows/{flow}/tokens", json!({"ttl_seconds": 1})),
        ("/api/v1/flows/{flow}/tokens", json!({"to": "x"})),
    ] {
        assert_eq!(post(path, body.clone()).await.status, 400, "{path} {body}");
    }
    office.close().await;
}

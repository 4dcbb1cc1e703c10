//! Mappings by the API: set, tried, used at once by every node and after a restart, and never in the configuration's place.

use formgate::console::access::Role;
use formgate::form::mapping::Step;
use formgate::outbox::{DestinationId, Filter, Route};
use formgate::store::{DeliveryState, Reopened};
use serde_json::{Value as Json, json};
use tokio::time::{Duration, Instant, sleep};

use super::office::{Answered, Office, PATIENCE};

async fn call(office: &Office, token: &str, method: &str, path: &str, body: Option<Json>) -> Answered {
    office.call(method, &format!("/api/v1/{path}"), Some(token), body).await
}

const PATH: &str = "destinations/to-a/mapping";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_goes_by_the_mapping_that_was_mended_also_after_a_restart() {
    let mut office = Office::open().await;
    let (token, own) = (office.token("a", Role::Editor).await, office.ids("a").await);
    let delivery = &own.iter().find(|(kind, _)| *kind == "delivery").expect("a delivery").1;
    assert_eq!(office.answers(), [("name".to_owned(), "Ada".to_owned())]);
    let none = call(&office, &token, "GET", PATH, None).await;
    none.is_a("MappingView");
    assert_eq!((&none.json["source"], &none.json["read_only"]), (&json!("none"), &json!(false)));
    assert_eq!((&none.json["kind"], &none.json["grade"]), (&json!("webhook"), &json!("D")));

    let body = json!({"when": {"if": {"answer": "name"}, "op": "answered"},
        "mapping": {"name": "full_name", "greeting": {"template": "Dear {{answer:name}}"}}});
    let set = call(&office, &token, "PUT", PATH, Some(body.clone())).await;
    assert_eq!(set.status, 200, "{}", set.json);
    set.is_a("MappingView");
    assert_eq!((&set.json["source"], &set.json["set_by"]), (&json!("store"), &json!("api:editor")));
    assert_eq!((&set.json["mapping"], &set.json["when"]["op"]), (&body["mapping"], &json!("answered")));
    let again = call(&office, &token, "PUT", PATH, Some(body)).await;
    assert_eq!((again.status, &again.json["set_at"]), (200, &set.json["set_at"]), "it is the same");
    let expected = ("api:editor".to_owned(), "destination.mapping_set".to_owned());
    assert_eq!(office.events_of("to-a").await, [expected]);

    office.restart().await;
    office.keep_failing(false);
    let shown = call(&office, &token, "GET", PATH, None).await.json;
    assert_eq!((&shown["source"], &shown["faults"]), (&json!("store"), &json!([])));
    let replayed = call(&office, &token, "POST", &format!("deliveries/{delivery}/replay"), None).await;
    assert_eq!(replayed.status, 200, "{}", replayed.json);
    office.until_delivered("a").await;
    let pair = |key: &str, text: &str| (key.to_owned(), text.to_owned());
    assert_eq!(office.answers(), [pair("full_name", "Ada"), pair("greeting", "Dear Ada")]);

    let unset = call(&office, &token, "DELETE", PATH, None).await;
    unset.is_a("Changed");
    assert_eq!((unset.status, &unset.json), (200, &json!({"changed": true})));
    assert_eq!(call(&office, &token, "DELETE", PATH, None).await.json, json!({"changed": false}));
    assert_eq!(office.events_of("to-a").await[0].1, "destination.mapping_unset");
    assert_eq!(call(&office, &token, "GET", PATH, None).await.json["source"], "none");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_node_has_set_counts_here_without_a_restart() {
    let office = Office::open().await;
    let own = office.ids("a").await;
    let key = own.iter().find(|(kind, _)| *kind == "delivery").expect("a delivery").1.parse().expect("a key");
    let to = DestinationId::new("to-a").expect("an id");
    let mapping = [("name".to_owned(), Step::Rename("from_elsewhere".to_owned()))].into();
    let route = Route { when: None, mapping };
    // As another node writes it: nothing here is told.
    assert!(office.outbox.set_route(&to, &route, "api:elsewhere").await.expect("it is set"));
    // It is looked for every five seconds.
    let end = Instant::now() + PATIENCE;
    // The destination refuses, so the delivery is given up each time, and shows each time by which mapping it went.
    while office.answers()[0].0 != "from_elsewhere" {
        assert!(Instant::now() < end, "it is not used: {:?}", office.answers());
        let before = office.attempts();
        assert_eq!(office.outbox.replay(key, "test").await.expect("a replay"), Reopened::Due);
        while office.attempts() == before {
            assert!(Instant::now() < end, "nothing was sent");
            sleep(Duration::from_millis(20)).await;
        }
        office.until(DeliveryState::Dead, 2).await;
        sleep(Duration::from_millis(500)).await;
    }
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_mapping_that_does_not_fit_any_more_holds_up_waits_without_attempts_until_one_fits() {
    let mut office = Office::open().await;
    let (token, own) = (office.token("a", Role::Editor).await, office.ids("a").await);
    let key = own.iter().find(|(kind, _)| *kind == "delivery").expect("a delivery").1.parse().expect("a key");
    let set = call(&office, &token, "PUT", PATH, Some(json!({"mapping": {"name": "full_name"}}))).await;
    assert_eq!(set.status, 200, "{}", set.json);
    // The question that the mapping names is another one in the form from the next start on.
    office.write_form("a", "first_name");
    office.restart().await;
    office.keep_failing(false);
    let sent = office.attempts();
    assert_eq!(office.outbox.replay(key, "test").await.expect("a replay"), Reopened::Due);
    let paused = || async {
        let views = office.outbox.destinations().await.expect("a list");
        views.into_iter().find(|view| view.id == "to-a").and_then(|view| view.hold.paused)
    };
    let end = Instant::now() + PATIENCE;
    let told = loop {
        if let Some(paused) = paused().await {
            break paused;
        }
        assert!(Instant::now() < end, "it is not paused");
        sleep(Duration::from_millis(20)).await;
    };
    assert!(told.is_by_itself() && !told.reconnect, "its owner is told: {told:?}");
    assert!(told.reason.as_deref().is_some_and(|reason| reason.contains("does not fit")), "{told:?}");
    office.until(DeliveryState::Parked, 1).await;
    assert_eq!(office.attempts(), sent, "nothing was sent");

    let set = call(&office, &token, "PUT", PATH, Some(json!({"mapping": {"first_name": "given"}}))).await;
    assert_eq!(set.status, 200, "{}", set.json);
    office.until_delivered("a").await;
    assert!(paused().await.is_none());
    let listed = office.outbox.list(&Filter::default(), None, 10).await.expect("a list").items;
    let delivery = listed.iter().flat_map(|item| &item.deliveries).find(|delivery| delivery.key == key);
    assert_eq!(delivery.map(|delivery| delivery.attempt), Some(1), "waiting used none up");
    let events = office.events_of("to-a").await;
    let by_mapping = |action: &str| events.contains(&("mapping".to_owned(), action.to_owned()));
    assert!(by_mapping("destination.paused") && by_mapping("destination.resumed"), "{events:?}");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mapping_that_does_not_fit_is_refused_by_key_and_question_and_changes_nothing() {
    let office = Office::open().await;
    let token = office.token("a", Role::Editor).await;
    let check = format!("{PATH}/check");
    let fits = call(&office, &token, "POST", &check, Some(json!({"mapping": {"name": "full"}}))).await;
    fits.is_a("Checked");
    assert_eq!(fits.json, json!({"fits": true, "flows": ["flow-a"], "faults": []}));
    for (body, at, question, words) in [
        (
            json!({"mapping": {"nmae": "full"}}),
            "mapping.nmae",
            "nmae",
            "which no form that is delivered there has",
        ),
        (json!({"mapping": {"x": {"template": "{{answer:first}}"}}}), "mapping.x", "first", "“first”"),
        (json!({"mapping": {"x": {"join": ["name", "last"]}}}), "mapping.x", "last", "“last”"),
        (json!({"when": {"if": {"answer": "topic"}, "op": "answered"}}), "when", "topic", "when names"),
        (json!({"mapping": {"name": {"constant": "x"}}}), "mapping.name", "name", "“Your name” has already"),
    ] {
        let tried = call(&office, &token, "POST", &check, Some(body.clone())).await;
        assert_eq!((tried.status, &tried.json["fits"]), (200, &json!(false)), "{body}: {}", tried.json);
        let fault = &tried.json["faults"][0];
        assert_eq!((&fault["at"], &fault["question"]), (&json!(at), &json!(question)), "{body}");
        assert!(fault["text"].as_str().is_some_and(|text| text.contains(words)), "{fault}");
        let refused = call(&office, &token, "PUT", PATH, Some(body.clone())).await;
        assert_eq!((refused.status, &refused.json["faults"]), (422, &tried.json["faults"]), "{body}");
        refused.is_a("Problem");
    }
    let twice = json!({"mapping": {"name": "x", "x": {"constant": 1}}});
    let refused = call(&office, &token, "PUT", PATH, Some(twice)).await;
    assert!(
        refused.json["detail"].as_str().is_some_and(|detail| detail.contains("“x” twice")),
        "{}",
        refused.json
    );
    for wrong in [
        json!({"mapping": {"name": 1}}),
        json!({"mapping": {"name": {"drop": false}}}),
        json!({"mapping": {"": "x"}}),
        json!({"mapping": []}),
        json!({"when": {"if": 1}}),
        json!({"maping": {}}),
        json!([]),
    ] {
        for (method, path) in [("PUT", PATH), ("POST", check.as_str())] {
            let refused = call(&office, &token, method, path, Some(wrong.clone())).await;
            assert_eq!(refused.status, 400, "{method} {wrong}");
            refused.is_a("Problem");
        }
    }
    assert_eq!(call(&office, &token, "GET", PATH, None).await.json["source"], "none");
    assert_eq!(office.events_of("to-a").await, []);

    // What the configuration says stays there.
    let path = "destinations/mapped-a/mapping";
    let shown = call(&office, &token, "GET", path, None).await.json;
    assert_eq!((&shown["source"], &shown["read_only"]), (&json!("configuration"), &json!(true)));
    assert_eq!(shown["mapping"], json!({"source": {"constant": "wa"}}));
    for (method, body) in [("PUT", Some(json!({"mapping": {}}))), ("DELETE", None)] {
        let refused = call(&office, &token, method, path, body).await;
        assert_eq!(refused.status, 409);
        assert!(refused.json["detail"].as_str().is_some_and(|detail| detail.contains("configuration file")));
    }
    office.close().await;
}

//! The program as a person uses it: real processes, real sockets, real files.

mod backups;
mod installation;
mod keep;
mod stand_ins;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::{Value, json};

use installation::{Installation, Ran, formgate, run};

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn compile_writes_the_flow_the_report_and_the_form() {
    let folder = tempfile::tempdir().expect("a folder");
    let definition = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/typeform/garden-visit.json");
    let out = folder.path().join("out");
    let ran = run(formgate().args(["compile", definition, "--tool", "typeform", "--out"]).arg(&out));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("Book a garden visit: "), "{}", ran.out);
    assert!(ran.out.contains("dropped     question.plants.rule.3"), "{}", ran.out);
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(out.join(name)).expect(name)).expect("JSON")
    };
    assert_eq!(read("flow.json")["version"], "7.3");
    assert_eq!(read("form.json")["tool"], "typeform");
    assert_eq!(read("fidelity.json")["grade"], "dropped");

    // What it wrote is a flow without a violation, and a form that compiles to the same flow again.
    let valid = run(formgate().arg("validate").arg(out.join("flow.json")));
    assert_eq!(valid.code, 0, "{valid:?}");
    let again = folder.path().join("again");
    let ran = run(formgate()
        .arg("compile")
        .arg(out.join("form.json"))
        .args(["--tool", "form", "--out"])
        .arg(&again));
    assert_eq!(ran.code, 0, "{ran:?}");
    let same = |folder: &std::path::Path| std::fs::read(folder.join("flow.json")).expect("a flow");
    assert_eq!(same(&out), same(&again));
}

#[test]
fn unreadable_input_is_refused_with_what_to_do_and_code_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("form.json");
    for (content, tool, reason) in [
        ("{", "form", "this is not JSON"),
        (r#"{"title":"T","fields":[{"type":"email"}]}"#, "form", "choose --tool typeform"),
        (r#"{"form_response":{}}"#, "typeform", "GET /forms/{form_id}"),
        ("{}", "paperform", "choose --tool form or google-forms or hubspot or surveymonkey or typeform"),
        (
            r#"{"id":"f","title":"F","pages":[{"id":"p","questions":[{"key":"a","type":"single_choice","options":[]}]}]}"#,
            "form",
            "question a: there are no options",
        ),
    ] {
        std::fs::write(&file, content).expect("a file");
        let ran = run(formgate().arg("compile").arg(&file).args(["--tool", tool]));
        assert_eq!(ran.code, 2, "{content}: {ran:?}");
        assert!(ran.err.contains(reason), "{content}: {}", ran.err);
        assert_eq!(ran.out, "");
    }
    let missing = run(formgate().args(["compile", "/nonexistent/form.json"]));
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains("/nonexistent/form.json"), "{}", missing.err);
}

#[test]
fn validate_prints_every_violation_with_its_path_and_code_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("flow.json");
    let flow = json!({"version": "7.3", "routing_model": {"A": ["B"]}, "data_api_version": "4.0",
        "screens": [{"id": "A", "title": "A", "layout": {"type": "SingleColumnLayout", "children": [{"type": "Sparkle"}]}}]});
    std::fs::write(&file, flow.to_string()).expect("a file");
    let ran = run(formgate().arg("validate").arg(&file));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.out.contains("screens[0].layout.children[0]") || ran.out.contains("/screens/0/layout/children/0"),
        "{}",
        ran.out
    );
    assert!(ran.out.lines().last().is_some_and(|line| line.ends_with("to mend")), "{}", ran.out);
}

#[test]
fn every_fault_of_a_configuration_is_told_at_once_with_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("formgate.toml");
    let text = "[server]\nlisten = \"nowhere\"\ncolour = 1\n[[flow]]\nid = \"Contact Us\"\ntool = \"paper\"\nnumber = \"gone\"\n";
    std::fs::write(&file, text).expect("a file");
    let ran = run(formgate().args(["serve", "--config"]).arg(&file));
    assert_eq!(ran.code, 2, "{ran:?}");
    for key in ["server.listen", "server.colour", "tool", "definition"] {
        assert!(ran.err.contains(key), "{key}: {}", ran.err);
    }
}

#[test]
fn a_new_key_is_for_this_user_alone_and_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key.pem");
    let ran = run(formgate().args(["keys", "new"]).arg(&file));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.starts_with("-----BEGIN PUBLIC KEY-----"), "{}", ran.out);
    let mode = std::fs::metadata(&file).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = std::fs::read(&file).expect("a key");
    assert_eq!(run(formgate().args(["keys", "new"]).arg(&file)).code, 2);
    assert_eq!(std::fs::read(&file).expect("a key"), before);
    // A reader that is not ours takes both halves for one pair.
    let public = Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&file).output();
    if let Ok(public) = public {
        assert_eq!(String::from_utf8_lossy(&public.stdout).trim(), ran.out.trim());
    }
}

#[test]
fn the_demo_walks_delivers_and_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = || {
        let mut command = formgate();
        command.args(["demo", "--once", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path().join("demo"));
        run(&mut command)
    };
    let ran = demo();
    assert_eq!(ran.code, 0, "{ran:?}");
    for shown in [
        "Book a kitchen visit",
        "THANK YOU, ADA LOVELACE",
        "[ Send ]",
        "signature verified",
        "Ada Lovelace, what would you like us to look at?",
    ] {
        assert!(ran.out.contains(shown), "{shown}\n{}", ran.out);
    }
    assert!(!ran.out.contains("{{") && !ran.out.contains("fault"), "{}", ran.out);
    // Each tool was connected in a browser, its form read and walked, and the submission is there.
    for (connected, tool, stored) in [
        ("HubSpot is connected: Hub ID 25505644", "hubspot, “Ask for a quote”", "submission: [{"),
        ("Google is connected: ada@example.org", "google-forms, “Pottery class”", "response: [{"),
        ("Typeform is connected: ada@example.org", "typeform, “Visit the studio”", "webhook: [{"),
        ("SurveyMonkey is connected: ada@example.org", "surveymonkey, “After the course”", "response: [{"),
    ] {
        assert!(ran.out.contains(connected), "{connected}\n{}", ran.out);
        let (_, after) = ran.out.split_once(tool).unwrap_or_else(|| panic!("{tool}\n{}", ran.out));
        let line = after.lines().find(|line| line.contains(stored)).unwrap_or_default();
        assert!(line.contains("Ada"), "{tool}: {line}");
    }
    for also in ["contact: {\"email\":\"ada@example.org\"", "row: [\"20"] {
        assert!(ran.out.contains(also), "{also}\n{}", ran.out);
    }
    // A second run stands on what the first one left.
    assert_eq!(demo().code, 0);
}

#[tokio::test]
async fn a_server_is_ready_answers_commands_and_drains_on_sigterm() {
    let installation = Installation::new("any", true);
    let mut server = installation.serve().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(installation.get(server.public, path).await.0, 200, "{path}");
        assert_eq!(installation.get(server.admin, path).await.0, 200, "{path}");
    }
    assert_eq!(
        installation.get(server.public, "/metrics").await.0,
        404,
        "figures are for the admin listener"
    );
    let (status, document) = installation.get(server.admin, "/api/v1/flows/visit/flow.json").await;
    assert_eq!(
        (status, serde_json::from_str::<Value>(&document).expect("JSON")["version"].as_str()),
        (200, Some("7.3"))
    );

    let play = installation.play(&server, &["--answers", "answers.json"]);
    assert_eq!(play.code, 0, "{play:?}");
    assert!(play.out.contains("completed"), "{}", play.out);
    installation.sink.deliveries(1).await;

    // The destination has it a moment before the outbox has recorded that.
    let delivered = |ran: &Ran| words(&ran.out).windows(3).any(|w| w == ["crm", "delivered", "(attempt"]);
    let list = installation.until(&["submissions", "list"], delivered).await;
    assert_eq!(list.code, 0, "{list:?}");
    let id = words(&list.out)[0].to_owned();
    let show = installation.command(&["submissions", "show", &id]);
    assert!(show.out.contains("\"Ada\"") && show.out.contains("attempt 1 at"), "{}", show.out);
    let export = installation.command(&["submissions", "export"]);
    let exported: Vec<Value> =
        export.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(exported.len(), 1);
    assert_eq!(exported[0]["id"], id.as_str());
    let unknown = installation.command(&["submissions", "show", "00000000-0000-8000-8000-000000000000"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("there is no submission"), "{}", unknown.err);

    // It is counted a moment after it was recorded.
    let counted = r#"formgate_deliveries_total{destination="crm",outcome="delivered"} 1"#;
    let metrics = installation.metrics(&server, counted).await;
    assert!(metrics.contains(r#"formgate_deliveries{destination="crm",state="delivered"} 1"#), "{metrics}");

    // The folder is taken: a second server says so instead of doing harm.
    let second = installation.command(&["serve"]);
    assert_eq!(second.code, 1, "{second:?}");
    assert!(second.err.contains("another process is using the data folder"), "{}", second.err);

    let socket = installation.folder.path().join("data/control.sock");
    assert_eq!(std::fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777, 0o600);
    let stopped = server.terminate().await;
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert!(
        !stopped.err.contains("Ada") && !stopped.err.contains("BEGIN"),
        "no answer and no key is logged: {}",
        stopped.err
    );
    assert!(!socket.exists());

    // The same command, now on the store itself.
    let list = installation.command(&["submissions", "list"]);
    assert!(list.out.starts_with(&id), "{list:?}");
}

#[tokio::test]
async fn what_was_given_up_is_delivered_after_a_replay() {
    let installation = Installation::new("any", true);
    let server = installation.serve().await;
    installation.sink.refuse(true);
    assert_eq!(
        installation.play(&server, &["--answers", "answers.json"]).code,
        0,
        "the person is not kept waiting"
    );
    let dead = installation.until(&["submissions", "list", "--dead"], |ran| ran.out.contains("dead")).await;
    let id = words(&dead.out)[0].to_owned();
    let shown = installation.command(&["submissions", "show", &id]);
    assert!(shown.out.contains("given up: "), "{}", shown.out);
    let first = installation.sink.deliveries(1).await.remove(0);
    let raised = installation.sink.alert("1 deliveries to crm were given up").await;
    assert!(raised[0].contains("formgate submissions replay") && !raised[0].contains("Ada"), "{raised:?}");
    installation.sink.refuse(false);
    let replay = installation.command(&["submissions", "replay", &id]);
    assert!(replay.out.contains("1 of 1 deliveries are due now"), "{replay:?}");
    installation.until(&["submissions", "list"], |ran| ran.out.contains("delivered")).await;
    let second = installation.sink.deliveries(2).await.remove(1);
    assert_eq!(first, second, "the same idempotency key");
    let recovered = installation.sink.alert("Recovered: dead_letters crm").await;
    assert_eq!(recovered.len(), 2, "one alert when it begins and one when it is over: {recovered:?}");
}

#[tokio::test]
async fn a_replay_after_a_mapping_was_mended_sends_what_the_new_mapping_says_under_the_same_key() {
    let installation = Installation::new("any", true);
    let configure = |old: &str, new: &str| {
        let path = installation.folder.path().join("formgate.toml");
        let text = std::fs::read_to_string(&path).expect("the configuration");
        assert!(text.contains(old), "{old}");
        std::fs::write(path, text.replace(old, new)).expect("the configuration");
    };
    let (wrong, right) = ("mapping = { name = \"first_nam\" }", "mapping = { name = \"first_name\" }");
    configure("kind = \"webhook\"", &format!("kind = \"webhook\"\nshape = \"flat\"\n{wrong}"));
    let mut server = installation.serve().await;
    installation.sink.refuse(true);
    assert_eq!(installation.play(&server, &["--answers", "answers.json"]).code, 0);
    installation.until(&["submissions", "list", "--dead"], |ran| ran.out.contains("dead")).await;
    assert_eq!(server.terminate().await.code, 0);

    configure(wrong, right);
    installation.sink.refuse(false);
    let _server = installation.serve().await;
    let replay = installation.command(&["submissions", "replay", "--all-dead"]);
    assert!(replay.out.contains("1 of 1 dead deliveries are due now"), "{replay:?}");
    let keys = installation.sink.deliveries(2).await;
    assert_eq!(keys[0], keys[1], "it is the same submission");
    let bodies = installation.sink.bodies();
    assert_eq!((&bodies[0]["first_nam"], &bodies[0]["first_name"]), (&json!("Ada"), &Value::Null));
    assert_eq!((&bodies[1]["first_nam"], &bodies[1]["first_name"]), (&Value::Null, &json!("Ada")));
    let none = installation.command(&["submissions", "replay", "--cancel"]);
    assert_eq!((none.code, none.out.trim()), (0, "no replay is under way"), "{none:?}");
    assert_eq!(installation.command(&["submissions", "replay", "--cancel", "--all-dead"]).code, 2);
}

#[tokio::test]
async fn a_destination_is_paused_looked_at_and_resumed_and_its_dead_are_replayed_running_or_not() {
    let installation = Installation::new("any", true);
    let mut server = installation.serve().await;
    let list = installation.command(&["destinations", "list"]);
    assert!(list.out.starts_with("crm  active"), "{list:?}");
    let pause = installation.command(&["destinations", "pause", "crm"]);
    assert_eq!((pause.code, pause.out.starts_with("crm is paused: ")), (0, true), "{pause:?}");
    let again = installation.command(&["destinations", "pause", "crm"]);
    assert!(again.out.contains("paused already"), "{again:?}");
    let unknown = installation.command(&["destinations", "pause", "crn"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("there is no destination “crn”"), "{}", unknown.err);

    assert_eq!(installation.play(&server, &["--answers", "answers.json"]).code, 0, "it goes on taking them");
    let list = installation.command(&["submissions", "list"]);
    assert!(list.out.contains("crm parked"), "{list:?}");
    let (_, metrics) = installation.get(server.admin, "/metrics").await;
    for line in [
        r#"formgate_deliveries{destination="crm",state="parked"} 1"#,
        r#"formgate_deliveries{destination="crm",state="due"} 0"#,
        r#"formgate_destination_held{destination="crm",reason="paused"} 1"#,
        "formgate_oldest_due_seconds 0.0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert_eq!(server.terminate().await.code, 0);
    // Without a server the same commands work on the store itself.
    let list = installation.command(&["destinations", "list"]);
    assert!(list.out.contains("crm  paused by cli at ") && list.out.contains("parked 1"), "{list:?}");
    let resume = installation.command(&["destinations", "resume", "crm"]);
    assert!(resume.out.contains("crm is sent to again") && resume.err.contains("not running"), "{resume:?}");

    installation.sink.refuse(true);
    let mut server = installation.serve().await;
    installation.until(&["submissions", "list", "--dead"], |ran| ran.out.contains("dead")).await;
    let first = installation.sink.deliveries(1).await.remove(0);
    installation.sink.refuse(false);
    let none = installation.command(&["submissions", "replay", "--all-dead", "--flow", "other"]);
    assert!(none.out.contains("0 of 1 dead deliveries are due now"), "{none:?}");
    let later = ["submissions", "replay", "--all-dead", "--since", "2999-01-01T00:00:00Z"];
    assert!(installation.command(&later).out.contains("0 of 1 "));
    let new = ["submissions", "replay", "--all-dead", "--destination", "crm", "--flow", "visit", "--as-new"];
    let replay = installation.command(&new);
    assert_eq!((replay.code, replay.out.trim()), (0, "1 of 1 dead deliveries are due now"), "{replay:?}");
    let second = installation.sink.deliveries(2).await.remove(1);
    assert_ne!(first, second, "another idempotency key");
    assert_eq!(server.terminate().await.code, 0);
    let offline = installation.command(&["submissions", "replay", "--all-dead"]);
    assert_eq!((offline.code, offline.out.trim()), (0, "0 of 0 dead deliveries are due now"), "{offline:?}");
    let neither = installation.command(&["submissions", "replay"]);
    assert_eq!(neither.code, 2);
}

#[tokio::test]
async fn a_kept_key_is_rotated_while_the_server_runs() {
    let installation = Installation::new("any", false);
    let server = installation.serve().await;
    let old = installation.command(&["keys", "list"]);
    let pem = |ran: &Ran| -> String {
        ran.out.lines().skip_while(|line| !line.starts_with("-----BEGIN")).collect::<Vec<_>>().join("\n")
    };
    let rotated = installation.command(&["keys", "rotate", "shop"]);
    assert_eq!(rotated.code, 0, "{rotated:?}");
    assert!(rotated.err.contains("Register the public key with Meta"), "{}", rotated.err);
    assert_ne!(pem(&rotated), pem(&old));
    // Phones with the new key and phones with the old one.
    for (name, key) in [("new.pem", pem(&rotated)), ("old.pem", pem(&old))] {
        std::fs::write(installation.folder.path().join(name), key + "\n").expect("a file");
        let play = installation.play(&server, &["--answers", "answers.json", "--public-key", name]);
        assert_eq!(play.code, 0, "{name}: {play:?}");
    }
    let unknown = installation.command(&["keys", "rotate", "nobody"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("there is no number “nobody”"), "{}", unknown.err);
}

#[tokio::test]
async fn a_sealed_token_opens_its_flow_and_brings_contact_and_campaign() {
    let installation = Installation::new("sealed", true);
    let server = installation.serve().await;
    let refused = installation.play(&server, &["--answers", "answers.json", "--token", "unused"]);
    assert_eq!(refused.code, 1);
    assert!(refused.out.contains("the flow says: "), "{}", refused.out);
    let token = installation.command(&[
        "token",
        "visit",
        "--contact",
        "+390669821234",
        "--campaign",
        "spring",
        "--hidden",
        "utm=poster",
    ]);
    assert_eq!(token.code, 0, "{token:?}");
    let play = installation.play(&server, &["--answers", "answers.json", "--token", token.out.trim()]);
    assert_eq!(play.code, 0, "{play:?}");
    let export = installation.command(&["submissions", "export"]);
    let told: Value = serde_json::from_str(export.out.trim()).expect("one submission");
    assert_eq!(told["contact"]["phone"], "+390669821234");
    assert_eq!(told["source"]["campaign"], "spring");
    assert_eq!(told["hidden"]["utm"], "poster");
    let unknown = installation.command(&["token", "visits"]);
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("the configuration has: visit"), "{}", unknown.err);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    use std::process::Stdio;
    let definition = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/form/everything.json");
    let mut child = formgate()
        .args(["compile", definition])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
}

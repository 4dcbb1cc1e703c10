//! The script that the owner of a Google form pastes, run by Node as it is printed, behind the sandbox's web app.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use formgate::client::{AddressPolicy, Client};
use formgate::connector::google_forms::WebApp;
use formgate::connector::google_forms::script::Items;
use formgate::outbox::{Destination as _, Grade, Outcome, Submission, SubmissionId, Verdict};
use formgate::sandbox::apps_script::{AppsScript, Mood};
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

use super::{EVERY_KIND, answer, deliver, every_kind, held, id, refused, submission, walks};

const SECRET: &str = "correct-horse-battery-staple";

struct Running {
    app: AppsScript,
    destination: WebApp,
    folder: TempDir,
    /// What the next runs have in their environment.
    die: Arc<Mutex<bool>>,
    _stop: watch::Sender<bool>,
}

fn run(folder: &Path, body: &[u8], die: bool) -> String {
    let stand_in =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/google-forms/apps-script.js");
    let file = |name: &str| folder.join(name);
    let mut command = Command::new("node");
    command.arg(stand_in).args([file("script.js"), file("state.json"), file("form.json")]);
    if die {
        command.env("DIE", "submit");
    }
    let mut node =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node, which tests/run installs");
    node.stdin.take().expect("its input").write_all(body).expect("it reads");
    let output = node.wait_with_output().expect("it ends");
    String::from_utf8(output.stdout).expect("text")
}

async fn start() -> Running {
    let folder = tempfile::tempdir().expect("a folder");
    let items = || Items::read(EVERY_KIND.as_bytes()).expect("a definition");
    let script = items().script(&SecretString::from(SECRET));
    std::fs::write(folder.path().join("script.js"), script).expect("a file");
    std::fs::write(folder.path().join("form.json"), EVERY_KIND).expect("a file");
    let (place, die) = (folder.path().to_owned(), Arc::new(Mutex::new(false)));
    let dies = Arc::clone(&die);
    let app = AppsScript::new(Arc::new(move |body| {
        let die = std::mem::take(&mut *dies.lock().expect("a flag"));
        run(&place, body, die)
    }));
    let (stop, stopped) = watch::channel(false);
    let address = app.serve(stopped).await.expect("a port");
    let destination = WebApp {
        id: id(),
        url: format!("http://{address}/macros/s/deployment/exec").parse().expect("a URL"),
        secret: SecretString::from(SECRET),
        items: BTreeMap::from([("contact".to_owned(), items())]),
        policy: AddressPolicy::AllowPrivateNetwork,
        client: Client::new(),
    };
    Running { app, destination, folder, die, _stop: stop }
}

impl Running {
    fn state(&self) -> Value {
        let file = self.folder.path().join("state.json");
        std::fs::read_to_string(file).map_or(Value::Null, |text| serde_json::from_str(&text).expect("JSON"))
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut state = self.state();
        change(&mut state);
        std::fs::write(self.folder.path().join("state.json"), state.to_string()).expect("a file");
    }

    fn responses(&self) -> Vec<Value> {
        let responses = self.state()["responses"].as_array().cloned().unwrap_or_default();
        responses.into_iter().map(|response| response["items"].clone()).collect()
    }

    async fn deliver(&self, submission: &Submission) -> Outcome {
        deliver(&self.destination, submission, false).await
    }
}

/// The least that the form takes.
fn least() -> Submission {
    submission(vec![
        answer("0b000001", "short_text", json!("Ada")),
        answer("0b000003", "single_choice", json!("Red")),
        answer("2000000c", "matrix", json!({"0b00000c": ["Good"]})),
    ])
}

/// What Google's own form would hold of an answer.
fn native(key: &str, value: &Value) -> Value {
    let text = || value.as_str().expect("a text").to_owned();
    let row = |row: &str| value.get(row).and_then(|chosen| chosen.get(0)).cloned().unwrap_or(Value::Null);
    let rows =
        |row: &str| value.get(row).filter(|chosen| *chosen != &json!([])).cloned().unwrap_or(Value::Null);
    match key {
        "0b000006" | "0b000007" => value.to_string().into(),
        "0b000009" => text().replace('T', " ").into(),
        "2000000c" => json!([row("0b00000c"), row("0b00000d")]),
        "2000000d" => json!([rows("0b00000e"), rows("0b00000f")]),
        _ => value.clone(),
    }
}

#[tokio::test]
async fn every_walk_is_a_response_as_the_form_itself_would_hold_it() {
    let running = start().await;
    assert_eq!(running.destination.grade(), Grade::A);
    let submissions = walks(&every_kind(), 12).await;
    assert!(submissions.len() >= 6, "{} came through", submissions.len());
    let mut seen = std::collections::BTreeSet::new();
    for submission in &submissions {
        assert_eq!(running.deliver(submission).await, Outcome::delivered(Some(200)), "{:?}", running.state());
        let stored = running.responses().pop().expect("a response");
        let expected = submission.answers.iter().map(|answer| {
            seen.insert(answer.key.clone());
            // The item of a question has the number of the question, a grid its own.
            let item = format!("2{}", &answer.key[1..]).replace("2b", "20");
            let item = u64::from_str_radix(&item, 16).expect("hexadecimal");
            (item.to_string(), native(&answer.key, &answer.value))
        });
        assert_eq!(stored, Value::Object(expected.collect()));
    }
    assert_eq!(running.responses().len(), submissions.len());
    assert_eq!(seen.len(), 13, "between them the walks answer everything: {seen:?}");
}

#[tokio::test]
async fn a_submission_is_taken_once_however_often_it_comes() {
    let running = start().await;
    assert_eq!(running.deliver(&least()).await, Outcome::delivered(Some(200)));
    // The script ran and remembered, and its answer was lost.
    let mut second = least();
    second.id = SubmissionId::new(Uuid::new_v8([8; 16]));
    running.app.behave(Mood::Lost);
    assert_eq!(running.deliver(&second).await, Outcome::retry("status", Some(502), None));
    running.app.behave(Mood::Deployed);
    for submission in [&least(), &second] {
        let again = running.deliver(submission).await;
        assert_eq!((again.verdict, again.class), (Verdict::Delivered, "found"));
    }
    assert_eq!((running.responses().len(), running.app.runs()), (2, 4));
}

#[tokio::test]
async fn a_run_that_was_cut_off_after_submitting_is_found_by_its_answers() {
    let running = start().await;
    // The same answers by somebody else, before: they are not this submission.
    assert_eq!(running.deliver(&least()).await.verdict, Verdict::Delivered);
    running.change(|state| state["responses"][0]["at"] = json!(1));
    let mut second = least();
    second.id = SubmissionId::new(Uuid::new_v8([8; 16]));
    *running.die.lock().expect("a flag") = true;
    assert!(matches!(running.deliver(&second).await.verdict, Verdict::Retry { .. }));
    assert_eq!(running.responses().len(), 2);
    let again = running.deliver(&second).await;
    assert_eq!((again.verdict, again.class), (Verdict::Delivered, "found"));
    assert_eq!(running.responses().len(), 2);
}

#[tokio::test]
async fn nothing_but_the_script_s_own_word_is_success() {
    let running = start().await;
    for (mood, class) in [(Mood::SignIn, "reconnect"), (Mood::Astray, "redirect"), (Mood::Archived, "gone")] {
        running.app.behave(mood);
        assert_eq!(held(&running.deliver(&least()).await).0, class);
    }
    for mood in [Mood::Broken, Mood::Intercepted] {
        running.app.behave(mood);
        let outcome = running.deliver(&least()).await;
        assert_eq!(outcome, Outcome::retry("answer", Some(200), None));
    }
    running.app.behave(Mood::Deployed);
    running.change(|state| state["accepting"] = json!(false));
    let mut second = least();
    second.id = SubmissionId::new(Uuid::new_v8([8; 16]));
    assert_eq!(held(&running.deliver(&second).await).0, "closed");
    running.change(|state| state["locked"] = json!(true));
    assert_eq!(running.deliver(&second).await, Outcome::retry("busy", Some(200), None));
}

#[tokio::test]
async fn a_stranger_gets_nothing_in_and_the_script_does_not_hold_the_secret() {
    let mut running = start().await;
    running.destination.secret = SecretString::from("another-secret-of-24-chars");
    let outcome = running.deliver(&least()).await;
    assert!(held(&outcome).1.contains("formgate apps-script"), "{outcome:?}");
    assert!(running.responses().is_empty());
    let script = std::fs::read_to_string(running.folder.path().join("script.js")).expect("a file");
    assert!(!script.contains(SECRET) && script.contains("\"1everyKindExampleFormId\""));
    for body in ["", "null", "[]", r#"{"secret": 7}"#, r#"{"secret": ["x"], "submission": "y"}"#] {
        let said: Value =
            serde_json::from_str(&run(running.folder.path(), body.as_bytes(), false)).expect("JSON");
        assert_eq!(said["ok"], false, "{body}");
    }
}

#[tokio::test]
async fn an_answer_that_the_form_does_not_take_is_named_and_not_told() {
    let running = start().await;
    let with = |key: &str, kind: &str, value: Value| {
        let mut submission = least();
        submission.answers.retain(|answer| answer.key != key);
        submission.answers.push(answer(key, kind, value));
        submission
    };
    for (submission, words) in [
        (with("0b000005", "single_choice", json!("Canary")), "“City”"),
        (with("0b000006", "scale", json!(11)), "“How easy?”"),
        (with("0b000008", "date", json!("canary")), "“Day”"),
        (with("0b000004", "multiple_choice", json!("Canary")), "“Days”"),
        (with("2000000c", "matrix", json!({"0b00000c": ["Canary"]})), "“Rate”"),
        (with("2000000c", "matrix", json!({"0b0000ff": ["Good"]})), "“Rate”"),
        (with("0b0000aa", "short_text", json!("canary")), "0b0000aa"),
    ] {
        let outcome = running.deliver(&submission).await;
        let (class, reason) = refused(&outcome);
        assert!(class == "mapping" && reason.contains(words), "{class}: {reason}");
        assert!(!reason.to_lowercase().contains("canary"), "{reason}");
    }
    assert!(running.responses().is_empty());
}

#[test]
fn a_form_that_no_script_can_fill_in_says_so_at_once() {
    let definition = |change: fn(&mut Value)| {
        let mut definition: Value = serde_json::from_str(EVERY_KIND).expect("JSON");
        change(&mut definition);
        definition.to_string()
    };
    let fit = |definition: String| {
        let form = formgate::connector::connector("google-forms").expect("a reader");
        let form = form.read(definition.as_bytes()).expect("a form").form;
        Items::read(definition.as_bytes()).expect("a definition").fit(&form)
    };
    assert_eq!(fit(EVERY_KIND.to_owned()), Ok(()));
    let email = definition(|form| form["settings"] = json!({"emailCollectionType": "RESPONDER_INPUT"}));
    assert!(fit(email).is_err_and(|reason| reason.contains("e-mail addresses")));
    let file = definition(|form| {
        form["items"][0]["questionItem"]["question"] = json!({"questionId": "0b000001", "required": true, "fileUploadQuestion": {"folderId": "f", "maxFiles": 1}});
    });
    assert!(fit(file).is_err_and(|reason| reason.contains("“Name” requires a file")));
}

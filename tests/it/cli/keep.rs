//! What an operator and a data-protection officer ask of the program: the audit trail, erasure, backups, a new master key.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use formgate::crypto::{MasterKey, MasterKeys, Purpose, Sealer, Vault};
use formgate::outbox::{Form, Outbox, Submission, SubmissionId, SystemClock};
use formgate::store::{Options, Store};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::installation::{Installation, PATIENCE, formgate, run};

const PHONE: &str = "+390669821234";

/// The text of every file below a folder, where it is.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            // A socket has no bytes.
            false => found.extend(std::fs::read(&path).ok().map(|bytes| (path, bytes))),
        }
    }
    found
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

fn sql(installation: &Installation, sql: &str) -> usize {
    let file = installation.folder.path().join("data/store.sqlite3");
    let file = rusqlite::Connection::open(file).expect("the file");
    file.execute(sql, []).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

#[tokio::test]
async fn the_audit_trail_is_listed_and_verified_and_a_changed_file_is_found_out() {
    let installation = Installation::new("any", false);
    let mut server = installation.serve().await;
    assert_eq!(installation.play(&server, &["--answers", "answers.json"]).code, 0);
    assert_eq!(installation.command(&["keys", "rotate", "shop"]).code, 0);
    let listed = installation.command(&["audit", "list"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    for action in [
        "start  key.made  shop ",
        "start  flow.published  visit 1",
        "endpoint  submission.accepted",
        "cli  key.made",
    ] {
        assert!(listed.out.contains(action), "{action}: {}", listed.out);
    }
    assert!(!listed.out.contains("Ada"), "{}", listed.out);
    let verified = installation.command(&["audit", "verify"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    assert!(verified.out.contains("4 entries are as they were written"), "{}", verified.out);
    server.terminate().await;

    let changed = sql(
        &installation,
        "UPDATE record SET value = CAST(replace(CAST(value AS TEXT), '\"cli\"', '\"bob\"') AS BLOB) WHERE tbl = 4 AND CAST(value AS TEXT) LIKE '%\"cli\"%'",
    );
    assert_eq!(changed, 1);
    let found = installation.command(&["audit", "verify"]);
    assert_eq!(found.code, 1, "{found:?}");
    assert!(found.err.contains("entry 4 was changed or moved"), "{}", found.err);
    assert!(found.err.contains("bob key.made"), "{}", found.err);
    let checked = installation.command(&["store", "check"]);
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(checked.out.contains("fail  audit trail: entry 4"), "{}", checked.out);
}

#[tokio::test]
async fn a_person_is_exported_and_erased_on_the_running_server_and_leaves_no_trace() {
    let installation = Installation::new("any", true);
    let mut server = installation.serve().await;
    let token = installation.command(&["token", "visit", "--contact", PHONE]).out.trim().to_owned();
    let mut delivered = 0;
    for token in [token.as_str(), "unused"] {
        let played = installation.play(&server, &["--answers", "answers.json", "--token", token]);
        assert_eq!(played.code, 0, "{played:?}");
        delivered += 1;
        installation.sink.deliveries(delivered).await;
    }
    let listed = |ran: &super::Ran| ran.out.matches("crm delivered").count() == 2;
    installation.until(&["submissions", "list"], listed).await;

    let exported = installation.command(&["submissions", "export", "--phone", PHONE]);
    let person: Value = serde_json::from_str(exported.out.trim()).expect("one submission");
    assert_eq!(person["contact"]["phone"], PHONE);
    let id = person["id"].as_str().expect("an id").to_owned();
    let by_token = installation.command(&["submissions", "export", "--token", &token]);
    assert_eq!(by_token.out, exported.out);
    for (arguments, reason) in [
        (vec!["erase", "--token", "unused"], "not of a person"),
        (vec!["erase", "--phone", "Ada"], "country code"),
        (vec!["erase"], "--phone"),
        (vec!["erase", "--phone", PHONE, "--email", "a@b"], "cannot be used with"),
        (vec!["export", "--flow", "visit", "--phone", PHONE], "not both"),
    ] {
        let refused = installation.command(&[vec!["submissions"], arguments].concat());
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.err.contains(reason), "{reason}: {}", refused.err);
    }

    let erased = installation.command(&["submissions", "erase", "--phone", PHONE]);
    assert_eq!(erased.code, 0, "{erased:?}");
    assert!(erased.out.contains("1 submissions were erased"), "{}", erased.out);
    assert!(erased.out.contains("crm had got 1 of them"), "{}", erased.out);
    assert_eq!(installation.command(&["submissions", "export", "--phone", PHONE]).out, "");
    assert_eq!(installation.command(&["submissions", "show", &id]).code, 1);
    assert_eq!(
        installation.command(&["submissions", "export"]).out.lines().count(),
        1,
        "the other one stays"
    );
    let audit = installation.command(&["audit", "list"]).out;
    assert!(audit.contains("cli  person.erased  phone ") && !audit.contains("0669821234"), "{audit}");
    assert_eq!(installation.command(&["audit", "verify"]).code, 0);
    let stopped = server.terminate().await;
    assert!(!stopped.err.contains("0669821234"), "{}", stopped.err);
    for (path, bytes) in files(&installation.folder.path().join("data")) {
        assert!(!contains(&bytes, b"0669821234"), "{}", path.display());
        assert!(!contains(&bytes, token.as_bytes()), "{}", path.display());
    }
}

#[tokio::test]
async fn a_backup_of_the_running_server_is_sealed_and_restored_to_an_empty_folder_only() {
    let installation = Installation::new("any", false);
    let mut server = installation.serve().await;
    assert_eq!(installation.play(&server, &["--answers", "answers.json"]).code, 0);
    installation.until(&["submissions", "list"], |ran| ran.out.contains("crm delivered")).await;
    let before =
        (installation.command(&["submissions", "export"]).out, installation.command(&["keys", "list"]).out);
    let checked = installation.command(&["store", "check"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    assert_eq!(checked.out.matches("ok  ").count(), 3, "{}", checked.out);

    let made = installation.command(&["store", "backup", "backups"]);
    assert_eq!(made.code, 0, "{made:?}");
    let file = PathBuf::from(made.out.trim());
    let bytes = std::fs::read(&file).expect("a backup");
    for readable in [&b"SQLite format"[..], b"CREATE TABLE", b"submission.accepted", b"visit"] {
        assert!(!contains(&bytes, readable), "{}", String::from_utf8_lossy(readable));
    }
    assert_eq!(files(&installation.folder.path().join("backups")).len(), 1, "nothing else is left");
    assert!(!installation.folder.path().join("data/store.backup").exists());
    // What a process left that died while it wrote one is cleared away by the next.
    let path = |name: &str| installation.folder.path().join(name);
    std::fs::write(path("data/store.backup"), "half a copy").expect("a file");
    std::fs::write(path("backups/2026.formgate-backup.half"), "half a backup").expect("a file");
    assert_eq!(installation.command(&["store", "backup", "backups"]).code, 0);
    assert_eq!(files(&path("backups")).len(), 2);
    // What comes later is not in it.
    assert_eq!(installation.play(&server, &["--answers", "answers.json"]).code, 0);
    server.terminate().await;

    let restore = || installation.command(&["store", "restore", "backups"]);
    let refused = restore();
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("is not empty"), "{}", refused.err);
    std::fs::rename(path("data"), path("data-before")).expect("moved away");
    std::fs::rename(path("master.key"), path("right.key")).expect("moved away");
    let refused = restore();
    assert!(refused.err.contains("there is no master key at"), "{refused:?}");
    assert!(!path("master.key").exists(), "none is made: it would open nothing");
    std::fs::write(path("master.key"), MasterKey::generate().to_text().expose_secret()).expect("a key");
    let refused = restore();
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("it was sealed under another master key"), "{}", refused.err);
    std::fs::rename(path("right.key"), path("master.key")).expect("moved back");
    let damaged: Vec<u8> =
        bytes.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == bytes.len() / 2)).collect();
    std::fs::write(path("damaged"), damaged).expect("a file");
    let refused = installation.command(&["store", "restore", "damaged"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(files(&path("data")).is_empty(), "a failed restore leaves the folder as it was");

    let restored = restore();
    assert_eq!(restored.code, 0, "{restored:?}");
    let after =
        (installation.command(&["submissions", "export"]).out, installation.command(&["keys", "list"]).out);
    assert_eq!(before, after, "the first submission and the kept keys, and nothing else");
    assert_eq!(installation.command(&["store", "check"]).code, 0);
    let server = installation.serve().await;
    assert_eq!(installation.play(&server, &["--answers", "answers.json"]).code, 0);
    assert_eq!(installation.command(&["submissions", "export"]).out.lines().count(), 2);
}

/// An outbox as the program builds it, over the installation's own files.
fn outbox(installation: &Installation, master: &str) -> (Store, Outbox, Sealer) {
    let keys = MasterKeys::parse(&master.to_owned().into()).expect("keys");
    let sealer = Sealer::new(&keys);
    let store = Store::open_embedded(&Options::new(installation.folder.path().join("data")))
        .expect("the store opens");
    let vault = Vault::new(sealer.clone(), Purpose::StoredBody);
    let outbox = Outbox::new(store.clone(), Arc::new(vault), Arc::new(SystemClock::new()));
    (store, outbox, sealer)
}

fn submission(number: u128) -> Submission {
    let text = String::from;
    Submission {
        id: SubmissionId::new(uuid::Uuid::from_u128(number)),
        flow_id: text("visit"),
        flow_version: 1,
        form: Form { tool: text("form"), id: text("visit"), title: text("A visit") },
        flow_token: format!("token-{number}"),
        contact: None,
        started_at_ms: 1_795_521_600_000,
        completed_at_ms: 1_795_521_600_000,
        locale: text("en"),
        source: Default::default(),
        hidden: Default::default(),
        variables: Default::default(),
        test: false,
        linked_to: None,
        replaces: None,
        replaced_by: None,
        walk: None,
        ending: None,
        answers: vec![],
    }
}

#[tokio::test]
async fn a_new_master_key_replaces_the_old_one_also_when_the_change_was_killed_half_way() {
    const COUNT: usize = 3_000;
    let installation = Installation::new("any", false);
    let mut server = installation.serve().await;
    server.terminate().await;
    let master = installation.folder.path().join("master.key");
    let old = std::fs::read_to_string(&master).expect("a key").trim().to_owned();
    let keys_before = installation.command(&["keys", "list"]).out;
    let (store, outbox, old_sealer) = outbox(&installation, &old);
    let mut accepting = tokio::task::JoinSet::new();
    for number in 1..=COUNT {
        let outbox = outbox.clone();
        let mut envelope = [0; 32];
        envelope[..8].copy_from_slice(&number.to_be_bytes());
        accepting.spawn(async move {
            // More at once than the store queues is refused, and asked again.
            while outbox.accept(&submission(number as u128), &[], &envelope, vec![]).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    accepting.join_all().await;
    store.close().await.expect("a clean close");
    drop((store, outbox));

    // Sealed bytes begin with the id of their key: one that differs, so that this test can count.
    let id = |sealer: &Sealer| sealer.seal_bytes(Purpose::StoredBody, b"", b"", None)[0];
    let new_key = |old_id| loop {
        let key = MasterKey::generate();
        let new_id = id(&Sealer::new(&MasterKeys::new(key.clone(), vec![])));
        if new_id != old_id {
            break (key.to_text().expose_secret().to_owned(), new_id);
        }
    };
    let file = installation.folder.path().join("data/store.sqlite3");
    let resealed = |new_id: u8| -> usize {
        let file = rusqlite::Connection::open(&file).expect("the file");
        let sql = "SELECT count(*) FROM record WHERE tbl = 1 AND substr(value, 1, 1) = ?1";
        let count: i64 = file.query_row(sql, [[new_id]], |row| row.get(0)).expect("a count");
        usize::try_from(count).expect("a count")
    };
    let until = Instant::now() + PATIENCE;
    let (mut old, mut old_id) = (old, id(&old_sealer));
    let (new, new_id) = loop {
        let (new, new_id) = new_key(old_id);
        std::fs::write(&master, format!("{new}\n{old}\n")).expect("two keys");
        let mut rewrapping = formgate()
            .current_dir(installation.folder.path())
            .args(["keys", "rewrap"])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        while resealed(new_id) == 0 && rewrapping.try_wait().expect("a status").is_none() {}
        rewrapping.kill().expect("killed");
        rewrapping.wait().expect("dead");
        if (1..COUNT).contains(&resealed(new_id)) {
            break (new, new_id);
        }
        // It was quicker than this test: all is under the new key, or will be, and it has to hurry with another one.
        assert!(Instant::now() < until, "it was never killed half way");
        assert_eq!(installation.command(&["keys", "rewrap"]).code, 0);
        (old, old_id) = (new, new_id);
    };

    let ended = installation.command(&["keys", "rewrap"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(resealed(new_id), COUNT);
    let again = installation.command(&["keys", "rewrap"]);
    assert!(again.out.starts_with("0 records were sealed again"), "{again:?}");

    std::fs::write(&master, format!("{new}\n")).expect("the new key alone");
    assert_eq!(installation.command(&["submissions", "export"]).out.lines().count(), COUNT);
    assert_eq!(installation.command(&["keys", "list"]).out, keys_before);
    let found = installation.command(&["submissions", "export", "--token", "token-7"]);
    assert_eq!(found.out.lines().count(), 1, "the index has a key of its own: {found:?}");
    assert_eq!(installation.command(&["audit", "verify"]).code, 1, "the test itself wrote without the chain");
    std::fs::write(&master, format!("{old}\n")).expect("the old key alone");
    let refused = installation.command(&["submissions", "export"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("sealed under another master key"), "{}", refused.err);
    let help = run(formgate().args(["keys", "rewrap", "--help"]));
    assert_eq!(help.code, 0);
}

//! Backups that the running program makes by itself.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::installation::{Installation, formgate, run};

const PATIENCE: Duration = Duration::from_secs(60);

fn write(installation: &Installation, more: &str) {
    let file = installation.folder.path().join("formgate.toml");
    let text = std::fs::read_to_string(&file).expect("a file");
    let text = text.split("[backup]").next().expect("a beginning").to_owned();
    std::fs::write(&file, format!("{text}{more}")).expect("a file");
}

/// The backups there are, the oldest first.
fn copies(installation: &Installation) -> Vec<String> {
    let Ok(folder) = std::fs::read_dir(installation.folder.path().join("copies")) else { return vec![] };
    let names = folder.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".formgate-backup")).collect();
    names.sort_unstable();
    names
}

async fn until(installation: &Installation, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let copies = copies(installation);
        if wanted(&copies) {
            return copies;
        }
        assert!(Instant::now() < until, "{copies:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn backups_are_made_when_they_are_due_pruned_and_restored_and_a_restart_makes_none_too_early() {
    let installation = Installation::new("any", true);
    write(&installation, "[backup]\ndirectory = \"copies\"\nkeep = 2\n");
    let mut server = installation.serve().await;
    let [first] = until(&installation, |copies| copies.len() == 1).await.try_into().expect("one at once");
    let path = |name: &str| -> PathBuf { installation.folder.path().join("copies").join(name) };
    let until_counted = Instant::now() + PATIENCE;
    loop {
        let (_, metrics) = installation.get(server.admin, "/metrics").await;
        let line = metrics.lines().find(|line| line.starts_with("formgate_last_backup_timestamp_seconds "));
        if line.expect("a metric").ends_with(" 0") {
            assert!(Instant::now() < until_counted, "{line:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        } else {
            break;
        }
    }
    assert_eq!(installation.play(&server, &["--answers", "answers.json"]).code, 0);
    server.terminate().await;

    // The newest is young enough.
    let mut server = installation.serve().await;
    assert_eq!(installation.command(&["submissions", "list"]).code, 0);
    assert_eq!(copies(&installation), std::slice::from_ref(&first));
    server.terminate().await;

    // All are old, and there are too many.
    std::fs::rename(path(&first), path("20200101T000000003Z.formgate-backup")).expect("renamed");
    for older in ["20200101T000000001Z", "20200101T000000002Z"] {
        std::fs::write(path(&format!("{older}.formgate-backup")), "old").expect("a file");
    }
    let mut server = installation.serve().await;
    let left = until(&installation, |copies| copies.len() == 2).await;
    assert_eq!(left[0], "20200101T000000003Z.formgate-backup", "the oldest went: {left:?}");
    assert!(left[1] > first, "{left:?}");
    let exported = installation.command(&["submissions", "export"]).out;
    server.terminate().await;
    std::fs::rename(installation.folder.path().join("data"), path("before")).expect("moved away");
    let restored = installation.command(&["store", "restore", "copies"]);
    assert_eq!(restored.code, 0, "{restored:?}");
    let found = installation.command(&["submissions", "export"]).out;
    assert_eq!((found.lines().count(), &found), (1, &exported));
}

#[tokio::test]
async fn a_backup_of_a_time_to_come_keeps_none_from_being_made_and_is_restored_by_its_path_alone() {
    const LATER: &str = "20990101T000000000Z.formgate-backup";
    const OWN: &str = "keep.formgate-backup";
    let installation = Installation::new("any", true);
    write(&installation, "[backup]\ndirectory = \"copies\"\nkeep = 1\n");
    let path = |name: &str| -> PathBuf { installation.folder.path().join(name) };
    let copy = |name: &str| path("copies").join(name);
    std::fs::create_dir(path("copies")).expect("a folder");
    for name in [LATER, OWN] {
        std::fs::write(copy(name), "no backup").expect("a file");
    }
    let mut server = installation.serve().await;
    let made = |copies: &[String]| copies.len() == 2 && copies[0].as_str() < LATER && copies[1] == OWN;
    let made = until(&installation, made).await.remove(0);
    let log = server.terminate().await.err;
    assert_eq!(log.matches("a time that has not come").count(), 1, "{log}");

    std::fs::write(copy(LATER), "no backup").expect("a file");
    std::fs::rename(path("data"), path("before")).expect("moved away");
    let restored = installation.command(&["store", "restore", "copies"]);
    assert_eq!(restored.code, 0, "{restored:?}");
    assert!(restored.out.contains(&made) && restored.err.contains(LATER), "{restored:?}");

    std::fs::remove_dir_all(path("data")).expect("removed");
    std::fs::rename(copy(&made), copy(LATER)).expect("renamed");
    let refused = installation.command(&["store", "restore", "copies"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("still to come") && refused.err.contains(LATER), "{refused:?}");
    std::fs::rename(copy(LATER), copy(OWN)).expect("renamed");
    let refused = installation.command(&["store", "restore", "copies"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("there is no backup in"), "{refused:?}");
    let restored = installation.command(&["store", "restore", &format!("copies/{OWN}")]);
    assert_eq!(restored.code, 0, "{restored:?}");
}

#[tokio::test]
async fn a_backup_that_fails_is_an_alert_and_the_next_that_works_its_end() {
    let installation = Installation::new("any", true);
    // A file where the folder should be.
    std::fs::write(installation.folder.path().join("copies"), "in the way").expect("a file");
    write(&installation, "[backup]\ndirectory = \"copies\"\n");
    let mut server = installation.serve().await;
    let told = installation.sink.alert("The last backup failed").await;
    assert!(told[0].contains("formgate store backup") && told[0].contains("data_dir"), "{told:?}");
    server.terminate().await;
    std::fs::remove_file(installation.folder.path().join("copies")).expect("removed");
    let _server = installation.serve().await;
    until(&installation, |copies| copies.len() == 1).await;
}

#[tokio::test]
async fn a_copy_that_a_killed_backup_left_unsealed_is_gone_as_soon_as_the_store_is_opened() {
    let installation = Installation::new("any", true);
    installation.serve().await.terminate().await;
    let left =
        ["data/store.backup", "data/store.backup-journal"].map(|name| installation.folder.path().join(name));
    let leave = || left.iter().for_each(|file| std::fs::write(file, "half a copy").expect("a file"));
    leave();
    assert_eq!(installation.command(&["submissions", "list"]).code, 0);
    assert!(!left.iter().any(|file| file.exists()), "by a command");
    leave();
    let _server = installation.serve().await;
    assert!(!left.iter().any(|file| file.exists()), "by the server");
}

#[tokio::test]
async fn a_backup_that_would_take_the_last_room_is_refused_and_one_that_fails_says_why() {
    let installation = Installation::new("any", true);
    installation.serve().await.terminate().await;
    write(&installation, "[backup]\n[alerts]\ndisk_free_mib = 1073741824\n");
    let refused = installation.command(&["store", "backup", "copies"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains(": data: ") && refused.err.contains("MiB are free"), "{refused:?}");

    write(&installation, "");
    let data = installation.folder.path().join("data");
    let file = rusqlite::Connection::open(data.join("store.sqlite3")).expect("the file");
    file.execute_batch("CREATE TABLE filler (x BLOB); INSERT INTO filler VALUES (zeroblob(8000000))")
        .expect("a large file");
    drop(file);
    // A file that may grow no larger is as good as a disk that is full.
    let limited = "trap '' XFSZ; ulimit -f 4096; exec \"$0\" store backup copies";
    let mut sh = Command::new("/bin/sh");
    sh.args(["-c", limited])
        .arg(formgate().get_program())
        .env_clear()
        .current_dir(installation.folder.path());
    let failed = run(&mut sh);
    assert_eq!(failed.code, 1, "{failed:?}");
    let why = "data/store.backup: the store could not be read: disk I/O error";
    assert!(failed.err.contains(why), "{failed:?}");
    assert!(copies(&installation).is_empty() && !data.join("store.backup").exists());
}

//! Files of answers: fetched, verified in every step, kept sealed, handed on by links, and gone with their submission.

mod home;
mod journey;
mod later;
mod memory;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use formgate::client::{AddressPolicy, Client, Resolve, Resolved, StatusCode};
use formgate::outbox::{By, Clock as _, LinkError, Person, Refusal};
use formgate::player::media::Encrypted;
use formgate::sandbox::Tamper;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use self::home::{Attempts, Home, PATIENCE, Setup, flipped, limits, pdf};

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_file_is_fetched_verified_kept_sealed_and_handed_out_by_a_link() {
    let home = Home::new().await;
    let running = home.start();
    let content = pdf(300_000);
    let id = running
        .accept(&[home.upload("Contratto è.pdf", &content)], &limits(&["application/pdf"], 25_600))
        .await;
    let told = running.settled(id).await;
    let [file] = told.as_slice() else { panic!("{told:?}") };
    let expected = json!({"name": "Contratto è.pdf", "mime_type": "application/pdf", "size_bytes": 300_000,
        "sha256": hex(&Sha256::digest(&content)), "expires_at": "2026-12-01T12:00:00.000Z"});
    for (member, value) in expected.as_object().expect("members") {
        assert_eq!(&file[member], value, "{member}");
    }
    assert_eq!(file.as_object().map(|members| members.len()), Some(6), "and the link, nothing else: {file}");
    assert_eq!(running.content(file).await, content);

    let [kept] = home.on_disk().try_into().expect("one file, and nothing beside it");
    let sealed = std::fs::read(&kept).expect("a file");
    assert!(
        !sealed
            .windows(16)
            .any(|part| content.windows(16).next() == Some(part) || part == &content[100..116])
    );
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(kept.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
    assert_eq!(kept.parent().expect("a folder").metadata().expect("it").permissions().mode() & 0o777, 0o700);
    running.stop().await;
}

#[tokio::test]
async fn the_reference_s_own_vector_is_opened() {
    // WhatsApp Flows reference, 10.
    let home = Home::new().await;
    home.media.put(
        "v",
        STANDARD.decode("Y1GNWJ8bejWa6fvVh6oqu/fGblQgij5SyVUbMrs4AXrgsbkptMeFeh38").expect("base64"),
    );
    let upload = json!({"media_id": "1", "cdn_url": format!("{}v", home.servers), "file_name": "a.txt",
        "encryption_metadata": {
            "encryption_key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            "hmac_key": "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=",
            "iv": "QEFCQ0RFRkdISUpLTE1OTw==",
            "encrypted_hash": "vOzylgkoGzrMnu1GayJNHV30gr/kP+zRYATBApFe3GQ=",
            "plaintext_hash": "FrBvSuTdHz6ojFDQGc0Le7IbTnLcyqK0yM2o2kEua58="}});
    let running = home.start();
    let id = running.accept(&[upload], &limits(&[], 25_600)).await;
    let told = running.settled(id).await;
    assert_eq!(told[0]["mime_type"], "text/plain", "{told:?}");
    assert_eq!(running.content(&told[0]).await, b"hello flows media");
    running.stop().await;
}

/// A media object whose metadata tells lies that go with each other, as only its sender can.
fn lying(home: &Home, change: impl FnOnce(&mut Encrypted)) -> Value {
    let mut encrypted = Encrypted::of(&pdf(100));
    change(&mut encrypted);
    home.put("a.pdf", &encrypted)
}

#[tokio::test]
async fn every_way_of_tampering_is_refused_under_its_name_and_leaves_nothing_behind() {
    let home = Home::new().await;
    let running = home.start();
    let honest_hash = |encrypted: &mut Encrypted| {
        encrypted.metadata["encrypted_hash"] = json!(STANDARD.encode(Sha256::digest(&encrypted.file)));
    };
    let pdfs = limits(&["application/pdf"], 1);
    let metadata = |name: &'static str| {
        move |encrypted: &mut Encrypted| {
            encrypted.metadata = flipped(&encrypted.metadata, name);
        }
    };
    let cases: Vec<(&str, Value)> = vec![
        ("encrypted_hash", lying(&home, |encrypted| encrypted.file[5] ^= 1)),
        ("encrypted_hash", lying(&home, metadata("encrypted_hash"))),
        (
            "hmac",
            lying(&home, |encrypted| {
                encrypted.file[5] ^= 1;
                honest_hash(encrypted);
            }),
        ),
        (
            "hmac",
            lying(&home, |encrypted| {
                let last = encrypted.file.len() - 1;
                encrypted.file[last] ^= 1;
                honest_hash(encrypted);
            }),
        ),
        ("hmac", lying(&home, metadata("iv"))),
        ("hmac", lying(&home, metadata("hmac_key"))),
        (
            "length",
            lying(&home, |encrypted| {
                encrypted.file.truncate(20);
                honest_hash(encrypted);
            }),
        ),
        ("plaintext_hash", lying(&home, metadata("plaintext_hash"))),
        ("metadata", lying(&home, |encrypted| encrypted.metadata["iv"] = json!("AAAA"))),
        ("too_large", home.upload("a.pdf", &pdf(1_025))),
        ("too_large", home.upload("a.pdf", &pdf(200_000))),
        ("type_not_allowed", home.upload("a.pdf", b"MZ\x90\0 a program that calls itself a document")),
        ("type_not_allowed", home.upload("a.pdf", b"\x89PNG\r\n\x1a\n and a picture")),
        ("type_not_allowed", home.upload("a.pdf", b"")),
    ];
    for (name, upload) in cases {
        let id = running.accept(&[upload, home.upload("b.pdf", &pdf(50))], &pdfs).await;
        let told = running.settled(id).await;
        assert_eq!(told[0]["refused"], name, "{told:?}");
        assert!(told[0]["reason"].as_str().is_some_and(|reason| reason.len() > 10), "{told:?}");
        assert!(told[0].get("url").is_none(), "{told:?}");
        // One bad file is no reason to lose another.
        assert_eq!(running.content(&told[1]).await, pdf(50), "{name}");
    }
    // A wrong key gives rubbish, which has the right padding once in 256 times.
    let id = running.accept(&[lying(&home, metadata("encryption_key"))], &pdfs).await;
    let told = running.settled(id).await;
    assert!(
        ["padding", "plaintext_hash"].contains(&told[0]["refused"].as_str().unwrap_or_default()),
        "{told:?}"
    );

    for (tamper, name) in [
        (Tamper::FlipBit, "encrypted_hash"),
        (Tamper::CutOff, "encrypted_hash"),
        (Tamper::Redirect, "redirected"),
        (Tamper::Huge, "too_large"),
    ] {
        home.media.tamper(tamper);
        let id = running.accept(&[home.upload("a.pdf", &pdf(900))], &pdfs).await;
        let told = running.settled(id).await;
        assert_eq!(told[0]["refused"], name, "{tamper:?}: {told:?}");
    }
    let kept = home.on_disk().into_iter().filter(|path| !path.ends_with("1")).collect::<Vec<_>>();
    assert_eq!(kept, Vec::<std::path::PathBuf>::new(), "only the good ones are there");
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_called_but_the_allowed_hosts_over_https() {
    let home = Home::new().await;
    // As configured by default.
    let strict = || Setup {
        hosts: vec!["whatsapp.net".to_owned()],
        policy: AddressPolicy::PublicHttps,
        ..Setup::default()
    };
    let running = home.start_with(strict());
    for address in [
        home.servers.clone() + "x",
        "https://127.0.0.1/x".to_owned(),
        "https://169.254.169.254/latest".to_owned(),
        "https://evil-whatsapp.net/x".to_owned(),
        "https://whatsapp.net.evil.example/x".to_owned(),
        "http://mmg.whatsapp.net/x".to_owned(),
        "https://mmg.whatsapp.net:8443/x".to_owned(),
        "https://whatsapp.net@evil.example/x".to_owned(),
        "https://user@mmg.whatsapp.net/x".to_owned(),
        "file:///etc/passwd".to_owned(),
        "mmg.whatsapp.net/x".to_owned(),
    ] {
        let mut upload = home.upload("a.pdf", &pdf(50));
        upload["cdn_url"] = json!(address);
        let id = running.accept(&[upload], &limits(&[], 1)).await;
        assert_eq!(running.settled(id).await[0]["refused"], "host_not_allowed", "{address}");
    }
    assert_eq!(home.media.fetched(), Vec::<String>::new());
    running.stop().await;

    // An allowed name that leads inside: not at once, since a name's address may be mended.
    struct Inside;
    impl Resolve for Inside {
        fn resolve<'a>(&'a self, _host: &'a str) -> Resolved<'a> {
            Box::pin(async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) })
        }
    }
    let client = Client::new().with_resolver(Arc::new(Inside));
    let running = home.start_with(Setup { client, ..strict() });
    let mut upload = home.upload("a.pdf", &pdf(50));
    upload["cdn_url"] = json!("https://mmg.whatsapp.net/x");
    let id = running.accept(&[upload], &limits(&[], 1)).await;
    let until = Instant::now() + PATIENCE;
    while running.told(id).await[0].get("pending").is_some() {
        assert!(Instant::now() < until);
        home.clock.advance(Duration::from_secs(60));
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(running.told(id).await[0]["refused"], "address_not_allowed");
    running.stop().await;
}

#[tokio::test]
async fn a_body_without_an_announced_length_is_cut_at_the_cap() {
    let home = Home::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a caller");
        let _head = stream.read(&mut [0; 4096]);
        let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let piece = [b"10000\r\n".as_slice(), &[0; 65_536], b"\r\n"].concat();
        let mut sent: u64 = 0;
        while sent < 1 << 30 && stream.write_all(&piece).is_ok() {
            sent += 65_536;
        }
        sent
    });
    let running = home.start();
    let mut upload = home.upload("a.pdf", &pdf(50));
    upload["cdn_url"] = json!(format!("http://{address}/x"));
    let id = running.accept(&[upload], &limits(&[], 1_024)).await;
    assert_eq!(running.settled(id).await[0]["refused"], "too_large");
    let sent = tokio::task::spawn_blocking(move || serving.join()).await.expect("it ends").expect("no panic");
    assert!(sent < 16 << 20, "{sent} bytes of a gibibyte were taken");
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_drips_or_fails_is_asked_again_and_the_file_is_there_when_it_recovers() {
    let home = Home::new().await;
    let running = home.start_with(Setup { deadline: Duration::from_millis(300), ..Setup::default() });
    home.media.tamper(Tamper::Drip(Duration::from_millis(50)));
    let upload = home.upload("a.pdf", &pdf(900));
    let id = running.accept(std::slice::from_ref(&upload), &limits(&[], 1)).await;
    let mut attempts = Attempts::of(&home, &running, &upload);
    for (tamper, times) in [(None, 2), (Some(Tamper::Status(StatusCode::SERVICE_UNAVAILABLE)), 6)] {
        tamper.into_iter().for_each(|tamper| home.media.tamper(tamper));
        while home.media.fetched().len() < times {
            attempts.go_on(i64::MAX).await;
        }
    }
    assert_eq!(running.told(id).await[0]["pending"], true);
    home.media.tamper(Tamper::Not);
    // The first answer that comes in time, which may not be the first one on a busy machine.
    while running.told(id).await[0].get("pending").is_some() {
        attempts.go_on(i64::MAX).await;
    }
    assert!(home.media.fetched().len() >= 7);
    let told = running.settled(id).await;
    assert_eq!(running.content(&told[0]).await, pdf(900));
    running.stop().await;
}

#[tokio::test]
async fn what_meta_has_no_more_is_given_up_soon_and_what_cannot_be_reached_after_twenty_days() {
    let home = Home::new().await;
    let running = home.start();
    // What is told of the file then.
    let pass = async |days: f64, id, upload: &Value| {
        let end_ms = home.clock.now_ms() + (DAY.as_millis() as f64 * days) as i64;
        let mut attempts = Attempts::of(&home, &running, upload);
        while running.told(id).await[0].get("pending").is_some() && !attempts.go_on(end_ms).await {}
        running.told(id).await[0]["refused"].clone()
    };
    home.media.tamper(Tamper::Status(StatusCode::GONE));
    let upload = home.upload("a.pdf", &pdf(50));
    let id = running.accept(std::slice::from_ref(&upload), &limits(&[], 1)).await;
    assert_eq!(pass(0.1, id, &upload).await, "gone");
    home.media.tamper(Tamper::Status(StatusCode::BAD_GATEWAY));
    let upload = home.upload("a.pdf", &pdf(50));
    let id = running.accept(std::slice::from_ref(&upload), &limits(&[], 1)).await;
    assert_eq!(pass(19.0, id, &upload).await, Value::Null);
    assert_eq!(pass(2.0, id, &upload).await, "unavailable");
    running.stop().await;
}

#[tokio::test]
async fn a_job_survives_the_process_and_a_file_missing_on_the_disk_is_fetched_again() {
    let home = Home::new().await;
    home.media.tamper(Tamper::Status(StatusCode::BAD_GATEWAY));
    let running = home.start();
    let id = running.accept(&[home.upload("a.pdf", &pdf(70_000))], &limits(&[], 100)).await;
    running.stop().await;

    home.media.tamper(Tamper::Not);
    let running = home.start();
    // Whoever had taken the job may be at work for so long.
    home.clock.advance(Duration::from_secs(700));
    let told = running.settled(id).await;
    assert_eq!(running.content(&told[0]).await, pdf(70_000));
    let asked = home.media.fetched().len();

    // Another node's file, or a restored backup: the record is there, the file is not.
    for damage in [true, false] {
        let [kept] = home.on_disk().try_into().expect("one file");
        if damage {
            let mut sealed = std::fs::read(&kept).expect("a file");
            sealed[10] ^= 1;
            std::fs::write(&kept, sealed).expect("a file");
        } else {
            std::fs::remove_file(&kept).expect("a file");
        }
        assert_eq!(running.content(&told[0]).await, pdf(70_000));
    }
    assert_eq!(home.media.fetched().len(), asked + 2);
    // What is there now is not what was kept: nobody gets it.
    let [kept] = home.on_disk().try_into().expect("one file");
    std::fs::remove_file(&kept).expect("a file");
    home.media.tamper(Tamper::FlipBit);
    let token = told[0]["url"].as_str().expect("a link").rsplit('/').next().expect("a token");
    assert_eq!(running.outbox.download(token).await.err(), Some(LinkError::Unknown));
    running.stop().await;
}

#[tokio::test]
async fn a_link_ends_in_time_opens_its_own_file_only_and_cannot_be_made_up() {
    let home = Home::new().await;
    let running = home.start();
    let uploads = [home.upload("a.pdf", &pdf(50)), home.upload("b.pdf", &pdf(60))];
    let id = running.accept(&uploads, &limits(&[], 1)).await;
    let told = running.settled(id).await;
    assert_ne!(told[0]["url"], told[1]["url"]);
    assert_eq!(running.content(&told[1]).await, pdf(60));
    // The same at every attempt of a delivery.
    assert_eq!(running.told(id).await, told);
    let token = told[0]["url"].as_str().expect("a link").rsplit('/').next().expect("a token").to_owned();
    let changed = |at: usize| {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(changed).expect("text")
    };
    for forged in
        [changed(0), changed(20), changed(token.len() - 2), String::new(), "x".repeat(5_000), "..%2f".into()]
    {
        assert_eq!(running.outbox.download(&forged).await.err(), Some(LinkError::Unknown), "{forged}");
    }
    home.clock.advance(7 * DAY - Duration::from_secs(1));
    assert!(running.outbox.download(&token).await.is_ok());
    home.clock.advance(Duration::from_secs(10));
    assert_eq!(running.outbox.download(&token).await.err(), Some(LinkError::Expired));
    running.stop().await;
}

#[tokio::test]
async fn erasing_takes_the_files_the_record_and_the_job_with_it() {
    let home = Home::new().await;
    let running = home.start();
    let id = running.accept(&[home.upload("a.pdf", &pdf(50))], &limits(&[], 1)).await;
    let told = running.settled(id).await;
    home.media.tamper(Tamper::Status(StatusCode::BAD_GATEWAY));
    let pending = running.accept(&[home.upload("a.pdf", &pdf(50))], &limits(&[], 1)).await;
    let token = told[0]["url"].as_str().expect("a link").rsplit('/').next().expect("a token");
    let retention = running.outbox.retention(&[("contact".to_owned(), 1)]).await.expect("a store");
    running.outbox.sweep(&retention).await.expect("a store");
    home.leaves(1).await;
    home.clock.advance(2 * DAY);
    assert_eq!(running.outbox.sweep(&retention).await.expect("a store").erased, 2);
    // Also where a file was just being asked for.
    home.leaves(0).await;
    assert_eq!(running.outbox.download(token).await.err(), Some(LinkError::Unknown));
    for id in [id, pending] {
        assert!(running.outbox.submission(id).await.expect("a store").is_none());
    }
    use formgate::store::{Scan, Table};
    for table in [Table::File, Table::Job, Table::Trace] {
        let left = running.store.scan(table, Scan { limit: 10, ..Scan::default() }).await.expect("a store");
        assert!(left.is_empty(), "{table:?}: {}", left.len());
    }
    // A folder that a process left behind which died while it erased.
    let orphan = home.folder.path().join("files").join(id.to_string());
    std::fs::create_dir_all(&orphan).expect("a folder");
    std::fs::write(orphan.join("0"), b"sealed").expect("a file");
    running.outbox.sweep(&retention).await.expect("a store");
    assert!(!orphan.exists());
    let nobody = Person::new(By::Token, "nobody").expect("a token");
    assert!(running.outbox.of_person(&nobody).await.expect("a store").is_empty());
    running.stop().await;
}

#[tokio::test]
async fn keys_and_addresses_of_files_are_told_to_nobody_and_stand_readable_nowhere() {
    let home = Home::new().await;
    let running = home.start();
    let upload = home.upload("a.pdf", &pdf(50));
    let id = running.accept(std::slice::from_ref(&upload), &limits(&[], 1)).await;
    let before = format!("{:?}", running.told(id).await);
    let after = format!("{:?}", running.settled(id).await);
    let exported = {
        let mut export = running.outbox.export(None);
        let submission = export.next().await.expect("a store").expect("a submission");
        serde_json::to_string(&submission).expect("JSON")
    };
    let shown = running.outbox.show(id).await.expect("a store").expect("a submission");
    let shown = serde_json::to_string(&shown.submission).expect("JSON");
    running.stop().await;
    let mut secrets: Vec<String> =
        vec![home.servers.clone(), upload["media_id"].as_str().expect("an id").to_owned()];
    let metadata = upload["encryption_metadata"].as_object().expect("members");
    secrets.extend(metadata.values().map(|value| value.as_str().expect("base64").to_owned()));
    for secret in &secrets {
        for text in [&before, &after, &exported, &shown] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        for entry in home.folder.path().read_dir().expect("a folder") {
            let path = entry.expect("an entry").path();
            let bytes = if path.is_file() { std::fs::read(&path).expect("a file") } else { continue };
            let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} in {}", path.display());
        }
    }
}

#[tokio::test]
async fn a_submission_of_an_older_release_has_its_files_hidden_too() {
    let home = Home::new().await;
    let running = home.start();
    let mut upload = home.upload("a.pdf", &pdf(50));
    upload.as_object_mut().expect("members").shift_remove("limits");
    let id = running.accept(&[upload], &limits(&[], 1)).await;
    assert_eq!(running.settled(id).await[0]["mime_type"], "application/pdf");
    running.stop().await;
}

#[test]
fn refusals_have_names_that_stay() {
    let names: Vec<String> = [
        Refusal::HostNotAllowed,
        Refusal::AddressNotAllowed,
        Refusal::Redirected,
        Refusal::TooLarge,
        Refusal::Metadata,
        Refusal::EncryptedHash,
        Refusal::Length,
        Refusal::Hmac,
        Refusal::Padding,
        Refusal::PlaintextHash,
        Refusal::TypeNotAllowed,
        Refusal::Gone,
        Refusal::Unavailable,
    ]
    .map(Refusal::name)
    .to_vec();
    let expected = "host_not_allowed address_not_allowed redirected too_large metadata encrypted_hash length hmac padding \
                    plaintext_hash type_not_allowed gone unavailable";
    assert_eq!(names.join(" "), expected);
}

//! An authorization server that is not ours completes a connection, renews it, and takes it back.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use formgate::app::App;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use url::Url;

use super::fixture::{Browser, free_port, load};
use super::id;

/// Ends the process with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Where `tests/run` puts what npm installs.
fn modules() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target"));
    target.join("tools/node_modules")
}

/// Signs in and agrees on the server's own pages; the callback.
async fn agree(browser: &mut Browser, mut at: Url, callback: &str) -> Url {
    for _ in 0..20 {
        if at.path() == callback {
            return at;
        }
        let answer = browser.get(&at).await;
        if answer.status.is_redirection() {
            at = browser.at.clone().expect("an address");
            continue;
        }
        let page = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200, "{page}");
        let form: &[(&str, &str)] = if page.contains("value=\"login\"") {
            &[("prompt", "login"), ("login", "ada"), ("password", "any")]
        } else {
            &[("prompt", "consent")]
        };
        browser.post(&at, form).await;
        at = browser.at.clone().unwrap_or_else(|| panic!("no way on: {page}"));
    }
    panic!("it goes round in circles at {at}");
}

#[tokio::test]
async fn an_authorization_server_of_somebody_else_completes_a_connection() {
    let modules = modules();
    if !modules.join("oidc-provider").exists() {
        println!(
            "skipped: there is no oidc-provider in {}; tests/run installs it with npm",
            modules.display()
        );
        return;
    }
    let (port, theirs) = (free_port(), free_port());
    let callback = "/connect/google-forms/callback";
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/oauth/server.mjs");
    let redirect = format!("http://127.0.0.1:{port}{callback}");
    let child = Command::new("node")
        .arg(script)
        .arg(&modules)
        .args([theirs.to_string(), redirect])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _server = Server(child.expect("node runs"));
    let until = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(("127.0.0.1", theirs)).is_err() {
        assert!(Instant::now() < until, "the server does not start");
        sleep(Duration::from_millis(50)).await;
    }

    let folder = tempfile::tempdir().expect("a folder");
    let root = format!("http://127.0.0.1:{theirs}");
    let text = format!(
        r#"
[server]
listen = "127.0.0.1:{port}"
admin_listen = "127.0.0.1:0"
data_dir = "data"
master_key = "file:master.key"
public_url = "http://127.0.0.1:{port}"
[[tool]]
id = "google-forms"
client_id = "google-forms-client"
client_secret = "google-forms-secret"
authorize_url = "{root}/auth"
token_url = "{root}/token"
revoke_url = "{root}/token/revocation"
account_url = "{root}/me"
api_url = "{root}"
allow_private_network = true
"#
    );
    let app = App::start(&load(folder.path(), &text)).await.unwrap_or_else(|error| panic!("{error}"));
    let (public, connections) = (app.public, app.connections.clone());
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(app.run(stopped));

    let token = connections.begin("google-forms", None, None, "test").await.expect("a link");
    let mut link: Url = format!("http://{public}/connect/google-forms").parse().expect("a URL");
    link.query_pairs_mut().append_pair("start", secrecy::ExposeSecret::expose_secret(&token));
    let mut browser = Browser::default();
    let at = browser.leave(&link).await;
    let back = agree(&mut browser, at, callback).await;
    assert!(back.query_pairs().any(|(name, _)| name == "iss"), "it says who it is (RFC 9207)");
    browser.get(&back).await;
    let page = browser.pages.last().expect("a page");
    assert!(page.contains("Google is connected") && page.contains("ada@example.org"), "{page}");

    let account = id("google-forms");
    let first = connections.token(&account).await.expect("a token").token;
    // Twice its life: renewed by a rotated refresh token, and that one's successor.
    sleep(Duration::from_millis(4_500)).await;
    let later = connections.token(&account).await.unwrap_or_else(|error| panic!("{error}")).token;
    let same = secrecy::ExposeSecret::expose_secret(&first) == secrecy::ExposeSecret::expose_secret(&later);
    assert!(!same, "it was renewed");
    assert_eq!(connections.check(&account).await.expect("it works").id, "ada");
    assert!(connections.remove(&account, "test").await.expect("it is removed"), "it is told");
    stop.send_replace(true);
    running.await.expect("it ends").unwrap_or_else(|error| panic!("{error}"));
}

//! kill -9 at random moments of a renewal loses no connection.
//!
//! The server ends an old refresh token when one of the tokens that came in its place is used. Whoever used a new token
//! before it is on disk would be left with a dead one; whoever commits first never is. (A server that ends the old one
//! before its answer has arrived can lose any client: see the README.)

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use formgate::sandbox::oauth::{Behaviour, Rotation};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;

use super::fixture::{Browser, configuration, free_port, load, sandbox};

const PROGRAM: &str = env!("CARGO_BIN_EXE_formgate");
const KILLS: u32 = 100;
/// The time that all of it may take.
const BUDGET: Duration = Duration::from_secs(400);

fn command(folder: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.current_dir(folder).args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn serve(folder: &std::path::Path) -> Child {
    command(folder, &["serve"]).stdout(Stdio::null()).spawn().expect("formgate runs")
}

/// What a command prints; `None` if it fails, as while nobody listens yet.
fn told(folder: &std::path::Path, arguments: &[&str]) -> Option<String> {
    let output = command(folder, arguments).output().expect("formgate runs");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_in_the_middle_of_renewals_lose_no_connection() {
    let began = Instant::now();
    let seed: u64 =
        std::env::var("FORMGATE_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random);
    let mut random = SmallRng::seed_from_u64(seed);
    println!("seed {seed}");
    let folder = tempfile::tempdir().expect("a folder");
    let (_stop, stopped) = watch::channel(false);
    let port = free_port();
    let (tools, _dial, address) = sandbox(port, stopped).await;
    // Told in whole seconds this is none, so a renewal follows the other.
    let life = Some(Duration::from_millis(900));
    let behaviour = Behaviour { access_life: life, rotation: Some(Rotation::AtUse), expires_at: false };
    tools.authority.behave("typeform", behaviour);
    load(folder.path(), &configuration(port, address));

    let mut child = serve(folder.path());
    // First the server: a command that comes before it would take the data folder itself, and keep it out.
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < BUDGET, "it does not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let link = loop {
        if let Some(link) = told(folder.path(), &["connect", "typeform"]) {
            break link.trim().parse().expect("a URL");
        }
        assert!(began.elapsed() < BUDGET, "it does not answer");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let mut browser = Browser::default();
    let page = browser.walk(&link, &[("answer", "allow")], &[]).await;
    assert!(page.contains("Typeform is connected"), "{page}");

    let renewals = || {
        let asked = tools.authority.requests();
        asked.iter().filter(|asked| asked.as_str() == "POST /typeform/oauth/token").count()
    };
    let (mut kills, mut hit) = (0, 0);
    while kills < KILLS && began.elapsed() < BUDGET {
        let before = renewals();
        let spread = Duration::from_micros(random.random_range(0..120_000));
        tokio::time::sleep(spread).await;
        if random.random_bool(0.5) {
            // The program starts in a moment, but not on a busy machine.
            let until = Instant::now() + Duration::from_secs(20);
            while renewals() == before && Instant::now() < until {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            tokio::time::sleep(Duration::from_micros(random.random_range(0..4_000))).await;
        }
        child.kill().expect("it is killed");
        child.wait().expect("it is gone");
        hit += usize::from(renewals() > before);
        kills += 1;
        child = serve(folder.path());
    }
    let until = Instant::now() + Duration::from_secs(60);
    let checked = loop {
        let checked = told(folder.path(), &["connections", "check", "typeform"]);
        if checked.is_some() || Instant::now() > until {
            break checked;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let listed = told(folder.path(), &["connections", "list"]).unwrap_or_default();
    child.kill().expect("it is killed");
    child.wait().expect("it is gone");
    println!("{kills} kills, {hit} rounds with a renewal, {} renewals, {:?}", renewals(), began.elapsed());
    assert!(checked.is_some_and(|line| line.starts_with("ok")), "seed {seed}: {listed}");
    assert!(listed.contains("active"), "seed {seed}: {listed}");
    assert!(kills == KILLS, "only {kills} kills in {BUDGET:?}");
    assert!(hit >= 20, "too few renewals were under way: {hit}");
}

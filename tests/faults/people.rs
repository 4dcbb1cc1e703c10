//! People with phones: each fills the form in, is cut off by a kill, waits, and taps again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use formgate::crypto::PrivateKey;
use formgate::player::document::Document;
use formgate::player::judge::Fault;
use formgate::player::strategy::{Strategy as _, Truthful};
use formgate::player::{Error, Options, Outcome, Player, Step};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ledger::{self, Ledger};
use super::line::Line;
use super::process::{Gate, SECRET};

/// What people may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signal {
    /// The endpoint is down: begin nothing.
    Hold,
    Walk,
    /// Everybody up to so many walks in all.
    Until(u64),
    /// End what was begun, and begin nothing more.
    Finish,
}

/// Everybody.
pub struct People {
    signal: watch::Sender<Signal>,
    walking: JoinSet<()>,
}

impl People {
    /// So many, on the flow of these nodes; each request goes to any of them.
    pub fn start(count: u64, gates: &[&Gate], ledger: &Arc<Ledger>, rng: &mut SmallRng) -> People {
        Self::with_copies(count, gates, ledger, rng, 1)
    }

    /// The same; the network sends every request up to `copies` times at once.
    pub fn with_copies(
        count: u64,
        gates: &[&Gate],
        ledger: &Arc<Ledger>,
        rng: &mut SmallRng,
        copies: usize,
    ) -> People {
        let gate = gates.first().expect("a node");
        let addresses: Vec<String> = gates.iter().map(|gate| gate.address()).collect();
        let stale_pem = PrivateKey::generate().public_pem();
        let signal = watch::Sender::new(Signal::Hold);
        let mut walking = JoinSet::new();
        for number in 0..count {
            let person = Person {
                number,
                walks: 0,
                document: Document::read(&gate.document).expect("a document"),
                line: Line::new(&addresses, copies, ledger, SmallRng::seed_from_u64(rng.random())),
                public_pem: gate.public_pem.clone(),
                stale_pem: (copies > 1).then(|| stale_pem.clone()),
                ledger: Arc::clone(ledger),
                signal: signal.subscribe(),
                rng: SmallRng::seed_from_u64(rng.random()),
            };
            walking.spawn(person.live());
        }
        People { signal, walking }
    }

    pub fn hold(&self) {
        self.signal.send_replace(Signal::Hold);
    }

    pub fn resume(&self) {
        self.signal.send_replace(Signal::Walk);
    }

    /// Everybody walks on until they have ended so many walks in all.
    pub fn walk_until(&self, walks: u64) {
        self.signal.send_replace(Signal::Until(walks));
    }

    /// Everybody ends the walk that was begun.
    pub async fn finish(mut self) {
        self.signal.send_replace(Signal::Finish);
        while let Some(ended) = self.walking.join_next().await {
            ended.expect("no panic");
        }
    }
}

struct Person {
    number: u64,
    /// Ended so far.
    walks: u64,
    document: Document,
    line: Line,
    public_pem: String,
    /// Of a key that the endpoint no longer has.
    stale_pem: Option<String>,
    ledger: Arc<Ledger>,
    signal: watch::Receiver<Signal>,
    rng: SmallRng,
}

impl Person {
    async fn live(mut self) {
        for number in 0_u64.. {
            self.walks = number;
            if self.allowed().await == Signal::Finish {
                return;
            }
            let walk = format!("walk-{}-{number}", self.number);
            if let Err(error) = self.walk(&walk).await {
                self.ledger.complain(format!("{walk}: {error}"));
            }
        }
    }

    /// Waits until there is somebody to talk to.
    async fn allowed(&mut self) -> Signal {
        let walks = self.walks;
        let goes_on = |signal: &Signal| match signal {
            Signal::Hold => false,
            Signal::Until(enough) => walks < *enough,
            Signal::Walk | Signal::Finish => true,
        };
        let signal = self.signal.wait_for(goes_on).await;
        signal.map_or(Signal::Finish, |signal| *signal)
    }

    /// One walk to its end, through as many kills as it takes.
    async fn walk(&mut self, walk: &str) -> Result<(), Error> {
        let public_pem = self.public_pem.clone();
        let options = Options {
            resend_delay: Duration::ZERO,
            key_source: Some(Arc::new(move || public_pem.clone())),
            ..Options::default()
        };
        let secret = SecretString::from(SECRET);
        // Some phones still have the key before this one: they are told so, fetch it, and send again.
        let stale = self.stale_pem.as_ref().filter(|_| self.rng.random_ratio(1, 8));
        let pem = stale.unwrap_or(&self.public_pem).clone();
        let mut player = Player::new(self.document.clone(), &pem, secret, walk, self.line.clone(), options)?;
        let (_, colour) = ledger::colour(walk);
        let answers = json!({"Name": walk, "Colour": colour});
        let mut person = Truthful::new(answers.as_object().cloned().expect("an object"));

        let mut faults_seen = 0;
        let mut asked = Instant::now();
        let mut outcome = player.open().await?;
        loop {
            match outcome {
                Outcome::Shown => {
                    let screen = player.screen().ok_or(Error::Closed)?;
                    for (name, value) in person.answer(&screen) {
                        player.fill(&name, value).await?;
                    }
                    asked = Instant::now();
                    outcome = player.tap_footer().await?;
                }
                Outcome::Completed(params) => {
                    self.told(walk, &Value::Object(params));
                    return Ok(());
                }
                Outcome::Failed => {
                    // Only silence is excused, and a store that is stopping.
                    let faults: Vec<&Fault> = player.walk().faults().skip(faults_seen).collect();
                    let excused = |fault: &&Fault| {
                        matches!(fault, Fault::NoAnswer | Fault::Timeout | Fault::Status(503))
                    };
                    if !faults.iter().all(excused) {
                        self.ledger.complain(format!("{walk}: {faults:?}"));
                        return Ok(());
                    }
                    faults_seen += faults.len();
                    self.ledger.broke(asked.elapsed());
                    // The signal may still say that the process lives.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    self.allowed().await;
                    if self.rng.random() && self.resend(walk, &mut player).await? && self.rng.random() {
                        return Ok(());
                    }
                    // A new envelope with the same state: even if the first one was taken, it is the same submission.
                    asked = Instant::now();
                    outcome = match player.screen() {
                        Some(_) => player.tap_footer().await?,
                        None => player.open().await?,
                    };
                }
                other => {
                    self.ledger.complain(format!("{walk} ended with {other:?}"));
                    return Ok(());
                }
            }
        }
    }

    /// Sends the last envelope once more, byte for byte, as a network does; says whether that closed the walk.
    async fn resend(&mut self, walk: &str, player: &mut Player<Line>) -> Result<bool, Error> {
        let is_closing = player.walk().steps.iter().rev().find_map(|step| match step {
            Step::Request(request) => Some(request["action"] == "data_exchange"),
            _ => None,
        });
        let reply = match player.raw_resend().await {
            Ok(Some(reply)) => reply,
            Ok(None) | Err(Error::Transport(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        match (reply.status, reply.opened) {
            (200, Some(Ok(answer))) => {
                self.ledger.resent();
                let params = answer.pointer("/data/extension_message_response/params");
                if let Some(params) = params.filter(|_| is_closing == Some(true)) {
                    self.told(walk, params);
                    return Ok(true);
                }
                Ok(false)
            }
            (503, _) => Ok(false),
            (status, opened) => {
                self.ledger.complain(format!("{walk}: the same envelope again got {status} {opened:?}"));
                Ok(false)
            }
        }
    }

    fn told(&self, walk: &str, params: &Value) {
        match (params["submission_id"].as_str(), params["flow_token"].as_str()) {
            (Some(submission), Some(token)) if token == walk => self.ledger.acknowledge(walk, submission),
            _ => self.ledger.complain(format!("{walk} was closed with {params}")),
        }
    }
}

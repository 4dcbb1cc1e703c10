//! A destination: a server of its own that checks signatures by its own code, writes down what came, and behaves as badly
//! as a test wants.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::RngExt as _;
use rand::rngs::SmallRng;
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::ledger::{Delivery, End, Ledger, Receipt};

/// Longer than any attempt may last.
const FOR_EVER: Duration = Duration::from_secs(120);
/// How soon it is seen that whoever waits for an answer has gone.
const NOBODY_WITHIN: Duration = Duration::from_millis(1);
/// What one delivery may have; the form is small.
const MAX_REQUEST: usize = 256 * 1024;

/// How a destination behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Takes everything, within 15 ms.
    Well,
    /// Seven of ten well; one 500, and each one of twenty: 429, a reset, no answer at all, taken and cut off.
    Mixed,
    /// Takes nothing and says so.
    Broken,
    /// Refuses each delivery once and takes it then.
    Once,
    /// Takes it and never answers.
    Hang,
    /// Takes it and sends its answer byte by byte, one a second.
    Drip,
    /// Takes it and answers with a body that does not end.
    Endless,
    /// Resets every connection.
    Reset,
    /// Takes everything, each after this time.
    Slow(Duration),
}

/// Whether a request may come in; one that may not is told that there are too many.
type Ask = dyn FnMut() -> bool + Send;

/// A running destination.
pub struct Sink {
    pub id: String,
    pub url: String,
    /// `whsec_…`
    pub secret: String,
    /// Further lines of its configuration.
    pub lines: String,
    inside: Arc<Inside>,
}

struct Inside {
    id: String,
    key: [u8; 32],
    ledger: Arc<Ledger>,
    manner: Mutex<Manner>,
    dice: Mutex<SmallRng>,
    /// Hears of every delivery that was taken, or refused for the first time, before it is answered.
    heard: Mutex<Option<mpsc::UnboundedSender<Heard>>>,
    /// Asked of every request before anything else is done with it.
    asked: Mutex<Option<Box<Ask>>>,
    /// Keys that came once, where each is refused once.
    refused: Mutex<BTreeSet<String>>,
    /// The longest that anybody waited here for an answer that did not come, or did not end.
    held: Mutex<Duration>,
}

/// What a test hears of a delivery.
#[derive(Debug, Clone)]
pub struct Heard {
    /// By the program's clock.
    pub completed_at_ms: i64,
    /// By the wall clock.
    pub at_ms: i64,
    pub taken: bool,
    pub key: String,
}

impl Sink {
    pub async fn start(id: &str, ledger: &Arc<Ledger>, dice: SmallRng) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let inside = Arc::new(Inside {
            id: id.to_owned(),
            key: rand::random(),
            ledger: Arc::clone(ledger),
            manner: Mutex::new(Manner::Well),
            dice: Mutex::new(dice),
            heard: Mutex::default(),
            asked: Mutex::default(),
            refused: Mutex::default(),
            held: Mutex::default(),
        });
        let secret = format!("whsec_{}", STANDARD.encode(inside.key));
        let serving = Arc::clone(&inside);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inside = Arc::clone(&serving);
                // A caller that was killed breaks its connection.
                tokio::spawn(async move { drop(inside.serve(stream).await) });
            }
        });
        Sink {
            id: id.to_owned(),
            url: format!("http://{address}/hook"),
            secret,
            lines: String::new(),
            inside,
        }
    }

    pub fn behave(&self, manner: Manner) {
        *self.inside.manner.lock().expect("no panic while held") = manner;
    }

    /// The longest that the program waited here for an answer that did not come, or did not end, before it hung up.
    pub fn longest_held(&self) -> Duration {
        *self.inside.held.lock().expect("no panic while held")
    }

    /// Has this asked of every request.
    pub fn ask(&self, may_come: impl FnMut() -> bool + Send + 'static) {
        *self.inside.asked.lock().expect("no panic while held") = Some(Box::new(may_come));
    }

    /// What comes from now on.
    pub fn listen(&self) -> mpsc::UnboundedReceiver<Heard> {
        let (tell, heard) = mpsc::unbounded_channel();
        *self.inside.heard.lock().expect("no panic while held") = Some(tell);
        heard
    }
}

/// What is done with one request.
enum Fate {
    Take,
    Refuse(&'static str),
    RefuseOnce,
    Reset,
    /// Not taken, and never answered.
    Ignore,
    /// Taken, and never answered.
    Swallow,
    /// Taken, and cut off.
    Cut,
    Drip,
    Endless,
}

impl Inside {
    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let manner = *self.manner.lock().expect("no panic while held");
        let (lot, pause_ms) = {
            let mut dice = self.dice.lock().expect("no panic while held");
            (dice.random_range(0..100), dice.random_range(0..15))
        };
        let fate = match manner {
            Manner::Well | Manner::Slow(_) => Fate::Take,
            Manner::Once => Fate::RefuseOnce,
            Manner::Broken => Fate::Refuse("500 Internal Server Error\r\n"),
            Manner::Hang => Fate::Swallow,
            Manner::Drip => Fate::Drip,
            Manner::Endless => Fate::Endless,
            Manner::Reset => Fate::Reset,
            Manner::Mixed => match lot {
                0..10 => Fate::Refuse("500 Internal Server Error\r\n"),
                10..15 => Fate::Refuse("429 Too Many Requests\r\nretry-after: 1\r\n"),
                15..20 => Fate::Reset,
                20..25 => Fate::Ignore,
                25..30 => Fate::Cut,
                _ => Fate::Take,
            },
        };
        if matches!(fate, Fate::Reset) {
            stream.set_zero_linger()?;
            return Ok(());
        }
        // A request that is cut off was never here.
        let Some((head, body)) = read_request(&mut stream).await? else { return Ok(()) };
        let may_come = self.asked.lock().expect("no panic while held").as_mut().is_none_or(|ask| ask());
        if !may_come {
            return answer(&mut stream, "429 Too Many Requests\r\nretry-after: 10\r\n").await;
        }
        match fate {
            Fate::Refuse(status) => return answer(&mut stream, status).await,
            Fate::RefuseOnce if self.is_first(&head) => {
                let key = header(&head, "webhook-id");
                self.tell(Heard { completed_at_ms: 0, at_ms: now_ms(), taken: false, key });
                return answer(&mut stream, "500 Internal Server Error\r\n").await;
            }
            Fate::Ignore => {
                tokio::time::sleep(FOR_EVER).await;
                return Ok(());
            }
            _ => {}
        }
        let Some(receipt) = self.take(&head, &body) else {
            return answer(&mut stream, "401 Unauthorized\r\n").await;
        };
        if !matches!(fate, Fate::Take | Fate::RefuseOnce) {
            self.ledger.end(&receipt, End::KeptBack);
        }
        // Taken but not yet answered: when the process is killed now, it must send the same again.
        let pause = if let Manner::Slow(pause) = manner { pause } else { Duration::from_millis(pause_ms) };
        tokio::time::sleep(pause).await;
        let began = Instant::now();
        match fate {
            Fate::Swallow => {
                self.hold(&mut stream, FOR_EVER).await;
                self.held_since(began);
            }
            Fate::Cut => {}
            Fate::Drip => {
                for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n".iter().cycle() {
                    if stream.write_all(&[*byte]).await.is_err()
                        || self.hold(&mut stream, Duration::from_secs(1)).await
                    {
                        break;
                    }
                }
                self.held_since(began);
            }
            Fate::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n").await?;
                for _ in 0..16_384 {
                    stream.write_all(&[b'x'; 65_536]).await?;
                }
            }
            _ if self.hold(&mut stream, NOBODY_WITHIN).await => {
                self.ledger.end(&receipt, End::HungUp(Instant::now()));
            }
            _ => {
                let answered = answer(&mut stream, "204 No Content\r\n").await;
                let at = Instant::now();
                let end = if answered.is_ok() { End::Answered(at) } else { End::HungUp(at) };
                self.ledger.end(&receipt, end);
                return answered;
            }
        }
        Ok(())
    }

    /// Says nothing for so long; whether the other side hung up meanwhile.
    async fn hold(&self, stream: &mut TcpStream, time: Duration) -> bool {
        let mut byte = [0];
        tokio::time::timeout(time, stream.read(&mut byte)).await.is_ok()
    }

    fn held_since(&self, began: Instant) {
        let mut held = self.held.lock().expect("no panic while held");
        *held = held.max(began.elapsed());
    }

    /// Writes down a delivery, unless it is none of ours.
    fn take(&self, head: &str, body: &[u8]) -> Option<Receipt> {
        let arrived = Instant::now();
        let [key, timestamp, signatures] =
            ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| header(head, name));
        let read = serde_json::from_slice::<Value>(body).ok();
        let text = |path: &str| Some(read.as_ref()?.pointer(path)?.as_str()?.to_owned());
        let said = || {
            let [submission, walk, completed_at] =
                ["/data/id", "/data/flow_token", "/data/completed_at"].map(text);
            Some((submission?, walk?, read.as_ref()?.pointer("/data/answers")?, completed_at?))
        };
        let signed = is_signed(&self.key, &key, &timestamp, &signatures, body);
        let Some((submission, walk, answers, completed_at)) = said().filter(|_| signed) else {
            self.ledger.complain(format!("the delivery {key} is not signed, or not readable"));
            return None;
        };
        let delivery =
            Delivery { destination: &self.id, key: &key, submission: &submission, walk: &walk, answers };
        let receipt = self.ledger.deliver(&delivery, arrived);
        let completed_at: jiff::Timestamp = completed_at.parse().expect("a time");
        let completed_at_ms = completed_at.as_millisecond();
        self.tell(Heard { completed_at_ms, at_ms: now_ms(), taken: true, key });
        Some(receipt)
    }

    fn tell(&self, what: Heard) {
        if let Some(heard) = &*self.heard.lock().expect("no panic while held") {
            let _nobody_listens = heard.send(what);
        }
    }

    /// Whether a delivery of this key comes for the first time.
    fn is_first(&self, head: &str) -> bool {
        self.refused.lock().expect("no panic while held").insert(header(head, "webhook-id"))
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn header(head: &str, name: &str) -> String {
    let line = head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    });
    line.unwrap_or_default()
}

/// Head and body, or nothing if it was cut off.
async fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            let whole = end + 4 + length.unwrap_or(0);
            if bytes.len() >= whole {
                return Ok(Some((head, bytes.split_off(end + 4))));
            }
        }
        if bytes.len() > MAX_REQUEST || stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

async fn answer(stream: &mut TcpStream, status: &str) -> std::io::Result<()> {
    let answer = format!("HTTP/1.1 {status}content-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// Standard Webhooks 1.0.0: `v1,` and the base64 of HMAC-SHA-256 over id, time and body.
fn is_signed(key: &[u8; 32], id: &str, timestamp: &str, signatures: &str, body: &[u8]) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    signatures.split(' ').any(|signature| signature == expected)
}

//! Nodes that are stopped and started one after the other, as an upgrade does it, while people fill in forms.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use formgate::player::Player;
use formgate::player::transport::{self, HttpTransport, Response, Transport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::{Home, Running, walk};
use crate::cluster::fixture::PATIENCE;

/// Between two questions of the balancer to a node.
const CHECK_EVERY: Duration = Duration::from_millis(20);
/// People who fill in forms at any moment.
const PEOPLE: u64 = 3;
/// Forms that are filled in between two changes.
const BETWEEN: u64 = 8;

/// Whether a node says that it is ready.
async fn is_ready(address: &str) -> bool {
    let host = address.trim_start_matches("http://").split('/').next().unwrap_or_default().to_owned();
    let asking = async {
        let mut stream = TcpStream::connect(&host).await?;
        let question = format!("GET /readyz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(question.as_bytes()).await?;
        let mut answer = vec![];
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with(b"HTTP/1.1 200 "))
    };
    matches!(timeout(Duration::from_secs(2), asking).await, Ok(Ok(true)))
}

/// Any load balancer: it sends a request to the next node that said it is ready, and again to another one only if it was
/// refused, or not taken.
#[derive(Default)]
struct Balancer {
    ready: Mutex<Vec<String>>,
    next: AtomicUsize,
    /// Requests that were sent again.
    again: AtomicU64,
}

impl Balancer {
    /// Asks this node from now on, as long as it is there.
    fn add(self: &Arc<Self>, node: &Running, checks: &mut JoinSet<()>) {
        let (balancer, address) = (Arc::clone(self), node.address.clone());
        checks.spawn(async move {
            loop {
                balancer.note(&address, is_ready(&address).await);
                sleep(CHECK_EVERY).await;
            }
        });
    }

    fn note(&self, address: &str, ready: bool) {
        let mut all = self.ready.lock().expect("no panic");
        all.retain(|known| known != address);
        all.extend(ready.then(|| address.to_owned()));
    }

    fn knows(&self, node: &Running) -> bool {
        self.ready.lock().expect("no panic").contains(&node.address)
    }

    async fn send(
        &self,
        body: Vec<u8>,
        headers: Vec<(&'static str, String)>,
    ) -> Result<Response, transport::Error> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let turn = self.next.fetch_add(1, Ordering::SeqCst);
            let address = {
                let ready = self.ready.lock().expect("no panic");
                ready.get(turn % ready.len().max(1)).cloned()
            };
            if let Some(address) = address {
                match HttpTransport::new(&address)?.post(body.clone(), headers.clone()).await {
                    Ok(response) if response.status != 503 => return Ok(response),
                    Err(error) if !is_refused(&error) => return Err(error),
                    _ => self.again.fetch_add(1, Ordering::SeqCst),
                };
            }
            assert!(Instant::now() < give_up, "no node takes it");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Whether nobody listened: then nothing of the request was sent.
fn is_refused(error: &transport::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        source = error.source();
    }
    false
}

/// One person's line: it goes by the balancer, and remembers the last reply.
#[derive(Clone)]
struct Line {
    balancer: Arc<Balancer>,
    last: Arc<Mutex<Option<Response>>>,
}

impl Transport for Line {
    async fn post(
        &self,
        body: Vec<u8>,
        headers: Vec<(&'static str, String)>,
    ) -> Result<Response, transport::Error> {
        let response = self.balancer.send(body, headers).await?;
        *self.last.lock().expect("no panic") = Some(response.clone());
        Ok(response)
    }
}

/// Somebody whose form was closed, and what they were told.
struct Told {
    name: String,
    phone: Player<Line>,
    reply: Response,
}

/// People who fill in one form after the other.
struct People {
    acknowledged: Arc<AtomicU64>,
    enough: Arc<AtomicBool>,
    walking: JoinSet<Vec<Told>>,
}

impl People {
    fn begin(home: &Arc<Home>, balancer: &Arc<Balancer>) -> Self {
        let mut people =
            Self { acknowledged: Arc::default(), enough: Arc::default(), walking: JoinSet::new() };
        for person in 0..PEOPLE {
            let (home, balancer) = (Arc::clone(home), Arc::clone(balancer));
            let (acknowledged, enough) = (Arc::clone(&people.acknowledged), Arc::clone(&people.enough));
            people.walking.spawn(async move {
                let mut told = vec![];
                while !enough.load(Ordering::SeqCst) {
                    let name = format!("person {person} form {}", told.len());
                    let line = Line { balancer: Arc::clone(&balancer), last: Arc::default() };
                    let mut phone = home.phone_by(line.clone(), &name);
                    walk(&mut phone, &name).await;
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                    let reply = line.last.lock().expect("no panic").clone().expect("a reply");
                    told.push(Told { name, phone, reply });
                    sleep(Duration::from_millis(20)).await;
                }
                told
            });
        }
        people
    }

    /// Waits until some more forms were filled in.
    async fn some_more(&self, home: &Home) {
        let before = self.acknowledged.load(Ordering::SeqCst);
        home.until("people go on", async || self.acknowledged.load(Ordering::SeqCst) >= before + BETWEEN)
            .await;
    }

    async fn end(mut self) -> Vec<Told> {
        self.enough.store(true, Ordering::SeqCst);
        let mut all = vec![];
        while let Some(told) = self.walking.join_next().await {
            all.extend(told.expect("everybody was answered"));
        }
        all
    }
}

#[tokio::test]
async fn nodes_are_replaced_one_after_the_other_and_nobody_notices() {
    let mut home = Home::new().await;
    home.stopping = "leave_seconds = 1\ndrain_seconds = 10";
    let home = Arc::new(home);
    let (balancer, mut checks) = (Arc::new(Balancer::default()), JoinSet::new());
    let mut nodes = vec![];
    for name in ["one", "two", "three"] {
        let node = home.node(name).await;
        balancer.add(&node, &mut checks);
        nodes.push(node);
    }
    let people = People::begin(&home, &balancer);
    // The last one is replaced by one that knows nothing and has another name.
    for (place, name) in ["one", "two", "four"].into_iter().enumerate() {
        people.some_more(&home).await;
        nodes.remove(0).end().await;
        people.some_more(&home).await;
        let node = home.node(name).await;
        balancer.add(&node, &mut checks);
        home.until("it is asked, too", async || balancer.knows(&node)).await;
        nodes.push(node);
        assert_eq!(nodes.len(), 3, "after {place}");
    }
    people.some_more(&home).await;
    let mut told = people.end().await;

    // Whatever was said to anybody, all nodes of now say the same of it again.
    let mut resent = 0;
    for told in &mut told {
        for _node in &nodes {
            let again = told.phone.raw_resend().await.expect("an answer").expect("a request");
            assert_eq!((again.status, &again.body), (told.reply.status, &told.reply.body), "{}", told.name);
            resent += 1;
        }
    }
    let count = told.len();
    println!("{count} forms, {resent} sent again, {} by another node", balancer.again.load(Ordering::SeqCst));
    home.until("all is delivered", async || home.inbox.counts().taken >= count as u64).await;
    home.until("nothing waits", async || {
        let mut waits = false;
        for node in &nodes {
            let standing = node.store.standing().expect("a node");
            waits |= !standing.told || standing.single_copy > 0;
            for destination in node.outbox.destinations().await.expect("a list") {
                let depth = destination.depth;
                waits |= depth.due + depth.in_flight + depth.dead > 0 || depth.delivered != count as u64;
            }
        }
        !waits
    })
    .await;
    assert_eq!(home.redis.run::<Vec<String>>(&["KEYS", "*:q:*"]), Vec::<String>::new());
    let arrived = home.arrived.lock().expect("no panic").clone();
    let name = |body: &[u8]| {
        let body: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        body["data"]["answers"][0]["text"].as_str().expect("a name").to_owned()
    };
    let names: BTreeSet<_> = arrived.iter().map(|(_, body)| name(body)).collect();
    assert_eq!(names, told.iter().map(|told| told.name.clone()).collect());
    let ids: BTreeSet<_> = arrived.iter().map(|(id, _)| id).collect();
    assert_eq!((arrived.len(), ids.len()), (count, count), "each of them once");
    for node in &nodes {
        assert_eq!(node.count().await, count);
    }
    checks.shutdown().await;
    for node in nodes {
        node.end().await;
    }
}

#[tokio::test]
async fn a_node_that_is_told_to_stop_is_not_ready_and_answers_until_whoever_asks_has_noticed() {
    let mut home = Home::new().await;
    home.stopping = "leave_seconds = 600\ndrain_seconds = 10";
    let node = home.node("one").await;
    assert!(is_ready(&node.address).await);
    let (balancer, mut checks) = (Arc::new(Balancer::default()), JoinSet::new());
    balancer.add(&node, &mut checks);
    home.until("it is known", async || balancer.knows(&node)).await;
    node.stop.send_replace(true);
    home.until("it is not sent anything more", async || !balancer.knows(&node)).await;
    // What comes all the same is taken, and delivered.
    walk(&mut home.phone(&[&node], "Ada"), "Ada").await;
    home.until("it is delivered", async || home.inbox.counts().taken == 1).await;
    assert!(!is_ready(&node.address).await && !node.running.is_finished());
}

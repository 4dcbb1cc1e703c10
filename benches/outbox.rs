//! How many submissions a second the outbox makes durable, and how long one takes, beside what RSA alone would allow.
//!
//! Each acceptance is one synced transaction of a submission, two deliveries, an audit entry and a kept reply. The second
//! half has the worker deliver them at the same time. Then a start, the memory and claims with many open deliveries, whose limits
//! it ends with an error for. All of it for the store of one node and for a node that shares Redis, which needs `redis-server`.
//!
//! `cargo bench --bench outbox`, or with another number of open deliveries: `cargo bench --bench outbox -- 1000000`.

#[path = "../tests/it/redis/server.rs"]
#[expect(dead_code, reason = "the tests of the store use the rest")]
#[expect(clippy::disallowed_methods, reason = "which server to start is the machine's affair")]
mod server;

#[path = "../tests/it/backlog/measured.rs"]
mod backlog;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
};
use formgate::crypto::MacKey;
use formgate::outbox::{
    Answer, Attempting, Call, Destination, DestinationId, Form, Outbox, Outcome, RetryPolicy, SealBody,
    Submission, SubmissionId, SystemClock, Unsealable, Worker,
};
use formgate::store::Batch;
use tokio::sync::watch;
use uuid::Uuid;

use backlog::{Backlog, Home, percentile};

const MEASURED: Duration = Duration::from_secs(3);
const CLIENTS: [usize; 3] = [1, 16, 64];
/// Open deliveries, if no other number is asked for.
const BACKLOG: usize = 100_000;
/// How much longer a start and a claim may take than promised, on a machine with other work.
const TIMES: u32 = 3;
/// The promises (reliability notes, T15).
const MAX_START: Duration = Duration::from_secs(5);
const MAX_CLAIM: Duration = Duration::from_millis(20);

struct Sealing(LessSafeKey);

impl SealBody for Sealing {
    fn seal(&self, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let nonce: [u8; 12] = rand::random();
        let mut sealed = plaintext.to_vec();
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(nonce_used, Aad::from(context), &mut sealed).expect("it seals");
        [nonce.as_slice(), &sealed].concat()
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        let (nonce, sealed) = sealed.split_first_chunk::<12>().ok_or(Unsealable::Damaged)?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self
            .0
            .open_in_place(nonce, Aad::from(context), &mut opened)
            .map_err(|_forged| Unsealable::Damaged)?
            .len();
        opened.truncate(length);
        Ok(opened)
    }
}

struct Sink {
    id: DestinationId,
    delivered: AtomicUsize,
}

impl Destination for Sink {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn deliver<'a>(&'a self, _call: Call<'a>) -> Attempting<'a> {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Outcome::delivered(None)))
    }
}

/// RSA-2048 OAEP openings a second on every core: no server that opens one envelope for each request is quicker.
fn rsa_ceiling() -> f64 {
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("a key");
    let public = OaepPublicEncryptingKey::new(key.public_key()).expect("a key");
    let mut ciphertext = vec![0; public.ciphertext_size()];
    public.encrypt(&OAEP_SHA256_MGF1SHA256, &[7; 16], &mut ciphertext, None).expect("an envelope");
    let pkcs8 = key.as_der().expect("the key as PKCS#8");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let opened: usize = std::thread::scope(|scope| {
        let open = || {
            let key = PrivateDecryptingKey::from_pkcs8(pkcs8.as_ref()).expect("a key");
            let key = OaepPrivateDecryptingKey::new(key).expect("a key");
            let mut plaintext = vec![0; key.min_output_size()];
            let (begun, mut opened) = (Instant::now(), 0);
            while begun.elapsed() < MEASURED {
                key.decrypt(&OAEP_SHA256_MGF1SHA256, &ciphertext, &mut plaintext, None).expect("it opens");
                opened += 1;
            }
            opened
        };
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    opened as f64 / MEASURED.as_secs_f64()
}

fn submission() -> Submission {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let answer = |number: u32| Answer {
        key: format!("question-{number}"),
        question: format!("What do you say to question number {number}?"),
        kind: "short_text".into(),
        value: format!("Something of the usual length, number {number}").into(),
        text: format!("Something of the usual length, number {number}"),
        other: None,
    };
    Submission {
        id: SubmissionId::new(Uuid::from_u128(rand::random())),
        flow_id: "contact".into(),
        flow_version: 1,
        form: Form { tool: "typeform".into(), id: "lR6F4j".into(), title: "Contact".into() },
        flow_token: "unused".into(),
        contact: None,
        started_at_ms: now_ms,
        completed_at_ms: now_ms,
        locale: "it".into(),
        source: BTreeMap::new(),
        hidden: BTreeMap::new(),
        variables: BTreeMap::new(),
        test: false,
        linked_to: None,
        replaces: None,
        replaced_by: None,
        walk: None,
        ending: None,
        answers: (0..8).map(answer).collect(),
    }
}

async fn measure(is_shared: bool, clients: usize, delivering: bool, ceiling: f64) {
    let folder = tempfile::TempDir::new().expect("a folder");
    let redis = is_shared.then(server::Server::start);
    let home = Home::open(folder.path(), redis.as_ref()).await;
    let store = home.store.clone();
    let seal = Sealing(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("a key")));
    // What the program does besides: the audit trail is chained, and persons can be found.
    let key = Arc::new(MacKey::generate());
    store.commit(Batch::at(0).put(store.chain_beginning(key.as_ref()))).await.expect("a chain");
    store.chain_audit(Arc::<MacKey>::clone(&key));
    let outbox = Outbox::new(store.clone(), Arc::new(seal), Arc::new(SystemClock::new())).indexed(key);
    let ids = ["crm", "sheet"].map(|id| DestinationId::new(id).expect("an id"));
    let sinks = ids.clone().map(|id| Arc::new(Sink { id, delivered: AtomicUsize::new(0) }));
    let (shutdown, stop) = watch::channel(false);
    let worker = delivering.then(|| {
        let destinations = sinks.iter().map(|sink| Arc::clone(sink) as Arc<dyn Destination>).collect();
        tokio::spawn(Worker::new(outbox.clone(), destinations, RetryPolicy::default()).run(stop))
    });

    let begun = Instant::now();
    let mut accepting = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let (outbox, ids) = (outbox.clone(), ids.clone());
        accepting.spawn(async move {
            let mut took = vec![];
            while begun.elapsed() < MEASURED {
                let (submission, asked) = (submission(), Instant::now());
                outbox.accept(&submission, &ids, &rand::random(), vec![0; 512]).await.expect("accepted");
                took.push(asked.elapsed());
            }
            took
        });
    }
    let mut took = accepting.join_all().await.concat();
    let rate = took.len() as f64 / begun.elapsed().as_secs_f64();
    took.sort_unstable();
    let delivered: usize = sinks.iter().map(|sink| sink.delivered.load(Ordering::Relaxed)).sum();
    println!(
        "{:>8} {clients:>7} {:>10} {rate:>10.0} {:>8.2} {:>8.2} {:>9.2} {:>10.2} {delivered:>10}",
        if is_shared { "redis" } else { "embedded" },
        if delivering { "yes" } else { "no" },
        percentile(&took, 500),
        percentile(&took, 990),
        percentile(&took, 999),
        rate / ceiling,
    );
    shutdown.send_replace(true);
    if let Some(worker) = worker {
        worker.await.expect("no panic");
    }
    drop((store, outbox));
    home.close().await;
}

fn main() {
    // Cargo adds "--bench".
    let deliveries = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(BACKLOG);
    let ceiling = rsa_ceiling();
    println!("RSA-2048 OAEP alone, all cores: {ceiling:.0}/s");
    println!(
        "{:>8} {:>7} {:>10} {:>10} {:>8} {:>8} {:>9} {:>10} {:>10}",
        "store",
        "clients",
        "delivering",
        "accepts/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "of ceiling",
        "delivered"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let stores = [false, true];
    for is_shared in stores {
        for delivering in [false, true] {
            for clients in CLIENTS {
                runtime.block_on(measure(is_shared, clients, delivering, ceiling));
            }
        }
    }
    println!("{}", Backlog::head());
    let mut above = Vec::new();
    for is_shared in stores {
        let redis = is_shared.then(server::Server::start);
        let measured = runtime.block_on(Backlog::measure(redis, deliveries));
        println!("{measured}");
        above.extend(measured.above());
        if measured.started > MAX_START * TIMES {
            above.push(format!("a start of {:?}, {MAX_START:?} is the most", measured.started));
        }
        if measured.claim_p99_ms() > (MAX_CLAIM * TIMES).as_secs_f64() * 1e3 {
            above.push(format!(
                "p99 of a claim is {:.2} ms, {MAX_CLAIM:?} is the most",
                measured.claim_p99_ms()
            ));
        }
    }
    if !above.is_empty() {
        eprintln!("above what is promised: {}", above.join("; "));
        std::process::exit(1);
    }
}

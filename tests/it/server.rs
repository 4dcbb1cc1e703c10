//! The HTTP edge under peers that are slow, greedy, broken or hostile, over real sockets.

mod tls;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use formgate::server::{
    Drained, Handler, Limits, Listener, Method, Request, Response, Server, StatusCode, Tls,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, watch},
    task::JoinHandle,
};

/// Answers `METHOD path body-length`; `/panic` panics, `/wait` waits to be released.
#[derive(Default)]
struct Echo {
    entered: Notify,
    release: Notify,
    handled: AtomicUsize,
}

impl Handler for Echo {
    async fn handle(&self, request: Request) -> Response {
        self.handled.fetch_add(1, Ordering::Relaxed);
        match request.path() {
            "/panic" => panic!("planted"),
            "/wait" => {
                self.entered.notify_one();
                self.release.notified().await;
            }
            _ => {}
        }
        Response::text(
            StatusCode::OK,
            format!("{} {} {}", request.method, request.path(), request.body.len()),
        )
    }

    fn body_limit(&self, _: &Method, path: &str) -> usize {
        if path == "/large" { 1024 * 1024 } else { 1000 }
    }
}

struct Running {
    addr: SocketAddr,
    echo: Arc<Echo>,
    stop: watch::Sender<bool>,
    server: JoinHandle<Drained>,
}

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn start(limits: Limits) -> Running {
    start_on(limits, None, PATIENCE).await
}

async fn start_on(limits: Limits, tls: Option<Tls>, grace: Duration) -> Running {
    let echo = Arc::new(Echo::default());
    let listener = Listener { addr: ([127, 0, 0, 1], 0).into(), tls };
    let server = Server::bind(listener, limits, Arc::clone(&echo)).await.expect("a free port");
    let addr = server.local_addr();
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(server.run(stopped, grace));
    Running { addr, echo, stop, server }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.expect("the server accepts")
    }

    /// Sends bytes on a fresh connection, and returns all that comes back until the server closes it.
    async fn send(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.expect("the server reads");
        read_to_close(&mut stream).await
    }

    async fn still_serves(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let reply = self.send("GET /alive HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
            // On a busy machine even this test may be too slow for short limits.
            if !reply.is_empty() || Instant::now() > until {
                return assert_eq!(status(&reply), Some(200), "{reply}");
            }
        }
    }
}

/// All bytes until the peer closes; a reset after the reply counts as closed.
async fn read_to_close(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    let reading = async {
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            received.extend_from_slice(&chunk[..count]);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the server closes the connection");
    String::from_utf8(received).expect("replies are text")
}

/// One reply with a content length, leaving the connection open.
async fn read_reply(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut received = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&received).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().expect("a number"));
            if body.len() >= length {
                return text;
            }
        }
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.expect("a reply");
        assert_ne!(count, 0, "closed after {text:?}");
        received.extend_from_slice(&chunk[..count]);
    }
}

fn status(reply: &str) -> Option<u16> {
    reply.strip_prefix("HTTP/1.1 ").or_else(|| reply.strip_prefix("HTTP/1.0 "))?.get(..3)?.parse().ok()
}

fn body(reply: &str) -> &str {
    reply.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// For peers that are too slow: an honest one may be, too, while the machine is busy.
fn short() -> Limits {
    Limits {
        header_read: Duration::from_millis(300),
        body_read: Duration::from_millis(300),
        write_stall: Duration::from_millis(300),
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_request_is_handed_over_whole_and_its_reply_names_it() {
    let server = start(Limits::default()).await;
    let reply = server
        .send("POST /flows/a?x=1 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc")
        .await;
    assert_eq!((status(&reply), body(&reply)), (Some(200), "POST /flows/a 3"));
    assert!(reply.contains("x-request-id: ") && reply.contains("date: "), "{reply}");
}

#[tokio::test]
async fn one_connection_carries_many_requests_with_different_ids() {
    let server = start(Limits::default()).await;
    let mut stream = server.connect().await;
    let mut ids = std::collections::HashSet::new();
    for _ in 0..5 {
        stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok").await.expect("open");
        let reply = read_reply(&mut stream).await;
        assert_eq!(body(&reply), "POST / 2");
        let id = reply.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("an id");
        ids.insert(id.to_owned());
    }
    assert_eq!(ids.len(), 5);
}

#[tokio::test]
async fn a_chunked_body_is_joined_and_capped() {
    let server = start(Limits::default()).await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let reply = server.send(format!("{head}3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")).await;
    assert_eq!(body(&reply), "POST / 5");
    let reply = server.send(format!("{head}3e9\r\n{}\r\n", "a".repeat(1001))).await;
    assert_eq!(status(&reply), Some(413));
}

#[tokio::test]
async fn a_body_over_its_routes_cap_is_refused_before_it_is_sent() {
    let server = start(Limits::default()).await;
    let reply =
        server.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1001\r\n\r\n");
    let reply = reply.await;
    assert_eq!(status(&reply), Some(413), "no 100 Continue: {reply}");
    let reply = server
        .send(format!(
            "POST /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 100000\r\n\r\n{}",
            "a".repeat(100_000)
        ))
        .await;
    assert_eq!(body(&reply), "POST /large 100000");
    assert_eq!(server.echo.handled.load(Ordering::Relaxed), 1, "refused bodies reach no handler");
}

#[tokio::test]
async fn a_half_sent_body_reaches_no_handler() {
    let body_read = Duration::from_millis(300);
    let server = start(Limits { body_read, ..Limits::default() }).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf")
        .await
        .expect("the server reads");
    stream.shutdown().await.expect("half closed");
    let reply = read_to_close(&mut stream).await;
    assert!(matches!(status(&reply), None | Some(400)), "{reply}");

    let reply = server.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await;
    assert_eq!(status(&reply), Some(408), "kept open, but silent");
    assert_eq!(server.echo.handled.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_dripping_head_or_body_is_cut_at_its_deadline_however_often_bytes_come() {
    let server = start(short()).await;
    for start_of_request in
        ["GET / HTTP/1.1\r\nhost: a\r\nx: ", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 900\r\n\r\n"]
    {
        let started = Instant::now();
        let mut stream = server.connect().await;
        stream.write_all(start_of_request.as_bytes()).await.expect("open");
        let (mut reading, mut writing) = stream.into_split();
        let drip = tokio::spawn(async move {
            while writing.write_all(b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        read_to_close(&mut reading).await;
        drip.abort();
        assert!(started.elapsed() < PATIENCE / 2, "closed after {:?}", started.elapsed());
    }
    assert_eq!(server.echo.handled.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_silent_connection_is_closed_soon_when_new_and_much_later_when_kept_alive() {
    let header_read = Duration::from_secs(4);
    let server = start(Limits { header_read, keep_alive_idle: 2 * PATIENCE, ..Limits::default() }).await;
    let silent = async {
        let started = Instant::now();
        assert_eq!(server.send("").await, "");
        assert!(started.elapsed() >= header_read - Duration::from_millis(50), "{:?}", started.elapsed());
    };
    let kept_alive = async {
        let mut stream = server.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("open");
        read_reply(&mut stream).await;
        // Longer than a head may take, shorter than a connection may rest.
        tokio::time::sleep(header_read + Duration::from_secs(1)).await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("still open");
        read_reply(&mut stream).await;
        // A further request's head has the head's deadline, not the idle one, for which nobody here would wait.
        stream.write_all(b"GET / HT").await.expect("still open");
        read_to_close(&mut stream).await;
    };
    tokio::join!(silent, kept_alive);
}

#[tokio::test]
async fn slow_connections_in_numbers_do_not_keep_an_honest_one_waiting() {
    let server = start(short()).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.expect("open");
        slow.push(stream);
    }
    server.still_serves().await;
    for stream in &mut slow {
        assert_eq!(read_to_close(stream).await, "");
    }
}

#[tokio::test]
async fn too_many_or_too_long_headers_are_refused() {
    let server = start(Limits::default()).await;
    let request = |extra: &str| format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{extra}\r\n");
    assert_eq!(status(&server.send(request(&"a: b\r\n".repeat(62))).await), Some(200), "64 lines");
    assert_eq!(status(&server.send(request(&"a: b\r\n".repeat(63))).await), Some(431), "65 lines");
    assert_eq!(status(&server.send(request(&format!("a: {}\r\n", "b".repeat(15_000)))).await), Some(200));
    assert_eq!(status(&server.send(request(&format!("a: {}\r\n", "b".repeat(17_000)))).await), Some(431));
    // A head that never ends stops being buffered, too.
    let endless = server.send(format!("GET / HTTP/1.1\r\na: {}", "b".repeat(200_000))).await;
    assert!(matches!(status(&endless), None | Some(431)), "{endless}");
}

#[tokio::test]
async fn ambiguous_framing_never_yields_a_second_request() {
    let server = start(short()).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let head = "POST / HTTP/1.1\r\nhost: a\r\n";
    let length = smuggled.len();
    let corpus = [
        // Two framings: whichever wins, the connection must not go on to what follows.
        format!("{head}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{smuggled}"),
        // Two lengths.
        format!("{head}content-length: 0\r\ncontent-length: {length}\r\n\r\n{smuggled}"),
        format!("{head}content-length: 0, {length}\r\n\r\n{smuggled}"),
        // Lengths that some parsers read.
        format!("{head}content-length: +0\r\n\r\n{smuggled}"),
        format!("{head}content-length: -1\r\n\r\n{smuggled}"),
        format!("{head}content-length: 0x0\r\n\r\n{smuggled}"),
        format!("{head}content-length: 99999999999999999999\r\n\r\n{smuggled}"),
        format!("{head}content-length : 0\r\n\r\n{smuggled}"),
        // Encodings that some parsers ignore.
        format!("{head}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}transfer-encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        // Bad chunks.
        format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n{smuggled}"),
        format!("{head}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{smuggled}"),
        format!("{head}transfer-encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n{smuggled}"),
        // Folded, nameless and split header lines.
        format!("{head}x: a\r\n transfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n{smuggled}"),
        format!("{head}: a\r\n\r\n{smuggled}"),
        format!("{head}x: a\0b\r\n\r\n{smuggled}"),
        format!("{head}x: a\rtransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        // Hosts.
        format!("POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.1\r\nhost: a\r\nhost: b\r\ncontent-length: 0\r\n\r\n{smuggled}"),
        // Request lines.
        format!("POST  / HTTP/1.1\r\nhost: a\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.1 \r\nhost: a\r\n\r\n{smuggled}"),
        format!("POST / HTTP/2.0\r\nhost: a\r\n\r\n{smuggled}"),
        format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{smuggled}"),
        format!("POST /\x01 HTTP/1.1\r\nhost: a\r\n\r\n{smuggled}"),
    ];
    for request in corpus {
        let replies = server.send(&request).await;
        assert!(!replies.contains("/smuggled"), "{request:?} gave {replies:?}");
    }
    server.still_serves().await;
}

#[tokio::test]
async fn bodies_in_flight_share_one_budget() {
    let server = start(Limits { max_in_flight_body_bytes: 500, ..Limits::default() }).await;
    let request = |path: &str, length: usize| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{}",
            "a".repeat(length)
        )
    };
    let mut holder = server.connect().await;
    holder.write_all(request("/wait", 400).as_bytes()).await.expect("open");
    server.echo.entered.notified().await;
    assert_eq!(status(&server.send(request("/", 200)).await), Some(503));
    assert_eq!(status(&server.send(request("/", 50)).await), Some(200), "the rest of the budget is free");
    server.echo.release.notify_one();
    assert_eq!(status(&read_to_close(&mut holder).await), Some(200));
    assert_eq!(status(&server.send(request("/", 200)).await), Some(200), "given back");
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_their_turn() {
    let server = start(Limits { max_connections: 1, ..Limits::default() }).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("open");
    server.echo.entered.notified().await;
    let mut second = server.connect().await;
    second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("open");
    assert_eq!(server.echo.handled.load(Ordering::Relaxed), 1);
    server.echo.release.notify_one();
    assert_eq!(status(&read_to_close(&mut first).await), Some(200));
    assert_eq!(status(&read_to_close(&mut second).await), Some(200));
}

#[tokio::test]
async fn a_source_may_be_limited() {
    let server = start(Limits { max_connections_per_source: Some(1), ..Limits::default() }).await;
    let mut first = server.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("open");
    read_reply(&mut first).await;
    let mut second = server.connect().await;
    assert_eq!(read_to_close(&mut second).await, "");
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_500_and_the_process_lives() {
    let server = start(Limits::default()).await;
    let reply = server.send("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((status(&reply), body(&reply)), (Some(500), ""));
    server.still_serves().await;
}

#[tokio::test]
async fn a_drain_answers_what_is_in_flight_and_takes_nothing_new() {
    let server = start(Limits::default()).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("open");
    read_reply(&mut idle).await;
    let mut silent = server.connect().await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("open");
    server.echo.entered.notified().await;

    server.stop.send(true).expect("the server runs");
    assert_eq!(read_to_close(&mut idle).await, "", "an idle connection is closed");
    assert_eq!(read_to_close(&mut silent).await, "", "a silent one, too");
    assert!(TcpStream::connect(server.addr).await.is_err(), "nobody listens any more");
    assert!(!server.server.is_finished(), "one request is in flight");

    server.echo.release.notify_one();
    let reply = read_to_close(&mut busy).await;
    assert_eq!(body(&reply), "GET /wait 0");
    assert_eq!(server.server.await.expect("no panic"), Drained { cut: 0 });
}

#[tokio::test]
async fn a_drain_answers_who_has_connected_and_was_not_heard_yet() {
    let server = start(Limits::default()).await;
    // Nothing of the server runs between these: the kernel alone has taken them.
    let mut early = vec![];
    for number in 0..5 {
        let mut stream = std::net::TcpStream::connect(server.addr).expect("the kernel takes it");
        let request = format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("open");
        stream.set_nonblocking(true).expect("a socket");
        early.push(TcpStream::from_std(stream).expect("a socket"));
    }
    server.stop.send(true).expect("the server runs");
    for (number, stream) in early.iter_mut().enumerate() {
        assert_eq!(body(&read_to_close(stream).await), format!("GET /{number} 0"));
    }
    assert_eq!(server.server.await.expect("no panic"), Drained { cut: 0 });
}

#[tokio::test]
async fn a_drain_ends_with_its_grace_period() {
    let server = start_on(Limits::default(), None, Duration::from_millis(100)).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("open");
    server.echo.entered.notified().await;
    server.stop.send(true).expect("the server runs");
    assert_eq!(server.server.await.expect("no panic"), Drained { cut: 1 });
    assert_eq!(read_to_close(&mut busy).await, "");
}

#[tokio::test]
async fn a_reply_that_nobody_reads_is_given_up() {
    let big = |_: Request| async { Response::text(StatusCode::OK, vec![b'a'; 32 * 1024 * 1024]) };
    let listener = Listener { addr: ([127, 0, 0, 1], 0).into(), tls: None };
    let server = Server::bind(listener, short(), Arc::new(big)).await.expect("a free port");
    let addr = server.local_addr();
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(server.run(stopped, PATIENCE));
    let mut stream = TcpStream::connect(addr).await.expect("the server accepts");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("open");
    // The first bytes prove that the request was taken before the drain begins.
    stream.read_exact(&mut [0; 16]).await.expect("a reply begins");
    stop.send(true).expect("the server runs");
    assert_eq!(server.await.expect("no panic"), Drained { cut: 0 }, "closed before the grace period ended");
}

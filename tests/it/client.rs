//! The outbound client against real sockets: peers that lie, drip, flood and redirect.

mod upload;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use formgate::client::{
    AddressPolicy, Client, Error, Method, Reach, Request, Resolve, Resolved, Response, Sent, reach,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use url::Url;

use crate::connect::fixture::free_port;

/// What lies in wait on a free port of this machine; each connection is given to `serve`.
async fn peer<F, S>(serve: F) -> (u16, Arc<AtomicUsize>)
where
    F: Fn(TcpStream) -> S + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let visits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&visits);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(stream));
        }
    });
    (port, visits)
}

/// Reads up to the end of a request's headers.
async fn read_head<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A peer that answers every request with these bytes.
async fn answering(answer: &'static str) -> (u16, Arc<AtomicUsize>) {
    peer(move |mut stream| async move {
        read_head(&mut stream).await;
        let _gone = stream.write_all(answer.as_bytes()).await;
    })
    .await
}

fn to(url: &str, within: Duration) -> Request {
    let url = Url::parse(url).expect("a URL");
    Request {
        policy: AddressPolicy::AllowPrivateNetwork,
        ..Request::new(Method::GET, url, "", Instant::now() + within)
    }
}

async fn get(port: u16, within: Duration) -> Result<Response, Error> {
    Client::new().request(to(&format!("http://127.0.0.1:{port}/path?query=1"), within)).await
}

/// What nothing here takes, even on a busy machine.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn every_special_address_is_out_of_reach() {
    let judged: &[(&str, Reach)] = &[
        ("0.0.0.0", Reach::Never),
        ("0.1.2.3", Reach::Never),
        ("10.0.0.1", Reach::Private),
        ("10.255.255.255", Reach::Private),
        ("100.64.0.1", Reach::Private),
        ("100.127.255.254", Reach::Private),
        ("100.100.100.200", Reach::Never),
        ("100.63.255.255", Reach::Public),
        ("100.128.0.0", Reach::Public),
        ("127.0.0.1", Reach::Private),
        ("127.255.255.254", Reach::Private),
        ("168.63.129.16", Reach::Never),
        ("169.254.0.1", Reach::Never),
        ("169.254.169.254", Reach::Never),
        ("169.254.170.2", Reach::Never),
        ("172.15.255.255", Reach::Public),
        ("172.16.0.1", Reach::Private),
        ("172.31.255.255", Reach::Private),
        ("172.32.0.0", Reach::Public),
        ("192.0.0.1", Reach::Never),
        ("192.0.0.192", Reach::Never),
        ("192.0.1.1", Reach::Public),
        ("192.0.2.1", Reach::Never),
        ("192.88.99.1", Reach::Never),
        ("192.168.0.1", Reach::Private),
        ("192.168.255.255", Reach::Private),
        ("198.17.255.255", Reach::Public),
        ("198.18.0.1", Reach::Never),
        ("198.19.255.255", Reach::Never),
        ("198.51.100.1", Reach::Never),
        ("203.0.113.1", Reach::Never),
        ("223.255.255.255", Reach::Public),
        ("224.0.0.1", Reach::Never),
        ("239.255.255.255", Reach::Never),
        ("240.0.0.1", Reach::Never),
        ("255.255.255.255", Reach::Never),
        ("1.1.1.1", Reach::Public),
        ("8.8.8.8", Reach::Public),
        ("::", Reach::Never),
        ("::1", Reach::Private),
        ("::2", Reach::Never),
        ("::127.0.0.1", Reach::Never),
        ("::8.8.8.8", Reach::Never),
        ("::ffff:127.0.0.1", Reach::Private),
        ("::ffff:10.0.0.1", Reach::Private),
        ("::ffff:192.168.1.1", Reach::Private),
        ("::ffff:169.254.169.254", Reach::Never),
        ("::ffff:0.0.0.0", Reach::Never),
        ("::ffff:8.8.8.8", Reach::Public),
        ("::ffff:0:127.0.0.1", Reach::Never),
        ("64:ff9b::127.0.0.1", Reach::Never),
        ("64:ff9b::10.0.0.1", Reach::Never),
        ("64:ff9b::169.254.169.254", Reach::Never),
        ("64:ff9b::8.8.8.8", Reach::Never),
        ("64:ff9b:1::1", Reach::Never),
        ("64:ff9b:1:ffff::10.0.0.1", Reach::Never),
        ("100::1", Reach::Never),
        ("100:0:0:1::1", Reach::Never),
        ("2001::1", Reach::Never),
        ("2001:0:53aa:64c:0:0:f5ff:fffe", Reach::Never),
        ("2001:2::1", Reach::Never),
        ("2001:10::1", Reach::Never),
        ("2001:20::1", Reach::Never),
        ("2001:1ff::1", Reach::Never),
        ("2001:200::1", Reach::Public),
        ("2001:db8::1", Reach::Never),
        ("2001:4860:4860::8888", Reach::Public),
        ("2002::1", Reach::Never),
        ("2002:7f00:1::", Reach::Never),
        ("2002:a00:1::1", Reach::Never),
        ("2606:4700:4700::1111", Reach::Public),
        ("3fff::1", Reach::Never),
        ("3fff:fff::1", Reach::Never),
        ("3fff:1000::1", Reach::Public),
        ("4000::1", Reach::Never),
        ("5f00::1", Reach::Never),
        ("fc00::1", Reach::Private),
        ("fd12:3456::1", Reach::Private),
        ("fd00:ec2::254", Reach::Never),
        ("fe80::1", Reach::Never),
        ("febf::1", Reach::Never),
        ("fec0::1", Reach::Never),
        ("ff02::1", Reach::Never),
        ("ff0e::1", Reach::Never),
    ];
    for (address, expected) in judged {
        assert_eq!(reach(address.parse().expect(address)), *expected, "{address}");
    }
}

#[tokio::test]
async fn no_spelling_of_a_local_address_is_called() {
    let client = Client::new();
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "0",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "10.0.0.1",
        "192.168.1.1",
        "１２７.0.0.1",
        "user@127.0.0.1",
        "example.com@127.0.0.1",
        "user:word@localhost",
    ] {
        let url = Url::parse(&format!("https://{host}/")).expect(host);
        let refused = client.request(Request::new(Method::GET, url, "", Instant::now() + SOON)).await;
        let refused = refused.expect_err(host);
        // Not every resolver knows "localhost" with the root's dot.
        assert!(matches!(refused, Error::Address | Error::Url | Error::Resolve(_)), "{host}: {refused:?}");
        assert_eq!(refused.sent(), Sent::Nothing);
    }
    for host in ["[fe80::1%25eth0]", "127.0.0.1%00.example.com", "[::1"] {
        assert!(Url::parse(&format!("https://{host}/")).is_err(), "{host}");
    }
}

#[tokio::test]
async fn a_public_destination_is_called_by_https_on_port_443_only() {
    let client = Client::new();
    for (url, port) in [
        ("http://example.com/", false),
        ("https://example.com:8443/", true),
        ("https://example.com:80/", true),
    ] {
        let url = Url::parse(url).expect("a URL");
        let refused = client.request(Request::new(Method::GET, url, "", Instant::now() + SOON)).await;
        let expected = |error: &Error| {
            if port { matches!(error, Error::Port) } else { matches!(error, Error::PlainHttp) }
        };
        assert!(refused.as_ref().is_err_and(expected), "{refused:?}");
    }
    let metadata = client.request(to("http://169.254.169.254/latest/meta-data/", SOON)).await;
    assert!(matches!(metadata, Err(Error::Address)), "also where private networks are allowed");
    let file = Url::parse("file:///etc/passwd").expect("a URL");
    let refused = client.request(Request::new(Method::GET, file, "", Instant::now() + SOON)).await;
    assert!(matches!(refused, Err(Error::Url)));
}

/// A name server under the attacker's control, whose answers hide a local address among public ones.
struct Rebinding {
    asked: AtomicUsize,
}

impl Resolve for Rebinding {
    fn resolve<'a>(&'a self, _host: &'a str) -> Resolved<'a> {
        let (public, local) = (IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let answer = match self.asked.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => vec![local],
            1 => vec![public, local],
            _ => vec![local, public],
        };
        Box::pin(async move { Ok::<_, io::Error>(answer) })
    }
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_resolved_once_a_call_and_never_leads_inside() {
    let resolver = Arc::new(Rebinding { asked: AtomicUsize::new(0) });
    let client = Client::new().with_resolver(Arc::<Rebinding>::clone(&resolver));
    for _ in 0..1_000 {
        let url = Url::parse("https://rebinding.example/").expect("a URL");
        let refused = client.request(Request::new(Method::GET, url, "", Instant::now() + SOON)).await;
        assert!(matches!(refused, Err(Error::Address)));
    }
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 1_000);
}

#[tokio::test]
async fn a_request_carries_path_host_and_body_and_asks_for_no_compression() {
    let (sent, mut received) = tokio::sync::mpsc::channel(1);
    let (port, _) = peer(move |mut stream| {
        let sent = sent.clone();
        async move {
            let head = read_head(&mut stream).await;
            let mut body = [0; 4];
            stream.read_exact(&mut body).await.expect("the body");
            stream
                .write_all(b"HTTP/1.1 201 Created\r\nx-a: b\r\ncontent-length: 2\r\n\r\nok")
                .await
                .expect("a peer");
            sent.send((head, body)).await.expect("the test waits");
        }
    })
    .await;
    let mut request = to(&format!("http://localhost:{port}/path?query=1#part"), SOON);
    (request.method, request.body) = (Method::POST, "body".into());
    let request = request.header("x-mine", "yes").expect("a header");
    let response = Client::new().request(request).await.expect("a response");
    assert_eq!((response.status.as_u16(), &response.body[..]), (201, &b"ok"[..]));
    assert_eq!(response.headers["x-a"], "b");
    let (head, body) = received.recv().await.expect("a request");
    assert!(head.starts_with("POST /path?query=1 HTTP/1.1\r\n"), "{head}");
    for header in
        [&format!("host: localhost:{port}"), "accept-encoding: identity", "x-mine: yes", "content-length: 4"]
    {
        assert!(head.contains(header), "{header} in {head}");
    }
    assert_eq!(&body, b"body");
}

#[tokio::test]
async fn a_redirect_is_answered_to_the_caller_and_never_followed() {
    let (trap, visits) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for status in [301, 302, 303, 307, 308] {
        let (port, _) = peer(move |mut stream| async move {
            read_head(&mut stream).await;
            let answer = format!(
                "HTTP/1.1 {status} Away\r\nlocation: http://127.0.0.1:{trap}/\r\ncontent-length: 0\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.expect("a peer");
        })
        .await;
        assert_eq!(get(port, SOON).await.expect("a response").status.as_u16(), status);
    }
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn of_an_endless_body_the_cap_is_kept_and_the_rest_is_not_read() {
    let (written, mut ended) = tokio::sync::mpsc::channel(1);
    let (port, _) = peer(move |mut stream| {
        let written = written.clone();
        async move {
            read_head(&mut stream).await;
            let gib = 1 << 30;
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {gib}\r\n\r\n").as_bytes())
                .await
                .expect("a peer");
            let (piece, mut bytes) = ([b'x'; 65_536], 0);
            while bytes < gib && stream.write_all(&piece).await.is_ok() {
                bytes += piece.len();
            }
            written.send(bytes).await.expect("the test waits");
        }
    })
    .await;
    let response = get(port, SOON).await.expect("a response");
    assert_eq!((response.body.len(), response.truncated), (65_536, true));
    let bytes = ended.recv().await.expect("the peer noticed");
    assert!(bytes < 64 << 20, "only what the sockets buffer: {bytes}");
}

#[tokio::test]
async fn the_deadline_reaches_to_the_last_byte_of_the_body() {
    let within = Duration::from_secs(3);
    let drip = peer(|mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await.expect("a peer");
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let silent = peer(|mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending().await
    });
    let slow_head = peer(|mut stream| async move {
        while stream.write_all(b"HTTP/1.1 200 OK\r\n".get(..1).unwrap_or_default()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let ends = async |port| {
        let started = Instant::now();
        let error = get(port, within).await.expect_err("no whole response");
        // The slow head is no HTTP after its first bytes, which may be noticed before the deadline.
        assert!(matches!(error, Error::Deadline { sent: Sent::Maybe } | Error::Exchange(_)), "{error:?}");
        assert_eq!(error.sent(), Sent::Maybe);
        assert!(error.is_retryable());
        assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    };
    tokio::join!(ends(drip.await.0), ends(silent.await.0), ends(slow_head.await.0));
}

#[tokio::test]
async fn a_failure_says_whether_the_peer_may_have_seen_the_request() {
    let refused = get(free_port(), SOON).await.expect_err("nobody listens");
    assert!(matches!(refused, Error::Connect(_)));
    assert_eq!(refused.sent(), Sent::Nothing);

    let (port, _) = peer(|mut stream| async move { drop(read_head(&mut stream).await) }).await;
    let cut = get(port, SOON).await.expect_err("the peer hangs up");
    assert!(matches!(cut, Error::Exchange(_)));
    assert_eq!(cut.sent(), Sent::Maybe);

    let (port, _) = answering("this is not HTTP\r\n\r\n").await;
    assert!(matches!(get(port, SOON).await, Err(Error::Exchange(_))));
    let (port, _) = answering("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort").await;
    assert!(matches!(get(port, SOON).await, Err(Error::Exchange(_))));
}

mod tls {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::aws_lc_rs;

    use super::*;

    /// A TLS peer for this name; gives its port and its certificate as PEM.
    async fn tls_peer(name: &str) -> (u16, String) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (port, _) = peer(move |stream| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                read_head(&mut stream).await;
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("a peer");
                let _gone = stream.shutdown().await;
            }
        })
        .await;
        (port, cert.pem())
    }

    #[tokio::test]
    async fn a_peer_is_believed_only_with_a_certificate_for_its_name_from_a_known_root() {
        let (port, pem) = tls_peer("localhost").await;
        let url = format!("https://localhost:{port}/");
        let trusting = Client::with_extra_roots(pem.as_bytes()).expect("a root");
        assert_eq!(trusting.request(to(&url, SOON)).await.expect("a response").status.as_u16(), 204);

        let stranger = Client::new().request(to(&url, SOON)).await.expect_err("an unknown root");
        assert!(matches!(stranger, Error::Tls(_)), "{stranger:?}");
        assert_eq!(stranger.sent(), Sent::Nothing);

        let (port, pem) = tls_peer("other.example").await;
        let trusting = Client::with_extra_roots(pem.as_bytes()).expect("a root");
        let other = trusting.request(to(&format!("https://localhost:{port}/"), SOON)).await;
        assert!(matches!(other, Err(Error::Tls(_))), "{other:?}");
        assert!(Client::with_extra_roots(b"nothing").is_err());
    }
}

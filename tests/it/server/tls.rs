//! TLS on a listener.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use formgate::server::{Error, Limits, Listener, Server, Tls};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs},
};

use super::{Echo, PATIENCE, Running, body, read_reply, read_to_close, short, start, start_on, status};

#[tokio::test]
async fn tls_serves_http_1_1_and_refuses_plain_text() {
    let (server, client) = tls_pair(Limits::default()).await;
    let mut stream = handshake(&server, client).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let request = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\nok";
    stream.write_all(request).await.expect("open");
    assert_eq!(body(&read_reply(&mut stream).await), "POST / 2");

    let plain = server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(status(&plain).is_none(), "{plain:?}");
}

#[tokio::test]
async fn a_tls_handshake_has_the_deadline_of_a_head() {
    let (server, _) = tls_pair(short()).await;
    let started = Instant::now();
    let mut stream = server.connect().await;
    read_to_close(&mut stream).await;
    assert!(started.elapsed() < PATIENCE / 2, "closed after {:?}", started.elapsed());
}

#[tokio::test]
async fn an_unusable_certificate_or_a_taken_port_is_told_before_anything_starts() {
    let (cert_pem, key_pem) = certificate();
    let bind = async |tls: Option<Tls>, addr: SocketAddr| {
        Server::bind(Listener { addr, tls }, Limits::default(), Arc::new(Echo::default())).await.err()
    };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let no_cert = Tls { cert_pem: "nothing".into(), key_pem: key_pem.clone().into() };
    assert!(matches!(bind(Some(no_cert), any).await, Some(Error::Certificate(_))));
    let no_key = Tls { cert_pem: cert_pem.clone(), key_pem: "nothing".into() };
    assert!(matches!(bind(Some(no_key), any).await, Some(Error::Key(_))));
    let other_key = Tls { cert_pem, key_pem: certificate().1.into() };
    assert!(matches!(bind(Some(other_key), any).await, Some(Error::Tls(_))));
    let taken = start(Limits::default()).await;
    assert!(matches!(bind(None, taken.addr).await, Some(Error::Bind { .. })));
}

fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

async fn tls_pair(limits: Limits) -> (Running, TlsConnector) {
    let (cert_pem, key_pem) = certificate();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cert_pem.as_bytes()).expect("PEM")).expect("a root");
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tls = Tls { cert_pem, key_pem: key_pem.into() };
    (start_on(limits, Some(tls), PATIENCE).await, Arc::new(config).into())
}

async fn handshake(
    server: &Running,
    connector: TlsConnector,
) -> TlsStream<impl AsyncRead + AsyncWrite + Unpin> {
    let name = ServerName::try_from("localhost").expect("a name");
    connector.connect(name, server.connect().await).await.expect("a handshake")
}

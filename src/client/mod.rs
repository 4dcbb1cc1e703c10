//! The one outbound client: every call to a tool, a destination, an endpoint or a mail server goes through here.
//!
//! Invariant: a call ends by its deadline, which covers everything from the name to the last byte of the body, and holds
//! at most the capped number of body bytes; and it connects only to an address that [`reach`] has judged.
//!
//! It deliberately follows no redirects, reads no proxy from the environment, keeps no cookies, decompresses nothing and
//! keeps no connection: each call has its own, so that no call inherits another's trouble.

mod address;
mod body;
mod error;
mod mail;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Uri;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT_ENCODING, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use crate::fault;

pub use self::address::{Reach, reach};
pub use self::body::Upload;
pub use self::error::{Error, Fault, Sent};
pub use self::mail::{Mail, MailSecurity, MailServer};
pub use hyper::{Method, StatusCode, header};

/// Body bytes kept of a response unless the caller says otherwise.
pub const DEFAULT_MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// What a response may send before its body.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How long one address of a host may take to accept, so that the next one gets its turn.
const MAX_CONNECT: Duration = Duration::from_secs(10);

/// Where a call may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressPolicy {
    /// https, port 443, public addresses.
    PublicHttps,
    /// Also plain http, any port, and private and loopback addresses. Metadata services stay out of reach.
    AllowPrivateNetwork,
}

/// One call.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Headers; those that describe the connection or the length are set by the client.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// When the last byte of the response must be here.
    pub deadline: Instant,
    /// Body bytes to keep; the rest is not read.
    pub max_response_bytes: usize,
    /// Where the call may go.
    pub policy: AddressPolicy,
}

impl Request {
    /// A call to a public destination, with the default cap and no headers.
    #[must_use]
    pub fn new(method: Method, url: Url, body: impl Into<Bytes>, deadline: Instant) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: body.into(),
            deadline,
            max_response_bytes: DEFAULT_MAX_RESPONSE_BYTES,
            policy: AddressPolicy::PublicHttps,
        }
    }

    /// Sets a header, which replaces one of the same name.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, Error> {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_invalid| Error::Header)?;
        self.headers.insert(name, HeaderValue::from_str(value).map_err(|_invalid| Error::Header)?);
        Ok(self)
    }
}

// The URL of a hook is often its secret, and bodies are answers.
impl std::fmt::Debug for Request {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("body_bytes", &self.body.len())
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// What came back.
#[derive(Clone)]
pub struct Response {
    /// The status, also when it is a redirect: none is followed.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as far as the cap allows.
    pub body: Bytes,
    /// Whether the body was longer than the cap.
    pub truncated: bool,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Response")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .field("truncated", &self.truncated)
            .finish_non_exhaustive()
    }
}

/// The addresses of a host, or why there are none.
pub type Resolved<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Turns a name into addresses.
pub trait Resolve: Send + Sync {
    /// The addresses of `host`, in the order in which they are to be tried.
    fn resolve<'a>(&'a self, host: &'a str) -> Resolved<'a>;
}

/// The resolver of the operating system.
struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolved<'a> {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((host, 0)).await?;
            Ok(addresses.map(|address| address.ip()).collect())
        })
    }
}

/// The extra certificates are not usable.
#[derive(Debug, thiserror::Error)]
#[error("the extra root certificates cannot be read")]
pub struct InvalidRoots;

/// The client; cheap to clone.
#[derive(Clone)]
pub struct Client {
    tls: TlsConnector,
    resolver: Arc<dyn Resolve>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Client")
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::trusting(RootCertStore::empty())
    }
}

impl Client {
    /// A client that trusts Mozilla's roots.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A client that also trusts the certificates in this PEM text, for intranets and tests.
    pub fn with_extra_roots(pem: &[u8]) -> Result<Self, InvalidRoots> {
        let mut extra = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            extra.add(certificate.map_err(|_invalid| InvalidRoots)?).map_err(|_invalid| InvalidRoots)?;
        }
        if extra.is_empty() { Err(InvalidRoots) } else { Ok(Self::trusting(extra)) }
    }

    fn trusting(mut roots: RootCertStore) -> Self {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider supports the default versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { tls: TlsConnector::from(Arc::new(config)), resolver: Arc::new(SystemResolver) }
    }

    /// The same client with other name resolution. What it answers is judged like any other answer.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolve>) -> Self {
        self.resolver = resolver;
        self
    }

    /// Makes the call. Cancel safe: dropping the future closes the connection.
    pub async fn request(&self, request: Request) -> Result<Response, Error> {
        self.call(request, None, None).await
    }

    /// Makes the call and hands the body of a 2xx on in pieces, as fast as they are taken; the response has none then.
    ///
    /// A body that is longer than the cap is `truncated`: if it says so, no piece is handed on. So is one whose pieces
    /// nobody takes any more. Cancel safe: dropping the future closes the connection.
    pub async fn download(&self, request: Request, to: mpsc::Sender<Bytes>) -> Result<Response, Error> {
        self.call(request, None, Some(to)).await
    }

    /// Makes the call with a body that comes in pieces; the request's own is not sent. Cancel safe: dropping the future
    /// closes the connection.
    pub async fn upload(&self, request: Request, body: Upload) -> Result<Response, Error> {
        self.call(request, Some(body), None).await
    }

    async fn call(
        &self,
        request: Request,
        body: Option<Upload>,
        to: Option<mpsc::Sender<Bytes>>,
    ) -> Result<Response, Error> {
        let target = Target::of(&request)?;
        let connected = timeout_at(request.deadline, self.connect(&target, request.policy));
        let stream = connected.await.map_err(|_elapsed| Error::Deadline { sent: Sent::Nothing })??;
        timeout_at(request.deadline, exchange(stream, request, body, &target, to))
            .await
            .map_err(|_elapsed| Error::Deadline { sent: Sent::Maybe })?
    }

    async fn connect(&self, target: &Target, policy: AddressPolicy) -> Result<Box<dyn Stream>, Error> {
        let tcp = self.dial(&target.host, target.port, policy).await?;
        if target.tls { Ok(Box::new(self.secure(&target.host, tcp).await?)) } else { Ok(Box::new(tcp)) }
    }

    /// Connects to an address of this host that was judged.
    async fn dial(&self, host: &Host<String>, port: u16, policy: AddressPolicy) -> Result<TcpStream, Error> {
        let addresses = match host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => self.resolver.resolve(name).await.map_err(Error::Resolve)?,
        };
        let allowed = |address: &IpAddr| match reach(*address) {
            Reach::Public => true,
            Reach::Private => policy == AddressPolicy::AllowPrivateNetwork,
            Reach::Never => false,
        };
        // One bad answer condemns the name: an honest public service has none.
        if !addresses.iter().all(allowed) {
            return Err(Error::Address);
        }
        connect_any(&addresses, port).await
    }

    /// Puts TLS on a connection and checks that the peer is this host.
    async fn secure(&self, host: &Host<String>, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Error> {
        let name = match host {
            Host::Ipv4(address) => ServerName::from(IpAddr::V4(*address)),
            Host::Ipv6(address) => ServerName::from(IpAddr::V6(*address)),
            Host::Domain(name) => {
                // A certificate never names the root's dot.
                let name = name.strip_suffix('.').unwrap_or(name);
                ServerName::try_from(name.to_owned()).map_err(|_invalid| Error::Url)?
            }
        };
        self.tls.connect(name, tcp).await.map_err(Error::Tls)
    }
}

/// Where a URL leads, checked as far as that goes without the network.
struct Target {
    host: Host<String>,
    port: u16,
    tls: bool,
    authority: HeaderValue,
}

impl Target {
    fn of(request: &Request) -> Result<Self, Error> {
        let url = &request.url;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::Url);
        }
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(Error::Url),
        };
        let host = url.host().ok_or(Error::Url)?.to_owned();
        let port = url.port_or_known_default().ok_or(Error::Url)?;
        if request.policy == AddressPolicy::PublicHttps {
            if !tls {
                return Err(Error::PlainHttp);
            }
            if port != 443 {
                return Err(Error::Port);
            }
        }
        // The default port is not in the URL and does not belong into the header.
        let authority = url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
        let authority = HeaderValue::from_str(&authority).map_err(|_invalid| Error::Url)?;
        Ok(Self { host, port, tls, authority })
    }
}

/// A connection, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect_any(addresses: &[IpAddr], port: u16) -> Result<TcpStream, Error> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match timeout(MAX_CONNECT, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(Error::Connect)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_elapsed) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(Error::Connect(last))
}

async fn exchange(
    stream: Box<dyn Stream>,
    request: Request,
    body: Option<Upload>,
    target: &Target,
    to: Option<mpsc::Sender<Bytes>>,
) -> Result<Response, Error> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Error::Exchange)?;
    // In its own future and not its own task, so that it ends with the call.
    let mut connection = std::pin::pin!(connection);

    let path = request.url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
    let mut outgoing = hyper::Request::new(body.unwrap_or_else(|| Upload::whole(request.body)));
    *outgoing.method_mut() = request.method;
    *outgoing.uri_mut() = path.parse::<Uri>().map_err(|_invalid| Error::Url)?;
    *outgoing.headers_mut() = request.headers;
    let headers = outgoing.headers_mut();
    headers.insert(HOST, target.authority.clone());
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(concat!("formgate/", env!("CARGO_PKG_VERSION"))));

    let call = async {
        let response = sender.send_request(outgoing).await.map_err(Error::Exchange)?;
        let (parts, body) = response.into_parts();
        let (body, truncated) = match to.filter(|_| parts.status.is_success()) {
            None => read_capped(body, request.max_response_bytes).await?,
            Some(to) => (Bytes::new(), !hand_on(body, request.max_response_bytes, &to).await?),
        };
        Ok(Response { status: parts.status, headers: parts.headers, body, truncated })
    };
    let mut call = std::pin::pin!(call);
    tokio::select! {
        biased;
        result = &mut call => return result,
        // The connection ended; what it had read has still to be taken.
        _ended = &mut connection => {}
    }
    call.await
}

async fn read_capped(mut body: Incoming, max_bytes: usize) -> Result<(Bytes, bool), Error> {
    let mut kept = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Error::Exchange)?.into_data() else { continue };
        let room = if fault::is_on("client.no_cap") { usize::MAX } else { max_bytes - kept.len() };
        if data.len() > room {
            kept.extend_from_slice(data.get(..room).unwrap_or_default());
            return Ok((kept.freeze(), true));
        }
        kept.extend_from_slice(&data);
    }
    Ok((kept.freeze(), false))
}

/// Hands a body on; whether all of it was taken.
async fn hand_on(mut body: Incoming, max_bytes: usize, to: &mpsc::Sender<Bytes>) -> Result<bool, Error> {
    let mut room = max_bytes as u64;
    if body.size_hint().lower() > room {
        return Ok(false);
    }
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Error::Exchange)?.into_data() else { continue };
        let Some(left) = room.checked_sub(data.len() as u64) else { return Ok(false) };
        room = left;
        if to.send(data).await.is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

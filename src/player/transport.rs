//! How a sealed request reaches the endpoint: one POST, one answer, a deadline to the last body byte and a size cap.
//!
//! A test hands in its own [`Transport`] to call a handler without sockets; [`HttpTransport`] is the real one.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The client gives up after 10 s (WhatsApp Flows reference 1.11).
pub const DEADLINE: Duration = Duration::from_secs(10);

/// The data endpoint's payload limit (reference 1.1).
pub const MAX_REPLY_BYTES: usize = 10 * 1024 * 1024;

/// Why no HTTP answer arrived.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No complete answer within the deadline; Meta calls it `timeout_error`.
    #[error("no complete answer within {} s", DEADLINE.as_secs())]
    Timeout,
    /// The connection could not be made or broke; Meta calls it `no_http_response_error`.
    #[error("the connection failed")]
    Connection(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The address is not an `http://` URL with a host.
    #[error("the endpoint address is not an http:// URL with a host")]
    Address,
}

/// An endpoint's answer before any judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, when there is one.
    pub content_type: Option<String>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Carries a request to the endpoint.
pub trait Transport: Send + Sync {
    /// Posts `body` with `headers`. Cancel safe: dropping it closes the connection.
    fn post(
        &self,
        body: Vec<u8>,
        headers: Vec<(&'static str, String)>,
    ) -> impl Future<Output = Result<Response, Error>> + Send;
}

/// Plain HTTP/1.1 to one URL, a new connection for each request.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    authority: String,
    path: String,
}

impl HttpTransport {
    /// An endpoint's address, for example `http://127.0.0.1:8080/flows/contact`.
    pub fn new(address: &str) -> Result<Self, Error> {
        let url = url::Url::parse(address).map_err(|_| Error::Address)?;
        let host = url.host_str().ok_or(Error::Address)?;
        let port = url.port_or_known_default().ok_or(Error::Address)?;
        if url.scheme() != "http" {
            return Err(Error::Address);
        }
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        Ok(Self { authority: format!("{host}:{port}"), path: format!("{}{query}", url.path()) })
    }

    async fn exchange(&self, body: Vec<u8>, headers: Vec<(&'static str, String)>) -> Result<Response, Error> {
        let stream = TcpStream::connect(&self.authority).await.map_err(connection)?;
        let (mut sender, driver) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(connection)?;
        let mut request = Request::post(&self.path).header(hyper::header::HOST, &self.authority);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(connection)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(connection)?;
            let status = response.status().as_u16();
            let content_type = response.headers().get(hyper::header::CONTENT_TYPE);
            let content_type =
                content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            // One byte over the cap is read, so that the judge sees that the limit was passed.
            let body = Limited::new(response.into_body(), MAX_REPLY_BYTES + 1).collect().await;
            let body = body.map_err(Error::Connection)?.to_bytes().to_vec();
            Ok(Response { status, content_type, body })
        };
        tokio::pin!(exchange);
        let mut driver = std::pin::pin!(driver);
        tokio::select! {
            answer = &mut exchange => answer,
            _ = &mut driver => exchange.await,
        }
    }
}

impl Transport for HttpTransport {
    async fn post(&self, body: Vec<u8>, headers: Vec<(&'static str, String)>) -> Result<Response, Error> {
        tokio::time::timeout(DEADLINE, self.exchange(body, headers)).await.map_err(|_| Error::Timeout)?
    }
}

fn connection(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Connection(Box::new(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_http_address_with_a_host_is_taken() {
        let transport = HttpTransport::new("http://localhost/flows/contact?x=1").expect("an address");
        assert_eq!(
            (transport.authority.as_str(), transport.path.as_str()),
            ("localhost:80", "/flows/contact?x=1")
        );
        for address in ["https://localhost/x", "localhost:80", "file:///x", ""] {
            assert!(HttpTransport::new(address).is_err(), "{address}");
        }
    }
}

//! How a sealed request reaches the endpoint: one POST, one answer, a deadline to the last body byte and a size cap.
//!
//! A test hands in its own [`Transport`] to call a handler without sockets; [`HttpTransport`] is the real one.

use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use crate::client::{self, AddressPolicy, Client, Method, Request, header};

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
    /// The address is not an `http://` or `https://` URL with a host.
    #[error("the endpoint address is not an http:// or https:// URL with a host")]
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

/// HTTP/1.1 to one URL, a new connection for each request.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: Client,
    url: Url,
}

impl HttpTransport {
    /// An endpoint's address, for example `http://127.0.0.1:8080/flows/contact`.
    pub fn new(address: &str) -> Result<Self, Error> {
        let url = Url::parse(address).map_err(|_| Error::Address)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(Error::Address);
        }
        Ok(Self { client: Client::new(), url })
    }
}

impl Transport for HttpTransport {
    async fn post(&self, body: Vec<u8>, headers: Vec<(&'static str, String)>) -> Result<Response, Error> {
        let mut request = Request::new(Method::POST, self.url.clone(), body, Instant::now() + DEADLINE);
        // An endpoint that is tried out often stands on the same machine.
        request.policy = AddressPolicy::AllowPrivateNetwork;
        // One byte over the cap is read, so that the judge sees that the limit was passed.
        request.max_response_bytes = MAX_REPLY_BYTES + 1;
        for (name, value) in headers {
            request = request.header(name, &value).map_err(failed)?;
        }
        let response = self.client.request(request).await.map_err(failed)?;
        let content_type = response.headers.get(header::CONTENT_TYPE);
        Ok(Response {
            status: response.status.as_u16(),
            content_type: content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
            body: response.body.to_vec(),
        })
    }
}

fn failed(error: client::Error) -> Error {
    match error {
        client::Error::Deadline { .. } => Error::Timeout,
        other => Error::Connection(Box::new(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_web_address_with_a_host_is_taken() {
        for address in ["http://localhost/flows/contact?x=1", "https://forms.example.com/flows/contact"] {
            assert_eq!(HttpTransport::new(address).expect("an address").url.as_str(), address);
        }
        for address in ["ftp://localhost/x", "localhost:80", "file:///x", ""] {
            assert!(HttpTransport::new(address).is_err(), "{address}");
        }
    }
}

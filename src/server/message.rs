//! What passes between the edge and a handler.

use std::{fmt, net::SocketAddr, time::Instant};

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, StatusCode, Uri,
    header::{self, HeaderName, HeaderValue},
};
use serde::Serialize;

use super::stream::Pieces;

/// Names one request in logs and in the reply's `x-request-id`: a random prefix per listener and a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    pub(super) prefix: u32,
    pub(super) number: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:x}", self.prefix, self.number)
    }
}

/// One request, read to its last byte.
pub struct Request {
    /// The method.
    pub method: Method,
    /// The request target. Its query may hold a secret: log [`Request::path`] only.
    pub uri: Uri,
    /// The header lines.
    pub headers: HeaderMap,
    /// The raw body, exactly as sent: signatures are checked over it.
    pub body: Bytes,
    /// The TCP peer. Behind a proxy this is the proxy.
    pub peer: SocketAddr,
    /// This request's name in logs.
    pub id: RequestId,
    /// When the head had arrived: the start of the peer's waiting time.
    pub received: Instant,
}

impl Request {
    /// The path, still percent-encoded.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// The query, still percent-encoded.
    pub fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    /// A header's value, if it is there and is visible ASCII.
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Leaves out query, headers and body, which hold signatures, cookies and answers.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("id", &self.id)
            .field("method", &self.method)
            .field("path", &self.path())
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// One reply.
#[derive(Clone)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The header lines; length, date and request id are added by the server.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Stands for `body` where that would be too long to hold.
    pub(super) pieces: Option<Pieces>,
}

impl Response {
    /// A status and nothing else.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new(), pieces: None }
    }

    /// A body of the given `content-type`.
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::empty(status) }
            .with_header(header::CONTENT_TYPE, HeaderValue::from_static(content_type))
    }

    /// A body that comes in pieces, of the given `content-type`.
    pub fn streamed(status: StatusCode, content_type: HeaderValue, pieces: Pieces) -> Self {
        Self { pieces: Some(pieces), ..Self::empty(status) }.with_header(header::CONTENT_TYPE, content_type)
    }

    /// Plain text.
    pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body)
    }

    /// A page.
    pub fn html(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(status, "text/html; charset=utf-8", body)
    }

    /// JSON; a value that cannot be written as JSON becomes an empty 500.
    pub fn json(status: StatusCode, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::new(status, "application/json", body),
            Err(error) => {
                tracing::error!(error = %error, "reply is not representable as JSON");
                Self::empty(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// 405, naming the methods this path knows (RFC 9110, 15.5.6).
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self::empty(StatusCode::METHOD_NOT_ALLOWED)
            .with_header(header::ALLOW, HeaderValue::from_static(allow))
    }

    /// Sets a header, replacing an earlier value.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// How long the body is, whole or in pieces.
    pub(super) fn body_bytes(&self) -> u64 {
        self.pieces.as_ref().map_or(self.body.len() as u64, |pieces| pieces.length)
    }

    /// Says that the connection ends with this reply.
    #[must_use]
    pub fn closing(self) -> Self {
        self.with_header(header::CONNECTION, HeaderValue::from_static("close"))
    }
}

/// Leaves out headers and body, which hold cookies and answers.
impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("body_bytes", &self.body_bytes())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_holds_neither_query_nor_header_nor_body() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("canary-cookie"));
        let request = Request {
            method: Method::POST,
            uri: Uri::from_static("/flows/contact?code=canary-query"),
            headers: headers.clone(),
            body: Bytes::from_static(b"canary-body"),
            peer: ([127, 0, 0, 1], 1).into(),
            id: RequestId { prefix: 1, number: 2 },
            received: Instant::now(),
        };
        let response = Response {
            status: StatusCode::OK,
            headers,
            body: Bytes::from_static(b"canary-body"),
            pieces: None,
        };
        let output = format!("{request:?} {response:?}");
        assert!(output.contains("/flows/contact") && !output.contains("canary"), "{output}");
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let response = Response::method_not_allowed("GET, POST");
        assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers.get(header::ALLOW), Some(&HeaderValue::from_static("GET, POST")));
    }
}

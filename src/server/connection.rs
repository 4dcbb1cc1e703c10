//! One connection: requests in, replies out, until the peer leaves, loses its pace, or we drain.

use std::{
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    StatusCode, Version,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use super::{
    Handler, Limits, Request, RequestId, Response,
    body::{self, Budget},
    pace::{Pace, Paced},
    stream::Streamed,
};

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// hyper refuses to read a head into less, and a body chunk is read into the same buffer.
const MIN_READ_BUFFER_BYTES: usize = 32 * 1024;

/// What all connections of a listener share.
pub(super) struct Shared<H> {
    pub(super) handler: Arc<H>,
    pub(super) limits: Limits,
    http: http1::Builder,
    budget: Budget,
    id_prefix: u32,
    id_number: AtomicU64,
}

impl<H> Shared<H> {
    pub(super) fn new(handler: Arc<H>, limits: Limits) -> Self {
        let mut http = http1::Builder::new();
        // hyper's header timer stays off: `Pace` keeps that deadline, and the idle one.
        http.header_read_timeout(None)
            .max_headers(limits.max_headers)
            .max_header_size(limits.max_header_bytes)
            .max_buf_size(limits.max_header_bytes.max(MIN_READ_BUFFER_BYTES))
            .half_close(false);
        Self {
            handler,
            budget: Budget::new(limits.max_in_flight_body_bytes),
            limits,
            http,
            id_prefix: rand::random(),
            id_number: AtomicU64::new(0),
        }
    }

    fn next_id(&self) -> RequestId {
        RequestId { prefix: self.id_prefix, number: self.id_number.fetch_add(1, Relaxed) }
    }
}

/// How long a connection that nothing is asked on is still listened to after a stop: what was sent before it may be on its way.
const LAST_CALL: Duration = Duration::from_millis(250);

/// Serves one connection until it ends; on `stop` the request in flight is still answered.
pub(super) async fn serve<S, H>(
    stream: S,
    peer: SocketAddr,
    accepted: tokio::time::Instant,
    shared: Arc<Shared<H>>,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    let pace = Arc::new(Pace::new(&shared.limits, accepted));
    let io = TokioIo::new(Paced { stream, pace: Arc::clone(&pace) });
    let service = {
        let (shared, pace) = (Arc::clone(&shared), Arc::clone(&pace));
        service_fn(move |request| respond(Arc::clone(&shared), Arc::clone(&pace), peer, request))
    };
    let mut connection = pin!(shared.http.serve_connection(io, service));
    let mut timer = pin!(tokio::time::sleep(shared.limits.header_read));
    // A dropped sender means that the process is going away: drain as well.
    let mut stopped = pin!(async move {
        drop(stop.wait_for(|stop| *stop).await);
        tokio::time::sleep(LAST_CALL).await;
    });
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = poll_fn(|cx| match connection.as_mut().poll(cx) {
                Poll::Ready(ended) => Poll::Ready(Some(ended)),
                Poll::Pending => pace.watch(timer.as_mut(), cx).map(|()| None),
            }) => {
                match ended {
                    Some(Ok(())) => {}
                    Some(Err(error)) => tracing::debug!(net.peer = %peer, error = %error, "connection failed"),
                    None => tracing::debug!(net.peer = %peer, "connection closed: the peer was too slow"),
                }
                return;
            }
            () = stopped.as_mut(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn respond<H: Handler>(
    shared: Arc<Shared<H>>,
    pace: Arc<Pace>,
    peer: SocketAddr,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Either<Full<Bytes>, Streamed<Finished>>>, Infallible> {
    let received = Instant::now();
    pace.request_started();
    let finished = Finished(pace);
    let id = shared.next_id();
    let (head, body) = request.into_parts();
    let (method, uri) = (head.method.clone(), head.uri.clone());

    let response = if !names_one_host(&head) {
        Response::empty(StatusCode::BAD_REQUEST).closing()
    } else {
        let cap = shared.handler.body_limit(&head.method, head.uri.path());
        match body::read(body, cap, shared.limits.body_read, &shared.budget).await {
            Ok(whole) => {
                let request = Request {
                    method: head.method,
                    uri: head.uri,
                    headers: head.headers,
                    body: whole.bytes.clone(),
                    peer,
                    id,
                    received,
                };
                // `whole` keeps its share of the memory budget until the handler is done.
                handle(&*shared.handler, request).await
            }
            Err(refused) => {
                tracing::debug!(request.id = %id, error = %refused, "body refused");
                Response::empty(refused.status()).closing()
            }
        }
    };

    tracing::debug!(
        request.id = %id,
        http.method = %method,
        http.path = uri.path(),
        http.status = response.status.as_u16(),
        http.response_bytes = response.body_bytes(),
        http.duration_us = u64::try_from(received.elapsed().as_micros()).unwrap_or(u64::MAX),
        net.peer = %peer,
        "request answered"
    );
    let body = match response.pieces {
        None => Either::Left(Full::new(response.body)),
        // The connection does not rest before the last piece was sent.
        Some(pieces) => Either::Right(pieces.into_body(finished)),
    };
    let mut reply = hyper::Response::new(body);
    *reply.status_mut() = response.status;
    *reply.headers_mut() = response.headers;
    if let Ok(value) = HeaderValue::try_from(id.to_string()) {
        reply.headers_mut().insert(X_REQUEST_ID.clone(), value);
    }
    Ok(reply)
}

/// Runs the handler; a panic costs this one request, not the process.
async fn handle<H: Handler>(handler: &H, request: Request) -> Response {
    let id = request.id;
    // The closure form of a handler runs code before its future exists; the block brings it under the same guard.
    let mut future = pin!(async { handler.handle(request).await });
    let outcome = poll_fn(|cx| {
        // Unwind safe: after a panic the future is only dropped, and what handlers share is behind locks that poison.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await;
    // The panic's text may quote what was being handled, so it is not logged here.
    outcome.unwrap_or_else(|_| {
        tracing::error!(request.id = %id, "handler panicked");
        Response::empty(StatusCode::INTERNAL_SERVER_ERROR).closing()
    })
}

/// HTTP/1.1 asks for exactly one `Host` line (RFC 9112, 3.2); anything else is a sign of request smuggling.
fn names_one_host(head: &hyper::http::request::Parts) -> bool {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => true,
        (None, None) => head.version == Version::HTTP_10,
        _ => false,
    }
}

/// Lets the connection rest, however its request ended.
struct Finished(Arc<Pace>);

impl Drop for Finished {
    fn drop(&mut self) {
        self.0.request_finished();
    }
}

//! The destination: a web server of its own, which checks signatures by its own code and writes down what came.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::Sha256;

use super::ledger::Ledger;

/// A running destination.
pub struct Sink {
    pub url: String,
    /// `whsec_…`
    pub secret: String,
}

impl Sink {
    pub async fn start(ledger: Arc<Ledger>) -> Sink {
        let key: [u8; 32] = rand::random();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let ledger = Arc::clone(&ledger);
                tokio::spawn(async move {
                    let service = service_fn(move |request| take(request, key, Arc::clone(&ledger)));
                    // A caller that was killed breaks its connection.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Sink { url: format!("http://{address}/hook"), secret: format!("whsec_{}", STANDARD.encode(key)) }
    }
}

async fn take(
    request: Request<Incoming>,
    key: [u8; 32],
    ledger: Arc<Ledger>,
) -> Result<Response<Empty<Bytes>>, hyper::Error> {
    let header = |name: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (id, timestamp, signatures) =
        (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    // A request that is cut off in its body was never here.
    let body = request.into_body().collect().await?.to_bytes();
    let status = match read(&body).filter(|_| is_signed(&key, &id, &timestamp, &signatures, &body)) {
        Some((submission, walk, name)) => {
            ledger.deliver(&id, &submission, &walk, &name);
            StatusCode::NO_CONTENT
        }
        None => {
            ledger.complain(format!("the delivery {id} is not signed, or not readable"));
            StatusCode::UNAUTHORIZED
        }
    };
    // Taken but not yet answered: when the process is killed now, it must send the same again.
    tokio::time::sleep(Duration::from_millis(rand::random_range(0..15))).await;
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}

/// Standard Webhooks 1.0.0: `v1,` and the base64 of HMAC-SHA-256 over id, time and body.
fn is_signed(key: &[u8; 32], id: &str, timestamp: &str, signatures: &str, body: &[u8]) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    signatures.split(' ').any(|signature| signature == expected)
}

/// Submission, flow token, and the answer to the first question.
fn read(body: &[u8]) -> Option<(String, String, String)> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = |path: &str| body.pointer(path).and_then(Value::as_str).map(str::to_owned);
    Some((text("/data/id")?, text("/data/flow_token")?, text("/data/answers/0/value")?))
}

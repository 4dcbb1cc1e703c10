//! The data exchange: what Meta's client calls on every screen.
//!
//! Order of work (WhatsApp Flows reference, 1.13): signature over the raw body (432), envelope (421), health check and error
//! notice, token (427), state (427), the screen handlers, and at the end the submission, stored before the closing screen is
//! sent.
//!
//! Invariants: one envelope has one reply; nothing is answered as accepted that is not durable; no answer, token or state is
//! logged. What it deliberately does not do: it knows no route and no form tool.

mod check;
mod exchange;
mod registry;
mod repeat;
mod replies;
mod request;
mod state;
mod submission;
pub mod token;

use std::sync::Arc;
use std::time::Instant;

pub use registry::{Flow, Flows, TokenPolicy, TokenSignature};

use crate::crypto::{HubSignature, Sealer};
use crate::fault;
use crate::outbox::{Clock, Outbox};
use crate::server::{Request, Response, StatusCode};
use crate::telemetry::Metrics;

use self::replies::Replies;

/// The endpoint of all flows; cheap to clone.
#[derive(Clone)]
pub struct Endpoint(Arc<Parts>);

struct Parts {
    flows: Flows,
    sealer: Sealer,
    outbox: Outbox,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    replies: Replies,
}

impl Endpoint {
    /// The endpoint of these flows.
    pub fn new(
        flows: Flows,
        sealer: Sealer,
        outbox: Outbox,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Endpoint {
        Endpoint(Arc::new(Parts { flows, sealer, outbox, clock, metrics, replies: Replies::default() }))
    }

    /// Answers one request to `POST /flows/{flow_id}`.
    ///
    /// | Status | When |
    /// | --- | --- |
    /// | 200 | answered, encrypted |
    /// | 400 | decrypted, but no JSON object |
    /// | 404 | no such flow here |
    /// | 405 | not a POST |
    /// | 415 | a content type that is not JSON |
    /// | 421 | no key opens it |
    /// | 427 | the token or the state is no longer valid, or this person has answered; the message is encrypted |
    /// | 432 | the signature is not of this app |
    /// | 503 | the store could not take the submission or the opening now; a repeat is safe |
    pub async fn exchange(&self, flow_id: &str, request: &Request) -> Response {
        let started = Instant::now();
        let Some(flow) = self.0.flows.get(flow_id) else { return Response::empty(StatusCode::NOT_FOUND) };
        if request.method != crate::server::Method::POST {
            return Response::method_not_allowed("POST");
        }
        if let Some(kind) = request.header(crate::server::header::CONTENT_TYPE)
            && !kind.trim_start().to_ascii_lowercase().starts_with("application/json")
        {
            return Response::empty(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        let now_s = u64::try_from(self.0.clock.now_ms() / 1_000).unwrap_or(0);
        let signature = request.header("x-hub-signature-256");
        if HubSignature::verify(&flow.app_secrets, signature, &request.body, now_s).is_err() {
            self.0.metrics.signature_failure();
            flow.metrics.refused(432);
            return Response::empty(status(432));
        }
        let Ok(mut opened) = flow.keys.open(&request.body) else {
            self.0.metrics.undecryptable();
            flow.metrics.refused(421);
            return Response::empty(StatusCode::MISDIRECTED_REQUEST);
        };
        if fault::is_on("endpoint.forgets_envelopes") {
            opened.envelope = rand::random();
        }
        fault::point("endpoint.opened");
        let slot = self.0.replies.slot(opened.envelope);
        let answer = slot.get_or_init(|| exchange::answer(&self.0, &flow, opened)).await.clone();
        if answer.status != StatusCode::OK && answer.status != status(427) {
            // A passing trouble is not the reply of this envelope.
            self.0.replies.forget(&slot);
        }
        flow.metrics.exchange(answer.action, answer.status.as_u16(), started.elapsed());
        answer.into_response()
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

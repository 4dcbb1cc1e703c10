//! The destination that every tool understands: a signed POST of JSON, by Standard Webhooks 1.0.0.

mod retry_after;
mod shape;

use std::sync::Arc;

use jiff::Timestamp;
use url::Url;

use super::destination::{Attempting, Call, Destination, Outcome};
use super::ids::DestinationId;
use crate::client::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use crate::client::{AddressPolicy, Client, Error, Method, Request, StatusCode};

pub use self::shape::{Field, LeadFields, Shape, slug};

/// Signs a webhook. `crypto` implements it; the outbox never sees the secret.
pub trait SignWebhook: Send + Sync {
    /// The value of `webhook-signature` for this id, time and body: one signature for each active key.
    fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String;
}

/// A webhook as configured.
pub struct Webhook {
    /// Its name.
    pub id: DestinationId,
    /// Where to; often a secret itself.
    pub url: Url,
    /// With which secret; `None` sends it unsigned.
    pub signer: Option<Arc<dyn SignWebhook>>,
    /// What the body looks like.
    pub shape: Shape,
    /// Headers of the operator's own, such as a bearer token.
    pub headers: HeaderMap,
    /// Whether it may be in a private network.
    pub policy: AddressPolicy,
    /// By which client.
    pub client: Client,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Webhook").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Destination for Webhook {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn deliver<'a>(&'a self, call: Call<'a>) -> Attempting<'a> {
        Box::pin(self.post(call))
    }
}

impl Webhook {
    async fn post(&self, call: Call<'_>) -> Outcome {
        let Ok(body) = serde_json::to_vec(&self.shape.render(call.submission)) else {
            return Outcome::refused("render", None, "the submission cannot be written as JSON");
        };
        let key = call.key.to_string();
        // The time of this attempt, by the wall: the receiver compares it with its own.
        let timestamp_s = Timestamp::now().as_second();
        let signature = self.signer.as_ref().map(|signer| signer.sign(&key, timestamp_s, &body));

        let mut request = Request::new(Method::POST, self.url.clone(), body, call.deadline);
        request.policy = self.policy;
        request.headers = self.headers.clone();
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let headed = request
            .header("webhook-id", &key)
            .and_then(|request| request.header("webhook-timestamp", &timestamp_s.to_string()))
            .and_then(|request| match &signature {
                Some(signature) => request.header("webhook-signature", signature),
                None => Ok(request),
            });
        let request = match headed {
            Ok(request) => request,
            Err(error) => return failed(&error),
        };
        match self.client.request(request).await {
            Ok(response) => answered(response.status, &response.headers),
            Err(error) => failed(&error),
        }
    }
}

/// Standard Webhooks: 2xx is success, everything else, redirects included, is failure; 410 ends it for all deliveries. A definite
/// 400 or 422 would be answered the same way for a week, so it waits for a person instead.
fn answered(status: StatusCode, headers: &HeaderMap) -> Outcome {
    let code = Some(status.as_u16());
    match status {
        status if status.is_success() => Outcome::delivered(code),
        StatusCode::GONE => Outcome::hold("gone", code, "it answered 410 and wants no more"),
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Outcome::refused(
            "status",
            code,
            "the destination refused the content; mend the mapping, then replay",
        ),
        _ => Outcome::retry("status", code, retry_after(headers)),
    }
}

/// How long an answer asks to be left alone, in milliseconds from now on.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<i64> {
    retry_after::parse(headers.get(RETRY_AFTER)?.to_str().ok()?, Timestamp::now())
}

fn failed(error: &Error) -> Outcome {
    if error.is_retryable() {
        Outcome::retry(error.class(), None, None)
    } else {
        Outcome::refused(error.class(), None, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::destination::Verdict;
    use super::*;

    #[test]
    fn a_status_decides_whether_it_is_delivered_retried_or_refused() {
        let verdict = |status: u16| {
            answered(StatusCode::from_u16(status).expect("a status"), &HeaderMap::new()).verdict
        };
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(verdict(status), Verdict::Delivered, "{status}");
        }
        for status in [301, 302, 307, 308, 401, 403, 404, 408, 409, 423, 425, 429, 500, 502, 503, 504] {
            assert_eq!(verdict(status), Verdict::Retry { after_ms: None }, "{status}");
        }
        for status in [400, 422] {
            assert!(matches!(verdict(status), Verdict::Refused { .. }), "{status}");
        }
        assert!(matches!(verdict(410), Verdict::Hold { .. }));
    }
}

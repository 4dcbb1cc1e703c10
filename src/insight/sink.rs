//! Where alerts go.

use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;
use url::Url;

use super::Notice;
use crate::client::header::{CONTENT_TYPE, HeaderValue};
use crate::client::{AddressPolicy, Client, Method, Request};

/// Signs a body: id, time in seconds and body to the value of `webhook-signature`.
pub type Sign = Arc<dyn Fn(&str, i64, &[u8]) -> String + Send + Sync>;

/// A place that takes alerts.
#[derive(Clone)]
pub struct Sink {
    /// Its name in the configuration.
    pub id: String,
    /// What it understands.
    pub kind: SinkKind,
    /// Where it is; often a secret itself.
    pub url: Url,
    /// Whether it may be in a private network.
    pub policy: AddressPolicy,
    /// By which client.
    pub client: Client,
}

/// What a sink understands.
#[derive(Clone)]
pub enum SinkKind {
    /// JSON, signed by Standard Webhooks.
    Webhook(Sign),
    /// `{"text": …}`, as Slack's incoming webhooks and many others take it.
    Slack,
}

/// A sink did not take a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{class}{}", .status.map(|status| format!(" {status}")).unwrap_or_default())]
pub struct Failed {
    /// A short constant name.
    pub class: &'static str,
    /// The sink's HTTP status, if there was one.
    pub status: Option<u16>,
}

impl Sink {
    /// Sends a notice; the id is the same at every try.
    ///
    /// # Errors
    /// [`Failed`]; try again later.
    pub async fn tell(&self, notice: &Notice, id: &str, now_s: i64, deadline: Instant) -> Result<(), Failed> {
        let body = match &self.kind {
            SinkKind::Slack => json!({"text": format!("Formgate: {}\n{}", notice.text, notice.remedy)}),
            SinkKind::Webhook(_) => json!({
                "type": if notice.recovered { "alert.recovered" } else { "alert.raised" },
                "timestamp": rfc3339(now_s.saturating_mul(1_000)),
                "data": {
                    "cause": notice.cause.name(),
                    "destination": notice.cause.destination(),
                    "since": rfc3339(notice.since_ms),
                    "text": notice.text,
                    "remedy": notice.remedy,
                },
            }),
        };
        let body = body.to_string();
        let signature = match &self.kind {
            SinkKind::Webhook(sign) => Some(sign(id, now_s, body.as_bytes())),
            SinkKind::Slack => None,
        };
        let failed = |error: crate::client::Error| Failed { class: error.class(), status: None };
        let mut request = Request::new(Method::POST, self.url.clone(), body, deadline);
        request.policy = self.policy;
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(signature) = signature {
            request = request
                .header("webhook-id", id)
                .and_then(|request| request.header("webhook-timestamp", &now_s.to_string()))
                .and_then(|request| request.header("webhook-signature", &signature))
                .map_err(failed)?;
        }
        let response = self.client.request(request).await.map_err(failed)?;
        if response.status.is_success() {
            Ok(())
        } else {
            Err(Failed { class: "status", status: Some(response.status.as_u16()) })
        }
    }
}

fn rfc3339(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map(|at| format!("{at:.3}")).unwrap_or_default()
}

//! Where alerts go.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::{Kind, Notice, Subject};
use crate::client::header::{CONTENT_TYPE, HeaderValue};
use crate::client::{AddressPolicy, Client, Mail, MailServer, Method, Request};

/// Signs a body: id, time in seconds and body to the value of `webhook-signature`.
pub type Sign = Arc<dyn Fn(&str, i64, &[u8]) -> String + Send + Sync>;

/// A place that takes alerts.
#[derive(Clone)]
pub struct Sink {
    /// Its name in the configuration.
    pub id: String,
    /// What it understands.
    pub kind: SinkKind,
    /// Whether it may be in a private network.
    pub policy: AddressPolicy,
    /// By which client.
    pub client: Client,
    /// The name of this installation.
    pub host: String,
}

/// What a sink understands, and where it is. An address is often a secret itself.
#[derive(Clone)]
pub enum SinkKind {
    /// JSON, signed by Standard Webhooks.
    Webhook(Url, Sign),
    /// `{"text": …}`, as Slack's incoming webhooks and many others take it.
    Slack(Url),
    /// A mail.
    Email(Arc<Mailbox>),
}

/// Where mails go, and from whom.
#[derive(Debug)]
pub struct Mailbox {
    /// By which server.
    pub server: MailServer,
    /// From whom.
    pub from: String,
    /// To whom.
    pub to: Vec<String>,
}

/// A sink did not take a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{class}{}", .status.map(|status| format!(" {status}")).unwrap_or_default())]
pub struct Failed {
    /// A short constant name.
    pub class: &'static str,
    /// The sink's status, of HTTP or SMTP, if there was one.
    pub status: Option<u16>,
}

impl From<crate::client::Error> for Failed {
    fn from(error: crate::client::Error) -> Self {
        Self { class: error.class(), status: error.status() }
    }
}

impl Sink {
    /// Sends a notice; its id is the same at every try.
    ///
    /// # Errors
    /// [`Failed`]; try again later.
    pub async fn tell(&self, notice: &Notice, now_s: i64, deadline: Instant) -> Result<(), Failed> {
        let id = notice.id.as_str();
        let (url, body, signature) = match &self.kind {
            SinkKind::Slack(url) => (url, self.slack(notice).to_string(), None),
            SinkKind::Webhook(url, sign) => {
                let body = self.webhook(notice, now_s).to_string();
                let signature = sign(id, now_s, body.as_bytes());
                (url, body, Some(signature))
            }
            SinkKind::Email(mailbox) => {
                let mail = self.mail(notice, mailbox);
                return Ok(self.client.send_mail(&mailbox.server, &mail, self.policy, deadline).await?);
            }
        };
        let mut request = Request::new(Method::POST, url.clone(), body, deadline);
        request.policy = self.policy;
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(signature) = signature {
            request = request
                .header("webhook-id", id)?
                .header("webhook-timestamp", &now_s.to_string())?
                .header("webhook-signature", &signature)?;
        }
        let response = self.client.request(request).await?;
        if response.status.is_success() {
            Ok(())
        } else {
            Err(Failed { class: "status", status: Some(response.status.as_u16()) })
        }
    }

    fn slack(&self, notice: &Notice) -> Value {
        let (host, node) = (&self.host, on(notice));
        let (text, remedy, since) = (&notice.text, notice.remedy, rfc3339(notice.since_ms));
        json!({"text": format!("Formgate {host}{node}: {text}\n{remedy}\nSince {since}")})
    }

    fn webhook(&self, notice: &Notice, now_s: i64) -> Value {
        let mut data = json!({
            "cause": notice.cause.name(),
            "destination": null,
            "since": rfc3339(notice.since_ms),
            "text": notice.text,
            "remedy": notice.remedy,
            "host": self.host,
            "node": notice.node,
        });
        let subject = match notice.cause.subject() {
            Subject::Destination(id) => Some(("destination", id)),
            Subject::Connection(id) => Some(("connection", id)),
            Subject::Flow(id) => Some(("flow", id)),
            Subject::MetaFlow(id) => Some(("meta_flow", id)),
            Subject::Number(id) => Some(("number", id)),
            Subject::Whole => None,
        };
        if let Some((kind, id)) = subject {
            data[kind] = json!(id);
        }
        let name = match notice.kind {
            Kind::Raised => "alert.raised",
            Kind::Repeated => "alert.repeated",
            Kind::Recovered => "alert.recovered",
        };
        json!({"type": name, "timestamp": rfc3339(now_s.saturating_mul(1_000)), "data": data})
    }

    fn mail(&self, notice: &Notice, mailbox: &Mailbox) -> Mail {
        let mark = match notice.kind {
            Kind::Raised => "alert",
            Kind::Repeated => "still",
            Kind::Recovered => "recovered",
        };
        Mail {
            id: notice.id.clone(),
            from: mailbox.from.clone(),
            to: mailbox.to.clone(),
            subject: format!("[Formgate {}] {mark}: {}", self.host, notice.cause),
            text: format!(
                "{}\n\n{}\n\nCause: {}\nSince: {}\nFrom: Formgate on {}{}\n",
                notice.text,
                notice.remedy,
                notice.cause,
                rfc3339(notice.since_ms),
                self.host,
                on(notice)
            ),
        }
    }
}

/// The node that saw it.
fn on(notice: &Notice) -> String {
    notice.node.as_ref().map(|node| format!(", node {node}")).unwrap_or_default()
}

fn rfc3339(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map(|at| format!("{at:.3}")).unwrap_or_default()
}

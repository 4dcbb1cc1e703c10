//! `GET|POST /webhooks/meta`.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::JoinSet;

use super::event::Event;
use super::update::{self, Closed, Update};
use crate::crypto::{AppSecrets, HubSignature, is_same};
use crate::outbox::{Clock, Outbox, SubmissionId, Witnessed};
use crate::server::{Method, Request, Response, StatusCode};
use crate::store::{self, Store};
use crate::telemetry::{Metrics, Witness};

/// The longest body (WhatsApp Flows reference 7.7).
pub const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;
/// How long the updates of one call may take together; Meta repeats the call after that.
const DEADLINE: Duration = Duration::from_secs(8);
/// Updates worked on at one time.
const AT_ONCE: usize = 32;

/// Meta's webhook; cheap to clone.
#[derive(Clone)]
pub struct Webhook(Arc<Parts>);

struct Parts {
    verify_token: SecretString,
    app_secrets: Vec<Arc<AppSecrets>>,
    store: Store,
    outbox: Outbox,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl Webhook {
    /// The webhook of the apps that have these secrets.
    pub fn new(
        verify_token: SecretString,
        app_secrets: Vec<Arc<AppSecrets>>,
        store: Store,
        outbox: Outbox,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Webhook {
        Webhook(Arc::new(Parts { verify_token, app_secrets, store, outbox, clock, metrics }))
    }

    /// Answers one request.
    ///
    /// | Status | When |
    /// | --- | --- |
    /// | 200 | taken, or the challenge |
    /// | 400 | signed, but no call of a WhatsApp webhook |
    /// | 401 | the signature is not of one of our apps |
    /// | 403 | a challenge with another token |
    /// | 405 | neither GET nor POST |
    /// | 503 | not everything could be stored; Meta repeats it |
    pub async fn answer(&self, request: &Request) -> Response {
        match request.method {
            Method::GET => self.challenge(request.query().unwrap_or_default()),
            Method::POST => self.call(request).await,
            _ => Response::method_not_allowed("GET, POST"),
        }
    }

    /// WhatsApp Flows reference 7.6.
    fn challenge(&self, query: &str) -> Response {
        let (mut mode, mut token, mut challenge) = (None, None, None);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "hub.mode" => mode = Some(value),
                "hub.verify_token" => token = Some(value),
                "hub.challenge" => challenge = Some(value),
                _ => {}
            }
        }
        let expected = self.0.verify_token.expose_secret().as_bytes();
        let knows = token.is_some_and(|token| is_same(token.as_bytes(), expected));
        // Nothing is given back that could be more than a challenge.
        let is_challenge = |text: &str| {
            (1..=128).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        match challenge.filter(|text| is_challenge(text)) {
            Some(challenge) if knows && mode.as_deref() == Some("subscribe") => {
                Response::text(StatusCode::OK, challenge.into_owned())
            }
            _ => Response::empty(StatusCode::FORBIDDEN),
        }
    }

    async fn call(&self, request: &Request) -> Response {
        let parts = &self.0;
        let now_s = u64::try_from(parts.clock.now_ms() / 1_000).unwrap_or(0);
        let signature = request.header("x-hub-signature-256");
        let signed = |secrets: &Arc<AppSecrets>| {
            HubSignature::verify(secrets, signature, &request.body, now_s).is_ok()
        };
        // Every one is tried, so that time does not tell which.
        if parts.app_secrets.iter().filter(|secrets| signed(secrets)).count() == 0 {
            parts.metrics.signature_failure();
            return Response::empty(StatusCode::UNAUTHORIZED);
        }
        let Some(updates) = update::read(&request.body) else {
            return Response::empty(StatusCode::BAD_REQUEST);
        };
        match tokio::time::timeout(DEADLINE, self.take(updates)).await {
            Ok(true) => Response::empty(StatusCode::OK),
            Ok(false) | Err(_) => {
                tracing::error!("updates of Meta's webhook could not be stored; Meta repeats them");
                Response::empty(StatusCode::SERVICE_UNAVAILABLE)
            }
        }
    }

    /// Stores what follows from every update; `false` if that failed for any.
    async fn take(&self, updates: Vec<Update>) -> bool {
        let (mut working, mut well) = (JoinSet::new(), true);
        for update in updates {
            if working.len() >= AT_ONCE {
                well &= matches!(working.join_next().await, Some(Ok(true)));
            }
            let webhook = self.clone();
            working.spawn(async move { webhook.take_one(update).await });
        }
        while let Some(done) = working.join_next().await {
            well &= matches!(done, Ok(true));
        }
        well
    }

    async fn take_one(&self, update: Update) -> bool {
        let taken = match update {
            Update::Event(event) => event.keep(&self.0.store, self.0.clock.now_ms()).await,
            Update::Closed(closed) => self.witness(closed).await,
        };
        match taken {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "an update could not be stored");
                false
            }
        }
    }

    async fn witness(&self, closed: Closed) -> Result<(), store::Error> {
        let Parts { outbox, metrics, store, clock, .. } = &*self.0;
        let Some(id) = closed.submission.map(SubmissionId::new) else {
            metrics.witness(Witness::Foreign);
            return Ok(());
        };
        match outbox.witness(id, closed.token.as_deref(), &closed.message).await? {
            Witnessed::Confirmed => metrics.witness(Witness::Confirmed),
            Witnessed::Repeated | Witnessed::Erased => {}
            Witnessed::Unknown => {
                metrics.witness(Witness::Unknown);
                tracing::error!(submission.id = %id, "Meta has confirmed a submission that is not stored here");
                let now_ms = clock.now_ms();
                Event::unknown(now_ms).keep(store, now_ms).await?;
            }
        }
        Ok(())
    }
}

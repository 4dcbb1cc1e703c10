//! Grade C, to whoever listens to the form in Typeform: its webhooks are asked of Typeform, and each that is switched on
//! gets what Typeform would have sent (form tools reference 3.3).
//!
//! Invariant: it is done only with the owner's consent, which the configuration asks for, since the receivers take the
//! response for Typeform's. Delivered means that every one of them has it. What Typeform would switch a webhook off for
//! ends the delivery to that webhook.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::deliver::{Definition, answered};
use super::{list, text};
use crate::client::AddressPolicy;
use crate::connector::api::{Api, Asked, failed};
use crate::outbox::{
    Attempting, Call, DeliveryKey, Destination, DestinationId, Grade, Outcome, Verdict, retry_after,
};

/// Where the API of accounts in the United States is.
pub const API: &str = "https://api.typeform.com";
/// Webhooks of one form that are sent to.
const MAX_HOOKS: usize = 20;
/// How long a list of webhooks is good; Typeform answers two requests a second.
const FRESH: Duration = Duration::from_secs(300);
/// Deliveries of which it is remembered who has them, so that a repeat goes to the others only.
const MAX_TAKEN: usize = 4_096;

/// The webhooks of forms in Typeform.
pub struct Hooks {
    /// Its name as a destination.
    pub id: DestinationId,
    /// Typeform's API, with a token that may read webhooks.
    pub api: Api,
    /// What the receivers check `Typeform-Signature` with; Typeform does not tell it.
    pub secret: Option<SecretString>,
    /// The forms, by flow.
    pub definitions: BTreeMap<String, Definition>,
    /// Where the receivers may be.
    pub policy: AddressPolicy,
    /// What is remembered between deliveries.
    pub memory: Mutex<Memory>,
}

/// What is remembered between deliveries; losing it costs a call or a repeat under the same id.
#[derive(Debug, Default)]
pub struct Memory {
    /// The webhooks of a form.
    hooks: BTreeMap<String, (Instant, Vec<Hook>)>,
    /// Which webhook has which delivery.
    taken: VecDeque<(DeliveryKey, String)>,
}

/// A webhook that is switched on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hook {
    tag: String,
    url: Url,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Hooks").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Destination for Hooks {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn account(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.api.account)
    }

    fn grade(&self) -> Grade {
        Grade::C
    }

    fn deliver<'a>(&'a self, call: Call<'a>) -> Attempting<'a> {
        Box::pin(async move { self.send(call).await.unwrap_or_else(|outcome| outcome) })
    }
}

impl Hooks {
    async fn send(&self, call: Call<'_>) -> Result<Outcome, Outcome> {
        let Some(definition) = self.definitions.get(&call.submission.flow_id) else {
            let reason = "the flow of this submission has no Typeform definition";
            return Err(Outcome::refused("form", None, reason));
        };
        let hooks = self.hooks(definition.id(), call.deadline).await?;
        if hooks.is_empty() {
            return Err(Outcome::refused(
                "no_webhook",
                None,
                "the form has no webhook that is switched on: add one in Typeform (Connect, Webhooks), then replay",
            ));
        }
        let (mut delivered, mut gone, mut again) = (None, Vec::new(), None);
        for hook in &hooks {
            if self.has(call.key, hook) {
                delivered = delivered.or(Some(Outcome::delivered(None)));
                continue;
            }
            let outcome = self.post(definition, hook, call).await;
            match &outcome.verdict {
                Verdict::Delivered => {
                    self.remember(call.key, hook);
                    delivered = Some(outcome);
                }
                Verdict::Retry { .. } => again = Some(outcome),
                _ => gone.push(hook.tag.as_str()),
            }
        }
        if let Some(again) = again {
            return Err(again);
        }
        if !gone.is_empty() {
            tracing::warn!(destination.id = %self.id, webhooks = gone.join(", "), "webhooks of the form are gone or cannot be called");
        }
        delivered.ok_or_else(|| {
            Outcome::refused(
                "gone",
                None,
                format!("no webhook of the form takes it: {} answered that it is gone or cannot be called; mend it in Typeform, then replay", gone.join(", ")),
            )
        })
    }

    async fn post(&self, definition: &Definition, hook: &Hook, call: Call<'_>) -> Outcome {
        let request = definition.request(hook.url.clone(), self.secret.as_ref(), call);
        let mut request = match request {
            Ok(request) => request,
            Err(error) => return failed(&error),
        };
        request.policy = self.policy;
        match self.api.client.request(request).await {
            Ok(response) => answered(response.status, retry_after(&response.headers)),
            Err(error) => failed(&error),
        }
    }

    /// The webhooks of a form that are switched on.
    async fn hooks(&self, form: &str, deadline: Instant) -> Result<Vec<Hook>, Outcome> {
        if let Some((at, hooks)) = self.memory().hooks.get(form)
            && at.elapsed() < FRESH
        {
            return Ok(hooks.clone());
        }
        let response = self.api.call(Asked::get(&["forms", form, "webhooks"], &[], deadline)).await?;
        let code = Some(response.status.as_u16());
        match response.status.as_u16() {
            200 => {}
            401 => {
                return Err(Outcome::reconnect(
                    "reconnect",
                    code,
                    "Typeform does not accept the token: connect again, then resume",
                ));
            }
            403 => {
                let reason =
                    "the token may not read the form's webhooks: grant the scope webhooks:read, then resume";
                return Err(Outcome::reconnect("reconnect", code, reason));
            }
            404 => {
                let reason =
                    "Typeform has no such form, or it is another account's or another region's (api_url)";
                return Err(Outcome::hold("gone", code, reason));
            }
            // Two requests a second; how long to wait is not told.
            429 => {
                return Err(Outcome::retry(
                    "rate",
                    code,
                    Some(retry_after(&response.headers).unwrap_or(1_000)),
                ));
            }
            400..=499 => {
                return Err(Outcome::refused("look", code, "Typeform refused to tell the form's webhooks"));
            }
            _ => return Err(Outcome::retry("look", code, retry_after(&response.headers))),
        }
        let answer: Value =
            serde_json::from_slice(&response.body).map_err(|_| Outcome::retry("look", code, None))?;
        let hooks: Vec<Hook> = list(&answer, "items").iter().filter_map(hook).take(MAX_HOOKS).collect();
        self.memory().hooks.insert(form.to_owned(), (Instant::now(), hooks.clone()));
        Ok(hooks)
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, key: DeliveryKey, hook: &Hook) -> bool {
        self.memory().taken.iter().any(|(known, tag)| *known == key && *tag == hook.tag)
    }

    fn remember(&self, key: DeliveryKey, hook: &Hook) {
        let mut memory = self.memory();
        memory.taken.push_back((key, hook.tag.clone()));
        let surplus = memory.taken.len().saturating_sub(MAX_TAKEN);
        memory.taken.drain(..surplus);
    }
}

/// A webhook that is switched on and wants whole responses.
fn hook(item: &Value) -> Option<Hook> {
    let is_on = item.get("enabled").and_then(Value::as_bool) == Some(true);
    let wants = item.pointer("/event_types/form_response").and_then(Value::as_bool) != Some(false);
    let url = text(item, "url")?.parse().ok()?;
    (is_on && wants).then(|| Hook { tag: text(item, "tag").unwrap_or("a webhook").to_owned(), url })
}

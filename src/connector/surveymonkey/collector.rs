//! The collector that responses go into, where the configuration names none: an open web link called "WhatsApp", which
//! keeps them apart from the survey's other sources. It is made if there is none; if it may not be made, any open web
//! link takes them.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::address::Survey;
use super::deliver::{Doing, Responses};
use crate::client::Method;
use crate::connector::api::Asked;
use crate::connector::json::{list, text};
use crate::outbox::Outcome;

/// What it is called.
const NAME: &str = "WhatsApp";

impl Responses {
    pub(super) async fn collector(&self, survey: &Survey, deadline: Instant) -> Result<String, Outcome> {
        if let Some(collector) = &self.collector {
            return Ok(collector.clone());
        }
        if let Some(known) = self.found().get(&survey.id) {
            return Ok(known.clone());
        }
        let path = ["v3", "surveys", &survey.id, "collectors"];
        let query = [("include", "type,status"), ("per_page", "1000")];
        let answer = self.get(survey, Doing::Listing, &path, &query, deadline).await?;
        let open: Vec<&Value> =
            list(&answer, "data").iter().filter(|collector| is_open_link(collector)).collect();
        // The oldest, so that every node takes the same one.
        let named =
            open.iter().filter(|collector| text(collector, "name") == Some(NAME)).filter_map(id).min();
        let collector = match named {
            Some(collector) => collector,
            None => match self.make(survey, deadline).await {
                Ok(collector) => collector,
                Err(outcome) => match open.iter().filter_map(id).min() {
                    Some(collector) if outcome.class == "scope" || outcome.class == "plan" => {
                        tracing::warn!(
                            destination.id = %self.id,
                            collector = collector.1,
                            "no collector of its own may be made; responses go into one that is shared"
                        );
                        collector
                    }
                    _ => return Err(outcome),
                },
            },
        };
        self.found().insert(survey.id.clone(), collector.1.clone());
        Ok(collector.1)
    }

    /// A repeat after a lost answer finds the one that was made.
    async fn make(&self, survey: &Survey, deadline: Instant) -> Result<(usize, String), Outcome> {
        let path = ["v3", "surveys", &survey.id, "collectors"];
        let body = json!({"type": "weblink", "name": NAME});
        let asked = Asked::send(Method::POST, &path, &body, deadline);
        // No response was sent, so nothing is unclear about one.
        let made = self.api.call(asked).await.map_err(|outcome| match outcome.verdict {
            crate::outbox::Verdict::Retry { .. } => Outcome { class: "look", ..outcome },
            _ => outcome,
        });
        let made = made?;
        if !made.status.is_success() {
            return Err(self.judge(survey, &made, Doing::Making));
        }
        let answer: Value = serde_json::from_slice(&made.body).unwrap_or_default();
        tracing::info!(destination.id = %self.id, survey = survey.id, "made a collector for the responses");
        id(&&answer).ok_or_else(|| Outcome::retry("look", Some(made.status.as_u16()), None))
    }

    pub(super) fn forget(&self, survey: &Survey) {
        self.found().remove(&survey.id);
    }

    fn found(&self) -> std::sync::MutexGuard<'_, std::collections::BTreeMap<String, String>> {
        self.found.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn is_open_link(collector: &Value) -> bool {
    let is = |name: &str, value: &str| text(collector, name) == Some(value);
    is("type", "weblink") && is("status", "open")
}

/// The id, with its length in front so that numbers of any size are in order.
fn id(collector: &&Value) -> Option<(usize, String)> {
    let id = text(collector, "id")?;
    Some((id.len(), id.to_owned()))
}

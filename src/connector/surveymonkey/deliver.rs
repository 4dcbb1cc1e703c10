//! Responses put back into a survey: `POST /v3/collectors/{id}/responses`.
//!
//! SurveyMonkey knows no idempotency key. A response carries the submission's id as its custom value, and every attempt
//! but the very first looks for it before it creates one, so that an answer that was lost makes no second response.
//! Nothing here ever changes or deletes a response.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::address::Survey;
use super::encode;
use crate::client::header::{HeaderMap, RETRY_AFTER};
use crate::client::{Method, Response, StatusCode};
use crate::connector::api::{Api, Asked};
use crate::outbox::{Attempting, Call, Destination, DestinationId, Grade, Outcome, Submission};

/// Where the API of accounts in the United States is; others are at `https://api.eu.surveymonkey.com` and
/// `https://api.surveymonkey.ca`.
pub const API: &str = "https://api.surveymonkey.com";
/// Found responses that are looked at; the custom value is unique, so one is the rule.
const MAX_FOUND: usize = 5;
/// The longest wait a rate limit may ask for: the day that its largest window has.
const MAX_RESET_S: i64 = 86_400;

/// A survey's collector as a destination.
pub struct Responses {
    /// Its configured name.
    pub id: DestinationId,
    /// The account's API, with a token of the scopes `responses_write` and `responses_read`, and without a collector
    /// `collectors_read` and `collectors_write` as well.
    pub api: Api,
    /// The collector that takes the responses, an open one of type web link; `None`: one is found or made.
    pub collector: Option<String>,
    /// The surveys, by flow.
    pub surveys: BTreeMap<String, Survey>,
    /// The collectors that were found, by survey.
    pub found: Mutex<BTreeMap<String, String>>,
}

impl std::fmt::Debug for Responses {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Responses").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Destination for Responses {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn account(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.api.account)
    }

    fn grade(&self) -> Grade {
        Grade::A
    }

    fn deliver<'a>(&'a self, call: Call<'a>) -> Attempting<'a> {
        Box::pin(async move { self.write(call).await.unwrap_or_else(|outcome| outcome) })
    }
}

/// What a call is for, so that what is wrong with it can be said.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Doing {
    /// For a response that was sent before.
    Looking,
    Creating,
    /// For the survey's collectors.
    Listing,
    /// Of a collector.
    Making,
}

impl Responses {
    async fn write(&self, call: Call<'_>) -> Result<Outcome, Outcome> {
        let survey = self.surveys.get(&call.submission.flow_id).ok_or_else(|| {
            Outcome::refused("content", None, "the flow of this submission has no survey; mend deliver_to")
        })?;
        let body = encode::response(survey, call.submission)
            .map_err(|reason| Outcome::refused("content", None, reason))?;
        let collector = self.collector(survey, call.deadline).await?;
        if call.sent_before && self.is_there(survey, &collector, call.submission, call.deadline).await? {
            return Ok(Outcome::delivered(None));
        }
        let path = ["v3", "collectors", &collector, "responses"];
        let response = self.api.call(Asked::send(Method::POST, &path, &body, call.deadline)).await?;
        if matches!(response.status, StatusCode::OK | StatusCode::CREATED) {
            return Ok(Outcome::delivered(Some(response.status.as_u16())));
        }
        let outcome = self.judge(survey, &response, Doing::Creating);
        if outcome.class == "collector" {
            // The next attempt, after a replay, finds one that is open.
            self.forget(survey);
        }
        Err(outcome)
    }

    /// Whether an earlier attempt has made the response.
    async fn is_there(
        &self,
        survey: &Survey,
        collector: &str,
        submission: &Submission,
        deadline: Instant,
    ) -> Result<bool, Outcome> {
        let wanted = encode::custom_value(submission);
        let query = [("custom", wanted.as_str()), ("per_page", "5")];
        let path = ["v3", "collectors", collector, "responses"];
        let found = self.get(survey, Doing::Looking, &path, &query, deadline).await?;
        let Some(found) = found.get("data").and_then(Value::as_array) else {
            return Err(Outcome::retry("look", Some(200), None));
        };
        for response in found.iter().take(MAX_FOUND) {
            let Some(id) = response.get("id").and_then(Value::as_str) else { continue };
            // The list names ids only; that the filter was understood shows in the response itself.
            let path = ["v3", "collectors", collector, "responses", id];
            let response = match self.get(survey, Doing::Looking, &path, &[], deadline).await {
                Ok(response) => response,
                // Somebody deleted it meanwhile.
                Err(outcome) if outcome.status == Some(StatusCode::NOT_FOUND.as_u16()) => continue,
                Err(outcome) => return Err(outcome),
            };
            if response.get("custom_value").and_then(Value::as_str) == Some(&wanted) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) async fn get(
        &self,
        survey: &Survey,
        doing: Doing,
        path: &[&str],
        query: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<Value, Outcome> {
        let response = self.api.call(Asked::get(path, query, deadline)).await?;
        if response.status != StatusCode::OK {
            return Err(self.judge(survey, &response, doing));
        }
        serde_json::from_slice(&response.body).map_err(|_| Outcome::retry("look", Some(200), None))
    }

    /// What an answer other than success means (SurveyMonkey API, "Error codes").
    pub(super) fn judge(&self, survey: &Survey, response: &Response, doing: Doing) -> Outcome {
        let status = Some(response.status.as_u16());
        let error = serde_json::from_slice::<Value>(&response.body).unwrap_or_default();
        let code = error.pointer("/error/id").and_then(|id| match id {
            Value::String(id) => id.parse::<u32>().ok(),
            id => id.as_u64().and_then(|id| u32::try_from(id).ok()),
        });
        let refused = |class: &'static str, reason: &str| Outcome::refused(class, status, reason);
        // Wrong for every submission until somebody mends the account: they wait, and lose no attempt.
        let held = |class: &'static str, reason: &str| Outcome::hold(class, status, reason);
        let reconnect = |class: &'static str, reason: &str| Outcome::reconnect(class, status, reason);
        let class = if doing == Doing::Creating { "status" } else { "look" };
        match (code, response.status) {
            (Some(1040), _) | (_, StatusCode::TOO_MANY_REQUESTS) => {
                Outcome::retry("rate_limit", status, rate_limit(&response.headers))
            }
            (_, known) if known.is_server_error() => {
                Outcome::retry(class, status, rate_limit(&response.headers))
            }
            (_, StatusCode::REQUEST_TIMEOUT) => Outcome::retry(class, status, None),
            (Some(1010..=1013), _) | (_, StatusCode::UNAUTHORIZED) => reconnect(
                "token",
                "SurveyMonkey does not accept the access token: it is wrong, expired or revoked; set a new one, then resume",
            ),
            (Some(1014), _) => reconnect(
                "scope",
                match doing {
                    Doing::Listing => {
                        "the access token may not find the survey's collectors: grant the scope “View Collectors” (collectors_read), or name one in “collector”"
                    }
                    Doing::Making => {
                        "the survey has no open web link and the access token may not make one: grant the scope “Create/Modify Collectors” (collectors_write), or name one in “collector”"
                    }
                    Doing::Creating => {
                        "the access token may not create responses: it lacks the scope “Create/Modify Responses” (responses_write)"
                    }
                    Doing::Looking => {
                        "the access token may not look for a response sent before: it lacks the scope “View Responses” (responses_read)"
                    }
                },
            ),
            (Some(1015), _) => held(
                "plan",
                "the SurveyMonkey account's plan does not include writing responses by API; it takes a paid plan that does",
            ),
            (Some(1017), _) => {
                held("quota", "the SurveyMonkey account has reached the responses or calls of its plan")
            }
            (Some(1018), _) => held(
                "region",
                "the SurveyMonkey account is in another region: set api_url to https://api.surveymonkey.com, https://api.eu.surveymonkey.com or https://api.surveymonkey.ca",
            ),
            (_, StatusCode::FORBIDDEN) => {
                held("forbidden", "the account of the access token has no access to this survey or collector")
            }
            (_, StatusCode::NOT_FOUND | StatusCode::GONE) if doing == Doing::Listing => {
                held("survey", "SurveyMonkey has no such survey in the account of the access token")
            }
            (_, StatusCode::NOT_FOUND | StatusCode::GONE) => refused(
                "collector",
                "SurveyMonkey has no such collector, or its account was deleted; name an open one of this survey",
            ),
            (_, StatusCode::CONFLICT) => refused(
                "collector",
                "the collector takes no responses: it is closed or full; open it or name another one, then replay",
            ),
            (_, StatusCode::PAYLOAD_TOO_LARGE) => {
                refused("content", "the response is too large for SurveyMonkey")
            }
            (_, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY) => {
                content(survey, status, &error)
            }
            // A redirect or an unknown refusal comes from something between us.
            _ => Outcome::retry(class, status, None),
        }
    }
}

/// The content was refused. SurveyMonkey's own words may quote an answer, so only the questions that they name are told.
fn content(survey: &Survey, status: Option<u16>, error: &Value) -> Outcome {
    let message = error.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    let numbers: Vec<&str> = message.split(|c: char| !c.is_ascii_digit()).collect();
    let mut named: Vec<String> = Vec::new();
    for address in survey.addresses.values() {
        let name = format!("{} (“{}”)", address.question, address.heading);
        if numbers.contains(&address.question.as_str()) && !named.contains(&name) {
            named.push(name);
        }
    }
    let which = if named.is_empty() {
        "it does not say which question".to_owned()
    } else {
        format!("it names question {}", named.join(", "))
    };
    Outcome::refused(
        "content",
        status,
        format!(
            "SurveyMonkey refused the response; {which}. Compare the survey with the published form, then replay"
        ),
    )
}

/// The wait until the limit that was reached is reset: of the day when nothing is left of it, else of the minute.
fn rate_limit(headers: &HeaderMap) -> Option<i64> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<i64>().ok();
    let window = |window: &str, what: &str| number(&format!("x-ratelimit-app-global-{window}-{what}"));
    let is_spent = |name: &str| window(name, "remaining").is_some_and(|left| left <= 0);
    let reset = if is_spent("day") { window("day", "reset") } else { window("minute", "reset") };
    // Not documented, but whatever stands in front of the API may send it.
    let after_s = reset.or_else(|| number(RETRY_AFTER.as_str()))?;
    // A moment instead of a number of seconds is told by its size.
    let now_s = Timestamp::now().as_second();
    let after_s = if after_s > MAX_RESET_S { after_s.saturating_sub(now_s) } else { after_s };
    Some(after_s.clamp(0, MAX_RESET_S).saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::header::HeaderValue;

    #[test]
    fn the_window_that_is_spent_says_how_long_to_wait() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            let named = |(name, value): &(&'static str, &'static str)| {
                (name.parse().expect("a name"), HeaderValue::from_static(value))
            };
            pairs.iter().map(named).collect()
        };
        let (minute, day) = ("x-ratelimit-app-global-minute-reset", "x-ratelimit-app-global-day-reset");
        let (minute_left, day_left) =
            ("x-ratelimit-app-global-minute-remaining", "x-ratelimit-app-global-day-remaining");
        for (pairs, wait_ms) in [
            (vec![(minute, "42"), (day, "40000"), (minute_left, "0"), (day_left, "7")], Some(42_000)),
            (vec![(minute, "42"), (day, "40000"), (day_left, "0")], Some(40_000_000)),
            (vec![(minute, "999999")], Some(0)),
            (vec![("retry-after", "5")], Some(5_000)),
            (vec![(minute, "-3")], Some(0)),
            (vec![(minute, "soon")], None),
            (vec![], None),
        ] {
            assert_eq!(rate_limit(&headers(&pairs)), wait_ms, "{pairs:?}");
        }
    }
}

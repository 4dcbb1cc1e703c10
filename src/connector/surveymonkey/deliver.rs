//! Responses put back into a survey: `POST /v3/collectors/{id}/responses`.
//!
//! SurveyMonkey knows no idempotency key. A response carries the submission's id as its custom value, and every attempt
//! but the very first looks for it before it creates one, so that an answer that was lost makes no second response.
//! Nothing here ever changes or deletes a response.

use std::borrow::Cow;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use url::Url;

use super::address::Survey;
use super::encode;
use crate::client::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use crate::client::{AddressPolicy, Client, Error, Method, Request, Response, StatusCode};
use crate::outbox::{Attempting, Call, Destination, DestinationId, Outcome, Submission};

/// Found responses that are looked at; the custom value is unique, so one is the rule.
const MAX_FOUND: usize = 5;
/// The longest wait a rate limit may ask for: the day that its largest window has.
const MAX_RESET_S: i64 = 86_400;

/// A survey's collector as a destination.
pub struct Responses {
    /// Its configured name.
    pub id: DestinationId,
    /// Where the account's API is: `https://api.surveymonkey.com`, `https://api.eu.surveymonkey.com` or
    /// `https://api.surveymonkey.ca`.
    pub api_url: Url,
    /// An access token with the scopes `responses_write` and `responses_read`.
    pub token: SecretString,
    /// The collector that takes the responses; an open one of type web link.
    pub collector: String,
    /// The survey.
    pub survey: Survey,
    /// Whether the API may be in a private network, as a sandbox is.
    pub policy: AddressPolicy,
    /// By which client.
    pub client: Client,
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

    /// SurveyMonkey counts calls by account, which a token belongs to; its name here tells nobody the token.
    fn account(&self) -> Cow<'_, str> {
        let hash = Sha256::digest(self.token.expose_secret().as_bytes());
        let name: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("surveymonkey:{name}").into()
    }

    fn deliver<'a>(&'a self, call: Call<'a>) -> Attempting<'a> {
        Box::pin(self.write(call))
    }
}

/// What a call is for, so that what is wrong with it can be said.
#[derive(Clone, Copy, PartialEq)]
enum Doing {
    Looking,
    Creating,
}

impl Responses {
    async fn write(&self, call: Call<'_>) -> Outcome {
        let body = match encode::response(&self.survey, call.submission) {
            Ok(body) => body,
            Err(reason) => return Outcome::refused("content", None, reason),
        };
        if call.sent_before {
            match self.is_there(call.submission, call.deadline).await {
                Ok(true) => return Outcome::delivered(None),
                Ok(false) => {}
                Err(outcome) => return outcome,
            }
        }
        let body = body.to_string().into_bytes();
        match self.call(Method::POST, &["responses"], &[], body, call.deadline).await {
            Ok(response) if matches!(response.status, StatusCode::OK | StatusCode::CREATED) => {
                Outcome::delivered(Some(response.status.as_u16()))
            }
            Ok(response) => self.judge(&response, Doing::Creating),
            Err(outcome) => outcome,
        }
    }

    /// Whether an earlier attempt has made the response.
    async fn is_there(&self, submission: &Submission, deadline: Instant) -> Result<bool, Outcome> {
        let wanted = encode::custom_value(submission);
        let query = [("custom", wanted.as_str()), ("per_page", "5")];
        let found = self.get(&["responses"], &query, deadline).await?;
        let Some(found) = found.get("data").and_then(Value::as_array) else {
            return Err(Outcome::retry("answer", Some(200), None));
        };
        for response in found.iter().take(MAX_FOUND) {
            let Some(id) = response.get("id").and_then(Value::as_str) else { continue };
            // The list names ids only; that the filter was understood shows in the response itself.
            let response = match self.get(&["responses", id], &[], deadline).await {
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

    async fn get(&self, path: &[&str], query: &[(&str, &str)], deadline: Instant) -> Result<Value, Outcome> {
        let response = self.call(Method::GET, path, query, Vec::new(), deadline).await?;
        if response.status != StatusCode::OK {
            return Err(self.judge(&response, Doing::Looking));
        }
        serde_json::from_slice(&response.body).map_err(|_| Outcome::retry("answer", Some(200), None))
    }

    async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Vec<u8>,
        deadline: Instant,
    ) -> Result<Response, Outcome> {
        let mut url = self.api_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["v3", "collectors", &self.collector]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = Request::new(method, url, body, deadline);
        request.policy = self.policy;
        // A response found again is told whole; long texts have to fit.
        request.max_response_bytes = 1024 * 1024;
        let bearer = format!("Bearer {}", self.token.expose_secret());
        let Ok(mut bearer) = HeaderValue::from_str(&bearer) else { return Err(failed(&Error::Header)) };
        bearer.set_sensitive(true);
        request.headers.insert(AUTHORIZATION, bearer);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.client.request(request).await.map_err(|error| failed(&error))
    }

    /// What an answer other than success means (SurveyMonkey API, "Error codes").
    fn judge(&self, response: &Response, doing: Doing) -> Outcome {
        let status = Some(response.status.as_u16());
        let error = serde_json::from_slice::<Value>(&response.body).unwrap_or_default();
        let code = error.pointer("/error/id").and_then(|id| match id {
            Value::String(id) => id.parse::<u32>().ok(),
            id => id.as_u64().and_then(|id| u32::try_from(id).ok()),
        });
        let refused = |class: &'static str, reason: &str| Outcome::refused(class, status, reason);
        match (code, response.status) {
            (Some(1040), _) | (_, StatusCode::TOO_MANY_REQUESTS) => {
                Outcome::retry("rate_limit", status, rate_limit(&response.headers))
            }
            (_, known) if known.is_server_error() => {
                Outcome::retry("status", status, rate_limit(&response.headers))
            }
            (_, StatusCode::REQUEST_TIMEOUT) => Outcome::retry("status", status, None),
            (Some(1010..=1013), _) | (_, StatusCode::UNAUTHORIZED) => refused(
                "auth",
                "SurveyMonkey does not accept the access token: it is wrong, expired or revoked; set a new one, then replay",
            ),
            (Some(1014), _) => refused(
                "scope",
                match doing {
                    Doing::Creating => {
                        "the access token may not create responses: it lacks the scope “Create/Modify Responses” (responses_write)"
                    }
                    Doing::Looking => {
                        "the access token may not look for a response sent before: it lacks the scope “View Responses” (responses_read)"
                    }
                },
            ),
            (Some(1015), _) => refused(
                "plan",
                "the SurveyMonkey account's plan does not include writing responses by API; it takes a paid plan that does",
            ),
            (Some(1017), _) => {
                refused("quota", "the SurveyMonkey account has reached the responses or calls of its plan")
            }
            (Some(1018), _) => refused(
                "region",
                "the SurveyMonkey account is in another region: set api_url to https://api.surveymonkey.com, https://api.eu.surveymonkey.com or https://api.surveymonkey.ca",
            ),
            (_, StatusCode::FORBIDDEN) => {
                refused("forbidden", "the account of the access token has no access to this collector")
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
            (_, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY) => self.content(status, &error),
            // A redirect or an unknown refusal comes from something between us.
            _ => Outcome::retry("status", status, None),
        }
    }

    /// The content was refused. SurveyMonkey's own words may quote an answer, so only the questions that they name are told.
    fn content(&self, status: Option<u16>, error: &Value) -> Outcome {
        let message = error.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
        let numbers: Vec<&str> = message.split(|c: char| !c.is_ascii_digit()).collect();
        let mut named: Vec<String> = Vec::new();
        for address in self.survey.addresses.values() {
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
}

fn failed(error: &Error) -> Outcome {
    if error.is_retryable() {
        Outcome::retry(error.class(), None, None)
    } else {
        Outcome::refused(error.class(), None, error.to_string())
    }
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

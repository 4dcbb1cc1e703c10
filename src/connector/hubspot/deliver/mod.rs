//! Submissions back into the HubSpot form they came from, by the secure submission endpoint (form tools reference 1.3).
//!
//! Invariant: what HubSpot gets is what its own form would have sent, under the same property names and with the consent
//! texts that the person saw, which are those of the version of the flow that was filled in.
//!
//! Files are uploaded before, because a submission holds none, and named in their field.
//!
//! HubSpot takes no idempotency key. So before anything but a prompt first attempt the form's submissions are searched for
//! ours; where the token may not read them, a delivery can come twice.

mod plan;
mod upload;
mod verdict;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use url::Url;

pub use self::plan::Plan;
pub(super) use self::plan::midnight;
use self::verdict::judge;
pub(super) use self::verdict::usual;
use crate::client::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use crate::client::{AddressPolicy, Client, Method, Request};
use crate::connector::Tokens;
use crate::connector::api;
use crate::connector::json::{list, text};
use crate::outbox::{
    Answer, Attempting, Call, Destination, DestinationId, Grade, Outbox, Outcome, Submission, Verdict,
};

/// Where submissions are taken, unless the configuration says otherwise.
pub const SUBMISSION_API: &str = "https://api.hsforms.com";
/// Where they are listed, if they are taken at a host of that domain.
const LISTING_API: &str = "https://api.hubapi.com";
/// Stands in the page's address when the server's own is not configured; the name is reserved and leads nowhere.
const NO_ADDRESS: &str = "https://formgate.invalid";
/// A first attempt later than this may follow one that was not settled, or a replay.
const PROMPT_MS: i64 = 60_000;
/// Pages of fifty submissions that are searched.
const MAX_PAGES: usize = 4;
/// Clocks of two machines differ by less.
const CLOCKS_MS: i64 = 3_600_000;
const MAX_LISTING_BYTES: usize = 4 * 1024 * 1024;

/// A HubSpot account as configured.
pub struct Settings {
    /// The destination's name.
    pub id: DestinationId,
    /// The account's number.
    pub portal: String,
    /// The form's guid; the one of the flow's form when absent.
    pub form: Option<String>,
    /// Where submissions are taken.
    pub api: Url,
    /// A private app's, a service key's or a connected account's.
    pub tokens: Arc<dyn Tokens>,
    /// How Formgate is reached from outside, for the address of the page.
    pub public_url: Option<Url>,
    /// What each version of each flow sends, by flow and version.
    pub plans: BTreeMap<(String, u32), Plan>,
    /// Whether it may be in a private network.
    pub policy: AddressPolicy,
    /// Has the files of answers, which are uploaded; none: the fields get links to them.
    pub files: Option<Outbox>,
    /// By which client.
    pub client: Client,
}

/// A HubSpot form as a destination.
pub struct HubSpot {
    settings: Settings,
}

impl std::fmt::Debug for HubSpot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HubSpot").field("id", &self.settings.id).finish_non_exhaustive()
    }
}

/// What a search for our own submission found.
enum Search {
    Found,
    NotFound,
    /// The token may not search, or the answer could not be read.
    Impossible,
    /// HubSpot is not there or wants a pause; so it would with the submission.
    Later(Outcome),
}

impl HubSpot {
    /// A destination with these settings.
    pub fn new(settings: Settings) -> HubSpot {
        HubSpot { settings }
    }

    async fn send(&self, call: Call<'_>) -> Outcome {
        let submission = call.submission;
        let Some(plan) = self.settings.plans.get(&(submission.flow_id.clone(), submission.flow_version))
        else {
            let reason = "the version of the flow that was filled in is not kept any more, so its consent texts and \
                          properties are not known; export the submission";
            return Outcome::refused("version", None, reason);
        };
        let form = self.settings.form.as_deref().unwrap_or(&submission.form.id);
        let now_ms = Timestamp::now().as_millisecond();
        // One that was cut off while Formgate stopped has given its number back, but may have sent it.
        let is_first = call.attempt <= 1 && !call.sent_before;
        let is_prompt = is_first && now_ms.saturating_sub(submission.completed_at_ms) < PROMPT_MS;
        let mut is_unsure = false;
        if !is_prompt {
            match self.search(form, call).await {
                Search::Found => return Outcome { class: "found", ..Outcome::delivered(None) },
                Search::Later(outcome) => return outcome,
                Search::NotFound => {}
                Search::Impossible => is_unsure = call.sent_before,
            }
        }
        let files = match self.files(plan, call, is_prompt).await {
            Ok(files) => files,
            Err(outcome) => return outcome,
        };
        let body = match plan.render(submission, &files, &self.page(submission), now_ms) {
            Ok(body) => body.to_string(),
            Err(unfit) => return Outcome::refused("mapping", None, unfit.0),
        };
        let path = ["submissions", "v3", "integration", "secure", "submit", &self.settings.portal, form];
        let mut request = match self.request(Method::POST, &self.settings.api, &path, body, call).await {
            Ok(request) => request,
            Err(outcome) => return outcome,
        };
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self.settings.client.request(request).await {
            Ok(response) => match judge(response.status, &response.headers, &response.body, plan) {
                Outcome { verdict: Verdict::Delivered, status, .. } if is_unsure => {
                    Outcome::delivered_maybe_twice(status)
                }
                outcome => outcome,
            },
            Err(error) if error.is_retryable() => Outcome::retry(error.class(), None, None),
            Err(error) => Outcome::refused(error.class(), None, error.to_string()),
        }
    }

    async fn request(
        &self,
        method: Method,
        api: &Url,
        path: &[&str],
        body: String,
        call: Call<'_>,
    ) -> Result<Request, Outcome> {
        let mut url = api.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = Request::new(method, url, body, call.deadline);
        request.policy = self.settings.policy;
        request.headers.insert(AUTHORIZATION, api::bearer(&*self.settings.tokens).await?);
        Ok(request)
    }

    /// The address under which HubSpot shows where a submission came from. It carries our ids.
    fn page(&self, submission: &Submission) -> String {
        let base = self.settings.public_url.as_ref().map_or(NO_ADDRESS, Url::as_str);
        let Ok(mut url) = Url::parse(base) else { return NO_ADDRESS.to_owned() };
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["flows", &submission.flow_id]);
        }
        url.query_pairs_mut()
            .append_pair("submission", &submission.id.to_string())
            .append_pair("version", &submission.flow_version.to_string())
            .append_pair("source", "whatsapp")
            .extend_pairs(submission.source.get("campaign").map(|campaign| ("campaign", campaign)));
        url.into()
    }

    /// Looks for our id among the newest submissions of the form.
    async fn search(&self, form: &str, call: Call<'_>) -> Search {
        let Some(api) = self.general() else { return Search::Impossible };
        let id = call.submission.id.to_string();
        let mut after: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let path = ["form-integrations", "v1", "submissions", "forms", form];
            let mut request = match self.request(Method::GET, &api, &path, String::new(), call).await {
                Ok(request) => request,
                Err(outcome) => return Search::Later(outcome),
            };
            request
                .url
                .query_pairs_mut()
                .append_pair("limit", "50")
                .extend_pairs(after.map(|a| ("after", a)));
            request.max_response_bytes = MAX_LISTING_BYTES;
            let response = match self.settings.client.request(request).await {
                Ok(response) => response,
                Err(error) if error.is_retryable() => {
                    return Search::Later(Outcome::retry("search", None, None));
                }
                Err(_) => return Search::Impossible,
            };
            if response.status.as_u16() == 429 || response.status.is_server_error() {
                let wait_ms = crate::outbox::retry_after(&response.headers);
                return Search::Later(Outcome::retry("search", Some(response.status.as_u16()), wait_ms));
            }
            if !response.status.is_success() {
                return Search::Impossible;
            }
            let Ok(page) = serde_json::from_slice::<Value>(&response.body) else { return Search::Impossible };
            let results = list(&page, "results");
            if results.iter().any(|result| is_ours(result, &id)) {
                return Search::Found;
            }
            let oldest_ms = call.submission.completed_at_ms - CLOCKS_MS;
            let is_older = |result: &Value| {
                result.get("submittedAt").and_then(Value::as_i64).is_some_and(|at| at < oldest_ms)
            };
            after = page.pointer("/paging/next").and_then(|next| text(next, "after")).map(str::to_owned);
            if after.is_none() || results.iter().any(is_older) {
                return Search::NotFound;
            }
        }
        Search::NotFound
    }

    /// What stands in the fields for files, by question.
    async fn files(
        &self,
        plan: &Plan,
        call: Call<'_>,
        is_prompt: bool,
    ) -> Result<BTreeMap<String, String>, Outcome> {
        let mut files = BTreeMap::new();
        for (answer, title) in plan.files(call.submission) {
            let value = match &self.settings.files {
                Some(outbox) => self.uploaded(outbox, call, answer, title, is_prompt).await?,
                None => linked(answer),
            };
            files.insert(answer.key.clone(), value);
        }
        Ok(files)
    }

    /// Everything else is at another host than submissions are taken at; any other address is taken to do both.
    fn general(&self) -> Option<Url> {
        let host = self.settings.api.host_str().unwrap_or_default();
        if host.ends_with("hsforms.com") {
            Url::parse(LISTING_API).ok()
        } else {
            Some(self.settings.api.clone())
        }
    }
}

/// The expiring links to the files of an answer, as far as there are any.
pub(super) fn linked(answer: &Answer) -> String {
    let items = answer.value.as_array().into_iter().flatten();
    items.filter_map(|item| text(item, "url")).collect::<Vec<_>>().join(";")
}

fn is_ours(result: &Value, id: &str) -> bool {
    text(result, "pageUrl").is_some_and(|url| url.contains(id))
        || list(result, "values").iter().any(|value| text(value, "value") == Some(id))
}

impl Destination for HubSpot {
    fn id(&self) -> &DestinationId {
        &self.settings.id
    }

    /// HubSpot counts calls by account.
    fn account(&self) -> Cow<'_, str> {
        format!("hubspot:{}", self.settings.portal).into()
    }

    fn grade(&self) -> Grade {
        Grade::A
    }

    fn deliver<'a>(&'a self, call: Call<'a>) -> Attempting<'a> {
        Box::pin(self.send(call))
    }
}

//! A response by the form's public page, as a browser without an account sends it.
//!
//! Google offers no other way from outside and documents none of this, so the page is fetched first (by GET, without a
//! query, which stores nothing) and decides everything: which entries there are, which sections the answers lead through.
//! Invariant: delivered is only what the page confirmed. A page that neither confirms nor refuses is looked at by a person.

use std::sync::LazyLock;

use regex::Regex;
use url::Url;

use super::entries::body;
use super::page;
use super::source::Source;
use crate::client::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use crate::client::{AddressPolicy, Client, Error, Method, Request, Response, StatusCode};
use crate::outbox::{Attempting, Call, Destination, DestinationId, Grade, Outcome, Verdict};

/// Pages of long forms are large.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;
/// How long Google is left alone after it said that it is too much.
const THROTTLED_MS: i64 = 2 * 3_600_000;

static FBZX: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"name="fbzx"\s+value="(-?[0-9]+)""#).expect("a constant expression that the tests use")
});

/// A Google form that anyone may answer.
pub struct PublicForm {
    /// Its name as a destination.
    pub id: DestinationId,
    /// Its `responderUri`, which ends in `/viewform`.
    pub url: Url,
    /// Where the form may be; only a sandbox is in a private network.
    pub policy: AddressPolicy,
    /// By which client.
    pub client: Client,
}

impl std::fmt::Debug for PublicForm {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PublicForm").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Destination for PublicForm {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn grade(&self) -> Grade {
        Grade::B
    }

    fn deliver<'a>(&'a self, call: Call<'a>) -> Attempting<'a> {
        Box::pin(async move { self.respond(call).await.unwrap_or_else(|outcome| outcome) })
    }
}

impl PublicForm {
    async fn respond(&self, call: Call<'_>) -> Result<Outcome, Outcome> {
        let mut url = self.url.clone();
        // A query could fill the form in or even submit it.
        url.set_query(None);
        url.set_fragment(None);
        let path = url.path().strip_suffix("/viewform").map(|path| format!("{path}/formResponse"));
        let Some(path) = path else {
            return Err(Outcome::refused("address", None, "the form's address must end in /viewform"));
        };
        let looked = self.call(Request::new(Method::GET, url.clone(), "", call.deadline)).await;
        // Nothing was sent yet, so nothing is unclear.
        let shown = looked.map_err(|outcome| match outcome.verdict {
            Verdict::Retry { .. } => Outcome { class: "look", ..outcome },
            _ => outcome,
        })?;
        let (source, html) = questions(&shown)?;
        let fbzx = FBZX.captures(&html).and_then(|found| found.get(1)).map(|found| found.as_str());
        let body = body(&source, fbzx, &call.submission.answers).map_err(|why| {
            Outcome::refused("form", None, format!("the form cannot take the answers: {why}"))
        })?;
        url.set_path(&path);
        let mut request = Request::new(Method::POST, url, body, call.deadline);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let answered = self.call(request).await?;
        let ended = outcome(&answered, source.confirmation.as_deref());
        if call.sent_before && ended.verdict == Verdict::Delivered {
            return Ok(Outcome::delivered_maybe_twice(ended.status));
        }
        Ok(ended)
    }

    async fn call(&self, mut request: Request) -> Result<Response, Outcome> {
        request.policy = self.policy;
        request.max_response_bytes = MAX_PAGE_BYTES;
        match self.client.request(request).await {
            Ok(response) => turned_away(&response).map_or(Ok(response), Err),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn failed(error: &Error) -> Outcome {
    if error.is_retryable() {
        Outcome::retry(error.class(), None, None)
    } else {
        Outcome::refused(error.class(), None, error.to_string())
    }
}

/// What every answer but a page means, whether it was asked for or sent to.
fn turned_away(response: &Response) -> Option<Outcome> {
    let code = Some(response.status.as_u16());
    let refused = |class, reason: &str| Some(Outcome::refused(class, code, reason));
    let signed_in = "the form asks people to sign in to Google; nobody else can answer it";
    match response.status {
        StatusCode::OK => None,
        status if status.is_redirection() => {
            let to = response.headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
            if to.ends_with("/closedform") {
                refused("closed", "the form takes no responses; open it in Google Forms, then replay")
            } else if to.starts_with("https://accounts.google.com/") {
                refused("sign_in", signed_in)
            } else {
                refused(
                    "redirect",
                    "the form's address leads elsewhere; give the one that Google Forms shows",
                )
            }
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => refused("sign_in", signed_in),
        StatusCode::BAD_REQUEST => {
            refused("status", "Google refused the content; read the form again, then replay")
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => refused("gone", "there is no such form any more"),
        StatusCode::TOO_MANY_REQUESTS => Some(Outcome::retry("throttled", code, Some(THROTTLED_MS))),
        _ => Some(Outcome::retry("status", code, None)),
    }
}

fn is_captcha(html: &str) -> bool {
    html.contains("g-recaptcha") || html.contains("/sorry/")
}

/// The questions of the page, and the page.
fn questions(response: &Response) -> Result<(Source, String), Outcome> {
    let html = String::from_utf8_lossy(&response.body).into_owned();
    let code = Some(response.status.as_u16());
    match page::find(&html).filter(|data| page::items(data).is_some()) {
        Some(data) => Ok((page::source(&data), html)),
        None if is_captcha(&html) => Err(Outcome::retry("captcha", code, Some(THROTTLED_MS))),
        None => Err(Outcome::refused("page", code, "the page at the form's address shows no questions")),
    }
}

/// What the page after sending says.
fn outcome(response: &Response, confirmation: Option<&str>) -> Outcome {
    let html = String::from_utf8_lossy(&response.body);
    let code = Some(response.status.as_u16());
    let data = page::find(&html);
    if data.as_ref().is_some_and(|data| page::items(data).is_some()) || html.contains(r#"name="entry."#) {
        return Outcome::refused(
            "answers",
            code,
            "Google showed the form again: a required answer is missing or a rule is broken",
        );
    }
    if is_captcha(&html) {
        return Outcome::retry("captcha", code, Some(THROTTLED_MS));
    }
    // The text of the form's owner if there is one; otherwise the form's data without its questions.
    let said = match confirmation.and_then(|text| text.lines().map(str::trim).find(|line| !line.is_empty())) {
        Some(line) => html.contains(line) || html.contains(&escape(line)),
        None => data.is_some(),
    };
    if said {
        return Outcome::delivered(code);
    }
    Outcome::refused(
        "unclear",
        code,
        "Google neither confirmed nor refused; look whether the response is in the form before replaying",
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

//! Responses to the web app that the owner of a form has deployed: see [`super::script`].
//!
//! A web app answers a POST with a redirect to where its answer stands. That one hop is followed, by GET and only to the
//! host that Google uses for it; nothing else is.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use url::Url;

use super::script::Items;
use crate::client::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use crate::client::{AddressPolicy, Client, Method, Request, Response, StatusCode};
use crate::connector::api::failed;
use crate::outbox::{Attempting, Call, Destination, DestinationId, Grade, Outcome, retry_after};

/// Where the answer of a web app stands.
const ANSWERS: &str = "script.googleusercontent.com";
/// How long a script that is not let run any more today is left alone.
const QUOTA_MS: i64 = 3_600_000;

/// A Google form behind a script of its owner.
pub struct WebApp {
    /// Its name as a destination.
    pub id: DestinationId,
    /// The web app's address, which ends in `/exec`.
    pub url: Url,
    /// What the script knows a hash of.
    pub secret: SecretString,
    /// The forms, by flow.
    pub items: BTreeMap<String, Items>,
    /// Where it may be; only a sandbox is in a private network.
    pub policy: AddressPolicy,
    /// By which client.
    pub client: Client,
}

impl std::fmt::Debug for WebApp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WebApp").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Destination for WebApp {
    fn id(&self) -> &DestinationId {
        &self.id
    }

    fn grade(&self) -> Grade {
        Grade::A
    }

    fn deliver<'a>(&'a self, call: Call<'a>) -> Attempting<'a> {
        Box::pin(async move { self.respond(call).await.unwrap_or_else(|outcome| outcome) })
    }
}

impl WebApp {
    async fn respond(&self, call: Call<'_>) -> Result<Outcome, Outcome> {
        let submission = call.submission;
        let Some(items) = self.items.get(&submission.flow_id) else {
            return Err(Outcome::refused("form", None, "the flow of this submission has no Google form"));
        };
        let message =
            items.message(&submission.answers).map_err(|why| Outcome::refused("mapping", None, why))?;
        let message = json!({
            "secret": self.secret.expose_secret(),
            "submission": submission.id.to_string(),
            "items": message,
        });
        let mut request = Request::new(Method::POST, self.url.clone(), message.to_string(), call.deadline);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut response = self.call(request).await?;
        if response.status.is_redirection() {
            let to = self.hop(&response)?;
            response = self.call(Request::new(Method::GET, to, "", call.deadline)).await?;
        }
        if let Some(outcome) = turned_away(&response) {
            return Err(outcome);
        }
        let code = Some(response.status.as_u16());
        let Ok(answer) = serde_json::from_slice::<Value>(&response.body) else {
            // A page of Google's: the script broke off, or is not let run now. It can be asked again.
            return Err(Outcome::retry("answer", code, None));
        };
        let is_ours = answer["submission"] == submission.id.to_string().as_str();
        if answer["ok"] == true && is_ours {
            let class = if answer["repeated"] == true { "found" } else { "delivered" };
            return Ok(Outcome { class, ..Outcome::delivered(code) });
        }
        Err(said_no(&answer, code, items))
    }

    async fn call(&self, mut request: Request) -> Result<Response, Outcome> {
        request.policy = self.policy;
        self.client.request(request).await.map_err(|error| failed(&error))
    }

    /// Where the answer stands, if that is where Google puts answers.
    fn hop(&self, response: &Response) -> Result<Url, Outcome> {
        let code = Some(response.status.as_u16());
        let to = response.headers.get(LOCATION).and_then(|to| to.to_str().ok());
        let to = to.and_then(|to| self.url.join(to).ok());
        let host = to.as_ref().and_then(Url::host_str).unwrap_or_default();
        let is_sandbox = self.policy == AddressPolicy::AllowPrivateNetwork
            && to.as_ref().is_some_and(|to| to.origin() == self.url.origin());
        match to {
            Some(to) if is_sandbox || (host == ANSWERS && to.scheme() == "https") => Ok(to),
            Some(_) if host == "accounts.google.com" => Err(signed_in(code)),
            _ => Err(Outcome::hold(
                "redirect",
                code,
                "the web app's address leads elsewhere: copy it again from its deployment; it ends in /exec",
            )),
        }
    }
}

fn signed_in(code: Option<u16>) -> Outcome {
    Outcome::reconnect(
        "reconnect",
        code,
        "the web app asks people to sign in: deploy it again with access for “Anyone”, executed as you, then resume",
    )
}

fn turned_away(response: &Response) -> Option<Outcome> {
    let code = Some(response.status.as_u16());
    match response.status {
        StatusCode::OK => None,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Some(signed_in(code)),
        StatusCode::NOT_FOUND | StatusCode::GONE => Some(Outcome::hold(
            "gone",
            code,
            "there is no web app at this address: was its deployment archived? Deploy it again, mend “url”, then resume",
        )),
        StatusCode::TOO_MANY_REQUESTS => {
            Some(Outcome::retry("rate", code, Some(retry_after(&response.headers).unwrap_or(QUOTA_MS))))
        }
        _ => Some(Outcome::retry("status", code, retry_after(&response.headers))),
    }
}

/// What the script did not like.
fn said_no(answer: &Value, code: Option<u16>, items: &Items) -> Outcome {
    let question = || {
        items.title_of(&answer["item"]).map_or_else(|| "a question".to_owned(), |title| format!("“{title}”"))
    };
    match answer["error"].as_str().unwrap_or_default() {
        "secret" => Outcome::reconnect(
            "reconnect",
            code,
            "the script knows another secret: print it again with formgate apps-script, paste it, deploy a new version, then resume",
        ),
        "closed" => {
            Outcome::hold("closed", code, "the form takes no responses: open it in Google Forms, then resume")
        }
        "form" => {
            Outcome::hold("gone", code, "the script finds no form: was it deleted, or the script moved?")
        }
        "gone" => Outcome::refused(
            "mapping",
            code,
            format!("{} is not in the form any more; read it again, then replay", question()),
        ),
        "item" => Outcome::refused(
            "mapping",
            code,
            format!(
                "Google does not take the answer to {}; compare the form with the flow, then replay",
                question()
            ),
        ),
        "busy" => Outcome::retry("busy", code, None),
        // The script itself failed, or something else answers; it can be asked again.
        _ => Outcome::retry("script", None, None),
    }
}

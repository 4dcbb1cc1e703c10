//! The files of answers, put into HubSpot's file manager (`POST /files/v3/files`), where the form's field can name them.
//!
//! Invariant: a file of a submission is there once. Its name is made of the submission's id and the content's hash, so an
//! attempt after one that was not settled finds what that has left; HubSpot is also told to give back what is there already
//! instead of a copy. It is private: nobody sees it who is not signed in to the account, and no search engine does.
//!
//! It passes through in pieces, from the sealed file that was verified; what was refused is never uploaded.

use bytes::Bytes;
use serde_json::{Value, json};

use super::HubSpot;
use super::verdict::usual;
use crate::client::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use crate::client::{Method, Request, Response, Upload};
use crate::connector::api::{self, at};
use crate::connector::json::{list, text};
use crate::outbox::{Answer, Call, LinkError, Outbox, Outcome};

/// Where files are kept in the account.
const FOLDER: &str = "/formgate";
/// Of the name that the phone gave.
const MAX_NAME_CHARS: usize = 60;

/// The name of a file in HubSpot, without and with its ending.
struct Named {
    stem: String,
    whole: String,
}

impl Named {
    fn of(submission: &str, original: &str, sha256: &str) -> Named {
        let (stem, ending) = original.rsplit_once('.').unwrap_or((original, ""));
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
        let stem: String = stem.chars().map(plain).take(MAX_NAME_CHARS).collect();
        let is_ending =
            (1..=5).contains(&ending.len()) && ending.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let ending = if is_ending { ending.to_ascii_lowercase() } else { "bin".to_owned() };
        let hash = sha256.get(..12).unwrap_or(sha256);
        let stem = format!("{stem}-{submission}-{hash}");
        Named { whole: format!("{stem}.{ending}"), stem }
    }
}

impl HubSpot {
    /// What stands in the field of an answer that is files: their addresses, each put into HubSpot at most once. Those that
    /// were refused are left out and said; `title` is the question's.
    pub(super) async fn uploaded(
        &self,
        outbox: &Outbox,
        call: Call<'_>,
        answer: &Answer,
        title: &str,
        is_prompt: bool,
    ) -> Result<String, Outcome> {
        let mut addresses = Vec::new();
        for item in answer.value.as_array().into_iter().flatten() {
            let (name, hash) = (text(item, "name").unwrap_or_default(), text(item, "sha256"));
            match (hash, text(item, "reason")) {
                (Some(hash), _) => {
                    addresses.push(self.one(outbox, call, title, (name, hash), is_prompt).await?)
                }
                (None, reason) => {
                    let reason = reason.unwrap_or("it was not fetched yet");
                    tracing::warn!(submission.id = %call.submission.id, question = title, reason, "HubSpot does not get a file");
                }
            }
        }
        Ok(addresses.join(";"))
    }

    async fn one(
        &self,
        outbox: &Outbox,
        call: Call<'_>,
        title: &str,
        (original, hash): (&str, &str),
        is_prompt: bool,
    ) -> Result<String, Outcome> {
        let named = Named::of(&call.submission.id.to_string(), original, hash);
        if !is_prompt && let Some(address) = self.there(call, &named).await? {
            return Ok(address);
        }
        let file = outbox.open_with_hash(call.submission.id, hash).await.map_err(|error| match error {
            LinkError::NotNow => Outcome::not_yet("file"),
            LinkError::Unknown | LinkError::Expired => {
                let reason =
                    format!("the file of “{title}” is not kept any more, and Meta does not have it either");
                Outcome::refused("file", None, reason)
            }
        })?;
        let boundary = format!("formgate-{:032x}", rand::random::<u128>());
        let options = json!({
            "access": "PRIVATE", "overwrite": false,
            "duplicateValidationStrategy": "RETURN_EXISTING", "duplicateValidationScope": "EXACT_FOLDER",
        });
        // A folder of its own: what HubSpot finds to be there already must not be another submission's.
        let folder = format!("{FOLDER}/{}/{}", call.submission.flow_id, call.submission.id);
        let mut before = String::new();
        for (name, value) in
            [("options", options.to_string()), ("folderPath", folder), ("fileName", named.whole.clone())]
        {
            before.push_str(&format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            ));
        }
        before.push_str(&format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
            named.whole, file.media_type
        ));
        let after = format!("\r\n--{boundary}--\r\n");
        let mut request = self.files_request(Method::POST, &["files", "v3", "files"], &[], call).await?;
        let kind = HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}"));
        request.headers.insert(CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("multipart/form-data")));
        let body = Upload::new(Bytes::from(before), file.size_bytes, file.pieces, Bytes::from(after));
        let answered = self.settings.client.upload(request, body).await;
        let answered = answered.map_err(|error| api::failed(&error))?;
        judge(&answered, title)?;
        let made: Value = serde_json::from_slice(&answered.body).unwrap_or_default();
        // Something between us answers; the next attempt looks what is there.
        text(&made, "url").map(str::to_owned).ok_or_else(|| Outcome::retry("answer", None, None))
    }

    /// The address of a file that an earlier attempt has put there.
    async fn there(&self, call: Call<'_>, named: &Named) -> Result<Option<String>, Outcome> {
        let query = [("name", named.stem.as_str()), ("limit", "10")];
        let request =
            self.files_request(Method::GET, &["files", "v3", "files", "search"], &query, call).await?;
        let answered = self.settings.client.request(request).await;
        let answered = answered.map_err(|error| match api::failed(&error) {
            outcome if error.is_retryable() => Outcome { class: "look", ..outcome },
            outcome => outcome,
        })?;
        judge(&answered, "the form's files")?;
        let found: Value = serde_json::from_slice(&answered.body).unwrap_or_default();
        let mut results = list(&found, "results").iter();
        // The search is for names that hold it.
        let ours = results.find(|file| text(file, "name") == Some(named.stem.as_str()));
        Ok(ours.and_then(|file| text(file, "url")).map(str::to_owned))
    }

    async fn files_request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        call: Call<'_>,
    ) -> Result<Request, Outcome> {
        let Some(api) = self.general() else {
            return Err(Outcome::refused("address", None, "the address of HubSpot's files is not known"));
        };
        let mut request = Request::new(method, at(&api, path, query), "", call.deadline);
        request.policy = self.settings.policy;
        request.headers.insert(AUTHORIZATION, api::bearer(&*self.settings.tokens).await?);
        Ok(request)
    }
}

/// An error for every answer but success. HubSpot's messages may quote names of files, so none is repeated.
fn judge(response: &Response, title: &str) -> Result<(), Outcome> {
    let code = Some(response.status.as_u16());
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    Err(match response.status.as_u16() {
        200..=299 => return Ok(()),
        400 | 413 | 415 => Outcome::refused(
            "file",
            code,
            format!("HubSpot does not take the file of “{title}”; see the submission"),
        ),
        403 => Outcome::reconnect(
            "scope",
            code,
            "reconnect HubSpot: the token may not upload files; give it the scope \"files\", or write files = \"link\" for the destination",
        ),
        _ => usual(response.status, &response.headers, &body),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_and_the_same_at_every_attempt() {
        let named = |original: &str| Named::of("0197", original, "abcdef0123456789").whole;
        assert_eq!(named("Küche \"1\".JPG"), "K-che--1--0197-abcdef012345.jpg");
        assert_eq!(named("a\r\nX: y"), "a--X--y-0197-abcdef012345.bin");
        assert_eq!(named(".."), "--0197-abcdef012345.bin");
        assert_eq!(named("a.tar.gz/etc"), "a-tar-0197-abcdef012345.bin");
    }
}

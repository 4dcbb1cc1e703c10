//! A browser without script, as far as the pages of a consent need one: links, redirects, cookies, and forms whose fields
//! are sent as they stand.
//!
//! It knows nothing of whose pages they are, so what it can walk a person can, too. It is for loopback.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use crate::cli::Error;
use crate::client::{AddressPolicy, Client, Method, Request, header};

/// Redirects after one click.
const MAX_REDIRECTS: usize = 10;
/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Browser {
    cookies: BTreeMap<String, String>,
}

/// What is shown, and where.
pub(super) struct Page {
    at: Url,
    html: String,
}

impl Page {
    /// Its heading.
    pub(super) fn heading(&self) -> String {
        let heading = self.html.split("<h1").nth(1).and_then(|rest| rest.split_once('>'));
        let text = heading.map_or("", |(_, rest)| rest.split("</h1>").next().unwrap_or_default());
        unescaped(text)
    }
}

impl Browser {
    /// Opens an address.
    pub(super) async fn open(&mut self, url: Url) -> Result<Page, Error> {
        self.go(Method::GET, url, String::new()).await
    }

    /// Presses the page's button of this name and value; without them the only one.
    pub(super) async fn press(&mut self, page: &Page, button: Option<(&str, &str)>) -> Result<Page, Error> {
        let form = form(&page.html).ok_or_else(|| Error::Input(format!("{} has no form", page.at)))?;
        let (action, mut fields) = form;
        fields.extend(button.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let to = page.at.join(&action).map_err(|error| Error::Input(format!("{}: {error}", page.at)))?;
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.go(Method::POST, to, body).await
    }

    async fn go(&mut self, method: Method, url: Url, body: String) -> Result<Page, Error> {
        let (mut method, mut url, mut body) = (method, url, body);
        for _ in 0..MAX_REDIRECTS {
            // The query may hold a code; it is not for messages.
            let shown = format!("{}{}", url.origin().ascii_serialization(), url.path());
            let failed = |error: &dyn std::fmt::Display| Error::Input(format!("{shown}: {error}"));
            let mut request = Request::new(method, url.clone(), body, Instant::now() + PATIENCE);
            request.policy = AddressPolicy::AllowPrivateNetwork;
            request.max_response_bytes = 1 << 20;
            if request.method == Method::POST {
                let form = "application/x-www-form-urlencoded";
                request = request.header("content-type", form).map_err(|error| failed(&error))?;
            }
            if !self.cookies.is_empty() {
                let pairs: Vec<String> =
                    self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
                request = request.header("cookie", &pairs.join("; ")).map_err(|error| failed(&error))?;
            }
            let answer = Client::new().request(request).await.map_err(|error| failed(&error))?;
            for line in answer.headers.get_all(header::SET_COOKIE) {
                let pair = line.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
                if let Some((name, value)) = pair.split_once('=') {
                    self.cookies.insert(name.to_owned(), value.to_owned());
                }
            }
            let location = answer.headers.get(header::LOCATION).and_then(|to| to.to_str().ok());
            match location.filter(|_| answer.status.is_redirection()) {
                Some(to) => url = url.join(to).map_err(|error| failed(&error))?,
                None => {
                    return Ok(Page { at: url, html: String::from_utf8_lossy(&answer.body).into_owned() });
                }
            }
            (method, body) = (Method::GET, String::new());
        }
        Err(Error::Input("one page leads to another without end".to_owned()))
    }
}

/// The action of the page's form, and its fields as they stand.
fn form(html: &str) -> Option<(String, Vec<(String, String)>)> {
    let (_, rest) = html.split_once("<form")?;
    let form = rest.split("</form>").next()?;
    let action = attributes(form).get("action").cloned().unwrap_or_default();
    let mut fields = Vec::new();
    for input in form.split("<input").skip(1) {
        let given = attributes(input);
        let kind = given.get("type").map_or("text", String::as_str);
        let is_sent = !given.contains_key("disabled")
            && (!matches!(kind, "radio" | "checkbox") || given.contains_key("checked"));
        if let Some(name) = given.get("name").filter(|_| is_sent) {
            fields.push((name.clone(), given.get("value").cloned().unwrap_or_default()));
        }
    }
    Some((action, fields))
}

/// The attributes of a tag, from behind its name.
fn attributes(tag: &str) -> BTreeMap<String, String> {
    let (mut found, mut rest) = (BTreeMap::new(), tag);
    loop {
        rest = rest.trim_start();
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '=' | '>')).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() {
            return found;
        }
        let quoted = after.strip_prefix("=\"").and_then(|after| after.split_once('"'));
        let (value, after) = quoted.unwrap_or(("", after));
        found.insert(name.to_owned(), unescaped(value));
        rest = after;
    }
}

fn unescaped(text: &str) -> String {
    let named =
        [("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&lt;", "<"), ("&#60;", "<"), ("&gt;", ">")];
    let named = named.into_iter().chain([("&#62;", ">"), ("&#38;", "&"), ("&amp;", "&")]);
    named.fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_sent_as_it_stands() {
        let html = "<p>x</p><form method=\"post\" action=\"/go\"><input type=\"hidden\" name=\"t\" value=\"a&amp;b\">\
            <input type=\"radio\" name=\"who\" value=\"ada\" checked> <input type=\"radio\" name=\"who\" value=\"bob\">\
            <input type=\"checkbox\" name=\"scope\" value=\"s\" checked disabled></form><input name=\"not\">";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(form(html), Some(("/go".to_owned(), vec![pair("t", "a&b"), pair("who", "ada")])));
        assert_eq!(form("<p>no form</p>"), None);
    }
}

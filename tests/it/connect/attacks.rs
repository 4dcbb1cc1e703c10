//! What S10 of the security checklist asks for: each attack is refused, and leaves no connection.

use formgate::client::Method;
use url::Url;

use super::fixture::{Browser, Site, start};

/// A person in the middle of it: the browser, and the callback that it has not followed yet.
async fn midway(site: &Site, tool: &str) -> (Browser, Url) {
    let mut browser = Browser::default();
    let at_tool = browser.leave(&site.link(tool, None).await).await;
    let callback = browser.answer(&at_tool, &[("answer", "allow")], &[]).await;
    (browser, callback)
}

fn with(url: &Url, name: &str, value: Option<&str>) -> Url {
    let pairs: Vec<(String, String)> =
        url.query_pairs().into_owned().filter(|(key, _)| key != name).collect();
    let mut changed = url.clone();
    changed.query_pairs_mut().clear().extend_pairs(pairs);
    if let Some(value) = value {
        changed.query_pairs_mut().append_pair(name, value);
    }
    changed
}

fn of(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(key, _)| key == name).expect("a parameter").1.into_owned()
}

async fn refused(site: &Site, browser: &mut Browser, callback: &Url, status: u16, words: &str) {
    let answer = browser.get(callback).await;
    let page = browser.pages.last().expect("a page");
    assert_eq!(answer.status.as_u16(), status, "{page}");
    assert!(page.contains(words), "{page}");
    assert!(site.connections.list().await.expect("a list").is_empty(), "{page}");
}

#[tokio::test]
async fn a_callback_in_another_browser_is_refused_and_the_own_one_still_works() {
    let site = start().await;
    let (mut own, callback) = midway(&site, "hubspot").await;
    refused(&site, &mut Browser::default(), &callback, 403, "another browser").await;
    // Somebody who is connecting an account of his own at the same time.
    let (mut attacker, _) = midway(&site, "hubspot").await;
    refused(&site, &mut attacker, &callback, 403, "another browser").await;
    assert_eq!(site.asked("POST /hubspot/oauth/2026-03/token"), 0, "the code was not even tried");
    own.get(&callback).await;
    assert!(own.pages.last().expect("a page").contains("HubSpot is connected"));
    site.end().await;
}

#[tokio::test]
async fn a_repeated_callback_is_refused() {
    let site = start().await;
    let (mut browser, callback) = midway(&site, "typeform").await;
    browser.get(&callback).await;
    assert!(browser.pages.last().expect("a page").contains("Typeform is connected"));
    let answer = browser.get(&callback).await;
    assert_eq!(answer.status, 400, "{:?}", browser.pages.last());
    assert_eq!(site.asked("POST /typeform/oauth/token"), 1);
    // The same with a browser that kept its cookie, after an answer that gave nothing.
    let (mut browser, callback) = midway(&site, "surveymonkey").await;
    let cancelled = with(&with(&callback, "code", None), "error", Some("access_denied"));
    browser.get(&cancelled).await;
    let answer = browser.get(&callback).await;
    assert_eq!(answer.status, 400, "{:?}", browser.pages.last());
    assert_eq!(site.asked("POST /surveymonkey/oauth/token"), 0);
    site.end().await;
}

#[tokio::test]
async fn a_missing_altered_or_doubled_state_is_refused() {
    let site = start().await;
    let (mut browser, callback) = midway(&site, "hubspot").await;
    let state = of(&callback, "state");
    assert!(state.len() >= 43, "256 bits: {}", state.len());
    let mut altered = state.clone();
    altered.replace_range(..1, if state.starts_with('A') { "B" } else { "A" });
    for wrong in [
        with(&callback, "state", None),
        with(&callback, "state", Some("")),
        with(&callback, "state", Some(&altered)),
        with(&callback, "state", Some(&"x".repeat(5_000))),
    ] {
        refused(&site, &mut browser, &wrong, 400, "Nothing was connected").await;
    }
    let mut doubled = callback.clone();
    doubled.query_pairs_mut().append_pair("state", &state);
    refused(&site, &mut browser, &doubled, 400, "Nothing was connected").await;
    assert_eq!(site.asked("POST /hubspot/oauth/2026-03/token"), 0);
    site.end().await;
}

#[tokio::test]
async fn the_answer_of_another_server_is_refused() {
    let site = start().await;
    // A state of HubSpot's comes back at Typeform's address.
    let (mut browser, callback) = midway(&site, "hubspot").await;
    let mut moved = callback.clone();
    moved.set_path("/connect/typeform/callback");
    refused(&site, &mut browser, &moved, 400, "another service").await;
    // It is used up: what was mixed up once is not trusted later.
    refused(&site, &mut browser, &callback, 400, "used already").await;
    // An issuer that is none of Google's.
    let (mut browser, callback) = midway(&site, "google-forms").await;
    let other = with(&callback, "iss", Some("https://attacker.example"));
    refused(&site, &mut browser, &other, 400, "another service").await;
    assert_eq!(site.asked("POST /google-forms/token"), 0);
    let (mut browser, callback) = midway(&site, "google-forms").await;
    let own = with(&callback, "iss", Some(&format!("http://{}", site.sandbox)));
    browser.get(&own).await;
    assert!(browser.pages.last().expect("a page").contains("Google is connected"));
    site.end().await;
}

#[tokio::test]
async fn a_code_that_was_put_in_from_outside_is_refused() {
    let site = start().await;
    // With PKCE the tool refuses a code that another browser's verifier was made for.
    for tool in ["hubspot", "google-forms"] {
        let (_, stolen) = midway(&site, tool).await;
        let (mut browser, callback) = midway(&site, tool).await;
        let injected = with(&callback, "code", Some(&of(&stolen, "code")));
        refused(&site, &mut browser, &injected, 502, "did not accept its own answer").await;
    }
    site.end().await;
}

#[tokio::test]
async fn a_link_works_once_and_for_its_tool_only() {
    let site = start().await;
    let link = site.link("hubspot", None).await;
    let mut browser = Browser::default();
    let mut other = link.clone();
    other.set_path("/connect/typeform");
    assert_eq!(browser.get(&other).await.status, 404);
    // Looking does not use it up: a preview in a chat may have looked.
    assert_eq!(browser.get(&link).await.status, 200);
    browser.leave(&link).await;
    assert_eq!(browser.get(&link).await.status, 404);
    assert!(browser.pages.last().expect("a page").contains("This link does not work"));
    let made_up = site.public.join("/connect/hubspot?start=made-up").expect("a URL");
    assert_eq!(browser.get(&made_up).await.status, 404);
    assert_eq!(browser.get(&site.public.join("/connect/hubspot").expect("a URL")).await.status, 404);
    site.end().await;
}

#[tokio::test]
async fn the_pages_keep_to_themselves() {
    let site = start().await;
    let mut browser = Browser::default();
    let link = site.link("hubspot", None).await;
    let page = browser.get(&link).await;
    let header =
        |name: &str| page.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let policy = header("content-security-policy");
    for part in
        ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self' http://127"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert!(!String::from_utf8_lossy(&page.body).contains("<script"));
    let mut action = link.clone();
    action.set_query(None);
    let body = format!("start={}", of(&link, "start"));
    let sent = browser.call(Method::POST, &action, &body).await;
    let cookie = sent.headers.get("set-cookie").expect("a cookie").to_str().expect("text");
    for part in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    for (path, method, status) in [
        ("/connect/hubspot", Method::PUT, 405),
        ("/connect/hubspot/callback", Method::POST, 405),
        ("/connect/nothing", Method::GET, 404),
        ("/connect/hubspot/callback/x", Method::GET, 404),
        ("/connect/style.css", Method::GET, 200),
    ] {
        let answer = browser.call(method, &site.public.join(path).expect("a URL"), "").await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
    }
    site.end().await;
}

//! A real browser walks from the link over the tool's page and back.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use formgate::client::{AddressPolicy, Client, Method, Request};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::fixture::{free_port, start};

/// Chromium, driven as the WebDriver standard says; both end with the test.
struct Chromium {
    driver: Child,
    root: String,
    session: String,
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ended = self.driver.kill();
        let _reaped = self.driver.wait();
    }
}

impl Chromium {
    /// `None` where there is no chromedriver.
    async fn start() -> Option<Chromium> {
        let port = free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut chromium =
            Chromium { driver, root: format!("http://127.0.0.1:{port}"), session: String::new() };
        let until = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "chromedriver does not start");
            sleep(Duration::from_millis(50)).await;
        }
        let options =
            json!({"args": ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]});
        let wanted = json!({"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}});
        let made =
            chromium.call(Method::POST, "/session", json!({"capabilities": {"alwaysMatch": wanted}})).await;
        chromium.session = format!("/session/{}", made["sessionId"].as_str().expect("a session"));
        Some(chromium)
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        self.try_call(method, path, body).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    async fn try_call(&self, method: Method, path: &str, body: Value) -> Result<Value, Value> {
        let url = format!("{}{}{path}", self.root, self.session).parse().expect("a URL");
        let body = if method == Method::GET { String::new() } else { body.to_string() };
        let mut request = Request::new(method, url, body, Instant::now() + Duration::from_secs(60));
        request = request.header("content-type", "application/json").expect("a header");
        request.policy = AddressPolicy::AllowPrivateNetwork;
        request.max_response_bytes = 4 * 1024 * 1024;
        let answer = Client::new().request(request).await.expect("an answer");
        let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
        if answer.status.is_success() { Ok(json["value"].clone()) } else { Err(json) }
    }

    async fn element(&self, css: &str) -> String {
        let found = json!({"using": "css selector", "value": css});
        let element = self.call(Method::POST, "/element", found).await;
        let id = element.as_object().and_then(|element| element.values().next()?.as_str().map(str::to_owned));
        id.expect("an element")
    }

    async fn click(&self, css: &str) {
        let element = self.element(css).await;
        self.call(Method::POST, &format!("/element/{element}/click"), json!({})).await;
    }

    /// Waits until the page says this.
    async fn says(&self, words: &str) -> String {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            // Between two pages there is none to ask.
            let script = json!({"script": "return document.body.innerText", "args": []});
            let text = self.try_call(Method::POST, "/execute/sync", script).await.unwrap_or_default();
            let text = text.as_str().unwrap_or_default();
            if text.contains(words) {
                return text.to_owned();
            }
            assert!(Instant::now() < until, "no “{words}”: {text}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test]
async fn a_real_browser_cancels_tries_again_and_connects() {
    let Some(browser) = Chromium::start().await else {
        println!("skipped: there is no chromedriver; tests/run installs it");
        return;
    };
    let site = start().await;
    let link = site.link("google-forms", None).await;
    browser.call(Method::POST, "/url", json!({"url": link.as_str()})).await;
    browser.says("read your forms").await;
    browser.click("button").await;
    browser.says("Nothing here is real").await;
    browser.click("button[value=cancel]").await;
    browser.says("You cancelled").await;
    browser.click("a.button").await;
    browser.says("Continue to Google").await;
    browser.click("button").await;
    browser.says("Nothing here is real").await;
    browser.click("button[value=allow]").await;
    let page = browser.says("Google is connected").await;
    assert!(page.contains("ada@example.org"), "{page}");
    let colour = json!({"script": "return getComputedStyle(document.querySelector('main')).borderTopWidth", "args": []});
    assert_eq!(browser.call(Method::POST, "/execute/sync", colour).await, "1px", "the style was let in");
    let reports = browser.call(Method::POST, "/se/log", json!({"type": "browser"})).await;
    assert_eq!(reports, json!([]), "nothing was blocked");
    browser.call(Method::DELETE, "", json!({})).await;
    site.end().await;
}

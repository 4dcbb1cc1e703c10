//! The webhook inbox, over a real socket, with signatures made by the test itself.

use std::{net::SocketAddr, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use formgate::{
    sandbox::{Counts, Inbox, Signed},
    server::StatusCode,
};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

const KEY: &[u8] = b"twenty-four bytes or more";

/// The Standard Webhooks scheme: HMAC-SHA-256 of `id.timestamp.body`.
fn sign(id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).expect("any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

struct Running {
    inbox: Inbox,
    addr: SocketAddr,
    /// Dropping it stops the server.
    _stop: watch::Sender<bool>,
}

async fn start() -> Running {
    let inbox =
        Inbox::new(|signed: &Signed<'_>| sign(signed.id, signed.timestamp, signed.body) == signed.signature);
    let server = inbox.bind(0).await.expect("a free port");
    let addr = server.local_addr();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(server.run(stopped, Duration::from_secs(1)));
    Running { inbox, addr, _stop: stop }
}

impl Running {
    async fn request(&self, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.addr).await.expect("the inbox listens");
        let host = if head.contains("host: ") { String::new() } else { format!("host: {}\r\n", self.addr) };
        let length = body.len();
        let request = format!("{head}\r\n{host}connection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.expect("the inbox reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.expect("a reply");
        let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
        (head[9..12].parse().expect("a status"), body.to_owned())
    }

    async fn deliver(&self, id: &str, body: &str) -> u16 {
        self.deliver_signed(id, body, &sign(id, "1700000000", body.as_bytes())).await
    }

    async fn deliver_signed(&self, id: &str, body: &str, signature: &str) -> u16 {
        let head = format!(
            "POST /hook HTTP/1.1\r\nwebhook-id: {id}\r\nwebhook-timestamp: 1700000000\r\n\
             webhook-signature: {signature}\r\nauthorization: Bearer canary"
        );
        self.request(&head, body).await.0
    }
}

#[tokio::test]
async fn a_signed_delivery_is_kept_and_its_repeat_is_counted() {
    let running = start().await;
    assert_eq!(running.deliver("msg_1", r#"{"id":"a"}"#).await, 204);
    assert_eq!(running.deliver("msg_1", r#"{"id":"a"}"#).await, 204);
    assert_eq!(running.deliver("msg_2", r#"{"id":"b"}"#).await, 204);
    let deliveries = running.inbox.deliveries();
    let seen: Vec<_> = deliveries.iter().map(|found| (found.id.as_str(), found.times, &found.body)).collect();
    assert_eq!(seen, [("msg_1", 2, &json!({"id": "a"})), ("msg_2", 1, &json!({"id": "b"}))]);
    assert_eq!(running.inbox.counts(), Counts { taken: 2, repeated: 1, ..Counts::default() });

    let (status, listing) = running.request("GET /deliveries HTTP/1.1", "").await;
    let listing: Value = serde_json::from_str(&listing).expect("JSON");
    assert_eq!((status, &listing["deliveries"][1]["id"]), (200, &json!("msg_2")));
    assert!(!listing.to_string().contains("canary"), "credentials are not shown: {listing}");
}

#[tokio::test]
async fn what_is_not_signed_or_not_json_is_refused() {
    let running = start().await;
    assert_eq!(running.deliver_signed("msg_1", "{}", &sign("msg_2", "1700000000", b"{}")).await, 401);
    assert_eq!(running.request("POST /hook HTTP/1.1", "{}").await.0, 401, "no headers at all");
    assert_eq!(running.deliver("msg_1", "{").await, 400);
    assert_eq!(running.inbox.counts(), Counts { refused: 3, ..Counts::default() });
    assert!(running.inbox.deliveries().is_empty());
}

#[tokio::test]
async fn the_fault_dial_fails_as_many_deliveries_as_it_was_set_to() {
    let running = start().await;
    running.inbox.fail_next(2, StatusCode::SERVICE_UNAVAILABLE);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(running.deliver("msg_1", "{}").await);
    }
    assert_eq!(statuses, [503, 503, 204]);
    assert_eq!(running.inbox.counts(), Counts { taken: 1, failed: 2, ..Counts::default() });
}

#[tokio::test]
async fn the_page_shows_answers_as_text_whatever_they_contain() {
    let running = start().await;
    let hostile = json!({ "name": "<script>alert('x')</script>&\"" }).to_string();
    assert_eq!(running.deliver("<img_src=x>", &hostile).await, 204);
    let (status, page) = running.request("GET / HTTP/1.1", "").await;
    assert_eq!(status, 200);
    assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;"), "{page}");
}

#[tokio::test]
async fn only_the_last_hundred_are_kept() {
    let running = start().await;
    for number in 0..101 {
        assert_eq!(running.deliver(&format!("msg_{number}"), "{}").await, 204);
    }
    let deliveries = running.inbox.deliveries();
    assert_eq!((deliveries.len(), deliveries[0].id.as_str()), (100, "msg_1"));
}

#[tokio::test]
async fn another_site_s_name_an_unknown_path_and_a_wrong_method_get_nothing() {
    let running = start().await;
    assert_eq!(running.request("GET / HTTP/1.1\r\nhost: evil.example", "").await.0, 403);
    assert_eq!(running.request("GET /deliveries HTTP/1.1\r\nhost: localhost:1", "").await.0, 200);
    assert_eq!(running.request("GET /other HTTP/1.1", "").await.0, 404);
    assert_eq!(running.request("GET /hook HTTP/1.1", "").await.0, 405);
    assert_eq!(running.request("DELETE / HTTP/1.1", "").await.0, 405);
}

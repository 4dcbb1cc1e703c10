//! The fault dial in front of a peer, over real sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use formgate::client::{AddressPolicy, Client, Error, Method, Request, Response};
use formgate::sandbox::dial::{Dial, Fault};
use formgate::server::{self, StatusCode};
use tokio::sync::watch;
use tokio::time::Instant;

/// What nothing here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    dial: Dial,
    address: SocketAddr,
    /// Requests that the peer has worked on.
    worked: Arc<AtomicUsize>,
    _stop: watch::Sender<bool>,
}

async fn start() -> Running {
    let worked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&worked);
    let peer = move |_request: server::Request| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { server::Response::text(StatusCode::OK, "done") }
    };
    let dial = Dial::new();
    let (stop, stopped) = watch::channel(false);
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let address = dial.serve_with_control(peer, any, stopped).await.expect("a port");
    Running { dial, address, worked, _stop: stop }
}

impl Running {
    async fn call(&self, method: Method, path: &str, body: &str) -> Result<Response, Error> {
        self.call_within(PATIENCE, method, path, body).await
    }

    async fn call_within(
        &self,
        within: Duration,
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<Response, Error> {
        let url = format!("http://{}{path}", self.address).parse().expect("a URL");
        let deadline = Instant::now() + within;
        let mut request = Request::new(method, url, body.to_owned(), deadline);
        request = request.header("content-type", "application/json").expect("a header");
        request.policy = AddressPolicy::AllowPrivateNetwork;
        Client::new().request(request).await
    }

    async fn get(&self) -> Result<(u16, Option<String>), Error> {
        let answer = self.call(Method::GET, "/x", "").await?;
        let after = answer.headers.get("retry-after").map(|after| after.to_str().expect("text").to_owned());
        Ok((answer.status.as_u16(), after))
    }

    fn worked(&self) -> usize {
        self.worked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn each_fault_fails_as_it_says_and_then_the_peer_answers_again() {
    let running = start().await;
    running.dial.next("/x", [Fault::Status(503), Fault::RateLimit(7), Fault::Reset]);
    assert_eq!(running.get().await.expect("an answer"), (503, None));
    assert_eq!(running.get().await.expect("an answer"), (429, Some("7".to_owned())));
    assert!(matches!(running.get().await, Err(Error::Exchange(_))));
    assert_eq!(running.worked(), 0, "none of these lets the peer work");
    running.dial.next("/x", [Fault::AcceptThenCut, Fault::AcceptThenFail]);
    assert!(matches!(running.get().await, Err(Error::Exchange(_))));
    assert_eq!(running.worked(), 1, "it was done, only the answer was lost");
    assert_eq!(running.get().await.expect("an answer"), (500, None));
    assert_eq!(running.worked(), 2);
    running.dial.next("/x", [Fault::Hang]);
    let hung = running.call_within(Duration::from_secs(4), Method::GET, "/x", "").await;
    assert!(matches!(hung, Err(Error::Deadline { .. })));
    assert_eq!(running.get().await.expect("an answer"), (200, None));
    assert_eq!(running.worked(), 3);
}

#[tokio::test]
async fn one_connection_is_cut_and_not_its_neighbour() {
    let running = start().await;
    running.dial.next("/cut", [Fault::Reset]);
    let (cut, kept) =
        tokio::join!(running.call(Method::GET, "/cut", ""), running.call(Method::GET, "/x", ""));
    assert!(cut.is_err());
    assert_eq!(kept.expect("an answer").status, StatusCode::OK);
}

#[tokio::test]
async fn a_program_turns_the_dial_over_http() {
    let running = start().await;
    let turned = running.call(Method::POST, "/_dial", r#"{"path": "/x", "faults": ["502"]}"#).await;
    assert_eq!(turned.expect("an answer").status, StatusCode::NO_CONTENT);
    assert_eq!(running.get().await.expect("an answer").0, 502);
    let refused = running.call(Method::POST, "/_dial", r#"{"path": "/x", "faults": ["explode"]}"#).await;
    assert_eq!(refused.expect("an answer").status, StatusCode::BAD_REQUEST);
}

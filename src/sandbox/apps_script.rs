//! `script.google.com` as far as a web app goes: a POST runs the script and is answered with a redirect to where its
//! answer stands, which can be fetched once, by GET. The script itself is whatever it is given.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::server::{
    Error, Handler, Limits, Listener, Method, Request, Response, Server, StatusCode,
    header::{self, HeaderValue},
};

/// How the web app behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It runs the script.
    Deployed,
    /// It asks people to sign in.
    SignIn,
    /// Its answer stands somewhere that is not Google's.
    Astray,
    /// The script broke off: an error page with status 200.
    Broken,
    /// The script runs, and its answer is lost.
    Lost,
    /// There is no deployment any more.
    Archived,
    /// The script runs, and a proxy answers in its place.
    Intercepted,
}

/// Runs the script: the body of the request to what the script said.
pub type Script = Arc<dyn Fn(&[u8]) -> String + Send + Sync>;

struct State {
    mood: Mood,
    answers: BTreeMap<String, String>,
    runs: usize,
}

/// The web app. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct AppsScript {
    script: Script,
    state: Arc<Mutex<State>>,
}

impl AppsScript {
    /// A web app with this script.
    pub fn new(script: Script) -> AppsScript {
        let state = State { mood: Mood::Deployed, answers: BTreeMap::new(), runs: 0 };
        AppsScript { script, state: Arc::new(Mutex::new(state)) }
    }

    /// Binds a free port of 127.0.0.1 and serves until `stop` becomes true. The web app is at `/macros/s/deployment/exec`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn serve(&self, stop: watch::Receiver<bool>) -> Result<SocketAddr, Error> {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server =
            Server::bind(Listener { addr, tls: None }, Limits::default(), Arc::new(self.clone())).await?;
        let addr = server.local_addr();
        tokio::spawn(server.run(stop, Duration::from_secs(1)));
        Ok(addr)
    }

    /// Behaves so from now on.
    pub fn behave(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// How often the script was run.
    pub fn runs(&self) -> usize {
        self.state().runs
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, request: &Request) -> Response {
        let mood = self.state().mood;
        let redirect = |to: &str| match HeaderValue::from_str(to) {
            Ok(to) => Response::empty(StatusCode::FOUND).with_header(header::LOCATION, to),
            Err(_) => Response::empty(StatusCode::INTERNAL_SERVER_ERROR),
        };
        match mood {
            Mood::SignIn => return redirect("https://accounts.google.com/ServiceLogin?continue=script"),
            Mood::Astray => return redirect("https://elsewhere.example/macros/echo?user_content_key=1"),
            Mood::Broken => return page("TypeError: Cannot read properties of null"),
            Mood::Archived => return Response::empty(StatusCode::NOT_FOUND),
            Mood::Deployed | Mood::Lost | Mood::Intercepted => {}
        }
        let (script, body) = (Arc::clone(&self.script), request.body.clone());
        // A script may take its time.
        let said = tokio::task::spawn_blocking(move || script(&body)).await.unwrap_or_default();
        let mut state = self.state();
        state.runs += 1;
        match mood {
            Mood::Lost => return Response::empty(StatusCode::BAD_GATEWAY),
            Mood::Intercepted => return page("You are offline"),
            _ => {}
        }
        let key = format!("key-{}", state.runs);
        state.answers.insert(key.clone(), said);
        redirect(&format!("/macros/echo?user_content_key={key}&lib=formgate"))
    }

    fn echo(&self, query: &str) -> Response {
        let key = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "user_content_key");
        match key.and_then(|(_, key)| self.state().answers.remove(key.as_ref())) {
            Some(said) => Response::new(StatusCode::OK, "application/json; charset=utf-8", said),
            None => page("Sorry, unable to open the file at this time."),
        }
    }
}

fn page(text: &str) -> Response {
    Response::html(StatusCode::OK, format!("<!DOCTYPE html><html><body><div>{text}</div></body></html>"))
}

impl Handler for AppsScript {
    async fn handle(&self, request: Request) -> Response {
        match (&request.method, request.path()) {
            (&Method::POST, "/macros/s/deployment/exec") => self.run(&request).await,
            (&Method::GET, "/macros/echo") => self.echo(request.query().unwrap_or_default()),
            // A POST that follows the redirect as it came is what the host of the answers refuses.
            (_, "/macros/echo") => Response::empty(StatusCode::METHOD_NOT_ALLOWED),
            _ => Response::empty(StatusCode::NOT_FOUND),
        }
    }
}

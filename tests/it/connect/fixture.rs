//! A running Formgate, the sandbox's four tools, and a browser that keeps cookies and remembers every page.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use formgate::app::App;
use formgate::client::{AddressPolicy, Client, Method, Request, Response};
use formgate::config::Config;
use formgate::connector::connection::{ConnectionId, Connections};
use formgate::endpoint::Flows;
use formgate::outbox::Outbox;
use formgate::sandbox::Tools;
use formgate::sandbox::dial::Dial;
use formgate::store::Store;
use secrecy::ExposeSecret as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

/// Authorize and token addresses below each tool's name.
pub const TOOLS: [(&str, &str, &str); 4] = [
    ("hubspot", "oauth/authorize", "oauth/2026-03/token"),
    ("google-forms", "o/oauth2/v2/auth", "token"),
    ("typeform", "oauth/authorize", "oauth/token"),
    ("surveymonkey", "oauth/authorize", "oauth/token"),
];

pub struct Site {
    pub tools: Tools,
    pub dial: Dial,
    pub sandbox: SocketAddr,
    pub public: Url,
    pub admin: SocketAddr,
    pub connections: Connections,
    pub flows: Flows,
    pub outbox: Outbox,
    pub store: Store,
    pub folder: tempfile::TempDir,
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<(), formgate::app::Error>>,
}

/// A port that is free, and nobody else's until this process ends.
///
/// It is none of those that the system gives out by itself, so no connection and no listener takes it before it is used; and
/// the same number is kept for UDP, which nothing here speaks, so no other test picks it.
pub fn free_port() -> u16 {
    for _ in 0..1_000 {
        let at = (Ipv4Addr::LOCALHOST, rand::random_range(10_240..32_000));
        let Ok(kept) = std::net::UdpSocket::bind(at) else { continue };
        if std::net::TcpListener::bind(at).is_ok() {
            std::mem::forget(kept);
            return at.1;
        }
    }
    panic!("no port is free");
}

/// A configuration for a Formgate on this port and a sandbox at this address.
pub fn configuration(port: u16, sandbox: SocketAddr) -> String {
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\n\
         master_key = \"file:master.key\"\npublic_url = \"http://127.0.0.1:{port}\"\n"
    );
    for (tool, authorize, token) in TOOLS {
        let root = format!("http://{sandbox}/{tool}");
        text.push_str(&format!(
            "[[tool]]\nid = \"{tool}\"\nclient_id = \"{tool}-client\"\nclient_secret = \"{tool}-secret\"\n\
             authorize_url = \"{root}/{authorize}\"\ntoken_url = \"{root}/{token}\"\napi_url = \"{root}\"\n\
             allow_private_network = true\n"
        ));
        match tool {
            "hubspot" => text.push_str(&format!("revoke_url = \"{root}/{token}/revoke\"\n")),
            "google-forms" => text
                .push_str(&format!("revoke_url = \"{root}/revoke\"\naccount_url = \"{root}/v1/userinfo\"\n")),
            _ => {}
        }
    }
    text
}

pub fn load(folder: &Path, text: &str) -> Config {
    let file = folder.join("formgate.toml");
    std::fs::write(&file, text).expect("a file");
    Config::load(Some(&file), std::iter::empty()).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The sandbox for a Formgate on this port.
pub async fn sandbox(port: u16, stop: watch::Receiver<bool>) -> (Tools, Dial, SocketAddr) {
    let tools = Tools::new(&format!("http://127.0.0.1:{port}/connect/*/callback"));
    let dial = Dial::new();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let address = dial.serve(tools.clone(), any, stop).await.expect("a port");
    (tools, dial, address)
}

pub async fn start() -> Site {
    start_with("").await
}

/// With more in the configuration.
pub async fn start_with(more: &str) -> Site {
    let folder = tempfile::tempdir().expect("a folder");
    let (stop, stopped) = watch::channel(false);
    let port = free_port();
    let (tools, dial, sandbox) = sandbox(port, stopped.clone()).await;
    let config = load(folder.path(), &(configuration(port, sandbox) + more));
    let app = App::start(&config).await.unwrap_or_else(|error| panic!("{error}"));
    let (public, admin) = (format!("http://{}", app.public).parse().expect("a URL"), app.admin);
    let (connections, flows, outbox) = (app.connections.clone(), app.flows.clone(), app.outbox.clone());
    let store = app.store();
    let running = tokio::spawn(app.run(stopped));
    Site { tools, dial, sandbox, public, admin, connections, flows, outbox, store, folder, stop, running }
}

impl Site {
    /// A one-time link for this tool.
    pub async fn link(&self, tool: &str, name: Option<&str>) -> Url {
        let name = name.map(|name| name.parse::<ConnectionId>().expect("a name"));
        let begun = self.connections.begin(tool, None, name.as_ref(), "test").await;
        let token = begun.unwrap_or_else(|error| panic!("{error}"));
        let mut url = self.public.join(&format!("/connect/{tool}")).expect("a URL");
        url.query_pairs_mut().append_pair("start", token.expose_secret());
        url
    }

    /// Lets a person connect a tool, and agree to everything.
    pub async fn connect(&self, tool: &str) -> Browser {
        let mut browser = Browser::default();
        let page = browser.walk(&self.link(tool, None).await, &[("answer", "allow")], &[]).await;
        assert!(page.contains("is connected"), "{page}");
        browser
    }

    /// How often the sandbox was asked this.
    pub fn asked(&self, request: &str) -> usize {
        self.tools.authority.requests().iter().filter(|asked| asked.as_str() == request).count()
    }

    pub async fn end(self) -> tempfile::TempDir {
        self.stop.send_replace(true);
        self.running.await.expect("it ends").unwrap_or_else(|error| panic!("{error}"));
        self.folder
    }
}

/// A browser without script.
#[derive(Default)]
pub struct Browser {
    cookies: BTreeMap<String, String>,
    /// Every page that was shown, with its headers.
    pub pages: Vec<String>,
    /// Where it was sent last.
    pub at: Option<Url>,
}

impl Browser {
    pub async fn get(&mut self, url: &Url) -> Response {
        self.call(Method::GET, url, "").await
    }

    /// Sends a form as from the page of the same site.
    pub async fn post(&mut self, url: &Url, form: &[(&str, &str)]) -> Response {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.call(Method::POST, url, &body).await
    }

    pub async fn call(&mut self, method: Method, url: &Url, body: &str) -> Response {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut request = Request::new(method, url.clone(), body.to_owned(), deadline);
        request.policy = AddressPolicy::AllowPrivateNetwork;
        if !body.is_empty() {
            let form = "application/x-www-form-urlencoded";
            request = request.header("content-type", form).expect("a header");
        }
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request = request.header("cookie", &cookies.join("; ")).expect("a header");
        }
        let response = Client::new().request(request).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        for line in response.headers.get_all("set-cookie") {
            let pair = line.to_str().expect("text").split(';').next().expect("a pair");
            let (name, value) = pair.split_once('=').expect("a cookie");
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        let shown: Vec<String> = response
            .headers
            .iter()
            .filter(|(name, _)| !["location", "set-cookie"].contains(&name.as_str()))
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        self.pages.push(format!("{}\n\n{}", shown.join("\n"), String::from_utf8_lossy(&response.body)));
        self.at =
            response.headers.get("location").map(|to| url.join(to.to_str().expect("text")).expect("a URL"));
        response
    }

    /// Opens the link and presses the button: the address at the tool.
    pub async fn leave(&mut self, link: &Url) -> Url {
        let page = self.get(link).await;
        assert_eq!(page.status, 200, "{:?}", self.pages.last());
        let (mut action, start) = (link.clone(), link.query_pairs().next().expect("a token").1.into_owned());
        action.set_query(None);
        let sent = self.post(&action, &[("start", &start)]).await;
        assert_eq!(sent.status, 303, "{:?}", self.pages.last());
        self.at.clone().expect("an address")
    }

    /// Answers the tool's page, leaving out scopes; the address of the callback.
    pub async fn answer(&mut self, tool: &Url, answer: &[(&str, &str)], unticked: &[&str]) -> Url {
        let page = self.get(tool).await;
        assert_eq!(page.status, 200, "{:?}", self.pages.last());
        let html = String::from_utf8_lossy(&page.body).into_owned();
        let mut form = vec![("account", "ada@example.org".to_owned())];
        let values = |name: &str| -> Vec<String> {
            let before = format!("name=\"{name}\" value=\"");
            html.split(&before).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
        };
        form.extend(values("ticket").into_iter().map(|ticket| ("ticket", ticket)));
        form.extend(
            values("scope")
                .into_iter()
                .filter(|s| !unticked.contains(&s.as_str()))
                .map(|scope| ("scope", scope)),
        );
        form.retain(|(name, _)| !answer.iter().any(|(given, _)| given == name));
        let mut action = tool.clone();
        action.set_query(None);
        let form: Vec<(&str, &str)> =
            form.iter().map(|(name, value)| (*name, value.as_str())).chain(answer.iter().copied()).collect();
        let sent = self.post(&action, &form).await;
        assert_eq!(sent.status, 303, "{:?}", self.pages.last());
        self.at.clone().expect("an address")
    }

    /// The whole way; the last page.
    pub async fn walk(&mut self, link: &Url, answer: &[(&str, &str)], unticked: &[&str]) -> String {
        let tool = self.leave(link).await;
        let callback = self.answer(&tool, answer, unticked).await;
        self.get(&callback).await;
        self.pages.last().cloned().expect("a page")
    }

    /// The link of the last page's “Try again”.
    pub fn again(&self, site: &Site) -> Url {
        let page = self.pages.last().expect("a page");
        let (_, rest) = page.split_once("class=\"button\" href=\"").expect("a way to try again");
        let (link, _) = rest.split_once('"').expect("an attribute");
        site.public.join(&link.replace("&#38;", "&").replace("&amp;", "&")).expect("a URL")
    }
}

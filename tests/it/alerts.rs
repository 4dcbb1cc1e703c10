//! Alerts reach a mail server, a webhook and a chat, over real sockets.

mod damaged;
mod lost;
mod opened;
mod post;
mod restarted;
pub mod sink;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use formgate::client::{AddressPolicy, Client, MailSecurity, MailServer};
use formgate::insight::{Cause, Failed, Kind, Level, Look, Mailbox, Notice, Sign, Sink, SinkKind, Watch};
use formgate::server::{Limits, Listener, Request, Response, Server, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::post::{Behaviour, PostOffice};

/// What a watch tells when a destination's breaker opens.
fn notice() -> Notice {
    let bad = Level::Bad("crm has been failing for 3 minutes; 12 deliveries wait — für alle.".to_owned());
    let sign = Sign { cause: Cause::Breaker("crm".to_owned()), level: bad };
    let look = Look { signs: vec![sign], unseen: vec![] };
    let step = Watch::new(None, []).look(1_764_000_000_000, &look).remove(0);
    Notice { id: "alert_7".to_owned(), ..step.notice.expect("it begins") }
}

struct Sender {
    security: MailSecurity,
    login: Option<(&'static str, &'static str)>,
    policy: AddressPolicy,
    client: Client,
}

impl Sender {
    fn to(office: &PostOffice, security: MailSecurity) -> Sender {
        let client = Client::with_extra_roots(office.ca_pem.as_bytes()).expect("a certificate");
        Sender { security, login: None, policy: AddressPolicy::AllowPrivateNetwork, client }
    }

    async fn send(&self, office: &PostOffice) -> Result<(), Failed> {
        let login = self.login.map(|(user, password)| (user.to_owned(), SecretString::from(password)));
        let server = MailServer {
            host: "localhost".to_owned(),
            port: office.address.port(),
            security: self.security,
            login,
        };
        let mailbox = Mailbox {
            server,
            from: "Formgate <formgate@example.com>".to_owned(),
            to: vec!["ops@example.com".to_owned(), "Ada <ada@example.com>".to_owned()],
        };
        let sink = Sink {
            id: "mail".to_owned(),
            kind: SinkKind::Email(Arc::new(mailbox)),
            policy: self.policy,
            client: self.client.clone(),
            host: "forms.example.com".to_owned(),
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        sink.tell(&notice(), 1_764_000_010, deadline).await
    }
}

#[tokio::test]
async fn a_mail_names_cause_and_host_and_says_what_to_do_however_the_connection_is_protected() {
    for (security, behaviour) in [
        (MailSecurity::None, Behaviour::default()),
        (MailSecurity::StartTls, Behaviour { starttls: true, ..Behaviour::default() }),
        (MailSecurity::Implicit, Behaviour { implicit: true, ..Behaviour::default() }),
    ] {
        let office = PostOffice::open(behaviour).await;
        let mut sender = Sender::to(&office, security);
        sender.login = Some(("formgate", "canary-password"));
        sender.send(&office).await.unwrap_or_else(|failed| panic!("{security:?}: {failed}"));
        let mails = office.mails();
        let [mail] = mails.as_slice() else { panic!("{security:?}: {mails:?}") };
        assert_eq!(mail.from, "formgate@example.com");
        assert_eq!(mail.to, ["ops@example.com", "ada@example.com"]);
        assert_eq!(mail.login.as_deref(), Some("\0formgate\0canary-password"));
        assert_eq!(mail.protected, security != MailSecurity::None);
        for line in [
            "Subject: [Formgate forms.example.com] alert: breaker crm",
            "Message-ID: <alert_7@example.com>",
            "Cause: breaker crm",
            "Since: 2025-11-24T16:00:00.000Z",
            "From: Formgate on forms.example.com",
        ] {
            assert!(mail.data.lines().any(|found| found == line), "{line}: {}", mail.data);
        }
        assert!(mail.data.contains("formgate destinations resume"), "{}", mail.data);
        assert!(mail.data.is_ascii(), "no server has to know more than ASCII: {}", mail.data);
    }
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_is_not_the_one_or_has_no_starttls() {
    // Without STARTTLS neither password nor mail is sent.
    let plain = PostOffice::open(Behaviour::default()).await;
    let mut sender = Sender::to(&plain, MailSecurity::StartTls);
    sender.login = Some(("formgate", "canary-password"));
    assert_eq!(sender.send(&plain).await, Err(Failed { class: "mail", status: Some(502) }));
    // Another certificate.
    let office = PostOffice::open(Behaviour { implicit: true, ..Behaviour::default() }).await;
    let mut stranger = Sender::to(&plain, MailSecurity::Implicit);
    stranger.login = sender.login;
    assert_eq!(stranger.send(&office).await, Err(Failed { class: "tls", status: None }));
    // A word that came in the clear is not believed after the handshake: here it would have named no AUTH.
    let injecting =
        PostOffice::open(Behaviour { starttls: true, injects: true, ..Behaviour::default() }).await;
    let failed = Sender::to(&injecting, MailSecurity::StartTls).send(&injecting).await;
    assert!(matches!(failed, Err(Failed { class: "tls" | "mail", .. })), "{failed:?}");
    for office in [&plain, &office, &injecting] {
        assert!(office.mails().is_empty());
        assert!(
            !office.heard().contains("Y2FuYXJ5") && !office.heard().contains("canary"),
            "{}",
            office.heard()
        );
    }
}

#[tokio::test]
async fn a_mail_server_inside_the_network_is_out_of_reach_unless_that_is_allowed() {
    let office = PostOffice::open(Behaviour { starttls: true, ..Behaviour::default() }).await;
    let mut sender = Sender::to(&office, MailSecurity::StartTls);
    sender.policy = AddressPolicy::PublicHttps;
    assert_eq!(sender.send(&office).await, Err(Failed { class: "port", status: None }));
    let mailbox = |security, port| Mailbox {
        server: MailServer { host: "localhost".to_owned(), port, security, login: None },
        from: "a@example.com".to_owned(),
        to: vec!["b@example.com".to_owned()],
    };
    for (security, class) in [(MailSecurity::Implicit, "address_refused"), (MailSecurity::None, "plain_http")]
    {
        let sink = Sink {
            id: "mail".to_owned(),
            kind: SinkKind::Email(Arc::new(mailbox(security, 465))),
            policy: AddressPolicy::PublicHttps,
            client: Client::new(),
            host: "h".to_owned(),
        };
        let told = sink.tell(&notice(), 0, Instant::now() + Duration::from_secs(60)).await;
        assert_eq!(told, Err(Failed { class, status: None }));
    }
    assert_eq!(office.heard(), "", "nobody connected");
}

#[tokio::test]
async fn a_server_that_refuses_or_hangs_is_a_failure_with_its_reason_in_time() {
    let refusing = PostOffice::open(Behaviour { refuses: true, ..Behaviour::default() }).await;
    let sent = Sender::to(&refusing, MailSecurity::None).send(&refusing).await;
    assert_eq!(sent, Err(Failed { class: "mail", status: Some(550) }));
    let hanging = PostOffice::open(Behaviour { hangs: true, ..Behaviour::default() }).await;
    let sender = Sender::to(&hanging, MailSecurity::None);
    let server = MailServer {
        host: "127.0.0.1".to_owned(),
        port: hanging.address.port(),
        security: MailSecurity::None,
        login: None,
    };
    let mailbox = Mailbox { server, from: "a@example.com".to_owned(), to: vec!["b@example.com".to_owned()] };
    let sink = Sink {
        id: "mail".to_owned(),
        kind: SinkKind::Email(Arc::new(mailbox)),
        policy: sender.policy,
        client: sender.client,
        host: "h".to_owned(),
    };
    let started = std::time::Instant::now();
    let told = sink.tell(&notice(), 0, Instant::now() + Duration::from_millis(300)).await;
    assert_eq!(told, Err(Failed { class: "deadline", status: None }));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test]
async fn webhooks_and_chats_are_told_the_same_with_the_kind_of_the_notice() {
    let heard: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
    let hears = Arc::clone(&heard);
    let handler = move |request: Request| {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let signature = request.header("webhook-signature").unwrap_or_default().to_owned();
        hears.lock().expect("no panic under the lock").push((signature, body));
        std::future::ready(Response::empty(StatusCode::OK))
    };
    let listener = Listener { addr: "127.0.0.1:0".parse().expect("an address"), tls: None };
    let server = Server::bind(listener, Limits::default(), Arc::new(handler)).await.expect("a port");
    let url: url::Url = format!("http://{}/hook", server.local_addr()).parse().expect("a URL");
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(server.run(stopped, Duration::from_secs(1)));
    let sign = Arc::new(|id: &str, at_s: i64, body: &[u8]| format!("v1,{id}.{at_s}.{}", body.len()));
    for kind in [SinkKind::Webhook(url.clone(), sign), SinkKind::Slack(url)] {
        let node = matches!(kind, SinkKind::Slack(_)).then(|| "n1".to_owned());
        let sink = Sink {
            id: "ops".to_owned(),
            kind,
            policy: AddressPolicy::AllowPrivateNetwork,
            client: Client::new(),
            host: "forms.example.com".to_owned(),
        };
        let repeated = Notice { kind: Kind::Repeated, node, ..notice() };
        let told = sink.tell(&repeated, 1_764_000_010, Instant::now() + Duration::from_secs(60)).await;
        assert_eq!(told, Ok(()));
    }
    let heard = heard.lock().expect("no panic under the lock").clone();
    let [(signature, webhook), (_, chat)] = heard.as_slice() else { panic!("{heard:?}") };
    assert!(signature.starts_with("v1,alert_7.1764000010."), "{signature}");
    assert_eq!(webhook["type"], "alert.repeated");
    let data = &webhook["data"];
    assert_eq!((&data["cause"], &data["destination"]), (&json!("breaker"), &json!("crm")));
    assert_eq!(data["since"], "2025-11-24T16:00:00.000Z");
    assert_eq!(data["node"], json!(null), "there is one");
    let chat = chat["text"].as_str().expect("a text");
    assert!(chat.starts_with("Formgate forms.example.com, node n1: crm has been failing"), "{chat}");
    assert!(chat.ends_with("\nSince 2025-11-24T16:00:00.000Z"), "{chat}");
}

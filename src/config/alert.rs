//! When an operator is told, and where: `[alerts]`, `[[alert]]`.

use std::{fmt, fs, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{
    destination::{destination_url, is_webhook_secret},
    id::DestinationId,
    read::Section,
    resource::{ID_FIX, words},
};

/// `[alerts]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alerts {
    /// How long a delivery may be due.
    pub queue_age: Duration,
    /// How many given-up deliveries of a destination are no alert.
    pub dead_letters: u64,
    /// How long a destination may go on failing, once it is left alone because of that.
    pub breaker: Duration,
    /// The share of exchanges that may fail.
    pub error_percent: u64,
    /// What the slowest tenth of the exchanges may take.
    pub latency: Duration,
    /// The share of exchanges that may come with a token that is no longer valid.
    pub token_percent: u64,
    /// What has to be free on the disk of the data folder.
    pub disk_free_bytes: u64,
    /// How many submissions may be on one node only for more than a minute.
    pub single_copy: u64,
}

/// `[[alert]]`: where alerts go.
#[derive(Debug)]
pub struct Alert {
    /// Its name in this configuration.
    pub id: DestinationId,
    /// What it understands, and where it is.
    pub kind: AlertKind,
    /// Permits http, any port and private addresses.
    pub allow_private_network: bool,
}

/// What a sink understands, and where it is. A URL may itself be a secret and is not shown.
pub enum AlertKind {
    /// Standard Webhooks, with the secret that signs.
    Webhook(Url, SecretString),
    /// `{"text": …}`.
    Slack(Url),
    /// A mail.
    Email(Email),
}

/// How mails are sent.
#[derive(Debug)]
pub struct Email {
    /// The mail server's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: MailTls,
    /// User and password.
    pub login: Option<(String, SecretString)>,
    /// From whom.
    pub from: String,
    /// To whom.
    pub to: Vec<String>,
    /// Certificates to trust besides the public ones, as PEM.
    pub ca_pem: Option<String>,
}

words!(
    /// How the connection to a mail server is protected.
    MailTls {
        /// TLS from the first byte.
        Implicit = "implicit",
        /// TLS after STARTTLS, which is then required.
        StartTls = "starttls",
        /// Not at all.
        None = "none",
    }
);

impl fmt::Debug for AlertKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook(url, _) => formatter.debug_tuple("Webhook").field(&url.host_str()).finish(),
            Self::Slack(url) => formatter.debug_tuple("Slack").field(&url.host_str()).finish(),
            Self::Email(email) => email.fmt(formatter),
        }
    }
}

pub(super) fn alerts(section: &Section<'_>) -> Option<Alerts> {
    let queue_age = section.integer("queue_age_seconds", 10..=7 * 24 * 3600);
    let dead_letters = section.integer("dead_letters", 0..=1_000_000);
    let breaker = section.integer("breaker_seconds", 0..=7 * 24 * 3600);
    let error_percent = section.integer("error_percent", 1..=100);
    let latency = section.integer("latency_ms", 10..=10_000);
    let token_percent = section.integer("token_percent", 1..=100);
    let disk_free_mib = section.integer("disk_free_mib", 1..=1 << 30);
    let single_copy = section.integer("single_copy", 0..=10_000_000);
    section.finish();
    Some(Alerts {
        queue_age: Duration::from_secs(queue_age?),
        dead_letters: dead_letters?,
        breaker: Duration::from_secs(breaker?),
        error_percent: error_percent?,
        latency: Duration::from_millis(latency?),
        token_percent: token_percent?,
        disk_free_bytes: disk_free_mib? << 20,
        single_copy: single_copy?,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Webhook,
    Slack,
    Email,
}

/// Keys that only one kind of sink has.
const HOOK_KEYS: [&str; 2] = ["url", "secret"];
const MAIL_KEYS: [&str; 8] = ["host", "port", "tls", "user", "password", "from", "to", "ca"];

pub(super) fn alert(section: &Section<'_>) -> Option<Alert> {
    let id =
        section.parsed("id", ID_FIX, |text| text.parse::<DestinationId>().map_err(|error| error.to_string()));
    let form =
        section.choice("kind", &[("webhook", Form::Webhook), ("slack", Form::Slack), ("email", Form::Email)]);
    let allow_private_network = section.boolean("allow_private_network").unwrap_or(false);
    section.require("id", "Give the sink a name");
    section.require("kind", "Write kind = \"webhook\", \"slack\" or \"email\"");
    let kind = match form {
        Some(Form::Email) => {
            others(section, &HOOK_KEYS, "email");
            email(section, allow_private_network).map(AlertKind::Email)
        }
        Some(form) => {
            others(section, &MAIL_KEYS, if form == Form::Slack { "slack" } else { "webhook" });
            hook(section, form, allow_private_network)
        }
        None => {
            // Known, so that they are not faults of their own.
            for key in HOOK_KEYS.into_iter().chain(MAIL_KEYS) {
                let _known = section.given(key);
            }
            None
        }
    };
    section.finish();
    Some(Alert { id: id?, kind: kind?, allow_private_network })
}

/// Keys that belong to another kind.
fn others(section: &Section<'_>, keys: &[&'static str], kind: &str) {
    for key in keys {
        if let Some((_, place)) = section.given(key) {
            section.fault(key, place, format!("has no use for kind = \"{kind}\""), "Remove it");
        }
    }
}

fn hook(section: &Section<'_>, form: Form, allow_private_network: bool) -> Option<AlertKind> {
    // The address of a Slack hook is its secret, so it may be given as one.
    let url = section.secret("url").and_then(|text| {
        let read = destination_url(text.expose_secret(), allow_private_network);
        let fix = "Write https://…, or set allow_private_network = true for a peer in your own network";
        read.inspect_err(|reason| section.fault("url", section.place.clone(), reason, fix)).ok()
    });
    section.require("url", "Write the address that takes alerts");
    let secret = section.secret("secret");
    match (form, &secret) {
        (Form::Slack, Some(_)) => section.fault(
            "secret",
            section.place.clone(),
            "has no use for kind = \"slack\", whose address is the secret",
            "Remove it",
        ),
        (Form::Webhook, Some(secret)) if !is_webhook_secret(secret) => section.fault(
            "secret",
            section.place.clone(),
            "is not a Standard Webhooks secret",
            "Write whsec_ and the Base64 of 24 to 64 random bytes",
        ),
        (Form::Webhook, _) => section.require("secret", "Every alert is signed: write secret = \"env:NAME\""),
        _ => {}
    }
    match form {
        Form::Slack => Some(AlertKind::Slack(url?)),
        _ => Some(AlertKind::Webhook(url?, secret?)),
    }
}

fn email(section: &Section<'_>, allow_private_network: bool) -> Option<Email> {
    let host = section.parsed("host", "Write the mail server's name", |text| {
        url::Host::parse(text).map(|_host| text.to_owned()).map_err(|_| "is no host name".to_owned())
    });
    let tls =
        section.choice("tls", MailTls::WORDS).or(section.given("tls").is_none().then_some(MailTls::Implicit));
    let usual = match tls {
        Some(MailTls::StartTls) => 587,
        Some(MailTls::None) => 25,
        _ => 465,
    };
    let port = match section.given("port") {
        Some(_) => section.integer("port", 1..=65_535).and_then(|port| u16::try_from(port).ok()),
        None => Some(usual),
    };
    if tls == Some(MailTls::None) && !allow_private_network {
        let fix =
            "Write tls = \"starttls\", or set allow_private_network = true for a server in your own network";
        section.fault("tls", section.place.clone(), "would send alerts and the password unencrypted", fix);
    }
    let (user, password) = (section.text("user").map(|(user, _)| user), section.secret("password"));
    match (&user, &password) {
        (Some(_), None) => section.require("password", "Write password = \"env:NAME\", or remove user"),
        (None, Some(_)) => section.require("user", "Write the user whose password this is, or remove it"),
        _ => {}
    }
    let mailbox = |text: &str| {
        let known = text.parse::<lettre::message::Mailbox>().is_ok();
        if known { Ok(text.to_owned()) } else { Err("is no mail address".to_owned()) }
    };
    const ADDRESS: &str = "Write an address such as formgate@example.com";
    let from = section.parsed("from", ADDRESS, mailbox);
    let given = section.list("to");
    let to: Vec<String> = given
        .iter()
        .flatten()
        .filter_map(|(text, place)| {
            mailbox(text).inspect_err(|reason| section.fault("to", place.clone(), reason, ADDRESS)).ok()
        })
        .collect();
    if given.as_ref().is_some_and(Vec::is_empty) {
        section.fault("to", section.place.clone(), "is empty", ADDRESS);
    }
    section.require("host", "Write the mail server's name");
    section.require("from", ADDRESS);
    section.require("to", "Write whom to tell: to = [\"ops@example.com\"]");
    let ca_pem = section.existing_file("ca").map(|path| {
        let read = fs::read_to_string(&path);
        read.inspect_err(|error| {
            let reason = format!("cannot read {}: {}", path.display(), error.kind());
            section.fault("ca", section.place.clone(), reason, "Correct the file's permissions");
        })
        .ok()
    });
    let ca_pem = match ca_pem {
        Some(None) => return None,
        ca_pem => ca_pem.flatten(),
    };
    Some(Email { host: host?, port: port?, tls: tls?, login: user.zip(password), from: from?, to, ca_pem })
}

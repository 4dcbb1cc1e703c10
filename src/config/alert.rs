//! When an operator is told, and where: `[alerts]`, `[[alert]]`.

use std::{fmt, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{
    destination::{destination_url, is_webhook_secret},
    id::DestinationId,
    read::Section,
    resource::ID_FIX,
};

/// `[alerts]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alerts {
    /// How long a delivery may be due.
    pub queue_age: Duration,
    /// How many given-up deliveries of a destination are no alert.
    pub dead_letters: u64,
}

/// `[[alert]]`: where alerts go. Its URL may itself be a secret and is not shown.
pub struct Alert {
    /// Its name in this configuration.
    pub id: DestinationId,
    /// Where it is.
    pub url: Url,
    /// What it understands.
    pub kind: AlertKind,
    /// Permits http, any port and private addresses.
    pub allow_private_network: bool,
}

/// What a sink understands.
#[derive(Debug)]
pub enum AlertKind {
    /// Standard Webhooks, with the secret that signs.
    Webhook(SecretString),
    /// `{"text": …}`.
    Slack,
}

impl fmt::Debug for Alert {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Alert")
            .field("id", &self.id)
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

pub(super) fn alerts(section: &Section<'_>) -> Option<Alerts> {
    let queue_age = section.integer("queue_age_seconds", 10..=7 * 24 * 3600);
    let dead_letters = section.integer("dead_letters", 0..=1_000_000);
    section.finish();
    Some(Alerts { queue_age: Duration::from_secs(queue_age?), dead_letters: dead_letters? })
}

pub(super) fn alert(section: &Section<'_>) -> Option<Alert> {
    let id =
        section.parsed("id", ID_FIX, |text| text.parse::<DestinationId>().map_err(|error| error.to_string()));
    let slack = section.choice("kind", &[("webhook", false), ("slack", true)]);
    let allow_private_network = section.boolean("allow_private_network").unwrap_or(false);
    // The address of a Slack hook is its secret, so it may be given as one.
    let url = section.secret("url").and_then(|text| {
        let read = destination_url(text.expose_secret(), allow_private_network);
        let fix = "Write https://…, or set allow_private_network = true for a peer in your own network";
        read.inspect_err(|reason| section.fault("url", section.place.clone(), reason, fix)).ok()
    });
    let secret = section.secret("secret");
    section.require("id", "Give the sink a name");
    section.require("kind", "Write kind = \"webhook\" or \"slack\"");
    section.require("url", "Write the address that takes alerts");
    match (slack, &secret) {
        (Some(true), Some(_)) => section.fault(
            "secret",
            section.place.clone(),
            "has no use for kind = \"slack\", whose address is the secret",
            "Remove it",
        ),
        (Some(false), Some(secret)) if !is_webhook_secret(secret) => section.fault(
            "secret",
            section.place.clone(),
            "is not a Standard Webhooks secret",
            "Write whsec_ and the Base64 of 24 to 64 random bytes",
        ),
        (Some(false), _) => section.require("secret", "Every alert is signed: write secret = \"env:NAME\""),
        _ => {}
    }
    section.finish();
    let kind = if slack? { AlertKind::Slack } else { AlertKind::Webhook(secret?) };
    Some(Alert { id: id?, url: url?, kind, allow_private_network })
}

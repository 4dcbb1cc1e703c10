//! `[[destination]]`: where submissions go.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::SecretString;
use toml::de::DeValue;
use url::Url;

use super::{
    fault::Place,
    id::{DestinationId, WorkspaceId},
    read::{Given, Section},
    resource::{ID_FIX, default, words, workspace},
};

/// `[[destination]]`: where submissions go.
pub struct Destination {
    /// Its name in this configuration.
    pub id: DestinationId,
    /// Who manages it.
    pub workspace: WorkspaceId,
    /// Permits http, any port and private addresses.
    pub allow_private_network: bool,
    /// At most so many attempts in a minute.
    pub rate_per_minute: Option<NonZeroU32>,
    /// At most so many at once after a rest.
    pub rate_burst: Option<NonZeroU32>,
    /// How often a delivery is attempted before it is given up.
    pub max_attempts: Option<u32>,
    /// The waits between attempts; empty: the usual ones.
    pub retry_schedule: Vec<Duration>,
    /// What it is.
    pub target: Target,
}

/// What a destination is, with the keys of its kind.
pub enum Target {
    /// Any HTTP endpoint that verifies Standard Webhooks.
    Webhook(Webhook),
    /// A form in HubSpot.
    Hubspot(Hubspot),
    /// An endpoint that expects Typeform's own webhooks.
    TypeformWebhook(TypeformWebhook),
}

/// `kind = "typeform-webhook"`. Its URL may itself be a secret and is not shown.
pub struct TypeformWebhook {
    /// Where it is.
    pub url: Url,
    /// Signs deliveries as Typeform does; any text.
    pub secret: Option<SecretString>,
}

/// `kind = "webhook"`. Its URL may itself be a secret and is not shown.
pub struct Webhook {
    /// Where it is.
    pub url: Url,
    /// Signs deliveries: `whsec_` and Base64.
    pub secret: SecretString,
    /// What a delivery looks like.
    pub shape: Shape,
    /// Question's key to the name it gets at the destination.
    pub mapping: Vec<(String, String)>,
    /// Sent along with every delivery.
    pub headers: Vec<(String, SecretString)>,
}

/// `kind = "hubspot"`.
pub struct Hubspot {
    /// A private app's or a service key's.
    pub token: SecretString,
    /// The account's number.
    pub portal_id: String,
    /// The form's guid; none: the one of the flow's form.
    pub form: Option<String>,
    /// Where submissions are taken, if not at HubSpot's usual host.
    pub api_url: Option<Url>,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Destination");
        shown.field("id", &self.id).field("allow_private_network", &self.allow_private_network);
        match &self.target {
            Target::Webhook(webhook) => shown
                .field("kind", &"webhook")
                .field("host", &webhook.url.host_str())
                .field("shape", &webhook.shape),
            Target::Hubspot(hubspot) => shown
                .field("kind", &"hubspot")
                .field("portal_id", &hubspot.portal_id)
                .field("form", &hubspot.form)
                .field("host", &hubspot.api_url.as_ref().and_then(Url::host_str)),
            Target::TypeformWebhook(webhook) => {
                shown.field("kind", &"typeform-webhook").field("host", &webhook.url.host_str())
            }
        };
        shown.finish_non_exhaustive()
    }
}

words!(
    /// What a destination is.
    DestinationKind {
        /// Any HTTP endpoint that verifies Standard Webhooks.
        Webhook = "webhook",
        /// A form in HubSpot.
        Hubspot = "hubspot",
        /// An endpoint that expects Typeform's own webhooks.
        TypeformWebhook = "typeform-webhook",
    }
);
words!(
    /// What a delivery looks like.
    Shape {
        /// The whole submission.
        Full = "full",
        /// One object, a member for each answer.
        Flat = "flat",
        /// Name, phone, e-mail, and the rest apart.
        Lead = "lead",
    }
);

/// The keys that belong to some kinds only.
const KEYS: [(DestinationKind, &[&str]); 3] = [
    (DestinationKind::Webhook, &["url", "secret", "shape", "mapping", "headers"]),
    (DestinationKind::Hubspot, &["token", "portal_id", "form", "api_url"]),
    (DestinationKind::TypeformWebhook, &["url", "secret"]),
];

pub(super) fn destination(section: &Section<'_>) -> Option<Destination> {
    let id =
        section.parsed("id", ID_FIX, |text| text.parse::<DestinationId>().map_err(|error| error.to_string()));
    let workspace = workspace(section);
    let kind = section.choice("kind", DestinationKind::WORDS);
    let allow_private_network = section.boolean("allow_private_network").unwrap_or(false);
    section.require("id", "Give the destination a name, which flows refer to");
    section.require("kind", "Write kind = \"webhook\", \"hubspot\" or \"typeform-webhook\"");
    let own = KEYS.iter().find(|(of, _)| Some(*of) == kind).map_or(&[][..], |(_, keys)| keys);
    let mut told = BTreeSet::new();
    for (other, keys) in KEYS {
        for key in keys.iter().filter(|key| !own.contains(key) && told.insert(**key)) {
            // Asked for also where it does not belong, so that it is not told to be unknown as well.
            let given = section.given(key);
            if let (Some((_, place)), Some(kind)) = (given, kind) {
                let reason = format!("belongs to kind = \"{}\"", other.as_str());
                section.fault(key, place, reason, format!("Remove it; this is kind = \"{}\"", kind.as_str()));
            }
        }
    }
    let target = match kind {
        Some(DestinationKind::Webhook) => webhook(section, allow_private_network).map(Target::Webhook),
        Some(DestinationKind::Hubspot) => hubspot(section, allow_private_network).map(Target::Hubspot),
        Some(DestinationKind::TypeformWebhook) => {
            typeform_webhook(section, allow_private_network).map(Target::TypeformWebhook)
        }
        None => None,
    };
    let counted = |key, most| section.integer(key, 1..=most).and_then(|count| u32::try_from(count).ok());
    let rate_per_minute = counted("rate_per_minute", 600_000).and_then(NonZeroU32::new);
    let rate_burst = counted("rate_burst", 10_000).and_then(NonZeroU32::new);
    let max_attempts = counted("max_attempts", 50);
    let retry_schedule = retry_schedule(section, max_attempts);
    if rate_burst.is_some() && rate_per_minute.is_none() {
        let place = section.place.clone();
        section.fault("rate_burst", place, "has no meaning without a rate", "Write rate_per_minute, too");
    }
    section.finish();
    Some(Destination {
        id: id?,
        workspace: workspace?,
        allow_private_network,
        rate_per_minute,
        rate_burst,
        max_attempts,
        retry_schedule,
        target: target?,
    })
}

/// Nobody waits longer than this for a delivery.
const MAX_SCHEDULE: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Waits between as many attempts as a delivery may have.
const MAX_WAITS: usize = 49;

fn retry_schedule(section: &Section<'_>, max_attempts: Option<u32>) -> Vec<Duration> {
    const KEY: &str = "retry_schedule";
    const FIX: &str =
        "Write 1 to 49 waits such as [\"5s\", \"2m\", \"1h\", \"1d\"], 30 days together at most";
    let Some(given) = section.list(KEY) else { return Vec::new() };
    let place = given.first().map_or_else(|| section.place.clone(), |(_, place)| place.clone());
    let (count, mut waits) = (given.len(), Vec::new());
    for (text, place) in given {
        match wait(&text) {
            Some(wait) => waits.push(wait),
            None => section.fault(KEY, place, format!("\"{text}\" is no wait"), FIX),
        }
    }
    let attempts = max_attempts.and_then(|attempts| usize::try_from(attempts).ok());
    let repeated = attempts.unwrap_or(0).saturating_sub(count + 1);
    let last = waits.last().copied().into_iter();
    let total = waits.iter().copied().chain(last.flat_map(|last| std::iter::repeat_n(last, repeated)));
    if !(1..=MAX_WAITS).contains(&count) {
        section.fault(KEY, place, format!("has {count} waits"), FIX);
    } else if total.sum::<Duration>() > MAX_SCHEDULE {
        section.fault(KEY, place, "takes longer than 30 days", FIX);
    }
    waits
}

/// `5s`, `2m`, `1h`, `1d`.
fn wait(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 24 * 3_600,
        _ => return None,
    };
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse::<u32>().ok().filter(|number| is_number && *number > 0)?;
    let wait = Duration::from_secs(u64::from(number) * seconds);
    (wait <= MAX_SCHEDULE).then_some(wait)
}

/// The `url` of a kind that has one.
fn url(section: &Section<'_>, allow_private_network: bool) -> Option<Url> {
    section.parsed(
        "url",
        "Write https://…, or set allow_private_network = true for a peer in your own network",
        |text| destination_url(text, allow_private_network),
    )
}

fn typeform_webhook(section: &Section<'_>, allow_private_network: bool) -> Option<TypeformWebhook> {
    let url = url(section, allow_private_network);
    let secret = section.secret("secret");
    section.require("url", "Write the address that takes Typeform's webhooks");
    Some(TypeformWebhook { url: url?, secret })
}

fn webhook(section: &Section<'_>, allow_private_network: bool) -> Option<Webhook> {
    let url = url(section, allow_private_network);
    let secret = section.secret("secret");
    if let Some(secret) = &secret
        && !is_webhook_secret(secret)
    {
        section.fault(
            "secret",
            section.place.clone(),
            "is not a Standard Webhooks secret",
            "Write whsec_ and the Base64 of 24 to 64 random bytes",
        );
    }
    let shape = default(section, "shape", Shape::WORDS, Shape::Full);
    let mapping = table(section, "mapping", |_, text, _| Some(text.to_owned()));
    let headers = table(section, "headers", |name, text, place| header(section, name, text, place));
    section.require("url", "Write the address that takes submissions");
    section.require("secret", "Every delivery is signed: write secret = \"env:NAME\"");
    Some(Webhook { url: url?, secret: secret?, shape, mapping, headers })
}

fn hubspot(section: &Section<'_>, allow_private_network: bool) -> Option<Hubspot> {
    let token = section.secret("token");
    let portal_id =
        section.parsed("portal_id", "Copy the number from your account's menu in HubSpot", |text| {
            let digits = (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            if digits { Ok(text.to_owned()) } else { Err("is not an account's number".to_owned()) }
        });
    let form =
        section.parsed("form", "Copy it from the form's address in HubSpot, or leave it out", |text| {
            uuid::Uuid::try_parse(text)
                .map(|guid| guid.hyphenated().to_string())
                .map_err(|_| "is not a form's guid".to_owned())
        });
    let api_url = section.parsed("api_url", "Leave it out, or write https://… of your region", |text| {
        destination_url(text, allow_private_network)
    });
    section.require("token", "Write the token of a service key or private app: token = \"env:NAME\"");
    section.require("portal_id", "Write the account's number in quotes");
    Some(Hubspot { token: token?, portal_id: portal_id?, form, api_url })
}

pub(super) fn destination_url(text: &str, private: bool) -> Result<Url, String> {
    // The reason never quotes the URL: its path or query may be what protects the destination.
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user or a password, which belong in headers".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if private => Ok(url),
        "http" => Err("is not encrypted".to_owned()),
        _ => Err("is neither https nor http".to_owned()),
    }
}

pub(super) fn is_webhook_secret(secret: &SecretString) -> bool {
    use secrecy::ExposeSecret;
    let encoded = secret.expose_secret().strip_prefix("whsec_");
    let decoded =
        encoded.and_then(|encoded| BASE64_STANDARD.decode(encoded).ok()).map(zeroize::Zeroizing::new);
    decoded.is_some_and(|bytes| (24..=64).contains(&bytes.len()))
}

fn header(section: &Section<'_>, name: &str, text: &str, place: Place) -> Option<SecretString> {
    let lower = name.to_ascii_lowercase();
    let ours =
        matches!(&*lower, "host" | "content-type" | "content-length" | "connection" | "transfer-encoding")
            || lower.starts_with("webhook-");
    let token =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if ours || !token {
        let reason = if ours { "is set by Formgate" } else { "is not a header's name" };
        section.fault(&format!("headers.{name}"), place, reason, "Remove it");
        return None;
    }
    section.resolve_secret(&format!("headers.{name}"), text, place)
}

/// A table whose keys are free.
fn table<T>(
    section: &Section<'_>,
    key: &'static str,
    read: impl Fn(&str, &str, Place) -> Option<T>,
) -> Vec<(String, T)> {
    let Some((given, place)) = section.given(key) else { return Vec::new() };
    let Given::Toml(DeValue::Table(entries)) = given else {
        section.wrong_kind(key, place, given, "a table in the file: { name = \"value\" }");
        return Vec::new();
    };
    let mut read_entries = Vec::new();
    for (name, value) in entries.iter() {
        let (name, place) = (name.get_ref(), section.cx.line(&value.span()));
        match value.get_ref() {
            DeValue::String(text) => {
                read_entries.extend(read(name, text, place).map(|read| (name.to_string(), read)))
            }
            other => {
                section.wrong_kind(&format!("{key}.{name}"), place, Given::Toml(other), "a string in quotes")
            }
        }
    }
    read_entries
}

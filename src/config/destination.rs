//! `[[destination]]`: where submissions go.

mod kind;
mod route;

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use secrecy::SecretString;
use url::Url;

pub use self::kind::{
    AppsScript, Credential, FileHandling, GoogleForm, Hubspot, HubspotCrm, Sheets, SurveyMonkey, Target,
    TypeformHooks, TypeformWebhook, Webhook,
};
use super::{
    id::{DestinationId, WorkspaceId},
    read::Section,
    resource::{ID_FIX, words, workspace},
};
use crate::form::Condition;
use crate::form::mapping::Step;

/// `[[destination]]`: where submissions go.
#[derive(Clone)]
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
    /// Only submissions of which this holds go there.
    pub when: Option<Condition>,
    /// How answers are changed on the way, by name.
    pub mapping: Vec<(String, Step)>,
    /// What it is.
    pub target: Target,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Destination");
        shown.field("id", &self.id).field("kind", &self.target.kind().as_str());
        shown.field("allow_private_network", &self.allow_private_network);
        self.target.show(&mut shown);
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
        /// Contacts and objects in HubSpot.
        HubspotCrm = "hubspot-crm",
        /// A survey in SurveyMonkey.
        Surveymonkey = "surveymonkey",
        /// A Google form, by a script of its owner.
        GoogleAppsScript = "google-apps-script",
        /// A Google form, by its public page.
        GoogleForms = "google-forms",
        /// A sheet in Google Sheets.
        GoogleSheets = "google-sheets",
        /// The endpoints that a form in Typeform tells.
        Typeform = "typeform",
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
const KEYS: [(DestinationKind, &[&str]); 9] = [
    (DestinationKind::Webhook, &["url", "secret", "shape", "headers"]),
    (DestinationKind::Hubspot, &["token", "connection", "portal_id", "form", "files", "api_url"]),
    (DestinationKind::HubspotCrm, &["token", "connection", "api_url", "object", "object_id"]),
    (DestinationKind::Surveymonkey, &["token", "connection", "api_url", "collector"]),
    (DestinationKind::GoogleAppsScript, &["url", "secret"]),
    (DestinationKind::GoogleForms, &["url", "unofficial"]),
    (DestinationKind::GoogleSheets, &["token", "connection", "api_url", "spreadsheet", "tab"]),
    (DestinationKind::Typeform, &["token", "connection", "api_url", "secret", "consent"]),
    (DestinationKind::TypeformWebhook, &["url", "secret"]),
];

pub(super) fn destination(section: &Section<'_>) -> Option<Destination> {
    let id =
        section.parsed("id", ID_FIX, |text| text.parse::<DestinationId>().map_err(|error| error.to_string()));
    let workspace = workspace(section);
    let kind = section.choice("kind", DestinationKind::WORDS);
    let allow_private_network = section.boolean("allow_private_network").unwrap_or(false);
    section.require("id", "Give the destination a name, which flows refer to");
    section.require("kind", "Write for example kind = \"webhook\"");
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
    let target = kind.and_then(|kind| kind::target(kind, section, allow_private_network));
    let (when, mapping) = (route::when(section), route::mapping(section));
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
        when,
        mapping,
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

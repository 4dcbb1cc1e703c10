//! What a destination is, with the keys of each kind.

use std::fmt;

use secrecy::SecretString;
use url::Url;

use super::{DestinationKind, Shape, destination_url, is_webhook_secret, route};
use crate::config::fault::Place;
use crate::config::id::DestinationId;
use crate::config::read::Section;
use crate::config::resource::{default, words};

/// What a destination is, with the keys of its kind.
#[derive(Clone)]
pub enum Target {
    /// Any HTTP endpoint that verifies Standard Webhooks.
    Webhook(Webhook),
    /// A form in HubSpot.
    Hubspot(Hubspot),
    /// Contacts and objects in HubSpot.
    HubspotCrm(HubspotCrm),
    /// A survey in SurveyMonkey.
    Surveymonkey(SurveyMonkey),
    /// A Google form, by a script of its owner.
    AppsScript(AppsScript),
    /// A Google form, by its public page.
    GoogleForm(GoogleForm),
    /// A sheet in Google Sheets.
    Sheets(Sheets),
    /// The endpoints that a form in Typeform tells.
    Typeform(TypeformHooks),
    /// An endpoint that expects Typeform's own webhooks.
    TypeformWebhook(TypeformWebhook),
}

/// With what a tool lets us in.
#[derive(Clone)]
pub enum Credential {
    /// A token that was made there.
    Token(SecretString),
    /// A connected account, by its name.
    Connection(String),
}

/// `kind = "typeform-webhook"`. Its URL may itself be a secret and is not shown.
#[derive(Clone)]
pub struct TypeformWebhook {
    /// Where it is.
    pub url: Url,
    /// Signs deliveries as Typeform does; any text.
    pub secret: Option<SecretString>,
}

/// `kind = "typeform"`: the endpoints are asked of Typeform.
#[derive(Clone)]
pub struct TypeformHooks {
    /// May read the form's webhooks.
    pub credential: Credential,
    /// Where Typeform's API is, if not in the United States.
    pub api_url: Option<Url>,
    /// Signs deliveries as Typeform does.
    pub secret: Option<SecretString>,
}

/// `kind = "webhook"`. Its URL may itself be a secret and is not shown.
#[derive(Clone)]
pub struct Webhook {
    /// Where it is.
    pub url: Url,
    /// Signs deliveries: `whsec_` and Base64.
    pub secret: SecretString,
    /// What a delivery looks like.
    pub shape: Shape,
    /// Sent along with every delivery.
    pub headers: Vec<(String, SecretString)>,
}

words!(
    /// How files of answers get into a form's field.
    FileHandling {
        /// Into the tool's own store of files, for good.
        Upload = "upload",
        /// As links of Formgate's, which end.
        Link = "link",
    }
);

/// `kind = "hubspot"`.
#[derive(Clone)]
pub struct Hubspot {
    /// A private app's or a service key's.
    pub credential: Credential,
    /// The account's number.
    pub portal_id: String,
    /// The form's guid; none: the one of the flow's form.
    pub form: Option<String>,
    /// How files get there.
    pub files: FileHandling,
    /// Where submissions are taken, if not at HubSpot's usual host.
    pub api_url: Option<Url>,
}

/// `kind = "hubspot-crm"`.
#[derive(Clone)]
pub struct HubspotCrm {
    /// A private app's or a service key's.
    pub credential: Credential,
    /// Where the API is, if not at HubSpot's usual host.
    pub api_url: Option<Url>,
    /// The type of the object that is made besides the contact.
    pub object: Option<String>,
    /// The property of that object which holds the submission's id.
    pub object_id: Option<String>,
}

/// `kind = "surveymonkey"`.
#[derive(Clone)]
pub struct SurveyMonkey {
    /// May create responses.
    pub credential: Credential,
    /// Where the account's API is, if not in the United States.
    pub api_url: Option<Url>,
    /// The collector's id; none: one named WhatsApp is found or made.
    pub collector: Option<String>,
}

/// `kind = "google-apps-script"`.
#[derive(Clone)]
pub struct AppsScript {
    /// The web app's address.
    pub url: Url,
    /// What the script knows a hash of.
    pub secret: SecretString,
}

/// `kind = "google-forms"`.
#[derive(Clone)]
pub struct GoogleForm {
    /// The public page; none: the one that the definition names.
    pub url: Option<Url>,
}

/// `kind = "google-sheets"`.
#[derive(Clone)]
pub struct Sheets {
    /// May write to the sheet.
    pub credential: Credential,
    /// Where the API is, if not at Google's.
    pub api_url: Option<Url>,
    /// The spreadsheet's id.
    pub spreadsheet: String,
    /// The tab's title; none: the one whose header has the questions.
    pub tab: Option<String>,
}

impl Target {
    /// The kind, as the configuration names it.
    pub fn kind(&self) -> DestinationKind {
        match self {
            Self::Webhook(_) => DestinationKind::Webhook,
            Self::Hubspot(_) => DestinationKind::Hubspot,
            Self::HubspotCrm(_) => DestinationKind::HubspotCrm,
            Self::Surveymonkey(_) => DestinationKind::Surveymonkey,
            Self::AppsScript(_) => DestinationKind::GoogleAppsScript,
            Self::GoogleForm(_) => DestinationKind::GoogleForms,
            Self::Sheets(_) => DestinationKind::GoogleSheets,
            Self::Typeform(_) => DestinationKind::Typeform,
            Self::TypeformWebhook(_) => DestinationKind::TypeformWebhook,
        }
    }

    /// The connected account that it is reached with, if it is.
    pub fn connection(&self) -> Option<&str> {
        let credential = match self {
            Self::Hubspot(target) => &target.credential,
            Self::HubspotCrm(target) => &target.credential,
            Self::Surveymonkey(target) => &target.credential,
            Self::Sheets(target) => &target.credential,
            Self::Typeform(target) => &target.credential,
            Self::Webhook(_) | Self::AppsScript(_) | Self::GoogleForm(_) | Self::TypeformWebhook(_) => {
                return None;
            }
        };
        match credential {
            Credential::Connection(name) => Some(name),
            Credential::Token(_) => None,
        }
    }

    /// Adds what may be shown of it: no secrets, and of addresses the host only.
    pub(super) fn show(&self, shown: &mut fmt::DebugStruct<'_, '_>) {
        let host = |url: &Option<Url>| url.as_ref().and_then(Url::host_str).map(str::to_owned);
        match self {
            Self::Webhook(webhook) => {
                shown.field("host", &webhook.url.host_str()).field("shape", &webhook.shape)
            }
            Self::Hubspot(hubspot) => shown
                .field("portal_id", &hubspot.portal_id)
                .field("form", &hubspot.form)
                .field("host", &host(&hubspot.api_url)),
            Self::HubspotCrm(crm) => shown.field("object", &crm.object).field("host", &host(&crm.api_url)),
            Self::Surveymonkey(survey) => {
                shown.field("collector", &survey.collector).field("host", &host(&survey.api_url))
            }
            Self::AppsScript(script) => shown.field("host", &script.url.host_str()),
            Self::GoogleForm(form) => shown.field("host", &host(&form.url)),
            Self::Sheets(sheets) => shown
                .field("spreadsheet", &sheets.spreadsheet)
                .field("tab", &sheets.tab)
                .field("host", &host(&sheets.api_url)),
            Self::Typeform(hooks) => shown.field("host", &host(&hooks.api_url)),
            Self::TypeformWebhook(webhook) => shown.field("host", &webhook.url.host_str()),
        };
    }
}

/// The keys of a kind.
pub(super) fn target(kind: DestinationKind, section: &Section<'_>, private: bool) -> Option<Target> {
    Some(match kind {
        DestinationKind::Webhook => Target::Webhook(webhook(section, private)?),
        DestinationKind::Hubspot => Target::Hubspot(hubspot(section, private)?),
        DestinationKind::HubspotCrm => Target::HubspotCrm(hubspot_crm(section, private)?),
        DestinationKind::Surveymonkey => Target::Surveymonkey(surveymonkey(section, private)?),
        DestinationKind::GoogleAppsScript => Target::AppsScript(apps_script(section, private)?),
        DestinationKind::GoogleForms => Target::GoogleForm(google_form(section, private)?),
        DestinationKind::GoogleSheets => Target::Sheets(sheets(section, private)?),
        DestinationKind::Typeform => Target::Typeform(typeform(section, private)?),
        DestinationKind::TypeformWebhook => Target::TypeformWebhook(typeform_webhook(section, private)?),
    })
}

/// The `url` of a kind that has one.
fn url(section: &Section<'_>, private: bool) -> Option<Url> {
    section.parsed(
        "url",
        "Write https://…, or set allow_private_network = true for a peer in your own network",
        |text| destination_url(text, private),
    )
}

fn api_url(section: &Section<'_>, private: bool) -> Option<Url> {
    section.parsed("api_url", "Leave it out, or write https://… of your region", |text| {
        destination_url(text, private)
    })
}

/// An id of the tool's, a path's segment: letters, digits, `-`, `_`.
fn id(section: &Section<'_>, key: &'static str, fix: &str) -> Option<String> {
    section.parsed(key, fix, |text| {
        let fits = (1..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if fits { Ok(text.to_owned()) } else { Err("is not an id".to_owned()) }
    })
}

fn typeform_webhook(section: &Section<'_>, private: bool) -> Option<TypeformWebhook> {
    let url = url(section, private);
    let secret = section.secret("secret");
    section.require("url", "Write the address that takes Typeform's webhooks");
    Some(TypeformWebhook { url: url?, secret })
}

fn typeform(section: &Section<'_>, private: bool) -> Option<TypeformHooks> {
    let api_url = api_url(section, private);
    let secret = section.secret("secret");
    agreed(
        section,
        "consent",
        "Whoever runs the form's webhooks will take these responses for Typeform's, which has none of them: write consent = true when they know",
    );
    let credential =
        credential(section, "Write a token that may read the form's webhooks: token = \"env:NAME\"");
    Some(TypeformHooks { credential: credential?, api_url, secret })
}

/// A token, or a connected account.
fn credential(section: &Section<'_>, fix: &str) -> Option<Credential> {
    let connection =
        section.parsed("connection", "Take the name that formgate connections list shows", |text| {
            text.parse::<DestinationId>().map(|id| id.as_str().to_owned()).map_err(|error| error.to_string())
        });
    match (section.given("token"), section.given("connection")) {
        (Some((_, place)), Some(_)) => {
            section.fault("token", place, "is given, and so is a connection", "Remove one of them");
            None
        }
        (None, Some(_)) => connection.map(Credential::Connection),
        (Some(_), None) => section.secret("token").map(Credential::Token),
        (None, None) => {
            section.missing("token", format!("{fix}, or connect an account and write connection = \"NAME\""));
            None
        }
    }
}

/// A switch without which a kind is not used at all.
fn agreed(section: &Section<'_>, key: &'static str, fix: &str) {
    if section.boolean(key) != Some(true) {
        let place = section.given(key).map_or(section.place.clone(), |(_, place)| place);
        section.fault(key, place, "has to be true", fix);
    }
}

fn webhook(section: &Section<'_>, private: bool) -> Option<Webhook> {
    let url = url(section, private);
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
    let headers = route::texts(section, "headers", |name, text, place| header(section, name, text, place));
    section.require("url", "Write the address that takes submissions");
    section.require("secret", "Every delivery is signed: write secret = \"env:NAME\"");
    Some(Webhook { url: url?, secret: secret?, shape, headers })
}

fn hubspot(section: &Section<'_>, private: bool) -> Option<Hubspot> {
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
    let files = default(section, "files", FileHandling::WORDS, FileHandling::Upload);
    let api_url = api_url(section, private);
    let credential =
        credential(section, "Write the token of a service key or private app: token = \"env:NAME\"");
    section.require("portal_id", "Write the account's number in quotes");
    Some(Hubspot { credential: credential?, portal_id: portal_id?, form, files, api_url })
}

fn hubspot_crm(section: &Section<'_>, private: bool) -> Option<HubspotCrm> {
    let api_url = api_url(section, private);
    let object = id(section, "object", "Write the type's id, such as \"2-7654321\"");
    let object_id = id(section, "object_id", "Write the internal name of a property with unique values");
    if object_id.is_some() && object.is_none() {
        let place = section.place.clone();
        section.fault("object_id", place, "has no meaning without an object", "Write object, too");
    }
    let credential =
        credential(section, "Write the token of a service key or private app: token = \"env:NAME\"");
    Some(HubspotCrm { credential: credential?, api_url, object, object_id })
}

fn surveymonkey(section: &Section<'_>, private: bool) -> Option<SurveyMonkey> {
    let api_url = api_url(section, private);
    let collector = id(section, "collector", "Copy the collector's number, or leave it out");
    let credential =
        credential(section, "Write an access token that may create responses: token = \"env:NAME\"");
    Some(SurveyMonkey { credential: credential?, api_url, collector })
}

fn apps_script(section: &Section<'_>, private: bool) -> Option<AppsScript> {
    use secrecy::ExposeSecret as _;
    let (url, secret) = (url(section, private), section.secret("secret"));
    if secret.as_ref().is_some_and(|secret| secret.expose_secret().len() < 24) {
        let fix = "Write 24 random characters or more: openssl rand -base64 32";
        section.fault("secret", section.place.clone(), "is too short to be safe", fix);
    }
    section.require("url", "Write the web app's address, which ends in /exec");
    section.require("secret", "The script takes responses only with it: write secret = \"env:NAME\"");
    Some(AppsScript { url: url?, secret: secret? })
}

fn google_form(section: &Section<'_>, private: bool) -> Option<GoogleForm> {
    let url = url(section, private);
    agreed(
        section,
        "unofficial",
        "Google documents no way to send a response from outside, and what works today can stop any day: write unofficial = true to use it all the same, or use kind = \"google-apps-script\", which is official",
    );
    Some(GoogleForm { url })
}

fn sheets(section: &Section<'_>, private: bool) -> Option<Sheets> {
    let api_url = api_url(section, private);
    let spreadsheet = id(section, "spreadsheet", "Copy it from the sheet's address, between /d/ and /edit");
    let tab = section.text("tab").map(|(text, _)| text);
    let credential =
        credential(section, "Write an access token that may write to the sheet: token = \"env:NAME\"");
    section.require("spreadsheet", "Copy it from the sheet's address, between /d/ and /edit");
    Some(Sheets { credential: credential?, api_url, spreadsheet: spreadsheet?, tab })
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

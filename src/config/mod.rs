//! The configuration: the only reader of environment and files.
//!
//! Layers, the highest first: environment (`FORMGATE_SECTION__KEY`), the file, and `formgate.default.toml`, which is both
//! the documentation of every key and the program's defaults. Invariant: a [`Config`] has no fault left in it, and a
//! configuration that has any is refused with all of them at once, each with its place and its remedy. Secrets are held
//! in types that do not show them.
//!
//! It deliberately opens no key and compiles no form: what a secret or a definition means is for their own modules.

mod alert;
mod destination;
mod fault;
mod files;
mod id;
mod process;
mod read;
mod resource;
mod secret;
mod store;
#[cfg(test)]
mod tests;
mod tool;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

pub use alert::{Alert, AlertKind, Alerts, Email, MailTls};
pub use destination::{
    AppsScript, Credential, Destination, DestinationKind, FileHandling, GoogleForm, Hubspot, HubspotCrm,
    Shape, Sheets, SurveyMonkey, Target, TypeformHooks, TypeformWebhook, Webhook,
};
pub use fault::{Fault, Faults, Place};
pub use files::Files;
pub use id::{DestinationId, FlowId, InvalidId, NumberId, WorkspaceId};
pub use process::{Audit, Backup, Drift, Limits, Log, Meta, Server, Tls};
pub use resource::{
    AppSecret, DataApi, Definition, Entry, Flow, Mode, Number, Repeat, Take, TokenSignature, Tokens, Tool,
};
pub use secret::MasterKey;
pub use store::{Acknowledge, Redis, Store, Topology};
use toml::de::DeTable;
pub use tool::{ToolClient, ToolServer};

use self::{
    fault::nearest,
    read::{Context, Section},
};

/// Every key with its explanation and its default.
pub const DEFAULT_FILE: &str = include_str!("../../formgate.default.toml");

/// A configuration without faults.
#[derive(Debug)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[store]`
    pub store: Store,
    /// `[log]`
    pub log: Log,
    /// `[limits]`
    pub limits: Limits,
    /// `[[number]]`
    pub numbers: Vec<Number>,
    /// `[[destination]]`
    pub destinations: Vec<Destination>,
    /// `[[flow]]`
    pub flows: Vec<Flow>,
    /// `[files]`
    pub files: Files,
    /// `[[tool]]`
    pub tools: Vec<ToolClient>,
    /// `[alerts]`
    pub alerts: Alerts,
    /// `[[alert]]`
    pub alert_sinks: Vec<Alert>,
    /// `[drift]`
    pub drift: Drift,
    /// `[backup]`
    pub backup: Option<Backup>,
    /// `[audit]`
    pub audit: Audit,
    /// `[meta]`
    pub meta: Meta,
    /// The store answers before its commit: for the fault tests, which have to notice.
    #[cfg(feature = "faults")]
    pub ack_early: bool,
    /// What else the fault tests want broken.
    #[cfg(feature = "faults")]
    pub faults: crate::fault::Orders,
}

/// The variables of this process; those that are not Unicode cannot be ours and are left out.
#[expect(clippy::disallowed_methods, reason = "this is the one reader of the environment")]
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

impl Config {
    /// Reads the file, if one is named, and the environment over the defaults.
    pub fn load(path: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Self, Faults> {
        let (text, folder) = match path {
            None => (String::new(), Path::new("")),
            Some(path) => match fs::read_to_string(path) {
                Ok(text) => (text, path.parent().unwrap_or(Path::new(""))),
                Err(error) => {
                    return Err(Faults(vec![Fault {
                        key: String::new(),
                        place: Place::Absent,
                        reason: format!("cannot read {}: {}", path.display(), error.kind()),
                        fix: "Name a readable UTF-8 file with --config".to_owned(),
                    }]));
                }
            },
        };
        Self::read(text, folder, env.collect()).0
    }

    /// Also says which keys were asked for, so that tests can compare them with documentation and schema.
    fn read(
        text: String,
        folder: &Path,
        env: BTreeMap<String, String>,
    ) -> (Result<Self, Faults>, BTreeSet<String>) {
        let cx = Context::new(text.clone(), folder.to_owned(), env);
        let config = Self::build(&cx, &text);
        let (faults, keys) = cx.into_faults();
        let config = match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(Faults(faults)),
        };
        (config, keys)
    }

    /// `None` only together with a fault.
    fn build(cx: &Context, text: &str) -> Option<Self> {
        let (file, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            // The error's own Display would quote the line, which may hold a secret.
            let place = error.span().map_or(Place::Absent, |span| cx.line(&span));
            cx.fault("", place, format!("is not TOML: {}", error.message()), "Correct the line");
        }
        if !errors.is_empty() {
            return None;
        }
        let (shipped, _) = DeTable::parse_recoverable(DEFAULT_FILE);
        let root = Section::root(cx, file.get_ref(), shipped.get_ref());

        let server = process::server(&root.section("server"));
        let store = store::store(&root.section("store"));
        let log = process::log(&root.section("log"));
        let limits = process::limits(&root.section("limits"));
        let number_sections = root.items("number");
        let numbers: Vec<_> = number_sections.iter().map(resource::number).collect();
        let destination_sections = root.items("destination");
        let destinations: Vec<_> = destination_sections.iter().map(destination::destination).collect();
        let flow_sections = root.items("flow");
        let flows: Vec<_> = flow_sections.iter().map(resource::flow).collect();
        let files = files::files(&root.section("files"));
        let tool_sections = root.items("tool");
        let tools: Vec<_> = tool_sections.iter().map(tool::tool).collect();
        let alerts = alert::alerts(&root.section("alerts"));
        let alert_sections = root.items("alert");
        let alert_sinks: Vec<_> = alert_sections.iter().map(alert::alert).collect();
        let drift = process::drift(&root.section("drift"));
        let backup = process::backup(&root.section("backup"));
        let audit = process::audit(&root.section("audit"));
        let meta = process::meta(&root.section("meta"));
        root.finish();

        let number_ids = unique_ids(&number_sections);
        let destination_ids = unique_ids(&destination_sections);
        unique_ids(&flow_sections);
        unique_ids(&alert_sections);
        unique_ids(&tool_sections);
        for section in &flow_sections {
            if let Some((number, place)) = section.text("number") {
                refers(section, "number", &number, place, "number", &number_ids);
            }
            for (destination, place) in section.list("deliver_to").unwrap_or_default() {
                refers(section, "deliver_to", &destination, place, "destination", &destination_ids);
            }
        }
        #[cfg(feature = "faults")]
        let (ack_early, orders) = (cx.breaks("ACK_EARLY"), cx.orders());
        cx.unknown_variables();
        Some(Self {
            server: server?,
            store: store?,
            log: log?,
            limits: limits?,
            numbers: numbers.into_iter().collect::<Option<_>>()?,
            destinations: destinations.into_iter().collect::<Option<_>>()?,
            flows: flows.into_iter().collect::<Option<_>>()?,
            files: files?,
            tools: tools.into_iter().collect::<Option<_>>()?,
            alerts: alerts?,
            alert_sinks: alert_sinks.into_iter().collect::<Option<_>>()?,
            drift: drift?,
            backup: backup?,
            audit: audit?,
            meta: meta?,
            #[cfg(feature = "faults")]
            ack_early,
            #[cfg(feature = "faults")]
            faults: orders?,
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::read(String::new(), Path::new(""), BTreeMap::new())
            .0
            .expect("the shipped defaults have no fault; a test loads them")
    }
}

/// The ids of an array's items, whether or not the items are otherwise in order; a repeated one is a fault.
fn unique_ids(sections: &[Section<'_>]) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for section in sections {
        if let Some((id, place)) = section.text("id")
            && !ids.insert(id.clone())
        {
            section.fault("id", place, format!("\"{id}\" is taken already"), "Give each its own id");
        }
    }
    ids
}

fn refers(section: &Section<'_>, key: &str, id: &str, place: Place, kind: &str, ids: &BTreeSet<String>) {
    if !ids.contains(id) {
        let fix = match nearest(id, ids.iter().map(String::as_str)) {
            Some(known) => format!("Did you mean \"{known}\"?"),
            None => format!("Add a [[{kind}]] with this id, or correct the reference"),
        };
        section.fault(key, place, format!("no [[{kind}]] has the id \"{id}\""), fix);
    }
}

//! Destinations from the configuration, each by its kind, and made anew when a form of its flows is another.
//!
//! Invariant: nothing here calls anybody. What a destination has to know of a form is in its definition and its versions,
//! so whether a form can be delivered is known before anybody fills it in.

mod accounts;
mod routes;
mod slot;
mod tools;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use secrecy::ExposeSecret as _;
use tokio::sync::Semaphore;
use url::Url;

use self::accounts::Behind;
use self::routes::Routes;
use self::slot::{Absent, Built, Slot};
use super::Error;
use crate::client::{AddressPolicy, Client, header};
use crate::config::{self, Config, DestinationKind, FileHandling, Target};
use crate::connector::connection::{Connection, Connections};
use crate::connector::hubspot::{self, HubSpot, Plan};
use crate::crypto::WebhookSecret;
use crate::flow::handler::Handler;
use crate::form::mapping::Step;
use crate::form::{Form, Template};
use crate::outbox::{
    Destination, DestinationId, Field, Grade, LeadFields, Outbox, Routed, Shape, Webhook, slug,
};

/// What destinations have to know of a flow that is served.
pub(super) struct Served {
    /// The form of its newest version.
    pub form: Form,
    /// What that is read from, as the tool tells it.
    pub definition: Vec<u8>,
    /// Its live versions, the newest first.
    pub versions: Vec<Arc<Handler>>,
}

type ByFlow = BTreeMap<String, Arc<Served>>;

/// All destinations of the configuration; cheap to clone.
#[derive(Clone)]
pub(super) struct Destinations(Arc<Shared>);

struct Shared {
    configured: Vec<config::Destination>,
    flows: Vec<config::Flow>,
    public_url: Option<Url>,
    connections: Connections,
    client: Client,
    /// Has the files of answers, and the routes that were set.
    outbox: Outbox,
    /// What somebody has set where the configuration says nothing.
    routes: RwLock<Routes>,
    /// Whoever makes destinations and puts them in their places: one after the other, so that nothing older comes last.
    changing: Mutex<()>,
    /// One permit: whoever looks for routes that were set.
    following: Semaphore,
    /// Those that were connected when it was looked last.
    accounts: RwLock<Vec<Connection>>,
    /// What could not follow its account, and when that is tried again.
    behind: Mutex<Behind>,
    served: RwLock<ByFlow>,
    /// As many, and in the same order, as are configured.
    slots: Vec<Arc<Slot>>,
}

/// Destinations that are ready for a form and not in their places yet.
pub(super) struct Prepared<'d> {
    of: &'d Shared,
    served: ByFlow,
    routes: Routes,
    built: Vec<(usize, Built)>,
    _changing: MutexGuard<'d, ()>,
}

impl Destinations {
    /// All destinations of the configuration, for the flows being served.
    pub(super) async fn build(
        config: &Config,
        served: ByFlow,
        connections: &Connections,
        outbox: &Outbox,
    ) -> Result<Self, Error> {
        let routes = routes::set(outbox).await.map_err(|error| Error::Control(error.to_string()))?;
        let accounts = connections.list().await.map_err(|error| Error::Control(error.to_string()))?;
        let mut shared = Shared {
            configured: config.destinations.clone(),
            flows: config.flows.clone(),
            public_url: config.server.public_url.clone(),
            connections: connections.clone(),
            client: Client::new(),
            outbox: outbox.clone(),
            routes: RwLock::new(routes.clone()),
            changing: Mutex::default(),
            following: Semaphore::new(1),
            accounts: RwLock::new(accounts.clone()),
            behind: Mutex::default(),
            served: RwLock::default(),
            slots: Vec::new(),
        };
        let builder =
            Builder { of: &shared, served: &served, accounts: &accounts, routes: &routes, is_told: true };
        let slot = |configured: &config::Destination| {
            let id = DestinationId::new(configured.id.as_str())?;
            Ok(Arc::new(Slot::new(id, grade(configured.target.kind()), builder.built_or_absent(configured)?)))
        };
        let slots = shared.configured.iter().map(slot).collect::<Result<_, Error>>()?;
        (shared.slots, shared.served) = (slots, RwLock::new(served));
        shared.slots.iter().for_each(|slot| shared.ask_for_files(slot.asks_for_files()));
        Ok(Self(Arc::new(shared)))
    }

    /// The places of all destinations.
    pub(super) fn all(&self) -> Vec<Arc<dyn Destination>> {
        self.0.slots.iter().map(|slot| Arc::<Slot>::clone(slot) as Arc<dyn Destination>).collect()
    }

    /// Makes the destinations of a flow ready for another form; the reason if one of them cannot take it.
    pub(super) fn prepare(&self, flow: &str, served: Served) -> Result<Prepared<'_>, String> {
        let changing = self.0.changing();
        let (mut all, routes) = self.0.known();
        all.insert(flow.to_owned(), Arc::new(served));
        let flow = self.0.flows.iter().find(|configured| configured.id.as_str() == flow);
        let is_used = |to: &config::Destination| flow.is_some_and(|flow| flow.deliver_to.contains(&to.id));
        self.0.prepare(changing, all, routes, is_used, false).map_err(|error| error.to_string())
    }
}

impl Shared {
    /// What is really served asks for files: whoever connects from now on is asked whether they may be kept in HubSpot.
    fn ask_for_files(&self, asks: bool) {
        if let Some(provider) = self.connections.provider("hubspot").filter(|_| asks) {
            provider.ask_also("files", "keep the files that people send");
        }
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is served, and the routes that were set, at this moment.
    fn known(&self) -> (ByFlow, Routes) {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner).clone();
        (served, self.routes.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn prepare<'d>(
        &'d self,
        changing: MutexGuard<'d, ()>,
        served: ByFlow,
        routes: Routes,
        is_meant: impl Fn(&config::Destination) -> bool,
        is_told: bool,
    ) -> Result<Prepared<'d>, Error> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner).clone();
        let builder = Builder { of: self, served: &served, accounts: &accounts, routes: &routes, is_told };
        let meant = self.configured.iter().enumerate().filter(|(_, configured)| is_meant(configured));
        let built = meant.map(|(at, configured)| Ok((at, builder.built(configured)?)));
        let built = built.collect::<Result<_, Error>>()?;
        Ok(Prepared { of: self, served, routes, built, _changing: changing })
    }
}

impl Prepared<'_> {
    /// Puts them in their places.
    pub(super) fn put(self) {
        for (at, built) in self.built {
            if let Some(slot) = self.of.slots.get(at) {
                self.of.ask_for_files(built.asks_for_files);
                slot.put(built);
            }
        }
        *self.of.served.write().unwrap_or_else(PoisonError::into_inner) = self.served;
        *self.of.routes.write().unwrap_or_else(PoisonError::into_inner) = self.routes;
    }
}

/// What all destinations are built from.
struct Builder<'a> {
    of: &'a Shared,
    served: &'a ByFlow,
    accounts: &'a [Connection],
    routes: &'a Routes,
    /// Whether the operator is told what they had better know.
    is_told: bool,
}

/// How much a kind makes of a submission; the destinations say the same.
pub(super) fn grade(kind: DestinationKind) -> Grade {
    match kind {
        DestinationKind::Hubspot | DestinationKind::Surveymonkey | DestinationKind::GoogleAppsScript => {
            Grade::A
        }
        DestinationKind::GoogleForms => Grade::B,
        DestinationKind::HubspotCrm
        | DestinationKind::GoogleSheets
        | DestinationKind::Typeform
        | DestinationKind::TypeformWebhook => Grade::C,
        DestinationKind::Webhook => Grade::D,
    }
}

impl Builder<'_> {
    fn built(&self, configured: &config::Destination) -> Result<Built, Error> {
        let configured = &*self.effective(configured);
        // A whole submission has all that a webhook tells; every other destination knows its forms beforehand.
        let is_whole =
            matches!(&configured.target, Target::Webhook(target) if target.shape == config::Shape::Full);
        let newest = |flow: &config::Flow| {
            let version = self.served.get(flow.id.as_str())?.versions.first()?.plan().version;
            Some((flow.id.as_str().to_owned(), version))
        };
        let newest = self.delivering(configured).filter(|_| !is_whole).filter_map(newest).collect();
        let destination = self.destination(configured)?.ok_or(Absent::Unread);
        Ok(Built { destination, newest, asks_for_files: self.uploads_to_hubspot(configured) })
    }

    /// `None`: not before the form was read from its tool.
    fn destination(&self, configured: &config::Destination) -> Result<Option<Arc<dyn Destination>>, Error> {
        self.know_questions(configured)?;
        let destination: Arc<dyn Destination> = match &configured.target {
            Target::Webhook(target) => Arc::new(self.webhook(configured, target)?),
            Target::Hubspot(target) => Arc::new(self.hubspot(configured, target)?),
            Target::HubspotCrm(target) => Arc::new(self.hubspot_crm(configured, target)?),
            Target::Surveymonkey(target) => Arc::new(self.surveymonkey(configured, target)?),
            Target::AppsScript(target) => Arc::new(self.apps_script(configured, target)?),
            Target::GoogleForm(target) => match self.google_form(configured, target)? {
                Some(form) => Arc::new(form),
                None => return Ok(None),
            },
            Target::Sheets(target) => Arc::new(self.sheets(configured, target)?),
            Target::Typeform(target) => Arc::new(self.typeform(configured, target)?),
            Target::TypeformWebhook(target) => Arc::new(self.typeform_webhook(configured, target)?),
        };
        let (grade, kind) = (destination.grade(), configured.target.kind().as_str());
        let id = configured.id.as_str();
        if !self.is_told {
        } else if grade == Grade::B {
            tracing::warn!(destination.id = id, kind, %grade, "{}", grade.meaning());
        } else {
            tracing::info!(destination.id = id, kind, %grade, "{}", grade.meaning());
        }
        if configured.when.is_none() && configured.mapping.is_empty() {
            return Ok(Some(destination));
        }
        let (when, mapping) = (configured.when.clone(), configured.mapping.clone());
        Ok(Some(Arc::new(Routed { destination, when, mapping })))
    }

    /// The form of a flow's newest version, if it was read.
    fn form(&self, flow: &str) -> Option<&Form> {
        self.served.get(flow).map(|served| &served.form)
    }

    /// The flows that deliver there.
    fn delivering<'c>(
        &'c self,
        configured: &'c config::Destination,
    ) -> impl Iterator<Item = &'c config::Flow> {
        self.of.flows.iter().filter(|flow| flow.deliver_to.contains(&configured.id))
    }

    /// A misspelt key would let everything through, or nothing.
    fn know_questions(&self, configured: &config::Destination) -> Result<(), Error> {
        let forms: Vec<&Form> =
            self.delivering(configured).filter_map(|flow| self.form(flow.id.as_str())).collect();
        let asked = configured.when.iter().flat_map(|when| when.questions()).map(|key| ("when", key));
        let mapped = configured.mapping.iter().flat_map(|(name, step)| step.questions(name));
        for (place, key) in asked.chain(mapped.map(|key| ("mapping", key))) {
            if !forms.is_empty() && forms.iter().all(|form| form.question(key).is_none()) {
                let reason = format!(
                    "its “{place}” names a question “{key}”, which no form that is delivered there has"
                );
                return Err(fault(configured, reason));
            }
        }
        Ok(())
    }

    /// The form as the destination gets it: without what the mapping drops, by the names that it gives.
    fn routed(&self, configured: &config::Destination, form: &Form) -> Form {
        let mut form = form.clone();
        let step = |key: &str| configured.mapping.iter().find(|(name, _)| name == key).map(|(_, step)| step);
        for page in &mut form.pages {
            page.questions.retain(|question| !matches!(step(&question.key), Some(Step::Drop)));
            for question in &mut page.questions {
                if let Some(Step::Rename(name)) = step(&question.key) {
                    question.key.clone_from(name);
                }
            }
        }
        form
    }
}

fn fault(configured: &config::Destination, reason: impl Into<String>) -> Error {
    Error::Destination { id: configured.id.as_str().to_owned(), reason: reason.into() }
}

fn policy(configured: &config::Destination) -> AddressPolicy {
    if configured.allow_private_network {
        AddressPolicy::AllowPrivateNetwork
    } else {
        AddressPolicy::PublicHttps
    }
}

impl Builder<'_> {
    /// Every live version of every flow that delivers here has to be one that HubSpot can take: what cannot be written back
    /// is said before anybody fills it in.
    fn hubspot(&self, configured: &config::Destination, target: &config::Hubspot) -> Result<HubSpot, Error> {
        let mut plans = BTreeMap::new();
        for flow in self.delivering(configured) {
            let id = flow.id.as_str();
            let versions = self.served.get(id).map_or(&[][..], |served| &served.versions);
            for (age, handler) in versions.iter().enumerate() {
                let (form, version) = (&self.routed(configured, handler.form()), handler.plan().version);
                let fit = Plan::of(form).and_then(|plan| {
                    if target.form.is_none() && uuid::Uuid::try_parse(&form.id).is_err() {
                        return Err(
                            "its definition names no guid: write the destination's \"form\"".to_owned()
                        );
                    }
                    Ok(plan)
                });
                match fit {
                    Ok(plan) => {
                        if age == 0 && plan.file_questions().next().is_some() {
                            self.hubspot_files(configured, target, id)?;
                        }
                        plans.insert((id.to_owned(), version), plan);
                    }
                    Err(reason) if age == 0 => {
                        return Err(fault(
                            configured,
                            format!("flow {id} cannot be delivered to it: {reason}"),
                        ));
                    }
                    // An older version was served to another destination then; its submissions are refused with the reason.
                    Err(reason) => {
                        tracing::warn!(
                            flow.id = id,
                            version,
                            reason,
                            "an older version cannot be delivered to HubSpot"
                        );
                    }
                }
            }
        }
        let api = target.api_url.clone().map_or_else(|| Url::parse(hubspot::SUBMISSION_API), Ok);
        Ok(HubSpot::new(hubspot::Settings {
            id: DestinationId::new(configured.id.as_str())?,
            portal: target.portal_id.clone(),
            form: target.form.clone(),
            api: api.map_err(|error| fault(configured, error.to_string()))?,
            tokens: self.tokens(configured, &target.credential)?,
            public_url: self.of.public_url.clone(),
            plans,
            files: (target.files == FileHandling::Upload).then(|| self.of.outbox.clone()),
            policy: policy(configured),
            client: self.of.client.clone(),
        }))
    }

    /// A form asks for files: what that takes is there, or it is said.
    fn hubspot_files(
        &self,
        configured: &config::Destination,
        target: &config::Hubspot,
        flow: &str,
    ) -> Result<(), Error> {
        if target.files == FileHandling::Link && self.of.public_url.is_none() {
            let reason = format!(
                "flow {flow} asks for files, and there are no links to them: set server.public_url, or write files = \"upload\""
            );
            return Err(fault(configured, reason));
        }
        Ok(())
    }

    /// Whether files of a newest version are kept in a connected HubSpot account, which takes a scope of its own.
    fn uploads_to_hubspot(&self, configured: &config::Destination) -> bool {
        let Target::Hubspot(target) = &configured.target else { return false };
        let is_connected = matches!(target.credential, config::Credential::Connection(_));
        let asks = |flow: &config::Flow| {
            let newest = self.served.get(flow.id.as_str()).and_then(|served| served.versions.first());
            let plan = newest.and_then(|newest| Plan::of(&self.routed(configured, newest.form())).ok());
            plan.is_some_and(|plan| plan.file_questions().next().is_some())
        };
        is_connected && target.files == FileHandling::Upload && self.delivering(configured).any(asks)
    }

    fn webhook(&self, configured: &config::Destination, webhook: &config::Webhook) -> Result<Webhook, Error> {
        let secret =
            WebhookSecret::try_from(&webhook.secret).map_err(|error| fault(configured, error.to_string()))?;
        let mut headers = header::HeaderMap::new();
        for (name, value) in &webhook.headers {
            let parsed = header::HeaderName::try_from(name.as_str())
                .ok()
                .zip(header::HeaderValue::try_from(value.expose_secret()).ok());
            let (name, mut value) =
                parsed.ok_or_else(|| fault(configured, format!("“{name}” is no header that can be sent")))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let fields = |form: &Form| {
            let given = |key: &str| {
                configured.mapping.iter().any(|(_, step)| matches!(step, Step::Rename(to) if to == key))
            };
            let field = |key: &str, title: &str| Field {
                key: key.to_owned(),
                // The name is the same for everybody: what a title recalls is not part of it.
                name: if given(key) { key.to_owned() } else { slug(&Template::parse(title).literal()) },
            };
            let form = self.routed(configured, form);
            let asked =
                form.questions().filter(|(_, q)| q.kind.is_answered()).map(|(_, q)| field(&q.key, &q.title));
            let made =
                configured.mapping.iter().filter(|(_, step)| !matches!(step, Step::Rename(_) | Step::Drop));
            asked.chain(made.map(|(name, _)| Field { key: name.clone(), name: name.clone() })).collect()
        };
        let shape = match webhook.shape {
            config::Shape::Full => Shape::Full,
            config::Shape::Flat => Shape::Flat {
                fields: self.served.iter().map(|(id, served)| (id.clone(), fields(&served.form))).collect(),
            },
            config::Shape::Lead => {
                let names = |form: &Form| LeadFields { names: fields(form), ..LeadFields::default() };
                Shape::Lead {
                    fields: self
                        .served
                        .iter()
                        .map(|(id, served)| (id.clone(), names(&served.form)))
                        .collect(),
                }
            }
        };
        Ok(Webhook {
            id: DestinationId::new(configured.id.as_str())?,
            url: webhook.url.clone(),
            signer: Some(Arc::new(secret)),
            shape,
            headers,
            policy: policy(configured),
            client: self.of.client.clone(),
        })
    }
}

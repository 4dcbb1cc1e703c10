//! Destinations from the configuration, each by its kind.

mod tools;

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::ExposeSecret as _;
use url::Url;

use super::Error;
use crate::client::{AddressPolicy, Client, header};
use crate::config::{self, Config, DestinationKind, Target};
use crate::connector::connection::{Connection, Connections};
use crate::connector::hubspot::{self, HubSpot, Plan};
use crate::crypto::WebhookSecret;
use crate::endpoint::Flows;
use crate::form::mapping::Step;
use crate::form::{Form, Template};
use crate::outbox::{Destination, DestinationId, Field, Grade, LeadFields, Routed, Shape, Webhook, slug};

/// What all destinations are built from.
struct Builder<'a> {
    config: &'a Config,
    /// The forms being served, by flow.
    forms: &'a BTreeMap<String, Form>,
    /// Their definitions, as the tools tell them.
    definitions: &'a BTreeMap<String, Vec<u8>>,
    /// The flows, with their older versions.
    served: &'a Flows,
    connections: &'a Connections,
    /// Those that are connected now.
    accounts: &'a [Connection],
    client: Client,
}

/// All destinations of the configuration. `forms` and `definitions` are those being served, by flow; `served` knows their older versions too.
pub(super) fn build(
    config: &Config,
    forms: &BTreeMap<String, Form>,
    definitions: &BTreeMap<String, Vec<u8>>,
    served: &Flows,
    (connections, accounts): (&Connections, &[Connection]),
) -> Result<Vec<Arc<dyn Destination>>, Error> {
    let builder =
        Builder { config, forms, definitions, served, connections, accounts, client: Client::new() };
    config.destinations.iter().map(|configured| builder.destination(configured)).collect()
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
    fn destination(&self, configured: &config::Destination) -> Result<Arc<dyn Destination>, Error> {
        self.know_questions(configured)?;
        let destination: Arc<dyn Destination> = match &configured.target {
            Target::Webhook(target) => Arc::new(self.webhook(configured, target)?),
            Target::Hubspot(target) => Arc::new(self.hubspot(configured, target)?),
            Target::HubspotCrm(target) => Arc::new(self.hubspot_crm(configured, target)?),
            Target::Surveymonkey(target) => Arc::new(self.surveymonkey(configured, target)?),
            Target::AppsScript(target) => Arc::new(self.apps_script(configured, target)?),
            Target::GoogleForm(target) => Arc::new(self.google_form(configured, target)?),
            Target::Sheets(target) => Arc::new(self.sheets(configured, target)?),
            Target::Typeform(target) => Arc::new(self.typeform(configured, target)?),
            Target::TypeformWebhook(target) => Arc::new(self.typeform_webhook(configured, target)?),
        };
        let (grade, kind) = (destination.grade(), configured.target.kind().as_str());
        let id = configured.id.as_str();
        if grade == Grade::B {
            tracing::warn!(destination.id = id, kind, %grade, "{}", grade.meaning());
        } else {
            tracing::info!(destination.id = id, kind, %grade, "{}", grade.meaning());
        }
        if configured.when.is_none() && configured.mapping.is_empty() {
            return Ok(destination);
        }
        let (when, mapping) = (configured.when.clone(), configured.mapping.clone());
        Ok(Arc::new(Routed { destination, when, mapping }))
    }

    /// The flows that deliver there.
    fn delivering<'c>(
        &'c self,
        configured: &'c config::Destination,
    ) -> impl Iterator<Item = &'c config::Flow> {
        self.config.flows.iter().filter(|flow| flow.deliver_to.contains(&configured.id))
    }

    /// A misspelt key would let everything through, or nothing.
    fn know_questions(&self, configured: &config::Destination) -> Result<(), Error> {
        let forms: Vec<&Form> =
            self.delivering(configured).filter_map(|flow| self.forms.get(flow.id.as_str())).collect();
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
        let delivering = |id: &str| self.delivering(configured).any(|flow| flow.id.as_str() == id);
        for flow in self.served.all().iter().filter(|flow| delivering(&flow.id)) {
            for (age, handler) in flow.versions.iter().enumerate() {
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
                        for question in plan.left_out().filter(|_| age == 0) {
                            tracing::warn!(
                                flow.id = flow.id,
                                destination = configured.id.as_str(),
                                question,
                                "HubSpot does not get the files of this question"
                            );
                        }
                        plans.insert((flow.id.clone(), version), plan);
                    }
                    Err(reason) if age == 0 => {
                        return Err(fault(
                            configured,
                            format!("flow {} cannot be delivered to it: {reason}", flow.id),
                        ));
                    }
                    // An older version was served to another destination then; its submissions are refused with the reason.
                    Err(reason) => {
                        tracing::warn!(
                            flow.id = flow.id,
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
            public_url: self.config.server.public_url.clone(),
            plans,
            policy: policy(configured),
            client: self.client.clone(),
        }))
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
                fields: self.forms.iter().map(|(id, form)| (id.clone(), fields(form))).collect(),
            },
            config::Shape::Lead => {
                let names = |form: &Form| LeadFields { names: fields(form), ..LeadFields::default() };
                Shape::Lead {
                    fields: self.forms.iter().map(|(id, form)| (id.clone(), names(form))).collect(),
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
            client: self.client.clone(),
        })
    }
}

//! Destinations from the configuration, each by its kind.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use secrecy::ExposeSecret as _;
use url::Url;

use super::Error;
use crate::client::{AddressPolicy, Client, header};
use crate::config::{self, Config, Target};
use crate::connector::hubspot::{self, HubSpot, Plan};
use crate::connector::typeform::deliver::{Definition, FormResponse};
use crate::crypto::WebhookSecret;
use crate::endpoint::Flows;
use crate::form::{Form, Template};
use crate::outbox::{Destination, DestinationId, Field, LeadFields, Shape, Webhook, slug};

/// All destinations of the configuration. `forms` and `definitions` are those being served, by flow; `served` knows their older versions too.
pub(super) fn build(
    config: &Config,
    forms: &BTreeMap<String, Form>,
    definitions: &BTreeMap<String, Vec<u8>>,
    served: &Flows,
) -> Result<Vec<Arc<dyn Destination>>, Error> {
    let client = Client::new();
    let one = |configured: &config::Destination| -> Result<Arc<dyn Destination>, Error> {
        Ok(match &configured.target {
            Target::Webhook(target) => Arc::new(webhook(configured, target, &client, forms)?),
            Target::Hubspot(target) => Arc::new(hubspot(config, configured, target, &client, served)?),
            Target::TypeformWebhook(target) => {
                Arc::new(typeform_webhook(config, configured, target, definitions, &client)?)
            }
        })
    };
    config.destinations.iter().map(one).collect()
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

/// Every live version of every flow that delivers here has to be one that HubSpot can take: what cannot be written back
/// is said before anybody fills it in.
fn hubspot(
    config: &Config,
    configured: &config::Destination,
    target: &config::Hubspot,
    client: &Client,
    served: &Flows,
) -> Result<HubSpot, Error> {
    let mut plans = BTreeMap::new();
    let delivering = |id: &str| {
        let flow = config.flows.iter().find(|flow| flow.id.as_str() == id);
        flow.is_some_and(|flow| flow.deliver_to.contains(&configured.id))
    };
    for flow in served.all().iter().filter(|flow| delivering(&flow.id)) {
        for (age, handler) in flow.versions.iter().enumerate() {
            let (form, version) = (handler.form(), handler.plan().version);
            let fit = Plan::of(form).and_then(|plan| {
                if target.form.is_none() && uuid::Uuid::try_parse(&form.id).is_err() {
                    return Err("its definition names no guid: write the destination's \"form\"".to_owned());
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
    HubSpot::new(hubspot::Settings {
        id: DestinationId::new(configured.id.as_str())?,
        portal: target.portal_id.clone(),
        form: target.form.clone(),
        api: api.map_err(|error| fault(configured, error.to_string()))?,
        token: target.token.clone(),
        public_url: config.server.public_url.clone(),
        plans,
        policy: policy(configured),
        client: client.clone(),
    })
    .map_err(|error| fault(configured, error.to_string()))
}

/// It tells the fields of the definition, so every flow that delivers here has to be one of Typeform's.
fn typeform_webhook(
    config: &Config,
    configured: &config::Destination,
    target: &config::TypeformWebhook,
    bytes_of: &BTreeMap<String, Vec<u8>>,
    client: &Client,
) -> Result<FormResponse, Error> {
    let mut definitions = BTreeMap::new();
    for flow in config.flows.iter().filter(|flow| flow.deliver_to.contains(&configured.id)) {
        let id = flow.id.as_str().to_owned();
        if flow.tool != config::Tool::Typeform {
            let reason = format!("flow {id} was not made from a Typeform definition; use kind = \"webhook\"");
            return Err(fault(configured, reason));
        }
        // One that was not read from Typeform yet has no submissions to deliver.
        let Some(bytes) = bytes_of.get(&id) else { continue };
        let definition = Definition::read(bytes)
            .map_err(|source| Error::Definition { flow: id.clone(), source: source.into() })?;
        definitions.insert(id, definition);
    }
    Ok(FormResponse {
        id: DestinationId::new(configured.id.as_str())?,
        url: target.url.clone(),
        secret: target.secret.clone(),
        definitions,
        policy: policy(configured),
        client: client.clone(),
    })
}

fn webhook(
    configured: &config::Destination,
    webhook: &config::Webhook,
    client: &Client,
    forms: &BTreeMap<String, Form>,
) -> Result<Webhook, Error> {
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
    let mapping: HashMap<&str, &str> =
        webhook.mapping.iter().map(|(key, name)| (key.as_str(), name.as_str())).collect();
    let fields = |form: &Form| {
        let field = |key: &str, title: &str| Field {
            key: key.to_owned(),
            // The name is the same for everybody: what a title recalls is not part of it.
            name: mapping
                .get(key)
                .map_or_else(|| slug(&Template::parse(title).literal()), |name| (*name).to_owned()),
        };
        form.questions().filter(|(_, q)| q.kind.is_answered()).map(|(_, q)| field(&q.key, &q.title)).collect()
    };
    let shape = match webhook.shape {
        config::Shape::Full => Shape::Full,
        config::Shape::Flat => {
            Shape::Flat { fields: forms.iter().map(|(id, form)| (id.clone(), fields(form))).collect() }
        }
        config::Shape::Lead => {
            let names = |form: &Form| LeadFields { names: fields(form), ..LeadFields::default() };
            Shape::Lead { fields: forms.iter().map(|(id, form)| (id.clone(), names(form))).collect() }
        }
    };
    Ok(Webhook {
        id: DestinationId::new(configured.id.as_str())?,
        url: webhook.url.clone(),
        signer: Some(Arc::new(secret)),
        shape,
        headers,
        policy: policy(configured),
        client: client.clone(),
    })
}

//! Destinations in the form tools. What can never be written back is said at the start, before anybody fills it in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{Builder, fault, policy};
use crate::app::Error;
use crate::client::header;
use crate::config::{self, Credential, DestinationKind, Tool};
use crate::connector::connection::ConnectionId;
use crate::connector::google_forms::script::Items;
use crate::connector::google_forms::{PublicForm, WebApp, public_page};
use crate::connector::google_sheets::{self, Sheet};
use crate::connector::hubspot::crm::{self, Crm, Object};
use crate::connector::surveymonkey::{self, Responses, Survey};
use crate::connector::typeform::deliver::{Definition, FormResponse};
use crate::connector::typeform::hooks::{self, Hooks};
use crate::connector::{Api, ImportError, Tokens};
use crate::outbox::DestinationId;

impl Builder<'_> {
    fn api(
        &self,
        configured: &config::Destination,
        url: Option<&Url>,
        usual: &str,
        credential: &Credential,
    ) -> Result<Api, Error> {
        // The region of a connected account is known; Google's sheets are at another host than its forms.
        let home = match credential {
            Credential::Connection(name) if configured.target.kind() != DestinationKind::GoogleSheets => self
                .accounts
                .iter()
                .find(|account| account.id.as_str() == name)
                .map(|account| &account.api_url),
            _ => None,
        };
        let base = url.or(home).cloned().map_or_else(|| Url::parse(usual), Ok);
        let account = match credential {
            Credential::Connection(name) => name.clone(),
            // Its name tells nobody the token.
            Credential::Token(token) => {
                let hash = Sha256::digest(token.expose_secret().as_bytes());
                hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
            }
        };
        Ok(Api {
            account: format!("{}:{account}", configured.target.kind().as_str()),
            base: base.map_err(|error| fault(configured, error.to_string()))?,
            tokens: self.tokens(configured, credential)?,
            policy: policy(configured),
            client: self.of.client.clone(),
        })
    }

    /// The token that was pasted, or those of a connected account.
    pub(super) fn tokens(
        &self,
        configured: &config::Destination,
        credential: &Credential,
    ) -> Result<Arc<dyn Tokens>, Error> {
        match credential {
            Credential::Token(token) => {
                let sent = format!("Bearer {}", token.expose_secret().trim());
                header::HeaderValue::try_from(sent)
                    .map_err(|_| fault(configured, "the token has characters that cannot be sent"))?;
                Ok(Arc::new(token.clone()))
            }
            Credential::Connection(name) => {
                let id =
                    name.parse::<ConnectionId>().map_err(|error| fault(configured, error.to_string()))?;
                if self.is_told && !self.accounts.iter().any(|account| account.id == id) {
                    tracing::warn!(
                        destination.id = configured.id.as_str(),
                        connection.id = %id,
                        "this account is not connected yet: deliveries wait for formgate connect"
                    );
                }
                Ok(self.of.connections.tokens(id))
            }
        }
    }

    /// What is read of the definition of each flow that delivers there; all have to be the tool's.
    fn definitions<T>(
        &self,
        configured: &config::Destination,
        tool: Tool,
        read: impl Fn(&[u8]) -> Result<T, ImportError>,
    ) -> Result<BTreeMap<String, T>, Error> {
        let mut definitions = BTreeMap::new();
        for flow in self.delivering(configured) {
            let id = flow.id.as_str().to_owned();
            if flow.tool != tool {
                let reason = format!("flow {id} was not made from a form of {}", tool.as_str());
                return Err(fault(configured, reason));
            }
            // One that was not read from the tool yet has no submissions to deliver.
            let Some(served) = self.served.get(&id) else { continue };
            let read = read(&served.definition)
                .map_err(|source| Error::Definition { flow: id.clone(), source: source.into() })?;
            definitions.insert(id, read);
        }
        Ok(definitions)
    }

    /// Checks the form of each flow that delivers there, as the destination gets it.
    fn each_fits(
        &self,
        configured: &config::Destination,
        fits: impl Fn(&str, &crate::form::Form) -> Result<(), String>,
    ) -> Result<(), Error> {
        for flow in self.delivering(configured) {
            let id = flow.id.as_str();
            let Some(form) = self.form(id) else { continue };
            fits(id, form).map_err(|reason| {
                fault(configured, format!("flow {id} cannot be delivered to it: {reason}"))
            })?;
        }
        Ok(())
    }

    pub(super) fn hubspot_crm(
        &self,
        configured: &config::Destination,
        target: &config::HubspotCrm,
    ) -> Result<Crm, Error> {
        let object = target.object.as_ref().map(|kind| Object {
            kind: kind.clone(),
            id_property: target.object_id.clone().unwrap_or_else(|| crm::OBJECT_ID.to_owned()),
        });
        let crm = Crm {
            id: DestinationId::new(configured.id.as_str())?,
            api: self.api(configured, target.api_url.as_ref(), crm::API, &target.credential)?,
            object,
        };
        self.each_fits(configured, |_, form| crm.fit(form, &configured.mapping))?;
        Ok(crm)
    }

    pub(super) fn surveymonkey(
        &self,
        configured: &config::Destination,
        target: &config::SurveyMonkey,
    ) -> Result<Responses, Error> {
        let surveys = self.definitions(configured, Tool::Surveymonkey, Survey::read)?;
        if target.collector.is_some() && surveys.len() > 1 {
            let reason = "several flows are delivered to one collector, which belongs to one survey: leave “collector” out, or write a destination for each";
            return Err(fault(configured, reason));
        }
        Ok(Responses {
            id: DestinationId::new(configured.id.as_str())?,
            api: self.api(configured, target.api_url.as_ref(), surveymonkey::API, &target.credential)?,
            collector: target.collector.clone(),
            surveys,
            found: Mutex::default(),
        })
    }

    pub(super) fn apps_script(
        &self,
        configured: &config::Destination,
        target: &config::AppsScript,
    ) -> Result<WebApp, Error> {
        let items = self.definitions(configured, Tool::GoogleForms, Items::read)?;
        if items.len() > 1 {
            let reason = "several flows are delivered to it, and a script knows one form: write a destination for each";
            return Err(fault(configured, reason));
        }
        self.each_fits(configured, |flow, form| {
            let form = self.routed(configured, form);
            items.get(flow).map_or(Ok(()), |items| items.fit(&form))
        })?;
        for (flow, question) in items
            .iter()
            .filter(|_| self.is_told)
            .flat_map(|(flow, items)| items.left_out().map(move |q| (flow, q)))
        {
            tracing::warn!(
                flow.id = flow,
                destination.id = configured.id.as_str(),
                question,
                "no script can hand in the files of this question"
            );
        }
        Ok(WebApp {
            id: DestinationId::new(configured.id.as_str())?,
            url: target.url.clone(),
            secret: target.secret.clone(),
            items,
            policy: policy(configured),
            client: self.of.client.clone(),
        })
    }

    /// `None`: the definition says where the public page is, and was not read yet.
    pub(super) fn google_form(
        &self,
        configured: &config::Destination,
        target: &config::GoogleForm,
    ) -> Result<Option<PublicForm>, Error> {
        let pages = self.definitions(configured, Tool::GoogleForms, public_page)?;
        let mut told: Vec<String> = pages.into_values().flatten().collect();
        told.dedup();
        let url = match (&target.url, told.as_slice()) {
            (Some(url), _) => url.clone(),
            (None, [page]) => page.parse().map_err(|_| {
                fault(configured, "the definition's address of the public page is no URL: write “url”")
            })?,
            (None, []) if self.delivering(configured).any(|flow| self.form(flow.id.as_str()).is_none()) => {
                return Ok(None);
            }
            (None, []) => {
                return Err(fault(
                    configured,
                    "the definition does not say where the public page is: write “url”",
                ));
            }
            (None, _) => {
                return Err(fault(
                    configured,
                    "several forms are delivered to it: write a destination for each",
                ));
            }
        };
        Ok(Some(PublicForm {
            id: DestinationId::new(configured.id.as_str())?,
            url,
            policy: policy(configured),
            client: self.of.client.clone(),
        }))
    }

    pub(super) fn sheets(
        &self,
        configured: &config::Destination,
        target: &config::Sheets,
    ) -> Result<Sheet, Error> {
        let forms = self.delivering(configured).filter_map(|flow| {
            let id = flow.id.as_str();
            Some((id.to_owned(), self.form(id)?.clone()))
        });
        Ok(Sheet {
            id: DestinationId::new(configured.id.as_str())?,
            api: self.api(configured, target.api_url.as_ref(), google_sheets::API, &target.credential)?,
            spreadsheet: target.spreadsheet.clone(),
            tab: target.tab.clone(),
            forms: forms.collect(),
            found: Mutex::default(),
        })
    }

    pub(super) fn typeform(
        &self,
        configured: &config::Destination,
        target: &config::TypeformHooks,
    ) -> Result<Hooks, Error> {
        Ok(Hooks {
            id: DestinationId::new(configured.id.as_str())?,
            api: self.api(configured, target.api_url.as_ref(), hooks::API, &target.credential)?,
            secret: target.secret.clone(),
            definitions: self.definitions(configured, Tool::Typeform, Definition::read)?,
            policy: policy(configured),
            memory: Mutex::default(),
        })
    }

    /// It tells the fields of the definition, so every flow that delivers here has to be one of Typeform's.
    pub(super) fn typeform_webhook(
        &self,
        configured: &config::Destination,
        target: &config::TypeformWebhook,
    ) -> Result<FormResponse, Error> {
        Ok(FormResponse {
            id: DestinationId::new(configured.id.as_str())?,
            url: target.url.clone(),
            secret: target.secret.clone(),
            definitions: self.definitions(configured, Tool::Typeform, Definition::read)?,
            policy: policy(configured),
            client: self.of.client.clone(),
        })
    }
}

//! Where the tools take submissions: one peer for each form of the library, for the tokens that were given out.
//!
//! Invariant: a form that is listed can be submitted to, as it is at that moment; one that is not listed cannot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::access::Door;
use super::google_forms::{GoogleForm, page_data};
use super::google_sheets::Spreadsheet;
use super::hubspot::crm::Crm;
use super::hubspot::{self, HubSpot};
use super::library::{Library, TOOLS};
use super::oauth::Authority;
use super::records::Record;
use super::samples::{SHEET, SHEET_HEADER};
use super::surveymonkey::{Account, Sandbox};
use super::typeform::{Received, Webhooks};
use crate::server::{Handler as _, Method, Request, Response, StatusCode, header};

/// The number of the HubSpot account whose forms these are: that of the first person who can agree.
pub const PORTAL: &str = "25505644";
/// What contacts have besides the fields of forms.
const PROPERTIES: [&str; 5] = ["firstname", "lastname", "phone", "company", "city"];
/// The tab of the sheet.
const TAB: &str = "Responses";

type ByForm<T> = Mutex<BTreeMap<String, T>>;

pub(super) struct Peers {
    authority: Authority,
    library: Library,
    hubspot: HubSpot,
    crm: Crm,
    sheet: Spreadsheet,
    /// By form and revision: a page that was changed is another one.
    pages: Mutex<BTreeMap<(String, u32), GoogleForm>>,
    surveys: ByForm<Sandbox>,
    hooks: ByForm<Webhooks>,
    received: Received,
}

fn door(authority: &Authority, tool: &'static str) -> Door {
    let authority = authority.clone();
    Arc::new(move |token| authority.scopes_of(tool, token))
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peers {
    pub(super) fn new(authority: &Authority, library: &Library) -> Peers {
        let names: Vec<String> =
            library.forms("hubspot").iter().flat_map(|(_, form)| contact_fields(form)).collect();
        let properties: Vec<&str> = PROPERTIES.into_iter().chain(names.iter().map(String::as_str)).collect();
        Peers {
            hubspot: HubSpot::of(PORTAL, door(authority, "hubspot"), library.clone()),
            crm: Crm::of(door(authority, "hubspot"), &properties),
            sheet: Spreadsheet::of(SHEET, door(authority, "google-forms"), &[(TAB, &SHEET_HEADER)]),
            pages: Mutex::default(),
            surveys: Mutex::default(),
            hooks: Mutex::default(),
            received: Received::default(),
            authority: authority.clone(),
            library: library.clone(),
        }
    }

    /// Answers a request of one of the peers; gives it back if its path is none of theirs.
    pub(super) async fn answer(&self, request: Request) -> Result<Response, Request> {
        let whole = request.path().to_owned();
        let Some((tool, path)) = TOOLS.into_iter().find_map(|tool| Some((tool, below(&whole, tool)?))) else {
            return Err(request);
        };
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let missing = || Response::empty(StatusCode::NOT_FOUND);
        match (tool, parts.as_slice()) {
            ("hubspot", ["submissions" | "form-integrations" | "files", ..]) => {
                Ok(self.hubspot.handle(moved(request, path)).await)
            }
            ("hubspot", ["crm", ..]) => Ok(self.crm.handle(moved(request, path)).await),
            ("google-forms", ["v4", "spreadsheets", ..]) => Ok(self.sheet.handle(moved(request, path)).await),
            ("google-forms", ["forms", "d", "e", id, _]) => match self.page(id) {
                Some(page) => Ok(page.handle(moved(request, path)).await),
                None => Ok(missing()),
            },
            ("typeform", ["forms", id, "webhooks"]) => match self.webhooks(id, &request) {
                Some(hooks) => Ok(hooks.handle(moved(request, path)).await),
                None => Ok(missing()),
            },
            ("typeform", ["hooks", id]) => match self.library.definition(tool, id) {
                Some((definition, _)) if request.method == Method::POST => {
                    Ok(self.received.take(&definition, &request))
                }
                Some(_) => Ok(Response::method_not_allowed("POST")),
                None => Ok(missing()),
            },
            ("surveymonkey", ["v3", "surveys", id, "collectors", ..]) => match self.survey(id) {
                Some(survey) => Ok(survey.handle(moved(request, path)).await),
                None => Ok(missing()),
            },
            ("surveymonkey", ["v3", "collectors", id, ..]) => match self.survey_of(id) {
                Some(survey) => Ok(survey.handle(moved(request, path)).await),
                None => Ok(missing()),
            },
            _ => Err(request),
        }
    }

    /// Everything that is stored, tool by tool, oldest first.
    pub(super) fn records(&self) -> Vec<Record> {
        let record = |tool, kind, of: &str, content| Record { tool, kind, of: of.to_owned(), content };
        let mut all = Vec::new();
        for hubspot::Record { form, submitted_at, values, page_url, page_name, consent } in
            self.hubspot.records()
        {
            let fields: Vec<Value> = values
                .iter()
                .map(|(object, name, value)| json!({"objectTypeId": object, "name": name, "value": value}))
                .collect();
            let content = json!({
                "fields": fields, "submittedAt": submitted_at, "pageUrl": page_url, "pageName": page_name,
                "legalConsentOptions": consent,
            });
            all.push(record("hubspot", "submission", &form, content));
        }
        for file in self.hubspot.files() {
            let content = json!({
                "name": file.name, "extension": file.extension, "folder": file.folder, "access": file.access,
                "size": file.size_bytes, "sha256": file.sha256, "url": file.url, "uploads": file.uploads,
            });
            all.push(record("hubspot", "file", &file.folder, content));
        }
        let contacts = self.crm.records("contacts");
        all.extend(contacts.iter().map(|contact| record("hubspot", "contact", "contacts", json!(contact))));
        for ((id, _), page) in locked(&self.pages).iter() {
            for response in page.stored() {
                let answers: Vec<Value> =
                    response.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
                all.push(record("google-forms", "response", id, json!(answers)));
            }
        }
        all.extend(self.sheet.rows(TAB).iter().map(|row| record("google-forms", "row", SHEET, json!(row))));
        for response in self.received.all() {
            let id = response["form_id"].as_str().unwrap_or_default().to_owned();
            all.push(record("typeform", "webhook", &id, response));
        }
        for (id, survey) in locked(&self.surveys).iter() {
            all.extend(
                survey
                    .responses()
                    .into_iter()
                    .map(|response| record("surveymonkey", "response", id, response)),
            );
        }
        all
    }

    fn page(&self, id: &str) -> Option<GoogleForm> {
        let (definition, revision) = self.library.definition("google-forms", id)?;
        let mut pages = locked(&self.pages);
        let made = || GoogleForm::new(page_data(&definition));
        Some(pages.entry((id.to_owned(), revision)).or_insert_with(made).clone())
    }

    /// Each form has one webhook, which leads to an endpoint beside the API.
    fn webhooks(&self, id: &str, request: &Request) -> Option<Webhooks> {
        self.library.definition("typeform", id)?;
        let host = request.header(header::HOST).unwrap_or_default();
        let made = || {
            let hooks = Webhooks::of(id, door(&self.authority, "typeform"));
            hooks.add("sandbox", &format!("http://{host}/typeform/hooks/{id}"), true);
            hooks
        };
        Some(locked(&self.hooks).entry(id.to_owned()).or_insert_with(made).clone())
    }

    fn survey(&self, id: &str) -> Option<Sandbox> {
        let (definition, _) = self.library.definition("surveymonkey", id)?;
        let mut surveys = locked(&self.surveys);
        let made = || {
            let account = Account::new("", &format!("{id}1"), definition.clone());
            Sandbox::of(door(&self.authority, "surveymonkey"), account)
        };
        let survey = surveys.entry(id.to_owned()).or_insert_with(made).clone();
        survey.change(|account| account.survey = definition);
        Some(survey)
    }

    /// The survey that a collector belongs to.
    fn survey_of(&self, collector: &str) -> Option<Sandbox> {
        let surveys = self.library.forms("surveymonkey").into_iter();
        surveys.filter_map(|(id, _)| self.survey(&id)).find(|survey| survey.has(collector))
    }
}

/// The path below a tool's name.
fn below<'p>(path: &'p str, tool: &str) -> Option<&'p str> {
    path.strip_prefix('/')?.strip_prefix(tool).filter(|rest| rest.starts_with('/'))
}

/// The same request at this path.
fn moved(mut request: Request, path: &str) -> Request {
    let query = request.query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(uri) = format!("{path}{query}").parse() {
        request.uri = uri;
    }
    request
}

/// The names of a form's fields that are properties of a contact.
fn contact_fields(form: &Value) -> Vec<String> {
    fn gather(field: &Value, names: &mut Vec<String>) {
        if field["objectTypeId"] == "0-1" {
            names.extend(field["name"].as_str().map(str::to_owned));
        }
        for dependent in field["dependentFields"].as_array().into_iter().flatten() {
            gather(&dependent["dependentField"], names);
        }
    }
    let groups = form["fieldGroups"].as_array().into_iter().flatten();
    let fields = groups.flat_map(|group| group["fields"].as_array().into_iter().flatten());
    let mut names = Vec::new();
    fields.for_each(|field| gather(field, &mut names));
    names
}

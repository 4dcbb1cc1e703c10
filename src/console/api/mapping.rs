//! Mappings: which submissions go to a destination, and by which names it gets their answers.
//!
//! What the configuration says is for its file alone; here it is only read. What is set here is kept in the store, and was
//! tried against the forms that are delivered there.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::destinations::{Changed, destination};
use super::{Answer, Call, Problem, moment, ok};
use crate::form::mapping::Step;
use crate::outbox::{Grade, Route};
use crate::server::StatusCode;

/// Characters of a name.
const MAX_NAME: usize = 200;

/// What a destination is.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// Its kind.
    pub kind: &'static str,
    /// How much it makes of a submission.
    pub grade: Grade,
    /// What the configuration says; `None`: nothing.
    pub configured: Option<Route>,
}

/// What came of trying a route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried {
    /// The flows against whose forms it was tried.
    pub flows: Vec<String>,
    /// Nothing, if it fits.
    pub faults: Vec<Fault>,
}

/// Why a mapping does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// Where: `when`, `mapping`, `mapping.NAME`, or `destination` if that cannot take what would come.
    pub at: String,
    /// The key of the question it is about.
    pub question: Option<String>,
    /// The text people know that question by.
    pub title: Option<String>,
    /// What is wrong, and what to do.
    pub text: String,
}

/// The future of [`Mappings::look`].
pub type Looking<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Those who deliver, as far as mappings are concerned.
pub trait Mappings: Send + Sync {
    /// What a destination is; `None` if there is none of this id.
    fn described(&self, destination: &str) -> Option<Described>;
    /// Tries a route against the forms that are delivered there. Nothing is changed, and nobody is called.
    fn tried(&self, destination: &str, route: &Route) -> Tried;
    /// Takes over on this node what was set; the others look by themselves.
    fn look(&self) -> Looking<'_>;
}

/// A condition and a mapping.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMapping {
    /// Only submissions of which this holds go there: a condition of the form format, such as
    /// `{"if": {"answer": "topic"}, "op": "is", "value": "order"}`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    when: Option<Value>,
    /// What becomes of answers. By a question's key: its new name, or `{"drop": true}`. By the name of a value that is made:
    /// `{"constant": …}`, `{"template": "{{answer:KEY}} …"}` or `{"join": ["KEY"], "with": ", "}`.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Object>, example = json!({"full_name": {"template": "Dear {{hidden:source}}"}}))]
    mapping: BTreeMap<String, Value>,
}

/// How answers reach a destination.
#[derive(Serialize, ToSchema)]
pub(super) struct MappingView {
    /// The destination's kind.
    kind: &'static str,
    /// `A`, an official submission, to `D`, a webhook.
    grade: String,
    /// What the grade means.
    meaning: &'static str,
    /// Who says it: `configuration`, `store` (it was set here), or `none`: everything passes unchanged.
    source: &'static str,
    /// Whether only the configuration's file can change it.
    read_only: bool,
    #[schema(value_type = Option<Object>)]
    when: Option<Value>,
    #[schema(value_type = std::collections::HashMap<String, serde_json::Value>)]
    mapping: BTreeMap<String, Value>,
    /// When it was set; null if it was not set here.
    set_at: Option<String>,
    /// By whom.
    set_by: Option<String>,
    /// Why it does not fit the forms that are delivered there now. What was set and does not fit is not used.
    faults: Vec<Fault>,
}

/// What came of trying a mapping.
#[derive(Serialize, ToSchema)]
pub(super) struct Checked {
    /// Whether it could be set.
    fits: bool,
    /// The flows against whose forms it was tried: those that deliver there, and whose form is known.
    flows: Vec<String>,
    faults: Vec<Fault>,
}

impl NewMapping {
    /// The route; every fault of its writing.
    fn read(self) -> Result<Route, Problem> {
        let fault = |at: &str, text: &str| Fault {
            at: at.to_owned(),
            question: None,
            title: None,
            text: format!("{at} {text}"),
        };
        let mut faults = Vec::new();
        let when = match self.when.map(serde_json::from_value) {
            None => None,
            Some(Ok(when)) => Some(when),
            Some(Err(_)) => {
                faults.push(fault(
                    "when",
                    "is not a condition: write for example {\"if\": {\"answer\": \"topic\"}, \"op\": \"is\", \"value\": \"order\"}",
                ));
                None
            }
        };
        let mut mapping = BTreeMap::new();
        for (name, step) in self.mapping {
            let at = format!("mapping.{name}");
            if !(1..=MAX_NAME).contains(&name.chars().count()) {
                faults.push(fault(
                    "mapping",
                    &format!("has a name that is not 1 to {MAX_NAME} characters long"),
                ));
                continue;
            }
            match Step::try_from(step) {
                Ok(step) => drop(mapping.insert(name, step)),
                Err(no_step) => faults.push(fault(&at, &no_step.to_string())),
            }
        }
        match Problem::of_faults(StatusCode::BAD_REQUEST, faults) {
            None => Ok(Route { when, mapping }),
            Some(problem) => Err(problem),
        }
    }
}

impl Problem {
    /// All that is wrong with a mapping; `None` if nothing is.
    fn of_faults(status: StatusCode, faults: Vec<Fault>) -> Option<Self> {
        let texts: Vec<&str> = faults.iter().map(|fault| fault.text.as_str()).collect();
        let detail = texts.join("; ");
        (!faults.is_empty()).then(|| Self { faults, ..Self::new(status, detail) })
    }
}

fn described(call: &Call<'_>) -> Result<Described, Problem> {
    call.of.mappings.described(destination(call)?.as_str()).ok_or_else(Problem::missing)
}

/// What the configuration says is changed there.
fn changeable(call: &Call<'_>) -> Result<(), Problem> {
    match described(call)?.configured {
        None => Ok(()),
        Some(_) => {
            let detail = "the configuration file has a condition or a mapping for this destination, and that counts: change it there and restart, or take it out there to set it here";
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
    }
}

fn json(value: impl Serialize) -> Result<Value, Problem> {
    let unwritable =
        |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the mapping cannot be written as JSON");
    serde_json::to_value(value).map_err(unwritable)
}

async fn view(call: &Call<'_>) -> Answer {
    let (id, described) = (destination(call)?, described(call)?);
    let set = match described.configured {
        Some(_) => None,
        None => call.of.outbox.routes().await?.remove(id.as_str()),
    };
    let (at, by) = set.as_ref().map(|set| (moment(set.at_ms), set.by.clone())).unzip();
    let source = match (&described.configured, &set) {
        (Some(_), _) => "configuration",
        (None, Some(_)) => "store",
        (None, None) => "none",
    };
    let read_only = described.configured.is_some();
    let route = described.configured.or(set.map(|set| set.route)).unwrap_or_default();
    let faults =
        if route.is_plain() { Vec::new() } else { call.of.mappings.tried(id.as_str(), &route).faults };
    let mapping = route.mapping.into_iter().map(|(name, step)| (name, step.into()));
    ok(&MappingView {
        kind: described.kind,
        grade: described.grade.to_string(),
        meaning: described.grade.meaning(),
        source,
        read_only,
        when: route.when.map(json).transpose()?,
        mapping: mapping.collect(),
        set_at: at,
        set_by: by,
        faults,
    })
}

/// The mapping that counts: the configuration's, or the one that was set here.
#[utoipa::path(get, path = "/api/v1/destinations/{destination}/mapping", operation_id = "getMapping", tag = "destinations",
    params(("destination" = String, Path)), responses((status = 200, body = MappingView), (status = 404, body = Problem)))]
pub(super) async fn show(call: Call<'_>) -> Answer {
    view(&call).await
}

/// Sets condition and mapping, in the place of what was set before. Every node goes by it within ten seconds, without a
/// restart, also for what is replayed.
#[utoipa::path(put, path = "/api/v1/destinations/{destination}/mapping", operation_id = "setMapping", tag = "destinations",
    params(("destination" = String, Path)), request_body = NewMapping,
    responses((status = 200, body = MappingView), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem, description = "The configuration has one"),
        (status = 422, body = Problem, description = "It does not fit the forms that are delivered there")))]
pub(super) async fn set(call: Call<'_>) -> Answer {
    changeable(&call)?;
    let (id, route) = (destination(&call)?, call.json::<NewMapping>()?.read()?);
    let tried = call.of.mappings.tried(id.as_str(), &route);
    if let Some(problem) = Problem::of_faults(StatusCode::UNPROCESSABLE_ENTITY, tried.faults) {
        return Err(problem);
    }
    call.of.outbox.set_route(&id, &route, &call.principal.actor()).await?;
    call.of.mappings.look().await;
    view(&call).await
}

/// Takes back what was set: everything passes unchanged then.
#[utoipa::path(delete, path = "/api/v1/destinations/{destination}/mapping", operation_id = "unsetMapping", tag = "destinations",
    params(("destination" = String, Path)), responses((status = 200, body = Changed), (status = 404, body = Problem),
        (status = 409, body = Problem, description = "The configuration has one"),
        (status = 422, body = Problem, description = "The destination could not take submissions without it")))]
pub(super) async fn unset(call: Call<'_>) -> Answer {
    changeable(&call)?;
    let id = destination(&call)?;
    let tried = call.of.mappings.tried(id.as_str(), &Route::default());
    if let Some(problem) = Problem::of_faults(StatusCode::UNPROCESSABLE_ENTITY, tried.faults) {
        return Err(problem);
    }
    let changed = call.of.outbox.unset_route(&id, &call.principal.actor()).await?;
    call.of.mappings.look().await;
    ok(&Changed { changed })
}

/// Tries condition and mapping against the forms that are delivered there. Nothing is changed.
#[utoipa::path(post, path = "/api/v1/destinations/{destination}/mapping/check", operation_id = "checkMapping", tag = "destinations",
    params(("destination" = String, Path)), request_body = NewMapping,
    responses((status = 200, body = Checked), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn check(call: Call<'_>) -> Answer {
    let (id, route) = (destination(&call)?, call.json::<NewMapping>()?.read()?);
    let Tried { flows, faults } = call.of.mappings.tried(id.as_str(), &route);
    ok(&Checked { fits: faults.is_empty(), flows, faults })
}

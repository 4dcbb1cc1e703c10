//! `GET /marketing/v3/forms` and `…/{id}` (form-tools, 1.2).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Asked, Kept, changed_at, status};
use crate::server::{Response, StatusCode};

pub(super) fn refusal(number: u16, message: &str) -> Response {
    let category = match number {
        401 => "INVALID_AUTHENTICATION",
        403 => "MISSING_SCOPES",
        404 => "OBJECT_NOT_FOUND",
        429 => "RATE_LIMITS",
        _ => "VALIDATION_ERROR",
    };
    let body = json!({"status": "error", "message": message, "category": category,
        "correlationId": "2c6a5b7e-0000-4000-8000-9d1f3a7b5c11"});
    Response::json(status(number), &body)
}

pub(super) fn answer(forms: &BTreeMap<String, Kept>, asked: &Asked<'_>) -> Response {
    if !asked.scopes.contains("forms") {
        return refusal(403, "This app hasn't been granted all required scopes to make this call: forms");
    }
    match asked.path.as_slice() {
        ["marketing", "v3", "forms"] => list(forms, asked).unwrap_or_else(|reason| refusal(400, &reason)),
        ["marketing", "v3", "forms", id] => match forms.get(*id) {
            Some(kept) => Response::json(StatusCode::OK, &told(kept)),
            None => refusal(404, "the form does not exist"),
        },
        _ => refusal(404, "no such resource"),
    }
}

fn list(forms: &BTreeMap<String, Kept>, asked: &Asked<'_>) -> Result<Response, String> {
    if let Some(name) = asked.unknown(&["limit", "after", "archived", "formTypes"]) {
        return Err(format!("{name} is no parameter of this call"));
    }
    let limit = asked.number("limit", 20, 500)?;
    let after = match asked.given("after").map(str::parse::<usize>) {
        None => 0,
        Some(Ok(after)) if after <= forms.len() => after,
        Some(_) => return Err("after is not one of ours".to_owned()),
    };
    let results: Vec<Value> = forms.values().skip(after).take(limit).map(told).collect();
    let mut body = json!({"results": results});
    if forms.len() > after + limit {
        body["paging"] = json!({"next": {"after": (after + limit).to_string(), "link": "?after="}});
    }
    Ok(Response::json(StatusCode::OK, &body))
}

fn told(kept: &Kept) -> Value {
    let mut definition = kept.definition.clone();
    definition["updatedAt"] = json!(changed_at(kept));
    definition
}

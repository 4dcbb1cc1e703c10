//! `GET /forms`, a form, and its translations (form-tools, 3.2).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Asked, Kept, changed_at, page, status};
use crate::server::{Response, StatusCode};

pub(super) fn refusal(number: u16, message: &str) -> Response {
    let code = match number {
        401 => "AUTHENTICATION_FAILED",
        403 => "FORBIDDEN",
        404 => "FORM_NOT_FOUND",
        429 => "TOO_MANY_REQUESTS",
        _ => "VALIDATION_ERROR",
    };
    Response::json(status(number), &json!({"code": code, "description": message}))
}

pub(super) fn answer(forms: &BTreeMap<String, Kept>, asked: &Asked<'_>) -> Response {
    if !asked.scopes.contains("forms:read") {
        return refusal(403, "the token has not the scope forms:read");
    }
    match asked.path.as_slice() {
        ["forms"] => list(forms, asked).unwrap_or_else(|reason| refusal(400, &reason)),
        ["forms", id] => match forms.get(*id) {
            Some(kept) => {
                let mut definition = kept.definition.clone();
                definition["last_updated_at"] = json!(changed_at(kept));
                Response::json(StatusCode::OK, &definition)
            }
            None => refusal(404, "Non existing form"),
        },
        ["forms", id, "translation", language] => {
            match forms.get(*id).and_then(|kept| kept.translations.get(*language)) {
                Some(translation) => Response::json(StatusCode::OK, translation),
                None => refusal(404, "Non existing translation"),
            }
        }
        _ => refusal(404, "no such resource"),
    }
}

fn list(forms: &BTreeMap<String, Kept>, asked: &Asked<'_>) -> Result<Response, String> {
    if let Some(name) = asked.unknown(&["page", "page_size", "search", "workspace_id", "sort_by", "order_by"])
    {
        return Err(format!("{name} is no parameter of this call"));
    }
    let (number, size) = (asked.number("page", 1, usize::MAX)?, asked.number("page_size", 10, 200)?);
    let wanted = asked.given("search").unwrap_or_default().to_lowercase();
    let found: Vec<Value> = forms
        .iter()
        .filter(|(_, kept)| kept.text("title").to_lowercase().contains(&wanted))
        .map(|(id, kept)| json!({"id": id, "type": "form", "title": kept.text("title"), "last_updated_at": changed_at(kept)}))
        .collect();
    let total = found.len();
    let body = json!({
        "total_items": total, "page_count": total.div_ceil(size), "items": page(found, number, size),
    });
    Ok(Response::json(StatusCode::OK, &body))
}

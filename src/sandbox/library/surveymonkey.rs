//! `GET /v3/surveys`, `…/details` and `…/languages` (form-tools, 4.2).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Asked, Kept, changed_at, page, status};
use crate::server::{Response, StatusCode};

pub(super) fn refusal(number: u16, message: &str) -> Response {
    let id = match number {
        401 => "1011",
        403 => "1014",
        404 => "1020",
        429 => "1040",
        500.. => "1050",
        _ => "1003",
    };
    let body = json!({"error": {"id": id, "name": "Refused", "message": message, "http_status_code": number,
        "docs": "https://developer.surveymonkey.com/api/v3/#error-codes"}});
    Response::json(status(number), &body)
}

pub(super) fn answer(forms: &BTreeMap<String, Kept>, asked: &Asked<'_>) -> Response {
    if !asked.scopes.contains("surveys_read") {
        return refusal(403, "Your app does not have permission: surveys_read");
    }
    let missing = || refusal(404, "There was an error retrieving the requested resource");
    match asked.path.as_slice() {
        ["v3", "surveys"] => list(forms, asked).unwrap_or_else(|reason| refusal(400, &reason)),
        ["v3", "surveys", id, rest @ ..] => {
            let Some(kept) = forms.get(*id) else { return missing() };
            match rest {
                ["details"] => {
                    let mut definition = kept.definition.clone();
                    definition["date_modified"] = json!(changed_at(kept));
                    Response::json(StatusCode::OK, &definition)
                }
                ["languages"] => {
                    let own = kept.text("language");
                    let language = |code: &str| json!({"id": code, "native_name": code, "enabled": true});
                    let others = kept.translations.keys().map(|code| language(code));
                    let data: Vec<Value> = std::iter::once(language(own)).chain(others).collect();
                    Response::json(StatusCode::OK, &json!({"data": data}))
                }
                ["languages", code] => match kept.translations.get(*code) {
                    Some(translation) => Response::json(StatusCode::OK, translation),
                    None => missing(),
                },
                _ => missing(),
            }
        }
        _ => missing(),
    }
}

fn list(forms: &BTreeMap<String, Kept>, asked: &Asked<'_>) -> Result<Response, String> {
    let known =
        ["page", "per_page", "include", "sort_by", "sort_order", "title", "folder_id", "start_modified_at"];
    if let Some(name) = asked.unknown(&known) {
        return Err(format!("{name} is no parameter of this call"));
    }
    let (number, size) = (asked.number("page", 1, usize::MAX)?, asked.number("per_page", 50, 1000)?);
    let wanted = asked.given("title").unwrap_or_default().to_lowercase();
    let dated =
        asked.given("include").is_some_and(|include| include.split(',').any(|name| name == "date_modified"));
    let found: Vec<Value> = forms
        .iter()
        .filter(|(_, kept)| kept.text("title").to_lowercase().contains(&wanted))
        .map(|(id, kept)| {
            let mut survey = json!({"id": id, "title": kept.text("title"), "nickname": ""});
            if dated {
                survey["date_modified"] = json!(changed_at(kept));
            }
            survey
        })
        .collect();
    let total = found.len();
    let mut links = json!({"self": format!("?page={number}")});
    if total > number.saturating_mul(size) {
        links["next"] = json!(format!("?page={}", number + 1));
    }
    let body = json!({
        "data": page(found, number, size), "per_page": size, "page": number, "total": total, "links": links,
    });
    Ok(Response::json(StatusCode::OK, &body))
}

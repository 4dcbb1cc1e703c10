//! `forms.get`, and Drive's `files.list` for forms (form-tools, 2.2).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Asked, Kept, changed_at, page, status};
use crate::server::{Response, StatusCode};

const READ: [&str; 3] = ["forms.body.readonly", "forms.body", "drive.file"];
const LIST: [&str; 3] = ["drive.metadata.readonly", "drive.readonly", "drive.file"];

pub(super) fn refusal(number: u16, message: &str) -> Response {
    let word = match number {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ => "INVALID_ARGUMENT",
    };
    Response::json(status(number), &json!({"error": {"code": number, "message": message, "status": word}}))
}

pub(super) fn answer(forms: &BTreeMap<String, Kept>, asked: &Asked<'_>) -> Response {
    let may = |scopes: &[&str]| {
        let name = |scope: &str| format!("https://www.googleapis.com/auth/{scope}");
        scopes.iter().any(|scope| asked.scopes.contains(*scope) || asked.scopes.contains(&name(scope)))
    };
    match asked.path.as_slice() {
        ["v1", "forms", _] if !may(&READ) => refusal(403, "Request had insufficient authentication scopes."),
        ["v1", "forms", id] => match forms.get(*id) {
            Some(kept) => {
                let mut definition = kept.definition.clone();
                definition["revisionId"] = json!(format!("{:08x}", kept.revision));
                Response::json(StatusCode::OK, &definition)
            }
            None => refusal(404, "Requested entity was not found."),
        },
        ["drive", "v3", "files"] if !may(&LIST) => {
            refusal(403, "Request had insufficient authentication scopes.")
        }
        ["drive", "v3", "files"] => list(forms, asked).unwrap_or_else(|reason| refusal(400, &reason)),
        _ => refusal(404, "no such resource"),
    }
}

fn list(forms: &BTreeMap<String, Kept>, asked: &Asked<'_>) -> Result<Response, String> {
    let known =
        ["q", "fields", "orderBy", "pageSize", "pageToken", "supportsAllDrives", "includeItemsFromAllDrives"];
    if let Some(name) = asked.unknown(&known) {
        return Err(format!("Invalid parameter {name}"));
    }
    let query = asked.given("q").unwrap_or_default();
    let mut terms = query.split(" and ");
    if terms.next() != Some("mimeType='application/vnd.google-apps.form'")
        || terms.next() != Some("trashed=false")
    {
        return Err("Invalid Value: q".to_owned());
    }
    let wanted = match terms.next() {
        None => String::new(),
        Some(term) => {
            let quoted = term.strip_prefix("name contains '").and_then(|rest| rest.strip_suffix('\''));
            quoted.ok_or("Invalid Value: q")?.replace("\\'", "'").replace("\\\\", "\\").to_lowercase()
        }
    };
    let size = asked.number("pageSize", 100, 1000)?;
    let number = match asked.given("pageToken") {
        None => 1,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|n| n.parse().ok())
            .filter(|n| *n > 0)
            .ok_or("Invalid Value: pageToken")?,
    };
    let name = |kept: &Kept| {
        let info = kept.definition.get("info");
        let text =
            |member: &str| info.and_then(|info| info.get(member)).and_then(Value::as_str).map(str::to_owned);
        text("documentTitle").or_else(|| text("title")).unwrap_or_default()
    };
    let mut found: Vec<Value> = forms
        .iter()
        .filter(|(_, kept)| name(kept).to_lowercase().contains(&wanted))
        .map(|(id, kept)| json!({"id": id, "name": name(kept), "modifiedTime": changed_at(kept)}))
        .collect();
    found.sort_by_key(|file| std::cmp::Reverse(file["modifiedTime"].as_str().map(str::to_owned)));
    let more = found.len() > number * size;
    let mut body = json!({"files": page(found, number, size)});
    if more {
        body["nextPageToken"] = json!(format!("page-{}", number + 1));
    }
    Ok(Response::json(StatusCode::OK, &body))
}

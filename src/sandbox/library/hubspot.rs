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
    let body = json!({"message": message, "category": category,
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
    complete(&mut definition);
    definition
}

/// Adds what HubSpot always tells, also where nobody has chosen anything.
fn complete(form: &mut Value) {
    add(
        form,
        json!({"formType": "hubspot", "archived": false, "createdAt": "2026-01-01T00:00:00Z", "fieldGroups": [],
        "configuration": {}, "displayOptions": {}, "legalConsentOptions": {"type": "none"}}),
    );
    add(
        &mut form["configuration"],
        json!({"language": "en", "cloneable": true, "editable": true, "archivable": true,
        "recaptchaEnabled": false, "createNewContactForNewEmail": false, "allowLinkToResetKnownValues": false,
        "prePopulateKnownValues": false, "notifyContactOwner": false, "notifyRecipients": [], "lifecycleStages": [],
        "postSubmitAction": {"type": "thank_you", "value": ""}}),
    );
    add(
        &mut form["displayOptions"],
        json!({"renderRawHtml": false, "theme": "default_style", "submitButtonText": "Submit",
        "style": {"fontFamily": "arial", "backgroundWidth": "100%", "labelTextColor": "#000", "labelTextSize": "13px",
            "helpTextColor": "#000", "helpTextSize": "11px", "legalConsentTextColor": "#000", "legalConsentTextSize": "11px",
            "submitColor": "#f60", "submitAlignment": "left", "submitFontColor": "#fff", "submitSize": "12px"}}),
    );
    for group in objects(form, "fieldGroups") {
        add(group, json!({"groupType": "default_group", "richTextType": "text", "fields": []}));
        objects(group, "fields").for_each(complete_field);
    }
}

fn complete_field(field: &mut Value) {
    add(field, json!({"objectTypeId": "0-1", "required": false, "hidden": false, "dependentFields": []}));
    let kind = field["fieldType"].as_str().unwrap_or_default().to_owned();
    match kind.as_str() {
        "email" => {
            add(field, json!({"validation": {}}));
            add(&mut field["validation"], json!({"blockedEmailDomains": [], "useDefaultBlockList": false}));
        }
        "phone" | "mobile_phone" | "number" => {
            let most = if kind == "number" { 200 } else { 20 };
            add(field, json!({"validation": {}}));
            add(&mut field["validation"], json!({"minAllowedDigits": 0, "maxAllowedDigits": most}));
            if kind == "phone" {
                add(field, json!({"useCountryCodeSelect": true}));
            }
        }
        "multiple_checkboxes" | "dropdown" | "radio" => {
            add(field, json!({"options": [], "defaultValues": []}))
        }
        "file" => add(field, json!({"allowMultipleFiles": false})),
        _ => {}
    }
    for (place, option) in objects(field, "options").enumerate() {
        add(option, json!({"displayOrder": place}));
    }
    for dependent in objects(field, "dependentFields") {
        add(dependent, json!({"dependentCondition": {}, "dependentField": {}}));
        add(
            &mut dependent["dependentCondition"],
            json!({"value": "", "values": [], "rangeStart": "", "rangeEnd": ""}),
        );
        if dependent["dependentField"].is_object() {
            complete_field(&mut dependent["dependentField"]);
        }
    }
}

/// The items of a member that have members themselves.
fn objects<'v>(of: &'v mut Value, member: &str) -> impl Iterator<Item = &'v mut Value> + use<'v> {
    let items = of.get_mut(member).and_then(Value::as_array_mut);
    items.into_iter().flatten().filter(|item| item.is_object())
}

/// Adds the members that are not there.
fn add(to: &mut Value, members: Value) {
    if let (Value::Object(to), Value::Object(members)) = (to, members) {
        for (name, member) in members {
            to.entry(name).or_insert(member);
        }
    }
}

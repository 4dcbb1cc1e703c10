//! What HubSpot's answers mean for a delivery. HubSpot's own messages quote answers, so a reason never holds them.

use serde_json::Value;

use super::plan::Plan;
use crate::client::StatusCode;
use crate::client::header::HeaderMap;
use crate::connector::json::{list, text};
use crate::outbox::{Outcome, retry_after};

/// The window of HubSpot's rate limit.
const WINDOW_MS: i64 = 10_000;
/// A day's budget is used up until midnight of the account's time zone, which is not known here.
const DAY_USED_UP_MS: i64 = 6 * 3_600_000;
/// Reasons told of one refusal.
const MAX_TOLD: usize = 5;

/// The outcome of a submission that was answered.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8], plan: &Plan) -> Outcome {
    let code = Some(status.as_u16());
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    match status.as_u16() {
        200..=299 => Outcome::delivered(code),
        400 => refused(code, &body, plan),
        403 => Outcome::reconnect(
            "scope",
            code,
            "reconnect HubSpot: the token may not submit to forms; give it the scope \"forms\"",
        ),
        404 => Outcome::refused(
            "unknown_form",
            code,
            "HubSpot knows no such form: compare portal_id and form of the destination, or restore the form",
        ),
        _ => usual(status, headers, &body),
    }
}

/// What an answer means that says nothing of the content, of whichever of HubSpot's APIs.
pub(in crate::connector::hubspot) fn usual(status: StatusCode, headers: &HeaderMap, body: &Value) -> Outcome {
    let code = Some(status.as_u16());
    let asked = retry_after(headers);
    match status.as_u16() {
        401 => Outcome::reconnect(
            "token",
            code,
            "reconnect HubSpot: it does not accept the token, which is wrong, expired or revoked",
        ),
        429 if text(body, "policyName") == Some("DAILY") => {
            Outcome::retry("rate", code, Some(asked.unwrap_or(0).max(DAY_USED_UP_MS)))
        }
        429 => Outcome::retry("rate", code, Some(asked.unwrap_or(WINDOW_MS))),
        // The account is being moved to another of HubSpot's data centres.
        477 => Outcome::retry("moving", code, asked),
        402..=499 => Outcome::refused("status", code, format!("HubSpot refused it with status {status}")),
        _ => Outcome::retry("status", code, asked),
    }
}

fn refused(code: Option<u16>, body: &Value, plan: &Plan) -> Outcome {
    let errors = list(body, "errors");
    let kinds: Vec<&str> = errors.iter().filter_map(|error| text(error, "errorType")).collect();
    let told: Vec<String> = errors.iter().take(MAX_TOLD).map(|error| told(error, plan)).collect();
    let mut reason = if told.is_empty() {
        "HubSpot refused the submission without saying why".to_owned()
    } else {
        format!("HubSpot refused {}", told.join("; "))
    };
    // HubSpot's support finds the call by it.
    let id = text(body, "correlationId").filter(|id| id.len() <= 64 && id.bytes().all(is_of_id));
    if let Some(id) = id {
        reason.push_str(&format!(" (HubSpot's correlation id: {id})"));
    }
    let class = match kinds.first() {
        Some(&"FORM_HAS_RECAPTCHA_ENABLED") => "captcha",
        Some(kind) if kind.contains("CONSENT") || kind.contains("LEGAL") || kind.contains("LEGITIMATE") => {
            "consent"
        }
        _ => "mapping",
    };
    Outcome::refused(class, code, reason)
}

fn is_of_id(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn told(error: &Value, plan: &Plan) -> String {
    let kind = text(error, "errorType").unwrap_or_default();
    let why = match kind {
        "MAX_NUMBER_OF_SUBMITTED_VALUES_EXCEEDED" => "there are too many values",
        "INVALID_EMAIL" => "it is not an e-mail address that HubSpot takes",
        "BLOCKED_EMAIL" => "the address is on the form's block list",
        "REQUIRED_FIELD" => "HubSpot requires it, and it was not answered: the form may have been changed",
        "INVALID_NUMBER" => "it is not a number that HubSpot takes",
        "INPUT_TOO_LARGE" => "it is too long",
        "FIELD_NOT_IN_FORM_DEFINITION" => "it is no longer on the form in HubSpot",
        "NUMBER_OUT_OF_RANGE" => "the number is out of the range that HubSpot allows",
        "VALUE_NOT_IN_FIELD_DEFINITION" => "the value is no longer one of the property's",
        "INVALID_METADATA" => "the submission's own data were not taken",
        "INVALID_PAGE_URI" => "the address of the page was not taken",
        "INVALID_LEGAL_OPTION_FORMAT" => {
            "the consent has not the form that HubSpot wants: the form may have been changed"
        }
        "MISSING_PROCESSING_CONSENT" => "the consent to process is missing",
        "MISSING_PROCESSING_CONSENT_TEXT" => "the text of the consent to process is missing",
        "MISSING_COMMUNICATION_CONSENT_TEXT" => "the text of a consent to communication is missing",
        "MISSING_LEGITIMATE_INTEREST_TEXT" => "the text of the legitimate interest is missing",
        "DUPLICATE_SUBSCRIPTION_TYPE_ID" => "a subscription is named twice",
        "FORM_HAS_RECAPTCHA_ENABLED" => "the form's CAPTCHA is on: switch it off in HubSpot, then replay",
        _ => "for a reason that is not known here",
    };
    // Only a word of HubSpot's own is repeated.
    let is_word =
        !kind.is_empty() && kind.len() <= 64 && kind.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    let kind = if is_word { kind } else { "an error" };
    let message = text(error, "message").unwrap_or_default();
    match named(message).find_map(|name| Some((name, plan.title(name)?))) {
        Some((name, title)) => format!("“{title}” ({name}): {why} [{kind}]"),
        None => format!("it: {why} [{kind}]"),
    }
}

/// The words of a message that may be a property's name: behind `fields.`, or in quotes.
fn named(message: &str) -> impl Iterator<Item = &str> {
    let dotted = message.split("fields.").skip(1).map(|rest| {
        let end =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-')).unwrap_or(rest.len());
        &rest[..end]
    });
    dotted.chain(message.split(['\'', '"', '`']).skip(1).step_by(2))
}

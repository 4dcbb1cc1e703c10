//! A completed form as the outbox stores it.

use serde_json::{Value as Json, json};

use super::token::Token;
use super::{Flow, Parts, repeat};
use crate::flow::handler::{Completed, Handler};
use crate::flow::words::Words;
use crate::form::{Kind, Question, Value};
use crate::outbox::{Answer, Form, Submission, SubmissionId};

/// The submission of a completed walk; `opened_at_ms` is when it began, if that is known.
pub(super) fn build(
    parts: &Parts,
    flow: &Flow,
    handler: &Handler,
    completed: &Completed,
    flow_token: &str,
    token: Option<&Token>,
    opened_at_ms: Option<i64>,
) -> Submission {
    let completed_at_ms = parts.clock.now_ms();
    let form = handler.form();
    let words = Words::of(&form.locale);
    let campaign = token.and_then(|token| token.campaign.clone());
    Submission {
        id: SubmissionId::new(completed.id),
        flow_id: flow.id.clone(),
        flow_version: handler.plan().version,
        form: Form { tool: form.tool.clone(), id: form.id.clone(), title: form.title.clone() },
        flow_token: flow_token.to_owned(),
        contact: token.and_then(repeat::contact),
        // By another node's clock it may have been later.
        started_at_ms: opened_at_ms.unwrap_or(completed_at_ms).min(completed_at_ms),
        completed_at_ms,
        locale: form.locale.clone(),
        source: campaign.map(|campaign| ("campaign".to_owned(), campaign)).into_iter().collect(),
        hidden: completed.hidden.clone(),
        variables: completed.variables.iter().map(|(name, value)| (name.clone(), value.to_json())).collect(),
        test: flow.test,
        linked_to: None,
        replaces: None,
        replaced_by: None,
        walk: Some(completed.walk),
        ending: completed.ending.and_then(|index| form.endings.get(index)).map(|ending| ending.key.clone()),
        answers: completed
            .answers
            .iter()
            .zip(&completed.questions)
            .map(|((position, value), asked)| answer(handler.question(*position), asked, value, words))
            .collect(),
    }
}

fn answer(question: &Question, asked: &str, value: &Value, words: &Words) -> Answer {
    let text = match value {
        Value::Bool(true) => words.yes.to_owned(),
        Value::Bool(false) => words.no.to_owned(),
        value => value.read(&question.kind),
    };
    Answer {
        key: question.key.clone(),
        question: asked.to_owned(),
        kind: question.kind.name().to_owned(),
        value: whole(value, &question.kind),
        text,
        other: value.other().map(str::to_owned),
    }
}

/// The value with all that is needed to fetch and verify a file (WhatsApp Flows reference, 5.1), and to judge it by what the
/// question takes. It is stored so and told to nobody: see `outbox`.
fn whole(value: &Value, kind: &Kind) -> Json {
    let (Value::Files(files), Kind::File(limits)) = (value, kind) else { return value.to_json() };
    let file = |file: &crate::form::FileRef| {
        json!({
            "media_id": file.media_id,
            "file_name": file.file_name,
            "cdn_url": file.cdn_url,
            "limits": limits,
            "encryption_metadata": {
                "encrypted_hash": file.encrypted_hash,
                "iv": file.iv,
                "encryption_key": file.encryption_key,
                "hmac_key": file.hmac_key,
                "plaintext_hash": file.plaintext_hash,
            },
        })
    };
    files.iter().map(file).collect()
}

//! Our own reply, held against what the screen declares: phones refuse a screen that lacks a key (WhatsApp Flows
//! reference, 1.7).

use serde_json::{Map, Value};

use crate::flow::handler::Handler;
use crate::flow::plan::{Content, FIELD_ERRORS, INIT_VALUES, PROGRESS, STATE};

/// The first declared key that is missing or null; `None` for a sound reply.
pub(super) fn missing<'h>(handler: &'h Handler, screen: &str, data: &Map<String, Value>) -> Option<&'h str> {
    let screen = handler.plan().screens.iter().find(|planned| planned.id == screen)?;
    let reserved: &[&str] = match &screen.content {
        Content::Cover => &[],
        Content::Questions(blocks) if blocks.iter().any(|block| !block.inputs.is_empty()) => {
            &[STATE, PROGRESS, INIT_VALUES, FIELD_ERRORS]
        }
        Content::Questions(_) => &[STATE, PROGRESS],
        _ => &[STATE],
    };
    let declared = reserved.iter().copied().chain(screen.data.iter().map(|key| key.name.as_str()));
    declared.into_iter().find(|key| data.get(*key).is_none_or(Value::is_null))
}

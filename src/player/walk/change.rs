//! What a value becomes when it is entered, and what the input does then.

use serde_json::Value;

use super::{Error, Player};
use crate::player::checks::Refusal;
use crate::player::document::Action;
use crate::player::media::{self, Picked};
use crate::player::render::{Choice, Input, InputKind, TextType};
use crate::player::transport::Transport;

impl<T: Transport> Player<T> {
    /// Files that were picked are uploaded; the value then says where they are.
    pub(super) async fn uploaded(&self, input: &Input, value: Value) -> Result<Value, Error> {
        let (InputKind::Media { max_kib, .. }, Value::Array(items)) = (&input.kind, &value) else {
            return Ok(value);
        };
        let mut uploaded = Vec::with_capacity(items.len());
        for item in items {
            uploaded.push(match Picked::read(item)? {
                None => item.clone(),
                Some(picked) if picked.content.len() as u64 > max_kib * 1024 => {
                    return Err(Error::Refused(vec![(input.name.clone(), Refusal::TooLarge)]));
                }
                Some(picked) => media::upload(picked, self.options.media_servers.as_ref()).await?,
            });
        }
        Ok(uploaded.into())
    }

    /// Number inputs travel as a number or as a string, by the client's platform.
    pub(super) fn typed(&self, input: &Input, value: Value) -> Value {
        if !matches!(input.kind, InputKind::Text { text_type: TextType::Number, .. }) {
            return value;
        }
        match value {
            Value::Number(number) if self.options.number_as_string => Value::String(number.to_string()),
            Value::String(text) if !self.options.number_as_string => {
                match text.trim().parse::<serde_json::Number>() {
                    Ok(number) => Value::Number(number),
                    Err(_) => Value::String(text),
                }
            }
            other => other,
        }
    }
}

/// The actions of a change: the options' own, else the component's. Without `on-unselect-action`, `on-select-action` also
/// fires when something is taken away (reference 4.7).
pub(super) fn actions(input: &Input, before: &Value, after: &Value) -> Vec<Action> {
    let holds = |value: &Value, id: &str| match value {
        Value::Array(ids) => ids.iter().any(|chosen| chosen == id),
        other => other == id,
    };
    let options: &[Choice] = match &input.kind {
        InputKind::Choice { options, .. } => options,
        _ => &[],
    };
    let mut actions = Vec::new();
    for option in options {
        match (holds(before, &option.id), holds(after, &option.id)) {
            (true, false) => actions.extend(option.on_unselect.clone().or_else(|| option.on_select.clone())),
            (false, true) => actions.extend(option.on_select.clone()),
            _ => {}
        }
    }
    if actions.is_empty() {
        let is_off = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(ids) => ids.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        let own = if is_off(after) { input.on_unselect.as_ref() } else { None };
        actions.extend(own.or(input.on_select.as_ref()).cloned());
    }
    actions
}

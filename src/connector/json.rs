//! Reading JSON that strangers wrote: what is not there or not of the kind is absent, never an error.

use serde_json::Value;

/// A member that is a text with something in it.
pub(super) fn text<'j>(json: &'j Value, name: &str) -> Option<&'j str> {
    json.get(name)?.as_str().filter(|text| !text.trim().is_empty())
}

/// The items of a member that is an array.
pub(super) fn list<'j>(json: &'j Value, name: &str) -> &'j [Value] {
    json.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A member that is true.
pub(super) fn flag(json: &Value, name: &str) -> bool {
    json.get(name).and_then(Value::as_bool).unwrap_or(false)
}

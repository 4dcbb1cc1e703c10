//! Rules between the entries of one list: options, and items of a NavigationList.

use std::collections::HashSet;

use serde_json::Value;

use super::Code;
use super::components::repeated;
use super::document::Node;
use super::report::{Path, Report};

/// Options of a choice.
pub(super) fn options(node: &Node<'_>, report: &mut Report) {
    let Some(options) = node.array("data-source") else { return };
    let path = Path::At(&node.path);
    let at = path.key("data-source");
    unique_ids(options, &at, report);
    let any = |key: &str| options.iter().any(|option| option.get(key).is_some());
    if any("image") && any("color") {
        let message = "Options have either pictures or colours: remove one of the two.";
        report.error(Code::DataSourceItemsHaveBothImageAndColor, at, message);
    }
    let most = node.limits.properties.get("data-source").and_then(|source| source.max_with_images);
    if let Some(most) = most.filter(|most| any("image") && options.len() > *most) {
        let message =
            format!("With pictures there may be at most {most} options: remove some or the pictures.");
        report.error(Code::MaxItemsRequired, at, message);
    }
    for action in ["on-select-action", "on-unselect-action"] {
        if node.map.contains_key(action) && any(action) {
            let message =
                format!("{action:?} may stand on the component or on its options, not both: remove one.");
            report.error(Code::NotKeywordSchemaValidationFailed, path.key(action), message);
        }
    }
    let disabled = options.iter().filter(|option| option.get("enabled") == Some(&Value::Bool(false)));
    let disabled: HashSet<&str> = disabled.filter_map(|option| option.get("id")?.as_str()).collect();
    let chosen = match node.map.get("init-value") {
        Some(Value::String(id)) => vec![id.as_str()],
        Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    for id in chosen.into_iter().filter(|id| disabled.contains(id)) {
        let message = format!(
            "The option {id:?} is disabled and so cannot be chosen at the start: enable it or choose another."
        );
        report.error(Code::InvalidPropertyValueForCondition, path.key("init-value"), message);
    }
}

/// Items of a NavigationList.
pub(super) fn navigation(node: &Node<'_>, report: &mut Report) {
    let path = Path::At(&node.path);
    let own_action = node.map.contains_key("on-click-action");
    let Some(items) = node.array("list-items") else {
        return;
    };
    let at = path.key("list-items");
    unique_ids(items, &at, report);
    let count = |key: &str| items.iter().filter(|item| item.get(key).is_some()).count();
    match (own_action, count("on-click-action")) {
        (true, 1..) => {
            let message = "on-click-action may stand on the list or on its items, not both: remove one.";
            report.error(Code::NotKeywordSchemaValidationFailed, path.key("on-click-action"), message);
        }
        (false, with) if with < items.len() => {
            let message = "on-click-action must stand on the list, or on every item: add it.";
            report.error(Code::MissingRequiredProperty, path, message);
        }
        _ => {}
    }
    let ends = count("end");
    if ends > 0 && ends < items.len() {
        let message = "Either every item has \"end\" or none: add or remove it.";
        report.error(Code::InvalidPropertyNameForCondition, at, message);
    }
    if ends > 0 && node.text("media-size") == Some("large") {
        let message =
            "With large pictures the items have no room for \"end\": remove it or use media-size regular.";
        report.error(Code::InvalidPropertyNameForCondition, at, message);
    }
    if count("badge") > 1 {
        let message = "Only one item of a list may have a badge: keep one.";
        report.error(Code::DuplicatePropertyForCondition, at, message);
    }
    for (index, item) in items.iter().enumerate() {
        let path = at.index(index);
        if item.get("end").is_some() && item.get("badge").is_some() {
            let message = "An item has \"end\" or a badge, not both: remove one.";
            report.error(Code::InvalidPropertyNameForCondition, path, message);
        }
        if item.get("end").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
            let message = "\"end\" needs a title, a description or metadata: add one or remove it.";
            report.error(Code::MissingRequiredProperty, path.key("end"), message);
        }
    }
}

fn unique_ids(items: &[Value], path: &Path<'_>, report: &mut Report) {
    if let Some(id) = repeated(items.iter().filter_map(|item| item.get("id").and_then(Value::as_str))) {
        report.error(
            Code::InvalidPropertyValue,
            path,
            format!("Two entries have the id {id:?}: ids must differ."),
        );
    }
}

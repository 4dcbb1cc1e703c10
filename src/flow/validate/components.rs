//! Rules that join several properties of one component (WhatsApp Flows reference 4.8, 4.9).

use std::collections::HashSet;

use serde_json::Value;

use super::Code;
use super::document::{Flow, Node, Screen};
use super::references::{Place, Scope};
use super::report::{Path, Report};
use super::types::Types;
use super::{lists, media};
use crate::flow::limits::{DefaultValue, Version};

pub(super) fn check(flow: &Flow<'_>, report: &mut Report) {
    for screen in &flow.screens {
        for (index, node) in screen.nodes.iter().enumerate() {
            ordered(node, report);
            required_but_not_there(node, report);
            match node.type_name {
                "Form" => form(flow, screen, (index, node), report),
                "CheckboxGroup" | "RadioButtonsGroup" | "Dropdown" | "ChipsSelector" => {
                    lists::options(node, report)
                }
                "NavigationList" => lists::navigation(node, report),
                "DatePicker" | "CalendarPicker" => dates(flow.version, node, report),
                "TextInput" => numeric_start(flow.version, node, report),
                _ => {}
            }
        }
    }
}

/// Minima that pass their maxima.
fn ordered(node: &Node<'_>, report: &mut Report) {
    for (low, high) in &node.limits.ordered {
        let number = |key: &str| match node.map.get(key) {
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_f64(),
            None => match node.limits.properties.get(key)?.default {
                Some(DefaultValue::Number(number)) => Some(number),
                _ => None,
            },
        };
        let (Some(min), Some(max)) = (number(low), number(high)) else { continue };
        let path = Path::At(&node.path);
        let at = if node.map.contains_key(low) { path.key(low) } else { path.key(high) };
        if min > max {
            let message = format!("{low:?} is {min} and so above {high:?}, which is {max}: change one.");
            report.error(Code::MinValueGreaterThanMax, at, message);
        } else if min == max && low == "min-selected-items" {
            let message = format!(
                "Some phones refuse {low:?} equal to {high:?}: allow one more or check on the endpoint."
            );
            report.warning(Code::MinValueGreaterThanMax, at, message);
        }
    }
}

/// The client refuses to show what must be filled in but cannot be.
fn required_but_not_there(node: &Node<'_>, report: &mut Report) {
    if node.map.get("required") != Some(&Value::Bool(true)) {
        return;
    }
    for flag in ["visible", "enabled"] {
        if node.map.get(flag) == Some(&Value::Bool(false)) {
            let message =
                format!("A required input cannot have {flag:?} false: bind \"required\" to the same value.");
            report.error(
                Code::InvalidPropertyValueForCondition,
                Path::At(&node.path).key("required"),
                message,
            );
        }
    }
}

/// A number input starts with a number; checked from 7.0.
fn numeric_start(version: Version, node: &Node<'_>, report: &mut Report) {
    let start = node.text("init-value").filter(|text| !text.contains(['$', '`']));
    if version >= Version::new(7, 0)
        && node.text("input-type") == Some("number")
        && start.is_some_and(|text| text.parse::<f64>().is_err())
    {
        let message = "The start value of a number input must be a number: change it.";
        report.error(Code::InvalidPropertyValueFormat, Path::At(&node.path).key("init-value"), message);
    }
}

fn dates(version: Version, node: &Node<'_>, report: &mut Report) {
    let path = Path::At(&node.path);
    // Dates of one form compare as texts; below 5.0 as numbers.
    let date = |text: &str| {
        media::is_date(text, version)
            .then(|| text.parse::<i64>().map_or_else(|_| (0, text.to_owned()), |n| (n, String::new())))
    };
    let of = |key: &str| node.text(key).and_then(date);
    let (min, max) = (of("min-date"), of("max-date"));
    if min.is_some() && max.is_some() && min > max {
        let message = "\"min-date\" is after \"max-date\": change one.";
        report.error(Code::InvalidDateRange, path.key("min-date"), message);
    }
    let outside = |text: &str| {
        let date = date(text);
        date.is_some() && ((min.is_some() && date < min) || (max.is_some() && date > max))
    };
    let list = path.key("unavailable-dates");
    for (index, text) in node.array("unavailable-dates").into_iter().flatten().enumerate() {
        if node.type_name == "CalendarPicker" && text.as_str().is_some_and(outside) {
            let message = "The date lies outside min-date and max-date: remove it.";
            report.error(Code::InvalidDateRange, list.index(index), message);
        }
    }
    if let Some(range) = node.map.get("init-value").and_then(Value::as_object) {
        let end = |key: &str| range.get(key).and_then(Value::as_str).and_then(date);
        if let (Some(start), Some(end)) = (end("start-date"), end("end-date"))
            && start > end
        {
            let message = "The range ends before it starts: swap the dates.";
            report.error(Code::InvalidDateRange, path.key("init-value"), message);
        }
    }
    let days = |key: &str| node.map.get(key).and_then(Value::as_f64);
    if let (Some(min), Some(max)) = (days("min-days"), days("max-days"))
        && min > max
    {
        let message = format!("\"min-days\" is {min} and so above \"max-days\", which is {max}: change one.");
        report.error(Code::InvalidMinMaxDays, path.key("min-days"), message);
    }
}

/// `init-values` and `error-messages` name inputs of their Form.
fn form(flow: &Flow<'_>, screen: &Screen<'_>, (index, form): (usize, &Node<'_>), report: &mut Report) {
    let path = Path::At(&form.path);
    let scope = Scope { flow, screen, place: Place::Property };
    let inside = |name: &str| screen.input(name).filter(|input| input.form == Some(index));
    for property in ["init-values", "error-messages"] {
        let path = path.key(property);
        for (name, value) in form.map.get(property).and_then(Value::as_object).into_iter().flatten() {
            let path = path.key(name);
            let Some(input) = inside(name) else {
                let message =
                    format!("This Form has no input named {name:?}: correct the name or remove it.");
                report.error(Code::InvalidPropertyKey, path, message);
                continue;
            };
            if property == "init-values" {
                start_value(scope, input, value, &path, report);
            }
        }
    }
}

fn start_value(scope: Scope<'_, '_>, input: &Node<'_>, value: &Value, path: &Path<'_>, report: &mut Report) {
    if input.is_picker() {
        let message = format!("{} cannot start with a value: remove it.", input.type_name);
        return report.error(Code::NativeComponentInFormInitValues, path, message);
    }
    let wanted = input.value_types();
    let dynamic = value.as_str().and_then(|text| scope.text(text, path, report));
    let is_dynamic = dynamic.is_some();
    let found = dynamic.map_or_else(|| Types::of(value), |target| Some(target.types));
    if scope.flow.version >= Version::new(7, 0) && !found.is_some_and(|found| found.overlaps(wanted)) {
        let found = found.map_or_else(|| "null".to_owned(), |found| found.to_string());
        let message = format!("{} starts with {wanted}, not {found}: change the value.", input.type_name);
        let code = if is_dynamic { Code::InvalidScreenDynamicData } else { Code::InvalidPropertyType };
        return report.error(code, path, message);
    }
    let Some(text) = value.as_str().filter(|_| !is_dynamic) else { return };
    let is_date = matches!(input.type_name, "DatePicker" | "CalendarPicker");
    if is_date && !media::is_date(text, scope.flow.version) {
        report.error(
            Code::InvalidPropertyValueFormat,
            path,
            format!("{text:?} is no date: write YYYY-MM-DD."),
        );
    }
}

/// Whether any value comes twice; which one, if so.
pub(super) fn repeated<'v>(values: impl Iterator<Item = &'v str>) -> Option<&'v str> {
    let mut seen = HashSet::new();
    values.into_iter().find(|value| !seen.insert(*value))
}

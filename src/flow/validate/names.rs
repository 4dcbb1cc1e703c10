//! Names: of screens, of components, and of the fields that are masked.

use std::collections::HashSet;

use serde_json::Value;

use super::Code;
use super::document::{Flow, Screen};
use super::report::{Path, Report};
use crate::flow::limits::Version;

pub(super) fn check(flow: &Flow<'_>, report: &mut Report) {
    let mut ids = HashSet::new();
    for screen in &flow.screens {
        let path = Path::At(&screen.path);
        let at = path.key("id");
        let id = screen.id;
        if !id.is_empty() && !ids.insert(id) {
            report.error(
                Code::DuplicateScreenIds,
                at,
                format!("Two screens have the id {id:?}: rename one."),
            );
        }
        if id.eq_ignore_ascii_case("success") {
            let message = "The id \"SUCCESS\" is how an endpoint ends a flow: choose another.";
            report.error(Code::ScreenIdIsReservedKeyword, at, message);
        }
        if !id.is_empty() && !is_screen_id(id, flow.version) {
            let message = format!(
                "{id:?} may have only letters and underscores, at least one letter: rename the screen."
            );
            report.error(Code::PatternMismatch, at, message);
        }
        components(screen, report);
        sensitive(screen, report);
    }
}

/// Letters and underscores (and, below 7.0, commas), from 7.0 not underscores alone.
fn is_screen_id(id: &str, version: Version) -> bool {
    let old = version < Version::new(7, 0);
    let allowed = id.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_' || (old && byte == b','));
    allowed && (old || id.bytes().any(|byte| byte != b'_'))
}

fn components(screen: &Screen<'_>, report: &mut Report) {
    let mut names = HashSet::new();
    for node in screen.nodes.iter().filter(|node| node.type_name != "Form") {
        if let Some(name) = node.text("name").filter(|name| !names.insert(*name)) {
            let message =
                format!("Two components of this screen are named {name:?}, branches counted: rename one.");
            report.error(Code::DuplicateFormComponentNames, Path::At(&node.path).key("name"), message);
        }
    }
}

fn sensitive(screen: &Screen<'_>, report: &mut Report) {
    let path = Path::At(&screen.path);
    let list = path.key("sensitive");
    for (index, name) in
        screen.map.get("sensitive").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        if let Some(name) = name.as_str().filter(|name| screen.input(name).is_none()) {
            let message = format!("This screen has no input named {name:?}: correct the name or remove it.");
            report.error(Code::InvalidSensitiveField, list.index(index), message);
        }
    }
}

/// The key of a case of a Switch.
pub(super) fn check_case(case: &str, path: &str, report: &mut Report) {
    let mut bytes = case.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    if !first || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        let message = format!(
            "{case:?} must start with a letter and go on with letters, digits, - and _: rename the case."
        );
        report.error(Code::PropertyNameMismatch, path, message);
    }
}

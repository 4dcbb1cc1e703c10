//! The versions that a document names, and what holds for the flow as a whole.

use serde_json::Value;

use super::Code;
use super::document::{Flow, Object};
use super::report::{Path, Report};
use crate::flow::limits::{self, Version};

/// The Flow JSON version to check by: the document's, or the recommended one if it has none that we know.
pub(super) fn flow_json(root: &Object, report: &mut Report) -> Version {
    let versions = &limits::table().versions;
    let recommended = versions.recommended;
    let Some(written) = root.get("version") else {
        let message = format!("The version is missing: add \"version\": \"{recommended}\".");
        report.error(Code::MissingFlowJsonVersion, "", message);
        return recommended;
    };
    let Some(version) = written.as_str().and_then(|text| text.parse::<Version>().ok()) else {
        let message = format!("{written} is no Flow JSON version: write \"{recommended}\".");
        report.error(Code::InvalidFlowJsonVersion, "version", message);
        return recommended;
    };
    if versions.publishable.contains(&version) {
        return version;
    }
    let (code, state) = if versions.frozen.contains(&version) {
        (Code::InvalidFlowJsonVersionState, "can no longer be published")
    } else if versions.unreleased.contains(&version) {
        (Code::UnavailableFlowJsonVersion, "is not released")
    } else if versions.frozen.iter().all(|frozen| version < *frozen) {
        (Code::UnsupportedFlowJsonVersion, "has expired")
    } else {
        (Code::InvalidFlowJsonVersion, "does not exist")
    };
    report.error(code, "version", format!("Flow JSON {version} {state}: move to {recommended}."));
    if code == Code::InvalidFlowJsonVersionState { version } else { recommended }
}

/// The data API version and what depends on it; terminal screens.
pub(super) fn check(flow: &Flow<'_>, report: &mut Report) {
    data_api(flow, report);
    let most = limits::table().global.screens_per_flow;
    let count = flow.root.get("screens").and_then(Value::as_array).map_or(0, Vec::len);
    if count > most {
        let message =
            format!("A flow may have at most {most} screens, this one has {count}: split the flow.");
        report.error(Code::MaxScreensNumber, "screens", message);
    }
    for screen in &flow.screens {
        let path = Path::At(&screen.path);
        if screen.map.get("refresh_on_back") == Some(&Value::Bool(true)) && !flow.has_endpoint() {
            let message = "Only a flow with an endpoint can refresh: add data_api_version or remove this.";
            report.error(Code::InvalidPropertyValue, path.key("refresh_on_back"), message);
        }
        if screen.map.contains_key("success") && !screen.terminal {
            let message = "Only a terminal screen has \"success\": remove it or set terminal.";
            report.error(Code::NotKeywordSchemaValidationFailed, path.key("success"), message);
        }
    }
    let mut terminal = flow.screens.iter().filter(|screen| screen.terminal).peekable();
    if flow.screens.is_empty() {
        return;
    }
    if terminal.peek().is_none() {
        let message = "No screen ends the flow: set \"terminal\": true on the last one.";
        report.error(Code::MissingTerminalScreen, "screens", message);
    } else if terminal.all(|screen| screen.map.get("success") == Some(&Value::Bool(false))) {
        let message = "No terminal screen is a success: remove \"success\": false from at least one.";
        report.error(Code::InvalidPropertyValue, "screens", message);
    }
}

fn data_api(flow: &Flow<'_>, report: &mut Report) {
    let known = &limits::table().versions.data_api;
    let Some(written) = flow.root.get("data_api_version").and_then(Value::as_str) else { return };
    match known.get(written) {
        None => {
            let known = known.keys().map(String::as_str).collect::<Vec<_>>().join(" or ");
            let message = format!("{written:?} is no data API version: write {known}.");
            report.error(Code::InvalidDataApiVersion, "data_api_version", message);
        }
        Some(since) if flow.version < *since => {
            let message = format!(
                "Data API {written} needs Flow JSON {since}, the document is {}: write 3.0.",
                flow.version
            );
            report.error(Code::NoSupportedDataApiVersion, "data_api_version", message);
        }
        Some(_) => {}
    }
}

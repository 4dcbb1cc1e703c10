//! Checks any Flow JSON document as Meta does at upload, and for what only its clients refuse. Pure.
//!
//! Properties are checked by the table in [`super::limits`]; what joins several properties, components or screens is
//! code here, a file per theme. Where Meta's sources disagree the strictest counts, so that what passes here passes
//! there. A text over its limit is an error although Meta accepts it, because the phone cuts it.
//!
//! No document makes the validator panic or recurse without bound. It does not know what only Meta knows: beta access
//! of an account, the endpoint's answers, whether a picture can be decoded.

mod actions;
mod code;
mod components;
mod data_model;
mod document;
mod lists;
mod media;
mod names;
mod placement;
mod references;
mod report;
mod routing;
mod schema;
mod types;
mod values;
mod versions;

use std::io;

use serde_json::Value;

pub use self::code::Code;
use self::document::Flow;
use self::report::Report;
pub use self::report::{Severity, Violation};
use super::limits;

/// As deep as `serde_json` reads. A real document has about fifteen levels.
const MAX_DEPTH: usize = 128;

/// Every rule that the document breaks, in no promised order; empty if it can be published.
pub fn validate(document: &Value) -> Vec<Violation> {
    if is_deeper_than(document, MAX_DEPTH) {
        return broken(format!("The document is nested deeper than {MAX_DEPTH} levels: flatten it."));
    }
    let mut written = Length(0);
    // Writing into a counter cannot fail, and a value always has a text.
    let _ = serde_json::to_writer(&mut written, document);
    check(document, written.0)
}

/// As [`validate`], for a text.
pub fn validate_str(json: &str) -> Vec<Violation> {
    match serde_json::from_str(json) {
        Ok(document) => check(&document, json.len()),
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            broken(format!("The text is not JSON at line {line}, column {column}: correct it there."))
        }
    }
}

fn check(document: &Value, bytes: usize) -> Vec<Violation> {
    let Value::Object(root) = document else {
        return broken("A Flow JSON document is an object with version and screens.".to_owned());
    };
    let mut report = Report::default();
    let most = limits::table().global.flow_json_bytes;
    if bytes > most {
        let message = format!(
            "The document has {bytes} bytes, {most} are allowed: make pictures smaller or send them as data."
        );
        report.error(Code::InvalidFlowJson, "", message);
    }
    let version = versions::flow_json(root, &mut report);
    let flow = Flow::read(root, version, &mut report);
    versions::check(&flow, &mut report);
    names::check(&flow, &mut report);
    data_model::check(&flow, &mut report);
    let actions = schema::check(&flow, &mut report);
    components::check(&flow, &mut report);
    placement::check(&flow, &mut report);
    routing::check(&flow, &actions, &mut report);
    report.violations
}

fn broken(message: String) -> Vec<Violation> {
    vec![Violation { code: Code::InvalidFlowJson, path: String::new(), message, severity: Severity::Error }]
}

/// Without recursion, because this is what makes recursion safe afterwards.
fn is_deeper_than(document: &Value, most: usize) -> bool {
    let mut waiting = vec![(document, 1)];
    while let Some((value, depth)) = waiting.pop() {
        if depth > most {
            return true;
        }
        match value {
            Value::Array(items) => waiting.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(map) => waiting.extend(map.values().map(|value| (value, depth + 1))),
            _ => {}
        }
    }
    false
}

/// Counts what is written.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

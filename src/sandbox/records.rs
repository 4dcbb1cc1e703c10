//! What the tools have stored, for a person and for a program.
//!
//! Invariant: shown to browsers of this machine only, under a name of this machine, and as text whatever it contains.

use std::fmt::{self, Write as _};

use serde::Serialize;
use serde_json::Value;

use super::page::{self, Escaped};
use super::tools::Tools;
use crate::server::{Method, Request, Response, StatusCode};

/// Where a program reads it.
pub const RECORDS: &str = "/_records";

/// Something that a tool has stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// The tool's name.
    pub tool: &'static str,
    /// What it is there: a submission, a contact, a row, a response.
    pub kind: &'static str,
    /// The id of the form, or of what it is stored in.
    pub of: String,
    /// In the tool's own shape.
    pub content: Value,
}

pub(super) fn answer(tools: &Tools, request: &Request) -> Option<Response> {
    let is_page = request.path() == "/";
    if !is_page && request.path() != RECORDS {
        return None;
    }
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Some(Response::method_not_allowed("GET, HEAD"));
    }
    // Another site can make a browser call us under its own name (DNS rebinding), and the records are personal.
    if !page::names_this_machine(request) {
        return Some(Response::empty(StatusCode::FORBIDDEN));
    }
    let records = tools.records();
    if !is_page {
        #[derive(Serialize)]
        struct Listing {
            records: Vec<Record>,
        }
        return Some(Response::json(StatusCode::OK, &Listing { records }));
    }
    let mut html = String::new();
    write_page(&mut html, tools, &records).expect("writing to a String does not fail");
    Some(page::guarded(html))
}

fn write_page(page: &mut String, tools: &Tools, records: &[Record]) -> fmt::Result {
    page.push_str(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Sandbox</title></head><body>\
         <h1>Four form tools, on this machine only</h1>\
         <p>What each has stored, the newest first. Reload to see more.</p>",
    );
    for tool in super::library::TOOLS {
        write!(page, "<h2>{tool}</h2><ul>")?;
        for (id, title) in tools.library.titles(tool) {
            write!(page, "<li>{} <code>{}</code></li>", Escaped(&title), Escaped(&id))?;
        }
        page.push_str("</ul>");
        let mut found = records.iter().rev().filter(|record| record.tool == tool).peekable();
        if found.peek().is_none() {
            page.push_str("<p>Nothing is stored yet.</p>");
        }
        for Record { kind, of, content, .. } in found {
            let content = format!("{content:#}");
            write!(page, "<h3>{kind} in <code>{}</code></h3><pre>{}</pre>", Escaped(of), Escaped(&content))?;
        }
    }
    page.push_str("</body></html>");
    Ok(())
}

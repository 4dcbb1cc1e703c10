//! Pages for a person: plain, without script and style.

use std::fmt::{self, Write};
use std::net::IpAddr;

use super::inbox::{Counts, Delivery};
use crate::server::header::{self, HeaderValue};
use crate::server::{Request, Response, StatusCode};

pub(super) fn render(deliveries: &[Delivery], counts: Counts) -> String {
    let mut page = String::new();
    write_page(&mut page, deliveries, counts).expect("writing to a String does not fail");
    page
}

/// A page that loads nothing and stands in no frame.
pub(super) fn guarded(html: String) -> Response {
    Response::html(StatusCode::OK, html)
        .with_header(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
        )
        .with_header(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
}

/// Whether a request was sent to a name of this machine.
pub(super) fn names_this_machine(request: &Request) -> bool {
    let Some(host) = request.header(header::HOST) else { return false };
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn write_page(page: &mut String, deliveries: &[Delivery], counts: Counts) -> fmt::Result {
    let Counts { taken, repeated, refused, failed } = counts;
    write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Webhook inbox</title></head><body>\
         <h1>Webhook inbox</h1>\
         <p>{taken} taken, {repeated} repeated, {refused} refused, {failed} failed on purpose. Newest first.</p>"
    )?;
    if deliveries.is_empty() {
        page.push_str("<p>Nothing has arrived yet.</p>");
    }
    for delivery in deliveries.iter().rev() {
        write!(page, "<h2>{}</h2><p>Arrived {}×.</p><dl>", Escaped(&delivery.id), delivery.times)?;
        for (name, value) in &delivery.headers {
            write!(page, "<dt>{}</dt><dd>{}</dd>", Escaped(name), Escaped(value))?;
        }
        write!(page, "</dl><pre>{}</pre>", Escaped(&format!("{:#}", delivery.body)))?;
    }
    page.push_str("</body></html>");
    Ok(())
}

/// Text inside an element or a quoted attribute.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

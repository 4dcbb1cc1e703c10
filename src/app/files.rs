//! The files of answers, as configured, and the route that hands them out.

use std::sync::Arc;
use std::time::Duration;

use crate::client::{AddressPolicy, Client};
use crate::config::{self, Config};
use crate::crypto::Sealer;
use crate::form::{Form, Kind};
use crate::outbox::{Clock, Download, FileSettings, Files, LinkError, Outbox};
use crate::server::header::{self, HeaderName, HeaderValue};
use crate::server::{Method, Pieces, Request, Response, StatusCode};
use crate::store::Store;

/// How long one file may take to be fetched.
const FETCH_DEADLINE: Duration = Duration::from_secs(120);
/// When to ask again for a file that is not there yet, in seconds.
const RETRY_AFTER: &str = "30";

/// Files kept in the data folder.
pub(super) fn build(config: &Config, store: Store, sealer: Sealer, clock: Arc<dyn Clock>) -> Files {
    let settings = FileSettings {
        folder: config.server.data_dir.join("files"),
        hosts: config.files.hosts.clone(),
        policy: if config.files.allow_private_network {
            AddressPolicy::AllowPrivateNetwork
        } else {
            AddressPolicy::PublicHttps
        },
        deadline: FETCH_DEADLINE,
        public_url: config.server.public_url.clone(),
        link_ttl: config.files.link_ttl,
        client: Client::new(),
    };
    Files::new(settings, sealer, store, clock)
}

/// Says before anybody fills it in what will be wrong with links to the files of this form.
pub(super) fn warn_of_links(config: &Config, flow: &config::Flow, form: &Form) {
    if !form.questions().any(|(_, question)| matches!(question.kind, Kind::File(_))) {
        return;
    }
    let id = flow.id.as_str();
    if config.server.public_url.is_none() {
        tracing::warn!(flow.id = id, "the form asks for files; set server.public_url, or they get no links");
    }
    let kept = Duration::from_secs(u64::from(flow.retention_days) * 24 * 3_600);
    if kept < config.files.link_ttl {
        tracing::warn!(
            flow.id = id,
            flow.retention_days,
            "links to files end with their submission, which is sooner than files.link_ttl"
        );
    }
}

/// Answers `GET /files/{token}`: to be saved, never shown, never kept by anything between.
pub(super) async fn hand_out(outbox: &Outbox, token: &str, request: &Request) -> Response {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Response::method_not_allowed("GET, HEAD");
    }
    let response = match outbox.download(token).await {
        Ok(download) => attachment(download),
        Err(LinkError::Unknown) => Response::text(StatusCode::NOT_FOUND, "there is no such file\n"),
        Err(LinkError::Expired) => Response::text(StatusCode::GONE, "this link has expired\n"),
        Err(LinkError::NotNow) => Response::text(StatusCode::SERVICE_UNAVAILABLE, "not there yet\n")
            .with_header(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER)),
    };
    let constant: [(HeaderName, &'static str); 5] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    constant
        .into_iter()
        .fold(response, |response, (name, value)| response.with_header(name, HeaderValue::from_static(value)))
}

fn attachment(download: Download) -> Response {
    let octets = HeaderValue::from_static("application/octet-stream");
    let content_type = HeaderValue::try_from(download.media_type).unwrap_or(octets);
    let pieces = Pieces::new(download.size_bytes, download.pieces);
    let disposition =
        HeaderValue::try_from(disposition(&download.name)).unwrap_or(HeaderValue::from_static("attachment"));
    Response::streamed(StatusCode::OK, content_type, pieces)
        .with_header(header::CONTENT_DISPOSITION, disposition)
}

/// The name in both spellings of RFC 6266: for every browser, and in full.
fn disposition(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " .-_()+,@".contains(c);
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let mut full = String::new();
    for byte in name.bytes() {
        // RFC 8187, attr-char.
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            full.push(char::from(byte));
        } else {
            full.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{full}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_header() {
        assert_eq!(
            disposition("a\"; x=\r\n\u{202e}è.pdf"),
            "attachment; filename=\"a__ x_____.pdf\"; filename*=UTF-8''a%22%3B%20x%3D%0D%0A%E2%80%AE%C3%A8.pdf"
        );
    }
}

//! Pictures, files and dates as they are written.

use super::Code;
use super::report::{Path, Report};
use crate::flow::limits::Version;

/// A picture in base64: readable, small enough, of a kind that phones show.
pub(super) fn check_image(text: &str, max_kilobytes: Option<f64>, path: &Path<'_>, report: &mut Report) {
    let base64 = match text.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
        Some((_, base64)) => {
            let message =
                "Meta's samples have no data: prefix and not every phone takes it: write the base64 alone.";
            report.warning(Code::InvalidPropertyValueFormat, path, message);
            base64
        }
        None => text,
    };
    let digits = base64.trim_end_matches('=');
    let padding = base64.len() - digits.len();
    let readable = digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/');
    if digits.is_empty() || !readable || padding > 2 || digits.len() % 4 == 1 {
        report.error(
            Code::InvalidPropertyValueFormat,
            path,
            "The picture is not base64: encode the file again.",
        );
        return;
    }
    // The first bytes of JPEG, PNG and RIFF (WebP), as base64 shows them.
    if !["/9j/", "iVBORw0KGgo", "UklGR"].iter().any(|magic| digits.starts_with(magic)) {
        let message = "The picture is neither JPEG nor PNG: convert it.";
        report.warning(Code::InvalidPropertyValueFormat, path, message);
    }
    let kilobytes = digits.len() as f64 * 0.75 / 1000.0;
    if let Some(max) = max_kilobytes.filter(|max| kilobytes > *max) {
        let message = format!("The picture has {kilobytes:.0} KB, {max} are allowed: make it smaller.");
        report.error(Code::InvalidPropertyValue, path, message);
    }
}

/// Whether the text is a date as `version` writes it.
pub(super) fn is_date(text: &str, version: Version) -> bool {
    if version < Version::new(5, 0) {
        return text.parse::<i64>().is_ok();
    }
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

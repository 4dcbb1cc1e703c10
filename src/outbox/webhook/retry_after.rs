//! Reads `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// The wait asked for, from `now` on; `None` if the value is neither form.
pub(super) fn parse(value: &str, now: Timestamp) -> Option<i64> {
    let value = value.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        // A number too large for the type is a very long wait, and the policy caps those.
        return Some(value.parse::<i64>().map_or(i64::MAX, |seconds| seconds.saturating_mul(1_000)));
    }
    // An HTTP date is an RFC 2822 date with the zone GMT.
    let at = DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(at.as_millisecond().saturating_sub(now.as_millisecond()).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_everything_else_is_not() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().expect("a time");
        for (value, wait_ms) in [
            ("0", Some(0)),
            ("120", Some(120_000)),
            (" 7 ", Some(7_000)),
            ("99999999999999999999", Some(i64::MAX)),
            ("Tue, 24 Nov 2026 12:01:00 GMT", Some(60_000)),
            ("Tue, 24 Nov 2026 11:00:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("Tue, 99 Nov 2026 12:01:00 GMT", None),
        ] {
            assert_eq!(parse(value, now), wait_ms, "{value:?}");
        }
    }
}

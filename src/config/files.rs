//! How the files of answers are fetched and handed on: `[files]`.

use std::time::Duration;

use super::read::Section;

/// `[files]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Hosts that files are fetched from, with their subdomains; small letters.
    pub hosts: Vec<String>,
    /// Permits http, any port and private addresses.
    pub allow_private_network: bool,
    /// How long a link leads to its file.
    pub link_ttl: Duration,
}

pub(super) fn files(section: &Section<'_>) -> Option<Files> {
    let listed = section.list("hosts").unwrap_or_default();
    let mut hosts = Vec::new();
    for (host, place) in listed {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
        if host.is_empty() || host.starts_with('.') || !host.bytes().all(allowed) {
            let reason = format!("\"{host}\" is not a host's name");
            section.fault(
                "hosts",
                place,
                reason,
                "Write for example \"whatsapp.net\"; subdomains are meant, too",
            );
            continue;
        }
        hosts.push(host.to_ascii_lowercase());
    }
    let allow_private_network = section.boolean("allow_private_network");
    let link_ttl = section.parsed("link_ttl", "Write for example \"7d\" or \"12h\"", ttl);
    section.finish();
    Some(Files { hosts, allow_private_network: allow_private_network?, link_ttl: link_ttl? })
}

/// `7d`, `12h`, `30m`: a year at most.
fn ttl(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is not a duration of a minute to a year");
    let digits = text.trim_end_matches(['d', 'h', 'm']);
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = match text.get(digits.len()..) {
        Some("d") => 24 * 60,
        Some("h") => 60,
        Some("m") => 1,
        _ => return Err(wrong()),
    };
    let minutes =
        number.checked_mul(unit).filter(|minutes| (1..=366 * 24 * 60).contains(minutes)).ok_or_else(wrong)?;
    Ok(Duration::from_secs(60 * minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_lives_from_a_minute_to_a_year() {
        for (text, minutes) in [("7d", 7 * 24 * 60), ("12h", 720), ("1m", 1), ("366d", 366 * 24 * 60)] {
            assert_eq!(ttl(text), Ok(Duration::from_secs(60 * minutes)), "{text}");
        }
        for text in ["", "7", "d", "0d", "367d", "7 d", "7dd", "-1d", "99999999999999999999d", "7s"] {
            assert!(ttl(text).is_err(), "{text}");
        }
    }
}

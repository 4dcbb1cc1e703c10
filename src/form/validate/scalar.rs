//! Single values as people write them: numbers, dates, times, addresses, phone numbers.

use jiff::civil::{Date, Time};
use rlibphonenumber::{PhoneNumber, PhoneNumberFormat, Region};

use super::Problem;

/// A number in the way of the language: `1.234,5`, `1,234.5`, `1 234`. A lone separator with three digits behind it is
/// read as the language means it.
pub(super) fn number(text: &str, locale: &str) -> Option<f64> {
    let compact: String =
        text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '\'' | '’' | '_')).collect();
    if compact.len() > 40 {
        return None;
    }
    let base = locale.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
    let groups_by_dot = matches!(base.as_str(), "it" | "es" | "pt" | "de");
    let plain = match (compact.rfind(','), compact.rfind('.')) {
        (Some(comma), Some(dot)) if comma > dot => ungroup(&compact, '.', Some(','))?,
        (Some(_), Some(_)) => ungroup(&compact, ',', Some('.'))?,
        (Some(_), None)
            if compact.matches(',').count() > 1 || (base == "en" && looks_grouped(&compact, ',')) =>
        {
            ungroup(&compact, ',', None)?
        }
        (Some(_), None) => compact.replace(',', "."),
        (None, Some(_))
            if compact.matches('.').count() > 1 || (groups_by_dot && looks_grouped(&compact, '.')) =>
        {
            ungroup(&compact, '.', None)?
        }
        _ => compact,
    };
    // `inf`, `nan` and hexadecimal are no numbers of people.
    let sound = plain.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E'));
    plain.parse().ok().filter(|number: &f64| sound && number.is_finite())
}

/// `1,234` or `12,345,678`.
fn looks_grouped(text: &str, separator: char) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    let mut parts = digits.split(separator);
    let first = parts.next().unwrap_or_default();
    (1..=3).contains(&first.len())
        && first != "0"
        && first.bytes().all(|b| b.is_ascii_digit())
        && parts.all(|part| part.len() == 3 && part.bytes().all(|b| b.is_ascii_digit()))
}

/// Takes the group separators away, if they stand where they should, and makes the decimal separator a point.
fn ungroup(text: &str, group: char, decimal: Option<char>) -> Option<String> {
    let (whole, fraction) = match decimal {
        Some(decimal) => text.rsplit_once(decimal).map(|(whole, fraction)| (whole, Some(fraction)))?,
        None => (text, None),
    };
    if !looks_grouped(whole, group) || fraction.is_some_and(|f| !f.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    let whole = whole.replace(group, "");
    Some(fraction.map_or(whole.clone(), |fraction| format!("{whole}.{fraction}")))
}

/// A calendar date, `YYYY-MM-DD`.
pub(super) fn date(text: &str) -> Option<Date> {
    let shaped = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
    text.parse().ok().filter(|_| shaped)
}

/// A time of day: `9`, `9:30`, `09.30`, `9h30`, `9:30 pm`. Seconds are dropped.
pub(super) fn time(text: &str) -> Option<Time> {
    let lower = text.trim().to_lowercase();
    let compact = lower.replace("a.m.", "am").replace("p.m.", "pm");
    let (digits, half) = match (compact.strip_suffix("am"), compact.strip_suffix("pm")) {
        (Some(rest), _) => (rest, Some(false)),
        (_, Some(rest)) => (rest, Some(true)),
        _ => (compact.as_str(), None),
    };
    let mut parts = digits.trim().split([':', '.', 'h']).map(str::trim);
    let number = |part: &str, most: usize| -> Option<i8> {
        let sound = (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        part.parse().ok().filter(|_| sound)
    };
    let hour = number(parts.next()?, 2)?;
    let minute = match parts.next() {
        None | Some("") => 0,
        Some(part) if part.len() == 2 => number(part, 2)?,
        Some(_) => return None,
    };
    if let Some(seconds) = parts.next()
        && number(seconds, 2).is_none_or(|s| s > 59)
    {
        return None;
    }
    if parts.next().is_some() {
        return None;
    }
    let hour = match half {
        None => hour,
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some(false) => hour % 12,
        Some(true) => hour % 12 + 12,
    };
    Time::new(hour, minute, 0, 0).ok()
}

/// An address with one `@`, a plain local part and a domain with a dot. Tells the domain in lower case.
pub(super) fn email(text: &str) -> Result<String, Problem> {
    let (local, domain) = text.rsplit_once('@').ok_or(Problem::Email)?;
    let local_ok = !local.is_empty()
        && local.len() <= 64
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && local.chars().all(|c| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c));
    let labels: Vec<&str> = domain.split('.').collect();
    let domain_ok = domain.len() <= 253
        && labels.len() >= 2
        && labels
            .last()
            .is_some_and(|tld| tld.chars().count() >= 2 && !tld.chars().all(|c| c.is_ascii_digit()))
        && labels.iter().all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        });
    if local_ok && domain_ok { Ok(domain.to_lowercase()) } else { Err(Problem::Email) }
}

/// A web address; `example.com` becomes `https://example.com/`.
pub(super) fn web_address(text: &str) -> Result<String, Problem> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = url::Url::parse(&with_scheme).map_err(|_| Problem::Url)?;
    let host = url.host_str().unwrap_or_default();
    let sound = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && host.trim_matches('.').contains('.');
    if sound { Ok(url.to_string()) } else { Err(Problem::Url) }
}

/// A phone number as E.164. `country` is the ISO 3166 code of numbers without a prefix.
pub(super) fn phone(text: &str, country: Option<&str>) -> Result<String, Problem> {
    let prefixed = text.starts_with('+') || text.starts_with("00");
    let text = text.strip_prefix("00").map_or_else(|| text.to_owned(), |rest| format!("+{rest}"));
    let country: Option<Region> = country.and_then(|code| code.to_ascii_uppercase().parse().ok());
    if !prefixed && country.is_none() {
        return Err(Problem::PhonePrefix);
    }
    let plain = text.chars().all(|c| c.is_ascii_digit() || " +-.()/\u{a0}".contains(c));
    if !plain || text.len() > 40 {
        return Err(Problem::Phone);
    }
    let number = PhoneNumber::parse(&text, country).map_err(|_| Problem::Phone)?;
    if !number.is_valid() {
        return Err(Problem::Phone);
    }
    Ok(number.format_as(PhoneNumberFormat::E164).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_language_writes_them() {
        let cases = [
            ("1234", "en", Some(1234.0)),
            ("1,234", "en", Some(1234.0)),
            ("1,234", "it", Some(1.234)),
            ("1.234", "it", Some(1234.0)),
            ("1.234", "en", Some(1.234)),
            ("1.234,5", "de", Some(1234.5)),
            ("1,234.5", "de", Some(1234.5)),
            ("12 000", "fr", Some(12_000.0)),
            ("-3,5", "fr", Some(-3.5)),
            ("1,2,3", "en", None),
            ("inf", "en", None),
            ("0x10", "en", None),
            ("", "en", None),
            ("1.5.2", "it", None),
        ];
        for (text, locale, expected) in cases {
            assert_eq!(number(text, locale), expected, "{text} in {locale}");
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, hour, minute) in [
            ("9", 9, 0),
            ("9:30", 9, 30),
            ("09.30", 9, 30),
            ("9h30", 9, 30),
            ("9:30 pm", 21, 30),
            ("12 am", 0, 0),
            ("23:59:59", 23, 59),
        ] {
            assert_eq!(time(text).map(|t| (t.hour(), t.minute())), Some((hour, minute)), "{text}");
        }
        for text in ["", "24:00", "9:5", "13 pm", "noon", "9:30:99", "1:2:3:4", "-1:00"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn phone_numbers_become_e164_and_italian_zeros_stay() {
        assert_eq!(phone("06 6982 1234", Some("IT")).as_deref(), Ok("+390669821234"));
        assert_eq!(phone("+39 347 123 4567", None).as_deref(), Ok("+393471234567"));
        assert_eq!(phone("0039 347 123 4567", Some("DE")).as_deref(), Ok("+393471234567"));
        assert_eq!(phone("020 7946 0018", Some("gb")).as_deref(), Ok("+442079460018"));
        assert_eq!(phone("347 123 4567", None), Err(Problem::PhonePrefix));
        assert_eq!(phone("12", Some("IT")), Err(Problem::Phone));
        assert_eq!(phone("+39 call me", None), Err(Problem::Phone));
    }

    #[test]
    fn addresses_are_checked() {
        assert_eq!(email("ada.l+x@Mail.Example.com").as_deref(), Ok("mail.example.com"));
        for wrong in
            ["ada", "ada@", "@x.it", "a b@x.it", "ada@x", "ada@x..it", "ada@-x.it", "ada@1.2", ".a@x.it"]
        {
            assert_eq!(email(wrong), Err(Problem::Email), "{wrong}");
        }
        assert_eq!(web_address("example.com").as_deref(), Ok("https://example.com/"));
        for wrong in [
            "",
            "x",
            "ftp://example.com",
            "javascript:alert(1)",
            "https://a:b@example.com",
            "http://localhost",
        ] {
            assert_eq!(web_address(wrong), Err(Problem::Url), "{wrong}");
        }
    }
}

//! Flow JSON versions and values that changed with a version.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// A Flow JSON version. The parts compare as integers: 1.9 is followed by 1.10.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[serde(try_from = "String")]
pub struct Version {
    major: u16,
    minor: u16,
}

/// The text is not `major.minor`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a Flow JSON version is two integers joined by a dot, such as 7.3")]
pub struct InvalidVersion;

impl Version {
    /// The version `major.minor`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        // `u16::from_str` also takes a sign, which a version never has.
        let part = |digits: &str| {
            if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse::<u16>().ok() } else { None }
        };
        let (major, minor) = text.split_once('.').ok_or(InvalidVersion)?;
        Ok(Self { major: part(major).ok_or(InvalidVersion)?, minor: part(minor).ok_or(InvalidVersion)? })
    }
}

impl TryFrom<String> for Version {
    type Error = InvalidVersion;

    fn try_from(text: String) -> Result<Self, InvalidVersion> {
        text.parse()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// A value that is the same for every version, or changed once.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(try_from = "Written<T>", bound = "T: Copy + Deserialize<'de>")]
pub struct ByVersion<T> {
    before: T,
    changed: Version,
    since: T,
}

impl<T: Copy> ByVersion<T> {
    /// The value that counts for `version`.
    pub fn at(&self, version: Version) -> T {
        if version < self.changed { self.before } else { self.since }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written<T> {
    Always(T),
    Changed(BTreeMap<String, T>),
}

/// A value by version is not written as `{"<V": before, ">=V": from}`.
#[derive(Debug, thiserror::Error)]
#[error("a value by version is {{\"<V\": before, \">=V\": from}}")]
struct InvalidByVersion;

impl<T: Copy> TryFrom<Written<T>> for ByVersion<T> {
    type Error = InvalidByVersion;

    fn try_from(written: Written<T>) -> Result<Self, InvalidByVersion> {
        match written {
            Written::Always(value) => Ok(Self { before: value, changed: Version::new(0, 0), since: value }),
            Written::Changed(map) => {
                let (below, before) = map
                    .iter()
                    .find_map(|(key, value)| Some((key.strip_prefix('<')?, value)))
                    .ok_or(InvalidByVersion)?;
                let (from, since) = map
                    .iter()
                    .find_map(|(key, value)| Some((key.strip_prefix(">=")?, value)))
                    .ok_or(InvalidByVersion)?;
                if below != from || map.len() != 2 {
                    return Err(InvalidByVersion);
                }
                Ok(Self {
                    before: *before,
                    changed: from.parse().map_err(|_| InvalidByVersion)?,
                    since: *since,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_integers() {
        let parse = |text: &str| text.parse::<Version>().expect("a version");
        assert!(parse("1.9") < parse("1.10"));
        assert!(parse("6.3") < parse("7.0"));
        for text in ["", "7", "7.", ".3", "7.3.1", "+7.3", "a.b", "7 .3", "99999.0"] {
            assert_eq!(text.parse::<Version>(), Err(InvalidVersion), "{text}");
        }
    }

    #[test]
    fn a_value_by_version_changes_at_its_version() {
        let images: ByVersion<f64> =
            serde_json::from_str(r#"{"<6.0": 300, ">=6.0": 100}"#).expect("by version");
        assert_eq!(images.at(Version::new(5, 1)), 300.0);
        assert_eq!(images.at(Version::new(6, 0)), 100.0);
        assert!(serde_json::from_str::<ByVersion<f64>>(r#"{"<6.0": 300, ">=6.1": 100}"#).is_err());
    }
}

//! What Meta says of flows: their state, and its own measures of the endpoint (WhatsApp Flows reference 3.3).
//!
//! The last word in each respect is one record, so that every node and the next process know it. An older word that comes
//! later, by a repetition, changes nothing.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::insight::{Cause, MetaEvent};
use crate::store::{self, Batch, Expectation, Put, Record, Scan, Store, Table};

/// The keys of these records among the settings.
const PREFIX: &[u8] = b"meta\0event\0";
/// How long a word counts that is not taken back.
const KEPT_MS: i64 = 30 * 24 * 3_600_000;
/// The same for warnings that are given with each message that is sent.
const WARNING_KEPT_MS: i64 = 7 * 24 * 3_600_000;
/// More flows than this are not told of.
const MAX_EVENTS: u32 = 1_000;
/// The most that is told of Meta's own words.
const MAX_TEXT_CHARS: usize = 300;

/// In which respect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum About {
    Status,
    ClientErrors,
    EndpointErrors,
    Latency,
    Availability,
    Version,
    /// Somebody has sent a flow of ours whose submission is not stored here.
    Unknown,
}

impl About {
    fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::ClientErrors => "CLIENT_ERROR_RATE",
            Self::EndpointErrors => "ENDPOINT_ERROR_RATE",
            Self::Latency => "ENDPOINT_LATENCY",
            Self::Availability => "ENDPOINT_AVAILABILITY",
            Self::Version => "version",
            Self::Unknown => "unknown",
        }
    }
}

/// One word of Meta's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// The flow's id at Meta; digits only, or nothing.
    pub flow: String,
    pub about: About,
    pub word: Word,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Word {
    /// When Meta said it, in Unix seconds.
    at_s: i64,
    stands: bool,
    text: String,
}

impl Event {
    /// The words in one change of the field `flows`. Events that are not known are passed over.
    pub(super) fn read(value: &Value, at_s: i64) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(flow) = value["flow_id"]
            .as_str()
            .map(str::to_owned)
            .or(value["flow_id"].as_u64().map(|id| id.to_string()))
        else {
            return events;
        };
        if !(1..=32).contains(&flow.len()) || !flow.bytes().all(|byte| byte.is_ascii_digit()) {
            return events;
        }
        let mut add = |about: About, stands: bool, text: String| {
            events.push(Event { flow: flow.clone(), about, word: Word { at_s, stands, text } });
        };
        let number = |name: &str| value[name].as_f64().unwrap_or_default();
        let stands = value["alert_state"].as_str() == Some("ACTIVATED");
        match value["event"].as_str().unwrap_or_default() {
            "FLOW_STATUS_CHANGE" => {
                let status = value["new_status"].as_str().unwrap_or_default().to_ascii_uppercase();
                let stands = matches!(status.as_str(), "THROTTLED" | "BLOCKED");
                add(About::Status, stands, format!("Meta has set flow {flow} to {}.", plain(&status)));
                if let Some(warning) = value["warning"].as_str() {
                    add(About::Version, true, format!("Meta warns of flow {flow}: {}", plain(warning)));
                }
            }
            name @ ("CLIENT_ERROR_RATE" | "ENDPOINT_ERROR_RATE") => {
                let (about, what) = if name == "CLIENT_ERROR_RATE" {
                    (About::ClientErrors, "errors on phones")
                } else {
                    (About::EndpointErrors, "errors of the endpoint")
                };
                let text = format!(
                    "Meta counts {:.2} % {what} for flow {flow} (its threshold is {} %).",
                    number("error_rate"),
                    number("threshold")
                );
                add(about, stands, text);
            }
            "ENDPOINT_LATENCY" => {
                let text = format!(
                    "Meta measures {} ms for the slowest tenth of the requests of flow {flow} (its threshold is {} ms).",
                    number("p90_latency"),
                    number("threshold")
                );
                add(About::Latency, stands, text);
            }
            "ENDPOINT_AVAILABILITY" => {
                let text = format!(
                    "{} % of Meta's health checks of flow {flow} succeed (its threshold is {} %).",
                    number("availability"),
                    number("threshold")
                );
                add(About::Availability, stands, text);
            }
            "FLOW_VERSION_EXPIRY_WARNING" | "FLOW_VERSION_FREEZE_WARNING" => {
                let warning = value["warning"].as_str().unwrap_or("a version that it uses ends soon");
                add(About::Version, true, format!("Meta warns of flow {flow}: {}", plain(warning)));
            }
            _ => {}
        }
        events
    }

    /// A submission that Meta confirms, and that is not here.
    pub(super) fn unknown(now_ms: i64) -> Event {
        let text = "Meta has confirmed a submission of a flow of ours that is not stored here; the audit trail names it.";
        let word = Word { at_s: now_ms / 1_000, stands: true, text: text.to_owned() };
        Event { flow: String::new(), about: About::Unknown, word }
    }

    fn key(&self) -> Vec<u8> {
        [PREFIX, self.flow.as_bytes(), b"\0", self.about.name().as_bytes()].concat()
    }

    /// Keeps the word, unless a later one is kept.
    pub(super) async fn keep(&self, store: &Store, now_ms: i64) -> Result<(), store::Error> {
        let key = self.key();
        let kept_ms = match self.about {
            About::Version | About::Unknown => WARNING_KEPT_MS,
            _ => KEPT_MS,
        };
        let value = serde_json::to_vec(self).unwrap_or_default();
        // Somebody else may keep another word meanwhile: then it is looked at again.
        loop {
            let found = store.get(Table::Setting, &key).await?;
            let word =
                found.as_ref().and_then(|record| Event::from_record(&key, record)).map(|event| event.word);
            if word.is_some_and(|word| word.at_s > self.word.at_s || word == self.word) {
                return Ok(());
            }
            let expect = found.map_or(Expectation::Absent, |record| Expectation::Version(record.version));
            let batch = Batch::at(now_ms).require(Table::Setting, key.clone(), expect).put(
                Put::new(Table::Setting, key.clone(), value.clone()).until(now_ms.saturating_add(kept_ms)),
            );
            match store.commit(batch).await {
                Err(store::Error::Conflict { .. }) => {}
                done => return done,
            }
        }
    }

    fn from_record(key: &[u8], record: &Record) -> Option<Event> {
        let flow = key.strip_prefix(PREFIX)?.split(|byte| *byte == 0).next()?;
        let (about, word) = serde_json::from_slice(&record.value).ok()?;
        Some(Event { flow: String::from_utf8(flow.to_vec()).ok()?, about, word })
    }

    fn cause(&self) -> Cause {
        let flow = self.flow.clone();
        match self.about {
            About::Status => Cause::MetaStatus(flow),
            About::Version => Cause::MetaVersion(flow),
            About::Unknown => Cause::UnknownSubmission,
            about => Cause::MetaHealth(flow, about.name().to_owned()),
        }
    }
}

impl Serialize for Event {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.about, &self.word).serialize(serializer)
    }
}

/// The last words of Meta that still count.
///
/// # Errors
/// When the store cannot be read.
pub async fn events(store: &Store, now_ms: i64) -> Result<Vec<MetaEvent>, store::Error> {
    let scan = Scan { prefix: PREFIX.to_vec(), limit: MAX_EVENTS, ..Scan::default() };
    let records = store.scan(Table::Setting, scan).await?;
    let counts = |record: &Record| record.expires_at_ms.is_none_or(|at_ms| at_ms > now_ms);
    let found = records.iter().filter(|(_, record)| counts(record));
    let found = found.filter_map(|(key, record)| Event::from_record(key, record));
    Ok(found
        .map(|event| MetaEvent { cause: event.cause(), stands: event.word.stands, text: event.word.text })
        .collect())
}

/// Meta's words in a log line or a mail: no control characters, and not too many.
fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(MAX_TEXT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Vec<(About, bool, String)> {
        let events = Event::read(&value, 7);
        events.into_iter().map(|event| (event.about, event.word.stands, event.word.text)).collect()
    }

    // WhatsApp Flows reference 3.3.
    #[test]
    fn every_event_of_the_reference_is_understood() {
        let latency = json!({"event": "ENDPOINT_LATENCY", "flow_id": "123", "p90_latency": 5100, "p50_latency": 900,
            "requests_count": 3400, "threshold": 5000, "alert_state": "ACTIVATED", "message": "…"});
        let text = "Meta measures 5100 ms for the slowest tenth of the requests of flow 123 (its threshold is 5000 ms).";
        assert_eq!(read(latency), [(About::Latency, true, text.to_owned())]);
        let errors = json!({"event": "ENDPOINT_ERROR_RATE", "flow_id": "123", "error_rate": 14.28, "threshold": 10,
            "alert_state": "DEACTIVATED", "errors": [{"error_type": "TIMEOUT", "error_rate": 14.28, "error_count": 12}]});
        let text = "Meta counts 14.28 % errors of the endpoint for flow 123 (its threshold is 10 %).";
        assert_eq!(read(errors), [(About::EndpointErrors, false, text.to_owned())]);
        for (status, stands) in [
            ("BLOCKED", true),
            ("THROTTLED", true),
            ("PUBLISHED", false),
            ("DEPRECATED", false),
            ("DRAFT", false),
        ] {
            let change = json!({"event": "FLOW_STATUS_CHANGE", "flow_id": "123", "new_status": status, "message": "…"});
            assert_eq!(
                read(change),
                [(About::Status, stands, format!("Meta has set flow 123 to {status}."))]
            );
        }
        let warned = json!({"event": "FLOW_STATUS_CHANGE", "flow_id": 123, "new_status": "PUBLISHED", "warning": "7.3\nends"});
        assert_eq!(read(warned)[1], (About::Version, true, "Meta warns of flow 123: 7.3ends".to_owned()));
        let availability = json!({"event": "ENDPOINT_AVAILABILITY", "flow_id": "1", "availability": 85.5, "threshold": 90, "alert_state": "ACTIVATED"});
        assert_eq!(read(availability)[0].0, About::Availability);
        assert!(read(json!({"event": "SOMETHING_NEW", "flow_id": "1"})).is_empty());
        assert!(read(json!({"event": "FLOW_STATUS_CHANGE", "flow_id": "1\n2"})).is_empty());
        assert!(read(json!({"event": "FLOW_STATUS_CHANGE"})).is_empty());
        assert!(read(json!(null)).is_empty());
    }
}

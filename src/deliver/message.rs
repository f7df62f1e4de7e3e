//! From a record of the topic `alerts` to the message that is sent: name, facts for the filters, body below 20 kB.
//!
//! Deliberately absent: signing, sending. Values are copied as text, so numbers leave as they came.

use super::filter::{Severity, TYPES};
use pulse_dataflows::ports::Cause;
use pulse_operators::record::EventType;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A body is smaller than this (bytes, latency included): the contract's 20 kB.
pub const MAX_BODY: usize = 20_000;
/// Room for what is added at the first attempt: the latency (three numbers of up to 20 digits and their names), a link of up to
/// [`MAX_LINK`], the name of a destination, and a count.
const LATENCY_ROOM: usize = 1_000;
/// Longest link that is added.
pub const MAX_LINK: usize = 500;
/// Longest text taken from a record for an id; longer ones are no ids of ours.
const MAX_ID: usize = 200;

/// A message as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `webhook-id`: the same for every attempt and every endpoint.
    pub id: String,
    /// Type.
    pub kind: String,
    /// The alert or incident it is about; may be empty.
    pub subject: String,
    /// Severity, if it has one.
    pub severity: Option<Severity>,
    /// Group of the event, if it is about one.
    pub group: Option<&'static str>,
    /// Why nobody is to be told (`snooze`, `budget`, `calendar`, `canary`), if so.
    pub suppressed: Option<String>,
    /// Envelope without the latency.
    pub body: String,
}

/// Why a record is not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Skip {
    /// A type that is not the contract's.
    #[error("internal type")]
    Internal,
    /// Not an envelope.
    #[error("not an envelope: {0}")]
    Malformed(String),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: String,
    timestamp: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// What the filters ask for. Unknown members are of no interest here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Facts {
    alert_id: Option<String>,
    incident_id: Option<String>,
    severity: Option<String>,
    group: Option<String>,
    suppressed: Option<String>,
    event: Option<EventFacts>,
}
#[derive(Default, Deserialize)]
#[serde(default)]
struct EventFacts {
    #[serde(rename = "type")]
    kind: Option<String>,
    severity: Option<String>,
}

impl Message {
    /// Reads a record. `cause` keeps apart the amendments of one alert, and makes a repeated record the same message.
    pub fn read(record: &[u8], cause: Cause) -> Result<Message, Skip> {
        let malformed = |e: serde_json::Error| Skip::Malformed(e.to_string());
        let envelope: Envelope = serde_json::from_slice(record).map_err(malformed)?;
        if !TYPES.contains(&envelope.kind.as_str()) {
            return Err(Skip::Internal);
        }
        let facts: Facts = serde_json::from_str(envelope.data.get()).map_err(malformed)?;
        let subject = facts.alert_id.or(facts.incident_id).unwrap_or_default();
        let event = facts.event.unwrap_or_default();
        let severity = facts.severity.or(event.severity);
        let group = match (facts.group, event.kind) {
            (Some(name), _) => pulse_models::features::GROUPS.iter().map(|g| g.name()).find(|n| *n == name),
            (None, Some(kind)) => Some(EventType::parse(&kind).group().name()),
            (None, None) => None,
        };
        let subject: String = subject.chars().take(MAX_ID).collect();
        // Without a subject the record's own bytes stand for it.
        let what = if subject.is_empty() { String::from_utf8_lossy(record).into_owned() } else { subject.clone() };
        let name = format!(
            "{}\0{}\0{}\0{}/{}/{}",
            envelope.kind, envelope.timestamp, what, cause.partition, cause.offset, cause.kind
        );
        Ok(Message {
            id: message_id(&name),
            severity: severity.as_deref().and_then(Severity::parse),
            group,
            suppressed: facts.suppressed.map(|s| s.chars().take(MAX_ID).collect()),
            body: body(&envelope.kind, &envelope.timestamp, envelope.data.get(), &subject).map_err(malformed)?,
            kind: envelope.kind,
            subject,
        })
    }

    /// A message that delivery raises itself. `data` is a JSON object.
    pub fn own(kind: &str, timestamp: &str, data: &serde_json::Value, name: &str) -> Message {
        Message {
            id: message_id(&format!("{kind}\0{timestamp}\0{name}")),
            kind: kind.into(),
            subject: String::new(),
            severity: None,
            group: None,
            suppressed: None,
            body: format!(r#"{{"type":"{kind}","timestamp":"{timestamp}","data":{data}}}"#),
        }
    }
}

/// `msg_` and 32 hexadecimal digits: no dot, as the specification asks.
fn message_id(name: &str) -> String {
    format!("msg_{:032x}", xxhash_rust::xxh3::xxh3_128(name.as_bytes()))
}

/// The body with one more member of `data`, whose value is JSON.
pub fn with_member(body: &str, name: &str, value: &str) -> String {
    // A body ends with the closing brackets of `data` and of the envelope.
    let Some(open) = body.strip_suffix("}}") else { return body.into() };
    let open = open.trim_end();
    let comma = if open.ends_with('{') { "" } else { "," };
    format!(r#"{open}{comma}"{name}":{value}}}}}"#)
}

/// The body with its latency: milliseconds since receipt at the first attempt.
pub fn with_latency(body: &str, appended_ms: i64, scored_ms: i64, sent_ms: i64) -> String {
    let latency = format!(r#"{{"appended_ms":{appended_ms},"scored_ms":{scored_ms},"sent_ms":{sent_ms}}}"#);
    with_member(body, "latency", &latency)
}

/// Builds the envelope and shrinks it until it fits.
fn body(kind: &str, timestamp: &str, data: &str, subject: &str) -> Result<String, serde_json::Error> {
    let timestamp: String = timestamp.chars().take(64).collect();
    let head = format!(r#"{{"type":"{kind}","timestamp":{},"data":"#, serde_json::to_string(&timestamp)?);
    let room = MAX_BODY - LATENCY_ROOM - head.len() - 1;
    if data.len() <= room {
        return Ok(format!("{head}{}}}", data.trim()));
    }
    Ok(format!("{head}{}}}", shrink(data, subject, room)?))
}

/// Members of `data` and `data.event` that go last: without them a message says nothing.
const ESSENTIAL: [&str; 18] = [
    "alert_id",
    "incident_id",
    "event",
    "id",
    "source",
    "type",
    "time",
    "score",
    "severity",
    "metric",
    "direction",
    "value",
    "entity",
    "cause",
    "started_at",
    "detected_at",
    "resolved_at",
    "count",
];

/// Drops members, the largest first, until the rest fits; `"truncated":true` says so. First go the members that are not
/// essential (reasons, contributors, enrichment and the like), then the essential ones, and at last only the id is left.
fn shrink(data: &str, subject: &str, room: usize) -> Result<String, serde_json::Error> {
    let mut top: BTreeMap<String, Box<RawValue>> = serde_json::from_str(data)?;
    let mut event: BTreeMap<String, Box<RawValue>> = match top.remove("event") {
        Some(event) => serde_json::from_str(event.get()).unwrap_or_default(),
        None => BTreeMap::new(),
    };
    loop {
        let text = object(&top, &event);
        if text.len() <= room {
            return Ok(text);
        }
        let sized = |m: &BTreeMap<String, Box<RawValue>>, inner: bool| -> Vec<(bool, usize, bool, String)> {
            m.iter()
                .map(|(k, v)| (!ESSENTIAL.contains(&k.as_str()), k.len() + v.get().len(), inner, k.clone()))
                .collect()
        };
        let largest = sized(&top, false).into_iter().chain(sized(&event, true)).max();
        match largest {
            Some((_, _, true, key)) => event.remove(&key),
            Some((_, _, false, key)) => top.remove(&key),
            None => return Ok(format!(r#"{{"subject":{},"truncated":true}}"#, serde_json::to_string(subject)?)),
        };
    }
}

fn object(top: &BTreeMap<String, Box<RawValue>>, event: &BTreeMap<String, Box<RawValue>>) -> String {
    let mut text = String::from("{");
    for (key, value) in top {
        let _ = write!(text, "{}:{},", serde_json::json!(key), value.get()); // writing to a String cannot fail
    }
    if !event.is_empty() {
        let members: Vec<String> = event.iter().map(|(k, v)| format!("{}:{}", serde_json::json!(k), v.get())).collect();
        let _ = write!(text, r#""event":{{{}}},"#, members.join(","));
    }
    text.push_str(r#""truncated":true}"#);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn alert(event: Value) -> Vec<u8> {
        let data = json!({"alert_id": "a-1", "event": event, "count": 1});
        json!({"type": "anomaly.opened", "timestamp": "2026-11-22T20:16:00Z", "data": data}).to_string().into_bytes()
    }
    fn cause(offset: u64) -> Cause {
        Cause { partition: 0, offset, kind: 1 }
    }

    #[test]
    fn facts_and_name() {
        let record = alert(json!({"type": "order.completed", "severity": "critical"}));
        let message = Message::read(&record, cause(7)).unwrap();
        assert_eq!((message.severity, message.group), (Some(Severity::Critical), Some("order")));
        assert_eq!(message.subject, "a-1");
        assert_eq!(message, Message::read(&record, cause(7)).unwrap());
        assert_ne!(message.id, Message::read(&record, cause(8)).unwrap().id, "an amendment is another message");
        assert!(!message.id.contains('.'));
    }

    #[test]
    fn internal_and_bad_records() {
        assert_eq!(
            Message::read(br#"{"type":"series.closed","timestamp":"","data":{}}"#, cause(0)),
            Err(Skip::Internal)
        );
        for bad in [&b"nonsense"[..], b"{}", b"\xff", br#"{"type":"anomaly.opened","timestamp":"","data":[1]}"#] {
            assert!(matches!(Message::read(bad, cause(0)), Err(Skip::Malformed(_))));
        }
    }

    #[test]
    fn numbers_leave_as_they_came() {
        let record = br#"{"type":"anomaly.opened","timestamp":"t","data":{"alert_id":"a","event":{"score":0.30000000000000004,"amount":129.90}}}"#;
        let body = Message::read(record, cause(0)).unwrap().body;
        assert!(body.contains("0.30000000000000004") && body.contains("129.90"));
        let sent = with_latency(&body, 1, 2, 3);
        assert!(sent.ends_with(r#","latency":{"appended_ms":1,"scored_ms":2,"sent_ms":3}}}"#), "{sent}");
        let own = Message::own("test.ping", "t", &json!({}), "x");
        assert!(
            serde_json::from_str::<Value>(&with_latency(&own.body, 0, 0, 0)).unwrap()["data"]["latency"].is_object()
        );
    }

    proptest! {
        /// However large and whatever is in it: the body is JSON, below the limit, and still says which alert it is.
        #[test]
        fn a_body_always_fits(n in 0usize..400, long in 0usize..60_000, wide in 0usize..1500) {
            let mut event = json!({"id": "o-1", "type": "order.completed", "score": 0.5, "severity": "warning"});
            event["reasons"] = (0..n).map(|i| json!({"code": format!("r{i}"), "text": "ü\"\\".repeat(10)})).collect();
            event["big"] = "x".repeat(long).into();
            for i in 0..wide { event[format!("f{i}")] = json!(i); }
            let body = Message::read(&alert(event), cause(0)).unwrap().body;
            let sent = with_latency(&body, i64::MIN, i64::MIN, i64::MIN);
            prop_assert!(sent.len() < MAX_BODY);
            let value: Value = serde_json::from_str(&sent).unwrap();
            prop_assert_eq!(&value["data"]["alert_id"], "a-1");
            prop_assert_eq!(&value["data"]["event"]["id"], "o-1");
            prop_assert!(value["data"]["latency"].is_object());
        }
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::read(&bytes, cause(0));
        }
    }
}

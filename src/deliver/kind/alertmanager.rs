//! Prometheus' Alertmanager: `POST /api/v2/alerts`. The address names that path.
//!
//! An alert is known there by its labels, which are the same from opening to end: kind, id, cause or metric, and where.
//! Alertmanager ends by itself what it hears no more of, so each message says until when it holds.
//! Deliberately absent: sending again while nothing changes.

use super::super::story::{State, Story};
use super::super::transport::Outgoing;
use serde_json::{Map, Value, json};

/// An alert about events holds for so long without another word, ms: that is when it is resolved here too.
const ANOMALY_MS: i64 = 3_600_000;
/// An incident, until its end is told.
const INCIDENT_MS: i64 = 24 * 3_600_000;

/// A label's name there: letters, digits and `_`, no digit first.
fn label(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// The request of one attempt.
pub fn request(story: &Story, now_ms: i64) -> Outgoing {
    let family = story.kind.split('.').next().unwrap_or_default();
    let mut labels = Map::new();
    for (name, value) in &story.labels {
        labels.insert(label(name), value.as_str().into());
    }
    let mut family_name = family.to_owned();
    if let Some(first) = family_name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    labels.insert("alertname".into(), format!("Pulse{family_name}").into());
    labels.insert("pulse_id".into(), story.subject.as_str().into());
    let at = |ms: i64| jiff::Timestamp::from_millisecond(ms).unwrap_or_default().to_string();
    let holds = if family == "anomaly" { ANOMALY_MS } else { INCIDENT_MS };
    let ends = match story.state {
        State::Open => now_ms + holds,
        State::Resolved => now_ms,
        State::Notice => now_ms + ANOMALY_MS,
    };
    let mut alert = json!({
        "labels": labels,
        "annotations": {"summary": story.title, "description": story.lines.join("\n"), "severity": story.severity.name()},
        "endsAt": at(ends),
    });
    // it keeps the earliest start by itself, and the end must not lie in front of it
    if story.state != State::Resolved {
        alert["startsAt"] = story.since.as_str().into();
    }
    let alert = Value::from(vec![alert]);
    Outgoing { headers: vec![("content-type", "application/json".into())], body: alert.to_string() }
}

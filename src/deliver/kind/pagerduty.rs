//! PagerDuty, Events API v2: `POST /v2/enqueue`. The secret of the destination is the routing key of the service.
//!
//! An alert opens, tells more and ends under one `dedup_key`. A notice opens what somebody must close.
//! Deliberately absent: acknowledging from here to there.

use super::super::endpoint::Endpoint;
use super::super::filter::Severity;
use super::super::story::{State, Story};
use super::super::transport::Outgoing;
use serde_json::json;

/// The request of one attempt.
pub fn request(endpoint: &Endpoint, story: &Story) -> Outgoing {
    let action = if story.state == State::Resolved { "resolve" } else { "trigger" };
    let severity = match story.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    };
    let links: Vec<_> =
        story.take_on.iter().map(|url| json!({"href": url, "text": "Take it on in PulseEcom"})).collect();
    let body = json!({
        "routing_key": endpoint.secret.reveal(),
        "event_action": action,
        "dedup_key": story.subject,
        "links": links,
        "payload": {
            "summary": story.title,
            "source": "PulseEcom",
            "severity": severity,
            "timestamp": story.since,
            "component": story.labels.get("entity").or(story.labels.get("metric")),
            "class": story.labels.get("cause").map_or(story.kind.as_str(), String::as_str),
            "custom_details": {"reasons": story.lines, "labels": story.labels, "type": story.kind},
        },
    });
    Outgoing { headers: vec![("content-type", "application/json".into())], body: body.to_string() }
}

//! What a message says, for kinds that speak to people and to other alert managers: its state, one sentence, and the facts.
//!
//! Read from the body that webhooks get, so every destination tells the same. Deliberately absent: the form (each kind has its
//! own), and anything that is not in the body.

use super::filter::Severity;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Reasons told; the first are the strongest.
const MAX_LINES: usize = 5;
/// Longest text of a line, characters.
const MAX_TEXT: usize = 300;

/// Where an alert or incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// New, or still going on with more to say.
    Open,
    /// Over.
    Resolved,
    /// A notice about the program itself, or a test: it neither opens nor ends anything.
    Notice,
}

/// A message in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// Type, as in the contract.
    pub kind: String,
    /// Id of the alert or incident; of a notice the message's.
    pub subject: String,
    /// Where it stands.
    pub state: State,
    /// How bad; `Info` where nothing is said.
    pub severity: Severity,
    /// One sentence, at most 300 characters.
    pub title: String,
    /// Further reasons, at most five, and what is to be said about the message itself.
    pub lines: Vec<String>,
    /// When it began, RFC 3339.
    pub since: String,
    /// Where somebody takes it on.
    pub take_on: Option<String>,
    /// Names and values that stay the same from its opening to its end: `entity`, `cause`, `metric`, the dimensions.
    pub labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(rename = "type")]
    kind: String,
    timestamp: String,
    data: Data,
}
#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    alert_id: Option<String>,
    incident_id: Option<String>,
    severity: Option<String>,
    cause: Option<String>,
    count: Option<u64>,
    entity: Option<Entity>,
    event: Option<Event>,
    metric: Option<String>,
    dimensions: BTreeMap<String, String>,
    started_at: Option<String>,
    value: Option<f64>,
    expected: Option<(f64, f64)>,
    impact: Option<Impact>,
    host: Option<String>,
    reason: Option<String>,
    version: Option<String>,
    more: Option<u64>,
    instead_of: Option<String>,
    take_on_url: Option<String>,
}
#[derive(Deserialize)]
struct Entity {
    kind: String,
    id: String,
}
#[derive(Default, Deserialize)]
#[serde(default)]
struct Event {
    id: Option<String>,
    severity: Option<String>,
    reasons: Vec<Reason>,
}
#[derive(Default, Deserialize)]
#[serde(default)]
struct Reason {
    text: String,
}
#[derive(Default, Deserialize)]
#[serde(default)]
struct Impact {
    amount: Option<f64>,
    currency: Option<String>,
    events: Option<f64>,
}

fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_TEXT).collect();
    if short.len() < text.len() {
        short.pop();
        short.push('…');
    }
    short
}

impl Story {
    /// Reads a body. One that is not ours gives a notice that says so: a destination must never hold up the rest.
    pub fn read(message_id: &str, body: &str) -> Story {
        let body: Body = serde_json::from_str(body).unwrap_or_default();
        let Body { kind, timestamp, data } = body;
        let state = match kind.as_str() {
            "anomaly.opened" | "anomaly.amended" | "incident.opened" | "incident.updated" | "silence.detected" => {
                State::Open
            }
            "anomaly.resolved" | "incident.resolved" | "silence.resolved" => State::Resolved,
            _ => State::Notice,
        };
        let event = data.event.as_ref();
        let severity = data.severity.as_deref().or(event.and_then(|e| e.severity.as_deref()));
        let (title, mut lines) = words(&kind, &data);
        lines.truncate(MAX_LINES);
        lines.extend(data.more.map(|n| format!("{n} more since the last message: too many to be told one by one")));
        lines.extend(
            data.instead_of.as_ref().map(|name| format!("Sent here because the destination {name} does not take it")),
        );
        Story {
            subject: data.alert_id.as_ref().or(data.incident_id.as_ref()).map_or(message_id, String::as_str).into(),
            state,
            severity: severity.and_then(Severity::parse).unwrap_or(Severity::Info),
            title: cut(&title),
            lines: lines.iter().map(|line| cut(line)).collect(),
            take_on: data.take_on_url.clone(),
            since: data.started_at.clone().unwrap_or(timestamp),
            labels: labels(&data),
            kind,
        }
    }
}

fn labels(data: &Data) -> BTreeMap<String, String> {
    let mut labels = data.dimensions.clone();
    let entity = data.entity.as_ref().map(|e| format!("{}:{}", e.kind, e.id));
    let named = [("entity", entity), ("cause", data.cause.clone()), ("metric", data.metric.clone())];
    labels.extend(named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), cut(&value?)))));
    labels
}

/// The sentence and the further ones.
fn words(kind: &str, data: &Data) -> (String, Vec<String>) {
    let mut lines = Vec::new();
    if let Some(metric) = &data.metric {
        let place: Vec<String> = data.dimensions.iter().map(|(name, value)| format!("{name} {value}")).collect();
        let place = if place.is_empty() { String::new() } else { format!(" ({})", place.join(", ")) };
        let seen = data.value.map_or(String::new(), |value| format!(": {value}"));
        let usual = data.expected.map_or(String::new(), |(low, high)| format!(", usually {low} to {high}"));
        if let Some(impact) = &data.impact {
            let amount = impact.amount.map(|a| format!("{a} {}", impact.currency.as_deref().unwrap_or_default()));
            let events = impact.events.map(|n| format!("{n} events"));
            let parts: Vec<String> = [amount, events].into_iter().flatten().collect();
            lines.extend((!parts.is_empty()).then(|| format!("Impact so far: {}", parts.join(", "))));
        }
        return (format!("{metric}{place}{seen}{usual}"), lines);
    }
    if let Some(event) = &data.event {
        let mut reasons = event.reasons.iter().map(|reason| reason.text.clone());
        let title = reasons.next().or_else(|| data.cause.clone()).unwrap_or_else(|| "an unusual event".into());
        lines.extend(reasons);
        lines.extend(data.count.filter(|n| *n > 1).map(|n| format!("{n} events so far")));
        lines.extend(event.id.as_ref().map(|id| format!("Event {id}")));
        return (title, lines);
    }
    let title = match kind {
        "anomaly.resolved" => data.cause.clone().unwrap_or_else(|| "an unusual event".into()),
        "endpoint.disabled" => {
            let host = data.host.as_deref().unwrap_or("?");
            format!("The destination {host} is disabled: {}", data.reason.as_deref().unwrap_or("failing"))
        }
        "model.promoted" => format!("The model {} is in force", data.version.as_deref().unwrap_or("?")),
        "test.ping" => "A test: this destination works".into(),
        "" => "a message that cannot be read".into(),
        other => other.replace('.', " "),
    };
    (title, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_words() {
        let anomaly = r#"{"type":"anomaly.opened","timestamp":"2026-03-02T10:00:00Z","data":{"alert_id":"al_1","cause":"card_testing_device",
            "count":3,"entity":{"kind":"device","id":"d-7"},"event":{"id":"p-5","severity":"critical",
            "reasons":[{"code":"a","text":"5 cards"},{"code":"b","text":"8 failures"}]}}}"#;
        let story = Story::read("msg_1", anomaly);
        assert_eq!((story.subject.as_str(), story.state, story.severity), ("al_1", State::Open, Severity::Critical));
        assert_eq!((story.title.as_str(), story.lines.len()), ("5 cards", 3));
        assert_eq!(story.labels["entity"], "device:d-7");
        let incident = r#"{"type":"incident.resolved","timestamp":"2026-03-02T11:00:00Z","data":{"incident_id":"in_1","metric":"orders",
            "dimensions":{"country":"DE"},"started_at":"2026-03-02T10:00:00Z","value":0,"expected":[3,9.5],
            "impact":{"amount":120.5,"currency":"EUR","events":null}}}"#;
        let story = Story::read("msg_2", incident);
        assert_eq!((story.state, story.since.as_str()), (State::Resolved, "2026-03-02T10:00:00Z"));
        assert_eq!(story.title, "orders (country DE): 0, usually 3 to 9.5");
        assert_eq!(story.lines, ["Impact so far: 120.5 EUR"]);
        for broken in ["", "[]", "{\"type\":3}"] {
            let story = Story::read("msg_3", broken);
            assert_eq!((story.state, story.subject.as_str()), (State::Notice, "msg_3"));
        }
    }
}

//! What alerts and incidents say: their records read, a sentence made of each, and their place in lists.
//!
//! Deliberately absent: judging; everything stands in the record as it was decided.

use super::frame::escaped;
use super::words::{self, number};
use crate::json::Time;
use crate::store::query::alerts::Alert;
use crate::store::query::incidents::Incident;
use crate::store::query::labels::Verdict;
use maud::{Markup, html};
use serde::Deserialize;

/// Longest text of a record that is shown in a line, characters.
const LINE: usize = 300;

/// Why, in one part.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Reason {
    /// Stable name.
    pub code: String,
    /// For people.
    pub text: String,
    /// `high`, `low`, `new`, `missing`.
    pub direction: String,
    /// What was seen.
    pub value: Option<f64>,
    /// What is usual.
    pub expected: Option<(f64, f64)>,
    /// Share of the score.
    pub contribution: Option<f64>,
}

/// The scored event of an alert.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Scored {
    /// `id`
    pub id: String,
    /// `type`
    #[serde(rename = "type")]
    pub event_type: String,
    /// Event time.
    pub time: Option<Time>,
    /// In [0, 1].
    pub score: f64,
    /// How rare.
    pub p_value: Option<f64>,
    /// What decided.
    pub channel: Option<String>,
    /// Where the line is drawn.
    pub threshold_value: Option<f64>,
    /// Estimated precision at this score.
    pub confidence: Option<f64>,
    /// Version.
    pub model: Option<String>,
    /// The strongest first.
    pub reasons: Vec<Reason>,
    /// Rules that fired.
    pub rules: Vec<String>,
    /// Came behind its time.
    pub late: bool,
    /// Before there is a history.
    pub cold_start: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Entity {
    kind: String,
    id: String,
}

/// What an alert says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Told {
    entity: Entity,
    /// Its strongest reason's code.
    pub cause: String,
    /// Why nobody was notified.
    pub suppressed: Option<String>,
    /// Its event.
    pub event: Scored,
}

impl Told {
    /// Of an alert; what cannot be read is left out.
    pub fn of(alert: &Alert) -> Told {
        serde_json::from_str(&alert.json).unwrap_or_default()
    }
    /// Kind and id of what it is about; `None`: the event itself.
    pub fn entity(&self) -> Option<(&str, &str)> {
        (!self.entity.kind.is_empty() && !self.entity.id.is_empty())
            .then_some((self.entity.kind.as_str(), self.entity.id.as_str()))
    }
    /// Why, in one sentence.
    pub fn why(&self) -> String {
        let event = &self.event.event_type;
        match self.event.reasons.first() {
            Some(reason) if !reason.text.is_empty() => cut(&reason.text),
            _ if event.is_empty() => "Unusual, for a reason that can no longer be read".into(),
            _ => format!("{event} is unusual as a whole"),
        }
    }
    /// What it is about, in words.
    pub fn subject(&self) -> String {
        let event = if self.event.event_type.is_empty() { "event" } else { &self.event.event_type };
        match self.entity() {
            Some((kind, id)) => format!("{event} of {kind} {}", cut(id)),
            None => format!("{event} {}", cut(&self.event.id)),
        }
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= LINE { text.to_owned() } else { text.chars().take(LINE).chain(['…']).collect() }
}

/// The order of lists that show the worst first: severity, how many events, how unusual, how new.
pub fn by_impact(alerts: &mut [Alert]) {
    let rank = |alert: &Alert| {
        let severity = ["info", "warning", "critical"].iter().position(|name| *name == alert.severity);
        (severity, alert.acked_ms.is_none(), alert.count, alert.opened_ms)
    };
    alerts.sort_by_key(|alert| std::cmp::Reverse(rank(alert)));
}

/// An incident as far as it is told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct IncidentTold {
    /// `high` or `low`.
    pub direction: String,
    /// What it costs.
    pub impact: Impact,
    /// What moved with it.
    pub contributors: Vec<Contributor>,
    /// Events in it.
    pub event_ids: Vec<String>,
    /// How many.
    pub event_count: Option<i64>,
    /// When it began.
    pub started_at: Option<Time>,
    /// When it was noticed.
    pub detected_at: Option<Time>,
}
/// What an incident costs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Impact {
    /// Money.
    pub amount: Option<f64>,
    /// Of which currency.
    pub currency: String,
    /// Events.
    pub events: Option<f64>,
}
/// A series that moved with an incident's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Contributor {
    /// Name.
    pub metric: String,
    /// Segment.
    pub dimensions: std::collections::BTreeMap<String, String>,
    /// What was seen.
    pub value: Option<f64>,
    /// What is usual.
    pub expected: Option<f64>,
}
impl IncidentTold {
    /// Of an incident; what cannot be read is left out.
    pub fn of(incident: &Incident) -> IncidentTold {
        serde_json::from_str(&incident.json).unwrap_or_default()
    }
}

/// What an incident says, in one sentence.
pub fn incident(one: &Incident) -> String {
    let of = if one.dimensions.is_empty() { String::new() } else { format!(" ({})", cut(&one.dimensions)) };
    let metric = cut(&one.metric.replace('_', " "));
    if one.kind == "silence" {
        return format!("Silence: {metric}{of}");
    }
    let value = one.value.map(number).unwrap_or_default();
    match one.expected {
        Some((low, high)) => format!("{metric}{of}: {value} where {} to {} is usual", number(low), number(high)),
        None => format!("{metric}{of}: {value}"),
    }
}

/// Verdicts as small marks.
pub fn verdicts(all: &[Verdict]) -> Markup {
    html! {
        @for one in all {
            span.badge.said title=(format!("{} said so", one.by)) { (words::verdict(&one.verdict)) " · " (one.by) }
        }
    }
}

/// An alert as a line of a list. `more`: what stands in front of it.
pub fn alert_line(alert: &Alert, said: &[Verdict], now_ms: i64, more: Markup) -> Markup {
    let told = Told::of(alert);
    html! {
        li.row data-row data-id=(alert.alert_id) {
            (more)
            div.text {
                a.why href=(format!("/alerts/{}", escaped(&alert.alert_id))) { (told.why()) }
                p.dim {
                    (told.subject())
                    @if alert.count > 1 { " · " (words::many(alert.count as u64, "event", "events")) }
                    @if let Some(by) = &alert.acked_by { " · taken on by " (by) }
                    @if let Some(why) = &told.suppressed { " · not sent (" (why) ")" }
                }
            }
            div.marks {
                (words::severity(&alert.severity))
                @if alert.status != "open" { span.badge { (alert.status) } }
                (verdicts(said))
                (words::moment(alert.opened_ms, now_ms))
            }
        }
    }
}

/// An incident as a line of a list.
pub fn incident_line(one: &Incident, now_ms: i64) -> Markup {
    let told = IncidentTold::of(one);
    html! {
        li.row data-row data-id=(one.incident_id) {
            div.text {
                a.why href=(format!("/incidents/{}", escaped(&one.incident_id))) { (incident(one)) }
                p.dim {
                    (one.kind)
                    @if let Some(amount) = told.impact.amount.filter(|amount| *amount != 0.0) {
                        " · " (number(amount)) " " (told.impact.currency)
                    }
                    @if let Some(by) = &one.acked_by { " · taken on by " (by) }
                }
            }
            div.marks {
                (words::severity(&one.severity))
                @if one.status != "open" { span.badge { (one.status) } }
                (words::moment(one.opened_ms, now_ms))
            }
        }
    }
}

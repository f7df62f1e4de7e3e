//! Incidents and closed minutes as JSON (contract 4, and the internal record `series.closed`).

use super::book::{ClosedMinute, SeriesConfig};
use super::incident::{Incident, Stage};
use super::key::{Metric, Segment};
use super::points::Money;
use super::series::Side;
use serde_json::{Map, Value, json};

/// RFC 3339 in UTC with milliseconds.
pub fn rfc3339(time_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(time_ms)
        .map(|t| t.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
        .unwrap_or_default()
}

/// `dimensions` of a segment: empty for the total.
pub fn dimensions(segment: &Segment) -> Value {
    let mut map = Map::new();
    if !segment.is_total() {
        map.insert(segment.dimension.name().into(), json!(segment.label));
    }
    Value::Object(map)
}

/// A value of a metric as a person reads it: money in major units, all else as it is; two digits at most.
fn shown(metric: Metric, value: f64, money: &Money) -> f64 {
    let scale = if metric.is_money() { (0..money.exponent.min(4)).fold(1.0, |s, _| s * 10.0) } else { 1.0 };
    libm::round(value / scale * 100.0) / 100.0
}

/// The envelope of an incident: type, timestamp, data. `event_ids`: events in it, the first 50 are named.
pub fn incident(stage: Stage, i: &Incident, now_ms: i64, config: &SeriesConfig, event_ids: &[&str]) -> Value {
    let money = &config.money;
    let name = match stage {
        Stage::Opened => "incident.opened",
        Stage::Updated => "incident.updated",
        Stage::Resolved => "incident.resolved",
    };
    let side = |side| if side == Side::High { "high" } else { "low" };
    let show = |v| shown(i.metric, v, money);
    let count = event_ids.len() as i64;
    let event_count = if i.metric.is_money() { count } else { count.max(libm::round(i.seen) as i64) };
    json!({"type": name, "timestamp": rfc3339(now_ms), "data": {
        "incident_id": i.id, "metric": i.metric.name(), "dimensions": dimensions(&i.segment),
        "started_at": rfc3339(i.started_ms), "detected_at": rfc3339(i.detected_ms),
        "resolved_at": i.resolved_ms.map(rfc3339), "severity": i.severity(),
        "value": show(i.seen), "expected": [show(i.expected.0), show(i.expected.2)], "direction": side(i.side),
        "impact": {"amount": shown(Metric::Revenue, i.impact_minor as f64, money),
            "currency": String::from_utf8_lossy(&money.currency), "events": i.events()},
        "contributors": i.contributors.iter().map(|c| json!({"metric": c.metric.name(),
            "dimensions": dimensions(&c.segment), "direction": side(c.side), "value": shown(c.metric, c.seen, money),
            "expected": shown(c.metric, c.expected, money)})).collect::<Vec<_>>(),
        "event_ids": event_ids.iter().take(50).collect::<Vec<_>>(), "event_count": event_count}})
}

/// The internal record of a closed (or amended) minute. Money in major units.
pub fn closed(minute: &ClosedMinute, now_ms: i64, config: &SeriesConfig) -> Value {
    let points: Vec<Value> = minute
        .points
        .iter()
        .map(|p| {
            let show = |v| shown(p.metric, v, &config.money);
            json!({"metric": p.metric.name(), "dimensions": dimensions(&p.segment), "value": show(p.value as f64),
            "expected": p.expected.map(|(low, high)| [show(low), show(high)]), "anomalous": p.anomalous})
        })
        .collect();
    json!({"type": "series.closed", "timestamp": rfc3339(now_ms),
        "data": {"bucket_ms": minute.bucket_ms, "amended": minute.amended, "points": points}})
}

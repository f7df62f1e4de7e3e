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
pub fn incident(stage: Stage, i: &Incident, now_ms: i64, config: &SeriesConfig, event_ids: &[String]) -> Value {
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
        "event_ids": event_ids.iter().take(super::members::MAX_IDS).collect::<Vec<_>>(), "event_count": event_count}})
}

/// Members in the order of their names, as in all that is written by serde here. Every minute names all main series, so this
/// is written without a tree in between.
#[derive(serde::Serialize)]
struct Point {
    anomalous: bool,
    dimensions: Value,
    expected: Option<[f64; 2]>,
    metric: &'static str,
    value: f64,
}
#[derive(serde::Serialize)]
struct Minute {
    amended: bool,
    bucket_ms: i64,
    points: Vec<Point>,
}
#[derive(serde::Serialize)]
struct Closed {
    data: Minute,
    timestamp: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// The internal record of a closed (or amended) minute. Money in major units.
pub fn closed(minute: &ClosedMinute, now_ms: i64, config: &SeriesConfig) -> String {
    let point = |p: &super::book::ClosedPoint| {
        let show = |v| shown(p.metric, v, &config.money);
        Point {
            anomalous: p.anomalous,
            dimensions: dimensions(&p.segment),
            expected: p.expected.map(|(low, high)| [show(low), show(high)]),
            metric: p.metric.name(),
            value: show(p.value as f64),
        }
    };
    let points = minute.points.iter().map(point).collect();
    let data = Minute { amended: minute.amended, bucket_ms: minute.bucket_ms, points };
    let closed = Closed { data, timestamp: rfc3339(now_ms), kind: "series.closed" };
    // plain members under text keys: that cannot fail
    serde_json::to_string(&closed).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::book::ClosedPoint;
    use super::super::key::Dimension;
    use super::*;

    #[test]
    fn a_closed_minute_has_its_members_in_the_order_of_their_names() {
        let point = |label: &str, expected| ClosedPoint {
            metric: Metric::Revenue,
            segment: Segment { dimension: Dimension::Country, label: label.into() },
            value: 12_345,
            expected,
            anomalous: expected.is_some(),
        };
        let points = vec![point("D\"E", None), point("AT", Some((0.0, 1e9))), point("x", Some((f64::NAN, 1.0)))];
        let minute = ClosedMinute { bucket_ms: 60_000, amended: true, points };
        let text = closed(&minute, 1_795_378_560_123, &SeriesConfig::default());
        // a tree sorts its members
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap().to_string(), text);
    }
}

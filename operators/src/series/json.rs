//! Incidents and closed minutes as JSON (contract 4, and the internal record `series.closed`).

use super::book::{ClosedMinute, ClosedSegment, SeriesConfig};
use super::incident::{Incident, Stage};
use super::key::{Metric, Segment};
use super::points::Money;
use super::series::Side;
use crate::record::scored;
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

/// Appends hundredths as a decimal number.
fn hundredths(out: &mut Vec<u8>, value: i64) {
    let mut digits = itoa::Buffer::new();
    if value < 0 {
        out.push(b'-');
    }
    let value = value.unsigned_abs();
    out.extend_from_slice(digits.format(value / 100).as_bytes());
    let (tens, ones) = ((value % 100 / 10) as u8, (value % 10) as u8);
    match (tens, ones) {
        (0, 0) => {}
        (tens, 0) => out.extend_from_slice(&[b'.', b'0' + tens]),
        (tens, ones) => out.extend_from_slice(&[b'.', b'0' + tens, b'0' + ones]),
    }
}

/// Appends a value as a person reads it: see [`shown`].
fn number(out: &mut Vec<u8>, metric: Metric, value: f64, money: &Money) {
    let scale = if metric.is_money() { (0..money.exponent.min(4)).fold(1.0, |s, _| s * 10.0) } else { 1.0 };
    let rounded = libm::round(value / scale * 100.0);
    match rounded.abs() < 9.0e15 {
        true => hundredths(out, rounded as i64),
        false => scored::number(out, rounded / 100.0),
    }
}

/// The series of one segment: `"points":{"orders":[value,low,high]}`, and the names of those that are unusual.
fn segment(out: &mut Vec<u8>, of: &ClosedSegment, money: &Money) {
    out.extend_from_slice(b"{\"anomalous\":[");
    for (i, point) in of.points.iter().filter(|p| p.anomalous).enumerate() {
        out.extend_from_slice(if i == 0 { b"\"" } else { b",\"" });
        out.extend_from_slice(point.metric.name().as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b"],\"dimensions\":{");
    if !of.segment.is_total() {
        scored::text(out, of.segment.dimension.name());
        out.push(b':');
        scored::text(out, &of.segment.label);
    }
    out.extend_from_slice(b"},\"points\":{");
    for (i, point) in of.points.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"\"" } else { b",\"" });
        out.extend_from_slice(point.metric.name().as_bytes());
        out.extend_from_slice(b"\":[");
        number(out, point.metric, point.value as f64, money);
        match point.expected {
            Some((low, high)) => {
                out.push(b',');
                number(out, point.metric, low, money);
                out.push(b',');
                number(out, point.metric, high, money);
                out.push(b']');
            }
            None => out.extend_from_slice(b",null,null]"),
        }
    }
    out.extend_from_slice(b"}}");
}

/// The internal record of a closed (or amended) minute: by segment and metric the value and what is usual, money in major
/// units. Every minute names all main series, so this is short, and written without a tree in between.
pub fn closed(minute: &ClosedMinute, now_ms: i64, config: &SeriesConfig) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(b"{\"data\":{\"amended\":");
    out.extend_from_slice(if minute.amended { b"true" } else { b"false" });
    out.extend_from_slice(b",\"bucket_ms\":");
    out.extend_from_slice(itoa::Buffer::new().format(minute.bucket_ms).as_bytes());
    out.extend_from_slice(b",\"segments\":[");
    for (i, of) in minute.segments.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        segment(&mut out, of, &config.money);
    }
    out.extend_from_slice(b"]},\"timestamp\":");
    scored::rfc3339(&mut out, now_ms);
    out.extend_from_slice(b",\"type\":\"series.closed\"}");
    out
}

#[cfg(test)]
mod tests {
    use super::super::book::ClosedPoint;
    use super::super::key::Dimension;
    use super::*;

    #[test]
    fn a_closed_minute_is_short_and_its_numbers_are_those_of_people() {
        let point = |metric, value, expected| ClosedPoint { metric, value, expected, anomalous: value < 0 };
        let points = vec![
            point(Metric::Orders, 3, Some((0.006, 12.3456))),
            point(Metric::Revenue, -12_345, Some((f64::NAN, 1e30))),
            point(Metric::RefundAmount, 7, None),
        ];
        let segment = Segment { dimension: Dimension::Country, label: "D\"E".into() };
        let of = vec![ClosedSegment { segment: Segment::total(), points: vec![] }, ClosedSegment { segment, points }];
        let minute = ClosedMinute { bucket_ms: 60_000, amended: true, segments: of };
        let text = closed(&minute, 1_795_378_560_123, &SeriesConfig::default());
        let value: Value = serde_json::from_slice(&text).unwrap();
        let points =
            json!({"orders": [3, 0.01, 12.35], "revenue": [-123.45, null, 1e28], "refund_amount": [0.07, null, null]});
        let segments = json!([{"anomalous": [], "dimensions": {}, "points": {}},
            {"anomalous": ["revenue"], "dimensions": {"country": "D\"E"}, "points": points}]);
        assert_eq!(value["data"], json!({"amended": true, "bucket_ms": 60_000, "segments": segments}));
        assert_eq!(
            (value["type"].as_str(), value["timestamp"].as_str()),
            (Some("series.closed"), Some(&*rfc3339(1_795_378_560_123)))
        );
    }
}

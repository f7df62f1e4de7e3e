//! Records as the other parts write them.

use pulse::log::MemoryLog;
use pulse_dataflows::ports::{Cause, EventLog, Meta, Records, Request, Topic, partition};
use serde_json::{Value, json};
use std::sync::Arc;

/// A fixed time: 2026-11-22T20:16:00Z.
pub const T0: i64 = 1_795_378_560_000;

pub fn meta(time_ms: i64, offset: u64, kind: u32) -> Meta {
    Meta { time_ms, cause: Cause { partition: 0, offset, kind } }
}

/// An empty log of one partition.
pub fn log() -> Arc<MemoryLog> {
    MemoryLog::new(1, 1 << 28)
}

/// Appends one record; its offset.
pub fn put(log: &MemoryLog, topic: Topic, meta: Meta, value: impl AsRef<[u8]>) -> u64 {
    let parts = vec![(partition(topic, 0), Records::of(meta, value.as_ref()))];
    log.append_wait(Request { parts, ..Request::default() }).unwrap()[0]
}

/// All records of a topic.
pub fn all(log: &MemoryLog, topic: Topic) -> Vec<Value> {
    let mut values = vec![];
    let mut push = |_, _, value: &[u8]| values.push(serde_json::from_slice(value).unwrap());
    log.reader().each(partition(topic, 0), 0, u64::MAX, &mut push).unwrap();
    values
}

pub fn native(id: &str, time_ms: i64) -> Value {
    json!({"id": id, "type": "order.completed", "time": time_ms, "source": "web", "customer_id": "c-42", "ip": "203.0.113.9",
        "amount": 129.90, "currency": "EUR", "country": "DE", "payment": {"card": "fp_1"},
        "items": [{"product_id": "p-1", "category": "shoes"}], "entities": {"terminal": "t-1"}})
}

pub fn scored(id: &str, time_ms: i64, score: f64) -> Value {
    let decision = if score >= 0.5 { "anomaly" } else { "normal" };
    json!({"id": id, "source": "web", "type": "order.completed", "time": time_ms, "score": score, "p_value": 0.001,
        "decision": decision, "channel": "model", "threshold_value": 0.5, "threshold": "2026-W47.1", "confidence": 0.5,
        "severity": "warning", "model": "global_model@v0", "group": "order", "features": "AAAA",
        "reasons": [{"code": "amount", "text": "Amount is high", "direction": "high", "value": 1.0, "expected": [0.0, 1.0], "contribution": 1.0}]})
}

/// Appends an event and its score; the offset.
pub fn event(log: &MemoryLog, native: &Value, scored: &Value) -> u64 {
    let offset = put(log, Topic::Raw, meta(T0, 0, 0), native.to_string());
    put(log, Topic::Scored, meta(T0 + 1, offset, 0), scored.to_string());
    offset
}

pub fn alert(alert_id: &str, kind: &str, event: &Value, count: u64, time_ms: i64) -> Value {
    json!({"type": kind, "timestamp": pulse::json::rfc3339(time_ms),
        "data": {"alert_id": alert_id, "event": event, "count": count, "links": {}, "entity": {"kind": "customer", "id": "c-42"}}})
}

pub fn incident(incident_id: &str, kind: &str, time_ms: i64) -> Value {
    json!({"type": kind, "timestamp": pulse::json::rfc3339(time_ms),
        "data": {"incident_id": incident_id, "metric": "orders", "dimensions": {"region": "eu", "app": "ios"},
            "started_at": time_ms - 60_000, "detected_at": time_ms, "resolved_at": null, "value": 3.0, "expected": [40.0, 60.0],
            "direction": "low", "impact": {"amount": 1.0, "currency": "EUR", "events": 50}, "contributors": [], "event_ids": [], "event_count": 0}})
}

//! The form of answers: stored records keep their bytes, members are left out or added around them.

use crate::json::{Members, quoted, rfc3339};
use crate::store::query::{alerts::Alert, events::EventRow, incidents::Incident, labels::Verdict};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::value::RawValue;

/// JSON that is answered as it stands.
pub type Json = Box<RawValue>;

/// An answer of JSON.
pub fn json(value: &impl Serialize) -> Response {
    let bytes = serde_json::to_vec(value).unwrap_or_default(); // texts, numbers and raw JSON: cannot fail
    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

/// A text as JSON; `null` when it is none.
fn raw(text: String) -> Json {
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// `record` without some members and with others behind.
fn with(record: &str, drop: &[&str], add: &[(&str, String)]) -> Json {
    let names: Vec<&str> = drop.iter().copied().chain(add.iter().map(|(name, _)| *name)).collect();
    let mut text = Members::parse(record).unwrap_or_default().without(&names);
    text.truncate(text.len() - 1);
    for (name, value) in add {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&format!("{}:{value}", quoted(name)));
    }
    text.push('}');
    raw(text)
}

fn time(ms: Option<i64>) -> String {
    ms.map_or("null".into(), |ms| quoted(&rfc3339(ms)))
}
fn text(value: Option<&str>) -> String {
    value.map_or("null".into(), quoted)
}
fn list(values: &impl Serialize) -> String {
    serde_json::to_string(values).unwrap_or_else(|_| "[]".into())
}

/// An event in a list: the contract's scored event.
pub fn event(row: &EventRow) -> Json {
    with(&row.json, &["features"], &[])
}

/// An event with all that is known.
pub fn whole_event(row: &EventRow, entities: &[String], alerts: &[String], verdicts: &[Verdict]) -> Json {
    let native = row.raw.as_deref().filter(|raw| serde_json::from_str::<&RawValue>(raw).is_ok());
    with(
        &row.json,
        &[],
        &[
            ("received_at", time(Some(row.received_ms))),
            ("cause", format!("{{\"partition\":{},\"offset\":{}}}", row.cause.0, row.cause.1)),
            ("entities", list(&entities)),
            ("alerts", list(&alerts)),
            ("verdicts", list(&verdicts)),
            ("raw", native.unwrap_or("null").to_owned()),
        ],
    )
}

/// The time-line of an alert or incident.
pub fn history(lines: &[(i64, String)]) -> String {
    let lines: Vec<String> =
        lines.iter().map(|(ms, kind)| format!("{{\"time\":{},\"type\":{}}}", time(Some(*ms)), quoted(kind))).collect();
    format!("[{}]", lines.join(","))
}

/// An alert: `data` of its envelope and its state.
pub fn alert(row: &Alert, more: Vec<(&str, String)>) -> Json {
    let event = Members::parse(&row.json).ok().and_then(|data| data.get("event"));
    let event = event.map_or("null".into(), |event| with(event.get(), &["features"], &[]).get().to_owned());
    let mut add = vec![
        ("event", event),
        ("count", row.count.to_string()),
        ("severity", quoted(&row.severity)),
        ("status", quoted(&row.status)),
        ("opened_at", time(Some(row.opened_ms))),
        ("updated_at", time(Some(row.updated_ms))),
        ("resolved_at", time(row.resolved_ms)),
        ("acked_at", time(row.acked_ms)),
        ("acked_by", text(row.acked_by.as_deref())),
    ];
    add.extend(more);
    with(&row.json, &[], &add)
}

/// An incident: `data` of its envelope and its state.
pub fn incident(row: &Incident, more: Vec<(&str, String)>) -> Json {
    let mut add = vec![
        ("kind", quoted(&row.kind)),
        ("severity", quoted(&row.severity)),
        ("status", quoted(&row.status)),
        ("opened_at", time(Some(row.opened_ms))),
        ("updated_at", time(Some(row.updated_ms))),
        ("resolved_at", time(row.resolved_ms)),
        ("acked_at", time(row.acked_ms)),
        ("acked_by", text(row.acked_by.as_deref())),
    ];
    add.extend(more);
    with(&row.json, &[], &add)
}

/// Verdicts as JSON.
pub fn verdicts(all: &[Verdict]) -> String {
    list(&all)
}

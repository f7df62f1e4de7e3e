//! Records of the topics as rows: which columns there are, and where their values come from.
//!
//! The decoders are those of persist, so a row says what the query API says. Deliberately absent: files, days, progress.

use super::table::{Cell, DECIMALS, Field, Form};
use crate::persist::decode::{self, DecodeError, Notice};
use pulse_dataflows::ports::Meta;
use pulse_operators::record::money;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Columns of `events`.
pub const EVENTS: &[Field] = &[
    ("event_id", Form::Text, true),
    ("source", Form::Text, true),
    ("type", Form::Text, true),
    ("group", Form::Text, true),
    ("time", Form::Time, true),
    ("received", Form::Time, true),
    ("score", Form::Real, true),
    ("p_value", Form::Real, true),
    ("decision", Form::Text, true),
    ("channel", Form::Text, false),
    ("severity", Form::Text, false),
    ("threshold_value", Form::Real, false),
    ("threshold", Form::Text, false),
    ("confidence", Form::Real, false),
    ("model", Form::Text, false),
    ("score_base", Form::Real, false),
    ("score_rules", Form::Real, false),
    ("score_supervised", Form::Real, false),
    ("late", Form::Flag, true),
    ("cold_start", Form::Flag, true),
    ("amount", Form::Money, false),
    ("currency", Form::Text, false),
    ("country", Form::Text, false),
    ("category", Form::Text, false),
    ("rules", Form::Text, true),
    ("reasons", Form::Text, true),
    ("entities", Form::Text, true),
    ("log_partition", Form::Whole, true),
    ("log_offset", Form::Whole, true),
];

/// Columns of `alerts`.
pub const ALERTS: &[Field] = &[
    ("log_offset", Form::Whole, true),
    ("type", Form::Text, true),
    ("time", Form::Time, true),
    ("id", Form::Text, false),
    ("status", Form::Text, false),
    ("severity", Form::Text, false),
    ("suppressed", Form::Text, false),
    ("count", Form::Whole, false),
    ("entity", Form::Text, false),
    ("event_id", Form::Text, false),
    ("event_source", Form::Text, false),
    ("event_type", Form::Text, false),
    ("event_group", Form::Text, false),
    ("score", Form::Real, false),
    ("metric", Form::Text, false),
    ("dimensions", Form::Text, false),
    ("value", Form::Real, false),
    ("expected_low", Form::Real, false),
    ("expected_high", Form::Real, false),
    ("direction", Form::Text, false),
    ("started", Form::Time, false),
    ("resolved", Form::Time, false),
    ("record", Form::Text, true),
];

/// A row and the time that says which day it belongs to.
pub type Row = (i64, Vec<Cell>);

/// What a scored event says beyond what the store's columns hold.
#[derive(Default, Deserialize)]
#[serde(default)]
struct More<'a> {
    threshold_value: Option<f64>,
    confidence: Option<f64>,
    score_base: Option<f64>,
    score_rules: Option<f64>,
    score_supervised: Option<f64>,
    late: bool,
    cold_start: bool,
    #[serde(borrow)]
    rules: Option<&'a RawValue>,
    reasons: Option<&'a RawValue>,
}

/// A text that may be absent.
fn some(text: String) -> Cell {
    if text.is_empty() { Cell::Null } else { Cell::Text(text) }
}
fn list(raw: Option<&RawValue>) -> Cell {
    raw.map_or_else(|| "[]".to_owned(), |raw| raw.get().to_owned()).into()
}

/// Minor units of a currency with the decimals of the column.
fn amount(minor: i64, currency: &str) -> Option<i64> {
    let exponent = money::exponent(money::currency(currency)?);
    minor.checked_mul(10i64.checked_pow(u32::from(DECIMALS.checked_sub(exponent)?))?)
}

/// A scored event; `raw`: its native event, while the log has it.
pub fn event(value: &[u8], meta: Meta, raw: Option<(Meta, &[u8])>, currency: &str) -> Result<Row, DecodeError> {
    let row = decode::scored(value, meta, raw, currency)?;
    let more: More = serde_json::from_str(&row.json)?;
    let mut entities: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    row.entities.iter().for_each(|(name, id)| entities.entry(name).or_default().push(id));
    let entities = serde_json::to_string(&entities)?;
    let amount = row.amount_minor.zip(row.currency.as_deref()).and_then(|(minor, code)| amount(minor, code));
    let cells = vec![
        row.event_id.into(),
        row.source.into(),
        row.event_type.into(),
        row.group.into(),
        row.time_ms.into(),
        row.received_ms.into(),
        row.score.into(),
        row.p_value.into(),
        row.decision.into(),
        some(row.channel),
        some(row.severity),
        more.threshold_value.into(),
        some(row.threshold),
        more.confidence.into(),
        some(row.model),
        more.score_base.into(),
        more.score_rules.into(),
        more.score_supervised.into(),
        more.late.into(),
        more.cold_start.into(),
        amount.into(),
        row.currency.clone().into(),
        row.country.clone().into(),
        row.category.clone().into(),
        list(more.rules),
        list(more.reasons),
        entities.into(),
        i64::from(row.partition).into(),
        (row.offset as i64).into(),
    ];
    Ok((row.time_ms, cells))
}

/// A message about an alert or an incident, or of the program itself; `None`: a minute of the series, which nobody is told of.
pub fn alert(value: &[u8], offset: u64, meta: Meta) -> Result<Option<Row>, DecodeError> {
    let (history, notice) = decode::notice(value, offset, meta)?;
    let mut cells: Vec<Cell> =
        vec![(offset as i64).into(), history.kind.into(), history.time_ms.into(), some(history.subject)];
    match notice {
        Notice::Series(_) => return Ok(None),
        Notice::Alert(row) => cells.extend([
            row.status.to_owned().into(),
            row.severity.into(),
            row.suppressed.into(),
            row.count.into(),
            row.entity.into(),
            some(row.event_id.clone()),
            some(row.source),
            some(row.event_type),
            some(row.group),
            if row.event_id.is_empty() { Cell::Null } else { row.score.into() },
        ]),
        Notice::Incident(row) => {
            cells.extend([row.status.to_owned().into(), row.severity.into()]);
            cells.resize(cells.len() + 8, Cell::Null);
            cells.extend([
                some(row.metric),
                some(row.dimensions),
                row.value.into(),
                row.expected.map(|(low, _)| low).into(),
                row.expected.map(|(_, high)| high).into(),
                some(row.direction),
                row.started_ms.into(),
                row.resolved_ms.into(),
            ]);
        }
        Notice::Other => {}
    }
    cells.resize(ALERTS.len() - 1, Cell::Null);
    cells.push(history.json.into());
    Ok(Some((history.time_ms, cells)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulse_dataflows::ports::Cause;

    fn cell<'a>(fields: &[Field], cells: &'a [Cell], name: &str) -> &'a Cell {
        &cells[fields.iter().position(|(n, ..)| *n == name).unwrap()]
    }
    fn meta() -> Meta {
        Meta { time_ms: 5, cause: Cause { partition: 2, offset: 9, kind: 1 } }
    }

    #[test]
    fn an_event_has_its_columns() {
        let scored = br#"{"id":"o-1","source":"web","type":"order.completed","time":"2026-03-02T10:00:00Z","group":"order","score":0.5,
            "p_value":0.001,"decision":"anomaly","threshold_value":0.4,"late":true,"reasons":[{"code":"a"}],"rules":["r"]}"#;
        let raw = br#"{"id":"o-1","customer_id":"c-1","amount":12.5,"currency":"EUR","items":[{"product_id":"p-1"},{"product_id":"p-2"}]}"#;
        let (time_ms, cells) =
            event(scored, meta(), Some((Meta { time_ms: 4, ..Meta::default() }, raw)), "EUR").unwrap();
        assert_eq!((cells.len(), time_ms), (EVENTS.len(), 1_772_445_600_000));
        for (name, expected) in [
            ("amount", Cell::Whole(125_000)),
            ("late", Cell::Flag(true)),
            ("threshold_value", Cell::Real(0.4)),
            ("confidence", Cell::Null),
            ("reasons", Cell::Text(r#"[{"code":"a"}]"#.into())),
            ("entities", Cell::Text(r#"{"customer":["c-1"],"product":["p-1","p-2"]}"#.into())),
            ("received", Cell::Whole(4)),
            ("log_partition", Cell::Whole(2)),
            ("log_offset", Cell::Whole(9)),
        ] {
            assert_eq!(cell(EVENTS, &cells, name), &expected, "{name}");
        }
        assert_eq!((amount(7, "JPY"), amount(7, "KWD"), amount(i64::MAX, "EUR")), (Some(70_000), Some(70), None));
    }

    #[test]
    fn alerts_and_incidents_share_columns_and_series_are_left_out() {
        let anomaly = br#"{"type":"anomaly.opened","timestamp":"2026-03-02T10:00:00Z","data":{"alert_id":"al_1","count":2,
            "entity":{"kind":"device","id":"d"},"event":{"id":"e","type":"order.completed","score":0.5,"severity":"critical"}}}"#;
        let (_, cells) = alert(anomaly, 7, meta()).unwrap().unwrap();
        assert_eq!(cells.len(), ALERTS.len());
        for (name, expected) in [
            ("id", Cell::Text("al_1".into())),
            ("severity", Cell::Text("critical".into())),
            ("entity", Cell::Text("device:d".into())),
            ("score", Cell::Real(0.5)),
            ("metric", Cell::Null),
            ("record", Cell::Text(String::from_utf8(anomaly.to_vec()).unwrap())),
        ] {
            assert_eq!(cell(ALERTS, &cells, name), &expected, "{name}");
        }
        let incident = br#"{"type":"incident.resolved","timestamp":"2026-03-02T11:00:00Z","data":{"incident_id":"in_1","metric":"orders",
            "dimensions":{"country":"DE"},"started_at":"2026-03-02T10:00:00Z","value":0,"expected":[3,9.5]}}"#;
        let (_, cells) = alert(incident, 8, meta()).unwrap().unwrap();
        for (name, expected) in [
            ("status", Cell::Text("resolved".into())),
            ("event_id", Cell::Null),
            ("dimensions", Cell::Text("country=DE".into())),
            ("expected_high", Cell::Real(9.5)),
            ("started", Cell::Whole(1_772_445_600_000)),
        ] {
            assert_eq!(cell(ALERTS, &cells, name), &expected, "{name}");
        }
        let series =
            br#"{"type":"series.closed","timestamp":"2026-03-02T11:00:00Z","data":{"bucket_ms":0,"segments":[]}}"#;
        assert_eq!(alert(series, 9, meta()).unwrap(), None);
        let other = br#"{"type":"model.promoted","timestamp":"2026-03-02T11:00:00Z","data":{"version":"v"}}"#;
        assert_eq!(alert(other, 9, meta()).unwrap().unwrap().1.len(), ALERTS.len());
    }
}

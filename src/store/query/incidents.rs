//! Incidents and silences: lists, one, acknowledging.

use super::alerts::StateFilter;
use super::{Cursor, Page, Span, Where};
use crate::store::{Db, OptionalRow, Row};
use crate::store::{Result, prepare};

/// An incident as it is stored.
#[derive(Clone, Debug)]
pub struct Incident {
    /// `incident_id`
    pub incident_id: String,
    /// `incident` or `silence`.
    pub kind: String,
    /// When it was opened, ms.
    pub opened_ms: i64,
    /// When it was last amended, ms.
    pub updated_ms: i64,
    /// When it was resolved, ms.
    pub resolved_ms: Option<i64>,
    /// `info`, `warning`, `critical`.
    pub severity: String,
    /// `open` or `resolved`.
    pub status: String,
    /// Metric.
    pub metric: String,
    /// Canonical text `a=b,c=d`.
    pub dimensions: String,
    /// What was seen.
    pub value: Option<f64>,
    /// What was expected.
    pub expected: Option<(f64, f64)>,
    /// When somebody took it on, ms.
    pub acked_ms: Option<i64>,
    /// Who did.
    pub acked_by: Option<String>,
    /// `data` of the envelope.
    pub json: String,
}

const COLUMNS: &str = "incident_id, kind, opened_ms, updated_ms, resolved_ms, severity, status, metric, dimensions,
    value, low, high, acked_ms, acked_by, json";

fn row(row: &Row) -> Result<Incident> {
    let low: Option<f64> = row.get(10)?;
    Ok(Incident {
        incident_id: row.get(0)?,
        kind: row.get(1)?,
        opened_ms: row.get(2)?,
        updated_ms: row.get(3)?,
        resolved_ms: row.get(4)?,
        severity: row.get(5)?,
        status: row.get(6)?,
        metric: row.get(7)?,
        dimensions: row.get(8)?,
        value: row.get(9)?,
        expected: low.zip(row.get(11)?),
        acked_ms: row.get(12)?,
        acked_by: row.get(13)?,
        json: row.get(14)?,
    })
}

/// A page of incidents, newest first.
pub fn list(db: &Db, filter: &StateFilter, span: &Span) -> Result<Page<Incident>> {
    let mut w = Where::default();
    filter.apply(&mut w);
    w.span(span, "opened_ms", "opened_ms, incident_id, ''");
    let limit = w.limit(span.limit);
    let sql = format!("SELECT {COLUMNS} FROM incidents{} ORDER BY opened_ms DESC, incident_id DESC{limit}", w.sql);
    let mut statement = prepare(db, &sql)?;
    let rows: Vec<Incident> = statement.query_map(w.values.as_slice(), row)?.collect::<Result<_>>()?;
    Ok(Page::of(rows, span.limit, |one| Cursor(one.opened_ms, one.incident_id.clone(), String::new())))
}

/// One incident.
pub fn get(db: &Db, incident_id: &str) -> Result<Option<Incident>> {
    prepare(db, &format!("SELECT {COLUMNS} FROM incidents WHERE incident_id = $1"))?
        .query_row([incident_id], row)
        .optional()
}

/// Somebody takes it on; the first one stays. `false`: there is no such incident.
pub fn ack(db: &Db, incident_id: &str, by: &str, now_ms: i64) -> Result<bool> {
    let changed = prepare(
        db,
        "UPDATE incidents SET acked_ms = COALESCE(acked_ms, $2), acked_by = COALESCE(acked_by, $3) WHERE incident_id = $1",
    )?
    .execute((incident_id, now_ms, by))?;
    Ok(changed == 1)
}

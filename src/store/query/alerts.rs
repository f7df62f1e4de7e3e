//! Alerts: lists, one with its time-line, acknowledging.

use super::{Cursor, Page, Span, Where};
use crate::store::{Db, OptionalRow, Row};
use crate::store::{Result, prepare};

/// What a list is narrowed to; of incidents too.
#[derive(Clone, Debug, Default)]
pub struct StateFilter {
    /// `open` or `resolved`.
    pub status: Option<String>,
    /// `info`, `warning`, `critical`.
    pub severity: Option<String>,
}

impl StateFilter {
    pub(super) fn apply(&self, w: &mut Where) {
        match self.status.as_deref() {
            // A literal: the partial index is taken only when the condition stands in the text.
            Some("open") => w.and("status = 'open'", []),
            status => w.and_some("status = ?", status.map(str::to_owned)),
        }
        w.and_some("severity = ?", self.severity.clone());
    }
}

/// What a list of alerts is narrowed to beside that.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    /// Status and severity.
    pub state: StateFilter,
    /// Type of its event, exactly.
    pub event_type: Option<String>,
    /// Source of its event, exactly.
    pub source: Option<String>,
    /// `name:id`, exactly.
    pub entity: Option<String>,
    /// With a verdict, or without.
    pub judged: Option<bool>,
}

/// An alert as it is stored.
#[derive(Clone, Debug)]
pub struct Alert {
    /// `alert_id`
    pub alert_id: String,
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
    /// Id of its event ...
    pub event_id: String,
    /// ... and source.
    pub source: String,
    /// `name:id`
    pub entity: Option<String>,
    /// Similar events.
    pub count: i64,
    /// When somebody took it on, ms.
    pub acked_ms: Option<i64>,
    /// Who did.
    pub acked_by: Option<String>,
    /// `data` of the envelope.
    pub json: String,
}

const COLUMNS: &str = "alert_id, opened_ms, updated_ms, resolved_ms, severity, status, event_id, source, entity, count,
    acked_ms, acked_by, json";

fn row(row: &Row) -> Result<Alert> {
    Ok(Alert {
        alert_id: row.get(0)?,
        opened_ms: row.get(1)?,
        updated_ms: row.get(2)?,
        resolved_ms: row.get(3)?,
        severity: row.get(4)?,
        status: row.get(5)?,
        event_id: row.get(6)?,
        source: row.get(7)?,
        entity: row.get(8)?,
        count: row.get(9)?,
        acked_ms: row.get(10)?,
        acked_by: row.get(11)?,
        json: row.get(12)?,
    })
}

/// A page of alerts, newest first.
pub fn list(db: &Db, filter: &StateFilter, span: &Span) -> Result<Page<Alert>> {
    search(db, &AlertFilter { state: filter.clone(), ..AlertFilter::default() }, span)
}

/// A page of alerts, newest first, narrowed further.
pub fn search(db: &Db, filter: &AlertFilter, span: &Span) -> Result<Page<Alert>> {
    let mut w = Where::default();
    filter.state.apply(&mut w);
    w.and_some("event_type = ?", filter.event_type.clone());
    w.and_some("source = ?", filter.source.clone());
    w.and_some("entity = ?", filter.entity.clone());
    if let Some(judged) = filter.judged {
        let not = if judged { "" } else { "NOT " };
        let sql =
            "EXISTS (SELECT 1 FROM labels l WHERE l.target = 'alert:' || alerts.alert_id AND l.verdict <> 'withdrawn')";
        w.and(&format!("{not}{sql}"), []);
    }
    w.span(span, "opened_ms", "opened_ms, alert_id, ''");
    let limit = w.limit(span.limit);
    let sql = format!("SELECT {COLUMNS} FROM alerts{} ORDER BY opened_ms DESC, alert_id DESC{limit}", w.sql);
    let mut statement = prepare(db, &sql)?;
    let rows: Vec<Alert> = statement.query_map(w.values.as_slice(), row)?.collect::<Result<_>>()?;
    Ok(Page::of(rows, span.limit, |alert| Cursor(alert.opened_ms, alert.alert_id.clone(), String::new())))
}

/// One alert.
pub fn get(db: &Db, alert_id: &str) -> Result<Option<Alert>> {
    prepare(db, &format!("SELECT {COLUMNS} FROM alerts WHERE alert_id = $1"))?.query_row([alert_id], row).optional()
}

/// The alerts that an event is shown by. At most 100.
pub fn of_event(db: &Db, event_id: &str, source: &str) -> Result<Vec<String>> {
    let mut statement =
        prepare(db, "SELECT alert_id FROM alerts WHERE event_id = $1 AND source = $2 ORDER BY alert_id LIMIT 100")?;
    statement.query_map([event_id, source], |row| row.get(0))?.collect()
}

/// What happened to an alert or incident: (time, type), oldest first. The first 1,000.
pub fn history(db: &Db, subject: &str) -> Result<Vec<(i64, String)>> {
    let mut statement =
        prepare(db, "SELECT time_ms, type FROM alert_history WHERE subject = $1 ORDER BY log_offset LIMIT 1000")?;
    statement.query_map([subject], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Somebody takes it on; the first one stays. `false`: there is no such alert.
pub fn ack(db: &Db, alert_id: &str, by: &str, now_ms: i64) -> Result<bool> {
    let changed = prepare(
        db,
        "UPDATE alerts SET acked_ms = COALESCE(acked_ms, $2), acked_by = COALESCE(acked_by, $3) WHERE alert_id = $1",
    )?
    .execute((alert_id, now_ms, by))?;
    Ok(changed == 1)
}

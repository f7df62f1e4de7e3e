//! Scored events: lists by decision, type, score and entity; one with all that is known of it.

use super::{Cursor, Page, Span, Where};
use crate::store::{Db, Row};
use crate::store::{Result, prepare};

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// `normal` or `anomaly`.
    pub decision: Option<String>,
    /// `type`, exactly.
    pub event_type: Option<String>,
    /// Score at least.
    pub min_score: Option<f64>,
    /// (name, id) of an entity.
    pub entity: Option<(String, String)>,
}

/// A scored event as it is stored.
#[derive(Clone, Debug)]
pub struct EventRow {
    /// `id`
    pub event_id: String,
    /// `source`
    pub source: String,
    /// Event time, ms.
    pub time_ms: i64,
    /// Time of receipt, ms.
    pub received_ms: i64,
    /// Partition and offset in `events.raw`.
    pub cause: (u16, u64),
    /// The scored record.
    pub json: String,
    /// The native event, when asked for and still known.
    pub raw: Option<String>,
}

fn row(row: &Row) -> Result<EventRow> {
    Ok(EventRow {
        event_id: row.get(0)?,
        source: row.get(1)?,
        time_ms: row.get(2)?,
        received_ms: row.get(3)?,
        cause: (row.get(4)?, row.get::<i64>(5)? as u64),
        json: row.get(6)?,
        raw: row.get(7)?,
    })
}

/// Columns of [`row`], without the native event.
const COLUMNS: &str = "e.event_id, e.source, e.time_ms, e.received_ms, e.log_partition, e.log_offset, e.json, NULL";

/// A page of events, newest first. (`NULL` in place of the native events.)
pub fn list(db: &Db, filter: &EventFilter, span: &Span) -> Result<Page<EventRow>> {
    let mut w = Where::default();
    // From the entity's own index when one is named: it has the same order.
    let (from, order) = match &filter.entity {
        Some((name, id)) => {
            w.and("x.name = ? AND x.entity_id = ?", [name.clone().into(), id.clone().into()]);
            (
                "event_entities x JOIN scored_events e ON e.event_id = x.event_id AND e.source = x.source AND e.time_ms = x.time_ms",
                "x.time_ms, x.event_id, x.source",
            )
        }
        None => ("scored_events e", "e.time_ms, e.event_id, e.source"),
    };
    let time = if filter.entity.is_some() { "x.time_ms" } else { "e.time_ms" };
    match filter.decision.as_deref() {
        // A literal: the partial index is taken only when the condition stands in the text.
        Some("anomaly") => w.and("e.decision = 'anomaly'", []),
        decision => w.and_some("e.decision = ?", decision.map(str::to_owned)),
    }
    w.and_some("e.type = ?", filter.event_type.clone());
    if filter.min_score.is_some_and(|score| score >= 0.5) {
        w.and("e.score >= 0.5", []); // for the partial index, as above
    }
    w.and_some("e.score >= ?", filter.min_score);
    w.span(span, time, order);
    let limit = w.limit(span.limit);
    let descending = order.replace(',', " DESC,");
    let sql = format!("SELECT {COLUMNS} FROM {from}{} ORDER BY {descending} DESC{limit}", w.sql);
    let mut statement = prepare(db, &sql)?;
    let rows: Vec<EventRow> = statement.query_map(w.values.as_slice(), row)?.collect::<Result<_>>()?;
    Ok(Page::of(rows, span.limit, |event| Cursor(event.time_ms, event.event_id.clone(), event.source.clone())))
}

/// All events of an id (one for each source; on PostgreSQL also one for each time, when the id came again after a day), with the
/// native event, in the order of sources and times. At most 100.
pub fn by_id(db: &Db, event_id: &str, source: Option<&str>) -> Result<Vec<EventRow>> {
    let mut statement = prepare(
        db,
        "SELECT event_id, source, time_ms, received_ms, log_partition, log_offset, json, raw FROM scored_events
         WHERE event_id = $1 AND (CAST($2 AS TEXT) IS NULL OR source = $2) ORDER BY source, time_ms LIMIT 100",
    )?;
    statement.query_map((event_id, source), row)?.collect()
}

/// What is shown of an event beside others.
#[derive(Clone, Debug, PartialEq)]
pub struct Brief {
    /// `id`
    pub event_id: String,
    /// `source`
    pub source: String,
    /// Event time, ms.
    pub time_ms: i64,
    /// `type`
    pub event_type: String,
    /// In [0, 1].
    pub score: f64,
    /// Was it decided to be an anomaly?
    pub anomaly: bool,
    /// Minor units of the currency.
    pub amount: Option<(i64, String)>,
    /// ISO 3166 alpha-2.
    pub country: Option<String>,
}

/// The events of an entity up to a time, newest first.
pub fn of_entity(db: &Db, (name, id): (&str, &str), until_ms: i64, limit: usize) -> Result<Vec<Brief>> {
    let mut statement = prepare(
        db,
        "SELECT e.event_id, e.source, e.time_ms, e.type, e.score, e.decision, e.amount_minor, e.currency, e.country
         FROM event_entities x JOIN scored_events e ON e.event_id = x.event_id AND e.source = x.source AND e.time_ms = x.time_ms
         WHERE x.name = $1 AND x.entity_id = $2 AND x.time_ms <= $3
         ORDER BY x.time_ms DESC, x.event_id DESC, x.source DESC LIMIT $4",
    )?;
    let rows = statement.query_map((name, id, until_ms, limit as i64), |row| {
        let (amount, currency): (Option<i64>, Option<String>) = (row.get(6)?, row.get(7)?);
        Ok(Brief {
            event_id: row.get(0)?,
            source: row.get(1)?,
            time_ms: row.get(2)?,
            event_type: row.get(3)?,
            score: row.get(4)?,
            anomaly: row.get::<String>(5)? == "anomaly",
            amount: amount.zip(currency),
            country: row.get(8)?,
        })
    })?;
    rows.collect()
}

/// The entities of an event, `name:id`, in order.
pub fn entities(db: &Db, event: &EventRow) -> Result<Vec<String>> {
    let mut statement = prepare(
        db,
        "SELECT name, entity_id FROM event_entities WHERE event_id = $1 AND source = $2 AND time_ms = $3
         ORDER BY name, entity_id LIMIT 100",
    )?;
    let names = statement.query_map((&event.event_id, &event.source, event.time_ms), |row| {
        Ok(format!("{}:{}", row.get::<String>(0)?, row.get::<String>(1)?))
    })?;
    names.collect()
}

//! What readers of the log write: one function for each kind of row. All of them may be repeated: a row that is there is kept
//! (scores never change), an alert's state is replaced by a later one.
//!
//! Deliberately absent: transactions and positions (the caller's), decoding of records.

use super::{Result, prepare};
use crate::store::Db;

/// A scored event. `json` and `raw` are the bytes of the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoredRow {
    /// `id`
    pub event_id: String,
    /// `source`
    pub source: String,
    /// Its cause: partition of `events.raw` ...
    pub partition: u16,
    /// ... and offset there.
    pub offset: u64,
    /// `type`
    pub event_type: String,
    /// Group of the type.
    pub group: String,
    /// Event time, ms.
    pub time_ms: i64,
    /// Time of receipt, ms.
    pub received_ms: i64,
    /// In [0, 1].
    pub score: f64,
    /// In [0, 1].
    pub p_value: f64,
    /// `normal` or `anomaly`.
    pub decision: String,
    /// Which channel decided.
    pub channel: String,
    /// `info`, `warning`, `critical`.
    pub severity: String,
    /// Model version.
    pub model: String,
    /// Version of the threshold.
    pub threshold: String,
    /// Minor units of `currency`.
    pub amount_minor: Option<i64>,
    /// ISO 4217.
    pub currency: Option<String>,
    /// ISO 3166 alpha-2.
    pub country: Option<String>,
    /// Category of the first item.
    pub category: Option<String>,
    /// The scored record.
    pub json: String,
    /// The native event; `None` when it is trimmed already.
    pub raw: Option<String>,
    /// Entities: (name, id).
    pub entities: Vec<(String, String)>,
}

/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;

impl ScoredRow {
    /// Start of the hour of its time.
    pub(super) fn hour_ms(&self) -> i64 {
        self.time_ms.div_euclid(HOUR_MS) * HOUR_MS
    }
}

/// Writes a scored event with its entities and its counts by hour; `false`: it was there, nothing is changed.
pub fn add_scored(db: &Db, row: &ScoredRow) -> Result<bool> {
    let new = prepare(
        db,
        "INSERT INTO scored_events VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21)
         ON CONFLICT DO NOTHING",
    )?
    .execute(crate::store::params![
        row.event_id,
        row.source,
        row.partition,
        row.offset as i64,
        row.event_type,
        row.group,
        row.time_ms,
        row.received_ms,
        row.score,
        row.p_value,
        row.decision,
        row.channel,
        row.severity,
        row.model,
        row.threshold,
        row.amount_minor,
        row.currency,
        row.country,
        row.category,
        row.json,
        row.raw,
    ])?;
    if new == 0 {
        return Ok(false);
    }
    let mut entity = prepare(db, "INSERT INTO event_entities VALUES ($1,$2,$3,$4,$5) ON CONFLICT DO NOTHING")?;
    for (name, id) in &row.entities {
        entity.execute((name, id, row.time_ms, &row.event_id, &row.source))?;
    }
    prepare(
        db,
        "INSERT INTO event_hours VALUES ($1,$2,$3,$4,1)
         ON CONFLICT (hour_ms, event_group, decision, channel) DO UPDATE SET events = event_hours.events + 1",
    )?
    .execute((row.hour_ms(), &row.group, &row.decision, &row.channel))?;
    prepare(
        db,
        "INSERT INTO source_hours VALUES ($1,$2,1,$3) ON CONFLICT (hour_ms, source)
         DO UPDATE SET events = source_hours.events + 1, last_ms = {greatest}(source_hours.last_ms, excluded.last_ms)",
    )?
    .execute((row.hour_ms(), &row.source, row.received_ms))?;
    Ok(true)
}

pub use super::bulk::add_scored as add_all_scored;

/// A record of the topic `alerts`, as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistoryRow {
    /// `alert_id`, `incident_id`, or empty (`model.promoted` and the like).
    pub subject: String,
    /// (partition, offset, kind)
    pub cause: (u16, u64, u32),
    /// `type` of the envelope.
    pub kind: String,
    /// `timestamp` of the envelope, ms.
    pub time_ms: i64,
    /// Offset in `alerts`.
    pub log_offset: u64,
    /// The record.
    pub json: String,
}

/// Keeps a record of `alerts`; `false`: this cause is there already.
pub fn add_history(db: &Db, row: &HistoryRow) -> Result<bool> {
    let (partition, offset, kind) = row.cause;
    let new = prepare(db, "INSERT INTO alert_history VALUES ($1,$2,$3,$4,$5,$6,$7,$8) ON CONFLICT DO NOTHING")?
        .execute((
            &row.subject,
            partition,
            offset as i64,
            kind,
            &row.kind,
            row.time_ms,
            row.log_offset as i64,
            &row.json,
        ))?;
    Ok(new == 1)
}

/// The state of an alert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertRow {
    /// `alert_id`
    pub alert_id: String,
    /// Time of the record, ms.
    pub time_ms: i64,
    /// `open` or `resolved`.
    pub status: &'static str,
    /// Severity of the event.
    pub severity: String,
    /// The event's id ...
    pub event_id: String,
    /// ... and source.
    pub source: String,
    /// The event's type.
    pub event_type: String,
    /// The type's group.
    pub group: String,
    /// The event's score.
    pub score: f64,
    /// `name:id` of the entity it is about.
    pub entity: Option<String>,
    /// Similar events.
    pub count: i64,
    /// Why nobody is told; stands in `json`, has no column.
    pub suppressed: Option<String>,
    /// `data` of the envelope.
    pub json: String,
}

/// Writes the state of an alert; what a person did to it (acknowledged) stays. A record without the event (its `event_id` is
/// empty) changes state and count only.
pub fn put_alert(db: &Db, row: &AlertRow) -> Result<()> {
    let resolved = (row.status == "resolved").then_some(row.time_ms);
    prepare(
        db,
        "INSERT INTO alerts VALUES ($1,$2,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,NULL,NULL,$13)
         ON CONFLICT (alert_id) DO UPDATE SET updated_ms = excluded.updated_ms, resolved_ms = excluded.resolved_ms,
           status = excluded.status, count = {greatest}(alerts.count, excluded.count),
           severity = CASE WHEN excluded.event_id = '' THEN alerts.severity ELSE excluded.severity END,
           event_id = CASE WHEN excluded.event_id = '' THEN alerts.event_id ELSE excluded.event_id END, source
           = CASE WHEN excluded.event_id = '' THEN alerts.source ELSE excluded.source END, event_type = CASE
           WHEN excluded.event_id = '' THEN alerts.event_type ELSE excluded.event_type END, event_group = CASE
           WHEN excluded.event_id = '' THEN alerts.event_group ELSE excluded.event_group END, score = CASE WHEN
           excluded.event_id = '' THEN alerts.score ELSE excluded.score END, entity = CASE WHEN
           excluded.event_id = '' THEN alerts.entity ELSE excluded.entity END, json = CASE WHEN
           excluded.event_id = '' THEN alerts.json ELSE excluded.json END",
    )?
    .execute(crate::store::params![
        row.alert_id,
        row.time_ms,
        resolved,
        row.severity,
        row.status,
        row.event_id,
        row.source,
        row.event_type,
        row.group,
        row.score,
        row.entity,
        row.count,
        row.json,
    ])?;
    Ok(())
}

/// The state of an incident, of a silence too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IncidentRow {
    /// `incident_id`
    pub incident_id: String,
    /// `incident` or `silence`.
    pub kind: &'static str,
    /// Time of the record, ms.
    pub time_ms: i64,
    /// `started_at`, ms.
    pub started_ms: i64,
    /// `resolved_at`, ms.
    pub resolved_ms: Option<i64>,
    /// `open` or `resolved`.
    pub status: &'static str,
    /// `severity`, `warning` when the record names none.
    pub severity: String,
    /// `metric`
    pub metric: String,
    /// Canonical text `a=b,c=d`.
    pub dimensions: String,
    /// What was seen.
    pub value: Option<f64>,
    /// What was expected.
    pub expected: Option<(f64, f64)>,
    /// Which way.
    pub direction: String,
    /// `data` of the envelope.
    pub json: String,
}

/// Writes the state of an incident; what a person did to it stays.
pub fn put_incident(db: &Db, row: &IncidentRow) -> Result<()> {
    prepare(
        db,
        "INSERT INTO incidents VALUES ($1,$2,$3,$4,$3,$5,$6,$7,$8,$9,$10,$11,$12,$13,NULL,NULL,$14)
         ON CONFLICT (incident_id) DO UPDATE SET started_ms = excluded.started_ms, updated_ms = excluded.updated_ms,
           resolved_ms = excluded.resolved_ms, severity = excluded.severity, status = excluded.status,
           value = excluded.value, low = excluded.low, high = excluded.high, direction = excluded.direction,
           json = excluded.json",
    )?
    .execute(crate::store::params![
        row.incident_id,
        row.kind,
        row.time_ms,
        row.started_ms,
        row.resolved_ms,
        row.severity,
        row.status,
        row.metric,
        row.dimensions,
        row.value,
        row.expected.map(|(low, _)| low),
        row.expected.map(|(_, high)| high),
        row.direction,
        row.json,
    ])?;
    Ok(())
}

/// A verdict.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelRow {
    /// Offset in `labels`.
    pub log_offset: u64,
    /// When the verdict became known, ms.
    pub time_ms: i64,
    /// What it is about: `alert:..`, `incident:..`, `event:source/id`, `order:..`, `payment:..`, `window:..`.
    pub target: String,
    /// The event it is about (source, id), when known.
    pub event: Option<(String, String)>,
    /// One of the contract's five.
    pub verdict: String,
    /// Where it comes from.
    pub origin: String,
    /// Who said it.
    pub author: String,
    /// Why.
    pub reason: Option<String>,
    /// The record.
    pub json: String,
}

/// Keeps a verdict.
pub fn add_label(db: &Db, row: &LabelRow) -> Result<bool> {
    let new = prepare(db, "INSERT INTO labels VALUES (0,$1,$2,$3,$4,$5,$6,$7,$8,$9,$10) ON CONFLICT DO NOTHING")?
        .execute((
            row.log_offset as i64,
            row.time_ms,
            &row.target,
            row.event.as_ref().map(|(_, id)| id),
            row.event.as_ref().map(|(source, _)| source),
            &row.verdict,
            &row.origin,
            &row.author,
            &row.reason,
            &row.json,
        ))?;
    Ok(new == 1)
}

/// A point of a series: one closed bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesPoint {
    /// Name of the metric.
    pub metric: String,
    /// Canonical text `a=b,c=d`, empty for the whole.
    pub dimensions: String,
    /// Start of the bucket, ms.
    pub bucket_ms: i64,
    /// What was seen.
    pub value: f64,
    /// Lower and upper bound of what was expected.
    pub expected: Option<(f64, f64)>,
    /// Judged unusual.
    pub anomalous: bool,
}

/// Writes a point; a bucket that is amended replaces the earlier one.
pub fn put_series_point(db: &Db, point: &SeriesPoint) -> Result<()> {
    prepare(
        db,
        "INSERT INTO series_rollup VALUES ($1,$2,$3,$4,$5,$6,$7)
         ON CONFLICT (metric, dimensions, bucket_ms)
         DO UPDATE SET value = excluded.value, low = excluded.low, high = excluded.high, anomalous = excluded.anomalous",
    )?
    .execute((
        &point.metric,
        &point.dimensions,
        point.bucket_ms,
        point.value,
        point.expected.map(|(low, _)| low),
        point.expected.map(|(_, high)| high),
        point.anomalous,
    ))?;
    Ok(())
}

/// What was not taken up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RejectRow {
    /// Partition and offset in `events.rejected`.
    pub log: (u16, u64),
    /// When, ms.
    pub time_ms: i64,
    /// `source`, empty when unknown.
    pub source: String,
    /// Stable code.
    pub code: String,
    /// For a person.
    pub message: String,
    /// Hash of what came.
    pub payload_hash: String,
    /// What came, as far as it is kept.
    pub payload: Option<String>,
    /// Which part refused it.
    pub stage: String,
    /// (partition, offset) in `events.raw`, when it had got that far.
    pub event: Option<(u16, u64)>,
}

/// Keeps a refusal.
pub fn add_reject(db: &Db, row: &RejectRow) -> Result<bool> {
    let new = prepare(db, "INSERT INTO rejects VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11) ON CONFLICT DO NOTHING")?
        .execute(crate::store::params![
            row.log.0,
            row.log.1 as i64,
            row.time_ms,
            row.source,
            row.code,
            row.message,
            row.payload_hash,
            row.payload,
            row.stage,
            row.event.map(|(partition, _)| partition),
            row.event.map(|(_, offset)| offset as i64),
        ])?;
    Ok(new == 1)
}

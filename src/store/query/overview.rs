//! How things stand, in a few numbers, and what each source sends: what the dashboard asks for every few seconds. All from small tables
//! and partial indexes, whatever the number of events.

use crate::store::Db;
use crate::store::{Result, prepare};
use std::collections::BTreeMap;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Hours of a source that are told one by one.
pub const HOURS: usize = 24;
/// How far back a source is looked for.
const BACK_MS: i64 = 7 * DAY_MS;
/// Rows that are read for that: a hundred sources, each hour of a week.
const ROWS: i64 = 20_000;

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overview {
    /// Open alerts.
    pub open_alerts: u64,
    /// Open incidents, silences among them.
    pub open_incidents: u64,
    /// Open silences.
    pub silent: u64,
    /// Alerts opened in the last day.
    pub alerts_day: u64,
    /// Events of the last day, by event time, whole hours.
    pub events_day: u64,
    /// Are there any events at all?
    pub any: bool,
}

fn count(db: &Db, sql: &str, values: &[i64]) -> Result<u64> {
    let values: Vec<crate::store::db::Value> = values.iter().map(|n| (*n).into()).collect();
    prepare(db, sql)?.query_row(values.as_slice(), |row| row.get::<i64>(0)).map(|n| n as u64)
}

/// How things stand now.
pub fn overview(db: &Db, now_ms: i64) -> Result<Overview> {
    let day = now_ms - DAY_MS;
    Ok(Overview {
        open_alerts: count(db, "SELECT COUNT(*) FROM alerts WHERE status = 'open'", &[])?,
        open_incidents: count(db, "SELECT COUNT(*) FROM incidents WHERE status = 'open'", &[])?,
        silent: count(db, "SELECT COUNT(*) FROM incidents WHERE status = 'open' AND kind = 'silence'", &[])?,
        alerts_day: count(db, "SELECT COUNT(*) FROM alerts WHERE opened_ms >= $1", &[day])?,
        events_day: count(
            db,
            "SELECT CAST(COALESCE(SUM(events), 0) AS BIGINT) FROM event_hours WHERE hour_ms >= $1",
            &[day],
        )?,
        any: count(db, "SELECT COUNT(*) FROM (SELECT 1 FROM event_hours LIMIT 1) AS one", &[])? > 0,
    })
}

/// What a source sends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceActivity {
    /// Its name.
    pub source: String,
    /// Receipt of its last event, ms.
    pub last_ms: i64,
    /// Events of the last [`HOURS`] hours, the oldest first; the last one is not over.
    pub hours: Vec<u64>,
}
impl SourceActivity {
    /// Events of the last day.
    pub fn day(&self) -> u64 {
        self.hours.iter().sum()
    }
}

/// The sources of the last week, those that sent last first.
pub fn sources(db: &Db, now_ms: i64) -> Result<Vec<SourceActivity>> {
    let this_hour = now_ms.div_euclid(HOUR_MS) * HOUR_MS;
    let first = this_hour - (HOURS as i64 - 1) * HOUR_MS;
    let mut found: BTreeMap<String, SourceActivity> = BTreeMap::new();
    let mut statement = prepare(
        db,
        "SELECT source, hour_ms, events, last_ms FROM source_hours WHERE hour_ms >= $1 ORDER BY hour_ms DESC, source LIMIT $2",
    )?;
    statement.each([now_ms - BACK_MS, ROWS], |row| {
        let source: String = row.get(0)?;
        let entry =
            found.entry(source.clone()).or_insert_with(|| SourceActivity { source, last_ms: 0, hours: vec![0; HOURS] });
        entry.last_ms = entry.last_ms.max(row.get(3)?);
        let place = (row.get::<i64>(1)? - first).div_euclid(HOUR_MS);
        // clocks may be five minutes ahead
        let place = usize::try_from(place).ok().map(|place| place.min(HOURS - 1));
        if let Some(hour) = place.and_then(|place| entry.hours.get_mut(place)) {
            *hour += row.get::<i64>(2)? as u64;
        }
        Ok(())
    })?;
    let mut all: Vec<SourceActivity> = found.into_values().collect();
    all.sort_by(|a, b| b.last_ms.cmp(&a.last_ms).then_with(|| a.source.cmp(&b.source)));
    Ok(all)
}

/// Refusals of one code and source.
#[derive(Clone, Debug, PartialEq)]
pub struct RejectCount {
    /// Stable code.
    pub code: String,
    /// Source, empty when unknown.
    pub source: String,
    /// How many.
    pub count: u64,
    /// The last of them, ms.
    pub last_ms: i64,
}

/// Refusals that are looked at for the counts: the newest.
pub const REJECTS: i64 = 10_000;

/// The newest refusals since then, by code and source, the most frequent first.
pub fn rejects(db: &Db, since_ms: i64) -> Result<Vec<RejectCount>> {
    let mut statement = prepare(
        db,
        "SELECT code, source, COUNT(*), MAX(time_ms) FROM
           (SELECT code, source, time_ms FROM rejects WHERE time_ms >= $1
            ORDER BY time_ms DESC, log_partition DESC, log_offset DESC LIMIT $2) AS newest
         GROUP BY code, source ORDER BY 3 DESC, 1, 2 LIMIT 50",
    )?;
    let rows = statement.query_map([since_ms, REJECTS], |row| {
        let (code, source, last_ms) = (row.get(0)?, row.get(1)?, row.get(3)?);
        Ok(RejectCount { code, source, count: row.get::<i64>(2)? as u64, last_ms })
    })?;
    rows.collect()
}

/// A message about an alert or incident, and what became of it at one destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// Type of the message.
    pub kind: String,
    /// Receipt of the event that caused it, ms.
    pub received_ms: Option<i64>,
    /// Its place in the log, ms.
    pub appended_ms: i64,
    /// When delivery read it, ms.
    pub scored_ms: i64,
    /// Destination; `None`: it was for nobody.
    pub endpoint: Option<String>,
    /// `pending`, `sending`, `delivered`, `dead`, `suppressed`.
    pub state: Option<String>,
    /// Why dead or suppressed.
    pub reason: Option<String>,
    /// Attempts so far.
    pub attempts: Option<i64>,
    /// Start of the first attempt, ms.
    pub first_sent_ms: Option<i64>,
}

/// The messages about a subject, the oldest first. At most 200.
pub fn messages(db: &Db, subject: &str) -> Result<Vec<Sent>> {
    let mut statement = prepare(
        db,
        "SELECT m.type, m.received_ms, m.appended_ms, m.scored_ms, o.endpoint_id, o.state, o.reason, o.attempts, o.first_sent_ms
         FROM webhook_messages m LEFT JOIN webhook_outbox o ON o.message_id = m.id
         WHERE m.subject = $1 ORDER BY m.created_ms, m.id, o.endpoint_id LIMIT 200",
    )?;
    let rows = statement.query_map([subject], |row| {
        Ok(Sent {
            kind: row.get(0)?,
            received_ms: row.get(1)?,
            appended_ms: row.get(2)?,
            scored_ms: row.get(3)?,
            endpoint: row.get(4)?,
            state: row.get(5)?,
            reason: row.get(6)?,
            attempts: row.get(7)?,
            first_sent_ms: row.get(8)?,
        })
    })?;
    rows.collect()
}

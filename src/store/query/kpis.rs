//! Figures by which the detection is judged: events, alerts a day, precision and recall by the verdicts in force.

use crate::store::Db;
use crate::store::{Result, prepare};

/// Figures of a time.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Kpis {
    /// Scored events (by event time, whole hours).
    pub events: u64,
    /// Of them judged anomalies.
    pub anomalies: u64,
    /// Alerts opened.
    pub alerts: u64,
    /// Alerts opened, for each day of the time.
    pub alerts_per_day: f64,
    /// Alerts open now, whenever opened.
    pub open_alerts: u64,
    /// Incidents and silences open now.
    pub open_incidents: u64,
    /// Alerts of the time that were confirmed.
    pub true_positives: u64,
    /// Alerts of the time that were refuted.
    pub false_positives: u64,
    /// Confirmed events that raised no alert.
    pub missed: u64,
    /// `true_positives / (true_positives + false_positives)`; `None` before there are verdicts.
    pub precision: Option<f64>,
    /// `true_positives / (true_positives + missed)`; `None` before there are confirmed ones.
    pub recall: Option<f64>,
}

/// Verdicts in force: the last of each target, author and origin.
const IN_FORCE: &str = "SELECT target, event_id, source, verdict, log_offset,
      ROW_NUMBER() OVER (PARTITION BY target, author, origin ORDER BY log_offset DESC) AS place FROM labels";

fn count(db: &Db, sql: &str, from_ms: i64, to_ms: i64) -> Result<u64> {
    prepare(db, sql)?.query_row([from_ms, to_ms], |row| row.get::<i64>(0)).map(|n| n as u64)
}

/// The figures of `[from_ms, to_ms)`.
pub fn compute(db: &Db, from_ms: i64, to_ms: i64) -> Result<Kpis> {
    let hours = "SELECT CAST(COALESCE(SUM(events), 0) AS BIGINT) FROM event_hours WHERE hour_ms >= $1 AND hour_ms < $2";
    let events = count(db, hours, from_ms, to_ms)?;
    let anomalies = count(db, &format!("{hours} AND decision = 'anomaly'"), from_ms, to_ms)?;
    let alerts = count(db, "SELECT COUNT(*) FROM alerts WHERE opened_ms >= $1 AND opened_ms < $2", from_ms, to_ms)?;
    let open = |table| -> Result<u64> {
        prepare(db, &format!("SELECT COUNT(*) FROM {table} WHERE status = 'open'"))?
            .query_row([], |row| row.get::<i64>(0))
            .map(|n| n as u64)
    };
    // One alert, one verdict: the latest in force, on the alert itself or on its event.
    let judged = |verdict: &str| {
        count(
            db,
            &format!(
                "WITH force AS ({IN_FORCE}), on_alerts AS (
                   SELECT a.alert_id, f.verdict, f.log_offset, f.place, a.opened_ms
                   FROM alerts a JOIN force f ON f.target = 'alert:' || a.alert_id
                   UNION ALL SELECT a.alert_id, f.verdict, f.log_offset, f.place, a.opened_ms
                   FROM alerts a JOIN force f ON f.target = 'event:' || a.source || '/' || a.event_id),
                 judged AS (SELECT verdict, ROW_NUMBER() OVER (PARTITION BY alert_id ORDER BY log_offset DESC) AS latest
                   FROM on_alerts WHERE place = 1 AND verdict <> 'withdrawn' AND opened_ms >= $1 AND opened_ms < $2)
                 SELECT COUNT(*) FROM judged WHERE latest = 1 AND verdict = '{verdict}'"
            ),
            from_ms,
            to_ms,
        )
    };
    let (true_positives, false_positives) = (judged("true_positive")?, judged("false_positive")?);
    let missed = count(
        db,
        &format!(
            "WITH force AS ({IN_FORCE}) SELECT COUNT(DISTINCT f.target) FROM force f
             JOIN scored_events e ON e.event_id = f.event_id AND e.source = f.source
             WHERE f.place = 1 AND f.verdict = 'true_positive' AND f.target LIKE 'event:%'
               AND e.decision = 'normal' AND e.time_ms >= $1 AND e.time_ms < $2"
        ),
        from_ms,
        to_ms,
    )?;
    let share = |part: u64, rest: u64| (part + rest > 0).then(|| part as f64 / (part + rest) as f64);
    let days = ((to_ms - from_ms).max(1) as f64 / 86_400_000.0).max(1.0 / 24.0);
    Ok(Kpis {
        events,
        anomalies,
        alerts,
        alerts_per_day: alerts as f64 / days,
        open_alerts: open("alerts")?,
        open_incidents: open("incidents")?,
        true_positives,
        false_positives,
        missed,
        precision: share(true_positives, false_positives),
        recall: share(true_positives, missed),
    })
}

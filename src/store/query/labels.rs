//! Verdicts: those in force on a subject, or on several.

use crate::store::Db;
use crate::store::db::Value;
use crate::store::{Result, prepare};
use std::collections::BTreeMap;

/// A verdict in force: the last one of its author and origin.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Verdict {
    /// When it became known, ms.
    pub time_ms: i64,
    /// One of the contract's five, but `withdrawn`.
    pub verdict: String,
    /// Where it comes from.
    pub origin: String,
    /// Who said it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
}

/// Verdicts in force on `target`, oldest first. At most 100.
pub fn in_force(db: &Db, target: &str) -> Result<Vec<Verdict>> {
    let mut statement = prepare(
        db,
        "SELECT l.time_ms, l.verdict, l.origin, l.author, l.reason FROM labels l
         WHERE l.target = $1 AND l.verdict <> 'withdrawn' AND NOT EXISTS
           (SELECT 1 FROM labels later WHERE later.target = l.target AND later.author = l.author
             AND later.origin = l.origin AND later.log_offset > l.log_offset)
         ORDER BY l.log_offset LIMIT 100",
    )?;
    let rows = statement.query_map([target], |row| {
        Ok(Verdict {
            time_ms: row.get(0)?,
            verdict: row.get(1)?,
            origin: row.get(2)?,
            by: row.get(3)?,
            reason: row.get(4)?,
        })
    })?;
    rows.collect()
}

/// Alerts whose verdicts are asked for at once.
const AT_ONCE: usize = 20;

/// Verdicts in force on several alerts, by `alert_id`.
pub fn on_alerts(db: &Db, alert_ids: &[&str]) -> Result<BTreeMap<String, Vec<Verdict>>> {
    let places: Vec<String> = (1..=AT_ONCE).map(|n| format!("${n}")).collect();
    let sql = format!(
        "SELECT l.target, l.time_ms, l.verdict, l.origin, l.author, l.reason FROM labels l
         WHERE l.target IN ({}) AND l.verdict <> 'withdrawn' AND NOT EXISTS
           (SELECT 1 FROM labels later WHERE later.target = l.target AND later.author = l.author
             AND later.origin = l.origin AND later.log_offset > l.log_offset)
         ORDER BY l.log_offset LIMIT 1000",
        places.join(", ")
    );
    let mut all: BTreeMap<String, Vec<Verdict>> = BTreeMap::new();
    for some in alert_ids.chunks(AT_ONCE) {
        let mut targets: Vec<Value> = some.iter().map(|id| format!("alert:{id}").into()).collect();
        // one text for every number of them: it is prepared once
        targets.resize(AT_ONCE, Value::Text(String::new()));
        prepare(db, &sql)?.each(targets.as_slice(), |row| {
            let target: String = row.get(0)?;
            let verdict = Verdict {
                time_ms: row.get(1)?,
                verdict: row.get(2)?,
                origin: row.get(3)?,
                by: row.get(4)?,
                reason: row.get(5)?,
            };
            all.entry(target.trim_start_matches("alert:").to_owned()).or_default().push(verdict);
            Ok(())
        })?;
    }
    Ok(all)
}

/// The target of a verdict on an event.
pub fn event_target(source: &str, event_id: &str) -> String {
    format!("event:{source}/{event_id}")
}

//! Verdicts: those in force on a subject.

use crate::store::Db;
use crate::store::{Result, prepare};

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

/// The target of a verdict on an event.
pub fn event_target(source: &str, event_id: &str) -> String {
    format!("event:{source}/{event_id}")
}

//! What was refused and why.

use super::{Cursor, Page, Span, Where};
use crate::store::Db;
use crate::store::db::Value;
use crate::store::{Result, prepare};

/// A refusal.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Reject {
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
    /// Partition in `events.rejected`.
    pub partition: u16,
    /// Offset in `events.rejected`.
    pub offset: u64,
}

/// A page of refusals, newest first; the second and third part of the cursor are partition and offset.
pub fn list(db: &Db, code: Option<&str>, span: &Span) -> Result<Page<Reject>> {
    let mut w = Where::default();
    w.and_some("code = ?", code.map(str::to_owned));
    w.and_some("time_ms >= ?", span.from_ms);
    w.and_some("time_ms < ?", span.to_ms);
    if let Some(Cursor(time, partition, offset)) = &span.cursor {
        let number = |text: &str| Value::Int(text.parse().unwrap_or(0));
        let key = [Value::Int(*time), number(partition), number(offset)];
        w.and("(time_ms, log_partition, log_offset) < (?, ?, ?)", key);
    }
    let limit = w.limit(span.limit);
    let sql = format!(
        "SELECT time_ms, source, code, message, payload_hash, payload, stage, log_partition, log_offset FROM rejects{}
         ORDER BY time_ms DESC, log_partition DESC, log_offset DESC{limit}",
        w.sql
    );
    let mut statement = prepare(db, &sql)?;
    let rows = statement.query_map(w.values.as_slice(), |row| {
        Ok(Reject {
            time_ms: row.get(0)?,
            source: row.get(1)?,
            code: row.get(2)?,
            message: row.get(3)?,
            payload_hash: row.get(4)?,
            payload: row.get(5)?,
            stage: row.get(6)?,
            partition: row.get(7)?,
            offset: row.get::<i64>(8)? as u64,
        })
    })?;
    let rows: Vec<Reject> = rows.collect::<Result<_>>()?;
    Ok(Page::of(rows, span.limit, |one| Cursor(one.time_ms, one.partition.to_string(), one.offset.to_string())))
}

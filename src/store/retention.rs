//! Forgetting: rows older than the retention go, in small steps between which others may write.
//!
//! Deliberately absent: the clock and the schedule (the caller's), trimming of the log.

use super::dialect::Dialect;
use super::server::Role;
use super::{Place, Result, Store, days, now_ms, prepare};

/// Rows deleted in one transaction: a few milliseconds, so that persist hardly notices.
const CHUNK: i64 = 1_000;
/// Pages given back to the file system in one step: 4 MiB.
const PAGES: i64 = 1_024;

/// Tables, their column of time, and the columns that name a row. Alerts and incidents that are open stay.
const TABLES: [(&str, &str, &str, &str); 12] = [
    ("scored_events", "time_ms", "event_id, source", ""),
    ("event_entities", "time_ms", "name, entity_id, time_ms, event_id, source", ""),
    ("event_hours", "hour_ms", "hour_ms, event_group, decision, channel", ""),
    ("source_hours", "hour_ms", "hour_ms, source", ""),
    ("alerts", "updated_ms", "alert_id", "AND status <> 'open'"),
    ("incidents", "updated_ms", "incident_id", "AND status <> 'open'"),
    ("alert_history", "time_ms", "subject, cause_partition, cause_offset, cause_kind, type", ""),
    ("labels", "time_ms", "log_partition, log_offset", ""),
    ("rejects", "time_ms", "log_partition, log_offset", ""),
    ("access_refusals", "hour_ms", "hour_ms, prefix, scope", ""),
    ("access_log", "last_ms", "hour_ms, who, path, entity", ""),
    ("series_rollup", "bucket_ms", "metric, dimensions, bucket_ms", ""),
];

impl Store {
    /// Deletes one chunk of rows older than `before_ms` from each table; the number of rows that went. Call again until it is 0.
    pub fn forget_step(&self, before_ms: i64) -> Result<u64> {
        let mut gone = 0;
        if let Place::Postgres(server) = &self.place {
            gone += self.watched(|| {
                let db = server.lease(Role::Write)?;
                server.make_days(&db, days::ahead(now_ms()))?;
                server.drop_days(&db, before_ms)
            })?;
        }
        for (table, time, key, condition) in TABLES {
            let table = match self.dialect() {
                // whole days went above; what has no day goes as everywhere
                Dialect::Postgres if days::TABLES.contains(&table) => format!("{table}_default"),
                _ => table.to_owned(),
            };
            let sql = format!(
                "DELETE FROM {table} WHERE ({key}) IN
                 (SELECT {key} FROM {table} WHERE {time} < $1 {condition} ORDER BY {time} LIMIT $2)"
            );
            gone += self.write(|tx| Ok(prepare(tx, &sql)?.execute((before_ms, CHUNK))? as u64))?;
        }
        if gone > 0 {
            self.maintain(|db| {
                // Frees a page for each row that is stepped to.
                let mut statement = db.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
                let mut rows = statement.query([])?;
                while rows.next()?.is_some() {}
                Ok(())
            })?;
        }
        Ok(gone)
    }
}

//! Partitions on PostgreSQL: the large tables have one for each day of event time, so that forgetting a day drops a table in place
//! of deleting millions of rows.
//!
//! Days are made ahead, and before a batch that needs one. What lies outside of the window goes into a default partition: events
//! may carry any time, and a table with a partition for each of them could not be planned over.

use super::db::Db;
use super::error::{Error, Result};
use super::server::Server;
use std::collections::BTreeSet;
use tokio_postgres::error::SqlState;

/// Tables with partitions.
pub(super) const TABLES: [&str; 2] = ["scored_events", "event_entities"];
const DAY_MS: i64 = 86_400_000;
/// Days before and after today that get a partition: as long as a store is kept by default, and more than a clock can be off.
const BACK: i64 = 400;
const AHEAD: i64 = 2;

/// The days that must be there by now.
pub(super) fn ahead(now_ms: i64) -> impl Iterator<Item = i64> {
    let today = now_ms.div_euclid(DAY_MS);
    today..=today + AHEAD
}

/// The days of these times that may have a partition.
pub(super) fn of(times_ms: impl Iterator<Item = i64>, now_ms: i64) -> BTreeSet<i64> {
    let today = now_ms.div_euclid(DAY_MS);
    times_ms.map(|ms| ms.div_euclid(DAY_MS)).filter(|day| (today - BACK..=today + AHEAD).contains(day)).collect()
}

/// `table_20261123`
fn name(table: &str, day: i64) -> String {
    let date = jiff::Timestamp::from_second(day * DAY_MS / 1_000).unwrap_or_default();
    format!("{table}_{}", date.strftime("%Y%m%d"))
}

impl Server {
    /// Makes the partitions that are missing, each in a transaction of its own.
    pub(super) fn make_days(&self, db: &Db, days: impl IntoIterator<Item = i64>) -> Result<()> {
        for day in days {
            if super::lock(&self.days).contains(&day) {
                continue;
            }
            let (from, to) = (day * DAY_MS, (day + 1) * DAY_MS);
            for table in TABLES {
                let name = name(table, day);
                let sql = format!(
                    "CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table} FOR VALUES FROM ({from}) TO ({to})"
                );
                let made = super::transaction(db, super::DURABLE, |tx| tx.execute_batch(&sql));
                match made {
                    // rows of that day are in the default partition already, and stay there; or another process was quicker
                    Err(error) if passed_over(&error) => tracing::debug!(name, %error, "no partition was made"),
                    other => other?,
                }
            }
            super::lock(&self.days).insert(day);
        }
        Ok(())
    }

    /// Drops the partitions that end before a time; how many.
    pub(super) fn drop_days(&self, db: &Db, before_ms: i64) -> Result<u64> {
        let mut gone = 0;
        for table in TABLES {
            let names: Vec<String> = db
                .prepare("SELECT CAST(c.relname AS TEXT) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = CAST(CAST($1 AS TEXT) AS regclass)")
                .and_then(|mut question| question.query_map(super::params![table], |row| row.get(0))?.collect())?;
            let oldest = name(table, before_ms.div_euclid(DAY_MS));
            // names of one length: their order is that of the days
            for name in names.iter().filter(|name| name.len() == oldest.len() && **name < oldest) {
                db.execute_batch(&format!("DROP TABLE IF EXISTS {name}"))?;
                gone += 1;
            }
        }
        let oldest = before_ms.div_euclid(DAY_MS);
        super::lock(&self.days).retain(|day| *day >= oldest);
        Ok(gone)
    }
}

fn passed_over(error: &Error) -> bool {
    let known = [
        SqlState::CHECK_VIOLATION,
        SqlState::DUPLICATE_TABLE,
        SqlState::UNIQUE_VIOLATION,
        SqlState::INVALID_OBJECT_DEFINITION,
    ];
    error.state().is_some_and(|state| known.contains(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_names_in_their_order_and_far_ones_have_none() {
        let now = 1_795_392_000_000; // 2026-11-23
        assert_eq!(name("t", now / DAY_MS), "t_20261123");
        let far = [0, now - 401 * DAY_MS, now + 3 * DAY_MS, i64::MAX, i64::MIN];
        assert!(of(far.into_iter(), now).is_empty());
        let near = [now, now + 1, now - 400 * DAY_MS, now + 2 * DAY_MS];
        assert_eq!(of(near.into_iter(), now).len(), 3);
    }
}

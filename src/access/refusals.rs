//! Refused calls for the audit: counted in memory, written once a second, one row an hour for each key and scope, so that a
//! flood of refusals costs neither disk nor time. The keys that exist bound their number.
//!
//! Deliberately absent: calls without a key or with an unknown one; they have no name to be told under.

use super::{Scope, now_ms};
use crate::store::Db;
use crate::store::{Result, Store, prepare};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

const HOUR_MS: i64 = 3_600_000;

/// What is not written yet: how often, and when last, by hour, key and scope.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Waiting>);
type Waiting = BTreeMap<(i64, Arc<str>, &'static str), (i64, i64)>;

/// One row, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Refusal {
    /// Public prefix of the key.
    pub key: String,
    /// The scope it lacks.
    pub scope: String,
    /// Calls refused within the hour.
    pub refused: i64,
    /// The last of them, ms since the epoch.
    pub last_ms: i64,
}

impl Refusals {
    /// One more.
    pub fn count(&self, prefix: &Arc<str>, scope: Scope) {
        let now = now_ms();
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let row = waiting.entry((now - now.rem_euclid(HOUR_MS), Arc::clone(prefix), scope.name())).or_default();
        *row = (row.0 + 1, now);
    }
    /// Writes them; should the store refuse, they wait for the next time.
    pub fn write(&self, store: &Store) -> Result<()> {
        let rows = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if rows.is_empty() {
            return Ok(());
        }
        let written = store.write(|tx| {
            let mut add = prepare(
                tx,
                "INSERT INTO access_refusals(hour_ms, prefix, scope, refused, last_ms) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT(hour_ms, prefix, scope)
                 DO UPDATE SET refused = access_refusals.refused + excluded.refused, last_ms = excluded.last_ms",
            )?;
            for ((hour_ms, prefix, scope), (refused, last_ms)) in &rows {
                add.execute((hour_ms, &**prefix, scope, refused, last_ms))?;
            }
            Ok(())
        });
        if written.is_err() {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, (refused, last_ms)) in rows {
                let row = waiting.entry(key).or_insert((0, last_ms));
                *row = (row.0 + refused, row.1.max(last_ms));
            }
        }
        written
    }
}

/// The latest, at most `limit`.
pub fn latest(db: &Db, limit: i64) -> Result<Vec<Refusal>> {
    let mut query =
        prepare(db, "SELECT prefix, scope, refused, last_ms FROM access_refusals ORDER BY last_ms DESC LIMIT $1")?;
    let rows = query.query_map([limit], |r| {
        Ok(Refusal { key: r.get(0)?, scope: r.get(1)?, refused: r.get(2)?, last_ms: r.get(3)? })
    })?;
    rows.collect()
}

//! Who looked at what of persons: counted in memory, written once a second, one row an hour for each holder, address and entity.
//!
//! Bounded: beyond so many different rows in an hour the others are counted under one. Where nobody is asked for a key nobody is
//! known, and nothing is written. Deliberately absent: what was answered; the log says that somebody asked.

use super::{Principal, now_ms};
use crate::store::Db;
use crate::store::{Result, Store, prepare};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

const HOUR_MS: i64 = 3_600_000;
/// Rows of one process in an hour: a person clicks some hundred times, a program that exports everything asks by pages.
const ROWS_IN_HOUR: u64 = 50_000;
/// Where looks are counted that found no room.
const MORE: &str = "(more)";
/// Characters of an address or entity that are kept: ids have at most 100.
const CHARS: usize = 250;
/// Addresses below which persons are to be seen: of the API, and of the dashboard, whose first page lists alerts too.
const PERSONAL: [&str; 9] = [
    "/api/v1/events",
    "/api/v1/alerts",
    "/api/v1/incidents",
    "/api/v1/rejects",
    "/api/v1/access-log",
    "/",
    "/alerts",
    "/incidents",
    "/sources",
];

/// What is not written yet.
#[derive(Debug, Default)]
pub struct Looks(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    hour_ms: i64,
    /// Rows of this hour so far.
    rows: u64,
    looks: BTreeMap<Key, Counted>,
}

/// Hour, who, path, entity.
type Key = (i64, String, String, String);
/// Looks, first and last time.
type Counted = (i64, i64, i64);

/// One row, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Look {
    /// Name of the person, or of the key with its public prefix.
    pub who: String,
    /// What was asked.
    pub path: String,
    /// `name:id` that was asked for; empty: none.
    pub entity: String,
    /// How often within the hour.
    pub looks: i64,
    /// The first of them, ms since the epoch.
    pub first_ms: i64,
    /// The last of them, ms since the epoch.
    pub last_ms: i64,
}

/// Are persons to be seen at this address?
pub fn is_personal(path: &str) -> bool {
    let below = |place: &&str| path.strip_prefix(*place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    PERSONAL.iter().any(below)
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(CHARS).collect()
}

impl Looks {
    /// One more.
    pub fn count(&self, who: &Principal, path: &str, entity: Option<&str>) {
        let Some(prefix) = &who.prefix else { return };
        let who = match who.name.is_empty() {
            true => prefix.to_string(),
            false => format!("{} ({prefix})", short(&who.name)),
        };
        self.add(who, short(path), short(entity.unwrap_or_default()), now_ms());
    }
    /// One more, of somebody who is signed in.
    pub fn count_person(&self, name: &str, path: &str) {
        self.add(short(name), short(path), String::new(), now_ms());
    }
    fn add(&self, who: String, path: String, entity: String, now: i64) {
        let hour_ms = now - now.rem_euclid(HOUR_MS);
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.hour_ms != hour_ms {
            (waiting.hour_ms, waiting.rows) = (hour_ms, 0);
        }
        let mut key = (hour_ms, who, path, entity);
        if !waiting.looks.contains_key(&key) {
            if waiting.rows >= ROWS_IN_HOUR {
                key = (hour_ms, key.1, MORE.into(), String::new());
            } else {
                waiting.rows += 1;
            }
        }
        let row = waiting.looks.entry(key).or_insert((0, now, now));
        *row = (row.0 + 1, row.1, now);
    }
    /// Writes them; should the store refuse, they wait for the next time.
    pub fn write(&self, store: &Store) -> Result<()> {
        let rows = std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).looks);
        if rows.is_empty() {
            return Ok(());
        }
        let written = store.write(|tx| {
            let mut add = prepare(
                tx,
                "INSERT INTO access_log(hour_ms, who, path, entity, looks, first_ms, last_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT(hour_ms, who, path, entity)
                 DO UPDATE SET looks = access_log.looks + excluded.looks, last_ms = excluded.last_ms",
            )?;
            for ((hour_ms, who, path, entity), (looks, first_ms, last_ms)) in &rows {
                add.execute((hour_ms, who, path, entity, looks, first_ms, last_ms))?;
            }
            Ok(())
        });
        if written.is_err() {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, (looks, first_ms, last_ms)) in rows {
                let row = waiting.looks.entry(key).or_insert((0, first_ms, last_ms));
                *row = (row.0 + looks, row.1.min(first_ms), row.2.max(last_ms));
            }
        }
        written
    }
}

/// The latest, at most `limit`; of one holder or entity where it is named.
pub fn latest(db: &Db, who: Option<&str>, entity: Option<&str>, limit: i64) -> Result<Vec<Look>> {
    let mut query = prepare(
        db,
        "SELECT who, path, entity, looks, first_ms, last_ms FROM access_log
         WHERE (CAST($1 AS TEXT) = '' OR who LIKE $1) AND (CAST($2 AS TEXT) = '' OR entity = $2)
         ORDER BY last_ms DESC, who, path, entity LIMIT $3",
    )?;
    let who = who.map(|who| format!("%{}%", who.replace(['%', '_'], ""))).unwrap_or_default();
    let rows = query.query_map((who, entity.unwrap_or_default(), limit), |r| {
        Ok(Look {
            who: r.get(0)?,
            path: r.get(1)?,
            entity: r.get(2)?,
            looks: r.get(3)?,
            first_ms: r.get(4)?,
            last_ms: r.get(5)?,
        })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_persons_are_known() {
        for path in ["/api/v1/events", "/api/v1/events/o-1", "/api/v1/access-log"] {
            assert!(is_personal(path), "{path}");
        }
        for path in ["/api/v1/models", "/api/v1/eventsx", "/metrics", "/models"] {
            assert!(!is_personal(path), "{path}");
        }
    }

    #[test]
    fn an_hour_is_bounded_and_what_finds_no_room_is_counted() {
        let looks = Looks::default();
        for i in 0..ROWS_IN_HOUR + 10 {
            looks.add("anna".into(), format!("/{i}"), String::new(), 5);
        }
        looks.add("anna".into(), "/1".into(), String::new(), 6);
        let waiting = looks.0.lock().unwrap();
        assert_eq!(waiting.looks.len() as u64, ROWS_IN_HOUR + 1);
        let of = |path: &str| waiting.looks[&(0, "anna".into(), path.into(), String::new())];
        assert_eq!((of(MORE).0, of("/1")), (10, (2, 5, 6)));
    }
}

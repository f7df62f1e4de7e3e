//! A number by which others see that a process lives: it is locked in a session of its own, which the server ends when the
//! process is gone.
//!
//! A process that is frozen still has its session, and one whose machine vanished has it until the server notices; so whoever
//! waits for a dead owner needs a time as well. Deliberately absent: what is owned.

use super::db::Db;
use super::server::Role;
use super::{Place, Result, Store, lock, prepare};
use std::sync::Mutex;

/// Sets our numbers apart from other users' locks of this kind.
const CLASS: i32 = 0x7075_6c73;

/// A number that is held for as long as this lives.
pub struct Owner {
    number: i32,
    session: Mutex<Option<Db>>,
}

impl Owner {
    /// The number.
    pub fn number(&self) -> i32 {
        self.number
    }
}

impl Store {
    /// Takes a number; `None` in a file, which only one process writes.
    pub fn owner(&self) -> Result<Option<Owner>> {
        if matches!(self.place, Place::Sqlite(_)) {
            return Ok(None);
        }
        loop {
            let mut bytes = [0; 4];
            getrandom::fill(&mut bytes).map_err(|e| super::Error::Connect(e.to_string()))?;
            // 0 means nobody
            let number = (i32::from_le_bytes(bytes) & i32::MAX).max(1);
            let owner = Owner { number, session: Mutex::new(None) };
            if self.hold(&owner)? {
                return Ok(Some(owner));
            }
        }
    }

    /// Takes the number again when its session broke; whether it is held.
    pub fn hold(&self, owner: &Owner) -> Result<bool> {
        let Place::Postgres(server) = &self.place else { return Ok(true) };
        self.watched(|| {
            let mut session = lock(&owner.session);
            if session.as_ref().is_some_and(|db| db.query_row("SELECT 1", [], |row| row.get::<i64>(0)).is_ok()) {
                return Ok(true);
            }
            *session = None;
            let db = server.connect(Role::Hold)?;
            let taken = db.query_row("SELECT pg_try_advisory_lock($1, $2)", (CLASS, owner.number), |row| row.get(0))?;
            *session = Some(db).filter(|_| taken);
            Ok(taken)
        })
    }
}

/// Of these numbers those that nobody holds.
pub fn gone(db: &Db, numbers: &[i32]) -> Result<Vec<i32>> {
    let mut held = prepare(
        db,
        "SELECT CAST(objid AS BIGINT) FROM pg_locks WHERE locktype = 'advisory' AND CAST(CAST(classid AS BIGINT) AS INTEGER) = $1
         AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )?;
    let held: Vec<i64> = held.query_map([CLASS], |row| row.get(0))?.collect::<Result<_>>()?;
    Ok(numbers.iter().copied().filter(|number| !held.contains(&i64::from(*number))).collect())
}

impl Drop for Owner {
    fn drop(&mut self) {
        let session = lock(&self.session).take();
        super::server::blocking(|| drop(session));
    }
}

//! The schema: numbered SQL texts, each applied once, in order, in a transaction of its own, and recorded with its checksum.
//!
//! Forward only. A store that knows a migration which this program does not is refused: an older program must not write
//! into a newer schema. So is one whose applied text was changed afterwards.

use super::db::Db;
use super::error::{Error, Result};
use super::server::Url;
use tokio_postgres::error::SqlState;

/// All migrations in order: name (number first) and text.
pub const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_access", include_str!("../../migrations/0001_access.sql")),
    ("0002_store", include_str!("../../migrations/0002_store.sql")),
    ("0003_deliver", include_str!("../../migrations/0003_deliver.sql")),
    ("0004_refusals", include_str!("../../migrations/0004_refusals.sql")),
    ("0005_partitions", include_str!("../../migrations/0005_partitions.sql")),
    ("0006_owner", include_str!("../../migrations/0006_owner.sql")),
    ("0007_origins", include_str!("../../migrations/0007_origins.sql")),
    ("0008_users", include_str!("../../migrations/0008_users.sql")),
    ("0009_sources", include_str!("../../migrations/0009_sources.sql")),
    ("0010_told", include_str!("../../migrations/0010_told.sql")),
    ("0011_routing", include_str!("../../migrations/0011_routing.sql")),
    ("0012_access_log", include_str!("../../migrations/0012_access_log.sql")),
];

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The schema is newer than the program.
    #[error("the store has the migration {0}, which this version of the program does not know: use a newer version")]
    Newer(String),
    /// A text was edited after it had been applied.
    #[error("the migration {0} was applied with another text: the program and the store do not belong together")]
    Changed(String),
    /// One migration failed; the store is as before it.
    #[error("the migration {name} failed: {error}")]
    Failed {
        /// Which.
        name: String,
        /// Why.
        error: Error,
    },
    /// A setting is wrong: trying again would find the same.
    #[error("{setting}: {why}")]
    Setting {
        /// As `section.key`.
        setting: &'static str,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// No server answers.
    #[error("{0}")]
    Unavailable(String),
    /// The database's own.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] Error),
}

impl OpenError {
    /// Missing rights are a matter of the address's user.
    pub(super) fn or_setting(self, url: &Url) -> OpenError {
        let state = match &self {
            OpenError::Failed { error, .. } | OpenError::Store(error) => error.state(),
            _ => None,
        };
        if state != Some(&SqlState::INSUFFICIENT_PRIVILEGE) && state != Some(&SqlState::INVALID_SCHEMA_NAME) {
            return self;
        }
        let why =
            format!("the user of {url} may not make the tables; GRANT CREATE, USAGE ON SCHEMA public TO it ({self})");
        OpenError::Setting { setting: "store.url", why }
    }
}

/// One line of `pulse migrate`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// Number and name.
    pub name: String,
    /// When it was applied; `None`: not yet.
    pub applied_ms: Option<i64>,
}

/// First 16 hexadecimal digits of the text's hash.
fn checksum(text: &str) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
}

/// What is applied: name, checksum, time.
fn applied(db: &Db) -> Result<Vec<(String, String, i64)>> {
    db.execute_batch(&db.dialect().schema(
        "CREATE TABLE IF NOT EXISTS schema_migrations(name TEXT PRIMARY KEY, checksum TEXT NOT NULL, applied_ms BIGINT NOT NULL)",
    ))?;
    read(db)
}

fn read(db: &Db) -> Result<Vec<(String, String, i64)>> {
    let mut statement = db.prepare("SELECT name, checksum, applied_ms FROM schema_migrations ORDER BY name")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
}

/// Refuses a store that is ahead of `migrations`, or whose texts differ.
fn check(done: &[(String, String, i64)], migrations: &[(&str, &str)]) -> std::result::Result<(), OpenError> {
    for (name, sum, _) in done {
        match migrations.iter().find(|(known, _)| known == name) {
            None => return Err(OpenError::Newer(name.clone())),
            Some((_, text)) if checksum(text) != *sum => return Err(OpenError::Changed(name.clone())),
            Some(_) => {}
        }
    }
    Ok(())
}

/// What is applied and what is not. Changes nothing.
pub fn status(db: &Db) -> std::result::Result<Vec<Status>, OpenError> {
    let done = applied(db)?;
    check(&done, MIGRATIONS)?;
    let time = |name: &str| done.iter().find(|(known, ..)| known == name).map(|(.., time)| *time);
    Ok(MIGRATIONS.iter().map(|(name, _)| Status { name: (*name).into(), applied_ms: time(name) }).collect())
}

/// Applies what is missing; the names of what was applied.
pub fn run(db: &Db, now_ms: i64) -> std::result::Result<Vec<String>, OpenError> {
    apply(db, MIGRATIONS, now_ms)
}

fn apply(db: &Db, migrations: &[(&str, &str)], now_ms: i64) -> std::result::Result<Vec<String>, OpenError> {
    // nearly always everything is there: seen by reading, so that nobody waits for who writes much
    let done = read(db).unwrap_or_default();
    if check(&done, migrations).is_ok()
        && migrations.iter().all(|(name, _)| done.iter().any(|(known, ..)| known == name))
    {
        return Ok(vec![]);
    }
    let mut new = vec![];
    for (name, text) in migrations {
        // Alone, and looked at again inside: two processes may start at once.
        let mut refused = None;
        let outcome = super::transaction(db, db.dialect().alone(), |tx| {
            let done = applied(tx)?;
            if let Err(error) = check(&done, migrations) {
                refused = Some(error);
                return Err(Error::NoRow); // rolls back
            }
            if done.iter().any(|(known, ..)| known == name) {
                return Ok(false);
            }
            if let Err(error) = tx.execute_batch(&tx.dialect().schema(text)) {
                refused = Some(OpenError::Failed { name: (*name).into(), error });
                return Err(Error::NoRow);
            }
            tx.execute("INSERT INTO schema_migrations VALUES ($1, $2, $3)", (*name, checksum(text), now_ms))?;
            Ok(true)
        });
        match (refused, outcome) {
            (Some(error), _) => return Err(error),
            (None, applied) => new.extend(applied?.then(|| (*name).to_owned())),
        }
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: (&str, &str) = ("0001_a", "CREATE TABLE a(x BIGINT)");
    const B: (&str, &str) = ("0002_b", "CREATE TABLE b(x BIGINT); INSERT INTO b VALUES (1)");

    fn memory() -> Db {
        Db::Sqlite(rusqlite::Connection::open_in_memory().unwrap())
    }

    #[test]
    fn each_is_applied_once_and_in_order() {
        let db = memory();
        assert_eq!(apply(&db, &[A], 1).unwrap(), ["0001_a"]);
        assert_eq!(apply(&db, &[A, B], 2).unwrap(), ["0002_b"]);
        assert!(apply(&db, &[A, B], 3).unwrap().is_empty());
        assert_eq!(db.query_row("SELECT count(*) FROM b", [], |r| r.get::<i64>(0)).unwrap(), 1);
    }

    #[test]
    fn a_newer_store_and_a_changed_text_are_refused() {
        let db = memory();
        apply(&db, &[A, B], 1).unwrap();
        assert!(matches!(apply(&db, &[A], 2), Err(OpenError::Newer(name)) if name == "0002_b"));
        let changed = ("0002_b", "CREATE TABLE b(y BIGINT)");
        assert!(matches!(apply(&db, &[A, changed], 2), Err(OpenError::Changed(name)) if name == "0002_b"));
    }

    #[test]
    fn a_failing_migration_leaves_nothing_behind() {
        let db = memory();
        let bad = ("0002_bad", "CREATE TABLE c(x BIGINT); INSERT INTO nowhere VALUES (1)");
        assert!(matches!(apply(&db, &[A, bad], 1), Err(OpenError::Failed { name, .. }) if name == "0002_bad"));
        assert!(db.prepare("SELECT * FROM c").is_err());
        assert_eq!(apply(&db, &[A, B], 2).unwrap(), ["0002_b"]);
    }

    #[test]
    fn the_names_are_numbered_upwards() {
        assert!(MIGRATIONS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}

//! The store: SQLite, one writer connection behind a lock, readers of their own; migrations are numbered SQL in `migrations/`.

use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The embedded store.
pub struct Store {
    path: PathBuf,
    writer: Mutex<Connection>,
}

/// Errors of the store.
pub type Result<T> = std::result::Result<T, rusqlite::Error>;

/// Migrations in order: number and SQL text.
const MIGRATIONS: &[(&str, &str)] = &[("0003_deliver", include_str!("../../migrations/0003_deliver.sql"))];

impl Store {
    /// Opens (and creates) the store at `path` and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Store> {
        let writer = Connection::open(path)?;
        writer.execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=5000;
             CREATE TABLE IF NOT EXISTS schema_migrations(name TEXT PRIMARY KEY)",
        )?;
        for (name, sql) in MIGRATIONS {
            let done = writer
                .query_row("SELECT count(*) FROM schema_migrations WHERE name = ?1", [name], |r| r.get::<_, i64>(0))?;
            if done == 0 {
                writer.execute_batch(&format!(
                    "BEGIN; {sql}; INSERT INTO schema_migrations VALUES ('{name}'); COMMIT;"
                ))?;
            }
        }
        Ok(Store { path: path.into(), writer: Mutex::new(writer) })
    }
    /// Runs `f` in one write transaction.
    pub fn write<R>(&self, f: impl FnOnce(&rusqlite::Transaction) -> Result<R>) -> Result<R> {
        let mut db = self.writer.lock().unwrap_or_else(|e| e.into_inner());
        let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let result = f(&tx)?;
        tx.commit()?;
        Ok(result)
    }
    /// A read-only connection of its own.
    pub fn reader(&self) -> Result<Connection> {
        let db = Connection::open_with_flags(&self.path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.execute_batch("PRAGMA busy_timeout=5000")?;
        Ok(db)
    }
}

//! The store: SQLite, one writer connection behind a lock, a few read-only connections beside it.
//!
//! [`migrate`] brings the schema up to date, [`dialect`] keeps the SQL fit for PostgreSQL, [`rows`] is what readers of the log
//! write, [`positions`] how far they have read, [`query`] what people ask, [`retention`] what is forgotten.
//! Everything but keys, users, acknowledgements and destinations can be made again from the log: hence `synchronous=NORMAL`;
//! rows and positions move in one transaction, so a loss of power takes both back together.
//!
//! Deliberately absent: who reads the log (that is `persist` and `deliver`), HTTP.

pub mod dialect;
pub mod migrate;
pub mod positions;
pub mod query;
pub mod retention;
pub mod rows;

pub use migrate::OpenError;

use crate::wal::Copier;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Read-only connections kept open. More than that are opened and closed again: pages of the dashboard ask in turn.
const READERS_KEPT: usize = 4;
/// A question that takes longer is given up, so that no request can keep a core.
const QUERY_TIME: Duration = Duration::from_secs(5);
/// How often (in steps of SQLite's machine, about a millisecond's worth) the time of a question is looked at.
const QUERY_STEPS: i32 = 20_000;
/// Statements kept prepared for each connection: there are about forty.
const STATEMENTS: usize = 64;

/// The embedded store.
pub struct Store {
    path: PathBuf,
    writer: Mutex<Connection>,
    copier: Option<Copier>,
    readers: Mutex<Vec<Connection>>,
}

/// Errors of the store.
pub type Result<T> = std::result::Result<T, rusqlite::Error>;

/// The wall clock in milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// The lock, also after a panic elsewhere: a transaction that was not committed is rolled back by its drop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens (and creates) the store at `path` and brings its schema up to date.
    pub fn open(path: &Path) -> std::result::Result<Store, OpenError> {
        let mut writer = Connection::open(path)?;
        writer.set_prepared_statement_cache_capacity(STATEMENTS);
        // `auto_vacuum` has to come first: it is decided when the file gets its first page.
        writer.execute_batch(
            "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=5000;
             PRAGMA journal_size_limit=67108864;",
        )?;
        migrate::run(&mut writer, now_ms())?;
        Ok(Store { path: path.into(), writer: Mutex::new(writer), copier: None, readers: Mutex::default() })
    }

    /// From now on no commit copies the write-ahead file back; for who writes much and long.
    pub fn copy_beside(&mut self) -> Result<()> {
        self.copier = Some(Copier::start(&self.path, &mut lock(&self.writer), "store-copy")?);
        Ok(())
    }
    fn committed(&self, writer: &Connection) -> Result<()> {
        self.copier.as_ref().map_or(Ok(()), |copier| copier.committed(writer))
    }

    /// Runs `f` in one write transaction.
    pub fn write<R>(&self, f: impl FnOnce(&rusqlite::Transaction) -> Result<R>) -> Result<R> {
        let mut db = lock(&self.writer);
        let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let result = f(&tx)?;
        tx.commit()?;
        self.committed(&db)?;
        Ok(result)
    }

    /// Like [`Store::write`], and synced when it returns: for what cannot be made again from the log (destinations, keys,
    /// users). Some milliseconds slower.
    pub fn write_durable<R>(&self, f: impl FnOnce(&rusqlite::Transaction) -> Result<R>) -> Result<R> {
        let mut db = lock(&self.writer);
        db.execute_batch("PRAGMA synchronous=FULL")?;
        let result = (|| {
            let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let result = f(&tx)?;
            tx.commit()?;
            Ok(result)
        })();
        db.execute_batch("PRAGMA synchronous=NORMAL")?;
        result
    }

    /// Runs `f` outside of any transaction on the writer's connection (vacuum, checkpoints).
    pub(crate) fn maintain<R>(&self, f: impl FnOnce(&Connection) -> Result<R>) -> Result<R> {
        f(&lock(&self.writer))
    }

    /// Asks on one of the read-only connections; given up after five seconds ([`too_slow`] tells).
    pub fn read<R>(&self, f: impl FnOnce(&Connection) -> Result<R>) -> Result<R> {
        let kept = lock(&self.readers).pop();
        let mut db = match kept {
            Some(db) => db,
            None => self.reader()?,
        };
        let stop = Instant::now() + QUERY_TIME;
        db.progress_handler(QUERY_STEPS, Some(move || Instant::now() > stop))?;
        let result = f(&db);
        let mut readers = lock(&self.readers);
        if readers.len() < READERS_KEPT {
            readers.push(db);
        }
        result
    }

    /// A read-only connection of its own.
    pub fn reader(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&self.path, flags)?;
        db.set_prepared_statement_cache_capacity(STATEMENTS);
        db.execute_batch("PRAGMA busy_timeout=5000")?;
        Ok(db)
    }
}

/// Was the question given up for its length?
pub fn too_slow(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted)
}

/// The prepared statement for a text with `$1` and tokens.
pub(crate) fn prepare<'c>(db: &'c Connection, text: &str) -> Result<rusqlite::CachedStatement<'c>> {
    db.prepare_cached(&dialect::Dialect::Sqlite.sql(text))
}

//! The store: SQLite in the data folder, or PostgreSQL.
//!
//! [`db`] is the one face of both, [`dialect`] keeps one text of SQL for both, [`error`] says what went wrong. [`migrate`] brings
//! the schema up to date, [`rows`] is what readers of the log write (`bulk`: many at once), [`positions`] how far they have read,
//! [`query`] what people ask, [`retention`] what is forgotten, [`erase`] who. Of PostgreSQL alone: [`server`] connects as `address` says, `client` and `link` are one connection, [`owner`] is seen to live, `days` are the partitions,
//! [`moving`] carries a file over.
//! Everything but keys, users, acknowledgements and destinations can be made again from the log: hence `synchronous=NORMAL` here
//! and `synchronous_commit=off` there; rows and positions move in one transaction, so a loss of power takes both back together.
//!
//! Deliberately absent: who reads the log (that is `persist` and `deliver`), HTTP.

mod address;
mod bulk;
mod client;
mod days;
pub mod db;
pub mod dialect;
pub mod erase;
pub mod error;
mod link;
pub mod migrate;
pub mod moving;
pub mod owner;
pub mod positions;
pub mod query;
pub mod retention;
pub mod rows;
pub mod server;

pub use crate::store_params as params;
pub use db::{Db, OptionalRow, Row};
pub use error::{Error, Result, is_damage, too_slow};
pub use migrate::OpenError;
pub use server::{Settings, Url};

use crate::wal::Copier;
use db::Statement;
use dialect::Dialect;
use prometheus_client::metrics::gauge::Gauge;
use rusqlite::{Connection, OpenFlags};
use server::{Role, Server, blocking};
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

/// What SQLite calls `auto_vacuum=INCREMENTAL`.
const INCREMENTAL: i64 = 2;

/// The store's file in the data folder.
pub const FILE: &str = "store.db";

/// Begins a transaction on PostgreSQL that is on the disk when it is committed.
const DURABLE: &str = "BEGIN; SET LOCAL synchronous_commit = on";

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file.
    File(PathBuf),
    /// A server.
    Server(Settings),
}

/// The store.
pub struct Store {
    place: Place,
    up: Gauge,
}

enum Place {
    Sqlite(File),
    Postgres(Box<Server>),
}

struct File {
    path: PathBuf,
    writer: Mutex<Db>,
    copier: Option<Copier>,
    readers: Mutex<Vec<Db>>,
}

/// The wall clock in milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// The lock, also after a panic elsewhere: a transaction that was not committed is rolled back by its drop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the store at its place.
    pub fn at(target: &Target) -> std::result::Result<Store, OpenError> {
        match target {
            Target::File(path) => Store::open(path),
            Target::Server(settings) => Store::connect(settings),
        }
    }

    /// Opens (and creates) the store at `path` and brings its schema up to date.
    pub fn open(path: &Path) -> std::result::Result<Store, OpenError> {
        let writer = Connection::open(path).map_err(Error::from)?;
        writer.set_prepared_statement_cache_capacity(STATEMENTS);
        // `auto_vacuum` has to come first: it is decided when the file gets its first page. Said again it is a write, which would wait for
        // who writes.
        let vacuum: i64 = writer.query_row("PRAGMA auto_vacuum", [], |row| row.get(0)).map_err(Error::from)?;
        if vacuum != INCREMENTAL {
            writer.execute_batch("PRAGMA auto_vacuum=INCREMENTAL").map_err(Error::from)?;
        }
        writer
            .execute_batch(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=5000;
             PRAGMA journal_size_limit=67108864;",
            )
            .map_err(Error::from)?;
        let writer = Db::Sqlite(writer);
        migrate::run(&writer, now_ms())?;
        let file = File { path: path.into(), writer: Mutex::new(writer), copier: None, readers: Mutex::default() };
        Ok(Store { place: Place::Sqlite(file), up: up() })
    }

    /// From now on no commit copies the write-ahead file back; for who writes much and long.
    pub fn copy_beside(&mut self) -> Result<()> {
        if let Place::Sqlite(file) = &mut self.place
            && let Db::Sqlite(writer) = &mut *lock(&file.writer)
        {
            file.copier = Some(Copier::start(&file.path, writer, "store-copy")?);
        }
        Ok(())
    }

    /// Connects to a server, brings its schema up to date and makes the partitions of the days to come.
    pub fn connect(settings: &Settings) -> std::result::Result<Store, OpenError> {
        blocking(|| {
            let server = Server::open(settings)?;
            let writer = server.lease(Role::Write)?;
            migrate::run(&writer, now_ms()).map_err(|error| error.or_setting(&settings.url))?;
            server.make_days(&writer, days::ahead(now_ms()))?;
            drop(writer);
            Ok(Store { place: Place::Postgres(Box::new(server)), up: up() })
        })
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        if matches!(self.place, Place::Sqlite(_)) { Dialect::Sqlite } else { Dialect::Postgres }
    }

    /// 1 while it answers, 0 after it could not be reached.
    pub fn up(&self) -> Gauge {
        self.up.clone()
    }

    /// Runs `f` in one write transaction.
    pub fn write<R>(&self, f: impl FnOnce(&Db) -> Result<R>) -> Result<R> {
        match &self.place {
            Place::Sqlite(file) => {
                let db = lock(&file.writer);
                let result = transaction(&db, "BEGIN IMMEDIATE", f)?;
                if let (Some(copier), Db::Sqlite(db)) = (&file.copier, &*db) {
                    copier.committed(db)?;
                }
                Ok(result)
            }
            Place::Postgres(server) => self.watched(|| transaction(&*server.lease(Role::Write)?, "BEGIN", f)),
        }
    }

    /// Like [`Store::write`], and synced when it returns: for what cannot be made again from the log (destinations, keys,
    /// users). Some milliseconds slower.
    pub fn write_durable<R>(&self, f: impl FnOnce(&Db) -> Result<R>) -> Result<R> {
        match &self.place {
            Place::Sqlite(file) => {
                let db = lock(&file.writer);
                db.execute_batch("PRAGMA synchronous=FULL")?;
                let result = transaction(&db, "BEGIN IMMEDIATE", f);
                db.execute_batch("PRAGMA synchronous=NORMAL")?;
                result
            }
            Place::Postgres(server) => self.watched(|| transaction(&*server.lease(Role::Write)?, DURABLE, f)),
        }
    }

    /// Asks on one of the read-only connections; given up after five seconds ([`too_slow`] tells).
    pub fn read<R>(&self, f: impl FnOnce(&Db) -> Result<R>) -> Result<R> {
        match &self.place {
            Place::Sqlite(File { path, readers, .. }) => {
                let kept = lock(readers).pop();
                let mut db = match kept {
                    Some(db) => db,
                    None => reader(path)?,
                };
                let stop = Instant::now() + QUERY_TIME;
                if let Db::Sqlite(db) = &mut db {
                    db.progress_handler(QUERY_STEPS, Some(move || Instant::now() > stop))?;
                }
                let result = f(&db);
                let mut readers = lock(readers);
                if readers.len() < READERS_KEPT {
                    readers.push(db);
                }
                result
            }
            Place::Postgres(server) => self.watched(|| f(&*server.lease(Role::Read)?)),
        }
    }

    /// What is applied of the schema and what is not.
    pub fn migrations(&self) -> std::result::Result<Vec<migrate::Status>, OpenError> {
        match &self.place {
            Place::Sqlite(file) => migrate::status(&lock(&file.writer)),
            Place::Postgres(server) => blocking(|| migrate::status(&*server.lease(Role::Write)?)),
        }
    }

    /// Asks on a connection of its own, however long it takes.
    pub fn read_long<R>(&self, f: impl FnOnce(&Db) -> Result<R>) -> Result<R> {
        match &self.place {
            Place::Sqlite(file) => f(&reader(&file.path)?),
            Place::Postgres(server) => self.watched(|| f(&*server.lease(Role::Long)?)),
        }
    }

    /// Runs `f` outside of any transaction on the connection that writes the file; without a file there is nothing to do.
    fn maintain(&self, f: impl FnOnce(&Connection) -> Result<()>) -> Result<()> {
        let Place::Sqlite(file) = &self.place else { return Ok(()) };
        match &*lock(&file.writer) {
            Db::Sqlite(db) => f(db),
            Db::Postgres(_) => Ok(()),
        }
    }

    /// Makes ready for rows of these times: PostgreSQL has a partition for each day.
    pub fn make_days(&self, times_ms: impl Iterator<Item = i64>) -> Result<()> {
        let Place::Postgres(server) = &self.place else { return Ok(()) };
        let days = days::of(times_ms, now_ms());
        if days.is_subset(&lock(&server.days)) {
            return Ok(());
        }
        self.watched(|| server.make_days(&*server.lease(Role::Write)?, days))
    }

    /// Runs what talks to the server, and notes whether it answers.
    fn watched<R>(&self, f: impl FnOnce() -> Result<R>) -> Result<R> {
        let result = blocking(f);
        self.up.set(i64::from(!result.as_ref().is_err_and(Error::is_down)));
        result
    }
}

fn up() -> Gauge {
    let up = Gauge::default();
    up.set(1);
    up
}

/// Copies a store's file as of one moment into a new one, while others write. What was deleted is not carried.
pub fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(from, flags)?;
    db.execute_batch("PRAGMA busy_timeout=5000")?;
    db.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    let synced = std::fs::File::open(to).and_then(|file| file.sync_all());
    synced.map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)).into())
}

/// A read-only connection to the file.
fn reader(path: &Path) -> Result<Db> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.execute_batch("PRAGMA busy_timeout=5000")?;
    Ok(Db::Sqlite(db))
}

/// `f` in one transaction: all of it, or, after an error or a panic, nothing.
fn transaction<R>(db: &Db, begin: &str, f: impl FnOnce(&Db) -> Result<R>) -> Result<R> {
    struct Open<'a>(&'a Db);
    impl Drop for Open<'_> {
        fn drop(&mut self) {
            // a connection that cannot even do that is broken, and seen to be
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
    db.execute_batch(begin)?;
    let open = Open(db);
    let result = f(db)?;
    match db {
        Db::Sqlite(db) => db.execute_batch("COMMIT")?,
        Db::Postgres(link) => link.commit()?,
    }
    std::mem::forget(open);
    Ok(result)
}

/// The prepared statement for a text with `$1` and tokens.
pub(crate) fn prepare<'c>(db: &'c Db, text: &str) -> Result<Statement<'c>> {
    db.prepare(text)
}

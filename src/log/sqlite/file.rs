//! The file: connections, tables, opening as owner (with the fence) or to read.
//!
//! One table for each partition: a row is a block with its first offset, number of records and running newest time (the
//! newest time of this and all earlier blocks of the partition: never falling, so that a time can be searched for).

use super::super::layout::Layout;
use super::super::tail::Tail;
use super::super::{OpenError, now_ms};
use pulse_dataflows::ports::{Block, Meta, Partition, Records, Topic, partition};
use rusqlite::TransactionBehavior::Immediate;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Version of the tables, kept as `user_version`.
pub const FORMAT: i64 = 1;
/// How long a statement waits for a lock that someone else holds. Short: while the writer waits, nobody is answered.
const BUSY_MS: u32 = 2000;
/// Page cache of a connection that writes, and of one that reads, in KiB.
const WRITER_CACHE_KIB: u32 = 16 << 10;
const READER_CACHE_KIB: u32 = 2 << 10;

/// A partition: where it starts and ends, and its newest blocks.
pub(crate) struct Place {
    pub partition: Partition,
    /// Quoted name of the table.
    pub table: String,
    pub start: AtomicU64,
    pub end: AtomicU64,
    pub tail: Mutex<Tail>,
}

/// An opened file.
pub(crate) struct Opened {
    pub db: Connection,
    pub layout: Layout,
    pub places: Vec<Place>,
    /// Running newest time by place; `i64::MIN` without records.
    pub newest_ms: Vec<i64>,
    /// Offset of the fence.
    pub generation: u64,
    /// `data_version` with the fence in place.
    pub version: i64,
}

/// The WAL beside `path`.
pub(crate) fn wal_path(path: &Path) -> PathBuf {
    beside(path, "-wal")
}
/// The file with this ending beside `path`.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// A connection that only reads.
pub(crate) fn connect_reader(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.execute_batch(&format!("PRAGMA busy_timeout={BUSY_MS}; PRAGMA cache_size=-{READER_CACHE_KIB}"))?;
    Ok(db)
}

/// Opens and makes the file, reads the ends and appends the fence.
pub(crate) fn open_owner(path: &Path, partitions: u16) -> Result<Opened, OpenError> {
    let mut db = Connection::open(path)?;
    db.execute_batch(&format!(
        "PRAGMA busy_timeout={BUSY_MS}; PRAGMA cache_size=-{WRITER_CACHE_KIB}; PRAGMA synchronous=FULL;
         PRAGMA page_size=8192; PRAGMA journal_mode=WAL;"
    ))?;
    // Reading the ends and fencing are one step: no other owner comes between.
    let tx = db.transaction_with_behavior(Immediate)?;
    let layout = Layout { partitions: make_tables(&tx, partitions)? };
    let (places, mut newest_ms) = load(&tx, layout)?;
    let generation = append_fence(&tx, layout, &places, &mut newest_ms)?;
    let version = data_version(&tx)?;
    tx.commit()?;
    Ok(Opened { db, layout, places, newest_ms, generation, version })
}

/// Opens the file to read.
pub(crate) fn open_reader(path: &Path) -> Result<Opened, OpenError> {
    if !path.is_file() {
        return Err(OpenError::Missing(path.display().to_string()));
    }
    let mut db = connect_reader(path)?;
    let tx = db.transaction()?;
    let layout = Layout { partitions: stored_partitions(&tx)? };
    let (places, newest_ms) = load(&tx, layout)?;
    tx.commit()?;
    Ok(Opened { db, layout, places, newest_ms, generation: 0, version: 0 })
}

/// Changes when another connection has committed.
pub(crate) fn data_version(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

/// First offset and offset behind the last record of a table, with its running newest time.
pub(crate) fn bounds(db: &Connection, table: &str) -> rusqlite::Result<(u64, u64, i64)> {
    let first: Option<i64> =
        db.prepare_cached(&format!("SELECT min(base) FROM {table}"))?.query_row([], |r| r.get(0))?;
    let last = db
        .prepare_cached(&format!("SELECT base + count, time_ms FROM {table} ORDER BY base DESC LIMIT 1"))?
        .query_row([], |r| Ok((r.get::<_, i64>(0)?, r.get(1)?)))
        .optional()?;
    let (end, newest_ms) = last.unwrap_or((0, i64::MIN));
    Ok((first.unwrap_or(0) as u64, end as u64, newest_ms))
}

/// Inserts a block.
pub(crate) fn insert(tx: &Connection, table: &str, block: &Block, newest_ms: i64) -> rusqlite::Result<()> {
    let count = (block.end() - block.base) as i64;
    tx.prepare_cached(&format!("INSERT INTO {table} VALUES (?1, ?2, ?3, ?4)"))?.execute((
        block.base as i64,
        count,
        newest_ms,
        block.bytes(),
    ))?;
    Ok(())
}

/// Quoted name of a partition's table.
pub(crate) fn table(partition: Partition) -> String {
    format!("\"{}/{}\"", partition.topic.name(), partition.number)
}

/// Makes the tables in an empty file; the number of partitions they were made with.
fn make_tables(tx: &Transaction, partitions: u16) -> Result<u16, OpenError> {
    let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    if tables == 0 {
        tx.execute_batch("CREATE TABLE layout(partitions INTEGER NOT NULL) STRICT")?;
        tx.execute("INSERT INTO layout VALUES (?1)", [partitions])?;
        for partition in (Layout { partitions }).all() {
            tx.execute_batch(&format!(
                "CREATE TABLE {}(base INTEGER PRIMARY KEY, count INTEGER NOT NULL, time_ms INTEGER NOT NULL,
                 block BLOB NOT NULL) STRICT",
                table(partition)
            ))?;
        }
        tx.pragma_update(None, "user_version", FORMAT)?;
    }
    let stored = stored_partitions(tx)?;
    if stored != partitions {
        return Err(OpenError::Partitions { stored, asked: partitions });
    }
    Ok(stored)
}

fn stored_partitions(db: &Connection) -> Result<u16, OpenError> {
    let format: i64 = db.pragma_query_value(None, "user_version", |r| r.get(0))?;
    if format != FORMAT {
        return Err(OpenError::Format(format));
    }
    Ok(db.query_row("SELECT partitions FROM layout", [], |r| r.get(0))?)
}

/// Reads where the partitions start and end.
fn load(db: &Connection, layout: Layout) -> Result<(Vec<Place>, Vec<i64>), OpenError> {
    let (mut places, mut newest) = (Vec::with_capacity(layout.len()), Vec::with_capacity(layout.len()));
    for partition in layout.all() {
        let table = table(partition);
        let (start, end, newest_ms) = bounds(db, &table)?;
        if end < start {
            return Err(OpenError::Damaged(format!("{table} ends at {end} before it starts at {start}")));
        }
        places.push(Place { partition, table, start: start.into(), end: end.into(), tail: Mutex::default() });
        newest.push(newest_ms);
    }
    Ok((places, newest))
}

/// Appends the empty record that makes every older owner a zombie; its offset is the generation.
fn append_fence(tx: &Transaction, layout: Layout, places: &[Place], newest: &mut [i64]) -> Result<u64, OpenError> {
    let at = layout.find(partition(Topic::Epochs, 0));
    let Some((place, newest)) = at.and_then(|at| places.get(at).zip(newest.get_mut(at))) else {
        return Err(OpenError::Damaged("there is no epoch log".into()));
    };
    let meta = Meta { time_ms: now_ms(), ..Meta::default() };
    let generation = place.end.load(SeqCst);
    let fence = Block::new(generation, Records::of(meta, b"").block(0, 1));
    let fence = fence.ok_or_else(|| OpenError::Damaged("the fence is no block".into()))?;
    *newest = meta.time_ms.max(*newest);
    insert(tx, &place.table, &fence, *newest)?;
    place.end.store(fence.end(), SeqCst);
    Ok(generation)
}

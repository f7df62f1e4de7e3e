//! A copy of the log's file as it stands at one moment, made beside its owner.
//!
//! What stands where it ends is read in one transaction; blocks never change once they are there, so they follow in short ones, and the
//! write-ahead file can be copied back meanwhile. What is trimmed while it is copied is left out there too: a partition never gets a hole.
//! Deliberately absent: what belongs to a copy of the log (`crate::backup`).

use super::super::OpenError;
use super::super::layout::Layout;
use super::file::{bounds, connect_reader, table};
use rusqlite::{Connection, params};
use std::path::Path;

/// Bytes of blocks in one transaction: some milliseconds of reading.
const CHUNK_BYTES: usize = 8 << 20;

/// Where a partition starts and ends in a copy.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Extent {
    /// As `events.raw/0`.
    pub partition: String,
    /// First offset.
    pub start: u64,
    /// Behind the last.
    pub end: u64,
}

/// Copies the log at `from` into a new file.
pub fn copy(from: &Path, to: &Path) -> Result<Vec<Extent>, OpenError> {
    if !from.is_file() {
        return Err(OpenError::Missing(from.display().to_string()));
    }
    let mut source = connect_reader(from)?;
    let mut target = Connection::open(to)?;
    target.execute_batch("PRAGMA page_size=8192; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF")?;
    let moment = source.transaction()?;
    let format: i64 = moment.pragma_query_value(None, "user_version", |r| r.get(0))?;
    if format != super::FORMAT {
        return Err(OpenError::Format(format));
    }
    let partitions: u16 = moment.query_row("SELECT partitions FROM layout", [], |r| r.get(0))?;
    let schema: Vec<String> = moment
        .prepare("SELECT sql FROM sqlite_schema WHERE type = 'table' ORDER BY rowid")?
        .query_map([], |r| r.get(0))?
        .collect::<Result<_, _>>()?;
    let mut ends = Vec::new();
    for partition in (Layout { partitions }).all() {
        let table = table(partition);
        let end = bounds(&moment, &table)?.1;
        ends.push((format!("{}/{}", partition.topic.name(), partition.number), table, end));
    }
    moment.commit()?;
    for sql in schema {
        target.execute_batch(&sql)?;
    }
    target.execute("INSERT INTO layout VALUES (?1)", [partitions])?;
    let mut extents = Vec::new();
    for (partition, table, end) in ends {
        blocks(&mut source, &mut target, &table, end)?;
        let (start, copied, _) = bounds(&target, &table)?;
        if copied != end {
            return Err(OpenError::Damaged(format!(
                "{table}: it was trimmed from under the copy at {copied} of {end}: copy it again"
            )));
        }
        extents.push(Extent { partition, start, end: copied });
    }
    target.pragma_update(None, "user_version", format)?;
    target.close().map_err(|(_, error)| error)?;
    std::fs::File::open(to)?.sync_all()?;
    Ok(extents)
}

/// The blocks of a partition up to `end`.
fn blocks(source: &mut Connection, target: &mut Connection, table: &str, end: u64) -> Result<(), OpenError> {
    let mut next: i64 = -1;
    loop {
        let (tx, mut bytes, mut more) = (target.transaction()?, 0, false);
        {
            let sql =
                format!("SELECT base, count, time_ms, block FROM {table} WHERE base >= ?1 AND base < ?2 ORDER BY base");
            let mut read = source.prepare_cached(&sql)?;
            let mut rows = read.query([next.max(0), end as i64])?;
            let mut write = tx.prepare_cached(&format!("INSERT INTO {table} VALUES (?1, ?2, ?3, ?4)"))?;
            while let Some(row) = rows.next()? {
                let (base, count, time_ms): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                let block = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
                if next >= 0 && base != next {
                    tx.execute(&format!("DELETE FROM {table}"), [])?; // trimmed up to here meanwhile
                }
                write.execute(params![base, count, time_ms, block])?;
                (next, bytes) = (base + count, bytes + block.len());
                if bytes >= CHUNK_BYTES {
                    more = true;
                    break;
                }
            }
        }
        tx.commit()?;
        if !more {
            return Ok(());
        }
    }
}

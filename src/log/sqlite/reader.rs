//! Reads blocks: the newest from memory by `Arc`, older ones from SQLite on a connection of its own, some ahead.
//!
//! Deliberately absent: waiting. Who waits subscribes; a transaction is open only while rows are fetched.

use super::file;
use super::{Shared, locked};
use pulse_dataflows::ports::{Block, LogError, LogReader, Partition};
use rusqlite::{Connection, ErrorCode};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

/// Bytes read ahead: enough that a replay pays little for each query.
const AHEAD_BYTES: usize = 4 << 20;
/// Blocks read ahead, for the case that they are small.
const AHEAD_BLOCKS: usize = 256;

/// A reader of the file.
pub(crate) struct SqliteReader {
    shared: Arc<Shared>,
    db: Option<Connection>,
    ahead: BTreeMap<usize, VecDeque<Arc<Block>>>,
}
impl SqliteReader {
    pub fn new(shared: Arc<Shared>) -> SqliteReader {
        SqliteReader { shared, db: None, ahead: BTreeMap::new() }
    }
    /// Blocks from the one that holds `offset` on, or the error that says why there is none.
    fn fetch(&mut self, at: usize, offset: u64) -> Result<VecDeque<Arc<Block>>, LogError> {
        let db = match &mut self.db {
            Some(db) => db,
            none => none.insert(file::connect_reader(&self.shared.path).map_err(read_error)?),
        };
        let table = self.shared.places.get(at).map_or("", |place| &place.table);
        let sql = format!(
            "SELECT base, block FROM {table} WHERE base >= coalesce((SELECT max(base) FROM {table} WHERE base <= ?1), 0)
             ORDER BY base LIMIT {AHEAD_BLOCKS}"
        );
        let mut query = db.prepare_cached(&sql).map_err(read_error)?;
        let mut rows = query.query([offset as i64]).map_err(read_error)?;
        let (mut blocks, mut bytes) = (VecDeque::new(), 0);
        while bytes < AHEAD_BYTES
            && let Some(row) = rows.next().map_err(read_error)?
        {
            let block = block_of((row.get(0).map_err(read_error)?, row.get(1).map_err(read_error)?))?;
            bytes += block.bytes().len();
            blocks.push_back(Arc::new(block));
        }
        match blocks.front() {
            Some(block) if block.base <= offset && offset < block.end() => Ok(blocks),
            // Trimmed since the start was looked at: by the owner's writer, or by the owner that this log follows.
            Some(block) if block.base > offset => Err(LogError::Trimmed(block.base)),
            _ => Err(LogError::Damaged(format!("{table} has no block with offset {offset}"))),
        }
    }
}
impl LogReader for SqliteReader {
    fn block(&mut self, partition: Partition, offset: u64) -> Result<Option<Arc<Block>>, LogError> {
        let at = self.shared.layout.place(partition)?;
        let Some(place) = self.shared.places.get(at) else { return Ok(None) };
        let start = place.start.load(Acquire);
        if offset < start {
            return Err(LogError::Trimmed(start));
        }
        if offset >= place.end.load(Acquire) {
            return Ok(None);
        }
        let ahead = self.ahead.entry(at).or_default();
        while ahead.front().is_some_and(|block| block.end() <= offset) {
            ahead.pop_front();
        }
        if let Some(block) = ahead.front().filter(|block| block.base <= offset) {
            return Ok(Some(block.clone()));
        }
        if let Some(block) = locked(&place.tail).find(offset) {
            return Ok(Some(block));
        }
        let blocks = self.fetch(at, offset)?;
        let block = blocks.front().cloned();
        self.ahead.insert(at, blocks);
        Ok(block)
    }
}

/// A row as a block.
pub(crate) fn block_of((base, bytes): (i64, Vec<u8>)) -> Result<Block, LogError> {
    Block::new(base as u64, bytes).ok_or_else(|| LogError::Damaged(format!("the bytes at offset {base} are no block")))
}

/// What a failed read means: try later, or never.
pub(crate) fn read_error(error: rusqlite::Error) -> LogError {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::DiskFull,
        ) => LogError::Unavailable(error.to_string()),
        _ => LogError::Damaged(error.to_string()),
    }
}

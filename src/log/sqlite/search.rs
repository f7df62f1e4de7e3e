//! The first offset at or after a time.
//!
//! Times of one partition need not rise (clocks are set back), so each block carries the newest time up to its end: that
//! never falls. The first block where it reaches the time holds the first record that does, exactly. Only after a trim may
//! that time be one of a forgotten record; then the blocks behind are looked through one by one.

use super::super::batch::first_at;
use super::file::{self, Place};
use super::reader::{block_of, read_error};
use pulse_dataflows::ports::LogError;
use rusqlite::Connection;
use std::path::Path;
use std::sync::atomic::Ordering::Acquire;

/// First offset whose time is at or after `time_ms`; the end when there is none.
pub(crate) fn offset_for_time(path: &Path, place: &Place, time_ms: i64) -> Result<u64, LogError> {
    let end = place.end.load(Acquire);
    let db = file::connect_reader(path).map_err(read_error)?;
    let (mut from, last, newest_ms) = file::bounds(&db, &place.table).map_err(read_error)?;
    if newest_ms < time_ms {
        return Ok(end);
    }
    from = first_block(&db, &place.table, time_ms, from, last).map_err(read_error)?;
    let mut next = db
        .prepare(&format!("SELECT base, block FROM {} WHERE base >= ?1 ORDER BY base LIMIT 1", place.table))
        .map_err(read_error)?;
    while from < end {
        let row = next.query_row([from as i64], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?))).map_err(read_error)?;
        let block = block_of(row)?;
        if let Some(offset) = first_at(&block, from, time_ms) {
            return Ok(offset.min(end));
        }
        from = block.end();
    }
    Ok(end)
}

/// The base of the first block whose running newest time reaches `time_ms`, which the last block's does.
fn first_block(db: &Connection, table: &str, time_ms: i64, from: u64, to: u64) -> rusqlite::Result<u64> {
    let sql = format!("SELECT base, count, time_ms FROM {table} WHERE base <= ?1 ORDER BY base DESC LIMIT 1");
    let mut look = db.prepare(&sql)?;
    // Blocks that end at or before `low` do not reach the time; the one that holds `high` does, or lies behind the last.
    let (mut low, mut high) = (from, to);
    while low < high {
        let middle = low + (high - low) / 2;
        let (base, count, newest_ms) = look.query_row([middle as i64], |row| {
            Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)?))
        })?;
        if newest_ms >= time_ms {
            high = base.max(low);
        } else {
            low = base + count;
        }
    }
    Ok(low)
}

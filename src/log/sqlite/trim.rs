//! Deleting old blocks, whole and few at a time. Freed pages are used again; the file does not get smaller.

use rusqlite::Connection;

/// Blocks deleted in one transaction: the writer answers nobody meanwhile.
pub(crate) const STEP_BLOCKS: usize = 64;

/// Deletes blocks that end at or before `offset`, the oldest first; how many, and the first offset that is left.
/// The newest block always stays: from it the next opening knows where the partition ends.
pub(crate) fn delete(tx: &Connection, table: &str, offset: u64) -> rusqlite::Result<(usize, u64)> {
    let deleted = tx
        .prepare_cached(&format!(
            "DELETE FROM {table} WHERE base IN (SELECT base FROM {table} WHERE base + count <= ?1
             AND base < (SELECT max(base) FROM {table}) ORDER BY base LIMIT {STEP_BLOCKS})"
        ))?
        .execute([offset as i64])?;
    let start: Option<i64> =
        tx.prepare_cached(&format!("SELECT min(base) FROM {table}"))?.query_row([], |r| r.get(0))?;
    Ok((deleted, start.unwrap_or(0) as u64))
}

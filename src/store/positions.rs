//! How far each reader of the log has read. Moved by compare-and-set in the transaction of the rows: two readers of one name
//! cannot both write, the slower one finds another value and has to stop.

use super::{OptionalRow, Result, prepare};
use crate::store::Db;
use pulse_dataflows::ports::Partition;

/// Next offset not taken up, and the cause of the last record that was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Next offset in the partition.
    pub next: u64,
    /// (offset, kind) of the last cause; `None` before the first record.
    pub cause: Option<(u64, u32)>,
}

/// Stored for "no cause yet".
const NO_CAUSE: i64 = -1;

/// The position of `reader`, which is made when it is not there.
pub fn load(db: &Db, reader: &str, partition: Partition) -> Result<Position> {
    let key = (reader, partition.topic.name(), partition.number);
    prepare(
        db,
        "INSERT INTO reader_positions VALUES ($1, $2, $3, 0, -1, 0) ON CONFLICT (reader, topic, log_partition) DO NOTHING",
    )?
    .execute(key)?;
    get(db, reader, partition)
}

const POSITION: &str = "SELECT position, cause_offset, cause_kind FROM reader_positions
    WHERE reader = $1 AND topic = $2 AND log_partition = $3";

/// The position of `reader`; the beginning when it has none.
pub fn get(db: &Db, reader: &str, partition: Partition) -> Result<Position> {
    ask(db, POSITION, reader, partition)
}

/// The position once nobody moves it any more: waits for the end of a transaction that does.
pub fn settled(db: &Db, reader: &str, partition: Partition) -> Result<Position> {
    ask(db, &format!("{POSITION} {{for_update}}"), reader, partition)
}

fn ask(db: &Db, sql: &str, reader: &str, partition: Partition) -> Result<Position> {
    let mut statement = prepare(db, sql)?;
    let found = statement.query_row((reader, partition.topic.name(), partition.number), |row| {
        let (next, offset, kind): (i64, i64, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let cause = (offset != NO_CAUSE).then_some((offset as u64, kind));
        Ok(Position { next: next as u64, cause })
    });
    Ok(found.optional()?.unwrap_or_default())
}

/// Moves from `old` to `new`; `false`: somebody else has moved it, nothing is changed and the transaction must not commit.
pub fn advance(db: &Db, reader: &str, partition: Partition, old: Position, new: Position) -> Result<bool> {
    let (offset, kind) = new.cause.map_or((NO_CAUSE, 0), |(offset, kind)| (offset as i64, kind));
    let changed = prepare(
        db,
        "UPDATE reader_positions SET position = $1, cause_offset = $2, cause_kind = $3
         WHERE reader = $4 AND topic = $5 AND log_partition = $6 AND position = $7",
    )?
    .execute((
        new.next as i64,
        offset,
        kind,
        reader,
        partition.topic.name(),
        partition.number,
        old.next as i64,
    ))?;
    Ok(changed == 1)
}

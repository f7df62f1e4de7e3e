//! One batch, one transaction: rows and positions.

use super::decode::Notice;
use super::gather::Batch;
use super::{PersistError, READER};
use crate::store::{Store, positions, rows};

/// Writes the batch; how many records turned out to be there already.
pub fn write(store: &Store, batch: &Batch) -> Result<u64, PersistError> {
    let mut repeats = 0;
    let mut fenced = false;
    let outcome = store.write(|tx| {
        // First, so that a fenced reader writes nothing at all.
        for (partition, old, new) in &batch.moves {
            if !positions::advance(tx, READER, *partition, *old, *new)? {
                fenced = true;
                return Err(rusqlite::Error::QueryReturnedNoRows); // rolls back
            }
        }
        let mut count = |new: bool| repeats += u64::from(!new);
        for row in &batch.scored {
            count(rows::add_scored(tx, row)?);
        }
        for row in &batch.rejects {
            count(rows::add_reject(tx, row)?);
        }
        for (history, notice) in &batch.alerts {
            if let Notice::Series(points) = notice {
                points.iter().try_for_each(|point| rows::put_series_point(tx, point))?;
                continue; // a minute's values are no history
            }
            let new = rows::add_history(tx, history)?;
            count(new);
            match notice {
                Notice::Alert(row) if new => rows::put_alert(tx, row)?,
                Notice::Incident(row) if new => rows::put_incident(tx, row)?,
                _ => {}
            }
        }
        for row in &batch.labels {
            count(rows::add_label(tx, row)?);
        }
        Ok(())
    });
    match outcome {
        Err(_) if fenced => Err(PersistError::Fenced),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(repeats),
    }
}

//! One batch, one transaction: rows and positions.

use super::decode::Notice;
use super::gather::Batch;
use super::{PersistError, READER};
use crate::store::{Store, positions, rows};

/// What became of a batch.
#[derive(Default)]
pub struct Written {
    /// Records that were there already.
    pub repeats: u64,
    /// Records of the topic `alerts` that were new, by their place in the batch.
    pub notices: Vec<usize>,
}

/// Writes the batch, and says in `written` what became of it; before the commit, so that it is known when the answer is lost.
pub fn write(store: &Store, batch: &Batch, written: &mut Written) -> Result<(), PersistError> {
    // found elsewhere than expected: is it behind?
    let mut stands = None;
    store.make_days(batch.scored.iter().map(|row| row.time_ms))?;
    let outcome = store.write(|tx| {
        // First, so that a fenced reader writes nothing at all.
        for (partition, old, new) in &batch.moves {
            if !positions::advance(tx, READER, *partition, *old, *new)? {
                // not there at all counts as the beginning
                stands = Some(positions::get(tx, READER, *partition)?.next <= old.next);
                return Err(crate::store::Error::NoRow); // rolls back
            }
        }
        let mut repeats = batch.scored.len() as u64 - rows::add_all_scored(tx, &batch.scored)?;
        let mut count = |new: bool| repeats += u64::from(!new);
        for row in &batch.rejects {
            count(rows::add_reject(tx, row)?);
        }
        for (place, (history, notice)) in batch.alerts.iter().enumerate() {
            if let Notice::Series(points) = notice {
                points.iter().try_for_each(|point| rows::put_series_point(tx, point))?;
                continue; // a minute's values are no history
            }
            let new = rows::add_history(tx, history)?;
            count(new);
            if new {
                written.notices.push(place);
            }
            match notice {
                Notice::Alert(row) if new => rows::put_alert(tx, row)?,
                Notice::Incident(row) if new => rows::put_incident(tx, row)?,
                _ => {}
            }
        }
        for row in &batch.labels {
            count(rows::add_label(tx, row)?);
        }
        written.repeats = repeats;
        Ok(())
    });
    match (outcome, stands) {
        (Err(_), Some(true)) => Err(PersistError::TakenBack),
        (Err(_), Some(false)) => Err(PersistError::Fenced),
        (outcome, _) => Ok(outcome?),
    }
}

//! The next batch: records of all topics behind the positions, decoded, scored ones joined with their raw event.
//!
//! Bounded by records and by bytes. Deliberately absent: writing.

use super::decode;
use crate::store::positions::Position;
use crate::store::rows::{HistoryRow, LabelRow, RejectRow, ScoredRow};
use pulse_dataflows::ports::{Block, Cause, EventLog, HOLE, LogError, LogReader, Meta, Partition, Topic};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Records of a batch: a transaction of some 20 ms, between which others write.
pub const BATCH: usize = 2_000;
/// Bytes of records of a batch, so that 2,000 of the largest do not fill the memory.
const BATCH_BYTES: usize = 16 << 20;

/// What a batch holds, in the order of the topics.
#[derive(Default)]
pub struct Batch {
    /// Scored events.
    pub scored: Vec<ScoredRow>,
    /// Refusals.
    pub rejects: Vec<RejectRow>,
    /// Alerts, incidents, series.
    pub alerts: Vec<(HistoryRow, decode::Notice)>,
    /// Verdicts.
    pub labels: Vec<LabelRow>,
    /// From where to where each partition moves.
    pub moves: Vec<(Partition, Position, Position)>,
    /// Records taken.
    pub taken: usize,
    /// Of them left out as repeats, by their cause.
    pub repeats: usize,
    /// Records that were trimmed before they were read.
    pub lost: u64,
}

/// Where the records come from.
pub struct Source {
    reader: Box<dyn LogReader>,
    positions: Vec<(Partition, Position)>,
    /// The last block of `events.raw` by partition: causes rise, so one is enough.
    raw: BTreeMap<u16, Arc<Block>>,
    currency: String,
}

impl Source {
    /// Starts at the positions.
    pub fn new(reader: Box<dyn LogReader>, positions: Vec<(Partition, Position)>, currency: String) -> Source {
        Source { reader, positions, raw: BTreeMap::new(), currency }
    }

    /// Where each partition is.
    pub fn positions(&self) -> &[(Partition, Position)] {
        &self.positions
    }

    /// The batch is written.
    pub fn moved(&mut self, moves: &[(Partition, Position, Position)]) {
        for (partition, _, new) in moves {
            for (known, at) in &mut self.positions {
                if known == partition {
                    *at = *new;
                }
            }
        }
    }

    /// Takes what is there, up to the bounds.
    pub fn gather(&mut self, log: &dyn EventLog) -> Result<Batch, LogError> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        for (partition, old) in self.positions.clone() {
            let end = log.end(partition);
            let mut new = old;
            if new.next < log.start(partition) {
                let start = log.start(partition);
                tracing::error!(
                    topic = partition.topic.name(),
                    from = new.next,
                    to = start,
                    "records were trimmed unread"
                );
                batch.lost += start - new.next;
                new.next = start;
            }
            while new.next < end && batch.taken < BATCH && bytes < BATCH_BYTES {
                let Some(block) = self.reader.block(partition, new.next)? else { break };
                while new.next < block.end().min(end) && batch.taken < BATCH && bytes < BATCH_BYTES {
                    let (meta, value) = block.record(new.next);
                    bytes += value.len();
                    batch.taken += 1;
                    if meta.cause.kind != HOLE {
                        self.take(&mut batch, partition, &mut new, meta, value)?;
                    }
                    new.next += 1;
                }
            }
            if new != old {
                batch.moves.push((partition, old, new));
            }
        }
        Ok(batch)
    }

    /// Decodes one record into the batch; what cannot be read becomes a refusal, so that it is seen.
    fn take(
        &mut self,
        batch: &mut Batch,
        partition: Partition,
        at: &mut Position,
        meta: Meta,
        value: &[u8],
    ) -> Result<(), LogError> {
        let place = (partition.number, at.next);
        let outcome = match partition.topic {
            Topic::Scored => {
                let cause = (meta.cause.offset, meta.cause.kind);
                if at.cause.is_some_and(|last| cause <= last) {
                    batch.repeats += 1;
                    return Ok(());
                }
                at.cause = Some(cause);
                let raw = self.raw(meta.cause)?;
                let raw = raw.as_ref().map(|block| block.record(meta.cause.offset));
                decode::scored(value, meta, raw, &self.currency).map(|row| batch.scored.push(row))
            }
            Topic::Rejected => decode::reject(value, place, meta).map(|row| batch.rejects.push(row)),
            Topic::Alerts => decode::notice(value, place.1, meta).map(|row| batch.alerts.push(row)),
            _ => decode::label(value, place.1, meta).map(|row| batch.labels.push(row)),
        };
        if let Err(error) = outcome {
            tracing::error!(topic = partition.topic.name(), offset = place.1, %error, "a record cannot be read");
            batch.rejects.push(decode::unreadable(partition, place, meta, value, &error));
        }
        Ok(())
    }

    /// The block of `events.raw` that holds the cause; `None` when it is trimmed.
    fn raw(&mut self, cause: Cause) -> Result<Option<Arc<Block>>, LogError> {
        let holds = |block: &Arc<Block>| block.base <= cause.offset && cause.offset < block.end();
        if let Some(block) = self.raw.get(&cause.partition).filter(|block| holds(block)) {
            return Ok(Some(block.clone()));
        }
        let raw = Partition { topic: Topic::Raw, number: cause.partition };
        match self.reader.block(raw, cause.offset) {
            Ok(Some(block)) => {
                self.raw.insert(cause.partition, block.clone());
                Ok(Some(block))
            }
            Ok(None) | Err(LogError::Trimmed(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

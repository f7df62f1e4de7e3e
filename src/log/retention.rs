//! How far a topic may be forgotten: by age, but never past its slowest reader, nor past the fence of this generation.
//!
//! Deliberately absent: a clock and a schedule. The caller says which time is too old, and who the readers are.

use pulse_dataflows::ports::{EventLog, LogError, Partition, Topic, partition};

/// Forgets records of `topic` that came before the first one at or after `keep_from_ms`, as far as `slowest` (the
/// first offset of the partition that anyone may still read: readers and the oldest kept checkpoint) allows.
///
/// A record whose time lies in the future keeps itself and everything behind it until that time: a wrong clock makes the
/// log longer, never shorter. Trimming takes whole blocks, so a little more may stay. Returns how many records went.
pub fn retain(
    log: &dyn EventLog,
    topic: Topic,
    keep_from_ms: i64,
    slowest: &dyn Fn(Partition) -> u64,
) -> Result<u64, LogError> {
    let mut forgotten = 0;
    for number in 0..log.partitions(topic) {
        let p = partition(topic, number);
        let before = log.start(p);
        let mut keep_from = log.offset_for_time(p, keep_from_ms)?.min(slowest(p));
        if topic == Topic::Epochs {
            keep_from = keep_from.min(log.generation());
        }
        if keep_from > before {
            log.trim(p, keep_from)?;
            forgotten += log.start(p) - before;
        }
    }
    Ok(forgotten)
}

//! Finds what a restart need not write again: the last cause in every output partition, and the newest epoch.
//!
//! Deliberately absent: state; that is the checkpoint's.

use pulse_dataflows::checkpoint::Position;
use pulse_dataflows::detect::{BY_TIME, Done};
use pulse_dataflows::epochs::{Entry, EpochReader};
use pulse_dataflows::ports::{Cause, EventLog, FROM_GATEWAY, HOLE, LogError, LogReader, Topic, partition};
use pulse_dataflows::quarantine::Quarantines;

/// Where outputs and epochs are.
pub struct Resume {
    /// The newest entry that counts.
    pub last: Entry,
    /// Outputs that are there.
    pub done: Done,
    /// What is left out.
    pub quarantines: Quarantines,
}

/// Looks at the end of each output partition by itself (a crash may have cut each off elsewhere, in the middle of an epoch
/// too), and reads the entries behind `position`.
pub fn resume(log: &dyn EventLog, position: &Position) -> Result<Resume, LogError> {
    let mut reader = log.reader();
    let mut done = Done { alerts: position.entry.epoch, ..Done::default() };
    for p in 0..log.partitions(Topic::Raw) {
        let outputs = [
            (Topic::Scored, &mut done.scored),
            (Topic::Rejected, &mut done.rejected),
            (Topic::Enriched, &mut done.enriched),
        ];
        for (topic, last) in outputs {
            if let Some(cause) = last_cause(log, &mut *reader, topic, p)? {
                last.insert(p, cause.offset);
            }
        }
    }
    let alert = last_cause(log, &mut *reader, Topic::Alerts, 0)?;
    let mut of_alert = alert.filter(|c| c.partition == BY_TIME).map(|c| c.offset);
    let mut entries = EpochReader::new(log, position.next, position.entry.generation);
    let mut last = position.entry.clone();
    while let Some(entry) = entries.next_entry()? {
        if let Some(cause) = alert.filter(|c| c.partition != BY_TIME) {
            // the epoch that took up the cause of the last alert
            let at = usize::from(cause.partition);
            let taken = |e: &Entry| e.ends.get(at).copied().unwrap_or(0) > cause.offset;
            if taken(&entry) && !taken(&last) {
                of_alert = Some(entry.epoch);
            }
        }
        last = entry;
    }
    if let (Some(epoch), Some(cause)) = (of_alert.filter(|epoch| *epoch > position.entry.epoch), alert) {
        // its kind is its number among the messages of the epoch, of which the rest may be missing
        (done.alerts, done.alerts_more) = (epoch - 1, cause.kind as usize + 1);
    }
    Ok(Resume { last, done, quarantines: entries.quarantines().clone() })
}

/// The cause of the last record that the dataflow wrote.
pub fn last_cause(
    log: &dyn EventLog,
    reader: &mut dyn LogReader,
    topic: Topic,
    p: u16,
) -> Result<Option<Cause>, LogError> {
    let place = partition(topic, p);
    let (start, mut at) = (log.start(place), log.end(place));
    while at > start {
        at -= 1;
        let Some(block) = reader.block(place, at)? else { return Ok(None) };
        let cause = block.record(at).0.cause;
        if cause.kind != FROM_GATEWAY && cause.kind != HOLE {
            return Ok(Some(cause));
        }
    }
    Ok(None)
}
